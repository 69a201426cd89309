"""One run, read and validated: its result with what ran, from a run folder or a board's record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icvos.benchmark import VOS
from icvos.errors import IcvosError, RunError, UsageError, counted, did_you_mean, name_some, printable
from icvos.metrics.formulas import FOLD_COUNTS
from icvos.metrics.table import METRICS, Kind, ranked_metric
from icvos.protocols import PROTOCOLS, Protocol, names_of_episode
from icvos.runs.records import RunFolder, read_frames, read_result, read_run
from icvos.runs.schema import (
    RECORD_SCHEMA,
    RESULT_SCHEMA,
    RUN_SCHEMA,
    TIMES,
    complete_result,
    has_run_parts,
    record_problem,
    validate,
)
from icvos.runs.shown_supports import support_notes
from icvos.runs.undrawn import Undrawn, undrawn_of

if TYPE_CHECKING:
    import pandas

__all__ = ["CHECKED", "TABLES", "Run", "find_runs", "score_of"]

# How far a row was checked, least first. "not added" is a run folder shown directly.
CHECKED = ("not added", "self-reported", "masks re-scored", "reproduced by maintainer")

TABLES = ("episode", "video", "category", "source", "draw", "fold")
"""What a run's figures are split by, where its kind has them."""

EPISODE_IOU = "IoU"
"""What the score of an image episode is called."""


