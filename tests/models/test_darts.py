"""DARTS: the mixture, the derived architecture, the bilevel gradient, and the whole search."""

import json
from functools import partial

import pytest
import torch
from torch import nn

import models
from models import DartsNet, DartsSupernet, DartsTrainer, Digits, Genotype, read_genotype
from models.data import Split
from models.networks.darts import OPERATIONS, derive
from models.networks.darts.mixed_op import MixedOp
from models.networks.darts.operations import FactorizedReduce, make_operation
from models.networks.darts.supernet import SearchStyle
from models.networks.style import Style
from models.training.architecture import ArchitectureSearch
from models.training.bilevel import architecture_gradient
from models.training.loss import Loss

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=4, shape=SHAPE):
    return torch.randn(n, *shape, generator=generator(1))


# operations


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_channels_and_divides_the_image_by_its_stride(name, stride):
    operation = make_operation(name, Style(), 3, stride)
    pixels = {1: (7, 6), 2: (4, 3)}[stride]
    assert operation(images(shape=(3, 7, 6))).shape == (4, 3, *pixels)


def test_no_connection_gives_zeros_and_a_skip_gives_its_input():
    x = images(shape=(3, 4, 4))
    assert torch.equal(make_operation("none", Style(), 3, 1)(x), torch.zeros_like(x))
    assert torch.equal(make_operation("skip_connect", Style(), 3, 1)(x), x)


def test_a_reduction_looks_at_even_and_at_odd_pixels():
    reduce = FactorizedReduce(Style(norm="none", activation="relu", generator=generator()), 1, 2)
    with torch.no_grad():
        for conv in (reduce.even, reduce.odd):
            conv.weight.fill_(1.0)
    x = torch.arange(25.0).view(1, 1, 5, 5)
    even, odd = reduce(x)[0]
    assert torch.equal(even, x[0, 0, ::2, ::2])
    assert torch.equal(odd[:2, :2], x[0, 0, 1::2, 1::2])
    assert odd[2].abs().sum() == 0  # beyond the border


def test_norms_of_a_search_have_no_scale():
    net = DartsSupernet(SHAPE, 3, width=2, cells=3, nodes=1)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.affine for m in norms)


def test_a_mixture_weighs_its_operations():
    names = ["none", "skip_connect", "max_pool_3x3"]
    mixed = MixedOp(names, SearchStyle(generator=generator()), 3, 1).double()
    x, weights = images(shape=(3, 4, 4)).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    expected = 0.3 * x + 0.5 * mixed.operations[2](x)
    torch.testing.assert_close(mixed(x, weights.unbind()), expected)


# genotypes


def test_the_two_strongest_edges_of_each_node_are_kept_as_by_hand():
    operations = ["none", "skip_connect", "max_pool_3x3"]
    normal = torch.tensor(
        [
            [9.0, 1.0, 0.0],  # node 0 from input 0: `none` is the largest, and does not count
            [0.0, 0.0, 3.0],  # node 0 from input 1
            [0.0, 2.0, 0.0],  # node 1 from input 0
            [
                5.0,
                4.0,
                0.0,
            ],  # node 1 from input 1: strength e^4 / (e^5 + e^4 + 1) = 0.27, the least
            [0.0, 0.0, 1.0],  # node 1 from node 0
        ]
    )
    genotype = derive(normal, normal.flip(1), operations)
    assert genotype.to_dict()["normal"] == [
        [["skip_connect", 0], ["max_pool_3x3", 1]],
        [["skip_connect", 0], ["max_pool_3x3", 2]],
    ]


def test_of_equal_alphas_the_earlier_are_taken():
    genotype = derive(
        torch.zeros(9, 3), torch.zeros(9, 3), ["none", "skip_connect", "avg_pool_3x3"]
    )
    assert genotype.to_dict()["reduction"] == [[["skip_connect", 0], ["skip_connect", 1]]] * 3


