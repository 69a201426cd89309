"""Training speed of DC-SAM's image stage against the reference's order of work: same weights, same machine, same run.

    python benchmarks/train.py                               # SAM 2.1 tiny, ResNet-50, 512 px, batch 2; several minutes
    python benchmarks/train.py --steps 1 --rounds 1          # once each
    python benchmarks/train.py --device cuda --batch 8 --precision bf16 --steps 10

The reference encodes by SAM one image at a time and a query three times (for its features, and for each of two
decodings; reference.md, section 6), by the packages' and torch's own layers. Its order is also timed with our layers:
what is left then is the sharing of encodings, which at best halves the time. Ours encodes each image once. With the
feature cache every image was encoded in an earlier epoch. Weights are generated; pictures are noise, and all see the
same. Each time includes forward, backward and the optimiser's step, and for the cache the reading of its files;
decoding JPEGs is in none.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from published import published_layers
from torch import Tensor

from dcsam.config import DCSAMConfig
from dcsam.model import DCSAM
from dcsam.training.feature_cache import FeatureCache
from dcsam.training.module import Both, TrainableDCSAM
from icvos.foundation.load import build_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import ImageFeatures
from icvos.training.frozen import set_training_mode
from icvos.training.loss import segmentation_loss


def build(sam: str, backbone: str, size: int) -> TrainableDCSAM:
    """Return a model with generated weights."""
    torch.manual_seed(0)
    return TrainableDCSAM(
        DCSAM(DCSAMConfig.corrected(backbone=backbone, image_size=size, dropout=0.0)), build_sam(Sam2, sam)
    )


def batch_of(count: int, size: int, device: str) -> dict[str, Tensor]:
    """Return supports, their masks, queries and theirs."""
    generator = torch.Generator().manual_seed(1)
    pictures = F.interpolate(torch.randn(2 * count, 3, size // 16, size // 16, generator=generator), (size, size))
    masks = F.interpolate(torch.rand(2 * count, 1, 4, 4, generator=generator), (size, size))[:, 0] > 0.6
    values = {"support": pictures[:count], "masks": masks[:count], "query": pictures[count:], "truth": masks[count:]}
    return {name: value.to(device) for name, value in values.items()}


def finish(model: TrainableDCSAM, support: Both, query: Both, batch: dict[str, Tensor], decode: Any) -> Tensor:
    """Return the loss from encoded images; ``decode`` is called for each of the two decodings."""
    generator, side = model.generator, model.generator.config.image_size
    state = generator.encode_supports(support[0], batch["masks"], support[1])
    encoded_query = generator.encode_query(query[0], query[1])
    points = model.sam.point_embeddings

    def enlarged(tokens: Tensor) -> Tensor:
        return F.interpolate(decode(tokens).float(), (side, side), mode="bilinear", align_corners=True)

    output = generator(state, encoded_query, decode=enlarged, point_embeddings=points)
    return segmentation_loss(enlarged(generator.tokens(output.prompts, points)), batch["truth"])


def together(model: TrainableDCSAM, batch: dict[str, Tensor], cache: FeatureCache | None) -> Tensor:
    """Return the loss as the toolkit's training computes it."""
    count = len(batch["query"])
    pixels = torch.cat([batch["support"], batch["query"]])
    names = [f"image_{number}" for number in range(2 * count)]
    backbone, sam = model.encode(pixels) if cache is None else cache.encode(model, pixels, names)
    support = backbone.map(lambda maps: maps[:count]), sam[:count]
    query = backbone.map(lambda maps: maps[count:]), sam[count:]
    return finish(model, support, query, batch, lambda tokens: model.decode(query[1], tokens))


def reference(model: TrainableDCSAM, batch: dict[str, Tensor]) -> Tensor:
    """Return the loss in the reference's order of work, without gradients where it has none."""

    def alone(pixels: Tensor) -> ImageFeatures:
        with torch.no_grad():
            return ImageFeatures.cat([model.encode_sam(image[None]) for image in pixels])

    support = model.extract(batch["support"]), alone(batch["support"])
    query = model.extract(batch["query"]), alone(batch["query"])

    def decode(tokens: Tensor) -> Tensor:
        logits = []
        for number in range(len(tokens)):
            features = alone(batch["query"][number : number + 1])
            logits.append(model.decode(features, tokens[number : number + 1]))
        return torch.cat(logits)

    return finish(model, support, query, batch, decode)


def main() -> None:
    """Time the three and print seconds, images a second, ratios and how far the losses lie apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sam", default="sam2.1_hiera_tiny")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="Steps in one timing.")
    parser.add_argument("--rounds", type=int, default=3, help="Timings of each, in turn; the median counts.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache", type=Path, help="Folder for the features; a temporary one by default.")
    values = parser.parse_args()
    if values.threads:
        torch.set_num_threads(values.threads)
    model = build(values.sam, values.backbone, values.size).to(values.device)
    set_training_mode(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    batch = batch_of(values.batch, values.size, values.device)

    def autocast() -> AbstractContextManager[Any]:
        bf16 = values.precision == "bf16"
        return torch.autocast(values.device, dtype=torch.bfloat16) if bf16 else nullcontext()

    def timed(loss_of: Callable[[], Tensor]) -> tuple[float, float, float]:
        begin, busy = time.perf_counter(), time.process_time()
        for _ in range(values.steps):
            optimiser.zero_grad(set_to_none=True)
            with autocast():
                loss = loss_of()
            loss.backward()
            optimiser.step()
        value = float(loss.detach())  # waits for the device
        spent = (time.perf_counter() - begin) / values.steps
        return spent, (time.process_time() - busy) / values.steps, value

    def published() -> Tensor:
        with published_layers(model.generator, model.sam):
            return reference(model, batch)

    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(values.cache or Path(folder), "benchmark")
        print(cache.estimate(model, 2 * values.batch))
        runs: dict[str, Callable[[], Tensor]] = {
            "reference": published,
            "its order, our layers": lambda: reference(model, batch),
            "ours": lambda: together(model, batch, None),
            "ours, features cached": lambda: together(model, batch, cache),
        }
        if values.device == "cuda":
            for loss_of in runs.values():
                timed(loss_of)
        else:
            timed(runs["ours, features cached"])  # fills the cache
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        cpu: dict[str, list[float]] = {name: [] for name in runs}
        losses: dict[str, float] = {}
        for _ in range(values.rounds):
            for name, loss_of in runs.items():
                spent, busy, losses[name] = timed(loss_of)
                seconds[name].append(spent)
                cpu[name].append(busy)
    device = torch.cuda.get_device_name() if values.device == "cuda" else f"{platform.machine()} CPU"
    print(
        f"{values.sam}, {values.backbone}, {values.size} px, batch {values.batch}, {values.precision}, {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    base = median(seconds["reference"])
    record = {}
    for name, took in seconds.items():
        middle = median(took)
        speed, ratio = 2 * values.batch / middle, base / middle
        in_cpu = median(cpu["reference"]) / median(cpu[name])
        to_order = median(cpu["its order, our layers"]) / median(cpu[name])
        record[name] = {"seconds": middle, "images_a_second": speed, "ratio": ratio, "cpu_ratio": in_cpu}
        record[name]["cpu_ratio_to_order"] = to_order
        figures = f"{middle:8.3f} s a step, {speed:7.2f} images/s, {ratio:5.2f} times the reference"
        if values.device == "cpu":
            figures += f" ({in_cpu:.2f} in CPU time; {to_order:.2f} times its order by our layers)"
        print(f"{name:24} {figures}, loss {losses[name]:.5f}")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
