"""Compound scaling: depth, width and resolution of a network grow together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from models.checks import number


@dataclass(frozen=True, kw_only=True)
class CompoundScaling:
    """Tan and Le 2019 (EfficientNet, arXiv:1905.11946), equation 3.

    Depth is alpha^phi, width beta^phi and resolution gamma^phi of the network at phi 0. A
    convolution's work grows with depth * width^2 * resolution^2, so that with
    alpha * beta^2 * gamma^2 near 2 each step of phi doubles it. A phi below 0 makes a cheaper
    network. The defaults are the paper's.

    Raises:
        ValueError: alpha, beta or gamma is less than 1.
    """

    phi: float = 0.0
    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            number(f"model.{name}", getattr(self, name), lambda v: v >= 1, "1 or more")
        number("model.phi", self.phi, math.isfinite, "finite")

    @property
    def work(self) -> float:
        """How many times the work of phi 0 this phi takes, before numbers are rounded."""
        return self._factor(self.alpha * self.beta**2 * self.gamma**2)

    def depth(self, blocks: int) -> int:
        """Blocks of a stage, at least one."""
        return max(1, round(blocks * self._factor(self.alpha)))

    def width(self, channels: int) -> int:
        """Channels, a multiple of 8, or of the largest power of 2 that divides the given number."""
        multiple = math.gcd(channels, 8)
        return max(multiple, round(channels * self._factor(self.beta) / multiple) * multiple)

    def resolution(self, pixels: int) -> int:
        """Height or width of the image, at least one pixel."""
        return max(1, round(pixels * self._factor(self.gamma)))

    def _factor(self, base: float) -> float:
        return float(base**self.phi)


def compound_grid(
    *, budget: float = 2.0, tolerance: float = 0.1, step: float = 0.05
) -> list[CompoundScaling]:
    """Every alpha, beta and gamma on a grid from 1 that keeps the work near a budget; phi is 1.

    Args:
        budget: What alpha * beta^2 * gamma^2 should be, more than 1.
        tolerance: How far it may lie from that.
        step: Of the grid, more than 0.

    Raises:
        ValueError: A number is out of its range, or no point of the grid is near enough.
    """
    if not (budget > 1 and tolerance >= 0 and step > 0):
        raise ValueError(
            f"budget is {budget}, tolerance {tolerance} and step {step}; they must be more than 1, "
            "at least 0 and more than 0"
        )
    values = [round(1 + i * step, 10) for i in range(int((budget + tolerance - 1) / step) + 2)]
    points = (
        CompoundScaling(phi=1, alpha=alpha, beta=beta, gamma=gamma)
        for alpha, beta, gamma in itertools.product(values, repeat=3)
    )
    grid = [point for point in points if abs(point.work - budget) <= tolerance + 1e-9]
    if not grid:
        raise ValueError(
            f"no alpha * beta^2 * gamma^2 on a grid of {step} lies within {tolerance} of {budget}; "
            "take a finer step or a larger tolerance"
        )
    return grid


def compound_coefficients(
    score: Callable[[CompoundScaling], float],
    *,
    budget: float = 2.0,
    tolerance: float = 0.1,
    step: float = 0.05,
) -> CompoundScaling:
    """The alpha, beta and gamma of `compound_grid` with the highest score, and of equals the first.

    Step 1 of section 3.3: fix phi at 1, try the small network at each point, keep the best three
    for every phi.

    Args:
        score: How good a small network scaled so is, such as its validation accuracy.
        budget: As in `compound_grid`; so are the others.
        tolerance: As in `compound_grid`.
        step: As in `compound_grid`.

    Raises:
        ValueError: As `compound_grid`.
    """
    return max(compound_grid(budget=budget, tolerance=tolerance, step=step), key=score)
