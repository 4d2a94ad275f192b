"""Averages are what their formulas say, and what is evaluated, kept and exported."""

from functools import partial

import pytest
import torch

import models
from models import EMA, SWA, Digits, NoAveraging, Trainer, load_checkpoint


def small():
    return models.MLP(4, 3, width=8, generator=torch.Generator().manual_seed(0))


def walk(net, averaging, steps, per_epoch=1):
    """Random steps of the weights; the weights after each."""
    generator = torch.Generator().manual_seed(1)
    seen = []
    for step in range(1, steps + 1):
        for parameter in net.parameters():
            parameter.data += torch.randn(parameter.shape, generator=generator)
        for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm1d)):
            norm.running_mean += 1.0
            norm.num_batches_tracked += 1
        averaging.after_step()
        if step % per_epoch == 0:
            averaging.after_epoch(step // per_epoch)
        seen.append({k: v.clone() for k, v in net.state_dict().items()})
    return seen


def close(averaged, expected):
    for key, value in averaged.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)


def mean(seen, weights=None):
    weights = weights or [1.0] * len(seen)
    return {
        key: (
            sum(w * s[key].double() for w, s in zip(weights, seen, strict=True)) / sum(weights)
        ).to(last.dtype)
        if last.is_floating_point()
        else last
        for key, last in seen[-1].items()
    }


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_ema_is_the_weighted_mean_of_all_steps_and_not_of_the_start(steps):
    net = small()
    average = EMA(net, epochs=1, decay=0.9)
    seen = walk(net, average, steps)
    close(average.net.state_dict(), mean(seen, [0.9 ** (steps - i) for i in range(steps)]))


def test_swa_is_the_mean_of_the_last_epochs_ends():
    net = small()
    average = SWA(net, epochs=6, last_epochs=3)
    seen = walk(net, average, 18, per_epoch=3)
    close(average.net.state_dict(), mean([seen[i] for i in (11, 14, 17)]))


def test_cyclic_swa_takes_the_end_of_each_cycle():
    net = small()
    average = SWA(net, epochs=7, start_epoch=2, cycle_epochs=2, lr_factor=0.5)
    seen = walk(net, average, 7)
    close(average.net.state_dict(), mean([seen[3], seen[5]]))


def test_swa_has_no_average_before_it_begins():
    net = small()
    average = SWA(net, epochs=6, last_epochs=2)
    walk(net, average, 4)
    assert average.net is None


def test_swas_learning_rate_is_constant_or_falls_in_each_cycle():
    constant = SWA(small(), epochs=4, last_epochs=2, lr_factor=0.5)
    assert [constant.lr_factor(s, 2) for s in range(6)] == [None] * 4 + [0.5] * 2
    cyclic = SWA(small(), epochs=4, last_epochs=3, lr_factor=0.5, cycle_epochs=1, cycle_end=0.1)
    factors = [cyclic.lr_factor(s, 4) for s in range(4, 12)]
    assert factors == pytest.approx([0.4, 0.3, 0.2, 0.1] * 2)
    assert SWA(small(), epochs=4, last_epochs=3).lr_factor(11, 4) is None


def test_averaging_leaves_the_trained_network_alone():
    net = small()
    average = EMA(net, epochs=1)
    walk(net, average, 3)
    assert all(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in average.net.parameters())
    assert not average.net.training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EMA(small(), epochs=1, decay=1.0), r"averaging\.decay is 1\.0"),
        (lambda: SWA(small(), epochs=1), "one of them must be a number"),
        (lambda: SWA(small(), epochs=1, last_epochs=1, start_epoch=1), "the other null"),
        (lambda: SWA(small(), epochs=1, last_epochs=0), r"averaging\.last_epochs is 0"),
        (lambda: SWA(small(), epochs=1, last_epochs=1, lr_factor=0), r"averaging\.lr_factor is 0"),
        (
            lambda: SWA(small(), epochs=1, last_epochs=1, cycle_epochs=1),
            r"averaging\.lr_factor is None; it must be a number",
        ),
        (lambda: NoAveraging(small(), epochs=1, batch_norm_rows=1), r"batch_norm_rows is 1"),
    ],
)
def test_a_wrong_option_names_its_key(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# In a run

AVERAGES = {
    "ema": partial(EMA, decay=0.95, batch_norm_rows=None),
    "swa": partial(SWA, last_epochs=3, lr_factor=0.5, batch_norm_rows=None),
}


SGD = partial(models.SGD, lr=0.1, momentum=0.9)


def fit(averaging, tmp_path, epochs=4, batch_size=128, optimizer=SGD, **options):
    parts = {
        "seed": 0,
        "model": partial(models.MLP, width=16, depth=2),
        "data": Digits(),
        "optimizer": optimizer,
        "lr_schedule": models.Constant,
        "averaging": averaging,
    }
    trainer = Trainer(epochs=epochs, batch_size=batch_size, device="cpu", **options)
    states = []

    def keep(epoch, metrics, save):
        states.append((metrics, load_checkpoint(save(tmp_path / str(epoch)))))

    return trainer, parts, trainer.fit(parts, on_epoch=keep), states


@pytest.mark.parametrize("name", AVERAGES)
def test_metrics_best_epoch_and_export_are_the_averages(tmp_path, name):
    trainer, parts, done, states = fit(AVERAGES[name], tmp_path, monitor="val_loss", mode="min")
    metrics, state = states[done.best_epoch - 1]
    averaged, trained = state["averaging"]["model"], state["model"]
    assert not torch.equal(averaged["head.weight"], trained["head.weight"])
    assert all(torch.equal(v, averaged[k]) for k, v in done.net.state_dict().items())
    found = trainer.evaluate(done.net, "validation")
    assert (found["loss"], found["accuracy"]) == (metrics["val_loss"], metrics["val_accuracy"])
    best = trainer.load(tmp_path / str(done.epoch), parts)
    again = trainer.load(trainer.export(best, tmp_path / "e"), parts)
    assert trainer.evaluate(again.net, "validation") == found


@pytest.mark.parametrize("name", AVERAGES)
def test_batch_norm_of_an_average_has_the_statistics_of_its_own_inputs(tmp_path, name):
    _, _, done, _ = fit(AVERAGES[name], tmp_path)
    x = Digits().load().train.x.flatten(1)
    linear, norm = done.net.blocks[0][:2]
    inputs = linear(x).detach().double()
    torch.testing.assert_close(norm.running_mean.double(), inputs.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), inputs.var(0), rtol=1e-4, atol=1e-5)


def test_an_average_is_better_than_the_last_weights_at_a_high_learning_rate(tmp_path):
    optimizer = partial(models.SGD, lr=0.3, momentum=0.9)
    (plain, ema) = (
        fit(averaging, tmp_path, epochs=6, batch_size=32, optimizer=optimizer)[3][-1][0]["val_loss"]
        for averaging in (NoAveraging, partial(EMA, decay=0.97))
    )
    assert ema < 0.8 * plain


def test_without_averaging_a_run_is_what_it_was_without_the_key(tmp_path):
    with_key = fit(NoAveraging, tmp_path / "a")[3]
    without = fit(None, tmp_path / "b")[3]
    assert [m for m, _ in with_key] == [m for m, _ in without]
