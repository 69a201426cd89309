"""A training on two nodes: one that is killed, what the other says, and the weights after both go on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]

TASK = """
import os, signal
from datetime import timedelta
import random
import numpy, torch
import icvos.training.checkpoint, icvos.training.distribute
from toy_training import ToyTask

icvos.training.distribute.TIMEOUT = timedelta(seconds=float(os.environ.get("TIMEOUT", 60)))
END = os.environ.get("END", "")
written = 0

def die():
    if "TORCHELASTIC_RUN_ID" in os.environ:
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def save(content, stream, plainly=torch.save, **how):
    global written
    written += isinstance(content, dict) and "optimiser" in content
    if END == "save" and written == 3:
        stream.write(b"half")
        stream.flush()
        die()
    plainly(content, stream, **how)

torch.save = save

class Task(ToyTask):
    done = 0

    def loss(self, model, batch):
        self.done += 1
        if END == "kill" and self.done == 11:
            die()
        if END == "stop" and self.done == 11:
            os.kill(os.getpid(), signal.SIGSTOP)
        loss, scalars = super().loss(model, batch)
        # What a model draws from the other global streams counts too.
        return loss * (1 + 0.1 * random.random() + 0.1 * numpy.random.random()), scalars
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodes:
    """Two nodes on the loopback address, by torchrun or as plain processes of torchrun's variables."""

    def __init__(self, folder: Path, *, torchrun: bool) -> None:
        self.folder, self.torchrun = folder, torchrun
        self.port = free_port()
        (folder / "two_nodes.py").write_text(TASK)

    def start(self, node: int, out: Path, *, options: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
        env = dict(os.environ, OMP_NUM_THREADS="1", NODES_OF=str(self.folder), **variables)
        env["PYTHONPATH"] = os.pathsep.join([str(self.folder), str(ROOT), str(ROOT / "tests/helpers")])
        train = ["-m", "icvos.cli", "train", "two_nodes:Task", "--device", "cpu", "--epochs", "6", "--save-every", "4"]
        train += ["--out", str(out)]
        if self.torchrun:
            start = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-id", "two"]
            start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{self.port}"]
            start += ["--rdzv-conf", f"is_host={node == 0}", "--local-addr", "127.0.0.1", *options]
            train = [*start, *train]
        else:
            env |= {"RANK": str(node), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.port)}
        return subprocess.Popen(
            [sys.executable, *train],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def both(self, out: Path, **variables: str) -> None:
        """Run both to their end, which is good."""
        self.port = free_port()
        for process in [self.start(node, out, **variables) for node in range(2)]:
            _, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors[-3000:]

    def left(self) -> list[str]:
        """Return the processes that are there still."""
        mark, found = f"NODES_OF={self.folder}\0".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_text())
            except OSError:
                continue
        return found


def tensors(value: Any, name: str = "") -> dict[str, Any]:
    """Return all that a checkpoint holds, by its place."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in tensors(part, f"{name}/{key}").items()}
    if isinstance(value, list | tuple):
        return tensors(dict(enumerate(value)), name)
    return {name: value}


def assert_same(out: Path, other: Path) -> None:
    one, two = (tensors(torch.load(path / "checkpoint.pt", weights_only=True)) for path in (out, other))
    assert one.keys() == two.keys() and "/generators/1/torch" in one and one["/step"] == 18
    for name, value in one.items():
        assert torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name], name
    for file in ("log.csv", "last.safetensors", "best.safetensors", "training.json"):
        assert (out / file).read_bytes() == (other / file).read_bytes(), file
    assert {path.name for path in out.iterdir()} == {path.name for path in other.iterdir()}


LOST = "lost another process, which ended or gave no answer for {}; see what that one said, and run the same command on"


@pytest.mark.parametrize(("end", "timeout"), [("kill", "60"), pytest.param("stop", "2", marks=pytest.mark.slow)])
def test_a_rank_that_is_gone_or_does_not_answer_ends_the_other(tmp_path: Path, end: str, timeout: str) -> None:
    nodes = Nodes(tmp_path, torchrun=False)
    first = nodes.start(0, tmp_path / "r", TIMEOUT=timeout), nodes.start(1, tmp_path / "r", TIMEOUT=timeout, END=end)
    try:
        errors = first[0].communicate(timeout=100)[1]
        assert first[0].returncode == 1
        assert "icvos: rank 0 of 2 " + LOST.format(timedelta(seconds=int(timeout))) in errors
        assert torch.load(tmp_path / "r/checkpoint.pt", weights_only=True)["step"] == 9
    finally:
        for process in first:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill host", "kill other", "save"])
def test_a_node_that_is_killed_and_both_commands_again(tmp_path: Path, how: str) -> None:
    nodes = Nodes(tmp_path, torchrun=True)
    nodes.both(tmp_path / "whole")
    end, _, victim = how.partition(" ")
    ends = [end if victim in ("", name) else "" for name in ("host", "other")]
    first = [nodes.start(node, tmp_path / "parts", END=ends[node]) for node in range(2)]
    shown = "".join(process.communicate(timeout=100)[1] for process in first)
    assert sorted(process.returncode for process in first) == [-9, 1] and LOST.format("0:01:00") in shown
    assert not nodes.left()
    assert bool(list((tmp_path / "parts").glob(".*.tmp"))) == (end == "save")
    nodes.both(tmp_path / "parts")
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert not nodes.left()


@pytest.mark.slow
def test_a_node_that_is_killed_and_its_command_alone_again(tmp_path: Path) -> None:
    """The other waits with --max-restarts. It needs a store for each round: torchrun's own is of the first round."""
    nodes = Nodes(tmp_path, torchrun=True)
    nodes.both(tmp_path / "whole")
    nodes.port = free_port()

    def start(node: int, **variables: str) -> subprocess.Popen[str]:
        variables["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        return nodes.start(node, tmp_path / "parts", options=("--max-restarts", "3"), **variables)

    waits, killed = start(0), start(1, END="kill")
    killed.communicate(timeout=100)
    again = start(1)
    errors = [process.communicate(timeout=100)[1] for process in (waits, again)]
    assert [waits.returncode, again.returncode] == [0, 0], errors
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert not nodes.left()
