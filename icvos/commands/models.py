"""icvos models list | show | check | new | environments."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from icvos.commands.options import FiniteRange, model_options, parse_weights
from icvos.terminal import echo


@click.group()
def command() -> None:
    """List, show, check and start models.

    \b
    icvos models list
    """


@command.command("list")
def list_models() -> None:
    """List the installed models: what each needs, and whether weights for the demo are here.

    \b
    icvos models list
    """
    from icvos.models.lifts import lift_usages
    from icvos.models.needs import all_needs
    from icvos.terminal import Column, print_table

    rows, broken = [], []
    for needs in all_needs():
        if needs.cls is None:
            broken.append(f"{needs.name} cannot be imported: {needs.problem}")
            continue
        weights = ", ".join((*needs.weights, *(f"({name})" for name in needs.optional)))
        demo = "here" if needs.demo else "not here" if needs.weights else "none needed"
        extra = needs.extra + (f" (not installed: {', '.join(needs.missing)})" if needs.missing else "")
        info = needs.cls.info
        rows.append((needs.name, info.version, needs.kind, info.access, weights or "none", demo, extra or "-"))
    heads = ("version", "kind", "access", "weights", "demo weights", "extra")
    columns = [Column.of_names("model"), *map(Column.words, heads)]
    print_table(columns, rows, title="Models", leave_out=("version", "access"))
    echo("(weights) are optional; 'icvos weights list' says where weights come from, 'icvos models show MODEL' more.")
    echo("Demo weights are made for drawn shapes alone: used on the demo, and elsewhere by --weights NAME=demo.")
    trackers = [f"X{usage}" for usage in lift_usages("+")]
    tracked = ", ".join(trackers)
    echo(f"An image model X runs on videos frame by frame, or tracked: {tracked} (with --weights tracker=PATH),")
    echo(", ".join(f"{trackers[0]}{usage}" for usage in lift_usages("@")) + ".")
    for line in broken:
        echo(line, err=True)


@command.command("show")
@click.argument("model")
def show_model(model: str) -> None:
    """Show what MODEL declares: options, weights, training data.

    \b
    icvos models show dcsam
    """
    import inspect

    from icvos.errors import in_words
    from icvos.models.needs import needs_of
    from icvos.models.options import describe_options, option_types, type_in_words
    from icvos.models.registry import resolve, source_sha256

    cls = resolve(model)
    info, needs = cls.info, needs_of(model)
    echo(f"{info.name} {info.version} ({needs.kind} model)")
    rows = {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "paper": info.paper,
        "licence": info.licence,
        "access": info.access,
        "uses": ", ".join(info.uses),
        "tracked": "; ".join(row.help for row in getattr(cls, "rows", ())),
        "extra": info.extra or "",
        "not installed": ", ".join(needs.missing),
        "demo weights": "here" if needs.demo else "not here" if needs.weights else "none needed",
        "training data": ", ".join(info.training_data),
        "training categories": ", ".join(info.training_categories),
        "source sha256": source_sha256(cls),
    }
    for key, value in rows.items():
        if value:
            echo(f"  {key}: {value}")
    shipped = cls.demo_weights()
    for key, weight in info.weights.items():
        need = "required" if weight.required else "optional"
        known = f", sha256 {weight.sha256}" if weight.sha256 else ""
        echo(f"  --weights {key}=PATH ({need}): {weight.source}{known}")
        if key in shipped:
            echo(f"  --weights {key}=demo: shipped, made for drawn shapes alone")
    for key, (kind, default) in option_types(cls).items():
        value = default if isinstance(default, str) else in_words(default)
        ending = "" if default in (inspect.Parameter.empty, "") else f", default {value}"
        echo(f"  --set {key}=… ({type_in_words(kind)}{ending})")
    text = describe_options(cls)
    if text:
        echo()
        echo(text)


@command.command("check")
@click.argument("model")
@model_options
@click.option("--quick", is_flag=True, help="Leave out the rule on memory, which takes about 100 frames.")
@click.option("--timeout", type=FiniteRange(0, min_open=True), help="Seconds that a rule may take; default no limit.")
def check(
    model: str,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    device: str,
    python: str | None,
    isolated: bool,
    quick: bool,
    timeout: float | None,
) -> None:
    """Run MODEL on tiny synthetic clips and say, rule by rule, what it breaks. Exit 1 if it breaks any.

    \b
    icvos models check histogram --quick
    """
    from icvos.models.check import check_model
    from icvos.models.options import parse_options
    from icvos.models.registry import create, resolve
    from icvos.models.specs import placed

    spec = placed(model, python=python, isolated=isolated)
    options = parse_options(resolve(spec), settings)
    files = parse_weights(weights)
    failed = 0
    for finding in check_model(
        lambda: create(spec, device=device, weights=files, options=options, demo=True),
        skip=("memory",) if quick else (),
        timeout=timeout,
    ):
        failed += finding.status == "failed"
        colour = {"passed": "green", "failed": "red", "skipped": "yellow"}[finding.status]
        echo(f"{finding.rule:15}{finding.message}", mark=f"{finding.status:8}", colour=colour)
        if finding.mend:
            echo(f"{'':23}{finding.mend}")
    broken = f"breaks {failed} rule{'s' * (failed > 1)}"
    echo(f"{model}: {broken if failed else 'keeps every rule'}")
    if failed:
        raise SystemExit(1)


@command.command("new")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="The folder it is made in; default here.")
@click.option("--isolated", is_flag=True, help="One file that says which packages it needs, in place of a package.")
def new(name: str, into: Path, isolated: bool) -> None:
    """Write the package of a new method called NAME: it installs and runs as written.

    \b
    icvos models new my-method --into methods
    icvos models new my-method --isolated          # my-method.py, for --model my-method.py --isolated
    """
    from icvos.models.skeleton import write_file, write_skeleton

    if isolated:
        path = write_file(name, into)
        echo(f"wrote {path}")
        spec = shlex.quote(str(path))
        echo(f"next: icvos models check {spec} --isolated && icvos evaluate --model {spec} --isolated")
        return
    for path in write_skeleton(name, into):
        echo(f"wrote {path}")
    folder = shlex.quote(str(into / name))
    echo(f"next: pip install -e {folder} && icvos models check {name} && icvos evaluate --model {name}")


@command.group("environments")
def environments() -> None:
    """List and remove the environments that --isolated made.

    \b
    icvos models environments list
    """


@environments.command("list")
def list_environments() -> None:
    """List the environments: what each was asked for, its Python, its size, and when it was used last.

    \b
    icvos models environments list
    """
    from datetime import datetime

    from icvos.costs import in_bytes
    from icvos.models.environments import environments_folder, kept_environments
    from icvos.terminal import Column, print_table

    rows = []
    for kept in kept_environments():
        asked = ", ".join(kept.asked["requirements"]) if kept.asked else "making it did not come to its end"
        used = datetime.fromtimestamp(kept.used).strftime("%Y-%m-%d %H:%M")
        rows.append((kept.folder.name, asked, kept.python or "-", in_bytes(kept.size), used))
    columns = [Column("name", "left"), Column.words("asked"), Column("python", "left"), Column("size"), Column("used")]
    print_table(columns, rows, title="Environments of methods", leave_out=("python", "used"))
    echo(f"folder: {environments_folder()}")


class _Days(click.ParamType):
    """Days, or ``all`` for none."""

    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return 0.0 if value == "all" else FiniteRange(0).convert(value, param, ctx)


@environments.command("clean")
@click.option(
    "--unused", type=_Days(), default="30", show_default=True, metavar="DAYS|all", help="Those not used for so long."
)
def clean(unused: float) -> None:
    """Remove environments that were not used lately; one that a command uses stays. The next --isolated makes it anew.

    \b
    icvos models environments clean --unused 7
    """
    import time

    from icvos.costs import in_bytes
    from icvos.models.environments import kept_environments, remove_environment

    freed = recent = 0
    for kept in kept_environments():
        if time.time() - kept.used < unused * 86400:
            recent += 1
            continue
        if remove_environment(kept.folder):
            freed += kept.size
            echo(f"removed {kept.folder} ({in_bytes(kept.size)})")
        else:
            echo(f"{kept.folder} stays: a command uses it")
    stay = f"; {recent} used within {unused:g} days stay" if recent else ""
    echo(f"{in_bytes(freed)} freed{stay}")
