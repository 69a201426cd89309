"""Finding training tasks: entry points of the group ``icvos.trainers``, or ``package.module:Class``."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from icvos.errors import UsageError, did_you_mean
from icvos.training.task import TrainingTask

__all__ = ["resolve_task", "task_names"]

GROUP = "icvos.trainers"


def task_names() -> list[str]:
    """Return the names that ``icvos train`` takes, sorted."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def resolve_task(spec: str) -> type[TrainingTask]:
    """Return the task that a name (or ``package.module:Class``) stands for.

    Raises:
        UsageError: There is none.
    """
    module, colon, attribute = spec.partition(":")
    if not colon:
        known = {entry.name: entry.value for entry in entry_points(group=GROUP)}
        if spec not in known:
            raise UsageError(f"nothing to train is called '{spec}'", fix=did_you_mean(spec, known))
        module, _, attribute = known[spec].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise UsageError(f"no module '{error.name}'", fix="pip install 'icvos[train]', or mend the name") from None
    except AttributeError:
        raise UsageError(f"no class '{attribute}' in {module}") from None
    if not (isinstance(found, type) and issubclass(found, TrainingTask)):
        raise UsageError(f"'{spec}' is no training task", expected="a subclass of icvos.training.task.TrainingTask")
    return found
