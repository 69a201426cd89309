"""Raw data sets for build.py: generated, in their authors' layouts, with frames and masks of the real ones' sizes.

A stock of few pictures with two blobs each is made for a tree, and hard-linked under as many names as it needs.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as rle

from icvos.categories import COCO80
from icvos.sources.ytvis import CATEGORIES_2019

OBJECTS = 2
FSS_SIZE, COCO_SIZE, DAVIS_SIZE, HD_SIZE = (224, 224), (480, 640), (480, 854), (720, 1280)
PICTURES = 10  # of a class of FSS-1000
CLIP = 28  # frames of a video of YouTube-VIS 2019, on average
ASKED = 6  # phrases of a video of SA-Co/VEval, half of them absent; frames and phrases are not published
SACO_FRAMES, SACO_LIST = 100, 51_248
LVIS_CATEGORIES = 1203


class Stock:
    """Pictures with two blobs each, to be hard-linked.

    Args:
        folder: Where they are written, as ``0.jpg``, ``1.jpg``, …
        size: (H, W).
        count: How many.

    Attributes:
        labels: (H, W) uint8 of each: 1 and 2 on the blobs.
    """

    def __init__(self, folder: Path, size: tuple[int, int], count: int = 50) -> None:
        self.folder, self.size = folder, size
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        self.labels = [self._picture(rng, index) for index in range(count)]

    def _picture(self, rng: np.random.Generator, index: int) -> np.ndarray:
        height, width = self.size
        grain = max(height // 80, 2)  # about as many bytes as a photograph of that size
        rough = rng.integers(0, 255, (height // grain, width // grain, 3), dtype=np.uint8)
        noise = cv2.resize(rough, (width, height))
        cv2.imwrite(str(self.folder / f"{index}.jpg"), noise, [cv2.IMWRITE_JPEG_QUALITY, 80 if height > 480 else 90])
        labels = np.zeros(self.size, np.uint8)
        for number in range(1, OBJECTS + 1):
            centre = rng.uniform((0.25 * width, 0.3 * height), (0.75 * width, 0.7 * height))
            points = centre + outline(rng, rng.uniform(height / 8, height / 4), 60)
            cv2.fillPoly(labels, [points.astype(np.int32)], number)
        return labels

    def link(self, index: int, path: Path) -> None:
        """Give a picture, by any number, another name."""
        os.link(self.folder / f"{index % len(self.labels)}.jpg", path)

    def codes(self, number: int) -> list[dict[str, Any]]:
        """Return the compressed run lengths of a blob in each picture, their counts as text."""
        codes = [rle.encode(np.asfortranarray(labels == number).view(np.uint8)) for labels in self.labels]
        return [{"size": list(self.size), "counts": code["counts"].decode()} for code in codes]


def outline(rng: np.random.Generator, radius: float, points: int) -> np.ndarray:
    """Return the (N, 2) x and y of a ragged blob around 0."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radii = radius * (1 + 0.15 * rng.standard_normal(points))
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def write_mose(root: Path, videos: int, frames: int = 100) -> None:
    """Write ``mose`` with a dog and a cat in every frame, ten pictures of both in ``coco``, and ``recipe.csv``."""
    stock = Stock(root / "stock", DAVIS_SIZE)
    for index, labels in enumerate(stock.labels):
        picture = Image.fromarray(labels)
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(stock.folder / f"{index}.png")
    recipe = ["source,video,object,category"]
    for video in range(videos):
        name = f"{video:08x}"
        images, masks = (root / "mose/train" / part / name for part in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for frame in range(frames):
            stock.link(frame + video, images / f"{frame:05d}.jpg")
            os.link(stock.folder / f"{(frame + video) % len(stock.labels)}.png", masks / f"{frame:05d}.png")
        recipe += [f"mose,{name},1,dog", f"mose,{name},2,cat"]
    (root / "recipe.csv").write_text("\n".join(recipe) + "\n")
    square = "[[10,10,110,10,110,110,10,110]]"
    annotations = [(image, category, square) for image in range(1, 11) for category in (17, 18)]
    _write_coco(root / "coco", stock, 10, annotations)


def write_ytvis(root: Path, videos: int) -> None:
    """Write YouTube-VIS 2019 with videos of eight of its categories, two things of one category in each.

    Group 1 tests two of the eight, as it tests ten of the forty. Run lengths are lists of numbers.
    """
    stock = Stock(root / "stock", HD_SIZE)
    codes = [stock.codes(number) for number in range(1, OBJECTS + 1)]
    listed = [[{**code, "counts": run_lengths(code, stock.size)} for code in of] for of in codes]
    content: dict[str, list[Any]] = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(CATEGORIES_2019, 1)],
        "videos": [],
        "annotations": [],
    }
    for video in range(videos):
        files = _frames(stock, root / "train/JPEGImages", f"{video:010x}", video, CLIP, step=5)
        content["videos"].append(
            {"id": video + 1, "height": stock.size[0], "width": stock.size[1], "length": CLIP, "file_names": files}
        )
        for number, of in enumerate(listed):
            content["annotations"].append(
                {
                    "id": OBJECTS * video + number + 1,
                    "video_id": video + 1,
                    "category_id": 1 + video % 8,
                    "iscrowd": 0,
                    "segmentations": [of[(frame + video) % len(of)] for frame in range(CLIP)],
                }
            )
    (root / "train/train.json").write_text(json.dumps(content))


