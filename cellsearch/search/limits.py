"""What a search makes sure of before its first trial: weights are counted at the sizes that it
trains, the strategy can propose at all, and what the limits leave out is said.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np

from cellsearch import zoo
from cellsearch.errors import SearchWarning, SpaceError
from cellsearch.experiment import Experiment
from cellsearch.history import History
from cellsearch.search.parts import checked_proposal
from cellsearch.space import LayerSizes, SearchSpace, layer_footprint, layer_weights
from cellsearch.trial import Proposal, Status, Trial

__all__ = ["counted", "rehearse", "say_dropped"]

_SAMPLES = 50


def counted(experiment: Experiment, sizes: tuple[LayerSizes, ...]) -> Experiment:
    """The experiment whose space holds the cells with at most ``max_weights`` weights that fit the
    device, at the sizes that are trained.

    sizes: from :func:`cellsearch.training.layer_sizes`.
    """
    most = experiment.max_weights
    if isinstance(most, str):
        cell = zoo.load(most)
        most = max(layer_weights(cell, one) for one in sizes)
    return replace(experiment, space=experiment.space.sized(most, sizes, experiment.device))


def rehearse(experiment: Experiment, unbounded: SearchSpace, where: str) -> None:
    """Raise :class:`SpaceError` where the strategy finds no cell to propose first: better now than
    after the baselines are trained.

    unbounded: the space without the experiment's limit on weights, to say how many its cells have.
    where: the run.
    """
    space = experiment.space
    seeds = [
        Trial(number, Proposal(genome, origin="seed"), Status.RUNNING)
        for number, genome in enumerate(space.seeds.values())
    ]
    try:
        checked_proposal(
            experiment.strategy, space, History(seeds), np.random.default_rng(0), where
        )
    except SpaceError as error:
        if not space.sizes:
            raise
        if space.device.bounds:
            raise _nothing_fits(space, unbounded, error) from None
        raise SpaceError(
            f"{space.limits.max_parameters:,} weights are too few for the space {space.name}: "
            f"{error.message}",
            where="max_weights",
            hint=f"allow more (--max-weights); with {space.sizes[0]} "
            + _found(replace(unbounded, sizes=space.sizes)),
        ) from None


def _nothing_fits(space: SearchSpace, unbounded: SearchSpace, error: SpaceError) -> SpaceError:
    """What to say where no cell fits the device: which limits, and what the seed genomes need."""
    bounds, sizes = space.device.bounds, space.sizes[0]
    told = []
    for name, cell in unbounded.seeds.items():
        costs = layer_footprint(cell, sizes, int8=space.device.int8)
        told.append(
            f"{name} needs " + ", ".join(f"{key} = {getattr(costs, key):,}" for key in bounds)
        )
    allowed = ", ".join(f"{key} = {most:,}" for key, most in bounds.items())
    return SpaceError(
        f"the strategy finds no cell of the space {space.name} that fits {allowed}: "
        f"{error.message}",
        where="device",
        hint=f"allow more ([device], --max-flash, --max-ram, ...), or train a smaller hidden_size; "
        f"with {sizes} " + ("; ".join(told) or "there are no seed genomes to compare with"),
    )


def _found(space: SearchSpace) -> str:
    """How many weights cells of the space have, in words."""
    rng = np.random.default_rng(0)
    cells = []
    with suppress(SpaceError):
        cells = [space.sample(rng) for _ in range(_SAMPLES)]
    told = [f"{name} has {space.parameters(cell):,}" for name, cell in space.seeds.items()]
    if cells:
        fewest = min(map(space.parameters, cells))
        told.append(f"the smallest of {_SAMPLES} random cells {fewest:,}")
    return ", ".join(told) or "no cell of the space was found at all"


def say_dropped(experiment: Experiment) -> None:
    """Warn of seed genomes that the experiment's limits leave out, and of a search that was to
    start from seed genomes and has none.
    """
    space, name = experiment.space, experiment.strategy.name
    alone = experiment.strategy.starts_from_seeds and not space.seeds
    if space.dropped:
        which = "; ".join(f"{seed} ({why})" for seed, why in space.dropped.items())
        left = f"; none is left, so {name} starts from random cells" if alone else ""
        _warn(
            f"seed genomes of the space {space.name} that do not fit are left out: {which}{left}. "
            "To keep them, raise max_weights or widen [constrain]"
        )
    elif alone:
        _warn(f"the space {space.name} has no seed genomes, so {name} starts from random cells")


def _warn(text: str) -> None:
    warnings.warn(text, SearchWarning, stacklevel=4)
