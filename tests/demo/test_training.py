"""What the demo's weights are trained on and by: drawn examples, pools, prompts, losses; and what they do."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.heads import open_backbone
from dcsam.plugin import DCSam
from dcsam.training.module import TrainableDCSAM
from icvos import Support
from icvos.demo.training.backbone_task import BackboneTask, _contrastive
from icvos.demo.training.examples import (
    DrawnClips,
    DrawnWorlds,
    family_maps,
    join_worlds,
    squared,
    squared_still,
    varied,
)
from icvos.demo.training.pool import draw_pool
from icvos.demo.training.prompted_clips import ClipExamples
from icvos.demo.training.sam2_task import DEMO_SAM2, DemoSam2Task, sample_loss
from icvos.demo.world.episodes import TrainingWorld
from icvos.errors import UsageError
from icvos.foundation.load import build_sam, load_sam, save_sam
from icvos.foundation.pixels import to_float
from icvos.foundation.sam2 import Sam2
from icvos.foundation.trainings import training_of, training_record
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.loss import iou
from icvos.training.task import Settings

SIDE = 64


# ---- examples -------------------------------------------------------------------------------------------------------


def test_pairs_of_a_world_show_what_they_ask_for() -> None:
    examples = DrawnWorlds(TrainingWorld.of_layouts(SIDE, 3), SIDE, 8, pairs=6)
    batch = join_worlds([examples.get(0, i) for i in range(8)])
    maps = family_maps(batch.labels, batch.families)
    support, query, family = batch.pairs.unbind(1)
    shown = (maps[support] == family[:, None, None]).flatten(1).float().mean(dim=1)
    asked = (maps[query] == family[:, None, None]).flatten(1).any(dim=1)
    assert len(batch.pairs) == 48 and bool((support != query).all()) and bool((support // 4 == query // 4).all())
    assert float(shown.min()) >= 0.015
    # Most queries show the thing, some do not.
    assert 0.5 < float(asked.float().mean()) < 1
    again = join_worlds([examples.get(0, i) for i in range(8)])
    assert len(batch.tensors) == 4
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in batch.tensors.items())
    masks = ((maps[images] == family[:, None, None]) for images in (support, query))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(batch.masks(), masks, strict=True))


def test_images_and_labels_vary_together() -> None:
    generator = np.random.default_rng(0)
    labels = np.zeros((2, 16, 16), np.uint8)
    labels[:, 2:5, 7:15] = 1
    images = np.where(labels[..., None] > 0, 200, 50).astype(np.uint8).repeat(3, axis=3)
    for _ in range(20):
        pixels, moved = varied(images, labels, generator)
        assert pixels.shape == images.shape and moved.sum() == labels.sum()
        inside, outside = pixels[moved > 0], pixels[moved == 0]
        assert (inside == inside[0]).all() and (outside == outside[0]).all() and inside[0].sum() > outside[0].sum()


@pytest.mark.parametrize("kind", ["worlds", "clips", "episodes"])
def test_a_pool_holds_the_scenes_of_its_world(kind: str, tmp_path: Path) -> None:
    world = TrainingWorld.of_layouts(SIDE, 5)
    pool = draw_pool(tmp_path, kind, 3, side=SIDE, seed=5, workers=1, say=lambda line: None)
    if kind == "worlds":
        for mine, theirs in zip(pool.world(4), world.world(1), strict=True):
            assert np.array_equal(mine.image, squared_still(theirs, SIDE).image) and mine.names == theirs.names
        assert np.array_equal(pool.still(6).labels, squared_still(world.world(1)[2], SIDE).labels)
        first, again = (DrawnWorlds(pool, SIDE, 10).get(0, i).images for i in (1, 4))
        assert not np.array_equal(first, again)  # the same world, varied anew
    elif kind == "clips":
        clip = world.clip(2, frames=8)
        assert np.array_equal(pool.clip(2, frames=3).frames, squared(clip.frames, clip.labels, SIDE)[0][:3])
        with pytest.raises(UsageError, match="9 frames of a pool of 8"):
            pool.clip(2, frames=9)
    else:
        mine, theirs = pool.episode(2), world.episode(2, frames=8)
        frames, masks = squared(theirs.frames, theirs.masks, SIDE)
        assert np.array_equal(mine.frames, frames) and np.array_equal(mine.masks, masks)
        shown = squared(theirs.support_images, theirs.support_masks, SIDE)[1]
        assert np.array_equal(mine.support_masks, shown) and mine.name == theirs.name
        assert DrawnClips(pool, SIDE, 10, 4).get(0, 1).masks.shape == (4, SIDE, SIDE)
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.npy"))]
    draw_pool(tmp_path, kind, 3, side=SIDE, seed=5, workers=1)
    assert stamps == [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.npy"))]
    assert not list(tmp_path.rglob("*.partial*"))


def test_two_stages_draw_one_pool(tmp_path: Path) -> None:
    said: list[str] = []

    def draw() -> None:
        draw_pool(tmp_path, "worlds", 3, side=SIDE, seed=5, workers=1, say=said.append)

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1 and not list(tmp_path.rglob("*.partial*"))


def test_prompts_lie_where_their_labels_say() -> None:
    examples = ClipExamples(TrainingWorld.of_layouts(SIDE * 2, 3), SIDE * 2, 2, 10, prompts=6)
    kinds = set()
    for index in range(10):
        example = examples.get(0, index)
        for points, mask in zip(example["points"], example["prompted_masks"], strict=True):
            rows, columns = np.nonzero(mask)
            for x, y, label in points:
                kinds.add(int(label))
                if label in (0, 1):
                    assert mask[int(y), int(x)] == bool(label)
            if points[0, 2] == 2 and len(rows):
                size = max(np.ptp(rows), np.ptp(columns)) + 1
                assert (
                    abs(points[0, 0] - columns.min()) < 0.3 * size and abs(points[1, 1] - rows.max()) < 0.3 * size + 1
                )
    assert kinds == {-1, 0, 1, 2, 3}


# ---- losses ---------------------------------------------------------------------------------------------------------


def test_contrastive_loss_by_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(6, 4, generator=generator), dim=1)
    image, kind = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 2, 1, 3, 2, 1])
    real = torch.tensor([True, True, True, True, True, False])
    losses = []
    for a in range(5):
        others = [b for b in range(5) if image[b] != image[a]]
        positives = [b for b in others if kind[b] == kind[a]]
        if positives:
            total = sum(float((vectors[a] @ vectors[b] / 0.1).exp()) for b in others)
            chances = [float((vectors[a] @ vectors[b] / 0.1).exp()) / total for b in positives]
            losses.append(-np.mean(np.log(chances)))
    found = _contrastive(vectors, image, kind, real, vectors, image, kind, real)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_mask_loss_tells_right_from_wrong() -> None:
    truth = torch.zeros(2, 32, 32, dtype=torch.bool)
    truth[:, 8:20, 8:24] = True
    right = (F.interpolate(truth[:, None].float(), (8, 8), mode="area")[:, 0] - 0.5) * 40
    assert float(sample_loss(right, truth).max()) < 1.0 < float(sample_loss(-right, truth).min())


def test_attention_loss_falls_with_the_share_on_the_thing() -> None:
    class Seen:
        def __init__(self, attention: torch.Tensor) -> None:
            self.prompts = self
            self.attention, self.negative_attention = attention, None

    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[0, :4] = True
    half = torch.full((2, 3, 4, 4), 1 / 16)
    given = torch.zeros(2, 3, 4, 4)
    given[:, :, 0, 0] = 1
    at_half, at_one = (float(TrainableDCSAM.attention_loss(None, Seen(a), truth)) for a in (half, given))  # type: ignore[arg-type]
    # The second sample shows no thing and rests: the mean is over both.
    assert at_half == pytest.approx(-np.log(0.501) / 2, rel=1e-3) and abs(at_one) < 1e-3


# ---- training -------------------------------------------------------------------------------------------------------


def settings(steps: int) -> Settings:
    return Settings(epochs=1, batch=2, lr=2e-3, warmup=2, clip=1.0, max_steps=steps, validate_every=0)


def test_a_backbone_learns_one_world_by_heart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = BackboneTask(image_size=SIDE, length=2)
    before = Trainer(task, settings(1), World(0, 1, torch.device("cpu")), tmp_path, say=lambda line: None)
    batch = task.collate([before.examples.get(0, i) for i in range(2)])
    optimiser = torch.optim.AdamW(before.model.parameters(), lr=2e-3)
    values = []
    for _ in range(25):
        loss, _ = task.loss(before.model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.75 * values[0]


def test_the_tracker_is_trained_on_a_frozen_encoder() -> None:
    task = DemoSam2Task(frames=2, length=4, train="tracker")
    model = task.model()
    examples = task.train_examples()
    loss, _ = task.loss(model, task.collate([examples.get(0, i) for i in range(2)]))
    loss.backward()
    frozen = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    encoder = {name for name, _ in model.named_parameters() if name.startswith("sam2.model.image_encoder.")}
    assert encoder <= frozen
    moved = {name.split(".")[2] for name, _ in model.named_parameters() if name not in frozen}
    assert {"memory_attention", "memory_encoder", "sam_mask_decoder", "sam_prompt_encoder"} <= moved


def test_another_sam_2_is_gone_on_with_at_the_size_asked_for(tmp_path: Path) -> None:
    save_sam(tmp_path / "other.safetensors", build_sam(Sam2, replace(DEMO_SAM2, memory_layers=1)), half=True)
    model = DemoSam2Task(weights={"sam2": tmp_path / "other.safetensors"}, image_size=192).model()
    assert model.sam2.config.memory_layers == 1 and model.sam2.image_size == 192
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_sam_2_and_a_backbone_say_which_training_they_come_from(tmp_path: Path) -> None:
    """And what it was trained on; one that was published before says so, too."""
    start, sam2, backbone = (tmp_path / f"{name}.safetensors" for name in ("start", "sam2", "backbone"))
    record = {"settings": "0123456789ab", "seed": 3, "kept": "last"}
    save_sam(start, build_sam(Sam2, replace(DEMO_SAM2, name="sam2.1_hiera_tiny")))
    seen = []
    for weights in ({}, {"sam2": start}):
        task = DemoSam2Task(weights=weights)
        task.training = record
        task.export(task.model(), sam2)
        assert training_of(sam2) == record
        seen.append(load_sam(Sam2, sam2).trained_on)
    assert seen == [("icvos demo:train",), ("sa-v:train", "sa-1b:train", "icvos demo:train")]
    task = BackboneTask(backbone="efficientnet-lite2")
    assert task.model().backbone.trained_on == ("imagenet-1k:train",)
    task.training = record
    task.export(task.model(), backbone)
    assert training_of(backbone) == record
    assert open_backbone("efficientnet-lite2", {}, backbone).trained_on == ("icvos demo:train",)
    again = BackboneTask(weights={"backbone": backbone}, backbone="efficientnet-lite2")
    assert training_record({"settings": {"seed": 0}, "describe": again.describe()}, again.weights, kept="last") != (
        training_record({"settings": {"seed": 0}, "describe": task.describe()}, {}, kept="last")
    )


def test_things_of_one_clip_are_followed_as_each_would_be_alone() -> None:
    torch.manual_seed(0)
    task = DemoSam2Task(frames=3, length=4, objects=3)
    model = task.model().eval().sam2
    examples = task.train_examples()
    batch = task.collate([examples.get(0, i) for i in range(2)])
    assert batch.masks.shape[:3] == (2, 3, 3)
    with torch.no_grad():
        features = model.encode(to_float(batch.frames).flatten(0, 1))
        together = [frame.logits for frame in task._track(model, batch, features)]
        for k in range(3):
            one = replace(batch, masks=batch.masks[:, k : k + 1], start=batch.start[:, k : k + 1])
            for frame, all_of_it in zip(task._track(model, one, features), together):
                assert torch.allclose(frame.logits, all_of_it.view(2, 3, *all_of_it.shape[1:])[:, k], atol=1e-4)


def test_what_is_followed_is_shown_first_or_is_nothing() -> None:
    examples = ClipExamples(TrainingWorld.of_layouts(SIDE * 2, 3), SIDE * 2, 6, 60, objects=4)
    empty = several = left = 0
    for index in range(60):
        example = examples.get(0, index)
        assert example["masks"].shape == (4, 6, SIDE * 2, SIDE * 2) and example["start"].shape == (4, 3, 3)
        for mask, points in zip(example["masks"], example["start"]):
            assert mask[0].sum() > 60 or not mask.any()
            empty += not mask.any()
            left += bool(mask.any()) and not mask.any(axis=(1, 2)).all()
            assert mask.any() or not (points[:, 2] > 0).any()
        several += len({mask.tobytes() for mask in example["masks"]}) > 1
    # Of 240 followed, one in twenty is nothing, and many leave.
    assert 2 <= empty <= 60 and left >= 15 and several >= 20


@pytest.mark.gpu
def test_graphed_steps_train_as_plain_ones(tmp_path: Path) -> None:
    """The losses of ten steps as CUDA graphs are those without, but for rounding."""
    losses = []
    for graphs in (False, True):
        out = tmp_path / str(graphs)
        out.mkdir()
        seen: list[float] = []
        task = BackboneTask(image_size=SIDE, length=20)
        trainer = Trainer(
            task,
            replace(settings(10), graphs=graphs, lr=1e-4),
            World(0, 1, torch.device("cuda")),
            out,
            say=lambda line: pytest.fail(line) if "graph" in line else None,
            progress=lambda step, total, values, seen=seen: seen.append(values["loss"]),
        )
        trainer.fit()
        losses.append(seen)
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


# ---- what is shipped ------------------------------------------------------------------------------------------------


def test_shipped_model_segments_in_context() -> None:
    """On new drawn scenes (of families that training never drew): good with the right support, not with another."""
    model = DCSam(weights=DCSam.demo_weights())
    examples = DrawnWorlds(TrainingWorld.of_layouts(192, 4321, random_share=1.0), 192, 10, pairs=2, absent=0.0)
    right, wrong = [], []
    for index in range(10):
        example = examples.get(0, index)
        for support, query, family in example.pairs:
            maps = np.take_along_axis(example.families[:, None], example.labels.reshape(4, 1, -1), axis=2)
            maps = maps.reshape(example.labels.shape)
            truth = torch.from_numpy(maps[query] == family)
            if not bool(truth.any()):
                continue
            others = [f for f in example.families[support, 1:] if f not in (0, family)]
            for chosen, found in ((family, right), (others[0] if others else 0, wrong)):
                mask = maps[support] == chosen
                if chosen and mask.any():
                    fitted = model.fit([Support(example.images[support], mask)], seed=0)
                    result = model.predict(fitted, example.images[query]).mask
                    found.append(float(iou(torch.as_tensor(np.asarray(result))[None], truth[None])))
    assert len(right) >= 12 and len(wrong) >= 8
    assert np.mean(right) > 0.4 and np.mean(wrong) < 0.5 * np.mean(right)


def test_uint8_images_become_normalised_floats() -> None:
    image = torch.randint(0, 255, (2, 5, 6, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(to_float(image), ((image.float() / 255 - mean) / std).permute(0, 3, 1, 2))
    assert to_float(mean) is mean
