"""How much of each raw data set there is when it is whole, as its authors or those who counted it say.

A count that nobody published is not in the table; it is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["EXPECTED", "Expected", "expected_counts"]


@dataclass(frozen=True)
class Expected:
    """A split of a data set as it was published.

    Attributes:
        dataset: Its name with its version, ``LVOS v2``.
        split: As the data set calls it.
        counts: By what is counted: sequences, frames, objects, categories, images, annotations.
        archive: The file that it is unpacked from; empty where its name is not known.
        source: Who said the counts.
    """

    dataset: str
    split: str
    counts: Mapping[str, int]
    archive: str
    source: str


_DAVIS = "davis.json of albertomontesg/davis-interactive, summed"
_CHALLENGE = "davisvideochallenge.github.io"
_MOSE2 = "the MOSEv2 paper (arXiv 2508.05630), Dataset Splits"
_LVOS = "README of LingyiHongfd/LVOS"
_YTVOS = "youtube-vos.org/dataset/vos"
_YTVOS19 = "paperswithcode.com/dataset/refer-youtube-vos"
_YTVIS = "youtube-vos.org/dataset/vis"
_COCO = "arXiv 1809.02165, its table of detection data sets"
_FSS = "datasets/FSS-1000/splits of aim-uofa/Matcher, ten pictures a class"

EXPECTED = (
    Expected("DAVIS-2016", "train", {"sequences": 30, "frames": 2079}, "", _DAVIS),
    Expected("DAVIS-2016", "val", {"sequences": 20, "frames": 1376}, "", _DAVIS),
    Expected("DAVIS-2016", "trainval", {"sequences": 50, "frames": 3455}, "", _DAVIS),
    Expected(
        "DAVIS-2017", "train", {"sequences": 60, "frames": 4209, "objects": 144}, "DAVIS-2017-trainval-480p.zip", _DAVIS
    ),
    Expected(
        "DAVIS-2017", "val", {"sequences": 30, "frames": 1999, "objects": 61}, "DAVIS-2017-trainval-480p.zip", _DAVIS
    ),
    Expected(
        "DAVIS-2017",
        "trainval",
        {"sequences": 90, "frames": 6208, "objects": 205},
        "DAVIS-2017-trainval-480p.zip",
        _DAVIS,
    ),
    Expected(
        "DAVIS-2017",
        "test-dev",
        {"sequences": 30, "frames": 2086, "objects": 89},
        "DAVIS-2017-test-dev-480p.zip",
        _DAVIS,
    ),
    Expected("DAVIS-2017", "test-challenge", {"sequences": 30}, "DAVIS-2017-test-challenge-480p.zip", _CHALLENGE),
    Expected("MOSE v1", "train", {"sequences": 1507}, "train.tar.gz", "mose_empty_masks.txt of hkchengrex/Cutie"),
    Expected("MOSE v1", "valid", {"sequences": 311}, "valid.tar.gz", _MOSE2),
    Expected("MOSE v2", "train", {"sequences": 3666}, "", _MOSE2),
    Expected("MOSE v2", "valid", {"sequences": 433}, "", _MOSE2),
    Expected("LVOS v1", "train", {"sequences": 120}, "", _LVOS),
    Expected("LVOS v1", "val", {"sequences": 50}, "", _LVOS),
    Expected("LVOS v1", "test", {"sequences": 50}, "", _LVOS),
    Expected("LVOS v2", "train", {"sequences": 420}, "", _LVOS),
    Expected("LVOS v2", "val", {"sequences": 140}, "", _LVOS),
    Expected("LVOS v2", "test", {"sequences": 160}, "", _LVOS),
    Expected("YouTube-VOS 2018", "train", {"sequences": 3471, "objects": 5945}, "train.zip", _YTVOS),
    Expected("YouTube-VOS 2018", "valid", {"sequences": 474, "objects": 894}, "valid.zip", _YTVOS),
    Expected("YouTube-VOS 2018", "test", {"sequences": 508, "objects": 915}, "test.zip", _YTVOS),
    Expected("YouTube-VOS 2019", "train", {"sequences": 3471, "objects": 6459}, "train.zip", _YTVOS19),
    Expected("YouTube-VOS 2019", "valid", {"sequences": 507, "objects": 1063}, "valid.zip", _YTVOS19),
    Expected("YouTube-VIS 2019", "train", {"sequences": 2238}, "train.zip", _YTVIS),
    Expected("YouTube-VIS 2021", "train", {"sequences": 2985}, "train.zip", _YTVIS),
    Expected("COCO 2014", "train2014", {"images": 82783, "annotations": 604907}, "train2014.zip", _COCO),
    Expected("COCO 2014", "val2014", {"images": 40504, "annotations": 291875}, "val2014.zip", _COCO),
    Expected("COCO 2017", "train2017", {"images": 118287, "annotations": 860001}, "train2017.zip", _COCO),
    Expected("COCO 2017", "val2017", {"images": 5000, "annotations": 36781}, "val2017.zip", _COCO),
    Expected(
        "VOC 2012", "train", {"images": 1464}, "VOCtrainval_11-May-2012.tar", "deepwiki.com/meetps/pytorch-semseg"
    ),
    Expected("VOC 2012", "val", {"images": 1449}, "VOCtrainval_11-May-2012.tar", "deepwiki.com/meetps/pytorch-semseg"),
    Expected("VOC 2012", "trainaug", {"images": 10582}, "SegmentationClassAug.zip", "voc_aug.py of mmsegmentation"),
    Expected("SBD", "train", {"images": 8498}, "benchmark.tgz", "data/pascal/README.md of shelhamer/fcn"),
    Expected("SBD", "train and val", {"images": 11355}, "benchmark.tgz", "torchvision, SBDataset"),
    Expected("FSS-1000", "trn", {"categories": 520, "images": 5200}, "", _FSS),
    Expected("FSS-1000", "val", {"categories": 240, "images": 2400}, "", _FSS),
    Expected("FSS-1000", "test", {"categories": 240, "images": 2400}, "", _FSS),
    Expected(
        "LVIS v1",
        "val",
        {"categories": 1203, "images": 19809, "annotations": 244707},
        "lvis_v1_val.json.zip",
        "lvisdataset.org, its table of downloads",
    ),
    Expected("IC-VOS, the authors' release", "", {"sequences": 369, "frames": 99549}, "", "Table I of DC-SAM"),
)

_BY_NAME = {(row.dataset, row.split): row for row in EXPECTED}


def expected_counts(dataset: str, split: str) -> Expected:
    """Return what a whole split holds; of what is not in the table nothing is known, and nothing is counted."""
    return _BY_NAME.get((dataset, split)) or Expected(dataset, split, {}, "", "")
