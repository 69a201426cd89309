"""Evaluating on a Ray cluster: every actor keeps one worker process, and passes on what it says.

The process is that of ``icvos.evaluation.workers``, so that one that dies, hangs or takes too much memory leaves the
same record as on one machine. The driver alone writes the run's folder: results and masks come back through Ray.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from icvos.benchmark import load_benchmark
from icvos.errors import BenchmarkError, IcvosError, MissingExtraError, ModelError, UsageError
from icvos.evaluation.crew import Group, Listener, ModelSpec, Worker, run_groups
from icvos.evaluation.episode import EpisodeResult, Job
from icvos.evaluation.shipping import (
    model_file,
    new_mask_folder,
    pack_benchmark,
    ship_again,
    ship_model,
    take_masks,
    unpack_benchmark,
    write_masks,
)
from icvos.evaluation.workers import Share, WorkerProcess, cannot_build
from icvos.files import file_sha256, work_folder
from icvos.models.registry import create
from icvos.runs.environment import describe_device, describe_model
from icvos.runs.episodes import RunOptions
from icvos.version import __version__

__all__ = ["check_ray", "count_workers", "describe_on_ray", "run_on_ray"]

# An actor answers after so many seconds at the latest, and soon after there is a result.
ANSWER_SECONDS = 1.0
SOON_SECONDS = 0.01
# A frame of HTTP/2 without content: three bytes of length, its type, flags and stream.
EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# Without its head or its own node Ray ends the driver by itself, without a word, within a minute.
HEAD_SECONDS = 20.0
START = "start one (docs/how-to/cluster.md), and give its --address HOST:PORT"


class ClusterLostError(IcvosError):
    """The cluster ended while a run was on it."""

    exit_status = 1

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the Ray cluster is gone ({why})",
            fix="start one and run the same command again, or run it without --engine ray: it goes on where it stopped",
        )


def check_ray(device: str = "cpu") -> Any:
    """Return the package ray.

    Args:
        device: Of the run.

    Raises:
        UsageError: The device is one GPU of this machine.
        MissingExtraError: Ray is not installed.
    """
    if device.startswith("cuda:"):
        raise UsageError(
            f"device '{device}' is a GPU of one machine", fix="--device cuda: Ray gives each worker its own"
        )
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("ray", "ray", "--engine ray") from None
    return ray


@dataclass(frozen=True)
class _Order:
    """What an actor is to do.

    Attributes:
        spec: The model; a file of its own is named within the runtime environment's folder.
        root: The benchmark's folder, or None where it is shipped.
        manifest: SHA-256 of the benchmark's manifest.
        job: How to run; its ``masks`` say only whether there are to be any.
        needs: CPUs and GPUs that it takes; its process computes on as many threads.
    """

    spec: ModelSpec
    root: Path | None
    manifest: str
    job: Job
    needs: Mapping[str, float]


class _Relay:
    """The actor: it keeps a worker process and passes on what that says."""

    def __init__(self) -> None:
        self._process: WorkerProcess | None = None
        self._masks: Path | None = None
        self._shipped: Path | None = None
        # What is shipped and what is on its way live by open files, and so no longer than this.
        self._open: list[IO[bytes]] = []

    def begin(self, version: str, order: bytes, chunks: list[Any]) -> list[tuple[str, Any]]:
        """Check that all is here that is needed, and start the process.

        Args:
            version: Of icvos where the run was started; nothing else is read where this is another.
            order: A pickled ``_Order``.
            chunks: References to the benchmark's files, packed, where they are shipped.
        """
        try:
            _check_version(version)
            self._start(pickle.loads(order), chunks)
        except IcvosError as error:
            return [("broken", ship_again(error, self._shipped))]
        return []

    def _start(self, order: _Order, chunks: list[Any]) -> None:
        root = order.root
        if root is None:
            root, use = unpack_benchmark(order.manifest, chunks, check_ray().get)
            self._shipped = root
            self._open.append(use)
        if not (root / "manifest.csv").is_file():
            raise BenchmarkError(
                f"node {_node()} has no such benchmark",
                where=root,
                fix="put it on a shared file system, or add --stage",
            )
        if file_sha256(root / "manifest.csv") != order.manifest:
            raise BenchmarkError(
                f"node {_node()} has another benchmark than where the run was started",
                where=root,
                expected=f"a manifest of SHA-256 {order.manifest[:16]}…",
                fix="copy it again, or add --stage",
            )
        job = order.job
        if job.masks is not None:
            self._masks, pipe = new_mask_folder()
            self._open.append(pipe)
            job = replace(job, masks=self._masks)
        spec = _here(order.spec)
        share = Share(int(order.needs["CPU"]), _room_here(order.needs), min(order.needs["GPU"] or 1.0, 1.0))
        self._process = WorkerProcess(spec, root, job, share)

    def exchange(self, group: Group | None) -> list[tuple[str, Any]]:
        """Give the process a group, if there is one, and return what it says within a second.

        A result is a pair: with it come its masks' files by name, or None.
        """
        process = self._process
        assert process is not None  # begin was good
        if group is not None:
            with contextlib.suppress(OSError):  # it has died, as is heard next
                process.send(group)
        messages: list[tuple[str, Any]] = []
        end = time.monotonic() + ANSWER_SECONDS
        while process.speaks(max(end - time.monotonic(), 0)):
            kind, value = process.receive()
            if kind == "broken":
                value = ship_again(value, self._shipped)
            if kind == "frames" and messages and messages[-1][0] == "frames":
                messages.pop()
            messages.append((kind, (value, self._packed(value)) if kind == "result" else value))
            if kind not in ("frames", "result"):
                break
            if kind == "result":
                end = min(end, time.monotonic() + SOON_SECONDS)
        return messages

    def _packed(self, result: EpisodeResult) -> dict[str, bytes] | None:
        """Return the files of a result's masks, which go from here."""
        return None if self._masks is None else take_masks(self._masks / result.record["id"])

    def end(self) -> None:
        """End the process, and leave the cluster; what is left of its masks goes with it."""
        if self._process is not None:
            self._process.kill()
        check_ray().actor.exit_actor()


