"""Configurations and tensors of a stranger's file: bounded before anything is built, and refused in one line."""

from __future__ import annotations

import dataclasses
import json
import resource
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sam2")
pytest.importorskip("segment_anything")

from sam_tiny import SAM1_TINY, SAM2_TINY, tiny_sam1, tiny_sam2  # noqa: E402

from baselines.heads import config_of, save_head  # noqa: E402
from baselines.pfenet.model import PFENetConfig  # noqa: E402
from baselines.vrp_sam.model import VRPConfig  # noqa: E402
from dcsam.checkpoint import METADATA_KEY, read_checkpoint, save_checkpoint  # noqa: E402
from dcsam.config import DCSAMConfig  # noqa: E402
from dcsam.model import DCSAM  # noqa: E402
from icvos.errors import UsageError, WeightsError  # noqa: E402
from icvos.foundation.backbones import create_backbone, load_backbone  # noqa: E402
from icvos.foundation.construct import load_into  # noqa: E402
from icvos.foundation.load import load_sam, save_sam  # noqa: E402
from icvos.foundation.sam1 import SAM1, Sam1, Sam1Config  # noqa: E402
from icvos.foundation.sam2 import Sam2  # noqa: E402
from icvos.foundation.sam2_config import SAM2, Sam2Config  # noqa: E402
from icvos.foundation.sizes import BOUNDS  # noqa: E402
from icvos.foundation.trainings import training_of  # noqa: E402
from icvos.foundation.weights import load_metadata, load_state, save_state  # noqa: E402

CONFIGS = (Sam1Config, Sam2Config, DCSAMConfig, VRPConfig, PFENetConfig)
WRONG = (10**9, 20_000, -1, 0.5, float("nan"), float("inf"), "64", None, True, [[1]], {"a": 1}, 10**400, [1] * 1000)
# What is right for one size of these.
FITS = {"dropout": (0.5,), "prior_scale": (-1, 0.5), "scales": (0.5,), "global_blocks": ()}


def plain(cls: type) -> dict[str, Any]:
    start: dict[type, Any] = {Sam1Config: SAM1_TINY, Sam2Config: SAM2_TINY}
    return dict(start.get(cls, {}))


@pytest.fixture(autouse=True)
def quick() -> Any:
    """No case may take long, nor much memory."""
    before, used = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - before < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 1 << 20  # KiB: 1 GiB


@pytest.mark.parametrize("cls", CONFIGS)
def test_every_size_of_every_configuration_is_bounded(cls: Any) -> None:
    for field in dataclasses.fields(cls):
        names_and_truths = isinstance(field.default, (str, bool)) or field.name in ("name", "backbone_options")
        assert field.name in BOUNDS or names_and_truths, field.name
        for value in WRONG:
            kept = field.name in FITS and value in FITS[field.name]
            kept |= isinstance(field.default, bool) and value is True
            kept |= field.name == "backbone_options" and value == {"a": 1}
            kept |= isinstance(field.default, str) and field.name != "version" and value == "64"
            if not kept and not (field.name == "name" and value == "64"):
                with pytest.raises(UsageError) as error:
                    cls(**{**plain(cls), field.name: value})
                assert len(str(error.value)) < 600 and "\n" not in str(error.value), (field.name, value)


def test_published_sizes_fit() -> None:
    for config in (*SAM1.values(), *SAM2.values()):
        assert dataclasses.replace(config) == config
    assert PFENetConfig(image_size=641, scales=(1, 0.5, 0.25, 0.125)).image_size == 641
    for name in ("dinov2_vitb14", "dinov2_vitl14"):
        assert DCSAMConfig(backbone=name).backbone == name


