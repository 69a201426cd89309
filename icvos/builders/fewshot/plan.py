"""COCO-20i from COCO 2014 (or 2017)."""

from __future__ import annotations

from pathlib import Path

from icvos.builders.fewshot.build import FewShotPlan, FewShotRules, plan_fewshot
from icvos.data.author_lists import read_lists
from icvos.data.class_masks import ClassMasks, Progress, coco_masks
from icvos.errors import SourceError

__all__ = ["plan_coco20i"]


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
    given = None if lists is None else {fold: read_lists(lists, fold) for fold in rules.folds}
    plan = plan_fewshot(masks, rules, train=train, lists=given)
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
