"""Error budgets: the rule of every cause, what repairing it gains, and the script."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import run
from hypothesis import given, settings
from hypothesis import strategies as st
from run_models import write_model
from tiny import write_image_benchmark, write_video_benchmark

from benchmarks import error_budget
from icvos.benchmark import load_benchmark
from icvos.demo.benchmarks import SHAPES_SEED
from icvos.demo.world.plan import SIZES, cast_of, clips
from icvos.errors import IcvosError
from icvos.evaluation.score import score
from icvos.files import write_json
from icvos.manifest import write_manifest
from icvos.masks import write_mask
from icvos.metrics import jf
from icvos.report.budget import CAUSES, SHARES, Budget, Frames, budget_of
from icvos.report.run import open_run
from icvos.runs.result import video_score


def frames(truths: np.ndarray, predictions: np.ndarray) -> Frames:
    """Frames of (T, H, W) bool masks."""
    j, f = jf(predictions, truths)
    area, predicted, common = (masks.sum(axis=(1, 2)) for masks in (truths, predictions, truths & predictions))
    return Frames(j, f, area, predicted, common)


def masks(rows: str) -> np.ndarray:
    """Masks of one frame a word: of a row of twelve pixels, each a letter; x is the thing."""
    out = np.zeros((len(rows.split()), 12, 12), bool)
    for index, word in enumerate(rows.split()):
        out[index, 4:8] = np.array(list(word.ljust(12, "."))) == "x"
    return out


# (truth, prediction, causes): a word is a frame. "xxxx" against "xxxx" is exact, against "xxx" is found (J of 3/4).
CASES = {
    "exact": ("xxxx xxxx", "xxxx xxxx", ["", ""]),
    "boundary": ("xxxx xxxx", "xxx xxxxx", ["boundary", "boundary"]),
    "just found": ("xxxx", "xx", ["boundary"]),
    "ghost before": (". xxxx .", "x xxxx .", ["ghost before", "", ""]),
    "never there": (". .", "x .", ["ghost before", ""]),
    "ghost after": ("xxxx . .", "xxxx x .", ["", "ghost after", ""]),
    "absent on frame 0": (". xxxx xxxx xxxx", ". . x xxx", ["", "absent on frame 0", "absent on frame 0", "boundary"]),
    "missed": ("xxxx xxxx xxxx", ". x xxx", ["missed", "missed", "boundary"]),
    "missed, then gone and back": ("xxxx . xxxx", ". . .", ["missed", "", "missed"]),
    "wrong thing": ("xxxx xxxx", "......xxxx .", ["wrong thing", "wrong thing"]),
    "ragged": ("xxxx xxxx", "...xxxx x", ["ragged", "ragged"]),
    "too much": ("x x", "xxxxxxxx xxxxxxxx", ["ragged", "ragged"]),  # an eighth of it is on the target
    "far too much": ("x x", "xxxxxxxxxxxx x", ["wrong thing", ""]),  # a twelfth
    "not found again": ("xxxx . xxxx", "xxxx . .", ["", "", "not found again"]),
    "wrong re-appearance": ("xxxx . xxxx", "xxxx . ....xx", ["", "", "wrong re-appearance"]),
    "lost after occlusion": ("xxxx x xxxx xxxx", "xxxx x . ....xx", ["", "", *["lost after occlusion"] * 2]),
    "lost while occluded": ("xxxx xxxx x", "xxxx xxxx .", ["", "", "lost after occlusion"]),
    "not yet occluded": ("xxxx xxxx x xxxx", "xxxx . x xxxx", ["", "lost", "", ""]),
    "out of sight comes before occlusion": ("xxxx . x xxxx", "xxxx . x .", ["", "", "", "not found again"]),
    "lost": ("xxxx xxxx xx", "xxxx . .", ["", "lost", "lost"]),
    "drift": ("xxxx xxxx", "xxxx ....xx", ["", "drift"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_cause(case: str) -> None:
    truth, prediction, causes = CASES[case]
    assert list(frames(masks(truth), masks(prediction)).causes()) == causes


def test_the_cases_have_every_cause_but_a_failure() -> None:
    assert {cause for *_, causes in CASES.values() for cause in causes} == {"", *CAUSES} - {"failed"}


def test_a_frame_0_that_is_told_and_not_scored_is_found() -> None:
    prompted = replace(frames(masks("xxxx . xxxx"), masks("...xxxx x .")), prompted=True)
    assert list(prompted.causes()) == ["drift", "ghost after", "not found again"]
    prompted = replace(frames(masks("x xxxx xxxx"), masks(". . xx")), prompted=True)
    assert list(prompted.causes()) == ["lost after occlusion"] * 2 + ["boundary"]


def test_the_threshold_of_found() -> None:
    one = frames(masks("xxxx xxxx"), masks("xxx xx"))
    assert list(one.causes(0.75)) == ["boundary", "drift"]
    assert list(one.causes(0.76)) == ["ragged", "ragged"]


def record(video: str, draw: int = 0) -> dict[str, Any]:
    return {"video": video, "source": "s", "category_name": "person", "draw": draw}


def test_gains_by_hand() -> None:
    """Two draws: of the first two videos, of the second one; figures are means over videos, then over draws."""
    half = Frames(*(np.array(row) for row in ([1.0, 0.0], [1.0, 0.2], [9, 9], [9, 9], [9, 0])))  # drift
    ghost = Frames(*(np.array(row) for row in ([0.0, 0.8], [0.0, 0.6], [0, 9], [5, 9], [0, 8])))  # and boundary
    lost = Frames(*(np.array(row) for row in ([0.0, 0.0], [0.0, 0.0], [9, 9], [0, 0], [0, 0])), failed=True)
    budget = Budget([record("a"), record("b"), record("a", 1)], [half, ghost, lost])
    assert budget.score.value == pytest.approx(100 * (0.55 + 0.35) / 2 / 2)
    # A frame of the first draw is an eighth of the whole, one of the second a quarter.
    wanted = {"drift": 0.9 / 8, "ghost before": 1 / 8, "boundary": 0.3 / 8, "failed": 2 / 4}
    for name, part in budget.parts.items():
        assert part.gain.value == pytest.approx(100 * wanted.get(name, 0)), name
        assert (part.frames, part.episodes) == {"failed": (2, 1)}.get(name, (int(name in wanted),) * 2)
    absent, visible = budget.shares["target absent"], budget.shares["target in sight"]
    assert (absent.frames, visible.frames, budget.counts) == (1, 4, (6, 5))
    assert absent.gain.value == pytest.approx(100 / 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(0.05, 1))
def test_gains_add_up_to_what_is_missing(seed: int, draws: int, found: float) -> None:
    generator = np.random.default_rng(seed)
    records, episodes, rows = [], [], []
    for number in range(draws * 3):
        truths, predictions = np.zeros((2, int(generator.integers(1, 7)), 12, 12), bool)
        for stack in (truths, predictions):
            for mask in stack:  # empty, or a box; often the same
                left, top, width, height = generator.integers(0, 6, 4)
                mask[top : top + height, left : left + width] = True
        same = generator.random(len(truths)) < 0.4
        predictions[same] = truths[same]
        episodes.append(frames(truths, predictions))
        records.append(record(f"v{number % 3}", number // 3))
        j, f = (100 * float(np.mean(values)) for values in (episodes[-1].j, episodes[-1].f))
        rows.append({**records[-1], "J": j, "F": f})
    budget = Budget(records, episodes, found)
    assert budget.score.value == pytest.approx(video_score(rows), abs=1e-9)
    for parts in (budget.parts, budget.shares):
        assert sum(part.gain.value for part in parts.values()) == pytest.approx(100 - budget.score.value, abs=1e-9)
        assert all(part.gain.value >= 0 for part in parts.values())
    wrong = sum(int(((each.j < 1) | (each.f < 1)).sum()) for each in episodes)
    assert sum(part.frames for part in budget.parts.values()) == wrong


# ------------------------------------------------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark ``bench`` of four videos and a run ``run`` with its masks, of which one episode failed."""
    root = tmp_path_factory.mktemp("budget")
    write_video_benchmark(root / "bench", videos=4, frames=6)
    run(root / "bench", root / "run", "histogram", "--save-masks", "--limit-frames", 5)
    return root


