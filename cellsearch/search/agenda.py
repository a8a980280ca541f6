"""What a search trains next: what waits, verdicts that are due, baselines, what a person asked for,
and what the strategy proposes.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cellsearch import zoo
from cellsearch.errors import RunError
from cellsearch.executors.longest_first import expected_work, longest_first
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.job import JobId
from cellsearch.search.allowance import steps_granted
from cellsearch.search.continuing import renumbered
from cellsearch.search.events import DuplicateAnswered, SearchEvent
from cellsearch.search.ledger import Ledger, random_seed
from cellsearch.search.run_files import BestCell, inheritable
from cellsearch.store import Duplicate
from cellsearch.trial import BASELINE, ENQUEUED, History, Origin, Proposal, Rung, Status, Trial

__all__ = ["Agenda"]

_ATTEMPTS = 10
_MOST_REJECTED = 10
"""A search ends when checks before training have rejected this many times the trials of the
experiment.
"""


class Agenda:
    """Makes the decisions of a search, one at a time, and has each written to the ledger before
    anything is done about it.

    best: learns of trials that are stopped.
    tell: learns of duplicates that are answered.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: Experiment,
        *,
        best: BestCell,
        tell: Callable[[SearchEvent], None],
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._best = best
        self._tell = tell
        self._unjudged = ledger.unjudged()
        decided = {trial.proposal.origin for trial in ledger.trials}
        self._baselines = deque(
            name for name in experiment.baselines if Origin(BASELINE, name) not in decided
        )
        self._waiting: deque[JobId] = deque()
        self.refill()

    def use(self, experiment: Experiment) -> None:
        """Decide by this experiment from now on: the same, with weights counted as it trains."""
        self._experiment = experiment

    # -- jobs that were decided before -------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many jobs are decided and wait to be handed out."""
        return len(self._waiting)

    def refill(self) -> None:
        """Let every job without an outcome wait: longest first, but in order of decision in a
        deterministic search.

        Called while nobody trains: what was handed out is handed out again.
        """
        jobs, training = self._ledger.open_jobs(), self._experiment.training

        def work(job: JobId) -> float:
            trial, rung = self._ledger.trials[job.trial], job.rung
            done = trial.rungs[rung - 1].budget.steps if rung else 0
            return expected_work(trial.genome, training, trial.rungs[rung].budget.steps - done)

        self._waiting = deque(jobs if self._experiment.deterministic else longest_first(jobs, work))

    def next_waiting(self) -> Trial | None:
        """The trial of the next job that waits, running from now on; ``None`` when none does."""
        return self._ledger.start(self._waiting.popleft()) if self._waiting else None

    # -- decisions in their turn -------------------------------------------------------------------

    @property
    def has_baselines(self) -> bool:
        """Whether baselines are left that nothing was decided about."""
        return bool(self._baselines)

    def decide(self) -> Trial | None:
        """The next decision, recorded: a trial to train (running) or a duplicate; ``None`` when
        none can be made now.
        """
        for horizon in self._ledger.horizons():
            decided = self._continue(horizon) or self._propose(horizon)
            if decided is not None:
                return decided
        return None

    def judge(self, job: JobId) -> None:
        """Let the verdict on a trial whose rung has its result be given in its turn."""
        insort(self._unjudged, self._ledger.position(job))

    def _continue(self, horizon: int) -> Trial | None:
        """Judge, in order of decision, the trials whose results are known by now; the first that
        gets more training.
        """
        while self._unjudged and self._unjudged[0] < horizon:
            position = self._unjudged[0]
            # In a deterministic search the verdict knows what was decided before, nothing that
            # happened to end earlier.
            history = self._ledger.view(
                position + 1 if self._experiment.deterministic else self._ledger.next_position
            )
            trial = history.by_number[self._ledger.job_at(position).trial]
            budget = self._experiment.schedule.next_budget(
                history, trial, self._experiment.training.steps
            )
            if budget is not None and self._steps_used_up(horizon):
                return None  # the verdict waits for a larger allowance
            if budget is not None:
                further = self._ledger.grant(trial, budget, horizon=horizon)
                self._unjudged.pop(0)
                return further
            stopped = self._ledger.stop(trial)
            self._unjudged.pop(0)
            self._best.update([stopped])
        return None

    def _propose(self, horizon: int) -> Trial | None:
        """A new trial; ``None`` when there are enough, or the strategy has nothing to propose
        now.
        """
        number = len(self._ledger.trials)
        history = self._ledger.view(horizon)
        if self._enough(history) or self._steps_used_up(horizon):
            return None
        answered: list[Duplicate] = []
        attempts = 1 if self._baselines else _ATTEMPTS
        while (proposal := self._proposal(history, number, len(answered))) is not None:
            key = search_key(proposal.genome)
            twin = self._ledger.number_of(key)
            if twin is None:
                return self._add(
                    history, Trial(number, proposal, Status.RUNNING), key, horizon, answered
                )
            answered.append(Duplicate(number, len(answered), twin))
            if len(answered) == attempts:
                return self._add(
                    history,
                    Trial(number, proposal, Status.DUPLICATE, duplicate_of=twin),
                    key,
                    horizon,
                    answered,
                )
        return None

    def _proposal(self, history: History, number: int, attempt: int) -> Proposal | None:
        experiment = self._experiment
        if self._baselines:
            return self._next_baseline()
        generator = np.random.default_rng(random_seed(128, experiment.seed, number, attempt))
        return experiment.strategy.propose(experiment.space, history, generator)

    def _next_baseline(self) -> Proposal:
        name = self._baselines[0]
        return Proposal(zoo.load(name), origin=Origin(BASELINE, name))

    def _enough(self, history: History) -> bool:
        """Whether there are all trials that the experiment asks for, as far as this history knows
        which of them count.
        """
        wanted = self._experiment.trials
        if len(history) < wanted or self._baselines:
            return False
        return (
            history.counted >= wanted
            or sum(trial.is_rejected for trial in history) > _MOST_REJECTED * wanted
        )

    def _steps_used_up(self, horizon: int) -> bool:
        """Whether the decisions so far have granted the steps of the allowance; follows from
        results before the horizon alone.
        """
        allowed = self._experiment.allowance.steps
        return allowed > 0 and steps_granted(self._ledger.view(horizon)) >= allowed

    # -- warm start --------------------------------------------------------------------------------

    def enqueue(self, genome: Genome) -> Trial:
        """Decide to train this cell, after the baselines; its trial, which waits, or the one that
        the run has of it already.
        """
        self._decide_baselines({})
        key = search_key(genome)
        known = self._ledger.number_of(key)
        if known is not None:
            return self._ledger.trials[known]
        return self._add_waiting(Proposal(genome, origin=Origin(ENQUEUED)), key)

    def take_over(self, found: Sequence[tuple[Trial, str]]) -> tuple[int, int]:
        """Make trials of another run, each with its key, trials of this one, after the baselines.

        How many were taken over, and how many were not because the run had them already.
        """
        before = self._ledger.keys()
        taken = self._decide_baselines({key: trial for trial, key in found})
        numbers: dict[int, int] = {}
        for trial, key in found:
            number = self._ledger.number_of(key)
            if number is None:
                number = self._add_ended(trial, key, numbers)
                taken += 1
            numbers[trial.number] = number
        return taken, sum(key in before for _, key in found)

    def _decide_baselines(self, known: Mapping[str, Trial]) -> int:
        """Decide the baselines that are left, because they come first in every run, and say how
        many were among the ``known`` results.
        """
        taken = 0
        while self._baselines:
            proposal = self._next_baseline()
            key, number = search_key(proposal.genome), len(self._ledger.trials)
            twin = self._ledger.number_of(key)
            if twin is not None:
                duplicate = Trial(number, proposal, Status.DUPLICATE, duplicate_of=twin)
                self._add(
                    self._ledger.history,
                    duplicate,
                    key,
                    self._ledger.last_horizon,
                    [Duplicate(number, 0, twin)],
                )
            elif key in known:
                self._add_ended(known[key].with_(proposal=proposal), key, {})
                taken += 1
            else:
                self._add_waiting(proposal, key)
        return taken

    # -- new trials --------------------------------------------------------------------------------

    def _add(
        self, history: History, trial: Trial, key: str, horizon: int, answered: Sequence[Duplicate]
    ) -> Trial:
        """A new trial; what is trained gets its first rung."""
        inherit = ""
        is_duplicate = trial.status is Status.DUPLICATE
        if not is_duplicate:
            budget = self._experiment.schedule.next_budget(
                history, trial, self._experiment.training.steps
            )
            if budget is None:
                raise RunError(
                    f"the schedule grants trial {trial.number} no training at all",
                    where=str(self._ledger.path),
                )
            trial = trial.with_(rungs=(Rung(budget),))
            inherit = _inherit(history, trial.proposal.inherit)
        self._ledger.add(trial, key, horizon=horizon, inherit=inherit, answered=answered)
        if trial.is_baseline:
            self._baselines.popleft()
        for duplicate in answered:
            final = is_duplicate and duplicate is answered[-1]
            self._tell(
                DuplicateAnswered(duplicate.trial, duplicate.attempt, duplicate.duplicate_of, final)
            )
        return trial

    def _add_waiting(self, proposal: Proposal, key: str) -> Trial:
        """A new trial out of turn, which is handed out next."""
        trial = Trial(len(self._ledger.trials), proposal, Status.RUNNING)
        added = self._add(self._ledger.history, trial, key, self._ledger.last_horizon, [])
        self._waiting.append(JobId(added.number, 0))
        return added

    def _add_ended(self, trial: Trial, key: str, numbers: Mapping[int, int]) -> int:
        """A new trial with its results from another run, whose trials have these ``numbers`` here;
        its own number here.
        """
        trial = renumbered(trial, len(self._ledger.trials), numbers)
        self._ledger.add_ended(trial, key, horizon=self._ledger.last_horizon)
        if trial.is_baseline:
            self._baselines.popleft()
        return trial.number


def _inherit(history: History, number: int | None) -> str:
    """The checkpoint to start from; ``""`` for none, or when it is too old to be kept: then
    training starts from scratch.
    """
    if number is None or not inheritable(history, number):
        return ""
    result = history.by_number[number].result
    return result.checkpoint if result is not None else ""
