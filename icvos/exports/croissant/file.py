"""A Croissant 1.1 file beside a benchmark: what it is, its terms, its files and its tables, for machines.

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, with the vocabulary of responsible AI,
http://mlcommons.org/croissant/RAI/1.0. Of that it has what the NeurIPS track of evaluations and datasets asks for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from icvos.benchmark import Benchmark
from icvos.costs import in_bytes
from icvos.errors import UsageError, in_words
from icvos.exports.about import About, Source
from icvos.exports.columns import Column, table_columns
from icvos.exports.croissant.context import CONFORMS_TO, CONTEXT, IDENTIFIER
from icvos.exports.formats import ExportOptions
from icvos.exports.texts import check_address
from icvos.files import absolute_path, iter_csv, real_path, to_json
from icvos.manifest import NAME as MANIFEST
from icvos.manifest import TABLES, Digest, read_manifest
from icvos.progress import Progress
from icvos.sources.facts import UNKNOWN
from icvos.view import View

__all__ = ["compose"]

DATA_TYPES = {"text": "sc:Text", "integer": "sc:Integer", "float": "sc:Float"}
MIME = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
}
MASK = ["cr:SegmentationMask", "sc:ImageObject"]

DESCRIPTIONS = {
    "benchmark.json": "The benchmark's header: name, version, vocabulary, counts, sources, rules, licences.",
    "episodes.csv": "Who is shown to whom: a row an episode.",
    "frames.csv": "A row a frame: what it is called in its data set.",
    "pairs.csv": "A row for a category in a video.",
    "videos.csv": "A row a video.",
    MANIFEST: "Size and SHA-256 of every file of the benchmark.",
}
KEYS = {"videos": ("video",), "pairs": ("video", "category"), "frames": ("video", "frame"), "episodes": ("id",)}

_NAME = (r".*/([^/]+)\.[^/.]+$", "text", "The image's name.")
_CATEGORY = (r".*/([0-9]+)/[^/]+$", "integer", "The category's number in the vocabulary.")
_VIDEO = (r".*/videos/([^/]+)/.*", "text", "The video's name.")
_FRAME = (r".*/([0-9]+)\.[^/.]+$", "integer", "The frame's number, from 0.")


@dataclass(frozen=True)
class FileSet:
    """Files of one kind.

    Attributes:
        files: Where they lie in a benchmark, a regular expression.
        folder: The same as a glob, without the file's name.
        text: What they are.
        records: The record set that has one for each.
        fields: Of a record, what is read from the file's path: an expression with one group, a type, what it says.
        mask: Whether they are masks.
    """

    files: str
    folder: str
    text: str
    records: str
    fields: Mapping[str, tuple[str, str, str]]
    mask: bool


FILE_SETS = {
    "frame-files": FileSet(
        "videos/[^/]+/JPEGImages/",
        "videos/*/JPEGImages",
        "Frames of the videos.",
        "frame_images",
        {"video": _VIDEO, "frame": _FRAME},
        False,
    ),
    "mask-files": FileSet(
        "videos/[^/]+/Annotations/[0-9]+/",
        "videos/*/Annotations/*",
        "Masks of a category on a frame: 1 where it is, else 0.",
        "masks",
        {"video": _VIDEO, "category": _CATEGORY, "frame": _FRAME},
        True,
    ),
    "query-files": FileSet("queries/images/", "queries/images", "Query images.", "queries", {"query": _NAME}, False),
    "query-mask-files": FileSet(
        "queries/masks/[0-9]+/",
        "queries/masks/*",
        "Masks of a category on a query: 1 where it is, 255 where it is not counted, else 0.",
        "query_masks",
        {"query": _NAME, "category": _CATEGORY},
        True,
    ),
    "support-files": FileSet(
        "supports/images/", "supports/images", "Support images.", "support_images", {"support": _NAME}, False
    ),
    "support-mask-files": FileSet(
        "supports/masks/[0-9]+/",
        "supports/masks/*",
        "Masks of a category on a support: 1 where it is, 255 where it is not counted, else 0.",
        "support_masks",
        {"support": _NAME, "category": _CATEGORY},
        True,
    ),
}


@dataclass
class _Files:
    """What the manifest lists: tables by name, and of each set how many files of which suffix, and their bytes."""

    tables: dict[str, Digest] = field(default_factory=dict)
    suffixes: dict[str, Counter[str]] = field(default_factory=dict)
    sizes: Counter[str] = field(default_factory=Counter)


def compose(subject: Benchmark, out: Path, options: ExportOptions, progress: Progress) -> str:
    """Return the text of a benchmark's Croissant file.

    Args:
        subject: The benchmark; its tables are compared with its manifest.
        out: Where the file will lie: in a folder above the benchmark, unless ``options.url`` is told.
        options: ``date`` it must have.
        progress: Is not told: only tables are read.

    Raises:
        UsageError: No date, none of ISO 8601, no address, or a place from which the benchmark has no path.
        BenchmarkError: A table changed or is missing.
    """
    _check_date(options.date)
    base = _checked_url(options.url)
    View(subject)
    about = About(subject)
    folder = absolute_path(subject.root).name if base else _below(subject.root, out)
    files = _listed(subject)
    address = f"{base}/{quote(folder)}" if base else folder
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": subject.name,
        "description": about.description,
        "conformsTo": CONFORMS_TO,
        "identifier": f"{IDENTIFIER}{subject.manifest_sha256}",
        "url": f"{address}/",
        "version": _semantic(subject.version),
        "datePublished": options.date,
        "license": _licences(about.sources),
        "creator": {
            "@type": "sc:Organization",
            "name": "The icvos contributors",
            "description": "They wrote the builder; who ran it is not recorded.",
        },
        "citeAs": "\n\n".join(about.citations) or f"{subject.name}, version {subject.version}",
        "keywords": about.keywords,
        "isLiveDataset": False,
        **_responsible(about),
        **_provenance(about),
        "distribution": [*_file_objects(files, address, subject), *_file_sets(files, folder)],
        "recordSet": [*_tables(subject, files), *_file_records(files)],
    }
    return to_json(content)


def _check_date(text: str) -> None:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--date is {in_words(text)}", expected="a day as YYYY-MM-DD") from None


def _checked_url(url: str) -> str:
    """Return an address without the slash at its end; "" of none."""
    if url:
        check_address("--url", url, "the address of a folder, https://…")
        if {"?", "#"}.intersection(url):
            raise UsageError(f"--url is {in_words(url)}", expected="the address of a folder, https://…")
    return url.rstrip("/")


def _below(root: Path, out: Path) -> str:
    """Return the path of a benchmark from the folder of its file."""
    for read in (absolute_path, real_path):
        inner, outer = read(root), read(out).parent
        if outer != inner and inner.is_relative_to(outer):
            return inner.relative_to(outer).as_posix()
    raise UsageError(
        "from there the benchmark has no path that holds when both are moved",
        where=out,
        expected=f"a file in {absolute_path(root).parent}, or in a folder above it",
        fix="choose another --out, or give --url",
    )


def _listed(benchmark: Benchmark) -> _Files:
    files = _Files()
    for path, size, sha256 in read_manifest(benchmark.root):
        if path in TABLES:
            files.tables[path] = size, sha256
        for name, files_of in FILE_SETS.items():
            if re.match(files_of.files, path):
                files.suffixes.setdefault(name, Counter())[PurePosixPath(path).suffix] += 1
                files.sizes[name] += size
    return files


def _semantic(version: str) -> str:
    """Return a benchmark's version, ``1.73df959b``, as a semantic one, 1.0.0+73df959b, which the format wants."""
    if re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", version):
        return version
    first, _, rest = version.partition(".")
    if not re.fullmatch("0|[1-9][0-9]*", first):
        first, rest = "0", version
    mark = re.sub("[^0-9A-Za-z.-]", "-", rest).strip(".").replace("..", ".")
    return f"{first}.0.0" + (f"+{mark}" if mark else "")


