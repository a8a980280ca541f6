"""The arguments of ``compile_cell`` as one value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import get_args

from cellsearch.compiler.program import Precision
from cellsearch.errors import ArgumentTypeError, ConfigError
from cellsearch.genome.sizes import Sizes

__all__ = ["LayerOptions", "check_fixed"]


def _check_type(name: str, value: object, kinds: tuple[type, ...], allowed: str) -> None:
    """Raise :class:`ArgumentTypeError` for an argument of another type; ``bool`` is not ``int``."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ArgumentTypeError(
            f"{name} is {value!r:.60}, of type {type(value).__name__}", hint=allowed
        )


def check_fixed(*, bias: bool, proj_size: int) -> None:
    """Raise :class:`ConfigError` for what ``torch.nn.LSTM`` is told and a cell says itself."""
    if not bias:
        raise ConfigError(
            "bias is False, but the cell itself says what has a bias",
            hint="write linear(x[t], h[t-1], bias=False) in the cell",
        )
    if proj_size:
        raise ConfigError(
            f"proj_size is {proj_size}, but the cell itself says what is projected",
            hint="leave it at 0, and write h[t] = linear(o * tanh(c[t]), size=P) in the cell, with "
            f"sizes={{'P': {proj_size}}}",
        )


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
    sizes: Mapping[str, int | str] | None = None
    project_input: bool = False
    precision: Precision = "float32"
    threads: int = 1
    backend: str = "auto"

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers", "threads"):
            size = getattr(self, name)
            _check_type(name, size, (int,), "a whole number from 1 on")
            if size < 1:
                raise ConfigError(f"{name} is {size!r}", hint="a whole number from 1 on")
        for name in ("dropout", "variational_dropout"):
            share = getattr(self, name)
            number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if not number or not 0 <= share <= 1:
                error = ConfigError if number else ArgumentTypeError
                raise error(f"{name} {share!r} is not a probability", hint="a number from 0 to 1")

        for name in ("batch_first", "bidirectional", "project_input"):
            _check_type(name, getattr(self, name), (bool,), "True or False")
        _check_type("sizes", self.sizes, (Mapping, NoneType), "such as {'P': 32, 'R': 'H/4'}")
        if self.precision not in get_args(Precision):
            raise ConfigError(
                f"there is no precision {self.precision!r:.60}",
                where="precision",
                hint="allowed: " + ", ".join(get_args(Precision)),
            )
        _check_type("backend", self.backend, (str,), 'the name of a backend, or "auto"')

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of the directions end in."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def bound(self, input_size: int | None = None) -> Sizes:
        """The numbers of a layer of this input size, of the first one by default."""
        given = self.input_size if input_size is None else input_size
        return Sizes(given, self.hidden_size, self.sizes)

    def layers(self, output_size: int | None = None) -> Iterator[tuple[str, int]]:
        """Name and input width of each layer and direction: ``l0``, ``l0_reverse``, ``l1``, ...;
        ``output_size``: what a layer puts out in one direction, H by default.
        """
        width = self.input_size
        for layer in range(self.num_layers):
            for suffix in self.suffixes:
                yield f"l{layer}{suffix}", width
            width = (output_size or self.hidden_size) * len(self.suffixes)
