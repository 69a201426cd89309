"""Figures of an episode that single protocols have beside those of the table, or in their place; percent."""

from __future__ import annotations

from icvos.metrics.formulas import FrameValues, back, gone, last_quarter, mean, percent, standard_deviation

__all__ = ["lvos_figures", "mosev2_figures", "no_figures", "vost_figures"]

Figures = dict[str, float | None]


def no_figures(frames: FrameValues) -> Figures:
    """Return none: the table's are all."""
    return {}


def mosev2_figures(frames: FrameValues) -> Figures:
    """Return F_dot, and what is gone and back by J and F_dot.

    What is gone on the first scored frame has not left: its run does not count, and its return does.
    Source: ``merge_chunk_results`` in ``score.py`` of henghuiding/MOSE-api at 241977ae.
    """
    return {
        "F_dot": percent(mean(frames["F_dot"])),
        "disappear": gone(frames, "F_dot", leading=False),
        "reappear": back(frames, "F_dot"),
    }


def lvos_figures(frames: FrameValues) -> Figures:
    """Return V, how much J&F varies in time. Source: ``utils.py`` of LingyiHongfd/lvos-evaluation at 25cb02d1."""
    return {"V": percent(standard_deviation((frames.j + frames.f) / 2))}


def vost_figures(frames: FrameValues) -> Figures:
    """Return J of the last quarter. Source: ``evaluation.py`` of TRI-ML/VOST at fe274574."""
    return {"J_last": percent(mean(last_quarter(frames.j)))}
