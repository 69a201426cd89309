"""YouTube-FSVOS as published: lists, masks and figures that the public codes gave on toy data (DANet, TTI)."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from shared_data import goldens

from icvos import score
from icvos.benchmark import Benchmark, load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.fsvos.plan import FsvosPlan, FsvosRules, plan_fsvos
from icvos.data.fsvos import EPISODE_LISTS
from icvos.files import iter_csv, read_json
from icvos.images import letterbox_mask
from icvos.masks import write_mask
from icvos.metrics import jf
from icvos.protocols import get_protocol
from icvos.runs.run import Run
from icvos.sources import open_source
from icvos.sources.ytvis import YouTubeVis
from icvos.view import View

Golden = dict[str, Any]
SIZE = (241, 425)
# What is scored in full by every run of the tests; the others are for -m slow.
SCORED = ["danet_g1", "tti_s0_v2"]
MORE = ["danet_g2", "danet_g3", "danet_g4", "tti_s0_v1", "tti_s1_v1", "tti_s1_v2"]
LISTED = [*SCORED, *MORE, "danet_g1_seed0", "tti_s3_v1", "tti_s3_v2"]
FLOAT32 = 2e-7
"""TTI's code sums its figures in float32."""


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder of figures that the public codes gave."""
    return goldens(request.config, "fsvos")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Callable[[str], Golden]:
    """Read a family; one that is not in the folder is passed over."""

    @cache
    def read(name: str) -> Golden:
        if not (folder / f"{name}.json").is_file():
            pytest.skip(f"{name} is not in {folder}")
        golden: Golden = read_json(folder / f"{name}.json")
        return golden

    return read


@pytest.fixture(scope="module")
def toy(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy data that the codes read: 282 videos, 1,656 frames."""
    if not (folder / "make_toy_ytvis.py").is_file():
        pytest.skip(f"make_toy_ytvis.py is not in {folder}")
    root = tmp_path_factory.mktemp("toy")
    runpy.run_path(str(folder / "make_toy_ytvis.py"))["main"](str(root))
    return root / "Youtube-VOS"


@pytest.fixture(scope="module")
def plan(toy: Path) -> Callable[[FsvosRules], FsvosPlan]:
    source = open_source("ytvis", toy, crowds=True)
    assert isinstance(source, YouTubeVis)
    videos = source.videos()
    source.videos = lambda: videos  # type: ignore[method-assign]  # of 5 MB of JSON, once
    return lambda rules: plan_fsvos(source, rules)


def rules_of(name: str, golden: Golden) -> FsvosRules:
    """Return the rules of a golden family: danet_g1, danet_g1_seed0, tti_s0_v2 (split 0 is group 1)."""
    code, part, *_ = name.split("_")
    if code == "danet":
        return FsvosRules(int(part[1:]), "danet", golden["seed"])
    return FsvosRules(int(part[1:]) + 1, f"tti-{name[-2:]}", golden["seed"])


def episodes_of(golden: Golden) -> Iterator[tuple[int, Golden]]:
    """Yield the run and the episode of each in a family."""
    for run, part in enumerate(golden.get("runs", [golden])):
        for episode in part["episodes"]:
            yield run, episode


@pytest.mark.parametrize("name", LISTED)
def test_lists(name: str, expected: Callable[[str], Golden], plan: Callable[[FsvosRules], FsvosPlan]) -> None:
    golden = expected(name)
    listing = plan(rules_of(name, golden))
    wanted = [
        (run, e["class_id"], e["query"], [tuple(pair) for pair in e["supports"]], e["frames"])
        for run, e in episodes_of(golden)
    ]
    details = {video.name: video.video.detail for video in listing.videos}
    frames = {name: (each.video.detail.id, each.frame.index) for name, each in listing.supports.items()}
    found = [
        (e.run or 0, e.category, details[e.video].id, [frames[s] for s in e.supports], list(details[e.video].kept))
        for e in listing.episodes
    ]
    assert found[: len(wanted)] == wanted
    # The families of TTI hold two runs of the stream that the code makes five of.
    assert len(found) * len(golden.get("runs", [golden])) == len(wanted) * (5 if "runs" in golden else 1)


