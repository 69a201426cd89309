"""Scoring of predicted masks against ground truth in folders of sequences, without a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icvos.errors import PredictionError
from icvos.evaluation.predictions import Predictions, Scored, check_names, first_names, mask_of_shape, size_error
from icvos.listing import files_by_stem, folders, path_of_stem
from icvos.masks import read_mask, stored_size
from icvos.metrics import VideoScore, jf_labels
from icvos.protocols import Protocol

__all__ = ["Sequences", "check_sequences", "score_sequences"]


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
        """Return a sequence's frame stems, sorted."""
        return list(files_by_stem(self.root / name, (".png",), error=PredictionError))

    def labels(self, name: str, frame: str) -> np.ndarray:
        """Return (H, W) uint8 object ids; void (255) is background, as the official code has it."""
        labels = read_mask(path_of_stem(self.root / name, frame, ".png"))
        return np.where(labels == 255, np.uint8(0), labels) if labels.max(initial=0) == 255 else labels

    def size(self, name: str, frame: str) -> tuple[int, int] | None:
        """Return (H, W) from a frame's header, or None where it has none (reading it says what is wrong)."""
        return stored_size(path_of_stem(self.root / name, frame, ".png"))

    def objects(self, name: str) -> int:
        """Return the number of objects: the largest id of the first frame."""
        frames = self.frames(name)
        if not frames:
            raise PredictionError("a sequence has no frame", where=self.root / name, expected="FRAME.png")
        return int(self.labels(name, frames[0]).max(initial=0))


def check_sequences(truth: Sequences, predictions: Predictions, protocol: Protocol) -> list[str]:
    """Compare what is predicted with what is asked before anything is scored; returns the ids of all objects.

    Raises:
        PredictionError: Sequences or frames are missing or unknown, or a mask is seen at once to be none.
    """
    check_names(truth.names, predictions, "sequence")
    ids = []
    for name in truth.names:
        frames = truth.frames(name)
        predicted = set(predictions.frames(name))
        scored = [frames[i] for i in protocol.frames(len(frames))]
        missing = [frame for frame in scored if frame not in predicted]
        if missing:
            raise PredictionError(
                f"{len(missing)} of {len(scored)} frames are missing: {first_names(missing)}",
                where=f"{predictions.where}/{name}",
            )
        unknown = sorted(predicted - set(frames))
        if unknown:
            raise PredictionError(
                f"{len(unknown)} frames are not in the ground truth: {first_names(unknown)}",
                where=f"{predictions.where}/{name}",
            )
        if not scored:
            raise PredictionError(
                f"protocol '{protocol.name}' leaves none of {len(frames)} frames",
                where=truth.root / name,
                expected="three frames or more",
            )
        for frame in scored:
            size, truth_size = predictions.size(name, frame), truth.size(name, frame)
            if size is not None and truth_size is not None and size != truth_size:
                raise size_error(size, truth_size, predictions.place(name, frame))
        objects = truth.objects(name)
        if objects == 0:
            raise PredictionError("the first frame of the ground truth shows no object", where=truth.root / name)
        ids += [f"{name}__{number}" for number in range(1, objects + 1)]
    return ids


def score_sequences(truth: Sequences, predictions: Predictions, protocol: Protocol, name: str) -> Scored:
    """Score all objects of one sequence, in one scan of each frame."""
    frames = truth.frames(name)
    objects = list(range(1, truth.objects(name) + 1))
    scores = [VideoScore() for _ in objects]
    for index in protocol.frames(len(frames)):
        labels = truth.labels(name, frames[index])
        predicted = predictions.load(name, frames[index])
        path = predictions.place(name, frames[index])
        predicted = mask_of_shape(predicted, labels.shape, path)
        if predicted.max(initial=0) == 255:
            predicted = np.where(predicted == 255, np.uint8(0), predicted)
        top = int(predicted.max(initial=0))
        if top > len(objects):
            raise PredictionError(f"mask holds the id {top}", where=path, expected=f"0 to {len(objects)}")
        j, f = jf_labels(predicted, labels, objects)
        for index_of_object, number in enumerate(objects):
            visible = bool((labels == number).any())
            absent = None if visible else not (predicted == number).any()
            scores[index_of_object].add(
                float(j[index_of_object]), float(f[index_of_object]), visible=visible, absent_correct=absent
            )
    out: Scored = []
    for number, score in zip(objects, scores):
        j, f = score.values()
        record = {"id": f"{name}__{number}", "video": name, "object": number, "frames": len(score), **score.summary()}
        out.append((record, {"J": j, "F": f}))
    return out
