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

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo, cli
from icvos.errors import UsageError
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.tracker import Tracker
from icvos.models.check import RULES, check_model
from icvos.models.clips import Clip, support
from icvos.models.lifting import Lift
from icvos.models.lifts import LIFTS, lift, lift_usages
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


@pytest.mark.parametrize("mode", ["", *(usage[1:].replace("N", "2") for usage in lift_usages("@"))])
def test_lifted_models_keep_the_rules(mode: str, weights: dict[str, Path]) -> None:
    findings = check_model(lambda: lift(Bright, mode)(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


@pytest.mark.parametrize("mode", ["every=5", "first-found"])
def test_a_lift_that_prompts_with_a_later_frames_mask_is_not_online(mode: str, weights: dict[str, Path]) -> None:
    class Peeking(lift(Bright, mode)):  # type: ignore[misc]
        def _stream(self, fitted: Any, video: Any) -> Any:
            following = [video[min(index + 1, len(video) - 1)] for index in range(len(video))]
            self.next_frame = iter(following[:: self.every or 1]).__next__
            return super()._stream(fitted, video)

        def _prompt(self, fitted: Any, frame: np.ndarray) -> Any:
            return super()._prompt(fitted, self.next_frame())

    skip = [name for name, *_ in RULES if name not in ("deterministic", "fresh", "access")]
    statuses = {f.rule: f.status for f in check_model(lambda: Peeking(weights=weights), skip=skip)}
    assert (statuses["deterministic"], statuses["fresh"], statuses["access"]) == ("passed", "passed", "failed")


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


def test_a_tracker_and_a_way_of_prompting_are_one_row_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], weights: dict[str, Path]
) -> None:
    def open_still(*, weights: Any, device: str, options: Any) -> tuple[Any, ...]:
        return "still", sorted(weights), device, dict(options)

    net = {"net": WeightInfo("somewhere")}
    attributes = {"open_tracker": staticmethod(open_still)}
    monkeypatch.setitem(LIFTS, "+still", Lift("+still", "nothing moves", lambda _: attributes, weights=net))
    few = Lift("@few", "keeps N prompts", lambda n: {"tracker_options": {"max_prompted": int(n)}}, argument="N")
    monkeypatch.setitem(LIFTS, "@few", few)
    cls = resolve("histogram+still@few=3")
    assert cls.info.name == "histogram+still@few=3" and set(cls.info.weights) == {"net"}
    assert cls.info.extra is None and cls.info.training_data == ()
    assert cls(weights={"net": weights["tracker"]}).tracker == (  # type: ignore[attr-defined]
        "still",
        ["net"],
        "cpu",
        {"max_prompted": 3},
    )
    model: Any = lift(Bright, "few=2")(weights=weights)
    assert model.tracker.options.max_prompted == 2 and len(masks(model, Clip(3))) == 3
    for words, lines in (
        (("models", "list"), ("tracked: X+sam2, X+sam3, X+still (with", "X+sam2@few=N.")),
        (("models", "show", "histogram+still@few=3"), ("tracked: nothing moves; keeps N prompts", "--weights net=")),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(list(words))
        output = capsys.readouterr().out
        assert not stop.value.code and all(line in output for line in lines), output
    with pytest.raises(UsageError, match="no tracker 'stil' to lift 'bright' to video; did you mean 'still'"):
        lift(Bright, tracker="stil")
    with pytest.raises(UsageError, match="'@few=x' is no way to lift; expected"):
        lift(Bright, "few=x")
