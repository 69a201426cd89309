"""PyTorch data sets: samples by (seed, epoch, index), whoever reads them; batches, lists, lazy videos; errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_trees import coco, many
from tiny import write_image_benchmark, write_video_benchmark
from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.utils.data import ConcatDataset, DataLoader

from icvos.benchmark import load_benchmark
from icvos.data.folds import test_categories as tested
from icvos.datasets import (
    DataOptions,
    EpisodeBatch,
    EpisodeDataset,
    EpisodeList,
    EpisodeSample,
    LazyFrames,
    PairDataset,
    TubeDataset,
    collate,
    fields,
    stack,
)
from icvos.datasets.fields import mapped
from icvos.errors import BenchmarkError, InputError, UsageError
from icvos.files import read_json, write_json
from icvos.images import nearest_resize, resize_image, squeezed
from icvos.manifest import write_manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return write_video_benchmark(tmp_path / "videos")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_image_benchmark(tmp_path / "images")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("bicycle", "car", "dog", "person")
    return coco(tmp_path_factory.mktemp("coco"), many(names, 24), images=24, split="train2014")


def tensors_of(value: Any) -> list[Tensor]:
    """Every tensor of a sample or batch, in order."""
    found: list[Tensor] = []
    mapped(value, lambda tensor: found.append(tensor) or tensor, Tensor)
    return found


def equal(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors_of(one), tensors_of(other), strict=True))


# ---- episodes --------------------------------------------------------------------------------------------------------


def test_a_whole_video_is_decoded_where_it_is_indexed(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_benchmark(videos)
    dataset = EpisodeDataset(benchmark, shots=2)
    sample, episode = dataset[0], benchmark.episodes[0]
    assert (sample.id, sample.name, sample.category) == (episode.id, episode.video, 1)
    assert sample.support_names == episode.supports[:2] and len(sample.supports) == 2
    stored = benchmark.supports(episode, 2)
    for mine, theirs in zip(sample.supports, stored, strict=True):
        assert np.array_equal(mine.image, theirs.image) and np.array_equal(mine.mask, theirs.mask)
        assert theirs.ignore is not None and np.array_equal(mine.ignore, theirs.ignore)
    decoded: list[int] = []
    read = type(benchmark.video(episode.video)).__getitem__
    monkeypatch.setattr(
        "icvos.benchmark.FolderVideo.__getitem__", lambda self, index: (decoded.append(index), read(self, index))[1]
    )
    assert isinstance(sample.frames, LazyFrames) and sample.frames.shape == (6, 40, 52, 3) and not decoded
    assert np.array_equal(sample.frames[-2], benchmark.video(episode.video)[4]) and decoded[0] == 4
    assert sample.frames[1:3].shape == (2, 40, 52, 3) and sample.masks[4:].shape == (2, 40, 52)
    assert sample.frames[:0].shape == (0, 40, 52, 3) and sample.masks[:0].dtype == torch.bool
    assert sample.visible.tolist() == [True, False, True, True, True, True]  # it hides on frame 1
    assert sample.ignores is None and sample.indices.tolist() == list(range(6)) and len(list(sample.frames)) == 6
    with pytest.raises(IndexError):
        sample.masks[6]


def test_clips_are_a_function_of_seed_epoch_and_index(videos: Path) -> None:
    dataset = EpisodeDataset(videos, frames=3, stride=2)
    benchmark = dataset.benchmark
    starts = set()
    for epoch in range(6):
        dataset.set_epoch(epoch)
        assert dataset.epoch == epoch
        for index, sample in enumerate(dataset):
            first, second, third = sample.indices.tolist()
            assert second - first == third - second == 2 and third < 6
            video = benchmark.video(sample.name)
            for position, frame in enumerate(sample.indices.tolist()):
                assert np.array_equal(sample.frames[position], video[frame])
                truth = benchmark.annotation(sample.name, sample.category, frame)
                assert np.array_equal(sample.masks[position], truth)
            assert equal(sample, dataset.get(epoch, index))
            starts.add((index, first))
    assert len(starts) == 2 * len(dataset)  # both places of every episode
    assert len(dataset) == len(benchmark.episodes) == 8
    assert equal(dataset[-1], dataset[7])
    others = [EpisodeDataset(videos, frames=3, stride=2, seed=seed) for seed in (0, 1)]
    draws = [[other.get(0, index).indices.tolist() for index in range(8)] for other in others]
    assert draws[0] != draws[1]
    for index in (8, -9):
        with pytest.raises(IndexError, match="of 8"):
            dataset[index]


@pytest.mark.parametrize(
    ("frames", "stride", "steps", "last"),
    [
        (1, 9, [], 0),
        (6, 1, [1] * 5, 5),
        (3, 9, [2, 2], 5),  # the stride shrinks to what fits
        (8, 1, [1] * 5 + [0] * 2, 5),  # the last frame again
    ],
)
def test_clips_of_short_videos(videos: Path, frames: int, stride: int, steps: list[int], last: int) -> None:
    indices = EpisodeDataset(videos, frames=frames, stride=stride)[0].indices
    assert indices.diff().tolist() == steps and (frames == 1 or int(indices[-1]) >= last - 1)


def test_protocol_and_size(videos: Path) -> None:
    stored, paper, square = (
        EpisodeDataset(videos, protocol, frames=6, size=size)[0]
        for protocol, size in ((None, None), ("paper", None), ("paper", 24))
    )
    for sample, size in ((paper, (512, 512)), (square, (24, 24))):
        assert np.array_equal(sample.frames[2], resize_image(stored.frames[2].numpy(), size))
        assert np.array_equal(sample.masks[2], nearest_resize(stored.masks[2].numpy(), size))
        assert np.array_equal(sample.supports[0].mask, nearest_resize(stored.supports[0].mask.numpy(), size))
    lazy = EpisodeDataset(videos, size=24)[0]
    assert lazy.frames.shape == (6, 24, 24, 3) and torch.equal(lazy.frames[2], square.frames[2])


def test_some_episodes_alone(videos: Path) -> None:
    episodes = load_benchmark(videos).episodes
    cars = EpisodeDataset(videos, episodes=[e for e in episodes if e.category == 3])
    assert [sample.category for sample in cars] == [3, 3]
    by_id = EpisodeDataset(videos, episodes=[episodes[1].id, episodes[0]])
    assert by_id.episodes == (episodes[1], episodes[0])
    with pytest.raises(UsageError, match="no episode 'tiny__v0__1__d9'"):
        EpisodeDataset(videos, episodes=["tiny__v0__1__d9"])


def test_image_benchmarks_have_one_frame(images: Path) -> None:
    dataset = EpisodeDataset(images)
    assert {episode.protocol for episode in dataset.episodes} == {"fss-native"} and len(dataset) == 8
    episode, sample = dataset.episodes[1], dataset[1]
    image, mask, ignore = dataset.benchmark.query(episode)
    assert np.array_equal(sample.frames[0], image) and np.array_equal(sample.masks[0], mask)
    assert sample.ignores is not None and np.array_equal(sample.ignores[0], ignore) and ignore.any()
    paper = EpisodeDataset(images, "fss-paper", frames=1)
    assert {episode.protocol for episode in paper.episodes} == {"fss-paper"}
    assert paper[0].frames.shape == (1, 512, 512, 3)


def test_what_does_not_fit_says_so(videos: Path, images: Path, tmp_path: Path) -> None:
    for options, words in (
        ({"frames": 0}, "frames is 0; expected 1 or more"),
        ({"shots": 0}, "shots is 0"),
        ({"shots": 3}, "no episode of 'tiny' has more than 2 supports"),
        ({"size": 0}, "size is 0; expected pixels of a side"),
        ({"protocol": "fss-paper"}, "does not fit this benchmark"),
        ({"protocol": "papr"}, "did you mean 'paper'"),
        ({"episodes": []}, "no episodes"),
    ):
        with pytest.raises(UsageError, match=words):
            EpisodeDataset(videos, **options)
    with pytest.raises(UsageError, match="clips of 2 frames, where 'tiny-20i' is of images; leave frames out"):
        EpisodeDataset(images, frames=2)
    with pytest.raises(BenchmarkError, match="benchmark not found"):
        EpisodeDataset(tmp_path / "nothing")
    header = read_json(videos / "benchmark.json", InputError)
    write_json(videos / "benchmark.json", {**header, "task": "vos"})
    write_manifest(videos)
    with pytest.raises(UsageError, match="semi-supervised VOS: its episodes have no supports"):
        EpisodeDataset(videos)


def test_each_file_is_compared_when_it_is_read(videos: Path) -> None:
    dataset = EpisodeDataset(videos)
    path = videos / "videos" / "tiny__v0" / "JPEGImages" / "00003.jpg"
    path.write_bytes((path.parent / "00004.jpg").read_bytes())
    frames = dataset[0].frames
    assert len(frames[:3]) == 3
    with pytest.raises(BenchmarkError, match=r"file changed since the benchmark was built; in .*00003\.jpg"):
        frames[3]
    mask = videos / "videos" / "tiny__v1" / "Annotations" / "1" / "00000.png"
    mask.write_bytes(mask.with_name("00001.png").read_bytes())
    with pytest.raises(BenchmarkError, match=r"changed since .*Annotations/1/00000\.png"):
        next(sample for sample in dataset if sample.name == "tiny__v1").masks[0]


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_samples_of_one_shape_are_stacked_and_others_listed(videos: Path, images: Path, raw: Path) -> None:
    dataset = EpisodeDataset(videos, shots=2, frames=4, size=32)
    samples = list(dataset)[:3]
    batch = collate(samples)
    assert isinstance(batch, EpisodeBatch) and len(batch) == 3
    assert batch.supports.shape == (3, 2, 32, 32, 3) and batch.supports.dtype == torch.uint8
    assert batch.support_masks.shape == batch.support_ignores.shape == (3, 2, 32, 32)
    assert batch.frames.shape == (3, 4, 32, 32, 3) and batch.masks.dtype == torch.bool and batch.ignores is None
    for row, sample in enumerate(samples):
        assert torch.equal(batch.supports[row, 1], sample.supports[1].image)
        assert torch.equal(batch.support_ignores[row, 0], sample.supports[0].ignore)
        assert torch.equal(batch.frames[row], sample.frames[:]) and torch.equal(batch.masks[row], sample.masks[:])
        assert torch.equal(batch.visible[row], sample.visible) and torch.equal(batch.indices[row], sample.indices)
    assert batch.ids == tuple(sample.id for sample in samples) and batch.categories.tolist() == [1, 1, 1]
    assert batch.to("meta").supports.device.type == "meta"
    shown = repr(batch)
    assert shown.startswith("EpisodeBatch(supports=uint8 (3, 2, 32, 32, 3), support_masks=bool (3, 2, 32, 32), ")
    assert "ignores=None" in shown and batch.ids[2] in shown
    assert "SupportSample(image=uint8 (32, 32, 3), mask=bool (32, 32), ignore=bool (32, 32))" in repr(samples[0])
    assert "frames=LazyFrames (" in repr(EpisodeDataset(videos)[0])
    # Where one says what is unknown, the others know all.
    pair = EpisodeDataset(images, shots=1, size=32)[0]
    mixed = stack([replace(EpisodeDataset(videos, frames=1, size=32)[0]), pair])
    assert mixed.ignores is not None and pair.ignores is not None
    assert not mixed.ignores[0].any() and torch.equal(mixed.ignores[1], pair.ignores)
    for others, words in (
        ([dataset[0], EpisodeDataset(videos, shots=2, frames=4)[0]], "supports of 32x32 and 48x36"),
        ([dataset[0], EpisodeDataset(videos, shots=2, frames=3, size=32)[0]], "frames of 3x32x32 and 4x32x32"),
        ([dataset[0], EpisodeDataset(videos, frames=4, size=32)[0]], "some have more supports"),
        ([EpisodeDataset(videos)[0]], "a video is lazy"),
    ):
        listed = collate(others)
        assert isinstance(listed, EpisodeList) and listed == others
        with pytest.raises(UsageError, match=words):
            stack(others)


# ---- pairs and tubes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("novel", ["background", "drop", "ignore"])
def test_pairs_follow_the_rules_of_the_papers(raw: Path, novel: str) -> None:
    options = DataOptions("coco-20i", raw, fold=1, min_area=50)
    dataset = PairDataset.open(options, shots=2, novel=novel)
    masks = dataset.sampler.pool.masks
    ignored = False
    for index in range(len(dataset)):
        sample = dataset[index]
        names = (*sample.support_names, sample.name)
        assert len(set(names)) == 3 and sample.category not in tested("coco-20i", 1)
        shown = [set(masks.categories_of(masks.numbers[name])) & set(tested("coco-20i", 1)) for name in names]
        if novel == "drop":
            assert not any(shown)
        image, labels = masks.read(masks.numbers[sample.name]), masks.mask(masks.numbers[sample.name], sample.category)
        assert np.array_equal(sample.frames[0], image) and np.array_equal(sample.masks[0], labels == 1)
        assert sample.ignores is not None and not (sample.ignores & sample.masks[:]).any()
        ignored |= bool(sample.ignores.any())
    assert ignored == (novel == "ignore")
    assert dataset.describe()["novel_in_train"] == novel and dataset.describe()["shots"] == 2
    square = PairDataset.open(options, shots=2, novel=novel, size=20)[0]
    frame, mask = squeezed(dataset[0].frames[0].numpy(), dataset[0].masks[0].numpy(), 20)
    assert np.array_equal(square.frames[0], frame) and np.array_equal(square.masks[0], mask)


def test_options_that_do_not_fit_say_so(raw: Path) -> None:
    options = DataOptions("coco-20i", raw, min_area=0)
    with pytest.raises(UsageError, match=r"^fold 7 does not exist; expected 0 to 3$"):
        PairDataset.open(replace(options, fold=7))
    with pytest.raises(UsageError, match=r"^novel in train 'x'; known: background, drop, ignore$"):
        PairDataset.open(options, novel="x")
    assert equal(PairDataset.open(replace(options, root=str(raw)))[0], PairDataset.open(options)[0])


def test_a_transform_changes_each_image_by_draws_of_the_sample(raw: Path) -> None:
    def transform(image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        number = int(generator.integers(1, 256))
        return np.full((8, 8, 3), number, np.uint8), np.ones((8, 8), np.uint8)

    dataset = PairDataset.open(DataOptions("coco", raw, min_area=50), transform=transform)
    sample = dataset[1]
    assert equal(sample, dataset[1]) and sample.masks[0].all()
    seen = {int(image[0, 0, 0]) for index in range(9) for image in (dataset[index].frames[0],)}
    assert len(seen) > 5 and sample.supports[0].image[0, 0, 0] != sample.frames[0][0, 0, 0]


def test_tubes_and_pairs_of_their_frames(raw: Path) -> None:
    options = DataOptions("mask-tubes", raw, min_area=50)
    clips, pairs = (TubeDataset.open(options, frames=4, pairs=pairs) for pairs in (False, True))
    assert [dataset[0].frames.shape[0] for dataset in (clips, pairs)] == [4, 1]
    assert clips[0].support_names[0] != clips[0].name and pairs[0].support_names == (pairs[0].name,)
    for dataset in (clips, pairs):
        names = []
        for epoch in (0, 1):
            dataset.set_epoch(epoch)
            names.append([(sample.name, sample.category) for sample in dataset])
        assert names[0] != names[1] and sorted(names[0]) == sorted(names[1])
    held = TubeDataset.open(options, "validation", frames=4)
    assert not {sample.name for sample in held} & {sample.name for sample in clips}
    for call, words in (
        (lambda: TubeDataset.open(options, "test"), "no part 'test'"),
        (lambda: TubeDataset.open(DataOptions("coco", raw)), "no tubes of 'coco'"),
        (lambda: PairDataset.open(DataOptions("mask-tubes", raw)), "no pairs of 'mask-tubes'"),
        (lambda: PairDataset.open(DataOptions("coco-20i")), "needs the raw data"),
        (lambda: PairDataset.open(DataOptions("coco-20i", raw, min_area=50), novel="dropp"), "did you mean 'drop'"),
    ):
        with pytest.raises(UsageError, match=words):
            call()


# ---- workers ---------------------------------------------------------------------------------------------------------


def loader(dataset: Any, **options: Any) -> DataLoader[Any]:
    values = {"batch_size": 2, "num_workers": 2, "collate_fn": collate, "multiprocessing_context": "fork", **options}
    return DataLoader(dataset, **values)


def kept(batches: Any) -> Iterator[Any]:
    """Batches of which none is let go before the next has come."""
    return iter(list(batches))


@pytest.mark.parametrize("size", [32, None])
def test_workers_give_what_this_process_gives(videos: Path, size: int | None) -> None:
    """In every epoch that is set, with persistent workers; batches that are kept are not written over."""
    dataset = EpisodeDataset(videos, frames=2, size=size)
    reads = loader(dataset, persistent_workers=True)
    for epoch in (0, 3, 1):
        dataset.set_epoch(epoch)
        for number, batch in enumerate(kept(reads)):
            own = collate([dataset.get(epoch, index) for index in (2 * number, 2 * number + 1)])
            assert type(batch) is type(own) and equal(batch, own)


def test_memory_of_a_batch_comes_again_once_it_is_let_go(videos: Path) -> None:
    """The worker's blocks are told apart by their files: many batches, few files, if none is kept."""

    class Told(EpisodeDataset):
        def get(self, epoch: int, index: int) -> EpisodeSample:
            sample = super().get(epoch, index)
            return replace(sample, name=str(len(fields._BLOCKS)))

    dataset = Told(videos, frames=2, size=32)
    reads = loader(dataset, num_workers=1, sampler=list(range(8)) * 5)
    most = [max(int(batch.names[-1]) for batch in batches) for batches in (reads, kept(reads))]
    assert most[0] <= 5 and most[1] >= 15


