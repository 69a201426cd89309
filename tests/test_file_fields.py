"""Every field of every file that icvos writes stands on its page of the documentation, and none that there is not.

The files are made here, by the cheapest runs of each kind. A field of ``docs/reference/files.md`` or ``result.md`` is
code in the first column of a table below the file's heading: ``a.b``, ``a[].b`` of each object of a list, ``<name>``
for any key, ``a.…`` for whatever is in it.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from board_runs import build, icvos, run
from quick_environments import header, make_quickly
from run_models import write_model
from toy_training import ToyTask

from dcsam.training import feature_cache
from icvos import evaluate
from icvos.demo.benchmarks import demo_layout
from icvos.files import csv_header, read_json
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.segmenter import ImageFeatures
from icvos.foundation.trainings import training_record
from icvos.foundation.weights import load_metadata, save_state
from icvos.leaderboard.rewritten import known_fields
from icvos.masks import read_mask, write_mask
from icvos.reproduce.ladder import climb
from icvos.reproduce.rung import Figure, Rung, Step
from icvos.training.distribute import World
from icvos.training.loop import Trainer
from icvos.training.task import Settings
from tools.site import on_page_markdown

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("files.md", "result.md")
BY_PEOPLE = {"names.json", "predictions.json", "extra-objects.csv", "masks.csv"}
"""What icvos reads and never writes, or a page in the browser does."""

GPU = {f"run.json: environment.{name}" for name in ("gpu", "cuda", "driver", "gpu_memory", "tf32")}
"""Fields that only a run on a GPU has."""

METHODS = """
from icvos import WeightInfo

class Fails(VideoModel):
    info = ModelInfo(name="fails", version="1")

    def segment(self, supports, video, *, seed):
        raise RuntimeError("no idea")

class Together(VideoModel):
    info = ModelInfo(name="together", version="1", weights={"net": WeightInfo("nowhere")})

    def __init__(self, *, device="cpu", weights=None, size: int = 1):
        super().__init__(device=device, weights=weights)

    def segment(self, supports, video, *, seed):
        yield from (masks[0] for masks in self.segment_many([supports], video, seeds=[seed]))

    def segment_many(self, episodes, video, *, seeds):
        for _ in video:
            yield [np.zeros(video.size, bool) for _ in episodes]
