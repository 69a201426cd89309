"""The other end of ``icvos.models.remote``: builds a method in an interpreter of its own and answers for it.

It is run by that interpreter, Python 3.8 or newer, where nothing of icvos need be installed: it is one file, of the
standard library and numpy alone. Where icvos cannot be imported, methods get stand-ins of the names that they import.

Messages are a header (length of the text, length of what follows: ``<IQ``), a JSON text, and the bytes of the arrays
that the text lists. Who asks waits for the answer; while a method works, it may ask for frames.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import platform
import random
import select
import signal
import struct
import sys
import threading
import traceback
import types
import typing
from pathlib import Path
from queue import Queue

if typing.TYPE_CHECKING:
    Text = dict[str, typing.Any]
    Arrays = list[typing.Any]
    Reply = tuple[Text, typing.Any]

HEADER = struct.Struct("<IQ")
FIXED = ("self", "device", "weights")
HOOKS = ("segment", "segment_many", "segment_from_mask", "segment_objects", "fit", "predict")

np: typing.Any = None


# What stands in for icvos where it is not installed.


class IcvosError(Exception):
    def __init__(self, what: object, *, where: object = None, expected: object = None, fix: object = None) -> None:
        self.what, self.where, self.expected, self.fix = what, where, expected, fix
        words = (what, where and f"in {where}", expected and f"expected {expected}", fix)
        super().__init__("; ".join(str(word) for word in words if word))


class UsageError(IcvosError):
    pass


class InputError(IcvosError):
    pass


class WeightsError(InputError):
    pass


class ModelError(IcvosError):
    pass


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
    image: typing.Any
    mask: typing.Any
    ignore: typing.Any = None

    @property
    def size(self) -> typing.Any:
        return self.image.shape[0], self.image.shape[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    mask: typing.Any
    score: typing.Any = None
    confidence: typing.Any = None


@dataclasses.dataclass(frozen=True)
class WeightInfo:
    source: str
    sha256: typing.Any = None
    required: bool = True


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    name: str
    version: str
    paper: str = ""
    licence: str = ""
    access: str = "online"
    weights: typing.Any = dataclasses.field(default_factory=dict)
    training_categories: typing.Any = ()
    training_data: typing.Any = ()
    extra: typing.Any = None
    demo_weights: typing.Any = dataclasses.field(default_factory=dict)
    uses: typing.Any = ()


class Model:
    segment: typing.Any
    dtype: typing.Any = "float32"
    autocast: typing.Any = None

    def __init__(self, *, device: str = "cpu", weights: typing.Any = None, **options: typing.Any) -> None:
        self.device, self.weights = device, dict(weights or {})
        if options:
            raise TypeError(f"unknown options: {', '.join(sorted(options))}")


class VideoModel(Model):
    def segment_many(self, episodes: typing.Any, video: Video, *, seeds: typing.Any) -> typing.Iterator[typing.Any]:
        streams = [self.segment(supports, video, seed=seed) for supports, seed in zip(episodes, seeds)]
        yield from zip(*streams)

    def segment_from_mask(self, mask: typing.Any, video: Video, *, seed: int) -> typing.Iterator[typing.Any]:
        yield from self.segment([Support(video[0], mask)], video, seed=seed)

    def segment_objects(self, masks: typing.Any, video: Video, *, seed: int) -> typing.Iterator[typing.Any]:
        raise NotImplementedError("objects are put together by icvos itself")


class ImageModel(Model):
    pass


class Video:
    """A sequence of frames that are asked for one by one."""

    def __init__(self, stream: int = 0, count: int = 0, size: tuple[int, int] = (0, 0)) -> None:
        self._stream, self._count, self.size = stream, count, size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> typing.Any:
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} of a video with {self._count}")
        return PIPES.frame(self._stream, range(self._count)[index])

    def __iter__(self) -> typing.Iterator[typing.Any]:
        return (self[index] for index in range(self._count))


def stand_in() -> typing.Any:
    """Put modules of the names that methods import in the place of icvos, where it is not installed."""
    try:
        import icvos
        import icvos.models.interface

        return icvos
    except (ImportError, SyntaxError):  # none, no more than a folder of that name, or one for a newer Python
        pass
    names = {
        "icvos": (ImageModel, ModelInfo, Prediction, Support, Video, VideoModel, WeightInfo, IcvosError),
        "icvos.types": (ModelInfo, Prediction, Support, Video, WeightInfo),
        "icvos.errors": (IcvosError, UsageError, InputError, WeightsError, ModelError),
        "icvos.models": (),
        "icvos.models.interface": (ImageModel, VideoModel, Model),
    }
    for name, members in names.items():
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = []
        for member in members:
            setattr(module, member.__name__, member)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    setattr(sys.modules["icvos.types"], "Mask", typing.Any)
    return sys.modules["icvos"]


# Messages.


class Pipes:
    """Two pipes: a thread reads what comes. When the other end is gone this process ends, and all it began."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming, self.outgoing, self.process = incoming, outgoing, os.getpid()
        self.commands: Queue[tuple[Text, Arrays]] = Queue()
        self.frames: Queue[tuple[Text, Arrays]] = Queue()
        self.writing, self.asking = threading.Lock(), threading.Lock()
        for each in (incoming, outgoing):
            os.set_inheritable(each, False)
        self._guard()
        threading.Thread(target=self._listen, daemon=True).start()

    def _guard(self) -> None:
        """Begin a process that waits for the other end to go: a method may be at work that lets no thread run.

        It is nobody's child, so that a method may wait for its own.
        """
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            if os.fork():
                os._exit(0)
            for each in range(max(self.incoming, self.outgoing) + 1):
                if each != self.incoming:
                    with contextlib.suppress(OSError):
                        os.close(each)
            gone = select.poll()
            gone.register(self.incoming, 0)
            gone.poll()
        finally:
            os.killpg(0, signal.SIGKILL)

    def _listen(self) -> None:
        try:
            while True:
                message = self._read()
                (self.frames if message[0].get("do") == "frame" else self.commands).put(message)
        except BaseException:
            if os.getpid() == self.process:
                os.killpg(0, signal.SIGKILL)

    def _bytes(self, count: int) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            got = os.readv(self.incoming, [view[: 1 << 24]])
            if not got:
                raise EOFError
            view = view[got:]
        return data

    def _read(self) -> tuple[Text, Arrays]:
        size, more = HEADER.unpack(self._bytes(HEADER.size))
        text = json.loads(bytes(self._bytes(size)).decode())
        return text, unpacked(text.get("arrays", ()), self._bytes(more))

    def send(self, text: Text, arrays: typing.Any = ()) -> None:
        if os.getpid() != self.process:  # a child that the method forked is no second host
            os._exit(1)
        listed: Arrays = []
        parts: Arrays = []
        for array in arrays:
            listed.append([array.dtype.str, list(array.shape)])
            parts.append(memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8)))
        data = json.dumps(dict(text, arrays=listed)).encode()
        with self.writing:
            for part in (HEADER.pack(len(data), sum(map(len, parts))), data, *parts):
                view = memoryview(part)
                while view:
                    view = view[os.write(self.outgoing, view) :]

    def frame(self, stream: int, index: int) -> typing.Any:
        if os.getpid() != self.process:
            raise RuntimeError("frames are read in the method's own process, by whatever thread, and in no child of it")
        with self.asking:
            self.send({"say": "frame", "stream": stream, "index": index})
            text, arrays = self.frames.get()
        if "problem" in text:
            raise RuntimeError(text["problem"])
        return arrays[0]


