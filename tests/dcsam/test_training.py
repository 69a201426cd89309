"""DC-SAM's training: what is trained, from which data, resumable, in the paper's stages; tiny models on the CPU."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_trees import annotation, coco, many, pascal_world, rectangle
from parity_scheme import generated
from quick_layers import counted
from sam_tiny import tiny_sam1 as sam1
from shared_data import shared
from tiny import write_video_benchmark
from tiny_weights import TINY_SAM2, tiny_dcsam, tiny_dcsam_file, tiny_sam2
from torch import nn

import dcsam.checkpoint
from dcsam.checkpoint import file_key, read_checkpoint, save_checkpoint
from dcsam.config import DCSAMConfig
from dcsam.load import open_engine
from dcsam.model import DCSAM
from dcsam.training.examples import open_examples
from dcsam.training.module import TrainableDCSAM, add_lora, merged_state, sam_parameters
from dcsam.training.task import DCSamTask
from icvos import cli
from icvos.categories import COCO80
from icvos.data.folds import test_categories as tested
from icvos.data.options import DataOptions
from icvos.datasets import PairDataset, TubeDataset
from icvos.errors import UsageError
from icvos.foundation.backbones import create_backbone
from icvos.foundation.load import build_sam, save_sam
from icvos.foundation.prior import prior_mask
from icvos.foundation.sam2 import Sam2
from icvos.foundation.tracker import MemoryBank, Tracker
from icvos.foundation.weights import save_state
from icvos.images import squeezed
from icvos.models.options import group_options
from icvos.training.checkpoint import read_checkpoint as read_training
from icvos.training.data import batches, to_device
from icvos.training.distribute import World
from icvos.training.frozen import set_training_mode, trained_state
from icvos.training.loop import Trainer
from icvos.training.task import Settings

ALONE = World(0, 1, torch.device("cpu"))
NAMES = ("bicycle", "car", "dog", "person")  # person is fold 0's, which is tested there


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO training split of 24 images, in each of which two of four categories show."""
    return coco(tmp_path_factory.mktemp("coco"), many(NAMES, 24), images=24, split="train2014")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"dcsam": tiny_dcsam_file(tmp_path_factory.mktemp("weights"))}


def task(weights: dict[str, Path], root: Path, stage: str = "image", **options: Any) -> DCSamTask:
    data = "coco-20i" if stage == "image" else "mask-tubes"
    values: dict[str, Any] = {"stage": stage, "data": data, "root": root, "min_area": 50, **options}
    return DCSamTask(weights=weights, **group_options(DCSamTask, values))


def trainer(task: DCSamTask, out: Path, **changes: Any) -> Trainer:
    out.mkdir(parents=True, exist_ok=True)
    values = {"epochs": 9, "batch": 2, "lr": 1e-3, "validate_every": 0, "max_steps": 4, **changes}
    return Trainer(task, Settings(**values), ALONE, out, say=lambda line: None)


def one_batch(task: DCSamTask, settings: Settings) -> Any:
    batch, _ = next(iter(batches(task, task.train_examples(), settings, ALONE, 0, 1)))
    return to_device(batch, torch.device("cpu"))


# ---- what is trained ------------------------------------------------------------------------------------------------


# The public code's counts for SAM 2-L.
@pytest.mark.parametrize(
    ("choice", "count"), [("none", 0), ("decoder", 3_950_656), ("memory", 7_306_912), ("decoder+memory", 11_257_568)]
)
def test_what_of_sam2_large_is_trained(choice: Any, count: int) -> None:
    sam2 = build_sam(Sam2, "sam2.1_hiera_large", meta=True).model
    assert sum(p.numel() for p in sam_parameters(sam2, choice).values()) == count


def test_lora_of_sam2_large() -> None:
    sam2 = build_sam(Sam2, "sam2.1_hiera_large", meta=True).model
    with torch.device("meta"):
        add_lora(sam2)
    chosen = sam_parameters(sam2, "lora")
    assert sum(p.numel() for p in chosen.values()) == 111_360
    assert {n for n, p in sam2.named_parameters() if p.requires_grad} == set(chosen)


