"""Population based training: who is copied, what is changed, and what becomes of the sweep."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from sweeps.errors import ConfigError
from sweeps.journal.events import (
    Closed,
    Created,
    Ended,
    Event,
    Opened,
    Reported,
    Started,
)
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.schedulers import (
    Done,
    Exploit,
    Next,
    Observation,
    Promote,
    Scheduler,
    Start,
    Wait,
    make_scheduler,
)
from sweeps.searchers import View
from sweeps.simulate import Outcome, Setup, Training, simulate
from sweeps.space.scale import to_unit
from sweeps.space.space import Space, parse_space

SPACE, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "momentum": "tag(one_minus_log, interval(0.5, 0.999))",
        "batch": "int(interval(1, 64))",
        "drop": "range(0, 0.6, 0.1)",
        "width": "choice(64, 16, 32)",
        "net": "mlp, convnet, linear",
    },
    [],
)
OPTIONS = {"max_t": 12, "perturbation_interval": 4, "hyperparam_mutations": ["lr"]}


def make(space: Space = SPACE, seed: int = 0, **options: Any) -> Scheduler:
    return make_scheduler("pbt", space=space, seed=seed, **{**OPTIONS, **options})


def values_of(trial: int, **values: Any) -> dict[str, Any]:
    given = {
        "lr": 0.01 * (trial + 1),
        "momentum": 0.9,
        "batch": 8,
        "drop": 0.2,
        "width": 32,
        "net": "mlp",
        **values,
    }
    return SPACE.optuna_params(given)


class Driver:
    """A scheduler with as many slots as it wants, and the trials' newest checkpoints."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.params: dict[int, Mapping[str, Any]] = {}
        self.steps: Counter[int] = Counter()

    def start(self, *trials: int, **values: Any) -> None:
        for trial in trials:
            self.params[trial] = values_of(trial, **values)
            self.scheduler.on_start(trial, self.params[trial])

    def report(self, trial: int, step: int, loss: float, *, resumable: bool = True) -> Decision:
        seen = Observation(trial=trial, step=step, loss=loss, resumable=resumable)
        (decision,) = self.scheduler.on_reports([seen])
        self.steps[trial] = step
        if decision in (Decision.STOP, Decision.COMPLETE):
            self.scheduler.on_end(trial)
        return decision

    def next(self) -> Next:
        """What comes next; it begins."""
        step = self.scheduler.next(can_start=False, running=0)
        if isinstance(step, Promote) and step.exploit is None:
            self.scheduler.on_start(step.trial, self.params[step.trial])
        elif isinstance(step, Promote) and step.exploit is not None:
            source, self.params[step.trial] = step.exploit.source, step.exploit.params
            self.steps[step.trial] = self.steps[source]
            self.scheduler.on_exploit(
                step.trial, step.exploit.params, source=source, step=self.steps[source]
            )
        return step

    def began(self) -> list[tuple[int, int | None]]:
        """(trial, whom it copies) of all that can go on now."""
        steps = iter(self.next, None)
        promoted = itertools.takewhile(lambda step: isinstance(step, Promote), steps)
        return [(p.trial, p.exploit.source if p.exploit else None) for p in promoted]


def four_at(step: int, losses: Iterable[float], **options: Any) -> Driver:
    driver = Driver(make(**options))
    driver.start(*range(4))
    for trial, loss in enumerate(losses):
        assert driver.report(trial, step, loss) is Decision.PAUSE
    return driver


# Who goes on, and as whom


def test_the_worst_goes_on_as_a_copy_of_the_best_and_the_others_as_themselves() -> None:
    driver = four_at(4, [0.3, 0.1, 0.9, 0.5])
    assert driver.began() == [(0, None), (1, None), (2, 1), (3, None)]
    assert isinstance(driver.next(), Done)


def test_all_members_begin_before_any_goes_on() -> None:
    driver = Driver(make())
    driver.start(0)
    driver.report(0, 4, 0.5)
    assert isinstance(driver.scheduler.next(can_start=True, running=0), Start)
    assert isinstance(driver.scheduler.next(can_start=False, running=0), Promote)


def test_a_trial_pauses_at_each_interval_and_is_complete_at_max_t() -> None:
    driver = Driver(make())
    driver.start(0, 1)
    assert driver.scheduler.rungs() == [4, 8, 12]
    for step in (1, 2, 3):
        assert driver.report(0, step, 0.5) is Decision.CONTINUE
    for step in (4, 9):  # a report may come late
        assert driver.report(0, step, 0.5) is Decision.PAUSE
        assert driver.began() == [(0, None)]
    assert driver.report(0, 11, 0.4) is Decision.CONTINUE
    assert driver.report(0, 12, 0.4) is Decision.COMPLETE


