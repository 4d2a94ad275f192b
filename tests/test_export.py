"""Exports of real trainings: caviar's own trainer on the digits, and apps without a trainer."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console

import models
from models import Trainer
from models.training import calibration
from sweeps.driver.summary import print_export
from sweeps.errors import ConfigError, SweepError
from sweeps.export import export_best
from sweeps.export.verify import TOLERANCE
from sweeps.journal.status import Decision, Status
from sweeps.render import number
from sweeps.results import load_sweep

ROOT = Path(__file__).resolve().parents[1]
OVERRIDES = ["data=digits", "model=mlp", "model.width=16", "model.depth=1", "trainer.device=cpu"]


def write_job(job: Path, config, hydra) -> None:
    """A Hydra job folder's config files."""
    (job / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, job / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), job / ".hydra" / "hydra.yaml")


def composed(*overrides: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=list(overrides), return_hydra_config=True)
    hydra = config.hydra
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config, hydra


def train(made, trial: int, *overrides: str, epochs: int, run=1, monitor="val_accuracy") -> None:
    """Train a trial as its lane would: every epoch reported with a checkpoint."""
    job = made.folder.job(trial, run)
    mode = "max" if monitor == "val_accuracy" else "min"
    config, hydra = composed(
        *OVERRIDES,
        f"seed={trial}",
        f"trainer.epochs={epochs}",
        f"trainer.monitor={monitor}",
        f"trainer.mode={mode}",
        f"optimizer.lr={0.05 / (trial + 1)}",
        *overrides,
    )
    write_job(job, config, hydra)
    parts = instantiate(config, _convert_="all")

    def report(epoch, metrics, save):
        place = save(job / "checkpoints" / f"{epoch:06d}")
        rest = {name: value for name, value in metrics.items() if name != "val_accuracy"}
        checkpoint = made.folder.relative(place)
        made.report(trial, epoch, metrics["val_accuracy"], checkpoint=checkpoint, **rest)

    made.ask(trial, **{"optimizer.lr": 0.05 / (trial + 1)})
    parts["trainer"].fit(parts, on_epoch=report)


@pytest.fixture
def made(make_sweep):
    """A sweep without trials yet."""
    return make_sweep(
        {"optimizer.lr": "tag(log, interval(0.001, 1))"},
        app={"sys_path": [str(ROOT)], "file": None, "module": "sweeps.train"},
    )


@pytest.fixture
def sweep(made):
    train(made, 0, epochs=2)
    return made


def digits_accuracy(result) -> float:
    parts = instantiate(OmegaConf.load(result.folder / "config.yaml"), _convert_="all")
    best = parts["trainer"].load(result.folder, parts)
    return parts["trainer"].evaluate(best.net, "validation")["accuracy"]


def test_the_best_trial_is_exported_and_verified(sweep):
    train(sweep, 1, epochs=1)
    result = export_best(sweep.folder)
    assert result.verified
    assert result.trial == 0
    assert result.folder == sweep.folder.best
    recorded = [
        e.value for e in sweep.events if getattr(e, "trial", None) == 0 and hasattr(e, "value")
    ]
    assert result.validation == pytest.approx(max(recorded), abs=TOLERANCE)
    assert digits_accuracy(result) == result.validation
    assert set(result.test) == {"accuracy", "loss", "ece"}


def test_an_export_holds_weights_config_metrics_and_a_card(sweep):
    result = export_best(sweep.folder)
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "weights.safetensors",
        "model.json",
        "config.yaml",
        "metrics.json",
        "README.md",
        "signature.json",
        "source",
    }
    assert safetensors.torch.load_file(result.folder / "weights.safetensors")
    preprocessing = json.loads((result.folder / "model.json").read_text())["preprocessing"]
    assert preprocessing["shape"] == [1, 8, 8]
    assert len(preprocessing["classes"]) == 10
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["verified"]
    assert metrics["validation"]["accuracy"] == result.validation
    assert metrics["test"] == result.test


def test_probabilities_are_calibrated_and_it_is_said_everywhere(sweep):
    result = export_best(sweep.folder)
    found = result.calibration
    kept = json.loads((result.folder / "model.json").read_text())["temperature"]
    assert kept == found.temperature != 1
    before, after = found.ece["test"]
    assert before == result.test["ece"]
    written = json.loads((result.folder / "metrics.json").read_text())["calibration"]
    assert written["ece"]["test"] == {"before": before, "after": after}
    card = (result.folder / "README.md").read_text()
    assert f"The temperature is {number(kept)}, fitted to the validation rows" in card
    assert f"| test | {number(before)} | {number(after)} |" in card
    console = Console(width=200, record=True, file=io.StringIO())
    print_export(result, console=console)
    assert f"test ece {number(before)} -> {number(after)}" in console.export_text()


class PlainTrainer:
    """What an export asks of a trainer, and nothing besides."""

    def __init__(self, **options):
        self.own = Trainer(**options)

    def load(self, folder, parts):
        return self.own.load(folder, parts)

    def evaluate(self, net, split):
        return self.own.evaluate(net, split)

    def export(self, best, folder):
        return self.own.export(best, folder)


