"""Mask tubes: what each transform does to image and mask, the written and the on-the-fly tubes, seeds and workers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import fewshot_trees as trees
import numpy as np
import pytest

from icvos import cli
from icvos.benchmark import load_benchmark
from icvos.builders.check import check_benchmark
from icvos.builders.tubes.build import build_mask_tubes, encode_jpeg, plan_mask_tubes
from icvos.data.class_masks import ClassMasks, coco_masks
from icvos.data.mask_tubes import MEAN, TRANSFORMS, MaskTubes, Step, TubeRules, make_frame, plan_tube
from icvos.errors import SourceError, UsageError
from icvos.files import read_csv, read_json
from icvos.images import read_image
from icvos.masks import read_mask


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> ClassMasks:
    root = tmp_path_factory.mktemp("coco")
    annotations = trees.many(("dog", "cat", "car"), 9)
    counts = [10, 30, trees.SIZE[0] * trees.SIZE[1] - 40]
    annotations.append(trees.annotation(1, "dog", {"size": list(trees.SIZE), "counts": counts}, crowd=1))
    annotations.append(trees.annotation(2, "bear", trees.rectangle(2, 3, 20, 30)))  # the only bear
    return coco_masks(trees.coco(root, annotations, images=9), "val2014")


RULES = TubeRules(min_area=100)


@pytest.fixture
def picture() -> tuple[np.ndarray, np.ndarray]:
    """A red block on blue, away from the border; labels are 1 on it, 255 in a corner."""
    image = np.zeros((61, 81, 3), np.uint8)
    image[:] = (10, 20, 200)
    image[20:40, 25:55] = (250, 30, 20)
    labels = np.zeros((61, 81), np.uint8)
    labels[20:40, 25:55] = 1
    labels[:5, :5] = 255
    return image, labels


GEOMETRIC = [
    Step("rotate", (10.0,)),
    Step("rotate", (-7.5,)),
    Step("hflip"),
    Step("vflip"),
    Step("scale", (0.8,)),
    Step("scale", (1.25,)),
    Step("shift", (0.1, -0.05)),
]


@pytest.mark.parametrize("step", GEOMETRIC, ids=str)
def test_image_and_mask_move_together(picture: tuple[np.ndarray, np.ndarray], step: Step) -> None:
    image, labels = picture
    frame, moved = make_frame(image, labels, [step])
    assert frame.shape == image.shape and frame.dtype == np.uint8 and set(np.unique(moved)) <= {0, 1, 255}
    red = (frame[..., 0].astype(int) - frame[..., 2]) > 0
    # Image pixels are mixed at edges, mask pixels are not: only the outline may differ.
    differ = red & (moved == 0) & (frame[..., 2] < 60) | ~red & (moved == 1)
    outline = 2 * (20 + 30) * 1.3
    assert differ.sum() < outline
    # … and what moved is not where it was, with the area that the transform says.
    assert not np.array_equal(moved, labels)
    factor = step.values[0] ** 2 if step.name == "scale" else 1.0
    assert (moved == 1).sum() == pytest.approx(600 * factor, rel=0.06)


def test_the_middle_stays(picture: tuple[np.ndarray, np.ndarray]) -> None:
    """Rotation and scale are about the image's centre pixel: a mark there is there afterwards."""
    image, labels = picture
    labels = np.zeros_like(labels)
    labels[30, 40] = 1
    for step in (Step("rotate", (9.0,)), Step("scale", (1.2,)), Step("hflip"), Step("vflip")):
        assert make_frame(image, labels, [step])[1][30, 40] == 1


def test_rotation_is_filled_with_the_mean(picture: tuple[np.ndarray, np.ndarray]) -> None:
    frame, moved = make_frame(*picture, [Step("rotate", (10.0,))])
    # A corner that comes from outside the image.
    corner = next(frame[y, x] for y, x in ((0, 0), (0, -1), (-1, 0)) if abs(int(frame[y, x, 2]) - 200) > 20)
    assert np.array_equal(corner, np.round(MEAN)) and tuple(np.round(MEAN)) == (124, 116, 104)
    assert moved[-1, -1] == 0 and moved[0, -1] == 0


