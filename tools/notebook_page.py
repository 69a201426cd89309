"""Runs the notebook of the examples and makes of it a page of the documentation, with its pictures.

python -m tools.notebook_page        # about a minute on one core
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

__all__ = ["NOTEBOOK", "PAGE", "PICTURES", "execute", "page_of", "read_notebook", "without_outputs"]

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "in_context.ipynb"
PAGE = ROOT / "docs" / "start" / "notebook.md"
PICTURES = ROOT / "docs" / "pictures" / "notebook"
OUTPUT = "<!-- output -->"
# Blocks of commands and Python in the documentation are run by a test of their own.
NOT_RUN = "<!-- not run: the tests run the whole notebook -->"
WIDTH = 720


def read_notebook(path: Path = NOTEBOOK) -> Any:
    """Return a notebook as nbformat has it."""
    return nbformat.read(path, as_version=4)


def execute(notebook: Any, settings: Mapping[str, object] | None = None) -> Any:
    """Run a notebook in a kernel of its own, and return it with its outputs.

    Args:
        notebook: As ``read_notebook`` returns it; it is changed.
        settings: Values in place of those that its first cell of code assigns, as ``{"BENCHMARK": "B"}``.

    Raises:
        ValueError: The cell assigns no such name.
        nbclient.exceptions.CellExecutionError: A cell fails.
    """
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for name, value in (settings or {}).items():
        cell.source, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"the notebook's first cell does not set {name}")
    quiet = ["--IPKernelApp.log_level=ERROR"]  # that the kernel is spoken to over the loopback address
    where = {"metadata": {"path": str(ROOT)}}
    return NotebookClient(notebook, timeout=300, resources=where, extra_arguments=quiet).execute()


def page_of(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures as JPEG by file name."""
    blocks: list[str] = []
    pictures: dict[str, bytes] = {}
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # From the notebook's folder to the documentation's; on the page they are seen from docs/start.
            blocks.append(cell.source.replace("](../docs/", "](../"))
            heading = (re.findall(r"^#+ (.*)$", cell.source, flags=re.MULTILINE) or [heading])[-1]
            continue
        blocks += [f"{NOT_RUN}\n```python\n{cell.source}\n```"]
        for output in _joined(cell.get("outputs", ())):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{len(pictures) + 1}.jpg"
                pictures[name] = _jpeg(base64.b64decode(data["image/png"]))
                blocks.append(f"{OUTPUT}\n![{heading}](../pictures/notebook/{name})")
            else:
                text = output.get("text") or data.get("text/plain", "")
                blocks.append(f"{OUTPUT}\n```text\n{text.rstrip()}\n```")
    return "\n\n".join(blocks) + "\n", pictures


def without_outputs(page: str) -> str:
    """Return a page without its outputs: what the notebook's own text becomes."""
    return re.sub(rf"{OUTPUT}\n(?:```text\n.*?\n```|!\[.*?\n)\n+", "", page, flags=re.DOTALL)


def _joined(outputs: Iterable[Any]) -> Iterator[Any]:
    """Yield a cell's outputs; printed lines that arrive one after another are one."""
    last = None
    for output in outputs:
        if last is not None and "text" in last and "text" in output:
            last = {**last, "text": last["text"] + output["text"]}
            continue
        if last is not None:
            yield last
        last = output
    if last is not None:
        yield last


def _jpeg(png: bytes) -> bytes:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Write the page and its pictures."""
    page, pictures = page_of(execute(read_notebook()))
    PAGE.write_text(page, encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for path in PICTURES.iterdir():
        path.unlink()
    for name, data in pictures.items():
        (PICTURES / name).write_bytes(data)
    print(f"{PAGE.relative_to(ROOT)}, {len(pictures)} pictures of {sum(map(len, pictures.values())) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
