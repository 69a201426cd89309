"""What a run ran on: versions, device, commit; what decides whether a record may be reused."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from icvos import processes
from icvos.benchmark import VOS, Benchmark, Episode
from icvos.files import escape_id, file_sha256
from icvos.foundation.trainings import trainings_of
from icvos.installation import requirements_of
from icvos.models.interface import ImageModel, Model, of_kind
from icvos.models.options import option_types
from icvos.models.program import Program
from icvos.models.registry import source_sha256, uses_torch
from icvos.models.remote import Remote
from icvos.names import require_name
from icvos.protocols import PROTOCOLS, Protocol
from icvos.runs.schema import RUN_SCHEMA
from icvos.runs.shown_supports import describe_supports
from icvos.version import __version__

__all__ = ["commit", "default_folder", "describe_benchmark", "describe_device", "describe_model", "describe_run", "now"]


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def default_folder(
    run: Mapping[str, Any], *, protocol: str, options: Mapping[str, Any] | None = None, part: str = ""
) -> Path:
    """Return where a run goes by default, ``runs/<benchmark>/<model>``; runs of other settings go beside it.

    Args:
        run: ``run.json`` of it; one that has a ``name`` goes to ``runs/<benchmark>/<name>``.
        protocol: The one that is usual on the benchmark.
        options: Of the model, those that differ from their defaults.
        part: Of the benchmark, where a part was chosen.
    """
    benchmark = Path("runs") / _folder_name(run["benchmark"]["name"])
    if run.get("name"):
        return benchmark / _folder_name(run["name"])
    key = run["key"]
    texts = {
        "oracle": "oracle-{}",
        "access": "{}",
        "uses": "told-{}",
        "protocol": "{}",
        "unseen": "unseen-{}",
        "objects": "{}-objects",
        "shots": "{}-shot",
        "seed": "seed-{}",
        "limit_episodes": "{}-episodes",
        "chosen_episodes": "{}",
        "limit_frames": "{}-frames",
        "shard": "shard-{}",
    }
    objects = PROTOCOLS[key["protocol"]].objects
    # Where all methods are told frame 0's masks, no name needs to say so.
    told = "first-frame" if run["benchmark"].get("task") == VOS else None
    usual = {"protocol": protocol, "shots": 1, "seed": 0, "objects": objects, "oracle": told}
    values = {name: key.get(name) for name in texts}
    if key.get("unseen"):
        values["unseen"] = hashlib.sha256("\n".join(key["unseen"]).encode()).hexdigest()[:8]
    # An oracle stands there already.
    values["uses"] = "+".join(use for use in key.get("uses") or () if use != key.get("oracle")) or None
    words = [
        text.format(str(values[name]).replace("/", "-of-"))
        for name, text in texts.items()
        if values[name] is not None and values[name] != usual.get(name)
    ]
    settings = ",".join(f"{name}={value}" for name, value in sorted((options or {}).items()))
    if len(settings) > 60:
        settings = "options-" + hashlib.sha256(settings.encode()).hexdigest()[:12]
    return benchmark / _folder_name("-".join(filter(None, [run["model"]["name"], settings, *words, part])))


def _folder_name(text: str) -> str:
    return escape_id(text, keep="+@=,")


@cache
def commit() -> str | None:
    """Return the commit of the checkout that icvos runs from, with ``+`` where files are changed; None elsewhere."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_device(device: str) -> dict[str, Any]:
    """Return the device's name and what computes on it; torch is asked only if it is imported already.

    ``neighbours`` counts the other methods that run at the same time, each on one thread as this one (``icvos demo``).
    """
    out: dict[str, Any] = {
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        **({"neighbours": processes.neighbours} if processes.neighbours else {}),
        "torch": _version("torch"),
        "sam2": _version("sam2"),
        "transformers": _version("transformers"),
        "numpy": _version("numpy"),
        "opencv": _opencv(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda") and torch.cuda.is_available():
        card = torch.cuda.get_device_properties(torch.device(device))
        out |= {
            "gpu": card.name,
            "cuda": torch.version.cuda,
            "driver": _driver(),
            "gpu_memory": card.total_memory,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return out


def _opencv() -> str | None:
    return _version("opencv-python") or _version("opencv-python-headless")


def _driver() -> str | None:
    path = Path("/proc/driver/nvidia/version")
    match = re.search(r"(\d+\.\d+(\.\d+)?)", path.read_text()) if path.is_file() else None
    return match.group(1) if match else None


def describe_model(model: Model, options: Mapping[str, Any], *, kind: str) -> dict[str, Any]:
    """Return what ``run.json`` says of a model: its declaration, all options, source and weights, hashed.

    Options that were not given stand with their defaults, so that a run is the same however it was started. One that is
    ``auto`` stands as what the model made of it, where it keeps that under the option's name. The words of a program
    stand among them.

    Args:
        model: Built.
        options: Those that were given.
        kind: Of the benchmark, ``image`` or ``video``.
    """
    # A trained model's file may say more than its class: what it was trained on.
    info = model.info
    defaults = {name: default for name, (_, default) in option_types(type(model)).items()}
    effective = {name: value for name, value in {**defaults, **options}.items() if value is not inspect.Parameter.empty}
    chosen = {name: of_kind(getattr(model, name, value), kind) for name, value in effective.items() if value == "auto"}
    effective |= {name: value for name, value in chosen.items() if isinstance(value, (int, float, str))}
    if isinstance(model, Program):
        effective["words"] = shlex.join(model.words)
    trainings = trainings_of(model.weights)
    return {
        "name": info.name,
        "version": info.version,
        "kind": "image" if isinstance(model, ImageModel) else "video",
        "paper": info.paper,
        "licence": info.licence,
        "access": info.access,
        "uses": list(info.uses),
        "training_data": list(info.training_data),
        "training_categories": list(info.training_categories),
        "options": {
            key: value if isinstance(value, (int, float, bool, str)) or value is None else str(value)
            for key, value in sorted(effective.items())
        },
        "source_sha256": source_sha256(type(model)),
        "weights": {name: file_sha256(path) for name, path in sorted(model.weights.items())},
        **({"trainings": trainings} if trainings else {}),
        "dtype": _dtype(of_kind(model.dtype, kind)),
        "autocast": _dtype(of_kind(model.autocast, kind)),
        "backend": _backend(model),
    }


def _backend(model: Model) -> str:
    if isinstance(model, (Program, Remote)):
        return model.backend
    if not uses_torch(type(model)):
        return f"opencv {_opencv()}"
    uses = any(requirement.startswith("transformers") for requirement in requirements_of(model.info.extra or ""))
    library = f", transformers {_version('transformers')}" if uses else ""
    return f"torch {_version('torch')}{library}"


def _dtype(value: Any) -> str | None:
    return None if value is None else str(value).removeprefix("torch.")


def describe_benchmark(benchmark: Benchmark, episodes: Sequence[Episode], *, shots: int) -> dict[str, Any]:
    """Return what ``run.json`` says of a benchmark.

    Args:
        benchmark: Opened.
        episodes: All of its protocol, so that shards say the same.
        shots: Supports shown of each.
    """
    recipe, drawn = benchmark.header.get("recipe"), benchmark.header.get("drawn")
    return {
        "name": benchmark.name,
        "version": benchmark.version,
        "manifest_sha256": benchmark.manifest_sha256,
        "complete_only": benchmark.header.get("complete_only"),
        **({} if recipe is None else {"recipe": recipe}),
        **({} if drawn is None else {"drawn": drawn}),
        "supports": describe_supports(episodes, shots),
        **({"task": VOS} if benchmark.vos else {}),
    }


def describe_run(
    model: Mapping[str, Any], benchmark: Mapping[str, Any], protocol: Protocol, device: str, **settings: Any
) -> dict[str, Any]:
    """Return a new ``run.json``; its ``key`` is what must be the same for a record to be reused.

    A model that uses frame 0's ground truth is that oracle, whoever gave it.

    Raises:
        UsageError: The model's name or version, or the benchmark's name, is none (``icvos.names.name_problem``).
    """
    for what, value in (("model", model["name"]), ("version", model["version"]), ("benchmark", benchmark["name"])):
        require_name(what, value)
    key = {
        "icvos": __version__,
        "model": model["name"],
        "model_version": model["version"],
        "options": model["options"],
        "source": model["source_sha256"],
        "weights": model["weights"],
        "dtype": model["dtype"],
        "device": device.partition(":")[0],
        "benchmark": benchmark["manifest_sha256"],
        "protocol": protocol.name,
        **({"unseen": sorted(protocol.unseen)} if protocol.unseen else {}),
        **settings,
    }
    if "first-frame" in model["uses"]:
        key["oracle"] = "first-frame"
    return {
        "schema": RUN_SCHEMA,
        "icvos": __version__,
        "commit": commit(),
        "key": key,
        "model": dict(model),
        "benchmark": dict(benchmark),
        "environment": describe_device(device),
        "start": now(),
        "end": None,
        "status": "running",
    }
