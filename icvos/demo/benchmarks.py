"""The demo: raw data of the drawn world, and the benchmarks that the ordinary builders make of it, built once."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from icvos.benchmark import Benchmark
from icvos.benchmark import load_benchmark as load_folder
from icvos.demo.world.version import GENERATOR_VERSION
from icvos.errors import LockedError, UsageError, did_you_mean
from icvos.files import HOME_REMEDY, icvos_home, lock_folder, read_json, write_json
from icvos.progress import Progress, silent
from icvos.sources.drawn import LICENCE

if TYPE_CHECKING:
    from icvos.builders.fewshot.build import FewShotPlan, FewShotRules
    from icvos.builders.recipe import Recipe

__all__ = [
    "DEMO_NAMES",
    "LAYOUTS",
    "SHAPES_SEED",
    "SIZE_NAMES",
    "USUAL_NAMES",
    "benchmark_folder",
    "build_demo",
    "build_training_shapes",
    "check_world",
    "demo_folder",
    "demo_layout",
    "demo_raw",
    "ensure_demo",
    "ensure_raw",
    "is_ready",
    "load_benchmark",
    "open_benchmark",
]

USUAL_NAMES = ("demo", "demo/coco-20i", "demo/pascal-5i", "demo/saco-ic")
"""Benchmarks that ``icvos build-data demo`` builds."""
DEMO_NAMES = (*USUAL_NAMES, "demo/youtube-fsvos", "demo/fss-1000", "demo/lvis-92i")
"""All; those that are not usual are built by ``--all``, or when something asks for them by name."""
SIZE_NAMES = ("tiny", "default", "large", "sealed")
LAYOUTS = {
    "ytvis": "icvos.demo.world.ytvis_layout:write_ytvis",
    "fss-1000": "icvos.demo.world.fss1000_layout:write_fss1000",
    "lvis": "icvos.demo.world.lvis_layout:write_lvis",
    "saco": "icvos.demo.world.saco_layout:write_saco",
}
"""Layouts of further data sets in which the world is written when it is asked for, and what writes each."""
#: Of the world of training shapes.
SHAPES_SEED = 11


def demo_raw(size: str, seed: int, out: Path, *, progress: Progress = silent) -> Path:
    """Write the raw data of the demo world: ``davis``, ``mose``, ``lvos``, ``coco``, ``voc`` and ``sbd`` in the
    layouts of their authors, and a ``recipe`` that says what the objects of the videos are.

    It is a pure function of size, seed, the generator's version and OpenCV's. ``out`` appears when all is written.

    Args:
        size: One of ``SIZE_NAMES``.
        seed: Another seed is another world with the same kinds of things.
        out: A folder that is not there yet, or is empty.
        progress: Told of each thing written.

    Raises:
        UsageError: An unknown size, or a folder with something in it.
    """
    from icvos.demo.world.coco_layout import write_coco
    from icvos.demo.world.davis_layout import write_davis
    from icvos.demo.world.mose_layout import write_lvos, write_mose
    from icvos.demo.world.plan import world_size
    from icvos.demo.world.recipe_files import write_recipe
    from icvos.demo.world.voc_layout import write_sbd, write_voc

    plan = world_size(size)
    if _is_filled(out):
        raise UsageError("folder is not empty", where=out, fix="choose another --out, or remove it")
    partial = out.parent / f"{out.name}.partial"
    _remove(partial)
    known = {"davis17": write_davis(partial / "davis", plan, seed, progress)}
    known["mose"] = write_mose(partial / "mose", plan, seed, progress)
    known["lvos"] = write_lvos(partial / "lvos", plan, seed, progress)
    write_recipe(partial / "recipe", known)
    write_coco(partial / "coco", plan, seed, progress)
    write_voc(partial / "voc" / "VOC2012", plan, seed, progress)
    write_sbd(partial / "sbd", partial / "voc" / "VOC2012", plan, seed, progress)
    write_json(partial / "world.json", _world(size, seed))
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def demo_layout(name: str, size: str, seed: int, root: Path, *, progress: Progress = silent) -> Path:
    """Write the world in the layout of a further data set, and return its folder, ``root/layouts/NAME``.

    It is a pure function, as ``demo_raw``; what is there already is not written again.

    Args:
        name: A key of ``LAYOUTS``.
        size: One of ``SIZE_NAMES``.
        seed: The world's seed.
        root: Of the demo.
        progress: Told of each thing written.

    Raises:
        UsageError: An unknown layout or size, or another world is in the folder.
    """
    from icvos.demo.world.plan import world_size

    if name not in LAYOUTS:
        raise UsageError(f"the demo world has no layout '{name}'", fix=did_you_mean(name, LAYOUTS))
    plan, folder = world_size(size), root / "layouts"
    check_world(root, size, seed)
    out, partial = folder / name, folder / f"{name}.partial"
    if not _is_filled(out):
        module, _, function = LAYOUTS[name].partition(":")
        write = getattr(importlib.import_module(module), function)

        def make() -> None:
            _remove(partial)
            write(partial, plan, seed, progress)
            write_json(folder / "world.json", _world(size, seed))
            if out.exists():
                out.rmdir()
            partial.rename(out)

        _make_once(folder, lambda: _is_filled(out), make)
    elif not (folder / "world.json").is_file():  # it is written before the first of them has its name
        raise UsageError("this is not the demo world's", where=out, fix="choose another --out, or remove it")
    return out


def _is_filled(out: Path) -> bool:
    return out.exists() and (not out.is_dir() or any(out.iterdir()))


def _remove(partial: Path) -> None:
    """Remove what a writer that was killed left, or whatever else is there; of a link not what it points to."""
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def is_ready(folder: Path) -> bool:
    """Whether raw data or a benchmark of the demo stands whole in a folder: it is renamed there last of all."""
    return (folder / "world.json").is_file() or (folder / "manifest.csv").is_file()


def demo_folder(size: str, seed: int) -> Path:
    """Return where the demo of a size and seed lives, by the generator's version; it need not exist."""
    return icvos_home() / "demo" / f"{size}-seed{seed}-{GENERATOR_VERSION}"


