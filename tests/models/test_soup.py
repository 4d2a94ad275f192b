"""Soups of weights and ensembles of probabilities."""

import copy
import re
from functools import partial

import pytest
import torch
from torch import nn

from models import MLP, Best, Ensemble, ResNet, SoftmaxRegression, Split, predict_proba
from models.training.batches import some_inputs
from models.training.combine import make_ensemble, make_soup
from models.training.soup import (
    architecture,
    average_weights,
    averaged,
    difference,
    greedy_soup,
    largest_group,
    uniform_soup,
)

N_IN, N_OUT = 6, 3


def generator(seed):
    return torch.Generator().manual_seed(seed)


def rows(n=40, seed=0):
    return torch.randn(n, N_IN, generator=generator(seed)) * 3 + 1


def mlp(seed=0, **options):
    options = {"width": 8, "depth": 1, **options}
    return MLP(N_IN, N_OUT, generator=generator(seed), **options)


def trained_statistics(net):
    with torch.no_grad():
        for _ in range(20):
            net(rows())
    return net.eval()


def test_weights_are_averaged_and_counts_are_the_firsts():
    one, other = mlp(1), trained_statistics(mlp(2))
    mean = average_weights([one.state_dict(), other.state_dict()])
    torch.testing.assert_close(mean["head.weight"], (one.head.weight + other.head.weight) / 2)
    assert int(mean["blocks.0.1.num_batches_tracked"]) == 0


def test_linear_networks_are_averaged_to_their_average_logits():
    nets = [SoftmaxRegression(N_IN, N_OUT, init="normal", generator=generator(i)) for i in range(3)]
    soup = averaged(nets, list)
    expected = torch.stack([net(rows()) for net in nets]).mean(0)
    torch.testing.assert_close(soup(rows()), expected)


def test_batch_norms_of_a_soup_know_its_own_activations():
    nets = [trained_statistics(mlp(i)) for i in range(3)]
    soup = averaged(nets, lambda: rows().split(10))
    linear, norm = soup.blocks[0][0], soup.blocks[0][1]
    hidden = linear(rows())
    torch.testing.assert_close(norm.running_mean, hidden.mean(0))
    torch.testing.assert_close(norm.running_var, hidden.var(0))
    averages = torch.stack([net.blocks[0][1].running_var for net in nets]).mean(0)
    assert not torch.allclose(norm.running_var, averages, rtol=0.1)


def test_the_ingredients_stay_as_they_are():
    nets = [mlp(i).eval() for i in range(2)]
    before = copy.deepcopy([net.state_dict() for net in nets])
    averaged(nets, lambda: rows().split(10))
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


def of_value(value):
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, value)
    return net


def test_a_greedy_soup_leaves_out_what_makes_it_worse():
    nets = [of_value(v) for v in (1.0, 5.0, -1.0, 0.5)]
    soup, chosen = greedy_soup(
        nets, lambda net: -abs(net.weight.item()), partial(averaged, inputs=list)
    )
    assert chosen == [0, 2]
    assert soup.weight.item() == 0.0


def test_a_greedy_soup_takes_what_makes_no_difference():
    nets = [of_value(v) for v in (1.0, 1.0)]
    assert greedy_soup(nets, lambda net: 0.0, partial(averaged, inputs=list))[1] == [0, 1]


def test_a_greedy_soup_never_takes_a_network_that_gives_no_number():
    nets = [of_value(v) for v in (1.0, float("nan"))]
    score = lambda net: -abs(net.weight.item())  # noqa: E731
    assert greedy_soup(nets, score, partial(averaged, inputs=list))[1] == [0]


def test_a_uniform_soup_takes_them_all():
    nets = [of_value(v) for v in (1.0, 5.0)]
    soup, chosen = uniform_soup(nets, partial(averaged, inputs=list))
    assert (soup.weight.item(), chosen) == (3.0, [0, 1])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"width": 9}, r"blocks\.0\.0 is Linear\(.*out_features=8.* not Linear\(.*features=9"),
        ({"activation": "tanh"}, r"blocks\.0\.2 is ReLU\(\), not Tanh\(\)"),
        ({"depth": 2}, r"blocks\.1 is absent, not Sequential"),
        ({"init": "zeros"}, "None"),
        ({"norm": "none"}, r"blocks\.0\.0 is Linear.*bias=False.*bias=True"),
    ],
)
def test_networks_that_cannot_be_averaged_differ_in_words(options, what):
    said = difference(architecture(mlp()), architecture(mlp(**options)))
    assert re.search(what, str(said)), said


def test_options_that_no_layer_shows_make_another_architecture():
    one, other = (ResNet((1, 8, 8), N_OUT, depth=1, width=8, gamma=g, phi=1) for g in (1.0, 1.5))
    said = difference(architecture(one), architecture(other))
    assert said == "size is (8, 8), not (12, 12)"


def test_dropout_makes_no_other_architecture():
    one, other = mlp(dropout=0.0, depth=2), mlp(dropout=0.4, depth=2)
    assert difference(architecture(one), architecture(other)) is None


