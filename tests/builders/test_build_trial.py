"""A build's dry run: its table, its counts against the build's own, and that it leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import click
import fewshot_trees
import pytest
import raw_trees
from board_runs import icvos

from icvos.builders import trial as trials
from icvos.builders.ic_vos.build import build_icvos, estimate, prepare, try_build
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.trial import BuildTrial, Sample, spread, trial_folder, try_tasks
from icvos.commands.build_data import BUILDERS
from icvos.commands.build_data import command as build_data
from icvos.errors import BenchmarkError, InputError, SourceError
from icvos.sources import open_source
from icvos.sources.coco import open_coco


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw_trees.everything(tmp_path_factory.mktemp("raw"))


def test_every_builder_that_has_a_dry_run_says_that_it_costs_the_build() -> None:
    commands = {name: build_data.get_command(click.Context(build_data), name) for name in BUILDERS}
    helps = {
        name: option.help
        for name, command in commands.items()
        for option in (command.params if command is not None else ())
        if isinstance(option, click.Option) and "--dry-run" in option.opts
    }
    assert {"ic-vos", "vos", "coco-20i", "pascal-5i", "mask-tubes", "saco-ic"} <= set(helps)
    assert {name for name, text in helps.items() if "disk, memory and hours" not in str(text)} == set()


def double(task: int) -> int:
    if task < 0:
        raise SourceError("a broken video", where="x")
    return 2 * task


@pytest.mark.parametrize("workers", [1, 2])
def test_some_tasks_are_done(workers: int) -> None:
    sample = try_tasks(double, range(1, 5), what="frames", total=200, size=int, workers=workers)
    assert (sample.what, sample.done, sample.total) == ("frames", 20, 200)
    assert sample.seconds > 0 and sample.memory > 2**20 and 1 <= sample.parallel <= workers
    assert sample.whole == pytest.approx(10 * sample.seconds / sample.parallel)
    with pytest.raises(SourceError, match="a broken video"):
        try_tasks(double, [1, -1], what="frames", total=200, size=int, workers=workers)


def test_after_some_seconds_no_further_task_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ENOUGH", -1.0)
    assert try_tasks(double, range(1, 100), what="frames", total=200, size=int, workers=1).done == 2


def test_tasks_are_taken_from_everywhere() -> None:
    assert spread(range(100), 4) == [0, 33, 66, 99]
    assert spread([1, 2], 4) == [1, 2] and spread([], 4) == []


def test_what_was_multiplied_by_what_is_said() -> None:
    videos = Sample("frames", 100, 2.0, 2**30, 500_000, parallel=8)
    supports = Sample("supports", 10, 1.0, 2**20, 6_000)
    trial = BuildTrial(Path("B"), (videos, supports), 10**18, "videos 1 GB", 8)
    assert trial.seconds == 500_000 * 0.02 / 8 + 600
    rows = {row.what: row for row in trial.costs()}
    assert rows["time"].amount == "30 min" and rows["time"].how == (
        "500,000 frames × 20 ms / 8 + 6,000 supports × 0.1 s; 100 frames, 10 supports built where the folder goes, "
        "and removed"
    )
    assert "8 workers × 1.00 GiB" in rows["memory"].how and rows["disk"].how.startswith("videos 1 GB; ")
    assert "NOT ENOUGH" in rows["disk"].how


def test_the_folder_is_on_the_disk_of_the_benchmark_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError), trial_folder(tmp_path / "not/there/B") as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_text("x")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="nothing can be written here") as error, trial_folder(tmp_path / "file/B"):
        raise AssertionError("not reached")
    assert "choose another --out" in str(error.value)


def test_what_would_be_in_the_way_of_the_build_is_told(tmp_path: Path) -> None:
    (tmp_path / "B").mkdir()
    with trial_folder(tmp_path / "B"):  # an empty folder is not in the way
        pass
    (tmp_path / "B/file").touch()
    with pytest.raises(BenchmarkError, match="the folder is there already"), trial_folder(tmp_path / "B"):
        pass
    (tmp_path / "C.partial").mkdir()
    with pytest.raises(BenchmarkError, match="a folder is in the way that no build made"), trial_folder(tmp_path / "C"):
        pass


@pytest.mark.parametrize("link", [False, True])
def test_the_supports_that_are_counted_are_those_that_are_built(trees: Path, tmp_path: Path, link: bool) -> None:
    sources = [open_source("davis17", trees / "davis")]
    prepared = prepare(sources, open_coco(trees / "coco"), rules=BuildRules(shots=2, draws=3))
    need = estimate(prepared, link=link)
    trial = try_build(prepared, tmp_path / "B", need, link=link)
    assert not list(tmp_path.iterdir())
    report = build_icvos(prepared, tmp_path / "B", link=link)
    assert need.supports == report.supports and trial.samples[0].total == report.frames
    images, masks = (list((tmp_path / "B/supports" / part).rglob("*.*g")) for part in ("images", "masks"))
    written = 0 if link else sum(path.stat().st_size for path in images)
    assert need.support_bytes == written + 2000 * len(masks) and trial.samples[1].total == len(masks)
    assert trial.need == need.new_bytes + need.support_bytes
    assert trial.samples[0].done == report.frames  # so few are all built


def rows_of(out: str) -> dict[str, str]:
    found = re.findall(r"^ (time|memory|disk) +(\S+ \S+(?: \d+ \S+)?)  (.*)$", out, flags=re.MULTILINE)
    return {what: how for what, _, how in found}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("builder", ["ic-vos", "coco-20i", "pascal-5i", "mask-tubes", "saco-ic"])
def test_every_builder_says_disk_memory_and_time_and_leaves_nothing(
    trees: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    builder: str,
    workers: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # a row in a line
    raw, out = tmp_path / "raw", tmp_path / "out/B"
    if builder == "ic-vos":
        words: list[object] = ["--davis", trees / "davis", "--coco", trees / "coco"]
    elif builder == "saco-ic":
        words = ["--saco", raw_trees.saco(raw)]
    elif builder == "pascal-5i":
        voc, sbd = fewshot_trees.pascal_world(raw)
        words = ["--voc", voc, "--sbd", sbd, "--min-area", "1"]
    else:
        coco = fewshot_trees.coco(raw, fewshot_trees.many(("person", "airplane"), 9), images=9)
        words = ["--coco", coco, "--min-area", "100"]
        words += ["--split", "val2014"] if builder == "mask-tubes" else ["--fold", "0"]
    assert icvos("build-data", builder, *words, "--out", out, "--workers", workers, "--dry-run") == 0
    shown = capsys.readouterr()
    rows = rows_of(shown.out)
    assert set(rows) == {"time", "memory", "disk"}, shown.out
    assert "built where the folder goes, and removed" in rows["time"] and "free there, enough" in rows["disk"]
    assert ("2 workers × " in rows["memory"]) == (workers == "2")
    assert {path.name for path in tmp_path.iterdir()} <= {"raw"}


def test_what_is_broken_is_told_before_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = raw_trees.everything(tmp_path / "raw")
    broken = next((root / "davis/JPEGImages").rglob("dogs/00000.jpg"))
    broken.write_bytes(b"\xff\xd8 no image")
    words = ("--davis", root / "davis", "--coco", root / "coco", "--out", tmp_path / "B", "--dry-run")
    assert icvos("build-data", "ic-vos", *words) == 2
    assert "00000.jpg" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"raw"}