def _licences(sources: Sequence[Source]) -> list[Any]:
    """Return the licences of the sources: SPDX's address of each that is on its list, else its own words."""
    out: list[Any] = []
    for source in sources:
        spdx = source.facts.spdx
        work = {"@type": "sc:CreativeWork", "name": source.words, **({"url": source.page} if source.page else {})}
        licence = f"https://spdx.org/licenses/{spdx}.html" if spdx else work
        if licence not in out:
            out.append(licence)
    return out or [{"@type": "sc:CreativeWork", "name": f"licence {UNKNOWN}"}]


def _responsible(about: About) -> dict[str, Any]:
    return {
        "rai:dataCollection": about.collection,
        "rai:dataCollectionType": ["Software Collection" if about.synthetic else "Secondary Data Analysis"],
        "rai:dataPreprocessingProtocol": about.processing,
        "rai:dataAnnotationProtocol": about.annotation,
        "rai:dataBiases": about.biases,
        "rai:dataLimitations": [*about.limitations, *_terms(about)],
        "rai:personalSensitiveInformation": about.privacy,
        "rai:dataUseCases": about.use_cases,
        "rai:dataSocialImpact": about.impact,
        "rai:hasSyntheticData": about.synthetic,
    }


def _terms(about: About) -> list[str]:
    lines = [f"{source.title}: {source.terms}." for source in about.sources]
    return [*lines, about.images_by_licence] if about.images_by_licence else lines


