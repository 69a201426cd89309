"""Boards in git repositories: what is read of them, and what a hostile one may not do."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_runs import icvos, packed_runs, rewrite

from icvos.errors import InputError, RunError, UsageError
from icvos.leaderboard import repository
from icvos.leaderboard.board import opened_board, read_board
from icvos.leaderboard.repository import Repository, get_repository
from icvos.leaderboard.verify import verify_board

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

RECORD = "board/tiny/native/histogram@1.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two benchmarks, and a clone of a repository with a board of both in its folder ``board``."""
    root = packed_runs(tmp_path_factory.mktemp("git"))
    clone = root / "clone"
    for kind in ("video", "image"):
        words = (root / "archives" / f"{kind}.zip", "--board", clone / "board", "--benchmark", root / kind)
        assert icvos("leaderboard", "add", *words) == 0
    git(clone, "init", "--quiet", "--initial-branch=main")
    commit(clone)
    return root


@pytest.fixture
def clone(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One's own copy of the clone, and an empty folder of what was fetched."""
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(world / "clone", tmp_path / "clone", symlinks=True))


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/dev/null")
    done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=more")
    return git(folder, "rev-parse", "HEAD")


def url(clone: Path, place: str = "main:board") -> str:
    return f"file://{clone}#{place}"


# --------------------------------------------------------------------------------------------------------- what is read


