"""YouTube-FSVOS from YouTube-VIS: which videos are queries, what supports them, and what broken data say."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees
from board_runs import icvos

from icvos import score
from icvos.benchmark import Benchmark, load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.fsvos.build import PreparedFsvos, build_fsvos, prepare_fsvos
from icvos.builders.fsvos.plan import FsvosRules
from icvos.data.draws import draw_supports
from icvos.data.fsvos import EPISODE_LISTS, group_categories
from icvos.demo.benchmarks import demo_layout, open_benchmark
from icvos.errors import InputError, SourceError, UsageError
from icvos.files import escape_id
from icvos.images import letterbox_eroded, letterbox_image, letterbox_mask, letterbox_window
from icvos.leaderboard.consistency import check_name
from icvos.leaderboard.ranks import samples_of
from icvos.masks import decode_code, segmentation_code, write_mask
from icvos.metrics.summaries import Row, over_frames, over_pixels
from icvos.protocols import get_protocol
from icvos.runs.run import Run
from icvos.sources import open_source
from icvos.sources.ytvis import CATEGORIES_2019, YouTubeVis

Json = dict[str, Any]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo world in the layout of YouTube-VIS."""
    return demo_layout("ytvis", "tiny", 0, tmp_path_factory.mktemp("world"))


def prepared(root: Path, group: int = 1, episodes: str = "frozen", **rules: Any) -> PreparedFsvos:
    source = open_source("ytvis", root, crowds=True)
    assert isinstance(source, YouTubeVis)
    return prepare_fsvos(source, FsvosRules(group, episodes, **rules))


def tree(root: Path, lengths: Json, change: Callable[[Json], Any] = lambda content: None) -> Path:
    """Write videos of the categories a, b, … (ids 1, 2, …): of each as many as stand there, with so many frames."""
    names = list(lengths)
    content: Json = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "videos": [],
        "annotations": [],
    }
    for number, name in enumerate(names, 1):
        for length in lengths[name]:
            index = len(content["videos"]) + 1
            files = [f"v{index}/{5 * frame:05d}.jpg" for frame in range(length)]
            for frame, file in enumerate(files):
                raw_trees.picture(root / "train/JPEGImages" / file, (24, 32), seed=index + frame)
            square = raw_trees.boxes((1, 4, 4 + index % 8), size=(24, 32))
            content["videos"].append({"id": index, "height": 24, "width": 32, "file_names": files})
            content["annotations"].append(
                {
                    "id": index,
                    "video_id": index,
                    "category_id": number,
                    "segmentations": [raw_trees._codes(square)] * length,
                }
            )
    change(content)
    (root / "train").mkdir(parents=True, exist_ok=True)
    (root / "train/train.json").write_text(json.dumps(content))
    return root


# --------------------------------------------------------------------------------------------------------- the rules


def test_the_groups_are_every_fourth_category() -> None:
    ids = range(1, len(CATEGORIES_2019) + 1)
    groups = [group_categories(group, ids) for group in (1, 2, 3, 4)]
    assert groups[0] == [1, 5, 9, 13, 17, 21, 25, 29, 33, 37] and groups[3][-1] == 40
    assert sorted(number for group in groups for number in group) == list(ids)
    assert [CATEGORIES_2019[number - 1] for number in groups[0][:3]] == ["person", "skateboard", "snake"]
    with pytest.raises(UsageError, match="no category is in group 4"):
        group_categories(4, [1, 2, 3])


def test_a_list_draws_what_is_thrown_away_too() -> None:
    """Written out by hand: one stream, five frames after five videos, and a frame of the query that nobody uses."""
    frames = {3: {video: [0, 2, 4] for video in (9, 1, 4, 7)}, 7: {2: [0, 1], 5: [3], 8: [2, 6]}}
    stream = random.Random(11)
    expected = []
    for category, videos in ((3, [1, 4, 7, 9]), (7, [2, 5, 8])):
        drawn = stream.sample(videos, 2)
        supports = tuple((video, stream.sample(frames[category][video], 1)[0]) for video in drawn)
        for query in (video for video in videos if video not in drawn):
            stream.sample(frames[category][query], 1)
            expected.append((category, query, supports, 0))
    found = EPISODE_LISTS["danet"].draw(frames, seed=11, shots=2)
    assert [(e.category, e.query, e.supports, e.run) for e in found] == expected


