"""What a stranger may not do to a board: take a row's mean, its name or its memory; and two adds at the same time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import Content, icvos, packed_runs, raise_everything, rewrite, verify, video_record

from icvos.commands import leaderboard
from icvos.errors import LockedError, RunError
from icvos.files import lock_folder, to_json
from icvos.leaderboard import archive, benchmarks
from icvos.leaderboard.board import read_board
from icvos.leaderboard.record import open_record
from icvos.leaderboard.render_html import to_html
from icvos.leaderboard.table import build_tables
from icvos.leaderboard.trainings import Trainings
from icvos.runs import schema


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two benchmarks, and a submission of each."""
    return packed_runs(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def board(world: Path, tmp_path: Path) -> Path:
    """A board of the video's submission, with all beside it."""
    shutil.copytree(world, tmp_path / "world")
    board = tmp_path / "world" / "board"
    assert add(board, "video") == 0
    return board


def add(board: Path, kind: str, *words: Any, sent: Path | None = None) -> int:
    root = board.parent
    sent = sent or root / "archives" / f"{kind}.zip"
    return icvos("leaderboard", "add", sent, "--board", board, "--benchmark", root / kind, *words)


def altered(board: Path, change: Callable[[str, Content], Any], *, submitter: str = "Eve") -> Path:
    """The video's submission with its two files of JSON changed alike, packed as a careful forger would."""
    out = board.parent / "altered.zip"
    with zipfile.ZipFile(board.parent / "archives/video.zip") as good:
        files = {name: good.read(name) for name in good.namelist()}
    for name in ("run.json", "result.json"):
        content = json.loads(files[name])
        change(name, content)
        files[name] = json.dumps(content).encode()
    rows = [
        {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name != "submission.json"
    ]
    told = {"schema": "icvos-submission/1", "submitter": submitter, "files": rows}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bad:
        for name, data in {**files, "submission.json": json.dumps(told).encode()}.items():
            bad.writestr(name, data)
    return out


# ------------------------------------------------------------------------------------------------------ names and sizes


@pytest.mark.parametrize("name", ["good\u200b", "раре", "  ", "a  b", "０１", "x" * 151])
def test_a_runs_name_is_a_name(board: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def called(file: str, content: Content) -> None:
        if file == "run.json":
            content["name"] = name

    assert add(board, "video", sent=altered(board, called)) == 2
    assert "the run's name is no name" in capsys.readouterr().err
    path = video_record(board)
    rewrite(path, lambda record: record["run"].update(name=name))
    assert verify(board) == 1 and read_board(board)[0] == []


def test_a_refusal_names_what_was_sent(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def long(file: str, content: Content) -> None:
        if file == "run.json":
            content["name"] = "方" * 40
        for part in [content["model"], *([content["key"]] if "key" in content else [])]:
            part["model" if part is content.get("key") else "name"] = "法" * 40

    sent = altered(board, long)
    assert add(board, "video", sent=sent) == 2
    error = capsys.readouterr().err
    assert "letters" in error and str(sent) in error


def test_a_run_says_a_million_letters_at_most(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each text is within its limit, and so is the file; a page of them all would be no page."""
    texts = [hashlib.sha256(bytes([number])).hexdigest() * 200 for number in range(90)]
    sent = altered(board, lambda _, content: content["model"].update(training_data=texts))
    assert add(board, "video", sent=sent) == 2
    assert f"and {schema.MAX_RUN:,} at most" in capsys.readouterr().err


def test_a_page_says_the_beginning_of_a_long_text(board: Path) -> None:
    entry = open_record(video_record(board)).entry
    before = len(to_html(build_tables([entry], published=False)))
    rewrite(video_record(board), lambda r: r["run"]["model"].update(training_data=["x" * 20_000] * 40))
    (entry,), problems = read_board(board)
    assert not problems
    assert len(to_html(build_tables([entry], published=False))) < before + 3000


@pytest.mark.parametrize("name", ["run.json", "result.json", "episodes.jsonl", "submission.json"])
def test_texts_are_bounded_before_they_are_unpacked(
    board: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is short in an archive may be long, and JSON of empty lists takes thirty times its size in memory."""
    with zipfile.ZipFile(board.parent / "archives/video.zip") as good:
        limit = good.getinfo(name).file_size - 1
        limit -= archive.MAX_ROW * len(good.namelist()) if name == "submission.json" else 0
    monkeypatch.setitem(archive.TEXTS, name, limit)
    assert icvos("submit", "check", board.parent / "archives/video.zip") == 2
    error = capsys.readouterr().err
    assert f"'{name}' is a file of " in error and "are the most" in error
    monkeypatch.setitem(archive.TEXTS, name, limit + 1)
    assert add(board, "video", "--replace") == 0


def test_all_texts_together_are_bounded() -> None:
    assert sum(archive.TEXTS.values()) <= 64 << 20


# ------------------------------------------------------------------------------------------------------------ trainings


def of_seed(seed: int) -> Callable[[str, Content], None]:
    def change(file: str, content: Content) -> None:
        weights = {"head": str(seed) * 64}
        content["model"]["weights"] = weights
        if file == "run.json":
            content["key"]["weights"] = weights
            content["model"]["trainings"] = {"head": {"settings": "s", "seed": seed, "kept": "best"}}

    return change


@pytest.mark.parametrize(("other", "rows"), [("Ada", 1), ("Eve", 2)])
def test_nobody_sends_a_training_of_anothers_method(board: Path, other: str, rows: int) -> None:
    """The mean of several trainings would be whatever a stranger makes of it."""
    video_record(board).unlink()
    for seed, submitter in ((1, "Ada"), (2, other)):
        assert add(board, "video", sent=altered(board, of_seed(seed), submitter=submitter)) == 0
    entries, _ = read_board(board)
    (table,) = build_tables(entries, published=False)
    assert len(table.rows) == len({row[1] for row in table.rows}) == rows
    assert sum(isinstance(entry, Trainings) for entry in table.entries) == (rows == 1)


def test_a_training_of_fewer_episodes_stands_alone(board: Path) -> None:
    """A record that was made by hand may agree with itself and lack an episode."""
    video_record(board).unlink()
    for seed in (1, 2):
        assert add(board, "video", sent=altered(board, of_seed(seed), submitter="Ada")) == 0

    def fewer(content: Content) -> None:
        raise_everything(content | {"episodes": content["episodes"][:-1]})
        del content["episodes"][-1]
        raise_everything(content)

    rewrite(next(board.glob("*/*/*training=22222222.json")), fewer)
    entries, problems = read_board(board)
    assert not problems and len(build_tables(entries, published=False)[0].rows) == 2


# --------------------------------------------------------------------------------------------------------------- verify


def unnamed(content: Content) -> None:
    content["submission_sha256"] = None


def unsigned(content: Content) -> None:
    for name in ("sha256", "submitter", "submission_sha256"):
        del content[name]


@pytest.mark.parametrize("forget", [unnamed, unsigned])
def test_a_record_that_forgets_its_archive_is_judged_by_its_place(
    board: Path, forget: Callable[[Content], None], capsys: pytest.CaptureFixture[str]
) -> None:
    archives = board.parent / "archives"
    rewrite(video_record(board), forget, sign=forget is unnamed)
    assert verify(board, "--archives", archives) == 0
    assert "judged again from video.zip" in capsys.readouterr().out
    rewrite(video_record(board), raise_everything, sign=forget is unnamed)
    assert verify(board, "--archives", archives) == 1
    assert "bad: tiny/native/histogram@1.json: " in capsys.readouterr().out
    # Another archive of the same place makes no other figures right, nor the right ones wrong.
    rewrite(video_record(board), lambda _: None, sign=forget is unnamed)
    shutil.copy(altered(board, lambda *_: None), archives / "a.zip")
    assert verify(board, "--archives", archives) == 1


def test_what_is_shown_is_verified(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what stands in a folder that is a link."""
    rewrite(video_record(board), raise_everything)
    shutil.move(board / "tiny", board.parent / "elsewhere")
    (board / "tiny").symlink_to(board.parent / "elsewhere")
    assert len(read_board(board)[0]) == 1
    assert verify(board, "--archives", board.parent / "archives") == 1
    assert "bad: tiny/native/histogram@1.json: its archive" not in capsys.readouterr().err


def test_what_is_no_archive_ends_nothing(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives = board.parent / "archives"
    (archives / "folder.zip").mkdir()
    (archives / "circle.zip").symlink_to("circle.zip")
    (archives / "text.zip").write_text("none")
    os.mkfifo(archives / "pipe.zip")
    assert verify(board, "--archives", archives) == 0
    assert "judged again from video.zip" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------- the board's benchmarks


@pytest.mark.parametrize("folder", ["x" * 5000, "~nobody", "", "/proc/1/root/x", "/dev/null"])
def test_a_folder_that_cannot_be_read_is_not_at_hand(board: Path, folder: str) -> None:
    path = board / "benchmarks.json"
    content = json.loads(path.read_text())
    content["benchmarks"]["0" * 64] = folder
    path.write_text(to_json(content))
    assert verify(board) == 0
    assert add(board, "video", "--replace") == 0


@pytest.mark.parametrize("folder", ["a\0b", "\ud800"])
def test_a_folder_that_none_can_be_called_is_refused(
    board: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = board / "benchmarks.json"
    path.write_text(json.dumps({"schema": benchmarks.SCHEMA, "benchmarks": {"0" * 64: folder}}))
    assert verify(board) == 2
    assert "the board's list of benchmarks is broken" in capsys.readouterr().err


def test_two_adds_write_one_after_the_other(
    board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second, which would read the list before the first has written it, waits; here it may not."""
    monkeypatch.setattr(leaderboard, "LOCK_SECONDS", 0.0)
    (board / "benchmarks.json").unlink()
    write, statuses = benchmarks.write_json, []

    def meanwhile(path: Path, value: Any) -> None:
        if not statuses:
            statuses.append(None)
            statuses[0] = add(board, "image")
        write(path, value)

    monkeypatch.setattr(benchmarks, "write_json", meanwhile)
    assert add(board, "video", "--replace") == 0
    assert statuses == [2] and "another process works in this folder" in capsys.readouterr().err
    assert len(benchmarks.read_benchmarks(board)) == 1 and len(read_board(board)[0]) == 1
    assert add(board, "image") == 0
    assert len(benchmarks.read_benchmarks(board)) == 2 and len(read_board(board)[0]) == 2
    assert not list(board.glob(".*"))


def test_who_waits_for_a_lock_gets_it_when_it_is_free(tmp_path: Path) -> None:
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock_folder(tmp_path / "x"):
            held.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with pytest.raises(LockedError), lock_folder(tmp_path / "x", wait=0.1):
        pass
    threading.Timer(0.1, leave.set).start()
    with lock_folder(tmp_path / "x", wait=10.0):
        pass
    thread.join()


def test_a_benchmark_whose_folder_json_cannot_hold_leaves_no_record(board: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(board.parent / "image", folder)
    opened = benchmarks.load_benchmark(folder)
    with pytest.raises(RunError, match="is not UTF-8"):
        benchmarks.add_benchmark(board, opened)
