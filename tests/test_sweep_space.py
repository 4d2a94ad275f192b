"""Sweeps whose parameters do not always exist, and whose configurations must meet constraints."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from sweeps.export.card import Card
from sweeps.export.trained import TrainedTrial
from sweeps.results import load_sweep

NETS = (
    "net=choice(mlp,convnet)",
    "net.channels=choice(4,16)",
    "net.kernel=range(3,6,2)",
    "net.width=int(interval(8,64))",
    "depth=range(1,9)",
    "rates=choice([0.1],[0.2,0.3])",
    "hydra.sweeper.when={net.channels:{net:convnet},net.kernel:{net.channels:[16]}}",
    'hydra.sweeper.constraints=["net.width * depth <= 100", "net.channels <= depth * 4"]',
)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("searcher", [pytest.param("random", marks=pytest.mark.slow), "tpe"])
def test_trials_hold_what_exists_and_meet_the_constraints(sweep: Any, searcher: str) -> None:
    swept = sweep(
        "conditional.py",
        *NETS,
        f"hydra/sweeper/searcher={searcher}",
        "hydra.sweeper.num_samples=12",
        "hydra.sweeper.seed=1",
    )

    assert swept.code == 0, swept.err
    assert swept.statuses == ["complete"] * 12
    kinds = set()
    for trial in range(12):
        seen = json.loads(swept.read(trial, "seen.json"))
        overrides = yaml.safe_load(swept.read(trial, ".hydra/overrides.yaml"))
        net, depth = seen["net"], seen["depth"]
        assert net["width"] * depth <= 100
        keys = [line.partition("=")[0] for line in overrides]
        expected = ["net", "net.channels", "net.kernel", "net.width", "depth", "rates"]
        if net["kind"] == "mlp":
            assert "channels" not in net
            expected.remove("net.channels")
        if net.get("channels") != 16:
            expected.remove("net.kernel")
        assert keys == expected
        assert net.get("channels", 0) <= depth * 4
        assert set(swept.trials[trial].params) == set(expected)
        kinds.add(tuple(expected))
    assert len(kinds) >= 2


@pytest.mark.slow
@pytest.mark.ray
def test_a_grid_of_such_a_space_tries_each_combination_once(sweep: Any) -> None:
    swept = sweep(
        "conditional.py",
        "net=mlp,convnet",
        "net.channels=4,16",
        "net.width=int(interval(8,64))",
        "hydra.sweeper.when={net.channels:{net:convnet}}",
        "hydra.sweeper.constraints=['net.width * net.channels <= 600']",
        "hydra/sweeper/searcher=grid",
        "hydra.sweeper.searcher.levels=3",
    )

    assert swept.code == 0, swept.err
    assert [
        tuple(trial.params.get(name) for name in ("net", "net.channels", "net.width"))
        for trial in swept.trials
    ] == [
        *[("mlp", None, width) for width in (8, 36, 64)],
        *[("convnet", 4, width) for width in (8, 36, 64)],
        *[("convnet", 16, width) for width in (8, 36)],
    ]
    printed = sweep.caviar("results", str(swept.folder.path), "--csv").out
    rows = [line.split(",") for line in printed.splitlines()]
    channels = rows[0].index('"params.net.channels"')
    assert [row[channels] for row in rows[1:]] == ["", "", "", "4", "4", "4", "16", "16"]
    shown = sweep.caviar("results", str(swept.folder.path)).out
    assert "null" not in shown
    assert "None" not in shown
    results = load_sweep(swept.folder)
    mlp = TrainedTrial.of(results, results.trials[0])
    card = Card(trained=mlp, folder=swept.folder.best, unverified="no trainer").text()
    assert "| `net.channels` | `choice(4, 16) when net=convnet` |  |" in card


def test_a_dry_run_shows_conditions_and_constraints(start: Any) -> None:
    swept = start("conditional.py", *NETS, "hydra.sweeper.dry_run=true")

    assert swept.code == 0, swept.err
    assert "range(3, 7, 2) when net.channels=16" in swept.out
    assert "choice(4, 16) when net=convnet" in swept.out
    assert "net.width * depth <= 100" in swept.out
    assert "choice([0.1], [0.2,0.3])" in swept.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["net=mlp,convnet", "net.channels=4,16"],
            [
                "net.channels is not in the app's config with net=mlp; write ++net.channels",
                "hydra.sweeper.when='{net.channels: {net: [convnet]}}'",
            ],
        ),
        (
            ["net=mlp,convnet", "net.width=4,16", "hydra.sweeper.when={net.widht:{net:mlp}}"],
            ["hydra.sweeper.when: net.widht is not swept; did you mean net.width?"],
        ),
        (
            ["net.width=4,16", "hydra.sweeper.constraints=['net.width ^ 2 <= 4']"],
            ["hydra.sweeper.constraints: 'net.width ^ 2 <= 4', character 1: ^ is no", "write **"],
        ),
        (
            ["net.width=4,16", "hydra.sweeper.constraints=['net.width <= 3']"],
            ["none of 10000 random configurations", "'net.width <= 3' refuses 10000"],
        ),
        (
            ["net.width=4,16", "hydra.sweeper.constraints=net.width <= 3"],
            ["hydra.sweeper.constraints"],
        ),
    ],
)
def test_a_mistake_is_answered_before_anything_starts(
    start: Any, arguments: list[str], said: list[str]
) -> None:
    swept = start("conditional.py", *arguments)

    assert swept.code != 0
    for part in said:
        assert part in swept.err
    assert "Traceback" not in swept.err
    assert not swept.folder.path.exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_goes_on_in_its_own_conditions_and_constraints_or_in_others(sweep: Any) -> None:
    assert sweep("conditional.py", *NETS, "hydra.sweeper.num_samples=2").code == 0
    resume = ("resume", str(sweep.storage / "s"))
    swept = sweep.caviar(*resume, "hydra.sweeper.num_samples=3")
    assert swept.code == 0, swept.err
    assert swept.statuses == ["complete"] * 3

    others = "hydra.sweeper.constraints=['depth <= 4']"
    swept = sweep.caviar(*resume, "hydra.sweeper.num_samples=8", others)
    assert swept.code == 0, swept.err
    assert [trial.study for trial in swept.trials] == [0] * 3 + [1] * 5
    assert all(swept.trials.values(t).get("depth", 0) <= 4 for t in list(swept.trials)[3:])
