"""Trials of real sweeps, trained again and compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.cli import main
from sweeps.errors import ConfigError
from sweeps.provenance.trial import of
from sweeps.reproduce.compare import Miss, compare, measures_time
from sweeps.rerun import Changes, Rerun
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder

SECRET = "sk-not-for-others"
HUB = f"hub={{api_key: {SECRET}, url: here}}"


# Numbers


def test_numbers_are_compared_bit_for_bit() -> None:
    nan = float("nan")
    then = [(1, {"loss": 0.1, "nan": nan, "zero": 0.0}), (2, {"loss": 0.3}), (None, {"end": 1.0})]
    now = [(1, {"loss": 0.1, "nan": nan, "zero": -0.0}), (2, {"loss": 0.1 + 0.2})]
    found = compare(then, now)
    assert not found.is_equal
    assert found.equal == {"loss": 1, "nan": 1, "zero": 0, "end": 0}
    assert found.misses == [
        Miss(step=1, metric="zero", then=0.0, now=-0.0),
        Miss(step=2, metric="loss", then=0.3, now=0.1 + 0.2),
        Miss(step=None, metric="end", then=1.0, now=None),
    ]


def test_what_was_not_reported_then_is_a_difference_too() -> None:
    assert compare([], [(1, {"loss": 0.1})]).misses == [
        Miss(step=1, metric="loss", then=None, now=0.1)
    ]
    assert not compare([], []).is_equal


@pytest.mark.parametrize("name", ["epoch_time", "it/s", "train.seconds", "samples_per_sec", "ETA"])
def test_what_measures_time_is_left_out(name: str) -> None:
    assert measures_time(name)
    found = compare([(1, {name: 1.0, "loss": 2.0})], [(1, {name: 3.0, "loss": 2.0})])
    assert found.is_equal
    assert found.left_out == [name]


@pytest.mark.parametrize("name", ["loss", "val_accuracy", "sentiment", "timeless", "bias"])
def test_what_does_not_is_compared(name: str) -> None:
    assert not measures_time(name)


# The command


def test_a_trial_that_is_not_named_or_not_there_is_told(
    make_sweep: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    with pytest.raises(SystemExit, match="2"):
        main(["reproduce", str(made.folder.path)])
    assert "the following arguments are required: TRIAL\n" in capsys.readouterr().err
    assert main(["reproduce", str(made.folder.path), "77"]) == 2
    assert "process" not in capsys.readouterr().err


# Trials

ASHA = [
    "hydra/sweeper/scheduler=asha",
    "hydra.sweeper.scheduler.max_t=9",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.seed=3",
    "+x=interval(-5,5)",
]


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def noisy(sweep: Any, tmp_path: Path) -> Any:
    """A sweep whose best trial was paused, of an app whose numbers depend on where."""
    (tmp_path / "rows.csv").write_text("1,2,3\n")
    swept = sweep(
        "noisy.py",
        *ASHA,
        f"+data={tmp_path / 'rows.csv'}",
        "+epochs=9",
        f"+{HUB}",
        "hydra.sweeper.num_samples=4",
    )
    assert swept.code == 0, swept.err
    return swept


def promoted(folder: SweepFolder) -> int:
    """A trial that was paused and went on."""
    return max(load_sweep(folder).trials, key=lambda trial: trial.promotions).number


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_that_was_paused_comes_out_the_same_and_no_secret_is_told(
    noisy: Any, sweep: Any, tmp_path: Path
) -> None:
    folder, number = noisy.folder, promoted(noisy.folder)
    before = snapshot(folder.path)
    assert not [name for name, content in before.items() if SECRET.encode() in content]
    assert yaml.safe_load((noisy.job(number) / ".hydra" / "config.yaml").read_text())["hub"] == {
        "api_key": "***",
        "url": "here",
    }
    place, out = str(folder.path), tmp_path / "again"
    refused = sweep.caviar("reproduce", place, str(number), "--out", str(out))
    assert refused.code == 2
    assert f"hub: the record of trial {number} keeps no secrets" in refused.err

    done = sweep.caviar("reproduce", place, str(number), HUB, "--out", str(out))
    assert done.code == 0, done.out + done.err
    steps = load_sweep(folder).trials[number].step
    assert f"all {2 * steps} numbers, bit for bit" in done.out
    assert "left out    seconds" in done.out
    assert SECRET not in done.out + done.err
    assert not [name for name, content in snapshot(out).items() if SECRET.encode() in content]
    assert snapshot(folder.path) == before
    result = json.loads((out / "reproduce.json").read_text())
    assert (result["equal"], result["differences"]) == (True, [])

    check_record(folder, number)


def check_record(folder: SweepFolder, number: int) -> None:
    """Everything that a trial records is there, each environment once."""
    found = of(load_sweep(folder), number)
    assert found.seed == found.stood[0].seed
    assert found.config["epochs"] == 9
    assert found.versions["numpy"]
    assert found.hardware["cpu"]["model"]
    assert found.code is not None
    assert len(found.code["commit"]) == 40
    assert found.data["rows"].startswith("sha256:")
    assert len([*(folder.path / "environments").iterdir()]) == 1


def numbers(folder: SweepFolder, number: int, out: Path, hub: str, *, straight: bool) -> list[Any]:
    rerun = Rerun.of(
        load_sweep(folder), number, out=out, changes=Changes(overrides=[hub]), straight=straight
    )
    return [(report.step, report.metrics["noise/walk"]) for report in rerun.run()]


@pytest.mark.ray
@pytest.mark.slow
def test_without_its_pauses_such_an_app_gives_other_numbers(noisy: Any, tmp_path: Path) -> None:
    number = promoted(noisy.folder)
    straight = numbers(noisy.folder, number, tmp_path / "straight", HUB, straight=True)
    assert straight != numbers(noisy.folder, number, tmp_path / "paused", HUB, straight=False)


@pytest.mark.ray
@pytest.mark.slow
def test_another_seed_version_cpu_and_data_are_each_told_by_name(
    noisy: Any, sweep: Any, tmp_path: Path
) -> None:
    number, other = promoted(noisy.folder), SweepFolder(tmp_path / "other")
    shutil.copytree(noisy.folder.path, other.path)
    change(other.sweep_yaml, f"seed: {load_sweep(other).record.seed}\n", "seed: 12345\n")
    (environment,) = (other.path / "environments").iterdir()
    recorded = json.loads(environment.read_text())
    recorded["packages"]["numpy"], recorded["cpu"]["model"] = "0.1", "Z80"
    environment.write_text(json.dumps(recorded))
    (tmp_path / "rows.csv").write_text("1,2,3,4\n")

    told = sweep.caviar(
        "reproduce", str(other.path), str(number), HUB, "--out", str(tmp_path / "differs")
    )
    assert told.code == 1
    assert "different" in told.out
    for kind, what in (
        ("seed", "seed of the generators"),
        ("data", "rows sha256:"),
        ("package", "numpy 0.1 -> "),
        ("cpu", "model Z80 -> "),
    ):
        line = next(line for line in told.out.splitlines() if line.startswith(f"{kind} "))
        assert what in line
    assert "code " not in told.out


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_what_cannot_be_is_refused(make_sweep: Callable[..., Any], start: Any) -> None:
    made = make_sweep()
    place = str(made.folder.path)
    for arguments, told in (
        (["0"], "has no trial 0: it has none yet"),
        (["x"], "argument TRIAL: invalid int value"),
        (["0", "lr"], "'lr' is not an override"),
    ):
        done = start.caviar("reproduce", place, *arguments)
        assert done.code == 2
        assert told in done.err
    made.ask(0, lr=0.1)
    done = start.caviar("reproduce", place, "0")
    assert done.code == 1
    assert "trial 0" in done.err
    assert "has reported nothing" in done.err


def test_an_older_folder_is_not_overwritten(make_sweep: Callable[..., Any], tmp_path: Path) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    job = made.folder.job(0, 1) / ".hydra"
    job.mkdir(parents=True)
    overrides = {"task": [], "hydra": []}
    (job / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": overrides}}))
    (job / "config.yaml").write_text("lr: 0.1\n")
    (tmp_path / "app.py").write_text("")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(ConfigError, match="is there already: nothing in it was overwritten"):
        Rerun.of(load_sweep(made.folder), 0, out=out)
