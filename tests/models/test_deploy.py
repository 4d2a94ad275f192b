"""A trained network as one module, against what its trainer predicts."""

import pytest
import torch
from torch import nn

from models import Dropout, Preprocessing, Trainer, make_network
from models.data import Column
from models.networks.calibration import expected_calibration_error, reliability
from models.training import Best
from models.training.deploy import deployable

IMAGE, ROW = (3, 9, 9), (13,)
NORMS = ["batch", "sync_batch", "ghost_batch", "layer", "group", "weight", "none"]
NETWORKS = [
    ("softmax", ROW, {}),
    *[("mlp", ROW, {"depth": 1, "width": 8, "norm": norm, "dropout": 0.3}) for norm in NORMS],
    *[("convnet", IMAGE, {"depth": 2, "width": 4, "norm": n}) for n in (*NORMS, "instance")],
    ("resnet", IMAGE, {"depth": 1, "stages": 2, "width": 4, "phi": 1, "zero_init": False}),
    ("inception", IMAGE, {"depth": 1, "width": 8}),
    ("darts", IMAGE, {"cells": 3, "width": 2}),
    ("darts_supernet", IMAGE, {"cells": 3, "width": 2, "nodes": 1}),
]
IDS = [f"{name}-{options.get('norm', '')}" for name, _, options in NETWORKS]


def model(name, shape, options, *, temperature=1.3):
    """A network whose statistics are as if it were trained, and its preprocessing."""
    generator = torch.Generator().manual_seed(0)
    net = make_network(name, shape, 5, generator=generator, **options)
    for layer in net.modules():
        if getattr(layer, "running_mean", None) is not None:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    statistics = (shape[0], 1, 1) if len(shape) == 3 else shape
    draw = torch.rand(3, *statistics, generator=generator, dtype=torch.float64)
    preprocessing = Preprocessing(
        columns=tuple(Column(name=f"x{i}") for i in range(torch.Size(shape).numel())),
        classes=tuple("abcde"),
        shape=shape,
        shift=1e3 * draw[0],
        scale=draw[1] + 0.5,
        fill=1e3 * draw[2],
    )
    metrics = {"val_accuracy": 0.5}
    return Best(
        net=net.eval(),
        epoch=1,
        metrics=metrics,
        preprocessing=preprocessing,
        temperature=temperature,
    )


def rows_of(best, n=6):
    """Raw rows, some of their numbers missing."""
    shape = best.preprocessing.shape
    rows = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = rows * best.preprocessing.scale + best.preprocessing.shift
    rows.view(n, -1)[1, 0] = rows.view(n, -1)[4, -1] = torch.nan
    return rows


def predicted(best, rows):
    trainer = Trainer(device="cpu")
    trainer._preprocessing = best.preprocessing
    trainer._temperatures[best.net] = best.temperature
    return trainer.predict(best.net, rows)


@pytest.mark.parametrize(("name", "shape", "options"), NETWORKS, ids=IDS)
def test_it_gives_what_the_trainer_predicts(name, shape, options):
    best = model(name, shape, options)
    made = deployable(best)
    rows = rows_of(best).to(getattr(torch, made.dtype))
    torch.testing.assert_close(made.module(rows), predicted(best, rows), atol=2e-6, rtol=0)
    assert made.outputs == best.preprocessing.classes
    assert made.dtype == ("float32" if len(shape) == 3 else "float64")


def test_the_network_it_was_made_from_stays_as_it_was():
    best = model("convnet", IMAGE, {"depth": 1, "width": 4, "norm": "instance"})
    best.net.dropout = Dropout(0.5, generator=torch.Generator())
    before = {name: value.clone() for name, value in best.net.state_dict().items()}
    made = deployable(best)
    for value in (*made.module.parameters(), *made.module.buffers()):
        value.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in best.net.state_dict().items())
    assert all(p.requires_grad for p in best.net.parameters())
    assert not any(isinstance(layer, nn.GroupNorm) for layer in best.net.modules())


def test_large_offsets_keep_their_digits():
    """A row's times, in seconds since 1970, differ by milliseconds."""
    best = model("mlp", ROW, {"depth": 1, "width": 8})
    best.preprocessing.shift.fill_(1.7e9)
    best.preprocessing.scale.fill_(1e-3)
    made = deployable(best)
    rows = 1.7e9 + 1e-3 * torch.randn(6, 13, dtype=torch.float64)
    torch.testing.assert_close(made.module(rows), predicted(best, rows), atol=2e-6, rtol=0)
    assert made.module(rows).std(0).min() > 1e-3


@pytest.fixture(scope="module")
def fitted():
    """A trainer and what it trained on the digits."""
    from models import SGD, Constant, Digits

    trainer = Trainer(epochs=2, device="cpu")
    parts = {
        "data": Digits(),
        "model": lambda shape, classes: make_network("mlp", shape, classes, depth=1, width=16),
        "optimizer": lambda net: SGD(net, lr=0.1),
        "lr_schedule": lambda epochs: Constant(epochs=epochs),
        "seed": 0,
    }
    fit = trainer.fit(parts)
    return trainer, parts, fit.net


def test_raw_rows_scaled_again_are_the_rows_of_the_split(fitted):
    trainer, parts, net = fitted
    validation = parts["data"].load().validation
    rows = torch.cat([*trainer.raw_rows(net, "validation")])
    assert rows.shape == validation.x.shape
    again = trainer.preprocessing.transform(rows)
    torch.testing.assert_close(again, validation.x, atol=1e-5, rtol=0)
    assert rows.min() > -1e-4  # the digits' own greys, 0 to 16
    assert 15 < rows.max() < 17


@pytest.mark.parametrize("split", ["validation", "test"])
def test_row_metrics_average_to_the_metrics(fitted, split):
    trainer, _, net = fitted
    metrics = trainer.evaluate(net, split)
    rows = trainer.row_metrics(net, split)
    assert set(rows) == {"accuracy", "loss"}
    for name, values in rows.items():
        assert float(values.double().mean()) == pytest.approx(metrics[name], abs=1e-6)
    assert set(rows["accuracy"].tolist()) == {0.0, 1.0}


def test_a_reliability_diagram_adds_up_to_the_calibration_error():
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(200, 4, generator=generator).softmax(1)
    y = torch.randint(4, (200,), generator=generator)
    bins = reliability(p, y)
    assert sum(b.rows for b in bins) == 200
    error = sum(b.rows * abs(b.accuracy - b.confidence) for b in bins) / 200
    assert error == pytest.approx(expected_calibration_error(p, y))
    confident = reliability(torch.tensor([[1.0, 0.0], [0.4, 0.6]]), torch.tensor([0, 0]))
    assert confident == [(1, pytest.approx(0.6), 0.0), (1, 1.0, 1.0)]
