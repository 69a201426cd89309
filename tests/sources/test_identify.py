"""Which data set a folder is, and what of it is missing: each fault by its one line."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import fewshot_trees as few
import pytest
import raw_trees as raw
from board_runs import icvos
from shared_data import shared
from whole_trees import known

from icvos.demo.benchmarks import demo_layout
from icvos.errors import SourceError
from icvos.sources import open_source, source_ids
from icvos.sources.census import count_source
from icvos.sources.expected import EXPECTED
from icvos.sources.found import Count, Found
from icvos.sources.identify import KINDS, identify
from icvos.sources.release import Release

DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "sources.md"


def titles(folder: Path) -> list[str]:
    return [found.title for found in identify(folder)]


def problems(folder: Path) -> list[str]:
    return [text for found in identify(folder) for text in found.problems]


def empty(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


TREES = {
    "davis": (raw.davis, ["DAVIS-2017 trainval 480p", "DAVIS-2017 test-dev 480p"]),
    "davis16": (raw.davis16, ["DAVIS-2016 trainval 480p"]),
    "mose": (raw.mose, ["MOSE v1 train", "MOSE v1 valid"]),
    "mose2": (lambda root: raw.mose(root, version=2), ["MOSE v2 train", "MOSE v2 valid"]),
    "lvos": (raw.lvos, ["LVOS v2 train", "LVOS v2 val"]),
    "ytvis": (raw.ytvis, ["YouTube-VIS train"]),
    "ovis": (lambda root: raw.ytvis(root, ovis=True), ["OVIS train"]),
    "folder": (raw.folder, ["videos of your own (--folder)"]),
    "coco": (raw.coco, ["COCO 2014 val2014"]),
    "coco17": (lambda root: raw.coco(root, year=2017), ["COCO 2017 val2017"]),
    "voc": (lambda root: few.pascal_world(root)[0], ["VOC 2012 train", "VOC 2012 val"]),
    "sbd": (lambda root: few.pascal_world(root)[1], ["SBD train and val"]),
}


@pytest.mark.parametrize("name", TREES)
def test_each_layout_is_told(tmp_path: Path, name: str) -> None:
    write, told = TREES[name]
    assert titles(write(tmp_path / name)) == told


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith(("coco", "voc", "sbd"))])
def test_what_identifies_a_folder_agrees_with_its_reader(tmp_path: Path, name: str) -> None:
    """What the readers give, frame by frame, is what is counted of whole sequences."""
    root = TREES[name][0](tmp_path / name)
    source = open_source({"davis": "davis17"}.get(name, name), root)
    frames = sum(len(source.frames(video)) for video in source.videos())
    counted = [found for found in identify(root) if "test" not in found.split and found.split != "valid"]
    assert sum(found.counts["frames"].found for found in counted) == frames
    assert sum(found.counts["sequences"].found for found in counted) == len(source.videos())
    assert [found.counts["sequences"] for found in count_source(source)][:1] == [counted[0].counts["sequences"]]


def test_fss_1000_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = demo_layout("fss-1000", "tiny", 0, tmp_path)
    (found,) = identify(root)
    assert found.line == "FSS-1000 test, 12 of 240 categories" and found.problems == () and not found.whole
    known(monkeypatch, "FSS-1000", "test", categories=12, images=120)
    assert [found.whole for found in identify(root)] == [True]
    (root / "data/car/7.png").unlink()
    assert problems(root) == ["pictures without a mask, or masks without one: car (7); fetch and unpack it again"]
    (root / "data/car/7.jpg").unlink()
    assert problems(root) == ["119 of 120 images are here; fetch and unpack it again"]
    shutil.rmtree(root / "data/car")
    assert problems(root) == ["car is missing, of 12 classes (splits/test.txt); fetch and unpack it again"]


def test_lvis_and_matchers_list_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = demo_layout("lvis", "tiny", 0, tmp_path)
    content = json.loads((root / "lvis_v1_val.json").read_text())
    counts = {what: len(content[what]) for what in ("images", "annotations", "categories")}
    lvis, lists = identify(root)
    assert lvis.line == f"LVIS v1 val, {counts['images']} of 19,809 images" and lvis.problems == lvis.notes == ()
    assert {what: count.found for what, count in lvis.counts.items()} == counts
    assert lists.title == "LVIS v1 val, Matcher's list" and lists.verdict == "not known"
    assert lists.notes == ("12 categories are on more than one image, of which ten folds are made",)
    known(monkeypatch, "LVIS v1", "val", **counts)
    assert identify(root)[0].verdict == "yes"
    known(monkeypatch, "LVIS v1", "val", "L.zip", **{**counts, "annotations": counts["annotations"] + 1})
    assert identify(root)[0].problems[0].endswith("annotations are here; unpack L.zip again")
    next((root / "coco/val2017").iterdir()).unlink()
    assert "1 of" not in problems(root)[0] and problems(root)[0].endswith(".jpg is missing: unpack COCO 2017")
    shutil.rmtree(root / "coco")
    assert "its images are COCO 2017's" in identify(root)[0].notes[0]


def test_every_reader_has_a_layout_that_is_known() -> None:
    assert {*source_ids(), "coco", "coco17", "voc", "sbd"} == {
        name.replace("davis", "davis17") if name == "davis" else name for name in TREES
    }


def test_youtube_vos_is_told_by_its_names_and_its_meta_file(tmp_path: Path) -> None:
    for split, frames in (("train", ("00000", "00005")), ("valid", ("00010", "00015"))):
        for frame in frames:
            empty(tmp_path / split / "JPEGImages/003234408d" / f"{frame}.jpg")
        empty(tmp_path / split / "Annotations/003234408d" / f"{frames[0]}.png")
        objects = {"1": {"category": "dog", "frames": list(frames)}}
        (tmp_path / split / "meta.json").write_text(json.dumps({"videos": {"003234408d": {"objects": objects}}}))
    train, valid = identify(tmp_path)
    assert train.title == "YouTube-VOS 2019 train" and "icvos has no reader of it" in train.notes
    assert train.problems == ("frames without a mask: 003234408d (00005); unpack train.zip again",)
    assert valid.problems == () and valid.counts["objects"] == Count(1, 1063)


def test_the_authors_release_and_a_built_benchmark_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for frame in range(2):
        empty(tmp_path / f"icvos/walk/JPEGImages/{frame}.jpg")
        empty(tmp_path / f"icvos/walk/Annotations/17/{frame}.png")
    (release,) = identify(tmp_path / "icvos")
    assert not release.whole and release.line == "IC-VOS, the authors' release, 1 of 369 sequences"
    assert icvos("build-data", "source", tmp_path / "icvos") == 1
    said = capsys.readouterr().out
    assert re.search("frames +2 +99,549", said) and "IC-VOS, the authors' release, 1 of 369 sequences: a part" in said
    with monkeypatch.context() as small:
        known(small, release.dataset, "", sequences=1, frames=3)
        assert problems(tmp_path / "icvos") == ["2 of 3 frames are here; fetch and unpack it again"]
        assert [found.line for found in count_source(Release(tmp_path / "icvos"))] == [
            "IC-VOS, the authors' release, 1 of 1 sequences"
        ]
    (tmp_path / "icvos/walk/Annotations/17/1.png").unlink()
    assert "'1' has no mask" in problems(tmp_path / "icvos")[0]
    raw.everything(tmp_path / "raw")
    words = ["--davis", tmp_path / "raw/davis", "--coco", tmp_path / "raw/coco", "--out", tmp_path / "built"]
    assert icvos("build-data", "ic-vos", *words, "--name", "mine") == 0
    assert titles(tmp_path / "built") == ["icvos benchmark 'mine'"]
    assert icvos("build-data", "source", tmp_path / "built") == 0
    capsys.readouterr()


# Whole, a part, or broken


def test_a_whole_data_set_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known(monkeypatch, "DAVIS-2016", "trainval", sequences=1, frames=2)
    assert icvos("build-data", "source", raw.davis16(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert re.search(r"sequences +1 +1 +yes *$", shown, re.M) and re.search(r"frames +2 +2 *$", shown, re.M)
    known(monkeypatch, "DAVIS-2016", "trainval", "DAVIS.zip", sequences=1, frames=3)
    assert icvos("build-data", "source", tmp_path) == 1
    line = "DAVIS-2016 trainval 480p: 2 of 3 frames are here; unpack DAVIS.zip again"
    assert line in capsys.readouterr().out.splitlines()
    empty(tmp_path / "DAVIS.zip")
    assert problems(tmp_path) == ["2 of 3 frames are here; DAVIS.zip is here, unpack it"]


def test_the_table_fits_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert icvos("build-data", "source", raw.davis(tmp_path / "davis"), raw.coco(tmp_path / "coco")) == 1
    table = capsys.readouterr().out.partition("\nDAVIS")[0].splitlines()
    assert max(map(len, table)) <= 80 and any("annotations" in line for line in table)
    assert any("masks" in line for line in table)


def test_a_small_sample_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("build-data", "source", shared("real", "davis")) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DAVIS")]
    assert lines == ["DAVIS-2017 trainval 480p, 2 of 90 sequences: a part"]
    (found,) = identify(shared("real", "davis"))
    assert found.counts["frames"].found == 100 and not found.whole
    val, train = identify(shared("real", "coco"))
    assert (val.counts["images"], val.counts["annotations"]) == (Count(42, 40504), Count(367, 291875))
    assert train.counts["images"] == Count(0, 82783) and val.problems == train.problems == ()


def test_val_alone_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = raw.davis(tmp_path)
    (root / "ImageSets/2017/test-dev.txt").unlink()
    known(monkeypatch, "DAVIS-2017", "val", sequences=2)
    (found,) = identify(root)
    assert found.whole and found.line == "DAVIS-2017 val 480p, 2 of 2 sequences"


def test_a_missing_sequence_is_one_line(tmp_path: Path) -> None:
    root = raw.davis(tmp_path / "davis")
    for part in ("JPEGImages", "Annotations"):
        shutil.rmtree(root / part / "480p/ride")
    unpack = "unpack DAVIS-2017-trainval-480p.zip again"
    assert problems(root) == [f"ride is missing, of 2 sequences (ImageSets/2017/val.txt); {unpack}"]
    (root / "ImageSets/2017/train.txt").write_text("a\nb\nc\n")
    lists = "ImageSets/2017/train.txt and ImageSets/2017/val.txt"
    assert problems(root) == [f"a, b, c and 1 more are missing, of 5 sequences ({lists}); {unpack}"]


@pytest.mark.parametrize(
    ("name", "meta", "split"), [("mose2", "meta_train.json", ""), ("lvos", "train/train_meta.json", "train/")]
)
def test_a_sequence_that_only_the_meta_file_names_is_missing(tmp_path: Path, name: str, meta: str, split: str) -> None:
    root = TREES[name][0](tmp_path / name)
    content = json.loads((root / meta).read_text())
    content["videos"]["zz"] = {"objects": {"1": {"frame_range": {"start": 1, "end": 2}}}}
    (root / meta).write_text(json.dumps(content))
    (line,) = problems(root)
    assert re.fullmatch(rf"zz is missing, of \d sequences \({name}/{meta}\); .*unpack .*again", line)


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        ("JPEGImages/480p/ride/00001.jpg", "masks without a frame: ride (00001)"),
        ("Annotations/480p/ride/00001.png", "frames without a mask: ride (00001)"),
        ("JPEGImages/480p/ride", "sequences without frames: ride"),
        ("Annotations/480p/ride", "sequences without masks: ride"),
    ],
)
def test_one_side_that_is_missing_is_one_line(tmp_path: Path, gone: str, line: str) -> None:
    root = raw.davis(tmp_path)
    shutil.rmtree(root / gone) if (root / gone).is_dir() else (root / gone).unlink()
    assert problems(root) == [f"{line}; unpack DAVIS-2017-trainval-480p.zip again"]


def test_a_split_of_first_masks_needs_one_each(tmp_path: Path) -> None:
    root = raw.mose(tmp_path)
    assert problems(root) == []
    (root / "valid/Annotations/99999999/00000.png").unlink()
    assert problems(root) == [
        "frames without a mask: 99999999 (00000, 00001, 00002 and 1 more); unpack valid.tar.gz again"
    ]


def test_lvos_v1_is_told_by_its_captions_or_its_size(tmp_path: Path) -> None:
    root = raw.lvos(tmp_path)
    (root / "train/train_expression_meta.json").write_text("{}")
    content = json.loads((root / "val/valid_meta.json").read_text())
    (entry,) = content["videos"].values()
    (root / "val/valid_meta.json").write_text(json.dumps({"videos": {f"{number:08d}": entry for number in range(50)}}))
    assert titles(root) == ["LVOS v1 train", "LVOS v1 val"]


def test_the_archive_is_that_of_the_resolution(tmp_path: Path) -> None:
    root = raw.davis(tmp_path)
    for part in ("JPEGImages", "Annotations"):
        (root / part / "480p").rename(root / part / "Full-Resolution")
    shutil.rmtree(root / "Annotations/Full-Resolution/ride")
    (found, _) = identify(root)
    assert found.title == "DAVIS-2017 trainval Full-Resolution"
    assert found.problems == ("sequences without masks: ride; unpack DAVIS-2017-trainval-Full-Resolution.zip again",)


def test_a_split_of_which_a_sequence_has_no_frames_is_still_told(tmp_path: Path) -> None:
    root = raw.lvos(tmp_path)
    shutil.rmtree(root / "train/JPEGImages/R3UJGYwy")
    assert problems(root) == ["sequences without frames: R3UJGYwy; fetch and unpack it again"]


def test_a_part_of_davis_that_was_not_unpacked_is_said(tmp_path: Path) -> None:
    root = raw.davis(tmp_path)
    shutil.rmtree(root / "Annotations")
    assert "folder not found" in problems(root)[0] or "no DAVIS" in problems(root)[0]


def test_the_unsupervised_annotations_are_told_from_the_others(tmp_path: Path) -> None:
    root = raw.davis(tmp_path)
    (root / "Annotations").rename(root / "Annotations_unsupervised")
    (found,) = identify(root)
    assert found.dataset == "DAVIS-2019 unsupervised" and "icvos reads Annotations" in found.notes[0]


def test_a_coco_split_that_is_half_unpacked_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = few.coco(tmp_path, few.many(("dog", "cat"), 8), images=8)
    for number in (2, 5, 6, 7, 8):
        (root / f"val2014/COCO_val2014_{number:012d}.jpg").unlink()
    names = ", ".join(f"COCO_val2014_{number:012d}.jpg" for number in (2, 5, 6))
    line = f"3 of 8 images of val2014 are here; {names} and 2 more are missing: unpack val2014.zip again"
    assert problems(root) == [line]
    assert icvos("build-data", "source", root) == 1
    assert f"COCO 2014 val2014: {line}" in capsys.readouterr().out.splitlines()


def test_coco_without_images_or_without_annotations(tmp_path: Path) -> None:
    root = few.coco(tmp_path, few.many(("dog",), 2), images=2)
    shutil.rmtree(root / "val2014")
    assert problems(root) == ["val2014: the annotations are here without the images; unpack val2014.zip to use it"]
    empty(root / "val2014.zip")
    assert problems(root)[0].endswith("val2014.zip is here, unpack it to use it")
    shutil.rmtree(root / "annotations")
    (root / "train2017").mkdir()
    (found,) = identify(root)
    missing = "annotations/instances_train2017.json is missing: unpack annotations_trainval2017.zip"
    assert found.problems == (missing,)
    (root / "annotations").mkdir()
    (root / "annotations/instances_train2017.json").write_text('{"images": [')
    assert "instances_train2017.json" in problems(root)[0]


def test_voc_and_sbd_lack_files(tmp_path: Path) -> None:
    voc, sbd = few.pascal_world(tmp_path)
    (voc / "JPEGImages/2007_000003.jpg").unlink()
    (voc / "SegmentationClass/2008_000000.png").unlink()
    (sbd / "dataset/img/2009_000001.jpg").unlink()
    again = "unpack VOCtrainval_11-May-2012.tar again"
    assert problems(voc) == [
        f"2 of 3 class maps of train are here; 2008_000000 is missing: {again}",
        f"29 of 30 images of val are here; 2007_000003 is missing: {again}",
    ]
    assert problems(sbd) == ["class maps without an image: 2009_000001; unpack benchmark.tgz again"]


def test_frames_of_youtube_vis_are_missing(tmp_path: Path) -> None:
    root = raw.ytvis(tmp_path)
    (root / "train/JPEGImages/0043f083b5/00005.jpg").unlink()
    assert problems(root)[0].startswith("1 of 1 sequences of train.json lack frames: 0043f083b5;")


def test_a_json_file_of_no_video_is_not_whole(tmp_path: Path) -> None:
    root = raw.ytvis(tmp_path)
    (root / "train.json").write_text('{"videos": [], "annotations": [], "categories": []}')
    assert problems(root) == ["no sequences here; fetch and unpack it again"]


def test_lvos_without_its_frames_is_still_lvos(tmp_path: Path) -> None:
    root = raw.lvos(tmp_path)
    for meta in root.glob("*/*.json"):
        meta.unlink()
    for frames in root.glob("*/JPEGImages"):
        shutil.rmtree(frames)
        frames.mkdir()
    assert titles(root) == ["LVOS v2 train", "LVOS v2 val"]


# Nothing known


@pytest.mark.parametrize(
    ("inside", "kind"),
    [
        ("davis/JPEGImages", "DAVIS"),
        ("davis/JPEGImages/480p", "DAVIS"),
        ("davis/JPEGImages/480p/dogs", "DAVIS"),
        ("davis/Annotations", "DAVIS"),
        ("coco/val2014", "COCO"),
        ("coco/annotations", "COCO"),
        ("mose/train", "MOSE"),
        ("lvos/train/JPEGImages", "LVOS"),
    ],
)
def test_a_folder_too_low_is_told_with_the_right_one(tmp_path: Path, inside: str, kind: str) -> None:
    raw.everything(tmp_path)
    with pytest.raises(SourceError) as stop:
        identify(tmp_path / inside)
    assert stop.value.fix == f"this is a folder inside {kind}: give {tmp_path / inside.split('/')[0]}"


def test_a_folder_too_high_is_told_with_the_right_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw.davis(tmp_path / "data" / "DAVIS")
    assert icvos("build-data", "source", tmp_path / "data") == 2
    assert f"give {tmp_path / 'data' / 'DAVIS'} (DAVIS)" in capsys.readouterr().err


def test_a_folder_beside_the_parts_of_a_data_set_is_none_of_them(tmp_path: Path) -> None:
    raw.coco(tmp_path / "coco")
    empty(tmp_path / "coco/notes/DAVIS-2017-trainval-480p.zip")
    with pytest.raises(SourceError, match="zip is here: unpack"):
        identify(tmp_path / "coco/notes")


def test_archives_that_lie_there_are_named(tmp_path: Path) -> None:
    empty(tmp_path / "DAVIS-2017-trainval-480p.zip")
    with pytest.raises(SourceError, match=r"DAVIS-2017-trainval-480p\.zip is here: unpack"):
        identify(tmp_path)


def test_what_was_looked_for_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    empty(tmp_path / "photos/cat.jpg")
    with pytest.raises(SourceError) as stop:
        identify(tmp_path / "photos")
    assert all(kind.layout in str(stop.value) for kind in KINDS)
    with pytest.raises(SourceError, match="folder not found"):
        identify(tmp_path / "nowhere")
    # The others are still told; the worst is the exit status.
    raw.davis16(tmp_path / "davis16")
    assert icvos("build-data", "source", tmp_path / "davis16", tmp_path / "photos") == 2
    shown = capsys.readouterr()
    assert "DAVIS-2016" in shown.out and "no data set here" in shown.err


def test_broken_files_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What keeps a folder from being counted is a problem of it, and nothing is a traceback."""
    empty(tmp_path / "benchmark/episodes.csv")
    (tmp_path / "benchmark/benchmark.json").write_text("[]")
    (tmp_path / "voc/VOC2012/ImageSets/Segmentation").mkdir(parents=True)
    for name, videos in (("videos", 3), ("objects", {"330ac20d": {"objects": 7}, "b": {"objects": None}})):
        raw.mose(tmp_path / name, version=2)
        (tmp_path / name / "meta_train.json").write_text(json.dumps({"videos": videos}))
    assert "benchmark.json" in problems(tmp_path / "benchmark")[0]
    assert "no list" in problems(tmp_path / "voc")[0]
    assert "meta_train.json" in problems(tmp_path / "videos")[0]
    assert problems(tmp_path / "objects")[0].startswith("b is missing, of 3 sequences (objects/meta_train.json)")
    (tmp_path / "odd/train/Annotations" / os.fsdecode(b"\xff")).mkdir(parents=True)
    assert icvos("build-data", "source", tmp_path / "odd") == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_sequences_in_no_list_are_noted(tmp_path: Path) -> None:
    root = raw.davis(tmp_path)
    (root / "ImageSets/2017/val.txt").write_text("ride\n")
    train, _ = identify(root)
    assert train.notes == ("in no list of ImageSets: dogs",) and train.counts["sequences"].found == 1