PIPES: Pipes


def unpacked(listed: typing.Any, data: bytearray) -> Arrays:
    """Return the arrays that a message lists, views of its bytes."""
    arrays: list[typing.Any] = []
    at = 0
    for dtype, shape in listed:
        count = 1
        for side in shape:
            count *= side
        array = np.frombuffer(data, np.dtype(dtype), count, at).reshape(shape)
        arrays.append(array)
        at += array.nbytes
    return arrays


# What a method declares.


def find_class(icvos: typing.Any, path: str, module: str, attribute: str) -> typing.Any:
    """Return the class that is named, of a file or of a module."""
    if path:
        folder = str(Path(path).parent)
        if folder not in sys.path:
            sys.path.append(folder)
        spec: typing.Any = importlib.util.spec_from_file_location(module, path)
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded
        spec.loader.exec_module(loaded)
    else:
        loaded = importlib.import_module(module)
    bases = (icvos.VideoModel, icvos.ImageModel)
    classes = {
        name: value
        for name, value in vars(loaded).items()
        if inspect.isclass(value) and issubclass(value, bases) and value.__module__ == loaded.__name__
    }
    where = path or module
    if not attribute:
        if not classes:
            raise UsageError("no model here", where=where, expected="a subclass of VideoModel or ImageModel")
        if len(classes) > 1:
            raise UsageError(f"{len(classes)} models here", where=where, fix=f"name one: {where}:Class")
        return next(iter(classes.values()))
    value = getattr(loaded, attribute, None)
    if not (inspect.isclass(value) and issubclass(value, bases)):
        raise UsageError(f"no model '{attribute}'", where=where, expected=", ".join(classes) or None)
    return value


