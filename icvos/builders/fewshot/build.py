"""Writing a few-shot image benchmark: plan episodes, place images, write masks, tables and header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from icvos.benchmark import QUERY_EPISODE_COLUMNS, SCHEMA
from icvos.builders.fewshot.episodes import candidates, episodes_sha256, native_episodes, paper_episodes
from icvos.builders.fewshot.whole import masks_differences
from icvos.builders.published import check_own_name
from icvos.builders.trial import BuildTrial, spread, trial_folder, try_tasks
from icvos.builders.writer import BenchmarkWriter, place_file, write_file
from icvos.costs import in_bytes
from icvos.data.author_lists import AuthorLists, check_names, replay
from icvos.data.class_masks import ClassMasks, check_min_area
from icvos.data.draws import DRAW_RULE
from icvos.data.folds import (
    BENCHMARKS,
    FOLDS,
    MIN_AREA,
    PAPER_EPISODES,
    FewShotEpisode,
    check_fold,
    fold_count,
    test_categories,
)
from icvos.data.matcher_episodes import DRAWN, PROTOCOL
from icvos.data.sampler import NOVEL, TrainingPool
from icvos.errors import SourceError, UsageError, did_you_mean, in_words
from icvos.files import read_file
from icvos.images import IMAGE_SUFFIXES, image_size
from icvos.manifest import Digest
from icvos.masks import encode_mask
from icvos.progress import Progress

__all__ = [
    "BUILDER_VERSION",
    "FewShotPlan",
    "FewShotReport",
    "FewShotRules",
    "build_fewshot",
    "plan_fewshot",
    "try_fewshot",
]

BUILDER_VERSION = "1"
"""Raised when the same raw data and rules would give other files."""

PROTOCOLS = ("fss-native", "fss-paper", PROTOCOL)
IGNORE = {"coco80": "crowd regions", "voc20": "void borders"}


@dataclass(frozen=True)
class FewShotRules:
    """What decides the content of a few-shot benchmark.

    Attributes:
        benchmark: ``coco-20i``, ``pascal-5i``, ``coco2pascal``, ``fss-1000`` or ``lvis-92i``.
        folds: Of 0 to 3; of FSS-1000 0 alone, of LVIS-92i 0 to 9.
        shots: Supports of each episode, distinct in ``frozen`` ones.
        seed: Of the draws.
        min_area: Pixels of the category in queries and supports, in ``frozen`` episodes.
        paper_count: Episodes of a fold in ``fss-paper``, and of COCO-20i in ``fss-matcher``; absent of FSS-1000 and
            LVIS-92i.
        episodes: ``frozen`` draws by our rule; ``authors`` draws the authors' own again (``fss-paper``, 1 shot);
            ``matcher`` those of Matcher's code (``fss-matcher``; not PASCAL's).
        novel_in_train: What becomes of the fold's test categories in training images (recorded); absent of FSS-1000
            and LVIS-92i.
    """

    benchmark: str
    folds: tuple[int, ...] = tuple(range(FOLDS))
    shots: int = 5
    seed: int = 0
    min_area: int = MIN_AREA
    paper_count: int = PAPER_EPISODES
    episodes: str = "frozen"
    novel_in_train: str = "background"

    def __post_init__(self) -> None:
        count = fold_count(self.benchmark)
        for fold in self.folds:
            check_fold(fold, count)
        if not self.folds or len(set(self.folds)) != len(self.folds):
            raise UsageError(f"folds {in_words(self.folds)}", expected=f"some of 0 to {count - 1}, each once")
        if self.shots < 1 or self.paper_count < 1:
            raise UsageError("a few-shot benchmark needs at least one shot and one episode")
        check_min_area(self.min_area)
        own = ["frozen", *(["authors"] if self.fixed else []), *(["matcher"] if "pascal" not in self.benchmark else [])]
        if self.episodes not in own:
            raise UsageError(f"episodes '{self.episodes}' of {self.benchmark}", expected=" or ".join(own))
        if self.episodes == "authors" and self.shots != 1:
            raise UsageError(
                f"the authors' episodes have 1 shot, not {self.shots}: their code cannot run more", fix="--shots 1"
            )
        if self.episodes == "matcher" and self.seed:
            raise UsageError(
                f"seed {self.seed} of Matcher's episodes", expected=f"0: {PROTOCOL} is a list of that seed"
            )
        if self.novel_in_train not in NOVEL:
            raise UsageError(f"novel in train '{self.novel_in_train}'", fix=did_you_mean(self.novel_in_train, NOVEL))

    @property
    def fixed(self) -> bool:
        """Whether the folds are the same whatever the data: of COCO-20i, PASCAL-5i and coco2pascal."""
        return self.benchmark in BENCHMARKS

    @property
    def name(self) -> str:
        """What a benchmark of whole data is called; LVIS-92i's categories, and so its name, hang on the shots."""
        return f"{self.benchmark}-{self.shots}shot" if self.benchmark == "lvis-92i" else self.benchmark

    @property
    def record(self) -> dict[str, Any]:
        """What ``benchmark.json`` says of the rules: those that had a part in it."""
        unused = set[str]() if self.fixed else {"novel_in_train", "paper_count"}
        unused |= {"min_area"} if self.episodes == "matcher" else set()
        ruled = {name: value for name, value in asdict(self).items() if name not in unused}
        rule = {} if self.episodes == "matcher" else {"draw_rule": DRAW_RULE}
        return {**ruled, "folds": sorted(self.folds), **rule}


