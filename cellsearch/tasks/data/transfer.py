"""One file over HTTP into an unfinished one beside its final name: attempts, going on where an
attempt was cut, bounds.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from cellsearch.errors import EnvironmentFailure, InputFileError
from cellsearch.files import write_atomically

__all__ = ["Unfinished", "fetch"]

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each further attempt after a passing trouble."""
_LONGEST_WAIT = 60
"""Seconds that a server may ask for before the next attempt."""
_CHUNK = 1 << 16
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that another attempt may change."""
_WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file that is being fetched, and its bounds."""

    path: Path
    size: int
    """Its exact bytes in the end; 0: unknown."""
    most: int
    """It has not more bytes than this."""
    timeout: float
    """Seconds without an answer after which an attempt is given up."""
    end: float
    """When to give up altogether, by :func:`time.monotonic`."""

    @property
    def note(self) -> Path:
        """What is known of the file whose beginning is there: its address, version and size."""
        return self.path.with_name(self.path.name + ".json")

    def restart(self) -> None:
        """Throw away what is there, but not the file itself, which may be locked."""
        self.note.unlink(missing_ok=True)
        open(self.path, "wb").close()

    def remember(self, url: str, headers: Message, total: int) -> None:
        """Write down what the beginning will be the beginning of: an ETag that stands for equal
        bytes, or else the date of the last change.
        """
        tag = headers.get("ETag", "")
        version = tag if tag.startswith('"') else headers.get("Last-Modified", "")
        if version and total:
            note = {"url": url, "version": version, "total": total}
            write_atomically(self.note, json.dumps(note))

    def known(self, url: str) -> tuple[str, int, int]:
        """Version and size of the file at ``url``, and how many bytes of it are there; ``("", 0,
        0)`` where what is there cannot be gone on with.
        """
        try:
            note = json.loads(self.note.read_text())
            begin = self.path.stat().st_size
            version, total = str(note["version"]), int(note["total"])
            if note["url"] == url and 0 < begin <= total and version.isprintable():
                return version, total, begin
        except (OSError, ValueError, LookupError, TypeError):
            pass
        return "", 0, 0


