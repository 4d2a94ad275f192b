"""Synchronized batch norm in one process, and conversion to it."""

import copy

import pytest
import torch
from torch import nn

from models import GhostBatchNorm, SyncBatchNorm, convert_sync_batch_norm, make_norm
from models.training.seeding import num_threads


@pytest.fixture(autouse=True)
def one_thread():
    with num_threads(1):
        yield


def make_net():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4, eps=1e-3, momentum=0.3),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 9, 5), GhostBatchNorm(5, ghost_batch_size=4)),
        nn.BatchNorm1d(5, affine=False, momentum=None),
        nn.SyncBatchNorm(5, track_running_stats=False),
    )


def images(seed=0):
    return torch.randn(12, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 4), (7, 3, 4, 2)])
def test_without_a_process_group_is_plain_batch_norm(shape):
    layer = SyncBatchNorm(3)
    plain = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](3)
    x = torch.randn(shape)
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer.running_var, plain.running_var)
    assert torch.equal(layer.eval()(x), plain.eval()(x))


def test_converts_every_kind_of_batch_norm():
    net = convert_sync_batch_norm(make_net())
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [type(layer) for layer in layers] == [SyncBatchNorm] * 4
    assert [layer.momentum for layer in layers] == [0.3, 0.1, None, 0.1]
    assert [layer.affine for layer in layers] == [True, True, False, True]
    assert [layer.track_running_stats for layer in layers] == [True, True, True, False]
    assert layers[0].eps == 1e-3


def test_conversion_keeps_parameters_and_buffers_the_same_objects():
    net = make_net()
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    net[1].weight.requires_grad_(False)
    converted = convert_sync_batch_norm(net.eval())
    assert converted is net
    assert all(p is parameters[key] for key, p in converted.named_parameters())
    assert all(b is buffers[key] for key, b in converted.named_buffers())
    assert not any(module.training for module in converted.modules())


def test_state_dicts_fit_both_ways():
    plain = make_net()
    plain[:3](images())
    converted = convert_sync_batch_norm(make_net())
    converted.load_state_dict(plain.state_dict())
    other = make_net()
    other.load_state_dict(converted.state_dict())
    assert torch.equal(converted.eval()(images()), other.eval()(images()))


def test_a_norm_that_is_the_whole_network_is_returned_converted():
    norm = nn.BatchNorm1d(3)
    assert isinstance(convert_sync_batch_norm(norm), SyncBatchNorm)


def test_a_norm_in_two_places_stays_one():
    norm = nn.BatchNorm1d(3)
    net = convert_sync_batch_norm(nn.ModuleDict({"a": norm, "b": nn.Sequential(norm)}))
    assert net["a"] is net["b"][0]


def test_a_lazy_norm_cannot_be_converted_before_its_first_batch():
    net = nn.Sequential(nn.LazyBatchNorm1d())
    with pytest.raises(ValueError, match="run a batch through the network first"):
        convert_sync_batch_norm(net)
    net(torch.randn(4, 3))
    assert isinstance(convert_sync_batch_norm(net)[0], SyncBatchNorm)


def test_a_copy_is_of_the_same_process_group_and_owns_its_tensors():
    group = object()
    layer = SyncBatchNorm(3, process_group=group)
    twin = copy.deepcopy(nn.Sequential(layer))[0]
    assert twin.process_group is group
    twin.weight.data.zero_()
    twin.running_mean.fill_(5)
    assert (layer.weight == 1).all()
    assert (layer.running_mean == 0).all()


def test_the_precise_option_keeps_small_spread_under_a_large_mean():
    x = 1e4 + 1e-2 * torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    exact = (x - x.double().mean(0)) / x.double().var(0, correction=0).sqrt()
    errors = {}
    for precise in (False, True):
        y = SyncBatchNorm(8, eps=1e-12, precise=precise)(x)
        errors[precise] = float((y - exact).detach().abs().max())
    assert errors[True] < 1e-6
    assert errors[False] > 1e-2


@pytest.mark.parametrize("shape", [(9, 3), (4, 3, 5), (4, 3, 2, 2)])
def test_the_precise_option_has_the_gradients_of_plain_batch_norm(shape):
    layer = SyncBatchNorm(3, precise=True).double()
    nn.init.normal_(layer.weight)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(shape, dtype=torch.float64)
    ours = torch.autograd.grad(layer(x), (x, layer.weight, layer.bias), dy)
    y = nn.functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    theirs = torch.autograd.grad(y, (x, layer.weight, layer.bias), dy)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_second_derivative_is_an_error_and_not_silently_wrong():
    x = torch.randn(4, 3, requires_grad=True)
    y = SyncBatchNorm(3, precise=True)(x).pow(3).sum()
    (slope,) = torch.autograd.grad(y, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


@pytest.mark.parametrize("precise", [False, True])
def test_one_value_per_channel_is_an_error(precise):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        SyncBatchNorm(3, precise=precise)(torch.randn(1, 3))


@pytest.mark.parametrize("shape", [(4, 2), (3,)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"batch norm takes \[n, 3, \.\.\.\], not \["):
        make_norm("sync_batch", 3)(torch.randn(shape))
