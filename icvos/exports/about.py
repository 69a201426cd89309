"""What is to be said of a benchmark wherever it is published: its sources, their terms, its limits, what to cite."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from icvos.benchmark import Benchmark
from icvos.builders.published import load_recipe, published_names
from icvos.exports.texts import line
from icvos.sources.facts import TERMS, UNKNOWN, SourceFacts, citations, facts_of

__all__ = ["About", "Source"]

TASK_PAPER = "qi2025dcsam"
"""The paper of in-context video object segmentation, in ``citations.bib``."""


@dataclass(frozen=True)
class Source:
    """A data set that a benchmark is built of.

    Attributes:
        id: As in ``benchmark.json``.
        title: As people call it.
        words: Its licence, as ``benchmark.json`` says it.
        facts: What is known of it.
        content: What comes from it: ``12 videos, 243 frames``, or "".
    """

    id: str
    title: str
    words: str
    facts: SourceFacts
    content: str = ""

    @property
    def page(self) -> str:
        """The first address in the words of its licence, or ""."""
        found = re.search(r"https?://[^\s;,]+", self.words)
        return found[0] if found else ""

    @property
    def terms(self) -> str:
        """What may be done with its images and masks, a sentence."""
        images, masks = TERMS[self.facts.frames], TERMS[self.facts.masks]
        return f"images and masks: {images}" if images == masks else f"images: {images}; masks: {masks}"


class About:
    """What is said of a benchmark, from its verified tables.

    Args:
        benchmark: Opened, its tables compared with the manifest.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self.header = benchmark.header
        self.image = benchmark.kind == "image"
        self.tubes = self.header.get("kind") == "mask tubes"

    @cached_property
    def sources(self) -> list[Source]:
        """The data sets that it is built of, in the order of the header's licences."""
        words, rows = self.header.get("licences"), self.header.get("sources")
        ids = {} if self.image else Counter(record.source for record in self.benchmark.videos.values())
        named = [row for row in _list(rows) if isinstance(row, dict) and isinstance(row.get("id"), str)]
        titles = {row["id"]: row for row in named}
        licences = words if isinstance(words, dict) and words else dict.fromkeys(sorted({*ids, *titles}), "")
        out = []
        for id, text in licences.items():
            licence = line(text) or f"licence {UNKNOWN}"
            facts, row = facts_of(id, licence), titles.get(id, {})
            title = line(row.get("title")) or (f"{facts.title} ({line(id)})" if facts.synthetic else facts.title)
            content = f"{_count(ids[id], 'video')}, {_count(self._frames(id), 'frame')}" if id in ids else ""
            out.append(Source(line(id), title, licence, facts, content))
        return out

    def _frames(self, source: str) -> int:
        return sum(record.frames for record in self.benchmark.videos.values() if record.source == source)

    @property
    def licence(self) -> str:
        """SPDX's name of the licence where one holds for all of it, or ""."""
        names = {source.facts.spdx for source in self.sources}
        return names.pop() if len(names) == 1 else ""

    @property
    def synthetic(self) -> bool:
        """Whether a program drew any of its pictures, or made videos of photographs."""
        return self.tubes or any(source.facts.synthetic for source in self.sources)

    @property
    def citations(self) -> list[str]:
        """BibTeX entries: the paper of in-context segmentation, where that is the task, and those of its sources."""
        task = [] if self.benchmark.vos else [TASK_PAPER]
        return citations([*task, *(key for source in self.sources for key in source.facts.cite)])

    @property
    def images_by_licence(self) -> str:
        """How many images have which licence, by the numbers of COCO's JSON; "" where nobody counted."""
        counted = self.header.get("images_by_licence")
        if not isinstance(counted, dict) or set(counted) <= {"unnamed"}:
            return ""
        shares = ", ".join(f"{line(name)}: {line(count)}" for name, count in counted.items())
        return f"Images by the number of their licence in the JSON: {shares}."

    @property
    def counts(self) -> str:
        """How much there is of what."""
        bench = self.benchmark
        categories = len({episode.category for episode in bench.episodes})
        parts = [_count(len(bench.episodes), "episode")]
        if self.image:
            parts.append(_count(len({episode.video for episode in bench.episodes}), "query image"))
        else:
            parts.append(_count(len(bench.videos), "video"))
            parts.append(_count(sum(record.frames for record in bench.videos.values()), "frame"))
            parts.append(
                _count(len(bench.pairs), "pair") + f" of a video and {'an object' if bench.vos else 'a category'}"
            )
        if not bench.vos:
            parts.append(_count(categories, "category"))
        return ", ".join(parts)

    @property
    def description(self) -> str:
        """What it is, in two sentences."""
        bench = self.benchmark
        if bench.vos:
            task = "semi-supervised video object segmentation: an object's mask on frame 0 is told, and it is followed"
        elif self.image:
            task = "few-shot segmentation: support images with masks show a kind of thing, to be masked in a query"
        else:
            task = (
                "in-context video object segmentation: support images with masks show a kind of thing, which is to be "
                "masked in every frame of a video of another scene"
            )
        return f"{line(bench.name)}, version {line(bench.version)}, for {task}. It holds {self.counts}."

    @property
    def collection(self) -> str:
        """Where its pictures come from."""
        parts = [source.title + (f" ({source.content})" if source.content else "") for source in self.sources]
        where = "; ".join(parts) or UNKNOWN
        if all(source.facts.synthetic for source in self.sources) and self.sources:
            return f"Every picture and mask was drawn by a program, icvos' demo world, in the layouts of: {where}."
        made = (
            " Each video is made of one photograph, which is turned, mirrored, blurred and the like."
            if self.tubes
            else ""
        )
        return f"No picture was taken for it: icvos took images and masks of data sets that were there: {where}.{made}"

    @property
    def processing(self) -> list[str]:
        """What was done to them."""
        header = self.header
        if self.image:
            ignored = line(header.get("ignore")) or "what nobody has said"
            first = f"Objects of one category are one mask: 1 is the thing, 0 is not, 255 ({ignored}) is not counted."
        elif self.benchmark.vos:
            first = "Each object is a mask of 0 and 1; what its data set calls void is background."
        else:
            first = "Objects of one category are one mask of 0 and 1; what its data set calls void is background."
        rules = ", ".join(f"{line(name)} {line(_words(value))}" for name, value in _items(header.get("rules")))
        return [first, *([f"Rules of the build: {rules}."] if rules else [])]

    @property
    def annotation(self) -> list[str]:
        """Who made masks and names, a line each."""
        lines = [f"Masks of {source.title}: {source.facts.labelled_by}." for source in self.sources]
        recipe = self.header.get("recipe")
        name = recipe.get("name") if isinstance(recipe, dict) else None
        of = [each for each in published_names() if isinstance(name, str) and f"{name}-".startswith(f"{each}-")]
        if of:
            rows = load_recipe(of[0]).header["sources"]
            lines += [
                f"Which category an object of {source.title} is, by the recipe {of[0]}: {rows[source.id]['labels_by']}"
                for source in self.sources
                if source.id in rows
            ]
        elif not self.image and not all(source.facts.synthetic for source in self.sources):
            lines.append(
                "Which category an object is: what its data set says, or a recipe of whoever built the benchmark"
                + (f" (SHA-256 {line(self.header['recipe_sha256'])})." if self.header.get("recipe_sha256") else ".")
            )
        return lines

    @property
    def biases(self) -> list[str]:
        """How unevenly its parts are spread, a line each."""
        if self.image:
            pairs = {(episode.video, episode.category): episode.category_name for episode in self.benchmark.episodes}
        else:
            pairs = {key: pair.category_name for key, pair in self.benchmark.pairs.items()}
        names = Counter(line(name) for name in pairs.values())
        most = sorted(names.items(), key=lambda item: (-item[1], item[0]))[:5]
        lines = []
        if not self.benchmark.vos and most:
            shares = ", ".join(f"{name} {count}" for name, count in most)
            of = _count(len(pairs), "pair") + f" of a {'query' if self.image else 'video'} and a category"
            lines.append(f"Categories are not equally frequent. Of {of} most are of: {shares}.")
        shares = "; ".join(f"{source.title} {source.content}" for source in self.sources if source.content)
        if shares:
            lines.append(f"What the sources prefer, the benchmark prefers. By source: {shares}.")
        if not all(source.facts.synthetic for source in self.sources):
            lines.append("Whether its places, people and scenes stand for any others has not been studied.")
        return lines

    @property
    def limitations(self) -> list[str]:
        """What is wrong or missing as far as it is known, a line each."""
        lines = []
        said = Counter(pair.complete for pair in self.benchmark.pairs.values()) if not self.image else Counter()
        if said and not self.benchmark.vos:
            counted = ", ".join(f"{name} for {said[name]:,}" for name in ("yes", "no", "unsure"))
            lines.append(
                f"Is every instance of the category masked? Of {_count(said.total(), 'pair')}: {counted}. Where it is "
                "not yes, a method may be right and be scored as wrong."
            )
        lines += [_sentence(note) for note in _list(self.header.get("notes"))]
        recipe = self.header.get("recipe")
        differs = _list(recipe.get("differs")) if isinstance(recipe, dict) else []
        lines += [f"It differs from what is published: {_sentence(text)}" for text in differs]
        if all(source.facts.synthetic for source in self.sources) and self.sources:
            lines.append("Its pictures are drawn: figures on it say whether a program works, not how good a method is.")
        return lines or ["None is known."]

    @property
    def privacy(self) -> list[str]:
        """What it holds of people."""
        seen = [source.title for source in self.sources if source.facts.people]
        unknown = [source.title for source in self.sources if source.facts.people is None]
        lines = []
        if seen:
            lines.append(f"People can be recognised in images of {', '.join(seen)}; nothing else is told of them.")
        if unknown:
            lines.append(f"Whether people can be recognised in images of {', '.join(unknown)} is {UNKNOWN}.")
        return lines or ["No people are in it."]

    @property
    def use_cases(self) -> list[str]:
        """What it is for, and what not."""
        if self.tubes:
            return ["Training of methods that segment a thing in a video by an example of its kind."]
        return [
            "Measuring how well methods segment, and comparing them by the same protocol.",
            "Not for training what is to be measured on it, and not for finding or following people.",
        ]

    @property
    def impact(self) -> str:
        """What good and harm may come of it."""
        return (
            "Figures that can be compared and repeated. What follows a thing by an example can follow a person by one, "
            "too; and a rank on it is no proof that a method is fit for use."
        )

    @property
    def keywords(self) -> list[str]:
        """Words by which it is found."""
        if self.benchmark.vos:
            return ["video object segmentation", "benchmark"]
        if self.image:
            return ["few-shot segmentation", "in-context segmentation", "benchmark"]
        return ["video object segmentation", "in-context segmentation", "few-shot segmentation", "benchmark"]

    @property
    def made_by(self) -> str:
        """What built it."""
        parts = ["icvos build-data", f"builder {line(self.header.get('builder')) or UNKNOWN}"]
        if self.header.get("seed") is not None:
            parts.append(f"seed {line(self.header['seed'])}")
        return ", ".join(parts)


def _sentence(text: Any) -> str:
    sentence = line(text)
    return sentence if sentence.endswith(".") else f"{sentence}."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _words(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return str(value) or "none"


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"
