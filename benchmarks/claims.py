"""The claims of speed and memory (claims.toml): run again, compared, written back; the pages take their figures there.

    python benchmarks/claims.py                        # every claim of the CPU: make bench
    python benchmarks/claims.py train train-cached     # these alone
    python benchmarks/claims.py --check                # measures and compares, writes nothing
    python benchmarks/claims.py --gpu                  # those of a GPU, on a machine that has one
    python benchmarks/claims.py --pages                # measures nothing: the pages again, from the table

A command that serves several claims runs once. Each script's last line is a JSON object of its figures; a claim's
``figure`` leads to its value there. What a command measured is written to the table and the pages before the next one
runs, so that a run that is stopped keeps it; a claim that could not be measured says why and keeps what was last seen.
A value is ``not kept`` where it is not as wanted; else ``kept``, or ``better`` or ``worse`` where it differs from the
last by over a tenth. The status is 1 where a claim is not kept or not measured, 2 where the table is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from math import isfinite, isnan, nan
from pathlib import Path
from typing import Any

from icvos.errors import ENDING, InputError, UsageError
from icvos.files import atomic_write, read_text
from icvos.terminal import Column, print_table

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?<=<!-- claims: )([^>]*)( -->\n).*?(?=<!-- end of claims -->)", re.DOTALL)
FIGURE = re.compile(r"\b(\d[\d.,]*)(x\b|\s+times\b|\s+of\s+the\s+floor\b|\s+[\w-]+\s+a\s+second\b)")


@dataclass(frozen=True)
class Claim:
    """A figure that the pages state.

    Attributes:
        what: What is measured, as the pages say it.
        against: What it is compared with; "" where it is no comparison.
        command: What measures it, from the top folder.
        figure: The keys that lead to it in the JSON of the command's last line.
        unit: "times", or what the value counts.
        last: The value last seen; NaN where it was never measured.
        machine, commit, date: Where and when that was.
        at_least, at_most: What is wanted: one of the two.
    """

    what: str
    against: str
    command: str
    figure: list[str]
    unit: str
    last: float
    machine: str
    commit: str
    date: str
    at_least: float | None = None
    at_most: float | None = None

    def kept(self, value: float) -> bool:
        """Return whether a value is as wanted; NaN is not."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def verdict(self, value: float) -> str:
        """Return "not kept", or how a kept value compares with the last: "kept" within a tenth, "better", "worse"."""
        if not self.kept(value):
            return "not kept"
        more, less = value > 1.1 * self.last, value < 0.9 * self.last
        better, worse = (more, less) if self.at_least is not None else (less, more)
        return "better" if better else "worse" if worse else "kept"

    @property
    def wanted(self) -> str:
        """What is wanted, in words."""
        return f"at least {self.at_least:,g}" if self.at_least is not None else f"at most {self.at_most:,g}"

    @property
    def seen(self) -> str:
        """The last value with its unit, as the pages state it."""
        return "not measured" if isnan(self.last) else f"{in_digits(self.last)} {self.unit}"


# ------------------------------------------------------------------------------------------------------- the table


