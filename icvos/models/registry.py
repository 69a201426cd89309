"""Finding models by name and building them: entry points, ``package.module:Class`` and ``path/to/file.py:Class``."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from icvos.errors import MissingExtraError, UsageError, WeightsError, did_you_mean
from icvos.files import expand_home, file_sha256, read_file, real_path
from icvos.models.interface import ImageModel, Model, VideoModel
from icvos.models.lifting import FrameByFrame
from icvos.models.lifts import lift
from icvos.models.options import check_option, fixed_parameters, group_options, option_types
from icvos.models.program import Program, program_class
from icvos.models.remote import Remote, file_module, remote_class
from icvos.models.specs import PROGRAM, split_python
from icvos.plugins import class_in, import_plugin, plugin_code, plugin_targets, said, split_target
from icvos.types import ModelInfo

__all__ = [
    "as_video_model",
    "build",
    "create",
    "names",
    "resolve",
    "source_line",
    "source_sha256",
    "uses_torch",
    "weight_files",
]

GROUP = "icvos.models"
# What stands for a path of weights where those shipped for the demo are meant.
DEMO = "demo"


def names() -> list[str]:
    """Return the names of all installed models, sorted."""
    return list(plugin_targets(GROUP))


def resolve(spec: str) -> type[Model]:
    """Return the class that ``spec`` names; nothing is built yet.

    Args:
        spec: An installed name, ``package.module:Class``, ``path/to/file.py:Class`` (the class may be left out if the
            file holds one model), one of the latter two in another interpreter (``PYTHON::X``), any of these lifted to
            video by a tracker (``X+sam2``, ``X+sam2@first-found``, …), or a program (``exec:PROGRAM WORDS…``).

    Raises:
        UsageError: No such model (with the nearest name), or what is named is no model.
    """
    if spec.startswith(PROGRAM):
        return program_class(spec)
    base, plus, lifting = spec.rpartition("+")
    if plus and base and "/" not in lifting and not lifting.endswith(".py") and ":" not in lifting:
        tracker, _, mode = lifting.partition("@")
        return lift(_plain(base), mode, tracker=tracker)
    return _plain(spec)


def _plain(spec: str) -> type[Model]:
    python, rest = split_python(spec)
    if os.sep in rest and not rest.endswith(".py") and expand_home(rest).is_file():
        raise UsageError(f"'{rest}' is no Python file", fix=f"as a program it is exec:{rest}")
    if python:
        return remote_class(python, rest)
    path, colon, attribute = spec.rpartition(":")
    if not colon:
        path, attribute = spec, ""
    if path.endswith(".py"):
        return _from_file(Path(path), attribute)
    hint = "(icvos models list; or give file.py:Class)"
    module, attribute = split_target(spec, GROUP, unknown="no model", hint=hint)
    return _model_class(import_plugin(module, extra="all", feature="the model in"), attribute, module)


def _from_file(path: Path, attribute: str) -> type[Model]:
    path = real_path(expand_home(path))
    if not path.is_file():
        raise UsageError("model file not found", where=path, expected="path/to/file.py:Class")
    name = file_module(path)
    loaded = sys.modules.get(name)
    if loaded is None or getattr(loaded, "__icvos_sha256__", None) != _file_hash([path]):
        specification = importlib.util.spec_from_file_location(name, path)
        if specification is None or specification.loader is None:
            raise UsageError("model file cannot be loaded", where=path)
        loaded = importlib.util.module_from_spec(specification)
        sys.modules[name] = loaded
        # Modules beside it can be imported, as when it is run as a script.
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        try:
            with plugin_code("model file cannot be imported", where=lambda error: path):
                specification.loader.exec_module(loaded)
        except ModuleNotFoundError as error:
            del sys.modules[name]
            raise UsageError(f"model file cannot be imported ({said(error)})", where=path) from error
        except BaseException:
            del sys.modules[name]
            raise
        loaded.__icvos_sha256__ = _file_hash([path])  # type: ignore[attr-defined]
    return _model_class(loaded, attribute, str(path))


def _model_class(module: types.ModuleType, attribute: str, where: str) -> type[Model]:
    expected = "a subclass of VideoModel or ImageModel"
    cls = class_in(module, attribute, bases=(VideoModel, ImageModel), kind="model", expected=expected, where=where)
    if not isinstance(getattr(cls, "info", None), ModelInfo):
        raise UsageError(f"'{cls.__name__}' has no info", where=where, expected="info = ModelInfo(name=…, version=…)")
    return cls


def create(
    spec: str,
    *,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    demo: bool = False,
) -> Model:
    """Build a model.

    Args:
        spec: As for ``resolve``.
        device: ``cpu``, ``cuda``, ``cuda:1``, …
        weights: Files by the names that the model declares, as for ``weight_files``.
        options: Its options, already of their types (see ``parse_options``).
        demo: A demo benchmark is run, as for ``weight_files``.

    Raises:
        UsageError: Unknown model, option or weights, or weights that it needs are not given.
        WeightsError: A file of weights is missing.
    """
    cls = resolve(spec)
    files = weight_files(cls, weights, demo=demo)
    declared = cls.info.weights
    for name, path in files.items():
        if path.is_dir() and (path / "model.safetensors").is_file():  # a folder as Hugging Face lays it out
            path = files[name] = path / "model.safetensors"
        if not path.is_file():
            raise WeightsError(
                f"weights '{name}' not found",
                where=path,
                expected="a file, or a folder with model.safetensors in it",
                fix=f"they come from {declared[name].source}",
            )
    missing = [name for name, weight in declared.items() if weight.required and name not in files]
    if missing:
        fix = f"give {_given(missing, 'PATH')} ('icvos weights list' says where they come from)"
        if set(missing) <= set(cls.demo_weights()):
            fix += f", or those that are shipped, made for drawn shapes alone: {_given(missing, DEMO)}"
        raise UsageError(f"model '{cls.info.name}' needs weights: {', '.join(missing)}", fix=fix)
    known = option_types(cls)
    for key, value in (options or {}).items():
        if key not in known:
            raise UsageError(f"model '{cls.info.name}' has no option '{key}'", fix=did_you_mean(key, known))
        check_option(key, value, known[key][0])
    taken = fixed_parameters(cls)
    fixed: dict[str, Any] = {"device": device, "weights": files}
    fixed = {name: value for name, value in fixed.items() if name in taken}
    model = _built(cls, **fixed, **group_options(cls, options or {}))
    # An __init__ that takes its options alone, and calls no super().__init__(), is a plain way to write a model.
    for name, value in (("device", device), ("weights", files)):
        if not hasattr(model, name):
            setattr(model, name, value)
    return model


def _built(cls: type[Model], **arguments: Any) -> Model:
    what, where = f"model '{cls.info.name}' cannot be built", partial(source_line, cls)
    try:
        with plugin_code(what, where=where, fix="--debug shows the whole way there"):
            return cls(**arguments)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), cls.info.extra or "all", f"model '{cls.info.name}'") from None


def weight_files(cls: type[Model], weights: Mapping[str, str | Path] | None, *, demo: bool = False) -> dict[str, Path]:
    """Return a model's files of weights by name; whether they are there is not asked.

    Args:
        cls: The model.
        weights: A file by each name, or the word ``demo``: the one shipped with the model, made for drawn shapes (a
            file of that name is ``./demo``). Where ``demo`` is given alone, optional weights shipped beside come along.
        demo: A demo benchmark is run: all that is shipped is used where nothing is given.

    Raises:
        UsageError: The model takes no weights of a name, or comes without demo weights of it.
    """
    declared, shipped, given = cls.info.weights, cls.demo_weights(), dict(weights or {})
    for name in given:
        if name not in declared:
            fix = did_you_mean(name, declared) if declared else "it takes none"
            raise UsageError(f"model '{cls.info.name}' takes no weights '{name}'", fix=fix)
    if not given:
        return dict(shipped) if demo else {}
    named = [name for name, path in given.items() if str(path) == DEMO]
    for name in named:
        if name not in shipped:
            fix = f"shipped are: {', '.join(shipped)}" if shipped else f"give --weights {name}=PATH"
            raise UsageError(f"model '{cls.info.name}' comes without demo weights '{name}'", fix=fix)
    files = {name: shipped[name] if name in named else expand_home(path) for name, path in given.items()}
    if len(named) == len(given):
        optional = {name for name, weight in declared.items() if not weight.required}
        files |= {name: path for name, path in shipped.items() if name in optional and name not in files}
    return files


def _given(names: Iterable[str], value: str) -> str:
    return " ".join(f"--weights {name}={value}" for name in names)


def build(
    model: Model | type[Model] | str,
    *,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    demo: bool = False,
) -> Model:
    """Return a built model: the one given, or one of a class or a spec; the rest is as for ``create``."""
    if isinstance(model, str):
        return create(model, device=device, weights=weights, options=options, demo=demo)
    if isinstance(model, type):
        files = weight_files(model, weights, demo=demo)
        return _built(model, device=device, weights=files, **group_options(model, options or {}))
    return model


def source_line(cls: type, error: BaseException) -> str:
    """Return file and line of a model's own source that an error came through last, or the file alone."""
    there = cls.target["path"] if issubclass(cls, Remote) else None
    path = there or getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}:{lines[-1]}" if lines else f"{path} ({cls.__qualname__})"


