"""A Ray cluster on the loopback address: a head and further nodes, each of one CPU, in a process that keeps them.

Run as a script it starts the head and prints its process ids as a line of JSON; at a line "add" of its input it starts
one more node, at "kill 1" it kills the second, and at its end it ends all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.2"  # Ray takes 127.0.0.1 for another name of the network card's address
# A node that was killed is given up within seconds.
QUICK = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


class RayCluster:
    """Two nodes of one CPU each.

    Args:
        home: ``ICVOS_HOME`` of what runs on them.
        nodes: How many there are at first.
        gpus: That Ray takes each for having.

    Attributes:
        address: HOST:PORT of the head.
        nodes: Process ids by node: ``raylet`` and others.
    """

    def __init__(self, home: Path, nodes: int = 2, *, gpus: int = 0) -> None:
        self.folder = tempfile.mkdtemp(prefix="icvos-ray-test-", dir="/tmp")  # paths of sockets are short
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "HOME": self.folder,
            "RAY_TMPDIR": self.folder,
            "TMPDIR": self.folder,
            "ICVOS_HOME": str(home),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.keeper = subprocess.Popen(
            [sys.executable, __file__, self.folder, str(gpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            text=True,
        )
        self._seen: set[int] = set()
        self.nodes: list[dict[str, Any]] = [self._line()]
        self.address = self.nodes[0]["address"]
        for _ in range(nodes - 1):
            self.add()

    def _line(self) -> dict[str, Any]:
        assert self.keeper.stdout is not None
        line = self.keeper.stdout.readline()
        assert line, "the cluster does not start"
        return json.loads(line)

    def _ask(self, words: str) -> dict[str, Any]:
        assert self.keeper.stdin is not None
        self.keeper.stdin.write(f"{words}\n")
        self.keeper.stdin.flush()
        return self._line()

    def add(self) -> None:
        """Start one more node."""
        self.nodes.append(self._ask("add"))

    def kill(self, node: int) -> None:
        """Kill a node's raylet; what runs there ends when it finds that out."""
        self._ask(f"kill {node}")

    def processes(self, word: str) -> list[int]:
        """Process ids of the cluster's whose command line holds a word; of a node that was killed too."""
        self._seen.update(below(self.keeper.pid))
        return [number for number in sorted(self._seen) if word in command_line(number)]

    def end(self) -> None:
        """End the cluster and all that it has started."""
        there = below(self.keeper.pid)
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        try:
            self.keeper.wait(20)
        except subprocess.TimeoutExpired:
            self.keeper.kill()
        for number in there:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


def command_line(number: int) -> str:
    """The command line of a process, or nothing where it is gone."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def below(parent: int) -> list[int]:
    """Process ids of all descendants of a process."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, todo = [], [parent]
    while todo:
        number = todo.pop()
        children = [child for child, its in parents.items() if its == number]
        found += children
        todo += children
    return found


def _keep(folder: str, gpus: int) -> None:
    Path(folder, "ray").mkdir()
    from ray.cluster_utils import Cluster

    def tell(node: Any) -> None:
        numbers = {name: made[0].process.pid for name, made in node.all_processes.items()}
        print(json.dumps({"address": cluster.address, **numbers}), file=out, flush=True)

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    common = {
        "num_cpus": 1,
        "num_gpus": gpus,
        "node_ip_address": ADDRESS,
        "object_store_memory": 100 << 20,
        "include_dashboard": False,
    }
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**common, "_system_config": QUICK},
    )
    nodes = [cluster.head_node]
    tell(nodes[0])
    for line in sys.stdin:
        if line == "add\n":
            nodes.append(cluster.add_node(**common))
        else:
            raylet = nodes[int(line.split()[1])].all_processes["raylet"][0].process
            raylet.kill()
            raylet.wait()  # its workers look whether it is there, and a zombie is
        tell(nodes[-1])
    cluster.shutdown()


if __name__ == "__main__":
    _keep(sys.argv[1], int(sys.argv[2]))
