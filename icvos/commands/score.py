"""icvos score: score masks made anywhere, by any language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--benchmark", help="A built benchmark's folder, or demo[/coco-20i|/pascal-5i].")
@click.option("--ground-truth", type=click.Path(path_type=Path), help="A folder of SEQUENCE/FRAME.png label maps.")
@click.option(
    "--protocol", "name", default="", help="native, paper; fss-native, fss-paper; davis-2017 with --ground-truth."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; default runs/NAME/PREDICTIONS.")
@click.option("--model", "model_name", help="What the method is called in tables; default the predictions' name.")
@click.option("--version", "model_version", default="1", show_default=True, help="The method's version.")
@click.option(
    "--shots",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Supports the method was shown, for the record.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
def command(
    predictions: Path,
    benchmark: str | None,
    ground_truth: Path | None,
    name: str,
    out: Path | None,
    model_name: str | None,
    model_version: str,
    shots: int,
    workers: int,
) -> None:
    """Score PREDICTIONS: a folder or .zip of NAME/00000.png, or COCO run lengths in a .json.

    With --benchmark NAME is an episode's id, and masks hold 0 and 1. With --ground-truth NAME is a sequence, and masks
    hold object ids. Needs no torch.
    """
    from icvos.errors import UsageError

    if (benchmark is None) == (ground_truth is None):
        raise UsageError("give one of --benchmark and --ground-truth", fix="see icvos score --help")
    title = model_name or predictions.resolve().stem
    if ground_truth is not None:
        _score_sequences(predictions, ground_truth, name or "davis-2017", out, (title, model_version), workers)
    else:
        _score_benchmark(predictions, str(benchmark), name, out, (title, model_version), shots, workers)


def _describe(
    title: tuple[str, str], predictions: Path, benchmark: dict[str, Any], rule: Any, **key: Any
) -> dict[str, Any]:
    from icvos.runs.environment import describe_run

    model: dict[str, Any] = {
        "name": title[0],
        "version": title[1],
        "kind": "masks",
        "options": {},
        "weights": {},
        "dtype": None,
        "source_sha256": None,
        "training_data": [],
        "training_categories": [],
    }
    return describe_run(model, benchmark, rule, "cpu", masks=_fingerprint(predictions), **key)


def _fingerprint(predictions: Path) -> str:
    """Return a hash of names, sizes and times of the masks: other masks are scored anew."""
    import hashlib
    import os

    digest = hashlib.sha256()
    if predictions.is_file():
        found = predictions.stat()
        digest.update(f"{found.st_size} {found.st_mtime_ns}".encode())
    for folder, folders, files in os.walk(predictions):
        folders.sort()
        for file in sorted(files):
            found = os.stat(os.path.join(folder, file), follow_symlinks=False)  # noqa: PTH116, PTH118
            digest.update(
                f"{os.path.relpath(folder, predictions)}/{file} {found.st_size} {found.st_mtime_ns}\n".encode()
            )
    return digest.hexdigest()


def _run(run: dict[str, Any], out: Path, ids: list[str], score: Any, result: Any) -> None:
    """Score what is not scored yet into the run's folder, and print the table."""
    from icvos.commands.show import progress_bar, summary_table
    from icvos.runs.environment import now
    from icvos.runs.records import RunFolder, read_result, read_run

    with RunFolder.open(out, run) as folder, progress_bar(run["model"]["name"]) as advance:
        count = len(folder.done(ids))
        advance(count, len(ids), None)
        for scored in score(folder.done(ids)):
            for record, frames in scored:
                folder.add(record, frames)
                count += 1
                advance(min(count, len(ids)), len(ids), record)
        folder.write_result(result(folder.run, folder.records()))
        folder.write_run(status="complete", end=now())
    summary_table([(out, read_run(out), read_result(out))])
    click.echo(f"run: {out}")


def _score_sequences(
    predictions: Path, truth: Path, name: str, out: Path | None, title: tuple[str, str], workers: int
) -> None:
    from icvos.errors import UsageError
    from icvos.evaluation.predictions import open_predictions
    from icvos.evaluation.score_episodes import Sequences, check_sequences, score_all
    from icvos.protocols import protocol
    from icvos.runs.environment import safe_name
    from icvos.runs.result import sequence_result

    rule = protocol(name)
    if rule.kind == "image" or rule.size is not None:
        raise UsageError(f"protocol '{name}' needs --benchmark", expected="davis-2017 or native with --ground-truth")
    sequences, given = Sequences.open(truth), open_predictions(predictions)
    ids = check_sequences(sequences, given, rule)
    label = {"name": truth.resolve().name, "version": None, "manifest_sha256": _fingerprint(truth)}
    run = _describe(title, predictions, label, rule)

    def score(done: set[str]) -> Any:
        todo = [n for n in sequences.names if any(i.rpartition("__")[0] == n and i not in done for i in ids)]
        return score_all("sequence", truth, predictions, rule, todo, workers=workers)

    place = out or Path("runs") / safe_name(label["name"] or "masks") / safe_name(title[0])
    _run(run, place, ids, score, lambda described, records: sequence_result(described, rule, ids, records))


def _score_benchmark(
    predictions: Path, benchmark: str, name: str, out: Path | None, title: tuple[str, str], shots: int, workers: int
) -> None:
    from icvos.evaluation.integrity import verify_tables
    from icvos.evaluation.predictions import open_predictions
    from icvos.evaluation.runner import RunOptions, benchmark_result, open_benchmark, select_episodes
    from icvos.evaluation.score_episodes import check_benchmark_masks, score_all
    from icvos.protocols import protocol
    from icvos.runs.environment import describe_benchmark, safe_name

    opened, _ = open_benchmark(benchmark)
    rule = protocol(name or ("native" if opened.kind == "video" else "fss-native"), opened.kind)
    verify_tables(opened)
    episodes = select_episodes(opened, rule, RunOptions(rule.name))
    opened.check_shots(episodes, shots)
    resized = check_benchmark_masks(opened, open_predictions(predictions), rule, episodes)
    settings = {"shots": shots, "seed": None, "limit_episodes": None, "limit_frames": None, "shard": None}
    run = _describe(title, predictions, describe_benchmark(opened), rule, resized_masks=resized or None, **settings)

    def score(done: set[str]) -> Any:
        groups: dict[str, list[Any]] = {}
        for episode in episodes:
            if episode.id not in done:
                groups.setdefault(episode.video if opened.kind == "video" else episode.id, []).append(episode)
        return score_all("benchmark", opened.root, predictions, rule, list(groups.values()), workers=workers)

    def result(described: dict[str, Any], records: dict[str, Any]) -> dict[str, Any]:
        return benchmark_result(described, opened, rule, episodes, records)

    place = out or Path("runs") / safe_name(opened.name) / safe_name(title[0])
    _run(run, place, [episode.id for episode in episodes], score, result)
