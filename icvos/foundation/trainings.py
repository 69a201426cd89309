"""Which training weights come from: its settings, its seed, and what it kept, as a file of weights declares them.

Most files say it beside their model's configuration; those that have no place for it have it under ``KEY``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from icvos.data.lineage import Lineage
from icvos.errors import MissingExtraError, WeightsError
from icvos.files import file_sha256
from icvos.foundation.weights import load_metadata

__all__ = ["KEY", "lineage_in", "training_of", "training_record", "training_texts", "trainings_of"]

KEY = "icvos-training"
"""Of the metadata of a SAM's or a backbone's own file."""

# What a record may say: a file may come from anybody, and tables show it.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "settings": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{12}", value) is not None,
    "seed": lambda value: type(value) is int and abs(value) < 2**63,
    "data_seed": lambda value: type(value) is int and abs(value) < 2**63,
    "kept": lambda value: value in ("best", "last"),
}


def training_record(identity: Mapping[str, Any], weights: Mapping[str, Path], *, kept: str) -> dict[str, Any]:
    """Return what exported weights say of their training.

    Args:
        identity: What was trained on what and how, JSON values; ``settings`` holds the seed.
        weights: What the training began with, which counts where ``identity`` says nothing of it; of one that was
            trained itself its settings count, not its hash.
        kept: Which of the training's weights these are: ``best`` or ``last``.

    Returns:
        ``settings``, 12 hexadecimal digits that trainings which differ in their seeds alone share; ``seed``;
        ``data_seed``, where the data are drawn by one of their own (``--set seed=``); ``kept``.
    """
    before = {name: (training_of(path) or {}).get("settings") for name, path in weights.items()}
    parts: list[Any] = [_without_seeds(identity, {n: s for n, s in before.items() if s}), kept]
    if weights and "weights" not in identity.get("describe", {"weights": None}):
        parts.append({name: before[name] or file_sha256(path) for name, path in weights.items()})
    text = json.dumps(parts, sort_keys=True)
    settings = hashlib.sha256(text.encode()).hexdigest()[:12]
    record = {"settings": settings, "seed": int(identity["settings"]["seed"]), "kept": kept}
    of_data = identity.get("describe", {}).get("seed")
    return {**record, "data_seed": of_data} if type(of_data) is int else record


def _without_seeds(value: Any, before: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        kept = {str(name): _without_seeds(each, before) for name, each in value.items() if name != "seed"}
        if isinstance(kept.get("weights"), dict):
            kept["weights"] |= {name: each for name, each in before.items() if name in kept["weights"]}
        return kept
    if isinstance(value, (list, tuple)):
        return [_without_seeds(each, before) for each in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def training_texts(training: Mapping[str, Any], lineage: Lineage) -> dict[str, str]:
    """Return the metadata by which a SAM's or a backbone's own file says its training; none where there was none."""
    record = {"metadata": {"training": dict(training), **lineage.record()}}
    return {KEY: json.dumps(record, sort_keys=True)} if training else {}


def lineage_in(metadata: Mapping[str, str]) -> Lineage | None:
    """Return what weights have seen by the metadata of their file, as ``training_texts`` gives them; None of others."""
    try:
        record = json.loads(metadata[KEY])["metadata"]
    except (ValueError, KeyError, TypeError):
        return None
    return Lineage.of_record(record) if isinstance(record, dict) else None


def training_of(path: str | Path) -> dict[str, Any] | None:
    """Return the ``training_record`` of a file of weights, without what is of another kind.

    It is empty where ``icvos train`` wrote the file before there were any, and None of another file.
    """
    try:
        texts = load_metadata(path).values()
    except (WeightsError, MissingExtraError):
        return None
    for text in texts:
        try:
            metadata = json.loads(text)["metadata"]
            record = metadata.get("training") or {}
            record = json.loads(record) if isinstance(record, str) else record
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if isinstance(record, dict):
            return {name: record[name] for name, fits in _FIELDS.items() if name in record and fits(record[name])}
    return None


def trainings_of(weights: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return ``training_of`` of those of a model's files that ``icvos train`` wrote, by name."""
    found = {name: training_of(path) for name, path in sorted(weights.items())}
    return {name: training for name, training in found.items() if training is not None}
