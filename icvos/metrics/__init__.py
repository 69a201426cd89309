"""J and F, exact, for masks and label maps on any device, and what is summed up from them."""

from icvos.metrics.fewshot import FewShotScore, fss_counts
from icvos.metrics.formulas import decay, recall
from icvos.metrics.frames import (
    SlowEngineWarning,
    engine,
    jf,
    jf_labels,
)
from icvos.metrics.video import VideoScore

__all__ = [
    "FewShotScore",
    "SlowEngineWarning",
    "VideoScore",
    "decay",
    "engine",
    "fss_counts",
    "jf",
    "jf_labels",
    "recall",
]
