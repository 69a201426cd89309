"""Speed and memory of the builders with hard links, against a floor in the same run.

    python benchmarks/build.py                           # IC-VOS, 150 videos of 100 frames, 854x480: about four minutes
    python benchmarks/build.py --size 8                  # small, to see that it works
    python benchmarks/build.py --of lvis-92i             # another builder
    python benchmarks/build.py --of lvis-92i-large       # memory alone, of an annotation file of 1 GB

Raw data are generated in their authors' layouts (raw_data.py) and removed afterwards; ``icvos build-data`` builds from
them in a process of its own, its cache empty. Its time is all that it takes: start-up, hashes, links, tables.

The floor decodes the same masks and encodes the same PNGs in memory, in one process, and does nothing else: annotation
files are parsed by Python's json or pickle, polygons and run lengths made pixels by pycocotools, mask files decoded by
Pillow. What shows nothing is left out, and a mask of an image that is a query and a support counts once. The encoder is
the toolkit's own, which makes the same bytes; beside it stands Pillow's at its fastest level.

Making a file can take longer than all the rest on a virtual disk: ``--folder /dev/shm`` leaves it out. Peak memory is
that of the build's own process and of its largest worker; of IC-VOS also for a quarter of the videos, and for these
four times as long.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import raw_data
from PIL import Image
from pycocotools import mask as rle

from icvos.categories import COCO80
from icvos.errors import UsageError, one_line
from icvos.masks import encode_mask
from icvos.sources.lvis import image_name

Masks = Iterator[np.ndarray]
Pairs = dict[tuple[int, str], list[Any]]
"""Segmentations by category and name of the image in the benchmark."""


# ------------------------------------------------------------------------------------------------- decoding, floor


def decode_mose(root: Path, out: Path) -> Masks:
    """Yield the (H, W) uint8 masks of each object."""
    for path in sorted((root / "mose/train/Annotations").rglob("*.png")):
        labels = np.array(Image.open(path))
        yield from ((labels == number).view(np.uint8) for number in range(1, raw_data.OBJECTS + 1))


def decode_fss(root: Path, out: Path) -> Masks:
    """Yield the (H, W) uint8 masks of all classes."""
    for path in sorted((root / "FSS-1000/data").rglob("*.png")):
        yield (np.array(Image.open(path).convert("L")) >= 128).view(np.uint8)


def decode_ytvis(root: Path, out: Path) -> Masks:
    """Yield the (H, W) uint8 unions of group 1's categories that are built."""
    content = json.loads((root / "train/train.json").read_bytes())
    content["annotations"] = [row for row in content["annotations"] if row["category_id"] % 4 == 1]
    yield from _unions(content, out, first=0)


def decode_saco(root: Path, out: Path) -> Masks:
    """Yield the (H, W) uint8 unions of the phrases that are there."""
    content = json.loads((root / "annotation/saco_veval_smartglasses_test.json").read_bytes())
    yield from _unions(content, out, first=1)


def _unions(content: dict[str, Any], out: Path, *, first: int) -> Masks:
    """Yield the union of each category on the frames of the videos that are built, and on those that support.

    Args:
        content: Of the annotation file.
        out: What was built.
        first: The number there of a category whose id is 0.
    """
    files = {row["id"]: [Path(file) for file in row["file_names"]] for row in content["videos"]}
    frames = {of[0].parent.name: [file.stem for file in of] for of in files.values()}
    tracks: dict[tuple[str, int], list[list[Any]]] = {}
    for row in content["annotations"]:
        video = files[row["video_id"]][0].parent.name
        tracks.setdefault((video, row["category_id"] + first), []).append(row["segmentations"])
    built = {path.name.split("__")[1] for path in (out / "videos").iterdir()}
    for (video, _), of in tracks.items():
        if video in built:
            yield from (_pixels(_code(list(shapes), shapes[0]["size"])) for shapes in zip(*of))
    for path in (out / "supports/masks").glob("*/*.png"):
        _, video, frame = path.stem.split("__")
        shapes = [of[frames[video].index(frame)] for of in tracks[video, int(path.parent.name)]]
        yield _pixels(_code(shapes, shapes[0]["size"]))


