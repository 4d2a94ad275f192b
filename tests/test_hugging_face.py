"""The Hugging Face Trainer in a trial, with a driver that only answers."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

import sweeps
from sweeps import session
from sweeps.integrations.hugging_face import SweepCallback
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision

pytestmark = pytest.mark.slow

EPOCHS, STEPS_IN_EPOCH = 3, 3
TINY = DistilBertConfig(
    vocab_size=32, max_position_embeddings=8, dim=8, hidden_dim=8, n_layers=1, n_heads=1
)
WHOLE = {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


class Trial:
    """What a trial in this process has said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pause_at: int | None = None
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.checkpoints: dict[int, set[str]] = {}

    def send(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        self.reports.append((step, metrics))
        if checkpoint is not None:
            self.checkpoints[step] = {path.name for path in checkpoint.iterdir()}
        return Decision.PAUSE if step == self.pause_at else Decision.CONTINUE

    def begin(self, *rungs: int, go_on_from: int | None = None) -> None:
        place = self.folder / "checkpoints"
        session.begin(
            session.Session(
                job_folder=self.folder,
                checkpoint=None if go_on_from is None else place / f"{go_on_from:06d}",
                send=self.send,
                objective=Objective(metric="eval_loss", mode="min"),
                rungs=rungs,
                clock=lambda: 0.0,
            )
        )

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.reports]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    yield Trial(tmp_path / "job")
    session.end()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the Trainer itself writes."""
    return tmp_path / "out"


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 32, (count, 6), generator=generator)
    return [{"input_ids": row, "labels": int(row.sum() % 2)} for row in words]


def trainer(out: Path, *callbacks: Any, evaluated: Any = None, **arguments: Any) -> Trainer:
    """One whose weights, dropout and rows' order come from the seed alone."""
    set_seed(0)
    settings = {"eval_strategy": "epoch", "save_strategy": "no", "num_train_epochs": EPOCHS}
    settings |= {"learning_rate": 1e-2, "disable_tqdm": True}
    return Trainer(
        model=DistilBertForSequenceClassification(TINY),
        args=TrainingArguments(
            output_dir=str(out),
            per_device_train_batch_size=8,
            use_cpu=True,
            dataloader_pin_memory=False,
            report_to="none",
            **{**settings, **arguments},
        ),
        train_dataset=rows(8 * STEPS_IN_EPOCH, seed=1),
        eval_dataset=rows(8, seed=2) if evaluated is None else evaluated,
        callbacks=list(callbacks),
    )


def weights(of: Trainer) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in of.model.state_dict().values()]


