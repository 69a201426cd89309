"""What a dry run puts in the place of real inputs: the demo's raw layouts, small weights, a few frames and steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import build_demo, load_benchmark
from icvos.images import write_image
from icvos.masks import write_mask
from icvos.plugins import package_files
from icvos.reproduce.rung import Rung

__all__ = ["shorten", "stand_in_data", "stand_in_weights", "write_release"]

# What makes a command short, by its first words; it stands last, and the last of an option counts.
_SHORT: dict[tuple[str, ...], tuple[str, ...]] = {
    ("build-data", "coco-20i"): ("--min-area", "100", "--paper-episodes", "1"),
    ("build-data", "ic-vos"): ("--support-min-area", "100"),
    ("build-data", "vos", "--davis"): ("--max-frames", "4"),
    # The one LVOS video of the tiny demo is in its train split.
    ("build-data", "vos", "--lvos"): ("--max-frames", "4", "--split", "train"),
    # An episode of each fold, where there are folds.
    ("evaluate",): ("--limit-episodes", "4", "--limit-frames", "3", "--no-verify"),
    # Without a process that loads data, which would import everything again.
    ("train",): ("--max-steps", "1", "--batch", "1", "--workers", "0", "--set", "min_area=100"),
}
# The same by the model that is evaluated.
_SHORT_MODEL = {
    "matcher": ("--set", "size=56", "--set", "iterations=2", "--set", "dense=false"),
    "persam-f": ("--set", "steps=2"),
    "persam-f+sam2": ("--set", "steps=2"),
}
# A new model in training is of the small backbone's sizes; later stages take theirs from the checkpoint before.
_SMALL_MODEL = ("--set", "backbone=small", "--set", "image_size=64")


def shorten(words: Sequence[str]) -> list[str]:
    """Return a command that does the same on a few frames, episodes or steps."""
    more = next((more for first, more in _SHORT.items() if tuple(words[: len(first)]) == first), ())
    if words[0] == "evaluate":
        return [*words, *more, *_SHORT_MODEL.get(words[words.index("--model") + 1], ())]
    new = words[0] == "train" and any(word.startswith("backbone=") for word in words)
    return [*words, *more, *(_SMALL_MODEL if new else ())]


def stand_in_data(folder: Path) -> dict[str, Path]:
    """Draw the tiny demo world and return the folder that stands for each data set, by its name."""
    root = folder / "demo"
    benchmark = load_benchmark(build_demo("demo", "tiny", 0, root))
    raw = root / "raw"
    release = write_release(benchmark, folder / "release")
    return {"davis": raw / "davis", "lvos": raw / "lvos", "coco": raw / "coco", "ic-vos": release}


def write_release(benchmark: Benchmark, folder: Path) -> Path:
    """Write a benchmark's videos as the authors of IC-VOS lay theirs out: ``VIDEO/Annotations/CLASS/0.png``."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    for name, record in benchmark.videos.items():
        video = benchmark.video(name)
        categories = [category for video_name, category in benchmark.pairs if video_name == name]
        for frame in range(record.frames):
            write_image(partial / name / "JPEGImages" / f"{frame}.jpg", video[frame])
            for category in categories:
                mask = benchmark.annotation(name, category, frame)
                write_mask(partial / name / "Annotations" / str(category) / f"{frame}.png", mask.astype("uint8"))
    partial.rename(folder)
    return folder


def stand_in_weights(rung: Rung, folder: Path) -> dict[str, Path]:
    """Return a small file for each checkpoint of a rung: the demo's SAM 2, and small ones with random weights."""
    return {name: _stand_in(name, folder) for name in rung.weights}


def _stand_in(name: str, folder: Path) -> Path:
    if name.startswith("sam2"):
        return package_files({"sam2": "icvos/demo/weights/demo_sam2.safetensors"})["sam2"]
    path = folder / f"{name}.safetensors"
    if name.startswith("seggpt"):
        from icvos.foundation.seggpt import save_small_seggpt

        return save_small_seggpt(folder / name)
    if not path.is_file():
        if name.startswith("sam-"):
            _save_sam1(path)
        elif name.startswith("dinov2"):
            sizes = {"width": 24, "depth": 6, "heads": 2, "patch": 14, "pretrain_size": 56}
            _save_backbone(path, name.replace("-", "_"), sizes)
        else:
            _save_backbone(path, "small", {})
    return path


def _save_sam1(path: Path) -> None:
    import torch

    from icvos.foundation.load import build_sam, save_sam
    from icvos.foundation.sam1 import Sam1, Sam1Config

    torch.manual_seed(0)
    config = Sam1Config(
        "small",
        width=24,
        depth=2,
        heads=2,
        global_blocks=(1,),
        image_size=64,
        window=3,
        embed_dim=32,
        decoder_heads=4,
        decoder_mlp=64,
    )
    save_sam(path, build_sam(Sam1, config))


def _save_backbone(path: Path, name: str, options: Mapping[str, int]) -> None:
    import torch

    from icvos.foundation.backbones import create_backbone
    from icvos.foundation.weights import save_state

    torch.manual_seed(0)
    content = {"config": {"backbone": name, "backbone_options": dict(options)}}
    save_state(path, create_backbone(name, dict(options)).state_dict(), metadata={"config": json.dumps(content)})
