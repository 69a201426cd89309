"""Run folders: appended, torn, damaged, stale, locked."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from icvos.benchmark import Episode
from icvos.errors import LockedError, RunError
from icvos.protocols import PROTOCOLS
from icvos.runs.episodes import speed
from icvos.runs.records import RunFolder, read_result, read_run
from icvos.runs.result import video_result
from icvos.runs.schema import RUN_SCHEMA


def run(**key):
    return {
        "schema": RUN_SCHEMA,
        "key": {"model": "m", "seed": 0, "source": "a", **key},
        "model": {"name": "m"},
        "benchmark": {"name": "b"},
        "start": "then",
    }


def record(name, j=50.0):
    return {"id": name, "J": j, "F": 25.0, "frames": 2}


def test_what_was_added_is_there(tmp_path):
    with RunFolder.open(tmp_path / "r", run()) as folder:
        folder.add(record("a"), {"J": np.array([0.5, 0.5]), "F": np.array([0.25, 0.25])})
        folder.add(record("b") | {"error": "ValueError: x"})
        assert folder.done(["a", "b", "c"]) == {"a"}
    with np.load(tmp_path / "r/frames/a.npz") as values:
        assert values["J"].tolist() == [0.5, 0.5]
    assert json.loads((tmp_path / "r/episodes.jsonl").read_text().splitlines()[0]) == record("a")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["episodes.jsonl", "frames", "run.json"]


def test_the_last_line_of_an_id_wins(tmp_path):
    with RunFolder.open(tmp_path, run()) as folder:
        folder.add(record("a") | {"error": "x"})
        folder.add(record("a", 75.0))
        assert folder.records()["a"]["J"] == 75.0
        assert folder.done(["a"]) == {"a"}


def test_a_result_of_many_episodes_takes_little_memory(tmp_path):
    episodes = [Episode(f"v{n // 10}__1__d{n % 10}", f"v{n // 10}", 1, "person", n % 10, ("s",)) for n in range(2000)]
    with RunFolder.open(tmp_path, run()) as folder:
        for episode in episodes:
            folder.add(record(episode.id) | {"video": episode.video, "fps": 2.0, "seconds": 1.0, "note": "n" * 200})
        tracemalloc.start()
        try:
            records = folder.records()
            result = video_result(
                folder.run, PROTOCOLS["native"], episodes, records, {f"v{n}": "s" for n in range(200)}
            )
            figures = speed(records, [episode.id for episode in episodes])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (result["summary"]["episodes"], result["summary"]["J&F"], figures["fps"]) == (2000, 37.5, 2.0)
    assert peak < 1000 * len(episodes)  # where records are held it is three times as much


@pytest.mark.parametrize("torn", ['{"id": "b", "J": 1', '{"id": "b", "J": 1.0, "F": 2.0}', "\x00\xff"])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    # The second case is a whole record without its line end: it may be half of a longer one, so it goes too.
    with RunFolder.open(tmp_path, run()) as folder:
        folder.add(record("a"))
    with (tmp_path / "episodes.jsonl").open("a") as stream:
        stream.write(torn)
    with RunFolder.open(tmp_path, run()) as folder:
        assert set(folder.records()) == {"a"}
        folder.add(record("c"))
        assert set(folder.records()) == {"a", "c"}


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"id": "../x", "J": 1, "F": 1}',
        '{"id": "a"}',
        '{"id": "a", "J": 1}',
        '{"id": "a", "J": NaN, "F": 1}',
        '{"id": "a", "J": "1", "F": 1}',
        '{"id": "a", "J": 1, "F": 1, "frames": -1}',
        '{"id": "a", "J": 1, "F": 1, "J_decay": []}',
        '{"id": "a", "J": 1e400, "F": 1}',
        '{"id": 3, "J": 1, "F": 1}',
        '{"id": "a", "inter_fg": 1.5, "union_fg": 2, "inter_bg": 1, "union_bg": 1}',
        '{"id": "a", "J": 1, "F": 1, "error": 1}',
    ],
)
def test_a_damaged_line_is_named(tmp_path, line):
    with RunFolder.open(tmp_path, run()) as folder:
        folder.add(record("a"))
    with (tmp_path / "episodes.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with RunFolder.open(tmp_path, run()) as folder, pytest.raises(RunError, match="line 2 is no record"):
        folder.records()


def test_what_killed_writers_left_is_no_run(tmp_path):
    # A kill within the first write of run.json leaves only its temporary file.
    (tmp_path / "r").mkdir()
    (tmp_path / "r/.run.json.abc.tmp").write_text("{")
    with RunFolder.open(tmp_path / "r", run()):
        assert not list((tmp_path / "r").glob(".*.tmp"))


def test_an_edited_method_is_evaluated_anew_and_the_old_run_kept(tmp_path):
    for source, moved in (("a", None), ("b", "r.old1"), ("c", "r.old2")):
        with RunFolder.open(tmp_path / "r", run(source=source)) as folder:
            assert (folder.moved and folder.moved.name) == moved
            assert not folder.records()
            folder.add(record("a"))
    assert read_run(tmp_path / "r.old1")["key"]["source"] == "a"
    with (
        pytest.raises(RunError, match="its source is 'c', not 'd'"),
        RunFolder.open(tmp_path / "r", run(source="d"), set_aside=False),
    ):
        pass


@pytest.mark.parametrize(("key", "says"), [({"seed": 1}, "its seed is 0, not 1"), ({"model": "n"}, "its model is 'm'")])
def test_another_run_is_refused(tmp_path, key, says):
    with RunFolder.open(tmp_path, run()) as folder:
        folder.add(record("a"))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=says), RunFolder.open(tmp_path, run(**key)):
        pass
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_anything_else_there_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="no run here"), RunFolder.open(tmp_path, run()):
        pass
    with pytest.raises(RunError, match="a file is in the way"), RunFolder.open(tmp_path / "notes.txt", run()):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_two_writers(tmp_path):
    first, second = RunFolder.open(tmp_path / "r", run()), RunFolder.open(tmp_path / "r", run())
    with first, pytest.raises(LockedError, match="another process"), second:
        pass
    with RunFolder.open(tmp_path / "r", run()):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "x"}', '{"schema": "icvos-run/1", "key": 1}', "\x00"])
def test_a_damaged_run_json(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "icvos-result/1", "summary": 1}'])
def test_a_damaged_result(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RunError, match=r"result\.json"):
        read_result(tmp_path)
    (tmp_path / "result.json").unlink()
    with pytest.raises(RunError, match="has no result yet"):
        read_result(tmp_path)
