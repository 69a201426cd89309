"""A board checked again, what may replace a record, which benchmark a run is judged by, and what no board can break."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import Content, icvos, packed_runs, raise_everything, rewrite, verify, video_record

from icvos.errors import BenchmarkError, RunError
from icvos.files import to_json
from icvos.leaderboard import record as records
from icvos.leaderboard.board import read_board
from icvos.leaderboard.consistency import same_result
from icvos.leaderboard.judge import judge
from icvos.leaderboard.record import open_record, record_path, write_record
from icvos.masks import encode_mask
from icvos.runs.run import Run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two benchmarks, a run on each, their submissions, and a board beside them that holds both."""
    root = packed_runs(tmp_path_factory.mktemp("world"))
    for kind in ("video", "image"):
        words = ("--board", root / "board", "--benchmark", root / kind)
        assert icvos("leaderboard", "add", root / "archives" / f"{kind}.zip", *words) == 0
    return root


@pytest.fixture
def board(world: Path, tmp_path: Path) -> Path:
    """A copy of the board, which knows its benchmarks still."""
    shutil.copytree(world, tmp_path / "world")
    return tmp_path / "world" / "board"


# ---------------------------------------------------------------------------------------------------- a board's records


def test_a_record_holds_what_the_run_does(world: Path, board: Path) -> None:
    """Of an honest run nothing is lost or changed: run, result, and episodes."""
    for kind, name in (("video", "tiny/native"), ("image", "tiny-20i/fss-native")):
        run = Run.open(world / f"run-{kind}")
        record = open_record(board / name / "histogram@1.json")
        environment = {k: v for k, v in run.run["environment"].items() if k != "benchmark_folder"}
        assert record.entry.run == {**run.run, "environment": environment}
        assert record.entry.result == run.result
        rows = [{k: v for k, v in row.items() if k != "category_name"} for row in record.entry.records]
        assert rows == [{k: v for k, v in row.items() if k != "category_name"} for row in run.records]
        assert all("category_name" in row for row in record.entry.records)
        assert record.entry.submitter == "Ada" and record.entry.checked == "masks re-scored"
        archive = (world / "archives" / f"{kind}.zip").read_bytes()
        assert record.submission_sha256 == hashlib.sha256(archive).hexdigest()


