"""Published recipes: a folder with ``recipe.json`` and CSV files, and the hash that a benchmark of its name is held to.

``objects*.csv``, ``complete*.csv`` and ``extra*.csv`` are recipe files (``icvos.builders.recipe``); ``sequences*.csv``
says of every sequence of a source its frames and objects, where they are known, and whether it is of the dev or the
test part.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.builders.extra import EXTRA_COLUMNS, MAPS
from icvos.builders.recipe import Recipe, read_recipes
from icvos.categories import Vocabulary
from icvos.errors import InputError, UsageError, did_you_mean, in_words
from icvos.files import read_csv, read_json, write_json
from icvos.names import name_problem
from icvos.sources.expected import expected_counts

__all__ = [
    "FSVOS_PREFIX",
    "PAPER_COUNTS",
    "PARTS",
    "RECIPE_SCHEMA",
    "SACO_PREFIX",
    "SEQUENCE_COLUMNS",
    "VOS_PREFIX",
    "WHOLE_PREFIXES",
    "ExpectedSequence",
    "PublishedRecipe",
    "check_own_name",
    "load_recipe",
    "open_recipes",
    "part_of",
    "published_names",
    "why_reserved",
    "write_hashes",
]

RECIPE_SCHEMA = "icvos-recipe/1"
PARTS = ("all", "dev", "test")
"""The parts that a builder may take; a sequence is of ``dev`` or of ``test``."""

PAPERS = "ic-vos"
_RELEASE = expected_counts("IC-VOS, the authors' release", "").counts
PAPER_COUNTS = {"videos": _RELEASE["sequences"], "frames": _RELEASE["frames"]}
"""Of IC-VOS as the paper's Table I prints them."""

FEWSHOT = ("coco-20i", "pascal-5i", "coco2pascal", "coco-20i-to-pascal-5i", "fss-1000")
LVIS = "lvis-92i"
"""Of the names that ``build-data lvis-92i`` gives, by the number of shots."""
CUSTOM = "custom:"
VOS_PREFIX = "vos-"
"""Of the names of whole splits, ``vos-davis17-val``, that ``build-data vos`` gives."""
FSVOS_PREFIX = "youtube-fsvos-"
"""Of the names of whole groups, ``youtube-fsvos-1``, that ``build-data youtube-fsvos`` gives."""
SACO_PREFIX = "saco-ic-"
"""Of the names that ``build-data saco-ic`` gives, ``saco-ic-smartglasses-test``."""
WHOLE_PREFIXES = {VOS_PREFIX: "vos", FSVOS_PREFIX: "youtube-fsvos", SACO_PREFIX: "saco-ic"}
"""The builders that name what is whole, by the names' beginnings; its header says that it is."""

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
SEQUENCE_COLUMNS = ("source", "video", "source_split", "frames", "objects", "split")


@dataclass(frozen=True)
class ExpectedSequence:
    """What a recipe expects of a sequence; None where nobody published it.

    Attributes:
        frames, objects: How many.
        part: ``dev`` or ``test``.
        source_split: ``train``, ``val``, … of the data set.
    """

    frames: int | None
    objects: int | None
    part: str
    source_split: str