def test_it_is_read_as_its_folder_is(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries, problems = read_board(clone / "board")
    fetched, lines = read_board(url(clone))
    assert lines == problems == []
    assert [(each.full_name, each.score, each.checked) for each in fetched] == [
        (each.full_name, each.score, each.checked) for each in entries
    ]
    capsys.readouterr()
    assert icvos("leaderboard", "show", "--board", clone / "board") == 0
    folder = capsys.readouterr()
    assert icvos("leaderboard", "show", "--board", url(clone)) == 0
    shown = capsys.readouterr()
    assert shown.out == folder.out and "histogram" in shown.out
    assert shown.err == f"board: {url(clone)} at commit {git(clone, 'rev-parse', 'HEAD')}\n"
    assert icvos("leaderboard", "render", "--format", "csv", "--board", url(clone)) == 0
    assert "histogram" in capsys.readouterr().out
    # Nothing of the fetch is left but the repository itself.
    assert [path.name for path in (clone.parent / "home/cache").iterdir()] == ["boards"]


def test_verify_judges_it_again(world: Path, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = ("--benchmark", world / "video", "--benchmark", world / "image", "--archives", world / "archives")
    assert icvos("leaderboard", "verify", url(clone), *known) == 0
    assert f"{url(clone)}: 2 records, 0 bad; 2 against their benchmarks, 2 judged again" in capsys.readouterr().out
    rewrite(clone / RECORD, lambda record: record["episodes"][0].update(J=99.0))
    head = commit(clone)
    assert icvos("leaderboard", "verify", "--board", url(clone)) == 1
    printed = capsys.readouterr()
    assert "bad: tiny/native/histogram@1.json" in printed.out and head in printed.err
    # The same in show: named by its path in the repository, and left out.
    assert [line.partition(":")[0] for line in read_board(url(clone))[1]] == ["tiny/native/histogram@1.json"]


def test_branches_tags_commits_and_folders(clone: Path) -> None:
    first = git(clone, "rev-parse", "HEAD")
    git(clone, "tag", "--annotate", "v1", "--message=one")
    git(clone, "checkout", "--quiet", "-b", "team/next")
    (clone / RECORD).unlink()
    second = commit(clone)
    for place, expected, count in (
        ("team/next:board", second, 1),
        (":board", second, 1),
        ("main:board", first, 2),
        ("v1:board/", first, 2),
        (f"{first}:board", first, 2),
        ("main:board/tiny", first, 0),
    ):
        with opened_board(url(clone, place)) as board:
            assert board.commit == expected
            assert len(read_board(board)[0]) == count, place
    bare = clone.parent / "boards.git"
    git(clone, "clone", "--quiet", "--bare", str(clone), str(bare))
    for name in (f"{bare}#main:board", f"{clone}/.git#main:board", f"{clone}#main:board", "boards.git#main:board"):
        assert len(read_board(name)[0]) == 2
    with opened_board(str(bare)) as board:
        # Of the whole repository: the board's folder is not where records lie.
        assert board.commit == second and not read_board(board)[0]


def test_each_call_looks_again_and_an_absent_network_is_said(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(read_board(url(clone))[0]) == 2
    (clone / RECORD).unlink()
    head = commit(clone)
    (store,) = (clone.parent / "home/cache/boards").iterdir()
    (store / "shallow.lock").touch()  # as a git that was killed leaves it
    assert len(read_board(url(clone))[0]) == 1
    clone.rename(clone.parent / "away")
    capsys.readouterr()
    assert icvos("leaderboard", "show", "--board", url(clone)) == 0
    printed = capsys.readouterr()
    assert "the repository was not reached, and what was fetched last is read: fatal:" in printed.err
    assert f"at commit {head}" in printed.err and "tiny-20i" in printed.out
    with pytest.raises(InputError, match="the board cannot be fetched"):
        read_board(url(clone, "other:board"))


def cut(store: Path) -> None:
    for path in store.glob("objects/pack/*.pack"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:20])


def no_folder(store: Path) -> None:
    shutil.rmtree(store)
    store.write_text("")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "pack": cut,
    "config": lambda store: (store / "config").write_text("[[["),
    "reference": lambda store: (store / "refs/icvos/board").write_text("none"),
    "head": lambda store: (store / "HEAD").write_text(""),
    "a file": no_folder,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_copy_is_fetched_anew(kind: str, clone: Path) -> None:
    """What a full disk or a hand left of the last fetch; a board that is away then is said to be."""
    assert len(read_board(url(clone))[0]) == 2
    (store,) = (path for path in (clone.parent / "home/cache/boards").iterdir() if path.is_dir())
    DAMAGES[kind](store)
    assert len(read_board(url(clone))[0]) == 2
    assert len(read_board(url(clone))[0]) == 2
    assert [path.name for path in store.parent.iterdir()] == [store.name]
    clone.rename(clone.parent / "away")
    with opened_board(url(clone)) as board:
        assert "does not appear to be a git repository" in board.stale
    DAMAGES[kind](store)
    with pytest.raises(InputError, match="the board cannot be fetched"):
        read_board(url(clone))


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ext::sh -c 'touch run-by-git'", "no board is fetched by 'ext::'"),
        ("fd::17", "no board is fetched by 'fd::'"),
        ("--upload-pack=touch run-by-git", "is no board"),
        ("-u#main", "is no board"),
        ("http://example.org/boards.git", "no board is fetched by 'http://'"),
        ("git://example.org/boards.git", "no board is fetched by 'git://'"),
        ("https://me:secret@example.org/boards.git", "a password in it"),
        ("ssh://me:secret@example.org/boards.git", "a password in it"),
        ("https://example.org/boards.git#--upload-pack=x", "is no branch, tag or commit"),
        ("https://example.org/boards.git#a..b", "is no branch, tag or commit"),
        ("https://example.org/boards.git#+main", "is no branch, tag or commit"),
        ("https://example.org/boards.git#main:../..", "is no folder of a repository"),
        ("https://example.org/\x1b[2J.git", "is no address"),
    ],
)
def test_addresses_that_are_none(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("git was started"))
    for words in (("show", "--board", name), ("verify", "--board", name), ("add", "run", "--board", name)):
        assert icvos("leaderboard", *words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and "secret" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://example.org/a/b.git", Repository("https://example.org/a/b.git")),
        ("https://me@example.org/b#v1", Repository("https://me@example.org/b", "v1")),
        ("ssh://git@example.org:22/b.git#x/y:z", Repository("ssh://git@example.org:22/b.git", "x/y", "z")),
        ("git@example.org:a/b.git#:z/", Repository("git@example.org:a/b.git", "", "z")),
        ("boards", None),
        ("not/there#main", None),
        ("a board", None),
    ],
)
def test_addresses(name: str, expected: Repository | None) -> None:
    assert get_repository(name) == expected


