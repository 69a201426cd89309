"""The in-context benchmark from SA-Co/VEval: which pairs are built, what supports them, and what the folder says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees as raw
from board_runs import icvos

from icvos.benchmark import Benchmark, load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.ic_vos.plan import NothingLeft
from icvos.builders.saco_ic.build import build_saco, prepare_saco
from icvos.builders.saco_ic.plan import SacoRules
from icvos.data.draws import draw_supports
from icvos.errors import BenchmarkError, SourceError, UsageError
from icvos.files import read_csv
from icvos.leaderboard.consistency import check_name
from icvos.sources.saco import SacoVeval

RULES = SacoRules(draws=2, shots=3)
VIDEOS = "saco_sg__clip_"


def source_of(root: Path) -> SacoVeval:
    return SacoVeval(root, domain="smartglasses", split="test")


def built(root: Path, out: Path, rules: SacoRules = RULES, **settings: Any) -> Benchmark:
    build_saco(prepare_saco(source_of(root), rules=rules, workers=settings.get("workers", 1)), out, **settings)
    return load_benchmark(out)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw.saco(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def bench(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return built(tree, tmp_path_factory.mktemp("built") / "b")


def test_what_was_asked_and_has_a_support_in_another_video_is_built(bench: Benchmark) -> None:
    asked = {(e.video.removeprefix(VIDEOS), e.category_name): e.asked for e in bench.episodes}
    # "red ink" is in no video, "an old tie" in one alone, which supports where it is absent. Nobody asked for a dog of
    # clip 3, or a tie of clip 0: no episode does.
    assert asked == {
        ("0", "the cup"): "negative",
        ("0", "a dog"): "positive",
        ("1", "the cup"): "positive",
        ("1", "a dog"): "positive",
        ("2", "the cup"): "positive",
        ("2", "a dog"): "negative",
        ("3", "the cup"): "positive",
        ("3", "an old tie"): "negative",
    }
    assert bench.vocabulary.names == ("the cup", "a dog", "an old tie")
    assert {pair.complete for pair in bench.pairs.values()} == {"yes"}
    counts = bench.header["counts"]
    assert (counts["positive_pairs"], counts["negative_pairs"], counts["episodes"]) == (5, 3, 16)
    rows = read_csv(bench.root / "pairs.csv", ("source_category", "looser_name"))
    assert {(row["category_name"], row["source_category"], row["looser_name"]) for row in rows} == {
        ("the cup", "9", "cup"),
        ("a dog", "20", "dog"),
        ("an old tie", "41", "old tie"),
    }
    assert check_benchmark(bench.root) == []


def test_supports_are_frames_of_other_videos_with_all_things_of_the_phrase(bench: Benchmark, tree: Path) -> None:
    codes = {(video, phrase): [] for video, phrase, _ in raw.SACO_ASKED}
    for video, phrase, places in raw.SACO_MASKLETS:
        codes[video, phrase].append(places)
    ids = {"the cup": 9, "a dog": 20, "an old tie": 41}
    seen = 0
    for episode in bench.episodes:
        assert len(set(episode.supports)) == len(episode.supports) > 0
        for name, support in zip(episode.supports, bench.supports(episode, shots=3)):
            video, _, frame = name.rpartition("__")
            assert video != episode.video
            number: Any = int(video.removeprefix(VIDEOS))
            number = str(number) if number == 1 else number
            corners = [c for places in codes[number, ids[episode.category_name]] for c in places[int(frame) // 4]]
            expected = raw.boxes(*((1, y, x) for y, x in corners))
            assert np.array_equal(support.mask, expected == 1) and expected.any()
            stored = tree / f"media/saco_sg/JPEGImages_6fps/clip_{number}/{frame}.jpg"
            assert (bench.root / f"supports/images/{name}.jpg").read_bytes() == stored.read_bytes()
            seen += 1
    assert seen > 30


def test_the_truth_of_a_negative_pair_is_empty_on_every_frame(bench: Benchmark) -> None:
    for episode in bench.episodes:
        frames = range(bench.videos[episode.video].frames)
        visible = sum(bool(bench.annotation(episode.video, episode.category, frame).any()) for frame in frames)
        assert (visible > 0) == (episode.asked == "positive")
        assert bench.pairs[episode.video, episode.category].visible_frames == visible
    dogs = bench.annotation(f"{VIDEOS}0", 2, 0)
    assert np.array_equal(dogs, raw.boxes((1, 5, 5), (1, 10, 10)) == 1)


def test_draws_are_frozen(bench: Benchmark) -> None:
    """A function of the seed, the frames of the other videos, the video and the phrase's id in the data set's list."""
    names = [f"{VIDEOS}1__{frame:05d}" for frame in (4, 8, 12)]
    drawn = draw_supports(0, names, f"{VIDEOS}0", 20, 2, 3)
    episodes = [e for e in bench.episodes if e.video == f"{VIDEOS}0" and e.category_name == "a dog"]
    assert (
        [list(e.supports) for e in episodes]
        == drawn
        == [[f"{VIDEOS}1__{frame:05d}" for frame in order] for order in GOLDEN]
    )


GOLDEN = [(8, 12, 4), (12, 4, 8)]


def test_the_same_bytes_linked_and_of_another_order(bench: Benchmark, tree: Path, tmp_path: Path) -> None:
    assert built(tree, tmp_path / "linked", link=True).manifest_sha256 == bench.manifest_sha256
    elsewhere = raw.saco(tmp_path / "raw2")
    # Another order of what the annotation file lists is another file, with the same pairs, supports and masks.
    path = elsewhere / "annotation/saco_veval_smartglasses_test.json"
    data = json.loads(path.read_text())
    for name in ("videos", "annotations", "categories", "video_np_pairs"):
        random.Random(3).shuffle(data[name])
    path.write_text(json.dumps(data))
    other = built(elsewhere, tmp_path / "shuffled")
    for name in ("episodes.csv", "pairs.csv", "videos.csv", "frames.csv"):
        assert (other.root / name).read_bytes() == (bench.root / name).read_bytes()
    manifests = [(root / "manifest.csv").read_text().splitlines() for root in (other.root, bench.root)]
    (other_line,) = set(manifests[0]) - set(manifests[1])
    assert other_line.startswith("benchmark.json,")


def test_the_name_says_whether_the_rules_are_the_usual_ones(bench: Benchmark, tree: Path, tmp_path: Path) -> None:
    usual = prepare_saco(source_of(tree))
    assert (usual.name, usual.differs) == ("saco-ic-smartglasses-test", [])
    assert bench.name.startswith("custom:")
    assert bench.header["recipe"]["differs"] == ["draws is 2, and usually 5", "shots is 3, and usually 5"]
    assert check_name(bench.header) and not check_name({**bench.header, "name": "mine"})
    whole = built(tree, tmp_path / "whole", SacoRules())
    assert whole.name == "saco-ic-smartglasses-test" and check_name(whole.header) == []
    assert check_name({**whole.header, "recipe": {}})
    with pytest.raises(UsageError, match="build-data saco-ic"):
        build_saco(usual, tmp_path / "x", name="saco-ic-mine")
    # The file's hash is in the version, as nobody published how much there is.
    assert whole.version != bench.version


def edited(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = raw.saco(root) / "annotation/saco_veval_smartglasses_test.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return root


def test_a_phrase_that_is_shown_on_no_frame_is_asked_of_nobody(tmp_path: Path) -> None:
    def hide(data: dict[str, Any]) -> None:
        for name in ("segmentations", "bboxes", "areas"):
            data["annotations"][2][name] = [None] * raw.SACO_FRAMES

    prepared = prepare_saco(source_of(edited(tmp_path, hide)), rules=RULES)
    left_out = prepared.plan.left_out
    assert "saco_sg,clip_1,a dog: it has masklets, and is seen on no frame" in left_out
    # It is no second video of its phrase either; the negative pair has a support in the first.
    assert "saco_sg,clip_0,a dog: it is in no other video" in left_out
    assert "saco_sg,clip_3,red ink: it is in no video" in left_out
    assert prepared.plan.census.built == (3, 3)


def test_small_things_support_nobody(tree: Path) -> None:
    # A box of 10 x 10 is 3.3 % of the picture; two on one frame are more.
    prepared = prepare_saco(source_of(tree), rules=SacoRules(support_min_share=4.0))
    assert set(prepared.plan.candidates[1]) == {f"{VIDEOS}0__00000", f"{VIDEOS}0__00008"}
    assert prepared.plan.words.names == ("a dog",)
    assert "saco_sg,clip_0,a dog: no frame of another video shows 4 % of the picture of it" in prepared.plan.left_out
    with pytest.raises(NothingLeft, match="none of 10 pairs has a support in another video"):
        prepare_saco(source_of(tree), rules=SacoRules(support_min_share=50.0))
    with pytest.raises(UsageError, match="0 to 100 percent"):
        SacoRules(support_min_share=101)


def test_yt1b_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    root = raw.saco(tmp_path)
    (root / "media/saco_sg").rename(root / "media/saco_yt1b")
    path = root / "annotation/saco_veval_smartglasses_test.json"
    path.rename(path.with_name("saco_veval_yt1b_test.json"))
    source = SacoVeval(root, domain="yt1b", split="test")
    with pytest.raises(UsageError, match=r"may be shifted against the masks.*--allow-shifted"):
        prepare_saco(source)
    assert "may be shifted" in prepare_saco(source, allow_shifted=True).plan.notes[0]


def test_broken_codes_and_missing_frames_end_the_build(tmp_path: Path) -> None:
    def turn(data: dict[str, Any]) -> None:
        data["annotations"][0]["segmentations"][0]["size"] = [raw.W, raw.H]

    with pytest.raises(SourceError, match=r"annotation 11 is broken.*run lengths of size \[64, 48\]"):
        prepare_saco(source_of(edited(tmp_path / "a", turn)))
    root = raw.saco(tmp_path / "b")
    (root / "media/saco_sg/JPEGImages_6fps/clip_3/00004.jpg").unlink()
    with pytest.raises(SourceError, match="1 frame of clip_3 is missing"):
        prepare_saco(source_of(root))
    other = raw.saco(tmp_path / "c")
    raw.picture(other / "media/saco_sg/JPEGImages_6fps/clip_1/00004.jpg", (raw.H, raw.W + 2))
    with pytest.raises(SourceError, match=r"frame is 48x66 \(HxW\)"):
        built(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_table_that_says_another_answer_is_a_problem(tree: Path, tmp_path: Path) -> None:
    bench = built(tree, tmp_path / "b")
    path = bench.root / "episodes.csv"
    text = path.read_text()
    path.write_text(text.replace(",negative,", ",positive,", 1))
    assert any(
        "__d0 is not negative, and pairs.csv says 0 visible frames" in line for line in check_benchmark(bench.root)
    )
    path.write_text(text.replace(",negative,", ",maybe,", 1))
    with pytest.raises(BenchmarkError, match="asked is 'maybe'"):
        _ = load_benchmark(bench.root).episodes


def test_the_command_counts_before_it_promises(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("build-data", "saco-ic", "--saco", tree, "--out", tmp_path / "b", "--draws", 2, "--shots", 3)
    assert icvos(*words, "--dry-run") == 0
    dry = capsys.readouterr().out
    counts = (
        "asked: 4 phrases of 4 videos, 6 positive and 4 negative pairs",
        "phrases in two videos or more: 2 of 4",
        "with a support in another video: 5 positive and 3 negative pairs of 3 phrases, 16 episodes",
    )
    assert [line for line in dry.splitlines() if line in counts] == list(counts)
    assert "left out: saco_sg,clip_2,an old tie: it is in no other video" in dry
    assert "no published name: draws is 2, and usually 5" in dry and list(tmp_path.iterdir()) == []
    assert icvos(*words, "--name", "mine", "--left-out", tmp_path / "left.txt") == 0
    out = capsys.readouterr().out
    assert "4 videos, 16 frames, 5 positive and 3 negative pairs, 16 episodes" in out and "name mine" in out
    assert len((tmp_path / "left.txt").read_text().splitlines()) == 2
    assert icvos("build-data", "saco-ic", "--saco", tree, "--out", tmp_path / "c", "--domain", "sav") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "here is --domain smartglasses --split test" in error
