"""Several sweeps side by side: what they share, and in what they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps import render
from sweeps.results.sweep import SweepResults
from sweeps.storage.folder import SweepFolder

ABSENT = "-"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is said of each."""

    name: str
    cells: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether it is not the same for all."""
        return len(set(self.cells)) > 1


def compare(sweeps: Sequence[SweepResults]) -> list[Row]:
    """What there is to say of the sweeps, one cell each."""
    rows = [
        Row(name=name, cells=tuple(fact(sweep) for sweep in sweeps))
        for name, fact in _FACTS.items()
    ]
    for title, of in _TABLES.items():
        told = [of(sweep) for sweep in sweeps]
        names = dict.fromkeys(name for each in told for name in each)
        rows += [
            Row(name=f"{title} {name}", cells=tuple(each.get(name, ABSENT) for each in told))
            for name in names
        ]
    return rows


def labels(folders: Sequence[SweepFolder]) -> list[str]:
    """What to call each sweep: its name, or its place where another has that name too."""
    names = Counter(folder.name for folder in folders)
    return [folder.name if names[folder.name] == 1 else folder.place for folder in folders]


def _objective(sweep: SweepResults) -> str:
    return ", ".join(f"{o.mode} {o.metric}" for o in sweep.objective.all)


def _best(sweep: SweepResults) -> str:
    if sweep.best is None:
        return ABSENT
    others = sweep.best.values[1:]
    return ", ".join(map(render.number, [sweep.best.value, *others]))


def _best_trial(sweep: SweepResults) -> str:
    if sweep.best is None:
        return ABSENT
    step = f", step {sweep.best.best.step}" if sweep.best.best else ""
    return f"{sweep.best.number}{step}"


def _trials(sweep: SweepResults) -> str:
    counted = Counter(sweep.status(trial).value for trial in sweep.trials)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
    return f"{len(sweep.trials)}: {said}" if counted else "0"


def _state(sweep: SweepResults) -> str:
    return "not ended" if sweep.trials.closed is None else sweep.trials.closed.reason


_FACTS: dict[str, Callable[[SweepResults], str]] = {
    "objective": _objective,
    "best": _best,
    "best trial": _best_trial,
    "trials": _trials,
    "num_samples": lambda sweep: str(sweep.num_samples),
    "steps": lambda sweep: str(sweep.trials.steps),
    "time": lambda sweep: render.duration(sweep.elapsed),
    "state": _state,
    "searcher": lambda sweep: str(sweep.record.searcher["name"]),
    "scheduler": lambda sweep: str(sweep.record.scheduler["name"]),
    "seed": lambda sweep: str(sweep.record.seed),
}


def _space(sweep: SweepResults) -> Mapping[str, str]:
    """What each parameter may be, in the last of the sweep's spaces."""
    return dict(sweep.space.describe())


def _best_parameters(sweep: SweepResults) -> Mapping[str, str]:
    if sweep.best is None:
        return {}
    return {name: render.parameter(value) for name, value in sweep.values(sweep.best).items()}


def _options_of(kind: str) -> Callable[[SweepResults], Mapping[str, str]]:
    def of(sweep: SweepResults) -> Mapping[str, str]:
        options: Mapping[str, Any] = getattr(sweep.record, kind)
        return {name: _plain(v) for name, v in options.items() if name != "name"}

    return of


def _fixed(sweep: SweepResults) -> Mapping[str, str]:
    """The overrides that all trials have, as they were recorded: without secrets."""
    pairs = (override.partition("=") for override in sweep.record.overrides)
    return {key: value for key, _, value in pairs}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


_TABLES: dict[str, Callable[[SweepResults], Mapping[str, str]]] = {
    "searcher": _options_of("searcher"),
    "scheduler": _options_of("scheduler"),
    "space": _space,
    "best": _best_parameters,
    "fixed": _fixed,
}
