"""Sweeps of real apps, retested on Ray: through to the end, killed, extended, in a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sweeps.driver import retest as of_retest
from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Ended
from sweeps.journal.file import read_journal
from sweeps.journal.segments import read_events
from sweeps.journal.status import Status
from sweeps.results import load_sweep
from sweeps.retest.choose import new_seeds
from sweeps.retest.looks import looks
from sweeps.retest.results import Retest, read_retest
from sweeps.storage.folder import SweepFolder, find_sweep

pytestmark = pytest.mark.ray

LOSS = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=3"]
SEEDED = ["seeded.py", *LOSS, "x=choice(1,2,3)", "hydra/sweeper/searcher=grid"]
"""Of three trials."""


def retest_of(swept: Any) -> Retest:
    found = read_retest(swept.folder)
    assert found is not None
    return found


def configs(folder: SweepFolder) -> list[Any]:
    """What each run's app saw, by number."""
    jobs = sorted(folder.path.glob("trials/*/1/.hydra/config.yaml"), key=lambda p: int(p.parts[-4]))
    return [OmegaConf.load(job) for job in jobs]


def ended(folder: SweepFolder) -> list[int]:
    return [e.trial for e in read_journal(folder.journal) if isinstance(e, Ended)]


@pytest.mark.slow
def test_the_best_are_trained_again_each_with_the_same_new_seeds(sweep) -> None:
    swept = sweep(*SEEDED)
    place = str(swept.folder.path)
    again = sweep.caviar("retest", place, "--top", "2", "--seeds", "2")
    first = retest_of(swept)

    assert again.code == 0
    assert "trial" in again.out
    assert (first.ended, first.total, first.is_paired) == (4, 4, True)
    seen = [(config.x, config.seed) for config in configs(first.folder)]
    assert {x for x, _ in seen} == {2, first.configurations[1].entry.params["x"]}
    assert [seed for _, seed in seen[:2]] == [first.roster.seeds[0]] * 2
    assert 0 not in first.roster.seeds
    for configuration in first.configurations:
        luck = {
            run.seed: run.value - (configuration.entry.params["x"] - 2) ** 2
            for run in configuration.runs
        }
        assert luck == pytest.approx({r.seed: r.value for r in first.best.runs})
    refused = sweep.caviar("resume", str(first.folder.path))
    assert refused.code == 2
    assert f"caviar retest {place}" in refused.err


@pytest.mark.slow
def test_what_has_ended_is_not_trained_again_and_more_is_added(sweep) -> None:
    swept = sweep(*SEEDED)
    place = str(swept.folder.path)
    assert sweep.caviar("retest", place, "--top", "2", "--seeds", "2").code == 0
    first = retest_of(swept)
    journal = first.folder.journal.read_bytes()
    assert sweep.caviar("retest", place).code == 0
    assert first.folder.journal.read_bytes() == journal, "nothing was left to do"

    more = sweep.caviar("retest", place, "--top", "3", "--seeds", "3", "--json")
    longer = retest_of(swept)
    assert json.loads(more.out)["runs"] == {"total": 9, "ended": 9}
    assert first.folder.journal.stat().st_size > len(journal)
    assert sorted(ended(longer.folder)) == list(range(9)), "no run ended twice"
    assert longer.roster.runs[:4] == first.roster.runs
    assert {c.trial for c in longer.configurations} == {0, 1, 2}
    assert all(len(c.values) == 3 for c in longer.configurations)


def cut_short(again: Any, folder: SweepFolder, *, after: int) -> None:
    """Kill it with SIGKILL, and all that it began, once so many more runs have ended."""
    enough = after + (len(ended(folder)) if folder.journal.exists() else 0)
    again.wait_until(lambda: folder.journal.exists() and len(ended(folder)) >= enough)
    again.clean_up()


@pytest.mark.slow
def test_killed_again_and_again_it_trains_no_finished_run_twice_and_the_count_is_exact(
    start, tmp_path: Path
) -> None:
    driver = start.drive(*SEEDED)
    assert driver.process.wait(180) == 0, driver.output
    folder = driver.folder.retests
    command = [sys.executable, "-m", "sweeps.cli", "retest", str(driver.folder.path)]
    command += ["--top", "3", "--seeds", "4"]
    record = driver.folder.sweep_yaml.read_bytes()
    trained: dict[int, dict[str, str]] = {}
    for after in (1, 2, 3):
        again = type(driver)(command=command, output=tmp_path / f"{after}.txt", folder=folder)
        cut_short(again, folder, after=after)
        assert {n: epochs_of(folder, n) for n in trained} == trained
        trained = {n: epochs_of(folder, n) for n in ended(folder)}
    assert len(trained) >= 6
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    assert "12 of 12 runs ended" in done.stdout
    assert sorted(ended(folder)) == list(range(12))
    asked = [e.trial for e in read_journal(folder.journal) if isinstance(e, Asked)]
    assert asked == list(range(12))
    assert {n: epochs_of(folder, n) for n in trained} == trained
    assert {t.status for t in load_sweep(folder).trials} == {Status.COMPLETE}
    assert driver.folder.sweep_yaml.read_bytes() == record


