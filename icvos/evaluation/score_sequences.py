"""Scoring of predicted masks against ground truth in folders of sequences, without a benchmark."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from icvos.errors import MaskError, PredictionError, are, counted, did_you_mean
from icvos.evaluation.predictions import (
    Predictions,
    Scored,
    check_names,
    fit_size,
    name_some,
    other_numbers,
    other_size,
)
from icvos.files import escape_id
from icvos.listing import files_by_stem, folders, listed_names, match_stems, names_of, natural, path_of_stem
from icvos.masks import Header, is_0_or_255, is_grey, read_header, read_mask
from icvos.metrics import VideoScore
from icvos.protocols import Objects, Protocol
from icvos.sources.lvos import read_spans

__all__ = ["Objects", "SequenceTask", "Sequences", "check_sequences", "choose_sequences", "score_sequences"]


@dataclass(frozen=True)
class Sequences:
    """Ground truth as folders of label PNGs: ``<root>/<sequence>/<frame>.png``; DAVIS' own root is seen through.

    Attributes:
        root: The folder of sequences.
        names: Sequences, sorted.
        given: The folder that was given, in which the data set's own files lie.
    """

    root: Path
    names: tuple[str, ...]
    given: Path

    @classmethod
    def open(cls, root: Path) -> Sequences:
        """Open a folder.

        Raises:
            PredictionError: Missing or empty.
        """
        root = given = Path(root)
        if not root.is_dir():
            raise PredictionError("ground truth not found", where=root, expected="a folder of SEQUENCE/FRAME.png")
        for inner in ("Annotations/480p", "Annotations/Full-Resolution", "Annotations"):
            if (root / inner).is_dir():
                root = root / inner
                break
        names = folders(root)
        if not names:
            raise PredictionError("ground truth holds no sequence", where=root, expected="SEQUENCE/FRAME.png")
        return cls(root, tuple(names), given)

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

    def objects(self, name: str, frame: str, reading: Reading) -> np.ndarray:
        """Return the object ids of a frame, (H, W) uint8.

        Raises:
            MaskError: It is broken, or contradicts the frames before it.
        """
        path = self.path(name, frame)
        return _to_objects(read_mask(path), reading, partial(read_header, path), where=path)


Reading = Literal["ids", "binary", "void"]
"""What the first mask of a sequence that is not empty says of 255. ``binary``: grey, of 0 and 255 alone, so that 255 is
the one object. ``void``: the same with a palette, where 255 is void. ``ids``: it holds ids, and 255 is void."""


@dataclass(frozen=True)
class SequenceTask:
    """What is scored of one sequence.

    Attributes:
        name: The sequence.
        frames: Stems of each scored frame: of the ground truth, and of the prediction.
        objects: Ids that are scored.
        rule: Which ids those are.
        truth, predicted: What 255 is there.
        ranges: Of each object, which of ``frames`` are its own.
    """

    name: str
    frames: tuple[tuple[str, str], ...]
    objects: tuple[int, ...]
    rule: Objects
    truth: Reading
    predicted: Reading
    ranges: tuple[range, ...]

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
    else:
        names = names_of(str(sequences), error=PredictionError)
    forms = {unicodedata.normalize("NFC", name): name for name in truth.names}
    names = [name if name in truth.names else forms.get(unicodedata.normalize("NFC", name), name) for name in names]
    chosen = tuple(dict.fromkeys(name for name in names if name))
    for name in chosen:
        if name not in truth.names:
            raise PredictionError(
                f"the ground truth has no sequence '{name}'", where=truth.root, fix=did_you_mean(name, truth.names)
            )
    if not chosen:
        raise PredictionError("no sequence is chosen", where=root, expected="a name at least")
    return Sequences(truth.root, tuple(sorted(chosen)), truth.given)


def _list_of_split(root: Path, split: str) -> Path | None:
    """Return a data set's list of a split, of the latest year where there are several."""
    years = sorted(root.glob("ImageSets/*"), key=lambda path: (path.name.isdigit(), path.name), reverse=True)
    folders_of_lists = [*years, root]
    return next((path for folder in folders_of_lists if (path := folder / f"{split}.txt").is_file()), None)


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
    spans = (read_spans(truth.given) if protocol.own_range else None) or {}
    later: list[str] = []
    unscored: list[str] = []
    for name in truth.names:
        stems = truth.frames(name)
        frames = _matched(truth, predictions, protocol, name, stems)
        paths = (truth.path(name, stem) for stem in stems)
        reading = _reading((read_mask(path), partial(read_header, path)) for path in paths)
        predicted = _reading(
            (predictions.load(name, stem), partial(predictions.header, name, stem)) for _, stem in frames
        )
        ids = _ids(truth, name, stems[:1], reading)
        if objects == "all":
            ids |= _ids(truth, name, stems, reading)
        elif objects == "up-to-largest":
            ids = set(range(1, max(ids, default=0) + 1))
        later += [name] if objects != "all" and not ids else []
        unscored += [name] if len(predictions.frames(name)) > len(stems) else []
        numbers = tuple(sorted(ids))
        if protocol.own_range:
            own = _own_ranges(truth, name, stems, numbers, reading, spans.get(name, {}))
        else:
            own = [range(len(stems))] * len(numbers)
        ranges = tuple(_of_frames(each, protocol, frames, stems) for each in own)
        for number, scored in zip(numbers, ranges):
            if not scored:
                raise PredictionError(
                    f"protocol '{protocol.name}' leaves none of the frames of object {number}",
                    where=truth.root / name,
                    expected="three frames or more of each object",
                )
        tasks.append(SequenceTask(name, frames, numbers, objects, reading, predicted, ranges))
    return tasks, _notes(tasks, objects, later, unscored)


