"""Tables of the documentation that are made from the registries: what ``<!-- table: NAME -->`` in a page becomes.

mkdocs calls ``on_page_markdown`` for every page as it builds the site (``mkdocs.yml``, ``make docs``).
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

__all__ = ["TABLES", "command_words", "on_page_markdown"]

MARKER = re.compile(r"^<!-- table: ([a-z-]+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its tables in place of their markers.

    Raises:
        KeyError: A marker names no table.
    """
    return MARKER.sub(lambda match: TABLES[match[1]](), markdown)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; what would break a cell is escaped."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def code(text: object) -> str:
    """Return a text as code, or nothing of nothing."""
    return f"`{text}`" if text not in (None, "", "-") else ""


def _first_paragraph(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def command_words(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below one, groups too, with its words."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from command_words(inner, *words, name)


def commands() -> str:
    """Return a section for each command: usage, help, options."""
    from icvos import cli

    return "\n\n".join(_command(words, command) for words, command in command_words(cli.icvos, "icvos"))


def _command(words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(words))
    lines = [f"{'#' * min(len(words) + 1, 4)} {' '.join(words)}", _help_text(command)]
    pieces = " ".join(command.collect_usage_pieces(context))
    lines.insert(1, f"```text\n{' '.join(words)} {pieces}\n```")
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        lines.append(table(("option", "default", "what it does"), [_option(option, context) for option in options]))
    if isinstance(command, click.Group):
        inner = command_words(command, *words)
        next(inner)
        names = [each for each, _ in inner if len(each) == len(words) + 1]
        lines.append(" · ".join(f"[{each[-1]}](#{'-'.join(each)})" for each in names))
    return "\n\n".join(line for line in lines if line)


def _help_text(command: click.Command) -> str:
    """Return a command's help in Markdown: what stands after ``\\b`` is code."""
    blocks = []
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = block.split("\n")
        if lines[0] == "\b":
            blocks.append("```text\n" + "\n".join(lines[1:]) + "\n```")
        else:
            blocks.append(re.sub(r"[<>*_]", lambda match: "\\" + match[0], " ".join(lines)))
    return "\n\n".join(blocks)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    names = ", ".join(option.opts + option.secondary_opts)
    metavar = "" if option.is_flag else " " + option.make_metavar(context)
    extra = option.get_help_extra(context)
    text = re.sub(r"[<>*]", lambda match: "\\" + match[0], option.help or "")
    if extra.get("required"):
        text += " Required."
    return code(f"{names}{metavar}"), code(extra.get("default", "")), text


def metrics() -> str:
    """Return every metric: what it is of, its range, where it has a column."""
    from icvos.metrics.table import METRICS

    rows = []
    for metric in METRICS.values():
        where = "videos" if metric.kind == "video" else "few-shot images"
        ranked = ", ranked by it" if metric.ranked else ""
        better = "" if metric.higher_is_better else ", lower is better"
        stored = "" if metric.stored else "; not stored"
        columns = ", ".join(metric.views) + stored if metric.views or stored else "none"
        rows.append((code(metric.name), where + ranked, f"{metric.low:g} to 100{better}", columns))
    return table(("metric", "of", "percent", "columns in"), rows)


def protocols() -> str:
    """Return every protocol with what it changes."""
    from icvos.protocols import PROTOCOLS

    kinds = {
        "video": "video benchmarks, label maps",
        "sequence": "label maps of sequences",
        "image": "few-shot benchmarks",
    }
    rows = [
        (
            code(protocol.name),
            kinds[protocol.kind] if protocol.size is None or protocol.kind == "image" else "video benchmarks",
            "as it is" if protocol.size is None else "x".join(map(str, protocol.size)),
            "all" if protocol.max_frames is None else f"the first {protocol.max_frames}",
            "yes" if protocol.skip_ends else "no",
            ("0" if protocol.undrawn_as_zero else "left out") if protocol.kind == "image" else "",
            code(protocol.score),
            protocol.made_for or "any",
            protocol.text,
        )
        for protocol in PROTOCOLS.values()
    ]
    heads = (
        "protocol",
        "of",
        "size",
        "frames",
        "without first and last",
        "categories not drawn",
        "ranked by",
        "made for",
        "in words",
    )
    return table(heads, rows)


def models() -> str:
    """Return every installed model with what it declares."""
    from icvos.models.needs import all_needs

    return "\n\n".join(_model(needs) for needs in all_needs() if needs.cls is not None)


def _model(needs: Any) -> str:
    from icvos.errors import in_words
    from icvos.models.options import option_types, type_in_words

    info = needs.cls.info
    lines = [f"### {needs.name}", _first_paragraph(needs.cls)]
    rows = [
        ("version", info.version),
        ("kind", needs.kind),
        ("paper", info.paper),
        ("licence", info.licence),
        ("access", info.access),
        ("uses", ", ".join(info.uses)),
        ("extra", code(needs.extra)),
        ("demo weights", ("shipped" if needs.cls.demo_weights() else "none") if info.weights else "none needed"),
        ("trained on", ", ".join(info.training_data)),
    ]
    lines.append(table(("", ""), [row for row in rows if row[1]]))
    if info.weights:
        weights = [
            (code(f"--weights {name}=PATH"), "required" if weight.required else "optional", weight.source)
            for name, weight in info.weights.items()
        ]
        lines.append(table(("weights", "", "where they come from"), weights))
    options = [
        (code(f"--set {name}=…"), type_in_words(kind), _default(default, in_words))
        for name, (kind, default) in option_types(needs.cls).items()
    ]
    if options:
        lines.append(table(("option", "type", "default"), options))
    return "\n\n".join(lines)


def _default(value: Any, in_words: Callable[[Any], str]) -> str:
    if value is inspect.Parameter.empty or value == "":
        return ""
    return code(value if isinstance(value, str) else in_words(value))


def lifts() -> str:
    """Return the ways in which an image model runs on video."""
    from icvos.models.lifts import LIFTS

    return table(("in a spec", "what it does"), [(code(f"X{row.usage}"), row.help) for row in LIFTS.values()])


def trainers() -> str:
    """Return what ``icvos train`` trains."""
    from icvos.plugins import plugin_targets
    from icvos.training.task import GROUP, resolve_task

    rows = [(code(name), _first_paragraph(resolve_task(name))) for name in plugin_targets(GROUP)]
    return table(("trainer", "what it trains"), rows)


def weights() -> str:
    """Return the checkpoints that are known by name."""
    from icvos.foundation.checkpoints import CHECKPOINTS, MARKS

    rows = [
        (code(name), code(each.file), each.licence, f"<{each.page}>", MARKS[each.mark])
        for name, each in CHECKPOINTS.items()
    ]
    return table(("checkpoint", "file", "licence", "published at", "its hash"), rows)


def sources() -> str:
    """Return the raw video data sets that are read."""
    from icvos.sources import SOURCES

    return table(
        ("option", "in ids", "what lies in its folder"),
        [(code(f"--{name} DIR"), code(row.id), row.help) for name, row in SOURCES.items()],
    )


def builders() -> str:
    """Return what ``build-data`` builds."""
    from icvos.commands.build_data import BUILDERS

    rows = [
        (f"[`icvos build-data {name}`](commands.md#icvos-build-data-{name})", text)
        for name, (_, text) in BUILDERS.items()
    ]
    return table(("command", "what it does"), rows)


def expected() -> str:
    """Return the counts of whole data sets."""
    from icvos.sources.expected import EXPECTED

    rows = [
        (row.dataset, row.split, ", ".join(f"{count:,} {name}" for name, count in row.counts.items()), row.source)
        for row in EXPECTED
    ]
    return table(("data set", "split", "whole", "who says so"), rows)


def errors() -> str:
    """Return the tree of errors with their exit status."""
    from icvos import errors as module

    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, module.IcvosError)]
    rows = [
        (code(cls.__name__), code(cls.__mro__[1].__name__), cls.exit_status, _first_paragraph(cls))
        for cls in sorted(classes, key=lambda cls: (len(cls.__mro__), cls.__name__))
    ]
    return table(("error", "is a", "exit status", "when"), rows)


