"""A model on one's own photographs and video: no benchmark, masks as they come, or a folder with them and a film."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from icvos.benchmark import FolderVideo
from icvos.errors import InputError, MaskError, ModelError, UsageError
from icvos.evaluation.frames import StreamedVideo
from icvos.evaluation.stream import Clock, Failed, predictions
from icvos.evaluation.torch_state import episode_seed, peak_memory, reset_peak
from icvos.files import file_sha256, lock_folder, read_json, real_path, write_json
from icvos.images import IMAGE_SUFFIXES, read_image
from icvos.listing import frame_files, listing
from icvos.masks import read_mask, write_mask
from icvos.models.interface import Model
from icvos.models.options import options_of
from icvos.models.registry import as_video_model, build, source_line
from icvos.models.remote import environment_of
from icvos.models.seeds import seed_all
from icvos.plugins import said
from icvos.progress import Progress, Update, shown
from icvos.report.overlay import paint_support
from icvos.report.pictures import segmented_frame
from icvos.runs.environment import commit, describe_device, describe_model, now
from icvos.types import Support, Video
from icvos.version import __version__
from icvos.videos import VIDEO_SUFFIXES, VideoFile, open_writer
from icvos.view import Frames

__all__ = ["SCHEMA", "segment"]

SCHEMA = "icvos-segment/1"
FILM_FPS = 10.0
"""Frames a second of a film of frames that come without."""

File: TypeAlias = str | os.PathLike[str]


def segment(
    supports: Sequence[Support | tuple[File | np.ndarray, File | np.ndarray]],
    video: File | Video | Sequence[np.ndarray],
    *,
    model: Model | type[Model] | str,
    object: int | None = None,
    seed: int = 0,
    episode: str | None = None,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    progress: Progress | bool | Any = None,
    notify: Callable[[str], None] | None = None,
) -> Iterator[np.ndarray]:
    """Segment what supports show in a video, as ``icvos segment`` does.

    What is wrong with supports, video or model is said at once; the model works as masks are taken.

    Args:
        supports: ``[(photo, mask), …]``, each a file or an array, or ``Support``. A mask is of its photo's size and
            holds 0 and one other value; 255 beside others says nothing of its pixels.
        video: A folder of frames, a video file, a list of (H, W, 3) uint8 RGB, or a ``Video``.
        model: A built model, a class, or a spec (a name, ``package.module:Class``, ``file.py:Class``).
        object: Which value of the masks is the thing, where they hold several.
        seed: Of what the model draws.
        episode: The id of the episode whose draws, under the same ``seed``, the model repeats; the name of the video's
            file or folder by default.
        device: ``cpu``, ``cuda``, ``cuda:1``, …, where the model is not built yet.
        weights: Files by the names that the model declares, where it is not built yet.
        options: Of the model, where it is not built yet.
        out: A folder for all masks, ``overlay.mp4`` and ``segment.json``, written before this returns.
        progress: How far counting a file's frames, and writing to ``out``, is: True shows a bar, and whatever else
            ``icvos.evaluate`` takes.
        notify: Called with each line that a user should see.

    Returns:
        The masks, (H, W) bool of the frames' size; with ``out`` they are read from there.

    Raises:
        IcvosError: Bad input or usage, or, as masks are taken, a model that fails.
    """
    supported = [_support(item, object, number) for number, item in enumerate(_several(supports), 1)]
    with shown("segmenting", progress) as told:
        clip = _open(video, told)
        built = build(model, device=device, weights=weights, options=options)
        name = clip.name if episode is None else episode
        run = _Run(built, [one.support for one in supported], clip.video, episode_seed(seed, name))
        if out is None:
            return run.masks()
        settings = dict(options or {}) if isinstance(model, (str, type)) else options_of(built)
        record = _describe(built, settings, supported, clip, {"seed": seed, "episode": name})
        folder = Path(os.path.realpath(out))
        with lock_folder(folder):
            if not _is_done(folder, record["key"]):
                _write(run, clip, folder, record, told)
            elif notify is not None:
                notify(f"{folder} holds this result already")
    return (read_mask(folder / "masks" / f"{stem}.png") > 0 for stem in clip.stems)


def _describe(
    model: Model, settings: Mapping[str, Any], supports: Sequence[_Supported], clip: _Clip, draws: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the beginning of ``segment.json``; its ``key`` is what decides the masks."""
    described = describe_model(model, settings, kind="video")
    own = environment_of(model)
    key = {
        "icvos": __version__,
        "model": described["name"],
        "model_version": described["version"],
        "options": described["options"],
        "source": described["source_sha256"],
        "weights": described["weights"],
        "dtype": described["dtype"],
        "device": model.device.partition(":")[0],
        **({"asked": own["asked"]} if own is not None and "asked" in own else {}),
        **draws,
        "supports": [[one.photo_sha256, one.mask_sha256, one.object] for one in supports],
        "video": clip.sha256(),
    }
    return {
        "schema": SCHEMA,
        "icvos": __version__,
        "commit": commit(),
        "key": key,
        "model": described,
        "supports": [one.described for one in supports],
        "video": clip.described,
        "environment": {**describe_device(model.device), **({} if own is None else {"method": own})},
    }


