"""A sweep that goes on with more: trials, steps, or another space; and one that starts warm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Created, Ended, Started
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.results import load_sweep
from sweeps.results.columns import parameter_array
from sweeps.searchers import View, make_searcher
from sweeps.searchers.initial import GivenPoints
from sweeps.simulate import Setup, simulate
from sweeps.space.space import Space, parse_space

WIDE, _ = parse_space({"lr": "tag(log, interval(1e-4, 1))", "net": "mlp, convnet"}, [])
NARROW, _ = parse_space({"lr": "tag(log, interval(1e-3, 1e-1))", "net": "mlp, convnet"}, [])
CHOICES, _ = parse_space({"lr": "tag(log, interval(1e-4, 1))", "net": "convnet, resnet"}, [])


def curve_to(steps: int):
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, steps + 1):
            yield {"loss": abs(math.log10(values["lr"]) + 2) + 1 / step}, 1.0

    return curve


def setup(space: Space = WIDE, **fields: Any) -> Setup:
    asha = {"name": "asha", "max_t": 9}
    given = {"num_samples": 18, "searcher": {"name": "tpe"}, "scheduler": asha, **fields}
    return Setup(space=space, objective=Objective(metric="loss"), workers=2, **given)


# A larger max_t


def test_with_a_larger_max_t_the_best_of_the_complete_trials_go_on_from_their_checkpoints() -> None:
    short = simulate(curve_to(9), setup())
    done = {trial.number for trial in short.trials.with_status(Status.COMPLETE)}
    assert done
    asha = {"name": "asha", "max_t": 27}
    longer = simulate(curve_to(27), setup(scheduler=asha, num_samples=30), history=short.events)
    new = longer.events[len(short.events) :]
    reopened = [e for e in new if isinstance(e, Started) and e.trial in done]
    assert reopened
    for event in reopened:
        assert event.reason == "promote"
        assert event.checkpoint == "9"
        assert longer.trials[event.trial].step == 27
    assert longer.trials.best.step == 27
    assert len(longer.trials) == 30


def test_optuna_still_reads_a_journal_in_which_complete_trials_went_on(tmp_path: Any) -> None:
    path = tmp_path / "journal.log"
    short = simulate(curve_to(9), setup(), log=Journal(path))
    asha = {"name": "asha", "max_t": 27}
    longer = setup(scheduler=asha, num_samples=30)
    simulate(curve_to(27), longer, history=short.events, log=Journal(path))
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(
        study_name="simulation", storage=optuna.storages.JournalStorage(backend)
    )
    assert len(study.trials) == 30


# Another space


@pytest.mark.parametrize("space", [NARROW, CHOICES])
def test_a_changed_space_is_a_further_study_and_keeps_the_trials_that_still_fit(
    tmp_path: Any, space: Space
) -> None:
    path = tmp_path / "journal.log"
    first = simulate(curve_to(9), setup(), log=Journal(path))
    simulate(curve_to(9), setup(space, num_samples=36), history=first.events, log=Journal(path))
    events = list(read_journal(path))
    asks = [event for event in events if isinstance(event, Asked)]
    assert [ask.study for ask in asks] == [0] * 18 + [1] * 18
    resumed = simulate(curve_to(9), setup(space, num_samples=36), history=events).trials
    for trial in resumed:
        fits = space.holds(resumed.values(trial))
        assert fits or trial.study == 0
        assert fits or trial.status is not Status.PAUSED
    misfits = [e for e in events if isinstance(e, Ended) and e.cause == "space"]
    assert misfits
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    storage = optuna.storages.JournalStorage(backend)
    names = optuna.study.get_all_study_names(storage)
    assert names == ["simulation", "simulation-1"]
    further = optuna.load_study(study_name="simulation-1", storage=storage)
    assert len(further.trials) == 18


def test_a_sampler_sees_in_a_changed_space_only_what_fits_it() -> None:
    first = simulate(curve_to(9), setup())
    both = simulate(curve_to(9), setup(NARROW, num_samples=20), history=first.events)
    view = View(Objective(metric="loss"))
    for event in both.events:
        view.apply(event)
    shown = {trial.number for trial in view.study.trials}
    fitting = {t.number for t in both.trials if NARROW.holds(both.trials.values(t))}
    assert shown == fitting
    for trial in view.study.trials:
        assert trial.distributions == NARROW.distributions()


def test_a_sweep_of_a_changed_space_goes_on_exactly_where_it_was_cut() -> None:
    first = simulate(curve_to(9), setup())
    given = setup(NARROW, num_samples=36)
    unbroken = simulate(curve_to(9), given, history=first.events)
    for kept in range(len(first.events) + 2, len(unbroken.events), 9):
        again = simulate(curve_to(9), given, history=unbroken.events[:kept])
        assert [ask.params for ask in again.asks] == [ask.params for ask in unbroken.asks]


def test_a_complete_trial_that_does_not_fit_the_changed_space_stays_complete_under_more_steps() -> (
    None
):
    first = simulate(curve_to(9), setup())
    complete = first.trials.with_status(Status.COMPLETE)
    (best,) = [trial for trial in complete if trial is first.trials.best]
    lr = first.trials.values(best)["lr"]
    away, _ = parse_space({"lr": f"interval({lr / 1000}, {lr / 2})", "net": "mlp, convnet"}, [])
    given = setup(away, num_samples=30, scheduler={"name": "asha", "max_t": 27})
    unbroken = simulate(curve_to(27), given, history=first.events)
    assert unbroken.trials[best.number].step == 9
    again = simulate(curve_to(27), given, history=unbroken.events[: len(first.events) + 1])
    assert [ask.params for ask in again.asks] == [ask.params for ask in unbroken.asks]


# Points to begin with


def initial(points: list[dict[str, Any]], view: View, seed: int = 0) -> GivenPoints:
    searcher = make_searcher("tpe", space=WIDE, view=view, seed=seed)
    return GivenPoints(searcher, points, space=WIDE, view=view, seed=seed)


def test_the_first_trials_are_the_given_points_and_the_searcher_fills_what_they_leave_open() -> (
    None
):
    view = View(Objective())
    view.apply(Created(name="s", modes=("min",), space=WIDE.to_json(), time=0.0))
    searcher = initial([{"lr": 0.01, "net": "convnet"}, {"net": "mlp"}], view)
    first = searcher.ask(0)
    assert first == {"lr": 0.01, "net": "convnet"}
    distributions = WIDE.distributions()
    view.apply(Asked(trial=0, run=1, params=first, distributions=distributions, time=1.0))
    second = searcher.ask(1)
    assert second["net"] == "mlp"
    assert 1e-4 <= second["lr"] <= 1


def test_a_point_outside_the_space_is_answered_with_the_rule() -> None:
    view = View(Objective())
    with pytest.raises(ConfigError, match="initial names l, which is not in the search space"):
        initial([{"l": 1}], view)
    with pytest.raises(ConfigError, match=r"initial: lr: 2 is not between 0.0001 and 1"):
        initial([{"lr": 2}], view)


def test_a_point_gives_a_conditional_parameter_together_with_what_it_needs() -> None:
    when = {"depth": {"net": "convnet"}}
    space, _ = parse_space({"net": "mlp, convnet", "depth": "range(1, 5)"}, [], when=when)
    view = View(Objective())
    view.apply(Created(name="s", modes=("min",), space=space.to_json(), time=0.0))

    def first(point: dict[str, Any]) -> Mapping[str, Any]:
        searcher = make_searcher("random", space=space, view=view, seed=0, initial=[point])
        return searcher.ask(0)

    assert first({"depth": 2, "net": "convnet"}) == {"net": "convnet", "depth": 2}
    for point in ({"depth": 2}, {"depth": 2, "net": "mlp"}):
        with pytest.raises(ConfigError, match="gives depth, which exists only when net=convnet; g"):
            first(point)


# On Ray, from the command line

GIVEN = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=3"]
ASHA = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=3"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_finished_sweep_goes_on_with_more_trials_more_steps_and_another_space(sweep: Any) -> None:
    sweep("curve.py", "+x=interval(-5,5)", *GIVEN, *ASHA, "hydra.sweeper.num_samples=9")
    more = ["hydra.sweeper.num_samples=15", "hydra.sweeper.scheduler.max_t=9"]
    swept = sweep.caviar("resume", str(sweep.storage / "s"), *more, "+x=interval(0,4)")
    assert swept.code == 0, swept.err
    trials = swept.trials
    assert len(trials) == 15
    assert trials.best.step == 9
    assert all(0 <= trials.values(trial)["x"] <= 4 for trial in trials if trial.study == 1)
    assert [trial.study for trial in trials] == [0] * 9 + [1] * 6
    # what was asked last holds when it goes on without a word
    again = sweep.caviar("resume", str(sweep.storage / "s"))
    assert again.code == 0, again.err
    assert len(again.trials) == 15


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_begins_with_what_earlier_ones_found_and_with_given_points(sweep: Any) -> None:
    one = "hydra.sweeper.max_concurrent_trials=1"
    sweep("curve.py", "+x=interval(-5,5)", *GIVEN, "+epochs=1", one, name="first")
    earlier = f"hydra.sweeper.warm_start=[{sweep.storage / 'first'}]"
    given = ["+epochs=1", one, earlier, "hydra.sweeper.initial=[{x: 1.5}]"]
    given += ["hydra.sweeper.num_samples=8", "hydra.sweeper.seed=9"]
    dry = sweep("curve.py", "+x=interval(-2,3)", *GIVEN[:2], *given, "hydra.sweeper.dry_run=true")
    swept = sweep("curve.py", "+x=interval(-2,3)", *GIVEN[:2], *given)
    assert swept.code == 0, swept.err
    for trial in list(swept.trials)[:3]:
        assert f"trial {trial.number}  +x={swept.trials.values(trial)['x']}\n" in dry.out
    assert swept.trials.values(swept.trials[0]) == {"x": 1.5}
    # TPE knows 20 trials already: it proposes near the best of them instead of at random
    distances = sorted(abs(swept.trials.values(t)["x"] - 2) for t in list(swept.trials)[1:])
    assert distances[len(distances) // 2] < 0.7


@pytest.mark.slow
@pytest.mark.ray
def test_a_warm_start_from_another_objective_is_refused(sweep: Any) -> None:
    sweep("curve.py", "+x=interval(-5,5)", *GIVEN, "+epochs=1", "hydra.sweeper.num_samples=2")
    other = ["hydra.sweeper.metric=acc", "hydra.sweeper.mode=max"]
    swept = sweep(
        "curve.py",
        "+x=interval(-5,5)",
        *other,
        f"hydra.sweeper.warm_start=[{sweep.storage / 's'}]",
        name="other",
    )
    assert swept.code == 2
    assert "optimized min loss, and this sweep max acc" in swept.err
    gone = sweep("curve.py", "+x=interval(-5,5)", *GIVEN, "hydra.sweeper.warm_start=[no]", name="o")
    assert gone.code == 2
    assert "hydra.sweeper.warm_start: no sweep 'no'" in gone.err


REFUSED = {
    "hydra.sweeper.scheduler.max_t=1": "max_t is 1, and",
    "hydra.sweeper.scheduler.grace_period=2": "hydra.sweeper.scheduler.grace_period is 2, and",
    "hydra/sweeper/searcher=random": "hydra.sweeper.searcher is random, and",
    "hydra.sweeper.searcher=random": "hydra.sweeper.searcher is random, and",
    "hydra.sweeper.objective_at=last": "objective_at is last",
    "hydra.sweeper.num_samples=1": "it can only grow",
    "+epochs=2": "+epochs=2 is asked for, and",
    "+offset=1": "begun without it: a sweep goes on as it was begun",
}


@pytest.mark.slow
@pytest.mark.ray
def test_what_a_sweep_cannot_take_in_is_refused_and_nothing_changes(sweep: Any) -> None:
    epochs = "+epochs=3"
    first = sweep(
        "curve.py", "+x=interval(-5,5)", epochs, *GIVEN, *ASHA, "hydra.sweeper.num_samples=3"
    )
    before = first.folder.sweep_yaml.read_text()
    for option, message in REFUSED.items():
        swept = sweep.caviar("resume", str(sweep.storage / "s"), option)
        assert swept.code == 2, option
        assert message in swept.err
        assert "going on with" not in swept.err, option
        assert first.folder.sweep_yaml.read_text() == before


@pytest.mark.slow
@pytest.mark.ray
def test_what_has_no_larger_max_t_says_so_and_names_the_key(sweep: Any) -> None:
    hyperband = ["hydra/sweeper/scheduler=hyperband", "hydra.sweeper.scheduler.max_t=3"]
    space = "+x=interval(-5,5)"
    begun = sweep("curve.py", space, *GIVEN, *hyperband, "hydra.sweeper.num_samples=2")
    assert "in brackets (trials @ step) 3 @ 1 > 1 @ 3; 2 @ 3: a full round takes 5" in begun.err
    assert "bracket 1 of 2 gets 2 of its 3" in begun.err
    folder = str(sweep.storage / "s")
    longer = sweep.caviar("resume", folder, "hydra.sweeper.scheduler.max_t=9")
    assert longer.code == 2
    assert "max_t is 9, and" in longer.err
    assert "begun with 3: hyperband cannot be extended" in longer.err


@pytest.mark.slow
@pytest.mark.ray
def test_the_apps_own_number_of_steps_grows_with_max_t_and_nothing_else_does(sweep: Any) -> None:
    sweep("curve.py", "+x=interval(-5,5)", "+epochs=3", *GIVEN, *ASHA)
    more = ["resume", str(sweep.storage / "s"), "hydra.sweeper.scheduler.max_t=9"]
    other = sweep.caviar(*more, "+epochs=7")
    assert other.code == 2
    assert "+epochs=7 is asked for, and" in other.err
    assert "begun with +epochs=3" in other.err
    longer = sweep.caviar(*more, "+epochs=9")
    assert longer.code == 0, longer.err
    assert longer.trials.best.step == 9


@pytest.mark.slow
@pytest.mark.ray
def test_a_changed_space_is_announced_and_its_old_parameters_stay_in_the_results(
    sweep: Any,
) -> None:
    space = ["+x=interval(-5,5)", "+depth=range(1,6)"]
    sweep("curve.py", *space, *GIVEN, *ASHA, "hydra.sweeper.num_samples=4")
    folder = str(sweep.storage / "s")
    fixed = sweep.caviar("resume", folder, "+depth=2", "hydra.sweeper.num_samples=6")
    assert fixed.code == 0, fixed.err
    said = "depth was range(1, 6) and is now not there. 0 of 4 trials fit it"
    assert said in " ".join(fixed.err.split())
    table = load_sweep(fixed.folder).table()
    depths = table["params.depth"].to_pylist()
    assert all(depth in range(1, 6) for depth in depths[:4])
    assert depths[4:] == [None, None]
    assert "depth" in sweep.caviar("results", folder).out
    again = sweep.caviar("resume", folder)
    assert "the search space is another" not in again.err


def test_a_column_takes_what_a_parameter_was_in_every_space() -> None:
    def kind(*texts: str, values: list[Any]) -> str:
        spaces = [parse_space({"p": text}, [])[0] for text in texts]
        domains = [space.parameters[0].domain for space in spaces]
        return str(parameter_array(domains, values).type)

    assert kind("interval(0, 1)", values=[0.5, None]) == "double"
    assert kind("interval(0, 1)", "range(1, 5)", values=[0.5, 3]) == "double"
    assert kind("range(1, 5)", "1, 2, 3", values=[1, 3]) == "int64"
    assert kind("range(1, 5)", "a, b", values=[1, "a"]) == "string"
