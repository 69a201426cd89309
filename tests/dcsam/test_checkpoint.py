"""DC-SAM checkpoints: the published formats, our own, and files that are neither."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from parity_scheme import generated
from shared_data import shared

from dcsam.checkpoint import file_key, load_model, read_checkpoint, recognise, sam2_name, save_checkpoint
from dcsam.config import DCSAMConfig
from dcsam.model import DCSAM
from icvos.errors import UsageError, WeightsError

SMALL = {
    "backbone": "small",
    "backbone_options": {"width": 4},
    "width": 16,
    "heads": 2,
    "queries": 3,
    "sam_channels": 16,
    "sam_high_res": (2, 4),
    "image_size": 64,
}
FILES = {
    (2, "resnet50"): ("ref_state_dict_dc_sam_v2_resnet50_q25.json", 379, 2_468_800),
    (1, "vgg16_bn"): ("ref_state_dict_dc_sam_v1_vgg16_q25.json", 134, 2_198_016),
}


def on_meta(config: DCSAMConfig) -> DCSAM:
    with torch.device("meta"):
        return DCSAM(config)


def listed(name: str) -> tuple[dict, dict]:
    content = json.loads(shared("facts", "state_dicts", name).read_text())
    return content["keys"], content["_meta"]


@pytest.mark.parametrize(("sam", "backbone"), list(FILES))
def test_keys_shapes_and_trainable_are_the_references(sam: int, backbone: str) -> None:
    file, count, learnable = FILES[sam, backbone]
    keys, meta = listed(file)
    model = on_meta(DCSAMConfig(sam=sam, backbone=backbone))
    own = model.state_dict()
    assert len(own) == count
    # In the same order too.
    assert [(file_key(k), list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in own.items()] == [
        (k, v["shape"], v["dtype"]) for k, v in keys.items()
    ]
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert list(trainable) == meta["trainable"] == list(model.head_parameters())
    assert sum(p.numel() for p in trainable.values()) == learnable


def test_video_keys_are_the_image_models_behind_a_prefix() -> None:
    keys, _ = listed("ref_state_dict_dc_sam2_prompt_encoder.json")
    own = on_meta(DCSAMConfig()).state_dict()
    assert {f"prompt_encoder.{file_key(k)}": list(v.shape) for k, v in own.items()} == {
        k: v["shape"] for k, v in keys.items()
    }


# The paper prints 1.9M; these are the counts of the public code's trainable tensors.
@pytest.mark.parametrize(
    ("sam", "backbone", "count"),
    [(2, "resnet50", 2_468_800), (1, "vgg16_bn", 2_198_016), (1, "resnet50", 2_394_624)],
)
def test_learnable_parameters(sam: int, backbone: str, count: int) -> None:
    model = on_meta(DCSAMConfig(sam=sam, backbone=backbone))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def published(sam: int, backbone: str, *, queries: int = 25) -> dict[str, torch.Tensor]:
    """An image checkpoint in the authors' format, with the parity scheme's weights."""
    state = on_meta(DCSAMConfig(sam=sam, backbone=backbone, queries=queries)).state_dict()
    return {f"module.{file_key(key)}": generated(file_key(key), value.shape) for key, value in state.items()}


def sam2_state(width: int, blocks: int, *, v21: bool) -> dict[str, torch.Tensor]:
    """The few keys of SAM 2 by which size and version are told."""
    state = {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(width, 3, 7, 7)}
    state.update({f"image_encoder.trunk.blocks.{i}.norm1.weight": torch.zeros(1) for i in range(blocks)})
    if v21:
        state["no_obj_embed_spatial"] = torch.zeros(1, 64)
    return state


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    path = tmp_path_factory.mktemp("published") / "best_model.pt"
    state = published(1, "vgg16_bn")
    torch.save(state, path)
    return path, state


def test_a_published_image_checkpoint_loads_strictly(vgg_file: tuple[Path, dict]) -> None:
    path, state = vgg_file
    checkpoint = read_checkpoint(path)
    assert not checkpoint.video
    assert (checkpoint.config.sam, checkpoint.config.backbone, checkpoint.config.queries) == (1, "vgg16_bn", 25)
    assert checkpoint.config.variant == "reference"
    model = load_model(checkpoint)
    own = {file_key(key): value for key, value in model.state_dict().items()}
    assert all(torch.equal(own[key.removeprefix("module.")], value) for key, value in state.items())
    assert not model.training
    # The backbone comes from the file and stays frozen; the head may be trained on.
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2_198_016
    assert load_model(checkpoint, variant="corrected").config.variant == "corrected"


def test_a_published_video_checkpoint_carries_its_sam2(tmp_path: Path) -> None:
    state = {k.replace("module.", "module.prompt_encoder."): v for k, v in published(2, "resnet50").items()}
    assert len(state) == 379
    for v21 in (True, False):
        sam2 = {f"module.sam2.{key}": value for key, value in sam2_state(96, 12, v21=v21).items()}
        torch.save({**state, **sam2}, tmp_path / "video.pt")
        checkpoint = read_checkpoint(tmp_path / "video.pt")
        assert checkpoint.video
        assert checkpoint.sam2_name == ("sam2.1_hiera_tiny" if v21 else "sam2_hiera_tiny")
        assert set(checkpoint.sam2) == set(sam2_state(96, 12, v21=v21))
        assert checkpoint.config == DCSAMConfig.reference(sam=2, backbone="resnet50")
    lora = {"module.sam2.base_model.sam_mask_decoder.q_proj.lora_A.default.weight": torch.zeros(8, 2)}
    torch.save({**state, **lora}, tmp_path / "video.pt")
    with pytest.raises(WeightsError, match="LoRA"):
        read_checkpoint(tmp_path / "video.pt")


@pytest.mark.parametrize(
    ("width", "blocks", "name"),
    [(96, 12, "tiny"), (96, 16, "small"), (112, 24, "base_plus"), (144, 48, "large"), (32, 4, None)],
)
def test_sam2_sizes(width: int, blocks: int, name: str | None) -> None:
    assert sam2_name(sam2_state(width, blocks, v21=True)) == (name and f"sam2.1_hiera_{name}")
    assert sam2_name(sam2_state(width, blocks, v21=False)) == (name and f"sam2_hiera_{name}")


@pytest.mark.parametrize("options", [{}, {"negative": False}, {"sam_features": False}, {"queries": 50}])
@pytest.mark.parametrize(("sam", "backbone"), [(2, "resnet50"), (2, "vgg16_bn"), (1, "resnet101"), (1, "vgg16_bn")])
def test_recognised_by_keys_alone(sam: int, backbone: str, options: dict) -> None:
    config = DCSAMConfig.reference(sam=sam, backbone=backbone, **options)
    found = recognise({file_key(key): tuple(value.shape) for key, value in on_meta(config).state_dict().items()})
    # Without fusion nothing tells SAM 1 from SAM 2.
    assert found == (config if config.sam_features else DCSAMConfig.reference(sam=1, backbone=backbone, **options))


def test_a_partial_or_wrong_file_says_what_is_missing(vgg_file: tuple[Path, dict], tmp_path: Path) -> None:
    _, state = vgg_file
    path = tmp_path / "partial.pt"

    def refuses(content: dict, pattern: str) -> None:
        torch.save(content, path)
        with pytest.raises(WeightsError, match=pattern):
            read_checkpoint(path)

    small = {key: value for key, value in state.items() if "layer" not in key or "decoder" in key}
    refuses({k: v for k, v in state.items() if "q_embed" not in k}, r"misses transformer_decoder\.q_embed\.weight")
    refuses(small, "backbone .* is missing or unknown")
    refuses({k: v for k, v in state.items() if "merge_1" not in k}, r"it has no merge_1\.0\.weight")
    refuses({**state, "module.extra": torch.zeros(1)}, "has unknown extra")
    changed = {**state, "module.merge_2.0.weight": torch.zeros(256, 513, 1, 1)}
    refuses(changed, r"merge_2\.0\.weight \(256, 513, 1, 1\) instead of \(256, 769, 1, 1\)")
    refuses({"conv1.weight": torch.zeros(1)}, "not a DC-SAM checkpoint")


def test_a_file_that_lost_its_configuration_says_so(tmp_path: Path) -> None:
    torch.save(
        {file_key(key): value for key, value in DCSAM(DCSAMConfig(**SMALL)).state_dict().items()}, tmp_path / "copy.pth"
    )
    words = (
        r"its configuration is not in the file; in .*copy\.pth; "
        r"expected a \.safetensors with its metadata.*, or a published checkpoint"
    )
    with pytest.raises(WeightsError, match=words):
        read_checkpoint(tmp_path / "copy.pth")


class Hostile:
    def __reduce__(self) -> tuple:
        return (open, ("pwned", "w"))


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"module.merge_1.0.weight": Hostile()}, "a.pt")
    Path("b.pt").write_bytes(pickle.dumps(Hostile()))
    Path("c.pt").write_bytes(b"PK\x03\x04 cut")
    for name in ("a.pt", "b.pt", "c.pt", "absent.pt"):
        with pytest.raises(WeightsError):
            read_checkpoint(name)
    assert not Path("pwned").exists()


def test_our_own_format_holds_its_configuration(tmp_path: Path) -> None:
    model = DCSAM(DCSAMConfig(**SMALL, prior_scale=3.0)).eval()
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, model, sam2=sam2_state(32, 4, v21=True), metadata={"stage": "image"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == model.config
    assert checkpoint.video
    assert checkpoint.sam2_name is None
    assert checkpoint.metadata == {"stage": "image"}
    again = load_model(path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    first = path.read_bytes()
    save_checkpoint(path, again, sam2=checkpoint.sam2, metadata={"stage": "image"})
    assert path.read_bytes() == first


def test_a_configuration_of_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown key 'widht'; did you mean 'width'"):
        DCSAMConfig.from_json('{"widht": 3}')
    with pytest.raises(UsageError, match="no JSON"):
        DCSAMConfig.from_json("{")
    for bad in ({"width": 6, "heads": 3}, {"sam": 3}, {"queries": 0}, {"dropout": 1.0}, {"width": True}):
        with pytest.raises(UsageError):
            DCSAMConfig(**bad)
    config = DCSAMConfig(**SMALL)
    assert DCSAMConfig.from_json(config.to_json()) == config
