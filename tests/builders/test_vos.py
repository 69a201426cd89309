"""Semi-supervised VOS from raw data sets: which objects are told, on which frame, and what the folder says of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fewshot_trees as few
import numpy as np
import pytest
import raw_trees
from board_runs import icvos

from icvos.benchmark import Benchmark, load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.ic_vos.supports import Supports
from icvos.builders.stats import benchmark_stats
from icvos.builders.vos.build import build_vos, prepare_vos
from icvos.builders.vos.plan import VOS_SOURCES
from icvos.categories import COCO80
from icvos.data.class_masks import coco_masks, voc_masks
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import InputError, UsageError
from icvos.leaderboard.consistency import check_name
from icvos.masks import read_mask
from icvos.sources import open_source
from icvos.sources.coco import open_coco
from icvos.sources.drawn import LICENCE
from icvos.sources.expected import Expected


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw_trees.everything(tmp_path_factory.mktemp("raw"))


def built(raw: Path, out: Path, name: str, **settings: object) -> Benchmark:
    build_vos(prepare_vos(open_source(name, raw / name), **settings), out)  # type: ignore[arg-type]
    assert check_benchmark(out) == []
    return load_benchmark(out)


def pairs(bench: Benchmark) -> list[tuple[str, int, int]]:
    """Video, object and the object's first frame there."""
    return [(video, number, pair.first_visible) for (video, number), pair in bench.pairs.items()]


def test_davis_tells_the_objects_of_the_first_frame_of_val(raw: Path, tmp_path: Path) -> None:
    bench = built(raw, tmp_path / "b", "davis")
    assert pairs(bench) == [("davis17__dogs", n, 0) for n in (1, 2, 3)] + [("davis17__ride", 1, 0)]
    assert (bench.vos, bench.header["protocol"]) == (True, "davis-2017")
    assert [e.supports for e in bench.episodes] == [()] * 4 and bench.episodes[0].id == "davis17__dogs__1__d0"
    # Void is background, and the other objects are.
    labels = read_mask(raw / "davis/Annotations/480p/dogs/00001.png")
    assert 255 in labels
    for number in (1, 2, 3):
        assert np.array_equal(bench.annotation("davis17__dogs", number, 1), labels == number)
    assert benchmark_stats(bench).pairs == 4 and benchmark_stats(bench).supports == 0


def test_an_id_that_the_first_frame_skips_is_no_object(tmp_path: Path) -> None:
    root = raw_trees.davis(tmp_path / "davis")
    for index in range(3):
        frame = raw_trees.boxes((1, 5, 5), (3, 30, 30), *([(2, 5, 30)] if index else []))
        raw_trees.labels(root / f"Annotations/480p/dogs/{index:05d}.png", frame)
    report = build_vos(prepare_vos(open_source("davis", root)), tmp_path / "b")
    assert pairs(load_benchmark(tmp_path / "b"))[:2] == [("davis17__dogs", 1, 0), ("davis17__dogs", 3, 0)]
    assert "davis17,dogs,2: not on the first frame" in report.left_out


@pytest.mark.parametrize("name", ["mose", "mose2"])
def test_mose_tells_the_objects_of_frame_0_and_leaves_out_videos_of_one_frame(
    raw: Path, tmp_path: Path, name: str
) -> None:
    prepared = prepare_vos(open_source(name, raw / name))
    report = build_vos(prepared, tmp_path / "b")
    assert report.left_out == [f"{name},330ac20d,object 1: has 1 frame of at least 2"]
    bench = load_benchmark(tmp_path / "b")
    assert pairs(bench) == [(f"{name}__001ca3cb", 1, 0), (f"{name}__001ca3cb", 3, 0)]
    assert bench.vocabulary.label(3) == "object 3" and bench.header["protocol"] == "native"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_object_that_comes_late_begins_a_video_of_its_own(raw: Path, tmp_path: Path, workers: int) -> None:
    bench = built(raw, tmp_path / "b", "lvos", workers=workers)
    assert pairs(bench) == [("lvos__aa22bb33", 1, 0), ("lvos__aa22bb33__from00011", 2, 0)]
    assert [bench.videos[name].frames for name in bench.videos] == [4, 2]
    first = raw / "lvos/val/JPEGImages/aa22bb33/00000011.jpg"
    assert bench.frame_paths("lvos__aa22bb33__from00011")[0].read_bytes() == first.read_bytes()


@pytest.mark.parametrize(("ends", "frames"), [((11, 21), (2, 2)), ((11, 16), (2, 1)), ((21, 21), (4, 2))])
def test_what_lvos_says_of_an_end_ends_the_video(
    tmp_path: Path, ends: tuple[int, int], frames: tuple[int, int]
) -> None:
    root = raw_trees.lvos(tmp_path / "lvos")
    meta = root / "val/valid_meta.json"
    spans = json.loads(meta.read_text())
    for number, end in enumerate(ends, 1):
        spans["videos"]["aa22bb33"]["objects"][str(number)]["frame_range"]["end"] = end
    meta.write_text(json.dumps(spans))
    prepared = prepare_vos(open_source("lvos", root))
    report = build_vos(prepared, tmp_path / "b")
    found = [video.frames for video in load_benchmark(tmp_path / "b").videos.values()]
    # A video of one frame has nothing to track.
    assert found == [count for count in frames if count > 1] and len(report.left_out) == frames.count(1)