def declared(icvos: typing.Any, cls: typing.Any) -> Text:
    """Return what a class declares, for the other end to make one of it."""
    info = getattr(cls, "info", None)
    if info is None or not hasattr(info, "name"):
        raise UsageError(f"'{cls.__name__}' has no info", expected="info = ModelInfo(name=..., version=...)")
    video = issubclass(cls, icvos.VideoModel)
    base = icvos.VideoModel if video else icvos.ImageModel
    hooks = {name: getattr(cls, name, None) for name in HOOKS}
    overridden = [n for n, hook in hooks.items() if hook is not None and hook is not getattr(base, n, None)]
    return {
        "name": cls.__qualname__,
        "module": cls.__module__,
        "kind": "video" if video else "image",
        "info": info_fields(info),
        "hooks": overridden,
        "refused": [n for n in ("segment_from_mask",) if video and hooks[n] is None],
        "options": [[name, kind_of(kind), plain(default)] for name, (kind, default) in parameters(cls).items()],
        "doc": documentation(cls),
        "files": sources(cls),
        "demo": demo_files(info),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages(),
    }


def info_fields(info: typing.Any) -> Text:
    out = {name: getattr(info, name, default) for name, default in vars(ModelInfo("x", "0")).items()}
    for name in ("training_categories", "training_data", "uses"):
        out[name] = list(out[name])
    out["weights"] = {
        name: {"source": each.source, "sha256": each.sha256, "required": each.required}
        for name, each in out["weights"].items()
    }
    out["demo_weights"] = dict(out["demo_weights"])
    return out


def parameters(cls: type) -> dict[str, tuple[typing.Any, typing.Any]]:
    """Return the options of a method: name -> (annotation, default); fields of a dataclass stand for it."""
    out = {}
    for name, (kind, default) in own_parameters(cls).items():
        if dataclasses.is_dataclass(kind):
            hints = hints_of(kind)
            for field in dataclasses.fields(kind):
                out[field.name] = (hints.get(field.name, str), getattr(default, field.name, inspect.Parameter.empty))
        else:
            out[name] = (kind, default)
    return out


def own_parameters(cls: type) -> dict[str, tuple[typing.Any, typing.Any]]:
    out: dict[str, tuple[typing.Any, typing.Any]] = {}
    for base in cls.__mro__:
        if base is sys.modules["icvos.models.interface"].Model or "__init__" not in vars(base):
            continue
        function = vars(base)["__init__"]
        hints, passes_on = hints_of(function), False
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                passes_on = True
            elif name not in FIXED and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                default = parameter.default
                plain_kind = type(default) if type(default) in (bool, int, float) else str
                out.setdefault(name, (hints.get(name, plain_kind), default))
        if not passes_on:
            break
    return out


