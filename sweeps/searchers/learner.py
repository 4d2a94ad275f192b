"""Searchers of our own that learn from results, and stand where they stood after a resume.

Results arrive in an order that a resumed searcher cannot see: the view shows what is known, not
since when. So each ask notes on its trial what the searcher newly took in, and the searcher's state
is a fold over these notes, in the order of the trials: the journal brings them back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.searchers.base import ask_seed
from sweeps.searchers.results import Result, Results
from sweeps.searchers.view import View
from sweeps.space.space import Space

NOTE = "learner:told"
"""The system attribute that holds a trial's note: plain JSON."""


class Learner(ABC):
    """A searcher whose state is a fold over its notes.

    Args:
        space: What is searched.
        view: Where the results are, and the notes.
        seed: The sweep's.
        rungs: The scheduler's: where losses can be compared.
    """

    limit: int | None = None

    def __init__(self, *, space: Space, view: View, seed: int, rungs: Sequence[int] = ()) -> None:
        self._space = space
        self._view = view
        self._seed = seed
        self._rungs = rungs
        self._distributions = space.distributions()
        self._restart()

    def _restart(self) -> None:
        self._results = Results(self._view, self._rungs)
        self._folded = 0
        """How many trials' notes are in the state."""
        self._last: Any = None
        """The last of them."""
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Forget everything: the state before the first trial."""

    @abstractmethod
    def _notice(self, number: int, changed: Sequence[Result]) -> Any:
        """What trial `number` is to note: plain JSON, or None.

        Args:
            number: The trial that is asked for.
            changed: Results that are new since the last time; after a resume all of them.
        """

    @abstractmethod
    def _fold(self, number: int, note: Any) -> None:
        """Take in what trial `number` noted."""

    @abstractmethod
    def _draw(self, seed: int) -> Mapping[str, Any]:
        """A configuration by the present state."""

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`; the view then shows that trial as running."""
        self._learn(number)
        params = self._draw(ask_seed(self._seed, number, attempt))
        return self._show(number, params)

    def _learn(self, number: int) -> None:
        if self._folded > number:  # its last draw was refused; what it was drawn by stands
            return
        if self._folded and self._last != self._noted(self._folded - 1):
            self._restart()  # the last ask was taken back for good
        changed = self._results.refresh()
        while self._folded < number:
            self._take(self._noted(self._folded))
        self._take(self._notice(number, changed))

    def _take(self, note: Any) -> None:
        if note is not None:
            self._fold(self._folded, note)
        self._folded += 1
        self._last = note

    def _noted(self, number: int) -> Any:
        return self._view.get_trial(number).system_attrs.get(NOTE)

    def _show(self, number: int, params: Mapping[str, Any]) -> Mapping[str, Any]:
        created = self._view.create_new_trial(0)
        assert created == number, f"the view is at trial {created}, asked for {number}"
        for name, value in params.items():
            distribution = self._distributions[name]
            internal = distribution.to_internal_repr(value)
            self._view.set_trial_param(number, name, internal, distribution)
        if self._last is not None:
            self._view.set_trial_system_attr(number, NOTE, self._last)
        return self._view.get_trial(number).params  # plain numbers, as a journal gives them back


@dataclass(frozen=True)
class Lesson:
    """A result, newly taken in."""

    result: Result
    """The trial as it was when it was taken in."""
    known: int
    """How many of its losses had been taken in before."""


class Pupil(Learner):
    """A learner that takes each result in once, and again what a trial gives at a higher rung.

    A note is a list of (trial, its losses at the rungs not told of before); None in their place for
    a trial that diverged.
    """

    def _begin(self) -> None:
        self._told: dict[int, tuple[float, ...] | None] = {}

    @abstractmethod
    def _take_in(self, lesson: Lesson) -> None:
        """Learn from one result."""

    def _notice(self, number: int, changed: Sequence[Result]) -> Any:
        news: list[Any] = []
        for result in changed:
            told = self._told.get(result.number, ())
            if told is None:
                continue
            if result.diverged:
                news.append([result.number, None])
            elif result.rung > len(told) or result.number not in self._told:
                news.append([result.number, list(result.losses[len(told) :])])
        return news or None

    def _fold(self, number: int, note: Any) -> None:
        for trial, losses in note:
            known = self._told.get(trial) or ()
            self._told[trial] = None if losses is None else (*known, *losses)
            params = self._results.params(trial)
            if params is None:  # it is no configuration of the space as it is now
                continue
            result = Result(trial, params, self._told[trial] or (), losses is None)
            self._take_in(Lesson(result, known=len(known)))
