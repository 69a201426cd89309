"""The DC-SAM model, small: both variants, each fact Q1 to Q9 by itself, the ablations, gradients."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dcsam import attention
from dcsam.attention import CyclicAttention, cyclic_attention, cyclic_bias
from dcsam.config import QUIRKS, DCSAMConfig
from dcsam.features import Prompts, QueryState, SamFeatures, SupportState
from dcsam.model import DCSAM, Output
from icvos.errors import ModelError, UsageError
from icvos.foundation.position import sine_position
from icvos.training.loss import segmentation_loss

WIDTH = 16
SIZES = {
    "backbone": "small",
    "backbone_options": {"width": 4},
    "width": WIDTH,
    "heads": 4,
    "queries": 3,
    "sam_channels": 8,
    "sam_high_res": (2, 4),
    "image_size": 64,
}
POINTS = (torch.full((1, WIDTH), -0.5), torch.full((1, WIDTH), 0.5))


def make(**options: object) -> DCSAM:
    torch.manual_seed(0)
    model = DCSAM(DCSAMConfig(**{**SIZES, **options})).eval()
    for parameter in model.head_parameters().values():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def sam_of(images: Tensor, sam: int, grid: int = 8) -> SamFeatures:
    """Features that depend on the image, in SAM's shapes."""

    def level(channels: int, side: int) -> Tensor:
        small = torch.nn.functional.adaptive_avg_pool2d(images, side)
        return torch.cat([small.roll(i, dims=1)[:, :1] * (1 + 0.1 * i) for i in range(channels)], dim=1)

    return SamFeatures(level(8, grid), (level(2, 4 * grid), level(4, 2 * grid)) if sam == 2 else ())


