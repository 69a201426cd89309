"""What is missing to 100 J&F, shared out among causes by oracles that repair one of them at a time.

Every wrong frame has exactly one cause, the first in ``CAUSES`` that applies. "Found" is an overlap J of ``FOUND`` or
more (or another threshold), "in sight" a ground truth that is not empty, frame 0 the first frame that is scored. The
root cause counts: a video that begins on the wrong thing does not drift. A cause's points do not say what a repaired
frame would do for those after it, which a run with ``--oracle first-frame`` shows.

An oracle then repairs one cause: on its frames the ground truth stands in place of the prediction (J = F = 1), and the
benchmark is scored again. What that gains are the cause's points. A score is a mean of scores of single frames, so that
the points of all causes add up to 100 less J&F; those of TIDE (Bolya et al. 2020), which does so for detection, need
not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from icvos.benchmark import Episode
from icvos.errors import RunError
from icvos.evaluation.predictions import Predictions
from icvos.evaluation.score_episodes import frame_stems, load_mask
from icvos.leaderboard.statistics import Samples, difference, video_samples
from icvos.metrics.formulas import mean, percent
from icvos.metrics.table import ranked_parts
from icvos.protocols import get_protocol
from icvos.report.run import ReportRun
from icvos.runs.records import read_frames
from icvos.view import View

__all__ = ["CAUSES", "FOUND", "SHARES", "Budget", "Frames", "Part", "budget_of", "read_episode"]

FOUND = 0.5
WRONG_THING = 0.1
"""Least share of frame 0's prediction that is on the target, where it is not another thing."""
HIDDEN = 1 / 3
"""Under this share of its median area in the video the target is partly hidden."""

CAUSES = {
    "failed": "the episode failed: it has no masks",
    "ghost before": "something is predicted, and the target is not in sight and has not been yet",
    "ghost after": "something is predicted, and the target is not in sight any more",
    "boundary": "the target is found, but not to the pixel",
    "absent on frame 0": "not found; on frame 0 the target was not in sight",
    "missed": "not found; on frame 0 the target was in sight, and nothing was predicted",
    "wrong thing": "not found, nor on frame 0: under 10 % of that prediction is on the target",
    "ragged": "not found, nor on frame 0: that prediction is partly on the target",
    "not found again": "found on frame 0, out of sight since then, in sight again; nothing is predicted",
    "wrong re-appearance": "the same, and something else is predicted",
    "lost after occlusion": "found on frame 0; then its visible area fell under a third of its median in the video",
    "lost": "found on frame 0; nothing is predicted now",
    "drift": "found on frame 0; something else is predicted now",
}
"""In words, in the order in which they are tried."""

SHARES = ("target in sight", "target absent")


@dataclass(frozen=True, eq=False)
class Frames:
    """What is known of the T scored frames of an episode.

    Attributes:
        j, f: (T,) float64 in 0..1.
        area: (T,) pixels of the ground truth.
        predicted: (T,) pixels of the prediction.
        common: (T,) pixels of both.
        failed: Whether there is no prediction; then all but ``area`` are 0.
        prompted: Whether the target is in sight on a frame 0 that is not scored: it prompts a method of VOS, so that
            the target counts as found there.
    """

    j: np.ndarray
    f: np.ndarray
    area: np.ndarray
    predicted: np.ndarray
    common: np.ndarray
    failed: bool = False
    prompted: bool = False

    @property
    def visible(self) -> np.ndarray:
        """(T,) bool: the target is in sight."""
        return self.area > 0

    def causes(self, found: float = FOUND) -> np.ndarray:
        """Return (T,) text: the cause of each wrong frame, "" of one that is exact.

        Args:
            found: Least J of a frame on which the target is found.
        """
        return np.array([self._cause(index, found) for index in range(len(self.j))], dtype=object)

    @cached_property
    def _hidden(self) -> np.ndarray:
        median = np.median(self.area[self.visible]) if self.visible.any() else 0
        return self.area < HIDDEN * median

    def _cause(self, now: int, found: float) -> str:
        if self.failed:
            return "failed"
        if self.j[now] == self.f[now] == 1:
            return ""
        if not self.visible[now]:
            return "ghost after" if self.prompted or self.visible[:now].any() else "ghost before"
        if self.j[now] >= found:
            return "boundary"
        if not self.prompted and not self.visible[0]:
            return "absent on frame 0"
        if not self.prompted and self.j[0] < found:
            if self.predicted[0] == 0:
                return "missed"
            return "wrong thing" if self.common[0] < WRONG_THING * self.predicted[0] else "ragged"
        empty, since = self.predicted[now] == 0, 0 if self.prompted else 1
        if not self.visible[since:now].all():
            return "not found again" if empty else "wrong re-appearance"
        if self._hidden[since : now + 1].any():
            return "lost after occlusion"
        return "lost" if empty else "drift"


