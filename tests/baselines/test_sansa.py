"""SANSA: its adapters and their files, prompts and memory, and its training on a tiny SAM 2."""

from __future__ import annotations

import argparse
import signal
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_trees import coco, many
from parity_sansa import published_adapters
from sam_tiny import shake, tiny_sam2
from tiny_heads import OnePair
from tiny_weights import TINY_SAM2, tiny_sam2_file
from training_logs import losses

from baselines.heads import read_head, save_head
from baselines.sansa import Sansa, box_of, points_of, sansa_tracker, scribble_of, support_prompt
from baselines.sansa_adapters import KIND, SansaConfig, SansaNetwork, load_sansa, open_sam2
from baselines.sansa_train import SansaTask
from icvos import Support
from icvos.errors import UsageError, WeightsError
from icvos.foundation.construct import count_parameters, on_meta
from icvos.foundation.load import build_sam, load_sam, save_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import OBJECT_SCORES, SAM2, Sam2Config
from icvos.foundation.weights import load_state
from icvos.models.check import check_model
from icvos.models.clips import Clip, support
from icvos.models.options import group_options
from icvos.training.distribute import World
from icvos.training.frozen import set_training_mode
from icvos.training.loop import Trainer, TrainingStopped
from icvos.training.task import Settings

ALONE = World(0, 1, torch.device("cpu"))
OLD = replace(TINY_SAM2, name="tiny-old", version="2.0")


def adapters_file(path: Path, sam2: Path, **metadata: Any) -> Path:
    """Write shaken adapters for a SAM 2 as ``icvos train sansa`` does."""
    segmenter, digest = open_sam2(sam2)
    network = SansaNetwork(segmenter, SansaConfig(image_size=64))
    shake(network.adapters, seed=5)
    save_head(path, KIND, network.config, network.adapters, backbone_sha256=digest, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sansa")
    sam2 = tiny_sam2_file(folder)
    return {"sam2": sam2, "sansa": adapters_file(folder / "sansa.safetensors", sam2, training_categories=["car"])}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A SAM 2.0, and adapters as the authors' training writes them."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    save_sam(folder / "sam2.safetensors", build_sam(Sam2, OLD))
    content = {
        "model": published_adapters(OLD),
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        "lr_scheduler": {"last_epoch": 3},
        "epoch": 4,
        "args": argparse.Namespace(channel_factor=0.3, adaptformer_stages=[2, 3]),
    }
    torch.save(content, folder / "adapter_tiny.pth")
    return {"sam2": folder / "sam2.safetensors", "sansa": folder / "adapter_tiny.pth"}


def blank(shown: Support) -> Support:
    return Support(shown.image, np.zeros_like(shown.mask))


# ---- adapters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "blocks", "few", "generalist"),
    [
        ("tiny", 9, 1_117_380, 2_962_404),
        ("base_plus", 19, 3_093_947, 8_216_491),
        ("large", 40, 9_898_385, 26_333_537),
    ],
)
def test_the_authors_adapters(name: str, blocks: int, few: int, generalist: int) -> None:
    for factor, count in ((0.3, few), (0.8, generalist)):
        segmenter = build_sam(Sam2, SAM2[f"sam2_hiera_{name}"], meta=True)
        with on_meta():
            network = SansaNetwork(segmenter, SansaConfig(factor))
        assert count_parameters(network.adapters) == count and len(network.adapters.state_dict()) == 6 * blocks
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count


def test_new_adapters_add_nothing_and_trained_ones_what_they_compute(weights: dict[str, Path]) -> None:
    image = support().image
    plain = load_sam(Sam2, weights["sam2"])
    new = SansaNetwork(open_sam2(weights["sam2"])[0], SansaConfig())
    network, _ = load_sansa(weights["sam2"], weights["sansa"])
    with torch.no_grad():
        before = plain.encode(image).embedding
        assert torch.equal(new.segmenter.encode(image).embedding, before)
        quick = network.segmenter.encode(image).embedding
        network.segmenter.in_pieces = False
        whole = network.segmenter.encode(image).embedding
        block, x = network.segmenter.encoder_blocks()[3], torch.randn(1, 4, 4, 64)
        adapter = network.adapters["3"]
        got = block(x)
        inside: list[torch.Tensor] = []
        block.norm2.register_forward_pre_hook(lambda module, inputs: inside.append(inputs[0]))
        block(x)
        branch = inside[0]
        mlp = block.mlp.layers[1](torch.nn.functional.gelu(block.mlp.layers[0](block.norm2(branch))))
    assert float((whole - before).abs().max()) > 1e-3
    assert torch.allclose(quick, whole, atol=1e-4)
    assert torch.allclose(got, branch + mlp + adapter(branch), atol=1e-6)


