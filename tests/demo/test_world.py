"""The drawn world: shapes, scenes, raw layouts and the training sampler."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pytest

from icvos.categories import COCO80, VOC20
from icvos.demo.benchmarks import SIZE_NAMES, demo_raw
from icvos.demo.world import version
from icvos.demo.world.coco_layout import mask_to_polygons, mask_to_runs
from icvos.demo.world.coco_shapes import COCO_FAMILIES
from icvos.demo.world.episodes import TrainingWorld
from icvos.demo.world.outline import Family, draw_alpha
from icvos.demo.world.paint import make_sprite
from icvos.demo.world.plan import SIZES, WorldSize, cast_of, clips, make_clip, make_picture, world_size
from icvos.demo.world.random_shapes import KINDS, RandomFamily
from icvos.demo.world.scene import Role, make_scene
from icvos.demo.world.sealed_shapes import SEALED_FAMILIES
from icvos.demo.world.training_shapes import TRAINING_FAMILIES
from icvos.demo.world.voc_layout import mat_file
from icvos.errors import UsageError
from icvos.files import read_json
from icvos.images import read_image
from icvos.masks import read_mask

HELD_OUT = {**COCO_FAMILIES, **SEALED_FAMILIES}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_raw("tiny", 0, tmp_path_factory.mktemp("world") / "raw")


def tree_hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# Shapes


def silhouette(family, seed: int) -> np.ndarray:
    return draw_alpha(family, 48, np.random.default_rng(seed)) > 127


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Best IoU of two silhouettes over mirroring and quarter turns."""
    views = [np.rot90(view, turn) for view in (second, second[:, ::-1]) for turn in range(4)]
    return max((first & view).sum() / (first | view).sum() for view in views)


def test_enough_families_and_none_in_both() -> None:
    assert len(TRAINING_FAMILIES) >= 40
    assert len(COCO_FAMILIES) == len(SEALED_FAMILIES) == 12 and len(HELD_OUT) == 24
    assert not set(TRAINING_FAMILIES) & set(HELD_OUT)
    assert all(COCO80.find(name) for name in HELD_OUT)
    functions = {family.function for family in (*TRAINING_FAMILIES.values(), *HELD_OUT.values())}
    assert len(functions) == len(TRAINING_FAMILIES) + len(HELD_OUT)


@pytest.mark.parametrize(
    ("families", "others"),
    [(COCO_FAMILIES, TRAINING_FAMILIES), (SEALED_FAMILIES, {**TRAINING_FAMILIES, **COCO_FAMILIES})],
    ids=["benchmark", "sealed"],
)
def test_no_shape_seen_before_is_a_held_out_shape(families: Mapping[str, Family], others: Mapping[str, Family]) -> None:
    """Two instances of one held-out family are closer to each other than a shape seen before comes to either."""
    for name, family in families.items():
        mine = [silhouette(family, seed) for seed in range(3)]
        for other_name, other in others.items():
            closest = max(overlap(shape, silhouette(other, seed)) for seed in range(2) for shape in mine)
            assert closest < 0.86, (name, other_name)


@pytest.mark.parametrize("name", sorted(HELD_OUT))
def test_instances_differ_but_belong_together(name: str) -> None:
    shapes = [silhouette(HELD_OUT[name], seed) for seed in range(4)]
    for i, first in enumerate(shapes):
        for second in shapes[i + 1 :]:
            assert 0.25 < overlap(first, second) < 1.0


@pytest.mark.parametrize(
    "family",
    [*TRAINING_FAMILIES.values(), *HELD_OUT.values(), *(RandomFamily(5, kind) for kind in KINDS)],
    ids=lambda family: family.name,
)
def test_every_family_draws_within_its_square(family) -> None:
    alpha = draw_alpha(family, 64, np.random.default_rng(3))
    inside = alpha > 127
    assert 0.05 < inside.mean() < 0.95
    # Centred and scaled to the square, but nothing is cut off at its border.
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert border.max() < 16
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) >= 54
    assert np.array_equal(alpha, draw_alpha(family, 64, np.random.default_rng(3)))


