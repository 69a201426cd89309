"""Two people's labels: their agreement, the conflicts, what settles them, and what they move in a run."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import raw_trees as raw
from board_runs import build, icvos, run

from icvos.benchmark import load_benchmark
from icvos.builders.ic_vos.build import build_icvos, prepare
from icvos.builders.ic_vos.plan import video_name
from icvos.builders.ic_vos.rules import BuildRules
from icvos.builders.labels.agreement import cohen_kappa, confused_pairs
from icvos.builders.labels.labeller import named_video, read_labellers
from icvos.builders.labels.merge import KindMerge, merge_labels
from icvos.builders.recipe import read_recipes
from icvos.categories import COCO80
from icvos.errors import IcvosError, UsageError
from icvos.runs.by_labels import score_labels
from icvos.runs.run import Run
from icvos.sources import open_source
from icvos.sources.coco import open_coco

OBJECTS = "source,video,object,category,keep,start,end,note\n"
COMPLETE = "source,video,category,complete\n"
DOG, CAT = OBJECTS + "mose,a,1,dog,,,,\n", OBJECTS + "mose,a,1,cat,,,,\n"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def merged(folder: Path, a: str, b: str) -> KindMerge:
    """Merge two files of one kind."""
    files = write(folder / "anna.csv", a), write(folder / "ben.csv", b)
    (merge,) = merge_labels(*read_labellers(*files))
    return merge


def merge(*words: Any) -> int:
    return icvos("build-data", "labels", "merge", *words)


# --- agreement -----------------------------------------------------------------------------------------------------


def table(counts: dict[tuple[str, str], int]) -> tuple[list[str], list[str]]:
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    return [a for a, _ in pairs], [b for _, b in pairs]


@pytest.mark.parametrize(
    ("counts", "kappa"),
    [
        # 35 of 50 alike; by chance (25 * 30 + 25 * 20) / 50^2 = 1/2: (0.7 - 0.5) / 0.5.
        ({("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}, 0.4),
        # 4 of 6 alike; dog 3 and 2 times, cat 2 and 3, cow 1 and 0, none 0 and 1: (24 - 12) / (36 - 12).
        ({("dog", "dog"): 2, ("dog", "cat"): 1, ("cat", "cat"): 2, ("cow", "none"): 1}, 0.5),
        ({("y", "n"): 3, ("n", "y"): 3}, -1.0),
        ({("y", "y"): 3, ("n", "n"): 1}, 1.0),
        ({("y", "y"): 3, ("n", "y"): 1}, 0.0),  # one of them constant: no better than chance
        ({("y", "n"): 4}, 0.0),  # each constant, another thing: nothing alike, and nothing by chance
    ],
)
def test_kappa_by_hand(counts: dict[tuple[str, str], int], kappa: float) -> None:
    assert cohen_kappa(*table(counts)) == kappa


def test_kappa_is_undefined_of_nothing_and_of_one_thing_alone() -> None:
    assert cohen_kappa([], []) is None and cohen_kappa(["dog"] * 5, ["dog"] * 5) is None
    with pytest.raises(ValueError, match="shorter"):
        cohen_kappa(["dog", "dog"], ["dog"])


def test_kappa_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    draw = random.Random(0)
    for _ in range(60):
        words = COCO80.names[: draw.randint(2, 12)]
        a = [draw.choice(words) for _ in range(draw.randint(8, 200))]
        b = [x if draw.random() < 0.8 else draw.choice(words) for x in a]
        assert cohen_kappa(a, b) == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)


def test_confused_pairs_whoever_said_which() -> None:
    a, b = ["dog", "cat", "cow", "dog", "dog"], ["cat", "dog", "dog", "dog", "none"]
    assert confused_pairs(a, b) == [("cat", "dog", 2), ("cow", "dog", 1), ("dog", "none", 1)]


# --- merging -------------------------------------------------------------------------------------------------------


def test_what_both_say_is_merged_and_the_rest_is_a_conflict(tmp_path: Path) -> None:
    merge = merged(
        tmp_path,
        OBJECTS + "mose,a,1,dog,,,,small\nmose,a,2,motorbike,yes,,,\nmose,a,10,cat,,,,\nmose,b,1,none,,,,mud\n"
        "mose,b,2,,,,,\nmose,b,3,,,,,\nmose,c,1,cow,,2,5,\n",
        OBJECTS + "mose,c,1,cow,,2,6,\nmose,b,3,dog,,,,mine\nmose,a,1,dog,,,,a pup\nmose,a,2,4,no,,,\n"
        "mose,a,10,dog,,,,\nmose,b,1,-,,,,mud\nmose,b,2,,,,,\n",
    )
    assert (merge.both, merge.only_a, merge.only_b, merge.neither, merge.same) == (5, 0, 1, 1, 4)
    # Of dog, motorcycle, cat, none, cow and dog, motorcycle, dog, none, cow: 4/5 alike, 5/25 by chance.
    assert merge.kappa == 0.75 and merge.confused == [("cat", "dog", 1)]
    assert (merge.differ_in_keep, merge.differ_in_clip) == (1, 1)
    assert [(row["video"], row["object"], row["category"], row["note"], row["said_by"]) for row in merge.rows] == [
        ("a", "1", "dog", "small; a pup", "anna+ben"),
        ("b", "1", "none", "mud", "anna+ben"),
    ]
    said = [(",".join(c.key), c.says(c.a), c.says(c.b), c.note_b) for c in merge.open]
    assert said == [
        ("mose,a,2", "motorcycle", "motorcycle, keep no", ""),
        ("mose,a,10", "cat", "dog", ""),
        ("mose,b,3", "", "dog", "mine"),
        ("mose,c,1", "cow, frames 2 to 5", "cow, frames 2 to 6", ""),
    ]


def test_completeness(tmp_path: Path) -> None:
    merge = merged(
        tmp_path,
        COMPLETE + "mose,a,dog,yes\nmose,a,cat,unsure\nmose,b,dog,no\nmose,b,cat,\n",
        COMPLETE + "mose,a,dog,yes\nmose,a,cat,yes\nmose,b,17,no\n",
    )
    # yes, unsure, no and yes, yes, no: 2/3 alike, (2 + 1) / 9 by chance.
    assert (merge.both, merge.neither, merge.same, merge.kappa) == (3, 1, 2, 0.5)
    assert [(row["video"], row["category"], row["complete"]) for row in merge.rows] == [
        ("a", "dog", "yes"),
        ("b", "dog", "no"),
    ]
    assert [(c.key, c.a, c.b) for c in merge.open] == [(("mose", "a", "cat"), ("unsure",), ("yes",))]


def test_nothing_in_common_and_one_thing_alone_have_no_kappa(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.csv", OBJECTS + "mose,a,1,dog,,,,\n"), tmp_path / "b.csv"
    write(b, OBJECTS + "mose,a,2,dog,,,,\n")
    assert merge(a, b, "--out", tmp_path / "m.csv") == 1
    out = capsys.readouterr().out
    assert "objects: 0 labelled by both, 1 by a alone, 1 by b alone, 0 by neither" in out
    assert "nothing is labelled by both: no agreement, no kappa" in out and rows(tmp_path / "m.csv") == []
    write(b, OBJECTS + "mose,a,1,dog,,,,\n")
    assert merge(a, b, "--out", tmp_path / "m.csv") == 0
    out = capsys.readouterr().out
    assert "agreement 100.00 % (1), Cohen's kappa undefined" in out and "nan" not in out.lower()
    assert "open conflicts: 0" in out


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw.everything(tmp_path_factory.mktemp("raw"))


def two_people(folder: Path) -> tuple[Path, Path]:
    """The recipe of the raw trees, labelled twice: one category, one completeness and one object alone differ."""
    a, b = folder / "anna", folder / "ben"
    raw.recipe(a)
    objects, complete = raw.recipe(b)
    write(objects, raw.OBJECTS.replace("mose,330ac20d,1,dog", "mose,330ac20d,1,cat").replace("davis16,bear", "#"))
    text = "".join(line for line in objects.read_text().splitlines(True) if not line.startswith("#"))
    write(objects, text)
    write(complete, raw.COMPLETE.replace("R3UJGYwy,car,no", "R3UJGYwy,car,yes"))
    return a, b


def test_labelled_twice_settled_and_built(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_people(tmp_path)
    words = (a, b, "--out", tmp_path / "M", "--conflicts", tmp_path / "C")
    assert merge(*words) == 1
    out = capsys.readouterr().out
    # cat 3, dog 1, horse, person, car, none and cat 4, …: of 7 labelled by both 6 are alike.
    assert "objects: 7 labelled by both, 1 by anna alone, 0 by ben alone, 0 by neither" in out
    assert "agreement 85.71 % (6), Cohen's kappa 0.8205" in out  # (42 - 10) / (49 - 10)
    assert "agreement 80.00 % (4)" in out and "open conflicts: 3; fill them in" in out
    assert "mose,330ac20d,1: anna dog (one frame) | ben cat (one frame)" in out
    objects, complete = tmp_path / "C/objects.csv", tmp_path / "C/complete.csv"
    assert [tuple(row.values())[:6] for row in rows(objects)] == [
        ("davis16", "bear", "1", "bird", "", ""),
        ("mose", "330ac20d", "1", "dog", "cat", ""),
    ]
    assert [tuple(row.values())[:6] for row in rows(complete)] == [("lvos", "R3UJGYwy", "car", "no", "yes", "")]
    # One is settled: its answer stays in the file as it is written again, and is never lost.
    write(complete, complete.read_text().replace("car,no,yes,", "car,no,yes,yes"))
    assert merge(*words) == 2 and "give it as --settled too" in capsys.readouterr().err
    assert merge(*words, "--settled", tmp_path / "C") == 1
    assert "open conflicts: 2;" in capsys.readouterr().out
    assert rows(complete)[0]["complete"] == "yes" and len(rows(objects)) == 2
    write(objects, objects.read_text().replace(",bird,,", ",bird,,none").replace(",dog,cat,", ",dog,cat,dog"))
    assert merge(*words, "--settled", objects, "--settled", complete) == 0
    merged = [tmp_path / "M/objects.csv", tmp_path / "M/complete.csv"]
    said_by = {(row["video"], row["object"]): row["said_by"] for row in rows(merged[0])}
    assert said_by["330ac20d", "1"] == said_by["bear", "1"] == "settled" and said_by["R3UJGYwy", "1"] == "anna+ben"
    # It is a recipe, and says what the first said but for the two that were settled otherwise.
    whole = read_recipes(merged, COCO80)
    first = read_recipes([a / "objects.csv", a / "complete.csv"], COCO80)
    assert whole.objects.pop(("davis16", "bear")) != first.objects.pop(("davis16", "bear"))
    assert whole.complete.pop(("lvos", "R3UJGYwy", 3)) == "yes" and first.complete.pop(("lvos", "R3UJGYwy", 3)) == "no"
    assert whole.sha256 == first.sha256
    build_icvos(
        prepare(
            [open_source("mose", trees / "mose")],
            open_coco(trees / "coco"),
            recipe=read_recipes(merged, COCO80),
            rules=BuildRules(shots=1),
        ),
        tmp_path / "B",
    )
    pairs = set(load_benchmark(tmp_path / "B").pairs)
    assert {(video, COCO80.label(category)) for video, category in pairs} <= read_labellers(a, b)[0].pairs


def test_who_settled_it_is_kept(tmp_path: Path) -> None:
    a = write(tmp_path / "a.csv", OBJECTS + "mose,a,1,dog,no,3,9,mine\n")
    b = write(tmp_path / "b.csv", OBJECTS + "mose,a,1,cat,no,3,9,\n")
    words = (a, b, "--out", tmp_path / "m.csv", "--conflicts", tmp_path / "c.csv", "--names", "Anna", "Ben")
    assert merge(*words) == 1
    (row,) = rows(tmp_path / "c.csv")
    assert (row["Anna says"], row["Ben says"], row["Anna note"]) == (
        "dog, keep no, frames 3 to 9",
        "cat, keep no, frames 3 to 9",
        "mine",
    )
    assert [row[name] for name in ("category", "keep", "start", "end")] == ["", "no", "3", "9"]  # what both say stands
    text = (tmp_path / "c.csv").read_text()
    write(tmp_path / "c.csv", text.replace(",no,3,9,,,", "horse,no,3,9,a foal,Cleo,"))
    assert merge(*words, "--settled", tmp_path / "c.csv") == 0
    assert list(rows(tmp_path / "m.csv")[0].values()) == ["mose", "a", "1", "horse", "no", "3", "9", "a foal", "Cleo"]


def test_one_who_has_nothing_to_answer_has_a_file_of_that_kind(tmp_path: Path) -> None:
    """The page asks no completeness of one to whom all is none; a spreadsheet may quote the header."""
    for person, category in (("anna", "dog"), ("ben", "none")):
        write(tmp_path / person / "objects.csv", OBJECTS + f"mose,a,1,{category},,,,\n")
    write(tmp_path / "anna/complete.csv", COMPLETE + "mose,a,dog,yes\n")
    write(tmp_path / "ben/complete.csv", '"source","video","category","complete"\r\n')
    merges = merge_labels(*read_labellers(tmp_path / "anna", tmp_path / "ben"))
    assert [(merge.kind.name, len(merge.open), merge.only_a) for merge in merges] == [
        ("objects", 1, 0),
        ("complete", 1, 1),
    ]


def test_several_pages_of_a_person(tmp_path: Path) -> None:
    for person in ("anna", "ben"):
        for page in (1, 2):
            write(tmp_path / person / f"objects-mose-0{page}.csv", OBJECTS + f"mose,v{page},1,dog,,,,\n")
    write(tmp_path / "ben/._objects-mose-01.csv", "left by another system")
    assert merge(tmp_path / "anna", tmp_path / "ben", "--out", tmp_path / "all.csv") == 0
    assert [(row["video"], row["said_by"]) for row in rows(tmp_path / "all.csv")] == [
        ("v1", "anna+ben"),
        ("v2", "anna+ben"),
    ]


@pytest.mark.parametrize(
    ("said_by", "names"),
    [
        (("Anna", "Ben"), ["Anna", "Ben"]),
        (("Anna", "Anna"), ["left", "right"]),  # one forgot to change it
        (("Anna", ""), ["left", "right"]),
        (None, ["left", "right"]),
    ],
)
def test_what_two_people_are_called(said_by: tuple[str, str] | None, names: list[str], tmp_path: Path) -> None:
    files = []
    for i, folder in enumerate(("left", "right")):
        text = (
            DOG
            if said_by is None
            else DOG.replace("note\n", "note,said_by\n").replace(",,,,\n", f",,,,,{said_by[i]}\n")
        )
        files.append(write(tmp_path / folder / "objects.csv", text))
    assert [person.name for person in read_labellers(*files)] == names
    assert [person.name for person in read_labellers(*files, names=("X", "Y"))] == ["X", "Y"]
    files[1] = files[1].rename(tmp_path / "right/others.csv")
    if names[0] == "left":
        assert [person.name for person in read_labellers(*files)] == ["objects", "others"]


# --- texts of strangers --------------------------------------------------------------------------------------------


def test_formulas_stay_in_data_and_are_quoted_for_spreadsheets(tmp_path: Path) -> None:
    """The recipe is data and keeps what people wrote; the conflicts are opened by people, and find their way back."""
    a = write(tmp_path / "a.csv", OBJECTS + "folder,-v1,1,dog,,,,=1+1\nfolder,-v1,2,dog,,,,@x\n")
    b = write(tmp_path / "b.csv", OBJECTS + "folder,-v1,1,dog,,,,\nfolder,-v1,2,cat,,,,+2\n")
    words = (a, b, "--out", tmp_path / "m.csv", "--conflicts", tmp_path / "c.csv")
    assert merge(*words) == 1
    assert [(row["video"], row["note"]) for row in rows(tmp_path / "m.csv")] == [("-v1", "=1+1")]
    (row,) = rows(tmp_path / "c.csv")
    assert (row["video"], row["a note"], row["b note"]) == ("'-v1", "'@x", "'+2")
    write(tmp_path / "c.csv", (tmp_path / "c.csv").read_text().replace(",dog,cat,,", ",dog,cat,dog,"))
    assert merge(*words, "--settled", tmp_path / "c.csv") == 0
    assert [(row["video"], row["category"]) for row in rows(tmp_path / "m.csv")] == [("-v1", "dog"), ("-v1", "dog")]


def test_no_control_characters_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.csv", OBJECTS + "mose,a\x1b[2J,1,dog,,,,\x1b]0;title\x07\u202e\n")
    b = write(tmp_path / "b.csv", OBJECTS + "mose,a\x1b[2J,1,cat,,,,\n")
    assert merge(a, b, "--out", tmp_path / "m.csv", "--names", "an\x1bna", "ben") == 1
    out = capsys.readouterr().out
    assert "mose,a�[2J,1: an�na dog (�]0;title��) | ben cat" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "more", "said"),
    [
        (DOG, COMPLETE + "mose,a,dog,yes\n", (), "files of different kinds: "),
        (DOG, None, (), "the same file twice"),
        (DOG, OBJECTS + "mose,a,1,dog,,,,\nmose,a,01,dog,,,,\n", (), "two rows for mose,a,1"),
        (DOG, OBJECTS + "mose,a,1,dog,,,,\nmose,a,1,cat,,,,\n", (), "two categories for one object"),
        (DOG, COMPLETE + "mose,a,dog,yes\nmose,a,dog,unsure\n", (), "two rows for mose,a,dog"),
        (DOG, OBJECTS + "mose,a,1,dgo,,,,\n", (), "did you mean 'dog'"),
        (DOG, OBJECTS + "mose,a,x,dog,,,,\n", (), "a whole number"),
        (DOG, "source,video,category\nmose,a,dog\n", (), "a column 'object', 'complete' or 'extra'"),
        (DOG, "", (), "CSV file is empty"),
        (DOG, CAT, ("--settled", "nowhere.csv"), "CSV file not found"),
        (OBJECTS, OBJECTS, (), "no row in these files"),
        (DOG, CAT, ("--names", "anna", "anna"), "two names that differ"),
        (DOG, CAT, ("--names", "anna", " "), "two names that differ"),
        (DOG, CAT, ("--conflicts", "a.csv"), "--conflicts would replace"),
        (DOG, CAT, ("--conflicts", "out.csv"), "--conflicts would replace"),
        (DOG, CAT, ("--settled", "s.csv"), "neither labelled mose,b,1"),
        (DOG, CAT, ("--settled", "k.csv"), "it settles complete"),
        (DOG, DOG, ("--settled", "c.csv"), "both labelled mose,a,1 alike"),
        (DOG, CAT, ("--settled", "c.csv", "--settled", "h.csv"), "mose,a,1 is settled in two ways"),
        (DOG, CAT, ("--run", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_gets_one_line(
    a: str,
    b: str | None,
    more: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.csv"), a)
    write(Path("b.csv"), b) if b is not None else Path("b.csv").symlink_to("a.csv")
    write(Path("s.csv"), OBJECTS + "mose,b,1,dog,,,,\n")
    write(Path("c.csv"), CAT)
    write(Path("h.csv"), OBJECTS + "mose,a,1,horse,,,,\n")
    write(Path("k.csv"), COMPLETE + "mose,a,dog,yes\n")
    assert merge("a.csv", "b.csv", "--out", "out.csv", *more) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and not shown.out and not Path("out.csv").exists()


def test_the_merged_file_replaces_none_that_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_people(tmp_path)
    assert merge(a / "objects.csv", b / "objects.csv", "--out", a / "objects.csv") == 2
    assert "--out would replace a file" in capsys.readouterr().err
    for more in (("--out", a / "merged.csv"), ("--out", a), ("--out", tmp_path / "m", "--conflicts", b)):
        before = sorted(tmp_path.rglob("*"))
        (a / "objects.csv").rename(a / "mine.csv")
        (b / "objects.csv").rename(b / "mine.csv")
        status = merge(a, b, *more)
        (a / "mine.csv").rename(a / "objects.csv")
        (b / "mine.csv").rename(b / "objects.csv")
        assert status == 2 and sorted(tmp_path.rglob("*")) == before
        assert capsys.readouterr().err.count("\n") == 1
    assert merge(a, b, "--out", tmp_path / "m.csv") == 2
    assert "a folder, for objects and completeness" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert merge(a, tmp_path / "empty", "--out", tmp_path / "M") == 2
    assert "no CSV file in this folder" in capsys.readouterr().err


def test_the_options_of_pages_do_not_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_people(tmp_path)
    assert icvos("build-data", "labels", "--out", tmp_path / "L", "merge", a, b, "--out", tmp_path / "M") == 2
    assert "options before 'merge' are those of pages" in capsys.readouterr().err
    assert icvos("build-data", "labels", "--mose", tmp_path) == 2
    assert "Missing option '--out'" in capsys.readouterr().err


# --- what disagreements move in a run ------------------------------------------------------------------------------


def test_videos_are_named_as_the_benchmark_names_them() -> None:
    for name in ("001ca3cb", "my video", "a_u20_b", "x" * 200 + " "):
        assert named_video("mose", name) == video_name(SimpleNamespace(id="mose", bare_names=False), name)  # type: ignore[arg-type]


def record(video: str, category: str, draw: int, j: float, f: float, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{video}__{category}__d{draw}",
        "video": video,
        "category": COCO80.number(category),
        "category_name": category,
        "draw": draw,
        "J": j,
        "F": f,
        **more,
    }


def tiny_run(records: list[dict[str, Any]], **protocol: Any) -> Run:
    result = {"protocol": {"name": "native", **protocol}, "benchmark": {"name": "tiny"}, "summary": {"J&F": 0.0}}
    return Run({"key": {}, "model": {}}, result, tuple(records), "not added", Path("run"))


def test_the_run_by_hand(tmp_path: Path) -> None:
    a = write(tmp_path / "a.csv", OBJECTS + "mose,v,1,dog,,,,\nmose,v,2,cat,,,,\nmose,w,1,cow,,,,\nmose,x,1,bus,,,,\n")
    b = write(
        tmp_path / "b.csv", OBJECTS + "mose,v,1,dog,,,,\nmose,v,2,cat,,,,\nmose,w,1,horse,,,,\nmose,x,1,none,,,,\n"
    )
    people = read_labellers(a, b)
    (merge,) = merge_labels(*people)
    scores = score_labels(
        tiny_run(
            [
                record("mose__v", "dog", 0, 80.0, 90.0),
                record("mose__v", "dog", 1, 60.0, 70.0),
                record("mose__v", "cat", 0, 50.0, 40.0),
                record("mose__w", "cow", 0, 10.0, 30.0),
                record("mose__w", "cow", 1, None, None, error="it broke"),  # type: ignore[arg-type]
                record("davis17__d", "person", 0, 100.0, 96.0),
            ]
        ),
        *people,
        merge.conflicts,
    )
    # Over draws of the mean over pairs: draw 0 has (80 + 50 + 10 + 100) / 4 of J, draw 1 (60 + 0) / 2; F likewise.
    assert scores.run.score == pytest.approx(((60 + 30) / 2 + (64 + 35) / 2) / 2, abs=1e-12) and scores.run.pairs == 4
    assert scores.unlabelled == 1
    without_cow = ((230 / 3 + 60) / 2 + (226 / 3 + 70) / 2) / 2
    assert scores.agreed.score == pytest.approx(without_cow, abs=1e-12)
    assert (scores.agreed.pairs, scores.agreed.missing) == (3, 0)
    # The first makes a bus that the run has no figure for, the second a horse.
    assert scores.a.score == scores.run.score and (scores.a.pairs, scores.a.missing) == (4, 1)
    assert scores.b.score == scores.agreed.score and (scores.b.pairs, scores.b.missing) == (3, 1)
    cow, bus = merge.conflicts
    assert (cow.pairs, bus.pairs) == ({("mose__w", "cow"), ("mose__w", "horse")}, {("mose__x", "bus")})
    assert scores.changes[cow] == pytest.approx(without_cow - 47.25, abs=1e-12) and scores.changes[bus] is None


def test_a_pair_of_which_one_object_is_in_conflict_is_not_agreed_on(tmp_path: Path) -> None:
    text = OBJECTS + "mose,v,1,dog,,,,\nmose,v,2,dog,,,,\nmose,v,3,cow,,,,\n"
    people = read_labellers(write(tmp_path / "a.csv", text), write(tmp_path / "b.csv", text.replace("2,dog", "2,none")))
    (merge,) = merge_labels(*people)
    episodes = [record("mose__v", "dog", 0, 80.0, 90.0), record("mose__v", "cow", 0, 30.0, 50.0)]
    scores = score_labels(tiny_run(episodes), *people, merge.conflicts)
    assert (scores.run.score, scores.a.score, scores.b.score, scores.agreed.score) == (62.5, 62.5, 62.5, 40.0)
    assert scores.changes == {merge.conflicts[0]: -22.5}


@pytest.mark.parametrize(
    ("videos", "made"),
    [
        # Completeness is asked of what the data set names itself, of which no object is labelled.
        ("mose,v,dog,yes\nmose,w,cow,no\nmose,x,cat,yes\n", {("mose__v", "dog"), ("mose__x", "cat")}),
        # Nobody is sure of any: a build leaves all of MOSE out, and keeps DAVIS.
        ("mose,v,dog,unsure\n", set()),
        ("davis17,v,dog,unsure\n", {("davis17__v", "dog"), ("davis17__w", "cow")}),
        ("mose,v,dog,yes\n", {("mose__v", "dog")}),
        # What no object is labelled is not made, whoever answered.
        ("mose,v,dog,yes\nmose,v,cat,yes\nmose,v,bus,yes\nmose,w,cow,yes\n", {("mose__v", "dog"), ("mose__w", "cow")}),
    ],
)
def test_the_pairs_that_labels_make(videos: str, made: set[tuple[str, str]], tmp_path: Path) -> None:
    for person in ("a", "b"):
        labels = "mose,v,1,dog,,,,\nmose,v,2,cat,no,,,\nmose,w,1,cow,,,,\n"
        write(tmp_path / person / "o.csv", OBJECTS + labels.replace("mose", videos.partition(",")[0]))
        write(tmp_path / person / "c.csv", COMPLETE + videos)
    assert read_labellers(tmp_path / "a", tmp_path / "b")[0].pairs == made


def test_a_category_that_is_partly_kept_is_not_complete(tmp_path: Path) -> None:
    for person in ("a", "b"):
        write(tmp_path / person / "o.csv", OBJECTS + "mose,v,1,dog,,,,\nmose,v,2,dog,no,,,\nmose,v,3,cat,,,,\n")
        write(tmp_path / person / "c.csv", COMPLETE + "mose,v,dog,yes\nmose,v,cat,yes\n")
    assert read_labellers(tmp_path / "a", tmp_path / "b")[0].pairs == {("mose__v", "cat")}


def test_runs_that_do_not_fit(tmp_path: Path) -> None:
    people = read_labellers(write(tmp_path / "a.csv", DOG), write(tmp_path / "b.csv", CAT))
    with pytest.raises(UsageError, match=r"has no video that is labelled here.*mose__a"):
        score_labels(tiny_run([record("lvos__a", "dog", 0, 1.0, 1.0)]), *people, [])
    with pytest.raises(UsageError, match="no pairs of a video and a category"):
        score_labels(tiny_run([{"id": "dogs", "video": "dogs", "J": 1.0, "F": 1.0}]), *people, [])
    with pytest.raises(IcvosError, match="no pairs of a video and a category"):
        score_labels(tiny_run([record("mose__a", "dog", 0, 1.0, 1.0)], name="fss-native"), *people, [])


def test_a_run_on_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = build(tmp_path) / "demo"
    folder = run(benchmark, tmp_path / "run")
    recipe = tmp_path / "world/raw/recipe"
    for person in ("anna", "ben"):
        for file in recipe.glob("*.csv"):
            write(tmp_path / person / file.name, file.read_text())
    first = Run.open(folder)
    video, category = min((r["video"], r["category_name"]) for r in first.records if r["video"].startswith("lvos__"))
    words = f"lvos,{video.removeprefix('lvos__')},{category},"
    text = (recipe / "complete.csv").read_text()
    assert f"{words}yes" in text
    write(tmp_path / "ben/complete.csv", text.replace(f"{words}yes", f"{words}no"))
    capsys.readouterr()
    options = ("--out", tmp_path / "M", "--conflicts", tmp_path / "C", "--run", folder)
    assert merge(tmp_path / "anna", tmp_path / "ben", *options) == 1
    out = capsys.readouterr().out
    records = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    kept = [r for r in records if (r["video"], r["category_name"]) != (video, category)]
    draws = sorted({r["draw"] for r in kept})
    by_draw = [[(r["J"] + r["F"]) / 2 for r in kept if r["draw"] == draw] for draw in draws]
    without = sum(sum(scores) / len(scores) for scores in by_draw) / len(by_draw)
    printed = [" ".join(line.split()) for line in out.splitlines()]
    assert f"the run {first.score:.4f} +0.0000 {len(by_draw[0]) + 1} 0" in printed
    assert f"with the labels of ben {without:.4f} {without - first.score:+.4f} {len(by_draw[0])} 0" in printed
    assert float(rows(tmp_path / "C/complete.csv")[0]["J&F without"]) == pytest.approx(without - first.score, abs=5e-5)
    scores = score_labels(first, *read_labellers(tmp_path / "anna", tmp_path / "ben"), [])
    assert scores.a.score == pytest.approx(first.score, abs=1e-12) and scores.a.missing == 0
    assert scores.b.score == pytest.approx(without, abs=1e-12) and scores.b.pairs == scores.a.pairs - 1
