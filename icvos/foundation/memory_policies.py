"""What a tracker remembers of an object and which of its three masks it takes: rules beside SAM 2's own.

Each rule is about one object on one video, whose first frame is prompted; it holds numbers alone, and the tracker
(``icvos.foundation.policy_tracker``) holds the memories that it names. All are causal and train nothing.

Sources: DAM4SAM (Videnovic et al., CVPR 2025, arXiv 2411.17576), SAMURAI (Yang et al., 2024, arXiv 2411.11922), and the
memory selection of SAM 3's tracker (Carion et al., 2025, arXiv 2511.16719); steps and constants are those of their
public code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import ClassVar, Literal

import cv2
import numpy as np

from icvos.masks import mask_box

__all__ = [
    "POLICIES",
    "Candidates",
    "Dam",
    "Kalman",
    "MemoryPolicy",
    "Noted",
    "Recall",
    "Sam3Memory",
    "Samurai",
    "Selection",
]

#: Frames whose memories are looked at, the prompted ones among them; and frames whose object pointers are.
MEMORIES, POINTERS = 7, 15
#: The time code of a prompted frame's memory: the last row of the model's table.
PROMPTED = MEMORIES - 1


@dataclass(frozen=True)
class Candidates:
    """What the mask decoder says of one object on a frame, for M masks.

    Attributes:
        iou: (M,) float, predicted.
        score: The logit that the object is there.
        visible: (M,) bool: whether a low-resolution logit is over 0.
        masks: (M, H, W) bool at the size that the policy looks at; nothing where it looks at none.
    """

    iou: np.ndarray
    score: float
    visible: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Recall:
    """What a frame looks back at.

    Attributes:
        memories: (frame, row of the table of time codes) of each memory.
        pointers: (frame, distance) of each object pointer.
    """

    memories: list[tuple[int, int]]
    pointers: list[tuple[int, int]]


class MemoryPolicy(ABC):
    """A rule of memory. Frame 0 is prompted; ``prompt`` and ``track`` are told every frame once, in order.

    Attributes:
        presence: The object counts as there where its logit is over it.
        looks_at: The size at which it is shown the masks, that of the model's input or of the video; "" for none.
        prompted: Frames that are remembered as prompted ones, in order.
    """

    presence: ClassVar[float] = 0.0
    looks_at: ClassVar[Literal["", "model", "video"]] = ""

    def __init__(self) -> None:
        self.prompted: list[int] = []

    def prompt(self, frame: int) -> None:
        """Take note of a prompted frame."""
        self.prompted.append(frame)

    def choose(self, candidates: Candidates) -> int:
        """Return which of the masks of the next frame is the answer."""
        return int(candidates.iou.argmax())

    @abstractmethod
    def track(self, frame: int, candidates: Candidates, chosen: int) -> bool:
        """Take note of a tracked frame; return whether it is remembered as a prompted one is."""

    @abstractmethod
    def recall(self, frame: int) -> Recall:
        """Return what a frame looks back at."""

    @abstractmethod
    def needed(self, frame: int) -> set[int]:
        """Return the frames up to this one whose memories a later frame may look at."""

    def _nearest_prompted(self, frame: int, count: int = 4) -> list[int]:
        return sorted(sorted(self.prompted, key=lambda at: abs(frame - at))[:count])


@dataclass(frozen=True)
class Noted:
    """What is noted of a tracked frame: the answer's predicted IoU, the object's logit, its overlap with the filter."""

    iou: float
    score: float
    motion: float | None = None


class Selection(MemoryPolicy):
    """Looks back at the latest frames that were good; the latest frame always is one of them.

    A memory's time code is its rank among them, not its distance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[int, Noted] = {}

    @abstractmethod
    def good(self, noted: Noted) -> bool:
        """Whether a frame is worth remembering."""

    #: The first frame that can be good.
    first: ClassVar[int] = 1

    def track(self, frame: int, candidates: Candidates, chosen: int) -> bool:
        self.noted[frame] = Noted(float(candidates.iou[chosen]), candidates.score, self._motion(chosen))
        # Whether a frame is good never changes: those beyond the last so many good ones are never looked at.
        needed = self.needed(frame)
        self.noted = {at: noted for at, noted in self.noted.items() if at in needed}
        return False

    def _motion(self, chosen: int) -> float | None:
        return None

    def _selected(self, frame: int, limit: int = POINTERS) -> list[int]:
        """Return the latest good frames before a frame in order, and the frame before it."""
        good = [at for at in sorted(self.noted) if self.first <= at < frame and self.good(self.noted[at])][-limit:]
        last = frame - 1
        return good if last in good or last not in self.noted else [*good, last]

    def recall(self, frame: int) -> Recall:
        selected = self._selected(frame)
        prompted = self._nearest_prompted(frame)
        recent = selected[-(MEMORIES - 1) :]
        memories = [(at, PROMPTED) for at in prompted]
        memories += [(at, len(recent) - 1 - place) for place, at in enumerate(recent)]
        return Recall(memories, [(at, frame - at) for at in prompted] + self._pointers(frame, selected))

    @abstractmethod
    def _pointers(self, frame: int, selected: Sequence[int]) -> list[tuple[int, int]]:
        """Return the pointers of tracked frames with their distances."""

    def needed(self, frame: int) -> set[int]:
        return {*self._nearest_prompted(frame), *self._selected(frame + 1)}


