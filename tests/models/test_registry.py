"""Finding and building models; the models command."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from tiny import write_image_benchmark
from tiny_weights import TINY_SAM2, tiny_sam2_file

from baselines.vrp_sam.train import VrpTask
from dcsam.training.task import DCSamTask, ModelSizes
from icvos import VideoModel, cli, evaluate
from icvos.data.options import DataOptions, PairOptions
from icvos.errors import UsageError, WeightsError
from icvos.foundation.load import build_sam, save_sam
from icvos.foundation.sam2 import Sam2
from icvos.models.needs import all_needs
from icvos.models.options import group_options, option_types, parse_options, type_in_words
from icvos.models.registry import as_video_model, create, names, resolve, source_sha256, uses_torch
from icvos.runs.environment import describe_model
from icvos.runs.records import read_run

METHOD = """
from pathlib import Path
from typing import Literal
from icvos import ModelInfo, VideoModel, WeightInfo
from icvos_test_helper import VALUE

class Mine(VideoModel):
    info = ModelInfo(name="mine", version="1", weights={"net": WeightInfo("somewhere", required=False)})
    def __init__(self, *, device="cpu", weights=None, gain: float = 1.0, count: int | None = None,
                 flag: bool = False, kind: Literal["a", "b"] = "a", path: Path = Path(".")):
        super().__init__(device=device, weights=weights)
        self.gain, self.count, self.flag = gain, count, flag
    def segment(self, supports, video, *, seed):
        for frame in video:
            yield frame[..., 0] > VALUE
"""


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "icvos_test_helper", raising=False)
    (tmp_path / "icvos_test_helper.py").write_text("VALUE = 100\n")
    path = tmp_path / "my_method.py"
    path.write_text(METHOD)
    return path


def test_entry_points_and_modules() -> None:
    assert {"empty", "full", "support-mask", "histogram"} <= set(names())
    assert resolve("baselines.floors:Empty") is resolve("empty")
    assert isinstance(as_video_model(create("histogram")), VideoModel)


def test_file_and_its_options(method: Path) -> None:
    for spec in (f"{method}:Mine", str(method)):
        assert resolve(spec).info.name == "mine"
    cls = resolve(f"{method}:Mine")
    assert set(option_types(cls)) == {"gain", "count", "flag", "kind", "path"}
    options = parse_options(cls, ["gain=2.5", "count=none", "flag=yes", "kind=b", "path=/x"])
    assert options == {"gain": 2.5, "count": None, "flag": True, "kind": "b", "path": Path("/x")}
    assert create(f"{method}:Mine", options={"count": 3}).count == 3  # type: ignore[attr-defined]


def test_options_without_annotations_have_their_defaults_types(method: Path) -> None:
    method.write_text(METHOD.replace("gain: float = 1.0", "gain=1.0").replace("flag: bool = False", "flag=False"))
    cls = resolve(str(method))
    assert parse_options(cls, ["gain=2", "flag=no"]) == {"gain": 2.0, "flag": False}
    with pytest.raises(UsageError, match="option gain is 'x'; expected a number"):
        parse_options(cls, ["gain=x"])


def test_a_dataclass_is_set_by_its_fields() -> None:
    settings = ["data=pascal-5i", "root=VOC", "fold=2", "min_area=50", "heads=2"]
    source = PairOptions(data="pascal-5i", root=Path("VOC"), fold=2, min_area=50)
    assert group_options(VrpTask, parse_options(VrpTask, settings)) == {"heads": 2, "source": source}
    assert group_options(VrpTask, parse_options(VrpTask, ["heads=2"])) == {"heads": 2}
    tubes = group_options(DCSamTask, parse_options(DCSamTask, ["data=mask-tubes", "queries=8"]))
    assert tubes == {"source": DataOptions(data="mask-tubes"), "sizes": ModelSizes(queries=8)}
    for setting, words in (
        ("data=mask-tubes", "option data is 'mask-tubes'; expected demo or coco-20i or pascal-5i or coco"),
        ("fold=x", "option fold is 'x'; expected a whole number"),
        ("length=0", "option length is 0; expected 1 or more"),
        ("seed=-1", "option seed is -1; expected 0 or more"),
        ("source=demo", "'vrp-sam' has no option 'source'"),
        ("min_arae=3", "'vrp-sam' has no option 'min_arae'; did you mean 'min_area'"),
    ):
        with pytest.raises(UsageError, match=words):
            group_options(VrpTask, parse_options(VrpTask, [setting]))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "whole number"),
        (bool, "true | false"),
        (Literal["a", 2], "a | 2"),
        (float | None, "number | none"),
        (Literal["auto"] | int, "auto | whole number"),
        (dict, "dict"),
    ],
)
def test_a_type_in_words(kind: object, words: str) -> None:
    assert type_in_words(kind) == words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gain": "x"}, "gain is 'x'; expected a value of type float"),
        ({"flag": 1}, "flag is 1; expected a value of type bool"),
        ({"gain": True}, "gain is true"),
        ({"kind": "c"}, "kind is 'c'; expected a or b"),
    ],
)
def test_options_given_from_python_are_checked(method: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create(str(method), options=options)
    assert create(str(method), options={"gain": 2, "flag": True, "kind": "b"}).flag is True  # type: ignore[attr-defined]


GROUPED = """
from dataclasses import dataclass
from typing import Literal
from icvos import ImageModel, ModelInfo, Prediction

