"""Norms by name, for rows and for images."""

import copy

import pytest
import torch
from torch import nn

from models import GhostBatchNorm, load_checkpoint, save_checkpoint
from models.layers import (
    NORMS,
    make_conv,
    make_linear,
    make_norm,
    norm_has_shift,
    uses_weight_norm,
)


def images(n=8, features=6):
    return torch.randn(n, features, 3, 5, generator=torch.Generator().manual_seed(0)) * 5 + 2


@pytest.mark.parametrize("name", sorted(set(NORMS) - {"instance"}))
def test_a_norm_keeps_the_shape_of_rows(name):
    assert make_norm(name, 6)(torch.randn(8, 6)).shape == (8, 6)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_a_norm_keeps_the_shape_of_images(name):
    assert make_norm(name, 6, dims=2)(images()).shape == (8, 6, 3, 5)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("batch", (0, 2, 3)),
        ("sync_batch", (0, 2, 3)),
        ("layer", (1, 2, 3)),
        ("instance", (2, 3)),
    ],
)
def test_a_norm_standardizes_over_its_axes(name, axes):
    y = make_norm(name, 6, dims=2)(images()).detach()
    assert y.mean(axes).abs().max() < 1e-5
    assert (y.var(axes, correction=0) - 1).abs().max() < 1e-4


def test_group_norm_standardizes_each_group_of_features():
    y = make_norm("group", 6, dims=2, groups=3)(images()).detach()
    groups = y.reshape(8, 3, 2 * 3 * 5)
    assert groups.mean(2).abs().max() < 1e-5
    assert (groups.var(2, correction=0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("name", sorted(set(NORMS) - {"instance"}))
def test_a_bias_under_a_norm_with_a_shift_does_nothing(name):
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    bias = torch.linspace(-1, 1, 32)
    norm = make_norm(name, 32)
    same = torch.allclose(norm(x), norm(x + bias), atol=1e-5)
    assert same == norm_has_shift(name)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_a_bias_under_a_norm_of_images_with_a_shift_does_nothing(name):
    bias = torch.linspace(-1, 1, 32).reshape(-1, 1, 1)
    norm = make_norm(name, 32, dims=2)
    same = torch.allclose(norm(images(4, 32)), norm(images(4, 32) + bias), atol=1e-4)
    assert same == norm_has_shift(name)


@pytest.mark.parametrize(
    ("features", "groups"), [(7, 1), (20, 1), (32, 2), (48, 3), (128, 8), (512, 32), (2048, 32)]
)
def test_groups_hold_sixteen_features_or_more(features, groups):
    assert make_norm("group", features).num_groups == groups


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 4}, r"model\.groups is 4; .* 6 features: choose from 1, 2, 3$"),
        ({"groups": 6}, r"model\.groups is 6; .* choose from 1, 2, 3$"),
        ({"groups": 0, "dims": 2}, r"model\.groups is 0; .* choose from 1, 2, 3, 6$"),
    ],
)
def test_groups_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_norm("group", 6, **options)


def test_instance_norm_is_for_images():
    with pytest.raises(ValueError, match=r"model\.norm is 'instance'; it needs images"):
        make_norm("instance", 6)


def test_a_wrong_name_says_what_there_is():
    for ask in (lambda n: make_norm(n, 3), norm_has_shift, uses_weight_norm):
        with pytest.raises(ValueError, match=r"model\.norm is 'gohst_batch'; did you mean 'ghost"):
            ask("gohst_batch")


@pytest.mark.parametrize("momentum", [0.1, None])
def test_ghost_batches_are_normalised_one_after_another(momentum):
    ghost, plain = GhostBatchNorm(3, ghost_batch_size=4, momentum=momentum), nn.BatchNorm1d(3)
    plain.momentum = momentum
    x = torch.randn(12, 3)
    assert torch.equal(ghost(x), torch.cat([plain(part) for part in x.split(4)]))
    for key, value in plain.state_dict().items():
        assert torch.equal(ghost.state_dict()[key], value)
    assert torch.equal(ghost.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(("rows", "sizes"), [(9, [5, 4]), (7, [7]), (3, [3]), (11, [6, 5])])
def test_no_ghost_batch_is_smaller_than_asked(rows, sizes):
    x = torch.randn(rows, 3)
    y = GhostBatchNorm(3, ghost_batch_size=4)(x)
    assert torch.equal(y, torch.cat([nn.BatchNorm1d(3)(part) for part in x.split(sizes)]))


def test_a_ghost_batch_of_one_is_refused():
    with pytest.raises(ValueError, match=r"model\.ghost_batch_size is 1"):
        make_norm("ghost_batch", 3, ghost_batch_size=1)


def make_layer(kind, **options):
    draw = torch.Generator().manual_seed(0)
    make = {"linear": make_linear, "conv": lambda i, o, **k: make_conv(i, o, 3, **k)}[kind]
    return make(4, 6, bias=True, init="kaiming", generator=draw, **options)


@pytest.fixture(params=["linear", "conv"])
def kind(request):
    return request.param


def test_weight_norm_begins_at_the_same_weights(kind):
    plain, layer = make_layer(kind), make_layer(kind, weight_norm=True)
    torch.testing.assert_close(layer.weight, plain.weight)


def test_weight_norm_learns_length_and_direction_apart(kind):
    layer = make_layer(kind, weight_norm=True)
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    with torch.no_grad():
        g.fill_(3)
        v.mul_(7)
    lengths = layer.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((6,), 3.0))
    layer.weight.square().sum().backward()
    assert g.grad.flatten().tolist() == pytest.approx([6.0] * 6)  # d |w|^2 / dg = 2 g
    assert v.grad.abs().max() < 1e-5


def test_weight_norm_survives_a_checkpoint_and_a_copy(kind, tmp_path):
    layer = make_layer(kind, weight_norm=True)
    x = torch.randn((2, 4) if kind == "linear" else (2, 4, 5, 5))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1)
    twin = copy.deepcopy(layer)
    save_checkpoint(tmp_path / "c", layer.state_dict())
    other = make_layer(kind, weight_norm=True)
    other.load_state_dict(load_checkpoint(tmp_path / "c"))
    assert torch.equal(other(x), layer(x))
    assert torch.equal(twin(x), layer(x))
    with torch.no_grad():
        twin.parametrizations.weight.original0.zero_()
    assert not torch.equal(twin(x), layer(x))


def test_weight_norm_needs_weights_with_a_direction():
    with pytest.raises(ValueError, match=r"model\.init must not leave weights all zero"):
        make_linear(4, 6, bias=True, init="zeros", weight_norm=True)


def test_weight_norm_is_chosen_by_name():
    assert uses_weight_norm("weight")
    assert not any(uses_weight_norm(name) for name in set(NORMS) - {"weight"})
    assert isinstance(make_norm("weight", 3), nn.Identity)
