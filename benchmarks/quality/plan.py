"""What is run: problems, workers, budgets, methods, seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from quality.methods import PEERS, Method, ours
from quality.problems import Problem
from quality.results import Case

STRAGGLERS = 1.0

CURVES: Mapping[str, Method] = {
    "random": ours("random"),
    "tpe": ours("tpe"),
    "random+asha": ours("random", "asha"),
    "random+asha_stop": ours("random", "asha_stop"),
    "random+successive_halving": ours("random", "successive_halving"),
    "random+hyperband": ours("random", "hyperband"),
    "random+median": ours("random", "median"),
    "random+learning_curve": ours("random", "learning_curve"),
    "tpe+asha": ours("tpe", "asha"),
    "tpe+asha_stop": ours("tpe", "asha_stop"),
    "bohb+asha": ours("bohb", "asha"),
    "bohb+hyperband": ours("bohb", "hyperband"),
    **PEERS,
}
"""On problems with learning curves."""

FINAL_SCORES: Mapping[str, Method] = {
    **{
        name: ours(name)
        for name in (
            "random",
            "qmc",
            "tpe",
            "bohb",
            "gp",
            "cmaes",
            "genetic",
            "annealing",
            "coarse_to_fine",
            "controller",
        )
    },
    "optuna tpe": PEERS["optuna tpe"],
}
"""On problems without."""

SYNCHRONOUS = (
    "random+asha",
    "random+asha_stop",
    "random+successive_halving",
    "random+hyperband",
    "bohb+hyperband",
    "ray asha",
)
"""Compared under stragglers."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is run."""

    seeds: int
    curve_budgets: Mapping[int, float]
    """By number of workers: T in full trainings."""
    long_budgets: Mapping[int, float]
    """The same for what proposes at random, which is quick to simulate."""
    table_budgets: Mapping[int, float]
    tables: tuple[str, ...] | None
    """The names of the tables; None for all."""
    straggling: tuple[int, ...]
    """The numbers of workers with stragglers."""
    slow_up_to: int
    """The largest number of workers with which methods take part that need minutes for it."""

    def cases(self, problem: Problem) -> Iterator[Case]:
        """The cases of a problem."""
        if problem.max_t == 1:
            if self.tables is None or problem.name in self.tables:
                for workers, budget in self.table_budgets.items():
                    yield Case(problem=problem.name, workers=workers, budget=budget)
            return
        for budgets in (self.curve_budgets, self.long_budgets):
            for workers, budget in budgets.items():
                yield Case(problem=problem.name, workers=workers, budget=budget)
        for workers in self.straggling:
            budget = self.curve_budgets[workers]
            yield Case(problem=problem.name, workers=workers, budget=budget, sigma=STRAGGLERS)

    def methods(self, problem: Problem, case: Case) -> Iterator[tuple[str, Method]]:
        """Who takes part in a case."""
        for name, method in (CURVES if problem.max_t > 1 else FINAL_SCORES).items():
            is_long = problem.max_t > 1 and case.budget > self.curve_budgets[case.workers]
            if (
                (name in SYNCHRONOUS or not case.sigma)
                and (name in _AT_RANDOM or not is_long)
                and (name not in _SLOW or case.workers <= self.slow_up_to)
            ):
                yield name, method


_AT_RANDOM = {*(name for name in CURVES if name.startswith("random")), "ray asha", "syne asha"}
_SLOW = {
    "tpe+asha_stop",
    "bohb+hyperband",
    "optuna tpe+hyperband",
    "ray asha+optuna",
    "syne bohb",
    "gp",
}

QUICK = Plan(
    seeds=3,
    curve_budgets={4: 4},
    long_budgets={},
    table_budgets={4: 25},
    tables=("hpobench/vehicle", "hpolib/protein_structure", "nasbench201/cifar100"),
    straggling=(4,),
    slow_up_to=0,
)
FULL = Plan(
    seeds=10,
    curve_budgets={1: 16, 4: 8, 16: 4, 64: 2},
    long_budgets={4: 24},
    table_budgets={1: 100, 4: 40, 16: 15, 64: 6},
    tables=None,
    straggling=(16,),
    slow_up_to=16,
)