def test_the_paused_trial_at_the_lowest_step_goes_on_first() -> None:
    driver = Driver(make())
    driver.start(*range(8))
    for trial, step in [(0, 9), (1, 4), (2, 8), (3, 4)]:
        driver.report(trial, step, 0.5)
    assert [trial for trial, _ in driver.began()] == [1, 3, 2, 0]


def test_who_is_ahead_because_it_had_a_slot_earlier_is_not_better_for_that() -> None:
    driver = four_at(4, [0.3, 0.4, 0.5, 0.9])
    assert driver.next().trial == 0
    driver.report(0, 8, 0.1)
    assert driver.next().trial == 1
    driver.report(1, 8, 0.2)
    assert driver.next().trial == 2  # at step 4 it was better than the last
    assert driver.began()[0] == (3, 0)


def test_a_straggler_does_not_keep_the_others_from_being_compared() -> None:
    driver = four_at(4, [0.3, 0.1, 0.5, 0.4])
    assert driver.next().trial == 0  # and it hangs
    assert driver.began() == [(1, None), (2, 1), (3, None)]
    driver.report(1, 8, 0.2)
    driver.report(2, 8, 0.2)
    driver.report(3, 8, 0.9)
    assert (3, 1) in driver.began() or (3, 2) in driver.began()


def test_a_copy_trains_a_whole_interval_from_where_it_began() -> None:
    driver = Driver(make(max_t=40))
    driver.start(0, 1)
    driver.report(0, 4, 0.9)
    driver.report(1, 6, 0.1)
    assert driver.began()[0] == (0, 1)
    assert driver.report(0, 8, 0.1) is Decision.CONTINUE
    assert driver.report(0, 12, 0.1) is Decision.PAUSE


def test_a_step_below_its_own_counts_after_a_copy_and_again_after_a_crash_does_not() -> None:
    driver = Driver(make())
    driver.start(0, 1)
    driver.report(1, 4, 0.1)
    driver.report(0, 9, 0.9)
    assert driver.began() == [(1, None), (0, 1)]  # back to step 4
    driver.report(0, 5, 0.2)
    driver.scheduler.on_start(0, driver.params[0])  # its worker died
    assert driver.report(0, 5, 0.2) is Decision.CONTINUE
    assert driver.report(0, 8, 0.2) is Decision.PAUSE
    assert driver.began() == [(0, None)]


def test_a_diverged_trial_goes_on_as_a_copy_of_a_good_one() -> None:
    driver = Driver(make())
    driver.start(*range(8))
    assert driver.report(0, 2, math.inf, resumable=False) is Decision.PAUSE
    assert isinstance(driver.scheduler.next(can_start=False, running=7), Wait)  # nobody to copy
    driver.report(1, 4, math.inf)
    driver.report(2, 4, 0.5)
    assert driver.began() == [(0, 2), (1, 2), (2, None)]


def test_an_ended_trial_is_no_longer_copied_or_counted() -> None:
    driver = four_at(4, [0.3, 0.1, 0.9, 0.5])
    driver.scheduler.on_end(1)
    assert driver.began() == [(0, None), (2, 0), (3, None)]


def test_without_checkpoints_the_worst_are_stopped_and_nobody_is_copied() -> None:
    driver = Driver(make())
    driver.start(*range(4))
    for trial, loss in enumerate([0.3, 0.1, 0.5]):
        assert driver.report(trial, 4, loss, resumable=False) is Decision.CONTINUE
    assert driver.report(3, 4, 0.9, resumable=False) is Decision.STOP
    assert isinstance(driver.next(), Done)


def test_with_a_quantile_of_nothing_the_trials_train_apart() -> None:
    driver = four_at(4, [0.3, 0.1, 0.9, 0.5], quantile_fraction=0.0)
    assert driver.began() == [(trial, None) for trial in range(4)]


# What is changed


