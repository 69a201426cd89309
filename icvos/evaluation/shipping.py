"""What goes to another machine and comes back: a benchmark, a model's file, masks."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icvos.errors import LockedError
from icvos.files import icvos_home, lock_folder
from icvos.manifest import read_manifest

__all__ = [
    "model_file",
    "new_mask_folder",
    "pack_benchmark",
    "ship_model",
    "take_masks",
    "unpack_benchmark",
    "write_masks",
]

# What is shipped of a benchmark in one object.
CHUNK_BYTES = 64 << 20


def new_mask_folder() -> Path:
    """Return a new folder for masks on their way; those of actors that were killed are removed."""
    parent = Path(tempfile.gettempdir())
    for old in parent.glob("icvos-ray-*"):
        number = old.name.split("-")[2]
        if number.isdigit() and not Path("/proc", number).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"icvos-ray-{os.getpid()}-"))


def unpack_benchmark(manifest: str, chunks: Sequence[Any], fetch: Callable[[Any], bytes]) -> Path:
    """Return the folder of a shipped benchmark; the first process of a machine writes it, the others wait.

    Its files are held against the manifest as they are read.

    Args:
        manifest: SHA-256 of the benchmark's manifest.
        chunks: What stands for its archives.
        fetch: Returns the archive that one stands for.
    """
    folder = icvos_home() / "ray" / manifest[:32]
    while not folder.is_dir():
        try:
            with lock_folder(folder, remedy="set ICVOS_HOME there to a folder that can be written"):
                if folder.is_dir():
                    break
                partial = folder.with_name(f"{folder.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                for chunk in chunks:
                    with tarfile.open(fileobj=io.BytesIO(fetch(chunk))) as archive:
                        archive.extractall(partial, filter="data")
                partial.rename(folder)
        except LockedError:
            time.sleep(0.5)
    return folder


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


def model_file(spec: str) -> tuple[Path, str] | None:
    """Return the file that a spec names, and what stands behind it there; None for an installed model."""
    path, suffix, rest = spec.partition(".py")
    return (Path(f"{path}{suffix}").expanduser(), rest) if suffix and (not rest or rest[0] in ":+") else None


def ship_model(spec: str, folder: Path) -> str:
    """Copy a model's file, and what can be imported beside it, to a folder; return the spec within that."""
    named = model_file(spec)
    if named is None:
        return spec
    path, rest = named[0].resolve(), named[1]
    for beside in path.parent.iterdir():
        if beside.suffix == ".py":
            shutil.copyfile(beside, folder / beside.name)
        elif (beside / "__init__.py").is_file():
            shutil.copytree(beside, folder / beside.name, ignore=shutil.ignore_patterns("__pycache__"))
    return path.name + rest


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
