"""What the demo world holds at each size: which clips and images, and who plays in them. Pure functions of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from icvos.categories import COCO80, VOC20
from icvos.demo.world.coco_shapes import COCO_FAMILIES
from icvos.demo.world.outline import Family
from icvos.demo.world.random_shapes import RandomFamily
from icvos.demo.world.scene import Role, Scene, make_scene
from icvos.demo.world.sealed_shapes import SEALED_FAMILIES
from icvos.demo.world.training_shapes import TRAINING_FAMILIES
from icvos.errors import UsageError, did_you_mean

__all__ = [
    "SIZES",
    "Clip",
    "Names",
    "Picture",
    "WorldSize",
    "cast_of",
    "clips",
    "make_clip",
    "make_picture",
    "make_portrait",
    "rng_of",
    "world_size",
]


@dataclass(frozen=True, eq=False)
class WorldSize:
    """How much there is.

    Attributes:
        clips: Clips of each source.
        frames: Frames of a clip, (fewest, most).
        pictures: Images of each COCO split.
        voc: Images of VOC, and as many again of SBD.
        frame_sizes: (H, W) that clips have in turn.
        picture_size: (H, W) of images; every third is upright.
        draws, shots: Of the benchmark's episodes.
        paper_count: Episodes of a fold of the few-shot benchmarks, by the paper's protocol.
        cast: ``benchmark``: the twelve held-out shapes; ``sealed``: twelve others; ``training``: training shapes, each
            under the name of a COCO category that the benchmark does not have.
    """

    clips: dict[str, int]
    frames: tuple[int, int]
    pictures: dict[str, int]
    voc: int
    frame_sizes: tuple[tuple[int, int], ...]
    picture_size: tuple[int, int]
    draws: int
    shots: int
    paper_count: int
    cast: str = "benchmark"

    @property
    def support_min_area(self) -> int:
        """Least pixels of a category in a support: 1.5 % of an image."""
        return round(0.015 * self.picture_size[0] * self.picture_size[1])


SIZES = {
    "tiny": WorldSize(
        {"davis": 3, "mose": 1, "lvos": 1},
        (6, 8),
        {"train2014": 14, "val2014": 30},
        32,
        ((72, 96), (72, 112)),
        (72, 96),
        2,
        2,
        20,
    ),
    "default": WorldSize(
        {"davis": 12, "mose": 6, "lvos": 6},
        (18, 22),
        {"train2014": 60, "val2014": 90},
        100,
        ((240, 320), (240, 360), (256, 256)),
        (240, 320),
        3,
        5,
        250,
    ),
    "large": WorldSize(
        {"davis": 40, "mose": 20, "lvos": 20},
        (28, 40),
        {"train2014": 1600, "val2014": 600},
        300,
        ((240, 320), (240, 426), (320, 320)),
        (240, 320),
        3,
        5,
        1000,
        "training",
    ),
}
SIZES["sealed"] = replace(SIZES["default"], cast="sealed")
# Clips like the default's with training shapes, for looking at errors and choosing rules. It has too few images for
# few-shot benchmarks, so that no command offers it.
SIZES["training"] = replace(
    SIZES["default"],
    clips={"davis": 20, "mose": 10, "lvos": 10},
    pictures={"train2014": 14, "val2014": 400},
    voc=32,
    draws=2,
    shots=1,
    paper_count=20,
    cast="training",
)
Names = dict[str, dict[int, str]]
"""The category of each object of each video of a source; only DAVIS' own files tell it."""

_CASTS: dict[str, dict[str, Family]] = {
    "benchmark": dict(COCO_FAMILIES),
    "sealed": dict(SEALED_FAMILIES),
    "training": dict(
        zip(
            sorted(set(COCO80.names) - set(COCO_FAMILIES)),
            (TRAINING_FAMILIES[name] for name in sorted(TRAINING_FAMILIES)),
        )
    ),
}
_STREAMS = ("davis", "mose", "lvos", "train2014", "val2014", "voc", "sbd", "ytvis", "fss1000", "lvis", "saco")
_TARGET_PATHS = ("stay", "roam", "return", "late", "leave")


@dataclass(frozen=True)
class Clip:
    """A clip to be written: its place in its source, the scene, and the family's name of each label from 1."""

    index: int
    names: tuple[str, ...]
    scene: Scene


@dataclass(frozen=True)
class Picture:
    """An image to be written, as a one-frame scene.

    Attributes:
        names: The family's name of each label from 1.
        crowd: Labels that are one crowd region.
        grey: Whether it is stored without colour.
    """

    index: int
    names: tuple[str, ...]
    scene: Scene
    crowd: frozenset[int] = frozenset()
    grey: bool = False


def world_size(name: str) -> WorldSize:
    """Return a size by name.

    Raises:
        UsageError: There is none.
    """
    if name not in SIZES:
        raise UsageError(f"unknown size '{name}' of the demo world", fix=did_you_mean(name, SIZES))
    return SIZES[name]


@cache
def cast_of(size: WorldSize) -> dict[str, Family]:
    """Return the annotated categories of a world: COCO name and family, sorted by name."""
    return dict(sorted(_CASTS[size.cast].items()))


def rng_of(seed: int, stream: str, index: int, attempt: int = 0) -> np.random.Generator:
    """Return the generator of one clip or image: independent of all others."""
    return np.random.default_rng([seed, _STREAMS.index(stream), index, attempt])


