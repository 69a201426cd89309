"""IC-VOS from raw data: one benchmark of all sources, the same whatever the order, the workers or an interruption."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees as raw
from listings import shuffle_listings
from PIL import Image

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.builders import writer
from icvos.builders.check import check_benchmark
from icvos.builders.ic_vos import video as icvos_video
from icvos.builders.ic_vos.build import BuildReport, build_icvos, prepare
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.ic_vos.supports import Supports
from icvos.builders.recipe import read_recipes
from icvos.builders.writer import BenchmarkWriter
from icvos.categories import COCO80
from icvos.data.draws import draw_supports, support_pool
from icvos.errors import BenchmarkError, IcvosError, LockedError, MaskError, SourceError, UsageError
from icvos.files import escape_id, file_sha256, lock_folder
from icvos.manifest import iter_files
from icvos.masks import read_mask
from icvos.processes import in_order
from icvos.sources import open_source
from icvos.sources.coco import open_coco
from icvos.sources.release import Release

ALL = ("davis17", "davis16", "mose", "mose2", "lvos", "ytvis", "ovis")
FOLDERS = {"davis17": "davis"}
DOG, PERSON, CAT = 17, 1, 16


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All raw data sets, written once; tests that change them copy them first."""
    return raw.everything(tmp_path_factory.mktemp("raw"))


