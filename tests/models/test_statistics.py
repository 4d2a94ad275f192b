"""What a network's statistics say is what is wrong with it."""

import logging
from functools import partial

import pytest
import torch
from torch import nn

import models
from models import Digits, Trainer
from models.training.statistics import observe


def deep(activation, std, depth=12, width=64):
    generator = torch.Generator().manual_seed(0)
    layers = []
    for _ in range(depth):
        linear = nn.Linear(width, width, bias=False)
        nn.init.normal_(linear.weight, 0.0, std, generator=generator)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def seen(net):
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(1))
    with observe(net) as statistics:
        loss = nn.functional.cross_entropy(net(x), torch.arange(50) % 10)
        loss.backward()
    statistics.loss = loss.item()
    return statistics


def test_it_measures_weights_gradients_and_activations():
    net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with torch.no_grad():
        net[0].bias[:3] = -1e3
    statistics = seen(net)
    first, last = statistics.weights
    assert (first.name, last.name) == ("0.weight", "2.weight")
    assert last.value == pytest.approx(net[2].weight.square().mean().sqrt().item())
    assert first.gradient == pytest.approx(net[0].weight.grad.square().mean().sqrt().item())
    (activation,) = statistics.activations
    assert activation.dead == pytest.approx(3 / 8)
    assert len(statistics.lines()) == 3


def test_channels_of_images_are_units():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    with torch.no_grad():
        net[0].bias[0] = -1e3
    with observe(net) as statistics:
        net(torch.randn(5, 1, 8, 8)).sum().backward()
    assert statistics.activations[0].dead == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (deep(nn.Sigmoid, 1 / 8), "vanishing gradients: 0.weight gets"),
        (deep(nn.ReLU, 1.0), "exploding gradients: that of"),
        (deep(nn.Tanh, 1.0), "saturated units"),
        (deep(nn.ReLU, 1e10), "exploded gradients: that of"),
        (deep(nn.Tanh, 1 / 16), "vanishing activations: std 4"),
        (deep(nn.Tanh, 1 / 16, depth=20), "no layer's is more than"),
        (deep(nn.ReLU, 1.0), "exploding activations: std"),
    ],
)
def test_what_is_wrong_is_named(net, words):
    assert any(words in problem for problem in seen(net).problems())


def test_dead_units_are_named():
    net = deep(nn.ReLU, (2 / 64) ** 0.5, depth=2)
    net[0].weight.data[:40] = 0.0
    assert "dead units: 62% of 1 are 0 on each row" in seen(net).problems()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_a_healthy_network_has_no_problems(activation):
    assert (
        seen(deep(activation, (2 / 64) ** 0.5 if activation is nn.ReLU else 1 / 8)).problems() == []
    )


def test_small_gradients_of_a_small_loss_are_no_problem():
    statistics = seen(deep(nn.Tanh, 1 / 16, depth=20))
    statistics.loss = 0.01
    assert not any("gradients" in problem for problem in statistics.problems())


def messages_of(caplog, model, epochs=3):
    parts = {
        "seed": 0,
        "model": model,
        "data": Digits(),
        "optimizer": partial(models.SGD, lr=0.1, momentum=0.9, nesterov=True),
        "lr_schedule": models.Constant,
    }
    with caplog.at_level(logging.WARNING, logger="models.training.run"):
        Trainer(epochs=epochs, device="cpu", batch_size=256, statistics=True).fit(parts)
    return [r.getMessage() for r in caplog.records]


@pytest.mark.parametrize(
    "model",
    [
        models.SoftmaxRegression,
        models.MLP,
        partial(models.MLP, depth=6, norm="none", activation="tanh", init="xavier"),
        partial(models.ConvNet, width=8),
        partial(models.ResNet, width=4),
        partial(models.InceptionNet, width=8),
    ],
)
def test_networks_that_learn_are_not_warned_of(model, caplog):
    assert messages_of(caplog, model) == []


def test_a_deep_network_that_starts_too_small_is_warned_of(caplog):
    small = partial(models.MLP, depth=20, norm="none", dropout=0.0, activation="tanh",
                    init="uniform")  # fmt: skip
    gradients, activations = messages_of(caplog, small, epochs=1)
    assert gradients.startswith("epoch 1: vanishing gradients: the loss is 2.3, and no layer's")
    assert activations.startswith("epoch 1: vanishing activations: std 4.6e-01 after blocks.0.1")


def test_hooks_are_gone_afterwards():
    net = deep(nn.ReLU, 0.1, depth=2)
    seen(net)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_run_logs_them_once_an_epoch(caplog):
    parts = {
        "seed": 0,
        "model": partial(models.MLP, width=8),
        "data": Digits(),
        "optimizer": partial(models.SGD, lr=0.1),
        "lr_schedule": models.Constant,
    }
    with caplog.at_level(logging.INFO, logger="models.training.run"):
        Trainer(epochs=2, device="cpu", batch_size=128, statistics=True).fit(parts)
    messages = [r.getMessage() for r in caplog.records]
    assert [m.splitlines()[0] for m in messages] == ["epoch 1", "epoch 2"]
    assert "head.weight: weight" in messages[0]
