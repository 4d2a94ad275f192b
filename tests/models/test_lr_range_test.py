"""The lr range test ends where the loss diverges and suggests a rate that trains."""

import csv
import math
from functools import partial

import pytest
import torch

import models
from models import Constant, Digits, LrRangeTest, Trainer


def parts(optimizer=models.SGD, lr=0.1):
    return {
        "seed": 0,
        "model": partial(models.MLP, width=32, norm="none"),
        "data": Digits(),
        "optimizer": partial(optimizer, lr=lr),
        "lr_schedule": Constant,
    }


def trainer(**options):
    return Trainer(**{"device": "cpu", "batch_size": 64, "epochs": 5, **options})


def test_rates_rise_by_a_constant_factor_until_the_loss_diverges():
    found = trainer().lr_range_test(parts(), low=1e-4, high=1e4, steps=81)
    ratios = {round(b / a, 9) for a, b in zip(found.lrs, found.lrs[1:], strict=False)}
    assert ratios == {round(10 ** (8 / 80), 9)}
    assert found.lrs[0] == 1e-4
    assert found.highest == found.lrs[-1] < 1e4
    assert found.diverged_at == pytest.approx(found.highest * 10 ** (6 / 60))
    assert min(found.smoothed) < 0.8 * found.losses[0]


def test_rates_that_all_train_do_not_diverge():
    found = trainer().lr_range_test(parts(), low=1e-4, high=1e-2, steps=20)
    assert found.diverged_at is None
    assert found.highest == pytest.approx(1e-2)
    assert len(found.losses) == 20


def test_a_network_that_gives_no_number_is_refused():
    nan = lambda *shape: models.SoftmaxRegression(*shape).apply(poison)  # noqa: E731
    with pytest.raises(ValueError, match="loss of the untrained network is nan"):
        trainer().lr_range_test({**parts(), "model": nan})


def poison(module):
    for p in module.parameters(recurse=False):
        torch.nn.init.constant_(p, math.nan)


@pytest.mark.parametrize("optimizer", [models.SGD, models.AdamW])
def test_the_suggestion_trains(optimizer):
    found = trainer().lr_range_test(parts(optimizer))
    assert found.suggestion == found.lowest / 3
    assert trainer().fit(parts(optimizer, found.suggestion)).objective > 0.9


def test_it_repeats_and_leaves_a_later_run_as_it_was():
    t = trainer(epochs=1)
    before = t.fit(parts()).metrics
    first, second = (t.lr_range_test(parts(), steps=40) for _ in "ab")
    assert first == second
    assert t.fit(parts()).metrics == before


def test_smoothing_is_corrected_for_its_beginning():
    assert LrRangeTest(lrs=[1, 2, 3], losses=[4.0, 4.0, 4.0]).smoothed == pytest.approx([4.0] * 3)


def test_the_table_has_a_row_a_step(tmp_path):
    file = LrRangeTest(lrs=[0.1, 0.2], losses=[2.0, 1.0]).write(tmp_path / "t.csv")
    rows = list(csv.reader(file.read_text().splitlines()))
    assert rows[0] == ["lr", "loss", "smoothed"]
    assert [float(r[0]) for r in rows[1:]] == [0.1, 0.2]
    assert all(math.isfinite(float(v)) for r in rows[1:] for v in r)


@pytest.mark.parametrize(
    ("options", "message"), [({"low": 0.0}, "low is 0"), ({"steps": 1}, "steps is 1")]
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        trainer().lr_range_test(parts(), **options)
