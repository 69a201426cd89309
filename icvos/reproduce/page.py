"""A rung as a protocol that another lab can follow, and the ladder's state, in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from icvos.errors import counted
from icvos.foundation.checkpoints import MARKS, Checkpoint, checkpoint
from icvos.reproduce.rung import Figure, Rung, Step
from icvos.reproduce.rungs import DATA, RUNGS

__all__ = ["markdown_table", "needs", "page", "printed", "protocol", "state", "status_rows", "verdict_lines"]

STATUS_HEADS = ("rung", "printed", "tolerance", "measured", "state")
NOT_RUN = "not run"


def printed(rung: Rung) -> str:
    """Return the printed value of the figure that decides, or ``none``."""
    value = rung.figures[0].printed
    return "none" if value is None else f"{value:g}"


def tolerance(figure: Figure) -> str:
    """Return how near is near enough, or that the figure is not compared."""
    return f"± {figure.tolerance:g}" if figure.compared else "not compared"


def state(rung: Rung, result: Mapping[str, Any]) -> str:
    """Return a rung's verdict, with what else to know of it."""
    failed = sum(run.get("failed") or 0 for run in (result.get("runs") or {}).values())
    figure, judged = rung.figures[0], result["figures"][0]
    words = [str(result["verdict"])]
    words += [f"{counted(failed, 'episodes')} failed"] if failed else []
    if (judged.get("printed"), judged.get("tolerance")) != (figure.printed, figure.tolerance):
        words.append("judged by other values than these: run it again, which only judges")
    return "; ".join(words)