@pytest.mark.parametrize(("name", "same"), [("tti-v1", True), ("tti-v2", False)])
def test_runs_of_a_list_are_one_stream(name: str, same: bool) -> None:
    frames = {1: {video: [0, 1, 2] for video in range(1, 9)}}
    episodes = list(EPISODE_LISTS[name].draw(frames, seed=2020, shots=5))
    assert [episode.run for episode in episodes] == [run for run in range(5) for _ in range(3)]
    sets = {(episode.run, episode.supports) for episode in episodes}
    assert (len(sets) == 5) is same and len({supports for _, supports in sets}) > 4
    assert all(episode.query not in dict(episode.supports) for episode in episodes)


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((720, 1280), (1, 239, 0, 425)),
        ((480, 854), (1, 238, 0, 425)),
        ((640, 360), (0, 241, 145, 135)),
        ((480, 640), (0, 241, 52, 321)),
        ((720, 960), (0, 240, 52, 321)),
    ],
)
def test_letterbox(shape: tuple[int, int], window: tuple[int, int, int, int]) -> None:
    size = (241, 425)
    rows, columns = letterbox_window(shape, size)
    top, height, left, width = window
    assert (rows.start, rows.stop, columns.start, columns.stop) == (top, top + height, left, left + width)
    whole = np.ones(shape, bool)
    inside = np.zeros(size, bool)
    inside[rows, columns] = True
    assert np.array_equal(letterbox_mask(whole, size), inside) and np.array_equal(letterbox_eroded(whole, size), inside)
    image = letterbox_image(np.full((*shape, 3), 200, np.uint8), size)
    assert image.shape == (241, 425, 3) and (image[inside] == 200).all() and not image[~inside].any()


@pytest.mark.parametrize(("width", "share"), [(2, 0.50), (3, 0.67), (4, 0.75), (8, 0.87), (20, 0.95)])
def test_the_eroded_mask_loses_a_pixel_of_every_width(width: int, share: float) -> None:
    """Of a bar's true area, wherever it stands: the figures that DANet's own code gave."""
    kept = []
    for left in range(600, 664, 2):
        bar = np.zeros((720, 1280), bool)
        bar[200:500, left : left + width] = True
        kept.append(letterbox_eroded(bar, (241, 425)).sum() / (bar.sum() * (425 / 1280) * (239 / 720)))
    assert abs(np.mean(kept) - share) < 0.02


# ------------------------------------------------------------------------------------------------------------ frozen


def test_frozen_episodes(drawn: Path, tmp_path: Path) -> None:
    plan = prepared(drawn)
    report = build_fsvos(plan, tmp_path / "B")
    assert check_benchmark(tmp_path / "B") == []
    bench = load_benchmark(tmp_path / "B")
    content = json.loads((drawn / "train/train.json").read_text())
    videos = {row["id"]: row for row in content["videos"]}
    shown: dict[tuple[str, int], list[Json]] = {}
    for row in content["annotations"]:
        if (row["category_id"] - 1) % 4 == 0:
            name = videos[row["video_id"]]["file_names"][0].split("/")[0]
            shown.setdefault((f"ytvis__{name}", row["category_id"]), []).append(row)
    assert set(bench.pairs) == set(shown)
    assert len(bench.episodes) == 5 * len(shown) == report.episodes
    # All frames of a video, with empty masks where nothing is annotated.
    for (name, category), rows in list(shown.items())[:4]:
        assert bench.videos[name].frames == videos[rows[0]["video_id"]]["length"]
        for frame in range(bench.videos[name].frames):
            expected = np.zeros((bench.videos[name].height, bench.videos[name].width), bool)
            for row in rows:
                code = (
                    segmentation_code(row["segmentations"][frame], expected.shape)
                    if row["segmentations"][frame]
                    else None
                )
                expected |= False if code is None else decode_code(code).astype(bool)
            assert np.array_equal(bench.annotation(name, category, frame), expected)
    assert any(pair.visible_frames < bench.videos[name].frames for (name, _), pair in bench.pairs.items())
    for episode in bench.episodes:
        of = [name.rpartition("__")[0] for name in episode.supports]
        assert episode.video not in of and len(set(of)) == len(of) > 0
        assert all((video, episode.category) in shown for video in of)
    episode = bench.episodes[0]
    pool = [video for video, category in shown if category == episode.category and video != episode.video]
    first = draw_supports(
        0, [video.removeprefix("ytvis__") for video in pool], episode.video[7:], episode.category, 1, 5
    )
    assert [name.split("__")[1] for name in episode.supports] == first[0]
    assert bench.header["protocol"] == "native" and open_benchmark(bench)[1]