def run_lengths(code: dict[str, Any], size: tuple[int, int]) -> list[int]:
    """Return run lengths as a list, which ``code`` has as text."""
    pixels = rle.decode(code).ravel(order="F")
    ends = [*(np.flatnonzero(np.diff(pixels)) + 1), size[0] * size[1]]
    runs: list[int] = np.diff([0, *ends]).tolist()
    return [0, *runs] if pixels[0] else runs


def write_saco(root: Path, videos: int) -> None:
    """Write SmartGlasses' test split with three phrases that a video has and three that it has not."""
    stock = Stock(root / "stock", HD_SIZE)
    codes = [stock.codes(number) for number in range(1, OBJECTS + 1)]
    phrases = max(videos, ASKED)
    content: dict[str, list[Any]] = {
        "videos": [],
        "annotations": [],
        "categories": [{"id": number, "name": f"a thing called {number}"} for number in range(SACO_LIST)],
        "video_np_pairs": [],
    }
    for video in range(videos):
        files = _frames(stock, root / "media/saco_sg/JPEGImages_6fps", f"saco_sg_{video:06d}", video, SACO_FRAMES)
        described = {"height": stock.size[0], "width": stock.size[1]}
        content["videos"].append({"id": video, "file_names": files, "length": SACO_FRAMES, **described})
        for place in range(ASKED):
            about = {"video_id": video, "category_id": (video + place) % phrases}
            # One thing, the other, both; of the last three phrases nothing.
            things = ((0,), (1,), (0, 1), (), (), ())[place]
            pair = {"id": ASKED * video + place, **about, "num_masklets": len(things)}
            content["video_np_pairs"].append(pair)
            for thing in things:
                shown = [codes[thing][(frame + video) % len(stock.labels)] for frame in range(SACO_FRAMES)]
                row = {"id": len(content["annotations"]), **about, **described, "iscrowd": 0, "segmentations": shown}
                content["annotations"].append(row)
    path = root / "annotation/saco_veval_smartglasses_test.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))


def _frames(stock: Stock, folder: Path, video: str, first: int, count: int, *, step: int = 1) -> list[str]:
    """Link the frames of a video, and return their names below ``folder``."""
    (folder / video).mkdir(parents=True)
    files = [f"{video}/{step * frame:05d}.jpg" for frame in range(count)]
    for frame, file in enumerate(files):
        stock.link(first + frame, folder / file)
    return files


def write_fss(root: Path, classes: int) -> None:
    """Write FSS-1000 with ten pictures a class, their masks as colour PNGs."""
    stock = Stock(root / "stock", FSS_SIZE)
    for index, labels in enumerate(stock.labels):
        Image.fromarray(np.repeat((255 * (labels == 1).astype(np.uint8))[..., None], 3, 2)).save(
            stock.folder / f"{index}.png"
        )
    names = [f"class_{number:03d}" for number in range(classes)]
    for number, name in enumerate(names):
        folder = root / "FSS-1000/data" / name
        folder.mkdir(parents=True)
        for picture in range(PICTURES):
            stock.link(number + picture, folder / f"{picture + 1}.jpg")
            os.link(stock.folder / f"{(number + picture) % len(stock.labels)}.png", folder / f"{picture + 1}.png")
    (root / "FSS-1000/splits").mkdir()
    (root / "FSS-1000/splits/test.txt").write_bytes("".join(f"{name}\r\n" for name in names).encode())


@dataclass(frozen=True)
class Instances:
    """Annotated things of a data set in COCO's layout, as many an image and of as many points as the real one's.

    Attributes:
        categories: How many; the first are on many images, the last on few.
        of_image: Categories of an image, and instances of each, on average.
        points: Of a polygon.
    """

    categories: int
    of_image: tuple[int, float]
    points: int

    def draw(self, images: int, size: tuple[int, int]) -> Iterator[tuple[int, int, str]]:
        """Yield (image from 1, category from 1, polygons as JSON); those of an image and category in a row."""
        rng = np.random.default_rng(0)
        pool = [_polygon(rng, self.points, size) for _ in range(2000)]
        weights = 1 / (np.arange(self.categories) + 10)
        chances = np.cumsum(weights / weights.sum())
        count, mean = self.of_image
        for image in range(1, images + 1):
            for category in sorted(set(np.searchsorted(chances, rng.random(count)).tolist())):
                for index in rng.integers(0, len(pool), rng.geometric(1 / mean)).tolist():
                    yield image, min(category, self.categories - 1) + 1, pool[index]