def test_every_field_that_nobody_knows_is_dropped(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "run-video", tmp_path / "run")
    run = json.loads((tmp_path / "run/run.json").read_text())
    honest = json.loads(to_json(run))
    for part in (run, run["key"], run["model"], run["environment"], run["times"]):
        part["more"] = {"J": 100.0}
    run["fps"], run["environment"]["cuda"], run["benchmark"]["supports"] = 1e9, {"deep": 1}, {"pairs": 10**9}
    (tmp_path / "run/run.json").write_text(json.dumps(run))
    lines = [json.loads(line) for line in (tmp_path / "run/episodes.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {"union_fg": 1, "inter_fg": 1, "mIoU": 100.0, "error": "", "traceback": "x" * 10**4, "object": 3}
        line |= {"query": "q", "category": line["category"], "fold": 1}
    (tmp_path / "run/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = judge(tmp_path / "run", world / "video").entry
    assert entry.run == {**honest, "environment": dict(entry.run["environment"])}
    assert "benchmark_folder" not in entry.run["environment"] and "cuda" not in entry.run["environment"]
    assert list(entry.records) == list(Run.open(world / "run-video").records)


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("part", ["per_category", "per_source", "per_video", "per_draw", "per_fold"])
@pytest.mark.parametrize("how", ["more", "fewer", "hundred", "column"])
def test_no_table_of_another_shape_is_passed_over(world: Path, kind: str, part: str, how: str) -> None:
    """Tables were once compared only where both sides had the same keys."""
    result = Run.open(world / f"run-{kind}").result
    forged = json.loads(json.dumps(result))
    table = forged.setdefault(part, {})
    if how == "more" or not table:
        table["more"] = {"J": 100.0, "mIoU": 100.0}
    elif how == "fewer":
        del table[min(table)]
    else:
        row = table[min(table)]
        row |= {"extra": None} if how == "column" else {n: 100.0 for n in row if n in ("J", "F", "J&F", "mIoU")}
    assert same_result(result, result) == []
    assert f"for {part}" in same_result(forged, result)[0]


def test_a_name_or_version_that_the_benchmark_does_not_have_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, value in (("name", "ic-vos-of-mine"), ("version", "1.0")):
        shutil.copytree(world / "run-video", tmp_path / part)
        for name in ("run.json", "result.json"):
            content = json.loads((tmp_path / part / name).read_text())
            content["benchmark"][part] = value
            (tmp_path / part / name).write_text(json.dumps(content))
        words = ("--benchmark", world / "video")
        assert icvos("leaderboard", "add", tmp_path / part, "--board", tmp_path / "board", *words) == 2
        assert f"'{value}', and that of" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ the benchmark at hand


def test_the_benchmark_is_never_where_the_run_says(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world / "run-video"
    said = json.loads((run / "run.json").read_text())
    assert Path(said["environment"]["benchmark_folder"]) == (world / "video").resolve()
    sha256 = said["benchmark"]["manifest_sha256"]
    monkeypatch.setattr("icvos.leaderboard.board.Path.cwd", lambda: tmp_path)
    for words in (("leaderboard", "add", run, "--board", tmp_path / "board"), ("submit", "check", run)):
        assert icvos(*words) == 2
        error = capsys.readouterr().err
        assert f"with the manifest {sha256[:16]} is not at hand" in error and "--benchmark DIR" in error
        assert error.count("\n") == 1
    # The board is told once, and knows it by its manifest from then on.
    words = ("leaderboard", "add", run, "--board", tmp_path / "board")
    assert icvos(*words, "--benchmark", world / "video") == 0
    known = json.loads((tmp_path / "board/benchmarks.json").read_text())
    assert known == {"schema": "icvos-board-benchmarks/1", "benchmarks": {sha256: str((world / "video").resolve())}}
    assert icvos(*words, "--replace") == 0


def test_a_board_and_its_benchmarks_move_together(board: Path) -> None:
    known = json.loads((board / "benchmarks.json").read_text())["benchmarks"]
    assert sorted(known.values()) == ["../image", "../video"]
    assert icvos("leaderboard", "add", board.parent / "run-video", "--board", board, "--replace", "--force") == 0


def test_the_default_boards_benchmarks_serve_submit_check(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    assert icvos("submit", "check", board.parent / "archives/video.zip") == 2
    shutil.copytree(board.parent, tmp_path / "home")
    (tmp_path / "home/board").rename(tmp_path / "home/leaderboards")
    assert icvos("submit", "check", board.parent / "archives/video.zip") == 0
    assert "masks re-scored" in capsys.readouterr().out


def test_a_demo_is_known_by_its_manifest(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A benchmark that is another under a demo's name is none; the demo's own folder is found by its hash."""
    home = tmp_path / "home"
    monkeypatch.setenv("ICVOS_HOME", str(home))
    folder = home / "demo/default-seed0-1/benchmarks/demo"
    shutil.copytree(world / "image", folder)
    monkeypatch.setattr("icvos.demo.benchmarks.ensure_demo", lambda name="demo": folder)
    shutil.copytree(world / "run-video", tmp_path / "run")
    for name in ("run.json", "result.json"):
        content = json.loads((tmp_path / "run" / name).read_text())
        content["benchmark"]["name"] = "demo"
        (tmp_path / "run" / name).write_text(json.dumps(content))
    assert icvos("submit", "check", tmp_path / "run") == 2
    assert "is not at hand" in capsys.readouterr().err
    shutil.rmtree(folder)
    shutil.copytree(world / "video", folder)
    assert icvos("submit", "check", world / "run-video") == 0


def blank_truth(root: Path) -> None:
    path = next(root.glob("videos/*/Annotations/*/00002.png"))
    path.write_bytes(encode_mask(np.ones((40, 52), np.uint8)))


def no_truth(root: Path) -> None:
    next(root.glob("videos/*/Annotations/*/00002.png")).unlink()


def fewer_episodes(root: Path) -> None:
    path = root / "episodes.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


@pytest.mark.parametrize("alter", [blank_truth, no_truth, fewer_episodes], ids=lambda alter: alter.__name__)
def test_a_doctored_copy_with_the_right_manifest_is_refused(
    world: Path, tmp_path: Path, alter: Callable[[Path], None]
) -> None:
    shutil.copytree(world / "video", tmp_path / "copy")
    assert judge(world / "run-video", tmp_path / "copy").checked == "masks re-scored"
    alter(tmp_path / "copy")
    with pytest.raises((RunError, BenchmarkError), match=r"changed since the benchmark was built|mask not found"):
        judge(world / "run-video", tmp_path / "copy")


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "icvos-board-benchmarks/1", "benchmarks": {"x": "."}}'])
def test_a_broken_list_of_benchmarks_is_said(board: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (board / "benchmarks.json").write_text(text)
    assert icvos("leaderboard", "verify", board) == 2
    assert "benchmarks.json" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- no record breaks the board


def test_a_record_that_could_not_be_read_is_not_written(
    world: Path, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video_record(board)
    before = path.read_bytes()
    entry = open_record(path).entry
    for broken in (
        replace(entry, run={**entry.run, "commit": "\ud800"}),
        replace(entry, run={**entry.run, "seconds": float("nan")}),
        replace(entry, run={**entry.run, "seconds": 2**70}),
        replace(entry, run={**entry.run, "times": (1, 2)}),
        replace(entry, records=entry.records[1:]),
        replace(entry, result={**entry.result, "model": {**entry.result["model"], "extra": 1}}),
    ):
        with pytest.raises(RunError):
            write_record(board, broken, "masks re-scored")
    monkeypatch.setattr(records, "MAX_BYTES", 1000)
    with pytest.raises(RunError, match="a record of"):
        write_record(board, entry, "masks re-scored", submitter="Ada", submission_sha256="0" * 64)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_twenty_five_million_digits_are_one_number(world: Path, tmp_path: Path) -> None:
    """A number of a megabyte is read as the number that it is, and written so."""
    shutil.copytree(world / "run-video", tmp_path / "run")
    text = (tmp_path / "run/run.json").read_text()
    (tmp_path / "run/run.json").write_text(text.replace('"seed": 0', '"seed": 0' + ".0" + "0" * 10**6, 1))
    with pytest.raises(RunError, match=r"the protocol's seed is no number|the seed is said"):
        judge(tmp_path / "run", world / "video")
    fps = json.loads(text)["fps"]
    (tmp_path / "run/run.json").write_text(text.replace(f'"fps": {fps}', f'"fps": {fps}' + "0" * 10**6, 1))
    entry = judge(tmp_path / "run", world / "video").entry
    path = write_record(tmp_path / "board", entry, "masks re-scored")
    assert path.stat().st_size < 50_000 and entry.fps == pytest.approx(fps)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "JSON"),
        (b"{" * 5000, "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "another schema"),
        (b'{"schema": "icvos-record/1"}', "damaged"),
        (b'{"schema": "icvos-record/1", "schema": "icvos-record/1"}', "stands twice"),
        (None, "no file"),
    ],
)
def test_a_bad_record_is_named_and_the_rest_is_shown(
    board: Path, data: bytes | None, why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = board / "tiny/native/a-bad-one.json"
    if data is None:
        bad.symlink_to("nowhere.json")
    else:
        bad.write_bytes(data)
    for words in (("show", "--no-published"), ("render", tmp_path / "page.html"), ("render", tmp_path / "t.md")):
        assert icvos("leaderboard", *words, "--board", board, "--runs", board) == 0
        error = capsys.readouterr().err
        assert error.startswith(f"left out: {bad}: ") and why in error and error.count("\n") == 1
    assert "histogram" in (tmp_path / "page.html").read_text() and "histogram" in (tmp_path / "t.md").read_text()
    assert len(read_board(board)[0]) == 2


def test_a_record_too_large_to_read_is_left_out(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = video_record(board).stat().st_size
    monkeypatch.setattr(records, "MAX_BYTES", size - 1)
    entries, problems = read_board(board)
    assert len(entries) + len(problems) == 2 and any("a record of" in line for line in problems)


def test_names_that_no_file_can_have_are_refused_when_they_are_judged(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "run-video", tmp_path / "run")
    for name in ("run.json", "result.json"):
        content = json.loads((tmp_path / "run" / name).read_text())
        content["model"]["version"] = "y" * 130
        content["model"]["name"] = "x" * 130
        if "key" in content:
            content["key"].update(model="x" * 130, model_version="y" * 130)
        (tmp_path / "run" / name).write_text(json.dumps(content))
    with pytest.raises(RunError, match="a name of 266 letters"):
        judge(tmp_path / "run", world / "video")


# ------------------------------------------------------------------------------------------------ who replaces a record


def resent(board: Path, out: Path, submitter: str | None, *words: str) -> Path:
    who = () if submitter is None else ("--submitter", submitter)
    assert icvos("submit", "pack", board.parent / "run-video", "--out", out, *who, *words) == 0
    return out


def test_only_its_own_submitter_replaces_a_record(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("leaderboard", "add", "--board", board, "--replace")
    before = video_record(board).read_bytes()
    for submitter, said in (("Eve", "'Eve'"), (None, "nobody who is named")):
        sent = resent(board, tmp_path / "other.zip", submitter)
        capsys.readouterr()
        assert icvos(*add, sent) == 2
        error = capsys.readouterr().err
        assert f"sent by 'Ada', and this by {said}" in error and "--force" in error
        assert video_record(board).read_bytes() == before
    assert icvos(*add, resent(board, tmp_path / "mine.zip", "Ada")) == 0
    assert icvos(*add, "--force", resent(board, tmp_path / "other.zip", "Eve")) == 0
    assert open_record(video_record(board)).entry.submitter == "Eve"
    assert icvos("leaderboard", "add", "--board", board, "--force", tmp_path / "other.zip") == 2


def test_a_record_checked_further_is_not_replaced(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("leaderboard", "add", "--board", board, "--replace", resent(board, tmp_path / "s.zip", "Ada", "--no-masks"))
    capsys.readouterr()
    assert icvos(*add) == 2
    assert "is 'masks re-scored', and this 'self-reported'" in capsys.readouterr().err
    assert icvos(*add, "--force") == 0
    assert open_record(video_record(board)).entry.checked == "self-reported"


def test_a_broken_record_is_replaced_by_force_alone(board: Path) -> None:
    video_record(board).write_text("{")
    add = ("leaderboard", "add", board.parent / "archives/video.zip", "--board", board, "--replace")
    assert icvos(*add) == 2
    assert icvos(*add, "--force") == 0
    assert open_record(video_record(board)).entry.submitter == "Ada"


@pytest.mark.parametrize("name", ["", "x" * 151, "a\x1b[31mb", "\u202eAda"])
def test_a_submitter_is_a_name(world: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("submit", "pack", world / "run-video", "--out", tmp_path / "s.zip", "--submitter", name) == 2
    assert "the submitter is called" in capsys.readouterr().err
    with zipfile.ZipFile(world / "archives/video.zip") as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    files["submission.json"] = json.dumps({**json.loads(files["submission.json"]), "submitter": name}).encode()
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for each, data in files.items():
            archive.writestr(each, data)
    assert icvos("submit", "check", tmp_path / "s.zip", "--benchmark", world / "video") == 2
    assert "a submitter that is no name" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------- leaderboard verify


def test_a_whole_board_is_well(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(board, "--archives", board.parent / "archives") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "ok: tiny/native/histogram@1.json: schema, hash, place, result, episodes against tiny, "
        "judged again from video.zip",
        "ok: tiny-20i/fss-native/histogram@1.json: schema, hash, place, result, episodes against tiny-20i, "
        "judged again from image.zip",
        f"{board}: 2 records, 0 bad; 2 against their benchmarks, 2 judged again",
    ]
    # Without the list of benchmarks each record is still checked by itself.
    (board / "benchmarks.json").unlink()
    assert verify(board) == 0
    assert "episodes against" not in capsys.readouterr().out
    assert verify(board, "--benchmark", board.parent / "video", "--benchmark", board.parent / "image") == 0
    assert capsys.readouterr().out.count("episodes against") == 2
    assert verify(board, "--archives", board.parent / "archives") == 1
    assert "is its archive, and its benchmark is not at hand: give --benchmark DIR" in capsys.readouterr().out


BY_HAND: list[tuple[Callable[[Content], Any], bool, str]] = [
    (lambda r: r["result"]["summary"].update(J=99.0), False, "for summary, J, and its episodes give"),
    (lambda r: r["run"]["model"].update(paper="another"), False, "its SHA-256 is another"),
    (lambda r: r["run"]["environment"].update(more=1), True, "for run, environment, more"),
    (lambda r: r["run"]["benchmark"].update(complete_only=None), True, "for run, benchmark, complete_only"),
    (lambda r: r["run"].update(fps=1e6), True, "for run, fps, and its benchmark and episodes give"),
    (lambda r: r["episodes"][0].update(source="other"), True, "source"),
    (raise_everything, True, "its archive video.zip gives"),
    (lambda r: r.update(checked="self-reported"), True, "it says 'self-reported', and its archive is"),
    (lambda r: r.update(submitter="Eve"), True, "the record says 'Eve' for submitter"),
    (lambda r: r["run"]["model"].update(training_data=[]), True, ""),
    (lambda r: r["run"]["model"].update(training_data=["a:b"]), True, "for run, model, training_data"),
]


@pytest.mark.parametrize(("change", "sign", "why"), BY_HAND, ids=range(len(BY_HAND)))
def test_what_was_changed_by_hand_is_named(
    board: Path, change: Callable[[Content], Any], sign: bool, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(video_record(board), change, sign=sign)
    assert verify(board, "--archives", board.parent / "archives") == (1 if why else 0)
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "tiny/native" in line]
    assert line.startswith("bad: tiny/native/histogram@1.json: " if why else "ok: ") and why in line
    assert f": 2 records, {int(bool(why))} bad; " in lines[-1] and len(lines) == 3


def test_bytes_and_places_are_those_that_icvos_writes(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = video_record(board)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content))
    assert verify(board) == 1
    assert "its bytes are not those that icvos writes" in capsys.readouterr().out
    path.write_text(to_json(content))
    copy = path.with_name("copy.json")
    shutil.copy(path, copy)
    (board / "notes.json").write_text("{}")
    assert verify(board) == 1
    out = capsys.readouterr().out
    assert "bad: tiny/native/copy.json: its place is tiny/native/histogram@1.json" in out
    assert "bad: notes.json: the record is of another schema" in out and "4 records, 2 bad" in out


def test_a_record_without_a_hash_is_named_and_not_bad(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def as_0_1_0(content: Content) -> None:
        for name in ("sha256", "submitter", "submission_sha256"):
            del content[name]

    rewrite(video_record(board), as_0_1_0, sign=False)
    assert verify(board, "--archives", board.parent / "archives") == 0
    out = capsys.readouterr().out
    line = "ok: tiny/native/histogram@1.json: schema, place, result, episodes against tiny, judged again from video.zip"
    assert f"{line}, of an earlier icvos: without a hash" in out
    assert out.splitlines()[-1].endswith("2 judged again; 1 of an earlier icvos without a hash")


def test_a_benchmark_that_is_gone_or_another_is_not_at_hand(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(board.parent / "video")
    (board.parent / "image/manifest.csv").write_text("path,bytes,sha256\n")
    assert verify(board) == 0
    assert "episodes against" not in capsys.readouterr().out


@pytest.mark.parametrize("sha256", ["0" * 64, None])
def test_with_archives_no_record_goes_without_one(
    board: Path, sha256: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forger who raises every figure and signs again cannot get past the masks by naming another archive."""
    rewrite(video_record(board), lambda r: (raise_everything(r), r.update(submission_sha256=sha256)))
    assert verify(board) == 0
    archives = board.parent / "archives"
    for why in ("the record says 99.0 for result, ", f"its archive is not in {archives}"):
        capsys.readouterr()
        assert verify(board, "--archives", archives) == 1
        out = capsys.readouterr().out
        assert f"bad: tiny/native/histogram@1.json: {why}" in out and "2 records, 1 bad; " in out
        (archives / "video.zip").unlink(missing_ok=True)


def test_that_a_record_was_reproduced_is_said_to_be_the_maintainers_word(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(video_record(board), lambda r: r.update(checked="reproduced by maintainer"))
    assert verify(board, "--archives", board.parent / "archives") == 0
    assert "judged again from video.zip, reproduced: the maintainer's word\n" in capsys.readouterr().out


def test_no_board_no_archives(
    tmp_path: Path, board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for words in (["none"], ["empty"], []):
        assert icvos("leaderboard", "verify", *words) == 2
        assert "no records; in " in (said := capsys.readouterr().err) and "leaderboard verify BOARD" in said
    assert verify(board, "--archives", tmp_path / "none") == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_place_of_a_record_is_known_beforehand(world: Path) -> None:
    entry = Run.open(world / "run-video")
    assert record_path(Path("B"), entry) == Path("B/tiny/native/histogram@1.json")
