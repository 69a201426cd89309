"""Which ResNet a method has: its own in new models and published files; files of 0.1.0 keep what they had."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from baselines.heads import config_of
from baselines.pfenet.model import PFENetConfig
from baselines.prototype import Prototype, PrototypeOptions
from baselines.vrp_sam.model import VRPConfig
from dcsam.checkpoint import file_key, recognise
from dcsam.config import DCSAMConfig
from dcsam.model import DCSAM
from dcsam.training.feature_cache import FeatureCache
from dcsam.training.task import DCSamTask
from icvos.data.options import DataOptions
from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbone import Backbone
from icvos.foundation.backbones import create_backbone, with_dilation
from icvos.foundation.weights import save_state


def dilation(options: dict) -> str:
    return options["dilation"]


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_new_models_have_the_dilation_of_their_method(backbone: str) -> None:
    assert dilation(DCSAMConfig.corrected(backbone=backbone).backbone_options) == "torchvision"
    assert dilation(DCSAMConfig.reference(backbone=backbone).backbone_options) == "torchvision"
    assert dilation(VRPConfig(backbone=backbone).backbone_options) == "torchvision"
    assert dilation(PFENetConfig(backbone=backbone).backbone_options) == "pspnet"
    assert "dilation" not in DCSAMConfig.corrected(backbone="vgg16_bn").backbone_options


def test_a_files_configuration_says_it_and_one_of_0_1_0_keeps_what_it_was_trained_with() -> None:
    stored = DCSAMConfig.corrected().to_json()
    assert json.loads(stored)["backbone_options"] == {"dilation": "torchvision"}
    assert DCSAMConfig.from_json(stored) == DCSAMConfig.corrected()
    old = {**json.loads(stored), "backbone_options": {}}
    assert dilation(DCSAMConfig.from_json(json.dumps(old)).backbone_options) == "pspnet"
    for config in (VRPConfig, PFENetConfig):
        assert dilation(config_of(config, {"backbone": "resnet50"}).backbone_options) == "pspnet"
        assert dilation(config_of(config, {"backbone_options": {"dilation": "torchvision"}}).backbone_options) == (
            "torchvision"
        )


def test_a_published_file_has_that_of_the_public_code() -> None:
    with torch.device("meta"):
        state = DCSAM(DCSAMConfig.reference()).state_dict()
    config = recognise({file_key(key): tuple(value.shape) for key, value in state.items()})
    assert dilation(config.backbone_options) == "torchvision" and config.variant == "reference"


def test_one_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no dilation 'hsnet'; expected torchvision or pspnet"):
        DCSAMConfig.corrected(backbone_options={"dilation": "hsnet"})
    with pytest.raises(WeightsError, match="no dilation 'hsnet'"):
        config_of(VRPConfig, {"backbone_options": {"dilation": "hsnet"}}, where=Path("head.safetensors"))
    with pytest.raises(UsageError, match="backbone_options is 3"):
        with_dilation("resnet50", 3)  # type: ignore[arg-type]


def test_cached_features_of_one_are_not_those_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DCSamTask, "data_source", ["data"])
    folders = {FeatureCache(tmp_path, [["data"], {}, {"backbone": "resnet50", "image_size": 512}]).folder}  # 0.1.0's
    for name in ("pspnet", "torchvision"):
        config = DCSAMConfig.corrected(backbone_options={"dilation": name})
        model = SimpleNamespace(generator=SimpleNamespace(config=config))
        cache = DCSamTask(source=DataOptions(data="coco-20i", root=tmp_path), cache=tmp_path)._features(model)  # type: ignore[arg-type]
        assert cache is not None
        folders.add(cache.folder)
    assert len(folders) == 3


def test_prototype_takes_what_the_option_says_else_the_file_else_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []

    def small(name: str, options: dict[str, str], path: Path) -> Backbone:
        seen.append(options)
        return create_backbone("small")

    monkeypatch.setattr("baselines.heads.open_backbone", small)
    files: dict[str, dict | None] = {"bare": None, "old": {}, "new": {"dilation": "torchvision"}}
    for stem, options in files.items():
        record = {"config": {"backbone": "resnet50", "backbone_options": options}}
        metadata = {} if options is None else {"dcsam": json.dumps(record)}
        save_state(tmp_path / f"{stem}.safetensors", {"layer0.0.weight": torch.zeros(1)}, metadata=metadata)
        for choice in ("auto", "pspnet", "torchvision"):
            Prototype(weights={"backbone": tmp_path / f"{stem}.safetensors"}, options=PrototypeOptions(dilation=choice))  # type: ignore[arg-type]
    by_file = {"bare": "pspnet", "old": "pspnet", "new": "torchvision"}
    assert [dilation(options) for options in seen] == [
        choice for stem in files for choice in (by_file[stem], "pspnet", "torchvision")
    ]
