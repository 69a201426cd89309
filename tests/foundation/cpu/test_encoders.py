"""The image encoders in pieces against the packages' own: pieces of any size, batches, windows that need padding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from sam_tiny import tiny_sam1, tiny_sam2, torch

from icvos.foundation.cpu import chunks as pieces
from icvos.foundation.cpu import hiera as hiera_cpu
from icvos.foundation.cpu import matmul as products
from icvos.foundation.cpu.hiera import hiera_in_pieces
from icvos.foundation.cpu.vit import vit_in_pieces

PIECES = (1 << 8, 1 << 14, 1 << 30)


@pytest.fixture(autouse=True, params=(True, False), ids=("small products too", "as used"))
def _products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny models' products and attention go the way of large ones."""
    if request.param:
        monkeypatch.setattr(products, "LEAST", 0)
        monkeypatch.setattr(hiera_cpu, "MANY", 1)


def drawn(batch: int) -> Any:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def check(found: Any, model: Any, run: Callable[[Any, Any], Any], images: Any) -> None:
    """Compare maps with the package's in double precision: they may be off by a few times what its own singles are."""
    own, truth = run(model, images), run(copy.deepcopy(model).double(), images.double())
    assert len(found) == len(own) == len(truth)
    for one, other, true in zip(found, own, truth):
        assert one.dtype == torch.float32 and one.shape == true.shape
        assert (one - true).abs().max() <= 4 * (other - true).abs().max()


@pytest.mark.parametrize(
    "changes",
    (
        {},
        {"window_spec": (4, 4, 6, 3)},  # the third stage's windows are padded
        {"stages": (2, 3, 3, 1), "global_blocks": (6,)},
        {"width": 24, "heads": 2},
    ),
)
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("batch", (1, 3))
def test_sam2_gives_the_packages_maps(
    monkeypatch: pytest.MonkeyPatch, piece: int, batch: int, changes: dict[str, Any]
) -> None:
    sam, images = tiny_sam2(**changes), drawn(batch)
    monkeypatch.setattr(pieces, "PIECE", piece)
    with torch.no_grad():
        decoder = sam.model.sam_mask_decoder
        found = hiera_in_pieces(sam.model.image_encoder, images, (decoder.conv_s0, decoder.conv_s1))
        assert len(found) == 3
        check(found, sam.model, lambda model, x: model.forward_image(x)["backbone_fpn"], images)


@pytest.mark.parametrize("changes", ({}, {"window": 4}, {"depth": 4, "heads": 3, "global_blocks": (0, 2)}))
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("batch", (1, 3))
def test_sam1_gives_the_packages_map(
    monkeypatch: pytest.MonkeyPatch, piece: int, batch: int, changes: dict[str, Any]
) -> None:
    encoder, images = tiny_sam1(**changes).model.image_encoder, drawn(batch)
    monkeypatch.setattr(pieces, "PIECE", piece)
    with torch.no_grad():
        check([vit_in_pieces(encoder, images)], encoder, lambda model, x: [model(x)], images)


@pytest.mark.parametrize("tiny", (tiny_sam1, tiny_sam2))
def test_training_other_devices_and_compiled_blocks_go_the_packages_way(tiny: Any) -> None:
    blocks, images = tiny().encoder_blocks(), drawn(1)
    assert not pieces.fits_pieces(images, blocks)
    with torch.no_grad():
        assert pieces.fits_pieces(images, blocks)
        assert not pieces.fits_pieces(images.to("meta"), blocks)
        blocks[0].compile()
        assert not pieces.fits_pieces(images, blocks)


@pytest.mark.parametrize("tiny", (tiny_sam1, tiny_sam2))
def test_encoding_goes_through_the_pieces_where_it_may(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sam, images = tiny(), drawn(2)
    asked: list[int] = []
    whole = pieces.pieces

    def counted(count: int, values: int) -> Any:
        asked.append(count)
        return whole(count, values)

    for module in ("cpu.hiera", "cpu.vit"):
        monkeypatch.setattr(f"icvos.foundation.{module}.pieces", counted)
    with torch.no_grad():
        found = sam.encode(images)
        assert asked
        asked.clear()
        sam.in_pieces = False
        torch.testing.assert_close(sam.encode(images).embedding, found.embedding, atol=1e-5, rtol=1e-5)
    assert not asked