def score_of(record: Mapping[str, Any], protocol: Protocol = PROTOCOLS["native"]) -> float:
    """Return an episode's score, percent: J&F, or the IoU of an image; 0 if it failed."""
    if record.get("error"):
        return 0.0
    if record.get("union_fg") is not None:
        return 100.0 * record["inter_fg"] / record["union_fg"] if record["union_fg"] else 100.0
    return protocol.score_of(record) or 0.0


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run; made by ``open`` or ``of_record``, which validate it.

    Attributes:
        run, result: ``run.json`` and ``result.json``.
        records: The episodes' records, in order of id.
        checked: One of ``CHECKED``.
        where: The run folder or the record's file.
        submitter: Who sent it, as a record says.
        folder: The run folder, where it is known beside the record.
    """

    run: Mapping[str, Any]
    result: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    checked: str
    where: Path
    submitter: str | None = field(default=None, kw_only=True)
    folder: Path | None = field(default=None, kw_only=True)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run folder.

        Raises:
            RunError: It is no finished run, or is damaged.
        """
        folder = Path(folder)
        run, result = read_run(folder), read_result(folder)
        records = dict(RunFolder(folder, run).records())
        validate(run, result, records.values(), folder)
        return cls(run, result, tuple(records[name] for name in sorted(records)), CHECKED[0], folder)

    @classmethod
    def of_record(cls, record: Mapping[str, Any], path: Path) -> Run:
        """Return the run that a board's record holds; whether it agrees with itself is judged elsewhere.

        Raises:
            RunError: A part is missing or of another form.
        """
        run, result, episodes = record.get("run"), record.get("result"), record.get("episodes")
        damaged = RunError("the record is damaged", where=path, expected=f"run, result, episodes as in {RECORD_SCHEMA}")
        if not isinstance(run, dict) or not isinstance(result, dict) or not isinstance(episodes, list):
            raise damaged
        whole = complete_result(result) if result.get("schema") == RESULT_SCHEMA else None
        checked = record.get("checked")
        if whole is None or run.get("schema") != RUN_SCHEMA or not has_run_parts(run) or checked not in CHECKED[1:]:
            raise damaged
        name = whole["protocol"].get("name")
        problem = next(filter(None, (record_problem(episode, name) for episode in episodes)), None)
        if problem is not None:
            raise RunError(problem, where=path)
        validate(run, whole, episodes, path)
        return cls(run, whole, tuple(episodes), str(checked), path, submitter=record.get("submitter"))

    @cached_property
    def by_id(self) -> Mapping[str, Mapping[str, Any]]:
        """The records by id."""
        return {record["id"]: record for record in self.records}

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.result["model"].get("name"))

    @property
    def version(self) -> str:
        """Version of the model."""
        return str(self.result["model"].get("version"))

    @property
    def label(self) -> str:
        """Name, version."""
        return f"{self.model} {self.version}"

    @property
    def name(self) -> str:
        """Name of the run, or ""."""
        name = self.run.get("name")
        return name if isinstance(name, str) else ""

    def __repr__(self) -> str:
        return f"<Run of {self.full_name} on {self.benchmark_name}, {self.score_name('episode')} {self.score:.2f}>"

    @property
    def full_name(self) -> str:
        """Name of the model, and of the run where it has one."""
        return f"{self.model} ({self.name})" if self.name else self.model

    @property
    def benchmark_name(self) -> str:
        """Name of the benchmark."""
        return str(self.result["benchmark"].get("name"))

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.result["protocol"].get("name"))

    @property
    def rules(self) -> Protocol:
        """The protocol; where icvos has none of its name, the usual one of its kind."""
        name = (self.result.get("protocol") or {}).get("name")
        image = (self.result.get("summary") or {}).get(ranked_metric("image").name) is not None
        return PROTOCOLS.get(str(name)) or PROTOCOLS["fss-native" if image else "native"]

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the videos and categories that the protocol counts as unseen, sorted."""
        names = self.run["key"].get("unseen")
        return tuple(sorted(map(str, names))) if isinstance(names, list) else ()

    @property
    def shots(self) -> int:
        """Supports shown."""
        shots = self.result["protocol"].get("shots")
        return shots if isinstance(shots, int) else 1

    @property
    def shown(self) -> str:
        """What the method is shown of what to segment: ``1-shot``, or the masks of frame 0."""
        return "frame 0's masks told" if self.vos else f"{self.shots}-shot"

    @property
    def image(self) -> bool:
        """Whether the benchmark is of few-shot images (mIoU) and not of videos (J&F)."""
        return self.rules.kind == "image"

    @property
    def kind(self) -> Kind:
        """Whose metrics its figures are."""
        return "image" if self.image else "video"

    @property
    def trainings(self) -> Mapping[str, Mapping[str, Any]]:
        """What its weights say of their training, by name: ``settings``, ``seed``, ``kept``; only those that do."""
        return self.run["model"].get("trainings") or {}

    @property
    def summary(self) -> Mapping[str, Any]:
        """Figures of the whole benchmark, percent."""
        return self.result["summary"]

    @property
    def undrawn(self) -> Undrawn | None:
        """What the result says of few-shot categories that no episode drew; None on videos."""
        return undrawn_of(self.result)

    @property
    def score(self) -> float:
        """What it is ranked by, percent: J&F, or mIoU; not a number if there is none."""
        value = self.summary[self.rules.score]
        return math.nan if value is None else float(value)

    def score_name(self, by: str) -> str:
        """Return what the score is called in ``rows(by)``: J&F, mIoU, or the IoU of an image."""
        return EPISODE_IOU if self.image and by == "episode" else self.rules.score_of_episode

    @property
    def fps(self) -> float | None:
        """Frames a second, or None."""
        return self._speed("fps")

    @property
    def fps_amortised(self) -> float | None:
        """Frames a second where a video's episodes shared one pass, or None."""
        return self._speed("fps_amortised")

    def _speed(self, name: str) -> float | None:
        value = self.run.get(name)
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None

    @property
    def oracle(self) -> str:
        """What the model was told (``first-frame``), or "". Such a run stands apart, and is never ranked but among its
        like on a benchmark of semi-supervised VOS."""
        said = self.result["protocol"].get("oracle") or self.run["key"].get("oracle")
        return str(said or ("first-frame" if "first-frame" in (self.run["model"].get("uses") or ()) else ""))

    @property
    def vos(self) -> bool:
        """Whether it is of a benchmark of semi-supervised VOS, where all methods are told frame 0's masks."""
        return self.run["benchmark"].get("task") == VOS

    @property
    def limited(self) -> bool:
        """Whether it covers a part of the benchmark: limited, of chosen episodes, or a shard."""
        protocol, key = self.result["protocol"], self.run["key"]
        return any((*(protocol.get(name) for name in ("limit_episodes", "limit_frames")), key.get("shard")))

    @property
    def notes_on_supports(self) -> tuple[str, ...]:
        """What a reader should know of the supports that it showed, a line each."""
        return () if self.oracle or self.limited else support_notes(self.run["benchmark"].get("supports"), self.shots)

    @property
    def misses_all(self) -> bool:
        """Whether no mask of any episode meets what is to be seen: all are empty, or elsewhere."""
        names = ("inter_fg",) if self.image else ("J_visible",)
        values = [record.get(name) for record in self.records for name in names if not record.get("error")]
        known = [value for value in values if value is not None]
        return bool(known) and not any(known)

    @property
    def group(self) -> tuple[str, str, str, str, int, bool, str]:
        """What rows must share to stand in one table: benchmark, its version and hash, protocol, shots, whether the
        figures are as their authors reported them, and the oracle. Reported and checked figures never stand in one
        column, nor do those of a model that was told ground truth."""
        benchmark = self.result["benchmark"]
        return (
            self.benchmark_name,
            str(benchmark.get("version")),
            str(benchmark.get("manifest_sha256")),
            self.protocol + (f", unseen {_sha256(self.unseen)[:8]}" if self.unseen else ""),
            self.shots,
            self.checked == "self-reported",
            self.oracle,
        )

    @property
    def not_ranked(self) -> tuple[str, ...]:
        """Why it stands in the table without a rank; empty if it is ranked."""
        protocol, reasons = self.result["protocol"], []
        if self.summary["failed"]:
            reasons.append(f"{self.summary['failed']} failed")
        if protocol.get("limit_episodes") or protocol.get("limit_frames"):
            reasons.append("limited")
        if self.oracle and not self.vos:
            reasons.append("an oracle")
        if self.run["key"].get("shard"):
            reasons.append("a shard")
        if self.run.get("status") not in ("complete", "failed"):
            reasons.append("unfinished")
        if math.isnan(self.score):
            reasons.append("no score")
        return tuple(reasons)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know beside the figures, a line each."""
        notes = []
        if self.misses_all:
            notes.append(f"{self.model}: no mask of any episode meets its ground truth; are they all empty?")
        if self.undrawn is not None:
            limit = self.result["protocol"].get("limit_episodes")
            limited = f"; the run is limited to {counted(limit, 'episodes')} and never ranked" if limit else ""
            notes.append(self.undrawn.text + limited)
        if self.unseen and not self.limited:
            names = set[str]().union(
                *(names_of_episode(str(r.get("video")), str(r.get("category_name") or "")) for r in self.records)
            )
            if strange := [name for name in self.unseen if name not in names]:
                notes.append(f"--unseen has names of no video and no category here: {name_some(strange)}")
        return (*notes, *self.notes_on_supports)

    def error_of(self, episode: str) -> str:
        """Return the first line of why an episode failed; "" if it did not."""
        return printable(str(self.by_id[episode].get("error") or "").partition("\n")[0])

    def rows(self, by: str) -> dict[str, dict[str, Any]]:
        """Return figures by name, percent, at full precision.

        Args:
            by: One of ``TABLES``: of each ``episode`` what its record holds, and its score after that (0 if it failed);
                else a table of ``result.json``.

        Raises:
            UsageError: The run's kind has no such figures, as few-shot images have none by video.
        """
        tables = {name: self.result.get(f"per_{name}") or {} for name in TABLES[1:]}
        tables[TABLES[0]] = {record["id"]: self._episode_row(record) for record in self.records}
        if not tables.get(by):
            known = [name for name in TABLES if tables[name]]
            raise UsageError(f"the run has no figures by {by}", where=self.where, expected=", ".join(known))
        return {name: dict(row) for name, row in tables[by].items()}

    def _episode_row(self, record: Mapping[str, Any]) -> dict[str, Any]:
        last, score = FOLD_COUNTS[-1] if self.image else self.rules.parts[-1], self.score_name("episode")
        row: dict[str, Any] = {}
        for name, value in record.items():
            row |= {name: value} if name != "id" else {}
            row |= {score: score_of(record, self.rules)} if name == last else {}
        return row

    def episodes(self) -> pandas.DataFrame:
        """Return a row for each episode, by id: what its record holds, and its score (J&F, or IoU), percent."""
        return self.frame("episode")

    def per_video(self) -> pandas.DataFrame:
        """Return the figures of each video, percent."""
        return self.frame("video")

    def per_category(self) -> pandas.DataFrame:
        """Return the figures of each category, percent."""
        return self.frame("category")

    def per_source(self) -> pandas.DataFrame:
        """Return the figures of each data set that the videos come from, percent."""
        return self.frame("source")

    def per_draw(self) -> pandas.DataFrame:
        """Return the figures of each draw of supports, percent."""
        return self.frame("draw")

    def per_fold(self) -> pandas.DataFrame:
        """Return the figures of each few-shot fold, percent."""
        return self.frame("fold")

    def frame(self, by: str = "episode") -> pandas.DataFrame:
        import pandas

        rows = self.rows(by)
        table = pandas.DataFrame(list(rows.values()), index=pandas.Index(list(rows), name=by))
        # A column in which no row has the figure would hold objects.
        return table.astype({name: float for name in table.columns if name in METRICS or name in TIMES})

    @property
    def first_frame(self) -> int:
        """Number of the first frame that is scored: ``davis-2017`` drops frame 0."""
        return int(self.rules.skip_ends)

    def frames(self, episode: str) -> pandas.DataFrame:
        """Return what is measured of each scored frame of an episode, J, F and J&F, percent.

        The index counts the frames of the ground truth from 0; under ``davis-2017`` the first and the last have no row.

        Raises:
            UsageError: No such episode, or the run is of images.
            RunError: The run does not hold the values, or they are broken.
        """
        if self.image:
            raise UsageError("episodes of few-shot images have no frames", where=self.where)
        if episode not in self.by_id:
            fix = did_you_mean(episode, self.by_id)
            raise UsageError(f"no episode '{episode}' in this run", where=self.where, fix=fix)
        values = read_frames(self.where, episode)
        if values is None:
            error = self.error_of(episode)
            fix = f"it failed: {error}" if error else "the folder that the run was made in has them"
            raise RunError(f"no values of frames of episode '{episode}'", where=self.where, fix=fix)
        import pandas

        first = self.first_frame
        index = pandas.RangeIndex(first, first + len(values["J"]), name="frame")
        pixels = self.rules.measure.pixels
        columns = {name: value if name in pixels else 100.0 * value for name, value in values.items()}
        table = pandas.DataFrame(columns, index=index)
        if self.rules.score not in table:
            table[self.rules.score] = table[list(self.rules.frame_parts)].mean(axis=1)
        return table


def _sha256(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def find_runs(root: Path, *, depth: int = 4) -> tuple[list[Run], list[str]]:
    """Return the finished runs under a folder, sorted by place, and a line for each that cannot be shown.

    Raises:
        RunError: There is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise RunError("no such folder of runs", where=root, fix="icvos evaluate --model histogram makes a first run")
    runs: list[Run] = []
    problems: list[str] = []
    for folder in _run_folders(root, depth, problems):
        try:
            runs.append(Run.open(folder))
        except IcvosError as error:
            problems.append(str(error))
        except Exception as error:  # a damage of a new kind ends one row, not the table
            problems.append(str(RunError(f"run is damaged ({type(error).__name__}: {error})", where=folder)))
    return runs, problems


def _run_folders(root: Path, depth: int, problems: list[str]) -> Iterator[Path]:
    try:
        if (root / "run.json").exists():
            yield root
            return
        children = sorted(child for child in root.iterdir() if child.is_dir() and not child.is_symlink())
    except OSError as problem:
        problems.append(str(RunError(f"folder cannot be read ({problem.strerror})", where=root)))
        return
    for child in children if depth else ():
        # What a changed method set aside (NAME.old1) is history, not a row.
        if ".old" not in child.suffix:
            yield from _run_folders(child, depth - 1, problems)
