"""FSS-1000 and LVIS-92i of the drawn world in their raw layouts: builds, runs, boards, and bad input."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from PIL import Image

from icvos import evaluate
from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.fewshot.build import FewShotRules
from icvos.data.matcher_episodes import lvis_classes
from icvos.demo.benchmarks import demo_layout
from icvos.demo.world.plan import cast_of, world_size
from icvos.errors import UsageError
from icvos.leaderboard.published import published_for
from icvos.sources.fss1000 import Fss1000

FSS, LVIS = ("fss-1000", "--fss"), ("lvis-92i", "--lvis")
MATCHER: tuple[Any, ...] = ("--episodes", "matcher")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world in both layouts, with the file that says that it is drawn."""
    root = tmp_path_factory.mktemp("world")
    for name in ("fss-1000", "lvis"):
        demo_layout(name, "tiny", 0, root)
    return root / "layouts"


def build(builder: tuple[str, str], root: Path, out: Path, *words: Any) -> int:
    return icvos("build-data", builder[0], builder[1], root, "--out", out, *words)


@pytest.fixture(scope="module")
def benchmarks(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Frozen and Matcher's episodes of both."""
    root = tmp_path_factory.mktemp("built")
    for builder, name in ((FSS, "fss-1000"), (LVIS, "lvis")):
        assert build(builder, raw / name, root / name) == 0
        words = (*MATCHER, "--fold", 0, "--fold", 9) if builder is LVIS else MATCHER
        assert build(builder, raw / name, root / f"{name}-matcher", *words) == 0
    return {path.name: path for path in root.iterdir()}


def test_frozen_episodes(benchmarks: dict[str, Path]) -> None:
    """Every query once, distinct supports that are not the query, at full size; LVIS' folds by the images there are."""
    names = [name.replace(" ", "_") for name in cast_of(world_size("tiny"))]
    for name, called, shots in (("fss-1000", "fss-1000", 5), ("lvis", "lvis-92i-1shot", 1)):
        bench = load_benchmark(benchmarks[name])
        assert bench.header["recipe"]["name"] == called and {e.protocol for e in bench.episodes} == {"fss-native"}
        assert len({(e.video, e.category) for e in bench.episodes}) == len(bench.episodes)
        assert all(e.video not in e.supports and len(set(e.supports)) == shots for e in bench.episodes)
        assert bench.vocabulary.names[:12] == tuple(names)
        assert not {"novel_in_train", "paper_count"} & set(bench.header["rules"])
        assert {"protocol", "shots", "drawn"}.isdisjoint(bench.header) and bench.header["training"] is None
    fss, lvis = (load_benchmark(benchmarks[name]) for name in ("fss-1000", "lvis"))
    assert len(fss.episodes) == 120 and fss.header["folds"] == {"0": list(range(1, 13))}
    # 12 categories: one a fold, and two in none.
    assert lvis.header["folds"] == {str(fold): [fold + 1] for fold in range(10)}
    assert {name.split("_")[0] for e in lvis.episodes for name in (e.video, *e.supports)} == {"train2017", "val2017"}


def test_masks_are_those_of_the_raw_data(raw: Path, benchmarks: dict[str, Path]) -> None:
    fss = load_benchmark(benchmarks["fss-1000"])
    for episode in fss.episodes[::17]:
        name, _, number = episode.video.rpartition("__")
        grey = np.array(Image.open(raw / "fss-1000/data" / name / f"{number}.png").convert("L"))
        _, mask, ignore = fss.query(episode)
        assert np.array_equal(mask, grey >= 128) and mask.any() and not ignore.any()
    # LVIS' polygons and Matcher's run lengths and polygons are of the same things.
    frozen, matcher = (load_benchmark(benchmarks[name]) for name in ("lvis", "lvis-matcher"))
    seen = 0
    for name, category in {(e.video, e.category) for e in frozen.episodes}:
        path = matcher.root / "queries/masks" / str(category) / f"{name}.png"
        if path.is_file():
            mine = frozen.root / "queries/masks" / str(category) / f"{name}.png"
            assert np.array_equal(np.array(Image.open(path)), np.array(Image.open(mine)))
            seen += 1
    assert seen > 3


def test_a_grey_of_colours_is_pillows(tmp_path: Path) -> None:
    """The threshold of 128 falls on the grey value that Pillow gives to a colour."""
    pixels = np.random.default_rng(0).integers(96, 160, (64, 64, 3), dtype=np.uint8)
    for folder in ("data/cup", "splits"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "splits/test.txt").write_text("cup\n")
    Image.fromarray(pixels).save(tmp_path / "data/cup/1.jpg")
    for mode in ("RGB", "L", "P", "RGBA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "data/cup/1.png")
        grey = np.array(Image.open(tmp_path / "data/cup/1.png").convert("L"))
        assert np.array_equal(Fss1000(tmp_path).mask("cup", "1"), grey >= 128), mode


def test_printed_figures_of_both() -> None:
    lvis = {row.method: row for row in published_for("lvis-92i-1shot")}
    assert lvis["SANSA"].value("mIoU") == 49.6 and lvis["SANSA"].values["mIoU", "fold-9"] == 47.4
    fss = {row.method: row.value("mIoU") for row in published_for("fss-1000")}
    assert fss == {"SANSA": 91.4, "SANSA (generalist)": 90.0}
    # Of another list than ours: never under the name of one of our protocols.
    assert {row.protocol for name in ("fss-1000", "lvis-92i-1shot") for row in published_for(name)} == {"sansa"}


def test_classes_hang_on_the_shots() -> None:
    counts = {100 - number: number % 7 for number in range(63)}
    for shots in (1, 3):
        folds = [lvis_classes(counts, fold, shots) for fold in range(10)]
        many = [category for category, count in counts.items() if count > shots]
        assert {len(classes) for classes in folds} == {len(many) // 10}
        assert [classes[index] for index in range(len(many) // 10) for classes in folds] == many[: len(many) // 10 * 10]
    with pytest.raises(UsageError, match="0 categories have more than 6 images; expected 10 or more; lower --shots"):
        lvis_classes(counts, 0, 6)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"benchmark": "pascal-5i", "episodes": "matcher"}, "expected frozen or authors"),
        ({"benchmark": "lvis-92i", "episodes": "authors"}, "expected frozen or matcher"),
        ({"benchmark": "fss-1000", "folds": (1,)}, "fold 1 does not exist"),
        ({"benchmark": "lvis-92i", "folds": (10,)}, "expected 0 to 9"),
        ({"benchmark": "lvis-92i", "folds": (0,), "episodes": "matcher", "seed": 1}, "seed 1 of Matcher's episodes"),
        ({"benchmark": "lvis-91i"}, "did you mean 'lvis-92i'"),
    ],
)
def test_rules_that_are_none(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        FewShotRules(**rules)


# Bad input: what is done to a copy of the raw data, the words of the command, what its one line says.
Damage = Callable[[Path], None]


def write(name: str, text: str | bytes) -> Damage:
    return lambda root: (root / name).write_bytes(text.encode() if isinstance(text, str) else text) and None


def edit(change: Callable[[Any], Any]) -> Damage:
    """Change LVIS' JSON."""

    def damage(root: Path) -> None:
        content = json.loads((root / "lvis_v1_val.json").read_text())
        change(content)
        (root / "lvis_v1_val.json").write_text(json.dumps(content))

    return damage


def relist(content: Any) -> Damage:
    return lambda root: (root / "lvis_val.pkl").write_bytes(pickle.dumps(content)) and None


def no_class(root: Path) -> None:
    shutil.rmtree(root / "data/car")


def file_for_class(root: Path) -> None:
    no_class(root)
    (root / "data/car").write_text("")


def no_picture(root: Path) -> None:
    (root / "data/car/7.jpg").unlink()


def one_more(root: Path) -> None:
    for suffix in ("jpg", "png"):
        shutil.copy(root / f"data/car/7.{suffix}", root / f"data/car/11.{suffix}")


def no_mask(root: Path) -> None:
    (root / "data/car/7.png").unlink()


def other_size(root: Path) -> None:
    Image.new("L", (5, 5), 255).save(root / "data/car/7.png")


def cut_mask(root: Path) -> None:
    path = root / "data/car/7.png"
    path.write_bytes(path.read_bytes()[:-30])


def empty_mask(root: Path) -> None:
    Image.new("L", Image.open(root / "data/car/7.jpg").size).save(root / "data/car/7.png")


def no_images(root: Path) -> None:
    shutil.rmtree(root / "coco")


def no_image(root: Path) -> None:
    for path in (root / "coco").rglob("*.jpg"):
        path.unlink()


def folder_for_an_image(root: Path) -> None:
    for path in (root / "coco").rglob("*.jpg"):
        path.unlink()
        path.mkdir()


def many_classes(*more: str) -> Damage:
    return write("splits/test.txt", "\n".join([*(f"c{n}" for n in range(100_000)), *more]))


ANNOTATED = {"annotations": [{"segmentation": {"size": [3, 3], "counts": [9]}}]}


@pytest.mark.parametrize(
    ("builder", "damage", "more", "words"),
    [
        (FSS, lambda root: shutil.rmtree(root / "splits"), (), "FSS-1000 not found"),
        (FSS, write("splits/test.txt", "\r\n\n"), (), "list names no class"),
        (FSS, write("splits/test.txt", "car\ncar\n"), (), "class 'car' stands twice"),
        (FSS, write("splits/test.txt", "../car\n"), (), "list names '../car'"),
        (FSS, write("splits/test.txt", "\x1b[2J\n"), (), "list names '\ufffd[2J'"),
        (FSS, many_classes(), (), "class 'c0' is listed and has no folder"),
        (FSS, many_classes("c99999"), (), "class 'c99999' stands twice"),
        (FSS, write("splits/test.txt", "car\r\nship\r\n"), (), "class 'ship' is listed and has no folder"),
        (FSS, write("splits/test.txt", b"\xff\xfe"), (), "test.txt"),
        (FSS, no_class, (), "class 'car' is listed and has no folder"),
        (FSS, file_for_class, (), "class 'car' is listed and has no folder"),
        (FSS, no_picture, MATCHER, "class 'car' has not all pictures (7.jpg)"),
        (FSS, one_more, MATCHER, "class 'car' has too many pictures (11.jpg)"),
        (FSS, no_mask, (), "picture 7 of 'car' has no mask"),
        (FSS, other_size, (), "image is 72x96 (HxW), its annotations 5x5"),
        (FSS, cut_mask, (), "image cannot be decoded (it is cut off); in "),
        (LVIS, lambda root: (root / "lvis_v1_val.json").unlink(), (), "no annotations of LVIS"),
        (LVIS, write("lvis_v1_val.json", '{"images": ['), (), "JSON is broken"),
        (LVIS, write("lvis_v1_val.json", '{"images": [], "annotations": []}'), (), "'categories' is missing"),
        (LVIS, edit(lambda c: c["categories"].pop(3)), (), "ids of the categories have gaps"),
        (LVIS, edit(lambda c: c["categories"][4].update(name="car")), (), "two categories have one name"),
        (LVIS, edit(lambda c: c["annotations"][3].update(category_id=99)), (), "expected a category of the file"),
        (LVIS, edit(lambda c: c["annotations"][3].update(image_id=99)), (), "expected an image of the file"),
        (LVIS, edit(lambda c: c["annotations"][3].update(segmentation=[[1, 2, 3]])), (), "'segmentation' of"),
        (LVIS, edit(lambda c: c["images"][3].update(coco_url="1.jpg")), (), "'coco_url' of image"),
        (LVIS, edit(lambda c: c["images"][3].update(coco_url="http://x/../1.jpg")), (), "'coco_url' of image"),
        (LVIS, no_images, (), "no images of COCO 2017"),
        (LVIS, no_image, (), "is listed but not there"),
        (LVIS, no_image, MATCHER, "image of the lists not found"),
        (LVIS, folder_for_an_image, (), "image"),
        (LVIS, folder_for_an_image, MATCHER, "image of the lists"),
        (LVIS, write("x", "x"), ("--shots", 30), "0 categories have more than 30 images"),
        (LVIS, lambda root: (root / "lvis_val.pkl").unlink(), MATCHER, "lvis_val.pkl"),
        (LVIS, write("lvis_val.pkl", b"\x80\x04cos\nsystem\n."), MATCHER, "pickle asks for 'os.system'"),
        (LVIS, write("lvis_val.pkl", b"\x80\x04}q\x00("), MATCHER, "no whole pickle"),
        (LVIS, relist([1, 2]), MATCHER, "it holds no dict of categories"),
        (LVIS, relist({10**9: {}}), MATCHER, "category 1000000000 is none"),
        (LVIS, relist({1: {"../../x.jpg": ANNOTATED}}), MATCHER, "names the image '../../x.jpg'"),
        (LVIS, relist({10**5000: {}}), MATCHER, "no whole pickle"),
        (LVIS, relist({1: {"val2017//x.jpg": ANNOTATED}}), MATCHER, "names the image 'val2017//x.jpg'"),
        (
            LVIS,
            relist({1: {"val2017/x.jpg": ANNOTATED}, 2: {"val2017/x.png": ANNOTATED}}),
            MATCHER,
            "the images 'val2017/x.jpg' and 'val2017/x.png' have one name, 'val2017_x'",
        ),
        (LVIS, edit(lambda c: c["categories"][4].update(name="\x1b[2J")), (), "expected a text that can be printed"),
        (LVIS, relist({1: {"val2017/x.jpg": {}}}), MATCHER, "has no annotations on val2017/x.jpg"),
        (LVIS, relist({1: {"val2017/x.jpg": ANNOTATED}}), MATCHER, "0 categories have more than 1 image"),
    ],
)
def test_bad_input_gets_a_line(
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    builder: tuple[str, str],
    damage: Damage,
    more: tuple[Any, ...],
    words: str,
) -> None:
    folder = "fss-1000" if builder is FSS else "lvis"
    root = shutil.copytree(raw / folder, tmp_path / folder, copy_function=os.link)
    for path in (path for path in root.rglob("*") if path.is_file()):
        if path.suffix != ".jpg":  # what is written in place is a file of its own
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
    damage(root)
    assert build(builder, root, tmp_path / "B", *more) == 2
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1 and line.startswith("icvos: "), line
    assert not (tmp_path / "B").exists()


def test_odd_data_is_built_and_said(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list without a last line end, classes with too few pictures for the shots, and a mask of nothing."""
    root = shutil.copytree(raw / "fss-1000", tmp_path / "fss-1000")
    (root / "splits/test.txt").write_text("car\ncup\nbird")
    for number in range(2, 11):
        (root / f"data/bird/{number}.jpg").unlink()
    for number in range(4, 11):
        (root / f"data/cup/{number}.jpg").unlink()
    empty_mask(root)
    assert build(FSS, root, tmp_path / "B") == 0
    shown = capsys.readouterr().out
    assert "note: splits/test.txt has no line end after its last class: Matcher's code would leave that out" in shown
    assert "fewer than two images of bird: not tested" in shown
    assert "fewer than 5 supports for a query of cup: all there are" in shown
    bench = load_benchmark(tmp_path / "B")
    # A picture whose mask is empty is nobody's query or support.
    assert {e.category_name for e in bench.episodes} == {"car", "cup"} and len(bench.episodes) == 9 + 3
    assert check_benchmark(bench.root) == []


def test_matchers_list_keeps_an_empty_mask(raw: Path, tmp_path: Path) -> None:
    root = shutil.copytree(raw / "fss-1000", tmp_path / "fss-1000")
    empty_mask(root)
    assert build(FSS, root, tmp_path / "B", *MATCHER) == 0
    bench = load_benchmark(tmp_path / "B")
    (episode,) = (e for e in bench.episodes if e.video == "car__7")
    assert not bench.query(episode)[1].any() and check_benchmark(bench.root) == []
    result = evaluate("histogram", bench, out=tmp_path / "R", episodes=[episode.id])
    assert result["summary"]["failed"] == 0 and result["protocol"]["name"] == "fss-matcher"


def test_other_pictures_are_not_those_of_the_cache(raw: Path, tmp_path: Path) -> None:
    """Matcher's lists say no size: small pictures that were replaced by the right ones leave nothing behind."""
    root = shutil.copytree(raw / "lvis", tmp_path / "lvis")
    pictures = sorted((root / "coco").rglob("*.jpg"))
    box = {"annotations": [{"segmentation": [[2, 2, 40, 2, 40, 30, 2, 30]]}]}
    relist({n: {path.relative_to(root / "coco").as_posix(): box for path in pictures} for n in range(1, 12)})(root)
    for path in pictures:
        Image.open(path).resize((48, 36)).save(path)
    for name in ("small", "whole"):
        assert build(LVIS, root, tmp_path / name, *MATCHER, "--fold", 0) == 0
        bench = load_benchmark(tmp_path / name)
        image, mask, _ = bench.query(bench.episodes[0])
        assert mask.sum() == 38 * 28 and mask.shape == image.shape[:2]
        assert (max(mask.shape) == 48) == (name == "small")
        for path in pictures:
            shutil.copy(raw / "lvis" / path.relative_to(root), path)


def test_a_picture_that_was_renamed_is_found(raw: Path, tmp_path: Path) -> None:
    root = shutil.copytree(raw / "fss-1000", tmp_path / "fss-1000")
    assert build(FSS, root, tmp_path / "B") == 0
    (root / "data/car/7.jpg").rename(root / "data/car/7.JPG")
    assert build(FSS, root, tmp_path / "C") == 0
    assert (tmp_path / "B/manifest.csv").read_bytes() == (tmp_path / "C/manifest.csv").read_bytes()


def test_nothing_is_beside_the_root_of_all_folders(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ((), ("--dry-run",)):
        assert build(FSS, raw / "fss-1000", Path("/"), *more) == 2
        assert capsys.readouterr().err == "icvos: the folder is there already; in /; choose another --out\n"