# Builders begin with it


def test_builders_begin_with_what_their_sources_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw.everything(tmp_path)
    few.pascal_world(tmp_path)
    (tmp_path / "coco/val2014/COCO_val2014_000000000999.jpg").unlink()
    davis, coco = ["--davis", tmp_path / "davis"], ["--coco", tmp_path / "coco"]
    out = ["--out", tmp_path / "out"]
    first = {
        ("ic-vos", *davis, *coco, *out, "--dry-run"): "davis17: DAVIS-2017 trainval 480p, 2 of 90 sequences",
        ("labels", "--mose", tmp_path / "mose", *out): "mose: MOSE v1 train, 2 of 1,507 sequences",
        ("coco-20i", *coco, *out, "--dry-run"): "coco: COCO 2014 val2014, ",
        ("mask-tubes", *coco, *out, "--split", "val2014", "--dry-run"): "coco: COCO 2014 val2014, ",
        ("pascal-5i", "--voc", tmp_path / "voc", *out, "--dry-run"): "voc: VOC 2012 val, 30 of 1,449 images",
    }
    for words, line in first.items():
        icvos("build-data", *words)
        shown = capsys.readouterr().out
        assert shown.startswith(line), words
        icvos("-q", "build-data", *words)
        assert line not in capsys.readouterr().out
    icvos("build-data", "ic-vos", *davis, *coco, *out, "--dry-run")
    lines = capsys.readouterr().out.splitlines()
    missing = "COCO_val2014_000000000999.jpg is missing: unpack val2014.zip again"
    assert any(line.startswith("coco: ") and line.endswith(missing) for line in lines)