@dataclass(frozen=True)
class _Supported:
    """A support, where it is from, and the hashes of what it is made of."""

    support: Support
    photo: str | None
    mask: str | None
    photo_sha256: str
    mask_sha256: str
    object: int | None

    @property
    def described(self) -> dict[str, str | int | None]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "support"}


def _several(supports: Any) -> Sequence[Any]:
    if isinstance(supports, (str, bytes, Support)) or not isinstance(supports, Sequence) or not supports:
        raise UsageError("no list of supports", expected="[(photo, mask), …]")
    return supports


def _support(item: Any, wanted: int | None, number: int) -> _Supported:
    if isinstance(item, Support):
        _thing(item.mask, None, f"the mask of support {number}")
        parts = [item.mask] if item.ignore is None else [item.mask, item.ignore]
        photo_sha256, mask_sha256 = _array_sha256(item.image), _array_sha256(*parts)
        return _Supported(item, None, None, photo_sha256, mask_sha256, None)
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise UsageError(f"support {number} is {type(item).__name__}", expected="(photo, mask), or icvos.Support")
    photo, mask = item
    for part in item:
        if not isinstance(part, (str, os.PathLike, np.ndarray)):
            raise UsageError(f"a part of support {number} is {type(part).__name__}", expected="a file or an array")
    image = photo if isinstance(photo, np.ndarray) else read_image(photo)
    labels = _labels(mask, number) if isinstance(mask, np.ndarray) else read_mask(mask)
    where = f"the mask of support {number}" if isinstance(mask, np.ndarray) else str(mask)
    if labels.shape != image.shape[:2]:
        turned = labels.shape == image.shape[1::-1]
        raise MaskError(
            f"mask is {labels.shape[0]}x{labels.shape[1]} (HxW), its photo {image.shape[0]}x{image.shape[1]}",
            where=where,
            expected="a mask of the photo's pixels",
            fix="turn the photo's pixels as its EXIF tag says and remove the tag" if turned else None,
        )
    thing = _thing(labels, wanted, where)
    # 255 beside a thing is the border that annotators leave undecided.
    void = (labels == 255) & (thing != 255)
    support = Support(image, labels == thing, void if void.any() else None)
    return _Supported(support, _path(photo), _path(mask), _sha256(photo), _sha256(mask), thing)


def _labels(mask: np.ndarray, number: int) -> np.ndarray:
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise UsageError(
            f"the mask of support {number} is {mask.shape} {mask.dtype}", expected="(H, W) of bool or whole numbers"
        )
    return mask.astype(np.uint8) if mask.dtype == np.bool_ else mask


