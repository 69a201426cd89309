"""Pickles of plain values: read by every protocol, and nothing else of them, whatever a file asks for."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icvos.errors import SourceError
from icvos.pickles import read_pickle

SHARED = ["twice"]
VALUES: list[Any] = [
    None,
    {},
    [],
    {3: {"val2017/a.jpg": {"annotations": [{"segmentation": [[0.5, -1e300, 3.0]]}]}}, 1: {}},
    {"rle": {"size": [4, 5], "counts": "12P"}, "bytes": b"\0\xff" * 200, "text": "é\n'" * 100},
    [True, False, None, 0, -1, 255, 256, 65536, 2**40, -(2**70), 1.5, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    [SHARED, SHARED, list(range(3000)), {str(n): n for n in range(3000)}],
    [[n / 7 for n in range(2500)], [1.5, 2.5, 3, 4.5, float("inf"), -0.0], (0.5, "G", 1.5)],
]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back(tmp_path: Path, protocol: int) -> None:
    # Bytes are plain from protocol 3 on; before, Python writes a function's call for them.
    for value in (v for v in VALUES if protocol >= 3 or "bytes" not in (v or ())):
        back = read_pickle(written(tmp_path / "p.pkl", pickle.dumps(value, protocol)))
        assert back == value and repr(back) == repr(value)
    assert list(read_pickle(written(tmp_path / "p.pkl", pickle.dumps({9: 1, 2: 1, 5: 1}, protocol)))) == [9, 2, 5]


class Runs:
    """Makes a folder where it is unpickled by Python."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.where),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({1: [Runs(tmp_path / "made")]}, protocol)
    with pytest.raises(SourceError, match=r"pickle asks for 'posix\.mkdir', which may run code; nothing of it was run"):
        read_pickle(written(tmp_path / "p.pkl", data), error=SourceError)
    assert not (tmp_path / "made").exists()
    pickle.loads(data)
    assert (tmp_path / "made").is_dir()  # by Python's own reader


@pytest.mark.parametrize("value", [{1, 2}, np.float64(1), np.zeros(2), Path("a"), bytearray(b"x"), 1j, OSError("x")])
def test_other_values_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(SourceError, match=r"pickle asks for .*; expected lists, dicts, texts, bytes and numbers alone"):
        read_pickle(written(tmp_path / "p.pkl", pickle.dumps(value)), error=SourceError)


def test_broken_files_get_a_line(tmp_path: Path) -> None:
    whole = pickle.dumps(VALUES[3:5])
    for end in range(1, len(whole) - 1):
        with pytest.raises(SourceError, match="no whole pickle"):
            read_pickle(written(tmp_path / "p.pkl", whole[:end]), error=SourceError)
    for data in (
        b"no pickle",
        b"e.",  # appends to nothing
        b"(.",
        b"N(e.",
        b"}(K\x01u.",  # a key without a value
        b"](" + 2 * (b"G" + bytes(8)) + b"G" + bytes(5),  # cut off within the third float
        b"}]Ns.",  # a list as key
        b"h\x07.",  # what was never remembered
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes beyond the end
        b"NN.",
        b".",
    ):
        with pytest.raises(SourceError, match="no whole pickle"):
            read_pickle(written(tmp_path / "p.pkl", data), error=SourceError)
    for data, words in ((b"", "pickle is empty"), (None, "pickle not found")):
        path = tmp_path / "none.pkl" if data is None else written(tmp_path / "p.pkl", data)
        with pytest.raises(SourceError, match=words):
            read_pickle(path, error=SourceError)


def test_memory_does_not_follow_what_a_file_says(tmp_path: Path) -> None:
    """A place in the memo that Python's reader would take tens of gigabytes for."""
    assert read_pickle(written(tmp_path / "p.pkl", b"]K\x05r\xff\xff\xff\x7faj\xff\xff\xff\x7fa.")) == [5, 5]


def test_what_stands_in_many_places_is_counted_there(tmp_path: Path) -> None:
    """A value that is stored once may stand in a few places, and not in so many that nobody comes to their end."""
    few = dict.fromkeys(range(4), [[1.5, 2.5]] * 4)
    assert read_pickle(written(tmp_path / "p.pkl", pickle.dumps(few))) == few
    polygon = [1.0, 2.0] * 500
    many = {number: [polygon] * 3000 for number in range(9)}
    folder = {f"{number}.jpg": [1] for number in range(1000)}
    text = "x" * 100_000
    for value in (many, dict.fromkeys(range(1000), folder), [{"counts": text} for _ in range(5000)]):
        with pytest.raises(SourceError, match="pickle holds the same again and again"):
            read_pickle(written(tmp_path / "p.pkl", pickle.dumps(value)), error=SourceError)
    # A tuple of twice the one before, forty times, as the key of a dict: its hash would not end.
    twice = b"".join(b"h" + bytes([number]) + b"\x86\x94" for number in range(40))
    with pytest.raises(SourceError, match="pickle holds the same again and again"):
        read_pickle(written(tmp_path / "p.pkl", b"\x80\x04})\x94" + twice + b"Ns."), error=SourceError)


def test_no_container_is_in_itself_and_no_number_too_long_to_print(tmp_path: Path) -> None:
    itself: list[Any] = []
    itself.append(itself)
    for value in ([itself], {1: 10**5000}):
        with pytest.raises(SourceError, match="no whole pickle"):
            read_pickle(written(tmp_path / "p.pkl", pickle.dumps(value)), error=SourceError)
    assert read_pickle(written(tmp_path / "p.pkl", pickle.dumps([10**4000]))) == [10**4000]
