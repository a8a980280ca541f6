"""What a search trains next: what waits, verdicts that are due, baselines, what a person asked for,
and what the strategy proposes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from cellsearch import zoo
from cellsearch.executors.longest_first import expected_work, longest_first
from cellsearch.experiment import Experiment
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.history import History
from cellsearch.job import Budget, JobId
from cellsearch.schedules.repeating import repeat_budget
from cellsearch.search.continuing import renumbered
from cellsearch.search.events import DuplicateAnswered, SearchEvent
from cellsearch.search.ledger import Ledger, random_generator
from cellsearch.search.parts import checked_budget, checked_proposal, first_budget
from cellsearch.search.run_files import BestCell, inheritable
from cellsearch.search.told import opened
from cellsearch.store import Duplicate, Inbox
from cellsearch.trial import BASELINE, ENQUEUED, Origin, Proposal, Rung, Status, Trial

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
    inbox: what was told the run from outside.
    tell: learns of duplicates that are answered.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: Experiment,
        *,
        best: BestCell,
        inbox: Inbox,
        tell: Callable[[SearchEvent], None],
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._best = best
        self._inbox = inbox
        self._tell = tell
        decided = {trial.proposal.origin for trial in ledger.history.of_kind(BASELINE)}
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
            trial, rung = self._ledger.trial(job.trial), job.rung
            goes_on = rung > 0 and not trial.is_repeat(rung)
            done = trial.rungs[rung - 1].budget.steps if goes_on else 0
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
        return self._continue() or self._propose()

    def _continue(self) -> Trial | None:
        """Judge the trials whose rung has its result, as far as their turn has come; the first that
        gets more training.
        """
        for trial in self._ledger.unjudged():
            history = self._ledger.view_of_verdict(trial)
            if history is None:
                continue
            budget, ended = self._further(history, trial)
            if budget is None:
                self._best.update([self._ledger.stop(trial, ended)])
            elif self._steps_allow(trial.number):
                return self._ledger.grant(trial, budget)
        return None

    def _further(self, history: History, trial: Trial) -> tuple[Budget | None, Status]:
        """What a trial gets next, and what it is when that is nothing: a higher rung, or, after the
        full training, a repeat of it.
        """
        schedule, full = self._experiment.schedule, self._experiment.training.steps
        if trial.rungs[-1].budget.steps >= full:
            repeat = repeat_budget(self._experiment.reevaluation, history, trial, full)
            return repeat, Status.COMPLETED
        budget = checked_budget(schedule, full, history, trial, str(self._ledger.path))
        return budget, Status.STOPPED

    def _propose(self) -> Trial | None:
        """A new trial; ``None`` when there are enough, or the strategy has nothing to propose
        now.
        """
        if not (self._wanted() and self._steps_allow(self._ledger.count)):
            return None
        if not self._baselines and (told := self._take_up()) is not None:
            return told
        proposals = map(self._propose_knowing, self._ledger.horizons())
        return next((trial for trial in proposals if trial is not None), None)

    def _take_up(self) -> Trial | None:
        """A new trial of the first cell that the run was told and does not know yet."""
        for letter in self._inbox.letters():
            found = opened(letter, self._experiment.space, self._ledger)
            if found is not None:
                added = self._add_asked_for(*found)
                letter.remove()
                return added
        return None

    def _propose_knowing(self, horizon: int) -> Trial | None:
        number = self._ledger.count
        history = self._ledger.view(horizon)
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
        generator = random_generator(experiment.seed, number, attempt)
        return checked_proposal(
            experiment.strategy, experiment.space, history, generator, str(self._ledger.path)
        )

    def _next_baseline(self) -> Proposal:
        name = self._baselines[0]
        return Proposal(zoo.load(name), origin=Origin(BASELINE, name))

    # Both bounds look at what is known now, and count what is under way as if it came out worst. So
    # they open, if at all, for the same trial in the end, whoever was faster, and what a decision
    # may know does not depend on when they did.

    def _wanted(self) -> bool:
        """Whether the experiment asks for another trial, as far as it is known which of them
        count.
        """
        if self._baselines:
            return True
        wanted, rejected = self._experiment.trials, self._ledger.rejected
        if self._experiment.deterministic:
            rejected += self._ledger.unfinished
        return self._ledger.counted < wanted and rejected <= _MOST_REJECTED * wanted

    def _steps_allow(self, number: int) -> bool:
        """Whether the allowance of steps lets this trial begin, or go on."""
        allowed = self._experiment.allowance.steps
        if not allowed:
            return True
        if not self._experiment.deterministic:
            return self._ledger.steps() < allowed
        most = self._experiment.training.steps * self._experiment.reevaluation.trainings
        return self._ledger.steps(number, most) < allowed

    # -- warm start --------------------------------------------------------------------------------

    def enqueue(self, genome: Genome, reason: str = "") -> Trial:
        """Decide to train this cell, after the baselines; its trial, which waits, or the one that
        the run has of it already.

        reason: why, in words.
        """
        self._decide_baselines({})
        key = search_key(genome)
        known = self._ledger.number_of(key)
        if known is not None:
            return self._ledger.trial(known)
        return self._add_waiting(Proposal(genome, origin=Origin(ENQUEUED), reason=reason), key)

    def take_over(self, found: Sequence[tuple[Trial, str]]) -> tuple[int, int]:
        """Make trials of another run, each with its key, trials of this one, after the baselines.

        How many were taken over, and how many were not because the run had them already.
        """
        known = sum(self._ledger.number_of(key) is not None for _, key in found)
        taken = self._decide_baselines({key: trial for trial, key in found})
        numbers: dict[int, int] = {}
        for trial, key in found:
            number = self._ledger.number_of(key)
            if number is None:
                number = self._add_ended(trial, key, numbers)
                taken += 1
            numbers[trial.number] = number
        return taken, known

    def _decide_baselines(self, known: Mapping[str, Trial]) -> int:
        """Decide the baselines that are left, because they come first in every run, and say how
        many were among the ``known`` results.
        """
        taken = 0
        while self._baselines:
            proposal = self._next_baseline()
            key, number = search_key(proposal.genome), self._ledger.count
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
            schedule, full = self._experiment.schedule, self._experiment.training.steps
            budget = first_budget(schedule, full, history, trial, str(self._ledger.path))
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
        added = self._add_asked_for(proposal, key)
        self._waiting.append(JobId(added.number, 0))
        return added

    def _add_asked_for(self, proposal: Proposal, key: str) -> Trial:
        """A new trial that the strategy did not propose; the horizon stays where it is."""
        trial = Trial(self._ledger.count, proposal, Status.RUNNING)
        return self._add(self._ledger.history, trial, key, self._ledger.last_horizon, [])

    def _add_ended(self, trial: Trial, key: str, numbers: Mapping[int, int]) -> int:
        """A new trial with its results from another run, whose trials have these ``numbers`` here;
        its own number here.
        """
        trial = renumbered(trial, self._ledger.count, numbers)
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
