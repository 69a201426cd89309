"""Panels that explain a prediction, drawn side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icvos.files import atomic_write
from icvos.models.interface import Panel

__all__ = ["draw"]


def draw(panels: Sequence[Panel], path: Path, *, title: str, columns: int = 4) -> None:
    """Draw panels as one PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.4 * rows), layout="constrained", squeeze=False)
    figure.suptitle(title, fontsize=11)
    for axis in axes.flat:
        axis.set_axis_off()
    for panel, axis in zip(panels, axes.flat):
        height, width = panel.image.shape[:2]
        axis.set_title(panel.title, fontsize=9)
        # Colours belong to the values: what lies under them is grey.
        grey = np.repeat(panel.image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        axis.imshow(panel.image if panel.heat is None else grey)
        if panel.heat is not None:
            low, high = panel.span or (float(panel.heat.min()), float(panel.heat.max()))
            picture = axis.imshow(
                panel.heat,
                cmap="inferno",
                alpha=0.65,
                vmin=low,
                vmax=max(high, low + 1e-9),
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                interpolation="bilinear",
            )
            figure.colorbar(picture, ax=axis, fraction=0.035, pad=0.01).ax.tick_params(labelsize=7)
        if panel.mask is not None and panel.mask.any():
            tint = np.zeros((height, width, 4), np.float32)
            tint[panel.mask] = (0.0, 0.75, 1.0, 0.5)
            axis.imshow(tint)
        if panel.outline is not None and panel.outline.any() and not panel.outline.all():
            axis.contour(panel.outline, levels=[0.5], colors=["#ffdd00"], linewidths=1.2)
    with atomic_write(path) as stream:
        figure.savefig(stream, dpi=90, format="png")
    plt.close(figure)
