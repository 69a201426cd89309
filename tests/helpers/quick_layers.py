"""Who asks for the fast layers of the CPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

import icvos.foundation.cpu.convolution
import icvos.foundation.sam1
import icvos.foundation.sam2

_LAYERS = (
    (icvos.foundation.sam2, "hiera_in_pieces"),
    (icvos.foundation.sam1, "vit_in_pieces"),
    (icvos.foundation.cpu.convolution, "_CONVOLUTION"),
)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return a counter of the calls from now on: what is frozen goes this way, and no gradient is kept of it."""
    calls: Counter[str] = Counter()

    def watch(module: Any, name: str) -> None:
        own = getattr(module, name)

        def call(*values: Any, **named: Any) -> Any:
            assert not torch.is_grad_enabled()
            calls[name] += 1
            return own(*values, **named)

        monkeypatch.setattr(module, name, call)

    for module, name in _LAYERS:
        watch(module, name)
    return calls
