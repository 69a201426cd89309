"""Writes images in the layouts of PASCAL VOC 2012 and SBD, for the drawn categories that VOC knows."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from icvos.categories import VOC20
from icvos.demo.world.plan import Picture, WorldSize, make_picture
from icvos.files import atomic_write
from icvos.images import write_image
from icvos.masks import write_mask
from icvos.progress import Progress, Update

__all__ = ["mat_file", "write_sbd", "write_voc"]


def _label_maps(picture: Picture, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return VOC's class map (0..20) and instance map of an image."""
    table = np.zeros(256, np.uint8)
    for label, name in enumerate(picture.names, 1):
        table[label] = VOC20.number(name)
    classes = table[labels]
    instances = np.where(classes > 0, labels, 0).astype(np.uint8)
    return classes, instances


def _void_border(classes: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Return where VOC says nothing: a band around every instance."""
    square = np.ones((3, 3), np.uint8)
    return (cv2.dilate(instances, square) != cv2.erode(instances, square)) & (cv2.dilate(classes, square) > 0)


def write_voc(root: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write images, ``SegmentationClass``, ``SegmentationObject`` and ``ImageSets/Segmentation`` to ``root``."""
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for index in range(size.voc):
        picture = make_picture(size, seed, "voc", index)
        image, labels = picture.scene.frame(0)
        name = f"{2007 + index % 5}_{1000 + index:06d}"
        classes, instances = _label_maps(picture, labels)
        void = _void_border(classes, instances)
        write_image(root / "JPEGImages" / f"{name}.jpg", image, quality=92)
        for folder, values in (("SegmentationClass", classes), ("SegmentationObject", instances)):
            write_mask(root / folder / f"{name}.png", np.where(void, 255, values), colours=True)
        lists["val" if index % 2 else "train"].append(name)
        progress(Update("images of voc", index + 1, size.voc))
    lists["trainval"] = lists["train"] + lists["val"]
    for split, names in lists.items():
        with atomic_write(root / "ImageSets/Segmentation" / f"{split}.txt", "w") as stream:
            stream.write("".join(f"{name}\n" for name in sorted(names)))


def write_sbd(root: Path, voc: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write ``dataset/{img,cls,inst}`` and ``dataset/{train,val}.txt``: no void border, MATLAB files.

    As with the real ones, SBD's images are VOC's too: they go to ``JPEGImages`` of ``voc`` as well, and their class
    maps as PNG to ``SegmentationClassAug``, where many keep them.
    """
    base = root / "dataset"
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for index in range(size.voc):
        picture = make_picture(size, seed, "sbd", index)
        image, labels = picture.scene.frame(0)
        name = f"2008_{500_000 + index:06d}"
        classes, instances = _label_maps(picture, labels)
        for images in (base / "img", voc / "JPEGImages"):
            write_image(images / f"{name}.jpg", image, quality=92)
        write_mask(voc / "SegmentationClassAug" / f"{name}.png", classes)
        for folder, key, values in (("cls", "GTcls", classes), ("inst", "GTinst", instances)):
            with atomic_write(base / folder / f"{name}.mat") as stream:
                stream.write(mat_file(key, values))
        lists["val" if index % 4 == 3 else "train"].append(name)
        progress(Update("images of sbd", index + 1, size.voc))
    for split, names in lists.items():
        with atomic_write(base / f"{split}.txt", "w") as stream:
            stream.write("".join(f"{name}\n" for name in names))


def mat_file(name: str, segmentation: np.ndarray) -> bytes:
    """Return a MATLAB 5 file with a struct ``name`` whose field ``Segmentation`` is a (H, W) uint8 matrix.

    Written here, because the usual writer puts the time of day into the header.
    """
    header = b"MATLAB 5.0 MAT-file, icvos demo world".ljust(116) + bytes(8) + struct.pack("<H2s", 0x0100, b"IM")
    height, width = segmentation.shape
    # Element types: 1 int8, 2 uint8, 5 int32, 6 uint32, 14 matrix, 15 compressed. Classes: 2 struct, 9 uint8.
    field = b"".join(
        [
            _element(6, struct.pack("<II", 9, 0)),
            _element(5, struct.pack("<ii", height, width)),
            _element(1, b""),
            _element(2, segmentation.astype(np.uint8).tobytes(order="F")),
        ]
    )
    whole = b"".join(
        [
            _element(6, struct.pack("<II", 2, 0)),
            _element(5, struct.pack("<ii", 1, 1)),
            _element(1, name.encode("ascii")),
            struct.pack("<HHi", 5, 4, 32),
            _element(1, b"Segmentation".ljust(32, b"\0")),
            _element(14, field),
        ]
    )
    packed = zlib.compress(_element(14, whole), 6)
    return header + struct.pack("<II", 15, len(packed)) + packed


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)
