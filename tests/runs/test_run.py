"""A run read from Python: its tables are those of its files, its frames those that episodes are the means of."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from board_runs import icvos, run
from run_models import write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos import open_run
from icvos.errors import RunError, UsageError
from icvos.masks import write_mask
from icvos.runs.run import TABLES

OLD = Path(__file__).resolve().parents[1] / "made_by_0_1_0"

# Draw 1 shows the larger disk.
FAILS = """
import numpy as np
from icvos import ModelInfo, VideoModel

class Fails(VideoModel):
    info = ModelInfo(name="fails", version="1")

    def segment(self, supports, video, *, seed):
        if supports[0].mask.sum() > 175:
            raise ValueError("the disk is too large")
        for frame in video:
            yield frame[..., 0] > 150
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on videos (one of them half failed), on images, and of label maps; and those that 0.1.0 wrote."""
    root = tmp_path_factory.mktemp("runs")
    videos, images = write_video_benchmark(root / "videos"), write_image_benchmark(root / "images")
    out = {"videos": run(videos, root / "histogram"), "images": run(images, root / "few-shot")}
    model = write_model(root, FAILS)
    assert icvos("evaluate", "--model", model, "--benchmark", videos, "--out", root / "failed") == 1
    generator = np.random.default_rng(0)
    for name in ("bear", "two dogs"):
        for index in range(6):
            truth = np.zeros((30, 40), np.uint8)
            truth[5:20, 3 + index : 15 + index], truth[10:25, 25:35] = 1, 2
            noise = generator.random(truth.shape) < 0.05
            write_mask(root / "truth" / name / f"{index:05d}.png", truth)
            write_mask(root / "masks" / name / f"{index:05d}.png", np.where(noise, 0, truth).astype(np.uint8))
    scored = root / "scored"
    assert icvos("score", root / "masks", "--ground-truth", root / "truth", "--out", scored) == 0
    return out | {"failed": root / "failed", "scored": scored, "old": OLD / "run", "old images": OLD / "run_few_shot"}


NAMES = ("videos", "failed", "images", "scored", "old", "old images")


def stored(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The result and the records as the files say."""
    lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads((folder / "result.json").read_text()), {r["id"]: r for r in map(json.loads, lines)}


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_those_of_the_files(runs: dict[str, Path], name: str) -> None:
    opened = open_run(runs[name])
    result, records = stored(runs[name])
    assert result["summary"].items() <= opened.summary.items()
    tables = {
        "category": opened.per_category,
        "source": opened.per_source,
        "video": opened.per_video,
        "draw": opened.per_draw,
        "fold": opened.per_fold,
    }
    assert set(tables) == set(TABLES[1:])
    for by, table in tables.items():
        rows = result.get(f"per_{by}")
        if not rows:
            with pytest.raises(UsageError, match=f"no figures by {by}; .*expected episode, "):
                table()
            continue
        read = table()
        assert list(read.index) == list(rows) and read.index.name == by
        for label, row in rows.items():
            for figure, value in row.items():
                if figure == "undrawn":
                    assert read.loc[label, figure] == value
                else:
                    assert (value is None and math.isnan(read.loc[label, figure])) or read.loc[label, figure] == value
    episodes = opened.episodes()
    assert list(episodes.index) == sorted(records)
    for label, record in records.items():
        for figure, value in record.items():
            if value is not None and figure not in ("id", "supports"):
                assert episodes.loc[label, figure] == value


def test_scores_of_episodes_give_the_summary(runs: dict[str, Path]) -> None:
    for name in ("videos", "failed"):
        opened = open_run(runs[name])
        mean = opened.episodes().groupby("draw")["J&F"].mean().mean()
        assert mean == pytest.approx(opened.summary["J&F"], abs=1e-9)
    episodes = open_run(runs["failed"]).episodes()
    assert (episodes.loc[episodes["draw"] == 1, "J&F"] == 0.0).all() and (episodes["J&F"] > 0).sum() == 4
    assert episodes["fps"].dtype == float and episodes["fps_amortised"].isna().all()
    images = open_run(runs["images"])
    assert images.episodes()["IoU"].mean() == pytest.approx(images.summary["mean_IoU"], abs=1e-9)


@pytest.mark.parametrize("name", ["videos", "scored", "old"])
def test_frames_are_what_episodes_are_the_means_of(runs: dict[str, Path], name: str) -> None:
    opened = open_run(runs[name])
    for label, record in opened.by_id.items():
        frames = opened.frames(label)
        assert len(frames) == record["frames"]
        for figure in ("J", "F"):
            assert frames[figure].mean() == pytest.approx(record[figure], abs=1e-9)
        assert frames["J&F"].tolist() == ((frames["J"] + frames["F"]) / 2).tolist()
        # DAVIS drops the first and the last of 6 frames.
        first = 1 if name == "scored" else 0
        assert frames.index.tolist() == list(range(first, first + len(frames)))


def test_frames_that_are_not_there(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no episode 'tiny__v0__1_d0' in this run; .*mean 'tiny__v0__1__d0'"):
        open_run(runs["videos"]).frames("tiny__v0__1_d0")
    with pytest.raises(UsageError, match="images have no frames"):
        open_run(runs["images"]).frames("q0__1__f0__d0")
    with pytest.raises(RunError, match="it failed: ValueError: the disk is too large"):
        open_run(runs["failed"]).frames("tiny__v0__1__d1")
    (record,) = (OLD / "board").rglob("*.json")
    with pytest.raises(RunError, match="the folder that the run was made in has them"):
        open_run(record).frames("tiny__v0__1__d0")
    shutil.copytree(runs["videos"], tmp_path / "run")
    np.savez(tmp_path / "run/frames/tiny__v0__1__d0.npz", J=np.zeros(3), F=np.zeros(4))
    with pytest.raises(RunError, match="values of frames cannot be read"):
        open_run(tmp_path / "run").frames("tiny__v0__1__d0")


def test_a_record_is_the_run_that_it_holds() -> None:
    (record,) = (OLD / "board").rglob("*.json")
    opened, folder = open_run(record), open_run(str(OLD / "run"))
    assert opened.checked == "masks re-scored" and opened.summary == folder.summary
    pandas.testing.assert_frame_equal(opened.per_video(), folder.per_video())


def test_what_is_no_run(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "masks.zip").write_bytes(b"PK")
    for path, words in (
        (tmp_path / "nothing", "no run here"),
        (tmp_path / "masks.zip", r"expected a run's folder, or a board's record \(.json\)"),
        (runs["videos"] / "result.json", f"expected the run's folder, {runs['videos']}"),
        (OLD, f"a folder of runs; in {OLD}; expected one of them, as {OLD}/run"),
    ):
        with pytest.raises(RunError, match=words):
            open_run(path)
    shutil.copytree(runs["videos"], tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match="no result yet"):
        open_run(tmp_path / "run")
