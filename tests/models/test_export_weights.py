"""Weights of any memory layout are exported and read back."""

import torch
from torch import nn

from models import Best, Digits
from models.training.export import read_best, write_export


class Tied(nn.Module):
    """Two layers with one weight, and a convolution whose channels lie last in memory."""

    def __init__(self):
        super().__init__()
        self.there, self.back = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.back.weight = self.there.weight
        self.conv = nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)


def test_tied_and_strided_weights_are_exported(tmp_path):
    net, preprocessing = Tied(), Digits().load().preprocessing
    assert not net.conv.weight.is_contiguous()
    best = Best(net=net, epoch=1, metrics={}, preprocessing=preprocessing)
    write_export(best, tmp_path / "export")
    stored, other = read_best(tmp_path / "export"), Tied()
    other.load_state_dict(stored.weights)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert other.there.weight is other.back.weight
