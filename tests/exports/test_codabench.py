"""A competition on Codabench: its bundle as it is uploaded, and its scoring program as Codabench's worker runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from board_runs import icvos
from tiny import write_image_benchmark, write_video_benchmark

from icvos.benchmark import load_benchmark
from icvos.errors import PredictionError
from icvos.evaluation.predictions import MAX_PNG
from icvos.evaluation.score import score
from icvos.exports.codabench import start, submission
from icvos.exports.codabench.archive import write_archive
from icvos.exports.codabench.bundle import LETTERBOX_REQUIREMENT, REQUIREMENTS, requirements
from icvos.exports.export import check_export
from icvos.files import read_json, write_json
from icvos.images import write_image
from icvos.manifest import iter_files, write_manifest
from icvos.masks import read_mask, write_mask
from icvos.protocols import PROTOCOLS
from icvos.view import View

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("video", "image")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each kind a benchmark (``video``), a run's masks (``video-run``) and its bundle (``video-out``)."""
    folder = tmp_path_factory.mktemp("codabench")
    write_video_benchmark(folder / "video", videos=2, frames=3, draws=2, size=(40, 48))
    write_image_benchmark(folder / "image")
    for kind in KINDS:
        words = ("--model", "histogram", "--benchmark", folder / kind, "--out", folder / f"{kind}-run", "--save-masks")
        assert icvos("evaluate", *words) == 0
        words = ("--to", "codabench", "--with-frames", "--out", folder / f"{kind}-out")
        assert icvos("export", folder / kind, *words) == 0
    return folder


@pytest.fixture
def app(world: Path, tmp_path: Path) -> Callable[[str], Path]:
    """What Codabench's worker lays out for a submission of a kind: ``program``, ``input/ref``, ``input/res``."""

    def lay_out(kind: str) -> Path:
        root = tmp_path / "app"
        with zipfile.ZipFile(world / f"{kind}-out/bundle.zip") as archive:
            archive.extractall(tmp_path / "uploaded")
        (root / "input").mkdir(parents=True)
        (root / "output").mkdir()
        (tmp_path / "uploaded/scoring_program").rename(root / "program")
        (tmp_path / "uploaded/reference_data").rename(root / "input/ref")
        shutil.copytree(world / f"{kind}-run/masks", root / "input/res")
        return root

    return lay_out