def _own_ranges(
    truth: Sequences,
    name: str,
    stems: list[str],
    numbers: Sequence[int],
    reading: Reading,
    spans: Mapping[int, tuple[int, int]],
) -> list[range]:
    """Return each object's own frames: by the data set's file, else from where it is first seen to the end."""
    first: dict[int, int] = {}
    for index, stem in enumerate(stems):
        if len(first) == len(numbers):
            break
        labels = truth.objects(name, stem, reading)
        first |= {number: index for number in numbers if number not in first and number in labels}
    ranges = []
    for number in numbers:
        start, end = first.get(number, 0), len(stems)
        if number in spans:
            told = range(*spans[number])
            inside = [index for index, stem in enumerate(stems) if stem.isdigit() and int(stem) in told]
            start, end = (inside[0], inside[-1] + 1) if inside else (0, 0)
        ranges.append(range(start, end))
    return ranges


def _of_frames(own: range, protocol: Protocol, frames: Sequence[tuple[str, str]], stems: list[str]) -> range:
    """Return which of a task's frames are scored of an object whose own are ``own`` of all frames."""
    scored = [own[index] for index in protocol.frames(len(own))]
    if not scored:
        return range(0)
    offset = stems.index(frames[0][0])
    return range(scored[0] - offset, scored[-1] + 1 - offset)


