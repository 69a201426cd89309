"""The authors' lists: read safely, and their episodes drawn again exactly as their code draws them."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from author_trees import write_lists

from icvos.data.author_lists import SEED, check_names, read_lists, replay
from icvos.data.folds import test_categories as tested
from icvos.errors import SourceError, UsageError


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}_{index:06d}" for index in range(count)]


def test_lists_are_read_in_their_order(tmp_path: Path) -> None:
    by_category = {2: names("2008", 3)[::-1], 1: names("2007", 4)}
    root = write_lists(tmp_path, 0, by_category, ["2008_000001", "2007_000003", "2008_000001"])
    lists = read_lists(root, 0)
    assert lists.by_category == by_category and list(lists.by_category) == [2, 1]
    assert lists.order == ("2008_000001", "2007_000003", "2008_000001")
    assert read_lists(root / "fss_list" / "val", 0) == read_lists(root, 0)
    check_names(lists, [*names("2007", 4), *names("2008", 9)], "val")
    with pytest.raises(SourceError, match="3 images of the list are not in val, 2008_000001 for one"):
        check_names(lists, names("2007", 4), "val")


def test_real_hsnet_lists(real: Path) -> None:
    """The counts of the public files, counted with other tools: ``cut -d_ -f1,2 | sort -u`` and ``grep -c __NN``."""
    expected = {0: (345, 346), 1: (433, 451), 2: (587, 725), 3: (326, 346)}
    for fold, (images, lines) in expected.items():
        path = real / "folds" / "pascal" / "val" / f"fold{fold}.txt"
        entries = path.read_text().split()
        assert (len({entry[:11] for entry in entries}), len(entries)) == (images, lines)
        lists = read_lists(real / "folds" / "pascal", fold)
        assert set(lists.by_category) == set(tested("pascal-5i", fold))
        assert [f"{n}__{c:02d}" for c, v in lists.by_category.items() for n in v] == sorted(
            entries, key=lambda entry: list(lists.by_category).index(int(entry[-2:]))
        )
        assert len(lists.order) == images and lists.order[0] == entries[0][:11]
        # What a fold trains on are the other folds' files.
        train = read_lists(real / "folds" / "pascal", fold, part="train")
        assert set(train.by_category) == set(range(1, 21)) - set(tested("pascal-5i", fold))


def test_coco_stream(tmp_path: Path) -> None:
    """The global generators, seeded and called as the authors' data set does: category, query, support, each one
    ``np.random.choice(list, 1, replace=False)``."""
    fold, categories = 1, tested("coco-20i", 1)
    by_category = {c: [f"COCO_val2014_{c * 1000 + i:012d}" for i in range(2 + c % 7)] for c in categories}
    lists = read_lists(write_lists(tmp_path, fold, by_category, ["COCO_val2014_000000000001"]), fold)
    found = list(replay(lists, fold, categories, coco=True, count=300))
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(321)  # noqa: NPY002
        expected = []
        for _ in range(300):
            # Their ids are one less than the list's keys.
            class_sample = np.random.choice([c - 1 for c in categories], 1, replace=False)[0]  # noqa: NPY002
            files = by_category[int(class_sample) + 1]
            query = np.random.choice(files, 1, replace=False)[0]  # noqa: NPY002
            support = query
            while support == query:
                support = np.random.choice(files, 1, replace=False)[0]  # noqa: NPY002
            expected.append((int(class_sample) + 1, str(query), (str(support),)))
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert [(e.category, e.query, e.supports) for e in found] == expected
    assert len({e.id for e in found}) == 300 and {e.protocol for e in found} == {"fss-paper"}
    # Some supports were drawn twice because they were the query: the loop above was gone through.
    assert any(e.draw for e in found)


def test_pascal_stream(tmp_path: Path) -> None:
    """Queries in turn, the category by ``random.randint`` among those that the mask shows, the support by numpy."""
    fold, categories = 2, tested("pascal-5i", 2)
    by_category = {c: names(f"20{c}", 4) for c in categories}
    order = [name for files in by_category.values() for name in files][::-1]
    # Masks show two categories of the fold, and one that is not.
    shown = {name: [int(name[2:4]), 11 + (int(name[2:4]) - 10) % 5, 3] for name in order}
    lists = read_lists(write_lists(tmp_path, fold, by_category, order), fold)
    found = list(replay(lists, fold, categories, coco=False, categories_of=lambda name: shown[name], count=200))
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002
        expected = []
        for index in range(200):
            query = order[index % len(order)]
            labels = [c for c in sorted(set(shown[query])) if c in categories]
            category = labels[random.randint(1, len(labels)) - 1]
            support = query
            while support == query:
                support = str(np.random.choice(by_category[category], 1, replace=False)[0])  # noqa: NPY002
            expected.append((category, query, (support,)))
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
    assert [(e.category, e.query, e.supports) for e in found] == expected


def test_first_draws_of_the_seed(tmp_path: Path) -> None:
    """Written down once from numpy's legacy stream, so that a change of numpy would be noticed."""
    state = np.random.RandomState(321)
    firsts = [int(state.permutation(20)[0]), int(state.permutation(6)[0]), int(state.permutation(6)[0])]
    categories = tested("coco-20i", 0)
    by_category = {c: [f"n{c}_{i}" for i in range(6)] for c in categories}
    lists = read_lists(write_lists(tmp_path, 0, by_category, ["n1_0"]), 0)
    (episode,) = replay(lists, 0, categories, coco=True, count=1)
    category = categories[firsts[0]]
    assert (episode.category, episode.query) == (category, f"n{category}_{firsts[1]}")
    assert firsts == FIRSTS