def epochs_of(folder: SweepFolder, trial: int) -> dict[str, str]:
    """What a run wrote of its epochs, by job folder."""
    return {
        path.parent.name: path.read_text()
        for path in folder.path.glob(f"trials/{trial}/*/epochs.log")
    }


@pytest.mark.slow
def test_runs_that_the_sweep_stopped_early_go_to_the_last_step_and_no_further(sweep) -> None:
    early = ["hydra/sweeper/scheduler=asha_stop", "hydra.sweeper.scheduler.max_t=9"]
    swept = sweep("seeded.py", *LOSS, "x=interval(-5,5)", "epochs=100", *early)
    assert {trial.step for trial in swept.trials} > {1, 9}
    again = sweep.caviar("retest", str(swept.folder.path), "--seeds", "2")

    assert again.code == 0
    assert {t.step for t in load_sweep(swept.folder.retests).trials} == {9}
    assert retest_of(swept).max_t == 9


@pytest.mark.slow
def test_a_fidelity_of_the_config_is_whole_in_a_retest(sweep) -> None:
    share = [
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.fidelity={name: share, min: 0.1, max: 0.9}",
    ]
    swept = sweep("seeded.py", *LOSS, "x=interval(-5,5)", *share, "hydra.sweeper.num_samples=6")
    assert sweep.caviar("retest", str(swept.folder.path), "--seeds", "2").code == 0

    assert {config.share for config in configs(swept.folder.retests)} == {0.9}


@pytest.mark.slow
def test_conditional_parameters_exist_in_a_retest_where_they_did(sweep) -> None:
    when = "hydra.sweeper.when={width: {kind: large}}"
    swept = sweep(
        *("seeded.py", *LOSS, "x=choice(1,2)", "kind=choice(small,large)", "width=range(1,5)"),
        *(when, "hydra.sweeper.num_samples=12"),
    )
    assert sweep.caviar("retest", str(swept.folder.path), "--top", "8", "--seeds", "2").code == 0

    found = retest_of(swept)
    assert {"width" in c.entry.params for c in found.configurations} == {True, False}
    for config in configs(found.folder):
        assert config.kind == "large" or config.width == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "status"), [("fails", Status.FAILED), ("diverges", Status.DIVERGED)]
)
def test_runs_that_fail_or_diverge_end_no_retest(sweep, what: str, status: Status) -> None:
    swept = sweep(*SEEDED, f"{what}_with=1")
    assert swept.statuses == ["complete"] * 3
    again = sweep.caviar("retest", str(swept.folder.path), "--seeds", "4")

    assert again.code == 0, again.err
    for configuration in retest_of(swept).configurations:
        odd = [run.seed % 2 == 1 for run in configuration.runs]
        assert {True, False} == set(odd)
        assert [run.status is status for run in configuration.runs] == odd
    assert f"{sum(odd)} {status}: its mean is of the others alone" in again.out


@pytest.mark.slow
def test_a_retest_of_which_every_run_failed_is_a_failure(sweep) -> None:
    assert new_seeds(3, 1)[0] % 2 == 0
    swept = sweep(*SEEDED, "seed=1", "fails_with=0")
    assert swept.statuses == ["complete"] * 3
    again = sweep.caviar("retest", str(swept.folder.path), "--seeds", "1")

    assert again.code == 1
    assert "none of 3 runs gave a finite loss" in again.err


def test_a_retest_changes_nothing_of_a_configuration(make_sweep) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.end(0, Status.COMPLETE, 0.5)

    with pytest.raises(ConfigError, match="epochs=5 would change what was swept"):
        of_retest.retest(made.folder, of_retest.Asked(), overrides=["epochs=5"])


@pytest.mark.slow
def test_an_app_without_a_seed_is_told_of_and_its_runs_differ_in_their_generators(sweep) -> None:
    swept = sweep("curve.py", *LOSS, "+x=choice(1,2)", "+epochs=2", "hydra/sweeper/searcher=grid")
    again = sweep.caviar("retest", str(swept.folder.path), "--seeds", "2")

    assert again.code == 0
    assert "the app's config has no key 'seed'" in again.err
    assert not retest_of(swept).is_paired
    assert "all runs of a configuration gave the same value" in again.out

    wrong = sweep.caviar("retest", str(swept.folder.path), "--seed-key", "luck")
    assert wrong.code == 2
    assert "--seed-key is luck, and" in wrong.err


@pytest.mark.slow
def test_a_seed_key_that_the_config_lacks_is_wrong_usage(sweep) -> None:
    swept = sweep(*SEEDED)
    wrong = sweep.caviar("retest", str(swept.folder.path), "--seed-key", "sed")

    assert wrong.code == 2
    assert "--seed-key is 'sed': sed is not in the app's config; did you mean seed" in wrong.err
    assert not swept.folder.retests.roster.exists()


