"""Protocols: which frames count, at what size, what is measured of a frame, and how that becomes one number.

A protocol is a line of ``PROTOCOLS``. Where it differs from the usual it names a function: ``measure`` of a frame,
``own_figures`` of an episode, ``summary`` of the data set. Nothing else asks for its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from icvos.errors import UsageError, did_you_mean
from icvos.images import ERODED, LETTERBOX, SQUEEZED, Resizing
from icvos.metrics.formulas import FrameValues, total
from icvos.metrics.measures import MOSEV2, OVERLAP, PRESENCE, REGION, REGION_AND_BOUNDARY, Measure
from icvos.metrics.own_figures import lvos_figures, mosev2_figures, no_figures, pooled_figures, vost_figures
from icvos.metrics.presence import PRESENCE_POOL, presence_of_episode, presence_summary
from icvos.metrics.summaries import Pool, Row, mean_over_draws, over_frames, over_pixels, seen_and_unseen
from icvos.metrics.table import METRICS, Metric, View, episode_figures, episode_metrics

__all__ = [
    "ORACLES",
    "PROTOCOLS",
    "Objects",
    "Protocol",
    "check_division",
    "check_oracle",
    "get_protocol",
    "names_of_episode",
]

Figures = dict[str, float | None]

Objects = Literal["first-frame", "up-to-largest", "all"]
"""Which ids of label maps are scored: those of the first frame (as DAVIS does), all numbers up to the largest of the
first frame (as VOST does), or those of all frames."""


@dataclass(frozen=True)
class Protocol:
    """A way to evaluate.

    Attributes:
        name: As in ``--protocol``.
        kind: ``video`` (episodes of a video benchmark, and label maps), ``sequence`` (objects of label maps) or
            ``image`` (few-shot).
        size: (H, W) to which images and masks are resized before the model sees them and before scoring, or None.
        resizing: How they are.
        max_frames: Only the first so many frames, or None.
        skip_ends: Whether the first and last frame are dropped.
        own_range: Whether of label maps an object's first and last frame are those on which it is told and ends, not
            the sequence's.
        objects: Which ids of label maps are scored.
        other_ids: What a predicted id that is not scored is: an ``error``, or ``background``.
        undrawn_as_zero: Whether ``mIoU`` counts a category of the fold that no episode drew as 0, or leaves it out
            (few-shot).
        verbatim: Whether episodes are another code's own, kept as it draws them: a support may stand twice in one, and
            a mask may be empty (few-shot).
        divides: Whether episodes are told apart as seen and unseen.
        unseen: What is unseen, where ``divides`` says so: videos (``davis17__dog``, or ``dog`` alone), categories, data
            sets (``davis17``).
        asks: Whether episodes are told apart as positive and negative, by what was asked of their videos.
        measure: What is measured of a frame.
        own_figures: Returns an episode's figures that are not those of the table, percent, from its frames.
        summary: Returns the figures of a data set or a part of it from its episodes' rows: those whose names it gets,
            and its own.
        fields: Numbers of an episode's record that ``summary`` needs beside figures: ``frames``.
        group: The field of a record by whose values ``summary`` averages first, for intervals and ranks.
        weight: The field of a record by which it weighs an episode's score in that mean, or nothing.
        pool: What computes ``score`` from sums over episodes, for intervals and ranks; None where it is a mean of
            figures of episodes.
        score: The metric that it ranks by.
        episode_score: The metric by which a single episode is told, where ``score`` is of none; empty for ``score``.
            It and its halves have no column of the data set's.
        made_for: The benchmarks whose figures it was made to give, in words; empty for one of all benchmarks of its
            kind.
        text: One line for tables.
    """

    name: str
    kind: str
    size: tuple[int, int] | None = None
    resizing: Resizing = SQUEEZED
    max_frames: int | None = None
    skip_ends: bool = False
    own_range: bool = False
    objects: Objects = "all"
    other_ids: Literal["error", "background"] = "error"
    undrawn_as_zero: bool = False
    verbatim: bool = False
    divides: bool = False
    unseen: frozenset[str] = frozenset()
    asks: bool = False
    measure: Measure = REGION_AND_BOUNDARY
    own_figures: Callable[[FrameValues], Figures] = no_figures
    summary: Callable[[Sequence[Row], Sequence[str]], Figures] = mean_over_draws
    fields: tuple[str, ...] = ()
    group: str = ""
    weight: str = ""
    pool: Pool | None = None
    score: str = "J&F"
    episode_score: str = ""
    made_for: str = ""
    text: str = ""

    def frames(self, count: int) -> range:
        """Return the frames that are scored of a video with ``count``: they depend on the ground truth alone."""
        length = count if self.max_frames is None else min(count, self.max_frames)
        return range(1, max(length - 1, 1)) if self.skip_ends else range(length)

    @property
    def of_label_maps(self) -> bool:
        """Whether label maps in folders are scored by it, and benchmarks of semi-supervised VOS."""
        return self.kind != "image" and self.size is None and not self.asks

    @property
    def parts(self) -> tuple[str, ...]:
        """The figures that an episode's score is the mean of: J and F, say; itself where it is of one piece."""
        return METRICS[self.score_of_episode].halves or (self.score_of_episode,)

    @property
    def score_of_episode(self) -> str:
        """The metric by which an episode is told."""
        return self.episode_score or self.score

    @property
    def frame_parts(self) -> tuple[str, ...]:
        """The columns of a frame that stand for the score's parts, J and F; J where none is measured of a frame."""
        return tuple(name for name in self.parts if name in self.measure.columns) or ("J",)

    def score_of(self, figures: Mapping[str, Any]) -> float | None:
        """Return the score of an episode's figures that hold its parts; None where one is missing."""
        known = [figures[name] for name in self.parts if figures.get(name) is not None]
        return total(known) / len(known) if len(known) == len(self.parts) else None

    def has(self, metric: Metric) -> bool:
        """Whether its results have a metric."""
        if metric.kind != ("image" if self.kind == "image" else "video"):
            return False
        own = not metric.protocols or self.name in metric.protocols
        return own and set(self.measure.columns).issuperset(metric.needs)

    def metrics_in(self, view: View) -> list[Metric]:
        """Return the metrics that have a column in a view of its runs: those of all protocols, then its own."""
        hidden = {self.episode_score, *self.parts} if self.episode_score else set()
        shown = [metric for metric in METRICS.values() if view in metric.views and metric.name not in hidden]
        columns = [metric for metric in shown if self.has(metric)]
        return sorted(columns, key=lambda metric: bool(metric.protocols))

    def episode(self, frames: FrameValues) -> Figures:
        """Return the figures of an episode, percent and unrounded, from its frames; None where one does not apply."""
        return {**episode_figures(frames), **self.own_figures(frames)}

    def marks(self, video: str, category_name: str = "", asked: str | None = None) -> dict[str, Any]:
        """Return what an episode's record says by which a summary tells episodes apart.

        Args:
            video, category_name: Of the episode.
            asked: ``positive`` or ``negative``, where its benchmark says it.
        """
        marks = {"unseen": bool(self.unseen & names_of_episode(video, category_name))} if self.divides else {}
        return marks | ({"positive": asked == "positive"} if self.asks else {})

    @property
    def numbers(self) -> tuple[str, ...]:
        """What a summary's rows hold of an episode's record: its figures first."""
        return (*self.figures, *self.fields)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of an episode."""
        return tuple(metric.name for metric in episode_metrics() if self.has(metric))


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("native", "video", text="full resolution, every frame from frame 0"),
        Protocol(
            "paper",
            "video",
            size=(512, 512),
            max_frames=512,
            made_for="IC-VOS",
            text="512x512, first 512 frames, as published",
        ),
        Protocol(
            "davis-2017",
            "sequence",
            skip_ends=True,
            objects="first-frame",
            made_for="DAVIS",
            text="official semi-supervised: first and last frame dropped",
        ),
        Protocol(
            "mosev2",
            "video",
            skip_ends=True,
            other_ids="background",
            measure=MOSEV2,
            own_figures=mosev2_figures,
            score="J&F_dot",
            made_for="MOSEv2",
            text="MOSEv2: F_dot's tolerance follows the object's size; disappearance and return by runs of frames",
        ),
        Protocol(
            "lvos-v2",
            "video",
            skip_ends=True,
            own_range=True,
            other_ids="background",
            divides=True,
            own_figures=lvos_figures,
            summary=seen_and_unseen,
            fields=("unseen",),
            group="unseen",
            made_for="LVOS v2",
            text="LVOS v2: the mean of what is seen and what is unseen; V, how much J&F varies in time",
        ),
        Protocol(
            "vost",
            "video",
            skip_ends=True,
            objects="up-to-largest",
            other_ids="background",
            measure=REGION,
            own_figures=vost_figures,
            score="J",
            made_for="VOST",
            text="VOST: J alone, and J_last of the last quarter",
        ),
        Protocol(
            "fsvos-danet",
            "video",
            size=(241, 425),
            resizing=ERODED,
            summary=over_frames,
            fields=("frames",),
            group="category_name",
            weight="frames",
            made_for="YouTube-FSVOS",
            text="YouTube-FSVOS by DANet's code: letterbox, eroded ground truth, mean over a category's frames",
        ),
        Protocol(
            "fsvos-tti",
            "video",
            size=(241, 425),
            resizing=LETTERBOX,
            measure=OVERLAP,
            own_figures=pooled_figures,
            summary=over_pixels,
            fields=("frames", "union"),
            group="category_name",
            weight="union",
            score="IoU",
            made_for="YouTube-FSVOS",
            text="YouTube-FSVOS by TTI's code: letterbox, IoU and Dice of all of a category's pixels, mean over runs",
        ),
        Protocol(
            "saco-ic",
            "video",
            asks=True,
            measure=PRESENCE,
            own_figures=presence_of_episode,
            summary=presence_summary,
            fields=("positive",),
            pool=PRESENCE_POOL,
            score="icF1",
            episode_score="J&F",
            made_for="saco-ic",
            text="every frame; J&F where it is visible, times how well a method tells videos that have it from others",
        ),
        Protocol(
            "fss-paper",
            "image",
            size=(512, 512),
            undrawn_as_zero=True,
            score="mIoU",
            made_for="COCO-20i, PASCAL-5i",
            text="few-shot at 512x512, 1,000 episodes a fold, undrawn categories as 0",
        ),
        Protocol(
            "fss-native",
            "image",
            score="mIoU",
            text="few-shot at full size, every query and category once, over drawn ones",
        ),
        Protocol(
            "fss-matcher",
            "image",
            size=(518, 518),
            undrawn_as_zero=True,
            verbatim=True,
            score="mIoU",
            made_for="FSS-1000, LVIS-92i, COCO-20i",
            text="few-shot at 518x518, the episodes that Matcher's code draws, undrawn categories as 0",
        ),
    )
}


def names_of_episode(video: str, category_name: str) -> set[str]:
    """Return the names by which ``unseen`` may mean an episode: its video, also without its data set, its category."""
    return {video, category_name, *video.split("__")}


def get_protocol(name: str, kind: str | None = None, *, unseen: Iterable[str] = ()) -> Protocol:
    """Return a protocol by name.

    Args:
        name: A key of ``PROTOCOLS``.
        kind: The kind it must be of, or None.
        unseen: Videos and categories that are unseen, of a protocol that tells them from those that are seen.

    Raises:
        UsageError: Unknown, or of another kind, or it does not tell unseen ones apart.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol '{name}'", fix=did_you_mean(name, PROTOCOLS))
    protocol = PROTOCOLS[name]
    if kind is not None and protocol.kind != kind:
        fits = ", ".join(p.name for p in PROTOCOLS.values() if p.kind == kind)
        raise UsageError(f"protocol '{protocol.name}' does not fit this benchmark", expected=fits)
    names = frozenset(unseen)
    if names and not protocol.divides:
        fits = " or ".join(p.name for p in PROTOCOLS.values() if p.divides)
        raise UsageError(f"protocol '{name}' does not tell what is unseen apart", expected=f"--protocol {fits}")
    return replace(protocol, unseen=names) if names else protocol