def _thing(labels: np.ndarray, wanted: int | None, where: str) -> int:
    """Return the value of the thing in a mask.

    Raises:
        MaskError: There is none, or several and none is chosen.
    """
    values = [int(value) for value in np.unique(labels) if value != 0]
    if not values:
        raise MaskError("mask is empty", where=where, expected="0, and the thing in one other value")
    things = [value for value in values if value != 255] or values
    names = ", ".join(map(str, things[:12])) + (", …" if len(things) > 12 else "")
    if wanted is not None and wanted not in values:
        raise MaskError(f"mask has no object {wanted}", where=where, expected=f"one of {names}")
    if wanted is None and len(things) > 1:
        raise MaskError(
            f"mask holds {len(things)} objects: {names}",
            where=where,
            expected="0, and the thing in one other value",
            fix="choose one with --object ID",
        )
    return things[0] if wanted is None else wanted


def _path(part: Any) -> str | None:
    return None if isinstance(part, np.ndarray) else str(part)


def _sha256(part: Any) -> str:
    return _array_sha256(part) if isinstance(part, np.ndarray) else file_sha256(part)


def _array_sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}\n".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Clip:
    """A video, and what is to be known of it.

    Attributes:
        stems: Names of its frames.
        path: Where it is from, or None.
        files: What it is made of; none of frames that are in memory.
        fps: Frames a second, or None.
    """

    video: Video
    stems: Sequence[str]
    path: Path | None = None
    files: Sequence[Path] = ()
    fps: float | None = None

    @property
    def name(self) -> str:
        """What its draws are called after."""
        if self.path is None:
            return "video"
        return real_path(self.path).name if self.path.is_dir() else self.path.stem

    @property
    def described(self) -> dict[str, Any]:
        height, width = self.video.size
        path = None if self.path is None else str(self.path)
        return {"path": path, "frames": len(self.stems), "height": height, "width": width, "fps": self.fps}

    def sha256(self) -> str | None:
        """Return the hash of its file, or of the names and hashes of its frames; None of frames in memory."""
        if self.path is None or not self.path.is_dir():
            return None if self.path is None else file_sha256(self.path)
        lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in self.files)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _open(video: Any, progress: Progress) -> _Clip:
    if not isinstance(video, (str, os.PathLike)):
        return _in_memory(video)
    path = Path(video)
    if path.is_dir():
        files = frame_files(path, IMAGE_SUFFIXES)
        if not files:
            raise InputError("folder holds no frames", where=path, expected="JPEG or PNG images, as 00000.jpg")
        paths = list(files.values())
        height, width, _ = read_image(paths[0]).shape
        return _Clip(FolderVideo(paths, (height, width)), list(files), path, paths)
    if path.is_file() and path.suffix.lower() not in VIDEO_SUFFIXES:
        known = " ".join(VIDEO_SUFFIXES)
        raise InputError("this is no video", where=path, expected=f"a folder of frames, or a file of {known}")
    opened = VideoFile(path, progress=progress)
    return _Clip(opened, _numbers(len(opened)), path, (path,), opened.fps)


def _in_memory(video: Any) -> _Clip:
    """Return frames of a list, or of a ``Video``, read by one thread at a time; each is checked as it is read."""
    lazy = isinstance(video, Video) and not isinstance(video, np.ndarray)
    if not lazy and not isinstance(video, (Sequence, np.ndarray)):
        raise UsageError(f"the video is {type(video).__name__}", expected="a path, a list of frames, or a Video")
    if len(video) == 0:
        raise UsageError("the video has no frames")
    size = tuple(video.size) if lazy else np.shape(video[0])[:2]
    lock = threading.Lock()

    def read(index: int) -> np.ndarray:
        with lock:
            frame = video[index]
        if getattr(frame, "dtype", None) != np.uint8 or frame.shape != (*size, 3):
            kind = f"{np.shape(frame)} {getattr(frame, 'dtype', type(frame).__name__)}"
            raise UsageError(f"frame {index} is {kind}", expected=f"{(*size, 3)} uint8, RGB")
        return frame

    read(0)
    return _Clip(Frames(read, len(video), (size[0], size[1])), _numbers(len(video)))