def test_flips_and_blur_by_definition(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    image = trees.noise(3, image.shape[:2])
    for step, index in ((Step("hflip"), np.s_[:, ::-1]), (Step("vflip"), np.s_[::-1])):
        frame, moved = make_frame(image, labels, [step])
        assert np.array_equal(frame, image[index]) and np.array_equal(moved, labels[index])
    frame, moved = make_frame(image, labels, [Step("blur")])
    assert moved is labels
    # A 5x5 Gaussian of sigma 1.1, borders mirrored: OpenCV's integer kernel is within a grey value or two.
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.1**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(float), ((2, 2), (2, 2), (0, 0)), "reflect")
    rows = sum(w * padded[k : k + image.shape[0]] for k, w in enumerate(weights))
    expected = sum(w * rows[:, k : k + image.shape[1]] for k, w in enumerate(weights))
    assert np.abs(frame - expected).max() <= 2


def test_occlusion_and_colour(picture: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = picture
    kept = labels.copy()
    frame, moved = make_frame(image, labels, [Step("occlude", (0.5, 0.3, 0.8, 1.0, 30.0))])
    hidden = (labels == 1) & (moved == 0)
    assert 20 < hidden.sum() < 600 and not ((labels == 0) & (moved == 1)).any()
    assert (frame[hidden] == np.round(MEAN)).all() and np.array_equal(labels, kept)
    frame, moved = make_frame(image, labels, [Step("colour", (1.2, 1.1, 0.5))])
    assert moved is labels and not np.array_equal(frame, image)
    same, _ = make_frame(image, labels, [Step("colour", (1.0, 1.0, 1.0))])
    assert np.array_equal(same, image)
    nothing = np.zeros_like(labels)
    assert make_frame(image, nothing, [Step("occlude", (0.5, 0.3, 0.8, 1.0, 30.0))])[1] is nothing


def test_plan_is_pure_and_shuffled() -> None:
    plans = [plan_tube(RULES, f"image{i}", 3) for i in range(200)]
    assert plans[7] == plan_tube(RULES, "image7", 3)
    places = [next(k for k, steps in enumerate(plan) if not steps) for plan in plans]
    # The original's place is even over five: 40 of each, standard deviation 5.7.
    assert all(15 < places.count(k) < 65 for k in range(5))
    for plan in plans:
        assert sorted(step.name for steps in plan for step in steps) == ["blur", "hflip", "rotate", "vflip"]
        (angle,) = next(steps[0].values for steps in plan if steps and steps[0].name == "rotate")
        assert abs(angle) <= 10
    angles = [steps[0].values[0] for plan in plans for steps in plan if steps and steps[0].name == "rotate"]
    assert min(angles) < -8 and max(angles) > 8
    others = [
        plan_tube(TubeRules(seed=1), "image7", 3),
        plan_tube(RULES, "image7", 4),
        plan_tube(RULES, "image7", 3, 1),
    ]
    assert all(plans[7] != other for other in others)


def test_longer_tubes_compose() -> None:
    rules = TubeRules(frames=12, transforms=("rotate", "scale", "shift", "colour", "occlude"))
    plan = plan_tube(rules, "a", 1)
    assert len(plan) == 12 and sorted(map(len, plan)) == [0] + [1] * 5 + [2] * 6
    assert all(len({step.name for step in steps}) == len(steps) for steps in plan)
    assert len(plan_tube(TubeRules(frames=2), "a", 1)) == 2
    assert [len(steps) for steps in plan_tube(TubeRules(frames=4, transforms=("hflip",)), "a", 1)].count(1) == 3
    assert set(TRANSFORMS) == {"rotate", "hflip", "vflip", "blur", "scale", "shift", "colour", "occlude"}


def test_written_tubes_are_those_on_the_fly(masks: ClassMasks, tmp_path: Path) -> None:
    """Masks equal, images equal before encoding; the original to the byte; all of it checked."""
    plan = plan_mask_tubes(masks, RULES, draws=2, shots=2)
    report = build_mask_tubes(plan, tmp_path / "B")
    assert check_benchmark(tmp_path / "B") == []
    bench = load_benchmark(tmp_path / "B")
    tubes = MaskTubes(masks, RULES)
    assert report.tubes == len(tubes) == len(bench.videos) == 19
    originals = 0
    for tube, video in zip((tubes[i] for i in range(len(tubes))), bench.videos):
        assert video == f"coco14__{tube.name}_c{tube.category}"
        assert bench.videos[video].frames == 5
        for index in range(5):
            assert np.array_equal(bench.annotation(video, tube.category, index), tube.masks[index])
            path = bench.frame_paths(video)[index]
            if tube.steps[index]:
                assert path.read_bytes() == encode_jpeg(tube.frames[index])
            else:
                assert path.read_bytes() == masks.path(masks.numbers[tube.name]).read_bytes()
                assert np.array_equal(read_image(path), tube.frames[index])
                originals += 1
        assert bench.videos[video].void_pixels == (tube.labels == 255).sum()
    assert originals == 19
    rows = read_csv(tmp_path / "B" / "frames.csv", ("source_frame",))
    assert {row["source_frame"].split()[0] for row in rows} == {"original", "rotate", "hflip", "vflip", "blur"}
    assert bench.header["rules"]["transforms"] == ["rotate", "hflip", "vflip", "blur"]


def test_crowds_and_supports(masks: ClassMasks, tmp_path: Path) -> None:
    build_mask_tubes(plan_mask_tubes(masks, RULES, shots=2), tmp_path / "B")
    bench = load_benchmark(tmp_path / "B")
    crowd = masks.names[0]
    if (f"coco14__{crowd}_c17", 17) in bench.pairs:
        assert bench.pairs[f"coco14__{crowd}_c17", 17].complete == "unsure"
    for episode in bench.episodes:
        own = bench.videos[episode.video].source_name
        pool = {masks.names[i] for i in masks.images_of(episode.category, 100)}
        if episode.category_name == "bear":
            assert episode.supports == (own,)  # nothing else shows one
        else:
            assert own not in episode.supports and set(episode.supports) < pool
            assert len(set(episode.supports)) == min(2, len(pool) - 1)
        support = bench.support(episode.category, episode.supports[0])
        assert support.mask.any()
    assert bench.header["counts"]["own_image_as_support"] == 1


@pytest.mark.slow
def test_real_images_same_seed_two_workers(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All 42 images: the same manifest on a second run and with two workers, another with another seed."""
    common = ("build-data", "mask-tubes", "--coco", real / "coco", "--split", "val2014", "--min-area", 1)
    status, text, err = run(capsys, *common, "--out", tmp_path / "one")
    assert status == 0, err
    assert "to write: 120 tubes of 5 frames, up to 1,440 files" in text
    assert "built" in text and "120 tubes of 40 images, 600 frames" in text  # two of the 42 have no annotation
    assert run(capsys, *common, "--out", tmp_path / "two", "--workers", 2, "--link")[0] == 0
    manifest = (tmp_path / "one" / "manifest.csv").read_bytes()
    assert manifest == (tmp_path / "two" / "manifest.csv").read_bytes()
    assert check_benchmark(tmp_path / "one", quick=True) == []
    few = (*common, "--limit", 6)
    assert run(capsys, *few, "--out", tmp_path / "few")[0] == run(capsys, *few, "--out", tmp_path / "few2")[0] == 0
    assert run(capsys, *few, "--out", tmp_path / "other", "--seed", 1)[0] == 0
    sums = [(tmp_path / name / "manifest.csv").read_bytes() for name in ("few", "few2", "other")]
    assert sums[0] == sums[1] != sums[2]
    # A limited build is a part of the whole, not another one.
    for path in sorted((tmp_path / "few" / "videos").rglob("*.png")):
        whole = tmp_path / "one" / path.relative_to(tmp_path / "few")
        assert np.array_equal(read_mask(path), read_mask(whole))


def test_resume_after_a_kill(masks: ClassMasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import icvos.builders.tubes.build as module

    build_mask_tubes(plan_mask_tubes(masks, RULES), tmp_path / "whole")
    real_write, written = module._write_tube, []
    monkeypatch.setattr(module, "_CHUNK", 4)

    def stop_at_ten(*arguments: Any) -> Any:
        if len(written) == 10:
            raise KeyboardInterrupt
        written.append(arguments[1:])
        return real_write(*arguments)

    monkeypatch.setattr(module, "_write_tube", stop_at_ten)
    with pytest.raises(KeyboardInterrupt):
        build_mask_tubes(plan_mask_tubes(masks, RULES), tmp_path / "B")
    assert not (tmp_path / "B").exists()
    # A finished tube, in the first chunk of four, lost a file meanwhile: its chunk is made again.
    image, category = written[3]
    lost = tmp_path / "B.partial" / "videos" / f"coco14__{masks.names[image]}_c{category}"
    next(lost.rglob("*.jpg")).unlink()
    first, written = written, []
    monkeypatch.setattr(module, "_write_tube", lambda *a: (written.append(a[1:]), real_write(*a))[1])
    build_mask_tubes(plan_mask_tubes(masks, RULES), tmp_path / "B")
    # Of five chunks, the second was whole; the third was cut short.
    assert len(written) == 19 - 4 and set(written) & set(first[4:8]) == set()
    assert (tmp_path / "B" / "manifest.csv").read_bytes() == (tmp_path / "whole" / "manifest.csv").read_bytes()


def test_dataset_in_a_torch_loader(masks: ClassMasks) -> None:
    torch = pytest.importorskip("torch")
    tubes = MaskTubes(masks, RULES, categories=[16, 17])
    assert {category for _, category in tubes.pairs} == {16, 17} and len(pickle.dumps(tubes)) < 20_000
    loader = torch.utils.data.DataLoader(tubes, batch_size=None, num_workers=1, multiprocessing_context="fork")
    for tube, index in zip(loader, range(3)):
        own = tubes[index]
        assert np.array_equal(np.asarray(tube.frames), own.frames) and tube.steps == own.steps


def test_training_examples(masks: ClassMasks) -> None:
    tubes = MaskTubes(masks, RULES)
    one, again, later = tubes.tube(4), tubes.tube(4), tubes.tube(4, epoch=1)
    assert one.frames.shape == (5, *trees.SIZE, 3) and one.masks.dtype == bool
    assert np.array_equal(one.frames, again.frames) and np.array_equal(one.labels, again.labels)
    assert not np.array_equal(one.frames, later.frames) and np.array_equal(one.frames, tubes[4].frames)
    assert tubes.describe()["tubes"] == len(tubes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--frames", 1), "a tube of 1 frame"),
        (("--transforms", "rotate,flip"), "did you mean 'vflip'"),
        (("--transforms", ""), "one at least"),
        (("--transforms", "hflip,hflip"), "once each"),
        (("--rotation", 0), "rotation is 0"),
        (("--min-area", 10**7), "lower --min-area"),
        (("--min-area", -5), "minimum area is -5"),
        (("--categories", "dgo"), "did you mean 'dog'"),
        (("--categories", "zebra"), "shows a category"),
        (("--split", "train2014"), "not found"),
        (("--draws", 0), "one at least"),
    ],
)
def test_bad_usage(
    masks: ClassMasks, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[object, ...], words: str
) -> None:
    status, _, err = run(
        capsys,
        "build-data",
        "mask-tubes",
        "--coco",
        masks.roots[0],
        "--split",
        "val2014",
        "--out",
        tmp_path / "B",
        *options,
    )
    assert status == 2 and words in err and err.count("\n") == 1
    assert not (tmp_path / "B").exists()


def test_a_missing_image_is_named_before_anything_is_written(tmp_path: Path) -> None:
    root = trees.coco(tmp_path / "C", trees.many(("dog", "cat"), 4))
    (root / "val2014" / "COCO_val2014_000000000003.jpg").unlink()
    plan = plan_mask_tubes(coco_masks(root, "val2014"), RULES)
    with pytest.raises(SourceError, match="000000000003 is listed but not there"):
        build_mask_tubes(plan, tmp_path / "B")
    assert not (tmp_path / "B").exists() and not (tmp_path / "B.partial").exists()
    with pytest.raises(UsageError, match="one at least"):
        plan_mask_tubes(coco_masks(root, "val2014"), RULES, limit=0)


def test_grey_and_png_sources(tmp_path: Path) -> None:
    """A PNG is encoded, a grey JPEG kept; both evaluate as colour."""
    from PIL import Image

    root = trees.coco(tmp_path / "C", trees.many(("dog",), 3), images=3)
    folder = root / "val2014"
    Image.fromarray(trees.noise(1)).convert("L").save(folder / "COCO_val2014_000000000001.jpg")
    path = root / "annotations" / "instances_val2014.json"
    path.write_text(path.read_text().replace("000000000002.jpg", "000000000002.png"))
    Image.open(folder / "COCO_val2014_000000000002.jpg").save(folder / "COCO_val2014_000000000002.png")
    build_mask_tubes(plan_mask_tubes(coco_masks(root, "val2014"), RULES), tmp_path / "B")
    assert check_benchmark(tmp_path / "B") == []
    bench = load_benchmark(tmp_path / "B")
    assert len(bench.videos) == 3
    for video in bench.videos:
        assert all(frame.shape == (*trees.SIZE, 3) for frame in bench.video(video))
    assert read_json(tmp_path / "B" / "benchmark.json")["counts"]["frames"] == 15
