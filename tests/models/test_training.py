"""Schedules, optimizers, batches and seeds."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from models import (
    MLP,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    ReduceOnPlateau,
    RMSProp,
    Step,
)
from models.data import Split
from models.training.batches import batch_sizes, batches, epoch_order
from models.training.early_stopping import has_stalled
from models.training.optimizers import parameter_groups
from models.training.seeding import derive_seed, seeded


def factors(schedule, epochs=10, steps=4):
    return [schedule.factor(s, steps) for s in range(epochs * steps)]


@pytest.mark.parametrize("kind", [Constant, Cosine, Exponential, Step])
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("warmup", [0.0, 2.5, 10.0])
def test_factors_rise_through_the_warmup_and_never_after(kind, every, warmup):
    values = factors(kind(epochs=10, warmup_epochs=warmup, every=every))
    assert all(0 <= v <= 1 for v in values)
    assert values[0] > 0
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_the_factor_of_an_epoch_is_constant_within_it():
    values = factors(Cosine(epochs=10, every="epoch"))
    assert len(set(values)) == 10


def test_cosine_is_half_way_in_the_middle():
    schedule = Cosine(epochs=10, final=0.2)
    assert schedule.factor(0, 4) == 1
    assert schedule.factor(20, 4) == pytest.approx(0.6)
    assert schedule.factor(40, 4) == pytest.approx(0.2)


def test_exponential_decays_at_a_constant_rate():
    values = factors(Exponential(epochs=10, gamma=0.9))
    assert {round(b / a, 9) for a, b in pairwise(values)} == {round(0.9 ** (1 / 4), 9)}
    assert Exponential(epochs=10).factor(40, 4) == pytest.approx(0.98**10)


def test_a_warmup_in_steps_is_linear_and_the_rest_follows():
    values = factors(Cosine(epochs=10, warmup_steps=5))
    assert values[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    in_epochs = factors(Cosine(epochs=10, warmup_epochs=5 / 4))
    assert values == pytest.approx(in_epochs)
    by_epoch = factors(Step(epochs=10, warmup_steps=2, every="epoch"))
    assert by_epoch[:3] == [0.5, 1.0, 1.0]


def test_one_cycle_is_torchs_where_both_end():
    steps = 1000
    net = MLP(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps + 1, cycle_momentum=False, div_factor=25
    )
    ours = OneCycle(epochs=10)
    for step in range(steps):
        lr = optimizer.param_groups[0]["lr"]
        assert ours.factor(step, steps // 10) == pytest.approx(lr, abs=0.005)
        optimizer.step()
        theirs.step()


def losses(seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(60, generator=generator) * 0.3
    return (noise + torch.linspace(1, 0.2, 60)).tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cooldown", [0, 3])
def test_reduce_on_plateau_is_torchs(seed, cooldown):
    optimizer = torch.optim.SGD(MLP(2, 2).parameters(), lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.02, threshold_mode="abs",
        cooldown=cooldown, min_lr=0.01, eps=0.0,
    )  # fmt: skip
    ours = ReduceOnPlateau(
        epochs=60, gamma=0.5, patience_epochs=2, min_delta=0.02, cooldown_epochs=cooldown,
        final=0.01,
    )  # fmt: skip
    seen = losses(seed)
    for epoch, loss in enumerate(seen, start=1):
        theirs.step(loss)
        lr = optimizer.param_groups[0]["lr"]
        assert ours.after(seen[:epoch]).factor(epoch * 7, 7) == pytest.approx(lr)
    assert lr < 0.5


def test_early_stopping_counts_epochs_without_a_better_loss():
    assert not has_stalled([], patience=1)
    assert not has_stalled([3, 2, 1], patience=1)
    assert has_stalled([3, 2, 2], patience=1)
    assert not has_stalled([3, 2, 4, 4, 1], patience=2)
    assert has_stalled([3, 2, 4, 4], patience=2)
    assert has_stalled([3, 2.95, 2.9], patience=2, min_delta=0.2)


def test_step_multiplies_by_gamma():
    values = factors(Step(epochs=10, step_epochs=4, gamma=0.5))
    assert [values[i] for i in (0, 15, 16, 31, 32)] == [1, 1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(epochs=1, every="batch"), r"lr_schedule\.every is 'batch'"),
        (lambda: Cosine(epochs=1, warmup_epochs=-1), r"lr_schedule\.warmup_epochs is -1"),
        (lambda: Exponential(epochs=1, gamma=0), r"lr_schedule\.gamma is 0"),
        (lambda: Cosine(epochs=1, warmup_epochs=1, warmup_steps=1), "at most one of them"),
        (lambda: OneCycle(epochs=1, rise=1), r"lr_schedule\.rise is 1"),
        (lambda: ReduceOnPlateau(epochs=1, gamma=1), r"lr_schedule\.gamma is 1"),
        (lambda: ReduceOnPlateau(epochs=1, patience_epochs=-1), r"patience_epochs is -1"),
        (lambda: Adagrad(MLP(2, 2), lr_decay=-1), r"optimizer\.lr_decay is -1"),
        (lambda: RMSProp(MLP(2, 2), alpha=1.0), r"optimizer\.alpha is 1\.0"),
        (lambda: Step(epochs=1, step_epochs=0), r"lr_schedule\.step_epochs is 0"),
        (lambda: SGD(MLP(2, 2), lr=-1), r"optimizer\.lr is -1"),
        (lambda: SGD(MLP(2, 2), lr=1, momentum=1.0), r"optimizer\.momentum is 1\.0"),
        (lambda: Adam(MLP(2, 2), beta1=-0.1), r"optimizer\.beta1 is -0\.1"),
        (lambda: AdamW(MLP(2, 2), weight_decay=-1), r"optimizer\.weight_decay is -1"),
    ],
)
def test_a_wrong_option_names_its_key(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_norms_and_biases_can_be_left_out_of_weight_decay():
    net = MLP(3, 2, depth=1, norm="batch")
    decayed, free = parameter_groups(net, 0.1, decay_norms_and_biases=False)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in free["params"]} == {1}
    (everything,) = parameter_groups(net, 0.1, decay_norms_and_biases=True)
    assert len(everything["params"]) == len(list(net.parameters()))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda net: SGD(net, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
            lambda p: torch.optim.SGD(
                p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=False
            ),
        ),
        (
            lambda net: SGD(net, lr=1e-3, momentum=0.9, weight_decay=0.01),
            lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, weight_decay=0.01, foreach=False),
        ),
        (
            lambda net: Adagrad(net, lr=0.1, lr_decay=0.1, initial=0.1, weight_decay=0.01),
            lambda p: torch.optim.Adagrad(
                p,
                lr=0.1,
                lr_decay=0.1,
                initial_accumulator_value=0.1,
                weight_decay=0.01,
                foreach=False,
            ),
        ),
        (
            lambda net: RMSProp(net, lr=0.01, alpha=0.9, weight_decay=0.01),
            lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, weight_decay=0.01, foreach=False),
        ),
        (
            lambda net: RMSProp(net, lr=0.01, momentum=0.8),
            lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.8, foreach=False),
        ),
        (lambda net: Adam(net, lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01, foreach=False)),
        (
            lambda net: AdamW(net, lr=0.01, decay_norms_and_biases=True),
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01, foreach=False),
        ),
    ],
)
def test_fused_steps_equal_the_plain_ones(ours, theirs):
    a, b = (MLP(4, 3, width=8, generator=torch.Generator().manual_seed(0)).double() for _ in "ab")
    x = torch.randn(16, 4).double()
    for net, optimizer in ((a, ours(a)), (b, theirs(b.parameters()))):
        for _ in range(5):
            net.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-10)


def test_a_parameter_without_a_gradient_stays():
    for make in (partial(SGD, lr=0.1, momentum=0.9), AdamW, Adagrad, RMSProp):
        net = MLP(4, 3, width=8)
        before = net.head.weight.clone()
        optimizer = make(net)
        net.blocks(torch.randn(5, 4)).sum().backward()
        optimizer.step()
        assert torch.equal(net.head.weight, before)


@pytest.mark.parametrize("kind", [partial(SGD, lr=0.1), Adagrad, RMSProp, Adam, AdamW])
def test_every_optimizer_can_leave_norms_and_biases_out_of_weight_decay(kind):
    moved = {}
    for decay in (True, False):
        net = MLP(4, 3, width=8)
        optimizer = kind(net, weight_decay=0.5, decay_norms_and_biases=decay)
        for parameter in net.parameters():
            parameter.data.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        moved[decay] = {p.ndim for p in net.parameters() if not bool((p == 1).all())}
    assert moved == {True: {1, 2}, False: {2}}


def test_a_state_of_other_parameters_is_refused():
    state = SGD(MLP(4, 3, width=8), lr=0.1, momentum=0.9).state_dict()
    with pytest.raises(ValueError, match="of other parameters"):
        SGD(MLP(4, 3, width=9), lr=0.1, momentum=0.9).load_state_dict(state)


def test_a_last_batch_of_one_row_is_merged():
    assert batch_sizes(9, 4) == [4, 5]
    assert batch_sizes(10, 4) == [4, 4, 2]
    assert batch_sizes(3, 1) == [1, 1, 1]
    assert batch_sizes(1, 4) == [1]


@pytest.mark.parametrize("start", [0, 1, 3, 4])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_batches_are_the_epochs_order_whatever_the_block(monkeypatch, start, block):
    monkeypatch.setattr("models.training.batches.GATHER_BYTES", block)
    split = Split(torch.arange(30.0).reshape(15, 2), torch.arange(15))
    order, sizes = epoch_order(15, seed=0, epoch=3), batch_sizes(15, 4)
    got = [y for _, y in batches(split, order, sizes, start=start)]
    assert [len(y) for y in got] == sizes[start:]
    assert [i for y in got for i in y.tolist()] == order[start * 4 :].tolist()


def test_each_epoch_has_an_order_of_its_own():
    first, second, again = (epoch_order(50, seed=0, epoch=e) for e in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert first.sort().values.tolist() == list(range(50))


def test_derived_seeds_differ():
    seeds = {derive_seed(s, use, e) for s in range(20) for use in "ab" for e in range(20)}
    assert len(seeds) == 800


def test_seeded_puts_the_global_generator_back():
    before = torch.get_rng_state()
    with seeded(3, torch.device("cpu")):
        inside = torch.rand(1)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3, torch.device("cpu")):
        assert torch.rand(1) == inside