def _numbers(count: int) -> list[str]:
    return [f"{index:05d}" for index in range(count)]


class _Run:
    """A model on one video.

    Attributes:
        clock: Of the last ``masks``.
    """

    clock: Clock

    def __init__(self, model: Model, supports: list[Support], video: Video, seed: int) -> None:
        self.model, self.supports, self.video, self.seed = model, supports, video, seed
        self._video_model = as_video_model(model)

    def masks(self) -> Generator[np.ndarray, None, None]:
        """Yield the masks, each an array of its own.

        Raises:
            ModelError: The model fails, or breaks a rule.
        """
        with ThreadPoolExecutor(3) as pool, closing(StreamedVideo(self.video, pool)) as streamed:
            self.clock = Clock(streamed, self.model.device)

            def begin() -> Iterator[Sequence[Any]]:
                seed_all(self.seed)
                return ((item,) for item in self._video_model.segment(self.supports, streamed, seed=self.seed))

            try:
                with closing(predictions(begin, self.clock)) as stream:
                    for (prediction,) in stream:
                        yield np.array(prediction.to_numpy())
            except Failed as failed:
                error = failed.error
                text = error.what if isinstance(error, ModelError) else said(error)
                raise ModelError(
                    f"'{self.model.info.name}' failed: {text}",
                    where=source_line(type(self.model), error),
                    fix="--debug shows the whole way there",
                ) from error


def _is_done(out: Path, key: Mapping[str, Any]) -> bool:
    """Return whether a folder holds the result already.

    Raises:
        UsageError: It holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    path = out / "segment.json"
    record = read_json(path) if path.is_file() else None
    # Of frames in memory nothing says that they are the same.
    if isinstance(record, dict) and record.get("key") == key and key["video"] is not None:
        masks = out / "masks"
        if masks.is_dir() and len(listing(masks)) == record.get("frames") and (out / "overlay.mp4").is_file():
            return True
    what = "the result of another model, supports or video" if isinstance(record, dict) else "something else"
    raise UsageError(f"the folder holds {what}", where=out, fix="choose another --out, or remove it")


def _write(run: _Run, clip: _Clip, out: Path, record: dict[str, Any], progress: Progress) -> None:
    """Write masks, film and record; the folder appears when all is there."""
    import cv2

    start, seen = now(), 0
    film: Any = None
    painted = [paint_support(support.image, support.mask) for support in run.supports]
    partial = out.with_name(f".{out.name}.icvos-segment")
    shutil.rmtree(partial, ignore_errors=True)
    count = len(clip.stems)
    reset_peak(run.model.device)
    progress(Update("frames", 0, count))
    try:
        with closing(run.masks()) as masks:
            for index, (mask, stem) in enumerate(zip(masks, clip.stems, strict=True)):
                write_mask(partial / "masks" / f"{stem}.png", mask.astype(np.uint8) * 255)
                text = f"{run.model.info.name}, frame {index} of {count}"
                picture = segmented_frame(painted, clip.video[index], mask, text)
                if film is None:
                    film = open_writer(
                        partial / "overlay.mp4",
                        clip.fps or FILM_FPS,
                        picture.shape[:2],
                        fix="pip install opencv-python-headless",
                    )
                film.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
                seen += bool(mask.any())
                progress(Update("frames", index + 1, count))
        film.release()
        times = run.clock.record(count, 1, 1)
        del times["fps_amortised"]
        outcome = {"frames": count, "frames_with_mask": seen, **times, "peak_memory": peak_memory(run.model.device)}
        write_json(partial / "segment.json", {**record, **outcome, "start": start, "end": now()})
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        if film is not None:
            film.release()
        shutil.rmtree(partial, ignore_errors=True)
        raise