def check_division(protocol: Protocol, pairs: Iterable[tuple[str, str]]) -> None:
    """Check that a protocol that tells seen from unseen has both.

    Args:
        protocol: Of a run.
        pairs: The video and the category of everything that is scored.

    Raises:
        UsageError: It does not know which are unseen, or all are, or none.
    """
    if not protocol.divides:
        return
    if not protocol.unseen:
        raise UsageError(
            f"protocol '{protocol.name}' is the mean of seen and unseen, and nobody says what is unseen",
            fix="give --unseen FILE, with a video or a category a line",
        )
    found = {protocol.marks(*pair)["unseen"] for pair in pairs}
    if found != {False, True}:
        what = "everything" if found == {True} else "nothing"
        raise UsageError(
            f"{what} that is scored is unseen",
            expected="names of some videos or categories, not of all",
            fix="look at --unseen",
        )


ORACLES = ("first-frame",)


def check_oracle(name: str | None, shots: int) -> None:
    """Check what was asked for.

    Raises:
        UsageError: No such oracle, or several shots with it.
    """
    if name is None:
        return
    if name not in ORACLES:
        raise UsageError(f"no oracle '{name}'", fix=did_you_mean(name, ORACLES))
    if shots != 1:
        raise UsageError(f"oracle '{name}' goes without --shots {shots}: frame 0 is the only support")