def same(ones: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def test_outside_a_sweep_it_does_nothing(out: Path) -> None:
    plain = trainer(out)
    plain.train()
    called = trainer(out, SweepCallback())
    called.train(resume_from_checkpoint=sweeps.get_checkpoint())

    assert same(weights(plain), weights(called))
    assert not list(out.rglob("*"))


def test_each_evaluation_is_a_report_and_at_rungs_there_are_checkpoints(
    trial: Trial, out: Path
) -> None:
    trial.begin(1, 3)
    trained = trainer(out, SweepCallback())
    trained.train()
    told = [entry["eval_loss"] for entry in trained.state.log_history if "eval_loss" in entry]

    assert trial.reports == [(step, {"eval_loss": loss}) for step, loss in enumerate(told, start=1)]
    assert set(trial.checkpoints) == {1, 3}
    assert trial.checkpoints[3] == WHOLE | {"config.json"}  # and no pickled arguments
    assert not list(out.rglob("*"))
    assert trained.args.output_dir == str(out)


@pytest.mark.parametrize(
    ("settings", "rungs", "pause_at"),
    [
        pytest.param({}, (1, 3), 1, id="after an epoch"),
        pytest.param({"eval_strategy": "steps", "eval_steps": 2}, (4,), 4, id="within one"),
        pytest.param({"eval_strategy": "steps", "eval_steps": 3}, (3,), 3, id="steps"),
        pytest.param({"save_only_model": True}, (2,), 2, id="models only"),
        pytest.param({"gradient_accumulation_steps": 2}, (1,), 1, id="sums"),
    ],
)
def test_a_paused_trial_goes_on_as_if_it_had_not_been_paused(
    settings: dict[str, Any], rungs: tuple[int, ...], pause_at: int, trial: Trial, out: Path
) -> None:
    trial.begin(*rungs)
    trial.pause_at = pause_at
    with pytest.raises(sweeps.TrialEnded):
        trainer(out, SweepCallback(), **settings).train()
    assert trial.checkpoints[pause_at] >= WHOLE

    trial.pause_at = None
    trial.begin(*rungs, go_on_from=pause_at)
    resumed = trainer(out, SweepCallback(), **settings)
    resumed.train(resume_from_checkpoint=sweeps.get_checkpoint())

    other = Trial(out / "other")
    other.begin(*rungs)
    whole = trainer(out, SweepCallback(), **settings)
    whole.train(resume_from_checkpoint=sweeps.get_checkpoint())
    assert trial.reports == other.reports
    assert same(weights(resumed), weights(whole))


def test_checkpoints_of_the_apps_own_stay_where_they_are(trial: Trial, out: Path) -> None:
    trial.begin(2)
    own = {"save_strategy": "epoch", "load_best_model_at_end": True, "save_total_limit": 2}
    trained = trainer(out, SweepCallback(), **own)
    trained.train()

    best = min(trial.reports, key=lambda report: report[1]["eval_loss"])[0]
    place = out / f"checkpoint-{best * STEPS_IN_EPOCH}"
    assert trained.state.best_model_checkpoint == str(place)
    assert place.is_dir()
    assert trial.checkpoints == {2: WHOLE | {"config.json"}}


def test_a_checkpoint_for_the_sweep_is_never_taken_for_the_apps_best(
    trial: Trial, out: Path
) -> None:
    trial.begin(1, 2)
    own = {"save_strategy": "steps", "save_steps": EPOCHS * STEPS_IN_EPOCH}
    trained = trainer(out, SweepCallback(), metric_for_best_model="loss", **own)
    trained.train()

    assert set(trial.checkpoints) == {1, 2}
    assert [path.name for path in out.iterdir()] == [f"checkpoint-{EPOCHS * STEPS_IN_EPOCH}"]
    named = trained.state.best_model_checkpoint
    assert named is None or Path(named).parent == out


def test_saving_the_best_alone_leaves_no_checkpoint_elsewhere_and_says_so(
    trial: Trial, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial.begin(1, 2, 3)
    own = {"save_strategy": "best", "metric_for_best_model": "loss", "greater_is_better": True}
    with caplog.at_level(logging.WARNING):
        trained = trainer(out, SweepCallback(), learning_rate=1.0, **own)
        trained.train()

    losses = [metrics["eval_loss"] for _, metrics in trial.reports]
    best = [s for s, loss in enumerate(losses, start=1) if loss == max(losses[:s])]
    assert trial.steps == [1, 2, 3]
    assert set(trial.checkpoints) == set(best) != {1, 2, 3}
    assert caplog.text.count("save_strategy 'best'") == 1
    assert trained.args.save_only_model is False
    assert {path.name for path in out.iterdir()} == {
        f"checkpoint-{s * STEPS_IN_EPOCH}" for s in best
    }


def test_several_data_sets_are_one_report(trial: Trial, out: Path) -> None:
    trial.begin(2)
    trainer(out, SweepCallback(), evaluated={"near": rows(8, 2), "far": rows(8, 3)}).train()

    assert trial.steps == [1, 2, 3]
    assert {*trial.reports[0][1]} == {"eval_near_loss", "eval_far_loss"}
    assert set(trial.checkpoints) == {2}


def test_what_is_evaluated_before_and_after_the_training_is_no_report(
    trial: Trial, out: Path
) -> None:
    trial.begin(1)
    trained = trainer(out, SweepCallback(), eval_on_start=True)
    trained.evaluate()
    trained.train()
    trained.evaluate(metric_key_prefix="test")

    assert trial.steps == [1, 2, 3]
    assert trained.args.output_dir == str(out)


def test_an_epoch_that_max_steps_cuts_short_is_one(trial: Trial, out: Path) -> None:
    trial.begin()
    trainer(out, SweepCallback(), max_steps=STEPS_IN_EPOCH + 1).train()

    assert trial.steps == [1, 2]


def test_a_trial_that_would_begin_anew_is_told_what_is_missing(trial: Trial, out: Path) -> None:
    trial.begin(1)
    trial.pause_at = 1
    with pytest.raises(sweeps.TrialEnded):
        trainer(out, SweepCallback()).train()
    trial.begin(1, go_on_from=1)

    with pytest.raises(RuntimeError, match=r"call trainer.train.resume_from"):
        trainer(out, SweepCallback()).train()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "sweeps.integrations.hugging_face"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(ImportError, match=r"pip install 'caviar\[huggingface\]'"):
        importlib.import_module(name)
