"""Messages speak to people: no value stands in a sentence as Python writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from icvos.errors import in_words

ROOT = Path(__file__).resolve().parents[1]
MAKES_A_CONTAINER = ("sorted", "list", "set", "dict", "frozenset", "vars")
CONTAINERS = (ast.List, ast.ListComp, ast.Dict, ast.DictComp, ast.Set, ast.SetComp)


def reprs(text: str) -> Iterator[int]:
    """Lines of source text whose f-strings write a value as Python does (``!r``, ``repr``, a list), but in __repr__."""
    tree = ast.parse(text)
    own = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__repr__"]
    exempt = {id(inner) for function in own for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue) and id(node) not in exempt:
            called = getattr(node.value.func, "id", "") if isinstance(node.value, ast.Call) else ""
            container = isinstance(node.value, CONTAINERS) or called in (*MAKES_A_CONTAINER, "repr")
            if node.conversion == ord("r") or container:
                yield node.lineno


def test_no_f_string_writes_a_value_as_python_does() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in ("icvos", "dcsam", "baselines")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in reprs(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_scan_sees_what_it_is_for() -> None:
    bad = 'f"{x!r}"\nf"{sorted(x)}"\nf"{[a for a in x]}"\nf"{repr(x)}"\nf"{x}, {len(x)}, {tuple(x.shape)}"\n'
    assert list(reprs(bad)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x", "'x'"),
        ("it's", "'it's'"),
        # What would move the cursor of a terminal does not reach it.
        ("a\x1b[2J\nb", "'a�[2J�b'"),
        (True, "true"),
        (None, "none"),
        (0.5, "0.5"),
        ([0, 2], "0, 2"),
        (("a", None), "'a', none"),
        ([], "none"),
    ],
)
def test_a_value_in_words(value: object, words: str) -> None:
    assert in_words(value) == words
