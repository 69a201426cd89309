"""Speed of mask tubes, written and on the fly, against a floor in the same run.

    python benchmarks/mask_tubes.py --coco DIR --split val2014     # all its tubes, three times over
    python benchmarks/mask_tubes.py                                # on 24 drawn images, where no COCO is at hand

The floor decodes the same JPEGs and encodes, for each tube, five JPEGs and five PNGs in memory, by the same encoders at
the same settings, and does nothing else: no masks from run lengths, no warps, no files, no hashes. Both are measured in
turn, in the CPU time of one process, and the best of the rounds counts; ``--workers 2`` also builds with two processes
and compares wall times.
Making a file can take longer than all the rest on a virtual disk: ``--folder /dev/shm`` leaves it out. The on-the-fly
data set is timed as one loader worker runs it; its share outside decode and warp is what remains of the time when the
reading of images and the transforms are taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from icvos.builders.tubes.build import build_mask_tubes, plan_mask_tubes
from icvos.builders.tubes.plan import QUALITY
from icvos.data.class_masks import ClassMasks, coco_masks
from icvos.data.mask_tubes import MaskTubes, TubeRules, make_frame, plan_tube
from icvos.images import read_image
from icvos.masks import encode_mask


def drawn_coco(root: Path) -> None:
    """Write 24 images of 640x480 with two categories each, in the layout of COCO 2014."""
    rng = np.random.default_rng(0)
    (root / "val2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    data: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    data["categories"] = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    for number in range(1, 25):
        rough = cv2.resize(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8), (640, 480))
        fine = rng.normal(0, 8, (480, 640, 3))
        name = f"COCO_val2014_{number:012d}.jpg"
        image = np.clip(rough + fine, 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "val2014" / name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        data["images"].append({"id": number, "file_name": name, "height": 480, "width": 640})
        for category in (17, 18):
            angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
            radius = rng.uniform(50, 140) * (1 + 0.15 * rng.standard_normal(60))
            points = rng.uniform((150, 150), (490, 330)) + radius[:, None] * np.stack(
                [np.cos(angles), np.sin(angles)], 1
            )
            data["annotations"].append(
                {
                    "id": 2 * number + category % 2,
                    "image_id": number,
                    "category_id": category,
                    "iscrowd": 0,
                    "area": 9000.0,
                    "segmentation": [points.ravel().tolist()],
                }
            )
    (root / "annotations" / "instances_val2014.json").write_text(json.dumps(data))


def floor(masks: ClassMasks, rules: TubeRules, tubes: MaskTubes) -> float:
    """Return the seconds of decoding and encoding alone, over all tubes."""
    seconds = 0.0
    for image, category in tubes.pairs:
        pixels, labels = masks.read(image), masks.mask(image, category)
        steps = plan_tube(rules, masks.names[image], category)
        made = [make_frame(pixels, labels, step) for step in steps]
        frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame, _ in made]
        moved = [(mask == 1).astype(np.uint8) for _, mask in made]
        data = masks.path(image).read_bytes()
        begin = time.process_time()
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        for frame, mask in zip(frames, moved):
            cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            encode_mask(mask)
        seconds += time.process_time() - begin
    return seconds


def build(masks: ClassMasks, rules: TubeRules, out: Path, workers: int) -> tuple[float, float]:
    """Return the CPU seconds of this process and the wall's of the whole build: tubes, supports, tables, manifest."""
    plan = plan_mask_tubes(masks, rules)
    busy, begin = time.process_time(), time.perf_counter()
    build_mask_tubes(plan, out, workers=workers)
    seconds = time.process_time() - busy, time.perf_counter() - begin
    shutil.rmtree(out)
    return seconds


def on_the_fly(masks: ClassMasks, tubes: MaskTubes) -> tuple[float, float, float]:
    """Return seconds of all tubes as the data set gives them, and of decoding and of the transforms alone."""
    begin = time.perf_counter()
    for index in range(len(tubes)):
        tubes[index]
    whole = time.perf_counter() - begin
    decode = warp = 0.0
    for image, category in tubes.pairs:
        begin = time.perf_counter()
        pixels = read_image(masks.path(image))
        decode += time.perf_counter() - begin
        labels = masks.mask(image, category)
        steps = plan_tube(tubes.rules, masks.names[image], category)
        begin = time.perf_counter()
        for step in steps:
            make_frame(pixels, labels, step)
        warp += time.perf_counter() - begin
    return whole, decode, warp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, help="COCO's folder; drawn images without it")
    parser.add_argument("--split", default="val2014")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to build; the platform's temporary folder by default")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        work = Path(name)
        if options.coco is None:
            drawn_coco(work / "coco")
        masks = coco_masks(options.coco or work / "coco", options.split, cache=work / "cache")
        rules = TubeRules()
        tubes = MaskTubes(masks, rules)
        frames = len(tubes) * rules.frames
        print(f"{len(tubes)} tubes of {len({image for image, _ in tubes.pairs})} images, {os.cpu_count()} cores")
        times: dict[str, list[float]] = {
            key: [] for key in ("floor", "build", "wall", "fly", "decode", "warp", "workers")
        }
        for _ in range(options.rounds):
            times["floor"].append(floor(masks, rules, tubes))
            figures = build(masks, rules, work / "out", 1), on_the_fly(masks, tubes)
            for key, seconds in zip(("build", "wall", "fly", "decode", "warp"), sum(figures, ())):
                times[key].append(seconds)
            if options.workers > 1:
                times["workers"].append(build(masks, rules, work / "out", options.workers)[1])
        best = {key: min(values) for key, values in times.items() if values}
        print(f"floor: {best['floor']:.2f} s, {frames / best['floor']:.0f} frames/s")
        print(
            f"build: {best['build']:.2f} s, {frames / best['build']:.0f} frames/s, "
            f"{best['floor'] / best['build']:.2f} of the floor"
        )
        if options.workers > 1:
            print(
                f"build, {options.workers} workers: {best['workers']:.2f} s, "
                f"{best['wall'] / best['workers']:.2f} times one"
            )
        rest = 1 - (best["decode"] + best["warp"]) / best["fly"]
        print(
            f"on the fly: {frames / best['fly']:.0f} frames/s a worker; decode {best['decode'] / best['fly']:.0%}, "
            f"warp {best['warp'] / best['fly']:.0%}, the rest {max(rest, 0):.0%}"
        )
        print(
            json.dumps({"of_floor": best["floor"] / best["build"], "frames_a_second_on_the_fly": frames / best["fly"]})
        )


if __name__ == "__main__":
    main()
