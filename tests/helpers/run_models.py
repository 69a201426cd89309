"""Model files that the runner's tests write: a good one, and one for each way to be broken."""

from __future__ import annotations

from pathlib import Path

HEAD = """
import os, sys, time
import numpy as np
from icvos import ImageModel, ModelInfo, Prediction, VideoModel
"""

# Redness against the support's thing, with noise that the seed decides: every episode and seed gives another result.
RED = """
class Red(VideoModel):
    info = ModelInfo(name="red", version="1")

    def __init__(self, *, device="cpu", weights=None, noise: float = 0.05, nap: float = 0.0):
        super().__init__(device=device, weights=weights)
        self.noise, self.nap = noise, nap

    def segment(self, supports, video, *, seed):
        generator = np.random.default_rng(seed)
        level = np.mean([s.image[s.mask][:, 0].mean() for s in supports])
        for frame in video:
            time.sleep(self.nap)
            yield (frame[..., 0] > level - 60) ^ (generator.random(frame.shape[:2]) < self.noise)
"""

# The same in one pass over the video, with noise from the global stream: results depend on who runs together.
TOGETHER = """
class Together(VideoModel):
    info = ModelInfo(name="together", version="1")

    def __init__(self, *, device="cpu", weights=None, nap: float = 0.0):
        super().__init__(device=device, weights=weights)
        self.nap = nap

    def segment(self, supports, video, *, seed):
        for masks in self.segment_many([supports], video, seeds=[seed]):
            yield masks[0]

    def segment_many(self, episodes, video, *, seeds):
        for frame in video:
            time.sleep(self.nap)
            yield [(frame[..., 0] > 150) ^ (np.random.random(frame.shape[:2]) < 0.1) for _ in episodes]
"""

EMPTY_IMAGE = """
class Nothing(ImageModel):
    info = ModelInfo(name="nothing", version="1")

    def fit(self, supports, *, seed):
        return None

    def predict(self, fitted, image):
        return np.zeros(image.shape[:2], bool)
"""

IMAGE = """
class Red(ImageModel):
    info = ModelInfo(name="red-image", version="1")

    def __init__(self, *, device="cpu", weights=None, fail: str = ""):
        super().__init__(device=device, weights=weights)
        self.fail = fail

    def fit(self, supports, *, seed):
        return np.mean([s.image[s.mask][:, 0].mean() for s in supports])

    def predict(self, fitted, image):
        if self.fail == "shape":
            return np.zeros((3, 3), bool)
        if self.fail == "raise":
            raise RuntimeError("no idea")
        return image[..., 0] > fitted - 60
"""

# The first episode that is run is broken in one way; every other one is good.
BROKEN = """
class Broken(VideoModel):
    info = ModelInfo(name="broken", version="1")

    def __init__(self, *, device="cpu", weights=None, how: str = "", marker: str = ""):
        super().__init__(device=device, weights=weights)
        self.how, self.marker = how, marker

    def segment(self, supports, video, *, seed):
        # Only the first episode that comes is broken; who runs it says so with a file.
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
            broken = True
        except FileExistsError:
            broken = False
        good = np.zeros(video.size, bool)
        for index, frame in enumerate(video):
            mask = good
            if broken and index == 2:
                mask = getattr(self, self.how)(good)
                if self.how == "few":
                    return
            yield mask
        if broken and self.how == "many":
            yield good

    def few(self, good): return good
    def many(self, good): return good
    def size(self, good): return good[1:]
    def no_mask(self, good): return "a mask"
    def none(self, good): return None
    def floats(self, good): return good.astype(float)
    def values(self, good): return good.astype(np.uint8) + 7
    def nan(self, good): return Prediction(good, score=np.full(good.shape, np.nan))
    def raises(self, good): raise ValueError("half-way")
    def memory(self, good): raise MemoryError("no more")
    def leaves(self, good): sys.exit(0)
    def dies(self, good): os._exit(9)
    def killed(self, good): os.kill(os.getpid(), 9)
    def hangs(self, good): time.sleep(600)
"""

# Its file of weights holds the redness from which on a pixel is of the thing.
WEIGHTED = """
from icvos.types import WeightInfo

class Weighted(VideoModel):
    info = ModelInfo(name="weighted", version="1", weights={"w": WeightInfo("written by the test")})

    def __init__(self, *, device="cpu", weights=None):
        super().__init__(device=device, weights=weights)
        self.threshold = int(open(weights["w"]).read())

    def segment(self, supports, video, *, seed):
        for frame in video:
            yield frame[..., 0] > self.threshold
"""


def write_model(folder: Path, source: str, name: str = "my_method.py") -> str:
    """Write a model file and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + source)
    return str(path)