def _expected_of_toys() -> dict[str, dict[str, Any]]:
    from icvos.evaluation.toys import toy_folder
    from icvos.files import read_json
    from icvos.protocols import PROTOCOLS

    return {name: read_json(toy_folder(name) / "expected.json") for name in PROTOCOLS}


def toys() -> str:
    """Return every golden toy: what is in it, and its headlines."""
    from icvos.protocols import PROTOCOLS

    rows = []
    for name, expected in _expected_of_toys().items():
        kind, frames = PROTOCOLS[name].kind, sum(map(len, expected["frames"].values()))
        what = f"{len(expected['episodes'])} {'objects' if kind == 'sequence' else 'episodes'}"
        what += f", {frames} masks" if frames else f", {len(expected['per_fold'])} folds"
        figures = next(iter(expected["mistakes"].values()))
        values = ", ".join(f"{figure} {expected['summary'][figure]:.4f}" for figure in figures)
        rows.append((f"[`{name}`](../reference/protocols.md)", what, values, code(f"icvos score --toy {name}")))
    return table(("protocol", "scored", "expected, percent", "by icvos"), rows)


def toy_mistakes() -> str:
    """Return every mistake that the toys tell, with the figure that a scorer prints that makes it."""
    toys_by_name = _expected_of_toys()
    headline = {name: next(iter(expected["mistakes"].values())) for name, expected in toys_by_name.items()}
    heads = {
        name: "J&F" if "F" in figures and "J&F" in figures else ", ".join(figures) for name, figures in headline.items()
    }
    mistakes = dict.fromkeys(text for expected in toys_by_name.values() for text in expected["mistakes"])

    def cell(name: str, figures: dict[str, float] | None) -> str:
        return "" if figures is None else ", ".join(f"{figures[key]:.2f}" for key in heads[name].split(", "))

    rows = [("**none**", *(f"**{cell(name, expected['summary'])}**" for name, expected in toys_by_name.items()))]
    rows += [(text, *(cell(name, e["mistakes"].get(text)) for name, e in toys_by_name.items())) for text in mistakes]
    return table(("mistake", *(f"{code(name)} {head}" for name, head in heads.items())), rows)


