"""Configurations of SAM 2 and 2.1 (arXiv 2408.00714), the published sizes and any other, built without hydra.

The published ones are those of the package's own YAML files (a test compares them); a small one is a handful of
numbers: ``Sam2Config("demo", image_size=128, width=32, stages=(1, 1, 2, 1), ...)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from icvos.data.lineage import DRAWN, SAM2_DATA
from icvos.errors import UsageError, WeightsError, in_words
from icvos.foundation.construct import require_sam
from icvos.foundation.sizes import check_sizes
from icvos.foundation.weights import WITH_METADATA

__all__ = ["OBJECT_SCORES", "SAM2", "Sam2Config", "build_model", "recognise_sam2"]


#: How the names of tensors begin that a model without object scores has not.
OBJECT_SCORES = ("sam_mask_decoder.obj_score_token", "sam_mask_decoder.pred_obj_score_head", "no_obj_ptr")
MOST_BLOCKS = 192
MOST_TABLES = 512 << 20


@dataclass(frozen=True)
class Sam2Config:
    """Sizes of a SAM 2, each within ``icvos.foundation.sizes.BOUNDS``.

    At most 192 blocks (the published have up to 48), and rotary tables of at most 512 MiB (34 MB).

    Attributes:
        name: What it is called.
        version: "2.1" adds the no-object embedding to memories and signed, projected positions to object pointers.
        image_size: Side of the square input, a multiple of 32 and of 4 * window_spec[0].
        width, heads: Of the first stage of the Hiera image encoder; both double at each stage.
        stages: Blocks of its four stages.
        global_blocks: Blocks that attend to the whole image.
        window_spec: Window of each stage.
        background: Side of the coarse position embedding.
        embed_dim: C of the features, prompts, decoder and memory attention; a multiple of 8.
        memory_dim: Channels of a memory; divides embed_dim.
        memory_layers, memory_mlp: Depth and hidden width of the memory attention.
        memory_heads: Its heads.
        dropout: Of the memory attention, in training.
        decoder_heads, decoder_mlp: Of the mask decoder's two-way transformer.
        num_maskmem: Memories attended to, the prompted frame included.
        max_object_pointers: Object pointers attended to.
        dynamic_multimask: Outside training, an unstable single mask gives way to the best of three (the package's
            builders switch it on).
        binarize_prompted: Outside training, the mask of a prompted frame enters memory as 0 or 1 (its video builder
            switches it on).
        pred_obj_scores: Judge on each frame whether the object is there; off, masks and pointers are never gated, and
            the tensors of ``OBJECT_SCORES`` have no place.
    """

    name: str
    version: str = "2.1"
    image_size: int = 1024
    width: int = 96
    heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7
    embed_dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_mlp: int = 2048
    memory_heads: int = 1
    dropout: float = 0.1
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    num_maskmem: int = 7
    max_object_pointers: int = 16
    dynamic_multimask: bool = True
    binarize_prompted: bool = True
    pred_obj_scores: bool = True

    def __post_init__(self) -> None:
        check_sizes("a SAM 2 configuration", self)
        problem = self._problem()
        if problem:
            raise UsageError(f"SAM 2 configuration '{self.name}': {problem}")

    def _problem(self) -> str | None:
        step = 4 * self.window_spec[0]
        if self.version not in ("2.0", "2.1"):
            return f"version {in_words(self.version)} is neither 2.0 nor 2.1"
        if len(self.stages) != 4 or len(self.window_spec) != 4 or min(self.stages) < 1:
            return "stages and window_spec need four positive numbers each"
        if self.image_size % 32 or self.image_size % step:
            return f"image_size {self.image_size} is no multiple of 32 and of {step} (4 times the first window)"
        if self.width % self.heads or self.embed_dim % self.memory_dim or self.memory_dim % 4:
            return "heads must divide width, memory_dim embed_dim, and 4 memory_dim"
        if self.embed_dim % (4 * self.memory_heads) or self.embed_dim % (2 * self.decoder_heads) or self.embed_dim % 8:
            return "embed_dim must be a multiple of 8, of 4 * memory_heads and of 2 * decoder_heads"
        if any(not 0 <= block < sum(self.stages) for block in self.global_blocks):
            return f"global_blocks {in_words(self.global_blocks)} go beyond the {sum(self.stages)} blocks"
        pooling = {sum(self.stages[:stage]) for stage in (1, 2, 3)}
        if pooling & set(self.global_blocks) or min(self.window_spec[:3]) < 2:
            blocks = in_words(sorted(pooling))
            return f"blocks {blocks} pool within windows: they cannot be global, nor their windows under 2"
        if sum(self.stages) > MOST_BLOCKS:
            return f"{sum(self.stages)} blocks are more than {MOST_BLOCKS}"
        # Of self and cross attention, complex64 of half the channels of a head: no file holds them.
        tables = self.memory_layers * 2 * self.grid**2 * self.embed_dim // self.memory_heads * 4
        if tables > MOST_TABLES:
            return f"its rotary tables would take {tables / 2**20:,.0f} MiB, more than {MOST_TABLES >> 20}"
        if self.num_maskmem < 2 or self.max_object_pointers < 2:
            return "num_maskmem and max_object_pointers must be at least 2"
        return None

    @property
    def grid(self) -> int:
        """Side of the image embedding."""
        return self.image_size // 16

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sam2Config:
        """Build from plain values.

        Raises:
            UsageError: A value is unknown, or the sizes do not fit.
        """
        if not isinstance(values, Mapping):
            raise UsageError("a SAM 2 configuration that is no object of values by name")
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown or "name" not in values:
            raise UsageError(f"SAM 2 configuration with unknown or missing values: {', '.join(unknown) or 'name'}")
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)


_TINY = Sam2Config("sam2.1_hiera_tiny")
_NEW = {
    "tiny": _TINY,
    "small": replace(_TINY, name="sam2.1_hiera_small", stages=(1, 2, 11, 2), global_blocks=(7, 10, 13)),
    "base_plus": replace(
        _TINY,
        name="sam2.1_hiera_base_plus",
        width=112,
        heads=2,
        stages=(2, 3, 16, 3),
        global_blocks=(12, 16, 20),
        background=14,
    ),
    "large": replace(
        _TINY,
        name="sam2.1_hiera_large",
        width=144,
        heads=2,
        stages=(2, 6, 36, 4),
        global_blocks=(23, 33, 43),
        window_spec=(8, 4, 16, 8),
    ),
}
_OLD = {size: replace(config, name=f"sam2_hiera_{size}", version="2.0") for size, config in _NEW.items()}

#: The published sizes by name, ``sam2_hiera_tiny`` to ``sam2.1_hiera_large``.
SAM2 = {config.name: config for config in (*_OLD.values(), *_NEW.values())}

#: What a SAM 2 has seen, by its name: the published sizes, and the one of ``icvos train demo-sam2``.
SEEN = {**dict.fromkeys(SAM2, SAM2_DATA), "demo": DRAWN.data}


def build_model(config: Sam2Config) -> Any:
    """Build the package's ``SAM2Base`` with random weights.

    Raises:
        MissingExtraError: ``sam2`` is not installed.
    """
    user = f"SAM 2 ({config.name})"
    base = require_sam("sam2.modeling.sam2_base", user)
    transformer = require_sam("sam2.modeling.sam.transformer", user)
    new = config.version == "2.1"
    extra: dict[str, Any] = {}
    if config.dynamic_multimask:
        extra = {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        }
    model = base.SAM2Base(
        image_encoder=_image_encoder(config),
        memory_attention=_memory_attention(config),
        memory_encoder=_memory_encoder(config),
        num_maskmem=config.num_maskmem,
        image_size=config.image_size,
        backbone_stride=16,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        binarize_mask_from_pts_for_mem_enc=config.binarize_prompted,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        max_obj_ptrs_in_encoder=config.max_object_pointers,
        add_tpos_enc_to_obj_ptrs=new,
        proj_tpos_enc_in_obj_ptrs=new,
        use_signed_tpos_enc_to_obj_ptrs=new,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=config.pred_obj_scores,
        pred_obj_scores_mlp=config.pred_obj_scores,
        fixed_no_obj_ptr=config.pred_obj_scores,
        use_mlp_for_obj_ptr_proj=True,
        no_obj_embed_spatial=new,
        sam_mask_decoder_extra_args=extra,
    )
    if (config.decoder_heads, config.decoder_mlp) != (8, 2048):
        # The package fixes these two sizes; its own class with others takes the place.
        model.sam_mask_decoder.transformer = transformer.TwoWayTransformer(
            depth=2, embedding_dim=config.embed_dim, num_heads=config.decoder_heads, mlp_dim=config.decoder_mlp
        )
    return model


def _sine(channels: int) -> Any:
    positions = require_sam("sam2.modeling.position_encoding", "SAM 2")
    return positions.PositionEmbeddingSine(num_pos_feats=channels, normalize=True, warmup_cache=False)


def _image_encoder(config: Sam2Config) -> Any:
    hiera = require_sam("sam2.modeling.backbones.hieradet", "SAM 2")
    encoder = require_sam("sam2.modeling.backbones.image_encoder", "SAM 2")
    trunk = hiera.Hiera(
        embed_dim=config.width,
        num_heads=config.heads,
        stages=config.stages,
        global_att_blocks=config.global_blocks,
        window_spec=config.window_spec,
        window_pos_embed_bkg_spatial_size=(config.background, config.background),
    )
    neck = encoder.FpnNeck(
        position_encoding=_sine(config.embed_dim),
        d_model=config.embed_dim,
        backbone_channel_list=[config.width * 2**stage for stage in (3, 2, 1, 0)],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return encoder.ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def _memory_attention(config: Sam2Config) -> Any:
    memory = require_sam("sam2.modeling.memory_attention", "SAM 2")
    transformer = require_sam("sam2.modeling.sam.transformer", "SAM 2")

    def attention(**more: Any) -> Any:
        return transformer.RoPEAttention(
            embedding_dim=config.embed_dim,
            num_heads=config.memory_heads,
            downsample_rate=1,
            dropout=config.dropout,
            rope_theta=10000.0,
            feat_sizes=(config.grid, config.grid),
            **more,
        )

    layer = memory.MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=config.memory_mlp,
        dropout=config.dropout,
        d_model=config.embed_dim,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=attention(),
        cross_attention=attention(rope_k_repeat=True, kv_in_dim=config.memory_dim),
    )
    return memory.MemoryAttention(
        d_model=config.embed_dim, pos_enc_at_input=True, layer=layer, num_layers=config.memory_layers
    )


def _memory_encoder(config: Sam2Config) -> Any:
    memory = require_sam("sam2.modeling.memory_encoder", "SAM 2")
    block = memory.CXBlock(dim=config.embed_dim, kernel_size=7, padding=3, layer_scale_init_value=1e-6)
    return memory.MemoryEncoder(
        in_dim=config.embed_dim,
        out_dim=config.memory_dim,
        mask_downsampler=memory.MaskDownSampler(embed_dim=config.embed_dim, kernel_size=3, stride=2, padding=1),
        fuser=memory.Fuser(block, num_layers=2),
        position_encoding=_sine(config.memory_dim),
    )


def recognise_sam2(state: Mapping[str, Any], *, where: str | Path = "the checkpoint") -> Sam2Config:
    """Tell a published SAM 2 from its keys: 2.1 holds ``no_obj_embed_spatial``, 2.0 does not.

    Raises:
        WeightsError: It is none of them.
    """
    patch = state.get("image_encoder.trunk.patch_embed.proj.weight")
    if patch is not None:
        blocks = {int(key.split(".")[3]) for key in state if key.startswith("image_encoder.trunk.blocks.")}
        for config in (_NEW if "no_obj_embed_spatial" in state else _OLD).values():
            if config.width == patch.shape[0] and sum(config.stages) == len(blocks):
                return config
        raise WeightsError(
            "the configuration of this SAM 2 is not in the file, and its sizes are of no published one",
            where=where,
            expected=f"{WITH_METADATA}, or a published checkpoint (SAM 2.0 or 2.1, tiny to large)",
        )
    raise WeightsError("no published SAM 2 checkpoint", where=where, expected="SAM 2.0 or 2.1, tiny to large")
