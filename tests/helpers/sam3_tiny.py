"""Tiny SAM 3 networks with random weights, as folders that Hugging Face would lay out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

SIDE, WIDTH = 112, 128
VISION: dict[str, Any] = {
    "model_type": "sam3_vision_model",
    "fpn_hidden_size": WIDTH,
    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    },
}
TRACKER: dict[str, Any] = {
    "vision_config": VISION,
    "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE, "mask_input_channels": 8},
    "mask_decoder_config": {
        "hidden_size": WIDTH,
        "mlp_dim": 64,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    },
    "image_size": SIDE,
    "memory_attention_hidden_size": WIDTH,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 64,
    "memory_encoder_hidden_size": WIDTH,
    "mask_downsampler_embed_dim": WIDTH,
    "memory_fuser_embed_dim": WIDTH,
    "memory_fuser_intermediate_dim": 64,
}
_PART = {"hidden_size": WIDTH, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
DETECTOR: dict[str, Any] = {
    "vision_config": VISION,
    "text_config": {
        "model_type": "clip_text_model",
        "vocab_size": 20,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "projection_dim": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "geometry_encoder_config": _PART,
    "detr_encoder_config": _PART,
    "detr_decoder_config": {**_PART, "num_queries": 10},
    "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": 2},
}


def save_tiny_sam3(folder: Path) -> Path:
    """Write both networks as one ``sam3_video``, as facebook/sam3 is, and a tokenizer of a few words.

    Objects are present on every frame, and some queries are detections.
    """
    torch.manual_seed(0)
    tracker = transformers.Sam3TrackerVideoModel(transformers.Sam3TrackerVideoConfig(**TRACKER))
    detector = transformers.Sam3Model(transformers.Sam3Config(**DETECTOR))
    for network in (tracker, detector):
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                torch.nn.init.normal_(value, std=1.5 * value[0].numel() ** -0.5)
            elif not name.endswith("weight"):
                torch.nn.init.normal_(value, std=0.2)
    tracker.state_dict()["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(30.0)
    detector.state_dict()["detr_decoder.presence_head.layer3.bias"].fill_(1.5)
    state = {}
    for name, value in tracker.state_dict().items():
        if not name.startswith("vision_encoder.backbone."):
            neck = name.startswith("vision_encoder.neck.")
            state[name.replace("vision_encoder.neck.", "tracker_neck.") if neck else f"tracker_model.{name}"] = value
    state |= {f"detector_model.{name}": value for name, value in detector.state_dict().items()}
    folder.mkdir(parents=True)
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    halves = {"detector_config": detector.config.to_dict(), "tracker_config": tracker.config.to_dict()}
    (folder / "config.json").write_text(json.dumps({"model_type": "sam3_video", **halves}))
    save_tiny_tokenizer(folder)
    return folder


def save_tiny_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: number for number, word in enumerate(("<start>", "<end>", "?", "visual", "dog", "red"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
