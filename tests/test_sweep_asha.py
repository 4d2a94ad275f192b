"""Sweeps of apps that report, under ASHA."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ray

ASHA = [
    "hydra/sweeper/scheduler=asha",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.seed=3",
    "+x=interval(-5,5)",
]


def test_asha_stops_bad_trials_early_and_promoted_ones_go_on_at_their_own_epoch(sweep) -> None:
    swept = sweep(
        "curve.py", *ASHA, "hydra.sweeper.scheduler.max_t=27", "hydra.sweeper.num_samples=30"
    )

    assert swept.code == 0
    assert len(swept.trials) == 30
    assert swept.trials.steps < 30 * 27 / 3
    reached = [trial.step for trial in swept.trials]
    assert set(reached) == {1, 3, 9, 27}
    best = swept.trials.best
    assert best.step == 27
    assert best.promotions == 3
    for trial in swept.trials:
        epochs = list(range(1, trial.step + 1))
        assert swept.read(trial.number, "epochs.log").split() == [str(e) for e in epochs]
        assert sorted(trial.reports) == epochs


@pytest.mark.slow
def test_a_trial_without_checkpoints_is_stopped_but_never_paused(sweep) -> None:
    swept = sweep(
        "curve.py",
        *ASHA,
        "hydra.sweeper.scheduler.max_t=27",
        "hydra.sweeper.num_samples=12",
        "+checkpoints=false",
    )

    assert swept.code == 0
    assert len(swept.trials) == 12
    assert {trial.status.value for trial in swept.trials} <= {"stopped", "complete"}
    assert not any(trial.promotions for trial in swept.trials)
    assert swept.err.count("without a checkpoint") == 1


@pytest.mark.slow
def test_a_paused_trial_goes_on_when_it_has_left_its_slot(sweep) -> None:
    swept = sweep(
        "overlaps.py",
        *ASHA,
        "hydra.sweeper.scheduler.max_t=3",
        "+unwind_s=0.5",
        "hydra.sweeper.num_samples=6",
    )

    assert swept.code == 0
    assert swept.read(0, "segments.log").split() == ["begin", "end"] * 2
