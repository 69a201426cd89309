"""The demo's heads: trained on a file with the demo's backbone, small, and found where they are shipped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from baselines.demo_files import demo_files, head_file
from baselines.head_task import HeadTask
from baselines.heads import read_head
from icvos import ImageModel
from icvos.errors import WeightsError
from icvos.foundation.backbones import create_backbone
from icvos.foundation.load import build_sam2, save_sam2
from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.weights import save_state
from icvos.models.registry import resolve
from icvos.training.task import Settings
from tools import train_demo_heads
from tools.train_demo_heads import HEADS

SAM2 = Sam2Config(
    "small-demo",
    image_size=192,
    width=16,
    heads=1,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    window_spec=(8, 4, 12, 6),
    background=6,
    embed_dim=64,
    memory_dim=16,
    memory_layers=1,
    memory_mlp=64,
    decoder_heads=4,
    decoder_mlp=64,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    torch.manual_seed(0)
    found = {"backbone": folder / "demo_dcsam.safetensors", "sam": folder / "demo_sam2.safetensors"}
    state = create_backbone("compact").state_dict()
    save_state(found["backbone"], {f"prompt_encoder.{name}": value.half() for name, value in state.items()})
    save_sam2(found["sam"], build_sam2(SAM2), half=True)
    return found


def test_heads_are_trained_small_and_run(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = train_demo_heads.demo_task

    def quick(name: str, backbone: Path, sam2: Path | None, *, length: int) -> tuple[HeadTask, Settings]:
        task, settings = full(name, backbone, sam2, length=length)
        return task, replace(settings, batch=2)

    monkeypatch.setattr(train_demo_heads, "demo_task", quick)
    monkeypatch.setattr("baselines.head_task.DRAWN_VALIDATION", 2)
    asked = [
        "--out",
        tmp_path,
        "--backbone",
        files["backbone"],
        "--sam2",
        files["sam"],
        "--steps",
        1,
        "--device",
        "cpu",
    ]
    train_demo_heads.main([*map(str, asked), "--device", "cpu"])
    record = json.loads((tmp_path / "training.json").read_text())
    for name in HEADS:
        place = head_file(name, tmp_path)
        assert place.stat().st_size < 1.5e6 and record["heads"][name]["steps"] == 1
        assert {value.dtype for value in read_head(place, name).state.values()} == {torch.float16}
        cls = resolve(name)
        assert issubclass(cls, ImageModel)
        model = cls(weights={name: place, **{k: v for k, v in files.items() if k in cls.info.weights}})
        assert next(model.model.parameters()).dtype == torch.float32  # type: ignore[attr-defined]


def test_shipped_heads_are_found_together_or_not_at_all(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"dcsam": files["backbone"], "sam2": files["sam"]}
    monkeypatch.setattr("icvos.foundation.demo.demo_weights", lambda *names: shared)
    monkeypatch.setattr("baselines.demo_files.__file__", str(tmp_path / "demo_files.py"))
    assert demo_files("vrp-sam", sam="sam") == {}
    head = head_file("vrp-sam", tmp_path / "weights")
    head.parent.mkdir()
    head.touch()
    expected = {"vrp-sam": head, "backbone": files["backbone"], "sam": files["sam"]}
    assert demo_files("vrp-sam", sam="sam") == expected
    monkeypatch.setattr("icvos.foundation.demo.demo_weights", lambda *names: {})
    assert demo_files("vrp-sam", sam="sam") == {}


def test_what_is_shipped_loads() -> None:
    for name in HEADS:
        cls = resolve(name)
        files = cls.demo_weights()
        if not files:
            pytest.skip("the demo's heads are not shipped in this checkout")
        try:
            cls(weights=files)
        except WeightsError as error:  # pragma: no cover - says which file to make anew
            pytest.fail(f"{error}: run python -m tools.train_demo_heads again")
