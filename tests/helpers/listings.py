"""Folders whose entries come in another order than usual, as on another file system."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

__all__ = ["shuffle_listings"]


def shuffle_listings(patch: pytest.MonkeyPatch) -> None:
    """Have the system list every folder in another order; one by one and all at once differ, too."""
    real_scandir, real_listdir = os.scandir, os.listdir

    class Shuffled:
        def __init__(self, path: Any = ".") -> None:
            with real_scandir(path) as entries:
                self.entries = list(entries)
            random.Random(len(self.entries)).shuffle(self.entries)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            if not self.entries:
                raise StopIteration
            return self.entries.pop()

        def close(self) -> None: ...

    patch.setattr(os, "scandir", Shuffled)
    patch.setattr(os, "listdir", lambda path=".": sorted(real_listdir(path), reverse=True))
