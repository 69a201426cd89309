"""A submission's archive: packed from a run, and read as what a stranger sent."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from icvos.errors import InputError, RunError
from icvos.evaluation.predictions import open_predictions
from icvos.files import atomic_write, check_id, free_bytes, open_file, read_file, to_json
from icvos.masks import encode_mask
from icvos.names import is_name, require_name

__all__ = ["SUBMISSION_SCHEMA", "pack", "unpack"]

SUBMISSION_SCHEMA = "icvos-submission/1"
FORM = re.compile(r"(run\.json|result\.json|episodes\.jsonl|submission\.json|masks/([^/]+)/[0-9]{5}\.png)")
# Their largest sizes: JSON takes some thirty times its size in memory where it is made to. The list has a row a file.
TEXTS = {"run.json": 4 << 20, "result.json": 16 << 20, "episodes.jsonl": 32 << 20, "submission.json": 1 << 12}
MAX_ROW, MAX_MASK, MAX_TOTAL, MAX_MEMBERS = 512, 16 << 20, 64 << 30, 5_000_000
# Text of records is some twenty times smaller when deflated; masks are deflated already.
MAX_RATIO = 200


def pack(
    run: Path, out: Path, *, masks: bool = True, predictions: Path | None = None, submitter: str | None = None
) -> int:
    """Write a run folder as an archive: the same bytes every time.

    Args:
        masks: Whether to take the masks along; without them a row stays ``self-reported``.
        predictions: Where the masks are that ``icvos score`` scored; by default the run's own ``masks``.
        submitter: Who sends it.

    Returns:
        The number of files in it.

    Raises:
        RunError: A file of the run is missing, or masks are wanted that were not saved.
        UsageError: The submitter is no name.
    """
    if submitter is not None:
        require_name("submitter", submitter)
    if masks and predictions is None and not (run / "masks").is_dir():
        raise RunError(
            "the run holds no masks",
            where=run,
            fix="evaluate again with --save-masks; after icvos score give the masks with --predictions; or pack with "
            "--no-masks (the row stays self-reported)",
        )
    listed = []
    with atomic_write(out) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, data in _contents(run, masks, predictions):
            listed.append({"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
            _put(archive, name, data)
        who = {} if submitter is None else {"submitter": submitter}
        _put(archive, "submission.json", to_json({"schema": SUBMISSION_SCHEMA, **who, "files": listed}).encode())
    return len(listed) + 1


def _contents(run: Path, masks: bool, predictions: Path | None) -> Iterator[tuple[str, bytes]]:
    for name in ("run.json", "result.json", "episodes.jsonl"):
        yield name, _packed(run / name)
    if masks and predictions is not None:
        opened = open_predictions(predictions)
        for name in opened.names():
            for frame in opened.frames(name):
                # Encoded anew, so that whatever form they had is one form here.
                # A frame may be named by its number alone: 0 for 00000.
                yield f"masks/{check_id(name)}/{frame.zfill(5)}.png", encode_mask(opened.load(name, frame))
    elif masks:
        for path in sorted((run / "masks").glob("*/*.png")):
            yield path.relative_to(run).as_posix(), read_file(path)


def _packed(path: Path) -> bytes:
    if not path.is_file():
        raise RunError("a file of the run is missing", where=path, fix="finish the run first")
    data = read_file(path)
    if path.name == "run.json":
        # Where the benchmark lies on one machine is nobody else's business.
        run = json.loads(data)
        (run.get("environment") or {}).pop("benchmark_folder", None)
        data = to_json(run).encode()
    return data


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def _refuse(what: str, where: Path, fix: str = "pack the run again: icvos submit pack RUN") -> NoReturn:
    raise InputError(f"the submission is refused: {what}", where=where, fix=fix)


def _members(archive: zipfile.ZipFile, file: Path) -> Iterator[zipfile.ZipInfo]:
    """Yield the members, each name, kind and size judged before anything is read."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        _refuse(f"{len(members)} files in it", file)
    seen: set[str] = set()
    total = 0
    for member in members:
        name = member.filename
        printable = name[:80].encode("unicode_escape").decode()
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
            _refuse(f"the path '{printable}' escapes", file)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if name.endswith("/") and kind in (0, stat.S_IFDIR) and not member.file_size:
            continue  # a folder's own entry, as zip -r writes it
        if kind not in (0, stat.S_IFREG):
            _refuse(f"'{printable}' is a link or no plain file", file)
        form = FORM.fullmatch(name)
        if form is None:
            _refuse(f"an extra file, '{printable}'", file)
        if form.group(2):
            check_id(form.group(2))
        if name in seen:
            _refuse(f"'{printable}' stands twice", file)
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(f"'{printable}' is encrypted or packed in an unusual way", file)
        limit = TEXTS.get(name, MAX_MASK) + (MAX_ROW * len(members) if name == "submission.json" else 0)
        total += member.file_size
        bomb = member.file_size > 1 << 20 and member.file_size > MAX_RATIO * max(member.compress_size, 1)
        if member.file_size > limit:
            _refuse(f"'{printable}' is a file of {member.file_size:,} bytes, and {limit:,} are the most", file)
        if total > MAX_TOTAL or bomb:
            _refuse(f"a bomb: '{printable}' would unpack {member.compress_size} bytes to {member.file_size}", file)
        yield member
    for name in TEXTS:
        if name not in seen:
            _refuse(f"{name} is missing", file)


