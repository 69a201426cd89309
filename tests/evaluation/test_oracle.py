"""``--oracle first-frame``: what a method is told, what it scores, and that no such run is taken for another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from board_runs import build, icvos, run
from run_models import RED, TOGETHER, write_model
from sam_tiny import tiny_sam2
from tiny import write_image_benchmark, write_video_benchmark

from baselines.sam2_memory import Sam2Memory
from icvos import ImageModel, ModelInfo, Support, VideoModel, load_benchmark
from icvos.errors import UsageError
from icvos.evaluation.runner import evaluate
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.load import save_sam
from icvos.foundation.tracker import Tracker
from icvos.images import nearest_resize, resize_image
from icvos.leaderboard.table import build_tables
from icvos.manifest import write_manifest
from icvos.masks import read_mask, write_mask
from icvos.metrics import jf
from icvos.models.lifts import lift
from icvos.runs.records import RunFolder, read_result, read_run
from icvos.runs.run import Run, find_runs

ORACLE = "first-frame"
FRAMES = 4


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos; the car of the first is not on frame 0."""
    root = write_video_benchmark(tmp_path_factory.mktemp("oracle") / "bench", videos=2, frames=FRAMES)
    write_mask(root / "videos/tiny__v0/Annotations/3/00000.png", np.zeros((40, 52), bool))
    write_manifest(root)
    return root


def present() -> Any:
    """A tiny SAM 2 that takes the object to be there on every frame, so that masks are not empty."""
    model = tiny_sam2()
    with torch.no_grad():
        model.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(100.0)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sam2.safetensors"
    save_sam(path, present())
    return path


class Spy(VideoModel):
    """Keeps what it was shown, and finds the whole frame."""

    info = ModelInfo(name="spy", version="1")
    shown: list[tuple[Sequence[Support], int]]

    def __init__(self, *, device: str = "cpu", weights: Any = None) -> None:
        super().__init__(device=device, weights=weights)
        self.shown = []

    def segment(self, supports: Sequence[Support], video: Any, *, seed: int) -> Any:
        self.shown.append((supports, seed))
        for _ in video:
            yield np.ones(video.size, bool)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return RunFolder(folder, {}).records()


def saved(folder: Path, episode: str) -> list[np.ndarray]:
    return [read_mask(folder / "masks" / episode / f"{i:05d}.png").astype(bool) for i in range(FRAMES)]


# -------------------------------------------------------------------------------------------------- what it is told


@pytest.mark.parametrize("protocol", ["native", "paper"])
def test_the_support_is_frame_0_and_its_ground_truth_once_a_pair(bench: Path, tmp_path: Path, protocol: str) -> None:
    model, opened = Spy(), load_benchmark(bench)
    evaluate(model, bench, out=tmp_path / "r", oracle=ORACLE, protocol=protocol)
    # Four persons' episodes of two videos: each video once, for both draws. The absent car is never asked for.
    assert len(model.shown) == 2 and model.shown[0][1] != model.shown[1][1]
    for (supports, _), video in zip(model.shown, ("tiny__v0", "tiny__v1"), strict=True):
        (support,) = supports
        image, mask = opened.video(video)[0], opened.annotation(video, 1, 0)
        if protocol == "paper":
            image, mask = resize_image(image, (512, 512)), nearest_resize(mask, (512, 512))
        assert np.array_equal(support.image, image) and np.array_equal(support.mask, mask) and support.ignore is None
    rows = records(tmp_path / "r")
    assert len(rows) == len(opened.episodes)
    for name in ("tiny__v0__1", "tiny__v1__1"):
        assert all(rows[f"{name}__d0"][metric] == rows[f"{name}__d1"][metric] for metric in ("J", "F", "seconds"))