def budget(*words: Any) -> None:
    error_budget.main([str(word) for word in words])


@pytest.mark.parametrize("protocol", ["native", "paper"])
def test_repaired_masks_score_what_is_said(world: Path, tmp_path: Path, protocol: str) -> None:
    """The masks of a run, with those of one cause replaced by the ground truth's, scored by ``icvos score``."""
    out = run(world / "bench", tmp_path / "run", "histogram", "--save-masks", "--protocol", protocol)
    bench, opened = load_benchmark(world / "bench"), open_run(out)
    budget = budget_of(opened)
    assert budget.score.value == pytest.approx(opened.score, abs=1e-9)
    named = [name for name, part in budget.parts.items() if part.frames]
    assert len(named) > 1
    for name in named:
        repaired = shutil.copytree(out / "masks", tmp_path / name)
        for episode, each in zip(bench.episodes, budget.frames):
            for index in np.flatnonzero(each.causes() == name):
                truth = bench.annotation(episode.video, episode.category, int(index))
                write_mask(repaired / episode.id / f"{index:05d}.png", truth)
        again = score(predictions=repaired, benchmark=bench, out=tmp_path / f"{name} scored", protocol=protocol)
        assert again["summary"]["J&F"] - opened.score == pytest.approx(budget.parts[name].gain.value, abs=1e-6), name


