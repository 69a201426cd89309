"""Writes tiny raw data sets in the layouts of their authors, irregularities included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from icvos.categories import COCO80
from icvos.masks import palette

H, W = 48, 64
# Categories that the trees below have in videos, and so need supports for.
USED = ("dog", "person", "motorcycle", "car", "cat", "bird", "horse")


def picture(path: Path, size: tuple[int, int] = (H, W), seed: int = 0, mode: str = "RGB") -> Path:
    """Write a JPEG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[0] // 4 + 1, size[1] // 4 + 1, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((size[1], size[0])).convert(mode).save(path, "JPEG", quality=90)
    return path


def labels(path: Path, array: np.ndarray, *, colours: bool = True) -> Path:
    """Write a label PNG, with a palette or grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8))
    if colours:
        image.putpalette(palette())
    image.save(path)
    return path


def boxes(*ids: tuple[int, int, int], size: tuple[int, int] = (H, W)) -> np.ndarray:
    """Return a label map with a 10x10 box for each (id, y, x)."""
    out = np.zeros(size, np.uint8)
    for number, y, x in ids:
        out[y : y + 10, x : x + 10] = number
    return out


def davis(root: Path) -> Path:
    """Two whole sequences of different widths, void, several objects; one with its first mask alone."""
    for index in range(3):
        picture(root / f"JPEGImages/480p/dogs/{index:05d}.jpg", seed=index)
        frame = boxes((1, 5, 5 + index), (2, 5, 30), (3, 30, 30))
        if index == 1:
            frame[47] = 255
        labels(root / f"Annotations/480p/dogs/{index:05d}.png", frame)
        picture(root / f"JPEGImages/480p/ride/{index:05d}.jpg", (H, W + 8), seed=10 + index)
        ids = [(1, 5, 5)] if index == 0 else [(1, 5, 5), (2, 20, 40)]  # the motorbike comes late
        labels(root / f"Annotations/480p/ride/{index:05d}.png", boxes(*ids, size=(H, W + 8)))
        picture(root / f"JPEGImages/480p/held/{index:05d}.jpg", seed=20 + index)
    labels(root / "Annotations/480p/held/00000.png", boxes((1, 5, 5)))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("ride\ndogs\n\n")
    (root / "ImageSets/2017/test-dev.txt").write_text("held\n")
    semantics = {
        "dogs": {"1": "dog", "2": "dog", "3": "person"},
        "ride": {"1": "camel", "2": "motorbike"},
        "elsewhere": {"1": "bear"},
    }
    (root / "davis_semantics.json").write_text(json.dumps(semantics))
    return root


def davis16(root: Path) -> Path:
    """One sequence whose masks are grey {0, 255}; the list has the 2016 form."""
    for index in range(2):
        picture(root / f"JPEGImages/480p/bear/{index:05d}.jpg", seed=30 + index)
        labels(root / f"Annotations/480p/bear/{index:05d}.png", boxes((255, 5, 5)), colours=False)
    (root / "ImageSets/2016").mkdir(parents=True)
    lines = [f"/JPEGImages/480p/bear/{i:05d}.jpg /Annotations/480p/bear/{i:05d}.png\n" for i in range(2)]
    (root / "ImageSets/2016/train.txt").write_text("".join(lines))
    return root


def mose(root: Path, *, version: int = 1) -> Path:
    """A video with an empty mask, a video of one frame; in version 2 a meta file, with ids that are not contiguous."""
    for index in range(4):
        picture(root / f"train/JPEGImages/001ca3cb/{index:05d}.jpg", seed=40 + index)
        frame = boxes() if index == 2 else boxes((1, 5, 5 + index), (3, 30, 30))
        labels(root / f"train/Annotations/001ca3cb/{index:05d}.png", frame)
        picture(root / f"valid/JPEGImages/99999999/{index:05d}.jpg", seed=index)
    labels(root / "valid/Annotations/99999999/00000.png", boxes((1, 5, 5)))
    picture(root / "train/JPEGImages/330ac20d/00000.jpg")
    labels(root / "train/Annotations/330ac20d/00000.png", boxes((1, 5, 5)))
    if version == 2:
        entry = {"frames": [f"{i:05d}" for i in range(4)], "length": 4, "height": H, "width": W, "objects": [1, 3]}
        one = {"frames": ["00000"], "length": 1, "height": H, "width": W, "objects": [1]}
        meta = {"videos": {"001ca3cb": entry, "330ac20d": one}}
        (root / "meta_train.json").write_text(json.dumps(meta))
    return root


def lvos(root: Path) -> Path:
    """Eight-digit names in steps of 5; train_meta.json and valid_meta.json; text for numbers; late objects; void."""
    for split, name in (("train", "R3UJGYwy"), ("val", "aa22bb33")):
        for index in range(4):
            stem = f"{1 + 5 * index:08d}"
            picture(root / f"{split}/JPEGImages/{name}/{stem}.jpg", seed=50 + index)
            frame = boxes((1, 5, 5)) if index < 2 else boxes((1, 5, 5), (2, 30, 30))
            frame[0, :3] = 255
            labels(root / f"{split}/Annotations/{name}/{stem}.png", frame)
        spans = {
            "1": {"frame_range": {"start": "1", "end": "21", "frame_nums": "4"}},
            "2": {"frame_range": {"start": 11, "end": 21, "frame_nums": 2}},
        }
        meta = root / split / ("train_meta.json" if split == "train" else "valid_meta.json")
        meta.write_text(json.dumps({"videos": {name: {"objects": spans}}}))
    return root


def _codes(array: np.ndarray) -> dict[str, Any]:
    code = rle.encode(np.asfortranarray(array.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def _counts(array: np.ndarray) -> dict[str, Any]:
    """Uncompressed RLE, column by column, starting with the zeros."""
    flat = array.astype(np.uint8).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
    return {"size": list(array.shape), "counts": np.diff(np.concatenate([[0], edges])).tolist()}


def ytvis(root: Path, *, ovis: bool = False) -> Path:
    """Compressed and uncompressed RLE, polygons, null; objects that overlap; YouTube-VIS' mouse, which is an animal."""
    names = [f"img_{i + 1:07d}.jpg" if ovis else f"{5 * i:05d}.jpg" for i in range(3)]
    folder = root / "train" if ovis else root / "train/JPEGImages"
    video = "0a1b2c3d" if ovis else "0043f083b5"
    for index, name in enumerate(names):
        picture(folder / video / name, seed=60 + index)
    one, two = boxes((1, 5, 5)), boxes((1, 10, 10))
    polygon = [[20.0, 20.0, 40.0, 20.0, 40.0, 40.0, 20.0, 40.0]]
    tracks: list[tuple[int, list[Any], int]] = [
        (1, [_codes(one), _counts(one), None], 0),
        (1, [None, _codes(two), _codes(two)], 0),  # overlaps the first in the second frame
        (2, [polygon, polygon, polygon], 0),
        (3, [_codes(two), None, None], 0),
    ]
    data = {
        "videos": [
            {"id": 7, "width": W, "height": H, "length": 3, "file_names": [f"{video}/{name}" for name in names]}
        ],
        "categories": [
            {"id": 1, "name": "cat"},
            {"id": 2, "name": "Bird" if ovis else "dog"},
            {"id": 3, "name": "mouse"},
        ],
        "annotations": [
            {"id": 100 + i, "video_id": 7, "category_id": c, "segmentations": s, "iscrowd": crowd, "areas": []}
            for i, (c, s, crowd) in enumerate(tracks)
        ],
    }
    (root / ("annotations_train.json" if ovis else "train.json")).write_text(json.dumps(data))
    return root