def run_program(root: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of ``metadata.yaml`` as the worker does: without a shell, its folders in place of /app's."""
    command = yaml.safe_load((root / "program/metadata.yaml").read_text())["command"]
    words = [word.replace("/app", str(root)) for word in command.split()]
    assert words[0] == "python3"
    # An icvos that is found elsewhere ends the program at once.
    (tmp_path / "decoy/icvos").mkdir(parents=True)
    (tmp_path / "decoy/icvos/__init__.py").write_text("raise SystemExit('the decoy was imported')\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "decoy")}
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=root / "program",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_gives_what_icvos_score_gives(
    kind: str, world: Path, app: Callable[[str], Path], tmp_path: Path
) -> None:
    root = app(kind)
    done = run_program(root, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    result = score(world / f"{kind}-run/masks", benchmark=world / kind, out=tmp_path / "scored")
    columns = read_json(root / "program/settings.json")["columns"]
    expected = {key: result["summary"][name] for key, name in columns.items()}
    scores = read_json(root / "output/scores.json")
    assert scores == {key: value for key, value in expected.items() if value is not None}
    assert next(iter(scores)) == {"video": "J_and_F", "image": "mIoU"}[kind] and next(iter(scores.values())) > 0
    assert f"{next(iter(scores))}: {next(iter(scores.values()))}\n" in done.stdout
    page = (root / "output/detailed_results.html").read_text()
    assert all(category in page for category in result["per_category"])


def test_the_log_of_a_wrong_submission_is_one_line(app: Callable[[str], Path], tmp_path: Path) -> None:
    root = app("video")
    (root / "output/scores.json").write_text("{}")
    next(iter(sorted((root / "input/res").glob("*/00001.png")))).unlink()
    done = run_program(root, tmp_path)
    assert done.returncode == 2 and done.stdout == "" and not (root / "output/scores.json").exists()
    assert done.stderr.startswith("icvos: 1 of 3 frames are missing: 00001; in ") and done.stderr.count("\n") == 1


def first(root: Path) -> Path:
    """The first episode's folder of masks."""
    return sorted((root / "input/res").iterdir())[0]


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "episode missing": (lambda root: shutil.rmtree(first(root)), "1 of 6 episodes are not predicted: tiny__v0__1__d0"),
    "nothing": (lambda root: [shutil.rmtree(each) for each in (root / "input/res").iterdir()], "nothing was sent"),
    "no folder": (lambda root: shutil.rmtree(root / "input/res"), "nothing was sent"),
    "episode unknown": (lambda root: shutil.copytree(first(root), root / "input/res/other"), "unknown: other"),
    "frame unknown": (lambda root: shutil.copy(first(root) / "00000.png", first(root) / "3.png"), "unknown: 3"),
    "size": (lambda root: write_mask(first(root) / "00001.png", np.zeros((9, 8), bool)), "mask is 9x8 (HxW)"),
    "colours": (
        lambda root: write_image(first(root) / "00001.png", np.zeros((40, 48, 3), np.uint8)),
        "mask is an RGB image",
    ),
    "label map": (
        lambda root: write_mask(first(root) / "00001.png", np.full((40, 48), 2, np.uint8)),
        "mask holds the value 2",
    ),
    "cut off": (
        lambda root: (first(root) / "00001.png").write_bytes((first(root) / "00001.png").read_bytes()[:50]),
        "it is cut off",
    ),
    # Nobody scores the ground truth itself.
    "link": (
        lambda root: (root / "input/res/link").symlink_to("../ref/videos/tiny__v0/Annotations/1"),
        "'link' is a link or no plain file",
    ),
    "pipe": (lambda root: os.mkfifo(first(root) / "9.png"), "9.png' is a link or no plain file"),
    "bomb": (lambda root: os.truncate(first(root) / "00001.png", MAX_PNG + 1), "00001.png' is larger than 64 MiB"),
    "depths": (lambda root: (root / "input/res" / "/".join("a" * 30)).mkdir(parents=True), "folders lie 8 deep: "),
    "other ground truth": (
        lambda root: (root / "input/ref/manifest.csv").write_text("path,bytes,sha256\n"),
        "the ground truth is of another benchmark",
    ),
    "ground truth changed": (
        lambda root: write_mask(root / "input/ref/videos/tiny__v0/Annotations/1/00000.png", np.ones((40, 48), bool)),
        "file changed since the benchmark was built",
    ),
    "settings": (lambda root: (root / "program/settings.json").write_text("[]"), "unexpected TypeError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(
    case: str, app: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = app("video")
    change, message = WRONG[case]
    change(root)
    with pytest.raises(SystemExit) as stop:
        submission.main(root / "input", root / "output", root / "program/settings.json")
    printed = capsys.readouterr()
    assert stop.value.code == 2 and printed.out == ""
    assert printed.err.startswith("icvos: ") and message in printed.err and printed.err.count("\n") == 1
    assert not list((root / "output").iterdir())


def test_many_files_are_not_counted_to_the_end(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / "empty").mkdir()
    submission.check_sent(tmp_path, 5)
    with pytest.raises(PredictionError, match="more than 4 files and folders"):
        submission.check_sent(tmp_path, 4)


def test_other_files_and_a_folder_around_are_passed_over(app: Callable[[str], Path]) -> None:
    root = app("video")
    words = (root / "input", root / "output", root / "program/settings.json")
    scores = submission.score_submission(*words)
    (root / "input/res").rename(root / "masks")
    (root / "input/res").mkdir()
    (root / "masks").rename(root / "input/res/masks")
    (root / "input/res/README.txt").write_text("ours")
    (root / "input/res/__MACOSX").mkdir()
    assert submission.score_submission(*words) == scores


@pytest.mark.parametrize("kind", KINDS)
def test_codabench_reads_the_bundle(kind: str, world: Path, app: Callable[[str], Path], tmp_path: Path) -> None:
    """The rules of its reader of bundles and of its tables: names of files, lengths of keys, order of columns."""
    app(kind)
    uploaded = tmp_path / "uploaded"
    content = yaml.safe_load((uploaded / "competition.yaml").read_text())
    assert content == read_json(world / f"{kind}-out/bundle/competition.yaml")
    assert str(content["version"]) == "2" and 0 < len(content["title"]) < 256
    assert [task["index"] for task in content["tasks"]] == content["phases"][0]["tasks"]
    pages = [page["file"] for page in content["pages"]]
    for path in (content["terms"], *pages):
        assert (uploaded / path).read_text().startswith("# ")
    assert read_mask(uploaded / content["image"]).shape == (128, 128)
    assert (uploaded / content["phases"][0]["public_data"]).is_dir()
    columns = content["leaderboards"][0]["columns"]
    assert [column["index"] for column in columns] == list(range(len(columns))) and columns[0]["sorting"] == "desc"
    assert all(0 < len(column[name]) <= 36 for column in columns for name in ("key", "title"))
    assert [column["key"] for column in columns] == list(
        read_json(world / f"{kind}-out/bundle/scoring_program/settings.json")["columns"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_participants_get_frames_and_supports_and_no_ground_truth(kind: str, world: Path) -> None:
    bundle = world / f"{kind}-out/bundle"
    benchmark = load_benchmark(world / kind)
    view = View(benchmark)
    public = bundle / "public_data"
    protocol = "native" if kind == "video" else "fss-native"
    episodes = [episode for episode in benchmark.episodes if episode.protocol in (None, protocol)]
    assert sorted(path.name for path in (public / "episodes").iterdir()) == sorted(each.id for each in episodes)
    named = set()
    for episode in episodes:
        folder = public / "episodes" / episode.id
        request = read_json(folder / "request.json")
        size = view.stored_size(episode)
        assert size is not None and request["size"] == list(size) and request["count"] == view.frame_count(episode)
        for index in range(request["count"]):
            part = f"queries/images/{episode.video}.jpg"
            if kind == "video":
                part = f"videos/{episode.video}/JPEGImages/{index:05d}.jpg"
            frame = folder / (request["frames"] % index)
            assert frame.read_bytes() == (world / kind / part).read_bytes()
            named.add(frame.resolve())
        (support,), (stored,) = request["supports"], view.supports(episode)
        assert stored.ignore is not None
        for name, expected in (("mask", stored.mask), ("ignore", stored.ignore)):
            assert np.array_equal(read_mask(folder / support[name]), expected * np.uint8(255))
        named |= {(folder / support[name]).resolve() for name in ("image", "mask", "ignore")}
    # Nothing else is there: no table, no manifest, whose hashes would tell which masks are empty.
    there = {(public / path).resolve() for path in iter_files(public)}
    assert there == named | {(public / "episodes" / each.id / "request.json").resolve() for each in episodes}
    # And the ground truth has no image, and no support.
    reference = list(iter_files(bundle / "reference_data"))
    assert not [path for path in reference if path.endswith((".jpg", ".jpeg")) or path.startswith("supports/")]
    program = [path for path in iter_files(bundle / "scoring_program") if path.endswith((".png", ".csv"))]
    assert not program


def test_without_frames_there_is_no_image(world: Path, tmp_path: Path) -> None:
    words = ("--to", "codabench", "--protocol", "paper", "--shots", 2, "--title", "Finde es", "--docker-image", "a/b:1")
    dates = ("--date", "2027-01-31T12:00+02:00", "--end-date", "2027-03-01")
    assert icvos("export", world / "video", *words, *dates, "--out", tmp_path / "out") == 0
    bundle = tmp_path / "out/bundle"
    assert not (bundle / "public_data").exists() and not list(bundle.rglob("*.jpg"))
    content, settings = read_json(bundle / "competition.yaml"), read_json(bundle / "scoring_program/settings.json")
    phase = content["phases"][0]
    assert (phase["start"], phase["end"]) == ("2027-01-31 10:00:00", "2027-03-01 00:00:00")
    assert (content["title"], content["docker_image"], "public_data" in phase) == ("Finde es", "a/b:1", False)
    assert (settings["protocol"], settings["shots"]) == ("paper", 2)
    assert (bundle / "scoring_program/Dockerfile").read_text().startswith("FROM a/b:1\n")
    assert "512x512" in (bundle / "pages/data.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--date", "soon"), "--date is 'soon'; expected a date or a time"),
        (("--date", "2027-02-01", "--end-date", "2027-01-31"), "expected a time after its start, 2027-02-01 00:00:00"),
        (("--title", "two\nlines"), "the competition is called"),
        (("--docker-image", "a b"), "--docker-image is 'a b'"),
        (("--docker-image", "a" * 129), "a name of at most 128 letters"),
        (("--protocol", "fss-native"), "protocol 'fss-native' does not fit this benchmark"),
        (("--protocol", "lvos-v2"), "would have to know what is unseen"),
        (("--shots", 9), "9 shots, where no episode of 'tiny' has more than 2"),
    ],
)
def test_what_does_not_fit_begins_nothing(
    words: tuple[Any, ...], message: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert icvos("export", world / "video", "--to", "codabench", *words, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = read_json(path)
    change(content)
    write_json(path, content)


YAML, SETTINGS = "competition.yaml", "scoring_program/settings.json"
REQUEST = "public_data/episodes/tiny__v0__1__d0/request.json"
ALTERED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "page": (lambda root: (root / "pages/data.md").unlink(), "it names 'pages/data.md', which is missing"),
    "no YAML": (lambda root: (root / YAML).write_text("a: [", encoding="utf-8"), YAML),
    "no task": (lambda root: edit(root / YAML, lambda content: content.pop("tasks")), "KeyError: 'tasks'"),
    "no start": (lambda root: edit(root / YAML, lambda c: c["phases"][0].update(start="")), "a phase that begins"),
    "column": (
        lambda root: edit(root / YAML, lambda c: c["leaderboards"][0]["columns"].pop()),
        "the leaderboard has other columns",
    ),
    "command": (lambda root: (root / "scoring_program/metadata.yaml").write_text("command: rm\n"), "its command is"),
    "program": (lambda root: (root / "scoring_program/icvos.zip").unlink(), "icvos.zip: is missing"),
    "figures": (lambda root: edit(root / SETTINGS, lambda c: c["columns"].update(J="F")), "its columns are not those"),
    "shots": (lambda root: edit(root / SETTINGS, lambda c: c.update(shots=7)), "7 shots, where no episode"),
    "benchmark": (
        lambda root: edit(root / SETTINGS, lambda c: c.update(manifest_sha256="0" * 64)),
        "another benchmark",
    ),
    "mask": (
        lambda root: write_mask(root / "reference_data/videos/tiny__v1/Annotations/1/00002.png", np.ones((4, 4), bool)),
        "file changed since the benchmark was built",
    ),
    "mask missing": (
        lambda root: (root / "reference_data/videos/tiny__v1/Annotations/1/00002.png").unlink(),
        "file not found",
    ),
    "support": (
        lambda root: write_mask(root / "reference_data/supports/masks/1/a.png", np.ones((4, 4), bool)),
        "supports/masks/1/a.png: the ground truth needs no such file",
    ),
    "frame": (lambda root: (root / "public_data/videos/tiny__v0/00001.jpg").unlink(), "00001.jpg: is missing"),
    "frames": (lambda root: edit(root / REQUEST, lambda c: c.update(frames="%999999999d")), "it wants other frames"),
    "count": (lambda root: edit(root / REQUEST, lambda c: c.update(count=2)), "it wants other frames"),
    "a file outside": (
        lambda root: edit(root / REQUEST, lambda c: c["supports"][0].update(ignore="../../../competition.yaml")),
        "competition.yaml: is missing",
    ),
    "a page outside": (lambda root: edit(root / YAML, lambda c: c.update(image="/etc/passwd")), "'/etc/passwd'"),
    "told truth": (
        lambda root: shutil.copy(root / "reference_data/pairs.csv", root / "public_data/pairs.csv"),
        "public_data/pairs.csv: no episode names it",
    ),
}


@pytest.mark.parametrize("case", ALTERED)
def test_the_check_finds_what_its_hashes_do_not_tell(case: str, world: Path, tmp_path: Path) -> None:
    """The change comes with an archive and hashes that fit."""
    root = tmp_path / "out"
    shutil.copytree(world / "video-out", root)
    bundle = root / "bundle"
    change, message = ALTERED[case]
    change(bundle)
    with (root / "bundle.zip").open("wb") as stream:
        write_archive(stream, ((path, bundle / path) for path in iter_files(bundle)))
    write_manifest(root)
    found = check_export(root)
    assert found and any(message in line for line in found), found


@pytest.mark.parametrize("part", ["another", "fewer", "no archive"])
def test_the_archive_is_that_of_the_folder(part: str, world: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(world / "image-out", root)
    names = list(iter_files(root / "bundle"))
    assert check_export(root) == []
    with (root / "bundle.zip").open("wb") as stream:
        if part == "fewer":
            write_archive(stream, ((name, root / "bundle" / name) for name in names[1:]))
        elif part == "another":
            logo, files = root / "bundle/logo.png", {name: root / "bundle" / name for name in names}
            page = tmp_path / "page"
            page.write_bytes(bytes(logo.stat().st_size))
            write_archive(stream, {**files, "logo.png": page}.items())
    write_manifest(root)
    expected = {"another": "logo.png is another", "fewer": "it holds other files", "no archive": "it cannot be read"}
    assert [expected[part] in line for line in check_export(root)] == [True]


def test_objects_of_semi_supervised_benchmarks(world: Path, tmp_path: Path) -> None:
    """Frame 0's mask is what participants are told; one pixel in two masks is refused as everywhere."""
    shutil.copytree(world / "video", tmp_path / "vos")
    edit(tmp_path / "vos/benchmark.json", lambda content: content.update(task="vos"))
    episodes = (tmp_path / "vos/episodes.csv").read_text().splitlines()
    rows = [
        episodes[0],
        *(line.rpartition(",")[0].rpartition(",")[0] + ",," for line in episodes[1:] if "__d0" in line),
    ]
    (tmp_path / "vos/episodes.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "vos/manifest.csv").unlink()
    write_manifest(tmp_path / "vos")
    assert icvos("export", tmp_path / "vos", "--to", "codabench", "--with-frames", "--out", tmp_path / "out") == 0
    benchmark = load_benchmark(tmp_path / "vos")
    bundle = tmp_path / "out/bundle"
    for episode in benchmark.episodes:
        folder = bundle / "public_data/episodes" / episode.id
        request = read_json(folder / "request.json")
        (support,) = request["supports"]
        truth = View(benchmark).truth(episode.video, episode.category)
        assert np.array_equal(read_mask(folder / support["mask"]) == 255, truth[0])
        assert (folder / support["image"]).resolve() == (folder / (request["frames"] % 0)).resolve()
        for index, mask in enumerate(truth):
            alone = mask if episode.category == 1 else mask & ~View(benchmark).truth(episode.video, 1)[index]
            write_mask(tmp_path / "in/res" / episode.id / f"{index:05d}.png", alone)
    shutil.copytree(bundle / "reference_data", tmp_path / "in/ref")
    scores = submission.score_submission(tmp_path / "in", tmp_path, bundle / SETTINGS)
    result = score(tmp_path / "in/res", benchmark=tmp_path / "vos", out=tmp_path / "scored")
    assert scores["J_and_F"] == result["summary"]["J&F"] and 50 < scores["J_and_F"] < 100


def test_what_is_missing_is_installed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requirements.txt").write_text("numpy>=1.26\npillow>=11\nno-such-thing>=1\n")
    monkeypatch.setattr(start, "HERE", tmp_path)
    assert start.missing() == ["no-such-thing>=1"]
    calls: list[list[str]] = []

    def pip(command: list[str], **told: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, b"warning\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(SystemExit, match=r"no-such-thing>=1 cannot be installed .ERROR: no network.; give the worker"):
        start.main(["in", "out"])
    assert calls[0][-1] == "no-such-thing>=1" and "--target" in calls[0]
    with pytest.raises(SystemExit, match="usage"):
        start.main(["in"])
    monkeypatch.setattr(sys, "version_info", (3, 9))
    with pytest.raises(SystemExit, match=r"too old, 3\.11 is needed"):
        start.main(["in", "out"])


def test_requirements_are_those_of_icvos() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    own = config["options"]["install_requires"].split()
    assert {*REQUIREMENTS} <= {*own} and LETTERBOX_REQUIREMENT.replace("-headless", "") in own
    for protocol in PROTOCOLS.values():
        resizes = protocol.name.startswith("fsvos-")
        assert (LETTERBOX_REQUIREMENT in requirements(protocol)) == resizes