@dataclass(frozen=True)
class Settings:
    \"\"\"Settings.

    Attributes:
        line: Where a pixel is the thing.
    \"\"\"
    line: float = 0.5
    kind: Literal["a", "b"] = "a"

class Mine(ImageModel):
    "A method."
    info = ModelInfo(name="mine", version="1")
    def __init__(self, *, device="cpu", weights=None, count: int = 2, settings: Settings = Settings()):
        super().__init__(device=device, weights=weights)
        self.count, self.settings, self.line = count, settings, settings.line
    def fit(self, supports, *, seed):
        return None
    def predict(self, fitted, image):
        return Prediction(image[..., 0] > 255 * self.line)
"""


def test_a_models_options_may_be_a_dataclass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grouped.py"
    path.write_text(GROUPED)
    cls = resolve(str(path))
    assert {name: default for name, (_, default) in option_types(cls).items()} == {"count": 2, "line": 0.5, "kind": "a"}
    options = parse_options(cls, ["line=0.25", "count=3"])
    assert options == {"line": 0.25, "count": 3}
    model = create(str(path), options=options)
    assert (model.count, model.settings.line, model.settings.kind) == (3, 0.25, "a")  # type: ignore[attr-defined]
    assert create(str(path)).settings.line == 0.5  # type: ignore[attr-defined]
    recorded = describe_model(model, options, kind="image")["options"]
    assert recorded == {"count": 3, "kind": "a", "line": 0.25}
    for wrong, words in (
        ({"line": "x"}, "option line is 'x'; expected a value of type float"),
        ({"kind": "c"}, "option kind is 'c'; expected a or b"),
        ({"settings": None}, "model 'mine' has no option 'settings'"),
    ):
        with pytest.raises(UsageError, match=words):
            create(str(path), options=wrong)
    with pytest.raises(SystemExit):
        cli.main(["models", "show", str(path)])
    out = capsys.readouterr().out
    assert "  --set line=… (number, default 0.5)\n" in out and "  --set kind=… (a | b, default a)\n" in out
    assert out.endswith("\nA method.\n\nArgs:\n    line: Where a pixel is the thing.\n")


@pytest.mark.parametrize(
    ("line", "beside", "torch"),
    [
        ("import numpy", "", False),
        ("import torch.nn.functional as F", "", True),
        ("from icvos.foundation.load import load_sam", "", True),
        ("from icvos.metrics import jf", "", False),  # which knows torch's tensors, and needs none
        ("import {beside}", "def f():\n    import torch\n", True),
        ("from {beside} import numpy", "import numpy\n", False),
    ],
)
def test_what_a_model_computes_with_is_read_from_its_source(
    tmp_path: Path, line: str, beside: str, torch: bool
) -> None:
    name = f"beside_{tmp_path.name}"  # its own in each case: folders of models stay on the path
    (tmp_path / f"{name}.py").write_text(beside)
    path = tmp_path / "mine.py"
    path.write_text(f"{line.format(beside=name)}\n{GROUPED}")
    assert uses_torch(resolve(str(path))) is torch
    backend = describe_model(create(str(path)), {}, kind="image")["backend"]
    assert re.fullmatch(r"torch \d.*" if torch else r"opencv \d.*", backend)


@pytest.mark.parametrize(("line", "torch"), [("import time, numpy", False), ("import time, torch as t", True)])
def test_a_model_of_a_notebook_computes_with_what_is_there(
    line: str, torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = types.ModuleType("notebook_cells")
    monkeypatch.setitem(sys.modules, "notebook_cells", notebook)
    exec(f"{line}\n{GROUPED}", vars(notebook))
    assert uses_torch(notebook.Mine) is torch


def test_models_say_what_they_compute_with() -> None:
    """Here torch is imported, as most tests of models do: that says nothing of a method without it."""
    assert "torch" in sys.modules
    assert {
        name: uses_torch(resolve(name)) for name in ("histogram", "empty", "prototype", "dcsam", "histogram+sam2")
    } == {
        "histogram": False,
        "empty": False,
        "prototype": True,
        "dcsam": True,
        "histogram+sam2": True,
    }


def test_the_options_of_a_lifted_model_and_of_a_class_are_grouped_too(tmp_path: Path) -> None:
    path = tmp_path / "grouped.py"
    path.write_text(GROUPED)
    benchmark = write_image_benchmark(tmp_path / "benchmark")
    evaluate(resolve(str(path)), benchmark, options={"line": 0.25}, out=tmp_path / "run")
    assert read_run(tmp_path / "run")["model"]["options"] == {"count": 2, "kind": "a", "line": 0.25}
    evaluate(create(str(path), options={"line": 0.25, "count": 4}), benchmark, out=tmp_path / "built")
    assert read_run(tmp_path / "built")["model"]["options"] == {"count": 4, "kind": "a", "line": 0.25}
    weights = {"tracker": tiny_sam2_file(tmp_path)}
    lifted = create(f"{path}+sam2", weights=weights, options={"line": 0.75})
    assert lifted.image_model.line == 0.75  # type: ignore[attr-defined]


def test_source_hash_follows_the_file_and_what_it_imports(method: Path) -> None:
    before = source_sha256(resolve(str(method)))
    (method.parent / "icvos_test_helper.py").write_text("VALUE = 101\n")
    between = source_sha256(resolve(str(method)))
    method.write_text(METHOD + "\n# edited\n")
    after = source_sha256(resolve(str(method)))
    assert len({before, between, after}) == 3


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("histgram", "did you mean 'histogram'"),
        ("nowhere.module:Class", "no module 'nowhere.module'"),
        ("baselines.floors:Emty", "did you mean 'Empty'"),
        ("baselines.floors:ModelInfo", "is no model"),
        ("/no/such/file.py:X", "not found"),
        ("histogram+sam9", "no tracker 'sam9'"),
    ],
)
def test_unknown_models_are_answered(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve(spec)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("bin=3", "did you mean 'bins'"),
        ("bins", "--set key=value"),
        ("bins=x", "a whole number"),
        ("sigma=x", "a number"),
    ],
)
def test_bad_settings_are_answered(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_options(resolve("histogram"), [setting])


def test_broken_files_and_weights_are_answered(method: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import icvos\n1 / 0\n")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        resolve(f"{broken}:X")
    with pytest.raises(UsageError, match="takes no weights 'nett'; did you mean 'net'"):
        create(str(method), weights={"nett": tmp_path})
    for path in (tmp_path / "none.pt", tmp_path):
        expected = f"not found; in {path}; expected a file, or a folder with model.safetensors in it; they come from"
        with pytest.raises(WeightsError, match=re.escape(expected)):
            create(str(method), weights={"net": path})
    with pytest.raises(UsageError, match="out of range"):
        create("histogram", options={"blur": 4})


def test_with_demo_weights_a_model_says_that_it_has_seen_the_drawn_world_alone() -> None:
    shipped = [needs.name for needs in all_needs() if needs.demo and not needs.missing]
    assert {"dcsam", "pfenet", "persam", "prototype", "sam2-memory"} <= set(shipped)
    for name in (*shipped, "pfenet+sam2@every=2"):
        info = create(name, demo=True).info
        assert (info.training_data, info.training_categories) == (("icvos demo:train",), ()), name


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("sam2.1_hiera_tiny", ("sa-v:train", "sa-1b:train")),
        ("demo", ("icvos demo:train",)),
        ("another", ("sa-v:train", "sa-1b:train")),  # of which nobody says: what the class declares
    ],
)
def test_what_a_sam2_has_seen_goes_by_its_name(tmp_path: Path, name: str, seen: tuple[str, ...]) -> None:
    save_sam(tmp_path / "sam2.safetensors", build_sam(Sam2, replace(TINY_SAM2, name=name)))
    files = {"sam2": tmp_path / "sam2.safetensors", "tracker": tmp_path / "sam2.safetensors"}
    for model in ("sam2-memory", "sam2-tracker", "histogram+sam2"):
        given = {key: path for key, path in files.items() if key in resolve(model).info.weights}
        assert create(model, weights=given).info.training_data == seen


OWN_INIT = """
import numpy as np
from icvos import ModelInfo, VideoModel

