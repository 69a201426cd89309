"""Every metric once. A new one is a line of ``METRICS`` here, and a formula: results, tables and reports follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from icvos.errors import UsageError
from icvos.metrics.formulas import FoldSums, FrameValues, decay, mean, percent, recall

__all__ = [
    "METRICS",
    "Kind",
    "Metric",
    "View",
    "episode_metrics",
    "fold_metrics",
    "metrics_in",
    "ranked_metric",
    "ranked_parts",
    "register",
    "summary_names",
]

Kind = Literal["video", "image"]
View = Literal["summary", "board", "report"]


@dataclass(frozen=True)
class Metric:
    """A metric, in percent; what does not apply is None.

    Attributes:
        name: Its key in ``result.json``, and in an episode's record if it is of one.
        kind: Of the benchmarks that it is of: ``video`` or ``image`` (few-shot).
        of_frames: Its value of a video episode; the benchmark's is the mean over pairs, then over draws.
        of_fold: Its value of a few-shot fold; the benchmark's is the mean over folds.
        halves: The two metrics that it is the mean of.
        low: Least value; the largest is 100.
        higher_is_better: Whether two runs are compared by it.
        views: Where it has a column: the terminal's ``summary``, the ``board``, the ``report``.
        heading: Of its column on a board; by default the name.
        brief: Of its column in the terminal; by default the name.
        ranked: Boards of its kind are ranked by it; one of each kind is.
        stored: Whether ``result.json`` holds it; what is not is computed from its halves where it is wanted.
        required: Whether every result has held it since 0.1.0. A later one reads as None in a result without it.
    """

    name: str
    kind: Kind
    of_frames: Callable[[FrameValues], float | None] | None = None
    of_fold: Callable[[FoldSums], float | None] | None = None
    halves: tuple[str, str] | None = None
    low: float = 0.0
    higher_is_better: bool = True
    views: tuple[View, ...] = ("summary", "board", "report")
    heading: str = ""
    brief: str = ""
    ranked: bool = False
    stored: bool = True
    required: bool = False

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("J", "video", lambda v: percent(mean(v.j)), required=True),
        Metric("F", "video", lambda v: percent(mean(v.f)), required=True),
        Metric("J&F", "video", halves=("J", "F"), ranked=True, required=True),
        Metric("J&F_by_category", "video", views=(), required=True),
        Metric(
            "J_visible",
            "video",
            lambda v: percent(mean(v.j[v.visible])),
            views=("summary", "report"),
            brief="J vis",
            required=True,
        ),
        Metric(
            "F_visible",
            "video",
            lambda v: percent(mean(v.f[v.visible])),
            views=("summary", "report"),
            brief="F vis",
            required=True,
        ),
        Metric(
            "J&F_visible",
            "video",
            halves=("J_visible", "F_visible"),
            views=("board",),
            heading="J&F visible",
            stored=False,
        ),
        Metric(
            "absent_correct",
            "video",
            lambda v: percent(mean(v.absent_correct)),
            heading="absent correct",
            brief="absent",
            required=True,
        ),
        Metric("J_recall", "video", lambda v: percent(recall(v.j)), views=("report",), required=True),
        Metric("F_recall", "video", lambda v: percent(recall(v.f)), views=("report",), required=True),
        Metric(
            "J_decay",
            "video",
            lambda v: percent(decay(v.j)),
            low=-100.0,
            higher_is_better=False,
            views=("report",),
            required=True,
        ),
        Metric(
            "F_decay",
            "video",
            lambda v: percent(decay(v.f)),
            low=-100.0,
            higher_is_better=False,
            views=("report",),
            required=True,
        ),
        Metric(
            "mIoU", "image", of_fold=lambda s: s.miou(undrawn_as_zero=s.undrawn_as_zero), ranked=True, required=True
        ),
        Metric("mIoU_drawn", "image", of_fold=lambda s: s.miou(undrawn_as_zero=False), views=()),
        Metric("mIoU_undrawn_as_0", "image", of_fold=lambda s: s.miou(undrawn_as_zero=True), views=()),
        Metric("FB_IoU", "image", of_fold=FoldSums.fb_iou, heading="FB-IoU", required=True),
        Metric("mean_IoU", "image", of_fold=FoldSums.mean_iou, required=True),
    )
}


def register(metric: Metric) -> None:
    """Add a metric to the table, for this process alone.

    Raises:
        UsageError: Its name is taken, its benchmarks are ranked by another, or nothing says how it is computed.
    """
    if metric.name in (*METRICS, "episodes", "failed"):
        raise UsageError(f"there is a metric '{metric.name}'", expected="a name of its own")
    formula = metric.of_frames if metric.kind == "video" else metric.of_fold
    if metric.ranked or formula is None:
        raise UsageError(f"the metric '{metric.name}' has no formula for {metric.kind}s, or wants to rank")
    METRICS[metric.name] = metric


def metrics_in(view: View, kind: Kind) -> list[Metric]:
    """Return the metrics that have a column in a view of runs of a kind, in the table's order."""
    return [metric for metric in METRICS.values() if metric.kind == kind and view in metric.views]


def episode_metrics() -> list[Metric]:
    """Return the metrics of a video episode's record."""
    return [metric for metric in METRICS.values() if metric.of_frames is not None]


def fold_metrics() -> list[Metric]:
    """Return the metrics of a few-shot fold."""
    return [metric for metric in METRICS.values() if metric.of_fold is not None]


def ranked_metric(kind: Kind) -> Metric:
    """Return the metric that boards of a kind are ranked by: J&F, or mIoU."""
    return next(metric for metric in METRICS.values() if metric.kind == kind and metric.ranked)


def ranked_parts() -> tuple[str, str]:
    """Return the two figures of an episode that a video benchmark's score is the mean of: J and F."""
    halves = ranked_metric("video").halves
    assert halves is not None
    return halves


def summary_names() -> tuple[str, ...]:
    """Return the keys of ``summary`` in ``result.json``, in their order there: later ones stand last."""
    stored = [metric for metric in METRICS.values() if metric.stored]
    required, later = ([metric.name for metric in stored if metric.required is flag] for flag in (True, False))
    return (*required, "episodes", "failed", *later)
