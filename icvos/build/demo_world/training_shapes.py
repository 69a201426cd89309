"""Named families for training; none of them is a shape of the benchmark, nor close to one."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from icvos.build.demo_world.outline import (
    Family,
    NamedFamily,
    Outline,
    Uniform,
    circle,
    ellipse,
    polar,
    rect,
    regular,
    rounded,
    spline,
)  # fmt: skip

__all__ = ["TRAINING_FAMILIES"]


def _turned(points: np.ndarray, turn: float) -> np.ndarray:
    return points @ np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]])


def _both(o: Outline, points: np.ndarray | list[tuple[float, float]]) -> None:
    """Add a polygon and its mirror image."""
    array = np.asarray(points, np.float64)
    o.fill(array).fill(array * (-1, 1))


# Plain figures and signs


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
    o.fill([(-1, 0), (-neck, -head), (-neck, -wide), (neck, -wide), (neck, -head), (1, 0), (neck, head), (neck, wide),
            (-neck, wide), (-neck, head)])  # fmt: skip


def _plus(o: Outline, u: Uniform) -> None:
    wide = u(0.22, 0.36)
    o.fill(rect(-1, -wide, 1, wide)).fill(rect(-wide, -1, wide, 1))


def _maltese(o: Outline, u: Uniform) -> None:
    wide, notch = u(0.42, 0.6), u(0.0, 0.2)
    for quarter in range(4):
        o.fill(_turned(np.array([(0.05, 0), (wide, -1), (0, -1 + notch), (-wide, -1), (-0.05, 0)]), quarter * pi / 2))


def _gear(o: Outline, u: Uniform) -> None:
    teeth, deep = int(u(8, 11.99)), u(0.16, 0.24)
    for index in range(teeth):
        o.fill(_turned(rect(-0.13, -1, 0.13, 0), 2 * pi * index / teeth))
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


# Tools and things


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
    _both(o, [(0.45, 0.5), (0.95, u(0.05, 0.2)), (0.85, 0.65)])


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
    o.stroke(spline([(-0.45, -0.4), (-0.45, 0.75), (0, 1), (0.45, 0.75), (0.45, -0.75), (0.05, -1), (-0.25, -0.75),
                     (-0.22, 0.5), (0, 0.65), (0.2, 0.5), (0.2, -0.4)], closed=False), thick)  # fmt: skip


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
        o.fill(_turned(np.array([(0, 0), (0.05, -1), (wide, -1 + bend), (0.12, -0.1)]), index * pi / 2))
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


# Plants and animals


def _flower(o: Outline, u: Uniform) -> None:
    petals, wide = int(u(5, 7.99)), u(0.2, 0.25)
    for index in range(petals):
        o.fill(_turned(ellipse(0, -0.62, wide, 0.36), 2 * pi * index / petals))
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
    thick, place, reach = u(0.09, 0.12), u(0.5, 0.62), u(0.26, 0.34)
    for index in range(6):
        turn = index * pi / 3
        o.stroke(_turned(np.array([(0, 0), (0, -1)]), turn), thick)
        o.stroke(_turned(np.array([(-reach, -place - reach), (0, -place), (reach, -place - reach)]), turn), thick)


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


_FUNCTIONS = (
    _anchor, _arrow, _bell, _bolt, _bone, _boomerang, _burst, _butterfly, _cactus, _chevrons, _cloud, _clover, _comb,
    _crab, _crescent, _crown, _double_arrow, _drop, _dumbbell, _fan, _fish, _flag, _flower, _gear, _guitar, _hammer,
    _hand, _heart, _honeycomb, _hook, _horseshoe, _hourglass, _house, _infinity, _key, _ladder, _leaf, _letter_a,
    _letter_e, _letter_s, _paper_clip, _maltese, _molecule, _octopus, _pacman, _padlock, _pear, _pine, _plus, _puzzle,
    _rabbit, _ring, _sailboat, _skull, _slingshot, _snail, _snake, _snowflake, _spade, _spectacles, _spiral, _stairs,
    _star, _trefoil, _trident, _turtle, _whale, _windmill, _wrench, _zigzag,
)  # fmt: skip

TRAINING_FAMILIES: dict[str, Family] = {
    function.__name__[1:].replace("_", "-"): NamedFamily(function.__name__[1:].replace("_", "-"), function)
    for function in _FUNCTIONS
}
"""Training families by name, the seventy of them."""
