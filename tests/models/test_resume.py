"""A run that was cut at any step and goes on equals the unbroken one, whatever is switched on."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import models
from models import Digits, Trainer, load_checkpoint

EPOCHS = 4
STEPS = 5  # an epoch of the digits in batches of 256


class Noisy(nn.Module):
    """A user's network that draws from every global generator."""

    def __init__(self, in_shape, n_out):
        super().__init__()
        self.linear = nn.Linear(math.prod(in_shape), n_out)

    def forward(self, x):
        if self.training:
            x = x * (1 + 0.1 * torch.randn(1) + 0.1 * np.random.randn() + random.gauss(0, 0.1))
        return self.linear(x.flatten(1))


OPTIMIZERS = {
    "sgd": partial(models.SGD, lr=0.1),
    "momentum": partial(models.SGD, lr=0.1, momentum=0.9),
    "nesterov": partial(models.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adagrad": partial(models.Adagrad, lr=0.02, lr_decay=1e-3),
    "rmsprop": partial(models.RMSProp, lr=1e-3, momentum=0.5),
    "adam": partial(models.Adam, lr=1e-2),
    "adamw": partial(models.AdamW, lr=1e-2),
}
SCHEDULES = {
    "constant": models.Constant,
    "exponential": models.Exponential,
    "step": partial(models.Step, step_epochs=2),
    "cosine": partial(models.Cosine, warmup_steps=20),
    "one_cycle": models.OneCycle,
    "reduce_on_plateau": partial(models.ReduceOnPlateau, patience_epochs=0, min_delta=0.2),
}
PARTS = {
    **{f"optimizer {k}": {"optimizer": v} for k, v in OPTIMIZERS.items()},
    **{f"schedule {k}": {"lr_schedule": v} for k, v in SCHEDULES.items()},
    "ema": {"averaging": partial(models.EMA, decay=0.9)},
    "swa": {"averaging": partial(models.SWA, last_epochs=2, lr_factor=0.5)},
    "cyclic swa": {"averaging": partial(models.SWA, start_epoch=0, lr_factor=0.5, cycle_epochs=2)},
    "noise": {"model": Noisy},
}
OPTIONS = {
    "micro batches": {"micro_batch_size": 100},
    "gradient penalty": {"gradient_penalty": 0.01},
    "class weights": {"class_weights": "balanced", "label_smoothing": 0.1},
    "clipping": {"clip_norm": 0.5, "clip_value": 0.05},
    "patience": {"patience": 1, "min_delta": 0.2},
    "bf16": {"precision": "bf16"},
    "statistics": {"statistics": True},
}
EVERYTHING = (
    {
        "optimizer": OPTIMIZERS["adamw"],
        "lr_schedule": SCHEDULES["reduce_on_plateau"],
        "averaging": partial(models.EMA, decay=0.9),
    },
    {
        "micro_batch_size": 100,
        "gradient_penalty": 0.01,
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "clip_norm": 0.5,
        "clip_value": 0.05,
        "patience": 3,
        "precision": "bf16",
        "statistics": True,
    },
)
RUNS = {
    **{name: (changes, {}) for name, changes in PARTS.items()},
    **{name: ({}, options) for name, options in OPTIONS.items()},
    "everything": EVERYTHING,
}


def parts(**changes):
    return {
        "seed": 0,
        "model": partial(models.MLP, width=16, depth=1, dropout=0.3),
        "data": Digits(),
        "optimizer": OPTIMIZERS["nesterov"],
        "lr_schedule": models.Cosine,
        **changes,
    }


def history(given, options, **more):
    seen = []
    trainer = Trainer(epochs=EPOCHS, batch_size=256, device="cpu", **options)
    fit = trainer.fit(given, on_epoch=lambda e, m, save: seen.append((e, m)), **more)
    return fit, seen


def stop_after(steps):
    count = iter(range(1, 10**9))
    return lambda: next(count) >= steps


def same(a, b):
    """Whether two states are the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_cut_at_any_step_equals_the_unbroken_one(tmp_path, name):
    changes, options = RUNS[name]
    given = parts(**changes)
    unbroken, seen = history(given, options)
    unbroken.save(tmp_path / "unbroken")
    for steps in (1, STEPS, 2 * STEPS + 3):
        cut, before = history(given, options, stop=stop_after(steps))
        cut.save(tmp_path / "cut")
        resumed, after = history(given, options, resume=tmp_path / "cut")
        resumed.save(tmp_path / "resumed")
        assert before + after == seen
        assert resumed.ended == unbroken.ended
        assert resumed.best_epoch == unbroken.best_epoch
        assert same(*(load_checkpoint(tmp_path / f) for f in ("unbroken", "resumed")))


@pytest.mark.parametrize("name", ["noise", "everything"])
def test_a_seed_gives_the_same_run_bit_for_bit(tmp_path, name):
    changes, options = RUNS[name]
    for folder in "ab":
        history(parts(**changes), options)[0].save(tmp_path / folder)
        torch.rand(7), np.random.rand(7), random.random()
    assert same(load_checkpoint(tmp_path / "a"), load_checkpoint(tmp_path / "b"))


def test_global_generators_are_put_back():
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    history(parts(model=Noisy), {})
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert all(map(np.array_equal, before[1], after[1]))
    assert before[2] == after[2]


def test_statistics_change_nothing(tmp_path):
    for folder, options in {"without": {}, "with": {"statistics": True}}.items():
        history(parts(), options)[0].save(tmp_path / folder)
    assert same(load_checkpoint(tmp_path / "without"), load_checkpoint(tmp_path / "with"))


def test_an_early_stopped_run_stays_so_and_goes_on_with_more_patience(tmp_path):
    options = RUNS["patience"][1]
    first, seen = history(parts(), options)
    assert (first.ended, len(seen)) == ("stopped early", first.epoch)
    assert first.epoch < EPOCHS
    first.save(tmp_path / "c")
    assert history(parts(), options, resume=tmp_path / "c")[1] == []
    more, rest = history(parts(), {}, resume=tmp_path / "c")
    assert more.ended == "finished"
    assert seen + rest == history(parts(), {})[1]


def test_another_averaging_begins_anew_and_says_so(tmp_path, caplog):
    history(parts(), {})[0].save(tmp_path / "c")
    given = parts(averaging=models.EMA)
    trainer = Trainer(epochs=EPOCHS + 1, device="cpu")
    fit = trainer.fit(given, resume=tmp_path / "c")
    assert "the checkpoint's averaging is NoAveraging: EMA begins anew" in caplog.text
    assert fit.epoch == EPOCHS + 1