def as_video_model(model: Model) -> VideoModel:
    """Return a video model: the model itself, or an image model run frame by frame."""
    if isinstance(model, VideoModel):
        return model
    if isinstance(model, ImageModel):
        return FrameByFrame(model)
    raise UsageError(f"{type(model).__name__} is no model", expected="a VideoModel or an ImageModel")


def source_sha256(cls: type) -> str:
    """Return a hash of a model's own source: its package's ``.py`` files, or its file and those imported beside it.

    Of a program it is that of its file, and of the files among its words.
    """
    there: type = getattr(cls, "lifted", cls)
    if issubclass(there, Remote):
        return _file_hash(map(Path, there.declaration["files"]))
    if issubclass(cls, Program):
        return _file_hash(cls.files())
    files: set[Path] = set()
    for base in cls.__mro__:
        module = sys.modules.get(base.__module__)
        path = getattr(module, "__file__", None)
        if path is None or base.__module__.split(".")[0] in ("icvos", "builtins", "abc", "torch", "typing"):
            continue
        top = base.__module__.split(".")[0]
        package = getattr(sys.modules.get(top), "__path__", None)
        if package is not None:
            files.update(path for root in package for path in Path(root).rglob("*.py"))
        else:
            files.add(Path(path))
            folder = Path(path).resolve().parent
            loaded = [getattr(other, "__file__", None) for other in list(sys.modules.values())]
            files.update(Path(name) for name in loaded if name and Path(name).resolve().parent == folder)
    return _file_hash(files)


