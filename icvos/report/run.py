"""A run opened for pictures: its records, its benchmark, and its masks where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.errors import PredictionError, RunError, UsageError, did_you_mean
from icvos.evaluation.predictions import FolderPredictions, Predictions, open_predictions
from icvos.listing import match_stems
from icvos.protocols import PROTOCOLS
from icvos.runs.run import Run, score_of
from icvos.view import Frames, View

__all__ = ["FrameMasks", "ReportRun", "open_run", "score_of"]


@dataclass(frozen=True)
class FrameMasks:
    """A frame to draw: (H, W, 3) uint8 RGB, and (H, W) bool of its own size."""

    frame: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    ignore: np.ndarray | None = None


@dataclass(frozen=True)
class _Material:
    """Pictures and ground truths of an episode by frame, where to ignore (of images), and their size (H, W)."""

    pictures: Sequence[np.ndarray] | Frames
    truths: Sequence[np.ndarray] | Frames
    ignore: np.ndarray | None
    size: tuple[int, int]


@dataclass(frozen=True)
class ReportRun(Run):
    """A run with what its pictures are drawn from.

    Attributes:
        benchmark: What it ran on, or None where its folder is gone.
        masks: The predicted masks, or None.
        missing: Why there are no pictures, or "".
    """

    benchmark: Benchmark | None = None
    masks: Predictions | None = None
    missing: str = ""

    @property
    def title(self) -> str:
        """Model, benchmark, protocol."""
        model, benchmark = self.result["model"], self.result["benchmark"]
        version = f" {benchmark['version']}" if benchmark.get("version") else ""
        oracle = f", oracle {self.oracle}: told its ground truth" if self.oracle else ""
        oracle = f", {self.shown}" if self.vos else oracle
        return f"{model['name']} {model['version']} on {benchmark['name']}{version}, protocol {self.protocol}{oracle}"

    @cached_property
    def _view(self) -> View | None:
        # Pictures have the size of the stored frames, whatever the protocol's.
        return None if self.benchmark is None else View(self.benchmark)

    def episode(self, name: str) -> Episode:
        """Return an episode of the benchmark, of the run's protocol where the benchmark holds several."""
        if self.benchmark is None:
            raise RunError(self.missing, where=self.where)
        episode = self._episodes.get(name)
        if episode is None:
            raise UsageError(f"no episode '{name}' in this run", fix=did_you_mean(name, self.by_id))
        return episode

    @cached_property
    def _episodes(self) -> Mapping[str, Episode]:
        if self.benchmark is None:
            return {}
        fits = (None, self.protocol)
        return {e.id: e for e in self.benchmark.episodes if e.protocol in fits and e.id in self.by_id}

    def frame_count(self, episode: Episode) -> int:
        """Return how many frames of an episode were scored."""
        if self.image or self.benchmark is None:
            return 1
        return int(self.by_id[episode.id].get("frames") or 0)

    def scored_frames(self, episode: Episode) -> range:
        """Return which frames of an episode were scored."""
        first = 0 if self.image else self.first_frame
        return range(first, first + self.frame_count(episode))

    def _material(self, episode: Episode) -> _Material:
        """Return what an episode's pictures are made of; kept of the last one alone, as many names take memory."""
        if self._view is None:
            raise RunError(self.missing, where=self.where)
        if episode.id not in self._opened:
            self._opened.clear()
            if self.image:
                picture, truth, ignore = self._view.query(episode)
                material = _Material([picture], [truth], ignore, (truth.shape[0], truth.shape[1]))
            else:
                frames, truths = self._view.video(episode.video), self._view.truth(episode.video, episode.category)
                material = _Material(frames, truths, None, frames.size)
            self._opened[episode.id] = material
        return self._opened[episode.id]

    def _stems(self, episode: Episode, masks: Predictions) -> Mapping[str, str]:
        if episode.id not in self._listed:
            self._listed.clear()
            wanted = [f"{index:05d}" for index in self.scored_frames(episode)]
            self._listed[episode.id] = match_stems(wanted, masks.frames(episode.id))
        return self._listed[episode.id]

    @cached_property
    def _opened(self) -> dict[str, _Material]:
        return {}

    @cached_property
    def _listed(self) -> dict[str, Mapping[str, str]]:
        return {}

    def named_supports(self, episode: Episode) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return the supports shown: what each is called, image and mask; with an oracle frame 0 and its truth."""
        if self._view is None:
            return []
        if self.oracle:
            truth = self.truth(episode, 0)[0]
            return [("frame 0, told", self.picture(episode, 0), truth)] if truth.any() else []
        shots = self.result["protocol"].get("shots") or 1
        supports = self._view.supports(episode, shots)
        return [
            (f"{name} {episode.category}", support.image, support.mask)
            for name, support in zip(episode.supports, supports, strict=False)
        ]

    def supports(self, episode: Episode) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the supports shown, image and mask."""
        return [(image, mask) for _, image, mask in self.named_supports(episode)]

    def frame_size(self, episode: Episode) -> tuple[int, int]:
        """Return (H, W) of an episode's frames as they are stored."""
        return self._material(episode).size

    def picture(self, episode: Episode, index: int) -> np.ndarray:
        """Return a frame, or the query, (H, W, 3) uint8 RGB."""
        return self._material(episode).pictures[index]

    def truth(self, episode: Episode, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the ground truth of a frame, (H, W) bool, and of an image where nothing is scored."""
        material = self._material(episode)
        return material.truths[index], material.ignore

    def predicted(self, episode: Episode, index: int) -> np.ndarray:
        """Return the mask of a frame, (H, W) bool, at the ground truth's size.

        Raises:
            MaskError, PredictionError: The mask is missing or broken.
        """
        if self.masks is None:
            raise RunError(self.missing, where=self.where)
        stem = f"{index:05d}"
        labels = self.masks.load(episode.id, self._stems(episode, self.masks).get(stem, stem))
        return self._sized(labels != 0, self.frame_size(episode))

    def frame_masks(self, episode: Episode, index: int) -> FrameMasks:
        """Return a frame with ground truth and prediction, at the ground truth's size.

        Raises:
            MaskError, PredictionError: The mask is missing or broken.
        """
        truth, ignore = self.truth(episode, index)
        return FrameMasks(self.picture(episode, index), truth, self.predicted(episode, index), ignore)

    def _sized(self, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Bring a mask that was saved at the protocol's size (or is empty, from run lengths) to the frame's."""
        if mask.size == 0:
            return np.zeros(shape, bool)
        return mask if mask.shape == shape else self.rules.resizing.back(mask, (shape[0], shape[1]))


def open_run(root: Path, *, benchmark: Path | None = None, masks: Path | None = None) -> ReportRun:
    """Open a finished run for its pictures.

    Args:
        root: The run's folder.
        benchmark: Folder of its benchmark; where the run says it was, if None.
        masks: A folder, zip or JSON of its masks; ``root/masks`` if None.

    Raises:
        RunError: No finished run.
        UsageError: The benchmark is another one.
    """
    run = Run.open(root)
    if run.protocol not in PROTOCOLS:
        raise RunError(f"the run's protocol is '{run.protocol}'", where=root, fix="use the icvos that made it")
    opened, missing = None, ""
    folder = benchmark or run.run.get("environment", {}).get("benchmark_folder")
    if PROTOCOLS[run.protocol].kind == "sequence" and not run.vos:
        missing = "label maps scored without a benchmark have no pictures"
    elif folder is None or not Path(str(folder)).is_dir():
        missing = f"the benchmark is not at {folder}; --benchmark says where it is" if folder else "give --benchmark"
        if benchmark is not None:
            raise UsageError("benchmark not found", where=benchmark)
    else:
        opened = load_benchmark(folder)
        if opened.manifest_sha256 != run.result["benchmark"].get("manifest_sha256"):
            raise UsageError("the run is of another benchmark", where=folder, fix="--benchmark says where its own is")
    predictions: Predictions | None = None
    if masks is not None:
        predictions = open_predictions(masks)
        if not set(predictions.names()) & set(run.by_id):
            raise PredictionError("no mask is of this run's episodes", where=masks, expected="EPISODE/00000.png")
    elif (Path(root) / "masks").is_dir():
        predictions = FolderPredictions(Path(root) / "masks")
    elif not missing:
        missing = "the run has no masks; icvos evaluate --save-masks keeps them, or give --masks"
    parts = {field.name: getattr(run, field.name) for field in fields(run)}
    return ReportRun(**parts, benchmark=opened, masks=predictions, missing=missing)
