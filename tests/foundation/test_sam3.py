"""SAM 3 through transformers: its files, its tracker against the library's own session, memory, and lifts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from icvos import ImageModel, ModelInfo, Prediction, Support, cli
from icvos.errors import UsageError, WeightsError
from icvos.models.check import check_model
from icvos.models.clips import Clip
from icvos.models.lifts import lift
from icvos.models.registry import create
from icvos.runs.environment import describe_device, describe_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the extra hf")

from sam3_tiny import SIDE, save_tiny_sam3  # noqa: E402

from icvos.foundation.frame_tracker import Prompt  # noqa: E402
from icvos.foundation.sam3 import load_sam3_image, load_sam3_tracker, normalised  # noqa: E402
from icvos.foundation.sam3_tracker import Sam3Tracker, Sam3TrackerOptions  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sam3(tmp_path_factory.mktemp("sam3") / "tiny")


@pytest.fixture
def network(folder: Path) -> Any:
    return load_sam3_tracker(folder / "model.safetensors", folder / "config.json")


def marked(clip: Clip, *, objects: int = 1) -> Prompt:
    masks = [clip[0][..., 0] > 150, clip[0][..., 0] < 60][:objects]
    return Prompt(masks=torch.from_numpy(np.stack(masks)).float())


def library(network: Any, clip: Clip, prompts: dict[int, Prompt]) -> list[Any]:
    """What the library's session gives, frame by frame, nothing dropped."""
    session = transformers.Sam3TrackerVideoInferenceSession(dtype=torch.float32)
    outputs = []
    for index, frame in enumerate(clip):
        if index in prompts:
            masks = prompts[index].masks[:, None]
            masks = torch.nn.functional.interpolate(masks, (SIDE, SIDE), mode="bilinear", antialias=True)
            for number, mask in enumerate((masks >= 0.5).float()):
                session.add_mask_inputs(session.obj_id_to_idx(number), index, mask[None])
            session.obj_with_new_inputs = list(range(len(masks)))
        outputs.append(network(session, frame=normalised(frame, SIDE)[0], frame_idx=index))
    return outputs


@pytest.mark.parametrize("objects", [1, 2])
def test_equals_the_library_bit_by_bit_though_it_forgets(objects: int, folder: Path, network: Any) -> None:
    clip = Clip(30)
    prompts = {0: marked(clip, objects=objects), 9: marked(Clip(30, seed=3), objects=objects)}
    expected = library(network, clip, prompts)
    plain = load_sam3_tracker(folder / "model.safetensors", folder / "config.json")
    tracker = Sam3Tracker(plain, Sam3TrackerOptions(pointer="best"))
    frames = list(tracker.track(clip, prompts[0], reprompt=prompts))
    assert [frame.index for frame in frames] == list(range(30))
    for mine, theirs in zip(frames, expected, strict=True):
        assert mine.logits.shape == (objects, 1, 32, 32) and mine.object_score.shape == (objects, 1)
        assert torch.equal(mine.logits, theirs.pred_masks)
        assert torch.equal(mine.object_score, theirs.object_score_logits.reshape(-1, 1))
    assert 0 < frames[-1].masks(clip.size).float().mean() < 1


def test_objects_in_one_memory_are_those_alone(network: Any) -> None:
    clip, tracker = Clip(8), Sam3Tracker(network)
    both = marked(clip, objects=2)
    assert both.masks is not None
    together = list(tracker.track(clip, both))
    for number in range(2):
        alone = tracker.track(clip, Prompt(masks=both.masks[number : number + 1]))
        for mine, theirs in zip(alone, together, strict=True):
            # Memories are encoded as a batch and rounded to bfloat16; logits are in tens.
            assert torch.allclose(mine.logits[0], theirs.logits[number], atol=0.05)
    for masks in tracker.track_objects([mask.bool().numpy() for mask in both.masks], clip):
        assert len(masks) == 2 and not bool((masks[0] & masks[1]).any())


def test_the_pointer_of_a_mask_prompt_is_the_single_mask_token_s(network: Any) -> None:
    clip, pointers = Clip(2), {}
    for way in ("single", "best"):
        tracker = Sam3Tracker(network, Sam3TrackerOptions(pointer=way))  # type: ignore[arg-type]
        memory = tracker.start()
        tracker.step(memory, next(tracker.encode(clip)), prompt=marked(clip))
        pointers[way] = memory.session.output_dict_per_obj[0]["cond_frame_outputs"][0]["object_pointer"].flatten()
    decoder, seen = network.mask_decoder, []
    hook = decoder.register_forward_hook(lambda _, __, output: seen.append(output[2]))
    memory = tracker.start()
    tracker.step(memory, next(tracker.encode(clip)), prompt=marked(clip))
    hook.remove()
    # The decoder's tokens: with several masks three candidates, of which the library takes the best.
    choices = [network.object_pointer_proj(token) for token in seen[0].flatten(0, 1)[0]]
    assert any(torch.allclose(pointers["best"], choice, atol=1e-5) for choice in choices)
    assert not any(torch.allclose(pointers["single"], choice, atol=1e-3) for choice in choices)


