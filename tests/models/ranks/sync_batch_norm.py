"""One rank of the synchronized batch norm's tests: runs cases and writes what failed.

    python tests/models/ranks/sync_batch_norm.py RANK WORLD FOLDER CASE...

Every rank draws the whole batch, takes its rows, and compares with one process on all of them.
"""

import copy
import json
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models import MLP, GhostBatchNorm, convert_sync_batch_norm, precise_batch_norm

PLAIN = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
UNEQUAL = {2: [5, 2], 4: [4, 1, 2, 6]}
EMPTY = {2: [0, 6], 4: [3, 0, 4, 0]}


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rows_of(x, sizes):
    return x.split(sizes)[dist.get_rank()].clone()


def total(tensor):
    tensor = tensor.detach().clone()
    dist.all_reduce(tensor)
    return tensor


def close(a, b, tolerance):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def same_as_one_process(
    sizes,
    *features,
    dtype=torch.float64,
    tolerance=1e-12,
    shift=True,
    precise=False,
    device="cpu",
    **options,
):
    """Three training steps and an evaluation of one layer."""
    plain = PLAIN[1 + len(features)](features[0], dtype=dtype, **options)
    if plain.affine:
        plain.weight.data, plain.bias.data = draw(2, features[0], seed=1, dtype=dtype)
    if not shift:
        plain.bias = None
    plain = plain.to(device)
    layer = convert_sync_batch_norm(copy.deepcopy(plain), precise=precise)
    for step in range(3):
        x = (draw(sum(sizes), *features, seed=step, dtype=dtype) * 3 + 2 * step).to(device)
        dy = draw(*x.shape, seed=9 + step, dtype=dtype).to(device)
        mine = rows_of(x, sizes).requires_grad_()
        x.requires_grad_()
        expected, y = plain(x), layer(mine)
        assert y.dtype == expected.dtype
        close(y, rows_of(expected.detach(), sizes), tolerance)
        expected.backward(dy)
        y.backward(rows_of(dy, sizes))
        close(mine.grad, rows_of(x.grad, sizes), tolerance)
    for theirs, ours in zip(plain.parameters(), layer.parameters(), strict=True):
        close(total(ours.grad), theirs.grad, tolerance * 10)
    for theirs, ours in zip(plain.buffers(), layer.buffers(), strict=True):
        close(ours, theirs, tolerance)
        assert torch.equal(total(ours), ours * dist.get_world_size())  # on all ranks, bit for bit
    evaluated = layer.eval()(x.detach())
    close(evaluated, plain.eval()(x.detach()), tolerance)


def rows(world):
    same_as_one_process([4] * world, 6)


def sequences(world):
    same_as_one_process([3] * world, 4, 5)


def images(world):
    same_as_one_process([2] * world, 4, 3, 5)


def volumes(world):
    same_as_one_process([2] * world, 3, 2, 3, 2)


def single_precision(world):
    same_as_one_process([8] * world, 4, 3, 3, dtype=torch.float32, tolerance=1e-5)


def unequal_batches(world):
    same_as_one_process(UNEQUAL[world], 6)
    same_as_one_process(UNEQUAL[world], 4, 3, 3)


def an_empty_batch(world):
    same_as_one_process(EMPTY[world], 6)
    same_as_one_process(EMPTY[world], 4, 3, 3)
    same_as_one_process(EMPTY[world], 4, 3, 3, dtype=torch.float32, tolerance=1e-5)


def one_row_a_rank(world):
    same_as_one_process([1] * world, 6)


def cumulative_average(world):
    same_as_one_process(UNEQUAL[world], 6, momentum=None)


def without_affine(world):
    same_as_one_process(UNEQUAL[world], 6, affine=False)


def without_tracking(world):
    layer = convert_sync_batch_norm(nn.BatchNorm1d(6, track_running_stats=False))
    x = draw(sum(UNEQUAL[world]), 6, dtype=torch.float32)
    plain = nn.BatchNorm1d(6, track_running_stats=False)
    close(layer(rows_of(x, UNEQUAL[world])), rows_of(plain(x), UNEQUAL[world]), 1e-5)
    mine = draw(5, 6, seed=dist.get_rank(), dtype=torch.float32)
    assert torch.equal(layer.eval()(mine), plain.eval()(mine))  # of its own batch, as torch's


def without_a_shift(world):
    same_as_one_process([4] * world, 6, shift=False)


