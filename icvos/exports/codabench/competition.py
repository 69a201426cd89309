"""What a competition is about, and ``competition.yaml``, which tells Codabench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.errors import UsageError, in_words
from icvos.exports.formats import ExportOptions
from icvos.metrics.table import METRICS, Metric
from icvos.names import require_name
from icvos.protocols import Protocol
from icvos.runs.episodes import RunOptions, get_run_protocol, select_episodes
from icvos.view import View

__all__ = ["DOCKER_IMAGE", "PAGES", "SCORED_BY", "Competition", "columns_of", "plan_competition"]

DOCKER_IMAGE = "python:3.11-slim"
"""In which masks are scored: what scoring imports is installed into it when it starts, without a compiler."""

SCORED_BY = "icvos-codabench/1"
"""The schema of ``scoring_program/settings.json``."""

PAGES = {"Overview": "pages/overview.md", "Data": "pages/data.md", "Evaluation": "pages/evaluation.md"}
TERMS = "pages/terms.md"

# Codabench keeps a column's key in so many letters, and the name of an image in so many.
LONGEST_KEY, LONGEST_IMAGE = 36, 128
OPEN_SINCE = "2000-01-01 00:00:00"
# Seconds that a mask takes at most where numpy scores it on a slow core, and those in which the packages come.
SECONDS_A_MASK, SECONDS_TO_START = 0.05, 600


@dataclass(frozen=True)
class Competition:
    """What a competition is about.

    Attributes:
        benchmark: Opened.
        protocol: That it is scored by.
        episodes: All that are scored.
        shots: Supports of each.
        title: Its title.
        start, end: As Codabench has times, UTC; ``end`` is "" where there is none.
        docker_image: In which masks are scored.
        with_frames: Whether frames and supports are in the bundle.
    """

    benchmark: Benchmark
    protocol: Protocol
    episodes: Sequence[Episode]
    shots: int
    title: str
    start: str
    end: str
    docker_image: str
    with_frames: bool

    @property
    def view(self) -> View:
        """The benchmark as the protocol sees it."""
        return View(self.benchmark, self.protocol)

    @property
    def masks(self) -> int:
        """How many masks are to be sent: one a frame that the protocol sees."""
        view = self.view
        return sum(view.frame_count(episode) for episode in self.episodes)

    @property
    def settings(self) -> dict[str, Any]:
        """What the scoring program is told: ``settings.json``."""
        return {
            "schema": SCORED_BY,
            "benchmark": self.benchmark.name,
            "manifest_sha256": self.benchmark.manifest_sha256,
            "protocol": self.protocol.name,
            "shots": self.shots,
            "masks": self.masks,
            "columns": {key: metric.name for key, metric in columns_of(self.protocol).items()},
        }

    @property
    def content(self) -> dict[str, Any]:
        """What ``competition.yaml`` says, in the second version of Codabench's bundles.

        Source: https://docs.codabench.org, Organizers, Yaml-Structure.
        """
        phase = {
            "index": 0,
            "name": "Test",
            "description": f"Masks of all {len(self.episodes)} episodes",
            "start": self.start,
            **({"end": self.end} if self.end else {}),
            "max_submissions_per_day": 5,
            "max_submissions": 100,
            "execution_time_limit": SECONDS_TO_START + round(SECONDS_A_MASK * self.masks),
            # What is sent is masks alone: no command that lies in it is run.
            "accepts_only_result_submissions": True,
            "tasks": [0],
            **({"public_data": "public_data"} if self.with_frames else {}),
        }
        task = {
            "index": 0,
            "name": self.benchmark.name,
            "description": f"{self.benchmark.name} {self.benchmark.version}, protocol {self.protocol.name}",
            "reference_data": "reference_data",
            "scoring_program": "scoring_program",
        }
        columns = [
            {
                "title": metric.heading or metric.label,
                "key": key,
                "index": index,
                "sorting": "desc" if metric.higher_is_better else "asc",
                "precision": 2,
                "hidden": False,
            }
            for index, (key, metric) in enumerate(columns_of(self.protocol).items())
        ]
        return {
            "version": 2,
            "title": self.title,
            "description": f"{self.benchmark.name} {self.benchmark.version}: {self.protocol.text}",
            "image": "logo.png",
            "terms": TERMS,
            "registration_auto_approve": False,
            "docker_image": self.docker_image,
            "make_programs_available": True,
            "make_input_data_available": False,
            "enable_detailed_results": True,
            "pages": [{"title": title, "file": file} for title, file in PAGES.items()],
            "phases": [phase],
            "tasks": [task],
            "leaderboards": [
                {
                    "title": "Results",
                    "key": "main",
                    "submission_rule": "Force_Last",
                    "hidden": False,
                    "columns": columns,
                }
            ],
        }


def columns_of(protocol: Protocol) -> dict[str, Metric]:
    """Return the columns of a competition's leaderboard by their keys: the score that it ranks by first."""
    metrics = [METRICS[protocol.score], *(metric for metric in protocol.metrics_in("board") if metric.stored)]
    return {metric.name.replace("&", "_and_")[:LONGEST_KEY]: metric for metric in metrics}


def plan_competition(benchmark: Benchmark, options: ExportOptions) -> Competition:
    """Return the competition that a benchmark makes.

    Raises:
        UsageError: The protocol, the shots, the title or a date does not fit.
        BenchmarkError: A table of the benchmark changed.
    """
    protocol = get_run_protocol(benchmark, options.protocol)
    if protocol.divides:
        raise UsageError(
            f"a competition by protocol '{protocol.name}' would have to know what is unseen",
            expected="another --protocol",
        )
    episodes = select_episodes(benchmark, protocol, RunOptions(protocol.name))
    shots = options.shots or benchmark.header.get("shots") or 1
    benchmark.check_shots(episodes, shots)
    title = options.title or benchmark.name
    require_name("competition", title)
    image = options.docker_image or DOCKER_IMAGE
    if not image.isascii() or not image.isprintable() or len(image.split()) != 1 or len(image) > LONGEST_IMAGE:
        expected = f"a name of at most {LONGEST_IMAGE} letters, as {DOCKER_IMAGE}"
        raise UsageError(f"--docker-image is {in_words(image)}", expected=expected)
    start = _moment("--date", options.date) or OPEN_SINCE
    end = _moment("--end-date", options.end_date)
    if end and end <= start:
        raise UsageError(f"the competition ends at {end}", expected=f"a time after its start, {start}")
    return Competition(benchmark, protocol, episodes, shots, title, start, end, image, options.with_frames)


def _moment(option: str, text: str) -> str:
    """Return a time as Codabench has it, in UTC: it passes over the zone that one names."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} is {in_words(text)}", expected="a date or a time, as 2027-01-31T12:00") from None
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")