class Sam3Memory(Selection):
    """The memory selection of SAM 3's tracker: the object's score times the predicted IoU is over 0.01."""

    threshold: ClassVar[float] = 0.01

    def good(self, noted: Noted) -> bool:
        there = 2 / (1 + exp(-noted.score)) - 1 if noted.score > 0 else 0.0
        return there * noted.iou > self.threshold

    def _pointers(self, frame: int, selected: Sequence[int]) -> list[tuple[int, int]]:
        # By rank; the public code stops one short of the oldest.
        count = min(POINTERS, len(selected) - 1)
        return [(selected[-rank], rank) for rank in range(1, count + 1)]


class Samurai(Selection):
    """SAMURAI: a Kalman filter of the mask's box has a say in which mask is the answer.

    A filter belongs to one object of one video; the public code keeps it from one video to the next.
    """

    presence: ClassVar[float] = -1.0
    looks_at = "model"
    first: ClassVar[int] = 2
    stable_frames: ClassVar[int] = 15
    stable_iou: ClassVar[float] = 0.3
    weight: ClassVar[float] = 0.15
    memory_iou: ClassVar[float] = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.filter: Kalman | None = None
        self.stable = 0
        self._overlaps: list[float] | None = None

    def choose(self, candidates: Candidates) -> int:
        boxes = [_box(mask) for mask in candidates.masks]
        self._overlaps = None
        best = int(candidates.iou.argmax())
        if self.filter is None or self.stable == 0:
            self.filter = Kalman(boxes[best])
            self.stable += 1
            return best
        predicted = self.filter.predict()
        if self.stable == self.stable_frames:
            self._overlaps = [_overlap(predicted, box) for box in boxes]
            motion = np.array(self._overlaps)
            best = int((self.weight * motion + (1 - self.weight) * candidates.iou.astype(np.float64)).argmax())
        good = float(candidates.iou[best])
        if good < self.stable_iou or (self._overlaps is None and good == self.stable_iou):
            self.stable = 0
        else:
            self.filter.update(boxes[best])
            self.stable = min(self.stable + 1, self.stable_frames)
        return best

    def good(self, noted: Noted) -> bool:
        moved = noted.motion is None or noted.motion > 0
        return noted.iou > self.memory_iou and noted.score > 0 and moved

    def _motion(self, chosen: int) -> float | None:
        return None if self._overlaps is None else self._overlaps[chosen]

    def _pointers(self, frame: int, selected: Sequence[int]) -> list[tuple[int, int]]:
        # As in SAM 2: of all the latest frames, good or not.
        latest = range(frame - 1, max(frame - POINTERS - 1, -1), -1)
        return [(at, frame - at) for at in latest if at not in self.prompted]