def half_precision(world):
    for dtype in (torch.bfloat16, torch.float16):
        x = draw(200 * world, 6, dtype=dtype) + 1
        layer = convert_sync_batch_norm(nn.BatchNorm1d(6))
        mine = rows_of(x, [200] * world).requires_grad_()
        y = layer(mine)
        y.float().square().sum().backward()
        assert y.dtype == mine.grad.dtype == dtype
        expected = nn.BatchNorm1d(6)
        expected(x.double().float())
        close(layer.running_var, expected.running_var, 1e-6)  # summed in float32
        close(y.float(), rows_of(expected(x.float()), [200] * world), 2 * torch.finfo(dtype).eps)


def an_empty_half_precision_batch(world):
    x = draw(sum(EMPTY[world]), 6, dtype=torch.bfloat16)
    layer = convert_sync_batch_norm(nn.BatchNorm1d(6))
    y = layer(rows_of(x, EMPTY[world]).requires_grad_())
    y.sum().backward()
    assert y.shape == (EMPTY[world][dist.get_rank()], 6)
    assert layer.weight.grad is not None


def converted_to_half_precision(world):
    same_as_one_process([64] * world, 6, dtype=torch.bfloat16, tolerance=0.1)


def large_mean_and_small_spread(world):
    x = 1e4 + 1e-2 * draw(512 * world, 6, dtype=torch.float32)
    mine = rows_of(x, [512] * world)
    layer = convert_sync_batch_norm(nn.BatchNorm1d(6, momentum=1.0, eps=1e-12), precise=True)
    y = layer(mine)
    exact = x.double()
    true = exact.var(0)
    assert ((layer.running_var - true) / true).abs().max() < 1e-7
    close(y.double(), (mine - exact.mean(0)) / exact.var(0, correction=0).sqrt(), 1e-6)


def tiny_spread(world):
    x = 1e-6 * draw(512 * world, 6, dtype=torch.float32)
    layer = convert_sync_batch_norm(nn.BatchNorm1d(6, momentum=1.0))
    layer(rows_of(x, [512] * world))
    true = x.double().var(0)
    assert ((layer.running_var - true) / true).abs().max() < 1e-5


def means_that_differ_between_ranks(world):
    mine = draw(2, 6, seed=dist.get_rank()) + 100 * dist.get_rank()
    x = torch.cat([draw(2, 6, seed=rank) + 100 * rank for rank in range(world)])
    layer = convert_sync_batch_norm(nn.BatchNorm1d(6, momentum=1.0, dtype=torch.float64))
    layer(mine)
    close(layer.running_var, x.var(0), 1e-12)


def one_value_over_all_ranks(world):
    layer = convert_sync_batch_norm(nn.BatchNorm1d(3))
    mine = torch.randn(1 if dist.get_rank() == 0 else 0, 3)
    with pytest.raises(ValueError, match="more than 1 value per channel over all ranks"):
        layer(mine)


