"""Bad input to evaluate: one line that names the file, exit status 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image
from run_models import RED, write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli
from icvos.commands.options import DataFolder, FollowedPath
from icvos.manifest import write_manifest
from icvos.sources import SOURCES

MASK = "videos/tiny__v1/Annotations/1/00002.png"
FRAME = "videos/tiny__v1/JPEGImages/00002.jpg"
SUPPORT = "supports/masks/1/COCO_val2014_000000000001.png"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_video_benchmark(tmp_path_factory.mktemp("video") / "bench")


@pytest.fixture
def bench(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bench")


@pytest.fixture
def red(tmp_path):
    return write_model(tmp_path / "method", RED)


def refused(capsys, *arguments) -> str:
    """Run a command that must exit with 2 and one line; return the line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2, line
    assert line.startswith("icvos: ") and "\n" not in line and "Traceback" not in line
    return line


def evaluate(capsys, red, bench, tmp_path, *more) -> str:
    line = refused(capsys, "evaluate", "--model", red, "--benchmark", bench, "--out", tmp_path / "r", *more)
    assert not (tmp_path / "r/result.json").exists()
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.partial"))
    return line


def remove(path: str):
    def act(root: Path) -> None:
        place = root / path
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return act


def save(path: str, array: np.ndarray, mode: str | None = None):
    def act(root: Path) -> None:
        picture = Image.fromarray(array)
        (picture.convert(mode) if mode else picture).save(root / path)

    return act


def cut(path: str, share: float):
    def act(root: Path) -> None:
        data = (root / path).read_bytes()
        (root / path).write_bytes(data[: int(len(data) * share)])

    return act


def write(path: str, text: str):
    return lambda root: (root / path).write_text(text)


def replace(path: str, old: str, new: str, count: int = 1):
    def act(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, count))

    return act


def drop_column(path: str, column: str):
    def act(root: Path) -> None:
        rows = [line.split(",") for line in (root / path).read_text().splitlines()]
        place = rows[0].index(column)
        (root / path).write_text("".join(",".join(r[:place] + r[place + 1 :]) + "\n" for r in rows))

    return act


