"""The commands evaluate and merge, as a user types them."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_models import BROKEN, EMPTY_IMAGE, HEAD, IMAGE, RED, TOGETHER, write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli, progress
from icvos.evaluation.episode import episode_seed
from icvos.files import file_sha256, lock_folder
from icvos.runs.records import read_run

ROOT = Path(cli.__file__).parents[1]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_video_benchmark(tmp_path_factory.mktemp("video") / "bench", videos=9, frames=4)


@pytest.fixture
def red(tmp_path):
    return write_model(tmp_path / "method", RED)


def icvos(*arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def evaluate(model, bench, out, *more) -> int:
    return icvos("evaluate", "--model", model, "--benchmark", bench, "--out", out, *more)


def test_a_run_and_the_same_run_again(bench, red, tmp_path, capsys):
    assert evaluate(red, bench, tmp_path / "r", "--save-masks") == 0
    text = capsys.readouterr().out
    assert "red" in text and f"run: {tmp_path / 'r'}" in text and "tiny 1, protocol native" in text
    assert re.search(r"^time: \d+ % .+; \d+ s$", text, re.MULTILINE)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*")}
    for more in ((), ("--save-masks",)):
        assert evaluate(red, bench, tmp_path / "r", *more) == 0
        assert capsys.readouterr().out == text
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*")}  # nothing was touched


def test_masks_asked_for_later_are_made(bench, red, tmp_path):
    assert evaluate(red, bench, tmp_path / "r", "--limit-episodes", 2) == 0
    result = (tmp_path / "r/result.json").read_bytes()
    assert evaluate(red, bench, tmp_path / "r", "--limit-episodes", 2, "--save-masks") == 0
    assert len(list((tmp_path / "r/masks").rglob("*.png"))) == 8
    assert (tmp_path / "r/result.json").read_bytes() == result


def test_an_edited_method_runs_anew(bench, red, tmp_path, capsys):
    assert evaluate(red, bench, tmp_path / "r", "--limit-episodes", 2) == 0
    first = (tmp_path / "r/result.json").read_bytes()
    Path(red).write_text(Path(red).read_text().replace("level - 60", "level - 200"))
    assert evaluate(red, bench, tmp_path / "r", "--limit-episodes", 2) == 0
    assert "the earlier run is now" in capsys.readouterr().err
    assert (tmp_path / "r/result.json").read_bytes() != first
    assert (tmp_path / "r.old1/result.json").read_bytes() == first


@pytest.mark.parametrize("declared", ["", "the file's", "another's"])
def test_weights_other_than_declared_are_told(bench, tmp_path, capsys, declared):
    weights = tmp_path / "net.pt"
    weights.write_bytes(b"net")
    digest = file_sha256(weights)
    sha256 = {"": None, "the file's": digest.upper(), "another's": "0" * 64}[declared]
    text = RED.replace('version="1"', f'version="1", weights={{"net": WeightInfo("here", sha256={sha256!r})}}')
    model = write_model(tmp_path / "method", f"from icvos import WeightInfo\n{text}")
    assert evaluate(model, bench, tmp_path / "r", "--limit-episodes", 1, "--weights", f"net={weights}") == 0
    told = f"weights 'net' are another file than red declares: {digest[:16]}…, not {'0' * 16}…\n"
    assert (told in capsys.readouterr().err) is (declared == "another's")


def test_a_file_that_the_method_finds_by_itself_is_of_the_run(bench, tmp_path, capsys):
    found = 'self.weights.setdefault("net", Path(__file__).with_name("net.pt"))'
    text = RED.replace('version="1"', 'version="1", weights={"net": WeightInfo("beside it", required=False)}')
    text = text.replace("        self.noise,", f"        {found}\n        self.noise,")
    model = write_model(tmp_path / "method", f"from pathlib import Path\nfrom icvos import WeightInfo\n{text}")
    weights = Path(model.partition(":")[0]).with_name("net.pt")
    for content in (b"net", b"trained further"):
        weights.write_bytes(content)
        assert evaluate(model, bench, tmp_path / "r", "--limit-episodes", 1) == 0
        assert read_run(tmp_path / "r")["key"]["weights"] == {"net": file_sha256(weights)}
    assert "the earlier run is now" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--seed", 1), ("--protocol", "paper"), ("--shots", 2), ("--set", "noise=0.1")])
def test_another_run_in_the_folder_is_refused(bench, red, tmp_path, capsys, arguments):
    assert evaluate(red, bench, tmp_path / "r", "--limit-episodes", 2) == 0
    first = (tmp_path / "r/result.json").read_bytes()
    assert evaluate(red, bench, tmp_path / "r", "--limit-episodes", 2, *arguments) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "another run is there" in line and "choose another --out" in line
    assert (tmp_path / "r/result.json").read_bytes() == first


def test_failed_episodes_exit_1_and_are_named(bench, tmp_path, capsys):
    model = write_model(tmp_path, BROKEN)
    options = ("--set", "how=raises", "--set", f"marker={tmp_path / 'm'}")
    assert evaluate(model, bench, tmp_path / "r", *options) == 1
    err = capsys.readouterr().err
    assert "1 of 20 episodes failed" in err and "ValueError: half-way" in err and "Traceback" not in err
    # At once, with the line of the method, and where its traceback is.
    number = 1 + next(i for i, text in enumerate(Path(model).read_text().splitlines()) if "half-way" in text)
    at_once = f"tiny__v0__1__d0 failed: ValueError: half-way ({Path(model).name}:{number}); its traceback is in "
    assert err.index(at_once) < err.index("1 of 20 episodes failed") and "episodes.jsonl, or --debug shows it" in err
    assert evaluate(model, bench, tmp_path / "r", *options) == 0
    (tmp_path / "m").unlink()
    assert evaluate(model, bench, tmp_path / "debug", *options, "--debug") == 1
    assert f'{Path(model).name}", line {number}' in capsys.readouterr().err


def test_only_the_first_failures_are_said_at_once(bench, tmp_path, capsys):
    model = write_model(tmp_path, RED.replace("for frame in video:", "for frame in video[0 / 0]:"))
    assert evaluate(model, bench, tmp_path / "r") == 1
    err = capsys.readouterr().err
    assert err.count(" failed: ZeroDivisionError") == 3 and err.count("further failures are only counted") == 1


def test_a_failure_names_no_line_that_is_not_the_models(bench, tmp_path, capsys):
    model = write_model(tmp_path, RED.replace("for frame in video:", "yield 'no mask'\n        for frame in video:"))
    assert evaluate(model, bench, tmp_path / "r") == 1
    assert "is no mask (an array of bool is)" in (said := capsys.readouterr().err) and ".py:" not in said


@pytest.mark.parametrize("where", ["before", "after"])
def test_quiet_and_verbose(bench, red, tmp_path, capsys, monkeypatch, where):
    monkeypatch.setattr(progress, "EVERY", 0.0)  # all that would be said in a minute
    monkeypatch.setattr(progress.verbosity, "level", 0)
    words = ("evaluate", "--model", red, "--benchmark", bench, "--limit-episodes", 3, "--out")
    for word, lines, episodes in (("-q", 0, 0), ("-v", 1, 3)):
        order = (word, *words, tmp_path / word) if where == "before" else (*words, tmp_path / word, word)
        assert icvos(*order) == 0
        err = capsys.readouterr().err
        assert (" gone" in err) == bool(lines) and err.count("d0: J ") + err.count("d1: J ") == episodes


def test_several_models_end_in_one_table(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    red, other = (write_model(tmp_path / name, source) for name, source in (("a", RED), ("b", TOGETHER)))
    words = ("--model", red, "--model", other, "--benchmark", bench, "--limit-episodes", 4)
    assert icvos("evaluate", *words, "--set", "noise=0.1", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    cells = [line.split() for line in printed.splitlines() if " 4 " in line]
    rows = [row[0] for row in cells if "J&F" not in row and row[0] != "time:"]
    assert rows == ["red", "together"] and printed.count("J&F") == 1 and printed.count("run: ") == 2
    folders = sorted((tmp_path / "out").iterdir())
    runs = {run["model"]["name"]: run["model"]["options"] for run in map(read_run, folders)}
    assert runs == {"red": {"nap": 0.0, "noise": 0.1}, "together": {"nap": 0.0}}  # each what it knows
    twice = ("--model", write_model(tmp_path / "c", RED))
    for more, says in (
        (("--set", "nois=1"), "no model of"),
        (("--name", "x"), "--name is of one run"),
        (twice, "two models are called 'red'"),
    ):
        assert icvos("evaluate", *words, *more) == 2
        assert says in capsys.readouterr().err
    source = RED.replace('"red"', '"broken"').replace("super().__init__", "1 / 0; super().__init__")
    (tmp_path / "broken.py").write_text(HEAD + source)
    among = ("--model", f"{tmp_path / 'broken.py'}:Red", *words, "--out", tmp_path / "among")
    assert icvos("evaluate", *among) != 0  # the others are run, and shown
    captured = capsys.readouterr()
    assert "cannot be built" in captured.err and captured.out.count("run: ") == 2
    assert icvos("evaluate", *words[:2], *words[4:], "--name", "mine") == 0
    assert "red (mine)" in capsys.readouterr().out and (tmp_path / "runs/tiny/mine/result.json").is_file()


def test_images(tmp_path, capsys):
    bench = write_image_benchmark(tmp_path / "b")
    model = write_model(tmp_path, IMAGE)
    assert evaluate(model, bench, tmp_path / "r", "--protocol", "fss-paper") == 0
    printed = capsys.readouterr().out
    assert "mIoU" in printed and "meets its ground truth" not in printed
    nothing = write_model(tmp_path / "nothing", EMPTY_IMAGE)
    assert evaluate(nothing, bench, tmp_path / "e") == 0
    assert "no mask of any episode meets its ground truth; are they all empty?" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ shards and merge


@pytest.mark.parametrize("source", [RED, TOGETHER], ids=["one by one", "together"])
def test_seven_shards_merged_equal_one_run(bench, tmp_path, source):
    model = write_model(tmp_path, source)
    assert evaluate(model, bench, tmp_path / "one", "--save-masks") == 0
    shards = []
    for index in range(1, 8):
        shards.append(tmp_path / f"s{index}")
        assert evaluate(model, bench, shards[-1], "--shard", f"{index}/7", "--save-masks") == 0
    assert icvos("merge", *reversed(shards), "--out", tmp_path / "all") == 0
    assert (tmp_path / "one/result.json").read_bytes() == (tmp_path / "all/result.json").read_bytes()
    for folder in ("masks", "frames"):
        names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one" / folder).rglob("*") if p.is_file())
        assert names
        for name in names:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()
    # The merged run is the whole run: evaluating there again has nothing to do.
    assert evaluate(model, bench, tmp_path / "all") == 0


def test_more_shards_than_videos(tmp_path, red):
    bench = write_video_benchmark(tmp_path / "b", videos=1)
    assert evaluate(red, bench, tmp_path / "one") == 0
    for index in (1, 2):
        assert evaluate(red, bench, tmp_path / f"s{index}", "--shard", f"{index}/2") == 0
    assert icvos("merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "all") == 0
    assert (tmp_path / "one/result.json").read_bytes() == (tmp_path / "all/result.json").read_bytes()


def test_merging_images(tmp_path):
    bench = write_image_benchmark(tmp_path / "b")
    model = write_model(tmp_path, IMAGE)
    assert evaluate(model, bench, tmp_path / "one") == 0
    for index in (1, 2, 3):
        assert evaluate(model, bench, tmp_path / f"s{index}", "--shard", f"{index}/3") == 0
    assert icvos("merge", *(tmp_path / f"s{i}" for i in (1, 2, 3)), "--out", tmp_path / "all") == 0
    assert (tmp_path / "one/result.json").read_bytes() == (tmp_path / "all/result.json").read_bytes()


@pytest.fixture(scope="module")
def shards(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    model = write_model(folder, RED)
    for index in (1, 2, 3):
        assert evaluate(model, bench, folder / f"s{index}", "--shard", f"{index}/3") == 0
    assert evaluate(model, bench, folder / "half", "--shard", "1/2") == 0
    assert evaluate(model, bench, folder / "seed", "--shard", "2/3", "--seed", 5) == 0
    assert evaluate(model, bench, folder / "whole") == 0
    shutil.copytree(folder / "s2", folder / "torn")
    lines = (folder / "torn/episodes.jsonl").read_text().splitlines(keepends=True)
    (folder / "torn/episodes.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    return folder


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("s1", "s2"), "shard 3/3 is missing"),
        (("s1", "s2", "s2", "s3"), "shard 2/3 is given twice"),
        (("s1", "seed", "s3"), "the runs differ: seed is 5 here and 0"),
        (("s1", "whole", "s3"), "the run is no shard"),
        (("s1", "s2", "s3", "half"), "shards of different numbers"),
        (("s1", "torn", "s3"), "1 episode is in no shard"),
        (("s1", "s2", "nothing"), "no run here"),
    ],
)
def test_what_merge_refuses(shards, tmp_path, capsys, names, says):
    assert icvos("merge", *(shards / name for name in names), "--out", tmp_path / "all") == 2
    line = capsys.readouterr().err.strip()
    assert says in line and "\n" not in line
    assert ("torn" in names) == ("/torn;" in line)  # the shard that lacks it is named
    assert not (tmp_path / "all/result.json").exists()


def test_shards_of_an_older_division_are_not_merged_or_resumed(bench, red, shards, tmp_path, capsys):
    older = shutil.copytree(shards / "s2", tmp_path / "older")
    run = json.loads((older / "run.json").read_text())
    assert run["key"].pop("shard_by") == "frames"
    (older / "run.json").write_text(json.dumps(run))
    assert icvos("merge", shards / "s1", older, shards / "s3", "--out", tmp_path / "all") == 2
    assert "were divided otherwise" in capsys.readouterr().err
    assert evaluate(red, bench, older, "--shard", "2/3") == 2
    assert "another run is there" in capsys.readouterr().err


def test_merge_on_a_moved_benchmark(bench, red, tmp_path, capsys):
    moved = shutil.copytree(bench, tmp_path / "b")
    for index in (1, 2):
        assert evaluate(red, moved, tmp_path / f"s{index}", "--shard", f"{index}/2") == 0
    moved.rename(tmp_path / "c")
    runs = (tmp_path / "s1", tmp_path / "s2")
    assert icvos("merge", *runs, "--out", tmp_path / "all") == 2
    assert "benchmark not found" in capsys.readouterr().err
    assert icvos("merge", *runs, "--out", tmp_path / "all", "--benchmark", tmp_path / "c") == 0
    other = write_video_benchmark(tmp_path / "other")
    assert icvos("merge", *runs, "--out", tmp_path / "new", "--benchmark", other) == 2
    assert "another benchmark" in capsys.readouterr().err


# --------------------------------------------------------------------------------------- stopped from outside

# As from a terminal, even where this suite runs in the background and has inherited an ignored Ctrl-C.
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from icvos import cli, progress
cli.main(sys.argv[1:])
"""


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def lines(run: Path) -> int:
    path = run / "episodes.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition, seconds: float = 60.0) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.005)


