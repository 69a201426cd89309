"""What DC-SAM looked at in one episode: prior mask, coarse mask and attention of the prompts, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from icvos.models.interface import Panel
from icvos.types import Support

if TYPE_CHECKING:
    from dcsam.engine import Engine

__all__ = ["explain"]


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
        attention = output.first.attention
        if attention is not None:
            for number in range(attention.shape[2]):
                title = "first stage's attention on the support" + (f" {number + 1}" if attention.shape[2] > 1 else "")
                panels.append(Panel(title, supports[number].image, heat=_array(attention[0, :, number].mean(dim=0))))
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