def wanted(model: TrainableDCSAM, choice: str) -> set[str]:
    """The names meant to train, from the list of modules rather than from the code under test."""
    head = ("downsample_query", "merge_", "sam_downscaling", "transformer_decoder", "neg_transformer_decoder")
    out = {n for n, _ in model.named_parameters() if n.startswith(tuple(f"generator.{part}" for part in head))}
    for name, _ in model.named_parameters():
        inner = name.removeprefix("sam.model.")
        decoder = inner.startswith("sam_mask_decoder.") and "iou_prediction" not in inner and "obj_score_h" not in inner
        memory = inner.startswith(("memory_attention.", "memory_encoder."))
        lora = ".lora_A." in inner or ".lora_B." in inner
        if (decoder and "decoder" in choice) or (memory and "memory" in choice) or (lora and choice == "lora"):
            out.add(name)
    return out


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16_bn"])
@pytest.mark.parametrize(
    ("stage", "choice"),
    [
        ("image", "none"),
        ("tube-pretrain", "none"),
        ("tube-pretrain", "decoder"),
        ("tube-finetune", "none"),
        ("tube-finetune", "decoder"),
        ("tube-finetune", "memory"),
        ("tube-finetune", "decoder+memory"),
        ("tube-finetune", "lora"),
    ],
)
def test_gradients_reach_what_is_meant_to_train_and_no_other(
    root: Path, stage: str, choice: Any, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor has a gradient, and none of them is zero but those of SAM's unused hypernetworks.

    What is frozen goes through the fast layers, which keep no gradients.
    """
    calls = counted(monkeypatch)
    sam2 = tiny_sam2()
    with torch.no_grad():
        sam2.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5.0)
    generator = tiny_dcsam(backbone=backbone, backbone_options={}, dropout=0.0)
    generator.config = replace(generator.config, image_size=32)
    own = task({}, root, stage, train_sam=choice, frames=3)
    own.side = 32
    model = TrainableDCSAM(generator, sam2, train_sam=choice)
    if choice == "lora":
        # B starts at zero, and then A gets none.
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                nn.init.normal_(parameter, std=0.02)
    set_training_mode(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    own.loss(model, one_batch(own, Settings(batch=2)))[0].backward()
    names = wanted(model, choice)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == names
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    assert reached == names
    # The reference's too: masks 1 to 3 are thrown away with one mask asked for.
    still = {n for n, p in model.named_parameters() if p.grad is not None and not bool(p.grad.any())}
    assert all("output_hypernetworks_mlps" in n and "mlps.0." not in n for n in still), still
    # Frozen batch norms do not move.
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert not any(m.training for m in model.generator.backbone.modules())
    if choice == "none":
        assert not model.sam.training
    assert calls["hiera_in_pieces"] and calls["_CONVOLUTION"]


def video_model(variant: Any, object_score: float, choice: Any = "none") -> TrainableDCSAM:
    """A tiny model of a variant whose SAM 2 judges every object there or absent, without dropout."""
    sam2 = tiny_sam2()
    with torch.no_grad():
        head = sam2.model.sam_mask_decoder.pred_obj_score_head.layers[-1]
        head.weight.zero_()
        head.bias.fill_(object_score)
    generator = tiny_dcsam(dropout=0.0)
    generator.config = generator.config.with_variant(variant)
    model = TrainableDCSAM(generator, sam2, train_sam=choice)
    set_training_mode(model)
    return model


@pytest.mark.parametrize(("variant", "logit"), [("reference", 1024.0), ("corrected", 50.0)])
def test_an_absent_object_in_the_loss_of_video(root: Path, variant: Any, logit: float) -> None:
    """Q19: -1024 where the object is judged absent, or clamped to -50; the frame's target is there all the same."""
    own = task({}, root, "tube-finetune", frames=3, variant=variant)
    model = video_model(variant, -5.0)
    own.side = model.generator.config.image_size
    batch = one_batch(own, Settings(batch=2))
    loss, scalars = own.loss(model, batch)
    truth = batch.masks.double().flatten(1)
    assert truth.any(dim=1).all() and not truth.all()
    # Of a logit -x: the cross-entropy is x where the target is 1 and log(1 + e^-x) more; the probability is 0.
    cross_entropy = logit * truth.mean() + math.log1p(math.exp(-logit))
    dice = (1 - 1 / (truth.sum(dim=1) + 1)).mean()
    assert loss.item() == pytest.approx((cross_entropy + dice).item(), rel=1e-6)
    assert scalars["mask_loss"].item() == loss.item() and scalars["train_mIoU"].item() == 0


def test_memories_of_video_training(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q20: bfloat16 in ``reference``, the features' own dtype in ``corrected``; gradients reach through either."""
    banks: list[MemoryBank] = []
    start = Tracker.start

    def kept(self: Tracker, *, num_frames: int | None = None) -> MemoryBank:
        banks.append(start(self, num_frames=num_frames))
        return banks[-1]

    monkeypatch.setattr(Tracker, "start", kept)
    for variant, dtype in (("reference", torch.bfloat16), ("corrected", torch.float32)):
        own = task({}, root, "tube-finetune", train_sam="memory", frames=3, variant=variant)
        model = video_model(variant, 5.0, "memory")
        own.side = model.generator.config.image_size
        loss, _ = own.loss(model, one_batch(own, Settings(batch=1)))
        loss.backward()
        outputs = [*banks[-1].prompted.values(), *banks[-1].tracked.values()]
        assert [output["maskmem_features"].dtype for output in outputs] == [dtype] * 3
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
        # The memory encoder acts through what was stored alone.
        names = {name for name, p in model.named_parameters() if p.requires_grad and ".memory_encoder." in name}
        assert names and all(bool(gradients[name].any()) for name in names)


@pytest.mark.parametrize("variant", ["reference", "corrected"])
def test_one_step_on_tubes_in_either_variant(
    weights: dict[str, Path], root: Path, variant: Any, tmp_path: Path
) -> None:
    own = task(weights, root, "tube-finetune", train_sam="decoder+memory", frames=2, variant=variant)
    run = trainer(own, tmp_path, max_steps=1)
    before = {name: p.clone() for name, p in run.model.named_parameters() if p.requires_grad}
    run.fit()
    assert run.step == 1 and all(p.isfinite().all() for p in run.model.parameters())
    assert any(not torch.equal(p, before[name]) for name, p in run.model.named_parameters() if name in before)
    config = run.model.generator.config
    assert config.variant == variant
    assert {config.absent_logits_in_loss, config.bfloat16_memories} == {variant == "reference"}
    # A reference run of 0.1.0, which did neither, is not continued as if it had.
    assert ("deviations" in own.describe()) == (variant == "reference")


def test_memory_is_not_trained_where_it_is_not_reached(weights: dict[str, Path], root: Path) -> None:
    with pytest.raises(UsageError, match="does not reach"):
        task(weights, root, "tube-pretrain", train_sam="memory")
    with pytest.raises(UsageError, match="SAM is frozen in the image stage"):
        task(weights, root, "image", train_sam="decoder")


@pytest.mark.parametrize("sam", ["sam", "sam2"])
def test_presence_needs_a_sam_2_that_judges_it(sam: str, tmp_path: Path) -> None:
    model = build_sam(Sam2, replace(TINY_SAM2, pred_obj_scores=False)) if sam == "sam2" else sam1()
    save_sam(tmp_path / "sam.safetensors", model)
    own = DCSamTask(
        weights={sam: tmp_path / "sam.safetensors"},
        **group_options(
            DCSamTask, {"data": "demo", "train_backbone": True, "backbone": "compact", "presence_weight": 1}
        ),
    )
    with pytest.raises(UsageError, match="presence_weight needs a SAM 2 with object scores"):
        own.model()


def test_adapters_are_merged_into_the_weights(weights: dict[str, Path], root: Path, tmp_path: Path) -> None:
    own = task(weights, root, "tube-finetune", train_sam="lora", frames=2)
    model = own.model()
    assert isinstance(model, TrainableDCSAM)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.1)
    plain = build_sam(Sam2, TINY_SAM2)
    plain.model.load_state_dict(merged_state(model.sam.model))
    pixels = torch.randn(1, 3, 64, 64)
    model.eval()
    ours, theirs = model.sam.encode(pixels), plain.eval().encode(pixels)
    tokens = torch.randn(1, 3, 64)
    # rtol: the adapters' sums run in another order.
    torch.testing.assert_close(
        model.sam.decode(ours, embeddings=tokens).logits,
        plain.decode(theirs, embeddings=tokens).logits,
        atol=1e-4,
        rtol=1e-4,
    )
    own.export(model, tmp_path / "lora.safetensors")
    again = open_engine({"dcsam": tmp_path / "lora.safetensors"})
    merged = again.segmenter.state_dict()["model.sam_mask_decoder.conv_s0.weight"]
    assert torch.equal(merged, plain.state_dict()["model.sam_mask_decoder.conv_s0.weight"])


# ---- data -----------------------------------------------------------------------------------------------------------

COMMON: dict[str, Any] = {"size": 32, "frames": 1, "tubes": False}


def source(data: Any, root: Path | None, **options: Any) -> DataOptions:
    return DataOptions(data=data, root=root, **{"length": 100, "min_area": 50, **options})


def test_coco_pairs_leave_out_the_test_fold_and_keep_validation_apart(root: Path) -> None:
    train = open_examples(source("coco-20i", root), "train", **COMMON)
    validation = open_examples(source("coco-20i", root), "validation", **COMMON)
    assert isinstance(train, PairDataset) and isinstance(validation, PairDataset)
    seen: list[set[str]] = []
    for part in (train, validation):
        draws = [part.sampler.draw(epoch, index) for epoch in range(2) for index in range(len(part))]
        assert not {category for category, _, _ in draws} & set(tested("coco-20i", 0))
        names = part.sampler.pool.masks.names
        seen.append({names[i] for _, query, supports in draws for i in (query, *supports)})
    assert seen[0] and seen[1] and not seen[0] & seen[1]
    every = open_examples(source("coco", root), "train", **COMMON)
    assert isinstance(every, PairDataset) and COCO80.number("person") in every.sampler.pool.categories
    again = pickle.loads(pickle.dumps(train))
    for one, other in zip(train.get(3, 2).tensors.values(), again.get(3, 2).tensors.values(), strict=True):
        assert torch.equal(one, other)
    example = train.get(0, 0)
    assert example.supports[0].image.shape == (32, 32, 3) and example.frames.shape == (1, 32, 32, 3)
    assert example.masks[0].dtype == torch.bool and example.name not in example.support_names
    assert train.sampler.draw(0, 0) != train.sampler.draw(1, 0)


def test_pascal_pairs_come_from_the_training_split(tmp_path: Path) -> None:
    voc, sbd = pascal_world(tmp_path)
    own = open_examples(source("pascal-5i", voc, sbd=sbd, fold=1), "train", **COMMON)
    assert isinstance(own, PairDataset) and own.sampler.pool.masks.split == "trainaug"
    draws = [own.sampler.draw(0, index) for index in range(40)]
    assert not {c for c, _, _ in draws} & set(tested("pascal-5i", 1))
    names = own.sampler.pool.masks.names
    assert all(not names[query].startswith("2007") for _, query, _ in draws)  # the world's val


def test_tubes_as_pairs_and_as_clips(root: Path) -> None:
    options = {**COMMON, "tubes": True, "frames": 5}
    pairs = open_examples(source("mask-tubes", root), "train", pairs=True, **options)
    clips = open_examples(source("mask-tubes", root), "train", **options)
    held = open_examples(source("mask-tubes", root), "validation", **options)
    assert isinstance(clips, TubeDataset) and isinstance(held, TubeDataset)
    apart = [{image for image, _ in part.tubes.pairs} for part in (clips, held)]
    assert apart[0] and apart[1] and not apart[0] & apart[1]
    pair, clip = pairs.get(0, 3), clips.get(0, 3)
    assert pair.frames.shape == (1, 32, 32, 3) and clip.frames.shape == (5, 32, 32, 3)
    # Same tube: the pair's support is the clip's frame 0, its query another frame.
    (shown,) = pair.supports
    assert torch.equal(shown.image, clip.frames[0]) and torch.equal(shown.mask, clip.masks[0])
    assert any(torch.equal(pair.frames[0], frame) for frame in clip.frames[1:])
    # The clip's support is another image.
    assert not any(torch.equal(clip.supports[0].image, frame) for frame in clip.frames)
    order = [clips.number(epoch, index) for epoch in range(2) for index in range(len(clips))]
    assert sorted(order[: len(clips)]) == list(range(len(clips))) and order[: len(clips)] != order[len(clips) :]


def test_images_become_squares_as_in_the_reference() -> None:
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    mask = image[..., 0] > 128
    pixels, labels = squeezed(image, mask, 40)
    assert np.array_equal(pixels, np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BILINEAR)))
    nearest = nn.functional.interpolate(torch.from_numpy(mask)[None, None].float(), (40, 40), mode="nearest")
    assert np.array_equal(labels, nearest[0, 0].numpy() > 0)


