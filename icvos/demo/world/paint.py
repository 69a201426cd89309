"""Paint: textures, and sprites that wear them. Things and backgrounds draw from one set of textures, so that neither
colour nor texture tells a thing from its ground or one category from another."""

from __future__ import annotations

import cv2
import numpy as np

from icvos.demo.world.outline import Family, draw_alpha

__all__ = ["fractal", "make_sprite", "texture"]


def fractal(rng: np.random.Generator, height: int, width: int, *, coarse: int = 3, octaves: int = 4) -> np.ndarray:
    """Fractal noise: (height, width) float32 in 0..1, mean about 0.5."""
    total = np.zeros((height, width), np.float32)
    weight, sum_of = 1.0, 0.0
    for octave in range(octaves):
        cells = min(coarse << octave, height, width)
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        sum_of, weight = sum_of + weight, weight * 0.55
    return np.clip((total / sum_of - 0.5) * 1.6 + 0.5, 0, 1)


def _colours(rng: np.random.Generator) -> np.ndarray:
    """Three colours, (3, 3) float32 in 0..255: free hues, not too close to each other."""
    first = rng.uniform(15, 240, 3)
    step = rng.normal(0, 1, 3)
    step *= rng.uniform(45, 130) / np.linalg.norm(step)
    second = np.clip(np.where((first + step < 0) | (first + step > 255), first - step, first + step), 0, 255)
    third = np.clip((first + second) / 2 + rng.normal(0, 40, 3), 0, 255)
    return np.stack([first, second, third]).astype(np.float32)


def _pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Where each colour goes: (height, width) float32 in 0..1."""
    kind = int(rng.integers(7))
    if kind == 0:
        return fractal(rng, height, width, coarse=int(rng.integers(2, 8)))
    if kind == 1:
        levels = int(rng.integers(3, 6))
        return np.floor(fractal(rng, height, width, coarse=int(rng.integers(3, 8)), octaves=2) * levels) / (levels - 1)
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    across = y * np.float32(np.cos(turn)) - x * np.float32(np.sin(turn))
    if kind == 2:
        low, high = along.min(), along.max()
        return (along - low) / max(high - low, 1e-6)
    period = np.float32(2 * np.pi / (rng.uniform(0.06, 0.25) * max(min(height, width), 48)))
    wave = np.sin(along * period + np.float32(rng.uniform(0, 6.28)))
    if kind == 3:
        return 0.5 + 0.5 * np.clip(wave * rng.uniform(1, 8), -1, 1)
    if kind == 4:
        return 0.5 + 0.5 * np.clip(wave * np.sin(across * period) * 8, -1, 1)
    if kind == 5:
        spots = wave + np.sin(across * period)
        return np.clip((spots - np.float32(rng.uniform(0.2, 1.0))) * 4, 0, 1)
    bent = np.sin((along + 6 * np.sin(across * period * 0.6)) * period)
    return 0.5 + 0.5 * bent


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a texture: (height, width, 3) uint8 RGB."""
    first, second, third = _colours(rng)
    part = _pattern(rng, height, width).astype(np.float32)
    light = fractal(rng, height, width, coarse=2, octaves=5)
    # first + part * (second - first) + (light - 0.5) * (half the way to the third, and brighter), at each pixel.
    tint = (third - first) * 0.5 + 45
    mix = np.stack([second - first, tint, first - 0.5 * tint], axis=1)
    colour = cv2.transform(cv2.merge([part, light]), mix)
    return np.clip(colour, 0, 255).astype(np.uint8)


def make_sprite(family: Family, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw and paint an instance: (size, size, 4) uint8, colour multiplied by alpha, and alpha."""
    alpha = draw_alpha(family, size, rng)
    colour = texture(rng, size, size).astype(np.float32)
    inside = alpha.astype(np.float32) / 255
    round_edge = cv2.GaussianBlur(inside, (0, 0), size * 0.045)
    turn = rng.uniform(0, 2 * np.pi)
    across, down = (cv2.Sobel(round_edge, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    slope = np.cos(turn) * across + np.sin(turn) * down
    shade = (1 + np.clip(slope * size * rng.uniform(0.0, 0.05), -0.55, 0.55)).astype(np.float32)
    added = np.zeros_like(shade)
    if rng.random() < 0.6:
        # A rim in a lighter or darker tone, as a drawn contour.
        rim = np.clip(1 - (cv2.GaussianBlur(inside, (0, 0), size * 0.018) - 0.5) * 2.2, 0, 1) * 0.8
        shade *= 1 - rim
        added = rim * np.float32(rng.uniform(0, 60) if rng.random() < 0.7 else rng.uniform(200, 255))
    painted = cv2.add(cv2.multiply(colour, cv2.merge([shade, shade, shade])), cv2.merge([added, added, added]))
    sprite = np.empty((size, size, 4), np.uint8)
    sprite[..., :3] = cv2.multiply(np.clip(painted, 0, 255), cv2.merge([inside, inside, inside]))
    sprite[..., 3] = alpha
    return sprite
