"""Tables on terminals of every width: figures are whole, words wrap, and what is left out is named."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from board_runs import icvos
from hypothesis import example, given
from hypothesis import strategies as st
from run_models import RED, write_model
from tiny import write_image_benchmark, write_video_benchmark

from icvos import cli
from icvos.commands.show import number, summary_table
from icvos.errors import LONGEST, LONGEST_WORD, IcvosError, in_words, printable, shortened
from icvos.metrics.table import metrics_in
from icvos.models.needs import all_needs
from icvos.progress import Meter, Update
from icvos.runs.run import Run
from icvos.terminal import Column, echo, print_table

COLUMNS = [Column.words("model"), Column("J"), Column("J&F"), Column("J visible"), Column("fps")]
LONG = "a-method-of-a-long-name+sam2@first-found"
ROWS = [(LONG, "100.00", "12.34", "56.78", "1234"), ("b", "1.00", "2.00", "-", "9")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run on videos and one on images."""
    root = tmp_path_factory.mktemp("runs")
    video, image = write_video_benchmark(root / "video"), write_image_benchmark(root / "image")
    method = write_model(root / "method", RED)
    assert icvos("evaluate", "--model", method, "--benchmark", video, "--out", root / "red") == 0
    assert icvos("evaluate", "--model", "histogram", "--benchmark", image, "--out", root / "histogram") == 0
    return [root / "red", root / "histogram"]


@pytest.mark.parametrize("width", [20, 60, 80, 120, None])
def test_a_summary_keeps_its_figures(
    runs: list[Path], width: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    for folder in runs:
        run = Run.open(folder)
        summary_table([run])
        shown = capsys.readouterr().out
        assert "…" not in shown
        table = [line for line in shown.splitlines() if line.startswith(" ") and "  too" not in line]
        missing = next((line for line in shown.replace("\n", " ").split("too narrow for: ")[1:]), "").split(", ")
        for metric in metrics_in("summary", run.kind):
            head = metric.brief or metric.label
            value = run.summary[metric.name]
            assert number(value) in shown.split() or head in [word.strip() for word in missing]
            # What boards are ranked by stays.
            assert not metric.ranked or number(value) in shown.split()
        if width is None or width > 60:
            assert "too narrow" not in shown
        assert width is None or width == 20 or max(map(len, table)) <= width


def test_what_is_least_goes_first_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS, leave_out=("fps", "J visible"), width=66)
    shown = capsys.readouterr().out
    assert "too narrow for: fps" in shown and "1234" not in shown and "56.78" in shown and "J visible" not in shown
    # With room for all of it, heads stand in one line.
    print_table(COLUMNS, ROWS, leave_out=("fps", "J visible"), width=76)
    shown = capsys.readouterr().out
    assert "too narrow" not in shown and "J&F  J visible   fps" in shown
    # All that may go is gone: the words wrap, whole.
    print_table(COLUMNS, ROWS, leave_out=("fps", "J visible"), width=40)
    shown = capsys.readouterr().out
    assert "too narrow for: J visible, fps" in shown and "100.00" in shown and "12.34" in shown
    words = "".join(line.split()[0] for line in shown.splitlines()[3:] if line.strip())
    assert words.startswith(LONG)
    assert max(map(len, shown.splitlines())) <= 40


NAME = f"{'n' * 70}{'m' * 80}"


def of_name(shown: str) -> str:
    """What is shown of NAME, its lines joined; ``n`` alone is a head."""
    return "".join(word for word in shown.split() if set(word) <= set("nm…") and word != "n")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_names_lose_their_middle_before_a_figure_goes(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(NAME, *ROWS[0][1:]), *ROWS]
    print_table([Column.of_names("model"), *COLUMNS[1:]], rows, leave_out=("fps", "J visible"), width=width)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert of_name("\n".join(lines)) == f"{'n' * 39}…{'m' * 40}"
    assert LONG in "".join(line.split()[0] for line in lines if line.strip())
    assert all(any(figure in line for line in lines) for figure in ("100.00", "12.34"))
    assert max(map(len, lines)) <= width and ("too narrow" in "".join(lines)) == (width < 100)


def test_names_are_whole_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for width in (200, None):
        print_table([Column.of_names("model"), Column("J")], [(NAME, "1.00")], width=width)
        assert f"{NAME}  1.00" in capsys.readouterr().out
    # Sentences are no names.
    print_table([Column.words("what to do"), Column("J")], [(NAME, "1.00")], width=80)
    assert "…" not in capsys.readouterr().out


