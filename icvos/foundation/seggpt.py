"""SegGPT as transformers has it: its network loaded from files, and its image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icvos.errors import WeightsError

__all__ = ["PUBLISHED", "load_seggpt", "save_small_seggpt", "seggpt_processor"]


PUBLISHED = "the folder of BAAI/seggpt-vit-large (config.json, model.safetensors) on huggingface.co"


# Of a configuration, beside its sizes.
_OTHERS = (
    "hidden_act", "hidden_dropout_prob", "initializer_range", "layer_norm_eps", "qkv_bias", "drop_path_rate",
    "use_relative_position_embeddings", "beta",
)  # fmt: skip


def seggpt_processor(config: Any) -> Any:
    from transformers import SegGptImageProcessor

    height, width = config.image_size
    return SegGptImageProcessor(size={"height": height // 2, "width": width})


def load_seggpt(path: Path, config: Path) -> Any:
    """Return the network, filled from a file of its weights.

    Raises:
        WeightsError: No configuration, one of another model, or weights that do not fit it.
    """
    from transformers import SegGptConfig, SegGptForImageSegmentation

    from icvos.files import read_json
    from icvos.foundation.construct import load_into, on_meta
    from icvos.foundation.sizes import BOUNDS, check_sizes
    from icvos.foundation.weights import load_state

    if not config.is_file():
        fix = "the authors' own seggpt_vit_large.pth has other names inside; get the converted folder"
        raise WeightsError("no config.json beside the weights", where=path, expected=PUBLISHED, fix=fix)
    content = read_json(config, WeightsError)
    if not isinstance(content, dict) or content.get("model_type") != "seggpt":
        kind = content.get("model_type") if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"the configuration is of '{kind}'", where=config, expected="model_type seggpt")
    # What the network is made of; a file may ask for a billion names of labels beside it.
    known = [name for name in content if name in BOUNDS or name in _OTHERS]
    values = {name: content[name] for name in known}
    try:
        check_sizes("a SegGPT configuration", values)
        made = SegGptConfig.from_dict(values)
        rows, columns = made.image_size
        if rows % (2 * made.patch_size) or columns % made.patch_size:
            raise ValueError(f"image_size {rows}, {columns} does not go into patches of {made.patch_size}")
        with on_meta():
            network = SegGptForImageSegmentation(made)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise WeightsError(f"the configuration cannot be used ({text})", where=config) from None
    load_into(network, load_state(path), where=path, what="SegGPT as config.json describes it")
    return network.eval().requires_grad_(False)


def save_small_seggpt(folder: Path, *, seed: int = 0) -> Path:
    """Write a network of a few thousand random weights as Hugging Face lays it out; return its weights' file.

    It stands in for the published one where only the way through the commands is tried.
    """
    import torch
    from transformers import SegGptConfig, SegGptForImageSegmentation

    torch.manual_seed(seed)
    config = SegGptConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=[64, 32],
        patch_size=8,
        merge_index=1,
        intermediate_hidden_state_indices=[1, 2, 3],
        decoder_hidden_size=8,
        pretrain_image_size=32,
        mlp_dim=64,
    )
    SegGptForImageSegmentation(config).save_pretrained(folder)
    return folder / "model.safetensors"
