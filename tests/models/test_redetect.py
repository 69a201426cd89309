"""Looking again: ``X+sam2@redetect`` and ``dcsam@redetect``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_weights import tiny_dcsam_file, tiny_sam2, tiny_sam2_file

from dcsam.redetect import DCSamRedetect, RedetectOptions
from icvos import ImageModel, ModelInfo, Prediction, Support
from icvos.errors import UsageError
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.tracker import Tracker, TrackerOptions
from icvos.models.clips import Clip, support
from icvos.models.lifting import first_mask_use
from icvos.models.lifts import lift
from icvos.models.redetect import Answer, Redetector, RedetectRules, confidence_of

SIZE = (8, 8)


def square(first: int, last: int) -> torch.Tensor:
    """Return a (1, 8, 8) bool mask of some whole columns."""
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[..., first:last] = True
    return mask


def answer(mask: torch.Tensor, confidence: float = 1.0) -> Answer:
    return Answer(Prompt(masks=mask.float()), mask, confidence)


@dataclass
class Still:
    """A tracker that keeps the mask of its last prompt; it says of each frame what it is told to say.

    Attributes:
        score, iou: What it says from the second frame on.
        prompted: Frames that were prompted, and with what.
    """

    score: float = 5.0
    iou: float = 0.9
    mask: torch.Tensor = field(default_factory=lambda: square(0, 0))
    prompted: list[tuple[int, Any]] = field(default_factory=list)

    def start(self, *, num_frames: int) -> Any:
        return SimpleNamespace(index=0)

    def step(self, bank: Any, features: Any, *, prompt: Prompt | None = None) -> Any:
        bank.index += 1
        if prompt is not None:
            assert prompt.masks is not None
            self.mask = prompt.masks.bool()
            self.prompted.append((bank.index - 1, self.mask))
        return SimpleNamespace(
            mask=self.mask, object_score=torch.tensor([[self.score]]), iou=torch.tensor([[self.iou]])
        )

    def correct(self, bank: Any, features: Any, prompt: Prompt) -> Any:
        bank.index -= 1
        return self.step(bank, features, prompt=prompt)


def follow(tracker: Still, answers: Sequence[Answer | None], **rules: Any) -> list[int]:
    """Run it over frames with these answers; return the frames that the model was asked about."""
    asked: list[int] = []
    track = Redetector(tracker, lambda frame: frame.mask, RedetectRules(**rules))
    for index, each in enumerate(answers):
        track.step(None, lambda index=index, each=each: asked.append(index) or each, left=len(answers) - index)
    return asked


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ({}, [0, 3, 6]),
        # The object score is a logit.
        ({"score": -0.1}, [0, 1, 2, 3, 4, 5, 6]),
        ({"iou": 0.1}, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_it_looks_each_so_many_frames_and_where_the_tracker_is_unsure(
    says: dict[str, float], expected: list[int]
) -> None:
    assert follow(Still(**says), [answer(square(0, 4))] * 7, every=3) == expected


def test_it_waits_until_something_is_found() -> None:
    tracker = Still()
    assert follow(tracker, [None, None, *[answer(square(0, 4))] * 5], every=2) == [0, 1, 2, 4, 6]
    assert [frame for frame, _ in tracker.prompted] == [0]


@pytest.mark.parametrize(
    ("found", "prompts"),
    [
        (answer(square(4, 8)), 2),
        # The tracker covers it.
        (answer(square(0, 3)), 1),
        # It is less sure than what the tracker rests on.
        (answer(square(4, 8), 0.5), 1),
        (None, 1),
    ],
)
def test_what_is_sure_and_not_covered_becomes_a_prompt(found: Answer | None, prompts: int) -> None:
    tracker = Still()
    follow(tracker, [answer(square(0, 4)), found], every=1)
    assert len(tracker.prompted) == prompts


@pytest.mark.parametrize(("union", "columns"), [(True, 8), (False, 4)])
def test_a_prompt_keeps_what_is_tracked_unless_it_is_to_be_replaced(union: bool, columns: int) -> None:
    tracker = Still()
    follow(tracker, [answer(square(0, 4)), answer(square(4, 8))], every=1, union=union)
    assert tracker.mask[0, 0].sum() == columns
    # Of what is judged absent nothing is kept.
    absent = Still(score=-1.0)
    follow(absent, [answer(square(0, 4)), answer(square(4, 8))], every=1, union=union)
    assert absent.mask[0, 0].sum() == 4


def test_confidence_is_the_models_own_or_its_score() -> None:
    mask, score = np.eye(4, dtype=bool), np.arange(16.0).reshape(4, 4)
    assert confidence_of(Prediction(mask, score=score, confidence=0.3)) == 0.3
    assert confidence_of(Prediction(mask, score=score)) == confidence_of(Prediction(mask, torch.tensor(score))) == 7.5
    assert confidence_of(Prediction(torch.tensor(mask))) == 1.0 and confidence_of(Prediction(mask, -score)) == 0.0


# ------------------------------------------------------------------------------------------------------ on a SAM 2


class Marked(ImageModel):
    """Finds what is brighter than 150 on frames with a mark, their first pixel; sure by the support's first pixel."""

    info = ModelInfo(name="marked", version="1")

    def fit(self, supports: Sequence[Support], *, seed: int) -> float:
        return float(supports[0].image[0, 0, 0])

    def predict(self, fitted: float, image: np.ndarray) -> Prediction:
        return Prediction((image[..., 0] > 150) & bool(image[0, 0, 0] == 255), confidence=fitted)


class Shown(Clip):
    """A clip with the mark on some frames."""

    def __init__(self, frames: int, marked: Sequence[int]) -> None:
        super().__init__(frames)
        self.marked = marked

    def __getitem__(self, index: int, /) -> np.ndarray:
        frame = super().__getitem__(index).copy()
        frame[0, 0, 0] = 255 if index in self.marked else 0
        return frame


