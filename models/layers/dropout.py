"""Inverted dropout that is cheap on a CPU and draws from a generator of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.checks import number


class Dropout(nn.Module):
    """Zero each element with probability `p` in training and divide the others by `1 - p`.

    Srivastava et al. 2014, JMLR 15. The mask is `rand >= p`: torch's own layer draws it with
    `bernoulli_`, which takes four times as long on a CPU. In evaluation it is the identity.

    Args:
        p: Probability in [0, 1); a tensor is broadcast against the input, so that stacked models
            may have one each.
        generator: Where the mask is drawn from; None is torch's global generator. It is an
            attribute, and a trainer may set it later.

    Raises:
        ValueError: `p` is not in [0, 1).
    """

    p: float | Tensor

    def __init__(self, p: float | Tensor = 0.5, *, generator: torch.Generator | None = None):
        super().__init__()
        if not isinstance(p, Tensor):
            number("model.dropout", p, lambda v: 0 <= v < 1, "at least 0 and less than 1")
        values = torch.as_tensor(p, dtype=torch.float32)
        if not bool(((values >= 0) & (values < 1)).all()):
            raise ValueError(f"model.dropout is {p}; it must be at least 0 and less than 1")
        if isinstance(p, Tensor):
            self.register_buffer("p", values, persistent=False)
        else:
            self.p = float(p)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape."""
        if not self.training or (isinstance(self.p, float) and self.p == 0.0):
            return x
        with torch.no_grad():
            drawn = torch.rand(x.shape, device=x.device, generator=self.generator)
            mask = drawn.ge_(self.p).mul_(1 / (1 - self.p))
        return x * mask.to(x.dtype)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"
