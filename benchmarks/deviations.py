"""What each deviation from DC-SAM's public code does: rows of the table in docs/explanation/reference-code.md.

    PYTHONPATH=tests/helpers python benchmarks/deviations.py [--parity-dir DIR]    # ../shared/parity_end_to_end

One option at a time is switched from where the ``reference`` variant has it. A figure is the greatest absolute change
of the final logits (512x512) of an image pair with SAM 2 and ResNet-50, of one with SAM 1 and VGG-16-bn, and of a video
of six frames. What acts on a batch or in training alone is measured by the loss on the two pairs of the training step,
or on the video as a tube. One thread: the order of sums moves the last digits.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from parity_runs import SIZE, Frames, Picture, recorded, unpacked, without_dropout
from parity_scheme import WeightFiles, Weights
from parity_training import Pairs, PairsTask
from torch import Tensor

from dcsam.checkpoint import load_model, read_checkpoint
from dcsam.model import DCSAM
from dcsam.plugin import DCSam, DCSamOptions
from dcsam.training.module import TrainableDCSAM
from icvos.data.options import DataOptions
from icvos.datasets.samples import EpisodeSample
from icvos.foundation.tracker import Tracker
from icvos.images import nearest_resize
from icvos.metrics import jf
from icvos.training.data import to_device
from icvos.training.frozen import set_training_mode

ROOT = Path(__file__).resolve().parents[1]

# One row a deviation of the model: its option, switched from the reference's setting; the last row's, of more than one
# support, of NaN and of training, all at once, as they should do nothing here. The dilation shows in ResNet-50 alone.
MODEL: dict[str, dict[str, Any]] = {
    "Q1 shared_head_masks": {"shared_head_masks": False},
    "Q2 last_support_only": {"last_support_only": False},
    "Q3 first_stage_ignores_query": {"first_stage_ignores_query": False},
    "Q4 negative_from_support": {"negative_from_support": False},
    "Q6 prompts_in_place": {"prompts_in_place": False},
    "dilation": {"backbone_options": {"dilation": "pspnet"}},
    "Q5, Q7, Q8, Q9, Q19, Q20": {
        "single_support": False,
        "pass_non_finite": False,
        "freeze_sam_fusion": False,
        "first_coarse_mask_only": True,
        "absent_logits_in_loss": False,
        "bfloat16_memories": False,
    },
}
# Those that act on a batch or in training alone: of images, and of tubes.
STEPS: dict[str, dict[str, Any]] = {
    "Q1 shared_head_masks": {"shared_head_masks": False},
    "Q8 freeze_sam_fusion": {"freeze_sam_fusion": False},
    "Q9 first_coarse_mask_only": {"first_coarse_mask_only": True},
    "Q12 dropout, seed 0": {"dropout": 0.5},
}
TUBES: dict[str, dict[str, Any]] = {
    "Q19 absent_logits_in_loss": {"absent_logits_in_loss": False},
    "Q20 bfloat16_memories": {"bfloat16_memories": False},
}
IMAGES, VIDEO, STEP = ("f_image_v2_r50", "f_image_v1_vgg"), "h_video_eval", "g_train_step_v2_vgg_b2"
Encoded = dict[tuple[bool, int], Any]


def keep_encoded(segmenter: Any, encoded: Encoded) -> None:
    """Let a SAM take the features of images that it has seen from memory."""
    encode = segmenter.encode

    def kept(images: Tensor, **named: Any) -> Any:
        key = (torch.is_autocast_enabled("cpu"), hash(images.numpy().tobytes()))
        if key not in encoded:
            encoded[key] = encode(images, **named)
        return encoded[key]

    segmenter.encode = kept


class Fixture:
    """A fixture's pictures and weights; what SAM's encoder makes of an image is kept from run to run."""

    def __init__(self, path: Path, files: WeightFiles) -> None:
        with np.load(path, allow_pickle=False) as stored:
            self.arrays = {key: stored[key] for key in stored.files}
        named = Weights.of_fixture(path.stem, str(self.arrays["in_weights"]))
        self.video = path.stem == VIDEO
        self.weights = files.video(named) if self.video else files.image(named)
        self.checkpoint = read_checkpoint(self.weights["dcsam"])
        self.support = Picture.of_fixture(self.arrays, "support").square()
        self.encoded: Encoded = {}

    def generator(self, **changes: Any) -> DCSAM:
        """Return the prompt generator with some of its configuration changed."""
        if self.checkpoint.config.backbone != "resnet50":
            changes.pop("backbone_options", None)
        config = replace(self.checkpoint.config, **changes)
        return load_model(replace(self.checkpoint, config=config)).requires_grad_(False)

    def logits(self, options: dict[str, Any] | None = None, **changes: Any) -> Tensor:
        """Return the final logits (T, 512, 512) with some of the plugin's options or of the configuration changed."""
        # The fixtures were computed without the compiled extension that fills holes.
        options = {"fill_holes": 0, **(options or {})}
        plugin = DCSam(weights=self.weights, options=DCSamOptions(**options))
        keep_encoded(plugin.engine.segmenter, self.encoded)
        if options.get("train_mode"):
            without_dropout(plugin.engine.model, plugin.engine.segmenter)
        else:
            plugin.engine.model = self.generator(**changes)
        if not self.video:
            query = Picture.of_fixture(self.arrays, "query").square()
            return plugin.predict(plugin.fit([self.support], seed=0), query.image).score[None]
        with recorded(Tracker, "step") as calls:
            for _ in plugin.segment([self.support], self.frames(), seed=0):
                pass
        return torch.cat([frame.resized(SIZE)[:, 0] for _, frame in calls])

    def mean(self, measure: str, logits: Tensor) -> float:
        """Return the mean J or F of the video's frames, percent."""
        return 100 * float(np.mean(jf((logits > 0).numpy(), self.truth())["JF".index(measure)]))

    def truth(self) -> np.ndarray:
        """Return the video's ground truth, (T, 512, 512) bool."""
        truth = unpacked(self.arrays["in_truth_bits"], self.arrays["in_truth_shape"])
        return np.stack([nearest_resize(mask, SIZE) for mask in truth])

    def frames(self) -> Frames:
        """Return the video's frames at 512x512."""
        arrays = self.arrays
        files = np.split(arrays["in_frames_jpeg"], np.cumsum(arrays["in_frames_length"])[:-1])
        truth = unpacked(arrays["in_truth_bits"], arrays["in_truth_shape"])
        return Frames(Picture(jpeg.tobytes(), mask).square().image for jpeg, mask in zip(files, truth))


