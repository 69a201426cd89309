"""Both intervals of a row, named, in tables, ``icvos show`` and ``icvos compare``; none where they mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import build, run

from icvos.benchmark import VOS
from icvos.commands.show_run import _print_summary
from icvos.leaderboard.ranks import samples_of, standings
from icvos.leaderboard.render_text import to_terminal
from icvos.leaderboard.statistics import category_interval, difference, interval
from icvos.leaderboard.table import build_tables, interval_text
from icvos.report.compare import compare
from icvos.report.run import ReportRun
from icvos.runs.run import Run


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("intervals")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    run(build(root) / "demo", root / "runs/histogram")
    patch.undo()
    return Run.open(root / "runs/histogram")


def of_videos(entry: Run, model: str, gains: tuple[float, ...], *, videos: int = 60) -> Run:
    """The run with other records, of a category for each gain, in turn."""
    base = np.random.default_rng(0).uniform(20, 70, videos)
    rows = [
        {"id": f"e{i:02d}", "video": f"v{i:02d}", "source": "s", "category": i % len(gains), "draw": 0, "J": s, "F": s}
        for i, s in enumerate(float(value) + gains[i % len(gains)] for i, value in enumerate(base))
    ]
    score = float(np.mean([row["J"] for row in rows]))
    result = {**entry.result, "model": {**entry.result["model"], "name": model}}
    result["summary"] = {**result["summary"], "J": score, "F": score, "J&F": score}
    return replace(entry, records=tuple(rows), result=result)


PAIR = ((0.0,) * 6, (14.0, 12.0, 10.0, -6.0, -5.0, -4.0))


def test_both_intervals_stand_in_a_table_by_name(entry: Run, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [of_videos(entry, name, gains) for name, gains in zip(("plain", "uneven"), PAIR)]
    (table,) = build_tables(runs, published=False)
    heads = [column.head for column in table.columns]
    assert "95 % over videos" in heads and "95 % over categories" in heads
    for row, run_ in zip(table.rows, reversed(runs)):
        cells, samples = dict(zip(heads, row)), samples_of(run_)
        assert cells["model"] == run_.model
        assert cells["95 % over videos"] == interval_text(interval(samples))
        assert cells["95 % over categories"] == interval_text(category_interval(samples))
        # The mean gain is chance, if other categories could gain otherwise.
        assert cells["rank"] == "1-2"
    notes = " ".join(table.notes)
    assert (
        "60 source videos" in notes and "others like these 6" in notes and "at once with 95 % over categories" in notes
    )
    to_terminal([table], width=80)
    shown = capsys.readouterr().out
    assert "95 % over  95 % over" in shown and "videos     categories" in shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())


def test_objects_of_semi_supervised_vos_are_no_categories(entry: Run) -> None:
    runs = [of_videos(entry, name, gains) for name, gains in zip(("plain", "uneven"), PAIR)]
    vos = [replace(r, run={**r.run, "benchmark": {**r.run["benchmark"], "task": VOS}}) for r in runs]
    assert all(place.interval and place.categories is None and place.clusters == 0 for place in standings(vos))
    assert [place.text for place in standings(vos)] == ["2", "1"]
    (table,) = build_tables(vos, published=False)
    assert "95 % over categories" not in [column.head for column in table.columns]
    assert any("at once with 95 % over videos" in note for note in table.notes)


def test_few_categories_give_the_interval_over_videos_alone(entry: Run) -> None:
    (place,) = standings([of_videos(entry, "few", (0.0, 5.0, -5.0, 1.0))])
    assert place.interval is not None and place.categories is None


def test_intervals_stay_in_the_range_of_the_score(entry: Run) -> None:
    run = of_videos(entry, "uneven", (-20.0, -15.0, -10.0, 10.0, 30.0))
    ends = category_interval(samples_of(run))
    assert ends is not None and ends[0] > 0
    rows = tuple({**row, "J": 99.0 * (row["category"] == 0), "F": 99.0 * (row["category"] == 0)} for row in run.records)
    score = float(np.mean([row["J"] for row in rows]))
    summary = {**run.result["summary"], "J": score, "F": score, "J&F": score}
    lone = replace(run, records=rows, result={**run.result, "summary": summary})
    outside = category_interval(samples_of(lone))
    assert outside is not None and outside[0] < 0
    (place,) = standings([lone])
    assert place.categories == (0.0, outside[1])


def test_show_and_compare_give_both(entry: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plain, uneven = (of_videos(entry, "x", gains) for gains in PAIR)
    _print_summary(plain)
    shown = capsys.readouterr().out
    assert "J&F, 95 % over videos" in shown and "J&F, 95 % over categories" in shown

    def opened(each: Run) -> Any:
        return ReportRun(each.run, each.result, each.records, each.checked, tmp_path)

    found = compare(opened(uneven), opened(plain), replicates=400)
    less = difference(*(samples_of(each, replicates=400) for each in (uneven, plain)))
    assert (found.interval, found.categories) == (interval(less), category_interval(less))
    assert found.interval[0] > 0 > found.categories[0]
    assert found.verdict.endswith("over categories: no difference beyond chance")
