"""Named families for training; none of them is a shape of the benchmark, nor close to one."""

from __future__ import annotations

from icvos.demo.world.outline import Family
from icvos.demo.world.training_figures import FIGURES
from icvos.demo.world.training_nature import NATURE
from icvos.demo.world.training_things import THINGS

__all__ = ["TRAINING_FAMILIES"]

TRAINING_FAMILIES: dict[str, Family] = {
    family.name: family for family in sorted((*FIGURES, *NATURE, *THINGS), key=lambda family: family.name)
}
"""Training families by name, the seventy of them."""
