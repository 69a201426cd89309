"""Few-shot VOS on YouTube-VIS: the four groups of test categories, and the episodes that authors' codes draw of them.

The codes draw from Python's own generator, and some of what they draw is thrown away; an episode list is the same only
if that is drawn too.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from icvos.errors import UsageError, did_you_mean

__all__ = ["EPISODE_LISTS", "GROUPS", "EpisodeList", "ListedEpisode", "get_episode_list", "group_categories"]

GROUPS = (1, 2, 3, 4)

AnnotatedFrames = Mapping[int, Mapping[int, Sequence[int]]]
"""By category and by the id of each video that it is annotated in: the indices of the frames on which it is."""


@dataclass(frozen=True)
class ListedEpisode:
    """An episode of a published list.

    Attributes:
        category: Its number.
        query: Id of the video.
        supports: Id of a video and index of a frame in it, one for each shot.
        run: From 0.
    """

    category: int
    query: int
    supports: tuple[tuple[int, int], ...]
    run: int = 0


@dataclass(frozen=True)
class EpisodeList:
    """How a code draws its test episodes.

    Attributes:
        name: As in ``--episodes``.
        protocol: By which its numbers are computed.
        runs: How often all is drawn, from one stream.
        supports_each_episode: Whether each episode draws its supports, and then a query from the other videos, which
            may be one that an earlier episode had; else a category draws once, and all other videos are its queries.
        seed: Of the code; None where it sets none.
        source: The code.
    """

    name: str
    protocol: str
    runs: int
    supports_each_episode: bool
    seed: int | None
    source: str

    def draw(self, frames: AnnotatedFrames, *, seed: int, shots: int) -> Iterator[ListedEpisode]:
        """Yield the episodes in the order of the code, as many a category as it has videos beyond the shots.

        Args:
            frames: The test categories' annotated frames.
            seed: Of the stream.
            shots: Supports of an episode, each from another video.

        Raises:
            UsageError: A video is drawn in which the category is annotated on no frame; the code stops there too.
        """
        stream = random.Random(seed)
        for run in range(self.runs):
            for category in sorted(frames):
                videos = sorted(frames[category])
                supports: tuple[tuple[int, int], ...] = ()
                others: list[int] = []
                for episode in range(len(videos) - shots):
                    if episode == 0 or self.supports_each_episode:
                        drawn = stream.sample(videos, shots)
                        others = [video for video in videos if video not in drawn]
                        supports = tuple((video, _draw_frame(stream, frames, category, video)) for video in drawn)
                    query = stream.choice(others) if self.supports_each_episode else others[episode]
                    _draw_frame(stream, frames, category, query)  # and not used: all frames are the query
                    yield ListedEpisode(category, query, supports, run)


def _draw_frame(stream: random.Random, frames: AnnotatedFrames, category: int, video: int) -> int:
    if not frames[category][video]:
        raise UsageError(
            f"category {category} is annotated on no frame of video {video}, where the authors' code stops",
            fix="take --episodes frozen, which leaves such a video out",
        )
    return stream.sample(list(frames[category][video]), 1)[0]


_DANET = "scutpaul/DANet at f0bc57d9"
_TTI = "MSiam/tti_fsvos at e7363672"

# By the word of build-data.
EPISODE_LISTS = {
    rule.name: rule
    for rule in (
        EpisodeList("danet", "fsvos-danet", 1, False, None, _DANET),
        EpisodeList("tti-v1", "fsvos-tti", 5, False, 2020, _TTI),
        EpisodeList("tti-v2", "fsvos-tti", 5, True, 2020, _TTI),
    )
}


def get_episode_list(name: str) -> EpisodeList:
    """Return how a published list is drawn.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in EPISODE_LISTS:
        raise UsageError(f"no episode list '{name}'", fix=did_you_mean(name, EPISODE_LISTS))
    return EPISODE_LISTS[name]


def group_categories(group: int, categories: Iterable[int]) -> list[int]:
    """Return the test categories of a group, ascending: every fourth number, the first of which is the group's.

    Of the 40 categories of YouTube-VIS 2019 that is ten; the others are for training.

    Raises:
        UsageError: No group, or none of its categories is there.
    """
    if group not in GROUPS:
        raise UsageError(f"group is {group}", expected="1 to 4")
    chosen = [number for number in sorted(categories) if (number - group) % len(GROUPS) == 0]
    if not chosen:
        raise UsageError(
            f"no category is in group {group}", expected="categories whose numbers go round the four groups"
        )
    return chosen
