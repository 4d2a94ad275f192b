"""A step's gradient: accumulated, clipped, penalised, weighted, in bfloat16, compiled."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

import models
from models import SGD, Digits, Trainer, load_checkpoint
from models.training import compilation
from models.training.clipping import clip_gradients
from models.training.loss import Loss
from models.training.step import GradientStep


def make(norm="none", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return models.MLP(5, 3, width=8, norm=norm, activation="tanh", generator=generator).double()


def data(rows=23):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (rows,), generator=generator)


def gradients(net, loss, micro_batch_size=None):
    step = GradientStep(
        forward=net,
        parameters=list(net.parameters()),
        optimizer=SGD(net, lr=0.0),
        loss=loss,
        micro_batch_size=micro_batch_size,
    )
    value = step.backward(*data())
    return value, [p.grad.clone() for p in net.parameters()]


WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
LOSSES = {
    "plain": Loss(),
    "smoothed": Loss(label_smoothing=0.2),
    "weighted": Loss(class_weights=WEIGHTS),
    "weighted and smoothed": Loss(class_weights=WEIGHTS, label_smoothing=0.2),
    "penalised": Loss(gradient_penalty=0.5),
    "all": Loss(class_weights=WEIGHTS, label_smoothing=0.2, gradient_penalty=0.5),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("micro", [1, 4, 11, 22])
def test_accumulated_gradients_are_the_big_batchs(name, micro):
    whole = gradients(make(), LOSSES[name])
    parts = gradients(make(), LOSSES[name], micro)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)


def test_under_layer_norm_accumulation_is_exact_and_under_batch_norm_it_is_not():
    for norm, is_exact in {"layer": True, "batch": False}.items():
        whole, parts = (gradients(make(norm), Loss(), micro)[1] for micro in (None, 6))
        assert is_exact == all(map(torch.allclose, whole, parts))


# The penalty


def test_the_penalty_of_softmax_regression_is_its_closed_form():
    net = models.SoftmaxRegression(5, 3, init="normal").double()
    x, y = data()
    minimised, loss = Loss(gradient_penalty=0.7)(net, x, y)
    residual = net(x).softmax(1) - F.one_hot(y, 3)
    expected = (residual @ net.linear.weight).square().sum(1).mean()
    torch.testing.assert_close(minimised - loss, 0.7 * expected)
    torch.testing.assert_close(loss, F.cross_entropy(net(x), y))


def test_the_penalty_is_differentiated():
    net, (x, y) = make(), data()
    weight, loss = net.head.weight, Loss(gradient_penalty=0.7)
    (exact,) = torch.autograd.grad(loss(net, x, y)[0], weight)
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight[0, 0] += sign * 1e-5
            with torch.enable_grad():
                values.append(loss(net, x, y)[0].item())
            weight[0, 0] -= sign * 1e-5
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(exact[0, 0].item(), rel=1e-6)


def test_a_penalised_network_has_smaller_input_gradients():
    test = Digits().load().test
    norms = []
    for penalty in (0.0, 5.0):
        net = fit(gradient_penalty=penalty)[0].net
        x = test.x.clone().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(x), test.y, reduction="sum"), x)
        norms.append(g.flatten(1).norm(dim=1).mean().item())
    assert norms[1] < 0.7 * norms[0]


# Clipping


def test_clipping_by_norm_keeps_the_direction_and_small_gradients():
    parameters = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    for norm, expected in {1.3: [0.3, 0.4, 1.2], 100.0: [3.0, 4.0, 12.0]}.items():
        parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([12.0])
        clip_gradients(parameters, norm=norm)
        torch.testing.assert_close(torch.cat([p.grad for p in parameters]), torch.tensor(expected))


def test_clipping_by_value_bounds_each_and_comes_first():
    parameter = torch.zeros(3, requires_grad=True)
    parameter.grad = torch.tensor([-9.0, 0.3, 0.4])
    clip_gradients([parameter], value=0.4)
    torch.testing.assert_close(parameter.grad, torch.tensor([-0.4, 0.3, 0.4]))
    parameter.grad = torch.tensor([-9.0, 0.0, 4.0])
    clip_gradients([parameter], value=4.0, norm=1.0)
    torch.testing.assert_close(parameter.grad, torch.tensor([-(0.5**0.5), 0.0, 0.5**0.5]))


def test_clipping_tames_a_learning_rate_that_diverges():
    options = {"optimizer": partial(SGD, lr=1e4), "model": partial(models.MLP, norm="none")}
    assert fit(options)[0].ended == "diverged"
    assert fit(options, clip_norm=1e-4)[0].ended == "finished"


# In a run


def fit(changes=None, tmp_path=None, **options):
    parts = {
        "seed": 0,
        "model": partial(models.MLP, width=32),
        "data": Digits(),
        "optimizer": partial(SGD, lr=0.1, momentum=0.9),
        "lr_schedule": models.Constant,
        **(changes or {}),
    }
    seen = []
    trainer = Trainer(**{"epochs": 3, "batch_size": 128, "device": "cpu", **options})
    done = trainer.fit(parts, on_epoch=lambda e, m, save: seen.append(m))
    return done, seen


def test_balanced_weights_lift_the_recall_of_a_rare_class(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.04).astype(int)
    x = (rng.normal(size=(2000, 2)) + 1.5 * y[:, None]).astype(np.float32)
    np.savez(tmp_path / "rare.npz", x=x, y=y)
    recall = {}
    for name in ("none", "balanced"):
        changes = {
            "data": models.Npz(path=str(tmp_path / "rare.npz")),
            "model": models.SoftmaxRegression,
        }
        net = fit(changes, class_weights=name, monitor="train_loss", mode="min", epochs=5)[0].net
        rows = changes["data"].load().validation
        recall[name] = (net(rows.x).argmax(1) == 1)[rows.y == 1].float().mean()
    assert recall["balanced"] > recall["none"] + 0.3


def test_a_network_in_bfloat16_learns_and_keeps_its_weights_in_fp32():
    done, seen = fit(precision="bf16", epochs=5)
    assert done.objective > 0.9
    assert {p.dtype for p in done.net.parameters()} == {torch.float32}
    assert seen != fit(epochs=5)[1]


def test_a_diverged_epoch_ends_at_the_step_where_the_loss_did():
    steps = iter(range(10**6))
    changes = {"model": partial(models.MLP, norm="none"), "optimizer": partial(SGD, lr=1e12)}
    parts = {"seed": 0, "data": Digits(), "lr_schedule": models.Constant, **changes}
    trainer = Trainer(epochs=3, batch_size=16, device="cpu")
    done = trainer.fit(parts, stop=lambda: next(steps) < 0)
    assert done.ended == "diverged"
    assert done.epoch == 1
    assert next(steps) < 10  # of 68 in an epoch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micro_batch_size": 0}, r"trainer\.micro_batch_size is 0"),
        ({"patience": 0}, r"trainer\.patience is 0"),
        ({"min_delta": -1.0}, r"trainer\.min_delta is -1\.0"),
        ({"clip_norm": 0.0}, r"trainer\.clip_norm is 0\.0"),
        ({"clip_value": -1.0}, r"trainer\.clip_value is -1\.0"),
        ({"gradient_penalty": -1.0}, r"trainer\.gradient_penalty is -1\.0"),
        ({"precision": "bf61"}, r"trainer\.precision is 'bf61'; did you mean 'bf16'"),
        ({"class_weights": "balance"}, r"trainer\.class_weights is 'balance'; did you mean"),
        ({"compile": True, "gradient_penalty": 0.1}, "cannot differentiate twice"),
        ({"compile": True, "statistics": True}, "does not show its activations"),
    ],
)
def test_a_wrong_option_names_its_key(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(**options)


# Compiled


@pytest.fixture
def compilations(monkeypatch):
    """What is compiled, by a backend that needs no compiler: a graph and its batch size each."""
    real, graphs = torch.compile, []

    def backend(graph, inputs):
        (x,) = (i for i in inputs if not isinstance(i, torch.nn.Parameter))
        graphs.append(len(x))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(real, backend=backend))
    torch.compiler.reset()
    yield graphs
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_is_compiled_once_for_each_batch_size_and_saved_as_it_is(tmp_path, compilations):
    model = {"model": partial(models.MLP, width=32, norm="none")}
    done, seen = fit(model, compile=True, epochs=3)
    assert sorted(compilations) == [55, 128]  # 1079 rows: 8 batches and a last one
    plain, seen_plain = fit(model, epochs=3)
    assert seen == seen_plain
    state = load_checkpoint(done.save(tmp_path / "c"))
    assert state["model"].keys() == plain.net.state_dict().keys() == state["best"]["model"].keys()


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"trainer\.compile is true, but there is no C\+\+ comp"):
        fit(compile=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not compilation._has_cpp_compiler(), reason="no C++ compiler")
def test_a_really_compiled_run_repeats_bit_for_bit_and_learns():
    (one, seen), (_, again) = (fit(compile=True, epochs=4) for _ in "ab")
    assert one.objective > 0.9
    assert seen == again
