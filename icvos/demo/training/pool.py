"""The drawn world drawn ahead, into files: a GPU learns faster than a few processes draw.

A pool answers as ``TrainingWorld`` does, but its scenes come again after a while; ``icvos.demo.training.examples``
mirrors and recolours them each time. It is drawn once and kept: the folder's name holds what decides its content.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from icvos.demo.training.examples import INSTANCES, squared, squared_still
from icvos.demo.world.episodes import Episode, Footage, Still, TrainingWorld
from icvos.demo.world.version import DRAWING
from icvos.errors import UsageError
from icvos.files import lock_folder
from icvos.processes import in_order
from icvos.terminal import echo

__all__ = ["DrawnPool", "draw_pool"]

WORLD_IMAGES = 4
CLIP_FRAMES = 8
EPISODE_FRAMES = 8
#: Scenes that one process draws before it writes them.
CHUNK = 64


@dataclass
class DrawnPool:
    """Scenes of a pool; opened in each process on its own.

    Attributes:
        folder: Of the files.
        seed: Of the world that was drawn.
    """

    folder: Path
    seed: int
    _open: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "seed": self.seed, "_open": {}}

    def _part(self, kind: str) -> dict[str, Any]:
        if kind not in self._open:
            names = np.load(self.folder / f"{kind}_names.npy")
            arrays = {part: np.load(self.folder / f"{kind}_{part}.npy", mmap_mode="r") for part in ("images", "labels")}
            self._open[kind] = {**arrays, "names": names}
        return dict(self._open[kind])

    def _scene(self, kind: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = self._part(kind)
        row = index % len(part["images"])
        return np.array(part["images"][row]), np.array(part["labels"][row]), part["names"][row]

    def world(self, index: int) -> list[Still]:
        """Return the images of a small world."""
        images, labels, names = self._scene("worlds", index)
        return [Still(image, label, _listed(families)) for image, label, families in zip(images, labels, names)]

    def still(self, index: int) -> Still:
        """Return one image of a world."""
        return self.world(index // WORLD_IMAGES)[index % WORLD_IMAGES]

    def clip(self, index: int, *, frames: int = CLIP_FRAMES) -> Footage:
        """Return a clip's first frames."""
        _check_frames(frames, CLIP_FRAMES)
        images, labels, names = self._scene("clips", index)
        return Footage(images[:frames], labels[:frames], _listed(names[0]))

    def episode(self, index: int, *, frames: int = EPISODE_FRAMES, shots: int = 1) -> Episode:
        """Return a support and a clip's first frames."""
        _check_frames(frames, EPISODE_FRAMES)
        images, labels, names = self._scene("episodes", index)
        masks = labels.astype(bool)
        return Episode(images[:1], masks[:1], images[1 : frames + 1], masks[1 : frames + 1], str(names[0][0]))


def _check_frames(asked: int, held: int) -> None:
    if asked > held:
        raise UsageError(f"{asked} frames of a pool of {held}", fix="train without a pool")


def _listed(names: np.ndarray) -> tuple[str, ...]:
    return tuple(str(name) for name in names if name)


def _named(names: tuple[str, ...]) -> np.ndarray:
    return np.array([*names, *[""] * INSTANCES][:INSTANCES], "U40")


def _draw(kind: str, side: int, seed: int, random_share: float, span: range) -> tuple[np.ndarray, ...]:
    """Draw some scenes: images (N, T, S, S, 3) uint8, labels (N, T, S, S) uint8, names (N, T or 1, INSTANCES)."""
    world = TrainingWorld.of_layouts(side, seed, random_share)
    images, labels, names = [], [], []
    for index in span:
        if kind == "worlds":
            stills = [squared_still(still, side) for still in world.world(index, images=WORLD_IMAGES)]
            images.append(np.stack([s.image for s in stills]))
            labels.append(np.stack([s.labels for s in stills]))
            names.append(np.stack([_named(s.names) for s in stills]))
        elif kind == "clips":
            clip = world.clip(index, frames=CLIP_FRAMES)
            frames, clip_labels = squared(clip.frames, clip.labels, side)
            images.append(frames)
            labels.append(clip_labels)
            names.append(_named(clip.names)[None])
        else:
            episode = world.episode(index, frames=EPISODE_FRAMES)
            support, support_masks = squared(episode.support_images, episode.support_masks, side)
            frames, masks = squared(episode.frames, episode.masks, side)
            images.append(np.concatenate([support, frames]))
            labels.append(np.concatenate([support_masks, masks]).astype(np.uint8))
            names.append(_named((episode.name,))[None])
    return np.stack(images), np.stack(labels), np.stack(names)


def draw_pool(
    root: Path,
    kind: str,
    count: int,
    *,
    side: int,
    seed: int,
    random_share: float = 0.5,
    workers: int = 1,
    say: Callable[[str], None] = echo,
) -> DrawnPool:
    """Draw ``count`` scenes of a kind (``worlds``, ``clips`` or ``episodes``), or open those drawn before."""
    folder = root / f"squares-{DRAWING[:10]}-{side}-{CLIP_FRAMES}-{seed}-{random_share:g}-{count}"
    pool = DrawnPool(folder, seed)
    paths = {part: folder / f"{kind}_{part}.npy" for part in ("images", "labels", "names")}
    if all(path.is_file() for path in paths.values()):
        return pool
    # Two stages that run side by side may want the same scenes: one draws, the other waits.
    with lock_folder(folder / kind, wait=math.inf):
        if not all(path.is_file() for path in paths.values()):
            _draw_all(paths, count, partial(_draw, kind, side, seed, random_share), workers)
            say(f"drew {count} {kind} into {folder}")
    return pool


def _draw_all(
    paths: Mapping[str, Path], count: int, draw: Callable[[range], tuple[np.ndarray, ...]], workers: int
) -> None:
    """Write ``count`` scenes, drawn span by span, to the files of their parts."""
    spans = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    out: dict[str, Any] = {}
    partial_paths = {part: path.with_suffix(".partial.npy") for part, path in paths.items()}
    for span, scenes in zip(spans, in_order(draw, spans, workers)):
        for part, values in zip(paths, scenes):
            if part not in out:
                shape = (count, *values.shape[1:])
                out[part] = np.lib.format.open_memmap(partial_paths[part], "w+", values.dtype, shape)
            out[part][span.start : span.stop] = values
    for part, array in out.items():
        array.flush()
        partial_paths[part].replace(paths[part])
