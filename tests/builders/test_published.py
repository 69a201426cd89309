"""Published recipes: ic-vos-r1 as it comes with icvos, and the name that only a build that matches a recipe carries."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shared_data import shared

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.builders.ic_vos.build import BuildReport, build_icvos, prepare
from icvos.builders.ic_vos.naming import name_benchmark, release_differences
from icvos.builders.ic_vos.rules import BUILDER_VERSION, BuildRules
from icvos.builders.published import (
    PAPER_COUNTS,
    RECIPE_SCHEMA,
    check_own_name,
    load_recipe,
    open_recipes,
    part_of,
    published_names,
    why_reserved,
    write_hashes,
)
from icvos.categories import COCO80
from icvos.demo.benchmarks import demo_raw
from icvos.demo.world.plan import world_size
from icvos.errors import IcvosError, InputError, UsageError
from icvos.files import read_json, write_json
from icvos.leaderboard.consistency import check_name
from icvos.sources import open_source
from icvos.sources.coco import open_coco

R1 = load_recipe("ic-vos-r1")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def test_r1_states_the_hashes_of_its_files() -> None:
    assert "ic-vos-r1" in published_names()
    assert R1.closed == ("davis17",) and R1.is_open
    assert R1.problems() == []
    assert R1.header["sources"]["davis17"]["sha256"] == R1.source_sha256("davis17")
    assert R1.header["sha256"] == R1.sha256
    assert R1.header["rules"] == BuildRules().header() and R1.header["builder"] == BUILDER_VERSION
    # Of a benchmark that has the name; another hash is another recipe, ic-vos-r2.
    assert R1.sha256 == "a63a1c6dc54d80002fbddf7428aca4cb5da5df60f2de8eeebffe500b93e3cfb4"


def test_r1_counts_are_those_of_its_tables() -> None:
    for split, counts in R1.header["sources"]["davis17"]["counts"].items():
        of_split = [row for row in R1.expected("davis17").values() if row.source_split == split]
        frames, objects = (sum(getattr(row, what) for row in of_split) for what in ("frames", "objects"))
        assert counts == {"sequences": len(of_split), "frames": frames, "objects": objects}
    for (_, video), row in R1.sequences.items():
        assert sorted(R1.labels.objects["davis17", video]) == list(range(1, (row.objects or 0) + 1))


def test_r1_parts_follow_from_names() -> None:
    for (source, video), row in R1.sequences.items():
        assert row.part == part_of("ic-vos-r1", source, video)
    assert len(R1.expected("davis17", "dev")) == 35 and len(R1.expected("davis17", "test")) == 55


def test_r1_names_objects_as_the_semantics_file() -> None:
    said: dict[tuple[str, int], str] = {}
    for row in rows(shared("facts") / "davis_semantics.csv"):
        said[row["sequence"], int(row["object"])] = row["name"]
    for row in rows(R1.folder / "objects-davis17.csv"):
        name = said[row["video"], int(row["object"])]
        number = COCO80.find(name)
        assert row["category"] == ("none" if number is None else COCO80.label(number))
        assert row["note"] == ("" if row["category"] == name else name)
    labelled = {(video, COCO80.label(x.category)) for (_, video), labels in R1.labels.objects.items()
                for x in labels.values() if x.category is not None}  # fmt: skip
    answers = rows(R1.folder / "complete-davis17.csv")
    assert {(row["video"], row["category"]) for row in answers} == labelled
    assert {row["complete"] for row in answers} == {"unsure"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's raw layouts; read only."""
    return demo_raw("tiny", 0, tmp_path_factory.mktemp("world") / "raw")


RULES = BuildRules(draws=2, shots=1, support_min_area=world_size("tiny").support_min_area)
SWITCHES = ("--draws", 2, "--shots", 1, "--support-min-area", RULES.support_min_area)


