"""A training loop of your own over a benchmark's episodes: a small network, its weights, its plugin, its figures.

    python examples/own_training.py

It draws a second demo world (seed 1), trains a network of 140,000 weights on episodes of it, saves the weights,
evaluates them as a plugin on the demo benchmark (seed 0), and prints J&F of each category, of those seen in training
and of those held out: three minutes on one core. It takes torch (extra `torch`), and no weights. Then by a command:

    icvos evaluate --model examples/own_training.py:Small --weights small=runs/examples/own-training/small.safetensors

What may be trained on: never the benchmark that you report on, and none of its categories where a result is to be
in-context. Here the training videos are another world's, and every third category is held out: no mask of it is read,
though it may stand unlabelled in a frame. Of real data take the training splits, and for a few-shot benchmark the
categories of the other folds. The weights say what they have seen, the plugin declares it, and boards mark it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import icvos

SIZE = (96, 128)  # what the network sees
Example = tuple[Tensor, Tensor, Tensor, Tensor]


class Frames(torch.utils.data.Dataset[Example]):
    """Frames of a benchmark's episodes: support image and mask, a frame of the video, and its mask.

    Item i is a pure function of seed and i, whatever the number of loaders.

    Args:
        benchmark: Of videos.
        categories: Those that may be read, by number.
        length: How many items there are.
    """

    def __init__(self, benchmark: icvos.Benchmark, categories: set[int], *, length: int, seed: int = 0) -> None:
        self.benchmark, self.length, self.seed = benchmark, length, seed
        self.episodes = [episode for episode in benchmark.episodes if episode.category in categories]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index])
        episode = self.episodes[rng.integers(len(self.episodes))]
        support = self.benchmark.support(episode.category, str(rng.choice(episode.supports)))
        video = self.benchmark.video(episode.video)
        frame = int(rng.integers(len(video)))
        truth = self.benchmark.annotation(episode.video, episode.category, frame)
        # Colours say nothing about what a thing is: each image has its channels in another order.
        images = [image_tensor(image[..., rng.permutation(3)]) for image in (support.image, video[frame])]
        return images[0], mask_tensor(support.mask), images[1], mask_tensor(truth)


def image_tensor(image: np.ndarray) -> Tensor:
    """Return (3, h, w) float32, about -2 to 2, from (H, W, 3) uint8."""
    small = cv2.resize(np.ascontiguousarray(image), SIZE[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 64 - 2


def mask_tensor(mask: np.ndarray) -> Tensor:
    """Return (1, h, w) float32 of 0 and 1 from (H, W) bool."""
    return torch.from_numpy(cv2.resize(mask.astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_AREA)).round()[None]


class Network(nn.Module):
    """Compares each place of a frame with the mean of the support's features under its mask."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            block(3, 32, stride=2), block(32, width, stride=2), block(width, width, dilation=2), block(width, width)
        )
        self.head = nn.Sequential(block(2 * width + 1, 32), block(32, 32, dilation=2), nn.Conv2d(32, 1, 1))

    def forward(self, image: Tensor, mask: Tensor, frame: Tensor) -> Tensor:
        """Return logits (B, 1, h, w) of frames (B, 3, h, w), given supports (B, 3, h, w) with masks (B, 1, h, w)."""
        support, query = self.encoder(image), self.encoder(frame)
        weight = F.adaptive_avg_pool2d(mask, support.shape[-2:])
        prototype = (support * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)
        alike = F.cosine_similarity(query, prototype, dim=1)[:, None]
        logits = self.head(torch.cat([query, prototype.expand_as(query), alike], dim=1))
        return F.interpolate(logits, size=frame.shape[-2:], mode="bilinear")


