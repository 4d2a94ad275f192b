"""Tables, goals and figures from the runs; every number is measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from quality.clock import Run
from quality.measures import PARTS, Estimate, bootstrap, difference, regrets, speed
from quality.methods import PEERS
from quality.problems import Problem
from quality.results import Case, Results

MODELS = ("tpe+asha", "tpe+asha_stop", "bohb+asha", "bohb+hyperband")
"""Ours with a model and early stopping."""

Rows = list[dict[str, str | float]]


def show(results: Results, problems: Mapping[str, Problem], console: Console) -> Rows:
    """Print everything; what the tables hold, as plain rows."""
    rows: Rows = []
    for case in results.runs:
        problem = problems[case.problem]
        if problem.max_t > 1 and not case.sigma:
            console.print(_curves_table(case, results.of(case), problem, rows))
    for case in results.runs:
        if case.sigma:
            console.print(_straggler_table(case, results, problems[case.problem]))
    finals = [p for p in problems.values() if p.max_t == 1]
    for workers in sorted({c.workers for p in finals for c in results.cases(p.name)}):
        console.print(_final_table(workers, results, problems, rows))
    goals = list(_goals(results, problems))
    if goals:
        console.print(_goal_table(goals))
    return rows


def _curves_table(
    case: Case, by: Mapping[str, Sequence[Run]], problem: Problem, rows: Rows
) -> Table:
    table = Table(
        "method",
        *(f"regret at {part}" for part in PARTS),
        "speed-up to target",
        "hit rate",
        "speed-up at T",
        "idle",
        "trials",
        title=str(case),
    )
    seconds = case.budget * problem.seconds
    for method, runs in by.items():
        at = {k: bootstrap(regrets(runs, problem, f * seconds)) for k, f in PARTS.items()}
        fast = speed(runs, problem, workers=case.workers, seconds=seconds)
        idle = float(np.mean([run.idle for run in runs]))
        trials = float(np.mean([run.trials for run in runs]))
        table.add_row(
            method,
            *map(str, at.values()),
            _times(fast.to_target),
            f"{fast.hits:.0%}",
            _times(fast.at_end),
            f"{idle:.1%}",
            f"{trials:.0f}",
        )
        row: dict[str, str | float] = {**_columns(case), "method": method}
        for name, estimate in (*at.items(), ("to target", fast.to_target), ("at end", fast.at_end)):
            row |= {
                name: estimate.value,
                f"{name} low": estimate.low,
                f"{name} high": estimate.high,
            }
        rows.append({**row, "hits": fast.hits, "idle": idle, "trials": trials})
    return table


def _straggler_table(case: Case, results: Results, problem: Problem) -> Table:
    calm = next((c for c in results.cases(case.problem) if c.workers == case.workers), None)
    noises = {"": results.of(case), ", none": results.of(calm) if calm else {}}
    columns = [f"{what}{noise}" for noise in noises for what in ("T/3", "T", "idle")]
    table = Table("method, regret at", *columns, title=str(case))
    seconds = case.budget * problem.seconds
    for method in results.of(case):
        cells = []
        for by in noises.values():
            runs = by.get(method, [])
            for part in (1 / 3, 1.0) if runs else ():
                cells.append(str(bootstrap(regrets(runs, problem, part * seconds))))
            if runs:
                cells.append(f"{np.mean([run.idle for run in runs]):.1%}")
        table.add_row(method, *cells)
    return table


def _final_table(
    workers: int, results: Results, problems: Mapping[str, Problem], rows: Rows
) -> Table:
    """Regrets averaged over the problems, seed by seed."""
    cases = [c for c in results.cases() if c.workers == workers and problems[c.problem].max_t == 1]
    families = sorted({case.problem.split("/")[0] for case in cases})
    many = "workers" if workers > 1 else "worker"
    table = Table(
        "searcher",
        *(f"regret at {part}" for part in PARTS),
        *(f"{family} at T" for family in families),
        title=f"{len(cases)} tables of final scores, {workers} {many}, "
        f"T = {cases[0].budget:g} trainings",
    )
    methods = [m for m in results.of(cases[0]) if all(m in results.of(c) for c in cases)]
    for method in methods:

        def average(part: float, family: str = "", method: str = method) -> Estimate:
            chosen = [c for c in cases if c.problem.startswith(family)]
            each = [
                regrets(results.of(c)[method], problems[c.problem], part * c.budget) for c in chosen
            ]
            return bootstrap(np.mean(each, axis=0).tolist())

        at = {name: average(part) for name, part in PARTS.items()}
        table.add_row(
            method, *map(str, at.values()), *(f"{average(1.0, f).value:.3f}" for f in families)
        )
        row: dict[str, str | float] = {"problem": "tables", "workers": workers, "method": method}
        for name, estimate in at.items():
            row |= {
                name: estimate.value,
                f"{name} low": estimate.low,
                f"{name} high": estimate.high,
            }
        rows.append(row)
    return table


# Goals


@dataclass(frozen=True)
class Goal:
    """What is to be shown, and what was."""

    text: str
    measured: str
    met: str


def _goals(results: Results, problems: Mapping[str, Problem]) -> Iterator[Goal]:
    for case in results.cases():
        problem = problems[case.problem]
        if problem.max_t == 1:
            continue
        if case.workers == 4:
            yield from _asha_goals(case, results.of(case), problem)
        yield from _model_goals(case, results.of(case), problem)
        yield from _idle_goals(case, results.of(case))


def _asha_goals(case: Case, by: Mapping[str, Sequence[Run]], problem: Problem) -> Iterator[Goal]:
    if "random+asha" not in by:
        return
    seconds = case.budget * problem.seconds
    speeds = {
        m: speed(runs, problem, workers=case.workers, seconds=seconds) for m, runs in by.items()
    }
    asha = speeds["random+asha"].at_end
    limit = f"; halving can reach {problem.halving:.1f} here" if problem.halving else ""
    yield Goal(
        f"{case}: asha at least 6 times as fast as random",
        f"{_times(asha)}{limit}",
        _yes(asha.value >= 6),
    )
    for peer in ("ray asha", "syne asha"):
        if peer in by:
            theirs = speeds[peer].at_end
            yield Goal(
                f"{case}: asha no slower than {peer} within the interval",
                f"{_times(asha)} against {_times(theirs)}",
                _yes(asha.high >= theirs.low),
            )


def _model_goals(case: Case, by: Mapping[str, Sequence[Run]], problem: Problem) -> Iterator[Goal]:
    seconds = case.budget * problem.seconds
    final = {method: regrets(runs, problem, seconds) for method, runs in by.items()}
    others = [m for m in ("random+asha", *PEERS) if m in final]
    for model in (m for m in MODELS if m in final):
        gaps = {other: difference(final[model], final[other]) for other in others}
        if not gaps:
            continue
        hardest = max(gaps, key=lambda other: gaps[other].value)
        yield Goal(
            f"{case}: {model} below plain asha and every peer in regret at T",
            f"{gaps[hardest]} to {hardest}, the best of them",
            "yes" if gaps[hardest].high < 0 else "in the mean" if gaps[hardest].value < 0 else "no",
        )


def _idle_goals(case: Case, by: Mapping[str, Sequence[Run]]) -> Iterator[Goal]:
    idle = [
        run.idle
        for method, runs in by.items()
        if method.endswith("+asha") and method not in PEERS
        for run in runs
    ]
    if idle:
        yield Goal(
            f"{case}: asha's workers idle under 2%",
            f"at most {max(idle):.2%}",
            _yes(max(idle) < 0.02),
        )


def _goal_table(goals: Iterable[Goal]) -> Table:
    table = Table("goal", "measured", "met", title="goals")
    for goal in goals:
        color = {"yes": "green", "no": "red"}.get(goal.met, "yellow")
        table.add_row(goal.text, goal.measured, f"[{color}]{goal.met}")
    return table


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def _times(estimate: Estimate) -> str:
    if not estimate.value:
        return "not reached"
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def _columns(case: Case) -> dict[str, str | float]:
    return {"problem": case.problem, "workers": case.workers, "T in R": case.budget}


def write_csv(rows: Rows, path: Path) -> None:
    """The rows of all tables."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
