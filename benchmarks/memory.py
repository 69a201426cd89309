"""SAM 2's memory on the CPU: a tracked frame as icvos works it out, against the package's own code, in turn in one run.

python benchmarks/memory.py                            # SAM 2.1 tiny at 1024 px, generated weights, 1 and 5 objects
python benchmarks/memory.py --sides 256 512 --objects 1
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from math import inf

import torch

from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.load import build_sam
from icvos.foundation.sam2 import Sam2
from icvos.foundation.sam2_config import SAM2
from icvos.foundation.segmenter import ImageFeatures
from icvos.foundation.tracker import Tracker, TrackerOptions

#: Frames until all memories are there.
FRAMES = 9


def tracked(sam: Sam2, features: ImageFeatures, objects: int, *, in_pieces: bool) -> tuple[list[float], torch.Tensor]:
    """Return the CPU seconds of each tracked frame, one memory to all seven, and the last frame's logits."""
    sam.in_pieces = in_pieces
    # In single precision: rounded memories would differ by more than what is compared here.
    tracker = Tracker(sam, TrackerOptions.dc_sam(memory_dtype=None))
    bank = tracker.start(num_frames=100)
    prompt = Prompt(embeddings=torch.randn(objects, 50, sam.embed_dim, generator=torch.Generator().manual_seed(2)))
    tracker.step(bank, features, prompt=prompt)
    took = []
    for _ in range(FRAMES):
        begin = time.process_time()
        frame = tracker.step(bank, features)
        took.append(time.process_time() - begin)
    return took, frame.logits


@torch.no_grad()
def compare(side: int, objects: int, rounds: int) -> dict[str, float]:
    """Time both ways in turn; print each one's best with one memory and with all, and how far the logits are apart.

    Returns:
        The ratios with one memory and with seven.
    """
    torch.manual_seed(0)
    sam = build_sam(Sam2, replace(SAM2["sam2.1_hiera_tiny"], name="bench", image_size=side))
    sam.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(10.0)
    features = sam.encode(torch.randn(1, 3, side, side))
    best: dict[bool, tuple[float, float]] = {}
    last: dict[bool, torch.Tensor] = {}
    for _ in range(rounds):
        for way in (False, True):
            took, last[way] = tracked(sam, features, objects, in_pieces=way)
            one, full = best.get(way, (inf, inf))
            best[way] = min(one, took[0]), min(full, *took[6:])
    (theirs, theirs_full), (mine, mine_full) = best[False], best[True]
    apart = float((last[True] - last[False]).abs().max() / last[False].abs().max())
    figures = {"one": theirs / mine, "seven": theirs_full / mine_full}
    print(
        f"{side} px, {objects} objects: one memory {theirs:6.2f} s and {mine:6.2f} s, {figures['one']:.2f} times; "
        f"seven {theirs_full:6.2f} s and {mine_full:6.2f} s, {figures['seven']:.2f} times; "
        f"logits apart by {apart:.1e} of the greatest",
        flush=True,
    )
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=2)
    values = parser.parse_args()
    print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}; CPU time, the package's, then ours")
    pairs = [(side, objects) for side in values.sides for objects in values.objects]
    print(
        json.dumps({f"{side} px, {objects} objects": compare(side, objects, values.rounds) for side, objects in pairs})
    )


if __name__ == "__main__":
    main()
