"""Building and loading the native runtime: C sources in this package, compiled once on the machine
that runs them.

The library lies in ``native`` in the user's cache (``CELLSEARCH_CACHE``, else
``$XDG_CACHE_HOME/cellsearch``, else ``~/.cache/cellsearch``) under a key of everything that decides
its contents: sources, flags, compiler and processor. It is written under another name and then
renamed, so that workers that start at the same time never load half a file. Before it is loaded,
owner, mode and digest are checked: a folder that others can write is refused, and a file that is
not as it was built is built again.

Where nothing can be compiled, the library that came with the package is used, if there is one
(wheels for Linux on x86-64 have it) and the processor can run it. A library knows a hash of the
sources that it was built from, and one of other sources is refused. ``python -m
cellsearch.compiler.backends.native.build --portable OUT`` writes such a library: x86-64 with AVX2
and FMA. This file imports no third-party package: the hook that builds the wheel loads it where
there is none.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from cellsearch.errors import BackendError, EnvironmentFailure
from cellsearch.files import others_can_write, private_cache, replacing

__all__ = [
    "BUNDLED",
    "PORTABLE",
    "SOURCES",
    "Library",
    "build",
    "compiler",
    "digest",
    "is_as_built",
    "library",
    "seal",
]

SOURCES = Path(__file__).parent / "src"
BUNDLED = Path(__file__).parent / "bundled" / "runtime-x86_64-avx2.so"
FORMAT = 7
# No -ffast-math: it would let NaN disappear in clamps, and linking with it changes the
# floating-point mode of the whole process.
FLAGS = (
    "-O3",
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-pthread",
)
NATIVE = ("-march=native",)
PORTABLE = ("-mavx2", "-mfma", "-mtune=generic")
PORTABLE_NEEDS = frozenset({"avx2", "fma"})  # as /proc/cpuinfo calls them
DIGEST_BYTES = hashlib.sha256().digest_size  # of all before, at the end of a built library
NO_COMPILER = "there is no C compiler"
# Compiled into each library beside the sources, so that it can say what it was built from.
STAMP = (
    '__attribute__((visibility("default"))) const char *cellsearch_source(void) {{ return '
    '"{digest}"; }}\n'
)


class Library:
    """The loaded runtime: ``run(job address) -> code``, ``call(call address) -> code``,
    ``loss(loss address) -> code`` and ``loss_floats(depth, classes)`` of scratch memory for it, the
    numbers of its instructions and its sizes.

    ``instructions``: which instruction set it uses; ``bf16``: how it computes products of bfloat16
    (``"amx"``, ``"avx512_bf16"``, or the instruction set, with which it rounds by integers and
    multiplies float32); ``source``: hash of what it was built from; ``origin``: why this one, for
    people.
    """

    def __init__(self, path: Path, origin: str = "") -> None:
        self.path = path
        self.origin = origin
        handle = ctypes.CDLL(str(path))
        self.run = handle.cellsearch_run
        self.run.argtypes, self.run.restype = [ctypes.c_void_p], ctypes.c_int
        self.call = handle.cellsearch_call
        self.call.argtypes, self.call.restype = [ctypes.c_void_p], ctypes.c_int
        size = handle.cellsearch_size
        size.argtypes, size.restype = [ctypes.c_int], ctypes.c_int64
        opcode = handle.cellsearch_opcode
        opcode.argtypes, opcode.restype = [ctypes.c_int], ctypes.c_char_p
        processor = handle.cellsearch_path
        processor.argtypes, processor.restype = [], ctypes.c_char_p
        if size(0) != FORMAT:
            raise BackendError(
                f"the native runtime has format {size(0)}, not {FORMAT}",
                where=str(path),
                hint="delete the file; it is built again",
            )
        self.loss = handle.cellsearch_loss
        self.loss.argtypes, self.loss.restype = [ctypes.c_void_p], ctypes.c_int
        self.loss_floats = handle.cellsearch_loss_floats
        self.loss_floats.argtypes = [ctypes.c_int64, ctypes.c_int64]
        self.loss_floats.restype = ctypes.c_int64
        self.describe(size, lambda k: opcode(k).decode())
        self.instructions = processor().decode()
        self._bf16 = handle.cellsearch_bf16_path
        self._bf16.argtypes, self._bf16.restype = [], ctypes.c_char_p
        self.source = ""
        if hasattr(handle, "cellsearch_source"):
            handle.cellsearch_source.argtypes, handle.cellsearch_source.restype = (
                [],
                ctypes.c_char_p,
            )
            self.source = handle.cellsearch_source().decode()

    @property
    def bf16(self) -> str:
        """How products of bfloat16 are computed. Asking it asks the kernel for AMX, once."""
        path: bytes = self._bf16()
        return path.decode()

    def describe(self, size: Callable[[int], int], opcode: Callable[[int], str]) -> None:
        """Take over what the runtime says about itself by ``cellsearch_size`` and
        ``cellsearch_opcode``.
        """
        self.job_bytes, self.panel, self.block = size(1), size(2), size(3)
        self.outer_rows, self.outer_columns = size(4), size(5)
        self.cells = size(7)
        self.opcodes = {opcode(k): k for k in range(size(6))}


def compiler() -> str | None:
    """The C compiler of this machine (``$CC``, else cc, gcc or clang), or ``None``."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def processor() -> str:
    """Model and instruction sets of the processor."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        picked = [
            line
            for line in lines
            if line.split(":")[0].strip() in ("model name", "flags", "Features", "CPU part")
        ]
        if picked:
            return "\n".join(sorted(set(picked)))
    return f"{platform.machine()} {platform.processor()}"


def digest(flags: tuple[str, ...]) -> str:
    """A hash of the sources and the flags."""
    text = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        text.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    text.update("\n".join((*FLAGS, *flags)).encode())
    return text.hexdigest()


def build(output: Path, flags: tuple[str, ...] = NATIVE) -> None:
    """Compile the runtime into ``output``, with its digest at the end.

    Raises :class:`BackendError` with what the compiler said, :class:`EnvironmentFailure` where
    ``output`` cannot be written.
    """
    program = compiler()
    if program is None:
        raise BackendError(NO_COMPILER, hint="install gcc or clang, or set CC")
    hint = "set CELLSEARCH_CACHE to a folder that can be written"
    with replacing(output, what="native runtime", hint=hint) as temporary:
        source = str(SOURCES / "runtime.c")
        command = [program, *FLAGS, *flags, source, "-x", "c", "-", "-o", str(temporary), "-lm"]
        result = subprocess.run(
            command,
            input=STAMP.format(digest=digest(flags)),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise BackendError(
                f"the native runtime does not compile:\n{result.stderr.strip()[-2000:]}",
                where=" ".join(command),
            )
        seal(temporary)


def seal(library: Path) -> None:
    """Write the digest of a library behind its end, where the loader does not look: one file holds
    both.
    """
    with open(library, "rb+") as file:
        found = hashlib.sha256(file.read()).digest()
        file.write(found)
    library.chmod(0o755)


def key(program: str, flags: tuple[str, ...]) -> str:
    """What decides the contents of a library, as a short text."""
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    return hashlib.sha256("\n".join((version, digest(flags), processor())).encode()).hexdigest()[
        :20
    ]


@cache
def library() -> Library:
    """The runtime for this machine: built if need be, else the one that came with the package.

    Raises :class:`BackendError`, which says why, where there is neither.
    """
    program = compiler()
    if program is None:
        return _bundled(BackendError(NO_COMPILER, hint="install gcc or clang"))
    try:
        path = private_cache("native") / f"runtime-{key(program, NATIVE)}.so"
        if not is_as_built(path):
            build(path, NATIVE)
        return Library(path, f"compiled here by {program}")
    except EnvironmentFailure as error:
        return _bundled(error)
    except OSError as error:
        return _bundled(BackendError(f"the native runtime cannot be loaded: {error}"))


def is_as_built(path: Path) -> bool:
    """Whether the file is one that was built and sealed for this user, whole and unchanged. A wrong
    one is built again.
    """
    try:
        foreign = others_can_write(path)
        data = path.read_bytes()
    except OSError:
        return False
    return not foreign and data[-DIGEST_BYTES:] == hashlib.sha256(data[:-DIGEST_BYTES]).digest()


def _bundled(failure: EnvironmentFailure) -> Library:
    """The library that came with the package. Raises ``failure``, why none was compiled, with why
    this one does not help.
    """
    obstacle = _obstacle()
    if not obstacle:
        try:
            found = Library(
                BUNDLED,
                f"delivered with the package, because "
                f"{failure.message.splitlines()[0].rstrip(':')}",
            )
        except (OSError, AttributeError, BackendError) as error:
            obstacle = f"the delivered runtime cannot be loaded: {error}"
        else:
            if found.source == digest(PORTABLE):
                return found
            obstacle = "the delivered runtime was built from other sources"
    raise BackendError(f"{failure.message}, and {obstacle}", where=failure.where, hint=failure.hint)


def _obstacle() -> str:
    """Why the library that came with the package cannot even be tried; ``""`` if it can."""
    if not BUNDLED.exists():
        return "this installation came without a built runtime"
    missing = sorted(PORTABLE_NEEDS - set(processor().split()))
    if sys.platform != "linux" or platform.machine() != "x86_64" or missing:
        return "the delivered runtime needs Linux on x86-64 with AVX2 and FMA"
    return ""


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Build the native runtime.")
    parser.add_argument(
        "--portable",
        metavar="OUT",
        type=Path,
        help="write a library for any x86-64 processor with AVX2 and FMA",
    )
    options = parser.parse_args(arguments)
    if options.portable is not None:
        build(options.portable, PORTABLE)
        print(options.portable)
    else:
        print(library().path)


if __name__ == "__main__":
    main()