def test_sizes_that_fit_one_by_one_and_not_together() -> None:
    with pytest.raises(UsageError, match="its rotary tables would take 8,192 MiB, more than 512"):
        Sam2Config("x", image_size=4096, embed_dim=1024, memory_layers=16, background=7)
    with pytest.raises(UsageError, match="400 blocks are more than 192"):
        Sam2Config("x", stages=(100, 100, 100, 100), global_blocks=())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dinov2_vitb14", {"depth": 10**9}),
        ("dinov2_vitb14", {"width": 10**9, "heads": 1}),
        ("dinov2_vitb14", {"pretrain_size": 14 * 10**6}),
        ("dinov2_vitb14", {"heads": 7}),
        ("dinov2_vitb14", {"heads": 0}),
        ("dinov2_vitb14", {"patch": "14"}),
        ("dinov2_vitb14", {"registers": -1}),
        ("small", {"width": 10**7}),
        ("small", {"width": float("nan")}),
        ("compact", {"inside": 10**7}),
        ("compact", {"width": [[[1]]]}),
        ("small", {"wide": {"a": {}}}),
        ("small", {"wide": 3}),
        ("resnet50", {"dilation": ["torchvision"]}),
    ],
)
def test_options_of_backbones_are_bounded(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        create_backbone(name, options)
    assert "\n" not in str(error.value)
    with pytest.raises((UsageError, WeightsError)):
        DCSAM(DCSAMConfig(backbone=name, backbone_options=options))


def again(path: Path, key: str, change: dict[str, Any], *inside: str) -> Path:
    """Write a file of weights with other values in its configuration."""
    metadata = load_metadata(path)
    record = json.loads(metadata[key])
    place = record
    for name in inside:
        place = place[name]
    place |= change
    out = path.with_name("changed.safetensors")
    save_state(out, load_state(path), metadata={**metadata, key: json.dumps(record)})
    return out


@pytest.mark.parametrize(
    "change",
    [{"memory_layers": 10**9}, {"image_size": 20_000}, {"stages": [1] * 10**6}, {"background": []}, {"stages": 3}],
)
def test_a_sam2_that_asks_for_more(change: dict[str, Any], tmp_path: Path) -> None:
    save_sam(tmp_path / "sam2.safetensors", tiny_sam2())
    path = again(tmp_path / "sam2.safetensors", "sam2_config", change)
    with pytest.raises(WeightsError, match=f"configuration inside is broken .*{next(iter(change))}"):
        load_sam(Sam2, path)


@pytest.mark.parametrize("change", [{"depth": 10**9}, {"image_size": 20_000}, {"global_blocks": [[1]]}, {"window": -1}])
def test_a_sam1_that_asks_for_more(change: dict[str, Any], tmp_path: Path) -> None:
    save_sam(tmp_path / "sam1.safetensors", tiny_sam1())
    path = again(tmp_path / "sam1.safetensors", "sam1_config", change)
    with pytest.raises(WeightsError, match=f"configuration inside is broken .*{next(iter(change))}"):
        load_sam(Sam1, path)


DCSAM_TINY: dict[str, Any] = {
    "backbone": "small", "width": 16, "heads": 4, "queries": 5, "image_size": 64, "sam_channels": 16,
}  # fmt: skip


@pytest.mark.parametrize("change", [{"queries": 10**9}, {"backbone_options": {"width": 10**8}}, {"heads": 3}])
def test_a_dcsam_that_asks_for_more(change: dict[str, Any], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "dcsam.safetensors", DCSAM(DCSAMConfig.corrected(**DCSAM_TINY)))
    assert read_checkpoint(tmp_path / "dcsam.safetensors").config.width == 16
    path = again(tmp_path / "dcsam.safetensors", METADATA_KEY, change, "config")
    with pytest.raises((UsageError, WeightsError)) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cls", [VRPConfig, PFENetConfig])
def test_a_head_that_asks_for_more(cls: Any) -> None:
    with pytest.raises(WeightsError, match=r"the head's configuration is broken .*width"):
        config_of(cls, {"width": 10**9})


OTHER_TYPES = ["complex64", "int64", "int8", "uint8", "bool", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("kind", OTHER_TYPES)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_weights_of_other_types_than_floats(kind: str, tmp_path: Path) -> None:
    def altered(state: dict[str, Any], name: str) -> dict[str, Any]:
        value = torch.ones(state[name].shape).to(getattr(torch, kind))
        return {**state, name: value}

    layer = torch.nn.Linear(3, 2)
    with pytest.raises(WeightsError, match=f"tensor 'weight' is of type {kind}; in f; expected floating point"):
        load_into(layer, altered(layer.state_dict(), "weight"), where="f", what="a layer")
    backbone = create_backbone("small")
    with pytest.raises(WeightsError, match=f"tensor 'layer0.0.weight' is of type {kind}"):
        load_backbone(backbone, altered(backbone.state_dict(), "layer0.0.weight"), where="f")
    path = tmp_path / "dcsam.safetensors"
    save_checkpoint(path, DCSAM(DCSAMConfig.corrected(**DCSAM_TINY)))
    metadata = load_metadata(path)
    name = next(name for name, value in load_state(path).items() if value.is_floating_point())
    save_state(path, altered(load_state(path), name), metadata=metadata)
    with pytest.raises(WeightsError, match=f"is of type {kind}"):
        read_checkpoint(path)


def test_counts_and_floats_of_other_widths_are_taken() -> None:
    norm = torch.nn.BatchNorm2d(2)
    state = {name: value.double() if value.is_floating_point() else value for name, value in norm.state_dict().items()}
    load_into(norm, state, where="f", what="a norm")
    load_into(norm, {**state, "num_batches_tracked": torch.tensor(1.0).half()}, where="f", what="a norm")
    assert norm.num_batches_tracked.dtype is torch.int64
    with pytest.raises(WeightsError, match="'num_batches_tracked' is of type complex64"):
        load_into(norm, {**state, "num_batches_tracked": torch.tensor(1j)}, where="f", what="a norm")


def test_a_tensor_of_no_size_is_of_another_shape() -> None:
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(WeightsError, match=r"weight is \(0, 3\), not \(2, 3\)"):
        load_into(layer, {**layer.state_dict(), "weight": torch.ones(0, 3)}, where="f", what="a layer")


def test_tensors_larger_than_what_is_stored(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"tensor 'a' is larger \(1000000, 1000000\) than what is stored of it"):
        load_state(tmp_path / "a.pth")
    shared = torch.ones(10**6)
    torch.save({str(i): shared for i in range(500)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="its tensors come to 2,000,000,000 bytes in a file of"):
        load_state(tmp_path / "b.pth")
    torch.save({"a": shared, "tied": shared}, tmp_path / "c.pth")
    assert len(load_state(tmp_path / "c.pth")) == 2


def test_archives_that_grow(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as old, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    assert (tmp_path / "b.pth").stat().st_size < 100_000
    with pytest.raises(WeightsError, match=r"members are packed or share bytes; in .*b\.pth; expected a file as torch"):
        load_state(tmp_path / "b.pth")


def header(path: Path, content: dict[str, Any], data: bytes = b"", size: int | None = None) -> Path:
    text = json.dumps(content).encode()
    path.write_bytes((len(text) if size is None else size).to_bytes(8, "little") + text + data)
    return path


def row(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": row(0, 8, [2]), "b": row(4, 12, [2])},
        {"a": row(0, 400, [100])},
        {"a": row(0, 12, [2])},
        {"a": row(0, 12, [2**40, 2**40])},
        {"a": row(0, 12, [-3])},
        {"a": row(0, 12, [3], "F33")},
        {"a": row(12, 0, [3])},
        {"a": row(0, 12, [2**64 + 3])},
    ],
)
def test_headers_that_lie(tensors: dict[str, Any], tmp_path: Path) -> None:
    path = header(tmp_path / "a.safetensors", tensors, b"\0" * 12)
    with pytest.raises(WeightsError, match="truncated or no safetensors"):
        load_state(path)


@pytest.mark.parametrize("size", [100 << 20, 17 << 20])
def test_a_header_of_megabytes(size: int, tmp_path: Path) -> None:
    path = header(tmp_path / "a.safetensors", {"a": row(0, 12, [3])}, b"\0" * 12, size=size)
    for read in (load_state, load_metadata):
        with pytest.raises(WeightsError, match=f"a header of {size:,} bytes; in .*; expected at most 16,777,216"):
            read(path)


def test_metadata_nested_deep(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for text in ("[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000):
        save_state(path, {"a": torch.ones(2)}, metadata={"dcsam": text})
        with pytest.raises(WeightsError, match="the metadata 'dcsam' hold lists in lists more than 32 deep"):
            load_metadata(path)
        assert training_of(path) is None


def test_what_a_file_says_of_its_training(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"

    def said(**record: Any) -> Any:
        text = json.dumps({"metadata": {"training": record}})
        save_state(path, {"a": torch.ones(2)}, metadata={"m": text})
        return training_of(path)

    good = {"settings": "0123456789ab", "seed": 3, "kept": "best"}
    assert said(**good) == good and said(**good, more=1) == good
    for name, value in (("settings", "\x1b" * 99), ("settings", ["a"]), ("settings", "0123456789ab\n")):
        assert said(**{**good, name: value}) == {"seed": 3, "kept": "best"}
    for seed in (10**300, True, 1.5, "3", {}, None):
        assert said(**{**good, "seed": seed}) == {"settings": "0123456789ab", "kept": "best"}
    for kept in ("worst", ["best"], {"a": 1}):
        assert said(**{**good, "kept": kept}) == {"settings": "0123456789ab", "seed": 3}


def test_a_head_is_written_and_read_with_its_sizes(tmp_path: Path) -> None:
    config = VRPConfig(backbone="small", width=16, queries=3, heads=2)
    with warnings.catch_warnings():
        save_head(tmp_path / "h.safetensors", "vrp-sam", config, torch.nn.Linear(2, 2), backbone_sha256="0" * 64)
    record = json.loads(load_metadata(tmp_path / "h.safetensors")["icvos-baseline"])
    assert config_of(VRPConfig, record["config"]) == config
