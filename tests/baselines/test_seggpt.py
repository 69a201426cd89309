"""SegGPT through the transformers library: what goes in, what comes out, the ensemble, and files that do not fit."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import write_video_benchmark

from icvos import Support, cli
from icvos.errors import MissingExtraError, UsageError, WeightsError
from icvos.files import file_sha256
from icvos.installation import install_command
from icvos.models.check import check_model
from icvos.models.clips import support
from icvos.models.registry import create, resolve
from icvos.runs.records import read_run

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the extra hf")

from baselines.seggpt import SegGpt  # noqa: E402 - it declares itself without them, and runs only with them

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": [64, 32],
    "patch_size": 8,
    "merge_index": 1,
    "intermediate_hidden_state_indices": [1, 2, 3],
    "decoder_hidden_size": 8,
    "pretrain_image_size": 32,
    "mlp_dim": 64,
    "drop_path_rate": 0.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Hugging Face lays it out, of a tiny network with random weights that matter."""
    torch.manual_seed(0)
    model = transformers.SegGptForImageSegmentation(transformers.SegGptConfig(**TINY))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.5 * noise / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.2 * noise + 0.5)
    root = tmp_path_factory.mktemp("seggpt") / "tiny"
    model.save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Path]:
    return {"seggpt": folder / "model.safetensors"}


@pytest.fixture(scope="module")
def query() -> np.ndarray:
    return support((37, 53), seed=9).image.copy()


def score(model: SegGpt, supports: list[Support], image: np.ndarray) -> torch.Tensor:
    return model.predict(model.fit(supports, seed=0), image).score


# ------------------------------------------------------------------------------------------------- one support


def test_one_support_is_the_library_s_own_inference(folder: Path, weights: dict[str, Path], query: np.ndarray) -> None:
    shown = support((48, 40))
    network = transformers.SegGptForImageSegmentation.from_pretrained(folder, local_files_only=True).eval()
    processor = transformers.SegGptImageProcessor(size={"height": 32, "width": 32})
    inputs = processor(
        images=query,
        prompt_images=shown.image.copy(),
        prompt_masks=shown.mask.astype(np.uint8),
        num_labels=1,
        return_tensors="pt",
    )
    with torch.no_grad():
        outputs = network(**inputs)
    (expected,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[query.shape[:2]], num_labels=1)
    model = SegGpt(weights=weights)
    found = model.predict(model.fit([shown], seed=0), query)
    assert torch.equal(found.mask, expected == 1)
    assert 0 < int(found.mask.sum()) < found.mask.numel() and found.score.std() > 0.01
    assert found.confidence == pytest.approx(float(found.score[found.mask].mean()))
    # The type of embedding matters, so the option reaches the network.
    assert not torch.equal(score(SegGpt(weights=weights, embedding="semantic"), [shown], query), found.score)


