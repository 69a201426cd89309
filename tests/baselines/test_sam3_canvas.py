"""SAM 3 on a canvas of support and query: what goes in, what comes out, text, precision, and files that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icvos import Support
from icvos.errors import UsageError, WeightsError
from icvos.models.check import check_model
from icvos.models.clips import Clip, support
from icvos.models.lifts import lift
from icvos.models.registry import create
from icvos.runs.environment import describe_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the extra hf")

from sam3_tiny import SIDE, save_tiny_sam3  # noqa: E402

from baselines.sam3_canvas import Sam3Canvas  # noqa: E402 - it declares itself without them, and runs only with them

ROWS = int(SIDE * 0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sam3(tmp_path_factory.mktemp("sam3") / "tiny")


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Path]:
    return {"sam3": folder / "model.safetensors"}


@pytest.fixture(scope="module")
def query() -> np.ndarray:
    return support((37, 53), seed=109).image.copy()


def by_hand(folder: Path, shown: Support, query: np.ndarray, ids: list[int]) -> tuple[np.ndarray, list[float]]:
    """The public recipe with the library's own classes: the canvas, the box in its pixels, the library's masks."""
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[:ROWS] = Image.fromarray(shown.image).resize((SIDE, ROWS), Image.Resampling.BILINEAR)
    canvas[ROWS:] = Image.fromarray(query).resize((SIDE, SIDE - ROWS), Image.Resampling.BILINEAR)
    rows, columns = np.nonzero(shown.mask)
    down, across = ROWS / shown.mask.shape[0], SIDE / shown.mask.shape[1]
    left, right = columns.min() * across, (columns.max() + 1) * across
    top, bottom = rows.min() * down, (rows.max() + 1) * down
    box = torch.tensor([[[(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]]]).float() / SIDE
    network = transformers.Sam3Model.from_pretrained(folder, local_files_only=True).eval()
    processor = transformers.Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    padded = torch.tensor([ids + [1] * (32 - len(ids))])
    with torch.no_grad():
        outputs = network(
            pixel_values=processor(images=canvas, return_tensors="pt")["pixel_values"],
            input_ids=padded,
            attention_mask=(torch.arange(32) < len(ids))[None].long(),
            input_boxes=box,
        )
    (found,) = processor.post_process_instance_segmentation(outputs, target_sizes=[(SIDE, SIDE)])
    whole = found["masks"].any(dim=0).numpy()[ROWS:]
    size = (query.shape[1], query.shape[0])
    mask = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.NEAREST))
    below = found["masks"][:, ROWS:].flatten(1).any(dim=1)
    return mask, found["scores"][below].tolist()


@pytest.mark.parametrize(("text", "ids"), [("", [0, 3, 1]), ("red dog", [0, 5, 4, 1])])
def test_one_support_is_the_public_recipe(
    text: str, ids: list[int], folder: Path, weights: dict[str, Path], query: np.ndarray
) -> None:
    shown = support((48, 40))
    expected, scores = by_hand(folder, shown, query, ids)
    model = Sam3Canvas(weights=weights, text=text)
    found = model.predict(model.fit([shown], seed=0), query)
    mask = found.mask.numpy()
    assert mask.shape == query.shape[:2] and 0 < mask.sum() < mask.size
    assert np.mean(mask != expected) < 0.002
    assert 1 < len(scores) < 10 and found.confidence == pytest.approx(max(scores), abs=1e-5)
    assert found.score.max() <= found.confidence + 1e-6 and bool((found.score[found.mask] > 0).all())


def test_several_supports_are_a_union(weights: dict[str, Path], query: np.ndarray) -> None:
    model, sets = Sam3Canvas(weights=weights), [support((48, 40)), support((30, 70), seed=105)]
    alone = [model.predict(model.fit([shown], seed=0), query) for shown in sets]
    both = model.predict(model.fit(sets, seed=0), query)
    assert torch.equal(both.mask, alone[0].mask | alone[1].mask)
    assert not torch.equal(alone[0].mask, alone[1].mask)
    assert both.confidence == max(found.confidence for found in alone)
    assert torch.equal(both.score, torch.maximum(alone[0].score, alone[1].score))


def test_empty_masks_are_left_out(weights: dict[str, Path], query: np.ndarray) -> None:
    model, shown, empty = Sam3Canvas(weights=weights), support(), support(empty=True)
    assert len(model.fit([empty, shown], seed=0)) == 1
    none = model.predict(model.fit([empty], seed=0), query)
    assert not none.mask.any() and none.confidence == 0.0
    # Nothing above the threshold is nothing at all.
    high = Sam3Canvas(weights=weights, threshold=0.99)
    assert not high.predict(high.fit([shown], seed=0), query).mask.any()


def test_the_box_is_the_mask_s_on_the_canvas(weights: dict[str, Path]) -> None:
    mask = np.zeros((20, 10), bool)
    mask[5:10, 2:4] = True
    (shown,) = Sam3Canvas(weights=weights, share=0.5).fit([Support(np.zeros((20, 10, 3), np.uint8), mask)], seed=0)
    assert shown.image.shape == (SIDE // 2, SIDE, 3)
    assert shown.box == pytest.approx((0.3, 0.5 * 0.375, 0.2, 0.5 * 0.25))


def test_a_text_is_told(folder: Path, weights: dict[str, Path]) -> None:
    plain, told = (
        create("baselines.sam3_canvas:Sam3Canvas", weights={"sam3": folder}),
        Sam3Canvas(weights=weights, text="dog"),
    )
    described = describe_model(plain, {}, kind="image")
    assert described["uses"] == [] and set(described["weights"]) == {"sam3", "config", "tokenizer"}
    assert ", transformers " in described["backend"] and described["dtype"] == "float32"
    assert describe_model(told, {"text": "dog"}, kind="image")["uses"] == ["text"]
    lifted = lift(Sam3Canvas, tracker="sam3")
    assert lifted.info.uses == () and lifted.info.extra == "hf"
    both = {**weights, "tracker": weights["sam3"]}
    assert lifted(weights=both, text="dog").info.uses == ("text",)
    assert lifted(weights=both).info.uses == () and not plain.info.uses


def test_bfloat16_is_an_option_and_in_the_record(weights: dict[str, Path], query: np.ndarray) -> None:
    model, exact = Sam3Canvas(weights=weights, precision="bf16"), Sam3Canvas(weights=weights)
    described = describe_model(model, {}, kind="image")
    assert (described["dtype"], described["autocast"]) == ("bfloat16", "bfloat16")
    shown = [support()]
    rough, fine = (m.predict(m.fit(shown, seed=0), query) for m in (model, exact))
    assert not torch.equal(rough.score, fine.score) and (rough.score - fine.score).abs().mean() < 0.1


def test_keeps_the_rules(weights: dict[str, Path]) -> None:
    findings = check_model(lambda: Sam3Canvas(weights=weights), skip=("memory",))
    assert not [f for f in findings if f.status == "failed"]


def test_runs_on_video_and_lifted(weights: dict[str, Path]) -> None:
    model = lift(Sam3Canvas, tracker="sam3")(weights={**weights, "tracker": weights["sam3"]})
    clip = Clip(3)
    masks = [np.asarray(mask) for mask in model.segment([support()], clip, seed=0)]
    assert len(masks) == 3 and all(mask.shape == clip.size for mask in masks)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 1.0}, "threshold=1"),
        ({"share": 1.0}, "share=1"),
        ({"share": 0.0}, "share=0"),
        ({"share": float("nan")}, "share=nan"),
        ({"text": "\udcff"}, "what is no character"),
        ({"text": "dog " * 40}, "the text comes to 42 tokens"),
    ],
)
def test_wrong_options_are_one_line(options: dict, words: str, weights: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=words):
        Sam3Canvas(weights=weights, **options)


def test_other_tokenizers_are_one_line(folder: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer\.json beside the weights"):
        Sam3Canvas(weights={"sam3": copy / "model.safetensors"})
    # Elsewhere it may lie all the same.
    Sam3Canvas(weights={"sam3": copy / "model.safetensors", "tokenizer": folder / "tokenizer.json"})
    content = json.loads((folder / "tokenizer.json").read_text())
    panic = {**content, "post_processor": {**content["post_processor"], "special_tokens": {}}}
    step = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 10}
    bomb = {**content, "normalizer": {"type": "Sequence", "normalizers": [step] * 8}}
    known = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {**step, "content": " "}, {"type": "Lowercase"}]}
    (copy / "tokenizer.json").write_text(json.dumps({**content, "normalizer": known}))
    Sam3Canvas(weights={"sam3": copy / "model.safetensors"})
    content["model"]["vocab"]["visual"] = 1000
    for text, words in (
        (json.dumps(panic), "the tokenizer cannot be used"),
        (json.dumps(bomb), "a normalizer that is not known"),
        (json.dumps({**bomb, "normalizer": {"type": "Prepend", "prepend": "a" * 10**6}}), "that is not known"),
        (json.dumps({**bomb, "normalizer": "NFC"}), "that is not known"),
        (json.dumps(content), "has other words than the model"),
        ("{}", "the tokenizer cannot be used"),
    ):
        (copy / "tokenizer.json").write_text(text)
        with pytest.raises(WeightsError, match=words) as stop:
            Sam3Canvas(weights={"sam3": copy / "model.safetensors"})
        assert "\n" not in str(stop.value)
