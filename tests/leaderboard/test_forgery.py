"""Submissions altered at random: what is refused is refused in one line, and of what is accepted every figure of the
record, the tables, the page and the comparison is what the masks (or the episodes) give, computed here by other code.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from board_runs import icvos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import write_image_benchmark, write_video_benchmark

from icvos import Benchmark, IcvosError, evaluate, load_benchmark
from icvos.leaderboard.archive import pack
from icvos.leaderboard.board import read_board
from icvos.leaderboard.render_html import to_html
from icvos.leaderboard.table import build_tables
from icvos.leaderboard.verify import verify_board
from icvos.masks import decode_mask, encode_mask
from icvos.metrics import jf
from icvos.metrics.formulas import decay
from icvos.report.compare import compare
from icvos.report.run import ReportRun
from icvos.runs.run import Run

Files = dict[str, bytes]
Row = dict[str, Any]
TABLES = ("per_category", "per_source", "per_video", "per_draw", "per_fold")
FIGURES = ("J", "F", "J_visible", "F_visible", "absent_correct", "J_recall", "F_recall", "J_decay", "F_decay")
FIGURES += ("disappear", "reappear")


@dataclass(frozen=True, repr=False)
class World:
    """A benchmark, the files of an honest submission of it, and a place for boards."""

    root: Path
    benchmark: Benchmark
    files: Files

    def __repr__(self) -> str:
        return f"World({self.benchmark.name})"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    made = {}
    for kind, write in (("video", write_video_benchmark), ("image", write_image_benchmark)):
        root = tmp_path_factory.mktemp(kind)
        benchmark = write(root / "bench")
        for name, bins in (("good", 16), ("other", 4)):
            options = {"bins": bins}
            evaluate("histogram", benchmark, out=root / name, options=options, save_masks=True, verify=False)
        pack(root / "good", root / "good.zip", submitter="Ada")
        assert add(root / "other", root / "others", benchmark)[0] == 0
        with zipfile.ZipFile(root / "good.zip") as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        made[kind] = World(root, load_benchmark(benchmark), files)
    return made


def add(run: Path, board: Path, benchmark: Path, *words: str) -> tuple[int, str]:
    """Add to a board, and return the exit status and what was said of errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = icvos("leaderboard", "add", run, "--board", board, "--benchmark", benchmark, *words)
    return status, err.getvalue()


