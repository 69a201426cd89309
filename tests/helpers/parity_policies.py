"""The fixtures of memory policies: what the public codes select, add and choose."""

from __future__ import annotations

from typing import Any

import numpy as np

from icvos.foundation.memory_policies import Candidates, Dam, MemoryPolicy, Noted, Samurai


def check_policy(d: dict[str, Any], name: str) -> None:
    """Check a fixture of the family ``policy_*`` exactly."""
    arrays = {key: np.asarray(value) for key, value in d.items()}
    checks = {
        "policy_dam_selection": check_dam_selection,
        "policy_samurai_selection": check_samurai_selection,
        "policy_dam_additions": check_dam_additions,
        "policy_samurai_choice": check_samurai_choice,
    }
    check = next((check for prefix, check in checks.items() if name.startswith(prefix)), None)
    assert check is not None, f"unknown family of fixtures: {name}"
    check(arrays)


def numbers(row: np.ndarray) -> list[int]:
    """Return what a row holds before its padding with -1."""
    return [int(value) for value in row if value >= 0]


def same_recall(policy: MemoryPolicy, frame: int, d: dict[str, Any], row: int) -> None:
    recall = policy.recall(frame)
    memories = list(zip(numbers(d["out_memory_frames"][row]), numbers(d["out_memory_code"][row]), strict=True))
    assert sorted(recall.memories) == sorted(memories)
    assert sorted(at for at, _ in recall.pointers) == sorted(numbers(d["out_pointer_frames"][row]))
    assert all(distance == frame - at for at, distance in recall.pointers)


def check_dam_selection(d: dict[str, Any]) -> None:
    for row, frame in enumerate(d["in_frame"].astype(int)):
        policy = Dam()
        policy.prompted = numbers(d["in_drm"][row])
        policy.visible = {int(at) for at in np.flatnonzero(d["in_visible"][row]) if 0 < at < frame}
        same_recall(policy, frame, d, row)


def check_samurai_selection(d: dict[str, Any]) -> None:
    scores = zip(d["in_iou"], d["in_object_score"], d["in_motion_score"], strict=True)
    for row, (frame, (iou, score, motion)) in enumerate(zip(d["in_frame"].astype(int), scores, strict=True)):
        policy = Samurai()
        policy.prompt(0)
        for at in range(1, frame):
            moved = None if np.isnan(motion[at]) else float(motion[at])
            policy.noted[at] = Noted(float(iou[at]), float(score[at]), moved)
        same_recall(policy, frame, d, row)


def the(d: dict[str, Any], *words: str) -> np.ndarray:
    """Return the one array whose name holds one of some words."""
    found = [key for key in d if any(word in key for word in words)]
    assert len(found) == 1, f"{words}: {sorted(d)}"
    return np.asarray(d[found[0]])


def check_dam_additions(d: dict[str, Any]) -> None:
    """Masks (T, 3, H, W) and IoUs (T, 3) of the tracked frames 1 to T; the frames that were added."""
    masks, ious = the(d, "in_masks").astype(bool), the(d, "in_iou").astype(np.float32)
    policy = Dam()
    policy.prompt(0)
    added = []
    for frame, (shown, iou) in enumerate(zip(masks, ious, strict=True), 1):
        candidates = Candidates(iou, 5.0, shown.any(axis=(1, 2)), shown)
        if policy.track(frame, candidates, policy.choose(candidates)):
            added.append(frame)
    out = the(d, "out_")
    expected = (
        [int(at) + 1 for at in np.flatnonzero(out)] if len(out) == len(masks) and out.max() <= 1 else numbers(out)
    )
    assert added == [at for at in expected if at > 0]


def check_samurai_choice(d: dict[str, Any]) -> None:
    """Boxes (T, 3, 4) and IoUs (T, 3) of the tracked frames: the choice, how long it was steady, the filter's mean."""
    boxes, ious = the(d, "in_box").astype(int), the(d, "in_iou").astype(np.float32)
    side = int(max(boxes.max() + 1, 2))
    policy = Samurai()
    policy.prompt(0)
    rows, columns = np.mgrid[:side, :side]
    for frame, (three, iou) in enumerate(zip(boxes, ious, strict=True)):
        x0, y0, x1, y1 = (three[:, axis, None, None] for axis in range(4))
        masks = (columns >= x0) & (columns <= x1) & (rows >= y0) & (rows <= y1) & (x1 > x0)
        candidates = Candidates(iou, 5.0, masks.any(axis=(1, 2)), masks)
        chosen = policy.choose(candidates)
        assert chosen == int(the(d, "out_choice", "out_chosen")[frame])
        assert policy.stable == int(the(d, "out_count", "out_stable")[frame])
        policy.track(frame + 1, candidates, chosen)
        assert policy.filter is not None
        mean = the(d, "out_mean", "out_kalman")[frame]
        if not np.isnan(mean).any():
            assert np.abs(policy.filter.mean[: len(mean)] - mean).max() <= 1e-6