def _provenance(about: About) -> dict[str, Any]:
    return {
        "prov:wasDerivedFrom": [
            {"@type": "prov:Entity", "prov:label": source.title, **({"url": source.page} if source.page else {})}
            for source in about.sources
        ],
        "prov:wasGeneratedBy": {"@type": "prov:Activity", "prov:label": about.made_by},
    }


def _file_objects(files: _Files, address: str, benchmark: Benchmark) -> Iterator[dict[str, Any]]:
    manifest = benchmark.root / MANIFEST
    digests = {**files.tables, MANIFEST: (manifest.stat().st_size, benchmark.manifest_sha256)}
    for name, (size, sha256) in sorted(digests.items()):
        yield {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "description": DESCRIPTIONS[name],
            "contentUrl": f"{address}/{name}",
            "contentSize": f"{size} B",
            "encodingFormat": MIME[PurePosixPath(name).suffix],
            "sha256": sha256,
        }


def _file_sets(files: _Files, folder: str) -> Iterator[dict[str, Any]]:
    place = re.sub(r"([\[*?])", r"[\1]", folder)  # as a glob it stands for itself
    for name, suffixes in sorted(files.suffixes.items()):
        formats = sorted({MIME[suffix.lower()] for suffix in suffixes if suffix.lower() in MIME})
        counted = f"{suffixes.total():,} files, {in_bytes(files.sizes[name])}, each with its SHA-256 in {MANIFEST}."
        yield {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": f"{FILE_SETS[name].text} {counted}",
            "encodingFormat": formats[0] if len(formats) == 1 else formats,
            "includes": [f"{place}/{FILE_SETS[name].folder}/*{suffix}" for suffix in sorted(suffixes)],
        }


def _tables(benchmark: Benchmark, files: _Files) -> Iterator[dict[str, Any]]:
    # A table comes after those that it refers to.
    for table in ("videos", "pairs", "frames", "episodes"):
        name = f"{table}.csv"
        if name not in files.tables:
            continue
        columns = _as_read(benchmark.root / name, table_columns(benchmark.root / name))
        keys = KEYS[table] if benchmark.kind == "video" else ("protocol", "id")
        fields = []
        for column, about in columns.items():
            source = {"fileObject": {"@id": name}, "extract": {"column": column}}
            refers = column == "video" and table != "videos"
            fields.append(
                {
                    "@type": "cr:Field",
                    "@id": f"{table}/{column}",
                    "name": column,
                    **({"description": about.text} if about.text else {}),
                    "dataType": DATA_TYPES[about.kind],
                    "source": source,
                    **({"references": {"field": {"@id": "videos/video"}}} if refers else {}),
                }
            )
        yield _record_set(table, DESCRIPTIONS[name], keys, fields)


def _as_read(path: Path, columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return the columns whose names are all numbers, ``00005``, as the numbers that readers of CSV make of them."""
    names = {name: 0 for name, column in columns.items() if column.kind == "text"}
    for row in iter_csv(path, ()):
        for name in list(names):
            if not re.fullmatch("[0-9]{0,15}", row[name]):
                del names[name]
            else:
                names[name] = max(names[name], len(row[name]))
    numbers = {name: digits for name, digits in names.items() if digits}
    return {
        name: Column("integer", f"{column.text} It is {numbers[name]} digits long at most, filled with zeros.".strip())
        if name in numbers
        else column
        for name, column in columns.items()
    }


def _file_records(files: _Files) -> Iterator[dict[str, Any]]:
    for name in sorted(files.suffixes):
        of = FILE_SETS[name]
        fields = []
        for column, (regex, kind, text) in of.fields.items():
            extract = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": regex}}
            fields.append(
                {
                    "@type": "cr:Field",
                    "@id": f"{of.records}/{column}",
                    "name": column,
                    "description": text,
                    "dataType": DATA_TYPES[kind],
                    "source": {"fileSet": {"@id": name}, **extract},
                }
            )
        content = "mask" if of.mask else "image"
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{of.records}/{content}",
                "name": content,
                "description": of.text,
                "dataType": MASK if of.mask else "sc:ImageObject",
                "source": {"fileSet": {"@id": name}, "extract": {"fileProperty": "content"}},
            }
        )
        yield _record_set(of.records, of.text, tuple(of.fields), fields)


def _record_set(name: str, text: str, keys: Sequence[str], fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": text,
        "key": [{"@id": f"{name}/{key}"} for key in keys],
        "field": fields,
    }
