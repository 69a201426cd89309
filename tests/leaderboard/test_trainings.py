"""Several trainings of one method on a board: one row with what they vary by, and the records beside each other."""

from __future__ import annotations

import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import build, run

from icvos.errors import RunError
from icvos.foundation.trainings import training_record
from icvos.leaderboard.board import read_board
from icvos.leaderboard.ranks import samples_of
from icvos.leaderboard.record import record_path, write_record
from icvos.leaderboard.render_html import to_html
from icvos.leaderboard.render_text import to_csv, to_terminal
from icvos.leaderboard.statistics import category_interval, video_samples
from icvos.leaderboard.table import build_tables
from icvos.leaderboard.trainings import Trainings, joined, training_text
from icvos.runs.run import Run
from icvos.runs.schema import validate


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("trainings")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    run(build(root) / "demo", root / "runs/histogram")
    patch.undo()
    return Run.open(root / "runs/histogram")


def trained(entry: Run, seed: int, *, add: float = 0.0, settings: str = "5e771465a0b1", **model: Any) -> Run:
    """The run as that of a training with a seed, whose J and F are all ``add`` points more."""

    def more(row: dict[str, Any]) -> dict[str, Any]:
        return {k: v + add if k in ("J", "F", "J&F") and v is not None else v for k, v in row.items()}

    parts = {name: {k: more(row) for k, row in table.items()} for name, table in entry.result.items() if "per_" in name}
    weights = {"head": f"{seed}{add:.1f}".ljust(64, "0"), "backbone": "b" * 64}
    training = {"settings": settings, "seed": seed, "kept": "best"}
    model = {**entry.run["model"], "weights": weights, "trainings": {"head": training}, **model}
    key = {**entry.run["key"], "weights": weights}
    result = {
        **entry.result,
        **parts,
        "summary": more(dict(entry.result["summary"])),
        "model": {**entry.result["model"]},
    }
    result["model"]["weights"] = weights
    records = tuple(more(dict(row)) for row in entry.records)
    return replace(entry, run={**entry.run, "model": model, "key": key}, result=result, records=records)


