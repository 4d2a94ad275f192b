"""Several trained models as one: a soup of their weights, or an ensemble of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from models.choices import choose
from models.data import Preprocessing
from models.networks.ensemble import Ensemble, Rescale
from models.training.export import Best
from models.training.run import load_weights
from models.training.soup import (
    architecture,
    averaged,
    difference,
    greedy_soup,
    largest_group,
    uniform_soup,
)

Metrics = Mapping[str, float]
Evaluate = Callable[[nn.Module], Metrics]
"""Metrics on the validation split."""

STATISTICS_ROWS = 10_000
"""Training rows from which a soup's batch norms are re-estimated."""
SAME_ROWS = 1e-4
"""How far a metric on the same rows may lie from what training reported, relative above 1."""


@dataclass(frozen=True, kw_only=True)
class Soup:
    """A soup of some of the models that were given."""

    best: Best
    """The soup; its `epoch` is its best ingredient's."""
    ingredients: tuple[int, ...]
    """Positions of what is in it, best first."""
    left_out: dict[int, str]
    """By position of what is not in it: why."""


def agreeing(members: Sequence[Best]) -> tuple[list[int], dict[int, str]]:
    """The most members whose weights can be averaged, and in what the others differ from them.

    They can where architecture, features and scaling agree. Of groups of one size it is that of the
    earliest member.

    Raises:
        ValueError: No two members agree.
    """
    architectures = [architecture(best.net) for best in members]

    def differ(i: int, j: int) -> str | None:
        if not members[i].preprocessing.equals(members[j].preprocessing):
            return "its rows are encoded or scaled otherwise"
        return difference(architectures[i], architectures[j])

    group = largest_group(lambda i, j: differ(i, j) is None, range(len(members)))
    reasons = {i: differ(i, group[0]) or "" for i in range(len(members)) if i not in group}
    if len(group) == 1:
        reason = next(iter(reasons.values()), "there is only one")
        raise ValueError(
            f"weights are averaged where architectures agree, and no two of these "
            f"{len(members)} do: {reason}"
        )
    return group, reasons


def make_soup(
    members: Mapping[int, Best],
    *,
    recipe: str,
    evaluate: Evaluate,
    score: Callable[[Metrics], float],
    inputs: Callable[[], Iterable[Tensor]],
) -> Soup:
    """Average the weights of members that agree.

    Args:
        members: By position; evaluated on the same rows.
        recipe: `greedy` or `uniform`; see `models.training.soup`.
        evaluate: Metrics on these rows.
        score: One number of the metrics, more is better.
        inputs: Training batches, from which batch norms' mean and variance are re-estimated.

    Raises:
        ValueError: There is no such recipe, a member was trained on other rows, or the soup gives
            no finite metrics.
    """
    recipes: dict[str, Callable[..., tuple[nn.Module, list[int]]]] = {
        "greedy": partial(greedy_soup, score=lambda net: score(evaluate(net))),
        "uniform": uniform_soup,
    }
    cook = choose(recipes, recipe, key="recipe")
    scores = {i: score(_same_rows(i, best, evaluate(best.net))) for i, best in members.items()}
    ranked = sorted(members, key=scores.__getitem__, reverse=True)
    net, chosen = cook(
        [members[i].net for i in ranked],
        average=partial(averaged, inputs=inputs),
    )
    ingredients = tuple(ranked[i] for i in chosen)
    return Soup(
        best=_best(net, members[ingredients[0]], evaluate),
        ingredients=ingredients,
        left_out={i: "it makes the soup worse" for i in members if i not in ingredients},
    )


def make_ensemble(net: nn.Module, members: Sequence[Best], *, evaluate: Evaluate) -> Best:
    """Fill an `Ensemble` that takes rows as the first member's preprocessing scales them.

    What is missing in a row is then filled in by the first one's preprocessing for every member.

    Raises:
        ValueError: The network is no ensemble of such members, or one of them has other features or
            classes, or was trained on other rows.
    """
    if not isinstance(net, Ensemble) or len(net.members) != len(members):
        raise ValueError(f"model is a {type(net).__name__}; expected an Ensemble of {len(members)}")
    first = members[0].preprocessing
    for i, (best, part) in enumerate(zip(members, net.members, strict=True)):
        assert isinstance(part, nn.Sequential)
        rescale, network = part
        assert isinstance(rescale, Rescale)
        _check_features(i, best.preprocessing, first)
        _set_scale(rescale, first, best.preprocessing)
        load_weights(network, best.net.state_dict())
        _same_rows(i, best, evaluate(part.eval()))
    return _best(net.eval(), members[0], evaluate)


def _check_features(i: int, own: Preprocessing, first: Preprocessing) -> None:
    for what in ("columns", "classes", "shape"):
        if getattr(own, what) != getattr(first, what):
            raise ValueError(f"{_nth(i)} has other {what} than the first")


def _set_scale(rescale: Rescale, given: Preprocessing, own: Preprocessing) -> None:
    """From (x - shift_given) / scale_given to (x - shift_own) / scale_own, in float64."""
    if own.equals(given):
        return
    rescale.scale.copy_(given.scale / own.scale)
    rescale.shift.copy_((given.shift - own.shift) / own.scale)


def _same_rows(i: int, best: Best, measured: Metrics) -> Metrics:
    """See that a member gives what training reported; on other rows it would not.

    Held-out rows that a member was trained on say nothing about it.
    """
    for name, value in measured.items():
        recorded = best.metrics.get(f"val_{name}", value)
        if not math.isclose(value, recorded, rel_tol=SAME_ROWS, abs_tol=SAME_ROWS):
            raise ValueError(
                f"{_nth(i)} gives {name} {value:.6g} on the first one's validation rows, and gave "
                f"{recorded:.6g} in its training: it had other rows (is part of `data` searched?)"
            )
    return measured


def _best(net: nn.Module, like: Best, evaluate: Evaluate) -> Best:
    metrics = {f"val_{name}": value for name, value in evaluate(net).items()}
    if not all(map(math.isfinite, metrics.values())):
        raise ValueError(f"together they give {metrics}")
    return Best(net=net, epoch=like.epoch, metrics=metrics, preprocessing=like.preprocessing)


def _nth(i: int) -> str:
    return f"member {i + 1}"