def test_lazy_videos_come_from_workers(videos: Path) -> None:
    dataset = EpisodeDataset(videos)
    for index, sample in enumerate(loader(dataset, batch_size=None, collate_fn=None)):
        assert isinstance(sample.frames, LazyFrames) and equal(sample, dataset[index])
        assert torch.equal(sample.frames[2], dataset[index].frames[2]) and len(pickle.dumps(sample.masks)) < 4000
        assert torch.equal(sample.masks[2:4], dataset[index].masks[2:4])


def test_spawned_workers_do_too(videos: Path, raw: Path) -> None:
    pairs = PairDataset.open(DataOptions("coco-20i", raw, min_area=50), size=32)
    tubes = TubeDataset.open(DataOptions("mask-tubes", raw, min_area=50), frames=2, size=32)
    parts = [EpisodeDataset(videos, frames=1, size=32), pairs, tubes]
    joined = ConcatDataset(parts)
    reads = loader(joined, batch_size=1, multiprocessing_context="spawn", persistent_workers=True)
    for epoch in (0, 2):
        for part in parts:
            part.set_epoch(epoch)
        for index, batch in enumerate(reads):
            assert equal(batch, stack([joined[index]]))


def test_an_error_in_a_worker_is_one_line(videos: Path) -> None:
    """As torch's loader hands it over: with the traceback in words; the loader itself takes ten seconds to end then."""
    path = videos / "videos" / "tiny__v2" / "JPEGImages" / "00000.jpg"
    path.write_bytes(path.read_bytes()[:-9])
    dataset = EpisodeDataset(videos, frames=6)
    with pytest.raises(BenchmarkError) as here:
        list(dataset)
    try:
        list(dataset)
    except BenchmarkError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 1")
    with pytest.raises(BenchmarkError) as there:
        pickle.loads(pickle.dumps(wrapped)).reraise()
    assert str(there.value) == str(here.value) and "00000.jpg" in str(here.value)


def test_data_sets_are_pickled(videos: Path, raw: Path) -> None:
    for dataset in (
        EpisodeDataset(videos, frames=2),
        PairDataset.open(DataOptions("coco-20i", raw, min_area=50)),
        TubeDataset.open(DataOptions("mask-tubes", raw, min_area=50)),
    ):
        dataset.set_epoch(3)
        again = pickle.loads(pickle.dumps(dataset))
        assert again.epoch == 3 and equal(again[1], dataset[1])
        again.set_epoch(4)
        assert dataset.epoch == 3
    batch = stack([EpisodeDataset(videos, frames=2, size=8)[0]])
    assert equal(pickle.loads(pickle.dumps(batch)), batch)


# ---- without torch ---------------------------------------------------------------------------------------------------


def test_without_torch_a_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; import icvos.datasets"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "MissingExtraError: icvos.datasets needs the package torch; install it with: " in last and "torch" in last
