"""What schedulers share that train a population and let its worst go on as copies of its best."""

from __future__ import annotations

import bisect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sweeps.errors import did_you_mean
from sweeps.journal.status import Decision
from sweeps.schedulers.base import (
    Done,
    Exploit,
    Next,
    Observation,
    Promote,
    Scheduler,
    Start,
    Wait,
)
from sweeps.searchers.base import seed_of
from sweeps.space.scale import from_unit
from sweeps.space.space import Parameter, Space


@dataclass
class Member:
    """A trial of the population that has not ended."""

    params: Mapping[str, Any]
    ready: int
    """The step at which it pauses next."""
    step: int = 0
    """Where it last paused, or the step of the checkpoint that it was given."""
    losses: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss) of each of its pauses, by step."""
    began: tuple[int, float] | None = None
    """(step, loss) of its model where it last paused, or was copied from; None before."""
    judged_from: float = 0
    """A copy is not judged before the step of its first pause."""
    resumable: bool = False
    """Whether it left a checkpoint where it last paused."""
    paused: bool = False
    exploits: int = 0

    @property
    def can_be_copied(self) -> bool:
        """Whether it has a checkpoint that is worth it, and parameters that have been tried."""
        return self.resumable and not self.diverged and math.isfinite(self.judged_from)

    @property
    def diverged(self) -> bool:
        """Whether its model is of no use any more."""
        return bool(self.losses) and not math.isfinite(self.losses[-1][1])

    def loss_at(self, step: int) -> float | None:
        """The loss of its last pause up to a step, else of its first; None if it had none."""
        index = bisect.bisect_right(self.losses, (step, math.inf))
        return self.losses[max(index - 1, 0)][1] if self.losses else None


class Population(Scheduler):
    """Pauses each trial every `perturbation_interval` steps; one among the worst then goes on from
    the checkpoint of one among the best, with parameters changed by `explore`.

    The trials of a sweep are the population. All of them begin before any goes on; then the one at
    the lowest step goes on first, so that a population larger than the slots advances evenly. What
    becomes of a trial is decided when a slot is free for it. It is compared at the newest step that
    all but a quantile have reached: those that are ahead because they had a slot earlier are not
    better for that. A copy takes up the newest checkpoint, which may be ahead, and trains for a
    whole interval at least.

    A trial that diverged is paused too, and goes on as a copy. One that failed is not replaced. A
    trial without checkpoints can neither pause nor be copied: it trains on, and is stopped where it
    is among the worst.

    Args:
        space: What is swept.
        seed: The sweep's.
        max_t: Steps after which a trial is complete.
        perturbation_interval: Steps between two pauses.
        quantile_fraction: The share of the population that is replaced, and that is copied from.
        hyperparam_mutations: The swept parameters that may change while a trial goes on. All others
            are those of the trial that is copied: what shapes a model cannot change under its
            checkpoint.
    """

    extends = True
    judges_between_rungs = False
    without_checkpoint = "trains on, and is stopped where it is among the worst"

    def __init__(
        self,
        *,
        space: Space,
        seed: int,
        max_t: int,
        perturbation_interval: int,
        quantile_fraction: float,
        hyperparam_mutations: Sequence[str] | None,
    ) -> None:
        if perturbation_interval < 1:
            raise ValueError(
                f"perturbation_interval is {perturbation_interval}; it must be 1 or more"
            )
        if max_t <= perturbation_interval:
            raise ValueError(
                f"max_t is {max_t}; it must be more than perturbation_interval, "
                f"{perturbation_interval}"
            )
        if not 0 <= quantile_fraction <= 0.5:
            raise ValueError(
                f"quantile_fraction is {quantile_fraction}; it must be between 0 and 0.5"
            )
        self.max_t: int = max_t
        self._interval = perturbation_interval
        self._quantile = quantile_fraction
        self._space = space
        self._seed = seed
        self._mutable = _swept_names(hyperparam_mutations, space)
        self._rungs = [*range(perturbation_interval, max_t, perturbation_interval), max_t]
        self._members: dict[int, Member] = {}
        self._waiting: list[tuple[int, int]] = []
        """The paused ones, by (step, number)."""
        self._order: list[Promote] | None = None
        """Who goes on next, if anyone can; None where it is to be worked out."""

    def rungs(self) -> list[int]:
        """The steps at which trials pause, and `max_t`."""
        return self._rungs

    def describe(self) -> str:
        """When a trial may become another's copy, and when it is complete."""
        return f"each to step {self.max_t}, the worst as copies every {self._interval} steps"

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Note a new member, or that one goes on."""
        member = self._members.setdefault(trial, Member(params=params, ready=self._interval))
        self._leave_wait(trial, member)

    def on_exploit(self, trial: int, params: Mapping[str, Any], *, source: int, step: int) -> None:
        """Note a member that goes on as a copy."""
        member = self._members[trial]
        self._leave_wait(trial, member)
        member.params, member.step, member.judged_from = params, step, math.inf
        member.began = self._members[source].began
        member.ready = self._next_stop(step + self._interval - 1)
        member.exploits += 1

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Pause where it is time to, complete at `max_t`."""
        return [self._on_report(observation) for observation in observations]

    def _on_report(self, seen: Observation) -> Decision:
        member = self._members[seen.trial]
        if not seen.diverged and seen.step < min(member.ready, self.max_t):
            return Decision.CONTINUE
        self.learn(member, seen)
        member.began = (seen.step, seen.loss)
        member.losses = [e for e in member.losses if e[0] < seen.step] + [member.began]
        member.judged_from = min(member.judged_from, seen.step)
        member.step, member.resumable = seen.step, seen.resumable
        member.ready = self._next_stop(seen.step)
        self._order = None
        if not seen.diverged and seen.step >= self.max_t:
            return Decision.COMPLETE
        if seen.diverged or seen.resumable:
            self._wait(seen.trial, member)
            return Decision.PAUSE
        is_low, _ = self._quantiles(seen.trial, member)
        return Decision.STOP if is_low else Decision.CONTINUE

    def _next_stop(self, step: int) -> int:
        return (step // self._interval + 1) * self._interval

    def on_reopen(self, trial: int) -> None:
        """Let a trial go on that was complete at a lower `max_t`."""
        member = self._members[trial]
        if not member.paused:
            self._wait(trial, member)

    def on_end(self, trial: int) -> None:
        """Take a member out of the population."""
        self._leave_wait(trial, self._members.pop(trial))

    def next(self, *, can_start: bool, running: int) -> Next:
        """Start all members, then go on with the paused one at the lowest step."""
        if can_start:
            return Start()
        if self._order is None:
            self._order = self._choose()
        if self._order:
            return self._order[0]
        return Wait() if running else Done()

    def learn(self, member: Member, seen: Observation) -> None:
        """A member has trained from where it was to where it now is; nothing of it is changed yet.

        For those that learn more from it than its rank.
        """

    @abstractmethod
    def explore(self, source: Member, rng: np.random.Generator) -> Mapping[str, Any]:
        """The parameters of a copy of `source`."""

    def vary(
        self, source: Member, rng: np.random.Generator, change: Callable[[Parameter], Any]
    ) -> dict[str, Any]:
        """The source's parameters, with `change` giving those that may change."""

        def suggest(parameter: Parameter) -> Any:
            if parameter.optuna_name not in source.params:  # it exists since another was changed
                return from_unit(parameter.distribution(), rng.random())
            if parameter.name in self._mutable:
                return change(parameter)
            return source.params[parameter.optuna_name]

        return self._space.draw(suggest)

    def allows(self, params: Mapping[str, Any]) -> bool:
        """Whether parameters meet the space's constraints."""
        return not self._space.violated(self._space.values(params))

    # Exploit

    def _choose(self) -> list[Promote]:
        for _, trial in self._waiting:
            member = self._members[trial]
            sources = self._sources(trial, member)
            if sources:
                return [Promote(trial, self._exploit(trial, member, sources))]
            if not member.diverged:
                return [Promote(trial)]
        return []

    def _exploit(self, trial: int, member: Member, sources: Sequence[int]) -> Exploit:
        rng = np.random.default_rng(seed_of(self._seed, trial, member.step, member.exploits))
        source = sources[int(rng.integers(len(sources)))]
        return Exploit(source=source, params=self.explore(self._members[source], rng))

    def _sources(self, trial: int, member: Member) -> list[int]:
        """The best members, if this one is among the worst."""
        low, high = self._quantiles(trial, member)
        return [t for t in high if t != trial] if low or member.diverged else []

    def _quantiles(self, trial: int, member: Member) -> tuple[bool, list[int]]:
        """Whether a member is among the worst; and the best of those that can be copied.

        They are compared at the newest step that all but a quantile have reached, so that whoever
        arrives first is not the best for that; each by its own loss there, or before.
        """
        count = len(self._members)
        size = min(math.ceil(count * self._quantile), count // 2)
        steps = sorted((m.step for m in self._members.values()), reverse=True)
        reached = steps[math.ceil(count * (1 - self._quantile)) - 1]
        step = reached if member.diverged else min(reached, member.step)
        losses = ((m.loss_at(step), t) for t, m in self._members.items())
        ranked = [t for _, t in sorted((loss, t) for loss, t in losses if loss is not None)]
        usable = [t for t in ranked if self._members[t].can_be_copied]
        is_low = trial in ranked[count - size :] and member.judged_from <= step
        return is_low, usable[: max(1, size)]

    # The order of those that wait

    def _wait(self, trial: int, member: Member) -> None:
        bisect.insort(self._waiting, (member.step, trial))
        member.paused = True
        self._order = None

    def _leave_wait(self, trial: int, member: Member) -> None:
        if member.paused:
            del self._waiting[bisect.bisect_left(self._waiting, (member.step, trial))]
            member.paused = False
        self._order = None


def _swept_names(given: Sequence[str] | None, space: Space) -> frozenset[str]:
    """The names that may change, checked.

    Raises:
        ValueError: There are none, or one is not swept.
    """
    names = [given] if isinstance(given, str) else list(given or ())
    swept = [parameter.name for parameter in space.parameters]
    if not names:
        raise ValueError(
            f"hyperparam_mutations is not set; list the parameters that may change while a trial "
            f"goes on, of {', '.join(swept)}: such as a learning rate, but nothing that shapes "
            f"the model, which must fit its checkpoint"
        )
    for name in names:
        if name not in swept:
            raise ValueError(
                f"hyperparam_mutations has {name!r}, which is not swept; choose from "
                f"{', '.join(swept)}{did_you_mean(name, swept)}"
            )
    return frozenset(names)