"""

Made = dict[str, list[Any]]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def columns(path: Path) -> dict[str, None]:
    return dict.fromkeys(csv_header(path))


def weights(root: Path) -> Path:
    """Return a file of weights that says of its training what ``icvos train`` has them say."""
    path = root / "net.safetensors"
    training = training_record({"settings": {"seed": 1}, "describe": {"seed": 1}}, {}, kept="best")
    record = {"metadata": {"training": training, "training_data": ["a:b"], "training_categories": []}}
    save_state(path, {"a": torch.zeros(1)}, metadata={"dcsam": json.dumps(record)})
    return path


def extra_masks(root: Path, raw: Path) -> Path:
    """Return a folder with a mask of another tool: what is nothing in a frame is one more of a category there."""
    rows = csv.DictReader((raw / "recipe" / "complete.csv").open())
    video, category = next((row["video"], row["category"]) for row in rows if row["source"] == "lvos")
    frame = min((raw / "lvos").glob(f"*/Annotations/{video}/*.png"))
    write_mask(root / "extra" / "masks" / "lvos" / video / frame.name, read_mask(frame) == 0)
    (root / "extra" / "extra-objects.csv").write_text(f"source,video,extra,category\nlvos,{video},1,{category}\n")
    return root / "extra"


def of_benchmarks(root: Path, made: Made) -> None:
    raw, benchmarks = root / "world" / "raw", root / "world" / "benchmarks"
    labels = [word for name in ("objects", "complete") for word in ("--recipe", raw / "recipe" / f"{name}.csv")]
    area = ("--support-min-area", 64)
    lvos = ("--lvos", raw / "lvos", "--coco", raw / "coco", *area, *labels, "--recipe", extra_masks(root, raw))
    assert icvos("build-data", "ic-vos", *lvos, "--out", root / "B") == 0
    assert icvos("build-data", "vos", "--davis", raw / "davis", "--split", "val", "--out", root / "V") == 0
    tubes = ("mask-tubes", "--coco", raw / "coco", "--split", "train2014", "--limit", 2, "--min-area", 64)
    assert icvos("build-data", *tubes, "--out", root / "T") == 0
    world = root / "world"
    fsvos = ("--ytvis", demo_layout("ytvis", "tiny", 0, world), "--group", 3, "--episodes", "tti-v1", "--shots", 2)
    assert icvos("build-data", "youtube-fsvos", *fsvos, "--out", root / "Y") == 0
    fss = ("--fss", demo_layout("fss-1000", "tiny", 0, world), "--episodes", "matcher")
    assert icvos("build-data", "fss-1000", *fss, "--out", root / "F") == 0
    built = [*benchmarks.iterdir(), root / "B", root / "V", root / "T", root / "Y", root / "F"]
    made["benchmark.json"] = [read_json(each / "benchmark.json") for each in built]
    for name in ("manifest.csv", "videos.csv", "pairs.csv", "frames.csv", "episodes.csv"):
        made[name] = [columns(each / name) for each in built if (each / name).is_file()]
    assert icvos("build-data", "labels", "--davis", raw / "davis", "--out", root / "labels") == 0
    for person in ("ANNA", "BEN"):
        for name in ("objects.csv", "complete.csv"):
            (root / person).mkdir(exist_ok=True)
            text = (raw / "recipe" / name).read_text()
            (root / person / name).write_text(text if person == "ANNA" else text.replace("car", "truck"))
    merge = ("build-data", "labels", "merge", root / "ANNA", root / "BEN", "--out", root / "merged")
    assert icvos(*merge, "--conflicts", root / "conflicts", "--run", run(benchmarks / "demo", root / "R", "empty")) == 1
    recipe = ROOT / "icvos" / "recipes" / "ic-vos-r1"
    for name in ("objects", "complete"):
        files = [recipe / f"{name}-davis17.csv", *(root / each / f"{name}.csv" for each in ("labels", "merged"))]
        made[f"{name}.csv"] = [columns(each) for each in files]
    made["conflicts"] = [columns(each) for each in (root / "conflicts").iterdir()]
    made["recipe.json"] = [read_json(recipe / "recipe.json")]
    made["sequences.csv"] = [columns(recipe / "sequences-davis17.csv")]
    made["world.json"] = [read_json(raw / "world.json")]
    (cache, *_) = (root / "world" / "cache").glob("coco*")
    pairs = dict.fromkeys(np.load(cache / "pairs.npy").dtype.names)
    made["decoded masks"] = [pairs, *(read_json(cache / name) for name in ("meta.json", "images.json"))]


def of_runs(root: Path, made: Made) -> None:
    benchmarks, raw = root / "world" / "benchmarks", root / "world" / "raw"
    demo = benchmarks / "demo"
    methods = write_model(root, METHODS)
    (episode, *_) = lines(root / "R" / "episodes.jsonl")
    (unseen, *_) = {row["category_name"]: None for row in csv.DictReader((root / "B" / "episodes.csv").open())}
    evaluate("empty", demo, out=root / "named", episodes=[episode["id"]], name="mine", verify=True)
    for benchmark, name, *words in (
        (demo, "kept", "histogram", "--save-masks"),
        (demo, "oracle", "histogram", "--oracle", "first-frame"),
        (demo, "shard", "empty", "--shard", "1/1"),
        (demo, "weighted", f"{methods}:Together", "--weights", f"net={weights(root)}"),
        (root / "B", "custom", "histogram"),
        (root / "V", "vos", "empty"),
        (benchmarks / "coco-20i", "image", "histogram"),
        (root / "B", "mosev2", "empty", "--protocol", "mosev2"),
        (root / "B", "lvos", "empty", "--protocol", "lvos-v2", "--unseen", unseen),
        (root / "B", "vost", "empty", "--protocol", "vost"),
        (root / "Y", "fsvos", "empty", "--shots", 2),
        (root / "F", "listed", "histogram", "--limit-episodes", 1),
        (benchmarks / "saco-ic", "saco", "histogram"),
    ):
        run(benchmark, root / name, *words)
    isolated = Path(write_model(root, METHODS, "isolated.py"))
    isolated.write_text(header() + isolated.read_text(), encoding="utf-8")
    run(demo, root / "isolated", f"{isolated}:Together", "--isolated", "--weights", f"net={weights(root)}")
    (environment,) = (root / "home" / "environments").glob("*/environment.json")
    made["environment.json"] = [read_json(environment)]
    assert icvos("evaluate", "--model", f"{methods}:Fails", "--benchmark", demo, "--out", root / "fails") == 1
    assert icvos("merge", root / "shard", "--out", root / "merged-run") == 0
    said = ("--access", "offline", "--uses", "text", "--trained-on", "dog")
    assert icvos("score", root / "kept" / "masks", "--benchmark", demo, *said, "--out", root / "scored") == 0
    out = root / "export"
    assert icvos("export-episodes", "--benchmark", demo, "--limit-episodes", 1, "--out", out) == 0
    made["export.json"] = [read_json(out / "export.json")]
    for number, (subject, to) in enumerate(((demo, "ytvis"), (root / "kept", "csv"))):
        assert icvos("export", subject, "--to", to, "--out", root / f"export{number}") == 0
        made["export.json"].append(read_json(root / f"export{number}" / "export.json"))
    made["request.json"] = [read_json(path) for path in out.glob("episodes/*/request.json")]
    truth = raw / "davis" / "Annotations" / "480p"
    assert icvos("score", truth, "--ground-truth", truth, "--objects", "all", "--out", root / "sequences") == 0
    spread = ("score", truth, "--ground-truth", truth, "--all-protocols", "--objects", "all", "--out", root / "spread")
    assert icvos(*spread) == 0
    made["protocols.json"] = [read_json(root / "spread" / "protocols.json")]
    folders = [path.parent for path in root.glob("*/run.json")]
    made["run.json"] = [read_json(folder / "run.json") for folder in folders]
    made["times"] = [each["times"]["total"] for each in made["run.json"] if each.get("times")]
    made["episodes.jsonl"] = [record for folder in folders for record in lines(folder / "episodes.jsonl")]
    stored = [next((root / name / "frames").iterdir()) for name in ("kept", "mosev2", "fsvos", "saco")]
    made["frames"] = [dict.fromkeys(np.load(path).files) for path in stored]
    results = [read_json(folder / "result.json") for folder in folders if (folder / "result.json").is_file()]
    tables = ("summary", "per_category", "per_source", "per_video", "per_draw", "per_fold", "oracle")
    made["Whole"] = [{key: {} if key in tables else value for key, value in each.items()} for each in results]
    made |= {table: [each.get(table, {}) for each in results] for table in tables}
    assert icvos("report", root / "kept", "--out", root / "report") == 0
    made["support_sensitivity.csv"] = [columns(root / "report" / "support_sensitivity.csv")]
    assert icvos("compare", root / "kept", root / "R", "--out", root / "compare") == 0
    made["compare"] = [columns(root / "compare" / "episodes.csv")]


def of_boards(root: Path, made: Made) -> None:
    demo = root / "world" / "benchmarks" / "demo"
    assert icvos("leaderboard", "add", root / "kept", "--board", root / "board", "--benchmark", demo) == 0
    (record,) = (root / "board").glob("*/*/*.json")
    made["record"] = [read_json(record)]
    made["benchmarks.json"] = [read_json(root / "board" / "benchmarks.json")]
    made["published.csv"] = [columns(ROOT / "leaderboards" / "published.csv")]
    assert icvos("submit", "pack", root / "kept", "--submitter", "Ada", "--out", root / "submission.zip") == 0
    with zipfile.ZipFile(root / "submission.zip") as archive:
        made["submission.json"] = [json.loads(archive.read("submission.json"))]
    supports, frames = root / "B" / "supports", next((root / "B" / "videos").iterdir()) / "JPEGImages"
    mask = next(supports.glob("masks/*/*.png"))
    support = ("--support", next(supports.glob(f"images/{mask.stem}.*")), mask)
    model = ("--model", f"{root / 'my_method.py'}:Together", "--weights", f"net={root / 'net.safetensors'}")
    isolated = ("--model", f"{root / 'isolated.py'}:Together", *model[2:], "--isolated")
    assert icvos("segment", *support, "--video", frames, *isolated, "--out", root / "segment") == 0
    made["segment.json"] = [read_json(root / "segment" / "segment.json")]
    assert icvos("launch", "slurm", "--", "evaluate", "--model", "empty", "--out", root / "launched") == 0
    made["launch.json"] = [read_json(root / "launched.slurm" / "launch.json")]
    words = ("evaluate", *model, "--benchmark", "{demo}", "--out", "{out}/rung/run")
    figures = (Figure("J&F", "J&F", ("rung/run",), 0.0, 100.0),)
    rung = Rung("rung", "", (), (), (Step("it", words, "rung/run/result.json"),), figures, "", "", (), None, "")
    places = {"demo": str(demo)}
    known = {"data": {"coco": "COCO"}, "weights": {"net": {"file": str(root / "net.safetensors"), "sha256": "0"}}}
    made["measured"] = [climb(rung, places, root / "rungs", lambda words: icvos(*words), describe=known)]


def of_trainings(root: Path, made: Made) -> None:
    trainer = Trainer(
        ToyTask(),
        Settings(epochs=1, batch=6, clip=1.0, average=0.9),
        World(0, 1, torch.device("cpu")),
        root / "training",
        say=lambda line: None,
    )
    trainer.fit()
    made["training.json"] = [read_json(root / "training" / "training.json")]
    made["log.csv"] = [columns(root / "training" / "log.csv")]
    content = torch.load(trainer.checkpoint_path, weights_only=True)
    made["checkpoint.pt"] = [dict.fromkeys(content)]
    stored = [load_metadata(path) for path in (*ROOT.glob("*/weights/demo_*.safetensors"), root / "net.safetensors")]
    made["weights"] = [json.loads(text) for each in stored for text in each.values()]
    maps = BackboneFeatures(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    sam = ImageFeatures(torch.zeros(1, 1, 1, 1), (torch.zeros(1, 1, 1, 1),))
    made["features"] = [dict.fromkeys(feature_cache._pack(maps, sam, 0))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What real files hold, by the heading that they stand under."""
    root = tmp_path_factory.mktemp("files")
    contents: Made = {}
    with pytest.MonkeyPatch.context() as patch:
        make_quickly(patch, root / "home")
        patch.setattr("icvos.evaluation.verify.DEFAULT_SECONDS", 0.0)
        patch.setattr("icvos.processes.neighbours", 1)
        build(root)
        for make in (of_benchmarks, of_runs, of_boards, of_trainings):
            make(root, contents)
    return contents


