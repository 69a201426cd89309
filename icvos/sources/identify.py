"""Which data set a folder is, and whether it is whole: ``identify``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from icvos.benchmark import load_benchmark
from icvos.errors import InputError, SourceError
from icvos.files import read_file, real_path
from icvos.listing import folders, listing
from icvos.sources.base import IMAGES
from icvos.sources.census import (
    count_coco,
    count_davis,
    count_fss,
    count_lvis,
    count_matcher_lvis,
    count_saco,
    count_sbd,
    count_split,
    count_voc,
    count_youtube_vis,
)
from icvos.sources.coco import SPLITS as COCO_SPLITS
from icvos.sources.coco import Coco, images_folder
from icvos.sources.folder import Folder
from icvos.sources.found import Count, Found, compare
from icvos.sources.fss1000 import SPLITS as FSS_SPLITS
from icvos.sources.fss1000 import fss_folder
from icvos.sources.release import Release
from icvos.sources.saco import SacoVeval, annotation_files
from icvos.sources.voc import voc_folder
from icvos.sources.ytvis import JSON, YouTubeVis

__all__ = ["Count", "Found", "identify"]

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
SPLIT_FOLDERS = ("train", "val", "valid", "test")
RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
LVIS_JSON = ("lvis_v1_val.json", "annotations/lvis_v1_val.json")
LVIS_LISTS = ("lvis_val.pkl", "LVIS/lvis_val.pkl")
ABOVE, BELOW = 4, 2
"""Floors above and below a folder in which a known one is looked for."""
INNER = re.compile(r"JPEGImages|Annotations.*|ImageSets|annotations|images|(train|val|test)\w*|dataset|img|cls|VOC2012")
"""Folders in the folder of a data set."""


@dataclass(frozen=True)
class _Kind:
    """A layout that is known.

    Attributes:
        name: What it is called in messages.
        layout: What tells it, for the message that nothing was found.
        fits: Whether a folder is one, from a listing or two.
        count: What is in it.
    """

    name: str
    layout: str
    fits: Callable[[Path], bool]
    count: Callable[[Path], list[Found]]


def identify(folder: Path) -> list[Found]:
    """Return the splits of the data set that a folder is, with what is there and what is missing.

    Names, lists and JSON files are read, no image and no mask.

    Args:
        folder: Of a data set as its authors ship it, or of a built benchmark, the authors' IC-VOS, or videos of one's
            own.

    Raises:
        SourceError: It is nothing known; the message says what is: an archive to unpack, a folder above or below.
        InputError: A name in it is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError("folder not found", where=folder)
    kind = _kind_of(folder)
    if kind is None:
        remedy = _remedy(folder)
        layouts = "; or ".join(f"{kind.layout} ({kind.name})" for kind in KINDS)
        raise SourceError("no data set here", where=folder, expected="" if remedy else layouts, fix=remedy)
    try:
        return kind.count(folder)
    except InputError as error:
        return [Found(kind.name, "", folder, {}, problems=(str(error),))]


def _kind_of(folder: Path) -> _Kind | None:
    return next((kind for kind in KINDS if kind.fits(folder)), None)


def _remedy(folder: Path) -> str:
    """Return where a data set is instead: above, below or packed; empty if nowhere."""
    root = real_path(folder)
    packed = [path.name for path in listing(folder) if path.name.lower().endswith(ARCHIVES)]
    inner = root.name
    for above in list(root.parents)[:ABOVE]:
        kind = _kind_of(above) if INNER.fullmatch(inner) else None
        if kind is not None:
            return f"this is a folder inside {kind.name}: give {above}"
        inner = above.name
    below = [(path, kind) for path in _below(folder, BELOW) if (kind := _kind_of(path)) is not None]
    if below:
        return "give " + ", or ".join(f"{path} ({kind.name})" for path, kind in below[:3])
    if packed:
        more = f" and {len(packed) - 3} more" if len(packed) > 3 else ""
        return f"{', '.join(packed[:3])}{more} {'is' if len(packed) == 1 else 'are'} here: unpack, and give that folder"
    return ""


def _below(folder: Path, depth: int) -> Iterator[Path]:
    inner = [folder / name for name in folders(folder, error=SourceError)[:50]]
    yield from inner
    if depth > 1:
        for path in inner:
            yield from _below(path, depth - 1)


def _has(folder: Path, *paths: str) -> bool:
    return any((folder / path).exists() for path in paths)


# DAVIS


def _is_davis(folder: Path) -> bool:
    return any(
        (folder / part / name).is_dir() and not _holds_images(folder / part / name)
        for name in RESOLUTIONS
        for part in ("JPEGImages", "Annotations", "Annotations_unsupervised")
    )


