"""Build hook: a wheel made on Linux on x86-64 carries the native runtime, compiled for any such
processor with AVX2 and FMA.

The wheel is then tagged for that platform, with the glibc that the library needs. Where nothing can
be compiled, and on other platforms, the wheel is a pure one, and the build says so: the runtime is
compiled on first use there. Editable installs are left alone.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "cellsearch/compiler/backends/native"
OLDEST_GLIBC = (2, 17)  # no older one is asked for by a tag: https://peps.python.org/pep-0600/


class RuntimeHook(BuildHookInterface):
    """Adds the library to a wheel."""

    PLUGIN_NAME = "custom"
    folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the builder what there is."""
        if self.target_name != "wheel" or version == "editable":
            return
        if sys.platform != "linux" or platform.machine() != "x86_64":
            self.app.display_warning(
                "cellsearch: a pure wheel: a built native runtime is delivered for "
                "Linux on x86-64 only"
            )
            return
        build = load_build(Path(self.root))
        self.folder = Path(tempfile.mkdtemp(prefix="cellsearch-runtime-"))
        library = self.folder / build.BUNDLED.name
        try:
            build.build(library, build.PORTABLE)
        except build.BackendError as error:
            self.app.display_warning(
                f"cellsearch: a pure wheel, without a built native runtime: {error}"
            )
            return
        build_data["force_include"][str(library)] = f"{NATIVE}/bundled/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(library.read_bytes())}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def load_build(root: Path) -> ModuleType:
    """The module that compiles the runtime, from the source tree: the package itself cannot be
    imported here, for want of torch.
    """
    sys.path.insert(0, str(root))
    try:
        spec = importlib.util.spec_from_file_location(
            "cellsearch_native_build", root / NATIVE / "build.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(root))
    return module


def platform_tag(library: bytes) -> str:
    """The oldest platform that can load an x86-64 library: it names the versions of glibc whose
    functions it calls.
    """
    versions = {
        (int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", library)
    }
    if not versions:  # another C library, or none: nothing is promised about other machines
        return "linux_x86_64"
    major, minor = max(*versions, OLDEST_GLIBC)
    return f"manylinux_{major}_{minor}_x86_64"
