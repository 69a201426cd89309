"""SAM 2 on semi-supervised VOS gives the label maps that its authors' inference gives."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sam2")

from sam_tiny import tiny_sam2  # noqa: E402

from baselines.sam2_tracker import Sam2Tracker  # noqa: E402
from icvos import ImageModel, ModelInfo, Support  # noqa: E402
from icvos.errors import UsageError  # noqa: E402
from icvos.foundation.load import save_sam  # noqa: E402
from icvos.foundation.tracker import Tracker  # noqa: E402
from icvos.models.lifts import lift  # noqa: E402

SIZE = (48, 80)
FRAMES = 8


class Frames:
    """Three squares that cross, as a ``Video``."""

    size = SIZE

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        ground = rng.integers(0, 120, (*SIZE, 3))
        self.frames, self.labels = [], []
        for t in range(FRAMES):
            labels = np.zeros(SIZE, np.uint8)
            for number, (row, column) in enumerate(((8, 6 + 5 * t), (14, 44 - 4 * t), (26, 20 + 3 * t)), 1):
                labels[row : row + 16, column : column + 18] = number
            colours = np.array([(0, 0, 0), (230, 40, 40), (40, 220, 60), (60, 60, 240)])
            image = np.where(labels[..., None] > 0, colours[labels], ground) + rng.integers(0, 16, (*SIZE, 3))
            self.frames.append(image.clip(0, 255).astype(np.uint8))
            self.labels.append(labels)

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self.frames[index]

    def __iter__(self) -> Any:
        return iter(self.frames)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SAM 2 that takes all objects to be there, so that they compete."""
    torch.set_num_threads(1)
    segmenter = tiny_sam2()
    with torch.no_grad():
        segmenter.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(100.0)
    path = tmp_path_factory.mktemp("weights") / "sam2.safetensors"
    save_sam(path, segmenter)
    return path


def authors(model: Sam2Tracker, video: Frames, masks: list[np.ndarray], monkeypatch: Any, *, exclusive: bool) -> Any:
    """(T, N, H, W) logits by the package's predictor, built as the authors' VOS inference builds it."""
    module = pytest.importorskip("sam2.sam2_video_predictor")
    segmenter = model.tracker.segmenter
    predictor = copy.deepcopy(segmenter.model)
    predictor.__class__ = module.SAM2VideoPredictor
    predictor.fill_hole_area, predictor.non_overlap_masks = 0, exclusive
    predictor.clear_non_cond_mem_around_input = predictor.add_all_frames_to_correct_as_cond = False
    # No post-processing: the builder's three other overrides are not made.
    predictor.binarize_mask_from_pts_for_mem_enc = False
    predictor.sam_mask_decoder.dynamic_multimask_via_stability = False
    images = torch.cat([segmenter.preprocess(frame, resample="pil-bicubic") for frame in video])
    monkeypatch.setattr(module, "load_video_frames", lambda **_: (images, *SIZE))
    monkeypatch.setattr(module, "tqdm", lambda frames, **_: frames)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=model.precision == "bf16"):
        state = predictor.init_state("unused")
        for number, mask in enumerate(masks, 1):
            predictor.add_new_mask(state, frame_idx=0, obj_id=number, mask=mask)
        return np.stack([logits[:, 0].numpy().copy() for _, _, logits in predictor.propagate_in_video(state)])


def tracked(model: Any, video: Frames, masks: list[np.ndarray]) -> np.ndarray:
    return np.stack([[mask.numpy() for mask in objects] for objects in model.segment_objects(masks, video, seed=0)])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_label_maps_are_those_of_the_authors(weights: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, video = Sam2Tracker(weights={"sam2": weights}), Frames()
    model.tracker.segmenter.in_pieces = False  # by the package's own layers, to the last digit
    masks = [video.labels[0] == number for number in range(1, count + 1)]
    expected = authors(model, video, masks, monkeypatch, exclusive=True) > 0
    found = tracked(model, video, masks)
    free = authors(model, video, masks, monkeypatch, exclusive=False)
    # A batch rounds the last digits otherwise than a pass for each object: logits that near each other may swap.
    ranked = np.sort(np.concatenate([np.zeros((FRAMES, 1, *SIZE)), free], axis=1), axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-4
    assert clear.mean() > 0.98 and np.array_equal(found.swapaxes(0, 1)[:, clear], expected.swapaxes(0, 1)[:, clear])
    assert found.sum(axis=1).max() == 1 and all(found[1:, number].any() for number in range(count))
    # The comparison means something: without the rule objects overlap.
    assert ((free > 0).sum(axis=1).max() > 1) == (count > 1)


def test_in_bfloat16_they_are_those_of_the_authors_on_a_gpu(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, video = Sam2Tracker(weights={"sam2": weights}, precision="bf16"), Frames()
    assert (model.dtype, model.autocast) == ("bfloat16", "bfloat16")
    for number in (1, 2, 3):  # one by one: in bfloat16 a batch rounds a few percent of the pixels otherwise
        masks = [video.labels[0] == number]
        expected = authors(model, video, masks, monkeypatch, exclusive=True) > 0
        assert np.array_equal(tracked(model, video, masks), expected) and expected[-1].any()
    plain = Sam2Tracker(weights={"sam2": weights})
    assert not np.array_equal(tracked(plain, video, masks), expected)
    assert (plain.precision, plain.dtype, plain.autocast) == ("fp32", "float32", None)


def test_a_prompted_frame_enters_the_memory_unrounded(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's video builder rounds it by default; the authors' VOS inference does not."""
    model, video = Sam2Tracker(weights={"sam2": weights}), Frames()
    rounding = Tracker(model.tracker.segmenter)
    seen: list[bool] = []
    encode = type(rounding.segmenter.model)._encode_new_memory

    def spy(self: Any, *, is_mask_from_pts: bool, **rest: Any) -> Any:
        seen.append(is_mask_from_pts)
        return encode(self, is_mask_from_pts=is_mask_from_pts, **rest)

    monkeypatch.setattr(type(rounding.segmenter.model), "_encode_new_memory", spy)
    mask = video.labels[0] == 1
    tracked(model, video, [mask])
    assert seen == [False] * FRAMES
    seen.clear()
    with torch.no_grad():
        assert len(list(rounding.track_objects([mask], video))) == FRAMES
    assert seen == [True] + [False] * (FRAMES - 1)


def test_one_object_alone_is_segment_from_mask(weights: Path) -> None:
    model, video = Sam2Tracker(weights={"sam2": weights}), Frames()
    mask = video.labels[0] == 2
    alone = [each.numpy() for each in model.segment_from_mask(mask, video, seed=0)]
    assert np.array_equal(tracked(model, video, [mask])[:, 0], alone)


def test_a_lift_resolves_overlaps_alike(weights: Path) -> None:
    class Never(ImageModel):
        info = ModelInfo(name="never", version="1")

        def fit(self, supports: Any, *, seed: int) -> None:
            raise AssertionError

        def predict(self, fitted: None, image: np.ndarray) -> np.ndarray:
            raise AssertionError

    model, video = lift(Never)(weights={"tracker": weights}), Frames()
    found = tracked(model, video, [video.labels[0] == number for number in (1, 2, 3)])
    assert found.sum(axis=1).max() == 1 and found[-1].any()


def test_it_takes_no_support(weights: Path) -> None:
    model, video = Sam2Tracker(weights={"sam2": weights}), Frames()
    with pytest.raises(UsageError, match=r"only tracks.*--oracle first-frame.*build-data vos"):
        model.segment([Support(video[0], video.labels[0] == 1)], video, seed=0)
