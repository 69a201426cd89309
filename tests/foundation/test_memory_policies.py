"""Memory policies: SAM 2's own rule gives SAM 2's own masks, memories are flat, the rules are the papers'."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sam2")

from sam_tiny import balance, clip, tiny_sam2  # noqa: E402

from icvos.errors import UsageError  # noqa: E402
from icvos.foundation.frame_tracker import Prompt  # noqa: E402
from icvos.foundation.memory_policies import (  # noqa: E402
    MEMORIES,
    POINTERS,
    POLICIES,
    PROMPTED,
    Candidates,
    Dam,
    Kalman,
    MemoryPolicy,
    Recall,
    Sam3Memory,
    Samurai,
)
from icvos.foundation.policy_tracker import PolicyTracker  # noqa: E402
from icvos.foundation.tracker import Tracker, TrackerOptions  # noqa: E402
from icvos.models.lifts import lift  # noqa: E402
from icvos.models.registry import resolve  # noqa: E402


class Sam2Rule(MemoryPolicy):
    """SAM 2's own rule, as a policy."""

    def track(self, frame: int, candidates: Candidates, chosen: int) -> bool:
        return False

    def recall(self, frame: int) -> Recall:
        recent = range(max(frame - MEMORIES + 1, 1), frame)
        memories = [(0, PROMPTED), *((at, frame - at - 1) for at in recent)]
        pointers = [(0, frame), *((at, frame - at) for at in range(frame - 1, max(frame - POINTERS - 1, 0), -1))]
        return Recall(memories, pointers)

    def needed(self, frame: int) -> set[int]:
        return {0, *range(frame - MEMORIES + 2, frame + 1)}


@pytest.fixture(scope="module")
def video() -> tuple[Any, Any]:
    return clip(40)


@pytest.fixture(scope="module")
def sam2(video: tuple[Any, Any]) -> Any:
    segmenter = tiny_sam2()
    balance(segmenter, video[0], video[1][0])
    return segmenter


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def logits(tracker: Tracker, video: tuple[Any, Any], masks: Any, frames: int = 40) -> Any:
    return torch.stack([f.logits for f in tracker.track(video[0][:frames], Prompt(masks=masks))])


@pytest.mark.parametrize("frames", [9, 40])
def test_sam2s_own_rule_gives_sam2s_own_masks(sam2: Any, video: tuple[Any, Any], frames: int) -> None:
    masks = torch.stack([video[1][0], video[1][0].flip(0)])
    plain = logits(Tracker(sam2), video, masks, frames)
    assert (logits(PolicyTracker(sam2, Sam2Rule), video, masks, frames) - plain).abs().max() < 1e-4


@pytest.mark.parametrize("name", POLICIES)
def test_objects_of_a_batch_are_tracked_as_alone(sam2: Any, video: tuple[Any, Any], name: str) -> None:
    masks = torch.stack([video[1][0], video[1][0].flip(0), torch.zeros_like(video[1][0])])
    tracker = PolicyTracker(sam2, POLICIES[name])
    together = logits(tracker, video, masks, 25)
    for row in range(3):
        alone = logits(tracker, video, masks[row : row + 1], 25)
        assert torch.allclose(together[:, row : row + 1], alone, atol=2e-4)


@pytest.mark.parametrize("name", POLICIES)
def test_memory_does_not_grow(sam2: Any, video: tuple[Any, Any], name: str) -> None:
    tracker = PolicyTracker(sam2, POLICIES[name])
    bank = tracker.start(size=(64, 48))
    features = list(tracker.encode(video[0][:10]))
    held = []
    for frame in range(300):
        prompt = Prompt(masks=torch.stack([video[1][0], video[1][0].flip(0)])) if frame == 0 else None
        tracker.step(bank, features[frame % 10], prompt=prompt)
        memories = sum(len(each.memories) for each in bank.memories)
        pointers = sum(len(each.pointers) for each in bank.memories)
        held.append((memories, pointers))
    assert max(held[100:]) <= max(held[:100]) and max(memories for memories, _ in held) <= 2 * (POINTERS + 2)
    assert max(pointers for _, pointers in held) <= 2 * (2 * POINTERS + 2)
    gc.collect()


