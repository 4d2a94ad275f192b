"""A fidelity that is a parameter: a trial is trained anew at each rung."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from sweeps.core.engine import Engine
from sweeps.core.fidelity import Fidelity
from sweeps.core.limits import Limits
from sweeps.core.segment import Segment
from sweeps.journal.events import Event, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.schedulers import make_scheduler
from sweeps.searchers import make_searcher
from sweeps.simulate import Curve, Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
SHARE = Fidelity(name="share", min=0.1, max=1.0)


def test_the_rungs_lie_evenly_on_a_log_scale_from_min_to_max() -> None:
    assert SHARE.rungs == 3
    assert [SHARE.value(rung) for rung in (1, 2, 3)] == pytest.approx([0.1, 0.31623, 1.0], rel=1e-4)
    assert [SHARE.resource(rung) for rung in (1, 2, 3)] == [1, 3, 9]
    assert [SHARE.rung(resource) for resource in (1, 3, 9)] == [1, 2, 3]
    assert SHARE.max_t == 9


def test_a_size_of_whole_numbers_stays_whole() -> None:
    width = Fidelity(name="width", min=16, max=256, reduction_factor=4)
    assert [width.value(rung) for rung in (1, 2, 3)] == [16, 64, 256]
    assert all(isinstance(width.value(rung), int) for rung in (1, 2, 3))


def open_engine(history: list[Event], num_samples: int = 3, scheduler: str = "asha") -> Engine:
    class Log:
        def append(self, *events: Event) -> None:
            history.extend(events)

    engine = Engine(
        log=Log(),
        objective=Objective(metric="loss", at="last"),
        make_searcher=lambda view: make_searcher("random", space=SPACE, view=view, seed=0),
        scheduler=make_scheduler(scheduler, space=SPACE, seed=0, max_t=SHARE.max_t),
        limits=Limits(num_samples=num_samples),
        space=SPACE,
        fidelity=SHARE,
        clock=lambda: 0.0,
    )
    engine.open(list(history), name="test")
    return engine


def train(engine: Engine, loss: float) -> Segment:
    segment = engine.next_segment()
    assert isinstance(segment, Segment)
    engine.on_return(segment.trial, {"loss": loss}, checkpoint=f"{segment.trial}/{segment.rung}")
    return segment


def test_a_promoted_trial_trains_anew_at_the_next_fidelity_and_steps_count_rungs() -> None:
    history: list[Event] = []
    engine = open_engine(history)
    for loss in (3.0, 1.0, 2.0):
        segment = train(engine, loss)
        assert (segment.rung, segment.fidelity) == (1, 0.1)
    promoted = train(engine, 0.5)
    assert (promoted.trial, promoted.rung, promoted.checkpoint) == (1, 2, None)
    report = history[-1]
    assert isinstance(report, Reported)
    assert (report.step, report.fidelity) == (2, pytest.approx(0.31623, rel=1e-4))
    assert engine.trials[1].value == 0.5


def test_a_resumed_sweep_trains_an_interrupted_trial_at_its_own_rung() -> None:
    history: list[Event] = []
    engine = open_engine(history)
    for loss in (3.0, 1.0, 2.0):
        train(engine, loss)
    segment = engine.next_segment()
    assert isinstance(segment, Segment)
    again = open_engine(history).next_segment()
    assert isinstance(again, Segment)
    assert (again.trial, again.rung, again.fidelity) == (1, 2, segment.fidelity)


def test_a_trial_that_diverges_at_a_rung_is_ended() -> None:
    engine = open_engine([])
    train(engine, float("nan"))
    assert engine.trials[0].status is Status.DIVERGED


def test_a_resumed_sweep_goes_on_with_the_rung_that_was_decided_but_not_begun() -> None:
    history: list[Event] = []
    engine = open_engine(history, scheduler="asha_stop")
    train(engine, 1.0)
    assert engine.trials[0].status is Status.RUNNING
    again = open_engine(history, scheduler="asha_stop").next_segment()
    assert isinstance(again, Segment)
    assert (again.trial, again.rung) == (0, 2)
    started = history[-1]
    assert isinstance(started, Started)
    assert started.reason == "promote"


def simulated(scheduler: str, curve: Curve) -> Simulated:
    return simulate(
        curve,
        Setup(
            space=SPACE,
            num_samples=9,
            objective=Objective(metric="loss"),
            searcher={"name": "random"},
            scheduler={"name": scheduler},
            fidelity=SHARE,
        ),
    )


@pytest.mark.parametrize("scheduler", ["asha", "asha_stop", "successive_halving", "hyperband"])
def test_in_a_simulation_each_rung_costs_its_training_in_full_and_counts_its_best_step(
    scheduler: str,
) -> None:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for loss in (3.0, 1.0, 2.0):
            yield {"loss": loss + values["x"], "share": values["share"]}, values["share"]

    sweep = simulated(scheduler, curve)
    reports = [event for event in sweep.events if isinstance(event, Reported)]
    assert len(reports) > 9
    for report in reports:
        trial = sweep.trials[report.trial]
        assert report.metrics["share"] == report.fidelity == SHARE.value(report.step)
        assert report.value == 1.0 + trial.params["x"]
    assert sweep.seconds == pytest.approx(sum(3 * report.metrics["share"] for report in reports))
    assert max(report.step for report in reports) == 3


def test_in_a_simulation_a_step_that_diverges_is_the_last_of_its_trial() -> None:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        yield {"other": 0.0}, 1.0
        yield {"loss": 1.0}, 1.0
        yield {"loss": math.nan if trial == 0 else 0.5}, 1.0
        yield {"loss": 0.0}, 1.0

    sweep = simulated("asha", curve)
    assert [trial.status is Status.DIVERGED for trial in sweep.trials] == [True] + [False] * 8
    assert sweep.trials[0].seconds == 3.0
    assert sweep.trials.best is not None
    assert sweep.trials.best.value == 0.0


FIDELITY = "hydra.sweeper.fidelity={name: +share, min: 0.1, max: 1}"
ASHA = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_on_ray_trains_its_best_on_all_the_data(sweep: Any) -> None:
    swept = sweep("share.py", "+x=interval(-1,1)", *ASHA, FIDELITY, "hydra.sweeper.num_samples=9")
    assert swept.code == 0, swept.err
    best = swept.trials.best
    assert best.step == 3
    assert [best.reports[step].metrics["share"] for step in (1, 2, 3)] == [
        0.1,
        pytest.approx(0.31623, rel=1e-4),
        1.0,
    ]
    assert [best.reports[step].fidelity for step in (1, 3)] == [0.1, 1.0]
    assert sum(trial.step for trial in swept.trials) < 9 * 3
    job = swept.job(best.number)
    assert "share: 0.1" in (job / "rung-1" / ".hydra" / "config.yaml").read_text()
    kept = swept.folder.resolve(best.checkpoint)
    assert (kept / "share.txt").read_text() == "1"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["hydra.sweeper.fidelity={name: share, min: 0.1, max: 1}"], "share is not in the app's"),
        (["hydra.sweeper.fidelity={name: +x, min: 0.1, max: 1}"], "which is searched too"),
        (["hydra.sweeper.fidelity={name: +share, min: 1, max: 1}"], "it must be 0 < min < max"),
        (["hydra.sweeper.fidelity={name: +share, min: 1}"], "fidelity.max is not set"),
        ([FIDELITY, "hydra.sweeper.scheduler.max_t=9"], "leave them out"),
        ([FIDELITY, "hydra/sweeper/scheduler=none"], "the scheduler none lays no rungs down"),
    ],
)
def test_a_wrong_fidelity_is_answered_before_anything_starts(
    start: Any, options: list[str], message: str
) -> None:
    swept = start("share.py", "+x=interval(-1,1)", *ASHA, *options)
    assert swept.code == 2
    assert message in swept.err
    assert not swept.folder.path.exists()


def test_a_fidelity_that_is_a_text_in_the_config_is_refused(start: Any) -> None:
    fidelity = "hydra.sweeper.fidelity={name: model.name, min: 0.1, max: 1}"
    swept = start("grouped.py", "optimizer.lr=interval(0,1)", *ASHA, fidelity)
    assert swept.code == 2
    said = "fidelity.name is 'model.name', which is 'good' in the app's config; it must name a num"
    assert said in swept.err