def test_every_table_cuts_long_names(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    model = write_model(tmp_path / "method", RED.replace('name="red"', f'name="{NAME}"'))
    benchmark = Run.open(runs[0]).run["environment"]["benchmark_folder"]
    capsys.readouterr()
    assert icvos("evaluate", "--model", model, "--benchmark", benchmark, "--out", tmp_path / "long") == 0
    tables = [capsys.readouterr().out]
    assert icvos("leaderboard", "show", "--runs", tmp_path) == 0
    tables.append(capsys.readouterr().out)
    histogram = next(needs for needs in all_needs() if needs.name == "histogram")
    monkeypatch.setattr("icvos.models.needs.all_needs", lambda: [replace(histogram, name=NAME)])
    assert icvos("models", "list") == 0
    tables.append(capsys.readouterr().out.partition("\n(weights)")[0])
    for shown in tables:
        (table,) = [part for part in shown.split("\n\n") if "───" in part]
        assert of_name(table) == f"{'n' * 39}…{'m' * 40}"
        assert max(len(line) for line in table.splitlines() if line.startswith(" ")) <= 80


def test_the_ladder_keeps_its_figures_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        cli.main(["reproduce"])
    lines = capsys.readouterr().out.splitlines()
    assert not stop.value.code and max(map(len, lines[:-1])) <= 80
    assert all(head in lines[2] for head in ("rung", "what", "printed", "tolerance", "GPU-hours"))
    assert "  too narrow for: figure, needs" in lines


def test_no_figure_is_cut_where_there_is_no_room_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS, width=5)
    shown = capsys.readouterr().out
    assert all(figure in shown for row in ROWS for figure in row[1:])


def test_a_file_has_no_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    columns = [Column.words("model"), *(Column(f"figure {i}") for i in range(40))]
    print_table(columns, [("m", *(f"{i}.25" for i in range(40)))], leave_out=[c.head for c in columns])
    shown = capsys.readouterr().out
    assert "too narrow" not in shown and all(f" {i}.25" in shown for i in range(40))


def test_markup_in_a_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column.words("model"), Column("J")], [("[red]x[/]", "1.00")], title="[b]t", width=80)
    shown = capsys.readouterr().out
    assert "[red]x[/]" in shown and "[b]t" in shown


@given(st.text(st.characters(), max_size=60))
@example("\x1b[2J\x1b]0;title\x07 \u202egnp \x9b1m \ud800 \u2028")
def test_what_is_printed_moves_no_terminal(text: str) -> None:
    clean = printable(text)
    assert len(clean) == len(text) and printable(clean) == clean
    assert not {unicodedata.category(letter) for letter in clean} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(clean) & set("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert printable(text, cut=10) == printable(text if len(text) <= 10 else f"{text[:9]}…")


def test_errors_commands_tables_and_progress_print_no_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b[2J\x07\u202eb"
    echo(hostile)
    echo(hostile, err=True)
    print_table([Column(hostile)], [[hostile]], title=hostile, notes=[hostile])
    out, err = capsys.readouterr()
    meter = Meter()
    meter.add(Update("frames", 1, 2, figures=hostile))
    for text in (out, err, str(IcvosError(hostile, where=hostile, fix=hostile)), meter.line(hostile, 200)):
        assert not set("\x1b\x07\u202e") & set(text) and "a\ufffd[2J" in text


def test_overlong_texts_in_errors_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(str(IcvosError("x " * 10**6))) == LONGEST
    long = "a" * 5000 + "/z"
    cut = f"{'a' * 149}…{'a' * 148}/z"
    assert shortened(long, LONGEST_WORD) == cut and len(cut) == LONGEST_WORD
    assert str(IcvosError(f"no model '{long}'", where=long)) == f"no model '{'a' * 148}…{'a' * 147}/z'; in {cut}"
    assert in_words([long, "b c"]) == f"'{cut}', 'b c'"
    # A value of many words is as long.
    assert len(in_words("b " * 5000)) == LONGEST_WORD + 2
    # A file that the system refuses, and an option that click does.
    assert icvos("show", long) == 2 and icvos("show", "x", "--worst", "b " * 5000) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"icvos: File name too long in {cut}"
    assert len(second) < LONGEST + 60 and second.endswith("; see 'icvos show --help'")


def test_everything_is_printed_in_one_place() -> None:
    """``terminal`` cleans what it prints; the others have their reasons beside them."""
    root = Path(__file__).parents[1]
    prints = re.compile(r"click\.echo\(|(?<![\w.])print[(,]|sys\.std(out|err)\.write\(")
    own = {
        path.relative_to(root / "icvos").as_posix()
        for path in (root / "icvos").rglob("*.py")
        if prints.search(path.read_text(encoding="utf-8"))
    }
    # cli, errors and train clean a line of their own; the demo says again what a command has said.
    assert own == {"terminal.py", "cli.py", "errors.py", "commands/train.py", "commands/demo.py"}
