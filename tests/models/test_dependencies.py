"""What a method's file asks for: headers and lists of requirements, of friends and of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick_environments import header

from icvos.errors import IcvosError
from icvos.models.dependencies import MOST, Dependencies, read_dependencies

FORK = "sam2 @ git+https://github.com/example/sam2@0123456789abcdef0123456789abcdef01234567"


def of_file(folder: Path, text: str) -> Dependencies:
    path = folder / "method.py"
    path.write_text(text, encoding="utf-8")
    return read_dependencies(path)


@pytest.mark.parametrize(
    ("text", "requirements", "python"),
    [
        (header('dependencies = ["torch==2.7.1", "numpy<2"]'), ("numpy<2", "torch==2.7.1"), ""),
        # Spelling and order make no other environment.
        (header('dependencies = ["numpy <2", "torch == 2.7.1"]'), ("numpy<2", "torch==2.7.1"), ""),
        # numpy is added, as the host needs it.
        (header("dependencies = ['scipy']", "requires-python = '>=3.8, <3.9'"), ("numpy", "scipy"), "<3.9,>=3.8"),
        (header(), ("numpy",), ""),
        (header("dependencies = [", "", f'  "{FORK}",  # a fork', "]"), ("numpy", FORK), ""),
        (header("[tool.uv]", "index-url = 'https://x'"), ("numpy",), ""),
        ('"""Doc."""\r\n' + header("dependencies = ['NumPy']").replace("\n", "\r\n"), ("NumPy",), ""),
        (header("dependencies = []") + "# a comment\n# follows\n", ("numpy",), ""),
        (header("dependencies = [\"numpy; python_version < '3.9'\"]"), ('numpy; python_version < "3.9"',), ""),
    ],
)
def test_a_header_is_read(tmp_path: Path, text: str, requirements: tuple[str, ...], python: str) -> None:
    assert of_file(tmp_path, text) == Dependencies(requirements, python)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import numpy\n", "does not say which packages it needs"),
        ("# /// script\n# dependencies = []\nimport numpy\n", "has no end"),
        (header() * 2, "two headers"),
        (header("dependencies = ["), "no TOML"),
        (header("a = " + "[" * 100_000), "no TOML"),
        (header("dependencies = 'numpy'"), "no list of texts"),
        (header("dependencies = [1]"), "no list of texts"),
        (header("dependencies = {numpy = 1}"), "no list of texts"),
        (header("dependancies = ['numpy']"), "did you mean 'dependencies'?"),
        (header("requires-python = 3.8"), "is no text"),
        (header("requires-python = 'new'"), "requires-python 'new' is none"),
        (header("requires-python = '" + ">" * 100_000 + "'"), "is none"),
        (header("dependencies = ['numpy; rm -rf /']"), "no plain requirement"),
        (header("dependencies = ['$(reboot)']"), "no plain requirement"),
        (header("dependencies = ['numpy --index-url https://x']"), "indexes are those of pip's or uv's own settings"),
        (header("dependencies = ['--index-url=https://x']"), "no plain requirement"),
        (header("dependencies = ['-r other.txt']"), "no plain requirement"),
        (header("dependencies = ['./here']"), "no plain requirement"),
        (header("dependencies = ['a @ file:///etc']"), "no public address"),
        (header("dependencies = ['a @ git+ssh://git@host/a']"), "no public address"),
        (header("dependencies = ['a @ https://user:word@host/a.whl']"), "no public address"),
        (header("dependencies = ['" + "a" * (MOST + 1) + "']"), "no plain requirement"),
        (header(f"dependencies = {[f'a{n}' for n in range(MOST + 1)]}"), f"more than {MOST} packages"),
    ],
)
def test_a_header_that_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(IcvosError) as caught:
        of_file(tmp_path, text)
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_requirements_beside_it_are_read_where_there_is_no_header(tmp_path: Path) -> None:
    beside = tmp_path / "requirements.txt"
    beside.write_text("# what it needs\n\nnumpy <2  # old\r\nscipy\n", encoding="utf-8")
    assert of_file(tmp_path, "import numpy\n") == Dependencies(("numpy<2", "scipy"))
    assert of_file(tmp_path, header()) == Dependencies(("numpy",))
    for line in ("-e .", "--hash=sha256:0", "-r more.txt", "https://host/a.whl", "numpy \\"):
        beside.write_text(f"scipy\n{line}\n", encoding="utf-8")
        with pytest.raises(IcvosError, match=r"line 2, .* no plain requirement") as caught:
            of_file(tmp_path, "import numpy\n")
        assert caught.value.where == beside