def write(path: Path, files: Files) -> Path:
    """Write an archive with its list made anew, as a careful forger would; a list that is none stays as it is."""
    rows = [
        {"path": n, "bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()}
        for n, d in files.items()
        if n != "submission.json"
    ]
    listed = {}
    with contextlib.suppress(ValueError):
        listed = {"submission.json": json.dumps({**json.loads(files["submission.json"]), "files": rows}).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **listed}.items():
            archive.writestr(name, data)
    return path


# ----------------------------------------------------------------------------------------------- computed by other code


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def scored(world: World, files: Files) -> dict[str, Row]:
    """Return each episode's figures: of its masks where the submission has masks, else as its last line says."""
    stated = {}
    for line in files["episodes.jsonl"].split(b"\n"):
        if line.strip():
            row = json.loads(line)
            stated[row["id"]] = row
    if not any(name.startswith("masks/") for name in files):
        return stated
    return {name: {**stated[name], **of_masks(world.benchmark, files, name)} for name in stated}


def of_masks(benchmark: Benchmark, files: Files, name: str) -> Row:
    episode = next(e for e in benchmark.episodes if e.id == name)
    if benchmark.kind == "image":
        _, truth, ignore = benchmark.query(episode)
        mask = decode_mask(files[f"masks/{name}/00000.png"], name) != 0
        known = ~ignore
        both = int((mask & truth & known).sum()), int(((mask | truth) & known).sum())
        return {
            "inter_fg": both[0],
            "union_fg": both[1],
            "inter_bg": int(known.sum()) - both[1],
            "union_bg": int(known.sum()) - both[0],
        }
    j, f, visible, correct = [], [], [], []
    for index in range(benchmark.videos[episode.video].frames):
        truth = benchmark.annotation(episode.video, episode.category, index)
        mask = decode_mask(files[f"masks/{name}/{index:05d}.png"], name) != 0
        union = (mask | truth).sum()
        j.append(float((mask & truth).sum() / union) if union else 1.0)
        f.append(jf(mask, truth)[1])
        visible.append(bool(truth.any()))
        correct += [] if visible[-1] else [float(not mask.any())]
    row: Row = {"absent_correct": 100 * fmean(correct) if correct else None, "visible_frames": sum(visible)}
    for letter, values in (("J", j), ("F", f)):
        seen = [value for value, there in zip(values, visible) if there]
        row[letter], row[f"{letter}_visible"] = 100 * fmean(values), 100 * fmean(seen)
        row[f"{letter}_recall"] = 100 * float(np.mean(np.array(values) > 0.5))
        row[f"{letter}_decay"] = 100 * (decay(values) or 0.0)
    runs = [list(frames) for _, frames in groupby(range(len(visible)), key=visible.__getitem__)]
    gone = [50 * fmean(j[i] + f[i] for i in run) for run in runs if not visible[run[0]]]
    back = [50 * fmean(j[i] + f[i] for i in run) for run in runs[1:] if visible[run[0]]]
    row |= {"disappear": fmean(gone) if gone else None, "reappear": fmean(back) if back else None}
    return row


def means(rows: Sequence[Row]) -> Row:
    draws = [[row for row in rows if row["draw"] == draw] for draw in sorted({row["draw"] for row in rows})]
    out = {name: mean([mean([row.get(name) for row in draw]) for draw in draws]) for name in FIGURES}
    return {**out, "J&F": (out["J"] + out["F"]) / 2, "episodes": len(rows)}


def tables(world: World, rows: dict[str, Row]) -> dict[str, dict[str, Row]]:
    """Return the summary and every table, from the rows and the benchmark's tables alone."""
    benchmark = world.benchmark
    if benchmark.kind == "image":
        return image_tables(benchmark, rows)
    known = [
        {**rows[e.id], "draw": e.draw, "of": (e.category_name, benchmark.videos[e.video].source, e.video, str(e.draw))}
        for e in benchmark.episodes
    ]
    out = {
        part: {key: means([r for r in known if r["of"][n] == key]) for key in {row["of"][n] for row in known}}
        for n, part in enumerate(TABLES[:4])
    }
    by_category = mean([row["J&F"] for row in out["per_category"].values()])
    return {**out, "summary": {**means(known), "J&F_by_category": by_category, "failed": 0}}


def image_tables(benchmark: Benchmark, rows: dict[str, Row]) -> dict[str, dict[str, Row]]:
    per_fold: dict[str, Row] = {}
    per_category: dict[str, Row] = {}
    every = []
    episodes = [e for e in benchmark.episodes if e.protocol == "fss-native"]
    for fold, numbers in benchmark.header["folds"].items():
        mine = [e for e in episodes if e.fold == int(fold)]
        sums = {}
        for number in sorted({e.category for e in mine}):
            counts = [[rows[e.id][c] for e in mine if e.category == number] for c in ("inter_fg", "union_fg")]
            sums[number] = 100 * sum(counts[0]) / max(sum(counts[1]), 1)
            name = next(e.category_name for e in mine if e.category == number)
            per_category[name] = {"mIoU": sums[number], "fold": int(fold)}
        ious = [100 * rows[e.id]["inter_fg"] / rows[e.id]["union_fg"] if rows[e.id]["union_fg"] else 100 for e in mine]
        every += ious
        added = [sum(rows[e.id][c] for e in mine) for c in ("inter_fg", "union_fg", "inter_bg", "union_bg")]
        per_fold[fold] = {
            "mIoU": fmean(sums.values()),
            "mIoU_drawn": fmean(sums.values()),
            "mIoU_undrawn_as_0": sum(sums.values()) / len(numbers),
            "FB_IoU": 50 * (added[0] / max(added[1], 1) + added[2] / max(added[3], 1)),
            "mean_IoU": fmean(ious),
            "undrawn": sorted(set(numbers) - set(sums)),
        }
    names = ("mIoU", "mIoU_drawn", "mIoU_undrawn_as_0", "FB_IoU")
    summary = {name: fmean(row[name] for row in per_fold.values()) for name in names}
    summary |= {"mean_IoU": fmean(every), "episodes": len(episodes), "failed": 0}
    empty: dict[str, dict[str, Row]] = {part: {} for part in TABLES[1:4]}
    return {**empty, "per_category": per_category, "per_fold": per_fold, "summary": summary}


def close(one: Any, other: Any, tolerance: float = 1e-8) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key], tolerance) for key in one)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=0, abs_tol=tolerance)
    return bool(one == other)


