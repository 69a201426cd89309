"""Constants on the CPU: one result while the weights keep their values, a new one after any change."""

from __future__ import annotations

from sam_tiny import tiny_sam2, torch

from icvos.foundation.cpu.constants import constant


def test_a_result_is_kept_until_a_weight_or_the_size_changes() -> None:
    owner = torch.nn.Linear(2, 2)
    calls: list[int] = []

    def get(size: int = 1) -> torch.Tensor:
        def compute() -> torch.Tensor:
            calls.append(size)
            return owner.weight * size

        return constant(owner, (owner.weight,), (size,), compute)

    with torch.no_grad():
        assert get() is get() and len(calls) == 1
        owner.weight.data.add_(1.0)
        assert torch.equal(get(), owner.weight) and len(calls) == 2
        assert torch.equal(get(2), owner.weight * 2) and len(calls) == 3
        with torch.autocast("cpu", dtype=torch.bfloat16):
            get(2)
        assert len(calls) == 4
    assert get(2).requires_grad and len(calls) == 5


def test_another_position_embedding_gives_another_embedding() -> None:
    sam, images = tiny_sam2(), torch.ones(1, 3, 64, 64)
    with torch.no_grad():
        before = sam.encode(images).embedding
        assert torch.equal(sam.encode(images).embedding, before)
        sam.model.image_encoder.trunk.pos_embed.data.add_(torch.randn_like(sam.model.image_encoder.trunk.pos_embed))
        after = sam.encode(images).embedding
        assert (after - before).abs().max() > 1e-4
        sam.in_pieces = False
        torch.testing.assert_close(after, sam.encode(images).embedding, atol=1e-5, rtol=1e-5)
        code = sam.dense_pe()
        assert torch.equal(code, sam.model.sam_prompt_encoder.get_dense_pe()) and sam.dense_pe() is code
