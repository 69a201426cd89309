"""SAM 1 and SAM 2 adapters give the packages' own outputs; sizes, meta device, loading, and who may import them."""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sam2")
pytest.importorskip("segment_anything")

from sam_tiny import SAM2_TINY, clip, shake, tiny_sam1, tiny_sam2  # noqa: E402

from icvos.errors import MissingExtraError, ModelError, UsageError, WeightsError  # noqa: E402
from icvos.foundation.construct import count_parameters, on_meta, require_sam  # noqa: E402
from icvos.foundation.load import build_sam, load_sam, open_segmenter, save_sam  # noqa: E402
from icvos.foundation.sam1 import (  # noqa: E402
    SAM1,
    Sam1,
    recognise_sam1,
)
from icvos.foundation.sam2 import Sam2  # noqa: E402
from icvos.foundation.sam2_config import SAM2, Sam2Config, recognise_sam2  # noqa: E402
from icvos.foundation.segmenter import Decoded, Guidance, ImageFeatures  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sam1() -> Any:
    return tiny_sam1()


@pytest.fixture(scope="module")
def sam2() -> Any:
    return tiny_sam2()


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def picture(height: int = 48, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def prompts(count: int, size: int, mask: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(7)
    corner = torch.rand(count, 2, generator=generator) * size / 2
    return {
        "points": (
            torch.rand(count, 3, 2, generator=generator) * size,
            torch.randint(0, 2, (count, 3), generator=generator),
        ),
        "boxes": torch.cat([corner, corner + size / 3], dim=1),
        "masks": torch.randn(count, 1, mask, mask, generator=generator) * 4,
    }


KINDS = (("points",), ("boxes",), ("masks",), ("points", "boxes"), ("points", "boxes", "masks"), ("points", "masks"))


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_sam1_equals_its_predictor(sam1: Any, kinds: tuple[str, ...], multimask: bool, count: int) -> None:
    from segment_anything import SamPredictor

    image = picture()
    predictor = SamPredictor(sam1.model)
    predictor.set_image(image)
    given = {kind: value for kind, value in prompts(count, 64, 16).items() if kind in kinds}
    points = given.get("points", (None, None))
    masks, iou, low = predictor.predict_torch(
        *points, given.get("boxes"), given.get("masks"), multimask_output=multimask, return_logits=True
    )
    features = sam1.encode(image)
    assert torch.allclose(features.embedding, predictor.features, atol=1e-5)
    decoded = sam1.decode(features, **given, multimask=multimask)
    assert decoded.logits.shape == (count, 3 if multimask else 1, 16, 16)
    assert (decoded.logits - low).abs().max() < 1e-5 and (decoded.iou - iou).abs().max() < 1e-5
    assert (sam1.place(image.shape[:2]).restore(decoded.logits) - masks).abs().max() < 1e-4
    assert low.std() > 0.1  # the random weights do say something


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_sam2_equals_its_predictor(sam2: Any, kinds: tuple[str, ...], multimask: bool, count: int) -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    image = picture()
    predictor = SAM2ImagePredictor(sam2.model)
    predictor._bb_feat_sizes = [(16, 16), (8, 8), (4, 4)]  # hard-wired there for 1024 pixels
    predictor.set_image(image)
    given = {kind: value for kind, value in prompts(count, 64, 16).items() if kind in kinds}
    coordinates, labels = given.get("points", (None, None))
    rows = [slice(i, i + 1) for i in range(count)] if kinds == ("masks",) else [slice(None)]  # there, masks go singly
    results = [
        predictor._predict(
            None if coordinates is None else coordinates[row],
            None if labels is None else labels[row],
            given["boxes"][row] if "boxes" in given else None,
            given["masks"][row] if "masks" in given else None,
            multimask,
            return_logits=True,
        )
        for row in rows
    ]
    masks, iou, low = (torch.cat(parts) for parts in zip(*results))
    features = sam2.encode(image)
    assert torch.allclose(features.embedding, predictor._features["image_embed"], atol=1e-5)
    parts = [
        sam2.decode(
            features,
            points=None if coordinates is None else (coordinates[row], labels[row]),
            boxes=given["boxes"][row] if "boxes" in given else None,
            masks=given["masks"][row] if "masks" in given else None,
            multimask=multimask,
        )
        for row in rows
    ]
    logits = torch.cat([part.logits for part in parts])
    assert (logits.clamp(-32, 32) - low).abs().max() < 1e-5
    assert (torch.cat([part.iou for part in parts]) - iou).abs().max() < 1e-5
    assert (sam2.place(image.shape[:2]).restore(logits) - masks).abs().max() < 1e-4


@pytest.mark.parametrize("which", ["sam1", "sam2"])
def test_batching_images_and_prompts(which: str, request: pytest.FixtureRequest) -> None:
    segmenter = request.getfixturevalue(which)
    features = segmenter.encode(torch.randn(2, 3, 64, 64))
    points = prompts(5, 64, 16)["points"]
    index = torch.tensor([0, 1, 1, 0, 1])
    together = segmenter.decode(features, points=points, index=index, multimask=True)
    for i, image in enumerate(index.tolist()):
        alone = segmenter.decode(features[image], points=(points[0][i : i + 1], points[1][i : i + 1]), multimask=True)
        assert (together.logits[i] - alone.logits[0]).abs().max() < 1e-4
    best = together.best()
    assert torch.equal(best.iou[:, 0], together.iou.max(dim=1).values) and best.logits.shape[1] == 1
    joined = ImageFeatures.cat([features[0], features[1]])
    assert torch.equal(joined.embedding, features.embedding) and len(joined.high_res) == len(features.high_res)
    assert torch.equal(features[-1].embedding, features[1].embedding)
    with pytest.raises(UsageError, match="5 prompts cannot be matched with 2 images"):
        segmenter.decode(features, points=points)


@pytest.mark.parametrize("which", ["sam1", "sam2"])
def test_bad_prompts_and_images(which: str, request: pytest.FixtureRequest) -> None:
    segmenter = request.getfixturevalue(which)
    features = segmenter.encode(picture())
    tokens = torch.zeros(1, 2, 32)
    cases: list[dict[str, Any]] = [
        {},
        {"embeddings": tokens, "boxes": torch.zeros(1, 4)},
        {"embeddings": torch.zeros(1, 2, 31)},
        {"masks": torch.zeros(1, 1, 15, 16)},
        {"masks": torch.zeros(1, 1, 16, 16), "dense": torch.zeros(1, 32, 4, 4)},
    ]
    for case in cases:
        with pytest.raises(UsageError):
            segmenter.decode(features, **case)
    for image in (torch.zeros(1, 3, 63, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8), np.zeros((8, 8), np.uint8)):
        with pytest.raises(UsageError):
            segmenter.encode(image)
    dense = torch.randn(1, 32, 4, 4)
    changed = segmenter.decode(features, embeddings=tokens, dense=dense).logits
    assert (changed - segmenter.decode(features, embeddings=tokens).logits).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(64, 64), (30, 64), (1, 200), (200, 3), (97, 131)])