def uses_torch(cls: type) -> bool:
    """Whether a model's source imports torch or a foundation model: its own modules do, or those of a base in icvos.

    What else the process has imported does not count, nor what a module of icvos that it calls could do with torch.
    """
    bases = {base.__module__ for base in cls.__mro__} - {"abc", "builtins", "typing"}
    homes = {_home(name) for name in bases if name.split(".")[0] != "icvos"} - {None}
    names, seen = sorted(bases), set[str]()
    while names:
        name = names.pop()
        if name.split(".")[0] == "torch" or name.startswith("icvos.foundation"):
            return True
        if name in sys.modules and name not in seen and (name in bases or _home(name) in homes):
            names += _imports(sys.modules[name])
        seen.add(name)
    return False


def _home(name: str) -> Path | None:
    """Return the folder of a module's top package, or of its file where it has none."""
    module = sys.modules.get(name.split(".")[0])
    file = getattr(module, "__file__", None)
    return Path(file).resolve().parent if file else None


def _imports(module: types.ModuleType) -> Iterator[str]:
    """Yield the dotted names that a module's source imports, those inside functions too; of a notebook, what it has."""
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        yield from (value.__name__ for value in vars(module).values() if isinstance(value, types.ModuleType))
        return
    for node in ast.walk(ast.parse(read_file(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), module.__package__)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _file_hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    contents = sorted((path.name, file_sha256(path)) for path in files if path.is_file())
    for name, content in contents:
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()
