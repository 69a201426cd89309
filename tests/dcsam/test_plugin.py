"""DC-SAM as a plugin: rules, cost in encodings, variants, shots, and strange inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_weights import tiny_dcsam, tiny_dcsam_file, tiny_sam2, tiny_sam2_file

from dcsam import plugin
from dcsam.checkpoint import save_checkpoint
from dcsam.engine import Fitted
from dcsam.load import open_engine
from dcsam.plugin import DCSam, DCSamOptions, precision_of
from icvos import Support
from icvos.data.lineage import Lineage
from icvos.errors import UsageError, WeightsError
from icvos.foundation.load import save_sam
from icvos.foundation.segmenter import ImageFeatures
from icvos.foundation.tracker import Tracker, TrackerOptions
from icvos.models.check import check_model
from icvos.models.clips import Clip, support
from icvos.models.lifts import lift
from icvos.models.options import parse_options
from icvos.runs.environment import describe_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Path]:
    return {"dcsam": tiny_dcsam_file(folder)}


def count_encodings(model: DCSam) -> dict[str, int]:
    """Count the images that SAM's encoder and the backbone see from now on."""
    seen = {"sam": 0, "backbone": 0}
    encode, extract = model.engine.segmenter.encode_batch, model.engine.model.extract

    def encode_batch(images: torch.Tensor) -> object:
        seen["sam"] += len(images)
        return encode(images)

    def extract_counted(images: torch.Tensor, *, top: bool = False) -> object:
        seen["backbone"] += len(images)
        return extract(images, top=top)

    model.engine.segmenter.encode_batch = encode_batch  # type: ignore[method-assign, assignment]
    model.engine.model.extract = extract_counted  # type: ignore[method-assign, assignment]
    return seen


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: DCSam(weights=weights))
    assert not [f for f in findings if f.status == "failed"]


@pytest.mark.parametrize("shots", [1, 5])
def test_an_image_episode_costs_one_encoding_an_image(weights: dict[str, Path], shots: int) -> None:
    model = DCSam(weights=weights)
    seen = count_encodings(model)
    fitted = model.fit([support(seed=100 + i) for i in range(shots)], seed=0)
    model.predict(fitted, Clip(1)[0])
    # The public code: shots + 3 by SAM's encoder (reference.md, section 6).
    assert seen == {"sam": shots + 1, "backbone": shots + 1}


def test_episodes_of_a_video_share_its_frames(weights: dict[str, Path]) -> None:
    model = DCSam(weights=weights)
    seen = count_encodings(model)
    one, two = support(seed=1), support(seed=2)
    list(model.segment_many([[one], [two], [one], [two]], Clip(7), seeds=[0, 1, 2, 3]))
    assert seen == {"sam": 7 + 2, "backbone": 1 + 2}


def test_supports_are_order_invariant_in_corrected_and_refused_in_reference(
    weights: dict[str, Path], folder: Path
) -> None:
    model = DCSam(weights=weights)
    shown = [support(seed=100 + i) for i in range(5)]
    with torch.no_grad():
        first = model.engine.segment_image(model.fit(shown, seed=0), Clip(1)[0])[0]
        second = model.engine.segment_image(model.fit(shown[::-1], seed=0), Clip(1)[0])[0]
    torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-4)
    reference = DCSam(weights={"dcsam": tiny_dcsam_file(folder, reference=True)})
    assert reference.engine.model.config.variant == "reference"
    with pytest.raises(UsageError, match="takes one support, not 5"):
        reference.fit(shown, seed=0)
    with pytest.raises(UsageError, match="takes one support"):
        next(reference.segment(shown, Clip(2), seed=0))
    assert DCSam(weights=weights, options=DCSamOptions(variant="reference")).engine.model.config.variant == "reference"


def test_reference_gives_a_batch_what_it_gives_each_alone(folder: Path) -> None:
    model = DCSam(weights={"dcsam": tiny_dcsam_file(folder, reference=True)})
    sets = [[support(seed=100)], [support(seed=105)]]
    together = list(model.segment_many(sets, Clip(3), seeds=[0, 0]))
    for number, shown in enumerate(sets):
        for mine, row in zip(model.segment(shown, Clip(3), seed=0), together, strict=True):
            assert float((mine != row[number]).float().mean()) < 0.002