def test_random_families_are_categories() -> None:
    """A seed is a category: its instances overlap more than those of other seeds, on the average."""
    families = [RandomFamily.of(seed) for seed in range(21)]
    same = np.mean([overlap(silhouette(f, 1), silhouette(f, 2)) for f in families])
    other = np.mean(
        [overlap(silhouette(f, 1), silhouette(g, 2)) for f, g in zip(families, families[7:] + families[:7])]
    )
    assert same > other + 0.1


@pytest.mark.parametrize("families", [COCO_FAMILIES, SEALED_FAMILIES], ids=["benchmark", "sealed"])
def test_folds_of_both_few_shot_benchmarks_have_categories(families: Mapping[str, Family]) -> None:
    numbers = [COCO80.number(name) - 1 for name in families]
    assert {number % 4 for number in numbers} == {0, 1, 2, 3}
    voc = [VOC20.find(name) for name in families]
    assert {(number - 1) // 5 for number in voc if number} == {0, 1, 2, 3}


def test_colour_says_nothing_of_the_family() -> None:
    """Mean colours of two families, over many sprites, differ by no more than chance does."""

    def colours(family, first: int) -> np.ndarray:
        out = []
        for seed in range(first, first + 60):
            sprite = make_sprite(family, 32, np.random.default_rng(seed)).astype(float)
            out.append(sprite[..., :3].sum(axis=(0, 1)) / sprite[..., 3].sum() * 255)
        return np.array(out)

    one, two = colours(COCO_FAMILIES["bird"], 0), colours(COCO_FAMILIES["cup"], 1000)
    error = np.sqrt(one.var(axis=0) / 60 + two.var(axis=0) / 60)
    assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) < 4 * error).all()
    assert one.std(axis=0).min() > 25


# Scenes


def test_labels_are_what_is_seen() -> None:
    rng = np.random.default_rng(1)
    roles = [Role(COCO_FAMILIES["cup"]), Role(COCO_FAMILIES["kite"]), Role(TRAINING_FAMILIES["star"], annotated=False)]
    scene = make_scene(roles, (90, 120), 6, rng)
    for index in range(6):
        image, labels = scene.frame(index)
        assert image.shape == (90, 120, 3) and image.dtype == np.uint8
        assert labels.shape == (90, 120) and labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1, 2}
    # A frame does not depend on which were drawn before it.
    assert np.array_equal(scene.frame(3)[0], scene.frame(3)[0])


@pytest.mark.parametrize(
    ("path", "first", "middle", "last"),
    [
        ("late", False, None, True),
        ("leave", True, None, False),
        ("return", True, False, True),
    ],
)
def test_things_come_and_go(path: str, first: bool, middle: bool | None, last: bool) -> None:
    seen = []
    for seed in range(8):
        scene = make_scene([Role(COCO_FAMILIES["cup"], path)], (90, 120), 21, np.random.default_rng(seed), occluders=0)
        seen.append([bool(scene.frame(index)[1].any()) for index in (0, 12, 20)])
    share = np.mean(seen, axis=0)
    for measured, wanted in zip(share, (first, middle, last)):
        if wanted is not None:
            assert (measured > 0.7) if wanted else (measured < 0.4)


def test_a_clip_shows_its_target_and_more() -> None:
    size = world_size("tiny")
    clip = make_clip(size, 0, "davis", 0, "bird", extra_named=True)
    labels = [clip.scene.frame(index)[1] for index in range(clip.scene.frames)]
    wanted = [label for label, name in enumerate(clip.names, 1) if name == "bird"]
    assert np.mean([np.isin(frame, wanted).any() for frame in labels]) >= 0.25
    # Something of another category is in every scene, annotated or not.
    assert len(clip.scene.actors) > len(wanted)


@pytest.mark.slow
def test_the_default_world_has_all_that_makes_videos_hard() -> None:
    size = world_size("default")
    late = gone = returns = several = lit = 0
    for source in size.clips:
        for index, target in clips(size, 0, source):
            clip = make_clip(size, 0, source, index, target, extra_named=True)
            moments = np.linspace(0, clip.scene.frames - 1, 7).astype(int)
            seen = np.array(
                [[(clip.scene.frame(m)[1] == i + 1).any() for m in moments] for i in range(len(clip.names))]
            )
            late += int((~seen[:, 0] & seen.any(axis=1)).sum())
            gone += int((seen[:, 0] & ~seen[:, -1]).sum())
            returns += sum("101" in "".join(str(int(k)) for k, _ in groupby(row)) for row in seen)
            several += len(clip.names) > len(set(clip.names))
            lit += bool(np.ptp(clip.scene.light) > 0.1)
            assert len(clip.scene.actors) > sum(name == target for name in clip.names)
    assert min(late, gone, returns, several, lit) >= 3, (late, gone, returns, several, lit)