def build(
    root: Path, out: Path, *, names: tuple[str, ...] = ALL, rules: dict[str, Any] | None = None, **how: Any
) -> BuildReport:
    sources = [open_source(name, root / FOLDERS.get(name, name)) for name in names]
    with_recipe = how.pop("recipe", True)
    recipe = read_recipes(sorted((root / "recipe").glob("*.csv")) if with_recipe else [], COCO80)
    coco = open_coco(root / "coco", how.pop("pool", None))
    prepared = prepare(sources, coco, recipe=recipe, rules=BuildRules(**{"shots": 2, "draws": 3, **(rules or {})}))
    return build_icvos(prepared, out, **how)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def built(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark of all sources; read only."""
    out = tmp_path_factory.mktemp("built") / "B"
    build(trees, out)
    return out


def test_one_benchmark_of_all_sources(built: Path) -> None:
    bench = load_benchmark(built)
    assert {(video, c): pair.complete for (video, c), pair in bench.pairs.items()} == {
        ("davis17__dogs", PERSON): "unsure",
        ("davis17__dogs", DOG): "unsure",
        ("davis17__ride", 4): "unsure",
        ("davis16__bear", 15): "unsure",
        ("mose__001ca3cb", CAT): "yes",
        ("lvos__R3UJGYwy", PERSON): "yes",
        ("ytvis__0043f083b5", CAT): "yes",
        ("ytvis__0043f083b5", DOG): "yes",
        ("ovis__0a1b2c3d", CAT): "yes",
        ("ovis__0a1b2c3d", 15): "yes",
    }
    assert bench.header["complete_only"] is False
    dogs = bench.pairs["davis17__dogs", DOG]
    assert (dogs.visible_frames, dogs.first_visible, dogs.instances) == (3, 0, 2)
    ride = bench.pairs["davis17__ride", 4]
    assert (ride.visible_frames, ride.first_visible, ride.instances) == (2, 1, 1)
    assert bench.pairs["mose__001ca3cb", CAT].visible_frames == 3  # one mask is empty
    record = bench.videos["davis17__dogs"]
    assert (record.source, record.source_split, record.source_name) == ("davis17", "val", "dogs")
    assert (record.frames, record.height, record.width, record.fps) == (3, raw.H, raw.W, 24.0)
    assert record.void_pixels == raw.W
    assert len(bench.episodes) == 3 * len(bench.pairs)
    assert not check_benchmark(built)
    frames = {row["video"]: row["source_frame"] for row in rows(built / "frames.csv") if row["frame"] == "00001"}
    assert frames["lvos__R3UJGYwy"] == "00000006"


def test_masks_are_grey_class_level_and_without_void(built: Path, trees: Path) -> None:
    for index in range(3):
        path = built / f"videos/davis17__dogs/Annotations/{DOG}/{index:05d}.png"
        with Image.open(path) as image:
            assert image.mode == "L"
        labels = np.array(Image.open(trees / f"davis/Annotations/480p/dogs/{index:05d}.png"))
        assert np.array_equal(read_mask(path), np.isin(labels, [1, 2]))
    # of two instances that overlap: their union
    assert read_mask(built / f"videos/ytvis__0043f083b5/Annotations/{CAT}/00001.png").sum() == 175


def test_frames_are_the_sources_bytes(built: Path, trees: Path) -> None:
    for index in range(3):
        copy = built / f"videos/davis17__ride/JPEGImages/{index:05d}.jpg"
        assert copy.read_bytes() == (trees / f"davis/JPEGImages/480p/ride/{index:05d}.jpg").read_bytes()


def test_supports(built: Path) -> None:
    bench = load_benchmark(built)
    for episode in bench.episodes:
        assert len(set(episode.supports)) == 2
        for support in bench.supports(episode, 2):
            assert support.mask[11:60, 11:70].all() and support.image.shape == (80, 96, 3)
    ignores = [bench.support(e.category, name).ignore for e in bench.episodes for name in e.supports]
    found = [ignore for ignore in ignores if ignore is not None]
    assert found and all(ignore[:, 80:].all() and not ignore[:, :79].any() for ignore in found)  # the crowd


def test_left_out_is_listed(trees: Path, tmp_path: Path) -> None:
    report = build(trees, tmp_path / "B")
    said = "\n".join(report.left_out)
    assert "davis17,held: only its first frame has a mask" in said
    assert "davis17,ride,1: no category of coco80 is called 'camel'" in said
    assert "ytvis,0043f083b5,103: no category of coco80 is called 'mouse'" in said  # an animal, not a computer's
    assert "lvos,aa22bb33,1: nothing of coco80, says the recipe" in said
    assert "lvos,aa22bb33,2: no label" in said and "mose2,001ca3cb,1: no label" in said
    assert "lvos,R3UJGYwy,car: complete is no" in said
    assert "mose2,001ca3cb,horse: complete is unsure" in said
    assert "mose,330ac20d,dog: has 1 frame of at least 2" in said


def test_videos_that_a_data_set_lists_nowhere_are_left_out_with_a_line(trees: Path, tmp_path: Path) -> None:
    davis, ytvis = tmp_path / "davis", tmp_path / "ytvis"
    shutil.copytree(trees / "davis", davis)
    shutil.copytree(davis / "Annotations/480p/dogs", davis / "Annotations/480p/other")
    shutil.copytree(trees / "ytvis", ytvis)
    (path,) = ytvis.rglob("*.json")
    content = json.loads(path.read_text())
    content["videos"].append({**content["videos"][0], "id": 99, "file_names": ["empty/00000.jpg"]})
    path.write_text(json.dumps(content))
    sources = [open_source("davis17", davis), open_source("ytvis", ytvis)]
    left_out = prepare(sources, open_coco(trees / "coco")).plan.left_out
    assert "davis17,other: in no list of ImageSets" in left_out and "ytvis,empty: no object is annotated" in left_out


def test_incomplete_pairs_are_kept_when_asked(trees: Path, tmp_path: Path) -> None:
    build(trees, tmp_path / "B", rules={"allow_incomplete": True})
    pairs = {key: pair.complete for key, pair in load_benchmark(tmp_path / "B").pairs.items()}
    assert pairs["lvos__R3UJGYwy", 3] == "no" and pairs["mose2__001ca3cb", 18] == "unsure"


def test_complete_only(trees: Path, tmp_path: Path) -> None:
    build(trees, tmp_path / "B", names=("mose", "ytvis"))
    assert load_benchmark(tmp_path / "B").header["complete_only"] is True


def test_davis_alone_is_kept_with_a_note(trees: Path, tmp_path: Path) -> None:
    report = build(trees, tmp_path / "B", names=("davis17",), recipe=False)
    assert report.pairs == 3 and "DAVIS-2017" in report.notes[0]
    (tmp_path / "c.csv").write_text("source,video,category,complete\ndavis17,dogs,dog,yes\n")
    recipe = read_recipes([tmp_path / "c.csv"], COCO80)
    source = open_source("davis17", trees / "davis")
    prepared = prepare([source], open_coco(trees / "coco"), recipe=recipe)
    assert prepared.plan.pairs == 1  # once somebody judged DAVIS, only what is complete is kept


def test_same_bytes_every_time(built: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = file_sha256(built / "manifest.csv")
    assert build(trees, tmp_path / "two", workers=2).manifest_sha256 == first
    assert build(trees, tmp_path / "linked", link=True).manifest_sha256 == first
    assert build(trees, tmp_path / "order", names=ALL[::-1]).manifest_sha256 == first
    shuffle_listings(monkeypatch)
    assert build(trees, tmp_path / "shuffled").manifest_sha256 == first


def test_links_share_their_bytes_with_the_source(trees: Path, tmp_path: Path) -> None:
    build(trees, tmp_path / "B", names=("davis17",), link=True)
    source = trees / "davis/JPEGImages/480p/ride/00000.jpg"
    assert source.samefile(tmp_path / "B/videos/davis17__ride/JPEGImages/00000.jpg")
    build(trees, tmp_path / "C", names=("davis17",))
    assert not source.samefile(tmp_path / "C/videos/davis17__ride/JPEGImages/00000.jpg")


def test_links_become_copies_across_file_systems(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    report = build(trees, tmp_path / "B", names=("davis17",), link=True)
    assert report.frames == 6 and not check_benchmark(tmp_path / "B")


def test_no_path_host_or_time_in_a_benchmark(built: Path, trees: Path) -> None:
    for path in iter_files(built):
        if not path.endswith((".jpg", ".png")):
            text = (built / path).read_text()
            assert str(trees) not in text and os.uname().nodename not in text and "2026" not in text


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"categories": (DOG,)}, {("davis17__dogs", DOG)}),
        ({"first_frame": "visible"}, {("davis17__dogs", PERSON), ("davis17__dogs", DOG)}),
        ({"min_visible_frames": 3}, {("davis17__dogs", PERSON), ("davis17__dogs", DOG)}),
        ({"min_area": 150}, {("davis17__dogs", DOG)}),  # two dogs of 100 pixels each
        ({"max_frames": 1, "min_frames": 1}, {("davis17__dogs", PERSON), ("davis17__dogs", DOG)}),
    ],
)
def test_keep_rules(trees: Path, tmp_path: Path, rules: dict[str, Any], expected: set[tuple[str, int]]) -> None:
    report = build(trees, tmp_path / "B", names=("davis17",), rules=rules)
    bench = load_benchmark(tmp_path / "B")
    assert set(bench.pairs) == expected and not check_benchmark(tmp_path / "B")
    assert report.pairs == len(expected)
    assert sorted(p.name for p in (tmp_path / "B/videos").iterdir()) == sorted({video for video, _ in expected})


def test_nothing_left_is_an_error(trees: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is left"):
        build(trees, tmp_path / "B", names=("mose",), recipe=False)
    with pytest.raises(UsageError, match="no pair passed"):
        build(trees, tmp_path / "B", names=("davis17",), rules={"min_area": 10**6})
    with pytest.raises(SourceError, match="no support for 'person'"):
        build(trees, tmp_path / "B", names=("davis17",), rules={"support_min_area": 10**6})
    assert not (tmp_path / "B").exists()


def test_the_support_pool_goes_by_the_areas_of_the_json(tmp_path: Path) -> None:
    """Not by covered pixels: another rule gives other files, and needs another BUILDER_VERSION."""
    root = raw.coco(tmp_path / "coco")
    path = root / "annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    people = [a for a in content["annotations"] if a["category_id"] == 1 and not a["iscrowd"]]
    names = [f"COCO_val2014_{a['image_id']:012d}" for a in people]  # the mask of each covers 3,000 pixels
    people[0]["area"] = 2047.5
    people[1]["area"] = 1024.0
    content["annotations"].append({**people[1], "id": 5})  # the same pixels again
    path.write_text(json.dumps(content))
    supports = Supports(open_coco(root), BuildRules(), COCO80)
    assert len(names) == 3 and supports.pool(PERSON).names == (names[1], names[2])


def test_supports_whose_images_have_names_of_any_kind(tmp_path: Path) -> None:
    """Two of one name in two folders, and one with letters that ids do not hold: each image keeps its mask."""
    root = raw.coco(tmp_path / "coco")
    path = root / "annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    dogs = [
        a["image_id"]
        for a in content["annotations"]
        if a["category_id"] == COCO80.source_ids[DOG - 1] and not a["iscrowd"]
    ]
    images = {image["id"]: image for image in content["images"]}
    pixels = {}
    for number, name in zip(dogs, ("a/x.jpg", "b/x.jpg", "größe 1.jpg"), strict=True):
        (root / "val2014" / name).parent.mkdir(exist_ok=True)
        (root / "val2014" / images[number]["file_name"]).rename(root / "val2014" / name)
        images[number]["file_name"] = name
        pixels[escape_id(name.removesuffix(".jpg"))] = (root / "val2014" / name).read_bytes()
    path.write_text(json.dumps(content))
    davis = tmp_path / "davis"
    for frame in ("00000", "00001"):
        raw.picture(davis / f"JPEGImages/480p/v/{frame}.jpg", (90, 90))
        raw.labels(davis / f"Annotations/480p/v/{frame}.png", np.ones((90, 90), np.uint8))
    (davis / "davis_semantics.json").write_text(json.dumps({"v": {"1": "dog"}}))
    rules = BuildRules(shots=3)
    build_icvos(prepare([open_source("davis17", davis)], open_coco(root), rules=rules), tmp_path / "B")
    assert {p.stem: p.read_bytes() for p in (tmp_path / "B/supports/images").iterdir()} == pixels
    assert check_benchmark(tmp_path / "B") == []


def test_supports_that_do_not_fit_their_image(trees: Path, tmp_path: Path) -> None:
    """Height and width swapped, as where EXIF turns an image that was annotated upright."""
    root = raw.coco(tmp_path / "coco")
    for path in (root / "val2014").iterdir():
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(path)
    source = open_source("davis17", trees / "davis")
    with pytest.raises(SourceError, match=r"96x80.*its annotations 80x96"):
        build_icvos(prepare([source], open_coco(root)), tmp_path / "B")
    assert not (tmp_path / "B").exists()


def test_clips_of_the_recipe(trees: Path, tmp_path: Path) -> None:
    text = "source,video,object,category,start,end\nlvos,R3UJGYwy,1,person,6,11\n"
    (tmp_path / "o.csv").write_text(text)
    recipe = read_recipes([tmp_path / "o.csv"], COCO80)
    source = open_source("lvos", trees / "lvos")
    rules = BuildRules(allow_incomplete=True, shots=1)
    build_icvos(prepare([source], open_coco(trees / "coco"), recipe=recipe, rules=rules), tmp_path / "B")
    assert [row["source_frame"] for row in rows(tmp_path / "B/frames.csv")] == ["00000006", "00000011"]


def test_mini_subset_does_not_depend_on_order(tmp_path: Path) -> None:
    root = tmp_path / "davis"
    semantics = {}
    names = [USED for USED in raw.USED for _ in range(7)]
    for number, category in enumerate(names):
        for index in range(2):
            raw.picture(root / f"JPEGImages/480p/v{number:02d}/{index:05d}.jpg", (16, 16))
            raw.labels(root / f"Annotations/480p/v{number:02d}/{index:05d}.png", np.ones((16, 16), np.uint8))
        semantics[f"v{number:02d}"] = {"1": category}
    (root / "davis_semantics.json").write_text(json.dumps(semantics))
    coco = open_coco(raw.coco(tmp_path / "coco"))
    source = open_source("davis17", root)
    rules = BuildRules(subset="mini")
    plan = prepare([source], coco, rules=rules).plan
    assert plan.pairs == 30
    counts = [sum(category in video.groups for video in plan.videos) for category in plan.categories]
    assert len(counts) == len(raw.USED) and max(counts) - min(counts) == 1  # categories in turn
    # Leaving out a video that is not in it changes nothing.
    chosen = {video.name for video in plan.videos}
    other = next(name for name in sorted(semantics) if f"davis17__{name}" not in chosen)
    shutil.rmtree(root / "Annotations/480p" / other)
    again = prepare([source], coco, rules=rules).plan
    assert {video.name for video in again.videos} == chosen


def test_coco_2017(trees: Path, tmp_path: Path) -> None:
    raw.coco(tmp_path / "coco", year=2017)
    source = open_source("davis17", trees / "davis")
    build_icvos(prepare([source], open_coco(tmp_path / "coco", "val2017")), tmp_path / "B")
    bench = load_benchmark(tmp_path / "B")
    assert bench.header["support_pool"]["split"] == "val2017" and not check_benchmark(tmp_path / "B")


# --- draws ---------------------------------------------------------------------------------------------------------


def test_draws_are_a_pure_function() -> None:
    names = [f"n{i:03d}" for i in range(50)]
    drawn = draw_supports(0, names, "v", 3, 5, 5)
    assert drawn == draw_supports(0, names[::-1], "v", 3, 5, 5) == draw_supports(0, support_pool(names), "v", 3, 5, 5)
    assert [d[:2] for d in drawn[:2]] == draw_supports(0, names, "v", 3, 2, 2)  # prefixes in both directions
    others = [draw_supports(1, names, "v", 3, 5, 5), draw_supports(0, names, "w", 3, 5, 5)]
    others += [draw_supports(0, names, "v", 4, 5, 5), draw_supports(0, names[1:], "v", 3, 5, 5)]
    assert all(other != drawn for other in others)
    # Golden: a change of the rule would change every benchmark.
    assert drawn[0] == GOLDEN_DRAW


GOLDEN_DRAW = ["n011", "n006", "n032", "n026", "n001"]


def test_draws_are_distinct_and_fair() -> None:
    names = [f"n{i}" for i in range(7)]
    count = dict.fromkeys(names, 0)
    for video in range(2000):
        for draw in draw_supports(0, names, f"v{video}", 1, 1, 3):
            assert len(set(draw)) == 3
            for name in draw:
                count[name] += 1
    # 6000 / 7 = 857 each; the standard deviation is 22
    assert all(750 < number < 965 for number in count.values())


def test_draws_from_small_pools() -> None:
    assert [sorted(d) for d in draw_supports(0, ["a", "b"], "v", 1, 2, 5)] == [["a", "b"]] * 2
    with pytest.raises(UsageError, match="no support"):
        draw_supports(0, [], "v", 1, 1, 1)
    with pytest.raises(UsageError):
        draw_supports(0, ["a"], "v", 1, 0, 1)


def test_few_candidates_leave_columns_empty(trees: Path, tmp_path: Path) -> None:
    build(trees, tmp_path / "B", names=("davis17",), rules={"shots": 5})
    (row, *_) = rows(tmp_path / "B/episodes.csv")
    assert row["support_3"] and row["support_4"] == row["support_5"] == ""


# --- interruptions -------------------------------------------------------------------------------------------------


def test_a_killed_build_goes_on(built: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "B"
    calls: list[str] = []
    real = icvos_video._Builder.run

    def dies(self: Any, frames: Any) -> Any:
        calls.append(self.task.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, frames)

    monkeypatch.setattr(icvos_video._Builder, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        build(trees, out)
    assert not out.exists() and (tmp_path / "B.partial").is_dir()
    killed = calls[-1]
    assert build(trees, out).manifest_sha256 == file_sha256(built / "manifest.csv")
    # the two that were whole are not done again, the third is
    assert calls.count(calls[0]) == calls.count(calls[1]) == 1 and calls.count(killed) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B"]


def kill_after_the_rename(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    """Let the next build die when its folder has got its name, before its state is removed."""
    real = shutil.rmtree

    def dies(path: Any, **options: Any) -> None:
        if out.exists() and str(path).endswith(".partial-state"):
            monkeypatch.setattr(writer.shutil, "rmtree", real)
            raise KeyboardInterrupt
        real(path, **options)

    monkeypatch.setattr(writer.shutil, "rmtree", dies)


def test_a_build_killed_after_its_rename_ends_well(
    built: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "B"
    kill_after_the_rename(monkeypatch, out)
    with pytest.raises(KeyboardInterrupt):
        build(trees, out)
    assert (out / "manifest.csv").is_file() and (tmp_path / "B.partial-state").is_dir()
    assert build(trees, out).manifest_sha256 == file_sha256(built / "manifest.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B"]
    with pytest.raises(BenchmarkError, match="is there already"):
        build(trees, out)


@pytest.mark.parametrize("resume", [True, False])
def test_another_command_leaves_what_a_killed_build_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    def write() -> str:
        with BenchmarkWriter(tmp_path / "B", resume=resume) as opened:
            opened.write("a.txt", b"a")
            return opened.finish({"schema": "x"}, {})

    kill_after_the_rename(monkeypatch, tmp_path / "B")
    with pytest.raises(KeyboardInterrupt):
        write()
    before = (tmp_path / "B/manifest.csv").read_bytes()
    words = list(sys.argv)
    monkeypatch.setattr(sys, "argv", [*words, "--other"])
    with pytest.raises(BenchmarkError, match="is there already"):
        write()
    assert (tmp_path / "B/manifest.csv").read_bytes() == before
    monkeypatch.setattr(sys, "argv", words)
    write()
    assert (tmp_path / "B/manifest.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B"]


def test_what_an_earlier_build_left_is_not_trusted(built: Path, trees: Path, tmp_path: Path) -> None:
    """A changed source, a cut file, another rule, a stranger's file: each is put right on resuming."""
    root = tmp_path / "raw"
    shutil.copytree(trees, root)
    out = tmp_path / "B"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.BenchmarkWriter, "finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(root, out, rules={"min_area": 101})
    partial = tmp_path / "B.partial"
    assert (partial / f"videos/davis17__dogs/Annotations/{DOG}").is_dir()
    (partial / "videos/davis17__dogs/JPEGImages/00000.jpg").write_bytes(b"cut")
    (partial / "stranger.txt").write_text("")
    (partial / "videos/davis17__gone").mkdir()
    report = build(root, out)
    assert report.manifest_sha256 == file_sha256(built / "manifest.csv")


def test_a_sigkilled_build_leaves_no_worker_and_goes_on(built: Path, trees: Path, tmp_path: Path) -> None:
    big = tmp_path / "raw"
    shutil.copytree(trees / "coco", big / "coco")
    for number in range(12):
        for index in range(40):
            raw.picture(big / f"davis/JPEGImages/480p/v{number:02d}/{index:05d}.jpg", (240, 320), seed=index)
            raw.labels(big / f"davis/Annotations/480p/v{number:02d}/{index:05d}.png", np.ones((240, 320), np.uint8))
    semantics = {f"v{number:02d}": {"1": "dog"} for number in range(12)}
    (big / "davis/davis_semantics.json").write_text(json.dumps(semantics))
    arguments = ["build-data", "ic-vos", "--davis", str(big / "davis"), "--coco", str(big / "coco"), "--workers", "2"]
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "icvos.cli", *arguments, "--out", str(tmp_path / "B")]
    process = subprocess.Popen(command, cwd=root, start_new_session=True, stdout=subprocess.DEVNULL)
    state = tmp_path / "B.partial-state"
    limit = time.monotonic() + 60
    while (not state.is_dir() or len(list(state.glob("*.json"))) < 2) and time.monotonic() < limit:
        time.sleep(0.02)
    process.kill()
    process.wait()
    while _group_lives(process.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _group_lives(process.pid), "a worker outlived its parent"
    assert not (tmp_path / "B").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--out", str(tmp_path / "B")])
    assert stop.value.code == 0 and not check_benchmark(tmp_path / "B")


def _group_lives(group: int) -> bool:
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[2]) == group and words[0] != "Z":
                return True
    return False