def _code(shapes: list[Any], size: tuple[int, int]) -> Any:
    """Return the compressed run lengths of the union of what JSON holds: run lengths in either form, or polygons."""
    if isinstance(shapes[0], dict):
        texts = (shape if isinstance(shape["counts"], str) else rle.frPyObjects(shape, *size) for shape in shapes)
        return rle.merge(list(texts))
    return rle.merge([rle.merge(rle.frPyObjects(shape, *size)) for shape in shapes])


def _pixels(code: Any) -> np.ndarray:
    # By rows, as an encoder takes them.
    return np.ascontiguousarray(rle.decode(code))


def decode_polygons(root: Path, out: Path, *, read: Callable[[Path], Pairs], every: bool) -> Masks:
    """Yield the (H, W) uint8 masks of each category of an image that the benchmark has.

    Args:
        root, out: The raw data, and what was built.
        read: Parses the annotation file.
        every: Whether all masks have to be known, at least as run lengths, to say what is a candidate.
    """
    size = raw_data.COCO_SIZE
    built = {(int(path.parent.name), path.stem) for path in out.glob("*/masks/*/*.png")}
    for pair, shapes in read(root).items():
        if every or pair in built:
            code = _code(shapes, size)
            if pair in built:
                yield _pixels(code)


def read_lvis(root: Path) -> Pairs:
    """Parse LVIS' JSON."""
    content = json.loads((root / "lvis_v1_val.json").read_bytes())
    names = {row["id"]: image_name("/".join(row["coco_url"].split("/")[-2:])) for row in content["images"]}
    return _by_pair((row["category_id"], names[row["image_id"]], row) for row in content["annotations"])


def read_coco(root: Path) -> Pairs:
    """Parse COCO's JSON."""
    content = json.loads((root / "coco/annotations/instances_val2014.json").read_bytes())
    names = {row["id"]: Path(row["file_name"]).stem for row in content["images"]}
    numbers = {number: index for index, number in enumerate(COCO80.source_ids, 1)}
    return _by_pair((numbers[row["category_id"]], names[row["image_id"]], row) for row in content["annotations"])


def read_matcher_lvis(root: Path) -> Pairs:
    """Parse Matcher's pickle of LVIS."""
    lists = pickle.loads((root / "LVIS/lvis_val.pkl").read_bytes())
    files = ((category, file, image) for category, images in lists.items() for file, image in images.items())
    return _by_pair((c, image_name(file), row) for c, file, image in files for row in image["annotations"])


def _by_pair(rows: Iterator[tuple[int, str, dict[str, Any]]]) -> Pairs:
    pairs: Pairs = {}
    for category, name, row in rows:
        pairs.setdefault((category, name), []).append(row["segmentation"])
    return pairs


def floor(
    decode: Callable[[Path, Path], Masks], root: Path, out: Path, *, encode: Callable[[np.ndarray], object]
) -> float:
    """Decode the masks and encode each as a PNG in memory, nothing else; return CPU seconds.

    Args:
        decode: Yields the masks.
        root, out: The raw data, and what was built.
        encode: Makes the very bytes that the build writes; or Pillow's, at its fastest level.
    """
    start = time.process_time()
    for mask in decode(root, out):
        encode(mask)
    return time.process_time() - start


def pillow_png(labels: np.ndarray) -> None:
    """Encode (H, W) uint8 labels by Pillow at its fastest level."""
    Image.fromarray(labels).save(io.BytesIO(), "PNG", compress_level=1)


# ------------------------------------------------------------------------------------------------------- builders


