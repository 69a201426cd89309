"""Scenes: actors on paths before a moving ground, with occluders, light and blur, drawn frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from icvos.demo.world.outline import Family, spline
from icvos.demo.world.paint import fractal, make_sprite, texture
from icvos.demo.world.random_shapes import RandomFamily

__all__ = ["PATHS", "Actor", "Role", "Scene", "make_scene"]

_CAST = 14  # pixels that a shadow may reach
PATHS = ("stay", "roam", "leave", "return", "late")


@dataclass(frozen=True)
class Role:
    """What is asked of a scene: an instance of a family, and how it moves.

    Attributes:
        family: What to draw.
        path: One of ``PATHS``.
        size: Root of the area, as a share of the frame's short side; (low, high).
        annotated: Whether labels show it; what is not annotated still hides what is behind it.
    """

    family: Family
    path: str = "stay"
    size: tuple[float, float] = (0.15, 0.33)
    annotated: bool = True


@dataclass(frozen=True, eq=False)
class Actor:
    """An instance in a scene: its sprite, and where it is: row t + 1 is frame t, row 0 the moment before the first.

    Attributes:
        sprite: (S, S, 4) uint8.
        place: (T + 1, 2) float, x and y in pixels.
        turn, scale, lean, tilt: (T + 1,) float: radians, factor, shear, perspective.
        label: Its value in the labels; 0 for what is not annotated.
    """

    sprite: np.ndarray
    place: np.ndarray
    turn: np.ndarray
    scale: np.ndarray
    lean: np.ndarray
    tilt: np.ndarray
    label: int

    def matrix(self, moment: int) -> np.ndarray:
        """Return the 3x3 map from sprite to frame pixels."""
        half = (self.sprite.shape[0] - 1) / 2
        cos, sin, scale = np.cos(self.turn[moment]), np.sin(self.turn[moment]), self.scale[moment]
        centre = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]])
        lean = np.array([[1, self.lean[moment], 0], [0, 1, 0], [self.tilt[moment] / half, 0, 1]])
        x, y = self.place[moment]
        return np.array([[scale * cos, -scale * sin, x], [scale * sin, scale * cos, y], [0, 0, 1]]) @ lean @ centre


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip to be drawn. ``frame(t)`` gives (H, W, 3) uint8 RGB and (H, W) uint8 labels."""

    size: tuple[int, int]
    frames: int
    ground: np.ndarray
    camera: np.ndarray  # (T, 3): shift in x, y (pixels) and zoom
    actors: tuple[Actor, ...]  # from back to front
    light: np.ndarray  # (T,) gain
    beam: np.ndarray | None  # (H, W + 5 (T - 1)) float32 gain that drifts across
    shadow: float
    blur: float
    noise: float
    seed: int

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw frame ``index``."""
        height, width = self.size
        image = self._ground(index)
        labels = np.zeros((height, width), np.uint8)
        for actor in self.actors:
            self._paste(image, labels, actor, index)
        return self._develop(image, index), labels

    def _ground(self, index: int) -> np.ndarray:
        height, width = self.size
        if self.frames == 1:
            return self.ground.copy()
        x, y, zoom = self.camera[index]
        tall, wide = self.ground.shape[:2]
        matrix = np.array([[zoom, 0, width / 2 + x - zoom * wide / 2], [0, zoom, height / 2 + y - zoom * tall / 2]])
        return cv2.warpAffine(
            self.ground, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )

    def _paste(self, image: np.ndarray, labels: np.ndarray, actor: Actor, index: int) -> None:
        height, width = self.size
        matrix = actor.matrix(index + 1)
        side = actor.sprite.shape[0] - 1
        corners = cv2.perspectiveTransform(
            np.array([[[0, 0], [side, 0], [side, side], [0, side]]], np.float64), matrix
        )[0]
        move = (actor.place[index + 1] - actor.place[index]) * self.blur
        pad = (_CAST if self.shadow else 4) + int(np.ceil(np.abs(move).max()))
        left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - pad, 0)
        right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + pad, (width, height))
        if left >= right or top >= bottom:
            return
        shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
        patch = cv2.warpPerspective(actor.sprite, shift @ matrix, (int(right - left), int(bottom - top)))
        solid = patch[..., 3] > 127
        if np.hypot(*move) > 1.5:
            patch = cv2.filter2D(patch, -1, _streak(move))
        keep = cv2.bitwise_not(patch[..., 3])
        if self.shadow:
            # Cast down and to the right; the patch is padded by more than the shadow's reach.
            lit = cv2.convertScaleAbs(cv2.GaussianBlur(patch[..., 3], (19, 19), 3), alpha=-self.shadow, beta=255)
            moved = np.full_like(keep, 255)
            moved[3:, 2:] = lit[:-3, :-2]
            keep = cv2.multiply(keep, moved, scale=1 / 255)
        window = image[top:bottom, left:right]
        kept = cv2.multiply(window, cv2.merge([keep, keep, keep]), scale=1 / 255)
        cv2.add(kept, patch[..., :3], dst=kept)
        window[...] = kept
        np.copyto(labels[top:bottom, left:right], np.uint8(actor.label), where=solid)

    def _develop(self, image: np.ndarray, index: int) -> np.ndarray:
        if self.beam is not None:
            beam = self.beam[:, 5 * index : 5 * index + self.size[1]] * np.float32(self.light[index])
            lit = cv2.multiply(image, cv2.merge([beam, beam, beam]), dtype=cv2.CV_32F)
        else:
            lit = image * np.float32(self.light[index])
        if self.noise:
            rng = np.random.default_rng([self.seed, index])
            grain = rng.standard_normal(self.size, dtype=np.float32) * np.float32(self.noise)
            cv2.add(lit, cv2.merge([grain, grain, grain]), dst=lit)
        return np.clip(lit, 0, 255).astype(np.uint8)


def _streak(move: np.ndarray) -> np.ndarray:
    """Return a kernel that smears along ``move`` (pixels)."""
    half = int(np.ceil(np.abs(move).max() / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    steps = max(2, int(np.hypot(*move) * 2))
    for part in np.linspace(-0.5, 0.5, steps):
        x, y = half + move[0] * part, half + move[1] * part
        kernel[round(float(y)), round(float(x))] += 1
    return kernel / kernel.sum()


def _start(taken: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return a place to stand, as shares of the frame: of four, the one farthest from those that are taken."""
    options = rng.uniform(0.17, 0.83, (4, 2))
    far = [min((float(np.hypot(*(option - other))) for other in taken), default=0.0) for option in options]
    taken.append(options[int(np.argmax(far))])
    return taken[-1]


