"""The trainer repeats bit for bit, goes on bit for bit, and keeps the best epoch."""

import dataclasses
import json
import math
from functools import partial

import pytest
import torch
from torch import nn

import models
from models import CheckpointError, Digits, Npz, Trainer, load_checkpoint


class ForeignNet(nn.Module):
    """A user's network: it draws from torch's global generator."""

    def __init__(self, in_shape, n_out):
        super().__init__()
        n_in = math.prod(in_shape)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(n_in, 16), nn.Dropout(0.3), nn.Linear(16, n_out)
        )

    def forward(self, x):
        return self.layers(x)


def parts(**changes):
    return {
        "seed": 0,
        "model": partial(models.MLP, width=16, dropout=0.3),
        "data": Digits(),
        "optimizer": partial(models.SGD, lr=0.1, momentum=0.9, nesterov=True),
        "lr_schedule": models.Cosine,
        **changes,
    }


def trainer(**options):
    return Trainer(**{"epochs": 4, "device": "cpu", **options})


def history(trainer, parts, **options):
    seen = []
    fit = trainer.fit(parts, on_epoch=lambda e, m, save: seen.append((e, m)), **options)
    return fit, seen


def same_weights(a, b):
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def stop_after(steps):
    count = iter(range(1, 10**9))
    return lambda: next(count) >= steps


