"""Trials' configs side by side, and where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sweeps.journal.trials import Trial
from sweeps.results import SweepResults
from sweeps.results.diff import config_of, flat_config, shown_value


def side_by_side(
    sweep: SweepResults, trials: Sequence[Trial], *, differences: bool
) -> pd.DataFrame:
    """A row a key of their configs, a column a trial; secrets masked.

    Args:
        sweep: Whose trials these are.
        trials: What is compared.
        differences: Whether keys on which all agree are left out.

    Raises:
        ConfigError: A config is damaged.
    """
    configs = [_flat(sweep, trial) for trial in trials]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = {
        key: [shown_value(config, key) for config in configs]
        for key in keys
        if not differences or _differ(key, configs)
    }
    columns = [f"trial {trial.number}" for trial in trials]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _flat(sweep: SweepResults, trial: Trial) -> dict[str, Any]:
    """Its job's config by dotted key, or its parameters where its job left none."""
    config = config_of(sweep, trial)
    return sweep.values(trial) if config is None else dict(flat_config(config))


def _differ(key: str, configs: Iterable[Mapping[str, Any]]) -> bool:
    first, *others = ((key in config, config.get(key)) for config in configs)
    return any(other != first for other in others)
