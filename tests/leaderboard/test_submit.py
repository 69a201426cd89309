"""Submissions: packed, checked and added; altered in many ways, each refused with its reason."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import build, icvos, run

from icvos.masks import decode_mask, encode_mask

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Benchmark, a run with masks, and its archive."""
    root = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    benchmarks = build(root)
    run(benchmarks / "demo", root / "run", "histogram", "--save-masks")
    assert icvos("submit", "pack", root / "run", "--out", root / "good.zip") == 0
    patch.undo()
    return root


def read(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: Files, *, relist: bool = True) -> Path:
    """Write an archive; ``relist`` makes its list anew, as a careful forger would."""
    if relist:
        rows = [
            {"path": n, "bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()}
            for n, d in files.items()
            if n != "submission.json"
        ]
        files = {**files, "submission.json": json.dumps({"schema": "icvos-submission/1", "files": rows}).encode()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def edit(files: Files, name: str, change: Callable[[Any], None]) -> None:
    value = json.loads(files[name])
    change(value)
    files[name] = json.dumps(value).encode()


def lines(files: Files) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files["episodes.jsonl"].splitlines()]


def set_lines(files: Files, rows: list[dict[str, Any]]) -> None:
    files["episodes.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()


def raise_summary(files: Files) -> None:
    edit(files, "result.json", lambda r: r["summary"].update({"J": r["summary"]["J"] + 1}))


def raise_episode(files: Files) -> None:
    """An episode's score raised, and the result recomputed to fit: only its masks tell."""
    from icvos.benchmark import Episode
    from icvos.protocols import get_protocol
    from icvos.runs.result import video_result

    rows = lines(files)
    rows[0]["J"] = min(rows[0]["J"] + 5, 100.0)
    set_lines(files, rows)
    episodes = [Episode(r["id"], r["video"], r["category"], r["category_name"], r["draw"], ()) for r in rows]
    again = video_result(
        json.loads(files["run.json"]),
        get_protocol("native"),
        episodes,
        {r["id"]: r for r in rows},
        {r["video"]: r["source"] for r in rows},
    )
    files["result.json"] = json.dumps(again).encode()


def swap_mask(files: Files) -> None:
    name = next(n for n in files if n.startswith("masks/"))
    files[name] = encode_mask((decode_mask(files[name], name) == 0).astype(np.uint8))


def rgb_mask(files: Files) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    files[next(n for n in files if n.startswith("masks/"))] = stream.getvalue()


def drop_episode(files: Files) -> None:
    set_lines(files, lines(files)[1:])


def drop_mask(files: Files) -> None:
    del files[next(n for n in files if n.startswith("masks/"))]


def wrong_benchmark(files: Files) -> None:
    edit(files, "run.json", lambda r: r["benchmark"].update(manifest_sha256="0" * 64))
    edit(files, "run.json", lambda r: r["key"].update(benchmark="0" * 64))
    edit(files, "result.json", lambda r: r["benchmark"].update(manifest_sha256="0" * 64))


def not_a_number(files: Files) -> None:
    rows = lines(files)
    rows[0]["J"] = float("nan")
    set_lines(files, rows)


def over_hundred(files: Files) -> None:
    rows = lines(files)
    rows[0]["J"] = 250.0
    set_lines(files, rows)


def weight_in_one_place(files: Files) -> None:
    edit(files, "run.json", lambda r: r["model"].update(weights={"sam2": "1" * 64}))


def deep_json(files: Files) -> None:
    files["result.json"] = b"[" * 100_000 + b"]" * 100_000


def limited(files: Files) -> None:
    edit(files, "run.json", lambda r: r["key"].update(limit_frames=2))
    edit(files, "result.json", lambda r: r["protocol"].update(limit_frames=2))


def other_video(files: Files) -> None:
    rows = lines(files)
    rows[0]["video"] = next(r["video"] for r in rows if r["video"] != rows[0]["video"])
    set_lines(files, rows)


INNER = [
    (raise_summary, "the result says"),
    (raise_episode, "and its masks give"),
    (swap_mask, "and its masks give"),
    (rgb_mask, "its masks: mask is an RGB image"),
    (drop_episode, "episodes are missing"),
    (drop_mask, "frames are missing"),
    (wrong_benchmark, "another benchmark, or another build of it: its manifest is"),
    (not_a_number, "NaN"),
    (over_hundred, "which is no percentage"),
    (weight_in_one_place, "the weights' hashes is said in several places"),
    (deep_json, "nested too deep"),
    (limited, "limited takes no rank"),
    (other_video, "says video"),
]


@pytest.mark.parametrize(("alter", "reason"), INNER, ids=lambda v: getattr(v, "__name__", ""))
def test_altered_with_its_list_made_anew(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], alter: Callable[[Files], None], reason: str
) -> None:
    files = read(world / "good.zip")
    alter(files)
    bad = write(tmp_path / "bad.zip", files)
    capsys.readouterr()
    assert icvos("submit", "check", bad, "--benchmark", world / "world/benchmarks/demo") == 2
    error = capsys.readouterr().err
    assert reason in error and "bad.zip" in error and error.count("\n") == 1
    # What is refused by check is refused by add, and nothing is written.
    assert (
        icvos("leaderboard", "add", bad, "--board", tmp_path / "board", "--benchmark", world / "world/benchmarks/demo")
        == 2
    )
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("alter", [raise_summary, swap_mask, weight_in_one_place], ids=lambda v: v.__name__)
def test_altered_without_its_list(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], alter: Callable[[Files], None]
) -> None:
    files = read(world / "good.zip")
    alter(files)
    assert icvos("submit", "check", write(tmp_path / "bad.zip", files, relist=False)) == 2
    assert "was changed after it was packed" in capsys.readouterr().err


