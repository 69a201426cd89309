"""Environments of other interpreters for tests, methods that run in them, and what their processes are."""

from __future__ import annotations

import json
import venv
from pathlib import Path

import numpy as np

METHODS = '''
from __future__ import annotations

import random

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, VideoModel
from icvos.errors import UsageError


class Colour(VideoModel):
    """Pixels of the support's colour, with noise of the global generators.

    Args:
        margin: Grey levels.
        mode: Of two.
    """

    info = ModelInfo(name="colour", version="1.2", training_data=("coco2014:train",), licence="MIT")

    def __init__(self, *, device="cpu", weights=None, margin: float = 60.0, mode: str = "all"):
        super().__init__(device=device, weights=weights)
        self.margin, self.mode = margin, mode

    def segment(self, supports, video, *, seed):
        mean = np.mean([s.image[s.mask].mean(axis=0) if s.mask.any() else np.full(3, 300.0) for s in supports], axis=0)
        drawn = np.random.default_rng(seed)
        for frame in video:
            noise = 10 * random.random() + 10 * np.random.rand(*video.size) + drawn.normal(size=video.size)
            yield np.linalg.norm(frame - mean, axis=2) < self.margin + noise


class Stateful(VideoModel):
    """Follows its own last mask and a running mean of the frames; says scores and confidences."""

    info = ModelInfo(name="stateful", version="1")

    def segment(self, supports, video, *, seed):
        level = np.mean([s.image[s.mask][:, 0].mean() if s.mask.any() else 300 for s in supports])
        running, last = None, None
        for frame in video:
            red = frame[..., 0].astype(np.float32)
            running = red if running is None else 0.5 * (running + red)
            score = running - level + 60 + (0 if last is None else 10 * last)
            last = score > 0
            yield Prediction(last, score=score, confidence=float(score.max()))


class Together(VideoModel):
    """All sets in one pass, frames read once; uint8 masks."""

    info = ModelInfo(name="together", version="1")

    def segment(self, supports, video, *, seed):
        for masks in self.segment_many([supports], video, seeds=[seed]):
            yield masks[0]

    def segment_many(self, episodes, video, *, seeds):
        levels = [np.mean([s.image[s.mask][:, 0].mean() for s in supports]) for supports in episodes]
        for frame in video:
            yield [(frame[..., 0] > level - 40).astype(np.uint8) for level in levels]


class Tracks(VideoModel):
    """Shifts frame 0's mask along; keeps its own state on self."""

    info = ModelInfo(name="tracks", version="1")

    def segment(self, supports, video, *, seed):
        yield from self.segment_from_mask(np.zeros(video.size, bool), video, seed=seed)

    def segment_from_mask(self, mask, video, *, seed):
        self.shift = 0
        for _ in video:
            yield np.roll(mask, self.shift, axis=1)
            self.shift += 2 + seed % 2


class Objects(VideoModel):
    info = ModelInfo(name="objects", version="1")

    def segment(self, supports, video, *, seed):
        for _ in video:
            yield np.zeros(video.size, bool)

    def segment_objects(self, masks, video, *, seed):
        for index, _ in enumerate(video):
            taken = np.zeros(video.size, bool)
            out = []
            for mask in masks:
                moved = np.roll(mask, index, axis=1) & ~taken
                taken |= moved
                out.append(moved)
            yield out


class Picture(ImageModel):
    info = ModelInfo(name="picture", version="3")

    def fit(self, supports, *, seed):
        return np.mean([s.image[s.mask][:, 0].mean() if s.mask.any() else 300 for s in supports]) + np.random.rand()

    def predict(self, fitted, image):
        return Prediction(image[..., 0] > fitted - 50, confidence=float(image[..., 0].mean()))
'''


def numpy_alone(folder: Path) -> Path:
    """Make an environment of this Python that has numpy and no icvos, by links; return its program."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    home = Path(np.__file__).parents[1]
    for path in (*home.glob("numpy"), *home.glob("numpy.libs"), *home.glob("numpy-*.dist-info")):
        (packages / path.name).symlink_to(path)
    return folder / "bin/python"


def hosts(python: Path | str) -> list[int]:
    """Return the processes that run the program of an environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == str(python).encode():
            found.append(int(path.parent.name))
    return found


def same_runs(here: Path, there: Path) -> None:
    """Assert that two run folders hold the same result, episodes, curves and masks, byte for byte."""
    assert (here / "result.json").read_bytes() == (there / "result.json").read_bytes()
    for folder in ("masks", "frames"):
        names = sorted(path.relative_to(here).as_posix() for path in (here / folder).rglob("*.*"))
        assert names == sorted(path.relative_to(there).as_posix() for path in (there / folder).rglob("*.*"))
        for name in names:
            assert (here / name).read_bytes() == (there / name).read_bytes(), name
    for name in ("key", "model"):
        one, other = (json.loads((folder / "run.json").read_bytes())[name] for folder in (here, there))
        for own in ("backend", "asked"):  # of the interpreter
            one.pop(own, None), other.pop(own, None)
        assert one == other, name
