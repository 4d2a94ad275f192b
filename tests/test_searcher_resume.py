"""A sweep that was cut and goes on proposes what the unbroken one did, whatever the searcher."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sweeps.journal.events import Asked, Event, Notes
from sweeps.journal.objective import Objective
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space(
    {"lr": "tag(log, interval(1e-4, 1))", "depth": "int(interval(1, 6))", "net": "mlp, convnet"}, []
)
SEARCHERS: list[dict[str, Any]] = [
    {"name": "random"},
    {"name": "qmc"},
    {"name": "qmc", "qmc_type": "halton"},
    {"name": "tpe", "n_startup_trials": 4},
    {"name": "bohb"},
    {"name": "cmaes", "population_size": 4},
    {"name": "genetic", "population_size": 4},
]
SCHEDULERS: list[dict[str, Any]] = [{"name": "none"}, {"name": "asha", "max_t": 9}]


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    rng = random.Random(trial)
    for step in range(1, 10):
        loss = abs(math.log10(values["lr"]) + 2) + (values["net"] == "mlp") + 1 / step
        diverged = values["lr"] > 0.3 and step == 2
        value = math.nan if diverged else loss + 0.1 * values["depth"]
        yield {"loss": value}, rng.choice([1.0, 1.0, 2.5])


def asks(events: Iterable[Event]) -> list[Asked]:
    return [replace(event, run=0) for event in events if isinstance(event, Asked)]


def read_back(event: Event) -> Event:
    """The event with its notes as a journal gives them back."""
    if not isinstance(event, Asked) or event.notes is None:
        return event
    text = json.dumps({"trial": dict(event.notes.trial), "study": dict(event.notes.study)})
    return replace(event, notes=Notes(**json.loads(text)))


def cut_and_resumed(
    searcher: Mapping[str, Any], scheduler: Mapping[str, Any], samples: int, cuts: int
) -> list[Asked]:
    """The asks of a sweep that goes on as if unbroken wherever it is cut."""
    setup = Setup(
        space=SPACE,
        objective=Objective(metric="loss"),
        num_samples=samples,
        searcher=searcher,
        scheduler=scheduler,
        workers=3,
        seed=1,
    )
    unbroken = simulate(curve, setup)
    history = list(map(read_back, unbroken.events))
    for kept in range(len(history) // cuts // 2, len(history), len(history) // cuts):
        resumed = simulate(curve, setup, history=history[:kept])
        assert repr(asks(resumed.events)) == repr(asks(unbroken.events)), kept
    return unbroken.asks


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s["name"])
@pytest.mark.parametrize("searcher", SEARCHERS, ids=lambda s: "-".join(map(str, s.values())))
def test_a_sweep_cut_anywhere_proposes_what_the_unbroken_one_did(
    searcher: Mapping[str, Any], scheduler: Mapping[str, Any]
) -> None:
    made = cut_and_resumed(searcher, scheduler, samples=24, cuts=9)
    assert len({repr(ask.params) for ask in made}) > 12


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s["name"])
def test_a_gaussian_process_does_too(scheduler: Mapping[str, Any]) -> None:
    cut_and_resumed({"name": "gp", "n_startup_trials": 3}, scheduler, samples=6, cuts=1)


@pytest.mark.parametrize(
    ("searcher", "key"), [("cmaes", "cmaes:told:2"), ("genetic", "NSGAIISampler:parent:2")]
)
def test_what_a_searcher_must_know_again_is_short_and_in_the_journal(
    searcher: str, key: str
) -> None:
    options = {"name": searcher, "population_size": 4}
    made = cut_and_resumed(options, {"name": "none"}, samples=24, cuts=1)
    notes = [ask.notes for ask in made if ask.notes is not None]
    assert len(notes) == 24
    assert sum(key in note.study for note in notes) == 1
    assert max(len(repr(dict(note.trial))) for note in notes) < 50
    assert max(len(repr(dict(note.study))) for note in notes) < 60


@pytest.mark.parametrize("searcher", ["random", "qmc", "tpe", "bohb"])
def test_a_searcher_that_needs_no_notes_keeps_none(searcher: str) -> None:
    made = cut_and_resumed({"name": searcher}, SCHEDULERS[1], samples=16, cuts=1)
    assert all(ask.notes is None for ask in made)
