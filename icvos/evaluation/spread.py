"""One set of masks under each protocol that can be applied: what the choice of a protocol is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark
from icvos.demo.benchmarks import open_benchmark
from icvos.errors import InputError, RunError, UsageError
from icvos.evaluation.score import score
from icvos.files import escape_id, real_path, write_json
from icvos.metrics.table import METRICS
from icvos.protocols import PROTOCOLS, Protocol
from icvos.runs.episodes import get_run_protocol
from icvos.runs.run import Run

__all__ = ["SPREAD_SCHEMA", "Spread", "SpreadRow", "score_spread"]

SPREAD_SCHEMA = "icvos-spread/1"
USUAL = ("native", "fss-native")
"""The protocols that the others are held against."""


@dataclass(frozen=True)
class SpreadRow:
    """What masks score by one protocol.

    Attributes:
        run: By it.
        difference: Of its score to the same figure by the first protocol, in points: to J of one that has J alone, to
            J&F of another mean of two halves; None where the first has no such figure.
    """

    run: Run
    difference: float | None


@dataclass(frozen=True)
class Spread:
    """What masks score by each protocol.

    Attributes:
        folder: With a run folder for each protocol, and ``protocols.json``.
        rows: The usual protocol first.
        left_out: Protocols that could not be applied, and why.
    """

    folder: Path
    rows: tuple[SpreadRow, ...]
    left_out: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return what ``protocols.json`` holds: percent and points, unrounded."""
        return {
            "schema": SPREAD_SCHEMA,
            "model": self.rows[0].run.model,
            "benchmark": self.rows[0].run.benchmark_name,
            "reference": self.rows[0].run.protocol,
            "protocols": {
                row.run.protocol: {
                    "made_for": row.run.rules.made_for or None,
                    "score": row.run.rules.score,
                    "difference": row.difference,
                    "summary": dict(row.run.summary),
                }
                for row in self.rows
            },
            "left_out": self.left_out,
        }


def _candidates(benchmark: Benchmark | None) -> list[Protocol]:
    """Return the protocols that fit a benchmark, or label maps; the usual one first."""
    if benchmark is None:
        return [protocol for protocol in PROTOCOLS.values() if protocol.of_label_maps]
    fits = []
    for protocol in PROTOCOLS.values():
        try:
            fits.append(get_run_protocol(benchmark, protocol.name))
        except UsageError:
            continue
    return fits


def score_spread(
    predictions: str | Path,
    *,
    benchmark: Benchmark | str | Path | None = None,
    ground_truth: str | Path | None = None,
    unseen: str | Path | Sequence[str] = (),
    out: str | Path | None = None,
    progress: Any = None,
    notify: Callable[[str], None] | None = None,
    **settings: Any,
) -> Spread:
    """Score masks by each protocol that can be applied, as ``icvos score --all-protocols`` does.

    Args:
        predictions, benchmark, ground_truth, unseen, progress, notify, settings: As ``score`` takes them.
        out: The folder of the runs, one for each protocol; by default ``runs/<benchmark>/<predictions>-all-protocols``.

    Raises:
        IcvosError: No protocol can be applied; the reason of the usual one is said. Or another run is in the folder
            of one.
    """
    if (benchmark is None) == (ground_truth is None):
        raise UsageError("give one of --benchmark and --ground-truth", fix="see icvos score --help")
    opened = None if benchmark is None else open_benchmark(benchmark)[0]
    name = opened.name if opened is not None else real_path(Path(str(ground_truth))).name
    model = str(settings.get("model") or real_path(Path(predictions)).stem)
    base = Path("runs") / escape_id(name, keep="+@=,") / escape_id(f"{model}-all-protocols", keep="+@=,")
    folder = base if out is None else Path(out)
    runs: list[Run] = []
    problems: dict[str, InputError | UsageError] = {}
    for protocol in sorted(_candidates(opened), key=lambda each: each.name not in USUAL):
        try:
            result = score(
                predictions,
                benchmark=opened,
                ground_truth=ground_truth,
                protocol=protocol.name,
                unseen=unseen if protocol.divides else (),
                out=folder / protocol.name,
                progress=progress,
                notify=notify,
                **settings,
            )
        except RunError:  # another run is in its folder: that is no reason of the protocol's
            raise
        except (InputError, UsageError) as problem:
            problems[protocol.name] = problem
            continue
        runs.append(Run.open(result.folder))
    if not runs:
        usual = "native" if opened is None else get_run_protocol(opened, "").name
        raise problems[usual]
    first = runs[0].summary
    rows = []
    for run in runs:
        reference = first.get(run.rules.score)
        if reference is None and METRICS[run.rules.score].halves:
            reference = first.get(runs[0].rules.score)
        own = run.summary[run.rules.score]
        rows.append(SpreadRow(run, None if own is None or reference is None else own - reference))
    spread = Spread(folder, tuple(rows), {name: str(problem) for name, problem in problems.items()})
    write_json(folder / "protocols.json", spread.as_json())
    return spread
