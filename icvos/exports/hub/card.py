"""The dataset card of a benchmark on the Hugging Face Hub, its page of licences, and its tasks for a leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from icvos.exports.about import About
from icvos.exports.tasks import task_id
from icvos.exports.texts import markdown, yaml_scalar
from icvos.runs.episodes import get_run_protocol

__all__ = ["CARD", "LICENSE", "PICTURES", "PLAIN", "TASKS", "card", "configs_of", "license_text", "tasks_text"]

CARD, LICENSE, TASKS = "README.md", "LICENSE.md", "eval.yaml"

PLAIN = {
    "videos": "a row a video",
    "pairs": "a row for a category in a video, and whether it is completely masked",
    "episodes": "who is shown to whom: a row an episode, its supports by name",
}
"""Tables of one file."""
PICTURES = {
    "frames": "a row a frame of a video, with the name and the hash of its file",
    "masks": "a row for a category on a frame; `mask` is a PNG of 0 and 1, `area` its pixels of 1",
    "queries": "a row for a category in a query image; `mask` is a PNG of 0, 1 and 255, which is not counted",
    "supports": "a row for a category in a support image; `mask` is a PNG of 0, 1 and 255, which is not counted",
}
"""Tables of several files in a folder."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(about: About, tables: Sequence[str], pictures: Sequence[str], masks: int, *, with_images: bool) -> str:
    """Return ``README.md``: what the Hub reads, in YAML, and what people read.

    Args:
        about: What is to be said of the benchmark.
        tables: Names of the tables of one file.
        pictures: Names of those of several files.
        masks: How many masks there are, by which the Hub tells a data set's size.
        with_images: Whether the images are in it.
    """
    header = "\n".join(_yaml(_metadata(about, tables, pictures, masks)))
    return f"---\n{header}\n---\n\n" + "\n\n".join(_sections(about, tables, pictures, with_images)) + "\n"


def license_text(about: About) -> str:
    """Return ``LICENSE.md``: what may be done with what comes from each source."""
    return f"# Licences of {markdown(about.benchmark.name)}\n\n{_licences(about)}\n"


def tasks_text(about: About) -> str:
    """Return ``eval.yaml``: the tasks of which the Hub makes leaderboards, with the ids that results of runs have.

    They are those of the benchmark's own protocols, with one support and with as many as there are.
    """
    bench = about.benchmark
    most = max((len(episode.supports) for episode in bench.episodes), default=1)
    listed = bench.header.get("shots")
    shots: Sequence[int | None] = sorted({1, most})
    if bench.vos or isinstance(listed, int):
        shots = [None if bench.vos else listed]
    named = sorted({episode.protocol or "" for episode in bench.episodes}) if about.image else [""]
    protocols = [get_run_protocol(bench, name).name for name in named]
    return (
        "\n".join(
            _yaml(
                {
                    "name": bench.name,
                    "description": about.description,
                    "evaluation_framework": "icvos",
                    "tasks": [
                        {
                            "id": task_id(bench.name, protocol, shot),
                            "config": "queries" if about.image else "masks",
                            "split": "test",
                        }
                        for protocol in protocols
                        for shot in shots
                    ],
                }
            )
        )
        + "\n"
    )


def _metadata(about: About, tables: Sequence[str], pictures: Sequence[str], masks: int) -> dict[str, Any]:
    spdx = about.licence.lower()
    known: dict[str, Any] = {"license": spdx}
    if not spdx:
        known = {"license": "other", "license_name": "by-source", "license_link": LICENSE}
    split = "train" if about.tubes else "test"
    default = "queries" if about.image else "masks"
    return {
        **known,
        "pretty_name": about.benchmark.name,
        "task_categories": ["image-segmentation"],
        "tags": [*(word.replace(" ", "-") for word in about.keywords), "icvos"],
        "size_categories": [next((name for most, name in _SIZES if masks < most), "1M<n<10M")],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == default else {}),
                "data_files": [{"split": split, "path": path}],
            }
            for name, path in configs_of(tables, pictures).items()
        ],
    }


def configs_of(tables: Sequence[str], pictures: Sequence[str]) -> dict[str, str]:
    """Return where the files of each table lie, a glob, by the table's name."""
    return {
        **{name: f"data/{name}.parquet" for name in tables},
        **{name: f"data/{name}/*.parquet" for name in pictures},
    }


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of nested lists and mappings in YAML, every text quoted as in JSON."""
    for key, inner in value.items() if isinstance(value, dict) else (("-", each) for each in value):
        mark = "-" if isinstance(value, list) else f"{key}:"
        if not isinstance(inner, (dict, list)):
            yield f"{indent}{mark} {yaml_scalar(inner)}"
        elif isinstance(value, list):
            first, *rest = _yaml(inner, f"{indent}  ")
            yield f"{indent}- {first.strip()}"
            yield from rest
        else:
            yield f"{indent}{mark}"
            yield from _yaml(inner, f"{indent}  ")


def _sections(about: About, tables: Sequence[str], pictures: Sequence[str], with_images: bool) -> Iterator[str]:
    yield f"# {markdown(about.benchmark.name)}\n\n{markdown(about.description)}"
    yield f"It was built by {markdown(about.made_by)} and exported by `icvos export --to hub`."
    table = "masks" if "masks" in pictures else "queries"
    split = "train" if about.tubes else "test"
    yield (
        "## Load it\n\n```python\nfrom datasets import load_dataset\n\n"
        f'rows = load_dataset("PATH", "{table}", split="{split}")  # this folder, or its name on the Hub\n'
        f'episodes = load_dataset("PATH", "episodes", split="{split}")\n'
        'rows[0]["category_name"], rows[0]["area"], rows[0]["mask"].size\n```'
    )
    parts = {**PLAIN, **PICTURES}
    yield "## Tables\n\n" + "\n".join(f"- `{name}`: {parts[name]}" for name in (*tables, *pictures))
    if not with_images:
        yield (
            "Images are not in it, as not everybody may pass them on. `file` and `sha256` say which they are: whoever "
            "builds the benchmark from the data sets has the same ones."
        )
    yield f"## Licences\n\n{_licences(about)}"
    yield "## What is missing or wrong, as far as it is known\n\n" + _list(about.limitations)
    yield "## How it was made\n\n" + _list([about.collection, *about.processing, *about.annotation])
    yield "## Biases, people, use\n\n" + _list([*about.biases, *about.privacy, *about.use_cases, about.impact])
    if about.citations:
        yield "## Cite\n\n```bibtex\n" + "\n\n".join(about.citations) + "\n```"


def _licences(about: About) -> str:
    rows = [f"| {_cell(source.title)} | {_cell(source.words)} | {_cell(source.terms)} |" for source in about.sources]
    lines = ["| from | licence | passing it on |", "| --- | --- | --- |", *rows]
    if about.images_by_licence:
        lines += ["", markdown(about.images_by_licence)]
    forbidden = [source.title for source in about.sources if not source.facts.free]
    if forbidden:
        lines += ["", f"Not everything may be passed on freely: look at {markdown(', '.join(forbidden))} first."]
    return "\n".join(lines)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)


def _cell(text: str) -> str:
    return markdown(text).replace("|", "\\|")
