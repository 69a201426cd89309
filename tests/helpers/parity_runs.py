"""The parity fixtures of whole runs, images, videos and scores (families f, h and i): files as published, by commands.

Images and videos go through ``icvos evaluate`` on benchmarks of the fixture's own pictures, masks through the scorers.
Prompts, features and logits are those that the plugin's calls return on the way.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_trees import categories
from fewshot_trees import write_json as write_instances
from parity_scheme import WeightFiles, Weights, near
from PIL import Image
from pycocotools import mask as rle
from shared_data import SHARED
from torch import Tensor, nn

from dcsam.engine import Engine
from dcsam.model import Output
from dcsam.plugin import DCSam, DCSamOptions
from icvos import Support, cli
from icvos.benchmark import QUERY_EPISODE_COLUMNS, SCHEMA
from icvos.categories import COCO80
from icvos.files import write_csv, write_json
from icvos.foundation.frame_tracker import TrackedFrame
from icvos.foundation.tracker import Tracker
from icvos.images import nearest_resize, resize_image
from icvos.manifest import write_manifest
from icvos.masks import read_mask, write_mask
from icvos.metrics import FewShotScore, fss_counts, jf
from icvos.training.loss import segmentation_loss

# The README's tolerances.
LOGITS, MASK_PIXELS, PROMPTS = 0.02, 60, 0.05
JF, FEW_SHOT = 1e-3, 1e-4

SIZE = (512, 512)
DOG = COCO80.number("dog")
Arrays = Mapping[str, np.ndarray]


# ---- pictures and masks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A JPEG file's bytes, and the (H, W) bool mask of the thing on it."""

    jpeg: bytes
    mask: np.ndarray

    @classmethod
    def of_fixture(cls, d: Arrays, side: str, suffix: str = "") -> Picture:
        """Take a ``support`` or a ``query`` from a fixture."""
        mask = unpacked(d[f"in_{side}_mask_bits{suffix}"], d[f"in_{side}_mask_shape{suffix}"])
        return cls(d[f"in_{side}_jpeg{suffix}"].tobytes(), mask)

    def square(self) -> Support:
        """Return image and mask at 512x512, as the authors resize them."""
        image = np.array(Image.open(io.BytesIO(self.jpeg)).convert("RGB"))
        return Support(resize_image(image, SIZE), nearest_resize(self.mask, SIZE))


def unpacked(bits: np.ndarray, shape: Any) -> np.ndarray:
    """Return packed bits as a bool array."""
    shape = tuple(int(side) for side in shape)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def same_masks(name: str, actual: np.ndarray, expected: np.ndarray) -> None:
    """Fail if more pixels of any mask differ than are allowed."""
    assert actual.shape == expected.shape, name
    worst = int((actual != expected).reshape(-1, SIZE[0] * SIZE[1]).sum(axis=1).max())
    assert worst <= MASK_PIXELS, f"{name}: {worst} pixels from the reference, {MASK_PIXELS} allowed"


def thinned(maps: Tensor, expected: np.ndarray) -> Tensor:
    """Return every n-th row and column of (…, 512, 512), as many as the fixture stores."""
    step = maps.shape[-1] // expected.shape[-1]
    return maps[..., ::step, ::step].reshape(expected.shape)


