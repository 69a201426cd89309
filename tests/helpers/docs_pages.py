"""The commands of the documentation: the blocks of its pages, and a folder in which they run on small real things."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board_runs import icvos

from icvos.categories import COCO80
from icvos.demo.benchmarks import demo_folder, demo_layout
from icvos.files import icvos_home, write_json
from icvos.masks import read_mask, write_mask

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
MARK = re.compile(r"<!-- (not run|exit status): (.*?) -->\n\Z")
PAGES = [ROOT / "README.md", ROOT / "leaderboards/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOR_CONTRIBUTORS = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "benchmarks/README.md"]
"""Pages whose commands are looked up and not run."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        where: Page and line.
        language: Behind the fence: ``sh`` is run line by line, ``python`` too, all others are shown alone.
        title: Behind that: the file that the page says the block is.
        text: What it holds.
        reason: Why it is not run; "" where it is.
        status: The exit status of its last command.
    """

    where: str
    language: str
    title: str
    text: str
    reason: str = ""
    status: int = 0

    @property
    def runs(self) -> bool:
        """Whether it is run."""
        return self.language in ("sh", "python") and not self.title and not self.reason

    @property
    def lines(self) -> list[str]:
        """The commands of a ``sh`` block, continued lines joined, without those that are a comment alone."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def page_name(page: Path) -> str:
    """Return a page's path as the tests call it."""
    return page.relative_to(ROOT).as_posix()


def outside_blocks(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, _, rest = match[2].partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        mark = MARK.search(text[: match.start()])
        kind, value = (mark[1], mark[2]) if mark else ("", "")
        found.append(
            Block(
                f"{page_name(page)}:{text.count(chr(10), 0, match.start()) + 1}",
                language,
                title[1] if title else "",
                re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE),
                value if kind == "not run" else "",
                int(value) if kind == "exit status" else 0,
            )
        )
    return found


def commands_of(line: str) -> list[list[str]]:
    """Return the words of each command of a line."""
    found: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in ("|", "&&", "||", "&", ";"):
            found.append([])
        else:
            found[-1].append(word)
    return found


def words_of(line: str) -> list[str]:
    """Return the words of a line's first command, without what a shell does with its output."""
    words = commands_of(line)[0]
    ends = [index for index, word in enumerate(words) if word in (">", ">>", "2>")]
    return words[: ends[0]] if ends else words


# ---- what the names of the pages stand for ---------------------------------------------------------------------------

# A drawn clip plays each of these sequences, by the name that the published recipe knows.
SEQUENCES = {
    "airplane-02": ("car-shadow", "val"),
    "scissors-00": ("car-turn", "train"),
    "umbrella-01": ("drift-straight", "val"),
}


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