def test_a_source_that_the_reader_refuses_is_its_error_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw.everything(tmp_path)
    shutil.rmtree(tmp_path / "davis/Annotations/480p/ride")
    words = ["--davis", tmp_path / "davis", "--coco", tmp_path / "coco", "--out", tmp_path / "out"]
    assert icvos("build-data", "ic-vos", *words) == 2
    shown = capsys.readouterr()
    assert "davis17: sequences without masks: ride; unpack" in shown.out and "ride" in shown.err


# What is expected


def test_each_expected_count_has_a_source_and_stands_in_the_docs() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert len({(row.dataset, row.split) for row in EXPECTED}) == len(EXPECTED)
    for row in EXPECTED:
        kinds = ("sequences", "frames", "objects", "categories", "images", "annotations")
        counts = [f"{row.counts[what]:,}" if what in row.counts else "" for what in kinds]
        assert row.source and row.counts
        assert f"| {' | '.join([row.dataset, row.split, *counts, row.source])} |" in page


def test_the_commands_of_the_docs_print_what_they_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    commands, shown, snippet = re.findall(r"```\w*\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    for command in commands.splitlines():
        capsys.readouterr()
        icvos(*command.split()[1:])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [line for line in shown.splitlines() if line]
    exec(snippet, {})
    assert capsys.readouterr().out == "DAVIS-2017 trainval 480p, 3 of 90 sequences False ()\n"


def test_expected_sums_agree() -> None:
    """Train and val add up to trainval, and COCO 2014 and 2017 are the same images."""
    for dataset in ("DAVIS-2016", "DAVIS-2017"):
        counts = {row.split: row.counts for row in EXPECTED if row.dataset == dataset}
        for what, total in counts["trainval"].items():
            assert counts["train"].get(what, 0) + counts["val"].get(what, 0) == total
    coco = {row.split: row.counts for row in EXPECTED if row.dataset.startswith("COCO")}
    for what in ("images", "annotations"):
        totals = [sum(coco[f"{split}{year}"][what] for split in ("train", "val")) for year in (2014, 2017)]
        assert totals[0] == totals[1]


def test_a_found_split_is_whole_without_expected_counts(tmp_path: Path) -> None:
    nobody_knows = Found("OVIS", "train", tmp_path, {"sequences": Count(3)})
    assert nobody_knows.whole and nobody_knows.verdict == "not known"
    assert not Found("OVIS", "train", tmp_path, {"sequences": Count(3, 4)}).whole
    assert Found("OVIS", "train", tmp_path, {"sequences": Count(3, 4)}).verdict == "no"
    assert Found("OVIS", "train", tmp_path, {"sequences": Count(4, 4)}).verdict == "yes"
    assert replace(nobody_knows, problems=("a fault",)).verdict == "no"
    assert [found.verdict for found in identify(raw.ytvis(tmp_path, ovis=True))] == ["not known"]
