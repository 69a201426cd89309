"""A folder for the Hugging Face Hub: its own library reads the rows and the masks, pixel by pixel."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from tiny import write_image_benchmark, write_video_benchmark

from icvos.demo.benchmarks import load_benchmark
from icvos.exports.columns import typed_rows
from icvos.exports.hub import tables as hub
from icvos.files import read_json, write_json
from icvos.images import read_image
from icvos.manifest import write_manifest
from icvos.masks import encode_mask, read_mask

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra hub")

Table = list[dict[str, Any]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The library ``datasets``, which reaches no network and keeps out of the user's cache."""
    pytest.importorskip("datasets")
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        patch.setenv(name, "1")
    yield importlib.import_module("datasets")
    patch.undo()


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("benchmarks")
    write_video_benchmark(folder / "video", videos=2, frames=3, draws=2, size=(40, 48))
    write_image_benchmark(folder / "image")
    write_video_benchmark(folder / "vos", videos=1, frames=2, draws=1)
    write_json(folder / "vos/benchmark.json", {**read_json(folder / "vos/benchmark.json"), "task": "vos"})
    write_manifest(folder / "vos")
    return {name: folder / name for name in ("video", "image", "vos")}


def export(bench: Path, out: Path, *words: str) -> Path:
    assert icvos("export", bench, "--to", "hub", "--out", out, *words) == 0
    assert icvos("export", "check", out) == 0
    return out


@pytest.mark.parametrize("kind", ["video", "image", "vos"])
def test_the_library_reads_it(kind: str, benchmarks: dict[str, Path], library: Any, tmp_path: Path) -> None:
    root = benchmarks[kind]
    out = export(root, tmp_path / "out", "--with-frames")
    names = library.get_dataset_config_names(str(out))
    tables = {name: library.load_dataset(str(out), name, split="test", cache_dir=str(tmp_path)) for name in names}
    for name in {"videos", "pairs", "episodes"} & set(tables):
        assert list(tables[name]) == list(typed_rows(root / f"{name}.csv")), name
    wanted = {"image": {"episodes", "queries", "supports"}}
    assert set(tables) == wanted.get(kind, {"videos", "pairs", "episodes", "frames", "masks", "supports"})
    if kind == "image":
        assert {(row["query"], row["category"]) for row in tables["queries"]} == {
            (f"q{number}", category) for number in range(4) for category in (1, 2)
        }
    else:
        rows = [{name: row[name] for name in ("video", "frame", "source_frame")} for row in tables["frames"]]
        assert rows == list(typed_rows(root / "frames.csv"))
        bench = load_benchmark(root)
        assert len(tables["masks"]) == sum(bench.videos[name].frames for name, _ in bench.pairs)
        for row in tables["masks"]:
            truth = bench.annotation(row["video"], row["category"], row["frame"])
            assert (np.array(row["mask"]) == truth).all() and row["area"] == truth.sum()
    for name, role in (("queries", "queries"), ("supports", "supports")):
        for row in tables.get(name, ()):
            of = row["query" if role == "queries" else "support"]
            labels = read_mask(root / role / "masks" / str(row["category"]) / f"{of}.png")
            assert (np.array(row["mask"]) == labels).all() and row["area"] == (labels == 1).sum()
    for row in (row for table in tables.values() if "image" in table.features for row in table):
        assert (np.array(row["image"]) == read_image(root / row["file"])).all()


