"""A contact sheet of drawn scenes: frames of clips with their masks' outlines, as one paletted PNG."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np

from icvos.demo.world.plan import Clip, clips, make_clip, make_picture, world_size
from icvos.files import atomic_write
from icvos.masks import palette

__all__ = ["contact_sheet"]

_CELL = (120, 160)


def contact_sheet(path: Path, size: str, seed: int, *, rows: int = 8, columns: int = 5) -> None:
    """Draw ``rows`` clips (frames from first to last) and as many rows of images as one PNG of 256 colours.

    Args:
        path: The file to write.
        size: Of the world.
        seed: Of the world.
        rows: How many clips, at most all that the world has.
        columns: Frames of a clip, and images in a row.
    """
    plan = world_size(size)
    chosen = [(source, *entry) for source in plan.clips for entry in clips(plan, seed, source)]
    step = max(1, len(chosen) // rows)
    lines = []
    for source, index, target in chosen[::step][:rows]:
        clip = make_clip(plan, seed, source, index, target, extra_named=True)
        lines.append(np.hstack(_frames(clip, columns)))
    total = plan.pictures["val2014"]
    stills = [make_picture(plan, seed, "val2014", index) for index in range(min(total, columns * max(1, rows // 3)))]
    cells = [_cell(*still.scene.frame(0)) for still in stills]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    lines += [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    _write(path, np.vstack(lines))


def _frames(clip: Clip, columns: int) -> list[np.ndarray]:
    moments = np.linspace(0, clip.scene.frames - 1, columns).round().astype(int)
    return [_cell(*clip.scene.frame(int(moment))) for moment in moments]


def _cell(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a thumbnail with each object's outline in its palette colour."""
    height, width = _CELL
    scale = min(height / labels.shape[0], width / labels.shape[1])
    inner = (round(labels.shape[1] * scale), round(labels.shape[0] * scale))
    small = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    marks = cv2.resize(labels, inner, interpolation=cv2.INTER_NEAREST)
    colours = np.frombuffer(palette(), np.uint8).reshape(256, 3)
    for label in np.unique(marks[marks > 0]):
        mask = (marks == label).astype(np.uint8)
        rim = mask - cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0)
        small[rim > 0] = 255 - (255 - colours[label].astype(int)) // 2
    cell = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    cell[top : top + inner[1], left : left + inner[0]] = small
    return cell


def _write(path: Path, sheet: np.ndarray) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(sheet).quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    with atomic_write(path) as stream:
        stream.write(buffer.getvalue())
