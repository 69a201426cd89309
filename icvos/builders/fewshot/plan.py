"""The few-shot image benchmarks, each planned from its raw data: COCO-20i, PASCAL-5i, FSS-1000, LVIS-92i."""

from __future__ import annotations

from pathlib import Path

from icvos.builders.fewshot.build import FewShotPlan, FewShotRules, plan_fewshot
from icvos.builders.fewshot.whole import fss_differences, matcher_coco_differences, matcher_lvis_differences
from icvos.data.author_lists import AuthorLists, check_names, read_lists, read_matcher_lists
from icvos.data.class_masks import ClassMasks, check_min_area, coco_masks, voc_masks
from icvos.data.fewshot_masks import fss_masks, lvis_masks, matcher_lvis_masks
from icvos.data.folds import FewShotEpisode, fold_count, test_categories
from icvos.data.matcher_episodes import coco_episodes, fss_episodes, lvis_classes, lvis_episodes
from icvos.errors import SourceError, UsageError
from icvos.progress import Progress
from icvos.sources.fss1000 import PICTURES, Fss1000
from icvos.sources.lvis import MatcherLists, coco_folder, image_name

__all__ = ["plan_coco20i", "plan_fss1000", "plan_lvis92i", "plan_pascal5i"]


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
        lists: Folder of the authors' lists; with ``episodes="matcher"`` of Matcher's.
        cache: Folder of decoded masks.
        progress: Told what is being done.

    Raises:
        InputError: Broken raw data or lists.
        UsageError: A fold that cannot be tested.
    """
    rules = rules or FewShotRules("coco-20i")
    masks = coco_masks(coco, split, cache=cache, progress=progress)
    if rules.episodes == "matcher":
        return _matcher_coco20i(masks, rules, lists)
    train = None
    if train_split is not None:
        train = _train(coco, train_split, cache, progress)
    author_lists = None if lists is None else {fold: read_lists(lists, fold) for fold in rules.folds}
    plan = plan_fewshot(masks, rules, train=train, lists=author_lists)
    if train_split is not None and train is None:
        plan.notes.append(f"{train_split} is not there: benchmark.json says nothing of training")
    return plan


def _matcher_coco20i(masks: ClassMasks, rules: FewShotRules, folder: Path | None) -> FewShotPlan:
    if folder is None:
        raise UsageError(
            "Matcher's episodes need its lists", expected="splits/val/fold0.pkl, …", fix="give --lists DIR"
        )
    drawn: dict[int, list[FewShotEpisode]] = {}
    lists: dict[int, AuthorLists] = {}
    for fold in rules.folds:
        lists[fold] = read_matcher_lists(folder, fold)
        check_names(lists[fold], masks.numbers, f"{masks.source} {masks.split}")
        categories = test_categories(rules.benchmark, fold)
        drawn[fold] = list(coco_episodes(lists[fold], categories, fold, rules.shots, rules.paper_count))
    plan = plan_fewshot(masks, rules, drawn=drawn, differs=matcher_coco_differences(lists))
    plan.notes.append(
        "masks are of COCO's JSON, crowd regions ignored; Matcher reads label maps, in which a pixel has one category"
    )
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


def plan_fss1000(
    root: Path,
    rules: FewShotRules | None = None,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> FewShotPlan:
    """Plan FSS-1000's test split; ``build_fewshot`` builds it.

    Args:
        root: FSS-1000's folder.
        rules: What to build.
        cache: Folder of decoded masks.
        workers: Processes that decode masks.
        progress: Told what is being done.

    Raises:
        InputError: Broken raw data, or a class that Matcher's episodes cannot be drawn of.
        UsageError: No class has two pictures.
    """
    rules = rules or FewShotRules("fss-1000", (0,), min_area=1)
    fss = Fss1000(root)
    drawn = None
    if rules.episodes == "matcher":
        for name, stems in fss.pictures.items():
            if set(stems) != set(PICTURES):
                odd = sorted(set(stems) ^ set(PICTURES))[0]
                there = "too many pictures" if odd in stems else "not all pictures"
                raise SourceError(
                    f"class '{name}' has {there} ({odd}.jpg)",
                    where=fss.root / "data" / name,
                    expected="1.jpg to 10.jpg, which Matcher draws of",
                )
        names = [[fss.image_name(name, stem) for stem in PICTURES] for name in fss.classes]
        drawn = {0: list(fss_episodes(names, rules.shots))}
    masks = fss_masks(fss, cache=cache, workers=workers, progress=progress)
    folds = {0: tuple(range(1, len(fss.classes) + 1))}
    plan = plan_fewshot(masks, rules, folds=folds, drawn=drawn, differs=fss_differences(fss))
    plan.notes[:0] = fss.notes
    return plan


def plan_lvis92i(
    root: Path,
    rules: FewShotRules | None = None,
    *,
    coco: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> FewShotPlan:
    """Plan LVIS-92i; ``build_fewshot`` builds it.

    A fold has every tenth of the categories that are on more images than an episode has supports.

    Args:
        root: LVIS' folder, with ``lvis_v1_val.json``, or with ``lvis_val.pkl`` for Matcher's episodes.
        rules: What to build.
        coco: The folder with ``train2017`` and ``val2017``; LVIS' own, or ``coco`` in it, by default.
        cache: Folder of decoded masks.
        progress: Told what is being done.

    Raises:
        InputError: Broken raw data or lists.
        UsageError: Too few categories.
    """
    rules = rules or FewShotRules("lvis-92i", tuple(range(fold_count("lvis-92i"))), shots=1, min_area=1)
    if rules.episodes == "matcher":
        return _matcher_lvis92i(MatcherLists(root), rules, coco_folder(root, coco), cache, progress)
    masks = lvis_masks(root, coco_folder(root, coco), cache=cache, progress=progress)
    categories = range(1, len(masks.vocabulary) + 1)
    counts = {c: len(masks.images_of(c, check_min_area(rules.min_area))) for c in categories}
    return plan_fewshot(masks, rules, folds={fold: lvis_classes(counts, fold, rules.shots) for fold in rules.folds})


def _matcher_lvis92i(
    lists: MatcherLists, rules: FewShotRules, coco: Path, cache: Path | None, progress: Progress | None
) -> FewShotPlan:
    counts = {category: len(files) for category, files in lists.images.items()}
    folds = {fold: lvis_classes(counts, fold, rules.shots) for fold in rules.folds}
    files = {image_name(file): file for files in lists.images.values() for file in files}
    names = {category: [image_name(file) for file in images] for category, images in lists.images.items()}
    drawn = {fold: list(lvis_episodes(names, folds[fold], fold, rules.shots)) for fold in rules.folds}
    pairs = {(e.category, files[name]) for fold in drawn.values() for e in fold for name in (e.query, *e.supports)}
    masks = matcher_lvis_masks(lists, pairs, coco, cache=cache, progress=progress)
    return plan_fewshot(masks, rules, folds=folds, drawn=drawn, differs=matcher_lvis_differences(counts))
