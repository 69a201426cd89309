"""Tools and things: families for training."""

from __future__ import annotations

from math import pi

import numpy as np

from icvos.demo.world.outline import (
    NamedFamily,
    Outline,
    Uniform,
    both,
    circle,
    ellipse,
    rect,
    rounded,
    spline,
    turned,
)

__all__ = ["THINGS"]


def _key(o: Outline, u: Uniform) -> None:
    bow = u(0.3, 0.38)
    o.fill(circle(-0.75, 0, bow)).cut(circle(-0.75, 0, bow * 0.5)).stroke([(-0.5, 0), (0.95, 0)], u(0.15, 0.19))
    for x in (u(0.4, 0.5), u(0.72, 0.8), 0.98):
        o.stroke([(x, 0), (x, u(0.26, 0.4))], 0.14)


def _wrench(o: Outline, u: Uniform) -> None:
    jaw, thick = u(0.34, 0.42), u(0.22, 0.3)
    o.stroke([(-0.7, 0), (0.7, 0)], thick)
    for side in (-1, 1):
        o.fill(circle(side * 0.75, 0, jaw))
        o.cut(rect(side * 1.0 - 0.28, -jaw * 0.45, side * 1.0 + 0.28, jaw * 0.45))


def _hammer(o: Outline, u: Uniform) -> None:
    o.stroke([(0, -0.5), (0, 1)], u(0.16, 0.22))
    o.fill([(-0.6, -0.85), (0.35, -0.85), (0.75, u(-0.6, -0.45)), (0.3, -0.42), (-0.6, -0.38)])


def _anchor(o: Outline, u: Uniform) -> None:
    thick = u(0.14, 0.18)
    o.stroke(np.vstack([circle(0, -0.85, 0.16), circle(0, -0.85, 0.16)[:2]]), 0.11).stroke(
        [(0, -0.7), (0, 0.85)], thick
    )
    o.stroke([(-0.42, -0.4), (0.42, -0.4)], thick)
    o.stroke(ellipse(0, 0.1, u(0.7, 0.8), 0.75, 0, 0.12 * pi, 0.88 * pi, 20), thick)
    both(o, [(0.45, 0.5), (0.95, u(0.05, 0.2)), (0.85, 0.65)])


def _trident(o: Outline, u: Uniform) -> None:
    wide, thick = u(0.45, 0.6), u(0.13, 0.17)
    o.stroke([(0, -0.8), (0, 1)], thick).stroke(
        [(-wide, -0.7), (-wide, -0.2), (0, 0), (wide, -0.2), (wide, -0.7)], thick
    )
    for x in (-wide, 0, wide):
        o.fill([(x - 0.17, -0.65), (x, -1.05), (x + 0.17, -0.65)])


def _dumbbell(o: Outline, u: Uniform) -> None:
    size = u(0.4, 0.5)
    o.stroke([(-0.6, 0), (0.6, 0)], u(0.14, 0.22))
    for side in (-1, 1):
        o.fill(rounded(side * 0.6 - 0.16, -size, side * 0.6 + 0.16, size, 0.06))
        o.fill(rounded(side * 0.9 - 0.12, -size * 0.7, side * 0.9 + 0.12, size * 0.7, 0.06))


def _bone(o: Outline, u: Uniform) -> None:
    size, thick = u(0.24, 0.3), u(0.26, 0.36)
    o.stroke([(-0.7, 0), (0.7, 0)], thick)
    for x in (-0.78, 0.78):
        for y in (-0.2, 0.2):
            o.fill(circle(x, y, size))


def _horseshoe(o: Outline, u: Uniform) -> None:
    open_, thick = u(0.35, 0.6), u(0.3, 0.38)
    o.stroke(ellipse(0, 0, 0.75, 0.8, pi / 2, open_, 2 * pi - open_, 36), thick)


def _comb(o: Outline, u: Uniform) -> None:
    long, teeth = u(0.55, 0.8), int(u(7, 9.99))
    o.fill(rounded(-1, -0.5, 1, -0.15, 0.1))
    for x in np.linspace(-0.92, 0.92, teeth):
        o.stroke([(x, -0.3), (x, -0.2 + long)], 0.11)


def _spectacles(o: Outline, u: Uniform) -> None:
    size, thick = u(0.36, 0.44), u(0.13, 0.17)
    for side in (-1, 1):
        ring = circle(side * 0.55, 0, size)
        o.stroke(np.vstack([ring, ring[:2]]), thick)
        o.stroke([(side * (0.55 + size), -0.05), (side * 1.2, u(-0.4, -0.25))], thick)
    o.stroke([(-0.2, -0.05), (0, -0.12), (0.2, -0.05)], thick)


def _bell(o: Outline, u: Uniform) -> None:
    half = spline([(0.12, -0.8), (0.4, -0.6), (0.5, 0.1), (u(0.75, 0.9), 0.6), (0.6, 0.68)], closed=False)
    o.fill(np.concatenate([half, (half * (-1, 1))[::-1]])).fill(circle(0, 0.75, u(0.16, 0.22))).fill(
        circle(0, -0.88, 0.14)
    )


def _crown(o: Outline, u: Uniform) -> None:
    deep, high = u(0.0, 0.2), u(-0.65, -0.5)
    tips = [(-0.9, high), (-0.45, deep), (0, high - 0.2), (0.45, deep), (0.9, high)]
    o.fill([*tips, (0.75, 0.6), (-0.75, 0.6)])
    for x, y in tips[::2]:
        o.fill(circle(x, y, 0.12))