@pytest.mark.parametrize("name", [*SCORED, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_masks_and_figures(
    name: str,
    folder: Path,
    toy: Path,
    expected: Callable[[str], Golden],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Built, checked and scored by the commands; masks are compared pixel by pixel, figures to 1e-9."""
    golden = expected(name)
    rules = rules_of(name, golden)
    listed = EPISODE_LISTS[rules.episodes]
    monkeypatch.setitem(EPISODE_LISTS, rules.episodes, replace(listed, runs=len(golden.get("runs", [golden]))))
    words = ("--group", rules.group, "--episodes", rules.episodes, "--seed", rules.seed)
    assert icvos("build-data", "youtube-fsvos", "--ytvis", toy, *words, "--link", "--out", tmp_path / "B") == 0
    assert check_benchmark(tmp_path / "B", quick=True) == []
    bench = load_benchmark(tmp_path / "B")
    truths = predict(bench, folder, golden, tmp_path / "masks")
    result = score(tmp_path / "masks", benchmark=bench, out=tmp_path / "R", shots=5)
    records = Run.open(tmp_path / "R").by_id
    if "runs" not in golden:
        danet(bench, folder / f"{name}.npz", golden, truths, result)
    else:
        tti(bench, golden, records, result)


def predict(bench: Benchmark, folder: Path, golden: Golden, out: Path) -> list[np.ndarray]:
    """Write the predictions that the figures stand for; return the ground truth of all frames at the full size."""
    toy_prediction = runpy.run_path(str(folder / "toy_predictions.py"))["toy_prediction"]
    numbers: dict[str, list[int]] = {}
    for row in iter_csv(bench.root / "frames.csv", ("video", "source_frame")):
        numbers.setdefault(row["video"], []).append(int(row["source_frame"]) // 5)
    truths = []
    for episode, (run, wanted) in zip(bench.episodes, episodes_of(golden), strict=True):
        assert (episode.run or 0, episode.category) == (run, wanted["class_id"])
        for index, number in enumerate(numbers[episode.video]):
            truth = bench.annotation(episode.video, episode.category, index)
            truths.append(truth)
            mask = toy_prediction(truth, wanted["query"], number, SIZE)
            write_mask(out / episode.id / f"{index:05d}.png", mask)
    return truths


def danet(bench: Benchmark, path: Path, golden: Golden, truths: list[np.ndarray], result: Golden) -> None:
    packed = np.load(path)
    gt, nearest, pred = (
        np.unpackbits(packed[part], axis=-1)[..., : SIZE[1]].astype(bool) for part in ("gt", "nearest", "pred")
    )
    view = View(bench, get_protocol("fsvos-danet"))
    resized = [
        mask
        for e in bench.episodes
        for frames in [view.truth(e.video, e.category)]
        for mask in (frames[i] for i in range(len(frames)))
    ]
    assert len(resized) == len(gt) == len(truths)
    assert np.array_equal(resized, gt)
    assert np.array_equal([letterbox_mask(truth, SIZE) for truth in truths], nearest)
    j, f = jf(pred, gt)
    for column, name in ((j, "J"), (f, "F")):
        assert np.abs(column - [v for _, e in episodes_of(golden) for v in e[name]]).max() <= 1e-9
    names = bench.vocabulary
    for name in ("J", "F"):
        assert abs(result["summary"][name] / 100 - golden["result"][f"mean_{name}"]) <= 1e-9
        found = [result["per_category"][names.label(c)][name] / 100 for c in golden["classes"]]
        assert np.abs(np.array(found) - golden["result"][name]).max() <= 1e-9
    assert result["protocol"]["name"] == "fsvos-danet"


def mean_j(counts: list[tuple[int, int]], kind: type[np.floating[Any]]) -> float:
    """Return the mean of J over frames from intersections and unions, each J computed in ``kind``."""
    inter, union = np.array(counts, kind).T
    return float(np.where(union > 0, inter / np.maximum(union, 1), 1).astype(np.float64).mean())


def tti(bench: Benchmark, golden: Golden, records: Any, result: Golden) -> None:
    exact: list[list[float]] = []
    for run, part in enumerate(golden["runs"]):
        pixels: dict[int, list[int]] = {}
        frames: dict[int, list[tuple[int, int]]] = {}
        for episode, (of, wanted) in zip(bench.episodes, episodes_of(golden), strict=True):
            if of != run:
                continue
            record, union = records[episode.id], sum(wanted["union"])
            assert record["run"] == run and record["union"] == union
            assert abs(record["IoU"] / 100 - sum(wanted["intersection"]) / union) <= 1e-12
            sums = pixels.setdefault(episode.category, [0, 0])
            sums[0], sums[1] = sums[0] + sum(wanted["intersection"]), sums[1] + union
            frames.setdefault(episode.category, []).extend(zip(wanted["intersection"], wanted["union"]))
        iou = np.mean([inter / union for inter, union in pixels.values()])
        dice = np.mean([2 * inter / (inter + union) for inter, union in pixels.values()])
        of_run = result["per_draw"][str(run)]
        assert abs(of_run["IoU"] / 100 - iou) <= 1e-9 and abs(of_run["Dice"] / 100 - dice) <= 1e-9
        assert abs(of_run["IoU"] / 100 - part["mean_IoU"]) <= FLOAT32
        assert abs(of_run["Dice"] / 100 - part["mean_F"]) <= FLOAT32
        # The golden file's J is that of whole numbers of pixels in float32; ours is in float64.
        for kind, figure in ((np.float64, of_run["J"] / 100), (np.float32, part["per_frame_mean_J"])):
            assert abs(np.mean([mean_j(each, kind) for each in frames.values()]) - figure) <= 1e-12
        assert {bench.vocabulary.number(bench.vocabulary.label(c)) for c in pixels} == set(golden["classes"])
        exact.append([float(iou), float(dice)])
    summary = [result["summary"][name] / 100 for name in ("IoU", "Dice")]
    assert np.abs(np.mean(exact, axis=0) - summary).max() <= 1e-9
    assert result["protocol"]["name"] == "fsvos-tti" and result["summary"]["F"] is None