def status_rows(
    results: Mapping[str, Mapping[str, Any]], lacking: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each rung, in the columns of ``STATUS_HEADS``.

    Args:
        results: ``result.json`` by rung.
        lacking: What a rung that was not run lacks, by rung.
    """
    rows = []
    for name, rung in RUNGS.items():
        result, figure = results.get(name), rung.figures[0]
        measured = f"{result['figures'][0]['measured']:.2f}" if result else ""
        without = lacking.get(name) or ()
        word = state(rung, result) if result else NOT_RUN + (f"; missing: {'; '.join(without)}" if without else "")
        rows.append((name, printed(rung), tolerance(figure), measured, word))
    return rows


def verdict_lines(rung: Rung, result: Mapping[str, Any]) -> list[str]:
    """Return what was measured against what is printed, and whom to suspect where it is off."""
    lines = []
    for row in result["figures"]:
        against = "" if row["printed"] is None else f", printed {row['printed']:g}"
        width = "" if row["tolerance"] is None else f" ± {row['tolerance']:g}"
        lines.append(f"{row['name']}: {row['measured']:.2f}{against}{width}: {row['verdict']}")
    if any(row["verdict"].startswith("off") for row in result["figures"]):
        lines += ["suspects, in order:", *(f"{n}. {text}" for n, text in enumerate(rung.suspects, 1))]
    return lines


def _file(known: Checkpoint) -> str:
    size = "size not published" if known.size is None else f"{known.size:,} bytes"
    digest = f"SHA-256 {known.sha256}" if known.sha256 else "no hash published"
    return f"{known.file}: {size}, {digest} ({MARKS[known.mark]})"


def needs(rung: Rung) -> list[str]:
    """Return what a rung needs: GPU-hours, memory, disk, files with their bytes and hashes."""
    hours = "not estimated" if rung.hours is None else f"about {rung.hours:g}"
    sizes = [checkpoint(name).size for name in rung.weights]
    known = sum(size for size in sizes if size is not None)
    more = f", and {sizes.count(None)} file(s) of unknown size" if None in sizes else ""
    return [
        f"GPU-hours: {hours}; {rung.basis}",
        f"GPU memory, peak: {rung.memory}",
        f"disk: {known / 1e9:.1f} GB of weights{more}; what is built: '--dry-run' of its command says",
        *(f"file: {_file(checkpoint(name))}" for name in rung.weights),
        *(f"data: {DATA[name].title}, {DATA[name].page}" for name in rung.data),
    ]


def _shown(step: Step) -> str:
    """Return a command as people type it: what they choose stands in capitals."""
    words = []
    for word in step.words:
        for name in DATA:
            word = word.replace(f"{{{name}}}", name.upper().replace("-", "_"))
        for name in ("out", "device", "workers"):
            word = word.replace(f"{{{name}}}", name.upper())
        if "{" in word:  # a checkpoint
            before, _, rest = word.partition("{")
            name, _, after = rest.partition("}")
            word = f"{before}WEIGHTS/{checkpoint(name).file}{after}"
        words.append(word)
    return f"icvos {shlex.join(words)}"


def protocol(rung: Rung, *, level: int = 2) -> str:
    """Return a rung in Markdown, to be followed step by step.

    Args:
        rung: The rung.
        level: Of its heading.
    """
    given = " ".join(f"--{name} {name.upper().replace('-', '_')}" for name in rung.data)
    figures = "\n".join(
        f"| {figure.name} | {'none' if figure.printed is None else f'{figure.printed:g}'} | {tolerance(figure)} |"
        for figure in rung.figures
    )
    fetched = [name for name in rung.weights if checkpoint(name).url]
    by_hand = [name for name in rung.weights if not checkpoint(name).url]
    folders = " ".join(name.upper().replace("-", "_") for name in rung.data)
    fetch = [f"icvos weights fetch {' '.join(fetched)}"] if fetched else []
    lines = [f"{'#' * level} {rung.name}", "", f"{rung.title}.", "", "Fetch:", ""]
    lines += [f"- {DATA[name].title} ({DATA[name].page})" for name in rung.data]
    lines += [f"- {_file(checkpoint(name))}" for name in rung.weights]
    lines += [
        f"- {checkpoint(name).file} by hand from {checkpoint(name).page}"
        + (", with its config.json beside it" if checkpoint(name).file.endswith("model.safetensors") else "")
        + ", into the folder that 'icvos weights list' names"
        for name in by_hand
    ]
    lines += ["", "Check:", "", "```sh", *fetch, f"icvos weights verify {' '.join(rung.weights)}"]
    lines += [f"icvos build-data source {folders}", f"icvos reproduce run {rung.name} --dry-run", "```", ""]
    lines += ["Run:", "", "```sh", f"icvos reproduce run {rung.name} {given} --out OUT --device cuda", "```", ""]
    lines += ["which is, one after another, stopped and continued at will:", "", "```sh"]
    lines += [_shown(step) for step in rung.steps]
    lines += ["```", "", f"Cost: {needs(rung)[0]}. {needs(rung)[1]}.", "", "Expect:", ""]
    lines += ["| figure | printed | tolerance |", "| --- | --- | --- |", figures, ""]
    lines += [f"Printed in: {rung.source}.", "", f"Why this tolerance: {rung.reason}", ""]
    lines += ["Suspect first, if it is off:", "", *(f"{n}. {text}" for n, text in enumerate(rung.suspects, 1)), ""]
    return "\n".join(lines)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


_NOT_RUN = "<!-- not run: official weights and whole data sets -->"  # for tests/test_docs_commands.py

_INTRODUCTION = """# Reproduce published figures

<!-- Made from icvos/reproduce/rungs.py: icvos reproduce page > docs/how-to/reproduce.md -->

Whoever has the data and the weights can tell here, rung by rung, whether what they built and installed is right. Each
rung is a published figure, the commands that should give it, and how near is near enough: said before anything was
measured. Climb in this order: a rung that is off makes those above it doubtful.

```sh
icvos reproduce                                      # the rungs
icvos reproduce show sam2.1-tiny-davis17             # one as a protocol, as below
```

<!-- not run: half a minute and more; tests/reproduce/test_dry_run.py runs them -->
```sh
icvos reproduce run sam2.1-tiny-davis17 --dry-run                            # all its commands, on the drawn demo
icvos reproduce run --all --dry-run                                          # of every rung
```

<!-- not run: official weights and whole data sets -->
```sh
icvos reproduce run sam2.1-tiny-davis17 --davis DAVIS --out OUT              # climbs it; again, it goes on
icvos reproduce status --out OUT                                             # reproduced, off, or missing; --markdown
```

Checkpoints are taken from the folder that `icvos weights list` names; `--weights NAME=PATH` takes one from elsewhere.
`OUT/RUNG/result.json` holds what was measured, what is printed, the tolerance, the commands with their times, the
versions, the device and the hashes. The first figure of a rung decides; the others stand beside it. Printed values are
their authors' and are quoted with their source; "none" is one that could not be sourced. Where what was built has other
counts than it has of the whole data set, its figures are measured and not compared.

A trained rung is written for one GPU. The authors' trainings ran on four, where in the public code all ranks draw the
same examples ([Q17](../explanation/reference-code.md#q17-all-processes-draw-the-same-examples)), so that one process
has their effective batch.

## State
"""


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the documentation's page: the protocol of every rung, and the state of the ladder.

    Args:
        results: ``result.json`` by rung, of those that were climbed.
    """
    inputs = {name: (*rung.data, *rung.weights) for name, rung in RUNGS.items()}
    table = markdown_table(STATUS_HEADS, status_rows(results, inputs))
    rungs = "\n".join(protocol(rung) for rung in RUNGS.values())
    marked = rungs.replace("\n```sh\n", f"\n{_NOT_RUN}\n```sh\n")
    return "\n".join([_INTRODUCTION, table, marked]).rstrip("\n") + "\n"