def test_wrong_data_say_so(root: Path, tmp_path: Path) -> None:
    for data, tubes, pattern in (
        ("coco-20i", True, "does not go with this stage"),
        ("mask-tubes", False, "does not go with this stage"),
        ("kitti", False, "no training data 'kitti'"),
    ):
        with pytest.raises(UsageError, match=pattern):
            open_examples(source(data, root), "train", **{**COMMON, "tubes": tubes})
    with pytest.raises(UsageError, match="give --set root=FOLDER"):
        open_examples(source("coco", None), "train", **COMMON)
    later = tmp_path / "later"
    coco(later, [annotation(1, "car", rectangle(2, 2, 20, 20))], images=1, split="train2017")
    with pytest.raises(UsageError, match="train2017 holds images of val2014"):
        open_examples(source("coco", later), "train", **COMMON)
    one = coco(tmp_path, [annotation(1, "car", rectangle(2, 2, 20, 20))], images=1, split="train2014")
    with pytest.raises(UsageError, match="too few images to train and validate"):
        open_examples(source("coco", one), "train", **COMMON)


def test_real_coco_gives_examples() -> None:
    folder = shared("real", "coco")
    own = open_examples(source("coco-20i", folder, split="val2014", min_area=2048), "train", **{**COMMON, "size": 512})
    example = own.get(0, 0)
    assert example.frames.shape == (1, 512, 512, 3) and example.visible.all() and example.supports[0].mask.any()


