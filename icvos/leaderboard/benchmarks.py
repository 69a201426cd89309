"""Which benchmark a run is of: given, in the board's list by its manifest's hash, or a demo; never as the run says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import DEMO_NAMES, load_benchmark
from icvos.errors import RunError, in_words
from icvos.files import file_sha256, icvos_home, is_utf8, read_json, write_json
from icvos.manifest import verify_tables

__all__ = ["LIST", "add_benchmark", "find_benchmark", "known_benchmarks", "read_benchmarks"]

LIST = "benchmarks.json"
SCHEMA = "icvos-board-benchmarks/1"
DEMOS = {name.replace("/", "-"): name for name in DEMO_NAMES}


def read_benchmarks(board: Path) -> dict[str, Path]:
    """Return a board's benchmarks: folders by the SHA-256 of their manifests; none where it has no list.

    Raises:
        RunError: The list is broken.
    """
    return {sha256: board / folder for sha256, folder in _listed(board).items()}


def _listed(board: Path) -> dict[str, str]:
    path = board / LIST
    if not path.exists():
        return {}
    content = read_json(path, RunError)
    folders = content.get("benchmarks") if isinstance(content, dict) and content.get("schema") == SCHEMA else None
    if not isinstance(folders, dict) or not all(
        re.fullmatch("[0-9a-f]{64}", sha256) and _is_folder_name(folder) for sha256, folder in folders.items()
    ):
        raise RunError("the board's list of benchmarks is broken", where=path, expected=f"{SCHEMA}, hashes and folders")
    return folders


def _is_folder_name(folder: object) -> bool:
    return isinstance(folder, str) and is_utf8(folder) and "\0" not in folder


def add_benchmark(board: Path, benchmark: Benchmark) -> None:
    """Write a benchmark into a board's list, relative to the board where both lie in one folder.

    The caller holds the board's lock.

    Raises:
        RunError: The list is broken, or the benchmark's folder has a name that JSON cannot hold.
    """
    root, base = benchmark.root.resolve(), board.resolve()
    folder = os.path.relpath(root, base) if root.is_relative_to(base.parent) else str(root)
    if not _is_folder_name(folder):
        raise RunError("the name of the benchmark's folder is not UTF-8", where=benchmark.root, fix="rename it")
    known = {**_listed(board), benchmark.manifest_sha256: folder}
    write_json(board / LIST, {"schema": SCHEMA, "benchmarks": dict(sorted(known.items()))})


def known_benchmarks(board: Path | None) -> dict[str, Path]:
    """Return the folders of a board's benchmarks and of the demos that are built, by their manifests' SHA-256.

    Those that lie there no more, are others now or cannot be read are left out.
    """
    manifests = sorted((icvos_home() / "demo").glob("*/benchmarks/*/manifest.csv"))
    known = {file_sha256(manifest): manifest.parent for manifest in manifests}
    for sha256, folder in ({} if board is None else read_benchmarks(board)).items():
        with suppress(OSError):
            if file_sha256(folder / "manifest.csv") == sha256:
                known[sha256] = folder
    return known


def find_benchmark(
    name: str, sha256: str, where: Path, *, given: str | Path | None, known: Mapping[str, Path]
) -> Benchmark:
    """Return the benchmark of a run, its tables compared with its manifest.

    Args:
        name: What the run calls it; of a demo it says which to build.
        sha256: Of its manifest, as the run says.
        where: The run, for errors.
        given: A folder or a demo's name, which goes before all.
        known: Folders by their manifests' hashes.

    Raises:
        RunError: It is not at hand.
        BenchmarkError: It cannot be opened, or a table changed since it was built.
    """
    root = given if given is not None else known.get(sha256)
    opened = None if root is None and name not in DEMOS else load_benchmark(root if root is not None else DEMOS[name])
    if opened is None or (given is None and opened.manifest_sha256 != sha256):
        raise RunError(
            f"the benchmark {in_words(name[:80])} with the manifest {sha256[:16]} is not at hand",
            where=where,
            fix="give its folder: --benchmark DIR",
        )
    verify_tables(opened)
    return opened
