"""What a process of an evaluation asks of the system: memory kept, memory limited, an end with its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

__all__ = ["die_with_parent", "keep_memory", "limit_memory"]


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


def _available() -> int | None:
    """Return the bytes that can still be had: of the machine, and of the control group this process is in."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * (int(lines["MemAvailable"].split()[0]) + int(lines["SwapFree"].split()[0])))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit.isdigit():
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, KeyError, ValueError):
        pass
    return min(found, default=None)


def limit_memory(device: str) -> None:
    """Limit this process to the memory that is there, so that a method that takes more gets a MemoryError.

    Its episode fails then and the run goes on; the kernel would kill the run. Only on the CPU: drivers of GPUs reserve
    more than they use.
    """
    available = _available()
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


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent goes, however it goes (Linux)."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)