def test_a_genotype_is_plain_json_and_comes_back(tmp_path):
    genotype = DartsSupernet(SHAPE, 3, width=2, cells=3, nodes=2, generator=generator()).derive()
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    assert Genotype.from_dict(json.loads(genotype.to_json())) == genotype
    assert read_genotype(str(tmp_path / "genotype.json")) == genotype
    assert read_genotype(str(tmp_path)) == genotype
    assert read_genotype(genotype.to_dict()) == genotype


def nodes(*edges):
    return {"normal": [list(edges)], "reduction": [[["skip_connect", 0], ["skip_connect", 1]]]}


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ({}, r"model\.genotype is '\{\}'; expected normal and reduction"),
        (nodes(["skip_connect", 0]), "expected normal and reduction"),
        (nodes(["skip_connect", 0], ["skip_connect", "1"]), "expected normal and reduction"),
        (nodes(["skip_connect", 0], ["skip_conect", 1]), "node 0 .* did you mean 'skip_connect'"),
        (nodes(["skip_connect", 0], ["none", 1]), "node 0 of the normal cell has an edge 'none'"),
        (nodes(["skip_connect", 0], ["skip_connect", 2]), "takes state 2; it must be from 0 to 1"),
        ({"normal": [], "reduction": []}, "the normal cell has no node"),
    ],
)
def test_a_wrong_genotype_says_what_is_wrong(genotype, message):
    with pytest.raises(ValueError, match=message):
        read_genotype(genotype)


def test_a_name_that_is_no_genotype_lists_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"did you mean 'darts_v2'\?.*genotype\.json"):
        read_genotype("darts_v3")
    (tmp_path / "genotype.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_genotype(str(tmp_path))


def test_the_derived_network_is_the_supernet_with_all_weight_on_what_was_chosen():
    operations = ["none", "skip_connect", "avg_pool_3x3", "sep_conv_3x3"]
    options = {"width": 4, "cells": 3}
    supernet = DartsSupernet(
        SHAPE, 3, nodes=2, operations=operations, generator=generator(), **options
    ).double()
    genotype = supernet.derive()
    with torch.no_grad():
        for alpha, cell in (
            (supernet.alpha_normal, genotype.normal),
            (supernet.alpha_reduction, genotype.reduction),
        ):
            alpha.copy_(torch.tensor([1e9, 0.0, 0.0, 0.0]))
            for first, node in zip((0, 2), cell, strict=True):
                for name, state in node:
                    alpha[first + state] = 1e9 * torch.tensor([name == o for o in operations])
    net = DartsNet(SHAPE, 3, genotype=genotype.to_dict(), **options).double()
    net.load_state_dict(chosen_weights(supernet, genotype), strict=False)
    torch.testing.assert_close(net(images().double()), supernet(images().double()))


def chosen_weights(supernet, genotype):
    """The supernet's weights under the names of the derived network's."""
    weights = {k: v for k, v in supernet.state_dict().items() if ".nodes." not in k}
    for c, reduces in enumerate(supernet.reductions):
        cell = genotype.reduction if reduces else genotype.normal
        edges = [(i, edge) for i, node in enumerate(cell) for edge in node]
        for number, (i, (name, state)) in enumerate(edges):
            operation = supernet.cells[c].nodes[i][state].operations
            chosen = operation[supernet.operations.index(name)]
            for key, value in chosen.state_dict().items():
                weights[f"cells.{c}.operations.{number}.{key}"] = value
    return weights


# the bilevel gradient


def toy():
    """Weights, alphas and two losses without symmetry; not polynomials."""
    w = [torch.randn(3, 2, generator=generator(1)).double().requires_grad_()]
    w += [torch.randn(2, generator=generator(2)).double().requires_grad_()]
    a = [torch.randn(2, generator=generator(3)).double().requires_grad_()]
    x, z = (torch.randn(5, 3, generator=generator(i)).double() for i in (4, 5))

    def output(x, w):
        mixed = a[0].softmax(0)
        h = x @ w[0] + w[1]
        return mixed[0] * h.tanh() + mixed[1] * h.sin()

    def train(w):
        return (output(x, w) - 0.3).square().mean()

    def validation(w):
        return (output(z, w) + a[0].sum() * 0.1).square().mean()

    return w, a, train, validation


def test_the_second_order_gradient_is_that_of_the_unrolled_step():
    w, a, train, validation = toy()
    xi = 0.7
    gradients = torch.autograd.grad(train(w), w, create_graph=True)
    unrolled = [p - xi * g for p, g in zip(w, gradients, strict=True)]
    exact = torch.autograd.grad(validation(unrolled), a)[0]
    got = architecture_gradient(lambda: train(w), lambda: validation(w), w, a, xi=xi)[0]
    torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-7)
    stepped = [(p - xi * g).detach() for p, g in zip(w, gradients, strict=True)]
    without_second_term = torch.autograd.grad(validation(stepped), a)[0]
    assert (without_second_term - exact).norm() > 0.05 * exact.norm()


