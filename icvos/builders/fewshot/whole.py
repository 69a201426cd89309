"""Whether the raw data of a few-shot benchmark are whole, so that it may carry its published name.

What is compared: of COCO-20i the images and annotations of val2014, of PASCAL-5i the images of VOC's val, of FSS-1000
the names of its test classes and their ten pictures, of LVIS-92i categories, images and annotations of LVIS v1's val.
Matcher's lists stand for the images that they name: of COCO-20i each fold's file is known by its hash, of LVIS-92i the
number of categories that fill its folds. How long the lists of other authors are nobody printed: with them it is the
data set that is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from icvos.data.author_lists import AuthorLists
from icvos.data.class_masks import ClassMasks, pool_sha256
from icvos.files import file_sha256
from icvos.sources.expected import expected_counts
from icvos.sources.fss1000 import PICTURES, Fss1000

__all__ = ["SPLITS", "fss_differences", "masks_differences", "matcher_coco_differences", "matcher_lvis_differences"]

SPLITS = {
    "coco-20i": ("COCO 2014", "val2014"),
    "pascal-5i": ("VOC 2012", "val"),
    "coco2pascal": ("VOC 2012", "val"),
    "fss-1000": ("FSS-1000", "test"),
    "lvis-92i": ("LVIS v1", "val"),
}
"""Of which data set and split each benchmark's queries and supports are, as ``expected_counts`` calls them."""

DATASETS = {
    "coco14": "COCO 2014",
    "coco17": "COCO 2017",
    "voc12": "VOC 2012",
    "fss1000": "FSS-1000",
    "lvis1": "LVIS v1",
}
"""What ``expected_counts`` calls the sources of masks."""

FSS_CLASSES = "72d6a86067fed8dac503db7f556832f7d4d28aee82b12a4e35d310c7ca5c9f94"
"""SHA-256 of the names of FSS-1000's test classes, sorted, with a line break between: splits/test.txt of Matcher."""

MATCHER_COCO = ("96002389be83", "a34deecdf285", "0f275c5e9bf5", "927597bd7803")
"""What the SHA-256 of Matcher's fold0.pkl … fold3.pkl of COCO-20i begin with, at aim-uofa/Matcher @ d59b6c76."""

MATCHER_LVIS = range(920, 930)
"""Categories on more than one image in Matcher's lists of LVIS: those of which each of ten folds has 92."""


def masks_differences(benchmark: str, masks: ClassMasks) -> list[str]:
    """Return why masks are not those of the whole split that a benchmark is made of, a line each.

    Args:
        benchmark: A key of ``SPLITS``.
        masks: Of queries and supports.
    """
    split = (DATASETS[masks.source], masks.split)
    if split != SPLITS[benchmark]:
        return [f"it is built from {' '.join(split)}, and {benchmark} from {' '.join(SPLITS[benchmark])}"]
    counts = {"images": len(masks), "annotations": masks.annotations}
    if masks.source in ("fss1000", "lvis1"):
        counts = {"categories": len(masks.vocabulary), **counts}
    return list(_fewer(split, counts))


def _fewer(split: tuple[str, str], counts: Mapping[str, int | None]) -> Iterator[str]:
    """Yield what there is more or less of than in a whole split; what nobody counted is not compared."""
    whole = expected_counts(*split).counts
    for what, count in counts.items():
        if count is not None and what in whole and count != whole[what]:
            yield f"{' '.join(split)} has {count:,} {what} here, and the whole has {whole[what]:,}"


def fss_differences(fss: Fss1000) -> list[str]:
    """Return why FSS-1000's folder is not the whole test split, a line each."""
    out = list(_fewer(("FSS-1000", fss.split), {"categories": len(fss.classes)}))
    if not out and pool_sha256(fss.classes) != FSS_CLASSES:
        out.append(f"splits/{fss.split}.txt names other classes than the authors' list")
    odd = [name for name, stems in fss.pictures.items() if set(stems) != set(PICTURES)]
    if odd:
        out.append(f"{len(odd):,} of {len(fss.classes):,} classes have not the pictures 1 to 10: {', '.join(odd[:3])}")
    return out


def matcher_coco_differences(lists: Mapping[int, AuthorLists]) -> list[str]:
    """Return which of Matcher's lists of COCO-20i are not its own, a line each.

    That all their images are in the data set the reader of the lists has checked.

    Args:
        lists: By fold.
    """
    return [
        f"{each.path.name} is not Matcher's list of fold {fold}: its SHA-256 begins with {sha256[:12]}, and that with "
        f"{MATCHER_COCO[fold]}"
        for fold, each in sorted(lists.items())
        if not (sha256 := file_sha256(each.path)).startswith(MATCHER_COCO[fold])
    ]


def matcher_lvis_differences(counts: Mapping[int, int]) -> list[str]:
    """Return why Matcher's lists of LVIS are not whole, a line each.

    Args:
        counts: Images of each category.
    """
    several = sum(count > 1 for count in counts.values())
    if several in MATCHER_LVIS:
        return []
    return [
        f"lvis_val.pkl has {several:,} categories on more than one image, and the whole list {MATCHER_LVIS[0]} to "
        f"{MATCHER_LVIS[-1]}"
    ]
