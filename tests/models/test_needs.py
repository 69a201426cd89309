"""What methods need, as ``icvos models list`` and ``icvos demo`` say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_video_benchmark

from baselines.persam import PerSam
from icvos import cli
from icvos.commands import demo
from icvos.installation import install_command
from icvos.models import needs
from icvos.models.needs import all_needs, missing_packages, needs_of
from icvos.models.registry import names, resolve, weight_files


def icvos(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def no_demo_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shipped, whatever the checkout holds."""
    monkeypatch.setattr("icvos.models.interface.package_files", lambda resources: {})
    monkeypatch.setattr("icvos.models.lifting.package_files", lambda resources: {})


def test_every_method_says_what_it_needs(no_demo_weights: None) -> None:
    found = {entry.name: entry for entry in all_needs()}
    assert sorted(found) == names()
    assert found["empty"].status == found["histogram"].status == "ready"
    assert found["histogram"].text == "icvos evaluate --model histogram"
    assert found["dcsam"].kind == "video, image" and found["dcsam"].optional == ("sam2", "sam")
    for name, weight in (("persam", "sam"), ("sam2-memory", "sam2"), ("seggpt", "seggpt"), ("dcsam", "dcsam")):
        assert found[name].status == "needs weights" and f"--weights {weight}=PATH: " in found[name].text
    assert "optional" not in found["dcsam"].text and "sam=PATH" not in found["dcsam"].text.replace("dcsam=PATH", "")


def test_demo_weights_make_it_ready_only_if_all_are_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PerSam, "demo_weights", classmethod(lambda cls: {"sam": tmp_path}))
    assert needs_of("persam").status == "ready" and needs_of("persam").demo
    monkeypatch.setattr(PerSam, "demo_weights", classmethod(lambda cls: {"other": tmp_path}))
    assert needs_of("persam").status == "needs weights"
    # A lift needs the tracker's too.
    assert needs_of("persam+sam2").weights == ("sam", "tracker")


def test_packages_of_an_extra(monkeypatch: pytest.MonkeyPatch, no_demo_weights: None) -> None:
    monkeypatch.setattr(needs, "_installed", lambda package: package not in ("sam2", "transformers"))
    assert missing_packages("sam") == ("sam2",) and missing_packages("torch") == ()
    assert missing_packages("hf,sam") == ("sam2", "transformers") and missing_packages("") == ()
    entry = needs_of("seggpt+sam2")
    assert entry.status == "needs extra hf,sam" and entry.text.startswith(f"{install_command('hf,sam')}; --weigh")


def test_the_list_shows_weights_extras_and_demo_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_demo_weights: None
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(needs, "_installed", lambda package: package != "transformers")
    assert icvos("models", "list") == 0
    rows = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.split()}
    assert rows["dcsam"] == "dcsam 1 video, image online dcsam, (sam2), (sam) not here sam"
    assert rows["empty"] == "empty 1 video online none none needed -"
    assert rows["seggpt"].endswith("seggpt, (config) not here hf (not installed: transformers)")
    assert icvos("models", "show", "seggpt") == 0
    out = capsys.readouterr().out
    assert "not installed: transformers" in out and "demo weights: not here" in out


def test_a_broken_method_is_named_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(needs, "names", lambda: ["histogram", "no-such-method"])
    assert icvos("models", "list") == 0
    out = capsys.readouterr()
    assert "histogram" in out.out and "no-such-method cannot be imported: no model" in out.err


def test_the_demo_shows_who_was_not_run_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_demo_weights: None, tmp_path: Path
) -> None:
    run: list[str] = []
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(demo, "_run", lambda step: 0)
    monkeypatch.setattr(demo, "_evaluate", lambda runs, workers: run.extend(model for _, model in runs) or [0])
    monkeypatch.setattr(PerSam, "demo_weights", classmethod(lambda cls: {"sam": tmp_path}))
    assert icvos("demo") == 0
    # Without the small weights no more is evaluated than what needs nothing.
    assert run == ["empty", "full", "support-mask", "histogram"]
    rows = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.split()}
    assert not set(run) & set(rows) and set(names()) - set(run) <= set(rows)
    assert rows["sam2-memory"].startswith("sam2-memory needs weights --weights sam2=PATH: ")
    assert rows["persam"] == "persam ready icvos evaluate --model persam"


