"""Masks made in another tool: read with a recipe, built into the class masks, and what does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import raw_trees as raw
from board_runs import icvos
from PIL import Image

from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.ic_vos.build import prepare
from icvos.builders.ic_vos.naming import _label_differences
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.labels.labeller import Labeller
from icvos.builders.labels.write import write_labels
from icvos.builders.published import open_recipes
from icvos.builders.recipe import Recipe
from icvos.categories import COCO80
from icvos.errors import IcvosError
from icvos.masks import read_coloured_mask, read_mask
from icvos.sources import open_source
from icvos.sources.coco import open_coco

VIDEO = "001ca3cb"
HEAD = "source,video,extra,category,note\n"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw.everything(tmp_path_factory.mktemp("raw"))


def mask(folder: Path, frame: str, *boxes: tuple[int, int, int], video: str = VIDEO) -> Path:
    """Write a label map of another tool."""
    return raw.labels(folder / f"masks/mose/{video}/{frame}.png", raw.boxes(*boxes))


def recipe_folder(folder: Path, rows: str = f"mose,{VIDEO},1,cat,\nmose,{VIDEO},2,dog,far away\n") -> Path:
    """Labels of one MOSE video, and two things that it left out: a third cat in two frames, and a dog in one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "objects.csv").write_text(f"source,video,object,category\nmose,{VIDEO},1,cat\nmose,{VIDEO},3,cat\n")
    (folder / "complete.csv").write_text(
        f"source,video,category,complete\nmose,{VIDEO},cat,yes\nmose,{VIDEO},dog,yes\n"
    )
    (folder / "extra-objects.csv").write_text(HEAD + rows)
    mask(folder, "00000", (1, 30, 5))
    mask(folder, "2", (1, 30, 5), (2, 5, 50))  # the same number is the same frame
    return folder


def build(trees: Path, recipe: Path | None, out: Path, *more: str) -> int:
    words = ["--mose", trees / "mose", "--coco", trees / "coco", "--out", out, "--draws", 1, "--shots", 1]
    return icvos("build-data", "ic-vos", *words, *([] if recipe is None else ["--recipe", recipe]), *more)


