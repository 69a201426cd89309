"""Checkpoints: the table, reading hostile and broken files, fetching from a local server that misbehaves."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import pickle
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared

from icvos.cli import main
from icvos.errors import InputError, LockedError, UsageError, WeightsError
from icvos.files import lock_folder
from icvos.foundation import weights
from icvos.foundation.checkpoints import CHECKPOINTS, MARKS, Checkpoint, checkpoint, verify_file, weights_folder
from icvos.foundation.download import fetch

DATA = bytes(range(256)) * 20_000  # 5 MB: several blocks


@dataclass
class Server:
    """What the local server does wrong, and what it was asked."""

    url: str = ""
    cut_after: list[int] = field(default_factory=list)  # bytes sent before the connection is cut, a request
    status: int | None = None
    ranges: bool = True
    data: bytes = DATA
    location: str = ""  # where it leads
    endless: bytes = b""  # sent again and again, without a length
    wait: float = 0.0  # seconds before each
    closed: threading.Event = field(default_factory=threading.Event)
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status:
                self.send_error(state.status)
                return
            if state.location:
                self.send_response(302)
                self.send_header("Location", state.location)
                self.end_headers()
                return
            if state.endless:
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not state.closed.wait(state.wait):
                        self.wfile.write(state.endless)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0  # type: ignore[index]
            if start >= len(state.data):
                self.send_error(416)
                return
            body = state.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.data) - 1}/{len(state.data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = state.cut_after.pop(0) if state.cut_after else None
            self.wfile.write(body[:cut])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        service.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is expected
        threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
        state.url = f"http://127.0.0.1:{service.server_address[1]}"
        yield state
        state.closed.set()
        service.shutdown()


def known(**changes: object) -> Checkpoint:
    whole = Checkpoint(
        "thing", "thing.pt", "http://x/thing.pt", len(DATA), hashlib.sha256(DATA).hexdigest(), "B", "MIT", "page"
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_table_is_whole() -> None:
    assert len({c.file for c in CHECKPOINTS.values()}) == len(CHECKPOINTS)
    for name, one in CHECKPOINTS.items():
        assert name == one.name and one.mark in MARKS
        assert len(one.sha256) == {"A": 64, "B": 64, "name": 8, "-": 0}[one.mark]
        assert re.fullmatch(r"[0-9a-f]*", one.sha256)
        assert one.url is None or (one.url.startswith("https://") and one.url.endswith(one.file))
        if one.mark == "name":
            assert one.sha256 in one.file
    assert checkpoint("sam2.1_hiera_tiny.pt") is CHECKPOINTS["sam2.1-hiera-tiny"]  # by file name as well
    with pytest.raises(UsageError, match=r"did you mean 'sam-vit-b'"):
        checkpoint("sam-vit-bb")


def test_fetch_verifies_and_renames(server: Server, tmp_path: Path) -> None:
    seen: list[int] = []
    path, found = fetch(known(), folder=tmp_path, mirror=server.url, progress=lambda update: seen.append(update.done))
    assert path.read_bytes() == DATA and found == hashlib.sha256(DATA).hexdigest()
    assert sorted(os.listdir(tmp_path)) == ["thing.pt"]  # no part, no lock left
    assert seen == sorted(seen) and seen[-1] == len(DATA)
    fetch(known(), folder=tmp_path, mirror=server.url)
    assert server.asked == [None]  # a second time asks nothing


def test_fetch_goes_on_after_cuts(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1_500_000, 700_000]
    path, _ = fetch(known(), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=1500000-", "bytes=2200000-"]


def test_fetch_resumes_in_a_later_call(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1_000_000]
    with pytest.raises(InputError, match="goes on where it stopped"):
        fetch(known(), folder=tmp_path, mirror=server.url, attempts=1)
    assert os.listdir(tmp_path) == ["thing.pt.part"]
    path, _ = fetch(known(), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA and server.asked == [None, "bytes=1000000-"]


def test_fetch_from_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.ranges = [1_000_000], False
    path, _ = fetch(known(), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA


def test_fetch_whole_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "thing.pt.part").write_bytes(DATA)  # killed between the last byte and the renaming
    path, _ = fetch(known(), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA and server.asked == []


def test_fetch_size_unknown_and_part_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "thing.pt.part").write_bytes(DATA)  # the server answers 416
    path, _ = fetch(known(size=None), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA


def test_fetch_wrong_content_is_removed(server: Server, tmp_path: Path) -> None:
    server.data = DATA[:-1] + b"x"
    with pytest.raises(WeightsError, match=r"SHA-256 .*removed"):
        fetch(known(), folder=tmp_path, mirror=server.url)
    assert os.listdir(tmp_path) == []


def test_fetch_part_of_another_file_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "thing.pt.part").write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="removed"):
        fetch(known(), folder=tmp_path, mirror=server.url)
    path, _ = fetch(known(), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA


def test_fetch_by_prefix_of_the_hash(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    path, found = fetch(known(sha256=digest[:8], mark="name"), folder=tmp_path, mirror=server.url)
    assert path.exists() and found == digest
    with pytest.raises(WeightsError, match="first 8 digits"):
        fetch(known(file="b.pt", sha256="00000000", mark="name"), folder=tmp_path, mirror=server.url)


def test_fetch_without_a_hash_never_joins_old_parts(server: Server, tmp_path: Path) -> None:
    (tmp_path / "thing.pt.part").write_bytes(b"x" * 1000)
    path, _ = fetch(known(sha256="", mark="-", size=None), folder=tmp_path, mirror=server.url)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("change", "where", "error", "message"),
    [
        ({"url": None}, None, UsageError, "no direct link"),
        ({}, "ftp://x", UsageError, "no http"),
        ({}, "file:///etc", UsageError, "no http"),  # never a file of this machine
        ({}, "http://127.0.0.1:9", InputError, "could not be fetched .*offline"),  # nobody listens
        ({}, "http://no-such-host.invalid", InputError, "could not be fetched"),
    ],
)
def test_fetch_that_cannot_be(
    tmp_path: Path, change: dict[str, object], where: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fetch(known(**change), folder=tmp_path, mirror=where)
    assert os.listdir(tmp_path) == []


def test_fetch_refusals_of_the_server(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(WeightsError, match="404"):
        fetch(known(), folder=tmp_path, mirror=server.url)
    assert len(server.asked) == 1  # no use in asking again
    server.status = 503
    with pytest.raises(InputError, match="503"):
        fetch(known(), folder=tmp_path, mirror=server.url, attempts=2)
    server.status, server.data = None, DATA[:-10]
    with pytest.raises(WeightsError, match="the server offers 5,119,990 bytes"):
        fetch(known(), folder=tmp_path, mirror=server.url)


def test_fetch_one_at_a_time(server: Server, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "thing.pt.part"), pytest.raises(LockedError):
        fetch(known(), folder=tmp_path, mirror=server.url)


def test_verify(tmp_path: Path) -> None:
    path = tmp_path / "thing.pt"
    with pytest.raises(WeightsError, match="icvos weights fetch thing"):
        verify_file(path, known())
    path.write_bytes(DATA[1:])
    with pytest.raises(WeightsError, match="expected 5,120,000 bytes"):
        verify_file(path, known())
    path.write_bytes(DATA)
    assert verify_file(path, known()) == hashlib.sha256(DATA).hexdigest()


def test_commands(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["weights", *arguments])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    monkeypatch.setitem(CHECKPOINTS, "thing", known())
    status, out, _ = run("list")
    assert status == 0 and all(name in out for name in CHECKPOINTS) and "thing.pt" in out
    status, out, err = run("fetch", "thing", "--mirror", server.url)
    assert status == 0 and known().sha256 in out and (weights_folder() / "thing.pt").is_file()
    assert run("verify", "thing")[0] == 0
    assert "ok    thing" in run("verify")[1]
    (weights_folder() / "thing.pt").write_bytes(b"x")
    status, out, _ = run("verify")
    assert status == 1 and out.startswith("WRONG thing")
    (weights_folder() / "thing.pt").unlink()
    for arguments in (["verify", "thing"], ["fetch", "nothing"], ["fetch", "thing", "--mirror", "http://127.0.0.1:9"]):
        status, _, err = run(*arguments)
        assert status == 2 and len([line for line in err.splitlines() if line.strip()]) == 1


# Reading checkpoint files.


class Hostile:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_hostile_pickles_are_refused_in_one_line(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trap = tmp_path / "trap"
    files = [tmp_path / name for name in ("zip.pth", "old.pth", "raw.pth")]
    torch.save({"model": {"w": torch.ones(1)}, "x": Hostile(trap)}, files[0])
    torch.save({"x": Hostile(trap)}, files[1], _use_new_zipfile_serialization=False)
    files[2].write_bytes(pickle.dumps({"x": Hostile(trap)}))
    for path in files:
        with pytest.raises(WeightsError) as error:
            weights.load_state(path)
        assert "\n" not in str(error.value) and path.name in str(error.value)
        assert "refused" in str(error.value) or path is files[2]
    assert not trap.exists()


def test_broken_checkpoints_are_one_line(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {"w": torch.randn(50, 50), "b": torch.randn(50)}
    torch.save(state, tmp_path / "whole.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    weights.save_state(tmp_path / "whole.safetensors", state)
    for name in ("whole.pth", "old.pth", "whole.safetensors"):
        data = (tmp_path / name).read_bytes()
        for cut in (0, 1, 7, len(data) // 2, len(data) - 1):
            path = tmp_path / f"cut-{name}"
            path.write_bytes(data[:cut])
            with pytest.raises(WeightsError) as error:
                weights.load_state(path)
            assert "\n" not in str(error.value), (name, cut)
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    for name in ("text.pth", "list.pth", "other.pth", "absent.pth"):
        with pytest.raises(WeightsError):
            weights.load_state(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pt"])
def test_prefixes_of_wrappers_go(tmp_path: Path, suffix: str) -> None:
    """A suffix says nothing: safetensors under .pt are read too."""
    torch = pytest.importorskip("torch")
    one = torch.ones(2)
    for names, expected in (
        (("module.a", "module.b"), {"a", "b"}),
        (("module._orig_mod.a", "module._orig_mod.b"), {"a", "b"}),
        (("module.a", "b"), {"module.a", "b"}),
        (("_orig_mod.module.a", "_orig_mod.module.b"), {"a", "b"}),
        (("module.module._orig_mod.module.a", "module.module.b"), {"_orig_mod.module.a", "b"}),
        (("module.module.a",), {"a"}),
    ):
        state = dict.fromkeys(names, one)
        if suffix == ".pth":
            torch.save(state, tmp_path / f"a{suffix}")
        else:
            weights.save_state(tmp_path / f"a{suffix}", state)
        assert set(weights.load_state(tmp_path / f"a{suffix}")) == expected


@pytest.mark.parametrize("old", [False, True])
def test_a_file_is_known_by_its_content_whatever_its_suffix(tmp_path: Path, old: bool) -> None:
    torch = pytest.importorskip("torch")
    state = {"a": torch.arange(6.0)}
    torch.save(state, tmp_path / "torch.safetensors", _use_new_zipfile_serialization=not old)
    weights.save_state(tmp_path / "tensors.pth", state, metadata={"k": "v"})
    for name in ("torch.safetensors", "tensors.pth"):
        assert torch.equal(weights.load_state(tmp_path / name)["a"], state["a"])
    assert weights.load_metadata(tmp_path / "torch.safetensors") == {}
    assert weights.load_metadata(tmp_path / "tensors.pth") == {"k": "v"}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_damaged_checkpoints_are_read_or_refused_in_one_line(tmp_path: Path, form: str, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    state = {"a.weight": torch.arange(16.0).reshape(4, 4), "b": torch.ones(3)}
    path = tmp_path / f"x{suffix}"
    if form == "safetensors":
        weights.save_state(path, state)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for place in generator.integers(0, min(len(data), 600), generator.integers(1, 6)):
            data[place] = generator.integers(0, 256)
        path.write_bytes(data)
        try:
            weights.load_state(path)
        except WeightsError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert refused > 200


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("sparse", r"tensor 'bad' is sparse \(sparse_coo\)"),
        ("rows", r"tensor 'bad' is sparse \(sparse_csr\)"),
        ("meta", "tensor 'bad' is without values"),
        ("quantised", "tensor 'bad' is of type qint8"),
    ],
)
def test_tensors_that_no_model_takes_are_refused_by_name(tmp_path: Path, kind: str, words: str) -> None:
    torch = pytest.importorskip("torch")
    make = {
        "sparse": lambda: torch.eye(3).to_sparse(),
        "rows": lambda: torch.eye(3).to_sparse_csr(),
        "meta": lambda: torch.ones(3, device="meta"),
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    }
    with warnings.catch_warnings(action="ignore"):
        torch.save({"good": torch.ones(2), "bad": make[kind]()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=rf"{words}.*; in .*a\.pth; expected plain tensors"):
        weights.load_state(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "int8", "bool", "complex64"])
def test_types_of_few_bits_are_read_as_they_are(tmp_path: Path, name: str, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    path, value = tmp_path / f"a{suffix}", torch.ones(3).to(getattr(torch, name))
    torch.save({"a": value}, path) if suffix == ".pth" else weights.save_state(path, {"a": value})
    loaded = weights.load_state(path)["a"]
    assert loaded.dtype == value.dtype and torch.equal(loaded.cfloat(), value.cfloat())
    if name.startswith("float"):
        torch.save({"a": torch.full((3,), torch.nan).to(value.dtype)}, path)
        with pytest.raises(WeightsError, match="tensor 'a' holds values that are no numbers"):
            weights.load_state(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    torch = pytest.importorskip("torch")
    weights.save_state(tmp_path / "a.safetensors", {"good": torch.ones(2), "bad": torch.tensor([1.0, value])})
    with pytest.raises(WeightsError, match="tensor 'bad' holds values that are no numbers"):
        weights.load_state(tmp_path / "a.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html><body>Sign in", "checkpoint is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "checkpoint is a Git LFS pointer"),
        (b"", "checkpoint is empty"),
        (b"\x1f\x8b\x08\0\0", "checkpoint is a gzip archive"),
        (b"some words", "checkpoint (cannot be read|is truncated)"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path: Path, suffix: str, data: bytes, words: str) -> None:
    pytest.importorskip("torch")
    (tmp_path / f"a{suffix}").write_bytes(data)
    with pytest.raises(WeightsError, match=words) as caught:
        weights.load_state(tmp_path / f"a{suffix}")
    assert "code" not in str(caught.value)


def test_state_round_trips(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {"net.w": torch.randn(3, 2), "net.n": torch.tensor(4)}
    torch.save({"model": state, "epoch": 3}, tmp_path / "a.pth")
    weights.save_state(tmp_path / "a.safetensors", state, metadata={"k": "v"})
    for name in ("a.pth", "a.safetensors"):
        loaded = weights.load_state(tmp_path / name)
        assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)
    assert (
        weights.load_metadata(tmp_path / "a.safetensors") == {"k": "v"}
        and weights.load_metadata(tmp_path / "a.pth") == {}
    )
    first = (tmp_path / "a.safetensors").read_bytes()
    weights.save_state(tmp_path / "a.safetensors", dict(reversed(state.items())), metadata={"k": "v"})
    assert (tmp_path / "a.safetensors").read_bytes() == first  # the content alone decides


def test_table_says_what_was_read() -> None:
    """Every hash and exact size stands in the facts beside its file's name."""
    text = shared("facts", "weights.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    for one in CHECKPOINTS.values():
        if not one.sha256:
            continue
        near = [" ".join(lines[i : i + 2]) for i, line in enumerate(lines) if Path(one.file).name in line]
        assert any(one.sha256 in place for place in near), one.name
        assert one.size is None or any(str(one.size) in place for place in near), one.name


def test_a_body_without_a_length_is_bounded_by_the_known_size(server: Server, tmp_path: Path) -> None:
    server.endless = bytes(1 << 16)
    with pytest.raises(WeightsError, match=f"more than {len(DATA):,} bytes for thing.*another source"):
        fetch(known(), folder=tmp_path, mirror=server.url)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0
    with pytest.raises(WeightsError, match=r"more than 1,000,000 bytes for thing.*--max-size"):
        fetch(known(size=None), folder=tmp_path, mirror=server.url, max_size=1_000_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_length_over_the_bound_is_refused_before_a_byte_is_taken(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="more than 1,000 bytes"):
        fetch(known(size=None), folder=tmp_path, mirror=server.url, max_size=1000)
    assert not list(tmp_path.glob("*.part"))


def test_a_server_that_drips_counts_as_cut(server: Server, tmp_path: Path) -> None:
    server.endless, server.wait = b"x", 0.05
    with pytest.raises(InputError, match=r"less than 1 KiB a second.*the same command again"):
        fetch(known(), folder=tmp_path, mirror=server.url, attempts=2, timeout=0.5)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/thing.pt", "data:,x", "http://[::1/thing.pt", "gopher://x/y"]
)
def test_redirects_lead_to_http_alone(server: Server, tmp_path: Path, location: str) -> None:
    server.location = location
    with pytest.raises(WeightsError, match=r"leads elsewhere|answers 302"):
        fetch(known(), folder=tmp_path, mirror=server.url)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "mirror", ["http://[::1", "http://", "http://a:b/", "http://ü..x/", f"http://{'a' * 64}.x/", "file:///etc", "", "x"]
)
def test_a_mirror_that_is_no_address_is_one_line(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(UsageError, match="is no http or https address"):
        fetch(known(), folder=tmp_path, mirror=mirror)