def ensure_demo(name: str = "demo", size: str = "default", *, seed: int = 0, progress: Progress = silent) -> Path:
    """Return the folder of a demo benchmark, building it if it is not there.

    A second process that asks meanwhile waits.

    Args:
        name: One of ``DEMO_NAMES``.
        size: One of ``SIZE_NAMES``.
        seed: The world's seed.
        progress: Told of each thing drawn.

    Raises:
        UsageError: An unknown name or size.
        LockedError: Another process has been building for ten minutes.
    """
    if size not in SIZE_NAMES:
        raise UsageError(f"unknown size '{size}' of the demo world", fix=did_you_mean(size, SIZE_NAMES))
    return build_demo(name, size, seed, demo_folder(size, seed), progress=progress)


def check_world(root: Path, size: str, seed: int) -> None:
    """Refuse a folder whose raw data are another world's.

    Raises:
        UsageError: They are of another size, seed or generator.
    """
    for path in (root / "raw" / "world.json", root / "layouts" / "world.json"):
        if path.is_file() and read_json(path) != _world(size, seed):
            raise UsageError(
                "another demo world is in this folder",
                where=path,
                expected=f"size {size}, seed {seed}, generator {GENERATOR_VERSION}",
                fix="choose another --out, or remove it",
            )


def _world(size: str, seed: int) -> dict[str, str | int]:
    return {"generator": GENERATOR_VERSION, "size": size, "seed": seed}


def build_demo(name: str, size: str, seed: int, root: Path, *, progress: Progress = silent) -> Path:
    """Build a demo benchmark under ``root`` (``raw`` and ``benchmarks``), or return it if it is there."""
    if name not in DEMO_NAMES:
        raise UsageError(f"unknown demo benchmark '{name}'", fix=did_you_mean(name, DEMO_NAMES))
    check_world(root, size, seed)
    out = root / "benchmarks" / name.removeprefix("demo/")
    _make_once(root, lambda: is_ready(out), lambda: _build(name, size, seed, root, out, progress))
    return out


def ensure_raw(size: str, seed: int, root: Path, *, progress: Progress = silent) -> Path:
    """Return the folder of the world's raw data under ``root``, written if it is not there; others that ask wait.

    Raises:
        UsageError: Something else is in the folder.
        LockedError: Another process has been building for ten minutes.
    """
    check_world(root, size, seed)
    raw = root / "raw"
    _make_once(root, lambda: is_ready(raw), lambda: demo_raw(size, seed, raw, progress=progress))
    return raw


