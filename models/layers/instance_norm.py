"""Instance normalisation of images, also of a batch without rows."""

from __future__ import annotations

from torch import Tensor, nn


class InstanceNorm2d(nn.InstanceNorm2d):
    """Each feature of each row over its positions (Ulyanov et al. 2016, arXiv:1607.08022).

    Torch's own fails on `[0, features, h, w]`, the part of a batch that a rank may be left with.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[n, features, h, w]`; n may be 0, where gradients of scale and shift are 0."""
        if len(x):
            return super().forward(x)
        return x * self.weight[:, None, None] + self.bias[:, None, None] if self.affine else x
