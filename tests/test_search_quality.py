from __future__ import annotations

import io
import math
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from quality.clock import Run, run_peer
from quality.figures import write_figures
from quality.measures import bootstrap, difference, median, regrets, speed
from quality.methods import PEERS, Ours, ours
from quality.peers import OptunaPeer, RayPeer
from quality.problems import Missing, Problem, Stragglers, Values
from quality.report import show
from quality.results import Case, Results, read, write
from rich.console import Console

from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher
from sweeps.space.space import parse_space

MAX_T = 9
CALM = Stragglers()


def train(values: Values) -> list[tuple[float, float]]:
    """A loss that falls to x, the slower the higher x is; a step takes 1 + x seconds."""
    x = values["x"]
    return [(x + (1 + x) / step, 1 + x) for step in range(1, MAX_T + 1)]


POOL = np.sort([train({"x": x})[-1][0] for x in np.linspace(0, 1, 1001)])
PROBLEM = Problem(
    name="synthetic",
    space=parse_space({"x": "interval(0, 1)"}, [])[0],
    train=train,
    max_t=MAX_T,
    seconds=1.5 * MAX_T,
    pool=POOL,
    best=float(POOL[0]),
)


class RandomPeer:
    """Proposes what our random searcher does, and stops nothing."""

    def __init__(self, seed: int) -> None:
        view = View(Objective())
        self._searcher = make_searcher("random", space=PROBLEM.space, view=view, seed=seed)
        self.reports: dict[int, list[tuple[int, float]]] = {}

    def start(self) -> tuple[int, Values]:
        number = len(self.reports)
        self.reports[number] = []
        return number, PROBLEM.space.values(self._searcher.ask(number))

    def report(self, trial: int, step: int, loss: float, *, last: bool) -> bool:
        self.reports[trial].append((step, loss))
        assert last == (step == MAX_T)
        return True


@pytest.mark.parametrize("stragglers", [CALM, Stragglers(1.0, seed=3)])
def test_the_peers_clock_is_the_simulators(stragglers: Stragglers) -> None:
    peer = RandomPeer(seed=1)
    theirs = run_peer(peer, PROBLEM, workers=3, seconds=80.0, stragglers=stragglers)
    own = ours("random").run(PROBLEM, workers=3, seconds=80.0, stragglers=stragglers, seed=1)
    assert theirs.incumbents == own.incumbents
    assert len(theirs.incumbents) > 5
    assert theirs.trials == own.trials
    assert own.idle == 0
    assert all([step for step, _ in r] == [*range(1, len(r) + 1)] for r in peer.reports.values())


def test_optuna_sees_the_same_curves_at_the_same_times() -> None:
    peer = OptunaPeer(PROBLEM, 0, pruner="successive_halving")
    run = run_peer(peer, PROBLEM, workers=2, seconds=120.0, stragglers=CALM)
    trials = peer._study.trials
    assert len(trials) == run.trials
    spent = 0.0
    for trial in trials:
        curve = train(trial.params)
        steps = len(trial.intermediate_values)
        assert [*trial.intermediate_values.values()] == [loss for loss, _ in curve[:steps]]
        spent += sum(seconds for _, seconds in curve[:steps])
    assert (
        2 * 120 - 2 * 2 < spent <= 2 * 120
    )  # a worker has less than a step in training at the end
    states = [trial.state.name for trial in trials]
    assert states.count("PRUNED") > states.count("COMPLETE") > 0
    assert states.count("RUNNING") == 2
    assert {t.last_step for t in trials if t.state.name == "PRUNED"} <= {1, 3}


def test_what_rays_scheduler_stops_trains_no_further() -> None:
    ended: dict[int, int] = {}

    class Watched(RayPeer):
        def report(self, number: int, step: int, loss: float, *, last: bool) -> bool:
            assert number not in ended
            goes_on = super().report(number, step, loss, last=last)
            if not goes_on:
                ended[number] = step
            return goes_on

    run = run_peer(Watched(PROBLEM, 0), PROBLEM, workers=2, seconds=120.0, stragglers=CALM)
    assert run.trials == len(ended) + 2
    steps = list(ended.values())
    assert set(steps) == {1, 3, MAX_T}
    assert steps.count(1) > steps.count(3) > 0


def test_our_schedulers_run_to_the_end_of_the_budget() -> None:
    run = ours("random", "asha").run(PROBLEM, workers=2, seconds=120.0, stragglers=CALM, seed=0)
    assert run.idle == 0
    assert run.trials > 30
    assert run.incumbents[-1][0] <= 120


