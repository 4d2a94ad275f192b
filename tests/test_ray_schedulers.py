"""Where Ray's own schedulers forget, draw from the global generator or let NaN live; ours do not.

Ray's are driven without a cluster: what they ask of a trial and of the controller is little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.execution.tune_controller import TuneController
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, MedianStoppingRule

from sweeps.journal.objective import Objective
from sweeps.schedulers import AshaStop, Hyperband, Median, Observation, Scheduler

TIME = {"time_attr": "training_iteration", "metric": "loss", "mode": "min"}
CONTROLLER = SimpleNamespace(get_live_trials=list)
Report = tuple[int, int, float]
"""Trial, step and loss."""
NAN = math.nan


def ask_ray(scheduler: Any, reports: Iterable[Report]) -> list[str]:
    """Ray's decisions, with one trial object a number."""
    trials: dict[int, Any] = {}
    decisions = []
    for number, step, loss in reports:
        if number not in trials:
            trials[number] = FakeTrial(number)
            scheduler.on_trial_add(CONTROLLER, trials[number])
        result = {"training_iteration": step, "loss": loss}
        decisions.append(scheduler.on_trial_result(CONTROLLER, trials[number], result).lower())
    return decisions


def ask_ours(scheduler: Scheduler, reports: Iterable[Report]) -> list[str]:
    decisions = []
    for number, step, loss in reports:
        scheduler.on_start(number, {})
        loss = Objective().loss(loss)
        seen = Observation(trial=number, step=step, loss=loss, resumable=True)
        decisions += scheduler.on_reports([seen])
    return list(map(str, decisions))


class FakeTrial:
    def __init__(self, number: int) -> None:
        self.trial_id = str(number)
        self.status = "RUNNING"


def ray_asha(**options: Any) -> AsyncHyperBandScheduler:
    return AsyncHyperBandScheduler(**TIME, max_t=27, grace_period=1, **options)


def test_a_nan_lives_on_under_rays_asha_and_ends_here() -> None:
    reports = [(0, 1, 0.5), (1, 1, 0.4), (2, 1, NAN)]
    assert ask_ray(ray_asha(), reports) == ["continue", "continue", "continue"]
    assert ask_ours(AshaStop(max_t=27), reports) == ["continue", "continue", "stop"]


def test_a_nan_after_a_good_report_lives_on_under_rays_median_and_ends_here() -> None:
    reports = [(n, s, 0.5 + n / 10) for n in range(3) for s in (1, 2)] + [(3, 1, 0.4), (3, 2, NAN)]
    ray = MedianStoppingRule(**TIME, grace_period=1, min_samples_required=3)
    assert ask_ray(ray, reports)[-2:] == ["continue", "continue"]
    assert ask_ours(Median(min_samples_required=3), reports)[-2:] == ["continue", "stop"]


def test_a_nan_can_be_promoted_by_rays_hyperband_and_ranks_last_here() -> None:
    losses = [0.3, 0.2, 0.1, NAN, 0.5, 0.6, 0.7, 0.8, 0.9]
    ray = HyperBandScheduler(**TIME, max_t=9)
    bracket = ray._create_bracket(2)
    for number, loss in enumerate(losses):
        trial = FakeTrial(number)
        bracket.add_trial(trial)
        bracket.update_trial_stats(trial, {"training_iteration": 1, "loss": loss})
    good, _ = bracket.successive_halving("loss", -1.0)
    assert sorted(int(t.trial_id) for t in good) != [0, 1, 2]

    ours = Hyperband(max_t=9)
    ask_ours(ours, [(number, 1, loss) for number, loss in enumerate(losses)])
    ours.on_end(3)
    promoted = []
    for _ in range(3):
        promoted.append(ours.next(can_start=False, running=0).trial)  # type: ignore[union-attr]
        ours.on_start(promoted[-1], {})
    assert promoted == [2, 1, 0]


def test_rays_brackets_follow_the_global_generator_and_ours_the_seed_and_trial() -> None:
    def after(seed: int, brackets: Callable[[], list[Any]]) -> list[Any]:
        np.random.seed(seed)
        return brackets()

    def rays() -> list[int]:
        scheduler = ray_asha(brackets=3)
        ask_ray(scheduler, [(n, 0, 0.0) for n in range(30)])
        return [scheduler._brackets.index(b) for b in scheduler._trial_info.values()]

    def ours() -> list[int]:
        scheduler = AshaStop(max_t=27, brackets=3, seed=0)
        ask_ours(scheduler, [(n, 0, 0.0) for n in range(30)])
        return [scheduler.milestone(n) for n in range(30)]

    assert after(0, rays) != after(1, rays)
    assert after(0, ours) == after(1, ours)
    assert len(set(ours())) == 3


def test_rays_experiment_state_leaves_the_scheduler_out_and_a_replay_of_ours_is_whole() -> None:
    before, after = [(0, 1, 0.1), (1, 1, 0.2)], [(2, 1, 0.9)]
    assert ask_ray(ray_asha(), [*before, *after])[-1] == "stop"
    state = experiment_state(_scheduler_alg=ray_asha())
    assert not any(isinstance(value, AsyncHyperBandScheduler) for value in state.values())
    restored = ray_asha()  # what a restored experiment begins with
    assert ask_ray(restored, after) == ["continue"]

    resumed = AshaStop(max_t=27)
    ask_ours(resumed, before)  # as the journal is replayed
    assert ask_ours(resumed, after) == ["stop"]


def experiment_state(**attributes: Any) -> dict[str, Any]:
    """What Ray's controller saves of itself."""
    while True:
        try:
            state = TuneController.__getstate__(SimpleNamespace(**attributes))  # type: ignore[arg-type]
        except KeyError as missing:
            attributes[missing.args[0]] = None
        else:
            assert isinstance(state, dict)
            return state


def test_a_trial_that_jumped_a_rung_is_judged_there_later_by_rays_and_once_here() -> None:
    reports = [(0, 1, 0.1), (1, 4, 0.05), (1, 5, 0.9)]  # at step 5 it is between rungs 3 and 9
    assert ask_ray(ray_asha(reduction_factor=3), reports)[-1] == "stop"
    assert ask_ours(AshaStop(max_t=27), reports)[-1] == "continue"
