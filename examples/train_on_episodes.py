"""A small network trained on a benchmark's episodes, by the data sets of icvos.datasets and torch's own loader.

    python examples/train_on_episodes.py

Every fourth video of the demo is held out; on clips of the others a network of 30,000 weights learns to find what the
support shows, and mIoU on the held-out videos is printed before and after: a minute on one core. It takes torch (extra
`torch`). The data are uint8 on the way from the loader's workers, and become floats where the network is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import icvos
from icvos.datasets import EpisodeBatch, EpisodeDataset, stack


class Network(nn.Module):
    """Compares each place of a frame with the mean of the support's features under its mask, and around it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(block(3, width, stride=2), block(width, width, stride=2), block(width, width))
        self.head = nn.Sequential(block(width + 2, 32), nn.Conv2d(32, 1, 1))

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """Return logits (B, T, H, W) of the frames of a batch; of several supports the mean is taken."""
        count, length = batch.masks.shape[:2]
        supports, frames = pixels(batch.supports), pixels(batch.frames)
        features, query = self.encoder(supports.flatten(0, 1)), self.encoder(frames.flatten(0, 1))
        mask = F.adaptive_avg_pool2d(batch.support_masks.flatten(0, 1)[:, None].float(), features.shape[-2:])
        alike = []
        for weight in (mask, 1 - mask):
            mean = (features * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-3)
            mean = mean.unflatten(0, (count, -1)).mean(1).repeat_interleave(length, 0)
            alike.append(F.cosine_similarity(query, mean[..., None, None])[:, None])
        logits = self.head(torch.cat([query, *alike], dim=1))
        return F.interpolate(logits, batch.masks.shape[-2:], mode="bilinear").view_as(batch.masks)


def block(inner: int, outer: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, stride=stride, padding=1), nn.GroupNorm(8, outer), nn.ReLU())


def pixels(images: Tensor) -> Tensor:
    """Return (..., 3, H, W) float32, about -2 to 2, of (..., H, W, 3) uint8."""
    return images.movedim(-1, -3).float() / 64 - 2


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Return binary cross-entropy and Dice, added."""
    probability, truth = logits.sigmoid(), truth.float()
    overlap, total = (probability * truth).sum((1, 2, 3)), (probability + truth).sum((1, 2, 3))
    return F.binary_cross_entropy_with_logits(logits, truth) + (1 - (2 * overlap + 1) / (total + 1)).mean()


@torch.inference_mode()
def miou(network: Network, loader: DataLoader[Any]) -> float:
    """Return the mean over categories of intersection over union, percent, of all frames that the loader gives."""
    inter: defaultdict[int, int] = defaultdict(int)
    union: defaultdict[int, int] = defaultdict(int)
    for batch in loader:
        found = network(batch) > 0
        for category, mask, truth in zip(batch.categories.tolist(), found, batch.masks):
            inter[category] += int((mask & truth).sum())
            union[category] += int((mask | truth).sum())
    return 100 * sum(inter[category] / max(union[category], 1) for category in union) / len(union)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", help="a benchmark of videos; default: the demo")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--size", type=int, default=96, help="side of the squares")
    parser.add_argument("--workers", type=int, default=2, help="processes that read")
    words = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    benchmark = icvos.load_benchmark(words.benchmark or "demo")
    held_out = set(sorted(benchmark.videos)[::4])
    parts = [[e for e in benchmark.episodes if (e.video in held_out) == held] for held in (False, True)]
    train, held = (EpisodeDataset(benchmark, frames=4, size=words.size, episodes=part) for part in parts)
    options: dict[str, Any] = {"num_workers": words.workers, "persistent_workers": words.workers > 0}
    loader = DataLoader(train, 8, shuffle=True, collate_fn=stack, **options)
    validation = DataLoader(held, 8, collate_fn=stack, **options)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=words.epochs * len(loader))
    videos = len(benchmark.videos) - len(held_out)
    print(f"{len(train)} episodes of {videos} videos, {len(held)} of {len(held_out)} held out")
    print(f"before: mIoU {miou(network, validation):.2f} on the videos held out", flush=True)
    begin = time.monotonic()
    for epoch in range(words.epochs):
        train.set_epoch(epoch)  # other clips of the same episodes
        losses = []
        for batch in loader:
            loss = loss_of(network(batch), batch.masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2} of {words.epochs}: loss {sum(losses) / len(losses):.3f}", flush=True)
    seconds = time.monotonic() - begin
    print(f"after:  mIoU {miou(network, validation):.2f} on the videos held out, {seconds:.0f} s of training")


if __name__ == "__main__":
    try:
        main()
    except icvos.IcvosError as error:
        sys.exit(f"{Path(__file__).stem}: {error}")