def test_a_copy_has_adapters_of_its_own(weights: dict[str, Path]) -> None:
    """As the mean of the weights is one, which is validated."""
    network, _ = load_sansa(weights["sam2"], weights["sansa"])
    twin, image = deepcopy(network), support().image
    with torch.no_grad():
        before = network.segmenter.encode(image).embedding
        for value in twin.adapters.parameters():
            value.zero_()
        assert torch.equal(network.segmenter.encode(image).embedding, before)
        plain = load_sam(Sam2, weights["sam2"]).encode(image).embedding
        assert torch.equal(twin.segmenter.encode(image).embedding, plain)


def test_object_scores_are_left_out(weights: dict[str, Path]) -> None:
    segmenter, _ = open_sam2(weights["sam2"])
    assert any(key.startswith(OBJECT_SCORES) for key in load_state(weights["sam2"]))
    assert not any(key.startswith(OBJECT_SCORES) for key in segmenter.model.state_dict())
    assert not segmenter.config.pred_obj_scores and Sam2Config("x").pred_obj_scores


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.3, 0.8, 0.125, 0.3157])
def test_published_adapters_load_and_say_their_factor(
    published: dict[str, Path], tmp_path: Path, factor: float
) -> None:
    path = tmp_path / "adapter.pth"
    torch.save({"model": {f"module.{k}": v for k, v in published_adapters(OLD, factor).items()}}, path)
    network, saved = load_sansa(published["sam2"], path)
    assert saved is None
    block = network.segmenter.encoder_blocks()[3]
    assert int(block.dim * network.config.factor) == int(block.dim * factor)
    if factor in (0.3, 0.8):
        assert network.config.factor == factor


def test_a_training_checkpoint_of_the_authors_runs(published: dict[str, Path]) -> None:
    model = Sansa(weights=published)
    got = {
        f"sam.image_encoder.trunk.blocks.{k.replace('.', '.adapter.', 1)}" for k in model.model.adapters.state_dict()
    }
    assert got == set(published_adapters(OLD))
    assert sum(bool(torch.any(p.mask)) for p in model.segment([support()], Clip(2), seed=0)) <= 2
    assert "person" in model.info.training_categories and "lvis:train" in model.info.training_data
    told = Sansa(weights=published, trained_on="coco-20i:0").info
    assert "person" not in told.training_categories and "bicycle" in told.training_categories
    assert told.training_data == ("coco2014:train", "sa-v:train", "sa-1b:train")


def test_published_adapters_that_do_not_fit(
    published: dict[str, Path], weights: dict[str, Path], tmp_path: Path
) -> None:
    path, state = tmp_path / "adapter.pth", published_adapters(OLD)

    def refused(message: str, content: Any, sam2: Path = published["sam2"]) -> None:
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message) as error:
            load_sansa(sam2, path)
        assert "\n" not in str(error.value)

    last = "sam.image_encoder.trunk.blocks.4.adapter.up_proj.bias"
    refused("1 missing: 4.up_proj.bias", {"model": {k: v for k, v in state.items() if k != last}})
    refused("1 unknown: sam.other", {"model": {**state, "sam.other": torch.ones(1)}})
    refused("1 of another shape: 4.up_proj.bias", {"model": {**state, last: torch.ones(3)}})
    wide = {k: v for k, v in published_adapters(OLD, 0.8).items() if ".2.adapter.down" in k}
    refused("fit no one factor", {"model": {**state, **wide}})
    other = {"sam.image_encoder.weight": torch.ones(1)}
    refused("no SANSA adapters", {"model": other})
    first = "sam.image_encoder.trunk.blocks.2.adapter.down_proj.weight"
    refused("no SANSA adapters for tiny-old: block 2", {"model": {k: v for k, v in state.items() if k != first}})
    refused("holds code or objects", {"model": state, "args": Path("/")})
    refused("do not belong to a SAM 2.1", {"model": state}, weights["sam2"])
    # What is wrong with the adapters' own file comes first.
    refused("no SANSA adapters", {"model": other}, weights["sam2"])
    refused("holds code or objects", {"model": state, "args": Path("/")}, weights["sam2"])