def exploits(count: int, source: Mapping[str, Any], **options: Any) -> list[Mapping[str, Any]]:
    """The parameters of so many copies of a trial with these values."""
    copies = []
    for seed in range(count):
        driver = Driver(make(seed=seed, **options))
        driver.start(0)
        driver.start(1, **source)
        driver.report(0, 4, 0.9)
        driver.report(1, 4, 0.1)
        step = driver.next()
        assert isinstance(step, Promote)
        assert isinstance(step.exploit, Exploit)
        copies.append(SPACE.values(step.exploit.params))
    return copies


def test_numbers_are_multiplied_and_what_may_not_change_is_the_sources() -> None:
    source = {"lr": 0.05, "momentum": 0.9, "net": "convnet", "batch": 30}
    names = ["lr", "momentum", "batch"]
    copies = exploits(80, source, hyperparam_mutations=names, resample_probability=0)
    assert {copy["net"] for copy in copies} == {"convnet"}
    assert {copy["drop"] for copy in copies} == {0.2}
    assert {round(copy["lr"], 9) for copy in copies} == {0.04, 0.06}
    assert {round(copy["momentum"], 9) for copy in copies} == {0.88, 0.92}
    assert {copy["batch"] for copy in copies} == {24, 36}
    assert len({tuple(copy[name] for name in names) for copy in copies}) == 8


def test_numbers_stay_in_bounds_and_on_their_grid_and_move_by_one_value_at_least() -> None:
    source = {"lr": 0.9, "batch": 2, "drop": 0.1}
    names = ["lr", "batch", "drop"]
    copies = exploits(40, source, hyperparam_mutations=names, resample_probability=0)
    assert {round(copy["lr"], 9) for copy in copies} == {0.72, 1.0}
    assert {copy["batch"] for copy in copies} == {1, 3}
    assert {copy["drop"] for copy in copies} == {0.0, 0.2}
    at_the_end = exploits(40, {"batch": 1, "drop": 0.0}, hyperparam_mutations=names)
    assert all(1 <= copy["batch"] <= 64 for copy in at_the_end)


def test_a_choice_of_numbers_goes_to_a_neighbour_and_any_other_is_drawn() -> None:
    options = {"hyperparam_mutations": ["width", "net"], "resample_probability": 0}
    copies = exploits(60, {"width": 16}, **options)
    assert {copy["width"] for copy in copies} == {16, 32}  # 16, 32, 64 in order; no jump
    assert {copy["net"] for copy in copies} == {"mlp", "convnet", "linear"}


def test_resampled_parameters_are_uniform_on_their_own_scale() -> None:
    copies = exploits(200, {}, resample_probability=1)
    distribution = SPACE.distributions()["lr"]
    units = np.sort([to_unit(distribution, copy["lr"]) for copy in copies])
    assert np.abs(units - (np.arange(200) + 0.5) / 200).max() < 0.1  # Kolmogorov-Smirnov


def conditional() -> Space:
    params = {"net": "mlp, convnet", "channels": "int(interval(1, 8))", "lr": "interval(0, 1)"}
    space, _ = parse_space(
        params,
        [],
        when={"channels": {"net": "convnet"}},
        constraints=["lr * channels <= 2"],
    )
    return space


def copy_of(space: Space, seed: int, source: Mapping[str, Any]) -> dict[str, Any]:
    scheduler = make_scheduler(
        "pbt", space=space, seed=seed, **{**OPTIONS, "hyperparam_mutations": ["net", "lr"]}
    )
    for trial, loss in [(0, 0.9), (1, 0.1)]:
        scheduler.on_start(trial, space.optuna_params(source))
        scheduler.on_reports([Observation(trial=trial, step=4, loss=loss, resumable=True)])
    step = scheduler.next(can_start=False, running=0)
    assert isinstance(step, Promote)
    assert isinstance(step.exploit, Exploit)
    return space.values(step.exploit.params)


def test_a_copy_has_the_parameters_that_exist_where_another_was_changed() -> None:
    space = conditional()
    copies = [copy_of(space, seed, {"net": "mlp", "lr": 0.1}) for seed in range(30)]
    assert {copy["net"] for copy in copies} == {"mlp", "convnet"}
    assert all(("channels" in copy) == (copy["net"] == "convnet") for copy in copies)
    assert len({copy["channels"] for copy in copies if "channels" in copy}) > 3


def test_a_copy_meets_the_spaces_constraints() -> None:
    space = conditional()
    source = {"net": "convnet", "channels": 8, "lr": 0.24}
    copies = [copy_of(space, seed, source) for seed in range(30)]
    assert not any(space.violated(copy) for copy in copies)
    assert any(copy["lr"] != 0.24 for copy in copies)