def read_episode(
    view: View, masks: Predictions, episode: Episode, values: Mapping[str, np.ndarray] | None, *, failed: bool
) -> Frames:
    """Read what a run predicted of an episode, and the ground truth.

    Args:
        view: The benchmark, as the run's protocol sees it.
        masks: The run's.
        episode: One of the run.
        values: J and F of its frames, as the run holds them.
        failed: Whether the run has no masks of it.

    Raises:
        RunError: The values are gone, or are not those of the masks.
        IcvosError: A mask is missing or broken.
    """
    truths = view.truth(episode.video, episode.category)
    scored = view.scored_frames(episode)
    area, predicted, common = np.zeros((3, len(scored)), np.int64)
    stems = [""] * len(scored) if failed else frame_stems(view, masks, episode)
    for row, (index, stem) in enumerate(zip(scored, stems, strict=True)):
        truth = truths[index]
        area[row] = np.count_nonzero(truth)
        if not failed:
            mask = load_mask(view, masks, episode, stem, truths.size)
            predicted[row], common[row] = np.count_nonzero(mask), np.count_nonzero(mask & truth)
    if failed:
        nothing = np.zeros(len(scored))
        return Frames(nothing, nothing, area, predicted, common, failed=True)
    where = f"{masks.where}/{episode.id}"
    if values is None:
        raise RunError("the values of its frames are gone", where=where, fix="evaluate again into another --out")
    union = area + predicted - common
    j = np.where(union > 0, common / np.maximum(union, 1), 1.0)
    if len(values["J"]) != len(j) or not np.allclose(values["J"], j, rtol=0, atol=1e-9):
        raise RunError("these are not the masks that were scored", where=where, fix="evaluate again into another --out")
    if not ((values["F"] >= 0) & (values["F"] <= 1)).all():
        raise RunError("F of a frame is not within 0 to 1", where=where, fix="evaluate again into another --out")
    prompted = scored.start > 0 and bool(truths[0].any())
    return Frames(values["J"], values["F"], area, predicted, common, prompted=prompted)


@dataclass(frozen=True, eq=False)
class Part:
    """What one cause costs.

    Attributes:
        gain: What repairing it gains, J&F points, with its replicates.
        frames: How many wrong frames it has.
        episodes: How many episodes have such a frame.
    """

    gain: Samples
    frames: int
    episodes: int


@dataclass(frozen=True, eq=False)
class Budget:
    """What is missing to 100 J&F.

    Attributes:
        records: Of each episode its video, source, category_name and draw.
        frames: Of each episode.
        found: Least J of a frame on which the target is found.
        clustered: Whether categories mean the same in all videos.
    """

    records: Sequence[dict[str, Any]]
    frames: Sequence[Frames]
    found: float = FOUND
    clustered: bool = True

    @cached_property
    def _causes(self) -> list[np.ndarray]:
        return [frames.causes(self.found) for frames in self.frames]

    def _score(self, repaired: Sequence[np.ndarray] | None = None) -> Samples:
        """Return J&F, percent, with the frames (T,) bool of each episode repaired."""
        rows = []
        for index, (record, frames) in enumerate(zip(self.records, self.frames)):
            exact = np.zeros(len(frames.j), bool) if repaired is None else repaired[index]
            scores = (np.where(exact, 1.0, values) for values in (frames.j, frames.f))
            rows.append({**record, **{name: percent(mean(each)) for name, each in zip(ranked_parts(), scores)}})
        return video_samples(rows, ranked_parts(), clustered=self.clustered)

    @cached_property
    def score(self) -> Samples:
        """J&F of the run, percent."""
        return self._score()

    def _part(self, frames: Sequence[np.ndarray]) -> Part:
        gain = difference(self._score(frames), self.score)
        return Part(gain, sum(int(each.sum()) for each in frames), sum(bool(each.any()) for each in frames))

    @cached_property
    def parts(self) -> dict[str, Part]:
        """What each cause costs."""
        return {name: self._part([causes == name for causes in self._causes]) for name in CAUSES}

    @cached_property
    def shares(self) -> dict[str, Part]:
        """What all causes cost on frames with the target in sight, and on the others."""
        wrong = [(causes != "", frames.visible) for causes, frames in zip(self._causes, self.frames)]
        halves = ([each & visible for each, visible in wrong], [each & ~visible for each, visible in wrong])
        return {name: self._part(half) for name, half in zip(SHARES, halves)}

    @property
    def counts(self) -> tuple[int, int]:
        """Scored frames, and those with the target in sight."""
        return sum(len(each.j) for each in self.frames), sum(int(each.visible.sum()) for each in self.frames)


def budget_of(run: ReportRun, found: float = FOUND) -> Budget:
    """Read a run's episodes.

    Args:
        run: With its benchmark and masks.
        found: Least J of a frame on which the target is found.

    Raises:
        IcvosError: It is not finished, or of images; its masks or values are missing, broken, or not of one another.
    """
    if run.image:
        raise RunError("the run is of few-shot images, which have no frames", where=run.where, expected="one of videos")
    benchmark, masks = run.benchmark, run.masks
    if benchmark is None or masks is None:
        raise RunError(run.missing, where=run.where)
    listed, scored = len(run.by_id), run.result["summary"]["episodes"]
    if listed != scored:
        fix = "run the same icvos evaluate again"
        raise RunError(f"{listed} of {scored} scored episodes have records", where=run.where, fix=fix)
    view = View(benchmark, get_protocol(run.protocol), limit_frames=run.result["protocol"].get("limit_frames"))
    records, frames = [], []
    for episode in benchmark.episodes:
        record = run.by_id.get(episode.id)
        if record is None:
            continue
        source = benchmark.videos[episode.video].source
        names = {"video": episode.video, "source": source, "category_name": episode.category_name}
        records.append({**names, "draw": episode.draw})
        failed = bool(record.get("error"))
        values = None if failed else read_frames(run.where, episode.id)
        frames.append(read_episode(view, masks, episode, values, failed=failed))
    return Budget(records, frames, found, clustered=not run.vos)