def test_own_files_belong_to_their_sam2(weights: dict[str, Path], published: dict[str, Path], tmp_path: Path) -> None:
    model = Sansa(weights=weights)
    assert model.info.training_categories == ("car",) and model.info.training_data == ("sa-v:train", "sa-1b:train")
    assert {"car", "person"} < set(Sansa(weights=weights, trained_on="coco").info.training_categories)
    with pytest.raises(UsageError, match="no training 'cocos'"):
        Sansa(weights=weights, trained_on="cocos")
    with pytest.raises(WeightsError, match="another SAM 2 than"):
        Sansa(weights={**weights, "sam2": published["sam2"]})
    torch.manual_seed(9)
    network, odd = SansaNetwork(open_sam2(weights["sam2"])[0], SansaConfig()), tmp_path / "odd.safetensors"
    save_head(odd, "pfenet", network.config, network.adapters, backbone_sha256="")
    with pytest.raises(WeightsError, match="these are pfenet weights"):
        Sansa(weights={**weights, "sansa": odd})
    config = SansaConfig(0.5)
    save_head(odd, KIND, config, network.adapters, backbone_sha256=open_sam2(weights["sam2"])[1])
    with pytest.raises(WeightsError, match="of another shape"):
        Sansa(weights={**weights, "sansa": odd})
    with pytest.raises(UsageError, match="factor of SANSA's configuration"):
        SansaConfig(factor=0.0)
    with pytest.raises(UsageError, match="without a channel"):
        SansaNetwork(open_sam2(weights["sam2"])[0], SansaConfig(factor=0.001))


# ---- prompts ---------------------------------------------------------------------------------------------------------


def test_masks_are_where_the_filter_reaches_them(weights: dict[str, Path]) -> None:
    tracker = sansa_tracker(open_sam2(weights["sam2"])[0])
    mask = np.zeros((128, 128), bool)
    mask[64, 64] = True
    prompt = support_prompt([mask, mask], "mask", tracker, [])
    assert prompt.masks is not None and tuple(prompt.masks.shape) == (2, 1, 64, 64)
    assert float(prompt.masks[0].sum()) > 1  # at half, none would be left


def test_points_and_scribbles_lie_inside() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:30, 10:20] = mask[5:12, 10:50] = True
    for draw in (points_of, scribble_of):
        points = draw(mask, np.random.default_rng(0))
        assert points.shape == (20, 2) and mask[points[:, 1].astype(int), points[:, 0].astype(int)].all()
        assert np.array_equal(points, draw(mask, np.random.default_rng(0)))
    assert len({tuple(p) for p in points_of(mask, np.random.default_rng(0))}) == 20
    mask[:] = False
    mask[3, 4] = True
    for draw in (points_of, scribble_of):
        assert (draw(mask, np.random.default_rng(0)) == (4, 3)).all()


def test_the_box_is_that_of_the_largest_part() -> None:
    mask = np.zeros((40, 60), bool)
    mask[2:4, 2:4] = mask[10:20, 30:50] = True
    assert box_of(mask).tolist() == [30, 10, 50, 20]
    mask[19:25, 50:52] = True  # touches by an edge
    assert box_of(mask).tolist() == [30, 10, 52, 25]
    mask[:] = False
    mask[0:30, 0] = mask[29, 0:30] = True
    mask[5:10, 5:10] = True  # apart, in the other's box
    assert box_of(mask).tolist() == [0, 0, 30, 30]


@pytest.mark.parametrize("prompt", ["point", "box", "scribble"])
def test_other_prompts(weights: dict[str, Path], prompt: Any) -> None:
    model = Sansa(weights=weights, prompt=prompt)
    first, again, other = ([p.score for p in model.segment([support()], Clip(2), seed=seed)] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0], other[0]) == (prompt == "box")