def _notes(tasks: Sequence[SequenceTask], objects: Objects, later: list[str], unscored: list[str]) -> list[str]:
    counts: dict[int, list[str]] = {}
    for task in tasks:
        counts.setdefault(len(task.objects), []).append(task.name)
    if not any(task.objects for task in tasks):
        raise PredictionError(
            "nothing is shown" if objects == "all" else "no first frame of the ground truth shows an object",
            expected="an id above 0",
            fix=None if objects == "all" else "score all ids with --objects all",
        )
    total = sum(len(task.objects) for task in tasks)
    sizes = "; ".join(f"{count} each in {name_some(names)}" for count, names in sorted(counts.items()))
    notes = [f"{counted(total, 'objects')} ({'of all frames' if objects == 'all' else 'of first frames'}): {sizes}"]
    if later:
        notes.append(f"nothing on the first frame of {name_some(later)}: not scored; --objects all scores it")
    for side, readings in (
        ("ground truth", {task.name: task.truth for task in tasks}),
        ("predictions", {task.name: task.predicted for task in tasks}),
    ):
        for reading, means in (("binary", "are read as one object"), ("void", "have a palette, where 255 is void")):
            names = [name for name, each in readings.items() if each == reading]
            if names:
                notes.append(f"{side}: masks of 0 and 255 {means}, in {name_some(names)}")
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
        raise other_numbers(unknown, where, f"{stems[0]} to {stems[-1]}")
    if missing:
        raise PredictionError(
            f"{len(missing)} of {len(scored)} frames are missing: {name_some(missing)}",
            where=where,
            expected=None if predicted else ".png files",
        )
    if unknown and not _between(unknown, stems):
        raise PredictionError(
            f"{counted(len(unknown), 'frames')} {are(len(unknown))} not in the ground truth: {name_some(unknown)}",
            where=where,
            fix="take them out",
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
    parts = [re.fullmatch(r"(.*?)([0-9]{1,18})", stem, re.DOTALL) for stem in (*stems, *unknown)]
    if None in parts or len({part[1] for part in parts if part}) > 1:
        return False
    numbers = [int(part[2]) for part in parts if part]
    known, others = sorted(numbers[: len(stems)]), numbers[len(stems) :]
    if len(known) == 1:
        return True
    step = max(after - before for before, after in pairwise(known))
    return step > 1 and all(known[0] - step <= number <= known[-1] + step for number in others)


def _reading(masks: Iterable[tuple[np.ndarray, Callable[[], Header | None]]]) -> Reading:
    """Return what the first of some masks that is not empty says of 255; a mask comes with what reads its header."""
    for labels, described in masks:
        if labels.any():
            if not is_0_or_255(labels):
                return "ids"
            return "binary" if is_grey(described()) else "void"
    return "ids"


def _to_objects(
    labels: np.ndarray, reading: Reading, described: Callable[[], Header | None], *, where: str | Path
) -> np.ndarray:
    """Return label values as object ids, (H, W) uint8: 255 is object 1 of binary masks, and void, as 0, of others.

    Raises:
        MaskError: The mask contradicts the first that is not empty.
    """
    if reading != "binary":
        if labels.max(initial=0) < 255:
            return labels
        if is_0_or_255(labels) and is_grey(described()):
            raise MaskError("mask holds 0 and 255 alone", where=where, expected="object ids, as the frames before it")
        return np.where(labels == 255, np.uint8(0), labels)
    other = labels[(labels != 0) & (labels != 255)]
    if other.size:
        raise MaskError(
            f"mask holds the value {int(other[0])}", where=where, expected="0 and 255, as the frames before it"
        )
    return (labels != 0).view(np.uint8)


def _ids(truth: Sequences, name: str, stems: Iterable[str], reading: Reading) -> set[int]:
    """Return the object ids that some frames of the ground truth hold."""
    ids: set[int] = set()
    for stem in stems:
        labels = truth.objects(name, stem, reading)
        # A comparison for each id that is not known yet is quicker than a histogram.
        ids |= {number for number in range(1, int(labels.max(initial=0)) + 1) if number not in ids and number in labels}
    return ids


def _frames(
    truth: Sequences, predictions: Predictions, task: SequenceTask, other_ids: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the object ids of each scored frame: predicted, and of the ground truth."""
    known = np.zeros(256, bool)
    known[[0, *task.objects]] = True
    known |= other_ids == "background"
    for stem, predicted_stem in task.frames:
        labels = truth.objects(task.name, stem, task.truth)
        where = predictions.path(task.name, predicted_stem)
        predicted = fit_size(predictions.load(task.name, predicted_stem), labels.shape, where)
        described = partial(predictions.header, task.name, predicted_stem)
        predicted = _to_objects(predicted, task.predicted, described, where=where)
        if not known[: int(predicted.max(initial=0)) + 1].all() and not known[predicted].all():
            odd = int(predicted[~known[predicted]][0])
            raise PredictionError(
                f"mask holds the id {odd}",
                where=where,
                expected=f"0, {', '.join(map(str, task.objects))}",
                fix="" if task.rule == "all" else "--objects all scores ids that come after the first frame",
            )
        yield predicted, labels


def score_sequences(truth: Sequences, predictions: Predictions, task: SequenceTask, protocol: Protocol) -> Scored:
    """Score all objects of one sequence, in one scan of each frame."""
    if not task.objects:
        return []
    measure = protocol.measure
    scores = [VideoScore(measure.columns) for _ in task.objects]
    for place, (predicted, labels) in enumerate(_frames(truth, predictions, task, protocol.other_ids)):
        chosen = [index for index, own in enumerate(task.ranges) if place in own]
        columns = measure.of_labels(predicted, labels, [task.objects[index] for index in chosen])
        for index, *values in zip(chosen, *(column.tolist() for column in columns)):
            number = task.objects[index]
            visible = bool((labels == number).any())
            absent = None if visible else not (predicted == number).any()
            scores[index].add(*values, visible=visible, absent_correct=absent)
    out: Scored = []
    for name, number, score in zip(task.ids, task.objects, scores):
        record = {"id": name, "video": task.name, "object": number, "frames": len(score)}
        record |= {**protocol.marks(task.name), **protocol.episode(score.frames())}
        out.append((record, score.columns()))
    return out
