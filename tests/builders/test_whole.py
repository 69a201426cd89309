"""Few-shot benchmarks carry a published name where the data set is whole, and nowhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import pytest
from board_runs import icvos
from whole_trees import known, whole_fss, whole_matcher_coco

from icvos.builders.fewshot import whole
from icvos.builders.fewshot.build import FewShotPlan, FewShotRules
from icvos.builders.fewshot.plan import plan_coco20i, plan_fss1000, plan_lvis92i, plan_pascal5i
from icvos.data.class_masks import pool_sha256
from icvos.demo.benchmarks import demo_layout
from icvos.files import read_json
from icvos.leaderboard.consistency import check_name
from icvos.sources.fss1000 import Fss1000

SMALL: dict[str, Any] = {"min_area": 1, "paper_count": 2, "shots": 1}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every raw data set, small: COCO with Matcher's list of fold 0, VOC, FSS-1000 and LVIS of the drawn world."""
    root = tmp_path_factory.mktemp("world")
    trees.matcher_coco(root)
    trees.pascal_world(root / "pascal")
    for name in ("fss-1000", "lvis"):
        demo_layout(name, "tiny", 0, root)
    return root


def coco(root: Path, split: str = "val2014") -> FewShotPlan:
    return plan_coco20i(root / "coco", FewShotRules("coco-20i", (0,), **SMALL), split=split, train_split=None)


def matcher_coco(root: Path) -> FewShotPlan:
    rules = FewShotRules("coco-20i", (0,), episodes="matcher", **SMALL)
    return plan_coco20i(root / "coco", rules, train_split=None, lists=root / "lists")


def pascal(root: Path, benchmark: str = "pascal-5i") -> FewShotPlan:
    return plan_pascal5i(root / "pascal/voc", FewShotRules(benchmark, **SMALL))


def fss(root: Path, episodes: str = "frozen") -> FewShotPlan:
    return plan_fss1000(root / "layouts/fss-1000", FewShotRules("fss-1000", (0,), 1, min_area=1, episodes=episodes))


def lvis(root: Path, episodes: str = "frozen") -> FewShotPlan:
    rules = FewShotRules("lvis-92i", (0,), 1, min_area=1, episodes=episodes)
    return plan_lvis92i(root / "layouts/lvis", rules)


def counts_of(plan: FewShotPlan) -> dict[str, int]:
    masks = plan.masks
    counts = {"categories": len(masks.vocabulary), "images": len(masks), "annotations": masks.annotations}
    return {what: count for what, count in counts.items() if count is not None}


@pytest.mark.parametrize(
    ("plan_of", "lines"),
    [
        (
            coco,
            [
                "COCO 2014 val2014 has 14 images here, and the whole has 40,504",
                "COCO 2014 val2014 has 90 annotations here, and the whole has 291,875",
            ],
        ),
        (pascal, ["VOC 2012 val has 30 images here, and the whole has 1,449"]),
        (lambda root: pascal(root, "coco2pascal"), ["VOC 2012 val has 30 images here, and the whole has 1,449"]),
        (
            lvis,
            [
                "LVIS v1 val has 13 categories here, and the whole has 1,203",
                "LVIS v1 val has 48 images here, and the whole has 19,809",
                "LVIS v1 val has 88 annotations here, and the whole has 244,707",
            ],
        ),
    ],
)
def test_counts_tell_a_part(
    world: Path, monkeypatch: pytest.MonkeyPatch, plan_of: Callable[[Path], FewShotPlan], lines: list[str]
) -> None:
    plan = plan_of(world)
    assert plan.differs == lines
    dataset, split = whole.SPLITS[plan.rules.benchmark]
    for what, count in counts_of(plan).items():
        # One more than there is, of each in turn.
        known(monkeypatch, dataset, split, **{**counts_of(plan), what: count + 1})
        wrong = what == "categories" and dataset != "LVIS v1"  # of COCO's 80 and VOC's 20 none is ever missing
        assert len(plan_of(world).differs) == (not wrong)
    known(monkeypatch, dataset, split, **counts_of(plan))
    assert plan_of(world).differs == []


def test_another_split_is_another_benchmark(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "coco", tmp_path / "coco")
    (tmp_path / "coco/annotations/instances_val2014.json").rename(
        tmp_path / "coco/annotations/instances_train2014.json"
    )
    assert coco(tmp_path, "train2014").differs == [
        "it is built from COCO 2014 train2014, and coco-20i from COCO 2014 val2014"
    ]