def without_none(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


# ----------------------------------------------------------------------------------------------------- what is accepted


def judge_accepted(world: World, board: Path, files: Files) -> None:
    """Every figure that a board shows of a record is the one computed here."""
    rows = scored(world, files)
    expected = tables(world, rows)
    (entry,), problems = read_board(board)
    assert not problems
    benchmark, kind = world.benchmark, world.benchmark.kind
    header = entry.result["benchmark"]
    assert (header["name"], header["version"]) == (benchmark.name, benchmark.version)
    assert header["manifest_sha256"] == benchmark.manifest_sha256 == entry.run["benchmark"]["manifest_sha256"]
    assert entry.run["benchmark"]["name"] == benchmark.name and "benchmark_folder" not in entry.run["environment"]
    for part, table in expected.items():
        found = entry.result[part]
        assert close(without_none(found), without_none(table)) if part == "summary" else close(found, table), part
    assert set(entry.result) == {"schema", "model", "benchmark", "protocol", "summary", *expected}
    names = FIGURES if kind == "video" else ("inter_fg", "union_fg", "inter_bg", "union_bg")
    assert [row["id"] for row in entry.records] == sorted(rows)
    for row in entry.records:
        episode = next(e for e in benchmark.episodes if e.id == row["id"])
        assert all(close(row.get(name), rows[row["id"]].get(name)) for name in names)
        place = (row["query" if kind == "image" else "video"], row["category"], row["category_name"])
        assert place == (episode.video, episode.category, episode.category_name)
        assert not ({"error", "traceback", *("inter_fg" if kind == "video" else "JF")} & row.keys())
    (table,) = build_tables([entry], published=False)
    assert table.title.startswith(f"{benchmark.name} {benchmark.version}, protocol {entry.protocol}")
    shown = dict(zip((column.head for column in table.columns), table.rows[0]))
    summary = expected["summary"]
    heads = {
        "video": {"J&F": "J&F", "J": "J", "F": "F", "absent correct": "absent_correct"},
        "image": {"mIoU": "mIoU", "FB-IoU": "FB_IoU", "mean IoU": "mean_IoU"},
    }
    for head, name in heads[kind].items():
        assert close(shown[head], summary[name]), head
    assert shown["n"] == len(rows) and close(shown["fps"], frames_a_second(world, rows))
    page = json.loads(to_html([table]).split('id="data">')[1].split("</script>")[0])
    of_table, texts = page["tables"][0], page["texts"]
    row, ranked = of_table["entries"][0], "J&F" if kind == "video" else "mIoU"
    assert close(row["score"], summary[ranked], 1e-4) and close(row["fps"], shown["fps"])
    for name, part in (("categories", "per_category"), ("videos", "per_video")):
        figures = dict(zip(of_table[name], row[name], strict=True))
        assert close(figures, {key: each[ranked] for key, each in expected[part].items()}, 1e-2)
    found = {texts[title]: {texts[key]: value for key, *_, value in rows} for title, rows in row["tables"]}
    for title, part in (("By source", "per_source"), ("By draw", "per_draw"), ("By fold", "per_fold")):
        assert close(found[title], {key: each[ranked] for key, each in expected.get(part, {}).items()}, 1e-4)
    (other,), _ = read_board(world.root / "others")
    both = compare(*(ReportRun(**{f.name: getattr(run, f.name) for f in fields(Run)}) for run in (entry, other)))
    for name, first, *_ in both.metrics:
        assert close(first, summary.get(name)), name
    for pairs, part in ((both.by_video, "per_video"), (both.by_category, "per_category")):
        for name, first, *_ in pairs:
            assert close(first, expected[part][name][ranked]) or kind == "image", name
    (finding,) = verify_board(board, benchmarks=[benchmark.root])
    assert finding.problem == ""


def frames_a_second(world: World, rows: dict[str, Row]) -> float | None:
    """Return the speed that the rows say: of the first episode of each video, or of a query's prediction."""
    if world.benchmark.kind == "image":
        seconds = [rows[e]["seconds"] for e in rows if rows[e].get("seconds")]
        return len(seconds) / sum(seconds) if seconds else None
    first: dict[str, tuple[int, float]] = {}
    for episode in world.benchmark.episodes:
        row = rows[episode.id]
        if row.get("fps"):
            first.setdefault(episode.video, (row["frames"], row["fps"]))
    seconds = sum(frames / fps for frames, fps in first.values())
    return sum(frames for frames, _ in first.values()) / seconds if seconds else None


# ---------------------------------------------------------------------------------------------------------- alterations

JUNK = [None, True, False, 0, 1, -1, -3, 100, 100.0, 99.5, 1e300, -0.0, 5e-324, 2**63, 10**40, "90", "1e999", "", "x"]
JUNK += [
    "demo",
    "ic-vos",
    "1.0",
    "native",
    "paper",
    "fss-paper",
    "a" * 30_000,
    "\ud800",
    "\u202e",
    [],
    [1],
    {},
    {"J": 100.0},
]
KEYS = ["J", "F", "J&F", "mIoU", "undrawn", "extra", "summary", "per_category", "per_fold", "fps", "error", "traceback"]
KEYS += [
    "inter_fg",
    "union_fg",
    "category_name",
    "video",
    "name",
    "limit_episodes",
    "oracle",
    "benchmark_folder",
    "0",
    "",
]


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value within, tables and leaves."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*before, key)
        yield from places(each, (*before, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def rows_of(files: Files) -> list[Row]:
    return [json.loads(line) for line in files["episodes.jsonl"].splitlines()]


def set_rows(files: Files, rows: Sequence[Row]) -> None:
    files["episodes.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()


def load(files: Files, name: str) -> Any:
    return rows_of(files) if name == "episodes.jsonl" else json.loads(files[name])


def store(files: Files, name: str, value: Any) -> None:
    if name == "episodes.jsonl":
        set_rows(files, value)
    else:
        files[name] = json.dumps(value).encode()


TEXTS = st.sampled_from(["run.json", "result.json", "result.json", "episodes.jsonl", "submission.json"])


def change(files: Files, draw: Callable[..., Any]) -> None:
    """Put another value at a place, take it away, or put a new key beside it."""
    name = draw(TEXTS)
    value = load(files, name)
    path = draw(st.sampled_from(list(places(value))))
    how, table = draw(st.sampled_from(["set", "set", "drop", "add"])), at(value, path[:-1])
    if how == "set":
        table[path[-1]] = draw(st.sampled_from(JUNK) | st.floats(allow_nan=False, allow_infinity=False))
    elif how == "drop":
        del table[path[-1]]
    elif isinstance(table, dict):
        table[draw(st.sampled_from(KEYS))] = draw(st.sampled_from(JUNK))
    store(files, name, value)


def hundred(files: Files, draw: Callable[..., Any]) -> None:
    """All figures of a table become 100, with a row more or less, which once hid them from being compared."""
    result = load(files, "result.json")
    table = result.setdefault(draw(st.sampled_from(TABLES)), {})
    for row in table.values():
        row |= {name: 100.0 for name in row if name not in ("episodes", "fold", "undrawn")}
    if draw(st.booleans()):
        table["more"] = {"J": 100.0, "F": 100.0, "J&F": 100.0, "mIoU": 100.0, "episodes": 1}
    elif table:
        table.pop(draw(st.sampled_from(sorted(table))))
    store(files, "result.json", result)


def one_figure(files: Files, draw: Callable[..., Any]) -> None:
    """One figure of one row changes in the last digit, a little, or much."""
    name = draw(st.sampled_from(["episodes.jsonl", "result.json"]))
    value = load(files, name)
    numbers = [path for path in places(value) if type(at(value, path)) in (int, float)]
    path = draw(st.sampled_from(numbers))
    at(value, path[:-1])[path[-1]] += draw(st.sampled_from([1e-12, 1e-10, 1e-7, 1, -1]))
    store(files, name, value)


def other_benchmark(files: Files, draw: Callable[..., Any]) -> None:
    run, result = load(files, "run.json"), load(files, "result.json")
    name, version = draw(st.sampled_from([("ic-vos", "1.0"), ("demo", "1"), ("tiny", "2"), ("tiny", "1")]))
    for part in (run["benchmark"], result["benchmark"]):
        part |= {"name": name, "version": version}
    run["benchmark"] |= {"recipe": {"name": name, "matches": True}, "supports": {"pairs": 1}, "counts": {"videos": 1}}
    store(files, "run.json", run)
    store(files, "result.json", result)


def another_name(files: Files, draw: Callable[..., Any]) -> None:
    """The model's name, in all places: this is the sender's to say."""
    name = draw(st.sampled_from(["mine", "方法一", "Ü-Net", "a/b", "..", "x" * 150, "方" * 150, "=1+1", "[a](b)"]))
    run, result = load(files, "run.json"), load(files, "result.json")
    run["model"]["name"] = run["key"]["model"] = result["model"]["name"] = name
    store(files, "run.json", run)
    store(files, "result.json", result)


def order(files: Files, draw: Callable[..., Any]) -> None:
    set_rows(files, draw(st.permutations(rows_of(files))))
    result = load(files, "result.json")
    store(files, "result.json", dict(reversed(result.items())))
    names = draw(st.permutations(sorted(files)))
    shuffled = {name: files[name] for name in names}
    files.clear()
    files.update(shuffled)


def twice(files: Files, draw: Callable[..., Any]) -> None:
    """An episode stands on two lines: the last counts."""
    rows = rows_of(files)
    row = dict(draw(st.sampled_from(rows)))
    for name in {"J", "inter_fg"} & row.keys():
        row[name] = draw(st.sampled_from([row[name], 0, 100]))
    rows.insert(draw(st.integers(0, len(rows))), row)
    set_rows(files, rows)


def encoded(files: Files, draw: Callable[..., Any]) -> None:
    name = draw(TEXTS)
    text = files[name].decode()
    how = draw(st.sampled_from(["utf-8-sig", "utf-16", "crlf", "blank", "ascii", "twice", "nan", "indent"]))
    if how in ("utf-8-sig", "utf-16"):
        files[name] = text.encode(how)
    elif how == "crlf":
        files[name] = text.replace("\n", "\r\n").encode()
    elif how == "blank":
        files[name] = (text + "\n" if draw(st.booleans()) else " " + text).encode()
    elif how == "twice":
        files[name] = text.replace("{", '{"schema": "x", "J": 1, "per_category": {}, ', 1).encode()
    elif how == "nan":
        files[name] = text.replace("1", draw(st.sampled_from(["NaN", "1e999", "0x1", "1" * 5000])), 1).encode()
    else:
        store(files, name, load(files, name))


def masks(files: Files, draw: Callable[..., Any]) -> None:
    names = sorted(name for name in files if name.startswith("masks/"))
    how = draw(st.sampled_from(["flip", "drop", "swap", "all", "again", "grey", "more", "text"]))
    if not names or how == "all":
        for name in names:
            del files[name]
        return
    name, other = (draw(st.sampled_from(names)) for _ in range(2))
    mask = decode_mask(files[name], name) != 0
    if how == "flip":
        files[name] = encode_mask((~mask).astype(np.uint8))
    elif how == "drop":
        del files[name]
    elif how == "swap":
        files[name], files[other] = files[other], files[name]
    elif how in ("again", "grey"):
        files[name] = encode_mask(mask.astype(np.uint8) * (1 if how == "again" else 255))
    elif how == "more":
        files[draw(st.sampled_from([f"{name[:-9]}99999.png", "masks/another/00000.png"]))] = files[name]
    else:
        files[name] = b"no mask"


def consistent(files: Files, draw: Callable[..., Any]) -> None:
    """An episode is raised, and the result made to fit by our own code, as only masks can tell."""
    from icvos.benchmark import Episode
    from icvos.protocols import get_protocol
    from icvos.runs.result import video_result

    rows, run = rows_of(files), load(files, "run.json")
    if "J" not in rows[0]:
        return
    for row in rows:
        row["J"] = draw(st.sampled_from([row["J"], 100.0]))
    episodes = [Episode(r["id"], r["video"], r["category"], r["category_name"], r["draw"], ()) for r in rows]
    by_id, sources = {r["id"]: r for r in rows}, {r["video"]: r["source"] for r in rows}
    set_rows(files, rows)
    store(files, "result.json", video_result(run, get_protocol("native"), episodes, by_id, sources))


def without_masks(files: Files, draw: Callable[..., Any]) -> None:
    """Without masks the sender's own rows count, in a table of their own."""
    for name in [name for name in files if name.startswith("masks/")]:
        del files[name]
    consistent(files, draw)


def speed(files: Files, draw: Callable[..., Any]) -> None:
    run = load(files, "run.json")
    run["fps"] = draw(st.sampled_from([1e300, -5, 12, None, "fast"]))
    run["environment"]["benchmark_folder"] = draw(st.sampled_from(["/", "/proc/1/root", "demo", 3]))
    store(files, "run.json", run)


ALTERATIONS = [change, hundred, one_figure, other_benchmark, another_name, order, twice, encoded, masks]
ALTERATIONS += [consistent, without_masks, speed]


@dataclass(frozen=True, repr=False)
class Altered:
    """A submission's files after some alterations."""

    world: World
    files: Files
    names: tuple[str, ...]

    def __repr__(self) -> str:
        before = self.world.files
        files = {name: data[:3000] for name, data in self.files.items() if data != before.get(name)}
        return (
            f"{self.names} of {self.world.benchmark.name}: {files}, without {sorted(before.keys() - self.files.keys())}"
        )


@st.composite
def altered(draw: Callable[..., Any], worlds: dict[str, World]) -> Altered:
    world = worlds[draw(st.sampled_from(sorted(worlds)))]
    files, names = dict(world.files), []
    for alter in draw(st.lists(st.sampled_from(ALTERATIONS), min_size=1, max_size=3)):
        # What an earlier alteration broke cannot be altered again.
        with contextlib.suppress(IcvosError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            names.append(alter.__name__)
            alter(files, draw)
    return Altered(world, files, tuple(names))


def judge_all(worlds: dict[str, World], count: int, *, same: bool) -> None:
    """Alter, add, and look at what was accepted; some of it has to be."""
    accepted = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=same,
        suppress_health_check=list(HealthCheck),
    )
    @given(altered(worlds))
    def judged(submission: Altered) -> None:
        world, files = submission.world, submission.files
        board = world.root / "board"
        shutil.rmtree(board, ignore_errors=True)
        status, error = add(write(world.root / "altered.zip", files), board, world.benchmark.root)
        if status == 0:
            accepted.append(files)
            judge_accepted(world, board, files)
        else:
            assert status == 2 and error.count("\n") == 1 and "unexpected" not in error, error
            assert not board.exists()

    judged()
    assert count / 20 < len(accepted) < count * 0.9


def test_of_altered_submissions_what_is_accepted_is_what_is_computed(worlds: dict[str, World]) -> None:
    judge_all(worlds, 100, same=True)


@pytest.mark.slow
def test_of_two_thousand_altered_submissions(worlds: dict[str, World]) -> None:
    judge_all(worlds, 2000, same=False)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_the_honest_one_is_accepted(worlds: dict[str, World], kind: str) -> None:
    world = worlds[kind]
    board = world.root / "board"
    shutil.rmtree(board, ignore_errors=True)
    assert add(write(world.root / "same.zip", world.files), board, world.benchmark.root)[0] == 0
    judge_accepted(world, board, world.files)
