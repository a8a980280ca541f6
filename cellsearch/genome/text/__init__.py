"""The text form (``.cell``): what people read, diff and write.

A strict subset of Python's grammar, parsed with :mod:`ast` and never evaluated::

    z = sigmoid(linear(x[t], h[t-1]))
    h[t] = blend(z, h[t-1], tanh(linear(x[t], h[t-1])))

A name assigned with ``[t]`` and read with ``[t-1]`` is a state; ``y[t] = ...`` without such a read
is the output. ``m[0] = -1e30`` sets an initial state. Besides ``x[t]`` a step may read ``dt[t]``,
the time since the step before (one number), and ``mask[t]``, of the size of x: 1 where x was
observed, 0 where it is missing; where a cell assigns such a name itself, it is its own.
``h[t-3]``, ``x[t-2]`` and ``conv(x[t], 4)`` (the sum of ``diag(x[t-k])`` for k from 0 to 3) reach
further back, through states that hold the values in between:
:mod:`cellsearch.genome.text.delays`. Sums and products written with ``+`` and
``*`` take any number of terms: ``a + b + c`` is one node. The state that is put out comes first,
the others in order of appearance.
"""

from cellsearch.genome.text.parser import CellText, parse
from cellsearch.genome.text.writer import render

__all__ = ["CellText", "parse", "render"]
