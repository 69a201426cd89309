"""Categories without end: a seed is a category, whose instances differ by jitter. Seven kinds of construction."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

from icvos.demo.world.outline import Outline, circle, ellipse, polar, rect, regular, spline

__all__ = ["KINDS", "RandomFamily"]

KINDS = ("fourier", "angular", "union", "strokes", "rotational", "mirror", "holed")


@dataclass(frozen=True)
class RandomFamily:
    """The category of a seed.

    Attributes:
        seed: Which category.
        kind: One of ``KINDS``.
    """

    seed: int
    kind: str

    @classmethod
    def of(cls, seed: int) -> RandomFamily:
        """Return the category of a seed, its kind chosen by the seed too."""
        return cls(seed, KINDS[seed % len(KINDS)])

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"

    def draw(self, rng: np.random.Generator) -> Outline:
        """Return a new instance: the category's construction, its numbers jittered by ``rng``."""
        outline = Outline()
        _DRAW[self.kind](outline, np.random.default_rng([self.seed, KINDS.index(self.kind)]), rng)
        return outline


def _jitter(values: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    return values + rng.normal(0, amount, np.shape(values))


def _blob(shape_rng: np.random.Generator, rng: np.random.Generator, roughness: float = 0.32) -> np.ndarray:
    """A closed curve whose radius is a Fourier series."""
    angles = np.linspace(0, 2 * pi, 72, endpoint=False)
    orders = np.arange(1, 7)
    size = shape_rng.normal(0, roughness, 6) / np.sqrt(orders)
    phase = shape_rng.uniform(0, 2 * pi, 6)
    size, phase = size * rng.normal(1, 0.12, 6), _jitter(phase, rng, 0.1)
    radii = np.exp((size[:, None] * np.cos(orders[:, None] * angles + phase[:, None])).sum(axis=0))
    return polar(np.clip(radii, 0.25, 3.0))


def _fourier(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    o.fill(_blob(shape_rng, rng, 0.38))


def _angular(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    corners = int(shape_rng.integers(5, 11))
    angles = 2 * pi * (np.arange(corners) + shape_rng.uniform(-0.3, 0.3, corners)) / corners
    radii = shape_rng.uniform(0.3, 1.0, corners)
    angles, radii = _jitter(angles, rng, 0.05), np.clip(_jitter(radii, rng, 0.05), 0.2, 1.2)
    o.fill(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1))


def _primitive(shape_rng: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    x, y = _jitter(shape_rng.uniform(-0.55, 0.55, 2), rng, 0.04)
    size = float(shape_rng.uniform(0.3, 0.6) * rng.uniform(0.9, 1.1))
    aspect = float(shape_rng.uniform(0.4, 1.0) * rng.uniform(0.9, 1.1))
    turn = float(shape_rng.uniform(0, pi) + rng.normal(0, 0.08))
    kind = int(shape_rng.integers(4))
    if kind == 0:
        return ellipse(x, y, size, size * aspect, turn)
    if kind == 1:
        return rect(x - size, y - size * aspect, x + size, y + size * aspect, turn)
    if kind == 2:
        return regular(x, y, size * 1.2, int(shape_rng.integers(3, 6)), turn)
    return ellipse(x, y, size, size, turn, 0, pi)


def _union(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    o.fill(ellipse(0, 0, 0.4, 0.3, float(shape_rng.uniform(0, pi))))
    for _ in range(int(shape_rng.integers(2, 5))):
        o.fill(_primitive(shape_rng, rng))
    for _ in range(int(shape_rng.integers(0, 3))):
        x, y = _jitter(shape_rng.uniform(-0.7, 0.7, 2), rng, 0.04)
        o.cut(circle(x, y, float(shape_rng.uniform(0.12, 0.25))))


def _strokes(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    points = shape_rng.uniform(-1, 1, (int(shape_rng.integers(4, 7)), 2))
    wide = float(shape_rng.uniform(0.16, 0.32) * rng.uniform(0.88, 1.12))
    smooth = shape_rng.random() < 0.5
    places = _jitter(points, rng, 0.05)
    o.stroke(spline(places, closed=False) if smooth else places, wide)
    if shape_rng.random() < 0.6:
        start = places[int(shape_rng.integers(len(places)))]
        o.stroke([tuple(start), tuple(_jitter(shape_rng.uniform(-1, 1, 2), rng, 0.05))], wide)
    if shape_rng.random() < 0.5:
        x, y = places[-1]
        o.fill(circle(float(x), float(y), wide * float(shape_rng.uniform(0.8, 1.4))))


def _rotational(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    arms = int(shape_rng.integers(3, 8))
    x, y = shape_rng.uniform(0.4, 0.8), shape_rng.uniform(-0.25, 0.25)
    bend = shape_rng.uniform(-0.5, 0.5)
    long, wide = shape_rng.uniform(0.25, 0.5), shape_rng.uniform(0.1, 0.3)
    hub = shape_rng.uniform(0.2, 0.5) * rng.uniform(0.9, 1.1)
    corner = shape_rng.random() < 0.4
    long, wide, bend = long * rng.uniform(0.9, 1.1), wide * rng.uniform(0.85, 1.15), bend + rng.normal(0, 0.06)
    arm = rect(x - long, y - wide, x + long, y + wide, bend) if corner else ellipse(x, y, long, wide, bend)
    for index in range(arms):
        turn = 2 * pi * index / arms
        cos, sin = np.cos(turn), np.sin(turn)
        o.fill(arm @ np.array([[cos, sin], [-sin, cos]]))
    o.fill(circle(0, 0, float(hub)))
    if shape_rng.random() < 0.4:
        o.cut(circle(0, 0, float(hub) * 0.55))


def _mirror(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    count = int(shape_rng.integers(5, 10))
    y = np.linspace(-1, 1, count)
    x = np.clip(_jitter(shape_rng.uniform(0.1, 0.9, count), rng, 0.04), 0.06, 1)
    half = np.stack([x, y], axis=1)
    if shape_rng.random() < 0.5:
        half = spline(half, closed=False)
        half[:, 0] = np.maximum(half[:, 0], 0.05)
    o.fill(np.concatenate([half, (half * (-1, 1))[::-1]]))


def _holed(o: Outline, shape_rng: np.random.Generator, rng: np.random.Generator) -> None:
    o.fill(_blob(shape_rng, rng, 0.22))
    for _ in range(int(shape_rng.integers(1, 4))):
        x, y = _jitter(shape_rng.uniform(-0.5, 0.5, 2), rng, 0.04)
        size = float(shape_rng.uniform(0.15, 0.3) * rng.uniform(0.9, 1.1))
        if shape_rng.random() < 0.5:
            o.cut(circle(x, y, size))
        else:
            o.cut(regular(x, y, size * 1.2, int(shape_rng.integers(3, 6)), float(shape_rng.uniform(0, pi))))


_DRAW = {
    "fourier": _fourier,
    "angular": _angular,
    "union": _union,
    "strokes": _strokes,
    "rotational": _rotational,
    "mirror": _mirror,
    "holed": _holed,
}