def test_a_run(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget(world / "run", "--json", tmp_path / "budget.json")
    printed = capsys.readouterr().out
    assert "histogram 1 on tiny" in printed and "points of all causes 100.00" in printed
    content = json.loads((tmp_path / "budget.json").read_text())
    (only,) = content["runs"]
    assert content["rules"] == CAUSES and only["episodes"] == 10 and only["frames"] == 50
    assert set(only["causes"]) == set(CAUSES) and set(only["shares"]) == set(SHARES)
    result = json.loads((world / "run/result.json").read_text())
    assert only["J&F"] == pytest.approx(result["summary"]["J&F"], abs=1e-9)
    assert sum(part["points"] for part in only["causes"].values()) == pytest.approx(100 - only["J&F"], abs=1e-9)


def test_a_method_is_run_and_told_frame_0(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(error_budget, "benchmark_folder", lambda name: world / "bench" if name == "demo" else name)
    words = ("--model", "histogram", "--set", "bins=8", "--limit-frames", 5, "--out", tmp_path / "run")
    budget(*words, "--benchmark", world / "bench", "--oracles", "--json", tmp_path / "budget.json", "-q")
    content = json.loads((tmp_path / "budget.json").read_text())
    assert [Path(each["run"]).name for each in content["runs"]] == ["run", "run-oracle-first-frame"]
    assert json.loads((tmp_path / "run/run.json").read_text())["model"]["options"]["bins"] == 8
    a, b = (each["causes"]["drift"]["points"] for each in content["runs"])
    assert content["B less A"]["drift"]["points"] == pytest.approx(b - a)
    assert "less A" in capsys.readouterr().out
    budget(world / "run", tmp_path / "run", tmp_path / "run-oracle-first-frame", "--benchmark", "demo")
    assert "C: histogram" in capsys.readouterr().out


def test_an_episode_that_failed(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = """
class Half(VideoModel):
    info = ModelInfo(name="half", version="1")
    segment_from_mask = None

    def segment(self, supports, video, *, seed):
        if video[0].mean() > LEVEL:
            raise ValueError("too bright")
        for frame in video:
            yield frame[..., 0] > 150
"""
    levels = sorted(load_benchmark(world / "bench").video(f"tiny__v{n}")[0].mean() for n in range(4))
    model = write_model(tmp_path, source.replace("LEVEL", repr(float(np.mean(levels[2:])))))
    words = ("--out", tmp_path / "run", "--benchmark", world / "bench", "--json", tmp_path / "b.json", "--oracles")
    budget("--model", model, *words)
    assert "frame 0's mask cannot replace" in capsys.readouterr().err  # there is no oracle of it
    (only,) = json.loads((tmp_path / "b.json").read_text())["runs"]
    failed = only["causes"]["failed"]
    assert failed["episodes"] in (2, 4) and failed["points"] == pytest.approx(10 * failed["episodes"])
    assert failed["frames"] == 6 * failed["episodes"]


def test_a_protocol_without_frame_0(tmp_path: Path) -> None:
    """Semi-supervised VOS by DAVIS' protocol: the first and the last frame are not scored."""
    root = write_video_benchmark(tmp_path / "vos", videos=2, draws=1)
    header = json.loads((root / "benchmark.json").read_text())
    write_json(root / "benchmark.json", {**header, "task": "vos", "protocol": "davis-2017"})
    write_manifest(root)
    opened = open_run(run(root, tmp_path / "run", "empty", "--save-masks"))
    budget = budget_of(opened)
    assert budget.score.value == pytest.approx(opened.score, abs=1e-9) and budget.counts == (12, 9)
    # All hide on frame 1, the first that is scored; frame 0 was told.
    assert [list(each.causes()) for each in budget.frames] == [["", *["not found again"] * 3]] * 3


def test_masks_elsewhere(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scored"
    made = run(world / "bench", tmp_path / "run", "empty", "--save-masks") / "masks"
    score(predictions=made, benchmark=world / "bench", out=out)
    with pytest.raises(IcvosError, match="no masks"):
        budget(out)
    budget(out, "--masks", made)
    printed = capsys.readouterr().out
    assert "missed" in printed and "ragged" not in printed


def test_bad_input_is_one_line(world: Path, tmp_path: Path) -> None:
    image = run(write_image_benchmark(tmp_path / "images"), tmp_path / "image run", "histogram", "--save-masks")
    plain = run(world / "bench", tmp_path / "plain", "histogram")
    other = run(write_video_benchmark(tmp_path / "two", videos=2), tmp_path / "other", "empty", "--save-masks")
    names = ("half", "moved", "gone", "cut", "broken", "odd")
    unfinished, moved, gone, cut, broken, odd = (shutil.copytree(world / "run", tmp_path / name) for name in names)
    lines = (cut / "episodes.jsonl").read_text().splitlines(keepends=True)
    (cut / "episodes.jsonl").write_text("".join(lines[:2]))
    with np.load(broken / "frames" / f"{sorted((broken / 'masks').iterdir())[0].name}.npz") as stored:
        np.savez(stored.zip.filename, J=stored["J"], F=np.full(len(stored["J"]), np.nan))
    about = json.loads((odd / "run.json").read_text())
    about["environment"]["benchmark_folder"] = 7
    write_json(odd / "run.json", about)
    (unfinished / "result.json").unlink()
    episode = sorted((moved / "masks").iterdir())[0]
    for path in episode.iterdir():
        write_mask(path, np.ones((40, 52), bool))
    (gone / "frames" / f"{episode.name}.npz").unlink()
    for words, said in (
        ([image], "few-shot images"),
        ([plain], "no masks; icvos evaluate --save-masks keeps them"),
        ([unfinished], "no result yet"),
        ([moved], "not the masks that were scored"),
        ([cut], "2 of 10 scored episodes have records"),
        ([broken], "F of a frame is not within 0 to 1"),
        ([odd], "the benchmark is not at 7"),
        ([world / "run", "--json", world / "run" / "result.json" / "x"], "File exists"),
        ([gone], "the values of its frames are gone"),
        ([world / "run", other], "not of the same episodes"),
        ([tmp_path / "nowhere"], "no run here"),
        ([world / "run", "--found", "0"], "more than 0, at most 1"),
        ([world / "run", "--found", "nan"], "more than 0, at most 1"),
        ([world / "run", "--set", "a=b"], "unknown option --set"),
        ([world / "run", "--oracles"], "add --model"),
        ([world / "run", world / "run", "--masks", tmp_path], "those of one run"),
        (["--model", "histogram"], "--model is given without --out"),
        ([], "no run is named"),
    ):
        with pytest.raises((IcvosError, OSError), match=said) as problem:
            budget(*words)
        assert "\n" not in str(problem.value)


def test_an_evaluation_that_cannot_begin_ends_the_script(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        budget("--model", "histogran", "--out", tmp_path / "run", "--benchmark", world / "bench")
    assert end.value.code == 2 and "did you mean 'histogram'" in capsys.readouterr().err


def test_training_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    size = SIZES["training"]
    targets = {target for source in size.clips for _, target in clips(size, SHAPES_SEED, source)}
    assert len(targets) == sum(size.clips.values()) == 40 and targets <= set(cast_of(size))
    small = replace(SIZES["tiny"], cast="training", pictures={"train2014": 4, "val2014": 140}, shots=1)
    monkeypatch.setitem(SIZES, "training", small)
    budget("--training-shapes", tmp_path / "shapes")
    opened = load_benchmark(tmp_path / "shapes/benchmarks/demo")
    assert str(opened.root) in capsys.readouterr().out
    assert len(opened.videos) == 5 and {episode.category_name for episode in opened.episodes} <= set(cast_of(small))
    budget("--model", "histogram", "--benchmark", opened.root, "--out", tmp_path / "run")
    assert "points of all causes 100.00" in capsys.readouterr().out