def test_a_folder_of_ones_own_is_in_the_way_and_stays(trees: Path, tmp_path: Path) -> None:
    (tmp_path / "B.partial").mkdir()
    (tmp_path / "B.partial/keep").write_text("me")
    with pytest.raises(BenchmarkError, match="in the way that no build made"):
        build(trees, tmp_path / "B", names=("davis17",))
    assert (tmp_path / "B.partial/keep").read_text() == "me"


def test_an_interrupted_build_says_what_is_kept(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*words: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icvos.builders.ic_vos.supports.Supports.write", stop)
    with pytest.raises(KeyboardInterrupt) as stopped:
        build(trees, tmp_path / "B", names=("davis17",))
    assert "is kept in" in stopped.value.__notes__[0] and (tmp_path / "B.partial/videos").is_dir()


def test_a_full_disk_leaves_nothing_half_written(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.open
    written = 0

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, data: bytes) -> int:
            self.stream.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    def fake(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        nonlocal written
        stream = real(path, mode, *rest, **options)
        if mode == "wb" and "buffering" in options:
            written += 1
            if written == 9:
                return Full(stream)
        return stream

    monkeypatch.setattr(writer, "open", fake, raising=False)
    with pytest.raises(OSError, match=r"No space left on device: .*B\.partial"):
        build(trees, tmp_path / "B", names=("davis17",))
    monkeypatch.undo()
    assert not (tmp_path / "B").exists()
    for path in (tmp_path / "B.partial").rglob("*"):
        if path.suffix == ".png":
            read_mask(path)
        assert path.suffix != ".tmp"
    assert written == 9 and not (tmp_path / "B.partial/videos/davis17__dogs").exists()
    assert build(trees, tmp_path / "B", names=("davis17",)).pairs == 3


def test_no_room_is_said_before_it_starts(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icvos.builders.writer.free_bytes", lambda _: 1000)
    with pytest.raises(IcvosError, match=r"the disk has 1 kB free; .*expected about [0-9.]+ (k|M)B"):
        build(trees, tmp_path / "B", names=("davis17",))
    assert not list(tmp_path.iterdir())


def test_two_builds_at_once(trees: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "B"), pytest.raises(LockedError):
        build(trees, tmp_path / "B", names=("davis17",))
    build(trees, tmp_path / "B", names=("davis17",))
    with pytest.raises(BenchmarkError, match="there already"):
        build(trees, tmp_path / "B", names=("davis17",))


def _double(number: int) -> int:
    return 2 * number


def _fail(number: int) -> int:
    raise MaskError(f"number {number}", where="there", expected="another", fix="none")


def test_workers_keep_order_take_little_and_pass_errors_on() -> None:
    taken = []

    def tasks() -> Any:
        for number in range(40):
            taken.append(number)
            yield number

    results = in_order(_double, tasks(), 2)
    assert next(results) == 0 and len(taken) < 12
    assert list(results) == [2 * number for number in range(1, 40)]
    with pytest.raises(MaskError, match="number 0; in there; expected another; none"):
        list(in_order(_fail, range(3), 2))
    assert not multiprocessing.active_children()


class _Counting:
    """Counts its calls in one process; pickled anew for each task, it would count to one."""

    calls = 0

    def __call__(self, number: int) -> int:
        self.calls += 1
        return self.calls


def test_workers_keep_what_they_open() -> None:
    counts = list(in_order(_Counting(), range(12), 2))
    assert max(counts) >= 6 and len(counts) == 12


def _die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_dies_is_an_error() -> None:
    with pytest.raises(BrokenProcessPool):
        list(in_order(_die, range(3), 2))
    assert not multiprocessing.active_children()


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.fixture
def davis(trees: Path, tmp_path: Path) -> Path:
    """A copy of what is needed to build from DAVIS."""
    for name in ("davis", "coco"):
        shutil.copytree(trees / name, tmp_path / "raw" / name)
    return tmp_path / "raw"


FRAME = "davis/JPEGImages/480p/dogs/00001.jpg"
MASK = "davis/Annotations/480p/dogs/00001.png"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def turn(path: Path) -> None:
    """A portrait camera's file: pixels are stored lying, and a tag says to turn them."""
    for index in range(3):
        image = Image.open(path.with_name(f"{index:05d}.jpg"))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path.with_name(f"{index:05d}.jpg"), exif=exif)
        raw.labels(
            path.parents[3] / f"Annotations/480p/dogs/{index:05d}.png", raw.boxes((1, 0, 0), size=(raw.W, raw.H))
        )


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (FRAME, cut, "truncated"),
        (FRAME, lambda p: p.write_bytes(b""), "no image"),
        (FRAME, lambda p: p.write_bytes(b"GIF89a"), "no image"),
        (FRAME, lambda p: raw.picture(p, (raw.H, raw.W + 2)), "48x66"),
        (FRAME, turn, "EXIF"),
        (MASK, cut, "decoded"),
        (MASK, lambda p: raw.labels(p, raw.boxes(size=(raw.H, raw.W + 1))), "48x65"),
        (MASK, lambda p: Image.new("RGB", (raw.W, raw.H)).save(p), "RGB"),
        (MASK, lambda p: Image.fromarray(np.ones((raw.H, raw.W), np.uint16)).save(p), "16 bits"),
        ("davis/davis_semantics.json", lambda p: p.write_text('{"dogs": {"300": "dog"}}'), "1 to 254"),
        ("davis/davis_semantics.json", lambda p: p.write_text('{"dogs": ["dog"]}'), "davis_semantics"),
        ("coco/annotations/instances_val2014.json", cut, "JSON is broken"),
        ("coco/val2014", lambda p: [x.unlink() for x in p.iterdir()], "listed but not there"),
    ],
)
def test_broken_raw_data(davis: Path, tmp_path: Path, path: str, change: Any, said: str) -> None:
    change(davis / path)
    with pytest.raises(IcvosError, match=said):
        build(davis, tmp_path / "B", names=("davis17",), recipe=False)
    assert not (tmp_path / "B").exists()
    assert not (tmp_path / "B.partial/videos/davis17__dogs").exists() or "coco" in path