grey = np.zeros((40, 52), np.uint8)
CASES = {
    # The manifest is written anew after these: the damage was there when the benchmark was made.
    "a sequence listed but absent": (remove("videos/tiny__v1"), "folder not found", "tiny__v1/JPEGImages"),
    "a frame that is missing": (remove(FRAME), "frame 00002 is missing", "tiny__v1/JPEGImages"),
    "a frame without a mask": (remove(MASK), "mask not found", MASK),
    "a mask of another size": (save(MASK, grey[:, :50]), "mask is 40x50 (HxW)", "expected 40x52"),
    "a truncated mask": (cut(MASK, 0.6), "mask cannot be decoded", MASK),
    "an empty mask file": (write(MASK, ""), "mask is empty", MASK),
    "an RGB mask": (save(MASK, np.zeros((40, 52, 3), np.uint8)), "mask is an RGB image", MASK),
    "a mask with alpha": (save(MASK, grey, "LA"), "grey with alpha", MASK),
    "a 16-bit mask": (save(MASK, grey.astype(np.uint16)), "16 bits", MASK),
    "a mask with object ids": (save(MASK, grey + 5), "mask holds the value 5", MASK),
    "a truncated frame": (cut(FRAME, 0.5), "image is truncated", FRAME),
    "a frame that is no image": (write(FRAME, "hello"), "image cannot be decoded", FRAME),
    "a frame of another size": (save(FRAME, np.zeros((41, 52, 3), np.uint8)), "frame is 41x52", FRAME),
    "a support mask of another size": (save(SUPPORT, grey), "mask is 40x52 (HxW)", "expected 48x36"),
    "a support mask that is missing": (remove(SUPPORT), "mask not found", SUPPORT),
    "a support image that is missing": (
        remove("supports/images/COCO_val2014_000000000001.jpg"),
        "image 'COCO_val2014_000000000001' is missing",
        "supports/images",
    ),
    "a category with no support": (
        replace("episodes.csv", ",COCO_val2014_000000000000,COCO_val2014_000000000001", ",,"),
        "tiny__v0__1__d0 has no support",
        "episodes.csv",
    ),
    "an episode of an unknown video": (
        replace("episodes.csv", "d0,tiny__v0,", "d0,tiny__v7,"),
        "is of no pair",
        "episodes.csv",
    ),
    "an episode twice": (replace("episodes.csv", "v0__1__d1", "v0__1__d0"), "stands twice", "episodes.csv"),
    "an id that leaves the folder": (replace("episodes.csv", "tiny__v0__1__d0", "../x"), "no valid id", "episodes.csv"),
    "a number that is none": (replace("videos.csv", ",6,", ",six,"), "frames is 'six'", "videos.csv"),
    "a missing column": (drop_column("pairs.csv", "complete"), "no column complete", "pairs.csv"),
    "no episodes.csv": (remove("episodes.csv"), "CSV file not found", "episodes.csv"),
    "no episode": (
        lambda root: write("episodes.csv", (root / "episodes.csv").read_text().splitlines()[0])(root),
        "no episodes of protocol 'native'",
        "",
    ),
    "benchmark.json cut off": (cut("benchmark.json", 0.5), "JSON is broken", "benchmark.json"),
    "another schema": (replace("benchmark.json", "icvos-benchmark/1", "icvos-benchmark/9"), "schema is", "expected"),
    "an unknown vocabulary": (replace("benchmark.json", "coco80", "coco81"), "coco81", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_benchmark(bench, red, tmp_path, capsys, name):
    act, says, where = CASES[name]
    act(bench)
    write_manifest(bench)
    line = evaluate(capsys, red, bench, tmp_path)
    assert says in line and where in line


def test_a_palette_less_mask_is_a_mask(bench, red, tmp_path):
    # The tests write grey masks without a palette; with one they say the same.
    mask = Image.open(bench / MASK)
    labels = np.array(mask)
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    Image.fromarray(labels).save(bench / MASK)
    write_manifest(bench)
    for name, image in (("a", None), ("b", picture)):
        if image is not None:
            picture.putdata(labels.ravel().tolist())
            picture.save(bench / MASK)
            write_manifest(bench)
        with pytest.raises(SystemExit) as stop:
            cli.main(["evaluate", "--model", red, "--benchmark", str(bench), "--out", str(tmp_path / name)])
        assert not stop.value.code
    summaries = [json.loads((tmp_path / name / "result.json").read_text())["summary"] for name in ("a", "b")]
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize(("word", "shown"), [("caf\udce9", "'caf\\xe9' is not UTF-8"), ("a\x1b[31mb", "a\ufffd[31mb")])
def test_arguments_that_a_terminal_or_a_table_cannot_hold(
    word: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["show", word])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert shown in error and "\x1b" not in error


@pytest.mark.parametrize("path", [MASK, FRAME, SUPPORT, "videos.csv", "benchmark.json", "pairs.csv"])
def test_a_file_that_changed_since_the_build(bench, red, tmp_path, capsys, path):
    data = bytearray((bench / path).read_bytes())
    data[-3:] = b"\n\n\n"  # still of the same size
    (bench / path).write_bytes(data)
    if not path.endswith((".csv", ".json")):
        line = evaluate(capsys, red, bench, tmp_path)
        assert (
            "file changed since the benchmark was built" in line and path in line and "icvos build-data check" in line
        )
    else:
        assert path in evaluate(capsys, red, bench, tmp_path)


def test_a_mask_that_changed_to_another_good_one(bench, red, tmp_path, capsys):
    save(MASK, np.ones((40, 52), np.uint8))(bench)
    assert "file changed since" in evaluate(capsys, red, bench, tmp_path)


def test_a_file_that_was_added(bench, red, tmp_path, capsys):
    lines = (bench / "manifest.csv").read_text().splitlines(keepends=True)
    (bench / "manifest.csv").write_text("".join(line for line in lines if not line.startswith("supports/masks/1/")))
    assert "a file is not in the manifest" in evaluate(capsys, red, bench, tmp_path)


def test_missing_roots(red, tmp_path, capsys):
    assert "benchmark not found" in evaluate(capsys, red, tmp_path / "nothing", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no benchmark.json" in evaluate(capsys, red, tmp_path / "empty", tmp_path)
    (tmp_path / "file").write_text("x")
    assert "benchmark not found" in evaluate(capsys, red, tmp_path / "file", tmp_path)


def test_an_unfinished_build(bench, red, tmp_path, capsys):
    (bench / "manifest.csv").unlink()
    assert "no manifest.csv" in evaluate(capsys, red, bench, tmp_path)
    (bench / "manifest.csv").write_text("")
    assert "manifest.csv is empty" in evaluate(capsys, red, bench, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "histogrm"), "no model 'histogrm'; did you mean 'histogram'"),
        (("--model", "nothing.here:Model"), "no module 'nothing.here'"),
        (("--model", "missing.py:Model"), "model file not found"),
        (("--model", "RED", "--set", "noize=1"), "has no option 'noize'; did you mean 'noise'"),
        (("--model", "RED", "--set", "noise=much"), "option noise is 'much'; expected a number"),
        (("--model", "RED", "--set", "noise"), "'noise' is no setting"),
        (("--model", "RED", "--weights", "w=x"), "takes no weights 'w'"),
        (("--model", "RED", "--weights", "w"), "is no file of weights"),
        (("--model", "RED", "--protocol", "natve"), "did you mean 'native'"),
        (("--model", "RED", "--protocol", "fss-native"), "does not fit this benchmark"),
        (("--model", "RED", "--set", "noise=nan"), "option noise is 'nan'; expected a finite number"),
        (("--model", "RED", "--shots", "0"), "Invalid value for '--shots'"),
        (("--model", "RED", "--shots", "99"), "99 shots, where no episode of"),
        (("--model", "RED", "--workers", "0"), "Invalid value for '--workers'"),
        (("--model", "RED", "--timeout", "-1"), "Invalid value for '--timeout'"),
        (("--model", "RED", "--timeout", "nan"), "nan is no finite number"),
        (("--model", "RED", "--shard", "0/3"), "'0/3' is no shard"),
        (("--model", "RED", "--shard", "4/3"), "'4/3' is no shard"),
        (("--model", "RED", "--shard", "a"), "'a' is no shard"),
        (("--model", "RED", "--shard", "auto/0"), "'auto/0' is no shard"),
        (("--model", "RED", "--shard", "²/3"), "'²/3' is no shard"),
        (("--model", "RED", "--shard", "auto/²"), "'auto/²' is no shard"),
        (("--model", "RED", "--shard", "1/1000000000000"), "N at most 10,000"),
        (("--model", "RED", "--engine", "ray", "--per-gpu", "1", "--device", "cuda"), "--gpus-per-worker 0.5"),
        (("--model", "RED", "--shard", "auto"), "finds neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX"),
        (("--model", "RED", "--limit-frames", "0"), "Invalid value for '--limit-frames'"),
        (("--model", "RED", "--device", "tpu"), "no device 'tpu'"),
        (("--model", "RED", "--device", "cuda:0,"), "no device 'cuda:0,'"),
        (("--model", "RED", "--device", "cuda:"), "no device 'cuda:'"),
        (("--model", "RED", "--device", "cuda:1,1"), "names a GPU twice"),
        (("--model", "RED", "--device", "cuda:0,99"), "device 'cuda:0,99' is not there"),
        (("--model", "RED", "--per-gpu", "2"), "--per-gpu is of GPUs, and --device is cpu"),
        (("--model", "RED", "--device", "cuda:99"), "device 'cuda:99' is not there"),
        (("--model", "RED", "--frobnicate"), "No such option"),
        ((), "Missing option '--model'"),
    ],
)
def test_bad_usage(original, red, tmp_path, capsys, arguments, says):
    given = [red if a == "RED" else a for a in arguments]
    line = refused(capsys, "evaluate", *given, "--benchmark", original, "--out", tmp_path / "r")
    assert says in line
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_this_name", "cannot be imported (ModuleNotFoundError"),
        ("def (:", "cannot be imported (SyntaxError"),
        ("1 / 0", "cannot be imported (ZeroDivisionError"),
        ("x = 1", "no model here"),
        (
            "from icvos import VideoModel\nclass M(VideoModel):\n    def segment(self, s, v, *, seed): yield",
            "has no info",
        ),
    ],
)
def test_a_bad_model_file(original, tmp_path, capsys, text, says):
    (tmp_path / "bad.py").write_text(text + "\n")
    spec = f"{tmp_path / 'bad.py'}" + (":M" if "class M" in text else "")
    assert says in evaluate(capsys, spec, original, tmp_path)


