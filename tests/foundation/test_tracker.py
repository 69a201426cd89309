"""The streaming tracker equals the package's video predictor, keeps its memory flat, and lets gradients through."""

from __future__ import annotations

import copy
import gc
import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sam2")

from holes_stand_in import connected_components  # noqa: E402
from sam_tiny import balance, clip, tiny_sam1, tiny_sam2  # noqa: E402

from icvos.errors import ModelError, UsageError  # noqa: E402
from icvos.foundation.frame_tracker import Prompt  # noqa: E402
from icvos.foundation.holes import FILLED, fill_holes  # noqa: E402
from icvos.foundation.tracker import MemoryBank, Tracker, TrackerOptions  # noqa: E402

FRAMES = 40  # more than the 16 object pointers that are kept, so that eviction shows


@pytest.fixture(scope="module")
def video() -> tuple[Any, Any]:
    return clip(FRAMES)


@pytest.fixture(scope="module")
def sam2(video: tuple[Any, Any]) -> Any:
    segmenter = tiny_sam2()
    balance(segmenter, video[0], video[1][0])
    return segmenter


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def always_there(segmenter: Any) -> Any:
    """Return a copy that judges the object to be there on every frame, so that all logits show."""
    segmenter = copy.deepcopy(segmenter)
    segmenter.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.add_(100.0)
    return segmenter


def package(
    segmenter: Any,
    images: Any,
    prompts: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    holes: int = 0,
    predictor: str = "sam2_video_predictor",
) -> Any:
    """Run the package's own video predictor with these weights: (T, N, 1, S, S) logits.

    Holes are filled with OpenCV's components in place of those of the package's compiled extension.
    """
    import sam2.utils.misc

    module = importlib.import_module(f"sam2.{predictor}")
    model = copy.deepcopy(segmenter.model)
    model.__class__ = module.SAM2VideoPredictor
    model.fill_hole_area, model.non_overlap_masks = holes, False
    monkeypatch.setattr(sam2.utils.misc, "get_connected_components", connected_components)
    model.clear_non_cond_mem_for_multi_obj = False
    model.clear_non_cond_mem_around_input = model.add_all_frames_to_correct_as_cond = False
    size = segmenter.image_size
    monkeypatch.setattr(module, "load_video_frames", lambda **_: (images, size, size))
    monkeypatch.setattr(module, "tqdm", lambda frames, **_: frames)
    state = model.init_state("unused")
    for number, prompt in enumerate(prompts):
        add = model.add_new_mask if "mask" in prompt else model.add_new_points_or_box
        add(state, frame_idx=0, obj_id=number, **prompt)
    return torch.stack([logits.clone() for _, _, logits in model.propagate_in_video(state)])


