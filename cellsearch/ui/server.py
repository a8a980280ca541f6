"""The server: answers of runs, and changes as they come, to any number of readers."""

from __future__ import annotations

import asyncio
import gzip
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cellsearch.errors import CellsearchError, ConfigError, RunError
from cellsearch.store.database import FILE_NAME, runs_below
from cellsearch.ui.answers import ANSWERS
from cellsearch.ui.guard import RequestGuard
from cellsearch.ui.live import CHUNK, LiveRun, as_json
from cellsearch.ui.page import page, policy

__all__ = ["Server"]

POLL_SECONDS = 0.5
"""So often it is looked what has changed, while somebody looks."""
FOLDER_SECONDS = 5.0
"""So often it is looked for new runs in a folder."""
WAITING = 64
"""Changes that wait for one slow reader; then it reads all again."""
MOST_RUNS = 200
MOST_READERS = 200
SMALL = 1400
"""Bytes below which nothing is compressed."""


class Server:
    """All that ``cellsearch ui`` serves.

    folders: runs, or folders that hold runs.
    host: to listen on; for any but this machine's own a ``token`` is needed.
    """

    def __init__(self, folders: Sequence[Path], host: str = "127.0.0.1", token: str = "") -> None:
        self._folders = list(folders)
        self._runs: dict[Path, LiveRun] = {}
        self.unreadable: dict[Path, str] = {}
        """Runs of a folder that cannot be shown, and why."""
        self._readers: set[asyncio.Queue[bytes]] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.find_runs()
        routes = [
            Route("/", self._page),
            Route("/api/runs", self._list),
            Route("/api/columns", self._columns),
            Route("/api/chunk", self._chunk),
            Route("/api/events", self._events),
            *(Route(f"/api/{name}", self._answerer(name)) for name in ANSWERS),
        ]
        self.app = RequestGuard(Starlette(routes=routes, lifespan=self._living), host, token)
        """The ASGI application."""

    # -- runs --------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[LiveRun]:
        """The runs that are shown."""
        return list(self._runs.values())

    def find_runs(self) -> list[LiveRun]:
        """Open the runs that are there and not open yet; returns these. Raises
        :class:`CellsearchError` for a run that was asked for by name and cannot be read.
        """
        found = []
        for folder in self._folders:
            alone = (folder / FILE_NAME).exists()
            inside = [] if alone else runs_below(folder)
            for path in ([folder] if alone or not folder.is_dir() else inside)[:MOST_RUNS]:
                if path in self._runs:
                    continue
                try:
                    self._runs[path] = LiveRun(path, self._name(path))
                except CellsearchError as error:
                    if alone or not inside:
                        raise
                    self.unreadable[path] = str(error)
                    continue
                self.unreadable.pop(path, None)
                found.append(self._runs[path])
        return found

    def _name(self, path: Path) -> str:
        """What links call a run: its folder, with a number where there are several of the name."""
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in path.resolve().name)
        taken = {run.name for run in self.runs}
        names = (plain if k == 1 else f"{plain}~{k}" for k in range(1, MOST_RUNS * 2 + 2))
        return next(name for name in names if name not in taken)

    def _run(self, request: Request) -> LiveRun:
        name = request.query_params.get("run", "")
        for run in self.runs:
            if run.name == name:
                return run
        raise RunError(f"no run is called {name[:80]!r}", hint="/api/runs lists them")

    def load(self) -> None:
        """Read the columns of all runs, so that whoever asks need not wait."""
        for run in self.runs:
            with suppress(CellsearchError):  # said to whoever asks for this run
                if not run.ready:
                    run.load()

    # -- answers -----------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        boot = await run_in_threadpool(self._boot)
        nonce = secrets.token_urlsafe(16)
        return _compressed(
            request,
            page(boot, nonce).encode("utf-8", "replace"),
            "text/html; charset=utf-8",
            {"Content-Security-Policy": policy(nonce)},
        )

    def _boot(self) -> dict[str, Any]:
        runs = self.runs
        first = runs[0].first_rows() if len(runs) == 1 else None
        return {"runs": [self._summary(run) for run in runs], "first": first}

    @staticmethod
    def _summary(run: LiveRun) -> dict[str, Any]:
        try:
            return run.summary()
        except CellsearchError as error:
            return {"run": run.name, "name": run.name, "path": str(run.path), "error": str(error)}

    async def _list(self, request: Request) -> Response:
        runs = await run_in_threadpool(lambda: [self._summary(run) for run in self.runs])
        lost = [{"path": str(path), "error": said} for path, said in self.unreadable.items()]
        return _compressed(request, as_json({"runs": runs, "unreadable": lost}))

    async def _columns(self, request: Request) -> Response:
        return await self._answered(request, self._packed)

    def _packed(self, request: Request) -> Response:
        version, packed = self._run(request).packed()
        return _compressed(request, packed, "application/octet-stream", {"X-Version": str(version)})

    async def _chunk(self, request: Request) -> Response:
        return await self._answered(request, self._texts)

    def _texts(self, request: Request) -> Response:
        run, start = self._run(request), request.query_params.get("start", "")
        found = run.chunk(run.number(start) // CHUNK)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(gzip.decompress(found), media_type="application/json")
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(found, headers=headers, media_type="application/json")

    def _answerer(self, name: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await self._answered(
                request,
                lambda asked: _compressed(
                    asked, as_json(ANSWERS[name](self._run(asked), asked.query_params))
                ),
            )

        return answer

    async def _answered(self, request: Request, make: Callable[[Request], Response]) -> Response:
        try:
            return await run_in_threadpool(make, request)
        except CellsearchError as error:
            missing = isinstance(error, RunError | ConfigError)
            said = as_json({"error": str(error)})
            return Response(said, 404 if missing else 422, media_type="application/json")

    # -- changes -----------------------------------------------------------------------------------

    async def _events(self, request: Request) -> Response:
        if len(self._readers) >= MOST_READERS:
            return Response("too many readers", 503)
        queue: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._readers.add(queue)
        self._wake.set()

        async def stream() -> AsyncIterator[bytes]:
            try:
                yield b"retry: 2000\n\n"
                while True:
                    try:
                        message = await asyncio.wait_for(queue.get(), 15)
                    except TimeoutError:
                        message = b": still here\n\n"
                    if not message:
                        return
                    yield message
            finally:
                self._readers.discard(queue)

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _tell(self, kind: str, document: object) -> None:
        """Give all readers the same bytes; who is too slow is told to read all again."""
        message = b"event: %s\ndata: %s\n\n" % (kind.encode(), as_json(document))
        for queue in self._readers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(b"event: again\ndata: {}\n\n")
            queue.put_nowait(message)

    def end(self) -> None:
        """Let go of all readers, because the server is about to end. To be called from anywhere."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        for queue in self._readers:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(b"")

    @asynccontextmanager
    async def _living(self, app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        reading = threading.Thread(target=self.load, daemon=True)
        reading.start()
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        looked = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            if not self._readers:  # nobody looks: nothing is read
                self._wake.clear()
                await self._wake.wait()
            if clock() - looked > FOLDER_SECONDS:
                looked = clock()
                with suppress(CellsearchError):  # a folder that is gone for a while
                    if await run_in_threadpool(self.find_runs):
                        self._tell("runs", [self._summary(run) for run in self.runs])
            for run in self.runs:
                try:
                    change = await run_in_threadpool(run.poll)
                except CellsearchError as error:
                    change = {"run": run.name, "error": str(error)}
                if change is not None:
                    self._tell("change", change)
            for run in self.runs:
                with suppress(CellsearchError):  # said to whoever asks for this run
                    if await run_in_threadpool(run.read_ahead):
                        break  # one at a time, so that changes come in time
            await asyncio.sleep(POLL_SECONDS)


def _compressed(
    request: Request,
    body: bytes,
    media_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Response:
    """An answer, compressed where that is wanted and of use."""
    sent = dict(headers or {})
    if len(body) > SMALL and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1)
        sent["Content-Encoding"] = "gzip"
        sent["Vary"] = "Accept-Encoding"
    return Response(body, headers=sent, media_type=media_type)
