"""Downloading one file from its canonical place: announced, bounded, checked, and either complete
or not there.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cellsearch.errors import EnvironmentFailure, InputFileError
from cellsearch.files import cache_folder, replacing

__all__ = ["OFFLINE", "data_cache", "download", "offline"]

OFFLINE = "CELLSEARCH_OFFLINE"
TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""
LONGEST = 600.0
"""Seconds that one file may take in all."""
_CHUNK = 1 << 16


def offline() -> bool:
    """Whether downloads are forbidden: ``CELLSEARCH_OFFLINE`` is set to anything but ``0``."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def data_cache() -> Path:
    """Where downloads are kept: ``data`` in :func:`cellsearch.files.cache_folder`."""
    return cache_folder() / "data"


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size: int,
    what: str,
    timeout: float = TIMEOUT,
    longest: float = LONGEST,
) -> None:
    """Fetch ``url`` into ``target``; one line on standard error says what is fetched from where to
    where (``what``: its name, licence).

    The file appears under its name only when it has ``size`` bytes and this checksum. Raises
    :class:`EnvironmentFailure` if the place cannot be reached, answers with an error, stops in the
    middle, or the file cannot be written; :class:`InputFileError` if it is another file.
    ``timeout``: seconds without an answer; ``longest``: seconds in all.
    """
    print(
        f"cellsearch: downloading {what}, {size / 1e6:.1f} MB, from {url} to {target}",
        file=sys.stderr,
        flush=True,
    )
    by_hand = f"or put the file there yourself: {target}"
    digest, received = hashlib.sha256(), 0
    room = "make room, or set CELLSEARCH_CACHE to another folder"
    with replacing(target, what="download", hint=room) as temporary:
        with open(temporary, "wb") as file:
            for chunk in _chunks(url, size, timeout, longest, by_hand):
                digest.update(chunk)
                received += len(chunk)
                file.write(chunk)
        if received < size:
            raise EnvironmentFailure(
                f"the download stopped after {received:,} of {size:,} bytes",
                where=url,
                hint=f"try again, {by_hand}",
            )
        if received > size or digest.hexdigest() != sha256:
            found = (
                f"more than {size:,} bytes"
                if received > size
                else f"sha256 {digest.hexdigest()[:12]}..., expected {sha256[:12]}..."
            )
            raise InputFileError(
                f"the downloaded file is not the expected one: {found}; it was thrown away",
                where=url,
                hint=f"the file there has changed, or something stands between; take it "
                f"from elsewhere, {by_hand}",
            )


def _chunks(url: str, size: int, timeout: float, longest: float, by_hand: str) -> Iterator[bytes]:
    """The content, piece by piece, not much more than ``size`` bytes. Errors of the network become
    :class:`EnvironmentFailure`.
    """
    end = time.monotonic() + longest
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            while received <= size:
                # One piece at a time as it comes, so that a slow server cannot hold the clock back.
                chunk = answer.read1(_CHUNK)
                if not chunk:
                    return
                if time.monotonic() > end:
                    raise TimeoutError(f"not done after {longest:g} s")
                received += len(chunk)
                yield chunk
            return
    except urllib.error.HTTPError as error:
        reason = f"the server answers {error.code} {error.reason}"
        error.close()
    except urllib.error.URLError as error:
        reason = str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
    raise EnvironmentFailure(
        f"the download failed: {reason}",
        where=url,
        hint=f"check the network (proxy: HTTPS_PROXY) and try again, {by_hand}",
    )
