"""The conformance check: the project's floors keep every rule, and each wrong model fails the rule it breaks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from icvos import ImageModel, ModelInfo, Prediction, Support, Video, VideoModel
from icvos.models.check import RULES, check_model
from icvos.models.registry import create


class Good(VideoModel):
    info = ModelInfo(name="good", version="1")

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[Any]:
        for frame in video:
            yield frame[..., 0] > 150


class TooFew(Good):
    def segment(self, supports, video, *, seed):
        for _ in range(len(video) - 1):
            yield np.zeros(video.size, bool)


class TooMany(Good):
    def segment(self, supports, video, *, seed):
        for _ in range(len(video) + 1):
            yield np.zeros(video.size, bool)


class WrongSize(Good):
    def segment(self, supports, video, *, seed):
        for _ in range(len(video)):
            yield np.zeros((48, 64), bool)


class FloatMask(Good):
    def segment(self, supports, video, *, seed):
        for frame in video:
            yield frame[..., 0] / 255


class NanScore(Good):
    def segment(self, supports, video, *, seed):
        for frame in video:
            yield Prediction(frame[..., 0] > 150, score=np.full(video.size, np.nan))


class ReturnsList(Good):
    def segment(self, supports, video, *, seed):
        return [np.zeros(video.size, bool) for _ in range(len(video))]


class NeedsTwoFrames(Good):
    def segment(self, supports, video, *, seed):
        second = video[1]
        for _ in range(len(video)):
            yield second[..., 0] > 150


class NeedsForeground(Good):
    def segment(self, supports, video, *, seed):
        mean = supports[0].image[supports[0].mask].mean(axis=0)
        if np.isnan(mean).any():
            raise ValueError("no foreground")
        for frame in video:
            yield frame[..., 0] > mean[0]


class WritesSupport(Good):
    def segment(self, supports, video, *, seed):
        supports[0].image[:] = 0
        for frame in video:
            yield frame[..., 0] > 150


class FreshRandom(Good):
    def segment(self, supports, video, *, seed):
        generator = np.random.default_rng()
        for frame in video:
            yield frame[..., 0] > 100 + generator.integers(20)


class Remembers(Good):
    calls = 0

    def segment(self, supports, video, *, seed):
        self.calls += 1
        for frame in video:
            yield frame[..., 0] > 90 + 10 * self.calls


class AddsUp(Good):
    """Colours of all supports that it ever saw vote: a count of the things' pixels, and one of their surroundings'."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.votes = np.zeros((2, 64))

    def segment(self, supports, video, *, seed):
        for shown in supports:
            for role, pixels in enumerate((shown.image[shown.mask], shown.image[~shown.mask])):
                self.votes[role] += np.bincount(bins(pixels), minlength=64)
        for frame in video:
            yield (self.votes[0] > self.votes[1])[bins(frame)]


