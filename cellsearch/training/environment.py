"""The fingerprint of machine and software: what a result may depend on besides the experiment."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

__all__ = ["decisive", "differences", "fingerprint"]

_PACKAGES = ("cellsearch", "torch", "numpy", "ray", "safetensors")
# Training is bit-identical only where these are equal; the rest of the fingerprint is for people.
_DECISIVE = ("cellsearch", "torch", "numpy", "machine", "processor")


def fingerprint() -> dict[str, str]:
    """Versions, processor and system of this process, in words. Loads neither torch nor ray."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
    }
    found |= {"processor": _processor(), "cpus": str(os.cpu_count() or 1), "host": platform.node()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that is not installed, or an optional package
            found[package] = "unknown"
    return found


def decisive() -> dict[str, str]:
    """The part of the fingerprint that results depend on."""
    found = fingerprint()
    return {name: found[name] for name in _DECISIVE}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What results may depend on and is not as it was: name -> (before, now)."""
    pairs = {name: (before.get(name, "unknown"), now.get(name, "unknown")) for name in _DECISIVE}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or "unknown"