def data_without_a_gradient(world):
    net = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3), nn.BatchNorm1d(3))
    net = convert_sync_batch_norm(net)
    net(draw(4, 6, seed=dist.get_rank(), dtype=torch.float32)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def evaluation_says_nothing_to_other_ranks(world):
    layer = convert_sync_batch_norm(nn.BatchNorm1d(3)).eval()
    if dist.get_rank() == 0:
        x = torch.randn(4, 3)
        assert torch.equal(layer(x), nn.BatchNorm1d(3).eval()(x))


def groups_of_their_own(world):
    size = world // 2
    groups = [dist.new_group(range(first, first + size)) for first in (0, size)]
    of = dist.get_rank() // size
    net = nn.Sequential(nn.BatchNorm1d(3, momentum=1.0, dtype=torch.float64))
    layer = copy.deepcopy(convert_sync_batch_norm(net, groups[of]))[0]
    assert layer.process_group is groups[of]
    x = draw(2 * size, 3, seed=of)
    layer(x.split(2)[dist.get_rank() % size])
    close(layer.running_var, x.var(0), 1e-12)


def make_net():
    generator = torch.Generator().manual_seed(3)
    return MLP(6, 3, width=[8, 5], norm="batch", generator=generator).double()


def train_one_process(steps, sizes, parts):
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        for part in range(parts):
            x, y = draw(sum(sizes), 6, seed=10 * step + part), labels(sum(sizes), step)
            (nn.functional.cross_entropy(net(x), y) / parts).backward()
        optimizer.step()
    return net


def labels(n, seed):
    return torch.randint(0, 3, (n,), generator=torch.Generator().manual_seed(seed))


def train_ranks(steps, sizes, parts):
    world = dist.get_world_size()
    net = convert_sync_batch_norm(make_net())
    parallel = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        for part in range(parts):
            parallel.require_backward_grad_sync = part == parts - 1
            x, y = draw(sum(sizes), 6, seed=10 * step + part), labels(sum(sizes), step)
            logits, targets = parallel(rows_of(x, sizes)), rows_of(y, sizes)
            loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
            (loss * world / sum(sizes) / parts).backward()
        optimizer.step()
    return net


def same_training(sizes, parts):
    expected, net = train_one_process(5, sizes, parts), train_ranks(5, sizes, parts)
    for key, tensor in expected.state_dict().items():
        close(net.state_dict()[key], tensor, 1e-12)


def data_parallel_training(world):
    same_training(UNEQUAL[world], 1)


def data_parallel_training_with_an_empty_batch(world):
    same_training(EMPTY[world], 1)


def data_parallel_training_with_gradient_accumulation(world):
    same_training(UNEQUAL[world], 3)


def precise_statistics_over_ranks(world):
    sizes = [2 + 3 * rank for rank in range(world)]  # batches of 4 rows a rank
    x = draw(4 * sum(sizes), 6).sort(dim=0).values
    net = nn.Sequential(nn.BatchNorm1d(6), GhostBatchNorm(6)).double()
    precise_batch_norm(net, rows_of(x, [4 * n for n in sizes]).split(4))
    close(net[0].running_mean, x.mean(0), 1e-12)
    close(net[0].running_var, x.var(0), 1e-12)
    between = torch.cat(
        [nn.functional.batch_norm(b, None, None, training=True) for b in x.split(4)]
    )
    close(net[1].running_var, between.var(0), 1e-12)


def precise_statistics_of_synchronized_norms(world):
    net = convert_sync_batch_norm(make_net())
    batches = [draw(3 * world, 6, seed=seed) for seed in range(4)]
    precise_batch_norm(net, [rows_of(batch, [3] * world) for batch in batches])
    expected = make_net()
    precise_batch_norm(
        expected,
        batches,
        process_group=dist.new_group([dist.get_rank()], use_local_synchronization=True),
    )
    for key, tensor in expected.state_dict().items():
        close(net.state_dict()[key], tensor, 1e-12)


def cuda(world):
    """All ranks on one device, through gloo."""
    for sizes in ([4] * world, UNEQUAL[world], EMPTY[world]):
        for precise in (False, True):
            options = {"precise": precise, "device": "cuda"}
            same_as_one_process(sizes, 6, tolerance=1e-10, **options)
            same_as_one_process(sizes, 4, 3, 3, tolerance=1e-10, momentum=None, **options)
            same_as_one_process(sizes, 6, dtype=torch.float32, tolerance=1e-4, **options)


def compiled(world):
    eager, x = convert_sync_batch_norm(make_net()), draw(4, 6, seed=dist.get_rank())
    net = copy.deepcopy(eager)
    fast = torch.compile(net, fullgraph=True)
    for _ in range(2):
        eager(x).square().sum().backward()
        fast(x).square().sum().backward()
    for ours, theirs in zip(net.parameters(), eager.parameters(), strict=True):
        close(ours.grad, theirs.grad, 1e-12)
    for ours, theirs in zip(net.buffers(), eager.buffers(), strict=True):
        close(ours, theirs, 1e-12)


def compiled_with_one_value_over_all_ranks(world):
    layer = torch.compile(convert_sync_batch_norm(nn.BatchNorm1d(3)), fullgraph=True)
    with pytest.raises(RuntimeError, match="more than 1 value per channel over all ranks"):
        layer(torch.randn(1 if dist.get_rank() == 0 else 0, 3))


def run(rank, world, folder, names):
    torch.set_num_threads(1)
    init = f"file://{folder}/store"
    dist.init_process_group(
        "gloo", init_method=init, rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    failures = {}
    for name in names:
        try:
            globals()[name](world)
            failures[name] = None
        except Exception:  # noqa: BLE001 - the parent shows it
            failures[name] = traceback.format_exc()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(failures))
    dist.destroy_process_group()


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
