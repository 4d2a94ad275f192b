from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from sweeps.journal.events import Asked, Created, Ended, Notes, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.searchers import View, make_searcher, seed_of
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)", "n": "int(interval(1, 9))", "net": "a, b, c"}, [])
PARAMS = {"x": 0.5, "n": 3, "net": "b"}


def asked(trial: int) -> Asked:
    return Asked(
        trial=trial, run=1, params=PARAMS, distributions=SPACE.distributions(), time=float(trial)
    )


def reported(
    trial: int, step: int, value: float | None, decision: Decision = Decision.CONTINUE
) -> Reported:
    return Reported(
        trial=trial,
        run=1,
        step=step,
        metrics={},
        value=value,
        checkpoint="x",
        decision=decision,
        time=9.0,
    )


def ended(trial: int, status: Status, value: float | None = None) -> Ended:
    return Ended(
        trial=trial, status=status, value=value, metrics={}, error=None, cause=None, time=10.0
    )


def view_of(*events: Any, mode: Any = "min") -> View:
    view = View(Objective(mode=mode))
    for event in (Created(name="s", modes=(mode,), space=SPACE.to_json(), time=0.0), *events):
        view.apply(event)
    return view


def shown(view: View) -> list[tuple[TrialState, dict[int, float]]]:
    return [(t.state, t.intermediate_values) for t in view.study.trials]


def test_a_paused_trial_is_pruned_with_its_reports_and_runs_again_once_promoted() -> None:
    view = view_of(asked(0), reported(0, 1, 0.7), reported(0, 3, 0.5, Decision.PAUSE))
    assert shown(view) == [(TrialState.PRUNED, {1: 0.7, 3: 0.5})]
    view.apply(Started(trial=0, run=1, reason="promote", checkpoint="x", time=9.0))
    assert shown(view) == [(TrialState.RUNNING, {1: 0.7, 3: 0.5})]
    view.apply(reported(0, 9, 0.4, Decision.COMPLETE))
    view.apply(ended(0, Status.COMPLETE, 0.4))
    assert shown(view) == [(TrialState.COMPLETE, {1: 0.7, 3: 0.5, 9: 0.4})]
    assert view.study.best_value == 0.4


def test_a_stopped_trial_is_pruned_and_never_complete_at_a_low_fidelity() -> None:
    view = view_of(asked(0), reported(0, 1, 0.7, Decision.STOP), ended(0, Status.STOPPED, 0.7))
    assert shown(view) == [(TrialState.PRUNED, {1: 0.7})]
    assert view.study.trials[0].values is None


def test_a_crash_is_a_failure_and_a_report_without_the_metric_is_not_shown() -> None:
    view = view_of(asked(0), reported(0, 1, None), ended(0, Status.FAILED))
    assert shown(view) == [(TrialState.FAIL, {})]


def test_a_diverged_trial_shows_a_nan_that_samplers_rank_below_all_that_is_pruned() -> None:
    view = view_of(
        *(asked(0), reported(0, 1, 0.9), reported(0, 20, math.nan, Decision.STOP)),
        ended(0, Status.DIVERGED),
        *(asked(1), reported(1, 1, 99.0, Decision.PAUSE)),
    )
    (first, reports), _ = shown(view)
    assert first is TrialState.PRUNED
    assert str(reports) == "{0: nan}"
    best_first = optuna.samplers._tpe.sampler._split_pruned_trials(view.study.trials, view.study, 1)
    assert [t.number for t in best_first[0]] == [1]


def exploit(trial: int) -> Started:
    params = {**PARAMS, "x": 0.9}
    source = {"source": 1, "step": 6, "params": params, "checkpoint": "y"}
    return Started(trial=trial, run=1, reason="exploit", time=9.0, **source)


def test_a_trial_that_goes_on_from_anothers_checkpoint_stays_what_was_asked_with_its_reports() -> (
    None
):
    view = view_of(asked(0), reported(0, 3, 0.5), reported(0, 5, 0.6, Decision.PAUSE), exploit(0))
    before = view.study.trials[0]
    assert (before.state, before.params) == (TrialState.PRUNED, PARAMS)
    assert before.intermediate_values == {3: 0.5, 5: 0.6}
    view.apply(reported(0, 7, 0.1, Decision.PAUSE))
    view.apply(Started(trial=0, run=1, reason="promote", checkpoint="y", time=9.0))
    view.apply(reported(0, 9, 0.1, Decision.COMPLETE))
    view.apply(ended(0, Status.COMPLETE, 0.1))
    assert view.study.trials[0] == before


def test_one_that_had_diverged_before_it_went_on_so_still_ranks_last() -> None:
    view = view_of(
        *(asked(0), reported(0, 3, 0.5), reported(0, 6, math.nan, Decision.PAUSE), exploit(0)),
        *(asked(1), reported(1, 1, 99.0, Decision.PAUSE)),
    )
    (first, reports), _ = shown(view)
    assert (first, str(reports)) == (TrialState.PRUNED, "{0: nan}")
    assert view.diverged == {0}
    best_first = optuna.samplers._tpe.sampler._split_pruned_trials(view.study.trials, view.study, 1)
    assert [t.number for t in best_first[0]] == [1]


def test_what_a_sampler_was_given_does_not_change_under_it() -> None:
    view = view_of(asked(0))
    before = view.get_all_trials(0, deepcopy=False)
    view.apply(reported(0, 1, 0.5, Decision.PAUSE))
    assert before[0].state is TrialState.RUNNING
    assert before[0].intermediate_values == {}


