"""How far long work is: the estimate, the line, a terminal of any width, none, and callers from Python."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_trees as raw
from run_models import RED, TOGETHER, write_model
from tiny import write_image_benchmark, write_video_benchmark

import icvos
from icvos.errors import UsageError
from icvos.progress import Meter, Update, duration, shown

ROOT = Path(__file__).resolve().parents[1]
# Lines of other widths are cheap to ask for; a terminal of each is not.
WIDTHS = [80, *(pytest.param(width, marks=pytest.mark.slow) for width in (60, 120))]


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (80, "1 min 20 s"), (125, "2 min"), (3599, "59 min")]
    + [(3600, "1 h 00 min"), (7500, "2 h 05 min"), (273_600, "3 d 4 h"), (float("inf"), "?")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("before", [0, 500])
def test_the_estimate_is_near_from_a_fifth_on(before: int) -> None:
    """Frames of a scripted cost, slower at first; what an earlier run did says nothing of the speed."""
    cost = [0.3 if frame < 50 else 0.2 for frame in range(1000)]
    clock = Clock()
    meter = Meter(clock)
    meter.add(Update("frames", before, 1000))
    for frame in range(before, 1000):
        clock.now += cost[frame]
        meter.add(Update("frames", frame + 1, 1000))
        if frame + 1 - before >= 0.2 * (1000 - before):
            truth = sum(cost[frame + 1 :])
            assert meter.left == pytest.approx(truth, rel=0.5, abs=1e-6)
    assert meter.left == 0


def test_other_work_begins_anew() -> None:
    clock = Clock()
    meter = Meter(clock)
    for done in range(0, 101, 10):
        clock.now += 10
        meter.add(Update("frames", done, 100))
    for done in (0, 5, 10):
        meter.add(Update("supports", done, 20))
        clock.now += 1
    assert meter.left == pytest.approx(3.0) and meter.elapsed == 113


def line(width: int, done: int = 1200, total: int = 3600, **more: Any) -> str:
    clock = Clock()
    meter = Meter(clock)
    meter.add(Update("frames", 0, total))
    clock.now += 123
    meter.add(Update("frames", done, total, **more))
    return meter.line("dcsam on demo", width)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_a_line_fits_and_keeps_what_matters(width: int) -> None:
    text = line(width, figures="J&F so far 48.2")
    assert len(text) <= width and "33 %" in text
    for words, least in (
        ("about 4 min left", 40),
        ("J&F so far 48.2", 60),
        ("2 min gone", 60),
        ("1,200/3,600 frames", 80),
        ("dcsam on demo", 100),
    ):
        assert (words in text) or width < least, words
    if width >= 40:
        bar = re.match("[━╌]+", text)
        assert bar is not None and bar[0].count("━") / len(bar[0]) == pytest.approx(1 / 3, abs=0.09)


def test_without_a_terminal_there_is_a_line_a_minute_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with shown("m on b", stream=stream, clock=clock) as told:
        for frame in range(101):
            told(Update("frames", frame, 100, figures="J&F so far 50.0" if frame else ""))
            clock.now += 2.5
    lines = stream.getvalue().splitlines()
    assert lines[0] == "m on b, 24 %, 24/100 frames, J&F so far 50.0, 60 s gone, about 3 min left".replace(
        "60 s", "1 min 00 s"
    )
    assert len(lines) == 5 and "100 %, 100/100 frames" in lines[-1] and "\x1b" not in stream.getvalue()


def test_of_several_figures_the_first_is_kept_longest() -> None:
    figures = "loss 0.5000, lr 1.0e-04, 12.30 examples/s"
    assert figures in line(120, figures=figures)
    for width, kept, gone in ((100, "loss 0.5000, lr 1.0e-04, 2 min", "examples/s"), (60, "loss 0.5000, 2 min", "lr")):
        assert kept in line(width, figures=figures) and gone not in line(width, figures=figures)


def test_quick_work_says_nothing_without_a_terminal() -> None:
    clock, stream = Clock(), io.StringIO()
    with shown("m", stream=stream, clock=clock) as told:
        told(Update("frames", 1, 1))
        clock.now += 5
    assert stream.getvalue() == ""


@pytest.mark.parametrize("odd", [1, "yes", 0.5])
def test_what_cannot_be_told_is_refused(odd: Any) -> None:
    with pytest.raises(UsageError, match="progress is"), shown("m", odd):
        pass


def test_a_dumb_terminal_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    clock, stream = Clock(), io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with shown("m", stream=stream, clock=clock) as told:
        for frame in range(3):
            told(Update("frames", frame, 3))
            clock.now += 70
    assert "33 %, 1/3 frames" in stream.getvalue() and "\x1b" not in stream.getvalue()


class Bar:
    """As tqdm's."""

    total = n = 0

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def refresh(self) -> None:
        self.seen.append((self.n, self.total))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("source", [RED, TOGETHER], ids=["one by one", "together"])