# ---- the plugin ------------------------------------------------------------------------------------------------------


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: Sansa(weights=weights))
    assert not [f for f in findings if f.status == "failed"]


def test_later_supports_are_recent_memories(weights: dict[str, Path]) -> None:
    model = Sansa(weights=weights)
    bank = model.fit([support(seed=n) for n in range(3)], seed=0)
    assert bank is not None and list(bank.prompted) == [0] and list(bank.tracked) == [1, 2] and bank.num_frames == 0
    assert bank.tracked[1]["maskmem_features"].dtype == torch.float32
    one, two = (
        model.predict(model.fit([support(seed=a), support(seed=b)], seed=0), Clip(1)[0]) for a, b in ((1, 2), (2, 1))
    )
    assert not torch.equal(one.score, two.score)  # their order counts


def test_an_image_leaves_the_supports_as_they_were(weights: dict[str, Path]) -> None:
    model = Sansa(weights=weights)
    fitted, image = model.fit([support()] * 8, seed=0), Clip(1)[0]
    first = model.predict(fitted, image)
    assert torch.equal(first.score, model.predict(fitted, image).score)
    (video,) = model.segment([support()] * 8, Clip(1), seed=0)
    assert torch.equal(first.mask, video.mask)


def test_empty_masks_are_answered_empty(weights: dict[str, Path]) -> None:
    model, clip, seen = Sansa(weights=weights), Clip(2), support()
    assert model.fit([blank(seen)], seed=0) is None and not model.predict(None, clip[0]).mask.any()
    assert not any(p.mask.any() for p in model.segment([blank(seen)], clip, seed=0))
    with_blank = [p.score for p in model.segment([blank(seen), seen], clip, seed=0)]
    assert all(torch.equal(a, b.score) for a, b in zip(with_blank, model.segment([seen], clip, seed=0), strict=True))


def test_sets_of_supports_share_the_frames(weights: dict[str, Path]) -> None:
    model, clip = Sansa(weights=weights), Clip(5)
    one, two = support(seed=1), support(seed=2)
    sets = [[one], [two, one], [blank(one)], [two]]
    calls: list[int] = []
    encode = model.tracker.segmenter.encode_batch
    model.tracker.segmenter.encode_batch = lambda images: calls.append(len(images)) or encode(images)  # type: ignore[method-assign]
    together = list(model.segment_many(sets, clip, seeds=[0] * 4))
    assert sum(calls) == 5 + 2 + 2  # frames, then the images of the sets of one, and of the set of two
    model.tracker.segmenter.encode_batch = encode  # type: ignore[method-assign]
    for number, supports in enumerate(sets):
        alone = list(model.segment(supports, clip, seed=0))
        for mine, theirs in zip(alone, together, strict=True):
            assert np.array_equal(mine.to_numpy(), theirs[number].to_numpy())