def test_the_training_cast_shares_nothing_with_the_benchmark() -> None:
    cast = cast_of(SIZES["large"])
    assert len(cast) == 68
    assert not set(cast) & set(COCO_FAMILIES)
    assert set(cast.values()) <= set(TRAINING_FAMILIES.values())
    picture = make_picture(SIZES["large"], 0, "train2014", 4)
    assert set(picture.names) <= set(cast)
    assert world_size("default").cast == "benchmark"


def test_the_sealed_world_is_the_default_one_with_another_cast() -> None:
    size = SIZES["sealed"]
    assert size.cast == "sealed" and cast_of(size) == SEALED_FAMILIES
    assert vars(size) == {**vars(SIZES["default"]), "cast": "sealed"}
    folds = [(COCO80.number(name) - 1) % 4 for name in cast_of(size)]
    assert [folds.count(fold) for fold in range(4)] == [3, 3, 3, 3]
    # Of training shapes there are images for the supports of videos alone: that size is no --size.
    assert set(SIZES) == {*SIZE_NAMES, "training"}


def test_unknown_size() -> None:
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        world_size("tiney")


# Raw layouts


def test_raw_is_a_pure_function(raw: Path, tmp_path: Path) -> None:
    again = tree_hashes(demo_raw("tiny", 0, tmp_path / "again"))
    assert again == tree_hashes(raw)
    other = tree_hashes(demo_raw("tiny", 1, tmp_path / "other"))
    assert len(set(other.values()) & set(again.values())) < len(again) / 10