@pytest.mark.parametrize("episodes", ["frozen", "matcher"])
def test_classes_and_pictures_of_fss_1000(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, episodes: str
) -> None:
    few = "FSS-1000 test has 12 categories here, and the whole has 240"
    assert fss(world, episodes).differs == [few]
    known(monkeypatch, "FSS-1000", "test", categories=12, images=120)
    assert fss(world, episodes).differs == ["splits/test.txt names other classes than the authors' list"]
    whole_fss(monkeypatch, Fss1000(world / "layouts/fss-1000"))
    assert fss(world, episodes).differs == []
    if episodes == "matcher":  # its builder refuses a class with other pictures
        return
    shutil.copytree(world / "layouts", tmp_path / "layouts")
    for suffix in ("jpg", "png"):
        (tmp_path / f"layouts/fss-1000/data/car/7.{suffix}").unlink()
    assert fss(tmp_path).differs == ["1 of 12 classes have not the pictures 1 to 10: car"]


def test_matchers_lists_are_whole_by_themselves(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the data set holds: the images of the lists are there, or the builder stops."""
    (line,) = matcher_coco(world).differs
    assert line.startswith("fold0.pkl is not Matcher's list of fold 0: its SHA-256 begins with ")
    assert line.endswith("and that with 96002389be83")
    whole_matcher_coco(monkeypatch, world / "lists/splits/val/fold0.pkl")
    assert matcher_coco(world).differs == [] and len(coco(world).differs) == 2
    words = "lvis_val.pkl has 12 categories on more than one image, and the whole list 920 to 929"
    assert lvis(world, "matcher").differs == [words]
    for several, right in ((11, False), (12, True), (13, False)):
        monkeypatch.setattr(whole, "MATCHER_LVIS", range(several, several + 1))
        assert (lvis(world, "matcher").differs == []) == right


def test_the_hash_of_the_classes_is_that_of_the_authors_list(request: pytest.FixtureRequest) -> None:
    from shared_data import goldens

    names = read_json(goldens(request.config, "fewshot", "fss1000_splits.json") / "fss1000_splits.json")["test"]
    assert pool_sha256(sorted(names)) == whole.FSS_CLASSES


def build(world: Path, out: Path, *words: str) -> int:
    options = ("--train-split", "none", "--fold", 0, "--shots", 1, "--min-area", 1, "--paper-episodes", 2)
    return icvos("build-data", "coco-20i", "--coco", world / "coco", *options, "--out", out, *words)


def test_a_part_is_built_under_no_published_name(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the name says is all that differs, and what says why; a board takes the one and not the other."""
    assert build(world, tmp_path / "part") == 0
    said = capsys.readouterr().out
    part = json.loads((tmp_path / "part/benchmark.json").read_text())
    assert f"name {part['name']}\nno published name: COCO 2014 val2014 has 14 images here, " in said
    assert part["name"] == f"custom:{part['version'].partition('.')[2]}"
    assert part["recipe"] == {"name": "coco-20i", "matches": False, "differs": coco(world).differs}
    (why,) = check_name(part)
    assert "as COCO 2014 val2014 has 14 images here" in why and "build-data's --name" in why
    assert build(world, tmp_path / "none", "--dry-run") == 0
    assert "no published name: COCO 2014 val2014 has 14 images here, " in capsys.readouterr().out
    known(monkeypatch, "COCO 2014", "val2014", **counts_of(coco(world)))
    assert build(world, tmp_path / "whole") == 0
    assert capsys.readouterr().out.count("name coco-20i\n") == 1
    header = json.loads((tmp_path / "whole/benchmark.json").read_text())
    assert {key: value for key, value in part.items() if key != "recipe"} == {**header, "name": part["name"]}
    assert header["name"] == "coco-20i" and check_name(header) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine", ""),
        ("coco-20i", "build-data gives that name to few-shot episodes of images: coco-20i"),
        ("Coco2Pascal", "build-data gives that name to few-shot episodes of images: coco2pascal"),
        ("a\nb", "it holds letters that are not seen"),
        ("a\x1b[31m", "it holds letters that are not seen"),
    ],
)
def test_a_name_of_ones_own(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    assert build(world, tmp_path / "B", "--name", name) == (2 if words else 0)
    err = capsys.readouterr().err
    assert err.count("\n") == bool(words) and words in err
    assert (tmp_path / "B").exists() != bool(words)
    if not words:
        header = read_json(tmp_path / "B/benchmark.json")
        assert header["name"] == "mine" and "recipe" not in header