def test_a_mask_is_painted_black_and_white_by_nearest_pixels(weights: dict[str, Path]) -> None:
    model, shown = SegGpt(weights=weights), support((64, 48))
    fitted = model.fit([shown], seed=0)
    assert fitted is not None and fitted.images.shape == fitted.masks.shape == (1, 3, 32, 32)
    mean, std = np.array(model.processor.image_mean), np.array(model.processor.image_std)
    colours = fitted.masks[0].permute(1, 2, 0).numpy() * std + mean
    assert np.unique(colours.round(5)).tolist() == [0.0, 1.0]
    for row in range(32):
        for column in range(32):
            # Twice smaller down, one and a half times across; nearest may round either way at a half.
            near = shown.mask[2 * row : 2 * row + 2, column * 3 // 2 : -(-(column + 1) * 3 // 2)]
            assert (colours[row, column, 0] > 0.5) in near


def test_brightness_is_the_lower_half_in_colours(weights: dict[str, Path]) -> None:
    model = SegGpt(weights=weights)
    mean, std = np.array(model.processor.image_mean), np.array(model.processor.image_std)
    rgb = np.zeros((4, 2, 3))
    rgb[0:2] = 1.0  # the support's half is not read
    rgb[2, 0], rgb[2, 1], rgb[3, 0] = (1, 1, 1), (1.4, 0.5, -0.3), (0.2, 0.4, 0.9)  # out of range is clipped
    painted = torch.tensor((rgb - mean) / std).permute(2, 0, 1)
    found = model._brightness(painted, (4, 2))
    expected = np.repeat([[1.0, 0.5], [0.5, 0.0]], 2, axis=0)
    assert np.allclose(found.numpy(), expected, atol=1e-6)


# --------------------------------------------------------------------------------------------- several supports


def ensemble(network: Any, prompts: Any, pixels: Any) -> Any:
    """Feature ensemble written out: the query half of each attention's output is the mean over the supports, in the
    image and the mask stream by itself while they are apart."""
    count, config = len(prompts.images), network.config
    side = config.image_size[0] // config.patch_size
    masked = torch.arange(side * side // 2)[None] >= side * side // 4
    streams = network.model.embeddings(
        torch.cat([prompts.images, pixels.expand(count, -1, -1, -1)], dim=2),
        torch.cat([prompts.masks, prompts.masks], dim=2),
        bool_masked_pos=masked,
        embedding_type="instance",
    )
    parts = [streams[:count], streams[count:]]
    kept = []
    for index, layer in enumerate(network.model.encoder.layers):
        for place, rows in enumerate(parts):
            attended = [layer.attention(layer.layernorm_before(row[None]))[0][0] for row in rows]
            mean = sum(a[side // 2 :] for a in attended) / count
            attended = [torch.cat([a[: side // 2], mean]) for a in attended]
            rows = torch.stack([a + row for a, row in zip(attended, rows, strict=True)])
            parts[place] = rows + layer.mlp(layer.layernorm_after(rows))
        if index == config.merge_index:
            parts = [(parts[0] + parts[1]) / 2]
        if index in config.intermediate_hidden_state_indices:
            kept.append(network.model.encoder.layernorm(parts[0]))
    return network.decoder(torch.cat(kept, dim=-1))


def test_several_supports_are_averaged_in_every_block(weights: dict[str, Path], query: np.ndarray) -> None:
    model = SegGpt(weights=weights)
    shown = [support((48, 40)), support((40, 56), seed=3), support((33, 33), seed=5)]
    fitted = model.fit(shown, seed=0)
    assert fitted is not None and len(fitted.images) == 3
    pixels = model.processor(images=[query], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        painted = ensemble(model.network, fitted, pixels)
    size = (query.shape[0], query.shape[1])
    found = model.predict(fitted, query).score
    torch.testing.assert_close(found, model._brightness(painted[0], size), atol=1e-5, rtol=0)
    assert not torch.allclose(found, score(model, shown[:1], query), atol=1e-3)


def test_a_support_given_twice_is_that_support_but_in_the_library(weights: dict[str, Path], query: np.ndarray) -> None:
    shown, model = support((48, 40)), SegGpt(weights=weights)
    once = score(model, [shown], query)
    torch.testing.assert_close(score(model, [shown, shown], query), once, atol=1e-5, rtol=0)
    ported = SegGpt(weights=weights, port_ensemble=True)
    torch.testing.assert_close(score(ported, [shown], query), once, atol=1e-6, rtol=0)
    assert not torch.allclose(score(ported, [shown, shown], query), once, atol=1e-4, rtol=0)


def test_supports_without_a_mask_are_left_out(weights: dict[str, Path], query: np.ndarray) -> None:
    model, shown = SegGpt(weights=weights), support((48, 40))
    empty = Support(shown.image, np.zeros_like(shown.mask))
    assert torch.equal(score(model, [empty, shown], query), score(model, [shown], query))
    assert model.fit([empty], seed=0) is None
    nothing = model.predict(None, query)
    assert not nothing.mask.any() and nothing.confidence == 0.0


# ------------------------------------------------------------------------------------------------ as a plugin


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: SegGpt(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield


def icvos(*words: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def test_evaluated_from_a_folder_offline(folder: Path, tmp_path: Path, offline: None) -> None:
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2)
    words = ("--benchmark", bench, "--shots", 2, "--out", tmp_path / "r", "--weights", f"seggpt={folder}")
    assert icvos("evaluate", "--model", "seggpt", *words) == 0
    expected = {"seggpt": folder / "model.safetensors", "config": folder / "config.json"}
    assert read_run(tmp_path / "r")["key"]["weights"] == {name: file_sha256(path) for name, path in expected.items()}


def test_lifted_it_names_all_it_needs(folder: Path) -> None:
    info = resolve("seggpt+sam2").info
    assert sorted(info.weights) == ["config", "seggpt", "tracker"] and info.extra == "hf,sam"
    with pytest.raises(UsageError, match="needs weights: tracker"):
        create("seggpt+sam2", weights={"seggpt": folder})


# ---------------------------------------------------------------------------------------------- what does not fit


def test_files_that_do_not_fit_are_answered_in_one_line(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "seggpt_vit_large.pth"
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(1)}}, alone)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "config.json").write_text(json.dumps({"model_type": "vit"}))
    wider = tmp_path / "wider"
    shutil.copytree(folder, wider)
    content = json.loads((folder / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps({**content, "mlp_dim": 48}))
    odd = tmp_path / "odd"
    shutil.copytree(folder, odd)
    (odd / "config.json").write_text(json.dumps({**content, "image_size": [60, 30]}))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "config.json").write_text(json.dumps({**content, "num_hidden_layers": "many"}))
    torn = tmp_path / "torn"
    shutil.copytree(folder, torn)
    data = (folder / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(data[: len(data) // 2])
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, words in (
        (alone, "no config.json beside the weights.*seggpt_vit_large.pth"),
        (other, "the configuration is of 'vit'"),
        (wider, "does not fit SegGPT.*of another shape"),
        (odd, "does not go into patches of 8"),
        (broken, "the configuration cannot be used"),
        (torn, "truncated"),
        (empty, "weights 'seggpt' not found"),
    ):
        with pytest.raises(WeightsError, match=words) as stop:
            create("seggpt", weights={"seggpt": path})
        assert "\n" not in str(stop.value)


@pytest.mark.parametrize("package", ["transformers", "torchvision"])
def test_a_missing_extra_is_one_line(
    package: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else found(name, *a))
    with pytest.raises(MissingExtraError):
        create("seggpt", weights={"seggpt": folder})
    assert icvos("models", "check", "seggpt", "--weights", f"seggpt={folder}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"model 'seggpt' needs the package {package}; install it with: {install_command('hf')}" in error
    # It can be listed all the same.
    assert resolve("seggpt").info.extra == "hf"


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**8},
        {"image_size": [20_000, 10_000]},
        {"image_size": 64},
        {"num_attention_heads": 0},
        {"mlp_dim": "64"},
        {"patch_size": -8},
        {"intermediate_hidden_state_indices": [[1]]},
        {"pretrain_image_size": 1e300},
    ],
)
def test_a_configuration_that_asks_for_more(change: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(WeightsError, match=r"the configuration cannot be used .*config\.json"):
        create("seggpt", weights={"seggpt": copy})


def test_names_of_labels_are_not_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_labels": 10**9}))
    assert type(create("seggpt", weights={"seggpt": copy})).info.name == "seggpt"
