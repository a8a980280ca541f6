from cellsearch.ops import Op

SOFTSIGN = Op(
    "softsign",
    min_arity=1,
    max_arity=1,
    torch="{0} / (1 + torch.abs({0}))",
    gradient=("g / square(1 + abs(a))",),
    source="Bergstra et al. 2009, Quadratic polynomials learn better image features",
    numeric=lambda a: a / (1 + abs(a)),
    squashing=True,
    odd=True,
    keeps_zero=True,
)
