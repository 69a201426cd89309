"""COCO-20i from COCO 2014 (or 2017)."""

from __future__ import annotations

from pathlib import Path

from icvos.builders.fewshot.build import FewShotPlan, FewShotRules, plan_fewshot
from icvos.data.author_lists import read_lists
from icvos.data.class_masks import ClassMasks, coco_masks, voc_masks
from icvos.errors import SourceError
from icvos.progress import Progress

__all__ = ["plan_coco20i", "plan_pascal5i"]


def plan_coco20i(
    coco: Path,
    rules: FewShotRules | None = None,
    *,
    split: str = "val2014",
    train_split: str | None = "train2014",
    lists: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> FewShotPlan:
    """Plan COCO-20i; ``build_fewshot`` builds it.

    Args:
        coco: COCO's folder.
        rules: What to build.
        split: Of queries and supports.
        train_split: What the folds train on, for the record; left out where its annotations are missing or empty.
        lists: Folder of the authors' lists.
        cache: Folder of decoded masks.
        progress: Told what is being done.

    Raises:
        InputError: Broken raw data or lists.
        UsageError: A fold that cannot be tested.
    """
    rules = rules or FewShotRules("coco-20i")
    masks = coco_masks(coco, split, cache=cache, progress=progress)
    train = None
    if train_split is not None:
        train = _train(coco, train_split, cache, progress)
    author_lists = None if lists is None else {fold: read_lists(lists, fold) for fold in rules.folds}
    plan = plan_fewshot(masks, rules, train=train, lists=author_lists)
    if train_split is not None and train is None:
        plan.notes.append(f"{train_split} is not there: benchmark.json says nothing of training")
    return plan


def _train(coco: Path, split: str, cache: Path | None, progress: Progress | None) -> ClassMasks | None:
    path = Path(coco) / "annotations" / f"instances_{split}.json"
    if not path.is_file():
        return None
    try:
        return coco_masks(coco, split, cache=cache, progress=progress)
    except SourceError as error:
        # Small samples ship an empty training split.
        if "lists no image" in error.what:
            return None
        raise


def plan_pascal5i(
    voc: Path,
    rules: FewShotRules | None = None,
    *,
    sbd: Path | None = None,
    split: str = "val",
    lists: Path | None = None,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> FewShotPlan:
    """Plan PASCAL-5i (or coco2pascal, by the rules); ``build_fewshot`` builds it.

    Args:
        voc: VOC 2012's folder.
        rules: What to build.
        sbd: SBD's folder; with it, or with ``SegmentationClassAug``, folds train on ``trainaug``, else on VOC's train.
        split: Of queries and supports.
        lists: Folder of the authors' lists.
        cache: Folder of decoded masks.
        workers: Processes that decode masks.
        progress: Told what is being done.

    Raises:
        InputError: Broken raw data or lists.
        UsageError: A fold that cannot be tested.
    """
    rules = rules or FewShotRules("pascal-5i")
    masks = voc_masks(voc, split, sbd=sbd, cache=cache, workers=workers, progress=progress)
    train = None
    # coco2pascal trains on COCO-20i.
    if rules.benchmark == "pascal-5i":
        places = (voc, voc / "VOC2012", voc / "VOCdevkit" / "VOC2012")
        wide = sbd is not None or any((root / "SegmentationClassAug").is_dir() for root in places)
        part = "trainaug" if wide else "train"
        train = voc_masks(voc, part, sbd=sbd, cache=cache, workers=workers, progress=progress)
    author_lists = None if lists is None else {fold: read_lists(lists, fold) for fold in rules.folds}
    return plan_fewshot(masks, rules, train=train, lists=author_lists)