def unpack(file: Path, out: Path) -> tuple[str, str | None]:
    """Unpack a submission into an empty folder, as a run folder; nothing is written outside of it.

    Returns:
        SHA-256 of the archive, and its submitter if it names one.

    Raises:
        InputError: The archive is cut off or hostile, or a file is not what its list says.
    """
    if not file.is_file():
        raise InputError("no such submission", where=file, expected="a .zip made by icvos submit pack")
    try:
        with open_file(file) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            with zipfile.ZipFile(stream) as archive:
                members = list(_members(archive, file))
                need = sum(member.file_size for member in members)
                if need > free_bytes(out):
                    _refuse(f"it unpacks to {need >> 20} MiB, more than is free in {out}", file, "set TMPDIR elsewhere")
                hashes = {member.filename: _extract(archive, member, out, file) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, ValueError) as problem:
        _refuse(f"the archive is cut off or damaged ({problem})", file, "send it again")
    return sha256, _check_list(out / "submission.json", hashes, file)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, out: Path, file: Path) -> tuple[int, str]:
    path = out.joinpath(*member.filename.split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with archive.open(member) as source, path.open("xb") as target:
        while block := source.read(1 << 20):
            size += len(block)
            if size > member.file_size:
                _refuse(f"a bomb: '{member.filename}' holds more than it says", file)
            digest.update(block)
            target.write(block)
    return size, digest.hexdigest()


def _constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def read_strict(path: Path, file: Path) -> Any:
    """Read JSON without NaN or infinity."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_constant)
    except RecursionError:
        _refuse(f"{path.name} is nested too deep", file)
    except ValueError as problem:
        _refuse(f"{path.name} is no clean JSON ({problem})", file)


def _check_list(listing: Path, hashes: dict[str, tuple[int, str]], file: Path) -> str | None:
    submission = read_strict(listing, file)
    if not isinstance(submission, dict) or submission.get("schema") != SUBMISSION_SCHEMA:
        _refuse(f"submission.json is of another schema than {SUBMISSION_SCHEMA}", file)
    submitter = submission.get("submitter")
    if submitter is not None and not is_name(submitter):
        _refuse("submission.json names a submitter that is no name", file)
    files = submission.get("files")
    if not isinstance(files, list) or not all(isinstance(row, dict) for row in files):
        _refuse("submission.json lists no files", file)
    listed = {str(row.get("path")): (row.get("bytes"), row.get("sha256")) for row in files}
    there = {name: digest for name, digest in hashes.items() if name != "submission.json"}
    for name in sorted({*listed, *there}):
        if name not in listed:
            _refuse(f"an extra file, '{name}', that its list does not name", file)
        if name not in there:
            _refuse(f"'{name[:80]}' is listed and missing", file)
        if listed[name] != there[name]:
            _refuse(f"'{name}' was changed after it was packed (its SHA-256 is another)", file)
    for name in ("run.json", "result.json"):
        read_strict(listing.parent / name, file)
    for number, line in enumerate((listing.parent / "episodes.jsonl").read_bytes().splitlines(), 1):
        try:
            json.loads(line, parse_constant=_constant)
        except (ValueError, RecursionError) as problem:
            _refuse(f"line {number} of episodes.jsonl is no clean JSON ({problem})", file)
    return submitter
