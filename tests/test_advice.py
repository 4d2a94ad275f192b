"""What is made of what trials used."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
from rich.console import Console

from sweeps.driver.advisor import Advisor
from sweeps.driver.progress import Progress
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trial
from sweeps.planning.resources import Resources
from sweeps.provenance.segments import read_record
from sweeps.reports.usage import usage_table
from sweeps.results import load_sweep
from sweeps.usage.advice import advice, findings, suggestions
from sweeps.usage.measured import GpuUsage, Usage
from sweeps.usage.recorded import recorded
from sweeps.worker.recorder import Recorder

GIB = 2**30
ONE = Resources(cpus=1, gpus=0)
GPU = Resources(cpus=1, gpus=1)


def used(**fields: Any) -> Usage:
    """Of ten seconds of a trial that keeps one CPU of an idle node busy."""
    given = {
        "seconds": 10.0,
        "cpus": 1.0,
        "loading": 0.0,
        "memory": GIB,
        "node_cpus": 0.05,
        "node_memory": 0.05,
        **fields,
    }
    return Usage(**given)


def on_gpu(memory_gib: float, busy: float, total_gib: float = 80, **fields: Any) -> Usage:
    gpu = GpuUsage(memory=int(memory_gib * GIB), total=int(total_gib * GIB), busy=busy)
    return used(gpus=(gpu,), **fields)


def override(usages: list[Usage], each: Resources) -> str | None:
    """The resources that are said to fit."""
    for line in suggestions(usages, each):
        if line.startswith("'"):
            return line.split("'")[1].removeprefix("hydra.sweeper.resources=")
    return None


def test_what_fits_as_it_is_is_told_without_a_suggestion() -> None:
    assert advice([used(), used(cpus=0.9), used(cpus=0.8)], ONE) == [
        "the first 3 trials used: CPUs 0.9 (at most 1.0) of 1, memory 1 GiB, "
        "loading data 0% of the time"
    ]


def test_a_small_model_shares_its_gpu() -> None:
    usages = [on_gpu(5.1, 0.2), on_gpu(5.1, 0.25), on_gpu(4.9, 0.25)]
    first, second = advice(usages, GPU)
    assert "GPU memory 5.1 GiB of 80 GiB, GPU busy 25% of the time" in first
    assert second == (
        "'hydra.sweeper.resources={cpus: 1, gpus: 0.25}' would fit: four trials share a GPU"
    )


@pytest.mark.parametrize(
    ("memory_gib", "busy", "fits"),
    [
        (5.1, 0.34, "{cpus: 1, gpus: 0.33}"),  # its time allows three, its memory thirteen
        (30, 0.1, "{cpus: 1, gpus: 0.5}"),  # the other way round
        (39, 0.1, None),  # two take 78 GiB and CUDA's own on top
        (5.1, 0.6, None),
        (0.5, 0.01, "{cpus: 1, gpus: 0.12}"),  # no more than eight, however small
    ],
)
def test_no_more_share_a_gpu_than_its_memory_and_its_time_allow(
    memory_gib: float, busy: float, fits: str | None
) -> None:
    assert override([on_gpu(memory_gib, busy)], GPU) == fits


def test_the_trial_that_took_most_decides() -> None:
    assert override([on_gpu(1, 0.1), on_gpu(1, 0.1), on_gpu(30, 0.1)], GPU) == (
        "{cpus: 1, gpus: 0.5}"
    )


def test_no_more_share_a_gpu_than_the_nodes_cpus_and_memory_carry() -> None:
    assert override([on_gpu(1, 0.1, node_cpus=0.6)], GPU) is None
    assert override([on_gpu(1, 0.1, node_memory=0.4)], GPU) == "{cpus: 1, gpus: 0.5}"


def test_too_many_on_a_gpu_are_told_apart() -> None:
    said = suggestions([on_gpu(30, 0.1)], replace(GPU, gpus=0.25))
    assert said == [
        "'hydra.sweeper.resources={cpus: 1, gpus: 0.5}' would fit: "
        "a GPU's memory does not hold four trials"
    ]


def test_what_shares_a_gpu_already_is_left_at_that() -> None:
    assert override([on_gpu(5, 0.3)], replace(GPU, gpus=0.25)) is None


def test_gpus_that_nothing_was_put_on_are_given_back() -> None:
    idle = GpuUsage(memory=0, total=80 * GIB, busy=0.0)
    full = GpuUsage(memory=60 * GIB, total=80 * GIB, busy=0.9)
    assert override([used(gpus=(idle,))], GPU) == "{cpus: 1, gpus: 0}"
    assert override([used(gpus=(full, idle))], replace(GPU, gpus=2)) == "{cpus: 1, gpus: 1}"
    assert override([used(gpus=(full, full))], replace(GPU, gpus=2)) is None


def test_a_busy_gpu_whose_memory_cannot_be_seen_is_not_taken_for_unused() -> None:
    assert override([on_gpu(0, 0.5)], GPU) is None


def test_where_the_gpu_cannot_be_asked_nothing_is_said_of_it() -> None:
    assert override([used()], GPU) is None
    assert [found.what for found in findings([used()], GPU)] == ["CPUs", "memory", "loading data"]


@pytest.mark.parametrize(
    ("cpus", "busy", "fits"),
    [
        (2, 0.4, "{cpus: 0.5, gpus: 0}"),
        (2, 0.7, "{cpus: 1, gpus: 0}"),
        (2, 0.9, None),  # with a margin it takes more than one
        (8, 2.1, "{cpus: 3, gpus: 0}"),
        (1, 0.1, "{cpus: 0.25, gpus: 0}"),
        (1, 1.4, None),
        (1, 3.9, "{cpus: 4, gpus: 0}"),
        (0.5, 0.9, "{cpus: 1, gpus: 0}"),
    ],
)
def test_cpus_follow_what_is_kept_busy(cpus: float, busy: float, fits: str | None) -> None:
    assert override([used(cpus=busy)], Resources(cpus=cpus)) == fits


def test_a_trial_that_waits_for_a_crowded_node_is_not_given_less() -> None:
    assert suggestions([used(cpus=0.4, node_cpus=0.98)], ONE) == [
        "a trial could do with less, but its node has no room for more of them: its CPUs were 98% "
        "busy, its memory 5% taken"
    ]
    assert not suggestions([used(cpus=0.9, node_cpus=1.0)], ONE)
    assert override([used(cpus=0.2, node_memory=0.6)], ONE) is None


def test_a_gpu_is_not_shared_by_more_than_the_cpus_then_leave_room_for() -> None:
    usages = [on_gpu(30, 0.1, cpus=0.1, node_cpus=0.4)]
    assert override(usages, GPU) == "{cpus: 1, gpus: 0.5}"  # two take 80% of the node's CPUs


def test_trials_that_wait_for_data_are_told_what_helps() -> None:
    usages = [used(loading=0.1), used(loading=0.62), used(loading=0.7)]
    (said,) = suggestions(usages, ONE)
    assert said.startswith("62% of the time goes into loading data")
    assert not suggestions([used(loading=0.3)], ONE)


def test_trials_that_wait_for_data_are_not_given_fewer_cpus() -> None:
    (said,) = suggestions([used(loading=0.6, cpus=0.3)], Resources(cpus=4))
    assert "a CPU for each" in said


def test_little_seen_gives_no_advice() -> None:
    brief = [used(seconds=1.5, cpus=0.1)] * 3
    assert advice(brief, ONE) == suggestions(brief, ONE) == []
    assert suggestions([*brief, used(seconds=1.5, cpus=0.1)], ONE)


def test_of_several_ranks_it_says_whose_it_is() -> None:
    each = Resources(workers=4, cpus=4, gpus=0)
    first, second = advice([used()], each)
    assert first.endswith("(in rank 0; a trial takes 4 times that)")
    assert "{workers: 4, cpus: 2, gpus: 0}" in second


# When it is told


class Heard:
    """An advisor and what it said."""

    def __init__(self) -> None:
        self.said: list[list[str]] = []
        self.advisor = Advisor(ONE, lambda lines: self.said.append(list(lines)))

    def take(self, number: int, seconds: float, status: Status = Status.RUNNING) -> None:
        trial = Trial(number=number, params={}, run=1, started=0.0, status=status)
        self.advisor.take(trial, used(seconds=seconds))


def test_advice_is_given_once_after_three_trials() -> None:
    heard = Heard()
    heard.take(0, 60.0)
    heard.take(1, 60.0)
    assert not heard.said
    heard.take(2, 1.0)
    heard.take(3, 60.0)
    heard.advisor.tell()
    assert [lines[0][:24] for lines in heard.said] == ["the first 3 trials used:"]


def test_trials_that_have_just_begun_are_waited_for() -> None:
    heard = Heard()
    for seconds in (2.0, 4.0):
        for number in range(3):
            heard.take(number, seconds)
    assert not heard.said
    heard.take(1, 8.0)
    assert len(heard.said) == 1


def test_of_short_trials_all_that_are_measured_are_awaited() -> None:
    heard = Heard()
    for number in range(4):
        heard.take(number, 1.2, Status.PAUSED)
    assert not heard.said
    heard.take(4, 1.2, Status.COMPLETE)
    assert heard.said[0][0].startswith("the first 5 trials used:")


def test_a_short_sweep_is_advised_at_its_end_unless_it_was_over_at_once() -> None:
    heard = Heard()
    heard.take(0, 3.0, Status.COMPLETE)
    heard.advisor.tell()
    assert not heard.said
    heard.take(1, 3.0, Status.COMPLETE)
    heard.advisor.tell()
    assert len(heard.said) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_the_screen_tells_it(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200, color_system=None)
    objective = Objective(metric="loss", mode="min")
    with Progress(objective, total=lambda: 3, max_t=None, console=console) as progress:
        progress.say(advice([used(cpus=0.1)], ONE))
    assert "the first trial used: CPUs 0.1 of 1" in out.getvalue()
    assert "'hydra.sweeper.resources={cpus: 0.25, gpus: 0}' would fit" in out.getvalue()


# What is recorded, and the report


def record(made: Any, trial: int, usage: Usage | None, each: Resources = ONE, run: int = 1) -> None:
    """A trial's segment, as its worker notes it."""
    job = made.folder.job(trial, run)
    (job / ".hydra").mkdir(parents=True, exist_ok=True)
    segment = Recorder(made.folder, each).segment(job, seed=5, data={})
    segment.before(lambda *report: Decision.CONTINUE)(1, {}, None, False)
    segment.end(usage)


