"""Writes the split column and the hashes of a recipe's folder, after labels of a source came in.

python tools/recipe_hashes.py icvos/recipes/ic-vos-r1
"""

from __future__ import annotations

import sys
from pathlib import Path

from icvos.builders.published import SEQUENCE_COLUMNS, load_recipe, part_of, write_hashes
from icvos.errors import IcvosError
from icvos.files import read_csv, write_csv


def main(folder: Path) -> None:
    """Write both, in place."""
    name = load_recipe(folder).name
    for table in sorted(folder.glob("sequences*.csv")):
        rows = read_csv(table, SEQUENCE_COLUMNS)
        write_csv(
            table, SEQUENCE_COLUMNS, [{**row, "split": part_of(name, row["source"], row["video"])} for row in rows]
        )
    recipe = write_hashes(folder)
    print(f"{name}: {recipe.sha256}, of {', '.join(recipe.closed)}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]))
    except IcvosError as error:
        print(f"recipe_hashes: {error}", file=sys.stderr)
        sys.exit(2)
