"""A method of your own in one file: the region of a frame whose outline is most like that of the support's thing.

    python examples/own_method.py

It evaluates the method on the demo benchmark, beside the floor `histogram`, and prints J&F of both: about a minute on
one core, and ten seconds more if the demo is yet to be drawn. The same by commands, and the interface's rules:

    icvos models check examples/own_method.py:Outline
    icvos evaluate --model examples/own_method.py:Outline --set colours=4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import icvos

SERIES = 16  # terms of an outline's Fourier series that are compared


class Outline(icvos.VideoModel):
    """Cuts each frame into regions of one or two colours, and takes the one whose outline is nearest to a support's.

    No pixel is compared with the support's pixels, so the thing may have any colour and texture. What it cannot do:
    find two things in one frame, or a thing whose colours are also its surroundings'.

    Args:
        colours: Into how many colours a frame is cut.
        farthest: The distance of outlines from which on nothing is found.
    """

    info = icvos.ModelInfo(name="outline", version="1")

    def __init__(self, *, colours: int = 4, farthest: float = 1.2, **rest: Any) -> None:
        super().__init__(**rest)
        self.colours, self.farthest = colours, farthest

    def segment(self, supports: Sequence[icvos.Support], video: icvos.Video, *, seed: int) -> Iterator[np.ndarray]:
        wanted = [outline(support.mask) for support in supports if support.mask.any()]
        for frame in video:  # frames only forward, one mask each
            best, nearest = None, self.farthest
            for region in regions(frame, self.colours, seed) if wanted else ():
                distance = min(np.abs(outline(region) - each).sum() for each in wanted)
                if distance < nearest:
                    best, nearest = region, distance
            yield np.zeros(video.size, bool) if best is None else enlarge(best, video.size)


def regions(frame: np.ndarray, colours: int, seed: int) -> Iterator[np.ndarray]:
    """Yield connected regions of one colour, or of two, as (H/2, W/2) bool: from 1 to 35 % of the frame."""
    size = max(1, frame.shape[1] // 2), max(1, frame.shape[0] // 2)
    small = cv2.medianBlur(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), 5)
    pixels = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    pixels[:, 0] *= 0.5  # shadows change lightness alone
    cv2.setRNGSeed(seed % 2**31)
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 10, 0.0)
    start = np.zeros((len(pixels), 1), np.int32)
    _, assigned, _ = cv2.kmeans(pixels, min(colours, len(pixels)), start, stop, 1, cv2.KMEANS_PP_CENTERS)
    labels = np.asarray(assigned).reshape(small.shape[:2])
    for group in (*combinations(range(colours), 1), *combinations(range(colours), 2)):
        count, parts, statistics, _ = cv2.connectedComponentsWithStats(np.isin(labels, group).astype(np.uint8))
        for part in range(1, count):
            if 0.01 < statistics[part, cv2.CC_STAT_AREA] / labels.size < 0.35:
                yield parts == part


def outline(mask: np.ndarray, rays: int = 64) -> np.ndarray:
    """Return (2 * SERIES,) numbers that describe a mask's outline wherever it lies, however large and turned it is.

    They are amplitudes of two Fourier series over the angle around the mask's centre: of how far the mask reaches, and
    of how many pixels it has. A turn changes phases alone; dividing by the sum takes the size away.
    """
    rows, columns = np.nonzero(mask)
    y, x = rows - rows.mean(), columns - columns.mean()
    angles = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * rays).astype(int) % rays
    reach = np.zeros(rays)
    np.maximum.at(reach, angles, np.hypot(y, x))
    pixels = np.bincount(angles, minlength=rays)
    series = [np.abs(np.fft.rfft(each))[:SERIES] / max(each.sum(), 1e-9) for each in (reach, pixels)]
    return np.concatenate(series)


def enlarge(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask at a frame's size (H, W)."""
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="demo", help="demo, or a built benchmark's folder")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/own-method"), help="the runs' folder")
    parser.add_argument("--limit-episodes", type=int, help="only the first so many")
    words = parser.parse_args()
    for model in (f"{Path(__file__).resolve()}:Outline", "histogram"):
        out = words.out / model.rpartition(":")[2].lower()
        result = icvos.evaluate(model, words.benchmark, out=out, limit_episodes=words.limit_episodes)
        summary = result["summary"]
        print(f"{out.name:10} J&F {summary['J&F']:5.2f}   where it is seen: J {summary['J_visible']:5.2f}   {out}")
    print(f"next: icvos compare {words.out}/outline {words.out}/histogram")


if __name__ == "__main__":
    try:
        main()
    except icvos.IcvosError as error:
        sys.exit(f"{Path(__file__).stem}: {error}")