@dataclass(frozen=True)
class Builder:
    """A builder, and what it builds from.

    Attributes:
        size: Videos, classes or images, by default.
        what: Which of these.
        write: Writes raw data of a size.
        command: Of ``icvos build-data``; ``{root}`` is the raw data's folder.
        decode: Yields the masks of the raw data; None where memory alone is measured.
    """

    size: int
    what: str
    write: Callable[[Path, int], None]
    command: str
    decode: Callable[[Path, Path], Masks] | None

    def arguments(self, root: Path, out: Path, workers: int) -> list[str]:
        """Return the arguments of ``icvos`` that build."""
        words = [word.format(root=root) for word in self.command.split()]
        return ["build-data", *words, "--out", str(out), "--link", "--workers", str(workers)]


_LVIS = partial(decode_polygons, read=read_lvis, every=True)
_MATCHER_LVIS = partial(decode_polygons, read=read_matcher_lvis, every=False)
_MATCHER_COCO = partial(decode_polygons, read=read_coco, every=False)
IC_VOS = "ic-vos --mose {root}/mose --coco {root}/coco --recipe {root}/recipe.csv --allow-incomplete"
FSVOS = "youtube-fsvos --ytvis {root} --group 1"
MATCHER_COCO = "coco-20i --coco {root}/coco --lists {root} --episodes matcher --paper-episodes 100"
BUILDERS = {
    "ic-vos": Builder(150, "videos", raw_data.write_mose, IC_VOS, decode_mose),
    "youtube-fsvos": Builder(200, "videos", raw_data.write_ytvis, FSVOS, decode_ytvis),
    "youtube-fsvos-danet": Builder(
        200, "videos", raw_data.write_ytvis, f"{FSVOS} --episodes danet --seed 42", decode_ytvis
    ),
    "fss-1000": Builder(240, "classes", raw_data.write_fss, "fss-1000 --fss {root}", decode_fss),
    "lvis-92i": Builder(1500, "images", raw_data.write_lvis, "lvis-92i --lvis {root}", _LVIS),
    "lvis-92i-matcher": Builder(
        2000,
        "images",
        raw_data.write_matcher_lvis,
        "lvis-92i --lvis {root} --episodes matcher --fold 0",
        _MATCHER_LVIS,
    ),
    "lvis-92i-large": Builder(
        100_000, "images", raw_data.write_lvis, "lvis-92i --lvis {root} --fold 0 --min-area 100000", None
    ),
    "coco-20i-matcher": Builder(4000, "images", raw_data.write_matcher_coco, MATCHER_COCO, _MATCHER_COCO),
    "saco-ic": Builder(12, "videos", raw_data.write_saco, "saco-ic --saco {root}", decode_saco),
}

# Runs a command, and says on its last line what that took of its process and of its workers.
DRIVER = """
import contextlib, json, os, resource, sys, threading, time
import cli

workers = [0]


def peak(process):
    with open(f'/proc/{process}/status') as lines:
        return int(next(line for line in lines if line.startswith('VmHWM')).split()[1]) / 1024


def watch(process):
    # A child's ru_maxrss begins with what its parent had when it was forked.
    while True:
        with open(f'/proc/{process}/task/{process}/children') as stream:
            children = stream.read().split()
        for child in children:
            with contextlib.suppress(OSError, StopIteration):  # it has ended
                workers.append(peak(child))
        time.sleep(0.05)


if __name__ == '__main__':
    start = time.perf_counter()
    if int(sys.argv[1]) > 1:
        threading.Thread(target=watch, args=(os.getpid(),), daemon=True).start()
    try: cli.main(sys.argv[2:])
    except SystemExit as stop: assert not stop.code
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures = {'wall': time.perf_counter() - start, 'peak': peak('self'), 'worker_peak': max(workers)}
    print(json.dumps({**figures, 'cpu': sum(u.ru_utime + u.ru_stime for u in used)}), file=sys.stderr)
"""


