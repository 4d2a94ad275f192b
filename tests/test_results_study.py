import math
from datetime import datetime

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from sweeps.journal.events import Asked, Created, Opened, Started
from sweeps.journal.status import Decision, Status
from sweeps.results import load_sweep
from sweeps.results.study import as_study
from sweeps.space.space import parse_space

SPACE = {"lr": "tag(log, interval(0.001, 1))", "model": "mlp,convnet"}


@pytest.fixture
def sweep(make_sweep):
    """Six trials: complete, paused, failed, diverged, running, stopped."""
    made = make_sweep(SPACE)
    for number in range(6):
        made.ask(number, lr=0.1 / (number + 1), model="mlp")
    made.report(0, 1, 0.8)
    made.report(0, 2, 0.9)
    made.end(0, Status.COMPLETE, 0.9)
    made.report(1, 1, 0.7, Decision.PAUSE)
    made.end(2, Status.FAILED, error="boom")
    made.report(3, 1, 0.5)
    made.report(3, 2, math.nan)
    made.end(3, Status.DIVERGED)
    made.report(4, 1, 0.6)
    made.report(5, 1, 0.2, Decision.STOP)
    made.end(5, Status.STOPPED, 0.2)
    return made


def test_each_trial_has_its_state_and_says_its_own_in_an_attribute(sweep):
    study = as_study(load_sweep(sweep.folder))
    complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
    states = [complete, pruned, TrialState.FAIL, pruned, TrialState.RUNNING, pruned]
    assert [trial.state for trial in study.trials] == states
    statuses = ["complete", "paused", "failed", "diverged", "running", "stopped"]
    assert [trial.user_attrs["status"] for trial in study.trials] == statuses
    assert study.best_trial.number == 0
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_values_reports_and_parameters_are_the_trials_own(sweep):
    trials = as_study(load_sweep(sweep.folder)).trials
    assert [trial.value for trial in trials] == [0.9, 0.7, None, None, 0.6, 0.2]
    assert trials[0].intermediate_values == {1: 0.8, 2: 0.9}
    assert trials[3].intermediate_values[1] == 0.5
    assert math.isnan(trials[3].intermediate_values[2])
    assert trials[1].params == {"lr": pytest.approx(0.05), "model": "mlp"}
    assert trials[0].distributions["lr"] == FloatDistribution(0.001, 1, log=True)
    assert trials[0].distributions["model"] == CategoricalDistribution(("mlp", "convnet"))


def test_times_are_those_of_the_journal(sweep):
    results = load_sweep(sweep.folder)
    trials = as_study(results).trials
    assert trials[0].datetime_start == datetime.fromtimestamp(results.trials[0].started)
    assert trials[0].datetime_complete == datetime.fromtimestamp(results.trials[0].ended)
    assert trials[1].datetime_complete == datetime.fromtimestamp(results.trials[1].last.time)
    assert trials[4].datetime_complete is None


def test_a_trial_that_ran_when_its_driver_ended_is_paused(sweep):
    sweep.close("interrupted")
    assert as_study(load_sweep(sweep.folder)).trials[4].state is TrialState.PRUNED


def test_making_a_study_says_nothing_and_leaves_optunas_voice_as_it_was(sweep, capfd):
    before = optuna.logging.get_verbosity()
    as_study(load_sweep(sweep.folder))
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before


def test_a_conditional_parameter_is_there_only_where_it_exists(make_sweep):
    made = make_sweep({"width": "int(interval(1, 8))", "model": "mlp,convnet"})
    space, _ = parse_space(
        {"width": "int(interval(1, 8))", "model": "mlp,convnet"},
        [],
        when={"width": {"model": "mlp"}},
    )
    made.space = space
    made.add(Created, name="s-1", modes=("max",), space=space.to_json(), study=1)
    for number, params in enumerate([{"model": "mlp", "width": 3}, {"model": "convnet"}]):
        distributions = {n: d for n, d in space.distributions().items() if n in params}
        made.add(Asked, trial=number, run=1, params=params, distributions=distributions, study=1)
    trials = as_study(load_sweep(made.folder)).trials
    assert [set(trial.params) for trial in trials] == [{"model", "width"}, {"model"}]


def test_one_minus_log_is_called_as_in_the_journal_and_log(make_sweep):
    made = make_sweep({"momentum": "tag(one_minus_log, interval(0.9, 0.999))"})
    made.ask(0, momentum=0.99)
    (trial,) = as_study(load_sweep(made.folder)).trials
    assert trial.params == {"1 - momentum": pytest.approx(0.01)}
    assert trial.distributions["1 - momentum"].log


@pytest.mark.parametrize(
    ("first", "second", "values", "united"),
    [
        ("interval(0, 1)", "interval(0.5, 3)", (0.2, 2.5), FloatDistribution(0, 3)),
        (
            "tag(log, interval(0.1, 1))",
            "tag(log, interval(0.01, 0.5))",
            (0.9, 0.02),
            FloatDistribution(0.01, 1, log=True),
        ),
        ("int(interval(1, 4))", "range(2, 10, 2)", (1, 8), IntDistribution(1, 8)),
        ("a,b", "b,c", ("a", "c"), CategoricalDistribution(("b", "c", "a"))),
        ("interval(0, 1)", "1,2", (0.5, 2), CategoricalDistribution((1, 2, 0.5))),
    ],
)
def test_a_changed_space_gives_one_distribution_that_holds_all(
    make_sweep, first, second, values, united
):
    made = make_sweep({"x": first})
    made.ask(0, x=values[0])
    space, _ = parse_space({"x": second}, [])
    made.add(Created, name="s-1", modes=("max",), space=space.to_json(), study=1)
    made.add(
        Asked,
        trial=1,
        run=1,
        params=space.optuna_params({"x": values[1]}),
        distributions=space.distributions(),
        study=1,
    )
    record = load_sweep(made.folder).record
    type(record)(**{**vars(record), "space": space.to_json()}).write(made.folder)
    trials = as_study(load_sweep(made.folder)).trials
    assert [trial.params["x"] for trial in trials] == list(values)
    assert {trial.distributions["x"] for trial in trials} == {united}


def test_an_exploiting_trial_shows_the_parameters_of_its_best_report(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.ask(1, lr=0.5)
    made.report(0, 1, 0.9, checkpoint="trials/0/1/checkpoints/000001")
    made.report(1, 1, 0.1, Decision.PAUSE)
    made.add(
        Started,
        trial=1,
        run=1,
        reason="exploit",
        checkpoint="trials/0/1/checkpoints/000001",
        source=0,
        params={"lr": 0.2},
        step=1,
    )
    made.report(1, 2, 0.95)
    trials = as_study(load_sweep(made.folder)).trials
    assert trials[1].params["lr"] == 0.2
    assert trials[1].value == 0.95


def test_a_sweep_without_trials_is_an_empty_study(make_sweep):
    assert as_study(load_sweep(make_sweep().folder)).trials == []


def test_optunas_own_functions_take_the_study(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)", "depth": "int(interval(1, 4))"})
    for number in range(8):
        made.ask(number, lr=number / 8, depth=1 + number % 4)
        made.report(number, 1, number / 8)
        made.end(number, Status.COMPLETE, number / 8)
    made.add(Opened, run=2)
    study = as_study(load_sweep(made.folder))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    assert set(optuna.importance.get_param_importances(study, evaluator=evaluator)) == {
        "lr",
        "depth",
    }
    assert len(study.trials_dataframe()) == 8
