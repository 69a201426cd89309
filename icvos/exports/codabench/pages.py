"""The pages of a competition, in Markdown: what it is, what is given, what is to be sent, and how that is scored."""

from __future__ import annotations

from collections.abc import Iterator

from icvos.benchmark import Benchmark
from icvos.exports.codabench.competition import PAGES, TERMS, Competition, columns_of
from icvos.exports.texts import line, markdown

__all__ = ["write_pages"]

_FIGURES = {
    "J&F": "the mean of J and F",
    "J": "region similarity: the intersection of mask and ground truth over their union",
    "F": "boundary accuracy: the F-measure of the mask's boundary pixels",
    "F_dot": "boundary accuracy, with a tolerance that follows the object's size",
    "absent_correct": "of the frames on which the thing is not, those on which nothing was predicted",
    "mIoU": "the mean over categories of intersections over unions, each summed over episodes",
    "FB_IoU": "the mean of foreground's and background's intersection over union",
    "mean_IoU": "the mean over episodes of intersection over union",
}
"""What the figures of most competitions are, in words."""


def write_pages(competition: Competition) -> dict[str, str]:
    """Return the text of each page by its path in the bundle; ``terms.md`` is what participants agree to."""
    texts = {"Overview": _overview, "Data": _data, "Evaluation": _evaluation}
    pages = {PAGES[title]: "\n".join(write(competition)) + "\n" for title, write in texts.items()}
    return {**pages, TERMS: "\n".join(_terms(competition)) + "\n"}


def _overview(competition: Competition) -> Iterator[str]:
    benchmark, episodes = competition.benchmark, competition.episodes
    yield f"# {markdown(competition.title)}\n"
    what = "image" if benchmark.kind == "image" else "video"
    if benchmark.vos:
        yield "Semi-supervised video object segmentation: given an object's mask on a video's first frame, segment it"
        yield "in every frame.\n"
    else:
        shots = "one support image" if competition.shots == 1 else f"{competition.shots} support images"
        yield f"In-context segmentation: given {shots} with a mask of a thing, segment that kind of thing in"
        yield f"{'another image' if what == 'image' else 'every frame of a video of another scene'}.\n"
    yield f"- benchmark: {markdown(f'{benchmark.name}, version {benchmark.version}')}"
    videos = len({episode.video for episode in episodes})
    yield f"- {videos:,} {what}s, {len(episodes):,} episodes, {competition.masks:,} masks to be sent"
    yield f"- scored by protocol `{competition.protocol.name}`: {competition.protocol.text}"
    yield f"- ranked by {competition.protocol.score}"


def _data(competition: Competition) -> Iterator[str]:
    benchmark = competition.benchmark
    first = competition.episodes[0].id
    yield "# Data\n"
    if competition.with_frames:
        yield "The phase's public data has a folder for each episode:\n"
        yield "```text"
        yield "episodes/ID/request.json     what is given and wanted, by paths from its folder"
        yield "videos/NAME/00000.jpg        the frames" + (", here one: the query" if benchmark.kind == "image" else "")
        yield "supports/images, masks       supports and their masks, 0 and 255; supports/ignore: pixels of neither"
        yield "```\n"
        yield "`request.json` names the supports, the `frames` by number, how many there are (`count`), their `size`"
        yield "(height, width), and where `masks` go: `masks/ID/00000.png` beside `episodes`. What the folder `masks`"
        yield "holds is the submission.\n"
    else:
        built = markdown(f"{benchmark.name} {benchmark.version}")
        yield f"Frames and supports are not part of this bundle. Build {built} with"
        yield "`icvos build-data`, from the data sets below; its `manifest.csv` has the SHA-256"
        yield f"`{benchmark.manifest_sha256}`.\n"
    yield "## What to send\n"
    yield f"A zip of a folder for each of the {len(competition.episodes):,} episodes, with a mask for each frame:\n"
    yield "```text"
    yield f"{first}/00000.png"
    if benchmark.kind == "video":
        yield f"{first}/00001.png"
    yield "…"
    yield "```\n"
    yield "A mask is an 8-bit grey or palette PNG of 0 and 1 (or 0 and 255), at the size of its frame" + _other_size(
        competition
    )
    yield "Frames count from 00000; an empty mask is a file, too."
    if benchmark.vos:
        yield "A pixel is in the mask of one object of a video at most."
    yield "\n## Sources and licences\n"
    yield from _licences(benchmark)


def _other_size(competition: Competition) -> str:
    size = competition.protocol.size
    return "." if size is None else f",\nor {size[0]}x{size[1]}, the size that is scored at."


def _licences(benchmark: Benchmark) -> Iterator[str]:
    licences = benchmark.header.get("licences")
    if not isinstance(licences, dict) or not licences:
        yield "The benchmark names none: ask its authors."
        return
    for source, licence in licences.items():
        yield f"- {markdown(line(source))}: {markdown(line(licence))}"


def _evaluation(competition: Competition) -> Iterator[str]:
    protocol = competition.protocol
    yield "# Evaluation\n"
    yield f"By icvos' protocol `{protocol.name}`: {protocol.text}."
    yield "The scoring program is `icvos score` itself, which comes with it (`icvos.zip`). Figures are in percent.\n"
    yield "| column | key | better | what |"
    yield "|---|---|---|---|"
    for key, metric in columns_of(protocol).items():
        better = "higher" if metric.higher_is_better else "lower"
        yield f"| {metric.heading or metric.label} | `{key}` | {better} | {_FIGURES.get(metric.name, '')} |"
    yield f"\nThe first column ranks. Supports shown to a method: {competition.shots}.\n"
    yield "A submission with an episode or a frame missing, one too many, a mask of another size, in colours or with"
    yield "other values is not scored; the scoring log says in one line what was wrong. What else lies beside masks is"
    yield "passed over."


def _terms(competition: Competition) -> Iterator[str]:
    yield "# Terms\n"
    yield "- The ground truth of the benchmark is not used to make masks, nor to choose among models."
    if not competition.benchmark.vos:
        yield "- A method is shown an episode's own supports and its frames, and neither names nor categories."
    yield "- Images and annotations stay under the licences of their data sets, which the page on data lists;"
    yield "  participants pass them on to nobody."
    yield "- What is sent are masks that the participant may send; organisers may score them again and keep them."
