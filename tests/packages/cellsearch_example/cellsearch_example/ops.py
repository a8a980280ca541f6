import math

from cellsearch.ops import Op

ARCTAN = Op(
    "arctan",
    min_arity=1,
    max_arity=1,
    torch="torch.atan({0})",
    gradient=("g / (1 + square(a))",),
    source="arc tangent",
    numeric=math.atan,
    squashing=True,
    odd=True,
    keeps_zero=True,
)
