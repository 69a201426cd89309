"""What ``EpisodeDataset`` and torch's loader add to reading a benchmark's frames.

    python benchmarks/torch_datasets.py                  # the demo, clips of 8 frames, two workers: about a minute
    python benchmarks/torch_datasets.py --rounds 1       # a quick turn

``loader``: batches of 4 episodes, each a support and a clip of 8 frames with their masks, come from two workers to this
process, which does nothing with them. ``plain``: two processes without torch read the same files by the same reader
(``icvos.view.View``: compared with the manifest, decoded, resized), one frame after another, and keep nothing. Both do
it with squares of 256 pixels (``size=256``), and at the stored size, where episodes differ in size and come as lists.

Rounds alternate and medians are taken; in each all episodes are read ``--epochs`` times, after a turn that is not
counted and in which all files are compared. ``cpu`` is plain's CPU time over the loader's, all processes together, this
one too: what counts where every core has a worker, and what a busy machine moves least. ``wall`` is the loader's frames
a second over plain's. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from statistics import median

from icvos.benchmark import load_benchmark
from icvos.images import SQUEEZED
from icvos.processes import keep_memory
from icvos.protocols import get_protocol
from icvos.view import View

FRAMES, BATCH, WORKERS = 8, 4, 2


def plain(job: Path, worker: int) -> None:
    """Read a worker's share of the job's episodes; print its CPU seconds, and when it began and ended."""
    keep_memory()  # as the loader's workers do
    what = json.loads(job.read_text())
    benchmark = load_benchmark(what["benchmark"])
    protocol = get_protocol(benchmark.usual_protocol)
    if what["size"] is not None:
        protocol = replace(protocol, size=(what["size"], what["size"]), resizing=SQUEEZED)
    view = View(benchmark, protocol, frame_by_frame=True)
    episodes = {episode.id: episode for episode in benchmark.episodes}

    def read(clips: list[tuple[str, list[int]]]) -> None:
        for id, indices in clips:
            episode = episodes[id]
            view.support(episode.category, episode.supports[0])
            frames, masks = view.video(episode.video), view.truth(episode.video, episode.category)
            for index in indices:
                frames[index], masks[index]

    epochs = [epoch[worker::WORKERS] for epoch in what["epochs"]]
    for clips in epochs:
        read(clips)
    begin, cpu = time.time(), time.process_time()
    for clips in epochs:
        read(clips)
    print(json.dumps({"cpu": time.process_time() - cpu, "begin": begin, "end": time.time()}))


def run_plain(job: Path) -> tuple[float, float]:
    """Return CPU and wall seconds of all plain workers."""
    command = [sys.executable, __file__, "--plain", str(job), "--worker"]
    workers = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(WORKERS)]
    rows = [json.loads(worker.communicate()[0]) for worker in workers]
    wall = max(row["end"] for row in rows) - min(row["begin"] for row in rows)
    return sum(row["cpu"] for row in rows), wall


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its loaders' workers."""
    total = time.process_time()
    for worker in active_children():
        user, system = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total


def measure(folder: Path, size: int | None, *, epochs: int, rounds: int, work: Path) -> dict[str, float]:
    """Return the figures of one size."""
    from torch.utils.data import DataLoader

    from icvos.datasets import EpisodeDataset, collate

    dataset = EpisodeDataset(folder, frames=FRAMES, size=size)
    order = list(range(len(dataset)))
    clips = [[(s.id, s.indices.tolist()) for s in (dataset.get(epoch, i) for i in order)] for epoch in range(epochs)]
    job = work / "job.json"
    job.write_text(json.dumps({"benchmark": str(folder), "size": size, "epochs": clips}))
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=WORKERS,
        collate_fn=collate,
        multiprocessing_context="fork",
        persistent_workers=True,
    )

    def run_loader() -> tuple[float, float]:
        cpu, begin = cpu_seconds(), time.perf_counter()
        for epoch in range(epochs):
            dataset.set_epoch(epoch)
            for _ in loader:
                pass
        return cpu_seconds() - cpu, time.perf_counter() - begin

    run_loader()
    times = [(run_plain(job), run_loader()) for _ in range(rounds)]
    ratios = {
        "cpu": median(plain[0] / ours[0] for plain, ours in times),
        "wall": median(plain[1] / ours[1] for plain, ours in times),
    }
    count = epochs * len(order) * FRAMES
    speeds = {f"{name}_fps": count / median(row[n][1] for row in times) for n, name in enumerate(("plain", "loader"))}
    return {name: round(value, 3) for name, value in {**ratios, **speeds}.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", type=Path, help="a folder; default the demo")
    parser.add_argument("--epochs", type=int, default=3, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain is not None:
        plain(options.plain, options.worker)
        return
    import icvos

    folder = options.benchmark or icvos.load_benchmark("demo").root
    with tempfile.TemporaryDirectory() as work:
        figures = {}
        for name, size in (("squares", 256), ("stored", None)):
            figures[name] = measure(folder, size, epochs=options.epochs, rounds=options.rounds, work=Path(work))
            print(name, figures[name], flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