@dataclass
class FewShotPlan:
    """A build that is planned but not begun.

    Attributes:
        masks: Of the test split.
        episodes: All of them, in the order of ``episodes.csv``.
        folds: Test categories of each fold, those that cannot be tested too.
        notes: What somebody should know, one line each.
        training: What ``benchmark.json`` says of training, or None.
        differs: Why the data are not whole, so that it carries no published name, a line each.
    """

    rules: FewShotRules
    masks: ClassMasks
    episodes: list[FewShotEpisode]
    folds: dict[int, tuple[int, ...]]
    candidates_sha256: dict[int, str]
    notes: list[str]
    training: dict[str, Any] | None
    differs: list[str] = field(default_factory=list)

    @cached_property
    def uses(self) -> dict[int, dict[str, set[int]]]:
        """Of each image, by its number, the categories of which it is one of ``queries``, and of ``supports``; asked
        for when all is planned."""
        out: dict[int, dict[str, set[int]]] = {}
        for episode in self.episodes:
            for role, names in (("queries", (episode.query,)), ("supports", episode.supports)):
                for name in names:
                    out.setdefault(self.masks.numbers[name], {}).setdefault(role, set()).add(episode.category)
        return out

    @property
    def verbatim(self) -> bool:
        """Whether the episodes are another code's own, which are kept even where a mask is empty."""
        return self.rules.episodes == "matcher"

    @property
    def files(self) -> int:
        """Images and masks to write."""
        return sum(1 + len(categories) for roles in self.uses.values() for categories in roles.values())

    @cached_property
    def image_bytes(self) -> int:
        """Bytes of the images to place; those in both places twice."""
        total = 0
        for image, roles in self.uses.items():
            path = self.masks.path(image)
            if not path.is_file():
                raise SourceError(
                    f"image {self.masks.names[image]} is listed but not there",
                    where=path,
                    fix="unpack the split's images",
                )
            total += len(roles) * path.stat().st_size
        return total

    def tasks(self, root: Path, images: Iterable[int], *, link: bool) -> Iterator[_Task]:
        """Yield what workers do: write some of the images, with their masks, below ``root``."""
        for image in images:
            roles = {role: tuple(sorted(categories)) for role, categories in sorted(self.uses[image].items())}
            yield _Task(self.masks, root, image, roles, link, self.verbatim)


