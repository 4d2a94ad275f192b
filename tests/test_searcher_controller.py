from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import pytest
import torch

from sweeps.errors import ConfigError
from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher
from sweeps.searchers.controller import Controller
from sweeps.searchers.policy import Policy
from sweeps.simulate import Setup, simulate
from sweeps.space.space import Space, parse_space

OPS = ["conv", "pool", "skip", "sep"]
NETS, _ = parse_space({f"op{i}": ", ".join(OPS) for i in range(4)}, [])
SIZES = [3, 2, 4]


def loss(values: Mapping[str, Any]) -> float:
    """Each operation has its worth, and neighbours that are alike cost something."""
    ops = [OPS.index(values[f"op{i}"]) for i in range(4)]
    worth = sum((op - (i + 1) % 4) ** 2 for i, op in enumerate(ops))
    return worth + 3 * sum(a == b for a, b in itertools.pairwise(ops))


def mean_loss(searcher: Mapping[str, Any], seed: int, **fields: Any) -> float:
    """Over the last third of a sweep: the policy must have learned, not only have been lucky."""

    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 10):
            yield {"objective": loss(values) + 1 / step}, 1.0

    setup = Setup(space=NETS, num_samples=120, searcher=searcher, seed=seed, **fields)
    trials = list(simulate(curve, setup).trials)
    return float(np.mean([loss(NETS.values(trial.params)) for trial in trials[80:]]))


@pytest.mark.parametrize(
    "fields",
    [{}, {"workers": 4, "scheduler": {"name": "asha", "max_t": 9}}],
    ids=["alone", "asha"],
)
def test_it_learns_what_random_search_does_not(fields: dict[str, Any]) -> None:
    learned = [mean_loss({"name": "controller"}, seed, **fields) for seed in range(3)]
    at_random = [mean_loss({"name": "random"}, seed, **fields) for seed in range(3)]
    assert np.mean(learned) < 0.6 * np.mean(at_random)


