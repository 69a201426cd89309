"""How a model's name says where it runs: ``PYTHON::X`` in another interpreter, ``exec:…`` as a program of its own."""

from __future__ import annotations

from icvos.errors import UsageError
from icvos.models import environments

__all__ = ["PROGRAM", "placed", "split_python"]

PROGRAM = "exec:"
"""What stands before the words of a program that is a method (``icvos.models.program``)."""


def split_python(spec: str) -> tuple[str, str]:
    """Return the interpreter that ``PYTHON::X`` names, "" where it names none, and the rest.

    The words of a program (``exec:…``) may hold anything.
    """
    python, sign, rest = spec.partition("::")
    return (python, rest) if sign and not spec.startswith(PROGRAM) else ("", spec)


def placed(spec: str, *, python: str | None = None, isolated: bool = False, engine: str = "local") -> str:
    """Return the spec of a model where it is to run.

    Args:
        spec: The model's.
        python: The interpreter that it runs in, or the folder of its environment.
        isolated: Whether it runs in the environment that its file asks for, which is made where it is not there.
        engine: What runs the episodes.

    Raises:
        UsageError: Two interpreters are named, or the environment cannot be where it runs.
        IcvosError: As ``environments.isolated``.
    """
    if python is None and not isolated:
        return spec
    if spec.startswith(PROGRAM):
        raise UsageError(f"'{spec}' is a program, which no Python runs", fix="leave --python and --isolated out")
    if split_python(spec)[0] or (python is not None and isolated):
        named = "--python and --isolated" if python is not None and isolated else f"'{spec}' and an option"
        raise UsageError(f"{named} both name an interpreter", fix="give one of them")
    if python is not None:
        return f"{python}::{spec}"
    if engine == "ray":
        raise UsageError(
            "--isolated makes the environment on this machine, where the cluster's nodes do not see it",
            fix="give --python an environment that every node has",
        )
    return environments.isolated(spec)
