"""The support as frame 0 of SAM 2's video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_weights import tiny_sam2, tiny_sam2_file

from baselines.sam2_memory import Sam2Memory
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.tracker import Tracker
from icvos.models.check import check_model
from icvos.models.clips import Clip, support


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"sam2": tiny_sam2_file(tmp_path_factory.mktemp("weights"))}


def test_is_a_video_that_begins_with_the_support(weights: dict[str, Path]) -> None:
    clip, shown = Clip(4), support()
    frames = [shown.image, *clip]
    with torch.no_grad():
        mask = torch.from_numpy(shown.mask.copy())[None].float()
        tracked = list(Tracker(tiny_sam2()).track(frames, Prompt(masks=mask), num_frames=5))
    got = list(Sam2Memory(weights=weights).segment([shown], clip, seed=0))
    for mine, theirs in zip(got, tracked[1:], strict=True):
        assert np.array_equal(mine.numpy(), theirs.masks(clip.size)[0].numpy())


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: Sam2Memory(weights=weights))
    assert not [f for f in findings if f.status == "failed"]


def test_frames_and_supports_are_encoded_once(weights: dict[str, Path]) -> None:
    model = Sam2Memory(weights=weights)
    calls = []
    encode = model.tracker.segmenter.encode_batch
    model.tracker.segmenter.encode_batch = lambda images: calls.append(len(images)) or encode(images)  # type: ignore[method-assign]
    one, two = support(seed=1), support(seed=2)
    list(model.segment_many([[one], [two], [one]], Clip(6), seeds=[0, 1, 2]))
    assert sum(calls) == 6 + 2