@dataclass(frozen=True)
class PublishedRecipe:
    """A recipe folder, read.

    Attributes:
        name: Benchmarks of it are called ``<name>-<source>``, or ``<name>`` where all of its sources are closed.
        folder: Where it lies.
        header: ``recipe.json``.
        labels: What its CSV files say.
        sequences: By (source, video).
    """

    name: str
    folder: Path
    header: Mapping[str, Any]
    labels: Recipe
    sequences: Mapping[tuple[str, str], ExpectedSequence]

    @property
    def closed(self) -> tuple[str, ...]:
        """Ids of the sources whose labels are final."""
        return tuple(sorted(name for name, state in self.states.items() if state == "closed"))

    @property
    def states(self) -> dict[str, str]:
        """Of each source, ``open`` or ``closed``."""
        return {name: row["state"] for name, row in self.header["sources"].items()}

    @property
    def is_open(self) -> bool:
        """Whether labels of a source are still to be given."""
        return len(self.closed) < len(self.header["sources"])

    def expected(self, source: str, part: str = "all") -> dict[str, ExpectedSequence]:
        """Return the sequences of a source that are of a part, by name."""
        return {video: row for (of, video), row in self.sequences.items() if of == source and part in ("all", row.part)}

    def source_sha256(self, source: str) -> str:
        """Return the hash of all that a benchmark of one source is built by: labels, sequences, rules, supports."""
        sequences = [
            [video, row.source_split, row.frames, row.objects, row.part]
            for video, row in sorted(self.expected(source).items())
        ]
        reads = self.header["sources"][source].get("reads", {})
        labels = self.labels.of_sources([source]).sha256
        return _sha256(
            [RECIPE_SCHEMA, self.name, source, reads, labels, sequences, self.header["rules"], self.header["supports"]]
        )

    @property
    def sha256(self) -> str:
        """The hash of all sources that are closed."""
        return self.sha256_of(self.closed)

    def sha256_of(self, sources: Sequence[str]) -> str:
        """Return the hash of a benchmark of these sources: that of the one, or of the hashes of several."""
        hashes = [self.source_sha256(source) for source in sorted(sources)]
        return hashes[0] if len(hashes) == 1 else _sha256(hashes)

    def benchmark_name(self, sources: Sequence[str], part: str = "all") -> str | None:
        """Return what a benchmark of these sources is called; None where no such benchmark is published."""
        if not sources or not set(sources) <= set(self.closed):
            return None
        whole = not self.is_open and set(sources) == set(self.closed)
        if not whole and len(sources) > 1:
            return None
        end = "" if part == "all" else f"-{part}"
        return (self.name if whole else f"{self.name}-{sources[0]}") + end

    def problems(self) -> list[str]:
        """Return why nothing may carry this recipe's name, a line each: its files are not those that it states."""
        stated = {source: self.header["sources"][source].get("sha256") for source in self.closed}
        out = [
            f"the recipe's files of {source} have the hash {self.source_sha256(source)[:8]}, "
            + (f"and recipe.json says {str(said)[:8]}" if said else "and recipe.json states none")
            for source, said in stated.items()
            if said != self.source_sha256(source)
        ]
        if self.folder != FOLDER / self.name and (why := why_reserved(self.name)):
            packaged = load_recipe(self.name) if self.name in published_names() else None
            # Without its open sources, a part of a recipe would be called as the whole.
            if packaged is None or (packaged.sha256, packaged.states) != (self.sha256, self.states):
                out.append(f"the recipe is called {self.name}: {why}")
        return out


def published_names() -> list[str]:
    """Return the names of the recipes that come with icvos."""
    return sorted(path.parent.name for path in FOLDER.glob("*/recipe.json"))


def why_reserved(name: str) -> str:
    """Return why a benchmark of one's own may not be called so, or nothing; what only looks different is the same."""
    name = unicodedata.normalize("NFKC", name).strip().casefold()
    if not name:
        return "that is no name"
    if name in FEWSHOT or name.startswith(LVIS):
        return f"build-data gives that name to few-shot episodes of images: {name}"
    if name == PAPERS:
        return "that is the name of the paper's benchmark"
    if name.startswith(CUSTOM):
        return f"names that begin with {CUSTOM} are given by the builder"
    for prefix, builder in WHOLE_PREFIXES.items():
        if name.startswith(prefix):
            return f"names that begin with {prefix} are of whole data sets and given by build-data {builder}"
    of = [recipe for recipe in published_names() if name == recipe or name.startswith(f"{recipe}-")]
    return f"that name belongs to the published recipe {of[0]}" if of else ""


def check_own_name(name: str) -> None:
    """Refuse a name of one's own that is a published one, or looks like one that the builder gives, or that is none.

    Raises:
        UsageError: It is so; of what is no name runs of the benchmark would be refused too (``name_problem``).
    """
    if why := why_reserved(name) or name_problem(name):
        raise UsageError(
            f"a benchmark of one's own is not called {in_words(name[:40])}: {why}", fix="give another --name"
        )


def load_recipe(name: str | Path, words: Vocabulary | None = None) -> PublishedRecipe:
    """Read a recipe that comes with icvos, or a folder with ``recipe.json``.

    Args:
        name: A name as ``ic-vos-r1``, or a folder.
        words: The vocabulary of its categories; default COCO's 80.

    Raises:
        InputError: The folder is no recipe, or a file of it is broken.
        UsageError: No recipe of that name.
    """
    from icvos.categories import COCO80

    folder = FOLDER / name if str(name) in published_names() else Path(name)
    if not folder.is_dir():
        raise UsageError(
            f"no recipe '{name}'",
            expected="a CSV file, a folder with recipe.json, or a published name",
            fix=did_you_mean(str(name), published_names()),
        )
    path = folder / "recipe.json"
    if not path.is_file():
        raise InputError("no recipe", where=folder, expected="recipe.json in it")
    header = read_json(path, InputError)
    _check_header(header, path)
    csvs = _label_files(folder)
    sequences: dict[tuple[str, str], ExpectedSequence] = {}
    for table in sorted(folder.glob("sequences*.csv")):
        for row in read_csv(table, SEQUENCE_COLUMNS):
            key = (row["source"], row["video"])
            if key in sequences:
                raise InputError(f"{','.join(key)} stands twice", where=table, expected="a row for each sequence")
            if row["split"] not in PARTS[1:]:
                raise InputError(f"split of {','.join(key)} is '{row['split']}'", where=table, expected="dev or test")
            frames, objects = (_count(row, column, table) for column in ("frames", "objects"))
            sequences[key] = ExpectedSequence(frames, objects, row["split"], row["source_split"])
    return PublishedRecipe(header["name"], folder, header, read_recipes(csvs, words or COCO80), sequences)


