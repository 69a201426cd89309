"""The command line: ``icvos COMMAND``. Each command is a file in ``icvos/commands/``, imported when it is called."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib
import io
import os
import signal
import sys
from typing import Any, NoReturn

import click

from icvos.errors import ENDING, IcvosError, UsageError, did_you_mean, in_one_line, printable
from icvos.files import is_utf8
from icvos.plugins import said
from icvos.processes import own_end
from icvos.progress import verbosity
from icvos.version import __version__

# Command: (module in icvos.commands, what it does in one line). The module holds a click command named ``command``.
COMMANDS = {
    "build-data": ("build_data", "Build benchmarks and data sets; with no word at all, the demo world."),
    "compare": ("compare", "Compare two runs, episode by episode."),
    "demo": ("demo", "The main job on the demo world: build, evaluate, leaderboard."),
    "doctor": ("doctor", "Say what is installed, what is missing, and what to do about it."),
    "evaluate": ("evaluate", "Run a model on a benchmark and score it."),
    "export": ("export", "Write benchmarks and runs in the forms of other tools, and check them."),
    "export-episodes": ("export_episodes", "Write episodes as folders for programs on a machine without icvos."),
    "launch": ("launch", "Run an evaluation or a training on a cluster."),
    "leaderboard": ("leaderboard", "Show, add to and render the leaderboards."),
    "merge": ("merge", "Merge the shards of a run."),
    "models": ("models", "List, show, check and start models."),
    "report": ("report", "Pictures, videos and curves of a run."),
    "reproduce": ("reproduce", "Reproduce published figures, rung by rung: list, show, run, status."),
    "score": ("score", "Score masks made anywhere, by any language."),
    "segment": ("segment", "Segment one's own video, shown one's own photographs."),
    "show": ("show_run", "Print a finished run: what ran, its figures, and by episode, video, category, …"),
    "show-episode": ("show_episode", "Draw what a model saw and did in one episode."),
    "submit": ("submit", "Pack and check submissions."),
    "train": ("train", "Train a model."),
    "weights": ("weights", "List, verify and fetch checkpoints."),
}


ANYWHERE = {"-q": -1, "--quiet": -1, "-v": 1, "--verbose": 1}
"""Options that may stand before or after a command, and what they add to how much is said."""

_ROOM = "free some space and give the same command again"
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
"""What to do about what the system refuses, by its number."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that ``--help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        from icvos.commands.options import follow_parents

        return follow_parents(importlib.import_module(f"icvos.commands.{COMMANDS[cmd_name][0]}").command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'; {did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="icvos")
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only results and errors; before or after COMMAND.")
@click.option("-v", "--verbose", is_flag=True, help="Show each episode too; before or after COMMAND.")
def icvos(debug: bool, quiet: bool, verbose: bool) -> None:
    """In-context video object segmentation: build the benchmark, run methods on it, score them exactly, rank them.

    \b
    Start with:
      icvos build-data                        # build the demo world
      icvos evaluate --model histogram        # run a method on it
      icvos leaderboard show                  # see the table
    """


def _terminate(signum: int, frame: Any) -> NoReturn:
    # As an exception, so that what is half done is cleaned up on the way out.
    raise SystemExit(128 + signum)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done; 1 ran, but something failed; 2 bad usage or bad input."""
    if args is None:
        with own_end():
            main(sys.argv[1:])
    arguments = list(args)
    for text in arguments:
        if not is_utf8(text):
            _fail(f"'{os.fsencode(text).decode(errors='backslashreplace')}' is not UTF-8; rename it", 2, False)
    # --debug, -q and -v may stand anywhere before a lone "--".
    head = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = verbosity.debug = "--debug" in head
    verbosity.level = sum(ANYWHERE.get(word, 0) for word in head)
    arguments = [*(a for a in head if a != "--debug" and a not in ANYWHERE), *arguments[len(head) :]]
    for stream in (sys.stdout, sys.stderr):
        # A console of ASCII shows what it cannot print as \\xb1, and ends no command.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminate)
    with contextlib.suppress(ValueError, OSError, RuntimeError, AttributeError):  # standard error is no file
        # A model's compiled code that crashes takes the process with it: say at least where.
        faulthandler.enable()
    done = "_ICVOS_COMPLETE" in os.environ  # click answers a shell so
    try:
        status = icvos.main(arguments, prog_name="icvos", standalone_mode=False, obj=main) or 0
        done = True
        sys.exit(status)
    except SystemExit as stop:
        if not done and stop.code in (None, 0):  # no command of icvos ends so
            _fail("ended by a plugin's sys.exit(0) before it was done", 1, debug)
        if stop.code in [128 + number for number in ENDING]:
            _fail("; ".join(["ended by a signal", *getattr(stop, "__notes__", ())]), stop.code, debug)
        raise
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, click.Abort) as stop:
        # What was kept stands in its notes, or in those of what it interrupted.
        notes = [*getattr(stop, "__notes__", ()), *getattr(stop.__context__, "__notes__", ())]
        _fail("; ".join(["interrupted", *dict.fromkeys(notes)]), 130, debug)
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group alone
            click.echo(where.get_help() if where is not None else error.format_message())
            sys.exit(0)
        hint = f"see '{where.command_path} --help'" if where is not None else None
        _fail(str(UsageError(error.format_message().rstrip("."), fix=hint)), 2, debug)
    except IcvosError as error:
        _fail(said(error, 10_000).partition(": ")[2], error.exit_status or 1, debug)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        file = f" in {error.filename}" if error.filename else ""
        fix = REMEDIES.get(error.errno or 0, "")
        _fail(f"{error.strerror or error}{file}{'; ' * bool(fix)}{fix}", 2, debug)
    except BaseException as error:
        _fail(f"unexpected {said(error)}; --debug shows where", 1, debug)


def _fail(message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exc()
    # What a stranger's file or an argument holds may be made for terminals.
    print(f"icvos: {printable(in_one_line(message))}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
