"""benchmarks/build.py, small: each builder builds from what is generated, and the floor decodes the masks it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from board_runs import icvos

from icvos.errors import UsageError
from icvos.masks import read_mask

with pytest.MonkeyPatch.context() as _path:
    # A script finds the file beside it.
    _path.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    from benchmarks import build

SMALL = {
    "FSS_SIZE": (32, 32),
    "COCO_SIZE": (60, 80),
    "DAVIS_SIZE": (60, 106),
    "HD_SIZE": (72, 128),
    "CLIP": 3,
    "SACO_FRAMES": 3,
    "SACO_LIST": 30,
}
SIZES = {
    "ic-vos": 1,
    "youtube-fsvos": 48,
    "youtube-fsvos-danet": 48,
    "fss-1000": 3,
    "lvis-92i": 40,
    "lvis-92i-matcher": 40,
    "coco-20i-matcher": 700,
    "saco-ic": 7,
}


def test_all_builders_are_tried() -> None:
    assert {*SIZES, "lvis-92i-large"} == set(build.BUILDERS)  # of which memory alone is measured


@pytest.mark.parametrize("name", SIZES)
def test_the_floor_decodes_what_is_built(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant, value in SMALL.items():
        monkeypatch.setattr(build.raw_data, constant, value)
    builder, root, out = build.BUILDERS[name], tmp_path / "raw", tmp_path / "out"
    assert builder.decode is not None
    builder.write(root, SIZES[name])
    assert icvos(*builder.arguments(root, out, 1)) == 0
    decoded = {(mask.shape, mask.tobytes()) for mask in builder.decode(root, out)}
    # The supports of IC-VOS are few, and not in the floor.
    built = [read_mask(path) for path in out.glob("videos/**/*.png" if name == "ic-vos" else "**/*.png")]
    assert {(mask.shape, mask.tobytes()) for mask in built if mask.any()} == decoded


@pytest.mark.parametrize("size", ["-1", "0"])
def test_no_size_is_refused(size: str) -> None:
    with pytest.raises(UsageError, match=f"--size is {size}; expected 1 or more"):
        build.main(["--of", "fss-1000", "--size", size])


def test_the_script_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    build.main(["--of", "fss-1000", "--size", "2"])
    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    assert 0 < figures["of_floor"] < 1 and min(figures["peak_MiB"], figures["worker_peak_MiB"]) > 10
    assert "2 classes, 83 files of which 40 masks" in printed
