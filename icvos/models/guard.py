"""Starts a program and ends with it: ``python guard.py PIPE PROGRAM WORDS…``.

All that the program began is killed when it ends, or when the other end of the pipe is closed, as it is when icvos is
killed. The exit status, or the signal, is the program's.
"""

import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>: orphans below become this process's children


def main() -> None:
    """Run the program to its end."""
    pipe = int(sys.argv[1])
    os.set_inheritable(pipe, False)
    ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    default = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
    try:
        program = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, setsigdef=default)
    except OSError as error:
        begin = "; a script begins with a line as '#!/bin/sh'" if error.errno == errno.ENOEXEC else ""
        sys.exit(f"the program cannot be started ({error.strerror}){begin}")
    status = None
    while status is None:
        ready, _, _ = select.select([pipe, woken], [], [])
        if pipe in ready:
            break
        os.read(woken, 4096)
        status = _reap().get(program)
    _kill_children()
    _end(status)


def _reap() -> dict[int, int]:
    """Return the wait statuses of children that have ended."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            ended[child[0]] = child[1]
    return ended


def _kill_children() -> None:
    """Kill children, and theirs, which become children when they are orphans, until there are none."""
    with contextlib.suppress(ChildProcessError):
        while True:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                for child in _children():
                    os.kill(child, signal.SIGKILL)
                os.waitpid(-1, 0)


def _children() -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The name of a process, in brackets, may hold anything.
                if int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                    yield int(folder.name)


def _end(status: int | None) -> None:
    code = 1 if status is None else os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
