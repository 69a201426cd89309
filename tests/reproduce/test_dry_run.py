"""Every rung's commands go through end to end, on the demo's raw layouts with small weights."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from board_runs import icvos
from ladders import the_ladder_is

from icvos import cli
from icvos.models.needs import missing_packages
from icvos.reproduce import stand_ins
from icvos.reproduce.rungs import RUNGS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def parts(out: str) -> dict[str, str]:
    """What is said of each rung, by its name."""
    starts = [(out.index(f"\n{name}: {rung.title}\n"), name) for name, rung in RUNGS.items()]
    ends = [start for start, _ in starts[1:]] + [len(out)]
    return {name: out[start:end] for (start, name), end in zip(starts, ends)}


@pytest.mark.slow
def test_every_rung_goes_through(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = icvos("reproduce", "run", "--all", "--dry-run")
    out, error = capsys.readouterr()
    assert status == 0, error
    for name, text in parts(out).items():
        rung = RUNGS[name]
        assert f"GPU-hours: {'not estimated' if rung.hours is None else f'about {rung.hours:g}'}; " in text
        assert "GPU memory, peak: not measured" in text and "GB of weights" in text and "SHA-256 " in text
        last = text.rstrip("\n").splitlines()[-1]
        if missing_packages(rung.extra):
            assert last.startswith(f"{name}: not tried, without the package ")
        else:
            assert last == f"{name}: all {len(rung.steps)} commands go through"
            assert text.count("$ icvos ") == len(rung.steps)
    assert not list(folder.glob("icvos-*")), "the temporary folder is left"


@pytest.fixture
def small_ladder() -> Iterator[None]:
    """The ladder is two rungs."""
    with the_ladder_is(*(RUNGS[name] for name in ("persam-f-coco-20i", "seggpt-coco-20i"))):
        yield


@pytest.mark.usefixtures("small_ladder")
def test_a_rung_whose_extra_is_not_installed_is_not_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("icvos.reproduce.ladder.missing_packages", lambda extra: (f"of-{extra}",))
    assert icvos("reproduce", "run", "--all", "--dry-run") == 0
    said = parts(capsys.readouterr().out)
    assert said["seggpt-coco-20i"].endswith("not tried, without the package of-hf (extra hf)\n")
    assert said["persam-f-coco-20i"].endswith("not tried, without the package of-sam (extra sam)\n")


@pytest.mark.usefixtures("small_ladder")
def test_a_rung_that_fails_is_told_and_ends_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = stand_ins.shorten

    def broken(words: Sequence[str]) -> list[str]:
        return [*short(words), *(("--shots", "0") if "persam-f" in words else ())]

    monkeypatch.setattr(stand_ins, "shorten", broken)
    assert icvos("reproduce", "run", "--all", "--dry-run") == 1
    out, error = capsys.readouterr()
    assert "--shots" in parts(out)["persam-f-coco-20i"].splitlines()[-1]
    assert "all 2 commands go through" in parts(out)["seggpt-coco-20i"]
    assert error.splitlines()[-1] == "1 of 2 rungs do not go through: persam-f-coco-20i"
    assert not list(folder.glob("icvos-*"))


@pytest.mark.usefixtures("small_ladder")
def test_a_signal_ends_all_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []

    def end(*given: object, **options: object) -> None:
        begun.append(given)
        raise SystemExit(128 + signal.SIGTERM)  # as cli.py has it

    monkeypatch.setattr("icvos.builders.fewshot.plan.plan_coco20i", end)
    monkeypatch.setattr("icvos.reproduce.ladder.missing_packages", lambda extra: ())
    with pytest.raises(SystemExit) as stop:
        cli.icvos.main(["reproduce", "run", "--all", "--dry-run"], standalone_mode=False)
    assert stop.value.code == 143 and len(begun) == 1 and not list(folder.glob("icvos-*"))
