"""The demo's heads: trained on a file with the demo's backbone, small, and found where they are shipped."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from baselines.heads import read_head
from icvos import ImageModel
from icvos.errors import WeightsError
from icvos.foundation.backbones import create_backbone
from icvos.foundation.load import build_sam, save_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import Sam2Config
from icvos.foundation.weights import save_state
from icvos.models.registry import resolve
from tools import train_demo_weights as demo_weights
from tools.demo_stages import HEADS as PACKAGE
from tools.demo_stages import STAGES

HEADS = [name for name, stage in STAGES.items() if stage.package == PACKAGE]

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
    """``demo_backbone`` and ``demo_sam2``, which the heads are trained on, and that backbone in a file of DC-SAM."""
    folder = tmp_path_factory.mktemp("demo")
    torch.manual_seed(0)
    names = ("demo_backbone", "demo_sam2", "demo_dcsam")
    found = {name: folder / f"{name}.safetensors" for name in names}
    state = {name: value.half() for name, value in create_backbone("compact").state_dict().items()}
    save_state(found["demo_backbone"], state, metadata={"backbone": "compact"})
    save_state(found["demo_dcsam"], {f"prompt_encoder.{name}": value for name, value in state.items()})
    save_sam(found["demo_sam2"], build_sam(Sam2, SAM2), half=True)
    return found


def test_heads_are_trained_small_and_run(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.head_task.DRAWN_VALIDATION", 2)
    shipped = {"backbone": files["demo_dcsam"], "sam": files["demo_sam2"], "sam2": files["demo_sam2"]}
    for path in (files["demo_backbone"], files["demo_sam2"]):
        (tmp_path / path.name).symlink_to(path)
    for name in HEADS:
        monkeypatch.setitem(STAGES, name, replace(STAGES[name], batch=(2, 2)))
        (tmp_path / f"{name}.plan.json").write_text('{"steps": 1}')
        given = ["x", "--out", str(tmp_path), "--stages", name, "--device", "cpu", "--pool", "0"]
        monkeypatch.setattr(sys, "argv", given)
        demo_weights.main()
        head_path = tmp_path / STAGES[name].file
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert head_path.stat().st_size < 1.5e6 and record["steps"] == 1 and record["minutes"] > 0
        assert {value.dtype for value in read_head(head_path, name).state.values()} == {torch.float16}
        cls = resolve(name)
        assert head_path.name == Path(cls.info.demo_weights[name]).name
        assert issubclass(cls, ImageModel)
        model = cls(weights={name: head_path, **{k: v for k, v in shipped.items() if k in cls.info.weights}})
        assert next(model.model.parameters()).dtype == torch.float32  # type: ignore[attr-defined]


def test_shipped_heads_are_found_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = resolve("vrp-sam").info.demo_weights
    assert set(declared) == {"vrp-sam", "backbone", "sam"}
    paths = {name: tmp_path / resource for name, resource in declared.items()}
    folders = {
        path.relative_to(tmp_path).parts[0]: tmp_path / path.relative_to(tmp_path).parts[0] for path in paths.values()
    }

    def find_spec(package: str) -> Any:
        return SimpleNamespace(submodule_search_locations=[str(folders[package])]) if package in folders else None

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    for path in paths.values():
        assert resolve("vrp-sam").demo_weights() == {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert resolve("vrp-sam").demo_weights() == paths
    del folders["dcsam"]
    assert resolve("vrp-sam").demo_weights() == {}


def test_what_is_shipped_loads() -> None:
    for name in HEADS:
        cls = resolve(name)
        files = cls.demo_weights()
        if not files:
            pytest.skip("the demo's heads are not shipped in this checkout")
        try:
            cls(weights=files)
        except WeightsError as error:  # pragma: no cover - says which file to make anew
            pytest.fail(f"{error}: train them again: python -m tools.train_demo_weights --help")
