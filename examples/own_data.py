"""A benchmark of your own videos: a folder of videos with masks, supports from COCO, and two methods on it.

    python examples/own_data.py

It draws three short videos with masks, in the layout that `--folder` reads, and a few photographs in COCO's layout;
builds a benchmark from both, checks it, evaluates two methods, and prints the tables: ten seconds on one core. Put
your own videos in place of the drawn ones, and the real COCO in place of `coco`; the commands stay the same, and are
printed as they run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import icvos

THINGS = ("sports ball", "kite")  # called as COCO calls them
SIZE = (120, 160)


def scene(rng: np.random.Generator, step: float = 0.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw a picture with one of each thing, both in colours of their own.

    Args:
        rng: Of colours and places; the same one is the same scene.
        step: How far the things have moved, 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB, and each thing's mask, (H, W) bool.
    """
    height, width = SIZE
    ground = rng.integers(60, 140, (4, 4, 3)).astype(np.uint8)
    image = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC))
    masks = {}
    for number, thing in enumerate(THINGS):
        y = rng.uniform(0.3, 0.7) * height
        x = (0.25 + 0.5 * number + rng.uniform(-0.15, 0.15) * step) * width
        radius, angle = rng.uniform(14, 22), rng.uniform(0, 2 * np.pi) + step
        corners = 40 if thing == "sports ball" else 4
        turns = angle + 2 * np.pi * np.arange(corners) / corners
        reach = radius * np.where((corners == 4) & (np.arange(corners) == 0), 1.8, 1.0)  # a kite has one long corner
        points = np.stack([x + reach * np.cos(turns), y + reach * np.sin(turns)], axis=1)
        mask = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
        image[mask > 0] = rng.integers(0, 256, 3)
        masks[thing] = mask > 0
    return image, masks


def write_videos(folder: Path, *, videos: int, frames: int) -> None:
    """Write VIDEO/frames with an image a frame, and VIDEO/masks/THING with a mask of 0 and 255 a frame."""
    for video in range(videos):
        for index in range(frames):
            image, masks = scene(np.random.default_rng([1, video]), index / frames)
            save(folder / f"clip-{video}" / "frames" / f"{index:05d}.jpg", image)
            for thing, mask in masks.items():
                save(folder / f"clip-{video}" / "masks" / thing / f"{index:05d}.png", mask.astype(np.uint8) * 255)


def write_coco(folder: Path, *, images: int) -> None:
    """Write photographs and what is in them as COCO has it: val2014, and annotations/instances_val2014.json."""
    listed: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(1, images + 1):
        image, masks = scene(np.random.default_rng([2, number]))
        name = f"COCO_val2014_{number:012d}.jpg"
        save(folder / "val2014" / name, image)
        listed.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        for category, mask in enumerate(masks.values(), 1):
            (outline,), _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            x, y, width, height = map(int, cv2.boundingRect(outline))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": [outline.ravel().tolist()],
                    "area": int(mask.sum()),
                    "bbox": [x, y, width, height],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": thing} for number, thing in enumerate(THINGS, 1)]
    path = folder / "annotations" / "instances_val2014.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": categories}))


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def icvos_command(*words: object) -> None:
    """Run a command of icvos, after printing it."""
    print("$ icvos", *words, flush=True)
    status = subprocess.run([sys.executable, "-m", "icvos.cli", *map(str, words)], check=False).returncode
    if status:
        sys.exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/own-data"), help="a folder that is not there")
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--frames", type=int, default=20, help="of each video")
    words = parser.parse_args()
    if words.out.exists():
        parser.error(f"{words.out} is there already; choose another --out, or delete it")
    videos, coco, benchmark = words.out / "videos", words.out / "coco", words.out / "benchmark"
    write_videos(videos, videos=words.videos, frames=words.frames)
    write_coco(coco, images=24)
    sources = ["--folder", videos, "--coco", coco, "--support-min-area", 200]  # drawn photographs are small
    rules = ["--draws", 2, "--shots", 3, "--name", "my-videos"]
    icvos_command("build-data", "ic-vos", *sources, *rules, "--out", benchmark)
    icvos_command("build-data", "check", benchmark)

    opened = icvos.load_benchmark(benchmark)
    print(opened)
    for model in (f"{Path(__file__).resolve().parent / 'own_method.py'}:Outline", "histogram"):
        result = icvos.evaluate(model, opened, out=words.out / model.rpartition(":")[2].lower())
        run = icvos.open_run(result.folder)
        print(f"\n{run.label}: J&F {run.score:.2f}")
        print(run.per_category()[["J", "F", "J&F"]].round(2).to_string())


if __name__ == "__main__":
    try:
        main()
    except icvos.IcvosError as error:
        sys.exit(f"{Path(__file__).stem}: {error}")
