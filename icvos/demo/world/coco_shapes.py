"""Twelve COCO categories as drawings: the benchmark's categories, never seen in training.

They cover every fold of COCO-20i, and their VOC names cover every fold of PASCAL-5i.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from icvos.demo.world.outline import NamedFamily, Outline, Uniform, circle, ellipse, rect, rounded, spline

__all__ = ["COCO_FAMILIES"]


def _airplane(o: Outline, u: Uniform) -> None:
    long, sweep, span = u(0.9, 1.1), u(0.35, 0.6), u(0.8, 1.05)
    o.fill(spline([(long, 0), (0.7, 0.13), (-0.6, 0.1), (-long, 0.03), (-long, -0.03), (-0.6, -0.1), (0.7, -0.13)]))
    tail = u(0.3, 0.42)
    for side in (-1, 1):
        o.fill([(0.35, 0), (0.35 - sweep, side * span), (0.1 - sweep, side * span), (-0.1, 0)])
        o.fill([(-0.6, 0), (-0.6 - sweep / 2, side * tail), (-0.82 - sweep / 2, side * tail), (-0.9, 0)])
        if span > 0.9:
            o.fill(ellipse(0.25 - sweep / 2, side * 0.45, 0.14, 0.06))


def _bird(o: Outline, u: Uniform) -> None:
    lift = u(-1.0, -0.6)
    head_x, head_y, head = 0.55, u(-0.35, -0.25), u(0.19, 0.24)
    o.fill(ellipse(0, 0, 0.6, u(0.28, 0.36), -0.25))
    o.fill(circle(head_x, head_y, head))
    o.fill([(head_x + 0.1, head_y - 0.12), (head_x + u(0.42, 0.52), head_y + 0.02), (head_x + 0.1, head_y + 0.12)])
    o.fill([(-0.4, 0.0), (-1.15, u(0.1, 0.3)), (-1.05, u(0.4, 0.5)), (-0.35, 0.3)])
    back = u(-0.75, -0.5)
    o.fill(spline([(0.2, -0.1), (0.0, lift * 0.6), (back, lift), (back + 0.1, lift * 0.6), (-0.45, 0.0), (-0.1, 0.12)]))
    for x in (-0.05, 0.12):
        o.stroke([(x, 0.3), (x - 0.05, 0.68), (x + 0.1, 0.7)], 0.06)


def _bottle(o: Outline, u: Uniform) -> None:
    wide, neck, shoulder = u(0.3, 0.38), u(0.1, 0.14), u(-0.3, -0.1)
    right = spline(
        [(neck, -0.85), (neck, shoulder - 0.25), (wide, shoulder + 0.1), (wide, 0.85), (wide - 0.06, 0.98)],
        closed=False,
    )
    o.fill(np.concatenate([right, (right * (-1, 1))[::-1]]))
    o.fill(rounded(-neck - 0.05, -1.05, neck + 0.05, -0.82, 0.04))


def _car(o: Outline, u: Uniform) -> None:
    roof, front, rear, low = u(-0.5, -0.42), u(0.35, 0.5), u(-0.65, -0.5), u(0.25, 0.32)
    o.fill(spline([(-1, 0.0), (-0.9, -0.1), (0.85, -0.08), (1.02, 0.05), (1.02, low), (-1.02, low)], steps=6))
    o.fill([(rear - 0.15, 0), (rear + 0.1, roof), (front - 0.25, roof), (front + 0.15, 0)])
    middle = (rear + front) / 2
    o.cut([(rear + 0.02, -0.1), (rear + 0.15, roof + 0.1), (middle - 0.08, roof + 0.1), (middle - 0.08, -0.1)])
    o.cut([(middle + 0.02, -0.1), (middle + 0.02, roof + 0.1), (front - 0.28, roof + 0.1), (front - 0.05, -0.1)])
    wheel = u(0.2, 0.25)
    for x in (-0.6, 0.6):
        o.cut(circle(x, low, wheel + 0.05)).fill(circle(x, low, wheel)).cut(circle(x, low, wheel * 0.35))


def _giraffe(o: Outline, u: Uniform) -> None:
    lean, top = u(0.5, 0.8), u(-1.25, -1.05)
    o.fill(ellipse(-0.1, 0.1, 0.52, 0.25, -0.1))
    o.fill([(0.1, 0.0), (lean - 0.1, top), (lean + 0.1, top), (0.42, 0.15)])
    o.fill(ellipse(lean + 0.13, top + 0.03, 0.25, 0.1, u(0.15, 0.45)))
    o.stroke([(lean, top), (lean - 0.05, top - 0.17)], 0.06)
    for x, step in ((-0.52, -0.1), (-0.36, 0.08), (0.16, -0.06), (0.3, 0.1)):
        o.stroke([(x, 0.15), (x + step * u(0.2, 1.2), 0.98)], 0.1)
    o.stroke([(-0.58, 0.0), (-0.78, u(0.25, 0.45))], 0.06)


def _chair(o: Outline, u: Uniform) -> None:
    seat, lean, thick = u(0.0, 0.12), u(0.0, 0.16), u(0.11, 0.15)
    o.stroke([(-0.42 - lean, -1.0), (-0.42, seat), (-0.42 - lean / 3, 0.95)], thick)
    o.stroke([(-0.42, seat), (0.48, seat)], thick * 1.25)
    o.stroke([(0.44, seat), (0.44 + lean / 3, 0.95)], thick)
    if u(0, 1) < 0.6:
        o.stroke([(-0.42, 0.55), (0.44, 0.55)], thick * 0.6)
    o.fill([(-0.47 - lean, -1.02), (-0.3 - lean, -1.02), (-0.26, -0.25 + seat), (-0.42, -0.25 + seat)])


def _cup(o: Outline, u: Uniform) -> None:
    foot, deep = u(0.35, 0.5), u(0.5, 0.65)
    hand = u(0.26, 0.34)
    o.stroke(ellipse(0.58, -0.12, hand, hand * 1.1), 0.13)
    o.fill(
        [
            (-0.6, -deep),
            (0.6, -deep),
            (0.6 - (0.6 - foot) * 0.4, 0.2),
            (foot, deep),
            (-foot, deep),
            (-0.6 + (0.6 - foot) * 0.4, 0.2),
        ]
    )
    o.fill(ellipse(0, deep + u(0.1, 0.16), u(0.75, 0.9), 0.09))


def _kite(o: Outline, u: Uniform) -> None:
    wide, waist = u(0.5, 0.62), u(-0.5, -0.38)
    o.fill([(0, -1), (wide, waist), (0, 0.35), (-wide, waist)])
    swing, phase = u(0.12, 0.22), u(0, 2 * pi)
    y = np.linspace(0.33, 1.35, 20)
    x = swing * (np.sin(phase + 5 * (y - 0.33)) - sin(phase))
    o.stroke(np.stack([x, y], 1), 0.05)
    for knot in (7, 13, 19):
        bx, by = x[knot], y[knot]
        o.fill([(bx, by), (bx - 0.2, by - 0.1), (bx - 0.2, by + 0.1)])
        o.fill([(bx, by), (bx + 0.2, by - 0.1), (bx + 0.2, by + 0.1)])


def _umbrella(o: Outline, u: Uniform) -> None:
    high, count = u(0.62, 0.8), int(u(3, 5.99))
    o.fill(ellipse(0, 0, 1, high, 0, pi, 2 * pi))
    step = 2 / count
    for index in range(count):
        o.cut(ellipse(-1 + (index + 0.5) * step, 0.0, step / 2, step * 0.27))
    o.stroke([(0, -high - 0.12), (0, 0.8)], 0.07)
    hook = u(0.13, 0.18)
    o.stroke(ellipse(hook, 0.8, hook, hook, 0, 0, pi, 12), 0.07)


def _scissors(o: Outline, u: Uniform) -> None:
    opened, ring = u(0.2, 0.42), u(0.19, 0.25)
    for side in (-1, 1):
        turn = side * opened
        along, across = (sin(turn), -cos(turn)), (cos(turn), sin(turn))
        tip = (along[0] * 1.1, along[1] * 1.1)
        o.fill([(across[0] * 0.09, across[1] * 0.09), tip, (-across[0] * 0.09, -across[1] * 0.09)])
        o.stroke([(0, 0), (-along[0] * 0.55, -along[1] * 0.55)], 0.13)
        o.stroke(ellipse(-along[0] * 0.75, -along[1] * 0.75, ring, ring * 1.25, turn), 0.11)
        o.fill(circle(0, 0, 0.12))


def _person(o: Outline, u: Uniform) -> None:
    o.fill(circle(0, -0.85, u(0.17, 0.21)))
    o.fill(rounded(-0.24, -0.62, 0.24, 0.15, 0.12))
    limb = u(0.13, 0.16)
    for side in (-1, 1):
        elbow, hand = u(0.3, 0.5), u(-0.3, 0.35)
        o.stroke([(side * 0.2, -0.52), (side * (elbow + 0.05), -0.15), (side * (elbow + 0.12), hand)], limb * 0.85)
        foot = u(0.12, 0.4)
        o.stroke([(side * 0.13, 0.1), (side * (foot + 0.13) / 1.7, 0.55), (side * foot, 1.05)], limb)


def _potted_plant(o: Outline, u: Uniform) -> None:
    top, foot = u(0.34, 0.42), u(0.22, 0.28)
    o.fill([(-top, 0.35), (top, 0.35), (foot, 1.0), (-foot, 1.0)])
    o.fill(rect(-top - 0.08, 0.25, top + 0.08, 0.42))
    count = int(u(4, 6.99))
    for index in range(count):
        turn = -pi / 2 + (index - (count - 1) / 2) * u(0.42, 0.5)
        reach = u(0.65, 0.9)
        x, y = reach * cos(turn), 0.25 + reach * sin(turn)
        o.stroke([(0, 0.3), (x, y)], 0.06)
        o.fill(ellipse(x * 1.1, 0.25 + (y - 0.25) * 1.1, 0.32, 0.14, turn))


COCO_FAMILIES: dict[str, NamedFamily] = {
    name: NamedFamily(name, function)
    for name, function in (
        ("airplane", _airplane),
        ("bird", _bird),
        ("bottle", _bottle),
        ("car", _car),
        ("chair", _chair),
        ("cup", _cup),
        ("giraffe", _giraffe),
        ("kite", _kite),
        ("person", _person),
        ("potted plant", _potted_plant),
        ("scissors", _scissors),
        ("umbrella", _umbrella),
    )
}
"""Held-out families by the COCO name that they stand for."""
