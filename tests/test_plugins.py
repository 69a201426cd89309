"""Models and trainers are resolved alike: names of entry points, ``module:Class``, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icvos.errors import MissingExtraError, UsageError
from icvos.models.registry import resolve
from icvos.plugins import package_files, plugin_targets
from icvos.training.task import resolve_task


def test_the_groups_of_third_parties() -> None:
    assert list(plugin_targets("icvos.models")) == sorted(plugin_targets("icvos.models"))
    assert plugin_targets("icvos.models")["empty"] == "baselines.floors:Empty"
    assert plugin_targets("icvos.trainers")["pfenet"] == "baselines.pfenet.train:PfeNetTask"
    assert plugin_targets("icvos.no-such-group") == {}


@pytest.mark.parametrize(
    ("resolver", "spec", "answer"),
    [
        (resolve, "histogran", "no model 'histogran'; did you mean 'histogram'? (icvos models list"),
        (resolve, "baselines.floors:Emty", "no class 'Emty'; in baselines.floors; did you mean 'Empty'?"),
        (resolve, "baselines.flors:Empty", "no module 'baselines.flors'; is its package installed?"),
        (resolve, "pathlib:Path", "'Path' is no model; in pathlib; expected a subclass of VideoModel or ImageModel"),
        (resolve_task, "pfnet", "nothing to train is called 'pfnet'; did you mean 'pfenet'?"),
        (resolve_task, "baselines.pfenet.train:PfeNetTsk", "in baselines.pfenet.train; did you mean 'PfeNetTask'?"),
        (resolve_task, "baselines.pfenet.trian:X", "no module 'baselines.pfenet.trian'; is its package installed?"),
        (resolve_task, "pathlib:Path", "'Path' is no training task; in pathlib; expected a subclass of icvos.train"),
    ],
)
def test_what_is_wrong_is_one_line(resolver: Any, spec: str, answer: str) -> None:
    with pytest.raises(UsageError) as error:
        resolver(spec)
    assert answer in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("resolver", "extra"), [(resolve, "all"), (resolve_task, "train")])
def test_a_package_that_a_plugin_misses(
    resolver: Any, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "icvos_test_lacking.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=rf"no_such_package; .*pip install .*\[{extra}\]"):
        resolver("icvos_test_lacking:Thing")


def test_files_of_packages_come_together_and_import_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "icvos_test_shipping"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "net.safetensors").touch()
    monkeypatch.syspath_prepend(tmp_path)
    net = {"net": "icvos_test_shipping/net.safetensors"}
    assert package_files({}) == {} and package_files(net) == {"net": package / "net.safetensors"}
    assert package_files({**net, "other": "icvos_test_shipping/other.safetensors"}) == {}
    assert package_files({**net, "other": "icvos_test_not_installed/other.safetensors"}) == {}


def test_a_tracker_finds_the_shipped_weights_of_both() -> None:
    lifted = resolve("persam+sam2").demo_weights()
    assert lifted == {**resolve("persam").demo_weights(), **resolve("histogram+sam2").demo_weights()}
    assert set(lifted) in (set(), {"sam", "tracker"})
