"""A DINOv2 of a few thousand parameters."""

from __future__ import annotations

TINY = {"width": 24, "depth": 6, "heads": 2, "patch": 14, "pretrain_size": 56}
