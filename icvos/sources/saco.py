"""SA-Co/VEval of SAM 3: videos, the noun phrases that were asked of each, and the masklets of those that are there.

``annotation/saco_veval_<domain>_<split>.json``: a layout like YouTube-VIS', with one global list of phrases as
categories and ``video_np_pairs``, every question that was asked. A pair without masklets is a phrase that people
verified to be absent; of a pair that is not listed nothing is known. Frames lie in ``media``.

Source: ``scripts/eval/veval/README.md`` of facebookresearch/sam3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from icvos.errors import SourceError, UsageError, did_you_mean
from icvos.sources.annotations import Entry, by_id, check_ids, is_text, read_annotations, whole_number
from icvos.sources.base import SourceFrame, SourceVideo
from icvos.sources.drawn import LICENCE, is_drawn
from icvos.sources.ytvis import VisVideo, YouTubeVis, video_files, video_names

__all__ = ["DOMAINS", "SPLITS", "AskedPair", "Domain", "SacoContent", "SacoVeval", "annotation_files"]

Identity = int | str
Key = tuple[Identity, int]
SPLITS = ("val", "test")
FOLDERS = ("annotation", "annotations", ".")
MEDIA = ("media", ".")
LISTS = {"videos": "video", "annotations": "annotation", "categories": "category", "video_np_pairs": "pair"}
FPS = 6.0
"""Annotated frames a second; of SA-V's 24 every fourth."""
HUB = "https://huggingface.co/datasets/facebook/SACo-VEval"


@dataclass(frozen=True)
class Domain:
    """A part of SA-Co/VEval.

    Attributes:
        id: The prefix of its videos in a benchmark.
        title: As people call it.
        media: The folder of its frames, below ``media``.
        licence: Of its annotations and media.
        warning: Why it is not built unless that is asked for, or nothing.
    """

    id: str
    title: str
    media: str
    licence: str
    warning: str = ""


DOMAINS = {
    "smartglasses": Domain("saco_sg", "SA-Co/VEval SmartGlasses", "saco_sg/JPEGImages_6fps", "CC BY 4.0"),
    "sav": Domain(
        "saco_sav", "SA-Co/VEval SA-V", "saco_sav/JPEGImages_24fps", "annotations CC BY-NC 4.0, videos as SA-V's"
    ),
    "yt1b": Domain(
        "saco_yt1b",
        "SA-Co/VEval YT-Temporal-1B",
        "saco_yt1b/JPEGImages_6fps",
        "annotations CC BY-NC 4.0, videos as YouTube's terms say",
        warning="its authors warn that frames fetched from YouTube may be shifted against the masks",
    ),
}
"""By the name in their annotation files, as ``--domain`` takes it."""


@dataclass(frozen=True)
class AskedPair:
    """A question that was asked: is this phrase in this video, and where?

    Attributes:
        video: The video's name.
        phrase: The id of the phrase in the global list.
        masklets: Ids of all things that the phrase names there; none where people verified that there is none.
    """

    video: str
    phrase: int
    masklets: tuple[int, ...]

    @property
    def positive(self) -> bool:
        """Whether the phrase is there."""
        return bool(self.masklets)


@dataclass(frozen=True)
class SacoContent:
    """What an annotation file holds.

    Attributes:
        videos: By name, sorted.
        pairs: All that was asked, sorted by video and phrase.
        phrases: The text of each phrase that was asked, by its id; where two are the same text, with the id behind it.
        left_out: Pairs that have masklets and were not asked, each with why.
    """

    videos: Mapping[str, SourceVideo]
    pairs: tuple[AskedPair, ...]
    phrases: Mapping[int, str]
    left_out: Mapping[str, str] = field(default_factory=dict)


