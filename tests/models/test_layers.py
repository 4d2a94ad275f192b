"""Layers do what their papers say."""

import copy
import math

import pytest
import torch

from models.layers import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(p):
    layer = Dropout(p, generator=torch.Generator().manual_seed(0))
    y = layer(torch.ones(200_000))
    zeros = (y == 0).float().mean()
    assert zeros == pytest.approx(p, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=4 * math.sqrt(p / (1 - p) / 200_000))
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)])


def test_dropout_is_the_identity_in_evaluation():
    x = torch.randn(3, 4)
    assert Dropout(0.5).eval()(x) is x


def test_dropout_passes_the_gradient_through_its_own_mask():
    x = torch.ones(100, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_draws_from_its_generator_alone():
    before = torch.get_rng_state()
    x = torch.ones(50)
    a, b = (Dropout(0.5, generator=torch.Generator().manual_seed(7))(x) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_takes_a_probability_per_model():
    layer = Dropout(torch.tensor([0.0, 0.9]).reshape(2, 1, 1))
    y = layer(torch.ones(2, 100, 100))
    assert (y[0] == 1).all()
    assert (y[1] == 0).float().mean() == pytest.approx(0.9, abs=0.02)
    assert not layer.state_dict()


def test_dropout_can_be_copied():
    layer = Dropout(0.5, generator=torch.Generator().manual_seed(7))
    twin = copy.deepcopy(layer)
    assert torch.equal(layer(torch.ones(9)), twin(torch.ones(9)))


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=r"model\.dropout"):
        Dropout(p)


def test_dropout_keeps_the_type_of_half_precision():
    layer = Dropout(torch.tensor([0.0, 0.9]).reshape(2, 1)).bfloat16()
    for each in (layer, Dropout(0.25)):
        x = torch.ones(2, 20_000, dtype=torch.bfloat16, requires_grad=True)
        y = each(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == torch.bfloat16
        assert y.float().mean(1).tolist() == pytest.approx([1, 1], abs=0.06)


def test_a_probability_of_zero_in_a_tensor_drops_nothing():
    """`rand` lies in [0, 1), and a draw of exactly 0 is kept."""
    layer = Dropout(torch.zeros(1), generator=torch.Generator().manual_seed(0))
    assert (layer(torch.ones(2**18)) == 1).all()