def test_the_longest_measured_segment_of_a_trial_is_read_back(
    make_sweep: Callable[..., Any],
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    for seconds in (2.0, 7.0, 3.0):
        record(made, 0, on_gpu(5, 0.3, seconds=seconds))
    record(made, 0, on_gpu(5, 0.3, seconds=4.0), run=2)
    usages, each = recorded(load_sweep(made.folder))
    assert usages == {0: on_gpu(5, 0.3, seconds=7.0)}
    assert each == ONE


def test_trials_that_were_given_something_else_are_left_out(make_sweep: Callable[..., Any]) -> None:
    made = make_sweep()
    for trial in range(3):
        made.ask(trial, lr=0.1)
        record(made, trial, used(cpus=trial / 10), ONE if trial < 1 else Resources(cpus=2))
    usages, each = recorded(load_sweep(made.folder))
    assert (list(usages), each) == ([1, 2], Resources(cpus=2))


def test_the_report_tells_what_was_used_and_what_would_fit(make_sweep: Callable[..., Any]) -> None:
    made = make_sweep()
    for trial in range(2):
        made.ask(trial, lr=0.1)
        record(made, trial, on_gpu(5 + trial, 0.2), GPU)
    table = usage_table(load_sweep(made.folder))
    assert table.rows[:2] == [
        ("GPU memory", "5.5 GiB", "6 GiB", "80 GiB"),
        ("GPU busy", "20%", "20%", "the time"),
    ]
    assert table.words.startswith("Measured over 20s of trials 0, 1. 'hydra.sweeper.resources={")


def test_the_report_says_where_too_little_or_nothing_was_measured(
    make_sweep: Callable[..., Any],
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    record(made, 0, None)
    table = usage_table(load_sweep(made.folder))
    assert (table.rows, table.words) == ((), "No trial was measured: each ended too soon.")
    record(made, 0, used(seconds=2.0, cpus=0.1))
    table = usage_table(load_sweep(made.folder))
    assert table.rows[0] == ("CPUs", "0.1", "0.1", "1")
    assert table.words.endswith("That is too little to say what would fit.")


@pytest.mark.slow
def test_a_sweep_tells_that_its_trials_wait_for_data(sweep: Any) -> None:
    swept = sweep(
        "loading.py",
        "hydra.sweeper.metric=loss",
        "hydra.sweeper.mode=min",
        "hydra.sweeper.num_samples=6",
        "hydra.sweeper.resources={cpus: 1}",
        "+x=interval(0, 1)",
    )
    assert swept.code == 0, swept.err
    assert len(re.findall(r"the first [345] trials used: CPUs ", swept.err)) == 1
    assert "of the time goes into loading data" in swept.err
    usages, each = recorded(load_sweep(swept.folder))
    assert (list(usages), each) == ([0, 1, 2, 3, 4], ONE)
    assert "usage" not in read_record(swept.folder.provenance(swept.folder.job(5, 1)))
    assert median(usage.loading for usage in usages.values()) > 0.5, usages
    assert all(usage.memory > 2**26 for usage in usages.values()), usages
    assert "of the time goes into loading data" in usage_table(load_sweep(swept.folder)).words