def test_nothing_is_added_to_a_repository(world: Path, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert icvos("leaderboard", "add", world / "archives/video.zip", "--board", url(clone)) == 2
    error = capsys.readouterr().err
    assert "clone it, add to the clone's folder, and open a pull request" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere:board", "no branch, tag or whole commit 'nowhere'"),
        ("main:nowhere", "no folder 'nowhere'"),
        (f"main:{RECORD}", "no folder"),
    ],
)
def test_places_that_are_not_there(clone: Path, place: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_board(url(clone, place))


def test_a_folder_without_a_record_is_said(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, said in (("main", True), ("main:board", False)):
        assert icvos("leaderboard", "show", "--board", url(clone, place)) == 0
        assert ("no record is in it" in capsys.readouterr().err) is said


def test_an_empty_repository_and_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICVOS_HOME", str(tmp_path / "home"))
    (tmp_path / "empty.git").mkdir()
    with pytest.raises(InputError, match="does not appear to be a git repository"):
        read_board(str(tmp_path / "empty.git"))
    git(tmp_path / "empty.git", "init", "--quiet", "--bare")
    with pytest.raises(InputError, match="has no commit yet"):
        read_board(str(tmp_path / "empty.git"))
    with pytest.raises(RunError, match="or a git repository"):
        read_board("nowhere", must_exist=True)


def test_git_is_not_installed(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="git is not installed"):
        read_board(url(clone))


# ------------------------------------------------------------------------------------------------- hostile repositories


def test_links_are_not_followed(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clone / RECORD).unlink()
    (clone / RECORD).symlink_to("/etc/passwd")
    shutil.rmtree(clone / "board/tiny-20i")
    (clone / "board/tiny-20i").symlink_to(clone.parent, target_is_directory=True)
    commit(clone)
    with opened_board(url(clone)) as board:
        assert list(board.folder.rglob("*")) == []
        assert [path for path, _ in board.left_out] == ["tiny-20i", "tiny/native/histogram@1.json"]
    assert icvos("leaderboard", "show", "--board", url(clone)) == 0
    assert "left out: tiny/native/histogram@1.json: it is a link, which is not followed" in capsys.readouterr().err
    with pytest.raises(InputError, match="no records"):
        list(verify_board(url(clone)))
    (clone / "board/more.json").write_text("{}")
    commit(clone)
    assert [bool(each.problem) for each in verify_board(url(clone))] == [True, True, True]


def test_nothing_of_it_runs(clone: Path) -> None:
    """Neither hooks, nor filters of attributes, nor modules: not its own, and none that the user's settings name."""
    mark = clone.parent / "ran"
    script = clone.parent / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    script.chmod(0o755)
    home = clone.parent / "user"
    home.mkdir()
    shutil.copytree(clone / ".git/hooks", home / "hooks", dirs_exist_ok=True)
    for hook in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"):
        shutil.copy(script, home / "hooks" / hook)
    (home / ".gitconfig").write_text(
        f'[core]\n hooksPath = {home}/hooks\n[init]\n templateDir = {home}\n[filter "lfs"]\n smudge = {script}\n'
        f" process = {script}\n required = true\n"
    )
    (clone / ".gitattributes").write_text("*.json filter=lfs\n")
    (clone / ".gitmodules").write_text(f'[submodule "m"]\n path = m\n url = {clone}\n')
    git(clone, "update-index", "--add", "--cacheinfo", f"160000,{git(clone, 'rev-parse', 'HEAD')},m.json")
    git(clone, "add", ".gitattributes", ".gitmodules")
    git(clone, "commit", "--quiet", "--message=traps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        # As in a hook of another repository.
        patch.setenv("GIT_DIR", str(clone / ".git"))
        patch.setenv("GIT_OBJECT_DIRECTORY", str(clone.parent / "elsewhere"))
        assert len(read_board(url(clone))[0]) == 2
        with opened_board(url(clone, "main")) as board:
            assert board.left_out == (("m.json", "it is no file"),)
    assert not mark.exists() and not (clone.parent / "elsewhere").exists()


def hostile_tree(clone: Path, *rows: str) -> None:
    """Make main a tree as no git would make it: rows of ``ls-tree``, written as they are."""
    data = b"".join(
        f"{row.split(' ')[0]} {name}".encode() + b"\0" + bytes.fromhex(row.split(" ")[1])
        for row, name in (each.split("\t") for each in rows)
    )
    path = clone.parent / "tree"
    path.write_bytes(data)
    tree = git(clone, "hash-object", "-t", "tree", "-w", "--literally", str(path))
    git(clone, "update-ref", "refs/heads/main", git(clone, "commit-tree", "-m", "hostile", tree))


def test_names_do_not_leave_the_board(clone: Path) -> None:
    blob = git(clone, "rev-parse", f"HEAD:{RECORD}")
    inner = git(clone, "rev-parse", "HEAD:board/tiny")
    hostile_tree(
        clone,
        f"100644 {blob}\t../../escaped.json",
        f"100644 {blob}\t{clone.parent}/absolute.json",
        f"40000 {inner}\t..",
        f"100644 {blob}\ta\x1b[2J.json",
        f"100644 {blob}\ttwice.json",
        f"100644 {blob}\ttwice.json",
        f"100644 {blob}\tbenchmarks.json",
        f"100644 {blob}\t.hidden.json",
        f"100644 {blob}\t{'x' * 300}.json",
    )
    before = {path for path in clone.parent.rglob("*.json") if ".git" not in path.parts}
    with opened_board(url(clone, "main")) as board:
        assert [path.name for path in board.folder.rglob("*")] == ["twice.json"]
        reasons = dict(board.left_out)
    assert reasons.pop("twice.json") == "its name is there twice"
    assert reasons.pop(f"{'x' * 300}.json") == "its name is too long"
    inside = {f"../native/{name}" for name in os.listdir(clone / "board/tiny/native")}
    assert set(reasons) == {f"{clone.parent}/absolute.json", "a\x1b[2J.json", "../../escaped.json", *inside}
    assert {path for path in clone.parent.rglob("*.json") if ".git" not in path.parts} == before


def test_large_files_are_left_out(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MAX_BYTES", 1 << 20)
    (clone / "board/big.json").write_bytes(os.urandom(3 << 20))
    commit(clone)
    for filtered in ("false", "true"):  # with a server that sends all, and one that leaves out what is too large
        git(clone, "config", "uploadpack.allowFilter", filtered)
        shutil.rmtree(clone.parent / "home", ignore_errors=True)
        with opened_board(url(clone)) as board:
            assert board.left_out == (("big.json", "it has more than 1 MiB"),)
            assert len(read_board(board)[0]) == 2
    fetched = sum(path.stat().st_size for path in (clone.parent / "home").rglob("*.pack"))
    assert fetched < 1 << 20
    monkeypatch.setattr(repository, "MAX_TOTAL", 1 << 10)
    with pytest.raises(InputError, match="a board of 2 files"):
        read_board(url(clone))


def test_a_fetch_and_a_listing_have_their_limits(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / "big.json").write_bytes(os.urandom(3 << 20))
    commit(clone)
    with monkeypatch.context() as patch:
        patch.setattr(repository, "MAX_FETCH", 1 << 20)
        with pytest.raises(InputError, match="it is larger than 1 MiB"):
            read_board(url(clone))
    assert list((clone.parent / "home").rglob("tmp_*")) == []
    tree = git(clone, "rev-parse", "HEAD:board/tiny/native")
    for level in range(12):  # ten folders in each of ten folders: a few rows, and a million million files
        hostile_tree(clone, *(f"40000 {tree}\t{level}{number}" for number in range(10)))
        tree = git(clone, "rev-parse", "main^{tree}")
    monkeypatch.setattr(repository, "MAX_LISTING", 1 << 20)
    with pytest.raises(InputError, match="it is larger than 1 MiB"):
        read_board(url(clone, "main"))


def test_a_server_that_says_nothing_is_given_up(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that git began: here a program in place of ssh."""
    silent = clone.parent / "silent"
    silent.write_text(f"#!/bin/sh\necho $$ > {clone.parent}/pid\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(silent))
    monkeypatch.setattr(repository, "FETCH_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"git was not done after 0\.5 s"):
        read_board("git@example.org:boards.git")
    assert time.monotonic() - begun < 10
    number = int((clone.parent / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{number}").exists() or "Z" in Path(f"/proc/{number}/stat").read_text().split(")")[1][:3]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("what git began lives on")
