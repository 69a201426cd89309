"""How the rules of ``@redetect`` were chosen: a benchmark of training shapes alone, and each rule changed by itself.

    python benchmarks/redetect.py                                   # dcsam, pfenet and prototype; an hour on 2 cores
    python benchmarks/redetect.py dcsam --only plain,redetect

Each of 68 training shapes is the target of one clip, drawn as the demo's are: it stays, roams, comes late, leaves, or
leaves and comes back; one other image is its support. All clips in which the target is absent from some frame are
taken, and every fourth of the others. The held-out shapes of the demo have no part in it. Figures are J&F in percent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from icvos import Support
from icvos.demo.world.plan import SIZES, cast_of, clips, make_clip, make_picture
from icvos.metrics import jf
from icvos.models.lifts import lift
from icvos.models.redetect import RedetectRules
from icvos.models.registry import create, resolve, weight_files

CLIPS, SEED = 68, 11
CHANGES: dict[str, dict[str, Any]] = {
    "redetect": {},
    "every=3": {"every": 3},
    "every=10": {"every": 10},
    "unsure=0.7": {"unsure": 0.7},
    "covered=0.3": {"covered": 0.3},
    "covered=0.7": {"covered": 0.7},
    "gain=0.8": {"gain": 0.8},
    "gain=1.2": {"gain": 1.2},
    "replaced": {"union": False},
}


@dataclass(frozen=True, eq=False)
class Episode:
    """A clip, which serves as the ``Video`` of its frames, with truth and support."""

    frames: Sequence[np.ndarray]
    truth: np.ndarray
    support: Support

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return (self.frames[0].shape[0], self.frames[0].shape[1])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.frames[index]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)


def drawn_episodes() -> list[Episode]:
    """Return the benchmark: first the clips where the target is absent from some frame."""
    size = replace(SIZES["default"], cast="training", clips={"davis": CLIPS, "mose": 0, "lvos": 0})
    names = list(cast_of(size))
    episodes = []
    for index, target in clips(size, SEED, "davis"):
        clip = make_clip(size, SEED, "davis", index, target, extra_named=False)
        drawn = [clip.scene.frame(frame) for frame in range(clip.scene.frames)]
        truth = np.stack([_mask(labels, clip.names, target) for _, labels in drawn])
        number, mask = names.index(target), np.zeros(0, bool)
        while mask.sum() < size.support_min_area:
            picture = make_picture(size, SEED, "val2014", number)
            image, labels = picture.scene.frame(0)
            mask = _mask(labels, picture.names, target)
            number += len(names)
        episodes.append(Episode([frame for frame, _ in drawn], truth, Support(image, mask)))
    absent = [not episode.truth.any(axis=(1, 2)).all() for episode in episodes]
    hard = [episode for episode, each in zip(episodes, absent) if each]
    return [*hard, *[episode for episode, each in zip(episodes, absent) if not each][::4]]


def _mask(labels: np.ndarray, names: Sequence[str], target: str) -> np.ndarray:
    return np.isin(labels, [label for label, name in enumerate(names, 1) if name == target])


def built(name: str, mode: str) -> Any:
    """Return a model with its demo weights; of a mode, "" for none, and image models with SAM 2's tracker."""
    if name == "dcsam":
        if mode not in ("", "redetect"):
            return None
        return create("dcsam.redetect:DCSamRedetect" if mode else "dcsam", demo=True)
    cls = lift(resolve(name), mode)
    return cls(weights=weight_files(cls, None, demo=True))


def measure(model: Any, episodes: Sequence[Episode]) -> str:
    """Return a row of the table: all, frames with the target, empty where it is absent, by kind of clip."""
    scores, seen, empty, kinds = [], [], [], {"late": [], "gone": [], "there": []}  # type: ignore[var-annotated]
    for episode in episodes:
        masks = np.stack([np.asarray(mask) for mask in model.segment([episode.support], episode, seed=0)])
        score = np.mean(jf(masks, episode.truth), axis=0)
        visible = episode.truth.any(axis=(1, 2))
        scores.append(score.mean())
        seen.append(score[visible].mean())
        empty += list(~masks[~visible].any(axis=(1, 2)))
        kinds["there" if visible.all() else "gone" if visible[0] else "late"].append(score.mean())
    figures = [np.mean(scores), np.mean(seen), np.mean(empty), *(np.mean(values) for values in kinds.values())]
    return " | ".join(f"{100 * figure:6.2f}" for figure in figures)


def main() -> None:
    """Draw, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["dcsam", "pfenet", "prototype"])
    parser.add_argument("--only", default="", help="rows, by comma")
    values = parser.parse_args()
    torch.set_num_threads(1)
    episodes = drawn_episodes()
    print(f"{len(episodes)} clips, {sum(map(len, episodes))} frames", flush=True)
    print(f"{'model':10} {'rules':14}    J&F | J&F vis | absent | late | gone | there")
    # Of DC-SAM by itself there are the first row and the rules; the ways of a lift are those of lifted methods.
    modes = {"plain": "", "@first-found": "first-found", "@every=5": "every=5", "@every=10": "every=10"}
    for name in values.models:
        for row in (*modes, *CHANGES):
            if values.only and row not in values.only.split(","):
                continue
            model = built(name, modes.get(row, "redetect"))
            if model is None:
                continue
            if row in CHANGES:
                model.rules = replace(RedetectRules(), **CHANGES[row])
            print(f"{name:10} {row:14} {measure(model, episodes)}", flush=True)


if __name__ == "__main__":
    main()
