"""The examples and the notebook: each runs with small settings, and prints what its docstring and its page show."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from board_runs import icvos as command

import icvos
from icvos.demo.benchmarks import build_demo

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
PAGE = (ROOT / "docs/start/examples.md").read_text(encoding="utf-8")
FIGURE = r" +-?\d+\.\d\d"

# What a run prints, line by line where figures differ between small settings and the page's.
PRINTED = {
    "own_method": (
        rf"^outline    J&F{FIGURE}   where it is seen: J{FIGURE}   \S+outline$",
        rf"^histogram  J&F{FIGURE}   where it is seen: J{FIGURE}   \S+histogram$",
        r"^next: icvos compare \S+outline \S+histogram$",
    ),
    "own_data": (
        r"^\$ icvos build-data ic-vos --folder \S+videos --coco \S+coco .*--name my-videos --out \S+benchmark$",
        r"^built \S+benchmark: \d videos, \d+ frames, \d pairs, \d+ episodes, \d+ support images$",
        r"^\S+benchmark: all is well$",
        r"^Benchmark\(my-videos \S+, \d+ episodes, \S+benchmark\)$",
        rf"^outline 1: J&F{FIGURE}$",
        rf"^histogram 1: J&F{FIGURE}$",
        rf"^kite {FIGURE}{FIGURE}{FIGURE}$",
        rf"^sports ball {FIGURE}{FIGURE}{FIGURE}$",
    ),
    "own_training": (
        r"^step +1 of \d+: loss \d\.\d{3}$",
        rf"^\w[\w ]+ True{FIGURE}{FIGURE}{FIGURE}$",
        rf"^\w[\w ]+ False{FIGURE}{FIGURE}{FIGURE}$",
        rf"^J&F of \d categories held out:{FIGURE}$",
        rf"^J&F of \d categories seen in training:{FIGURE}$",
        rf"^J&F of the run, the mean over episodes:{FIGURE}$",
    ),
    "train_on_episodes": (
        r"^\d+ episodes of \d+ videos, \d+ of \d+ held out$",
        r"^before: mIoU \d+\.\d\d on the videos held out$",
        r"^epoch +1 of \d+: loss \d\.\d{3}$",
        r"^after:  mIoU \d+\.\d\d on the videos held out, \d+ s of training$",
    ),
    "read_run": (
        rf"^histogram 1 on demo\S*, protocol native: J&F{FIGURE}, \d+ fps$",
        r"^By category, best first",
        rf"^\w[\w ]+{FIGURE}{FIGURE}{FIGURE}$",
        r"^The worst episode is \w\S+; its first frames:$",
        r"^histogram 1 less full 1, over \d+ episodes of both: mean [+-]\d+\.\d\d$",
        r"^with intervals and pictures: icvos compare \S+histogram \S+full$",
        r"^picture: \S+frames\.png$",
    ),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny demo benchmark of two worlds."""
    root = tmp_path_factory.mktemp("worlds")
    return build_demo("demo", "tiny", 0, root / "0"), build_demo("demo", "tiny", 1, root / "1")


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Callable[[str, Sequence[object]], str]:
    """Runs an example with small settings, as ``python examples/NAME.py`` does, and returns what it prints."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)

    def run(name: str, words: Sequence[object]) -> str:
        line = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, words)]
        done = subprocess.run(line, check=False)
        out, err = capfd.readouterr()
        assert done.returncode == 0, err
        for pattern in PRINTED[name]:
            assert re.search(pattern, out, flags=re.MULTILINE), (pattern, out)
        return out

    return run


def test_own_method(run: Callable, worlds: tuple[Path, Path], tmp_path: Path) -> None:
    run("own_method", ["--benchmark", worlds[0], "--limit-episodes", 2])
    assert icvos.open_run(tmp_path / "runs/examples/own-method/outline").model == "outline"


def test_own_method_keeps_the_rules_of_the_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert command("models", "check", "examples/own_method.py:Outline") == 0


def test_own_method_finds_an_outline_wherever_it_lies() -> None:
    import numpy as np

    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from own_method import outline
    finally:
        sys.path.pop(0)
    rows, columns = np.mgrid[:120, :160]
    bar = (abs(rows - 40) < 6) & (abs(columns - 50) < 24)
    turned = (abs(rows - 70) < 48) & (abs(columns - 100) < 12)  # twice as large, elsewhere, by a right angle
    disc = np.hypot(rows - 60, columns - 80) < 30

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(outline(one) - outline(other)).sum())

    assert distance(bar, turned) < 0.4 * distance(bar, disc)


def test_own_data(run: Callable, tmp_path: Path) -> None:
    run("own_data", ["--videos", 2, "--frames", 3])
    benchmark = icvos.load_benchmark(tmp_path / "runs/examples/own-data/benchmark")
    assert {episode.category_name for episode in benchmark.episodes} == {"sports ball", "kite"}
    assert {len(benchmark.video(name)) for name in benchmark.videos} == {3}


@pytest.mark.slow
def test_own_training(run: Callable, worlds: tuple[Path, Path], tmp_path: Path) -> None:
    run("own_training", ["--train", worlds[1], "--benchmark", worlds[0], "--steps", 2, "--batch", 2])
    episodes = icvos.load_benchmark(worlds[1]).episodes
    numbers = sorted({episode.category for episode in episodes})
    seen = {episode.category_name for episode in episodes if episode.category not in numbers[::3]}
    trained = icvos.open_run(tmp_path / "runs/examples/own-training/run")
    assert set(trained.run["model"]["training_categories"]) == seen  # none that is held out


def test_train_on_episodes(run: Callable, worlds: tuple[Path, Path]) -> None:
    run("train_on_episodes", ["--benchmark", worlds[1], "--epochs", 1, "--size", 32, "--workers", 1])


def test_read_run(run: Callable, worlds: tuple[Path, Path], tmp_path: Path) -> None:
    first = run("read_run", ["--benchmark", worlds[0]])
    out = tmp_path / "runs/examples/read-run"
    assert (out / "frames.png").read_bytes().startswith(b"\x89PNG")
    again = run("read_run", [*(Path("runs/examples/read-run") / name for name in ("histogram", "full"))])
    assert again == first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_method", "own_data", "read_run"])
def test_the_page_shows_what_an_example_prints(run: Callable, name: str) -> None:
    """With its usual settings, figures too, but for speeds."""
    printed, page = (
        [re.sub(r"\d+ fps", "# fps", line).rstrip() for line in text.splitlines()] for text in (run(name, ()), PAGE)
    )
    shown = page.index(printed[0])
    assert page[shown : shown + len(printed)] == printed


@pytest.mark.slow
def test_pages_show_what_the_demo_gives(tmp_path: Path) -> None:
    summary = icvos.evaluate("histogram", "demo", out=tmp_path / "run")["summary"]
    reference = (ROOT / "docs/reference/result.md").read_text(encoding="utf-8")
    block = re.search(r"^## summary\n\n```json\n(.*?)^```", reference, flags=re.MULTILINE | re.DOTALL)
    assert block and json.loads(block[1]) == summary
    names = ("J", "F", "J&F", "J_visible", "F_visible", "absent_correct")
    row = "".join(f" *{summary[name]:.2f}" for name in names)
    assert re.search(rf"^ histogram{row}", (ROOT / "docs/start/demo.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_it_does_and_its_page_shows_it(name: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))) or ""
    assert f"    python examples/{name}.py" in said
    assert re.search(r"(seconds|minutes?) on\s+one core", said)  # how long it takes
    blocks = re.findall(r"^```\w*\n(.*?)\n```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert any(f"python examples/{name}.py" in block.split("\n") for block in blocks)
    for pattern in PRINTED[name]:
        assert any(re.search(pattern, block, flags=re.MULTILINE) for block in blocks), pattern


# ------------------------------------------------------------------------------------------------------- the notebook


def test_the_notebook(worlds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on the tiny demo, and gives the kinds of outputs that its page shows, in that order."""
    pytest.importorskip("nbclient")
    pytest.importorskip("sam2")
    from tools.notebook_page import execute, page_of, read_notebook

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names: dict[str, list[str]] = {}
    for pair in icvos.load_benchmark(worlds[0]).pairs.values():
        names.setdefault(pair.video, []).append(pair.category_name)
    video = next(video for video, categories in names.items() if len(categories) > 1)
    settings = {"BENCHMARK": str(worlds[0]), "VIDEO": video}
    text, _ = page_of(execute(read_notebook(), settings | {"THING, OTHER": tuple(names[video][:2])}))
    assert _outputs(text) == _outputs(_notebook_page())
    assert re.search(r"^J \d+\.\d, F \d+\.\d, J&F \d+\.\d$", text, flags=re.MULTILINE)


