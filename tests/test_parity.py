"""The reference's own numbers: every fixture of the parity folders, by its family (see the folders' READMEs).

``pytest tests/test_parity.py --parity-dir DIR``; by default ../shared/parity (parts of the model),
../shared/parity_end_to_end (whole runs: ``parity_runs.py``, ``parity_training.py``) and ../shared/parity_methods (other
methods), where they are present.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity_insid3
import pytest
import torch
from parity_policies import check_policy
from parity_runs import check_image, check_scores, check_video
from parity_sam3 import check_sam3_canvas, check_sam3_tracker
from parity_sansa import SANSA
from parity_scheme import WeightFiles, generated, near
from parity_training import check_training
from shared_data import SHARED
from torch import Tensor, nn

from dcsam.attention import CyclicAttention, cyclic_attention
from dcsam.checkpoint import file_key
from dcsam.config import DCSAMConfig
from dcsam.features import QueryState, SamFeatures, SupportState
from dcsam.model import DCSAM
from dcsam.prompts import PromptDecoder
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.prior import prior_mask
from icvos.training.loss import segmentation_loss

DEFAULT = ("parity", "parity_end_to_end", "parity_methods")
BACKBONES = {"r50": "resnet50", "vgg": "vgg16_bn"}


def folders(config: pytest.Config) -> list[Path]:
    named = config.getoption("--parity-dir")
    return [Path(named)] if named else [SHARED / name for name in DEFAULT]


#: Half a minute each or more; another image is run whole all the same.
SLOW = ("f_image_v1_vgg", "g_train_step_v2_vgg_b2", "h_video_eval")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" not in metafunc.fixturenames:
        return
    searched = folders(metafunc.config)
    files = [path for folder in searched for path in sorted(folder.glob("*.npz"))]
    named = metafunc.config.getoption("--parity-dir") is not None
    if files:
        # A folder that was named is checked whole.
        slow = () if named else SLOW
        each = [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in slow)) for path in files]
        metafunc.parametrize("path", each, ids=[path.stem for path in files])
    else:
        # A folder that was named must hold fixtures; the default ones may be absent.
        metafunc.parametrize("path", [searched[0] if named else None], ids=["none"])


def fill(module: nn.Module, skip: tuple[str, ...] = ()) -> nn.Module:
    """Give a module built on the meta device its generated weights; those that a fixture replaces stay out."""
    shapes = {key: value.shape for key, value in module.state_dict().items() if not key.startswith(skip)}
    state = {key: generated(file_key(key), shape) for key, shape in shapes.items()}
    module.load_state_dict(state, assign=True, strict=not skip)
    return module.eval().requires_grad_(False)


class StandIn(nn.Module):
    """The fixtures' layer 4."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x[:, :256] + 0.5 * x[:, 256:512])


def check_core(d: dict, name: str) -> None:
    out, weights = cyclic_attention(d["in_q"], d["in_k"], d["in_v"], d["in_mask"])
    near("out", out, d["out_out"], 1e-4)
    near("weights", weights, d["out_weights"], 1e-4)


def check_attention(d: dict, name: str) -> None:
    with torch.device("meta"):
        attention = CyclicAttention(d["in_q"].shape[2], 4)
    fill(attention)
    q, k, v = (d[key].transpose(0, 1) for key in ("in_q", "in_k", "in_v"))
    out, weights = attention(q, k, v, d["in_mask"], shared_masks=True)
    near("out", out.transpose(0, 1), d["out_out"], 1e-4)
    near("weights", weights, d["out_weights"], 1e-4)


def check_decoder(d: dict, name: str) -> None:
    with torch.device("meta"):
        decoder = PromptDecoder(d["in_x"].shape[1], 4, d["out_stage1"].shape[1], shared_masks=True)
    fill(decoder)
    shots = int(d["in_nshot"])
    features = d["in_x_s"].unflatten(0, (-1, shots))[:, -1:]
    masks = d["in_support_mask"].unflatten(0, (-1, shots))[:, -1]
    first, _ = decoder.first_stage(features, masks)
    near("stage1", first, d["out_stage1"], 5e-4)
    if "out_stage2" in d:
        near("stage2", decoder.second_stage(first, d["in_x"], d["in_query_mask"][:, 0])[0], d["out_stage2"], 5e-4)