def link(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("masks/x/00000.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")


def member(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    def add(path: Path) -> None:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)

    return add


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage(path: Path) -> None:
    # A byte within the first member's data: its checksum tells.
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(bytes(data))


def no_result(path: Path) -> None:
    files = read(path)
    del files["result.json"]
    write(path, files)


OUTER = [
    (member("../../evil.json"), "escapes"),
    (member("/etc/evil.json"), "escapes"),
    (member("masks/..\\..\\evil.png"), "escapes"),
    (member("masks/a/notes.txt"), "an extra file"),
    (member("run.py"), "an extra file"),
    (member("masks/x/00000.png"), "that its list does not name"),
    (member("masks/x/00001.png", bytes(15 << 20)), "a bomb"),
    (member("masks/x/00002.png", bytes(20 << 20)), "16,777,216 are the most"),
    (link, "is a link"),
    (truncate, "cut off or damaged"),
    (damage, "cut off or damaged"),
    (no_result, "result.json is missing"),
]


@pytest.mark.parametrize(("alter", "reason"), OUTER)
def test_hostile_archives(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], alter: Callable[[Path], None], reason: str
) -> None:
    bad = tmp_path / "sub" / "bad.zip"
    bad.parent.mkdir()
    bad.write_bytes((world / "good.zip").read_bytes())
    alter(bad)
    capsys.readouterr()
    assert icvos("submit", "check", bad) == 2
    error = capsys.readouterr().err
    assert "refused" in error and reason in error and error.count("\n") == 1
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    "words", [("submit", "check", "none.zip"), ("submit", "pack", "none"), ("leaderboard", "add", "none")]
)
def test_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]) -> None:
    assert icvos(*words[:-1], tmp_path / words[-1]) == 2
    assert "none" in capsys.readouterr().err