def make_recipe(raw: Path, folder: Path, *, open_sources: tuple[str, ...] = ()) -> Path:
    """Write a recipe of the demo's raw data as r1 is one: labels, sequences, hashes."""
    folder.mkdir()
    sources = [open_source(name, raw / name) for name in ("davis", "mose", "lvos")]
    labels, sequences = [], []
    for source in sources:
        for video in source.videos():
            part = part_of("demo-r1", source.id, video.name)
            frames = len(source.frames(video))
            sequences.append(f"{source.id},{video.name},{video.split},{frames},,{part}")
            for number, name in video.objects.items():
                if source.id == "davis17":
                    category = name if COCO80.find(name or "") else "none"
                    labels.append(f"{source.id},{video.name},{number},{category}")
    (folder / "objects-davis17.csv").write_text("\n".join(["source,video,object,category", *labels, ""]))
    shutil.copy(raw / "recipe/objects.csv", folder / "objects-others.csv")
    shutil.copy(raw / "recipe/complete.csv", folder / "complete-all.csv")
    head = "source,video,source_split,frames,objects,split"
    (folder / "sequences-all.csv").write_text("\n".join([head, *sequences, ""]))
    coco = open_coco(raw / "coco", "val2014")
    header = {
        "schema": RECIPE_SCHEMA,
        "name": "demo-r1",
        "sources": {s.id: {"state": "open" if s.id in open_sources else "closed"} for s in sources},
        "rules": RULES.header(),
        "supports": {"source": "coco", "split": "val2014", "images": len(coco.images), "annotations": coco.annotations},
    }
    write_json(folder / "recipe.json", header)
    write_hashes(folder)
    return folder


@pytest.fixture
def recipe(raw: Path, tmp_path: Path) -> Path:
    return make_recipe(raw, tmp_path / "demo-r1", open_sources=("lvos",))


def build(
    raw: Path, recipe: Path | str, out: Path, *sources: str, name: str | None = None, part: str = "all", **rules: Any
) -> BuildReport:
    labels, published = open_recipes([recipe], COCO80)
    readers = [open_source(source, raw / source) for source in sources]
    coco = open_coco(raw / "coco", "val2014")
    own = BuildRules(**{"draws": 2, "shots": 1, "support_min_area": RULES.support_min_area, **rules})
    prepared = prepare(readers, coco, recipe=labels, rules=own, published=published, part=part)
    return build_icvos(prepared, out, name=name)


def relabel(recipe: Path, *, hashes: bool = False) -> str:
    """Change the label of the first object, and return its video."""
    path = recipe / "objects-davis17.csv"
    lines = path.read_text().splitlines()
    source, video, number, category = lines[1].split(",")
    lines[1] = f"{source},{video},{number},{'dog' if category != 'dog' else 'cat'}"
    path.write_text("\n".join([*lines, ""]))
    if hashes:
        write_hashes(recipe)
    return video


def test_a_build_that_matches_carries_the_name(raw: Path, recipe: Path, tmp_path: Path) -> None:
    report = build(raw, recipe, tmp_path / "B", "davis")
    bench = load_benchmark(tmp_path / "B")
    assert report.differs == [] and report.name == bench.name == "demo-r1-davis17"
    expected = load_recipe(recipe).source_sha256("davis17")
    assert bench.header["recipe"] == {"name": bench.name, "sha256": expected, "matches": True, "differs": []}
    again = build(raw, recipe, tmp_path / "again", "davis")
    assert again.manifest_sha256 == report.manifest_sha256


def test_all_sources_are_the_recipe_itself_once_none_is_open(raw: Path, recipe: Path, tmp_path: Path) -> None:
    two = build(raw, recipe, tmp_path / "two", "davis", "mose")
    assert two.name.startswith("custom:")
    assert two.differs == ["davis17 and mose together are no published benchmark while demo-r1 has open sources"]
    opened = build(raw, recipe, tmp_path / "open", "lvos")
    assert opened.differs[0] == "lvos is no source of demo-r1 whose labels are final"
    closed = make_recipe(raw, tmp_path / "closed")
    assert build(raw, closed, tmp_path / "three", "davis", "mose", "lvos").name == "demo-r1"
    assert build(raw, closed, tmp_path / "one", "mose").name == "demo-r1-mose"


def test_a_part_has_its_own_name_and_sequences(raw: Path, recipe: Path, tmp_path: Path) -> None:
    build(raw, recipe, tmp_path / "all", "mose")
    whole = load_benchmark(tmp_path / "all")
    videos = {}
    for part in ("dev", "test"):
        if not load_recipe(recipe).expected("mose", part):
            continue
        report = build(raw, recipe, tmp_path / part, "mose", part=part)
        bench = load_benchmark(tmp_path / part)
        assert report.name == f"demo-r1-mose-{part}"
        videos[part] = {row.source_name for row in bench.videos.values()}
        assert videos[part] <= set(load_recipe(recipe).expected("mose", part))
        assert set(bench.episodes) <= set(whole.episodes)  # the same supports
    assert videos
    with pytest.raises(UsageError, match="the part 'dev' is one of a published recipe"):
        prepare([open_source("davis", raw / "davis")], open_coco(raw / "coco", "val2014"), part="dev")


