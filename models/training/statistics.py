"""What happens inside a network: gradients and activations, layer by layer, and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

RATIO = 1e-3
"""First over last layer's gradient below which it vanishes, or above whose inverse it explodes; of
activations, the last over the first layer's standard deviation."""
TOO_SMALL = 1e-4
"""Gradient over weight, both root mean squares, below which on all layers it vanishes."""
LEARNED = 0.1
"""Loss, in nats, below which small gradients say that there is nothing left to learn."""
TOO_LARGE = 100.0
"""Gradient over weight, both root mean squares, above which it explodes."""
MANY = 0.5
"""Share of dead or saturated units that is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A layer's weights on one batch; both are root mean squares."""

    name: str
    value: float
    gradient: float


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A nonlinearity's output on one batch."""

    name: str
    std: float
    dead: float = 0.0
    """Share of its units that are 0 on each row: no gradient passes them."""
    saturated: float = 0.0
    """Share of its values so near a bound that hardly any gradient passes them."""


@dataclass(kw_only=True)
class Statistics:
    """A network on one batch, from input to output."""

    weights: list[Weight] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    loss: float = math.nan
    """Of the batch, in nats; unless it is known, gradients are not judged too small for weights."""

    def lines(self) -> list[str]:
        """One line a layer."""
        return [
            *(f"{w.name}: weight {w.value:.2e}, gradient {w.gradient:.2e}" for w in self.weights),
            *(
                f"{a.name}: std {a.std:.2e}, dead {a.dead:.0%}, saturated {a.saturated:.0%}"
                for a in self.activations
            ),
        ]

    def problems(self) -> list[str]:
        """What is wrong, in plain words."""
        return [*self._gradient_problems(), *self._activation_problems()]

    def _gradient_problems(self) -> Iterator[str]:
        for weight in self.weights:
            if not math.isfinite(weight.gradient):
                yield f"exploded gradients: that of {weight.name} is not finite"
                return
        if not self.weights:
            return
        first, last = self.weights[0], self.weights[-1]
        times = f"{first.name} gets {_ratio(first.gradient, last.gradient):.1e} of {last.name}'s"
        if first.gradient < RATIO * last.gradient:
            yield f"vanishing gradients: {times}"
        if first.gradient * RATIO > last.gradient:
            yield f"exploding gradients: {times}"
        largest = max(_ratio(w.gradient, w.value) for w in self.weights)
        if len(self.weights) > 1 and largest < TOO_SMALL and self.loss > LEARNED:
            yield (
                f"vanishing gradients: the loss is {self.loss:.3g}, and no layer's is more than "
                f"{largest:.1e} of its weights"
            )
        worst = max(self.weights, key=lambda w: _ratio(w.gradient, w.value))
        if worst.value > 0 and worst.gradient > TOO_LARGE * worst.value:
            ratio = worst.gradient / worst.value
            yield f"exploding gradients: that of {worst.name} is {ratio:.1e} times its weights"

    def _activation_problems(self) -> Iterator[str]:
        if self.activations:
            first, last = self.activations[0], self.activations[-1]
            stds = f"std {first.std:.1e} after {first.name}, {last.std:.1e} after {last.name}"
            if last.std < RATIO * first.std:
                yield f"vanishing activations: {stds}"
            if last.std * RATIO > first.std:
                yield f"exploding activations: {stds}"
        for activation in self.activations:
            if activation.dead > MANY:
                yield f"dead units: {activation.dead:.0%} of {activation.name} are 0 on each row"
            if activation.saturated > MANY:
                yield (
                    f"saturated units: {activation.saturated:.0%} of {activation.name}'s values "
                    "are near their bound"
                )


@contextmanager
def observe(net: nn.Module) -> Iterator[Statistics]:
    """Gather statistics of the forward and backward pass made inside, filled in at the end.

    Nothing that is computed changes. Gradients are read as they stand at the end: clip them later.
    """
    seen = Statistics()
    outputs: dict[str, tuple[nn.Module, Tensor]] = {}
    handles = [
        module.register_forward_hook(_keep(name, outputs))
        for name, module in net.named_modules()
        if type(module) in ACTIVATIONS
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    seen.activations += [_activation(name, *found) for name, found in outputs.items()]
    seen.weights += [
        _weight(name, p, p.grad)
        for name, p in net.named_parameters()
        if p.ndim >= 2 and p.grad is not None
    ]


def _keep(
    name: str, outputs: dict[str, tuple[nn.Module, Tensor]]
) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
        outputs[name] = module, output.detach()

    return hook


def _weight(name: str, weight: Tensor, gradient: Tensor) -> Weight:
    return Weight(name=name, value=_rms(weight.detach()), gradient=_rms(gradient))


def _activation(name: str, module: nn.Module, output: Tensor) -> Activation:
    dead, saturated = ACTIVATIONS[type(module)](output.float())
    return Activation(name=name, std=float(output.float().std()), dead=dead, saturated=saturated)


def _relu(y: Tensor) -> tuple[float, float]:
    rows_by_unit = y.transpose(0, 1).flatten(1)
    return float((rows_by_unit == 0).all(1).float().mean()), 0.0


def _bounded(low: float, high: float) -> Callable[[Tensor], tuple[float, float]]:
    margin = 0.005 * (high - low)

    def share(y: Tensor) -> tuple[float, float]:
        return 0.0, float(((y < low + margin) | (y > high - margin)).float().mean())

    return share


def _neither(y: Tensor) -> tuple[float, float]:
    return 0.0, 0.0


ACTIVATIONS: Mapping[type[nn.Module], Callable[[Tensor], tuple[float, float]]] = {
    nn.ReLU: _relu,
    nn.ReLU6: _relu,
    nn.Tanh: _bounded(-1.0, 1.0),
    nn.Sigmoid: _bounded(0.0, 1.0),
    nn.GELU: _neither,
    nn.SiLU: _neither,
    nn.LeakyReLU: _neither,
    nn.ELU: _neither,
}
"""Kind of nonlinearity -> its output `[n, units, ...]` -> shares that are dead and saturated."""


def _rms(values: Tensor) -> float:
    return float(values.float().square().mean().sqrt())


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.inf if a else 0.0
