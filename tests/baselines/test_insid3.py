"""INSID3: its backbones, its files, its edges. Its steps against the authors' code are in tests/test_parity.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy", reason="needs the extra insid3")

from parity_insid3 import dinov2_state, dinov3_state  # noqa: E402

from baselines import insid3  # noqa: E402
from baselines.insid3 import Insid3, Insid3Options  # noqa: E402
from icvos import Support  # noqa: E402
from icvos.errors import MissingExtraError, UsageError, WeightsError  # noqa: E402
from icvos.foundation.dinov2 import DINOv2  # noqa: E402
from icvos.foundation.dinov3 import open_dinov3  # noqa: E402
from icvos.foundation.weights import save_state  # noqa: E402
from icvos.models.check import check_model  # noqa: E402
from icvos.models.registry import create, resolve  # noqa: E402

SMALL = Insid3Options(size=64, components=6)


@pytest.fixture
def dinov3(tmp_path: Path) -> Path:
    pytest.importorskip("transformers", reason="needs the extra insid3")
    save_state(tmp_path / "dinov3.safetensors", dinov3_state()[0])
    return tmp_path / "dinov3.safetensors"


@pytest.fixture
def dinov2(tmp_path: Path) -> Path:
    state, metadata = dinov2_state()
    save_state(tmp_path / "dinov2.safetensors", state, metadata=metadata)
    return tmp_path / "dinov2.safetensors"


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (48, 60, 3), dtype=np.uint8) for _ in range(count)]


def square(size: tuple[int, int] = (48, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[10:30, 10:40] = True
    return mask


def test_empty_supports_are_left_out(dinov2: Path) -> None:
    model = Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=70, components=6))
    one, two, query = pictures(3)
    none = Support(two, np.zeros((48, 60), bool))
    assert model.fit([none], seed=0) is None
    empty = model.predict(None, query)
    assert not empty.mask.any() and empty.confidence == 0
    alone = model.predict(model.fit([Support(one, square())], seed=0), query)
    both = model.predict(model.fit([none, Support(one, square())], seed=0), query)
    assert np.array_equal(alone.mask, both.mask) and alone.confidence == both.confidence


def test_an_image_is_encoded_once(dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=70, components=6))
    seen: list[int] = []
    forward = model.backbone.forward
    monkeypatch.setattr(model.backbone, "forward", lambda x, **words: (seen.append(len(x)), forward(x, **words))[1])
    one, two, *queries = pictures(6)
    fitted = model.fit([Support(one, square()), Support(two, square())], seed=0)
    assert seen == [1, 1]
    for query in queries:
        model.predict(fitted, query)
    assert seen == [1] * 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"components": 32}, "components=32 of a backbone of 32 channels"),
        ({"components": 500}, "components=500"),
        ({"size": 71}, "size=71"),
        ({"size": 14}, "size=14"),
        ({"size": 14_000}, "size=14000; expected a multiple of the backbone's patch, 14, from 28 to 2048"),
        ({"tau": 2.0}, "tau=2.0"),
    ],
)
def test_settings_that_mean_nothing(dinov2: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Insid3(weights={"backbone": dinov2}, options=Insid3Options(**{"size": 70, "components": 6, **changes}))


def test_patches_that_are_compared_with_all_are_bounded(dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Insid3, "patches", lambda self, images: torch.rand(len(images), 32, 129, 128))
    with pytest.raises(UsageError, match="size=70 makes 16,512 patches; expected at most 16,384"):
        Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=70))


@pytest.mark.parametrize(("width", "components"), [(1024, 500), (768, 500), (384, 187), (80, 39), (32, 15)])
def test_components_are_fewer_than_channels(width: int, components: int, dinov2: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Insid3, "patches", lambda self, images: torch.rand(len(images), width, 4, 4))
    assert Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=70)).components == components


def test_the_shipped_backbone_serves_on_drawn_shapes() -> None:
    model = create("baselines.insid3:Insid3", weights={"backbone": "demo"})
    assert (model.size, model.components) == (256, 4)  # type: ignore[attr-defined]


def test_it_keeps_the_rules_of_a_plugin(dinov3: Path) -> None:
    findings = list(check_model(lambda: Insid3(weights={"backbone": dinov3}, options=SMALL), skip=("memory",)))
    assert not [finding for finding in findings if finding.status == "failed"], findings


def test_hugging_faces_names_give_what_metas_give(dinov3: Path, tmp_path: Path) -> None:
    encoder = open_dinov3(dinov3_state()[0], where=dinov3)
    image = torch.rand(1, 3, 64, 96)
    expected = encoder(image).deep
    assert expected.shape == (1, 32, 4, 6)
    state = encoder.model.state_dict()
    # Its heads are told by the number of periods, which Hugging Face's files do not hold: 64 channels each.
    assert open_dinov3(state, where=tmp_path).model.config.num_attention_heads == 1
    older = {key.removeprefix("model."): value for key, value in state.items()}
    turned = {**older, "rope_embed.periods": dinov3_state()[0]["rope_embed.periods"]}
    assert torch.equal(open_dinov3(turned, where=tmp_path)(image).deep, expected)


def test_metas_file_turns_by_its_own_periods(dinov3: Path) -> None:
    state = dinov3_state()[0]
    rounded = {**state, "rope_embed.periods": state["rope_embed.periods"].bfloat16()}
    image = torch.rand(1, 3, 64, 96)
    exact, near = (open_dinov3(each, where=dinov3)(image).deep for each in (state, rounded))
    assert 0 < float((exact - near).abs().max()) < 0.05


def test_hugging_faces_folder_gives_what_the_library_gives(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra insid3")
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    network = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**sizes, num_register_tokens=4)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    network.save_pretrained(tmp_path / "folder")
    model = create("baselines.insid3:Insid3", weights={"backbone": tmp_path / "folder"}, options={"size": 96})
    image = torch.rand(1, 3, 48, 80)
    with torch.no_grad():
        expected = network(image).last_hidden_state[:, 5:].transpose(1, 2).reshape(1, 128, 3, 5)
    torch.testing.assert_close(model.backbone(image).deep, expected, atol=1e-5, rtol=0)  # type: ignore[attr-defined]
    assert model.components == 62  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_embed.periods": torch.ones(3)},
        {"rope_embed.periods": torch.ones(400)},
        {"rope_embed.periods": torch.ones(2, 2)},
        {"rope_embed.periods": torch.ones(4, dtype=torch.int64)},
        {"blocks.90.norm1.bias": torch.zeros(32)},
        {"storage_tokens": torch.zeros(1, 100, 32)},
        {"cls_token": torch.zeros(1, 1, 31)},
        {"blocks.0.attn.qkv.weight": torch.zeros(95, 32)},
    ],
)
def test_sizes_that_do_not_go_together(changes: dict[str, Any], dinov3: Path) -> None:
    with pytest.raises(WeightsError) as stop:
        open_dinov3({**dinov3_state()[0], **changes}, where=dinov3)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize("break_it", ["missing", "unknown", "shape", "other", "width"])
def test_files_that_do_not_fit(dinov3: Path, tmp_path: Path, break_it: str) -> None:
    state = dict(dinov3_state()[0])
    if break_it == "missing":
        del state["blocks.1.attn.proj.weight"]
    elif break_it == "unknown":
        state["blocks.0.mlp.w3.weight"] = torch.zeros(3)
    elif break_it == "shape":
        state["norm.weight"] = torch.zeros(31)
    elif break_it == "other":
        state["head.weight"] = torch.zeros(3)
    else:
        state["patch_embed.proj.weight"] = torch.zeros(40, 3, 16, 16)
    path = tmp_path / "broken.safetensors"
    save_state(path, state)
    with pytest.raises(WeightsError) as stop:
        Insid3(weights={"backbone": path}, options=SMALL)
    assert "\n" not in str(stop.value)
    save_state(path, {"weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match="no backbone that is known"):
        Insid3(weights={"backbone": path}, options=SMALL)


@pytest.mark.parametrize("registers", [0, 4])
def test_a_publishers_dinov2_is_told_by_its_tensors(tmp_path: Path, registers: int) -> None:
    state = DINOv2(width=128, depth=2, heads=2, patch=14, pretrain_size=56, registers=registers).state_dict()
    save_state(tmp_path / "dinov2.safetensors", {**state, "mask_token": torch.zeros(1, 128)})
    model = Insid3(weights={"backbone": tmp_path / "dinov2.safetensors"}, options=Insid3Options(size=70))
    assert (len(model.backbone.blocks), model.components) == (2, 62)
    assert model.info.training_data == ("lvd-142m",)


def test_weights_that_give_no_numbers(tmp_path: Path) -> None:
    state, metadata = dinov2_state()
    state["blocks.0.mlp.fc1.bias"] = torch.full_like(state["blocks.0.mlp.fc1.bias"], 3e38)
    save_state(tmp_path / "inf.safetensors", state, metadata=metadata)
    with pytest.raises(WeightsError, match="no finite numbers"):
        Insid3(weights={"backbone": tmp_path / "inf.safetensors"}, options=Insid3Options(size=70, components=6))


def test_what_is_not_installed_is_said(dinov3: Path, dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    gone = {"transformers"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in gone else found(name, *a))
    with pytest.raises(MissingExtraError, match="transformers"):
        Insid3(weights={"backbone": dinov3}, options=SMALL)
    Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=70, components=6))
    gone.add("scipy")
    with pytest.raises(MissingExtraError, match="scipy"):
        Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=70, components=6))
    assert resolve("baselines.insid3:Insid3").info.extra == "insid3"


@pytest.mark.parametrize("shape", [(640, 320), (321, 999)])
def test_a_thing_that_the_square_loses_keeps_the_patch_at_its_centre(shape: tuple[int, int], dinov2: Path) -> None:
    model = Insid3(weights={"backbone": dinov2}, options=Insid3Options(size=140, components=6))
    mask = np.zeros(shape, bool)
    mask[shape[0] // 2 + 1, shape[1] // 4 + 1] = True
    assert not np.asarray(torch.nn.functional.interpolate(torch.tensor(mask)[None, None].float(), (140, 140))).any()
    fitted = model.fit([Support(np.zeros((*shape, 3), np.uint8), mask)], seed=0)
    assert fitted is not None and fitted.masks.nonzero().tolist() == [[0, 5, 2]]


def test_a_mask_that_resizing_loses_keeps_a_patch() -> None:
    mask = torch.zeros(160, 160, dtype=torch.bool)
    mask[33, 50] = True
    assert insid3.grid_mask(mask, (10, 10)).nonzero().tolist() == [[2, 3]]
