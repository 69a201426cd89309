"""icvos segment: one's own photographs and video; masks and an overlay video come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from icvos.commands.options import check_device, model_options, parse_weights
from icvos.errors import counted
from icvos.terminal import echo


def _pairs(context: click.Context, parameter: click.Parameter, value: Any) -> tuple[tuple[Path, Path], ...]:
    for photo, mask in value:
        if str(mask).startswith("--"):  # the next option was taken for it
            raise click.BadParameter(f"photo '{photo}' is given without its mask; expected --support PHOTO MASK")
    return value


@click.command()
@click.option(
    "--support",
    "supports",
    type=(click.Path(path_type=Path), click.Path(path_type=Path)),
    multiple=True,
    required=True,
    callback=_pairs,
    metavar="PHOTO MASK",
    help="A photograph, and a PNG of its size: 0, and the thing in one other value; repeatable.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FRAMES|FILE",
    help="A folder of JPEG or PNG frames (00000.jpg, …), or a video file.",
)
@click.option("--model", "spec", required=True, help="A name (icvos models list), module:Class, or file.py:Class.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder for what comes out.")
@click.option("--object", "thing", type=click.IntRange(1, 255), help="Which value is the thing, in masks of several.")
@click.option("--seed", default=0, show_default=True, help="Of what models draw.")
@click.option("--episode", help="Repeat what models draw in the episode of this id; by default the video's name.")
@model_options
def command(
    supports: tuple[tuple[Path, Path], ...],
    video: Path,
    spec: str,
    out: Path,
    thing: int | None,
    seed: int,
    episode: str | None,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    device: str,
    python: str | None,
    isolated: bool,
) -> None:
    """Segment your own video: what your photographs show is found on every frame.

    OUT/masks has a PNG of 0 and 255 for each frame, OUT/overlay.mp4 shows them, OUT/segment.json says what ran.

    \b
    icvos segment --support dog.jpg dog.png --video walk.mp4 --model histogram --out OUT
    """
    from icvos.files import read_json
    from icvos.models.options import parse_options
    from icvos.models.registry import resolve
    from icvos.models.specs import placed
    from icvos.processes import keep_memory, limit_memory
    from icvos.segmentation import segment

    keep_memory()
    spec, files = placed(spec, python=python, isolated=isolated), parse_weights(weights)
    chosen = parse_options(resolve(spec), settings)
    check_device(device)
    limit_memory(device)
    segment(
        supports,
        video,
        model=spec,
        object=thing,
        seed=seed,
        episode=episode,
        device=device,
        weights=files,
        options=chosen,
        out=out,
        progress=True,
        notify=lambda line: echo(line, err=True),
    )
    record = read_json(out / "segment.json")
    frames, fps = record["frames"], record["fps"]
    echo(f"masks: {out / 'masks'} ({counted(frames, 'frames')}, something found on {record['frames_with_mask']})")
    echo(f"overlay: {out / 'overlay.mp4'}")
    echo(f"speed: {fps:.1f} fps" if fps else "speed: not measured")
