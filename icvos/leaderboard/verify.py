"""A whole board checked again: every record by itself, against its benchmark, and from its submission's masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import load_benchmark
from icvos.errors import IcvosError, InputError, RunError
from icvos.files import file_sha256, read_file, to_json
from icvos.leaderboard.benchmarks import LIST, find_benchmark, known_benchmarks
from icvos.leaderboard.consistency import check_against, differs
from icvos.leaderboard.judge import judge, opened_run
from icvos.leaderboard.record import Record, open_record, record_path
from icvos.leaderboard.rewritten import rewritten
from icvos.progress import Progress, silent
from icvos.runs.run import CHECKED

__all__ = ["Finding", "verify_board"]


@dataclass(frozen=True)
class Finding:
    """What was found of one record.

    Attributes:
        path: Its file, from the board.
        problem: What was changed or is wrong; "" if nothing is.
        done: What was checked.
        hashed: Whether it has a hash, as all have that this version wrote.
    """

    path: str
    problem: str
    done: tuple[str, ...]
    hashed: bool = True


def verify_board(
    board: Path,
    *,
    archives: Path | None = None,
    benchmarks: Sequence[str | Path] = (),
    workers: int = 1,
    progress: Progress = silent,
) -> Iterator[Finding]:
    """Yield what is found of every record of a board, by path.

    Args:
        board: The folder of records.
        archives: A folder of submissions: every record is judged again from its own, and bad without one.
        benchmarks: Folders, or demos' names, beside those of the board's list and the demos that are built.
        workers: Processes that score masks.
        progress: Is told of the masks.

    Raises:
        InputError: There are no records, no such folder of archives, or a benchmark cannot be opened.
    """
    if archives is not None and not archives.is_dir():
        raise InputError("no such folder", where=archives)
    paths = [path for path in sorted(board.rglob("*.json")) if path != board / LIST]
    if not paths:
        raise InputError("no records", where=board, fix="give the board's folder: icvos leaderboard verify BOARD")
    known = known_benchmarks(board)
    for folder_or_demo in benchmarks:
        benchmark = load_benchmark(folder_or_demo)
        known[benchmark.manifest_sha256] = benchmark.root
    packed = {} if archives is None else {file_sha256(path): path for path in sorted(archives.rglob("*.zip"))}
    opened: dict[str, Benchmark] = {}
    for path in paths:
        name = path.relative_to(board).as_posix()
        done: list[str] = []
        record = None
        try:
            record = open_record(path)
            done.append("schema" if record.sha256 is None else "schema, hash")
            _look(record, path, board, done)
            sha256 = str(record.entry.result["benchmark"].get("manifest_sha256"))
            if sha256 in known:
                if sha256 not in opened:
                    opened[sha256] = find_benchmark("", sha256, path, given=None, known=known)
                _against(record, opened[sha256], done)
            if archives is not None:
                archive = _archive(record, packed, archives)
                if sha256 not in known:
                    raise RunError(
                        f"{archive.name} is its archive, and its benchmark is not at hand: give --benchmark DIR"
                    )
                _again(record, archive, opened[sha256], workers, progress)
                done.append(f"judged again from {archive.name}")
                if record.entry.checked == CHECKED[-1]:
                    done.append("reproduced: the maintainer's word")
            yield Finding(name, "", tuple(done), record.sha256 is not None)
        except IcvosError as error:
            problem = error.what if isinstance(error, RunError) else str(error)
            yield Finding(name, problem, tuple(done), record is None or record.sha256 is not None)


def _look(record: Record, path: Path, board: Path, done: list[str]) -> None:
    """Look at the file's bytes and place."""
    if read_file(path) != to_json(record.content).encode():
        raise RunError("its bytes are not those that icvos writes")
    place = record_path(board, record.entry)
    if path != place:
        raise RunError(f"its place is {place.relative_to(board).as_posix()}")
    done.append("place, result")


def _against(record: Record, benchmark: Benchmark, done: list[str]) -> None:
    """Compare with the benchmark; what this version wrote must be what it would write again."""
    problems = check_against(record.entry, benchmark)
    if problems:
        raise RunError(problems[0])
    if record.sha256 is not None:
        ours = rewritten(record.entry, benchmark)
        _same(
            record,
            {"run": ours.run, "result": ours.result, "episodes": list(ours.records)},
            "its benchmark and episodes give",
        )
    done.append(f"episodes against {benchmark.name}")


def _archive(record: Record, packed: Mapping[str, Path], archives: Path) -> Path:
    """Return the archive that a record came from."""
    sha256 = record.submission_sha256
    if sha256 is None:
        raise RunError("it came from no archive: pack its run, and add that with --replace")
    if sha256 not in packed:
        raise RunError(f"its archive, with the SHA-256 {sha256[:16]}, is not in {archives}")
    return packed[sha256]


def _again(record: Record, archive: Path, benchmark: Benchmark, workers: int, progress: Progress) -> None:
    """Judge the archive again, and compare all that the record says."""
    with opened_run(archive) as sent:
        judged = judge(sent.folder, benchmark.root, workers=workers, progress=progress, name=archive)
    if record.entry.checked not in (judged.checked, CHECKED[-1]):
        raise RunError(f"it says '{record.entry.checked}', and its archive is '{judged.checked}'")
    content: dict[str, Any] = {"submitter": sent.submitter, "submission_sha256": sent.sha256}
    entry = judged.entry
    content |= {"run": dict(entry.run), "result": entry.result, "episodes": list(entry.records)}
    _same(record, content, "its archive gives")


def _same(record: Record, content: Mapping[str, Any], gives: str) -> None:
    for name, value in content.items():
        difference = differs(_by_id(record.content.get(name)), _by_id(value), name, ("the record says", gives))
        if difference:
            raise RunError(difference)


def _by_id(value: Any) -> Any:
    return {row["id"]: row for row in value} if isinstance(value, list) else value
