"""Outlines: shapes made of filled and cut polygons and strokes, jittered and drawn without jagged edges.

A shape is drawn in units (x right, y down, about -1..1); where it stands and how large it is does not matter, since
an outline is centred and scaled to its square when it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import pi
from typing import Protocol, TypeAlias

import cv2
import numpy as np

__all__ = [
    "Family",
    "NamedFamily",
    "Outline",
    "Uniform",
    "both",
    "circle",
    "draw_alpha",
    "ellipse",
    "polar",
    "rect",
    "regular",
    "rounded",
    "spline",
    "turned",
]

Points: TypeAlias = np.ndarray | Sequence[tuple[float, float]]
Uniform: TypeAlias = Callable[[float, float], float]
"""uniform(low, high) -> float: the jitter of one instance."""

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass
class Outline:
    """A shape: parts that are added or cut, in order."""

    parts: list[tuple[np.ndarray, float, bool]] = field(default_factory=list)

    def fill(self, points: Points) -> Outline:
        """Add a filled polygon."""
        self.parts.append((np.asarray(points, np.float64), 0.0, True))
        return self

    def cut(self, points: Points) -> Outline:
        """Cut a polygon out of what is there."""
        self.parts.append((np.asarray(points, np.float64), 0.0, False))
        return self

    def stroke(self, points: Points, width: float) -> Outline:
        """Add a line of a width, with round ends."""
        self.parts.append((np.asarray(points, np.float64), width, True))
        return self

    def cut_stroke(self, points: Points, width: float) -> Outline:
        """Cut a line of a width out of what is there."""
        self.parts.append((np.asarray(points, np.float64), width, False))
        return self

    def transformed(self, function: Callable[[np.ndarray], np.ndarray]) -> Outline:
        """Return the outline with every point moved by ``function`` ((N, 2) to (N, 2))."""
        return Outline([(function(points), width, add) for points, width, add in self.parts])

    def alpha(self, size: int) -> np.ndarray:
        """Draw it: (size, size) uint8, 255 inside, smooth at the edges, filling the square but for three pixels."""
        low = np.min([p.min(axis=0) - w / 2 for p, w, add in self.parts if add], axis=0)
        high = np.max([p.max(axis=0) + w / 2 for p, w, add in self.parts if add], axis=0)
        scale = (size - 6) / float(max(high - low))
        centre = (low + high) / 2
        canvas = np.zeros((size, size), np.uint8)
        for points, width, add in self.parts:
            corners = np.rint(((points - centre) * scale + (size - 1) / 2) * (1 << _SHIFT)).astype(np.int32)
            colour = 255 if add else 0
            if width:
                thick = max(1, round(width * scale))
                cv2.polylines(canvas, [corners], False, colour, thick, cv2.LINE_AA, _SHIFT)
            else:
                cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA, _SHIFT)
        return canvas


class Family(Protocol):
    """A category of shapes: ``draw`` gives one instance of it, unlike every other in its details."""

    @property
    def name(self) -> str: ...

    def draw(self, rng: np.random.Generator) -> Outline: ...


@dataclass(frozen=True)
class NamedFamily:
    """A family with a drawing function of its own."""

    name: str
    function: Callable[[Outline, Uniform], object]

    def draw(self, rng: np.random.Generator) -> Outline:
        """Return a new instance."""
        outline = Outline()
        self.function(outline, lambda low, high: float(rng.uniform(low, high)))
        return outline


def draw_alpha(family: Family, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an instance of a family, mirrored or not, stretched and bent a little: (size, size) uint8 alpha."""
    outline = family.draw(rng)
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    stretch = rng.uniform(0.88, 1.14)
    phase = rng.uniform(0, 2 * pi, 4)
    wave = rng.uniform(1.0, 2.2, 2)
    amount = rng.uniform(0.0, 0.05)

    def bend(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        moved_x = x + amount * np.sin(wave[0] * y + phase[0]) + amount / 2 * np.sin(2 * x + phase[1])
        moved_y = y + amount * np.sin(wave[1] * x + phase[2]) + amount / 2 * np.sin(2 * y + phase[3])
        return np.stack([mirror * stretch * moved_x, moved_y / stretch], axis=1)

    return outline.transformed(bend).alpha(size)


def ellipse(
    x: float,
    y: float,
    rx: float,
    ry: float,
    turn: float = 0.0,
    start: float = 0.0,
    end: float = 2 * pi,
    count: int = 40,
) -> np.ndarray:
    """Points of an ellipse or an arc of it: centre, radii, turn and range in radians (0 is right, pi / 2 is down)."""
    angles = np.linspace(start, end, count, endpoint=abs(end - start) < 2 * pi - 1e-9)
    a, b = rx * np.cos(angles), ry * np.sin(angles)
    return np.stack([x + a * np.cos(turn) - b * np.sin(turn), y + a * np.sin(turn) + b * np.cos(turn)], axis=1)


def circle(x: float, y: float, radius: float) -> np.ndarray:
    """Points of a circle."""
    return ellipse(x, y, radius, radius)


def rect(left: float, top: float, right: float, bottom: float, turn: float = 0.0) -> np.ndarray:
    """Corners of a rectangle, turned about its centre."""
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    if not turn:
        return points
    centre = points.mean(axis=0)
    cos, sin = np.cos(turn), np.sin(turn)
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> np.ndarray:
    """Points of a rectangle with rounded corners."""
    r = min(radius, (right - left) / 2, (bottom - top) / 2)
    corners = (
        (right - r, bottom - r, 0.0),
        (left + r, bottom - r, 0.5),
        (left + r, top + r, 1.0),
        (right - r, top + r, 1.5),
    )
    return np.concatenate([ellipse(x, y, r, r, 0, q * pi, (q + 0.5) * pi, 8) for x, y, q in corners])


def regular(x: float, y: float, radius: float, corners: int, turn: float = -pi / 2) -> np.ndarray:
    """Corners of a regular polygon."""
    angles = turn + 2 * pi * np.arange(corners) / corners
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def polar(radii: np.ndarray, turn: float = -pi / 2, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Points at equal angles with the given radii."""
    r = np.asarray(radii, np.float64)
    angles = turn + 2 * pi * np.arange(len(r)) / len(r)
    return np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1)


def spline(points: Points, *, closed: bool = True, steps: int = 8) -> np.ndarray:
    """A smooth curve through points: a uniform Catmull-Rom spline, ``steps`` points a segment."""
    p = np.asarray(points, np.float64)
    if closed:
        before, start, end, after = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        padded = np.concatenate([p[:1], p, p[-1:]])
        before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.arange(steps)[:, None, None] / steps
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    curve = curve.transpose(1, 0, 2).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def turned(points: np.ndarray, turn: float) -> np.ndarray:
    """Points turned about the origin, by radians."""
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]])


def both(outline: Outline, points: Points) -> None:
    """Add a polygon and its mirror image."""
    array = np.asarray(points, np.float64)
    outline.fill(array).fill(array * (-1, 1))
