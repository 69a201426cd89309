"""The plugin interface's optional hooks: what a model has that overrides none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from icvos import ImageModel, ModelInfo, Prediction, Support, Video, VideoModel
from icvos.errors import UsageError
from icvos.models.clips import Clip, support
from icvos.models.lifting import first_mask_use, needs_first_mask


class Echo(VideoModel):
    """Yields the first support's mask on every frame."""

    info = ModelInfo(name="echo", version="1")

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[np.ndarray]:
        for _ in video:
            yield supports[0].mask


class Still(ImageModel):
    info = ModelInfo(name="still", version="1")

    def fit(self, supports: Sequence[Support], *, seed: int) -> Any:
        return supports

    def predict(self, fitted: Any, image: Any) -> np.ndarray:
        return np.zeros(image.shape[:2], bool)


class Tracks(Echo):
    def segment_from_mask(self, mask: np.ndarray, video: Video, *, seed: int) -> Iterator[np.ndarray]:
        yield from ()


class TakesNeither(Echo):
    segment_from_mask = None  # type: ignore[assignment]


def test_by_default_frame_0_and_its_mask_are_the_support() -> None:
    clip = Clip(3)
    mask = np.zeros(clip.size, bool)
    mask[2:5, 3:9] = True
    masks = list(Echo().segment_from_mask(mask, clip, seed=0))
    assert len(masks) == 3 and all(np.array_equal(each, mask) for each in masks)


def test_how_frame_0s_mask_is_taken() -> None:
    assert [first_mask_use(model) for model in (Echo(), Still(), Tracks())] == ["support", "support", "prompt"]
    with pytest.raises(UsageError, match="'echo' localises on later frames too"):
        first_mask_use(TakesNeither())


class TracksSeveral(Echo):
    def segment_objects(self, masks: Sequence[np.ndarray], video: Video, *, seed: int) -> Iterator[list[np.ndarray]]:
        for _ in video:
            yield [np.roll(mask, 1, axis=1) for mask in masks]


def test_either_hook_of_trackers_serves_for_the_other() -> None:
    class TracksOne(Echo):
        def segment_from_mask(self, mask: np.ndarray, video: Video, *, seed: int) -> Iterator[np.ndarray]:
            for _ in video:
                yield np.roll(mask, 1, axis=1)

    clip = Clip(2)
    masks = [np.zeros(clip.size, bool) for _ in range(2)]
    masks[0][2:5, 3:9] = masks[1][20:30, 3:9] = True
    for model in (TracksOne(), TracksSeveral()):
        assert first_mask_use(model) == "prompt"
        several = list(model.segment_objects(masks, clip, seed=0))
        one = list(model.segment_from_mask(masks[1], clip, seed=0))
        for objects, mask in zip(several, one, strict=True):
            made = [Prediction.of(each, clip.size).to_numpy() for each in objects]
            assert np.array_equal(made, np.roll(masks, 1, axis=2)) and np.array_equal(
                mask, np.roll(masks[1], 1, axis=1)
            )


def test_only_a_tracker_that_says_so_needs_frame_0s_mask() -> None:
    told = ModelInfo(name="told", version="1", uses=("first-frame",))
    kinds = [type("Told", (base,), {"info": told}) for base in (Echo, TracksSeveral)]
    assert [needs_first_mask(kind()) for kind in (TracksSeveral, *kinds)] == [False, False, True]


def test_what_a_method_uses_is_of_a_few_words() -> None:
    assert ModelInfo("a", "1").uses == () and ModelInfo("a", "1", uses=("text",)).uses == ("text",)
    with pytest.raises(UsageError, match="'texts' is nothing that a method uses; did you mean 'text'"):
        ModelInfo("a", "1", uses=("text", "texts"))


def test_by_default_nothing_is_explained_in_single_precision() -> None:
    for model in (Echo(), Still()):
        assert not model.explain([support()], Clip(1)[0], video=False)
        assert model.dtype == "float32"


def test_a_built_model_may_say_more_than_its_class() -> None:
    model = Echo()
    model.info = ModelInfo(name="echo", version="1", training_data=("coco2014:train",))
    assert not Echo.info.training_data and model.info.training_data
