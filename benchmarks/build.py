"""Speed and memory of ``icvos build-data ic-vos`` with hard links, against a floor in the same run.

    python benchmarks/build.py                    # 150 videos of 100 frames, 854x480: about four minutes
    python benchmarks/build.py --videos 8         # small, to see that it works

The floor decodes the same masks and encodes the same one-class PNGs in memory, in one process, and does nothing else:
once with Pillow's encoder at its fastest level, once with the toolkit's own, which makes the same bytes as the build.
Making a file can take longer than all the rest on a virtual disk: ``--folder /dev/shm`` leaves it out.
Raw data are generated in the layout of MOSE and removed afterwards. Peak memory is that of the build's own process and
of its largest worker, for the given data and for videos four times as long.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

H, W = 480, 854
OBJECTS = 2
UNIQUE = 50


def write_raw(root: Path, videos: int, frames: int) -> None:
    """Write raw data: MOSE layout (some unique frames, hard-linked), COCO layout, and a recipe."""
    import cv2
    from PIL import Image

    rng = np.random.default_rng(0)
    stock = root / "stock"
    stock.mkdir(parents=True)
    for index in range(UNIQUE):
        noise = cv2.resize(rng.integers(0, 255, (H // 6, W // 6, 3), dtype=np.uint8), (W, H))
        cv2.imwrite(str(stock / f"{index}.jpg"), noise, [cv2.IMWRITE_JPEG_QUALITY, 90])
        labels = np.zeros((H, W), np.uint8)
        for number in range(1, OBJECTS + 1):
            angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
            radius = rng.uniform(60, 130) * (1 + 0.15 * rng.standard_normal(60))
            centre = rng.uniform((200, 150), (650, 330))
            outline = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(labels, [outline.astype(np.int32)], number)
        image = Image.fromarray(labels)
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        image.save(stock / f"{index}.png")
    recipe = ["source,video,object,category"]
    for video in range(videos):
        name = f"{video:08x}"
        for part, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            folder = root / "mose/train" / part / name
            folder.mkdir(parents=True)
            for frame in range(frames):
                os.link(stock / f"{(frame + video) % UNIQUE}.{suffix}", folder / f"{frame:05d}.{suffix}")
        recipe += [f"mose,{name},1,dog", f"mose,{name},2,cat"]
    (root / "recipe.csv").write_text("\n".join(recipe) + "\n")
    write_coco(root / "coco", stock)


def write_coco(root: Path, stock: Path) -> None:
    """Write ten images of a dog and a cat each, with a polygon."""
    (root / "val2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    data: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    data["categories"] = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    for number in range(1, 11):
        name = f"COCO_val2014_{number:012d}.jpg"
        os.link(stock / f"{number}.jpg", root / "val2014" / name)
        data["images"].append({"id": number, "file_name": name, "height": H, "width": W})
        for category in (17, 18):
            data["annotations"].append(
                {
                    "id": 100 * number + category,
                    "image_id": number,
                    "category_id": category,
                    "iscrowd": 0,
                    "area": 10000.0,
                    "segmentation": [[10, 10, 110, 10, 110, 110, 10, 110]],
                }
            )
    (root / "annotations/instances_val2014.json").write_text(json.dumps(data))


def floor(root: Path, *, own_encoder: bool) -> float:
    """Decode every mask and encode its classes as PNGs in memory, nothing else; return CPU seconds.

    Args:
        root: Raw data.
        own_encoder: Make the very bytes that the build writes; otherwise Pillow's, at its fastest level.
    """
    from PIL import Image

    from icvos.masks import encode_mask

    start = time.process_time()
    for folder in sorted((root / "mose/train/Annotations").iterdir()):
        for path in sorted(folder.iterdir()):
            labels = np.array(Image.open(path))
            for number in range(1, OBJECTS + 1):
                mask = (labels == number).view(np.uint8)
                if own_encoder:
                    encode_mask(mask)
                else:
                    Image.fromarray(mask).save(io.BytesIO(), "PNG", compress_level=1)
    return time.process_time() - start


def build(root: Path, workers: int) -> dict[str, float]:
    """Build in a process of its own; return wall and CPU seconds and peak MiB of it and of its largest worker."""
    out = root / f"B{workers}"
    code = (
        "import json, resource, sys, time\n"
        "import cli\n"
        "if __name__ == '__main__':\n"
        "    start = time.perf_counter()\n"
        "    try: cli.main(sys.argv[1:])\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "    peak = next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1]\n"
        "    print(json.dumps({'wall': time.perf_counter() - start, 'peak': int(peak) / 1024,\n"
        "        'worker_peak': used[1].ru_maxrss / 1024,\n"
        "        'cpu': sum(u.ru_utime + u.ru_stime for u in used)}), file=sys.stderr)\n"
    )
    script = root / "run.py"
    script.write_text(code)
    arguments = ["build-data", "ic-vos", "--mose", str(root / "mose"), "--coco", str(root / "coco"), "--out", str(out)]
    arguments += ["--recipe", str(root / "recipe.csv"), "--allow-incomplete", "--link", "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, check=True
    )
    shutil.rmtree(out)
    return dict(json.loads(done.stderr.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=150)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where to work; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        write_raw(root / "a", options.videos, options.frames)
        count = options.videos * options.frames
        pillow, ours = (floor(root / "a", own_encoder=mine) for mine in (False, True))
        print(f"{options.videos} videos, {count} frames of {H}x{W}, {OBJECTS} classes each; {os.cpu_count()} cores")
        one = build(root / "a", 1)
        report("floor, Pillow's PNGs (level 1)", pillow, count)
        report("floor, the build's own PNGs", ours, count)
        report("build --link --workers 1, CPU", one["cpu"], count)
        print(
            f"share of the floors' speed, per core, start-up included: {pillow / one['cpu']:.2f} and "
            f"{ours / one['cpu']:.2f}"
        )
        two = build(root / "a", 2)
        report("build --link --workers 1, wall", one["wall"], count)
        report("build --link --workers 2, wall", two["wall"], count)
        print(f"two workers: {one['wall'] / two['wall']:.2f} times one")
        print(f"peak memory, MiB: {one['peak']:.0f}; two workers: {two['peak']:.0f}, and {two['worker_peak']:.0f} each")
        few = max(1, options.videos // 4)
        write_raw(root / "few", few, options.frames)
        small = build(root / "few", 1)["peak"]
        print(f"  a quarter of the videos: {small:.0f}")
        write_raw(root / "long", few, 4 * options.frames)
        long = build(root / "long", 1)["peak"]
        print(f"  a quarter of the videos, each four times as long: {long:.0f}")
        print(
            json.dumps(
                {
                    "of_floor": ours / one["cpu"],
                    "of_pillow_floor": pillow / one["cpu"],
                    "two_workers": one["wall"] / two["wall"],
                    "peak_MiB": one["peak"],
                    "peak_of_four_times_the_videos": one["peak"] / small,
                    "peak_of_videos_four_times_as_long": long / small,
                }
            )
        )


def report(what: str, seconds: float, frames: int) -> None:
    """Print a line of the table."""
    print(f"{what:32} {seconds:7.2f} s  {1000 * seconds / frames:6.2f} ms a frame")


if __name__ == "__main__":
    main()
