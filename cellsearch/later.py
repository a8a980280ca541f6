"""Modules that are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["Later"]


class Later(ModuleType):
    """Stands for the module of this name until one of its names is asked for."""

    def __getattr__(self, name: str) -> object:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)  # the next time it is at hand
        return value
