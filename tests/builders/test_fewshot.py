"""COCO-20i, PASCAL-5i, coco2pascal: folds, episodes, files, evaluation, the authors' episodes, training episodes."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest
from author_trees import write_lists
from PIL import Image

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.fewshot.build import FewShotRules, build_fewshot, plan_fewshot
from icvos.builders.fewshot.episodes import candidates, native_episodes, paper_episodes
from icvos.builders.fewshot.plan import plan_coco20i, plan_pascal5i
from icvos.data.class_masks import coco_masks, voc_masks
from icvos.data.folds import test_categories as tested
from icvos.data.folds import training_categories, vocabulary_of
from icvos.data.sampler import EpisodeSampler, TrainingPool
from icvos.errors import InputError, SourceError, UsageError
from icvos.files import read_json

TABLE_XI = {
    0: "aeroplane, boat, chair, diningtable, dog, person",
    1: "horse, sofa, bicycle, bus",
    2: "bird, car, pottedplant, sheep, train, tvmonitor",
    3: "bottle, cow, cat, motorbike",
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_class_sets_of_all_folds() -> None:
    for fold in range(4):
        assert tested("coco-20i", fold) == tuple(fold + 4 * v + 1 for v in range(20))
        assert tested("pascal-5i", fold) == tuple(5 * fold + v + 1 for v in range(5))
        words = vocabulary_of("coco2pascal")
        assert {words.label(c) for c in tested("coco2pascal", fold)} == set(TABLE_XI[fold].split(", "))
        for name, size in (("coco-20i", 80), ("pascal-5i", 20)):
            train, test = set(training_categories(name, fold)), set(tested(name, fold))
            assert not train & test and train | test == set(range(1, size + 1))
    for name, size in (("coco-20i", 80), ("pascal-5i", 20), ("coco2pascal", 20)):
        assert sorted(c for fold in range(4) for c in tested(name, fold)) == list(range(1, size + 1))
    for bad in (-1, 4):
        with pytest.raises(UsageError, match="0 to 3"):
            tested("coco-20i", bad)
    with pytest.raises(UsageError, match="did you mean 'coco-20i'"):
        tested("coco-20", 0)


@pytest.fixture(scope="module")
def coco20i(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO of a drawn tree: three categories of fold 0 (one of them on a single image), one of each other fold."""
    root = tmp_path_factory.mktemp("coco")
    names = ("person", "airplane", "boat", "bicycle", "car", "motorcycle")
    annotations = trees.many(names, 14)
    annotations.append(trees.annotation(3, "person", trees.rectangle(50, 40, 8, 8), crowd=0))
    return trees.coco(root, annotations, images=14)


def plan(root: Path, **options: Any) -> Any:
    rules = FewShotRules("coco-20i", **{"min_area": 100, "paper_count": 40, "shots": 3, **options})
    return plan_coco20i(root, rules)


def test_native_covers_every_query_once(coco20i: Path) -> None:
    masks = coco_masks(coco20i, "val2014")
    for fold in range(4):
        found = candidates(masks, tested("coco-20i", fold), min_area=100)
        episodes = list(native_episodes(found, fold, seed=0, shots=3))
        pairs = [(e.query, e.category) for e in episodes]
        expected = [
            (masks.names[i], c)
            for c in tested("coco-20i", fold)
            for i in range(14)
            if masks.area(i, c) >= 100 and len(masks.images_of(c, 100)) > 1
        ]
        assert sorted(pairs) == sorted(expected)
        for e in episodes:
            pool = {masks.names[i] for i in masks.images_of(e.category, 100)}
            assert e.query not in e.supports and len(set(e.supports)) == len(e.supports) == min(3, len(pool) - 1)
            assert set(e.supports) < pool
        # Fewer shots are the first of more.
        fewer = native_episodes(found, fold, seed=0, shots=1)
        assert [e.supports[:1] for e in episodes] == [e.supports for e in fewer]


