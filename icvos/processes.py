"""Work over processes: results in order, few tasks in flight, and no worker that outlives its parent."""

from __future__ import annotations

import ast
import atexit
import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from icvos.errors import UsageError

__all__ = [
    "Message",
    "available_memory",
    "begin_worker",
    "check_main_guard",
    "in_order",
    "keep_memory",
    "limit_memory",
    "own_end",
    "side_by_side",
]

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Yield ``function(task)`` for each task, in order; with one worker in this process.

    Tasks are taken from the iterable as they are needed, so that only a few are held. ``function``, which goes to each
    process once and may keep there what it opens, the tasks and the results must be picklable.

    Raises:
        BrokenProcessPool: A process died.
        UsageError: The call stands at the top level of a script.
    """
    if workers <= 1:
        yield from _here(function, tasks)
        return
    check_main_guard()
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor

    # Spawned, not forked: a fork would inherit locks of threads (OpenCV's) and the flock of the build.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[R]] = deque()
    arguments = (os.getpid(), function)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=arguments) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(_call, task))
                if len(waiting) > 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


neighbours = 0
"""In a process of ``side_by_side``: how many others there are, which compute at the same time."""


@dataclass(frozen=True)
class Message:
    """What comes from a task that runs in a process of ``side_by_side``.

    Attributes:
        task: Its index.
        value: What it tells, or what it returns.
        end: Whether it is what it returns.
        lost: Why there is nothing to return: how its process died; otherwise "".
    """

    task: int
    value: Any = None
    end: bool = False
    lost: str = ""


def side_by_side(
    function: Callable[[T, Callable[[Any], None]], Any], tasks: Sequence[T], workers: int
) -> Generator[Message, None, None]:
    """Call ``function(task, tell)`` for each task in processes that stay, and yield what comes of it as it comes.

    Each process computes on one thread, so that a result does not hang on how many there are. Processes begin the tasks
    in order; where the caller stops, all end at once: by SIGTERM, and five seconds later by SIGKILL.

    Args:
        function: May start processes of its own. It, the tasks, what it tells and what it returns must be picklable.
        tasks: In the order in which they begin.
        workers: How many processes there are at most.

    Raises:
        UsageError: The call stands at the top level of a script.
    """
    check_main_guard()
    import multiprocessing
    from multiprocessing.connection import wait

    context = multiprocessing.get_context("spawn")
    waiting = deque(range(len(tasks)))
    others = min(workers, len(tasks)) - 1
    crew: dict[Any, Any] = {}
    at: dict[Any, int] = {}

    def give(pipe: Any) -> None:
        if waiting:
            at[pipe] = waiting.popleft()
            with contextlib.suppress(OSError):  # it is gone: what waits on its pipe will say so
                pipe.send((at[pipe], tasks[at[pipe]]))

    def start() -> None:
        pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, os.getpid(), others, function))
        # Ctrl-C reaches the whole process group and the parent decides; the child inherits the ignoring.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        crew[pipe] = process
        give(pipe)

    try:
        for _ in range(others + 1):
            start()
        while at:
            pipe: Any
            for pipe in wait(list(at)):
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    yield Message(at.pop(pipe), end=True, lost=_ending(crew.pop(pipe)))
                    if waiting:
                        start()
                    continue
                if message.end:
                    del at[pipe]
                    give(pipe)
                yield message
    finally:
        for process in crew.values():
            process.terminate()
        for process in crew.values():
            process.join(5)
            process.kill()
            process.join()


def _serve(pipe: Any, parent: int, others: int, function: Callable[[Any, Callable[[Any], None]], Any]) -> None:
    """The life of a process of ``side_by_side``."""
    global neighbours
    neighbours = others
    begin_worker(parent)
    os.environ["OMP_NUM_THREADS"] = "1"  # of torch and its libraries, which are imported later
    import cv2

    cv2.setNumThreads(1)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            index, task = pipe.recv()
            value = function(task, partial(_tell, pipe, index))
            pipe.send(Message(index, value, end=True))


def _tell(pipe: Any, index: int, value: Any) -> None:
    pipe.send(Message(index, value))


def _ending(process: Any) -> str:
    process.join(5)
    if process.exitcode == -signal.SIGKILL:
        return "its process was killed (out of memory?)"
    return f"its process ended with status {process.exitcode}"


def check_main_guard() -> None:
    """Check that worker processes can be started: each runs the script again, up to its main guard.

    Raises:
        UsageError: The call stands at the top level of a script, under no ``if __name__ == "__main__":``, or this is
            a daemon process, as those of ``multiprocessing.Pool``.
    """
    import multiprocessing

    if multiprocessing.current_process().daemon:
        raise UsageError("a daemon process can start no worker processes", fix="call it in another process")
    frame: FrameType | None = sys._getframe()
    while frame is not None and (frame.f_code.co_name, frame.f_globals.get("__name__")) != ("<module>", "__main__"):
        frame = frame.f_back
    script = None if frame is None else frame.f_globals.get("__file__")
    if frame is None or script is None or not Path(script).is_file():
        return  # a notebook, or python -c: nothing is run again
    try:
        statements = ast.parse(Path(script).read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return
    for statement in statements:
        if statement.lineno <= frame.f_lineno <= (statement.end_lineno or 0):
            if not (isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)):
                raise UsageError(
                    "worker processes run the script again, and the call has no main guard",
                    where=f"{script}, line {frame.f_lineno}",
                    fix="put it under 'if __name__ == \"__main__\":'",
                )
            return


_FUNCTIONS: list[Callable[[Any], Any]] = []


def _begin(parent: int, function: Callable[[Any], Any]) -> None:
    import cv2

    cv2.setNumThreads(1)
    begin_worker(parent)
    _FUNCTIONS[:] = [function]


def _call(task: Any) -> Any:
    return _FUNCTIONS[0](task)


def _here(function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    import cv2

    keep_memory()
    threads = cv2.getNumThreads()
    # On images of this size OpenCV's threads cost more than they save.
    cv2.setNumThreads(1)
    try:
        yield from map(function, tasks)
    finally:
        cv2.setNumThreads(threads)


END_SECONDS = 5.0
"""How long what a plugin left behind, threads and exit handlers, may hold up the end of a command."""


@contextlib.contextmanager
def own_end() -> Iterator[None]:
    """End this process with the status of the block, within ``END_SECONDS`` of its end, whatever a plugin left behind.

    Threads that are not daemons, and exit handlers, have these seconds; objects are not collected at the end. A call of
    ``os._exit`` within the block is said in one line, and never ends the process with 0. Not guarded are calls of C's
    ``exit`` and kills.
    """
    process, exit_now = os.getpid(), os._exit
    ended: list[int] = []

    def leave(status: int) -> NoReturn:
        if os.getpid() == process:
            if not ended:
                os.write(2, f"icvos: ended by a plugin's os._exit({status}) before it was done\n".encode())
            status = ended[0] if ended else status or 1
        exit_now(status)

    def finish() -> None:
        if not ended or os.getpid() != process:
            return
        for stream in (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr):
            try:
                stream.flush()  # type: ignore[union-attr]
            except BrokenPipeError:
                ended[0] = ended[0] or 1
            except OSError as error:  # a full disk
                os.write(2, f"icvos: what it printed could not be written ({error.strerror})\n".encode())
                ended[0] = ended[0] or 1
            except (ValueError, AttributeError):
                pass  # closed, or none
        exit_now(ended[0])

    def finish_late() -> None:
        time.sleep(END_SECONDS)
        finish()

    os._exit = leave
    atexit.register(finish)  # the first that is registered is the last that is called
    try:
        yield
    except SystemExit as stop:
        ended.append(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
        raise
    except BaseException:
        ended.append(1)
        raise
    finally:
        threading.Thread(target=finish_late, daemon=True).start()


def begin_worker(parent: int) -> None:
    """Begin a worker process: it ends with its parent, leaves Ctrl-C to it, and keeps the memory of a frame.

    Args:
        parent: The parent's process id.
    """
    _die_with_parent(parent)
    keep_memory()
    # Ctrl-C reaches the whole group; the parent tells the workers what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _die_with_parent(parent: int) -> None:
    """End this process as soon as its parent is gone, however it went: by the kernel, or elsewhere by a thread."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        threading.Thread(target=_watch_parent, daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    process: Any = multiprocessing.parent_process()
    wait([process.sentinel])
    os._exit(1)


