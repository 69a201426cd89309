"""Hostile input: valid files altered by hypothesis, and commands that meet them in a process with limits."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SECONDS, MEMORY = 5, 1 << 30
"""Processor time of a command that meets a small file, and the memory that it may take beyond what it began with."""

WORDS = [
    "",
    "..",
    "../escape",
    "/escape",
    "~nosuchuser/x",
    "http://[::1",
    "=1+1",
    "\x1b[2J\x1b]0;x\x07",
    "\u202egnp",
    "\ud800",
    "\x00",
    "方法",
    "²",
    "nan",
    "1e999",
    "-0",
    "x" * 300,
    "<script>alert(1)</script>",
    "![x](http://x)",
]
NUMBERS = [0, -1, 1, 255, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e300, -1e300, 5e-324]
RAW = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 5000,
    "[" * 3000 + "]" * 3000,
    '"\\ud800"',
    "tru",
    "",
    "01",
    "0x1",
]
VALUES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(NUMBERS),
    st.sampled_from([None, True, False]),
    st.builds(list),
    st.builds(dict),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.integers(0, 3), max_size=3),
)
MARK = "\ue000raw\ue000"


def damaged(draw: Callable[..., Any], data: bytes) -> bytes:
    """Return bytes with some flipped, cut, repeated, zeroed, inserted or replaced by the like of a number."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(out) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "zero", "insert", "repeat", "word", "number"]))
        if kind == "flip" and out:
            out[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del out[place:]
        elif kind == "zero":
            out[place : place + 16] = bytes(len(out[place : place + 16]))
        elif kind == "insert":
            out[place:place] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "repeat":
            out[place:place] = out[: draw(st.integers(1, 200))]
        elif kind == "word":
            out[place:place] = draw(st.sampled_from(WORDS)).encode("utf-8", "surrogatepass")
        elif kind == "number":
            digits = [at for at in range(place, min(place + 400, len(out))) if 48 <= out[at] <= 57] or [place]
            word = draw(st.sampled_from([*map(str, NUMBERS[:7]), *RAW]))
            out[digits[0] : digits[0] + 1] = word.encode()
    return bytes(out)


def altered_json(draw: Callable[..., Any], data: bytes) -> bytes:
    """Return JSON with some values, keys or lists altered; every line by itself where it is of lines."""
    text = data.decode()
    try:
        content = json.loads(text)
    except ValueError:
        lines = text.splitlines()
        place = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["alter", "drop", "twice", "cut"]))
        if kind == "alter":
            lines[place] = altered_json(draw, lines[place].encode()).decode("utf-8", "replace").replace("\n", " ")
        elif kind == "drop":
            del lines[place]
        elif kind == "twice":
            lines.insert(draw(st.integers(0, len(lines))), lines[place])
        else:
            lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
        return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")
    raw = []
    for _ in range(draw(st.integers(1, 3))):
        parent, key = content, None
        # From the root down, so that what is deep is met as often as what is shallow.
        while isinstance(parent, (dict, list)) and parent:
            keys = list(parent) if isinstance(parent, dict) else range(len(parent))
            key = draw(st.sampled_from(keys))
            if not isinstance(parent[key], (dict, list)) or not parent[key] or draw(st.integers(0, 3)) == 0:
                break
            parent = parent[key]
        if key is None or not isinstance(parent, (dict, list)):
            continue
        kind = draw(st.sampled_from(["value", "value", "value", "raw", "drop", "key", "nest"]))
        if kind == "value":
            parent[key] = draw(VALUES)
        elif kind == "raw":
            raw.append(draw(st.sampled_from(RAW)))
            parent[key] = f"{MARK}{len(raw) - 1}{MARK}"
        elif kind == "drop":
            del parent[key]
        elif kind == "key" and isinstance(parent, dict):
            parent[draw(st.sampled_from(WORDS))] = parent.pop(key) if draw(st.booleans()) else parent[key]
        elif kind == "nest":
            for _ in range(draw(st.sampled_from([1, 20]))):
                parent[key] = [parent[key]] if draw(st.booleans()) else {"x": parent[key]}
    text = json.dumps(content, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2])))
    for number, word in enumerate(raw):
        for mark in (f'"{MARK}{number}{MARK}"', json.dumps(f"{MARK}{number}{MARK}")):
            text = text.replace(mark, word)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")