def block(inner: int, outer: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    conv = nn.Conv2d(inner, outer, 3, stride=stride, padding=dilation, dilation=dilation)
    return nn.Sequential(conv, nn.GroupNorm(8, outer), nn.ReLU())


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Return binary cross-entropy and Dice, added."""
    probability = logits.sigmoid()
    overlap, total = (probability * truth).sum((1, 2, 3)), (probability + truth).sum((1, 2, 3))
    return F.binary_cross_entropy_with_logits(logits, truth) + (1 - (2 * overlap + 1) / (total + 1)).mean()


def train(benchmark: icvos.Benchmark, categories: set[int], path: Path, *, steps: int, batch: int, seed: int) -> None:
    """Train a network, and save its weights with what they have seen."""
    torch.manual_seed(seed)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    frames = Frames(benchmark, categories, length=steps * batch, seed=seed)
    for step, (image, mask, frame, truth) in enumerate(torch.utils.data.DataLoader(frames, batch), 1):
        loss = loss_of(network(image, mask, frame), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step == 1 or step % 50 == 0 or step == steps:
            print(f"step {step:4} of {steps}: loss {loss.item():.3f}", flush=True)
    seen = sorted({episode.category_name for episode in frames.episodes})
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"categories": json.dumps(seen), "data": json.dumps([f"{benchmark.name} {benchmark.version}"])}
    save_file(network.state_dict(), path, metadata=said)


class Small(icvos.VideoModel):
    """The network above on each frame by itself."""

    info = icvos.ModelInfo(
        name="small", version="1", extra="torch", weights={"small": icvos.WeightInfo("examples/own_training.py")}
    )

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.network = Network()
        with safe_open(self.weights["small"], "pt") as file:
            self.network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            seen = {name: tuple(json.loads(text)) for name, text in file.metadata().items()}
        self.network.to(self.device).eval()
        # What these weights were trained on stands in run.json, and boards mark it.
        self.info = replace(type(self).info, training_categories=seen["categories"], training_data=seen["data"])

    @torch.inference_mode()
    def segment(self, supports: Sequence[icvos.Support], video: icvos.Video, *, seed: int) -> Iterator[np.ndarray]:
        image = torch.stack([image_tensor(support.image) for support in supports]).to(self.device)
        mask = torch.stack([mask_tensor(support.mask) for support in supports]).to(self.device)
        for frame in video:
            query = image_tensor(frame)[None].expand(len(supports), -1, -1, -1).to(self.device)
            logits = self.network(image, mask, query).mean(0, keepdim=True)
            yield F.interpolate(logits, size=video.size, mode="bilinear")[0, 0].cpu().numpy() > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="a benchmark to train on; default: the demo world of seed 1")
    parser.add_argument("--benchmark", default="demo", help="what to evaluate on: demo, or a benchmark's folder")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/own-training"), help="weights and run")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    torch.set_num_threads(1)
    folder = words.train
    if folder is None:
        command = ["build-data", "demo", "--seed", "1", "--out", str(words.out / "world")]
        subprocess.run([sys.executable, "-m", "icvos.cli", *command], check=True)
        folder = words.out / "world" / "benchmarks" / "demo"
    benchmark = icvos.load_benchmark(folder)
    numbers = sorted({episode.category for episode in benchmark.episodes})
    held_out = set(numbers[::3])
    weights = words.out / "small.safetensors"
    train(benchmark, set(numbers) - held_out, weights, steps=words.steps, batch=words.batch, seed=words.seed)

    result = icvos.evaluate(
        f"{Path(__file__).resolve()}:Small", words.benchmark, weights={"small": weights}, out=words.out / "run"
    )
    run = icvos.open_run(result.folder)
    seen = run.run["model"]["training_categories"]
    table = run.per_category()[["J", "F", "J&F"]]
    table.insert(0, "seen in training", table.index.isin(seen))
    print(table.round(2).to_string())
    for name, part in table.groupby("seen in training"):
        print(f"J&F of {len(part)} categories {'seen in training' if name else 'held out'}: {part['J&F'].mean():.2f}")
    print(f"J&F of the run, the mean over episodes: {run.score:.2f}")


if __name__ == "__main__":
    try:
        main()
    except icvos.IcvosError as error:
        sys.exit(f"{Path(__file__).stem}: {error}")
