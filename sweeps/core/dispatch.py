"""Which segment a free slot trains next, and what waits for a slot."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from sweeps.core.limits import Limits
from sweeps.core.retries import Retries
from sweeps.core.segment import Adopt, Segment
from sweeps.core.state import State
from sweeps.journal.events import Asked, Reason, Started
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.schedulers import Done, Exploit, Promote, Start, Wait
from sweeps.searchers import Searcher


class Dispatcher:
    """Hands out segments: of trials that wait to go on first, then what the scheduler says."""

    def __init__(self, state: State, searcher: Searcher, limits: Limits, adopt: Adopt) -> None:
        self._state = state
        self._trials = state.trials
        self._searcher = searcher
        self._limits = limits
        self._adopt = adopt
        self._distributions = state.space.distributions()
        self._in_slots: set[int] = set()
        self._to_climb: deque[int] = deque()
        """Trials that go on at their next fidelity at once."""
        self._to_resume: deque[int] = deque()
        self._retries = Retries(limits.retry_backoff_s)

    @property
    def total(self) -> int:
        """How many trials the sweep will have."""
        total, limit = self._trials.steered.total(self._limits.num_samples), self._searcher.limit
        return total if limit is None else min(limit, total)

    @property
    def slots_wanted(self) -> int:
        """How many slots could have work, now or soon; an upper bound."""
        unstarted = self.total - len(self._trials)
        paused = self._trials.counts[Status.PAUSED]
        waiting = len(self._to_resume) + len(self._retries) + len(self._to_climb)
        busy = len(self._in_slots)
        return max(0, unstarted) + waiting + busy + paused + len(self._state.can_reopen)

    @property
    def is_done(self) -> bool:
        """Whether no slot will ever have work again."""
        if self._to_resume or self._retries or self._to_climb or self._in_slots:
            return False
        return isinstance(self._state.scheduler.next(can_start=self._can_start, running=0), Done)

    @property
    def due(self) -> float | None:
        """When the first of the trials that are to be tried again may go on; None without any."""
        return self._retries.due

    def in_slot(self, number: int) -> Trial:
        """The trial, which a slot must be training: a word after its end would end it twice."""
        assert number in self._in_slots, f"trial {number} is in no slot"
        return self._trials[number]

    def release(self, trial: Trial) -> None:
        """The trial's slot, if it has one, is free."""
        self._in_slots.discard(trial.number)

    def drop(self, trial: Trial) -> bool:
        """Let a trial that is in no slot wait for none; whether it is in none."""
        if trial.number in self._in_slots:
            return False
        for queue in (self._to_climb, self._to_resume):
            if trial.number in queue:
                queue.remove(trial.number)
        self._retries.drop(trial.number)
        return True

    def climb(self, trial: Trial) -> None:
        """Let a trial go on at its next fidelity, before anything else."""
        self.release(trial)
        self._to_climb.append(trial.number)

    def requeue(self, trial: Trial) -> None:
        """Let a trial go on in another slot: at once, or some time after its last failure."""
        self.release(trial)
        if trial.failures:
            self._retries.add(trial, self._state.now())
        else:
            self._to_resume.append(trial.number)

    def next_segment(self, unwinding: Collection[int]) -> Segment | Wait | Done:
        """What a free slot should do; trials that are `unwinding` cannot go on yet."""
        if self._state.spent is not None:
            return Done()
        if self._to_climb:
            return self._start(self._trials[self._to_climb.popleft()], "promote")
        self._to_resume.extend(self._retries.take(self._state.now()))
        if self._to_resume:
            trial = self._trials[self._to_resume.popleft()]
            began_here = trial.run == self._trials.run
            return self._start(trial, "retry" if began_here else "resume")
        running = len(self._in_slots) + len(self._retries)
        step = self._state.scheduler.next(can_start=self._can_start, running=running)
        match step:
            case Promote() if step.trial in unwinding:
                return Wait()
            case Promote():
                return self._promote(self._trials[step.trial], step.exploit)
            case Start():
                return self._ask()
            case _:
                return step

    @property
    def _can_start(self) -> bool:
        return len(self._trials) < self.total

    def _promote(self, trial: Trial, exploit: Exploit | None) -> Segment:
        return self._start(trial, "promote") if exploit is None else self._copy(trial, exploit)

    def _start(self, trial: Trial, reason: Reason) -> Segment:
        """Let a trial go on from its own newest checkpoint."""
        self._state.commit(
            Started(
                trial=trial.number,
                run=self._trials.run,
                reason=reason,
                checkpoint=trial.checkpoint,
                time=self._state.now(),
            )
        )
        return self._segment(trial)

    def _copy(self, trial: Trial, exploit: Exploit) -> Segment:
        """Let a trial go on from another's newest checkpoint, with parameters of its own."""
        source = self._trials[exploit.source]
        assert source.checkpoint is not None, f"trial {source.number} has nothing to go on from"
        segment = Segment(
            trial=trial.number,
            run=self._trials.run,
            values=self._trials.values(trial, exploit.params),
            checkpoint=None,
            exploits=len(trial.lineage) + 1,
            life=self._trials.life(trial),
        )
        self._state.commit(
            Started(
                trial=trial.number,
                run=self._trials.run,
                reason="exploit",
                checkpoint=self._adopt(source.checkpoint, segment),
                source=source.number,
                params=exploit.params,
                step=source.checkpoint_step,
                time=self._state.now(),
            )
        )
        return self._segment(trial)

    def _ask(self) -> Segment:
        """Begin a configuration that the searcher proposes."""
        number = len(self._trials)
        params = self._searcher.ask(number)
        self._state.commit(
            Asked(
                trial=number,
                run=self._trials.run,
                params=params,
                distributions={name: self._distributions[name] for name in params},
                study=len(self._trials.spaces) - 1,
                notes=self._state.view.take_notes(),
                time=self._state.now(),
            )
        )
        return self._segment(self._trials[number])

    def _segment(self, trial: Trial) -> Segment:
        """Put a trial into a slot; where the fidelity is a parameter, to train anew."""
        self._in_slots.add(trial.number)
        rung, fidelity = self._state.rung(trial), self._state.fidelity
        return Segment(
            trial=trial.number,
            run=self._trials.run,
            values=self._trials.values(trial),
            checkpoint=trial.checkpoint if rung is None else None,
            rung=rung,
            fidelity=None if fidelity is None or rung is None else fidelity.value(rung),
            exploits=len(trial.lineage),
            life=self._trials.life(trial),
        )
