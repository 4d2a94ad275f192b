"""What a report says in tables: the best trials, the failures by cause, where it all comes from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeps.errors import headline
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.render import duration, number, parameter, short_names
from sweeps.results import SweepResults
from sweeps.retest.looks import said_looks
from sweeps.secrets import MASK, is_secret, masked

_TOP = 10
_NUMBERS_SHOWN = 20
_LONGEST_ERROR = 400

_CAUSES = {
    "diverged": "the objective was not finite",
    "error": "the task raised",
    "import": "something could not be imported",
    "lost": "its process or node died",
    "no_metric": "it never reported the objective",
    "out_of_memory": "out of memory",
    "request": "somebody stopped it",
    "storage": "the storage failed",
    "time_limit": "hydra.sweeper.trial_time_limit_s was over",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of plain text under a header, to be escaped; without rows its words stand alone."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]] = ()
    words: str = ""
    numeric: frozenset[int] = frozenset()
    """The columns that hold numbers."""
    marked: frozenset[int] = frozenset()
    """The rows that stand out."""


def best_trials(sweep: SweepResults) -> Table:
    """The best trials with their parameters, best first."""
    title = "Best trials"
    ranked = [trial for trial in sweep.ranked() if _counts(sweep, trial)]
    if not ranked:
        return Table(title=title, header=(), words=_no_best(sweep))
    shown = ranked[: max(_TOP, min(len(sweep.front), 2 * _TOP))]
    names = [*sweep.parameters]
    short = short_names(names)
    metrics = [objective.metric for objective in sweep.objective.all]
    front = {trial.number for trial in sweep.front}
    rows = [_row(sweep, trial, names) for trial in shown]
    marked = (i for i, t in enumerate(shown) if t is sweep.best or t.number in front)
    left = len(ranked) - len(shown)
    return Table(
        title=title,
        header=["trial", *metrics, "step", "status", "time", *(short[name] for name in names)],
        rows=rows,
        words=f"{left} more have a value." if left else "",
        numeric=frozenset({0, *range(1, len(metrics) + 2), len(metrics) + 3}),
        marked=frozenset(marked),
    )


def failures(sweep: SweepResults) -> Table:
    """The trials that failed or diverged, by what went wrong, the most frequent first."""
    groups: dict[tuple[str, str], _Failure] = {}
    for trial in sweep.trials:
        status = sweep.status(trial)
        if status in (Status.FAILED, Status.DIVERGED):
            error = _first_line(trial)
            key = (trial.cause or status.value, re.sub(r"\d+", "#", error))
            group = groups.setdefault(key, _Failure(trial.cause or status.value, error))
            group.trials.append(trial.number)
    ordered = sorted(groups.values(), key=lambda group: -len(group.trials))
    return Table(
        title="Failures",
        header=("count", "cause", "error", "trials"),
        rows=[
            (str(len(g.trials)), _CAUSES.get(g.cause, g.cause), g.error or "-", _numbers(g.trials))
            for g in ordered
        ],
        words=" ".join(_survived(sweep, any_failed=bool(ordered))),
        numeric=frozenset({0}),
    )


def provenance(sweep: SweepResults) -> Table:
    """Where the sweep comes from: app, command, overrides, seed, versions, commit, hardware."""
    return Table(
        title="Provenance",
        header=("", ""),
        rows=[(name, value) for name, value in _origins(sweep) if value],
    )


@dataclass
class _Failure:
    cause: str
    error: str
    trials: list[int] = field(default_factory=list)


def _counts(sweep: SweepResults, trial: Trial) -> bool:
    return trial.value is not None and sweep.status(trial) not in (Status.FAILED, Status.DIVERGED)


def _no_best(sweep: SweepResults) -> str:
    if not len(sweep.trials):
        return "There is no trial yet."
    if all(sweep.status(trial).is_final for trial in sweep.trials):
        return "No trial came out with a value: see the failures."
    return "No trial has a value yet."


def _row(sweep: SweepResults, trial: Trial, names: Sequence[str]) -> list[str]:
    values = sweep.values(trial)
    others: Sequence[float | None] = trial.values[1:] or [None] * len(sweep.objective.others)
    return [
        str(trial.number),
        number(trial.value),
        *map(number, others),
        str(trial.best.step if trial.best else trial.step) if trial.reports else "-",
        sweep.status(trial).value,
        duration(trial.seconds),
        *(_shown(name, values[name]) if name in values else "" for name in names),
    ]


def _shown(name: str, value: Any) -> str:
    return MASK if is_secret(name) else parameter(value)


def _first_line(trial: Trial) -> str:
    line = headline(trial.error) or ""
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…"


def _numbers(trials: Sequence[int]) -> str:
    """Ranges where trials follow each other; the first ones where they are many."""
    spans: list[list[int]] = []
    for trial in trials:
        if spans and trial == spans[-1][1] + 1:
            spans[-1][1] = trial
        else:
            spans.append([trial, trial])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in spans[:_NUMBERS_SHOWN]]
    hidden = sum(b - a + 1 for a, b in spans[_NUMBERS_SHOWN:])
    return ", ".join(texts) + (f" and {hidden} more" if hidden else "")


def _survived(sweep: SweepResults, *, any_failed: bool) -> Iterator[str]:
    """What went wrong and was got over."""
    trials = list(sweep.trials)
    if not any_failed:
        yield "No trial failed or diverged." if trials else "There is no trial yet."
    if retried := sum(len(trial.failures) for trial in trials):
        yield f"Tasks raised {_times(retried)} and were tried again."
    if lost := sum(trial.losses for trial in trials):
        yield f"Processes or nodes died {_times(lost)} under a trial, which went on elsewhere."
    if preempted := sum(trial.preemptions for trial in trials):
        yield f"Nodes were taken away {_times(preempted)}, which counts for nothing."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _origins(sweep: SweepResults) -> Iterator[tuple[str, str]]:
    record, environment = sweep.record, sweep.record.environment
    app, git = record.app, environment.get("git") or {}
    yield "sweep", sweep.folder.place
    yield "began", moment(sweep.trials.created)
    yield "app", str(app.get("file") or f"-m {app.get('module')}")
    yield "command line", _joined(app.get("argv", []))
    yield "fixed overrides", _joined(record.overrides)
    yield "search space", "\n".join(masked(f"{p}={text}") for p, text in sweep.space.describe())
    yield "searcher", _named(record.searcher)
    yield "scheduler", _named(record.scheduler)
    yield "test data", said_looks(sweep.folder)
    yield "trials asked for", str(sweep.num_samples)
    yield "seed of the search", str(record.seed)
    if git:
        dirty = git.get("diff") or git.get("diff_file")
        changed = ", with uncommitted changes" if dirty else ""
        yield "git commit", f"{git.get('commit')}{changed}"
    yield "python", str(environment.get("python") or "")
    yield "platform", _hardware(environment)
    known = (environment.get("versions") or {}).items()
    yield "versions", ", ".join(f"{package} {version}" for package, version in known if version)


def moment(time: float | None) -> str:
    """A time of the world, to the second."""
    return (
        "" if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def _joined(overrides: Iterable[Any]) -> str:
    return " ".join(shlex.quote(masked(str(override))) for override in overrides)


def _named(choice: Any) -> str:
    options = [masked(f"{key}={value}") for key, value in choice.items() if key != "name"]
    return f"{choice.get('name')} ({', '.join(options)})" if options else str(choice.get("name"))


def _hardware(environment: Any) -> str:
    cpus = environment.get("cpus")
    parts = [environment.get("platform"), f"{cpus} CPUs" if cpus else None]
    return ", ".join(str(part) for part in parts if part)


def app_name(sweep: SweepResults) -> str:
    """The app's file name, or its module."""
    app = sweep.record.app
    return Path(str(app["file"])).name if app.get("file") else str(app.get("module") or "")
