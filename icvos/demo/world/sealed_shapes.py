"""Twelve other COCO categories as drawings: the sealed world's, for claims, looked at by nobody who trains or chooses.

None is a category of ``coco_shapes`` or near to a shape of it or of training. Each fold of COCO-20i has three of them,
and their VOC names cover every fold of PASCAL-5i.
"""

from __future__ import annotations

from math import pi

import numpy as np

from icvos.demo.world.outline import NamedFamily, Outline, Uniform, both, circle, ellipse, rect, rounded, spline, turned

__all__ = ["SEALED_FAMILIES"]


def _dog(o: Outline, u: Uniform) -> None:
    chest, head_y, snout = u(0.26, 0.32), u(-0.5, -0.38), u(0.3, 0.42)
    o.fill(
        spline(
            [(-0.75, -0.1), (-0.1, -0.12), (0.5, -0.22), (0.6, 0.15), (0.3, chest + 0.05), (-0.2, 0.16), (-0.7, 0.2)]
        )
    )
    o.fill([(0.3, -0.15), (0.55, head_y - 0.1), (0.85, head_y + 0.1), (0.6, 0.12)])
    o.fill(ellipse(0.72, head_y, 0.24, 0.19)).fill(rounded(0.75, head_y - 0.06, 0.85 + snout, head_y + 0.16, 0.08))
    o.cut_stroke([(0.52, head_y - 0.12), (0.6, head_y + 0.2)], 0.05)
    o.fill(ellipse(0.48, head_y + 0.08, 0.1, u(0.2, 0.28), u(0.1, 0.4)))
    o.stroke(spline([(-0.7, 0.0), (-0.98, u(-0.3, -0.1)), (-0.95, u(-0.7, -0.5))], closed=False), 0.1)
    for x, step in ((-0.62, -0.1), (-0.42, 0.12), (0.3, -0.08), (0.48, 0.1)):
        foot = x + step * u(0.2, 1.3)
        o.stroke([(x, 0.12), (foot, 0.78), (foot + 0.1, 0.8)], 0.13)


def _elephant(o: Outline, u: Uniform) -> None:
    trunk, curl, ear = u(0.35, 0.6), u(-0.05, 0.22), u(0.27, 0.34)
    o.fill(ellipse(-0.2, -0.15, 0.72, u(0.46, 0.52)))
    o.fill(circle(0.6, -0.3, 0.34))
    o.stroke(spline([(0.78, -0.25), (0.98, 0.1), (0.95, trunk), (1.1 + curl, trunk + 0.15)], closed=False), 0.17)
    o.fill([(0.68, -0.05), (0.82, 0.02), (u(1.15, 1.3), 0.0), (0.74, 0.16)])
    for x in (-0.72, -0.42, 0.0, 0.3):
        o.fill(rounded(x - 0.12, 0, x + 0.12, u(0.76, 0.84), 0.05))
    flap = ellipse(0.36, -0.25, ear, ear * 1.25, u(-0.3, 0.1), -0.6 * pi, 0.9 * pi, 24)
    o.cut_stroke(flap, 0.06)
    o.stroke([(-0.88, -0.25), (-1.06, u(0.1, 0.3))], 0.06)


def _wine_glass(o: Outline, u: Uniform) -> None:
    wide, rim, deep, level = u(0.46, 0.56), u(0.36, 0.44), u(0.05, 0.2), u(-0.62, -0.42)
    right = spline([(rim, -1), (wide, -0.5), (wide * 0.75, deep - 0.2), (0.06, deep)], closed=False)
    o.fill(np.concatenate([right, (right * (-1, 1))[::-1]]))
    o.cut([(-rim + 0.07, -0.95), (rim - 0.07, -0.95), (wide - 0.08, level), (-wide + 0.08, level)])
    o.stroke([(0, deep - 0.05), (0, 0.9)], u(0.08, 0.11))
    o.fill(ellipse(0, 0.95, u(0.36, 0.46), 0.08)).fill([(-0.16, 0.92), (0, 0.7), (0.16, 0.92)])


