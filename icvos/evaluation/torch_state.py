"""What models may disturb outside themselves: random generators, modes, threads. torch is never imported here."""

from __future__ import annotations

import contextlib
import hashlib
import locale
import os
import random
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from icvos.costs import peak_resident
from icvos.models.seeds import ELSEWHERE

__all__ = [
    "episode_seed",
    "forget",
    "kept_outside",
    "peak_memory",
    "reset_peak",
    "restore_modes",
    "synchronise",
    "torch_modes",
]

Modes = tuple[bool, ...]


def _torch() -> ModuleType | None:
    return sys.modules.get("torch")


def episode_seed(seed: int, episode: str) -> int:
    """Return the seed that an episode's model gets, 0..2^31 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{episode}".encode()).digest()[:4], "big") >> 1


def torch_modes() -> Modes | None:
    """Return torch's grad mode, inference mode and autocast, or None where it is not imported."""
    torch = _torch()
    if torch is None:
        return None
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


def restore_modes(modes: Modes | None) -> None:
    """Undo a leak of grad mode or autocast (inference mode ends with its generator)."""
    torch = _torch()
    if torch is None or modes is None or torch_modes() == modes:
        return
    torch.set_grad_enabled(modes[0])
    torch.set_autocast_enabled("cpu", modes[2])
    torch.set_autocast_enabled("cuda", modes[3])


def synchronise(device: str) -> None:
    """Wait for a CUDA device."""
    torch = _torch()
    if device.startswith("cuda") and torch is not None:
        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Begin to count a GPU's peak memory anew."""
    torch = _torch()
    if device.startswith("cuda") and torch is not None:
        torch.cuda.reset_peak_memory_stats(device)
    for other in list(ELSEWHERE):
        other.peak_memory(device, reset=True)


def peak_memory(device: str) -> int:
    """Return peak bytes: of the GPU since ``reset_peak``, or of this process' resident set so far.

    Those of methods in interpreters of their own count too.
    """
    torch, there = _torch(), sum(other.peak_memory(device) for other in list(ELSEWHERE))
    if device.startswith("cuda") and torch is not None:
        return int(torch.cuda.max_memory_allocated(device)) + there
    return peak_resident() + there


@contextlib.contextmanager
def kept_outside() -> Iterator[None]:
    """Restore at the end what a model of one run could change for the next one's.

    These are the environment, the locale, the state of Python's and numpy's global generators, the threads of OpenCV
    and torch, and torch's default dtype and deterministic algorithms; of torch only where it was imported before.
    """
    import cv2

    environment, language, threads = dict(os.environ), locale.setlocale(locale.LC_ALL), cv2.getNumThreads()
    drawn, drawn_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - as above
    torch = _torch()
    if torch is not None:
        dtype, of_torch = torch.get_default_dtype(), torch.get_num_threads()
        strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, language)
        cv2.setNumThreads(threads)
        random.setstate(drawn)
        np.random.set_state(drawn_numpy)  # noqa: NPY002
        if torch is not None:
            torch.set_default_dtype(dtype)
            if torch.get_num_threads() != of_torch:
                torch.set_num_threads(of_torch)
            if torch.are_deterministic_algorithms_enabled() != strict[0]:  # a call of its own has effects
                torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])


def forget(error: BaseException) -> None:
    """Let go of what an exception holds (frames' locals), and of cached GPU memory after it ran out."""
    visited: dict[int, BaseException] = {}  # causes may form a ring
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in visited:
            visited[id(each)] = each
            each.__traceback__ = None
            left += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                left += each.exceptions
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