def held(memory: Any) -> int:
    """Bytes of all tensors that a session holds."""
    size, rest = 0, [vars(memory.session), vars(memory.session.cache)]
    while rest:
        item = rest.pop()
        if isinstance(item, torch.Tensor):
            size += item.numel() * item.element_size()
        elif isinstance(item, (dict, list, tuple)):
            rest += item.values() if isinstance(item, dict) else item
    return size


def test_memory_is_flat_from_frame_16_on(network: Any) -> None:
    clip, tracker = Clip(12), Sam3Tracker(network, Sam3TrackerOptions(max_prompted=7))
    features = list(tracker.encode(clip))
    for every, length in ((0, 300), (5, 90)):
        memory, sizes, entries = tracker.start(), [], []
        for index in range(length):
            again = index == 0 or (every and index % every == 0)
            tracker.step(memory, features[index % len(clip)], prompt=marked(clip) if again else None)
            sizes.append(held(memory))
            entries.append(sum(len(frames) for frames in memory.session.output_dict_per_obj[0].values()))
        if every:
            assert max(sizes[40:65]) == max(sizes[65:]) and max(entries) <= 7 + 15
        else:
            assert len(set(sizes[16:])) == 1 and len(set(entries[16:])) == 1
        assert not memory.session.mask_inputs_per_obj[0] and not memory.session.frames_tracked_per_obj[0]


