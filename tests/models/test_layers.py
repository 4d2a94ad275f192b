"""Layers do what their papers say."""

import copy
import math

import pytest
import torch

from models.layers import INITS, NORMS, Dropout, init_weight, make_norm


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


VARIANCES = {
    "kaiming": 2 / 200,
    "xavier": 2 / (200 + 300),
    "normal": 1 / 200,
    "uniform": 1 / 200 / 3,
    "orthogonal": 1 / 300,
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", sorted(INITS))
def test_initial_weights_have_the_variance_of_their_paper(name):
    weight = torch.empty(300, 200)
    init_weight(weight, name, generator=torch.Generator().manual_seed(0))
    assert weight.var() == pytest.approx(VARIANCES[name], rel=0.03)
    assert weight.mean() == pytest.approx(0, abs=0.002)


def test_orthogonal_weights_have_orthonormal_columns():
    weight = torch.empty(30, 20)
    init_weight(weight, "orthogonal")
    torch.testing.assert_close(weight.T @ weight, torch.eye(20), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(NORMS) - {"instance"}))
def test_a_norm_keeps_the_shape_of_rows(name):
    assert make_norm(name, 6)(torch.randn(8, 6)).shape == (8, 6)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_a_norm_keeps_the_shape_of_images(name):
    assert make_norm(name, 6, dims=2)(torch.randn(8, 6, 3, 5)).shape == (8, 6, 3, 5)


def test_batch_norm_standardizes_each_feature():
    x = torch.randn(64, 3) * 5 + 2
    y = make_norm("batch", 3)(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
