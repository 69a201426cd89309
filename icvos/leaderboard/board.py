"""The board: a folder of records, ``<benchmark>/<protocol>/<model>@<version>.json``, one a submission."""

from __future__ import annotations

from pathlib import Path

from icvos.errors import RunError
from icvos.files import icvos_home
from icvos.runs.run import Run

__all__ = ["default_board", "read_board", "record_files"]


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


def read_board(board: Path, *, must_exist: bool = False) -> tuple[list[Run], list[str]]:
    """Return the entries of a board, sorted by place, and a line for each record that is left out.

    That is one that is broken, and of two of one submission the one that does not lie in its place.

    Raises:
        RunError: There is no such folder (if it must exist).
    """
    if not board.is_dir():
        if must_exist:
            raise RunError("no such board", where=board, expected="a folder of records")
        return [], []
    from icvos.leaderboard.record import read_record, record_path

    entries: dict[Path, tuple[Path, Run]] = {}
    problems = []
    for path in record_files(board):
        try:
            entry = read_record(path)
            expected = record_path(board, entry)
        except RunError as error:
            problems.append(f"{path}: {error.what}")
            continue
        both = [(path, entry), *([entries[expected]] if expected in entries else [])]
        both.sort(key=lambda each: (each[0] != expected, each[0]))
        entries[expected] = both[0]
        for left, _ in both[1:]:
            twice = f"{entry.model} {entry.version} stands on the board twice"
            problems.append(f"{left}: {twice}, and {both[0][0]} is its record")
    return [entry for _, entry in entries.values()], problems