def test_what_was_asked_can_be_taken_back_until_it_is_in_the_journal() -> None:
    view = view_of(asked(0))
    view.study.ask()
    view.note("kept", 1)
    view.set_study_system_attr(0, "generation", 2)
    view.retract()
    assert len(view.study.trials) == 1
    notes = view.take_notes()  # what was noted on the study stands
    assert notes is not None
    assert (notes.trial, notes.study) == ({}, {"generation": 2})
    view.retract()
    assert len(view.study.trials) == 1


def test_notes_come_back_with_the_trial_that_was_asked() -> None:
    notes = Notes(trial={"generation": 3}, study={"parents": [1, 2]})
    view = view_of(replace(asked(0), notes=notes))
    assert view.get_trial(0).system_attrs == {"generation": 3}
    assert view.get_study_system_attrs(0) == {"parents": [1, 2]}
    assert view.take_notes() is None


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_study_has_the_objectives_direction(mode: Any) -> None:
    assert view_of(mode=mode).study.direction.name == f"{mode.upper()}IMIZE"


def test_optuna_may_not_tell_a_view() -> None:
    view = view_of(asked(0))
    with pytest.raises(RuntimeError, match="told by an event"):
        view.study.tell(0, 0.5)


# Samplers over the view


def loss(values: Mapping[str, Any]) -> float:
    return (values["x"] - 0.3) ** 2 + 0.1 * (values["net"] != "c") + 0.01 * values["n"]


def raw_optuna(sampler: type[BaseSampler], seed: int, asks: int, **options: Any) -> list[Any]:
    """What Optuna itself proposes with its sampler made anew for each ask."""
    study = optuna.create_study()
    params = []
    for number in range(asks):
        study.sampler = sampler(seed=seed_of(seed, number), **options)
        trial = study.ask(SPACE.distributions())
        params.append(trial.params)
        study.tell(trial, loss(SPACE.values(trial.params)))
    return params


def sweep(searcher: dict[str, Any], seed: int, asks: int, **fields: Any) -> Simulated:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 28):
            yield {"objective": loss(values) + 1 / step}, 1.0 + values["x"]

    return simulate(
        fields.pop("curve", curve),
        Setup(space=SPACE, num_samples=asks, searcher=searcher, seed=seed, **fields),
    )


def one_step(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    yield {"objective": loss(values)}, 1.0


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("name", "sampler", "options"),
    [
        ("random", RandomSampler, {}),
        ("tpe", TPESampler, {"multivariate": True, "constant_liar": True}),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_searcher_proposes_what_raw_optuna_would(
    name: str, sampler: type[BaseSampler], options: dict[str, bool], seed: int
) -> None:
    asks = sweep({"name": name}, seed, 25, curve=one_step).asks
    assert [dict(ask.params) for ask in asks] == raw_optuna(sampler, seed, 25, **options)


def test_what_is_asked_is_made_of_plain_numbers() -> None:
    for ask in sweep({"name": "tpe"}, 0, 20, curve=one_step).asks:
        assert [type(value) for value in ask.params.values()] == [float, int, str]


@pytest.mark.parametrize(("workers", "seed"), [(1, 0), (8, 0), (8, 1)])
def test_tpe_is_not_blind_to_paused_trials(
    workers: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_random, sample = set(), RandomSampler.sample_independent

    def note(self: RandomSampler, study: Any, trial: Any, *args: Any) -> Any:
        at_random.add(trial.number)
        return sample(self, study, trial, *args)

    monkeypatch.setattr(RandomSampler, "sample_independent", note)
    scheduler = {"name": "asha", "max_t": 27}
    result = sweep({"name": "tpe"}, seed, 64, workers=workers, scheduler=scheduler)
    assert len(result.asks) == 64
    assert 10 <= len(at_random) <= 20


def test_under_promotion_tpe_beats_random_in_the_second_half() -> None:
    regrets = {
        name: [
            sum(loss(SPACE.values(ask.params)) - 0.01 for ask in result.asks[32:]) / 32
            for seed in range(6)
            for result in [sweep({"name": name}, seed, 64, workers=4, scheduler=scheduler)]
        ]
        for scheduler in [{"name": "asha", "max_t": 27}]
        for name in ("tpe", "random")
    }
    assert max(regrets["tpe"]) < 0.6 * min(regrets["random"])


def test_tpe_keeps_away_from_where_trials_diverge() -> None:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 28):
            diverged = values["x"] > 0.4 and step > 1
            yield {"objective": math.nan if diverged else loss(values)}, 1.0

    scheduler = {"name": "asha", "max_t": 27, "grace_period": 3}
    result = sweep({"name": "tpe"}, 0, 60, curve=curve, scheduler=scheduler)
    late = [trial for trial in result.trials if trial.number >= 30]
    assert sum(trial.status is Status.DIVERGED for trial in late) <= 10


def test_a_seed_is_its_own_for_every_number() -> None:
    seeds = {seed_of(seed, number) for seed in range(50) for number in range(50)}
    assert len(seeds) == 2500


def test_an_unknown_searcher_or_option_is_answered_with_the_choices() -> None:
    view = view_of()
    with pytest.raises(ValueError, match=r"choose from .*grid, .*tpe; did you mean tpe"):
        make_searcher("tp", space=SPACE, view=view, seed=0)
    with pytest.raises(ValueError, match="n_startup is not an option of tpe; it takes n_startup_t"):
        make_searcher("tpe", space=SPACE, view=view, seed=0, n_startup=3)
