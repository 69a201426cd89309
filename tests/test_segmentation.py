"""One's own photographs and video: the masks are those of evaluating the same frames, and what is wrong is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from run_models import BROKEN, HEAD, RED, write_model
from tiny import scene, write_video_benchmark
from video_files import decode, write_video

import icvos
from icvos import ImageModel, ModelInfo, VideoModel, cli
from icvos.errors import MaskError, ModelError, UsageError
from icvos.images import read_image, write_image
from icvos.manifest import write_manifest
from icvos.masks import read_mask, write_mask
from icvos.models.registry import resolve

EPISODE = "tiny__v0__1__d0"
NAMES = ["COCO_val2014_000000000000", "COCO_val2014_000000000001"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_video_benchmark(tmp_path_factory.mktemp("bench") / "bench", videos=1)


@pytest.fixture(scope="module")
def film(bench, tmp_path_factory):
    """A video file, and a benchmark of the frames that it decodes to."""
    root = tmp_path_factory.mktemp("film")
    path, other = write_video(root / "walk.avi", 6), root / "bench"
    shutil.copytree(bench, other)
    for index, frame in enumerate(decode(path)):
        (other / f"videos/tiny__v0/JPEGImages/{index:05d}.jpg").unlink()
        write_image(other / f"videos/tiny__v0/JPEGImages/{index:05d}.png", frame)
    write_manifest(other)
    return path, other


def supports(bench: Path, count: int = 1) -> list[tuple[Path, Path]]:
    folder = bench / "supports"
    return [(folder / f"images/{name}.jpg", folder / f"masks/1/{name}.png") for name in NAMES[:count]]


def words(pairs) -> list[str]:
    return [str(word) for pair in pairs for word in ("--support", *pair)]


def run(capsys, *arguments, status: int = 0) -> tuple[str, str]:
    """Run ``icvos segment``; return what it prints, and its one line where it fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main(["segment", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert stop.value.code == status, err
    line = err.strip()  # click ends the line in which ^C stands
    assert "\n" not in line and (not status or line.startswith("icvos: ")), err
    return out, line


def saved(folder: Path) -> list[np.ndarray]:
    return [read_mask(path) > 0 for path in sorted(folder.glob("*.png"))]


def alike(masks, others) -> bool:
    return all((mask == other).all() for mask, other in zip(masks, others, strict=True))


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("source", ["folder", "file"])
@pytest.mark.parametrize("model", ["histogram", "dcsam", "red"])
def test_masks_are_those_of_evaluating_the_same_frames(bench, film, tmp_path, capsys, model, source, shots):
    spec = write_model(tmp_path, RED) if model == "red" else model  # whose masks hang on the episode's seed
    weights = dict(resolve(spec).demo_weights())
    path, known = (bench / "videos/tiny__v0/JPEGImages", bench) if source == "folder" else film
    files = [word for name, file in weights.items() for word in ("--weights", f"{name}={file}")]
    arguments = [*words(supports(bench, shots)), "--video", path, "--model", spec, *files, "--episode", EPISODE]
    out, _ = run(capsys, *arguments, "--seed", 3, "--out", tmp_path / "mine")
    icvos.evaluate(
        spec,
        known,
        out=tmp_path / "run",
        shots=shots,
        seed=3,
        weights=weights,
        save_masks=True,
        episodes=[EPISODE],
    )
    masks = saved(tmp_path / "mine/masks")
    assert len(masks) == 6 and alike(masks, saved(tmp_path / "run/masks" / EPISODE))
    assert f"({len(masks)} frames, something found on {sum(mask.any() for mask in masks)})" in out
    if model == "dcsam":
        assert alike(masks, icvos.segment(supports(bench, shots), path, model=spec, weights={"dcsam": "demo"}))
    if model == "red":
        again = icvos.segment(supports(bench, shots), path, model=spec, seed=3)
        assert not alike(masks, again)  # other draws: the episode is called after the video
        named = icvos.segment(supports(bench, shots), path, model=spec, seed=3, episode=EPISODE)
        assert alike(masks, named)


def test_what_comes_out(bench, film, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(12):  # by number, not by name; suffixes of any kind
        write_image(frames / f"img_{index}.{'jpg' if index % 2 else 'png'}", scene(0, index % 9)[0])
    (frames / "img_3.jpg").rename(frames / "img_3.JPG")
    (frames / "Thumbs.db").write_bytes(b"x")
    run(capsys, *words(supports(bench)), "--video", frames, "--model", "histogram", "--out", tmp_path / "o")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["masks", "overlay.mp4", "segment.json"]
    assert {path.stem for path in (tmp_path / "o/masks").iterdir()} == {f"img_{index}" for index in range(12)}
    assert set(np.unique(read_mask(tmp_path / "o/masks/img_3.png"))) == {0, 255}
    masks = list(icvos.segment(supports(bench), frames, model="histogram"))
    assert (masks[10] == (read_mask(tmp_path / "o/masks/img_10.png") > 0)).all()
    pictures = decode(tmp_path / "o/overlay.mp4")
    assert len(pictures) == 12 and pictures[0].shape[0] > 40 and pictures[0].shape[1] > 52
    record = json.loads((tmp_path / "o/segment.json").read_text())
    assert record["schema"] == "icvos-segment/1" and record["model"]["name"] == "histogram"
    assert record["frames"] == 12 and record["fps"] > 0 and record["key"]["seed"] == 0
    assert record["key"]["episode"] == "frames" and record["supports"][0]["object"] == 1
    run(capsys, *words(supports(bench)), "--video", film[0], "--model", "histogram", "--out", tmp_path / "f")
    assert [path.name for path in sorted((tmp_path / "f/masks").iterdir())] == [
        f"{index:05d}.png" for index in range(6)
    ]
    assert cv2.VideoCapture(str(tmp_path / "f/overlay.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(25)


def test_the_masks_are_on_the_frames_of_the_film(bench, tmp_path):
    frame, mask = scene(0, 3, (240, 320))
    painted = icvos.segment([(frame, mask)], [frame], model="support-mask", out=tmp_path / "o")
    (found,) = painted
    assert (found == mask).all()
    (picture,) = decode(tmp_path / "o/overlay.mp4")
    shown = picture[:240, -320:].astype(int)
    inside, outside = (
        cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) > 0,
        cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) == 0,
    )
    assert abs(shown[inside].mean(0) - (frame[inside] / 2 + np.array([86, 180, 233]) / 2).mean(0)).max() < 12
    assert abs(shown[outside].mean(0) - frame[outside].mean(0)).max() < 12


def test_from_python_with_arrays(bench):
    class Listed:
        size = (40, 52)

        def __len__(self):
            return 6

        def __getitem__(self, index):
            return frames[index]

        def __iter__(self):
            return iter(frames)

    folder = bench / "videos/tiny__v0/JPEGImages"
    frames = [read_image(path) for path in sorted(folder.iterdir())]
    ((photo, mask),) = supports(bench)
    labels = read_mask(mask)
    arrays = [(read_image(photo), labels)]
    made = [icvos.Support(read_image(photo), labels == 1, labels == 255)]
    wanted = list(icvos.segment([(photo, mask)], folder, model="histogram"))
    for shown in (arrays, made, [(photo, labels)]):
        for video in (frames, np.stack(frames), Listed()):
            assert alike(wanted, icvos.segment(shown, video, model="histogram"))
    assert alike(wanted, icvos.segment(made, frames, model=resolve("histogram")))
    assert alike(wanted, icvos.segment(made, frames, model=resolve("histogram")()))


class Reusing(VideoModel):
    """Writes every mask into one array, and counts what it reads."""

    info = ModelInfo(name="reusing", version="1")
    read = 0

    def segment(self, supports, video, *, seed):
        mask = np.zeros(video.size, bool)
        for index, _ in enumerate(video):
            self.read += 1
            mask[:] = False
            mask[index] = True
            yield mask


def test_masks_come_one_by_one_and_stay(bench):
    model = Reusing()
    masks = icvos.segment(supports(bench), bench / "videos/tiny__v0/JPEGImages", model=model)
    assert model.read == 0
    first = next(masks)
    assert model.read == 1
    rest = list(masks)
    assert [int(np.argmax(mask.any(axis=1))) for mask in (first, *rest)] == list(range(6))


def test_progress(bench, film, tmp_path):
    seen = []
    icvos.segment(supports(bench), film[0], model="histogram", out=tmp_path / "o", progress=seen.append)
    counted = [(update.what, update.done, update.total) for update in seen]
    assert counted == [("frames counted", n, 6) for n in range(1, 7)] + [("frames", n, 6) for n in range(7)]


def make(path: Path, array: np.ndarray, mode: str = "L") -> Path:
    Image.fromarray(array, mode).save(path)
    return path


def palette(path: Path, array: np.ndarray) -> Path:
    write_mask(path, array, colours=True)
    return path


@pytest.fixture
def own(tmp_path):
    """A photo (48 x 36), a mask of it, and a folder of frames."""
    image, mask = scene(1, 0, (48, 36))
    write_image(tmp_path / "photo.png", image)
    write_mask(tmp_path / "mask.png", mask.astype(np.uint8) * 255)
    for index in range(3):
        write_image(tmp_path / f"frames/{index:05d}.png", scene(0, index)[0])
    return tmp_path


def arguments(own: Path, **other) -> list:
    given = {"photo": own / "photo.png", "mask": own / "mask.png", "video": own / "frames"} | other
    pair = [(given["photo"], given["mask"])]
    return [*words(pair), "--video", given["video"], "--model", "histogram", "--out", own / "out"]


THINGS = np.repeat(np.arange(48, dtype=np.uint8)[:, None] // 12, 36, axis=1)  # 0 to 3

CASES = {
    "no mask": (lambda own: {"mask": own / "no.png"}, "mask not found; in {own}/no.png"),
    "no photo": (lambda own: {"photo": own / "no.jpg"}, "image not found; in {own}/no.jpg"),
    "another size": (
        lambda own: {"mask": make(own / "m.png", np.ones((20, 30), np.uint8))},
        "mask is 20x30 (HxW), its photo 48x36; in {own}/m.png; expected a mask of the photo's pixels",
    ),
    "turned": (
        lambda own: {"mask": make(own / "m.png", np.ones((36, 48), np.uint8))},
        "its photo 48x36; in {own}/m.png; expected a mask of the photo's pixels; turn the photo's pixels as its EXIF",
    ),
    "empty": (lambda own: {"mask": make(own / "m.png", THINGS * 0)}, "mask is empty; in {own}/m.png"),
    "several": (
        lambda own: {"mask": palette(own / "m.png", THINGS)},
        "mask holds 3 objects: 1, 2, 3; in {own}/m.png; expected 0, and the thing in one other value; "
        "choose one with --object ID",
    ),
    "colours": (
        lambda own: {"mask": make(own / "m.png", np.stack([THINGS] * 3, 2), "RGB")},
        "mask is an RGB image; in {own}/m.png",
    ),
    "no video": (lambda own: {"video": own / "no"}, "video not found; in {own}/no; expected a folder of frames or"),
    "no frames": (lambda own: {"video": own / "out"}, "folder holds no frames; in {own}/out; expected JPEG or PNG"),
    "no number": (lambda own: {"video": own}, "has no frame number"),
    "a text": (lambda own: {"video": Path(__file__)}, "this is no video; in {file}; expected a folder of frames, or"),
    "no film": (lambda own: {"video": own / "v.mp4"}, "video is an HTML page"),
    "cut": (lambda own: {"video": own / "cut.avi"}, "video ends early: "),
    "sizes": (lambda own: {"video": own / "sizes"}, "frame is 40x53 (HxW); in {own}/sizes/2.png; expected 40x52"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_one_line(own, capsys, case):
    (own / "v.mp4").write_bytes(b"<!doctype html><html>")
    cut = write_video(own / "cut.avi")
    cut.write_bytes(cut.read_bytes()[:-4000])
    for index in range(3):
        write_image(own / f"sizes/{index}.png", scene(0, index, (40, 52 + index // 2))[0])
    if case == "no frames":
        (own / "out").mkdir()
    change, says = CASES[case]
    before = sorted(own.rglob("*"))
    _, line = run(capsys, *arguments(own, **change(own)), status=2)
    assert says.format(own=own, file=__file__) in line
    after = [path for path in sorted(own.rglob("*")) if path not in before]
    assert [path for path in after if path.name != "m.png"] == []


def test_a_photo_without_its_mask(own, capsys):
    _, line = run(capsys, "--support", "a.jpg", "--video", own / "frames", "--model", "empty", "--out", "o", status=2)
    assert "photo 'a.jpg' is given without its mask; expected --support PHOTO MASK" in line


def test_an_object_is_chosen(own, capsys):
    write_mask(own / "m.png", THINGS, colours=True)
    run(capsys, *arguments(own, mask=own / "m.png"), "--object", 2)
    masks = icvos.segment([(own / "photo.png", THINGS == 2)], own / "frames", model="histogram")
    assert alike(saved(own / "out/masks"), masks)
    _, line = run(capsys, *arguments(own, mask=own / "m.png")[:-1], own / "other", "--object", 7, status=2)
    assert f"mask has no object 7; in {own}/m.png; expected one of 1, 2, 3" in line


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 7)])
def test_any_one_value_is_the_thing(own, values):
    labels = np.where(THINGS > 1, values[1], 0).astype(np.uint8)
    wanted = icvos.segment([(own / "photo.png", THINGS > 1)], own / "frames", model="histogram")
    assert alike(wanted, icvos.segment([(own / "photo.png", labels)], own / "frames", model="histogram"))


def test_a_folder_that_is_there(own, capsys):
    run(capsys, *arguments(own))
    stamp = (own / "out/segment.json").stat().st_mtime_ns
    out, err = run(capsys, *arguments(own))
    assert err == f"{own}/out holds this result already" and "3 frames" in out
    assert (own / "out/segment.json").stat().st_mtime_ns == stamp
    for more in (["--set", "bins=8"], ["--seed", 1], ["--episode", "e"]):
        _, line = run(capsys, *arguments(own), *more, status=2)
        assert f"the folder holds the result of another model, supports or video; in {own}/out; choose another" in line
    write_image(own / "frames/00001.png", scene(0, 5)[0])
    run(capsys, *arguments(own), status=2)
    shutil.rmtree(own / "out")
    (own / "out").mkdir()
    run(capsys, *arguments(own))  # an empty one is as good as none
    shutil.rmtree(own / "out")
    (own / "out").mkdir()
    (own / "out/notes.txt").write_text("mine")
    _, line = run(capsys, *arguments(own), status=2)
    assert f"the folder holds something else; in {own}/out" in line and (own / "out/notes.txt").exists()


STOPPED = """
class Stopped(VideoModel):
    info = ModelInfo(name="stopped", version="1")

    def segment(self, supports, video, *, seed):
        yield np.zeros(video.size, bool)
        yield np.zeros(video.size, bool)
        import signal
        signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_leaves_nothing(own, capsys):
    spec = write_model(own / "method", STOPPED)
    before = sorted(own.iterdir())
    _, line = run(capsys, *arguments(own), "--model", spec, status=130)
    assert line == "icvos: interrupted" and sorted(own.iterdir()) == before


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "'broken' failed: ValueError: half-way"),
        ("few", "it yields 2 masks for 3 frames"),
        ("many", "it yields more masks than the video's 3 frames"),
        ("size", "frame 2: the mask's shape is (39, 52), the frame's (40, 52)"),
        ("floats", "frame 2: the mask is float64, not bool"),
        ("leaves", "'broken' failed: SystemExit: 0"),
    ],
)
def test_a_model_that_fails_is_one_line(own, capsys, how, says):
    spec = write_model(own / "method", BROKEN)
    settings = ["--set", f"how={how}", "--set", f"marker={own / 'marker'}"]
    _, line = run(capsys, *arguments(own), "--model", spec, *settings, status=1)
    assert says in line and f"{spec}" in line
    assert not (own / "out").exists() and not (own / ".out.icvos-segment").exists()
    if how == "raises":
        number = (HEAD + BROKEN).splitlines().index('    def raises(self, good): raise ValueError("half-way")') + 1
        assert f"{spec}:{number}" in line


def test_a_folder_of_ones_own_beside_it_stays(own, capsys):
    (own / "out.partial").mkdir()
    (own / "out.partial/keep").write_text("me")
    run(capsys, *arguments(own))
    assert (own / "out.partial/keep").read_text() == "me"
    (own / "real").mkdir()
    (own / "link").symlink_to(own / "real")
    run(capsys, *arguments(own)[:-1], own / "link")
    assert len(saved(own / "real/masks")) == 3


def test_a_result_whose_masks_are_gone_is_not_there(own, capsys):
    run(capsys, *arguments(own))
    shutil.rmtree(own / "out/masks")
    _, line = run(capsys, *arguments(own), status=2)
    assert "the folder holds the result of another" in line or "choose another --out" in line


def test_a_partial_folder_of_a_killed_run_goes(own, capsys):
    (own / ".out.icvos-segment/masks").mkdir(parents=True)
    (own / ".out.icvos-segment/masks/99999.png").write_bytes(b"x")
    run(capsys, *arguments(own))
    assert len(saved(own / "out/masks")) == 3 and not (own / ".out.icvos-segment").exists()


def test_what_python_gives_wrongly(own):
    pair = (own / "photo.png", own / "mask.png")
    frame = scene(0, 0)[0]

    def one(supports, video, **more) -> str:
        with pytest.raises(UsageError) as error:
            list(icvos.segment(supports, video, model="histogram", **more))
        return str(error.value)

    assert one(pair, own / "frames") == "support 1 is PosixPath; expected (photo, mask), or icvos.Support"
    assert one([(frame, None)], [frame]) == "a part of support 1 is NoneType; expected a file or an array"
    assert one([], own / "frames") == "no list of supports; expected [(photo, mask), …]"
    assert "the video has no frames" in one([pair], [])
    assert "the video is generator; expected a path, a list of frames, or a Video" in one([pair], (f for f in [frame]))
    assert "frame 1 is (40, 51, 3) uint8; expected (40, 52, 3) uint8, RGB" in one([pair], [frame, frame[:, 1:]])
    assert "frame 0 is (40, 52, 3) float64" in one([pair], [frame / 255])
    assert "the mask of support 1 is (48, 36) float64" in one([(frame, np.ones((48, 36)))], [frame])
    with pytest.raises(MaskError, match="mask is empty; in the mask of support 1"):
        icvos.segment([icvos.Support(frame, np.zeros((40, 52), bool))], [frame], model="histogram")
    with pytest.raises(UsageError, match="needs weights: dcsam"):
        icvos.segment([pair], [frame], model="dcsam")


class Leaking(ImageModel):
    """Leaves torch's grad mode changed."""

    info = ModelInfo(name="leaking", version="1")

    def fit(self, supports, *, seed):
        return None

    def predict(self, fitted, image):
        import torch

        torch.set_grad_enabled(False)
        return np.zeros(image.shape[:2], bool)


def test_torchs_modes_are_the_callers(own):
    torch = pytest.importorskip("torch")
    pair = (own / "photo.png", own / "mask.png")
    masks = icvos.segment([pair], own / "frames", model=Reusing())
    next(masks)
    with torch.no_grad():  # the caller's own affair
        next(masks)
    next(masks)
    with pytest.raises(ModelError, match="leaks out of it"):
        next(icvos.segment([pair], own / "frames", model=Leaking()))
    assert torch.is_grad_enabled()
