"""What of a raw data set is in a folder, against what a whole one holds: listings, lists and small JSON files only.

No image or mask is opened. Where a reader has a listing of its own, it is the one that counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from icvos.errors import SourceError
from icvos.files import read_json
from icvos.listing import folders, listed_names, listing, match_stems
from icvos.sources.base import IMAGES, VideoSource, json_object
from icvos.sources.coco import Coco, images_folder
from icvos.sources.davis import SEMANTICS, SPLITS, Davis
from icvos.sources.expected import expected_counts
from icvos.sources.found import Count, Found, compare, name_few, to_unpack, what_is_missing
from icvos.sources.fss1000 import fss_folder, read_classes
from icvos.sources.lvis import Lvis, MatcherLists, coco_folder
from icvos.sources.lvos import Lvos
from icvos.sources.mose import Mose
from icvos.sources.saco import SacoVeval
from icvos.sources.voc import Voc
from icvos.sources.ytvis import YouTubeVis

__all__ = [
    "count_coco",
    "count_davis",
    "count_fss",
    "count_lvis",
    "count_matcher_lvis",
    "count_saco",
    "count_sbd",
    "count_source",
    "count_split",
    "count_videos",
    "count_voc",
    "count_youtube_vis",
]


def count_videos(
    dataset: str,
    split: str,
    root: Path,
    images: Path,
    masks: Path,
    *,
    names: Collection[str] | None = None,
    listed: Mapping[str, str] | None = None,
    objects: int | None = None,
    first_masks: bool = False,
    detail: str = "",
) -> Found:
    """Count sequences that have a folder of frames and one of masks each.

    Args:
        dataset, split, root, detail: As ``Found`` has them.
        images, masks: The folders of those folders.
        names: Only these sequences; default all that are here or listed.
        listed: The sequences that there should be, each with the file that names it.
        objects: How many objects a file says there are.
        first_masks: Whether the split has masks of first frames alone, so that frames without one are no fault.

    Raises:
        InputError: A name is not UTF-8.
    """
    listed = listed or {}
    pictured, annotated = (set(folders(folder, error=SourceError)) for folder in (images, masks))
    wanted = sorted(pictured | annotated | set(listed) if names is None else names)
    unpack = to_unpack(root, expected_counts(dataset, split).archive, detail)
    gone = [name for name in wanted if name not in pictured and name not in annotated]
    lonely = {
        f"sequences without {part}": [name for name in wanted if name in others and name not in there]
        for part, there, others in (("frames", pictured, annotated), ("masks", annotated, pictured))
    }
    frames = labels = 0
    uneven: dict[str, list[str]] = {"frames without a mask": [], "masks without a frame": []}
    for name in (name for name in wanted if name in pictured and name in annotated):
        stems = [path.stem for path in listing(images / name, IMAGES, error=SourceError)]
        masked = [path.stem for path in listing(masks / name, (".png",), error=SourceError)]
        frames, labels = frames + len(stems), labels + len(masked)
        matched = match_stems(masked, stems)
        bare = sorted(set(stems) - set(matched.values()))
        orphans = [stem for stem in masked if stem not in matched]
        if bare and not (first_masks and masked):
            uneven["frames without a mask"].append(f"{name} ({name_few(bare)})")
        if orphans or not stems:
            uneven["masks without a frame"].append(f"{name} ({name_few(orphans) or 'no frame at all'})")
    faults = []
    if gone:
        where = " and ".join(sorted({listed[name] for name in gone}))
        faults.append(f"{what_is_missing(gone)}, of {len(wanted):,} sequences ({where}); {unpack}")
    faults += [f"{what}: {name_few(who)}; {unpack}" for what, who in (lonely | uneven).items() if who]
    there = sum(name in pictured and name in annotated for name in wanted)
    counts = {"sequences": there, "frames": frames, "masks": labels}
    if objects is not None:
        counts["objects"] = objects
    return compare(dataset, split, root, counts, faults=faults, detail=detail)


def count_davis(root: Path, *, year: int | None = None, resolution: str | None = None) -> list[Found]:
    """Count the splits of DAVIS that its lists name: train and val as ``trainval``, and the test splits.

    Args:
        root: The folder with ``JPEGImages``.
        year: 2016 or 2017; default as the lists and the number of sequences say.
        resolution: Default the one that the reader takes.

    Raises:
        InputError: A list or the semantics file is broken.
    """
    others = folders(root / "Annotations_unsupervised")
    if others and not (root / "Annotations").is_dir():
        name = others[0]
        found = count_videos(
            "DAVIS-2019 unsupervised",
            "",
            root,
            root / "JPEGImages" / name,
            root / "Annotations_unsupervised" / name,
            detail=name,
        )
        return [replace(found, notes=("icvos reads Annotations, those of DAVIS-2017-trainval-480p.zip",))]
    if year is None:
        few = len(folders(root / "Annotations" / Davis(root).resolution)) <= 50
        older = any((root / "ImageSets" / name).is_dir() for name in ("2016", "480p", "1080p"))
        year = 2016 if older and few and not (root / "ImageSets" / "2017").is_dir() else 2017
    resolution = resolution or Davis(root).resolution
    images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    lists: dict[str, list[str]] = {}
    for split in SPLITS:
        for folder in (str(year), "480p", "1080p") if year == 2016 else (str(year),):
            path = root / "ImageSets" / folder / f"{split}.txt"
            if path.is_file():
                lists[split] = listed_names(path, error=SourceError)
                break
    dataset, out = f"DAVIS-{year}", []
    objects = _davis_objects(root) if year == 2017 else {}
    labelled = [split for split in ("train", "val", "trainval") if split in lists]
    listed = {name: f"ImageSets/{year}/{split}.txt" for split in labelled for name in lists[split]}
    tests = {split: lists[split] for split in ("test-dev", "test-challenge") if split in lists}
    if labelled or not tests:
        split = "trainval"
        if len(labelled) == 1 and len(listed) == expected_counts(dataset, labelled[0]).counts["sequences"]:
            split = labelled[0]
        here = set(folders(images)) | set(folders(masks))
        names = set(listed) or here
        others = sorted(here - names - {name for test in tests.values() for name in test})
        note = (f"in no list of ImageSets: {name_few(others)}",) if others else ()
        known = sum(objects.get(name, 0) for name in names) if objects else None
        found = count_videos(
            dataset, split, root, images, masks, names=names, listed=listed, objects=known, detail=resolution
        )
        out.append(replace(found, notes=(*found.notes, *note)))
    for split, test in tests.items():
        listed = dict.fromkeys(test, f"ImageSets/{year}/{split}.txt")
        known = sum(objects.get(name, 0) for name in set(test)) if objects else None
        out.append(
            count_videos(
                dataset,
                split,
                root,
                images,
                masks,
                names=set(test),
                listed=listed,
                objects=known,
                first_masks=True,
                detail=resolution,
            )
        )
    return out


def _davis_objects(root: Path) -> dict[str, int]:
    """Return the objects of each sequence that the semantics file tells; nothing where there is none."""
    path = next((root / name for name in SEMANTICS if (root / name).is_file()), None)
    if path is None:
        return {}
    return {
        name: len(json_object(value, path)) for name, value in json_object(read_json(path, SourceError), path).items()
    }


def count_split(kind: str, folder: Path, *, root: Path) -> Found:
    """Count a split of MOSE, LVOS or YouTube-VOS, whose version its meta file or its size tells.

    Args:
        kind: ``MOSE``, ``LVOS``, ``YouTube-VOS``, or the first two with a version.
        folder: The split's, with ``JPEGImages`` and ``Annotations``.
        root: The data set's.

    Raises:
        InputError: The meta file is broken.
    """
    images, masks = folder / "JPEGImages", folder / "Annotations"
    split = folder.name if folder.name in ("train", "val", "valid", "test") else "train"
    if split in ("val", "valid"):
        split = "val" if kind == "LVOS" else "valid"
    listed: dict[str, str] = {}
    objects: int | None = None
    names = (f"{folder.name}_meta.json", f"{split}_meta.json", "valid_meta.json", "meta.json", f"meta_{split}.json")
    for path in (base / name for base in (folder, root) for name in names):
        if path.is_file() and not (path.name == "valid_meta.json" and split not in ("val", "valid")):
            videos = json_object(json_object(read_json(path, SourceError), path).get("videos"), path, "videos")
            listed = dict.fromkeys(videos, path.relative_to(root.parent).as_posix())
            known = [json_object(video, path).get("objects") for video in videos.values()]
            objects = sum(len(ids) for ids in known if isinstance(ids, (list, dict)))
            break
    size = len(listed) or len(set(folders(images)) | set(folders(masks)))
    dataset = kind
    if kind == "MOSE":
        older = not any((root / f"meta_{split}.json").is_file() for split in ("train", "valid"))
        dataset = (
            "MOSE v1" if older and size <= expected_counts("MOSE v1", split).counts.get("sequences", 0) else ("MOSE v2")
        )
    elif kind == "LVOS":
        captions = any(folder.glob("*_expression_meta.json"))
        older = captions or size == expected_counts("LVOS v1", split).counts.get("sequences")
        dataset = "LVOS v1" if older else "LVOS v2"
    elif kind == "YouTube-VOS":
        first = expected_counts("YouTube-VOS 2018", split).counts
        older = objects == first.get("objects") or (split != "train" and size == first.get("sequences"))
        dataset = "YouTube-VOS 2018" if older else "YouTube-VOS 2019"
    return count_videos(
        dataset,
        split,
        root,
        images,
        masks,
        listed=listed,
        objects=objects,
        first_masks=split != "train" and not (dataset[:4] == "LVOS" and split == "val"),
    )


def count_youtube_vis(source: YouTubeVis, *, read: bool = True) -> Found:
    """Count the training split of YouTube-VIS or OVIS.

    Args:
        source: Its reader.
        read: Read its JSON, for the frames and objects that there should be; otherwise count the folders of frames.

    Raises:
        InputError: The JSON is broken.
    """
    root = source.root
    version = next((year for year in ("2019", "2021") if year in source.json.name or year in root.name), "")
    if not read:
        images = next(
            (root / name for name in ("train/JPEGImages", "JPEGImages", "train") if (root / name).is_dir()), root
        )
        size = len(folders(images))
        known = {expected_counts(f"YouTube-VIS {year}", "train").counts["sequences"]: year for year in ("2019", "2021")}
        dataset = source.title if source.id == "ovis" else f"YouTube-VIS {version or known.get(size, '')}".strip()
        return compare(dataset, "train", root, {"sequences": size})
    videos = source.videos()
    names = {str(name) for video in videos for name in video.objects.values()}
    frames, broken = 0, []
    for video in videos:
        try:
            frames += len(source.frames(video))
        except SourceError:
            broken.append(video.name)
    if not version and source.id != "ovis":
        known = {expected_counts(f"YouTube-VIS {year}", "train").counts["sequences"]: year for year in ("2019", "2021")}
        version = known.get(len(videos), "2021" if "flying_disc" in names else "")
    dataset = "OVIS" if source.id == "ovis" else f"YouTube-VIS {version}".strip()
    unpack = to_unpack(root, expected_counts(dataset, "train").archive)
    faults = [
        f"{len(broken):,} of {len(videos):,} sequences of {source.json.name} lack frames: {name_few(broken)}; {unpack}"
    ]
    counts = {"sequences": len(videos) - len(broken), "frames": frames}
    counts["objects"] = sum(len(video.objects) for video in videos)
    return compare(dataset, "train", root, counts, faults=faults if broken else ())


def count_source(source: VideoSource) -> list[Found]:
    """Count what an opened reader reads, without a JSON file that it would have to read twice.

    Raises:
        InputError: A list or a small JSON file is broken.
    """
    if isinstance(source, Davis):
        return count_davis(source.root, year=source.year, resolution=source.resolution)
    if isinstance(source, Mose):
        kind = "MOSE v2" if source.id == "mose2" else "MOSE v1"
        return [count_split(kind, source.folder, root=source.folder.parent)]
    if isinstance(source, Lvos):
        return [count_split("LVOS", folder, root=source.root) for folder in source.splits.values()]
    if isinstance(source, SacoVeval):
        return [count_saco(source)]
    if isinstance(source, YouTubeVis):
        return [count_youtube_vis(source, read=False)]
    return [compare(source.title, "", source.root, {"sequences": len(folders(source.root))})]


def count_saco(source: SacoVeval, *, read: bool = False) -> Found:
    """Count a domain and split of SA-Co/VEval.

    Args:
        source: Its reader.
        read: Read its annotation file, for the videos and frames that there should be and the pairs that were asked;
            otherwise count the folders of frames, which hold those of both splits.

    Raises:
        InputError: The annotation file is broken.
    """
    if not read:
        return compare(source.title, "", source.root, {"sequences": len(folders(source.images, error=SourceError))})
    content, frames, missing = source.read(), 0, []
    for video in content.videos.values():
        try:
            frames += len(source.frames(video))
        except SourceError:
            missing.append(video.name)
    fault = f"videos without all of their frames: {name_few(missing)}; fetch the media again"
    counts = {
        "sequences": len(content.videos) - len(missing),
        "frames": frames,
        "objects": sum(len(video.objects) for video in content.videos.values()),
    }
    found = compare(source.title, source.split, source.root, counts, faults=[fault] if missing else ())
    positive = sum(pair.positive for pair in content.pairs)
    negative = len(content.pairs) - positive
    asked = f"{len(content.phrases):,} phrases are asked, in {positive:,} positive and {negative:,} negative pairs"
    return replace(found, notes=(*found.notes, asked))


def count_coco(root: Path, split: str, *, coco: Coco | None = None) -> Found:
    """Count a split of COCO: its images, and with its reader those that the JSON names and the annotations.

    Args:
        root: The folder with ``annotations`` and the images.
        split: ``val2014``, ….
        coco: The opened split; without it only the folder of the images is listed.
    """
    dataset = f"COCO {split[-4:]}"
    folder = images_folder(root, split) / split
    there = {path.name for path in listing(folder, IMAGES, error=SourceError)} if folder.is_dir() else set()
    unpack = to_unpack(root, expected_counts(dataset, split).archive)
    if coco is None:
        return compare(dataset, split, root, {"images": len(there)})
    names = [image.file_name for image in coco.images.values()]
    missing = sorted(name for name in names if name not in there and not ("/" in name and (folder / name).is_file()))
    here = len(names) - len(missing)
    counts = {"images": here, "annotations": coco.annotations}
    fault = f"{here:,} of {len(names):,} images of {split} are here; {what_is_missing(missing)}: {unpack}"
    found = compare(dataset, split, root, counts, faults=[fault] if missing else ())
    if names and not folder.is_dir():
        alone = f"{split}: the annotations are here without the images; {unpack.removesuffix(' again')} to use it"
        return replace(found, problems=(alone,))
    return found


def count_voc(root: Path, split: str, *, sbd: Path | None = None) -> Found:
    """Count a split of VOC 2012: images that have a file and a class map each.

    Raises:
        InputError: A list is missing or broken.
    """
    voc = Voc(root, split, sbd)
    stems = {
        part: {path.stem for path in listing(folder, (*IMAGES, ".mat"))} if folder.is_dir() else set()
        for part, folder in {
            "JPEGImages": voc.root / "JPEGImages",
            "SegmentationClass": voc.root / "SegmentationClass",
            "SegmentationClassAug": voc.root / "SegmentationClassAug",
            **({} if voc.sbd is None else {"img": voc.sbd / "img", "cls": voc.sbd / "cls"}),
        }.items()
    }
    images = stems["JPEGImages"] | stems.get("img", set())
    masks = stems["SegmentationClass"] | stems["SegmentationClassAug"] | stems.get("cls", set())
    unpack = to_unpack(root, expected_counts("VOC 2012", split).archive)
    faults = [
        f"{len(voc.names) - len(gone):,} of {len(voc.names):,} {what} of {split} are here; "
        f"{what_is_missing(gone)}: {unpack}"
        for what, there in (("images", images), ("class maps", masks))
        if (gone := [name for name in voc.names if name not in there])
    ]
    counts = {"images": sum(name in images for name in voc.names), "masks": sum(name in masks for name in voc.names)}
    return compare("VOC 2012", split, root, counts, faults=faults)


def count_sbd(root: Path) -> Found:
    """Count SBD's images and class maps.

    Args:
        root: The folder with ``img`` and ``cls``.

    Raises:
        InputError: A name is not UTF-8.
    """
    images, masks = ({path.stem for path in listing(root / part, (*IMAGES, ".mat"))} for part in ("img", "cls"))
    faults = [
        f"{what}: {name_few(gone)}; {to_unpack(root, 'benchmark.tgz')}"
        for what, gone in (
            ("images without a class map", sorted(images - masks)),
            ("class maps without an image", sorted(masks - images)),
        )
        if gone
    ]
    return compare("SBD", "train and val", root, {"images": len(images), "masks": len(masks)}, faults=faults)


def count_fss(root: Path, split: str) -> Found:
    """Count a split of FSS-1000: its classes that have a folder, and their pictures that have a mask.

    Args:
        root: The folder with ``data`` and ``splits``, or the one that holds ``FSS-1000``.
        split: ``test``, ``val`` or ``trn``.

    Raises:
        InputError: The list is missing or broken.
    """
    root = fss_folder(root)
    names = read_classes(root / "splits" / f"{split}.txt")
    gone = [name for name in names if not (root / "data" / name).is_dir()]
    pictures, uneven = 0, []
    for name in sorted(set(names) - set(gone)):
        images, masks = (
            {path.stem for path in listing(root / "data" / name, (suffix,), error=SourceError)}
            for suffix in (".jpg", ".png")
        )
        pictures += len(images & masks)
        if images ^ masks or not images:
            uneven.append(f"{name} ({name_few(sorted(images ^ masks)) or 'no picture at all'})")
    again = to_unpack(root, "")
    faults = [f"{what_is_missing(gone)}, of {len(names):,} classes (splits/{split}.txt); {again}"] if gone else []
    faults += [f"pictures without a mask, or masks without one: {name_few(uneven)}; {again}"] if uneven else []
    return compare("FSS-1000", split, root, {"categories": len(names) - len(gone), "images": pictures}, faults=faults)


def count_lvis(root: Path) -> Found:
    """Count the validation split of LVIS v1: its images of COCO 2017 that are here, annotations and categories.

    Args:
        root: The folder with ``lvis_v1_val.json``, or ``annotations`` with it.

    Raises:
        InputError: The annotations are missing or broken.
    """
    lvis = Lvis(root)
    files = sorted(image.file for image in lvis.images.values())
    notes: tuple[str, ...] = ()
    try:
        coco = coco_folder(root, None)
        gone = [file for file in files if not (coco / file).is_file()]
    except SourceError:
        gone, notes = [], ("its images are COCO 2017's train2017 and val2017, which are not beside it: not looked for",)
    fault = f"{len(files) - len(gone):,} of {len(files):,} images are here; {what_is_missing(gone)}: unpack COCO 2017"
    counts = {"images": len(files) - len(gone), "annotations": lvis.annotations, "categories": len(lvis.names)}
    found = compare("LVIS v1", lvis.split, root, counts, faults=[fault] if gone else ())
    return replace(found, notes=(*found.notes, *notes))


def count_matcher_lvis(root: Path) -> Found:
    """Count the list of LVIS' validation split that Matcher's authors made.

    Args:
        root: The folder with ``lvis_val.pkl``, or ``LVIS`` with it.

    Raises:
        InputError: The list is missing or broken.
    """
    lists = MatcherLists(root)
    images = {file for files in lists.images.values() for file in files}
    counts = {"images": Count(len(images)), "categories": Count(len(lists.images))}
    several = sum(len(files) > 1 for files in lists.images.values())
    note = f"{several:,} categories are on more than one image, of which ten folds are made"
    return Found("LVIS v1", "val, Matcher's list", root, counts, notes=(note,))