def _holds_images(folder: Path) -> bool:
    return bool(listing(folder, IMAGES))


# MOSE, LVOS, YouTube-VOS: told apart by the names of videos and frames, and by their meta files


def _split_folders(root: Path) -> list[Path]:
    return [root / name for name in SPLIT_FOLDERS if _is_split(root / name)]


def _is_split(folder: Path) -> bool:
    return _has(folder, "JPEGImages", "Annotations") and not _has(
        folder, *(f"JPEGImages/{name}" for name in RESOLUTIONS), "ImageSets"
    )


def _style(folder: Path) -> str:
    """Return whose split a folder is."""
    names = folders(folder / "Annotations")[:20] or folders(folder / "JPEGImages")[:20]
    if names and all(re.fullmatch("[0-9a-f]{10}", name) for name in names):
        return "YouTube-VOS"
    # Frames and masks are numbered alike; either may be all that is unpacked.
    inner = [folder / part / name for part in ("JPEGImages", "Annotations") for name in names]
    stem = next((path.stem for frames in inner if frames.is_dir() for path in listing(frames, IMAGES)[:1]), "")
    if len(stem) == 8 or any(folder.glob("*_meta.json")):
        return "LVOS"
    meta = folder / "meta.json"
    if meta.is_file() and '"category"' in read_file(meta).decode("utf-8", "replace"):
        return "YouTube-VOS"
    return "MOSE"


def _is_style(style: str) -> Callable[[Path], bool]:
    def fits(root: Path) -> bool:
        splits = _split_folders(root)
        if not splits and style == "MOSE" and _is_split(root) and not _holds_images(root / "JPEGImages"):
            names = folders(root / "JPEGImages")
            return bool(names) and _style(root) == "MOSE" and root.name not in SPLIT_FOLDERS
        return bool(splits) and _style(splits[0]) == style

    return fits


def _count_style(style: str) -> Callable[[Path], list[Found]]:
    def count(root: Path) -> list[Found]:
        splits = _split_folders(root)
        out = [count_split(style, folder, root=root) for folder in splits or [root]]
        note = ("icvos has no reader of it",) if style == "YouTube-VOS" else ()
        return [replace(found, notes=(*found.notes, *note)) for found in out]

    return count


# COCO, VOC, SBD


def _coco_splits(root: Path) -> list[str]:
    return [
        split
        for split in COCO_SPLITS
        if _has(root, f"annotations/instances_{split}.json") or (images_folder(root, split) / split).is_dir()
    ]


def _count_coco(root: Path) -> list[Found]:
    out = []
    for split in _coco_splits(root):
        path = root / "annotations" / f"instances_{split}.json"
        try:
            out.append(count_coco(root, split, coco=Coco(root, split) if path.is_file() else None))
        except InputError as error:
            out.append(Found(f"COCO {split[-4:]}", split, root, {}, problems=(str(error),)))
        if not path.is_file():
            missing = f"annotations/instances_{split}.json is missing: unpack annotations_trainval{split[-4:]}.zip"
            out[-1] = replace(out[-1], problems=(*out[-1].problems, missing))
    return out


def _count_voc(root: Path) -> list[Found]:
    inside = voc_folder(root)
    splits = ["train", "val"] + (["trainaug"] if (inside / "SegmentationClassAug").is_dir() else [])
    splits = [split for split in splits if _has(inside, f"ImageSets/Segmentation/{split}.txt") or split == "trainaug"]
    if not splits:
        raise SourceError("no list", where=inside / "ImageSets/Segmentation", expected="train.txt, val.txt")
    return [count_voc(root, split) for split in splits]


def _is_voc(root: Path) -> bool:
    try:
        voc_folder(root)
    except SourceError:
        return False
    return True


def _sbd_folder(root: Path) -> Path | None:
    folders = (root, root / "dataset", root / "benchmark_RELEASE" / "dataset")
    return next((folder for folder in folders if (folder / "cls").is_dir() and (folder / "img").is_dir()), None)


# FSS-1000 and LVIS


def _fss_splits(root: Path) -> list[str]:
    try:
        folder = fss_folder(root)
    except SourceError:
        return []
    return [split for split in FSS_SPLITS if (folder / "splits" / f"{split}.txt").is_file()]


def _is_lvis(root: Path) -> bool:
    return _has(root, *LVIS_JSON, *LVIS_LISTS)


def _count_lvis(root: Path) -> list[Found]:
    out = [count_lvis(root)] if _has(root, *LVIS_JSON) else []
    out += [count_matcher_lvis(root)] if _has(root, *LVIS_LISTS) else []
    annotated = any((root / "annotations").glob("instances_*.json"))
    return out + (_count_coco(root) if annotated else [])


# YouTube-VIS and OVIS


