"""What a run may say: names that look like no other, numbers within their fields' ranges, texts that can be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from run_models import RED, write_model
from tiny import write_video_benchmark

from icvos.errors import RunError
from icvos.names import is_name, name_problem
from icvos.runs.run import Run
from icvos.runs.schema import RANGES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("names")
    write_video_benchmark(root / "b", videos=1, draws=1)
    model = write_model(root, RED)
    assert icvos("evaluate", "--model", model, "--benchmark", root / "b", "--out", root / "run") == 0
    return root / "run"


@pytest.mark.parametrize(
    "name",
    [
        "方法一",
        "Ü-Net",
        "SAM 2.1",
        "PerSAM-F",
        "αSAM 2".replace("α", "μ"),
        "β-VAE",
        "S²AM",
        "dcsam+sam2",
        "Метод",
        "x" * 150,
    ],
)
def test_names_of_methods_are_names(name: str) -> None:
    assert is_name(name), name_problem(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 151,
        "dc\u200bsam",  # zero width
        "dc\u200dsam",
        "dcsam\u202e",
        "dc\x1b[31msam",
        "d\u0441sam",  # Cyrillic es
        "САМ",  # of look-alikes alone
        "SΑM",  # Greek alpha
        "ＳＡＭ",  # full width
        "𝐒𝐀𝐌",
        "U\u0308-Net",  # not NFC
        " sam",
        "sam  2",
        "sam\u00a02",
        "sam\n2",
        "\ud800",
    ],
)
def test_names_that_look_like_others_are_none(name: str) -> None:
    assert not is_name(name) and name_problem(name)


def test_a_method_of_such_a_name_is_not_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video_benchmark(tmp_path / "b", videos=1, draws=1)
    model = write_model(tmp_path, RED.replace('name="red"', 'name="r\u0435d"'))
    assert icvos("evaluate", "--model", model, "--benchmark", tmp_path / "b", "--out", tmp_path / "r") == 2
    assert "look like Latin ones" in capsys.readouterr().err


def altered(run: Path, out: Path, file: str, place: tuple[str, ...], value: Any) -> Path:
    """Copy a run with a value altered in run.json, result.json or its first episode."""
    out.mkdir()
    for name in ("run.json", "result.json", "episodes.jsonl"):
        (out / name).write_text((run / name).read_text())
    rows = [json.loads(line) for line in (out / file).read_text().splitlines()] if file.endswith("l") else None
    content = rows[0] if rows else json.loads((out / file).read_text())
    inner = content
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = value
    (out / file).write_text("\n".join(map(json.dumps, rows)) + "\n" if rows else json.dumps(content))
    return out


@pytest.mark.parametrize(
    ("file", "place", "value"),
    [
        ("result.json", ("protocol", "shots"), -3),
        ("result.json", ("protocol", "shots"), True),
        ("result.json", ("protocol", "shots"), 1_000_000),
        ("result.json", ("protocol", "limit_episodes"), 0),
        ("result.json", ("protocol", "limit_frames"), -1),
        ("run.json", ("fps",), 1e300),
        ("run.json", ("fps",), -1.0),
        ("run.json", ("seconds",), -1.0),
        ("run.json", ("peak_memory",), -1),
        ("run.json", ("environment", "frames"), "many"),
        ("episodes.jsonl", ("fps",), -5.0),
        ("episodes.jsonl", ("seconds",), 1e300),
        ("episodes.jsonl", ("frames",), -1),
        ("episodes.jsonl", ("frame_seconds_p50",), "1"),
        ("episodes.jsonl", ("traceback",), "\ud800"),
        ("episodes.jsonl", ("traceback",), "x" * 20_001),
        ("episodes.jsonl", ("error",), 1e300),
        ("episodes.jsonl", ("error",), ["x"]),
    ],
)
def test_every_number_has_its_range(run: Path, tmp_path: Path, file: str, place: tuple[str, ...], value: Any) -> None:
    assert Run.open(altered(run, tmp_path / "same", file, ("start" if file == "run.json" else "video",), None) and run)
    with pytest.raises(RunError, match=r"the run is damaged|is no record"):
        Run.open(altered(run, tmp_path / "altered", file, place, value))


def test_a_models_options_are_its_own(run: Path, tmp_path: Path) -> None:
    for part in ("key", "model"):
        assert Run.open(altered(run, tmp_path / part, "run.json", (part, "options"), {"shots": -3, "frames": "all"}))


def test_ranges_are_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/names.md").read_text(encoding="utf-8")
    for name, (kind, low, high) in RANGES.items():
        assert f"| `{name}` | {'whole number' if kind is int else 'number'} | {low:,} | {high:,.0f} |" in page, name