def test_supports_are_drawn_evenly() -> None:
    """The query taken out of a longer draw leaves an even draw of the others."""
    from icvos.builders.fewshot.episodes import Candidates, support_pool

    pool = support_pool([f"i{n}" for n in range(6)])
    counts: dict[str, int] = {}
    for seed in range(1500):
        (e, *_) = native_episodes(Candidates({1: pool}, (), ""), 0, seed=seed, shots=1)
        assert e.query == "i0"
        counts[e.supports[0]] = counts.get(e.supports[0], 0) + 1
    assert set(counts) == {"i1", "i2", "i3", "i4", "i5"}
    # 300 expected of each, standard deviation 15.5.
    assert max(abs(count - 300) for count in counts.values()) < 70


def test_paper_episodes_are_frozen(coco20i: Path) -> None:
    found = candidates(coco_masks(coco20i, "val2014"), tested("coco-20i", 0), min_area=100)
    episodes = list(paper_episodes(found, 0, seed=0, shots=2, count=300))
    assert len(episodes) == 300 == len({e.id for e in episodes})
    assert episodes[:50] == list(paper_episodes(found, 0, seed=0, shots=2, count=50))
    assert episodes != list(paper_episodes(found, 0, seed=1, shots=2, count=300))
    assert all(e.query not in e.supports and len(set(e.supports)) == 2 for e in episodes)
    # Categories are drawn evenly, not by their images (3 persons, 5 airplanes): 150 of each, standard deviation 8.7.
    assert {category: len(pool.names) for category, pool in found.by_category.items()} == {1: 3, 5: 5}
    assert abs(sum(e.category == 1 for e in episodes) - 150) < 35
    assert set(found.alone) == set(tested("coco-20i", 0)) - set(found.by_category)


def test_build_is_reproducible_and_whole(coco20i: Path, tmp_path: Path) -> None:
    one = build_fewshot(plan(coco20i), tmp_path / "one")
    two = build_fewshot(plan(coco20i), tmp_path / "two", workers=2, link=True)
    assert one.manifest_sha256 == two.manifest_sha256
    linked = [path for path in (tmp_path / "two").rglob("*.jpg") if path.stat().st_nlink > 1]
    assert len(linked) == two.queries + two.supports  # the first of a folder, too
    assert build_fewshot(plan(coco20i, seed=1), tmp_path / "three").manifest_sha256 != one.manifest_sha256
    assert check_benchmark(tmp_path / "one") == []
    bench = load_benchmark(tmp_path / "one")
    assert bench.kind == "image" and bench.header["folds"]["1"] == list(tested("coco-20i", 1))
    assert {e.protocol for e in bench.episodes} == {"fss-native", "fss-paper"}
    masks = coco_masks(coco20i, "val2014")
    for e in bench.episodes[:10]:
        image, mask, ignore = bench.query(e)
        number = masks.numbers[e.video]
        assert np.array_equal(image, masks.read(number)) and np.array_equal(mask, masks.mask(number, e.category) == 1)
        assert not ignore.any()
        assert len(bench.supports(e, 3)) == len(e.supports)
    with pytest.raises(InputError, match="there already"):
        build_fewshot(plan(coco20i), tmp_path / "one")
    text = (tmp_path / "one" / "benchmark.json").read_text()
    assert str(tmp_path) not in text and str(coco20i) not in text