def test_three_trainings_are_one_row(entry: Run, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [trained(entry, 3, add=1.5), trained(entry, 1), trained(entry, 2, add=0.3)]
    (table,) = build_tables([*runs, replace(entry)], published=False)
    heads = [column.head for column in table.columns]
    assert len(table.rows) == 2
    scores = [entry.score, entry.score + 0.3, entry.score + 1.5]
    row = dict(zip(heads, table.rows[0]))
    assert row["J&F"] == pytest.approx(statistics.mean(scores))
    assert row["trainings"] == f"± {statistics.stdev(scores):.2f} over 3" == "± 0.79 over 3"
    assert dict(zip(heads, table.rows[1]))["trainings"] is None  # no weights: nothing to say
    singles = [note for note in table.notes if "over 3 trainings" in note]
    assert (
        len(singles) == 1 and f"(seed 1 {scores[0]:.2f}, seed 2 {scores[1]:.2f}, seed 3 {scores[2]:.2f})" in singles[0]
    )

    to_terminal([table], width=130)
    assert "± 0.79 over 3" in capsys.readouterr().out
    lines = csv.DictReader(io.StringIO(to_csv([table])))
    assert [line["value"] for line in lines if line["column"] == "trainings"] == ["± 0.79 over 3", ""]
    page = json.loads(to_html([table]).partition('id="data">')[2].partition("</script>")[0])
    assert singles[0] in page["tables"][0]["notes"]
    details = {page["texts"][name]: page["texts"][text] for name, text in page["tables"][0]["entries"][0]["details"]}
    assert details["trainings"] == singles[0]


def test_one_training_says_so(entry: Run) -> None:
    old = trained(entry, 1, trainings={"head": {}})  # weights of icvos train before they told their seed
    assert training_text(old) == training_text(trained(entry, 1)) == "1" and training_text(entry) is None
    (table,) = build_tables([old, replace(entry)], published=False)
    assert "1 training: histogram" in table.notes
    assert sorted(row[[c.head for c in table.columns].index("trainings")] or "" for row in table.rows) == ["", "1"]


def test_what_is_no_training_of_the_same_method_stands_alone(entry: Run) -> None:
    first = trained(entry, 1)
    others = [
        trained(entry, 2, settings="another learning"),
        trained(entry, 2, options={"bins": 4}),
        trained(entry, 2, version="9"),
        trained(entry, 2, weights={**trained(entry, 2).run["model"]["weights"], "backbone": "c" * 64}),
        trained(entry, 2, trainings={"head": {"settings": "5e771465a0b1", "seed": 2, "kept": "last"}}),
        trained(entry, 1, add=2.0),  # the same seed again is no other training
        replace(trained(entry, 2), run={**trained(entry, 2).run, "name": "mine"}),
        replace(trained(entry, 2), run={**trained(entry, 2).run, "key": {**first.run["key"], "shard": "1/2"}}),
    ]
    for other in others:
        assert joined([first, other]) == [first, other]
    (both,) = joined([first, trained(entry, 2)])
    assert isinstance(both, Trainings) and [list(each.trainings) for each in both.runs] == [["head"]] * 2


def test_trainings_that_differ_in_the_seed_of_their_data_alone_are_one_row(entry: Run) -> None:
    def on(data_seed: int | None, add: float) -> Run:
        said = {"settings": "5e771465a0b1", "seed": 1, "kept": "best"}
        return trained(
            entry, 1, add=add, trainings={"head": said if data_seed is None else {**said, "data_seed": data_seed}}
        )

    runs = [on(2, 1.0), on(1, 0.0)]
    (both,) = joined(runs)
    assert isinstance(both, Trainings) and training_text(both) == "± 0.71 over 2"
    assert f"(seed 1 (data 1) {entry.score:.2f}, seed 1 (data 2) {entry.score + 1:.2f})" in both.text
    assert len(both.run["model"]["weights"]) == 3
    validate(runs[0].run, runs[0].result, runs[0].records, Path("x"))
    # Weights of before do not say it: one seed is one training then.
    others = [on(2, 1.0), on(None, 0.0)]
    assert joined(others) == others
    record = {
        seed: training_record({"settings": {"seed": 0}, "describe": {"seed": seed}}, {}, kept="best") for seed in (1, 2)
    }
    assert record[1]["settings"] == record[2]["settings"] and [each["data_seed"] for each in record.values()] == [1, 2]


def test_interval_of_several_trainings_is_that_of_their_mean(entry: Run) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"e{i}", "video": f"v{i:02d}", "source": "s", "category": i % 6, "draw": 0, "J": float(j), "F": float(f)}
        for i, (j, f) in enumerate(rng.uniform(10, 90, (30, 2)))
    ]
    runs = [trained(replace(entry, records=tuple(rows)), seed, add=float(seed)) for seed in (1, 2, 3)]
    runs[1] = replace(runs[1], records=runs[1].records[::-1])  # workers finish in any order
    (both,) = joined(runs)
    mean = [{**row, "J": row["J"] + 2, "F": row["F"] + 2} for row in rows]
    expected, found = video_samples(mean, ("J", "F")), samples_of(both)
    assert [row["J"] for row in both.records] == pytest.approx([row["J"] for row in mean])
    assert found.value == pytest.approx(expected.value)
    np.testing.assert_allclose(found.replicates, expected.replicates)
    assert category_interval(found) == pytest.approx(category_interval(expected))


def test_records_of_several_trainings_stand_on_one_board(entry: Run, tmp_path: Path) -> None:
    paths = {write_record(tmp_path, trained(entry, seed), "masks re-scored").name for seed in (1, 2)}
    assert paths == {"histogram@1@training=10.00000.json", "histogram@1@training=20.00000.json"}
    found, _ = read_board(tmp_path)
    assert [dict(run.trainings["head"]) for run in found] == [
        {"settings": "5e771465a0b1", "seed": seed, "kept": "best"} for seed in (1, 2)
    ]
    assert len(joined(found)) == 1
    # A run whose weights tell no seed lies where it did.
    assert record_path(tmp_path, entry).name == record_path(tmp_path, trained(entry, 1, trainings={})).name
    assert record_path(tmp_path, entry).name == "histogram@1.json"


@pytest.mark.parametrize("value", [[], {"head": 1}, {"head": {"seed": "1"}}, {"head": {"colour": "red"}}, None])
def test_a_run_with_broken_trainings_is_damaged(entry: Run, value: Any) -> None:
    broken = trained(entry, 1, trainings=value)
    with pytest.raises(RunError, match="trainings say no settings"):
        validate(broken.run, broken.result, broken.records, Path("x"))
