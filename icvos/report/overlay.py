"""Pictures of a mask against the ground truth, in colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["COLOURS", "INK", "PAPER", "caption", "fit", "legend", "paint", "paint_mask", "paint_support"]

# Okabe and Ito's palette: blue, yellow and vermillion differ in lightness too, so they survive grey printing.
COLOURS = {"right": (86, 180, 233), "missed": (240, 228, 66), "wrong": (213, 94, 0)}
WORDS = {"right": "right", "missed": "missed", "wrong": "false alarm"}
PAPER, INK = (250, 250, 250), (25, 25, 25)


def _blend(image: np.ndarray, where: np.ndarray, colour: Sequence[int], weight: float) -> None:
    image[where] = (image[where] * (1 - weight) + np.array(colour, float) * weight).astype(np.uint8)


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    import cv2

    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    grown = cv2.dilate(mask.astype(np.uint8), kernel)
    return (grown > 0) & ~mask


def paint(
    frame: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, ignore: np.ndarray | None = None
) -> np.ndarray:
    """Return a copy of a frame with what is right, missed and wrong in colour, the ground truth outlined in white.

    Args:
        frame: (H, W, 3) uint8 RGB.
        truth, predicted: (H, W) bool.
        ignore: (H, W) bool that is not scored: no error is shown there.
    """
    counted = np.ones_like(truth) if ignore is None else ~ignore
    # A greyed frame, so that a blue car is not taken for a hit.
    out = np.repeat(frame.mean(axis=2, keepdims=True), 3, axis=2) * 0.62 + frame * 0.13 + 35
    out = np.clip(out, 0, 255).astype(np.uint8)
    for name, where in (
        ("right", truth & predicted),
        ("missed", truth & ~predicted & counted),
        ("wrong", ~truth & predicted & counted),
    ):
        _blend(out, where, COLOURS[name], 0.65)
    out[_outline(truth, max(1, min(truth.shape) // 240))] = 255
    return out


def paint_support(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a support image with all but its mask dimmed, and the mask outlined."""
    out = image.copy()
    out[~mask] = np.clip(out.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.5 + out * 0.15, 0, 255)[~mask]
    out[_outline(mask, max(1, min(mask.shape) // 120))] = 255
    return out


def paint_mask(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a copy of a frame in its own colours with a mask tinted and outlined."""
    out = frame.copy()
    _blend(out, mask, COLOURS["right"], 0.5)
    out[_outline(mask, max(1, min(mask.shape) // 240))] = 255
    return out


def fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return an image scaled into a box of (width, height), centred on paper."""
    import cv2

    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.full((height, width, 3), PAPER, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = small
    return out


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def caption(width: int, lines: Sequence[str], *, size: int = 14, bold_first: bool = True) -> np.ndarray:
    """Return lines of text on paper, (H, width, 3) uint8; what is too long is cut."""
    from PIL import Image, ImageDraw

    step = round(size * 1.35)
    picture = Image.new("RGB", (width, step * len(lines) + 6), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        font = _font(size)
        text = line
        while text and draw.textlength(text, font=font) > width - 8:
            text = text[:-2].rstrip("…") + "…"
        weight = 0.3 if bold_first and number == 0 else 0
        draw.text((4, 3 + step * number), text, fill=INK, font=font, stroke_width=weight, stroke_fill=INK)
    return np.array(picture)


def legend(width: int, *, size: int = 14) -> np.ndarray:
    """Return the colours' meaning as a strip, (H, width, 3) uint8."""
    from PIL import Image, ImageDraw

    height = round(size * 1.35) + 6
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    font = _font(size)
    x = 4.0
    for name, colour in (*COLOURS.items(), ("outline", (255, 255, 255))):
        text = WORDS.get(name, "ground truth's outline")
        draw.rectangle((x, 5, x + size, 5 + size), fill=colour, outline=INK)
        draw.text((x + size + 5, 3), text, fill=INK, font=font)
        x += size + 5 + draw.textlength(text, font=font) + 14
    return np.array(picture)
