"""Every network of the registry keeps the same contract."""

import inspect

import pytest
import torch
from torch import nn

from models.layers import NORMS, norm_has_shift
from models.networks import MLP, NETWORKS, SoftmaxRegression, make_network, predict_proba

SHAPE, N_IN, N_OUT = (2, 6, 7), 84, 5
SMALL = {
    "convnet": {"width": 8, "depth": 2},
    "darts": {"width": 4, "cells": 3},
    "darts_supernet": {"width": 4, "cells": 3, "nodes": 1},
    "inception": {"width": 8, "depth": 1},
    "mlp": {"width": 32},
    "resnet": {"width": 8, "depth": 1, "stages": 2, "zero_init": False},
}
"""Fast to test; `zero_init` keeps gradients from a block's inside in the first step."""

IMAGES = ["convnet", "darts", "darts_supernet", "inception", "resnet"]
WITH_NORM = [n for n in sorted(NETWORKS) if "norm" in inspect.signature(NETWORKS[n]).parameters]
NETWORKS_AND_NORMS = [
    (name, norm) for name in WITH_NORM for norm in NORMS if name in IMAGES or norm != "instance"
]


def rows(n=9):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(1))


def labels(n=9):
    return torch.randint(0, N_OUT, (n,), generator=torch.Generator().manual_seed(2))


def build(name, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    options = SMALL.get(name, {}) | options
    return make_network(name, SHAPE, N_OUT, generator=generator, **options)


def loss(net, dtype=torch.float32):
    return nn.functional.cross_entropy(net(rows().to(dtype)), labels())


@pytest.fixture(params=sorted(NETWORKS))
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_gives_one_finite_logit_per_class_in_its_own_type(name, dtype):
    net = build(name).to(dtype)
    logits = net(rows().to(dtype))
    assert (logits.shape, logits.dtype) == ((9, N_OUT), dtype)
    assert logits.isfinite().all()
    loss(net, dtype).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def without_gradient(net):
    loss(net).backward()
    return [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_gradients_reach_every_parameter(name):
    assert without_gradient(build(name)) == []


@pytest.mark.parametrize(("name", "norm"), NETWORKS_AND_NORMS)
def test_gradients_reach_every_parameter_under_every_norm(name, norm):
    assert without_gradient(build(name, norm=norm)) == []


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


def test_a_step_is_a_function_of_weights_and_rows_alone(name):
    first, second = build(name), build(name)
    for net in (first, second):
        loss(net).backward()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


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


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * n.startswith("darts")) for n in sorted(NETWORKS)],
)
def test_can_be_exported_for_any_number_of_rows(name):
    few = {"operations": ["none", "skip_connect", "sep_conv_3x3"]} if "super" in name else {}
    net = build(name, init="normal", **few).eval()
    dynamic = ({0: torch.export.Dim("n")},)
    program = torch.export.export(net, (rows(4),), dynamic_shapes=dynamic)
    torch.testing.assert_close(program.module()(rows()), net(rows()))


@pytest.mark.parametrize(("name", "norm"), NETWORKS_AND_NORMS)
def test_a_bias_stands_exactly_where_the_norm_above_would_not_take_it_out(name, norm):
    net = build(name, norm=norm)
    for key, module in net.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            expected = key == "head" or not norm_has_shift(norm)
            assert (module.bias is not None) == expected, key


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shape", [12, (12,), (3, 12)])
def test_a_network_for_images_refuses_other_inputs(name, shape):
    with pytest.raises(ValueError, match=rf"model={name} takes images .* or model=mlp"):
        make_network(name, shape, N_OUT)


@pytest.mark.parametrize("name", ["mlp", "softmax"])
def test_images_are_flattened_where_a_network_takes_rows(name):
    image, flat = build(name), make_network(name, N_IN, N_OUT, **SMALL.get(name, {}))
    flat.load_state_dict(image.state_dict())
    assert torch.equal(image.eval()(rows()), flat.eval()(rows().flatten(1)))


def test_a_wrong_name_lists_what_there_is():
    with pytest.raises(ValueError, match=r"model is 'mpl'; did you mean 'mlp'.*softmax"):
        make_network("mpl", 1, 1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("convnet", {"kernel": 4}, r"model\.kernel is 4; it must be odd"),
        ("convnet", {"convs": 0}, r"model\.convs is 0; it must be 1 or more"),
        ("convnet", {"depth": 0}, r"model\.depth is 0; it must be 1 or more"),
        ("convnet", {"width": [8]}, r"model\.depth is 2 and model\.width lists 1"),
        ("convnet", {"pooling": "mx"}, r"model\.pooling is 'mx'; did you mean 'max'"),
        ("inception", {"width": 12}, r"model\.width is 12; it must be a multiple of 8"),
        ("inception", {"modules": 0}, r"model\.modules is 0"),
        ("resnet", {"block": "bsic"}, r"model\.block is 'bsic'; did you mean 'basic'"),
        ("resnet", {"depth": [1]}, r"model\.stages is 2 and model\.depth lists 1"),
        ("resnet", {"depth": 0}, r"model\.depth is 0"),
        ("resnet", {"width": 0}, r"model\.width is 0"),
        ("resnet", {"beta": 0.9}, r"model\.beta is 0\.9; it must be 1 or more"),
        ("darts", {"cells": 2}, r"model\.cells is 2; it must be 3 or more"),
        ("darts_supernet", {"nodes": 0}, r"model\.nodes is 0"),
        ("darts_supernet", {"operations": ["none"]}, r"model\.operations is \['none'\]"),
        ("darts_supernet", {"operations": ["skip", "none"]}, "did you mean 'skip_connect'"),
    ],
)
def test_a_wrong_option_of_a_network_names_its_key(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)


@pytest.mark.parametrize("name", WITH_NORM)
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("norm", "bacth", r"model\.norm is 'bacth'; did you mean 'batch'"),
        ("activation", "rleu", r"model\.activation is 'rleu'; did you mean 'relu'"),
        ("init", "he", r"model\.init is 'he'.*kaiming"),
        ("dropout", 1.0, r"model\.dropout is 1\.0"),
    ],
)
def test_a_wrong_shared_option_names_its_key(name, option, value, message):
    with pytest.raises(ValueError, match=message):
        build(name, **{option: value})


def test_gradient_of_softmax_regression_is_prediction_minus_target():
    net = SoftmaxRegression(N_IN, N_OUT, init="normal").double()
    x, y = rows().double().flatten(1), labels()
    nn.functional.cross_entropy(net(x), y, reduction="sum").backward()
    error = net(x).softmax(1) - nn.functional.one_hot(y, N_OUT)
    torch.testing.assert_close(net.linear.weight.grad, error.T @ x)
    torch.testing.assert_close(net.linear.bias.grad, error.sum(0))


def test_a_list_of_widths_says_the_depth():
    net = MLP(N_IN, N_OUT, width=[7, 3])
    shapes = [tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(7, N_IN), (3, 7), (N_OUT, 3)]


def test_depth_zero_is_a_linear_model():
    assert len(MLP(N_IN, N_OUT, depth=0).blocks) == 0
    assert MLP(SHAPE, N_OUT, depth=0)(rows()).shape == (9, N_OUT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": -1}, r"model\.depth is -1"),
        ({"width": 0}, r"model\.width is 0"),
        ({"width": [4, 4], "depth": 3}, r"model\.depth is 3 and model\.width lists 2"),
    ],
)
def test_a_wrong_option_names_its_key(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(N_IN, N_OUT, **options)
