"""The ladder itself: every rung, from the cheapest to the dearest; ``docs/how-to/reproduce.md`` is made from it.

Printed values are their authors', quoted with their source and never mixed with ours. Tolerances were fixed before
anything was measured.
"""

from __future__ import annotations

from collections.abc import Mapping

from icvos.builders.published import PAPER_COUNTS
from icvos.errors import UsageError, did_you_mean
from icvos.reproduce.rung import DataSet, Figure, Rung, Step

__all__ = ["DATA", "RUNGS", "get_rung"]

DATA = {
    "davis": DataSet(
        "DAVIS-2017 trainval, 480p: val has 30 sequences, 61 objects", "https://davischallenge.org/davis2017/code.html"
    ),
    "lvos": DataSet("LVOS v2: val has 140 videos", "https://github.com/LingyiHongfd/LVOS"),
    "coco": DataSet(
        "COCO 2014: annotations/instances_{train,val}2014.json, train2014 and val2014",
        "https://cocodataset.org/#download",
    ),
    "ic-vos": DataSet(
        "IC-VOS as its authors release it: 369 videos, 99,549 frames (DC-SAM, Table I)",
        "https://github.com/zaplm/DC-SAM",
    ),
}
"""The raw data sets, by the option that takes their folder."""

_PAPER = "DC-SAM, arXiv 2504.12080v2"
_FPS = "22.7 frames a second of DC-SAM with SAM 2.1 large on an H100 (benchmarks/README.md, the slower of two days)"
_DRY_EVALUATE = "nothing of it was timed: 'icvos evaluate … --dry-run' says it for the device at hand"
_DRY_TRAIN = "nothing of it was timed: 'icvos train … --dry-run' says it for the device at hand, for each training"
_ON = ("--device", "{device}", "--workers", "{workers}")

Figures = tuple[Figure, ...]


def _build(what: str, folder: str, *words: str) -> Step:
    given = ("build-data", *words, "--out", f"{{out}}/{folder}", "--workers", "{workers}")
    return Step(what, given, f"{folder}/manifest.csv")


def _evaluate(what: str, benchmark: str, folder: str, model: str, *words: str) -> Step:
    where = ("--benchmark", f"{{out}}/{benchmark}", "--out", f"{{out}}/{folder}")
    return Step(what, ("evaluate", "--model", model, *where, *words, *_ON), f"{folder}/result.json")


def _train(what: str, folder: str, name: str, *words: str) -> Step:
    return Step(what, ("train", name, *words, "--out", f"{{out}}/{folder}", *_ON), f"{folder}/last.safetensors")


def _track(what: str, benchmark: str, name: str, checkpoint: str, protocol: str, *words: str) -> Step:
    given = ("--protocol", protocol, *words, "--weights", f"sam2={{{checkpoint}}}")
    return _evaluate(what, benchmark, f"{name}/run", "sam2-tracker", *given)


# ------------------------------------------------------------------------------------------------ SAM 2, told frame 0

_SIZES = {"tiny": "tiny", "small": "small", "base-plus": "base+", "large": "large"}
_DAVIS = {
    "tiny": (None, None, "None: no printed value of this size could be sourced; measured without comparison"),
    "small": (None, None, "None: no printed value of this size could be sourced; measured without comparison"),
    "base-plus": (
        90.2,
        1.0,
        "README of facebookresearch/EdgeTAM at 10aef41, table 'Video Object Segmentation (VOS)', row SAM 2.1-B+, "
        "column DAVIS 2017 val. It is of other weights than the public file: the row has 76.6 on MOSE val and 77.0 "
        "on SA-V test, the README of facebookresearch/sam2 73.7 and 78.2 (why: its issue 330)",
    ),
    "large": (
        90.7,
        1.0,
        "the paper of SAM 3, second-hand: docs/en/models/sam-3.md of ultralytics/ultralytics, table 'Video "
        "Segmentation Performance', column SAM 2.1 L. It is of other weights than the public file: the column has "
        "78.4 on SA-V, the README of facebookresearch/sam2 79.5 (why: its issue 330)",
    ),
}
_TRACKER = (
    "the data: 'icvos build-data source' on the folder",
    "the weights' SHA-256: 'icvos weights verify'",
    "precision: bfloat16 on CUDA, as the public script; on a CPU, or with --set precision=fp32, it differs",
    "where objects of a video overlap: the highest logit keeps a pixel, all tracked in one pass (docs/how-to/vos.md)",
    "holes: none is filled, as in the public script; its interactive predictor fills small ones",
)


