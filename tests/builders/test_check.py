"""``build-data check`` names every kind of damage; ``build-data stats`` counts right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees as raw

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.ic_vos.build import build_icvos, prepare
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.stats import PAPER_TABLE, benchmark_stats, measure_masks, table_rows
from icvos.builders.writer import BenchmarkWriter
from icvos.errors import BenchmarkError, IcvosError
from icvos.manifest import check_manifest, iter_files, read_manifest, write_manifest
from icvos.masks import write_mask
from icvos.sources import open_source
from icvos.sources.coco import open_coco

DOGS = "videos/davis17__dogs"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    raw.davis(root / "davis")
    raw.coco(root / "coco")
    prepared = prepare([open_source("davis", root / "davis")], open_coco(root / "coco"), rules=BuildRules(shots=2))
    build_icvos(prepared, root / "B")
    return root / "B"


@pytest.fixture
def bench(built: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(built, tmp_path / "B")
    return tmp_path / "B"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def test_a_whole_benchmark(built: Path) -> None:
    assert check_benchmark(built) == check_benchmark(built, quick=True) == check_benchmark(built, workers=2) == []


def test_what_other_systems_leave_is_no_problem(bench: Path) -> None:
    for name in (".DS_Store", "supports/images/._a.jpg", f"{DOGS}/JPEGImages/Thumbs.db"):
        (bench / name).write_bytes(b"x")
    assert check_benchmark(bench) == []


@pytest.mark.parametrize("path", [f"{DOGS}/JPEGImages/00001.jpg", f"{DOGS}/Annotations/17/00001.png", "episodes.csv"])
def test_a_flipped_byte_a_deleted_file_an_added_file(bench: Path, path: str) -> None:
    flip(bench / path)
    assert f"{path}: its content changed (another SHA-256)" in check_benchmark(bench)
    (bench / path).unlink()
    if path != "episodes.csv":
        assert f"{path}: is missing" in check_benchmark(bench)
        (bench / f"{path}.more").write_bytes(b"x")
        assert f"{path}.more: is not in the manifest" in check_benchmark(bench)


# The manifest is written anew after each change, so that what finds it is not the hash.
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: write_mask(r / f"{DOGS}/Annotations/17/00001.png", np.full((48, 64), 2)), "holds the value 2"),
        (lambda r: write_mask(r / f"{DOGS}/Annotations/17/00001.png", np.zeros((48, 60))), "mask is 48x60"),
        (lambda r: write_mask(r / f"{DOGS}/Annotations/17/00001.png", np.zeros((48, 64))), "the masks show 2 from 0"),
        (lambda r: (r / f"{DOGS}/Annotations/17/00001.png").write_bytes(b"x"), "cannot be decoded"),
        (lambda r: raw.picture(r / f"{DOGS}/JPEGImages/00001.jpg", (48, 60)), "is 48x60, videos.csv says 48x64"),
        (lambda r: (r / f"{DOGS}/JPEGImages/00001.jpg").write_bytes(b"x"), "no image"),
        (lambda r: (r / f"{DOGS}/JPEGImages/00001.jpg").unlink(), "JPEGImages/00001: is missing"),
        (lambda r: (r / f"{DOGS}/Annotations/17/00002.png").unlink(), "Annotations/17/00002: is missing"),
        (lambda r: raw.picture(r / f"{DOGS}/JPEGImages/00003.jpg"), "00003: is no frame of the video"),
        (lambda r: shutil.copytree(r / DOGS, r / "videos/davis17__more"), "davis17__more: is not in videos.csv"),
        (lambda r: shutil.copytree(r / f"{DOGS}/Annotations/17", r / f"{DOGS}/Annotations/18"), "not in pairs.csv"),
        (lambda r: shutil.rmtree(r / DOGS), f"{DOGS}: is missing"),
        (lambda r: (r / "notes.txt").write_text(""), "notes.txt: does not belong here"),
        (lambda r: raw.picture(r / "supports/images/other.jpg"), "other.jpg: is used by no episode"),
        (lambda r: write_mask(r / "supports/masks/17/other.png", np.ones((9, 9))), "other.png: is used by no episode"),
        (lambda r: shutil.rmtree(r / "supports/images"), "no such image"),
        (edit("pairs.csv", "17,dog,unsure", "17,dog,maybe"), "complete of davis17__dogs,17"),
        (edit("pairs.csv", "unsure,3,0,2", "unsure,3,1,2"), "the masks show 3 from 0"),
        (edit("episodes.csv", "davis17__dogs,17,dog,0", "davis17__dogs,17,dig,0"), "calls category 17 'dig'"),
        (edit("episodes.csv", "davis17__dogs,17,dog,4", "davis17__dogs,17,dog,7"), "has draws"),
        (edit("videos.csv", ",3,48,64,", ",2,48,64,"), "frames.csv: davis17__dogs has 3 frames"),
        (edit("frames.csv", "davis17__dogs,00002,00002\n", ""), "has 2 frames, videos.csv says 3"),
        (edit("episodes.csv", "video", "vidoe"), "no column video"),
        (edit("benchmark.json", '"episodes": 15', '"episodes": 16'), "says 16 episodes"),
        (edit("pairs.csv", "davis17__dogs,17", "davis17__digs,17"), "unknown video 'davis17__digs'"),
    ],
)
def test_damage_that_hashes_do_not_show(bench: Path, change: Callable[[Path], Any], said: str) -> None:
    change(bench)
    write_manifest(bench)
    problems = check_benchmark(bench)
    assert any(said in problem for problem in problems), problems


def close_early(path: Path) -> Path:
    """Cut a JPEG within its data and put the end marker there, as repairing tools do."""
    data = path.read_bytes()
    start = data.index(b"\xff\xda") + 12
    path.write_bytes(data[: (start + len(data)) // 2] + b"\xff\xd9")
    return path


def test_cut_jpegs_that_somebody_closed_are_found(bench: Path) -> None:
    pytest.importorskip("simplejpeg")
    paths = [bench / f"{DOGS}/JPEGImages/00001.jpg", sorted((bench / "supports/images").glob("*.jpg"))[0]]
    for path in paths:
        close_early(path)
    write_manifest(bench)
    problems = check_benchmark(bench)
    for path in paths:
        assert any(path.name in problem and "cannot be decoded" in problem for problem in problems), problems
    assert check_benchmark(bench, quick=True) == []


def test_supports_that_are_broken(bench: Path) -> None:
    episode = load_benchmark(bench).episodes[0]
    mask = bench / f"supports/masks/{episode.category}/{episode.supports[0]}.png"
    for labels, said in ((np.full((80, 96), 3), "holds the value 3"), (np.full((80, 96), 255), "nothing is marked")):
        write_mask(mask, labels)
        write_manifest(bench)
        assert any(said in problem for problem in check_benchmark(bench))
    text = (bench / "episodes.csv").read_text()
    (bench / "episodes.csv").write_text(text.replace(episode.supports[1], episode.supports[0], 1))
    assert any("has a support twice" in problem for problem in check_benchmark(bench))


def test_the_command(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as stop:
            cli.main(["build-data", "check", *arguments])
        return int(stop.value.code or 0)

    assert run(str(bench)) == 0 and "all is well" in capsys.readouterr().out
    flip(bench / f"{DOGS}/JPEGImages/00001.jpg")
    assert run(str(bench), "--quick") == 0  # sizes are as they were
    assert run(str(bench)) == 1 and f"{DOGS}/JPEGImages/00001.jpg: its content" in capsys.readouterr().out
    assert run(str(bench / "none")) == 2
    (bench / "manifest.csv").unlink()
    assert run(str(bench)) == 2 and "no manifest.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "path,bytes\n",
        "path,bytes,sha256\n../x,1," + "0" * 64,
        "path,bytes,sha256\na,x," + "0" * 64,
        "path,bytes,sha256\nb,1," + "0" * 64 + "\na,1," + "0" * 64,
    ],
)
def test_manifests_that_are_broken(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    if text:
        with pytest.raises(BenchmarkError):
            list(read_manifest(tmp_path))
    (tmp_path / "manifest.csv").unlink()
    with pytest.raises(BenchmarkError):
        list(read_manifest(tmp_path))


def test_listing_is_sorted_as_text(tmp_path: Path) -> None:
    # A folder sorts with its slash: "a-b/x" comes before "a/x", and "a.x" too.
    for name in ("a/x", "a-b/x", "a.x", "b", "a/b/c", "A/z", "a/.hidden", "b.x/Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = list(iter_files(tmp_path))
    assert found == sorted(found) and len(found) == 6  # what other systems leave is passed over
    write_manifest(tmp_path)
    assert check_manifest(tmp_path) == []


def test_writer_for_images(tmp_path: Path) -> None:
    """The writer that the few-shot builders use: a benchmark of queries is checked too."""
    source = raw.picture(tmp_path / "a.jpg")
    header = {"schema": "icvos-benchmark/1", "name": "few", "version": "1", "vocabulary": "voc20"}
    row = {
        "id": "a__1__f0__d0",
        "protocol": "fss-native",
        "query": "a",
        "category": 1,
        "category_name": "aeroplane",
        "fold": 0,
        "draw": 0,
        "support_1": "s",
    }
    with BenchmarkWriter(tmp_path / "F") as writer:
        for place, name in (("queries", "a"), ("supports", "s")):
            writer.place(f"{place}/images/{name}.jpg", source)
            writer.mask(f"{place}/masks/1/{name}.png", raw.boxes((1, 5, 5)))
        (writer.root / "stray").write_text("kept, and hashed, unless told otherwise")
        writer.finish(header, {"episodes.csv": (list(row), [row])})
    assert check_benchmark(tmp_path / "F") == ["stray: does not belong here"]
    assert not list(tmp_path.glob("F.*")) and not list(tmp_path.glob(".*"))


def test_stats(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = benchmark_stats(load_benchmark(built))
    assert (stats.videos, stats.frames, stats.pairs, stats.episodes) == (2, 6, 3, 15)
    assert stats.categories == {"dog": (1, 3), "motorcycle": (1, 2), "person": (1, 3)}
    assert stats.sources == {"davis17": (2, 6, 3)} and stats.complete == {"unsure": 3}
    assert table_rows(stats)[-1][1:] == ("2", "3", "6", "3", "M")
    assert len(table_rows(stats)) == len(PAPER_TABLE) + 1 == 8

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as stop:
            cli.main(["build-data", "stats", *arguments])
        return int(stop.value.code or 0)

    assert stats.support_uses and sum(stats.support_uses) == sum(
        len(set(episode.supports)) for episode in load_benchmark(built).episodes
    )
    masks = measure_masks(load_benchmark(built))
    assert len(masks.sizes) == 3 and all(0 < size < 100 for size in masks.sizes)
    assert all(0 <= motion <= 100 for motion in masks.motions)
    plot = tmp_path / "deep/stats.png"
    assert run(str(built), "--plot", str(plot)) == 0
    out = capsys.readouterr().out
    assert "99,549" in out and "motorcycle" in out
    assert plot.read_bytes()[:4] == b"\x89PNG" and plot.stat().st_size > 10000
    for name in ("one.svg", "two.svg", "one.pdf"):
        assert run(str(built), "--plot", str(tmp_path / name)) == 0
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
    assert "motorcycle" in (tmp_path / "one.svg").read_text()  # text stays text
    capsys.readouterr()
    assert run(str(built), "--json") == 0
    assert json.loads(capsys.readouterr().out)["mean_frames"] == 3
    assert run(str(built), "--plot", str(tmp_path / "x.gif")) == 2
    with pytest.raises(IcvosError):
        benchmark_stats(load_benchmark(_images(tmp_path)))


def _images(tmp_path: Path) -> Path:
    root = tmp_path / "I"
    (root / "queries").mkdir(parents=True)
    (root / "manifest.csv").write_text("path,bytes,sha256\n")
    header = {"schema": "icvos-benchmark/1", "name": "few", "version": "1", "vocabulary": "voc20"}
    (root / "benchmark.json").write_text(json.dumps(header))
    return root


@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [
        (True, "no names of categories"),
        (7, "no names of categories"),
        ({"dog": 1}, "no names of categories"),
        ([["dog"]], "no names of categories"),
        ([1, 2], "no names of categories"),
        (["dog", " "], "no names of categories"),
        (["dog", "dog"], "a name twice"),
        ("coco8", "unknown vocabulary 'coco8'.*coco80"),
    ],
)
def test_a_vocabulary_that_is_none(tmp_path: Path, vocabulary: object, says: str) -> None:
    path = _images(tmp_path) / "benchmark.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocabulary": vocabulary}))
    with pytest.raises(BenchmarkError, match=says) as error:
        load_benchmark(path.parent)
    assert error.value.where == path


@pytest.mark.parametrize("folds", [1, [1], {"x": [1]}, {"0": 1}, {"0": [[1]]}, {"0": ["1"]}])
def test_folds_that_are_none(tmp_path: Path, folds: object) -> None:
    path = _images(tmp_path) / "benchmark.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "folds": {"0": [1, 2], "1": []}}))
    load_benchmark(path.parent)
    path.write_text(json.dumps({**header, "folds": folds}))
    with pytest.raises(BenchmarkError, match=r"folds are broken.*benchmark\.json"):
        load_benchmark(path.parent)


@pytest.mark.parametrize("fps", ["nan", "inf", "-inf", "x"])
def test_frames_a_second_are_a_number(built: Path, fps: str) -> None:
    path = built / "videos.csv"
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index("fps")
    rows = [line.split(",") for line in lines[1:]]
    rows[0][place] = fps
    path.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    with pytest.raises(BenchmarkError, match=f"fps is '{fps}'"):
        load_benchmark(built).videos  # noqa: B018
