"""JSON in COCO's manner, written entry by entry so that none of its lists is held, and its masks checked again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from icvos.benchmark import Benchmark
from icvos.errors import in_words
from icvos.masks import LARGEST_SIDE, code_area, code_box, encode_code, segmentation_code
from icvos.sources.annotations import Entry

__all__ = [
    "category_entries",
    "category_problems",
    "check_pixels",
    "differing",
    "info",
    "json_file",
    "json_line",
    "json_lines",
    "json_list",
    "pixels",
]


def json_line(entry: Mapping[str, Any]) -> bytes:
    """Return an entry as a line of JSON, in ASCII."""
    return json.dumps(entry, separators=(",", ":"), allow_nan=False).encode("ascii")


def json_lines(entries: Iterable[Mapping[str, Any]]) -> bytes:
    """Return entries as a piece of a list: a line each, commas between them."""
    return b",\n".join(map(json_line, entries))


def json_list(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a JSON list of pieces as ``json_lines`` makes them; an empty piece holds no entry."""
    before = b"[\n"
    for piece in filter(None, pieces):
        yield before
        yield piece
        before = b",\n"
    yield b"[]" if before == b"[\n" else b"\n]"


def json_file(head: Mapping[str, Any], lists: Mapping[str, Iterable[bytes]]) -> Iterator[bytes]:
    """Yield a JSON object: a few members, then lists of pieces as ``json_lines`` makes them."""
    before = b"{\n"
    for name, value in head.items():
        yield before + json_line({name: value})[1:-1]
        before = b",\n"
    for name, pieces in lists.items():
        yield before + json.dumps(name).encode("ascii") + b":"
        yield from json_list(pieces)
        before = b",\n"
    yield b"\n}\n"


def info(benchmark: Benchmark) -> dict[str, Any]:
    """Return COCO's ``info`` of a benchmark; nothing in it is of the time or the machine."""
    licences = benchmark.header.get("licences")
    return {
        "description": benchmark.name,
        "version": benchmark.version,
        "manifest_sha256": benchmark.manifest_sha256,
        "licences": licences if isinstance(licences, dict) else {},
    }


def category_entries(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return COCO's ``categories``: every name of the vocabulary, its number in the benchmark as its id."""
    names = enumerate(benchmark.vocabulary.names, 1)
    return [{"id": number, "name": name, "supercategory": ""} for number, name in names]


def pixels(mask: np.ndarray) -> dict[str, Any] | None:
    """Return the ``segmentation`` (compressed run lengths), ``area`` and ``bbox`` of a (H, W) bool mask; None if empty.

    The box is [x, y, width, height], as pycocotools gives it.
    """
    if not mask.any():
        return None
    code = encode_code(mask)
    text = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
    return {"segmentation": text, "area": code_area(code), "bbox": code_box(code)}


# ---- reading it again ------------------------------------------------------------------------------------------------


def check_pixels(entry: Entry, marked: Mapping[str, Any], size: tuple[int, int], field: str = "segmentation") -> None:
    """Compare a segmentation with the area and box beside it.

    Args:
        entry: Whose it is.
        marked: ``segmentation``, ``area`` and ``bbox`` as JSON has them.
        size: (H, W) of its image.
        field: What the segmentation is called in messages.

    Raises:
        SourceError: It is broken or of another size, or has another area or box.
    """
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise entry.broken(field, f"its image is {size[0]}x{size[1]} (HxW)")
    try:
        code = segmentation_code(marked.get("segmentation"), size)
    except ValueError as problem:
        raise entry.broken(field, problem) from None
    area = 0 if code is None else code_area(code)
    if code is None or not area:
        raise entry.broken(field, "nothing is marked in it")
    if marked.get("area") != area or marked.get("bbox") != code_box(code):
        raise entry.broken(field, f"its area is {area} and its box {in_words(code_box(code))}")


def differing(entry: Entry, wanted: Mapping[str, Any]) -> str | None:
    """Return which field of an entry is not what the tables say, in a line; None if none is."""
    for name, value in wanted.items():
        if entry.fields.get(name) != value:
            return f"{entry.path.name}: {entry.problem(name, '').what}, and the tables say {in_words(value)}"
    return None


def category_problems(entries: Iterable[Entry], benchmark: Benchmark) -> Iterator[str]:
    """Yield a line where categories are not those of the vocabulary."""
    wanted = category_entries(benchmark)
    listed = list(entries)
    for entry, category in zip(listed, wanted):
        problem = differing(entry, {name: category[name] for name in ("id", "name")})
        if problem is not None:
            yield problem
    if len(listed) != len(wanted):
        yield f"{len(listed)} categories, and the benchmark has {len(wanted)}"
