"""The controller's network: an LSTM that writes a configuration choice by choice. Needs torch.

Written out in tensors of its own: torch's modules draw their first weights from the global
generator, and its optimizers load the compiler. In double precision, so that a state learned again
from the journal, on another machine too, proposes what the first one did.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sweeps.searchers.threads import one_torch_thread

_INIT = 0.08
"""First weights are uniform between -0.08 and 0.08 (Zoph & Le 2017)."""
_BETAS, _EPSILON = (0.9, 0.999), 1e-8

Pick = tuple[int, int]
"""A parameter, by its index, and which of its values."""
Episode = tuple[Sequence[Pick], float]
"""A configuration that was tried: its choices in order, and how much better than usual it did."""
Memory = tuple[Tensor, Tensor]
"""An LSTM's hidden and cell state, a row for each sequence."""


class Policy:
    """A softmax over each parameter's values, given the choices before it.

    Args:
        sizes: How many values each parameter has.
        hidden_size: Width of the LSTM and of the embedding of a choice.
        learning_rate: Adam's.
        entropy_weight: What the policy's entropy counts beside the reward.
        seed: Of the first weights.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        hidden_size: int,
        learning_rate: float,
        entropy_weight: float,
        seed: int,
    ) -> None:
        self._hidden_size = hidden_size
        self._learning_rate = learning_rate
        self._entropy_weight = entropy_weight
        self._first = [0, *itertools.accumulate(sizes)]
        """By parameter: its first token; the last one is what a sequence begins with."""
        self._allowed = torch.zeros(len(sizes), self._start, dtype=torch.bool, device="cpu")
        for k in range(len(sizes)):
            self._allowed[k, self._first[k] : self._first[k + 1]] = True
        generator = torch.Generator("cpu").manual_seed(seed)

        def weights(*shape: int) -> Tensor:
            made = torch.empty(shape, dtype=torch.float64, device="cpu")
            return made.uniform_(-_INIT, _INIT, generator=generator).requires_grad_()

        self._embedding = weights(self._start + 1, hidden_size)
        self._lstm = weights(2 * hidden_size, 4 * hidden_size)
        self._lstm_bias = weights(4 * hidden_size)
        self._head = weights(hidden_size, self._start)
        self._head_bias = weights(self._start)
        self._weights = [
            *(self._embedding, self._lstm, self._lstm_bias),
            *(self._head, self._head_bias),
        ]
        self._moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in self._weights]
        self._updates = 0

    @property
    def _start(self) -> int:
        return self._first[-1]

    def writer(self, rng: np.random.Generator) -> Writer:
        """Begins a configuration."""
        return Writer(self, rng)

    @one_torch_thread()
    def learn(self, episodes: Sequence[Episode]) -> None:
        """One step of REINFORCE (Williams 1992) over some episodes."""
        log_probabilities, entropy = self._evaluate([choices for choices, _ in episodes])
        advantages = torch.tensor([advantage for _, advantage in episodes], dtype=torch.float64)
        gain = advantages * log_probabilities + self._entropy_weight * entropy
        self._step(torch.autograd.grad(-gain.mean(), self._weights))

    def _evaluate(self, sequences: Sequence[Sequence[Pick]]) -> tuple[Tensor, Tensor]:
        """By sequence: the logarithm of its probability, and the entropy met on its way."""
        length = max(map(len, sequences))
        previous = torch.full((len(sequences),), self._start)
        memory = self._blank(len(sequences))
        log_probability = entropy = torch.zeros(len(sequences), dtype=torch.float64)
        for position in range(length):
            there = torch.tensor([position < len(s) for s in sequences])
            choices = [s[position] if position < len(s) else (0, 0) for s in sequences]
            parameters = torch.tensor([k for k, _ in choices])
            logs, memory = self._next(previous, memory, parameters)
            previous = torch.tensor([self._first[k] + value for k, value in choices])
            chosen = logs.gather(1, previous[:, None])[:, 0]
            known = logs.masked_fill(~self._allowed[parameters], 0.0)
            log_probability = log_probability + chosen * there
            entropy = entropy - (logs.exp() * known).sum(1) * there
        return log_probability, entropy

    def _blank(self, rows: int) -> Memory:
        blank = torch.zeros(rows, self._hidden_size, dtype=torch.float64)
        return blank, blank

    def _next(self, previous: Tensor, memory: Memory, parameters: Tensor) -> tuple[Tensor, Memory]:
        """After a token: log-probabilities of all tokens, -inf but for a parameter's values."""
        hidden, cell = memory
        seen = torch.cat([self._embedding[previous], hidden], dim=1)
        into, keep, new, out = (seen @ self._lstm + self._lstm_bias).chunk(4, dim=1)
        cell = keep.sigmoid() * cell + into.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        logits = hidden @ self._head + self._head_bias
        masked = logits.masked_fill(~self._allowed[parameters], -torch.inf)
        return masked.log_softmax(dim=1), (hidden, cell)

    @torch.no_grad()
    def _step(self, gradients: Sequence[Tensor]) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1)."""
        self._updates += 1
        first, second = _BETAS
        for weight, gradient, (mean, square) in zip(
            self._weights, gradients, self._moments, strict=True
        ):
            mean.mul_(first).add_(gradient, alpha=1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            root = (square / (1 - second**self._updates)).sqrt_().add_(_EPSILON)
            weight.addcdiv_(mean / (1 - first**self._updates), root, value=-self._learning_rate)


class Writer:
    """One configuration in the making."""

    def __init__(self, policy: Policy, rng: np.random.Generator) -> None:
        self._policy = policy
        self._rng = rng
        self._previous = policy._start
        self._memory = policy._blank(1)

    @one_torch_thread()
    @torch.no_grad()
    def choose(self, parameter: int) -> int:
        """Which of a parameter's values comes next."""
        policy = self._policy
        logs, self._memory = policy._next(
            torch.tensor([self._previous]), self._memory, torch.tensor([parameter])
        )
        first, end = policy._first[parameter : parameter + 2]
        shares = np.cumsum(logs[0, first:end].exp().numpy())
        value = int(np.searchsorted(shares, self._rng.random() * shares[-1], side="right"))
        self._previous = first + value
        return value