def test_an_evaluation_tells_its_frames(tmp_path: Path, source: str, workers: int) -> None:
    """Episodes of a video that come together were told of only at their end: one second left from start to end."""
    bench, model = write_video_benchmark(tmp_path / "b", videos=2), write_model(tmp_path, source)
    seen: list[Update] = []
    result = icvos.evaluate(
        model, bench, out=tmp_path / "r", workers=workers, options={"nap": 0.05}, progress=seen.append
    )
    opened = icvos.load_benchmark(bench)
    sizes = [opened.videos[episode.video].frames for episode in opened.episodes]
    # Of those that come together one is run once more, for its speed.
    total = sum(sizes) + (sizes[0] if source is TOGETHER else 0)
    done = [update.done for update in seen]
    assert {(update.what, update.total) for update in seen} == {("frames", total)}
    assert done == sorted(done) and done[0] == 0 and done[-1] == total
    # The first ended only when a third was done, where they come together; frames are told all the same.
    ended = next(update for update in seen if update.record is not None)
    assert any(0 < update.done < ended.done for update in seen)
    assert seen[-1].figures == f"J&F so far {_mean(seen):.1f}" and seen[-1].figures.startswith("J&F so far")
    assert result["summary"]["failed"] == 0
    bar = Bar()
    icvos.evaluate(model, bench, out=tmp_path / "again", options={"nap": 0}, progress=bar)
    assert bar.seen[-1] == (total, total)


def _mean(seen: list[Update]) -> float:
    scores = [(u.record["J"] + u.record["F"]) / 2 for u in seen if u.record is not None]
    return sum(scores) / len(scores)


def test_images_and_masks_tell_episodes(tmp_path: Path) -> None:
    bench = write_image_benchmark(tmp_path / "b")
    seen: list[Update] = []
    model = write_model(tmp_path, IMAGE_MODEL)
    icvos.evaluate(model, bench, out=tmp_path / "r", save_masks=True, progress=seen.append)
    assert seen[-1].what == "episodes" and seen[-1].done == seen[-1].total and "mean IoU so far" in seen[-1].figures
    again: list[Update] = []
    icvos.score(tmp_path / "r/masks", benchmark=bench, out=tmp_path / "s", progress=again.append)
    assert again[-1].figures == seen[-1].figures and again[-1].done == seen[-1].total


IMAGE_MODEL = """
class Red(ImageModel):
    info = ModelInfo(name="red-image", version="1")

    def fit(self, supports, *, seed):
        return None

    def predict(self, fitted, image):
        return image[..., 0] > 150
"""

# Runs a command in a process whose clock is moved by the work alone: a frame costs a second.
SCRIPT = """
import sys, time
sys.path[:0] = [{root!r}, {helpers!r}]
now = [100.0]
import icvos.progress
class Meter(icvos.progress.Meter):
    def __init__(self, clock=None):
        super().__init__(lambda: now[0])
icvos.progress.Meter = Meter
from icvos import cli
{work}
"""
EVALUATE = """
import numpy as np
import icvos.models.registry
from icvos import ModelInfo, VideoModel
import icvos.evaluation.episode as episode
add = episode.FrameScorer.add
def slow(self, *args, **how):
    now[0] += 1.0
    time.sleep(0.15 if {sleep} else 0)
    return add(self, *args, **how)
episode.FrameScorer.add = slow
cli.main(["evaluate", "--model", {model!r}, "--benchmark", {bench!r}, "--out", {out!r}])
"""
BUILD = """
from icvos.builders.ic_vos import build
inner = build.build_video
def slow(task):
    record = inner(task)
    now[0] += record["frames"]
    time.sleep(0.2 if {sleep} else 0)
    return record
build.build_video = slow
cli.main(["build-data", "ic-vos", "--davis", {davis!r}, "--coco", {coco!r}, "--out", {out!r}])
"""
TRAIN = """
from toy_training import ToyTask
inner = ToyTask.loss
def slow(self, model, batch):
    now[0] += 1.0
    time.sleep(0.15)
    return inner(self, model, batch)
ToyTask.loss = slow
words = ["--set", "length=40", "--epochs", "1", "--validate-every", "0", "--out", {out!r}]
cli.main(["train", "toy_training:ToyTask", *words])
"""