def _vis_json(root: Path) -> Path | None:
    return next((root / name for name in JSON if (root / name).is_file()), None)


def _count_vis(root: Path) -> list[Found]:
    path = _vis_json(root)
    assert path is not None
    ovis = "ovis" in path.name.lower() or path.name == "annotations_train.json" or "ovis" in root.name.lower()
    return [count_youtube_vis(YouTubeVis(root, name="ovis" if ovis else "ytvis"))]


# What icvos builds, the authors' release, one's own


def _is_benchmark(root: Path) -> bool:
    return (root / "benchmark.json").is_file() and (root / "episodes.csv").is_file()


def _count_benchmark(root: Path) -> list[Found]:
    benchmark = load_benchmark(root)
    kind = "images" if benchmark.kind == "image" else "sequences"
    check = f"icvos build-data check {shlex.quote(str(root))} checks it"
    counts = {kind: Count(len({episode.video for episode in benchmark.episodes}))}
    return [Found(f"icvos benchmark '{benchmark.name}'", "", root, counts, notes=(check,))]


def _is_release(root: Path) -> bool:
    videos = [root / name for name in folders(root) if (root / name / "JPEGImages").is_dir()]
    classes = [name for video in videos for name in folders(video / "Annotations")]
    return bool(classes) and all(name.isdigit() and int(name) <= 80 for name in classes)


def _is_folder(root: Path) -> bool:
    return any((root / name / "frames").is_dir() and (root / name / "masks").is_dir() for name in folders(root))


def _count_release(root: Path) -> list[Found]:
    source = Release(root)
    videos = source.videos()
    faults, frames = [], 0
    for video in videos:
        try:
            frames += len(source.frames(video))
        except SourceError as error:
            faults.append(str(error))
    counts = {"sequences": len(videos), "frames": frames, "masks": sum(len(video.objects) for video in videos)}
    more = (f"… and {len(faults) - 3:,} more sequences like that",) if len(faults) > 3 else ()
    note = "masks counts pairs of a sequence and a class"
    found = compare(source.title, "", root, counts, faults=(*faults[:3], *more))
    return [replace(found, notes=(*found.notes, note))]


def _count_folder(root: Path) -> list[Found]:
    source = Folder(root)
    videos = source.videos()
    counts = {"sequences": Count(len(videos)), "frames": Count(sum(len(source.frames(video)) for video in videos))}
    notes = tuple(f"{name}: {why}" for name, why in sorted(source.left_out.items())[:3])
    return [Found("videos of your own (--folder)", "", root, counts, notes=notes)]


KINDS = (
    _Kind("an icvos benchmark", "benchmark.json, episodes.csv", _is_benchmark, _count_benchmark),
    _Kind("DAVIS", "JPEGImages/480p, Annotations/480p", _is_davis, count_davis),
    _Kind("LVIS", "lvis_v1_val.json, or annotations/ with it", _is_lvis, _count_lvis),
    _Kind("COCO", "annotations/instances_val2014.json, val2014", lambda root: bool(_coco_splits(root)), _count_coco),
    _Kind("VOC 2012", "JPEGImages, SegmentationClass, ImageSets/Segmentation", _is_voc, _count_voc),
    _Kind(
        "SBD",
        "dataset/img, dataset/cls",
        lambda root: _sbd_folder(root) is not None,
        lambda root: [count_sbd(_sbd_folder(root) or root)],
    ),
    _Kind(
        "FSS-1000",
        "data/CLASS/1.jpg, splits/test.txt",
        lambda root: bool(_fss_splits(root)),
        lambda root: [count_fss(root, split) for split in _fss_splits(root)],
    ),
    _Kind(
        "SA-Co/VEval",
        "annotation/saco_veval_smartglasses_test.json, media/saco_sg",
        lambda root: bool(annotation_files(root)),
        lambda root: [count_saco(SacoVeval(root, domain=d, split=s), read=True) for d, s in annotation_files(root)],
    ),
    _Kind("YouTube-VIS or OVIS", "train.json, train/JPEGImages", lambda root: _vis_json(root) is not None, _count_vis),
    *(
        _Kind(style, layout, _is_style(style), _count_style(style))
        for style, layout in (
            ("MOSE", "train/JPEGImages/001ca3cb/00000.jpg"),
            ("LVOS", "train/JPEGImages/R3UJGYwy/00000001.jpg"),
            ("YouTube-VOS", "train/JPEGImages/0043f083b5/00000.jpg"),
        )
    ),
    _Kind("the authors' IC-VOS", "VIDEO/JPEGImages, VIDEO/Annotations/CLASS", _is_release, _count_release),
    _Kind("videos of your own", "VIDEO/frames, VIDEO/masks", _is_folder, _count_folder),
)