class World:
    """The tiny demo, and what is made of it once: every name that the pages use, by the function that makes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("icvos.demo.benchmarks._name", lambda name, size, seed: name)
            assert icvos("build-data", "demo", "--size", "tiny", "--out", root / "world") == 0
        self.raw, self.benchmarks = root / "world/raw", root / "world/benchmarks"
        self.first = rows(self.benchmarks / "demo/episodes.csv")[0]
        self.bin = root / "bin"
        self.bin.mkdir()
        for name, start in (("icvos", f"{sys.executable} -m icvos.cli"), ("python", sys.executable)):
            (self.bin / name).write_text(f'#!/bin/sh\nexec {start} "$@"\n')
            (self.bin / name).chmod(0o755)

    def make_home(self, home: Path) -> None:
        """Make a data folder in which this demo is everybody's: a benchmark that is whole there is not built."""
        folder = home / demo_folder("default", 0).relative_to(icvos_home())
        folder.mkdir(parents=True)
        (folder / "benchmarks").symlink_to(self.benchmarks)

    def names(self) -> dict[str, Callable[[Path], Any]]:
        """Return what makes each name at a path."""
        weights = {
            "SAM2.pt": ROOT / "icvos/demo/weights/demo_sam2.safetensors",
            "sam2.1_hiera_tiny.pt": ROOT / "icvos/demo/weights/demo_sam2.safetensors",
            "DCSAM.pt": ROOT / "dcsam/weights/demo_dcsam.safetensors",
        }
        raw = {"MOSE": "mose", "LVOS": "lvos", "COCO": "coco", "VOC2012": "voc/VOC2012", "SBD": "sbd"}
        return {
            **{name: partial(self._link, self.raw / folder) for name, folder in raw.items()},
            **{name: partial(self._link, file) for name, file in weights.items()},
            "DAVIS": self.davis,
            "FSS-1000": partial(self.layout, "fss-1000"),
            "LVIS": partial(self.layout, "lvis"),
            "SACO": partial(self.layout, "saco"),
            "MINE": self.own_videos,
            "ICVOS": self.release,
            "ANNA": self.labels,
            "BEN": self.labels,
            "objects-davis17.csv": self.recipe,
            "complete-davis17.csv": self.recipe,
            "B": partial(self._link, self.benchmarks / "demo"),
            "V": self.vos,
            "BENCH": partial(self._link, self.benchmarks / "demo"),
            "R": self.run,
            "OLD": self.environment,
            "PREDICTIONS": self.predictions,
            "masks": self.predictions,
            "MASKS": self.label_maps,
            "LABEL_MAPS": self.label_maps,
            "dog.jpg": partial(self.support, 1, "images"),
            "dog.png": partial(self.support, 1, "masks"),
            "dog2.jpg": partial(self.support, 2, "images"),
            "dog2.png": partial(self.support, 2, "masks"),
            "walk.mp4": self.video,
            "FRAMES": partial(self._link, self.benchmarks / "demo/videos" / self.first["video"] / "JPEGImages"),
        }

    @staticmethod
    def _link(target: Path, path: Path) -> None:
        path.symlink_to(target)

    def layout(self, name: str, path: Path) -> None:
        """The drawn world in one more layout."""
        path.symlink_to(demo_layout(name, "tiny", 0, self.raw.parent))

    def davis(self, path: Path) -> None:
        """Clips of one object each, a car, under names of DAVIS-2017."""
        for old, (new, _) in SEQUENCES.items():
            shutil.copytree(self.raw / "davis/JPEGImages/480p" / old, path / "JPEGImages/480p" / new)
            for mask in sorted((self.raw / "davis/Annotations/480p" / old).iterdir()):
                labels = np.where(read_mask(mask) == 1, 1, 0).astype(np.uint8)
                write_mask(path / "Annotations/480p" / new / mask.name, labels, colours=True)
        for split in ("train", "val"):
            names = [new for new, part in SEQUENCES.values() if part == split]
            (path / "ImageSets/2017").mkdir(parents=True, exist_ok=True)
            (path / f"ImageSets/2017/{split}.txt").write_text("".join(f"{name}\n" for name in names))
        write_json(path / "davis_semantics.json", {new: {"1": "car"} for new, _ in SEQUENCES.values()})

    def own_videos(self, path: Path) -> None:
        """Two of the demo's clips as somebody's own: frames, and a folder of masks for each category."""
        for row in rows(self.benchmarks / "demo/pairs.csv")[:4]:
            video = self.benchmarks / "demo/videos" / row["video"]
            frames = path / row["video"] / "frames"
            if not frames.exists():
                shutil.copytree(video / "JPEGImages", frames)
            shutil.copytree(
                video / "Annotations" / row["category"], path / row["video"] / "masks" / row["category_name"]
            )

    def release(self, path: Path) -> None:
        """The authors' released folder, of the demo's clips."""
        self.own_videos(path)
        for video in path.iterdir():
            (video / "frames").rename(video / "JPEGImages")
            (video / "masks").rename(video / "Annotations")
            for masks in (video / "Annotations").iterdir():
                masks.rename(masks.with_name(str(COCO80.number(masks.name))))

    @staticmethod
    def recipe(path: Path) -> None:
        """A file of the published recipe, of the sequences that are here."""
        head, *lines = (ROOT / "icvos/recipes/ic-vos-r1" / path.name).read_text().splitlines(keepends=True)
        here = tuple(f"davis17,{name}," for name, _ in SEQUENCES.values())
        path.write_text("".join([head, *(line for line in lines if line.startswith(here))]))

    def labels(self, path: Path) -> None:
        """What a person exported from the labels page."""
        shutil.copytree(self.raw / "recipe", path)

    def vos(self, path: Path) -> None:
        """A benchmark of semi-supervised VOS."""
        davis = self._made("DAVIS")
        made = self.root / "made/vos"
        if not made.exists():
            assert icvos("build-data", "vos", "--davis", davis, "--out", made) == 0
        path.symlink_to(made)

    def _made(self, name: str) -> Path:
        path = self.root / "made" / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            self.names()[name](path)
        return path

    def run(self, path: Path) -> None:
        """A run of ``histogram`` on ``B``, with its masks."""
        made = self.root / "made/run"
        if not made.exists():
            words = ("--model", "histogram", "--benchmark", self.benchmarks / "demo", "--save-masks", "--out", made)
            assert icvos("evaluate", *words) == 0
        shutil.copytree(made, path)

    def environment(self, path: Path) -> None:
        """An environment of its own, by its Python."""
        (path / "bin").mkdir(parents=True)
        (path / "bin/python").symlink_to(self.bin / "python")

    def predictions(self, path: Path) -> None:
        """The masks of that run."""
        if not (self.root / "made/run").exists():
            self.run(self.root / "made/first")
        shutil.copytree(self.root / "made/run/masks", path)

    def label_maps(self, path: Path) -> None:
        """Label maps of DAVIS' sequences."""
        shutil.copytree(self._made("DAVIS") / "Annotations/480p", path)

    def support(self, number: int, what: str, path: Path) -> None:
        """A photograph of the first episode's supports, or its mask."""
        name, category = self.first[f"support_{number}"], self.first["category"]
        folder = self.benchmarks / "demo/supports" / what
        shutil.copy(folder / f"{name}.jpg" if what == "images" else folder / category / f"{name}.png", path)

    def video(self, path: Path) -> None:
        """The first episode's video as a file."""
        frames = sorted((self.benchmarks / "demo/videos" / self.first["video"] / "JPEGImages").iterdir())
        images = [cv2.imread(str(frame)) for frame in frames]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, images[0].shape[1::-1])
        for image in images:
            writer.write(image)
        writer.release()