def test_good_one_is_added_once(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board, benchmark = tmp_path / "board", world / "world/benchmarks/demo"
    add = ("leaderboard", "add", world / "good.zip", "--board", board, "--benchmark", benchmark)
    assert icvos(*add) == 0
    assert "added, masks re-scored" in capsys.readouterr().out
    assert (board / "demo-tiny/native/histogram@1.json").is_file()
    assert icvos(*add) == 2
    assert "--replace" in capsys.readouterr().err
    assert icvos(*add, "--replace", "--reproduced", world / "run") == 2
    assert "the submission itself" in capsys.readouterr().err
    own = run(benchmark, tmp_path / "own")
    assert icvos(*add, "--replace", "--reproduced", own) == 0
    assert "reproduced by maintainer" in capsys.readouterr().out
    assert icvos("leaderboard", "show", "--board", board, "--runs", world / "run", "--no-published") == 0
    # A run that was added stands in the table once.
    assert capsys.readouterr().out.count("histogram") == 1


def test_one_of_another_benchmark_of_the_name_is_never_replaced(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    benchmark = world / "world/benchmarks/demo"
    assert icvos("leaderboard", "add", world / "run", "--board", board, "--benchmark", benchmark) == 0
    (record,) = board.glob("*/*/*.json")
    other = json.loads(record.read_text())
    del other["sha256"]
    for part in (other["run"]["benchmark"], other["result"]["benchmark"]):
        part["manifest_sha256"] = "0" * 64
    other["run"]["key"]["benchmark"] = "0" * 64
    record.write_text(json.dumps(other))
    for words in (["--replace"], ["--replace", "--force"]):
        assert icvos("leaderboard", "add", world / "run", "--board", board, *words) == 2
        assert "another benchmark of the name 'demo-tiny'" in capsys.readouterr().err
        assert json.loads(record.read_text()) == other


def test_packing_is_the_same_every_time_and_says_no_place(world: Path, tmp_path: Path) -> None:
    assert icvos("submit", "pack", world / "run", "--out", tmp_path / "again.zip") == 0
    assert (tmp_path / "again.zip").read_bytes() == (world / "good.zip").read_bytes()
    assert str(world).encode() not in read(world / "good.zip")["run.json"]


def test_without_masks_a_row_is_self_reported(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small.zip"
    assert icvos("submit", "pack", world / "run", "--no-masks", "--out", small) == 0
    assert icvos("submit", "check", small, "--benchmark", world / "world/benchmarks/demo") == 0
    assert "self-reported" in capsys.readouterr().out
    assert icvos("leaderboard", "add", small, "--benchmark", world / "world/benchmarks/demo", "--board", tmp_path) == 0
    assert "(evaluate --save-masks; after score, submit pack --predictions)" in capsys.readouterr().out


def test_no_masks_no_pack_with_masks(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(world / "world/benchmarks/demo", tmp_path / "run", "empty")
    assert icvos("submit", "pack", out) == 2
    assert "--save-masks" in capsys.readouterr().err


def test_another_method_reproduces_nothing(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = world / "world/benchmarks/demo"
    out = run(benchmark, tmp_path / "run", "full")
    words = ("--board", tmp_path / "b", "--benchmark", benchmark, "--reproduced", out)
    assert icvos("leaderboard", "add", world / "run", *words) == 2
    assert "another model" in capsys.readouterr().err


def test_record_edited_on_the_board_is_noticed(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board, benchmark = tmp_path / "board", world / "world/benchmarks/demo"
    assert icvos("leaderboard", "add", world / "run", "--board", board, "--benchmark", benchmark) == 0
    place = board / "demo-tiny/native/histogram@1.json"
    record = json.loads(place.read_text())
    record["result"]["summary"]["J&F"] += 3
    place.write_text(json.dumps(record))
    capsys.readouterr()
    assert icvos("leaderboard", "show", "--board", board) == 0
    error = capsys.readouterr().err
    assert error.startswith(f"left out: {place}: the result says") and "its episodes give" in error


def test_masks_made_anywhere(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = world / "world/benchmarks/demo"
    masks = tmp_path / "masks"
    shutil.copytree(world / "run/masks", masks)
    assert icvos("score", masks, "--benchmark", benchmark, "--model", "mine", "--out", tmp_path / "scored") == 0
    assert icvos("submit", "pack", tmp_path / "scored", "--predictions", masks, "--out", tmp_path / "m.zip") == 0
    capsys.readouterr()
    assert icvos("submit", "check", tmp_path / "m.zip", "--benchmark", benchmark) == 0
    assert "masks re-scored" in capsys.readouterr().out
    # A mask that changed between scoring and packing is found out.
    first = next(masks.rglob("*.png"))
    first.write_bytes(encode_mask((decode_mask(first.read_bytes(), first) == 0).astype(np.uint8)))
    assert icvos("submit", "pack", tmp_path / "scored", "--predictions", masks, "--out", tmp_path / "n.zip") == 0
    assert icvos("submit", "check", tmp_path / "n.zip", "--benchmark", benchmark) == 2
    assert "its masks give" in capsys.readouterr().err


def test_the_entries_of_folders_are_passed_over(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive packed again with ``zip -r`` names its folders too; a folder with content is none."""
    path = write(tmp_path / "again.zip", read(world / "good.zip"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.mkdir("masks")
    assert icvos("submit", "check", path, "--benchmark", world / "world/benchmarks/demo") == 0
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("masks/more/", b"content")
    capsys.readouterr()
    assert icvos("submit", "check", path, "--benchmark", world / "world/benchmarks/demo") == 2
    assert "no plain file" in capsys.readouterr().err


def test_few_shot_submission(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = world / "world/benchmarks/pascal-5i"
    out = run(benchmark, tmp_path / "few", "histogram", "--save-masks")
    assert icvos("submit", "pack", out, "--out", tmp_path / "few.zip") == 0
    assert icvos("submit", "check", tmp_path / "few.zip", "--benchmark", benchmark) == 0
    assert "mIoU" in capsys.readouterr().out


def test_resized_masks_whose_record_is_silent_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark, masks, packed = world / "world/benchmarks/demo", world / "run/masks", tmp_path / "m.zip"
    assert (
        icvos(
            "score",
            masks,
            "--benchmark",
            benchmark,
            "--protocol",
            "paper",
            "--model",
            "mine",
            "--out",
            tmp_path / "scored",
        )
        == 0
    )
    assert icvos("submit", "pack", tmp_path / "scored", "--predictions", masks, "--out", packed) == 0
    assert icvos("submit", "check", packed, "--benchmark", benchmark) == 0
    files = read(packed)
    assert json.loads(files["result.json"])["protocol"]["resized_masks"] is True
    edit(files, "result.json", lambda r: r["protocol"].update(resized_masks=False))
    capsys.readouterr()
    assert icvos("submit", "check", write(tmp_path / "silent.zip", files), "--benchmark", benchmark) == 2
    assert "result.json says false for protocol, resized_masks, and run.json true" in capsys.readouterr().err
    edit(files, "run.json", lambda r: r["key"].update(resized_masks=False))
    assert icvos("submit", "check", write(tmp_path / "silent.zip", files), "--benchmark", benchmark) == 2
    assert "its record does not say so" in capsys.readouterr().err
