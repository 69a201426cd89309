"""Tables: printed figures, measured rows, marks, and every format of render."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from board_runs import build, icvos, run

from icvos import cli
from icvos.commands.show import summary_table
from icvos.errors import InputError, RunError
from icvos.leaderboard.board import read_board
from icvos.leaderboard.marks import MARKS, marks, seen_split
from icvos.leaderboard.published import BENCHMARKS, published_for, read_published
from icvos.leaderboard.record import write_record
from icvos.leaderboard.render_text import to_csv, to_latex, to_markdown, to_terminal
from icvos.leaderboard.summaries import fold_of, seen_summary, track_20i
from icvos.leaderboard.table import build_tables
from icvos.runs.run import CHECKED, Run, find_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    patch = pytest.MonkeyPatch()
    patch.setenv("ICVOS_HOME", str(root / "home"))
    benchmarks = build(root)
    for model in ("empty", "histogram"):
        run(benchmarks / "demo", root / "runs/demo" / model, model)
    run(benchmarks / "pascal-5i", root / "runs/pascal/histogram")
    run(benchmarks / "demo", root / "runs/limited", "full", "--limit-frames", 2)
    patch.undo()
    return root / "runs"


def changed(entry: Run, **model: Any) -> Run:
    return Run(
        {**entry.run, "model": {**entry.run["model"], **model}}, entry.result, entry.records, entry.checked, entry.where
    )


# --------------------------------------------------------------------------------------------------- printed figures


def test_every_printed_row_is_there() -> None:
    counts: dict[tuple[str, str], int] = {}
    for row in read_published():
        counts[row.table, row.benchmark] = counts.get((row.table, row.benchmark), 0) + 1
    assert counts == {
        ("II", "coco-20i"): 8,
        ("III", "coco-20i"): 19,
        ("III", "pascal-5i"): 19,
        ("IV", "ic-vos"): 8,
        ("IX", "pascal-5i"): 4,
        ("XII", "coco-20i-to-pascal-5i"): 9,
        ("XIII", "ic-vos"): 2,
        ("XIII", "lvos-v2"): 2,
        ("README", "coco-20i"): 2,
        ("README", "youtube-fsvos"): 10,
        ("README", "fss-1000"): 2,
        ("README", "lvis-92i-1shot"): 2,
    }


def test_printed_sums_agree_but_for_the_known_oddities() -> None:
    odd = []
    for row in read_published():
        if ("J", "all") in row.values:
            expected, tolerance = (row.values["J", "all"] + row.values["F", "all"]) / 2, 0.0101
            printed = row.values["J&F", "all"]
        elif ("mIoU", "fold-0") in row.values:
            folds = [value for (_, part), value in row.values.items() if part.startswith("fold-")]
            expected, tolerance = sum(folds) / len(folds), 0.0501
            printed = row.values["mIoU", "mean"]
        else:
            continue
        if abs(expected - printed) > tolerance:
            odd.append((row.table, row.method))
            assert row.notes
    assert odd == [("III", "PFENet"), ("IV", "Matcher + SAM2")]


def test_reference_rows_are_no_methods() -> None:
    kinds = {row.kind for row in published_for("ic-vos") if row.method.startswith("SAM2")}
    assert kinds == {"reference"}
    tables = build_tables([], benchmark="ic-vos")
    assert len(tables) == 2 and all(t.kind == "published" for t in tables)


@pytest.mark.parametrize("value", ["many", "nan", "101", "-1"])
def test_broken_printed_figure(tmp_path: Path, value: str) -> None:
    path = tmp_path / "p.csv"
    head = "benchmark,protocol,method,encoder,shots,metric,part,value,kind,source,table,note"
    path.write_text(f"{head}\nic-vos,paper,X,,1,J,all,{value},published,s,IV,\n")
    with pytest.raises(InputError, match="line 2"):
        read_published(path)


# ------------------------------------------------------------------------------------------------------ measured rows


def test_measured_and_printed_never_share_a_table(runs: Path) -> None:
    entries, problems = find_runs(runs)
    assert not problems and len(entries) == 4
    for table in build_tables(entries):
        names = {str(value) for row in table.rows for value in row}
        assert (table.kind == "measured") == bool(table.entries)
        assert not (table.kind == "published" and "histogram" in names)


def test_two_builds_of_one_name_are_told_apart_by_their_titles(runs: Path) -> None:
    entries = [entry for entry in find_runs(runs)[0] if not entry.image and not entry.not_ranked]
    (plain,) = build_tables(entries, published=False)
    assert "manifest" not in plain.title
    other = [
        replace(entry, result={**entry.result, "benchmark": {**entry.result["benchmark"], "manifest_sha256": "0" * 64}})
        for entry in entries
    ]
    titles = [table.title for table in build_tables([*entries, *other], published=False)]
    hashes = ["0" * 8, entries[0].result["benchmark"]["manifest_sha256"][:8]]
    assert titles == [f"{plain.title}, manifest {each}" for each in sorted(hashes)]


def test_table_of_a_newcomer(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("leaderboard", "show", "--runs", runs, "--benchmark", "demo-tiny") == 0
    shown = capsys.readouterr().out
    for word in ("model", "J&F", "vis", "absent", "fps", "histogram", "empty", "under 20 no interval"):
        assert word in shown
    # A limited run stands there without a rank, and the paper's figures are not of the demo.
    assert "limited" in shown and "DC-SAM" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_no_word_shows_measured_rows_and_names_the_printed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("leaderboard", "show", "--runs", runs) == 0
    shown = capsys.readouterr().out
    assert "histogram" in shown and "DC-SAM" not in shown
    assert "--published for all, --benchmark NAME for one of ic-vos, coco-20i" in shown.splitlines()[-1]
    for words in (("--published",), ("--benchmark", "ic-vos")):
        assert icvos("leaderboard", "show", "--runs", runs, *words) == 0
        assert "DC-SAM" in capsys.readouterr().out


def test_a_benchmarks_folder_shows_runs_on_that_very_benchmark(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    own = tmp_path / "own"
    shutil.copytree(runs.parent / "world/benchmarks/demo", own)
    assert icvos("leaderboard", "show", "--runs", runs, "--benchmark", own) == 0
    assert "histogram" in capsys.readouterr().out
    # One of the same name and another content.
    with (own / "manifest.csv").open("a") as stream:
        stream.write("x,1," + "0" * 64 + "\n")
    assert icvos("leaderboard", "show", "--runs", runs, "--benchmark", own) == 0
    shown = capsys.readouterr()
    assert "histogram" not in shown.out and "nothing is measured" in shown.err
    assert f"icvos evaluate --model histogram --benchmark {own} makes a first run" in shown.err


@pytest.mark.parametrize("name", [*BENCHMARKS, "demo", "demo-lvis-92i", "demo/lvis-92i"])
def test_what_is_said_to_make_a_first_run_can_be_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command that is named parses; what is known by its name alone is built first."""
    words = ("--runs", tmp_path, "--board", tmp_path, "--no-published")
    assert icvos("leaderboard", "show", *words, "--benchmark", name) == 0
    said = capsys.readouterr().err.partition("; ")[2].partition(" makes a first run")[0]
    commands = [shlex.split(each) for each in said.split(", then ")]
    built = name in BENCHMARKS
    assert [each[1] for each in commands] == ["build-data", "evaluate"][not built :]
    assert commands[-1][-1] == ("DIR" if built else name.replace("demo-", "demo/"))
    for _, *each in commands:
        command: Any = cli.icvos
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), each.pop(0))
        command.make_context(command.name, each)


