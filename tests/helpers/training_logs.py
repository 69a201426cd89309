"""What a training run wrote."""

from __future__ import annotations

from pathlib import Path

from icvos.files import read_csv


def losses(out: Path) -> list[tuple[str, str]]:
    return [
        (r["step"], r["value"]) for r in read_csv(out / "log.csv", ("step", "name", "value")) if r["name"] == "loss"
    ]