def _bicycle(o: Outline, u: Uniform) -> None:
    size, apart, bar = u(0.38, 0.43), u(0.58, 0.66), u(-0.62, -0.5)
    for side in (-1, 1):
        tyre, spin = circle(side * apart, 0.3, size), u(0, pi / 3)
        o.stroke(np.vstack([tyre, tyre[:2]]), 0.1)
        for spoke in range(3):
            arm = turned(np.array([(-size, 0.0), (size, 0.0)]), spin + spoke * pi / 3)
            o.stroke(arm + (side * apart, 0.3), 0.05)
    seat, fork = (-0.28, -0.28), (apart - 0.2, -0.3)
    o.stroke([(-apart, 0.3), seat, fork, (-0.05, 0.32), (-apart, 0.3)], 0.09).stroke([(-0.05, 0.32), seat], 0.09)
    o.stroke([(-0.28, -0.28), (-0.34, -0.48)], 0.08).fill(rounded(-0.56, -0.58, -0.16, -0.46, 0.06))
    o.stroke([(apart, 0.3), fork, (apart - 0.27, bar), (apart - u(-0.06, 0.06), bar - 0.06)], 0.09)


def _traffic_light(o: Outline, u: Uniform) -> None:
    wide, lamp, pole = u(0.3, 0.36), u(0.15, 0.19), u(0.09, 0.13)
    o.fill(rounded(-wide, -1, wide, 0.42, u(0.06, 0.16)))
    hood = u(0.16, 0.26)
    for y in (-0.75, -0.3, 0.15):
        o.cut(circle(0, y, lamp))
        both(o, [(wide - 0.03, y - 0.19), (wide + hood, y - 0.19), (wide - 0.03, y + 0.12)])
    o.stroke([(0, 0.4), (0, 1.15)], pole * 1.4)
    o.fill(rounded(-0.28, 1.12, 0.28, 1.24, 0.04))


def _couch(o: Outline, u: Uniform) -> None:
    top, arm, seat = u(-0.55, -0.42), u(-0.2, -0.08), u(0.0, 0.1)
    o.fill(rounded(-0.85, top, 0.85, 0.4, u(0.08, 0.2)))
    for side in (-1, 1):
        o.fill(circle(side * 0.92, arm, 0.17)).fill(rect(side * 0.92 - 0.13, arm, side * 0.92 + 0.13, 0.45))
        o.fill([(side * 0.78, 0.4), (side * 0.94, 0.4), (side * u(0.86, 0.98), 0.66), (side * 0.82, 0.66)])
    o.cut_stroke([(-0.76, seat), (0.76, seat)], 0.06)
    for x in (-0.26, 0.26) if u(0, 1) < 0.5 else (0.0,):
        o.cut_stroke([(x, top + 0.1), (x, 0.34)], 0.05)


def _fire_hydrant(o: Outline, u: Uniform) -> None:
    wide, cap, arm = u(0.3, 0.36), u(-0.55, -0.45), u(-0.2, 0.0)
    o.fill(rect(-wide, cap, wide, 0.85)).fill(ellipse(0, cap, wide, u(0.3, 0.38), 0, pi, 2 * pi))
    o.fill(rounded(-0.09, cap - 0.5, 0.09, cap - 0.25, 0.03)).fill(
        rounded(-wide - 0.1, cap - 0.06, wide + 0.1, cap + 0.07, 0.05)
    )
    o.fill(rounded(-wide - 0.16, 0.78, wide + 0.16, 1.0, 0.05))
    reach = u(0.12, 0.22)
    for side in (-1, 1):
        x = side * (wide + reach)
        o.stroke([(0, arm), (x, arm)], 0.24).fill(rounded(x - 0.07, arm - 0.2, x + 0.07, arm + 0.2, 0.03))
    o.cut(circle(0, arm + 0.02, 0.17)).fill(circle(0, arm + 0.02, 0.09))
    o.cut_stroke([(-wide + 0.1, 0.55), (wide - 0.1, 0.55)], 0.06)


def _tennis_racket(o: Outline, u: Uniform) -> None:
    wide, high, grip = u(0.42, 0.5), u(0.52, 0.6), u(0.13, 0.17)
    for line in (-0.6, -0.2, 0.2, 0.6):
        reach = (1 - line**2) ** 0.5
        o.stroke([(line * wide, -0.5 - reach * high), (line * wide, -0.5 + reach * high)], 0.05)
        o.stroke([(-reach * wide, -0.5 + line * high), (reach * wide, -0.5 + line * high)], 0.05)
    head = ellipse(0, -0.5, wide, high)
    o.stroke(np.vstack([head, head[:2]]), 0.1)
    split, throat = u(0.22, 0.3), u(0.3, 0.42)
    o.stroke([(-split, high - 0.58), (0, throat)], 0.08).stroke([(split, high - 0.58), (0, throat)], 0.08)
    o.stroke([(0, throat), (0, 0.65)], 0.1).fill(rounded(-grip / 2, 0.55, grip / 2, u(1.05, 1.2), 0.04))