# --------------------------------------------------------------------------------- wrong combinations: one line, exit 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        # A video model tracks by itself.
        (("--model", "sam2-memory+sam2"), "'sam2-memory' is a video model and needs no tracker; use --model sam2-mem"),
        (("--model", "histogram+sam22"), "no tracker 'sam22' to lift 'histogram' to video; did you mean 'sam2'?"),
        (("--model", "histogram+sam2@evry=3"), "'@evry=3' is no way to lift; did you mean 'every=N'?"),
        (("--model", "histogram+sam2+sam2"), "no model 'histogram+sam2'; did you mean 'histogram'?"),
        (("--model", "histogran+sam2"), "no model 'histogran'; did you mean 'histogram'?"),
        # Weights that are not given, not known, or not there.
        (("--model", "persam"), "model 'persam' needs weights: sam; give --weights sam=PATH"),
        (("--model", "histogram+sam2"), "model 'histogram+sam2' needs weights: tracker; give --weights tracker=PATH"),
        (("--model", "persam+sam2", "--weights", "sam=x"), "weights 'sam' not found; in x"),
        (("--model", "persam", "--weights", "sem=x"), "takes no weights 'sem'; did you mean 'sam'?"),
        (("--model", "histogram", "--weights", "sam=x"), "model 'histogram' takes no weights 'sam'; it takes none"),
        # Weights that are shipped can be named; both ways are.
        (("--model", "dcsam"), "drawn shapes alone: --weights dcsam=demo"),
        (("--model", "persam+sam2"), "give --weights sam=PATH --weights tracker=PATH ('icvos weights list' says where"),
        (("--model", "persam+sam2"), "drawn shapes alone: --weights sam=demo --weights tracker=demo"),
        (
            ("--model", "persam+sam2", "--weights", "sam=demo"),
            "needs weights: tracker; give --weights tracker=PATH",
        ),
        (("--model", "seggpt", "--weights", "seggpt=demo"), "comes without demo weights 'seggpt'; give --weights segg"),
        (("--model", "dcsam", "--weights", "sam=demo"), "comes without demo weights 'sam'; shipped are: dcsam, sam2"),
        (("--model", "dcsam", "--weights", "dcsam=./demo"), "weights 'dcsam' not found; in demo"),
        (("--model", "dcsam", "--weights", "dcsan=demo"), "takes no weights 'dcsan'; did you mean 'dcsam'?"),
        (("--model", "persam", "--weights", "sam"), "'sam' is no file of weights; expected --weights NAME=PATH"),
    ],
)
def test_wrong_combinations(
    words: tuple[str, ...], answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2)
    assert icvos("evaluate", *words, "--benchmark", bench, "--out", tmp_path / "r") == 2
    error = capsys.readouterr().err
    assert error.startswith("icvos: ") and error.count("\n") == 1 and answer in error, error
    assert not (tmp_path / "r").exists()


def test_demo_weights_can_be_named() -> None:
    shipped = PerSam.demo_weights()["sam"]
    lifted = resolve("persam+sam2")
    assert weight_files(lifted, {"sam": "demo", "tracker": "demo"}) == lifted.demo_weights()
    assert weight_files(lifted, {"sam": "x", "tracker": "demo"}) == {"sam": Path("x"), "tracker": shipped}
    # What is optional comes along with what it was made with, and with nothing else.
    dcsam = resolve("dcsam")
    assert weight_files(dcsam, {"dcsam": "demo"}) == weight_files(dcsam, {}, demo=True) == dcsam.demo_weights()
    assert set(weight_files(dcsam, {"dcsam": "x"}, demo=True)) == {"dcsam"}
    assert weight_files(dcsam, None) == {}
    for name in names():
        cls = resolve(name)
        assert weight_files(cls, dict.fromkeys(cls.demo_weights(), "demo")) == cls.demo_weights()


def test_every_weights_name_is_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("weights", "list") == 0
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    for entry in all_needs():
        for name in (*entry.weights, *entry.optional):
            demo = "shipped" if entry.cls is not None and name in entry.cls.demo_weights() else "-"
            assert any(row[:2] == [entry.name, name] and row[3] == demo and len(row) > 5 for row in rows), name
    assert any(row[:4] == ["X+sam2", "tracker", "yes", "shipped"] for row in rows)
    assert "drawn shapes alone: --weights NAME=demo" in shown and "demo_dcsam.safetensors" in shown


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = write_video_benchmark(tmp_path / "bench", videos=1, frames=2)
    weights = tmp_path / "sam.pt"
    weights.write_bytes(b"x")

    def broken(self: PerSam, **_: object) -> None:
        raise ModuleNotFoundError("No module named 'sam2'", name="sam2")

    monkeypatch.setattr(PerSam, "__init__", broken)
    words = ("--benchmark", bench, "--out", tmp_path / "r", "--weights", f"sam={weights}")
    assert icvos("evaluate", "--model", "persam", *words) == 2
    error = capsys.readouterr().err
    assert error == f"icvos: model 'persam' needs the package sam2; install it with: {install_command('sam')}\n"