def test_the_first_order_gradient_takes_the_weights_as_they_are():
    w, a, train, validation = toy()
    got = architecture_gradient(lambda: train(w), lambda: validation(w), w, a, xi=0.0)[0]
    assert torch.equal(got, torch.autograd.grad(validation(w), a)[0])


def test_the_weights_come_back_bit_for_bit_also_from_an_error():
    w, a, train, validation = toy()
    before = [p.detach().clone() for p in w]
    architecture_gradient(lambda: train(w), lambda: validation(w), w, a, xi=0.7)
    assert all(map(torch.equal, w, before))
    assert all(p.grad is None for p in [*w, *a])

    def fail():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        architecture_gradient(lambda: train(w), fail, w, a, xi=0.7)
    assert all(map(torch.equal, w, before))


# the search


class Choice(nn.Module):
    """Either the pixels, or their average: a mixture with one alpha each, and a linear head."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1, 2))
        self.head = nn.Linear(16, 2)

    def architecture_parameters(self):
        return [self.alpha]

    def forward(self, x):
        pixels, average = self.alpha[0].softmax(0)
        return self.head(pixels * x + average * x.mean(1, keepdim=True))


@pytest.mark.parametrize("second_order", [False, True])
def test_alphas_move_to_the_operation_that_helps(second_order):
    x = torch.randn(200, 16, generator=generator(7))
    y = (x[:, 3] > x[:, 8]).long()  # the average says nothing about it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Choice()
    search = ArchitectureSearch(
        net,
        partial(models.SGD, lr=0.5),
        train=Split(x[:100], y[:100]),
        validation=Split(x[100:], y[100:]),
        batch_size=50,
        loss=Loss(),
        lr=0.05,
        weight_decay=0.0,
        second_order=second_order,
        seed=0,
    )
    for _ in range(60):
        net.zero_grad()
        nn.functional.cross_entropy(net(x[:100]), y[:100]).backward()
        search.step()
    pixels, average = net.alpha[0].softmax(0).tolist()
    assert pixels > 0.8 > average


OPTIONS = {
    "width": 2,
    "cells": 3,
    "nodes": 1,
    "operations": ["none", "skip_connect", "max_pool_3x3"],
}


def parts(**changes):
    return {
        "seed": 0,
        "model": partial(DartsSupernet, **OPTIONS),
        "data": Digits(fraction=0.2),
        "optimizer": partial(models.SGD, lr=0.05, momentum=0.9),
        "lr_schedule": models.Cosine,
        **changes,
    }


def trainer(**options):
    return DartsTrainer(**{"epochs": 2, "device": "cpu", "architecture_lr": 0.01, **options})


def weights(fit, folder):
    return models.load_checkpoint(fit.save(folder))["model"]


@pytest.mark.parametrize("order", [1, 2])
def test_a_search_moves_weights_and_alphas_and_repeats_bit_for_bit(tmp_path, order):
    runs = [weights(trainer(order=order).fit(parts()), tmp_path / str(i)) for i in (1, 2)]
    assert all(map(torch.equal, runs[0].values(), runs[1].values()))
    initial = trainer().build(parts()).state_dict()
    assert not any(
        torch.equal(initial[k], runs[0][k])
        for k in ("alpha_normal", "alpha_reduction", "head.bias")
    )


def test_both_orders_search_differently(tmp_path):
    runs = [weights(trainer(order=i).fit(parts()), tmp_path / str(i)) for i in (1, 2)]
    assert not torch.equal(runs[0]["alpha_normal"], runs[1]["alpha_normal"])


def torch_adam(net):
    return torch.optim.Adam(p for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("optimizer", [partial(models.SGD, lr=0.05, momentum=0.9), torch_adam])
def test_a_search_that_was_cut_goes_on_bit_for_bit(tmp_path, optimizer):
    made = parts(optimizer=optimizer)
    whole = weights(trainer().fit(made), tmp_path / "whole")
    count = iter(range(1, 100))
    cut = trainer().fit(made, stop=lambda: next(count) == 3)
    resumed = trainer().fit(made, resume=cut.save(tmp_path / "cut"))
    assert cut.ended == "interrupted"
    assert all(map(torch.equal, whole.values(), weights(resumed, tmp_path / "resumed").values()))


def test_alphas_never_learn_from_the_validation_split(tmp_path):
    made = trainer()
    made.fit(parts())
    rows = made._parts["data"]
    train, architecture = rows.load().train, rows.architecture
    whole = Digits(fraction=0.2).load()
    assert len(train.y) + len(architecture.y) == len(whole.train.y)
    together = torch.cat([train.x, architecture.x]).flatten(1)
    assert torch.equal(together.unique(dim=0), whole.train.x.flatten(1).unique(dim=0))
    assert torch.equal(rows.load().validation.x, whole.validation.x)


def test_the_genotype_lies_in_checkpoint_and_export_and_can_be_trained(tmp_path, caplog):
    made, saved = trainer(), []
    with caplog.at_level("INFO", logger="models.training.darts"):
        made.fit(parts(), on_epoch=lambda e, m, save: saved.append(save(tmp_path / str(e))))
    genotype = read_genotype(str(saved[-1]))
    assert genotype.to_json().strip() in caplog.text
    best = made.load(saved[-1], parts())
    assert read_genotype(str(made.export(best, tmp_path / "best"))) == best.net.derive()
    model = partial(DartsNet, genotype=str(tmp_path / "best"), width=2, cells=3)
    fit = models.Trainer(epochs=1, device="cpu").fit(parts(model=model))
    assert fit.net.genotype == best.net.derive()


def test_a_supernet_is_trained_by_its_search_alone():
    parts = {"seed": 0, "model": partial(DartsSupernet, **OPTIONS), "data": Digits()}
    with pytest.raises(ValueError, match=r"DartsSupernet is not for this .* choose trainer=darts"):
        models.Trainer(epochs=1, device="cpu").fit(parts)


def test_only_a_supernet_can_be_searched():
    with pytest.raises(ValueError, match="the model is MLP; choose model=darts_supernet"):
        trainer().fit(parts(model=partial(models.MLP, width=4)))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("order", 3, "trainer.order is 3"),
        ("architecture_lr", -1.0, "trainer.architecture_lr is -1.0; it must be 0 or more"),
        ("architecture_share", 1.0, "trainer.architecture_share is 1.0"),
        ("epochs", 0, "trainer.epochs is 0"),
    ],
)
def test_a_wrong_option_names_its_key(option, value, message):
    with pytest.raises(ValueError, match=message):
        trainer(**{option: value})