@dataclass
class FewShotReport:
    """What was built.

    Attributes:
        name: What the benchmark is called.
        queries, supports: Images.
        episodes: Of each protocol.
        notes: What somebody should know, one line each.
        differs: Why it carries no published name, a line each.
    """

    out: Path
    name: str
    manifest_sha256: str
    queries: int
    supports: int
    episodes: dict[str, int]
    notes: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)


def plan_fewshot(
    masks: ClassMasks,
    rules: FewShotRules,
    *,
    train: ClassMasks | None = None,
    lists: Mapping[int, AuthorLists] | None = None,
    folds: Mapping[int, tuple[int, ...]] | None = None,
    drawn: Mapping[int, Sequence[FewShotEpisode]] | None = None,
    differs: Sequence[str] | None = None,
) -> FewShotPlan:
    """Work out folds and episodes.

    Args:
        masks: Class-level masks of the test split.
        rules: What to build.
        train: Masks of the training split, for the record of what each fold trains on.
        lists: The authors' lists of each fold: they are the candidates, and with ``episodes="authors"`` what is
            replayed.
        folds: Categories of each fold, where they hang on the data.
        drawn: Each fold's episodes, where another's rule drew them.
        differs: Why the data are not whole, a line each; by default what the counts of the masks tell.

    Raises:
        UsageError: A fold that was asked for has no category that can be tested (of all four, it is left out and
            noted; no fold at all is an error), or the authors' episodes are asked for without lists.
        SourceError: The lists do not fit the data set.
    """
    differs = masks_differences(rules.benchmark, masks) if differs is None else differs
    plan = FewShotPlan(rules, masks, [], {}, {}, [], None, list(differs))
    if rules.episodes == "authors" and not lists:
        raise UsageError("the authors' episodes need their lists", fix="give --lists DIR")
    for fold in sorted(rules.folds):
        plan.folds[fold] = test_categories(rules.benchmark, fold) if folds is None else folds[fold]
        if drawn is not None:
            plan.candidates_sha256[fold] = episodes_sha256(drawn[fold])
            plan.episodes += drawn[fold]
            continue
        author_lists = lists[fold] if lists is not None else None
        if author_lists is not None:
            check_names(author_lists, masks.numbers, f"{masks.source} {masks.split}")
        try:
            _plan_fold(plan, fold, author_lists)
        except UsageError as error:
            if len(rules.folds) < fold_count(rules.benchmark) or (fold == max(rules.folds) and not plan.episodes):
                raise
            del plan.folds[fold]
            plan.notes.append(f"fold {fold} is left out: {error.what}")
    if train is not None:
        plan.training = _training(rules, train, plan.folds)
    return plan


def _plan_fold(plan: FewShotPlan, fold: int, lists: AuthorLists | None) -> None:
    rules, masks, categories = plan.rules, plan.masks, plan.folds[fold]
    if rules.episodes == "authors":
        assert lists is not None
        native = list(
            replay(
                lists,
                fold,
                categories,
                coco=rules.benchmark == "coco-20i",
                categories_of=_categories_of(masks),
                count=rules.paper_count,
            )
        )
        plan.candidates_sha256[fold] = episodes_sha256(native)
        plan.episodes += native
        return
    drawn_from = candidates(
        masks, categories, min_area=rules.min_area, lists=None if lists is None else lists.by_category
    )
    plan.candidates_sha256[fold] = drawn_from.sha256
    plan.episodes += native_episodes(drawn_from, fold, seed=rules.seed, shots=rules.shots)
    if rules.fixed:
        plan.episodes += paper_episodes(drawn_from, fold, seed=rules.seed, shots=rules.shots, count=rules.paper_count)
    words = masks.vocabulary
    if drawn_from.alone:
        plan.notes.append(
            f"fold {fold}: fewer than two images of {', '.join(words.label(c) for c in drawn_from.alone)}: not tested"
        )
    few = [c for c, pool in drawn_from.by_category.items() if len(pool.names) <= rules.shots]
    if few:
        plan.notes.append(
            f"fold {fold}: fewer than {rules.shots} supports for a query of {', '.join(words.label(c) for c in few)}: "
            "all there are"
        )


