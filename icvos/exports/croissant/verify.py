"""The check of a benchmark's Croissant file, which may be a stranger's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from icvos.benchmark import load_benchmark
from icvos.errors import IcvosError, InputError, in_words
from icvos.exports.croissant.context import CONFORMS_TO, CONTEXT, IDENTIFIER
from icvos.files import csv_header, file_sha256, read_json
from icvos.manifest import NAME as MANIFEST
from icvos.manifest import TABLES

__all__ = ["problems"]


def problems(path: Path) -> list[str]:
    """Return what is wrong with a Croissant file: other tables beside it, columns that are not there, not of the form.

    Where it names an address, the benchmark is looked at only if it lies beside it. mlcroissant, where it is installed,
    has the last word.

    Raises:
        InputError: It is no Croissant file of icvos.
    """
    content = _read(path)
    found = []
    root, folder, beside = _folder(content, path)
    if root.is_dir():
        found = [*_other_files(content, root, folder), *_other_columns(content, root)]
    elif beside:
        found = [f"{folder} is not beside it: move both together"]
    return found or _mlcroissant(path)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    ours = (
        isinstance(content, dict)
        and content.get("conformsTo") == CONFORMS_TO
        and str(content.get("identifier", "")).startswith(IDENTIFIER)
        and isinstance(content.get("distribution"), list)
        and isinstance(content.get("recordSet"), list)
        and all(isinstance(row, dict) for row in [*content["distribution"], *content["recordSet"]])
    )
    if not ours:
        raise InputError(
            "no Croissant file of icvos", where=path, expected=f"conformsTo {CONFORMS_TO}, and an identifier"
        )
    # A context elsewhere could be one that is fetched.
    if content.get("@context") != CONTEXT or _keys(content).count("@context") != 1:
        raise InputError("its @context is another one", where=path, fix="export it again")
    return content


def _keys(content: Any) -> list[str]:
    """Return the keys of all mappings, however deep."""
    found, left = [], [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            found += list(value)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def _folder(content: Mapping[str, Any], path: Path) -> tuple[Path, str, bool]:
    """Return the benchmark that a file tells of, its path from there, and whether that is the one that it names."""
    urls = [row.get("contentUrl") for row in content["distribution"] if row.get("@id") == MANIFEST]
    url = urls[0] if len(urls) == 1 and isinstance(urls[0], str) else ""
    remote = url.startswith(("http://", "https://"))
    folder = unquote(url.split("/")[-2]) if remote and url.count("/") > 2 else url.rpartition("/")[0]
    parts = PurePosixPath(folder).parts
    if not parts or ".." in parts or folder.startswith("/") or "\0" in folder:
        raise InputError(f"{MANIFEST} has no address that lies below it", where=path, fix="export it again")
    return path.parent / folder, folder, not remote


def _other_files(content: Mapping[str, Any], root: Path, folder: str) -> Iterator[str]:
    objects = [row for row in content["distribution"] if row.get("@type") == "cr:FileObject"]
    there = {name for name in (*TABLES, MANIFEST) if (root / name).is_file()}
    names = {str(row.get("@id")) for row in objects}
    yield from (f"{name} is not in it" for name in sorted(there - names))
    for row in objects:
        name = str(row.get("@id"))
        if name not in there:
            yield f"{in_words(name[:100])} is no file of {folder}"
            continue
        url = str(row.get("contentUrl"))
        if unquote(url).rpartition("/")[2] != name:
            yield f"{name} has another address"
        if row.get("contentSize") != f"{(root / name).stat().st_size} B":
            told = in_words(str(row.get("contentSize"))[:40])
            yield f"{name} has {(root / name).stat().st_size} bytes, it says {told}"
        elif row.get("sha256") != file_sha256(root / name):
            yield f"{name} is another one (other SHA-256)"
    if content["identifier"] != f"{IDENTIFIER}{file_sha256(root / MANIFEST)}" if MANIFEST in there else False:
        yield "the identifier is another benchmark's"
    try:
        if MANIFEST in there and content.get("name") != load_benchmark(root).name:
            yield "the name is another benchmark's"
    except IcvosError as error:
        yield str(error)


def _other_columns(content: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Yield where a table's columns are not those that are told of it."""
    for row in content["recordSet"]:
        name = f"{row.get('@id')}.csv"
        if name not in TABLES or not (root / name).is_file():
            continue
        fields = row.get("field")
        told = [str(each.get("name")) for each in fields if isinstance(each, dict)] if isinstance(fields, list) else []
        if told != csv_header(root / name):
            yield f"{name} has other columns"


def _mlcroissant(path: Path) -> list[str]:
    """Return what mlcroissant says of it, warnings too; nothing where it is not installed."""
    try:
        import mlcroissant
    except ImportError:
        return []
    try:
        issues = mlcroissant.Dataset(str(path)).metadata.ctx.issues
    except Exception as problem:  # it raises whatever its libraries raise
        return [f"mlcroissant refuses it: {line.strip()}" for line in str(problem).splitlines()[:3] if line.strip()]
    return sorted(f"mlcroissant says: {line}" for line in (*issues.errors, *issues.warnings))