def test_exif_on_masks_of_the_stored_pixels_is_fine(davis: Path, tmp_path: Path) -> None:
    for index in range(3):
        path = davis / f"davis/JPEGImages/480p/dogs/{index:05d}.jpg"
        image = Image.open(path)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    build(davis, tmp_path / "B", names=("davis17",), recipe=False)
    bench = load_benchmark(tmp_path / "B")
    assert bench.video("davis17__dogs")[0].shape == (raw.H, raw.W, 3)


def test_names_that_collide(davis: Path, tmp_path: Path) -> None:
    for part in ("JPEGImages", "Annotations"):
        shutil.copytree(davis / f"davis/{part}/480p/dogs", davis / f"davis/{part}/480p/DOGS")
    (davis / "davis/ImageSets/2017/val.txt").write_text("dogs\nDOGS\n")
    with pytest.raises(SourceError, match="davis17__DOGS"):
        build(davis, tmp_path / "B", names=("davis17",), recipe=False)
    for name in ("do%gs", "../dogs", "/etc"):
        (davis / "davis/ImageSets/2017/val.txt").write_text(f"{name}\n")
        with pytest.raises(IcvosError, match="of ImageSets has no masks"):
            build(davis, tmp_path / "B", names=("davis17",), recipe=False)
    for part in ("JPEGImages", "Annotations"):
        shutil.rmtree(davis / f"davis/{part}/480p/DOGS")
        (davis / f"davis/{part}/480p/dogs").rename(davis / f"davis/{part}/480p/мои dogs")
    semantics = davis / "davis/davis_semantics.json"
    semantics.write_text(semantics.read_text().replace('"dogs"', '"мои dogs"'))
    (davis / "davis/ImageSets/2017/val.txt").write_text("мои dogs\n", encoding="utf-16")
    build(davis, tmp_path / "B", names=("davis17",), recipe=False)
    assert list(load_benchmark(tmp_path / "B").videos) == ["davis17___u43c__u43e__u438__u20_dogs"]