def test_whatever_differs_takes_the_name_away(raw: Path, recipe: Path, tmp_path: Path) -> None:
    rules = build(raw, recipe, tmp_path / "rules", "davis", seed=1)
    assert rules.name.startswith("custom:") and rules.differs == ["seed is 1, and the recipe's 0"]
    mini = build(raw, recipe, tmp_path / "mini", "davis", subset="mini")
    assert re.fullmatch(r"custom:[0-9a-f]{8}", mini.name) and mini.differs == ["subset is mini, and the recipe's "]
    header = read_json(recipe / "recipe.json")
    header["supports"]["images"] += 1
    write_json(recipe / "recipe.json", header)
    write_hashes(recipe)
    (line,) = build(raw, recipe, tmp_path / "pool", "davis").differs
    assert re.fullmatch(r"val2014 has \d+ images, and the recipe expects \d+", line)
    header["supports"]["images"] -= 1
    header["supports"]["annotations"] += 1  # as of a JSON that somebody trimmed
    write_json(recipe / "recipe.json", header)
    write_hashes(recipe)
    (line,) = build(raw, recipe, tmp_path / "trimmed", "davis").differs
    assert re.fullmatch(r"val2014 has \d+ annotations, and the recipe expects \d+", line)


def test_sequences_that_are_missing_or_short_or_others(raw: Path, recipe: Path, tmp_path: Path) -> None:
    own = tmp_path / "raw"
    shutil.copytree(raw, own)
    names = sorted(load_recipe(recipe).expected("davis17"))
    for part in ("JPEGImages", "Annotations"):
        folder = own / "davis" / part / "480p"
        shutil.copytree(folder / names[1], folder / "another")
        shutil.rmtree(folder / names[0])
        sorted((folder / names[1]).iterdir())[-1].unlink()
    (own / "davis/ImageSets/2017/train.txt").write_text(f"{names[1]}\n")
    (own / "davis/ImageSets/2017/val.txt").write_text(f"{names[2]}\nanother\n")
    report = build(own, recipe, tmp_path / "B", "davis")
    assert report.name.startswith("custom:")
    assert report.differs[0] == f"1 of {len(names)} sequences of davis17 are not there: {names[0]}"
    assert re.fullmatch(rf"davis17,{names[1]} has \d+ frames, and the recipe expects \d+", report.differs[1])
    assert report.differs[2:] == [f"davis17,{names[2]} is of the split 'val', and the recipe's of 'train'"]
    line = f"davis17: 1 of {len(names)} sequences of demo-r1 are not here: {names[0]}"
    assert line in report.left_out
    assert "davis17,another: not in demo-r1" in report.left_out
    assert {row.source_name for row in load_benchmark(tmp_path / "B").videos.values()} == set(names[1:])


def test_objects_that_the_recipe_does_not_name_or_the_masks_do_not_have(
    raw: Path, recipe: Path, tmp_path: Path
) -> None:
    own = tmp_path / "raw"
    shutil.copytree(raw, own)
    (own / "davis/davis_semantics.json").unlink()  # so that the masks alone say what is there
    path = recipe / "objects-davis17.csv"
    lines = path.read_text().splitlines()
    dropped = next(
        line for line in lines[1:] if len([x for x in lines if x.startswith(line.rpartition(",")[0][:-1])]) > 1
    )
    _, video, number, _ = dropped.split(",")
    path.write_text("\n".join([*(line for line in lines if line != dropped), ""]))
    write_hashes(recipe)
    for place in (own, raw):  # by the masks; by the data set's own file
        (line,) = build(place, recipe, tmp_path / f"B-{place.parent.name}", "davis").differs
        assert line == f"davis17,{video} has an object {number} that the recipe does not name"
    path.write_text("\n".join([*lines, f"davis17,{video},99,person", ""]))
    write_hashes(recipe)
    with pytest.raises(IcvosError, match="99"):
        build(own, recipe, tmp_path / "C", "davis")