def in_digits(value: float) -> str:
    """Return a value in three digits or, from 100 on, without a fraction."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def load_claims(root: Path) -> dict[str, dict[str, Claim]]:
    """Return the claims of ``cpu`` and of ``gpu`` by name.

    Raises:
        InputError: A claim lacks something, has something unknown or of another kind, or its command's script or option
            is not there.
    """
    path = root / "benchmarks/claims.toml"
    try:
        tables = tomllib.loads(read_text(path, "table of claims"))
        claims = {kind: {name: Claim(**row) for name, row in tables.get(kind, {}).items()} for kind in ("cpu", "gpu")}
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}; see the other claims for the form") from error
    for name, claim in [*claims["cpu"].items(), *claims["gpu"].items()]:
        for field in fields(claim):
            if not _is_a(field.type, getattr(claim, field.name)):
                kind = str(field.type).removesuffix(" | None")
                raise InputError(f"{path}: {name}: {field.name} is {getattr(claim, field.name)!r}, no {kind}")
        if (claim.at_least is None) == (claim.at_most is None):
            raise InputError(f"{path}: {name} wants nothing or two things; give at_least or at_most")
        try:
            _, script, *options = shlex.split(claim.command)
        except ValueError:
            raise InputError(f"{path}: {name}: its command is no 'python SCRIPT': {claim.command}") from None
        if not (root / script).is_file():
            raise InputError(f"{path}: {name} names {script}, which is not there")
        source = (root / script).read_text(encoding="utf-8")
        for option in options:
            if option.startswith("--") and f'"{option}"' not in source:
                raise InputError(f"{path}: {name} names {option}, which {script} does not have")
    return claims


def _is_a(kind: Any, value: Any) -> bool:
    """Return whether a value of the table is what a field of ``Claim`` holds."""
    if kind == "str":
        return isinstance(value, str)
    if kind == "list[str]":
        return isinstance(value, list) and all(isinstance(key, str) for key in value)
    return type(value) in (int, float) or (value is None and kind == "float | None")


def record(root: Path, kind: str, values: Mapping[str, Mapping[str, float | str]]) -> None:
    """Write keys of some claims into the table; all other lines, comments and the order stay."""
    path = root / "benchmarks/claims.toml"
    lines: list[str] = []
    row: Mapping[str, float | str] = {}
    for line in read_text(path, "table of claims").splitlines(keepends=True):
        head = re.match(r"\s*\[\s*(\w+)\.([\w-]+)\s*\]", line)
        if head:
            row = values.get(head[2], {}) if head[1] == kind else {}
        key, _, rest = line.partition("=")
        if key.strip() in row:
            comment = re.sub(r'^\s*("[^"]*"|[^\s#]+)', "", rest)
            line = f"{key}= {json.dumps(row[key.strip()])}{comment}"
        lines.append(line)
    with atomic_write(path, "w") as stream:
        stream.writelines(lines)


# ------------------------------------------------------------------------------------------------------- the pages


def render(text: str, claims: Mapping[str, Claim]) -> str:
    """Return a page with the tables between ``<!-- claims: NAME NAME -->`` and ``<!-- end of claims -->`` made anew.

    Raises:
        InputError: A name is in no table of claims.
    """

    def block(match: re.Match[str]) -> str:
        rows = ["| what | against | last seen | wanted | where and when |", "|---|---|---|---|---|"]
        for name in match[1].split():
            if name not in claims:
                raise InputError(f"a page shows the claim {name}, which benchmarks/claims.toml does not have")
            claim = claims[name]
            when = f"{claim.machine}, {claim.date}"
            rows.append(f"| {claim.what} | {claim.against} | {claim.seen} | {claim.wanted} | {when} |")
        return match[1] + match[2] + "\n".join(rows) + "\n"

    return BLOCK.sub(block, text)


def stray_figures(text: str, claims: Mapping[str, Claim]) -> list[str]:
    """Return the figures of speed that a page states outside of its tables and that are no claim's last value."""
    known = {claim.seen for claim in claims.values()}
    stated = [
        f"{number} {'times' if unit == 'x' else ' '.join(unit.split())}"
        for number, unit in FIGURE.findall(BLOCK.sub("", text))
    ]
    return [figure for figure in stated if figure not in known]


def pages(root: Path) -> list[Path]:
    """Return the pages whose figures are claims."""
    return [root / "README.md", root / "benchmarks/README.md", *sorted((root / "docs").rglob("*.md"))]


def write_pages(root: Path, *, check: bool = False) -> None:
    """Make the tables of all pages anew; with ``check`` only see that they can be."""
    tables = load_claims(root)
    for page in pages(root):
        text = read_text(page, "page")
        made = render(text, tables["cpu"] | tables["gpu"])
        if made != text and not check:
            with atomic_write(page, "w") as stream:
                stream.write(made)


# ------------------------------------------------------------------------------------------------------- measuring


