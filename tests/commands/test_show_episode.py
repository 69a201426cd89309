"""icvos show-episode: the picture of an episode, of DC-SAM with what it looked at, of other models without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import write_image_benchmark, write_video_benchmark
from tiny_weights import tiny_dcsam_file

from dcsam.plugin import DCSam
from icvos import cli
from icvos.models.clips import Clip, support
from icvos.models.interface import Panel
from icvos.report.panels import draw


def show(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as done:
        cli.main(["show-episode", *(str(a) for a in arguments)])
    shown = capsys.readouterr()
    assert done.value.code == code, shown.out + shown.err
    return shown.out + shown.err


def test_a_video_episode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = write_video_benchmark(tmp_path / "bench", videos=1)
    given = ("--benchmark", bench, "--weights", f"dcsam={tiny_dcsam_file(tmp_path)}")
    out = show(capsys, "tiny__v0__1__d1", *given, "--frame", 3, "--out", tmp_path / "one.png")
    assert "result, frame 0: J " in out and "result, frame 3: J " in out
    picture = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))
    assert picture.shape[0] > 500 and picture.shape[1] > 1000 and picture.std() > 20
    assert "no frame 77" in show(capsys, *given, "--frame", 77, code=2)
    assert "tiny__v0__1__d7" in show(capsys, "tiny__v0__1__d7", *given, code=2)


def test_a_category_may_stand_by_its_name_and_the_id_keeps_its_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = write_video_benchmark(tmp_path / "bench", videos=1)
    monkeypatch.chdir(tmp_path)
    out = show(capsys, "tiny__v0__person__d1", "--benchmark", bench, "--model", "support-mask")
    assert "picture: tiny__v0__1__d1.png" in out and Path("tiny__v0__1__d1.png").is_file()


def test_an_image_episode_and_a_model_that_explains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = write_image_benchmark(tmp_path / "bench")
    given = ("--benchmark", bench, "--weights", f"dcsam={tiny_dcsam_file(tmp_path)}")
    assert "result: J " in show(capsys, *given, "--out", tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    assert "is a model of videos" in show(capsys, "--benchmark", bench, "--model", "support-mask", code=2)
    bench = write_video_benchmark(tmp_path / "videos", videos=1)
    # Without --out it is named by the episode; the whole support mask as prediction needs no weights.
    out = show(capsys, "--benchmark", bench, "--model", "support-mask")
    place = Path(out.split("picture: ")[1].strip())
    assert place.is_file() and "result, frame 0: J " in out


def test_what_dcsam_looked_at(tmp_path: Path) -> None:
    model = DCSam(weights={"dcsam": tiny_dcsam_file(tmp_path)})
    shown = [support(seed=100), support(seed=105)]
    panels = {panel.title: panel for panel in model.explain(shown, Clip(1)[0], video=True)}
    assert list(panels)[:4] == [
        "first stage's attention on the support 1",
        "first stage's attention on the support 2",
        "prior mask",
        "prior mask of the rest",
    ]
    grid = panels["prior mask"].heat
    assert grid is not None and grid.shape == (8, 8) and grid.min() >= -1 and grid.max() <= 1
    for title in ("positive prompts' attention", "negative prompts' attention"):
        heat = panels[title].heat
        # Weights over all places of the query: they sum to one.
        assert heat is not None and heat.shape == (8, 8) and heat.sum() == pytest.approx(1, abs=1e-3)
    coarse = next(panel for title, panel in panels.items() if title.startswith("coarse mask"))
    assert (
        coarse.heat is not None and coarse.heat.shape == (64, 64) and 0 <= coarse.heat.min() <= coarse.heat.max() <= 1
    )


def test_empty_and_full_masks_are_drawn(tmp_path: Path) -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    for mask in (np.zeros((20, 30), bool), np.ones((20, 30), bool)):
        draw([Panel("flat", image, heat=np.zeros((4, 4)), mask=mask, outline=mask)], tmp_path / "a.png", title="t")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_benchmark_that_changed_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = write_video_benchmark(tmp_path / "bench", videos=1)
    frame = bench / "videos/tiny__v0/JPEGImages/00000.jpg"
    frame.write_bytes(frame.read_bytes()[:-3] + b"\n\n\n")
    assert "file changed since the benchmark was built" in show(
        capsys, "--benchmark", bench, "--model", "support-mask", code=2
    )