def test_what_is_built_of_a_printed_benchmark_stands_with_it(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")

    def named(name: str) -> Run:
        return replace(entry, result={**entry.result, "benchmark": {**entry.result["benchmark"], "name": name}})

    entries = [named(name) for name in ("youtube-fsvos-1", "youtube-fsvos-2-danet-seed42", "coco2pascal", "coco-20i")]
    for name, count in (("youtube-fsvos", 2), ("youtube-fsvos-1", 1), ("coco-20i-to-pascal-5i", 1), ("coco-20i", 1)):
        assert len(build_tables(entries, benchmark=name, published=False)) == count, name


def test_figures_are_those_of_the_result(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    table = build_tables([entry], published=False)[0]
    row = dict(zip((c.head for c in table.columns), table.rows[0]))
    result = json.loads((runs / "demo/histogram/result.json").read_text())["summary"]
    assert (row["J"], row["F"], row["J&F"]) == (result["J"], result["F"], result["J&F"])
    assert row["J&F visible"] == (result["J_visible"] + result["F_visible"]) / 2


def test_broken_run_is_named_and_the_rest_shown(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.copytree(runs / "demo", tmp_path / "runs")
    (tmp_path / "runs/empty/result.json").write_text('{"schema": "icvos-result/1"')
    assert icvos("leaderboard", "show", "--runs", tmp_path / "runs", "--no-published") == 0
    captured = capsys.readouterr()
    assert "left out: JSON is broken" in captured.err and "histogram" in captured.out


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("leaderboard", "show", "--runs", tmp_path / "none") == 2
    assert "no such folder of runs" in capsys.readouterr().err
    assert icvos("leaderboard", "render", tmp_path / "table.docx") == 2
    assert "no known suffix" in capsys.readouterr().err
    with pytest.raises(RunError, match="no run here"):
        Run.open(tmp_path)


def test_a_board_keeps_one_file_for_each_name(runs: Path, tmp_path: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    names = ["a b", "a-b", "a_u20_b", "方法", "histogram+sam2", ".", "a@1"]
    for name in names:
        key = {**entry.run["key"], "model": name}
        model = {**entry.result["model"], "name": name}
        run = {**entry.run, "model": {**entry.run["model"], "name": name}, "key": key}
        write_record(
            tmp_path, Run(run, {**entry.result, "model": model}, entry.records, "not added", tmp_path), "self-reported"
        )
    assert sorted(e.model for e in read_board(tmp_path)[0]) == sorted(names)
    assert (tmp_path / "demo-tiny/native/histogram+sam2@1.json").is_file()
    copy = tmp_path / "demo-tiny/native/copy.json"
    shutil.copy(tmp_path / "demo-tiny/native/histogram+sam2@1.json", copy)
    # The one in its place stays, and the other is named.
    entries, (line,) = read_board(tmp_path)
    assert sorted(e.model for e in entries) == sorted(names)
    assert line.startswith(f"{copy}: histogram+sam2 1 stands on the board twice, and ")
    assert [e.where for e in entries if e.model == "histogram+sam2"] == [copy.with_name("histogram+sam2@1.json")]


def variant(entry: Run, name: str, seed: int = 0, **options: Any) -> Run:
    new = changed(entry, options=options)
    run = {**new.run, "key": {**new.run["key"], "seed": seed}}
    return Run(run, new.result, new.records, new.checked, Path(name))


def test_labels_say_what_differs_and_no_more(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")

    def labels(*entries: Run) -> set[Any]:
        return {row[1] for row in build_tables(entries, published=False)[0].rows}

    first = variant(entry, "a", bins=16, blur=9)
    assert labels(first) == {"histogram"}
    other = variant(entry, "b", bins=32, blur=9)
    assert labels(first, other) == {"histogram bins=16", "histogram bins=32"}
    seeds = variant(entry, "c", 1, bins=16, blur=9)
    assert labels(first, seeds) == {"histogram seed=0", "histogram seed=1"}
    expected = {"histogram bins=16, seed=0", "histogram bins=16, seed=1", "histogram bins=32"}
    assert labels(first, other, seeds) == expected
    # Of nothing that is known do these differ: their folders tell them apart.
    assert labels(first, variant(entry, "d", bins=16, blur=9)) == {"histogram a", "histogram d"}
    # The file of a record says the name itself.
    record = variant(entry, "histogram@1.json", bins=16, blur=9)
    assert labels(first, record) == {"histogram a", "histogram@1.json"}
    assert labels(first, record, other) == {"histogram bins=16, a", "histogram@1.json bins=16", "histogram bins=32"}
    newer = Run(
        other.run,
        {**other.result, "model": {"name": "histogram", "version": "2"}},
        other.records,
        other.checked,
        other.where,
    )
    assert labels(first, newer) == {"histogram 1", "histogram 2"}


@pytest.mark.parametrize("width", [80, 60, 50])
def test_figures_are_never_cut(runs: Path, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    entry = Run.open(runs / "demo/histogram")
    entries = [variant(entry, name, weights=f"a-long-name-of-weights-{name}" * 2) for name in "ab"]
    table = build_tables(entries, published=False)[0]
    to_terminal([table], width=width)
    shown = capsys.readouterr().out
    assert "…" not in shown and max(map(len, shown.splitlines())) <= width
    for column, value in zip(table.columns, table.rows[0]):
        if column.head in ("J", "F", "J&F"):
            assert shown.split().count(f"{value:.2f}") >= 2


# -------------------------------------------------------------------------------------------------- marks, summaries


def test_marks_from_what_is_declared(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    assert marks(entry) == ()
    name = next(iter(entry.result["per_category"]))
    assert marks(changed(entry, training_categories=[name])) == ("C",)
    assert marks(changed(entry, training_data=["coco2014:train"])) == ("I",)
    assert marks(changed(entry, training_data=["davis2017:train"])) == ("V",)
    assert marks(changed(entry, access="lookahead:2")) == ("L",)
    assert marks(changed(entry, access="offline")) == ("O",)
    for use, mark in (("text", "T"), ("class-names", "N"), ("first-frame", "G")):
        assert marks(changed(entry, uses=[use])) == (mark,)
    assert marks(changed(entry, dtype="bfloat16")) == marks(changed(entry, autocast="bfloat16")) == ("P",)
    assert marks(changed(entry, dtype=None)) == ()
    assert all(len(mark) == 1 for mark in MARKS)
    table = build_tables([changed(entry, access="offline", uses=["text"])], published=False)[0]
    assert [note for note in table.notes if ": " in note[:3]] == [f"{mark}: {MARKS[mark]}" for mark in "OT"]


@pytest.mark.parametrize("checked", CHECKED[1:])
def test_fps_of_a_record_is_marked_as_its_own_claim(runs: Path, checked: str) -> None:
    entry = Run.open(runs / "demo/histogram")
    record = Run(entry.run, entry.result, entry.records, checked, entry.where)
    assert entry.fps is not None and marks(entry) == () and marks(record) == ("S",)
    untimed = Run({**entry.run, "fps": None}, entry.result, entry.records, checked, entry.where)
    assert marks(untimed) == ()


def test_backends_are_named_where_rows_differ(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    assert entry.run["model"]["backend"].startswith("opencv ") and entry.run["model"]["autocast"] is None
    rows = [changed(entry, backend=name) for name in ("torch 2.15.0", "opencv 4.12", "torch 2.15.0")]
    note = "computed with opencv 4.12 (1 row), torch 2.15.0 (2 rows)"
    assert note in build_tables(rows, published=False, intervals=False)[0].notes
    assert not any("computed with" in note for note in build_tables(rows[:1], published=False)[0].notes)


@pytest.mark.parametrize("limit", [{"limit_episodes": 2}, {"limit_frames": 2}, {"shard": "1/2"}])
def test_a_part_never_sorts_above_the_whole(
    runs: Path, limit: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not above a whole run that is not ranked either, as one of which an episode failed."""
    entry = Run.open(runs / "demo/histogram")
    failed = Run(entry.run, {**entry.result, "summary": {**entry.summary, "failed": 1, "J&F": 1.0}}, (), "", Path("a"))
    protocol = {**entry.result["protocol"], **{name: limit[name] for name in limit if name != "shard"}}
    run_json = {**entry.run, "key": {**entry.run["key"], **limit}}
    part = Run(run_json, {**entry.result, "protocol": protocol}, entry.records, "not added", Path("b"))
    assert part.limited and not entry.limited and part.score > failed.score
    summary_table([part, failed])
    rows = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("histogram ") or line.startswith(" histogram ")
    ]
    assert [line.split()[-1] for line in rows] == ["1", "0"]  # failed
    table = build_tables([part, failed], published=False)[0]
    assert [e.limited for e in table.entries] == [False, True]


def test_synonyms_are_one_category(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    result = {**entry.result, "per_category": {"motorcycle": {}, "dog": {}}}
    fake = Run(entry.run, result, (), "not added", entry.where)
    assert seen_split(changed(fake, training_categories=["motorbike"])) == (["motorcycle"], ["dog"])


def test_seen_and_unseen_and_folds_cover_all_pairs(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    pairs = len({(r["video"], r["category"]) for r in entry.records})
    names = list(entry.result["per_category"])
    split = seen_summary(changed(entry, training_categories=names[:2]))
    assert [row[0] for row in split] == ["seen", "unseen"] and sum(row[1] for row in split) == pairs
    whole = seen_summary(changed(entry, training_categories=names))
    assert whole[0][2] == pytest.approx(entry.score)
    assert sum(row[1] for row in track_20i(entry)) == pairs


@pytest.mark.parametrize(("name", "fold"), [("person", 0), ("bicycle", 1), ("car", 2), ("toothbrush", 3)])
def test_fold_of_coco_20i(name: str, fold: int) -> None:
    assert fold_of(name) == fold


# ------------------------------------------------------------------------------------------------------- all formats


def test_markdown_is_well_formed(runs: Path) -> None:
    tables = build_tables(find_runs(runs)[0])
    text = to_markdown(tables)
    for block in text.split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1
    assert "| DC-SAM" in text and "printed 20.44" in text


def test_csv_holds_full_precision(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    rows = list(csv.DictReader(io.StringIO(to_csv(build_tables([entry], published=False)))))
    value = next(row["value"] for row in rows if row["column"] == "J&F")
    assert float(value) == entry.score


def test_latex_escapes(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    evil = Run(
        entry.run,
        {**entry.result, "model": {"name": r"a_b & \input{x} 50%", "version": "1"}},
        entry.records,
        "not added",
        entry.where,
    )
    text = to_latex(build_tables([evil], published=False))
    assert r"a\_b \& \textbackslash{}input\{x\} 50\%" in text and "\\bottomrule" in text


def test_hostile_names_stay_text(runs: Path) -> None:
    entry = Run.open(runs / "demo/histogram")
    evil = Run(
        entry.run,
        {**entry.result, "model": {"name": "=cmd|' /C calc'!A0", "version": "1"}},
        entry.records,
        "not added",
        entry.where,
    )
    tables = build_tables([evil], published=False)
    assert "\\|" in to_markdown(tables)
    assert not any(cell.startswith("=") for row in csv.reader(io.StringIO(to_csv(tables))) for cell in row)


@pytest.mark.parametrize("suffix", ["md", "csv", "tex", "html"])
def test_render_is_deterministic(runs: Path, tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        assert icvos("leaderboard", "render", tmp_path / f"{name}.{suffix}", "--runs", runs) == 0
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_reported_and_checked_figures_stand_apart(runs: Path) -> None:
    first, second = Run.open(runs / "demo/histogram"), Run.open(runs / "demo/empty")
    reported = Run(first.run, first.result, first.records, "self-reported", first.where)
    checked = [
        Run(e.run, e.result, e.records, how, e.where)
        for e, how in ((second, "masks re-scored"), (first, "reproduced by maintainer"))
    ]
    tables = build_tables([reported, *checked], published=False)
    assert [{entry.checked for entry in table.entries} for table in tables] == [
        {"masks re-scored", "reproduced by maintainer"},
        {"self-reported"},
    ]
    assert "as reported" in tables[1].title and tables[1].standings[0].text == "1"


def spoil_records(path: Path) -> None:
    (path / "episodes.jsonl").unlink()


SPOILT = {
    "pipe": lambda path: (spoil_records(path), os.mkfifo(path / "episodes.jsonl")),
    "folder": lambda path: (spoil_records(path), (path / "episodes.jsonl").mkdir()),
    "loop": lambda path: (spoil_records(path), (path / "episodes.jsonl").symlink_to("episodes.jsonl")),
    "device": lambda path: (spoil_records(path), (path / "episodes.jsonl").symlink_to("/dev/zero")),
    "bytes": lambda path: (path / "episodes.jsonl").write_bytes(b"\xff\xfe\0\n" * 9),
    "digits": lambda path: (path / "episodes.jsonl").write_text('{"id": ' + "9" * 5000 + "}\n"),
    "infinity": lambda path: (path / "episodes.jsonl").write_text('{"id": "a", "J": 1e999, "F": Infinity}\n'),
    "depth": lambda path: (path / "result.json").write_text("[" * 100_000),
    "result": lambda path: (path / "result.json").write_text('{"schema": 1e999}'),
    "run": lambda path: (path / "run.json").write_bytes(b"\0" * 100),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_broken_run_is_named_and_left_out_and_the_others_are_shown(runs, tmp_path, capsys, spoil) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    whole = find_runs(runs)[0]
    broken = next(path for path in sorted((tmp_path / "runs").rglob("run.json"))).parent
    SPOILT[spoil](broken)
    signal.alarm(60)
    entries, problems = find_runs(tmp_path / "runs")
    with pytest.raises(SystemExit) as stop:
        cli.main(["leaderboard", "show", "--runs", str(tmp_path / "runs")])
    signal.alarm(0)
    assert len(entries) == len(whole) - 1 and len(problems) == 1 and str(broken) in problems[0]
    said = capsys.readouterr()
    assert not stop.value.code and str(broken) in said.out + said.err and "\n\n\n" not in said.err
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", str(broken), str(entries[0].where)])
    line = capsys.readouterr().err
    assert stop.value.code == 2 and line.count("\n") == 1 and "unexpected" not in line
