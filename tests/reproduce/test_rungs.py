"""The ladder's table: every rung is whole, its commands parse, its printed values are those of the published tables."""

from __future__ import annotations

import csv
from pathlib import Path

import click
import pytest

from icvos import cli
from icvos.commands import reproduce
from icvos.commands.build_data import BUILDERS
from icvos.errors import UsageError
from icvos.foundation.checkpoints import CHECKPOINTS
from icvos.reproduce.rung import Figure, Rung, fill_in
from icvos.reproduce.rungs import DATA, RUNGS, get_rung
from icvos.reproduce.stand_ins import shorten
from icvos.sources.expected import expected_counts

ROOT = Path(__file__).resolve().parents[2]


def values_of(rung: Rung) -> dict[str, str]:
    names = (*rung.data, *rung.weights, "out")
    return {**{name: f"/{name}" for name in names}, "device": "cpu", "workers": "1"}


@pytest.mark.parametrize("rung", RUNGS.values(), ids=RUNGS)
def test_a_rung_is_whole(rung: Rung) -> None:
    assert set(rung.data) <= set(DATA) and set(rung.weights) <= set(CHECKPOINTS)
    assert all((rung.title, rung.steps, rung.figures, rung.source, rung.reason, rung.suspects, rung.basis, rung.memory))
    used = {name for name in values_of(rung) if any(f"{{{name}}}" in word for s in rung.steps for word in s.words)}
    assert used == set(values_of(rung)), "an input that no command takes"
    left = {step.leaves for step in rung.steps}
    assert {f"{run}/result.json" for figure in rung.figures for run in figure.runs} <= left


@pytest.mark.parametrize("rung", RUNGS.values(), ids=RUNGS)
def test_its_commands_parse_as_they_are_and_shortened(rung: Rung, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: None)
    for step in rung.steps:
        words = fill_in(step.words, values_of(rung))
        assert shorten(words)[: len(words)] == words != shorten(words)
        for each in (words, shorten(words)):
            cli.icvos.main(each, prog_name="icvos", standalone_mode=False)


def test_what_is_made_by_a_command_is_there_before_it_is_used() -> None:
    for rung in RUNGS.values():
        made: list[str] = []
        for step in rung.steps:
            for word in step.words:
                path = word.partition("{out}/")[2]
                new = step.leaves.startswith(f"{path}/")
                assert not path or new or any(each == path or each.rpartition("/")[0] in path for each in made), word
            made.append(step.leaves)


def test_printed_values_of_the_paper_are_those_of_the_published_table() -> None:
    with (ROOT / "leaderboards" / "published.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    methods = {"persam-f": "PerSAM-F", "seggpt": "SegGPT", "vrp-sam": "VRP-SAM", "dcsam": "DC-SAM"}
    methods |= {"persam": "PerSAM"}
    checked = 0
    for name, rung in RUNGS.items():
        method, _, benchmark = name.partition("-coco-20i")
        if benchmark or method == name:
            continue
        for figure in rung.figures:
            part = "mean" if figure.fold is None else f"fold-{figure.fold}"
            found = {
                float(row["value"])
                for row in rows
                if (row["benchmark"], row["method"], row["part"]) == ("coco-20i", methods.get(method), part)
                and row["encoder"] in ("", "ResNet-50")
            }
            if found:
                assert figure.printed in found, (name, figure.name)
                checked += 1
    assert checked == 15
    assert get_rung("dcsam-coco-20i-fold0").figures[0].printed == 50.4
    assert get_rung("dcsam-ic-vos").figures[0].printed == 71.52
    assert get_rung("sam2-first-frame-ic-vos").figures[0].printed == 89.93


def test_a_tolerance_is_given_where_there_is_something_to_compare_and_only_there() -> None:
    waiting = {name for name, rung in RUNGS.items() if rung.figures[0].printed and not rung.figures[0].compared}
    assert waiting == {name for name in RUNGS if name.endswith("-lvos2")}
    assert all("lvos-v2" in RUNGS[name].reason for name in waiting)
    for rung in RUNGS.values():
        assert all(figure.tolerance is None for figure in rung.figures if figure.printed is None)
        assert rung.figures[0].printed is not None or "could be sourced" in rung.source


def test_a_rung_that_compares_says_what_its_whole_data_has() -> None:
    assert {name for name, rung in RUNGS.items() if not rung.counts} == {n for n in RUNGS if n.endswith("-lvos2")}
    davis = expected_counts("DAVIS-2017", "val").counts
    stated = {"videos": davis["sequences"], "frames": davis["frames"], "pairs": davis["objects"]}
    assert get_rung("sam2.1-large-davis17").counts == stated


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (50.4, "reproduced"),
        (51.4, "reproduced"),  # on the border, for all that floats make of 51.4 - 50.4
        (49.4, "reproduced"),
        (51.42, "off by +1.02"),
        (40.0, "off by -10.40"),
    ],
)
def test_a_figure_is_judged_by_its_tolerance(measured: float, verdict: str) -> None:
    assert Figure("mIoU", "mIoU", ("run",), 50.4, 1.0).verdict(measured) == verdict


def test_without_a_printed_value_or_a_tolerance_nothing_is_judged() -> None:
    assert Figure("J&F", "J&F", ("run",)).verdict(1.0) == "not compared"
    assert Figure("J&F", "J&F", ("run",), 80.0).verdict(80.0) == "not compared"


def test_an_unknown_rung_is_told() -> None:
    with pytest.raises(UsageError, match="no rung 'dcsam-icvos'; did you mean 'dcsam-ic-vos'"):
        get_rung("dcsam-icvos")


def test_the_builders_that_rungs_name_are_there() -> None:
    named = {step.words[1] for rung in RUNGS.values() for step in rung.steps if step.words[0] == "build-data"}
    assert named == {"vos", "ic-vos", "coco-20i"} and named <= set(BUILDERS)


def test_each_data_set_has_an_option() -> None:
    (run,) = (each for each in reproduce.command.commands.values() if each.name == "run")
    options = {option for parameter in run.params for option in parameter.opts}
    assert {f"--{name}" for name in DATA} <= options
    assert set(DATA) == {name for rung in RUNGS.values() for name in rung.data}