def test_the_same_whatever_the_order_of_the_json(drawn: Path, tmp_path: Path) -> None:
    first = build_fsvos(prepared(drawn, 2), tmp_path / "B").manifest_sha256
    other = tmp_path / "other/ytvis"
    shutil.copytree(drawn, other)
    shutil.copy(drawn.parent / "world.json", other.parent)
    content = json.loads((other / "train/train.json").read_text())
    for name in ("videos", "annotations", "categories"):
        random.Random(5).shuffle(content[name])
    (other / "train/train.json").write_text(json.dumps(content))
    assert build_fsvos(prepared(other, 2), tmp_path / "B2", link=True).manifest_sha256 == first
    assert build_fsvos(prepared(drawn, 2, seed=1), tmp_path / "B3").manifest_sha256 != first


# -------------------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("name", ["danet", "tti-v2"])
def test_a_listed_benchmark_holds_the_annotated_frames_alone(drawn: Path, tmp_path: Path, name: str) -> None:
    plan = prepared(drawn, 3, name, shots=2, seed=7)
    build_fsvos(plan, tmp_path / "B")
    assert check_benchmark(tmp_path / "B") == []
    bench = load_benchmark(tmp_path / "B")
    assert all(pair.visible_frames == bench.videos[video].frames for (video, _), pair in bench.pairs.items())
    assert all(video.endswith(f"__{escape_id(bench.vocabulary.label(category))}") for video, category in bench.pairs)
    rule = EPISODE_LISTS[name]
    assert (bench.header["protocol"], bench.header["seed"], bench.header["shots"]) == (rule.protocol, 7, 2)
    assert bench.header["drawn"] == {"rule": name, "seed": 7, "by": rule.source}
    runs = [episode.run for episode in bench.episodes]
    assert runs == [None] * len(runs) if name == "danet" else set(runs) == {0, 1, 2, 3, 4}
    assert bench.header["recipe"]["name"] == f"youtube-fsvos-3-{name}-seed7" and bench.name.startswith("custom:")


def test_a_name_is_for_whole_data_and_usual_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "Y", {name: [1, 1] if number < 4 else [] for number, name in enumerate(CATEGORIES_2019)})
    assert prepared(root).differs == ["8 videos are in train.json, and the whole has 2,238"]
    monkeypatch.setattr("icvos.builders.fsvos.build.WHOLE", 8)
    report = build_fsvos(prepared(root), tmp_path / "B")
    header = load_benchmark(tmp_path / "B").header
    assert report.name == "youtube-fsvos-1" and not check_name(header)
    assert check_name({**header, "recipe": {**header["recipe"], "matches": False}})
    assert [line.split(" is ")[0] for line in prepared(root, seed=1, draws=2).differs] == [
        "its seed",
        "its number of draws",
    ]
    assert len(prepared(root, shots=3).differs) == 1
    with pytest.raises(UsageError, match="given by build-data youtube-fsvos"):
        build_fsvos(prepared(root), tmp_path / "C", name="youtube-fsvos-1")


# ---------------------------------------------------------------------------------------------------------- bad input


def test_categories_with_few_videos(tmp_path: Path) -> None:
    root = tree(tmp_path / "Y", {"a": [2], "b": [2], "c": [2], "d": [2], "e": [2, 2], "f": [2, 2, 2, 2]})
    plan = prepared(root)
    assert plan.plan.left_out == ["ytvis,v1,a: no other video shows it"]
    assert plan.plan.notes[0] == "fewer than 5 other videos of e (1): all there are support"
    assert {episode.category for episode in plan.plan.episodes} == {5}
    assert all(len(episode.supports) == 1 for episode in plan.plan.episodes)
    listed = prepared(root, 2, "danet", shots=3)
    assert listed.plan.left_out == ["ytvis,b: 1 video, of which 3 support: no query is left (fewer --shots leave one)"]
    assert len(listed.plan.episodes) == 1
    with pytest.raises(UsageError, match=r"group 1 has no episode; .*no query is left"):
        prepared(root, 1, "danet")