def test_the_prior_skips_places_outside_the_mask_and_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    query, support = (torch.randn(n, 6, 5, 5, generator=generator) for n in (3, 6))
    mask = (torch.rand(6, 1, 5, 5, generator=generator) > 0.5).float()
    mask[0], mask[1] = 0, 1  # nothing inside, nothing outside
    mask[2, 0, 0, 0] = 0.3
    norms = [x.flatten(2).norm(dim=1) for x in (query, support * mask)]
    product = torch.einsum("bcq,bncp->bnpq", query.flatten(2), (support * mask).unflatten(0, (3, 2)).flatten(3))
    cosine = product / (norms[1].view(3, 2, 25, 1) * norms[0].view(3, 1, 1, 25) + 1e-7)
    wanted = cosine.amax(dim=2).mean(dim=1).view(3, 1, 5, 5)
    torch.testing.assert_close(prior_mask(query, support, mask), wanted, atol=1e-6, rtol=0)


# ---- the loop -------------------------------------------------------------------------------------------------------


def losses(out: Path) -> list[str]:
    with (out / "log.csv").open() as stream:
        return [row["value"] for row in csv.DictReader(stream) if row["name"] == "loss"]


@pytest.mark.parametrize("stage", ["image", "tube-finetune"])
def test_killed_at_any_step_and_resumed_has_the_same_losses(
    weights: dict[str, Path], root: Path, tmp_path: Path, stage: str
) -> None:
    """With dropout on, and the generators' states between steps."""

    class Killed(BaseException):
        pass

    def kill(step: int, steps: int, values: dict[str, float]) -> None:
        raise Killed

    options: dict[str, Any] = {"frames": 2, "train_sam": "decoder+memory"} if stage == "tube-finetune" else {}
    trainer(task(weights, root, stage, **options), tmp_path / "whole", max_steps=3).fit()
    own = task(weights, root, stage, **options)
    for step in range(3):
        # Dies after each step, once before and once after its checkpoint was written.
        run = trainer(own, tmp_path / "parts", max_steps=3, save_every=1)
        run.progress = kill
        with pytest.raises(Killed):
            run.fit()
        run = trainer(own, tmp_path / "parts", max_steps=3, save_every=1)
        run.resume()
        assert run.step == step
        run._stop = 15
        with pytest.raises(Exception, match=f"saved at step {step + 1} of 3"):
            run.fit()
    trainer(own, tmp_path / "parts", max_steps=3, save_every=1).fit()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts") and len(losses(tmp_path / "whole")) == 3
    for name in ("last.safetensors",):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert read_training(tmp_path / "parts" / "checkpoint.pt")["step"] == 3