def recompute(root: Path, run_folder: Path, protocol: str) -> dict[str, Any]:
    """mIoU, FB-IoU and mean IoU from the saved masks, by the definition and with Pillow alone."""
    per_fold, ious = {}, []
    episodes = [e for e in load_benchmark(root).episodes if e.protocol == protocol]
    for fold in sorted({e.fold for e in episodes if e.fold is not None}):
        inter: dict[int, float] = {}
        union: dict[int, float] = {}
        background = np.zeros(2)
        for e in episodes:
            if e.fold != fold:
                continue
            predicted = np.array(Image.open(run_folder / "masks" / e.id / "00000.png")) > 0
            labels = np.array(Image.open(root / "queries" / "masks" / str(e.category) / f"{e.video}.png"))
            if protocol == "fss-paper":
                rows, columns = (np.arange(512) * n // 512 for n in labels.shape)
                labels = labels[np.ix_(rows, columns)]
            counted = labels != 255
            truth = labels == 1
            i = (predicted & truth & counted).sum()
            u = ((predicted | truth) & counted).sum()
            inter[e.category] = inter.get(e.category, 0) + i
            union[e.category] = union.get(e.category, 0) + u
            background += [(~predicted & ~truth & counted).sum(), ((~predicted | ~truth) & counted).sum()]
            ious.append(i / u)
        total = sum(inter[c] / union[c] for c in inter)
        per_fold[fold] = (
            total / len(inter),
            total / len(load_benchmark(root).header["folds"][str(fold)]),
            (sum(inter.values()) / sum(union.values()) + background[0] / background[1]) / 2,
        )
    drawn, as_zero, fb = (100 * np.mean([value[k] for value in per_fold.values()]) for k in range(3))
    headline = as_zero if protocol == "fss-paper" else drawn
    means = {"mIoU_drawn": drawn, "mIoU_undrawn_as_0": as_zero}
    return {"mIoU": headline, **means, "FB_IoU": fb, "mean_IoU": 100 * np.mean(ious)}


@pytest.mark.parametrize("protocol", ["fss-native", "fss-paper"])
def test_histogram_on_real_coco(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str) -> None:
    bench, out = tmp_path / "B", tmp_path / "R"
    options = ("--paper-episodes", 6, "--fold", 0, "--fold", 3, "--link")
    status, text, _ = run(capsys, "build-data", "coco-20i", "--coco", real / "coco", "--out", bench, *options)
    assert status == 0 and "to build:" in text and "manifest" in text
    assert run(capsys, "build-data", "check", bench)[0] == 0
    status, text, err = run(
        capsys,
        "evaluate",
        "--model",
        "histogram",
        "--benchmark",
        bench,
        "--out",
        out,
        "--protocol",
        protocol,
        "--save-masks",
    )
    assert status == 0, err
    result = read_json(out / "result.json")
    summary = result["summary"]
    expected = recompute(bench, out, protocol)
    for name, value in expected.items():
        assert summary[name] == pytest.approx(value, abs=1e-9)
    assert 0 < summary["mIoU"] < 100
    # Most of COCO's categories are in none of these few images: both means are printed, and what was not drawn.
    undrawn = sum(len(row["undrawn"]) for row in result["per_fold"].values())
    verb = "counts as 0" if protocol == "fss-paper" else "leaves out"
    assert f"mIoU {verb} the {undrawn} of 40 categories that no episode drew" in text and undrawn > 20
    assert f"{expected['mIoU_undrawn_as_0']:.2f} with undrawn ones as 0" in text
    assert f"{expected['mIoU_drawn']:.2f} over drawn ones" in text


@pytest.fixture(scope="module")
def pascal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return trees.pascal_world(tmp_path_factory.mktemp("pascal"))


def test_pascal_5i(pascal: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All four folds, the void border ignored in truth and supports, and the numbers by a plain recomputation."""
    voc, sbd = pascal
    bench, out = tmp_path / "B", tmp_path / "R"
    status, _, err = run(
        capsys,
        "build-data",
        "pascal-5i",
        "--voc",
        voc,
        "--sbd",
        sbd,
        "--out",
        bench,
        "--min-area",
        100,
        "--paper-episodes",
        5,
        "--shots",
        1,
        "--novel-in-train",
        "drop",
    )
    assert status == 0, err
    assert check_benchmark(bench) == []
    opened = load_benchmark(bench)
    assert {e.fold for e in opened.episodes} == {0, 1, 2, 3}
    assert {e.category for e in opened.episodes if e.fold == 2} == {11, 12, 13, 14, 15}
    for e in opened.episodes[:5]:
        _, mask, ignore = opened.query(e)
        assert ignore.any() and not (mask & ignore).any()
        assert opened.supports(e)[0].ignore is not None
    training = opened.header["training"]
    assert training["novel_in_train"] == "drop" and training["split"] == "trainaug"
    categories = training["folds"]["2"]["categories"]
    # Images that show a test category are dropped, and with them the categories that are always beside one.
    assert categories and not set(categories) & {11, 12, 13, 14, 15}
    status, _, err = run(capsys, "evaluate", "--model", "histogram", "--benchmark", bench, "--out", out, "--save-masks")
    assert status == 0, err
    summary = read_json(out / "result.json")["summary"]
    for name, value in recompute(bench, out, "fss-native").items():
        assert summary[name] == pytest.approx(value, abs=1e-9)


def test_coco2pascal(pascal: tuple[Path, Path], tmp_path: Path) -> None:
    rules = FewShotRules("coco2pascal", shots=1, min_area=100, paper_count=3)
    plan = plan_pascal5i(pascal[0], rules)
    build_fewshot(plan, tmp_path / "B")
    bench = load_benchmark(tmp_path / "B")
    assert bench.header["recipe"]["name"] == "coco2pascal" and bench.header["training"] is None
    for e in bench.episodes:
        assert e.fold is not None and e.category_name in TABLE_XI[e.fold].split(", ")


def test_authors_episodes(pascal: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command replays them: the queries in the list's order, round and round, 1-shot, fss-paper only."""
    masks = voc_masks(pascal[0], "val")
    by_category = {c: [masks.names[i] for i in masks.images_of(c, 100)] for c in tested("pascal-5i", 1)}
    order = sorted({name for names in by_category.values() for name in names}, reverse=True)
    lists = write_lists(tmp_path / "lists", 1, by_category, order)
    bench = tmp_path / "B"
    status, text, err = run(
        capsys,
        "build-data",
        "pascal-5i",
        "--voc",
        pascal[0],
        "--out",
        bench,
        "--fold",
        1,
        "--lists",
        lists,
        "--episodes",
        "authors",
        "--paper-episodes",
        70,
    )
    assert status == 0, err
    assert "--protocol fss-paper" in text and check_benchmark(bench) == []
    episodes = load_benchmark(bench).episodes
    assert [e.video for e in episodes] == [order[i % len(order)] for i in range(70)]
    assert all(e.category in by_category and len(e.supports) == 1 for e in episodes)
    # The lists alone: candidates of our own episodes.
    status, _, err = run(
        capsys,
        "build-data",
        "pascal-5i",
        "--voc",
        pascal[0],
        "--out",
        tmp_path / "C",
        "--fold",
        1,
        "--lists",
        lists,
        "--min-area",
        9999,
        "--paper-episodes",
        5,
    )
    assert status == 0, err
    native = [e for e in load_benchmark(tmp_path / "C").episodes if e.protocol == "fss-native"]
    assert {(e.video, e.category) for e in native} == {(n, c) for c, names in by_category.items() for n in names}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fold", "4"), "fold 4 does not exist"),
        (("--fold", "1", "--fold", "1"), "each once"),
        (("--min-area", "-1"), "minimum area is -1"),
        (("--min-area", "99999"), "has two images in val"),
        (("--shots", "0"), "at least one shot"),
        (("--episodes", "authors"), "give --lists DIR"),
        (("--episodes", "authors", "--shots", "5"), "--shots 1"),
        (("--lists", "."), "no lists of fold 0"),
        (("--split", "test"), "no VOC split 'test'"),
    ],
)
def test_bad_usage(
    pascal: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, "build-data", "pascal-5i", "--voc", pascal[0], "--out", "B", *arguments)
    assert status == 2 and words in err and err.count("\n") == 1
    assert not (tmp_path / "B").exists()


