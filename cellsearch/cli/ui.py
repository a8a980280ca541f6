"""``cellsearch ui``: the live page of runs."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellsearch.errors import EnvironmentFailure, amount

if TYPE_CHECKING:  # it needs the extra
    from cellsearch.ui.server import Server

__all__ = ["COMMANDS"]

_SERVING = "cellsearch.ui.serve"
"""The module that needs the extra."""


@click.command("ui")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[RUN]...")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen. Anything but this machine alone makes a token necessary, which is part "
    "of the address that is printed.",
)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    help="The port; 0 for any that is free.  [default: 8737, or the next free one]",
)
@click.option("--token", is_flag=True, help="Ask for a token on this machine too.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
def ui(
    runs: tuple[Path, ...], host: str, port: int | None, token: bool, open_browser: bool
) -> None:
    """Open the live page of each RUN, or of a folder of runs; without RUN, of the folder runs, or
    this one.

    Leaderboard, curves, lineage, workers, cells: as they are, and as they come, while a search
    writes the run. The page only reads. It is served until you press Ctrl-C.
    """
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise EnvironmentFailure(
                f"the live page needs {name}, which is not installed",
                hint="pip install 'cellsearch[ui]'; `cellsearch report RUN` needs nothing",
            )

    def announce(server: Server, address: str) -> None:
        click.echo(f"{amount(len(server.runs), 'run')}: {address}")
        for path, why in server.unreadable.items():
            click.echo(f"not shown: {path}: {why}", err=True)
        if open_browser:
            click.launch(address)

    folders = runs or ((Path("runs") if Path("runs").is_dir() else Path()),)
    import_module(_SERVING).serve(folders, announce, host=host, port=port, token=token)


COMMANDS = (ui,)