def _davis(size: str) -> Rung:
    name, checkpoint, benchmark = f"sam2.1-{size}-davis17", f"sam2.1-hiera-{size}", "benchmarks/vos-davis17-val"
    printed, tolerance, source = _DAVIS[size]
    other = ("the weights: the printed row is not of the public file",) if printed else ()
    return Rung(
        name=name,
        title=f"SAM 2.1 {_SIZES[size]}, told frame 0's masks, on DAVIS-2017 val",
        data=("davis",),
        weights=(checkpoint,),
        steps=(
            _build("DAVIS-2017 val, an object is an episode", benchmark, "vos", "--davis", "{davis}", "--split", "val"),
            _track("the tracker, scored as DAVIS scores", benchmark, name, checkpoint, "davis-2017"),
        ),
        figures=(Figure("J&F", "J&F", (f"{name}/run",), printed, tolerance),),
        source=source,
        reason="Weights of its own would hold a deterministic tracker to 0.3 points (precision, holes). As the "
        "printed row is of other weights, within 1.0 says that the installation is right, not that the row is "
        "repeated."
        if printed
        else "Nothing is compared.",
        suspects=(*other, *_TRACKER),
        hours=0.1,
        counts={"videos": 30, "frames": 1999, "pairs": 61},
        basis=f"30 sequences of at most 104 frames; {_FPS}",
    )


def _lvos(size: str, printed: float) -> Rung:
    name, checkpoint, benchmark = f"sam2.1-{size}-lvos2", f"sam2.1-hiera-{size}", "benchmarks/vos-lvos-val"
    return Rung(
        name=name,
        title=f"SAM 2.1 {_SIZES[size]}, told each object's first mask, on LVOS v2 val",
        data=("lvos",),
        weights=(checkpoint,),
        steps=(
            _build("LVOS v2 val, an object is an episode", benchmark, "vos", "--lvos", "{lvos}", "--split", "val"),
            _track("the tracker, scored natively", benchmark, name, checkpoint, "native"),
        ),
        figures=(Figure("J&F", "J&F", (f"{name}/run",), printed, None),),
        source="README of facebookresearch/sam2 at 05d9e57, table 'SAM 2.1 checkpoints', row "
        f"sam2.1_hiera_{size.replace('-', '_')}, column LVOS v2 (J&F)",
        reason="LVOS' own protocol, lvos-v2, wants the list of unseen videos (--unseen), which is not among the data "
        "of this rung: it is scored natively, and that is not compared.",
        suspects=(
            "the protocol: natively scored is not LVOS' own measure",
            "objects that come late: each is told on its first frame, in a video of its own (docs/how-to/vos.md)",
            "the videos: the paper's table says 136 of the 140 of val (facebookresearch/sam2 issue 400)",
            "published values differ among themselves: SAM2Long prints 84.0 for SAM 2.1 large where SAM 2 prints "
            "80.6 (Mark12Ding/SAM2Long issue 14)",
            *_TRACKER,
        ),
        hours=0.7,
        basis=f"140 videos of 412 frames, the mean of LVOS v2 in Table I of {_PAPER}; {_FPS}",
    )


# ------------------------------------------------------------------------------------- nothing trained, on COCO-20i

_COCO = "benchmarks/coco-20i"
_EPISODES = (
    "1,000 episodes a fold are a sample, and ours are others than theirs: with 30 points of standard deviation "
    "between episodes (an assumption; the run's own interval replaces it) a fold's mIoU has one of 30 / sqrt(1,000) "
    "= 0.95, the difference of two samples 1.34, that of two means of four folds 0.67; two of them are 2.7 and 1.3 "
    "points."
)
_FEWSHOT = (
    "the episodes: the authors' own are drawn again by 'icvos build-data coco-20i --lists LISTS --episodes authors'",
    "the size of scoring: fss-paper scores at 512x512, the method's own code may score elsewhere",
    "the categories that no episode drew, which count as 0 in fss-paper ('icvos show RUN' says how many)",
)


