"""Golden toys: one a protocol, the same bytes each time, figures by a scorer of its own, traps that move them."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from board_runs import icvos
from shared_data import shared

from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.evaluation import toys
from icvos.evaluation.toys import score_toy, toy_folder, toy_names
from icvos.masks import read_mask
from icvos.metrics import jf
from icvos.metrics.definition import boundary_radius, mask_counts
from icvos.metrics.device import counts_eager
from icvos.metrics.measures import MOSEV2
from icvos.metrics.mosev2 import adaptive_counts
from icvos.metrics.table import METRICS
from icvos.protocols import PROTOCOLS, get_protocol
from icvos.view import View

pytest.importorskip("scipy")
from tools import plain_scorer
from tools.toys import TOYS, write_toys

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "check-a-scorer.md"
Pair = tuple[np.ndarray, np.ndarray, dict]


def has_benchmark(name: str) -> bool:
    return (toy_folder(name) / "benchmark").is_dir()


def expected(name: str) -> dict:
    return json.loads((toy_folder(name) / "expected.json").read_text(encoding="utf-8"))


def pairs(name: str) -> Iterator[Pair]:
    """Predicted and true mask, (H, W) bool, of every scored frame of a toy, with what is expected of it."""
    folder, protocol = toy_folder(name), get_protocol(name)
    view = View(load_benchmark(folder / "benchmark"), protocol) if has_benchmark(name) else None
    for identity, frames in expected(name)["frames"].items():
        for stem, frame in frames.items():
            if view is None:
                sequence, _, number = identity.partition("__")
                predicted, truth = (
                    read_mask(folder / p / sequence / f"{stem}.png") for p in ("predictions", "ground-truth")
                )
                yield predicted == int(number), truth == int(number), frame
            else:
                episode = view.benchmark.episode(identity)
                predicted = read_mask(folder / "predictions" / identity / f"{stem}.png")
                truth = view.truth(episode.video, episode.category)[int(stem)]
                yield view.resize_mask(predicted) > 0, truth, frame


def test_every_protocol_has_its_toy() -> None:
    assert set(toy_names()) == set(PROTOCOLS) == set(TOYS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_same_bytes_are_written_again(name: str, tmp_path: Path) -> None:
    write_toys(tmp_path, [name])
    shipped, again = (
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (toy_folder(name), tmp_path / name)
    )
    assert list(filter(lambda path: shipped.get(path) != again.get(path), sorted({*shipped, *again}))) == []
    assert sum(map(len, shipped.values())) < 64_000


def test_the_second_scorer_shares_nothing_with_icvos() -> None:
    tree = ast.parse(Path(plain_scorer.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in modules if str(name).split(".")[0] in ("icvos", "baselines", "dcsam", "tools")]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_icvos_agrees_with_every_figure(name: str) -> None:
    scored = score_toy(name)
    assert scored.differences == ()
    known = expected(name)
    # Nothing that a result says is left out of the comparison.
    summary = {key: value for key, value in scored.run.summary.items() if value is not None}
    assert summary.items() <= known["summary"].items()
    metrics = [m.name for m in METRICS.values() if scored.run.rules.has(m) and m.stored and m.views]
    assert {*metrics} <= summary.keys()
    tables = {key for key, table in scored.run.result.items() if key.startswith("per_") and table}
    assert tables <= known.keys()
    assert scored.figures > 50


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.kind != "image"])
def test_every_frame_is_the_same_by_each_engine(name: str) -> None:
    measure = get_protocol(name).measure
    for predicted, truth, frame in pairs(name):
        assert measure(predicted, truth) == tuple(frame[column] for column in measure.columns)
        if measure is MOSEV2:
            assert list(adaptive_counts(predicted, truth)) == frame["counts"]
            continue
        radius = boundary_radius(*truth.shape)
        count = len(frame["counts"])
        assert list(mask_counts(predicted, truth, radius))[:count] == frame["counts"]
        eager = counts_eager(torch.from_numpy(predicted)[None], torch.from_numpy(truth)[None], radius)
        assert eager[0].tolist()[:count] == frame["counts"]


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.measure.on_device])
def test_every_frame_is_the_same_on_a_gpu(name: str) -> None:
    for predicted, truth, frame in pairs(name):
        on_gpu = (torch.from_numpy(np.ascontiguousarray(mask)).cuda() for mask in (predicted, truth))
        assert jf(*on_gpu) == (frame["J"], frame["F"])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_mistake_moves_a_headline(name: str) -> None:
    known = expected(name)
    for text, figures in known["mistakes"].items():
        assert max(abs(value - known["summary"][figure]) for figure, value in figures.items()) > 0.05, text
    # No two mistakes have one result: what a scorer prints names the one it makes.
    rounded = [tuple(round(value, 2) for value in figures.values()) for figures in known["mistakes"].values()]
    assert len(set(rounded)) == len(rounded)


@pytest.mark.parametrize("name", filter(has_benchmark, PROTOCOLS))
def test_the_benchmarks_are_whole(name: str) -> None:
    assert check_benchmark(toy_folder(name) / "benchmark") == []


def test_the_traps_of_frames_are_there() -> None:
    """Absent and right, absent and wrong, one pixel, a filled frame, nothing predicted; frames that are no square."""
    for name in ("native", "paper", "davis-2017"):
        cases = [(int(p.sum()), int(t.sum()), t.size) for p, t, _ in pairs(name)]
        assert any(p == t == 0 for p, t, _ in cases) and any(p > 0 == t for p, t, _ in cases), name
        assert any(t == size for _, t, size in cases) and any(p == 0 < t for p, t, _ in cases), name
    shapes = {truth.shape for name in ("native", "davis-2017") for _, truth, _ in pairs(name)}
    assert {(37, 53), (61, 131), (19, 33)} <= shapes
    assert any(truth.sum() == 1 for name in ("native", "davis-2017") for _, truth, _ in pairs(name))


def test_the_second_scorer_gives_the_figures_of_public_code() -> None:
    """J and F by the official DAVIS code, few-shot counts by DC-SAM's: on masks of real and of random shapes."""
    stored = np.load(shared("parity_end_to_end", "i_scores.npz"))

    def masks(kind: str, index: int) -> np.ndarray:
        size = 512 * 512 // 8
        packed = stored[f"in_{kind}_bits"][index * size : (index + 1) * size]
        return np.unpackbits(packed).reshape(512, 512).astype(bool)

    rules = plain_scorer.Rules("video")
    for index in range(0, len(stored["out_J"]), 3):
        frame = plain_scorer.frame_values(masks("jf_pred", index), masks("jf_truth", index), rules)
        assert (frame["J"], frame["F"]) == (stored["out_J"][index], stored["out_F"][index])
    for data in ("coco", "pascal"):
        for index, counts in enumerate(stored[f"out_{data}_inter_union_fg_bg"].tolist()):
            predicted, truth, void = (masks(f"{data}_{kind}", index) for kind in ("pred", "truth", "ignore"))
            assert plain_scorer.pixel_counts(predicted, truth, ~void) == counts