FIRSTS = [0, 3, 0]


def test_replay_refuses_what_it_cannot_do(tmp_path: Path, real: Path) -> None:
    categories = tested("pascal-5i", 0)
    hsnet = read_lists(real / "folds" / "pascal", 0)
    with pytest.raises(UsageError, match="HSNet"):
        next(replay(hsnet, 0, categories, coco=False, categories_of=lambda name: [1]))
    lists = read_lists(write_lists(tmp_path, 0, {1: ["a"], 2: names("b", 2)}, ["a", "c"]), 0)
    with pytest.raises(SourceError, match="no image but the query"):  # the authors' loop would never end
        next(replay(lists, 0, categories, coco=False, categories_of=lambda name: [1]))
    with pytest.raises(SourceError, match="shows no category of fold 0"):
        next(replay(lists, 0, categories, coco=False, categories_of=lambda name: [17]))
    with pytest.raises(SourceError, match="category 3 has no images"):
        next(replay(lists, 0, (3,), coco=True))
    with pytest.raises(UsageError, match="fold 4"):
        read_lists(tmp_path, 4)


def text(content: str, name: str = "sub_class_file_list_0.txt") -> Callable[[Path], Any]:
    return lambda place: (place / name).write_text(content)


def _pickle(place: Path) -> None:
    for name in ("data_list_0.txt", "sub_class_file_list_0.txt"):
        (place / name).unlink()
    (place / "fold0.pkl").write_bytes(pickle.dumps({0: ["a"]}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (text("{1: [(open('was-run', 'w'), 'b')]}"), "nothing of it was run"),
        (text("__import__('os').system('touch was-run')"), "nothing of it was run"),
        (text("(" * 5000 + ")" * 5000), "nothing of it was run"),
        (text("{1: [('a.jpg', 'a.png')"), "nothing of it was run"),
        (text("[1, 2]"), "no dict"),
        (text("{}"), "no dict"),
        (text("{'dog': [('a.jpg', 'a.png')]}"), "entry 'dog'"),
        (text("{True: [('a.jpg', 'a.png')]}"), "entry 'True'"),
        (text("{0: []}"), "entry '0'"),
        (text("{1: ['a.jpg']}"), "something else than pairs"),
        (text("{1: [('a.jpg', 'a.png', 'b')]}"), "something else than pairs"),
        (text("{1: [(5, 'a.png')]}"), "list holds int"),
        (text("{1: [('/data/', 'a.png')]}"), "no valid image name"),
        (text("{1: [('/data/a b.jpg', 'a.png')]}"), "no valid image name"),
        (text("/data/a.jpg\n", "data_list_0.txt"), "line 1 has 1 fields"),
        (lambda place: (place / "data_list_0.txt").write_bytes(b"\xff\xfe"), "list is empty"),
        (lambda place: (place / "data_list_0.txt").unlink(), "no lists of fold 0"),
        (_pickle, "pickle"),
    ],
)
def test_bad_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], Any], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    root = write_lists(tmp_path, 0, {1: ["a", "b"]}, ["a"])
    damage(root / "fss_list" / "val")
    with pytest.raises(SourceError, match=words) as caught:
        read_lists(root, 0)
    assert "\n" not in str(caught.value) and not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("line", ["2007_000033", "2007_000033__x", "__1", "2007_000033__-1", "a__9999"])
def test_bad_hsnet_lists(tmp_path: Path, line: str) -> None:
    (tmp_path / "fold0.txt").write_text(f"2007_000032__01\n{line}\n")
    with pytest.raises(SourceError, match=r"line 2 is|no valid image name"):
        read_lists(tmp_path, 0)


def test_windows_paths_and_other_suffixes(tmp_path: Path) -> None:
    (tmp_path / "data_list_0.txt").write_text("C:\\data\\2007_000033.JPG C:\\data\\2007_000033.png\n")
    (tmp_path / "sub_class_file_list_0.txt").write_text(repr({1: [("C:\\data\\2007_000033.JPG", "x")]}))
    lists = read_lists(tmp_path, 0)
    assert lists.order == ("2007_000033",) and lists.by_category == {1: ["2007_000033"]}