def test_wrong_use_is_one_line(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, tracker = Clip(2), Sam3Tracker(network)
    features, memory = next(tracker.encode(clip)), tracker.start()
    with pytest.raises(UsageError, match="the first frame has no prompt"):
        tracker.step(memory, features)
    with pytest.raises(UsageError, match="a prompt without masks"):
        tracker.step(memory, features, prompt=Prompt(boxes=torch.ones(1, 4)))
    tracker.step(memory, features, prompt=marked(clip))
    with pytest.raises(UsageError, match="a prompt of 2 objects where 1 are tracked"):
        tracker.step(memory, features, prompt=marked(clip, objects=2))
    monkeypatch.setattr(network, "forward", lambda *_, **__: SimpleNamespace(frame_idx=0))
    with pytest.raises(UsageError, match="this transformers numbers frames itself"):
        tracker.step(memory, features)
    for options in ({"pointer": "worst"}, {"max_prompted": 0}):
        with pytest.raises(UsageError):
            Sam3TrackerOptions(**options)  # type: ignore[arg-type]


def test_pixels_are_the_library_s() -> None:
    image = np.random.default_rng(0).integers(0, 256, (75, 130, 3), dtype=np.uint8)
    for side in (56, 112, 300):
        processor = transformers.Sam3ImageProcessor(size={"height": side, "width": side})
        expected = processor(images=image, return_tensors="pt")["pixel_values"]
        assert torch.allclose(normalised(image, side), expected, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- files


def test_files_are_read_as_the_library_reads_them(folder: Path, network: Any, tmp_path: Path) -> None:
    image = load_sam3_image(folder / "model.safetensors", folder / "config.json")
    mine = {"Sam3TrackerVideoModel": network, "Sam3Model": image}
    for name, load in (("Sam3TrackerVideoModel", load_sam3_tracker), ("Sam3Model", load_sam3_image)):
        theirs = getattr(transformers, name).from_pretrained(folder, local_files_only=True)
        theirs.save_pretrained(tmp_path / name)  # one half by itself, under the names that the library writes
        alone = load(tmp_path / name / "model.safetensors", tmp_path / name / "config.json")
        for module in (mine[name], alone):
            expected = dict([*theirs.named_parameters(), *theirs.named_buffers()])
            found = dict([*module.named_parameters(), *module.named_buffers()])
            assert found.keys() == expected.keys()
            assert all(torch.equal(value, expected[key]) for key, value in found.items())
            assert not module.training


@pytest.mark.parametrize("load", [load_sam3_tracker, load_sam3_image])
def test_other_files_are_one_line(load: Any, folder: Path, tmp_path: Path) -> None:
    weights, content = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    with pytest.raises(WeightsError, match=r"no config\.json beside the weights"):
        load(weights, tmp_path / "config.json")
    for changed, words in (
        ([], "the configuration is of 'list'"),
        ({**content, "model_type": "sam2"}, "the configuration is of 'sam2'"),
        ({**content, "tracker_config": 3, "detector_config": 3}, "a part of it is a int"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(WeightsError, match=words) as stop:
            load(weights, tmp_path / "config.json")
        assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("backbone_config", {"num_hidden_layers": 10**9}),
        ("backbone_config", {"hidden_size": 10**8}),
        ("backbone_config", {"image_size": 50_000, "patch_size": 1}),
        ("backbone_config", {"patch_size": 0}),
        ("backbone_config", {"window_size": 16_384}),
        ("backbone_config", {"image_size": [112, 112]}),
        ("backbone_config", {"hidden_act": "x" * 10_000}),
        ("backbone_config", {"num_hidden_layers": "many"}),
        ("backbone_config", {"rope_parameters": {"rope_type": "axial", "rope_theta": 1e300}}),
        ("backbone_config", {"global_attn_indexes": [[[1]]]}),
        ("vision_config", {"fpn_hidden_size": float("inf")}),
        ("vision_config", {"scale_factors": [1.0] * 10_000}),
        ("vision_config", {"backbone_config": "none"}),
        ("", {"mask_decoder_config": {"hidden_size": 64, "num_attention_heads": 2}}),
    ],
)
def test_a_configuration_that_asks_for_more(part: str, change: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    for half in ("tracker_config", "detector_config"):
        inner = content[half]
        for name in {"": (), "vision_config": ("vision_config",)}.get(part, ("vision_config", "backbone_config")):
            inner = inner[name]
        inner |= change
    # A tracker's backbone follows its own image_size.
    content["tracker_config"] |= {name: value for name, value in change.items() if name == "image_size"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    for load in (load_sam3_tracker, load_sam3_image):
        with pytest.raises(WeightsError, match=r"the configuration cannot be used|does not fit SAM 3") as stop:
            load(folder / "model.safetensors", tmp_path / "config.json")
        assert "\n" not in str(stop.value)


def test_names_of_labels_are_not_read(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["tracker_config"] |= {"num_labels": 10**9}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert load_sam3_tracker(folder / "model.safetensors", tmp_path / "config.json").config.image_size == SIDE


# ------------------------------------------------------------------------------------------------------------- lifts


class Bright(ImageModel):
    """Finds what is brighter than the support's first pixel."""

    info = ModelInfo(name="bright", version="1")

    def fit(self, supports: Sequence[Support], *, seed: int) -> int:
        return int(supports[0].image[0, 0, 0])

    def predict(self, fitted: int, image: np.ndarray) -> Prediction:
        mask = image[..., 0] > fitted
        return Prediction(mask, confidence=float(mask.sum()))


def shown(level: int) -> list[Support]:
    return [Support(np.full((8, 8, 3), level, np.uint8), np.ones((8, 8), bool))]


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Path]:
    return {"tracker": folder / "model.safetensors"}


@pytest.mark.parametrize("mode", ["", "first-found", "every=2"])
def test_episodes_of_a_video_share_its_frames(mode: str, weights: dict[str, Path]) -> None:
    sets, clip = [shown(120), shown(255), shown(150)], Clip(6)
    model: Any = lift(Bright, mode, tracker="sam3")(weights=weights)
    calls: list[int] = []
    model.tracker.segmenter.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    together = [[np.asarray(mask) for mask in masks] for masks in model.segment_many(sets, clip, seeds=[0] * 3)]
    assert len(calls) == len(clip)
    for place, supports in enumerate(sets):
        alone = [np.asarray(mask) for mask in model.segment(supports, clip, seed=0)]
        assert all(np.mean(a != b[place]) < 0.002 for a, b in zip(alone, together, strict=True))
        assert alone[0].any() == (place != 1)


def test_best_tracks_both_ways_from_its_frame(weights: dict[str, Path]) -> None:
    clip = Clip(5)
    found = [(frame[..., 0] > 120).sum() for frame in clip]
    masks = [
        np.asarray(mask)
        for mask in lift(Bright, "best", tracker="sam3")(weights=weights).segment(shown(120), clip, seed=0)
    ]
    best = int(np.argmax(found))
    assert len(masks) == 5 and np.mean(masks[best] != (clip[best][..., 0] > 120)) < 0.05


@pytest.mark.parametrize("mode", ["every=2"])
def test_lifted_models_keep_the_rules(mode: str, weights: dict[str, Path]) -> None:
    findings = check_model(lambda: lift(Bright, mode, tracker="sam3")(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


def test_every_keeps_as_many_prompts_as_the_window(weights: dict[str, Path]) -> None:
    model: Any = lift(Bright, "every=1", tracker="sam3")(weights=weights)
    assert model.tracker.options.max_prompted == 7
    assert len(list(model.segment(shown(120), Clip(10), seed=0))) == 10


def test_the_record_says_what_ran(folder: Path, weights: dict[str, Path]) -> None:
    model = lift(Bright, tracker="sam3")(weights=weights)
    described = describe_model(model, {}, kind="video")
    assert described["name"] == "bright+sam3" and set(described["weights"]) == {"tracker", "tracker_config"}
    assert described["backend"] == f"torch {version('torch')}, transformers {version('transformers')}"
    assert (described["dtype"], described["autocast"]) == ("float32", None)
    assert {"sa-co:train", "sa-v:train"} <= set(described["training_data"])
    assert describe_device("cpu")["transformers"] == transformers.__version__


def test_a_folder_is_enough(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert create("histogram+sam3", weights={"tracker": folder}).info.extra == "hf"
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "config.json").unlink()
    with pytest.raises(SystemExit) as stop:
        cli.main(["models", "check", "histogram+sam3", "--weights", f"tracker={copy}"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "no config.json beside the weights" in error
    # Elsewhere it may lie all the same.
    create("histogram+sam3", weights={"tracker": copy, "tracker_config": folder / "config.json"})