def stop_at(stop: int, model, bench, run: Path, episodes: int, *more) -> tuple[int, str]:
    """Run, send a signal once so many episodes are there, and return exit status and standard error."""
    command = ("evaluate", "--model", model, "--benchmark", bench, "--out", run, "--set", "nap=0.01", *more)
    process = start(*command)
    wait_for(lambda: lines(run) >= episodes or process.poll() is not None)
    workers = children(process.pid)
    process.send_signal(stop)
    error = process.communicate(timeout=60)[1].decode()
    wait_for(lambda: not any(Path(f"/proc/{pid}/fd").exists() and alive(pid) for pid in workers), 10)
    return process.returncode, error


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def whole(bench, tmp_path_factory):
    """The result of a run that nothing stopped."""
    root = tmp_path_factory.mktemp("whole")
    assert evaluate(write_model(root, RED), bench, root / "r", "--set", "nap=0.01") == 0
    return (root / "r/result.json").read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("stop", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_sigterm_and_ctrl_c_keep_what_was_done(bench, red, whole, tmp_path, stop, status, workers):
    code, error = stop_at(stop, red, bench, tmp_path / "r", 3, "--workers", workers)
    assert code == status and "Traceback" not in error
    kept = lines(tmp_path / "r")
    assert f"{kept} of 20 episodes are kept in {tmp_path / 'r'}; the same command goes on" in error
    assert 3 <= kept < 20 and read_run(tmp_path / "r")["status"] == "interrupted"
    assert not (tmp_path / "r/result.json").exists()
    assert not list(tmp_path.rglob(".*.tmp"))
    assert evaluate(red, bench, tmp_path / "r", "--set", "nap=0.01") == 0
    assert lines(tmp_path / "r") == 20  # none was run twice
    assert (tmp_path / "r/result.json").read_bytes() == whole


def killed_again_and_again(tmp_path, bench, source, *, workers, kills, seed):
    """Kill one run at random moments, resuming it each time; it must end with the bytes of an uninterrupted one."""
    import random

    generator = random.Random(seed)
    model = write_model(tmp_path / "method", source)
    assert evaluate(model, bench, tmp_path / "whole", "--set", "nap=0.01") == 0
    wanted = (tmp_path / "whole/result.json").read_bytes()
    done = 0
    while done < kills:
        run = tmp_path / f"r{done}"
        while done < kills and not (run / "result.json").exists():
            process = start(
                "evaluate",
                "--model",
                model,
                "--benchmark",
                bench,
                "--out",
                run,
                "--set",
                "nap=0.01",
                "--workers",
                workers,
            )
            # Any moment: while starting, within an episode, while the result is written.
            if generator.random() < 0.3:
                time.sleep(generator.random() * 0.8)
            else:
                target = lines(run) + generator.randrange(8)
                wait_for(lambda p=process, n=target, r=run: lines(r) >= n or p.poll() is not None)
                time.sleep(generator.random() * 0.05)
            workers_now = children(process.pid)
            process.kill()
            process.communicate()
            done += 1
            wait_for(lambda: not any(alive(pid) for pid in workers_now), 10)  # noqa: B023 - called at once
        assert evaluate(model, bench, run, "--set", "nap=0.01", "--workers", workers) == 0
        assert (run / "result.json").read_bytes() == wanted
        ids = [json.loads(line)["id"] for line in (run / "episodes.jsonl").read_text().splitlines()]
        timed = source is TOGETHER  # once more, by itself, for its speed
        assert len(ids) == 20 + timed and len(set(ids)) == 20
        assert not list(run.rglob("*.tmp")) and not list(run.rglob("*.partial"))


@pytest.mark.parametrize(("workers", "source"), [(1, TOGETHER), (2, RED)], ids=["together", "two workers"])
def test_sigkill_then_resumed(bench, tmp_path, workers, source):
    killed_again_and_again(tmp_path, bench, source, workers=workers, kills=3, seed=workers)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", [RED, TOGETHER], ids=["one by one", "together"])
@pytest.mark.parametrize("workers", [1, 2])
def test_sigkill_at_50_moments(bench, tmp_path, workers, source):
    killed_again_and_again(tmp_path, bench, source, workers=workers, kills=50, seed=10 + workers)


# ----------------------------------------------------------------------------------------------- the place to write


def test_two_writers(bench, red, tmp_path, capsys):
    with lock_folder(tmp_path / "r"):
        assert evaluate(red, bench, tmp_path / "r") == 2
    assert "another process works in this folder" in capsys.readouterr().err


def test_a_full_disk(bench, red, tmp_path, capsys):
    # No file may grow beyond 1500 bytes: records fail to be written after a few, as on a full disk.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1900, hard))
    try:
        status = evaluate(red, bench, tmp_path / "r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    error = capsys.readouterr().err.strip()
    assert status == 2 and "File too large" in error and "\n" not in error
    assert not (tmp_path / "r/result.json").exists() and not list(tmp_path.rglob("*.tmp"))
    assert evaluate(red, bench, tmp_path / "r") == 0
    assert evaluate(red, bench, tmp_path / "whole") == 0
    assert (tmp_path / "r/result.json").read_bytes() == (tmp_path / "whole/result.json").read_bytes()


def test_an_output_that_cannot_be_written(bench, red, tmp_path, capsys):
    # /proc takes no folders, not even from root.
    assert evaluate(red, bench, "/proc/icvos/run") == 2
    error = capsys.readouterr().err.strip()
    assert "/proc/icvos" in error and "\n" not in error
    (tmp_path / "file").write_text("mine")
    assert evaluate(red, bench, tmp_path / "file") == 2
    assert evaluate(red, bench, tmp_path / "file/run") == 2
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_output(bench, red, tmp_path, capsys):
    (tmp_path / "there").mkdir(mode=0o500)
    assert evaluate(red, bench, tmp_path / "there/r") == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_finished_run_in_a_read_only_place_is_printed(bench, red, tmp_path, monkeypatch):
    assert evaluate(red, bench, tmp_path / "r") == 0

    open_any = os.open

    def open_to_read(path, flags, *more, **others):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system")
        return open_any(path, flags, *more, **others)

    monkeypatch.setattr("icvos.files.os.open", open_to_read)
    assert evaluate(red, bench, tmp_path / "r") == 0


GREEDY = RED.replace(
    "for frame in video:\n",
    "held = [np.ones(1 << 24) for _ in range(100 * (level > 0) * (seed % 2))]\n        for frame in video:\n",
    1,
).replace('"red"', '"greedy"')


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_exhausts_memory_fails_its_episodes_alone(bench, tmp_path, workers):
    # 12 GB where 700 MB may be had: every episode with an odd seed asks for them.
    model = write_model(tmp_path, GREEDY)
    code = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, 700 << 20));" + RUN
    command = ["evaluate", "--model", model, "--benchmark", bench, "--out", tmp_path / "r", "--workers", workers]
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    found = [json.loads(line) for line in (tmp_path / "r/episodes.jsonl").read_text().splitlines()]
    odd = {record["id"]: episode_seed(0, record["id"]) % 2 == 1 for record in found}
    assert len(found) == 20 and 0 < sum(odd.values()) < 20
    assert all(bool(record.get("error")) == odd[record["id"]] for record in found)
    assert all("MemoryError" in record["error"] for record in found if record.get("error"))


def test_torn_records_are_mended(bench, red, tmp_path):
    assert evaluate(red, bench, tmp_path / "r") == 0
    whole = (tmp_path / "r/result.json").read_bytes()
    path = tmp_path / "r/episodes.jsonl"
    run = json.loads((tmp_path / "r/run.json").read_text())
    for size in (0, 1, 700, path.stat().st_size - 1):
        os.truncate(path, size)
        (tmp_path / "r/run.json").write_text(json.dumps({**run, "status": "running"}))
        (tmp_path / "r/result.json").unlink()
        assert evaluate(red, bench, tmp_path / "r") == 0
        assert (tmp_path / "r/result.json").read_bytes() == whole