def test_late_objects_that_begin_together_share_a_video(tmp_path: Path) -> None:
    root = raw_trees.mose(tmp_path / "mose")
    for index, frame in enumerate(
        [
            raw_trees.boxes((1, 5, 5)),
            raw_trees.boxes((1, 5, 5), (2, 5, 30), (3, 30, 30)),
            raw_trees.boxes((2, 5, 30)),
            raw_trees.boxes((4, 5, 30)),
        ]
    ):
        raw_trees.labels(root / f"train/Annotations/001ca3cb/{index:05d}.png", frame)
    bench = built(tmp_path, tmp_path / "b", "mose")
    late = "mose__001ca3cb__from00001"
    assert pairs(bench) == [("mose__001ca3cb", 1, 0), (late, 2, 0), (late, 3, 0)]


def test_a_video_called_as_a_late_one_would_be_is_told(tmp_path: Path) -> None:
    root = raw_trees.mose(tmp_path / "mose")
    for index, frame in enumerate([raw_trees.boxes((1, 5, 5)), *[raw_trees.boxes((1, 5, 5), (2, 5, 30))] * 3]):
        raw_trees.labels(root / f"train/Annotations/001ca3cb/{index:05d}.png", frame)
    for part in ("JPEGImages", "Annotations"):
        shutil.copytree(root / f"train/{part}/001ca3cb", root / f"train/{part}/001ca3cb__from00001")
    told = r"two videos would be called 'mose__001ca3cb__from00001'.*rename the folders of '001ca3cb__from00001'"
    with pytest.raises(InputError, match=told):
        built(tmp_path, tmp_path / "b", "mose")


def test_a_video_without_objects_is_told(tmp_path: Path) -> None:
    root = raw_trees.mose(tmp_path / "mose")
    for part in ("JPEGImages", "Annotations"):
        shutil.copytree(root / f"train/{part}/001ca3cb", root / f"train/{part}/bare")
    for mask in (root / "train/Annotations/bare").iterdir():
        raw_trees.labels(mask, raw_trees.boxes())
    prepared = prepare_vos(open_source("mose", root))
    assert "mose,bare: no object on any frame" in prepared.plan.left_out


def test_the_version_tells_what_was_built_and_not_how(raw: Path, tmp_path: Path) -> None:
    one, two = (built(raw, tmp_path / str(workers), "lvos", workers=workers) for workers in (1, 2))
    assert one.manifest_sha256 == two.manifest_sha256
    others = [
        built(raw, tmp_path / "short", "lvos", max_frames=3),
        built(raw, tmp_path / "train", "lvos", split="train"),
        built(raw, tmp_path / "mose", "mose"),
    ]
    assert len({bench.version for bench in (one, *others)}) == 4
    names = [bench.header["recipe"]["name"] for bench in others]
    assert names == ["vos-lvos-val", "vos-lvos-train", "vos-mose-train"]


def expect(monkeypatch: pytest.MonkeyPatch, **counts: int) -> None:
    """Let a whole split, whatever it is, have these counts."""
    monkeypatch.setattr(
        "icvos.builders.vos.build.expected_counts", lambda dataset, split: Expected(dataset, split, counts, "", "")
    )


