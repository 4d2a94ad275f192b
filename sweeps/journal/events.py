"""What can happen to a sweep: typed events, the only way to change its state.

A live sweep and a resumed one apply the same events through the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.distributions import BaseDistribution

from sweeps.journal.status import Decision, Status

Reason = Literal["promote", "exploit", "resume", "retry"]
"""Why a known trial goes on: the scheduler's word (from its own or another's checkpoint), a
driver's death, a failure or a worker's death."""

LostTo = Literal["lost", "preempted", "out_of_memory", "error"]
"""What ended a segment before its time: its process or node died, its node was or is being taken
away, Ray ended its process where memory ran low, or its task raised."""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A sampler's notes of one ask, as plain JSON values: never pickled."""

    trial: Mapping[str, Any] = field(default_factory=dict)
    """On the trial that was asked for."""
    study: Mapping[str, Any] = field(default_factory=dict)
    """On the study; a later note of the same key replaces it."""


@dataclass(frozen=True, kw_only=True)
class Created:
    """A study began: the sweep's first, or a further one where the search space was changed."""

    name: str
    modes: Sequence[str]
    """By objective: `min` or `max`."""
    space: Mapping[str, Any]
    """`Space.to_json()`."""
    study: int = 0
    """Counts them from 0: Optuna refuses changed choices within a study."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Known:
    """Trials of earlier sweeps, which the searcher learns from as well."""

    trials: Sequence[Mapping[str, Any]]
    """Of each: `params`, Python values by name; `status`; `value`; `reports`, [step, value] each.
    They need not have every parameter of this space."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A driver took the sweep up; `run` counts drivers from 1."""

    run: int
    bounds: Mapping[str, float] = field(default_factory=dict)
    """What its command says of the sweep's bounds, by key of `hydra.sweeper`: `num_samples`, ..."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Requested:
    """Something was asked of the sweep as it ran, and the driver granted or refused it."""

    request: str
    """Its id: what is asked once happens once."""
    asked: Mapping[str, Any]
    """`stop` (a trial's number), `enqueue` (values by parameter name) or `extend` (bounds by key of
    `hydra.sweeper`); whatever it was where that was refused."""
    trial: int | None = None
    """Which trial is stopped, or takes the configuration; None where none does."""
    refusal: str | None = None
    """Why it was refused; None where it was granted."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The searcher proposed a configuration and its first segment begins."""

    trial: int
    run: int
    params: Mapping[str, Any]
    """Optuna's external values by Optuna's parameter name."""
    distributions: Mapping[str, BaseDistribution]
    study: int = 0
    notes: Notes | None = None
    """What the searcher must find again after a resume."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Started:
    """A known trial goes on: promoted from a rung, or after its worker or driver died."""

    trial: int
    run: int
    reason: Reason
    checkpoint: str | None
    source: int | None = None
    """The trial whose checkpoint it is, under `exploit`."""
    params: Mapping[str, Any] | None = None
    """Its parameters from here on, under `exploit`."""
    step: int | None = None
    """The step of that checkpoint, under `exploit`."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A trial reported metrics, and what the scheduler decided on that."""

    trial: int
    run: int
    step: int
    metrics: Mapping[str, float]
    value: float | None
    """The first objective's metric; None where this report does not have it."""
    checkpoint: str | None
    """Folder of the checkpoint, relative to the sweep's."""
    decision: Decision
    several: bool = False
    """Whether the sweep has several objectives: Optuna has no intermediate values there."""
    fidelity: float | None = None
    """What was trained at, where the fidelity is a parameter: `step` then counts the rungs."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial ended for good."""

    trial: int
    status: Status
    value: float | None
    others: Sequence[float] = ()
    """Of a complete trial: the values of the objectives after the first."""
    metrics: Mapping[str, float]
    """What the task function returned, if it did."""
    error: str | None
    """Traceback or reason, for a failed trial."""
    cause: str | None
    time: float


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A segment ended before its time; the trial may go on from its newest checkpoint."""

    trial: int
    reason: str
    """The traceback, where the task raised."""
    cause: LostTo = "lost"
    time: float


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The driver ended in order; `reason` is `done`, `interrupted` or `failed`."""

    reason: str
    time: float


Event = Created | Known | Opened | Requested | Asked | Started | Reported | Ended | Lost | Closed