def nulls(content: Json) -> None:
    content["annotations"][1]["segmentations"] = [None, None]


def test_a_video_that_never_shows_its_category(tmp_path: Path) -> None:
    root = tree(tmp_path / "Y", {"a": [2, 2, 2]}, nulls)
    plan = prepared(root)
    assert plan.plan.left_out == ["ytvis,v2,a: annotated, and seen on no frame"]
    assert {episode.video for episode in plan.plan.episodes} == {"ytvis__v1", "ytvis__v3"}
    with pytest.raises(
        UsageError, match="category 1 is annotated on no frame of video 2, where the authors' code stops"
    ):
        prepared(root, 1, "danet", shots=1)


def empty(content: Json) -> None:
    for row in content["annotations"]:
        row["segmentations"] = [{"size": [24, 32], "counts": [24 * 32]}] * 2


def test_a_listed_support_without_a_pixel_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "Y", {"a": [2, 2, 2]}, empty)
    with pytest.raises(SourceError, match="shows no pixel of 'a'"):
        build_fsvos(prepared(root, 1, "danet", shots=1), tmp_path / "B")
    with pytest.raises(UsageError, match="group 1 has no episode"):
        prepared(root)


def crowd(content: Json) -> None:
    content["annotations"][0]["iscrowd"] = 1


def test_crowds_are_objects_and_leave_it_unsure(tmp_path: Path) -> None:
    root = tree(tmp_path / "Y", {"a": [2, 2]}, crowd)
    build_fsvos(prepared(root), tmp_path / "B")
    bench = load_benchmark(tmp_path / "B")
    assert {video: pair.complete for (video, _), pair in bench.pairs.items()} == {
        "ytvis__v1": "unsure",
        "ytvis__v2": "yes",
    }
    assert bench.annotation("ytvis__v1", 1, 0).sum() == 100


def gap(content: Json) -> None:
    for entry, field in ((content["categories"][0], "id"), *((each, "category_id") for each in content["annotations"])):
        entry[field] = 7


def test_broken_data_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(root: Path, *words: Any) -> str:
        assert icvos("build-data", "youtube-fsvos", "--ytvis", root, "--group", 1, "--out", tmp_path / "B", *words) == 2
        error = capsys.readouterr().err.strip()
        assert "Traceback" not in error and not (tmp_path / "B").exists()
        return error

    root = tree(tmp_path / "Y", {"a": [2, 2, 2]})
    (root / "train/JPEGImages/v2/00005.jpg").unlink()
    assert "1 frame of v2 is missing" in fails(root)
    raw_trees.picture(root / "train/JPEGImages/v2/00005.jpg", (24, 30))
    assert "frame is 24x30 (HxW)" in fails(root)
    shutil.rmtree(root / "train/JPEGImages/v2")
    (root / "train/JPEGImages/v2").write_text("a file in place of a folder")
    assert "frame v2/00000.jpg not found" in fails(root)
    shutil.rmtree(root / "train/JPEGImages")
    (root / "train/JPEGImages").write_text("")
    assert "not found" in fails(root)
    assert "categories' ids are not 1, 2" in fails(tree(tmp_path / "gap", {"a": [1, 1]}, gap))
    (tmp_path / "file").write_text("")
    assert "is a file" in fails(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "no YouTube-VIS here" in fails(tmp_path / "empty")
    assert "no category is in group 1" in fails(tree(tmp_path / "none", {}))


def one_folder(content: Json) -> None:
    content["videos"][1]["file_names"] = content["videos"][0]["file_names"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_folder, "two videos have their frames in 'v1'; in "),
        (lambda c: c["categories"][1].update(name="a"), "two categories have one name; in "),
        (lambda c: c["categories"][1].update(name="a\x1b[2J"), "'name' of category 2 is 'a\ufffd[2J'; in "),
        (
            lambda c: c["videos"][1]["file_names"].__setitem__(0, "../../v2/1.jpg"),
            "'file_names' of video 2 names '../../v2/1.jpg'; in ",
        ),
        (
            lambda c: c["annotations"][0]["segmentations"].__setitem__(0, [[0, 0, 10**5, 10**5] * 900]),
            "'segmentations' of annotation 1 is broken (v1/00000.jpg: outlines of more than 4,000,000 pixels)",
        ),
    ],
)
@pytest.mark.parametrize("episodes", ["frozen", "danet"])
def test_hostile_annotations_are_one_line(
    change: Callable[[Json], Any], words: str, episodes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "Y", {"a": [2, 2, 2], "b": [2]}, change)
    command = ("build-data", "youtube-fsvos", "--ytvis", root, "--group", 1, "--episodes", episodes, "--shots", 2)
    assert icvos(*command, "--out", tmp_path / "B") == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and error.startswith("icvos: ")
    assert not (tmp_path / "B").exists()