def _node() -> str:
    return os.uname().nodename


def _check_version(version: str) -> None:
    if version != __version__:
        raise UsageError(
            f"icvos {__version__} is installed on node {_node()}", expected=f"{version}, as where the run was started"
        )


def _here(spec: ModelSpec) -> ModelSpec:
    """Return a spec by which a file within the runtime environment's folder is found; another path stays what it is."""
    named = model_file(spec.spec)
    return spec if named is None else replace(spec, spec="".join(map(str, named)))


class _Actor(Worker):
    """A worker on the cluster.

    Args:
        ray: The package.
        relay: The actor's handle.
        answer: Reference to its first answer.
        masks: Folder for the predicted masks, or None.
    """

    def __init__(self, ray: Any, relay: Any, answer: Any, masks: Path | None) -> None:
        super().__init__()
        self.begun = False
        self.answer: Any = answer
        self.ending: Any = None
        self.inbox: deque[tuple[str, Any]] = deque()
        self._ray, self._relay, self._masks = ray, relay, masks

    def send(self, group: Group) -> None:
        self.answer = self._relay.exchange.remote(group)

    def hear(self) -> None:
        """Take its answer, which is there, and ask on unless it has nothing more to do."""
        errors = self._ray.exceptions
        try:
            self.inbox.extend(self._ray.get(self.answer))
        except (errors.RayActorError, errors.WorkerCrashedError, errors.ObjectLostError, errors.NodeDiedError) as error:
            why = " ".join(str(error).split())[:300]
            self.inbox.append(("gone", f"WorkerDied: its actor on the cluster is gone ({why})"))
        except errors.RayError as error:
            self.inbox.append(("broken", ModelError(f"Ray: {' '.join(str(error).split())[:500]}")))
        self.begun = True
        last = self.inbox[-1][0] if self.inbox else ""
        self.answer = None if last in ("ready", "done", "died", "gone", "broken") else self._relay.exchange.remote(None)

    def receive(self) -> tuple[str, Any]:
        kind, value = self.inbox.popleft()
        if kind != "result":
            return kind, value
        result, files = value
        if files is not None and self._masks is not None:
            write_masks(self._masks / result.record["id"], files)
        return kind, result

    def kill(self) -> None:
        # It answers within a second, whatever its process does, and takes its files with it.
        with contextlib.suppress(self._ray.exceptions.RayError):
            if self.begun:
                self.ending = self._relay.end.remote()
            else:
                self._ray.kill(self._relay)

    def kill_at_once(self) -> None:
        """End it without asking."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._relay)


class _Link:
    """What the driver lives by: the head of the cluster, and the node that it runs on.

    Args:
        ray: The package, connected.
    """

    def __init__(self, ray: Any) -> None:
        context = ray.get_runtime_context()
        own = context.get_node_id()
        self._node = next(node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own)
        self._head = context.gcs_address
        self._asked = self._answered = time.monotonic()

    def check(self) -> None:
        """Ask once a second whether both are there; a node's log has a line each time.

        Raises:
            ClusterLostError: The node is gone, or the head has not answered for ``HEAD_SECONDS``.
        """
        now = time.monotonic()
        if now - self._asked < 1:
            return
        self._asked = now
        try:
            with socket.socket(socket.AF_UNIX) as node:
                node.settimeout(2)
                node.connect(self._node)
        except (ConnectionRefusedError, FileNotFoundError):
            raise ClusterLostError("the node of this machine ended") from None
        except OSError:
            return  # it is there, and busy
        host, _, port = self._head.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
            self._answered = now
        except OSError as error:
            if now - self._answered > HEAD_SECONDS:
                raise ClusterLostError(f"its head at {self._head}: {error}") from None


class _Actors:
    """The crew of a cluster: as many actors as it has room for, and one more asked for, for a node that joins late.

    Args:
        ray: The package, connected.
        order: What each actor is to do.
        chunks: References to the packed benchmark, or none.
        masks: Folder for the predicted masks, or None.
    """

    def __init__(self, ray: Any, order: _Order, chunks: Sequence[Any], masks: Path | None) -> None:
        self.workers: list[Worker] = []
        self._all: list[_Actor] = []
        self._ray, self._order, self._chunks, self._masks = ray, pickle.dumps(order), list(chunks), masks
        self._class = ray.remote(num_cpus=order.needs["CPU"], num_gpus=order.needs["GPU"], max_restarts=0)(_Relay)
        self._room = _room(ray, order.needs)
        self._link = _Link(ray)

    def _start(self) -> _Actor:
        relay = self._class.remote()
        answer = relay.begin.remote(__version__, self._order, self._chunks)
        self._all.append(_Actor(self._ray, relay, answer, self._masks))
        return self._all[-1]

    def grow(self, waiting: int) -> None:
        wanted = 1 if self.workers else self._room + 1
        starting = sum(not worker.begun for worker in self.workers)
        for _ in range(min(wanted, waiting) - starting):
            self.workers.append(self._start())

    def replace(self, worker: Worker) -> None:
        number = self.workers.index(worker)
        worker.kill()
        self.workers[number] = self._start()

    def wait(self, busy: Sequence[Any], seconds: float) -> list[Worker]:
        self._link.check()
        heard = [worker for worker in busy if worker.inbox]
        answers = {worker.answer: worker for worker in busy if worker.answer is not None}
        if not heard and answers:
            for answer in self._ray.wait(list(answers), timeout=seconds)[0]:
                answers[answer].hear()
            heard = [worker for worker in busy if worker.inbox]
        return heard

    def end(self) -> None:
        """Give the actors that were asked to end three seconds for that, and leave none."""
        endings = [worker.ending for worker in self._all if worker.ending is not None]
        if endings:
            self._ray.wait(endings, num_returns=len(endings), timeout=3)
        for worker in self._all:
            worker.kill_at_once()


def _room(ray: Any, needs: Mapping[str, float]) -> int:
    """Return how many actors the cluster's nodes have room for.

    Raises:
        UsageError: Not one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_room_of(node, needs) for node in nodes)
    if not room:
        most = ", ".join(f"{max((node.get(name, 0) for node in nodes), default=0):g} {name}s" for name in needs)
        raise UsageError(
            f"no node of the cluster has {needs['CPU']:g} CPUs and {needs['GPU']:g} GPUs for a worker",
            expected=f"no more than {most}",
            fix="--cpus-per-worker and --gpus-per-worker say what a worker takes",
        )
    return room


