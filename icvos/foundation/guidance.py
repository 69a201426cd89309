"""The two-way transformer of SAM and SAM 2 with guided attention (PerSAM, arXiv 2305.03048, section 3.2).

Both packages give their blocks the same parts under the same names, so that one walk over them serves both, unmodified.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from icvos.foundation.segmenter import Guidance

__all__ = ["guided", "guided_transformer"]


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor, guide: Tensor | None) -> Tensor:
    if guide is None:
        return attention(q=query, k=key, v=value)
    heads = attention.num_heads
    q, k, v = (
        projection(x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for projection, x in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value))
    )
    weights = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1)
    # The second softmax is the paper's, though it flattens the weights to a ratio of at most e^2.
    weights = torch.softmax(weights + guide, dim=-1)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2))


def _block(block: Any, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor, guide: Tensor | None) -> Any:
    if block.skip_first_layer_pe:
        tokens = block.self_attn(q=tokens, k=tokens, v=tokens)
    else:
        query = tokens + token_pe
        tokens = tokens + block.self_attn(q=query, k=query, v=tokens)
    tokens = block.norm1(tokens)
    update = _attend(block.cross_attn_token_to_image, tokens + token_pe, image + image_pe, image, guide)
    tokens = block.norm2(tokens + update)
    tokens = block.norm3(tokens + block.mlp(tokens))
    update = block.cross_attn_image_to_token(q=image + image_pe, k=tokens + token_pe, v=tokens)
    return tokens, block.norm4(image + update)


def guided_transformer(
    transformer: Any, image: Tensor, image_pe: Tensor, tokens: Tensor, guidance: Guidance
) -> tuple[Tensor, Tensor]:
    """Run a two-way transformer under guidance.

    Args:
        transformer: The package's ``TwoWayTransformer``.
        image: (P, C, h, w) image embedding with the dense prompt.
        image_pe: (P, C, h, w) position code.
        tokens: (P, N, C) output and prompt tokens.
        guidance: What to add.

    Returns:
        tokens (P, N, C) and image (P, h*w, C), as the transformer itself.
    """
    image, image_pe = image.flatten(2).transpose(1, 2), image_pe.flatten(2).transpose(1, 2)
    target = guidance.target if guidance.target is not None else torch.zeros_like(tokens[:1, :1])
    code = tokens + target if guidance.target_in_prompt else tokens
    for number, block in enumerate(transformer.layers):
        # With the target already in the prompt, the first block must not get it twice.
        tokens = code if number == 0 and guidance.target_in_prompt else tokens + target
        tokens, image = _block(block, tokens, image, code, image_pe, guidance.attention)
    query = tokens + code + target
    tokens = tokens + transformer.final_attn_token_to_image(q=query, k=image + image_pe, v=image)
    return transformer.norm_final_attn(tokens), image


@contextmanager
def guided(transformer: nn.Module, guidance: Guidance | None) -> Iterator[None]:
    """Let ``transformer`` run under guidance inside the block; not for two threads at once."""
    if guidance is None:
        yield
        return

    def forward(image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return guided_transformer(transformer, image, image_pe, tokens, guidance)

    transformer.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del transformer.forward