SACO_FRAMES = 4
SACO_MASKLETS: list[tuple[Any, int, list[list[tuple[int, int]]]]] = [
    # Video, phrase, and on each frame the corners (y, x) of its boxes; none where the truth is null.
    (0, 20, [[(5, 5)], [(5, 8)], [(5, 11)], []]),
    (0, 20, [[(10, 10)], [], [(30, 30)], []]),  # overlaps the first on frame 0
    ("1", 20, [[], [(20, 20)], [(20, 22)], [(20, 24)]]),
    ("1", 9, [[(2, 2)]] * SACO_FRAMES),
    (2, 9, [[(30, 2)]] * SACO_FRAMES),
    (2, 41, [[(2, 40)]] * SACO_FRAMES),
    (3, 9, [[(30, 40)], [], [], []]),
]
SACO_ASKED: list[tuple[Any, int, int]] = [
    # Video, phrase, masklets. Of video 3 nobody asked for phrase 20, of video 0 nobody for 41.
    (0, 20, 2),
    (0, 9, 0),
    ("1", 20, 1),
    ("1", 9, 1),
    (2, 20, 0),
    (2, 9, 1),
    (2, 41, 1),
    (3, 9, 1),
    (3, 41, 0),
    (3, 50, 0),
]
SACO_PHRASES = {3: "unused", 9: "the cup", 20: "a dog", 41: "an old tie", 50: "red ink", 51248: "unused too"}