def bins(pixels: np.ndarray) -> np.ndarray:
    return (pixels // 64) @ np.array((16, 4, 1))


class AddsUpForAll(AddsUp):
    """The same, kept in the class: a fresh instance has it too."""

    shared = np.zeros((2, 64))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.votes = self.shared


class RunningMean(ImageModel):
    """Brighter than what it has seen so far, on average: frames of other videos too."""

    info = ModelInfo(name="running-mean", version="1")
    mean = 90.0

    def fit(self, supports, *, seed):
        self.mean += 0.05 * (float(supports[0].image.mean()) - self.mean)
        return self.mean

    def predict(self, fitted, image):
        return image.mean(axis=2) > fitted


class KeepsBySize(Good):
    """What it learnt of a support is taken again for the next of that size, and its threshold for clips as long."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.known: dict = {}

    def segment(self, supports, video, *, seed):
        image, mask = supports[0].image, supports[0].mask
        colour = self.known.setdefault((mask.shape, len(video)), image[mask].mean(axis=0) if mask.any() else 128.0)
        for frame in video:
            yield np.abs(frame - colour).mean(axis=2) < 40


class PeeksSeldom(Good):
    """Sets its threshold anew each 15 frames, from the frames that follow."""

    def segment(self, supports, video, *, seed):
        for index, frame in enumerate(video):
            if index % 15 == 0:
                level = np.mean([video[i].mean() for i in range(index, min(index + 5, len(video)))])
            yield frame.mean(axis=2) > level


class KeepsThirtyTwo(Good):
    """A bounded bank of frames, as long as those of some trackers are."""

    def segment(self, supports, video, *, seed):
        bank = deque(maxlen=32)
        for frame in video:
            bank.append(frame)
            yield frame[..., 0] > 150


class ManyDiffers(Good):
    def segment_many(self, episodes, video, *, seeds):
        for frame in video:
            yield [frame[..., 0] > 150 + 30 * i for i in range(len(episodes))]


class Objects(Good):
    """Objects stay where they are."""

    def segment_objects(self, masks, video, *, seed):
        for _ in video:
            yield list(masks)


class ObjectsOverlap(Objects):
    def segment_objects(self, masks, video, *, seed):
        for _ in video:
            yield [np.logical_or.reduce(masks) for _ in masks]


class ObjectsFew(Objects):
    def segment_objects(self, masks, video, *, seed):
        for _ in video:
            yield list(masks)[:1]


class ObjectsShort(Objects):
    def segment_objects(self, masks, video, *, seed):
        for _ in range(len(video) - 1):
            yield list(masks)


class ObjectsAtRandom(Objects):
    def segment_objects(self, masks, video, *, seed):
        noise = np.random.default_rng()
        for _ in video:
            yield [mask & (noise.random(video.size) > 0.5) for mask in masks]


class ObjectsDiffer(Objects):
    """One object alone is tracked otherwise than by the hook for one."""

    def segment_from_mask(self, mask, video, *, seed):
        for _ in video:
            yield ~mask


class Tracks(Objects):
    """Only tracks: it is told frame 0's mask, and takes no supports."""

    info = ModelInfo(name="tracks", version="1", uses=("first-frame",))

    def segment(self, supports, video, *, seed):
        raise AssertionError


class LeaksGrad(Good):
    def segment(self, supports, video, *, seed):
        import torch

        with torch.no_grad():
            for frame in video:
                yield torch.from_numpy(frame[..., 0] > 150)


class LooksAhead(Good):
    def segment(self, supports, video, *, seed):
        for index in range(len(video)):
            yield video[min(index + 2, len(video) - 1)][..., 0] > 150


class Teal(ImageModel):
    """Finds one colour, wherever it is."""

    info = ModelInfo(name="teal", version="1")

    def fit(self, supports, *, seed):
        return np.array((70, 190, 150))

    def predict(self, fitted, image):
        return np.abs(image.astype(int) - fitted).max(axis=2) < 40


class PeekingLift(Good):
    """An image model on video: its mask of a frame is that of the next."""

    def segment(self, supports, video, *, seed):
        model = Teal()
        fitted = model.fit(supports, seed=seed)
        for index in range(len(video)):
            yield model.predict(fitted, video[min(index + 1, len(video) - 1)])


class PromptsAhead(Good):
    """Prompted again each five frames, with the mask of the frame after; between, nothing moves."""

    def segment(self, supports, video, *, seed):
        for index, frame in enumerate(video):
            if index % 5 == 0:
                mask = Teal().predict(np.array((70, 190, 150)), frame if index == 0 else video[index + 1])
            yield mask


class LooksFarAhead(Good):
    info = ModelInfo(name="far", version="1", access="lookahead:8")

    def segment(self, supports, video, *, seed):
        for index in range(len(video)):
            yield video[min(index + 9, len(video) - 1)][..., 0] > 150


class ReadsAllFirst(Good):
    def segment(self, supports, video, *, seed):
        yield from [frame[..., 0] > 150 for frame in list(video)]


class KeepsFrames(Good):
    def segment(self, supports, video, *, seed):
        kept = []
        for frame in video:
            kept.append(frame)
            yield frame[..., 0] > 150


class KeepsTensors(Good):
    def segment(self, supports, video, *, seed):
        import torch

        kept = []
        for frame in video:
            kept.append(torch.from_numpy(frame).float())
            yield frame[..., 0] > 150


class ImageRemembers(ImageModel):
    info = ModelInfo(name="image-remembers", version="1")
    last = 0.0

    def fit(self, supports, *, seed):
        self.last = 0.0

    def predict(self, fitted, image):
        mask = image[..., 0] > 120 + self.last
        self.last = float(image.std()) / 2
        return mask


WRONG = [
    (TooFew, "masks"),
    (TooMany, "masks"),
    (WrongSize, "sizes"),
    (FloatMask, "masks"),
    (NanScore, "masks"),
    (ReturnsList, "lazy"),
    (NeedsTwoFrames, "one-frame"),
    (NeedsForeground, "empty-support"),
    (WritesSupport, "untouched"),
    (FreshRandom, "deterministic"),
    (Remembers, "deterministic"),
    (Remembers, "fresh"),
    (AddsUp, "fresh"),
    (AddsUpForAll, "fresh"),
    (RunningMean, "fresh"),
    (KeepsBySize, "fresh"),
    (PeeksSeldom, "access"),
    (ManyDiffers, "segment-many"),
    (ObjectsOverlap, "objects"),
    (ObjectsFew, "objects"),
    (ObjectsShort, "objects"),
    (ObjectsAtRandom, "objects"),
    (ObjectsDiffer, "objects"),
    (LeaksGrad, "leaks"),
    (LooksAhead, "access"),
    (PeekingLift, "access"),
    (PromptsAhead, "access"),
    (LooksFarAhead, "access"),
    (ReadsAllFirst, "streams"),
    (KeepsFrames, "memory"),
    (KeepsTensors, "memory"),
    (ImageRemembers, "fit-once"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("model", "rule"), WRONG, ids=lambda value: getattr(value, "__name__", value))
def test_wrong_model_fails_its_rule(model: type, rule: str) -> None:
    findings = {finding.rule: finding for finding in check_model(model)}
    assert findings[rule].status == "failed"
    assert findings[rule].mend


def test_what_leaks_between_episodes_is_named_before_access() -> None:
    findings = list(check_model(AddsUp))
    assert [finding.rule for finding in findings if finding.status == "failed"] == ["fresh"]
    (leak,) = (finding for finding in findings if finding.rule == "fresh")
    assert "than a fresh instance" in leak.message and "Keep nothing between episodes in self" in leak.mend
    rules = [finding.rule for finding in findings]
    assert rules.index("fresh") < rules.index("access")


def test_a_bounded_bank_is_no_growth() -> None:
    assert {finding.rule: finding.status for finding in check_model(KeepsThirtyTwo)}["memory"] == "passed"


def test_unseeded_choices_are_not_taken_for_a_leak() -> None:
    findings = {finding.rule: finding for finding in check_model(FreshRandom)}
    assert findings["deterministic"].status == "failed" and findings["fresh"].status == "skipped"


@pytest.mark.parametrize("model", [Teal, ReadsAllFirst])
def test_what_looks_at_no_later_frame_is_online_however_it_reads(model: type) -> None:
    assert {finding.rule: finding.status for finding in check_model(model)}["access"] == "passed"


class Exits(Good):
    def segment(self, supports, video, *, seed):
        yield np.zeros(video.size, bool)
        raise SystemExit(3)


@pytest.mark.parametrize("model", [FloatMask, Exits])
def test_what_breaks_every_mask_is_said_once(model: type) -> None:
    findings = {finding.rule: finding for finding in check_model(model)}
    assert [name for name, finding in findings.items() if finding.status == "failed"] == ["masks"]
    assert findings["sizes"].message == "not to be judged while 'masks' fails"


def test_an_exception_is_shown_with_its_line() -> None:
    message = next(finding.message for finding in check_model(Exits) if finding.rule == "masks")
    assert message.startswith("it raised SystemExit: 3 (") and "test_check.py:" in message


class Hangs(Good):
    def segment(self, supports, video, *, seed):
        for frame in video:
            time.sleep(30)
            yield frame[..., 0] > 150


def test_a_model_that_hangs_is_stopped_where_a_limit_is_given() -> None:
    found = {finding.rule: finding for finding in check_model(Hangs, timeout=0.2)}
    assert found["masks"].status == "failed" and "took more than 0.2 s (" in found["masks"].message
    assert found["sizes"].status == "skipped" and found["declares"].status == "passed"


def test_good_model_keeps_every_rule() -> None:
    findings = list(check_model(Good))
    assert [f.rule for f in findings] == [name for name, _, _ in RULES]
    assert not [f for f in findings if f.status == "failed"]


@pytest.mark.parametrize("model", [Objects, Tracks])
def test_a_tracker_of_objects_keeps_every_rule(model: type) -> None:
    found = {finding.rule: finding.status for finding in check_model(model)}
    assert "failed" not in found.values() and found["objects"] == "passed"


@pytest.mark.parametrize("name", ["empty", "full", "support-mask", "histogram"])
def test_floors_keep_every_rule(name: str) -> None:
    assert not [f for f in check_model(lambda: create(name)) if f.status == "failed"]


def test_lookahead_may_look_as_far_as_it_says() -> None:
    class Declared(LooksAhead):
        info = ModelInfo(name="declared", version="1", access="lookahead:2")

    class TooShort(LooksAhead):
        info = ModelInfo(name="too-short", version="1", access="lookahead:1")

    assert {f.rule: f.status for f in check_model(Declared)}["access"] == "passed"
    assert {f.rule: f.status for f in check_model(TooShort)}["access"] == "failed"
