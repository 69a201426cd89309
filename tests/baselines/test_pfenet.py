"""PFENet: each step on hand-made features against loops, augmentation, training on tiny models, wrong files."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fewshot_trees import coco, many
from quick_layers import counted
from tiny_heads import OnePair, head_file, tiny_backbone, tiny_backbone_file, tiny_pfenet, tiny_vrp
from tiny_weights import tiny_sam2_file
from training_logs import losses

from baselines.heads import each_prior, joined, masked_mean, read_head
from baselines.pfenet.data import IGNORE, Augmentation, Crop, augmented
from baselines.pfenet.model import PFENet, PFENetConfig, PFENetHead, pfenet_loss, unit_range
from baselines.pfenet.plugin import PfeNet, squared_up
from baselines.pfenet.train import PfeNetTask
from icvos import Support
from icvos.data.options import PairOptions
from icvos.datasets import PairDataset
from icvos.errors import WeightsError
from icvos.foundation.construct import count_parameters
from icvos.models.check import check_model
from icvos.models.options import group_options
from icvos.models.registry import create
from icvos.training.distribute import World
from icvos.training.frozen import set_training_mode
from icvos.training.loop import Trainer, TrainingStopped
from icvos.training.task import Settings

ALONE = World(0, 1, torch.device("cpu"))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pfenet")
    head = head_file(folder / "pfenet.safetensors", "pfenet", tiny_pfenet())
    return {"pfenet": head, "backbone": tiny_backbone_file(folder)}


def whole(**changes: Any) -> PFENet:
    return PFENet(tiny_pfenet(**changes), tiny_backbone()).eval()


def supports(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    masks = torch.zeros(count, 64, 64, dtype=torch.bool)
    for number in range(count):
        masks[number, 8 + 4 * number : 40, 16 : 48 - 4 * number] = True
    return draw(count, 3, 64, 64, seed=seed), masks


# ---- the parts, against loops ----------------------------------------------------------------------------------------


# The paper says 10.8 million; the table in the module's docstring adds up to the first.
@pytest.mark.parametrize(
    ("backbone", "channels", "count"), [("resnet50", 1536, 10_817_034), ("vgg16_bn", 768, 10_423_818)]
)
def test_learned_parameters(backbone: str, channels: int, count: int) -> None:
    head = PFENetHead(PFENetConfig(backbone=backbone), channels)
    assert count_parameters(head) == count
    if backbone == "resnet50":
        parts = {
            "of": count_parameters(head.of_query) + count_parameters(head.of_support),
            "scales": sum(count_parameters(part) for part in (head.merge, head.refine, head.sides)),
            "finer": count_parameters(head.from_finer),
            "last": count_parameters(head.together) + count_parameters(head.last),
            "head": count_parameters(head.head),
        }
        expected = {"of": 786_432, "scales": 7_605_256, "finer": 393_216, "last": 1_441_792, "head": 590_338}
        assert parts == expected


def test_each_prior_is_brought_to_the_unit_range_by_itself() -> None:
    maps = torch.stack((draw(1, 3, 4), 100 + 5 * draw(1, 3, 4, seed=1)))
    found = unit_range(maps)
    for sample in range(2):
        values = maps[sample, 0].flatten().tolist()
        low, high = min(values), max(values)
        expected = [(value - low) / (high - low + 1e-7) for value in values]
        assert found[sample, 0].flatten().tolist() == pytest.approx(expected, abs=1e-5)
    assert unit_range(torch.full((1, 1, 2, 2), 0.3)).abs().max() == 0  # nothing to tell apart: no NaN


def test_supports_count_by_the_mean_of_prototypes_and_priors() -> None:
    model = whole()
    pixels, masks = supports(4)
    image = draw(2, 3, 64, 64, seed=5)
    state = model.encode_supports(pixels, masks, shots=2)
    top = model.backbone(image, top=True).top
    assert top is not None
    prior = model.prior(state, top)
    assert state.prototype.shape == (2, 16, 1, 1) and prior.shape == (2, 1, 8, 8)
    for sample in range(2):
        alone = [
            model.encode_supports(pixels[i : i + 1], masks[i : i + 1], shots=1) for i in (2 * sample, 2 * sample + 1)
        ]
        torch.testing.assert_close(state.prototype[sample], (alone[0].prototype[0] + alone[1].prototype[0]) / 2)
        one, two = (model.prior(each, top[sample : sample + 1])[0] for each in alone)
        torch.testing.assert_close(prior[sample], (one + two) / 2)
        assert float(one.min()) == 0 and float(one.max()) == pytest.approx(1, abs=1e-4)


def test_a_support_is_seen_through_its_mask_twice() -> None:
    model = whole()
    pixels, masks = supports(1)
    masks = masks[:, :55, :55]  # 54 is no multiple of 7: soft at the border (published sizes give whole cells)
    state = model.encode_supports(pixels, masks, shots=1)
    mask = F.interpolate(masks[:, None].float(), (8, 8), mode="bilinear", align_corners=True)
    assert 0 < float(mask[mask > 0].min()) < 1  # soft at the border
    assert torch.equal(state.mask, mask)
    features = model.backbone(pixels)
    top = model.backbone.layer4(features.deep * mask)
    torch.testing.assert_close(state.top, top)
    # Deep features first, as PFENet stacks them.
    stacked = torch.cat((features.deep, features.middle), dim=1)
    torch.testing.assert_close(state.prototype, masked_mean(model.head.of_support(stacked), mask))
    query = model.backbone(draw(1, 3, 64, 64, seed=5), top=True).top
    assert query is not None
    shown, asked = (top * mask)[0].flatten(1).T, query[0].flatten(1)
    cosine = (shown @ asked) / (shown.norm(dim=1)[:, None] * asked.norm(dim=0)[None] + 1e-7)
    torch.testing.assert_close(
        model.prior(state, query)[0, 0], unit_range(cosine.amax(dim=0).view(8, 8)), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(each_prior(query, state.top, state.mask)[0, 0, 0], cosine.amax(dim=0).view(8, 8))
    assert joined(features).shape[1] == stacked.shape[1]


def test_scales_are_merged_from_fine_to_coarse() -> None:
    head = tiny_pfenet(width=4, scales=(6.0, 0.5, 0.25), dropout=0.0)
    query, prototype, prior = draw(1, 4, 8, 8), draw(1, 4, 1, 1, seed=1), draw(1, 1, 5, 5, seed=2).sigmoid()
    assert head.grids(query.shape) == [(6, 6), (4, 4), (2, 2)]
    logits, sides = head(query, prototype, prior)

    def conv(x: torch.Tensor, module: Any) -> torch.Tensor:
        return F.conv2d(x, module.weight, module.bias, padding=module.padding)

    def two_class(x: torch.Tensor, module: Any) -> torch.Tensor:
        return conv(conv(x, module[0]).relu(), module[3])

    enlarged: list[torch.Tensor] = []
    for number, side in enumerate((6, 4, 2)):
        pooled = torch.zeros(1, 4, side, side)
        for y in range(side):
            for x in range(side):
                top, bottom = 8 * y // side, -(-8 * (y + 1) // side)
                left, right = 8 * x // side, -(-8 * (x + 1) // side)
                pooled[:, :, y, x] = query[:, :, top:bottom, left:right].mean(dim=(2, 3))
        plane = F.interpolate(prior, (side, side), mode="bilinear", align_corners=True)
        parts = torch.cat((pooled, prototype.expand(1, 4, side, side), plane), dim=1)
        maps = conv(parts, head.merge[number][0]).relu()
        if number:
            before = F.interpolate(enlarged[-1], (side, side), mode="bilinear", align_corners=True)
            maps = maps + conv(torch.cat((maps, before), dim=1), head.from_finer[number - 1][0]).relu()
        maps = maps + conv(conv(maps, head.refine[number][0]).relu(), head.refine[number][2]).relu()
        torch.testing.assert_close(sides[number], two_class(maps, head.sides[number]), atol=1e-5, rtol=1e-4)
        enlarged.append(F.interpolate(maps, (8, 8), mode="bilinear", align_corners=True))
    maps = conv(torch.cat(enlarged, dim=1), head.together[0]).relu()
    maps = maps + conv(conv(maps, head.last[0]).relu(), head.last[2]).relu()
    torch.testing.assert_close(logits, two_class(maps, head.head), atol=1e-5, rtol=1e-4)


def test_published_grids() -> None:
    size = torch.Size((1, 4, 60, 60))
    assert PFENetHead(PFENetConfig(width=4), 8).grids(size) == [(60, 60), (30, 30), (15, 15), (8, 8)]
    shares = PFENetHead(PFENetConfig(width=4, scales=(1, 0.5, 0.25, 0.125)), 8)
    assert shares.grids(torch.Size((1, 4, 81, 81))) == [(81, 81), (40, 40), (20, 20), (10, 10)]


def test_loss_leaves_out_what_is_ignored() -> None:
    logits, side = draw(1, 2, 4, 4), draw(1, 2, 4, 4, seed=1)
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    truth[0, 1, 1:3], truth[0, 3] = 1, 255
    expected = []
    for each in (logits, side):
        chances = each.softmax(dim=1)
        places = [(y, x) for y in range(3) for x in range(4)]
        expected.append(-sum(float(chances[0, int(truth[0, y, x]), y, x].log()) for y, x in places) / len(places))
    main, sides = pfenet_loss(logits, [side, side], truth)
    assert (float(main), float(sides)) == pytest.approx(expected, rel=1e-5)
    assert float(pfenet_loss(logits, [side], torch.full_like(truth, 255))[0]) == 0
    logs = logits.log_softmax(dim=1)[0]
    weights = [(y, x, 5.0 if truth[0, y, x] == 1 else 1.0) for y in range(3) for x in range(4)]
    total = -sum(w * float(logs[int(truth[0, y, x]), y, x]) for y, x, w in weights) / sum(w for _, _, w in weights)
    assert float(pfenet_loss(logits, [side], truth, foreground=5.0)[0]) == pytest.approx(total, rel=1e-5)


# ---- images ----------------------------------------------------------------------------------------------------------


# (height, width, size, content): the longer side becomes the size, both are floored to a multiple of 8.
@pytest.mark.parametrize(
    ("height", "width", "size", "content"),
    [(40, 90, 64, (24, 64)), (473, 473, 473, (472, 472)), (333, 500, 473, (312, 472)), (2, 900, 64, (8, 64))],
)
def test_images_are_padded_as_in_the_published_test(height: int, width: int, size: int, content: tuple) -> None:
    image, mask = np.full((height, width, 3), 200, np.uint8), np.ones((height, width), bool)
    square, labels, found = squared_up(image, mask, size, resize="pad")
    assert found == content and square.shape == (size, size, 3)
    assert (square[: content[0], : content[1]] == 200).all() and square.sum() == 600 * content[0] * content[1]
    assert labels[: content[0], : content[1]].all() and labels.sum() == content[0] * content[1]


def test_augmentation_moves_image_and_labels_together() -> None:
    place = np.random.default_rng(0)
    image = np.zeros((90, 120, 3), np.uint8)
    labels = np.zeros((90, 120), np.uint8)
    image[30:60, 40:90], labels[30:60, 40:90] = 250, 1
    labels[:4] = IGNORE
    seen = set()
    for seed in range(20):
        pixels, found = augmented(image, labels, 80, Augmentation(), np.random.default_rng(seed))
        assert pixels.shape == (80, 80, 3) and set(np.unique(found)) <= {0, 1, IGNORE}
        inside, outside = pixels[found == 1], pixels[found == 0]
        # Only the blurred and turned border of the thing may differ.
        assert (inside > 125).mean() > 0.9 and (outside < 125).mean() > 0.97
        assert (found == 1).sum() > 0.85 * 0.81 * 1500 * 0.9  # most of the thing stays in the crop
        seen.add(found.tobytes())
    assert len(seen) > 15
    one, two = (augmented(image, labels, 80, Augmentation(), np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    small, kept = augmented(image[:50, :60], labels[:50, :60], 80, Augmentation(degrees=0), place)
    assert (kept == IGNORE).sum() > 80 * 80 - 56 * 66 and small.shape == (80, 80, 3)  # what lies outside is unknown


# ---- the plugin ------------------------------------------------------------------------------------------------------


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: PfeNet(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


def test_logits_go_back_to_the_images_own_part(weights: dict[str, Path]) -> None:
    model = PfeNet(weights=weights)
    logits = torch.zeros(1, 1, 64, 64)
    logits[..., :24, :] = torch.linspace(-1, 1, 64)
    logits[..., 24:, :] = 9  # padding
    full = model._restored(logits, (24, 64), (40, 90))[0, 0]
    assert full.shape == (40, 90) and float(full.max()) <= 1
    stretched = PfeNet(weights=weights, aligned=False)._restored(logits, (24, 64), (40, 90))
    expected = F.interpolate(logits, (90, 90), mode="bilinear", align_corners=True)[0, 0, :40]
    assert torch.equal(stretched[0, 0], expected)


def test_masks_at_the_images_size_and_no_mask_at_all(weights: dict[str, Path], tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 90, 3)).astype(np.uint8)
    mask = np.zeros((40, 90), bool)
    model = PfeNet(weights=weights)
    assert model.fit([Support(image, mask)], seed=0) is None and not model.predict(None, image).mask.any()
    mask[5:20, 30:60] = True
    for each in (model, PfeNet(weights=weights, aligned=False)):
        found = each.predict(each.fit([Support(image, mask)], seed=0), image)
        assert tuple(found.mask.shape) == (40, 90) and torch.equal(found.mask, found.score > 0)
    lifted = create("pfenet+sam2", weights={**weights, "tracker": tiny_sam2_file(tmp_path)})
    assert lifted.info.name == "pfenet+sam2"


def test_wrong_weights_say_so(weights: dict[str, Path], tmp_path: Path) -> None:
    other = head_file(tmp_path / "vrp.safetensors", "vrp-sam", tiny_vrp())
    with pytest.raises(WeightsError, match="these are vrp-sam weights"):
        PfeNet(weights={**weights, "pfenet": other})
    with pytest.raises(WeightsError, match="no pfenet weights"):
        PfeNet(weights={**weights, "pfenet": weights["backbone"]})
    head = tiny_pfenet()
    head.last[0].weight = torch.nn.Parameter(torch.zeros(16, 16, 1, 1))
    odd = head_file(tmp_path / "odd.safetensors", "pfenet", head)
    with pytest.raises(WeightsError, match=r"1 of another shape: last\.0\.weight"):
        PfeNet(weights={**weights, "pfenet": odd})


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"backbone": tiny_backbone_file(tmp_path_factory.mktemp("files"), options={})}


def task(files: dict[str, Path], **options: Any) -> PfeNetTask:
    values = {"backbone": "small", "image_size": 64, "width": 16, "length": 4, **options}
    return PfeNetTask(weights=files, **group_options(PfeNetTask, values))


def trainer(task: PfeNetTask, out: Path, **changes: Any) -> Trainer:
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"epochs": 9, "batch": 2, "lr": 0.02, "validate_every": 0, "max_steps": 4, **changes}
    return Trainer(task, Settings(**values), ALONE, out, say=lambda line: None)


def test_authors_settings(files: dict[str, Path], tmp_path: Path) -> None:
    pascal, coco_ = (PfeNetTask(source=PairOptions(data=data)) for data in ("pascal-5i", "coco-20i"))
    settings = pascal.defaults()
    assert (settings.lr, settings.weight_decay, settings.epochs, settings.batch) == (0.0025, 1e-4, 200, 4)
    assert (pascal.config.image_size, pascal.config.scales) == (473, (60, 30, 15, 8))
    settings = coco_.defaults()
    assert (settings.lr, settings.epochs, settings.batch) == (0.005, 50, 8)
    assert (coco_.config.image_size, coco_.config.scales) == (641, (1.0, 0.5, 0.25, 0.125))
    assert coco_.rate(25, 100, settings) == pytest.approx(0.75**0.9)
    run = trainer(task(files), tmp_path / "a", lr=0.005)
    assert isinstance(run.optimiser, torch.optim.SGD) and run.optimiser.defaults["momentum"] == 0.9
    assert run.optimiser.param_groups[0]["lr"] == 0.005
    fast = trainer(task(files, times_ten=True), tmp_path / "b", lr=0.005)
    assert fast.optimiser.param_groups[0]["lr"] == pytest.approx(0.05)


def test_only_the_head_is_trained_and_the_loss_falls(files: dict[str, Path], tmp_path: Path) -> None:
    own = task(files, length=1, dropout=0.0)
    own._opened["train"] = OnePair(own.train_examples())
    before = {name: value.clone() for name, value in own.model().backbone.state_dict().items()}
    run = trainer(own, tmp_path / "run", max_steps=60, epochs=60, batch=1, lr=0.3)
    assert sum(p.numel() for p in run.parameters) == count_parameters(run.model.head)
    run.fit()
    values = [float(value) for _, value in losses(tmp_path / "run")]
    assert values[-1] < 0.6 * values[0]
    for name, value in run.model.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_step_has_what_is_frozen_from_the_fast_layers(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(task(files), tmp_path / "run", max_steps=1)
    calls = counted(monkeypatch)
    run.fit()
    assert calls["_CONVOLUTION"]


def test_trained_files_are_run_and_gone_on_from(files: dict[str, Path], tmp_path: Path) -> None:
    run = trainer(task(files), tmp_path / "run", max_steps=2, validate_every=1)
    assert run.fit()["best_mIoU"] is not None
    place = tmp_path / "run" / "last.safetensors"
    model = PfeNet(weights={**files, "pfenet": place})
    assert model.model.head.config.resize == "squash"
    again = task({**files, "pfenet": place}, width=32).model()
    for name, value in run.model.head.state_dict().items():
        assert torch.equal(model.model.head.state_dict()[name], value)
        assert torch.equal(again.head.state_dict()[name], value)


@pytest.mark.parametrize("drift", [False, True])
def test_a_stopped_run_goes_on_to_the_same_end(files: dict[str, Path], tmp_path: Path, drift: bool) -> None:
    trainer(task(files, drift=drift), tmp_path / "whole").fit()
    first = trainer(task(files, drift=drift), tmp_path / "parts")
    first.progress = lambda step, steps, values: signal.raise_signal(signal.SIGTERM) if step == 2 else None
    with pytest.raises(TrainingStopped, match="saved at step 2 of 4"):
        first.fit()
    trainer(task(files, drift=drift), tmp_path / "parts").fit()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    ends = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("whole", "parts")]
    assert ends[0] == ends[1]


def test_drifting_norms_are_stored_and_come_back(files: dict[str, Path], tmp_path: Path) -> None:
    run = trainer(task(files, drift=True), tmp_path / "run", max_steps=2)
    set_training_mode(run.model)
    assert run.model.backbone.layer0.training
    run.fit()
    model = PfeNet(weights={**files, "pfenet": tmp_path / "run" / "last.safetensors"})
    moved = model.model.statistics()
    for name, value in run.model.statistics().items():
        assert torch.equal(moved[name], value)
    start = PFENet(tiny_pfenet(), tiny_backbone(options={})).statistics()
    assert any(not torch.equal(moved[name], value) for name, value in start.items())
    straight = trainer(task(files), tmp_path / "straight", max_steps=1)
    set_training_mode(straight.model)
    assert not straight.model.backbone.layer0.training and straight.model.head.training
    straight.fit()
    assert not read_head(tmp_path / "straight" / "last.safetensors", "pfenet").statistics


def test_coco_pairs_are_augmented_and_validation_is_padded(files: dict[str, Path], tmp_path: Path) -> None:
    root = coco(tmp_path / "coco", many(("bicycle", "car", "dog", "person"), 24), images=24, split="train2014")
    own = task(files, data="coco-20i", root=root, min_area=50)
    train = own.train_examples()
    assert isinstance(train, PairDataset) and isinstance(train.transform, Crop)
    assert train.transform.augmentation.scale == (0.8, 1.25)
    one, again = (train.get(1, 2).tensors for _ in range(2))
    assert all(torch.equal(one[key], again[key]) for key in one)
    held = own.validation_examples()
    assert held is not None
    truth = own.truth(own.collate([held.get(0, 0)]))
    assert truth.dtype == torch.uint8 and (truth == IGNORE).any() and (truth != IGNORE).any()  # what is padded
    run = trainer(own, tmp_path / "run", max_steps=2, validate_every=1)
    assert run.fit()["best_mIoU"] is not None
    found = read_head(tmp_path / "run" / "best.safetensors", "pfenet").metadata
    assert "car" in found["training_categories"] and "person" not in found["training_categories"]
