"""Building and loading the native runtime: C sources in this package, compiled once on the machine that runs them.

The library lies in the user's cache (``CELLSEARCH_CACHE``, else ``$XDG_CACHE_HOME/cellsearch``, else ``~/.cache/cellsearch``) under a key
of everything that decides its contents: sources, flags, compiler and processor. It is written under another name and then renamed,
so that workers that start at the same time never load half a file. Where there is no compiler, a library that came with the
package is used if the processor can run it.

``python -m cellsearch.compiler.backends.native.build --portable OUT`` writes that library: x86-64 with AVX2 and FMA.
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
import tempfile
from functools import cache
from pathlib import Path

from cellsearch.errors import BackendError

__all__ = ["SOURCES", "Library", "build", "cache_folder", "compiler", "library"]

SOURCES = Path(__file__).parent / "src"
BUNDLED = Path(__file__).parent / "bundled" / "runtime-x86_64-avx2.so"
FORMAT = 1
# No -ffast-math: it would let NaN disappear in clamps, and linking with it changes the floating-point mode of the whole process.
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
NATIVE = ("-march=native",)
PORTABLE = ("-march=x86-64-v3",)


class Library:
    """The loaded runtime: ``run(job address) -> code``, the numbers of its instructions and its sizes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        handle = ctypes.CDLL(str(path))
        self.run = handle.cellsearch_run
        self.run.argtypes, self.run.restype = [ctypes.c_void_p], ctypes.c_int
        size = handle.cellsearch_size
        size.argtypes, size.restype = [ctypes.c_int], ctypes.c_int64
        opcode = handle.cellsearch_opcode
        opcode.argtypes, opcode.restype = [ctypes.c_int], ctypes.c_char_p
        processor = handle.cellsearch_path
        processor.argtypes, processor.restype = [], ctypes.c_char_p
        if size(0) != FORMAT:
            raise BackendError(
                f"the native runtime has format {size(0)}, not {FORMAT}", where=str(path), hint="delete the file; it is built again"
            )
        self.job_bytes, self.panel, self.block = size(1), size(2), size(3)
        self.outer_rows, self.outer_columns = size(4), size(5)
        self.opcodes = {opcode(k).decode(): k for k in range(size(6))}
        self.instructions = processor().decode()


def cache_folder() -> Path:
    """Where built libraries and measured constants of this machine are kept."""
    explicit = os.environ.get("CELLSEARCH_CACHE")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cellsearch"


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
        picked = [line for line in lines if line.split(":")[0].strip() in ("model name", "flags", "Features", "CPU part")]
        if picked:
            return "\n".join(sorted(set(picked)))
    return f"{platform.machine()} {platform.processor()}"


def build(output: Path, flags: tuple[str, ...] = NATIVE) -> None:
    """Compile the runtime into ``output``. Raises :class:`BackendError` with what the compiler said."""
    program = compiler()
    if program is None:
        raise BackendError("there is no C compiler", hint="install gcc or clang, or set CC")
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=output.stem, suffix=".building", dir=output.parent)
    os.close(descriptor)
    try:
        command = [program, *FLAGS, *flags, str(SOURCES / "runtime.c"), "-o", name, "-lm"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BackendError(f"the native runtime does not compile:\n{result.stderr.strip()[-2000:]}", where=" ".join(command))
        os.chmod(name, 0o755)
        os.replace(name, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def key(program: str, flags: tuple[str, ...]) -> str:
    """What decides the contents of a library, as a short text."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    digest.update("\n".join((version, *FLAGS, *flags, processor())).encode())
    return digest.hexdigest()[:20]


@cache
def library() -> Library:
    """The runtime for this machine, built if need be. Raises :class:`BackendError` where it can be neither built nor loaded."""
    program = compiler()
    if program is None:
        return _bundled()
    try:
        path = cache_folder() / f"runtime-{key(program, NATIVE)}.so"
        if not path.exists():
            build(path)
        return Library(path)
    except OSError as error:
        raise BackendError(
            f"the native runtime cannot be stored or loaded: {error}", hint="set CELLSEARCH_CACHE to a folder that can be written"
        ) from error


def _bundled() -> Library:
    if not BUNDLED.exists():
        raise BackendError("there is no C compiler, and this installation has no built runtime", hint="install gcc or clang")
    flags = processor().split()
    if sys.platform != "linux" or platform.machine() != "x86_64" or not {"avx2", "fma"} <= set(flags):
        raise BackendError("there is no C compiler, and the built runtime needs Linux on x86-64 with AVX2", hint="install gcc or clang")
    try:
        return Library(BUNDLED)
    except OSError as error:
        raise BackendError(f"the built runtime cannot be loaded: {error}", where=str(BUNDLED)) from error


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Build the native runtime.")
    parser.add_argument("--portable", metavar="OUT", type=Path, help="write a library for any x86-64 processor with AVX2 and FMA")
    options = parser.parse_args(arguments)
    if options.portable is not None:
        build(options.portable, PORTABLE)
        print(options.portable)
    else:
        print(library().path)


if __name__ == "__main__":
    main()
