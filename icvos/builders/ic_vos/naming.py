"""What a benchmark of videos is called: a published name only if all matches the recipe, else ``custom:<hash>``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icvos.builders.ic_vos.rules import BUILDER_VERSION, BuildRules
from icvos.builders.published import PAPER_COUNTS, PublishedRecipe
from icvos.builders.recipe import Recipe
from icvos.categories import COCO80, Vocabulary
from icvos.errors import counted
from icvos.sources.base import VideoSource

__all__ = ["Naming", "differences", "name_benchmark", "release_differences"]

NO_RECIPE = "it is built from no published recipe (--recipe NAME)"


@dataclass(frozen=True)
class Naming:
    """A benchmark's name and what it follows from.

    Attributes:
        name: Of the benchmark.
        recipe: For ``benchmark.json``: name and hash of the published benchmark, whether all matches, what differs;
            None for a benchmark that has a name of its own and no published recipe.
    """

    name: str
    recipe: dict[str, Any] | None = None

    @property
    def differs(self) -> list[str]:
        """Why the build carries no published name, a line each."""
        return [] if self.recipe is None else list(self.recipe["differs"])


def name_benchmark(
    own: str | None,
    published: PublishedRecipe | None,
    *,
    differs: Sequence[str],
    sources: Sequence[str],
    part: str,
    version: str,
    counts: Mapping[str, int],
) -> Naming:
    """Name a benchmark.

    Args:
        own: The name that its maker gave it, or None.
        published: The recipe that it was to be built from, or None.
        differs: Where it is not what that recipe makes.
        sources: Ids of what it is built from.
        part: ``all``, ``dev`` or ``test``.
        version: Of the benchmark; its hash is in the name of one that is not published.
        counts: Its ``videos`` and ``frames``.
    """
    if published is None:
        if own is not None:
            return Naming(own)
        if list(sources) == ["release"]:
            wrong = [f"{counts[what]:,} {what}, and the paper has {n:,}" for what, n in PAPER_COUNTS.items()]
            counted = [line for line, (what, n) in zip(wrong, PAPER_COUNTS.items()) if counts[what] != n]
            differs = [*differs, *counted]
            if not differs:
                return Naming("ic-vos")
        else:
            differs = [NO_RECIPE]
        stated: dict[str, Any] = {"name": None, "sha256": None}
    else:
        name = published.benchmark_name(sources, part)
        closed = [source for source in sources if source in published.closed]
        stated = {"name": name or published.name, "sha256": published.sha256_of(closed) if closed else None}
        if not differs and name is not None:
            return Naming(own or name, {**stated, "matches": True, "differs": []})
    custom = f"custom:{version.rpartition('.')[2]}"
    return Naming(own or custom, {**stated, "matches": False, "differs": list(differs)})


def differences(
    published: PublishedRecipe,
    part: str,
    *,
    sources: Sequence[VideoSource],
    labels: Recipe,
    rules: BuildRules,
    supports: Mapping[str, str | int],
    words: Vocabulary = COCO80,
) -> list[str]:
    """Return where a build is not what a published recipe makes, a line each; what is in the masks is not looked at.

    Args:
        published: The recipe.
        part: ``all``, ``dev`` or ``test``.
        sources: What is built from.
        labels: All labels that the build has.
        rules: Of the build.
        supports: What they are drawn from: COCO's ``split``, and how many ``images`` and ``annotations`` that has.
        words: Names of the categories.
    """
    ids = sorted(source.id for source in sources)
    out = published.problems()
    out += [
        f"{source} is no source of {published.name} whose labels are final"
        for source in ids
        if source not in published.closed
    ]
    if not out and published.benchmark_name(ids, part) is None:
        out.append(f"{' and '.join(ids)} together are no published benchmark while {published.name} has open sources")
    out += _label_differences(published.labels.of_sources(ids), labels.of_sources(ids), words)
    out += _rule_differences(published.header, rules)
    expected, split = published.header["supports"], supports["split"]
    if split != expected["split"]:
        out.append(f"supports are of {split}, and the recipe's of {expected['split']}")
    else:
        out += [
            f"{split} has {supports[what]:,} {what}, and the recipe expects {expected[what]:,}"
            for what in ("images", "annotations")
            if supports[what] != expected[what]
        ]
    for source in sources:
        if source.id in published.closed:
            out += _sequence_differences(published, source, part)
    return out


def release_differences(rules: BuildRules) -> list[str]:
    """Return where a build of the authors' folder is not all of it with the usual supports, a line each."""
    usual = BuildRules(
        min_visible_frames=rules.min_visible_frames, min_area=rules.min_area, min_frames=rules.min_frames
    )
    found, expected = rules.header(), usual.header()
    return [
        f"{rule.replace('_', ' ')} is {found[rule]}, and {expected[rule]} for what is called ic-vos"
        for rule in found
        if found[rule] != expected[rule]
    ]


