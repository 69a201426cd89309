"""A run opened for pictures: its records, its benchmark, and its masks where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark, Episode, load_benchmark
from icvos.errors import PredictionError, RunError, UsageError, did_you_mean
from icvos.evaluation.predictions import FolderPredictions, Predictions, open_predictions
from icvos.protocols import PROTOCOLS, Protocol
from icvos.runs.records import RunFolder, read_result, read_run
from icvos.runs.schema import check_form
from icvos.runs.undrawn import Undrawn, undrawn_of
from icvos.view import View

__all__ = ["ReportRun", "Shown", "half_sum", "open_run", "score_of"]


def half_sum(j: float | None, f: float | None) -> float | None:
    """Return J&F, or None where one is missing."""
    return None if j is None or f is None else (j + f) / 2


def score_of(record: Mapping[str, Any]) -> float:
    """Return an episode's score, percent: J&F, or the IoU of an image; 0 if it failed."""
    if record.get("error"):
        return 0.0
    if record.get("union_fg") is not None:
        return 100.0 * record["inter_fg"] / record["union_fg"] if record["union_fg"] else 100.0
    return half_sum(record.get("J"), record.get("F")) or 0.0


@dataclass(frozen=True)
class Shown:
    """A frame to draw: (H, W, 3) uint8 RGB, and (H, W) bool of its own size."""

    frame: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    ignore: np.ndarray | None = None


@dataclass(frozen=True)
class ReportRun:
    """A run.

    Attributes:
        root: Its folder.
        run, result: ``run.json`` and ``result.json``.
        records: Records by id, sorted.
        benchmark: What it ran on, or None where its folder is gone.
        masks: The predicted masks, or None.
        protocol: Of the run.
        missing: Why there are no pictures, or "".
    """

    root: Path
    run: Mapping[str, Any]
    result: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]
    benchmark: Benchmark | None
    masks: Predictions | None
    protocol: Protocol
    missing: str = ""

    @property
    def title(self) -> str:
        """Model, benchmark, protocol."""
        model, benchmark = self.result["model"], self.result["benchmark"]
        version = f" {benchmark['version']}" if benchmark.get("version") else ""
        told = f", oracle {self.oracle}: told its ground truth" if self.oracle else ""
        return (
            f"{model['name']} {model['version']} on {benchmark['name']}{version}, protocol {self.protocol.name}{told}"
        )

    @property
    def oracle(self) -> str:
        """What the model was told (``first-frame``), or ""."""
        return str(self.result["protocol"].get("oracle") or "")

    @property
    def image(self) -> bool:
        """Whether it is of few-shot images."""
        return self.protocol.kind == "image"

    @property
    def undrawn(self) -> Undrawn | None:
        """What the result says of few-shot categories that no episode drew; None on videos."""
        return undrawn_of(self.result)

    @cached_property
    def _view(self) -> View | None:
        # Pictures have the size of the stored frames, whatever the protocol's.
        return None if self.benchmark is None else View(self.benchmark)

    def episode(self, name: str) -> Episode:
        """Return an episode of the benchmark, of the run's protocol where the benchmark holds several."""
        if self.benchmark is None:
            raise RunError(self.missing, where=self.root)
        found = self._episodes().get(name)
        if found is None:
            raise UsageError(f"no episode '{name}' in this run", fix=did_you_mean(name, self.records))
        return found

    def _episodes(self) -> Mapping[str, Episode]:
        if self.benchmark is None:
            return {}
        fits = (None, self.protocol.name)
        return {e.id: e for e in self.benchmark.episodes if e.protocol in fits and e.id in self.records}

    def frame_count(self, episode: Episode) -> int:
        """Return how many frames of an episode were scored."""
        if self.image or self.benchmark is None:
            return 1
        return int(self.records[episode.id].get("frames") or 0)

    def supports(self, episode: Episode) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the supports shown, image and mask; with an oracle frame 0 and its ground truth."""
        if self._view is None:
            return []
        if self.oracle:
            truth = self._view.truth(episode.video, episode.category)[0]
            return [(self._view.video(episode.video)[0], truth)] if truth.any() else []
        shots = self.result["protocol"].get("shots") or 1
        return [(s.image, s.mask) for s in self._view.supports(episode, shots)]

    def shown(self, episode: Episode, index: int) -> Shown:
        """Return a frame with ground truth and prediction, at the ground truth's size.

        Raises:
            MaskError, PredictionError: The mask is missing or broken.
        """
        if self._view is None or self.masks is None:
            raise RunError(self.missing, where=self.root)
        ignore = None
        if self.image:
            frame, truth, ignore = self._view.query(episode)
        else:
            frame = self._view.video(episode.video)[index]
            truth = self._view.truth(episode.video, episode.category)[index]
        labels = self.masks.load(episode.id, f"{index:05d}")
        return Shown(frame, truth, _sized(labels != 0, truth.shape), ignore)


def _sized(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring a mask that was saved at the protocol's size (or is empty, from run lengths) to the frame's."""
    import cv2

    if mask.size == 0:
        return np.zeros(shape, bool)
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) > 0


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
    run, result = read_run(root), read_result(root)
    records = RunFolder(Path(root), run).records()
    check_form(run, result, records.values(), Path(root))
    name = result["protocol"].get("name")
    if name not in PROTOCOLS:
        raise RunError(f"the run's protocol is '{name}'", where=root, fix="use the icvos that made it")
    rule = PROTOCOLS[name]
    opened, missing = None, ""
    place = benchmark or run.get("environment", {}).get("benchmark_folder")
    if rule.kind == "sequence":
        missing = "label maps scored without a benchmark have no pictures"
    elif place is None or not Path(place).is_dir():
        missing = f"the benchmark is not at {place}; --benchmark says where it is" if place else "give --benchmark"
        if benchmark is not None:
            raise UsageError("benchmark not found", where=benchmark)
    else:
        opened = load_benchmark(place)
        if opened.manifest_sha256 != result["benchmark"].get("manifest_sha256"):
            raise UsageError("the run is of another benchmark", where=place, fix="--benchmark says where its own is")
    given: Predictions | None = None
    if masks is not None:
        given = open_predictions(masks)
        if not set(given.names()) & set(records):
            raise PredictionError("no mask is of this run's episodes", where=masks, expected="EPISODE/00000.png")
    elif (Path(root) / "masks").is_dir():
        given = FolderPredictions(Path(root) / "masks")
    elif not missing:
        missing = "the run has no masks; icvos evaluate --save-masks keeps them, or give --masks"
    ordered = {key: records[key] for key in sorted(records)}
    return ReportRun(Path(root), run, result, ordered, opened, given, rule, missing)
