"""Every network of models/ as a program and as an ONNX graph, compared with what it predicts."""

import numpy as np
import onnxruntime
import pytest
import torch

from models import Ensemble, Preprocessing, Trainer
from models.data import Column
from models.layers.activation import ACTIVATIONS
from models.layers.norm import NORMS
from models.networks.registry import NETWORKS
from models.training import Best
from sweeps.export.compare import TOLERANCE
from sweeps.export.deploy import deploy
from sweeps.export.formats import ALL

IMAGE, ROW = (3, 9, 9), (13,)
SMALL = {
    "softmax": {},
    "mlp": {"depth": 2, "width": 8, "dropout": 0.2},
    "convnet": {"depth": 2, "width": 4, "dropout": 0.2},
    "resnet": {"depth": 1, "stages": 2, "width": 4, "zero_init": False},
    "inception": {"depth": 1, "width": 8},
    "darts": {"cells": 3, "width": 2},
    "darts_supernet": {"cells": 3, "width": 2, "nodes": 1},
}


def shape_of(name):
    return ROW if name in ("softmax", "mlp") else IMAGE


def with_statistics(net):
    """As if it were trained: running means and variances of their own."""
    generator = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if getattr(layer, "running_mean", None) is not None:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return net.eval()


class OfRows(Trainer):
    """A trainer of one network, on rows of its own."""

    def raw_rows(self, net, split):
        statistics, generator = self.preprocessing, torch.Generator().manual_seed(1)
        dtype = torch.float32 if len(statistics.shape) == 3 else torch.float64
        for n in (8, 3):
            rows = torch.randn(n, *statistics.shape, generator=generator, dtype=torch.float64)
            yield (rows * statistics.scale + statistics.shift).to(dtype)


def exported(net, shape, folder):
    """Write all formats of a network; every one must be had, and agree."""
    generator = torch.Generator().manual_seed(2)
    of_rows = (shape[0], 1, 1) if len(shape) == 3 else shape
    draw = torch.rand(3, *of_rows, generator=generator, dtype=torch.float64)
    preprocessing = Preprocessing(
        columns=tuple(Column(name=f"x{i}") for i in range(int(np.prod(shape)))),
        classes=tuple("abcde"),
        shape=shape,
        shift=10 * draw[0],
        scale=draw[1] + 0.5,
        fill=10 * draw[2],
    )
    best = Best(net=net, epoch=1, metrics={}, preprocessing=preprocessing, temperature=1.3)
    trainer = OfRows(device="cpu")
    trainer._preprocessing, trainer._temperatures[net] = preprocessing, best.temperature
    found = deploy(trainer, best, folder, ALL, say=lambda text: None)
    assert not found.left_out
    assert [graph.format for graph in found.graphs] == ["pt2", "onnx"]
    for graph in found.graphs:
        assert graph.agreement.rows == 8 + 1 + 8 + 3
        assert graph.agreement.difference <= TOLERANCE / 10
    inputs = onnxruntime.InferenceSession(folder / "model.onnx").get_inputs()[0]
    assert isinstance(inputs.shape[0], str)  # any number of rows
    assert inputs.shape[1:] == list(shape)


def build(name, **options):
    generator = torch.Generator().manual_seed(0)
    net = NETWORKS[name](shape_of(name), 5, generator=generator, **{**SMALL[name], **options})
    return with_statistics(net)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_exported(name, tmp_path):
    exported(build(name), shape_of(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_every_norm_is_exported(name, norm, tmp_path):
    if (name, norm) == ("mlp", "instance"):
        pytest.skip("a norm of images")
    exported(build(name, norm=norm), shape_of(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_exported(activation, tmp_path):
    exported(build("mlp", activation=activation), ROW, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"pooling": "avg"}, {"pooling": "none"}, {"convs": 2}])
def test_every_pooling_is_exported(options, tmp_path):
    exported(build("convnet", **options), IMAGE, tmp_path)


@pytest.mark.slow
def test_a_scaled_and_resized_network_is_exported(tmp_path):
    exported(build("resnet", phi=1, block="bottleneck"), IMAGE, tmp_path)


@pytest.mark.slow
def test_an_ensemble_is_exported(tmp_path):
    members = [lambda *of, i=i: build("mlp", width=4 + i) for i in range(3)]
    exported(with_statistics(Ensemble(ROW, 5, members=members)), ROW, tmp_path)


@pytest.mark.slow
def test_images_of_one_channel_are_exported(tmp_path):
    shape = (1, 8, 8)
    net = NETWORKS["convnet"](shape, 5, depth=2, width=4, generator=torch.Generator())
    exported(with_statistics(net), shape, tmp_path)
