"""Protocols of other benchmarks' own scorers (mosev2, lvos-v2, vost), runs of absence, all protocols at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from board_runs import icvos, verify
from tiny import write_image_benchmark, write_video_benchmark

from icvos.errors import RunError, UsageError
from icvos.files import read_json, write_json
from icvos.manifest import write_manifest
from icvos.masks import write_mask
from icvos.metrics import VideoScore
from icvos.metrics.formulas import mean_of_runs, standard_deviation
from icvos.metrics.frames import jf
from icvos.protocols import PROTOCOLS, get_protocol
from icvos.runs.run import Run

SIZE = (48, 64)
Frames = list[np.ndarray]


def shape(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """Label map of boxes (id, top, bottom, left, right)."""
    out = np.zeros(SIZE, np.uint8)
    for number, top, bottom, left, right in boxes:
        out[top:bottom, left:right] = number
    return out


def write(root: Path, name: str, frames: Frames, first: int = 0, step: int = 1) -> Path:
    for index, mask in enumerate(frames):
        write_mask(root / name / f"{first + step * index:08d}.png", mask)
    return root


def scored(root: Path, protocol: str, *words: object) -> Run:
    out = root / f"run-{protocol}-{len(list(root.iterdir()))}"
    masks = ("score", root / "p", "--ground-truth", root / "gt", "--protocol", protocol, "--out", out, *words)
    assert icvos(*masks) == 0
    return Run.open(out)


# ------------------------------------------------------------------------------------------------ runs of absence


@pytest.mark.parametrize(
    ("visible", "gone", "back"),
    [
        ([1, 1, 0, 0, 1, 0, 1, 1], [(2, 4), (5, 6)], [(4, 5), (6, 8)]),
        ([0, 0, 1, 1, 0], [(0, 2), (4, 5)], [(2, 4)]),
        ([0, 0, 0], [(0, 3)], []),
        ([1, 1, 1], [], []),
        ([1], [], []),
        ([], [], []),
    ],
)
def test_a_run_counts_once_whatever_its_length(
    visible: list[int], gone: list[tuple[int, int]], back: list[tuple[int, int]]
) -> None:
    j, f = np.random.default_rng(1).random((2, len(visible)))
    score = VideoScore()
    for index, there in enumerate(visible):
        score.add(j[index], f[index], visible=bool(there), absent_correct=False)
    summary = score.summary()
    both = (j + f) / 2
    for name, runs in (("disappear", gone), ("reappear", back)):
        wanted = 100 * np.mean([both[a:b].mean() for a, b in runs]) if runs else None
        assert summary[name] == (None if wanted is None else pytest.approx(wanted, abs=1e-12)), name
    # MOSEv2 does not look at what went before the first scored frame: a run that begins there has not left.
    later = [(a, b) for a, b in gone if a]
    wanted = np.mean([both[a:b].mean() for a, b in later]) if later else None
    flags = np.array(visible, bool)
    assert mean_of_runs(both, flags, seen=False) == (None if wanted is None else pytest.approx(wanted, abs=1e-12))


def test_every_video_result_has_them(tmp_path: Path) -> None:
    benchmark = write_video_benchmark(tmp_path / "b")
    assert icvos("evaluate", "--model", "full", "--benchmark", benchmark, "--out", tmp_path / "run") == 0
    run = Run.open(tmp_path / "run")
    # The person hides on frame 1 alone, and a full prediction has no boundary: J 0 and F 1 there. The car hides too.
    assert run.summary["disappear"] == 50
    assert 0 < run.summary["reappear"] < 50
    assert all(row["disappear"] == 50 for row in run.result["per_video"].values())


# ------------------------------------------------------------------------------------------------ mosev2


@pytest.fixture
def herd(tmp_path: Path) -> Path:
    """Object 1 leaves on frames 3 and 4; object 2 comes on frame 2; the predictions are shifted, 1 has a ghost."""
    truth, predicted = [], []
    for index in range(8):
        there = [] if index in (3, 4) else [(1, 5, 25, 4 + index, 24 + index)]
        found = [(1, 40, 42, 50, 52)] if index == 4 else [(1, 6, 25, 5 + index, 26 + index)] if there else []
        if index >= 2:
            there.append((2, 30, 40, 10, 30))
            found.append((2, 30, 40, 10, 29))
        truth.append(shape(*there))
        predicted.append(shape(*found))
    write(tmp_path / "gt", "cow", truth)
    write(tmp_path / "p", "cow", predicted)
    return tmp_path


def test_mosev2_by_hand(herd: Path) -> None:
    run = scored(herd, "mosev2")
    first, second = (run.by_id[f"cow__{number}"] for number in (1, 2))
    # Frames 1 to 6 of each object: an object of 20x20 at 48x64 has a tolerance of 0.64, which is one pixel.
    assert first["frames"] == second["frames"] == 6
    iou = (19 * 19 + 1) / (20 * 20 + 19 * 21 - 19 * 19 + 1)
    assert first["J"] == pytest.approx(100 * (4 * iou + 1 + 1 / 5) / 6, abs=1e-9)
    # One run of two frames: nothing predicted, then four wrong pixels, where F_dot is 0.
    assert first["disappear"] == pytest.approx(100 * ((1 + 1) + (1 / 5 + 0)) / 4, abs=1e-9)
    assert second["disappear"] is None  # it is absent from the first scored frame on, and has not left
    assert second["reappear"] == pytest.approx((100 * (191 / 201) + second_f_dot(run)) / 2, abs=1e-9)
    summary = run.summary
    assert summary["J"] == pytest.approx((first["J"] + second["J"]) / 2, abs=1e-12)
    assert summary["disappear"] == first["disappear"]
    assert summary["J&F_dot"] == run.score == pytest.approx((summary["J"] + summary["F_dot"]) / 2, abs=1e-12)
    assert summary["F"] <= scored(herd, "native").summary["F"]


def second_f_dot(run: Run) -> float:
    table = run.frames("cow__2")
    assert list(table.columns) == ["J", "F", "F_dot", "J&F_dot"]
    return float(table["F_dot"].loc[3])


def test_a_missing_file_never_shifts_frames(herd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = scored(herd, "mosev2")
    # The last frame is not scored: its mask may be missing. MOSEv2's own scorer takes the k-th file for frame k.
    (herd / "p/cow/00000007.png").unlink()
    assert scored(herd, "mosev2").summary == whole.summary
    (herd / "p/cow/00000003.png").unlink()
    assert icvos("score", herd / "p", "--ground-truth", herd / "gt", "--protocol", "mosev2", "--out", herd / "x") == 2
    assert "1 of 6 frames are missing: 00000003" in capsys.readouterr().err


def test_other_ids_are_background_where_the_public_scorer_has_it_so(
    herd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: scored(herd, name).summary for name in ("mosev2", "vost")}
    stray = shape((1, 6, 25, 6, 27), (9, 44, 48, 0, 9))
    write_mask(herd / "p/cow/00000001.png", stray)
    assert {name: scored(herd, name).summary for name in ("mosev2", "vost")} == before
    assert icvos("score", herd / "p", "--ground-truth", herd / "gt", "--protocol", "native", "--out", herd / "x") == 2
    assert "mask holds the id 9" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ lvos-v2


@pytest.fixture
def lvos(tmp_path: Path) -> Path:
    """LVOS' numbers of frames; of three videos one is unseen; object 2 of ``a`` is told late and ends early."""
    for video, shift in (("a", 1), ("b", 3), ("c", 6)):
        truth, predicted = [], []
        for index in range(9):
            boxes = [(1, 5, 25, 4, 24)]
            if video == "a" and 2 <= index < 8:
                boxes.append((2, 30, 44, 30, 50))
            truth.append(shape(*boxes))
            predicted.append(shape(*((n, t + shift * (index % 3), b, le, r) for n, t, b, le, r in boxes)))
        write(tmp_path / "gt", video, truth, first=1, step=5)
        write(tmp_path / "p", video, predicted, first=1, step=5)
    (tmp_path / "unseen.txt").write_text("c\nelsewhere\n")
    return tmp_path


