"""What an ask costs over raw Optuna: the same sampler, made anew for each ask, over its storage.

    python benchmarks/ask_cost.py [--repeats 15] [--all]

Seven parameters, all earlier trials complete with ten reports each. Both sides ask in turn, and
processor time is taken, so that other work on the machine counts little; the ratio is of the
medians. The Gaussian process grows with the cube of the number of trials: at 1,000 and 3,000 it is
asked a few times only, which takes minutes. Both sides use one thread of torch's, as ours always
does: with more, a suggestion's last digits depend on how many there are.

With `--all` it measures our searchers alone: each goes through a sweep of its own, one trial after
another, so that those are in it that learn from their own proposals only. The controller's space is
the same in ten steps a number.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import torch
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from sweeps.journal.events import Asked, Ended, Event, Reported
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.searchers import Searcher, View, make_searcher, seed_of
from sweeps.space.space import parse_space

PARAMETERS = {
    "lr": "tag(log, interval(1e-5, 1))",
    "decay": "tag(log, interval(1e-6, 1e-1))",
    "momentum": "interval(0, 1)",
    "dropout": "interval(0, 0.6)",
    "width": "int(tag(log, interval(16, 1024)))",
    "depth": "int(interval(1, 8))",
    "net": "a, b, c",
}
SPACE, _ = parse_space(PARAMETERS, [])
DISTRIBUTIONS = SPACE.distributions()
SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "random": RandomSampler,
    "tpe": TPESampler,
    "gp": GPSampler,
}
ALONE = (
    "qmc",
    "grid",
    "tpe",
    "bohb",
    "cmaes",
    "genetic",
    "annealing",
    "coarse_to_fine",
    "controller",
)
LEVELS = dict.fromkeys(PARAMETERS, "range(0, 10)")
TRIALS = (100, 1000, 3000)
FEW = {("gp", 1000): 3, ("gp", 3000): 1}
"""Asks, where they are dear."""


def known(trials: int) -> list[tuple[dict[str, Any], list[float]]]:
    """The parameters and reports of earlier trials."""
    searcher = make_searcher("random", space=SPACE, view=View(Objective()), seed=0)
    found = []
    for number in range(trials):
        params = dict(searcher.ask(number))
        value = abs(params["momentum"] - 0.3) + params["dropout"] + 0.1 * params["depth"]
        found.append((params, [value + 1 / step for step in range(1, 11)]))
    return found


def ours(name: str, trials: int) -> tuple[View, Searcher]:
    """Our searcher over a view of so many trials."""
    view = View(Objective())
    for number, (params, values) in enumerate(known(trials)):
        given: dict[str, Any] = {"trial": number, "run": 1, "time": float(number)}
        events: list[Event] = [Asked(**given, params=params, distributions=DISTRIBUTIONS)]
        for step, value in enumerate(values, start=1):
            report = {"step": step, "value": value, "metrics": {}, "checkpoint": None}
            events.append(Reported(**given, **report, decision=Decision.CONTINUE))
        events.append(ended_at(number, values[-1]))
        for event in events:
            view.apply(event)
    return view, make_searcher(name, space=SPACE, view=view, seed=0)


def raw(trials: int) -> optuna.Study:
    """Raw Optuna with the same trials in memory."""
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(
                state=TrialState.COMPLETE,
                params=params,
                distributions=DISTRIBUTIONS,
                value=values[-1],
                intermediate_values=dict(enumerate(values, start=1)),
            )
            for params, values in known(trials)
        ]
    )
    return study


def ask_ms(name: str, trials: int, repeats: int) -> tuple[float, float]:
    """The medians of our asks and of raw Optuna's, in milliseconds; each is told at once."""
    (view, searcher), study = ours(name, trials), raw(trials)
    sides: tuple[list[float], list[float]] = ([], [])
    for number in range(trials, trials + repeats):
        began = time.process_time()
        params = searcher.ask(number)
        between = time.process_time()
        study.sampler = SAMPLERS[name](seed=seed_of(0, number))
        trial = study.ask(DISTRIBUTIONS)
        ended = time.process_time()
        assert params == trial.params
        value = 1.0 + 1e-3 * number
        study.tell(trial, value)
        view.apply(ended_at(number, value))
        sides[0].append(1000 * (between - began))
        sides[1].append(1000 * (ended - between))
    return statistics.median(sides[0]), statistics.median(sides[1])


def ended_at(trial: int, value: float) -> Ended:
    """A trial's end."""
    given: dict[str, Any] = {"trial": trial, "metrics": {}, "error": None, "cause": None}
    return Ended(**given, status=Status.COMPLETE, value=value, time=1.0 + trial)


def alone_ms(name: str, trials: Sequence[int], repeats: int) -> list[float]:
    """The medians of asks in a sweep of the searcher's own, in milliseconds."""
    space, _ = parse_space(LEVELS if name == "controller" else PARAMETERS, [])
    view, distributions = View(Objective()), space.distributions()
    options = {"levels": 3} if name == "grid" else {}
    searcher = make_searcher(
        name, space=space, view=view, seed=0, num_samples=trials[-1] + repeats, **options
    )
    spent = []
    for number in range(trials[-1] + repeats):
        began = time.process_time()
        params = searcher.ask(number)
        spent.append(1000 * (time.process_time() - began))
        given: dict[str, Any] = {"trial": number, "run": 1, "time": float(number)}
        view.apply(
            Asked(**given, params=params, distributions=distributions, notes=view.take_notes())
        )
        values = space.values(params)
        value = float(values["momentum"] + values["dropout"] + 0.1 * values["depth"])
        view.apply(ended_at(number, value))
    return [statistics.median(spent[after : after + repeats]) for after in trials]


def compare_alone(repeats: int) -> None:
    """Print what an ask of each searcher costs in a sweep of its own."""
    print("CPU ms an ask" + "".join(f" after {trials:4}" for trials in TRIALS[:2]))
    for name in ALONE:
        found = alone_ms(name, TRIALS[:2], repeats)
        print(f"{name:14}" + "".join(f"{ms:10.2f}" for ms in found), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--all", action="store_true", help="our searchers alone, all but gp")
    given = parser.parse_args()
    repeats = given.repeats
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    if given.all:
        compare_alone(repeats)
        return
    print("CPU ms an ask trials     ours      raw    ratio  (at most 1.5)")
    for name in SAMPLERS:
        ask_ms(name, TRIALS[0], 2)  # warms up
        for trials in TRIALS:
            mine, other = ask_ms(name, trials, FEW.get((name, trials), repeats))
            print(f"{name:10} {trials:9} {mine:8.2f} {other:8.2f} {mine / other:8.2f}", flush=True)


if __name__ == "__main__":
    main()
