"""Plants and animals: families for training."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from icvos.demo.world.outline import (
    NamedFamily,
    Outline,
    Uniform,
    circle,
    ellipse,
    rect,
    regular,
    rounded,
    spline,
    turned,
)

__all__ = ["NATURE"]


def _flower(o: Outline, u: Uniform) -> None:
    petals, wide = int(u(5, 7.99)), u(0.2, 0.25)
    for index in range(petals):
        o.fill(turned(ellipse(0, -0.62, wide, 0.36), 2 * pi * index / petals))
    o.fill(circle(0, 0, 0.32)).cut(circle(0, 0, 0.17))


def _leaf(o: Outline, u: Uniform) -> None:
    wide, notch = u(0.45, 0.6), 5
    side = [
        (wide * sin(pi * t) * (1.12 if i % 2 else 0.85), 1 - 2 * t)
        for i, t in enumerate(np.linspace(0.05, 0.95, 2 * notch + 1))
    ]
    o.fill(np.array([(0, 1), *side, (0, -1.05), *[(-x, y) for x, y in side[::-1]]])).stroke(
        [(0, 0.9), (0.05, 1.4)], 0.09
    )


def _pine(o: Outline, u: Uniform) -> None:
    wide = u(0.62, 0.8)
    for top, low, share in ((-1, -0.3, 0.55), (-0.6, 0.2, 0.78), (-0.2, 0.7, 1.0)):
        o.fill([(0, top), (wide * share, low), (-wide * share, low)])
    o.fill(rect(-0.12, 0.7, 0.12, 1.0))


def _clover(o: Outline, u: Uniform) -> None:
    size = u(0.34, 0.4)
    for x, y in ((0, -0.55), (-0.5, 0.1), (0.5, 0.1)):
        o.fill(circle(x, y, size))
    o.fill([(0, -0.4), (0.3, 0.2), (u(0.2, 0.32), 0.95), (-0.26, 0.95), (-0.3, 0.2)])


def _spade(o: Outline, u: Uniform) -> None:
    wide = u(0.7, 0.85)
    half = spline([(0, -1), (wide * 0.5, -0.45), (wide, 0.2), (wide * 0.6, 0.55), (0.1, 0.3)], closed=False)
    o.fill(np.concatenate([half, (half * (-1, 1))[::-1]])).fill([(0, 0.1), (0.3, 0.95), (-0.3, 0.95)])


def _drop(o: Outline, u: Uniform) -> None:
    half = spline([(0, -1.1), (0.15, -0.6), (u(0.5, 0.62), 0.2), (0.4, 0.75), (0, 0.95)], closed=False)
    o.fill(np.concatenate([half, (half * (-1, 1))[::-1]])).cut(ellipse(-0.2, 0.45, 0.09, 0.2, 0.5))


def _cloud(o: Outline, u: Uniform) -> None:
    for x, y, size in ((-0.6, 0.1, 0.38), (-0.1, -0.2, u(0.42, 0.54)), (0.45, 0.0, u(0.36, 0.46)), (0.75, 0.2, 0.28)):
        o.fill(circle(x, y, size))
    o.fill(rounded(-0.95, 0.1, 1.0, 0.48, 0.18))


def _snowflake(o: Outline, u: Uniform) -> None:
    thick, branch, reach = u(0.09, 0.12), u(0.5, 0.62), u(0.26, 0.34)
    for index in range(6):
        turn = index * pi / 3
        o.stroke(turned(np.array([(0, 0), (0, -1)]), turn), thick)
        o.stroke(turned(np.array([(-reach, -branch - reach), (0, -branch), (reach, -branch - reach)]), turn), thick)


def _pear(o: Outline, u: Uniform) -> None:
    half = spline(
        [(0.05, -0.7), (0.25, -0.55), (0.32, -0.1), (u(0.56, 0.66), 0.45), (0.35, 0.9), (0.02, 0.92)], closed=False
    )
    o.fill(np.concatenate([half, (half * (-1, 1))[::-1]])).stroke([(0, -0.65), (0.1, -1.0)], 0.09)
    o.fill(ellipse(0.32, -0.9, 0.24, 0.1, u(-0.5, -0.1)))


def _cactus(o: Outline, u: Uniform) -> None:
    o.stroke([(0, 1), (0, -0.85)], u(0.3, 0.38))
    left, right = u(-0.1, 0.2), u(-0.2, 0.15)
    o.stroke(spline([(0, left + 0.35), (-0.5, left + 0.25), (-0.6, left - 0.4)], closed=False), 0.24)
    o.stroke(spline([(0, right + 0.45), (0.5, right + 0.3), (0.62, right - 0.35)], closed=False), 0.24)


def _fish(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0.1, 0, 0.72, u(0.36, 0.46))).fill([(-0.5, 0), (-1.05, -0.45), (u(-0.95, -0.85), 0), (-1.05, 0.45)])
    o.fill([(0.25, -0.3), (-0.1, u(-0.72, -0.6)), (-0.3, -0.25)]).cut(circle(0.5, -0.1, 0.08))


def _butterfly(o: Outline, u: Uniform) -> None:
    up, down = u(0.45, 0.55), u(0.34, 0.42)
    for side in (-1, 1):
        o.fill(ellipse(side * 0.5, -0.38, up, 0.38, -side * 0.6)).fill(ellipse(side * 0.42, 0.4, down, 0.3, side * 0.7))
        o.stroke([(0, -0.5), (side * 0.22, -1.0)], 0.06)
    o.fill(ellipse(0, 0, 0.11, 0.62))


def _rabbit(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0, 0.45, 0.58, 0.5))
    for side in (-1, 1):
        o.fill(ellipse(side * u(0.25, 0.36), -0.4, 0.18, u(0.55, 0.65), side * u(0.1, 0.25)))
        o.cut(circle(side * 0.22, 0.35, 0.08))


def _octopus(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0, -0.4, 0.52, u(0.5, 0.6)))
    for index in range(6):
        x = -0.45 + 0.18 * index
        o.stroke(
            spline([(x, -0.1), (x * 1.3, 0.35), (x * 2.0, u(0.55, 0.75)), (x * 2.3 + 0.12, 0.95)], closed=False), 0.13
        )


def _turtle(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0, 0, 0.65, u(0.48, 0.56))).fill(ellipse(0.82, 0, 0.24, 0.17)).fill(
        [(-0.6, -0.1), (-0.95, 0), (-0.6, 0.1)]
    )
    for x, turn in ((0.42, 0.9), (-0.42, 2.2)):
        for side in (-1, 1):
            o.fill(ellipse(x, side * 0.55, 0.32, 0.13, side * turn * u(0.85, 1.15)))


def _snail(o: Outline, u: Uniform) -> None:
    o.fill(circle(-0.15, -0.05, u(0.5, 0.6))).cut_stroke(ellipse(-0.15, -0.05, 0.3, 0.3, 0, 0, 1.5 * pi, 20), 0.09)
    o.stroke(spline([(-0.95, 0.6), (0, 0.58), (0.6, 0.5), (0.85, -0.1)], closed=False), 0.24)
    for x in (0.75, 1.0):
        o.stroke([(0.85, -0.1), (x, u(-0.55, -0.42))], 0.06)


def _snake(o: Outline, u: Uniform) -> None:
    x = np.linspace(-1, 0.9, 40)
    high = u(0.28, 0.4)
    y = high * np.sin(x * u(5.5, 6.5))
    o.stroke(np.stack([x, y], 1), u(0.16, 0.2)).fill(ellipse(0.98, float(y[-1]), 0.2, 0.14))


def _whale(o: Outline, u: Uniform) -> None:
    o.fill(
        spline(
            [
                (-0.9, 0.1),
                (-0.85, -0.35),
                (-0.3, u(-0.6, -0.5)),
                (0.4, -0.2),
                (0.8, -0.15),
                (0.6, 0.25),
                (-0.2, 0.5),
                (-0.7, 0.4),
            ]
        )
    )
    o.fill([(0.62, 0.05), (1.1, u(-0.6, -0.45)), (0.85, -0.4), (0.62, -0.65), (0.6, -0.2)]).cut(
        circle(-0.6, -0.05, 0.06)
    )


def _crab(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0, 0.2, 0.55, 0.36))
    for side in (-1, 1):
        o.stroke([(side * 0.45, 0.05), (side * 0.8, -0.25)], 0.12).fill(circle(side * 0.82, -0.5, u(0.24, 0.29)))
        o.cut([(side * 0.82, -0.5), (side * 0.68, -0.9), (side * 0.96, -0.9)])
        for y in (0.25, 0.42, 0.58):
            o.stroke([(side * 0.4, y - 0.05), (side * 0.8, y), (side * u(0.9, 1.0), y + 0.25)], 0.07)


def _hand(o: Outline, u: Uniform) -> None:
    o.fill(rounded(-0.4, -0.1, 0.4, 0.85, 0.2))
    for x, high in ((-0.33, -0.65), (-0.11, u(-0.95, -0.85)), (0.11, u(-0.95, -0.8)), (0.33, -0.65)):
        o.stroke([(x, 0.1), (x * 1.2, high)], 0.18)
    o.stroke([(0.3, 0.5), (u(0.7, 0.8), 0.1)], 0.2)


def _skull(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0, -0.2, 0.75, 0.68)).fill(rounded(-0.4, 0.2, 0.4, u(0.72, 0.85), 0.1))
    for x in (-0.3, 0.3):
        o.cut(circle(x, -0.15, u(0.17, 0.22)))
    o.cut([(0, 0.1), (0.1, 0.3), (-0.1, 0.3)])


def _pacman(o: Outline, u: Uniform) -> None:
    bite = u(0.4, 0.65)
    o.fill(np.vstack([[(0, 0)], ellipse(0, 0, 1, 1, 0, bite, 2 * pi - bite, 40)])).cut(circle(0.05, -0.55, 0.11))


def _molecule(o: Outline, u: Uniform) -> None:
    for index in range(3):
        turn = index * 2 * pi / 3 + u(-0.12, 0.12)
        x, y = 0.75 * cos(turn), 0.75 * sin(turn)
        o.stroke([(0, 0), (x, y)], 0.13).fill(circle(x, y, u(0.22, 0.28)))
    o.fill(circle(0, 0, 0.34))


def _honeycomb(o: Outline, u: Uniform) -> None:
    thick = u(0.12, 0.16)
    for index in range(3):
        turn = index * 2 * pi / 3 - pi / 2
        cell = regular(0.54 * cos(turn), 0.54 * sin(turn), 0.54, 6, pi / 6 - pi / 2)
        o.stroke(np.vstack([cell, cell[:2]]), thick)


NATURE = tuple(
    NamedFamily(function.__name__[1:].replace("_", "-"), function)
    for function in (
        _butterfly,
        _cactus,
        _cloud,
        _clover,
        _crab,
        _drop,
        _fish,
        _flower,
        _hand,
        _honeycomb,
        _leaf,
        _molecule,
        _octopus,
        _pacman,
        _pear,
        _pine,
        _rabbit,
        _skull,
        _snail,
        _snake,
        _snowflake,
        _spade,
        _turtle,
        _whale,
    )
)