def test_lvos_is_the_mean_of_seen_and_unseen(lvos: Path) -> None:
    run = scored(lvos, "lvos-v2", "--unseen", lvos / "unseen.txt")
    rows = run.by_id
    seen = [rows[name] for name in ("a__1", "a__2", "b__1")]
    summary = run.summary
    for name in ("J", "F", "V"):
        assert summary[f"{name}_seen"] == pytest.approx(np.mean([row[name] for row in seen]), abs=1e-9)
        assert summary[f"{name}_unseen"] == rows["c__1"][name]
        assert summary[name] == pytest.approx((summary[f"{name}_seen"] + summary[f"{name}_unseen"]) / 2, abs=1e-9)
    assert summary["J&F"] == pytest.approx((summary["J&F_seen"] + summary["J&F_unseen"]) / 2, abs=1e-9)
    assert summary["J"] != pytest.approx(np.mean([row["J"] for row in rows.values()]), abs=0.5)
    assert [row["unseen"] for row in rows.values()] == [False, False, False, True]
    both = run.frames("b__1")["J&F"].to_numpy() / 100
    assert rows["b__1"]["V"] == pytest.approx(100 * round(np.mean((both - both.mean()) ** 2), 4) ** 0.5, abs=1e-9)


def test_an_unseen_name_that_nothing_is_called_is_said(lvos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--ground-truth", lvos / "gt", "--protocol", "lvos-v2")
    line = "--unseen has names of no video and no category here: {}\n"
    for index, (names, strange) in enumerate((("c,nobody,more", "more, nobody"), ("c", ""), ("a,c", ""))):
        assert icvos("score", lvos / "p", *words, "--unseen", names, "--out", lvos / f"unseen{index}") == 0
        said = capsys.readouterr().out
        assert line.format(strange) in said if strange else "--unseen has" not in said


def test_an_object_of_lvos_has_its_own_frames(lvos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("lvos-v2", "--unseen", "c")
    frames = {name: row["frames"] for name, row in scored(lvos, *words).by_id.items()}
    assert frames == {"a__1": 7, "a__2": 5, "b__1": 7, "c__1": 7}  # from where it is first seen to the video's end
    span = {"start": "00000011", "end": "00000041", "frame_nums": "6"}
    whole = {"start": "00000001", "end": "00000046", "frame_nums": "9"}
    objects = {name: {"objects": {"1": {"frame_range": whole}}} for name in "abc"}
    objects["a"]["objects"]["2"] = {"frame_range": span}
    (lvos / "gt/meta.json").write_text(json.dumps({"videos": objects}))
    run = scored(lvos, *words)
    assert run.by_id["a__2"]["frames"] == 4
    truth, predicted = (shape((2, 30 + shift, 44, 30, 50)) == 2 for shift in (0, 1))
    assert run.frames("a__2")["J"].iloc[1] == 100 * jf(predicted, truth)[0]
    span["end"] = "00000021"
    (lvos / "gt/meta.json").write_text(json.dumps({"videos": objects}))
    assert icvos("score", lvos / "p", "--ground-truth", lvos / "gt", "--protocol", *words, "--out", lvos / "x") == 2
    assert "leaves none of the frames of object 2" in capsys.readouterr().err
    (lvos / "gt/meta.json").write_text('{"videos": {"a": {"objects": {"1": {}}}}}')
    assert icvos("score", lvos / "p", "--ground-truth", lvos / "gt", "--protocol", *words, "--out", lvos / "x") == 2
    assert "frame_range of an object of a is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("lvos-v2",), "give --unseen FILE, with a video or a category a line"),
        (("lvos-v2", "--unseen", "nowhere"), "nothing that is scored is unseen"),
        (("lvos-v2", "--unseen", "a,b,c"), "everything that is scored is unseen"),
        (("native", "--unseen", "a"), "expected --protocol lvos-v2"),
        (("paper",), "one of native, davis-2017, mosev2, lvos-v2, vost with --ground-truth"),
        (("mosev3",), "did you mean 'mosev2'"),
    ],
)
def test_what_is_refused(lvos: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
    assert icvos("score", lvos / "p", "--ground-truth", lvos / "gt", "--out", lvos / "x", "--protocol", *words) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_the_deviation_of_nothing() -> None:
    assert standard_deviation(np.zeros(0)) is None and standard_deviation(np.full(4, 0.3)) == 0


# ------------------------------------------------------------------------------------------------ vost


def test_vost_counts_numbers_and_the_last_quarter(tmp_path: Path) -> None:
    truth = [shape((1, 5, 25, 4, 24), (3, 30, 40, 10, 30)) for _ in range(9)]
    predicted = [shape((1, 5, 25, 4, 24 - 2 * index), (3, 30, 40, 10, 30)) for index in range(9)]
    predicted[4] = predicted[4] + shape((2, 0, 2, 0, 2))
    write(tmp_path / "gt", "egg", truth)
    write(tmp_path / "p", "egg", predicted)
    run = scored(tmp_path, "vost")
    assert list(run.by_id) == ["egg__1", "egg__2", "egg__3"]
    # Object 2 is on no frame of the ground truth: 1 where it is not predicted either.
    assert run.by_id["egg__2"]["J"] == pytest.approx(100 * 6 / 7)
    shares = [(20 - 2 * index) / 20 for index in range(1, 8)]
    assert run.by_id["egg__1"]["J"] == pytest.approx(100 * np.mean(shares), abs=1e-9)
    assert run.by_id["egg__1"]["J_last"] == pytest.approx(100 * np.mean(shares[5:]), abs=1e-9)
    assert run.score == run.summary["J"] == pytest.approx(np.mean([row["J"] for row in run.records]), abs=1e-9)
    assert run.summary["F"] is None and run.summary["J&F"] is None and "F" not in run.by_id["egg__1"]


# ------------------------------------------------------------------------------------------------ built benchmarks


@pytest.mark.parametrize("name", ["mosev2", "lvos-v2", "vost"])
def test_a_built_benchmark_is_evaluated_ranked_and_judged(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark, out = write_video_benchmark(tmp_path / "b", frames=5), tmp_path / "run"
    words = ("--protocol", name, "--unseen", "car") if name == "lvos-v2" else ("--protocol", name)
    command = ("evaluate", "--model", "histogram", "--benchmark", benchmark, "--save-masks", *words)
    assert icvos(*command, "--out", out) == 0
    run = Run.open(out)
    assert run.protocol == name and run.score == run.summary[PROTOCOLS[name].score] > 0
    assert all(row["frames"] == 3 for row in run.records)
    again = tmp_path / "again"
    assert icvos("score", out / "masks", "--benchmark", benchmark, *words, "--out", again) == 0
    assert Run.open(again).summary == run.summary
    board = ("--board", tmp_path / "board", "--benchmark", benchmark)
    assert icvos("leaderboard", "add", out, *board) == 0
    native = tmp_path / "native"
    assert icvos("evaluate", "--model", "histogram", "--benchmark", benchmark, "--out", native) == 0
    assert icvos("leaderboard", "add", native, *board) == 0
    capsys.readouterr()
    assert icvos("leaderboard", "show", "--board", tmp_path / "board", "--no-published") == 0
    shown = capsys.readouterr().out
    assert f"protocol {name}" in shown and "protocol native" in shown
    assert Run.open(native).group != run.group
    assert verify(tmp_path / "board") == 0
    assert icvos("show", out, "--by", "episode") == 0
    assert icvos("report", out, "--out", tmp_path / "report") == 0


def test_runs_of_other_lists_share_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write_video_benchmark(tmp_path / "b", frames=5)
    runs = []
    for unseen in ("car", "tiny__v1", "tiny__v1,elsewhere"):
        command = ("evaluate", "--model", "full", "--benchmark", benchmark, "--protocol", "lvos-v2", "--unseen", unseen)
        assert icvos(*command, "--out", tmp_path / unseen) == 0
        runs.append(Run.open(tmp_path / unseen))
    assert len({run.group for run in runs}) == 3 and runs[0].summary != runs[1].summary
    capsys.readouterr()
    assert icvos("compare", tmp_path / "car", tmp_path / "tiny__v1", "--benchmark", benchmark) == 2
    assert "the runs differ in what they count as unseen" in capsys.readouterr().err
    # The list is part of what a record may be used again for.
    command = ("evaluate", "--model", "full", "--benchmark", benchmark, "--protocol", "lvos-v2", "--unseen", "tiny__v2")
    assert icvos(*command, "--out", tmp_path / "car") == 2
    assert "another run is there (its unseen is" in capsys.readouterr().err


def test_shards_join(tmp_path: Path) -> None:
    benchmark = write_video_benchmark(tmp_path / "b", frames=5)
    command = ("evaluate", "--model", "full", "--benchmark", benchmark, "--protocol", "lvos-v2", "--unseen", "tiny__v1")
    for number in (1, 2):
        assert icvos(*command, "--shard", f"{number}/2", "--out", tmp_path / f"s{number}") == 0
    assert icvos(*command, "--out", tmp_path / "whole") == 0
    assert icvos("merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "joined") == 0
    assert (tmp_path / "joined/result.json").read_bytes() == (tmp_path / "whole/result.json").read_bytes()


def test_the_protocol_alone_is_not_told_what_is_unseen() -> None:
    assert get_protocol("lvos-v2", unseen=["car"]).marks("v", "car") == {"unseen": True}
    assert get_protocol("lvos-v2", unseen=["car"]).marks("car", "dog") == {"unseen": True}
    assert get_protocol("native").marks("v", "car") == {}
    with pytest.raises(UsageError, match="expected --protocol lvos-v2"):
        get_protocol("mosev2", unseen=["car"])


# ------------------------------------------------------------------------------------------------ all protocols


def test_all_protocols_at_once(herd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(herd / "gt", "dog", [shape((1, 5, 25, 4, 24))] * 8)
    write(herd / "p", "dog", [shape((1, 5, 25, 4, 21))] * 8)
    (herd / "unseen.txt").write_text("dog\n")
    words = ("score", herd / "p", "--ground-truth", herd / "gt", "--all-protocols", "--objects", "all")
    assert icvos(*words, "--unseen", herd / "unseen.txt", "--out", herd / "all") == 0
    out = capsys.readouterr().out
    told = json.loads((herd / "all/protocols.json").read_text())
    names = ["native", "davis-2017", "mosev2", "lvos-v2", "vost"]
    assert list(told["protocols"]) == names and told["reference"] == "native" and told["left_out"] == {}
    native = Run.open(herd / "all/native").summary
    for name in names:
        run, row = Run.open(herd / "all" / name), told["protocols"][name]
        assert run.protocol == name and row["summary"] == run.summary
        assert row["score"] == PROTOCOLS[name].score and f"{row['difference']:+.2f}" in out and name in out
        reference = native["J"] if name == "vost" else native["J&F"]
        assert row["difference"] == pytest.approx(run.score - reference, abs=1e-12)
    # Without the list one protocol is left out, and JSON is printed if it is asked for.
    assert icvos(*words, "--json", "--out", herd / "fewer") == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["protocols"]) == [name for name in names if name != "lvos-v2"]
    assert "give --unseen FILE" in printed["left_out"]["lvos-v2"]
    # What lies in the folder of one is no reason to leave it out.
    (herd / "taken/mosev2").mkdir(parents=True)
    (herd / "taken/mosev2/mine").write_text("")
    assert icvos(*words, "--out", herd / "taken") == 2
    assert "no run here" in capsys.readouterr().err and not (herd / "taken/protocols.json").exists()
    shutil.rmtree(herd / "p/dog")
    assert icvos(*words, "--out", herd / "none") == 2
    assert "1 of 2 sequences are not predicted: dog" in capsys.readouterr().err
    assert icvos(*words, "--protocol", "vost") == 2 and icvos("score", herd / "p", "--json") == 2


def test_all_protocols_on_a_built_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, out = write_video_benchmark(tmp_path / "b", videos=2, frames=4), tmp_path / "run"
    assert icvos("evaluate", "--model", "full", "--benchmark", benchmark, "--save-masks", "--out", out) == 0
    capsys.readouterr()
    words = ("score", out / "masks", "--benchmark", benchmark, "--all-protocols", "--json", "--out", tmp_path / "all")
    assert icvos(*words) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["protocols"]) == ["native", "paper", "mosev2", "vost", "fsvos-danet", "fsvos-tti"]
    assert list(told["left_out"]) == ["lvos-v2"]
    assert told["protocols"]["native"]["summary"]["J"] == Run.open(out).summary["J"]
    # What another benchmark's code would say of it is told apart from what is of all benchmarks.
    made_for = {name: row["made_for"] for name, row in told["protocols"].items()}
    assert told["protocols"]["fsvos-tti"]["difference"] is None  # native has no IoU of pooled pixels
    assert made_for["native"] is None and made_for["fsvos-danet"] == made_for["fsvos-tti"] == "YouTube-FSVOS"
    assert icvos(*(word for word in words if word != "--json")) == 0
    rows = {line.split()[0]: line.rstrip() for line in capsys.readouterr().out.splitlines() if line.split()}
    assert all(rows[name].endswith(f"  {text or 'any'}") for name, text in made_for.items())


def test_where_no_protocol_can_be_applied_the_usual_one_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = write_image_benchmark(tmp_path / "b")
    header = read_json(benchmark / "benchmark.json")
    write_json(benchmark / "benchmark.json", {**header, "protocol": "fss-matcher"})
    episodes = benchmark / "episodes.csv"
    episodes.write_text(episodes.read_text().replace("fss-native", "fss-matcher"))
    write_manifest(benchmark)
    (tmp_path / "masks").mkdir()
    words = ("score", tmp_path / "masks", "--benchmark", benchmark, "--all-protocols", "--out", tmp_path / "all")
    assert icvos(*words) == 2
    assert "8 of 8 episodes are not predicted" in capsys.readouterr().err


def test_what_is_of_all_benchmarks_is_made_for_none() -> None:
    assert {name for name, protocol in PROTOCOLS.items() if not protocol.made_for} == {"native", "fss-native"}


def test_frames_of_other_columns_are_damaged(herd: Path) -> None:
    run = scored(herd, "mosev2")
    path = run.where / "frames/cow__1.npz"
    np.savez(path, J=np.zeros(6), F_dot=np.zeros(6))
    with pytest.raises(RunError, match="values of frames cannot be read"):
        run.frames("cow__1")