def _make_once(folder: Path, is_there: Callable[[], bool], make: Callable[[], object]) -> None:
    """Make something in a folder if it is not there; of several processes that want it one makes it, others wait."""
    patience = time.monotonic() + 600
    while not is_there():
        try:
            with lock_folder(folder, remedy=HOME_REMEDY):
                if not is_there():
                    make()
        except LockedError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.2)


def build_training_shapes(root: Path) -> Path:
    """Build the benchmark of training shapes under ``root``, or return it if it is there.

    Rules are chosen on it, so that the demo's held-out shapes judge them.
    """
    return build_demo("demo", "training", SHAPES_SEED, root)


def _build(name: str, size: str, seed: int, root: Path, out: Path, progress: Progress) -> None:
    _BUILDERS[name](root, out, size, seed, progress)


def _raw(root: Path, size: str, seed: int, progress: Progress) -> Path:
    """Return the folder of the world's raw data, written if it is not there."""
    raw = root / "raw"
    return raw if is_ready(raw) else demo_raw(size, seed, raw, progress=progress)


def _build_ic_vos(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    """Build IC-VOS of the drawn videos as anyone builds it of real ones."""
    from icvos.builders.ic_vos.build import build_icvos, prepare
    from icvos.builders.ic_vos.rules import BuildRules
    from icvos.builders.recipe import read_recipes
    from icvos.categories import COCO80
    from icvos.demo.world.plan import world_size
    from icvos.sources import open_source
    from icvos.sources.coco import open_coco

    plan, raw = world_size(size), _raw(root, size, seed, progress)
    sources = [open_source(name, raw / name) for name in ("davis", "mose", "lvos")]
    recipe = _signed(read_recipes(sorted((raw / "recipe").glob("*.csv")), COCO80), size, seed)
    rules = BuildRules(draws=plan.draws, shots=plan.shots, support_min_area=plan.support_min_area)
    prepared = prepare(sources, open_coco(raw / "coco", "val2014"), recipe=recipe, rules=rules)
    build_icvos(
        prepared,
        out,
        name=_name("demo", size, seed),
        progress=progress,
    )


def _build_coco20i(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    from icvos.builders.fewshot.plan import plan_coco20i

    raw, rules = _raw(root, size, seed, progress), _few_shot_rules("coco-20i", size)
    _build_few_shot(plan_coco20i(raw / "coco", rules, cache=root / "cache"), out, size, seed, progress)


def _build_pascal5i(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    from icvos.builders.fewshot.plan import plan_pascal5i

    # Without --sbd: the masks of SBD are beside VOC's as PNG, which needs no scipy.
    raw, rules = _raw(root, size, seed, progress), _few_shot_rules("pascal-5i", size)
    _build_few_shot(plan_pascal5i(raw / "voc", rules, cache=root / "cache"), out, size, seed, progress)


def _build_fss1000(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    from icvos.builders.fewshot.build import FewShotRules
    from icvos.builders.fewshot.plan import plan_fss1000
    from icvos.demo.world.plan import world_size

    folder = demo_layout("fss-1000", size, seed, root, progress=progress)
    rules = FewShotRules("fss-1000", (0,), shots=world_size(size).shots, min_area=1)
    _build_few_shot(plan_fss1000(folder, rules, cache=root / "cache"), out, size, seed, progress)


def _build_lvis92i(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    """Build LVIS-92i with one shot, for which each of its ten folds has a category that is on two images or more."""
    from icvos.builders.fewshot.plan import plan_lvis92i

    folder = demo_layout("lvis", size, seed, root, progress=progress)
    _build_few_shot(plan_lvis92i(folder, cache=root / "cache"), out, size, seed, progress)


def _build_saco_ic(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    """Build the in-context benchmark of the drawn SA-Co/VEval as anyone builds it of the real one."""
    from icvos.builders.saco_ic.build import build_saco, prepare_saco
    from icvos.builders.saco_ic.plan import SacoRules
    from icvos.demo.world.plan import world_size
    from icvos.sources.saco import SacoVeval

    plan = world_size(size)
    folder = demo_layout("saco", size, seed, root, progress=progress)
    source = SacoVeval(folder, domain="smartglasses", split="test")
    prepared = prepare_saco(source, rules=SacoRules(draws=plan.draws, shots=plan.shots), progress=progress)
    build_saco(prepared, out, name=_name("demo-saco-ic", size, seed), progress=progress)


def _build_fsvos(root: Path, out: Path, size: str, seed: int, progress: Progress) -> None:
    """Build the first group of YouTube-FSVOS of the drawn YouTube-VIS, with frozen episodes."""
    from icvos.builders.fsvos.build import build_fsvos, prepare_fsvos
    from icvos.builders.fsvos.plan import FsvosRules
    from icvos.demo.world.plan import world_size
    from icvos.sources import open_source
    from icvos.sources.ytvis import YouTubeVis

    plan = world_size(size)
    source = open_source("ytvis", demo_layout("ytvis", size, seed, root, progress=progress), crowds=True)
    assert isinstance(source, YouTubeVis)
    prepared = prepare_fsvos(source, FsvosRules(1, shots=plan.shots, draws=plan.draws), progress=progress)
    build_fsvos(prepared, out, name=_name("demo-youtube-fsvos", size, seed), progress=progress)


def _few_shot_rules(benchmark: str, size: str) -> FewShotRules:
    from icvos.builders.fewshot.build import FewShotRules
    from icvos.demo.world.plan import world_size

    plan = world_size(size)
    return FewShotRules(benchmark, shots=plan.shots, min_area=plan.support_min_area, paper_count=plan.paper_count)


def _build_few_shot(plan: FewShotPlan, out: Path, size: str, seed: int, progress: Progress) -> None:
    from icvos.builders.fewshot.build import build_fewshot

    name = plan.rules.benchmark
    build_fewshot(
        plan,
        out,
        name=_name(f"demo-{name}", size, seed),
        licence=LICENCE,
        progress=progress,
    )


def _signed(recipe: Recipe, size: str, seed: int) -> Recipe:
    """Return the recipe with a hash that covers how the raw data were drawn, so that the benchmark's version does."""
    from icvos.builders.recipe import Recipe

    sign = hashlib.sha256(f"{recipe.sha256}|{GENERATOR_VERSION}|{size}|{seed}".encode()).hexdigest()

    class Signed(Recipe):
        @property
        def sha256(self) -> str:
            return sign

    return Signed(recipe.objects, recipe.complete)


def _name(name: str, size: str, seed: int) -> str:
    """Return a benchmark's name: ``demo``, and what of size and seed is not the default."""
    return name + (f"-{size}" if size != "default" else "") + (f"-seed{seed}" if seed else "")


_BUILDERS: dict[str, Callable[[Path, Path, str, int, Progress], None]] = {
    "demo": _build_ic_vos,
    "demo/coco-20i": _build_coco20i,
    "demo/pascal-5i": _build_pascal5i,
    "demo/saco-ic": _build_saco_ic,
    "demo/youtube-fsvos": _build_fsvos,
    "demo/fss-1000": _build_fss1000,
    "demo/lvis-92i": _build_lvis92i,
}


def benchmark_folder(benchmark: str | os.PathLike[str]) -> Path:
    """Return a benchmark's folder: of a demo by its name, built if it is not there; else what is given.

    A folder that is called as a demo is comes before it.
    """
    path = Path(benchmark)
    if str(benchmark) in DEMO_NAMES and not (path / "benchmark.json").is_file():
        return ensure_demo(str(benchmark))
    return path


def load_benchmark(path: str | os.PathLike[str]) -> Benchmark:
    """Open a built benchmark.

    Args:
        path: Its folder, with ``benchmark.json``; or a name of ``DEMO_NAMES``, which is built where it is not there.

    Raises:
        BenchmarkError: No benchmark, one of another schema, or a broken one.
    """
    return load_folder(benchmark_folder(path))


def open_benchmark(benchmark: Benchmark | str | Path) -> tuple[Benchmark, bool]:
    """Return a benchmark by folder or demo name, and whether it is of the drawn world, wherever that was built."""
    opened = benchmark if isinstance(benchmark, Benchmark) else load_benchmark(benchmark)
    licences = opened.header.get("licences")
    return opened, isinstance(licences, dict) and set(map(str, licences.values())) == {LICENCE}