class Desk:
    """A folder in which the blocks of a page run one after another."""

    def __init__(self, world: World, folder: Path, text: str) -> None:
        self.world, self.folder = world, folder
        folder.mkdir()
        for name in ("benchmarks", "dcsam", "examples", "icvos", "tools"):  # as in a checkout
            if re.search(rf"(?<![\w/.]){name}/", text):
                (folder / name).symlink_to(ROOT / name)
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        for name, make in world.names().items():
            used = re.search(rf"(--out |out=\")?(?<![\w/.-]){re.escape(name)}(?![\w.-])", text)
            if used and not used[1]:
                make(folder / name)

    def run(self, block: Block) -> None:
        """Run a block; the working folder is the desk's, and stays where ``cd`` led.

        Raises:
            AssertionError: A command ended otherwise than the page says.
        """
        if block.title:
            (self.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.title).write_text(block.text)
        elif block.language == "python" and block.runs:
            exec(compile(block.text, block.where, "exec"), self.namespace)
        elif block.runs:
            for index, line in enumerate(block.lines):
                wanted = block.status if index == len(block.lines) - 1 else 0
                status = self.command(line)
                assert status == wanted, f"{block.where}: {line}: exit status {status}"

    def command(self, line: str) -> int:
        """Run a line and return its exit status: icvos in this process, all else by a shell."""
        words = shlex.split(line, comments=True)
        if words[0] == "cd":
            os.chdir(words[1])
            return 0
        if words[0] == "icvos" and words == words_of(line):
            return icvos(*words[1:])
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{self.world.bin}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, sep="\n")
        return done.returncode