def pictures(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def squares(count: int, seed: int = 0) -> Tensor:
    masks = torch.zeros(count, 64, 64)
    for i in range(count):
        start = 8 * ((i + seed) % 4)
        masks[i, start : start + 28, 8 : 40 + 4 * i] = 1
    return masks


def support_of(model: DCSAM, images: Tensor, masks: Tensor, shots: int = 1, grid: int = 8) -> SupportState:
    return model.encode_supports(model.extract(images), masks, sam_of(images, model.config.sam, grid), shots=shots)


def query_of(model: DCSAM, images: Tensor, grid: int = 8) -> QueryState:
    return model.encode_query(model.extract(images, top=True), sam_of(images, model.config.sam, grid))


def decode(tokens: Tensor) -> Tensor:
    """Stands in for SAM: masks that depend on the tokens."""
    place = torch.linspace(-1, 1, 32)
    slope = tokens.mean(dim=1)
    return (slope[:, 0, None, None] * place + slope[:, 1, None, None] * place[:, None]).unsqueeze(1)


def both_stages(model: DCSAM, batch: int = 1, shots: int = 1) -> Output:
    support = support_of(model, pictures(batch * shots, 1), squares(batch * shots), shots)
    return model(support, query_of(model, pictures(batch, 2)), decode=decode, point_embeddings=POINTS)


def same(a: Prompts, b: Prompts, atol: float = 1e-5) -> bool:
    return all(torch.allclose(x, y, atol=atol) for x, y in zip(a.sides(), b.sides(), strict=True))


# ---- the attention ------------------------------------------------------------------------------------------------


def test_cyclic_bias_by_loops() -> None:
    scores = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(2, 12, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    bias = cyclic_bias(scores, mask)
    dropped = 0
    for row in range(2):
        for key in range(12):
            query = int(scores[row, :, key].argmax())
            back = int(scores[row, query].argmax())
            inconsistent = bool(mask[row, key] != mask[row, back])
            assert (bias[row, 0, key] == float("-inf")) == inconsistent
            dropped += inconsistent
    assert 0 < dropped < 24


def test_no_row_is_ever_dropped_whole() -> None:
    """Q7: also with ties everywhere."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.randint(0, 2, (3, 4, 9), generator=generator).float()
        bias = cyclic_bias(scores, torch.randint(0, 2, (3, 9), generator=generator))
        assert bias.isfinite().any(dim=-1).all()


def test_plain_attention_without_a_mask_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = CyclicAttention(16, 4).eval(), torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    ours.load_state_dict(theirs.state_dict())
    q, k, v = torch.randn(2, 3, 16), torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    out, weights = ours(q, k, v, None)
    expected, expected_weights = theirs(q, k, v)
    assert torch.allclose(out, expected, atol=1e-5)
    assert torch.allclose(weights, expected_weights, atol=1e-6)


def test_scores_are_taken_in_float32_under_autocast() -> None:
    q, k, v = (torch.randn(2, n, 8, generator=torch.Generator().manual_seed(n)) for n in (3, 9, 9))
    mask = torch.arange(9).expand(2, 9) % 2
    expected, _ = cyclic_attention(q, k, v, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, weights = cyclic_attention(q, k, v, mask)
    assert weights.dtype == torch.float32
    assert torch.equal(found, expected)


def scores_dtypes(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Note the dtype of the scores that the keys are dropped by, from now on."""
    dtypes: list[torch.dtype] = []

    def bias(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        dtypes.append(scores.dtype)
        return cyclic_bias(scores, mask)

    monkeypatch.setattr(attention, "cyclic_bias", bias)
    return dtypes


@pytest.mark.parametrize(("variant", "dtype"), [("reference", torch.bfloat16), ("corrected", torch.float32)])
def test_q18_dtype_of_the_scores_under_autocast(
    variant: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DCSAMConfig.reference() if variant == "reference" else DCSAMConfig.corrected()
    model = make(**{name: getattr(config, name) for name, _ in QUIRKS.values()})
    dtypes = scores_dtypes(monkeypatch)
    plain = both_stages(model)
    assert set(dtypes) == {torch.float32}
    dtypes.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = both_stages(model)
    assert len(dtypes) == 4 and set(dtypes) == {dtype}  # two stages of two branches
    assert not same(half.prompts, plain.prompts, atol=1e-4)


def test_q18_attention_is_the_public_codes_under_autocast() -> None:
    """Projections, scores and output in bfloat16, the choice of keys by those scores, the softmax in float32."""
    torch.manual_seed(0)
    module = CyclicAttention(256, 4, scores_in_autocast=True)
    query, key = torch.randn(1, 25, 256), torch.randn(1, 400, 256)
    mask = (torch.rand(1, 400) > 0.5).float()
    half = torch.bfloat16
    q, k, v = (
        (x.to(half) @ w.to(half).T + b.to(half)).unflatten(-1, (4, 64)).transpose(1, 2)
        for x, w, b in zip((query, key, key), module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True)
    )
    scores = q / 8 @ k.transpose(-2, -1)
    assert scores.dtype == half
    back = scores.argmax(-1).gather(-1, scores.argmax(-2))
    sides = mask[:, None].expand(-1, 4, -1)
    dropped = torch.where(sides.gather(-1, back) == sides, 0.0, -torch.inf)[:, :, None]
    weights = (scores.float() + dropped).softmax(-1)
    output = (weights.to(half) @ v).transpose(1, 2).flatten(2)
    expected = output @ module.out_proj.weight.to(half).T + module.out_proj.bias.to(half)
    with torch.autocast("cpu", dtype=half), torch.no_grad():
        actual, seen = module(query, key, key, mask)
        single = CyclicAttention(256, 4)
        single.load_state_dict(module.state_dict())
        in_float32, _ = single(query, key, key, mask)
    assert torch.equal(actual, expected) and torch.equal(seen, weights.mean(1))
    # Both the rounding and the keys that are dropped by it differ from scores in float32.
    kept = [(q.float() / 8 @ k.float().transpose(-2, -1)).argmax(axis) for axis in (-1, -2)]
    assert any(not torch.equal(mine, scores.argmax(axis)) for mine, axis in zip(kept, (-1, -2), strict=True))
    assert not torch.equal(in_float32, actual)


def test_sine_position_is_y_then_x() -> None:
    code = sine_position(3, 5, 16).unflatten(0, (3, 5))
    assert (code[:, :1, :8] == code[:, :, :8]).all()
    assert (code[:1, :, 8:] == code[:, :, 8:]).all()
    # The last row sits at 2 pi.
    assert code[2, 0, :2].tolist() == pytest.approx([0, 1], abs=1e-5)


# ---- the two variants ---------------------------------------------------------------------------------------------


def test_variants_by_name() -> None:
    assert DCSAMConfig().variant == DCSAMConfig.corrected().variant == "corrected"
    reference = DCSAMConfig.reference(sam=1)
    assert reference.variant == "reference"
    assert reference.with_variant("corrected") == DCSAMConfig(sam=1)
    assert replace(DCSAMConfig(), negative_from_support=True).variant == "mixed"
    assert list(QUIRKS) == [f"Q{i}" for i in (*range(1, 10), 18, 19, 20)]
    with pytest.raises(UsageError, match="did you mean 'reference'"):
        DCSAMConfig().with_variant("referense")


@pytest.mark.parametrize("variant", ["reference", "corrected", "mixed"])
def test_a_configuration_of_0_1_0(variant: str) -> None:
    """It knew none of Q18 to Q20: a file of the reference variant has them, no other has."""
    config = DCSAMConfig.reference() if variant == "reference" else DCSAMConfig.corrected()
    values = json.loads(config.to_json()) | ({"negative_from_support": True} if variant == "mixed" else {})
    gained = ("scores_in_autocast", "absent_logits_in_loss", "bfloat16_memories")
    for name in gained:
        del values[name]
    again = DCSAMConfig.from_json(json.dumps(values))
    assert again.variant == variant
    assert {getattr(again, name) for name in gained} == {variant == "reference"}


@pytest.mark.parametrize("sam", [1, 2])
@pytest.mark.parametrize("shots", [1, 3])
def test_corrected_is_free_of_batch_mates(sam: int, shots: int) -> None:
    model = make(sam=sam)
    images, masks, queries = pictures(3 * shots, 1), squares(3 * shots), pictures(3, 2)
    whole = model(
        support_of(model, images, masks, shots), query_of(model, queries), decode=decode, point_embeddings=POINTS
    )
    for i in range(3):
        part = slice(i * shots, (i + 1) * shots)
        alone = model(
            support_of(model, images[part], masks[part], shots),
            query_of(model, queries[i : i + 1]),
            decode=decode,
            point_embeddings=POINTS,
        )
        assert torch.allclose(whole.prompts.positive[i], alone.prompts.positive[0], atol=1e-4)
        assert torch.allclose(whole.prompts.negative[i], alone.prompts.negative[0], atol=1e-4)


def test_corrected_does_not_mind_the_order_of_supports() -> None:
    model = make()
    images, masks = pictures(5, 1), squares(5)
    query = query_of(model, pictures(1, 2))
    order = torch.tensor([3, 0, 4, 2, 1])
    a = model(support_of(model, images, masks, 5), query, decode=decode, point_embeddings=POINTS)
    b = model(support_of(model, images[order], masks[order], 5), query, decode=decode, point_embeddings=POINTS)
    assert same(a.prompts, b.prompts)
    one = model(support_of(model, images[:1], masks[:1]), query, decode=decode, point_embeddings=POINTS)
    assert not same(a.first, one.first, atol=1e-2)


def test_nothing_is_changed_in_place() -> None:
    model = make(sam=1)
    support, query = support_of(model, pictures(2, 1), squares(2)), query_of(model, pictures(2, 2))
    tensors = [support.masks, *support.prototypes, *support.merged, *support.tops, query.projected, query.top]
    before = [x.clone() for x in tensors]
    first = model.first_stage(support)
    kept = [x.clone() for x in first.sides()]
    model(support, query, decode=decode, point_embeddings=POINTS)
    model.tokens(first, POINTS)
    assert all(torch.equal(x, y) for x, y in zip([*tensors, *first.sides()], [*before, *kept]))


def test_one_image_is_shared_by_all_samples() -> None:
    """E support sets on one frame, as the plugin runs them: the frame is encoded once."""
    model = make()
    support, query = support_of(model, pictures(3, 1), squares(3)), query_of(model, pictures(1, 2))
    together = model(support, query, decode=decode, point_embeddings=POINTS)
    assert together.prompts.positive.shape == (3, 3, WIDTH)
    repeated = query_of(model, pictures(1, 2).expand(3, -1, -1, -1))
    assert same(together.prompts, model(support, repeated, decode=decode, point_embeddings=POINTS).prompts)
    one = support_of(model, pictures(5, 3), squares(5), 5)
    assert (
        len(model(one, query_of(model, pictures(2, 4)), decode=decode, point_embeddings=POINTS).prompts.positive) == 2
    )


def test_tokens_are_positive_then_negative_with_sams_point_embeddings() -> None:
    model = make()
    prompts = Prompts(torch.zeros(2, 3, WIDTH), torch.ones(2, 3, WIDTH))
    tokens = model.tokens(prompts, POINTS)
    assert tokens.shape == (2, 6, WIDTH)
    assert (tokens[:, :3] == 0.5).all()
    assert (tokens[:, 3:] == 0.5).all()
    assert (prompts.positive == 0).all()


# ---- each fact by itself: (option, what must differ, what must not) -----------------------------------------------


def test_q1_heads_use_other_samples_masks() -> None:
    attention = CyclicAttention(16, 4)
    torch.nn.init.normal_(attention.in_proj_weight)
    q, k = torch.randn(2, 3, 16), torch.randn(2, 9, 16)
    masks = torch.tensor([[0] * 4 + [1] * 5, [0, 1] * 4 + [0]]).float()
    for shared, differs in ((False, False), (True, True)):
        mixed = attention(q, k, k, masks, shared_masks=shared)[0]
        alone = torch.cat([attention(q[i:][:1], k[i:][:1], k[i:][:1], masks[i:][:1])[0] for i in range(2)])
        assert (not torch.allclose(mixed, alone, atol=1e-3)) == differs
    model = make(shared_head_masks=True)
    assert not same(both_stages(model, 2).first, both_stages(make(), 2).first, atol=1e-3)
    # With one sample there is nothing to mix up.
    assert same(both_stages(model).prompts, both_stages(make()).prompts)


def test_q2_only_the_last_support_is_attended_to() -> None:
    model, fixed = make(last_support_only=True), make()
    images, masks = pictures(3, 1), squares(3)
    last = model.first_stage(support_of(model, images[2:], masks[2:]))
    assert same(model.first_stage(support_of(model, images, masks, 3)), last)
    assert not same(fixed.first_stage(support_of(fixed, images, masks, 3)), last, atol=1e-2)


def test_q3_the_first_stage_does_not_see_the_query() -> None:
    model, seeing = make(), make(first_stage_ignores_query=False)
    support = support_of(model, pictures(1, 1), squares(1))
    queries = [query_of(model, pictures(1, seed)) for seed in (2, 3)]
    assert same(*(model.first_stage(support, query) for query in queries), atol=0)
    assert not same(*(seeing.first_stage(support, query) for query in queries), atol=1e-3)
    with pytest.raises(UsageError, match="sees the query"):
        seeing.first_stage(support)


def test_q4_the_negative_branch_attends_to_the_support() -> None:
    model, fixed = make(negative_from_support=True), make()
    for net, moves in ((model, False), (fixed, True)):
        support = support_of(net, pictures(1, 1), squares(1))
        first = net.first_stage(support)
        coarse = squares(1, 1)
        a, b = (net.second_stage(support, query_of(net, pictures(1, seed)), first, coarse) for seed in (2, 3))
        assert torch.equal(a.negative, b.negative) == (not moves)
        assert not torch.allclose(a.positive, b.positive, atol=1e-3)


def test_q5_more_than_one_support_is_refused_in_the_reference() -> None:
    with pytest.raises(UsageError, match=r"takes one support, not 5.*variant=corrected"):
        both_stages(DCSAM(DCSAMConfig.reference(**SIZES)).eval(), shots=5)
    assert both_stages(make(), shots=5).prompts.positive.isfinite().all()
    # Its first stage works, as in the public code.
    model = DCSAM(DCSAMConfig.reference(**SIZES)).eval()
    assert model.first_stage(support_of(model, pictures(5, 1), squares(5), 5)).positive.shape == (1, 3, WIDTH)


def test_q6_sam1s_second_stage_starts_from_moved_prompts() -> None:
    for sam, differs in ((1, True), (2, False)):
        moved, clean = both_stages(make(sam=sam, prompts_in_place=True)), both_stages(make(sam=sam))
        assert same(moved.first, clean.first, atol=0)
        assert same(moved.prompts, clean.prompts, atol=1e-4) != differs


def test_q7_nan_features_are_passed_or_refused() -> None:
    for option in (True, False):
        model = make(pass_non_finite=option)
        images = pictures(1, 1)
        images[0, 0, 0, 0] = float("nan")
        support = support_of(model, images, squares(1))
        if option:
            assert model.first_stage(support).positive.isnan().any()
        else:
            with pytest.raises(ModelError, match="not finite"):
                model.first_stage(support)


@pytest.mark.parametrize("option", [True, False])
# Only where SAM's features are resized to another grid, as with VGG-16.
@pytest.mark.parametrize("grid", [8, 16])
def test_q8_sam2_fusion_gets_no_gradient_where_it_is_resized(option: bool, grid: int) -> None:
    model = make(freeze_sam_fusion=option).train()
    support = support_of(model, pictures(2, 1), squares(2), grid=grid)
    query = query_of(model, pictures(2, 2), grid=grid)
    output = model(support, query, decode=decode, point_embeddings=POINTS)
    decode(model.tokens(output.prompts, POINTS)).sum().backward()
    frozen = all(p.grad is None for p in model.sam_downscaling.parameters())
    assert frozen == (option and grid == 16)


def test_q9_the_coarse_masks_of_later_samples_are_empty() -> None:
    model, fixed = make(first_coarse_mask_only=True), make()
    support, query = support_of(model, pictures(2, 1), squares(2)), query_of(model, pictures(2, 2))
    first, coarse = model.first_stage(support), squares(2, 1)
    emptied = coarse.clone()
    emptied[1] = 0
    found = model.second_stage(support, query, first, coarse)
    assert same(found, fixed.second_stage(support, query, first, emptied), atol=0)
    assert not same(found, fixed.second_stage(support, query, first, coarse), atol=1e-3)


# ---- parts switched off -------------------------------------------------------------------------------------------


def test_without_the_negative_branch() -> None:
    model = make(negative=False)
    output = both_stages(model)
    assert output.prompts.negative is None
    assert model.tokens(output.prompts, POINTS).shape == (1, 3, WIDTH)
    assert not [key for key in model.state_dict() if key.startswith(("neg_", "merge_2"))]


def test_without_the_cyclic_bias() -> None:
    # The weights are means over heads; with one head a dropped key shows.
    plain, cyclic = both_stages(make(cyclic=False, heads=1)), both_stages(make(heads=1))
    assert (plain.first.attention > 0).all()
    assert (cyclic.first.attention == 0).any()
    total = plain.first.attention.flatten(2).sum(dim=2)
    assert torch.allclose(total, torch.ones_like(total))


def test_without_sams_features_and_the_second_stage() -> None:
    model = make(sam_features=False, two_stages=False)
    support = model.encode_supports(model.extract(pictures(1, 1)), squares(1))
    query = model.encode_query(model.extract(pictures(1, 2)))
    output = model(support, query, decode=lambda tokens: pytest.fail("decoded"), point_embeddings=POINTS)
    assert output.coarse_logits is None
    assert output.prompts is output.first
    assert model.merge_1[0].in_channels == 2 * WIDTH + 1
    with pytest.raises(UsageError, match="none were given"):
        make().encode_query(model.extract(pictures(1, 2)))


def test_dinov2_as_backbone() -> None:
    options = {"width": 24, "depth": 6, "heads": 2, "pretrain_size": 56}
    model = make(backbone="dinov2_vitb14", backbone_options=options)
    assert both_stages(model).prompts.positive.isfinite().all()
    assert all(key.startswith("backbone.") for key, p in model.named_parameters() if not p.requires_grad)


# ---- hard input, training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [0, 1])
def test_empty_and_full_masks(fill: int) -> None:
    model = make()
    support = support_of(model, pictures(1, 1), torch.full((1, 64, 64), fill))
    query = query_of(model, pictures(1, 2))
    first = model.first_stage(support)
    for coarse in (torch.zeros(1, 64, 64), torch.ones(1, 1, 64, 64, dtype=torch.bool)):
        assert model.second_stage(support, query, first, coarse).positive.isfinite().all()


def test_counts_that_do_not_fit_are_refused() -> None:
    model = make()
    features = model.extract(pictures(3, 1))
    for masks, shots in ((squares(2), 1), (squares(3), 2), (squares(3), 0)):
        with pytest.raises(UsageError, match="shots a sample"):
            model.encode_supports(features, masks, sam_of(pictures(3, 1), 2), shots=shots)


@pytest.mark.parametrize("sam", [1, 2])
def test_gradients_reach_the_head_and_nothing_else(sam: int) -> None:
    model = make(sam=sam).train()
    assert not model.backbone.layer4.training
    before = {key: value.clone() for key, value in model.state_dict().items() if "running" in key}
    logits = decode(model.tokens(both_stages(model, 2).prompts, POINTS))
    segmentation_loss(logits, torch.ones(2, 32, 32)).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == set(model.head_parameters())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def test_the_caller_sets_the_grad_mode() -> None:
    model = make()
    with torch.no_grad():
        assert not both_stages(model).prompts.positive.requires_grad
    assert both_stages(model).prompts.positive.requires_grad
    assert not both_stages(model).coarse_logits.requires_grad
    with torch.inference_mode():
        both_stages(model)


def test_bfloat16_autocast_stays_near() -> None:
    model = make(cyclic=False)
    with torch.no_grad():
        exact = both_stages(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = both_stages(model)
    assert (near.first.positive.float() - exact.first.positive).abs().max() < 0.1
    assert near.prompts.positive.isfinite().all()


def test_dropout_only_in_training() -> None:
    model = make()
    assert same(both_stages(model).prompts, both_stages(model).prompts, atol=0)
    model.train()
    torch.manual_seed(1)
    assert not same(both_stages(model).prompts, both_stages(model).prompts, atol=1e-3)


# ---- the loss -----------------------------------------------------------------------------------------------------


def test_loss_of_a_perfect_and_of_a_wrong_answer() -> None:
    truth = squares(2)[:, None]
    assert float(segmentation_loss((truth - 0.5) * 100, truth)) == pytest.approx(0, abs=1e-4)
    # All wrong: BCE is the margin of 50 (clamped nowhere), Dice close to 1.
    assert float(segmentation_loss((0.5 - truth) * 100, truth)) == pytest.approx(51, abs=1e-2)


def test_loss_takes_a_video_as_one_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    truth = (torch.rand(2, 3, 8, 8, generator=generator) > 0.7).float()
    truth[:, 1] = 0
    whole = segmentation_loss(logits, truth)
    tall = segmentation_loss(logits.reshape(2, 1, 24, 8), truth.reshape(2, 24, 8))
    frames = segmentation_loss(logits.reshape(6, 1, 8, 8), truth.reshape(6, 8, 8))
    assert float(whole) == pytest.approx(float(tall))
    assert abs(float(whole) - float(frames)) > 1e-3
    with pytest.raises(UsageError):
        segmentation_loss(logits, truth[:, :2])
