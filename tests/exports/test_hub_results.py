"""A run as a result for the Hugging Face Hub: read back through its own library."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos
from tiny import write_image_benchmark, write_video_benchmark

from icvos.exports.export import check_export
from icvos.exports.hub_results import FOLDER
from icvos.exports.tasks import task_id
from icvos.files import read_json, write_json
from icvos.manifest import write_manifest
from icvos.runs.run import Run

COMMIT = "5503434ddd753f426f4b38109466949a1217c2bb"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on videos, one on images, and a board with the former's record."""
    folder = tmp_path_factory.mktemp("runs")
    write_video_benchmark(folder / "bench", videos=2, frames=3, draws=2, size=(40, 48))
    write_image_benchmark(folder / "images")
    for bench, out in (("bench", "run"), ("images", "image-run")):
        words = ("--model", "histogram", "--benchmark", folder / bench, "--out", folder / out)
        assert icvos("evaluate", *words) == 0
    words = (folder / "run", "--board", folder / "board", "--benchmark", folder / "bench")
    assert icvos("leaderboard", "add", *words) == 0
    return folder


def read_back(out: Path) -> Any:
    """The one entry, as the Hub's library gives it."""
    hub, yaml = pytest.importorskip("huggingface_hub"), pytest.importorskip("yaml")
    (path,) = (out / FOLDER).iterdir()
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    (entry,) = hub.parse_eval_result_entries(content)
    # Nothing is lost on the way, and nothing was there that the library does not know.
    assert hub.eval_result_entries_to_yaml([entry]) == content
    assert path.stem == entry.task_id
    return entry


def test_the_hubs_library_reads_every_field(root: Path, tmp_path: Path) -> None:
    words = ("--dataset", f"me/bench@{COMMIT}", "--date", "2026-11-28", "--source", "https://example.org/r?a=1#b")
    assert icvos("export", root / "run", "--to", "hub", *words, "--out", tmp_path / "out") == 0
    entry, run = read_back(tmp_path / "out"), Run.open(root / "run")
    assert (entry.dataset_id, entry.dataset_revision, entry.date) == ("me/bench", COMMIT, "2026-11-28")
    assert entry.task_id == task_id(run.benchmark_name, "native", 1) == "tiny_native_1-shot"
    assert entry.value == run.score and entry.source_url == "https://example.org/r?a=1#b"
    for part in ("J&F in percent", "protocol native", "seed 0", "all 6 episodes", "histogram 1", "by nobody but"):
        assert part in entry.notes
    assert icvos("export", "check", tmp_path / "out") == 0


def test_a_run_of_images_says_its_own_day(root: Path, tmp_path: Path) -> None:
    assert icvos("export", root / "image-run", "--to", "hub", "--dataset", "me/i", "--out", tmp_path / "out") == 0
    entry, run = read_back(tmp_path / "out"), Run.open(root / "image-run")
    assert entry.value == run.score == run.summary["mIoU"] and entry.notes.startswith("mIoU in percent; ")
    assert entry.date == read_json(root / "image-run/run.json")["start"][:10]
    assert "no episode drew" in entry.notes
    assert entry.source_url is None and entry.dataset_revision is None


def test_a_boards_record_says_how_far_it_was_checked(root: Path, tmp_path: Path) -> None:
    (record,) = (root / "board").glob("*/*/*.json")
    assert icvos("export", record, "--to", "hub", "--dataset", "me/bench", "--out", tmp_path / "out") == 0
    entry = read_back(tmp_path / "out")
    assert "self-reported" in entry.notes and entry.value == Run.open(root / "run").score
    assert icvos("export", record, "--to", "csv", "--out", tmp_path / "tables") == 0
    assert {path.name for path in (tmp_path / "tables").glob("e*.csv")} == {"episodes.csv"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--to hub of a run needs --dataset"),
        (("--dataset", "bench"), "'bench' is no data set of the Hub"),
        (("--dataset", "me/bench@main"), "40 digits of a commit"),
        (("--dataset", "me/../bench"), "is no data set of the Hub"),
        (("--dataset", "me/b", "--date", "28.11.2026"), "'28.11.2026' is no date"),
        (("--dataset", "me/b", "--date", "2026-02-30"), "is no date"),
        (("--dataset", "me/b", "--source", "file:///etc/passwd"), "is no address"),
        (("--dataset", "me/b", "--source", 'https://a/"\n- x'), "is no address"),
        (("--dataset", "me/b", "--source", "https://me:secret@a/b"), "a user's name or password"),
        (("--dataset", "me/b", "--with-frames"), "hub takes no --with-frames"),
    ],
)
def test_what_the_hub_would_not_read(
    root: Path, tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos("export", root / "run", "--to", "hub", *words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_rank_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", "histogram", "--benchmark", root / "bench", "--limit-episodes", 2, "--out", tmp_path / "part")
    assert icvos("evaluate", *words) == 0
    assert icvos("export", tmp_path / "part", "--to", "hub", "--dataset", "me/b", "--out", tmp_path / "out") == 2
    assert "no result for a leaderboard: limited" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_result_that_does_not_follow_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root / "run", tmp_path / "run")
    result = read_json(tmp_path / "run/result.json")
    result["summary"]["J&F"] = 99.0
    write_json(tmp_path / "run/result.json", result)
    assert icvos("export", tmp_path / "run", "--to", "hub", "--dataset", "me/b", "--out", tmp_path / "out") == 2
    assert "J&F" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_another_content_is_refused_whatever_its_hash(root: Path, tmp_path: Path) -> None:
    words = ("--dataset", "me/bench", "--date", "2026-11-28", "--source", "https://example.org")
    assert icvos("export", root / "run", "--to", "hub", *words, "--out", tmp_path / "good") == 0
    for number, (old, new, said) in enumerate(
        (
            ("me/bench", "me/other", "of the data set 'me/other'"),
            ("native_1", "native_5", "of the task 'tiny_native_5-shot'"),
            ("value: ", "value: 9", "and not in percent"),
            ("2026-11-28", "2026-11-29", "its date is '2026-11-29'"),
            ("https://example.org", "https://example.com", "its source is 'https://example.com'"),
            ('date: "', 'date: "yesterday, ', "its date is 'yesterday"),
            ("- dataset", "- !!python/object:x\n- dataset", "no result as icvos writes it"),
        )
    ):
        bad = tmp_path / f"bad{number}"
        shutil.copytree(tmp_path / "good", bad)
        (path,) = (bad / FOLDER).iterdir()
        path.write_text(path.read_text().replace(old, new, 1))
        write_manifest(bad)
        problems = check_export(bad)
        assert problems and said in problems[0]
    (tmp_path / "good" / FOLDER / "second.yaml").write_text("- {}\n")
    write_manifest(tmp_path / "good")
    assert "2 files" in check_export(tmp_path / "good")[0]


def test_ids_of_tasks() -> None:
    assert task_id("davis17", "davis-2017", None) == "davis17_davis-2017_first-frame"
    assert task_id("lvos", "lvos-v2", 5, "0123abcd") == "lvos_lvos-v2_unseen-0123abcd_5-shot"
    assert task_id("custom:mine", "native", 1) != task_id("custom-mine", "native", 1)