def test_class_masks_are_the_union(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recipe_folder(tmp_path / "R")
    assert build(trees, folder, tmp_path / "B") == 0
    assert "masks made in another tool: 2 objects in 2 frames of 1 videos" in capsys.readouterr().out
    bench = load_benchmark(tmp_path / "B")
    assert not check_benchmark(tmp_path / "B")
    cats, dogs = bench.pairs[f"mose__{VIDEO}", 16], bench.pairs[f"mose__{VIDEO}", 17]
    assert (cats.complete, cats.instances, cats.visible_frames) == ("yes", 3, 4)  # frame 2 has no mask in the source
    assert (dogs.complete, dogs.instances, dogs.visible_frames, dogs.first_visible) == ("yes", 1, 1, 2)
    assert bench.header["counts"]["extra_objects"] == 2 and bench.header["counts"]["extra_masks"] == 2
    assert bench.header["complete_only"] is True
    masks = tmp_path / f"B/videos/mose__{VIDEO}/Annotations"
    expected = [
        raw.boxes((1, 5, 5), (1, 30, 30), (1, 30, 5)),
        raw.boxes((1, 5, 6), (1, 30, 30)),
        raw.boxes((1, 30, 5)),
        raw.boxes((1, 5, 8), (1, 30, 30)),
    ]
    for index, each in enumerate(expected):
        assert np.array_equal(read_mask(masks / f"16/{index:05d}.png"), each)
        dog = raw.boxes((1, 5, 50)) if index == 2 else raw.boxes()
        assert np.array_equal(read_mask(masks / f"17/{index:05d}.png"), dog)


def test_without_them_nothing_is_other(trees: Path, tmp_path: Path) -> None:
    """The same files by folder and one by one; and no field of the header where there is no extra mask."""
    folder = recipe_folder(tmp_path / "R")
    (folder / "extra-objects.csv").unlink()
    shutil.rmtree(folder / "masks")
    assert build(trees, folder, tmp_path / "A") == 0
    assert build(trees, folder / "objects.csv", tmp_path / "B", "--recipe", str(folder / "complete.csv")) == 0
    manifests = [(tmp_path / name / "manifest.csv").read_bytes() for name in "AB"]
    assert manifests[0] == manifests[1]
    assert not any(name.startswith("extra") for name in load_benchmark(tmp_path / "A").header["counts"])


def test_the_hash_covers_rows_and_files(tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path / "R")
    first, _ = open_recipes([folder], COCO80)
    assert first.sha256 == open_recipes([recipe_folder(tmp_path / "elsewhere")], COCO80)[0].sha256
    assert first.of_sources(["lvos"]).sha256 == Recipe().sha256
    hashes = {first.sha256, Recipe(first.objects, first.complete).sha256}
    mask(folder, "2", (1, 30, 6), (2, 5, 50))
    hashes.add(open_recipes([folder], COCO80)[0].sha256)
    (folder / "extra-objects.csv").write_text(HEAD + f"mose,{VIDEO},1,dog,\nmose,{VIDEO},2,dog,\n")
    hashes.add(open_recipes([folder], COCO80)[0].sha256)
    assert len(hashes) == 4
    changed = open_recipes([folder], COCO80)[0]
    lines = [
        *_label_differences(first, changed, COCO80),
        *_label_differences(Recipe(), changed.of_sources(["mose"]), COCO80),
    ]
    assert [line for line in lines if "extra" in line] == [f"other extra masks of mose,{VIDEO} than the recipe's"] * 2
    assert not list(_label_differences(first, first, COCO80))


def test_a_category_of_extra_masks_alone_is_not_said_to_be_complete(trees: Path, tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path / "R")
    (folder / "complete.csv").write_text(f"source,video,category,complete\nmose,{VIDEO},cat,no\n")
    recipe, _ = open_recipes([folder], COCO80)
    rules = BuildRules(allow_incomplete=True)
    prepared = prepare([open_source("mose", trees / "mose")], open_coco(trees / "coco"), recipe=recipe, rules=rules)
    (planned,) = prepared.plan.videos
    assert planned.groups == {16: (1, 3, -1), 17: (-2,)} and planned.complete == {16: "no", 17: "unsure"}
    assert {category for _, category in Labeller.read(folder, "a").pairs} == set()
    (folder / "complete.csv").write_text(f"source,video,category,complete\nmose,{VIDEO},dog,yes\n")
    assert Labeller.read(folder, "a").pairs == {(f"mose__{VIDEO}", "dog")}


def test_pixels_of_the_source_stay_its_own(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recipe_folder(tmp_path / "R", f"mose,{VIDEO},2,dog,\n")
    shutil.rmtree(folder / "masks")
    mask(folder, "00000", (2, 5, 11))  # four columns of the ten lie on object 1
    assert build(trees, folder, tmp_path / "B") == 0
    assert f"mose,{VIDEO}: 40 pixels of extra masks, which the source gives to its objects" in capsys.readouterr().out
    dog = read_mask(tmp_path / f"B/videos/mose__{VIDEO}/Annotations/17/00000.png")
    assert dog.sum() == 60 and not dog[:, :15].any()
    mask(folder, "00000", (2, 5, 8))
    assert build(trees, folder, tmp_path / "C") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"70 % of the extra object 2 of mose,{VIDEO} lies on objects of the source, most on 1" in line
    assert not (tmp_path / "C").exists()


def test_masks_as_tools_write_them(trees: Path, tmp_path: Path) -> None:
    """0 and 255 where there is one thing; RGB in VOC's colours; grey; a palette: all the same benchmark."""
    manifests = set()
    for kind in ("grey", "palette", "white", "rgb"):
        folder = recipe_folder(tmp_path / kind, f"mose,{VIDEO},3,dog,\n")
        shutil.rmtree(folder / "masks")
        values = raw.boxes((255 if kind == "white" else 3, 5, 50))
        path = raw.labels(folder / f"masks/mose/{VIDEO}/00001.png", values, colours=kind in ("palette", "rgb"))
        if kind == "rgb":
            Image.open(path).convert("RGB").save(path)
            assert np.array_equal(read_coloured_mask(path), values)
        assert build(trees, folder, tmp_path / f"B-{kind}") == 0
        mask_file = tmp_path / f"B-{kind}/videos/mose__{VIDEO}/Annotations/17/00001.png"
        assert np.array_equal(read_mask(mask_file), raw.boxes((1, 5, 50)))
        manifests.add(mask_file.read_bytes())
    assert len(manifests) == 1


def _another_size(folder: Path) -> None:
    raw.labels(folder / f"masks/mose/{VIDEO}/00000.png", np.ones((raw.H, raw.W + 2), np.uint8))


def _colours(folder: Path) -> None:
    Image.new("RGB", (raw.W, raw.H), (1, 2, 3)).save(folder / f"masks/mose/{VIDEO}/00000.png")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_another_size, r"mask is 48x66 \(HxW\); in .*00000\.png; expected 48x64"),
        (_colours, r"mask has the colour \(1, 2, 3\); in .*00000\.png; expected grey or palette values"),
        (
            lambda f: mask(f, "00001", (7, 5, 50)),
            r"holds the value 7, of which extra-objects\.csv has no row; in .*00001",
        ),
        (
            lambda f: mask(f, "00009", (1, 5, 50)),
            r"no annotated frame '00009'; in .*; expected the name of one of its 4",
        ),
        (lambda f: mask(f, "00002", (1, 5, 50)), r"frame '2'"),  # both of one frame
        (
            lambda f: mask(f, "00000", (1, 5, 50), video="x"),
            r"these masks are of no video that the table names; in .*/x;",
        ),
        (lambda f: (f / f"masks/mose/{VIDEO}/00000.png").write_bytes(b"GIF89a"), "mask is"),
        (lambda f: (f / f"masks/mose/{VIDEO}/2.png").unlink(), "no mask shows the extra object 2 of mose"),
        (lambda f: shutil.rmtree(f / "masks"), rf"extra-objects\.csv names mose,{VIDEO}, which has no mask"),
        (lambda f: (f / "extra-objects.csv").unlink(), r"no table says what these masks are of.*extra\*\.csv"),
        (HEAD + f"mose,{VIDEO},1,dgo,\n", "did you mean 'dog'"),
        (HEAD + f"mose,{VIDEO},1,none,\n", "has no category"),
        (HEAD + f"mose,{VIDEO},255,cat,\n", "is '255'.*expected 1 to 254"),
        (HEAD + f"mose,{VIDEO},1,cat,\nmose,{VIDEO},1,dog,\n", "two categories for the extra object"),
        (HEAD + "mose,../../etc,1,cat,\n", "these masks are of no video that the table names"),
        ("source,video,extra\nmose,a,1\n", "no column category"),
    ],
)
def test_masks_that_do_not_fit_get_one_line(trees: Path, tmp_path: Path, spoil: object, said: str) -> None:
    folder = recipe_folder(tmp_path / "R")
    if callable(spoil):
        spoil(folder)
    else:
        (folder / "extra-objects.csv").write_text(str(spoil))
    with pytest.raises(IcvosError, match=said):
        recipe, _ = open_recipes([folder], COCO80)
        prepare([open_source("mose", trees / "mose")], open_coco(trees / "coco"), recipe=recipe)


def test_the_labels_page_refuses_what_a_build_does(trees: Path, tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path / "R")
    mask(folder, "00001", (7, 5, 50))
    recipe, _ = open_recipes([folder], COCO80)
    with pytest.raises(IcvosError, match="holds the value 7, of which"):
        write_labels([open_source("mose", trees / "mose")], tmp_path / "L", recipe=recipe)


def test_a_video_that_is_not_there(trees: Path, tmp_path: Path) -> None:
    folder = recipe_folder(tmp_path / "R", "mose,001ca3cd,1,cat,\n")
    (folder / "masks/mose" / VIDEO).rename(folder / "masks/mose/001ca3cd")
    recipe, _ = open_recipes([folder], COCO80)
    with pytest.raises(IcvosError, match=rf"unknown video: mose,001ca3cd; did you mean '{VIDEO}'"):
        prepare([open_source("mose", trees / "mose")], open_coco(trees / "coco"), recipe=recipe)


def test_two_folders_with_masks_of_one_video(tmp_path: Path) -> None:
    one, two = recipe_folder(tmp_path / "one"), recipe_folder(tmp_path / "two")
    with pytest.raises(IcvosError, match="lie in two folders"):
        open_recipes([one, two / "extra-objects.csv"], COCO80)
