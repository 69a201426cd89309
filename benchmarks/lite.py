"""How well `prototype` with EfficientNet-Lite2 does on real photographs, beside `histogram`, category by category.

python benchmarks/lite.py                             # needs ../shared/real and the extra lite
python benchmarks/lite.py --set edges=off             # another setting of prototype
python benchmarks/lite.py --half tuned                # the half on which settings may be chosen

Pairs of COCO photographs of one category (support and query, the category's whole mask, 1 % of the image or more), and
the DAVIS videos of a category with COCO supports: every frame, as `icvos evaluate` scores them. The categories with two
photographs or more stand in the alphabet: the 1st, 3rd, … are for tuning, the 2nd, 4th, … for judging.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from icvos import Support
from icvos.metrics import jf
from icvos.models.options import parse_options
from icvos.models.registry import create, resolve

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
VIDEOS = {"dog": "dog", "car": "car-shadow"}
#: Pairs of photographs, and supports of a video, of each category at most.
MOST_PAIRS, MOST_SUPPORTS = 12, 3


def rgb(path: Path) -> np.ndarray:
    """Return a photograph as (H, W, 3) uint8."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def photographs(real: Path) -> dict[str, list[Support]]:
    """Return the photographs with each category's mask, by category; those of two or more."""
    with contextlib.redirect_stdout(None):
        coco = COCO(real / "coco/annotations/instances_val2014.json")
    found = defaultdict(list)
    for category in coco.cats.values():
        for number in sorted(coco.getImgIds(catIds=[category["id"]])):
            instances = coco.loadAnns(coco.getAnnIds(imgIds=[number], catIds=[category["id"]]))
            if any(instance["iscrowd"] for instance in instances):
                continue
            mask = np.any([coco.annToMask(instance) for instance in instances], axis=0)
            if mask.mean() >= 0.01:
                image = rgb(real / "coco/val2014" / coco.imgs[number]["file_name"])
                found[category["name"]].append(Support(image, mask))
    return {name: found[name] for name in sorted(found) if len(found[name]) > 1}


def frames(davis: Path, sequence: str, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield frames of a DAVIS video and their masks."""
    for path in sorted((davis / "JPEGImages/480p" / sequence).glob("*.jpg"))[::every]:
        yield rgb(path), np.array(Image.open(davis / "Annotations/480p" / sequence / f"{path.stem}.png")) == 1


def queries(name: str, shown: list[Support], davis: Path, every: int) -> Iterator[tuple[str, Support, list]]:
    """Yield (row, support, query images with masks) of one category."""
    count = len(shown)
    pairs = [(i, (i + step) % count) for step in range(1, count) for i in range(count)]
    for support, query in pairs[:MOST_PAIRS]:
        yield name, shown[support], [(shown[query].image, shown[query].mask)]
    if name in VIDEOS:
        video = list(frames(davis, VIDEOS[name], every))
        for support in shown[:MOST_SUPPORTS]:
            yield f"{name} (DAVIS {VIDEOS[name]})", support, video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--half", choices=("tuned", "judged", "both"), default="both")
    parser.add_argument("--every", type=int, default=1, help="every how many frames of a video")
    parser.add_argument("--real", type=Path, default=REAL, metavar="FOLDER", help="where coco/ and davis/ lie")
    arguments = parser.parse_args()
    if not arguments.real.exists():
        print(f"skipped: needs {arguments.real}, which is not part of the repository")
        return
    cls = resolve("prototype")
    settings = parse_options(cls, ["backbone=efficientnet-lite2", *arguments.set])
    models = {"histogram": create("histogram"), "prototype": create("prototype", options=settings)}
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    for index, (name, shown) in enumerate(photographs(arguments.real).items()):
        half = "judged" if index % 2 else "tuned"
        if arguments.half not in (half, "both"):
            continue
        for row, support, images in queries(name, shown, arguments.real / "davis", arguments.every):
            for method, model in models.items():
                fitted = model.fit([support], seed=0)
                values = []
                for image, mask in images:
                    begin = time.perf_counter()
                    found = np.asarray(model.predict(fitted, image).mask)
                    spent[method].append(time.perf_counter() - begin)
                    values.append(sum(jf(found, mask)) / 2)
                scores[half, row, method].append(float(np.mean(values)))
    means = {key: 100 * float(np.mean(values)) for key, values in scores.items()}
    print(f"{'J&F':32}{'half':8}" + "".join(f"{method:>11}" for method in models))
    for half, row in dict.fromkeys(key[:2] for key in means):
        print(f"{row:32}{half:8}" + "".join(f"{means[half, row, method]:11.1f}" for method in models))
    for half in dict.fromkeys(key[0] for key in means):
        figures = []
        for method in models:
            rows = defaultdict(list)
            for (of_half, row, of_method), value in means.items():
                if (of_half, of_method) == (half, method):
                    rows[row.partition(" (DAVIS")[0]].append(value)
            figures.append(np.mean([np.mean(values) for values in rows.values()]))
        print(f"{'mean over categories':32}{half:8}" + "".join(f"{figure:11.1f}" for figure in figures))
    print("ms a frame: " + ", ".join(f"{method} {1000 * np.median(values):.0f}" for method, values in spent.items()))


if __name__ == "__main__":
    main()
