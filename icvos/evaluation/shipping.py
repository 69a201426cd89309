"""What goes to another machine and comes back: a benchmark, a model's file, masks."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from icvos.errors import BenchmarkError, IcvosError, LockedError
from icvos.files import expand_home, icvos_home, lock_folder, real_path
from icvos.manifest import read_manifest
from icvos.models.specs import PROGRAM, split_python

__all__ = [
    "model_file",
    "new_mask_folder",
    "pack_benchmark",
    "ship_again",
    "ship_model",
    "take_masks",
    "unpack_benchmark",
    "write_masks",
]

# What is shipped of a benchmark in one object.
CHUNK_BYTES = 64 << 20
REMEDY = "set ICVOS_HOME there to a folder that can be written and has room"


def new_mask_folder() -> tuple[Path, IO[bytes]]:
    """Return a new folder for masks on their way, and the pipe that it lives by.

    It is removed a second after the pipe is closed, by this process or by its end, whatever that is: by then its worker
    process, which dies with it, is gone too.
    """
    folder = tempfile.mkdtemp(prefix="icvos-ray-")
    # Its own session, and no child of this process: Ray ends those of an actor.
    script = 'exec 3<&0; { cat <&3; sleep 1; rm -rf "$0"; } >/dev/null 2>&1 &'
    shell = subprocess.Popen(["sh", "-c", script, folder], stdin=subprocess.PIPE, start_new_session=True)
    shell.wait()
    assert shell.stdin is not None
    return Path(folder), shell.stdin


def unpack_benchmark(manifest: str, chunks: Sequence[Any], fetch: Callable[[Any], bytes]) -> tuple[Path, IO[bytes]]:
    """Return the folder of a shipped benchmark, and an open file: it stays for as long as that is open.

    The first process of a machine writes it, the others wait. It stays for the next run too, until another benchmark
    comes while nobody uses it. Its files are held against the manifest as they are read.

    Args:
        manifest: SHA-256 of the benchmark's manifest.
        chunks: What stands for its archives.
        fetch: Returns the archive that one stands for.

    Raises:
        IcvosError: Nothing can be written there, or not all of it.
    """
    folder = icvos_home() / "ray" / manifest[:32]
    while True:
        try:
            with lock_folder(folder.parent, remedy=REMEDY):
                return folder, _unpack_locked(folder, chunks, fetch)
        except LockedError:
            time.sleep(0.5)
        except OSError as error:
            raise BenchmarkError(
                f"node {os.uname().nodename} cannot take the shipped benchmark ({error.strerror or error})",
                where=folder.parent,
                fix=REMEDY,
            ) from None


def _unpack_locked(folder: Path, chunks: Sequence[Any], fetch: Callable[[Any], bytes]) -> IO[bytes]:
    folder.parent.mkdir(exist_ok=True)
    if not folder.is_dir():
        _remove_unused(folder.parent)
        partial = folder.with_name(f"{folder.name}.partial")
        try:
            for chunk in chunks:
                with tarfile.open(fileobj=io.BytesIO(fetch(chunk))) as archive:
                    archive.extractall(partial, filter="data")
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    use = folder.with_name(f"{folder.name}.use").open("ab")
    fcntl.flock(use, fcntl.LOCK_SH)
    return use


def ship_again(error: Exception, folder: Path | None) -> Exception:
    """Return an error as it is, or with the remedy where a file of a shipped benchmark is not what was shipped.

    Args:
        error: Of a worker.
        folder: Of the shipped benchmark, None where none was.
    """
    if not isinstance(error, IcvosError) or folder is None or not Path(error.where or "").is_relative_to(folder):
        return error
    remedy = f"delete {folder} on node {os.uname().nodename}: the same command ships it again"
    return BenchmarkError(error.what, where=error.where, expected=error.expected, fix=remedy)


def _remove_unused(parent: Path) -> None:
    """Remove the shipped benchmarks that no process uses, and what is left of one that did not come whole."""
    for old in [path for path in parent.iterdir() if path.is_dir()]:
        with old.with_name(f"{old.name}.use").open("ab") as use, contextlib.suppress(BlockingIOError):
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
            Path(use.name).unlink()


def pack_benchmark(root: Path) -> Iterator[bytes]:
    """Yield a benchmark's files in archives of about ``CHUNK_BYTES``."""
    names = [*(path for path, _, _ in read_manifest(root)), "manifest.csv"]
    while names:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            while names and stream.tell() < CHUNK_BYTES:
                name = names.pop()
                archive.add(root / name, name, recursive=False)
        yield stream.getvalue()


def model_file(spec: str) -> tuple[str, Path, str] | None:
    """Return the file that a spec names, between what stands before and behind it; None for others."""
    if spec.startswith(PROGRAM):
        return None
    python, rest = split_python(spec)
    path, suffix, behind = rest.partition(".py")
    if not suffix or (behind and behind[0] not in ":+"):
        return None
    return f"{python}::" if python else "", real_path(expand_home(f"{path}{suffix}")), behind


def ship_model(spec: str, folder: Path) -> str:
    """Copy a model's file, and what can be imported beside it, to a folder; return the spec within that."""
    named = model_file(spec)
    if named is None:
        return spec
    before, path, behind = named
    for beside in path.parent.iterdir():
        if beside.suffix == ".py":
            shutil.copyfile(beside, folder / beside.name)
        elif (beside / "__init__.py").is_file():
            shutil.copytree(beside, folder / beside.name, ignore=shutil.ignore_patterns("__pycache__"))
    return f"{before}{path.name}{behind}"


def take_masks(folder: Path) -> dict[str, bytes] | None:
    """Return the files of an episode's masks by name and remove them; None where there are none."""
    if not folder.is_dir():
        return None
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    shutil.rmtree(folder)
    return files


def write_masks(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write an episode's masks: the folder appears when all are there."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, data in files.items():
        (partial / name).write_bytes(data)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