def test_fewer_images_than_shots(tmp_path: Path) -> None:
    """One image cannot be tested, two give one support; both are said."""
    shapes = [(1, "person"), (1, "airplane"), (2, "airplane"), *((i, "boat") for i in range(1, 8))]
    annotations = [trees.annotation(i, name, trees.rectangle(0, 0, 20, 20)) for i, name in shapes]
    root = trees.coco(tmp_path / "C", annotations, images=7)
    planned = plan(root, shots=5, folds=(0,))
    assert {e.category for e in planned.episodes} == {5, 9}
    assert {len(e.supports) for e in planned.episodes if e.category == 5} == {1}
    assert {len(e.supports) for e in planned.episodes if e.category == 9} == {5}
    assert any("fewer than two images of person" in note for note in planned.notes)
    assert any("supports for a query of airplane" in note for note in planned.notes)
    build_fewshot(planned, tmp_path / "B")
    assert check_benchmark(tmp_path / "B") == []
    # A fold with nothing is left out when all are asked for, and an error when it is asked for by number.
    assert {e.fold for e in plan(root).episodes} == {0}
    with pytest.raises(UsageError, match="leave the fold out"):
        plan(root, folds=(1,))


@pytest.mark.parametrize("what", ["missing", "cut", "size"])
def test_broken_images_leave_nothing(coco20i: Path, tmp_path: Path, what: str) -> None:
    import shutil

    shutil.copytree(coco20i, tmp_path / "C")
    path = tmp_path / "C" / "val2014" / "COCO_val2014_000000000003.jpg"
    if what == "missing":
        path.unlink()
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        trees.save(path, trees.noise(3, (20, 20)))
    with pytest.raises(SourceError, match="000000000003"):
        build_fewshot(plan(tmp_path / "C"), tmp_path / "B")
    assert not (tmp_path / "B").exists()


