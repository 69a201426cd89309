"""Checkpoints of a training run: everything that the next step depends on, written whole or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icvos.errors import RunError, WeightsError
from icvos.files import atomic_write, open_file

__all__ = [
    "check_identity",
    "check_ranks",
    "generator_state",
    "read_checkpoint",
    "restore_generators",
    "seed_generators",
    "write_checkpoint",
]

SCHEMA = "icvos-training/1"


def seed_generators(seed: int) -> None:
    """Seed python's, numpy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))  # noqa: NPY002 - a model may use the global stream
    torch.manual_seed(seed)


def generator_state(device: torch.device) -> dict[str, Any]:
    """Return the states of python's, numpy's and torch's global generators, in types that load safely."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]  # noqa: NPY002 - a model may use the global stream
    words = torch.from_numpy(np.asarray(keys).astype(np.int64))
    state: dict[str, Any] = {
        "python": json.dumps(random.getstate()),
        "numpy": [str(name), words, int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_generators(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators back to what ``generator_state`` returned."""
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name, then rename it over the old one."""
    with atomic_write(path) as stream:
        torch.save({"schema": SCHEMA, **content}, stream)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ``write_checkpoint``; nothing in it is executed.

    Raises:
        WeightsError: Truncated, hostile, or no checkpoint of a training run.
    """
    try:
        with open_file(path) as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"checkpoint cannot be read ({type(error).__name__})", where=path, fix="remove it to start anew"
        ) from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise RunError("no checkpoint of a training run", where=path, expected=SCHEMA)
    return content


def check_identity(saved: dict[str, Any], current: dict[str, Any], *, where: Path) -> None:
    """Compare what a checkpoint was trained on and how with what it should go on with.

    Raises:
        RunError: Something differs; the first is named.
    """
    for key, value in current.items():
        if saved.get(key) != value:
            raise RunError(
                f"the checkpoint is of another {key}: {_difference(saved.get(key), value)}",
                where=where,
                fix="give the same settings, or another --out",
            )


def check_ranks(identities: Sequence[Mapping[str, Any]]) -> None:
    """Compare what the processes of a run would train; each would otherwise step by its own, and one's be kept.

    Args:
        identities: By rank.

    Raises:
        RunError: One differs from rank 0; the first difference is named.
    """
    for rank, identity in enumerate(identities):
        for key, value in identities[0].items():
            if identity.get(key) != value:
                where = _difference(value, identity.get(key), ("is", f"on rank {rank}"))
                raise RunError(
                    f"rank {rank} would train otherwise than rank 0: {key} {where}",
                    fix="run the same command, with the same data and toolkit, on every node",
                )


def _difference(old: Any, new: Any, words: tuple[str, str] = ("was", "is")) -> str:
    """Say in a few words where two values of an identity differ; the words go before the one and the other."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return f"{key} {words[0]} {old.get(key)}, {words[1]} {new.get(key)}"
    return f"{words[0]} {old}, {words[1]} {new}"
