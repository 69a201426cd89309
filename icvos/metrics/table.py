"""Every metric once. A new one is a line of ``METRICS`` here, and a formula: results, tables and reports follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from icvos.errors import UsageError
from icvos.metrics.formulas import FoldSums, FrameValues, back, decay, gone, mean, percent, recall

__all__ = [
    "METRICS",
    "Kind",
    "Metric",
    "View",
    "episode_figures",
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
        of_episode: Whether an episode has it that ``of_frames`` does not compute: protocols do, each in its own way.
        of_fold: Its value of a few-shot fold; the benchmark's is the mean over folds.
        halves: The two metrics that it is the mean of.
        of_group: ``seen``, ``unseen`` or ``negative``: it is the mean of its first letters' metric over these episodes
            alone.
        low: Least value; the largest is 100.
        higher_is_better: Whether two runs are compared by it.
        views: Where it has a column: the terminal's ``summary``, the ``board``, the ``report``.
        heading: Of its column on a board; by default the name.
        brief: Of its column in the terminal; by default the name.
        ranked: Boards of its kind are ranked by it; one of each kind is.
        stored: Whether ``result.json`` holds it; what is not is computed from its halves where it is wanted.
        required: Whether every result has held it since 0.1.0. A later one reads as None in a result without it.
        needs: Columns of a frame that it is computed from, beside J: a protocol that does not measure them lacks it.
        protocols: Names of the protocols whose results alone have it; empty for all.
    """

    name: str
    kind: Kind
    of_frames: Callable[[FrameValues], float | None] | None = None
    of_episode: bool = False
    of_fold: Callable[[FoldSums], float | None] | None = None
    halves: tuple[str, str] | None = None
    of_group: str = ""
    low: float = 0.0
    higher_is_better: bool = True
    views: tuple[View, ...] = ("summary", "board", "report")
    heading: str = ""
    brief: str = ""
    ranked: bool = False
    stored: bool = True
    required: bool = False
    needs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


def _of_group(name: str, group: str = "", **more: Any) -> Metric:
    return Metric(name, "video", of_group=group, views=("report",), needs=("F",), protocols=("lvos-v2",), **more)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("J", "video", lambda v: percent(mean(v.j)), required=True),
        Metric("F", "video", lambda v: percent(mean(v.f)), required=True, needs=("F",)),
        Metric("J&F", "video", halves=("J", "F"), ranked=True, required=True, needs=("F",)),
        Metric("J&F_by_category", "video", views=(), required=True, needs=("F",)),
        Metric(
            "J_visible",
            "video",
            lambda v: percent(mean(v.where_visible("J"))),
            views=("summary", "report"),
            brief="J vis",
            required=True,
        ),
        Metric(
            "F_visible",
            "video",
            lambda v: percent(mean(v.where_visible("F"))),
            views=("summary", "report"),
            brief="F vis",
            required=True,
            needs=("F",),
        ),
        Metric(
            "J&F_visible",
            "video",
            halves=("J_visible", "F_visible"),
            views=("board",),
            heading="J&F visible",
            stored=False,
            needs=("F",),
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
        Metric("F_recall", "video", lambda v: percent(recall(v.f)), views=("report",), required=True, needs=("F",)),
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
            needs=("F",),
        ),
        Metric(
            "mIoU", "image", of_fold=lambda s: s.miou(undrawn_as_zero=s.undrawn_as_zero), ranked=True, required=True
        ),
        Metric("mIoU_drawn", "image", of_fold=lambda s: s.miou(undrawn_as_zero=False), views=()),
        Metric("mIoU_undrawn_as_0", "image", of_fold=lambda s: s.miou(undrawn_as_zero=True), views=()),
        Metric("FB_IoU", "image", of_fold=FoldSums.fb_iou, heading="FB-IoU", required=True),
        Metric("mean_IoU", "image", of_fold=FoldSums.mean_iou, required=True),
        Metric("disappear", "video", gone, views=("report",), needs=("F",)),
        Metric("reappear", "video", back, views=("report",), needs=("F",)),
        Metric("F_dot", "video", of_episode=True, needs=("F_dot",), protocols=("mosev2",)),
        Metric("J&F_dot", "video", halves=("J", "F_dot"), needs=("F_dot",), protocols=("mosev2",)),
        Metric("J_last", "video", of_episode=True, protocols=("vost",)),
        Metric("IoU", "video", of_episode=True, protocols=("fsvos-tti",)),
        Metric("Dice", "video", of_episode=True, protocols=("fsvos-tti",)),
        Metric("icF1", "video", needs=("found",), protocols=("saco-ic",)),
        Metric(
            "presence_MCC", "video", low=-100.0, brief="MCC", heading="MCC", needs=("found",), protocols=("saco-ic",)
        ),
        *(
            Metric(
                f"presence_{name}",
                "video",
                higher_is_better=False,
                brief=name,
                heading=name,
                needs=("found",),
                protocols=("saco-ic",),
            )
            for name in ("FPR", "FNR")
        ),
        Metric(
            "found",
            "video",
            of_episode=True,
            higher_is_better=False,
            views=("report",),
            needs=("found",),
            protocols=("saco-ic",),
        ),
        Metric(
            "absent_correct_negative",
            "video",
            of_group="negative",
            views=("report",),
            needs=("found",),
            protocols=("saco-ic",),
        ),
        Metric("V", "video", of_episode=True, higher_is_better=False, needs=("F",), protocols=("lvos-v2",)),
        *(
            metric
            for group in ("seen", "unseen")
            for metric in (
                _of_group(f"J_{group}", group),
                _of_group(f"F_{group}", group),
                _of_group(f"V_{group}", group, higher_is_better=False),
                _of_group(f"J&F_{group}", halves=(f"J_{group}", f"F_{group}")),
            )
        ),
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
    """Return the metrics of all protocols that have a column in a view of runs of a kind, in the table's order."""
    return [m for m in METRICS.values() if m.kind == kind and view in m.views and not m.protocols]


def episode_metrics() -> list[Metric]:
    """Return the metrics of a video episode's record, those of single protocols too."""
    return [metric for metric in METRICS.values() if metric.of_frames is not None or metric.of_episode]


def episode_figures(frames: FrameValues) -> dict[str, float | None]:
    """Return the figures that the table has of an episode: those that its frames have the columns for.

    In percent, unrounded; None where one does not apply (no frame at all, none visible, none absent, under four).
    """
    metrics = (metric for metric in METRICS.values() if frames.columns.keys() >= {*metric.needs})
    return {metric.name: metric.of_frames(frames) for metric in metrics if metric.of_frames}


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


def summary_names(protocol: str = "") -> tuple[str, ...]:
    """Return the keys of ``summary`` in a protocol's ``result.json``, in their order there: later ones stand last."""
    stored = [m for m in METRICS.values() if m.stored and (not m.protocols or protocol in m.protocols)]
    required, later = ([metric.name for metric in stored if metric.required is flag] for flag in (True, False))
    return (*required, "episodes", "failed", *later)
