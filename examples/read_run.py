"""Reading runs from Python: tables, one picture, and two runs compared.

    python examples/read_run.py RUN OTHER

RUN and OTHER are folders as `icvos evaluate` makes them, on one benchmark. Without them it evaluates two floors,
`histogram` and `full`, on the demo first: twenty seconds on one core, and ten more if the demo is yet to be drawn. It
prints RUN's figures by category, the frames of its worst episode, and where it differs from OTHER, and plots J&F over
the frames of its best and its worst episode.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

import icvos

FIGURES = ["J", "F", "J&F"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two runs' folders")
    parser.add_argument("--benchmark", default="demo", help="where no runs are given: what to evaluate on")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/read-run"), help="for the picture and runs")
    words = parser.parse_args()
    if len(words.runs) not in (0, 2):
        parser.error("give two runs, or none")
    folders = words.runs or [
        icvos.evaluate(model, words.benchmark, out=words.out / model).folder for model in ("histogram", "full")
    ]
    run, other = (icvos.open_run(folder) for folder in folders)

    print(f"{run.label} on {run.benchmark_name}, protocol {run.protocol}: J&F {run.score:.2f}, {run.fps or 0:.0f} fps")
    print("not ranked:", "; ".join(run.not_ranked) or "nothing against it")
    print("\nBy category, best first (also per_video, per_source, per_draw):")
    print(run.per_category()[FIGURES].sort_values("J&F", ascending=False).round(2).to_string())

    episodes = run.episodes()
    best, worst = str(episodes["J&F"].idxmax()), str(episodes["J&F"].idxmin())
    print(f"\nThe worst episode is {worst}; its first frames:")
    print(run.frames(worst)[FIGURES].head(5).round(2).to_string())

    # Two runs are compared episode by episode: the difference varies less than either.
    difference = (episodes["J&F"] - other.episodes()["J&F"]).dropna()
    print(f"\n{run.label} less {other.label}, over {len(difference)} episodes of both: mean {difference.mean():+.2f}")
    print(f"better in {(difference > 0).sum()}, worse in {(difference < 0).sum()}; most and least:")
    print(difference.sort_values().iloc[[-1, 0]].round(2).to_string())
    print(f"with intervals and pictures: icvos compare {folders[0]} {folders[1]}")

    figure, axis = pyplot.subplots(figsize=(7, 3), layout="constrained")
    for name, style in ((best, "-"), (worst, "--")):
        run.frames(name)["J&F"].plot(ax=axis, style=style, label=name)
    axis.set(xlabel="frame", ylabel="J&F, percent", ylim=(0, 101), title=run.label)
    axis.legend()
    words.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(words.out / "frames.png", dpi=110)
    print(f"picture: {words.out / 'frames.png'}")


if __name__ == "__main__":
    try:
        main()
    except icvos.IcvosError as error:
        sys.exit(f"{Path(__file__).stem}: {error}")
