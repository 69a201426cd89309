"""VRP-SAM: each step on hand-made features against loops, its training on tiny models, files that do not fit."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sam_tiny
import torch
from fewshot_trees import coco, many
from quick_layers import counted
from tiny_heads import CHANNELS, SMALL, OnePair, head_file, tiny_backbone, tiny_backbone_file, tiny_pfenet, tiny_vrp
from tiny_weights import tiny_sam2, tiny_sam2_file
from training_logs import losses

from baselines.heads import (
    backbone_digest,
    each_prior,
    grid_mask,
    joined,
    masked_mean,
    open_backbone,
    read_head,
)
from baselines.vrp_sam.model import VRPConfig, VRPEncoder, VRPSam, filled_boxes, open_vrp
from baselines.vrp_sam.plugin import VrpSam
from baselines.vrp_sam.train import VrpTask
from icvos import Support
from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.construct import count_parameters
from icvos.foundation.load import open_segmenter, save_sam
from icvos.foundation.position import sine_position
from icvos.foundation.trainings import training_of
from icvos.foundation.weights import save_state
from icvos.models.check import check_model
from icvos.models.options import group_options
from icvos.models.registry import create
from icvos.runs.environment import describe_model
from icvos.training.distribute import World
from icvos.training.loop import Trainer, TrainingStopped
from icvos.training.task import Settings

ALONE = World(0, 1, torch.device("cpu"))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vrp")
    head = head_file(folder / "vrp.safetensors", "vrp-sam", tiny_vrp(), metadata={"training_categories": ["car"]})
    return {"vrp-sam": head, "backbone": tiny_backbone_file(folder), "sam": tiny_sam2_file(folder)}


def whole() -> VRPSam:
    return VRPSam(tiny_vrp(), tiny_backbone(), tiny_sam2()).eval()


def supports(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    masks = torch.zeros(count, 64, 64, dtype=torch.bool)
    for number in range(count):
        masks[number, 8 + 4 * number : 40, 16 : 48 - 4 * number] = True
    return draw(count, 3, 64, 64, seed=seed), masks


# ---- the parts, against loops ----------------------------------------------------------------------------------------


# With ResNet-50 as in the authors' log; with VGG-16-bn 768 channels are projected instead of 1536.
@pytest.mark.parametrize(
    ("backbone", "channels", "count"), [("resnet50", 1536, 1_592_064), ("vgg16_bn", 768, 1_395_456)]
)
def test_learned_parameters(backbone: str, channels: int, count: int) -> None:
    assert count_parameters(VRPEncoder(VRPConfig(backbone=backbone), channels)) == count


def test_prototype_is_the_mean_inside_with_a_little_more_area() -> None:
    features, mask = draw(2, 3, 4, 5), (draw(2, 1, 4, 5, seed=1) > 0).float()
    for sample in range(2):
        inside = [(y, x) for y in range(4) for x in range(5) if mask[sample, 0, y, x]]
        total = sum(features[sample, :, y, x] for y, x in inside)
        torch.testing.assert_close(masked_mean(features, mask)[sample, :, 0, 0], total / (len(inside) + 0.0005))
    assert masked_mean(features, torch.zeros_like(mask)).abs().max() == 0


def test_prior_is_the_greatest_cosine_to_each_support() -> None:
    query, shown, mask = draw(2, 4, 3, 3), draw(4, 4, 3, 3, seed=1), (draw(4, 1, 3, 3, seed=2) > 0).float()
    priors = each_prior(query, shown, mask)
    assert priors.shape == (2, 2, 1, 3, 3)
    for sample in range(2):
        for shot in range(2):
            number = 2 * sample + shot
            for y in range(3):
                for x in range(3):
                    a = query[sample, :, y, x]
                    cosines = []
                    for v in range(3):
                        for u in range(3):
                            b = shown[number, :, v, u] * mask[number, 0, v, u]
                            cosines.append(float(a @ b / (a.norm() * b.norm() + 1e-7)))
                    assert float(priors[sample, shot, 0, y, x]) == pytest.approx(max(cosines), abs=1e-5)


def test_maps_are_joined_on_the_deep_grid() -> None:
    features = BackboneFeatures(draw(1, 2, 8, 8), draw(1, 3, 4, 4))
    maps = joined(features)
    assert maps.shape == (1, 5, 4, 4) and torch.equal(maps[:, 2:], features.deep)
    assert torch.equal(maps[0, :2, 0, 0], features.middle[0, :, 0, 0])  # aligned corners
    assert torch.equal(maps[0, :2, -1, -1], features.middle[0, :, -1, -1])


def test_a_thing_smaller_than_a_cell_keeps_the_cell_it_covers_most() -> None:
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[0, 13, 5:7] = True  # no place that nearest looks at
    masks[1, 8:, 8:] = True
    small = grid_mask(masks, torch.Size((4, 4)), "nearest")
    assert small[0].nonzero().tolist() == [[0, 3, 1]]
    assert torch.equal(small[1, 0], masks[1, ::4, ::4].float())
    assert small[2].sum() == 0
    soft = grid_mask(masks, torch.Size((4, 4)), "bilinear")
    assert float(soft[0].sum()) == 1 and 0 < float(soft[1, 0, 2, 2]) <= 1


def test_merging_joins_features_prototype_and_scaled_plane() -> None:
    head = tiny_vrp(width=4, heads=1)
    projected, prototype, plane = draw(1, 4, 3, 3), draw(1, 4, 1, 1, seed=1), draw(1, 1, 3, 3, seed=2)
    merged = head.merged(projected, prototype, plane)
    kernel = head.merge[0].weight[:, :, 0, 0]
    for y in range(3):
        for x in range(3):
            column = torch.cat((projected[0, :, y, x], prototype[0, :, 0, 0], 10 * plane[0, :, y, x]))
            torch.testing.assert_close(merged[0, :, y, x], (kernel @ column).relu())


def _attend(block: Any, tokens: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention, the sum and the norm, head by head."""
    attention, width = block.attention, tokens.shape[1]
    q, k, v = (
        x @ w.T + b
        for x, w, b in zip((tokens, key, value), attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3))
    )
    parts = []
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        scores = (q[:, part] @ k[:, part].T / math.sqrt(width // heads)).softmax(dim=1)
        parts.append(scores @ v[:, part])
    out = torch.cat(parts, dim=1) @ attention.out_proj.weight.T + attention.out_proj.bias
    return torch.nn.functional.layer_norm(tokens + out, (width,), block.norm.weight, block.norm.bias)


def test_tokens_look_at_the_support_themselves_the_query_themselves() -> None:
    head = tiny_vrp(width=8, heads=2)
    support, query = draw(1, 8, 3, 4), draw(1, 8, 3, 4, seed=1)
    place = sine_position(3, 4, 8)
    tokens = head.queries.weight
    for block, maps in (
        (head.from_support, support),
        (head.among_support, None),
        (head.from_query, query),
        (head.among_query, None),
    ):
        value = tokens if maps is None else maps[0].flatten(1).T
        key = value if maps is None else value + place
        tokens = _attend(block, tokens, key, value, 2)
    torch.testing.assert_close(head.tokens(support, query)[0], tokens, atol=1e-5, rtol=1e-5)


def test_sine_positions_are_those_of_detr() -> None:
    place = sine_position(2, 3, 8).view(2, 3, 8)
    for y in range(2):
        for x in range(3):
            for half, (at, count) in enumerate(((y, 2), (x, 3))):
                angle = 2 * math.pi * (at + 1) / count
                for pair in range(2):
                    turned = angle / 10000 ** (2 * pair / 4)
                    expected = (math.sin(turned), math.cos(turned))
                    found = place[y, x, 4 * half + 2 * pair : 4 * half + 2 * pair + 2]
                    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_supports_are_merged_with_their_masks_and_queries_with_their_priors() -> None:
    model = whole()
    pixels, masks = supports(1)
    state = model.encode_supports(pixels, masks)
    features = model.backbone(pixels)
    mask = masks[:, None, ::8, ::8].float()
    assert torch.equal(state.mask, mask)
    torch.testing.assert_close(state.top * mask, model.backbone.layer4(features.deep * mask) * mask)
    projected = model.head.project(joined(features))
    torch.testing.assert_close(state.merged, model.head.merged(projected, masked_mean(projected, mask), mask))
    image = draw(1, 3, 64, 64, seed=5)
    query = model.backbone(image, top=True)
    assert query.top is not None
    prior = each_prior(query.top, state.top, mask)[:, 0]
    merged = model.head.merged(model.head.project(joined(query)), state.prototype, prior)
    torch.testing.assert_close(model.tokens(state, image), model.head.tokens(state.merged, merged))


def test_several_supports_give_their_tokens_side_by_side() -> None:
    model = whole()
    pixels, masks = supports(4)
    images = draw(2, 3, 64, 64, seed=5)
    tokens = model.tokens(model.encode_supports(pixels, masks), images)
    assert tokens.shape == (2, 2 * 4, 64)
    for number in range(4):
        alone = model.encode_supports(pixels[number : number + 1], masks[number : number + 1])
        expected = model.tokens(alone, images[number // 2 : number // 2 + 1])[0]
        start = 4 * (number % 2)
        torch.testing.assert_close(tokens[number // 2, start : start + 4], expected, atol=1e-5, rtol=1e-5)


def test_tokens_are_the_only_sparse_prompt() -> None:
    model = whole()
    tokens, image = draw(1, 4, 64), draw(1, 3, 64, 64, seed=5)
    features = model.encode_sam(image)
    sam: Any = model.segmenter.model
    dense = sam.sam_prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 4, 4)
    logits, *_ = sam.sam_mask_decoder(
        image_embeddings=features.embedding,
        image_pe=sam.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=tokens,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        repeat_image=False,
        high_res_features=list(features.high_res),
    )
    expected = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(model.decode(features, tokens), expected)


def test_a_box_prompt_is_the_filled_box() -> None:
    masks = torch.zeros(2, 6, 7, dtype=torch.bool)
    masks[0, 1, 5] = masks[0, 3, 2] = True
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[1:4, 2:6] = True
    assert torch.equal(filled_boxes(masks)[0], expected) and not filled_boxes(masks)[1].any()


# ---- the plugin ------------------------------------------------------------------------------------------------------


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: VrpSam(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


def test_mask_comes_back_at_the_images_size(weights: dict[str, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 90, 3)).astype(np.uint8)
    mask = np.zeros((40, 90), bool)
    mask[5:20, 30:60] = True
    model = VrpSam(weights=weights)
    found = model.predict(model.fit([Support(image, mask)], seed=0), image)
    assert tuple(found.mask.shape) == (40, 90) and torch.equal(found.mask, found.score > 0)
    boxed = VrpSam(weights=weights, prompt="box")
    hollow = mask.copy()
    hollow[6:19, 31:59] = False
    hollow_box, box, hollow_mask = (
        each.fit([Support(image, shown)], seed=0).mask
        for each, shown in ((boxed, hollow), (boxed, mask), (model, hollow))
    )
    assert torch.equal(hollow_box, box) and not torch.equal(hollow_mask, box)
    assert model.fit([Support(image, np.zeros_like(mask))], seed=0) is None
    assert model.info.training_categories == ("car",) and VrpSam.info.training_categories == ()


def test_found_by_name_and_lifted(weights: dict[str, Path]) -> None:
    lifted = create("vrp-sam+sam2", weights={**weights, "tracker": weights["sam"]})
    assert lifted.info.name == "vrp-sam+sam2"


# ---- files -----------------------------------------------------------------------------------------------------------


def test_half_precision_computes_in_single(weights: dict[str, Path], tmp_path: Path) -> None:
    path = head_file(tmp_path / "half.safetensors", "vrp-sam", tiny_vrp(), half=True)
    model, _ = open_vrp(path, weights["backbone"], open_segmenter(weights["sam"]))
    assert {p.dtype for p in model.head.parameters()} == {torch.float32}
    for own, other in zip(model.head.parameters(), tiny_vrp().parameters()):
        torch.testing.assert_close(own, other, atol=1e-3, rtol=1e-3)


def test_wrong_weights_say_so(weights: dict[str, Path], tmp_path: Path) -> None:
    def fails(match: str, **changes: Path) -> None:
        with pytest.raises(WeightsError, match=match):
            VrpSam(weights={**weights, **changes})

    fails("no vrp-sam weights.*that 'icvos train vrp-sam' wrote", **{"vrp-sam": weights["backbone"]})
    other = head_file(tmp_path / "pfenet.safetensors", "pfenet", tiny_pfenet())
    fails("these are pfenet weights", **{"vrp-sam": other})
    wide = head_file(tmp_path / "wide.safetensors", "vrp-sam", tiny_vrp(width=32))
    fails("tokens have 32 channels, tiny-test's prompts 64", **{"vrp-sam": wide})
    large = head_file(tmp_path / "large.safetensors", "vrp-sam", tiny_vrp(), metadata={"sam": "vit_h"})
    fails("trained with the SAM vit_h, and tiny-test was given", **{"vrp-sam": large})
    strange = tiny_backbone(seed=9).state_dict()
    save_state(tmp_path / "strange.safetensors", strange)
    fails("another backbone than vrp.safetensors was trained on", backbone=tmp_path / "strange.safetensors")
    fails("backbone checkpoint misses", backbone=weights["sam"])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights["vrp-sam"].read_bytes()[:-40])
    fails("truncated", **{"vrp-sam": cut})
    encoder = tiny_vrp()
    del encoder.queries
    fails("1 missing: queries.weight", **{"vrp-sam": head_file(tmp_path / "part.safetensors", "vrp-sam", encoder)})
    evil = tmp_path / "evil.pt"
    torch.save({"x": print}, evil)
    fails("refused", backbone=evil)


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a training starts from: the backbone at the size that ``small`` has by itself, and a SAM."""
    folder = tmp_path_factory.mktemp("files")
    return {"backbone": tiny_backbone_file(folder, options={}), "sam": tiny_sam2_file(folder)}


def task(files: dict[str, Path], **options: Any) -> VrpTask:
    values = {"backbone": "small", "image_size": 64, "queries": 4, "length": 4, **options}
    return VrpTask(weights=files, **group_options(VrpTask, values))


def trainer(task: VrpTask, out: Path, **changes: Any) -> Trainer:
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"epochs": 9, "batch": 2, "lr": 1e-3, "validate_every": 0, "max_steps": 4, **changes}
    return Trainer(task, Settings(**values), ALONE, out, say=lambda line: None)


def test_authors_settings() -> None:
    settings = VrpTask().defaults()
    assert (settings.lr, settings.weight_decay, settings.epochs, settings.batch) == (1e-4, 1e-6, 50, 2)
    assert settings.warmup == 0 and VrpTask().rate(5, 10, settings) == pytest.approx(0.5)


def test_only_the_encoder_is_trained_and_the_loss_falls(files: dict[str, Path], tmp_path: Path) -> None:
    # A frozen decoder with random weights can draw little: one whose branches all matter, and a modest fall.
    save_sam(tmp_path / "shaken.safetensors", sam_tiny.tiny_sam2())
    own = task({**files, "sam": tmp_path / "shaken.safetensors"}, length=1, dropout=0.0)
    before = {name: value.clone() for name, value in own.model().state_dict().items()}

    own._opened["train"] = OnePair(own.train_examples())
    run = trainer(own, tmp_path / "run", max_steps=31, epochs=31, batch=1, lr=1e-2)
    assert sum(p.numel() for p in run.parameters) == count_parameters(run.model.head)
    run.fit()
    values = [float(value) for _, value in losses(tmp_path / "run")]
    assert values[0] > values[10] > values[20] > values[30] and values[30] < 0.95 * values[0]
    for name, value in run.model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("sam", [1, 2])
def test_a_step_has_what_is_frozen_from_the_fast_layers(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sam: int
) -> None:
    save_sam(tmp_path / "sam.safetensors", sam_tiny.tiny_sam1() if sam == 1 else sam_tiny.tiny_sam2())
    run = trainer(task({**files, "sam": tmp_path / "sam.safetensors"}), tmp_path / "run", max_steps=1)
    calls = counted(monkeypatch)
    run.fit()
    assert calls["vit_in_pieces" if sam == 1 else "hiera_in_pieces"] and calls["_CONVOLUTION"]


def test_trained_files_are_run_and_gone_on_from(files: dict[str, Path], tmp_path: Path) -> None:
    own = task(files)
    run = trainer(own, tmp_path / "run", max_steps=2)
    run.fit()
    place = tmp_path / "run" / "last.safetensors"
    model = VrpSam(weights={**files, "vrp-sam": place})
    for name, value in run.model.head.state_dict().items():
        assert torch.equal(model.model.head.state_dict()[name], value)
    training = training_of(place)
    assert training is not None and training["kept"] == "last"
    assert read_head(place, "vrp-sam").metadata == {
        "training": training,
        "data": "demo",
        "fold": 0,
        "prompt": "mask",
        "sam": "tiny-test",
        "training_data": ["icvos demo:train"],
        "training_categories": [],
    }
    again = task({**files, "vrp-sam": place}, queries=9).model()  # the file's own sizes count
    assert again.head.config.queries == 4
    torch.testing.assert_close(again.head.queries.weight, run.model.head.queries.weight)


def test_a_stopped_run_goes_on_to_the_same_end(files: dict[str, Path], tmp_path: Path) -> None:
    trainer(task(files), tmp_path / "whole").fit()
    first = trainer(task(files), tmp_path / "parts")
    first.progress = lambda step, steps, values: signal.raise_signal(signal.SIGTERM) if step == 2 else None
    with pytest.raises(TrainingStopped, match="saved at step 2 of 4"):
        first.fit()
    trainer(task(files), tmp_path / "parts").fit()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    ends = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("whole", "parts")]
    assert ends[0] == ends[1]


def test_coco_pairs_train_and_name_their_categories(files: dict[str, Path], tmp_path: Path) -> None:
    root = coco(tmp_path / "coco", many(("bicycle", "car", "dog", "person"), 24), images=24, split="train2014")
    own = task(files, data="coco-20i", root=root, min_area=50)
    run = trainer(own, tmp_path / "run", max_steps=1, validate_every=1)
    assert run.fit()["best_mIoU"] is not None
    found = read_head(tmp_path / "run" / "best.safetensors", "vrp-sam").metadata
    assert found["training_data"] == ["coco2014:train"]
    assert "car" in found["training_categories"] and "person" not in found["training_categories"]
    # What a head saw stays with it when it goes on, elsewhere too.
    on = task({**files, "vrp-sam": tmp_path / "run" / "best.safetensors"})
    after = on.trained_on()
    assert after["training_data"] == ["coco2014:train", "icvos demo:train"]
    assert after["training_categories"] == found["training_categories"]


def test_what_is_missing_is_said(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a SAM or SAM 2"):
        VrpTask(weights={"backbone": files["backbone"]}, backbone="small").model()
    with pytest.raises(UsageError, match="needs a trained backbone"):
        task({"sam": files["sam"]}).model()
    with pytest.raises(UsageError, match="needs the raw data"):
        task(files, data="coco-20i").train_examples()


def test_backbone_files_of_several_kinds_are_one(tmp_path: Path) -> None:
    own = open_backbone("small", SMALL, tiny_backbone_file(tmp_path))
    assert backbone_digest(own) == backbone_digest(tiny_backbone())
    half = {name: v.half() if v.is_floating_point() else v for name, v in own.state_dict().items()}
    torch.save({"state_dict": {f"module.{name}": value for name, value in half.items()}}, tmp_path / "half.pt")
    assert backbone_digest(open_backbone("small", SMALL, tmp_path / "half.pt")) == backbone_digest(own)
    assert sum(own.channels) == CHANNELS


@pytest.mark.slow
def test_a_training_tells_its_seed_to_the_run(files: dict[str, Path], tmp_path: Path) -> None:
    changes = {"one": {}, "two": {"seed": 2}, "slow": {"lr": 1e-4}}
    for name, each in changes.items():
        trainer(task(files), tmp_path / name, max_steps=1, validate_every=1, **each).fit()
    one, two, slow = (training_of(tmp_path / name / "last.safetensors") or {} for name in changes)
    assert (one["seed"], two["seed"], one["kept"]) == (0, 2, "last")
    assert one["settings"] == two["settings"] != slow["settings"]
    # What goes on from trainings of one method is of one method itself; the best weights are not the last ones.
    best = training_of(tmp_path / "one" / "best.safetensors") or {}
    assert best["kept"] == "best" and best["settings"] != one["settings"]
    for name in ("one", "two", "slow"):
        start = {**files, "vrp-sam": tmp_path / name / "last.safetensors"}
        trainer(task(start), tmp_path / f"{name}-on", max_steps=1).fit()
    on = [(training_of(tmp_path / f"{name}-on" / "last.safetensors") or {})["settings"] for name in changes]
    assert on[0] == on[1] != on[2]
    model = VrpSam(weights={**files, "vrp-sam": tmp_path / "two" / "last.safetensors"})
    assert describe_model(model, {}, kind="image")["trainings"] == {"vrp-sam": two}
