"""The board: a folder of records, ``<benchmark>/<protocol>/<model>@<version>.json``, one a submission."""

from __future__ import annotations

from pathlib import Path

from icvos.errors import RunError
from icvos.files import icvos_home
from icvos.runs.run import Run

__all__ = ["default_board", "read_board"]


def default_board() -> Path:
    """Return ``leaderboards/`` of the checkout of icvos one stands in, else that of ICVOS_HOME."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        setup = folder / "setup.cfg"
        if setup.is_file():
            lines = [line.replace(" ", "") for line in setup.read_text(encoding="utf-8", errors="replace").splitlines()]
            return folder / "leaderboards" if "name=icvos" in lines else icvos_home() / "leaderboards"
    return icvos_home() / "leaderboards"


def read_board(board: Path, *, must_exist: bool = False) -> list[Run]:
    """Return the entries of a board, sorted by place.

    Raises:
        RunError: There is no such folder (if it must exist), a record is broken, or two are of one submission.
    """
    if not board.is_dir():
        if must_exist:
            raise RunError("no such board", where=board, expected="a folder of records")
        return []
    from icvos.leaderboard.record import read_record, record_path

    entries: dict[Path, tuple[Path, Run]] = {}
    for path in sorted(board.glob("*/*/*.json")):
        entry = read_record(path)
        other, _ = entries.setdefault(record_path(board, entry), (path, entry))
        if other != path:
            raise RunError(
                f"{entry.model} {entry.version} stands on the board twice",
                where=path,
                expected=f"one record of it, and {other} is one",
                fix="remove one of them",
            )
    return [entry for _, entry in entries.values()]