def test_what_another_build_left_is_not_taken_over(drawn: Path, tmp_path: Path) -> None:
    """A build is stopped, and another one is given its folder: not a file of the first is in it."""

    def stop(update: Any) -> None:
        if update.what == "supports":
            raise KeyboardInterrupt

    for number, (first, second) in enumerate((((2,), (1,)), ((1, "danet"), (1,)), ((1,), (1, "danet")))):
        whole = build_fsvos(prepared(drawn, *second, shots=2), tmp_path / f"whole{number}")
        out = tmp_path / f"B{number}"
        with pytest.raises(KeyboardInterrupt):
            build_fsvos(prepared(drawn, *first, shots=2), out, progress=stop)
        left = {path.name for path in (tmp_path / f"B{number}.partial/videos").iterdir()}
        assert left - set(load_benchmark(whole.out).videos) and not out.exists()
        report = build_fsvos(prepared(drawn, *second, shots=2), out)
        assert report.manifest_sha256 == whole.manifest_sha256 and check_benchmark(out) == []


def test_a_list_of_what_is_left_out_lies_beside_a_benchmark(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "B")
    for out, name in (
        ("B", "B/list.txt"),
        ("B", "B.partial/list.txt"),
        ("link", "B/list.txt"),
        ("B", "x/../B/list.txt"),
    ):
        words = ("--out", tmp_path / out, "--left-out", tmp_path / name)
        assert icvos("build-data", "youtube-fsvos", "--ytvis", drawn, "--group", 1, *words) == 2
        assert "--left-out names a file in the benchmark" in capsys.readouterr().err
        assert not (tmp_path / "B").exists() and not (tmp_path / "B.partial").exists()
    words = ("--out", tmp_path / "B", "--left-out", tmp_path / "B.txt")
    assert icvos("build-data", "youtube-fsvos", "--ytvis", drawn, "--group", 1, *words) == 0
    assert (tmp_path / "B.txt").is_file() and check_benchmark(tmp_path / "B") == []


