"""Video files: every frame as one pass over the file decodes it, few of them in memory, broken files in one line."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import SIZE
from video_files import decode, write_video

from icvos import Video, videos
from icvos.errors import InputError
from icvos.videos import VideoFile


@pytest.mark.parametrize(
    ("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.webm", "VP80"), ("a.mkv", "mp4v")]
)
def test_every_frame_whatever_the_order(tmp_path, name, code):
    wanted = decode(write_video(tmp_path / name, 30, code))
    video = VideoFile(tmp_path / name)
    assert isinstance(video, Video) and (len(video), video.size) == (30, SIZE)
    assert video.fps == pytest.approx(25)
    order = [*range(30), *np.random.default_rng(0).integers(-30, 30, 40), 29, 0, 29, 1]
    assert all((video[int(index)] == wanted[index]).all() for index in order)
    assert all((frame == other).all() for frame, other in zip(video, wanted, strict=True))
    with pytest.raises(IndexError):
        video[30]


def test_a_frame_may_be_written_into(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.avi"))
    wanted = video[3].copy()
    video[3][:] = 0
    assert (video[3] == wanted).all()


def test_looking_back_to_one_frame_decodes_it_once(tmp_path, monkeypatch):
    """A method that compares each frame with the first would else decode the video again for each."""
    opened = []
    video = VideoFile(write_video(tmp_path / "a.avi", 60))
    read = videos._open
    monkeypatch.setattr(videos, "_open", lambda path: (opened.append(path), read(path))[1])
    for index in range(60):
        assert video[index].shape == video[0].shape
    assert len(opened) == 1


def test_few_frames_are_kept(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.avi", 60))
    for index in [*range(60), 50, 3]:
        video[index]
    assert all(len(one._kept) <= videos.KEPT for one in (video._forward, video._again))


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.webm", "VP80"), ("a.mkv", "mp4v")])
def test_a_video_that_was_cut_ends_early(tmp_path, name, code):
    path = write_video(tmp_path / name, 30, code)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(InputError, match=r"video ends early: \d+ of 30 frames can be decoded; in .*a\."):
        VideoFile(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"hello" * 100, "cannot be decoded"), (b"", "is empty"), (b"<html><body>log in", "is an HTML page")],
)
def test_what_is_no_video(tmp_path, capfd, data, says):
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"video {says}.*; in .*a.mp4"):
        VideoFile(path)
    assert capfd.readouterr().err == ""


def test_frames_are_counted_not_believed(tmp_path):
    """An AVI's header says how many frames there are, and may be wrong."""
    path = write_video(tmp_path / "a.avi", 30)
    data = bytearray(path.read_bytes())
    place = data.index(b"avih") + 8 + 16
    assert int.from_bytes(data[place : place + 4], "little") == 30
    seen = []
    video = VideoFile(path, progress=seen.append)
    assert len(video) == 30 and [update.done for update in seen] == list(range(1, 31)) and seen[0].total == 30