def values_of(model: typing.Any) -> Text:
    """Return the options that a built model keeps under their names, those of a dataclass by its fields."""
    values: Text = {}
    for name in own_parameters(type(model)):
        value = getattr(model, name, None)
        if dataclasses.is_dataclass(value):
            values.update((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        else:
            values[name] = value
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}


def hints_of(what: typing.Any) -> dict[str, typing.Any]:
    """Return the annotations of a function or class as Python 3.11 has them; nothing where one names nothing here."""
    try:
        if sys.version_info >= (3, 11):
            return typing.get_type_hints(what)
        hints: dict[str, typing.Any] = {}
        for each in reversed(getattr(what, "__mro__", (what,))):
            names = getattr(each, "__globals__", None) or vars(sys.modules[each.__module__])
            texts = vars(each).get("__annotations__", {}) if isinstance(each, type) else each.__annotations__
            hints.update((name, evaluated(text, names)) for name, text in texts.items())
        return {name: hint for name, hint in hints.items() if hint is not None}
    except Exception:
        return {}


def evaluated(text: typing.Any, names: dict[str, typing.Any]) -> typing.Any:
    """Return what an annotation stands for, ``A | B`` too; None where this Python does not know it."""
    if not isinstance(text, str):
        return type(None) if text is None else text
    tree = ast.parse(text.strip(), mode="eval").body
    kinds: list[typing.Any] = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        kinds, tree = [tree.right, *kinds], tree.left
    try:
        values = [eval(compile(ast.Expression(each), "", "eval"), names) for each in (tree, *kinds)]
    except TypeError:
        return None
    if not kinds:
        return evaluated(values[0], names)
    return typing.Union[tuple(values)]


def kind_of(kind: typing.Any) -> typing.Any:
    """Return an annotation in JSON: a word, or a mapping of "literal", "union" or "other" to what is within."""
    words = {bool: "bool", int: "int", float: "float", str: "str", type(None): "none", Path: "path"}
    if kind in words:
        return words[kind]
    origin = getattr(kind, "__origin__", None)
    arguments = list(getattr(kind, "__args__", ()) or ())
    if origin is not None and origin is getattr(typing, "Literal", 0):
        return {"literal": arguments}
    if origin is typing.Union or type(kind).__name__ == "UnionType":
        return {"union": [kind_of(each) for each in arguments]}
    name = str(getattr(kind, "__name__", None) or getattr(kind, "_name", None) or "value")
    return {"other": [name, kind.__module__ if inspect.isclass(kind) and kind is not typing.Any else "builtins"]}


def plain(value: typing.Any) -> list[typing.Any]:
    """Return a value as JSON holds it: in a list, a mapping where JSON has no such value."""
    if value is inspect.Parameter.empty:
        return []
    return [value if value is None or isinstance(value, (bool, int, float, str)) else str(value)]


def documentation(cls: type) -> str:
    texts = [inspect.getdoc(cls) or ""]
    for kind, _ in own_parameters(cls).values():
        if dataclasses.is_dataclass(kind):
            texts.append((inspect.getdoc(kind) or "").partition("\n\n")[2].replace("Attributes:", "Args:"))
    return "\n\n".join(filter(None, texts))


def sources(cls: type) -> list[str]:
    """Return the files that a method's source is: its package's, or its file and those imported beside it."""
    files: set[str] = set()
    for base in cls.__mro__:
        path = getattr(sys.modules.get(base.__module__), "__file__", None)
        top = base.__module__.split(".")[0]
        if path is None or top in ("icvos", "__main__", "builtins", "abc", "torch", "typing"):
            continue
        package = getattr(sys.modules.get(top), "__path__", None)
        if package is not None:
            files.update(str(each) for root in package for each in Path(root).rglob("*.py"))
            continue
        files.add(str(path))
        folder = Path(path).resolve().parent
        loaded = [getattr(other, "__file__", None) for other in list(sys.modules.values())]
        files.update(name for name in loaded if name and Path(name).resolve().parent == folder)
    return sorted(files)


def demo_files(info: typing.Any) -> dict[str, str]:
    """Return the files of weights that a method ships, by name; nothing if one is not there."""
    files = {}
    for name, target in info_fields(info)["demo_weights"].items():
        package, _, inner = target.partition("/")
        spec = importlib.util.find_spec(package)
        folders = (spec.submodule_search_locations or []) if spec is not None else []
        found = [str(Path(folder) / inner) for folder in folders if (Path(folder) / inner).is_file()]
        if not found:
            return {}
        files[name] = found[0]
    return files


def packages() -> list[str]:
    from importlib.metadata import distributions

    named: dict[str, str] = {}
    for each in distributions():
        name = str(each.metadata["Name"] if each.metadata else "").lower()
        # Of two of a name the first is imported. A version does not tell which commit was checked out.
        source = json.loads(each.read_text("direct_url.json") or "{}")
        commit = source.get("vcs_info", {}).get("commit_id")
        text = f"{name} @ git+{source['url']}@{commit}" if commit else f"{name}=={each.version}"
        named.setdefault(name, text)
    return [text for name, text in sorted(named.items()) if name]


# What it is asked to do.


class Host:
    def __init__(self) -> None:
        self.cls: typing.Any = None
        self.icvos: typing.Any = None
        self.models: dict[int, typing.Any] = {}
        self.fitted: dict[int, list[typing.Any]] = {}
        self.streams: dict[int, list[typing.Any]] = {}
        self.seed = 0

    def load(self, text: Text, arrays: Arrays) -> Reply:
        if np is None:
            raise UsageError(
                "the interpreter has no numpy", where=sys.executable, fix=f"{sys.executable} -m pip install numpy"
            )
        self.icvos = stand_in()
        self.cls = find_class(self.icvos, text["path"], text["module"], text["attribute"])
        return declared(self.icvos, self.cls), ()

    def build(self, text: Text, arrays: Arrays) -> Reply:
        options = {name: Path(value) if name in text["paths"] else value for name, value in text["options"].items()}
        for name, (kind, _) in own_parameters(self.cls).items():
            if dataclasses.is_dataclass(kind) and isinstance(kind, type):
                fields = {
                    each.name: options.pop(each.name) for each in dataclasses.fields(kind) if each.name in options
                }
                if fields:
                    options[name] = kind(**fields)
        taken: set[str] = set()
        for base in self.cls.__mro__:
            if "__init__" in vars(base):
                known = inspect.signature(vars(base)["__init__"]).parameters
                taken.update(name for name in ("device", "weights") if name in known)
                if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
                    break
        weights = {name: Path(path) for name, path in text["weights"].items()}
        fixed = {name: value for name, value in (("device", text["device"]), ("weights", weights)) if name in taken}
        model = self.cls(**fixed, **options)
        for name, value in (("device", text["device"]), ("weights", weights)):
            if not hasattr(model, name):
                setattr(model, name, value)
        self.models[text["model"]] = model
        return {
            "info": info_fields(model.info),
            "dtype": in_words(model.dtype),
            "autocast": in_words(model.autocast),
            "values": values_of(model),
            "weights": {name: str(path) for name, path in model.weights.items()},
            "torch": getattr(sys.modules.get("torch"), "__version__", None),
        }, ()

    def copy(self, text: Text, arrays: Arrays) -> Reply:
        self.models[text["copy"]] = copy.copy(self.models[text["model"]])
        return {}, ()

    def drop(self, text: Text, arrays: Arrays) -> Reply:
        for name in text["models"]:
            self.models.pop(name, None)
        for name in text["fitted"]:
            self.fitted.pop(name, None)
        return {}, ()

    def reseed(self, text: Text, arrays: Arrays) -> Reply:
        self.seed = text["seed"]
        seed_all(self.seed)
        return {}, ()

    def threads(self, text: Text, arrays: Arrays) -> Reply:
        for name, function in (("cv2", "setNumThreads"), ("torch", "set_num_threads")):
            if name in sys.modules:
                getattr(sys.modules[name], function)(text["count"])
        return {}, ()

    def peak(self, text: Text, arrays: Arrays) -> Reply:
        torch: typing.Any = sys.modules.get("torch")
        device = text["device"]
        on_gpu = torch is not None and device.startswith("cuda") and torch.cuda.is_available()
        if on_gpu and text["reset"]:
            torch.cuda.reset_peak_memory_stats(device)
        import resource

        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"bytes": torch.cuda.max_memory_allocated(device) if on_gpu else resident}, ()

    # A video.

    def open(self, text: Text, arrays: Arrays) -> Reply:
        video = Video(text["stream"], text["frames"], tuple(text["size"]))
        method, left = getattr(self.models[text["model"]], text["call"]), list(arrays)
        sets = [[self._support(left, ignore) for ignore in kinds] for kinds in text["sets"]]
        seeds = text["seeds"]
        begin = {
            "segment": lambda: method(sets[0], video, seed=seeds[0]),
            "segment_many": lambda: method(sets, video, seeds=seeds),
            "segment_from_mask": lambda: method(left[0], video, seed=seeds[0]),
            "segment_objects": lambda: method(left, video, seed=seeds[0]),
        }[text["call"]]
        had_torch = "torch" in sys.modules
        several = text["call"] in ("segment_many", "segment_objects")
        self.streams[text["stream"]] = [iter(begin()), begin, had_torch, several, video.size]
        return {}, ()

    def _support(self, left: list[typing.Any], ignore: bool) -> typing.Any:
        return self.icvos.Support(left.pop(0), left.pop(0), left.pop(0) if ignore else None)

    def next(self, text: Text, arrays: Arrays) -> Reply:
        stream = self.streams[text["stream"]]
        iterator, begin, had_torch, several, size = stream
        items: typing.Any = next(iterator, self)
        if not had_torch and "torch" in sys.modules:
            # It imported torch only now, unseeded: once more, as every later episode will run.
            seed_all(self.seed)
            stream[0] = iterator = iter(begin())
            items = next(iterator, self)
        stream[2] = True
        if items is self:
            return {"end": True}, ()
        return self._items(list(items) if several else [items], size)

    def close(self, text: Text, arrays: Arrays) -> Reply:
        stream = self.streams.pop(text["stream"], None)
        if stream is not None:
            getattr(stream[0], "close", lambda: None)()
        return {}, ()

    # An image.

    def fit(self, text: Text, arrays: Arrays) -> Reply:
        left = list(arrays)
        supports = [self._support(left, ignore) for ignore in text["sets"][0]]
        model, had_torch = self.models[text["model"]], "torch" in sys.modules
        fitted = model.fit(supports, seed=text["seeds"][0])
        if not had_torch and "torch" in sys.modules:
            seed_all(self.seed)
            fitted = model.fit(supports, seed=text["seeds"][0])
        self.fitted[text["fitted"]] = [fitted, supports, text["seeds"][0]]
        return {}, ()

    def predict(self, text: Text, arrays: Arrays) -> Reply:
        kept, model = self.fitted[text["fitted"]], self.models[text["model"]]
        had_torch = "torch" in sys.modules
        item = model.predict(kept[0], arrays[0])
        if not had_torch and "torch" in sys.modules and kept[1]:
            seed_all(self.seed)
            kept[0] = model.fit(kept[1], seed=kept[2])
            item = model.predict(kept[0], arrays[0])
        kept[1] = None
        return self._items([item], arrays[0].shape[:2])

    def _items(self, items: list[typing.Any], size: typing.Any) -> Reply:
        rows: list[Text] = []
        arrays: list[typing.Any] = []
        for item in items:
            whole = item if isinstance(item, self.icvos.Prediction) else self.icvos.Prediction(item)
            row: Text = {"confidence": None if whole.confidence is None else float(whole.confidence)}
            for name in ("mask", "score"):
                value = array_of(getattr(whole, name), size)
                row[name] = len(arrays) if isinstance(value, np.ndarray) else value
                arrays += [value] if isinstance(value, np.ndarray) else []
            rows.append(row)
        return {"items": rows}, arrays


