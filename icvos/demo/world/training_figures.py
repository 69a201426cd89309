"""Plain figures and signs: families for training."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from icvos.demo.world.outline import NamedFamily, Outline, Uniform, circle, ellipse, polar, rect, spline, turned

__all__ = ["FIGURES"]


def _star(o: Outline, u: Uniform) -> None:
    o.fill(polar(np.array([1.0, u(0.36, 0.5)] * 5)))


def _burst(o: Outline, u: Uniform) -> None:
    o.fill(polar(np.array([1.0, u(0.6, 0.75)] * int(u(11, 14.99)))))


def _ring(o: Outline, u: Uniform) -> None:
    o.fill(circle(0, 0, 1)).cut(circle(0, 0, u(0.5, 0.7)))


def _crescent(o: Outline, u: Uniform) -> None:
    o.fill(circle(0, 0, 1)).cut(circle(u(0.4, 0.55), 0, u(0.75, 0.85)))


def _heart(o: Outline, u: Uniform) -> None:
    t = np.linspace(0, 2 * pi, 60, endpoint=False)
    dip = u(4, 6)
    o.fill(
        np.stack([16 * np.sin(t) ** 3, -(13 * np.cos(t) - dip * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))], 1)
    )


def _arrow(o: Outline, u: Uniform) -> None:
    wide, head, back = u(0.14, 0.24), u(0.5, 0.65), u(0.05, 0.3)
    o.fill([(-1, -wide), (back, -wide), (back, -head), (1, 0), (back, head), (back, wide), (-1, wide)])


def _double_arrow(o: Outline, u: Uniform) -> None:
    wide, head, neck = u(0.13, 0.22), u(0.4, 0.55), u(0.4, 0.55)
    o.fill(
        [
            (-1, 0),
            (-neck, -head),
            (-neck, -wide),
            (neck, -wide),
            (neck, -head),
            (1, 0),
            (neck, head),
            (neck, wide),
            (-neck, wide),
            (-neck, head),
        ]
    )


def _plus(o: Outline, u: Uniform) -> None:
    wide = u(0.22, 0.36)
    o.fill(rect(-1, -wide, 1, wide)).fill(rect(-wide, -1, wide, 1))


def _maltese(o: Outline, u: Uniform) -> None:
    wide, notch = u(0.42, 0.6), u(0.0, 0.2)
    for quarter in range(4):
        o.fill(turned(np.array([(0.05, 0), (wide, -1), (0, -1 + notch), (-wide, -1), (-0.05, 0)]), quarter * pi / 2))


def _gear(o: Outline, u: Uniform) -> None:
    teeth, deep = int(u(8, 11.99)), u(0.16, 0.24)
    for index in range(teeth):
        o.fill(turned(rect(-0.13, -1, 0.13, 0), 2 * pi * index / teeth))
    o.fill(circle(0, 0, 1 - deep)).cut(circle(0, 0, u(0.28, 0.42)))


def _bolt(o: Outline, u: Uniform) -> None:
    s = u(-0.08, 0.08)
    o.fill(
        [(0.15 + s, -1), (-0.5, 0.15 + s), (-0.08, 0.15), (-0.25, 1), (0.5, -0.25 + s), (0.05, -0.25), (0.5 + s, -1)]
    )


def _spiral(o: Outline, u: Uniform) -> None:
    t = np.linspace(0.6, u(4.2, 4.9) * pi, 90)
    r = t / (4.5 * pi)
    o.stroke(np.stack([r * np.cos(t), r * np.sin(t)], 1), u(0.17, 0.22))


def _hourglass(o: Outline, u: Uniform) -> None:
    waist, wide = u(0.06, 0.14), u(0.55, 0.7)
    o.fill([(-wide, -0.9), (wide, -0.9), (waist, 0), (wide, 0.9), (-wide, 0.9), (-waist, 0)])
    for y in (-0.92, 0.92):
        o.fill(rect(-wide - 0.1, y - 0.09, wide + 0.1, y + 0.09))


def _infinity(o: Outline, u: Uniform) -> None:
    size, wide = u(0.38, 0.45), u(0.17, 0.24)
    for side in (-1, 1):
        o.stroke(np.vstack([ellipse(side * 0.5, 0, 0.5, size), ellipse(side * 0.5, 0, 0.5, size)[:2]]), wide)


def _trefoil(o: Outline, u: Uniform) -> None:
    size, away = u(0.38, 0.46), u(0.45, 0.52)
    for index in range(3):
        turn = -pi / 2 + index * 2 * pi / 3
        o.fill(circle(away * cos(turn), away * sin(turn), size)).cut(circle(away * cos(turn), away * sin(turn), 0.16))


def _chevrons(o: Outline, u: Uniform) -> None:
    deep, wide = u(0.35, 0.5), u(0.2, 0.26)
    for y in (-0.55, 0.0, 0.55):
        o.stroke([(-0.8, y + deep / 2), (0, y - deep / 2), (0.8, y + deep / 2)], wide)


def _zigzag(o: Outline, u: Uniform) -> None:
    high = u(0.3, 0.45)
    o.stroke([(-1 + 0.4 * i, high if i % 2 else -high) for i in range(6)], u(0.18, 0.26))


def _stairs(o: Outline, u: Uniform) -> None:
    steps, lift = 4, u(0.85, 1.1)
    points = [(-1.0, 0.9)]
    for index in range(steps):
        x, y = -1 + 0.5 * index, 0.9 - lift * 0.42 * (index + 1)
        points += [(x, y), (x + 0.5, y)]
    o.fill([*points, (1.0, 0.9)])


def _ladder(o: Outline, u: Uniform) -> None:
    wide, thick = u(0.32, 0.42), u(0.1, 0.14)
    for x in (-wide, wide):
        o.stroke([(x, -1), (x * u(1, 1.2), 1)], thick)
    for y in np.linspace(-0.75, 0.75, 5):
        o.stroke([(-wide, y), (wide, y)], thick)


def _letter_a(o: Outline, u: Uniform) -> None:
    thick, bar = u(0.2, 0.28), u(0.2, 0.4)
    o.stroke([(-0.7, 1), (0, -1), (0.7, 1)], thick).stroke([(-0.45, bar), (0.45, bar)], thick)


def _letter_s(o: Outline, u: Uniform) -> None:
    o.stroke(
        spline([(0.6, -0.7), (0, -1), (-0.6, -0.6), (0, 0), (0.6, 0.55), (0, 1), (-0.6, 0.7)], closed=False),
        u(0.24, 0.34),
    )


def _letter_e(o: Outline, u: Uniform) -> None:
    thick, middle = u(0.24, 0.3), u(0.35, 0.6)
    o.stroke([(0.6, -0.9), (-0.6, -0.9), (-0.6, 0.9), (0.6, 0.9)], thick).stroke([(-0.6, 0), (middle, 0)], thick)


def _slingshot(o: Outline, u: Uniform) -> None:
    wide, thick = u(0.55, 0.7), u(0.2, 0.28)
    o.stroke(spline([(-wide, -1), (-wide * 0.8, -0.3), (0, 0.05), (wide * 0.8, -0.3), (wide, -1)], closed=False), thick)
    o.stroke([(0, 0.05), (0, 1)], thick * 1.15)


FIGURES = tuple(
    NamedFamily(function.__name__[1:].replace("_", "-"), function)
    for function in (
        _arrow,
        _bolt,
        _burst,
        _chevrons,
        _crescent,
        _double_arrow,
        _gear,
        _heart,
        _hourglass,
        _infinity,
        _ladder,
        _letter_a,
        _letter_e,
        _letter_s,
        _maltese,
        _plus,
        _ring,
        _slingshot,
        _spiral,
        _stairs,
        _star,
        _trefoil,
        _zigzag,
    )
)