def test_a_bad_image_benchmark(tmp_path, capsys, red):
    bench = write_image_benchmark(tmp_path / "bench")
    assert "'red' is a video model" in evaluate(capsys, red, bench, tmp_path)
    (bench / "queries/masks/1/q2.png").unlink()
    write_manifest(bench)
    line = evaluate(capsys, "histogram", bench, tmp_path)
    assert "mask not found" in line and "queries/masks/1/q2.png" in line


def test_damaged_runs(original, red, tmp_path, capsys):
    arguments = ["evaluate", "--model", red, "--benchmark", str(original), "--out", str(tmp_path / "r")]
    with pytest.raises(SystemExit):
        cli.main(arguments)
    whole = (tmp_path / "r/result.json").read_bytes()
    # A result that is damaged is made again from the records, even of a complete run.
    (tmp_path / "r/result.json").write_text("{")
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert not stop.value.code and (tmp_path / "r/result.json").read_bytes() == whole
    lines = (tmp_path / "r/episodes.jsonl").read_text().splitlines()
    (tmp_path / "r/episodes.jsonl").write_text("\n".join([lines[0], "{" + lines[1], *lines[2:]]) + "\n")
    (tmp_path / "r/result.json").unlink()
    assert "line 2 is no record" in refused(capsys, *arguments)
    (tmp_path / "r/run.json").write_text("{}")
    assert "run.json is of another schema" in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--lr", "nan"), "nan is no finite number"),
        (("--weight-decay", "inf"), "inf is no finite number"),
        (("--clip", "nan"), "nan is no finite number"),
        (("--seed", "99999999999999999999999"), "Invalid value for '--seed'"),
        (("--device", "foo"), "no device 'foo'"),
        (("--set", "length=0"), "option length is 0; expected 1 or more"),
        (("--set", "random_share=7"), "option random_share is 7.0; expected 0 to 1"),
        (("--set", "pool=-3"), "it can be given from Python only"),
        (("--weights", "x=y"), "takes no weights 'x'"),
    ],
)
@pytest.mark.parametrize("task", ("demo-sam2", "demo-backbone"))
def test_bad_training_is_answered_before_it_starts(task, tmp_path, capsys, arguments, says):
    pytest.importorskip("torch")
    line = refused(capsys, "train", task, "--max-steps", 1, "--out", tmp_path / "r", *arguments)
    assert says in line
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--benchmark", "demmo"), "no benchmark 'demmo'"),
        (("--protocol", "nativ"), "did you mean 'native'"),
    ],
)
def test_unknown_names_on_the_leaderboard_are_answered(tmp_path, capsys, arguments, says):
    (tmp_path / "board").mkdir()
    assert says in refused(capsys, "leaderboard", "show", "--board", tmp_path / "board", *arguments)