def test_placement(sam1: Any, sam2: Any, shape: tuple[int, int]) -> None:
    """Corners go to corners and back; the padding of SAM 1 is cut off."""
    height, width = shape
    for segmenter in (sam1, sam2):
        place = segmenter.place(shape)
        corner = place.points(torch.tensor([[float(width), float(height)]]))[0].tolist()
        assert corner == pytest.approx([place.content[1], place.content[0]])
        assert place.boxes(torch.tensor([[0.0, 0.0, width, height]])).tolist()[0][2:] == pytest.approx(corner)
        assert segmenter.preprocess(np.zeros((*shape, 3), np.uint8)).shape == (1, 3, 64, 64)
        assert place.restore(torch.randn(2, 1, 16, 16)).shape == (2, 1, *shape)
    assert sam2.place(shape).content == (64, 64) and max(sam1.place(shape).content) == 64


# Guidance (PerSAM).


@pytest.mark.parametrize("which", ["sam1", "sam2"])
def test_guidance(which: str, request: pytest.FixtureRequest) -> None:
    segmenter = request.getfixturevalue(which)
    features, points = segmenter.encode(picture()), prompts(2, 64, 16)["points"]
    plain = segmenter.decode(features, points=points, multimask=True)
    neutral = segmenter.decode(features, points=points, multimask=True, guidance=Guidance())
    assert (plain.logits - neutral.logits).abs().max() < 1e-4  # the same walk, where nothing is added
    guide, target = torch.rand(1, 1, 1, 16), torch.randn(1, 1, 32)
    kinds = [Guidance(guide), Guidance(target=target), Guidance(guide, target), Guidance(guide, target, True)]
    results = [segmenter.decode(features, points=points, guidance=kind).logits for kind in kinds]
    results.append(segmenter.decode(features, points=points).logits)
    for i, first in enumerate(results):
        for second in results[:i]:
            assert (first - second).abs().max() > 1e-3
    assert "forward" not in vars(segmenter.model)
    again = segmenter.decode(features, points=points, multimask=True)
    assert torch.equal(again.logits, plain.logits)  # nothing stays behind