def test_the_card(benchmarks: dict[str, Path], library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import DatasetCard

    root = tmp_path / "bench"
    shutil.copytree(benchmarks["video"], root)
    header = read_json(root / "benchmark.json")
    licences = {"tiny": "as <b>their</b> owner | says", "coco": "COCO: https://cocodataset.org"}
    write_json(
        root / "benchmark.json", {**header, "name": "a: b # [c] 😀", "licences": licences, "notes": ["- # a *note*"]}
    )
    write_manifest(root)
    out = export(root, tmp_path / "out")
    card = DatasetCard.load(out / "README.md")
    assert (
        card.data.license == "other"
        and card.data.license_link == "LICENSE.md"
        and card.data.pretty_name == "a: b # [c] 😀"
    )
    assert card.data.size_categories == ["n<1K"] and [
        row["config_name"] for row in card.data.configs if "default" in row
    ]
    text = (out / "README.md").read_text(encoding="utf-8")
    for words in (r"as \<b\>their\</b\> owner \| says", "yes for 3, no for 0", r"- - \# a \*note\*.", "ask first"):
        assert words in text
    assert "@inproceedings{lin2014coco" in text and "Images are not in it" in text
    assert r"look at tiny, COCO first" in (out / "LICENSE.md").read_text(encoding="utf-8")
    # Its own five lines run.
    code = text.split("```python\n")[1].split("```")[0].replace('"PATH"', f'"{out}"')
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    exec(code, {})


def test_tasks_have_the_ids_of_results(benchmarks: dict[str, Path], tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    wanted = {
        "video": ["tiny_native_1-shot", "tiny_native_2-shot"],
        "image": ["tiny-20i_fss-native_1-shot", "tiny-20i_fss-paper_1-shot"],
        "vos": ["tiny_native_first-frame"],
    }
    for kind, ids in wanted.items():
        content = yaml.safe_load((export(benchmarks[kind], tmp_path / kind) / "eval.yaml").read_text(encoding="utf-8"))
        assert [task["id"] for task in content["tasks"]] == ids and content["evaluation_framework"] == "icvos"
    words = ("--model", "histogram", "--benchmark", benchmarks["video"], "--out", tmp_path / "run")
    assert icvos("evaluate", *words) == 0
    assert icvos("export", tmp_path / "run", "--to", "hub", "--dataset", "me/tiny", "--out", tmp_path / "result") == 0
    assert (tmp_path / "result/.eval_results/tiny_native_1-shot.yaml").is_file()


def test_shards_are_cut_by_the_manifest_alone(
    benchmarks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export(benchmarks["video"], tmp_path / "whole", "--with-frames")
    monkeypatch.setattr(hub, "SHARD", 1000)
    monkeypatch.setattr(hub, "GROUP_ROWS", 2)
    parts = export(benchmarks["video"], tmp_path / "parts", "--with-frames")
    for name in ("frames", "masks", "supports"):
        files = sorted((parts / "data" / name).iterdir())
        assert len(files) > 1 and [path.name for path in files] == [f"{n:05d}.parquet" for n in range(len(files))]
        rows = [row for path in files for row in pq.read_table(path).to_pylist()]
        assert rows == pq.read_table(whole / "data" / name / "00000.parquet").to_pylist(), name
    assert pq.ParquetFile(parts / "data/masks/00000.parquet").num_row_groups > 1


def renamed_support(rows: Table) -> None:
    rows[0]["support"] = "other"


def other_image(rows: Table) -> None:
    rows[0]["image"]["bytes"] += b"x"


def no_row(rows: Table) -> None:
    rows.clear()


def lost_row(rows: Table) -> None:
    rows.pop()


def other_area(rows: Table) -> None:
    rows[0]["area"] += 1


def small_mask(rows: Table) -> None:
    rows[0]["mask"]["bytes"] = encode_mask(np.zeros((2, 2), np.uint8))


def void_mask(rows: Table) -> None:
    rows[0]["mask"]["bytes"] = encode_mask(np.full((40, 48), 255, np.uint8))
    rows[0]["area"] = 40 * 48


def broken_mask(rows: Table) -> None:
    rows[0]["mask"]["bytes"] = b"no mask"


def other_video(rows: Table) -> None:
    rows[0]["video"] = "other"


def never_visible(rows: Table) -> None:
    rows[0]["visible_frames"] = 0


def other_frame(rows: Table) -> None:
    rows[0]["frame"] = 7


ALTERED: list[tuple[str, Callable[[Table], None], str]] = [
    ("supports/00000", renamed_support, "has a support"),
    ("supports/00000", other_image, "its image is another one"),
    ("supports/00000", other_area, "its area is another one"),
    ("masks/00000", lost_row, "not as many"),
    ("masks/00000", other_area, "its area is another one"),
    ("masks/00000", small_mask, "mask is 2x2"),
    ("masks/00000", void_mask, "is not of 0 and 1"),
    ("masks/00000", broken_mask, "no PNG"),
    ("masks/00000", other_video, "is of no pair"),
    ("frames/00000", lost_row, "rows in frames"),
    ("frames/00000", other_frame, "out of order"),
    ("frames/00000", other_image, "its image is another one"),
    ("pairs", other_video, "is of no pair"),
    ("pairs", never_visible, "not as often visible"),
    ("episodes", other_video, "is of nothing that is there"),
    ("episodes", no_row, "episodes has no row"),
]


@pytest.fixture(scope="module")
def good(benchmarks: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(benchmarks["video"], tmp_path_factory.mktemp("good") / "out", "--with-frames")


@pytest.mark.parametrize(("table", "alter", "line"), ALTERED)
def test_what_does_not_agree_is_refused(
    table: str,
    alter: Callable[[Table], None],
    line: str,
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(good, out)
    path = out / "data" / f"{table}.parquet"
    content = pq.read_table(path)
    rows = content.to_pylist()
    alter(rows)
    pq.write_table(type(content).from_pylist(rows, content.schema), path)
    (out / "manifest.csv").unlink()
    write_manifest(out)  # so that all hashes agree
    assert icvos("export", "check", out) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["README.md", "data/masks/00000.parquet", "data/videos.parquet"])
def test_what_is_missing_is_refused(lost: str, good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(good, out)
    (out / lost).unlink()
    write_manifest(out)
    assert icvos("export", "check", out) == 2
    (out / "data/pairs.parquet").write_bytes(b"no table")
    write_manifest(out)
    assert icvos("export", "check", out) == 2


def test_a_changed_benchmark_is_refused(
    benchmarks: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "bench"
    shutil.copytree(benchmarks["video"], root)
    path = next(root.glob("videos/*/Annotations/1/00001.png"))
    path.write_bytes(encode_mask(np.ones((40, 48), np.uint8)))
    assert icvos("export", root, "--to", "hub", "--out", tmp_path / "out") == 2
    assert "file changed since the benchmark was built" in capsys.readouterr().err
    assert icvos("export", "check", tmp_path / "out") == 2
