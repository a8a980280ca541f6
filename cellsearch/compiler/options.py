"""The arguments of ``compile_cell`` as one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cellsearch.errors import ConfigError

__all__ = ["LayerOptions"]


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """How layers of a cell are stacked and run; see
    :func:`cellsearch.compiler.module.compile_cell`. Raises :class:`ConfigError` for values that
    make no sense.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    batch_first: bool = False
    dropout: float = 0.0
    variational_dropout: float = 0.0
    bidirectional: bool = False
    backend: str = "auto"

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ConfigError(f"{name} is {size!r}", hint="a whole number from 1 on")
        for name in ("dropout", "variational_dropout"):
            share = getattr(self, name)
            if isinstance(share, bool) or not 0 <= share <= 1:
                raise ConfigError(
                    f"{name} {share!r} is not a probability", hint="a number from 0 to 1"
                )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of the directions end in."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def layers(self) -> Iterator[tuple[str, int]]:
        """Name and input width of each layer and direction: ``l0``, ``l0_reverse``, ``l1``, ..."""
        width = self.input_size
        for layer in range(self.num_layers):
            for suffix in self.suffixes:
                yield f"l{layer}{suffix}", width
            width = self.hidden_size * len(self.suffixes)
