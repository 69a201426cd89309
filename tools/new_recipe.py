"""Makes a folder of labels a recipe of one's own: all else follows from a benchmark that was built with them.

python tools/new_recipe.py FOLDER --name my-vos --benchmark BUILT --coco COCO
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from icvos.builders.published import RECIPE_SCHEMA, SEQUENCE_COLUMNS, check_own_name, part_of, write_hashes
from icvos.errors import IcvosError, InputError, UsageError
from icvos.files import read_csv, read_json, write_csv, write_json
from icvos.sources.coco import open_coco


def main(folder: Path, *, name: str, benchmark: Path, coco: Path) -> None:
    """Write ``recipe.json`` and ``sequences.csv`` beside the labels, with the hashes.

    Args:
        folder: It has ``objects*.csv`` and ``complete*.csv``.
        name: Of the recipe.
        benchmark: A build from raw data with these labels; its rules, sequences and supports become the recipe's.
        coco: What its supports were drawn from.

    Raises:
        UsageError: The name is a published one, or the folder has a recipe.
        InputError: The labels or the benchmark cannot be read.
    """
    check_own_name(name)
    if (folder / "recipe.json").exists():
        raise UsageError("the folder has a recipe", where=folder, fix="tools/recipe_hashes.py brings it up to date")
    built = read_json(benchmark / "benchmark.json", InputError)
    if "rules" not in built or "support_pool" not in built:
        raise UsageError("it is no build of raw data", where=benchmark, expected="one of icvos build-data ic-vos")
    split = built["support_pool"]["split"]
    pool = open_coco(coco, split)
    header = {
        "schema": RECIPE_SCHEMA,
        "name": name,
        "sources": {source["id"]: {"state": "closed"} for source in built["sources"]},
        "builder": built["builder"],
        "rules": built["rules"],
        "supports": {"source": "coco", "split": split, "images": len(pool.images), "annotations": pool.annotations},
    }
    videos = read_csv(benchmark / "videos.csv", ("source", "source_name", "source_split", "frames"))
    rows = [
        {**row, "video": row["source_name"], "split": part_of(name, row["source"], row["source_name"])}
        for row in videos
    ]
    write_csv(folder / "sequences.csv", SEQUENCE_COLUMNS, [{**row, "objects": None} for row in rows])
    write_json(folder / "recipe.json", header)
    recipe = write_hashes(folder)
    print(f"{name}: {recipe.sha256}, of {', '.join(recipe.closed)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with objects*.csv and complete*.csv")
    parser.add_argument("--name", required=True, help="of the recipe")
    parser.add_argument("--benchmark", type=Path, required=True, help="built with these labels")
    parser.add_argument("--coco", type=Path, required=True, help="what its supports were drawn from")
    words = parser.parse_args()
    try:
        main(words.folder, name=words.name, benchmark=words.benchmark, coco=words.coco)
    except IcvosError as error:
        print(f"new_recipe: {error}", file=sys.stderr)
        sys.exit(2)
