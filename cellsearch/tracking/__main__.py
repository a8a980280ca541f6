"""``python -m cellsearch.tracking RUN NAME``: the process in which a tracker follows a search. The
process of the search holds the other end of standard input: when it closes that, or dies, the last
trials are told of, and this process ends.
"""

from __future__ import annotations

import os
import select
import sys
import threading

from cellsearch.errors import CellsearchError, visible
from cellsearch.tracking.feed import Feed
from cellsearch.tracking.follow import send

__all__ = ["main"]

LOOK_SECONDS = 1.0
GRACE_SECONDS = 60.0
"""How long this process may live after the search, if a library does not answer."""


def main(arguments: list[str]) -> int:
    """Follow, and say on standard error why it went wrong."""
    os.nice(5)  # the training comes first
    path, name = arguments
    try:
        send(path, name, _wait)
    except CellsearchError as error:
        print(visible(str(error)), file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001  (whatever a library or its network does)
        print(visible(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return 1
    return 0


def _wait(feed: Feed) -> bool:
    """Until the next look; whether the search goes on."""
    readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
    if not readable:
        return True
    timer = threading.Timer(GRACE_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()
    return False


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # libraries leave threads behind that wait for a network
