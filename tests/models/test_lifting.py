"""Image models lifted by the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_weights import tiny_sam2, tiny_sam2_file

from icvos import ImageModel, ModelInfo, Prediction, Support
from icvos.errors import UsageError
from icvos.foundation.tracker import Prompt, Tracker
from icvos.models.check import check_model
from icvos.models.clips import Clip, support
from icvos.models.lifting import lift
from icvos.models.options import option_types, parse_options
from icvos.models.registry import create, resolve


class Bright(ImageModel):
    """Finds what is brighter than a threshold, and only in images whose first pixel says so."""

    info = ModelInfo(name="bright", version="3")

    def __init__(self, *, device: str = "cpu", weights: Any = None, threshold: int = 150) -> None:
        super().__init__(device=device, weights=weights)
        self.threshold = threshold

    def fit(self, supports: Sequence[Support], *, seed: int) -> None:
        return None

    def predict(self, fitted: None, image: np.ndarray) -> Prediction:
        mask = image[..., 0] > self.threshold
        return Prediction(mask, confidence=float(mask.sum()))


class Late(Clip):
    """A clip whose first frames hold nothing bright."""

    def __init__(self, frames: int, empty: int) -> None:
        super().__init__(frames)
        self.empty = empty

    def __getitem__(self, index: int, /) -> np.ndarray:
        frame = super().__getitem__(index)
        return frame // 4 if index < self.empty else frame


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"tracker": tiny_sam2_file(tmp_path_factory.mktemp("weights"))}


def masks(model: Any, clip: Clip) -> list[np.ndarray]:
    return [np.asarray(mask) for mask in model.segment([support()], clip, seed=0)]


def test_lift_is_the_tracker_prompted_on_frame_0(weights: dict[str, Path]) -> None:
    clip = Clip(5)
    model = lift(Bright)(weights=weights)
    assert model.info.name == "bright+sam2" and model.info.access == "online"
    with torch.no_grad():
        first = torch.from_numpy(clip[0][..., 0] > 150)[None].float()
        tracked = Tracker(tiny_sam2()).track(clip, Prompt(masks=first), num_frames=5)
        expected = [frame.masks(clip.size)[0].numpy() for frame in tracked]
    assert all(np.array_equal(a, b) for a, b in zip(masks(model, clip), expected, strict=True))


def test_nothing_on_frame_0_is_nothing_at_all_unless_it_waits(weights: dict[str, Path]) -> None:
    clip = Late(5, empty=2)
    assert not any(mask.any() for mask in masks(lift(Bright)(weights=weights), clip))
    found = masks(lift(Bright, "first-found")(weights=weights), clip)
    assert not found[0].any() and not found[1].any()
    assert lift(Bright, "best").info.access == "offline"


def test_every_prompts_again(weights: dict[str, Path]) -> None:
    calls = []

    class Counting(Bright):
        def predict(self, fitted: None, image: np.ndarray) -> Prediction:
            calls.append(1)
            return super().predict(fitted, image)

    masks(lift(Counting, "every=3")(weights=weights), Clip(7))
    assert len(calls) == 3
    calls.clear()
    masks(lift(Counting)(weights=weights), Clip(7))
    assert len(calls) == 1


class Picky(Bright):
    """Its threshold is the support's first pixel: support sets differ, and some find nothing at first."""

    def fit(self, supports: Sequence[Support], *, seed: int) -> Any:
        return int(supports[0].image[0, 0, 0])

    def predict(self, fitted: Any, image: np.ndarray) -> Prediction:
        return Prediction(image[..., 0] > fitted, confidence=0.5)


@pytest.mark.parametrize(("mode", "encoded"), [("", 6), ("first-found", 6), ("every=2", 6)])
def test_episodes_of_a_video_share_its_frames(mode: str, encoded: int, weights: dict[str, Path]) -> None:
    def shown(level: int) -> list[Support]:
        return [Support(np.full((8, 8, 3), level, np.uint8), np.ones((8, 8), bool))]

    # Found on frame 0, from frame 2 (the clip brightens) twice, and never.
    sets, clip = [shown(20), shown(150), shown(255), shown(120)], Late(6, empty=2)
    model = lift(Picky, mode)(weights=weights)
    encode, seen = model.tracker.segmenter.encode, []

    def counted(pixels: torch.Tensor, **more: Any) -> Any:
        seen.append(len(pixels))
        return encode(pixels, **more)

    model.tracker.segmenter.encode = counted  # type: ignore[method-assign]
    together = [[np.asarray(mask) for mask in masks] for masks in model.segment_many(sets, clip, seeds=[0] * 4)]
    assert sum(seen) == encoded
    for place, supports in enumerate(sets):
        alone = [np.asarray(mask) for mask in model.segment(supports, clip, seed=0)]
        assert all(np.mean(a != b[place]) < 0.002 for a, b in zip(alone, together, strict=True))
        first = [mask.any() for mask in alone]
        assert first[0] == (place == 0) and any(first) == (place == 0 or (mode != "" and place != 2))


@pytest.mark.parametrize("mode", ["", "first-found", "every=2", "best"])
def test_lifted_models_keep_the_rules(mode: str, weights: dict[str, Path]) -> None:
    findings = check_model(lambda: lift(Bright, mode)(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


def test_registry_lifts_by_name(weights: dict[str, Path]) -> None:
    cls = resolve("histogram+sam2@every=4")
    assert cls.info.name == "histogram+sam2@every=4" and "bins" in option_types(cls)
    model = create("histogram+sam2", weights=weights, options=parse_options(cls, ["bins=8"]))
    assert model.image_model.bins == 8  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="needs weights: tracker"):
        create("histogram+sam2")


def test_a_lift_declares_what_its_image_model_turns_out_to_have_seen(weights: dict[str, Path]) -> None:
    class Trained(Bright):
        info = replace(Bright.info, training_data=("coco2014:train",), training_categories=("dog",))

        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.info = replace(type(self).info, training_data=(), training_categories=())  # type: ignore[misc]

    cls = lift(Trained)
    assert cls.info.training_data[0] == "coco2014:train" and cls.info.training_categories == ("dog",)
    own = cls(weights=weights).info
    assert own.training_data == ("sa-v:train", "sa-1b:train") and own.training_categories == ()
    assert own.name == "bright+sam2"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("empty+sam2", "is a video model and needs no tracker"),
        ("histogram+sam2@evry=3", "is no way to lift"),
        ("histogram+sam2@every=0", "N at least 1"),
        ("histogram+sam2@best=3", "is no way to lift"),
    ],
)
def test_wrong_combinations_say_what_to_do(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve(spec)
