"""Semi-supervised VOS: what a method is told, what is scored, and that one score comes out whoever computes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import raw_trees
from board_runs import icvos
from run_models import write_model
from sam_tiny import tiny_sam2
from shared_data import shared
from tiny import write_video_benchmark

from icvos import ImageModel, ModelInfo, Prediction, Support, VideoModel, load_benchmark
from icvos.builders.vos.build import build_vos, prepare_vos
from icvos.demo.benchmarks import demo_raw
from icvos.errors import PredictionError, UsageError
from icvos.evaluation.runner import evaluate
from icvos.evaluation.score import score
from icvos.foundation.load import save_sam
from icvos.leaderboard.judge import judge
from icvos.leaderboard.table import build_tables
from icvos.manifest import write_manifest
from icvos.masks import read_mask, write_mask
from icvos.metrics import jf
from icvos.models.objects import without_overlap
from icvos.runs.records import RunFolder
from icvos.runs.run import Run
from icvos.sources import open_source

FRAMES, SIZE = 6, (raw_trees.H, raw_trees.W)
TRACKER = "baselines.sam2_tracker:Sam2Tracker"

# Each object is its box of frame 0, moved right by 2 pixels a frame; the noise hangs on which objects come together.
DRIFT = """
class Drift(VideoModel):
    info = ModelInfo(name="drift", version="1")

    def __init__(self, *, device="cpu", weights=None, how: str = "", marker: str = ""):
        super().__init__(device=device, weights=weights)
        self.how, self.marker = how, marker

    def segment(self, supports, video, *, seed):
        raise AssertionError

    def segment_objects(self, masks, video, *, seed):
        broken = self.how and len(masks) == 2
        generator = np.random.default_rng([seed, len(masks)])
        for index in range(len(video)):
            if broken and index == 3:
                getattr(self, self.how)()
            free = generator.random(video.size) > 0.1
            objects = [np.roll(mask, 2 * index, 1) & free for mask in masks]
            yield [mask & ~sum(objects[:number], np.zeros_like(mask)) for number, mask in enumerate(objects)]

    def raises(self): raise ValueError("half-way")
    def dies(self): os._exit(9)
    def hangs(self): time.sleep(600)
"""


def write_davis(root: Path, frames: int = FRAMES) -> Path:
    """Three sequences of one, two and three objects that drift right at their own pace, in DAVIS' layout."""
    for name, count in (("one", 1), ("two", 2), ("three", 3)):
        for index in range(frames):
            raw_trees.picture(root / f"JPEGImages/480p/{name}/{index:05d}.jpg", seed=index)
            ids = [(number, 12 * number - 10, 4 + number * index) for number in range(1, count + 1)]
            labels = raw_trees.boxes(*ids)
            labels[-1] = 255 if index % 2 else 0
            raw_trees.labels(root / f"Annotations/480p/{name}/{index:05d}.png", labels)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("one\ntwo\nthree\n")
    return root


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_davis(tmp_path_factory.mktemp("raw") / "davis")