LVIS = Instances(LVIS_CATEGORIES, (4, 3.3), 42)
COCO = Instances(len(COCO80), (3, 2.5), 25)


def _polygon(rng: np.random.Generator, points: int, size: tuple[int, int]) -> str:
    height, width = size
    radius = min(3 * np.exp(rng.exponential(1.8)), height / 2.5)
    corners = rng.uniform((0, 0), (width, height)) + outline(rng, radius, points)
    return json.dumps([np.clip(corners, 0, (width, height)).round(2).ravel().tolist()])


def write_lvis(root: Path, images: int) -> None:
    """Write LVIS v1's validation split, the annotations before the images as the real file has them."""
    stock = Stock(root / "stock", COCO_SIZE)
    (root / "val2017").mkdir()
    listed = []
    for image in range(1, images + 1):
        stock.link(image, root / f"val2017/{image:012d}.jpg")
        address = f"http://images.cocodataset.org/val2017/{image:012d}.jpg"
        listed.append({"id": image, "height": COCO_SIZE[0], "width": COCO_SIZE[1], "license": 1, "coco_url": address})
    names = [{"id": number, "name": f"thing_{number}"} for number in range(1, LVIS_CATEGORIES + 1)]
    _write_json(root / "lvis_v1_val.json", LVIS.draw(images, COCO_SIZE), images=listed, categories=names)


def write_matcher_lvis(root: Path, images: int) -> None:
    """Write LVIS' validation split as Matcher's authors have it: a pickle in ``LVIS``."""
    stock = Stock(root / "stock", COCO_SIZE)
    (root / "LVIS/coco/val2017").mkdir(parents=True)
    for image in range(1, images + 1):
        stock.link(image, root / f"LVIS/coco/val2017/{image:012d}.jpg")
    lists: dict[int, dict[str, Any]] = {number: {} for number in range(1, LVIS_CATEGORIES + 1)}
    for image, category, polygons in LVIS.draw(images, COCO_SIZE):
        of_image = lists[category].setdefault(f"val2017/{image:012d}.jpg", {"annotations": []})
        of_image["annotations"].append({"segmentation": json.loads(polygons)})
    with (root / "LVIS/lvis_val.pkl").open("wb") as stream:
        pickle.dump({category: of for category, of in lists.items() if of}, stream)


def write_matcher_coco(root: Path, images: int) -> None:
    """Write COCO's val2014, and Matcher's lists of every image of each category."""
    stock = Stock(root / "stock", COCO_SIZE)
    drawn = [(image, COCO80.source_ids[number - 1], shape) for image, number, shape in COCO.draw(images, COCO_SIZE)]
    _write_coco(root / "coco", stock, images, drawn)
    for fold in range(4):
        lists: dict[int, list[str]] = {}
        for number in range(fold, len(COCO80), 4):
            of = sorted({image for image, category, _ in drawn if category == COCO80.source_ids[number]})
            lists[number] = [f"val2014/{coco_name(image)}.jpg" for image in of]
        with (root / f"fold{fold}.pkl").open("wb") as stream:
            pickle.dump(lists, stream)


def coco_name(image: int) -> str:
    """Return the name of an image of COCO's val2014."""
    return f"COCO_val2014_{image:012d}"


def _write_coco(root: Path, stock: Stock, images: int, annotations: Iterable[tuple[int, int, str]]) -> None:
    (root / "val2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    listed = []
    for image in range(1, images + 1):
        name = f"{coco_name(image)}.jpg"
        stock.link(image, root / "val2014" / name)
        listed.append({"id": image, "file_name": name, "height": stock.size[0], "width": stock.size[1]})
    names = [{"id": number, "name": name} for number, name in zip(COCO80.source_ids, COCO80.names)]
    _write_json(root / "annotations/instances_val2014.json", annotations, images=listed, categories=names)


def _write_json(path: Path, annotations: Iterable[tuple[int, int, str]], **lists: Sequence[dict[str, Any]]) -> None:
    """Write an annotation file of any size without holding it."""
    with path.open("w") as stream:
        stream.write('{"annotations": [')
        for number, (image, category, polygons) in enumerate(annotations, 1):
            stream.write(
                f'{", " * (number > 1)}{{"id": {number}, "image_id": {image}, "category_id": {category}, '
                f'"segmentation": {polygons}, "area": 10000.0, "iscrowd": 0, "bbox": [10.5, 20.25, 40.0, 40.0]}}'
            )
        stream.write("]")
        for name, rows in lists.items():
            stream.write(f', "{name}": {json.dumps(rows)}')
        stream.write("}")
