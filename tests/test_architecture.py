"""Who may import whom: the floors of the house, read from every import (those inside functions too)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up. A module imports from its own floor and from those below, as docs/explanation/house.md says.
FLOORS = (
    "icvos.errors icvos.version icvos.installation",
    "icvos.categories icvos.types icvos.files icvos.names icvos.plugins icvos.terminal",
    "icvos.images icvos.videos icvos.masks icvos.clips icvos.pickles icvos.listing icvos.processes icvos.progress"
    " icvos.costs",
    "icvos.protocols icvos.metrics",
    "icvos.manifest icvos.benchmark icvos.view",
    "icvos.sources",
    "icvos.data",
    "icvos.datasets",
    "icvos.foundation",
    "icvos.models",
    "icvos.training",
    "icvos.builders",
    "icvos.demo",
    "icvos.runs",
    "icvos.evaluation",
    "icvos.leaderboard",
    "icvos.report",
    "icvos.exports",
    "icvos.segmentation",
    "icvos.reproduce",
    "icvos.commands",
    "icvos.cli",
)
# Methods stand beside the floors: what they may use of the core, and never each other.
PLUGINS = ("baselines", "dcsam")
PLUGIN_MAY_USE = tuple(floor for row in FLOORS[: FLOORS.index("icvos.training") + 1] for floor in row.split())
# A text that leads into one: a module, a class by its entry point, a file.
PLUGIN_PATH = rf"({'|'.join(PLUGINS)})[./:][\w./]+$"
# Packages of foundation models: imported in one room alone.
FOUNDATION_ONLY = ("sam2", "segment_anything", "transformers")
# One decoder of run lengths and one pool of plain work; workers that run models can be killed, and are their own.
ONE_PLACE = {
    "pycocotools": ("icvos.masks",),
    "concurrent.futures.ProcessPoolExecutor": ("icvos.processes",),
    "multiprocessing": ("icvos.processes", "icvos.evaluation.workers", "icvos.datasets.fields"),
}
# What evaluating needs never imports these.
TRAINING = ("icvos.training", "icvos.demo.training", "icvos.demo.world")
EVALUATING = (
    "icvos.evaluation",
    "icvos.runs",
    "icvos.models",
    "icvos.foundation",
    "icvos.benchmark",
    "icvos.view",
    "icvos.metrics",
)

Imports = dict[str, dict[str, int]]


def source_modules() -> dict[str, str]:
    """The text of every module of the packages, by dotted name."""
    modules = {}
    for package in ("icvos", *PLUGINS):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return modules


@pytest.fixture(scope="module")
def house() -> tuple[dict[str, str], Imports]:
    """Every module's text, and what it imports."""
    modules = source_modules()
    return modules, imports_of(modules, modules)


def imports_of(modules: Mapping[str, str], house: Container[str]) -> Imports:
    """What each module imports, by name, with the line: modules of the house by their own name, packages by theirs."""
    return {name: dict(_imports(text, house)) for name, text in modules.items()}


