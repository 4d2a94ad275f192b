"""Batch normalisation over the batches of all ranks, on any device."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules._functions import SyncBatchNorm as NativeFunction
from torch.nn.modules.batchnorm import _BatchNorm

from models.layers.moments import batch_moments, merge_moments, split_moments
from models.layers.ranks import gather_rows, shared_group

if TYPE_CHECKING:
    from models.layers.ranks import Group


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose statistics in training are those of all ranks' batches together.

    Forward: each rank's `[mean, M2, n]` goes to all in one all-gather and is merged exactly, so
    batches may differ in size, or be empty on some ranks. Backward: one all-reduce of the sums of
    dy and dy * x_hat. Gradients of scale and shift are of the rank's own rows, as those of any
    parameter: data-parallel training adds them up. A second derivative is an error.

    It is plain batch norm in evaluation, and where no process group is initialised. On CUDA torch's
    own kernels do the same, unless `precise`; they leave a global batch of one value unnoticed.
    The state dict is that of torch's batch norm.

    Args:
        features: Size of axis 1 of the input `[n, features, ...]`.
        eps: Added to the variance.
        momentum: f in r <- (1 - f) r + f u of the running averages, u with the unbiased variance;
            None averages all batches alike.
        affine: Whether there are a scale and a shift.
        track_running_stats: Whether there are running averages.
        process_group: The ranks that share statistics; None is all of them.
        precise: Compute in float64 in training. Where the mean is 1e4 and the deviation 1e-2,
            float32 is off by up to 1% in the variance and 0.1 in the output, this by 1e-7. The
            running averages keep their own dtype.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        process_group: Group | None = None,
        precise: bool = False,
    ):
        super().__init__(features, eps, momentum, affine, track_running_stats)
        self.process_group = process_group
        self.precise = precise

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[n, features, ...]`.

        Raises:
            ValueError: In training all ranks together have less than two values a feature.
        """
        if not self.training:
            return super().forward(x)
        group = shared_group(self.process_group)
        if group is None and not self.precise:
            return super().forward(x)
        self._check_input_dim(x)
        if x.is_cuda and not self.precise:
            return self._native(x, group)
        y: Tensor
        y, mean, variance, n = _SyncNormalize.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, group, self.precise
        )
        _check_count(n)
        if self.track_running_stats:
            self._track(mean, variance * (n / (n - 1)))
        return y

    def _native(self, x: Tensor, group: Group | None) -> Tensor:
        tracked = self.track_running_stats
        y: Tensor = NativeFunction.apply(  # type: ignore[no-untyped-call]
            x if x.numel() else x.float(),  # an empty rank would send its own dtype, not float32
            self.weight,
            self.bias,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.eps,
            float(self._next_factor()) if tracked else 0.0,
            group,
            dist.get_world_size(group),
        )
        return y.to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        factor = self._next_factor()
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            running.copy_((1 - factor) * running + factor * new)

    def _next_factor(self) -> float | Tensor:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return self.num_batches_tracked.double().reciprocal()
        return self.momentum

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"batch norm takes [n, {self.num_features}, ...], not {list(x.shape)}")

    def __deepcopy__(self, memo: dict[int, Any]) -> SyncBatchNorm:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        memo[id(self.process_group)] = self.process_group  # shared: a group cannot be copied
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin


def convert_sync_batch_norm(
    net: nn.Module, process_group: Group | None = None, *, precise: bool = False
) -> nn.Module:
    """Make every batch norm of a network a `SyncBatchNorm`.

    Ghost batch norms and torch's own `SyncBatchNorm` are converted too. Parameters and buffers stay
    the same objects, so an optimizer built before goes on with them, and state dicts fit.

    Args:
        net: Changed in place, unless it is a batch norm itself.
        process_group: The ranks that share statistics; None is all of them.
        precise: As in `SyncBatchNorm`.

    Returns:
        The network.

    Raises:
        ValueError: A lazy batch norm has not seen its first batch.
    """
    converted: dict[nn.Module, SyncBatchNorm] = {}
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
                raise ValueError(f"{layer} has no shape yet; run a batch through the network first")
            twin = converted[layer] = SyncBatchNorm.__new__(SyncBatchNorm)
            twin.__dict__ = {**layer.__dict__, "process_group": process_group, "precise": precise}
    for parent in list(net.modules()):
        for name, child in parent._modules.items():
            if child in converted:
                parent._modules[name] = converted[child]
    return converted.get(net, net)


def _check_count(n: Tensor) -> None:
    message = "batch norm in training needs more than 1 value per channel over all ranks"
    if torch.compiler.is_compiling():
        torch._assert_async(n > 1, message)
    elif n < 2:
        raise ValueError(f"{message}, got {int(n)}")


class _SyncNormalize(torch.autograd.Function):
    """Ioffe and Szegedy 2015, algorithm 1 and the gradients of section 3, over all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        group: Group | None,
        precise: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(x.dtype, torch.float64 if precise else torch.float32)
        rows = gather_rows(batch_moments(x, dtype), group)
        mean, m2, n = split_moments(merge_moments(rows))
        variance = m2 / n
        ctx.save_for_backward(x, weight, mean, variance, n)
        ctx.eps, ctx.group = eps, group
        ctx.mark_non_differentiable(mean, variance, n)
        return _affine(x, weight, bias, mean, variance, eps).to(x.dtype), mean, variance, n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, n = ctx.saved_tensors
        dx, d_weight, d_bias = _affine_backward(dy, x, weight, mean, variance, ctx.eps)
        if ctx.needs_input_grad[0]:
            sums = torch.cat([d_weight, d_bias])
            if ctx.group is not None:
                dist.all_reduce(sums, group=ctx.group)
            scale = (variance + ctx.eps).rsqrt() * (1 if weight is None else weight) / -n
            through_variance, through_mean = scale * sums.view(2, -1)
            dx.add_(_affine(x, through_variance, through_mean, mean, variance, ctx.eps))
        gradients = (dx, d_weight, d_bias)
        needed = zip(gradients, (x, weight, weight), ctx.needs_input_grad, strict=False)
        return *(d.to(to.dtype) if need else None for d, to, need in needed), None, None, None


def _affine(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> Tensor:
    """Weight * x_hat + bias in the dtype of the moments, in one pass."""
    dtype = mean.dtype
    weight, bias = (None if v is None else v.to(dtype) for v in (weight, bias))
    y: Tensor = torch.ops.aten.native_batch_norm(
        x.to(dtype), weight, bias, mean, variance, False, 0.0, eps
    )[0]
    return y


def _affine_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `_affine`, the moments held fixed."""
    dtype = mean.dtype
    if x.numel() == 0:  # the kernel divides by it
        return torch.zeros_like(x, dtype=dtype), torch.zeros_like(mean), torch.zeros_like(mean)
    weight = None if weight is None else weight.to(dtype)
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        dy.to(dtype), x.to(dtype), weight, mean, variance, None, None, False, eps, [True] * 3
    )
    return gradients