def test_raw_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not empty"):
        demo_raw("tiny", 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_davis_layout(raw: Path) -> None:
    root = raw / "davis"
    semantics = read_json(root / "davis_semantics.json")
    listed = [
        name for split in ("train", "val") for name in (root / "ImageSets/2017" / f"{split}.txt").read_text().split()
    ]
    assert sorted(listed) == sorted(semantics) == sorted(p.name for p in (root / "JPEGImages/480p").iterdir())
    for name, objects in semantics.items():
        masks = sorted((root / "Annotations/480p" / name).iterdir())
        frames = sorted((root / "JPEGImages/480p" / name).iterdir())
        assert (
            [path.stem for path in masks] == [path.stem for path in frames] == [f"{i:05d}" for i in range(len(masks))]
        )
        for frame, mask in zip(frames, masks):
            labels = read_mask(mask, size=read_image(frame).shape[:2])
            assert set(np.unique(labels)) <= {0, 255, *map(int, objects)}


def test_lvos_and_mose_layouts(raw: Path) -> None:
    video = next((raw / "mose/train/Annotations").iterdir())
    assert len(video.name) == 8 and int(video.name, 16) >= 0
    meta = read_json(raw / "lvos/train/train_meta.json")["videos"]
    for name, video_meta in meta.items():
        stems = [path.stem for path in sorted((raw / "lvos/train/Annotations" / name).iterdir())]
        assert stems == [f"{1 + 5 * index:08d}" for index in range(len(stems))]
        for label, entry in video_meta["objects"].items():
            seen = [
                int(stem)
                for stem in stems
                if (read_mask(raw / "lvos/train/Annotations" / name / f"{stem}.png") == int(label)).any()
            ]
            span = entry["frame_range"]
            assert (int(span["start"]), int(span["end"]), int(span["frame_nums"])) == (seen[0], seen[-1] + 5, len(seen))


def test_coco_layout_masks_survive_their_polygons(raw: Path) -> None:
    from pycocotools import mask as rle

    size = world_size("tiny")
    data = json.loads((raw / "coco/annotations/instances_val2014.json").read_text())
    assert [c["id"] for c in data["categories"]] == list(COCO80.source_ids)
    kinds = {"crowd": 0, "grey": 0, "empty": 0}
    for index, entry in enumerate(data["images"]):
        path = raw / "coco/val2014" / entry["file_name"]
        assert path.name == f"COCO_val2014_{entry['id']:012d}.jpg"
        labels = make_picture(size, 0, "val2014", index).scene.frame(0)[1]
        assert labels.shape == read_image(path).shape[:2] == (entry["height"], entry["width"])
        mine = [a for a in data["annotations"] if a["image_id"] == entry["id"]]
        kinds["empty"] += not mine
        total = np.zeros(labels.shape, bool)
        for annotation in mine:
            kinds["crowd"] += annotation["iscrowd"]
            shape = annotation["segmentation"]
            codes = rle.frPyObjects(shape, *labels.shape)
            mask = rle.decode(codes if annotation["iscrowd"] else rle.merge(codes)).astype(bool)
            assert mask.sum() == annotation["area"]
            total |= mask
        assert np.array_equal(total, labels > 0)
        from PIL import Image

        with Image.open(path) as picture:
            kinds["grey"] += picture.mode == "L"
    assert all(kinds.values()), kinds
    assert len({a["id"] for a in data["annotations"]}) == len(data["annotations"])


def test_polygons_keep_holes_and_islands() -> None:
    from pycocotools import mask as rle

    mask = np.zeros((40, 50), bool)
    mask[2:30, 3:40] = True
    mask[6:12, 6:12] = mask[15:25, 10:30] = False
    mask[18:22, 15:20] = True  # an island in a hole
    mask[35, 45] = True  # one pixel alone
    codes = rle.merge(rle.frPyObjects(mask_to_polygons(mask), 40, 50))
    assert np.array_equal(rle.decode(codes), mask)
    assert np.array_equal(rle.decode(rle.frPyObjects({"counts": mask_to_runs(mask), "size": [40, 50]}, 40, 50)), mask)


@pytest.mark.parametrize("mask", [np.zeros((3, 4), bool), np.ones((3, 4), bool)], ids=["nothing", "everything"])
def test_runs_of_plain_masks(mask: np.ndarray) -> None:
    runs = mask_to_runs(mask)
    assert sum(runs) == 12 and sum(runs[1::2]) == mask.sum()


def test_voc_and_sbd_layouts(raw: Path) -> None:
    from scipy.io import loadmat

    voc = raw / "voc/VOC2012"
    names = (voc / "ImageSets/Segmentation/trainval.txt").read_text().split()
    known = {0, 255, *(VOC20.find(name) for name in COCO_FAMILIES if VOC20.find(name))}
    seen: set[int] = set()
    for name in names:
        size = read_image(voc / "JPEGImages" / f"{name}.jpg").shape[:2]
        classes = read_mask(voc / "SegmentationClass" / f"{name}.png", size=size)
        objects = read_mask(voc / "SegmentationObject" / f"{name}.png", size=size)
        assert np.array_equal(classes == 255, objects == 255)
        assert np.array_equal(classes == 0, objects == 0)
        seen |= set(map(int, np.unique(classes)))
    assert {0, 255} < seen <= known
    base = raw / "sbd/dataset"
    for name in (base / "train.txt").read_text().split():
        size = read_image(base / "img" / f"{name}.jpg").shape[:2]
        classes = loadmat(base / "cls" / f"{name}.mat")["GTcls"]["Segmentation"][0, 0]
        assert classes.shape == size and set(map(int, np.unique(classes))) <= known - {255}


def test_mat_file_reads_back() -> None:
    from scipy.io import loadmat

    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert np.array_equal(loadmat(io.BytesIO(mat_file("GTcls", labels)))["GTcls"]["Segmentation"][0, 0], labels)


# The version


# What the tiny world draws, under the names that are given to it: who changes one changes all, on purpose. The drawing
# was frozen before any model was trained for the record: after a change of it, the weights are to be trained anew.
DRAWN = {
    "drawing": "ecf1351f8c1b5821f689e456f22071701aeac6ee5d5b6d7743482afa4f478f42",
    "generator": "1-701b1c1689",
    "training pixels": "26f78ec4b4324486bee6c0fc2859f44839ec46515e68d35ed9c23599fd85a892",
    "benchmark pixels": "bf85259d6c45952ba6d18706d4ffb0bf4499aac3fafd3364bd9f32098d9034db",
    "sealed pixels": "5e0975f173d8b19df32e34819683ea2bc448116539b2053131a44dcb3458846c",
    "tables": "65a474498d267922b55b4b13388886678e09600b8b400c066909ad3e72fa2b72",
}


def pixels_of(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, str(array.dtype))).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def drawn_of(size: WorldSize) -> Iterator[np.ndarray]:
    """Return images and labels of a world: its clips, and a few of its images."""
    scenes = [
        make_clip(size, 0, source, index, target, extra_named=True).scene
        for source in size.clips
        for index, target in clips(size, 0, source)
    ]
    scenes += [make_picture(size, 0, stream, index).scene for stream in ("val2014", "voc") for index in range(4)]
    return (array for scene in scenes for index in range(scene.frames) for array in scene.frame(index))


