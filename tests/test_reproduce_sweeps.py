"""Trials of every kind of sweep come out the same when they are trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.provenance.trial import of
from sweeps.rerun import Changes, Rerun
from sweeps.results import SweepResults, load_sweep
from sweeps.storage.folder import find_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

APPS = Path(__file__).parent / "apps"
LOSS = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=3"]


@pytest.fixture
def check(sweep: Any, tmp_path: Path) -> Callable[[str, int], str]:
    """Reproduces a trial, which must come out the same; what is printed."""

    def reproduce(place: str, trial: int) -> str:
        out = tmp_path / f"again-{trial}"
        done = sweep.caviar("reproduce", place, str(trial), "--out", str(out))
        assert done.code == 0, done.out + done.err
        assert "bit for bit" in done.out
        return str(done.out)

    return reproduce


def test_the_bundled_apps_network_with_dropout_batch_norm_and_averaging(
    sweep: Any, check: Callable[[str, int], str], tmp_path: Path
) -> None:
    swept = sweep.caviar(
        "sweep",
        "averaging=ema",
        "trainer.batch_size=128",
        "model.dropout=0.2",
        "optimizer.lr=tag(log,interval(0.01,0.3))",
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.scheduler.max_t=9",
        "hydra.sweeper.metric=val_loss",
        "hydra.sweeper.mode=min",
        "hydra.sweeper.num_samples=5",
        "hydra.sweeper.seed=1",
        "hydra.sweeper.name=s",
        f"hydra.sweeper.storage_path={sweep.storage}",
    )
    assert swept.code == 0, swept.err
    results = load_sweep(swept.folder)
    best = max(results.trials, key=lambda trial: trial.promotions)
    assert best.promotions >= 1
    check(str(swept.folder.path), best.number)
    found = of(results, best.number)
    assert {*found.data} == {"train", "validation", "test"}
    assert found.last is not None
    assert found.last.numerics["threads"] == 1  # as its trainer has it, and not the process
    assert found.last.machine["torch"]["cpu_capability"]
    straight = reports(results, best.number, tmp_path / "straight", straight=True)
    assert straight == {step: report.metrics for step, report in best.reports.items()}


def reports(
    sweep: SweepResults, trial: int, out: Path, *, straight: bool = False, change: str | None = None
) -> dict[int, Any]:
    changes = Changes(overrides=[change] if change else [])
    rerun = Rerun.of(sweep, trial, out=out, straight=straight, changes=changes)
    return {report.step: report.metrics for report in rerun.run()}


def test_another_seed_is_a_change_of_the_config(sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2,3\n")
    data = f"+data={tmp_path / 'rows.csv'}"
    swept = sweep("noisy.py", *LOSS, data, "+epochs=2", "+x=1,2", "hydra.sweeper.num_samples=1")
    results = load_sweep(swept.folder)
    (trial,) = results.trials
    assert (
        reports(results, 0, tmp_path / "same")[2]["noise/walk"]
        == (trial.reports[2].metrics["noise/walk"])
    )
    assert [*reports(results, 0, tmp_path / "longer", change="epochs=3")] == [1, 2, 3]
    rerun = Rerun.of(results, 0, out=tmp_path / "seed", changes=Changes(generators=7))
    walked = {report.step: report.metrics["noise/walk"] for report in rerun.run()}
    assert walked[2] != trial.reports[2].metrics["noise/walk"]
    assert rerun.returned == {"last": walked[2]}


def test_a_copy_is_trained_as_what_it_descends_from(
    sweep: Any, check: Callable[[str, int], str]
) -> None:
    swept = sweep(
        "population.py",
        "hydra/sweeper/scheduler=pbt",
        "hydra/sweeper/searcher=random",
        "hydra.sweeper.metric=q",
        "hydra.sweeper.mode=max",
        "hydra.sweeper.seed=1",
        "hydra.sweeper.num_samples=4",
        "hydra.sweeper.scheduler.max_t=8",
        "hydra.sweeper.scheduler.perturbation_interval=2",
        "hydra.sweeper.scheduler.hyperparam_mutations=[h]",
        "+h=choice(0,1)",
        "+epochs=8",
    )
    copy = next(trial for trial in swept.trials if trial.lineage)
    assert "all 8 numbers" in check(str(swept.folder.path), copy.number)


def test_each_rung_of_a_fidelity_is_trained_anew(
    sweep: Any, check: Callable[[str, int], str]
) -> None:
    swept = sweep(
        "share.py",
        *LOSS,
        "+x=interval(-1,1)",
        "hydra.sweeper.num_samples=4",
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.fidelity={name: +share, min: 0.1, max: 1}",
    )
    best = max(swept.trials, key=lambda trial: trial.step)
    assert best.step >= 2
    assert f"{best.step} of {best.step}" in check(str(swept.folder.path), best.number)


def test_a_trial_in_two_ranks(sweep: Any, check: Callable[[str, int], str]) -> None:
    swept = sweep(
        "ranks.py",
        *LOSS,
        "+x=range(1,4)",
        "hydra.sweeper.resources={workers: 2}",
        "hydra/sweeper/searcher=grid",
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.scheduler.max_t=9",
    )
    best = max(swept.trials, key=lambda trial: trial.step)
    assert best.step == 3
    assert "all 6 numbers" in check(str(swept.folder.path), best.number)


def test_a_module_with_structured_configs_gets_them_again(
    sweep: Any, check: Callable[[str, int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(APPS / "packaged")
    colours = ["model.colour=RED,BLUE", "hydra/sweeper/searcher=grid"]
    swept = sweep(
        "shop.train", *colours, "hydra.sweeper.metric=objective", "hydra.sweeper.mode=max"
    )
    assert swept.code == 0, swept.err
    assert "all 1 numbers" in check(str(swept.folder.path), 1)


def test_a_task_that_raised_raises_again(sweep: Any, check: Any, tmp_path: Path) -> None:
    swept = sweep("trouble.py", "+kind=raises,fine", "hydra/sweeper/searcher=grid")
    done = sweep.caviar("reproduce", str(swept.folder.path), "0", "--out", str(tmp_path / "raises"))
    assert done.code == 0, done.out + done.err
    assert "the same error: RuntimeError: no such luck" in done.out
    assert "all 1 numbers" in check(str(swept.folder.path), 1)


def test_a_trial_of_a_sweep_in_a_bucket(
    sweep: Any, bucket: str, check: Callable[[str, int], str]
) -> None:
    storage = f"{bucket}/sweeps"
    swept = sweep(
        "curve.py",
        *LOSS,
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.scheduler.max_t=3",
        "hydra.sweeper.num_samples=4",
        "+x=interval(-5,5)",
        f"hydra.sweeper.storage_path={storage}",
    )
    assert swept.code == 0, swept.err
    folder = find_sweep(f"{storage}/s")
    assert folder.remote is not None
    before = folder.remote.place.changed(folder.remote.place.sizes())
    assert sum(key.startswith("environments/") for key in before) == 1
    trial = max(load_sweep(folder).trials, key=lambda trial: trial.promotions).number
    assert "code " not in check(f"{storage}/s", trial)
    assert folder.remote.place.changed(folder.remote.place.sizes()) == before