def _way(path: str, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return way points, (N, 2), as shares of the frame (0..1 inside)."""
    if path == "stay":
        return np.clip(start + np.cumsum(rng.normal(0, 0.06, (4, 2)), axis=0), 0.1, 0.9)
    if path == "roam":
        return np.clip(start + np.cumsum(rng.normal(0, 0.2, (3, 2)), axis=0), 0.1, 0.9)
    side = int(rng.integers(4))
    beyond = rng.uniform(0.2, 0.8, 2)
    beyond[side // 2] = 1.35 if side % 2 else -0.35
    near = np.clip(beyond, 0.15, 0.85)
    inside = np.clip(near + rng.normal(0, 0.15, (2, 2)), 0.15, 0.85)
    if path == "leave":
        return np.stack([start, (start + inside[0]) / 2, inside[0], beyond])
    if path == "return":
        return np.stack([start, inside[0], beyond, beyond, inside[1], inside[1]])
    return np.stack([beyond, beyond, inside[0], inside[1], rng.uniform(0.2, 0.8, 2)])


def _along(points: np.ndarray, moments: np.ndarray) -> np.ndarray:
    curve = spline(points, closed=False, steps=16)
    places = np.linspace(0, 1, len(curve))
    return np.stack([np.interp(moments, places, curve[:, axis]) for axis in (0, 1)], axis=1)


def _wander(rng: np.random.Generator, moments: np.ndarray, amount: float) -> np.ndarray:
    phase, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.6)
    return amount * np.sin(phase + 2 * np.pi * speed * moments)


def _actor(
    role: Role, label: int, size: tuple[int, int], frames: int, start: np.ndarray, rng: np.random.Generator
) -> Actor:
    height, width = size
    unit = min(size)
    wanted = rng.uniform(*role.size) * unit
    sprite = make_sprite(role.family, int(min(max(wanted * 1.7, 20), 1.0 * unit)), rng)
    side = sprite.shape[0]
    area = np.sqrt(np.count_nonzero(sprite[..., 3] > 127)) + 1e-6
    # Thin shapes are not blown up beyond the frame, full ones not left small.
    scale = min(wanted / area, 0.85 * unit / side)
    moments = np.linspace(-0.5 / max(frames, 2), 1, frames + 1) if frames > 1 else np.zeros(2)
    place = _along(_way(role.path, start, rng), np.clip(moments, 0, 1)) * (width, height)
    turn = rng.normal(0, 0.4) if rng.random() < 0.75 else rng.uniform(0, 2 * np.pi)
    spin = rng.normal(0, 0.6) if rng.random() < 0.7 else rng.uniform(-2.5, 2.5)
    return Actor(
        sprite,
        place,
        turn + spin * moments + _wander(rng, moments, rng.uniform(0, 0.2)),
        scale * np.exp(rng.normal(0, 0.15) * moments + _wander(rng, moments, rng.uniform(0, 0.12))),
        _wander(rng, moments, rng.uniform(0, 0.25)),
        _wander(rng, moments, rng.uniform(0, 0.18)),
        label,
    )


def _occluder(size: tuple[int, int], frames: int, rng: np.random.Generator) -> Actor:
    seed = int(rng.integers(1 << 31))
    role = Role(RandomFamily(seed, "fourier" if rng.random() < 0.5 else "angular"), "roam", (0.1, 0.2), False)
    return _actor(role, 0, size, frames, rng.uniform(0.1, 0.9, 2), rng)


def make_scene(
    roles: Sequence[Role],
    size: tuple[int, int],
    frames: int,
    rng: np.random.Generator,
    *,
    occluders: float = 0.5,
    harsh: float = 0.35,
) -> Scene:
    """Set a scene.

    Args:
        roles: Its actors; role i has label i + 1.
        size: (H, W) in pixels.
        frames: Length; 1 for a still image, where paths only choose a place.
        rng: For everything.
        occluders: How likely things without a category pass in front.
        harsh: How likely the light changes.
    """
    height, width = size
    taken: list[np.ndarray] = []
    actors = [
        _actor(role, i + 1 if role.annotated else 0, size, frames, _start(taken, rng), rng)
        for i, role in enumerate(roles)
    ]
    order = rng.permutation(len(actors))
    front = [_occluder(size, frames, rng) for _ in range(int(rng.integers(1, 3)))] if rng.random() < occluders else []
    margin = 1.0 if frames == 1 else 1.25
    ground = _draw_ground(int(height * margin), int(width * margin), rng)
    moments = np.linspace(0, 1, frames)
    shifts = [_wander(rng, moments, rng.uniform(0, 0.06) * side) for side in (width, height)]
    camera = np.stack([*shifts, 1 + _wander(rng, moments, rng.uniform(0, 0.06))], axis=1)
    light = np.full(frames, rng.uniform(0.8, 1.15))
    beam = None
    if rng.random() < harsh:
        light = light * np.exp(_wander(rng, moments, rng.uniform(0.1, 0.35)))
        beam = 0.7 + 0.6 * fractal(rng, height, width + 5 * (frames - 1), coarse=2, octaves=1)
    return Scene(
        size,
        frames,
        ground,
        camera,
        tuple([actors[i] for i in order] + front),
        light,
        beam,
        shadow=float(rng.uniform(0.15, 0.45)) if rng.random() < 0.6 else 0.0,
        blur=float(rng.uniform(0.2, 0.7)) if rng.random() < 0.5 else 0.0,
        noise=float(rng.uniform(0, 5)) if rng.random() < 0.7 else 0.0,
        seed=int(rng.integers(1 << 31)),
    )


def _draw_ground(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return (height, width, 3) uint8: a texture, or two that meet at a horizon or a table's edge."""
    ground = texture(rng, height, width)
    if rng.random() < 0.35:
        other = texture(rng, height, width)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        edge = height * rng.uniform(0.35, 0.75) + (x - width / 2) * rng.uniform(-0.3, 0.3)
        ground = np.where((y > edge)[..., None], other, ground)
    return ground
