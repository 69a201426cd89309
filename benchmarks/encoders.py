"""SAM's image encoders on the CPU: as icvos runs them, against the packages' own, in turn in one run.

python benchmarks/encoders.py                 # SAM 1 vit_b, SAM 2.1 tiny and base+, generated weights
python benchmarks/encoders.py vit_h sam2.1_hiera_large --rounds 1
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from statistics import median

import torch

from icvos.foundation.load import build_sam
from icvos.foundation.sam1 import SAM1, Sam1
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import PromptableSegmenter


def build(name: str) -> PromptableSegmenter:
    """Return a SAM with generated weights; those that start at zero are drawn, so that a mistake would show."""
    torch.manual_seed(0)
    sam = build_sam(Sam1, name) if name in SAM1 else build_sam(Sam2, name)
    with torch.no_grad():
        for key, parameter in sam.named_parameters():
            if "rel_pos" in key or "pos_embed" in key:
                parameter.normal_(std=0.05)
    return sam.requires_grad_(False)


def compare(name: str, rounds: int) -> dict[str, float]:
    """Time both ways in turn on one image; print medians and how far the embeddings are apart; return the ratios."""
    sam = build(name)
    image = torch.randn(1, 3, sam.image_size, sam.image_size)
    took: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    embeddings = {}
    with torch.no_grad():
        for _ in range(rounds + 1):
            for way in took:
                sam.in_pieces = way
                begin, busy = time.perf_counter(), time.process_time()
                embeddings[way] = sam.encode(image).embedding
                took[way].append((time.perf_counter() - begin, time.process_time() - busy))
    # The first round warms up.
    (package, package_cpu), (ours, ours_cpu) = (map(median, zip(*values[1:])) for values in took.values())
    figures = {"ratio": package / ours, "cpu_ratio": package_cpu / ours_cpu}
    apart = float((embeddings[True] - embeddings[False]).abs().max() / embeddings[False].abs().max())
    print(
        f"{name:24} package {package:7.2f} s, icvos {ours:7.2f} s, {figures['ratio']:5.2f} times "
        f"({figures['cpu_ratio']:.2f} in CPU time); "
        f"embeddings apart by {apart:.1e} of the greatest value",
        flush=True,
    )
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["vit_b", "sam2.1_hiera_tiny", "sam2.1_hiera_base_plus"])
    parser.add_argument("--rounds", type=int, default=3)
    values = parser.parse_args()
    print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}")
    figures = {name: compare(name, values.rounds) for name in values.names}
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