def clips(size: WorldSize, seed: int, source: str) -> list[tuple[int, str]]:
    """Return (index, target category) of the clips of a source; categories go round in a shuffled order."""
    names = list(cast_of(size))
    order = np.random.default_rng([seed, 100]).permutation(len(names))
    first = sum(size.clips[s] for s in _STREAMS[: _STREAMS.index(source)] if s in size.clips)
    return [(i, names[order[(first + i) % len(names)]]) for i in range(size.clips[source])]


def make_clip(size: WorldSize, seed: int, source: str, index: int, target: str, *, extra_named: bool) -> Clip:
    """Set the scene of a clip: a target, another COCO category, sometimes a second instance, and distractors.

    Args:
        size: The world's size.
        seed: The world's seed.
        source: Its source.
        index: Its place in the source.
        target: The category that it is about; visible in a quarter of the frames or more.
        extra_named: Whether a shape that is no COCO category may be annotated too (as DAVIS has camels).
    """
    best: tuple[float, Clip] | None = None
    for attempt in range(8):
        rng = rng_of(seed, source, index, attempt)
        clip = _cast_clip(size, index, target, extra_named, rng)
        seen = _visible_share(clip.scene, [i + 1 for i, name in enumerate(clip.names) if name == target])
        if best is None or seen > best[0]:
            best = (seen, clip)
        if seen >= 0.25:
            break
    assert best is not None
    return best[1]


def _cast_clip(size: WorldSize, index: int, target: str, extra_named: bool, rng: np.random.Generator) -> Clip:
    path = _TARGET_PATHS[int(rng.integers(len(_TARGET_PATHS)))]
    cast = cast_of(size)
    roles = [(target, Role(cast[target], path, (0.2, 0.36)))]
    if rng.random() < 0.3:
        roles.append((target, Role(cast[target], "roam", (0.16, 0.28))))
    other = _other(target, list(cast), rng)
    if rng.random() < 0.8:
        roles.append((other, Role(cast[other], _any_path(rng))))
    stranger = _stranger(size, rng)
    if extra_named and rng.random() < 0.3:
        roles.append((f"drawn {stranger.name}", Role(stranger, _any_path(rng))))
    hidden = [Role(_stranger(size, rng), _any_path(rng), annotated=False) for _ in range(int(rng.integers(1, 3)))]
    low, high = size.frames
    frame_size = size.frame_sizes[index % len(size.frame_sizes)]
    scene = make_scene([r for _, r in roles] + hidden, frame_size, int(rng.integers(low, high + 1)), rng)
    return Clip(index, tuple(name for name, _ in roles), scene)


def _any_path(rng: np.random.Generator) -> str:
    return _TARGET_PATHS[int(rng.integers(len(_TARGET_PATHS)))]


def _other(target: str, names: Sequence[str], rng: np.random.Generator) -> str:
    others = [name for name in names if name != target]
    return others[int(rng.integers(len(others)))]


def _stranger(size: WorldSize, rng: np.random.Generator) -> Family:
    """Return a shape that is no category of the world: one of training, or a random one where those are the cast."""
    if size.cast == "training":
        return RandomFamily.of(int(rng.integers(1 << 31)))
    names = sorted(TRAINING_FAMILIES)
    return TRAINING_FAMILIES[names[int(rng.integers(len(names)))]]


def _visible_share(scene: Scene, labels: Sequence[int]) -> float:
    probes = range(0, scene.frames, max(1, scene.frames // 6))
    return float(np.mean([np.isin(scene.frame(t)[1], labels).sum() > 60 for t in probes]))


def make_portrait(size: WorldSize, seed: int, stream: str, index: int, target: str) -> Scene:
    """Set the scene of an image of one category, which has the label 1, and of things that are not annotated."""
    rng = rng_of(seed, stream, index)
    height, width = size.picture_size
    hidden = [Role(_stranger(size, rng), "stay", annotated=False) for _ in range(int(rng.integers(1, 3)))]
    role = Role(cast_of(size)[target], "stay", (0.3, 0.5))
    return make_scene([role, *hidden], (width, height) if index % 3 == 2 else (height, width), 1, rng)


def make_picture(size: WorldSize, seed: int, stream: str, index: int) -> Picture:
    """Set the scene of an image: one to three COCO categories and distractors; now and then a crowd, or nothing."""
    rng = rng_of(seed, stream, index)
    # VOC annotates the categories that it has a name for; the others are mere things there.
    cast = {
        name: family
        for name, family in cast_of(size).items()
        if stream not in ("voc", "sbd") or VOC20.find(name) is not None
    }
    names = list(cast)
    height, width = size.picture_size
    frame = (width, height) if index % 3 == 2 else (height, width)
    roles: list[tuple[str, Role]] = []
    crowd: frozenset[int] = frozenset()
    if index % 15 != 7:
        # The first category goes round, so that every one has its supports.
        target = names[index % len(names)]
        roles.append((target, Role(cast[target], "stay", (0.24, 0.46))))
        if rng.random() < 0.2:
            roles.append((target, Role(cast[target], "stay", (0.16, 0.3))))
        if rng.random() < 0.5:
            other = _other(target, names, rng)
            roles.append((other, Role(cast[other], "stay", (0.16, 0.34))))
        if index % 15 == 3:
            many = [(target, Role(cast[target], "stay", (0.08, 0.12))) for _ in range(6)]
            crowd = frozenset(range(len(roles) + 1, len(roles) + 7))
            roles += many
    hidden = [Role(_stranger(size, rng), "stay", annotated=False) for _ in range(int(rng.integers(1, 3)))]
    scene = make_scene([r for _, r in roles] + hidden, frame, 1, rng, occluders=0.25)
    return Picture(index, tuple(name for name, _ in roles), scene, crowd, index % 20 == 11)
