"""What was asked of a sweep while it ran, and granted: a fold over its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.journal.events import Event, Opened, Requested


class Steered:
    """What requests have made of a sweep's queue and bounds. Apply events to change it.

    A bound that was granted holds for later drivers too, until one's command says something else of
    it than the command before did: so a command that is only repeated takes nothing back.
    """

    def __init__(self, history: Iterable[Event] = ()) -> None:
        self.answers: dict[str, Requested] = {}
        """By the request's id: what became of it."""
        self.points: dict[int, Mapping[str, Any]] = {}
        """By the trial that takes them: configurations, as far as they are given, by name."""
        self._last = -1
        """The number of the last of them."""
        self.granted: dict[str, float | None] = {}
        """Bounds that are other than the driver's command says, by key of `hydra.sweeper`."""
        self._said: Mapping[str, float] = {}
        for event in history:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        match event:
            case Opened():
                self.granted, self._said = self.granted_under(event.bounds), event.bounds
            case Requested():
                self._on_requested(event)

    def granted_under(self, said: Mapping[str, float]) -> dict[str, float | None]:
        """What stays granted under a driver whose command says this."""
        return {k: v for k, v in self.granted.items() if said.get(k) == self._said.get(k)}

    def total(self, num_samples: int, said: Mapping[str, float] | None = None) -> int:
        """How many trials there are to be: as many as was asked for, and every one that is queued.

        Args:
            num_samples: What the command says.
            said: The bounds of a driver that is about to begin.
        """
        granted = self.granted if said is None else self.granted_under(said)
        bound = granted.get("num_samples") or num_samples
        return max(int(bound), 1 + self._last)

    def next_free(self, trials: int) -> int:
        """The number of the next trial that nothing was enqueued for, of so many that began."""
        return max(trials, 1 + self._last)

    def _on_requested(self, event: Requested) -> None:
        self.answers[event.request] = event
        if event.refusal is not None:
            return
        match event.asked:
            case {"enqueue": values} if event.trial is not None:
                self.points[event.trial] = values
                self._last = event.trial
            case {"extend": bounds}:
                self.granted.update(bounds)