def on_a_terminal(code: str, width: int, home: Path) -> str:
    """Run code with a pseudo-terminal of a width as all its streams; return all that was written to it."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "ICVOS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=other, stdout=other, stderr=other, env=environment, close_fds=True
    )
    os.close(other)
    data = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        data += block
    os.close(main)
    assert process.wait(60) == 0, data.decode(errors="replace")
    return data.decode()


def screens(written: str) -> list[str]:
    """The lines of a bar, one after another, as they stood on the screen."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", written)
    lines = (text.rstrip() for text in re.split(r"[\r\n]+", plain))
    return [text for text in lines if re.search(r"\d+ %", text) and not text.startswith("time: ")]


def check_screens(lines: list[str], width: int, total: int, unit: str) -> None:
    shares = {int(re.search(r"(\d+) %", text)[1]): text for text in lines}  # type: ignore[index]
    assert all(len(text) <= width for text in lines)
    for wanted in (10, 50, 90):
        share, text = min(shares.items(), key=lambda item: abs(item[0] - wanted))
        assert abs(share - wanted) <= 10, (wanted, sorted(shares))
        assert "━" in text or share < 6
        left = re.search(r"about (?:(\d+) min)?(?: ?(\d+) s)? left", text)
        assert left, text
        seconds = 60 * int(left[1] or 0) + int(left[2] or 0)
        truth = total * (100 - share) / 100
        if share >= 20:
            assert seconds == pytest.approx(truth, rel=0.5, abs=2.5), text
        if width >= 80:
            assert re.search(rf"[\d,]+/{total:,} {unit}", text), text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_while_evaluating(tmp_path: Path, width: int) -> None:
    bench = write_video_benchmark(tmp_path / "b", videos=2, frames=5)
    model = write_model(tmp_path, TOGETHER)
    work = EVALUATE.format(model=str(model), bench=str(bench), out=str(tmp_path / "r"), sleep=True)
    code = SCRIPT.format(root=str(ROOT), helpers=str(ROOT / "tests/helpers"), work=work)
    written = on_a_terminal(code, width, tmp_path / "home")
    opened = icvos.load_benchmark(bench)
    # One is run once more, for its speed.
    total = sum(opened.videos[episode.video].frames for episode in (*opened.episodes, opened.episodes[0]))
    check_screens(screens(written), width, total, "frames")
    assert "J&F" in written and "run: " in written


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_while_building(tmp_path: Path, width: int) -> None:
    davis = tmp_path / "davis"
    for number in range(12):
        for index in range(3):
            raw.picture(davis / f"JPEGImages/480p/v{number:02d}/{index:05d}.jpg", (16, 16))
            raw.labels(davis / f"Annotations/480p/v{number:02d}/{index:05d}.png", np.ones((16, 16), np.uint8))
    names = {f"v{number:02d}": {"1": "dog"} for number in range(12)}
    (davis / "davis_semantics.json").write_text(json.dumps(names))
    raw.coco(tmp_path / "coco")
    work = BUILD.format(davis=str(davis), coco=str(tmp_path / "coco"), out=str(tmp_path / "B"), sleep=True)
    code = SCRIPT.format(root=str(ROOT), helpers=str(ROOT / "tests/helpers"), work=work)
    written = on_a_terminal(code, width, tmp_path / "home")
    lines = screens(written)
    # Supports are counted after the frames.
    end = next(number for number, text in enumerate(lines) if "100 %" in text)
    # What a quick look at the videos shows for a moment is no part of it.
    check_screens([text for text in lines[:end] if "listed" not in text], width, 36, "frames")
    assert "built " in written


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_while_training(tmp_path: Path, width: int) -> None:
    work = TRAIN.format(out=str(tmp_path / "run"))
    code = SCRIPT.format(root=str(ROOT), helpers=str(ROOT / "tests/helpers"), work=work)
    written = on_a_terminal(code, width, tmp_path / "home")
    # The first says nothing of the time that is left.
    lines = [text for text in screens(written) if "left" in text]
    check_screens(lines, width, 20, "steps")
    assert all(re.search(r"loss \d+\.\d{4}", text) for text in lines)
    assert all(text.endswith("left") for text in lines)
    assert width < 120 or all(re.search(r"lr \d\.\de-\d\d, \d+\.\d\d examples/s", text) for text in lines)
    assert "step 1 of 20: loss" in written and "step 20 of 20: loss" in written and "last.safetensors" in written