def test_with_one_label_changed_a_build_is_custom_and_boards_refuse_its_run(
    raw: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ("--davis", raw / "davis", "--coco", raw / "coco", *SWITCHES)
    evaluate = ("evaluate", "--model", "full")
    assert run("build-data", "ic-vos", *common, "--recipe", recipe, "--out", "good") == 0
    assert "name demo-r1-davis17" in capsys.readouterr().out.splitlines()
    assert run(*evaluate, "--benchmark", "good", "--out", "runs/good") == 0
    assert run("leaderboard", "add", "runs/good", "--board", "board", "--benchmark", "good") == 0
    # A run that calls its benchmark otherwise than it is called.
    shutil.copytree("runs/good", "runs/forged")
    for file in ("run.json", "result.json"):
        said = read_json(Path("runs/forged", file))
        write_json(Path("runs/forged", file), {**said, "benchmark": {**said["benchmark"], "name": "ic-vos"}})
    assert run("leaderboard", "add", "runs/forged", "--board", "board") == 2
    error = capsys.readouterr().err
    assert re.search("the benchmark is called 'ic-vos', and that of .*good 'demo-r1-davis17'", error)

    relabel(recipe)
    capsys.readouterr()
    assert run("build-data", "ic-vos", *common, "--recipe", recipe, "--out", "bad") == 0
    printed = capsys.readouterr().out
    name = load_benchmark("bad").name
    assert re.fullmatch("custom:[0-9a-f]{8}", name) and f"name {name}" in printed
    assert "no published name: the recipe's files of davis17 have the hash" in printed
    assert run(*evaluate, "--benchmark", "bad") == 0
    (folder,) = Path("runs").glob("custom*/full")
    assert folder.parent.name == name.replace(":", "_u3a_")
    capsys.readouterr()
    assert run("leaderboard", "add", folder, "--board", "board") == 2
    error = capsys.readouterr().err
    assert f"refused: '{name}' is no published benchmark, as the recipe's files of davis17 have the hash" in error
    assert "--name" in error
    for words in (("pack", folder), ("check", folder, "--benchmark", "bad")):
        assert run("submit", *words) == 2 and f"'{name}' is no published benchmark" in capsys.readouterr().err
    # With a name of its own it may stand there.
    assert run("build-data", "ic-vos", *common, "--recipe", recipe, "--out", "own", "--name", "mine") == 0
    assert run(*evaluate, "--benchmark", "own", "--out", "runs/own") == 0
    assert run("leaderboard", "add", "runs/own", "--board", "board", "--benchmark", "own") == 0


def test_a_plain_build_of_raw_data_is_custom(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--davis", raw / "davis", "--coco", raw / "coco", *SWITCHES, "--out", tmp_path / "B")
    assert run("build-data", "ic-vos", *words) == 0
    bench = load_benchmark(tmp_path / "B")
    assert bench.name == f"custom:{bench.version.partition('.')[2]}"
    why = "it is built from no published recipe (--recipe NAME)"
    assert bench.header["recipe"] == {"name": None, "sha256": None, "matches": False, "differs": [why]}
    assert f"no published name: {why}" in capsys.readouterr().out.splitlines()


def test_the_labels_page_knows_a_published_recipe(
    raw: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("build-data", "labels", "--mose", raw / "mose", "--out", tmp_path / "L")
    assert run(*words, "--recipe", recipe) == 0
    said = re.search(r"(\d+) of (\d+) objects in 1 video have a label", capsys.readouterr().out)
    assert said and said[1] == said[2] != "0"


def test_labels_beside_the_recipe_are_told(raw: Path, recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(recipe)
    (_, video, category), _ = sorted(loaded.labels.of_sources(["davis17"]).complete.items())[0]
    path = recipe / "complete-all.csv"
    path.write_text("".join(x for x in path.read_text().splitlines(True) if not x.startswith(f"davis17,{video},")))
    write_hashes(recipe)
    more = tmp_path / "more.csv"
    word = COCO80.label(category)
    more.write_text(f"source,video,category,complete\ndavis17,{video},{word},no\n")
    labels, published = open_recipes([recipe, more], COCO80)
    reader = open_source("davis", raw / "davis")
    prepared = prepare([reader], open_coco(raw / "coco", "val2014"), recipe=labels, rules=RULES, published=published)
    assert prepared.differs == [f"complete of davis17,{video},{word} is no, and the recipe says unsure"]


def test_names_that_nobody_gives_himself(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (
        "ic-vos",
        "ic-vos-r1",
        "ic-vos-r1-davis17",
        "ic-vos-r1-anything",
        "custom:",
        "custom:01234567",
        "coco-20i",
        "fss-1000",
        "lvis-92i-1shot",
    )
    for name in (*given, "IC-VOS", " ic-vos", "ic-vos-r1-DAVIS17", "ic\uff0dvos", "", " "):
        with pytest.raises(UsageError, match="a benchmark of one's own is not called"):
            check_own_name(name)
    for name in ("mine", "ic-vos-r10", "ic-vos-ours", "demo", "customs"):
        assert not why_reserved(name)
    words = ("--coco", tmp_path, "--out", tmp_path / "B", "--name", "ic-vos-r1")
    assert run("build-data", "ic-vos", *words) == 2
    assert "belongs to the published recipe ic-vos-r1; give another --name" in capsys.readouterr().err
    words = ("--coco", raw / "coco", "--out", tmp_path / "T", "--name", "ic-vos", "--min-area", 1)
    assert run("build-data", "mask-tubes", *words) == 2
    assert "that is the name of the paper's benchmark; give another --name" in capsys.readouterr().err


def test_a_folder_that_calls_itself_as_a_published_recipe(raw: Path, recipe: Path, tmp_path: Path) -> None:
    header = read_json(recipe / "recipe.json")
    write_json(recipe / "recipe.json", {**header, "name": "ic-vos-r1"})
    write_hashes(recipe)
    report = build(raw, recipe, tmp_path / "B", "davis")
    assert report.name.startswith("custom:")
    assert report.differs == ["the recipe is called ic-vos-r1: that name belongs to the published recipe ic-vos-r1"]
    shutil.copytree(R1.folder, tmp_path / "copy")
    copied = load_recipe(tmp_path / "copy")
    assert copied.problems() == []
    # Of closed sources alone, DAVIS' part would be the whole ic-vos-r1.
    closed = {name: copied.header["sources"][name] for name in copied.closed}
    write_json(tmp_path / "copy/recipe.json", {**copied.header, "sources": closed})
    assert "belongs to the published recipe ic-vos-r1" in load_recipe(tmp_path / "copy").problems()[0]


def test_only_the_papers_counts_are_called_ic_vos() -> None:
    def named(counts: dict[str, int], sources: tuple[str, ...]) -> Any:
        return name_benchmark(None, None, differs=[], sources=sources, part="all", version="1.0123abcd", counts=counts)

    assert named(PAPER_COUNTS, ("release",)).name == "ic-vos"
    short = named({**PAPER_COUNTS, "frames": 99_548}, ("release",))
    assert short.name == "custom:0123abcd" and short.differs == ["99,548 frames, and the paper has 99,549"]
    assert named(PAPER_COUNTS, ("davis17",)).name == "custom:0123abcd"
    # The same videos with other supports are another benchmark.
    assert release_differences(BuildRules(min_area=0, min_frames=0)) == []
    differs = release_differences(BuildRules(seed=7, draws=1))
    assert differs == ["seed is 7, and 0 for what is called ic-vos", "draws is 1, and 5 for what is called ic-vos"]
    other = name_benchmark(
        None, None, differs=differs, sources=["release"], part="all", version="1.0123abcd", counts=PAPER_COUNTS
    )
    assert other.name == "custom:0123abcd" and other.differs == differs


def test_boards_hold_a_published_name_to_the_packaged_hash() -> None:
    name = "ic-vos-r1-davis17"
    good = {"name": name, "recipe": {"name": name, "sha256": R1.sha256, "matches": True, "differs": []}}
    assert check_name(good) == []
    part = {"name": f"{name}-dev", "recipe": {**good["recipe"], "name": f"{name}-dev"}}  # type: ignore[dict-item]
    assert check_name(part) == []
    for bad in (
        {"name": name},
        {**good, "recipe": {**good["recipe"], "sha256": "0" * 64}},  # type: ignore[dict-item]
        {**good, "recipe": {**good["recipe"], "matches": False}},  # type: ignore[dict-item]
        {**good, "name": "ic-vos-r1"},
        {**good, "name": "ic-vos-r1-mose"},
    ):
        (line,) = check_name(bad)
        assert "was not built from that recipe as it is published" in line
    for fine in ("demo", "tiny", "ic-vos", "ic-vos-r10"):
        assert check_name({"name": fine}) == []
    assert check_name({"name": "ic-vos", "counts": PAPER_COUNTS}) == []
    (line,) = check_name({"name": "ic-vos", "counts": {"videos": 90, "frames": 6208}})
    assert "has 90 videos and 6208 frames, and the paper's benchmark 369 videos and 99549 frames" in line


def test_broken_recipes_are_told(recipe: Path, raw: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe 'ic-vos-r'.*did you mean 'ic-vos-r1'"):
        open_recipes(["ic-vos-r"], COCO80)
    with pytest.raises(UsageError, match="two published recipes"):
        open_recipes(["ic-vos-r1", recipe], COCO80)
    with pytest.raises(InputError, match=r"recipe\.json in it"):
        load_recipe(raw)
    table = recipe / "sequences-all.csv"
    text = table.read_text()
    for old, new, expected in (
        (",dev\n", ",val\n", "expected dev or test"),
        (",test\n", ",val\n", "expected dev or test"),
    ):
        if old in text:
            table.write_text(text.replace(old, new))
            with pytest.raises(InputError, match=expected):
                load_recipe(recipe)
    table.write_text(text + text.splitlines()[-1] + "\n")
    with pytest.raises(InputError, match="stands twice"):
        load_recipe(recipe)
    table.write_text(text)
    header = json.loads((recipe / "recipe.json").read_text())
    sources = header["sources"]
    for broken in (
        {**header, "schema": "x"},
        {**header, "sources": {"mose": {"state": "half"}}},
        {**header, "sources": {**sources, "davis17": {"state": "closed", "reads": ["480p"]}}},
        {**header, "supports": {"source": "coco", "images": 9, "annotations": 9}},
        {**header, "supports": {**header["supports"], "images": "9"}},
        [],
    ):
        write_json(recipe / "recipe.json", broken)
        with pytest.raises(InputError, match=r"another schema|incomplete"):
            load_recipe(recipe)
    for name in ("", " r1", "../r1", "r1\n", "r1\x1b[31m"):
        write_json(recipe / "recipe.json", {**header, "name": name})
        with pytest.raises(InputError, match="the recipe is called"):
            load_recipe(recipe)


def test_label_files_are_found_by_the_names_that_a_merge_gives(recipe: Path) -> None:
    expected = load_recipe(recipe).sha256
    for old, new in (("objects-davis17", "objects"), ("complete-all", "complete"), ("sequences-all", "sequences")):
        (recipe / f"{old}.csv").rename(recipe / f"{new}.csv")
    assert load_recipe(recipe).sha256 == expected and open_recipes([recipe], COCO80)[0].objects
    for path in [*recipe.glob("objects*.csv"), *recipe.glob("complete*.csv")]:
        path.unlink()
    for open_it in (load_recipe, lambda folder: open_recipes([folder], COCO80)):
        with pytest.raises(InputError, match=r"the recipe has no labels.*expected objects\*\.csv"):
            open_it(recipe)


def test_recipe_hashes_refuses_a_broken_recipe_in_one_line(recipe: Path) -> None:
    words = [sys.executable, "-m", "tools.recipe_hashes"]
    good, told = (subprocess.run([*words, each], capture_output=True, text=True) for each in (recipe, "--help"))
    assert good.returncode == 0 and good.stdout.startswith("demo-r1: ")
    assert told.returncode == 1 and told.stderr.startswith("Writes the split column")
    (recipe / "recipe.json").unlink()
    bad = subprocess.run([*words, recipe], capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stderr == f"recipe_hashes: no recipe; in {recipe}; expected recipe.json in it\n"


def test_new_recipe_names_the_build_that_it_was_made_from(raw: Path, recipe: Path, tmp_path: Path) -> None:
    labels = [*recipe.glob("objects*.csv"), *recipe.glob("complete*.csv")]
    mine = tmp_path / "mine"
    mine.mkdir()
    for path in labels:
        shutil.copy(path, mine)
    words = ("--davis", raw / "davis", "--mose", raw / "mose", "--coco", raw / "coco", *SWITCHES, "--out")
    files = [word for path in labels for word in ("--recipe", path)]
    assert run("build-data", "ic-vos", *words, tmp_path / "B", *files) == 0
    assert load_benchmark(tmp_path / "B").name.startswith("custom:")
    tool = [sys.executable, "-m", "tools.new_recipe", mine, "--benchmark", tmp_path / "B", "--coco", raw / "coco"]
    refused = subprocess.run([*tool, "--name", "ic-vos-r1"], capture_output=True, text=True)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1 and "ic-vos-r1" in refused.stderr
    subprocess.run([*tool, "--name", "my-vos"], check=True)
    for part, name in (("all", "my-vos"), ("test", "my-vos-test")):
        out = tmp_path / name
        assert run("build-data", "ic-vos", *words, out, "--recipe", mine, "--split", part) == 0
        assert load_benchmark(out).name == name
    again = subprocess.run([*tool, "--name", "my-vos"], capture_output=True, text=True)
    assert again.returncode == 2 and "recipe_hashes.py brings it up to date" in again.stderr


def test_r1_is_matched_by_davis_and_coco_as_they_are_published(tmp_path: Path) -> None:
    """As far as it is seen without reading masks: lists, frames and the pool of supports have the published counts."""
    davis, coco = tmp_path / "davis", tmp_path / "coco"
    for split in ("train", "val"):
        path = davis / f"ImageSets/2017/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [video for video, row in R1.expected("davis17").items() if row.source_split == split]
        path.write_text("\n".join(names) + "\n")
    for video, row in R1.expected("davis17").items():
        for part, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            folder = davis / part / "480p" / video
            folder.mkdir(parents=True)
            for number in range(row.frames or 0):
                (folder / f"{number:05d}.{suffix}").touch()
    images = [{"id": n, "file_name": f"COCO_val2014_{n:012d}.jpg", "height": 9, "width": 9} for n in range(1, 40_505)]
    kinds = COCO80.source_ids
    marks = [  # all but 800 are too small for a support
        {"id": n, "image_id": n % 40_504 + 1, "category_id": kinds[n % 80], "area": 4000 if n <= 800 else 0}
        for n in range(1, 291_876)
    ]
    categories = [{"id": number, "name": name} for number, name in zip(COCO80.source_ids, COCO80.names)]
    (coco / "annotations").mkdir(parents=True)
    (coco / "val2014").mkdir()
    lists = {"images": images, "annotations": marks, "categories": categories}
    (coco / "annotations/instances_val2014.json").write_text(json.dumps(lists))
    pool = open_coco(coco, "val2014")
    for part, count in (("all", 90), ("dev", 35), ("test", 55)):
        prepared = prepare([open_source("davis", davis)], pool, published=R1, part=part)
        assert prepared.differs == []
        expected = R1.expected("davis17", part)
        labels = {video: R1.labels.objects["davis17", video].values() for video in expected}
        shown = {video for video in expected if any(label.category is not None for label in labels[video])}
        assert {planned.video.name for planned in prepared.plan.videos} == shown and len(expected) == count
    own = prepare([open_source("davis", davis)], pool, published=R1, rules=BuildRules(draws=4))
    assert own.differs == ["draws is 4, and the recipe's 5"]


def test_davis_of_r1_on_the_real_samples(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pairs are named as the semantics file names them, without it; what is missing is said in a line."""
    shutil.copytree(real / "davis", tmp_path / "davis", ignore=shutil.ignore_patterns("davis_semantics.json"))
    words = ("--davis", tmp_path / "davis", "--coco", real / "coco", "--recipe", "ic-vos-r1", "--out", tmp_path / "B")
    assert run("build-data", "ic-vos", *words) == 0
    printed = capsys.readouterr().out
    bench = load_benchmark(tmp_path / "B")
    semantics = read_json(real / "davis/davis_semantics.json")
    found = {(bench.videos[video].source_name, pair.category_name) for (video, _), pair in bench.pairs.items()}
    assert found == {(video, names["1"]) for video, names in semantics.items()}
    assert bench.name.startswith("custom:") and bench.header["recipe"]["name"] == "ic-vos-r1-davis17"
    line = "left out: davis17: 88 of 90 sequences of ic-vos-r1 are not here: bear, bike-packing, blackswan and 85 more"
    assert line in printed.splitlines()
    assert "no published name: 88 of 90 sequences of davis17 are not there: bear, bike-packing, blackswan, …" in printed
