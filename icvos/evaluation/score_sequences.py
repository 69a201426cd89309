"""Scoring of predicted masks against ground truth in folders of sequences, without a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from icvos.errors import MaskError, PredictionError, did_you_mean
from icvos.evaluation.predictions import Predictions, Scored, check_names, fit_size, name_some, other_size
from icvos.files import escape_id
from icvos.listing import files_by_stem, folders, listed_names, match_stems, natural, path_of_stem
from icvos.masks import is_binary, read_header, read_mask
from icvos.metrics import VideoScore, jf_labels
from icvos.protocols import Protocol

__all__ = ["Objects", "SequenceTask", "Sequences", "check_sequences", "choose_sequences", "score_sequences"]

Objects = Literal["first-frame", "all"]
"""Which ids are scored: those of the first frame (as DAVIS does), or those of all scored frames."""


@dataclass(frozen=True)
class Sequences:
    """Ground truth as folders of label PNGs: ``<root>/<sequence>/<frame>.png``; DAVIS' own root is seen through.

    Attributes:
        root: The folder of sequences.
        names: Sequences, sorted.
    """

    root: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> Sequences:
        """Open a folder.

        Raises:
            PredictionError: Missing or empty.
        """
        root = Path(root)
        if not root.is_dir():
            raise PredictionError("ground truth not found", where=root, expected="a folder of SEQUENCE/FRAME.png")
        for inner in ("Annotations/480p", "Annotations/Full-Resolution", "Annotations"):
            if (root / inner).is_dir():
                root = root / inner
                break
        names = folders(root)
        if not names:
            raise PredictionError("ground truth holds no sequence", where=root, expected="SEQUENCE/FRAME.png")
        return cls(root, tuple(names))

    def frames(self, name: str) -> list[str]:
        """Return a sequence's frame stems, in natural order.

        Raises:
            PredictionError: There is none.
        """
        stems = files_by_stem(self.root / name, (".png",), error=PredictionError)
        if not stems:
            raise PredictionError("a sequence has no frame", where=self.root / name, expected="FRAME.png")
        return sorted(stems, key=natural)

    def path(self, name: str, frame: str) -> Path:
        """Return the file of a frame."""
        return path_of_stem(self.root / name, frame, ".png")


@dataclass(frozen=True)
class SequenceTask:
    """What is scored of one sequence.

    Attributes:
        name: The sequence.
        frames: Stems of each scored frame: of the ground truth, and of the prediction.
        objects: Ids that are scored.
        truth_binary, predicted_binary: Whether 255 is the one object there, and not void.
    """

    name: str
    frames: tuple[tuple[str, str], ...]
    objects: tuple[int, ...]
    truth_binary: bool
    predicted_binary: bool

    @property
    def ids(self) -> list[str]:
        """Ids of the records."""
        return [f"{escape_id(self.name)}__{number}" for number in self.objects]


def choose_sequences(truth: Sequences, root: Path, sequences: str | None, split: str | None) -> Sequences:
    """Return ground truth of the sequences that are asked for alone.

    Args:
        truth: All of them.
        root: The folder that was given, in which the data set's lists of splits lie.
        sequences: A file with a name a line (DAVIS' lists too), or names with commas between; None for all.
        split: A list of the data set: ``val`` is ``ImageSets/2017/val.txt`` or the like.

    Raises:
        PredictionError: No such list, or a name that the ground truth has not.
    """
    if sequences is None and split is None:
        return truth
    if sequences is not None and split is not None:
        raise PredictionError("sequences are chosen twice", fix="give one of --sequences and --split")
    if split is not None:
        path = None if "/" in split else _list_of_split(root, split)
        if path is None:
            raise PredictionError(f"no list of split '{split}'", where=root, expected=f"ImageSets/2017/{split}.txt")
        names = listed_names(path, error=PredictionError)
    elif sequences is not None and _is_file(sequences):
        names = listed_names(Path(sequences), error=PredictionError)
    else:
        names = [name.strip() for name in str(sequences).split(",")]
    chosen = tuple(dict.fromkeys(name for name in names if name))
    for name in chosen:
        if name not in truth.names:
            raise PredictionError(
                f"the ground truth has no sequence '{name}'", where=truth.root, fix=did_you_mean(name, truth.names)
            )
    if not chosen:
        raise PredictionError("no sequence is chosen", where=root, expected="a name at least")
    return Sequences(truth.root, tuple(sorted(chosen)))


def _list_of_split(root: Path, split: str) -> Path | None:
    """Return a data set's list of a split, of the latest year where there are several."""
    folders_of_lists = [*sorted(root.glob("ImageSets/*"), reverse=True), root]
    return next((path for folder in folders_of_lists if (path := folder / f"{split}.txt").is_file()), None)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # names with commas between are longer than a path may be
        return False


def check_sequences(
    truth: Sequences, predictions: Predictions, protocol: Protocol, *, objects: Objects, chosen: bool = False
) -> tuple[list[SequenceTask], list[str]]:
    """Compare what is predicted with the ground truth before anything is scored.

    Args:
        truth: What is scored.
        predictions: The masks.
        protocol: Which frames count.
        objects: Which ids count.
        chosen: Whether the sequences were chosen: others may be predicted then.

    Returns:
        What is to be scored, and lines that a user should see.

    Raises:
        PredictionError: Sequences or frames are missing or unknown, or a mask is seen at once to be none.
        MaskError: A mask of the ground truth is broken.
    """
    check_names(truth.names, predictions, "sequence", others=chosen)
    tasks = []
    later: list[str] = []
    unscored: list[str] = []
    for name in truth.names:
        stems = truth.frames(name)
        frames = _matched(truth, predictions, protocol, name, stems)
        truth_binary = _is_binary(truth, name, stems)
        predicted_binary = predictions.is_binary(name, [stem for _, stem in frames])
        ids = _ids(truth, name, stems[:1], truth_binary)
        if objects == "all":
            ids |= _ids(truth, name, [stem for stem, _ in frames], truth_binary)
        elif not ids:
            later.append(name)
        unscored += [name] if len(predictions.frames(name)) > len(stems) else []
        tasks.append(SequenceTask(name, frames, tuple(sorted(ids)), truth_binary, predicted_binary))
    return tasks, _notes(tasks, objects, later, unscored)


def _notes(tasks: Sequence[SequenceTask], objects: Objects, later: list[str], unscored: list[str]) -> list[str]:
    counts: dict[int, list[str]] = {}
    for task in tasks:
        counts.setdefault(len(task.objects), []).append(task.name)
    if not any(task.objects for task in tasks):
        raise PredictionError(
            "no first frame of the ground truth shows an object" if objects == "first-frame" else "nothing is shown",
            expected="an id above 0",
            fix="score all ids with --objects all" if objects == "first-frame" else "",
        )
    total = sum(len(task.objects) for task in tasks)
    sizes = "; ".join(f"{count} each in {name_some(names)}" for count, names in sorted(counts.items()))
    notes = [f"{total} objects ({'of first frames' if objects == 'first-frame' else 'of all frames'}): {sizes}"]
    if later:
        notes.append(f"nothing on the first frame of {name_some(later)}: not scored; --objects all scores it")
    for side, names in (
        ("ground truth", [task.name for task in tasks if task.truth_binary]),
        ("predictions", [task.name for task in tasks if task.predicted_binary]),
    ):
        if names:
            notes.append(f"{side}: masks of 0 and 255 are read as one object, in {name_some(names)}")
    if unscored:
        notes.append(f"predicted frames without ground truth are not scored, in {name_some(unscored)}")
    return notes


def _matched(
    truth: Sequences, predictions: Predictions, protocol: Protocol, name: str, stems: list[str]
) -> tuple[tuple[str, str], ...]:
    """Return the stems of each scored frame in the ground truth and in the predictions."""
    scored = [stems[index] for index in protocol.frames(len(stems))]
    predicted = predictions.frames(name)
    where = f"{predictions.where}/{name}"
    pairs = match_stems(stems, predicted)
    missing = [stem for stem in scored if stem not in pairs]
    unknown = sorted(set(predicted) - set(pairs.values()), key=natural)
    if len(pairs) < len(stems) == len(predicted) and all(stem.isdigit() for stem in unknown):
        raise PredictionError(
            f"as many frames as in the ground truth, but of other numbers: {name_some(unknown)}",
            where=where,
            expected=f"{stems[0]} to {stems[-1]}",
            fix="rename them so that a number means one frame in both",
        )
    if missing:
        raise PredictionError(
            f"{len(missing)} of {len(scored)} frames are missing: {name_some(missing)}",
            where=where,
            expected="" if predicted else ".png files",
        )
    if unknown and not _between(unknown, stems):
        raise PredictionError(
            f"{len(unknown)} frames are not in the ground truth: {name_some(unknown)}", where=where, fix="take them out"
        )
    if not scored:
        raise PredictionError(
            f"protocol '{protocol.name}' leaves none of {len(stems)} frames",
            where=truth.root / name,
            expected="three frames or more",
        )
    for stem in scored:
        described, size = read_header(truth.path(name, stem)), predictions.size(name, pairs[stem])
        if size is not None and described is not None and size != described[:2]:
            raise other_size(size, described[:2], predictions.path(name, pairs[stem]))
    return tuple((stem, pairs[stem]) for stem in scored)


def _between(unknown: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether frames without ground truth lie between, or just after, those of a sparsely annotated sequence."""
    if not all(stem.isascii() and stem.isdigit() for stem in (*unknown, *stems)):
        return False
    numbers = sorted(map(int, stems))
    step = max((after - before for before, after in pairwise(numbers)), default=1)
    return step > 1 and all(numbers[0] - step < int(stem) < numbers[-1] + step for stem in unknown)


def _is_binary(truth: Sequences, name: str, stems: Sequence[str]) -> bool:
    for stem in stems:
        labels = read_mask(truth.path(name, stem))
        if labels.any():
            return is_binary(labels, read_header(truth.path(name, stem)))
    return False


def _to_objects(labels: np.ndarray, *, binary: bool, where: str | Path) -> np.ndarray:
    """Return label values as object ids, (H, W) uint8: 255 is object 1 of binary masks, and void, as 0, of others.

    Raises:
        MaskError: A binary mask holds another value.
    """
    if labels.max(initial=0) < 255 and not binary:
        return labels
    if not binary:
        return np.where(labels == 255, np.uint8(0), labels)
    other = labels[(labels != 0) & (labels != 255)]
    if other.size:
        raise MaskError(
            f"mask holds the value {int(other[0])}", where=where, expected="0 and 255, as the frames before it"
        )
    return (labels != 0).view(np.uint8)


def _ids(truth: Sequences, name: str, stems: Iterable[str], binary: bool) -> set[int]:
    """Return the object ids that some frames of the ground truth hold."""
    ids: set[int] = set()
    for stem in stems:
        path = truth.path(name, stem)
        labels = _to_objects(read_mask(path), binary=binary, where=path)
        # A comparison for each id that is not known yet is quicker than a histogram.
        ids |= {number for number in range(1, int(labels.max(initial=0)) + 1) if number not in ids and number in labels}
    return ids


def _frames(truth: Sequences, predictions: Predictions, task: SequenceTask) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the object ids of each scored frame: predicted, and of the ground truth."""
    known = np.zeros(256, bool)
    known[[0, *task.objects]] = True
    for stem, predicted_stem in task.frames:
        path = truth.path(task.name, stem)
        labels = _to_objects(read_mask(path), binary=task.truth_binary, where=path)
        where = predictions.path(task.name, predicted_stem)
        predicted = fit_size(predictions.load(task.name, predicted_stem), labels.shape, where)
        predicted = _to_objects(predicted, binary=task.predicted_binary, where=where)
        if not known[: int(predicted.max(initial=0)) + 1].all() and not known[predicted].all():
            odd = int(predicted[~known[predicted]][0])
            raise PredictionError(
                f"mask holds the id {odd}", where=where, expected=f"0, {', '.join(map(str, task.objects))}"
            )
        yield predicted, labels


def score_sequences(truth: Sequences, predictions: Predictions, task: SequenceTask) -> Scored:
    """Score all objects of one sequence, in one scan of each frame."""
    if not task.objects:
        return []
    scores = [VideoScore() for _ in task.objects]
    for predicted, labels in _frames(truth, predictions, task):
        j, f = jf_labels(predicted, labels, list(task.objects))
        for index, number in enumerate(task.objects):
            visible = bool((labels == number).any())
            absent = None if visible else not (predicted == number).any()
            scores[index].add(float(j[index]), float(f[index]), visible=visible, absent_correct=absent)
    out: Scored = []
    for name, number, score in zip(task.ids, task.objects, scores):
        j, f = score.values()
        record = {"id": name, "video": task.name, "object": number, "frames": len(score), **score.summary()}
        out.append((record, {"J": j, "F": f}))
    return out