def test_the_command_says_that_all_agrees(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert icvos("score", "--toy", "davis-2017") == 0
    said = capsys.readouterr().out
    page = PAGE.read_text(encoding="utf-8")
    (agrees,) = (line for line in page.splitlines() if line.startswith("agrees: "))
    assert "protocol davis-2017" in said and agrees in said
    assert str(toy_folder("davis-2017")) in said
    out = tmp_path / "copy"
    assert icvos("score", "--toy", "fss-native", "--out", out, "--workers", 2) == 0
    assert f"toy: {out}" in capsys.readouterr().out
    assert (out / "README.md").read_bytes() == (toy_folder("fss-native") / "README.md").read_bytes()
    assert icvos("score", "--toy", "native", "--out", out) == 2
    assert "something is there already" in capsys.readouterr().err


def test_the_command_says_which_figure_differs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toys.FOLDER, tmp_path / "toys")
    monkeypatch.setattr(toys, "FOLDER", tmp_path / "toys")
    folder = tmp_path / "toys" / "davis-2017"
    # A frame's mask that is another one moves that frame's figures, its object's and the whole's.
    shutil.copy(folder / "predictions" / "cup" / "00002.png", folder / "predictions" / "cup" / "00001.png")
    assert icvos("score", "--toy", "davis-2017") == 1
    said = capsys.readouterr().out
    assert "differs: summary J: " in said and "differs: frames cup__1 00001 J: 0." in said
    page = PAGE.read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if line.startswith("differs: ")]
    assert shown and set(shown) <= set(said.splitlines())
    assert "frames cup__1 00002" not in said and "frames boats__1" not in said and "agrees" not in said
    # The least step of a number is a difference, and so is a row that nobody expects.
    shutil.copytree(toy_folder("fss-paper"), tmp_path / "other")
    path = tmp_path / "toys" / "fss-paper" / "expected.json"
    known = expected("fss-paper")
    known["summary"]["FB_IoU"] = float(np.nextafter(known["summary"]["FB_IoU"], 100))
    del known["per_fold"]["1"]
    path.write_text(json.dumps(known))
    assert icvos("score", "--toy", "fss-paper") == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("differs")]
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["summary FB_IoU", "per_fold 1"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--toy", "davis-2107"), "did you mean 'davis-2017'"),
        (("masks", "--toy", "native"), "--toy goes without PREDICTIONS"),
        (("--toy", "native", "--benchmark", "demo"), "--toy goes without --benchmark"),
        (("--toy", "native", "--protocol", "paper"), "--toy goes without --protocol"),
        ((), "Missing argument 'PREDICTIONS'"),
    ],
)
def test_wrong_words_get_a_line(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("score", *words) == 2
    assert says in capsys.readouterr().err


def test_the_page_names_every_toy_and_its_table_every_mistake() -> None:
    from tools.site import TABLES

    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in page and f"`icvos score --toy {name}`" in TABLES["toys"]() for name in PROTOCOLS)
    assert all(trap.text in TABLES["toy-mistakes"]() for toy in TOYS.values() for trap in toy.traps)