def test_sam2_memory_scores_what_the_ground_truth_gives_it(bench: Path, weights: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"weights": {"sam2": weights}, "save_masks": True}
    result = evaluate("sam2-memory", bench, out=tmp_path / "told", oracle=ORACLE, **given)
    plain = evaluate("sam2-memory", bench, out=tmp_path / "plain", **given)
    opened, model = load_benchmark(bench), Sam2Memory(weights={"sam2": weights})
    means = []
    for video in ("tiny__v0", "tiny__v1"):
        clip = opened.video(video)
        told = Support(clip[0], opened.annotation(video, 1, 0))
        masks = [np.asarray(mask) for mask in model.segment([told], clip, seed=0)]
        for draw in (0, 1):
            found = saved(tmp_path / "told", f"{video}__1__d{draw}")
            assert all(np.array_equal(a, b) for a, b in zip(found, masks, strict=True)) and any(m.any() for m in found)
        means.append(np.mean([[float(v) for v in jf(m, opened.annotation(video, 1, i))] for i, m in enumerate(masks)]))
    person = result["per_category"]["person"]
    assert person["J&F"] == pytest.approx(100 * np.mean(means), abs=1e-9)
    assert plain["per_category"]["person"]["J&F"] != pytest.approx(person["J&F"], abs=0.1)
    assert result["protocol"]["oracle"] == ORACLE and plain["protocol"]["oracle"] is None and "oracle" not in plain
    assert result["oracle"] == {"name": ORACLE, "given_as": "support", "absent_on_frame_0": 2}


class Never(ImageModel):
    """Must not be asked."""

    info = ModelInfo(name="never", version="1")

    def fit(self, supports: Sequence[Support], *, seed: int) -> None:
        raise AssertionError

    def predict(self, fitted: None, image: np.ndarray) -> np.ndarray:
        raise AssertionError


@pytest.mark.parametrize("mode", ["", "first-found"])
def test_a_lift_prompts_its_tracker_with_the_ground_truth(
    bench: Path, weights: Path, tmp_path: Path, mode: str
) -> None:
    model = lift(Never, mode)(weights={"tracker": weights})
    result = evaluate(model, bench, out=tmp_path / "r", oracle=ORACLE, save_masks=True)
    assert result["summary"]["failed"] == 0 and result["oracle"]["given_as"] == "prompt"
    opened = load_benchmark(bench)
    clip = opened.video("tiny__v1")
    with torch.no_grad():
        first = torch.from_numpy(opened.annotation("tiny__v1", 1, 0))[None].float()
        tracked = list(Tracker(present()).track(clip, Prompt(masks=first), num_frames=FRAMES))
    masks = saved(tmp_path / "r", "tiny__v1__1__d0")
    assert any(mask.any() for mask in masks)
    for found, frame in zip(masks, tracked, strict=True):
        assert np.array_equal(found, frame.masks(clip.size)[0].numpy())


# ------------------------------------------------------------------------------------------------ nothing to be told


def test_nothing_on_frame_0_counts_as_empty_and_is_counted(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path, RED)
    words = ("--model", model, "--benchmark", bench, "--out", tmp_path / "r", "--oracle", ORACLE, "--save-masks")
    assert icvos("evaluate", *words) == 0
    out = capsys.readouterr().out
    assert "oracle first-frame" in out and "2 of 6 episodes have nothing on frame 0 and count as empty" in out
    opened, rows = load_benchmark(bench), records(tmp_path / "r")
    visible = [bool(opened.annotation("tiny__v0", 3, index).any()) for index in range(FRAMES)]
    assert visible == [False, False, True, True]
    for draw in (0, 1):
        row = rows[f"tiny__v0__3__d{draw}"]
        assert not any(mask.any() for mask in saved(tmp_path / "r", row["id"]))
        assert row["absent_on_frame_0"] and row["J"] == row["F"] == 50.0 and row["J_visible"] == 0.0
        assert row["seconds"] is None and row["fps"] is None
    assert not rows["tiny__v0__1__d0"]["absent_on_frame_0"]
    # What no method computed is not in its speed, and one pass for all draws is shared out to them.
    good = [row for row in rows.values() if row["seconds"]]
    assert [row["category"] for row in good if row["video"] == "tiny__v0"] == [1, 1]
    first = good[0]
    assert first["fps"] == pytest.approx(first["frames"] / (2 * first["seconds"]))
    run = read_run(tmp_path / "r")
    assert run["seconds"] == pytest.approx(sum(row["frames"] / row["fps"] for row in good) / 2)


# --------------------------------------------------------------------------------------- never mixed, always the same


