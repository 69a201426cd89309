"""Panels that explain a prediction, as one picture whose rows all have its width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icvos.images import write_image
from icvos.models.interface import Panel
from icvos.report.overlay import COLOURS, GAP, Keys, beside, caption, framed, legend, paint_panel, scaled, stack, titled

__all__ = ["draw"]

WIDE = 1240
ACROSS = 4
HIGHEST = 420
KEYS: Keys = (
    ("mask", COLOURS["right"]),
    ("ground truth's outline", COLOURS["missed"]),
    ("heat, low", (40, 11, 84)),
    ("high", (252, 165, 10)),
)


def draw(panels: Sequence[Panel], path: Path, *, title: str) -> None:
    """Draw panels as one PNG: in their order, as many a row as leave none of the rows with a hole.

    Args:
        panels: At least one.
        path: The file.
        title: Above them.
    """
    pictures = [paint_panel(panel) for panel in panels]
    count = -(-len(panels) // ACROSS)
    parts = [caption(WIDE, title, size=16, bold=True), legend(WIDE, KEYS)]
    for number in np.array_split(np.arange(len(panels)), count):
        shapes = [pictures[index].shape for index in number]
        # The height at which the row is as wide as the page.
        high = (WIDE - GAP * (len(number) - 1)) / sum(width / height for height, width, _ in shapes)
        cells = [
            titled(scaled(pictures[index], min(round(high), HIGHEST)), panels[index].title, size=13) for index in number
        ]
        parts.append(beside(cells))
    write_image(path, framed(stack(parts, gap=GAP)))
