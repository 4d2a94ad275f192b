"""Model soup: the average of the weights of several trained networks.

Wortsman et al. 2022, arXiv:2203.05482. It costs what one network costs, where an ensemble costs all
of them, and does well only where the networks lie in one basin of the loss: they begin at the same
weights and train with moderate learning rates. The paper's begin at one pretrained network. So the
greedy recipe is the safe one: it keeps nothing that makes the soup worse.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.layers import Dropout, precise_batch_norm

Score = Callable[[nn.Module], float]
"""How good a network is on held-out rows; more is better."""
Average = Callable[[Sequence[nn.Module]], nn.Module]
_DROPOUTS = (Dropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def average_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor over several `state_dict`s, taken in float64.

    What counts, such as `num_batches_tracked`, is the first one's.
    """
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    return torch.stack([t.double() for t in tensors]).mean(dim=0).to(first.dtype)


def uniform_soup(nets: Sequence[nn.Module], average: Average) -> tuple[nn.Module, list[int]]:
    """The average of all networks, and which they are."""
    return average(nets), list(range(len(nets)))


def greedy_soup(
    nets: Sequence[nn.Module], score: Score, average: Average
) -> tuple[nn.Module, list[int]]:
    """The average of those networks that, taken best first, do not make it worse (recipe 1).

    Never worse than the first network alone, by `score`.

    Args:
        nets: The networks, best first.
        score: Takes held-out rows.
        average: The network with the mean of the weights of several.
    """
    soup, best, chosen = nets[0], score(nets[0]), [0]
    for i in range(1, len(nets)):
        candidate = average([nets[j] for j in [*chosen, i]])
        if (value := score(candidate)) >= best:
            soup, best, chosen = candidate, value, [*chosen, i]
    return soup, chosen


def averaged(nets: Sequence[nn.Module], inputs: Callable[[], Iterable[Tensor]]) -> nn.Module:
    """A new network with the mean of the weights of networks of one architecture.

    The batch norms' mean and variance are re-estimated: an average of running statistics is not
    what the averaged weights give.

    Args:
        nets: One alone is copied as it is.
        inputs: Training batches; asked for where there are several networks.
    """
    soup = copy.deepcopy(nets[0])
    if len(nets) > 1:
        soup.load_state_dict(average_weights([net.state_dict() for net in nets]))
        precise_batch_norm(soup, inputs())
    return soup


# Which networks can be averaged


def architecture(net: nn.Module) -> dict[str, str]:
    """What a network is made of, by name: modules as torch prints them, their options, tensors.

    Options are attributes that are numbers, text or tuples of them. Dropout is left out: it does
    nothing in evaluation.
    """
    parts = {}
    for name, module in net.named_modules():
        if not isinstance(module, _DROPOUTS):
            parts[name or "the network"] = f"{type(module).__name__}({module.extra_repr()})"
            parts |= {f"{name}.{key}".lstrip("."): text for key, text in _options(module)}
    for name, tensor in net.state_dict().items():
        parts[name] = f"{tensor.dtype} {list(tensor.shape)}"
    return parts


def _options(module: nn.Module) -> Iterator[tuple[str, str]]:
    for key, value in vars(module).items():
        hidden = key.startswith("_") or key == "training"
        if not hidden and isinstance(value, bool | int | float | str | tuple):
            yield key, repr(value)


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """The first thing in which one architecture is not as another, or None."""
    for name in dict.fromkeys([*one, *other]):
        mine, its = one.get(name, "absent"), other.get(name, "absent")
        if mine != its:
            return f"{name} is {mine}, not {its}"
    return None


def largest_group(alike: Callable[[int, int], bool], members: Iterable[int]) -> list[int]:
    """The most members that are alike; of groups of one size, that of the earliest member."""
    groups: list[list[int]] = []
    for i in members:
        for group in groups:
            if alike(group[0], i):
                group.append(i)
                break
        else:
            groups.append([i])
    return max(groups, key=len)
