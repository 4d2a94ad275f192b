"""Learning curves: where they will end, and which trials are stopped for that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sweeps.errors import ConfigError
from sweeps.journal.events import Closed, Created, Ended, Event, Opened, Started
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.schedulers import Done, Observation, Scheduler, Start, Wait, make_scheduler
from sweeps.schedulers.curves import _NOISES, Curves, _burn_ins, _regressions
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
MAX_T = 81


def curve(rng: np.random.Generator, noise: float) -> np.ndarray:
    """A loss that falls by one of four laws, one of which first gets worse; none is on the grid."""
    t = np.arange(1, MAX_T + 1.0)
    scale = MAX_T * 10 ** rng.uniform(-1.8, -0.4)
    laws = [
        t ** -rng.uniform(0.3, 1.5),
        np.exp(-((t / scale) ** rng.uniform(0.6, 1.3))),
        1 / (1 + (t / scale) ** rng.uniform(1, 3)),
        np.exp(-t / scale) * (1 + 0.5 * np.exp(-(((t - 3) / 2) ** 2))),
    ]
    way = rng.uniform(0.3, 2) * laws[rng.integers(4)]
    return rng.uniform(0.05, 0.6) + way + noise * rng.standard_normal(MAX_T)


def seen(losses: Iterable[float]) -> tuple[list[int], list[float]]:
    losses = [float(loss) for loss in losses]
    return list(range(1, len(losses) + 1)), losses


# Where a curve will end


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("steps", [9, 27, 50])
def test_an_end_is_about_as_surprising_as_it_says(noise: float, steps: int) -> None:
    rng = np.random.default_rng(0)
    known = [curve(rng, noise) for _ in range(200)]
    curves, ends = [seen(y[:steps]) for y in known], [y[-1] for y in known]
    below = Curves(MAX_T).chances(curves, ends)
    assert np.mean(below < 0.05) <= 0.1
    assert np.mean(below < 0.25) <= 0.35
    assert np.mean(below > 0.5) >= 0.5  # rather too hopeful, as it is the best report that counts


@pytest.mark.parametrize("steps", [12, 40])
def test_a_prediction_is_sharper_than_that_a_curve_stays_where_it_is(steps: int) -> None:
    rng = np.random.default_rng(1)
    known = [curve(rng, 0.0) for _ in range(100)]
    curves = [seen(y[:steps]) for y in known]
    far_below = [y[-1] - (y[steps - 1] - y[-1]) - 0.02 for y in known]
    reached = [y[steps - 1] + 0.001 for y in known]
    assert np.median(Curves(MAX_T).chances(curves, far_below)) < 0.05
    assert np.median(Curves(MAX_T).chances(curves, reached)) > 0.9


def test_a_change_of_the_metrics_unit_and_zero_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    known = [curve(rng, 0.01) for _ in range(50)]
    curves = Curves(MAX_T)
    for scale, zero in [(1e-6, 0.0), (1.0, -500.0), (3e7, 2e8)]:
        changed = [seen(scale * y[:20] + zero) for y in known]
        targets = [scale * 0.2 + zero] * 50
        expected = curves.chances([seen(y[:20]) for y in known], [0.2] * 50)
        assert curves.chances(changed, targets) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_curves_of_any_length_are_judged_together_as_alone() -> None:
    rng = np.random.default_rng(3)
    known = [seen(curve(rng, 0.01)[:steps]) for steps in (4, 30, 9, 81)]
    alone = [Curves(MAX_T).chances([one], [0.2])[0] for one in known]
    assert Curves(MAX_T).chances(known, [0.2] * 4) == pytest.approx(alone)


def test_each_shape_weighs_as_much_as_its_marginal_likelihood() -> None:
    curves = Curves(MAX_T)
    arranged = curves._arrange([seen(curve(np.random.default_rng(4), 0.02)[:12])], [0.2])
    y, doublings = arranged.losses[0], arranged.doublings[0]
    widest, end = 1 + np.abs(y).max(), 1 + 2 * doublings
    size = 3 * max(widest, end)
    ours, theirs = [], []
    for early in _burn_ins(arranged.there):
        evidence, _ = _regressions(arranged, early)
        for shape, noise in itertools.product((0, 20, 50), (0, 3, 5)):
            late = ~early[0]
            phi = arranged.shapes[0, shape][late]
            spread = (
                end**2 + size**2 * np.outer(phi, phi) + _NOISES[noise] ** 2 * np.eye(late.sum())
            )
            told = multivariate_normal(cov=spread).logpdf(y[late])
            theirs.append(told - (np.log(widest) + (y[~late] / widest) ** 2 / 2).sum())
            ours.append(evidence[0, shape, noise])
    differences = np.array(theirs) - np.array(ours)
    constant = (
        -0.5 * math.log(2 * math.pi) * np.array([sum(~e[0]) for e in _burn_ins(arranged.there)])
    )
    assert differences == pytest.approx(np.repeat(constant, 9), abs=1e-6)


def test_thousands_of_reports_are_judged_by_some_of_them() -> None:
    losses = 0.3 + np.arange(1, 20_001) ** -0.5
    high, low = Curves(40_000).chances([seen(losses)] * 2, [0.306, 0.29])
    assert high > 0.5
    assert low < 0.05


# Who is stopped


def make(**options: Any) -> Scheduler:
    given = {"max_t": 50, "grace_period": 8, **options}
    return make_scheduler("learning_curve", space=SPACE, seed=0, **given)


def tell(
    scheduler: Scheduler, trial: int, losses: Iterable[float], *, first: int = 1
) -> int | None:
    """Report one loss a step; the step at which the trial was stopped, if it was."""
    if first == 1:
        scheduler.on_start(trial, {})
    for step, loss in enumerate(losses, start=first):
        report = Observation(trial=trial, step=step, loss=loss, resumable=False)
        (decision,) = scheduler.on_reports([report])
        if decision is Decision.STOP:
            scheduler.on_end(trial)
            return step
    return None


def falling(end: float, steps: int = 49) -> list[float]:
    return [end + math.exp(-step / 8) for step in range(1, steps + 1)]


def test_a_hopeless_trial_is_stopped_early_and_a_hopeful_one_is_not() -> None:
    scheduler = make()
    assert tell(scheduler, 0, falling(0.2)) is None  # nobody to beat
    stopped = tell(scheduler, 1, falling(0.9))
    assert stopped is not None
    assert 8 <= stopped <= 14
    assert tell(scheduler, 2, falling(0.1)) is None
    assert tell(scheduler, 3, falling(0.5)) is not None


def test_a_curve_that_first_gets_worse_is_given_time() -> None:
    scheduler = make()
    tell(scheduler, 0, falling(0.2))
    worse = [1 + 0.3 * step for step in range(1, 6)]
    better = [worse[-1] * math.exp(-(step - 5) / 6) for step in range(6, 50)]
    assert tell(scheduler, 1, worse + better) is None


def test_one_that_stands_still_is_stopped_unless_it_stands_with_the_best() -> None:
    scheduler = make()
    tell(scheduler, 0, [0.5] * 20)
    assert tell(scheduler, 1, [0.5] * 20) is None
    assert tell(scheduler, 2, [0.50001] * 20) == 8


@pytest.mark.parametrize("step", [1, 20])
def test_a_diverged_trial_is_stopped_at_once_and_is_no_longer_to_be_beaten(step: int) -> None:
    scheduler = make()
    assert tell(scheduler, 0, [*falling(0.0, step - 1), math.inf]) == step
    assert tell(scheduler, 1, falling(0.9)) is None


def test_the_best_trial_is_never_stopped() -> None:
    scheduler = make()
    tell(scheduler, 0, falling(0.5))
    overfits = [*falling(0.1, 20), *(0.2 + 0.1 * step for step in range(29))]
    assert tell(scheduler, 1, overfits) is None


def test_no_trial_is_judged_before_the_grace_period_nor_by_too_few_reports() -> None:
    scheduler = make(grace_period=2)
    tell(scheduler, 0, falling(0.2))
    assert (tell(scheduler, 1, [0.9] * 10) or 0) == 4
    scheduler = make(grace_period=30)
    tell(scheduler, 0, falling(0.2))
    assert tell(scheduler, 1, [0.9] * 40) == 30


def test_a_trial_is_judged_every_so_many_steps() -> None:
    scheduler = make(grace_period=10, every=15)
    tell(scheduler, 0, falling(0.2))
    assert tell(scheduler, 1, [0.15 + 0.9 / s for s in range(1, 13)] + [0.9] * 30) == 25


def test_a_step_reported_again_after_a_crash_counts_once() -> None:
    scheduler, again = make(), make()
    for each in (scheduler, again):
        tell(each, 0, falling(0.2))
        tell(each, 1, falling(0.6, 6))
    tell(again, 1, [9.0, 9.0, 9.0], first=4)
    rest = falling(0.6)[6:]
    assert tell(again, 1, rest, first=7) == tell(scheduler, 1, rest, first=7) is not None


def test_trials_are_complete_at_max_t_and_start_while_the_budget_lasts() -> None:
    scheduler = make()
    tell(scheduler, 0, falling(0.2))
    last = Observation(trial=0, step=50, loss=0.2, resumable=False)
    assert scheduler.on_reports([last]) == [Decision.COMPLETE]
    assert scheduler.rungs() == [8, 50]
    assert isinstance(scheduler.next(can_start=True, running=0), Start)
    assert isinstance(scheduler.next(can_start=False, running=1), Wait)
    assert isinstance(scheduler.next(can_start=False, running=0), Done)


# Whole sweeps


def sweep(
    seed: int, noise: float, *, workers: int = 4, mode: Any = "min", **fields: Any
) -> Simulated:
    sign = 1 if mode == "min" else -1

    def reports(
        values: Mapping[str, Any], trial: int
    ) -> Iterator[tuple[Mapping[str, float], float]]:
        for loss in curve(np.random.default_rng([seed, trial]), noise):
            yield {"m": sign * float(loss)}, 1.0

    setup = Setup(
        space=SPACE,
        num_samples=30,
        objective=Objective(metric="m", mode=mode),
        searcher={"name": "random"},
        scheduler={"name": "learning_curve", "max_t": MAX_T},
        workers=workers,
        seed=seed,
    )
    return simulate(reports, setup, **fields)


@pytest.mark.slow
def test_few_that_would_have_won_are_stopped_and_most_steps_are_saved() -> None:
    stopped, steps, regrets = 0, 0, []
    sweeps = list(itertools.product(range(4), [0.0, 0.01, 0.05]))
    for seed, noise in sweeps:
        result = sweep(seed, noise)
        bests = [curve(np.random.default_rng([seed, t]), noise).min() for t in range(30)]
        stopped += result.trials[int(np.argmin(bests))].status is Status.STOPPED
        regrets.append(result.trials.best.value - min(bests))
        steps += result.trials.steps
    assert stopped <= len(sweeps) / 5
    assert np.mean(regrets) < 0.005  # where the ends lie between 0.05 and 0.6
    assert steps < 0.45 * len(sweeps) * 30 * MAX_T


def decisions(events: Iterable[Event]) -> list[Event]:
    return [
        event if isinstance(event, Ended | Created) else replace(event, run=0)
        for event in events
        if not isinstance(event, Opened | Closed)
        and not (isinstance(event, Started) and event.reason == "resume")
    ]


def test_a_sweep_cut_anywhere_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    path, cut = tmp_path / "journal.log", tmp_path / "cut.log"
    unbroken = sweep(0, 0.01, log=Journal(path))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(0, len(lines), len(lines) // 6):
        cut.write_bytes(b"".join(lines[:kept]))
        resumed = sweep(0, 0.01, history=read_journal(cut))
        assert repr(decisions(resumed.events)) == repr(decisions(unbroken.events)), kept


def test_more_is_better_is_decided_as_less_is_better() -> None:
    less, more = sweep(1, 0.01), sweep(1, 0.01, mode="max")
    assert [trial.step for trial in less.trials] == [trial.step for trial in more.trials]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace_period": 0}, "grace_period is 0; it must be 1 or more"),
        ({"max_t": 8}, "max_t is 8; it must be more than grace_period, 8"),
        ({"every": 0}, "every is 0; it must be 1 or more"),
        ({"min_probability": 1.0}, "min_probability is 1.0; it must be between 0 and 1"),
        ({"min_probabilty": 0.1}, r"did you mean min_probability\?"),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule_or_the_choices(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
