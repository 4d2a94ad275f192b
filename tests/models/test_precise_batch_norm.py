"""Batch norm's statistics from whole data."""

import pytest
import torch
from torch import nn

from models import Dropout, GhostBatchNorm, convert_sync_batch_norm, precise_batch_norm
from models.training.seeding import num_threads


@pytest.fixture(autouse=True)
def one_thread():
    with num_threads(1):
        yield


def sorted_rows(n=4096, features=3):
    """Rows in ascending order: batches of neighbours differ in their mean, and vary little."""
    return torch.randn(n, features, generator=torch.Generator().manual_seed(0)).sort(dim=0).values


def make_net():
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(
        nn.BatchNorm1d(3),
        nn.Linear(3, 8),
        Dropout(0.5, generator=generator),
        GhostBatchNorm(8, ghost_batch_size=16),
        nn.ReLU(),
        nn.Linear(8, 4),
        nn.BatchNorm1d(4, affine=False),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator)
    return net


@pytest.mark.parametrize(("rows", "off"), [(4, 0.9), (64, 0.8)])
def test_pools_moments_where_averaged_variances_are_far_off(rows, off):
    batches = sorted_rows().split(rows)
    true = sorted_rows().var(0)
    averaged = torch.stack([batch.var(0) for batch in batches]).mean(0)
    assert (averaged < (1 - off) * true).all()
    norm = nn.BatchNorm1d(3)
    precise_batch_norm(norm, batches)
    torch.testing.assert_close(norm.running_var, true, rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_mean, sorted_rows().mean(0), rtol=0, atol=1e-6)


def test_unequal_batches_count_by_their_rows():
    norm = nn.BatchNorm2d(3).double()
    x = torch.randn(10, 3, 4, 5, dtype=torch.float64)
    precise_batch_norm(norm, x.split([7, 1, 2]))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), rtol=1e-12, atol=1e-15)


def test_one_batch_gives_what_momentum_one_gives():
    """Several layers, one upstream of another."""
    x = sorted_rows(32)
    net, expected = make_net(), make_net()
    precise_batch_norm(net, [x])
    for layer in (expected[0], expected[3], expected[6]):
        layer.momentum = 1.0
    expected[3].ghost_batch_size = 32
    expected[2].eval()
    net[3].ghost_batch_size = 32
    precise_batch_norm(net, [x])
    expected(x)
    for index in (0, 3, 6):
        for key in ("running_mean", "running_var"):
            ours, theirs = getattr(net[index], key), getattr(expected[index], key)
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_deeper_layer_gets_its_inputs_as_in_a_training_step():
    batches = sorted_rows(256).split(32)
    net = make_net()
    precise_batch_norm(net, batches)
    for layer in (net[0], net[3], net[6]):
        layer.track_running_stats = False
    net.train()
    net[2].eval()
    inputs = torch.cat([net[:6](batch) for batch in batches])
    torch.testing.assert_close(net[6].running_var, inputs.var(0))
    torch.testing.assert_close(net[6].running_mean, inputs.mean(0))


def test_changes_nothing_but_the_running_averages():
    net = make_net().train()
    net[3].eval()
    net(sorted_rows(32))
    modes = [module.training for module in net.modules()]
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    drawn, random = net[2].generator.get_state(), torch.get_rng_state()
    precise_batch_norm(net, sorted_rows(64).split(32))
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(net[2].generator.get_state(), drawn)
    assert torch.equal(torch.get_rng_state(), random)
    changed = {
        key for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key])
    }
    assert changed == {f"{i}.running_{moment}" for i in (0, 3, 6) for moment in ("mean", "var")}
    assert all(module.track_running_stats for module in (net[0], net[3], net[6]))
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_puts_modes_back_after_an_error():
    net = make_net().train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        precise_batch_norm(net, [torch.randn(1, 3)])
    assert all(module.training for module in net.modules())
    assert net[0].track_running_stats
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_synchronized_norms_of_one_process_are_plain_ones():
    net, other = make_net(), convert_sync_batch_norm(make_net())
    net[3].ghost_batch_size = 1000
    for each in (net, other):
        precise_batch_norm(each, sorted_rows(96).split(32))
    torch.testing.assert_close(other.state_dict(), net.state_dict())


def test_a_layer_that_no_batch_reaches_keeps_its_statistics():
    net = nn.Sequential(nn.BatchNorm1d(3))
    net[0].unused = nn.BatchNorm1d(2)
    precise_batch_norm(net, [sorted_rows(8)])
    assert net[0].unused.running_var.tolist() == [1, 1]
    assert net[0].running_var.tolist() != [1, 1, 1]


def test_a_network_without_batch_norm_reads_no_batch():
    precise_batch_norm(nn.Linear(2, 2), iter(lambda: pytest.fail("read"), None))


def test_a_norm_that_tracks_nothing_stays_so():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    precise_batch_norm(net, [sorted_rows(8)])
    assert net[1].running_mean is None
    assert not net[1].track_running_stats


def test_no_batches_is_an_error():
    with pytest.raises(ValueError, match="at least one batch"):
        precise_batch_norm(make_net(), [])
