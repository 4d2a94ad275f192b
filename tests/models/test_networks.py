"""Every network of the registry keeps the same contract."""

import pytest
import torch
from torch import nn

from models.networks import MLP, NETWORKS, SoftmaxRegression, make_network, predict_proba

N_IN, N_OUT = 12, 5


def rows(n=9):
    return torch.randn(n, N_IN, generator=torch.Generator().manual_seed(1))


def labels(n=9):
    return torch.randint(0, N_OUT, (n,), generator=torch.Generator().manual_seed(2))


def build(name, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return make_network(name, N_IN, N_OUT, generator=generator, **options)


@pytest.fixture(params=sorted(NETWORKS))
def name(request):
    return request.param


def test_gives_one_finite_logit_per_class(name):
    logits = build(name)(rows())
    assert logits.shape == (9, N_OUT)
    assert logits.isfinite().all()


def test_gradients_reach_every_parameter(name):
    net = build(name)
    nn.functional.cross_entropy(net(rows()), labels()).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def test_state_dict_round_trip_gives_the_same_logits(name):
    net, other = build(name, seed=0, init="normal"), build(name, seed=1, init="normal")
    net(rows())  # moves running statistics
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(rows()), other.eval()(rows()))


def test_initial_weights_are_a_function_of_the_generator_alone(name):
    before = torch.get_rng_state()
    first, second = build(name, init="normal"), build(name, init="normal")
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_evaluation_does_not_depend_on_the_batch(name):
    net = build(name, init="normal").eval()
    whole = net(rows())
    torch.testing.assert_close(torch.cat([net(r) for r in rows().split(1)]), whole)


def test_probabilities_sum_to_one_and_leave_the_mode(name):
    net = build(name, init="normal").train()
    p = predict_proba(net, rows(), rows=4)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(9))
    torch.testing.assert_close(p, predict_proba(net, rows()))
    assert net.training


def test_a_wrong_name_lists_what_there_is():
    with pytest.raises(ValueError, match=r"model is 'mpl'; did you mean 'mlp'.*softmax"):
        make_network("mpl", 1, 1)


def test_gradient_of_softmax_regression_is_prediction_minus_target():
    net = SoftmaxRegression(N_IN, N_OUT, init="normal").double()
    x, y = rows().double(), labels()
    nn.functional.cross_entropy(net(x), y, reduction="sum").backward()
    error = net(x).softmax(1) - nn.functional.one_hot(y, N_OUT)
    torch.testing.assert_close(net.linear.weight.grad, error.T @ x)
    torch.testing.assert_close(net.linear.bias.grad, error.sum(0))


def test_a_linear_layer_under_batch_norm_has_no_bias():
    net = MLP(N_IN, N_OUT, depth=3, norm="batch")
    assert [block[0].bias for block in net.blocks] == [None] * 3
    assert net.head.bias is not None


def test_without_norm_every_linear_layer_has_a_bias():
    net = MLP(N_IN, N_OUT, depth=2, norm="none")
    assert all(m.bias is not None for m in net.modules() if isinstance(m, nn.Linear))


def test_a_list_of_widths_says_the_depth():
    net = MLP(N_IN, N_OUT, width=[7, 3])
    shapes = [tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(7, N_IN), (3, 7), (N_OUT, 3)]


def test_depth_zero_is_a_linear_model():
    assert len(MLP(N_IN, N_OUT, depth=0).blocks) == 0
    assert MLP(N_IN, N_OUT, depth=0)(rows()).shape == (9, N_OUT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "bacth"}, r"model\.norm is 'bacth'; did you mean 'batch'"),
        ({"activation": "rleu"}, r"model\.activation is 'rleu'; did you mean 'relu'"),
        ({"init": "he"}, r"model\.init is 'he'.*kaiming"),
        ({"dropout": 1.0}, r"model\.dropout is 1\.0"),
        ({"depth": -1}, r"model\.depth is -1"),
        ({"width": 0}, r"model\.width is 0"),
        ({"width": [4, 4], "depth": 3}, r"model\.depth is 3 and model\.width lists 2"),
    ],
)
def test_a_wrong_option_names_its_key(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(N_IN, N_OUT, **options)