class TrainerOfInfiniteLogits(PlainTrainer):
    """One that fits no temperature to them."""

    def calibrate(self, best):
        raise ValueError("a logit is -inf")


@pytest.mark.parametrize("trainer", [PlainTrainer, TrainerOfInfiniteLogits])
def test_a_model_without_a_temperature_is_exported_all_the_same(sweep, trainer, monkeypatch):
    monkeypatch.setattr(models, "Trainer", trainer)
    result = export_best(sweep.folder)
    assert result.verified
    assert result.calibration is None
    assert "## Calibration" not in (result.folder / "README.md").read_text()
    assert json.loads((result.folder / "metrics.json").read_text())["calibration"] is None


def test_the_cards_code_runs(sweep):
    result = export_best(sweep.folder)
    card = (result.folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=result.folder.parent,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Linear" in done.stdout


def test_the_card_tells_where_the_model_comes_from(sweep):
    card = (export_best(sweep.folder).folder / "README.md").read_text()
    assert "# sweep, trial 0" in card
    assert "| `optimizer.lr` | `tag(log, interval(0.001, 1.0))` | `0.05` |" in card
    assert "| `model` | `mlp` |" in card
    assert "| seed of the search | 7 |" in card


def test_another_trial_and_another_folder_can_be_asked_for(sweep, tmp_path):
    train(sweep, 1, epochs=1)
    result = export_best(sweep.folder, trial=1, out=tmp_path / "models" / "one")
    assert result.trial == 1
    assert result.verified
    assert not sweep.folder.best.exists()
    assert digits_accuracy(result) == result.validation


@pytest.mark.parametrize(("temperature", "is_told"), [(100.0, True), (0.01, True), (1.3, False)])
def test_a_temperature_at_the_end_of_its_range_is_told(sweep, monkeypatch, temperature, is_told):
    monkeypatch.setattr(calibration, "fit_temperature", lambda z, y: temperature)
    result = export_best(sweep.folder)
    assert json.loads((result.folder / "metrics.json").read_text())["calibration"]["at_bound"] is (
        is_told
    )
    card = (result.folder / "README.md").read_text()
    assert ("The fit ran to the end of its range" in card) is is_told
    console = Console(file=io.StringIO(), width=200)
    print_export(result, console=console)
    assert ("the fit ran to the end of its range" in console.file.getvalue()) is is_told


def test_a_trial_by_its_number_has_a_folder_of_its_own_beside_the_best(sweep):
    train(sweep, 1, epochs=1)
    best = export_best(sweep.folder)
    kept = (best.folder / "metrics.json").read_text()
    other = export_best(sweep.folder, trial=1)
    assert other.folder == sweep.folder.path / "trial-1"
    assert json.loads((other.folder / "metrics.json").read_text())["trial"] == 1
    assert (best.folder / "metrics.json").read_text() == kept


def test_a_promoted_trial_is_taken_from_the_run_of_its_checkpoint(sweep):
    sweep.run = 2
    job = sweep.folder.job(0, 2)
    job.mkdir(parents=True)  # a run that ended before it wrote anything
    assert export_best(sweep.folder).verified


def test_the_newest_checkpoint_serves_where_the_best_one_is_gone(sweep):
    checkpoints = sorted((sweep.folder.job(0, 1) / "checkpoints").iterdir())
    best = max(
        (e for e in sweep.events if getattr(e, "value", None) is not None), key=lambda e: e.value
    )
    for folder in checkpoints[:-1]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert export_best(sweep.folder).validation == pytest.approx(best.value, abs=TOLERANCE)


def test_a_model_that_is_not_what_was_recorded_is_not_exported(sweep):
    before = export_best(sweep.folder)
    kept = (before.folder / "README.md").read_text()
    checkpoint = sorted((sweep.folder.job(0, 1) / "checkpoints").iterdir())[0]
    name = sweep.folder.relative(checkpoint)
    sweep.report(0, 3, 1.0, checkpoint=name)
    with pytest.raises(SweepError, match=r"recorded val_accuracy 1\.0, and its checkpoint"):
        export_best(sweep.folder)
    assert (before.folder / "README.md").read_text() == kept
    assert not list(sweep.folder.path.glob(".best*"))


def test_a_best_report_that_no_checkpoint_holds_is_named(sweep):
    sweep.report(0, 3, 1.0)
    with pytest.raises(SweepError, match="ended before it wrote one of step 3, its best, or later"):
        export_best(sweep.folder)


@pytest.mark.parametrize("left", ["best", "newest"])
def test_of_equally_good_epochs_either_is_exported_with_the_recorded_objective(made, left):
    """With a step too small to change a class the first epoch is the sweep's best, and the last,
    with the lowest loss, the trainer's."""
    train(made, 0, "optimizer.lr=1e-7", "model.norm=none", epochs=3)
    trial = load_sweep(made.folder).best
    losses = {step: report.metrics["val_loss"] for step, report in trial.reports.items()}
    assert {report.value for report in trial.reports.values()} == {trial.value}
    assert losses[1] > losses[2] > losses[3]
    if left == "newest":
        shutil.rmtree(made.folder.resolve(trial.best_checkpoint))
    result = export_best(made.folder)
    epoch = json.loads((result.folder / "metrics.json").read_text())["step"]
    assert (trial.best.step, epoch) == (1, 1 if left == "best" else 3)
    assert result.validation == trial.value
    metrics = json.loads((result.folder / "metrics.json").read_text())["validation"]
    assert metrics["loss"] == pytest.approx(losses[epoch])


def test_a_damaged_checkpoint_is_named_and_nothing_is_replaced(sweep):
    export_best(sweep.folder)
    for file in (sweep.folder.job(0, 1) / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SweepError, match="cannot be loaded"):
        export_best(sweep.folder)
    assert (sweep.folder.best / "weights.safetensors").exists()


def test_a_folder_with_something_else_is_never_replaced(sweep, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else than an export"):
        export_best(sweep.folder, out=tmp_path / "notes")
    assert (tmp_path / "notes" / "thesis.tex").read_text() == "mine"


def test_an_unknown_trial_is_refused(sweep):
    with pytest.raises(ConfigError, match="--trial is 5; the sweep has trials 0 to 0"):
        export_best(sweep.folder, trial=5)


def test_a_failed_trial_is_refused(sweep):
    sweep.ask(1, **{"optimizer.lr": 0.1})
    sweep.end(1, Status.FAILED, error="x")
    with pytest.raises(SweepError, match="trial 1 is failed and has no value"):
        export_best(sweep.folder, trial=1)


def test_a_sweep_without_a_value_has_nothing_to_export(make_sweep):
    with pytest.raises(SweepError, match="nothing to export"):
        export_best(make_sweep().folder)


# Apps without a trainer of this kind


@pytest.fixture
def foreign(make_sweep):
    """A sweep of an app that reports checkpoints of its own making."""
    made = make_sweep({"lr": "interval(0, 1)"})
    _, hydra = composed()
    config = {"lr": 0.5, "out": "${hydra:runtime.output_dir}", "key": "${oc.env:SECRET_KEY}"}
    write_job(made.folder.job(0, 1), OmegaConf.create(config), hydra)
    checkpoint = made.folder.job(0, 1) / "checkpoints" / "000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.bin").write_bytes(b"weights")
    made.ask(0, lr=0.5)
    made.report(0, 1, 0.5, Decision.PAUSE, checkpoint=made.folder.relative(checkpoint))
    return made


def test_without_a_trainer_the_checkpoint_is_copied_and_said_to_be_unverified(foreign):
    result = export_best(foreign.folder)
    assert not result.verified
    assert result.reason == "it is the checkpoint as the app wrote it"
    assert (result.folder / "checkpoint" / "weights.bin").read_bytes() == b"weights"
    assert OmegaConf.load(result.folder / "config.yaml").lr == 0.5
    assert "**Not verified:**" in (result.folder / "README.md").read_text()
    assert not json.loads((result.folder / "metrics.json").read_text())["verified"]


def test_a_secret_of_the_environment_is_not_written_down(foreign, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    folder = export_best(foreign.folder).folder
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(b"hunter2" in content for content in written)


def test_an_unverified_export_is_replaced_by_the_next(foreign):
    export_best(foreign.folder)
    assert export_best(foreign.folder).folder.is_dir()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("collections.OrderedDict", "does not offer load, evaluate, export"),
        ("no.such.thing", "cannot be imported"),
    ],
)
def test_a_trainer_that_cannot_export_is_named(foreign, target, reason):
    file = foreign.folder.job(0, 1) / ".hydra" / "config.yaml"
    OmegaConf.save({"trainer": {"_target_": target}}, file)
    result = export_best(foreign.folder)
    assert not result.verified
    assert reason in result.reason


def test_without_a_checkpoint_there_is_nothing_to_export(foreign):
    foreign.ask(1, lr=0.6)
    _, hydra = composed()
    write_job(foreign.folder.job(1, 1), OmegaConf.create({"lr": 0.6}), hydra)
    foreign.end(1, Status.COMPLETE, 0.9)
    with pytest.raises(SweepError, match="trial 1 reported no checkpoint"):
        export_best(foreign.folder)
    assert not foreign.folder.best.exists()


def test_what_only_the_job_knew_is_filled_in(sweep):
    file = sweep.folder.job(0, 1) / ".hydra" / "config.yaml"
    config = OmegaConf.load(file)
    config.job_name = "${hydra:job.config_name}"
    config.home = "${oc.env:HOME}"
    config.twice = "${seed}"
    OmegaConf.save(config, file)
    raw = OmegaConf.to_container(OmegaConf.load(export_best(sweep.folder).folder / "config.yaml"))
    assert raw["job_name"] == "train"
    assert (raw["home"], raw["twice"]) == ("${oc.env:HOME}", "${seed}")


def test_an_export_leaves_the_process_as_it_was(sweep):
    before = (os.getcwd(), list(sys.path))
    export_best(sweep.folder)
    assert (os.getcwd(), sys.path) == before
