"""Supports and queries as COCO JSON: an annotation for each category of an image, ignored regions as crowds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from icvos.benchmark import Benchmark, Role
from icvos.exports.coco_json import (
    category_entries,
    category_problems,
    check_pixels,
    differing,
    info,
    json_file,
    json_line,
    json_lines,
    pixels,
)
from icvos.exports.contents import missing_files, stills_by_name, unmarked
from icvos.exports.folder import ExportFolder
from icvos.exports.formats import ExportOptions
from icvos.files import read_file
from icvos.images import image_size
from icvos.progress import Progress, Update
from icvos.sources.annotations import by_id, read_annotations, relative_file
from icvos.view import View

__all__ = ["still_problems", "write_stills"]

KINDS = {"images": "image", "categories": "category", "annotations": "annotation"}
CHUNK = 64
"""Images whose annotations are made, and kept until the export is whole, at once."""


@dataclass(frozen=True)
class Still:
    """An image.

    Attributes:
        id: Of the image in the export.
        name: In the benchmark.
        masks: The categories of which it has a mask, ascending, each with the number of the mask among all.
    """

    id: int
    name: str
    masks: tuple[tuple[int, int], ...]


def _stills(benchmark: Benchmark, role: Role) -> list[Still]:
    stills, count = [], 0
    for number, (name, categories) in enumerate(stills_by_name(benchmark, role).items(), 1):
        stills.append(Still(number, name, tuple((c, count + index) for index, c in enumerate(categories))))
        count += len(categories)
    return stills


def _thing_id(mask: int) -> int:
    return 2 * mask + 1


def _ignored_id(mask: int) -> int:
    return 2 * mask + 2


def write_stills(view: View, folder: ExportFolder, role: Role, options: ExportOptions, progress: Progress) -> None:
    """Write ``supports.json`` or ``queries.json``, and the images where the options want them.

    Images are called by their paths in the benchmark: its folder, or the export with images, is the images' folder.
    """
    stills = _stills(view.benchmark, role)

    def images() -> Iterator[bytes]:
        for still in stills:
            path = view.image_path(role, still.masks[0][0], still.name)
            height, width = image_size(read_file(path), path)
            file = f"{role}/images/{path.name}"
            yield json_line({"id": still.id, "file_name": file, "height": height, "width": width})

    def annotations() -> Iterator[bytes]:
        for start in range(0, len(stills), CHUNK):
            chunk = stills[start : start + CHUNK]
            yield folder.part(f"{role}-{start}", partial(_annotations, view, role, chunk))
            progress(Update(f"{role} encoded", start + len(chunk), len(stills)))

    if options.with_frames:
        for still in stills:
            path = view.image_path(role, still.masks[0][0], still.name)
            folder.place(f"{role}/images/{path.name}", path, link=options.link)
    categories = map(json_line, category_entries(view.benchmark))
    lists = {"images": images(), "categories": categories, "annotations": annotations()}
    folder.write(f"{role}.json", lambda: json_file({"info": info(view.benchmark), "licenses": []}, lists))


def _annotations(view: View, role: Role, stills: Sequence[Still]) -> bytes:
    return json_lines(entry for still in stills for entry in _entries(view, role, still))


def _entries(view: View, role: Role, still: Still) -> Iterator[dict[str, Any]]:
    for category, mask in still.masks:
        labels = view.labels(role, category, still.name)
        for identity, value, crowd in ((_thing_id(mask), 1, 0), (_ignored_id(mask), 255, 1)):
            marked = pixels(labels == value)
            if marked is not None:
                about = {"id": identity, "image_id": still.id, "category_id": category, "iscrowd": crowd}
                yield {**about, **marked}


def still_problems(root: Path, tables: Benchmark, role: Role) -> Iterator[str]:
    """Yield what is wrong with ``supports.json`` or ``queries.json`` of an export, a line each.

    Raises:
        InputError: The file, or an entry of it, is broken.
    """
    name = f"{role}.json"
    lists = read_annotations(root / name, KINDS, expected=f"the {role} of the benchmark, in COCO's form")
    yield from category_problems(lists["categories"], tables)
    stills = {still.id: still for still in _stills(tables, role)}
    images = dict(by_id(lists["images"]))
    if set(images) != set(stills):
        yield f"{name}: {len(images)} images, and {len(stills)} {role} are in episodes.csv"
    files = {}
    for number, entry in images.items():
        file = relative_file(entry, entry.fields.get("file_name"), "file_name")
        known = stills.get(number)
        if known is None or (file.parent, file.stem) != (PurePosixPath(role, "images"), known.name):
            yield f"{name}: image {number} is {file}, which is not image {number} of episodes.csv"
        files[str(file)] = f"a file of {role}"
    yield from missing_files(root, files)
    masks = {mask: (still.id, category) for still in stills.values() for category, mask in still.masks}
    wanted = {_thing_id(mask): {"image_id": i, "category_id": c, "iscrowd": 0} for mask, (i, c) in masks.items()}
    wanted |= {_ignored_id(mask): {"image_id": i, "category_id": c, "iscrowd": 1} for mask, (i, c) in masks.items()}
    seen = set()
    for number, entry in by_id(lists["annotations"]):
        problem = differing(entry, wanted[number]) if number in wanted else f"{name}: annotation {number} is of no mask"
        if problem is not None:
            yield problem
        elif entry.integer("image_id") in images:
            image = images[entry.integer("image_id")]
            size = image.integer("height", least=1), image.integer("width", least=1)
            check_pixels(entry, entry.fields, size)
        seen.add(number)
    empty = unmarked(tables, role)
    for mask, (image_id, category) in masks.items():
        if _thing_id(mask) not in seen and (stills[image_id].name, category) not in empty:
            yield f"{name}: nothing of category {category} is marked in {stills[image_id].name}"