def saco(root: Path, domain: str = "smartglasses") -> Path:
    """Four videos of which one's id is a text; null, an empty code and an overlap; pairs that nobody asked."""
    media = root / "media" / ("saco_sg/JPEGImages_6fps" if domain == "smartglasses" else "saco_sav/JPEGImages_24fps")
    videos = []
    for number in (0, "1", 2, 3):
        names = [f"clip_{number}/{4 * index:05d}.jpg" for index in range(SACO_FRAMES)]
        for index, name in enumerate(names):
            picture(media / name, seed=200 + 10 * int(number) + index)
        videos.append({"id": number, "file_names": names, "height": H, "width": W, "length": SACO_FRAMES})
    annotations = []
    for number, (video, phrase, places) in enumerate(SACO_MASKLETS):
        maps = [boxes(*((1, y, x) for y, x in corners)) if corners else None for corners in places]
        codes = [None if each is None else _codes(each) for each in maps]
        if number == 6:
            codes[2] = _codes(boxes())
        known = {"id": 11 + number, "video_id": video, "category_id": phrase, "noun_phrase": SACO_PHRASES[phrase]}
        boxed = [None if code is None else [0.0, 0.0, 10.0, 10.0] for code in codes]
        areas = [None if each is None else float(each.sum()) for each in maps]
        size = {"height": H, "width": W, "iscrowd": 0}
        annotations.append({**known, **size, "segmentations": codes, "bboxes": boxed, "areas": areas})
    pairs = [
        {"id": index, "video_id": v, "category_id": p, "noun_phrase": SACO_PHRASES[p], "num_masklets": n}
        for index, (v, p, n) in enumerate(SACO_ASKED)
    ]
    data = {
        "info": {"version": "v1"},
        "videos": videos,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in SACO_PHRASES.items()],
        "video_np_pairs": pairs,
    }
    (root / "annotation").mkdir(parents=True, exist_ok=True)
    (root / f"annotation/saco_veval_{domain}_test.json").write_text(json.dumps(data))
    return root


def folder(root: Path) -> Path:
    """A video of one's own, with a mask of one class a frame."""
    for index in range(2):
        picture(root / f"walk/frames/{index}.jpg", seed=50 + index)
        labels(root / f"walk/masks/dog/{index}.png", boxes((1, 5, 5)), colours=False)
    return root


def coco(root: Path, *, year: int = 2014, each: int = 3) -> Path:
    """``each`` images for every category used: polygons, a crowd as RLE, a grey image, one without anything."""
    split = f"val{year}"
    images, annotations = [], []
    number = 0
    for name in USED:
        for copy in range(each):
            number += 1
            file = f"COCO_val2014_{number:012d}.jpg" if year == 2014 else f"{number:012d}.jpg"
            picture(root / split / file, (80, 96), seed=100 + number, mode="L" if copy == 1 else "RGB")
            images.append({"id": number, "file_name": file, "height": 80, "width": 96, "license": 1})
            entry: dict[str, Any] = {
                "id": 10 * number,
                "image_id": number,
                "category_id": COCO80.source_ids[COCO80.number(name) - 1],
                "segmentation": [[10, 10, 70, 10, 70, 60, 10, 60]],
                "area": 3000.0,
                "bbox": [10, 10, 60, 50],
                "iscrowd": 0,
            }
            annotations.append(entry)
            if copy == 2:
                crowd = np.zeros((80, 96), np.uint8)
                crowd[:, 80:] = 1
                annotations.append(
                    {**entry, "id": 10 * number + 1, "segmentation": _counts(crowd), "iscrowd": 1, "area": 1280.0}
                )
    images.append({"id": 999, "file_name": "COCO_val2014_000000000999.jpg", "height": 80, "width": 96, "license": 1})
    picture(root / split / "COCO_val2014_000000000999.jpg", (80, 96))
    categories = [{"id": i, "name": name} for i, name in zip(COCO80.source_ids, COCO80.names)]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    data = {"images": images, "annotations": annotations, "categories": categories, "licenses": []}
    (root / f"annotations/instances_{split}.json").write_text(json.dumps(data))
    return root


OBJECTS = """source,video,object,category,keep,start,end,note
mose,001ca3cb,1,cat,yes,,,
mose,001ca3cb,3,cat,yes,,,a second one
mose,330ac20d,1,dog,yes,,,one frame
mose2,001ca3cb,3,horse,,,,
lvos,R3UJGYwy,1,person,yes,,,
lvos,R3UJGYwy,2,car,yes,,,comes late
lvos,aa22bb33,1,none,,,,"a thing, not of COCO"
davis16,bear,1,bird,yes,,,
"""
COMPLETE = """source,video,category,complete
mose,001ca3cb,cat,yes
mose,330ac20d,dog,yes
mose2,001ca3cb,horse,unsure
lvos,R3UJGYwy,person,yes
lvos,R3UJGYwy,car,no
"""


def recipe(folder: Path) -> list[Path]:
    """Write both CSV files of a recipe for the trees above."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "objects.csv").write_text(OBJECTS)
    (folder / "complete.csv").write_text(COMPLETE)
    return [folder / "objects.csv", folder / "complete.csv"]


def everything(root: Path) -> Path:
    """Write all data sets and the recipe under ``root``."""
    davis(root / "davis")
    davis16(root / "davis16")
    mose(root / "mose")
    mose(root / "mose2", version=2)
    lvos(root / "lvos")
    ytvis(root / "ytvis")
    ytvis(root / "ovis", ovis=True)
    coco(root / "coco")
    recipe(root / "recipe")
    return root