class Base(VideoModel):
    info = ModelInfo(name="own", version="1")
    def segment(self, supports, video, *, seed):
        for frame in video:
            yield np.zeros(frame.shape[:2], bool)

class Options(Base):
    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold

class NoSuper(Base):
    def __init__(self, *, device="cpu", weights=None, threshold: float = 0.5):
        self.threshold = threshold

class Fails(Base):
    def __init__(self, threshold: float = 0.5):
        raise ValueError("threshold is wrong")

class NoSegment(VideoModel):
    info = ModelInfo(name="abstract", version="1")
"""


def test_a_models_own_init(tmp_path: Path) -> None:
    """One that takes its options alone is a model; one that fails is answered with its own line."""
    path = tmp_path / "own.py"
    path.write_text(OWN_INIT)
    for name in ("Options", "NoSuper"):
        model = create(f"{path}:{name}", options={"threshold": 0.25})
        assert (model.threshold, model.device, model.weights) == (0.25, "cpu", {})  # type: ignore[attr-defined]
    line = OWN_INIT.splitlines().index('        raise ValueError("threshold is wrong")') + 1
    with pytest.raises(UsageError, match=rf"cannot be built \(ValueError: threshold is wrong\); in .*own.py:{line};"):
        create(f"{path}:Fails")
    with pytest.raises(UsageError, match=r"cannot be built .*abstract method.* in .*own.py"):
        create(f"{path}:NoSegment")


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(args))
    return int(stop.value.code or 0)


def test_models_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list") == 0
    assert "histogram" in capsys.readouterr().out
    assert run("models", "show", "histogram") == 0
    assert "--set bins=" in capsys.readouterr().out
    assert run("models", "check", "histogram", "--set", "bins=8", "--quick") == 0
    assert "keeps every rule" in capsys.readouterr().out
    assert run("models", "check", "histogram", "--set", "bins=1") == 2
    for name in ("2bad", "numpy", "json"):
        assert run("models", "new", name, "--into", str(tmp_path)) == 2
    assert run("models", "new", "demo-method", "--into", str(tmp_path)) == 0
    assert run("models", "new", "demo-method", "--into", str(tmp_path)) == 2
    capsys.readouterr()
    assert run("models", "check", f"{tmp_path}/demo-method/demo_method/model.py") == 0
    assert "keeps every rule" in capsys.readouterr().out


def test_a_model_that_crashes_says_where(tmp_path: Path) -> None:
    """A crash in compiled code ends the process; what is left is the stack."""
    path = tmp_path / "crash.py"
    text = METHOD.replace("from icvos_test_helper import VALUE", "import ctypes\nVALUE = 1")
    path.write_text(text.replace("yield frame[..., 0] > VALUE", "yield ctypes.string_at(0)"))
    command = [sys.executable, "-m", "icvos.cli", "models", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode < 0
    line = 1 + path.read_text().splitlines().index("            yield ctypes.string_at(0)")
    assert f'File "{path}", line {line} in segment' in done.stderr


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    code = (
        "import resource, sys\nfrom icvos import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('HEAVY', sorted({'torch', 'cv2', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
        "print('CPU', used.ru_utime + used.ru_stime)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in out


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["evaluat"], ["models", "show", "nothing-like-it"], ["models", "list", "--nonsense"]):
        assert run(*args) == 2
        error = capsys.readouterr().err
        assert error.startswith("icvos: ") and error.count("\n") == 1, error


def test_an_option_of_several_kinds_says_them_all() -> None:
    assert parse_options(resolve("dcsam"), ["fill_holes=8"]) == {"fill_holes": 8}
    assert parse_options(resolve("dcsam"), ["fill_holes=auto"]) == {"fill_holes": "auto"}
    with pytest.raises(UsageError, match="fill_holes is 'abc'; expected a whole number or auto"):
        parse_options(resolve("dcsam"), ["fill_holes=abc"])
