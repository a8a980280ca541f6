"""How every command ends: exit codes, and the two lines that an error is."""

from __future__ import annotations

import difflib
import errno
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from cellsearch.cli.signals import exit_code, signals_handled, was_interrupted, was_told
from cellsearch.errors import CellsearchError, CellSyntaxError, TrainingError, visible
from cellsearch.reporting.terminal import shown_output

__all__ = ["ReaderGoneError", "guarded", "let_output_go", "one_training"]

# What the machine, not the program, is to blame for: no room, a quota, a broken or read-only disk,
# too many open files.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
)


_AGAINST = {
    "nan": "a smaller training.learning_rate may help, or training.clip_norm; cellsearch show "
    "says what the graph of a cell makes suspicious",
    "memory": "give it a smaller hidden size, or smaller batches (training.batch_size)",
}
_AGAINST["diverged"] = _AGAINST["nan"]


class ReaderGoneError(Exception):
    """The reader of our output (head, less) went away. Stands for :class:`BrokenPipeError`, of
    which click makes an exit with code 1.
    """


def guarded(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command; every failure becomes ``error:`` and ``hint:`` lines on standard error and an
    exit code.
    """
    debug = "--debug" in arguments
    try:
        with shown_output(), signals_handled():
            code = _invoked(command, arguments, debug)
    except CellsearchError as error:  # of the setting of the signals itself
        return _failed(str(error), error.hint, error.exit_code, debug)
    # What fails while it ends, because a terminal or other processes have ended too, is no failure.
    return exit_code() if was_told() and code else code


def _invoked(command: click.Command, arguments: Sequence[str], debug: bool) -> int:
    try:
        code = _run(command, arguments)
    except CellsearchError as error:
        message, _, excerpt = str(error).partition("\n")
        if not isinstance(error, CellSyntaxError):
            message, excerpt = str(error), ""
        return _failed(message, error.hint, error.exit_code, debug, excerpt)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True, color=True)
        return 2
    except click.UsageError as error:
        context = error.ctx
        return _failed(
            error.format_message(),
            f"{_guess(error)}see {context.command_path if context else 'cellsearch'} --help",
            2,
            debug,
        )
    except click.ClickException as error:
        return _failed(error.format_message(), "", 2, debug)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", "", exit_code(), debug)
    except (BrokenPipeError, ReaderGoneError):  # not an error
        let_output_go()
        return 0
    except OSError as error:
        if error.errno not in _MACHINE:
            return _internal(error, debug)
        let_output_go()
        where = f"{error.filename}: " if error.filename else ""
        return _failed(
            f"{where}{error.strerror}",
            "look at the space of the disk that is written to, and at the limit of open files",
            6,
            debug,
        )
    except Exception as error:  # noqa: BLE001  (the last resort of the program: it reports, and hides nothing)
        return _internal(error, debug)
    return code if isinstance(code, int) else 0


def _run(command: click.Command, arguments: Sequence[str]) -> Any:
    """What the command returns. An interruption stays one, whatever a library made of it: numpy,
    for example, where it interprets a type, makes a ValueError.
    """
    try:
        code = command.main(
            args=[a for a in arguments if a != "--debug"],
            prog_name="cellsearch",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except Exception as error:
        if was_interrupted():
            raise KeyboardInterrupt from error
        raise
    return code


@contextmanager
def one_training(what: str) -> Iterator[None]:
    """For a command that trains what it was asked to: a failure says what failed (``what``: cell
    and task), how, and what may help.
    """
    try:
        yield
    except TrainingError as error:
        raise TrainingError(
            f"the training failed ({error.kind}): {error.message}",
            kind=error.kind,
            where=what,
            hint=error.hint or _AGAINST.get(error.kind, ""),
        ) from error


def _guess(error: click.UsageError) -> str:
    """What was meant by a value that is not among the choices; click guesses commands and options
    itself.
    """
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param else None
    given = re.match("'(.*?)' is not one of", error.message)
    names = [str(choice) for choice in kind.choices] if isinstance(kind, click.Choice) else []
    close = difflib.get_close_matches(given[1], names, 1, 0.5) if given else []
    return f"did you mean {close[0]}? " if close else ""


def let_output_go() -> None:
    """Point standard output elsewhere if it can no longer be written: the interpreter flushes it
    once more at exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, hint: str, code: int, debug: bool, excerpt: str = "") -> int:
    """``excerpt``: lines of a text with a mark below the place, printed as they stand, indented."""
    if debug:
        traceback.print_exc()
    lines = [f"error: {_one_line(message)}"]
    for line in filter(None, excerpt.split("\n")):
        lines.append("    " + "".join(c if c.isprintable() else " " for c in line[4:]))
    if hint:
        lines.append(f"hint: {_one_line(hint)}")
    for line in lines:  # click takes codes out of what no terminal reads; here they are to be seen
        click.echo(line, err=True, color=True)
    return code


def _internal(error: Exception, debug: bool) -> int:
    handle, path = tempfile.mkstemp(prefix="cellsearch-error-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(
            f"cellsearch, Python {platform.python_version()}, "
            f"{platform.platform()}\n{' '.join(sys.argv)}\n\n"
        )
        file.write(visible("".join(traceback.format_exception(error))))
    return _failed(
        f"internal error: {type(error).__name__}: {error}",
        f"this is a bug; please report it with the log {path}",
        1,
        debug,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
