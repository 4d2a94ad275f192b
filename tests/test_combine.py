"""Ensembles and soups of the best trials: caviar's own trainer on the digits."""

import json
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sweeps.cli import main
from sweeps.errors import ConfigError, SweepError
from sweeps.export import export_best
from sweeps.export.combine import export_combined
from sweeps.export.trained import TrainedTrial
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder

ROOT = Path(__file__).resolve().parents[1]
OVERRIDES = ["data=digits", "model=mlp", "model.depth=1", "trainer.device=cpu", "trainer.epochs=2"]
WIDTHS = {0: 16, 1: 16, 2: 16, 3: 24}


def train(made, trial, *overrides, lr):
    """Train a trial to its end; its last report has a checkpoint."""
    job = made.folder.job(trial, 1)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        overrides = [*OVERRIDES, f"optimizer.lr={lr}", *overrides]
        config = compose("train", overrides=overrides, return_hydra_config=True)
    hydra = OmegaConf.create({"hydra": config.hydra})
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    (job / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, job / ".hydra" / "config.yaml")
    OmegaConf.save(hydra, job / ".hydra" / "hydra.yaml")

    def report(epoch, metrics, save):
        place = save(job / "checkpoints" / f"{epoch:06d}")
        made.report(trial, epoch, checkpoint=made.folder.relative(place), **report_of(metrics))

    made.ask(trial, **{"optimizer.lr": lr})
    parts = instantiate(config, _convert_="all")
    parts["trainer"].fit(parts, on_epoch=report)


def report_of(metrics):
    return {"value": metrics["val_accuracy"], "val_loss": metrics["val_loss"]}


def begin(make, *place):
    app = {"sys_path": [str(ROOT)], "file": None, "module": "sweeps.train"}
    return make(*place, {"optimizer.lr": "tag(log, interval(0.001, 1))"}, app=app)


@pytest.fixture(scope="module")
def trained(make_sweep_in, tmp_path_factory):
    """Three networks of one width and one of another, by seed and learning rate."""
    made = begin(make_sweep_in, tmp_path_factory.mktemp("trained"))
    for trial, width in WIDTHS.items():
        train(made, trial, f"model.width={width}", lr=0.02 * (trial + 1))
    return made.folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of that sweep, to write in."""
    shutil.copytree(trained.path, tmp_path / "sweep")
    return SweepFolder(tmp_path / "sweep")


@pytest.fixture
def made(make_sweep):
    """A sweep without trials yet."""
    return begin(make_sweep)


def loaded(folder):
    parts = instantiate(OmegaConf.load(folder / "config.yaml"), _convert_="all")
    return parts["trainer"], parts["trainer"].load(folder, parts)


def checkpoint(folder, trial):
    """A trial's own trainer and best model."""
    sweep = load_sweep(folder)
    found = TrainedTrial.of(sweep, sweep.trials[trial])
    parts = instantiate(found.config(), _convert_="all")
    return parts["trainer"], parts["trainer"].load(found.checkpoint, parts)


def mean_of_probabilities(folder, trials, *, temperature):
    """Each trial's own trainer predicts raw rows; the average of what they say, calibrated."""
    said = [trainer.predict(best.net, raw_digits()) for trainer, best in each(folder, trials)]
    return (torch.stack(said).mean(0).log() / temperature).softmax(1)


def each(folder, trials):
    return (checkpoint(folder, trial) for trial in trials)


def raw_digits():
    from sklearn.datasets import load_digits

    return load_digits().data[:200]


def test_an_ensemble_averages_the_probabilities_of_the_best_trials(folder):
    result = export_combined(folder, kind="ensemble", count=4)
    assert result.verified
    assert result.folder == folder.path / "ensemble"
    assert sorted(result.combined.trials) == [0, 1, 2, 3]
    trainer, best = loaded(result.folder)
    p = trainer.predict(best.net, raw_digits())
    assert best.temperature == result.calibration.temperature != 1
    expected = mean_of_probabilities(folder, range(4), temperature=best.temperature)
    torch.testing.assert_close(p, expected, atol=2e-6, rtol=0)
    assert trainer.evaluate(best.net, "validation")["accuracy"] == result.validation


@pytest.mark.parametrize("kind", ["ensemble", "soup"])
def test_metrics_stand_beside_the_best_trials_own(folder, kind):
    single = export_best(folder)
    result = export_combined(folder, kind=kind, count=3)
    assert result.trial == single.trial
    assert result.combined.single_validation == single.validation
    assert result.combined.single_test == single.test
    assert set(result.test) == {"accuracy", "loss", "ece"}
    written = json.loads((result.folder / "metrics.json").read_text())
    assert written["verified"]
    assert written["kind"] == kind
    assert written["trials"] == list(result.combined.trials)
    assert written["test"] == result.test
    assert written["single"]["test"] == single.test
    assert written["calibration"]["temperature"] == result.calibration.temperature
    assert set(written["calibration"]["ece"]) == {"validation", "test"}


def test_a_greedy_soup_is_never_worse_on_validation_rows_than_its_best_ingredient(folder):
    result = export_combined(folder, kind="soup", count=4)
    numbers = [*result.combined.trials, *result.combined.left_out]
    assert sorted(numbers) == [0, 1, 2, 3]
    assert re.search(r"blocks\.0\.0 is Linear.*24.* not Linear.*16", result.combined.left_out[3])
    trainer, best = checkpoint(folder, result.combined.trials[0])
    assert result.validation >= trainer.evaluate(best.net, "validation")["accuracy"]