def test_one_name_in_two_sources_is_no_collision(trees: Path, tmp_path: Path) -> None:
    build(trees, tmp_path / "B", names=("mose", "mose2"), rules={"allow_incomplete": True})
    assert sorted(load_benchmark(tmp_path / "B").videos) == ["mose2__001ca3cb", "mose__001ca3cb"]


# --- the authors' release ------------------------------------------------------------------------------------------


def release(root: Path, *, values: tuple[int, int] = (1, 255)) -> Path:
    """The authors' layout: stems that sort as numbers only, masks of {0, 1} and {0, 255}, one that is empty."""
    for video, classes in (("dog-run", (17,)), ("R3UJGYwy", (1, 3))):
        for index in range(11):
            raw.picture(root / video / f"JPEGImages/{index}.jpg", seed=index)
            for place, number in enumerate(classes):
                mask = raw.boxes() if number == 3 else raw.boxes((values[place], 5, index))
                raw.labels(root / video / f"Annotations/{number}/{index}.png", mask, colours=index % 2 == 0)
    return root


def reference_pairs(root: Path) -> list[tuple[str, str, list[str]]]:
    """List pairs as the reference does: folders under Annotations, stems sorted as numbers."""
    out = []
    for video in sorted(os.listdir(root)):
        frames = [name for name in os.listdir(root / video / "JPEGImages") if name.endswith((".jpg", ".jpeg"))]
        frames.sort(key=lambda name: int(name.split(".")[0]))
        for category in sorted(os.listdir(root / video / "Annotations")):
            masks = [f"{name.split('.')[0]}.png" for name in frames]
            assert all((root / video / "Annotations" / category / mask).is_file() for mask in masks)
            out.append((video, category, masks))
    return out


