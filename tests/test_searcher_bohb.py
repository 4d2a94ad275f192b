from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from optuna.samplers import RandomSampler, TPESampler

from sweeps.errors import ConfigError
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)", "n": "int(interval(1, 9))", "net": "a, b, c"}, [])
NONE, ASHA = {"name": "none"}, {"name": "asha", "max_t": 27}


def loss(values: Mapping[str, Any]) -> float:
    return (values["x"] - 0.3) ** 2 + 0.1 * (values["net"] != "c") + 0.01 * values["n"]


def sweep(asks: int, *, scheduler: Any = ASHA, seed: int = 0, **options: Any) -> Simulated:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 28):
            yield {"objective": loss(values) + 1 / step}, 1.0 + values["x"]

    searcher = {"name": "bohb", **options}
    given = {"num_samples": asks, "searcher": searcher, "scheduler": scheduler, "seed": seed}
    return simulate(curve, Setup(space=SPACE, workers=4, **given))


@pytest.fixture
def at_random(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The trials of which a parameter was drawn at random."""
    numbers, sample = set[int](), RandomSampler.sample_independent

    def note(self: RandomSampler, study: Any, trial: Any, *args: Any) -> Any:
        numbers.add(trial.number)
        return sample(self, study, trial, *args)

    monkeypatch.setattr(RandomSampler, "sample_independent", note)
    return numbers


@pytest.mark.parametrize("scheduler", [NONE, ASHA], ids=lambda s: s["name"])
def test_a_third_is_drawn_at_random(at_random: set[int], scheduler: Any) -> None:
    sweep(120, scheduler=scheduler)
    assert 0.2 < len({n for n in at_random if n >= 20}) / 100 < 0.45


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 40)])
def test_the_share_is_the_users(at_random: set[int], share: float, expected: int) -> None:
    sweep(60, random_fraction=share)
    assert len({n for n in at_random if n >= 20}) == expected


def test_the_model_is_of_the_highest_rung_with_enough_trials_and_of_its_best_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models, build = list[tuple[list[Any], list[Any]]](), TPESampler._build_parzen_estimator

    def note(
        self: TPESampler, study: Any, space: Any, trials: list[Any], handle_below: bool
    ) -> Any:
        models.append(([], [])) if handle_below else None
        models[-1][not handle_below].extend(trials)
        return build(self, study, space, trials, handle_below)

    monkeypatch.setattr(TPESampler, "_build_parzen_estimator", note)
    sweep(100, random_fraction=0.0)
    rungs = set[float]()
    for good, bad in models:
        measured = [t for t in (*good, *bad) if t.values]
        (rung,) = {_step(t) for t in measured}  # all at one rung
        rungs.add(rung)
        higher = [t for t in (*good, *bad) if max(t.intermediate_values, default=0) >= 3 * rung]
        assert len(higher) < 6  # at none above are there enough
        assert len(measured) >= 6 or rung == 1
        assert len(good) == max(4, len(measured) * 15 // 100)
        assert max(t.values[0] for t in good) <= min(t.values[0] for t in bad if t.values)
    assert {1, 3, 9} <= rungs


def _step(trial: Any) -> int:
    """The step whose report is shown as the trial's value."""
    (step,) = (s for s, v in trial.intermediate_values.items() if v == trial.values[0])
    return int(step)


def test_it_beats_random_draws() -> None:
    for scheduler in (NONE, ASHA):
        found = [loss(SPACE.values(ask.params)) for ask in sweep(80, scheduler=scheduler).asks]
        rho = [
            loss(SPACE.values(ask.params))
            for ask in sweep(80, scheduler=scheduler, random_fraction=1.0).asks
        ]
        assert sum(found[40:]) < 0.8 * sum(rho[40:])


def test_bad_input_is_answered_with_the_rule() -> None:
    with pytest.raises(ConfigError, match=r"random_fraction is 1\.5; it must be from 0 to 1"):
        sweep(1, random_fraction=1.5)
    with pytest.raises(ConfigError, match="top_n_percent is 0; it must be between 0 and 100"):
        sweep(1, top_n_percent=0)
