"""SAM 2's memory attention in pieces against the package's: heads, pointers, several memories, objects of one frame."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from sam_tiny import balance, clip, tiny_sam2, torch

from icvos.foundation.cpu import matmul as products
from icvos.foundation.cpu import memory as memory_cpu
from icvos.foundation.cpu.memory import attended_memory, fits_memory
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.tracker import Tracker, TrackerOptions


def drawn(*shape: int, seed: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "changes",
    ({}, {"heads_inside": 2}, {"heads_inside": 2, "memory_dim": 8}, {"memory_dim": 32}, {"at_attn": True}),
    ids=("plain", "heads", "heads and few channels", "many channels", "places"),
)
@pytest.mark.parametrize(("memories", "pointers"), [(1, 0), (3, 4)])
@pytest.mark.parametrize("objects", [1, 3])
def test_equals_the_packages_attention(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], memories: int, pointers: int, objects: int
) -> None:
    monkeypatch.setattr(products, "SCORES", 500)
    monkeypatch.setattr(products, "LEAST", 0)
    sizes = {"memory_dim": changes["memory_dim"]} if "memory_dim" in changes else {}
    model = tiny_sam2(**sizes).model
    attention = model.memory_attention
    for layer in attention.layers:
        layer.pos_enc_at_attn = layer.pos_enc_at_cross_attn_queries = changes.get("at_attn", False)
        for part in (layer.self_attn, layer.cross_attn_image):
            part.num_heads = changes.get("heads_inside", 1)
            part.compute_cis.keywords["dim"] = part.internal_dim // part.num_heads
            part.freqs_cis = part.compute_cis(end_x=4, end_y=4)
    places = model.sam_image_embedding_size**2
    count = memories * places + pointers
    frame = drawn(places, 1, model.hidden_dim, seed=1).expand(-1, objects, -1)
    frame_places = drawn(places, 1, model.hidden_dim, seed=2).expand(-1, objects, -1)
    memory, memory_places = (drawn(count, objects, model.mem_dim, seed=n) for n in (3, 4))
    with torch.no_grad():
        expected = attention([frame], memory, [frame_places], memory_places, pointers)
        for shared in (True, False):
            found = attended_memory(attention, frame, memory, frame_places, memory_places, pointers, shared=shared)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_what_objects_share_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_cpu, "LEAST", 1)
    images, masks = clip(2)
    segmenter = tiny_sam2()
    seen: list[int] = []
    layers = segmenter.model.memory_attention.layers
    for layer in layers:
        layer.norm1.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    with torch.no_grad():
        list(Tracker(segmenter).track(images, Prompt(masks=masks[[0, 1, 1]])))
    assert seen == [1] + [3] * (len(layers) - 1)


def test_a_video_is_tracked_as_the_package_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With memories in single precision: bfloat16 would make some of the last digits' differences larger."""
    monkeypatch.setattr(products, "SCORES", 500)
    monkeypatch.setattr(products, "LEAST", 0)
    monkeypatch.setattr(memory_cpu, "LEAST", 1)
    images, masks = clip(20)
    segmenter = tiny_sam2()
    balance(segmenter, images, masks[0])
    segmenter.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.add_(100.0)
    plain = copy.deepcopy(segmenter)
    plain.in_pieces = False
    with torch.no_grad():
        found = []
        for each in (segmenter, plain):
            tracker = Tracker(each, TrackerOptions(memory_dtype=None))
            found.append([frame.logits for frame in tracker.track(images, Prompt(masks=masks[[0, 3]]), num_frames=20)])
    mine, theirs = (torch.stack(each) for each in found)
    assert not torch.equal(mine, theirs)  # hence the other way was taken
    torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-4)


def test_small_frames_training_gradients_autocast_and_other_devices_go_the_packages_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = tiny_sam2()
    with torch.no_grad():
        assert not fits_memory(segmenter)
    monkeypatch.setattr(memory_cpu, "LEAST", 1)
    assert not fits_memory(segmenter)
    with torch.no_grad():
        assert fits_memory(segmenter)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not fits_memory(segmenter)
        segmenter.train()
        assert not fits_memory(segmenter)
        assert not fits_memory(segmenter.eval().to("meta"))
