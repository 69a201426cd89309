"""The one reader of text, and what a file is by how it begins."""

from __future__ import annotations

import codecs
import io
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from icvos.errors import InputError, SourceError
from icvos.files import (
    absolute_path,
    atomic_write,
    check_id,
    escape_id,
    expand_home,
    file_kind,
    file_sha256,
    lock_folder,
    open_file,
    read_csv,
    read_file,
    read_json,
    read_lines,
    read_text,
    real_path,
    work_folder,
    write_json,
)
from icvos.images import read_image
from icvos.masks import read_mask

TEXT = "bear\nbmx-bumps\n\nkörper 3\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
        b"  bear \n\tbmx-bumps\n \n" + "körper 3\n".encode(),
    ],
)
def test_lists_of_all_systems_hold_the_same_lines(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    assert read_lines(tmp_path / "list.txt") == ["bear", "bmx-bumps", "", "körper 3", ""]


def test_separators_within_a_name_end_no_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\u2028b\x0bc\n", encoding="utf-8")
    assert read_lines(tmp_path / "list.txt") == ["a\u2028b\x0bc", ""]


def test_tables_of_all_systems(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "t.csv").write_bytes("a,b\r\n1,ö\r\n".encode(encoding))
        assert read_csv(tmp_path / "t.csv", ("a", "b")) == [{"a": "1", "b": "ö"}]


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (3, 3)).save(stream, kind)
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a", "b")
    return stream.getvalue()


TENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
KINDS = [
    (b"", "empty"),
    (b"<!DOCTYPE html>\n<html>", "an HTML page"),
    (b"\xef\xbb\xbf\n<HTML><body>", "an HTML page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    (picture("PNG"), "a PNG"),
    (picture("JPEG"), "a JPEG"),
    (picture("GIF"), "a GIF"),
    (picture("BMP"), "a BMP"),
    (picture("TIFF"), "a TIFF"),
    (picture("WEBP"), "a WebP"),
    (archive(), "a zip archive"),
    (b"\x1f\x8b\x08\0", "a gzip archive"),
    (struct.pack("<Q", len(TENSORS)) + TENSORS + bytes(4), "a safetensors file"),
]


@pytest.mark.parametrize(("data", "kind"), KINDS)
def test_what_a_file_is(data: bytes, kind: str) -> None:
    assert file_kind(data).startswith(kind)


@pytest.mark.parametrize(("data", "kind"), KINDS)
def test_no_text_reader_takes_them_for_text(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "f").write_bytes(data)
    for read in (read_text, read_json, lambda path: read_csv(path, ("a",))):
        with pytest.raises(InputError, match=kind):
            read(tmp_path / "f")


@pytest.mark.parametrize("data", [b"BMX-bumps\n", b"GT\n", b'{"a": 1}', b"1,2\n", b"II\n", b"<b>\n", b"PK\n"])
def test_texts_are_not_taken_for_anything_else(data: bytes) -> None:
    assert file_kind(data) == ""


@given(st.text(max_size=12), st.text(max_size=12), st.sampled_from(["", "+"]))
@example("a b", "a_u20_b", "")
@example("_u5f_u20_", "_u20_", "")
@example(".", "_u2e_", "")
@example("", "_u00_", "")
@example("я" * 60, "я" * 61, "")
@example("я" * 60, escape_id("я" * 60), "")
@example("a+b", "a_u2b_b", "+")
def test_no_two_names_become_one_id(one: str, other: str, keep: str) -> None:
    escaped = escape_id(one, keep=keep)
    assert check_id("x" + escaped.replace("+", "") if keep else escaped)
    assert (escaped == escape_id(other, keep=keep)) == (one == other)


def test_long_names_stay_names_of_files() -> None:
    """Each of the 127 letters that a disk allows would become seven."""
    names = [escape_id("犬" * 126 + last) for last in "猫鳥"]
    assert len(set(names)) == 2 and {len(name) for name in names} == {150}
    assert escape_id("a" * 200) == "a" * 200


@pytest.mark.parametrize("name", ["bear", "bmx-bumps", "a_b.c", "mose__001ca3cb", "_under_"])
def test_ids_stay_as_they_are(name: str) -> None:
    assert escape_id(name) == name


def test_the_last_of_many_keys_stands_twice(tmp_path: Path) -> None:
    """It is found in one pass: comparing each key with all others would take a minute and more."""
    path = tmp_path / "a.json"
    path.write_text("{" + "".join(f'"{n}": 0, ' for n in range(100_000)) + '"99999": 0}')
    begin = time.process_time()
    with pytest.raises(InputError, match="the key '99999' stands twice"):
        read_json(path)
    assert time.process_time() - begin < 5


def test_a_file_that_memory_cannot_hold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text("[]")

    def ends(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(json, "loads", ends)
        with pytest.raises(SourceError, match=r"what the JSON file holds is larger than the memory; in .*a\.json; see"):
            read_json(path, SourceError)
    monkeypatch.setattr("icvos.files.read_file", ends)
    with pytest.raises(SourceError, match=r"JSON file is larger than the memory; in .*a\.json; see"):
        read_json(path, SourceError)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Python would keep the last and drop the first without a word."""
    (tmp_path / "f.json").write_text('{"bike": {"00000": null}, "cat": {}, "bike": {}}')
    with pytest.raises(InputError, match="the key 'bike' stands twice"):
        read_json(tmp_path / "f.json")


def meant(data: bytes) -> tuple[str, list[str]] | str:
    """What the bytes of a text mean, by Python's own codecs and line ends: text and lines, or why there is none."""
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    mark = next((mark for mark in marks if data.startswith(mark)), b"")
    body = data[len(mark) :]
    if not body:
        return "list is empty"
    if data.startswith(b"version https://git-lfs"):
        return "list is a Git LFS pointer"
    if body.lower().lstrip(b" \t\r\n").startswith((b"<!doctype", b"<html", b"<head")):
        return "list is an HTML page"
    try:
        text = body.decode(marks.get(mark, "utf-8"))
    except UnicodeDecodeError:
        return "list is no text"
    if "\0" in text:
        return "list is no text"
    return text, [line.strip() for line in io.StringIO(text, newline=None).read().split("\n")]


def changed(data: bytes, generator: random.Random) -> bytes:
    """A copy with bits turned, bytes replaced or inserted, or its end cut off, once to three times."""
    inserted = (
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\t",
        b"\x0b",
        b"\x1c",
        "\x85".encode(),
        "\u2028".encode(),
        codecs.BOM_UTF8,
    )
    out = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        place, kind = generator.randrange(len(out) + 1), generator.random()
        if kind < 0.15:
            del out[place:]
        elif kind < 0.5:
            out[place:place] = generator.choice(inserted)
        elif place < len(out):
            out[place] = generator.randrange(256) if kind < 0.7 else out[place] ^ 1 << generator.randrange(8)
    return bytes(out)


def test_five_thousand_changed_lists_are_read_right_or_refused(tmp_path: Path) -> None:
    """Bits, cuts, line ends of all kinds: the lines that Python's codecs give, or one line says why there are none."""
    generator = random.Random(0)
    path = tmp_path / "list.txt"
    seeds = [
        TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.replace("\n", "\r").encode("utf-16-be"),
        b"<!DOCTYPE html>\n<title>sign in</title>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    ]
    read, refused = 0, Counter[str]()
    for number in range(5000):
        data = changed(seeds[number % len(seeds)], generator)
        path.unlink(missing_ok=True)  # disks wait where a file is cut to nothing and written again
        path.write_bytes(data)
        expected = meant(data)
        try:
            lines = read_lines(path, error=SourceError)
            found: tuple[str, list[str]] | str = (read_text(path), lines)
            read += 1
        except SourceError as error:
            found = str(error).split(" (")[0].split(";")[0]
            refused[found] += 1
            assert "\n" not in str(error) and str(path) in str(error)
        assert found == expected, data
    assert read > 2000 and len(refused) == 4 and min(refused.values()) > 30, (read, refused)


@pytest.fixture
def no_hang():
    """End a test that waits: a pipe that nobody writes to is waited for without end."""
    signal.alarm(30)
    yield
    signal.alarm(0)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_loop(path: Path) -> None:
    path.symlink_to(path)


NO_FILES = {
    make_pipe: "it is a pipe",
    make_socket: "socket or a device",
    make_device: "it is a device",
    Path.mkdir: "it is a folder",
    make_loop: "Too many levels of symbolic links",
}


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("read", [read_json, read_text, lambda path: read_csv(path, ("a",)), read_mask, read_image])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path, no_hang, make, read) -> None:
    make(tmp_path / "x.png")
    with pytest.raises(InputError, match=NO_FILES[make]) as stop:
        read(tmp_path / "x.png")
    assert str(tmp_path / "x.png") in str(stop.value)


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("read", [open_file, read_file, file_sha256])
def test_readers_of_bytes_refuse_what_is_no_regular_file(tmp_path: Path, no_hang, make, read) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match=NO_FILES[make]):
        read(tmp_path / "x")


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device])
def test_a_pipe_or_a_device_is_not_written_over(tmp_path: Path, no_hang, make) -> None:
    make(tmp_path / "x")
    before = (tmp_path / "x").lstat()
    with pytest.raises(InputError, match="is no file to write to") as stop, atomic_write(tmp_path / "x"):
        pass
    assert str(tmp_path / "x") in str(stop.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").lstat() == before


def test_a_name_that_holds_a_zero_byte_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file's name"):
        read_json(tmp_path / "a\0b")


# Files of our own, of the system, and of folders that were made and checked just before.
OWN = {
    "icvos/files.py",
    "icvos/processes.py",
    "icvos/runs/environment.py",
    "icvos/demo/training/pool.py",
    "icvos/evaluation/shipping.py",
    "icvos/evaluation/verify.py",
    "icvos/leaderboard/archive.py",
    "icvos/leaderboard/board.py",
    "icvos/installation.py",
    "icvos/builders/ic_vos/build.py",
    "icvos/builders/tubes/tables.py",
    "icvos/data/class_masks.py",
    # Run by another interpreter, or by none of the commands: icvos cannot be imported there.
    "icvos/models/host.py",
    "icvos/models/guard.py",
    "icvos/exports/codabench/start.py",
}


def test_every_file_that_a_command_is_given_is_opened_in_one_place() -> None:
    root = Path(__file__).parents[1]
    own = re.compile(r"""\.read_bytes\(\)|\.read_text\(|\.open\(("rb"|encoding)|np\.load\(path|Image\.open\(path""")
    found = {str(path.relative_to(root)) for path in (root / "icvos").rglob("*.py") if own.search(path.read_text())}
    assert found <= OWN


def test_a_path_is_followed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far/inner").mkdir(parents=True)
    (tmp_path / "x").symlink_to("far/inner")
    assert absolute_path("x/../y") == tmp_path / "far/y"
    assert absolute_path("none/../y") == tmp_path / "y"
    assert absolute_path("x/y") == tmp_path / "x/y"
    (tmp_path / "loop").symlink_to("loop")
    assert absolute_path("loop/../y") == real_path(tmp_path / "loop/../y") == tmp_path / "y"


def test_a_home_that_no_user_has() -> None:
    with pytest.raises(InputError, match="no such user; in ~nosuchuser/x"):
        expand_home("~nosuchuser/x")


@pytest.fixture
def umask():
    """Give back the umask that a test changes."""
    mask = os.umask(0o022)
    os.umask(mask)
    yield
    os.umask(mask)


@pytest.mark.parametrize("mask", [0o777, 0o700, 0o400])
def test_what_is_written_stays_readable_under_a_umask_of_a_plugin(tmp_path: Path, umask, mask: int) -> None:
    os.umask(mask)
    write_json(tmp_path / "a/b/c.json", [])
    for path in (tmp_path / "a", tmp_path / "a/b"):
        assert path.stat().st_mode & 0o700 == 0o700
    assert (tmp_path / "a/b/c.json").stat().st_mode & 0o600 == 0o600
    os.umask(mask)
    with lock_folder(tmp_path / "d/e"):
        assert (tmp_path / "d").stat().st_mode & 0o700 == 0o700


def test_a_umask_that_keeps_others_out_is_kept(tmp_path: Path, umask) -> None:
    os.umask(0o077)
    write_json(tmp_path / "a.json", [])
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600
    assert os.umask(0o077) == 0o077


LEFT = """
import os, signal, sys
from icvos.files import work_folder
with work_folder("icvos-kind", sys.argv[1]) as folder:
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/c").write_text("much")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_work_folder_that_another_takes_for_an_abandoned_one_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], tempfile.mkdtemp

    def taken(**words: Any) -> str:
        folder = real(**words)
        made.append(folder)
        if len(made) == 1:
            Path(folder).rmdir()
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    with work_folder("icvos-kind", tmp_path) as folder:
        assert folder.is_dir() and [str(folder)] == made[1:]


def test_a_work_folder_of_a_killed_process_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/kept").write_text("mine")
    (tmp_path / "icvos-kind-link").symlink_to("far")
    (tmp_path / "icvos-kind-file").write_text("mine")
    (tmp_path / "icvos-other-x").mkdir()
    subprocess.run([sys.executable, "-c", LEFT, tmp_path], check=False)
    strangers = {"far", "icvos-kind-link", "icvos-kind-file", "icvos-other-x"}
    assert len({path.name for path in tmp_path.iterdir()} - strangers) == 1
    with work_folder("icvos-kind", tmp_path) as first, work_folder("icvos-kind", tmp_path) as second:
        assert first.is_dir() and second.is_dir()
        assert {path.name for path in tmp_path.iterdir()} == strangers | {first.name, second.name}
    assert {path.name for path in tmp_path.iterdir()} == strangers
    assert (tmp_path / "far/kept").read_text() == "mine"


def test_every_temporary_folder_is_one_that_the_next_start_removes() -> None:
    root = Path(__file__).parents[1]
    sources = [path for part in ("icvos", "dcsam", "baselines") for path in (root / part).rglob("*.py")]
    made = {str(path.relative_to(root)) for path in sources if re.search("mkdtemp|TemporaryDir", path.read_text())}
    # Masks on their way on a node of a cluster live by a pipe; a worker of Codabench is thrown away with its folders.
    assert made == {"icvos/files.py", "icvos/evaluation/shipping.py", "icvos/exports/codabench/start.py"}


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    words = "import os, sys\nfrom icvos.files import atomic_write\nwith atomic_write(sys.argv[1]) as stream:\n"
    words += "    stream.write(b'x' * 9999)\n    stream.flush()\n    os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", words, str(tmp_path / "a")], check=False)
    assert done.returncode == -signal.SIGKILL and [path.name for path in tmp_path.iterdir()] == [".a.tmp"]
    with atomic_write(tmp_path / "a") as stream:
        stream.write(b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"whole"}


def test_two_writers_of_one_file_disturb_one_another_in_nothing(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as first:
        first.write(b"first")
        with atomic_write(tmp_path / "a") as second:
            second.write(b"second, and longer")
        assert (tmp_path / "a").read_bytes() == b"second, and longer"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first"}
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a") as third:
        third.write(b"half")
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first"}