# Whole sweeps, simulated


TOY, _ = parse_space({"h": "choice(0, 1)"}, [])


def toy_step(
    state: tuple[float, float], values: Mapping[str, Any], trial: int, number: int
) -> tuple[tuple[float, float], Mapping[str, float], float]:
    """Figure 2 of the paper: each of the two values of h trains one of two weights."""
    x, y = state
    h = values["h"]
    x, y = x - 0.04 * h * x, y - 0.04 * (1 - h) * y
    return (x, y), {"q": 1.2 - (x * x + y * y)}, 1.0


def toy(trial: int) -> tuple[float, float]:
    return 0.9, 0.9


TOY_TRAINING = Training(begin=toy, step=toy_step)
PBT = {"name": "pbt", "max_t": 200, "perturbation_interval": 10, "hyperparam_mutations": ["h"]}
MAX = Objective(metric="q", mode="max")


def toy_setup(**fields: Any) -> Setup:
    given = {"searcher": {"name": "random"}, "scheduler": PBT, "num_samples": 4, **fields}
    return Setup(space=TOY, objective=MAX, **given)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_the_papers_optimum_which_no_fixed_parameter_reaches(
    workers: int, seed: int
) -> None:
    def alone(values: Mapping[str, Any], trial: int) -> Iterator[Outcome]:
        return itertools.islice(TOY_TRAINING.along([(0, trial, values)]), 200)

    fixed = simulate(alone, toy_setup(scheduler={"name": "none"}, seed=seed))
    assert fixed.trials.best.value == pytest.approx(0.39, abs=1e-3)
    result = simulate(TOY_TRAINING, toy_setup(workers=workers, seed=seed))
    assert result.trials.best.value > 1.19
    assert [trial.status for trial in result.trials] == [Status.COMPLETE] * 4
    assert result.trials.steps <= 4 * 200 + 4 * 10


def test_a_population_larger_than_the_slots_advances_evenly() -> None:
    result = simulate(TOY_TRAINING, toy_setup(num_samples=6, workers=2))
    steps = dict.fromkeys(range(6), 0)
    for event in result.events:
        if isinstance(event, Started):
            steps[event.trial] = event.step or steps[event.trial]
        elif hasattr(event, "step"):
            steps[event.trial] = event.step
            running = sorted(steps.values())
            assert running[-1] - running[0] <= 3 * 10
    assert set(steps.values()) == {200}


def test_the_schedule_of_the_best_model_trains_it_again() -> None:
    result = simulate(TOY_TRAINING, toy_setup(workers=2, seed=1))
    best = result.trials.best
    schedule = result.trials.schedule(best)
    assert len(schedule) > 3
    assert [step for step, _ in schedule] == sorted({step for step, _ in schedule})
    along = TOY_TRAINING.along([(step, 0, values) for step, values in schedule])
    metrics, _ = next(itertools.islice(along, best.best.step - 1, None))
    assert metrics["q"] == best.value
    assert schedule[-1][1] == result.trials.values(best, best.best_params)


def noisy_step(
    state: float, values: Mapping[str, Any], trial: int, number: int
) -> tuple[float, Mapping[str, float], float]:
    rng = random.Random(1000 * trial + number)
    state += values["lr"] * (1 - state) - 0.3 * values["lr"] ** 2
    diverged = values["lr"] > 0.9 and rng.random() < 0.2
    seconds = rng.choice([1.0, 1.0, 2.5])
    return state, {"q": math.nan if diverged else state + 0.01 * rng.random()}, seconds


NOISY = Training(begin=lambda trial: 0.1 * trial, step=noisy_step)


def noisy_setup(seed: int, workers: int, **fields: Any) -> Setup:
    scheduler = {
        "name": "pbt",
        "max_t": 15,
        "perturbation_interval": 3,
        "hyperparam_mutations": ["lr", "batch"],
    }
    given = {"scheduler": scheduler, "num_samples": 6, "searcher": {"name": "random"}, **fields}
    return Setup(space=SPACE, objective=MAX, seed=seed, workers=workers, **given)


