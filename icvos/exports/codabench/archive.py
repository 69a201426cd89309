"""Zip archives that are the same byte for byte, whoever makes them: sorted, without times, stored as they are."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from icvos.files import open_file

__all__ = ["differences", "write_archive"]

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that the format knows
_BLOCK = 1 << 20


def write_archive(stream: IO[bytes], files: Iterable[tuple[str, Path]]) -> None:
    """Write files into an archive, one at a time.

    Args:
        stream: That can be sought in.
        files: The name of each in the archive, ``/``-separated, and where it lies; in the order in which they stand
            there.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            entry.file_size = path.stat().st_size
            with open_file(path) as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)


def differences(archive: Path, root: Path, names: Sequence[str]) -> list[str]:
    """Return how an archive differs from the files that it should hold, a line each.

    Args:
        archive: As ``write_archive`` writes it.
        root: The folder of the files.
        names: Theirs, in order.
    """
    try:
        with zipfile.ZipFile(open_file(archive)) as opened:
            entries = opened.infolist()
            if [entry.filename for entry in entries] != list(names):
                return [f"{archive.name}: it holds other files than {root.name}"]
            return [
                f"{archive.name}: {entry.filename} is another than in {root.name}"
                for entry in entries
                if not _is_same(opened, entry, root / entry.filename)
            ]
    except (
        zipfile.BadZipFile,
        struct.error,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
    ) as problem:
        return [f"{archive.name}: it cannot be read ({problem})"]


def _is_same(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> bool:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != path.stat().st_size:
        return False
    with archive.open(entry) as packed, open_file(path) as plain:
        while block := plain.read(_BLOCK):
            if packed.read(len(block)) != block:
                return False
    return True
