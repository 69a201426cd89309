"""What follows the seed of an episode: generators in this process, and methods in interpreters of their own."""

from __future__ import annotations

import random
import sys
from typing import Any
from weakref import WeakSet

import numpy as np

__all__ = ["ELSEWHERE", "seed_all"]

ELSEWHERE: WeakSet[Any] = WeakSet()
"""Interpreters in which methods of this process run (``icvos.models.remote.Interpreter``)."""

last: int | None = None
"""The seed that was set last."""


def seed_all(seed: int) -> None:
    """Seed python, numpy and, where it is imported, torch; in the interpreters of methods too."""
    global last
    last = seed
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a model may use the global stream
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
    for other in list(ELSEWHERE):
        other.seed(seed)
