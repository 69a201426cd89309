"""What a run says of the supports that it showed: pairs with fewer than its shots, draws that show the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_runs import run
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import Episode
from icvos.leaderboard.table import build_tables
from icvos.manifest import write_manifest
from icvos.runs.run import Run
from icvos.runs.shown_supports import describe_supports, support_notes


def episodes(video: str, *draws: str) -> list[Episode]:
    """Episodes of a dog in a video; a draw is a word, each letter a support."""
    return [Episode(f"{video}__17__d{i}", video, 17, "dog", i, tuple(draw)) for i, draw in enumerate(draws)]


SHOWN = [*episodes("many", "abcde", "fghij"), *episodes("two", "ab", "ba", "ab"), *episodes("one", "a", "a", "a")]


@pytest.mark.parametrize(
    ("shots", "whole", "repeated"),
    [(1, 3, {"two,dog": 1, "one,dog": 2}), (2, 2, {"two,dog": 2, "one,dog": 2}), (5, 1, {"two,dog": 2, "one,dog": 2})],
)
def test_what_is_shown_is_counted_by_pair(shots: int, whole: int, repeated: dict[str, int]) -> None:
    assert describe_supports(SHOWN, shots) == {"pairs": 3, "whole": whole, "draws": 8, "repeated": repeated}


def test_notes_name_the_pairs() -> None:
    assert support_notes(describe_supports(SHOWN[:2], 5), 5) == ()
    assert support_notes(describe_supports(SHOWN, 1), 1) == (
        "3 of 8 draws show the same supports as an earlier one of their pair: two,dog, one,dog (2)",
    )
    assert support_notes(describe_supports(SHOWN, 5), 5)[0] == (
        "5 supports on 1 of 3 pairs; on the others all there are"
    )
    several = [episode for name in "abcde" for episode in episodes(name, "x", "x")]
    assert support_notes(describe_supports(several, 1), 1)[0].endswith(": a,dog, b,dog, c,dog and 2 more")


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        [],
        {"pairs": 2},
        {"pairs": 2, "whole": "1", "draws": 4, "repeated": {}},
        {"repeated": 3},
        {"pairs": 2, "whole": 1, "draws": 4, "repeated": {"a": "b"}},
    ],
)
def test_what_an_old_or_odd_run_says_makes_no_note(said: Any) -> None:
    assert support_notes(said, 1) == ()


def test_a_run_and_its_row_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write_video_benchmark(tmp_path / "b", videos=2, draws=5, shots=1, frames=2)  # of three candidates
    note = (
        "6 of 15 draws show the same supports as an earlier one of their pair: "
        "tiny__v0,person (2), tiny__v1,person (2), tiny__v0,car (2)"
    )
    whole = run(benchmark, tmp_path / "whole", "empty")
    assert note in capsys.readouterr().out.splitlines()
    assert note in build_tables([Run.open(whole)], published=False)[0].notes
    # A shard says the same, so that what is merged of them does.
    shard = run(benchmark, tmp_path / "shard", "empty", "--shard", "1/2")
    assert Run.open(shard).run["benchmark"] == Run.open(whole).run["benchmark"]
    # An oracle shows frame 0 and no support.
    assert Run.open(run(benchmark, tmp_path / "oracle", "empty", "--oracle", "first-frame")).notes_on_supports == ()


def test_a_row_of_more_shots_says_on_how_many_pairs_it_had_them(tmp_path: Path) -> None:
    benchmark = write_video_benchmark(tmp_path / "b", videos=2, draws=1, shots=2, frames=2)
    path = benchmark / "episodes.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rpartition(",")[0] + "," if ",car," in line else line for line in lines) + "\n")
    write_manifest(benchmark)
    note = "2 supports on 2 of 3 pairs; on the others all there are"
    for shots, notes in ((1, ()), (2, (note,))):
        entry = Run.open(run(benchmark, tmp_path / f"{shots}", "empty", "--shots", shots))
        assert entry.notes_on_supports == notes
        assert (note in build_tables([entry], published=False)[0].notes) is bool(notes)


def test_images_say_it_too(tmp_path: Path) -> None:
    benchmark = write_image_benchmark(tmp_path / "b")
    shown = Run.open(run(benchmark, tmp_path / "r")).run["benchmark"]["supports"]
    assert shown["pairs"] == shown["whole"] > 0 and shown["repeated"] == {}