class SacoVeval(YouTubeVis):
    """A domain and split of SA-Co/VEval; objects are masklets.

    Args:
        root: The folder with ``annotation`` and ``media``, or with what is in these.
        domain: A key of ``DOMAINS``.
        split: ``val`` or ``test``.

    Raises:
        UsageError: An unknown domain or split.
        SourceError: Its annotation file or its frames are not there.
    """

    keep_unsure = True

    def __init__(self, root: Path, *, domain: str, split: str) -> None:
        if domain not in DOMAINS:
            raise UsageError(f"no domain '{domain}' of SA-Co/VEval", fix=did_you_mean(domain, DOMAINS))
        if split not in SPLITS:
            raise UsageError(f"no split '{split}' of SA-Co/VEval", expected=" or ".join(SPLITS))
        of = DOMAINS[domain]
        self.crowds, self.categories = False, {}  # an annotation that is a crowd is refused
        self.root, self.domain, self.split, self.id = Path(root), domain, split, of.id
        drawn = is_drawn(self.root)
        self.title = f"demo world, in the layout of {of.title}" if drawn else of.title
        self.licence = LICENCE if drawn else f"{of.title}: {of.licence}; {HUB}"
        self.json = _annotation_file(self.root, domain, split)
        folders = [self.root / base / of.media for base in MEDIA]
        found = next((folder for folder in folders if folder.is_dir()), None)
        if found is None:
            there = folders[0].exists()
            raise SourceError(
                f"{'a file is in place of the' if there else 'no'} folder of frames",
                where=folders[0],
                expected="VIDEO/00000.jpg, … in it",
                fix="fetch the frames (docs/how-to/saco-ic.md says where)",
            )
        self.images: Path = found

    def _image_root(self, file: str) -> Path:
        return self.images

    def frames(self, video: SourceVideo) -> list[SourceFrame]:
        """Return all frames that the annotation file names, in its order.

        Raises:
            SourceError: Some are not there.
        """
        frames = super().frames(video)
        if len({frame.name for frame in frames}) != len(frames):
            raise SourceError(f"two frames of {video.name} have one name", where=self.json)
        return frames

    def size(self, video: SourceVideo) -> tuple[int, int]:
        """Return (H, W) of a video as its annotations say."""
        detail: VisVideo = video.detail
        return detail.size

    def videos(self) -> list[SourceVideo]:
        return list(self.read().videos.values())

    def read(self) -> SacoContent:
        """Read the annotation file; run lengths are decoded when a frame's labels are read.

        Raises:
            SourceError: It is none, or contradicts itself.
        """
        lists = read_annotations(self.json, LISTS, expected="an annotation file of SA-Co/VEval")
        categories = dict(by_id(lists["categories"]))
        check_ids(lists["videos"])
        videos = {_identity(entry, "id"): entry for entry in lists["videos"]}
        files = {number: _frames_of(entry) for number, entry in videos.items()}
        names = video_names(files, self.json)
        masklets: dict[Key, dict[int, Entry]] = {}
        for number, entry in by_id(lists["annotations"]):
            key = _key(entry, videos, categories)
            _check_masklet(entry, frames=len(files[key[0]]), video=names[key[0]])
            masklets.setdefault(key, {})[number] = entry
        asked: dict[Key, Entry] = {}
        for entry in lists["video_np_pairs"]:
            key = _key(entry, videos, categories)
            there = len(masklets.get(key, ()))
            if key in asked:
                raise SourceError(f"{asked[key].label} and {entry.label} ask the same", where=self.json)
            if entry.integer("num_masklets", there) != there:
                raise entry.problem("num_masklets", f"{there}, as there are annotations of its video and category")
            asked[key] = entry
        phrases = _texts({phrase: categories[phrase] for _, phrase in asked})
        self.categories = phrases
        tracks: dict[Identity, dict[int, Entry]] = {video: {} for video in videos}
        for video, phrase in asked:
            tracks[video].update(masklets.get((video, phrase), {}))
        out = {
            names[video]: replace(
                self._video(names[video], video, entry, files[video], tracks[video]), split=self.split, fps=FPS
            )
            for video, entry in videos.items()
        }
        pairs = [
            AskedPair(names[video], phrase, tuple(sorted(masklets.get((video, phrase), ())))) for video, phrase in asked
        ]
        unasked = sorted(
            f"{names[video]},phrase {phrase}" for video, phrase in masklets if (video, phrase) not in asked
        )
        return SacoContent(
            dict(sorted(out.items())),
            tuple(sorted(pairs, key=lambda pair: (pair.video, pair.phrase))),
            phrases,
            dict.fromkeys(unasked, "has masklets, and nobody asked for it"),
        )


def annotation_files(root: Path) -> list[tuple[str, str]]:
    """Return the domain and split of each annotation file below a folder."""
    return [
        (domain, split)
        for domain in DOMAINS
        for split in SPLITS
        if any((root / base / _file_name(domain, split)).is_file() for base in FOLDERS)
    ]


def _file_name(domain: str, split: str) -> str:
    return f"saco_veval_{domain}_{split}.json"


def _annotation_file(root: Path, domain: str, split: str) -> Path:
    name = _file_name(domain, split)
    paths = [root / base / name for base in FOLDERS]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        there = [f"--domain {domain} --split {split}" for domain, split in annotation_files(root)]
        raise SourceError(
            "no such annotation file", where=paths[0], fix=f"here is {' and '.join(there)}" if there else "fetch it"
        )
    return path


def _identity(entry: Entry, field: str) -> Identity:
    """Return an id that may be a number or a text; a number as text is that number."""
    value = entry.fields.get(field)
    number = whole_number(value)
    if number is None and not is_text(value):
        raise entry.problem(field, "a whole number or a text")
    return str(value) if number is None else number


def _key(entry: Entry, videos: Container[Identity], categories: Container[int]) -> Key:
    """Return the video and the phrase that a masklet or a question is of."""
    video, phrase = _identity(entry, "video_id"), entry.integer("category_id")
    if video not in videos:
        raise entry.problem("video_id", "a video of the file")
    if phrase not in categories:
        raise entry.problem("category_id", "a category of the file")
    return video, int(phrase)


def _check_masklet(entry: Entry, *, frames: int, video: str) -> None:
    for what in ("segmentations", "bboxes", "areas"):
        needed = what == "segmentations" or entry.fields.get(what) is not None
        if needed and len(entry.values(what)) != frames:
            raise entry.problem(what, f"{frames}, one a frame of {video}: null where it is not seen")
    if entry.flag("iscrowd"):
        raise entry.problem("iscrowd", "0: a masklet is one thing")


def _frames_of(entry: Entry) -> list[PurePosixPath]:
    """Return the frames of a video as the file names them."""
    files = video_files(entry)
    if entry.integer("length", len(files)) != len(files):
        raise entry.problem("length", f"{len(files)}, as there are file_names")
    return files


def _texts(entries: Mapping[int, Entry]) -> dict[int, str]:
    """Return the text of each phrase by its id; where two are the same text, with the id behind it."""
    texts = {}
    for phrase, entry in sorted(entries.items()):
        texts[phrase] = entry.name()
    count = Counter(texts.values())
    return {phrase: text if count[text] == 1 else f"{text} ({phrase})" for phrase, text in texts.items()}