def track(segmenter: Any, images: Any, prompt: Prompt, **options: Any) -> Any:
    tracker = Tracker(segmenter, TrackerOptions(**options))
    size = (segmenter.image_size, segmenter.image_size)
    return torch.stack([f.resized(size) for f in tracker.track(images, prompt, num_frames=len(images))])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": "2.0"},  # no signed, projected positions of pointers, no no-object memory
        {"num_maskmem": 3, "max_object_pointers": 4},
        {"image_size": 128, "dynamic_multimask": False, "binarize_prompted": False},
    ],
    ids=["2.1", "2.0", "short memory", "128 px, plain"],
)
def test_equals_the_predictor_on_masks(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """40 frames, the object leaving and coming back, one empty prompt, another object: within 1e-4 on logits.

    By the package's own layers: memories in bfloat16 turn differences in the last digit into larger ones
    (``test_memory_pieces`` compares icvos' own with memories in single precision).
    """
    segmenter = tiny_sam2(**changes)
    segmenter.in_pieces = False
    images, masks = clip(FRAMES, segmenter.image_size)
    assert masks[0].any() and not masks[20].any() and masks[26].any()  # it does leave and come back
    balance(segmenter, images, masks[0])
    other = torch.zeros_like(masks[0])
    other[5:9, 40:60] = True
    given = torch.stack([masks[0], torch.zeros_like(other), other])
    expected = package(segmenter, images, [{"mask": mask} for mask in given], monkeypatch)
    found = track(segmenter, images, Prompt(masks=given))
    assert (found - expected).abs().max() < 1e-4
    # The comparison means something: the object is judged there, then absent, then there again.
    there = (expected[:, 0].amax(dim=(1, 2, 3)) > -1000).tolist()
    turns = [a for a, b in itertools.pairwise(there) if a != b]
    assert len(turns) >= 3 and expected[0, 1].max() < -9


def test_equals_the_predictor_with_a_memory_stride(
    sam2: Any, video: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = copy.deepcopy(sam2)
    segmenter.model.memory_temporal_stride_for_eval = 3
    expected = package(segmenter, video[0], [{"mask": video[1][0]}], monkeypatch)
    assert (track(segmenter, video[0], Prompt(masks=video[1][:1])) - expected).abs().max() < 1e-4
    assert (track(sam2, video[0], Prompt(masks=video[1][:1])) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["one point", "three points", "box", "box and point"])
def test_equals_the_predictor_on_points(
    sam2: Any, video: tuple[Any, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"one point": [[29.0, 30.0]], "three points": [[29.0, 30.0], [33.0, 25.0], [5.0, 5.0]]}.get(kind)
    points = [[29.0, 30.0]] if kind == "box and point" else points
    labels = None if points is None else [1, 1, 0][: len(points)]
    box = [19.0, 21.0, 40.0, 42.0] if "box" in kind else None
    # The predictor takes coordinates of the video's size: here both are the model's 64 pixels.
    given: dict[str, Any] = {"normalize_coords": True}
    if points is not None:
        given |= {"points": torch.tensor(points), "labels": torch.tensor(labels, dtype=torch.int32)}
    if box is not None:
        given |= {"box": torch.tensor(box)}
    sam2 = always_there(sam2)
    expected = package(sam2, video[0], [given], monkeypatch)
    assert expected.amin() > -1000
    prompt = Prompt(
        points=None if points is None else (torch.tensor([points]), torch.tensor([labels])),
        boxes=None if box is None else torch.tensor([box]),
    )
    assert (track(sam2, video[0], prompt) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("predictor", ["sam2_video_predictor", "sam2_video_predictor_legacy"])
def test_equals_the_predictor_with_holes_filled(predictor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompted frame's memory is made of the filled logits, a tracked frame's of those before.

    So it is in both predictors of the package; DC-SAM's public code has the older one.
    """
    segmenter = always_there(tiny_sam2(image_size=128, binarize_prompted=False))
    segmenter.in_pieces = False
    images, masks = clip(8, 128)
    given = torch.stack([masks[0], masks[0].T])
    given[0, 48:56, 44:48] = given[1, 44:48, 48:52] = False
    prompts = [{"mask": mask} for mask in given]
    expected = package(segmenter, images, prompts, monkeypatch, holes=8, predictor=predictor)
    frames = list(
        Tracker(segmenter, TrackerOptions(fill_holes=8)).track(images, Prompt(masks=given), num_frames=len(images))
    )
    assert (torch.stack([frame.resized((128, 128)) for frame in frames]) - expected).abs().max() < 1e-4
    # The comparison means something: both kinds of frames have holes, and the next frame sees that of the first.
    filled = [int((frame.logits == torch.tensor(FILLED)).sum()) for frame in frames]
    assert filled[0] and any(filled[1:])
    plain = list(Tracker(segmenter).track(images, Prompt(masks=given), num_frames=len(images)))
    filled_later = [fill_holes(frame.logits, 8) for frame in plain[:2]]
    assert torch.equal(filled_later[0], frames[0].logits)
    assert (filled_later[1] - frames[1].logits).abs().max() > 1e-2


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_equals_the_predictor_on_short_videos(
    sam2: Any, video: tuple[Any, Any], frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under 16 frames the package scales the pointers' time codes by the video's length."""
    images, mask = video[0][:frames], video[1][:1]
    expected = package(sam2, images, [{"mask": mask[0]}], monkeypatch)
    assert (track(sam2, images, Prompt(masks=mask)) - expected).abs().max() < 1e-4
    if frames == 5:
        unknown = [f.resized((64, 64)) for f in Tracker(sam2).track(images, Prompt(masks=mask))]
        assert (torch.stack(unknown) - expected).abs().max() > 1e-4  # hence num_frames=


def test_masks_of_another_size(sam2: Any, video: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.zeros(37, 91, dtype=torch.bool)
    mask[10:30, 20:50] = True
    expected = package(sam2, video[0][:4], [{"mask": mask}], monkeypatch)
    assert (track(sam2, video[0][:4], Prompt(masks=mask[None])) - expected).abs().max() < 1e-4


def test_uint8_frames_are_read_as_the_predictor_reads_them(sam2: Any, tmp_path: Any) -> None:
    from PIL import Image
    from sam2.utils.misc import _load_img_as_tensor

    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "0.png")
    theirs, _, _ = _load_img_as_tensor(str(tmp_path / "0.png"), 64)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    prompt = Prompt(boxes=torch.tensor([[5.0, 5.0, 40.0, 40.0]]))
    frame = (theirs - mean).float() / deviation
    assert (track(sam2, [frame, frame], prompt) - track(sam2, [image, image], prompt)).abs().max() < 1e-3


def test_objects_as_a_batch_equal_objects_alone(sam2: Any, video: tuple[Any, Any]) -> None:
    images, masks = video
    together = track(sam2, images, Prompt(masks=masks[[0, 3, 12]]))
    for place, frame in enumerate((0, 3, 12)):
        alone = track(sam2, images, Prompt(masks=masks[[frame]]))
        assert (together[:, place] - alone[:, 0]).abs().max() < 1e-3


@pytest.mark.parametrize("ahead", [3, 40, 64])
def test_encoding_ahead_changes_nothing(sam2: Any, video: tuple[Any, Any], ahead: int) -> None:
    images, masks = video
    assert (
        track(sam2, images, Prompt(masks=masks[:1]), ahead=ahead) - track(sam2, images, Prompt(masks=masks[:1]))
    ).abs().max() < 1e-3


def test_each_frame_is_encoded_once(sam2: Any, video: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = sam2.encode_batch
    monkeypatch.setattr(sam2, "encode_batch", lambda x: seen.append(len(x)) or encode(x), raising=False)
    frames = iter(video[0])
    stream = Tracker(sam2, TrackerOptions(ahead=4)).track(frames, Prompt(masks=video[1][[0, 3, 5]]))
    next(stream)
    assert seen == [4] and len(list(frames)) == FRAMES - 4  # lazy: no more is read than asked for
    seen.clear()
    assert len(track(sam2, video[0], Prompt(masks=video[1][[0, 3, 5]]), ahead=16)) == FRAMES
    assert seen == [16, 16, 8]


def test_features_can_be_given(sam2: Any, video: tuple[Any, Any]) -> None:
    images, prompt = video[0][:6], Prompt(masks=video[1][:1])
    features = [sam2.encode(image[None]) for image in images]
    assert torch.equal(track(sam2, features, prompt), track(sam2, images, prompt))


@pytest.mark.parametrize(
    "part",
    [
        "sam_mask_decoder.pred_obj_score_head.layers.2.bias",  # the object would be absent: an empty mask
        "sam_mask_decoder.iou_prediction_head.layers.2.bias",
        "sam_mask_decoder.output_upscaling.3.bias",
        "memory_attention.norm.weight",
    ],
)
def test_heads_that_give_no_numbers_are_no_empty_mask(sam2: Any, video: tuple[Any, Any], part: str) -> None:
    broken = copy.deepcopy(sam2)
    broken.model.get_parameter(part).fill_(float("nan"))
    with pytest.raises(ModelError, match="the mask decoder gave values that are no numbers"):
        track(broken, video[0][:3], Prompt(masks=video[1][:1]))


def test_memory_dtype_is_the_packages(sam2: Any, video: tuple[Any, Any]) -> None:
    images, prompt = video[0], Prompt(masks=video[1][:1])
    bank = MemoryBank()
    Tracker(sam2).step(bank, sam2.encode(images[:1]), prompt=prompt)
    assert bank.prompted[0]["maskmem_features"].dtype == torch.bfloat16
    assert (track(sam2, images, prompt, memory_dtype=None) - track(sam2, images, prompt)).abs().max() > 1e-3


def live_bytes() -> int:
    gc.collect()
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in gc.get_objects()
        if isinstance(tensor, torch.Tensor) and not tensor.is_meta
    }
    return sum(storages.values())


@pytest.mark.slow
def test_memory_is_flat_at_400_frames(sam2: Any, video: tuple[Any, Any]) -> None:
    """All tensors alive at frame 400, and the memory itself, are those of frame 40 within 5 %."""
    frames = (video[0][i % FRAMES] for i in range(401))
    stream = Tracker(sam2).track(frames, Prompt(masks=video[1][:2]), num_frames=401)
    held = {}
    for frame in stream:
        if frame.index in (40, 400):
            held[frame.index] = live_bytes()
    assert abs(held[400] - held[40]) <= 0.05 * held[40]


def test_what_is_kept(sam2: Any, video: tuple[Any, Any]) -> None:
    tracker, bank = Tracker(sam2), MemoryBank(num_frames=FRAMES)
    for number, image in enumerate(video[0]):
        prompt = Prompt(masks=video[1][:1]) if number == 0 else None
        tracker.step(bank, sam2.encode(image[None]), prompt=prompt)
    assert sorted(bank.prompted) == [0]
    assert sorted(bank.tracked) == list(range(FRAMES - 15, FRAMES))  # 15 pointers and the prompted one
    with_memory = [t for t, output in bank.tracked.items() if output["maskmem_features"] is not None]
    assert with_memory == list(range(FRAMES - 6, FRAMES))  # 6 memories and the prompted one
    outputs = [*bank.prompted.values(), *bank.tracked.values()]
    values = [value for output in outputs for value in output.values()]
    kept = [each for value in values for each in (value if isinstance(value, list) else [value])]
    tensors = [each for each in kept if isinstance(each, torch.Tensor)]
    assert tensors and not any(tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize("keep", [None, 2])
def test_prompts_on_later_frames(sam2: Any, video: tuple[Any, Any], keep: int | None) -> None:
    images, masks = video
    later = {t: Prompt(masks=masks[[t]]) for t in (3, 12, 14)}
    tracker = Tracker(sam2, TrackerOptions(max_prompted=keep))
    frames = list(tracker.track(images, Prompt(masks=masks[:1]), num_frames=FRAMES, reprompt=later))
    for t in later:  # a prompted frame shows its prompt, as far as the low resolution does
        assert (frames[t].masks((64, 64))[0] ^ masks[t]).sum() < 40
    plain = track(sam2, images, Prompt(masks=masks[:1]))
    mixed = torch.stack([frame.resized((64, 64)) for frame in frames])
    assert torch.equal(mixed[:3], plain[:3])
    assert all((mixed[t:] - plain[t:]).abs().max() > 1 for t in (4, 13, 20))
    bank = tracker.start()
    for t in range(6):
        tracker.step(bank, sam2.encode(images[t : t + 1]), prompt=Prompt(masks=masks[:1]))
    assert sorted(bank.prompted) == list(range(6))[-(keep or 6) :]


# Prompt embeddings: DC-SAM (facts, reference section 1).


def reference_run(segmenter: Any, images: Any, tokens: Any) -> Any:
    """The reference's rules on the unmodified package: only ``_forward_sam_heads`` is overridden; own loop."""
    import torch.nn.functional as F

    model = copy.deepcopy(segmenter.model)
    base = type(model)

    class Reference(base):  # type: ignore[misc, valid-type]
        sparse: Any = None

        def _forward_sam_heads(self, backbone_features: Any, high_res_features: Any = None, **_: Any) -> Any:
            _, dense = self.sam_prompt_encoder(points=None, boxes=None, masks=None)
            sparse = backbone_features.new_zeros(len(backbone_features), 0, 32) if self.sparse is None else self.sparse
            encoder = self.sam_prompt_encoder
            original, encoder.forward = encoder.forward, lambda **_: (sparse, dense.expand(len(sparse), -1, -1, -1))
            try:
                return base._forward_sam_heads(
                    self, backbone_features, high_res_features=high_res_features, multimask_output=False
                )
            finally:
                encoder.forward = original

    model.__class__ = Reference
    memory: dict[str, Any] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    results = []
    for t, image in enumerate(images):
        count = len(tokens)
        out = model.forward_image(image[None].expand(count, -1, -1, -1))
        _, features, positions, sizes = model._prepare_backbone_features(out)
        model.sparse = tokens if t == 0 else None
        dummy = {"point_coords": torch.zeros(count, 0, 2), "point_labels": torch.zeros(count, 0, dtype=torch.int32)}
        current = model.track_step(
            frame_idx=t,
            is_init_cond_frame=t == 0,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=dummy if t == 0 else None,
            mask_inputs=None,
            output_dict=memory,
            num_frames=len(images),
        )
        current["maskmem_features"] = current["maskmem_features"].to(torch.bfloat16)
        memory["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = current
        results.append(F.interpolate(current["pred_masks"], (512, 512), mode="bilinear", align_corners=False))
    return torch.stack(results)


@pytest.mark.parametrize(("training", "there"), [(False, False), (True, False), (False, True)])
def test_embeddings_as_the_reference_does(sam2: Any, video: tuple[Any, Any], training: bool, there: bool) -> None:
    segmenter = tiny_sam2(dropout=0.0)  # in train mode (Q10), dropout aside, which is random
    balance(segmenter, video[0], video[1][0])
    segmenter = always_there(segmenter) if there else segmenter
    segmenter.train(training)
    tokens = torch.randn(2, 50, 32, generator=torch.Generator().manual_seed(1)) * 3
    images = video[0][:20]
    expected = reference_run(segmenter, images, tokens)
    tracker = Tracker(segmenter, TrackerOptions.dc_sam())
    seen: list[tuple[int, ...]] = []
    hook = segmenter.model.sam_mask_decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["sparse_prompt_embeddings"].shape)), with_kwargs=True
    )
    frames = list(tracker.track(images, Prompt(embeddings=tokens), num_frames=20))
    hook.remove()
    found = torch.stack([frame.resized((512, 512)) for frame in frames])
    assert (found - expected).abs().max() < 1e-4
    assert bool(expected.amin() > -1000) == there
    assert seen == [(2, 50, 32)] + [(2, 0, 32)] * 19
    segmenter.eval()
    padded = track(segmenter, images, Prompt(embeddings=tokens))
    none = track(segmenter, images, Prompt(embeddings=tokens), tracked_tokens="none", multimask="never")
    assert torch.equal(padded[0], none[0]) and (padded[1:] - none[1:]).abs().max() > 1e-3


def test_gradients_go_through_memory(video: tuple[Any, Any]) -> None:
    """Mask-tube fine-tuning: the loss on a later frame reaches the prompt tokens and the memory modules."""
    segmenter = tiny_sam2(dropout=0.0).train()
    with torch.no_grad():
        segmenter.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(50.0)  # there, or nothing flows
    tokens = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.enable_grad():
        features = segmenter.encode(video[0][:3])
        tracker = Tracker(segmenter, TrackerOptions(memory_dtype=None))
        frames = list(tracker.track((features[i] for i in range(3)), Prompt(embeddings=tokens), num_frames=3))
        frames[2].logits.square().mean().backward()
    assert tokens.grad is not None and tokens.grad.abs().max() > 0
    for part in ("memory_attention", "memory_encoder", "image_encoder", "obj_ptr_proj", "sam_mask_decoder"):
        gradients = [p.grad for p in segmenter.model.get_submodule(part).parameters() if p.grad is not None]
        assert gradients and max(float(g.abs().max()) for g in gradients) > 0, part
    assert not frames[0].logits.is_inference()


def test_what_is_refused(sam2: Any, video: tuple[Any, Any]) -> None:
    image, masks = sam2.encode(video[0][:1]), video[1]
    tracker = Tracker(sam2)
    with pytest.raises(UsageError, match="first frame has no prompt"):
        tracker.step(tracker.start(), image)
    for given in ({}, {"masks": masks[:1], "embeddings": torch.zeros(1, 2, 32)}, {"masks": masks[0]}):
        with pytest.raises(UsageError):
            Prompt(**given)
    bank = tracker.start()
    tracker.step(bank, image, prompt=Prompt(masks=masks[:2]))
    with pytest.raises(UsageError, match="a prompt of 1 objects where 2 are tracked"):
        tracker.step(bank, image, prompt=Prompt(masks=masks[:1]))
    with pytest.raises(UsageError, match="features of 3 images"):
        tracker.step(bank, sam2.encode(video[0][:3]))
    with pytest.raises(UsageError):
        tracker.step(tracker.start(), tiny_sam1().encode(video[0][:1]), prompt=Prompt(masks=masks[:1]))
    with pytest.raises(UsageError):
        tracker.step(tracker.start(), image, prompt=Prompt(embeddings=torch.zeros(1, 2, 31)))
    for options in ({"ahead": 0}, {"max_prompted": 0}, {"tracked_tokens": "some"}):
        with pytest.raises(UsageError):
            TrackerOptions(**options)
    assert list(tracker.track([], Prompt(masks=masks[:1]))) == []


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_own_heads_are_the_packages(sam2: Any, multimask: bool, there: bool) -> None:
    """Decoding ready-made tokens repeats ``_forward_sam_heads``: masks, pointer with and without the object, score."""
    segmenter = always_there(sam2) if there else sam2
    features = segmenter.encode(torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(5)))
    high_res = list(features.high_res)
    padding = (torch.zeros(3, 1, 2), -torch.ones(3, 1, dtype=torch.int32))
    tokens, _ = segmenter.model.sam_prompt_encoder(points=padding, boxes=None, masks=None)
    ours = Tracker(segmenter)._decode(features.embedding, high_res, tokens, multimask=multimask)
    _, _, iou, low, high, pointer, score = segmenter.model._forward_sam_heads(
        features.embedding, high_res_features=high_res, multimask_output=multimask
    )
    for mine, theirs in ((ours.low, low), (ours.high, high), (ours.pointer, pointer), (ours.score, score)):
        assert mine.shape == theirs.shape and (mine - theirs).abs().max() < 1e-4
    assert (ours.iou[:, 0] - iou.amax(dim=1)).abs().max() < 1e-5


@pytest.mark.slow
def test_the_smallest_published_sizes_run() -> None:
    """SAM 2.1 tiny tracks and SAM 1 vit_b decodes at 1024 pixels, on generated weights."""
    from icvos.foundation.load import build_sam
    from icvos.foundation.sam1 import Sam1
    from icvos.foundation.sam2 import Sam2

    image = np.random.default_rng(0).integers(0, 256, (480, 854, 3), np.uint8)
    mask = torch.zeros(1, 480, 854, dtype=torch.bool)
    mask[0, 100:200, 300:500] = True
    segmenter = build_sam(Sam2, "sam2.1_hiera_tiny")
    frames = list(Tracker(segmenter).track([image] * 3, Prompt(masks=mask), num_frames=3))
    assert frames[0].masks((480, 854)).shape == (1, 480, 854) and frames[2].logits.shape == (1, 1, 256, 256)
    assert (frames[0].masks((480, 854)) ^ mask).sum() < 2000
    old = build_sam(Sam1, "vit_b")
    decoded = old.decode(old.encode(image), embeddings=torch.randn(2, 50, 256), multimask=True)
    assert old.place((480, 854)).restore(decoded.logits).shape == (2, 3, 480, 854)