def test_from_release(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = release(tmp_path / "ICVOS")
    arguments = ["--from-release", str(root), "--coco", str(trees / "coco"), "--out", str(tmp_path / "B")]
    with pytest.raises(SystemExit) as stop:
        cli.main(["build-data", "ic-vos", *arguments])
    assert stop.value.code == 0 and "2 videos, 22 frames, 3 pairs, 15 episodes" in capsys.readouterr().out
    bench = load_benchmark(tmp_path / "B")
    assert not check_benchmark(tmp_path / "B")
    assert set(bench.pairs) == {("dog-run", 17), ("R3UJGYwy", 1), ("R3UJGYwy", 3)}
    assert bench.pairs["R3UJGYwy", 3].visible_frames == 0  # as it is, though it shows nothing
    assert [row["source_frame"] for row in rows(tmp_path / "B/frames.csv")][:11] == [str(i) for i in range(11)]
    for index in range(11):
        assert bench.annotation("dog-run", 17, index)[5:15, index : index + 10].all()
        assert bench.annotation("dog-run", 17, index).sum() == 100
    ours = reference_pairs(tmp_path / "B/videos")
    assert [pair[:2] for pair in ours] == [pair[:2] for pair in reference_pairs(root)]
    assert [len(masks) for *_, masks in ours] == [11, 11, 11]


def test_the_references_listing_finds_the_same_pairs(built: Path) -> None:
    bench = load_benchmark(built)
    found = reference_pairs(built / "videos")
    assert {(video, int(category)) for video, category, _ in found} == set(bench.pairs)
    assert all(len(masks) == bench.videos[video].frames for video, _, masks in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "dog-run/Annotations/17/3.png").unlink(), "'3' has no mask"),
        (lambda root: (root / "dog-run/JPEGImages/3.jpg").unlink(), "'3' is a mask without a frame"),
        (lambda root: (root / "dog-run/Annotations/17").rename(root / "dog-run/Annotations/81"), "81"),
        (lambda root: (root / "dog-run/Annotations/17").rename(root / "dog-run/Annotations/dog"), "class folder 'dog'"),
        (lambda root: shutil.rmtree(root / "dog-run/JPEGImages"), "no video"),
        (
            lambda root: raw.labels(root / "dog-run/Annotations/17/3.png", raw.boxes((1, 1, 1), (2, 20, 20))),
            "holds the values 1, 2",
        ),
        (lambda root: shutil.rmtree(root / "dog-run/Annotations/17"), "no class"),
    ],
)
def test_a_broken_release(trees: Path, tmp_path: Path, change: Any, said: str) -> None:
    root = release(tmp_path / "ICVOS")
    change(root)
    rules = BuildRules(min_visible_frames=0, min_area=0, min_frames=0)
    with pytest.raises(IcvosError, match=said):
        build_icvos(prepare([Release(root)], open_coco(trees / "coco"), rules=rules), tmp_path / "B")