@pytest.mark.parametrize("novel", ["background", "drop", "ignore"])
def test_training_episodes(coco20i: Path, novel: str) -> None:
    masks = coco_masks(coco20i, "val2014")
    pool = TrainingPool(masks, "coco-20i", 0, min_area=100, novel=novel)
    sampler = EpisodeSampler(pool, 0, seed=3)
    again = pickle.loads(pickle.dumps(sampler))
    novel_categories = set(tested("coco-20i", 0))
    seen = set()
    ignored = False
    for index in range(30):
        category, query, supports = sampler.draw(2, index)
        assert (category, query, supports) == again.draw(2, index)
        assert category not in novel_categories and query not in supports
        shown = novel_categories & set(masks.categories_of(query))
        if novel == "drop":
            assert not shown
        image, labels = sampler.labelled(query, category)
        assert np.array_equal(image, masks.read(query))
        assert np.array_equal(labels == 1, masks.mask(query, category) == 1)
        expected = np.zeros(trees.SIZE, bool)
        if novel == "ignore":
            for other in shown:
                expected |= masks.mask(query, other) != 0
        assert np.array_equal(labels == 255, expected & (labels != 1))
        ignored |= bool((labels == 255).any())
        seen.add((category, query, supports))
    assert len(seen) > 10 and ignored == (novel == "ignore")
    # Every argument makes another stream.
    draws = [
        [s.draw(epoch, i) for i in range(20)]
        for s, epoch in (
            (sampler, 2),
            (sampler, 3),
            (EpisodeSampler(pool, 0, seed=4), 2),
            (EpisodeSampler(pool, 1, seed=3), 2),
        )
    ]
    assert all(draws[0] != other for other in draws[1:])
    assert json.loads(json.dumps(sampler.describe()))["novel_in_train"] == novel


def test_training_pools(coco20i: Path) -> None:
    masks = coco_masks(coco20i, "val2014")
    kept = {
        novel: TrainingPool(masks, "coco-20i", 0, min_area=100, novel=novel).pairs for novel in ("background", "drop")
    }
    assert 0 < kept["drop"] < kept["background"]
    names = [masks.names[image] for image in masks.images_of(2, 100)]
    listed = TrainingPool(masks, "coco-20i", 0, lists={2: names[:2] + ["unknown"], 1: names})
    assert listed.categories == (2,) and listed.images == 2
    with pytest.raises(UsageError, match="did you mean 'drop'"):
        TrainingPool(masks, "coco-20i", 0, novel="dropp")
    with pytest.raises(UsageError, match="train on coco-20i"):
        TrainingPool(masks, "coco2pascal", 0)
    with pytest.raises(UsageError, match="has 31 images"):
        EpisodeSampler(listed, 0, shots=30)
    assert len(EpisodeSampler(listed, 0)) == 2 and len(EpisodeSampler(listed, 0, length=50)) == 50


def test_lists_of_another_data_set(pascal: tuple[Path, Path], tmp_path: Path) -> None:
    from icvos.data.author_lists import read_lists

    lists = write_lists(tmp_path, 0, {1: ["2099_000001", "2007_000000"]}, ["2099_000001"])
    rules = FewShotRules("pascal-5i", folds=(0,), shots=1)
    with pytest.raises(SourceError, match=re.escape("1 image of the list is not in voc12 val, 2099_000001")):
        plan_fewshot(voc_masks(pascal[0], "val"), rules, lists={0: read_lists(tmp_path, 0)})
    # A listed image that does not show the category is named as it is written.
    lists = write_lists(tmp_path / "x", 0, {1: ["2007_000001", "2007_000002"]}, ["2007_000001"])
    planned = plan_fewshot(voc_masks(pascal[0], "val"), rules, lists={0: read_lists(lists, 0)})
    with pytest.raises(SourceError, match="shows no 'aeroplane'"):
        build_fewshot(planned, tmp_path / "B")
