"""The conformance check: the project's floors keep every rule, and each wrong model fails the rule it breaks."""

from __future__ import annotations

import time
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


class ManyDiffers(Good):
    def segment_many(self, episodes, video, *, seeds):
        for frame in video:
            yield [frame[..., 0] > 150 + 30 * i for i in range(len(episodes))]


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
    (ManyDiffers, "segment-many"),
    (LeaksGrad, "leaks"),
    (LooksAhead, "access"),
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
