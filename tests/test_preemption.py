"""Nodes that are taken away, as the lanes decide on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.core.engine import Engine
from sweeps.core.limits import Limits
from sweeps.core.segment import Segment
from sweeps.driver.lanes import Lanes
from sweeps.journal.events import Event, Lost
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.schedulers import Done, make_scheduler
from sweeps.searchers import make_searcher
from sweeps.session import Session
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder
from sweeps.worker.draining import PREEMPTED, Drains
from sweeps.worker.messages import Idle, Report, Rest, Returned, Save

SPACE, _ = parse_space({"lr": "interval(0, 1)"}, [])


class Memory:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, *events: Event) -> None:
        self.events.extend(events)


class Sweep:
    """An engine with lanes, on nodes of which some are being drained."""

    def __init__(self, folder: Path, *, scheduler: dict[str, Any], **limits: Any) -> None:
        self.log = Memory()
        self.folder = folder
        self.draining: frozenset[str] = frozenset()
        self.engine = Engine(
            log=self.log,
            objective=Objective(metric="loss"),
            make_searcher=lambda view: make_searcher("random", space=SPACE, view=view, seed=0),
            scheduler=make_scheduler(**scheduler, space=SPACE, seed=0),
            limits=Limits(num_samples=20, **limits),
            space=SPACE,
        )
        self.engine.open([], name="test")
        self.lanes = Lanes(
            self.engine,
            lambda segment, says_left: segment,  # type: ignore[arg-type, return-value]
            folder=SweepFolder(folder),
            max_lanes=None,
            interrupted=lambda: False,
            draining=lambda: self.draining,
        )

    def idle(self, lane: str, node: str) -> Any:
        return self.lanes.on_messages(lane, [Idle()], [node])

    def report(self, lane: str, node: str, trial: int, step: int, *, saved: bool) -> Any:
        checkpoint = self.folder / "trials" / str(trial) / str(step) if saved else None
        given = Report(trial=trial, step=step, metrics={"loss": 1.0}, checkpoint=checkpoint)
        return self.lanes.on_messages(lane, [given], [node])

    @property
    def lost(self) -> list[Lost]:
        return [event for event in self.log.events if isinstance(event, Lost)]


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    def make(**given: Any) -> Sweep:
        return Sweep(tmp_path, **{"scheduler": {"name": "none"}, "max_losses": 0, **given})

    return make


def test_a_trial_on_a_drained_node_goes_on_elsewhere_once_it_has_saved_its_state(sweep) -> None:
    made = sweep()
    assert made.idle("a", "n1").trial == 0
    made.idle("b", "n2")
    made.draining = frozenset({"n1"})
    assert made.report("b", "n2", 1, 1, saved=False) is None
    assert made.report("a", "n1", 0, 1, saved=False) == Save()
    assert isinstance(made.report("a", "n1", 0, 2, saved=True), Done)

    (lost,) = made.lost
    assert (lost.trial, lost.cause, lost.reason) == (0, "preempted", PREEMPTED)
    segment = made.idle("c", "n3")
    assert (segment.trial, segment.checkpoint) == (0, "trials/0/2")
    assert segment.life == 1
    assert not made.lanes.finished
    trial = made.engine.trials[0]
    assert (trial.losses, trial.preemptions, trial.status) == (0, 1, Status.RUNNING)


def test_a_lane_on_a_drained_node_takes_no_further_trial(sweep) -> None:
    made = sweep()
    made.idle("a", "n1")
    made.draining = frozenset({"n1"})
    returned = Returned(trial=0, metrics={"loss": 1.0})
    assert isinstance(made.lanes.on_messages("a", [returned], ["n1"]), Done)
    assert isinstance(made.idle("b", "n1"), Done)
    assert made.lost == []
    assert not made.lanes.finished


def test_a_trial_that_pauses_on_a_drained_node_leaves_its_lane_before_that_ends(sweep) -> None:
    made = sweep(scheduler={"name": "asha", "max_t": 9})
    made.idle("a", "n1")
    made.idle("b", "n2")
    made.report("b", "n2", 1, 1, saved=True)
    made.draining = frozenset({"n1"})
    order = made.report("a", "n1", 0, 1, saved=True)
    assert made.engine.trials[0].status is Status.PAUSED
    assert isinstance(order, Rest)
    assert order.says_left
    assert isinstance(made.idle("a", "n1"), Done)
    assert made.lost == []


@pytest.mark.parametrize(("draining", "said"), [({"n1"}, "unavailable"), (set(), PREEMPTED)])
def test_a_lane_that_dies_with_a_node_that_is_taken_away_is_nobodys_failure(
    sweep, draining: set[str], said: str
) -> None:
    made = sweep()
    made.idle("a", "n1")
    made.draining = frozenset(draining)
    made.lanes.on_lane_lost("a", said)
    assert [lost.cause for lost in made.lost] == ["preempted"]
    assert made.engine.trials[0].status is Status.RUNNING
    for _ in range(20):
        made.lanes.on_lane_lost("mute", PREEMPTED)
    assert made.lanes.error is None


def test_many_lanes_that_die_with_their_node_do_not_end_the_sweep_but_one_that_never_lives_does(
    sweep,
) -> None:
    made = sweep()
    for lane in range(16):
        made.lanes.on_lane_lost(str(lane), "The actor died")
    assert made.lanes.error is None
    for _ in range(4):
        made.lanes.on_lane_lost("3", "The actor died")
    assert "workers die before they can train, 5 in a row" in str(made.lanes.error)


def test_a_trial_that_was_lost_goes_on_in_a_folder_that_what_is_left_of_it_does_not_know(
    sweep, tmp_path: Path
) -> None:
    made = sweep(max_losses=3)
    segment = made.idle("a", "n1")
    assert isinstance(segment, Segment)
    made.lanes.on_lane_lost("a", "The actor died")
    again = made.idle("a", "n1")
    folder = SweepFolder(tmp_path)
    first, second = (folder.job(s.trial, s.run, life=s.life) for s in (segment, again))
    assert first.name == "1"
    assert second.name == "1-1"
    other = Sweep(tmp_path, scheduler={"name": "none"}, max_losses=3)
    other.engine.open(made.log.events, name="test")
    resumed = other.engine.next_segment()
    assert isinstance(resumed, Segment)
    assert (resumed.run, resumed.life) == (2, 0)


def test_ray_is_asked_for_drained_nodes_once_a_second_and_a_dead_one_is_remembered() -> None:
    answers = [{"n1"}, {"n2"}]
    now = [0.0]
    drains = Drains(lambda: answers.pop(0), lambda: now[0])
    assert drains() == {"n1"}
    now[0] = 0.9
    assert drains() == {"n1"}
    now[0] = 1.0
    assert drains() == {"n1", "n2"}


def test_a_checkpoint_that_is_asked_for_is_written_with_the_next_report_alone() -> None:
    def send(*report: Any) -> Decision:
        return Decision.CONTINUE

    made = Session(
        job_folder=Path(), checkpoint=None, send=send, objective=Objective(), clock=lambda: 0.0
    )
    assert not made.is_due(at_rung=False)
    made.save_soon = True
    assert made.is_due(at_rung=False)
    made.note_written()
    assert not made.is_due(at_rung=False)
