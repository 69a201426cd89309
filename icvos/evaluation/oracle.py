"""``--oracle first-frame``: a method is told frame 0's ground truth, so that what is left to go wrong is propagation.

The difference between a run and its oracle run is what localisation costs; what the oracle run lacks to 100 is what
propagation costs (the paper's Table XIII, where SAM 2 is given frame 0's mask). Such a run is never ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark, Episode
from icvos.errors import UsageError
from icvos.evaluation.frames import Ahead
from icvos.evaluation.torch_state import episode_seed
from icvos.models.interface import Model
from icvos.models.lifting import first_mask_use, needs_first_mask
from icvos.types import Support, Video

__all__ = ["oracle_key", "oracle_supports"]


def oracle_key(name: str | None, model: Model, benchmark: Benchmark) -> dict[str, Any]:
    """Return what the key of ``run.json`` says of an oracle; nothing for a run without one.

    Raises:
        UsageError: The benchmark or the model is not one for it; or without one the model has nothing to track.
    """
    if name is None:
        if needs_first_mask(model):
            raise UsageError(
                f"'{type(model).info.name}' only tracks: it is told frame 0's mask",
                fix="add --oracle first-frame, or take a benchmark of icvos build-data vos",
            )
        return {}
    if benchmark.kind == "image":
        raise UsageError(f"oracle '{name}' is for videos", where=benchmark.root, expected="a video benchmark")
    return {"oracle": name, "oracle_as": first_mask_use(model)}


def oracle_supports(
    video: Video, truths: Mapping[int, Ahead[np.ndarray]], episodes: Sequence[Episode], seed: int
) -> tuple[list[list[Support]], list[int], list[int | None]]:
    """Return what the model is given in place of the episodes' supports: frame 0 and its ground truth, by category.

    Draws differ in their supports alone, so all draws of a category share one result; its seed is that of the pair.

    Args:
        video: As the model sees it.
        truths: Ground truth by category, at the same size.
        episodes: Of the video.
        seed: Of the run.

    Returns:
        The sets of supports, their seeds, and for each episode the set that it follows; None where the category is
        not on frame 0: there is nothing to track, and the prediction is empty on every frame.
    """
    frame = video[0]
    sets: list[list[Support]] = []
    seeds: list[int] = []
    set_indices: dict[int, int | None] = {}
    for episode in episodes:
        if episode.category in set_indices:
            continue
        mask = truths[episode.category].get(0)
        set_indices[episode.category] = len(sets) if mask.any() else None
        if mask.any():
            sets.append([Support(frame, mask)])
            seeds.append(episode_seed(seed, f"{episode.video}__{episode.category}"))
    return sets, seeds, [set_indices[episode.category] for episode in episodes]
