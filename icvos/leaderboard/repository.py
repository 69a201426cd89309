"""A board in a git repository of anybody's: fetched by the ``git`` program, and only its records are written out.

There is no checkout. What is fetched stays a bare repository below ``ICVOS_HOME``; of its files those that may be
records are written to a folder of ours, so that no hook, filter, link or submodule of it has a say.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from icvos.errors import InputError, UsageError, in_words, printable
from icvos.files import HOME_REMEDY, icvos_home, lock_folder
from icvos.leaderboard.benchmarks import LIST
from icvos.leaderboard.record import MAX_BYTES

__all__ = ["Fetched", "Repository", "fetch_board", "get_repository"]

# Seconds until a fetch is given up, and until any other work of git is.
FETCH_SECONDS, LOCAL_SECONDS = 300.0, 60.0
# Of what is fetched, of the records in all, and of what git prints of them.
MAX_FETCH, MAX_TOTAL, MAX_LISTING, MAX_FILES = 4 << 30, 1 << 30, 64 << 20, 100_000
# What is fetched last.
REF = "refs/icvos/board"

_SCHEMES = ("https", "ssh", "file")
_FORMS = "a folder of records, https://…, ssh://…, git@HOST:PATH, file://… or the path of a repository"
# Variables that say how a repository is reached; git's others say which one is worked in, and are not handed on.
_KEPT = ("GIT_SSH", "GIT_SSL_", "GIT_PROXY_", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NO")
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "protocol.ext.allow=never",
    "fetch.recurseSubmodules=false",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    # A server that says nothing for half a minute is given up.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=30",
)
# A shell that lets what it becomes write no file of more 512-byte blocks than its first argument says. A function of
# ours between fork and exec would do, too, but there Python swallows a Ctrl-C.
_LIMITED = ("/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"')


@dataclass(frozen=True)
class Repository:
    """Where a board lies: ``URL#REF:FOLDER``, the latter two as wanted.

    Attributes:
        url: For ``git fetch``.
        ref: A branch, a tag or a whole commit; the default branch if empty.
        folder: The board's, ``/``-separated; the whole repository if empty.
    """

    url: str
    ref: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Fetched:
    """What was fetched of a board.

    Attributes:
        folder: Its records, for a while.
        commit: That they are of.
        stale: Why the repository was not reached, and what was fetched earlier is read; "" if it was.
        left_out: What may be a record and was not written out, with the reason.
    """

    folder: Path
    commit: str
    stale: str
    left_out: tuple[tuple[str, str], ...]


def get_repository(board: str) -> Repository | None:
    """Return the git repository that a board's name is of; None where it is a folder, there or not.

    A folder that is there is one, unless it is a bare repository or ends with ``.git``.

    Raises:
        UsageError: It is of a kind that is not fetched, or holds a password.
    """
    if _is_folder(board):
        return Repository(str(Path(board).resolve())) if _is_bare(Path(board)) else None
    url, mark, place = board.rpartition("#") if "#" in board else (board, "", "")
    ref, _, folder = place.partition(":")
    scheme = re.match("([A-Za-z0-9+.-]+)(://|::)", url)
    if _is_folder(url):
        url = str(Path(url).resolve())
    elif scheme and scheme[2] == "://" and scheme[1] in _SCHEMES:
        if re.match("[a-z]+://[^/@]*:[^/@]*@", url):
            fix = "leave it to git's credential helper, or to a key of ssh"
            raise UsageError("the board's address has a password in it, which would be shown and kept", fix=fix)
    elif scheme:
        raise UsageError(f"no board is fetched by {in_words(scheme[0])}", expected=_FORMS)
    elif board.startswith("-"):
        raise UsageError(f"{in_words(board)} is no board", expected=_FORMS)
    elif not re.match("[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:-]", url):
        return None
    if mark and not (re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_./-]*)?", ref) and ".." not in ref):
        raise UsageError(f"{in_words(ref)} is no branch, tag or commit", where=url, expected="URL#BRANCH, say")
    folder = folder.rstrip("/")
    if folder and not _is_inside(folder):
        raise UsageError(f"{in_words(folder)} is no folder of a repository", where=url, expected="URL#BRANCH:FOLDER")
    if not url.isprintable():
        raise UsageError(f"{in_words(url)} is no address", expected=_FORMS)
    return Repository(url, ref, folder)


def _is_folder(text: str) -> bool:
    with suppress(OSError, ValueError):  # too long for a name, or none
        return Path(text).is_dir()
    return False


def _is_bare(folder: Path) -> bool:
    return folder.suffix == ".git" or folder.name == ".git" or all((folder / n).exists() for n in ("HEAD", "objects"))


def _is_inside(path: str) -> bool:
    """Whether a path of a repository may be written out: it stays inside, and can be printed."""
    return path.isprintable() and "\\" not in path and not {"", ".", ".."}.intersection(path.split("/"))


def fetch_board(repository: Repository, out: Path) -> Fetched:
    """Fetch a board, and return its records in a folder, which the caller removes.

    Where what was kept of an earlier fetch is damaged, as a full disk or a hand may have left it, all is fetched anew.

    Args:
        repository: Where it lies.
        out: An empty folder.

    Raises:
        UsageError: git is not installed.
        InputError: It cannot be fetched and never was, has no such branch or folder, or is too large.
    """
    key = hashlib.sha256(f"{repository.url}#{repository.ref}".encode()).hexdigest()[:32]
    store = icvos_home() / "cache" / "boards" / key
    with lock_folder(store, remedy=HOME_REMEDY, wait=FETCH_SECONDS + LOCAL_SECONDS):
        if os.path.lexists(store):
            with suppress(InputError, OSError):
                return _fetched(repository, store, out)
        # What is wrong with the board is said of the new fetch too. What is there stays until there is better.
        fresh = store.with_name(f"{key}.new")
        _remove(fresh)
        _remove(out / "board")
        try:
            fetched = _fetched(repository, fresh, out)
        except _GitError as problem:
            what, fix = f"the board cannot be fetched ({problem.what})", "clone it, and give the folder"
            raise InputError(what, where=repository.url, fix=fix) from None
        else:
            _remove(store)
            fresh.rename(store)
            return fetched
        finally:
            _remove(fresh)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fetched(repository: Repository, store: Path, out: Path) -> Fetched:
    """Fetch a board into a repository of ours, there or not, and write its records out.

    Raises:
        _GitError: It cannot be fetched and never was, or the repository is damaged.
        InputError: As ``fetch_board``.
    """
    stale = _fetch(repository, store, out)
    git = _Git(store, out, LOCAL_SECONDS, local=True)
    commit = git.run("rev-parse", "--verify", f"{REF}^{{commit}}").decode("ascii").strip()
    left_out = _write_records(git, repository, f"{commit}:{repository.folder}", out / "board")
    return Fetched(out / "board", commit, stale, tuple(left_out))


def _fetch(repository: Repository, store: Path, work: Path) -> str:
    """Fetch one commit, without its history; return why it could not be, where one was fetched earlier."""
    git = _Git(store, work, FETCH_SECONDS)
    store.mkdir(parents=True, exist_ok=True)
    _tidy(store)
    git.run("init", "--quiet", "--bare", "--template=")
    options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    try:
        # Larger files than a record may be are not sent, where the other side can leave them out.
        refspec = f"+{repository.ref or 'HEAD'}:{REF}"
        git.run("fetch", *options, f"--filter=blob:limit={MAX_BYTES + 1}", "--", repository.url, refspec)
    except _GitError as problem:
        _tidy(store)
        if "couldn't find remote ref" in problem.what:
            what = f"the repository has no branch, tag or whole commit {in_words(repository.ref)}"
            what = what if repository.ref else "the repository has no commit yet"
            raise InputError(what, where=repository.url) from None
        try:
            _Git(store, work, LOCAL_SECONDS, local=True).run("rev-parse", "--verify", "--quiet", REF)
        except _GitError:
            raise problem from None
        return problem.what
    return ""


def _tidy(store: Path) -> None:
    """Remove what a git that was killed left; the caller has the lock, so that no other works in the repository."""
    for path in (*store.rglob("*.lock"), *store.glob("objects/pack/tmp_*")):
        path.unlink(missing_ok=True)


def _write_records(git: _Git, repository: Repository, tree: str, out: Path) -> list[tuple[str, str]]:
    """Write the plain files that may be records, and return what was left out, with the reason."""
    try:
        listing = git.run("ls-tree", "-r", "-z", "--full-tree", tree, most=MAX_LISTING)
    except _GitError as problem:
        what = f"the repository has no folder {in_words(repository.folder)}" if repository.folder else problem.what
        raise InputError(what, where=repository.url) from None
    sizes = _sizes(git)
    out.mkdir()
    left_out, files = [], []
    for row in filter(None, listing.split(b"\0")):
        about, _, name = row.partition(b"\t")
        mode, _, blob = about.decode("ascii").split(" ")
        path = name.decode("utf-8", "replace")
        parts = path.split("/")
        linked = mode == "120000" and "." not in parts[-1]
        hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
        if path == LIST or hidden or not (path.endswith(".json") or linked):
            continue  # no record; the list of benchmarks names folders of somebody else's machine
        if not mode.startswith("100"):
            left_out.append((path, "it is a link, which is not followed" if mode == "120000" else "it is no file"))
        elif not _is_inside(path) or "�" in path:
            left_out.append((path, "its name leaves the board, or cannot be printed"))
        elif sizes.get(blob, MAX_BYTES + 1) > MAX_BYTES:
            left_out.append((path, f"it has more than {MAX_BYTES >> 20} MiB"))
        else:
            files.append((path, blob))
    total = sum(sizes[blob] for _, blob in files)
    if len(files) > MAX_FILES or total > MAX_TOTAL:
        what = f"a board of {len(files)} files with {total >> 20} MiB"
        expected = f"at most {MAX_FILES} with {MAX_TOTAL >> 20} MiB"
        raise InputError(what, where=repository.url, expected=expected, fix="clone it, and give the folder")
    asked, most = [blob for _, blob in files], MAX_TOTAL + MAX_LISTING
    with git.printed("cat-file", "--batch", asked=asked, most=most) as contents:
        for path, blob in files:
            contents.readline()
            data = contents.read(sizes[blob])
            contents.read(1)
            try:
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                with (out / path).open("xb") as stream:
                    stream.write(data)
            except (FileExistsError, NotADirectoryError):
                left_out.append((path, "its name is there twice"))
            except OSError as problem:
                if problem.errno != errno.ENAMETOOLONG:
                    raise
                left_out.append((path, "its name is too long"))
    return left_out


def _sizes(git: _Git) -> dict[str, int]:
    """Return the bytes of every file that was fetched; those that are missing are not asked for."""
    form = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
    sizes = {}
    for line in git.run("cat-file", "--batch-all-objects", "--unordered", form, most=MAX_LISTING).splitlines():
        name, kind, size = line.decode("ascii").split()
        if kind == "blob":
            sizes[name] = int(size)
    return sizes


class _GitError(InputError):
    """git failed; ``what`` is its own last word."""


@dataclass(frozen=True)
class _Git:
    """The ``git`` program on one bare repository.

    Attributes:
        store: The repository.
        work: A folder for what is printed.
        seconds: After which it is killed, with all that it began.
        local: Whether it may reach nothing but this repository.
    """

    store: Path
    work: Path
    seconds: float
    local: bool = False

    def run(self, *words: str, most: int | None = None) -> bytes:
        """Run a command and return what it printed, as ``printed`` does; ``most`` is by default that of a fetch."""
        with self.printed(*words, most=MAX_FETCH if most is None else most) as stream:
            return stream.read()

    @contextmanager
    def printed(self, *words: str, most: int, asked: Sequence[str] = ()) -> Iterator[IO[bytes]]:
        """Run a command to its end and give what it printed, a file.

        Args:
            words: The command.
            most: Bytes of the largest file that it may write.
            asked: Lines for its standard input.

        Raises:
            _GitError: It failed, took too long or wrote too much.
            UsageError: git is not installed.
        """
        program = shutil.which("git")
        if program is None:
            fix = "install git, or give the folder of a clone"
            raise UsageError("the board is a git repository, and git is not installed", fix=fix)
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        with ExitStack() as files:
            lines, out, errors = (files.enter_context(tempfile.TemporaryFile(dir=self.work)) for _ in range(3))
            lines.write("".join(f"{line}\n" for line in asked).encode())
            lines.seek(0)
            process = subprocess.Popen(
                [*_LIMITED, str(-(-most // 512)), program, *settings, f"--git-dir={self.store}", *words],
                stdin=lines,
                stdout=out,
                stderr=errors,
                cwd=self.work,
                env=self._environment(),
                start_new_session=True,  # no terminal that ssh could ask on
            )
            try:
                status = process.wait(self.seconds)
            except subprocess.TimeoutExpired:
                raise _GitError(f"git was not done after {self.seconds:g} s") from None
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if status:
                raise _GitError(_last_word(errors, status, most))
            out.seek(0)
            yield out

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k.startswith(_KEPT)}
        return {
            **kept,
            "GIT_ALLOW_PROTOCOL": "none" if self.local else ":".join(_SCHEMES),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C",
        }


def _last_word(errors: IO[bytes], status: int, most: int) -> str:
    """Return why git failed, in a line: what it calls fatal, or said last."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - (1 << 16)))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if status == -signal.SIGXFSZ or any(f"signal {int(signal.SIGXFSZ)}" in line for line in lines):
        return f"it is larger than {most >> 20} MiB"
    told = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    return printable(told[0] if told else f"git ended with status {status}", cut=300)
