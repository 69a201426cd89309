"""Figures that the public scorers of other benchmarks print, by family: ``pytest … --golden-dir DIR``.

DIR (by default ``../shared/benchmarks``) holds a folder for each family. Its reader here asserts what the folder says;
a family without a reader is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shared_data import SHARED

from icvos.metrics import frames
from icvos.metrics.mosev2 import object_radius
from icvos.protocols import PROTOCOLS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" in metafunc.fixturenames:
        folder = golden_dir(metafunc.config)
        there = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
        metafunc.parametrize("family", sorted(there | set(READERS)))


def golden_dir(config: pytest.Config) -> Path:
    return Path(config.getoption("--golden-dir") or SHARED / "benchmarks")


def test_public_code_gives_the_same(family: str, request: pytest.FixtureRequest) -> None:
    folder = golden_dir(request.config) / family
    if family not in READERS:
        pytest.skip(f"{family}: not built yet")
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which is not part of the repository")
    READERS[family](folder)


def mosev2(folder: Path) -> None:
    """J, F and F_dot of pairs of masks, by the compiled engine and by numpy, from masks and from label maps."""
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


READERS: dict[str, Callable[[Path], None]] = {"mosev2": mosev2}
