"""Trials' configs side by side, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from sweeps.journal.trials import Trial
from sweeps.render import parameter
from sweeps.results import SweepResults
from sweeps.secrets import MASK, is_secret
from sweeps.storage.folder import SweepFolder

_ABSENT = ""


def side_by_side(
    sweep: SweepResults, trials: Sequence[Trial], *, differences: bool
) -> pd.DataFrame:
    """A row a key of their configs, a column a trial; secrets masked.

    Args:
        sweep: Whose trials these are.
        trials: What is compared.
        differences: Whether keys on which all agree are left out.
    """
    columns = {f"trial {trial.number}": config_of(sweep, trial) for trial in trials}
    keys = dict.fromkeys(key for config in columns.values() for key in config)
    rows = {
        key: [_shown(key, config) for config in columns.values()]
        for key in keys
        if not differences or _differ(key, columns.values())
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))


def config_of(sweep: SweepResults, trial: Trial) -> dict[str, Any]:
    """A trial's config by dotted key: its job's, or its parameters where that cannot be read."""
    try:
        text = _config_file(sweep.folder, trial)
        config = yaml.safe_load(text)
    except (OSError, yaml.YAMLError):
        config = {}
    flat = dict(_flat(config)) if isinstance(config, Mapping) else {}
    return {**flat, **sweep.trials.values(trial)}


def _config_file(folder: SweepFolder, trial: Trial) -> str:
    job = folder.job(trial.number, trial.run, exploits=len(trial.lineage), life=trial.lives)
    path = job / ".hydra" / "config.yaml"
    folder.impatient.pull(path)
    return path.read_text(encoding="utf-8")


def _flat(node: Mapping[Any, Any], above: str = "") -> Any:
    for key, value in node.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _differ(key: str, configs: Any) -> bool:
    values = [config.get(key, _ABSENT) for config in configs]
    return any(value != values[0] for value in values)


def _shown(key: str, config: Mapping[str, Any]) -> str:
    if key not in config:
        return _ABSENT
    if is_secret(key.rpartition(".")[2]):
        return MASK
    return parameter(config[key])
