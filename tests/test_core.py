"""The ground floor: errors, categories, files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from icvos import files, images, masks
from icvos.categories import COCO80, VOC20, Vocabulary, episode_id, get_vocabulary
from icvos.errors import (
    IcvosError,
    InputError,
    LockedError,
    MaskError,
    MissingExtraError,
    ModelError,
    UsageError,
    are,
    counted,
    counts,
    did_you_mean,
    one_line,
)
from icvos.installation import install_command
from icvos.types import ModelInfo, Prediction, Support


@pytest.mark.parametrize(
    ("things", "one", "two"),
    [
        ("episodes", "1 episode", "2 episodes"),
        ("categories", "1 category", "2 categories"),
        ("queries", "1 query", "2 queries"),
        ("classes", "1 class", "2 classes"),
        ("images", "1 image", "2 images"),
        ("draws", "1 draw", "2 draws"),
        ("files", "1 file", "2 files"),
    ],
)
def test_one_of_some_things(things: str, one: str, two: str) -> None:
    assert (counted(1, things), counted(2, things)) == (one, two)
    assert counts(**{things: 1, "masks": 1000}) == f"{one}, 1,000 masks"
    assert (are(0), are(1), are(2)) == ("are", "is", "are")


def test_an_error_is_one_line() -> None:
    error = InputError("bad\nthing", where="a/b.png", expected="good", fix="run this")
    assert str(error) == "bad thing; in a/b.png; expected good; run this"
    assert issubclass(MaskError, InputError) and issubclass(InputError, IcvosError) and error.exit_status == 2
    again = pickle.loads(pickle.dumps(MissingExtraError("sam2", "sam", "model 'x'")))
    assert str(again) == f"model 'x' needs the package sam2; install it with: {install_command('sam')}"
    assert did_you_mean("catt", ["cat", "dog"]) == "did you mean 'cat'?"
    assert did_you_mean("sam3", ["dcsam", "sam3-canvas"]) == "did you mean 'sam3-canvas'?"


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (UsageError("bad"), "bad", 2),
        (FileExistsError(17, "File exists", "a/b"), "File exists; in a/b", 2),
        (OSError("odd"), "odd", 2),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_a_script_ends_in_one_line(
    error: BaseException, said: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, one_line():
        raise error
    assert end.value.code == status and capsys.readouterr().err == f"icvos: {said}\n"


def test_coco_and_voc() -> None:
    assert len(COCO80) == 80 and len(VOC20) == 20
    assert (COCO80.names[0], COCO80.names[-1]) == ("person", "toothbrush")
    # COCO's ids have gaps: 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 and 91 are not there.
    assert set(range(1, 91)) - set(COCO80.source_ids) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert VOC20.names == tuple(sorted(VOC20.names))


@pytest.mark.parametrize(
    ("vocab", "name", "number"),
    [
        (COCO80, "motorbike", 4),
        (COCO80, "TV_monitor", 63),
        (COCO80, "aeroplane", 5),
        (COCO80, "sofa", 58),
        (VOC20, "motorcycle", 14),
        (VOC20, "tv", 20),
        (VOC20, "potted plant", 16),
        (VOC20, "couch", 18),
        (COCO80, "17", 17),
        (VOC20, "dining-table", 11),
    ],
)
def test_synonyms(vocab: Vocabulary, name: str, number: int) -> None:
    assert vocab.number(name) == number


def test_every_voc_class_is_a_coco_class() -> None:
    assert all(COCO80.find(name) for name in VOC20.names)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("davis17__dog__1__d0", "davis17__dog__1__d0"),
        # The video is called dog too: the category is the part that makes an id.
        ("davis17__dog__dog__d0", "davis17__dog__17__d0"),
        ("mose__a__potted-plant__d1", "mose__a__59__d1"),
        ("mose__a__Potted plant__d1", "mose__a__59__d1"),
        ("q1__motorbike__f0__d2", "q1__4__f0__d2"),
        # What is an id already stays, and what is none too.
        ("v__car__d0", "v__car__d0"),
        ("davis17__dog__cat__d0", "davis17__dog__cat__d0"),
        ("", ""),
    ],
)
def test_a_category_in_an_episode_id_may_stand_by_its_name(text: str, id: str) -> None:
    known = [
        "davis17__dog__1__d0",
        "davis17__dog__17__d0",
        "mose__a__59__d1",
        "q1__4__f0__d2",
        "v__car__d0",
        "v__3__d0",
    ]
    assert episode_id(text, COCO80, known) == id


def test_unknown_categories() -> None:
    with pytest.raises(UsageError, match="did you mean 'zebra'"):
        COCO80.number("zebr")
    with pytest.raises(UsageError, match="81"):
        COCO80.number("81")
    assert COCO80.find("camel") is None
    assert get_vocabulary(["a", "b"]).number("b") == 2
    with pytest.raises(UsageError, match="coco80"):
        get_vocabulary("coco8")


@pytest.mark.parametrize("colours", [False, True])
@given(data=st.data())
def test_masks_come_back(tmp_path_factory: pytest.TempPathFactory, colours: bool, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    labels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, (height, width)).astype(np.uint8)
    path = tmp_path_factory.getbasetemp() / "mask.png"
    masks.write_mask(path, labels, colours=colours)
    assert np.array_equal(masks.read_mask(path, size=(height, width)), labels)


def test_palette_is_voc() -> None:
    table = np.frombuffer(masks.palette(), np.uint8).reshape(256, 3)
    assert table[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert table[255].tolist() == [224, 224, 192]


def _png(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_bad_masks(tmp_path: Path) -> None:
    rgb = _png(tmp_path / "rgb.png", np.zeros((4, 5, 3), np.uint8))
    deep = _png(tmp_path / "deep.png", np.zeros((4, 5), np.uint16))
    grey = _png(tmp_path / "grey.png", np.zeros((40, 50), np.uint8))
    cut = tmp_path / "cut.png"
    cut.write_bytes(grey.read_bytes()[:50])
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, words in (
        (rgb, "RGB"),
        (deep, "16 bits"),
        (cut, "decoded"),
        (empty, "empty"),
        (tmp_path / "no", "found"),
    ):
        with pytest.raises(MaskError, match=words):
            masks.read_mask(path)
    with pytest.raises(MaskError, match="40x50"):
        masks.read_mask(grey, size=(50, 40))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P"])
def test_images_are_rgb_whatever_their_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.png" if mode == "P" else "image.jpg")
    Image.fromarray(np.full((20, 30, 3), 204, np.uint8)).convert(mode).save(path)
    image = images.read_image(path)
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - 204).max() <= 3


def test_exif_rotation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert images.read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


def test_bad_images(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    images.write_image(tmp_path / "a.jpg", noise)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_bytes(b"hello")
    # The EXIF thumbnail is a JPEG with an end marker of its own: it must not pass for the image's.
    thumbnail = b"\xff\xe1" + (4 + 20).to_bytes(2, "big") + b"Exif" + bytes(16) + b"\xff\xd9"
    (tmp_path / "thumb.jpg").write_bytes(data[:2] + thumbnail + data[2 : len(data) // 2])
    for name, words in (
        ("cut.jpg", "truncated"),
        ("thumb.jpg", "truncated"),
        ("text.jpg", "decoded"),
        ("none.jpg", "not found"),
    ):
        with pytest.raises(InputError, match=words):
            images.read_image(tmp_path / name)


def test_atomic_write_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.txt"
    with files.atomic_write(path, "w") as stream:
        stream.write("old")
    with pytest.raises(RuntimeError), files.atomic_write(path, "w") as stream:
        stream.write("half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file.txt"]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    files.write_csv(path, ("a", "b"), [{"a": 1, "b": None}, {"a": "x,y", "b": 'q"'}])
    assert files.read_csv(path, ("a",)) == [{"a": "1", "b": ""}, {"a": "x,y", "b": 'q"'}]
    for text, words in (
        ("a\n1\n", "no column b"),
        ("a,b\n1\n", "line 2 has 1"),
        ("a,b,a\n", "twice"),
        ("\xff", "no text"),
    ):
        path.write_bytes(text.encode("latin1"))
        with pytest.raises(InputError, match=words):
            files.read_csv(path, ("a", "b"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "ä"])
def test_bad_ids(name: str) -> None:
    with pytest.raises(InputError):
        files.check_id(name)


def _hold(folder: str, ready: multiprocessing.synchronize.Event, stop: multiprocessing.synchronize.Event) -> None:
    with files.lock_folder(Path(folder)):
        ready.set()
        stop.wait(30)


def test_lock_refuses_a_second_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path / "run"), ready, stop))
    process.start()
    assert ready.wait(30)
    with pytest.raises(LockedError), files.lock_folder(tmp_path / "run"):
        pass
    stop.set()
    process.join(30)
    with files.lock_folder(tmp_path / "run"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where not even root may write")
def test_a_place_where_nothing_can_be_written_is_named() -> None:
    says = r"cannot write here .*in /proc/icvos; choose another"
    with pytest.raises(InputError, match=says), files.lock_folder(Path("/proc/icvos/run")):
        pass


def test_supports_and_infos_are_checked() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    assert Support(image, np.zeros((4, 5), bool)).size == (4, 5)
    for bad in (np.zeros((5, 4), bool), np.zeros((4, 5), np.uint8)):
        with pytest.raises(UsageError):
            Support(image, bad)
    with pytest.raises(UsageError):
        Support(image.astype(float), np.zeros((4, 5), bool))
    assert ModelInfo(name="a", version="1", access="lookahead:3").lookahead == 3
    for access in ("ahead", "lookahead:", "lookahead:0", "lookahead:x"):
        with pytest.raises(UsageError):
            ModelInfo(name="a", version="1", access=access)


EMPTY = np.zeros((3, 4), bool)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("mask", "a str is no mask"),
        ([[True]], "a list is no mask"),
        (None, "a NoneType is no mask"),
        (np.zeros((3, 4)), "float64, not bool"),
        (np.full((3, 4), 2, np.uint8), "values from 2 to 2"),
        (np.full((3, 4), -1), "values from -1 to -1"),
        (np.zeros((4, 3), bool), "the mask's shape is (4, 3), the frame's (3, 4)"),
        (EMPTY[None], "the mask's shape is (1, 3, 4)"),
        (Prediction(EMPTY.astype(float)), "float64, not bool"),
        (Prediction(EMPTY, confidence=float("nan")), "the confidence is nan"),
        (Prediction(EMPTY, score=np.full((3, 4), np.nan)), "no finite numbers"),
        (Prediction(EMPTY, score=np.full((3, 4), -np.inf)), "no finite numbers"),
        (Prediction(EMPTY, score=np.zeros((4, 3))), "the score's shape is (4, 3), the frame's (3, 4)"),
        (Prediction(EMPTY, score=0.5), "the score's shape is ()"),
    ],
)
def test_what_is_no_prediction(item: Any, words: str) -> None:
    with pytest.raises(ModelError) as error:
        Prediction.of(item, (3, 4))
    assert words in error.value.what


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_mask_is_a_prediction(dtype: Any, kind: str) -> None:
    mask: Any = np.eye(3, 4).astype(dtype)
    if kind == "torch":
        mask = pytest.importorskip("torch").from_numpy(mask)
    bare = Prediction.of(mask, (3, 4))
    assert bare.mask is mask and bare.score is None and bare.confidence is None
    assert bare.to_numpy().dtype == bool and np.array_equal(bare.to_numpy(), np.eye(3, 4) > 0)
    whole = Prediction(mask, score=np.eye(3, 4), confidence=0.5)
    assert Prediction.of(whole, (3, 4)) is whole


def test_a_float_tensor_is_no_prediction() -> None:
    with pytest.raises(ModelError, match="the mask is float32, not bool"):
        Prediction.of(pytest.importorskip("torch").zeros(3, 4), (3, 4))


def test_a_tensor_without_a_value_a_place_is_no_prediction() -> None:
    torch = pytest.importorskip("torch")
    dense = torch.zeros(3, 4, dtype=torch.bool)
    for tensor in (dense.to_sparse(), dense.to("meta")):
        with pytest.raises(ModelError, match="the mask is no dense array with values"):
            Prediction.of(tensor, (3, 4))
        with pytest.raises(ModelError, match="the score is no dense array with values"):
            Prediction.of(Prediction(dense, score=tensor), (3, 4))
