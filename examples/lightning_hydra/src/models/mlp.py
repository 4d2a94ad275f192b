"""A multilayer perceptron."""

from torch import nn


class MLP(nn.Sequential):
    def __init__(self, widths: list[int], dropout: float, inputs: int = 64, classes: int = 10):
        layers: list[nn.Module] = []
        for before, width in zip([inputs, *widths], widths, strict=False):
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(widths[-1], classes))