def test_with_and_without_are_two_runs(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path, RED)
    words = ("evaluate", "--model", model, "--benchmark", bench)
    assert icvos(*words, "--out", tmp_path / "r", "--oracle", ORACLE) == 0
    assert icvos(*words, "--out", tmp_path / "plain") == 0
    before = [(tmp_path / name / "episodes.jsonl").read_bytes() for name in ("r", "plain")]
    for more in (("--out", tmp_path / "r"), ("--out", tmp_path / "plain", "--oracle", ORACLE)):
        capsys.readouterr()
        assert icvos(*words, *more) == 2
        error = capsys.readouterr().err
        assert "another run is there (its oracle is" in error and error.count("\n") == 1
    assert before == [(tmp_path / name / "episodes.jsonl").read_bytes() for name in ("r", "plain")]


def test_the_default_folder_says_it(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate("empty", bench, oracle=ORACLE)
    evaluate("empty", bench)
    assert sorted(path.name for path in (tmp_path / "runs/tiny").iterdir()) == ["empty", "empty-oracle-first-frame"]


@pytest.mark.parametrize("source", [RED, TOGETHER], ids=["one by one", "together"])
def test_resumed_sharded_and_in_workers_it_is_one_result(bench: Path, tmp_path: Path, source: str) -> None:
    model = write_model(tmp_path, source)
    evaluate(model, bench, out=tmp_path / "one", oracle=ORACLE)
    expected = (tmp_path / "one/result.json").read_bytes()
    # A run that lost its second and last records is continued; only they are computed.
    lines = (tmp_path / "one/episodes.jsonl").read_text().splitlines(keepends=True)
    evaluate(model, bench, out=tmp_path / "again", oracle=ORACLE, limit_episodes=1)
    key = json.loads((tmp_path / "one/run.json").read_text())
    (tmp_path / "again/run.json").write_text(json.dumps(key))
    (tmp_path / "again/episodes.jsonl").write_text("".join(lines[:1] + lines[2:-1]))
    evaluate(model, bench, out=tmp_path / "again", oracle=ORACLE)
    assert (tmp_path / "again/result.json").read_bytes() == expected
    for index in (1, 2):
        assert (
            icvos(
                "evaluate",
                "--model",
                model,
                "--benchmark",
                bench,
                "--out",
                tmp_path / f"s{index}",
                "--oracle",
                ORACLE,
                "--shard",
                f"{index}/2",
            )
            == 0
        )
    assert icvos("merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "all") == 0
    assert (tmp_path / "all/result.json").read_bytes() == expected


def test_workers_are_told_the_same(bench: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path, RED)
    evaluate(model, bench, out=tmp_path / "one", oracle=ORACLE)
    evaluate(model, bench, out=tmp_path / "two", oracle=ORACLE, workers=2)
    assert (tmp_path / "one/result.json").read_bytes() == (tmp_path / "two/result.json").read_bytes()


def test_a_failure_is_that_of_every_draw(bench: Path, tmp_path: Path) -> None:
    class Fails(Spy):
        def segment(self, supports: Sequence[Support], video: Any, *, seed: int) -> Any:
            raise RuntimeError("no idea")

    result = evaluate(Fails(), bench, out=tmp_path / "r", oracle=ORACLE)
    assert result["summary"]["failed"] == 4  # the absent car needs no method
    assert all("no idea" in row["error"] for row in records(tmp_path / "r").values() if row["category"] == 1)


# -------------------------------------------------------------------------------------------- reports and leaderboards


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    demo = build(root) / "demo"
    run(demo, root / "runs/plain", "histogram")
    run(demo, root / "runs/told", "histogram", "--oracle", ORACLE, "--save-masks")
    patch.undo()
    return root


def test_it_stands_apart_without_a_rank(board: Path) -> None:
    entries, problems = find_runs(board / "runs")
    assert not problems
    tables = build_tables(entries, published=False)
    assert [len(table.rows) for table in tables] == [1, 1]
    told = next(table for table in tables if table.entries[0].oracle)
    assert "oracle first-frame: told its ground truth, never ranked" in told.title
    assert told.rows[0][0] == "-" and told.rows[0][-1].endswith("an oracle")  # type: ignore[union-attr]
    plain = next(table for table in tables if not table.entries[0].oracle)
    assert plain.rows[0][0] == "1" and "oracle" not in plain.title


def test_no_board_and_no_submission_takes_it(board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("submit", "pack", board / "runs/told", "--out", tmp_path / "s.zip"),
        ("submit", "check", board / "runs/told"),
        ("leaderboard", "add", board / "runs/told", "--board", tmp_path / "b"),
    ):
        capsys.readouterr()
        assert icvos(*words) == 2
        error = capsys.readouterr().err
        assert "an oracle takes no rank" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_hiding_it_in_one_of_the_files_is_found(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, part in (("result.json", "protocol"), ("run.json", "key")):
        place = tmp_path / name.partition(".")[0]
        place.mkdir()
        for file in ("run.json", "result.json", "episodes.jsonl"):
            text = (board / "runs/told" / file).read_text()
            if file == name:
                content = json.loads(text)
                content[part]["oracle"] = None
                text = json.dumps(content)
            (place / file).write_text(text)
        assert Run.open(place).not_ranked == ("an oracle",)
        assert icvos("submit", "check", place, "--benchmark", board / "world/benchmarks/demo") == 2
        assert "the oracle is said in several places" in capsys.readouterr().err


def test_reports_say_it_and_show_frame_0(board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("report", board / "runs/told", "--out", tmp_path / "r", "--each", 1) == 0
    assert "oracle first-frame: told its ground truth" in (tmp_path / "r/index.html").read_text()
    capsys.readouterr()
    assert icvos("compare", board / "runs/plain", board / "runs/told") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "oracle first-frame" in out.partition("B:")[2] and "oracle" not in out.partition("B:")[0]
    assert icvos("leaderboard", "render", tmp_path / "page.html", "--runs", board / "runs", "--no-published") == 0
    assert "never ranked" in (tmp_path / "page.html").read_text()

    from icvos.report.run import open_run

    opened = open_run(board / "runs/told")
    assert opened.benchmark is not None
    episode = opened.benchmark.episodes[0]
    truth = opened.benchmark.annotation(episode.video, episode.category, 0)
    shown = opened.supports(episode)
    assert len(shown) == int(truth.any())
    for image, mask in shown:
        assert np.array_equal(image, opened.benchmark.video(episode.video)[0]) and np.array_equal(mask, truth)
    assert read_result(board / "runs/told")["protocol"]["oracle"] == ORACLE


# --------------------------------------------------------------------------------------------------------- bad usage


def test_wrong_combinations_are_answered_before_anything_runs(bench: Path, weights: Path, tmp_path: Path) -> None:
    images = write_image_benchmark(tmp_path / "images")
    cases: list[tuple[Any, Path, dict[str, Any], str]] = [
        (Spy(), bench, {"oracle": "first-frme"}, "no oracle 'first-frme'; did you mean 'first-frame'"),
        (Spy(), bench, {"oracle": ORACLE, "shots": 2}, "goes without --shots 2"),
        ("histogram", images, {"oracle": ORACLE}, "expected a video benchmark"),
    ]
    for mode in ("every=2", "best"):
        model = lift(Never, mode)(weights={"tracker": weights})
        cases.append((model, bench, {"oracle": ORACLE}, r"use --model never\+sam2 with --oracle"))
    for model, benchmark, options, words in cases:
        with pytest.raises(UsageError, match=words):
            evaluate(model, benchmark, out=tmp_path / "r", **options)
    assert not (tmp_path / "r").exists()


def test_a_method_that_says_it_uses_the_truth_stands_apart(bench: Path, tmp_path: Path) -> None:
    class Told(Spy):
        info = ModelInfo(name="told", version="1", uses=("first-frame",))

    result = evaluate(Told(), bench, out=tmp_path / "told")
    evaluate(Spy(), bench, out=tmp_path / "spy")
    told, spy = Run.open(tmp_path / "told"), Run.open(tmp_path / "spy")
    assert told.oracle == ORACLE and told.not_ranked == ("an oracle",) and spy.not_ranked == ()
    assert told.run["model"]["uses"] == [ORACLE] and "oracle" not in result
    assert len(build_tables([told, spy], published=False)) == 2