def array_of(value: typing.Any, size: typing.Any) -> typing.Any:
    """Return a mask or score of a frame's size as an array; what is none in words: type, shape and dtype."""
    kind = type(value).__name__
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        try:
            value = value.numpy()
        except TypeError:  # numpy has no such dtype
            value = value.float().numpy()
    elif hasattr(value, "__array__"):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return [kind, None, ""] if value is not None else None
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:
        value = value.astype(np.float64)
    if value.shape != tuple(size) or value.dtype.kind not in "biuf":
        return [kind, list(value.shape), str(value.dtype)]
    return value


def in_words(value: typing.Any) -> typing.Any:
    if isinstance(value, dict):
        return {name: in_words(each) for name, each in value.items()}
    return None if value is None else str(value)


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def torch_modes() -> typing.Any:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "is_grad_enabled"):
        return None
    try:
        autocast = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
    except TypeError:  # before torch 2.4
        autocast = torch.is_autocast_cpu_enabled(), torch.is_autocast_enabled()
    return (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *autocast)


def answer(host: Host, text: Text, arrays: Arrays) -> Reply:
    """Do what is asked; what the method leaves switched on in torch is its fault."""
    modes = torch_modes()
    try:
        reply: Reply = getattr(host, text["do"])(text, arrays)
        if modes is not None and torch_modes() != modes and not reply[0].get("end"):
            raise ModelError("grad mode, inference mode or autocast leaks out of it", fix="icvos models check")
        return reply
    finally:
        if modes is not None and torch_modes() != modes:
            torch: typing.Any = sys.modules["torch"]
            torch.set_grad_enabled(modes[0])
            try:
                torch.set_autocast_enabled("cpu", modes[2])
                torch.set_autocast_enabled("cuda", modes[3])
            except TypeError:  # before torch 2.4
                torch.set_autocast_cpu_enabled(modes[2])
                torch.set_autocast_enabled(modes[3])