# --- the command ---------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["build-data", *arguments])
    return int(stop.value.code or 0)


def test_the_command(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--davis", str(trees / "davis"), "--coco", str(trees / "coco"), "--out", str(tmp_path / "B")]
    assert run("ic-vos", *common, "--dry-run", "--categories", "dog, motorbike") == 0
    out = capsys.readouterr().out
    assert "to build: 2 videos, 2 pairs, 6 frames, 12 files" in out and "note: nobody has said" in out
    assert not list(tmp_path.iterdir())
    assert run("ic-vos", *common, "--dry-run", "--left-out", str(tmp_path / "left.txt")) == 0
    assert "camel" in (tmp_path / "left.txt").read_text() and "left.txt" in capsys.readouterr().out
    assert run("ic-vos", *common) == 0
    out = capsys.readouterr().out
    assert f"built {tmp_path / 'B'}: 2 videos, 6 frames, 3 pairs, 15 episodes" in out
    assert file_sha256(tmp_path / "B/manifest.csv") in out
    assert run("ic-vos", *common) == 2 and "there already" in capsys.readouterr().err
    assert run("ic-vos", *common[2:]) == 2 and "no video data set" in capsys.readouterr().err
    assert run("ic-vos", *common[:-1], str(tmp_path / "C"), "--categories", "dgo") == 2
    assert "did you mean 'dog'" in capsys.readouterr().err
    assert run("icvos") == 2 and "did you mean 'ic-vos'" in capsys.readouterr().err


def without_supports(trees: Path, root: Path, *names: str) -> Path:
    """Copy COCO, where some categories are too small in every image."""
    shutil.copytree(trees / "coco", root)
    path = root / "annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    ids = {COCO80.source_ids[COCO80.number(name) - 1] for name in names}
    for annotation in content["annotations"]:
        annotation["area"] = 1.0 if annotation["category_id"] in ids else annotation["area"]
    path.write_text(json.dumps(content))
    return root


def test_all_categories_without_a_support_are_named_and_may_be_left_out(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = without_supports(trees, tmp_path / "coco", "motorcycle", "dog")
    common = ["ic-vos", "--davis", str(trees / "davis"), "--coco", str(coco), "--out", str(tmp_path / "B")]
    for more in ((), ("--dry-run",)):
        assert run(*common, *more) == 2
        error = capsys.readouterr().err
        assert "no support for 'motorcycle', 'dog' in val2014" in error and "--exclude motorcycle,dog" in error
    left = tmp_path / "left.txt"
    options = ("--left-out", str(left))
    assert run(*common, "--dry-run", "--without-support", "leave-out", *options) == 0
    assert "to build: 1 video, 1 pair" in capsys.readouterr().out
    why = "no image of the support pool shows enough of it"
    assert {f"davis17,dogs,dog: {why}", f"davis17,ride,motorcycle: {why}"} <= set(left.read_text().splitlines())
    assert run(*common, "--exclude", "dog, motorbike", *options) == 0  # by a synonym, too
    why = "not among the categories that are asked for"
    assert left.read_text().splitlines()[-2:] == [f"davis17,dogs,dog: {why}", f"davis17,ride,motorcycle: {why}"]
    assert set(load_benchmark(tmp_path / "B").pairs) == {("davis17__dogs", PERSON)}
    for words, said in (
        (("--exclude", "dgo"), "did you mean 'dog'"),
        (("--categories", "dog", "--exclude", "dog"), "--exclude leaves no category"),
        (("--categories", "dog", "--without-support", "leave-out"), "nothing is left to build from 2 videos"),
    ):
        assert run(*common, *words) == 2 and said in capsys.readouterr().err


def test_what_is_left_out_of_a_subset_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "davis"
    for number in range(32):
        for index in range(2):
            raw.picture(root / f"JPEGImages/480p/v{number:02d}/{index:05d}.jpg", (16, 16))
            raw.labels(root / f"Annotations/480p/v{number:02d}/{index:05d}.png", np.ones((16, 16), np.uint8))
    (root / "davis_semantics.json").write_text(json.dumps({f"v{number:02d}": {"1": "dog"} for number in range(32)}))
    sources = [open_source("davis17", root)]
    plan = prepare(sources, open_coco(raw.coco(tmp_path / "coco")), rules=BuildRules(subset="mini")).plan
    assert plan.pairs == 30 and len(plan.left_out) == 2
    assert all(line.endswith(",dog: not in the subset") for line in plan.left_out)


def test_few_supports_and_draws_that_show_the_same_are_said_at_build_time(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = without_supports(trees, tmp_path / "coco", "cat")
    common = ["ic-vos", "--davis", str(trees / "davis"), "--coco", str(coco), "--out", str(tmp_path / "B"), "--dry-run"]
    assert run(*common, "--categories", "dog,person") == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes[1] == "note: fewer than 5 supports of person (3), dog (3), on 2 pairs: all there are"
    drawn = {
        name: draw_supports(0, Supports(open_coco(coco), BuildRules(), COCO80).pool(c), "davis17__dogs", c, 5, 1)
        for c, name in ((PERSON, "person"), (DOG, "dog"))
    }
    counts = {name: 5 - len({draw[0] for draw in draws}) for name, draws in drawn.items()}
    assert all(counts.values())  # five draws of three
    named = [f"davis17__dogs,{name}" + (f" ({count})" if count > 1 else "") for name, count in counts.items()]
    same = "draws show the same supports as an earlier one of their pair"
    assert notes[2:] == [
        f"note: with 1 shown, {sum(counts.values())} of 10 {same}: {', '.join(named)}",
        f"note: with 5 shown, 8 of 10 {same}: davis17__dogs,person (4), davis17__dogs,dog (4)",
    ]
    assert run(*common, "--categories", "dog", "--shots", "1", "--draws", "1") == 0
    assert "show the same" not in capsys.readouterr().out


def test_help_imports_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys, cli\n"
        "try: cli.main(['build-data', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'pandas') if m in sys.modules], file=sys.stderr)"
    )
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert found.stderr.strip() == "[]" and "mask-tubes" in found.stdout


def test_real_davis_and_coco(real: Path, tmp_path: Path) -> None:
    arguments = ["ic-vos", "--davis", str(real / "davis"), "--coco", str(real / "coco"), "--out", str(tmp_path / "B")]
    assert run(*arguments) == 0
    bench = load_benchmark(tmp_path / "B")
    assert set(bench.pairs) == {("davis17__car-shadow", 3), ("davis17__dog", 17)} and len(bench.episodes) == 10
    assert not check_benchmark(tmp_path / "B")
    source = np.array(Image.open(real / "davis/Annotations/480p/dog/00031.png"))
    assert np.array_equal(bench.annotation("davis17__dog", 17, 31), source == 1)
    assert all(bench.supports(episode)[0].mask.sum() > 500 for episode in bench.episodes)


def test_real_multi_object_and_void_frames_build(real: Path, tmp_path: Path) -> None:
    head = "source,video,object,category\n"
    dolphins = "".join(f"davis17,dolphins,{i},person\n" for i in (1, 2, 3)) + "davis17,dolphins,4,car\n"
    tennis = "davis17,tennis,1,person\ndavis17,tennis,2,car\n"
    for name, text, least in (("davis_multi_object", dolphins, "1"), ("davis_void", tennis, "2")):
        recipe = tmp_path / f"{name}.csv"
        recipe.write_text(head + text)
        common = ["--coco", str(real / "coco"), "--out", str(tmp_path / name), "--recipe", str(recipe)]
        assert run("ic-vos", "--davis", str(real / name), *common, "--min-frames", least) == 0
    labels = np.array(Image.open(real / "davis_multi_object/Annotations/480p/dolphins/00000.png"))
    bench = load_benchmark(tmp_path / "davis_multi_object")
    assert np.array_equal(bench.annotation("davis17__dolphins", 1, 0), np.isin(labels, [1, 2, 3]))
    assert bench.pairs["davis17__dolphins", 1].instances == 3
    void = np.array(Image.open(real / "davis_void/Annotations/480p/tennis/00000.png")) == 255
    bench = load_benchmark(tmp_path / "davis_void")
    assert void.sum() > 0 and not bench.annotation("davis17__tennis", 1, 0)[void].any()
    assert bench.videos["davis17__tennis"].void_pixels >= void.sum()


def test_signal_ends_a_build_cleanly(trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = icvos_video._Builder.run

    def interrupted(self: Any, frames: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(self, frames)

    monkeypatch.setattr(icvos_video._Builder, "run", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        status = run(
            "ic-vos", "--davis", str(trees / "davis"), "--coco", str(trees / "coco"), "--out", str(tmp_path / "B")
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status == 128 + signal.SIGTERM and not (tmp_path / "B").exists()
    assert not list((tmp_path / "B.partial").rglob("*.png"))