def check_prior(d: dict, name: str) -> None:
    near("pseudo", prior_mask(d["in_query_feat_4"], d["in_supp_feat_4"], d["in_mask"]), d["out_pseudo"], 1e-6)


def sam_features(d: dict, side: str) -> SamFeatures:
    if f"in_{side}_sam" in d:
        return SamFeatures(d[f"in_{side}_sam"])
    embedding, *high = (d[f"in_{side}_sam_{part}"] for part in ("embed", "hr0", "hr1"))
    return SamFeatures(embedding, tuple(high))


def build(name: str, queries: int, *, real: bool) -> DCSAM:
    parts = name.split("_")
    sam, backbone = (parts[2:4] if real else parts[1:3])[:2]
    if backbone not in BACKBONES:
        # d_v2_n5 would not name its backbone; only ResNet-50 was used with SAM 2 in such.
        backbone = "r50"
    config = DCSAMConfig.reference(sam=int(sam[1:]), backbone=BACKBONES[backbone], queries=queries)
    with torch.device("meta"):
        model = DCSAM(config)
    if not real:
        model.backbone.layer4 = StandIn()
    return fill(model, () if real else ("backbone.",))


def plugins_call(model: DCSAM, support: SupportState, query: QueryState, d: dict, sides: set[str]) -> dict[str, Tensor]:
    """Both stages by the one call that the plugin makes (``Engine.prompts``), the fixture's mask decoded between them.

    With SAM 1 this is the path with prompts moved in place, where the fixture holds it.
    """
    kind = "_inplace" if model.config.sam == 1 and "in_pe_pos" in d else ""
    if f"pos2{kind}" not in sides:
        return {}
    points = (d["in_pe_neg"], d["in_pe_pos"]) if kind else (torch.zeros(256), torch.zeros(256))
    mask = d["in_pre_mask"].float().reshape(len(query), 1, *d["in_pre_mask"].shape[-2:])
    asked = []

    def decode(tokens: Tensor) -> Tensor:
        asked.append(tokens)
        return mask - 0.5

    output = model(support, query, decode=decode, point_embeddings=points)
    assert len(asked) == 1
    near("pos1", output.first.positive, d["out_pos1"], 1e-3)
    return {f"pos2{kind}": output.prompts.positive, f"neg2{kind}": output.prompts.negative}


def check_generator(d: dict, name: str, *, real: bool = False) -> None:
    tight = 1e-3 if real else 1e-4
    model = build(name, d["out_pos1"].shape[1], real=real)
    shots = int(d.get("in_nshot", 1))
    if real:
        query_features = model.extract(d["in_query_img"], top=True)
        support_features = model.extract(d["in_support_img"])
        for layer, features in (
            ("layer2", query_features.middle),
            ("layer3", query_features.deep),
            ("layer4", query_features.top),
        ):
            if f"out_query_{layer}_sub" in d:
                allowed = 1e-3 if layer == "layer2" else 5e-3
                near(layer, features[:, ::64, ::4, ::4], d[f"out_query_{layer}_sub"], allowed)
    else:
        query_features = BackboneFeatures(d["in_query_feat_2"], d["in_query_feat_3"])
        support_features = BackboneFeatures(d["in_supp_feat_2"], d["in_supp_feat_3"])
    query = model.encode_query(query_features, sam_features(d, "query"))
    support = model.encode_supports(support_features, d["in_support_mask"], sam_features(d, "support"), shots=shots)
    first = model.first_stage(support)
    seen = {
        "pseudo": model.prior(support, query),
        "neg_pseudo": model.prior(support, query, negative=True),
        "prototype": support.prototypes[0].flatten(0, 1),
        "query_feat_1": model.query_features(support, query),
        "supp_feat_1": support.merged[0].flatten(0, 1),
        "pos1": first.positive,
        "neg1": first.negative,
    }
    seen["query_feat_1_sub"] = seen["query_feat_1"][:, ::8]
    if "out_pos2" in d:
        second = model.second_stage(support, query, first, d["in_pre_mask"])
        seen.update(pos2=second.positive, neg2=second.negative)
    if "out_pos2_inplace" in d:
        moved = model.inserted(first, (d["in_pe_neg"], d["in_pe_pos"]))
        second = model.second_stage(support, query, moved, d["in_pre_mask"])
        seen.update(pos2_inplace=second.positive, neg2_inplace=second.negative)
    seen.update(plugins_call(model, support, query, d, sides={"pos2", "pos2_inplace"} & {k[4:] for k in d}))
    for key in d:
        if key.startswith("out_") and not key.startswith("out_query_layer"):
            near(key, seen[key.removeprefix("out_")], d[key], tight)


