"""The recipe: what people say of objects and categories, and every way in which they can contradict themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import raw_trees as raw

from icvos.builders.ic_vos.build import prepare
from icvos.builders.ic_vos.plan import make_plan
from icvos.builders.ic_vos.rules import BuildRules, rules_version
from icvos.builders.recipe import ObjectLabel, Recipe, read_recipes
from icvos.categories import COCO80
from icvos.errors import IcvosError, InputError, SourceError, UsageError
from icvos.sources import open_source
from icvos.sources.coco import open_coco

OBJECTS = "source,video,object,category,keep,start,end,note\n"
COMPLETE = "source,video,category,complete\n"


def read(tmp_path: Path, *texts: str) -> Recipe:
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_text(text)
    return read_recipes(paths, COCO80)


def test_both_kinds(tmp_path: Path) -> None:
    recipe = read_recipes(raw.recipe(tmp_path), COCO80)
    assert recipe.objects["mose", "001ca3cb"] == {1: ObjectLabel(16), 3: ObjectLabel(16)}
    assert recipe.objects["lvos", "aa22bb33"] == {1: ObjectLabel(None)}
    assert recipe.complete["lvos", "R3UJGYwy", 3] == "no"
    assert recipe.judged_sources == {"mose", "lvos"}  # of mose2 nobody is sure


def test_categories_by_name_synonym_or_number(tmp_path: Path) -> None:
    recipe = read(tmp_path, "source,video,object,category\nmose,a,1,motorbike\nmose,a,2,4\nmose,a,3,Motorcycle\n")
    assert [label.category for label in recipe.objects["mose", "a"].values()] == [4, 4, 4]


def test_what_is_not_answered_yet_counts_for_nothing(tmp_path: Path) -> None:
    recipe = read(tmp_path, OBJECTS + "mose,a,1,,yes,,,\n", COMPLETE + "mose,a,dog,\n")
    assert not recipe.objects and not recipe.complete


def test_unsure_is_no_answer(trees: Path, tmp_path: Path) -> None:
    """Of a source that nobody judged, of one that somebody did, and of one that has an answer of its own."""
    davis = [open_source("davis17", trees / "davis")]
    raw.picture(tmp_path / "own/street/frames/00000.jpg")
    raw.labels(tmp_path / "own/street/masks/dog/00000.png", np.ones((raw.H, raw.W), np.uint8))
    own = [open_source("folder", tmp_path / "own")]
    for sources, said, unsure, complete in (
        (davis, "", "davis17,dogs,dog", ["unsure"] * 3),
        (davis, "davis17,dogs,person,yes\n", "davis17,dogs,dog", ["yes"]),
        (own, "", "folder,street,dog", ["yes"]),
    ):
        recipes = [read(tmp_path, COMPLETE + said + f"{unsure},{answer}\n") for answer in ("", "unsure")]
        plans = [make_plan(sources, recipe, BuildRules(), COCO80) for recipe in recipes]
        assert recipes[0].sha256 == recipes[1].sha256
        assert plans[0].left_out == plans[1].left_out and plans[0].notes == plans[1].notes
        for plan in plans:
            assert [
                value for video in plan.videos for c, value in video.complete.items() if c in video.groups
            ] == complete


def test_people_share_the_work(tmp_path: Path) -> None:
    # The same row twice, in either order, is one answer; whoever is sure wins over whoever is not.
    one = OBJECTS + "mose,a,1,dog,yes,,,mine\n"
    two = OBJECTS + "mose,b,1,cat,no,,,\nmose,a,1,dog,,,,\n"
    unsure, sure = COMPLETE + "mose,a,dog,unsure\n", COMPLETE + "mose,a,dog,yes\n"
    recipe = read(tmp_path, one, two, unsure, sure)
    assert recipe.objects["mose", "a"] == {1: ObjectLabel(17)}
    assert recipe.objects["mose", "b"] == {1: ObjectLabel(16, keep=False)}
    assert recipe.complete == {("mose", "a", 17): "yes"}
    assert read(tmp_path, sure, unsure, two, one).sha256 == recipe.sha256
    assert read(tmp_path, sure, two).sha256 == read(tmp_path, two, sure).sha256


def test_the_hash_tells_recipes_apart(tmp_path: Path) -> None:
    recipes = [
        read(tmp_path, OBJECTS + f"mose,a,1,{category},{keep},{clip},\n").sha256
        for category, keep, clip in (
            ("dog", "yes", ","),
            ("cat", "yes", ","),
            ("dog", "no", ","),
            ("dog", "yes", "1,2"),
        )
    ]
    assert len({*recipes, Recipe().sha256}) == 5
    rules = BuildRules()
    versions = {rules_version(rules, sha256, ["mose"], pool) for sha256 in recipes for pool in ("val2014", "val2017")}
    versions |= {rules_version(BuildRules(seed=1), recipes[0], ["mose"], "val2014")}
    versions |= {rules_version(rules, recipes[0], order, "val2014") for order in (["lvos", "mose"], ["mose", "lvos"])}
    assert len(versions) == 10 and all(version.startswith("1.") for version in versions)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OBJECTS + "mose,a,1,dgo,,,,\n", "did you mean 'dog'"),
        (COMPLETE + "mose,a,dgo,yes\n", "did you mean 'dog'"),
        (OBJECTS + "mose,a,1,dog,,,,\nmose,a,1,cat,,,,\n", "two categories for one object: mose,a,1 is dog and"),
        (OBJECTS + "mose,a,1,dog,,,,\nmose,a,1,none,,,,\n", "two categories"),
        (OBJECTS + "mose,a,1,dog,yes,,,\nmose,a,1,dog,no,,,\n", "differ in keep"),
        (COMPLETE + "mose,a,dog,yes\nmose,a,dog,no\n", "two answers for mose,a,dog"),
        (COMPLETE + "mose,a,dog,maybe\n", "yes, no or unsure"),
        (OBJECTS + "mose,a,1,dog,perhaps,,,\n", "keep of mose,a,1"),
        (OBJECTS + "mose,a,one,dog,,,,\n", "object of mose,a,one"),
        (OBJECTS + "mose,a,,dog,,,,\n", "object of mose,a,"),
        (OBJECTS + "mose,a,-1,dog,,,,\n", "whole number"),
        (OBJECTS + "mose,a,1,dog,,9,3,\n", "ends before it starts"),
        (OBJECTS + "mose,a,1,dog,,x,,\n", "start of mose,a,1"),
        (OBJECTS + "mose,a,1,dog\n", "line 2 has 4 fields"),
        ("source,video,category\nmose,a,dog\n", "no recipe"),
        ("", "empty"),
        ("video,object\n", "no column source"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(IcvosError, match=said):
        read(tmp_path, text)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        read_recipes([tmp_path / "none.csv"], COCO80)
    (tmp_path / "b.csv").write_bytes(b"\xff\x00a")
    with pytest.raises(InputError, match="UTF-8"):
        read_recipes([tmp_path / "b.csv"], COCO80)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw.everything(tmp_path_factory.mktemp("raw"))


def plan(trees: Path, tmp_path: Path, *texts: str, names: tuple[str, ...] = ("davis", "mose2")) -> object:
    sources = [open_source(name, trees / name) for name in names]
    return make_plan(sources, read(tmp_path, *texts), BuildRules(allow_incomplete=True), COCO80)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("davis17,dosg,1,dog", "unknown video: davis17,dosg; did you mean 'dogs'"),
        ("davis17,dogs,9,dog", "unknown object: davis17,dogs,9; expected one of 1, 2, 3"),
        ("mose2,001ca3cb,2,dog", "expected one of 1, 3"),
        ("davis,dogs,1,dog", "unknown source 'davis'; did you mean 'davis1"),
    ],
)
def test_unknown_names(trees: Path, tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(trees, tmp_path, f"source,video,object,category\n{row}\n")


def test_a_shared_recipe_may_cover_more(trees: Path, tmp_path: Path) -> None:
    plan(trees, tmp_path, "source,video,object,category\nlvos,whatever,1,dog\n")


def test_unknown_video_in_a_completeness_file(trees: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'ride'"):
        plan(trees, tmp_path, COMPLETE + "davis17,rode,dog,yes\n")


def test_an_object_that_only_masks_could_tell(trees: Path, tmp_path: Path) -> None:
    # MOSE v1 lists no objects: it shows while its masks are read.
    from icvos.builders.ic_vos.build import build_icvos

    recipe = read(tmp_path, "source,video,object,category\nmose,001ca3cb,1,dog\nmose,001ca3cb,2,dog\n")
    prepared = prepare(
        [open_source("mose", trees / "mose")],
        open_coco(trees / "coco"),
        recipe=recipe,
        rules=BuildRules(allow_incomplete=True),
    )
    with pytest.raises(SourceError, match=r"names object 2 of mose,001ca3cb, which no mask shows; .*one of 1, 3"):
        build_icvos(prepared, tmp_path / "B")


def test_the_recipe_wins_over_the_data_set(trees: Path, tmp_path: Path) -> None:
    found = plan(trees, tmp_path, "source,video,object,category\ndavis17,ride,1,horse\ndavis17,dogs,3,none\n")
    groups = {video.name: video.groups for video in found.videos}  # type: ignore[attr-defined]
    assert groups == {"davis17__dogs": {17: (1, 2)}, "davis17__ride": {4: (2,), 18: (1,)}}


def test_an_instance_not_wanted_makes_a_category_incomplete(trees: Path, tmp_path: Path) -> None:
    rows = "source,video,object,category,keep\ndavis17,dogs,2,dog,no\n"
    found = plan(trees, tmp_path, rows, COMPLETE + "davis17,dogs,dog,yes\ndavis17,dogs,person,yes\n")
    (dogs,) = (video for video in found.videos if video.name == "davis17__dogs")  # type: ignore[attr-defined]
    assert dogs.groups[17] == (1,) and dogs.complete == {1: "yes", 17: "no"}


def test_two_clips_of_one_video(tmp_path: Path) -> None:
    recipe = read(tmp_path, OBJECTS + "mose,a,1,dog,,1,5,\nmose,a,2,dog,,1,6,\nmose,b,1,dog,,3,,\n")
    with pytest.raises(InputError, match="two clips of one video"):
        recipe.clip("mose", "a")
    assert recipe.clip("mose", "b") == (3, None) and recipe.clip("mose", "c") == (None, None)