def _imports(text: str, house: Container[str]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield (module if module in house or module in ONE_PLACE else node.module), node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__", "require_sam", "importorskip"):
                yield str(node.args[0].value), node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(PLUGIN_PATH, node.value):
            yield re.split("[./:]", node.value)[0], node.lineno


def inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def floor_of(module: str) -> int | None:
    """The number of a module's floor; None for the public surface and for what is not of the core."""
    return next((number for number, row in enumerate(FLOORS) if inside(module, tuple(row.split()))), None)


def problems(imports: Imports) -> list[str]:
    """Every broken rule, one line each."""
    broken = []
    for module, targets in imports.items():
        floor = floor_of(module)
        if module.startswith("icvos.") and floor is None:
            broken.append(f"{module} stands on no floor")
        for target, line in targets.items():
            arrow = f"{module}:{line} -> {target}"
            below = floor_of(target)
            if floor is not None and below is not None and below > floor:
                broken.append(f"up: {arrow}")
            if inside(module, ("icvos",)) and inside(target, (*PLUGINS, "tools")):
                broken.append(f"the core names a plugin: {arrow}")
            if inside(target, FOUNDATION_ONLY) and not inside(module, ("icvos.foundation",)):
                broken.append(f"outside icvos/foundation: {arrow}")
            if any(inside(target, (name,)) and module not in users for name, users in ONE_PLACE.items()):
                broken.append(f"one place alone may use it: {arrow}")
            if inside(module, EVALUATING) and inside(target, TRAINING):
                broken.append(f"evaluating needs a trainer or the synthetic world: {arrow}")
            plugin = module.partition(".")[0]
            if plugin in PLUGINS:
                if "." in target and target.partition(".")[0] in PLUGINS and target.partition(".")[0] != plugin:
                    broken.append(f"methods know each other: {arrow}")
                if target.startswith("icvos.") and not inside(target, PLUGIN_MAY_USE) and not _trains(module):
                    broken.append(f"a method reaches above the plugin interface: {arrow}")
    return broken + [f"circle: {' -> '.join(circle)}" for circle in circles(imports)]


def _trains(module: str) -> bool:
    """Whether a plugin's module is of its training, which may draw on the demo's synthetic examples."""
    return ".train" in module or "_task" in module


def circles(imports: Imports) -> list[list[str]]:
    """Groups of modules that import each other; the public surface ``icvos``, which imports on first use, is none."""
    graph = {
        name: [target for target in targets if target in imports and target != "icvos"]
        for name, targets in imports.items()
        if name != "icvos"
    }
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph[module]
        reach[start] = seen
    groups = {frozenset(b for b in reach[a] if a in reach[b]) | {a} for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def test_the_house_keeps_its_rules(house: tuple[dict[str, str], Imports]) -> None:
    assert problems(house[1]) == []


@pytest.mark.parametrize(
    ("module", "text", "says"),
    [
        ("icvos.metrics.kappa", "def f():\n    from icvos.leaderboard import board", "up: icvos.metrics.kappa:2"),
        ("icvos.attic", "", "stands on no floor"),
        ("icvos.evaluation.extra", "import dcsam.plugin", "the core names a plugin"),
        ("icvos.commands.extra", "import importlib\nimportlib.import_module('baselines.heads')", "names a plugin"),
        ("icvos.models.extra", "FILE = 'dcsam/weights/demo_dcsam.safetensors'", "the core names a plugin"),
        ("baselines.extra", "from segment_anything import sam_model_registry", "outside icvos/foundation"),
        ("dcsam.extra", "def f():\n    import transformers.models", "outside icvos/foundation"),
        ("icvos.models.extra", "import icvos.training.loop", "evaluating needs a trainer"),
        ("icvos.runs.extra", "from icvos.demo.world import scene", "evaluating needs a trainer or the synthetic world"),
        ("baselines.other", "from dcsam.model import DCSAM", "methods know each other"),
        ("dcsam.other", "from icvos.evaluation import runner", "a method reaches above the plugin interface"),
        ("icvos.sources.extra", "def f():\n    import pycocotools.mask", "one place alone may use it"),
        ("icvos.data.extra", "from concurrent.futures import ProcessPoolExecutor", "one place alone may use it"),
        ("icvos.evaluation.extra", "from multiprocessing import get_context", "one place alone may use it"),
        ("icvos.files", "import icvos.errors\nimport icvos.types", "circle: icvos.files -> icvos.types"),
    ],
)
def test_each_rule_can_be_broken(house: tuple[dict[str, str], Imports], module: str, text: str, says: str) -> None:
    changed = {module: text}
    if says.startswith("circle"):
        changed["icvos.types"] = "import icvos.files"
    imports = {**house[1], **imports_of(changed, {**house[0], **changed})}
    assert any(says in problem for problem in problems(imports))


def test_the_linter_reads_every_file() -> None:
    """A folder's name in the linter's exclusions must not hide a package of the same name."""
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = {path for room in ("icvos", "baselines", "dcsam", "tests", "tools") for path in (ROOT / room).rglob("*.py")}
    assert files <= {ROOT / name for name in listed}


def test_a_script_starts_at_its_end() -> None:
    """What is defined below the start would be missing when it runs."""
    scripts = [
        ROOT / "cli.py",
        *(path for room in ("icvos", "tools", "benchmarks") for path in (ROOT / room).rglob("*.py")),
    ]
    for path in scripts:
        starts = [
            isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
            for node in ast.parse(path.read_text()).body
        ]
        assert not any(starts[:-1]), path


def test_the_docs_show_the_floors() -> None:
    page = (ROOT / "docs" / "explanation" / "house.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[2] for line in page.splitlines() if line.startswith("| ") and "`icvos." in line.split("|")[2]
    ]
    assert [" ".join(part.strip(" `") for part in row.split(",")) for row in rows] == list(reversed(FLOORS))
