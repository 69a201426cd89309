"""Contact sheets of a run, and frames of a segmented video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos.errors import IcvosError
from icvos.report.overlay import (
    beside,
    caption,
    framed,
    legend,
    paint,
    paint_mask,
    paint_support,
    scaled,
    stack,
    titled,
)
from icvos.report.run import ReportRun, score_of

__all__ = [
    "choose",
    "contact_sheet",
    "episode_row",
    "pick_frames",
    "segmented_frame",
    "sheet",
]

WIDE, HIGH = 320, 176
FRAMES = 4


def choose(run: ReportRun, each: int = 2) -> dict[str, list[str]]:
    """Return the ids of the best, median and worst episodes, no episode twice; failed ones aside."""
    good = [name for name, record in run.by_id.items() if not record.get("error")]
    ranked = sorted(good, key=lambda name: (-score_of(run.by_id[name], run.rules), name))
    each = max(1, min(each, len(ranked) // 3))
    middle = max((len(ranked) - each) // 2, 0)
    picks = {"best": ranked[:each], "median": ranked[middle : middle + each], "worst": ranked[-each:]}
    seen: set[str] = set()
    out = {}
    for word, names in picks.items():
        out[word] = [name for name in names if name not in seen]
        seen |= set(names)
    return out


def pick_frames(count: int, wanted: int = FRAMES) -> list[int]:
    """Return frames spread over a video, the first and last among them."""
    return sorted({round(number) for number in np.linspace(0, count - 1, min(wanted, count))}) if count > 0 else []


def episode_row(run: ReportRun, name: str, word: str) -> np.ndarray:
    """Return one line of a contact sheet: the support, then frames; a broken mask is said in its place."""
    episode = run.episode(name)
    record = run.by_id[name]
    score = f"{run.score_name('episode')} {score_of(record, run.rules):.1f}"
    head = f"{word}: {episode.video}, {episode.category_name}, draw {episode.draw}: {score}"
    if record.get("absent_correct") is not None:
        head += f", absent frames right {record['absent_correct']:.0f} %"
    shown = "frame 0, told" if run.oracle else "support"
    cells = [titled(scaled(paint_support(*pair), HIGH, WIDE), shown) for pair in run.supports(episode)[:1]]
    scored = run.scored_frames(episode)
    for index in (scored[number] for number in pick_frames(len(scored))):
        try:
            masks = run.frame_masks(episode, index)
        except IcvosError as error:
            cells.append(caption(WIDE // 2, error.what, size=12, most=6))
            continue
        picture = scaled(paint(masks.frame, masks.truth, masks.predicted, ignore=masks.ignore), HIGH, WIDE)
        words = "query" if run.image else f"frame {index}" + ("" if masks.truth.any() else ", absent")
        cells.append(titled(picture, words))
    row = beside(cells)
    return stack([caption(max(row.shape[1], WIDE * 3), head, size=14, bold=True), row])


def contact_sheet(run: ReportRun, picks: dict[str, list[str]]) -> np.ndarray:
    """Return the best, median and worst episodes as one picture, (H, W, 3) uint8 RGB."""
    return sheet(run.title, [episode_row(run, name, word) for word, names in picks.items() for name in names])


def sheet(title: str, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return rows of pictures under a title and what their colours mean, (H, W, 3) uint8 RGB."""
    width = max(row.shape[1] for row in rows)
    head = stack([caption(width, title, size=18, bold=True), legend(width)])
    return framed(stack([head, *rows], gap=10))


def segmented_frame(
    supports: Sequence[np.ndarray], frame: np.ndarray, mask: np.ndarray, text: str, *, longest: int = 1280
) -> np.ndarray:
    """Return a frame with its mask, beside the painted supports and above a line of text, for a video.

    Args:
        supports: (H, W, 3) uint8 RGB, as ``paint_support`` gives them.
        frame: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        text: The line.
        longest: Pixels of the frame's longer side at most.
    """
    height, width = mask.shape
    scale = min(1.0, longest / max(height, width))
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    painted = scaled(paint_mask(frame, mask), high, wide)
    column = stack([scaled(image, max(1, high // len(supports)), max(96, wide // 4)) for image in supports], gap=4)
    row = beside([column, painted])
    return _even(np.concatenate([row, caption(row.shape[1], text, most=1)]))


def _even(picture: np.ndarray) -> np.ndarray:
    # Codecs want even sides.
    return np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