def _tv(o: Outline, u: Uniform) -> None:
    low, edge, panel = u(0.5, 0.6), u(0.1, 0.14), u(0.45, 0.56)
    o.fill(rounded(-0.9, -0.5, 0.9, low, 0.12)).cut(rounded(-0.9 + edge, -0.5 + edge, panel, low - edge, 0.16))
    for y in (-0.25, 0.02):
        o.cut(circle((0.9 + panel) / 2, y, 0.08))
    for side in (-1, 1):
        o.stroke([(side * 0.5, low), (side * u(0.6, 0.75), low + 0.3)], 0.09)
        tip = (side * u(0.35, 0.7), u(-1.15, -0.95))
        o.stroke([(0.0, -0.5), tip], 0.05).fill(circle(*tip, 0.06))
    o.fill(ellipse(0, -0.5, 0.2, 0.12))


def _cat(o: Outline, u: Uniform) -> None:
    head_y, hip = u(-0.62, -0.52), u(0.4, 0.48)
    o.fill(
        spline(
            [(0.12, -0.5), (0.34, 0.0), (0.38, 0.9), (-0.5, 0.92), (-hip - 0.14, 0.55), (-0.35, 0.0), (-0.18, -0.45)]
        )
    )
    o.fill(ellipse(0.1, head_y, 0.33, 0.27))
    ear = u(0.24, 0.34)
    for x, lean in ((-0.1, -0.08), (0.3, 0.08)):
        o.fill([(x - 0.13, head_y - 0.12), (x + lean, head_y - 0.2 - ear), (x + 0.13, head_y - 0.12)])
    o.cut_stroke([(0.12, 0.3), (0.1, 0.88)], 0.05).fill(ellipse(0.34, 0.88, 0.2, 0.09))
    side, lift = u(-1.0, -0.8), u(0.0, 0.35)
    o.stroke(spline([(-0.4, 0.85), (-0.8, 0.85), (side, lift + 0.2), (side + 0.22, lift - 0.2)], closed=False), 0.12)


def _cake(o: Outline, u: Uniform) -> None:
    wide, step, top = u(0.72, 0.82), u(0.4, 0.5), u(-0.3, -0.18)
    o.fill(rounded(-wide, 0.15, wide, 0.75, 0.06)).fill(rounded(-step, top, step, 0.25, 0.06))
    o.fill(ellipse(0, 0.8, 1.0, 0.1))
    drips = int(u(4, 6.99))
    for x in np.linspace(-wide + 0.15, wide - 0.15, drips):
        o.cut(ellipse(x, 0.42, 0.4 / drips, u(0.09, 0.15)))
    for x in (-step + 0.12, 0.0, step - 0.12):
        tall = top - u(0.3, 0.42)
        o.stroke([(x, top), (x, tall)], 0.08).fill(ellipse(x, tall - 0.15, 0.065, 0.12))


def _vase(o: Outline, u: Uniform) -> None:
    neck, belly, high, lip = u(0.13, 0.18), u(0.46, 0.56), u(-0.15, 0.05), u(0.26, 0.34)
    right = spline(
        [(lip, -1), (neck, -0.85), (neck, -0.5), (belly, high), (belly * 0.75, 0.5), (0.14, 0.85), (0.3, 1)],
        closed=False,
    )
    o.fill(np.concatenate([right, (right * (-1, 1))[::-1]]))
    wing = u(0.5, 0.62)
    for side in (-1, 1):
        bow = [
            (side * neck, -0.72),
            (side * wing, -0.82),
            (side * (wing + 0.12), -0.5),
            (side * belly * 0.85, high - 0.1),
        ]
        o.stroke(spline(bow, closed=False), 0.1)
    if u(0, 1) < 0.5:
        o.cut_stroke([(-belly * 0.7, high + 0.1), (belly * 0.7, high + 0.1)], 0.06)


SEALED_FAMILIES: dict[str, NamedFamily] = {
    name: NamedFamily(name, function)
    for name, function in (
        ("bicycle", _bicycle),
        ("cake", _cake),
        ("cat", _cat),
        ("couch", _couch),
        ("dog", _dog),
        ("elephant", _elephant),
        ("fire hydrant", _fire_hydrant),
        ("tennis racket", _tennis_racket),
        ("traffic light", _traffic_light),
        ("tv", _tv),
        ("vase", _vase),
        ("wine glass", _wine_glass),
    )
}
"""Sealed families by the COCO name that they stand for."""