def sections() -> dict[str, list[str]]:
    """Return the fields of each file that the pages tell, by its heading."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        text = on_page_markdown((ROOT / "docs" / "reference" / page).read_text(encoding="utf-8"))
        parts = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)
        for heading, body in zip(parts[1::2], parts[2::2], strict=True):
            cells = re.findall(r"^\| (.*?) \|", body, flags=re.MULTILINE)
            fields = [field for cell in cells for field in re.findall(r"`([^`]+)`", cell)]
            if fields:
                assert heading not in found, heading
                found[heading] = fields
    return found


SECTIONS = sections()


def paths(value: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key within."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*before, str(key))
            yield from paths(inner, (*before, str(key)))
    if isinstance(value, list):
        for inner in value:
            yield from paths(inner, (*before[:-1], f"{before[-1]}[]") if before else ())


def tells(field: str, path: tuple[str, ...]) -> bool:
    """Whether a documented field is the one at a path, or something within it, or has it in what is left open."""
    parts = field.split(".")
    for part, key in zip(parts, path):
        if part == "…":
            return True
        # A list may be empty.
        form = re.sub(r"<[^>]+>", ".+", re.escape(part)).replace(r"\[\]", r"(\[\])?")
        if not re.fullmatch(form, key):
            return False
    return len(path) <= len(parts)


def whole(field: str, path: tuple[str, ...]) -> bool:
    """Whether a path is all of a field."""
    return tells(field, path) and len(path) >= len(field.split("."))


@pytest.mark.parametrize("file", sorted(SECTIONS.keys() - BY_PEOPLE))
def test_every_field_of_a_file_stands_on_its_page(file: str, made: Made) -> None:
    known = {path for content in made[file] for path in paths(content)}
    assert known
    unknown = [path for path in sorted(known) if not any(tells(field, path) for field in SECTIONS[file])]
    assert not unknown, f"docs/reference: say under '{file}' what these are"


def test_a_record_keeps_every_field_of_a_run_that_may_stand_on_a_board(made: Made) -> None:
    whole = [run for run in made["run.json"] if run["status"] == "complete" and run["benchmark"].get("supports")]
    runs = [run for run in whole if not {"shard_by", "chosen_episodes", "objects"} & run["key"].keys()]
    assert len(runs) > 5
    for described in runs:
        kept = known_fields(described)
        environment = {name: value for name, value in described["environment"].items() if name != "benchmark_folder"}
        assert {**kept, "benchmark": described["benchmark"]} == {**described, "environment": environment}


def test_every_field_of_a_page_is_in_a_file(made: Made) -> None:
    assert sorted(made) == sorted(SECTIONS.keys() - BY_PEOPLE)
    known = {file: {path for content in contents for path in paths(content)} for file, contents in made.items()}
    unseen = {
        f"{file}: {field}"
        for file, keys in known.items()
        for field in SECTIONS[file]
        if not any(whole(field, path) for path in keys)
    }
    assert unseen <= GPU, sorted(unseen - GPU)