def test_the_command_says_what_it_builds(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("build-data", "youtube-fsvos", "--ytvis", drawn, "--group", 1, "--episodes", "danet", "--shots", 2)
    assert icvos(*words, "--out", tmp_path / "B", "--dry-run") == 0
    assert "nothing is built" in capsys.readouterr().out and not (tmp_path / "B").exists()
    assert icvos(*words, "--out", tmp_path / "B") == 0
    said = capsys.readouterr().out
    assert "to build: " in said and f"--shots 2 --benchmark {tmp_path / 'B'}" in said
    assert "no published name: its categories are not those of YouTube-VIS 2019" in said


def test_a_run_column_that_is_no_number_is_refused(drawn: Path, tmp_path: Path) -> None:
    build_fsvos(prepared(drawn, 3, "tti-v1", shots=2), tmp_path / "B")
    path = tmp_path / "B/episodes.csv"
    path.write_text(path.read_text().replace(",0,0,", ",0,x,", 1))
    bench: Benchmark = load_benchmark(tmp_path / "B")
    with pytest.raises(InputError, match="run is 'x'"):
        _ = bench.episodes


def test_a_prediction_at_full_size_is_letterboxed(drawn: Path, tmp_path: Path) -> None:
    """Masks at full size come to the protocol's by nearest neighbour, and the record says so."""
    build_fsvos(prepared(drawn, 3, "tti-v1", shots=2), tmp_path / "B")
    bench = load_benchmark(tmp_path / "B")
    for episode in bench.episodes:
        for index in range(bench.videos[episode.video].frames):
            mask = bench.annotation(episode.video, episode.category, index)
            write_mask(tmp_path / "masks" / episode.id / f"{index:05d}.png", mask)
    result = score(tmp_path / "masks", benchmark=bench, out=tmp_path / "R", shots=2)
    assert result["summary"]["IoU"] == result["summary"]["Dice"] == 100.0
    assert result["protocol"]["resized_masks"] is True
    assert sorted(result["per_draw"]) == ["0", "1", "2", "3", "4"]  # the runs
    eroded = score(tmp_path / "masks", benchmark=bench, out=tmp_path / "E", shots=2, protocol="fsvos-danet")
    assert 50 < eroded["summary"]["J"] < 99


# ------------------------------------------------------------------------------------------------------------- figures


def rows_of(*records: Json) -> list[Row]:
    numbers = get_protocol("fsvos-tti").numbers
    about = [{"category_name": record["category_name"], "draw": record.get("run", 0)} for record in records]
    return [Row.of(record, numbers, **each) for record, each in zip(records, about)]


def test_long_videos_weigh_by_their_frames_and_categories_alike() -> None:
    records = [
        {"category_name": "a", "J": 90.0, "frames": 1},
        {"category_name": "a", "J": 30.0, "frames": 3},
        {"category_name": "b", "J": 10.0, "frames": 7},
    ]
    assert over_frames(rows_of(*records), ["J"])["J"] == (45.0 + 10.0) / 2
    # One that failed has no frames: it counts as the usual episode of its category, with 0.
    assert over_frames(rows_of(*records, {"category_name": "a", "J": 0.0}), ["J"])["J"] == (30.0 + 10.0) / 2


def test_pixels_are_pooled_by_category_and_run() -> None:
    records = [
        {"category_name": "a", "run": 0, "IoU": 50.0, "union": 10, "frames": 1},
        {"category_name": "a", "run": 0, "IoU": 100.0, "union": 30, "frames": 9},
        {"category_name": "b", "run": 0, "IoU": 20.0, "union": 5, "frames": 1},
        {"category_name": "a", "run": 1, "IoU": 0.0, "union": 0, "frames": 2},
    ]
    figures = over_pixels(rows_of(*records), ["IoU", "Dice"])
    assert figures["IoU"] == pytest.approx(((87.5 + 20) / 2 + 0) / 2)
    assert figures["Dice"] == pytest.approx(((100 * 70 / 75 + 100 * 2 / 6) / 2 + 0) / 2)


@pytest.mark.parametrize(("name", "score_name"), [("danet", "J&F"), ("tti-v2", "IoU")])
def test_a_run_is_ranked_by_what_its_code_prints(
    drawn: Path, tmp_path: Path, name: str, score_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command to the board: the default protocol, the interval of the same figure, printed rows apart."""
    build_fsvos(prepared(drawn, 3, name, shots=2), tmp_path / "B", name="drawn")
    words = ("--shots", 2, "--save-masks", "--out", tmp_path / "R")
    assert icvos("evaluate", "--model", "histogram", "--benchmark", tmp_path / "B", *words) == 0
    run = Run.open(tmp_path / "R")
    rule = EPISODE_LISTS[name]
    assert (run.protocol, run.rules.score, run.score) == (rule.protocol, score_name, run.summary[score_name])
    assert samples_of(run, replicates=2).value == pytest.approx(run.score, abs=1e-9)
    table = run.frames(next(iter(run.by_id)))
    assert score_name in table and table[score_name].between(0, 100).all()
    add = ("leaderboard", "add", tmp_path / "R", "--board", tmp_path / "board", "--benchmark", tmp_path / "B")
    assert icvos(*add) == 0 and icvos("leaderboard", "verify", tmp_path / "board") == 0
    capsys.readouterr()
    assert icvos("leaderboard", "show", "--board", tmp_path / "board", "--published") == 0
    said = capsys.readouterr().out
    measured, _, printed = said.partition("not measured here")
    assert f"protocol {rule.protocol}" in measured and "histogram" in measured
    assert "DANet w/o OL" in printed and "RePRI" in printed and "histogram" not in printed
