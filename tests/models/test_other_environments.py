"""The same bytes from environments that are made of the registry: an older numpy, Python and torch than here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from interpreters import METHODS, same_runs
from tiny import write_image_benchmark, write_video_benchmark

from icvos import evaluate
from icvos.models.environments import isolated
from icvos.models.remote import environment_of, remote_class
from icvos.models.specs import split_python

# Sums of whole numbers in single precision, which no order of adding changes.
DEEP = """
import numpy as np
import torch

from icvos import ImageModel, ModelInfo, Prediction, VideoModel


class Deep(VideoModel):
    info = ModelInfo(name="deep", version="1")

    def __init__(self, *, device="cpu", weights=None, width: int = 4):
        super().__init__(device=device, weights=weights)
        self.kernel = torch.arange(width * 27).remainder(5).sub(2).reshape(width, 3, 3, 3).float()

    def encode(self, image):
        return torch.nn.functional.conv2d(torch.tensor(image).permute(2, 0, 1)[None].float(), self.kernel, padding=1)[0]

    @torch.no_grad()
    def start(self, support):
        features = self.encode(support.image)[:, torch.tensor(support.mask)]
        return torch.round(features.mean(dim=1)) if features.shape[1] else torch.zeros(len(self.kernel))

    def segment(self, supports, video, *, seed):
        mean, memory = self.start(supports[0]), None
        for frame in video:
            with torch.no_grad():
                features = self.encode(frame)
                memory = features if memory is None else torch.round((memory + features) / 2)
                noise = torch.randint(0, 50, features.shape[1:])
                distance = (memory - mean[:, None, None]).abs().sum(0) + noise
            yield Prediction(distance < 900, score=-distance, confidence=float((distance < 900).sum()))


class DeepImage(ImageModel):
    info = ModelInfo(name="deep-image", version="1")

    def fit(self, supports, *, seed):
        thing = supports[0].image[supports[0].mask]
        return float(np.round(thing.mean())) if len(thing) else 300.0

    def predict(self, fitted, image):
        return torch.tensor(image).float().sum(dim=2) > 3 * fitted - 60
"""
MADE = {
    "numpy 1.26": (f"=={sys.version_info.major}.{sys.version_info.minor}.*", ["numpy==1.26.4"], METHODS),
    "Python 3.8": ("==3.8.*", ["numpy==1.24.4"], METHODS),
    "torch 2.7": (f"=={sys.version_info.major}.{sys.version_info.minor}.*", ["numpy==1.26.4", "torch==2.7.1"], DEEP),
}
NAMES = {METHODS: ("Colour", "Stateful", "Together", "Picture", "Picture+sam2"), DEEP: ("Deep", "DeepImage+sam2")}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield write_video_benchmark(tmp_path_factory.mktemp("other") / "videos", videos=2, frames=5)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("made", MADE)
def test_an_environment_of_the_registry_gives_the_same_bytes(
    made: str, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sam2")
    from tiny_weights import tiny_sam2_file

    python, wanted, text = MADE[made]
    if made == "Python 3.8" and not list(Path.home().glob(".pyenv/versions/3.8.*/bin/python")):
        pytest.skip("needs a Python 3.8 in ~/.pyenv")
    monkeypatch.setenv("PIP_CONSTRAINT", "/dev/null")  # those of a machine may pin what is asked for
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    listed = ", ".join(f'"{each}"' for each in wanted)
    header = f'# /// script\n# requires-python = "{python}"\n# dependencies = [{listed}]\n# ///\n'
    (tmp_path / "methods.py").write_text(header + text)
    files = {"tracker": tiny_sam2_file(tmp_path)}
    images = write_image_benchmark(tmp_path / "images")
    for name in NAMES[text]:
        spec = f"{tmp_path}/methods.py:{name}"
        there = isolated(spec)
        weights = files if "+" in name else None
        for bench in (benchmark, *([images] if name == "Picture" else [])):
            for folder, model in (("here", spec), ("there", there)):
                out = tmp_path / bench.name / name / folder
                result = evaluate(model, bench, out=out, weights=weights, save_masks=True, verify=False)
                assert result["summary"]["failed"] == 0
            same_runs(out.with_name("here"), out.with_name("there"))
    interpreter, rest = split_python(isolated(f"{tmp_path}/methods.py:{NAMES[text][0]}"))
    said = environment_of(remote_class(interpreter, rest)())
    assert said is not None and set(wanted) <= {each.partition("+")[0] for each in said["packages"]}