def candidates(rng: np.random.Generator, *, side: int = 12) -> Candidates:
    there = rng.random() < 0.7
    masks = np.zeros((3, side, side), bool)
    if there:
        left, top = rng.integers(0, side // 2, 2)
        for mask in masks:
            mask[top : top + 5, left : left + rng.integers(4, 7)] = True
        masks[rng.integers(3), 1 : rng.integers(2, side), side - 2 :] |= rng.random() < 0.5
    score = rng.normal(1.0, 2.0)
    return Candidates(rng.uniform(0.2, 1.0, 3).astype(np.float32), float(score), masks.any(axis=(1, 2)), masks)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_forgotten_is_never_looked_back_at(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = POLICIES[name]()
    policy.prompt(0)
    kept, pointed, anchors = {0}, {0}, 0
    for frame in range(1, 400):
        recall = policy.recall(frame)
        assert {at for at, _ in recall.memories} <= kept and {at for at, _ in recall.pointers} <= pointed
        assert len(recall.memories) <= MEMORIES and len({code for _, code in recall.memories} - {PROMPTED}) <= 6
        seen = candidates(rng)
        anchors += policy.track(frame, seen, policy.choose(seen))
        needed = policy.needed(frame)
        kept = {at for at in {*kept, frame} if at in needed}
        pointed = {at for at in {*pointed, frame} if at in needed or at > frame - POINTERS}
        assert len(kept) <= POINTERS + 2
    assert (anchors > 10) == (name == "dam")


def test_dam_that_forgets_picks_what_dam_that_does_not_would() -> None:
    class Hoarder(Dam):
        def needed(self, frame: int) -> set[int]:
            return {*range(frame + 1)}

    rng = np.random.default_rng(5)
    policy, hoarder = Dam(), Hoarder()
    for each in (policy, hoarder):
        each.prompt(0)
    for frame in range(1, 300):
        assert policy.recall(frame) == hoarder.recall(frame)
        seen = candidates(rng)
        assert policy.track(frame, seen, policy.choose(seen)) == hoarder.track(frame, seen, hoarder.choose(seen))


def blocks(*boxes: tuple[int, int, int, int] | None, side: int = 40) -> np.ndarray:
    masks = np.zeros((len(boxes), side, side), bool)
    for mask, box in zip(masks, boxes, strict=True):
        if box is not None:
            x0, y0, x1, y1 = box
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return masks


def shown(masks: np.ndarray, iou: tuple[float, ...], score: float = 5.0) -> Candidates:
    return Candidates(np.array(iou, np.float32), score, masks.any(axis=(1, 2)), masks)


def test_dam_makes_an_anchor_of_a_steady_answer_beside_a_distractor() -> None:
    good = shown(blocks((5, 5, 14, 14), (5, 5, 30, 14), (5, 5, 14, 14)), (0.9, 0.5, 0.4))
    policy = Dam()
    policy.prompt(0)
    # The first tracked frame has no areas to be compared with; then every six frames.
    assert [policy.track(frame, good, 0) for frame in range(1, 15)] == [frame in (2, 8, 14) for frame in range(1, 15)]
    assert policy.recall(15).memories == [*((at, PROMPTED) for at in (8, 0, 2)), (5, 2), (10, 1), (14, 0)]

    for iou, other in ((0.8, (5, 5, 30, 14)), (0.9, (5, 5, 17, 14)), (0.9, (5, 5, 14, 14))):
        policy = Dam()
        policy.prompt(0)
        seen = shown(blocks((5, 5, 14, 14), other, None), (iou, 0.5, 0.4))
        assert not any(policy.track(frame, seen, 0) for frame in range(1, 9))
    policy = Dam()
    policy.prompt(0)
    grown = shown(blocks((5, 5, 14, 18), (5, 5, 34, 18), None), (0.9, 0.5, 0.4))
    assert [policy.track(frame, good if frame == 1 else grown, 0) for frame in (1, 2)] == [False, True]
    policy = Dam()
    policy.prompt(0)
    grown = shown(blocks((5, 5, 14, 24), (5, 5, 34, 24), None), (0.9, 0.5, 0.4))
    assert [policy.track(frame, good if frame == 1 else grown, 0) for frame in (1, 2)] == [False, False]


def test_samurai_lets_motion_choose_after_fifteen_steady_frames() -> None:
    policy = Samurai()
    policy.prompt(0)
    for frame in range(1, 16):
        seen = shown(blocks((frame, 5, frame + 6, 14), (25, 25, 34, 34), None), (0.7, 0.6, 0.1))
        assert policy.choose(seen) == 0
        policy.track(frame, seen, 0)
        assert policy.noted[frame].motion is None
    assert policy.stable == 15
    jump = shown(blocks((25, 25, 34, 34), (16, 5, 22, 14), None), (0.7, 0.6, 0.1))
    assert policy.choose(jump) == 1  # 0.15 * 0.95 outweighs 0.85 * 0.1
    policy.track(16, jump, 1)
    assert policy.noted[16].motion == pytest.approx(1.0, abs=0.1)
    lost = shown(blocks((25, 25, 34, 34), None, None), (0.2, 0.1, 0.1))
    policy.choose(lost)
    assert policy.stable == 0


def test_a_filter_follows_a_box_that_moves() -> None:
    filtered = Kalman((0, 0, 10, 20))
    assert filtered.mean.tolist() == [5, 10, 0.5, 20, 0, 0, 0, 0]
    for step in range(1, 30):
        predicted = filtered.predict()
        filtered.update((2 * step, step, 2 * step + 10, step + 20))
    assert predicted == pytest.approx((58, 29, 68, 49), abs=0.5)
    assert filtered.mean[4:6] == pytest.approx([2, 1], abs=0.1)
    assert Kalman((3, 4, 9, 4)).mean[:4].tolist() == [6, 4, 6, 1]


def test_sam3s_rule_keeps_ranks_not_distances() -> None:
    policy = Sam3Memory()
    policy.prompt(0)
    mask = blocks((1, 1, 4, 4))
    for frame in range(1, 31):
        policy.track(frame, shown(mask, (0.9,), score=3.0 if frame % 3 == 0 else -3.0), 0)
    recall = policy.recall(31)  # 30 is the last frame, and good
    assert recall.memories == [(0, PROMPTED), (15, 5), (18, 4), (21, 3), (24, 2), (27, 1), (30, 0)]
    assert recall.pointers == [(0, 31), *((30 - 3 * rank, rank + 1) for rank in range(9))]
    policy.track(31, shown(mask, (0.9,), score=-3.0), 0)
    assert policy.recall(32).memories[-2:] == [(30, 1), (31, 0)]  # the last frame is remembered, good or not


def test_names_papers_and_what_does_not_go_together(sam2: Any) -> None:
    for name in POLICIES:
        info = resolve(f"histogram+sam2@{name}").info
        assert info.name == f"histogram+sam2@{name}" and "arXiv" in info.paper
    with pytest.raises(UsageError, match="max_prompted"):
        PolicyTracker(sam2, Dam, TrackerOptions(max_prompted=3))
    assert lift(resolve("histogram"), "dam").tracker_options == {"policy": "dam"}


def test_a_frame_is_encoded_once(sam2: Any, video: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = sam2.encode_batch
    monkeypatch.setattr(sam2, "encode_batch", lambda images: (seen.append(len(images)), encode(images))[1])
    for policy in POLICIES.values():
        seen.clear()
        logits(PolicyTracker(sam2, policy), video, torch.stack([video[1][0], video[1][0].flip(0)]), 8)
        assert seen == [1] * 8