def test_guided_attention_is_a_double_softmax(sam1: Any) -> None:
    """One head, identity projections: A' = softmax(softmax(QK/sqrt d) + guide), worked out by hand."""
    from segment_anything.modeling.transformer import Attention

    from icvos.foundation.guidance import _attend

    attention = Attention(2, 1)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        projection.weight.copy_(torch.eye(2))
        projection.bias.zero_()
    query, keys = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    guide = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    first = np.exp([1 / 2**0.5, 0.0]) / np.exp([1 / 2**0.5, 0.0]).sum()
    second = np.exp(first + [0.0, 1.0]) / np.exp(first + [0.0, 1.0]).sum()
    assert _attend(attention, query, keys, keys, guide)[0, 0].numpy() == pytest.approx(second, abs=1e-6)
    assert _attend(attention, query, keys, keys, None)[0, 0].numpy() == pytest.approx(first, abs=1e-6)


# Sizes, meta device, loading.


@pytest.mark.parametrize(
    ("name", "count", "keys"),
    [
        ("vit_b", 93735472, 314),
        ("vit_l", 312342832, 482),
        ("vit_h", 641090608, 594),
    ],
)
def test_sam1_sizes_on_meta(name: str, count: int, keys: int) -> None:
    from segment_anything import sam_model_registry

    segmenter = build_sam(Sam1, name, meta=True)
    assert all(parameter.is_meta for parameter in segmenter.parameters())
    assert count_parameters(segmenter) == count
    with on_meta():
        package = sam_model_registry[name]()
    ours = {key: value.shape for key, value in segmenter.model.state_dict().items()}
    assert ours == {key: value.shape for key, value in package.state_dict().items()} and len(ours) == keys
    assert recognise_sam1(segmenter.model.state_dict()).name == name


FLAGS = [  # every attribute by which two SAM 2 models with the same keys can differ
    "num_maskmem",
    "image_size",
    "backbone_stride",
    "sigmoid_scale_for_mem_enc",
    "sigmoid_bias_for_mem_enc",
    "binarize_mask_from_pts_for_mem_enc",
    "use_mask_input_as_output_without_sam",
    "max_cond_frames_in_attn",
    "directly_add_no_mem_embed",
    "use_high_res_features_in_sam",
    "multimask_output_in_sam",
    "multimask_min_pt_num",
    "multimask_max_pt_num",
    "multimask_output_for_tracking",
    "use_multimask_token_for_obj_ptr",
    "iou_prediction_use_sigmoid",
    "memory_temporal_stride_for_eval",
    "non_overlap_masks_for_mem_enc",
    "use_obj_ptrs_in_encoder",
    "max_obj_ptrs_in_encoder",
    "add_tpos_enc_to_obj_ptrs",
    "proj_tpos_enc_in_obj_ptrs",
    "use_signed_tpos_enc_to_obj_ptrs",
    "only_obj_ptrs_in_the_past_for_eval",
    "pred_obj_scores",
    "pred_obj_scores_mlp",
    "fixed_no_obj_ptr",
    "soft_no_obj_ptr",
    "use_mlp_for_obj_ptr_proj",
    "num_feature_levels",
]


