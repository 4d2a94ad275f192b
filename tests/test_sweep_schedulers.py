"""Real sweeps under schedulers other than ASHA with promotion."""

from __future__ import annotations

from collections import Counter

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BRACKETS = (range(9), range(9, 12), range(12, 15))
COMMON = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "+x=interval(-5,5)"]


def overrides(name: str, num_samples: int, **options: int) -> list[str]:
    given = [f"hydra.sweeper.scheduler.{key}={value}" for key, value in options.items()]
    return [
        *COMMON,
        f"hydra/sweeper/scheduler={name}",
        *given,
        f"hydra.sweeper.num_samples={num_samples}",
        "hydra.sweeper.seed=3",
    ]


def test_hyperband_runs_its_brackets_and_promoted_trials_go_on_at_their_own_epoch(sweep) -> None:
    swept = sweep("curve.py", *overrides("hyperband", 15, max_t=9))

    assert swept.code == 0
    reached = [Counter(t.step for t in swept.trials if t.number in part) for part in BRACKETS]
    assert reached == [{1: 6, 3: 2, 9: 1}, {3: 2, 9: 1}, {9: 3}]
    for trial in swept.trials:
        epochs = [str(epoch) for epoch in range(1, trial.step + 1)]
        assert swept.read(trial.number, "epochs.log").split() == epochs


def test_asha_stop_needs_no_checkpoints_and_says_nothing_of_them(sweep) -> None:
    swept = sweep("curve.py", *overrides("asha_stop", 10, max_t=9), "+checkpoints=false")

    assert swept.code == 0
    assert swept.trials.counts["stopped"] >= 3
    assert swept.trials.counts["complete"] >= 1
    assert swept.trials.counts["stopped"] + swept.trials.counts["complete"] == 10
    assert "cannot pause" not in swept.err


def test_a_synchronous_bracket_lets_trials_without_checkpoints_run_on_and_says_so_once(
    sweep,
) -> None:
    swept = sweep("curve.py", *overrides("successive_halving", 4, max_t=3), "+checkpoints=false")

    assert swept.code == 0
    assert [trial.step for trial in swept.trials] == [3] * 4
    assert swept.err.count("it runs on to max_t; the scheduler asha_stop needs no checkpoints") == 1