OPTIMIZERS = {
    "sgd": partial(models.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": partial(models.Adam, lr=1e-2),
    "adamw": partial(models.AdamW, lr=1e-2, weight_decay=0.1),
    "torch's own": lambda net: torch.optim.RMSprop(net.parameters(), lr=1e-3),
}
SCHEDULES = {
    "constant": models.Constant,
    "step": partial(models.Step, step_epochs=2),
    "exponential": models.Exponential,
    "cosine": partial(models.Cosine, warmup_epochs=1.5),
}


# Repeats


def test_learns_the_digits():
    fit, _ = history(trainer(epochs=8), parts(model=partial(models.MLP, width=64)))
    assert fit.objective > 0.95
    assert fit.ended == "finished"


def test_a_seed_gives_the_same_run_bit_for_bit():
    one, seen = history(trainer(), parts())
    torch.rand(17)  # the global generator's state does not matter
    two, seen_again = history(trainer(), parts())
    assert seen == seen_again
    assert same_weights(one.net, two.net)


def test_another_seed_gives_another_run():
    assert history(trainer(), parts())[1] != history(trainer(), parts(seed=1))[1]


def test_a_foreign_network_repeats_too():
    runs = [history(trainer(), parts(model=ForeignNet))[1] for _ in range(2)]
    assert runs[0] == runs[1]


def test_what_is_global_is_put_back():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    trainer(threads=threads + 1, epochs=1).fit(parts())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_what_is_global_is_put_back_when_a_callback_raises():
    before, threads = torch.get_rng_state(), torch.get_num_threads()

    def raises(epoch, metrics, save):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(threads=threads + 1).fit(parts(), on_epoch=raises)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


# Goes on


def cut_and_resume(tmp_path, given, at):
    def save_and_leave(epoch, metrics, save):
        if epoch == at:
            save(tmp_path / "c")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer().fit(given, on_epoch=save_and_leave)
    return history(trainer(), given, resume=tmp_path / "c")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_cut_after_an_epoch_equals_the_unbroken_one(tmp_path, optimizer, schedule):
    given = parts(optimizer=OPTIMIZERS[optimizer], lr_schedule=SCHEDULES[schedule])
    unbroken, seen = history(trainer(), given)
    resumed, rest = cut_and_resume(tmp_path, given, at=2)
    assert rest == seen[2:]
    assert same_weights(resumed.net, unbroken.net)


@pytest.mark.parametrize("model", [partial(models.MLP, width=16, dropout=0.3), ForeignNet])
@pytest.mark.parametrize("steps", [1, 20, 17 * 2, 17 * 3])
def test_a_run_cut_at_any_step_equals_the_unbroken_one(tmp_path, model, steps):
    given = parts(model=model)
    unbroken, seen = history(trainer(), given)
    cut, before = history(trainer(), given, stop=stop_after(steps))
    assert cut.ended == "interrupted"
    cut.save(tmp_path / "c")
    resumed, rest = history(trainer(), given, resume=tmp_path / "c")
    assert before + rest == seen
    assert same_weights(resumed.net, unbroken.net)
    assert resumed.best_epoch == unbroken.best_epoch


def test_a_finished_run_goes_on_with_more_epochs(tmp_path):
    first, _ = history(trainer(), parts(lr_schedule=models.Constant))
    first.save(tmp_path / "c")
    more, seen = history(
        trainer(epochs=6), parts(lr_schedule=models.Constant), resume=tmp_path / "c"
    )
    assert [epoch for epoch, _ in seen] == [5, 6]
    assert more.epoch == 6
    assert seen == history(trainer(epochs=6), parts(lr_schedule=models.Constant))[1][4:]


def test_a_finished_run_resumed_as_it_is_gives_its_result(tmp_path):
    first, _ = history(trainer(), parts())
    first.save(tmp_path / "c")
    again, seen = history(trainer(), parts(), resume=tmp_path / "c")
    assert seen == []
    assert again.metrics == first.metrics
    assert same_weights(again.net, first.net)


def test_hyperparameters_on_the_way_are_the_present_ones(tmp_path):
    first, _ = history(trainer(), parts())
    first.save(tmp_path / "c")
    frozen = parts(optimizer=partial(models.SGD, lr=0.0, momentum=0.9))
    after, seen = history(trainer(epochs=6), frozen, resume=tmp_path / "c")
    after.save(tmp_path / "d")
    before, now = (load_checkpoint(tmp_path / name)["model"]["head.weight"] for name in "cd")
    assert len(seen) == 2
    assert torch.equal(before, now)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    trainer(epochs=1).fit(parts()).save(tmp_path / "c")
    other = parts(model=partial(models.MLP, width=8))
    with pytest.raises(ValueError, match="the checkpoint is of another model"):
        trainer().fit(other, resume=tmp_path / "c")


def test_another_optimizer_begins_anew_and_says_so(tmp_path, caplog):
    trainer(epochs=1).fit(parts()).save(tmp_path / "c")
    trainer().fit(parts(optimizer=models.Adam), resume=tmp_path / "c")
    assert "the checkpoint's optimizer is SGD: Adam begins anew" in caplog.text


def test_other_data_is_noticed(tmp_path, caplog):
    trainer(epochs=1).fit(parts()).save(tmp_path / "c")
    trainer().fit(parts(data=Digits(split_seed=1)), resume=tmp_path / "c")
    assert "was trained on other data" in caplog.text


def test_a_damaged_checkpoint_is_named(tmp_path):
    trainer(epochs=1).fit(parts()).save(tmp_path / "c")
    (tmp_path / "c" / "tensors.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"tensors\.safetensors"):
        trainer().fit(parts(), resume=tmp_path / "c")


# Keeps the best epoch


@pytest.mark.parametrize(("monitor", "mode"), [("val_accuracy", "max"), ("val_loss", "min")])
def test_the_best_epoch_is_what_comes_back(tmp_path, monitor, mode):
    given = parts(optimizer=partial(models.SGD, lr=0.5, momentum=0.9), lr_schedule=models.Constant)
    t = trainer(epochs=8, monitor=monitor)
    fit, seen = history(t, given)
    values = [metrics[monitor] for _, metrics in seen]
    assert fit.objective == (max if mode == "max" else min)(values)
    assert values[fit.best_epoch - 1] == fit.objective
    found = t.evaluate(fit.net, "validation")
    assert {"val_accuracy": found["accuracy"], "val_loss": found["loss"]}.items() <= (
        fit.metrics.items()
    )


def test_the_best_epoch_travels_in_later_checkpoints(tmp_path):
    given = parts(optimizer=partial(models.SGD, lr=0.5, momentum=0.9), lr_schedule=models.Constant)
    fit = trainer(epochs=8).fit(given)
    fit.save(tmp_path / "c")
    fresh = trainer(epochs=8)
    best = fresh.load(tmp_path / "c", given)
    assert (best.epoch, best.metrics) == (fit.best_epoch, fit.metrics)
    assert same_weights(best.net, fit.net)
    assert fresh.evaluate(best.net, "validation")["accuracy"] == fit.metrics["val_accuracy"]


def test_the_best_weights_are_stored_once_when_they_are_the_last(tmp_path):
    sizes = []

    def size(epoch, metrics, save):
        folder = save(tmp_path / str(epoch))
        sizes.append((folder / "tensors.safetensors").stat().st_size)

    fit = trainer(epochs=6).fit(parts(), on_epoch=size)
    is_best = sizes[fit.best_epoch - 1]
    assert is_best == min(sizes)


def test_a_checkpoint_without_an_epoch_cannot_be_loaded_but_resumed(tmp_path):
    cut = trainer().fit(parts(), stop=stop_after(3))
    cut.save(tmp_path / "c")
    assert cut.best_epoch is None
    with pytest.raises(CheckpointError, match="holds no finished epoch"):
        trainer().load(tmp_path / "c", parts())


# Diverges


def test_a_diverged_run_reports_nan_and_stops():
    given = parts(
        model=partial(models.MLP, norm="none", width=16),
        optimizer=partial(models.SGD, lr=1e6),
        lr_schedule=models.Constant,
    )
    fit, seen = history(trainer(), given)
    assert fit.ended == "diverged"
    assert len(seen) < 4
    assert math.isnan(seen[-1][1]["val_accuracy"])
    assert math.isnan(seen[-1][1]["val_loss"])
    assert fit.metrics == {}
    assert math.isnan(fit.objective)


# Evaluates, predicts, exports


def test_test_data_is_looked_at_only_when_asked(monkeypatch):
    without = dataclasses.replace(Digits().load(), test=None)
    monkeypatch.setattr(Digits, "load", lambda self: without)
    trainer(epochs=1).fit(parts())


def test_probabilities_of_raw_rows_agree_with_the_evaluation():
    t = trainer()
    fit = t.fit(parts())
    test = Digits().load().test
    raw = test.x * t.preprocessing.scale.float() + t.preprocessing.shift.float()
    p = t.predict(fit.net, raw.round())
    assert p.shape == (len(test.y), 10)
    accuracy = (p.argmax(1) == test.y).double().mean()
    assert accuracy.item() == pytest.approx(t.evaluate(fit.net, "test")["accuracy"])


def test_an_export_loads_without_data(tmp_path):
    import numpy as np

    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=(x[:, 0] > 0).astype(int))
    given = parts(data=Npz(path=str(tmp_path / "a.npz")))
    t = trainer()
    t.fit(given).save(tmp_path / "c")
    best = t.load(tmp_path / "c", given)
    t.export(best, tmp_path / "e")
    (tmp_path / "a.npz").unlink()
    models.data.clear_cache()
    fresh = trainer()
    again = fresh.load(tmp_path / "e", given)
    assert (again.epoch, again.metrics) == (best.epoch, best.metrics)
    assert torch.equal(fresh.predict(again.net, x), t.predict(best.net, x))


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_truncated_export_is_named(tmp_path, name):
    t = trainer(epochs=1)
    t.fit(parts()).save(tmp_path / "c")
    t.export(t.load(tmp_path / "c", parts()), tmp_path / "e")
    data = (tmp_path / "e" / name).read_bytes()
    (tmp_path / "e" / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"e is damaged|weights"):
        t.load(tmp_path / "e", parts())


def test_an_unknown_split_is_named():
    t = trainer(epochs=1)
    fit = t.fit(parts())
    with pytest.raises(ValueError, match="split is 'valid'; did you mean 'validation'"):
        t.evaluate(fit.net, "valid")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"trainer\.epochs is 0"),
        ({"monitor": "val_acc"}, r"trainer\.monitor is 'val_acc'; did you mean 'val_accuracy'"),
        ({"mode": "maximum"}, r"trainer\.mode is 'maximum' .* must be 'max', or null"),
        ({"mode": "max", "monitor": "val_loss"}, r"trainer\.mode is 'max' .* must be 'min'"),
        ({"label_smoothing": 1.0}, r"trainer\.label_smoothing is 1\.0"),
        ({"batch_size": 0}, r"trainer\.batch_size is 0"),
        ({"threads": 0}, r"trainer\.threads is 0"),
    ],
)
def test_a_wrong_option_names_its_key(options, message):
    with pytest.raises(ValueError, match=message):
        trainer(**options).fit(parts())


