"""Pairs of masks of every kind for the metrics."""

from __future__ import annotations

import numpy as np


def cases(count: int, largest: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Noise, blocks, checkerboards, single pixels, borders, full and empty masks of random sizes."""
    generator = np.random.default_rng(seed)
    out = []
    for number in range(count):
        h, w = (int(v) for v in generator.integers(1, largest + 1, 2))
        kind = number % 8
        if kind == 0:
            p, t = generator.random((2, h, w)) < generator.random()
        elif kind == 1:
            coarse = generator.random((h // 5 + 1, w // 7 + 1)) < 0.5
            p = np.kron(coarse, np.ones((5, 7), bool))[:h, :w]
            t = np.roll(p, int(generator.integers(-3, 4)), int(generator.integers(2)))
        elif kind == 2:
            p = (np.add.outer(np.arange(h), np.arange(w)) % 2).astype(bool)
            t = ~p if number % 16 == 2 else p.copy()
        elif kind == 3:
            p, t = np.zeros((2, h, w), bool)
            p[generator.choice([0, h - 1]), generator.choice([0, w - 1])] = True
            t[int(generator.integers(h)), int(generator.integers(w))] = True
        elif kind == 4:
            p, t = np.zeros((2, h, w), bool)
            p[0], p[-1], p[:, 0], p[:, -1] = True, True, True, True
            t[: h // 2] = True
        elif kind == 5:
            p, t = np.ones((h, w), bool), generator.random((h, w)) < 0.1
        elif kind == 6:
            p, t = np.zeros((h, w), bool), generator.random((h, w)) < 0.9
        else:
            p, t = np.full((2, h, w), bool(number % 16 == 7))
        out.append((p, t))
    return out
