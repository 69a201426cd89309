"""Speed of DC-SAM at work against the reference's order of work: same weights (generated), same machine, same run.

    python benchmarks/dcsam_speed.py                           # CPU: SAM 2.1 tiny, ResNet-50, 512 px; several minutes
    python benchmarks/dcsam_speed.py --rounds 1 --frames 3     # once each
    python benchmarks/dcsam_speed.py --gpu --sam sam2.1_hiera_large --frames 64

The reference encodes the query of an image episode three times and the frames of a video T + 3 times for each support
set, one image and one episode at a time (reference.md, section 6). Ours encodes each image once; five draws of a video
share its frames and step through the tracker as a batch. An image episode is support, query and mask; reading files and
scoring are in neither. On a busy machine the ratio of CPU time says more than that of the wall's. ``--gpu`` also takes
frames a second in bf16, fp32 and compiled, and the share of time outside SAM's image encoder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from published import published_layers

from dcsam.config import DCSAMConfig
from dcsam.engine import Engine, Fitted
from dcsam.model import DCSAM
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.load import build_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.tracker import Tracker, TrackerOptions
from icvos.types import Support


class Frames:
    """A video of drawn pictures: a disk that moves over smooth noise; each frame is made when asked for."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.count, self.size = count, size
        generator = np.random.default_rng(0)
        small = generator.integers(0, 200, (size[0] // 24 + 1, size[1] // 24 + 1, 3)).astype(np.uint8)
        self.ground = np.kron(small, np.ones((24, 24, 1), np.uint8))[: size[0], : size[1]]
        self.rows, self.columns = np.mgrid[: size[0], : size[1]]

    def __len__(self) -> int:
        return self.count

    def mask(self, index: int) -> np.ndarray:
        """Return where the disk is."""
        height, width = self.size
        x = width * (0.3 + 0.4 * (index % 50) / 50)
        return (self.rows - height / 2) ** 2 + (self.columns - x) ** 2 < (height / 5) ** 2

    def __getitem__(self, index: int, /) -> np.ndarray:
        image = self.ground.copy()
        image[self.mask(index)] = (220, 70, 40)
        return image

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(self.count))


def build(sam: str, device: str, precision: str, size: int, ahead: int, *, plain: bool = False) -> Engine:
    """Return an engine with generated weights; the score head says that the thing is there.

    ``plain`` leaves the weights as published, see ``published_layers``.
    """
    torch.manual_seed(0)
    segmenter = build_sam(Sam2, sam)
    with torch.no_grad():
        segmenter.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(10.0)
    model = DCSAM(DCSAMConfig.corrected(image_size=size)).eval()
    for module in (segmenter, model):
        module.requires_grad_(False).to(device).eval()
    if not plain:
        model.fold_backbone()
    engine = Engine(model, segmenter, precision=precision, ahead=ahead)
    if not plain:
        engine.cast_weights()
    return engine


def supports(count: int) -> list[Support]:
    """Return supports, all different."""
    video = Frames(count, (480, 640))
    return [Support(np.roll(video[i], 30 * i, axis=0), np.roll(video.mask(i), 30 * i, axis=0)) for i in range(count)]


# ---- the two orders of work ------------------------------------------------------------------------------------------


@torch.no_grad()
def reference_prompts(engine: Engine, support: Support, image: np.ndarray, *, video: bool) -> torch.Tensor:
    """Return the final prompts; the query is encoded for its features and again to decode its coarse mask."""
    pixels = engine.pixels(image)
    with engine.autocast():
        state = engine.supports([[support]])
        encoded = engine.encode(pixels, top=True)

        def decode(tokens: torch.Tensor) -> torch.Tensor:
            again = engine.segmenter.encode(engine.to_sam(engine.normalised(pixels)))
            return engine._decoder(again, video=video)(tokens)

        output = engine.model(
            state, engine.query(encoded), decode=decode, point_embeddings=engine.segmenter.point_embeddings
        )
        return engine.tokens(output)


@torch.no_grad()
def reference_image(engine: Engine, support: Support, image: np.ndarray) -> torch.Tensor:
    """Return the mask; the query is encoded a third time for the last decoding."""
    tokens = reference_prompts(engine, support, image, video=False)
    with engine.autocast():
        last = engine.segmenter.encode(engine.to_sam(engine.normalised(engine.pixels(image))))
        return engine._decoder(last, video=False)(tokens) > 0


@torch.no_grad()
def reference_video(engine: Engine, episodes: list[Support], video: Frames) -> list[torch.Tensor]:
    """Return each episode's masks on the last frame; one episode, one image at a time."""
    masks_of_episodes = []
    for support in episodes:
        tokens = reference_prompts(engine, support, video[0], video=True)
        tracker = Tracker(engine.segmenter, TrackerOptions.dc_sam())  # type: ignore[arg-type]
        bank = tracker.start(num_frames=len(video))
        for index, frame in enumerate(video):
            with engine.autocast():
                features = engine.segmenter.encode(engine.to_sam(engine.normalised(engine.pixels(frame))))
                prompt = Prompt(embeddings=tokens) if index == 0 else None
                masks = engine._enlarged(tracker.step(bank, features, prompt=prompt).logits, video.size)
        masks_of_episodes.append(masks)
    return masks_of_episodes


@torch.no_grad()
def our_image(engine: Engine, support: Support, image: np.ndarray) -> torch.Tensor:
    """Return the mask as the plugin computes it."""
    with engine.autocast():
        return engine.segment_image(Fitted([[support]]), image)[0] > 0


@torch.no_grad()
def our_video(engine: Engine, episodes: list[Support], video: Frames) -> list[torch.Tensor]:
    """Return each episode's masks on the last frame as the plugin computes them."""
    with engine.autocast():
        state = engine.supports([[support] for support in episodes])
    for masks in engine.track(state, video):
        last = masks
    return [last[number : number + 1] for number in range(len(last))]


# ---- timing ----------------------------------------------------------------------------------------------------------


def seconds(work: Callable[[], Any], device: str) -> tuple[float, float, Any]:
    """Return the wall time of a piece of work, the device's included, its CPU time, and its result."""
    if device == "cuda":
        torch.cuda.synchronize()
    begin, busy = time.perf_counter(), time.process_time()
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, time.process_time() - busy, result


def compare(name: str, parts: dict[str, Callable[[], Any]], units: float, unit: str, rounds: int, device: str) -> Any:
    """Time several ways in turn; print and return the median of each, and its ratio to the first."""
    took: dict[str, list[float]] = {key: [] for key in parts}
    cpu: dict[str, list[float]] = {key: [] for key in parts}
    results: dict[str, Any] = {}
    if device == "cuda":
        for work in parts.values():
            work()
    for _ in range(rounds):
        for key, work in parts.items():
            spent, busy, results[key] = seconds(work, device)
            took[key].append(spent)
            cpu[key].append(busy)
    base, record = median(next(iter(took.values()))), {}
    busiest = median(next(iter(cpu.values())))
    for key, values in took.items():
        middle, in_cpu = median(values), busiest / median(cpu[key])
        speed, ratio = units / middle, base / middle
        record[key] = {"seconds": middle, f"{unit}_a_second": speed, "ratio": ratio, "cpu_ratio": in_cpu}
        line = f"{name:26} {key:22} {middle:9.3f} s {speed:8.2f} {unit}/s {ratio:6.2f} times"
        print(line + ("" if device == "cuda" else f", {in_cpu:.2f} in CPU time"), flush=True)
    first, *others = (_bits(result) for result in results.values())
    record["agreement"] = min((float((first == other).float().mean()) for other in others), default=1.0)
    print(f"{name:26} masks agree on {record['agreement']:.4%} of the pixels", flush=True)
    return record


def _bits(result: Any) -> torch.Tensor:
    parts = result if isinstance(result, list) else [result]
    return torch.cat([part.flatten().cpu() for part in parts])


def against_reference(plain: Engine, engine: Engine, values: argparse.Namespace, device: str) -> dict[str, Any]:
    """Compare an image episode, one draw and five draws of a video."""

    def published(work: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with published_layers(plain.model, plain.segmenter):
                return work()

        return run

    examples = supports(5)
    # At the model's size: then neither order resizes its masks.
    image = Frames(1, (values.size, values.size))[0]
    video = Frames(values.frames, (480, 640))
    return {
        "image episode": compare(
            "image episode",
            {
                "reference": published(lambda: reference_image(plain, examples[0], image)),
                "its order, our layers": lambda: reference_image(engine, examples[0], image),
                "ours": lambda: our_image(engine, examples[0], image),
            },
            1,
            "episodes",
            # Short: a round more costs little.
            max(3, values.rounds),
            device,
        ),
        "one draw": compare(
            f"video of {values.frames}, one draw",
            {
                "reference": published(lambda: reference_video(plain, examples[:1], video)),
                "ours": lambda: our_video(engine, examples[:1], video),
            },
            values.frames,
            "frames",
            values.rounds,
            device,
        ),
        "five draws": compare(
            f"video of {values.frames}, five draws",
            {
                "reference": published(lambda: reference_video(plain, examples, video)),
                "ours": lambda: our_video(engine, examples, video),
            },
            5 * values.frames,
            "frames",
            values.rounds,
            device,
        ),
    }


def on_gpu(values: argparse.Namespace) -> dict[str, Any]:
    """Frames a second by precision, the share outside the encoder, and five draws against one."""
    record: dict[str, Any] = {}
    video, examples = Frames(values.frames, (480, 854)), supports(5)
    for name, precision, compiled in (("bf16", "bf16", False), ("fp32", "fp32", False), ("compiled", "bf16", True)):
        engine = build(values.sam, "cuda", precision, values.size, values.ahead)
        if compiled:
            engine.compile()
        for count in (1, 5):
            our_video(engine, examples[:count], video)  # warms up, compiles
        one = median(
            seconds(lambda e=engine: our_video(e, examples[:1], video), "cuda")[0] for _ in range(values.rounds)
        )
        five = median(seconds(lambda e=engine: our_video(e, examples, video), "cuda")[0] for _ in range(values.rounds))
        encoder = _encoder_seconds(engine, video)
        record[name] = {
            "frames_a_second": values.frames / one,
            "share_outside_encoder": 1 - encoder / one,
            "five_draws_over_one": five / one,
            "peak_memory_GiB": torch.cuda.max_memory_allocated() / 2**30,
        }
        print(
            f"{values.sam} {name:9} {values.frames / one:8.2f} frames/s, {1 - encoder / one:.0%} of the time outside "
            f"the encoder, five draws take {five / one:.2f} times one",
            flush=True,
        )
        torch.cuda.reset_peak_memory_stats()
    return record


@torch.no_grad()
def _encoder_seconds(engine: Engine, video: Frames) -> float:
    """Return the time that the encoder alone takes for a video's frames, as many at a time as in the run."""
    pixels = engine.to_sam(engine.normalised(torch.cat([engine.pixels(video[0])] * engine.ahead)))

    def work() -> None:
        with engine.autocast():
            for start in range(0, len(video), engine.ahead):
                engine.segmenter.encode(pixels[: len(video) - start])

    work()
    return seconds(work, "cuda")[0]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="On CUDA, with the GPU's own figures.")
    parser.add_argument("--sam", default="sam2.1_hiera_tiny")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ahead", type=int, default=8, help="Frames encoded together on the GPU.")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--skip-reference", action="store_true", help="With --gpu: only ours.")
    values = parser.parse_args()
    if values.threads:
        torch.set_num_threads(values.threads)
    kind = "cuda" if values.gpu else "cpu"
    device = torch.cuda.get_device_name() if values.gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{values.sam}, ResNet-50, {values.size} px, {device}, torch {torch.__version__}")
    record: dict[str, Any] = {}
    if not (values.gpu and values.skip_reference):
        precision, ahead = ("bf16", values.ahead) if values.gpu else ("fp32", 1)
        plain = build(values.sam, kind, precision, values.size, ahead, plain=True)
        engine = build(values.sam, kind, precision, values.size, ahead)
        if values.gpu:
            our_video(engine, supports(1), Frames(8, (480, 640)))
        record["against_reference"] = against_reference(plain, engine, values, kind)
        del plain, engine
    if values.gpu:
        record["gpu"] = on_gpu(values)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
