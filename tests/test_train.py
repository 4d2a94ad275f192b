"""The train app: alone, interrupted, resumed, and inside a sweep."""

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra

from sweeps import session, train
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.signals import Stop, stop_at_signals
from sweeps.space.literals import literal

ROOT = Path(__file__).resolve().parents[1]
FAST = ["trainer.epochs=3", "trainer.device=cpu", "model.width=16"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """A folder of its own, and logging as it was."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    GlobalHydra.instance().clear()


def run(monkeypatch, out, *overrides):
    """Run the app in this process."""
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides, f"hydra.run.dir={literal(str(out))}"])
    train.main()
    return out


def names(out):
    return sorted(p.name for p in (out / "checkpoints").iterdir())


def weights(out):
    from models import load_checkpoint

    return load_checkpoint(train.find_checkpoint(str(out)))["model"]


# Alone


def test_trains_and_says_what_came_of_it(monkeypatch, tmp_path, capsys):
    out = run(monkeypatch, tmp_path / "a run's folder, =1", *FAST)
    text = capsys.readouterr().out
    assert "best epoch" in text
    assert "test " in text
    assert "checkpoint  a run's folder, =1/checkpoints/000003" in text
    assert names(out) == ["000003"]


def test_a_resumed_run_goes_on_with_the_earlier_overrides(monkeypatch, tmp_path):
    whole = run(monkeypatch, tmp_path / "whole", *FAST, "lr_schedule=constant")
    one = run(monkeypatch, tmp_path / "1", "lr_schedule=constant", *FAST[1:], "trainer.epochs=1")
    two = run(monkeypatch, tmp_path / "2", f"resume={one}", "trainer.epochs=2")
    three = run(monkeypatch, tmp_path / "3", f"resume={two}/checkpoints/000002", "trainer.epochs=3")
    for key, tensor in weights(whole).items():
        assert torch.equal(weights(three)[key], tensor), key
    config = yaml.safe_load((three / ".hydra" / "config.yaml").read_text())
    assert config["model"]["width"] == 16


def test_merged_overrides_choose_each_group_once():
    earlier = ["model=softmax", "+x=1", "seed=3", "~trainer.threads"]
    assert train.merge_overrides(earlier, ["model=mlp", "x=2", "seed=4"]) == [
        "+x=1", "~trainer.threads", "model=mlp", "x=2", "seed=4",
    ]  # fmt: skip


def test_a_learning_rate_is_suggested_and_its_table_written(monkeypatch, tmp_path, capsys):
    out = run(monkeypatch, tmp_path / "out", *FAST, "lr_range_test=true")
    text = capsys.readouterr().out
    assert re.search(r"lowest loss at lr \S+; it (diverged at|did not diverge up to) \d", text)
    assert "suggested   optimizer.lr=0." in text
    assert "table       out/lr_range_test.csv" in text
    assert (out / "lr_range_test.csv").read_text().startswith("lr,loss,smoothed")
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize(
    ("diverged_at", "said"),
    [(3.14, "it diverged at 3.1"), (None, "it did not diverge up to 2, the end of the test")],
)
def test_the_lr_range_test_says_how_it_ended(monkeypatch, tmp_path, capsys, diverged_at, said):
    from models import LrRangeTest, Trainer

    found = LrRangeTest(lrs=[1.0, 2.0], losses=[2.0, 1.0], diverged_at=diverged_at)
    monkeypatch.setattr(Trainer, "lr_range_test", lambda self, parts: found)
    run(monkeypatch, tmp_path / "out", "lr_range_test=true")
    assert f"lowest loss at lr 2; {said}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message", "code"),
    [
        (["model.norm=bacth"], "model.norm is 'bacth'; did you mean 'batch'", 2),
        (["data=mnist"], "data.path is not set: add data.path=...", 2),
        (["data=npz", "data.path=nix.npz"], "data.path is 'nix.npz', which does not exist", 2),
        (["trainer.epochs=0"], "trainer.epochs is 0", 2),
        (["trainer.device=gpu"], "trainer.device is 'gpu'; did you mean 'cpu'? choose from", 2),
        (["trainer.device=cuda:99"], "trainer.device is 'cuda:99'; it must be auto", 2),
        (["trainer.epochs=1.5"], "trainer.epochs is 1.5; it must be a whole number, 1 or more", 2),
        (["trainer.batch_size=abc"], "trainer.batch_size is 'abc'; it must be a whole number", 2),
        (["trainer.clip_norm=abc"], "trainer.clip_norm is 'abc'; it must be a number, more", 2),
        (["trainer.batch_size=1"], "trainer.batch_size is 1; it must be 2 or more: batch norm", 2),
        (["optimizer.lr=foo"], "optimizer.lr is 'foo'; it must be a number, 0 or more", 2),
        (["lr_schedule.final=foo"], "lr_schedule.final is 'foo'; it must be a number", 2),
        (["averaging=ema", "averaging.decay=foo"], "averaging.decay is 'foo'; it must be a n", 2),
        (["model.depth=2.5"], "model.depth is 2.5; it must be a whole number, 0 or more", 2),
        (["model.width=x"], "model.width is 'x'; it must be a whole number, 1 or more", 2),
        (["model=resnet", "model.phi=x"], "model.phi is 'x'; it must be a number, finite", 2),
        (["seed=-1"], "seed is -1; it must be 0 or more", 2),
        (["+trainer.epoch=3"], "trainer: Trainer.__init__() got an unexpected keyword", 2),
        (["resume=nix"], "resume is 'nix'", 2),
        (["resume=damaged"], "state.json is damaged", 1),
    ],
)
def test_a_mistake_is_answered_in_one_message(
    monkeypatch, tmp_path, capsys, overrides, message, code
):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "state.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path / "out", *overrides)
    assert ended.value.code == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_the_newest_checkpoint_of_a_run_is_found(tmp_path):
    for name in ("000001", "000010", "000009", "000010-interrupted", "000011.partial"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert train.find_checkpoint(str(tmp_path)).name == "000010-interrupted"


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / ".hydra").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        train.find_checkpoint(str(tmp_path))


# Interrupted


def test_a_signal_asks_once_and_ends_the_second_time():
    before = signal.getsignal(signal.SIGINT)
    with stop_at_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_run_prints_the_command_that_goes_on(monkeypatch, tmp_path, capsys):
    steps = iter(range(100))
    monkeypatch.setattr(Stop, "__call__", lambda self: next(steps) >= 20)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path / "it's", *FAST)
    assert ended.value.code == 130
    assert names(tmp_path / "it's") == ["000001-interrupted"]
    text = capsys.readouterr().out
    assert "interrupted after 1 epoch" in text
    command = shlex.split(text.splitlines()[-1])
    assert command[:2] == ["caviar", "train"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    resumed = run(monkeypatch, tmp_path / "resumed", *command[2:])
    whole = run(monkeypatch, tmp_path / "whole", *FAST)
    for key, tensor in weights(whole).items():
        assert torch.equal(weights(resumed)[key], tensor), key


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_leaves_a_checkpoint(tmp_path, number):
    command = [sys.executable, "-m", "sweeps.train", "trainer.epochs=100000", "hydra.run.dir=out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    app = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    app.send_signal(number)
    text, _ = app.communicate(timeout=60)
    assert app.returncode == 130
    assert text.endswith("caviar train resume=out\n")
    assert names(tmp_path / "out")[0].endswith("-interrupted")


# Inside a sweep


@pytest.fixture
def in_a_sweep(tmp_path):
    """A segment whose driver answers from a list, then says continue."""
    sent = []

    def begin(answers=(), checkpoint=None):
        given = iter(answers)

        def send(step, metrics, folder, can_wait):
            sent.append((step, metrics, folder))
            assert folder is None or folder.is_dir()
            return next(given, Decision.CONTINUE)

        objective = Objective(metric="val_accuracy", mode="max")
        session.begin(
            session.Session(
                job_folder=tmp_path / "job",
                checkpoint=checkpoint,
                send=send,
                objective=objective,
                rungs=(2,),
            )
        )
        return sent

    yield begin
    session.end()


def test_a_trial_reports_each_epoch_and_writes_a_checkpoint_at_rungs_and_the_end(
    monkeypatch, tmp_path, capsys, in_a_sweep
):
    sent = in_a_sweep()
    run(monkeypatch, tmp_path / "job", *FAST)
    place = tmp_path / "job" / "checkpoints"
    assert [(step, folder) for step, _, folder in sent] == [
        (1, None),
        (2, place / "000002"),
        (3, place / "000003"),
    ]
    assert set(sent[0][1]) == {"train_loss", "val_loss", "val_accuracy"}
    assert "test" not in capsys.readouterr().out


def test_a_paused_trial_goes_on_where_it_was(monkeypatch, tmp_path, in_a_sweep):
    sent = in_a_sweep([Decision.CONTINUE, Decision.PAUSE])
    with pytest.raises(session.TrialEnded):
        run(monkeypatch, tmp_path / "job", *FAST)
    session.end()
    in_a_sweep(checkpoint=sent[-1][2])
    run(monkeypatch, tmp_path / "job", *FAST)
    assert [step for step, _, _ in sent] == [1, 2, 3]
    session.end()
    paused = [metrics for _, metrics, _ in sent]
    sent.clear()
    in_a_sweep()
    run(monkeypatch, tmp_path / "job2", *FAST)
    assert [metrics for _, metrics, _ in sent] == paused


def test_a_run_without_a_finite_epoch_fails(monkeypatch, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path / "out", *FAST, "optimizer.lr=1e30", "model.norm=none")
    assert ended.value.code == 1


def test_a_diverged_trial_reports_nan_without_a_checkpoint(monkeypatch, tmp_path, in_a_sweep):
    sent = in_a_sweep()
    run(monkeypatch, tmp_path / "job", *FAST, "optimizer.lr=1e9", "model.norm=none")
    step, metrics, folder = sent[-1]
    assert metrics["val_accuracy"] != metrics["val_accuracy"]
    assert folder is None
    assert step < 3


def test_a_trial_that_stops_early_writes_its_last_checkpoint(monkeypatch, tmp_path, in_a_sweep):
    sent = in_a_sweep()
    stops = ["trainer.epochs=20", "trainer.patience=3", "trainer.min_delta=1"]
    run(monkeypatch, tmp_path / "job", *FAST, *stops)
    (*_, (step, _, folder)) = sent
    assert step == 4
    assert folder == tmp_path / "job" / "checkpoints" / f"{step:06d}"


class PlainTrainer:
    """What the app asks of a trainer, and nothing besides."""

    epochs = 3

    def fit(self, parts, *, resume, on_epoch, stop):
        for epoch in range(1, 4):
            on_epoch(epoch, {"val_accuracy": epoch / 4}, self.save)
        return SimpleNamespace(objective=0.75)

    def save(self, folder):
        folder.mkdir(parents=True)
        return folder

    def evaluate(self, net, split):
        return {}


def test_a_trainer_that_never_ends_early_need_not_say_when_it_ends(tmp_path, in_a_sweep):
    sent = in_a_sweep()
    train.train({"trainer": PlainTrainer()})
    place = tmp_path / "job" / "checkpoints"
    assert [folder for _, _, folder in sent] == [None, place / "000002", place / "000003"]


def test_a_sweep_refuses_the_lr_range_test(monkeypatch, tmp_path, in_a_sweep):
    in_a_sweep()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="lr_range_test is true; in a sweep it must be false"):
        run(monkeypatch, tmp_path / "job", "lr_range_test=true")


def test_a_trials_mistake_is_raised_to_the_sweep(monkeypatch, tmp_path, in_a_sweep):
    in_a_sweep()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match=r"model\.norm is 'bacth'"):
        run(monkeypatch, tmp_path / "job", "model.norm=bacth")
