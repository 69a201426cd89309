"""The one listing: what other systems leave is no frame, suffixes count in any case, and frames go by their numbers."""

from __future__ import annotations

import os
import random
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from icvos.errors import InputError, PredictionError, SourceError
from icvos.evaluation.predictions import open_predictions
from icvos.evaluation.score_sequences import Sequences
from icvos.listing import files_by_stem, folders, frame_files, listing, match_stems, natural, path_of_stem
from icvos.masks import read_mask, write_mask
from icvos.sources.davis import Davis

STRAYS = (".DS_Store", "._00000.png", "Thumbs.db", "desktop.ini")
FOLDERS = ("__MACOSX", "@eaDir", ".ipynb_checkpoints")


def litter(root: Path) -> None:
    """Leave in every folder what other systems leave."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in STRAYS:
            (folder / name).write_bytes(b"\0\5\x16\7")
        for name in FOLDERS:
            (folder / name).mkdir()
            (folder / name / "00000.png").write_bytes(b"\0")


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).write_bytes(b"")
    return root


def test_strays_and_folders_are_no_files(tmp_path: Path) -> None:
    folder_of(tmp_path, "b.JPG", "a.png", "c.txt")
    (tmp_path / "d.png").mkdir()
    litter(tmp_path)
    assert [path.name for path in listing(tmp_path)] == ["a.png", "b.JPG", "c.txt"]
    assert [path.name for path in listing(tmp_path, (".png", ".jpg"))] == ["a.png", "b.JPG"]
    assert folders(tmp_path) == ["d.png"] and folders(tmp_path / "none") == []


def test_a_broken_link_is_listed_so_that_reading_names_it(tmp_path: Path) -> None:
    (tmp_path / "00000.png").symlink_to(tmp_path / "gone.png")
    assert list(files_by_stem(tmp_path, (".png",))) == ["00000"]


def test_frames_go_by_their_numbers(tmp_path: Path) -> None:
    folder_of(tmp_path, "img_10.png", "img_9.png", "img_100.PNG")
    assert list(frame_files(tmp_path, (".png",))) == ["img_9", "img_10", "img_100"]


def test_natural_order() -> None:
    stems = ["10", "9", "0009", "b2", "b10", "b", "a11x2", "a2x11", "1"]
    assert sorted(stems, key=natural) == ["1", "9", "0009", "10", "a2x11", "a11x2", "b", "b2", "b10"]


def test_frames_are_matched_by_text_else_by_number() -> None:
    assert match_stems(["00000", "00007"], ["0", "7", "8"]) == {"00000": "0", "00007": "7"}
    assert match_stems(["7", "8"], ["00007", "007", "7"]) == {"7": "7"}
    assert match_stems(["7"], ["00007", "007"]) == {}  # either could be meant
    assert match_stems(["a7", "b"], ["a007", "b"]) == {"b": "b"}
    assert match_stems(["7", "00007"], ["7"]) == {"7": "7"}  # no stem is two frames
    assert match_stems(["07", "007"], ["7"]) == {}


def test_a_stem_twice_a_stem_without_number_and_no_folder_are_errors(tmp_path: Path) -> None:
    folder_of(tmp_path, "1.png", "1.PNG")
    with pytest.raises(SourceError, match="'1' is there twice"):
        frame_files(tmp_path, (".png",), error=SourceError)
    (tmp_path / "1.PNG").rename(tmp_path / "one.png")
    with pytest.raises(InputError, match="'one' has no frame number"):
        frame_files(tmp_path, (".png",))
    with pytest.raises(PredictionError, match="folder not found"):
        listing(tmp_path / "none", error=PredictionError)


def test_a_stem_has_its_file_in_any_case(tmp_path: Path) -> None:
    folder_of(tmp_path, "a.png", "b.PNG", "d.Png", "e.pNg")
    names = [path_of_stem(tmp_path, stem, ".png").name for stem in "abcde"]
    assert names == ["a.png", "b.PNG", "c.png", "d.Png", "e.pNg"]
    for stem, path in files_by_stem(tmp_path, (".png",)).items():
        assert path_of_stem(tmp_path, stem, ".png") == path


def test_names_in_another_encoding_are_refused_in_print(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    (tmp_path / "cafés").mkdir()
    with pytest.raises(SourceError, match=r"the name 'caf\\xe9' is not UTF-8.*rename it"):
        folders(tmp_path, error=SourceError)
    folder_of(tmp_path, f"{name}.txt", "1.png")
    assert [path.name for path in listing(tmp_path, (".png",))] == ["1.png"]  # what is not read may be called anything
    folder_of(tmp_path, f"{name}.png")
    with pytest.raises(SourceError, match=r"the name 'caf\\xe9\.png' is not UTF-8.*rename it"):
        listing(tmp_path, (".png",), error=SourceError)


def test_readers_of_predictions_and_truth_see_masks_alone(tmp_path: Path) -> None:
    labels = np.eye(6, dtype=np.uint8)
    for index in range(3):
        write_mask(tmp_path / "masks/dog" / f"{index:05d}.{'PNG' if index == 1 else 'png'}", labels)
    litter(tmp_path / "masks")
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for path in sorted((tmp_path / "masks").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tmp_path / "masks"))
    for predictions in (open_predictions(tmp_path / "masks"), open_predictions(tmp_path / "masks.zip")):
        assert predictions.names() == ["dog"] and predictions.frames("dog") == ["00000", "00001", "00002"]
        assert predictions.size("dog", "00001") == (6, 6)
        assert np.array_equal(predictions.load("dog", "00001"), labels)
    truth = Sequences.open(tmp_path / "masks")
    assert truth.names == ("dog",) and truth.frames("dog") == ["00000", "00001", "00002"]
    assert np.array_equal(read_mask(truth.path("dog", "00001")), labels)


def test_a_source_sees_frames_alone(tmp_path: Path) -> None:
    images, masks = (tmp_path / part / "480p/dog" for part in ("JPEGImages", "Annotations"))
    for index in range(2):
        images.mkdir(parents=True, exist_ok=True)
        (images / f"{index:05d}.JPG").write_bytes(b"")
        write_mask(masks / f"{index:05d}.png", np.eye(6, dtype=np.uint8))
    litter(tmp_path)
    source = Davis(tmp_path)
    (video,) = source.videos()
    assert [frame.name for frame in source.frames(video)] == ["00000", "00001"]
    # One frame alone is a whole sequence, whatever lies beside it.
    for folder in (images, masks):
        next(folder.glob("00001.*")).unlink()
    assert [video.name for video in Davis(tmp_path).videos()] == ["dog"]


def test_strays_do_not_make_other_masks_of_them(tmp_path: Path) -> None:
    from icvos.evaluation.score import _fingerprint

    write_mask(tmp_path / "p/dog/00000.png", np.eye(6, dtype=np.uint8))
    before = _fingerprint(tmp_path / "p")
    litter(tmp_path / "p")
    assert _fingerprint(tmp_path / "p") == before
    shutil.copy(tmp_path / "p/dog/00000.png", tmp_path / "p/dog/00001.png")
    assert _fingerprint(tmp_path / "p") != before
    assert read_mask(tmp_path / "p/dog/00001.png").shape == (6, 6)


def test_five_thousand_folders_are_listed_right_or_refused(tmp_path: Path) -> None:
    """Names as people and systems make them: frames come in the order of their numbers, once each, or it says why."""
    generator = random.Random(0)
    pieces = ["0", "7", "00007", "10", "img_", "frame", " ", "ö", "中", "-", ".", "._", "x", "٣", "9" * 20]
    suffixes = [".png", ".PNG", ".jpg", ".JPEG", ".txt", "", ".png.bak", ".Png"]
    read = 0
    for number in range(5000):
        folder = tmp_path / str(number)
        folder.mkdir()
        names = {
            "".join(generator.choices(pieces, k=generator.randint(1, 3))) + generator.choice(suffixes)
            for _ in range(generator.randint(0, 4))
        } - {".", ".."}
        names |= {name for name in (".DS_Store", "Thumbs.db", "@eaDir") if generator.random() < 0.2}
        for name in names:
            (folder / name).write_bytes(b"")
        wanted = [
            name
            for name in names
            if Path(name).suffix.lower() in (".png", ".jpg", ".jpeg") and not name.startswith(".") and name != "@eaDir"
        ]
        assert sorted(path.name for path in listing(folder, (".png", ".jpg", ".jpeg"))) == sorted(wanted)
        try:
            frames = frame_files(folder, (".png", ".jpg", ".jpeg"), error=SourceError)
        except SourceError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
            continue
        read += 1
        assert sorted(path.name for path in frames.values()) == sorted(wanted)
        numbers = [int(re.findall("[0-9]+", stem)[-1]) for stem in frames]
        assert numbers == sorted(numbers) and all(path.stem == stem for stem, path in frames.items())
        matches = match_stems(list(frames), list(frames))
        assert matches == {stem: stem for stem in frames}
    assert 1000 < read < 4500
