"""The bounds of a sweep that may be changed while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeps.core.budget import Budget
from sweeps.core.limits import Limits
from sweeps.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What one may be."""

    rule: str
    least: float = -math.inf
    """It must be this or more, or more than this where it is `open`."""
    whole: bool = False
    open: bool = False
    removable: bool = True
    """Whether null takes it away."""

    def takes(self, value: Any) -> bool:
        """Whether it may be this value."""
        if value is None:
            return self.removable
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            return False
        return value > self.least if self.open else value >= self.least


BOUNDS = {
    "num_samples": Bound(rule="a whole number above 0", least=1, whole=True, removable=False),
    "time_budget_s": Bound(rule="seconds above 0, or null", least=0, open=True),
    "total_steps": Bound(rule="a whole number above 0, or null", least=1, whole=True),
    "cost.budget": Bound(rule="a number of 0 or more, or null", least=0),
    "stop.target": Bound(rule="a number, or null"),
    "stop.patience": Bound(rule="a whole number above 0, or null", least=1, whole=True),
}
"""By key of `hydra.sweeper`."""

_FIELDS = {
    "total_steps": "total_steps",
    "cost.budget": "cost",
    "stop.target": "target",
    "stop.patience": "patience",
}


def said(limits: Limits, budget: Budget) -> dict[str, float]:
    """The bounds that a driver's command sets."""
    values = {
        "num_samples": limits.num_samples,
        "time_budget_s": limits.time_budget_s,
        **{key: getattr(budget, name) for key, name in _FIELDS.items()},
    }
    return {key: value for key, value in values.items() if value is not None}


def by_name(bounds: Mapping[str, float | None]) -> dict[str, Any]:
    """Bounds by the names of `Budget`'s fields; those that are none of them as they are."""
    return {_FIELDS.get(key, key): value for key, value in bounds.items()}


def with_granted(budget: Budget, granted: Mapping[str, float | None]) -> Budget:
    """A budget with the bounds that were granted in the place of its own."""
    own = {key: value for key, value in granted.items() if key in _FIELDS}
    return replace(budget, **by_name(own)) if own else budget


def check_bounds(given: Mapping[str, Any], *, trials: int, budget: Budget) -> None:
    """See that bounds may be set so in a sweep that runs.

    Args:
        given: By key of `hydra.sweeper`.
        trials: How many the sweep has, those included that are enqueued.
        budget: What its command says.

    Raises:
        ConfigError: One cannot be changed, or not to this value.
    """
    for key, value in given.items():
        if key not in BOUNDS:
            raise ConfigError(
                f"hydra.sweeper.{key} cannot be changed while a sweep runs: what can is "
                f"{', '.join(BOUNDS)}{did_you_mean(key, BOUNDS)}; for the rest, end it and "
                f"caviar resume it"
            )
        if not BOUNDS[key].takes(value):
            raise ConfigError(f"hydra.sweeper.{key} is {value!r}; it must be {BOUNDS[key].rule}")
    if given.get("num_samples", trials) < trials:
        raise ConfigError(
            f"hydra.sweeper.num_samples is {given['num_samples']}, and the sweep has {trials} "
            f"trials already, those included that are enqueued; it must be {trials} or more"
        )
    if "cost.budget" in given and budget.cost_metric is None:
        raise ConfigError(
            "hydra.sweeper.cost.budget needs hydra.sweeper.cost.metric, which the sweep was begun "
            "without"
        )
