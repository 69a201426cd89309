"""Charts of a page as SVG: they take the page's own colours, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

__all__ = ["Bar", "bars", "over_time", "scatter"]

Bar = tuple[str, float | None, float | None]
"""A name, and one or two values; of a difference one, which may be below 0."""

_WIDTH = 420


def _text(x: float, y: float, words: str, *, anchor: str = "start", strong: bool = False) -> str:
    classes = ' class="strong"' if strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{classes}>{escape(words)}</text>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    inner = "".join(parts)
    label = escape(title, quote=True)
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{label}">{inner}</svg>'


def over_time(lines: Sequence[tuple[str, np.ndarray]]) -> str:
    """Return J and F over time: the mean of the episodes, and the middle half of them as a band.

    Args:
        lines: A name and (episodes, bins) percent each, two at most; a bin is a share of the video.
    """
    left, top, wide, high = 36.0, 10.0, _WIDTH - 44.0, 170.0
    parts = []
    for level in range(0, 101, 25):
        y = top + high * (1 - level / 100)
        parts.append(
            f'<path class="grid" d="M{left} {y:.1f}h{wide}"/>{_text(left - 8, y + 4, str(level), anchor="end")}'
        )
    for number, (_, values) in enumerate(lines):
        xs = left + (np.arange(values.shape[1]) + 0.5) * wide / values.shape[1]
        low, high_values = np.percentile(values, [25, 75], axis=0)
        place = [top + high * (1 - each / 100) for each in (low, high_values, values.mean(0))]
        forth = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, place[1], strict=True))
        back = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs[::-1], place[0][::-1], strict=True))
        middle = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, place[2], strict=True))
        dashed = " dashed" * (number > 0)
        parts.append(
            f'<path class="band b{number}" d="M{forth}L{back}Z"/><path class="line l{number}{dashed}" d="M{middle}"/>'
        )
    for share in (0, 50, 100):
        x = left + wide * share / 100
        parts.append(_text(x, top + high + 18, f"{share} %", anchor=("start", "middle", "end")[share // 50]))
    parts.append(_text(left + wide / 2, top + high + 36, "of the video", anchor="middle"))
    return _svg(top + high + 42, " and ".join(name for name, _ in lines) + " over time, percent", parts)


def bars(rows: Sequence[Bar], names: Sequence[str], title: str) -> str:
    """Return horizontal bars of percent, one or two a row; of differences a bar points the way of its sign.

    Args:
        rows: From the top.
        names: What the values are.
        title: Read aloud in place of the chart.
    """
    values = [value for _, *both in rows for value in both if value is not None]
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 1e-9)
    signed = low < 0
    if not signed:
        high = 100.0
    label = min(150.0, 20 + 7.2 * max(len(name) for name, *_ in rows))
    left, wide = label + (44 if signed else 0), _WIDTH - label - (96 if signed else 54)
    step, thick = (36.0, 14.0) if len(names) > 1 else (24.0, 15.0)
    scale = wide / (high - low)
    zero = left - low * scale
    parts = []
    for row, (name, *both) in enumerate(rows):
        y = 6 + row * step
        shown = name if len(name) * 7.2 < label - 8 else name[: int((label - 8) / 7.2) - 1] + "…"
        parts.append(
            f"<g><title>{escape(name)}</title>"
            f"{_text(label - 8, y + step / 2 + 1, shown, anchor='end', strong=True)}</g>"
        )
        for number, value in enumerate(both[: len(names)]):
            if value is None:
                continue
            kind = (0 if value >= 0 else 1) if signed else number
            x, width = (zero, value * scale) if value >= 0 else (zero + value * scale, -value * scale)
            height = y + 3 + number * (thick + 1)
            parts.append(
                f'<rect class="b{kind}" x="{x:.1f}" y="{height:.1f}" width="{max(width, 0.8):.1f}" height="{thick}"/>'
            )
            at = zero + value * scale + (4 if value >= 0 else -4)
            words = f"{value:+.1f}" if signed else f"{value:.1f}"
            parts.append(_text(at, height + thick - 1, words, anchor="start" if value >= 0 else "end"))
    end = 6 + len(rows) * step
    parts.append(f'<path class="axis" d="M{zero:.1f} 2V{end:.1f}"/>')
    return _svg(end + 4, f"{title}: {', '.join(names)}", parts)


def scatter(points: Sequence[tuple[str, float, float]], names: tuple[str, str], title: str) -> str:
    """Return points of (name, x, y) percent, on axes that fit them, with the line where both are equal."""
    left, top, side = 58.0, 12.0, 330.0
    values = [value for _, x, y in points for value in (x, y)] or [0.0, 100.0]
    low = 10 * np.floor(max(min(values) - 2, 0.0) / 10)
    high = 10 * np.ceil(min(max(values) + 2, 100.0) / 10)
    scale = side / max(high - low, 10.0)
    parts = []
    ticks = np.arange(low, high + 1, 10 if high - low <= 60 else 20)
    for tick in ticks:
        at = (tick - low) * scale
        parts.append(
            f'<path class="grid" d="M{left} {top + side - at:.1f}h{side}M{left + at:.1f} {top}v{side}"/>'
            + _text(left - 8, top + side - at + 4, f"{tick:.0f}", anchor="end")
            + _text(left + at, top + side + 18, f"{tick:.0f}", anchor="middle")
        )
    reach = (high - low) * scale
    parts.append(f'<path class="axis" d="M{left} {top + side}L{left + reach:.1f} {top + side - reach:.1f}"/>')
    for name, x, y in points:
        right, down = left + (x - low) * scale, top + side - (y - low) * scale
        parts.append(
            f'<circle class="b{0 if y >= x else 1}" cx="{right:.1f}" cy="{down:.1f}" r="4.5" fill-opacity=".7">'
            f"<title>{escape(name)}: {y:.1f}, {x:.1f}</title></circle>"
        )
    parts.append(_text(left + side / 2, top + side + 38, names[0], anchor="middle"))
    middle = top + side / 2
    parts.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{escape(names[1])}</text>'
    )
    return _svg(top + side + 46, title, parts)
