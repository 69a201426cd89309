"""Matcher: each step on hand-made features against loops or a closed form, and the whole on tiny models."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam_tiny import tiny_sam1
from tiny_dinov2 import TINY
from tiny_weights import tiny_sam2, tiny_sam2_file

from baselines.matcher import matching
from baselines.matcher.matching import RECIPES, Recipe
from baselines.matcher.plugin import Matcher, MatcherOptions, Patches, _boxes, _open
from icvos import Support
from icvos.errors import MissingExtraError, UsageError, WeightsError
from icvos.foundation.backbones import create_backbone
from icvos.foundation.weights import save_state
from icvos.models.check import check_model
from icvos.models.options import parse_options
from icvos.models.registry import create


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("matcher")
    torch.manual_seed(3)
    state = create_backbone("dinov2_vitl14", TINY).state_dict()
    config = {"config": {"backbone": "dinov2_vitl14", "backbone_options": TINY}}
    save_state(folder / "dinov2.safetensors", state, metadata={"config": json.dumps(config)})
    return {"dinov2": folder / "dinov2.safetensors", "sam": tiny_sam2_file(folder)}


def small(weights: dict[str, Path], **options: Any) -> Matcher:
    return Matcher(weights=weights, options=MatcherOptions(**{"size": 56, "iterations": 3, **options}))


def scene(size: tuple[int, int] = (40, 90), seed: int = 0) -> Support:
    image = draw(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    mask = np.zeros(size, bool)
    mask[5:20, 30:60] = True
    return Support(image, mask)


# ---- matching --------------------------------------------------------------------------------------------------------


def best_assignment(values: np.ndarray) -> list[int]:
    """The column of each row, by trying all."""
    columns = range(values.shape[1])
    return list(
        max(
            itertools.permutations(columns, len(values)),
            key=lambda choice: sum(values[row, column] for row, column in enumerate(choice)),
        )
    )


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_matched_forth_and_back(seed: int) -> None:
    similarity = draw(seed).normal(size=(7, 6))
    inside = np.array([1, 0, 1, 0, 0, 1, 0], bool)
    ours = np.flatnonzero(inside)
    targets = best_assignment(similarity[ours])
    back = best_assignment(similarity.T[targets])
    pairs = [(target, similarity[own, target]) for own, target, home in zip(ours, targets, back) if inside[home]]
    pairs = pairs or [(target, similarity[own, target]) for own, target in zip(ours, targets)]
    found = matching.matched(similarity, inside)
    assert list(zip(*(part.tolist() for part in found))) == pairs


def test_pairs_that_lead_elsewhere_are_dropped_unless_all_do() -> None:
    # Rows: the thing's two patches, the background's. Target 1 is liked by the background even more.
    similarity = np.array([[0.9, 0.1, 0.0], [0.2, 0.6, 0.1], [0.0, 0.8, 0.3]])
    inside = np.array([True, True, False])
    targets, values = matching.matched(similarity, inside)
    assert targets.tolist() == [0] and values.tolist() == [0.9]
    similarity[2] = 0.95
    similarity = np.vstack([similarity, similarity[2]])
    targets, _ = matching.matched(similarity, np.array([True, True, False, False]))
    assert targets.tolist() == [0, 1]


@pytest.mark.parametrize(("count", "left"), [(1, 1), (40, 40), (41, 20), (60, 30)])
def test_of_many_pairs_the_stronger_half_is_kept(count: int, left: int) -> None:
    targets, values = draw().permutation(100)[:count], draw(1).normal(size=count)
    ranked = [target for _, target in sorted(zip(values, targets), reverse=True)]
    assert matching.strongest(targets, values).tolist() == sorted(ranked[:left])


def test_a_patch_is_inside_with_one_pixel() -> None:
    mask = np.zeros((28, 42), bool)
    mask[13, 14] = mask[27, 41] = True
    assert matching.grid_mask(mask, 14).tolist() == [[False, True, False], [False, False, True]]


# ---- prompts ---------------------------------------------------------------------------------------------------------


def test_up_to_eight_points_give_every_subset() -> None:
    found = list(matching.subsets(8, RECIPES["default"], draw()))
    assert [len(part) for part in found] == [70, 56, 28]
    for size, part in zip((4, 5, 6), found):
        assert {tuple(row) for row in part.tolist()} == set(itertools.combinations(range(8), size))


def test_few_points_are_all_one_prompt() -> None:
    assert [part.tolist() for part in matching.subsets(3, RECIPES["default"], draw())] == [[[0, 1, 2]]]
    assert [part.tolist() for part in matching.subsets(1, RECIPES["coco"], draw())] == [[[0]]]
    assert [len(part) for part in matching.subsets(3, RECIPES["coco"], draw())] == [3, 3, 1]


def test_more_points_are_sampled_from_the_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that it is left alone is what is checked
    first, second, other = (list(matching.subsets(9, RECIPES["coco"], draw(seed))) for seed in (5, 5, 6))
    assert [part.shape for part in first] == [(64, size) for size in range(1, 7)]
    for part in first:
        assert part.min() >= 0 and part.max() <= 8
        assert all(len(set(row)) == len(row) for row in part.tolist())
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other))
    assert set(np.concatenate([part.ravel() for part in first])) == set(range(9))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_centres_find_clusters_and_settle() -> None:
    middles = np.array([(x, y) for x in (0, 1000, 2000, 3000) for y in (0, 1000)])
    points = (middles[:, None] + draw().integers(-9, 9, (8, 5, 2))).reshape(-1, 2)
    # One of several draws lands in every cluster; each result is a fixed point whatever was drawn.
    hit = False
    for seed in range(5):
        found = matching.centres(points, draw(seed))
        owner = ((points[:, None] - found[None]) ** 2).sum(axis=2).argmin(axis=1)
        for k in range(8):
            np.testing.assert_allclose(found[k], points[owner == k].mean(axis=0))
        own = points.reshape(8, 5, 2).mean(axis=1)
        hit |= np.allclose(sorted(found.tolist()), sorted(own.tolist()))
    assert hit
    assert matching.centres(points[:8], draw()).tolist() == points[:8].tolist()


# ---- judging ---------------------------------------------------------------------------------------------------------


def emd_by_copies(cost: np.ndarray) -> float:
    """n and m places as n * m units each: the best of all assignments of so many copies."""
    n, m = cost.shape
    copies = np.repeat(np.repeat(cost, m, axis=0), n, axis=1)
    return min(
        float(np.mean([copies[i, p] for i, p in enumerate(order)])) for order in itertools.permutations(range(n * m))
    )


@pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 2), (1, 4), (4, 1), (1, 1)])
def test_emd_equals_brute_force(n: int, m: int) -> None:
    for seed in range(2):
        cost = draw(seed).uniform(size=(n, m))
        assert matching.emd(cost) == pytest.approx(emd_by_copies(cost), abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (12, 18), (40, 25)])
def test_emd_equals_the_assignment_of_copies(n: int, m: int) -> None:
    from scipy.optimize import linear_sum_assignment

    cost = draw(n).uniform(size=(n, m))
    copies = np.repeat(np.repeat(cost, m, axis=0), n, axis=1)
    rows, columns = linear_sum_assignment(copies)
    assert matching.emd(cost) == pytest.approx(float(copies[rows, columns].mean()), abs=1e-9)


def test_emd_on_a_line_is_the_area_between_the_distributions() -> None:
    """With |x - y| as cost there is a closed form; the cheapest arcs of each place alone do not reach it."""
    first, second = np.sort(draw().uniform(size=60)), np.sort(draw(1).uniform(size=130) ** 3)
    places = np.sort(np.concatenate([first, second]))
    height = np.abs(np.searchsorted(first, places, "right") / 60 - np.searchsorted(second, places, "right") / 130)
    expected = float((height[:-1] * np.diff(places)).sum())
    assert matching.emd(np.abs(first[:, None] - second)) == pytest.approx(expected, abs=1e-8)


def test_metrics_are_distance_purity_and_coverage() -> None:
    cost = draw().uniform(size=(2, 6))
    grids = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], bool)
    points = np.array([1, 2, 4, 5])
    emds, purity, coverage = matching.metrics(cost, points, grids)
    assert purity - 1e-6 == pytest.approx([2 / 3, 1, 4 / 6, 2 / 3])
    assert coverage - 1e-6 == pytest.approx([2 / 4, 1 / 4, 1, 2 / 4])
    expected = [1 - emd_by_copies(cost[:, :3]), 1 - cost[:, 4].mean(), 1 - matching.emd(cost)]
    assert emds - 1e-6 == pytest.approx([*expected, expected[0]])


def test_score_weighs_them() -> None:
    values = np.array([[0.5, 0.9], [0.25, 1.0], [0.5, 0.1]])
    assert matching.scores(values, RECIPES["default"]).tolist() == [0.5, 0.9]
    assert matching.scores(values, RECIPES["fss"]) == pytest.approx([0.4 + 0.2 * 0.125, 0.72 + 0.2 * 0.1])
    assert matching.scores(values, RECIPES["parts"]) == pytest.approx([0.375, 0.95])


# Rows: emd, purity, coverage.
@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, [0, 1, 2, 3]),
        ({"coverage_filter": 0.5}, [1, 2]),
        ({"coverage_filter": 5.0}, [2]),  # at most the best
        ({"purity_filter": 0.5}, [0, 3]),
        ({"emd_filter": 0.6}, [1, 3]),
        ({"coverage_filter": 0.5, "purity_filter": 0.5}, [1]),  # the best purity of those that coverage left
        ({"coverage_filter": 0.5, "emd_filter": 0.9, "purity_filter": 0.9}, [1]),
    ],
)
def test_filters_keep_what_reaches_them(filters: dict[str, float], left: list[int]) -> None:
    values = np.array([[0.2, 0.7, 0.3, 0.8], [0.5, 0.2, 0.1, 0.9], [0.1, 0.6, 0.9, 0.4]])
    assert matching.kept(values, replace(Recipe(), **filters)).tolist() == left
    assert matching.kept(values[:, :0], replace(Recipe(), **filters)).tolist() == []


@pytest.mark.parametrize(
    ("scores", "changes", "expected"),
    [
        ([0.5, 0.9, 0.7, 0.6], {}, [1, 2]),  # 0.6 / 0.9 is not above 0.7
        ([0.5, 0.9, 0.7, 0.6], {"merge": 1}, [1]),
        ([0.5, 0.9, 0.7, 0.6], {"topk": 0.0, "merge": 3}, [1, 2, 3]),
        ([0.5, 0.9], {"topk": 1.0}, [1]),
        # Distances .1, .11, .13, .4, .5: the spread over the largest is 0, .02, .06, .6, .8.
        ([0.5, 0.9, 0.89, 0.87, 0.6], {"score_filter": True}, [1, 2, 3]),
        ([0.5, 0.9, 0.89, 0.87, 0.6], {"score_filter": True, "merge": 2}, [1, 2]),
        ([0.60, 0.59], {"score_filter": True}, [0]),  # further than .33: the best alone
        ([], {}, []),
    ],
)
def test_masks_near_the_best_are_merged(scores: list[float], changes: dict[str, Any], expected: list[int]) -> None:
    assert matching.chosen(scores, replace(Recipe(), **changes)).tolist() == expected


def test_recipes_are_the_authors() -> None:
    coco, parts = RECIPES["coco"], RECIPES["parts"]
    assert (coco.sample_min, coco.sample_max, coco.iterations, coco.prompts, coco.nms) == (1, 6, 64, "points", 0.65)
    assert (coco.dense, coco.multimask, coco.min_iou, coco.min_stability) == (True, True, 0.85, 0.9)
    assert (coco.purity_filter, coco.score_filter, coco.topk, coco.merge) == (0.02, True, 0, 9)
    assert (parts.sample_min, parts.iterations, parts.box, parts.merge) == (3, 128, True, 5)
    assert (parts.alpha, parts.beta, parts.exponent, parts.coverage_filter) == (0.5, 0.5, 0, 0.3)
    fss = replace(RECIPES["default"], alpha=0.8, beta=0.2, exponent=1.0)
    assert RECIPES["fss"] == fss and set(RECIPES) == {"default", "coco", "fss", "parts"}


# ---- the plugin ------------------------------------------------------------------------------------------------------


def test_features_are_unit_patches_before_the_final_norm(weights: dict[str, Path]) -> None:
    model = small(weights)
    seen: list[torch.Tensor] = []
    model.backbone.blocks[-1].register_forward_hook(lambda module, given, out: seen.append(out))
    image = draw().integers(0, 255, (56, 56, 3)).astype(np.uint8)
    found = model._features([image, image])
    expected = torch.nn.functional.normalize(seen[0][0, 1:], dim=1)
    torch.testing.assert_close(found, torch.cat([expected, expected]))


def test_points_lie_in_the_middle_of_patches(weights: dict[str, Path]) -> None:
    assert small(weights)._points(np.array([0, 1, 4, 15])).tolist() == [[7, 7], [21, 7], [7, 21], [49, 49]]


def test_boxes_are_tight() -> None:
    masks = torch.rand(6, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.95
    masks[0] = False
    for mask, box in zip(masks, _boxes(masks).tolist()):
        places = mask.nonzero()
        expected = (
            [0, 0, 0, 0]
            if len(places) == 0
            else [int(places[:, 1].min()), int(places[:, 0].min()), int(places[:, 1].max()), int(places[:, 0].max())]
        )
        assert box == expected


class Drawn:
    """A SAM whose masks are given: one, or three, for each prompt; what it was prompted with is kept."""

    def __init__(self, model: Matcher, answer: Callable[[int], tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.answer, self.calls = answer, []  # type: ignore[var-annotated]
        self.inner = model.segmenter
        model.segmenter = self  # type: ignore[assignment]

    def encode(self, image: np.ndarray) -> None:
        assert image.shape == (56, 56, 3)

    def place(self, size: tuple[int, int]) -> Any:
        return self.inner.place(size)

    def decode(self, features: Any, *, points: Any, boxes: Any, multimask: bool) -> Any:
        from icvos.foundation.segmenter import Decoded

        self.calls.append((points, boxes, multimask))
        return Decoded(*self.answer(len(points[0])))


def plain(value: float, rows: int) -> torch.Tensor:
    """Low-resolution logits: ``rows`` of 16 rows are inside by ``value``."""
    out = torch.full((16, 16), -value)
    out[:rows] = value
    return out


def test_proposals_reach_the_limits(weights: dict[str, Path]) -> None:
    # All of value 3 but the third, whose logits of 0.5 are not stable; the fourth is empty.
    masks = torch.stack([plain(3, 8), plain(3, 4), plain(0.5, 8), plain(3, 0)])[:, None]
    iou = torch.tensor([[0.9], [0.85], [0.99], [0.99]])
    points = np.zeros((4, 1, 2))

    def rows(limits: tuple[float, float], **options: Any) -> list[int]:
        model = small(weights, **options)
        Drawn(model, lambda count: (masks, iou))
        parts = list(model._masks(None, points, None, multimask=False, limits=limits))
        return [int((logits > 0).any(dim=1).sum()) for part in parts for logits in part.logits[:, 0]]

    assert rows((0.0, 0.0)) == [8, 4, 8]
    assert rows((0.0, 0.0), empty_as_whole=True) == [8, 4, 8, 0]
    assert rows((0.85, 0.0)) == [8, 8]  # more than it
    assert rows((0.0, 0.8)) == [8, 4]


def test_prompts_of_a_recipe(weights: dict[str, Path]) -> None:
    # Three patches matched: points (7, 7), (21, 7), (49, 49) of 56 pixels, which the tiny SAM sees at 64.
    masks, iou = plain(300, 8)[None, None], torch.tensor([[0.9]])  # steep: stable

    def run(**options: Any) -> tuple[list[Any], Any]:
        model = small(weights, **options)
        sam = Drawn(model, lambda count: (masks.expand(count, -1, -1, -1), iou.expand(count, -1)))
        found = model._propose(np.zeros((56, 56, 3), np.uint8), np.array([0, 1, 15]), draw())
        return sam.calls, found

    calls, found = run(recipe="parts")
    (((places, labels), boxes, multimask),) = calls
    torch.testing.assert_close(places, torch.tensor([[[7, 7], [21, 7], [49, 49]]]) * 64 / 56)
    assert labels.tolist() == [[1, 1, 1]] and not multimask
    torch.testing.assert_close(boxes, torch.tensor([[7, 7, 49, 49]]) * 64 / 56)
    assert found.grids.reshape(1, 4, 4).any(dim=2).tolist() == [[True, True, False, False]]

    calls, found = run(recipe="coco", min_stability=0.0, nms=1.0, batch=4096)
    assert [(len(call[0][0]), call[0][0].shape[1], call[2]) for call in calls] == [
        (3, 1, True),
        (3, 2, True),
        (1, 3, True),
        (4096, 1, False),
    ]
    assert all(boxes is None for _, boxes, _ in calls)
    grid = calls[-1][0][0][:, 0] * 56 / 64
    line = [(i + 0.5) / 64 * 56 for i in range(64)]
    assert grid[:, 0].tolist() == pytest.approx(line * 64) and grid[::64, 1].tolist() == pytest.approx(line)
    assert len(found.iou) == 7 + 4096
    assert len(run(recipe="coco", min_stability=0.0)[1].iou) == 1  # one box: NMS leaves one
    assert run(min_iou=0.95)[1] is None


def test_the_whole_is_the_union_of_what_is_merged(weights: dict[str, Path]) -> None:
    model = small(weights, topk=0.0, prompts="points", sample_min=1, sample_max=1)
    top, left, few = plain(3, 8), plain(3, 8).T, plain(3, 4)
    turn = itertools.cycle([top, left, few])
    Drawn(model, lambda count: (torch.stack([next(turn) for _ in range(count)])[:, None], torch.ones(count, 1)))
    support = scene((56, 56))
    fitted = model.fit([support], seed=0)
    assert fitted is not None
    found = model.predict(fitted, support.image)
    restored = model._restore(torch.stack([top, left, few])[:, None])[:, 0] > 0
    assert torch.equal(found.mask, restored.any(dim=0)) and torch.equal(found.mask, found.score > 0)


def test_several_supports_are_matched_at_once(weights: dict[str, Path]) -> None:
    model = small(weights)
    shown = [scene(seed=1), scene((64, 48), seed=2), Support(scene().image, np.zeros((40, 90), bool))]
    fitted = model.fit(shown, seed=4)
    alone = [model.fit([support], seed=4) for support in shown[:2]]
    torch.testing.assert_close(fitted.features, torch.cat([each.features for each in alone]))
    assert np.array_equal(fitted.inside, np.concatenate([each.inside for each in alone])) and fitted.shots == 2
    assert small(weights, recipe="coco").merge_shots == 5
    assert small(weights, recipe="coco", merge=7).merge_shots == 7 and small(weights).merge_shots == 10


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: small(weights, merge=2), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


@pytest.mark.parametrize("recipe", ["default", "coco", "fss", "parts"])
def test_recipes_run_and_hang_on_the_seed_alone(recipe: str, weights: dict[str, Path]) -> None:
    # The random SAM foretells low IoUs: without those limits something is left to judge.
    open_limits = {"min_iou": 0.0, "min_stability": 0.0, "dense": False}
    model = small(weights, recipe=recipe, **open_limits)
    support = scene()
    fitted = [model.fit([support], seed=seed) for seed in (3, 3, 4)]
    np.random.seed(1)  # noqa: NPY002 - neither of the global streams may matter
    first = model.predict(fitted[0], support.image)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(9)
    again = model.predict(fitted[1], support.image)
    assert tuple(first.mask.shape) == (40, 90) and torch.equal(first.mask, again.mask) and bool(first.mask.any())
    assert first.confidence == again.confidence and 0 < first.confidence < 1.01
    drawn = [next(iter(matching.subsets(20, model.recipe, np.random.default_rng(each.seed)))) for each in fitted]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_sam1_is_as_good(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icvos.foundation.load.open_segmenter", lambda path, device: tiny_sam1())
    model = small(weights)
    support = scene()
    assert tuple(model.predict(model.fit([support], seed=0), support.image).mask.shape) == (40, 90)


def test_empty_and_tiny_things(weights: dict[str, Path]) -> None:
    image, mask = scene((300, 300)).image, np.zeros((300, 300), bool)
    model = small(weights)
    assert model.fit([Support(image, mask)], seed=0) is None
    nothing = model.predict(None, image)
    assert not nothing.mask.any() and nothing.mask.shape == (300, 300) and nothing.confidence == 0
    centre = small(weights, empty_as_centre=True).fit([Support(image, mask)], seed=0)
    assert np.flatnonzero(centre.inside).tolist() == [5, 6, 9, 10]  # a 14 x 14 block on the corner of four patches
    mask[7, 299] = True  # nearest does not look there
    fitted = model.fit([Support(image, mask)], seed=0)
    assert np.flatnonzero(fitted.inside).tolist() == [3]
    assert model.predict(fitted, image).mask.shape == (300, 300)


def test_no_mask_left_is_an_empty_mask(weights: dict[str, Path]) -> None:
    support = scene()
    model = small(weights, min_iou=1e9)
    found = model.predict(model.fit([support], seed=0), support.image)
    assert not found.mask.any() and found.mask.shape == (40, 90) and found.confidence == 0


def test_an_empty_mask_counts_as_the_whole_where_it_is_asked_for(weights: dict[str, Path]) -> None:
    support = scene()
    for option in (False, True):
        model = small(weights, empty_as_whole=option)
        Drawn(model, lambda count: (plain(3, 0).expand(count, 1, -1, -1), torch.ones(count, 1)))
        fitted = model.fit([support], seed=0)
        assert isinstance(fitted, Patches)
        found = model.predict(fitted, support.image)
        assert not found.mask.any() and (found.confidence > 0) == option
    similarity = (fitted.features @ model._features([np.zeros((56, 56, 3), np.uint8)]).T).numpy()[fitted.inside]
    whole = 1 - matching.emd((1 - similarity) / 2)
    from baselines.matcher.plugin import Proposals

    none = Proposals(None, None, None, torch.zeros(1, 16, dtype=torch.bool))
    assert model._judge(similarity, np.array([2]), none)[:, 0] - 1e-6 == pytest.approx([whole, 1 / 16, 1])


def test_options_and_what_is_missing(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = parse_options(Matcher, ["recipe=coco", "nms=0.5", "dense=no", "prompts=centres", "merge=2"])
    assert read == {"recipe": "coco", "nms": 0.5, "dense": False, "prompts": "centres", "merge": 2}
    assert Matcher(weights=weights, options=MatcherOptions(size=56, **read)).recipe == replace(
        RECIPES["coco"], nms=0.5, dense=False, prompts="centres", merge=2
    )
    for wrong, match in (
        ({"sample_min": 9}, "sample_min and sample_max"),
        ({"alpha": 0.0}, "alpha and beta"),
        ({"nms": 0.0}, "nms"),
        ({"merge": 0}, "merge"),
        ({"size": 55}, "multiple of 14"),
        ({"recipe": "voc"}, "no recipe"),
        ({"backbone": "small"}, "expected a DINOv2"),
    ):
        with pytest.raises(UsageError, match=match):
            small(weights, **wrong)
    assert create("matcher+sam2", weights={**weights, "tracker": weights["sam"]}, options={"size": 56})
    with pytest.raises(WeightsError, match=r"no DINOv2 that is known.*dinov2-vitl14"):
        small({**weights, "dinov2": weights["sam"]})
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scipy" else found(name))
    with pytest.raises(MissingExtraError, match=r"matcher.*scipy.*\[matcher\]"):
        small(weights)


def test_official_files_are_told_by_their_keys(tmp_path: Path) -> None:
    options = {"width": 768, "depth": 12, "heads": 12}
    state = create_backbone("dinov2_vitb14", {**options, "registers": 4}).state_dict()
    torch.save({**state, "mask_token": torch.zeros(1, 768)}, tmp_path / "dinov2_vitb14_reg4_pretrain.pth")
    opened = _open(tmp_path / "dinov2_vitb14_reg4_pretrain.pth", "auto")
    assert opened.register_tokens.shape == (1, 4, 768) and opened.channels == (768, 768)
    assert isinstance(opened.norm, torch.nn.Identity)


def test_tiny_sam_is_what_these_tests_take_it_for() -> None:
    assert tiny_sam2().mask_size == 16 and not tiny_sam2().pads