class _Passing(Exception):
    """A trouble that another attempt may not meet. ``wait``: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(url: str, part: Unfinished) -> None:
    """Fill the unfinished file from ``url``: several attempts with pauses between them.

    Raises :class:`EnvironmentFailure` if the server cannot be reached or does not send the whole
    file, :class:`InputFileError` if what it sends cannot be the file, :class:`OSError` if the file
    cannot be written.
    """
    for pause in (*PAUSES, None):
        try:
            _attempt(url, part)
        except _Passing as trouble:
            wait = max(pause or 0.0, trouble.wait)
            if pause is None or time.monotonic() + wait > part.end:
                raise EnvironmentFailure(
                    str(trouble),
                    where=url,
                    hint="check the network (proxy: HTTPS_PROXY) and try again",
                ) from None
            time.sleep(wait)
        else:
            return


def _attempt(url: str, part: Unfinished) -> None:
    """One request: for the rest of the file where its beginning is there, else for all of it."""
    version, total, begin = part.known(url)
    if version and begin == total:
        return
    headers = {"User-Agent": "cellsearch", "Accept-Encoding": "identity"}
    if begin:
        headers |= {"Range": f"bytes={begin}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)
    with _network(url, part):
        answer = _opener().open(request, timeout=part.timeout)
    with answer:
        if answer.status == 206:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
            if span is None or (int(span[1]), int(span[2])) != (begin, total):
                part.restart()
                raise _Passing("the server sent another part of the file than was asked for")
        else:
            length = answer.headers.get("Content-Length", "")
            begin, total = 0, int(length) if length.isdecimal() else 0
            part.restart()
            part.remember(url, answer.headers, total)
        if part.size and total and total != part.size:
            raise InputFileError(
                f"the file there has {total:,} bytes, expected {part.size:,}",
                where=url,
                hint="the file there has changed, or something stands between",
            )
        _receive(url, answer, part, begin, total or part.size)


def _receive(url: str, answer: Any, part: Unfinished, begin: int, total: int) -> None:
    """Append what comes to the ``begin`` bytes that are there; ``total``: what they should be in
    the end, 0: unknown.
    """
    received, progress = begin, _Progress(begin, total)
    with open(part.path, "ab", buffering=0) as file:
        while received <= part.most:
            if time.monotonic() > part.end:
                raise _Passing(f"the download is not done in time: {received:,} bytes are here")
            # One piece at a time as it comes, so that a slow server cannot hold the clock back.
            with _network(url, part):
                chunk = answer.read1(_CHUNK)
            if not chunk:
                break
            if not received and _WEB_PAGE.match(chunk):
                raise InputFileError(
                    "the server sends a web page in place of the file",
                    where=url,
                    hint="look at it in a browser: a login, a notice, or the file has moved",
                )
            _write(file, chunk)
            received += len(chunk)
            progress.show(received)
    progress.close()
    if received > part.most:
        raise InputFileError(
            f"the downloaded file is not the expected one: more than {part.most:,} bytes; it was "
            "thrown away",
            where=url,
            hint="the file there has changed, or something stands between",
        )
    if received < total:
        raise _Passing(f"the download stopped after {received:,} of {total:,} bytes")


def _write(file: IO[bytes], chunk: bytes) -> None:
    while chunk:
        chunk = chunk[file.write(chunk) :]


@contextmanager
def _network(url: str, part: Unfinished) -> Iterator[None]:
    """Troubles of the network inside the block become :class:`_Passing`, or an error if another
    attempt would meet them too.
    """
    try:
        yield
    except urllib.error.HTTPError as error:
        reason = f"the download failed: the server answers {error.code} {error.reason}"
        after = error.headers.get("Retry-After", "")
        error.close()
        if error.code == 416:  # what is there is not the beginning of the file
            part.restart()
        elif error.code not in _PASSING:
            raise EnvironmentFailure(
                reason, where=url, hint="the file may have moved: look at the address"
            ) from None
        wait = int(after) if after.isdecimal() else 0
        raise _Passing(reason, min(wait, _LONGEST_WAIT)) from None
    except urllib.error.URLError as error:
        raise _Passing(f"the download failed: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(f"the download failed: {error or type(error).__name__}") from None
    except ValueError as error:
        raise EnvironmentFailure(
            f"the download failed: the server redirects to no address: {error}",
            where=url,
            hint="the file may have moved: look at the address",
        ) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none to a place that is less safe."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """See the class."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("https", req.type):
            raise EnvironmentFailure(
                f"the server redirects to {newurl:.200}, which is not https",
                where=req.full_url,
                hint="such an address is not followed: the file could be changed on its way",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any
    ) -> Any:
        """As urllib does, but without leaving the connection open when it goes wrong."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (ValueError, EnvironmentFailure):
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Opens addresses with http and https alone: neither files of this machine nor ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class _Progress:
    """How far a download is, on standard error: on a terminal always on the same line, elsewhere a
    line now and then.
    """

    def __init__(self, begin: int, total: int) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else 10.0
        self._next = time.monotonic() + self._every
        self._shown = False
        if begin:
            print(f"cellsearch: going on after {begin / 1e6:.1f} MB", file=sys.stderr, flush=True)

    def show(self, received: int) -> None:
        """Say it, if it is time."""
        if time.monotonic() < self._next:
            return
        self._next, self._shown = time.monotonic() + self._every, True
        of = f" of {self._total / 1e6:.1f}" if self._total else ""
        text = f"cellsearch: {received / 1e6:.1f}{of} MB"
        end = "" if self._terminal else "\n"
        print(f"\r{text}" if self._terminal else text, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._shown:
            print(file=sys.stderr, flush=True)