def _categories_of(masks: ClassMasks) -> Callable[[str], list[int]]:
    def categories_of(name: str) -> list[int]:
        image = masks.numbers[name]
        return [category for category in masks.categories_of(image) if masks.area(image, category)]

    return categories_of


def _training(rules: FewShotRules, train: ClassMasks, folds: Iterable[int]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "source": train.source,
        "split": train.split,
        "annotations_sha256": train.sha256,
        "novel_in_train": rules.novel_in_train,
        "min_area": rules.min_area,
        "folds": {},
    }
    for fold in sorted(folds):
        try:
            pool = TrainingPool(train, rules.benchmark, fold, min_area=rules.min_area, novel=rules.novel_in_train)
        except UsageError:
            out["folds"][str(fold)] = None  # a small sample: there is nothing to train on
            continue
        out["folds"][str(fold)] = {
            "categories": list(pool.categories),
            "images": pool.images,
            "pairs": pool.pairs,
            "sha256": pool.sha256,
        }
    return out


@dataclass(frozen=True)
class _Task:
    """One image with its masks, to be written by a worker as a query, a support, or both."""

    masks: ClassMasks
    root: Path
    image: int
    roles: Mapping[str, tuple[int, ...]]
    link: bool
    verbatim: bool


def _write_image(task: _Task) -> list[tuple[str, Digest]]:
    masks, name = task.masks, task.masks.names[task.image]
    source = masks.path(task.image)
    suffix = source.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise SourceError(f"an image's suffix is '{suffix}'", where=source, expected=" or ".join(IMAGE_SUFFIXES))
    try:
        data = read_file(source)
    except FileNotFoundError:
        raise SourceError(f"image {name} is listed but not there", where=source, fix="unpack the images") from None
    masks.check_size(task.image, image_size(data, source))
    written: list[tuple[str, Digest]] = []
    pngs: dict[int, bytes] = {}
    for role, categories in task.roles.items():
        path = f"{role}/images/{name}{suffix}"
        written.append((path, place_file(f"{task.root}/{path}", source, link=task.link, data=data)))
        for category in categories:
            if category not in pngs:
                pngs[category] = _encode(task, category)
            path = f"{role}/masks/{category}/{name}.png"
            written.append((path, write_file(f"{task.root}/{path}", pngs[category])))
    return written


def _encode(task: _Task, category: int) -> bytes:
    masks = task.masks
    labels = masks.mask(task.image, category)
    if not task.verbatim and not (labels == 1).any():
        what, name = masks.vocabulary.label(category), masks.names[task.image]
        raise SourceError(
            f"the image {name} shows no '{what}'", where=masks.path(task.image), expected="it, as a list says"
        )
    return encode_mask(labels)


def build_fewshot(
    plan: FewShotPlan,
    out: Path,
    *,
    name: str = "",
    link: bool = False,
    workers: int = 1,
    licence: str = "",
    progress: Progress | None = None,
) -> FewShotReport:
    """Build the benchmark. The result depends on the raw data and the rules alone.

    Args:
        plan: From ``plan_fewshot``.
        out: Its folder, to be made.
        name: A name of one's own; by default ``FewShotRules.name`` of whole data, else ``custom:<hash>``.
        link: Hard-link images.
        workers: Processes.
        licence: One line in place of the source's own.
        progress: Told how many images are done.

    Raises:
        UsageError: ``name`` is that of a published benchmark.
        InputError: Broken raw data, a full disk, or ``out`` is there already.
    """
    if name:
        check_own_name(name)
    uses, images = plan.uses, sorted(plan.uses)
    with BenchmarkWriter(out, need=_need(plan, link)) as writer:
        tasks, total = plan.tasks(writer.root, images, link=link), len(images)
        for written in writer.work(_write_image, tasks, what="images", total=total, workers=workers, progress=progress):
            for path, digest in written:
                writer.record(path, digest)
        counts = {protocol: sum(e.protocol == protocol for e in plan.episodes) for protocol in PROTOCOLS}
        report = FewShotReport(
            writer.out,
            "",
            "",
            sum("queries" in roles for roles in uses.values()),
            sum("supports" in roles for roles in uses.values()),
            {k: v for k, v in counts.items() if v},
            plan.notes,
            plan.differs,
        )
        header = _header(plan, name, report, licence)
        report.name = header["name"]
        shots = [f"support_{shot}" for shot in range(1, plan.rules.shots + 1)]
        tables = {"episodes.csv": ((*QUERY_EPISODE_COLUMNS, *shots), _rows(plan, shots))}
        report.manifest_sha256 = writer.finish(header, tables, adopt=False)
    return report