def _room_of(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    return min(int(resources.get(name, 0) / number) for name, number in needs.items() if number)


def _room_here(needs: Mapping[str, float]) -> int:
    """Return how many actors the node of this one has room for."""
    ray = check_ray()
    here = ray.get_runtime_context().get_node_id()
    return max(*(_room_of(node["Resources"], needs) for node in ray.nodes() if node["NodeID"] == here), 1)


@contextlib.contextmanager
def _connected(ray: Any, address: str, spec: str) -> Iterator[str]:
    """Be connected to a cluster, to which a model's file is shipped; yield the spec by which it is known there.

    A connection that the caller has made is used and stays; the file must then be where it is here.
    """
    named = model_file(spec)
    if ray.is_initialized():
        yield spec if named is None else "".join(map(str, named))
        return
    if address == "auto":
        address = _find_address(ray)
    _check_address(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with work_folder("icvos-model") as folder:
            shipped = ship_model(spec, folder)
            environment = {} if named is None else {"working_dir": str(folder)}
            ray.init(address=address, runtime_env=environment, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise UsageError(
            f"no Ray cluster at '{address}' ({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            fix=START,
        ) from None
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray sets none either
            for number, handler in handlers.items():
                signal.signal(number, handler)
    try:
        yield shipped
    finally:
        ray.shutdown()


def _find_address(ray: Any) -> str:
    """Return the address that ``auto`` stands for: RAY_ADDRESS, or that of the last ``ray start`` on this machine.

    What it names may have ended since, without its file being taken away.

    Raises:
        UsageError: There is none.
    """
    try:
        address = ray._private.services.canonicalize_bootstrap_address("auto")
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"no Ray cluster at 'auto' ({error})", fix=START) from None
    if address is None:
        raise UsageError("no Ray cluster at 'auto' (RAY_ADDRESS is local)", fix=START)
    return str(address)


def _check_address(address: str) -> None:
    """Ask whether a server of gRPC, as the head is one, listens at an address; Ray would try for many minutes.

    Raises:
        UsageError: None does, or it is no address.
    """
    host, _, port = address.rpartition(":")
    expected = "HOST:PORT of its head, or auto"
    if not (host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise UsageError(f"'{address}' is no address of a Ray cluster", expected=expected, fix=START)
    try:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
                _greet(connection)
    except OSError as error:
        raise UsageError(f"no Ray cluster at '{address}' ({error})", expected=expected, fix=START) from None


def _greet(connection: socket.socket) -> None:
    """Open HTTP/2 (RFC 9113, 3.4), which gRPC is made of, on a connection.

    Raises:
        OSError: The server does not answer with its settings, as each has to.
    """
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS)
    with connection.makefile("rb") as stream:
        header = stream.read(len(EMPTY_SETTINGS))
    if header[3:4] != EMPTY_SETTINGS[3:4]:
        raise OSError("what listens there is another server")


def _needs(options: RunOptions, device: str) -> dict[str, float]:
    """Return the CPUs and GPUs that a worker takes."""
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if device.startswith("cuda") else 0.0
    return {"CPU": float(options.cpus_per_worker), "GPU": gpus}


def count_workers(options: RunOptions, device: str) -> int:
    """Return how many workers of a run the cluster has room for.

    Args:
        options: Where the cluster is, and what a worker takes of it.
        device: Of the run.

    Raises:
        IcvosError: There is no cluster, or it has no room for one.
    """
    ray = check_ray(device)
    with _connected(ray, options.address, ""):
        return _room(ray, _needs(options, device))


def describe_on_ray(
    spec: ModelSpec, options: RunOptions, known: Mapping[str, Any], *, kind: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``describe_model`` and ``describe_device`` of a worker on the cluster, which has the GPU that this lacks.

    Args:
        spec: The model.
        options: Where the cluster is, and what a worker takes of it.
        known: The model's options that were given.
        kind: Of the benchmark.

    Raises:
        IcvosError: There is no cluster, it has no room for a worker, or the model cannot be built there.
    """
    ray = check_ray(spec.device)
    needs = _needs(options, spec.device)
    with _connected(ray, options.address, spec.spec) as shipped:
        _room(ray, needs)
        worker = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"])(_describe)
        order = pickle.dumps((replace(spec, spec=shipped), known, kind))
        try:
            described = ray.get(worker.remote(__version__, order))
        except ray.exceptions.RayError as error:
            raise ModelError(f"Ray: {' '.join(str(error).split())[:500]}") from None
    if isinstance(described, Exception):
        raise described
    return described


def _describe(version: str, order: bytes) -> tuple[dict[str, Any], dict[str, Any]] | Exception:
    """What ``describe_on_ray`` has a worker do."""
    try:
        _check_version(version)
        spec, known, kind = pickle.loads(order)
        spec = _here(spec)
        model = create(spec.spec, device=spec.device, weights=spec.weights, options=spec.options, demo=spec.demo)
        return describe_model(model, known, kind=kind), describe_device(spec.device)
    except Exception as error:
        return cannot_build(error)


def run_on_ray(
    spec: ModelSpec, root: Path, job: Job, groups: Sequence[Group], listener: Listener
) -> Iterator[EpisodeResult]:
    """Run groups of episodes on a Ray cluster and yield results as they come.

    The group of an actor or node that is gone is given to another, three times; then the episode under way fails.

    Args:
        spec, root, groups, listener: As for ``run_in_workers``.
        job: How to run; its options say where the cluster is, and what a worker takes of it.

    Raises:
        IcvosError: There is no cluster, it has no room for a worker, a node has another icvos or benchmark, or the
            model cannot be built.
    """
    ray = check_ray()
    options = job.options
    needs = _needs(options, spec.device)
    with _connected(ray, options.address, spec.spec) as shipped:
        order = _Order(
            replace(spec, spec=shipped),
            None if options.stage else root.resolve(),
            load_benchmark(root).manifest_sha256,
            job,
            needs,
        )
        chunks = [ray.put(chunk) for chunk in pack_benchmark(root)] if options.stage else []
        crew = _Actors(ray, order, chunks, job.masks)
        try:
            yield from run_groups(crew, groups, listener, timeout=options.timeout)
        finally:
            crew.end()
