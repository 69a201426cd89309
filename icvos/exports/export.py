"""Exporting a benchmark or a run, and the check of what was made so."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

from icvos.benchmark import Benchmark
from icvos.errors import InputError, UsageError, in_words
from icvos.exports.folder import SCHEMA, ExportFolder, damages, read_content, write_export
from icvos.exports.formats import FORMATS, ExportOptions, Format, get_format
from icvos.files import absolute_path, atomic_write, file_sha256
from icvos.installation import install_command
from icvos.manifest import read_manifest
from icvos.models.needs import missing_packages
from icvos.progress import Progress, silent
from icvos.runs.run import Run
from icvos.version import __version__

__all__ = ["FileFormatModule", "FormatModule", "check_export", "default_out", "export"]


class FormatModule(Protocol):
    """What the module of a format has."""

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
    """Return where an export goes if nobody says: ``exports/NAME-FORM``, or a file beside the benchmark's folder."""
    form = get_format(to)
    if form.file and isinstance(subject, Benchmark):
        root = absolute_path(subject.root)
        return root.parent / f"{root.name}.{form.file}"
    name = absolute_path(subject.where).name if isinstance(subject, Run) else subject.name
    return Path("exports") / f"{name.replace(':', '-').replace('/', '-')}-{to}"


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
        UsageError: No such format, one that is not of this kind, or that does not know an option.
        InputError: Something else is in the folder, or the disk is too small.
        BenchmarkError: A file of the benchmark changed or is missing.
    """
    options = options or ExportOptions()
    form = get_format(to)
    kind = "run" if isinstance(subject, Run) else subject.kind
    if kind not in form.of:
        others = [name for name, other in FORMATS.items() if kind in other.of]
        what = f"a {kind} benchmark" if isinstance(subject, Benchmark) else "a run"
        raise UsageError(f"{what} has no form '{to}'", expected=" or ".join(others))
    told = {each.name: getattr(options, each.name) for each in fields(options) if getattr(options, each.name)}
    for name in told:
        if name not in form.takes:
            raise UsageError(f"{to} takes no --{name.replace('_', '-')}")
    absent = missing_packages(form.extra)
    if absent:
        raise UsageError(f"--to {to} needs {in_words(absent)}", fix=install_command(form.extra))
    if form.file:
        return _export_file(form, subject, out, options, progress)
    content = {
        "schema": SCHEMA,
        "to": to,
        "icvos": __version__,
        **_identity(subject),
        "options": {name: value for name, value in asdict(options).items() if name in form.takes and name != "link"},
    }
    copied = isinstance(subject, Benchmark) and options.with_frames and not options.link
    module: FormatModule = _module(form)
    return write_export(
        out,
        content,
        lambda folder: module.write(subject, folder, options, progress),
        need=_image_bytes(subject) if copied and isinstance(subject, Benchmark) else 0,
    )


def _export_file(form: Format, subject: Benchmark | Run, out: Path, options: ExportOptions, progress: Progress) -> bool:
    if not out.name.endswith(form.file):
        raise UsageError(f"the file is to be called '{out.name}'", expected=f"a name that ends with {form.file}")
    text = _module(form).compose(subject, out, options, progress).encode()
    if out.exists():
        if out.is_file() and out.read_bytes() == text:
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
        forms = [form for form in FORMATS.values() if form.file and root.name.endswith(form.file)]
        if not forms:
            ends = " or ".join(sorted({form.file for form in FORMATS.values() if form.file}))
            raise InputError("no export", where=root, expected=f"a folder made by icvos export, or a file …{ends}")
        return list(_module(forms[0]).problems(root))
    content = read_content(root)
    to = content.get("to", "episodes")
    if to not in FORMATS:
        raise UsageError(f"the export is of form '{to}', which has no check", where=root)
    return damages(root) or list(_module(FORMATS[to]).problems(root))


def _module(form: Format) -> Any:
    """Return a format's module: a ``FileFormatModule`` where it has a file, else a ``FormatModule``."""
    return importlib.import_module(f"icvos.exports.{form.module}")


def _identity(subject: Benchmark | Run) -> dict[str, Any]:
    if isinstance(subject, Benchmark):
        about = {"name": subject.name, "version": subject.version, "manifest_sha256": subject.manifest_sha256}
        return {"benchmark": about}
    about = {"model": subject.full_name, "version": subject.version, "benchmark": subject.benchmark_name}
    return {"run": {**about, "result_sha256": file_sha256(subject.where / "result.json")}}


def _image_bytes(benchmark: Benchmark) -> int:
    """Return the size of a benchmark's frames, queries and supports."""
    return sum(
        size for path, size, _ in read_manifest(benchmark.root) if "JPEGImages" in path.split("/") or "/images/" in path
    )