def _label_differences(expected: Recipe, found: Recipe, words: Vocabulary) -> Iterator[str]:
    for key in sorted({*expected.objects, *found.objects}):
        ours, theirs = expected.objects.get(key, {}), found.objects.get(key, {})
        for number in sorted({*ours, *theirs}):
            if ours.get(number) != theirs.get(number):
                yield f"another label for {','.join(key)},{number} than the recipe's"
    for pair in sorted({*expected.complete, *found.complete}):
        said, says = (each.is_complete(*pair) for each in (expected, found))
        if said != says:
            source, video, category = pair
            label = f"{source},{video},{words.label(category)}"
            yield f"complete of {label} is {says or 'unsure'}, and the recipe says {said or 'unsure'}"
    for key in sorted({*expected.extra, *found.extra}):
        added = [None if key not in each.extra else each.extra[key].content for each in (expected, found)]
        if added[0] != added[1]:
            yield f"other extra masks of {','.join(key)} than the recipe's"


def _rule_differences(header: Mapping[str, Any], rules: BuildRules) -> Iterator[str]:
    expected, found = header["rules"], rules.header()
    for rule in sorted({*expected, *found}):
        if expected.get(rule) != found.get(rule):
            yield f"{rule.replace('_', ' ')} is {found.get(rule)}, and the recipe's {expected.get(rule)}"
    if header.get("builder", BUILDER_VERSION) != BUILDER_VERSION:
        yield f"the builder's version is {BUILDER_VERSION}, and the recipe's {header['builder']}"


def _sequence_differences(published: PublishedRecipe, source: VideoSource, part: str) -> Iterator[str]:
    for what, value in published.header["sources"][source.id].get("reads", {}).items():
        if getattr(source, what, None) != value:
            yield f"{source.id} is read in {getattr(source, what, None)}, and the recipe's {what} is {value}"
    videos = {video.name: video for video in source.videos()}
    expected = published.expected(source.id, part)
    missing = [name for name in expected if name not in videos]
    if missing:
        yield f"{len(missing)} of {len(expected)} sequences of {source.id} are not there: {', '.join(missing[:3])}" + (
            ", …" if len(missing) > 3 else ""
        )
    for name, row in expected.items():
        if name not in videos:
            continue
        frames = len(source.frames(videos[name]))
        if row.frames is not None and frames != row.frames:
            yield f"{source.id},{name} has {counted(frames, 'frames')}, and the recipe expects {row.frames}"
        split = videos[name].split
        if row.source_split and split != row.source_split:
            yield f"{source.id},{name} is of the split '{split}', and the recipe's of '{row.source_split}'"
        named = published.labels.objects.get((source.id, name), {})
        for number in sorted(set(videos[name].objects) - set(named)):
            yield f"{source.id},{name} has an object {number} that the recipe does not name"
        objects = len(videos[name].objects)
        if row.objects is not None and videos[name].all_objects and objects != row.objects:
            yield f"{source.id},{name} has {counted(objects, 'objects')}, and the recipe expects {row.objects}"