def test_the_page_is_the_notebook() -> None:
    pytest.importorskip("nbclient")
    from tools.notebook_page import page_of, read_notebook, without_outputs

    notebook = read_notebook()
    assert not any(cell.get("outputs") for cell in notebook.cells), "its outputs are kept on the page alone"
    remedy = "python -m tools.notebook_page makes the page again"
    assert without_outputs(_notebook_page()) == page_of(notebook)[0], remedy


def test_the_pages_pictures_are_there_and_small() -> None:
    files = sorted((ROOT / "docs/pictures/notebook").iterdir())
    shown = re.findall(r"\(\.\./pictures/notebook/(.*?)\)", _notebook_page())
    assert sorted(shown) == [path.name for path in files]
    assert sum(path.stat().st_size for path in files) < 400_000


@pytest.mark.slow
def test_the_page_shows_what_the_notebook_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("sam2")
    from tools.notebook_page import execute, page_of, read_notebook

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text, _ = page_of(execute(read_notebook()))
    number = r"(?<![\w.])\d+\.\d\b"
    # Another processor rounds otherwise.
    assert re.sub(number, "#", text).split() == re.sub(number, "#", _notebook_page()).split()
    figures = [[float(each) for each in re.findall(number, page)] for page in (text, _notebook_page())]
    assert figures[0] == pytest.approx(figures[1], abs=0.5)


def _notebook_page() -> str:
    return (ROOT / "docs/start/notebook.md").read_text(encoding="utf-8")


def _outputs(page: str) -> list[str]:
    return re.findall(r"^<!-- output -->\n(```text|!\[[^]]*\])", page, flags=re.MULTILINE)