def _house(o: Outline, u: Uniform) -> None:
    eaves = u(-0.25, -0.05)
    o.fill([(-1, eaves), (0, -1), (1, eaves)]).fill(rect(-0.75, eaves, 0.75, 0.85))
    o.cut(rect(-0.18, 0.25, 0.18, 0.85)).fill(rect(0.4, -0.95, 0.62, eaves))


def _flag(o: Outline, u: Uniform) -> None:
    low = u(0.05, 0.2)
    o.stroke([(-0.6, -1), (-0.6, 1)], 0.13)
    o.fill(
        spline(
            [
                (-0.6, -0.95),
                (-0.1, -0.8),
                (0.4, -1.0),
                (0.8, -0.85),
                (0.8, low),
                (0.4, low - 0.12),
                (-0.1, low + 0.1),
                (-0.6, low),
            ]
        )
    )


def _paper_clip(o: Outline, u: Uniform) -> None:
    thick = u(0.1, 0.13)
    o.stroke(
        spline(
            [
                (-0.45, -0.4),
                (-0.45, 0.75),
                (0, 1),
                (0.45, 0.75),
                (0.45, -0.75),
                (0.05, -1),
                (-0.25, -0.75),
                (-0.22, 0.5),
                (0, 0.65),
                (0.2, 0.5),
                (0.2, -0.4),
            ],
            closed=False,
        ),
        thick,
    )


def _hook(o: Outline, u: Uniform) -> None:
    deep = u(0.5, 0.62)
    o.stroke(np.vstack([circle(0.3, -0.85, 0.14), circle(0.3, -0.85, 0.14)[:2]]), 0.1)
    o.stroke(
        np.vstack([[(0.3, -0.7), (0.3, 0.3)], ellipse(0.3 - deep, 0.35, deep, 0.6, 0, 0, 0.95 * pi, 20)]), u(0.15, 0.2)
    )
    x = 0.3 - 2 * deep
    o.fill([(x - 0.08, 0.05), (x + 0.3, 0.45), (x + 0.02, 0.55)])


def _guitar(o: Outline, u: Uniform) -> None:
    o.fill(ellipse(0, 0.6, u(0.48, 0.56), 0.42)).fill(ellipse(0, 0.08, u(0.34, 0.4), 0.32)).cut(circle(0, 0.25, 0.14))
    o.stroke([(0, 0), (0, -0.95)], 0.13).fill(rect(-0.14, -1.2, 0.14, -0.88))


def _padlock(o: Outline, u: Uniform) -> None:
    wide = u(0.38, 0.46)
    o.stroke(np.vstack([[(-wide, 0)], ellipse(0, -0.35, wide, 0.5, 0, pi, 2 * pi, 16), [(wide, 0)]]), 0.16)
    o.fill(rounded(-0.7, -0.1, 0.7, 0.9, u(0.05, 0.2))).cut(circle(0, 0.3, 0.14)).cut(rect(-0.06, 0.3, 0.06, 0.62))


def _puzzle(o: Outline, u: Uniform) -> None:
    knob = u(0.17, 0.22)
    o.fill(rect(-0.6, -0.6, 0.6, 0.6)).fill(circle(0, -0.72, knob)).fill(circle(0.72, 0, knob))
    o.cut(circle(0, 0.48, knob)).cut(circle(-0.48, 0, knob))


def _windmill(o: Outline, u: Uniform) -> None:
    bend, wide = u(0.2, 0.4), u(0.4, 0.55)
    for index in range(4):
        o.fill(turned(np.array([(0, 0), (0.05, -1), (wide, -1 + bend), (0.12, -0.1)]), index * pi / 2))
    o.fill(circle(0, 0, 0.14))


def _boomerang(o: Outline, u: Uniform) -> None:
    wide, fold = u(0.55, 0.75), u(0.28, 0.36)
    o.stroke(spline([(-1, wide), (-0.45, -0.2), (0, -0.5), (0.45, -0.2), (1, wide)], closed=False), fold)


def _fan(o: Outline, u: Uniform) -> None:
    spread = u(0.9, 1.15)
    arc = ellipse(0, 0.7, 1.5, 1.5, -pi / 2, -spread, spread, 24)
    o.fill(np.vstack([[(0, 0.7)], arc])).cut(
        np.vstack([[(0, 0.7)], ellipse(0, 0.7, 0.6, 0.6, -pi / 2, -spread, spread, 16)])
    )
    o.stroke([(0, 0.75), tuple(arc[0])], 0.1).stroke([(0, 0.75), tuple(arc[-1])], 0.1)


def _sailboat(o: Outline, u: Uniform) -> None:
    o.fill([(-0.85, 0.5), (0.95, 0.5), (0.6, 0.95), (-0.55, 0.95)]).stroke([(0, 0.5), (0, -1)], 0.07)
    o.fill([(0.08, -0.95), (u(0.65, 0.85), 0.3), (0.08, 0.35)]).fill(
        [(-0.08, u(-0.75, -0.5)), (-0.08, 0.35), (-0.65, 0.3)]
    )


THINGS = tuple(
    NamedFamily(function.__name__[1:].replace("_", "-"), function)
    for function in (
        _anchor,
        _bell,
        _bone,
        _boomerang,
        _comb,
        _crown,
        _dumbbell,
        _fan,
        _flag,
        _guitar,
        _hammer,
        _hook,
        _horseshoe,
        _house,
        _key,
        _padlock,
        _paper_clip,
        _puzzle,
        _sailboat,
        _spectacles,
        _trident,
        _windmill,
        _wrench,
    )
)