class Dam(MemoryPolicy):
    """DAM4SAM: frames on which something else looked like the object stay as anchors, beside a sparse recent memory.

    A frame becomes an anchor where the answer is sure and steady, and another of the three masks reaches elsewhere.
    """

    looks_at = "video"
    stride: ClassVar[int] = 5
    anchors: ClassVar[int] = 4
    sure: ClassVar[float] = 0.8
    steady: ClassVar[tuple[float, float]] = (0.8, 1.2)
    elsewhere: ClassVar[float] = 0.7
    apart: ClassVar[int] = 5

    def __init__(self) -> None:
        super().__init__()
        self.visible: set[int] = set()
        self.areas: list[int] = []
        self.added: int | None = None

    def track(self, frame: int, candidates: Candidates, chosen: int) -> bool:
        if candidates.visible[chosen]:
            self.visible.add(frame)
        anchor = self._is_anchor(frame, candidates, chosen)
        if anchor:
            self.added = frame
            self.prompted.append(frame)
        # Selection reaches no further back than the first anchor and the last four.
        del self.prompted[1 : -self.anchors]
        kept = self.needed(frame)
        self.visible = {at for at in self.visible if at in kept or at > frame - POINTERS}
        return anchor

    def _sparse(self) -> list[int]:
        """Return the tracked frames that a later pick can fall on: the last visible one, multiples of the stride."""
        tracked = sorted(self.visible - set(self.prompted))
        return [*tracked[-1:], *[at for at in tracked if at % self.stride == 0][-(MEMORIES - 1) :]]

    def _is_anchor(self, frame: int, candidates: Candidates, chosen: int) -> bool:
        mask = candidates.masks[chosen]
        area = int(np.count_nonzero(mask))
        first = not self.areas
        self.areas = [*self.areas[-299:], area]
        if area == 0 or first or not candidates.iou[chosen] > self.sure:
            return False
        ratio = area / np.median([size for size in self.areas if size][-10:])
        low, high = self.steady
        if not low <= ratio <= high or (self.added is not None and frame - self.added <= self.apart):
            return False
        box = _box(mask)
        others = (candidates.masks[other] & ~mask for other in range(len(candidates.iou)) if other != chosen)
        overlaps = [_overlap(box, _box(mask | _largest(other)), empty=1.0) for other in others if other.any()]
        return bool(overlaps) and min(overlaps) <= self.elsewhere

    def _selected(self, frame: int) -> list[int]:
        """Return the anchors that a frame looks at: the latest before the last frame, the first, then the nearest."""
        first, before = self.prompted[0], [at for at in self.prompted if at < frame - 1]
        nearest = sorted(before, key=lambda at: frame - at)
        return list(dict.fromkeys([*nearest[:1], first, *nearest]))[: self.anchors]

    def _recent(self, frame: int, selected: set[int]) -> list[int]:
        """Return the visible frames, newest first, that fill what the anchors leave of the memory."""
        count = MEMORIES - len(selected)
        tracked = self.visible - set(self.prompted)
        last = frame - 1
        if last in self.visible and last not in selected:
            picks = [last]
        else:
            picks = sorted((at for at in tracked if 0 < at < last), reverse=True)[:1]
        if picks:
            sparse = (at for at in tracked if at % self.stride == 0 and 0 < at < picks[0])
            picks += sorted(sparse, reverse=True)[: count - 1]
        return picks

    def recall(self, frame: int) -> Recall:
        selected = self._selected(frame)
        recent = self._recent(frame, set(selected))
        memories = [(at, PROMPTED) for at in selected] + [(at, code) for code, at in enumerate(recent)][::-1]
        pointers = [(at, frame - at) for at in selected]
        for at in range(frame - 1, max(frame - POINTERS - 1, 0), -1):
            if at in self.visible and at not in selected:
                pointers.append((at, frame - at))
        return Recall(memories, pointers)

    def needed(self, frame: int) -> set[int]:
        return {*self.prompted, *self._sparse(), *({frame} & self.visible)}


#: By the name that a lifted method's has behind ``@``.
POLICIES: dict[str, type[MemoryPolicy]] = {"dam": Dam, "samurai": Samurai, "sam3-memory": Sam3Memory}


class Kalman:
    """A filter of a box of constant velocity, with the constants of DeepSORT (Wojke et al., arXiv 1703.07402).

    Args:
        box: (x0, y0, x1, y1) pixels.

    Attributes:
        mean: (8,) centre x and y, width over height, height, and their velocities.
        covariance: (8, 8).
    """

    position, velocity = 1 / 20, 1 / 160

    def __init__(self, box: Sequence[float]) -> None:
        state = self._state(box)
        self.mean = np.concatenate([state, np.zeros(4)])
        deviations = self._deviations(state[3])
        deviations[[0, 1, 3]] *= 2
        deviations[[4, 5, 7]] *= 10
        self.covariance = np.diag(deviations**2)

    @staticmethod
    def _state(box: Sequence[float]) -> np.ndarray:
        x0, y0, x1, y1 = (float(value) for value in box)
        height = (y1 - y0) or 1.0  # a height of 0 is read as 1
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / height, height])

    def _deviations(self, height: float) -> np.ndarray:
        place, speed = self.position * height, self.velocity * height
        return np.array([place, place, 1e-2, place, speed, speed, 1e-5, speed])

    def predict(self) -> tuple[float, float, float, float]:
        """Go on by one frame; return the box (x0, y0, x1, y1) that is expected there."""
        noise = np.diag(self._deviations(self.mean[3]) ** 2)
        motion = np.eye(8) + np.eye(8, k=4)
        self.mean = motion @ self.mean
        self.covariance = motion @ self.covariance @ motion.T + noise
        x, y, aspect, height = self.mean[:4]
        width = aspect * height
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2

    def update(self, box: Sequence[float]) -> None:
        """Take in the box that was found."""
        deviations = self._deviations(self.mean[3])[:4]
        deviations[2] = 1e-1
        spread = self.covariance[:4, :4] + np.diag(deviations**2)
        gain = np.linalg.solve(spread, self.covariance[:4]).T
        self.mean = self.mean + gain @ (self._state(box) - self.mean[:4])
        self.covariance = self.covariance - gain @ spread @ gain.T


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return a mask's box, its last pixels inside; zeros for an empty mask, as the public codes have it."""
    return mask_box(mask) or (0, 0, 0, 0)


def _overlap(a: Sequence[float], b: Sequence[float], *, empty: float = 0.0) -> float:
    """Return the IoU of two boxes as rectangles between their corners; ``empty`` where both have no area."""
    sides = [max(0.0, min(a[2 + axis], b[2 + axis]) - max(a[axis], b[axis])) for axis in (0, 1)]
    inside = sides[0] * sides[1]
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return float(inside / union) if union > 0 else empty


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return a mask's largest component of 8 neighbours; of equal ones the first by rows."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
