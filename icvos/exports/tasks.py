"""The names of the tasks that a benchmark is on the Hugging Face Hub: in its ``eval.yaml``, and in results of runs."""

from __future__ import annotations

from icvos.files import escape_id

__all__ = ["task_id"]


def task_id(benchmark: str, protocol: str, shots: int | None, unseen: str = "") -> str:
    """Return the id of a task, as ``demo_native_1-shot``: letters, digits, ``_``, ``.`` and ``-`` alone.

    What one leaderboard may rank together has one id: the same benchmark, protocol and shots.

    Args:
        benchmark, protocol: Their names.
        shots: Supports shown; None of semi-supervised VOS, where the masks of frame 0 are told.
        unseen: The first digits of the hash of what the protocol counts as unseen, or "".
    """
    told = "first-frame" if shots is None else f"{shots}-shot"
    parts = (benchmark, protocol, *((f"unseen-{unseen}",) if unseen else ()), told)
    return "_".join(escape_id(part) for part in parts)
