"""The forms that benchmarks and runs are exported in, once: a new one is a line of ``FORMATS`` and its module."""

from __future__ import annotations

from dataclasses import dataclass

from icvos.errors import UsageError, did_you_mean

__all__ = ["FORMATS", "ExportOptions", "Format", "get_format"]


@dataclass(frozen=True)
class ExportOptions:
    """What an export may be told; a format takes those that it names.

    Attributes:
        with_frames: Whether the images are in it, and not their names alone.
        link: Whether images are hard links instead of copies, where that is possible.
        date: When it is published, YYYY-MM-DD: an export looks at no clock.
        url: The address of the folder in which it and the benchmark will lie, or "".
    """

    with_frames: bool = False
    link: bool = False
    date: str = ""
    url: str = ""


@dataclass(frozen=True)
class Format:
    """A form of export.

    Attributes:
        text: What is written, in a line.
        module: In ``icvos.exports``; it has the functions of ``icvos.exports.export.FormatModule``, or of
            ``FileFormatModule``.
        of: What can be written so: ``video`` and ``image`` benchmarks, ``run``.
        takes: The options that it knows, by name.
        extra: The pip extra of icvos that it needs, or "".
        file: How the name of its file ends, where it is one file that lies above the benchmark, and no folder; or "".
    """

    text: str
    module: str
    of: tuple[str, ...]
    takes: tuple[str, ...] = ()
    extra: str = ""
    file: str = ""


FORMATS: dict[str, Format] = {
    "csv": Format("tables: a row an episode, a row a frame, the figures of the whole", "run_tables", ("run",)),
    "croissant": Format(
        "a Croissant 1.1 file beside the benchmark: what it is, its licences, its tables",
        "croissant",
        ("video", "image"),
        ("date", "url"),
        file="croissant.json",
    ),
    "hub": Format(
        "a folder for the Hugging Face Hub: a dataset card, Parquet tables, masks",
        "hub",
        ("video", "image"),
        ("with_frames",),
        extra="hub",
    ),
}


def get_format(name: str) -> Format:
    """Return a format.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in FORMATS:
        raise UsageError(f"no format '{name}'", fix=did_you_mean(name, FORMATS))
    return FORMATS[name]
