"""Climbing a rung: commands in their order, resumed, measured, judged, recorded; and the commands around it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from ladders import the_ladder_is

from icvos.commands import reproduce
from icvos.errors import RunError
from icvos.foundation.checkpoints import CHECKPOINTS, Checkpoint
from icvos.reproduce import ladder
from icvos.reproduce.ladder import SCHEMA, climb, missing, read_results
from icvos.reproduce.page import page, status_rows
from icvos.reproduce.rung import Figure, Rung, Step
from icvos.reproduce.rungs import RUNGS
from icvos.reproduce.stand_ins import stand_in_data

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("build-data", "coco-20i", "--coco", "{coco}", "--out", "{out}/benchmarks/b", "--min-area", "100")
RUN = ("--benchmark", "{out}/benchmarks/b", "--out", "{out}/floor/run", "--protocol", "fss-paper", "--no-verify")
FLOOR = Rung(
    name="floor",
    title="A floor",
    data=("coco",),
    weights=(),
    steps=(
        Step("the benchmark", (*BUILD, "--shots", "1", "--paper-episodes", "2"), "benchmarks/b/manifest.csv"),
        Step("the run", ("evaluate", "--model", "histogram", *RUN, "--device", "{device}"), "floor/run/result.json"),
    ),
    figures=(
        Figure("mIoU", "mIoU", ("floor/run",), 0.0, 100.0),
        Figure("mIoU, fold 1", "mIoU", ("floor/run",), 90.0, 1.0, 1),
        Figure("twice", "mIoU", ("floor/run", "floor/run")),
    ),
    source="a table",
    reason="a reason",
    suspects=("the first", "the second"),
    hours=0.5,
    basis="a guess",
    extra="",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return stand_in_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def values(data: dict[str, Path]) -> dict[str, str]:
    return {"coco": str(data["coco"]), "device": "cpu", "workers": "1"}


@pytest.fixture
def calls() -> list[list[str]]:
    return []


@pytest.fixture
def call(calls: list[list[str]]) -> Callable[[list[str]], int]:
    def run(words: list[str]) -> int:
        calls.append(words)
        return icvos(*words)

    return run


def test_a_rung_is_climbed_and_recorded(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    said: list[str] = []
    result = climb(FLOOR, values, tmp_path, call, describe={"data": {"coco": "there"}}, say=said.append)
    assert [words[0] for words in calls] == ["build-data", "evaluate"]
    assert said[0].startswith("1 of 2: the benchmark\n$ icvos build-data coco-20i --coco ")
    assert result == json.loads((tmp_path / "floor/result.json").read_text())
    assert result["schema"] == SCHEMA and result["verdict"] == "reproduced"
    run = json.loads((tmp_path / "floor/run/result.json").read_text())
    mean, fold, twice = result["figures"]
    assert mean["measured"] == run["summary"]["mIoU"] == twice["measured"] and mean["verdict"] == "reproduced"
    assert fold["measured"] == run["per_fold"]["1"]["mIoU"]
    assert fold["verdict"] == f"off by {fold['measured'] - 90:+.2f}" and twice["verdict"] == "not compared"
    assert [each["command"] for each in result["commands"]] == calls
    assert result["data"] == {"coco": "there"} and {"icvos", "torch", "device"} <= set(result["environment"])
    assert result["runs"]["floor/run"]["manifest_sha256"] == run["benchmark"]["manifest_sha256"]
    assert result["start"] <= result["commands"][0]["start"] <= result["commands"][1]["end"] <= result["end"]


def test_what_is_done_is_not_done_again(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    first = climb(FLOOR, values, tmp_path, call)
    again = climb(FLOOR, values, tmp_path, call)
    assert len(calls) == 2 and again["commands"] == first["commands"] and again["start"] == first["start"]
    (tmp_path / "floor/run/result.json").unlink()
    climb(FLOOR, values, tmp_path, call)
    assert [words[0] for words in calls] == ["build-data", "evaluate", "evaluate"]
    # Another command is not the same one, whatever it left.
    more = replace(FLOOR.steps[1], words=(*FLOOR.steps[1].words, "--seed", "0"))
    climb(replace(FLOOR, steps=(FLOOR.steps[0], more)), values, tmp_path, call)
    assert len(calls) == 4 and calls[-1][-2:] == ["--seed", "0"]


def test_what_is_done_does_not_hang_on_the_number_of_processes(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    build = replace(FLOOR.steps[0], words=(*FLOOR.steps[0].words, "--workers", "{workers}"))
    rung = replace(FLOOR, steps=(build, FLOOR.steps[1]))
    climb(rung, values, tmp_path, call)
    climb(rung, {**values, "workers": "2"}, tmp_path, call)
    assert [words[0] for words in calls] == ["build-data", "evaluate"]


def test_a_run_that_another_hand_replaced_is_not_measured(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    whole = climb(FLOOR, values, tmp_path, call)
    shutil.rmtree(tmp_path / "floor/run")
    assert icvos(*calls[1], "--limit-episodes", "1") == 0
    with pytest.raises(RunError, match="command 2 of 2 of rung floor ended with status 2"):
        climb(FLOOR, values, tmp_path, call)
    shutil.rmtree(tmp_path / "floor/run")
    again = climb(FLOOR, values, tmp_path, call)
    assert again["runs"] == whole["runs"]


def test_a_run_on_a_benchmark_that_was_built_anew_is_made_again(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    out = tmp_path / "a=b c"
    climb(FLOOR, values, out, call)
    shutil.rmtree(out / "benchmarks/b")
    less = replace(FLOOR.steps[0], words=(*FLOOR.steps[0].words, "--paper-episodes", "1"))
    other = climb(replace(FLOOR, steps=(less, FLOOR.steps[1])), values, out, call)
    assert [words[0] for words in calls] == ["build-data", "evaluate", "build-data", "evaluate"]
    assert other["runs"]["floor/run"]["episodes"] == 4


def test_a_run_with_a_checkpoint_that_changed_is_made_again(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    path = str(tmp_path / "own.pth")
    run = replace(FLOOR.steps[1], words=(*FLOOR.steps[1].words, "--weights", "own={own}"))
    rung = replace(FLOOR, steps=(FLOOR.steps[0], run))
    for digest in ("a", "a", "b"):
        describe = {"weights": {"own": {"file": path, "sha256": digest}}}
        without = lambda words: call(words[:-2] if words[0] == "evaluate" else words)  # noqa: E731
        climb(rung, {**values, "own": path}, tmp_path, without, describe=describe)
    assert [words[0] for words in calls] == ["build-data", "evaluate", "evaluate"]


def test_a_benchmark_that_outlived_a_killed_climb_is_taken(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    class Killed(BaseException):
        pass

    def die(words: list[str]) -> int:
        assert call(words) == 0  # the command goes on behind the process that started it
        raise Killed

    with pytest.raises(Killed):
        climb(FLOOR, values, tmp_path, die)
    result = climb(FLOOR, values, tmp_path, call)
    assert [words[0] for words in calls] == ["build-data", "evaluate"]
    assert [each["seconds"] is None for each in result["commands"]] == [True, False]


def test_a_benchmark_of_another_command_is_not_taken(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    climb(FLOOR, values, tmp_path, call)
    other = replace(FLOOR, steps=(replace(FLOOR.steps[0], words=(*FLOOR.steps[0].words, "--seed", "1")),))
    for _ in range(2):
        with pytest.raises(RunError, match="command 1 of 1 of rung floor ended with status 2"):
            climb(other, values, tmp_path, call)


def test_a_command_that_fails_is_named_and_goes_on_later(
    tmp_path: Path, values: dict[str, str], call: Any, calls: list[list[str]]
) -> None:
    with pytest.raises(RunError, match=r"command 2 of 2 of rung floor ended with status 1.*same command again") as stop:
        climb(FLOOR, values, tmp_path, lambda words: 1 if words[0] == "evaluate" else call(words))
    assert stop.value.exit_status == 1 and not (tmp_path / "floor/result.json").exists()
    climb(FLOOR, values, tmp_path, call)
    assert [words[0] for words in calls] == ["build-data", "evaluate"]


def test_a_command_that_leaves_nothing_is_told(tmp_path: Path, values: dict[str, str]) -> None:
    with pytest.raises(RunError, match=r"the command left no benchmarks/b/manifest\.csv"):
        climb(FLOOR, values, tmp_path, lambda words: 0)


def test_an_interrupt_says_what_is_done(tmp_path: Path, values: dict[str, str], call: Any) -> None:
    def interrupt(words: list[str]) -> int:
        if words[0] == "evaluate":
            raise KeyboardInterrupt
        return int(call(words))

    with pytest.raises(KeyboardInterrupt) as stop:
        climb(FLOOR, values, tmp_path, interrupt)
    assert stop.value.__notes__ == ["1 of 2 commands of rung floor are done; the same command goes on from there"]


# ------------------------------------------------------------------------------------------------- the commands


@pytest.fixture
def one_rung() -> Iterator[None]:
    """The ladder is the floor alone."""
    with the_ladder_is(FLOOR):
        yield


@pytest.mark.usefixtures("one_rung")
def test_the_command_runs_it_in_processes_of_their_own(
    tmp_path: Path, data: dict[str, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ("reproduce", "run", "floor", "--coco", data["coco"], "--out", tmp_path)
    assert icvos(*words) == 0
    out = capfd.readouterr().out
    lines = out.splitlines()
    measured = json.loads((tmp_path / "floor/result.json").read_text())["figures"]
    assert f"mIoU: {measured[0]['measured']:.2f}, printed 0 ± 100: reproduced" in lines
    # One that does not decide is off: whom to suspect is said, and the rung stands.
    assert lines[-4:] == [
        "suspects, in order:",
        "1. the first",
        "2. the second",
        f"result: {tmp_path / 'floor/result.json'}",
    ]
    assert out.index("$ icvos build-data") < out.index("built ") < out.index("$ icvos evaluate")
    assert icvos(*words) == 0
    assert capfd.readouterr().out.count("done before") == 2
    assert icvos("reproduce", "status", "--out", tmp_path, "--markdown") == 0
    row = f"| floor | 0 | ± 100 | {measured[0]['measured']:.2f} | reproduced |"
    assert capfd.readouterr().out.splitlines()[-1] == row


def test_a_figure_that_is_off_is_exit_status_1(
    tmp_path: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = replace(FLOOR, figures=(Figure("mIoU", "mIoU", ("floor/run",), 99.0, 0.5),))
    monkeypatch.setattr(reproduce, "_call", lambda words: icvos(*words))
    with the_ladder_is(far):
        assert icvos("reproduce", "run", "floor", "--coco", data["coco"], "--out", tmp_path) == 1
    assert "printed 99 ± 0.5: off by -" in capsys.readouterr().out


def test_a_figure_on_data_that_is_not_whole_is_not_compared(
    tmp_path: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "_call", lambda words: icvos(*words))
    words = ("reproduce", "run", "floor", "--coco", data["coco"], "--out", tmp_path)
    with the_ladder_is(replace(FLOOR, counts={"categories": 80})):
        assert icvos(*words) == 1
        built = json.loads((tmp_path / "benchmarks/b/benchmark.json").read_text())["counts"]["categories"]
        why = f"not compared: b has {built} categories and not 80, its data is not whole; once it is, give another "
        why += "--out"
        assert built < 80 and f"printed 0 ± 100: {why}" in capsys.readouterr().out
        assert icvos("reproduce", "status", "--out", tmp_path, "--markdown") == 0
        assert f"| {why} |" in capsys.readouterr().out
    with the_ladder_is(replace(FLOOR, counts={"categories": built})):
        assert icvos(*words) == 0
    assert "printed 0 ± 100: reproduced" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing", "--out", "o"], "no rung 'nothing'"),
        (["floor"], "give --out DIR"),
        ([], "expected RUNG, or --all with --dry-run"),
        (["--all", "--out", "o"], "expected RUNG, or --all with --dry-run"),
        (["floor", "--all", "--dry-run"], "expected RUNG, or --all with --dry-run"),
        (["floor", "--dry-run", "--coco", "c"], "--dry-run takes the demo's data"),
        (["floor", "--out", "o"], "rung floor lacks --coco DIR; 'icvos reproduce show floor'"),
        (["floor", "--out", "o", "--coco", "gone"], "rung floor lacks --coco, which is no folder: /"),
        (["floor", "--out", "o", "--weights", "sam-vit-b=x"], "rung floor takes no checkpoint 'sam-vit-b'"),
        (["floor", "--out", "o", "--weights", "sam=x"], "no checkpoint 'sam'"),
        (["floor", "--out", "o", "--device", "tpu"], "no device 'tpu'"),
    ],
)
@pytest.mark.usefixtures("one_rung")
def test_bad_usage_is_one_line(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert icvos("reproduce", "run", *words) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_weights_that_are_not_the_published_ones_are_refused(
    tmp_path: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sam.pth"
    path.write_bytes(b"no weights")
    given = ("--coco", data["coco"], "--weights", f"sam-vit-h={path}", "--out", tmp_path / "out")
    assert icvos("reproduce", "run", "persam-f-coco-20i", *given) == 2
    assert "sam-vit-h has 10 bytes" in capsys.readouterr().err


def test_what_is_missing_is_told_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rung = RUNGS["dcsam-ic-vos"]
    monkeypatch.setattr(ladder, "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(ladder, "missing_packages", lambda extra: ("sam2",) if extra == "sam" else ())
    assert missing(rung, {"coco": tmp_path / "gone"}, {}) == [
        "--ic-vos DIR",
        f"--coco, which is no folder: {tmp_path / 'gone'}",
        "sam2_hiera_large.pt (icvos weights fetch sam2-hiera-large)",
        "resnet50_v2.pth (by hand)",
        "the package sam2 (extra sam)",
    ]
    for name in ("sam2_hiera_large.pt", "elsewhere.pth"):
        (tmp_path / name).touch()
    monkeypatch.setattr(ladder, "missing_packages", lambda extra: ())
    data = {"coco": tmp_path, "ic-vos": tmp_path}
    assert missing(rung, data, {"resnet50-v2": tmp_path / "elsewhere.pth"}) == []


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"schema": "icvos-reproduce/1", "rung": "floor"}',
        '{"schema": "icvos-reproduce/1", "rung": "floor", "verdict": "x", "figures": [{"name": "a", "measured": "1"}]}',
        '{"schema": "icvos-reproduce/1", "rung": "roof", "verdict": "x", "figures": [{"name": "a", "measured": 1}]}',
    ],
)
@pytest.mark.usefixtures("one_rung")
def test_a_damaged_result_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "floor").mkdir()
    (tmp_path / "floor/result.json").write_text(content)
    with pytest.raises(RunError, match=r"no result of a rung.*expected icvos-reproduce/1 of floor"):
        read_results(tmp_path)


def test_a_run_with_failed_episodes_says_so_in_the_table() -> None:
    figure = {"name": "J&F", "measured": 90.0, "printed": 90.7, "tolerance": 1.0}
    result = {"verdict": "reproduced", "figures": [figure], "runs": {"r": {"failed": 2}}}
    name = "sam2.1-large-davis17"
    rows = {row[0]: row for row in status_rows({name: result}, {"dcsam-ic-vos": ["--coco DIR", "a GPU"]})}
    assert rows[name][3:] == ("90.00", "reproduced; 2 episodes failed")
    assert rows["dcsam-ic-vos"][3:] == ("", "not run; missing: --coco DIR; a GPU")
    assert rows["vrp-sam-coco-20i"][4] == "not run"


def test_a_result_that_was_judged_by_other_values_says_so() -> None:
    figure = {"name": "J&F", "measured": 90.0, "printed": 90.7, "tolerance": 2.0}
    name = "sam2.1-large-davis17"
    rows = {row[0]: row for row in status_rows({name: {"verdict": "reproduced", "figures": [figure]}}, {})}
    told = "reproduced; judged by other values than these: run it again, which only judges"
    assert rows[name][1:] == ("90.7", "± 1", "90.00", told)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("reproduce", "status", "--out", tmp_path / "typo") == 2
    assert f"folder not found; in {tmp_path / 'typo'}; expected the --out of" in capsys.readouterr().err


def test_the_page_of_the_docs_is_that_of_the_table() -> None:
    told = "make it anew: icvos reproduce page > docs/how-to/reproduce.md"
    assert (ROOT / "docs/how-to/reproduce.md").read_text(encoding="utf-8") == page({}), told


def test_a_checkpoint_without_a_hash_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Checkpoint("own", "own.pth", None, None, "", "-", "none", "a page")
    monkeypatch.setitem(CHECKPOINTS, "own", known)
    path = tmp_path / "own.pth"
    path.write_bytes(b"weights")
    rung = replace(FLOOR, weights=("own",))
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert ladder.check_inputs(rung, {"coco": tmp_path}, {"own": path}) == {
        "data": {"coco": str(tmp_path)},
        "weights": {"own": {"file": str(path), "sha256": sha256}},
    }