def test_a_uniform_soup_holds_the_average_weights_and_statistics_of_its_own(folder):
    result = export_combined(folder, kind="soup", count=4, recipe="uniform")
    assert sorted(result.combined.trials) == [0, 1, 2]
    soup = safetensors.torch.load_file(result.folder / "weights.safetensors")
    states = [best.net.state_dict() for _, best in each(folder, range(3))]
    mean = {name: torch.stack([s[name].double() for s in states]).mean(0) for name in soup}
    torch.testing.assert_close(soup["head.weight"], mean["head.weight"].float())
    variance = "blocks.0.1.running_var"
    assert not torch.allclose(soup[variance], mean[variance].float(), rtol=0.01)


def test_the_cards_code_runs(folder, monkeypatch, capsys):
    result = export_combined(folder, kind="ensemble", count=2)
    card = (result.folder / "README.md").read_text()
    assert "ensemble of trials" in card.splitlines()[0]
    assert f"test, trial {result.trial} alone" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(result.folder.parent)
    exec(code, {})
    assert capsys.readouterr().out.startswith("Ensemble(")


@pytest.mark.slow
def test_the_command_tells_both_and_what_it_does(folder, capsys):
    assert main(["export", str(folder.path), "--soup", "4"]) == 0
    told = capsys.readouterr()
    assert re.search(r"soup +of trials? \d", told.out)
    assert "left out    trial 3: blocks.0.0 is Linear" in told.out
    assert re.search(r"validation +0\.\d+ +trial \d alone: 0\.\d+", told.out)
    assert re.search(r"test +accuracy 0\.\d+ +loss .* ece .* alone: accuracy", told.out)
    assert re.search(r"temperature +\S+ +validation ece \S+ -> \S+ +test ece", told.out)
    assert "loading and evaluating trial" in told.err
    assert "averaging weights: 2 evaluated" in told.err


def test_where_the_best_trial_alone_is_better_it_says_so(folder, capsys):
    assert main(["export", str(folder.path), "--soup", "3", "--recipe", "uniform"]) == 0
    told = capsys.readouterr().out
    value, alone = map(float, re.search(r"validation +(\S+) .*: (\S+)", told).groups())
    assert ("alone is better: combine fewer trials" in told) == (value < alone)


@pytest.mark.parametrize("wrong", [["--ensemble", "1"], ["--soup", "x"], ["--recipe", "greedy"]])
def test_a_wrong_number_is_wrong_usage(folder, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["export", str(folder.path), *wrong])
    assert ended.value.code == 2


def delete_checkpoints(folder, trial):
    shutil.rmtree(folder.job(trial, 1) / "checkpoints")


def test_where_checkpoints_are_gone_it_says_how_many_are_left_and_what_to_set(folder):
    ranked = [trial.number for trial in load_sweep(folder).ranked()]
    delete_checkpoints(folder, ranked[2])
    left = ", ".join(str(n) for n in ranked if n != ranked[2])
    said = (
        rf"--ensemble is 4, and of the 4 best trials 3 have their checkpoint on disk "
        rf"\(trial {left}\): sweep with hydra\.sweeper\.keep_checkpoints=4 or more; "
        rf"or ask for --ensemble 2"
    )
    with pytest.raises(SweepError, match=said):
        export_combined(folder, kind="ensemble", count=4)
    assert not list(folder.path.glob("*ensemble*"))


def test_more_trials_than_have_a_value_are_refused(folder):
    with pytest.raises(SweepError, match="--soup is 5; of 4 trials 4 have a value"):
        export_combined(folder, kind="soup", count=5)


def test_a_soup_of_networks_that_all_differ_is_refused(made):
    for trial, width in enumerate((8, 12)):
        train(made, trial, f"model.width={width}", lr=0.05)
    with pytest.raises(SweepError, match="no two of these 2 do: blocks"):
        export_combined(made.folder, kind="soup", count=2)
    assert not list(made.folder.path.glob(".soup*"))


def test_members_may_have_learned_from_other_scales(made):
    train(made, 0, lr=0.05)
    train(made, 1, "data.scaling=min_max", lr=0.05)
    result = export_combined(made.folder, kind="ensemble", count=2)
    trainer, best = loaded(result.folder)
    p = trainer.predict(best.net, raw_digits())
    expected = mean_of_probabilities(made.folder, range(2), temperature=best.temperature)
    torch.testing.assert_close(p, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("ensemble", r"member 2 gives accuracy .* it had other rows"),
        ("soup", "its rows are encoded or scaled otherwise"),
    ],
)
def test_members_that_saw_the_validation_rows_in_training_are_refused(made, kind, why):
    for seed in range(2):
        train(made, seed, f"data.split_seed={seed}", lr=0.05)
    with pytest.raises(SweepError, match=why):
        export_combined(made.folder, kind=kind, count=2)


def test_a_model_that_refers_to_other_keys_is_taken_along(made):
    width = "model.width=${trainer.batch_size}"
    train(made, 0, width, "trainer.batch_size=32", "+of=${model.width}", lr=0.05)
    train(made, 1, width, "trainer.batch_size=64", "+of=${model.width}", lr=0.05)
    result = export_combined(made.folder, kind="ensemble", count=2)
    config = OmegaConf.load(result.folder / "config.yaml")
    assert sorted(member.width for member in config.model.members) == [32, 64]
    assert config.of in (32, 64)


def test_a_trainer_that_cannot_combine_is_named_in_one_line(folder):
    for file in folder.path.glob("trials/*/1/.hydra/config.yaml"):
        config = OmegaConf.load(file)
        config.trainer._target_ = "collections.OrderedDict"
        OmegaConf.save(config, file)
    with pytest.raises(ConfigError, match="OrderedDict does not offer load") as said:
        export_combined(folder, kind="ensemble", count=2)
    assert "\n" not in str(said.value)