def check_real(d: dict, name: str) -> None:
    check_generator(d, name, real=True)


def check_loss(d: dict, name: str) -> None:
    logits = d["in_logits"].requires_grad_()
    loss = segmentation_loss(logits, d["in_gt"])
    loss.backward()
    near("loss", loss, d["out_loss"], 1e-6)
    near("gradient", logits.grad, d["out_grad"], 1e-6)


# By prefix; the longest that fits.
FAMILIES = {
    "a_cyc_core": check_core,
    "a_cyc_attn_": check_attention,
    "b_decoder_": check_decoder,
    "c_pseudo_": check_prior,
    "d_v": check_generator,
    "d_real_": check_real,
    "e_loss_": check_loss,
    "policy_": check_policy,
    "insid3_stage_": parity_insid3.check_stage,
    "insid3_whole_": parity_insid3.check_whole,
    **SANSA,
}
# Families of whole runs, which need files.
RUNS = {
    "f_image_": check_image,
    "g_train_step_": check_training,
    "h_video_": check_video,
    "i_scores": check_scores,
    "sam3_canvas_": check_sam3_canvas,
    "sam3_tracker_": check_sam3_tracker,
}


@pytest.fixture(scope="session")
def weight_files(tmp_path_factory: pytest.TempPathFactory) -> WeightFiles:
    return WeightFiles(tmp_path_factory.mktemp("parity_weights"))


def test_equals_the_reference(path: Path | None, weight_files: WeightFiles, tmp_path: Path) -> None:
    if path is None:
        pytest.skip("needs ../shared/parity, which is not part of the repository (or --parity-dir DIR)")
    assert path.suffix == ".npz", f"{path} holds no fixture (.npz)"
    family = next((check for prefix, check in FAMILIES.items() if path.stem.startswith(prefix)), None)
    run = next((check for prefix, check in RUNS.items() if path.stem.startswith(prefix)), None)
    known = ", ".join((*FAMILIES, *RUNS))
    assert family is not None or run is not None, f"unknown family of fixtures: {path.name}; known: {known}"
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    if run is not None:
        run(arrays, path, weight_files, tmp_path)
        return
    inputs = {
        key: torch.from_numpy(value.copy()) if key.startswith("in_") and value.ndim else value
        for key, value in arrays.items()
    }
    family(inputs, path.stem)


# The spot values of the folder's README: the scheme itself is right.
@pytest.mark.parametrize(
    ("key", "shape", "start"),
    [
        ("merge_1.0.weight", (256, 769, 1, 1), (0.0368095, 0.0148417, -0.0580595, -0.0441228)),
        ("transformer_decoder.supp_q_feat.weight", (25, 256), (-1.8674399, 0.2195309, 1.0904084, -1.2710427)),
        ("layer0.1.running_var", (64,), (1.0494665, 1.0423355, 1.0659696, 1.1001173)),
    ],
)
def test_generated_weights(key: str, shape: tuple[int, ...], start: tuple[float, ...]) -> None:
    assert generated(key, torch.Size(shape)).flatten()[:4].tolist() == pytest.approx(start, abs=1e-6)
