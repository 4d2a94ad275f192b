"""Sweeps whose trials are repeated: told as means, paused, killed, retested, exported."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from sweeps.core.repeats import repeat_seed, seeds_for_apps
from sweeps.journal.events import Reported, Started
from sweeps.journal.status import Decision, Status
from sweeps.provenance import trial as provenance
from sweeps.results import load_sweep
from sweeps.retest.choose import new_seeds
from sweeps.retest.results import read_retest

LOSS = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=3"]
NOISY = ["repeated.py", "x=interval(0,4)", *LOSS, "hydra/sweeper/searcher=random"]
ASHA = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
ONE_BY_ONE = "hydra.sweeper.max_concurrent_trials=1"
THREE = "hydra.sweeper.repeats=3"
FOLDS = [THREE, "hydra.sweeper.repeats_key=data.fold"]


def logged(swept: Any, trial: int, repeat: int) -> dict[int, float]:
    """What a repeat wrote itself of its losses, by epoch, under all drivers."""
    own = swept.folder.path / "trials" / str(trial)
    files = sorted(own.glob(f"*/repeat-{repeat}/losses.log"))
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    return {int(epoch): float(loss) for epoch, loss in lines}


def check_means(swept: Any, count: int) -> None:
    """Every report is the mean of what the repeats wrote themselves."""
    reports = [event for event in swept.events if isinstance(event, Reported)]
    assert reports
    for report in reports:
        losses = [logged(swept, report.trial, repeat)[report.step] for repeat in range(count)]
        assert report.value == np.mean(losses)
        assert report.metrics["loss_std"] == np.std(losses, ddof=1)


def outcome(swept: Any) -> list[Any]:
    """What came of every trial, without when and where."""
    return [(t.status, t.value, sorted(t.reports), t.params) for t in swept.trials]


# Before anything starts


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["hydra.sweeper.repeats=0"], "hydra.sweeper.repeats is 0; it must be 1 or more"),
        (["hydra.sweeper.repeats=some"], "hydra.sweeper.repeats is 'some'"),
        (["hydra.sweeper.repeats_key=seed"], "hydra.sweeper.repeats is not set"),
        (
            [THREE, "hydra.sweeper.repeats_key=data.fld"],
            "hydra.sweeper.repeats_key: data.fld is not in the app's config; did you mean data",
        ),
        (
            [*FOLDS, "hydra.sweeper.checkpoint_key=data.fold"],
            "'data.fold', which is hydra.sweeper.checkpoint_key too",
        ),
        ([THREE, "hydra.sweeper.repeats_key=x"], "'x', which is searched too"),
        ([THREE, "hydra.sweeper.repeats_key=data"], "'data', which has keys of its own"),
    ],
)
def test_what_cannot_be_repeated_is_refused(start, asked: list[str], said: str) -> None:
    swept = start(*NOISY, *asked)
    assert swept.code == 2
    assert said in swept.err
    assert not swept.folder.path.exists()


def test_a_dry_run_of_an_app_without_a_seed_says_what_repeats_differ_in(start) -> None:
    unseeded = ["number.py", "x=interval(0,1)", THREE, "hydra.sweeper.dry_run=true"]
    assert "name the key of its seed" in " ".join(start(*unseeded).out.split())
    seeded = [*NOISY, THREE, "hydra.sweeper.dry_run=true"]
    assert "name the key of its seed" not in " ".join(start(*seeded).out.split())


# On Ray


@pytest.mark.slow
@pytest.mark.ray
def test_asha_compares_means_over_all_repeats_and_promotes_from_all_their_checkpoints(
    sweep,
) -> None:
    swept = sweep(*NOISY, *ASHA, THREE, "hydra.sweeper.num_samples=6")
    assert swept.code == 0, swept.err
    check_means(swept, count=3)
    assert sum(isinstance(event, Started) for event in swept.events) >= 2
    for trial in swept.trials:
        logs = [swept.read(trial.number, f"repeat-{i}/began.log") for i in range(3)]
        began = [[line.split() for line in log.splitlines()] for log in logs]
        seeds = {line[1] for lines in began for line in lines}
        assert seeds == {str(seed) for seed in seeds_for_apps(3, 3)}, "the same for all trials"
        rungs = [step for step in (0, 1, 3) if step < trial.step]
        assert [[int(line[0]) for line in lines] for lines in began] == [rungs] * 3
        recorded = provenance.of(load_sweep(swept.folder), trial.number).stood
        assert [stood.seed for stood in recorded] == [
            repeat_seed(3, trial.number, repeat) for repeat in range(3)
        ]
    paused = [event for event in swept.events if isinstance(event, Reported) and event.checkpoint]
    assert {event.step for event in paused if event.decision is Decision.PAUSE} <= {1, 3}


@pytest.mark.slow
@pytest.mark.ray
def test_the_best_repeat_is_exported_and_a_retest_has_new_seeds(sweep) -> None:
    swept = sweep(*NOISY, *ASHA, THREE, "hydra.sweeper.num_samples=3")
    best = load_sweep(swept.folder).best
    assert best is not None
    told = json.loads((swept.folder.best / "metrics.json").read_text())
    losses = [logged(swept, best.number, repeat)[best.step] for repeat in range(3)]
    assert told["repeat"] == {"number": int(np.argmin(losses)), "of": 3, "recorded": min(losses)}
    assert (swept.folder.best / "checkpoint" / "state.json").exists()

    again = sweep.caviar("retest", str(swept.folder.path), "--top", "1", "--seeds", "2")
    assert again.code == 0, again.err
    runs = swept.folder.retests.path.glob("trials/*/1/.hydra/config.yaml")
    seeds = {OmegaConf.load(run).seed for run in runs}
    assert seeds == {*new_seeds(3, 2)}
    assert seeds.isdisjoint(seeds_for_apps(3, 3))
    assert read_retest(swept.folder) is not None

    refused = sweep.caviar("reproduce", str(swept.folder.path), str(best.number))
    assert refused.code == 2
    assert "is 3 runs" in refused.err


@pytest.mark.slow
@pytest.mark.ray
def test_folds_get_their_own_key_and_a_process_that_dies_in_one_changes_no_number(
    sweep, tmp_path: Path
) -> None:
    some = [*NOISY, *ASHA, *FOLDS, ONE_BY_ONE, "hydra.sweeper.num_samples=3"]
    whole = sweep(*some, name="whole")
    for repeat in range(3):
        job = whole.job(0) / f"repeat-{repeat}"
        assert OmegaConf.load(job / ".hydra" / "config.yaml").data.fold == repeat
        assert f"data.fold={repeat}" in OmegaConf.load(job / ".hydra" / "overrides.yaml")
    flag = tmp_path / "died"
    died = sweep(*some, "kill_at=2", f"flag={flag}", name="died")
    assert died.code == 0, died.err
    assert flag.exists()
    assert sum(trial.losses for trial in died.trials) == 1
    check_means(died, count=3)
    assert outcome(died) == outcome(whole)


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_that_is_killed_goes_on_as_if_it_had_not_been(sweep) -> None:
    some = [*NOISY, *ASHA, THREE, ONE_BY_ONE, "hydra.sweeper.num_samples=6"]
    whole = sweep(*some, name="whole")
    driver = sweep.drive(*some)
    driver.wait_for_reports(4)
    driver.end(signal.SIGKILL)
    resumed = sweep(*some, "hydra.sweeper.resume=true")
    assert resumed.code == 0, resumed.err
    assert resumed.trials.run == 2
    check_means(resumed, count=3)
    assert outcome(resumed) == outcome(whole)


@pytest.mark.slow
@pytest.mark.ray
def test_folds_that_were_over_when_a_process_died_are_not_trained_again(
    sweep, tmp_path: Path
) -> None:
    died = [*NOISY, *FOLDS, "epochs=3", "kill_at=2", f"flag={tmp_path / 'died'}"]
    swept = sweep(*died, "hydra.sweeper.num_samples=1")
    assert swept.code == 0, swept.err
    assert swept.trials[0].losses == 1
    own = swept.folder.path / "trials" / "0"
    trained = {repeat: sorted(own.glob(f"*/repeat-{repeat}/began.log")) for repeat in range(3)}
    assert [len(files) for files in trained.values()] == [1, 2, 1]
    assert sorted(swept.trials[0].reports) == [1, 2, 3]
    check_means(swept, count=3)


@pytest.mark.slow
@pytest.mark.ray
def test_an_app_without_checkpoints_is_judged_by_means_and_never_paused(sweep) -> None:
    swept = sweep(*NOISY, *ASHA, THREE, "checkpoints=false", "hydra.sweeper.num_samples=4")
    assert swept.code == 0, swept.err
    check_means(swept, count=3)
    for repeat in range(3):
        assert sorted(logged(swept, 0, repeat)) == list(range(1, 10)) or repeat == 2
    assert "is judged only while the last of its repeats trains" in swept.err


@pytest.mark.slow
@pytest.mark.ray
def test_what_an_app_returns_and_nothing_else_is_a_mean(sweep) -> None:
    swept = sweep("number.py", "x=choice(1,2)", "hydra/sweeper/searcher=grid", THREE)
    assert swept.code == 0, swept.err
    for trial in swept.trials:
        assert trial.status is Status.COMPLETE
        assert trial.metrics["objective_std"] == 0
        assert trial.value == trial.metrics["objective"]


@pytest.mark.slow
@pytest.mark.ray
def test_each_rung_of_a_fidelity_is_trained_by_all_repeats(sweep) -> None:
    share = "hydra.sweeper.fidelity={name: epochs, min: 1, max: 9}"
    swept = sweep(*NOISY, ASHA[0], share, *FOLDS, "hydra.sweeper.num_samples=3")
    assert swept.code == 0, swept.err
    reports = [event for event in swept.events if isinstance(event, Reported)]
    assert {1, 2} <= {report.step for report in reports}
    for report in reports:
        job = swept.job(report.trial) / f"rung-{report.step}"
        lines = [(job / f"repeat-{i}" / "losses.log").read_text().split() for i in range(3)]
        curves = [list(map(float, line[1::2])) for line in lines]
        assert [len(curve) for curve in curves] == [report.fidelity] * 3
        assert report.value == min(np.mean(column) for column in zip(*curves, strict=True))


@pytest.mark.slow
@pytest.mark.ray
def test_each_repeat_trains_over_all_ranks(sweep) -> None:
    swept = sweep(
        *("ranks.py", "+x=interval(0,4)", *LOSS, "hydra/sweeper/searcher=random", *ASHA),
        *("hydra.sweeper.repeats=2", "hydra.sweeper.num_samples=2"),
        "hydra.sweeper.resources={workers: 2, cpus: 1}",
    )
    assert swept.code == 0, swept.err
    for repeat in range(2):
        lines = (swept.job(0) / f"repeat-{repeat}" / "begins.jsonl").read_text().splitlines()
        assert {json.loads(line)["rank"] for line in lines} == {0, 1}
    assert all("loss_std" in report.metrics for report in swept.trials[0].reports.values())