KINDS = {
    "int": "whole number",
    "int | None": "whole number or null",
    "float": "number",
    "float | None": "number or null",
    "str": "text",
    "bool": "true or false",
    "tuple[int, ...]": "list of whole numbers",
    "tuple[str, ...]": "list of texts",
}
"""What types of Python are in JSON."""


def attributes(cls: type, prefix: str, without: Sequence[str] = ()) -> str:
    """Return the fields of a dataclass that a file holds: their keys there, type, default, and what its docstring says.

    Args:
        cls: The dataclass.
        prefix: Of its keys in the file.
        without: Fields that the file does not hold.

    Raises:
        KeyError: Its docstring leaves out a field, or names one that it has not.
    """
    text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
    rows = []
    said: set[str] = set()
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for entry in re.split(r"\n {4}(?=\S)", "\n" + text.partition("\n\n")[0])[1:]:
        names, _, what = entry.partition(":")
        of = [fields[name] for name in names.split(", ")]
        said.update(field.name for field in of)
        if of[0].name in without:
            continue
        keys = ", ".join(code(prefix + field.name) for field in of)
        kinds = ", ".join(dict.fromkeys(KINDS[str(field.type)] for field in of))
        defaults = [field.default for field in of]
        default = "" if dataclasses.MISSING in defaults else ", ".join(code(json.dumps(value)) for value in defaults)
        rows.append((keys, kinds, default, " ".join(what.split()).replace("``", "`").replace("None", "null")))
    if missing := fields.keys() - said:
        raise KeyError(f"{cls.__name__} says nothing of {', '.join(sorted(missing))}")
    return table(("field", "type", "default", "what it says"), rows)


def icvos_rules() -> str:
    """Return the rules of IC-VOS in ``benchmark.json``."""
    from icvos.builders.ic_vos.rules import BuildRules

    return attributes(BuildRules, "rules.")


def fewshot_rules() -> str:
    """Return the rules of a few-shot benchmark in ``benchmark.json``."""
    from icvos.builders.fewshot.build import FewShotRules

    return attributes(FewShotRules, "rules.")


def tube_rules() -> str:
    """Return the rules of mask tubes in ``benchmark.json``."""
    from icvos.data.mask_tubes import TubeRules

    return attributes(TubeRules, "rules.")


def vos_rules() -> str:
    """Return the rules of semi-supervised VOS in ``benchmark.json``."""
    from icvos.builders.vos.plan import VosRule

    return attributes(VosRule, "rules.")


def training_settings() -> str:
    """Return the settings in ``training.json``."""
    from icvos.training.task import Settings

    return attributes(Settings, "settings.", without=("workers", "save_every"))


TABLES: dict[str, Callable[[], str]] = {
    "builders": builders,
    "commands": commands,
    "errors": errors,
    "expected": expected,
    "fewshot-rules": fewshot_rules,
    "icvos-rules": icvos_rules,
    "lifts": lifts,
    "metrics": metrics,
    "models": models,
    "protocols": protocols,
    "sources": sources,
    "toy-mistakes": toy_mistakes,
    "toys": toys,
    "trainers": trainers,
    "training-settings": training_settings,
    "tube-rules": tube_rules,
    "vos-rules": vos_rules,
    "weights": weights,
}