def problem(error: BaseException) -> Text:
    """Return what the other end is told of an exception, whatever its class does."""
    try:
        words = str(error)
    except BaseException:
        words = "its text cannot be read"
    try:
        lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException:
        lines = ""
    own = [each for each in traceback.extract_tb(error.__traceback__) if each.filename != __file__]
    own = [each for each in own if "site-packages" not in each.filename] or own
    names = [base.__name__ for base in type(error).__mro__]
    return {
        "type": type(error).__name__[:100],
        "text": words[:4000],
        "line": f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "",
        "traceback": lines[-4000:],
        "usage": "IcvosError" in names and ("UsageError" in names or "InputError" in names),
        "rule": "ModelError" in names and "IcvosError" in names,
        "missing": getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None,
        "parts": [
            getattr(error, part, None) and str(getattr(error, part)) for part in ("what", "where", "expected", "fix")
        ],
    }


def main() -> None:
    global PIPES, np
    here = Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != here]
    PIPES = Pipes(int(sys.argv[1]), int(sys.argv[2]))
    PIPES.send({"say": "here", "python": platform.python_version()})
    with contextlib.suppress(ImportError):
        np = importlib.import_module("numpy")
    host = Host()
    while True:
        text, arrays = PIPES.commands.get()
        try:
            reply, more = answer(host, text, arrays)
            words = dict(reply, say="done")
        except BaseException as error:
            words, more = dict(problem(error), say="failed"), ()
        PIPES.send(words, more)


if __name__ == "__main__":
    main()
