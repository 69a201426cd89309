"""J, F and F_dot as MOSEv2's own scorer gives them: ``pytest … --golden-dir DIR``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shared_data import goldens

from icvos.metrics import frames
from icvos.metrics.mosev2 import object_radius
from icvos.protocols import PROTOCOLS


def test_pairs_of_masks(request: pytest.FixtureRequest) -> None:
    """J, F and F_dot of pairs of masks, by the compiled engine and by numpy, from masks and from label maps."""
    folder = goldens(request.config, "mosev2")
    said = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    masks = np.load(folder / "pairs.npz", allow_pickle=False)
    measure = PROTOCOLS["mosev2"].measure
    assert measure.columns == ("J", "F", "F_dot") and len(said["pairs"]) >= 30
    for pair in said["pairs"]:
        height, width = pair["size"]
        truth, predicted = (
            np.unpackbits(masks[f"{kind}_{pair['pair']:02d}"], axis=1)[:height, :width].astype(bool)
            for kind in ("gt", "pred")
        )
        expected = pytest.approx((pair["J"], pair["F"], pair["F_dot"]), rel=0, abs=1e-9)
        assert measure(predicted, truth) == expected, pair["pair"]
        # Another object beside it, or beneath it, moves nothing.
        maps = [
            np.where(mask, 7, np.where(np.arange(width) % 5 < 2, 3, 0)).astype(np.uint8) for mask in (predicted, truth)
        ]
        by_labels = measure.of_labels(*maps, [3, 7])
        assert tuple(column[1] for column in by_labels) == expected, pair["pair"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frames, "_compiled", lambda: None)
            assert measure(predicted, truth) == expected, pair["pair"]
        radius = object_radius(pair["area_gt"], height, width)
        assert radius == pytest.approx(pair["radius_F_dot"], rel=0, abs=1e-9)
