"""Colour back-projection: how much likelier a pixel's colour is on the support's thing than beside it.

After Swain and Ballard, "Color Indexing" (IJCV 1991), as a likelihood ratio of two smoothed histograms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support
from icvos.errors import UsageError

__all__ = ["Histogram"]


class Histogram(ImageModel):
    """Segments pixels whose colour is likelier on the support's foreground than on its background.

    Args:
        bins: Bins of each Lab channel.
        sigma: Standard deviation, in bins, of the Gaussian that smooths the histograms.
        blur: Side in pixels of the box over which the log ratio of a frame is averaged; odd.
        threshold: Log likelihood ratio above which a pixel is foreground.
    """

    info = ModelInfo(
        name="histogram", version="1", paper="Swain and Ballard, Color Indexing, IJCV 1991", licence="Apache-2.0"
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: dict | None = None,
        bins: int = 16,
        sigma: float = 1.0,
        blur: int = 9,
        threshold: float = 0.0,
    ) -> None:
        super().__init__(device=device, weights=weights)
        if not 2 <= bins <= 64 or blur < 1 or blur % 2 == 0 or sigma < 0:
            raise UsageError("an option of 'histogram' is out of range", expected="bins 2..64, blur odd, sigma >= 0")
        self.bins, self.sigma, self.blur, self.threshold = bins, sigma, blur, threshold

    def _index(self, image: np.ndarray) -> np.ndarray:
        import cv2

        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.int32) * self.bins // 256
        return (lab[..., 0] * self.bins + lab[..., 1]) * self.bins + lab[..., 2]

    def fit(self, supports: Sequence[Support], *, seed: int) -> np.ndarray:
        """Return the log likelihood ratio of each colour, (bins**3,) float32; zero without any foreground."""
        counts = np.zeros((2, self.bins**3))
        for support in supports:
            index = self._index(support.image)
            known = np.ones(support.size, bool) if support.ignore is None else ~support.ignore
            for side, mask in enumerate((~support.mask & known, support.mask & known)):
                counts[side] += np.bincount(index[mask], minlength=self.bins**3)
        if not counts.sum(axis=1).all():
            return np.full(self.bins**3, -1.0 if counts[1].sum() == 0 else 1.0, np.float32)
        smooth = [_smooth((c / c.sum()).reshape((self.bins,) * 3), self.sigma).ravel() + 1e-6 for c in counts]
        return np.log(smooth[1] / smooth[0]).astype(np.float32)

    def predict(self, fitted: np.ndarray, image: np.ndarray) -> Prediction:
        import cv2

        ratio = cv2.blur(fitted[self._index(image)], (self.blur, self.blur))
        return Prediction(ratio > self.threshold, score=ratio)


def _smooth(histogram: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing of a cubic histogram along its three axes; what leaves at an end is given back."""
    if sigma == 0:
        return histogram
    places = np.arange(len(histogram))
    kernel = np.exp(-((places[:, None] - places[None, :]) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum(axis=0)
    for _ in range(3):
        # The last axis is smoothed and comes first: three times, and all are done and in order again.
        histogram = np.tensordot(kernel, histogram, axes=(1, 2))
    return histogram
