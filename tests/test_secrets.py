"""What is passed on tells no secrets."""

from __future__ import annotations

import pytest

from sweeps.secrets import masked


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("+api_key=sk-123", "+api_key=***"),
        ("logger.wandb.token=abc=def", "logger.wandb.token=***"),
        ("db.password='x y'", "db.password=***"),
        ("api_key=${oc.env:KEY}", "api_key=${oc.env:KEY}"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("-m", "-m"),
    ],
)
def test_the_values_of_secret_looking_keys_are_masked(given: str, told: str) -> None:
    assert masked(given) == told
