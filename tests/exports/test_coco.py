"""Benchmarks in COCO's form: read back by pycocotools, by our own reader, and by FiftyOne's importer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import edit, export, problems_of
from pycocotools.coco import COCO
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.files import read_json
from icvos.sources.coco import Coco


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A benchmark of images, and its export."""
    folder = tmp_path_factory.mktemp("images")
    return write_image_benchmark(folder / "b"), export(folder / "b", "coco", folder / "out")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A benchmark of videos whose masks overlap, and its export with frames."""
    folder = tmp_path_factory.mktemp("videos")
    write_video_benchmark(folder / "b", videos=2, frames=3, draws=1, size=(40, 48))
    return folder / "b", export(folder / "b", "coco", folder / "out", "--with-frames")


def masks_of(path: Path) -> dict[tuple[str, int, int], np.ndarray]:
    """Masks by file, category and crowd, as pycocotools reads them."""
    loaded = COCO(str(path))
    masks = {}
    for each in loaded.loadAnns(loaded.getAnnIds()):
        (image,) = loaded.loadImgs([each["image_id"]])
        masks[image["file_name"], each["category_id"], each["iscrowd"]] = loaded.annToMask(each).astype(bool)
    return masks


def test_queries_and_supports_with_what_is_ignored(images: tuple[Path, Path]) -> None:
    bench, out = images
    opened = load_benchmark(bench)
    found = {**masks_of(out / "queries.json"), **masks_of(out / "supports.json")}
    wanted = {}
    for episode in opened.episodes:
        _, mask, ignore = opened.query(episode)
        support = opened.support(episode.category, episode.supports[0])
        stills = (("queries", episode.video, mask, ignore), ("supports", episode.supports[0], *support_masks(support)))
        for role, name, thing, ignored in stills:
            wanted[f"{role}/images/{name}.jpg", episode.category, 0] = thing
            wanted[f"{role}/images/{name}.jpg", episode.category, 1] = ignored
    assert {*found} == {*wanted}
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)
    assert (out / "episodes.csv").read_bytes() == (bench / "episodes.csv").read_bytes()


def support_masks(support: Any) -> tuple[np.ndarray, np.ndarray]:
    assert support.ignore is not None
    return support.mask, support.ignore


def test_frames_of_videos(videos: tuple[Path, Path]) -> None:
    bench, out = videos
    opened, found = load_benchmark(bench), masks_of(out / "frames.json")
    for video, category in opened.pairs:
        for index in range(3):
            truth = opened.annotation(video, category, index)
            mask = found.pop((f"videos/{video}/JPEGImages/{index:05d}.jpg", category, 0), np.zeros_like(truth))
            assert np.array_equal(mask, truth)
    assert not found
    entries = read_json(out / "frames.json")["images"]
    assert [(entry["video"], entry["frame_index"]) for entry in entries] == [
        (v, i) for v in opened.videos for i in range(3)
    ]
    assert all(
        (out / entry["file_name"]).read_bytes() == (bench / entry["file_name"]).read_bytes() for entry in entries
    )


def test_our_own_reader(images: tuple[Path, Path], tmp_path: Path) -> None:
    """It takes COCO's own names of files and folders alone."""
    bench, out = images
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2014.json").write_bytes((out / "queries.json").read_bytes())
    (tmp_path / "val2014").symlink_to(bench)
    read, opened = Coco(tmp_path, "val2014"), load_benchmark(bench)
    by_name = {Path(image.file_name).stem: number for number, image in read.images.items()}
    for episode in opened.episodes:
        _, mask, ignore = opened.query(episode)
        labels = read.class_mask(by_name[episode.video], episode.category)
        assert np.array_equal(labels == 1, mask) and np.array_equal(labels == 255, ignore)
        assert read.path(by_name[episode.video]).is_file()


@pytest.mark.parametrize(("json", "role"), [("frames.json", ""), ("supports.json", "supports")])
def test_fiftyone_opens_it(videos: tuple[Path, Path], json: str, role: str) -> None:
    """With the benchmark's folder as that of the images: no export with frames is needed."""
    coco = pytest.importorskip("fiftyone.utils.coco")
    bench, out = videos
    opened, found = load_benchmark(bench), masks_of(out / json)
    importer = coco.COCODetectionDatasetImporter(
        data_path=str(bench), labels_path=str(out / json), label_types=["segmentations"], include_id=True
    )
    count = 0
    with importer:
        for path, metadata, labels in importer:
            file = Path(path).relative_to(bench).as_posix()
            for detection in labels["segmentations"].detections if "segmentations" in labels else ():
                category = opened.vocabulary.find(detection.label)
                whole = np.zeros((metadata.height, metadata.width), bool)
                x, y = (round(v * side) for v, side in zip(detection.bounding_box, (metadata.width, metadata.height)))
                height, width = detection.mask.shape
                whole[y : y + height, x : x + width] = detection.mask
                assert np.array_equal(whole, found[file, category, int(detection["iscrowd"])])
                count += 1
    assert count == len(found) > 0


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("queries.json", lambda c: c["annotations"].pop(0), "nothing of category 1 is marked in q0"),
        ("queries.json", lambda c: c["images"].pop(), "3 images, and 4 queries"),
        ("queries.json", lambda c: c["annotations"][0].update(image_id=2), "the tables say 1"),
        ("queries.json", lambda c: c["annotations"][0].update(id=99), "annotation 99 is of no mask"),
        ("supports.json", lambda c: c["images"][0].update(height=41), "run lengths of size"),
        ("supports.json", lambda c: c["images"][0].update(height=70000), "its image is 70000x"),
        ("supports.json", lambda c: c["annotations"][0].update(area=1), "its area is"),
        ("supports.json", lambda c: c.pop("images"), "'images' is missing"),
    ],
)
def test_wrong_images_are_named(
    images: tuple[Path, Path], tmp_path: Path, name: str, change: Callable[[Any], Any], said: str
) -> None:
    assert said in problems_of(images[1], tmp_path / "bad", edit(name, change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["annotations"].pop(), "1 annotations of tiny__v1,1, and pairs.csv says 2 visible frames"),
        (lambda c: c["annotations"][0].update(image_id=3), "the tables say 1"),
        (lambda c: c["annotations"][0].update(id=1000), "annotation 1000 is of no frame"),
        (lambda c: c["images"][1].update(frame_index=2), "the tables say 1"),
        (lambda c: c["images"][0].update(file_name="videos/tiny__v0/JPEGImages/00001.jpg"), "and not videos/tiny__v0"),
        (lambda c: c["images"].pop(), "5 images, and the videos of videos.csv have 6 frames"),
    ],
)
def test_wrong_frames_are_named(
    videos: tuple[Path, Path], tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    assert said in problems_of(videos[1], tmp_path / "bad", edit("frames.json", change))
