"""What a method needs before it runs, and what of it is here; nothing is built and nothing heavy is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from icvos.errors import IcvosError
from icvos.installation import install_command, requirements_of
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.models.registry import names, resolve

__all__ = ["Needs", "all_needs", "missing_packages", "needs_of"]


@dataclass(frozen=True)
class Needs:
    """What an installed method needs.

    Attributes:
        name: As in ``--model NAME``.
        cls: Its class, or None where it cannot be imported.
        weights, optional: Names of the weights that it must have, and of those it may have.
        demo: Whether weights are shipped for the demo benchmarks, and all that it must have is among them.
        extra: The pip extra of icvos, or "".
        missing: Packages of that extra that are not installed.
        problem: Why it cannot be imported, or "".
    """

    name: str
    cls: type[Model] | None = None
    weights: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    demo: bool = False
    extra: str = ""
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def kind(self) -> str:
        """``video``, ``image``, or both."""
        kinds = (("video", VideoModel), ("image", ImageModel))
        return ", ".join(word for word, base in kinds if self.cls is not None and issubclass(self.cls, base))

    @property
    def status(self) -> str:
        """What stands between it and a run on the demo: ``ready``, or the first thing that it needs."""
        if self.problem:
            return "cannot be imported"
        if self.missing:
            return f"needs extra {self.extra}"
        return "ready" if self.demo or not self.weights else "needs weights"

    @property
    def text(self) -> str:
        """What to do about it, one line: what to install, which weights to give and where they come from."""
        if self.problem:
            return self.problem
        parts = [install_command(self.extra)] if self.missing else []
        if self.cls is not None and not self.demo:
            known = self.cls.info.weights
            parts += [f"--weights {name}=PATH: {known[name].source}" for name in self.weights]
        return "; ".join(parts) or f"icvos evaluate --model {self.name}"


def missing_packages(extra: str) -> tuple[str, ...]:
    """Return the packages of an extra of icvos (or of several, by comma) that are not installed, sorted."""
    if not extra:
        return ()
    packages = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements_of(extra)}
    return tuple(sorted(name for name in packages if not _installed(name)))


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def needs_of(name: str) -> Needs:
    """Return what a method needs, by name."""
    try:
        cls = resolve(name)
    except IcvosError as error:
        return Needs(name, problem=str(error))
    known = cls.info.weights
    required = tuple(key for key, weight in known.items() if weight.required)
    optional = tuple(key for key, weight in known.items() if not weight.required)
    shipped = set(cls.demo_weights())
    demo = bool(shipped) and set(required) <= shipped
    extra = cls.info.extra or ""
    return Needs(name, cls, required, optional, demo, extra, missing_packages(extra))


def all_needs() -> list[Needs]:
    """Return what each installed method needs, by name."""
    return [needs_of(name) for name in names()]