@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 draws other pixels: another world")
def test_the_world_is_frozen(raw: Path) -> None:
    size = world_size("tiny")
    outlines = [silhouette(family, seed) for family in SEALED_FAMILIES.values() for seed in range(4)]
    world = TrainingWorld((48, 64), seed=3)
    seen = [world.clip(index, frames=3) for index in range(4)]
    tables = {name: file for name, file in tree_hashes(raw).items() if name.endswith((".json", ".csv", ".txt"))}
    assert {
        "drawing": version.DRAWING,
        "generator": version.GENERATOR_VERSION,
        "training pixels": pixels_of(array for clip in seen for array in (*clip.frames, *clip.labels)),
        "benchmark pixels": pixels_of(drawn_of(size)),
        "sealed pixels": pixels_of((*outlines, *drawn_of(replace(size, cast="sealed")))),
        "tables": hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest(),
    } == DRAWN


# Training data


def test_sampler_is_a_pure_function_and_can_be_sent() -> None:
    world = pickle.loads(pickle.dumps(TrainingWorld((48, 64), seed=4)))
    first, again, other = world.pair(7), TrainingWorld((48, 64), seed=4).pair(7), world.pair(8)
    assert np.array_equal(first.query_image, again.query_image) and first.name == again.name
    assert not np.array_equal(first.query_image, other.query_image)
    assert not np.array_equal(first.query_image, TrainingWorld((48, 64), seed=5).pair(7).query_image)


def test_sampler_draws_training_families_alone() -> None:
    world = TrainingWorld((48, 64), seed=1)
    names = {name for index in range(30) for name in world.still(index).names}
    plain = {name for name in names if not name.startswith(tuple(f"{kind}-" for kind in KINDS))}
    assert plain <= set(TRAINING_FAMILIES) and not names & set(COCO_FAMILIES)
    assert 0.25 < len(plain) / len(names) < 0.75


def test_pairs_show_the_target_in_the_support_and_sometimes_not_in_the_query() -> None:
    world = TrainingWorld((64, 64), seed=2, absent=0.3)
    pairs = [world.pair(index) for index in range(60)]
    assert all(pair.support_mask.any() for pair in pairs)
    absent = np.mean([not pair.query_mask.any() for pair in pairs])
    assert 0.1 < absent < 0.55
    assert pairs[0].support_image.shape == (64, 64, 3) and pairs[0].query_mask.dtype == np.bool_


def test_episodes_and_clips() -> None:
    world = TrainingWorld((48, 64), seed=3)
    episode = world.episode(0, frames=5, shots=2)
    assert episode.support_images.shape == (2, 48, 64, 3) and episode.support_masks.shape == (2, 48, 64)
    assert episode.frames.shape == (5, 48, 64, 3) and episode.masks.shape == (5, 48, 64)
    clip = world.clip(1, frames=4)
    assert clip.labels.max() <= len(clip.names) and clip.masks(clip.names[0]).shape == (4, 48, 64)
    assert not np.array_equal(clip.frames[0], clip.frames[3])


def test_worlds_share_families_between_images() -> None:
    stills = TrainingWorld((48, 48), seed=6).world(0, images=4)
    shared = [set(a.names) & set(b.names) for i, a in enumerate(stills) for b in stills[i + 1 :]]
    assert any(shared) and len({name for still in stills for name in still.names}) <= 5
