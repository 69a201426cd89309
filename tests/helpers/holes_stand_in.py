"""OpenCV's connected components, in place of those of SAM 2's compiled extension."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def connected_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels and areas of the 8-connected components of (N, 1, H, W) bool, both of that shape, 0 outside."""
    labels, areas = [], []
    for each in mask[:, 0].numpy().astype(np.uint8):
        _, numbers, table, _ = cv2.connectedComponentsWithStats(each, connectivity=8)
        labels.append(numbers)
        areas.append(np.where(numbers > 0, table[:, cv2.CC_STAT_AREA][numbers], 0))
    return torch.from_numpy(np.stack(labels))[:, None], torch.from_numpy(np.stack(areas))[:, None]
