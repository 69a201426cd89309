"""The board: a folder of records, ``<benchmark>/<protocol>/<model>@<version>.json``, one a submission.

It may lie in a git repository, which is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from icvos.errors import LONGEST_WORD, RunError, printable, shortened
from icvos.files import icvos_home, work_folder
from icvos.runs.run import Run

__all__ = ["Board", "default_board", "opened_board", "read_board", "record_files"]


@dataclass(frozen=True)
class Board:
    """A board that can be read.

    Attributes:
        name: As it was asked for: a folder, or the address of a git repository.
        folder: Where its records lie; of a repository for a while.
        commit: That of a repository which is read, or "".
        stale: Why the repository was not reached, and what was fetched of it earlier is read; "" if it was.
        left_out: Files of a repository that may be records and are not read, with the reason.
    """

    name: str
    folder: Path
    commit: str = ""
    stale: str = ""
    left_out: tuple[tuple[str, str], ...] = ()

    def path_of(self, path: Path) -> str:
        """Return what a file is called: of a repository its path in it."""
        return path.relative_to(self.folder).as_posix() if self.commit else str(path)


@contextmanager
def opened_board(board: str | Path | Board) -> Iterator[Board]:
    """Give a board: its folder, there or not, or the records of a git repository, which is fetched each time.

    Args:
        board: A folder; the address of a repository, ``https://…``, ``ssh://…``, ``git@HOST:PATH``, ``file://…`` or a
            path, with ``#BRANCH`` or ``#BRANCH:FOLDER`` behind it as wanted; or a board that is open.

    Raises:
        UsageError: The address is none, or git is not installed.
        InputError: The repository cannot be fetched and never was, or is too large.
    """
    from icvos.leaderboard.repository import fetch_board, get_repository

    if isinstance(board, Board):
        yield board
        return
    repository = get_repository(str(board)) if isinstance(board, str) else None
    if repository is None:
        yield Board(str(board), Path(board))
        return
    with work_folder("icvos-board") as work:
        there = fetch_board(repository, work)
        yield Board(str(board), there.folder, there.commit, there.stale, there.left_out)


def default_board() -> Path:
    """Return ``leaderboards/`` of the checkout of icvos one stands in, else that of ICVOS_HOME."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        setup = folder / "setup.cfg"
        if setup.is_file():
            lines = [line.replace(" ", "") for line in setup.read_text(encoding="utf-8", errors="replace").splitlines()]
            return folder / "leaderboards" if "name=icvos" in lines else icvos_home() / "leaderboards"
    return icvos_home() / "leaderboards"


def record_files(board: Path) -> list[Path]:
    """Return the files of a board that tables are made of, sorted, also those in folders that are links."""
    return sorted(board.glob("*/*/*.json"))


def read_board(board: str | Path | Board, *, must_exist: bool = False) -> tuple[list[Run], list[str]]:
    """Return the entries of a board, sorted by place, and a line for each record that is left out.

    That is one that is broken, and of two of one submission the one that does not lie in its place.

    Args:
        board: A folder, or a git repository as ``opened_board`` has it.
        must_exist: Whether a folder that is not there is an error, and no empty board.

    Raises:
        RunError: There is no such folder (if it must exist).
        UsageError, InputError: As ``opened_board``.
    """
    with opened_board(board) as opened:
        if opened.folder.is_dir():
            return _read(opened)
    if must_exist:
        raise RunError("no such board", where=opened.name, expected="a folder of records, or a git repository of them")
    return [], []


def _read(board: Board) -> tuple[list[Run], list[str]]:
    from icvos.leaderboard.record import read_record, record_path

    entries: dict[Path, tuple[Path, Run]] = {}
    problems = [f"{printable(shortened(path, LONGEST_WORD))}: {why}" for path, why in board.left_out]
    for path in record_files(board.folder):
        try:
            entry = read_record(path)
            expected = record_path(board.folder, entry)
        except RunError as error:
            problems.append(f"{board.path_of(path)}: {error.what}")
            continue
        both = [(path, entry), *([entries[expected]] if expected in entries else [])]
        both.sort(key=lambda each: (each[0] != expected, each[0]))
        entries[expected] = both[0]
        for left, _ in both[1:]:
            twice = f"{entry.model} {entry.version} stands on the board twice"
            problems.append(f"{board.path_of(left)}: {twice}, and {board.path_of(both[0][0])} is its record")
    return [entry for _, entry in entries.values()], problems