def _coco(*folds: int) -> Step:
    folder = _COCO if not folds else f"{_COCO}-fold{folds[0]}"
    words = [word for fold in folds for word in ("--fold", str(fold))]
    what = "COCO-20i, 1,000 episodes a fold" if not folds else f"COCO-20i, fold {folds[0]}, 1,000 episodes"
    return _build(what, folder, "coco-20i", "--coco", "{coco}", *words, "--shots", "1", "--paper-episodes", "1000")


def _folds(runs: tuple[str, ...], mean: float, printed: tuple[float, ...], tolerances: tuple[float, float]) -> Figures:
    """Return the mean over the folds, which decides, and each fold. One run has all folds, or each has its own."""
    by_fold = runs * 4 if len(runs) == 1 else runs
    folds = (
        Figure(f"mIoU, fold {fold}", "mIoU", (by_fold[fold],), value, tolerances[1], fold)
        for fold, value in enumerate(printed)
    )
    return (Figure("mIoU, mean of folds", "mIoU", runs, mean, tolerances[0]), *folds)


def _few_shot(
    model: str,
    title: str,
    weights: Mapping[str, str],
    *,
    mean: float,
    folds: tuple[float, ...],
    source: str,
    suspects: tuple[str, ...],
    options: tuple[str, ...] = (),
    extra: str = "sam",
) -> Rung:
    """Return the rung of a method on COCO-20i of which nothing is trained here."""
    name = f"{model}-coco-20i"
    given = [word for key, checkpoint in weights.items() for word in ("--weights", f"{key}={{{checkpoint}}}")]
    return Rung(
        name=name,
        title=f"{title} on COCO-20i, 1 shot",
        data=("coco",),
        weights=tuple(weights.values()),
        steps=(
            _coco(),
            _evaluate(
                "the method", _COCO, f"{name}/run", model, "--protocol", "fss-paper", "--shots", "1", *options, *given
            ),
        ),
        figures=_folds((f"{name}/run",), mean, folds, (1.3, 2.7)),
        source=source,
        reason=_EPISODES,
        suspects=(*suspects, *_FEWSHOT),
        hours=None,
        basis=_DRY_EVALUATE,
        extra=extra,
        counts={"categories": 80},
    )


# ----------------------------------------------------------------------------------------------- on the paper's IC-VOS

_IC_VOS = "benchmarks/ic-vos"
_SUPPORTS = (
    "Which supports the authors' runs drew is not published, and their evaluation leaves dropout on "
    "(docs/explanation/reference-code.md, Q10): with 10 points of standard deviation from support to support (an "
    "assumption; 'icvos show RUN --by draw' measures it) their one draw over 369 videos or more has 0.5, twice "
    "that is 1.0, and half a point is for precision and holes."
)
_RELEASE = (
    "the supports: the authors' draws are not published ('icvos show RUN --by draw' says how much draws move)",
    "the videos: at most 512 frames of each, in the release as it is ('icvos build-data stats' beside Table I)",
)


def _release(folder: str, *words: str) -> Step:
    given = ("--from-release", "{ic-vos}", "--coco", "{coco}", *words)
    return _build("IC-VOS from its authors' folder", folder, "ic-vos", *given)


def _lifted(model: str, title: str, printed: float, row: str) -> Rung:
    name = f"{model}-ic-vos"
    return Rung(
        name=name,
        title=f"{title}, tracked by SAM 2, on IC-VOS",
        data=("ic-vos", "coco"),
        weights=("sam-vit-h", "sam2-hiera-large"),
        steps=(
            _release(_IC_VOS),
            _evaluate(
                "the method, at 512x512",
                _IC_VOS,
                f"{name}/run",
                f"{model}+sam2",
                "--protocol",
                "paper",
                "--weights",
                "sam={sam-vit-h}",
                "--weights",
                "tracker={sam2-hiera-large}",
            ),
        ),
        figures=(Figure("J&F", "J&F", (f"{name}/run",), printed, 1.5),),
        source=f"{_PAPER}, Table IV, row {row}",
        reason=_SUPPORTS,
        suspects=(
            "which SAM finds the thing and which SAM 2 tracks it: the paper says neither size",
            "how the tracker is started: from frame 0's mask, whatever is found there ('+sam2@first-found' differs)",
            *_RELEASE,
        ),
        hours=None,
        basis=_DRY_EVALUATE,
        counts=PAPER_COUNTS,
    )