@pytest.fixture(scope="module")
def bench(davis: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "b"
    build_vos(prepare_vos(open_source("davis", davis)), root, name="davis-of-tests")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated weights that take every object to be there."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    model = tiny_sam2()
    with torch.no_grad():
        model.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(100.0)
    path = tmp_path_factory.mktemp("weights") / "sam2.safetensors"
    save_sam(path, model)
    return path


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return RunFolder(folder, {}).records()


class Spy(VideoModel):
    """Keeps what it was told, and finds nothing."""

    info = ModelInfo(name="spy", version="1")
    told: list[list[np.ndarray]]

    def __init__(self, *, device: str = "cpu", weights: Any = None) -> None:
        super().__init__(device=device, weights=weights)
        self.told = []

    def segment(self, supports: Sequence[Support], video: Any, *, seed: int) -> Iterator[Any]:
        raise AssertionError

    def segment_objects(self, masks: Sequence[np.ndarray], video: Any, *, seed: int) -> Iterator[Any]:
        self.told.append(list(masks))
        for _ in video:
            yield [np.zeros(video.size, bool) for _ in masks]


# -------------------------------------------------------------------------------------------------- what it is told


def test_all_objects_of_a_video_are_told_in_one_pass(bench: Path, davis: Path, tmp_path: Path) -> None:
    model = Spy()
    result = evaluate(model, bench, out=tmp_path / "r")
    assert [len(masks) for masks in model.told] == [1, 3, 2]  # one, three, two
    first = read_mask(davis / "Annotations/480p/three/00000.png")
    for number, mask in enumerate(model.told[1], 1):
        assert np.array_equal(mask, first == number)
    assert result["protocol"]["name"] == "davis-2017" and result["protocol"]["oracle"] == "first-frame"
    assert result["oracle"] == {"name": "first-frame", "given_as": "prompt", "absent_on_frame_0": 0}
    # Objects of two videos have nothing in common but their number.
    assert result["per_category"] == {} and result["summary"]["J&F_by_category"] is None


def test_more_objects_than_the_runner_groups_episodes_are_still_one_pass(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "davis")
    for index in range(FRAMES):
        labels = np.zeros(SIZE, np.uint8)
        labels[:40, :60] = 1 + np.arange(40)[:, None] // 10 * 4 + np.arange(60) // 15
        raw_trees.labels(root / f"Annotations/480p/one/{index:05d}.png", labels)
    build_vos(prepare_vos(open_source("davis", root)), tmp_path / "b")
    model = Spy()
    evaluate(model, tmp_path / "b", out=tmp_path / "r")
    assert [len(masks) for masks in model.told] == [16, 3, 2]


def test_an_object_that_is_not_on_frame_0_is_empty_throughout(davis: Path, tmp_path: Path) -> None:
    build_vos(prepare_vos(open_source("davis", davis)), tmp_path / "b")
    for index in range(FRAMES):
        write_mask(tmp_path / f"b/videos/davis17__two/Annotations/1/{index:05d}.png", np.zeros(SIZE, bool))
    write_manifest(tmp_path / "b")
    model = Spy()
    evaluate(model, tmp_path / "b", out=tmp_path / "r")
    assert [len(masks) for masks in model.told] == [1, 3, 1]
    row = records(tmp_path / "r")["davis17__two__1__d0"]
    assert (row["J"], row["F"], row["absent_on_frame_0"]) == (100.0, 100.0, True)


def test_a_method_without_the_hook_sees_frame_0_as_its_support(bench: Path, tmp_path: Path) -> None:
    result = evaluate("support-mask", bench, out=tmp_path / "r", save_masks=True)
    assert result["oracle"]["given_as"] == "support" and result["summary"]["failed"] == 0
    # It pastes each object's mask on all frames: frame 0's masks again, which never overlap.
    opened = load_benchmark(bench)
    for number in (1, 2, 3):
        mask = read_mask(tmp_path / f"r/masks/davis17__three__{number}__d0/00003.png")
        assert np.array_equal(mask.astype(bool), opened.annotation("davis17__three", number, 0))


@pytest.mark.parametrize(
    ("scores", "keeps"),
    [
        ((None, None), 0),  # without scores the first keeps the pixel
        ((0.2, None), 0),  # and where one has none
        ((0.2, 0.9), 1),
        ((0.5, 0.5), 0),  # of equal ones the first
        ((0.9, -0.2), 0),
    ],
)
def test_where_objects_overlap_the_highest_score_keeps_the_pixel(
    scores: tuple[float | None, float | None], keeps: int
) -> None:
    masks = np.zeros((2, 3, 4), bool)
    masks[0, :, :3] = masks[1, :, 2:] = True  # both are on column 2
    made = [Prediction(m, score=None if s is None else np.full(m.shape, s)) for m, s in zip(masks, scores)]
    found = np.stack([prediction.to_numpy() for prediction in without_overlap(made)])
    assert found[0, :, :2].all() and found[1, :, 3].all()
    assert found[keeps, :, 2].all() and not found[1 - keeps, :, 2].any()


def test_the_default_hook_lets_none_overlap_another(bench: Path, tmp_path: Path) -> None:
    class Whole(VideoModel):
        info = ModelInfo(name="whole", version="1")

        def segment(self, supports: Sequence[Support], video: Any, *, seed: int) -> Iterator[Any]:
            for _ in video:
                yield np.ones(video.size, bool)

    evaluate(Whole(), bench, out=tmp_path / "r", save_masks=True)
    masks = [read_mask(tmp_path / f"r/masks/davis17__two__{number}__d0/00002.png") for number in (1, 2)]
    assert masks[0].all() and not masks[1].any()


class Remembers(VideoModel):
    """Keeps on itself what it tracks, and what it loads once."""

    info = ModelInfo(name="remembers", version="1")
    net: list[int] | None = None
    loads: ClassVar[list[int]] = []

    def segment(self, supports: Sequence[Support], video: Any, *, seed: int) -> Iterator[Any]:
        if self.net is None:
            self.net = [len(self.loads)]
            self.loads.append(1)
        self.mask = supports[0].mask
        for index in range(len(video)):
            yield np.roll(self.mask, 2 * index, 1)


class FitsOnItself(ImageModel):
    """Keeps on itself what it was shown."""

    info = ModelInfo(name="fits", version="1")

    def fit(self, supports: Sequence[Support], *, seed: int) -> Any:
        self.mask = supports[0].mask

    def predict(self, fitted: Any, image: np.ndarray) -> Any:
        return self.mask


def test_what_is_kept_on_the_model_is_of_one_object(bench: Path, tmp_path: Path) -> None:
    Remembers.loads.clear()
    masks = {}
    for model in (Remembers(), FitsOnItself()):
        out = tmp_path / model.info.name
        evaluate(model, bench, out=out, save_masks=True)
        masks[model.info.name] = [
            read_mask(out / f"masks/davis17__three__{number}__d0/00002.png") > 0 for number in (1, 2, 3)
        ]
    opened = load_benchmark(bench)
    for number, (moved, still) in enumerate(zip(*masks.values()), 1):
        first = opened.annotation("davis17__three", number, 0) == 1
        assert np.array_equal(moved, np.roll(first, 4, 1)) and np.array_equal(still, first)
    assert len(Remembers.loads) == 1


def test_objects_that_overlap_fail(bench: Path, tmp_path: Path) -> None:
    class Both(Spy):
        def segment_objects(self, masks: Sequence[np.ndarray], video: Any, *, seed: int) -> Iterator[Any]:
            for _ in video:
                yield [np.ones(video.size, bool) for _ in masks]

    result = evaluate(Both(), bench, out=tmp_path / "r")
    errors = {row["error"] for row in records(tmp_path / "r").values() if row.get("error")}
    assert result["summary"]["failed"] == 5 and len(errors) == 1
    assert "frame 0: two objects overlap" in errors.pop()


# ------------------------------------------------------------------------------------------------------ what is scored


def merged(run: Path, out: Path, bench: Path) -> Path:
    """Write a run's masks as label maps, SEQUENCE/FRAME.png as the data set numbers its frames."""
    opened = load_benchmark(bench)
    for episode in opened.episodes:
        record = opened.videos[episode.video]
        for path in sorted((run / "masks" / episode.id).iterdir()):
            target = out / record.source_name / path.name
            before = read_mask(target) if target.is_file() else np.zeros((record.height, record.width), np.uint8)
            mask = read_mask(path).astype(bool)
            assert not before[mask].any()
            raw_trees.labels(target, np.where(mask, episode.category, before))
    return out


def same_scores(one: Any, other: Any) -> None:
    """Compare all metrics of two results but those that one of them does not have."""
    for name, value in one["summary"].items():
        assert other["summary"][name] == pytest.approx(value, abs=1e-12), name


def check_scores(bench: Path, raw: Path, folder: Path, weights: Path, *, protocol: str) -> Any:
    """Evaluate the tracker, and score its masks in the two other ways."""
    result = evaluate(TRACKER, bench, out=folder / "r", weights={"sam2": weights}, save_masks=True)
    assert result["protocol"]["name"] == protocol and result["summary"]["failed"] == 0
    again = score(folder / "r/masks", benchmark=bench, out=folder / "s")
    parts = ("summary", "per_category", "per_source", "per_video", "per_draw")
    assert {part: again[part] for part in parts} == {part: result[part] for part in parts}
    assert Run.open(folder / "s").not_ranked == ()
    labels = merged(folder / "r", folder / "labels", bench)
    maps = score(labels, ground_truth=raw, out=folder / "t", protocol=protocol, sequences=",".join(_names(bench)))
    same_scores(result, maps)
    return result


def _names(bench: Path) -> list[str]:
    return sorted({video.source_name for video in load_benchmark(bench).videos.values()})


def test_three_ways_to_one_score(bench: Path, davis: Path, weights: Path, tmp_path: Path) -> None:
    result = check_scores(bench, davis / "Annotations/480p", tmp_path, weights, protocol="davis-2017")
    opened, values = load_benchmark(bench), []
    for episode in opened.episodes:
        frames = range(1, FRAMES - 1)  # the first and the last are dropped
        masks = [read_mask(tmp_path / f"r/masks/{episode.id}/{index:05d}.png").astype(bool) for index in frames]
        truths = [opened.annotation(episode.video, episode.category, index) for index in frames]
        values.append(np.mean([jf(*pair) for pair in zip(masks, truths, strict=True)]))
        assert len(list((tmp_path / f"r/masks/{episode.id}").iterdir())) == FRAMES
    assert result["summary"]["J&F"] == pytest.approx(100 * np.mean(values), abs=1e-9)
    assert 0 < result["summary"]["J&F"] < 100
    rows = records(tmp_path / "r")
    assert all(row["frames"] == FRAMES - 2 for row in rows.values())


def test_native_scores_every_frame(bench: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path, DRIFT)
    native = evaluate(model, bench, out=tmp_path / "n", protocol="native")
    official = evaluate(model, bench, out=tmp_path / "d")
    assert {row["frames"] for row in records(tmp_path / "n").values()} == {FRAMES}
    assert native["summary"]["J"] != official["summary"]["J"]
    values = Run.open(tmp_path / "d").frames("davis17__two__1__d0")
    assert list(values.index) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "paper"}, "'paper' does not fit this benchmark; expected native, davis-2017"),
        ({"protocol": "fss-native"}, "does not fit"),
        ({"shots": 2}, "goes without --shots 2|has no supports"),
        ({"limit_frames": 2}, "leaves none of davis17__one"),
    ],
)
def test_what_does_not_fit_is_refused(bench: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        evaluate(Spy(), bench, out=tmp_path / "r", **settings)
    assert not (tmp_path / "r").exists()


def test_masks_of_the_ends_need_not_be_there(bench: Path, tmp_path: Path) -> None:
    evaluate(write_model(tmp_path, DRIFT), bench, out=tmp_path / "r", save_masks=True)
    for folder in (tmp_path / "r/masks").iterdir():
        for index in (0, FRAMES - 1):
            (folder / f"{index:05d}.png").unlink()
    again = score(tmp_path / "r/masks", benchmark=bench, out=tmp_path / "s")
    assert again["summary"] == Run.open(tmp_path / "r").result["summary"]


def test_masks_made_elsewhere_may_not_overlap(bench: Path, tmp_path: Path) -> None:
    evaluate("empty", bench, out=tmp_path / "r", save_masks=True)
    for number, size in ((1, 5), (3, 6)):
        mask = np.zeros(SIZE, bool)
        mask[:size, :size] = True
        write_mask(tmp_path / f"r/masks/davis17__three__{number}__d0/00002.png", mask)
    with pytest.raises(PredictionError, match=r"mask overlaps another object's; in .*three__3__d0.00002.png"):
        score(tmp_path / "r/masks", benchmark=bench, out=tmp_path / "s")


# --------------------------------------------------------------------------------------------- always the same result


def test_resumed_sharded_in_workers_and_in_parts_it_is_one_result(bench: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path, DRIFT)
    evaluate(model, bench, out=tmp_path / "one")
    expected = (tmp_path / "one/result.json").read_bytes()
    evaluate(model, bench, out=tmp_path / "two", workers=2)
    assert (tmp_path / "two/result.json").read_bytes() == expected
    # One object of three is missing: all three are tracked again, that one is written.
    lines = (tmp_path / "one/episodes.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "one/episodes.jsonl").write_text("".join(line for line in lines if "three__2__d0" not in line))
    evaluate(model, bench, out=tmp_path / "one")
    assert (tmp_path / "one/result.json").read_bytes() == expected
    assert len((tmp_path / "one/episodes.jsonl").read_text().splitlines()) == len(lines)
    for index in (1, 2):
        words = ("evaluate", "--model", model, "--benchmark", bench, "--out", tmp_path / f"s{index}")
        assert icvos(*words, "--shard", f"{index}/2") == 0
    assert icvos("merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "all") == 0
    assert (tmp_path / "all/result.json").read_bytes() == expected
    # An object by itself is tracked beside those that it competes with.
    whole = records(tmp_path / "two")
    evaluate(model, bench, out=tmp_path / "part", episodes=["davis17__three__2__d0"], save_masks=True)
    ((name, row),) = records(tmp_path / "part").items()
    assert row["J"] == whole[name]["J"] and row["F"] == whole[name]["F"]
    assert [path.name for path in (tmp_path / "part/masks").iterdir()] == [name]


@pytest.mark.parametrize(
    ("how", "settings", "words"),
    [
        ("raises", {}, "half-way"),
        ("raises", {"workers": 2}, "half-way"),
        ("dies", {"workers": 2}, "status 9"),
        ("hangs", {"timeout": 1.5}, "Timeout"),
    ],
)
def test_a_pass_that_fails_is_a_failure_of_all_its_objects(
    bench: Path, tmp_path: Path, how: str, settings: dict[str, Any], words: str
) -> None:
    model = write_model(tmp_path, DRIFT)
    result = evaluate(model, bench, out=tmp_path / "r", options={"how": how}, **settings)
    rows = records(tmp_path / "r")
    failed = {name for name, row in rows.items() if row.get("error")}
    assert failed == {"davis17__two__1__d0", "davis17__two__2__d0"} and result["summary"]["failed"] == 2
    assert all(words in rows[name]["error"] for name in failed)


# ----------------------------------------------------------------------------------------------------- told, or refused


def test_a_tracker_is_refused_where_nothing_is_told(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_video_benchmark(tmp_path / "tiny", videos=1, frames=3)
    words = ("evaluate", "--model", TRACKER, "--benchmark", root, "--weights", f"sam2={weights}", "--out")
    assert icvos(*words, tmp_path / "r") == 2
    error = capsys.readouterr().err
    assert "'sam2-tracker' only tracks" in error and "--oracle first-frame" in error and error.count("\n") == 1
    assert not (tmp_path / "r").exists()
    assert icvos(*words, tmp_path / "r", "--oracle", "first-frame") == 0
    assert Run.open(tmp_path / "r").not_ranked == ("an oracle",)


def test_such_runs_are_ranked_among_themselves(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path, DRIFT)
    words = ("evaluate", "--model", model, "--model", "empty", "--benchmark", bench, "--out", tmp_path / "runs")
    assert icvos(*words) == 0
    out = capsys.readouterr().out
    assert "protocol davis-2017, first-frame" in out and "never ranked" not in out
    runs = [Run.open(tmp_path / "runs" / name) for name in ("drift", "empty")]
    (table,) = build_tables(runs, published=False)
    assert table.title.endswith("protocol davis-2017, frame 0's masks told")
    assert [row[0] for row in table.rows] == ["1", "2"] and [row[-1] for row in table.rows] == ["-", "-"]
    for run in runs:
        assert run.vos and run.not_ranked == () and judge(run.where, bench).checked == "self-reported"
    words = ("--board", tmp_path / "board", "--benchmark", bench)
    assert icvos("leaderboard", "add", tmp_path / "runs/drift", *words) == 0


def test_the_default_folder_does_not_repeat_it(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate("empty", bench)
    evaluate("empty", bench, protocol="native")
    assert sorted(p.name for p in (tmp_path / "runs/davis-of-tests").iterdir()) == ["empty", "empty-native"]


def test_an_oracle_run_that_poses_as_one_of_vos_is_refused(tmp_path: Path) -> None:
    root = write_video_benchmark(tmp_path / "tiny")
    evaluate("empty", root, out=tmp_path / "r", oracle="first-frame")
    run = json.loads((tmp_path / "r/run.json").read_text())
    run["benchmark"]["task"] = "vos"
    (tmp_path / "r/run.json").write_text(json.dumps(run))
    with pytest.raises(Exception, match="its task is semi-supervised VOS"):
        judge(tmp_path / "r", str(root))


def test_pictures_show_what_was_told(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path, DRIFT)
    assert icvos("evaluate", "--model", model, "--benchmark", bench, "--out", tmp_path / "r", "--save-masks") == 0
    assert icvos("report", tmp_path / "r", "--out", tmp_path / "page", "--each", 1) == 0
    assert "frame 0&#x27;s masks told" in (tmp_path / "page/index.html").read_text()
    assert icvos("show", tmp_path / "r") == 0
    assert "davis-2017, frame 0's masks told" in capsys.readouterr().out
    # The one object among those that it competes with, whose number decides the noise.
    words = ("show-episode", "davis17__three__2__d0", "--model", model, "--benchmark", bench, "--frame", 3)
    assert icvos(*words, "--out", tmp_path / "e.png") == 0
    opened, noise = load_benchmark(bench), np.random.default_rng([0, 3])
    free = [noise.random(SIZE) > 0.1 for _ in range(4)][3]
    first, second = (np.roll(opened.annotation("davis17__three", number, 0), 6, 1) & free for number in (1, 2))
    expected = 100 * float(jf(second & ~first, opened.annotation("davis17__three", 2, 3))[0])
    assert f"result, frame 3: J {expected:.1f}" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------- real and drawn raw data


def test_real_davis_scores_alike_in_three_ways(weights: Path, tmp_path: Path) -> None:
    raw = shared("real", "davis")
    prepared = prepare_vos(open_source("davis", raw), split="all", max_frames=5)
    build_vos(prepared, tmp_path / "b", link=False)
    opened = load_benchmark(tmp_path / "b")
    assert sorted(opened.videos) == ["davis17__car-shadow", "davis17__dog"]
    # The run has the first frames alone, and so has the ground truth to compare with.
    for name in ("car-shadow", "dog"):
        for index in range(5):
            source = raw / f"Annotations/480p/{name}/{index:05d}.png"
            target = tmp_path / f"truth/{name}/{index:05d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    result = check_scores(tmp_path / "b", tmp_path / "truth", tmp_path, weights, protocol="davis-2017")
    assert result["summary"]["episodes"] == 2


@pytest.mark.parametrize(("name", "protocol"), [("davis", "davis-2017"), ("mose", "native"), ("lvos", "native")])
def test_the_raw_data_of_the_demo(name: str, protocol: str, demo: Path, weights: Path, tmp_path: Path) -> None:
    source = open_source(name, demo / name)
    build_vos(prepare_vos(source, split="all", max_frames=6), tmp_path / "b")
    result = evaluate(TRACKER, tmp_path / "b", out=tmp_path / "r", weights={"sam2": weights}, save_masks=True)
    assert result["summary"]["failed"] == 0 and result["protocol"]["name"] == protocol
    again = score(tmp_path / "r/masks", benchmark=tmp_path / "b", out=tmp_path / "s")
    assert again["summary"] == result["summary"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_raw("tiny", 0, tmp_path_factory.mktemp("demo") / "raw")