def altered_csv(draw: Callable[..., Any], data: bytes) -> bytes:
    """Return a table with cells, rows or columns altered."""
    rows = [line.split(",") for line in data.decode().split("\n")]
    for _ in range(draw(st.integers(1, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        at = draw(st.integers(0, len(row) - 1))
        kind = draw(st.sampled_from(["cell", "cell", "raw", "drop", "twice", "add", "quote"]))
        if kind in ("cell", "raw"):
            row[at] = str(draw(VALUES if kind == "cell" else st.sampled_from(RAW)))
        elif kind == "drop":
            rows.remove(row)
            rows = rows or [[""]]
        elif kind == "twice":
            rows.insert(draw(st.integers(0, len(rows))), list(row))
        elif kind == "add":
            row.insert(at, draw(st.sampled_from(WORDS)))
        else:
            row[at] = f'"{row[at]}'
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


def altered_png(draw: Callable[..., Any], data: bytes) -> bytes:
    """Return a PNG whose header or chunks are altered, with sums that agree."""
    out, at = [data[:8]], 8
    chunks = []
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = draw(st.integers(0, len(chunks) - 1))
    name, body = chunks[place]
    kind = draw(st.sampled_from(["body", "drop", "twice", "name", "bomb", "size"]))
    if kind == "body" and body:
        body = damaged(draw, body)
    elif kind == "name":
        name = draw(st.sampled_from([b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"acTL", b"zTXt", b"XXXX"]))
    elif kind == "bomb":
        name, body = b"IDAT", zlib.compress(bytes(draw(st.sampled_from([10, 10**6, 10**8]))))
    elif kind == "size":
        side = draw(st.sampled_from([0, 1, 13, 2**15, 2**30, 2**31]))
        body = side.to_bytes(4, "big") + body[4:]
    chunks[place : place + 1] = {"drop": [], "twice": [(name, body)] * 2}.get(kind, [(name, body)])
    for name, body in chunks:
        out += [len(body).to_bytes(4, "big"), name, body, zlib.crc32(name + body).to_bytes(4, "big")]
    return b"".join(out)


def altered_zip(draw: Callable[..., Any], data: bytes) -> bytes:
    """Return an archive with a member altered, renamed, doubled, linked or blown up; hashes in its list follow it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info), info.external_attr) for info in archive.infolist()]
    place = draw(st.integers(0, len(members) - 1))
    name, body, mode = members[place]
    kind = draw(st.sampled_from(["body", "body", "body", "name", "drop", "twice", "link", "bomb", "add"]))
    if kind == "body":
        body = altered(draw, name, body)
    elif kind == "name":
        name = draw(
            st.sampled_from(["masks/../escape.png", "/escape", "a/" * 40 + "b", "CON", name.upper(), *WORDS[7:9]])
        )
    elif kind == "link":
        mode = 0o120777 << 16
    elif kind == "bomb":
        body = bytes(draw(st.sampled_from([1 << 16, 1 << 26])))
    new = {"drop": [], "twice": [(name, body, mode)] * 2, "add": [(name, body, mode), ("extra.txt", b"x", mode)]}
    members[place : place + 1] = new.get(kind, [(name, body, mode)])
    if draw(st.booleans()):
        members = _listed(members)
    out = io.BytesIO()
    quiet = contextlib.suppress(UnicodeEncodeError, ValueError)
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings(action="ignore"), quiet:
        for name, body, mode in members:
            info = zipfile.ZipInfo(name.replace("\ud800", "?"), (1980, 1, 1, 0, 0, 0))
            info.external_attr = mode
            info.compress_type = draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
            archive.writestr(info, body)
    return damaged(draw, out.getvalue()) if draw(st.integers(0, 9)) == 0 else out.getvalue()


def _listed(members: list[tuple[str, bytes, int]]) -> list[tuple[str, bytes, int]]:
    """Give a submission's list the sizes and hashes of what is there, as a forger would."""
    import hashlib

    rows = [
        {"path": name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for name, body, _ in members
        if name != "submission.json"
    ]
    listed = json.dumps({"schema": "icvos-submission/1", "files": rows}).encode("utf-8", "surrogatepass")
    return [(n, listed if n == "submission.json" else b, mode) for n, b, mode in members]


def altered_safetensors(draw: Callable[..., Any], data: bytes) -> bytes:
    """Return safetensors whose header is altered and fits, or whose values are."""
    size = int.from_bytes(data[:8], "little")
    head, body = data[8 : 8 + size], data[8 + size :]
    kind = draw(st.sampled_from(["head", "metadata", "metadata", "values", "length"]))
    if kind == "values":
        return data[: 8 + size] + damaged(draw, body)
    if kind == "length":
        return (
            draw(st.sampled_from([0, 1, size - 1, size + 1, 1 << 26, 1 << 40, (1 << 64) - 1])).to_bytes(8, "little")
            + data[8:]
        )
    if kind == "metadata":
        content = json.loads(head)
        metadata = content.get("__metadata__") or {"format": "pt"}
        name = draw(st.sampled_from(sorted(metadata)))
        with contextlib.suppress(ValueError):
            json.loads(metadata[name])
            metadata[name] = altered_json(draw, metadata[name].encode()).decode("utf-8", "replace")
        content["__metadata__"] = metadata
        head = json.dumps(content).encode()
    else:
        head = altered_json(draw, head)
    return len(head).to_bytes(8, "little") + head + body


def altered(draw: Callable[..., Any], name: str, data: bytes) -> bytes:
    """Alter a file by what it is, or one time in four by its bytes alone."""
    kinds = {
        ".json": altered_json,
        ".jsonl": altered_json,
        ".csv": altered_csv,
        ".png": altered_png,
        ".zip": altered_zip,
        ".safetensors": altered_safetensors,
    }
    function = kinds.get(Path(name).suffix, damaged)
    return damaged(draw, data) if draw(st.integers(0, 3)) == 0 else function(draw, data)


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit status (-N: ended by signal N), what it printed, its seconds and bytes."""

    status: int
    text: str
    seconds: float
    memory: int


class Server:
    """A process of its own, without threads, that runs each call in a child with limits.

    A child of the tests' process would have what other tests left in it: locks of threads that are not there.
    """

    def __init__(self) -> None:
        words = [sys.executable, str(Path(__file__))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8"
        )

    def answer(self, words: Sequence[Any], out: Path, *, where: Path, environment: Mapping[str, str]) -> Answer:
        """Run a command of icvos, or of ``WEIGHTS`` the reading of a file.

        Args:
            words: The command.
            out: A file for what it prints.
            where: The folder that it runs in.
            environment: Variables beside the server's own.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"words": list(map(str, words)), "out": str(out), "where": str(where), "environment": dict(environment)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        status, seconds, memory = json.loads(self._process.stdout.readline())
        text = out.read_bytes().decode("utf-8", "backslashreplace")
        began = int(text.partition("\n")[0]) if text[:1].isdigit() else 0
        return Answer(status, text.partition("\n")[2], seconds, memory - began)

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


WEIGHTS = "read-weights"
IMPORTED = [
    "cv2",
    "numpy",
    "pandas",
    "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
    "pycocotools.mask",
    "rich.console",
    "rich.table",
    "icvos.cli",
    "icvos.evaluation.score",
    "icvos.commands.build_data",
    "icvos.commands.leaderboard",
    "icvos.commands.show",
    "icvos.commands.submit",
    "icvos.leaderboard.render_html",
]


def _read_weights(path: Path) -> None:
    from dcsam.checkpoint import load_model
    from icvos.errors import one_line
    from icvos.foundation.load import open_segmenter

    with one_line():
        (load_model if "dcsam" in path.name else open_segmenter)(path)


def _serve() -> None:
    # What commands import when they need it: once here, and not in every child.
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["words"][0] == WEIGHTS:
            import dcsam.checkpoint  # noqa: F401
            import icvos.foundation.load  # noqa: F401
        child = os.fork()
        if not child:
            os.environ.update(asked["environment"])
            os.chdir(asked["where"])
            words = asked["words"]
            call = partial(_read_weights, Path(words[1])) if words[0] == WEIGHTS else commands(*words)
            _limited(call, Path(asked["out"]))
        limit = time.monotonic() + 60
        while True:
            pid, status, used = os.wait4(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > limit:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        reply = (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _limited(call: Callable[[], Any], out: Path) -> None:
    status = 70
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(handle, stream)
        sys.stdout = os.fdopen(os.dup(handle), "w", encoding="utf-8")
        sys.stderr = os.fdopen(os.dup(handle), "w", encoding="utf-8", errors="backslashreplace")
        began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(1, f"{began}\n".encode())
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 1, SECONDS + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (4 * MEMORY, 4 * MEMORY))  # for the machine's sake
        try:
            call()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def commands(*words: Any) -> Callable[[], Any]:
    """Return a call of the command line."""

    def call() -> None:

        from icvos import cli

        warnings.simplefilter("ignore")
        cli.main([str(word) for word in words])

    return call


def judged(reply: Answer, what: str, statuses: Sequence[int] = (0, 1, 2)) -> None:
    """Hold an answer to what every command promises of input that strangers made."""
    said = f"{what}: status {reply.status}, {reply.seconds:.1f} s, {reply.memory >> 20} MiB: {reply.text[-1500:]}"
    assert reply.status in statuses, said
    assert "Traceback" not in reply.text and "icvos: unexpected" not in reply.text, said
    assert reply.seconds <= SECONDS and reply.memory <= MEMORY, said
    odd = [letter for letter in reply.text if (ord(letter) < 32 or 126 < ord(letter) < 160) and letter not in "\n\r\t"]
    assert not odd, f"{odd[:3]} reach the terminal; {said}"
    lines = [line for line in reply.text.splitlines() if line.startswith("icvos: ")]
    assert reply.status != 2 or len(lines) == 1, said


if __name__ == "__main__":
    _serve()
