"""Presence: the correlation, what is summed of an episode, and the figures of SA-Co's toy files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_data import goldens

from icvos.errors import UsageError
from icvos.leaderboard.statistics import pooled_samples
from icvos.masks import decode_code, merge_codes, segmentation_code
from icvos.metrics.measures import PRESENCE, REGION
from icvos.metrics.presence import PRESENCE_POOL, matthews, presence_figures, presence_summary
from icvos.metrics.summaries import Row
from icvos.metrics.video import VideoScore
from icvos.protocols import PROTOCOLS, get_protocol
from icvos.sources.saco import SacoVeval

PROTOCOL = PROTOCOLS["saco-ic"]
NOTHING = 1e-6
"""What the public code adds to each denominator."""


def row(positive: bool, found: float | None, j: float = 0.0, f: float = 0.0, *, draw: int = 0, video: str = "v") -> Row:
    """An episode's row; ``found`` None is one that failed."""
    visible = {"J_visible": j, "F_visible": f} if positive and found is not None else {}
    record = {
        "positive": positive,
        "found": found,
        "absent_correct": None if positive else 100.0 - (found or 0),
        **visible,
    }
    return Row.of(record, PROTOCOL.numbers, draw=draw, video=video, source="s")


@pytest.mark.parametrize(
    ("table", "correlation"),
    [
        ((10, 2, 5, 3), 44 / 8736**0.5),
        ((1, 1, 1, 1), 0.0),
        ((4, 0, 4, 0), 1.0),
        ((0, 4, 0, 4), -1.0),
        ((7, 0, 0, 0), None),  # no negative pair
        ((0, 0, 7, 0), None),
        ((7, 3, 0, 0), None),  # one answer alone
        ((0, 0, 3, 7), None),
        ((0, 0, 0, 0), None),
    ],
)
def test_the_correlation_is_that_of_the_table(table: tuple[int, ...], correlation: float | None) -> None:
    tp, fp, tn, fn = table
    value = float(matthews(tp=tp, fp=fp, tn=tn, fn=fn))
    assert np.isnan(value) if correlation is None else value == pytest.approx(correlation, abs=1e-12)
    swapped = float(matthews(tp=tn, fp=fn, tn=tp, fn=fp))
    assert np.isnan(value) if np.isnan(swapped) else swapped == pytest.approx(value)


def test_tables_of_the_public_evaluation(request: pytest.FixtureRequest) -> None:
    cases = json.loads((goldens(request.config, "saco", "mcc_cases.json") / "mcc_cases.json").read_text())
    assert cases
    for case in cases:
        tp, tn, fp, fn = (case[name] for name in ("TP", "TN", "FP", "FN"))
        figures = presence_figures(np.array([0, 0, 0, tp, fp, tn, fn], np.float64))
        root = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
        ours, false_alarms = float(figures["presence_MCC"]) / 100, float(figures["presence_FPR"]) / 100
        # Where a margin is 0 the public code has 0 of it, and here there is none.
        assert np.isnan(ours) == (root == 0)
        assert (0.0 if root == 0 else ours * root / (root + NOTHING)) == pytest.approx(case["IL_MCC"], abs=1e-9)
        negative = fp + tn
        public = 0.0 if negative == 0 else false_alarms * negative / (negative + NOTHING)
        assert public == pytest.approx(case["IL_FPR"], abs=1e-9)


