"""Exporting a benchmark or a run, and the check of what was made so."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

from icvos.benchmark import Benchmark
from icvos.errors import InputError, UsageError, in_words
from icvos.exports.folder import SCHEMA, ExportFolder, check_outside, damages, read_content, write_export
from icvos.exports.formats import FORMATS, PLACES, ExportOptions, Format, get_format
from icvos.files import absolute_path, atomic_write, escape_id, file_sha256, read_file
from icvos.installation import install_command
from icvos.manifest import read_manifest
from icvos.models.needs import missing_packages
from icvos.progress import Progress, silent
from icvos.runs.run import Run
from icvos.version import __version__

__all__ = ["FileFormatModule", "FormatModule", "check_export", "default_out", "export"]


class FormatModule(Protocol):
    """What the module of a format has.

    One that refuses some subjects or options has ``check(subject, options)`` too, called before anything is written.
    """

    def write(self, subject: Any, folder: ExportFolder, options: ExportOptions, progress: Progress) -> None:
        """Write every file of a ``Benchmark`` or ``Run``."""

    def problems(self, root: Path) -> Sequence[str]:
        """Return what is wrong with a whole export, a line each."""


class FileFormatModule(Protocol):
    """What the module of a format of one file has."""

    def compose(self, subject: Any, out: Path, options: ExportOptions, progress: Progress) -> str:
        """Return the file's text, as it is where it lies at ``out``."""

    def problems(self, path: Path) -> Sequence[str]:
        """Return what is wrong with the file, a line each."""


def default_out(subject: Benchmark | Run, to: str) -> Path:
    """Return where an export goes if nobody says: below ``exports``, or a file beside the benchmark's folder."""
    form = get_format(to, _kind(subject))
    if form.file and isinstance(subject, Benchmark):
        root = absolute_path(subject.root)
        return root.parent / f"{root.name}.{form.file}"
    name = subject.benchmark_name if isinstance(subject, Run) else subject.name
    if isinstance(subject, Run):
        # A board's record is one file.
        name += f"-{absolute_path(subject.where).name.removesuffix('.json')}"
    return Path("exports") / escape_id(f"{name.replace(':', '-').replace('/', '-')}-{to}", keep="@+")


def export(
    subject: Benchmark | Run, to: str, out: Path, options: ExportOptions | None = None, *, progress: Progress = silent
) -> bool:
    """Write a benchmark or a run in another form, or go on with it; the same twice is the same byte for byte.

    Args:
        subject: What is exported.
        to: Name of the format.
        out: The folder, which may be begun already; the file of a format of one file.
        options: What the format is told.
        progress: Hears of it.

    Returns:
        Whether anything was left to be written.

    Raises:
        UsageError: No such format, one that is not of this kind, that does not know an option, or lacks one.
        InputError: Something else is in the folder, it lies in a benchmark, run or export, the disk is too small, or
            the format cannot hold the subject.
        BenchmarkError: A file of the benchmark changed or is missing.
    """
    options = options or ExportOptions()
    kind = _kind(subject)
    form = get_format(to, kind)
    told = {each.name: getattr(options, each.name) for each in fields(options) if getattr(options, each.name)}
    for name in told:
        if name not in form.takes:
            raise UsageError(f"{to} takes no {_flag(name)}")
    if options.link and not options.with_frames:
        raise UsageError("--link is of images, and there are none without --with-frames", fix="give both, or neither")
    wanted = [name for name in form.requires if name not in told]
    if wanted:
        raise UsageError(f"--to {to} of a {kind if kind == 'run' else 'benchmark'} needs {_flag(wanted[0])}")
    absent = missing_packages(form.extra)
    if absent:
        raise UsageError(f"--to {to} needs {in_words(absent)}", fix=install_command(form.extra))
    check_outside(out)
    if form.file:
        return _export_file(form, subject, out, options, progress)
    content = {
        "schema": SCHEMA,
        "to": to,
        "of": kind,
        "icvos": __version__,
        **_identity(subject),
        "options": {
            name: value for name, value in asdict(options).items() if name in form.takes and name not in PLACES
        },
    }
    module: Any = _module(form)
    if hasattr(module, "check"):
        module.check(subject, options)
    copied = isinstance(subject, Benchmark) and options.with_frames and not options.link
    return write_export(
        out,
        content,
        lambda folder: module.write(subject, folder, options, progress),
        # A bundle holds all twice: in its folder, and in its archive.
        need=_image_bytes(subject) * (2 if to == "codabench" else 1)
        if copied and isinstance(subject, Benchmark)
        else 0,
    )


def _export_file(form: Format, subject: Benchmark | Run, out: Path, options: ExportOptions, progress: Progress) -> bool:
    if not out.name.endswith(form.file):
        raise UsageError(f"the file is to be called '{out.name}'", expected=f"a name that ends with {form.file}")
    text = _module(form).compose(subject, out, options, progress).encode()
    if out.exists():
        if out.is_file() and read_file(out) == text:
            return False
        raise InputError("something else is there", where=out, fix="remove it, or choose another --out")
    with atomic_write(out) as stream:
        stream.write(text)
    return True


def check_export(root: Path) -> list[str]:
    """Return what is wrong with an export, a line each: half, damaged, or not of its form; nothing where it is good.

    Args:
        root: Its folder, or its file.

    Raises:
        InputError: It is no export.
    """
    if root.is_file():
        forms = [form for form in FORMATS if form.file and root.name.endswith(form.file)]
        if not forms:
            ends = " or ".join(sorted({form.file for form in FORMATS if form.file}))
            raise InputError("no export", where=root, expected=f"a folder made by icvos export, or a file …{ends}")
        return list(_module(forms[0]).problems(root))
    content = read_content(root)
    to, kind = content.get("to", "episodes"), content.get("of")
    form = next((form for form in FORMATS if form.name == to and kind in form.of), None)
    if form is None:
        raise UsageError(f"the export is of form '{to}', which has no check", where=root)
    return damages(root) or list(_module(form).problems(root))


def _kind(subject: Benchmark | Run) -> str:
    return "run" if isinstance(subject, Run) else subject.kind


def _flag(name: str) -> str:
    """Return an option's name as the command line has it."""
    return f"--{name.replace('_', '-')}"


def _module(form: Format) -> Any:
    """Return a format's module: a ``FileFormatModule`` where it has a file, else a ``FormatModule``."""
    return importlib.import_module(f"icvos.exports.{form.module}")


def _identity(subject: Benchmark | Run) -> dict[str, Any]:
    if isinstance(subject, Benchmark):
        about = {"name": subject.name, "version": subject.version, "manifest_sha256": subject.manifest_sha256}
        return {"benchmark": about}
    about = {"model": subject.full_name, "version": subject.version, "benchmark": subject.benchmark_name}
    # A board's record is one file.
    result = subject.where / "result.json" if subject.where.is_dir() else subject.where
    return {"run": {**about, "result_sha256": file_sha256(result)}}


def _image_bytes(benchmark: Benchmark) -> int:
    """Return the size of a benchmark's frames, queries and supports."""
    return sum(
        size for path, size, _ in read_manifest(benchmark.root) if "JPEGImages" in path.split("/") or "/images/" in path
    )
