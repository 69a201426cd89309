"""A whole board checked again: every record by itself, against its benchmark, and from its submission's masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import load_benchmark
from icvos.errors import IcvosError, InputError, RunError
from icvos.files import file_sha256, read_file, to_json
from icvos.leaderboard.benchmarks import LIST, find_benchmark, known_benchmarks
from icvos.leaderboard.board import Board, opened_board, record_files
from icvos.leaderboard.consistency import check_against, differs, same_result
from icvos.leaderboard.judge import Judgement, Sent, judge, opened_run
from icvos.leaderboard.record import Record, open_record, record_path
from icvos.leaderboard.rewritten import rewritten
from icvos.progress import Progress, silent
from icvos.runs.run import CHECKED, Run

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
    board: str | Path | Board,
    *,
    archives: Path | None = None,
    benchmarks: Sequence[str | Path] = (),
    workers: int = 1,
    progress: Progress = silent,
) -> Iterator[Finding]:
    """Yield what is found of every record of a board, by path.

    Args:
        board: The folder of records, or a git repository of them as ``opened_board`` has it.
        archives: A folder of submissions. Every record is judged again by its own, which must be among them: the one
            that it names, or of its place where it names none of them.
        benchmarks: Folders, or demos' names, beside those of the board's list and the demos that are built.
        workers: Processes that score masks.
        progress: Is told of the masks.

    Raises:
        InputError: There are no records, no such folder of archives, or a benchmark or the repository cannot be opened.
    """
    if archives is not None and not archives.is_dir():
        raise InputError("no such folder", where=archives)
    with opened_board(board) as opened:
        yield from (Finding(path, why, ()) for path, why in opened.left_out)
        yield from _verify(opened, archives, benchmarks, workers, progress)


def _verify(
    source: Board, archives: Path | None, benchmarks: Sequence[str | Path], workers: int, progress: Progress
) -> Iterator[Finding]:
    board = source.folder
    records = {path: _opened(path) for path in sorted({*record_files(board), *board.rglob("*.json")} - {board / LIST})}
    if not records:
        fix = "give the board's folder: icvos leaderboard verify BOARD"
        raise InputError("no records", where=source.name, fix=fix)
    known = known_benchmarks(board)
    for folder_or_demo in benchmarks:
        benchmark = load_benchmark(folder_or_demo)
        known[benchmark.manifest_sha256] = benchmark.root
    packed, placed = _archives(archives, board, records.values())
    opened: dict[str, Benchmark] = {}
    for path, record in records.items():
        name = path.relative_to(board).as_posix()
        done: list[str] = []
        try:
            if isinstance(record, IcvosError):
                raise record
            done.append("schema" if record.sha256 is None else "schema, hash")
            _look(record, path, board, done)
            sha256 = str(record.entry.result["benchmark"].get("manifest_sha256"))
            if sha256 in known:
                if sha256 not in opened:
                    opened[sha256] = find_benchmark("", sha256, path, given=None, known=known)
                _against(record, opened[sha256], done)
            archive = packed.get(record.submission_sha256 or "")
            candidates = [archive] if archive is not None else placed.get(path, [])
            if archives is not None and not candidates:
                raise RunError(f"its archive is not in {archives}: put it there, or pack its run and add that again")
            if candidates and sha256 not in known:
                raise RunError(
                    f"{candidates[0].name} is its archive, and its benchmark is not at hand: give --benchmark DIR"
                )
            if candidates:
                archive = _again(record, candidates, opened[sha256], workers, progress)
                done.append(f"judged again from {archive.name}")
            if record.entry.checked == CHECKED[-1]:
                done.append("reproduced: the maintainer's word")
            yield Finding(name, "", tuple(done), record.sha256 is not None)
        except IcvosError as error:
            problem = error.what if isinstance(error, RunError) else str(error)
            yield Finding(name, problem, tuple(done), isinstance(record, IcvosError) or record.sha256 is not None)


def _opened(path: Path) -> Record | IcvosError:
    try:
        return open_record(path)
    except IcvosError as error:
        return error


def _archives(
    folder: Path | None, board: Path, records: Iterable[Record | IcvosError]
) -> tuple[dict[str, Path], dict[Path, list[Path]]]:
    """Return all archives by SHA-256, and those that no record names by the place that their record would have.

    A record that was changed by hand may name no archive, or another.
    """
    files = [] if folder is None else [path for path in sorted(folder.rglob("*.zip")) if path.is_file()]
    packed = {file_sha256(path): path for path in files}
    named = {record.submission_sha256 for record in records if isinstance(record, Record)}
    placed: dict[Path, list[Path]] = {}
    for sha256, path in packed.items():
        with suppress(IcvosError):  # what cannot be opened is nobody's
            if sha256 not in named:
                with opened_run(path) as sent:
                    placed.setdefault(record_path(board, Run.open(sent.folder)), []).append(path)
    return packed, placed


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


def _again(record: Record, archives: Sequence[Path], benchmark: Benchmark, workers: int, progress: Progress) -> Path:
    """Judge archives again, and return the first that gives all that the record says.

    Raises:
        InputError: Of none; what the first of them gives.
    """
    problems: list[IcvosError] = []
    for archive in archives:
        try:
            with opened_run(archive) as sent:
                judged = judge(sent.folder, benchmark.root, workers=workers, progress=progress, name=archive)
            _compare(record, judged, sent, archive)
            return archive
        except IcvosError as error:
            problems.append(error)
    raise problems[0]


def _compare(record: Record, judged: Judgement, sent: Sent, archive: Path) -> None:
    if record.entry.checked not in (judged.checked, CHECKED[-1]):
        raise RunError(f"it says '{record.entry.checked}', and its archive is '{judged.checked}'")
    entry = judged.entry
    content: dict[str, Any] = {}
    if record.submission_sha256 == sent.sha256:
        content |= {"submitter": sent.submitter, "submission_sha256": sent.sha256}
    if record.sha256 is None:  # an earlier icvos wrote other fields, and the same figures
        problems = same_result(record.entry.result, entry.result)
        if problems:
            raise RunError(f"{archive.name} is of its place: {problems[0]}")
    else:
        content |= {"run": dict(entry.run), "result": entry.result, "episodes": list(entry.records)}
    _same(record, content, f"its archive {archive.name} gives")


def _same(record: Record, content: Mapping[str, Any], gives: str) -> None:
    for name, value in content.items():
        difference = differs(_by_id(record.content.get(name)), _by_id(value), name, ("the record says", gives))
        if difference:
            raise RunError(difference)


def _by_id(value: Any) -> Any:
    return {row["id"]: row for row in value} if isinstance(value, list) else value