def test_the_leaderboard_takes_a_benchmarks_folder(original, tmp_path, capsys):
    (tmp_path / "board").mkdir()
    with pytest.raises(SystemExit) as stop:
        cli.main(["leaderboard", "show", "--board", str(tmp_path / "board"), "--benchmark", str(original)])
    said = capsys.readouterr().err
    assert stop.value.code == 0 and f"nothing is measured on {original} yet in runs or on the board " in said
    assert f"icvos evaluate --model histogram --benchmark {original} makes" in said and "--runs DIR" in said


@pytest.mark.parametrize("there", [True, False])
def test_out_with_a_parent_in_it_is_written_and_read_in_one_place(bench, red, tmp_path, capsys, monkeypatch, there):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far/inner").mkdir(parents=True)
    if there:
        (tmp_path / "x").symlink_to("far/inner")
    root = tmp_path / ("far/y" if there else "y")
    words = ["evaluate", "--model", red, "--benchmark", bench, "--out", "x/../y", "--save-masks"]
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    assert not stop.value.code, capsys.readouterr().err
    assert (root / "result.json").is_file() and (root / "masks").is_dir()
    assert not (tmp_path / ("y" if there else "x")).exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(["show", "x/../y"])
    assert not stop.value.code, capsys.readouterr().err


