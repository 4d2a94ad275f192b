"""The network that the config names."""

from torch import nn


def mlp(inputs: int, classes: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )
