"""Episodes as folders for a machine without icvos: those that ``exec:`` gives a program, frames written once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icvos.benchmark import Benchmark, Episode
from icvos.costs import bytes_in
from icvos.errors import UsageError
from icvos.evaluation.torch_state import episode_seed
from icvos.exports.folder import SCHEMA, begin_export, check_outside
from icvos.files import lock_folder, remove_partial_files, work_folder
from icvos.models.program import FrameFormat, frame_name, write_frame, write_request
from icvos.progress import Progress, Update, silent
from icvos.protocols import Protocol
from icvos.runs.episodes import RunOptions, get_run_protocol, select_episodes
from icvos.view import Frames, View

__all__ = ["Export", "plan_export"]


@dataclass(frozen=True)
class Export:
    """Episodes to be written.

    Attributes:
        benchmark: Opened.
        protocol: That says at what size and length.
        episodes: Those to be written.
        shots: Supports of each.
        seed: Of the run, from which each episode has its own.
        frames: How images are written.
        limit_episodes: What limited the episodes, or None.
    """

    benchmark: Benchmark
    protocol: Protocol
    episodes: Sequence[Episode]
    shots: int
    seed: int
    frames: FrameFormat
    limit_episodes: int | None

    @property
    def content(self) -> dict[str, Any]:
        """What ``export.json`` says: all that decides what is written."""
        return {
            "schema": SCHEMA,
            "benchmark": self.benchmark.name,
            "version": self.benchmark.version,
            "manifest_sha256": self.benchmark.manifest_sha256,
            "protocol": self.protocol.name,
            "shots": self.shots,
            "seed": self.seed,
            "frames": self.frames,
            "limit_episodes": self.limit_episodes,
        }

    @property
    def videos(self) -> dict[str, Episode]:
        """An episode of each video, by the video's name."""
        return {episode.video: episode for episode in reversed(self.episodes)}

    def frame_count(self) -> int:
        """Return how many frames are written."""
        view = self._view()
        return sum(view.frame_count(episode) for episode in self.videos.values())

    def _view(self) -> View:
        """Return the benchmark as the protocol sees it; a view keeps the supports that it gave."""
        return View(self.benchmark, self.protocol)

    def estimate(self) -> int:
        """Return about how many bytes are written: by the first, middle and last video's first frame and episode."""
        view, names = self._view(), sorted(self.videos)
        chosen = sorted({names[0], names[len(names) // 2], names[-1]})
        with work_folder("icvos-export") as folder:
            frames = episodes = 0.0
            for name in chosen:
                episode = self.videos[name]
                path = folder / frame_name(0, self.frames)
                write_frame(path, _frames(view, episode)[0])
                frames += path.stat().st_size / len(chosen)
                path.unlink()
                _write_episode(self, view, episode, folder)
                episodes += bytes_in(folder / "supports") / len(chosen)
        return round(frames * self.frame_count() + episodes * len(self.episodes))

    def write(self, out: Path, *, progress: Progress = silent) -> None:
        """Write ``out/videos``, ``out/episodes`` and the empty folders of ``out/masks``; what is there is kept.

        Raises:
            InputError: Something else is in the folder, or it lies in a benchmark, a run or an export.
            LockedError: Another process works in it.
        """
        check_outside(out)
        with lock_folder(out):
            begin_export(out, self.content)
            for done, _ in enumerate(self._steps(out), 1):
                progress(Update("folders", done, len(self.videos) + len(self.episodes)))

    def _steps(self, out: Path) -> Iterator[None]:
        for name, episode in self.videos.items():
            frames, folder = _frames(self._view(), episode), out / "videos" / name
            folder.mkdir(parents=True, exist_ok=True)
            remove_partial_files(folder)
            for index in range(len(frames)):
                path = folder / frame_name(index, self.frames)
                if not path.exists():
                    write_frame(path, frames[index])
            yield
        for episode in self.episodes:
            folder = out / "episodes" / episode.id
            if not (folder / "request.json").is_file():
                masks = out / "masks" / episode.id
                for each in (folder, masks):
                    each.mkdir(parents=True, exist_ok=True)
                # A program that takes the folder alone finds both where exec: has them.
                _link(folder / "frames", f"../../videos/{episode.video}")
                _link(folder / "masks", f"../../masks/{episode.id}")
                _write_episode(self, self._view(), episode, folder)
            yield


def _frames(view: View, episode: Episode) -> Frames:
    if view.benchmark.kind == "video":
        return view.video(episode.video)
    image = view.query(episode)[0]
    return Frames(lambda index: image, 1, (image.shape[0], image.shape[1]))


def _write_episode(export: Export, view: View, episode: Episode, folder: Path) -> None:
    frames = _frames(view, episode)
    write_request(
        folder,
        view.supports(episode, export.shots),
        f"../../videos/{episode.video}",
        len(frames),
        size=frames.size,
        seed=episode_seed(export.seed, episode.id),
        kind=export.frames,
        masks=f"../../masks/{episode.id}",
    )


def _link(path: Path, target: str) -> None:
    if not path.is_symlink():
        path.symlink_to(target)


def plan_export(
    benchmark: Benchmark,
    *,
    protocol: str = "",
    shots: int = 1,
    seed: int = 0,
    frames: FrameFormat = "png",
    limit_episodes: int | None = None,
) -> Export:
    """Return what is to be written of a benchmark.

    Args:
        benchmark: Opened.
        protocol: Its name; the benchmark's default if empty.
        shots: Supports of each episode.
        seed: As that of ``icvos evaluate``.
        frames: How images are written.
        limit_episodes: Only the first so many.

    Raises:
        UsageError: The benchmark is of semi-supervised VOS, or there are not so many supports.
    """
    if benchmark.vos:
        raise UsageError(
            f"'{benchmark.name}' has no supports to be written: frame 0's mask is told",
            fix="icvos score --ground-truth scores label maps; icvos evaluate --model 'exec:PROGRAM' runs here",
        )
    rules = get_run_protocol(benchmark, protocol)
    episodes = select_episodes(benchmark, rules, RunOptions(rules.name, limit_episodes=limit_episodes))
    benchmark.check_shots(episodes, shots)
    return Export(benchmark, rules, episodes, shots, seed, frames, limit_episodes)
