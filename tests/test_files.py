"""The one reader of text, and what a file is by how it begins."""

from __future__ import annotations

import codecs
import io
import json
import random
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from icvos.errors import IcvosError, InputError, SourceError
from icvos.files import check_id, escape_id, file_kind, read_csv, read_json, read_lines, read_text

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


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Python would keep the last and drop the first without a word."""
    (tmp_path / "f.json").write_text('{"bike": {"00000": null}, "cat": {}, "bike": {}}')
    with pytest.raises(InputError, match="the key 'bike' stands twice"):
        read_json(tmp_path / "f.json")


def test_five_thousand_changed_lists_are_read_or_refused(tmp_path: Path) -> None:
    generator = random.Random(0)
    path = tmp_path / "list.txt"
    seeds = [TEXT.encode(), TEXT.encode("utf-16"), codecs.BOM_UTF8 + TEXT.encode()]
    read = 0
    for number in range(5000):
        data = bytearray(seeds[number % 3])
        for _ in range(generator.randint(1, 3)):
            if data and generator.random() < 0.3:
                del data[generator.randrange(len(data)) :]
            if data:
                data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(data)
        try:
            lines = read_lines(path, error=SourceError)
            read += 1
            assert not any("\n" in line or "\r" in line or "\0" in line or "\ufeff" in line[:1] for line in lines)
        except IcvosError as error:
            assert "\n" not in str(error) and str(path) in str(error)
    assert 500 < read < 4800