# ------------------------------------------------------------------------------------------------------------- trained

_SEEDS = (0, 1, 2)


def _dcsam_fold0() -> Rung:
    name, benchmark = "dcsam-coco-20i-fold0", f"{_COCO}-fold0"
    trainings = tuple(
        _train(
            f"training {seed + 1} of 3",
            f"{name}/train-seed{seed}",
            "dcsam",
            *("--set", "stage=image", "--set", "data=coco-20i", "--set", "root={coco}", "--set", "fold=0"),
            *("--set", "variant=reference", "--seed", str(seed)),
            *("--weights", "sam={sam-vit-h}", "--weights", "backbone={resnet50-v2}"),
        )
        for seed in _SEEDS
    )
    runs = tuple(
        _evaluate(
            f"what training {seed + 1} gave",
            benchmark,
            f"{name}/run-seed{seed}",
            "dcsam",
            *("--protocol", "fss-paper", "--shots", "1"),
            *("--weights", f"dcsam={{out}}/{name}/train-seed{seed}/best.safetensors", "--weights", "sam={sam-vit-h}"),
        )
        for seed in _SEEDS
    )
    folders = tuple(f"{name}/run-seed{seed}" for seed in _SEEDS)
    each = (Figure(f"mIoU, seed {seed}", "mIoU", (folder,), 50.4, 3.0) for seed, folder in zip(_SEEDS, folders))
    return Rung(
        name=name,
        title="DC-SAM, ResNet-50 and SAM, on COCO-20i fold 0: three trainings",
        data=("coco",),
        weights=("sam-vit-h", "resnet50-v2"),
        steps=(_coco(0), *(step for pair in zip(trainings, runs) for step in pair)),
        figures=(Figure("mIoU, mean of 3 seeds", "mIoU", folders, 50.4, 2.9), *each),
        source=f"{_PAPER}, Tables II and III, row DC-SAM, ResNet-50, column F-0",
        reason="At two standard deviations: two samples of 1,000 episodes of one fold differ by 2.7 (see "
        "persam-f-coco-20i); with 0.5 from seed to seed (an assumption: the three seeds measure it) the authors' one "
        "training may lie 1.0 off and the mean of three 0.6. The squares add up to 2.9, for one seed to 3.0.",
        suspects=(
            "which checkpoint: the public code keeps the best one on the test fold (Q16), ours is chosen on training "
            "categories: best.safetensors beside last.safetensors",
            "which SAM: the paper does not say; ViT-H is what VRP-SAM uses, from whose code it goes on",
            "the effective batch: 2 on 4 GPUs, as all ranks draw the same episodes (Q17); one process of 2 here",
            "evaluation in pairs, which mixes the masks of two episodes (Q1, docs/explanation/reference-code.md)",
            "the variant: reference here, as the printed figure was computed; corrected differs by Q4 and Q6",
            *_FEWSHOT,
        ),
        hours=66.0,
        basis="three times 50 epochs of at most 82,783 images (all of train2014) at 52.4 images a second of an H100 "
        "with SAM 2.1 (benchmarks/README.md): an upper bound for the data, not measured with SAM ViT-H",
        counts={"categories": 20},
    )


