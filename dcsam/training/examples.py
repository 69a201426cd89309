"""Where DC-SAM's training examples come from: the drawn world, COCO-20i, PASCAL-5i, COCO, mask tubes."""

from __future__ import annotations

from icvos.data.options import DataOptions
from icvos.data.pairs import part_seed
from icvos.datasets.pairs import PairDataset
from icvos.datasets.tubes import TubeDataset
from icvos.demo.training.examples import DrawnClips, DrawnWorlds
from icvos.demo.world.episodes import TrainingWorld
from icvos.errors import UsageError
from icvos.training.task import Examples

__all__ = ["open_examples"]

DEMO_VALIDATION_EPISODES = 64


def open_examples(
    options: DataOptions, part: str, *, size: int, frames: int, tubes: bool, pairs: bool = False
) -> Examples:
    """Return what gives the examples of a data set, by epoch and index.

    An example is an ``EpisodeSample`` of squares; of ``demo`` in the image stage it is a ``DrawnWorld``. Clips
    (``demo`` and ``mask-tubes``, with ``tubes``) have ``frames`` frames, pairs (of images, tubes with ``pairs``) one.

    Args:
        options: Which data set.
        part: ``train`` or ``validation``. Both have the same classes; validation has images that are held out of the
            training split (of ``demo``, drawn from another seed), so that no choice is made on the test fold (the
            reference selects its model there: Q16).
        size: S, pixels.
        frames: Frames of a clip.
        tubes: Whether the stage trains on clips; else on pairs of images.
        pairs: Of a tube two frames alone, support and query; ``demo`` has clips all the same.

    Raises:
        UsageError: Unknown, a data set that does not go with the stage, or the folder is missing.
        SourceError: Broken raw data.
    """
    data = options.data
    if data == "demo":
        # Validation draws from training families too, from another stream: the held-out ones are for the benchmark.
        world = TrainingWorld.of_layouts(size, part_seed(options, part))
        count = options.length if part == "train" else DEMO_VALIDATION_EPISODES
        return DrawnClips(world, size, count, frames) if tubes else DrawnWorlds(world, size, count)
    if options.root is None:
        raise UsageError(f"data={data} needs the raw data", fix="give --set root=FOLDER")
    if data not in ("coco-20i", "pascal-5i", "coco", "mask-tubes"):
        raise UsageError(f"no training data '{data}'", expected="demo, coco-20i, pascal-5i, coco or mask-tubes")
    if tubes != (data == "mask-tubes"):
        fix = "stage=image goes with coco-20i, pascal-5i or coco; the tube stages with mask-tubes"
        raise UsageError(f"data={data} does not go with this stage", fix=f"{fix}; demo goes with all")
    if data == "mask-tubes":
        return TubeDataset.open(options, part, frames=frames, pairs=pairs, size=size)
    return PairDataset.open(options, part, size=size)
