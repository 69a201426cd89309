"""From the figures of episodes to those of a data set, or of a part of it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np

from icvos.metrics.formulas import average, dice_of, total
from icvos.metrics.table import METRICS

__all__ = ["Pool", "Row", "mean_over_draws", "over_frames", "over_pixels", "seen_and_unseen"]

Figures = dict[str, float | None]
GROUPS = {"seen": False, "unseen": True}


@dataclass(frozen=True, slots=True)
class Row:
    """What a summary needs of an episode's record, in little memory.

    Attributes:
        video, category_name, source, draw: Of the episode; empty and 0 where the kind has none. ``draw`` is the run
            where the benchmark's list is of several.
        names: What ``values`` are of, shared by all rows.
        values: Figures and other numbers of the record; NaN where it has none.
    """

    video: str
    category_name: str
    source: str
    draw: int
    names: tuple[str, ...]
    values: array[float]

    @classmethod
    def of(cls, record: Mapping[str, Any], names: tuple[str, ...], **known: Any) -> Row:
        """Return the row of a record: numbers by their names, and what is ``known`` of the episode."""
        numbers = (record.get(name) for name in names)
        about = {"video": "", "category_name": "", "source": "", "draw": 0, **known}
        return cls(**about, names=names, values=array("d", (nan if value is None else value for value in numbers)))

    def __getitem__(self, name: str) -> float | None:
        """Return a number of the record, or None."""
        value = self.values[self.names.index(name)]
        return None if isnan(value) else value


@dataclass(frozen=True)
class Pool:
    """Figures that are computed from sums over episodes, and are no means of theirs.

    Attributes:
        terms: Returns the numbers of an episode that are summed.
        figures: Returns the figures from (…, terms) float64 sums, by name, (…) float64 each; NaN where there is none.
            Sums by weights, as a bootstrap has them, are as good.
    """

    terms: Callable[[Row], tuple[float, ...]]
    figures: Callable[[np.ndarray], dict[str, np.ndarray]]

    def over_draws(self, rows: Sequence[Row]) -> Figures:
        """Return the mean over draws of the figures of each draw; None where no draw has one."""
        terms: dict[int, list[tuple[float, ...]]] = {}
        for row in rows:
            terms.setdefault(row.draw, []).append(self.terms(row))
        draws = [self.figures(np.sum(terms[draw], axis=0)) for draw in sorted(terms)]
        names = draws[0] if draws else ()
        known = {name: [float(figures[name]) for figures in draws] for name in names}
        return {name: average(None if isnan(value) else value for value in values) for name, values in known.items()}


def mean_over_draws(rows: Sequence[Row], metrics: Sequence[str]) -> Figures:
    """Return the mean of each metric over draws of its mean over episodes; those that lack it are left out."""
    by_draw: dict[int, list[Row]] = {}
    for row in rows:
        by_draw.setdefault(row.draw, []).append(row)
    return {name: average(average(row[name] for row in by_draw[draw]) for draw in sorted(by_draw)) for name in metrics}


def seen_and_unseen(rows: Sequence[Row], metrics: Sequence[str]) -> Figures:
    """Return the mean of what is seen and what is unseen, each the mean over its episodes, and J, F and V of both.

    A part of a data set that has one of the two alone has that one's mean.

    Source: ``evaluation_method.py`` of LingyiHongfd/lvos-evaluation at 25cb02d1.
    """
    groups = {name: [row for row in rows if bool(row["unseen"]) is flag] for name, flag in GROUPS.items()}
    means = {name: mean_over_draws(group, metrics) for name, group in groups.items()}
    figures = {name: average(mean[name] for mean in means.values() if name in mean) for name in metrics}
    parts = {f"{name}_{group}": mean[name] for group, mean in means.items() for name in mean}
    return figures | {name: parts.get(name) for name, metric in METRICS.items() if metric.of_group in GROUPS}


def over_frames(rows: Sequence[Row], metrics: Sequence[str]) -> Figures:
    """Return of each metric the mean over all frames of a category, then over categories, then over draws.

    An episode's figure counts once for each of its frames. One that failed has none, and counts as the usual episode
    of its category does.

    Source: ``TreeEvaluation`` in ``libs/utils/Logger.py`` of scutpaul/DANet at f0bc57d9.
    """
    cells = _by_draw_and_category(rows)
    return {name: _mean_of_cells({k: _weighted(cell, name, "frames") for k, cell in cells.items()}) for name in metrics}


def over_pixels(rows: Sequence[Row], metrics: Sequence[str]) -> Figures:
    """Return IoU and Dice of all pixels of a category, the mean over categories, then over runs; the rest over frames.

    The mean of episodes' IoU by their unions is that of all their pixels. Failed ones count as for ``over_frames``.

    Source: ``episodic_validate`` in ``src/test_ytvis.py`` of MSiam/tti_fsvos at e7363672.
    """
    ious = {key: _weighted(cell, "IoU", "union") for key, cell in _by_draw_and_category(rows).items()}
    dices = {key: None if iou is None else 100 * dice_of(iou / 100) for key, iou in ious.items()}
    return {**over_frames(rows, metrics), "IoU": _mean_of_cells(ious), "Dice": _mean_of_cells(dices)}


Cells = dict[tuple[int, str], list[Row]]


def _by_draw_and_category(rows: Sequence[Row]) -> Cells:
    cells: Cells = {}
    for row in rows:
        cells.setdefault((row.draw, row.category_name), []).append(row)
    return dict(sorted(cells.items()))


def _weighted(rows: Sequence[Row], name: str, weight: str) -> float | None:
    """Return the mean of a figure by a number of the record; those that lack the figure are left out."""
    pairs = [(value, row[weight]) for row in rows if (value := row[name]) is not None]
    usual = average(number for _, number in pairs)
    if not usual:  # nothing weighs: no record has the number, or all are 0
        return average(value for value, _ in pairs)
    weights = [usual if number is None else number for _, number in pairs]
    return total(value * number for (value, _), number in zip(pairs, weights)) / total(weights)


def _mean_of_cells(figures: Mapping[tuple[int, str], float | None]) -> float | None:
    by_draw: dict[int, list[float | None]] = {}
    for (draw, _), figure in figures.items():
        by_draw.setdefault(draw, []).append(figure)
    return average(average(each) for each in by_draw.values())