@pytest.mark.parametrize("name", sorted(SAM2))
def test_sam2_is_built_as_its_yaml_says(name: str) -> None:
    """Keys, shapes, flags and inner settings are those of the package's own configuration, built by hydra."""
    import sam2 as package
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    short = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}[name.split("hiera_")[1]]
    version = name.split("_")[0]
    text = Path(package.__file__).parent / "configs" / version / f"{version}_hiera_{short}.yaml"
    settings = OmegaConf.load(text).model
    settings.binarize_mask_from_pts_for_mem_enc = True
    with on_meta():
        official = instantiate(settings, _recursive_=True)
    ours = build_sam(Sam2, name, meta=True)
    assert all(parameter.is_meta for parameter in ours.parameters())
    assert {k: v.shape for k, v in ours.model.state_dict().items()} == {
        k: v.shape for k, v in official.state_dict().items()
    }
    assert {flag: getattr(ours.model, flag) for flag in FLAGS} == {flag: getattr(official, flag) for flag in FLAGS}
    for path, attributes in {
        "image_encoder": ["scalp"],
        "image_encoder.trunk": ["window_spec", "global_att_blocks", "stage_ends", "q_pool_blocks", "q_stride"],
        "image_encoder.neck": ["fpn_interp_model", "fuse_type", "fpn_top_down_levels", "d_model"],
        "memory_attention": ["pos_enc_at_input", "num_layers", "batch_first"],
        "memory_attention.layers.0": [
            "pos_enc_at_attn",
            "pos_enc_at_cross_attn_keys",
            "pos_enc_at_cross_attn_queries",
            "activation_str",
            "dropout_value",
            "dim_feedforward",
        ],
        "memory_attention.layers.0.cross_attn_image": ["rope_k_repeat", "num_heads", "internal_dim", "dropout_p"],
        "sam_prompt_encoder": ["mask_input_size", "image_embedding_size", "input_image_size"],
        "sam_mask_decoder": ["num_mask_tokens", "pred_obj_scores", "use_high_res_features"],
    }.items():
        for attribute in attributes:
            mine, theirs = (getattr(model.get_submodule(path), attribute) for model in (ours.model, official))
            assert mine == theirs or list(mine) == list(theirs), (path, attribute)
    assert ours.model.sam_mask_decoder.dynamic_multimask_via_stability  # what the package's builders add
    assert recognise_sam2(ours.model.state_dict()) == SAM2[name]


def test_published_sam2_parameter_counts() -> None:
    """README of sam2 at 2b90b9f prints 38.9, 46, 80.8 and 224.4 million."""
    counts = [
        round(count_parameters(build_sam(Sam2, f"sam2_hiera_{size}", meta=True)) / 1e6, 1)
        for size in ("tiny", "small", "base_plus", "large")
    ]
    assert counts == [38.9, 46.0, 80.8, 224.4]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("which", ["sam1", "sam2"])
def test_files_of_our_own(which: str, request: pytest.FixtureRequest, tmp_path: Path, half: bool) -> None:
    segmenter = request.getfixturevalue(which)
    save_sam(tmp_path / "tiny.safetensors", segmenter, half=half)
    loaded = load_sam({"sam1": Sam1, "sam2": Sam2}[which], tmp_path / "tiny.safetensors")
    assert loaded.config == segmenter.config and not loaded.training and loaded.dtype == torch.float32
    image, points = picture(), prompts(2, 64, 16)["points"]
    first, second = (s.decode(s.encode(image), points=points, multimask=True).logits for s in (segmenter, loaded))
    if half:
        assert 0 < (first - second).abs().max() < 0.05 * first.abs().max()
    else:
        assert torch.equal(first, second)


