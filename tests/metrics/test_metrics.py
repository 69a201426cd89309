"""J and F against a plain reference, exactly; official numbers; recall, decay and few-shot sums."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_cases import cases
from shared_data import shared

from icvos.errors import UsageError
from icvos.masks import read_mask
from icvos.metrics import FewShotScore, VideoScore, decay, engine, frames, fss_counts, jf, jf_labels, recall
from icvos.metrics.device import counts_eager
from icvos.metrics.formulas import average, total


def plain(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """J and F written once more, straight from their definitions: loops over pixels and a full disk."""
    height, width = p.shape
    inter, union = int((p & t).sum()), int((p | t).sum())
    j = inter / union if union else 1.0
    radius = math.ceil(0.008 * np.linalg.norm((height, width)))

    def edges(m: np.ndarray) -> np.ndarray:
        out = np.zeros_like(m)
        for y in range(height):
            for x in range(width):
                right = m[y, min(x + 1, width - 1)]
                below = m[min(y + 1, height - 1), x]
                across = m[y + 1, x + 1] if y + 1 < height and x + 1 < width else m[y, x]
                out[y, x] = m[y, x] != right or m[y, x] != below or m[y, x] != across
        return out

    def grown(e: np.ndarray) -> np.ndarray:
        out = np.zeros_like(e)
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if dy * dy + dx * dx <= radius * radius:
                    ys, xs = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
                    yt, xt = slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0))
                    if abs(dy) < height and abs(dx) < width:
                        out[ys, xs] |= e[yt, xt]
        return out

    ep, et = edges(p), edges(t)
    count_p, count_t = int(ep.sum()), int(et.sum())
    if count_p == 0 and count_t == 0:
        return j, 1.0
    if count_p == 0 or count_t == 0:
        return j, 0.0
    precision, sensitivity = int((ep & grown(et)).sum()) / count_p, int((et & grown(ep)).sum()) / count_t
    total = precision + sensitivity
    return j, 0.0 if total == 0 else 2 * precision * sensitivity / total


def quick(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """The same with vectorised edges and OpenCV's dilation, for larger masks."""
    import cv2

    height, width = p.shape
    union = int((p | t).sum())
    radius = math.ceil(0.008 * np.linalg.norm((height, width)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)

    def edges(m: np.ndarray) -> np.ndarray:
        e = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        out = (m != e[:-1, 1:]) | (m != e[1:, :-1]) | (m != e[1:, 1:])
        out[-1, :-1] = m[-1, :-1] != m[-1, 1:]
        out[:-1, -1] = m[:-1, -1] != m[1:, -1]
        out[-1, -1] = False
        return out

    ep, et = edges(p), edges(t)
    a, b = int(ep.sum()), int(et.sum())
    j = int((p & t).sum()) / union if union else 1.0
    if not a or not b:
        return j, float(a == b)
    pr = int((ep & (cv2.dilate(et.astype(np.uint8), disk) > 0)).sum()) / a
    re = int((et & (cv2.dilate(ep.astype(np.uint8), disk) > 0)).sum()) / b
    return j, 0.0 if pr + re == 0 else 2 * pr * re / (pr + re)


@pytest.fixture(params=["c", "numpy"])
def each_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(frames, "_compiled", lambda: None)
    elif engine() != "c":
        pytest.skip("the compiled engine is not built here (no C compiler)")
    return str(request.param)


def test_reference_is_the_reference() -> None:
    for p, t in cases(60, 24, 5):
        assert plain(p, t) == quick(p, t)


def test_thousands_of_cases_have_no_difference(each_engine: str) -> None:
    small = cases(1400, 22, 1)
    for p, t in small[:300]:
        assert jf(p, t) == plain(p, t)
    for p, t in [*small[300:], *cases(600, 90, 2)]:
        assert jf(p, t) == quick(p, t)


def test_large_masks(each_engine: str) -> None:
    generator = np.random.default_rng(3)
    for number in range(12):
        h, w = ((480, 854), (480, 910), (1080, 1920))[number % 3 if number < 6 else 0]
        coarse = generator.random((h // 60 + 1, w // 60 + 1)) < 0.4
        t = np.kron(coarse, np.ones((60, 60), bool))[:h, :w]
        p = np.roll(t, (3 * number, -2 * number), (0, 1)) ^ (generator.random((h, w)) < 0.001 * (number % 2))
        assert jf(p, t) == quick(p, t)


def test_label_maps_equal_masks_one_by_one(each_engine: str) -> None:
    generator = np.random.default_rng(4)
    for number in range(150):
        h, w = (int(v) for v in generator.integers(1, 60, 2))
        ids = [1, 2, 5, 254][: 1 + number % 4]
        values = np.array([0, *ids, 255], np.uint8)
        p, t = values[generator.integers(0, len(values), (2, h // 4 + 1, w // 4 + 1))]
        p, t = (np.kron(m, np.ones((4, 4), np.uint8))[:h, :w] for m in (p, t))
        j, f = jf_labels(p, t, ids)
        for place, number_ in enumerate(ids):
            assert (j[place], f[place]) == jf(p == number_, t == number_)
    wide = np.array([[300, 0], [0, 2]], np.uint16)
    assert jf_labels(wide, wide, [300, 2])[0].tolist() == [1, 1]
    assert jf_labels(wide, wide, [])[0].tolist() == []


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_properties(height: int, width: int, seed: int, density: float) -> None:
    generator = np.random.default_rng(seed)
    p, t = generator.random((2, height, width)) < density
    j, f = jf(p, t)
    assert 0 <= j <= 1 and 0 <= f <= 1
    assert jf(t, p) == (j, f)
    assert jf(t, t) == (1.0, 1.0)
    batch = jf(np.stack([p, t, p]), np.stack([t, t, t]))
    assert batch[0].tolist() == [j, 1.0, j] and batch[1].tolist() == [f, 1.0, f]
    strided = np.zeros((height, 2 * width), bool)
    strided[:, ::2] = p
    assert jf(strided[:, ::2], t) == (j, f)
    assert jf(p.astype(np.int64), t.astype(np.uint8)) == (j, f)
    counts = counts_eager(torch.from_numpy(p)[None], torch.from_numpy(t)[None], 3)
    assert counts[0].tolist() == list(frames.definition.mask_counts(p, t, 3))


def test_translation_inside_leaves_the_scores() -> None:
    p, t = np.zeros((2, 60, 70), bool)
    p[10:25, 12:30], t[12:28, 10:29] = True, True
    scores = jf(p, t)
    for shift in ((5, 0), (0, 7), (20, 25)):
        assert jf(np.roll(p, shift, (0, 1)), np.roll(t, shift, (0, 1))) == scores


def test_ignore_takes_pixels_out_of_both() -> None:
    generator = np.random.default_rng(0)
    p, t, ignore = generator.random((3, 20, 30)) < 0.4
    assert jf(p, t, ignore=ignore) == jf(p & ~ignore, t & ~ignore)
    torch_scores = jf(torch.from_numpy(p), torch.from_numpy(t), ignore=torch.from_numpy(ignore))
    assert torch_scores == jf(p, t, ignore=ignore)


def test_torch_on_the_cpu_is_the_same() -> None:
    generator = np.random.default_rng(0)
    p, t = generator.random((2, 5, 33, 47)) < 0.3
    for mine, theirs in zip(jf(torch.from_numpy(p), torch.from_numpy(t)), jf(p, t)):
        assert mine.dtype == torch.float64 and mine.tolist() == theirs.tolist()
    labels = torch.from_numpy(generator.integers(0, 4, (2, 20, 30)).astype(np.uint8))
    j, f = jf_labels(labels[0], labels[1], [1, 2, 3])
    expected = jf_labels(labels[0].numpy(), labels[1].numpy(), [1, 2, 3])
    assert j.tolist() == expected[0].tolist() and f.tolist() == expected[1].tolist()


INTERPRETED = """
import numpy as np, torch
from mask_cases import cases
from icvos.metrics.definition import boundary_radius
from icvos.metrics.device import counts_eager
from icvos.metrics.triton_kernels import counts_triton
for p, t in cases(48, 40, 11):
    pair = torch.from_numpy(p)[None], torch.from_numpy(t)[None]
    for radius in (boundary_radius(*p.shape), 5):
        assert counts_triton(*pair, radius).tolist() == counts_eager(*pair, radius).tolist(), p.shape
"""


@pytest.mark.slow
def test_gpu_kernels_interpreted_on_the_cpu() -> None:
    # Triton's interpreter is chosen when the kernels are read: a process of its own.
    pytest.importorskip("triton")
    paths = os.pathsep.join((str(Path(__file__).parents[1] / "helpers"), str(Path(__file__).parents[2])))
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, check=True, timeout=250)


@pytest.mark.gpu
def test_gpu_is_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    from icvos.metrics.device import _counts

    for p, t in [*cases(400, 60, 7), *cases(60, 700, 8)]:
        gpu = jf(torch.from_numpy(p).cuda(), torch.from_numpy(t).cuda())
        assert gpu == jf(p, t)
        pair = torch.from_numpy(p).cuda()[None], torch.from_numpy(t).cuda()[None]
        radius = frames.definition.boundary_radius(*p.shape)
        assert _counts(*pair).tolist() == counts_eager(*pair, radius).tolist()
    generator = np.random.default_rng(1)
    for size in ((480, 854), (1080, 1920), (2160, 3840)):
        coarse = generator.random((4, size[0] // 60, size[1] // 60 + 1)) < 0.4
        t = np.stack([np.kron(c, np.ones((60, 60), bool))[: size[0], : size[1]] for c in coarse])
        p = np.roll(t, (9, -4), (1, 2)) ^ (generator.random(t.shape) < 0.0005)
        mine = jf(torch.from_numpy(p).cuda(), torch.from_numpy(t).cuda())
        theirs = jf(p, t)
        assert mine[0].tolist() == theirs[0].tolist() and mine[1].tolist() == theirs[1].tolist()


def test_official_numbers(each_engine: str) -> None:
    root = shared("real", "osvos")
    rows = [line.split("\t") for line in (root / "expected.tsv").read_text().splitlines()[1:]]
    assert len(rows) == 6
    for name, count, j_official, f_official in rows:
        paths = sorted((root / "ground_truth" / name).glob("*.png"))[1:-1]
        assert len(paths) == int(count)
        if each_engine == "numpy":
            paths = paths[:: max(len(paths) // 12, 1)]
        pairs = [(read_mask(root / "predictions" / name / p.name) > 0, read_mask(p) > 0) for p in paths]
        scores = np.array([jf(*pair) for pair in pairs])
        if each_engine == "numpy":
            # The readable fallback is slow: a part of the frames, against the other reference.
            assert scores.tolist() == [list(quick(*pair)) for pair in pairs]
            continue
        assert f"{scores[:, 0].mean():.4f}" == j_official and f"{scores[:, 1].mean():.4f}" == f_official
        as_torch = [jf(torch.from_numpy(p), torch.from_numpy(t)) for p, t in pairs[:5]]
        assert as_torch == [tuple(row) for row in scores[:5].tolist()]


def test_fallback_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import icvos

    monkeypatch.setitem(sys.modules, "icvos._engine", None)
    monkeypatch.delattr(icvos, "_engine", raising=False)
    frames._compiled.cache_clear()
    try:
        with pytest.warns(frames.SlowEngineWarning, match="more slowly"):
            assert jf(np.ones((3, 3), bool), np.ones((3, 3), bool)) == (1.0, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert engine() == "numpy"
    finally:
        frames._compiled.cache_clear()


def test_conventions() -> None:
    empty, full = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    assert jf(empty, empty) == (1.0, 1.0)
    assert jf(full, empty) == (0.0, 1.0)  # a full mask is not empty, its boundary is
    half = full.copy()
    half[:4] = False
    assert jf(half, empty) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("p", "t", "words"),
    [
        (np.zeros((3, 4), bool), np.zeros((4, 3), bool), "same shape"),
        (np.full((3, 3), 2, np.uint8), np.zeros((3, 3), np.uint8), "0 and 1"),
        (np.zeros((3, 3)), np.zeros((3, 3)), "float64"),
        (np.zeros(3, bool), np.zeros(3, bool), "H, W"),
        (torch.zeros(3, 3, dtype=torch.bool), np.zeros((3, 3), bool), "one kind"),
    ],
)
def test_bad_masks_are_answered(p: object, t: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        jf(p, t)


def test_bad_objects_are_answered() -> None:
    labels = np.zeros((3, 3), np.uint8)
    for ids in ([0], [1, 1], [70000]):
        with pytest.raises(UsageError, match="distinct ids"):
            jf_labels(labels, labels, ids)


def test_recall_and_decay_as_the_official_code_below_256_frames() -> None:
    values = np.random.default_rng(0).random(90)
    # The official bins, uint8 and all: they do not wrap for 90 frames.
    ids = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.uint8)
    bins = [values[ids[i] : ids[i + 1] + 1] for i in range(4)]
    assert decay(values) == pytest.approx(bins[0].mean() - bins[3].mean(), abs=1e-15)
    assert recall([0.5, 0.50001, 0.2, 1.0]) == 0.5
    assert decay([1.0, 0.0, 0.0]) is None and recall([]) is None
    assert decay([1.0, 0.5, 0.25, 0.0]) == pytest.approx(0.75 - 0.125)


@pytest.mark.parametrize("count", [300, 512])
def test_decay_does_not_wrap(count: int) -> None:
    # A ramp from 1 to 0: the first quarter's mean less the last's is 3/4 of the way, up to half a step.
    ramp = np.linspace(1, 0, count)
    assert decay(ramp) == pytest.approx(0.75, abs=1.5 / count)
    wrapped = (np.round(np.linspace(1, count, 5) + 1e-10) - 1).astype(np.int64).astype(np.uint8)
    assert wrapped[-1] != count - 1  # what the public scorers compute with


def test_video_score() -> None:
    score = VideoScore()
    score.add(0.8, 0.6, visible=True)
    score.add(0.4, 0.2, visible=True)
    score.add(1.0, 1.0, visible=False, absent_correct=True)
    score.add(0.0, 0.0, visible=False, absent_correct=False)
    summary = score.summary()
    assert summary["J"] == pytest.approx(55) and summary["F"] == pytest.approx(45)
    assert summary["J_visible"] == pytest.approx(60) and summary["F_visible"] == pytest.approx(40)
    assert summary["absent_correct"] == 50 and summary["J_recall"] == 50
    assert score.values()[0].tolist() == [0.8, 0.4, 1.0, 0.0] and score.absent_frames == 2
    assert VideoScore().summary()["J"] is None


def test_few_shot_sums() -> None:
    p = np.array([[1, 1, 0, 0]], bool)
    t = np.array([[1, 0, 1, 0]], bool)
    assert fss_counts(p, t) == (1, 3, 1, 3)
    assert fss_counts(p, t, ignore=np.array([[0, 1, 0, 0]], bool)) == (1, 2, 1, 2)
    assert fss_counts(torch.from_numpy(p), torch.from_numpy(t)) == (1, 3, 1, 3)
    score = FewShotScore()
    score.add(2, 1, 2, 5, 6)
    score.add(2, 3, 4, 5, 6)
    score.add(7, 0, 10, 0, 10)
    summary = score.summary([2, 7, 9])
    assert summary["per_category"] == {2: pytest.approx(100 * 4 / 6), 7: 0.0}
    assert summary["mIoU"] == pytest.approx(100 * 4 / 6 / 2)
    assert summary["FB_IoU"] == pytest.approx(50 * (4 / 16 + 10 / 22))
    assert summary["mean_IoU"] == pytest.approx(100 * (0.5 + 0.75 + 0) / 3)
    assert summary["undrawn"] == [9]


def test_few_shot_categories_that_were_not_drawn() -> None:
    score = FewShotScore()
    score.add(2, 3, 4, 5, 6)
    score.add(7, 1, 4, 1, 2)
    # 75 and 25 percent, and two categories that no episode drew: 50 over drawn ones, 25 over all four.
    for as_zero, headline in ((False, 50.0), (True, 25.0)):
        summary = score.summary([2, 7, 9, 11], undrawn_as_zero=as_zero)
        assert (summary["mIoU"], summary["mIoU_drawn"], summary["mIoU_undrawn_as_0"]) == (headline, 50.0, 25.0)
        assert summary["undrawn"] == [9, 11] and summary["FB_IoU"] == 50 * (4 / 8 + 6 / 8)
    assert score.summary(undrawn_as_zero=True)["mIoU"] == score.summary([2, 7])["mIoU"] == 50.0
    nothing = FewShotScore().summary([2, 7], undrawn_as_zero=True)
    assert nothing["mIoU"] is nothing["mIoU_undrawn_as_0"] is nothing["mIoU_drawn"] is None


def test_nineteen_of_twenty_categories_drawn() -> None:
    score = FewShotScore()
    for category in range(19):
        score.add(category, 5579, 100_000, 0, 1)
    summary = score.summary(range(20), undrawn_as_zero=True)
    assert summary["mIoU_drawn"] == pytest.approx(5.579) and summary["mIoU"] == pytest.approx(5.579 * 19 / 20)


def test_means_are_the_same_under_every_python() -> None:
    """From Python 3.12 on ``sum`` of floats is compensated, and would give 0.1 here."""
    assert average([0.1, None, *[0.1] * 9]) == 0.09999999999999999 == total([0.1] * 10) / 10
    assert average([None]) is None
