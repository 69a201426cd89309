"""What ``icvos models new NAME`` writes: the package of a method, or one file, that runs as written."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from icvos.errors import InputError, UsageError

__all__ = ["write_file", "write_skeleton"]

_SETUP = """\
[metadata]
name = {name}
version = 0.1.0
description = {title}: a method for in-context video object segmentation

[options]
packages = {package}
python_requires = >=3.11
install_requires =
    icvos
    numpy

[options.entry_points]
icvos.models =
    {name} = {package}.model:{title}
"""

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"
"""

_INIT = '''\
"""{title}: a method for in-context video object segmentation."""
'''

_MODEL = '''\
"""{title}: replace the body of ``segment`` with your method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from icvos import ModelInfo, Support, Video, VideoModel


class {title}(VideoModel):
    """Pixels whose colour is nearer to the support's foreground mean than to its background mean.

    Args:
        margin: How much nearer, in grey levels.
    """

    info = ModelInfo(name="{name}", version="0.1.0", access="online")

    def __init__(self, *, device: str = "cpu", weights: dict | None = None, margin: float = 0.0) -> None:
        super().__init__(device=device, weights=weights)
        self.margin = margin

    def segment(self, supports: Sequence[Support], video: Video, *, seed: int) -> Iterator[np.ndarray]:
        things = [s.image[s.mask] for s in supports]
        others = [s.image[~s.mask] for s in supports]
        thing, other = np.concatenate(things), np.concatenate(others)
        for frame in video:
            if len(thing) == 0 or len(other) == 0:
                yield np.full(video.size, len(thing) > 0)
                continue
            pixels = frame.astype(np.float32)
            to_thing = np.linalg.norm(pixels - thing.mean(axis=0), axis=2)
            to_other = np.linalg.norm(pixels - other.mean(axis=0), axis=2)
            yield to_thing + self.margin < to_other
'''

_HEADER = """\
# /// script
# requires-python = ">=3.8"
# dependencies = ["numpy"]
# ///
"""

_TEST = '''\
"""The method keeps every rule of the plugin interface."""

from icvos.models.check import check_model

from {package}.model import {title}


def test_conformance() -> None:
    failed = [finding for finding in check_model({title}) if finding.status == "failed"]
    assert not failed, failed
'''

_README = """\
# {title}

A method for in-context video object segmentation, made with `icvos models new {name}`.

```
pip install -e .
icvos models check {name}
icvos evaluate --model {name}
icvos leaderboard show
pytest
```

The method is `{package}/model.py`. Options are keyword parameters of `__init__` (`--set margin=5`); files of weights
are declared in `info` and arrive in `self.weights` (`--weights name=path`).
"""


def write_file(name: str, folder: Path) -> Path:
    """Write a new method as one file that says which packages it needs, ``NAME.py``; return it.

    Args:
        name: As for ``write_skeleton``.
        folder: Where the file is made.

    Raises:
        UsageError: The name cannot be one of a method.
        InputError: The file exists.
    """
    _package_name(name)
    path = folder / f"{name}.py"
    if path.exists():
        raise InputError("file is there already", where=path, fix="choose another name or --into another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((_HEADER + _MODEL).format(name=name, title=_title(name)), encoding="utf-8")
    return path


def _package_name(name: str) -> str:
    package = name.replace("-", "_").lower()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]", name) or keyword.iskeyword(package):
        raise UsageError(f"'{name}' is no name for a method", expected="a letter, then letters, digits and '-'")
    return package


def _title(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))


def write_skeleton(name: str, folder: Path) -> list[Path]:
    """Write the package of a new method.

    Args:
        name: Its name: a letter, then letters, digits and ``-``.
        folder: Where its folder ``name`` is made.

    Returns:
        The files written.

    Raises:
        UsageError: The name cannot be one of a package.
        InputError: The folder exists and is not empty.
    """
    package = _package_name(name)
    if package in sys.stdlib_module_names or package in packages_distributions():
        raise UsageError(f"'{package}' is a Python package that is there already", fix="choose another name")
    root = folder / name
    if root.exists() and any(root.iterdir()):
        raise InputError("folder is not empty", where=root, fix="choose another name or --into another folder")
    title = _title(name)
    contents = {
        "setup.cfg": _SETUP,
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"{package}/__init__.py": _INIT,
        f"{package}/model.py": _MODEL,
        "tests/test_conformance.py": _TEST,
    }
    written = []
    for file, text in contents.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, package=package, title=title), encoding="utf-8")
        written.append(path)
    return written