def test_a_result_is_learned_from_once_in_a_live_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []
    learn = Policy.learn

    def counting(self: Policy, episodes: Any) -> None:
        learned.append(len(episodes))
        learn(self, episodes)

    monkeypatch.setattr(Policy, "learn", counting)
    mean_loss({"name": "controller", "batch": 3}, seed=0)
    assert learned == [3] * (119 // 3)


# The reward


def controller(space: Space, **options: Any) -> Controller:
    """The searcher itself, behind what hands it given points."""
    made: Any = make_searcher("controller", space=space, view=View(Objective()), seed=0, **options)
    return cast(Controller, made._searcher)


def rewards(*told: tuple[int, list[float] | None]) -> list[float]:
    """The rewards of results told in this order: (trial, its losses by rung), None if diverged."""
    searcher: Any = controller(NETS, batch=99)
    given: list[float] = []
    reward = searcher._reward
    searcher._reward = lambda result: given.append(reward(result)) or given[-1]
    searcher._results.params = lambda trial: {"op0": "conv"}  # of a space that was another in part
    for trial, losses in told:
        searcher._fold(0, [[trial, losses]])
    return given


def test_a_reward_is_the_normal_score_of_a_rank_and_knows_no_scale() -> None:
    losses = [3.0, 1.0, 2.0, 9.0]
    plain = rewards(*((n, [x]) for n, x in enumerate(losses)))
    assert plain == rewards(*((n, [math.exp(5 * x)]) for n, x in enumerate(losses)))
    assert plain[0] == 0
    assert plain == pytest.approx([0, 0.6745, 0, -1.1503], abs=1e-4)


def test_a_diverged_result_ranks_last_and_a_higher_rung_first() -> None:
    (_, _, diverged, again, promoted) = rewards(
        (0, [5.0]), (1, [1e9]), (2, None), (3, None), (1, [1e9])
    )
    assert diverged < 0
    assert again < 0
    assert promoted == pytest.approx(1.1503, abs=1e-4)


# The policy


def policy_of(**options: Any) -> Policy:
    given = {"hidden_size": 8, "learning_rate": 0.05, "entropy_weight": 0.0, "seed": 1, **options}
    return Policy(SIZES, **given)


def every_sequence() -> list[list[tuple[int, int]]]:
    return [list(enumerate(values)) for values in itertools.product(*map(range, SIZES))]


def probabilities(policy: Policy) -> Any:
    with torch.no_grad():
        return policy._evaluate(every_sequence())[0].exp()


def sharpen(policy: Policy) -> Policy:
    """Far from uniform, so that a mistake shows."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in policy._weights:
            weight.normal_(generator=generator)
    return policy


def test_the_probabilities_of_all_configurations_add_up_and_are_what_is_drawn() -> None:
    policy = sharpen(policy_of())
    expected = probabilities(policy)
    assert float(expected.sum()) == pytest.approx(1)
    counts, rng, index = np.zeros(len(expected)), np.random.default_rng(0), every_sequence().index
    for _ in range(700):
        writer = policy.writer(rng)
        counts[index([(k, writer.choose(k)) for k in range(len(SIZES))])] += 1
    assert np.abs(counts / 700 - expected.numpy()).max() < 0.05


def test_the_cell_is_an_lstm() -> None:
    policy = sharpen(policy_of())
    with torch.random.fork_rng(devices=[]):
        cell = torch.nn.LSTMCell(8, 8, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_ih.copy_(policy._lstm[:8].T)
        cell.weight_hh.copy_(policy._lstm[8:].T)
        cell.bias_ih.copy_(policy._lstm_bias)
        cell.bias_hh.zero_()
        tokens, memory = torch.tensor([9, 2]), policy._blank(2)
        for parameter in (0, 1):
            expected = cell(policy._embedding[tokens], memory)
            _, memory = policy._next(tokens, memory, torch.tensor([parameter] * 2))
            torch.testing.assert_close(memory, expected)
            tokens = torch.tensor([0, 3])


def test_the_first_choice_changes_what_comes_next() -> None:
    policy = sharpen(policy_of())
    joint = probabilities(policy).reshape(SIZES).sum(2)
    second = joint / joint.sum(1, keepdim=True)
    assert float((second[0] - second[1]).abs().max()) > 0.01


def test_a_reward_makes_a_configuration_more_likely_and_a_penalty_less() -> None:
    for advantage in (1.0, -1.0):
        policy = policy_of()
        chosen = every_sequence()[7]
        before = probabilities(policy)[7]
        policy.learn([(chosen, advantage)])
        assert (probabilities(policy)[7] > before) == (advantage > 0)


def test_an_update_follows_the_gradient_of_the_expected_reward() -> None:
    """Over all configurations, each as often as it is drawn, REINFORCE is that gradient exactly."""
    policy = sharpen(policy_of())
    reward = torch.linspace(-1, 1, len(every_sequence()), dtype=torch.float64) ** 3
    logs, _ = policy._evaluate(every_sequence())
    exact = torch.autograd.grad((logs.exp() * reward).sum(), policy._weights)
    seen: list[Any] = []
    policy._step = seen.append  # type: ignore[method-assign]
    weights = probabilities(policy) * len(reward) * reward
    policy.learn(list(zip(every_sequence(), weights.tolist(), strict=True)))
    for ours, theirs in zip(seen[0], exact, strict=True):
        torch.testing.assert_close(-ours, theirs)


def test_a_batch_of_unlike_lengths_is_as_each_by_itself() -> None:
    policy = sharpen(policy_of())
    sequences = [[(0, 1)], [(0, 2), (2, 3)], [(0, 0), (1, 1), (2, 0)]]
    together, entropy = policy._evaluate(sequences)
    alone = [policy._evaluate([sequence]) for sequence in sequences]
    torch.testing.assert_close(together, torch.cat([logs for logs, _ in alone]))
    torch.testing.assert_close(entropy, torch.cat([h for _, h in alone]))


def test_the_bonus_raises_the_entropy() -> None:
    policy = sharpen(policy_of(entropy_weight=1.0))
    before = probabilities(policy)
    for _ in range(20):
        policy.learn([(every_sequence()[3], 0.0)])
    after = probabilities(policy)
    assert -(after * after.log()).sum() > -(before * before.log()).sum()


def test_the_optimizer_is_adam() -> None:
    policy = policy_of()
    reference = [weight.detach().clone().requires_grad_() for weight in policy._weights]
    adam = torch.optim.Adam(reference, lr=0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        gradients = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in reference]
        for weight, gradient in zip(reference, gradients, strict=True):
            weight.grad = gradient
        adam.step()
        policy._step(gradients)
    torch.testing.assert_close(policy._weights, reference)


# The space


def test_only_parameters_that_exist_are_chosen() -> None:
    space, _ = parse_space(
        {"net": "flat, deep", "layers": "range(1, 9)"}, [], when={"layers": {"net": "deep"}}
    )

    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        yield {"objective": float(abs(values.get("layers", 9) - 6))}, 1.0

    setup = Setup(
        space=space,
        num_samples=150,
        searcher={"name": "controller", "learning_rate": 0.05},
    )
    params = [ask.params for ask in simulate(curve, setup).asks]
    assert {("layers" in p) == (p["net"] == "deep") for p in params} == {True}
    assert sum(p["net"] == "deep" for p in params[-40:]) > 30


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("interval(0, 1)", r"lr is interval\(0.0, 1.0\).*endlessly.*write range\(0, 1.1, 0.1\)"),
        ("tag(log, interval(1e-4, 1))", r"write choice\(0.0001, 0.001, 0.01, 0.1, 1\), say"),
        ("tag(one_minus_log, interval(0, 0.99))", r"choice\(0, 0.683772, 0.9, 0.968377, 0.99\)"),
        ("int(interval(1, 500))", r"which has 500; write range\(1, 501, 50\), say"),
        ("int(tag(log, interval(1, 500)))", r"write choice\(1, .*, 500\), say"),
        (", ".join(map(str, range(101))), "which has 101; write fewer of them, say"),
    ],
)
def test_a_parameter_with_too_many_values_is_refused_and_what_to_write_is_said(
    domain: str, message: str
) -> None:
    space, _ = parse_space({"net": "a, b", "lr": domain}, [])
    with pytest.raises(ConfigError, match=message):
        make_searcher("controller", space=space, view=View(Objective()), seed=0)


def test_what_is_said_can_be_written() -> None:
    for line in ("range(0, 1.1, 0.1)", "range(1, 501, 50)", "choice(0.0001, 0.001, 0.01)"):
        space, _ = parse_space({"lr": line}, [])
        assert isinstance(controller(space), Controller)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0}, "learning_rate is 0; it must be above 0"),
        ({"hidden_size": 0}, "hidden_size is 0; it must be 1 or more"),
        ({"entropy_weight": -1}, "entropy_weight is -1; it must be 0 or more"),
        ({"baseline_decay": 1}, "baseline_decay is 1; it must be 0 or more and below 1"),
        ({"batch": 0}, "batch is 0; it must be 1 or more"),
        ({"hidden": 3}, "hidden is not an option of controller; it takes learning_rate, hidden_si"),
    ],
)
def test_an_option_that_is_out_of_bounds_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_searcher("controller", space=NETS, view=View(Objective()), seed=0, **options)
