"""Pictures of a mask against the ground truth, in colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from icvos.models.interface import Panel

__all__ = [
    "COLOURS",
    "ERRORS",
    "GAP",
    "INK",
    "PAPER",
    "Keys",
    "beside",
    "caption",
    "framed",
    "legend",
    "paint",
    "paint_mask",
    "paint_panel",
    "paint_support",
    "scaled",
    "stack",
    "titled",
]

# Okabe and Ito's palette: blue, yellow and vermillion differ in lightness too, so they survive grey printing.
COLOURS = {"right": (86, 180, 233), "missed": (240, 228, 66), "wrong": (213, 94, 0)}
Keys = Sequence[tuple[str, tuple[int, int, int]]]
"""What colours mean: words and colour."""
ERRORS: Keys = (
    ("right", COLOURS["right"]),
    ("missed", COLOURS["missed"]),
    ("false alarm", COLOURS["wrong"]),
    ("ground truth's outline", (255, 255, 255)),
)
PAPER, INK = (250, 250, 250), (25, 25, 25)
GAP = 8


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
    """Return a support image with all but its mask dimmed, and the mask outlined in white on black."""
    out = image.copy()
    out[~mask] = np.clip(out.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.5 + out * 0.15, 0, 255)[~mask]
    width = max(1, min(mask.shape) // 120)
    # On any colour, the mask's own too, one of the two is seen.
    out[_outline(mask, 2 * width)] = 0
    out[_outline(mask, width)] = 255
    return out


def paint_mask(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a copy of a frame in its own colours with a mask tinted and outlined."""
    out = frame.copy()
    _blend(out, mask, COLOURS["right"], 0.5)
    out[_outline(mask, max(1, min(mask.shape) // 240))] = 255
    return out


def scaled(image: np.ndarray, height: int, widest: int | None = None) -> np.ndarray:
    """Return an image at a height, (height, W, 3), its shape kept; lower where it would be wider than ``widest``."""
    import cv2

    scale = min(height / image.shape[0], (widest or 10**6) / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


@cache
def _font(size: int, bold: bool = False) -> Any:
    """Return DejaVu Sans, which matplotlib brings: it has the letters of most languages."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def caption(width: int, text: str, *, size: int = 13, bold: bool = False, most: int = 2) -> np.ndarray:
    """Return a text on paper, (H, width, 3) uint8: wrapped, and cut where it takes more than ``most`` lines."""
    from PIL import Image, ImageDraw

    font, step = _font(size, bold), round(size * 1.4)
    lines = _wrapped(text, lambda words: font.getlength(words) <= width - 2, most)
    picture = Image.new("RGB", (width, step * len(lines) + 6), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((1, 3 + step * number), line, fill=INK, font=font)
    return np.array(picture)


def _wrapped(text: str, fits: Callable[[str], bool], most: int) -> list[str]:
    lines, words = [""], text.split()
    while words:
        longer = f"{lines[-1]} {words[0]}".strip()
        if fits(longer) or (not lines[-1] and len(lines) == most):
            lines[-1] = longer
            words.pop(0)
        elif lines[-1] and len(lines) < most:
            lines.append("")
        else:  # a word that is wider than the line is broken, and what is left on the last line is cut
            if lines[-1]:
                lines[-1] = " ".join([lines[-1], *words])
                break
            part = next((n for n in range(len(words[0]) - 1, 0, -1) if fits(words[0][:n])), 1)
            lines[-1], words[0] = words[0][:part], words[0][part:]
            lines.append("")
    while len(lines[-1]) > 1 and not fits(lines[-1]):
        lines[-1] = lines[-1][:-2].rstrip("… ") + "…"
    return lines


def legend(width: int, keys: Keys = ERRORS, *, size: int = 13) -> np.ndarray:
    """Return what colours mean as a strip, (H, width, 3) uint8."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, round(size * 1.4) + 8), PAPER)
    draw, font = ImageDraw.Draw(picture), _font(size)
    x = 1.0
    for text, colour in keys:
        draw.rectangle((x, 4, x + size, 4 + size), fill=colour, outline=INK)
        draw.text((x + size + 6, 2), text, fill=INK, font=font)
        x += size + 6 + draw.textlength(text, font=font) + 18
    return np.array(picture)


def titled(picture: np.ndarray, text: str, *, size: int = 12, most: int = 2) -> np.ndarray:
    """Return a picture with its caption right under it, (H, W, 3) uint8; a narrow one has paper beside it."""
    return stack([picture, caption(max(picture.shape[1], 6 * size), text, size=size, most=most)])


def beside(parts: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Return pictures in a line, their upper edges level, paper between them."""
    height = max(part.shape[0] for part in parts)
    out = []
    for part in parts:
        below = np.full((height - part.shape[0], part.shape[1], 3), PAPER, np.uint8)
        out += [np.concatenate([part, below]), np.full((height, gap, 3), PAPER, np.uint8)]
    return np.concatenate(out[:-1], axis=1)


def stack(parts: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Return pictures one below the other, (H, W, 3), paper between and beside them."""
    width = max(part.shape[1] for part in parts)
    out = []
    for part in parts:
        side = np.full((part.shape[0], width - part.shape[1], 3), PAPER, np.uint8)
        out += [np.concatenate([part, side], axis=1), np.full((gap, width, 3), PAPER, np.uint8)]
    return np.concatenate(out[:-1])


def framed(picture: np.ndarray, margin: int = 2 * GAP) -> np.ndarray:
    """Return a picture with paper around it."""
    out = np.full((picture.shape[0] + 2 * margin, picture.shape[1] + 2 * margin, 3), PAPER, np.uint8)
    out[margin:-margin, margin:-margin] = picture
    return out


def paint_panel(panel: Panel) -> np.ndarray:
    """Return a panel's picture, (H, W, 3) uint8: heat over grey with its range, or a mask tinted; what is outlined in
    yellow on black."""
    import cv2

    out = panel.image.copy()
    height, width = out.shape[:2]
    if panel.heat is not None:
        import matplotlib

        low, high = panel.span or (float(panel.heat.min()), float(panel.heat.max()))
        share = np.clip((panel.heat - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
        colours = matplotlib.colormaps["inferno"](cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR))
        grey = panel.image.mean(axis=2, keepdims=True)
        out = np.clip(0.35 * grey + 0.65 * 255 * colours[:, :, :3], 0, 255).astype(np.uint8)
    line = max(1, min(height, width) // 240)
    if panel.mask is not None and panel.mask.any():
        _blend(out, panel.mask, COLOURS["right"], 0.5)
        out[_outline(panel.mask, 2 * line)] = 0
        out[_outline(panel.mask, line)] = 255
    if panel.outline is not None and panel.outline.any():
        out[_outline(panel.outline, 2 * line)] = 0
        out[_outline(panel.outline, line)] = COLOURS["missed"]
    return out