def run_command(command: str, root: Path, timeout: float) -> tuple[dict[str, Any], str]:
    """Return the figures of a command's last line and "", or none and the reason."""
    words = [sys.executable, *shlex.split(command)[1:]]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
        # Threads that wait sleep: on a busy machine they would spin, which counts as CPU time.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    # In a session of its own: what it started ends with it.
    process = subprocess.Popen(
        words,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return {}, f"took longer than {timeout:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        return {}, (errors.strip().splitlines() or [f"ended with status {process.returncode}"])[-1]
    try:
        figures = json.loads(printed.strip().splitlines()[-1])
    except (IndexError, ValueError):
        figures = None
    return (figures, "") if isinstance(figures, dict) else ({}, "its last line is not a JSON object of figures")


def value_of(claim: Claim, figures: Mapping[str, Any]) -> float:
    """Return a claim's value, three digits of it, out of a command's figures; NaN where they hold no finite number."""
    value: Any = figures
    for key in claim.figure:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(f"{value:.3g}") if isinstance(value, int | float) and isfinite(value) else nan


def here(root: Path, kind: str) -> dict[str, str]:
    """Return machine, commit (``-dirty`` behind one with changes) and date."""
    if kind == "gpu":
        if shutil.which("nvidia-smi") is None:
            raise UsageError("no GPU here: --gpu needs nvidia-smi; leave it out for the claims of the CPU")
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        machine = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    else:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        machine = f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else 'a CPU'}"
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, capture_output=True, text=True).stdout.strip() or "unknown"
    return {"machine": machine, "commit": commit, "date": datetime.now(UTC).date().isoformat()}


def measure(root: Path, kind: str, names: Sequence[str], *, check: bool, timeout: float) -> bool:
    """Run the commands of the claims named, print how each compares, write what was seen; return whether all are kept.

    Args:
        root: The top folder.
        kind: ``cpu`` or ``gpu``.
        names: Claims.
        check: Write nothing.
        timeout: Seconds a command may take.
    """
    claims = load_claims(root)[kind]
    commands = list(dict.fromkeys(claims[name].command for name in names))
    where, rows, begin = here(root, kind), [], time.monotonic()
    for number, command in enumerate(commands, 1):
        print(f"[{number}/{len(commands)}, {time.monotonic() - begin:.0f} s] {command}", flush=True)
        figures, reason = run_command(command, root, timeout)
        measured: dict[str, dict[str, float | str]] = {}
        for name in (name for name in names if claims[name].command == command):
            claim, value = claims[name], value_of(claims[name], figures)
            if isnan(value):
                now, verdict = "-", f"not measured: {reason or f'no figure {claim.figure} in its last line'}"
            else:
                now, verdict = in_digits(value), claim.verdict(value)
                measured[name] = {"last": value, **where}
            rows.append((name, claim.wanted, claim.seen, now, verdict))
            print(f"    {name}: {now}, {claim.wanted}: {verdict}", flush=True)
        if not check:
            record(root, kind, measured)
            write_pages(root)
    print_table([Column.words(head) for head in ("claim", "wanted", "last seen", "now", "")], rows)
    print(f"{len(commands)} commands in {time.monotonic() - begin:.0f} s on {where['machine']} at {where['commit']}")
    return all(row[-1] in ("kept", "better", "worse") for row in rows)


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Run what is asked for and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CLAIM", help="claims; all by default")
    parser.add_argument("--gpu", action="store_true", help="the claims of a GPU in place of the CPU's")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--pages", action="store_true", help="measure nothing: make the pages anew from the table")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a command may take; 600 by default")
    options = parser.parse_args(arguments)
    # Commands run in sessions of their own: a terminal that closes reaches this process alone.
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    try:
        kind, claims = "gpu" if options.gpu else "cpu", load_claims(root)
        unknown = [name for name in options.names if name not in claims[kind]]
        if unknown:
            raise UsageError(f"no claim {', '.join(unknown)}; there are {', '.join(claims[kind])}")
        # At once, too: a page that names no claim is known before ten minutes of measuring.
        write_pages(root, check=options.check)
        if options.pages:
            return 0
        names = options.names or list(claims[kind])
        kept = measure(root, kind, names, check=options.check, timeout=options.timeout)
        if kind == "cpu" and not options.names:
            rows = [
                (name, claim.wanted, claim.seen, claim.verdict(claim.last), f"{claim.machine}, {claim.date}")
                for name, claim in claims["gpu"].items()
            ]
            heads = [Column.words(head) for head in ("claim", "wanted", "last seen", "", "where and when")]
            print_table(heads, rows, title="on a GPU, not measured here (--gpu does)")
    except (InputError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or 'output'}: {error.strerror}; what was measured is kept", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was measured is kept", file=sys.stderr)
        return 130
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
