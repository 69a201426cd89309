"""What a benchmark of semi-supervised VOS holds: which objects, told on which frame, in which videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from icvos.builders.ic_vos.plan import NothingLeft, Plan, PlannedVideo, video_name
from icvos.builders.ic_vos.video import frame_number
from icvos.errors import InputError, UsageError, counted
from icvos.masks import read_mask
from icvos.processes import in_order
from icvos.progress import Progress, Update, silent
from icvos.sources import SOURCES
from icvos.sources.base import LabelMap, SourceVideo, VideoSource

__all__ = ["VOS_SOURCES", "VosRule", "get_rule", "plan_vos"]


@dataclass(frozen=True)
class VosRule:
    """How a data set is used for semi-supervised VOS.

    Attributes:
        dataset: Its name with its version, whose counts (``icvos.sources.expected``) a whole split has.
        split: Its usual split.
        protocol: By which its numbers are published, as far as icvos has it.
        late: Whether objects that come after the first frame count; each is told on the frame where it is first seen.
        min_frames: Of a video, at least.
    """

    dataset: str
    split: str
    protocol: str = "native"
    late: bool = True
    min_frames: int = 2


# By the option of build-data. DAVIS drops the first and the last frame, so that three are the fewest.
VOS_SOURCES = {
    "davis": VosRule("DAVIS-2017", "val", "davis-2017", late=False, min_frames=3),
    "mose": VosRule("MOSE v1", "train"),
    "mose2": VosRule("MOSE v2", "train"),
    "lvos": VosRule("LVOS v2", "val"),
}


def get_rule(source: VideoSource) -> VosRule:
    """Return how a data set is used.

    Raises:
        UsageError: It is none of semi-supervised VOS.
    """
    rules = {SOURCES[name].id: rule for name, rule in VOS_SOURCES.items()}
    if source.id not in rules:
        raise UsageError(f"{source.title} is no benchmark of semi-supervised VOS", expected=", ".join(sorted(rules)))
    return rules[source.id]


def plan_vos(source: VideoSource, *, split: str, workers: int = 1, progress: Progress = silent) -> Plan:
    """Decide which objects are told, and on which frames.

    An object that comes late begins a video of its own on the frame where it is first seen, together with others that
    begin there, so that frame 0 shows all objects of a video.

    Args:
        source: The raw data.
        split: Of it, or ``all``.
        workers: Processes that look through masks.
        progress: Is told how many videos have been looked through.

    Raises:
        UsageError: Nothing is of the split.
        InputError: A mask is broken, or two videos would have one name.
    """
    rule, plan = get_rule(source), Plan()
    every = source.videos()
    splits = sorted({video.split for video in every} - {""})
    videos = [video for video in every if split in ("all", video.split)]
    if not videos:
        raise UsageError(
            f"no video of {source.title} is of split '{split}'",
            where=source.root,
            expected=" or ".join([*splits, "all"]),
            fix="give it with --split",
        )
    plan.left_out += [f"{source.id},{name}: {why}" for name, why in source.left_out.items()]
    tasks = ((source, video, rule.late) for video in videos)
    for number, (video, first) in enumerate(zip(videos, in_order(_first_frames, tasks, workers), strict=True)):
        progress(Update("videos looked through", number + 1, len(videos)))
        starts = sorted(set(first.values()))
        if not starts:
            where = "on any frame" if rule.late else "on its first frame"
            plan.left_out.append(f"{source.id},{video.name}: no object {where}")
        for start in starts:
            objects = [each for each, index in sorted(first.items()) if index == start]
            plan.videos.append(_planned(source, video, start, objects, known=sorted(first) if rule.late else ()))
    plan.videos.sort(key=lambda planned: planned.name)
    for one, other in pairwise(plan.videos):
        if one.name == other.name:
            raise InputError(
                f"two videos would be called '{one.name}': what comes late in one, and another of that name",
                where=source.root,
                fix=f"rename the folders of '{max(one.video.name, other.video.name, key=len)}'",
            )
    if not plan.videos:
        raise NothingLeft(
            f"nothing is left to build from {counted(len(videos), 'videos')}", plan.left_out, where=source.root
        )
    return plan


def _first_frames(task: tuple[VideoSource, SourceVideo, bool]) -> dict[int, int]:
    """Return the index of the frame that first shows each object; 0 for all where those that come late do not count.

    An id that DAVIS skips is no object, as for ``icvos score --ground-truth``.
    """
    source, video, late = task
    first: dict[int, int] = {}
    for index, frame in enumerate(source.frames(video)):
        (path,) = frame.masks
        seen = LabelMap(read_mask(path)).areas()
        for number in seen:
            first.setdefault(number, index)
        if not late or (video.all_objects and first.keys() >= video.objects.keys()):
            break
    return first


def _planned(
    source: VideoSource, video: SourceVideo, start: int, objects: Sequence[int], *, known: Sequence[int]
) -> PlannedVideo:
    name, begin = video_name(source, video.name), None
    if start:
        begin = frame_number(source.frames(video)[start].name)
        name += f"__from{begin:05d}"
    # What the data set says of where an object ends; the video ends with the last of them.
    ends = [video.spans[number][1] - 1 for number in objects if number in video.spans]
    end = max(ends) if len(ends) == len(objects) else None
    if end is not None and end < frame_number(source.frames(video)[start].name):
        end = None
    return PlannedVideo(
        source,
        replace(video, objects={}),  # what its objects are called does not count here
        name,
        {number: (number,) for number in objects},
        tuple(known),
        dict.fromkeys(objects, "yes"),
        (begin, end),
    )
