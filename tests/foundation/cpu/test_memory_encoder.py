"""SAM 2's memory encoder on the CPU against the package's: objects, masks as logits or not, and where it runs."""

from __future__ import annotations

import pytest
from sam_tiny import tiny_sam2, torch

from icvos.foundation.cpu import matmul as products
from icvos.foundation.cpu import memory as memory_cpu
from icvos.foundation.cpu.memory_encoder import encoded_memory, quick_memory_encoder


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("changes", ({}, {"memory_dim": 32}), ids=("plain", "no last projection"))
def test_equals_the_packages_encoder(
    monkeypatch: pytest.MonkeyPatch, objects: int, ready: bool, changes: dict[str, int]
) -> None:
    monkeypatch.setattr(products, "LEAST", 0)
    model = tiny_sam2(**changes).model
    generator = torch.Generator().manual_seed(1)
    grid = model.sam_image_embedding_size
    features = torch.randn(objects, model.hidden_dim, grid, grid, generator=generator)
    masks = torch.randn(objects, 1, model.image_size, model.image_size, generator=generator)
    with torch.no_grad():
        expected = model.memory_encoder(features, masks, skip_mask_sigmoid=ready)
        found = encoded_memory(model.memory_encoder, features, masks, skip_mask_sigmoid=ready)
    for one, other in (
        (found["vision_features"], expected["vision_features"]),
        (found["vision_pos_enc"][0], expected["vision_pos_enc"][0]),
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_only_where_memories_may_be_worked_out_so_and_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = tiny_sam2()
    encoder = segmenter.model.memory_encoder
    monkeypatch.setattr(memory_cpu, "LEAST", 1)
    with quick_memory_encoder(segmenter):
        assert "forward" not in vars(encoder)
    with torch.no_grad(), quick_memory_encoder(segmenter):
        assert "forward" in vars(encoder)
    assert "forward" not in vars(encoder)
    encoder.compile()
    with torch.no_grad(), quick_memory_encoder(segmenter):
        assert "forward" not in vars(encoder)