@pytest.mark.slow
def test_several_objectives_are_compared_by_the_first(sweep) -> None:
    both = ["hydra.sweeper.metric=[loss,cost]", "hydra.sweeper.mode=[min,min]"]
    swept = sweep("seeded.py", *both, "x=choice(0,1,2)", "hydra/sweeper/searcher=grid")
    again = sweep.caviar("retest", str(swept.folder.path), "--seeds", "2")

    assert again.code == 0, again.err
    assert "of the sweep's objectives loss alone is compared" in again.out
    assert retest_of(swept).best.entry.params["x"] == 2


@pytest.mark.slow
def test_what_was_swept_over_seeds_is_retested_over_new_ones(sweep) -> None:
    swept = sweep(
        *("seeded.py", *LOSS, "x=choice(1,2)", "seed=range(0,3)", "hydra/sweeper/searcher=grid")
    )
    assert sweep.caviar("retest", str(swept.folder.path), "--seeds", "2").code == 0

    found = retest_of(swept)
    assert [c.entry.params for c in found.configurations] == [{"x": 2}, {"x": 1}]
    assert {config.seed for config in configs(found.folder)} == set(found.roster.seeds)


@pytest.mark.slow
def test_a_sweep_in_a_bucket_is_retested_there(sweep, bucket: str) -> None:
    place = f"{bucket}/sweeps"
    swept = sweep(*SEEDED, f"hydra.sweeper.storage_path={place}", name="s")
    assert swept.code == 0, swept.err
    again = sweep.caviar("retest", f"{place}/s", "--top", "2", "--seeds", "2")
    folder = find_sweep(f"{place}/s")
    found = read_retest(folder)

    assert again.code == 0, again.err
    assert f"{place}/s/retest" in again.err
    assert found is not None
    assert (found.ended, found.total) == (4, 4)
    events = len(list(read_events(folder.retests)))
    assert sweep.caviar("retest", f"{place}/s").code == 0
    assert sweep.caviar("retest", f"{place}/s", "--seeds", "3").code == 0
    assert len(list(read_events(folder.retests))) > events
    assert read_retest(find_sweep(f"{place}/s")).ended == 6


@pytest.mark.slow
def test_fewer_resources_and_runs_at_once_can_be_asked_for(sweep) -> None:
    swept = sweep(*SEEDED)
    flags = ["--top", "2", "--seeds", "1", "--cpus", "0.5", "--concurrency", "1"]
    again = sweep.caviar("retest", str(swept.folder.path), *flags)

    assert again.code == 0
    assert "0.5 CPU" in again.err
    assert "1 run at once" in again.err or "1 runs at once" in again.err
    assert "one seed each tells no spread" in again.out


TINY = ["model=mlp", "model.width=8", "trainer.epochs=2", "trainer.device=cpu", "trainer.threads=1"]
TINY += ["hydra.sweeper.metric=val_accuracy", "hydra.sweeper.mode=max", "hydra.sweeper.seed=1"]


@pytest.mark.slow
def test_the_export_takes_the_best_mean_and_only_exports_look_at_test_data(sweep) -> None:
    lrs = ["optimizer.lr=choice(0.1,0.05,0.001)", "hydra/sweeper/searcher=grid"]
    swept = sweep("sweeps.train", *TINY, *lrs, "hydra.sweeper.export=false")
    place = str(swept.folder.path)
    early = sweep.caviar("export", place, "--by", "retest")
    assert early.code == 2
    assert "was not retested: caviar retest" in early.err
    again = sweep.caviar("retest", place, "--top", "2", "--seeds", "2")
    assert again.code == 0, again.err
    assert looks(swept.folder) == []
    assert "The test split was not looked at." in again.out

    found = retest_of(swept)
    best = min(found.best.runs, key=lambda run: (-run.value, run.trial))
    exported = sweep.caviar("export", place, "--by", "retest")
    assert exported.code == 0, exported.err
    assert "verified" in exported.out
    assert f"The configuration is that of trial {found.best.trial} of the sweep" in exported.out
    config = OmegaConf.load(swept.folder.best / "config.yaml")
    assert (config.seed, config.optimizer.lr) == (
        best.seed,
        found.best.entry.params["optimizer.lr"],
    )
    assert json.loads((swept.folder.best / "metrics.json").read_text())["trial"] == best.trial
    assert [look.what for look in looks(swept.folder)] == [
        f"export of trial {best.trial} of s/retest"
    ]
    assert looks(found.folder) == []

    assert sweep.caviar("export", place).code == 0
    assert "looked at 2 times" in sweep.caviar("retest", place).out
    assert "looked at 2 times" in (swept.folder.best / "README.md").read_text()