def build(builder: Builder, root: Path, workers: int) -> dict[str, float]:
    """Build ``out`` in a process of its own; return wall and CPU seconds and peak MiB of it and of its largest worker.

    Raises:
        RuntimeError: The command failed.
    """
    script, home = root / "run.py", root / "home"
    script.write_text(DRIVER)
    for folder in (home, root / "out"):
        shutil.rmtree(folder, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "ICVOS_HOME": str(home)}
    command = [sys.executable, str(script), str(workers), *builder.arguments(root, root / "out", workers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the build failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stderr.splitlines()[-1]))


def measure(builder: Builder, root: Path, size: int) -> dict[str, float]:
    """Write raw data, build from them with one and two workers, print a table, and return the figures."""
    builder.write(root, size)
    annotations = [path for path in root.rglob("*") if path.suffix in (".json", ".pkl")]
    one = build(builder, root, 1)
    files = [path for path in (root / "out").rglob("*") if path.is_file()]
    masks = sum(path.suffix == ".png" for path in files)
    print(f"{size:,} {builder.what}, {len(files):,} files of which {masks:,} masks; {os.cpu_count()} cores")
    figures = {
        "peak_MiB": one["peak"],
        "peak_GB": one["peak"] * 2**20 / 1e9,
        "annotations_GB": sum(path.stat().st_size for path in annotations) / 1e9,
    }
    report("build --link --workers 1, CPU", one["cpu"], masks)
    if builder.decode is not None:
        pillow, ours = (floor(builder.decode, root, root / "out", encode=png) for png in (pillow_png, encode_mask))
        report("floor, Pillow's PNGs (level 1)", pillow, masks)
        report("floor, the build's own PNGs", ours, masks)
        figures |= {"of_floor": ours / one["cpu"], "of_pillow_floor": pillow / one["cpu"]}
        print(
            f"share of the floors' speed, per core, start-up included: {figures['of_floor']:.2f} and, with Pillow's, "
            f"{figures['of_pillow_floor']:.2f}"
        )
        two = build(builder, root, 2)
        report("build --link --workers 1, wall", one["wall"], masks)
        report("build --link --workers 2, wall", two["wall"], masks)
        figures |= {"two_workers": one["wall"] / two["wall"], "worker_peak_MiB": two["worker_peak"]}
        print(f"two workers: {figures['two_workers']:.2f} times one")
        print(f"peak memory of two workers, MiB: {two['peak']:.0f}, and {two['worker_peak']:.0f} each")
    print(f"peak memory, MiB: {one['peak']:.0f}; annotation files: {figures['annotations_GB']:.3f} GB")
    return figures


def report(what: str, seconds: float, masks: int) -> None:
    """Print a line of the table."""
    print(f"{what:38} {seconds:7.2f} s  {1000 * seconds / masks:6.2f} ms a mask")


def growth(builder: Builder, root: Path, size: int, peak: float) -> dict[str, float]:
    """Return the peak memory of IC-VOS against that of a quarter of its videos, and of these four times as long."""
    few = max(1, size // 4)
    builder.write(root / "few", few)
    small = build(builder, root / "few", 1)["peak"]
    raw_data.write_mose(root / "long", few, frames=400)
    long = build(builder, root / "long", 1)["peak"]
    print(f"peak memory of a quarter of the videos: {small:.0f}; of these, each four times as long: {long:.0f}")
    return {"peak_of_four_times_the_videos": peak / small, "peak_of_videos_four_times_as_long": long / small}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=BUILDERS, default="ic-vos", help="what is built; ic-vos by default")
    parser.add_argument(
        "--size", type=int, help="videos, classes or images of the raw data; default: the builder's own"
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: the temporary folder")
    options = parser.parse_args(arguments)
    builder = BUILDERS[options.of]
    size = builder.size if options.size is None else options.size
    if size < 1:
        raise UsageError(f"--size is {size}", expected="1 or more")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        figures = measure(builder, Path(name) / "raw", size)
        if options.of == "ic-vos":
            figures |= growth(builder, Path(name), size, figures["peak_MiB"])
    print(json.dumps(figures))


if __name__ == "__main__":
    with one_line():
        main()