def test_only_a_whole_split_carries_its_name(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = built(raw, tmp_path / "part", "davis")
    assert part.name == f"custom:{part.version.rpartition('.')[2]}"
    differs = part.header["recipe"]["differs"]
    assert differs == [
        "2 sequences of DAVIS-2017 val are built, and the whole has 30",
        "6 frames of DAVIS-2017 val are built, and the whole has 1,999",
        "4 objects of DAVIS-2017 val are built, and the whole has 61",
    ]
    (refused,) = check_name(part.header)
    assert differs[0] in refused
    expect(monkeypatch, sequences=2, frames=6, objects=4)
    whole = built(raw, tmp_path / "whole", "davis")
    assert whole.name == "vos-davis17-val" and check_name(whole.header) == []
    assert check_name({"name": whole.name})[0].startswith("it is called 'vos-davis17-val' and does not say")
    short = built(raw, tmp_path / "short", "davis", max_frames=3)
    assert short.name.startswith("custom:") and "--max-frames" in short.header["recipe"]["differs"][0]
    expect(monkeypatch)
    (why,) = built(raw, tmp_path / "unknown", "davis").header["recipe"]["differs"]
    assert why == "nobody published how much a whole DAVIS-2017 val holds"


def test_a_video_that_late_objects_begin_is_of_the_same_sequence(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, sequences=1)
    assert built(raw, tmp_path / "b", "lvos").name == "vos-lvos-val"


def test_davis_in_another_resolution_has_no_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = raw_trees.davis(tmp_path / "davis")
    for part in ("JPEGImages", "Annotations"):
        (root / part / "480p").rename(root / part / "Full-Resolution")
    expect(monkeypatch, sequences=2, frames=6, objects=4)
    bench = built(tmp_path, tmp_path / "b", "davis")
    assert bench.name.startswith("custom:") and "Full-Resolution" in bench.header["recipe"]["differs"][0]


def test_parts_of_a_split_have_other_versions_than_the_whole(raw: Path, tmp_path: Path) -> None:
    whole = built(raw, tmp_path / "whole", "davis")
    root = raw_trees.davis(tmp_path / "davis")
    (root / "ImageSets/2017/val.txt").write_text("dogs\n")
    part = built(tmp_path, tmp_path / "part", "davis")
    assert part.name.startswith("custom:") and whole.version != part.version


def test_a_name_of_a_whole_split_is_not_given_to_another(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not called 'vos-davis17-val'.*build-data vos"):
        build_vos(prepare_vos(open_source("davis", raw / "davis")), tmp_path / "b", name="vos-davis17-val")


def test_a_split_that_is_not_there_is_told(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no video of DAVIS-2017 is of split 'train'.*expected val or all.*--split"):
        prepare_vos(open_source("davis", raw / "davis"), split="train")
    assert prepare_vos(open_source("davis", raw / "davis"), split="all").name == "vos-davis17-all"
    with pytest.raises(UsageError, match="OVIS is no benchmark of semi-supervised VOS"):
        prepare_vos(open_source("ovis", raw / "ovis"))


def test_the_command(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("build-data", "vos", "--davis", raw / "davis", "--out", tmp_path / "b")
    assert icvos(*words, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "to build: 2 videos, 4 objects, 6 frames, 18 files" in out and "davis17,ride,2" not in out
    assert "no published name: 2 sequences of DAVIS-2017 val are built, and the whole has 30" in out
    assert not (tmp_path / "b").exists()
    assert icvos(*words, "--link", "--name", "mine") == 0
    out = capsys.readouterr().out
    assert "left out: davis17,ride,2: not on the first frame" in out and "6 frames, 4 objects" in out
    assert load_benchmark(tmp_path / "b").name == "mine"
    image = next((tmp_path / "b/videos/davis17__dogs/JPEGImages").iterdir())
    assert image.stat().st_nlink == 2
    assert icvos("build-data", "check", tmp_path / "b") == 0 and icvos("build-data", "stats", tmp_path / "b") == 0
    for more in ((), ("--davis", raw / "davis", "--lvos", raw / "lvos")):
        capsys.readouterr()
        assert icvos("build-data", "vos", *more, "--out", tmp_path / "c") == 2
        error = capsys.readouterr().err
        assert f"{len(more) // 2} data sets are given" in error and error.count("\n") == 1


def test_every_data_set_is_an_option() -> None:
    from icvos.commands.builders.vos import command

    assert {f"--{name}" for name in VOS_SOURCES} <= {option for each in command.params for option in each.opts}


def test_a_task_that_nobody_knows_is_refused(raw: Path, tmp_path: Path) -> None:
    built(raw, tmp_path / "b", "mose")
    header = json.loads((tmp_path / "b/benchmark.json").read_text())
    for key, value, words in (("task", "tracking", "the task is 'tracking'"), ("protocol", 3, "protocol is no name")):
        (tmp_path / "b/benchmark.json").write_text(json.dumps({**header, key: value}))
        with pytest.raises(Exception, match=words):
            load_benchmark(tmp_path / "b")


@pytest.mark.parametrize("world", ['{"generator": "1", "size": "tiny", "seed": 0}', '{"x": 1}', "[", None])
def test_what_lies_in_a_drawn_world_has_no_rights_of_others(tmp_path: Path, world: str | None) -> None:
    """Whichever data set's layout it has, and whichever builder reads it."""
    raw_trees.davis(tmp_path / "davis")
    few.voc(tmp_path / "voc" / "VOC2012", {"a": few.label_map((1, 2), 0)}, {"val": ["a"]})
    few.coco(tmp_path / "coco", [few.annotation(1, "dog", few.rectangle(4, 4, 10, 10))])
    if world is not None:
        (tmp_path / "world.json").write_text(world)
    source = open_source("davis", tmp_path / "davis")
    build_vos(prepare_vos(source, split="all"), tmp_path / "b")
    header = load_benchmark(tmp_path / "b").header
    licences = {
        header["licences"]["davis17"],
        Supports(open_coco(tmp_path / "coco"), BuildRules(), COCO80).licence,
        coco_masks(tmp_path / "coco", "val2014", cache=tmp_path / "cache").licence,
        voc_masks(tmp_path / "voc" / "VOC2012", "val", cache=tmp_path / "cache").licence,
    }
    drawn = world is not None and "generator" in world
    assert (licences == {LICENCE}) == drawn and len(licences) == (1 if drawn else 3)
    title = "demo world, in the layout of DAVIS-2017" if drawn else "DAVIS-2017"
    assert [each["title"] for each in header["sources"]] == [title]
    assert open_benchmark(tmp_path / "b")[1] == drawn
