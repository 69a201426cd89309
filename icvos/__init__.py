"""icvos: build, run, score and rank in-context video object segmentation.

The names below are the public surface; they are imported on first use, so that ``import icvos`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from icvos.version import __version__

if TYPE_CHECKING:
    from icvos.benchmark import Benchmark as Benchmark
    from icvos.demo.benchmarks import load_benchmark as load_benchmark
    from icvos.errors import IcvosError as IcvosError
    from icvos.evaluation.runner import evaluate as evaluate
    from icvos.evaluation.score import score as score
    from icvos.leaderboard.record import open_run as open_run
    from icvos.models.interface import ImageModel as ImageModel
    from icvos.models.interface import VideoModel as VideoModel
    from icvos.segmentation import segment as segment
    from icvos.types import ModelInfo as ModelInfo
    from icvos.types import Prediction as Prediction
    from icvos.types import Support as Support
    from icvos.types import Video as Video
    from icvos.types import WeightInfo as WeightInfo

_PLACES = {
    "Benchmark": "icvos.benchmark",
    "IcvosError": "icvos.errors",
    "ImageModel": "icvos.models.interface",
    "ModelInfo": "icvos.types",
    "Prediction": "icvos.types",
    "Support": "icvos.types",
    "Video": "icvos.types",
    "VideoModel": "icvos.models.interface",
    "WeightInfo": "icvos.types",
    "evaluate": "icvos.evaluation.runner",
    "load_benchmark": "icvos.demo.benchmarks",
    "open_run": "icvos.leaderboard.record",
    "score": "icvos.evaluation.score",
    "segment": "icvos.segmentation",
}

__all__ = [
    "Benchmark",
    "IcvosError",
    "ImageModel",
    "ModelInfo",
    "Prediction",
    "Support",
    "Video",
    "VideoModel",
    "WeightInfo",
    "__version__",
    "evaluate",
    "load_benchmark",
    "open_run",
    "score",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'icvos' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
