"""Fetching a checkpoint: resumed after a cut, to a temporary name, verified, then renamed."""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from icvos.errors import InputError, UsageError, WeightsError
from icvos.files import HOME_REMEDY, file_sha256, free_bytes, lock_folder
from icvos.foundation.checkpoints import Checkpoint, verify_file, weights_folder
from icvos.progress import Progress, Update

__all__ = ["MAX_SIZE", "fetch"]

MAX_SIZE = 16 << 30
"""Bytes of a checkpoint whose size is not known, at most."""

_BLOCK = 1 << 20
# Bytes a second, over each span of the time limit, below which a connection counts as cut.
_SLOWEST = 1 << 10
#: Called with (bytes so far, bytes in all or None).


def fetch(
    known: Checkpoint,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    attempts: int = 5,
    timeout: float = 30.0,
    max_size: int = MAX_SIZE,
    progress: Progress | None = None,
) -> tuple[Path, str]:
    """Fetch a known checkpoint unless it is there, and verify it.

    The download goes to ``FILE.part``; a cut connection is resumed (HTTP range) up to ``attempts`` times, and again by
    the next call. Only a file that fits its size and hash gets its name.

    Args:
        known: What to fetch.
        folder: Where to; default the weights folder.
        mirror: Base URL that serves the same file names.
        attempts: Requests in all.
        timeout: Seconds without a byte, or with less than 1 KiB for each of them, before a request counts as cut.
        max_size: Bytes that are taken at most where the size of the checkpoint is not known.
        progress: Is told how far it is.

    Returns:
        The file and its SHA-256.

    Raises:
        UsageError: It has no direct link, or the URL is not http(s).
        WeightsError: The server does not have it, sends more, or leads elsewhere, or what it has is another file.
        InputError: Offline, or no room on the disk.
        LockedError: Another process fetches it.
    """
    folder = folder or weights_folder()
    target = folder / known.file
    if target.is_file():
        return target, verify_file(target, known)
    url = _url(known, mirror)
    part = folder / f"{known.file}.part"
    with lock_folder(part, remedy=HOME_REMEDY):
        if not known.sha256:  # two halves of different files would go unseen
            part.unlink(missing_ok=True)
        _complete(known, url, part, attempts, timeout, max_size, progress)
        digest = _checked(known, part)
        part.replace(target)
    return target, digest


def _url(known: Checkpoint, mirror: str | None) -> str:
    if mirror is None and known.url is None:
        raise UsageError(
            f"{known.name} has no direct link", fix=f"download it by hand from {known.page} and pass it with --weights"
        )
    url = known.url if mirror is None else f"{mirror.rstrip('/')}/{urllib.parse.quote(known.file)}"
    assert url is not None
    if not _is_address(url):
        raise UsageError(f"'{url}' is no http or https address", expected="https://HOST/FOLDER")
    return url


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0 and url.isascii()
    except ValueError:  # a bracket alone, a port of letters, a label of 64
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to other http and https addresses alone: never to a file, never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        secure = urllib.parse.urlsplit(req.full_url).scheme == "https"
        if not _is_address(newurl) or (secure and urllib.parse.urlsplit(newurl).scheme != "https"):
            raise WeightsError("the server leads elsewhere", where=newurl[:200], expected="an address of its own kind")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _complete(
    known: Checkpoint, url: str, part: Path, attempts: int, timeout: float, max_size: int, progress: Progress | None
) -> None:
    """Bring ``part`` to its full length."""
    reason = ""
    for _ in range(attempts):
        try:
            if _request(known, url, part, timeout, max_size, progress):
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise WeightsError(
                    f"the server answers {error.code} {error.reason}", where=url, fix=f"see {known.page}"
                ) from None
            reason = f"the server answers {error.code}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
            if isinstance(getattr(error, "reason", None), OSError) and not part.exists():
                break  # no route, no name, refused: no use in asking again
    raise InputError(
        f"{known.name} could not be fetched ({reason})",
        where=url,
        fix="run the same command again: it goes on where it stopped; offline, copy the file into "
        f"{part.parent} yourself",
    )


def _request(known: Checkpoint, url: str, part: Path, timeout: float, max_size: int, progress: Progress | None) -> bool:
    """Ask for what is missing and append it; True when the file is whole."""
    have = part.stat().st_size if part.exists() else 0
    if known.size is not None and have > known.size:
        part.unlink()
        have = 0
    if known.size is not None and have == known.size:
        return True
    headers = {"User-Agent": "icvos", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.build_opener(_Redirects).open(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing is left beyond what we have: whole, or a part of another file; the hash decides.
        return True
    except ValueError:  # where it leads cannot be read as an address
        raise WeightsError("the server leads elsewhere", where=url, expected="an http or https address") from None
    with answer:
        start, total = _span(answer, have)
        _check_total(known, total, url)
        most = known.size or max_size
        if total is not None and total > most:
            raise _too_long(known, url, most)
        need = (total or known.size or 0) - start
        if need > free_bytes(part.parent):
            raise InputError(
                f"{known.name} needs {need / 2**30:.1f} GiB more", where=part.parent, fix="free some room or use --to"
            )
        done = start
        with part.open("ab") as stream:
            stream.truncate(start)
            begin, before = time.monotonic(), done
            # As it comes: a whole block of a server that sends a byte now and then would never be there.
            while block := answer.read1(_BLOCK):
                if done + len(block) > most:
                    stream.truncate(0)
                    raise _too_long(known, url, most)
                stream.write(block)
                done += len(block)
                if time.monotonic() - begin > timeout:
                    if done - before < _SLOWEST * timeout:
                        raise TimeoutError(f"less than 1 KiB a second for {timeout:.0f} seconds")
                    begin, before = time.monotonic(), done
                if progress is not None:
                    progress(Update("bytes", done, total or known.size or 0))
    return total is None or done >= total


def _too_long(known: Checkpoint, url: str, most: int) -> WeightsError:
    fix = "take another source" if known.size else "allow more with --max-size"
    return WeightsError(f"the server sends more than {most:,} bytes for {known.name}", where=url, fix=fix)


def _span(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return where the answer's bytes begin in the file, and the file's length if the server says it."""
    if answer.status == 206:
        span = re.fullmatch(
            r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)", answer.headers.get("Content-Range", "")
        )
        if span and int(span[1]) == have:
            return have, None if span[2] == "*" else int(span[2])
        raise http.client.HTTPException("the server sent another range than asked for")
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length and re.fullmatch("[0-9]{1,15}", length) else None


def _check_total(known: Checkpoint, total: int | None, url: str) -> None:
    if total is not None and known.size is not None and total != known.size:
        raise WeightsError(
            f"the server offers {total:,} bytes for {known.name}", where=url, expected=f"{known.size:,} bytes"
        )


def _checked(known: Checkpoint, part: Path) -> str:
    """Return the SHA-256 of a whole download; a wrong one is removed, so that the next try starts anew."""
    try:
        return verify_file(part, known) if known.sha256 else file_sha256(part)
    except WeightsError as error:
        part.unlink(missing_ok=True)
        raise WeightsError(
            f"{error.what}: removed", where=os.fspath(part), expected=error.expected, fix="try again, or another source"
        ) from None