@contextmanager
def recorded(owner: Any, name: str) -> Iterator[list[tuple[tuple[Any, ...], Any]]]:
    """Note the arguments and the result of every call of a function, inside the block."""
    calls: list[tuple[tuple[Any, ...], Any]] = []
    function = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        calls.append((arguments, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield calls


def icvos(*words: Any) -> None:
    """Run a command of icvos in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    assert not stop.value.code, f"icvos {' '.join(map(str, words))}: exit {stop.value.code}"


def evaluate(benchmark: Path, protocol: str, weights: Mapping[str, Path], out: Path, *settings: str) -> dict[str, Any]:
    """Run ``icvos evaluate --model dcsam`` on a benchmark of one episode and return its record."""
    files = [word for name, path in weights.items() for word in ("--weights", f"{name}={path}")]
    chosen = [word for setting in settings for word in ("--set", setting)]
    words = ("evaluate", "--model", "dcsam", "--benchmark", benchmark, "--protocol", protocol, "--save-masks")
    icvos(*words, "--out", out, *files, *chosen)
    (line,) = (out / "episodes.jsonl").read_text().splitlines()
    return json.loads(line)


# ---- f: images -------------------------------------------------------------------------------------------------------


def write_pair(root: Path, support: Picture, query: Picture) -> Path:
    """Write a few-shot benchmark of one episode."""
    for place, name, picture in (("supports", "support", support), ("queries", "query", query)):
        image = root / place / "images" / f"{name}.jpg"
        image.parent.mkdir(parents=True)
        image.write_bytes(picture.jpeg)
        write_mask(root / place / "masks" / str(DOG) / f"{name}.png", picture.mask.astype(np.uint8))
    episode = {
        "id": f"query__{DOG}__f0__d0",
        "protocol": "fss-paper",
        "query": "query",
        "category": DOG,
        "category_name": "dog",
        "fold": 0,
        "draw": 0,
        "support_1": "support",
    }
    write_csv(root / "episodes.csv", (*QUERY_EPISODE_COLUMNS, "support_1"), [episode])
    header = {"schema": SCHEMA, "name": "pair", "version": "1", "vocabulary": "coco80", "folds": {"0": [DOG]}}
    write_json(root / "benchmark.json", header)
    write_manifest(root)
    return root


def check_image(d: Arrays, path: Path, files: WeightFiles, folder: Path) -> None:
    """An image pair: the masks of ``icvos evaluate``, and what ``fit`` and ``predict`` came to on the way."""
    support, query = Picture.of_fixture(d, "support"), Picture.of_fixture(d, "query")
    weights = files.image(Weights.of_fixture(path.stem, str(d["in_weights"])))
    bench = write_pair(folder / "pair", support, query)
    with recorded(DCSam, "predict") as predictions, recorded(Engine, "segment_image") as calls:
        record = evaluate(bench, "fss-paper", weights, folder / "run")
    ((_, prediction),) = predictions
    (((engine, *_), (_, output, encoded)),) = calls
    compare_image(d, output, prediction.score)
    same_masks("final mask of fit and predict", np.asarray(prediction.mask), unpacked(d["out_mask2_bits"], SIZE))
    saved = read_mask(folder / "run/masks" / record["id"] / "00000.png") == 1
    same_masks("mask of icvos evaluate", saved, unpacked(d["out_mask2_bits"], SIZE))
    deep, top = encoded.backbone.deep, engine.model.top(encoded.backbone)
    for layer, maps, key in (("layer 3", deep, "out_layer3_sub"), ("layer 4", top, "out_layer4_sub")):
        # The README allows 5e-3 on small images; features here reach thousands, where that is below float32's steps.
        near(layer, maps[:, ::64, ::8, ::8], d[key], max(5e-3, 2e-5 * float(np.abs(d[key]).max())))
    near("SAM's embedding", encoded.sam.embedding[:, ::16, ::8, ::8], d["out_sam_sub"], 1e-3)
    truth = torch.from_numpy(query.square().mask)[None]
    # A mean over pixels moves by no more than the logits do.
    near("loss", segmentation_loss(prediction.score[None], truth), d["out_loss"], LOGITS)
    for kind in ("inter", "union"):
        counts = torch.tensor([record[f"{kind}_bg"], record[f"{kind}_fg"]])
        near(f"{kind} of background and foreground", counts, d[f"out_{kind}"], MASK_PIXELS)


def compare_image(d: Arrays, output: Output, logits: Tensor) -> None:
    """Compare prompts and logits of both stages, and the first stage's mask."""
    assert output.coarse_logits is not None
    for stage, prompts in ((1, output.first), (2, output.prompts)):
        near(f"pos{stage}", prompts.positive, d[f"out_pos{stage}"], PROMPTS)
        near(f"neg{stage}", prompts.negative, d[f"out_neg{stage}"], PROMPTS)
    coarse = output.coarse_logits[0, 0]
    near("logits1", thinned(coarse, d["out_logits1_sub"]), d["out_logits1_sub"], LOGITS)
    near("logits2", thinned(logits, d["out_logits2_sub"]), d["out_logits2_sub"], LOGITS)
    same_masks("coarse mask", (coarse > 0).numpy(), unpacked(d["out_mask1_bits"], SIZE))


# ---- h: videos -------------------------------------------------------------------------------------------------------


def without_dropout(*modules: nn.Module) -> None:
    """Set every dropout to 0: the layers, and the attentions of SAM 2 that take a probability."""
    for module in (part for whole in modules for part in whole.modules()):
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif hasattr(module, "dropout_p"):
            module.dropout_p = 0.0


class Frames(list):
    """A video in memory."""

    size = SIZE


def check_video(d: Arrays, path: Path, files: WeightFiles, folder: Path) -> None:
    """A video: the masks, J and F of ``icvos evaluate``, and prompts, logits and object scores of the plugin's calls.

    In training mode, which is no option without its dropout, the plugin's ``segment`` is called instead. A fixture
    without frames has the inputs of ``h_video_eval``. Masks and logits are compared always, the rest where
    the fixture holds it.
    """
    if "in_frames_jpeg" not in d:
        for folder in (path.parent, SHARED / "parity_end_to_end"):
            d = {**inputs_of(folder / "h_video_eval.npz"), **d}
    weights = files.video(Weights.of_fixture(path.stem, str(d["in_weights"])))
    frames = np.split(d["in_frames_jpeg"], np.cumsum(d["in_frames_length"])[:-1])
    truth = unpacked(d["in_truth_bits"], d["in_truth_shape"])
    video = [Picture(jpeg.tobytes(), mask) for jpeg, mask in zip(frames, truth, strict=True)]
    support = Picture.of_fixture(d, "support")
    with recorded(Engine, "prompts") as prompted, recorded(Tracker, "step") as tracked:
        if "train0" in path.stem:
            masks, scores = segment_in_training_mode(weights, support, video)
        else:
            masks, scores = evaluate_video(weights, support, video, folder)
    same_masks("masks", masks, unpacked(d["out_masks_bits"], masks.shape))
    ((_, output),) = prompted
    steps: list[TrackedFrame] = [result for _, result in tracked]
    logits = torch.cat([step.resized(SIZE)[:, 0] for step in steps])
    near("logits", thinned(logits, d["out_logits_sub"]), d["out_logits_sub"], LOGITS)
    rest = {
        "pos2": (output.prompts.positive, PROMPTS),
        "neg2": (output.prompts.negative, PROMPTS),
        "object_score": (torch.cat([step.object_score[:, 0] for step in steps]), LOGITS),
        **{measure: (torch.from_numpy(values), JF) for measure, values in scores.items()},
    }
    for part, (values, tolerance) in rest.items():
        if f"out_{part}" in d:
            near(part, values, d[f"out_{part}"], tolerance)


def inputs_of(path: Path) -> dict[str, np.ndarray]:
    """Return the inputs that a fixture holds; none where the file is not there."""
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files if key.startswith("in_")}


def evaluate_video(
    weights: Mapping[str, Path], support: Picture, video: Sequence[Picture], folder: Path
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Build the benchmark from the authors' layout, evaluate, and return (T, 512, 512) masks, and J and F by frame."""
    release, coco = write_release(folder / "release", video), write_coco(folder / "coco", support)
    bench, run = folder / "bench", folder / "run"
    source = ("--from-release", release, "--coco", coco)
    icvos("build-data", "ic-vos", *source, "--out", bench, "--draws", 1, "--shots", 1)
    # The fixtures were computed without the public code's compiled extension, which fills holes.
    record = evaluate(bench, "paper", weights, run, "fill_holes=0")
    masks = [read_mask(run / "masks" / record["id"] / f"{index:05d}.png") == 1 for index in range(len(video))]
    with np.load(run / "frames" / f"{record['id']}.npz") as stored:
        return np.stack(masks), {measure: stored[measure] for measure in ("J", "F")}


def segment_in_training_mode(
    weights: Mapping[str, Path], support: Picture, video: Sequence[Picture]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Segment as ``evaluate_video`` with batch statistics, but for the dropout."""
    model = DCSam(weights=weights, options=DCSamOptions(train_mode=True, fill_holes=0))
    without_dropout(model.engine.model, model.engine.segmenter)
    squares = [picture.square() for picture in video]
    frames = Frames(square.image for square in squares)
    masks = np.stack([np.asarray(mask) for mask in model.segment([support.square()], frames, seed=0)])
    scores = np.array([jf(mask, square.mask) for mask, square in zip(masks, squares, strict=True)], np.float64)
    return masks, {"J": scores[:, 0], "F": scores[:, 1]}


def write_release(root: Path, video: Sequence[Picture]) -> Path:
    """Write a video as the authors' released folder has it."""
    images, masks = root / "libby/JPEGImages", root / "libby/Annotations" / str(DOG)
    images.mkdir(parents=True)
    for index, picture in enumerate(video):
        (images / f"{index:05d}.jpg").write_bytes(picture.jpeg)
        write_mask(masks / f"{index:05d}.png", picture.mask.astype(np.uint8))
    return root


def write_coco(root: Path, support: Picture) -> Path:
    """Write a COCO split of one image with one dog."""
    name = f"COCO_val2014_{1:012d}.jpg"
    (root / "val2014").mkdir(parents=True)
    (root / "val2014" / name).write_bytes(support.jpeg)
    code = rle.encode(np.asfortranarray(support.mask.astype(np.uint8)))
    dog = {
        "id": 1,
        "image_id": 1,
        "category_id": COCO80.source_ids[DOG - 1],
        "iscrowd": 0,
        "area": int(rle.area(code)),
        "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
    }
    height, width = support.mask.shape
    image = {"id": 1, "file_name": name, "height": height, "width": width}
    write_instances(root, "val2014", {"images": [image], "annotations": [dog], "categories": categories()})
    return root


# ---- i: scores -------------------------------------------------------------------------------------------------------


def check_scores(d: Arrays, path: Path, files: WeightFiles, folder: Path) -> None:
    """Counts and figures of few-shot episodes, and J and F of pairs of masks."""
    for data in ("coco", "pascal"):
        classes = d[f"in_{data}_class0"] + 1
        kinds = ("pred", "truth", "ignore")
        masks = [unpacked(d[f"in_{data}_{kind}_bits"], (len(classes), *SIZE)) for kind in kinds]
        score = FewShotScore()
        counts = []
        for category, prediction, truth, ignore in zip(classes.tolist(), *masks, strict=True):
            counts.append(fss_counts(prediction, truth, ignore=ignore))
            score.add(category, *counts[-1])
        assert np.array_equal(counts, d[f"out_{data}_inter_union_fg_bg"]), data
        summary = score.summary((d[f"in_{data}_fold_class0"] + 1).tolist(), undrawn_as_zero=True)
        for measure, key in (("mIoU", "mIoU_undrawn_as_0"), ("FB_IoU", "FB_IoU")):
            near(f"{data} {measure}", torch.tensor(summary[measure]), d[f"out_{data}_{key}"], FEW_SHOT)
    shape = (len(d["out_J"]), *SIZE)
    prediction, truth = (unpacked(d[f"in_jf_{kind}_bits"], shape) for kind in ("pred", "truth"))
    scores = np.array([jf(mask, other) for mask, other in zip(prediction, truth, strict=True)], np.float64)
    assert np.array_equal(scores.T, [d["out_J"], d["out_F"]])
