"""Initial weights of linear and conv layers, and the signal through twenty of them."""

import math

import pytest
import torch
from torch import nn

from models.layers import INITS, init_weight, make_activation, make_conv, make_linear
from models.training.seeding import num_threads

DEPTH, WIDTH = 20, 256


@pytest.fixture(autouse=True)
def one_thread():
    with num_threads(1):
        yield


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


VARIANCES = {
    "kaiming": 2 / 200,
    "normal": 1 / 200,
    "uniform": 1 / 200 / 3,
    "orthogonal": 1 / 300,
    "zeros": 0.0,
}


@pytest.mark.parametrize("shape", [(300, 200), (300, 8, 5, 5)])
@pytest.mark.parametrize("name", sorted(INITS))
def test_initial_weights_have_the_variance_of_their_paper(name, shape):
    weight = torch.empty(shape)
    init_weight(weight, name, generator=generator())
    n_out = 300 * math.prod(shape[2:])
    variance = (VARIANCES | {"xavier": 2 / (200 + n_out)})[name]
    assert weight.var() == pytest.approx(variance, rel=0.03)
    assert weight.mean() == pytest.approx(0, abs=0.002)


def test_orthogonal_weights_have_orthonormal_columns():
    weight = torch.empty(30, 20)
    init_weight(weight, "orthogonal")
    torch.testing.assert_close(weight.T @ weight, torch.eye(20), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["kaiming", "normal", "uniform", "xavier", "orthogonal"])
def test_each_group_of_a_convolution_begins_as_one_of_its_own(name):
    layer = make_conv(64, 32, 3, groups=4, bias=True, init=name, generator=generator())
    alone = generator()
    for part in layer.weight.detach().chunk(4):
        expected = make_conv(16, 8, 3, bias=True, init=name, generator=alone).weight
        assert torch.equal(part, expected)
    assert (layer.bias == 0).all()


@pytest.mark.parametrize("init", ["kaiming", "normal", "orthogonal"])
def test_a_convolution_keeps_the_signal_as_a_linear_layer_does(init):
    layer = make_conv(32, 64, 3, padding=0, bias=False, init=init, generator=generator())
    x = torch.randn(64, 32, 6, 6, generator=generator(1))
    assert layer(x).detach().var() == pytest.approx({"kaiming": 2}.get(init, 1), rel=0.05)


@pytest.mark.parametrize(("size", "stride", "out"), [(7, 1, 7), (7, 2, 4), (8, 2, 4)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_keeps_height_and_width(kernel, size, stride, out):
    layer = make_conv(2, 3, kernel, stride=stride, bias=False, init="kaiming")
    assert layer(torch.randn(1, 2, size, size)).shape == (1, 3, out, out)


def test_an_even_kernel_needs_its_padding():
    with pytest.raises(ValueError, match="kernel is 2; an even one needs an explicit padding"):
        make_conv(2, 3, 2, bias=False, init="kaiming")


def test_layers_draw_from_their_generator_alone():
    before = torch.get_rng_state()
    make_conv(4, 6, 3, bias=True, init="kaiming", generator=generator())
    make_linear(4, 6, bias=True, init="kaiming", generator=generator(), weight_norm=True)
    assert torch.equal(torch.get_rng_state(), before)


def power_through(init, activation):
    """Mean square after 20 layers over before, and of the gradient at the bottom over the top."""
    draw = generator()
    x = torch.randn(64, WIDTH, generator=draw, dtype=torch.float64).requires_grad_()
    y = x
    for _ in range(DEPTH):
        weight = torch.empty(WIDTH, WIDTH, dtype=torch.float64)
        init(weight, draw)
        y = activation(y @ weight.T)
    dy = torch.randn(y.shape, generator=draw, dtype=torch.float64)
    (dx,) = torch.autograd.grad(y, x, dy)
    powers = (float(v.detach().square().mean()) for v in (y, x, dx, dy))
    y_power, x_power, dx_power, dy_power = powers
    return y_power / x_power, dx_power / dy_power


def named(name):
    return lambda weight, draw: init_weight(weight, name, generator=draw)


def standard_normal(weight, draw):
    nn.init.normal_(weight, generator=draw)


@pytest.mark.parametrize(
    ("init", "activation"),
    [
        ("kaiming", nn.ReLU()),
        ("kaiming", nn.LeakyReLU()),
        ("normal", nn.Identity()),
        ("xavier", nn.Identity()),
        ("orthogonal", nn.Identity()),
    ],
)
def test_signal_and_gradient_stay_in_range_through_twenty_layers(init, activation):
    forward, backward = power_through(named(init), activation)
    spread = {"orthogonal": 1e-9}.get(init, math.log(3))  # log power of order sqrt(layers / width)
    assert abs(math.log(forward)) < spread
    assert abs(math.log(backward)) < spread


@pytest.mark.parametrize("init", ["normal", "xavier", "orthogonal"])
def test_under_tanh_the_signal_fades_as_one_over_the_layers_and_not_exponentially(init):
    """At variance 1 / n_in tanh(h) ~ h - h^3 / 3 gives q' = q - 2 q^2, so q ~ 1 / (2 layers)."""
    forward, backward = power_through(named(init), make_activation("tanh"))
    assert 1 / (4 * DEPTH) < forward < 2 / DEPTH
    assert 0.01 < backward < 1


@pytest.mark.parametrize(
    ("init", "activation", "a_layer"),
    [
        (standard_normal, nn.Identity(), WIDTH),
        (standard_normal, nn.ReLU(), WIDTH / 2),
        (named("normal"), nn.ReLU(), 1 / 2),
        (named("uniform"), nn.Identity(), 1 / 3),
    ],
)
def test_other_variances_explode_or_vanish_at_their_rate(init, activation, a_layer):
    for power in power_through(init, activation):
        assert power == pytest.approx(a_layer**DEPTH, rel=2)
        assert not 1e-4 < power < 1e4


def test_unit_variance_saturates_tanh():
    forward, backward = power_through(standard_normal, nn.Tanh())
    assert forward > 0.9
    assert not 1e-4 < backward < 1e4
