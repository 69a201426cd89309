"""The public surface: names, signatures and how light the import is. A change here is a change for every user."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import icvos
from icvos import cli

NAMES = [
    "Benchmark",
    "IcvosError",
    "ImageModel",
    "ModelInfo",
    "Prediction",
    "Support",
    "Video",
    "VideoModel",
    "WeightInfo",
    "__version__",
    "evaluate",
    "load_benchmark",
    "open_run",
    "score",
    "segment",
]
SIGNATURES = {
    "evaluate": (
        "(model, benchmark, *, out=None, protocol='', unseen=(), shots=1, seed=0, device='cpu', weights=None, "
        "options=None, "
        "python=None, isolated=False, workers=1, timeout=None, save_masks=False, episodes=None, "
        "limit_episodes=None, limit_frames=None, oracle=None, shard=None, name=None, verify=None, engine='local', "
        "address='auto', cpus_per_worker=1, gpus_per_worker=None, stage=False, progress=None, notify=None)"
    ),
    "load_benchmark": "(path)",
    "open_run": "(path)",
    "score": (
        "(predictions, *, benchmark=None, ground_truth=None, protocol='', unseen=(), out=None, model=None, "
        "version='1', shots=1, "
        "access=None, uses=(), oracle=None, trained_on=(), sequences=None, split=None, objects=None, workers=1, "
        "progress=None, notify=None)"
    ),
    "segment": (
        "(supports, video, *, model, object=None, seed=0, episode=None, device='cpu', weights=None, options=None, "
        "out=None, progress=None, notify=None)"
    ),
    "VideoModel.__init__": "(self, *, device='cpu', weights=None, **options)",
    "VideoModel.segment": "(self, supports, video, *, seed)",
    "VideoModel.segment_many": "(self, episodes, video, *, seeds)",
    "VideoModel.segment_from_mask": "(self, mask, video, *, seed)",
    "VideoModel.segment_objects": "(self, masks, video, *, seed)",
    "VideoModel.demo_weights": "()",
    "ImageModel.fit": "(self, supports, *, seed)",
    "ImageModel.predict": "(self, fitted, image)",
    "Benchmark.video": "(self, video)",
    "Benchmark.annotation": "(self, video, category, frame)",
    "Benchmark.supports": "(self, episode, shots=1)",
    "Benchmark.query": "(self, episode)",
}
FIELDS = {
    "Support": ["image", "mask", "ignore"],
    "Prediction": ["mask", "score", "confidence"],
    "WeightInfo": ["source", "sha256", "required"],
    "ModelInfo": [
        "name",
        "version",
        "paper",
        "licence",
        "access",
        "weights",
        "training_categories",
        "training_data",
        "extra",
        "demo_weights",
        "uses",
    ],
}


def _plain(function) -> str:
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def test_names():
    assert sorted(icvos.__all__) == NAMES == sorted(dir(icvos))
    for name in NAMES:
        assert getattr(icvos, name) is not None
    # What is imported lazily, what is exported and what type checkers see are the same.
    assert set(icvos._PLACES) | {"__version__"} == set(NAMES)
    text = Path(icvos.__file__).read_text()
    assert all(f"import {name} as {name}" in text for name in icvos._PLACES)


def test_signatures():
    found = {}
    for name in SIGNATURES:
        value = icvos
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = _plain(value)
    assert found == SIGNATURES


def test_fields():
    found = {name: [field.name for field in dataclasses.fields(getattr(icvos, name))] for name in FIELDS}
    assert found == FIELDS


def test_everything_public_is_documented_and_typed():
    for name in NAMES:
        value = getattr(icvos, name)
        if callable(value):
            assert inspect.getdoc(value), name
    for function in (icvos.evaluate, icvos.load_benchmark, icvos.open_run, icvos.score, icvos.segment):
        signature = inspect.signature(function)
        annotations = [p.annotation for p in signature.parameters.values()] + [signature.return_annotation]
        assert inspect.Parameter.empty not in annotations


def test_an_unknown_name():
    try:
        icvos.nothing  # noqa: B018
    except AttributeError as error:
        assert "nothing" in str(error)
    else:
        raise AssertionError


def test_importing_is_light():
    code = "import icvos, sys; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'cv2', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[1]).returncode == 0
