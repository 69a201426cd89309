"""What DC-SAM looked at in one episode: prior mask, coarse mask and attention of the prompts, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icvos.files import atomic_write
from icvos.types import Support

if TYPE_CHECKING:
    from dcsam.engine import Engine

__all__ = ["Panel", "draw", "explain"]


@dataclass(frozen=True)
class Panel:
    """One picture of the sheet.

    Attributes:
        title: Above it.
        image: (H, W, 3) uint8 RGB.
        heat: (h, w) float to lay over the image, or None.
        span: Values of ``heat`` for the ends of its colours; its own range by default.
        mask: (H, W) bool to tint, or None.
        outline: (H, W) bool whose border to draw, or None.
    """

    title: str
    image: np.ndarray
    heat: np.ndarray | None = None
    span: tuple[float, float] | None = None
    mask: np.ndarray | None = None
    outline: np.ndarray | None = None


def explain(engine: Engine, supports: Sequence[Support], image: np.ndarray, *, video: bool) -> list[Panel]:
    """Return panels of what leads to the prompts on an image.

    Args:
        engine: The model.
        supports: Of the episode.
        image: (H, W, 3) uint8 RGB: frame 0, or the query.
        video: Whether its prompts start a tracker (the coarse mask is enlarged in another way then).
    """
    import torch

    model = engine.model
    with torch.no_grad(), engine.autocast():
        state = engine.supports([supports])
        encoded = engine.encode(engine.pixels(image), top=True)
        query = engine.query(encoded)
        output = engine.prompts(state, query, encoded.sam, video=video)
        panels = []
        seen = output.first.attention
        if seen is not None:
            for number in range(seen.shape[2]):
                title = "first stage's attention on the support" + (f" {number + 1}" if seen.shape[2] > 1 else "")
                panels.append(Panel(title, supports[number].image, heat=_array(seen[0, :, number].mean(dim=0))))
        panels.append(Panel("prior mask", image, heat=_array(model.prior(state, query)[0, 0]), span=(0.0, 1.0)))
        if model.config.negative:
            negative = _array(model.prior(state, query, negative=True)[0, 0])
            panels.append(Panel("prior mask of the rest", image, heat=negative, span=(0.0, 1.0)))
        if output.coarse_logits is not None:
            coarse = _array(output.coarse_logits[0, 0].sigmoid())
            title = f"coarse mask ({(coarse > 0.5).mean():.1%} of the image)"
            panels.append(Panel(title, image, heat=coarse, span=(0.0, 1.0)))
        for title, attention in (
            ("positive prompts' attention", output.prompts.attention),
            ("negative prompts' attention", output.prompts.negative_attention),
        ):
            if attention is not None:
                panels.append(Panel(title, image, heat=_array(attention[0].mean(dim=0))))
    return panels


def _array(values: object) -> np.ndarray:
    return np.asarray(values.detach().float().cpu())  # type: ignore[attr-defined]


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
            shown = axis.imshow(
                panel.heat,
                cmap="inferno",
                alpha=0.65,
                vmin=low,
                vmax=max(high, low + 1e-9),
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                interpolation="bilinear",
            )
            figure.colorbar(shown, ax=axis, fraction=0.035, pad=0.01).ax.tick_params(labelsize=7)
        if panel.mask is not None and panel.mask.any():
            tint = np.zeros((height, width, 4), np.float32)
            tint[panel.mask] = (0.0, 0.75, 1.0, 0.5)
            axis.imshow(tint)
        if panel.outline is not None and panel.outline.any() and not panel.outline.all():
            axis.contour(panel.outline, levels=[0.5], colors=["#ffdd00"], linewidths=1.2)
    with atomic_write(path) as stream:
        figure.savefig(stream, dpi=90, format="png")
    plt.close(figure)