def _vrp() -> Rung:
    name = "vrp-sam-coco-20i"
    steps = [_coco()]
    for fold in range(4):
        steps += [
            _build(
                f"COCO-20i, fold {fold}",
                f"{_COCO}-fold{fold}",
                *("coco-20i", "--coco", "{coco}", "--fold", str(fold), "--shots", "1", "--paper-episodes", "1000"),
            ),
            _train(
                f"training for fold {fold}",
                f"{name}/train-fold{fold}",
                "vrp-sam",
                *("--set", "data=coco-20i", "--set", "root={coco}", "--set", f"fold={fold}", "--set", "prompt=mask"),
                *("--weights", "sam={sam-vit-h}", "--weights", "backbone={resnet50-v2}"),
            ),
            _evaluate(
                f"fold {fold}",
                f"{_COCO}-fold{fold}",
                f"{name}/run-fold{fold}",
                "vrp-sam",
                *("--protocol", "fss-paper", "--shots", "1"),
                *("--weights", f"vrp-sam={{out}}/{name}/train-fold{fold}/best.safetensors"),
                *("--weights", "sam={sam-vit-h}", "--weights", "backbone={resnet50-v2}"),
            ),
        ]
    return Rung(
        name=name,
        title="VRP-SAM, ResNet-50, mask prompts, on COCO-20i, trained for each fold",
        data=("coco",),
        weights=("sam-vit-h", "resnet50-v2"),
        steps=tuple(steps[1:]),
        figures=_folds(
            tuple(f"{name}/run-fold{fold}" for fold in range(4)), 53.9, (48.1, 55.8, 60.0, 51.6), (1.5, 3.0)
        ),
        source=f"{_PAPER}, Table II, row VRP-SAM, ResNet50",
        reason=f"{_EPISODES} A training of each, theirs and ours, adds 1.0 to a fold and 0.5 to the mean (0.5 from "
        "seed to seed, an assumption): the squares add up to 3.0 and 1.5.",
        suspects=(
            "which checkpoint: the public code keeps the best one on the test fold; ours is chosen on training "
            "categories",
            "the prompt: the public default is scribble, the printed row does not say (mask here)",
            "the number of GPUs: 4 with 2 images each there, one process of 2 here",
            *_FEWSHOT,
        ),
        hours=None,
        basis=_DRY_TRAIN,
        counts={"categories": 20},
    )


def _dcsam_ic_vos() -> Rung:
    name = "dcsam-ic-vos"
    tubes = ("--set", "data=mask-tubes", "--set", "root={coco}", "--set", "variant=reference")
    sam2 = ("--weights", "sam2={sam2-hiera-large}")
    return Rung(
        name=name,
        title="DC-SAM, ResNet-50 and SAM 2, on IC-VOS: three stages of training",
        data=("ic-vos", "coco"),
        weights=("sam2-hiera-large", "resnet50-v2"),
        steps=(
            _release(_IC_VOS),
            _train(
                "stage 1: pairs of images, all 80 categories",
                f"{name}/image",
                "dcsam",
                *("--set", "stage=image", "--set", "data=coco", "--set", "root={coco}", "--set", "variant=reference"),
                *(*sam2, "--weights", "backbone={resnet50-v2}"),
            ),
            _train(
                "stage 2: pairs of frames of mask tubes",
                f"{name}/tube-pretrain",
                "dcsam",
                *("--set", "stage=tube-pretrain", *tubes, *sam2),
                *("--weights", f"dcsam={{out}}/{name}/image/best.safetensors"),
            ),
            _train(
                "stage 3: mask tubes, tracked; decoder and memory of SAM 2 are trained too",
                f"{name}/tube-finetune",
                "dcsam",
                *("--set", "stage=tube-finetune", "--set", "train_sam=decoder+memory", *tubes, *sam2),
                *("--weights", f"dcsam={{out}}/{name}/tube-pretrain/best.safetensors"),
            ),
            _evaluate(
                "what was trained, at 512x512",
                _IC_VOS,
                f"{name}/run",
                "dcsam",
                *("--protocol", "paper", "--weights", f"dcsam={{out}}/{name}/tube-finetune/last.safetensors"),
            ),
        ),
        figures=(Figure("J&F", "J&F", (f"{name}/run",), 71.52, 2.0),),
        source=f"{_PAPER}, Table IV, row DC-SAM (Table X: decoder and memory tuned, 11.26M parameters)",
        reason="1.5 for the supports (see persam-ic-vos); two trainings, theirs and ours, may lie 1.0 off each at "
        "two standard deviations, with 0.5 from seed to seed (an assumption): the squares add up to 2.0.",
        suspects=(
            "which SAM 2: the paper says no size; the public code's video scripts name SAM 2.0 large by default",
            "the length of the training: 50,000 iterations in Tables VI and VIII, epochs in the README",
            "the first stage's categories: all 80 here; the paper does not say",
            "holes of the masks: 8 pixels are filled by the reference variant on video "
            "(docs/explanation/reference-code.md)",
            *_RELEASE,
        ),
        hours=None,
        basis=_DRY_TRAIN,
        counts=PAPER_COUNTS,
    )