def test_memory_is_flat(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 300 frames the tensors that the bank holds are as many as after 30."""
    model = Sansa(weights=weights)
    held: list[int] = []
    step = model.tracker.step

    def counting(bank: Any, *args: Any, **named: Any) -> Any:
        frame = step(bank, *args, **named)
        outputs = [*bank.prompted.values(), *bank.tracked.values()]
        held.append(sum(value is not None for output in outputs for value in output.values()))
        return frame

    monkeypatch.setattr(model.tracker, "step", counting)
    for _ in model.segment([support(seed=1), support(seed=2)], Clip(300), seed=0):
        pass
    assert len(held) == 302 and max(held) == held[-1] == held[30]


# ---- training --------------------------------------------------------------------------------------------------------


def task(weights: dict[str, Path], **options: Any) -> SansaTask:
    values = {"image_size": 48, "length": 4, **options}
    return SansaTask(weights={k: v for k, v in weights.items() if k != "sansa"}, **group_options(SansaTask, values))


def trainer(task: SansaTask, out: Path, **changes: Any) -> Trainer:
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"epochs": 9, "batch": 2, "lr": 1e-3, "validate_every": 0, "max_steps": 4, **changes}
    return Trainer(task, Settings(**values), ALONE, out, say=lambda line: None)


def test_authors_settings(weights: dict[str, Path]) -> None:
    own = SansaTask(weights={"sam2": weights["sam2"]})
    settings = own.defaults()
    assert (settings.lr, settings.weight_decay, settings.epochs, settings.clip) == (1e-4, 0.0, 5, 0.1)
    assert settings.batch * settings.accumulate == 32
    assert (own.config.factor, own.config.image_size) == (0.3, 640)
    model = own.model()
    set_training_mode(model)
    # The authors' training leaves the frozen memory attention's dropout on.
    assert model.segmenter.model.memory_attention.layers[0].dropout1.training
    assert not model.segmenter.model.sam_mask_decoder.training
    still = task(weights, dropout=False).model()
    set_training_mode(still)
    assert not still.segmenter.model.memory_attention.layers[0].dropout1.training
    with pytest.raises(UsageError, match="sansa needs a SAM 2"):
        SansaTask().model()


def test_only_the_adapters_are_trained_and_the_loss_falls(tmp_path: Path) -> None:
    save_sam(tmp_path / "sam2.safetensors", tiny_sam2(embed_dim=64))
    own = task({"sam2": tmp_path / "sam2.safetensors"}, length=1, dropout=False)
    own._opened["train"] = OnePair(own.train_examples())
    before = {k: v.clone() for k, v in own.model().segmenter.model.state_dict().items() if "adapter" not in k}
    run = trainer(own, tmp_path / "run", max_steps=15, epochs=15, batch=1, lr=0.03)
    assert sum(p.numel() for p in run.parameters) == count_parameters(run.model.adapters)
    run.fit()
    values = [float(value) for _, value in losses(tmp_path / "run")]
    assert values[-1] < 0.6 * values[0]
    after = run.model.segmenter.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("prompt", ["point", "box", "scribble"])
def test_a_thing_that_the_square_lost_trains_on(weights: dict[str, Path], prompt: str) -> None:
    own = task(weights, prompt=prompt)
    pairs = [own.train_examples().get(0, index) for index in range(2)]
    (support,) = pairs[1].supports
    pairs[1] = replace(pairs[1], supports=(support._replace(mask=torch.zeros_like(support.mask)),))
    loss, _ = own.loss(own.model(), own.collate(pairs))
    assert bool(loss.isfinite())


@pytest.mark.parametrize("prompt", ["mask", "multi"])
def test_a_stopped_run_goes_on_to_the_same_end(weights: dict[str, Path], tmp_path: Path, prompt: str) -> None:
    trainer(task(weights, prompt=prompt), tmp_path / "whole").fit()
    first = trainer(task(weights, prompt=prompt), tmp_path / "parts")
    first.progress = lambda step, steps, values: signal.raise_signal(signal.SIGTERM) if step == 2 else None
    with pytest.raises(TrainingStopped, match="saved at step 2 of 4"):
        first.fit()
    trainer(task(weights, prompt=prompt), tmp_path / "parts").fit()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    ends = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("whole", "parts")]
    assert ends[0] == ends[1]


def test_trained_files_are_run_and_gone_on_from(weights: dict[str, Path], tmp_path: Path) -> None:
    root = coco(tmp_path / "coco", many(("bicycle", "car", "dog", "person"), 24), images=24, split="train2014")
    run = trainer(
        task(weights, data="coco-20i", root=root, min_area=50), tmp_path / "run", max_steps=2, validate_every=1
    )
    assert run.fit()["best_mIoU"] is not None
    place = tmp_path / "run" / "last.safetensors"
    model = Sansa(weights={**weights, "sansa": place})
    assert "car" in model.info.training_categories and "person" not in model.info.training_categories
    again = SansaTask(weights={**weights, "sansa": place}, factor=0.8)
    assert again.config.factor == 0.3
    for name, value in run.model.adapters.state_dict().items():
        assert torch.equal(model.model.adapters.state_dict()[name], value)
        assert torch.equal(again.model().adapters.state_dict()[name], value)
    assert read_head(place, KIND).metadata["sam2"] == "tiny-test"
    torch.manual_seed(4)
    other = tmp_path / "other.safetensors"
    save_sam(other, build_sam(Sam2, TINY_SAM2))
    with pytest.raises(WeightsError, match="another SAM 2 than"):
        SansaTask(weights={"sam2": other, "sansa": place}).model()
