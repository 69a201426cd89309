"""A benchmark as a protocol sees it: cut, resized, and compared with the manifest before anything is read."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.errors import BenchmarkError
from icvos.images import nearest_resize, resize_image
from icvos.protocols import PROTOCOLS, Protocol
from icvos.types import Video
from icvos.view import View

SMALL = replace(PROTOCOLS["paper"], size=(24, 30), max_frames=4)
VIDEO = "tiny__v0"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return write_video_benchmark(tmp_path / "videos", videos=1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_image_benchmark(tmp_path / "images")


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3:] = b"\n\n\n"  # still of the same size
    path.write_bytes(data)


def test_a_long_manifest_is_not_held(videos: Path) -> None:
    data = (videos / "manifest.csv").read_bytes() + b"x" * (16 << 20)
    (videos / "manifest.csv").write_bytes(data)
    tracemalloc.start()
    try:
        assert load_benchmark(videos).manifest_sha256 == hashlib.sha256(data).hexdigest()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("protocol", "limit_frames", "count"),
    [
        (None, None, 6),  # all that is stored
        (PROTOCOLS["native"], None, 6),
        (SMALL, None, 4),  # cut by the protocol
        (SMALL, 2, 2),  # by the shorter of two limits
        (SMALL, 9, 4),
        (None, 3, 3),
    ],
)
def test_a_video_is_cut(videos: Path, protocol: Protocol | None, limit_frames: int | None, count: int) -> None:
    benchmark = load_benchmark(videos)
    view = View(benchmark, protocol, limit_frames=limit_frames)
    frames, truth = view.video(VIDEO), view.truth(VIDEO, 1)
    assert len(frames) == len(truth) == len(list(frames)) == view.frame_count(benchmark.episodes[0]) == count
    for sequence in (frames, truth):
        with pytest.raises(IndexError):
            sequence[count]


def test_a_video_is_resized(videos: Path) -> None:
    benchmark = load_benchmark(videos)
    view, stored = View(benchmark, SMALL), View(benchmark)
    frames, truth = view.video(VIDEO), view.truth(VIDEO, 3)
    assert isinstance(frames, Video) and frames.size == truth.size == (24, 30)
    assert stored.video(VIDEO).size == stored.truth(VIDEO, 3).size == view.stored_size(benchmark.episodes[0])
    for index in (0, 2, -1):
        assert np.array_equal(frames[index], resize_image(benchmark.video(VIDEO)[index % 4], (24, 30)))
        assert np.array_equal(truth[index], nearest_resize(benchmark.annotation(VIDEO, 3, index % 4), (24, 30)))
        assert np.array_equal(stored.truth(VIDEO, 3)[index % 4], benchmark.annotation(VIDEO, 3, index % 4))


def test_supports_are_resized_with_what_to_ignore_and_decoded_once(videos: Path) -> None:
    benchmark = load_benchmark(videos)
    view, episode = View(benchmark, SMALL), benchmark.episodes[0]
    supports = view.supports(episode, 2)
    for resized, stored in zip(supports, benchmark.supports(episode, 2), strict=True):
        assert stored.ignore is not None and resized.ignore is not None and stored.size != resized.size == (24, 30)
        assert np.array_equal(resized.image, resize_image(stored.image, (24, 30)))
        assert np.array_equal(resized.mask, nearest_resize(stored.mask, (24, 30)))
        assert np.array_equal(resized.ignore, nearest_resize(stored.ignore, (24, 30)))
    assert view.supports(episode)[0] is supports[0] and len(view.supports(episode)) == 1


def test_a_query_is_resized(images: Path) -> None:
    benchmark = load_benchmark(images)
    episode = benchmark.episodes[0]
    view = View(benchmark, PROTOCOLS["fss-paper"])
    image, mask, ignore = benchmark.query(episode)
    resized = view.query(episode)
    assert np.array_equal(resized[0], resize_image(image, (512, 512)))
    assert np.array_equal(resized[1], nearest_resize(mask, (512, 512)))
    assert np.array_equal(resized[2], nearest_resize(ignore, (512, 512)))
    assert np.array_equal(View(benchmark).query(episode)[1], mask)
    assert view.frame_count(episode) == 1 and view.stored_size(episode) == mask.shape


def read_all(view: View) -> None:
    episode = view.benchmark.episodes[0]
    view.supports(episode, 2)
    if view.benchmark.kind == "image":
        view.query(episode)
    else:
        view.video(episode.video)
        view.truth(episode.video, episode.category)


@pytest.mark.parametrize(
    "path",
    [
        "benchmark.json",
        "episodes.csv",
        f"videos/{VIDEO}/JPEGImages/00003.jpg",
        f"videos/{VIDEO}/Annotations/1/00003.png",
        "supports/images/COCO_val2014_000000000001.jpg",
        "supports/masks/1/COCO_val2014_000000000001.png",
    ],
)
def test_a_file_of_a_video_benchmark_that_changed(videos: Path, path: str) -> None:
    read_all(View(load_benchmark(videos), SMALL))
    benchmark = load_benchmark(videos)  # its header is read, and nothing is compared yet
    spoil(videos / path)
    with pytest.raises(BenchmarkError, match="changed since"):
        read_all(View(benchmark, SMALL))


@pytest.mark.parametrize(
    "path", ["queries/images/q0.jpg", "queries/masks/1/q0.png", "supports/images/q1.jpg", "supports/masks/1/q1.png"]
)
def test_a_file_of_an_image_benchmark_that_changed(images: Path, path: str) -> None:
    read_all(View(load_benchmark(images)))
    spoil(images / path)
    with pytest.raises(BenchmarkError, match="changed since"):
        read_all(View(load_benchmark(images)))


def test_what_the_protocol_does_not_see_is_not_compared(videos: Path) -> None:
    spoil(videos / "videos" / VIDEO / "JPEGImages" / "00004.jpg")
    read_all(View(load_benchmark(videos), SMALL))
    with pytest.raises(BenchmarkError, match="changed since"):
        read_all(View(load_benchmark(videos)))
