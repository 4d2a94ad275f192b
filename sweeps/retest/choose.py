"""Which of a sweep's configurations are worth training again, and with which seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sweeps.errors import ConfigError, SweepError
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults
from sweeps.retest.roster import Entry, Roster
from sweeps.searchers.base import seed_of
from sweeps.space.domains import Choice, Int
from sweeps.space.grammar import split_key
from sweeps.space.literals import literal
from sweeps.space.space import Parameter, Space

_RETEST = 0x2E7E57
"""Sets a retest's seeds apart from all others that are drawn from a sweep's."""
_HIGHEST_SEED = 2**31 - 1
"""What NumPy's and torch's older generators take, and 32 bit integers hold."""


def best_entries(sweep: SweepResults, top: int, *, seed_key: str) -> list[Entry]:
    """The best distinct configurations of trials that are over, best first; fewer if there are not
    so many.

    With several objectives those on the Pareto front come first. Configurations that differ in the
    seed alone are one, and the best of their trials stands for it.

    Raises:
        SweepError: There is none, or one of them was trained with a schedule.
    """
    entries: dict[tuple[str, ...], Entry] = {}
    for trial in _over(sweep):
        params = {k: v for k, v in sweep.values(trial).items() if k != split_key(seed_key)[1]}
        which = tuple(f"{name}={literal(value)}" for name, value in sorted(params.items()))
        if which not in entries:
            _refuse_schedule(trial)
            assert trial.value is not None
            entry = Entry(trial=trial.number, params=params, value=trial.value, step=trial.step)
            entries[which] = entry
        if len(entries) == top:
            break
    if not entries:
        raise SweepError(
            f"no trial of {sweep.folder.place} is over and has a finite "
            f"{sweep.objective.metric}: there is nothing to train again"
        )
    return list(entries.values())


def _over(sweep: SweepResults) -> Iterator[Trial]:
    """Trials that are over and have a value, best first."""
    for trial in sweep.ranked():
        over = sweep.status(trial) in (Status.COMPLETE, Status.STOPPED)
        if over and trial.value is not None and math.isfinite(trial.value):
            yield trial


def _refuse_schedule(trial: Trial) -> None:
    """Of population based training there is no configuration to train again.

    Its parameters changed on the way, and its weights came from other trials: a run from the first
    step to the last with any of them is another one.
    """
    if len(trial.best_schedule) > 1:
        raise SweepError(
            f"trial {trial.number} was trained with a schedule: its parameters changed "
            f"{len(trial.best_schedule) - 1} times as it went, from other trials' checkpoints, and "
            f"a retest trains fixed configurations from their first step; sweep again with another "
            f"scheduler than pbt or pb2 to retest what it finds"
        )


def new_seeds(sweep_seed: int, count: int) -> list[int]:
    """The first so many seeds of a retest; the same for the same sweep, and more with more."""
    return [seed_of(sweep_seed, _RETEST, i) & _HIGHEST_SEED for i in range(count)]


def generator_seed(sweep_seed: int) -> int:
    """Of the retest as a sweep: other generators than the sweep's own trials had."""
    return seed_of(sweep_seed, _RETEST) & _HIGHEST_SEED


def space_of(sweep: SweepResults, roster: Roster) -> Space:
    """Every point of a roster as a configuration: each parameter a choice of what it is there.

    Conditions stay as they were. The seed is a range, so that more seeds change no space.

    Raises:
        ConfigError: The configurations are of spaces that do not fit together.
    """
    known = {p.name: p for space in (*sweep.trials.spaces, sweep.space) for p in space.parameters}
    parameters = [
        Parameter(key=known[name].key, domain=_choice(roster, name), when=known[name].when)
        for name in known
        if any(name in entry.params for entry in roster.entries)
    ]
    if roster.seed_key is not None:
        seeds = Int(low=0, high=_HIGHEST_SEED)
        parameters.append(Parameter(key=roster.seed_key, domain=seeds))
    space = Space(tuple(parameters))
    for (entry, _), point in zip(roster.runs, roster.points(), strict=True):
        _check_fits(space, roster.entries[entry], point)
    return space


def _choice(roster: Roster, name: str) -> Choice:
    values = [entry.params[name] for entry in roster.entries if name in entry.params]
    return Choice(tuple({literal(value): value for value in values}.values()))


def _check_fits(space: Space, entry: Entry, point: dict[str, object]) -> None:
    try:
        space.optuna_params(point)
    except ConfigError as error:
        raise ConfigError(
            f"trial {entry.trial} cannot be trained beside the others, for the sweep's search "
            f"space was changed between them: {error}; retest fewer with --top"
        ) from error
