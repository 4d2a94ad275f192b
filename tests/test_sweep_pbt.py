"""Sweeps of an app under population based training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sweeps.journal.events import Started
from sweeps.results import load_sweep

pytestmark = pytest.mark.ray

PBT = [
    "hydra/sweeper/scheduler=pbt",
    "hydra/sweeper/searcher=random",
    "hydra.sweeper.metric=q",
    "hydra.sweeper.mode=max",
    "hydra.sweeper.seed=1",
    "hydra.sweeper.num_samples=4",
    "hydra.sweeper.scheduler.max_t=12",
    "hydra.sweeper.scheduler.perturbation_interval=2",
    "hydra.sweeper.scheduler.hyperparam_mutations=[h]",
    "+h=choice(0,1)",
    "+epochs=12",
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_the_worst_go_on_as_copies_of_the_best_and_the_best_model_is_handed_back(sweep) -> None:
    swept = sweep("population.py", *PBT, "hydra.sweeper.keep_checkpoints=4")

    assert swept.code == 0
    assert swept.statuses == ["complete"] * 4
    assert {trial.step for trial in swept.trials} == {12}
    check_copies(swept)
    check_export(swept)
    left = [path for trial in range(4) for path in swept.folder.checkpoints(trial)]
    assert left == [swept.folder.path / trial.best_checkpoint for trial in swept.trials]


def check_copies(swept: Any) -> None:
    """Each went on from another's checkpoint, in a job folder and with parameters of its own."""
    copies = [e for e in swept.events if isinstance(e, Started) and e.reason == "exploit"]
    assert len(copies) >= 3
    for copy in copies:
        job = swept.folder.path / Path(copy.checkpoint).parent.parent
        began = lines(job / "began.log")[0]
        assert copy.source != copy.trial
        assert copy.checkpoint.endswith(f"{copy.step:06d}")
        assert (began["epoch"], began["h"]) == (copy.step, copy.params["h"])
        assert began["by"][-1][0] == copy.source
        assert OmegaConf.load(job / ".hydra" / "config.yaml").h == copy.params["h"]


def check_export(swept: Any) -> None:
    """The best model is there with its last parameters, and the schedule is what trained it."""
    results = load_sweep(swept.folder)
    best = results.best
    assert best.value > 0.39  # the most that one value of h can reach
    state = json.loads((swept.folder.best / "checkpoint" / "state.json").read_text())
    assert 1.2 - state["x"] ** 2 - state["y"] ** 2 == best.value
    assert OmegaConf.load(swept.folder.best / "config.yaml").h == results.values(best)["h"]
    schedule = results.schedule(best)
    ends = [*(step for step, _ in schedule[1:]), best.best.step]
    parts = zip(schedule, ends, strict=True)
    trained = [values["h"] for (step, values), end in parts for _ in range(step, end)]
    assert trained == [h for _, h in state["by"]]
    assert "| after step | `h` |" in (swept.folder.best / "README.md").read_text()


def test_nothing_to_mutate_is_answered_with_what_is_swept(sweep) -> None:
    given = [a for a in PBT if "hyperparam_mutations" not in a]
    swept = sweep("population.py", *given)

    assert swept.code == 2
    assert "hyperparam_mutations is not set" in swept.err
    assert "goes on, of h:" in swept.err
