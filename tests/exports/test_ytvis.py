"""Video benchmarks in YouTube-VIS' form, and runs as its results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from exported import edit, export, problems_of, refusal
from pycocotools import mask as rle
from raw_trees import coco, davis
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.exports.folder import ExportFolder
from icvos.files import read_csv, read_json
from icvos.leaderboard.record import write_record
from icvos.masks import read_mask, write_mask
from icvos.runs.run import Run

TABLES = ("episodes.csv", "frames.csv", "pairs.csv", "videos.csv")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of its first video overlap."""
    return write_video_benchmark(tmp_path_factory.mktemp("bench") / "b", videos=2, frames=3, draws=2, size=(40, 48))


@pytest.fixture(scope="module")
def out(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(bench, "ytvis", tmp_path_factory.mktemp("ytvis") / "out", "--with-frames")


@pytest.fixture(scope="module")
def run(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    assert icvos("evaluate", "--model", "histogram", "--benchmark", bench, "--out", folder, "--save-masks") == 0
    return folder


def decoded(code: Any, size: tuple[int, int]) -> np.ndarray:
    return np.zeros(size, bool) if code is None else rle.decode(code).astype(bool)


def test_every_mask_is_there_pixel_by_pixel(bench: Path, out: Path) -> None:
    opened, content = load_benchmark(bench), read_json(out / "instances.json")
    videos = {video["id"]: video for video in content["videos"]}
    names = {each["id"]: each["name"] for each in content["categories"]}
    assert len(names) == 80 and names[3] == "car"
    pairs = set()
    for track in content["annotations"]:
        assert {*track} == {
            *("id", "video_id", "category_id", "iscrowd", "height", "width", "length"),
            *("segmentations", "bboxes", "areas"),
        }
        video = videos[track["video_id"]]
        assert {*video} >= {"id", "width", "height", "length", "file_names"}
        record = opened.videos[video["name"]]
        assert (video["height"], video["width"], video["length"]) == (record.height, record.width, record.frames)
        pairs.add((video["name"], track["category_id"]))
        for index, code in enumerate(track["segmentations"]):
            truth = opened.annotation(video["name"], track["category_id"], index)
            assert np.array_equal(decoded(code, truth.shape), truth)
            assert (code is None) == (not truth.any())
            assert track["areas"][index] == (int(truth.sum()) or None)
            assert track["bboxes"][index] == (None if code is None else rle.toBbox(code).tolist())
    assert pairs == {*opened.pairs}
    for table in TABLES:
        assert (out / table).read_bytes() == (bench / table).read_bytes()
    assert (out / "header.json").read_bytes() == (bench / "benchmark.json").read_bytes()
    frame = out / "JPEGImages" / content["videos"][1]["file_names"][2]
    assert frame.read_bytes() == (bench / "videos/tiny__v1/JPEGImages/00002.jpg").read_bytes()


def test_supports_are_there_pixel_by_pixel_with_what_is_ignored(bench: Path, out: Path) -> None:
    opened, content = load_benchmark(bench), read_json(out / "supports.json")
    images = {image["id"]: image for image in content["images"]}
    masks: dict[tuple[str, int, int], np.ndarray] = {}
    for each in content["annotations"]:
        image = images[each["image_id"]]
        assert (out / image["file_name"]).read_bytes() == (bench / image["file_name"]).read_bytes()
        key = Path(image["file_name"]).stem, each["category_id"], each["iscrowd"]
        masks[key] = decoded(each["segmentation"], (image["height"], image["width"]))
        assert each["area"] == masks[key].sum()
    wanted = {(name, e.category) for e in opened.episodes for name in e.supports}
    for name, category in wanted:
        support = opened.support(category, name)
        assert support.ignore is not None
        assert np.array_equal(masks.pop((name, category, 0)), support.mask)
        assert np.array_equal(masks.pop((name, category, 1)), support.ignore)
    assert not masks


def test_our_own_reader_builds_the_same_benchmark_of_it(bench: Path, out: Path, tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    words = ("--ytvis", out, "--coco", tmp_path / "coco", "--draws", 1, "--shots", 1, "--support-min-area", 1)
    assert icvos("build-data", "ic-vos", *words, "--out", tmp_path / "again") == 0
    old, new = load_benchmark(bench), load_benchmark(tmp_path / "again")
    assert {(f"ytvis__{video}", category): pair.category_name for (video, category), pair in old.pairs.items()} == {
        key: pair.category_name for key, pair in new.pairs.items()
    }
    for (video, category), pair in old.pairs.items():
        other = new.pairs[f"ytvis__{video}", category]
        assert (pair.visible_frames, pair.first_visible) == (other.visible_frames, other.first_visible)
        for index in range(3):
            assert np.array_equal(
                old.annotation(video, category, index), new.annotation(f"ytvis__{video}", category, index)
            )
            assert np.array_equal(old.video(video)[index], new.video(f"ytvis__{video}")[index])


def test_images_stay_where_they_are_unless_they_are_wanted(bench: Path, out: Path, tmp_path: Path) -> None:
    bare = export(bench, "ytvis", tmp_path / "bare")
    assert not (bare / "JPEGImages").exists() and not (bare / "supports").exists()
    for name in ("instances.json", "supports.json"):
        assert (bare / name).read_bytes() == (out / name).read_bytes()
    linked = export(bench, "ytvis", tmp_path / "linked", "--with-frames", "--link")
    assert (linked / "JPEGImages/tiny__v0/00000.jpg").stat().st_nlink == 2
    assert (linked / "manifest.csv").read_bytes() == (out / "manifest.csv").read_bytes()


def test_a_changed_benchmark_is_refused(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, path in enumerate(
        ("videos/tiny__v1/Annotations/1/00002.png", "supports/masks/3/COCO_val2014_000000000001.png", "pairs.csv")
    ):
        changed = tmp_path / f"changed{number}"
        shutil.copytree(bench, changed)
        (changed / path).write_bytes((changed / path).read_bytes() + b" ")
        line = refusal(capsys, "export", changed, "--to", "ytvis", "--out", tmp_path / f"out{number}")
        assert "changed since the benchmark was built" in line and path in line
    assert not (tmp_path / "out2").exists()


def test_vos_has_no_supports(tmp_path: Path) -> None:
    assert icvos("build-data", "vos", "--davis", davis(tmp_path / "davis"), "--out", tmp_path / "vos") == 0
    for to in ("ytvis", "coco", "davis"):
        folder = export(tmp_path / "vos", to, tmp_path / f"as-{to}")
        assert not (folder / "supports.json").exists()
    names = {each["name"] for each in read_json(tmp_path / "as-ytvis/instances.json")["categories"]}
    assert names == {"object 1", "object 2", "object 3"}
    assert read_json(tmp_path / "as-davis/davis_semantics.json")["davis17__dogs"]["2"] == "object 2"
    assert read_json(tmp_path / "as-coco/frames.json")["images"][1]["frame_index"] == 1


def first(content: Any, name: str) -> Any:
    return content[name][0]


def shifted(entry: Any) -> None:
    code = next(code for code in entry["segmentations"] if code)
    mask = np.roll(rle.decode(code), 1, axis=1)
    code["counts"] = rle.encode(np.asfortranarray(mask))["counts"].decode()


def resized(entry: Any) -> None:
    next(code for code in entry["segmentations"] if code)["size"] = [48, 40]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edit("instances.json", lambda c: c["annotations"].pop()), "2 annotations, and pairs.csv has 3"),
        (edit("instances.json", lambda c: c["videos"].pop()), "1 videos, and videos.csv has 2"),
        (edit("instances.json", lambda c: c["categories"].pop()), "79 categories"),
        (edit("instances.json", lambda c: c["categories"][4].update(name="cat")), "the tables say 'airplane'"),
        (edit("instances.json", lambda c: first(c, "annotations").update(category_id=7)), "the tables say 1"),
        (edit("instances.json", lambda c: first(c, "annotations").update(video_id=9)), "the tables say 1"),
        (edit("instances.json", lambda c: first(c, "annotations")["segmentations"].pop()), "3, one a frame"),
        (edit("instances.json", lambda c: first(c, "annotations")["areas"].__setitem__(0, 4)), "its area is"),
        (edit("instances.json", lambda c: shifted(first(c, "annotations"))), "its box"),
        (edit("instances.json", lambda c: resized(first(c, "annotations"))), "run lengths of size"),
        (edit("instances.json", lambda c: first(c, "videos").update(height=41)), "the tables say 40"),
        (edit("instances.json", lambda c: first(c, "videos")["file_names"].reverse()), "are not 3 frames"),
        (edit("instances.json", lambda c: first(c, "videos")["file_names"].__setitem__(0, "../a.jpg")), "../a.jpg"),
        (edit("supports.json", lambda c: c["annotations"].pop(0)), "nothing of category 1 is marked"),
        (edit("supports.json", lambda c: first(c, "images").update(file_name="supports/images/x.jpg")), "x.jpg"),
        (edit("supports.json", lambda c: first(c, "annotations").update(iscrowd=1)), "the tables say 0"),
        (lambda root: (root / "JPEGImages/tiny__v0/00001.jpg").unlink(), "a frame of tiny__v0 is missing"),
        (lambda root: (root / "episodes.csv").write_text("id,video\n"), "CSV has no column"),
        (lambda root: (root / "header.json").write_text("[]"), "schema"),
    ],
)
def test_wrong_content_is_named(out: Path, tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    assert said in problems_of(out, tmp_path / "bad", change)


# ---- results of a run ------------------------------------------------------------------------------------------------


def test_results_are_the_runs_masks_with_the_ids_of_the_benchmarks_export(
    bench: Path, out: Path, run: Path, tmp_path: Path
) -> None:
    results = export(run, "ytvis", tmp_path / "results")
    content = read_json(out / "instances.json")
    videos = {video["id"]: video["name"] for video in content["videos"]}
    episodes = {episode.id: episode for episode in load_benchmark(bench).episodes}
    seen = []
    for draw in (0, 1):
        for entry in read_json(results / f"results_d{draw}.json"):
            assert {*entry} >= {"video_id", "category_id", "score", "segmentations"}  # the official form
            episode = episodes[entry["episode"]]
            assert (entry["draw"], episode.draw) == (draw, draw) and entry["score"] == 1
            assert (videos[entry["video_id"]], entry["category_id"]) == (episode.video, episode.category)
            for index, code in enumerate(entry["segmentations"]):
                saved = read_mask(run / "masks" / episode.id / f"{index:05d}.png")
                assert np.array_equal(decoded(code, saved.shape), saved != 0)
            seen.append(episode.id)
    assert sorted(seen) == sorted(episodes)
    rows = read_csv(results / "episodes.csv", ("episode", "results", "video_id"))
    assert {row["episode"]: videos[int(row["video_id"])] for row in rows} == {e.id: e.video for e in episodes.values()}


def test_an_episode_that_failed_is_null_throughout(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "failed")
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    lines[0]["error"] = "it broke"
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.rmtree(folder / "masks" / lines[0]["id"])
    results = export(folder, "ytvis", tmp_path / "results")
    entries = [entry for draw in (0, 1) for entry in read_json(results / f"results_d{draw}.json")]
    (failed,) = (entry for entry in entries if entry["episode"] == lines[0]["id"])
    assert failed["segmentations"] == [None] * 3
    assert sum(any(entry["segmentations"]) for entry in entries) > 1


def test_runs_of_which_no_results_can_be_made(
    bench: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(folder: Path, *words: Any) -> str:
        line = refusal(capsys, "export", folder, "--to", "ytvis", "--out", tmp_path / "none", *words)
        assert not (tmp_path / "none").exists()
        return line

    evaluate = ("evaluate", "--model", "histogram", "--benchmark", bench)
    assert icvos(*evaluate, "--out", tmp_path / "bare") == 0
    assert "--save-masks" in said(tmp_path / "bare")
    words = ("--save-masks", "--limit-episodes", 1)
    assert icvos(*evaluate, *words, "--protocol", "paper", "--out", tmp_path / "paper") == 0
    assert "of 512x512 (HxW)" in said(tmp_path / "paper") and "--protocol native" in said(tmp_path / "paper")
    assert icvos(*evaluate, *words, "--limit-frames", 2, "--out", tmp_path / "cut") == 0
    assert "--limit-frames" in said(tmp_path / "cut")
    other = write_video_benchmark(tmp_path / "other", videos=1)
    assert "the run is of another benchmark" in said(run, "--benchmark", other)
    assert icvos("export", run, "--to", "ytvis", "--benchmark", bench, "--out", tmp_path / "some") == 0
    moved = shutil.copytree(run, tmp_path / "moved")
    about = json.loads((moved / "run.json").read_text())
    about["environment"]["benchmark_folder"] = str(tmp_path / "gone")
    (moved / "run.json").write_text(json.dumps(about))
    assert "--benchmark" in said(moved)
    record = write_record(tmp_path / "board", Run.open(run), "self-reported")
    for words in ((), ("--benchmark", bench)):
        assert "a board's record has no masks" in said(record, *words)
    images = write_image_benchmark(tmp_path / "images")
    words = ("--model", "histogram", "--benchmark", images, "--out", tmp_path / "few-shot")
    assert icvos("evaluate", *words) == 0
    assert "a run of few-shot images has no form 'ytvis'" in said(tmp_path / "few-shot")


def test_masks_that_are_none_of_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (labels, part) in enumerate(
        ((np.ones((9, 9)), "mask is 9x9"), (np.full((40, 48), 7), "the value 7"), (None, "mask not found"))
    ):
        folder = shutil.copytree(run, tmp_path / f"run{number}")
        path = next((folder / "masks").rglob("00002.png"))
        path.unlink()
        if labels is not None:
            write_mask(path, labels)
        assert part in refusal(capsys, "export", folder, "--to", "ytvis", "--out", tmp_path / f"out{number}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop(), "no list of 3 entries"),
        (lambda c: c[0].update(video_id=2), "another video_id"),
        (lambda c: c[0].update(score=2), "no number of 0 to 1"),
        (lambda c: c[0]["segmentations"].pop(), "has no 3 segmentations"),
        (lambda c: resized(c[0]), "run lengths of size"),
        (lambda c: c[0].update(segmentations=[[], None, None]), "is empty, and not null"),
    ],
)
def test_wrong_results_are_named(run: Path, tmp_path: Path, change: Callable[[Any], None], said: str) -> None:
    good = export(run, "ytvis", tmp_path / "good")
    assert said in problems_of(good, tmp_path / "bad", edit("results_d1.json", change))


def test_a_killed_export_goes_on_behind_what_it_encoded(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made, killed = ExportFolder.part, [], [True]

    def part(self: ExportFolder, name: str, make: Callable[[], bytes]) -> bytes:
        if name == "video-tiny__v1" and killed[0]:
            raise KeyboardInterrupt
        return real(self, name, lambda: (made.append(name), make())[1])

    monkeypatch.setattr(ExportFolder, "part", part)
    words = ("export", bench, "--to", "ytvis", "--out", tmp_path / "out")
    assert icvos(*words) != 0
    assert made == ["supports-0", "video-tiny__v0"]
    killed[0] = False
    assert icvos(*words) == 0
    assert made == ["supports-0", "video-tiny__v0", "video-tiny__v1"]
    assert not (tmp_path / "out/.parts").exists()