def test_evaluation_reaches_each_stage_once(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = DCSam(weights=weights)
    calls: list[str] = []
    generator = model.engine.model
    for name in ("forward", "first_stage", "second_stage"):
        inner = getattr(generator, name)
        monkeypatch.setattr(
            generator, name, lambda *a, _name=name, _inner=inner, **k: calls.append(_name) or _inner(*a, **k)
        )
    list(model.segment([support()], Clip(4), seed=0))
    # ``forward`` is the call that tests/test_parity.py feeds the reference's arrays.
    assert calls == ["forward", "first_stage", "second_stage"]
    calls.clear()
    model.predict(model.fit([support()], seed=0), Clip(1)[0])
    assert calls == ["forward", "first_stage", "second_stage"]


@pytest.mark.parametrize("shape", [(1, 1), (37, 400), (2160, 3840)], ids=str)
def test_frames_of_strange_sizes(weights: dict[str, Path], shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    model = DCSam(weights=weights)
    mask = model.predict(model.fit([support()], seed=0), image).mask
    assert tuple(mask.shape) == shape and mask.dtype == torch.bool


def test_strange_supports(weights: dict[str, Path]) -> None:
    model = DCSam(weights=weights)
    grey = np.full((50, 60, 3), 127, np.uint8)
    one = np.zeros((50, 60), bool)
    one[3, 3] = True
    for mask in (one, np.ones((50, 60), bool)):
        masks = list(model.segment([Support(grey, mask)], Clip(2), seed=0))
        assert len(masks) == 2
    empty = list(model.segment([Support(grey, np.zeros((50, 60), bool))], Clip(2), seed=0))
    assert not any(bool(mask.any()) for mask in empty)
    assert not np.asarray(model.predict(model.fit([Support(grey, ~one & one)], seed=0), grey).mask).any()


def test_train_mode_is_stochastic(weights: dict[str, Path]) -> None:
    model = DCSam(weights=weights, options=DCSamOptions(train_mode=True))
    assert model.engine.model.training and model.engine.model.backbone.training
    assert not DCSam(weights=weights).engine.model.training


def test_in_train_mode_batch_statistics_are_those_of_one_image(weights: dict[str, Path]) -> None:
    """As in the public code, which knows one support and one video: episodes do not shift each other's norms."""
    model = DCSam(weights=weights, options=DCSamOptions(train_mode=True))
    sizes = []
    for module in model.engine.model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    episodes = [[support(seed=seed)] for seed in (1, 2, 3)]
    masks = list(model.segment_many(episodes, Clip(2), seeds=[0, 1, 2]))
    assert [len(each) for each in masks] == [3, 3]
    model.predict(model.fit([support(seed=1)], seed=0), Clip(1)[0])
    assert sizes and set(sizes) == {1}


def test_wrong_weights_say_what_is_missing(folder: Path) -> None:
    image_only = folder / "image.safetensors"
    save_checkpoint(image_only, tiny_dcsam())
    with pytest.raises(UsageError, match="give --weights sam2=PATH"):
        DCSam(weights={"dcsam": image_only})
    with pytest.raises(UsageError, match="which is SAM 1"):
        DCSam(weights={"dcsam": image_only, "sam": image_only})
    assert DCSam(weights={"dcsam": image_only, "sam2": tiny_sam2_file(folder)}).engine.segmenter.name == "tiny-test"
    with pytest.raises(WeightsError, match="not a DC-SAM checkpoint"):
        DCSam(weights={"dcsam": tiny_sam2_file(folder)})


def test_what_a_checkpoint_saw_is_declared(folder: Path) -> None:
    sam2 = tiny_sam2_file(folder)
    path = folder / "lineage.safetensors"

    def declared(**metadata: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        save_checkpoint(path, tiny_dcsam(), metadata=metadata)
        info = DCSam(weights={"dcsam": path, "sam2": sam2}).info
        return info.training_data, info.training_categories

    seen = Lineage(("coco2014:train", "voc2012:trainaug"), ("dog", "cat"))
    assert declared(data="coco-20i", **seen.texts()) == (seen.data, seen.categories)
    assert declared(data="demo") == (("icvos demo:train",), ())
    # One that does not say is taken for the authors'; broken metadata too.
    assert declared() == (("coco2014:train",), ())
    assert declared(training_data="[", training_categories="{}") == (("coco2014:train",), ())


def test_the_training_of_a_published_checkpoint_can_be_said(folder: Path) -> None:
    path, sam2 = folder / "silent.safetensors", tiny_sam2_file(folder)
    save_checkpoint(path, tiny_dcsam())
    given = {"dcsam": path, "sam2": sam2}
    info = DCSam(weights=given, options=DCSamOptions(trained_on="coco-20i:2")).info
    assert len(info.training_categories) == 60 and info.training_data == ("coco2014:train",)
    assert "person" in info.training_categories and "car" not in info.training_categories  # number 3, of fold 2
    assert len(DCSam(weights=given, options=DCSamOptions(trained_on="coco")).info.training_categories) == 80
    pascal = DCSam(weights=given, options=DCSamOptions(trained_on="pascal-5i:0")).info
    assert len(pascal.training_categories) == 15 and "aeroplane" not in pascal.training_categories
    assert pascal.training_data == ("voc2012:trainaug",)
    for wrong in ("coco-20i", "coco:1", "coco-20i:4", "imagenet"):
        with pytest.raises(UsageError):
            DCSam(weights=given, options=DCSamOptions(trained_on=wrong))
    save_checkpoint(path, tiny_dcsam(), metadata=Lineage(("x:train",)).texts())
    both = DCSam(weights=given, options=DCSamOptions(trained_on="pascal-5i:0")).info
    assert both.training_data == ("voc2012:trainaug", "x:train")


def test_memory_is_flat(weights: dict[str, Path]) -> None:
    """Live tensors at frame 400 are those at frame 40, within 5 %."""
    import gc

    model = DCSam(weights=weights)
    held = {}
    stream = model.segment([support()], Clip(400), seed=0)
    for index in range(400):
        next(stream)
        if index in (39, 399):
            gc.collect()
            held[index] = sum(o.numel() * o.element_size() for o in gc.get_objects() if type(o) is torch.Tensor)
    assert held[399] <= 1.05 * held[39]


def test_weights_cast_ahead_give_what_autocast_gives(weights: dict[str, Path]) -> None:
    model = DCSam(weights=weights, options=DCSamOptions(precision="bf16"))
    plain = open_engine(weights, precision="bf16", fold=False)
    plain.model.fold_backbone()
    assert model.engine.model.downsample_query[0].weight.dtype == torch.bfloat16
    assert plain.model.downsample_query[0].weight.dtype == torch.float32
    shown, image = [[support()]], Clip(1)[0]
    with torch.no_grad(), plain.autocast():
        mine, theirs = (e.segment_image(Fitted(shown), image)[0] for e in (model.engine, plain))
    assert torch.equal(mine, theirs)
    assert len(list(model.segment([support()], Clip(3), seed=0))) == 3


# ---- precision: the public code's video runs under bf16 autocast on CUDA, its image benchmarks in fp32 ---------------


@pytest.mark.parametrize(
    ("precision", "variant", "device", "video", "image"),
    [
        ("auto", "reference", "cuda", "bf16", "fp32"),
        ("auto", "reference", "cuda:1", "bf16", "fp32"),
        ("auto", "corrected", "cuda", "bf16", "bf16"),
        ("auto", "mixed", "cuda", "bf16", "bf16"),
        ("auto", "reference", "cpu", "fp32", "fp32"),
        ("auto", "corrected", "cpu", "fp32", "fp32"),
        ("bf16", "reference", "cuda", "bf16", "bf16"),
        ("bf16", "corrected", "cpu", "bf16", "bf16"),
        ("fp32", "reference", "cuda", "fp32", "fp32"),
        ("fp32", "corrected", "cuda", "fp32", "fp32"),
    ],
)
def test_precision_by_variant_kind_and_device(
    precision: str, variant: str, device: str, video: str, image: str
) -> None:
    for kind, expected in (("video", video), ("image", image)):
        assert precision_of(precision, variant, kind, device=device) == expected


def test_images_in_single_precision_beside_videos_in_half(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference variant as on CUDA: what runs in half first must not change what runs in single after it."""
    weights = {"dcsam": tiny_dcsam_file(folder, reference=True)}
    plain, half = DCSam(weights=weights), DCSam(weights=weights, options=DCSamOptions(precision="bf16"))
    monkeypatch.setattr(plugin, "precision_of", lambda p, v, kind, **_: "bf16" if kind == "video" else "fp32")
    model = DCSam(weights=weights)
    dtypes = watch_maps(model)

    def image_score(model: DCSam) -> torch.Tensor:
        score = model.predict(model.fit([support()], seed=0), Clip(1)[0]).score
        assert isinstance(score, torch.Tensor)
        return score

    mine = list(model.segment([support()], Clip(3), seed=0))
    assert set(dtypes) == {torch.bfloat16}
    dtypes.clear()
    assert torch.equal(image_score(model), image_score(plain))
    assert set(dtypes) == {torch.float32}
    assert not torch.equal(image_score(half), image_score(plain))
    assert all(torch.equal(a, b) for a, b in zip(mine, half.segment([support()], Clip(3), seed=0), strict=True))
    for kind, dtype in (("video", "bfloat16"), ("image", "float32")):
        described = describe_model(model, {}, kind=kind)
        assert described["autocast"] == (dtype if kind == "video" else None)
        assert described["dtype"] == dtype and described["options"]["precision"] == model.precision[kind]


def watch_maps(model: DCSam) -> list[torch.dtype]:
    """Note the dtype of the finest map of each call of SAM's encoder, from now on."""
    dtypes: list[torch.dtype] = []
    encode = model.engine.segmenter.encode_batch

    def encode_batch(images: torch.Tensor) -> ImageFeatures:
        features = encode(images)
        dtypes.append(features.high_res[0].dtype)
        return features

    model.engine.segmenter.encode_batch = encode_batch  # type: ignore[method-assign]
    return dtypes


def test_a_lift_says_the_precision_of_its_image_model(weights: dict[str, Path], folder: Path) -> None:
    lifted = lift(DCSam)
    files = {**weights, "tracker": tiny_sam2_file(folder)}
    for precision, dtype in (("bf16", "bfloat16"), ("fp32", "float32")):
        model = lifted(weights=files, precision=precision)
        described = describe_model(model, {"precision": precision}, kind="video")
        assert (described["dtype"], described["autocast"]) == (dtype, dtype if precision == "bf16" else None)


# ---- hole filling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["image", "tube-finetune"])
def test_a_decoder_trained_on_images_finds_and_the_given_sam2_follows(stage: str, tmp_path: Path) -> None:
    """One trained on videos follows too. A frame that is looked at is encoded by both then, any other by one."""
    torch.manual_seed(3)
    given = tiny_sam2().eval()
    with torch.no_grad():
        given.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5.0)
    decoder = {n: v for n, v in given.model.state_dict().items() if n.startswith("sam_mask_decoder.")}
    changed = {n: v + 0.05 * torch.randn_like(v) if v.is_floating_point() else v for n, v in decoder.items()}
    save_sam(tmp_path / "sam2.safetensors", given)
    metadata = {"stage": stage, "sam2_part": "changed"}
    save_checkpoint(tmp_path / "dcsam.safetensors", tiny_dcsam(), sam2=changed, metadata=metadata)
    model = DCSam(weights={name: tmp_path / f"{name}.safetensors" for name in ("dcsam", "sam2")})
    video, shown = Clip(6), support(seed=2)
    masks = [mask.numpy() for mask in model.segment([shown], video, seed=0)]
    engine = model.engine
    assert (engine.tracking is engine.segmenter) == (stage != "image")
    with torch.no_grad():
        first = engine.encode(engine.pixels(video[0]), top=True)
        found = engine._find(engine.supports([[shown]]), first, video.size)
        tracker = Tracker(given if stage == "image" else engine.segmenter, TrackerOptions.dc_sam())
        pixels = [engine.to_sam(engine.normalised(engine.pixels(frame))) for frame in video]
        expected = [engine._enlarged(frame.logits, video.size)[0] for frame in tracker.track(pixels, found.prompt)]
    assert found.mask.any() and (found.prompt.masks is None) == (stage != "image")
    assert all(np.array_equal(mine, wanted) for mine, wanted in zip(masks, expected, strict=True))


def test_holes_are_filled_by_default_in_reference_alone(weights: dict[str, Path], folder: Path) -> None:
    reference = {"dcsam": tiny_dcsam_file(folder, reference=True)}
    cases: list[tuple[dict[str, Path], dict[str, Any], int]] = [
        (reference, {}, 8),
        (reference, {"fill_holes": 0}, 0),
        (reference, {"variant": "corrected"}, 0),
        (reference, {"fill_holes": 3}, 3),
        (weights, {}, 0),
        (weights, {"fill_holes": 5}, 5),
        (weights, {"variant": "reference"}, 8),
    ]
    for files, options, area in cases:
        model = DCSam(weights=files, options=DCSamOptions(**options))
        assert model.engine.fill_holes == area
        video, image = (describe_model(model, options, kind=kind)["options"] for kind in ("video", "image"))
        assert video["fill_holes"] == area and image["fill_holes"] == options.get("fill_holes", 0)
        assert video["variant"] == model.engine.model.config.variant
    for wrong in (-1, True, 2.0, "all"):
        with pytest.raises(UsageError, match="a whole number; 0 fills none"):
            DCSam(weights=weights, options=DCSamOptions(fill_holes=wrong))
    assert parse_options(DCSam, ["fill_holes=12"]) == {"fill_holes": 12}
    assert parse_options(DCSam, ["fill_holes=auto"]) == {"fill_holes": "auto"}
    with pytest.raises(UsageError):
        parse_options(DCSam, ["fill_holes=some"])


def test_holes_are_filled_in_the_coarse_mask_and_in_the_tracker_but_not_on_images(
    weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DCSam(weights=weights, options=DCSamOptions(fill_holes=8))
    sam, seen = model.engine.segmenter, []
    decode, step = sam.decode, Tracker.step

    def ragged(features: ImageFeatures, **prompts: Any) -> Any:
        """Decode, with a hole of 4 pixels and one of 9 in a large thing."""
        decoded = decode(features, **prompts)
        logits = torch.full_like(decoded.logits, 5.0)
        logits[..., 4, 2:6] = logits[..., 8:11, 8:11] = -5.0
        return replace(decoded, logits=logits)

    def tracked(tracker: Tracker, *arguments: Any, **named: Any) -> Any:
        seen.append(tracker.options.fill_holes)
        return step(tracker, *arguments, **named)

    monkeypatch.setattr(sam, "decode", ragged)
    monkeypatch.setattr(Tracker, "step", tracked)
    with torch.no_grad():
        state = model.engine.supports([[support()]])
        encoded = model.engine.encode(model.engine.pixels(Clip(1)[0]), top=True)
        query = model.engine.query(encoded)
        video, image = (
            model.engine.prompts(state, query, encoded.sam, video=video).coarse_logits for video in (True, False)
        )
    assert video is not None and image is not None
    small, large = (slice(16, 20), slice(8, 24)), (slice(36, 40), slice(36, 40))  # 64 pixels from 16
    assert (video[0, 0][small] > 0).all() and (video[0, 0][large] < 0).all()
    assert (image[0, 0][large] < 0).all() and (image[0, 0, 17:19, 12:20] < 0).all()
    list(model.segment([support()], Clip(2), seed=0))
    assert seen == [8, 8]


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gpu_memory_is_flat_and_masks_are_those_of_the_cpu(weights: dict[str, Path], compiled: bool) -> None:
    """Peak memory over 400 frames is that over 40, within 5 %."""
    model = DCSam(weights=weights, device="cuda", options=DCSamOptions(precision="fp32", compile=compiled))
    stream = model.segment([support()], Clip(400), seed=0)
    masks = [next(stream).cpu() for _ in range(40)]
    early = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    assert sum(1 for _ in stream) == 360
    assert torch.cuda.max_memory_allocated() <= 1.05 * early
    on_cpu = DCSam(weights=weights).segment([support()], Clip(400), seed=0)
    for mine, theirs in zip(masks[:5], on_cpu):
        assert float((mine != theirs).float().mean()) < 0.005


@pytest.mark.slow
def test_compiled_parts_give_the_same(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is traced for the compiler is run here without it, so that no minute goes by."""
    traced: list[str] = []
    real = torch.nn.Module.compile

    def trace(module: Any, **how: Any) -> None:
        traced.append(type(module).__name__)
        real(module, backend="eager", **how)

    monkeypatch.setattr(torch.nn.Module, "compile", trace)
    plain, compiled = (DCSam(weights=weights, options=DCSamOptions(compile=choice)) for choice in (False, True))
    assert set(traced) == {"MultiScaleBlock", "TwoWayTransformer", "MemoryEncoder"}
    for mine, theirs in zip(*(model.segment([support()], Clip(4), seed=0) for model in (compiled, plain)), strict=True):
        assert torch.equal(mine, theirs)
    found, wanted = (model.predict(model.fit([support()], seed=0), Clip(1)[0]) for model in (compiled, plain))
    assert (np.asarray(found.mask) == np.asarray(wanted.mask)).mean() > 0.999