def open_recipes(given: Iterable[str | Path], words: Vocabulary) -> tuple[Recipe, PublishedRecipe | None]:
    """Read what ``--recipe`` was given: CSV files, folders of them, and at most one published recipe by name or folder.

    Returns:
        All labels together, and the published recipe if there is one.

    Raises:
        InputError: A broken file, or two answers to one question.
        UsageError: Two published recipes, or an unknown name.
    """
    files: list[Path] = []
    published: PublishedRecipe | None = None
    for each in given:
        path = Path(each)
        if str(each) not in published_names() and (path.is_file() or path.suffix.lower() == ".csv"):
            files.append(path)
            continue
        if str(each) not in published_names() and path.is_dir() and not (path / "recipe.json").exists():
            files += _label_files(path)
            continue
        if published is not None:
            raise UsageError("two published recipes are given", expected="one, and CSV files beside it")
        published = load_recipe(each, words)
        files += _label_files(published.folder)
    return read_recipes(files, words), published


def part_of(recipe: str, source: str, video: str) -> str:
    """Return the part of a sequence, ``dev`` (one third) or ``test``: a function of the three names alone."""
    number = int(hashlib.sha256(f"{recipe},{source},{video}".encode()).hexdigest(), 16)
    return "dev" if number % 3 == 0 else "test"


def write_hashes(folder: Path) -> PublishedRecipe:
    """Write into ``recipe.json`` the hashes of a recipe's closed sources, and of all of them together."""
    recipe = load_recipe(folder)
    sources = {
        name: {**row, "sha256": recipe.source_sha256(name) if name in recipe.closed else None}
        for name, row in recipe.header["sources"].items()
    }
    write_json(folder / "recipe.json", {**recipe.header, "sources": sources, "sha256": recipe.sha256})
    return load_recipe(folder)


def _label_files(folder: Path) -> list[Path]:
    """Return the files that say what objects are, ``objects.csv`` or ``objects-mose.csv``, what is complete, and what
    masks made in another tool are of.

    Raises:
        InputError: There is none, or there are masks that none is of.
    """
    files = sorted(path for kind in ("objects", "complete", "extra") for path in folder.glob(f"{kind}*.csv"))
    if not files:
        raise InputError("the recipe has no labels", where=folder, expected="objects*.csv and complete*.csv in it")
    if (folder / MAPS).is_dir() and not any(path.name.startswith("extra") for path in files):
        raise InputError(
            "no table says what these masks are of",
            where=folder / MAPS,
            expected=f"extra*.csv: {','.join(EXTRA_COLUMNS)}",
        )
    return files


def _check_header(header: Any, path: Path) -> None:
    if not isinstance(header, dict) or header.get("schema") != RECIPE_SCHEMA:
        raise InputError("the recipe is of another schema", where=path, expected=RECIPE_SCHEMA)
    sources, supports = header.get("sources"), header.get("supports")
    good = (
        isinstance(header.get("name"), str)
        and isinstance(header.get("rules"), dict)
        and isinstance(supports, dict)
        and isinstance(supports.get("split"), str)
        and all(type(supports.get(what)) is int for what in ("images", "annotations"))
        and isinstance(sources, dict)
        and all(isinstance(row, dict) and row.get("state") in ("open", "closed") for row in sources.values())
        and all(isinstance(row.get("reads", {}), dict) for row in sources.values())
    )
    if not good:
        raise InputError(
            "the recipe is incomplete",
            where=path,
            expected="name, rules, supports (split, images, annotations), and sources, each open or closed (reads)",
        )
    name = header["name"]
    if not name.isprintable() or "/" in name or name != name.strip() or not name:
        raise InputError(
            f"the recipe is called {in_words(name[:40])}", where=path, expected="a name that can be printed, without /"
        )


def _count(row: Mapping[str, str], column: str, path: Path) -> int | None:
    text = row[column].strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InputError(
            f"{column} of {row['video']} is '{text[:40]}'", where=path, expected="a whole number, or nothing"
        )
    return int(text)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