def test_who_is_not_there_is_named() -> None:
    with pytest.raises(Missing, match="no searcher oracle"):
        Ours({"name": "oracle"}, {"name": "none"}).check()


def constant(loss: float, at: float = 1.0) -> Run:
    return Run(incumbents=[(at, loss)], idle=0.0, trials=1)


def test_regret_is_0_at_the_best_and_1_at_the_median_and_beyond() -> None:
    losses = [PROBLEM.best, float(np.median(POOL)), 10.0]
    runs = [*map(constant, losses), constant(PROBLEM.best, at=9.0)]
    assert regrets(runs, PROBLEM, seconds=5.0) == [0.0, 1.0, 1.0, 1.0]  # the last came too late


def test_random_search_is_as_fast_as_itself() -> None:
    workers, seconds = 4, 25 * PROBLEM.seconds
    reached = PROBLEM.loss_after(100)
    fast = speed([constant(reached, at=seconds)] * 5, PROBLEM, workers=workers, seconds=seconds)
    assert fast.to_target.value == 1
    assert fast.hits == 1
    assert fast.at_end.value == pytest.approx(1, rel=0.05)


def test_random_searchs_median_is_that_of_the_pool() -> None:
    rng = np.random.default_rng(0)
    best = rng.choice(POOL, size=(4000, 20)).min(axis=1)
    assert PROBLEM.loss_after(20) == pytest.approx(float(np.median(best)), abs=0.01)
    assert PROBLEM.trainings_to(PROBLEM.loss_after(20)) == pytest.approx(20, rel=0.05)


def test_a_sweep_twice_as_fast_has_speed_up_2() -> None:
    seconds = 25 * PROBLEM.seconds
    runs = [constant(PROBLEM.loss_after(100), at=seconds / 2)] * 3
    runs += [constant(1.9)] * 2  # never reach it
    fast = speed(runs, PROBLEM, workers=4, seconds=seconds)
    assert fast.to_target.value == 2
    assert fast.to_target.low == 0  # half of them may fail in another sample
    assert fast.hits == 0.6


def test_intervals_hold_the_value_and_shrink_with_seeds() -> None:
    rng = np.random.default_rng(1)
    few, many = (bootstrap(rng.normal(5, 1, n).tolist()) for n in (10, 1000))
    assert few.low < few.value < few.high
    assert many.low < 5 < many.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert difference([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]).high == 0
    assert difference([1.0, 2.0, 4.0], [2.0, 3.0, 5.0]).high == -1
    assert median(np.array([math.inf, 1.0, math.inf, 2.0])) == 2


def test_stragglers_cost_the_same_whoever_sweeps() -> None:
    factors = [Stragglers(1.0, seed=7).factor(trial) for trial in range(4000)]
    assert factors[:50] == [Stragglers(1.0, seed=7).factor(trial) for trial in range(50)]
    assert np.mean(factors) == pytest.approx(1, abs=0.1)
    assert np.std(np.log(factors)) == pytest.approx(1, abs=0.05)
    assert CALM.factor(3) == 1


def test_runs_are_read_back_and_shown(tmp_path: Path) -> None:
    case = Case(problem="synthetic", workers=4, budget=3)
    results = Results()
    for seed in range(2):
        for method in ("random", "random+asha", "random+hyperband", "ray asha"):
            chosen = PEERS.get(method) or ours(*method.split("+"))
            seconds = case.budget * PROBLEM.seconds
            run = chosen.run(PROBLEM, workers=4, seconds=seconds, stragglers=CALM, seed=seed)
            results.add(case, method, run)
            write(tmp_path / "runs.jsonl", case, method, run)
    again = read(tmp_path / "runs.jsonl")
    problems = {"synthetic": PROBLEM}
    console = Console(width=240, file=io.StringIO())
    rows = show(again, problems, console)
    assert rows == show(results, problems, Console(file=io.StringIO()))
    assert [row["method"] for row in rows] == list(results.of(case))
    text = console.file.getvalue()
    assert "asha no slower than ray asha" in text
    assert "tpe+asha" not in text  # has not run, so nothing is claimed of it
    write_figures(again, problems, tmp_path)
    figure = ET.parse(tmp_path / "regret_synthetic_4.svg").getroot()
    assert len(figure.findall("{http://www.w3.org/2000/svg}polyline")) == 4
