"""A run's figures as rows and arrays, for what is drawn of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from icvos.report.run import ReportRun
from icvos.runs.records import read_frames

__all__ = ["category_rows", "sensitivity", "values_over_time"]


def values_over_time(run: ReportRun, bins: int = 50) -> list[tuple[str, np.ndarray]]:
    """Return what is measured of frames over time: a name, and (episodes, bins) percent.

    Each video's length is stretched onto the bins. Empty where no frame's values are there.

    Raises:
        RunError: A file of values is broken.
    """
    parts = run.rules.frame_parts
    rows: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    for name in run.by_id:
        values = read_frames(run.where, name)
        count = 0 if values is None else len(values[parts[0]])
        if values is None or not count:
            continue
        ids = np.minimum((np.arange(bins) + 0.5) * count / bins, count - 1).astype(int)
        for part in parts:
            rows[part].append(100.0 * values[part][ids])
    return [(part, np.array(each)) for part, each in rows.items() if each]


def category_rows(run: ReportRun) -> list[tuple[str, float, float | None]]:
    """Return (category, J or mIoU, F or None), best first; by video where the run knows no categories."""
    names = run.rules.parts
    table = run.result["per_category"] or run.result["per_video"]
    out = []
    for name, row in table.items():
        first, second = row.get(names[0]), row.get(names[1]) if len(names) > 1 else None
        if first is not None:
            out.append((str(name), float(first), second))
    return sorted(out, key=lambda row: (-(row[1] + (row[2] or 0)), row[0]))


def sensitivity(run: ReportRun, score: Any) -> list[dict[str, Any]]:
    """Return how much the support matters: of each pair its best and worst draw, spread and standard deviation.

    Args:
        run: The run.
        score: From a record to percent.

    Returns:
        Rows with pair, category, draws, best, best_draw, worst, worst_draw, spread, deviation; largest spread first.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in run.by_id.values():
        if not record.get("error") and record.get("draw") is not None:
            groups.setdefault((record["video"], str(record.get("category_name"))), []).append(record)
    out = []
    for (video, category), records in groups.items():
        if len(records) < 2:
            continue
        ranked = sorted(records, key=lambda r: (-score(r), r["draw"]))
        values = _values(ranked, score)
        out.append(
            {
                "video": video,
                "category": category,
                "draws": len(ranked),
                "best": values[0],
                "best_draw": ranked[0]["draw"],
                "worst": values[-1],
                "worst_draw": ranked[-1]["draw"],
                "spread": values[0] - values[-1],
                "deviation": float(np.std(values, ddof=1)),
            }
        )
    return sorted(out, key=lambda row: (-row["spread"], row["video"], row["category"]))


def _values(records: Iterable[Mapping[str, Any]], score: Any) -> list[float]:
    return [float(score(record)) for record in records]
