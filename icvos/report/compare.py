"""Two runs side by side: paired differences, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icvos.errors import UsageError, are, counted
from icvos.leaderboard.ranks import samples_of
from icvos.leaderboard.statistics import category_interval, difference, interval
from icvos.report.run import ReportRun, score_of

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What two runs of one benchmark and protocol differ in; differences are A less B, in points.

    Attributes:
        a, b: The runs.
        metrics: (name, A, B, difference) of the summaries.
        difference: Of what is ranked by (J&F, or mIoU).
        interval: Its 95 % interval, paired over units; None under 20 units.
        categories: Its 95 % interval over categories; None under 20 units or 5 categories.
        units: How many source videos (query images) were drawn from.
        by_video, by_category, episodes: (name, A, B, difference), largest difference first.
    """

    a: ReportRun
    b: ReportRun
    metrics: tuple[tuple[str, float, float, float], ...]
    difference: float
    interval: tuple[float, float] | None
    categories: tuple[float, float] | None
    units: int
    by_video: tuple[tuple[str, float, float, float], ...]
    by_category: tuple[tuple[str, float, float, float], ...]
    episodes: tuple[tuple[str, float, float, float], ...]

    @property
    def verdict(self) -> str:
        """One line on whether the difference means anything."""
        score = self.a.rules.score
        what = "query images" if self.a.image else "source videos"
        text = f"{score} of A less B: {self.difference:+.2f}"
        if self.interval is None:
            return f"{text}; {self.units} {what} are too few for an interval (20 are needed)"
        low, high = self.interval
        text += f", 95 % {low:+.2f} to {high:+.2f} (paired bootstrap over {self.units} {what})"
        if self.categories is not None:
            low, high = self.categories
            text += f", {low:+.2f} to {high:+.2f} over categories"
        if low > 0 or high < 0:
            return f"{text}: {'A' if low > 0 else 'B'} is better"
        return f"{text}: no difference beyond chance"


def _same(a: ReportRun, b: ReportRun) -> None:
    for part, name in (("benchmark", "manifest_sha256"), ("protocol", "name"), ("protocol", "shots")):
        first, second = a.result[part].get(name), b.result[part].get(name)
        if first != second:
            words = {"manifest_sha256": "benchmark", "name": "protocol", "shots": "number of shots"}[name]
            raise UsageError(
                f"the runs differ in their {words}: {str(first)[:16]} and {str(second)[:16]}",
                where=b.where,
                expected="two runs of one benchmark, protocol and number of shots",
            )
    if a.unseen != b.unseen:
        raise UsageError("the runs differ in what they count as unseen", where=b.where, fix="give both one list")
    if set(a.by_id) != set(b.by_id):
        alone = sorted(set(a.by_id) ^ set(b.by_id))
        raise UsageError(
            f"{counted(len(alone), 'episodes')} {are(len(alone))} in one run alone, as {alone[0]}",
            where=b.where,
            fix="finish both runs first",
        )


def _rows(pairs: Mapping[str, tuple[float, float]]) -> tuple[tuple[str, float, float, float], ...]:
    rows = [(name, a, b, a - b) for name, (a, b) in pairs.items()]
    return tuple(sorted(rows, key=lambda row: (-abs(row[3]), row[0])))


def _tables(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> dict[str, tuple[float, float]]:
    out = {}
    for key in sorted(set(a) & set(b)):
        first, second = a[key].get(name), b[key].get(name)
        if first is not None and second is not None:
            out[key] = (float(first), float(second))
    return out


def compare(a: ReportRun, b: ReportRun, *, replicates: int = 2000) -> Comparison:
    """Compare two runs episode by episode.

    Raises:
        UsageError: They are not of one benchmark, protocol, number of shots and set of episodes.
    """
    _same(a, b)
    names = [metric.name for metric in a.rules.metrics_in("report") if metric.higher_is_better]
    undrawn = a.undrawn
    if undrawn is not None and undrawn.count:
        names.insert(1, undrawn.beside)
    metrics = []
    for name in names:
        first, second = a.result["summary"][name], b.result["summary"][name]
        if first is not None and second is not None:
            metrics.append((name, first, second, first - second))
    samples = [samples_of(run, replicates=replicates) for run in (a, b)]
    if samples[0].units != samples[1].units:
        raise UsageError("the runs name other videos for the same episodes", where=b.where, fix="evaluate both again")
    less = difference(samples[0], samples[1])
    score = a.score_name("video")
    episodes = {name: (score_of(a.by_id[name], a.rules), score_of(b.by_id[name], b.rules)) for name in a.by_id}
    return Comparison(
        a,
        b,
        tuple(metrics),
        less.value,
        interval(less),
        category_interval(less),
        len(samples[0].units),
        _rows(_tables(a.result["per_video"], b.result["per_video"], score)),
        _rows(_tables(a.result["per_category"], b.result["per_category"], score)),
        _rows(episodes),
    )


def wins(rows: Sequence[tuple[str, float, float, float]]) -> tuple[int, int, int]:
    """Return in how many rows A is ahead, B is ahead, and they are equal (within a billionth)."""
    ahead = sum(row[3] > 1e-9 for row in rows)
    behind = sum(row[3] < -1e-9 for row in rows)
    return ahead, behind, len(rows) - ahead - behind