def shown(level: int) -> list[Support]:
    return [Support(np.full((8, 8, 3), level, np.uint8), np.ones((8, 8), bool))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"tracker": tiny_sam2_file(tmp_path_factory.mktemp("weights"))}


def masks_of(model: Any, clip: Clip, supports: Sequence[Support]) -> np.ndarray:
    return np.stack([np.asarray(mask) for mask in model.segment(supports, clip, seed=0)])


def test_correcting_a_frame_is_prompting_it() -> None:
    clip, mask = Clip(3), torch.zeros(1, 48, 64)
    mask[:, 10:30, 10:40] = 1
    tracker = Tracker(tiny_sam2(), TrackerOptions(max_prompted=7))
    first, second = Prompt(masks=mask), Prompt(masks=1 - mask)
    with torch.no_grad():
        frames = list(tracker.encode(clip))
        expected = list(tracker.track(frames, first, num_frames=3, reprompt={1: second}))
        bank = tracker.start(num_frames=3)
        tracker.step(bank, frames[0], prompt=first)
        tracker.step(bank, frames[1])
        corrected = tracker.correct(bank, frames[1], second)
        last = tracker.step(bank, frames[2])
    torch.testing.assert_close(corrected.logits, expected[1].logits)
    torch.testing.assert_close(last.logits, expected[2].logits)


def test_what_is_absent_at_the_start_is_found(weights: dict[str, Path]) -> None:
    clip = Shown(6, marked=(3, 4))
    assert not masks_of(lift(Marked)(weights=weights), clip, shown(1)).any()
    found = masks_of(lift(Marked, "redetect")(weights=weights), clip, shown(1))
    assert not found[:3].any() and found[3].any()


def test_episodes_share_frames_and_are_as_alone(weights: dict[str, Path]) -> None:
    model, clip = lift(Marked, "redetect=2")(weights=weights), Shown(7, marked=(0, 2, 3, 6))
    encode, seen = model.tracker.segmenter.encode, []
    model.tracker.segmenter.encode = lambda pixels, **more: seen.append(len(pixels)) or encode(pixels, **more)
    sets = [shown(3), shown(0), shown(200)]
    together = list(model.segment_many(sets, clip, seeds=[0] * 3))
    assert sum(seen) == len(clip)
    for place, supports in enumerate(sets):
        alone = masks_of(model, clip, supports)
        assert all(np.array_equal(a, np.asarray(row[place])) for a, row in zip(alone, together, strict=True))


def test_the_memory_is_flat(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever is found is news, so that each frame is prompted.
    model = lift(Marked, "redetect=1")(weights=weights)
    model.rules = RedetectRules(every=1, covered=2.0, gain=0.0)
    banks, start = [], model.tracker.start
    monkeypatch.setattr(model.tracker, "start", lambda **more: banks.append(start(**more)) or banks[-1])
    sizes = []
    for _ in model.segment(shown(1), Shown(30, marked=range(30)), seed=0):
        sizes.append((len(banks[0].prompted), len(banks[0].tracked)))
    assert max(sizes) == sizes[-1] == (7, 0)


def dcsam(folder: Path, **options: Any) -> DCSamRedetect:
    return DCSamRedetect(weights={"dcsam": tiny_dcsam_file(folder)}, options=RedetectOptions(**options))


def test_dcsam_encodes_a_frame_once(tmp_path: Path) -> None:
    model = dcsam(tmp_path, every=3)
    segmenter, generator = model.engine.segmenter, model.engine.model
    encode, extract, seen = segmenter.encode_batch, generator.extract, {"sam": 0, "backbone": 0}

    def encode_batch(images: torch.Tensor) -> Any:
        seen["sam"] += len(images)
        return encode(images)

    def extracted(images: torch.Tensor, *, top: bool = False) -> Any:
        seen["backbone"] += len(images)
        return extract(images, top=top)

    segmenter.encode_batch, generator.extract = encode_batch, extracted  # type: ignore[method-assign, assignment]
    sets = [[support(seed=1)], [support(seed=2)]]
    together = list(model.segment_many(sets, Clip(7), seeds=[0, 0]))
    assert seen["sam"] == 7 + 2 and 3 + 2 <= seen["backbone"] <= 7 + 2
    for place, supports in enumerate(sets):
        for mine, row in zip(model.segment(supports, Clip(7), seed=0), together, strict=True):
            assert float((mine != row[place]).float().mean()) < 0.002


def test_masks_do_not_depend_on_later_frames_nor_on_chance(weights: dict[str, Path], tmp_path: Path) -> None:
    for model, supports in ((lift(Marked, "redetect=2")(weights=weights), shown(1)), (dcsam(tmp_path), [support()])):
        whole = masks_of(model, Shown(18, marked=range(18)), supports)
        first = masks_of(model, Shown(18, marked=range(9)), supports)
        assert np.array_equal(whole[:9], first[:9])
        assert np.array_equal(whole, masks_of(model, Shown(18, marked=range(18)), supports))


def test_no_oracle_and_no_strange_period(weights: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use --model marked\+sam2 with --oracle"):
        first_mask_use(lift(Marked, "redetect")(weights=weights))
    with pytest.raises(UsageError, match="use --model dcsam with --oracle"):
        first_mask_use(dcsam(tmp_path))
    for period in ("0", "x", "-1"):
        with pytest.raises(UsageError, match="@redetect=N with N at least 1"):
            lift(Marked, f"redetect={period}")
    with pytest.raises(UsageError, match="every=0"):
        dcsam(tmp_path, every=0)
