"""Contact sheets of a run, and frames of a segmented video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos.errors import IcvosError
from icvos.report.overlay import PAPER, caption, fit, legend, paint, paint_mask, paint_support
from icvos.report.run import FrameMasks, ReportRun, score_of

__all__ = [
    "choose",
    "contact_sheet",
    "episode_row",
    "pick_frames",
    "segmented_frame",
    "stack",
]

WIDE, HIGH = 256, 176
GAP = 6
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


def _line(parts: Sequence[np.ndarray]) -> np.ndarray:
    height = max(part.shape[0] for part in parts)
    out = []
    for part in parts:
        below = np.full((height - part.shape[0], part.shape[1], 3), PAPER, np.uint8)
        out += [np.concatenate([part, below]), np.full((height, GAP, 3), PAPER, np.uint8)]
    return np.concatenate(out[:-1], axis=1)


def stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return pictures one below the other, (H, W, 3)."""
    width = max(part.shape[1] for part in parts)
    out = []
    for part in parts:
        side = np.full((part.shape[0], width - part.shape[1], 3), PAPER, np.uint8)
        out.append(np.concatenate([part, side], axis=1))
    return np.concatenate(out)


def _shape_of(masks: FrameMasks) -> tuple[int, int]:
    height, width = masks.truth.shape
    return (WIDE, HIGH) if width >= height else (round(HIGH * 0.75), HIGH)


def episode_row(run: ReportRun, name: str, word: str) -> np.ndarray:
    """Return one line of a contact sheet: the support, then frames; a broken mask is said in its place."""
    episode = run.episode(name)
    record = run.by_id[name]
    score = f"{run.score_name('episode')} {score_of(record, run.rules):.1f}"
    head = f"{word}: {episode.video}, {episode.category_name}, draw {episode.draw}: {score}"
    if record.get("absent_correct") is not None:
        head += f", absent frames right {record['absent_correct']:.0f} %"
    cells, words = [], ["frame 0, told" if run.oracle else "support"]
    for image, mask in run.supports(episode)[:1]:
        cells.append(np.concatenate([fit(paint_support(image, mask), HIGH, HIGH), caption(HIGH, words, size=12)]))
    scored = run.scored_frames(episode)
    for index in (scored[number] for number in pick_frames(len(scored))):
        try:
            masks = run.frame_masks(episode, index)
        except IcvosError as error:
            cells.append(caption(WIDE, [error.what], size=12))
            continue
        wide, high = _shape_of(masks)
        picture = fit(paint(masks.frame, masks.truth, masks.predicted, ignore=masks.ignore), wide, high)
        words = ["query"] if run.image else [f"frame {index}" + ("" if masks.truth.any() else ", absent")]
        cells.append(np.concatenate([picture, caption(wide, words, size=12)]))
    row = _line(cells)
    return stack([caption(max(row.shape[1], WIDE * 3), [head]), row])


def contact_sheet(run: ReportRun, picks: dict[str, list[str]]) -> np.ndarray:
    """Return the best, median and worst episodes as one picture, (H, W, 3) uint8 RGB."""
    rows = [episode_row(run, name, word) for word, names in picks.items() for name in names]
    width = max(row.shape[1] for row in rows)
    return stack([caption(width, [run.title], size=17), legend(width), *rows])


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
    painted = fit(paint_mask(frame, mask), wide, high)
    column = [fit(image, max(96, wide // 4), max(1, high // len(supports))) for image in supports]
    row = _line([np.concatenate(column), painted])
    return _even(np.concatenate([row, caption(row.shape[1], [text], size=13, bold_first=False)]))


def _even(picture: np.ndarray) -> np.ndarray:
    # Codecs want even sides.
    return np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