class Tube(Pairs):
    """The video of a fixture as one training tube."""

    def __init__(self, video: Fixture) -> None:
        support = (video.support.image, video.support.mask)
        self.example = EpisodeSample.of([support], np.stack(video.frames()), video.truth())
        self.pairs = [[]]

    def get(self, epoch: int, index: int) -> EpisodeSample:
        """Return the tube."""
        return self.example


class Step:
    """The loss of a training step of the reference variant, dropout 0, with some of the configuration changed.

    Args:
        weights: The checkpoint, and its SAM where it holds none.
        examples: Of the batch.
        stage: Of the training; tubes are without gradients, which would take 15 GB.
    """

    def __init__(self, weights: dict[str, Path], examples: Pairs, *, stage: Literal["image", "tube-finetune"]) -> None:
        self.weights, self.examples, self.stage = weights, examples, stage
        self.encoded: Encoded = {}

    def figures(self, *, dropout: float = 0.0, sam_in_training: bool = False, **changes: Any) -> tuple[float, int]:
        """Return the loss, and how many tensors of the head have a gradient."""
        task = PairsTask(
            weights=self.weights,
            stage=self.stage,
            source=DataOptions(data="coco-20i" if self.stage == "image" else "mask-tubes"),
            variant="reference",
        )
        model = task.model()
        assert isinstance(model, TrainableDCSAM)
        keep_encoded(model.sam, self.encoded)
        model.generator.config = replace(model.generator.config, **changes)
        for decoder in model.generator._decoders():
            decoder.shared_masks = model.generator.config.shared_head_masks
        if not dropout:
            without_dropout(model)
        set_training_mode(model)
        model.sam.train(sam_in_training)
        torch.manual_seed(0)
        batch = task.collate([self.examples.get(0, index) for index in range(len(self.examples.pairs))])
        with torch.set_grad_enabled(self.stage == "image"):
            loss, _ = task.loss(model, to_device(batch, torch.device("cpu")))
        if self.stage == "image":
            loss.backward()
        return float(loss.detach()), sum(p.grad is not None for p in model.generator.head_parameters().values())


def change(before: Tensor, after: Tensor) -> str:
    """Return the greatest absolute change of the logits, and how many pixels of the masks it moves."""
    largest = float((before - after).abs().max())
    return f"{largest:.3g} ({int(((before > 0) != (after > 0)).sum()):,} px)" if largest else "0"


def compare_steps(name: str, step: Step, rows: dict[str, dict[str, Any]]) -> None:
    """Print what each change does to a step's loss, and to how many tensors have a gradient."""
    loss, trained = step.figures()
    for row, changes in rows.items():
        other, count = step.figures(**changes)
        tensors = f", {trained} -> {count} tensors with a gradient" if step.stage == "image" else ""
        print(f"| {row} | {name}: loss {loss:.5f} -> {other:.5f}{tensors} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parity-dir", type=Path, default=ROOT.parent / "shared" / "parity_end_to_end")
    folder = parser.parse_args().parity_dir
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        files = WeightFiles(Path(scratch))
        fixtures = [Fixture(folder / f"{name}.npz", files) for name in (*IMAGES, VIDEO)]
        reference = [fixture.logits() for fixture in fixtures]
        for name, changes in MODEL.items():
            cells = [change(before, fixture.logits(**changes)) for fixture, before in zip(fixtures, reference)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        single = [fixture.logits({"precision": "bf16"}, scores_in_autocast=False) for fixture in fixtures]
        half = [fixture.logits({"precision": "bf16"}) for fixture in fixtures]
        print(f"| Q18 scores_in_autocast | {' | '.join(map(change, half, single))} |", flush=True)
        video = fixtures[-1]
        training, filled = video.logits({"train_mode": True}), video.logits({"fill_holes": 8})
        print(f"| Q10 train_mode | - | - | {change(reference[-1], training)} |")
        print(f"| fill_holes | - | - | {change(reference[-1], filled)} |")
        for area, logits in ((0, reference[-1]), (8, filled)):
            print(f"fill_holes={area}: J {video.mean('J', logits):.2f}, F {video.mean('F', logits):.2f}", flush=True)
        with np.load(folder / f"{STEP}.npz", allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        step = Step(files.image(Weights.of_fixture(STEP, str(arrays["in_weights"]))), Pairs(arrays, 1), stage="image")
        steps = STEPS | {"Q13 SAM in training mode": {"sam_in_training": True}}
        compare_steps(f"{STEP}", step, steps)
        for score in ("present", "absent"):
            weights = files.video(Weights(2, "resnet50", scaled=False, object_score=score))
            tube = Step(weights, Tube(video), stage="tube-finetune")
            compare_steps(f"the video as a tube, object {score}", tube, TUBES)


if __name__ == "__main__":
    main()