SCRIPT = """
import sys
from pathlib import Path
import torch
from dcsam.training.task import DCSamTask, TrainedParts
from icvos.data.options import DataOptions
from icvos.training.data import batches, to_device
from icvos.training.distribute import open_world
from icvos.training.loop import Trainer
from icvos.training.task import Settings
out, weights, root = map(Path, sys.argv[1:4])
with open_world("cpu") as world:
    task = DCSamTask(weights={"dcsam": weights}, stage="tube-finetune", frames=2,
                     source=DataOptions(data="mask-tubes", root=root, min_area=50),
                     trained=TrainedParts(train_sam="decoder"))
    t = Trainer(task, Settings(batch=2 // world.size, max_steps=1), world, out, say=print)
    stream = iter(batches(task, t.examples, t.settings, world, 0, 1))
    t.optimiser.step = lambda *a, **k: None
    t.one_step(stream)
    if world.main:
        torch.save({n: p.grad for n, p in t.model.named_parameters() if p.grad is not None}, out / f"{world.size}.pt")
"""


@pytest.mark.slow
def test_two_processes_with_batch_one_give_the_gradients_of_one_with_two(
    weights: dict[str, Path], root: Path, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(weights["dcsam"])
    model = DCSAM(replace(checkpoint.config, dropout=0.0))
    model.load_state_dict(checkpoint.state)
    save_checkpoint(tmp_path / "dry.safetensors", model, sam2=checkpoint.sam2, metadata=checkpoint.metadata)
    (tmp_path / "script.py").write_text(SCRIPT)
    env = dict(os.environ, OMP_NUM_THREADS="1")
    given = [str(tmp_path / "script.py"), str(tmp_path), str(tmp_path / "dry.safetensors"), str(root)]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    torchrun += ["--rdzv-endpoint", "localhost:0"]
    for arguments in ([*torchrun, *given], given):
        done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-3000:]
    two, one = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (2, 1))
    assert set(one) == set(two) and len(one) > 50
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