def test_the_measures_of_the_toy_files(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Unions of masklets as the reader has them, and of predicted tracks with a score of 0.5 or more."""
    files = ("proposal_measures.json", "toy_gt_small.json.gz", "toy_pred.json.gz")
    golden = goldens(request.config, "saco", *files)
    expected = json.loads((golden / "proposal_measures.json").read_text())["pairs"]
    (tmp_path / "annotation").mkdir()
    (tmp_path / "media/saco_sav/JPEGImages_24fps").mkdir(parents=True)
    truth = gzip.decompress((golden / "toy_gt_small.json.gz").read_bytes())
    (tmp_path / "annotation/saco_veval_sav_test.json").write_bytes(truth)
    source = SacoVeval(tmp_path, domain="sav", split="test")
    content = source.read()
    (video,) = content.videos.values()
    frames, size = video.detail.files, source.size(video)
    tracks = json.loads(gzip.decompress((golden / "toy_pred.json.gz").read_bytes()))
    assert [pair.phrase for pair in content.pairs] == sorted(pair["category_id"] for pair in expected)
    by_phrase = {pair.phrase: pair for pair in content.pairs}
    for row in expected:
        pair = by_phrase[row["category_id"]]
        assert (content.phrases[pair.phrase], len(pair.masklets)) == (row["noun_phrase"], row["num_masklets"])
        mine = [t["segmentations"] for t in tracks if t["category_id"] == pair.phrase and t["score"] >= 0.5]
        score, found = VideoScore(REGION.columns), False
        for index in range(len(frames)):
            there = union([video.detail.tracks[n].fields["segmentations"][index] for n in pair.masklets], size)
            predicted = union([segmentations[index] for segmentations in mine], size)
            visible, pixels = bool(there.any()), bool(predicted.any())
            score.add(*REGION(predicted, there), visible=visible, absent_correct=None if visible else not pixels)
            found |= pixels
        figures = score.summary()
        assert (len(score), len(score) - score.absent_frames) == (row["frames"], row["visible_frames"])
        for name in ("J", "J_visible", "absent_correct"):
            assert figures[name] == (None if row[name] is None else pytest.approx(100 * row[name], abs=1e-7)), name
        assert (found, pair.positive) == (row["predicted_present"], row["num_masklets"] > 0)


def union(values: list[Any], size: tuple[int, int]) -> np.ndarray:
    codes = [segmentation_code(value, size) for value in values if value is not None]
    return decode_code(merge_codes([code for code in codes if code is not None])) if codes else np.zeros(size, np.uint8)


def test_a_summary_counts_pairs_and_takes_the_mean_over_draws() -> None:
    rows = [
        row(True, 100.0, 60.0, 80.0),
        row(True, 0.0),
        row(False, 0.0),
        row(False, 100.0),
        row(True, 100.0, 50.0, 70.0, draw=1),
        row(False, 0.0, draw=1),
    ]
    figures = presence_summary(rows, ["found"])
    assert figures["presence_MCC"] == pytest.approx((0.0 + 100.0) / 2)
    assert figures["presence_FPR"] == pytest.approx((50.0 + 0.0) / 2)
    assert figures["presence_FNR"] == pytest.approx((50.0 + 0.0) / 2)
    assert figures["icF1"] == pytest.approx((0.0 + 60.0) / 2)
    assert figures["absent_correct_negative"] == pytest.approx((50.0 + 100.0) / 2)
    assert figures["found"] == pytest.approx((50.0 + 50.0) / 2)


@pytest.mark.parametrize(("positive", "rate"), [(True, "presence_FNR"), (False, "presence_FPR")])
def test_the_answer_of_an_episode_that_failed_is_wrong(positive: bool, rate: str) -> None:
    others = [row(True, 100.0, 60.0, 60.0), row(False, 0.0)]
    figures = presence_summary([*others, row(positive, None)], [])
    assert figures[rate] == 50.0
    # Its masks count 0 where it should have found something.
    mean = 30.0 if positive else 60.0
    assert figures["icF1"] == pytest.approx(mean * 0.5)


@pytest.mark.parametrize(
    ("rows", "correlation", "score"),
    [
        ([row(True, 100.0, 60.0, 60.0), row(False, 100.0)], None, 0.0),  # it always finds something
        ([row(True, 0.0), row(False, 0.0)], None, 0.0),  # it never does
        ([row(True, 0.0), row(False, 100.0)], -100.0, 0.0),
        ([row(True, 100.0, 60.0, 60.0)], None, None),  # nobody can tell
        ([row(False, 0.0)], None, None),
        ([], None, None),
    ],
)
def test_what_does_not_apply_is_none(rows: list[Row], correlation: float | None, score: float | None) -> None:
    figures = presence_summary(rows, [])
    assert (figures.get("presence_MCC"), figures.get("icF1")) == (correlation, score)


def test_found_is_measured_of_one_mask_of_many_and_of_label_maps() -> None:
    masks = np.zeros((3, 8, 9), bool)
    masks[1, 2:4, 3] = True
    truth = np.zeros((3, 8, 9), bool)
    assert PRESENCE.columns[-1] == "found"
    assert PRESENCE.of_masks(masks, truth)[-1].tolist() == [0.0, 1.0, 0.0]
    assert [PRESENCE(mask, truth[0])[-1] for mask in masks] == [0.0, 1.0, 0.0]
    labels = np.zeros((8, 9), np.uint8)
    labels[0, 0] = 3
    assert PRESENCE.of_labels(labels, labels, [2, 3])[-1].tolist() == [0.0, 1.0]
    torch = pytest.importorskip("torch")
    columns = PRESENCE.of_masks(torch.from_numpy(masks), torch.from_numpy(truth))
    assert columns[-1].tolist() == [0.0, 1.0, 0.0] and columns[-1].dtype == torch.float64
    assert PRESENCE(torch.from_numpy(masks[1]), torch.from_numpy(truth[1]))[-1] == 1.0


def test_intervals_are_of_the_score_itself() -> None:
    found = np.random.default_rng(5).random((2, 80)) < np.where(np.arange(80) % 2, 0.8, 0.3)
    rows = [
        row(bool(index % 2), 100.0 * found[draw, index], 60.0, 50.0, draw=draw, video=f"v{index // 2}")
        for index in range(80)
        for draw in range(2)
    ]
    samples = pooled_samples(rows, PRESENCE_POOL, "icF1", replicates=200)
    assert samples.value == pytest.approx(presence_summary(rows, [])["icF1"]) and len(samples.units) == 40
    assert samples.replicates.shape == (200,) and samples.replicates.std() > 1
    assert abs(samples.replicates.mean() - samples.value) < 3 * samples.replicates.std()
    again = pooled_samples(rows[::-1], PRESENCE_POOL, "icF1", replicates=200)
    assert np.allclose(again.replicates, samples.replicates)


def test_the_protocol_is_no_other_benchmarks() -> None:
    assert not PROTOCOL.of_label_maps and PROTOCOL.parts == ("J", "F") and PROTOCOL.score_of_episode == "J&F"
    heads = [metric.name for metric in PROTOCOL.metrics_in("board")]
    assert "icF1" in heads and "J&F_visible" in heads and not {"J", "F", "J&F"} & set(heads)
    assert "icF1" not in [metric.name for metric in PROTOCOLS["native"].metrics_in("board")]
    with pytest.raises(UsageError, match="does not fit"):
        get_protocol("saco-ic", "image")
