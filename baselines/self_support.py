"""The query's own prototypes, and masks that follow the image's edges: what plain prototypes lack on photographs.

A photograph's thing resembles itself more than the support's (SSP, Fan et al., ECCV 2022, arXiv 2207.11549). So the
cells that the support is surest of give the prototypes with which the query is looked at again. SSP weighs cells by the
softmax of their scores; here they are weighed by their distance from a line that lies between the query's middle and
its best cells (ours).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["follow_edges", "look_again", "stretch"]

#: How often the query is looked at again, and what part of the new thing is the query's own.
ROUNDS, OWN = 2, 0.5
#: Stretched scores: above the first is the thing for sure, below the second the background; between them edges decide.
SURE, NEVER = 0.85, 0.35
#: The longer side, pixels, on which GrabCut works, and its rounds.
CUT_SIDE, CUT_ROUNDS = 320, 3


def stretch(scores: Any) -> Any:
    """Return scores of one image such that their median is 0 and the best cells (quantile 0.995) are 1."""
    low, high = scores.median(), scores.flatten().quantile(0.995)
    return (scores - low) / (high - low).clamp(min=1e-6)


def look_again(features: Any, thing: Any, scores: Any) -> Any:
    """Return the scores of one query by prototypes that are half its own.

    Args:
        features: (1, C, h, w) float.
        thing: (1, C, 1, 1), the support's prototype.
        scores: (1, 1, h, w), by the support's prototypes.

    Returns:
        (1, 1, h, w): the cosine to both things, averaged, less that to the query's own background.
    """
    from torch.nn.functional import cosine_similarity

    known = cosine_similarity(features, thing, dim=1)[:, None]
    for _ in range(ROUNDS):
        line = stretch(scores) - 0.5
        own, ground = (
            (features * weights).sum(dim=(2, 3), keepdim=True) for weights in (line.clamp(min=0), (-line).clamp(min=0))
        )
        alike = OWN * cosine_similarity(features, own, dim=1)[:, None] + (1 - OWN) * known
        scores = alike - cosine_similarity(features, ground, dim=1)[:, None]
    return scores


def follow_edges(scores: np.ndarray, image: np.ndarray, line: float) -> np.ndarray:
    """Return the (H, W) bool mask of stretched scores, cut along the image's edges where the scores are in doubt.

    GrabCut (Rother et al., SIGGRAPH 2004) as OpenCV has it, from the scores instead of a box; the same each time.

    Args:
        scores: (H, W) float, stretched.
        image: (H, W, 3) uint8 RGB.
        line: Between ``NEVER`` and ``SURE``: where the cut begins.
    """
    import cv2

    height, width = scores.shape
    scale = min(1.0, CUT_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    level = cv2.resize(scores.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    labels = np.full(level.shape, cv2.GC_BGD, np.uint8)
    for above, label in ((NEVER, cv2.GC_PR_BGD), (line, cv2.GC_PR_FGD), (SURE, cv2.GC_FGD)):
        labels[level > above] = label
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return scores > line
    cv2.setRNGSeed(0)
    colours = np.ascontiguousarray(small[..., ::-1])
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(colours, labels, (0, 0, 1, 1), *models, CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
