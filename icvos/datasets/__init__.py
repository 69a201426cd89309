"""Map-style PyTorch data sets: episodes of a built benchmark, few-shot pairs, mask tubes (extra ``torch``).

    from icvos.datasets import EpisodeDataset, collate

    episodes = EpisodeDataset("BENCHMARK", frames=4, size=256)
    loader = torch.utils.data.DataLoader(episodes, batch_size=2, num_workers=2, collate_fn=collate)

An item is a pure function of the data set's seed, the epoch (``set_epoch``) and the index, whoever reads it: this
process, or forked or spawned workers. It is an ``EpisodeSample``; ``collate`` joins samples to an ``EpisodeBatch``.
"""

from __future__ import annotations

from icvos.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtraError("torch", "torch", "icvos.datasets") from None

from icvos.data.options import DataOptions
from icvos.datasets.base import EpochDataset
from icvos.datasets.episodes import EpisodeDataset, LazyFrames
from icvos.datasets.fields import TensorFields
from icvos.datasets.pairs import PairDataset
from icvos.datasets.samples import EpisodeBatch, EpisodeList, EpisodeSample, SupportSample, collate, stack
from icvos.datasets.tubes import TubeDataset

__all__ = [
    "DataOptions",
    "EpisodeBatch",
    "EpisodeDataset",
    "EpisodeList",
    "EpisodeSample",
    "EpochDataset",
    "LazyFrames",
    "PairDataset",
    "SupportSample",
    "TensorFields",
    "TubeDataset",
    "collate",
    "stack",
]