def decisions(events: Iterable[Event]) -> list[Event]:
    """What was decided and when, without the words of drivers that come and go."""
    return [
        event if isinstance(event, Ended | Created) else replace(event, run=0)
        for event in events
        if not isinstance(event, Opened | Closed)
        and not (isinstance(event, Started) and event.reason == "resume")
    ]


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 2), (2, 4)])
def test_a_sweep_cut_after_any_event_goes_on_as_if_it_had_not_been(
    tmp_path: Path, seed: int, workers: int
) -> None:
    path, cut = tmp_path / "journal.log", tmp_path / "cut.log"
    unbroken = simulate(NOISY, noisy_setup(seed, workers), log=Journal(path))
    copies = [e for e in unbroken.events if isinstance(e, Started) and e.reason == "exploit"]
    assert len(copies) > 3
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(0, len(lines), 5):
        cut.write_bytes(b"".join(lines[:kept]))
        resumed = simulate(NOISY, noisy_setup(seed, workers), history=read_journal(cut))
        assert repr(decisions(resumed.events)) == repr(decisions(unbroken.events)), kept


def test_a_sampler_sees_of_a_copied_member_what_it_was_asked_for_and_reported_before() -> None:
    result = simulate(NOISY, noisy_setup(0, 2))
    view = View(MAX)
    own: dict[int, dict[int, float]] = {}
    copied: set[int] = set()
    for event in result.events:
        view.apply(event)
        if isinstance(event, Started) and event.reason == "exploit":
            copied.add(event.trial)
        elif isinstance(event, Reported) and event.trial not in copied:
            assert event.value is not None
            own.setdefault(event.trial, {})[event.step] = event.value
    assert len(copied) > 1
    for ask, shown in zip(result.asks, view.study.trials, strict=True):
        assert shown.params == ask.params
        diverged = not all(map(math.isfinite, own[ask.trial].values()))
        assert repr(shown.intermediate_values) == repr(
            {0: math.nan} if diverged else own[ask.trial]
        )
        assert (shown.state is TrialState.PRUNED) == (ask.trial in copied)


def test_a_diverged_member_is_replaced_so_that_the_population_does_not_shrink() -> None:
    result = simulate(NOISY, noisy_setup(0, 2))
    values = [event.value for event in result.events if isinstance(event, Reported)]
    assert any(map(math.isnan, values))
    assert [trial.status for trial in result.trials] == [Status.COMPLETE] * 6


def test_the_programs_own_random_numbers_change_nothing_where_they_change_rays() -> None:
    first = simulate(NOISY, noisy_setup(0, 2))
    np.random.seed(1)
    random.seed(1)
    state = random.getstate()
    again = simulate(NOISY, noisy_setup(0, 2))
    assert repr(first.events) == repr(again.events)
    assert random.getstate() == state

    from ray.tune.schedulers.pbt import _explore

    def rays(seed: int) -> list[float]:
        random.seed(seed)
        return [_explore({"lr": 0.1}, {"lr": [0.01, 0.1, 1]}, 0.25, (1.2, 0.8), None)[0]["lr"]]

    assert len({tuple(rays(seed)) for seed in range(20)}) > 1


def test_a_sweep_is_extended_by_a_larger_max_t() -> None:
    short = simulate(NOISY, noisy_setup(0, 2))
    scheduler = {**noisy_setup(0, 2).scheduler, "max_t": 31}
    extended = simulate(NOISY, noisy_setup(0, 2, scheduler=scheduler), history=short.events)
    assert [trial.step for trial in short.trials] == [15] * 6
    assert [trial.step for trial in extended.trials] == [31] * 6


def test_a_sweep_is_extended_by_more_members() -> None:
    short = simulate(NOISY, noisy_setup(0, 2))
    extended = simulate(NOISY, noisy_setup(0, 2, num_samples=8), history=short.events)
    assert [trial.status for trial in extended.trials] == [Status.COMPLETE] * 8


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perturbation_interval": 0}, "perturbation_interval is 0; it must be 1 or more"),
        ({"max_t": 4}, "max_t is 4; it must be more than perturbation_interval, 4"),
        ({"quantile_fraction": 0.6}, r"quantile_fraction is 0.6; it must be between 0 and 0.5"),
        ({"resample_probability": 2}, "resample_probability is 2; it must be between 0 and 1"),
        ({"perturbation_factors": [1.2, 0]}, r"perturbation_factors is \[1.2, 0\]; it must hold"),
        (
            {"hyperparam_mutations": []},
            "hyperparam_mutations is not set; list the parameters .* of lr, momentum, batch, drop",
        ),
        (
            {"hyperparam_mutations": ["momentun"]},
            r"has 'momentun', which is not swept; choose from lr, .*; did you mean momentum\?",
        ),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule_or_the_choices(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
