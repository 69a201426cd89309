"""icvos show-episode: draw what a model saw and did in one episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.options import model_options, parse_weights
from icvos.terminal import echo


@click.command()
@click.argument("episode", required=False)
@click.option(
    "--model",
    "spec",
    default="dcsam",
    show_default=True,
    help="A name (icvos models list) or file.py:Class; what it looked at is drawn of those that explain themselves.",
)
@click.option(
    "--benchmark", default="demo", show_default=True, help="A built benchmark's folder, or demo[/coco-20i|…]."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The PNG; default EPISODE.png.")
@click.option("--shots", default=1, show_default=True, type=click.IntRange(1), help="Supports shown.")
@click.option(
    "--frame", "more", multiple=True, type=click.IntRange(1), help="Draw this frame's result too; repeatable."
)
@click.option("--seed", default=0, show_default=True, help="Of what models draw.")
@model_options
def command(
    episode: str | None,
    spec: str,
    benchmark: str,
    out: Path | None,
    shots: int,
    more: tuple[int, ...],
    seed: int,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    device: str,
    python: str | None,
    isolated: bool,
) -> None:
    """Draw one EPISODE (by default the benchmark's first; a category in its id may stand by name) as a picture.

    It shows the supports, frame 0 or the query with its ground truth (yellow line), and the result (blue) with J and F;
    what led to it where the method explains itself (of DC-SAM the prior masks, the coarse mask and what its prompts
    attend to), and the score of each pixel where its predictions have one.

    \b
    icvos show-episode --model histogram
    icvos show-episode davis17__dog__17__d0 --benchmark BENCH --weights dcsam=PATH --frame 20
    icvos show-episode davis17__dog__dog__d0 --benchmark BENCH --weights dcsam=demo
    """
    from icvos.demo.benchmarks import open_benchmark
    from icvos.models.interface import Panel
    from icvos.models.options import parse_options
    from icvos.models.registry import create, resolve
    from icvos.models.specs import placed
    from icvos.report.panels import draw
    from icvos.view import View

    opened, demo = open_benchmark(benchmark)
    view = View(opened)
    chosen = opened.episode(episode) if episode else opened.episodes[0]
    spec = placed(spec, python=python, isolated=isolated)
    options = parse_options(resolve(spec), settings)
    model = create(spec, device=device, weights=parse_weights(weights), options=options, demo=demo)
    supports = view.supports(chosen, shots)
    panels = [
        Panel(f"support {name}", support.image, mask=support.mask)
        for name, support in zip(chosen.supports, supports, strict=False)
    ]
    is_image = opened.kind == "image"
    if is_image:
        image, mask, _ = view.query(chosen)
        panels.append(Panel("query, ground truth", image, outline=mask))
        results = [(0, image, mask)]
    else:
        results = _frames(view, chosen, more)
        image = results[0][1]
        panels.append(Panel("frame 0, told" if opened.vos else "frame 0, ground truth", image, outline=results[0][2]))
    if not opened.vos:
        panels += model.explain(supports, image, video=not is_image)
    panels += _results(model, supports, view, chosen, results, seed=seed, is_image=is_image)
    path = out or Path(f"{chosen.id}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(panels, path, title=f"{type(model).info.name} on {opened.name}: {chosen.id} ({chosen.category_name})")
    for panel in panels:
        if panel.title.startswith("result"):
            echo(panel.title)
    echo(f"picture: {path}")


def _frames(view: Any, episode: Any, more: tuple[int, ...]) -> list[tuple[int, Any, Any]]:
    """Return (frame, image, ground truth) of frame 0 and those asked for."""
    from icvos.errors import UsageError

    video, truth = view.video(episode.video), view.truth(episode.video, episode.category)
    wrong = [frame for frame in more if frame >= len(video)]
    if wrong:
        raise UsageError(f"no frame {wrong[0]} in {episode.video}", expected=f"0 to {len(video) - 1}")
    return [(frame, video[frame], truth[frame]) for frame in sorted({0, *more})]


def _results(
    model: Any, supports: Any, view: Any, episode: Any, results: list, *, seed: int, is_image: bool
) -> list[Any]:
    """Run the model as far as the last frame asked for, and return a panel of each."""
    from icvos.errors import UsageError
    from icvos.metrics import jf
    from icvos.models.interface import ImageModel, Panel, VideoModel
    from icvos.models.registry import as_video_model
    from icvos.types import Prediction

    if is_image and not isinstance(model, ImageModel):
        raise UsageError(f"{type(model).info.name} is a model of videos", fix="give a benchmark of videos")
    wanted = {frame: (image, mask) for frame, image, mask in results}
    if is_image or (isinstance(model, ImageModel) and not isinstance(model, VideoModel) and len(wanted) == 1):
        masks = {0: model.predict(model.fit(supports, seed=seed), results[0][1])}
    else:
        masks = {}
        for frame, mask in enumerate(_stream(as_video_model(model), supports, view, episode, seed)):
            if frame in wanted:
                masks[frame] = mask
            if frame == max(wanted):
                break
    panels = []
    for frame, (image, truth) in wanted.items():
        answer = Prediction.of(masks[frame], truth.shape)
        predicted = answer.to_numpy()
        j, f = jf(predicted, truth)
        where = "" if is_image else f", frame {frame}"
        if answer.score is not None:
            panels.append(Panel(f"score{where}", image, heat=_array(answer.score)))
        title = f"result{where}: J {100 * float(j):.1f}, F {100 * float(f):.1f}"
        panels.append(Panel(title, image, mask=predicted, outline=truth))
    return panels


def _array(score: Any) -> Any:
    import numpy as np

    return np.asarray(score.detach().float().cpu() if hasattr(score, "detach") else score, np.float32)


def _stream(model: Any, supports: Any, view: Any, episode: Any, seed: int) -> Any:
    """Return the masks of an episode, frame by frame; on VOS it is one of the objects that are tracked together."""
    video, benchmark = view.video(episode.video), view.benchmark
    if not benchmark.vos:
        return model.segment(supports, video, seed=seed)
    objects = [each.category for each in benchmark.episodes if each.video == episode.video]
    masks = {number: view.truth(episode.video, number)[0] for number in objects}
    told = [number for number, mask in masks.items() if mask.any()]
    if episode.category not in told:
        return (masks[episode.category] for _ in video)
    together = model.segment_objects([masks[number] for number in told], video, seed=seed)
    return (answers[told.index(episode.category)] for answers in together)
