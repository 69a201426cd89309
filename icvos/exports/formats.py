"""The forms that benchmarks and runs are exported in, once: a new one is a line of ``FORMATS`` and its module."""

from __future__ import annotations

from dataclasses import dataclass

from icvos.errors import UsageError, did_you_mean

__all__ = ["FORMATS", "PLACES", "ExportOptions", "Format", "get_format"]


@dataclass(frozen=True)
class ExportOptions:
    """What an export may be told; a format takes those that it names.

    Attributes:
        with_frames: Whether the images are in it, and not their names alone.
        link: Whether images are hard links instead of copies, where that is possible.
        dataset: The Hugging Face Hub's data set that a run's benchmark is, ``OWNER/NAME`` or ``OWNER/NAME@COMMIT``.
        date: A day, or of runs and competitions a day and a time, as ISO 8601 has them.
        source: The address at which a run's record can be read.
        url: The address of the folder in which a file and its benchmark will lie.
        benchmark: Where a run's benchmark is, if not where it was: its folder, or ``demo…``.
        protocol: The name of the protocol that is meant; "" for the benchmark's own.
        shots: Supports of an episode; None for the number of the benchmark's list, or 1.
        title: Of what is made; "" for the benchmark's name.
        end_date: When a competition ends; "" for never.
        docker_image: In which masks are scored; "" for the form's own.
    """

    with_frames: bool = False
    link: bool = False
    dataset: str = ""
    date: str = ""
    source: str = ""
    url: str = ""
    benchmark: str = ""
    protocol: str = ""
    shots: int | None = None
    title: str = ""
    end_date: str = ""
    docker_image: str = ""


PLACES = ("link", "benchmark")
"""Options that say where things are or how they are put, and so nothing of what an export holds."""


@dataclass(frozen=True)
class Format:
    """A form of export; those of benchmarks and of runs may share a name, and are two lines then.

    Attributes:
        name: As ``--to`` has it.
        text: What is written, in a line.
        module: In ``icvos.exports``; it has the functions of ``icvos.exports.export.FormatModule``, or of
            ``FileFormatModule``.
        of: What can be written so: ``video`` and ``image`` benchmarks, ``run``.
        takes: The options that it knows, by name.
        requires: Those of them that it cannot do without.
        extra: The pip extra of icvos that it needs, or "".
        file: How the name of its file ends, where it is one file that lies above the benchmark, and no folder; or "".
    """

    name: str
    text: str
    module: str
    of: tuple[str, ...]
    takes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    extra: str = ""
    file: str = ""


IMAGES = ("with_frames", "link")
FORMATS: tuple[Format, ...] = (
    Format(
        "codabench",
        "a competition: its pages, the ground truth, and icvos score as the scoring program",
        "codabench.bundle",
        ("video", "image"),
        takes=("with_frames", "link", "protocol", "shots", "title", "date", "end_date", "docker_image"),
    ),
    Format("csv", "tables: a row an episode, a row a frame, the figures of the whole", "run_tables", ("run",)),
    Format("ytvis", "YouTube-VIS' JSON, with supports and episodes beside it", "ytvis", ("video",), IMAGES),
    Format("ytvis", "its saved masks as YouTube-VIS' results", "ytvis_results", ("run",), ("benchmark",)),
    Format("coco", "COCO's JSON of queries or frames, and of supports", "coco", ("video", "image"), IMAGES),
    Format("davis", "DAVIS-2017's layout, with supports and episodes beside it", "davis", ("video",), IMAGES),
    Format(
        "hub",
        "the result for a model's page and a benchmark's leaderboard on the Hugging Face Hub",
        "hub_results",
        ("run",),
        takes=("dataset", "date", "source"),
        requires=("dataset",),
    ),
    Format(
        "hub",
        "a folder for the Hugging Face Hub: a dataset card, Parquet tables, masks",
        "hub",
        ("video", "image"),
        takes=("with_frames",),
        extra="hub",
    ),
    Format(
        "croissant",
        "a Croissant 1.1 file beside the benchmark: what it is, its licences, its tables",
        "croissant",
        ("video", "image"),
        takes=("date", "url"),
        requires=("date",),
        file="croissant.json",
    ),
)


def get_format(name: str, kind: str) -> Format:
    """Return the format of a name for one kind of subject: ``video``, ``image`` or ``run``.

    Raises:
        UsageError: There is none of that name, or not of that kind.
    """
    names = dict.fromkeys(form.name for form in FORMATS)
    if name not in names:
        raise UsageError(f"no format '{name}'", fix=did_you_mean(name, names))
    for form in FORMATS:
        if form.name == name and kind in form.of:
            return form
    what = {"run": "a run", "image": "an image benchmark"}.get(kind, f"a {kind} benchmark")
    others = [form.name for form in FORMATS if kind in form.of]
    raise UsageError(f"{what} has no form '{name}'", expected=" or ".join(others))