# ---- stages ---------------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    with pytest.raises(SystemExit) as done:
        cli.main([str(a) for a in arguments])
    shown = capsys.readouterr()
    assert done.value.code == 0, shown.out + shown.err
    return shown.out


@pytest.mark.slow
def test_from_an_official_checkpoint_through_the_stages_to_evaluation(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image checkpoint in the authors' format starts tube-pretrain, that starts tube-finetune; each evaluates."""
    with torch.device("meta"):
        shapes = DCSAM(DCSAMConfig.reference()).state_dict()
    torch.save(
        {f"module.{file_key(k)}": generated(file_key(k), v.shape) for k, v in shapes.items()}, tmp_path / "official.pt"
    )
    # The format does not say the image's size, and 512 px would take a minute here.
    plain = dcsam.checkpoint.recognise
    monkeypatch.setattr(dcsam.checkpoint, "recognise", lambda *a, **k: replace(plain(*a, **k), image_size=64))
    torch.manual_seed(0)
    wide = build_sam(Sam2, replace(TINY_SAM2, name="wide", embed_dim=256, memory_dim=64, decoder_heads=8))
    save_sam(tmp_path / "sam2.safetensors", wide)
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2, draws=1)
    common = (
        "--device",
        "cpu",
        "--validate-every",
        0,
        "--max-steps",
        1,
        "--batch",
        1,
        "--threads",
        1,
        "--set",
        "data=mask-tubes",
        "--set",
        f"root={root}",
        "--set",
        "min_area=50",
    )
    pretrained, tuned = tmp_path / "pretrain", tmp_path / "finetune"
    given = ("--weights", f"dcsam={tmp_path}/official.pt", "--weights", f"sam2={tmp_path}/sam2.safetensors")
    out = run(capsys, "train", "dcsam", "--set", "stage=tube-pretrain", *given, "--out", pretrained, *common)
    assert "1 steps" in out
    monkeypatch.setattr(dcsam.checkpoint, "recognise", plain)
    first = read_checkpoint(pretrained / "last.safetensors")
    assert first.config.variant == "corrected" and first.metadata["stage"] == "tube-pretrain" and first.video
    # The backbone is the checkpoint's own, and has not moved.
    assert torch.equal(
        first.state["backbone.layer0.1.running_mean"], generated("layer0.1.running_mean", torch.Size([64]))
    )
    assert not torch.equal(
        first.state["merge_1.0.weight"], generated("merge_1.0.weight", shapes["merge_1.0.weight"].shape)
    )
    run(
        capsys,
        "train",
        "dcsam",
        "--set",
        "stage=tube-finetune",
        "--set",
        "train_sam=decoder",
        "--set",
        "frames=2",
        "--weights",
        f"dcsam={pretrained}/last.safetensors",
        "--out",
        tuned,
        *common,
    )
    for number, folder in enumerate((pretrained, tuned)):
        chosen = ("--model", "dcsam", "--weights", f"dcsam={folder}/last.safetensors", "--benchmark", bench)
        run(capsys, "evaluate", *chosen, "--limit-episodes", 1, "--device", "cpu", "--out", tmp_path / f"run{number}")
        assert (tmp_path / f"run{number}" / "result.json").is_file()
        # The authors' file does not say which categories it saw; the stages since do.
        declared = json.loads((tmp_path / f"run{number}" / "run.json").read_text())["model"]
        assert declared["training_data"] == ["coco2014:train"]
        assert set(declared["training_categories"]) == set(NAMES)
        said = read_checkpoint(folder / "last.safetensors").metadata["training"]
        assert declared["trainings"] == {"dcsam": json.loads(said)} and json.loads(said)["kept"] == "last"