def try_fewshot(plan: FewShotPlan, out: Path, *, link: bool = False, workers: int = 1) -> BuildTrial:
    """Write a few of the images with their masks, in a temporary folder where ``out`` would be.

    Args:
        plan, out, link, workers: As for ``build_fewshot``.

    Raises:
        InputError: Broken raw data, or nothing can be written there.
    """
    images = sorted(plan.uses)
    with trial_folder(out) as folder:
        tasks = plan.tasks(folder, spread(images), link=link)
        sample = try_tasks(_write_image, tasks, what="images", total=len(images), size=lambda _: 1, workers=workers)
    linked = f", {in_bytes(plan.image_bytes)} of images linked beside that" if link else ""
    return BuildTrial(out, (sample,), _need(plan, link), f"{plan.files:,} images and masks{linked}", workers)


def _need(plan: FewShotPlan, link: bool) -> int:
    return plan.files * 1500 + (0 if link else plan.image_bytes)


def _rows(plan: FewShotPlan, shots: Sequence[str]) -> Iterator[dict[str, Any]]:
    for e in plan.episodes:
        yield {
            "id": e.id,
            "protocol": e.protocol,
            "query": e.query,
            "category": e.category,
            "category_name": plan.masks.vocabulary.label(e.category),
            "fold": e.fold,
            "draw": e.draw,
            **dict(zip(shots, e.supports)),
        }


def _header(plan: FewShotPlan, name: str, report: FewShotReport, licence: str) -> dict[str, Any]:
    rules, masks = plan.rules, plan.masks
    ruled = rules.record
    drawn = [plan.candidates_sha256[fold] for fold in sorted(plan.folds)]
    text = json.dumps([SCHEMA, BUILDER_VERSION, ruled, masks.sha256, drawn, plan.training], sort_keys=True)
    digits = hashlib.sha256(text.encode()).hexdigest()[:8]
    unnamed = not name and bool(plan.differs)
    licences: dict[str, int] = {}
    for image in sorted(plan.uses):
        key = str(masks.image_licence(image) or "unnamed")
        licences[key] = licences.get(key, 0) + 1
    return {
        "schema": SCHEMA,
        "name": f"custom:{digits}" if unnamed else name or rules.name,
        "version": f"{BUILDER_VERSION}.{digits}",
        "vocabulary": masks.vocabulary.spec,
        **({"protocol": PROTOCOL, "shots": rules.shots, "drawn": DRAWN} if plan.verbatim else {}),
        "folds": {str(fold): list(categories) for fold, categories in sorted(plan.folds.items())},
        "counts": {
            "queries": report.queries,
            "supports": report.supports,
            "episodes": report.episodes,
            "categories": len({episode.category for episode in plan.episodes}),
        },
        "sources": [{"id": masks.source, "split": masks.split, "annotations_sha256": masks.sha256}],
        "ignore": IGNORE.get(masks.vocabulary.name),
        "episodes_sha256": episodes_sha256(plan.episodes),
        "training": plan.training,
        "builder": BUILDER_VERSION,
        "seed": rules.seed,
        "rules": ruled,
        **({"recipe": {"name": rules.name, "matches": False, "differs": plan.differs}} if unnamed else {}),
        "notes": list(plan.notes),
        "licences": {masks.source: licence or masks.licence},
        "images_by_licence": dict(sorted(licences.items())),
    }