def test_checkpoints_in_the_published_layout(tmp_path: Path) -> None:
    """The file is {"model": ...}; the smallest published size on generated weights."""
    torch.manual_seed(0)
    model = build_sam(Sam2, "sam2.1_hiera_tiny").model
    state = model.state_dict()
    torch.save({"model": state}, tmp_path / "sam2.pt")
    loaded = load_sam(Sam2, tmp_path / "sam2.pt")
    assert loaded.name == "sam2.1_hiera_tiny" and not any(p.is_meta for p in loaded.parameters())
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
    old = {key: value for key, value in state.items() if key != "no_obj_embed_spatial"}
    torch.save({"model": old}, tmp_path / "old.pt")
    with pytest.raises(WeightsError, match=r"2\.0 sam2_hiera_tiny .*2 unknown: obj_ptr_tpos_proj"):
        load_sam(Sam2, tmp_path / "old.pt")
    del old["maskmem_tpos_enc"], old["obj_ptr_tpos_proj.weight"], old["obj_ptr_tpos_proj.bias"]
    torch.save({"model": old}, tmp_path / "partial.pt")
    with pytest.raises(WeightsError, match="1 missing: maskmem_tpos_enc"):
        load_sam(Sam2, tmp_path / "partial.pt")
    with pytest.raises(WeightsError, match="no SAM 1 checkpoint"):
        load_sam(Sam1, tmp_path / "sam2.pt")
    torch.save({"w": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="no published SAM 2"):
        load_sam(Sam2, tmp_path / "other.pt")


@pytest.mark.parametrize("model", ["sam1", "sam2"])
def test_a_file_that_lost_its_configuration_says_so(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    segmenter = request.getfixturevalue(model)
    torch.save(segmenter.model.state_dict(), tmp_path / "copy.pth")
    words = (
        rf"the configuration of this SAM {model[-1]} is not in the file.*; in .*copy\.pth; "
        r"expected a \.safetensors with its metadata.*, or a published checkpoint"
    )
    with pytest.raises(WeightsError, match=words):
        open_segmenter(tmp_path / "copy.pth")


def test_a_broken_configuration_inside_is_one_line(sam2: Any, tmp_path: Path) -> None:
    from icvos.foundation.weights import save_state

    for config in ("{", "[]", '{"name": "x", "image_size": 100}', '{"name": "x", "surprise": 1}', '{"width": "a"}'):
        save_state(tmp_path / "x.safetensors", sam2.model.state_dict(), metadata={"sam2_config": config})
        with pytest.raises(WeightsError, match="configuration inside is broken"):
            load_sam(Sam2, tmp_path / "x.safetensors")
        save_state(tmp_path / "y.safetensors", sam2.model.state_dict(), metadata={"sam1_config": config})
        with pytest.raises(WeightsError, match="configuration inside is broken"):
            load_sam(Sam1, tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 100},
        {"version": "3"},
        {"stages": (1, 1, 1)},
        {"global_blocks": (9,)},
        {"global_blocks": (2,)},
        {"heads": 3},
        {"memory_dim": 24},
        {"embed_dim": 30},
        {"num_maskmem": 1},
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="configuration 'tiny'"):
        Sam2Config(**{**SAM2_TINY, **changes})


def test_unknown_names() -> None:
    for kind, near in ((Sam1, "vit_x"), (Sam2, "sam2.1_hiera_tin")):
        with pytest.raises(UsageError, match=f"no SAM {kind.__name__[-1]} '{near}'.*did you mean"):
            build_sam(kind, near)


@pytest.mark.parametrize("size", [128, 192])
def test_a_demo_sized_sam2_learns(size: int) -> None:
    """A few million parameters at 128 to 192 pixels, trained through points: every part of the image path gets a
    gradient, and the loss falls."""
    config = Sam2Config.from_dict(
        json.loads(
            json.dumps(
                Sam2Config(
                    "demo",
                    image_size=size,
                    width=32,
                    stages=(1, 1, 3, 1),
                    global_blocks=(3, 4),
                    window_spec=(8, 4, 4, 4),
                    embed_dim=128,
                    memory_dim=32,
                    memory_layers=2,
                    memory_mlp=256,
                    decoder_mlp=256,
                ).to_dict()
            )
        )
    )
    torch.manual_seed(0)
    segmenter = build_sam(Sam2, config).train()
    assert 1e6 < count_parameters(segmenter) < 6e6
    images, masks = clip(2, size)
    small = torch.nn.functional.interpolate(masks[:, None].float(), segmenter.mask_size)
    points = (torch.tensor([[[size * 0.3 + 10, size / 3 + 10]]]).expand(2, -1, -1), torch.ones(2, 1, dtype=torch.int))
    optimizer = torch.optim.AdamW(segmenter.parameters(), 3e-3)
    losses = []
    with torch.enable_grad():
        for _ in range(4):
            decoded = segmenter.decode(segmenter.encode(images), points=points)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(decoded.logits, small)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    silent = [name for name, p in segmenter.model.image_encoder.named_parameters() if p.grad is None]
    # scalp drops the coarsest level from the outputs, yet it feeds the next by the top-down path.
    assert silent == []


# Who may import the packages.


def test_only_the_foundation_imports_sam() -> None:
    found = {}
    for folder in ("icvos", "baselines", "dcsam", "leaderboards", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names.add((node.module or "").partition(".")[0])
                elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    if called in ("import_module", "__import__", "require", "importorskip"):
                        names.add(str(node.args[0].value).partition(".")[0])
            if names & {"sam2", "segment_anything"}:
                found[path.relative_to(ROOT).as_posix()] = names
    assert found and all(path.startswith("icvos/foundation/") for path in found), found


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing is free; the first use names the extra in one line."""
    import importlib

    for module in [name for name in sys.modules if name.partition(".")[0] in ("sam2", "segment_anything")]:
        monkeypatch.delitem(sys.modules, module)

    class Absent:
        @staticmethod
        def find_spec(name: str, *rest: object) -> None:
            if name.partition(".")[0] in ("sam2", "segment_anything"):
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    for name in ("segmenter", "guidance", "sam1", "sam2_config", "sam2", "tracker", "weights", "download"):
        importlib.import_module(f"icvos.foundation.{name}")
    for build, package in (
        (lambda: build_sam(Sam1, "vit_b"), "segment-anything"),
        (lambda: build_sam(Sam2, "sam2_hiera_tiny"), "sam2"),
    ):
        with pytest.raises(MissingExtraError, match=rf"needs the package {package}; install it .*\[sam\]"):
            build()
    with pytest.raises(MissingExtraError):
        require_sam("sam2", "x")


def test_on_meta_leaves_nothing_behind() -> None:
    with contextlib.suppress(ZeroDivisionError), on_meta():
        assert torch.zeros(1).is_meta and not torch.zeros(1, device="cpu").is_meta
        raise ZeroDivisionError
    assert not torch.zeros(1).is_meta
    # Rotary tables are plain attributes that no checkpoint fills: they must be real.
    layer = build_sam(Sam2, "sam2_hiera_tiny", meta=True).model.memory_attention.layers[0]
    assert not layer.self_attn.freqs_cis.is_meta
    assert copy.deepcopy(SAM1["vit_b"]) == SAM1["vit_b"] and shake is not None


def test_weights_need_no_torch() -> None:
    """The command that fetches what torch will read runs in the core install."""
    code = (
        "import sys, icvos.commands.weights, icvos.foundation.weights, icvos.foundation.download as d;"
        "assert not {'torch', 'sam2', 'segment_anything', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_no_empty_mask(value: float) -> None:
    logits = torch.zeros(1, 1, 4, 4)
    logits[0, 0, 2, 2] = value
    with torch.no_grad(), pytest.raises(ModelError, match="the mask decoder gave values that are no numbers"):
        Decoded(logits, torch.zeros(1, 1))
    with torch.enable_grad():  # training has a guard of its own
        assert Decoded(logits, torch.zeros(1, 1)).logits is logits
    odd = torch.full((1, 1), value)
    for others in ({"iou": odd}, {"iou": torch.zeros(1, 1), "object_score": odd}):
        with torch.no_grad(), pytest.raises(ModelError, match="no numbers"):
            Decoded(torch.zeros(1, 1, 4, 4), **others)


def test_shapes_alone_import_no_compiler() -> None:
    """Random initial values and products on the meta device import torch's compiler: a second of each process."""
    code = (
        "import sys, torch\n"
        "from icvos.foundation.construct import on_meta\n"
        "from icvos.foundation.load import build_sam\n"
        "from icvos.foundation.sam2 import Sam2\n"
        "sam = build_sam(Sam2, 'sam2.1_hiera_tiny', meta=True)\n"
        "with on_meta():\n"
        "    layer, scaled = torch.nn.Linear(3, 2), 2.0 * torch.ones(3)\n"
        "print(layer.weight.is_meta, tuple(scaled.shape), scaled.is_meta, 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n")[0] == "True (3,) True False"