def test_a_head_goes_on_over_new_encoders(root: Path, tmp_path: Path) -> None:
    """With ``backbone=`` beside ``dcsam=``, the head is the checkpoint's; the backbone and SAM 2 are those given."""
    head, sam2 = tiny_dcsam(), tiny_sam2()
    own = {name: value for name, value in sam2.model.state_dict().items() if name.startswith("sam_mask_decoder.")}
    changed = {name: value + 1 for name, value in own.items()}
    save_checkpoint(tmp_path / "dcsam.safetensors", head, sam2=changed, metadata={"sam2_part": "changed"})
    save_sam(tmp_path / "sam2.safetensors", sam2)
    torch.manual_seed(5)
    backbone = create_backbone(head.config.backbone, head.config.backbone_options).state_dict()
    save_state(tmp_path / "backbone.safetensors", backbone, metadata={})
    old = head.state_dict()
    assert not torch.equal(backbone["layer1.0.weight"], old["backbone.layer1.0.weight"])
    weights = {name: tmp_path / f"{name}.safetensors" for name in ("dcsam", "sam2", "backbone")}
    for given in (weights, {name: path for name, path in weights.items() if name != "backbone"}):
        model = task(given, root).model()
        assert isinstance(model, TrainableDCSAM)
        new = "backbone" in given
        mine = model.generator.state_dict()
        wanted = {**old, **({f"backbone.{name}": value for name, value in backbone.items()} if new else {})}
        assert set(mine) == set(wanted) and all(torch.equal(mine[name], wanted[name]) for name in wanted)
        decoder = model.sam.state_dict()
        wanted = own if new else changed
        assert all(torch.equal(decoder[f"model.{name}"], value) for name, value in wanted.items())


