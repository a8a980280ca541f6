"""Building the autograd node (``graph/segment.cpp``): once for each machine and version of torch.

It takes some 15 seconds, which nobody waits for: a process of its own builds the library, and
whoever makes a kernel afterwards loads it. Until then, and where it cannot be built, the kernel
runs by Python: the same results, later where segments are short. It lies in ``graph`` in the user's
cache, under a key of everything that decides its contents, as the runtime does
(:mod:`~cellsearch.compiler.backends.native.build`); a build that fails leaves what the compiler
said beside it, and is not tried again.

This file does not import torch, which the process that builds has no need of.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cellsearch.compiler.backends.native.build import SOURCES, is_as_built, seal
from cellsearch.errors import BackendError
from cellsearch.files import private_cache, replacing

__all__ = ["SOURCE", "Target", "build", "build_aside", "compiler", "target"]

SOURCE = Path(__file__).parent / "graph" / "segment.cpp"
FLAGS = ("-O2", "-std=c++20", "-fPIC", "-shared", "-fvisibility=hidden")
TRIED = 2000
"""Characters of what a compiler said that are kept."""


@dataclass(frozen=True)
class Target:
    """A library that is there or could be built."""

    path: Path
    command: tuple[str, ...]
    """What builds it, but for ``-o`` and the path."""

    @property
    def name(self) -> str:
        """Of the library in torch's registry: two that differ may be loaded side by side."""
        return "cellsearch_" + self.path.stem.rpartition("-")[2]

    @property
    def failure(self) -> Path:
        """Where it is written that building it failed, and why."""
        return self.path.with_suffix(".failed")


def compiler() -> str | None:
    """The C++ compiler of this machine (``$CXX``, else c++, g++ or clang++), or ``None``."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def target(torch_folder: Path, torch_version: str, cxx11_abi: bool) -> Target:
    """The library for this machine and the torch in a folder. Raises :class:`BackendError` where
    nothing can be compiled, :class:`EnvironmentFailure` where the cache is not for code.
    """
    program = compiler()
    if program is None:
        raise BackendError("there is no C++ compiler", hint="install g++ or clang++, or set CXX")
    for needed in (SOURCE, torch_folder / "include" / "torch" / "library.h"):
        if not needed.exists():
            raise BackendError(f"{needed.name} is not here", where=str(needed.parent))
    flags = (*FLAGS, f"-D_GLIBCXX_USE_CXX11_ABI={int(cxx11_abi)}")
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    decisive = hashlib.sha256(SOURCE.read_bytes() + (SOURCES / "format.h").read_bytes())
    parts = (version, torch_version, platform.machine())
    decisive.update("\n".join((*parts, *flags)).encode())
    path = private_cache("graph") / f"segment-{decisive.hexdigest()[:20]}.so"
    name = Target(path, ()).name
    folders = (f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}")
    command = (program, *flags, f"-DCELLSEARCH_NAME={name}", str(SOURCE), *folders)
    return Target(path, (*command, "-lc10", "-ltorch_cpu"))


def build(wanted: Target) -> None:
    """Compile it. Raises :class:`BackendError` with what the compiler said, which stays beside the
    place of the library, :class:`EnvironmentFailure` where that cannot be written.
    """
    hint = "set CELLSEARCH_CACHE to a folder that can be written"
    wanted.failure.unlink(missing_ok=True)
    with replacing(wanted.path, what="autograd node", hint=hint) as temporary:
        command = [*wanted.command, "-o", str(temporary)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            said = result.stderr.strip()[:TRIED]
            wanted.failure.write_text(said, encoding="utf-8")
            raise BackendError(
                f"the autograd node does not compile:\n{said}", where=" ".join(command)
            )
        seal(temporary)


def build_aside(wanted: Target) -> None:
    """Begin to build it in a process that is waited for by nobody, and goes on when this one ends.

    A shell starts it and ends at once, so nothing of it is left here: no child, no thread. It
    yields to whatever else runs.
    """
    script = [sys.executable, "-m", __name__, str(wanted.path), *wanted.command]
    subprocess.run(
        ["/bin/sh", "-c", 'nice -n 10 "$@" </dev/null >/dev/null 2>&1 &', "sh", *script],
        start_new_session=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def main(arguments: list[str]) -> None:
    """``PATH COMMAND...``: what :func:`build_aside` starts. One at a time builds a library."""
    wanted = Target(Path(arguments[0]), tuple(arguments[1:]))
    with open(wanted.path.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another one is at it
            return
        if not is_as_built(wanted.path):
            build(wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