RUNGS = {
    rung.name: rung
    for rung in (
        *(_davis(size) for size in _SIZES),
        *(_lvos(size, printed) for size, printed in zip(_SIZES, (77.3, 78.3, 78.2, 80.6))),
        Rung(
            name="sam2-first-frame-ic-vos",
            title="SAM 2, told frame 0's mask of the category, on IC-VOS",
            data=("ic-vos", "coco"),
            weights=("sam2-hiera-large",),
            steps=(
                _release("benchmarks/ic-vos-draw0", "--draws", "1", "--shots", "1"),
                _track(
                    "the tracker, at 512x512",
                    "benchmarks/ic-vos-draw0",
                    "sam2-first-frame-ic-vos",
                    "sam2-hiera-large",
                    "paper",
                    *("--oracle", "first-frame"),
                ),
            ),
            figures=(Figure("J&F", "J&F", ("sam2-first-frame-ic-vos/run",), 89.93, 0.5),),
            source=f"{_PAPER}, Table XIII, IC-VOS, original SAM 2",
            reason="No support is drawn and nothing is trained: what is left is precision, holes and the size of SAM "
            "2.",
            suspects=(
                "which SAM 2: the paper says no size; the public code's video scripts name SAM 2.0 large by default",
                "what is told where frame 0 does not show the category: an empty mask here, counted as empty",
                "holes filled or not, and training mode left on in the authors' evaluation "
                "(docs/explanation/reference-code.md, Q10)",
                _RELEASE[1],
            ),
            hours=1.3,
            basis=f"99,549 frames, each with one category (how many have more is not printed); {_FPS}",
            counts=PAPER_COUNTS,
        ),
        _few_shot(
            "persam-f",
            "PerSAM-F",
            {"sam": "sam-vit-h"},
            mean=23.5,
            folds=(22.3, 24.0, 23.4, 24.1),
            source=f"{_PAPER}, Table II, row PerSAM-F",
            suspects=("the setting: the public code has none for COCO-20i; SAM ViT-H is its default",),
        ),
        _few_shot(
            "matcher",
            "Matcher",
            {"dinov2": "dinov2-vitl14", "sam": "sam-vit-h"},
            mean=52.72,
            folds=(52.66, 53.52, 52.58, 52.13),
            source="logs of aim-uofa/Matcher at d59b6c7, output/coco/*/log.txt (rounded in Table II of DC-SAM)",
            options=("--set", "recipe=coco"),
            suspects=(
                "the recipe: 'icvos models show matcher' says which one the benchmark gets",
                "the size of scoring: the public code scores at 518x518",
            ),
            extra="matcher",
        ),
        _few_shot(
            "seggpt",
            "SegGPT",
            {"seggpt": "seggpt-vit-large-transformers"},
            mean=56.1,
            folds=(56.3, 57.4, 58.9, 51.7),
            source=f"{_PAPER}, Table II, row SegGPT (it has seen all categories)",
            suspects=(
                "the port: weights and code of transformers, converted from the authors'",
                "the threshold and the size of scoring: the public code has no few-shot evaluation",
            ),
            extra="hf",
        ),
        _lifted("persam", "PerSAM", 34.52, "PerSAM + SAM2"),
        _lifted("persam-f", "PerSAM-F", 34.18, "PerSAM-F + SAM2"),
        _dcsam_fold0(),
        _vrp(),
        _dcsam_ic_vos(),
    )
}
"""All rungs by name, in the order of climbing."""


def get_rung(name: str) -> Rung:
    """Return the rung of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in RUNGS:
        raise UsageError(f"no rung '{name}'", fix=f"{did_you_mean(name, RUNGS)} 'icvos reproduce' lists them")
    return RUNGS[name]