def every_command(command):
    context = click.Context(command)
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    yield command
    for name in names:
        yield from every_command(command.get_command(context, name))


def test_every_path_of_every_command_is_followed_once():
    paths = [p for each in every_command(cli.icvos) for p in each.params if isinstance(p.type, click.Path)]
    assert len(paths) > 50
    assert all(isinstance(parameter.type, FollowedPath) for parameter in paths)


def test_a_data_folder_is_given_once(tmp_path):
    """In every command that reads one; what is given once is what it was."""
    known = set()
    for each in every_command(cli.icvos):
        for option in (p for p in each.params if isinstance(p, DataFolder)):
            name = option.opts[0]
            known.add(name)
            single = click.Command("one", params=[option], callback=lambda **values: tuple(values.values()))
            with pytest.raises(click.UsageError, match=f"{name} is given more than once: a, b"):
                single.main([name, "a", f"{name}=b"], standalone_mode=False)
            assert single.main([name, str(tmp_path)], standalone_mode=False) == (tmp_path,)
            if not option.required:
                assert single.main([], standalone_mode=False) == (None,)
    expected = {"--coco", "--voc", "--sbd", "--lists", "--from-release", "--ic-vos", *(f"--{key}" for key in SOURCES)}
    assert expected <= known
    assert not {"--out", "--to"} & known


HOMELESS = [
    ("evaluate", "--model", "~nosuchuser/m.py:M", "--benchmark", "BENCH"),
    ("models", "show", "~nosuchuser/x.py:M"),
    ("models", "check", "~nosuchuser/x.py:M"),
    ("evaluate", "--model", "dcsam", "--weights", "dcsam=~nosuchuser/x", "--benchmark", "BENCH"),
]


@pytest.mark.parametrize("words", HOMELESS)
def test_a_home_that_no_user_has_is_one_line(bench, tmp_path, capsys, words):
    assert "nosuchuser" in refused(capsys, *(bench if word == "BENCH" else word for word in words))


@pytest.mark.parametrize("words", [("doctor",), ("weights", "list"), ("evaluate", "--model", "histogram"), ("demo",)])
def test_an_icvos_home_of_no_user_is_one_line(capsys, monkeypatch, words):
    monkeypatch.setenv("ICVOS_HOME", "~nosuchuser")
    assert "no such user; in ~nosuchuser" in refused(capsys, *words)


@pytest.mark.parametrize(
    "words", [("weights", "list"), ("reproduce", "list"), ("models", "list"), ("--help",), ("doctor",)]
)
def test_a_console_of_ascii_ends_no_command(words):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONPATH": str(root)}
    ended = subprocess.run([sys.executable, root / "cli.py", *words], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout and b"unexpected" not in ended.stderr
