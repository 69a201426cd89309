"""Methods that are any program: what they are given, what they may leave, and that nothing of them stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import build, icvos, run
from programs import BRIGHT, compile_program, write_program
from tiny import write_video_benchmark

from icvos.errors import ModelError, UsageError
from icvos.files import read_json
from icvos.images import read_image
from icvos.leaderboard.board import read_board
from icvos.masks import decode_mask, label_header, read_mask
from icvos.models import interpreter
from icvos.models.check import check_model
from icvos.models.clips import Clip, support
from icvos.models.program import Program
from icvos.models.registry import create, resolve, source_sha256
from icvos.runs.run import Run
from icvos.types import Support

# An empty mask for each frame, after whatever is asked for.
EMPTY = """
for frame in "$1"/frames/*.ppm; do
    { printf 'P5\\n64 48\\n1\\n'; head -c 3072 /dev/zero; } > "$1/masks/$(basename "$frame" .ppm).pgm"
done
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of episodes lie here, and go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert not list(folder.iterdir())


def segment(program: Path, words: str = "", *, frames: int = 3, **options: Any) -> list[np.ndarray]:
    model = create(f"exec:{program} {words}", options={"frames": "ppm", **options})
    assert isinstance(model, Program)
    return list(model.segment([support()], Clip(frames), seed=5))


def test_what_a_program_is_given(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    keep = write_program(
        tmp_path,
        f'test "$ICVOS_EPISODE,$ICVOS_DEVICE" = "$3,cpu" && cp -r "$3" {seen} && pwd && echo "$1,$2" && exit 7',
    )
    clip, example = Clip(2), support()
    ignore = np.zeros(example.mask.shape, bool)
    ignore[:3] = True
    with pytest.raises(ModelError, match=rf"ended with status 7; it said: {Path.cwd()} \| a b,--x"):
        model = create(f"exec:{keep} 'a b' --x")
        list(model.segment([example, Support(example.image, example.mask, ignore)], clip, seed=5))
    assert json.loads((seen / "request.json").read_text()) == {
        "schema": "icvos-episode/1",
        "count": 2,
        "size": [48, 64],
        "seed": 5,
        "supports": [
            {"image": "supports/0_image.png", "mask": "supports/0_mask.png", "ignore": None},
            {"image": "supports/1_image.png", "mask": "supports/1_mask.png", "ignore": "supports/1_ignore.png"},
        ],
        "frames": "frames/%05d.png",
        "masks": "masks/%05d.png",
    }
    assert np.array_equal(read_mask(seen / "supports/0_mask.png"), np.where(example.mask, 255, 0))
    assert np.array_equal(read_mask(seen / "supports/1_ignore.png"), np.where(ignore, 255, 0))

    assert np.array_equal(read_image(seen / "frames/00001.png"), clip[1])
    assert np.array_equal(read_image(seen / "supports/1_image.png"), example.image)
    assert not list((seen / "masks").iterdir())


def test_masks_are_read_in_order(tmp_path: Path) -> None:
    numbered = write_program(
        tmp_path, EMPTY + "printf '\\001' | dd of=$1/masks/00002.pgm bs=1 seek=20 conv=notrunc 2>&1"
    )
    masks = segment(numbered)
    assert [int(mask.sum()) for mask in masks] == [0, 0, 1]
    assert all(mask.dtype == bool and mask.shape == (48, 64) for mask in masks)


PNG = f"{sys.executable} -c 'import sys; from PIL import Image; Image.new(sys.argv[1], (64, 48)).save(sys.argv[2])'"
MISDEEDS = {
    "nothing": ("true", "3 of 3 masks are missing: 00000, 00001, 00002; masks is empty"),
    "missing": (EMPTY + "rm $1/masks/00001.pgm; echo broken >&2", "1 of 3 masks are missing: 00001; it said: broken"),
    "names": ("touch $1/masks/0.jpg $1/masks/f_1.png", "3 of 3 masks are missing: .*; there is 0.jpg, f_1.png"),
    "extra": (EMPTY + "cp $1/masks/00001.pgm $1/masks/00003.pgm", "1 masks are of no frame: 00003"),
    "twice": (EMPTY + "cp $1/masks/00001.pgm $1/masks/00001.png", "'00001' is there twice"),
    "size": (EMPTY + "{ printf 'P5 63 48 1 '; head -c 3024 /dev/zero; } > $1/masks/00001.pgm", "mask is 48x63"),
    "huge": (EMPTY + "printf 'P5 60000 60000 1 ' > $1/masks/00001.pgm", "mask is 60000x60000"),
    "short": (EMPTY + "printf 'P5 64 48 1 .' > $1/masks/00001.pgm", "mask has 1 pixels.*not 3,072"),
    "wide": (EMPTY + "{ printf 'P5 64 48 999 '; head -c 6144 /dev/zero; } > $1/masks/00001.pgm", "of 16 bits"),
    "values": (
        EMPTY + "tr '\\000' '\\007' < $1/masks/00000.pgm | sed 's/x/x/' > $1/m; "
        "{ printf 'P5 64 48 9 '; head -c 3072 $1/m; } > $1/masks/00001.pgm",
        "mask holds the value",
    ),
    "text": (EMPTY + "echo no mask > $1/masks/00001.pgm", "mask cannot be decoded"),
    "empty": (EMPTY + ": > $1/masks/00001.pgm", "mask"),
    "large": (EMPTY + "truncate -s 50G $1/masks/00001.pgm", "mask has more than"),
    "rgb": (EMPTY + f"rm $1/masks/00001.pgm; {PNG} RGB $1/masks/00001.png", r"mask is an RGB image \(00001.png\)"),
    "cut": (EMPTY + f"{PNG} L $1/a.png; rm $1/masks/00001.pgm; head -c 60 $1/a.png > $1/masks/00001.png", "decoded"),
    "link": (EMPTY + "ln -sf /etc/hostname $1/masks/00001.pgm", "mask is a link"),
    "links": (EMPTY + "mv $1/masks $1/others; ln -s others $1/masks", "the folder of the masks is a link"),
    "pipe": (EMPTY + "rm $1/masks/00001.pgm; mkfifo $1/masks/00001.pgm", "it is a pipe, no file"),
    "gone": ("rm -r $1/masks", "folder not found"),
    "away": ("rm -r $1", "folder not found"),
    "status": ("echo first; echo last >&2; exit 3", r"ended with status 3; it said: first \| last"),
    "killed": ("kill -9 $$", "was killed by signal 9"),
    "guard": ("kill -9 $PPID; sleep 60", "was killed by signal 9"),
    "flood": (
        "head -c 30000000 /dev/zero | tr '\\000' x; echo; echo end; exit 3",
        "ended with status 3; it said: .*end",
    ),
    "colours": ("printf '\\033[31mred\\n'; exit 3", "it said: .*red"),
}


@pytest.mark.parametrize("name", MISDEEDS)
def test_what_a_program_does_wrong_is_its_own(name: str, tmp_path: Path) -> None:
    text, wanted = MISDEEDS[name]
    with pytest.raises(ModelError, match=wanted) as problem:
        segment(write_program(tmp_path, text))
    assert len(str(problem.value)) < 1500 and str(problem.value).isprintable()


def test_a_program_that_can_not_be_started(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b"\x7fELF, not")
    path.chmod(0o755)
    with pytest.raises(ModelError, match=r"it said: the program cannot be started .*'#!/bin/sh'"):
        segment(path)


def test_a_log_that_cannot_be_written_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "SILENCE", 2.0)
    interpreter.keep_output(tmp_path)  # a folder
    try:
        segment(write_program(tmp_path, EMPTY + "head -c 3000000 /dev/zero"))
    finally:
        interpreter.keep_output(None)


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "SILENCE", 0.5)
    with pytest.raises(ModelError, match=r"wrote no mask and printed nothing for 0.5 s; it said: so far"):
        segment(write_program(tmp_path, "echo so far; sleep 600"))


STAY = 'import os, time; os.setsid(); open("{0}", "w").write(str(os.getpid())); time.sleep(600)'
ALIVE = f"{sys.executable} -S -c '{STAY}'"


def dead(file: Path, seconds: float = 10) -> bool:
    """Whether the process that wrote its number there ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(ValueError, FileNotFoundError):
            if not Path(f"/proc/{int(file.read_text())}").exists():
                return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("end", ["0", "3", "hang"])
def test_nothing_that_it_began_outlives_it(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "SILENCE", 0.5)
    number = tmp_path / "number"
    begin = f"({ALIVE.format(number)} &) ; while ! test -s {number}; do sleep 0.02; done\n{EMPTY}"
    with pytest.raises(ModelError) if end != "0" else contextlib.nullcontext():
        segment(write_program(tmp_path, begin + ("sleep 600" if end == "hang" else f"exit {end}")))
    assert dead(number, 0.2)


def test_it_ends_with_the_process_that_called_it(tmp_path: Path, temporary: Path) -> None:
    number = tmp_path / "number"
    program = write_program(tmp_path, ALIVE.format(number))
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2, draws=1, size=(40, 48))
    words = ["evaluate", "--model", f"exec:{program}", "--benchmark", bench, "--out", tmp_path / "run"]
    command = subprocess.Popen([sys.executable, "-m", "icvos.cli", *map(str, words)], start_new_session=True)
    while not (number.is_file() and number.read_text()):
        assert command.poll() is None
        time.sleep(0.02)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert dead(number)
    # The next one removes the folder.
    write_program(tmp_path, EMPTY)
    assert list(temporary.iterdir())
    assert segment(tmp_path / "run.sh", frames=1)


def test_a_timeout_ends_it(tmp_path: Path, capfd: pytest.CaptureFixture[str], temporary: Path) -> None:
    number = tmp_path / "number"
    program = write_program(tmp_path, ALIVE.format(number))
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2, draws=1, size=(40, 48))
    words = (
        "--model",
        f"exec:{program}",
        "--benchmark",
        bench,
        "--timeout",
        2,
        "--no-verify",
        "--out",
        tmp_path / "run",
    )
    assert icvos("evaluate", *words) == 1
    assert dead(number)
    assert "no result within 2 s" in capfd.readouterr().err
    write_program(tmp_path, EMPTY)
    segment(tmp_path / "run.sh", frames=1)


def test_names_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_program(tmp_path, EMPTY, "my run+ä.sh")
    cls = resolve("exec:'./my run+ä.sh' --mode a+sam2 b::c")
    assert issubclass(cls, Program) and cls.info.name == "my-run-.sh" and cls.info.access == "offline"
    assert cls.words == ("--mode", "a+sam2", "b::c")
    model = create("exec:'./my run+ä.sh'", options={"version": "2"})
    assert model.info.version == "2" and cls.info.version == "1"
    (tmp_path / "plain").write_text("")
    for name, line in (
        ("windows", b"#!/bin/sh\r\necho\r\n"),
        ("python", b"#!C:\\Python38\\python.exe\n"),
        ("elsewhere", b"#! /no/such/sh -e\n"),
    ):
        (tmp_path / name).write_bytes(line)
        (tmp_path / name).chmod(0o755)
    for spec, wanted in (
        ("exec:", "no program in 'exec:' (it names none)"),
        ("exec:'./a", "no closing quotation"),
        ("exec:./none", "program not found"),
        ("exec:plain", "./plain is the file here"),
        ("exec:./plain", "chmod +x"),
        (f"{sys.executable}::./plain", "'./plain' is no Python file"),
        ("./plain", "'./plain' is no Python file; as a program it is exec:./plain"),
        ("exec:./windows", f"lines end as on Windows (CR LF); in {tmp_path}/windows; sed -i 's/\\r$//'"),
        ("exec:./python", "first line names 'C:\\Python38\\python.exe', which is not here"),
        ("exec:./elsewhere", "first line names '/no/such/sh', which is not here"),
        ("exec:.", "no program '.' on PATH"),
        ("exec:./", "program not found"),
    ):
        with pytest.raises(UsageError) as problem:
            resolve(spec)
        assert wanted in str(problem.value)
    assert icvos("evaluate", "--model", "exec:true", "--python", sys.executable) == 2


def test_source_is_of_the_program_and_of_words_that_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_program(tmp_path, EMPTY)
    (tmp_path / "net.bin").write_bytes(b"1")

    def source(spec: str) -> str:
        return source_sha256(resolve(spec))

    first = source("exec:./run.sh net.bin --alpha 3")
    assert first == source(f"exec:{tmp_path}/run.sh {tmp_path}/net.bin") != source("exec:./run.sh")
    (tmp_path / "net.bin").write_bytes(b"2")
    second = source("exec:./run.sh net.bin")
    write_program(tmp_path, EMPTY + "true")
    assert len({first, second, source("exec:./run.sh net.bin")}) == 3


def test_other_words_are_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = write_program(tmp_path, BRIGHT.replace("$1", "$ICVOS_EPISODE"))
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2, draws=1, size=(40, 48))
    more = ("--set", "frames=ppm")
    run(bench, tmp_path / "run", f"exec:{program} --alpha 3", *more)
    described = read_json(tmp_path / "run" / "run.json")
    assert described["key"]["options"] == {"frames": "ppm", "version": "1", "words": "--alpha 3"}
    assert (described["model"]["backend"], described["model"]["dtype"]) == ("program", None)
    words = ("--model", f"exec:{program} --alpha 4", "--benchmark", bench, *more, "--out", tmp_path / "run")
    assert icvos("evaluate", *words) == 2
    assert "options" in capsys.readouterr().err


def test_check_judges_what_a_program_can_keep(tmp_path: Path) -> None:
    script = tmp_path / "threshold.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
        "for path in sorted((folder / 'frames').iterdir()):\n"
        "    _, size, _, pixels = path.read_bytes().split(b'\\n', 3)\n"
        "    mask = bytes(255 * (value > 127) for value in pixels[::3])\n"
        "    (folder / 'masks' / f'{path.stem}.pgm').write_bytes(b'P5\\n' + size + b'\\n255\\n' + mask)\n"
    )
    spec = f"exec:{sys.executable} -S {script}"
    findings = {each.rule: each for each in check_model(lambda: create(spec, options={"frames": "ppm"}))}
    assert [name for name, each in findings.items() if each.status == "failed"] == []
    skipped = {name for name, each in findings.items() if "it is a program" in each.message}
    assert skipped == {"lazy", "untouched", "leaks", "memory"}
    assert findings["access"].status == findings["streams"].status == "skipped"
    broken = write_program(tmp_path, EMPTY)
    findings = {each.rule: each for each in check_model(lambda: create(f"exec:{broken}", options={"frames": "ppm"}))}
    assert findings["masks"].status == "passed" and findings["sizes"].status == "failed"


def test_pgm_masks() -> None:
    head = b"P5\n# made by a program\n3 2\n255\n"
    assert decode_mask(head + bytes(range(6)), "a", size=(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert label_header(head, "a")[:2] == (2, 3)
    # Values that are line ends or blanks are pixels.
    assert decode_mask(b"P5 3 1 255 \n \n", "a").tolist() == [[10, 32, 10]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICVOS_HOME", str(root / "home"))
        return build(root) / "demo"


def test_a_program_in_c_on_a_board_and_by_export(demo: Path, tmp_path: Path) -> None:
    program = compile_program(tmp_path)
    more = ("--set", "frames=ppm")
    run(demo, tmp_path / "here", f"exec:{program}", *more)
    run(demo, tmp_path / "workers", f"exec:{program}", *more, "--workers", 2)
    run(demo, tmp_path / "histogram")
    for name in ("here", "histogram"):
        words = ("add", tmp_path / name, "--board", tmp_path / "board", "--benchmark", demo)
        assert icvos("leaderboard", *words) == 0
    assert {entry.run["model"]["name"] for entry in read_board(tmp_path / "board")[0]} == {"red", "histogram"}

    out = tmp_path / "export"
    assert icvos("export-episodes", "--benchmark", demo, "--frames", "ppm", "--out", out) == 0
    for folder in sorted((out / "episodes").iterdir()):
        subprocess.run([program, folder], check=True)
    assert icvos("score", out / "masks", "--benchmark", demo, "--out", tmp_path / "scored") == 0
    runs = [Run.open(tmp_path / name) for name in ("here", "workers", "scored")]
    assert len({json.dumps(each.result["per_category"]) for each in runs}) == 1
    assert len({each.summary["J&F"] for each in runs}) == 1 and runs[0].summary["J&F"] > 0
