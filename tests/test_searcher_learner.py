"""What the searchers of our own share: a state that is rebuilt from their notes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Notes,
    Opened,
    Reported,
    Started,
)
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.searchers import View, make_searcher
from sweeps.searchers.results import Results
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import Space, parse_space

FINITE = {"n": "range(1, 9)", "net": "a, b, c", "m": "int(tag(log, interval(1, 9)))"}
SPACE, _ = parse_space({**FINITE, "x": "tag(log, interval(1e-3, 1))"}, [])
FINITE_SPACE, _ = parse_space(FINITE, [])
SEARCHERS = {
    "annealing": {"name": "annealing"},
    "coarse_to_fine": {"name": "coarse_to_fine"},
    "controller": {"name": "controller", "hidden_size": 4, "batch": 2, "learning_rate": 0.1},
}
every_searcher = pytest.mark.parametrize("name", SEARCHERS)


def space_of(name: str) -> Space:
    return FINITE_SPACE if name == "controller" else SPACE


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    rng = random.Random(trial)
    base = (values["n"] - 4) ** 2 / 9 + (values["net"] != "b") + values["m"] / 9
    base += abs(math.log10(values.get("x", 0.1)) + 1)
    for step in range(1, 10):
        diverged = values["n"] == 8 and step == 2
        yield {"objective": math.nan if diverged else base + 1 / step}, rng.choice([1, 1, 2.5])


def sweep(name: str, *, history: Iterable[Event] = (), log: Any = None, **fields: Any) -> Simulated:
    fields = {"num_samples": 18, "scheduler": {"name": "asha", "max_t": 9}, **fields}
    setup = Setup(space=space_of(name), searcher=SEARCHERS[name], **fields)
    return simulate(curve, setup, history=history, log=log)


def decisions(events: Iterable[Event]) -> list[Event]:
    return [
        event if isinstance(event, Ended | Created) else replace(event, run=0)
        for event in events
        if not isinstance(event, Opened | Closed)
        and not (isinstance(event, Started) and event.reason == "resume")
    ]


def check_cuts(tmp_path: Path, every: int, name: str, **fields: Any) -> None:
    path, cut = tmp_path / "journal.log", tmp_path / "cut.log"
    unbroken = sweep(name, log=Journal(path), **fields)
    assert any(isinstance(event, Asked) and event.notes for event in unbroken.events)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(0, len(lines), every):
        cut.write_bytes(b"".join(lines[:kept]))
        resumed = sweep(name, history=read_journal(cut), **fields)
        assert repr(decisions(resumed.events)) == repr(decisions(unbroken.events)), kept


@every_searcher
@pytest.mark.parametrize("scheduler", [{"name": "none"}, {"name": "asha", "max_t": 9}], ids=str)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_sweep_that_was_cut_goes_on_as_if_it_had_not_been(
    tmp_path: Path, name: str, scheduler: dict[str, Any], workers: int
) -> None:
    check_cuts(tmp_path, 13, name, scheduler=scheduler, workers=workers, seed=workers)


@pytest.mark.slow
@every_searcher
@pytest.mark.parametrize("scheduler", [{"name": "none"}, {"name": "asha", "max_t": 9}], ids=str)
@pytest.mark.parametrize(("workers", "seed"), [(1, 5), (4, 6), (7, 7)])
def test_a_sweep_that_was_cut_after_any_event_goes_on_as_if_it_had_not_been(
    tmp_path: Path, name: str, scheduler: dict[str, Any], workers: int, seed: int
) -> None:
    check_cuts(tmp_path, 1, name, scheduler=scheduler, workers=workers, seed=seed)


@pytest.mark.parametrize("name", ["annealing", "controller"])
@pytest.mark.parametrize("workers", [1, 4])
def test_an_extended_sweep_ends_as_the_longer_one(name: str, workers: int) -> None:
    fields: dict[str, Any] = {"scheduler": {"name": "none"}, "workers": workers}
    longer = sweep(name, num_samples=24, **fields)
    whole = sweep(name, num_samples=11, **fields).events
    last = max(i for i, event in enumerate(whole) if isinstance(event, Asked))
    extended = sweep(name, num_samples=24, history=whole[: last + 1], **fields)
    assert [ask.params for ask in extended.asks] == [ask.params for ask in longer.asks]


@every_searcher
def test_the_globals_generators_stay_as_they_were(name: str) -> None:
    before = random.getstate(), repr(np.random.get_state()), torch.random.get_rng_state()
    threads = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    sweep(name, num_samples=8)
    assert (random.getstate(), repr(np.random.get_state())) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])
    now = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    assert now == threads


@every_searcher
def test_the_seed_alone_decides(name: str) -> None:
    one, again, other = (sweep(name, seed=seed, workers=3) for seed in (5, 5, 6))
    assert repr(one.events) == repr(again.events)
    assert one.asks[0].params != other.asks[0].params


DOMAINS = [
    "interval(-2, 5)",
    "tag(log, interval(1e-5, 0.1))",
    "tag(one_minus_log, interval(0.9, 0.999))",
    "range(0, 1.1, 0.1)",
    "range(0, 100, 7)",
    "int(interval(-3, 3))",
    "int(tag(log, interval(1, 90)))",
    "a, b, 'c d', 1, 1.0, true",
    "range(5, 6)",
]


@every_searcher
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_value_is_in_its_domain_and_of_its_type(name: str, data: st.DataObject) -> None:
    domains = DOMAINS[3:] if name == "controller" else DOMAINS
    drawn = data.draw(st.lists(st.sampled_from(domains), min_size=1, max_size=5))
    space, _ = parse_space({f"p{i}": domain for i, domain in enumerate(drawn)}, [])
    losses = data.draw(st.lists(st.floats(allow_infinity=False), min_size=12, max_size=12))

    def one_step(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for parameter in space.parameters:
            value = values[parameter.name]
            assert parameter.to_value(parameter.from_value(value)) is value or (
                parameter.to_value(parameter.from_value(value)) == value
            )
            assert type(value) in {type(v) for v in parameter.domain.samples}
        yield {"objective": losses[trial]}, 1.0

    setup = Setup(space=space, num_samples=12, searcher=SEARCHERS[name], workers=2)
    assert len(simulate(one_step, setup).trials) == 12


# An ask that is taken back


class Desk:
    """A searcher, its view, and the journal, driven by hand."""

    def __init__(self, name: str, events: Iterable[Event] = ()) -> None:
        self.space = space_of(name)
        self.view = View(Objective())
        self.events: list[Event] = []
        for event in events:
            self.apply(event)
        self.searcher = make_searcher(
            **SEARCHERS[name], space=self.space, view=self.view, seed=3, num_samples=30
        )
        self.asked = sum(isinstance(event, Asked) for event in self.events)

    def apply(self, event: Event) -> None:
        self.events.append(event)
        self.view.apply(event)

    def ask(self, *, refused: int = 0, instead: Mapping[str, Any] | None = None) -> Any:
        for attempt in range(refused):
            self.searcher.ask(self.asked, attempt)
            self.view.retract()
        return self.ask_at(attempt=refused, instead=instead)

    def ask_at(self, *, attempt: int, instead: Mapping[str, Any] | None = None) -> Any:
        params = self.searcher.ask(self.asked, attempt)
        if instead is not None:
            self.view.retract()
            params = instead
        notes = self.view.take_notes()
        distributions = self.space.distributions()
        self.apply(
            Asked(
                trial=self.asked,
                run=1,
                params=params,
                distributions=distributions,
                notes=notes,
                time=0.0,
            )
        )
        self.asked += 1
        return dict(params), notes

    def complete(self, trial: int, loss: float) -> None:
        self.apply(ended(trial, Status.COMPLETE, loss))


def ended(trial: int, status: Status, value: float | None = None) -> Ended:
    return Ended(
        trial=trial, status=status, value=value, metrics={}, error=None, cause=None, time=0.0
    )


@every_searcher
def test_a_refused_draw_leaves_no_trace_and_the_next_is_drawn_by_what_was_known(name: str) -> None:
    desk, rng = Desk(name), random.Random(0)
    for trial in range(12):
        direct = Desk(name, desk.events).ask_at(attempt=trial % 3)
        assert desk.ask(refused=trial % 3) == direct
        if trial % 2:
            desk.complete(trial - rng.randrange(2), rng.random())


@every_searcher
@pytest.mark.parametrize("at", [0, 1, 9])
def test_an_ask_that_was_taken_back_for_good_taught_nothing(name: str, at: int) -> None:
    desk = Desk(name)
    mine, rng = desk.space.optuna_params(desk.space.values(Desk(name).ask()[0])), random.Random(1)
    for trial in range(12):
        desk.ask(instead=mine if trial == at else None)
        if trial % 3:  # two results at once, the later trial's first
            desk.complete(trial, rng.random())
            desk.complete(trial - 1, rng.random()) if trial % 3 == 1 else None
    assert Desk(name, desk.events).ask() == desk.ask()


@every_searcher
def test_what_is_noted_is_plain_json_and_each_result_is_noted_once(name: str) -> None:
    result = sweep(name, workers=4)
    told: list[Any] = []
    for ask in result.asks:
        if ask.notes is not None and name != "coarse_to_fine":
            assert not ask.notes.study
            (note,) = ask.notes.trial.values()
            told += [(trial, loss) for trial, losses in note for loss in losses or [None]]
    assert len(told) == len(set(told))


# What a result is


def view_of(*events: Event, mode: Any = "min") -> View:
    view = View(Objective(mode=mode))
    for trial in sorted({e.trial for e in events if isinstance(e, Reported | Ended)}):
        view.apply(
            Asked(trial=trial, run=1, params={}, distributions={}, notes=Notes(), time=float(trial))
        )
    for event in events:
        view.apply(event)
    return view


def reported(trial: int, step: int, value: float, decision: str = "continue") -> Reported:
    return Reported(
        trial=trial,
        run=1,
        step=step,
        metrics={},
        value=value,
        checkpoint="x",
        decision=Decision(decision),
        time=0.0,
    )


def losses(view: View, *rungs: int) -> dict[int, tuple[float, ...] | None]:
    changed = Results(view, rungs).refresh()
    return {r.number: None if r.diverged else r.losses for r in changed}


def test_a_result_has_a_loss_for_each_rung_from_the_first_report_there_or_later() -> None:
    view = view_of(
        *(reported(0, 1, 0.9), reported(0, 2, 0.8), reported(0, 4, 0.7), reported(0, 8, 0.6)),
        *(reported(1, 2, 0.5, "pause"),),
    )
    assert losses(view, 1, 3, 9) == {0: (0.9, 0.7), 1: (0.5,)}


def test_less_is_better_whatever_the_mode() -> None:
    view = view_of(reported(0, 1, 0.9, "pause"), ended(1, Status.COMPLETE, 0.4), mode="max")
    assert losses(view, 1, 3) == {0: (-0.9,), 1: (-0.4, -0.4)}


def test_without_rungs_a_result_is_that_of_a_complete_trial() -> None:
    view = view_of(
        *(reported(0, 1, 0.9), reported(1, 1, 0.8), ended(1, Status.COMPLETE, 0.8)),
        *(reported(2, 1, 0.95, "stop"), ended(2, Status.STOPPED, 0.95)),
    )
    assert losses(view) == {1: (0.8,), 2: ()}


def test_a_crash_teaches_nothing_and_a_diverged_trial_is_known_as_such() -> None:
    view = view_of(
        *(reported(0, 1, 0.9), ended(0, Status.FAILED)),
        *(reported(1, 1, 0.9), reported(1, 2, math.nan, "stop"), ended(1, Status.DIVERGED)),
    )
    assert losses(view, 1, 3) == {1: None}


def test_the_best_are_compared_at_the_highest_rung_that_enough_have_reached() -> None:
    view = view_of(
        *(reported(0, 1, 0.1, "pause"), reported(1, 1, 0.2, "pause"), reported(2, 1, 0.3)),
        *(reported(2, 3, 0.3, "pause"), reported(3, 1, 0.4), reported(3, 3, 0.2, "pause")),
    )
    results = Results(view, [1, 3])
    results.refresh()
    assert [r.number for r in results.best(1)] == [3]
    assert [r.number for r in results.best(2)] == [3, 2]
    assert [r.number for r in results.best(3)] == [0, 1, 2]
    assert [r.number for r in results.best(9)] == [0, 1, 2, 3]


def test_a_trial_that_failed_after_a_rung_counts_no_more_though_its_lesson_stays() -> None:
    view = view_of(reported(0, 1, 0.1, "pause"))
    results = Results(view, [1])
    results.refresh()
    assert results.count(since=0) == 1
    view.apply(ended(0, Status.FAILED))
    assert results.refresh() == []
    assert results.count(since=0) == 0
    assert results.params(0) == {}