def keep_memory() -> None:
    """Let glibc keep the memory of one frame for the next, a third of a fast model's time; elsewhere do nothing.

    By default every freed frame goes back to the kernel and the next one is faulted in page by page. It holds for the
    whole process: for commands and workers, not for a notebook.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of <malloc.h>
    mallopt(trim_threshold, 256 << 20)
    mallopt(mmap_threshold, 32 << 20)


def available_memory(share: int = 1) -> int | None:
    """Return the bytes that can still be had: of the machine, and of the control group this process is in.

    Args:
        share: How many processes share all the memory there is; each has no more than its part, whoever comes first.
    """
    limits = []
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        for part, names in ((1, ("MemAvailable", "SwapFree")), (share, ("MemTotal", "SwapTotal"))):
            limits.append(1024 * sum(int(lines[name].split()[0]) for name in names) // part)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit.isdigit():
            limits += [int(limit) - int((group / "memory.current").read_text()), int(limit) // share]
    except (OSError, KeyError, ValueError):
        pass
    return min(limits, default=None)


def limit_memory(device: str, *, workers: int = 1) -> None:
    """Limit this process to the memory that is there, so that a method that takes more gets a MemoryError.

    Its episode fails then and the run goes on; the kernel would kill the run. Only on the CPU: drivers of GPUs reserve
    more than they use.

    Args:
        device: Of the model.
        workers: How many processes share the machine's memory.
    """
    available = available_memory(workers)
    if available is None or not device.startswith("cpu"):
        return
    try:
        used = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[5])
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = used + available - available // 20
        bounds = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min([wanted, *bounds]), hard))
    except (OSError, ValueError):
        return
