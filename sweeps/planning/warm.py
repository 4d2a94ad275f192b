"""Trials of earlier sweeps, as far as their searchers' lessons hold for this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.errors import ClusterError
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults, load_sweep
from sweeps.space.space import Space
from sweeps.storage.folder import find_sweep


def known_trials(
    sources: Sequence[str], *, space: Space, objective: Objective
) -> list[Mapping[str, Any]]:
    """What earlier sweeps tried and found, for `Known`.

    A parameter that this space does not have, or whose value it cannot take, is left out of a
    trial; a trial of which nothing is left is too.

    Args:
        sources: Sweeps, by folder or by name.
        space: What is searched now.
        objective: What is optimized now; theirs must be the same.

    Raises:
        ConfigError: There is no such sweep, it optimized something else, or it shares nothing.
    """
    return [known for source in sources for known in _of_sweep(source, space, objective)]


def _of_sweep(source: str, space: Space, objective: Objective) -> list[Mapping[str, Any]]:
    try:
        sweep = load_sweep(find_sweep(source))
    except (ConfigError, SweepError, ClusterError) as error:
        raise ConfigError(f"hydra.sweeper.warm_start: {error}") from error
    theirs = [(o.metric, o.mode) for o in sweep.objective.all]
    if theirs != [(o.metric, o.mode) for o in objective.all]:
        asked = ", ".join(f"{o.mode} {o.metric}" for o in objective.all)
        raise ConfigError(
            f"hydra.sweeper.warm_start: {source} optimized "
            f"{', '.join(f'{mode} {metric}' for metric, mode in theirs)}, and this sweep {asked}"
        )
    found = list(_shared(sweep, space))
    if not found:
        names = ", ".join(p.name for p in sweep.space.parameters)
        raise ConfigError(
            f"hydra.sweeper.warm_start: {source} has no trial that tells anything of this space; "
            f"it searched {names}"
        )
    return found


def _shared(sweep: SweepResults, space: Space) -> Iterator[Mapping[str, Any]]:
    for trial in sweep.trials:
        params = space.shared(sweep.values(trial))
        if params and _tells(trial):
            yield {
                "params": params,
                "status": trial.status.value,
                "values": list(trial.values),
                "reports": [[r.step, r.value] for r in _reports(trial)],
            }


def _tells(trial: Trial) -> bool:
    """Whether something was found out: it has a value, or it diverged."""
    return trial.status is Status.DIVERGED or trial.value is not None


def _reports(trial: Trial) -> Iterator[Any]:
    return (r for _, r in sorted(trial.reports.items()) if r.value is not None)