def test_images_and_flat_rows_are_predicted_alike(tmp_path):
    t = trainer(epochs=1)
    given = parts(model=partial(models.ConvNet, width=[4]))
    fit = t.fit(given)
    images = torch.randint(0, 17, (5, 1, 8, 8))
    p = t.predict(fit.net, images)
    assert torch.equal(t.predict(fit.net, images.flatten(1)), p)
    assert torch.equal(t.predict(fit.net, images[:, 0].numpy()), p)
    fit.save(tmp_path / "c")
    t.export(t.load(tmp_path / "c", given), tmp_path / "e")
    fresh = trainer()
    assert torch.equal(fresh.predict(fresh.load(tmp_path / "e", given).net, images), p)


def test_an_export_of_before_images_had_a_shape_loads(tmp_path):
    t = trainer(epochs=1)
    fit = t.fit(parts())
    fit.save(tmp_path / "c")
    t.export(t.load(tmp_path / "c", parts()), tmp_path / "e")
    file = tmp_path / "e" / "model.json"
    model = json.loads(file.read_text())
    stored = model["preprocessing"]
    del stored["shape"], stored["fill"]
    stored["mean"] = [stored.pop("shift")[0][0][0]] * 64
    stored["std"] = [stored.pop("scale")[0][0][0]] * 64
    file.write_text(json.dumps(model))
    fresh, rows = trainer(), torch.randint(0, 17, (5, 64))
    net = fresh.load(tmp_path / "e", parts()).net
    assert torch.equal(fresh.predict(net, rows), t.predict(fit.net, rows))
    assert fresh.evaluate(net, "test") == t.evaluate(fit.net, "test")