def test_the_largest_group_wins_and_of_equal_ones_the_earliest():
    kinds = "abbac"
    alike = lambda i, j: kinds[i] == kinds[j]  # noqa: E731
    assert largest_group(alike, range(5)) == [0, 3]
    assert largest_group(alike, range(1, 5)) == [1, 2]


def best(net, **metrics):
    """A trained model whose data do not matter."""
    return Best(net=net, epoch=1, metrics=metrics, preprocessing=None)


def soup_of(*members, recipe="greedy"):
    return make_soup(
        dict(enumerate(members)),
        recipe=recipe,
        evaluate=lambda net: {"loss": abs(net.weight.item())},
        score=lambda metrics: -metrics["loss"],
        inputs=list,
    )


def test_members_are_taken_in_the_order_of_their_score_and_those_left_out_are_named():
    soup = soup_of(best(of_value(3.0)), best(of_value(1.0)), best(of_value(-1.0)))
    assert soup.ingredients == (1, 2)
    assert soup.left_out == {0: "it makes the soup worse"}
    assert soup.best.metrics == {"val_loss": 0.0}


def test_a_member_that_had_other_rows_is_refused():
    members = best(of_value(1.0), val_loss=1.0), best(of_value(2.0), val_loss=1.9)
    with pytest.raises(ValueError, match=r"member 2 gives loss 2 .* gave 1\.9 in its training"):
        soup_of(*members)


def test_a_soup_that_gives_no_number_is_refused():
    members = best(of_value(1.0)), best(of_value(float("inf")))
    with pytest.raises(ValueError, match=r"together they give .*inf"):
        soup_of(*members, recipe="uniform")


def test_an_unknown_recipe_lists_what_there_is():
    with pytest.raises(ValueError, match=r"recipe is 'gredy'; did you mean 'greedy'.*uniform"):
        soup_of(best(of_value(1.0)), recipe="gredy")


def test_weights_for_an_ensemble_need_an_ensemble():
    with pytest.raises(ValueError, match="model is a Linear; expected an Ensemble of 1"):
        make_ensemble(of_value(1.0), [best(of_value(1.0))], evaluate=lambda net: {})


def test_batch_norms_are_estimated_from_no_more_rows_than_it_takes():
    split = Split(torch.arange(50.0).unsqueeze(1), torch.zeros(50, dtype=torch.int64))
    inputs = list(some_inputs(split, 8, seed=3, epoch=0, rows=20))
    assert [len(x) for x in inputs] == [8, 8, 4]
    everything = torch.cat(list(some_inputs(split, 8, seed=3, epoch=0, rows=None)))
    assert torch.equal(everything[:20], torch.cat(inputs))
    assert sorted(everything.flatten().tolist()) == list(range(50))


# Ensembles


def test_an_ensemble_gives_the_average_of_its_members_probabilities():
    ensemble = Ensemble(N_IN, N_OUT, members=[partial(mlp_of, seed) for seed in range(3)]).eval()
    members = [predict_proba(mlp(seed), rows()) for seed in range(3)]
    p = ensemble(rows()).exp()
    torch.testing.assert_close(p, torch.stack(members).mean(0))
    torch.testing.assert_close(p.sum(1), torch.ones(40))
    torch.testing.assert_close(predict_proba(ensemble, rows()), p)


def mlp_of(seed, n_in, n_out):
    return MLP(n_in, n_out, width=8, depth=1, generator=generator(seed))


def test_an_ensemble_of_sure_networks_stays_finite():
    ensemble = Ensemble(N_IN, N_OUT, members=[partial(mlp_of, seed) for seed in range(2)]).eval()
    logits = ensemble(rows() * 1e6)
    assert logits.isfinite().all()


def test_an_ensembles_cross_entropy_is_at_most_the_mean_of_its_members():
    y = torch.randint(0, N_OUT, (40,), generator=generator(3))
    ensemble = Ensemble(N_IN, N_OUT, members=[partial(mlp_of, seed) for seed in range(3)]).eval()
    own = [nn.functional.cross_entropy(member(rows()), y).item() for member in ensemble.members]
    assert nn.functional.cross_entropy(ensemble(rows()), y).item() < sum(own) / 3


def test_a_member_sees_rows_as_they_are_until_it_is_given_another_scale():
    ensemble = Ensemble(N_IN, N_OUT, members=[partial(mlp_of, 0)]).eval()
    assert torch.equal(ensemble.members[0](rows()), mlp(0).eval()(rows()))


def test_an_ensemble_takes_images():
    build = lambda shape, n_out: nn.Sequential(nn.Flatten(), nn.Linear(32, n_out))  # noqa: E731
    ensemble = Ensemble((2, 4, 4), N_OUT, members=[build, build])
    assert ensemble(torch.randn(5, 2, 4, 4)).shape == (5, N_OUT)


def test_an_ensemble_can_be_exported():
    ensemble = Ensemble(N_IN, N_OUT, members=[partial(mlp_of, seed) for seed in range(2)]).eval()
    program = torch.export.export(ensemble, (rows(),))
    torch.testing.assert_close(program.module()(rows()), ensemble(rows()))


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(ValueError, match=r"model\.members is empty"):
        Ensemble(N_IN, N_OUT, members=[])