def test_a_training_checkpoint_of_0_1_0_fills_a_trained_backbone() -> None:
    """There the backbone's layers stood at the generator's top."""
    old = TrainableDCSAM(tiny_dcsam(), tiny_sam2(), train_backbone=True)
    torch.manual_seed(5)
    fresh = TrainableDCSAM(tiny_dcsam(), tiny_sam2(), train_backbone=True)
    for parameter in old.parameters():
        parameter.data.add_(1)
    state = {key.replace("generator.backbone.layer", "generator.layer"): v for key, v in trained_state(old).items()}
    assert sum(key.startswith("generator.layer") for key in state) > 10
    outcome = fresh.load_state_dict(state, strict=False)
    assert not outcome.unexpected_keys
    assert all(torch.equal(value, trained_state(fresh)[key]) for key, value in trained_state(old).items())
    assert any(key.startswith("generator.layer") for key in state)  # the caller's own mapping is not changed


def test_cached_features_train_as_fresh_ones(
    weights: dict[str, Path], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoders see each image once in two epochs, and the losses are those without a cache up to fp16."""
    trainer(task(weights, root), tmp_path / "plain", max_steps=16).fit()
    cached = task(weights, root, cache=tmp_path / "cache")
    own = trainer(cached, tmp_path / "first", max_steps=16)
    (note,) = cached.notes(own.model)
    assert "images of 0.0 MiB" in note or "MiB" in note
    seen: list[int] = []
    encode = own.model.sam.encode_batch  # type: ignore[union-attr, operator]
    monkeypatch.setattr(own.model.sam, "encode_batch", lambda x: seen.append(len(x)) or encode(x))
    own.fit()
    files = list((tmp_path / "cache").glob("*/*/*.safetensors"))
    assert sum(seen) == len(files) <= own.examples.images  # type: ignore[attr-defined]
    # Again, all from files: the very same losses.
    trainer(task(weights, root, cache=tmp_path / "cache"), tmp_path / "second", max_steps=16).fit()
    assert losses(tmp_path / "first") == losses(tmp_path / "second")
    plain, mine = ([float(x) for x in losses(tmp_path / name)] for name in ("plain", "first"))
    np.testing.assert_allclose(mine, plain, rtol=0.03)
    files[0].write_bytes(b"cut")
    with pytest.raises(Exception, match="cached features are broken"):
        trainer(task(weights, root, cache=tmp_path / "cache"), tmp_path / "third", max_steps=16).fit()
    with pytest.raises(UsageError, match="frozen encoders"):
        task(weights, root, "tube-finetune", cache=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_tubes_are_learnt_by_heart(tmp_path: Path) -> None:
    """Five frames each through the tracker, decoder and memory trained too: 95 mIoU or more on the same tubes."""
    side = 128
    # Things of about half the image's side: masks are decoded at a quarter of its pixels.
    shapes = [rectangle(4 + i % 5, 3 + i % 4, 34 + i % 7, 30 - i % 6) for i in range(1, 17)]
    annotations = [annotation(i, "car", shape) for i, shape in enumerate(shapes, 1)]
    folder = coco(tmp_path / "coco", annotations, images=16, split="train2014")
    torch.manual_seed(0)
    sam2 = build_sam(Sam2, replace(TINY_SAM2, image_size=side))
    with torch.no_grad():
        sam2.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(8.0)
    import json

    path = tmp_path / "start.safetensors"
    save_checkpoint(
        path,
        tiny_dcsam(image_size=side, dropout=0.0),
        sam2=sam2.model.state_dict(),
        metadata={"sam2_config": json.dumps(sam2.config.to_dict())},
    )

    class Eight:
        """The same eight tubes in every epoch."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __len__(self) -> int:
            return 8

        def get(self, epoch: int, index: int) -> Any:
            return self.inner.get(0, index)

    own = task({"dcsam": path}, folder, "tube-finetune", train_sam="decoder+memory", train_backbone=True, frames=5)
    eight = Eight(own.train_examples())
    own._opened = {"train": eight, "validation": eight}  # type: ignore[dict-item]
    run = trainer(own, tmp_path / "run", batch=4, lr=3e-3, max_steps=240, epochs=1000, clip=1.0, warmup=15)
    run.fit()
    assert run.validate()["mIoU"] >= 95
