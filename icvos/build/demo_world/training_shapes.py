"""Named families for training; none of them is a shape of the benchmark, nor close to one."""

from __future__ import annotations

from icvos.build.demo_world.outline import Family
from icvos.build.demo_world.training_figures import FIGURES
from icvos.build.demo_world.training_nature import NATURE
from icvos.build.demo_world.training_things import THINGS

__all__ = ["TRAINING_FAMILIES"]

TRAINING_FAMILIES: dict[str, Family] = {
    family.name: family for family in sorted((*FIGURES, *NATURE, *THINGS), key=lambda family: family.name)
}
"""Training families by name, the seventy of them."""
