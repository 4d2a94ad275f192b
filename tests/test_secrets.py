"""What is passed on tells no secrets."""

from __future__ import annotations

import pytest

from sweeps.secrets import is_masked, masked


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("+api_key=sk-123", "+api_key=***"),
        ("logger.wandb.token=abc=def", "logger.wandb.token=***"),
        ("db.password='x y'", "db.password=***"),
        ("api_key=${oc.env:KEY}", "api_key=${oc.env:KEY}"),
        ("api_key='${oc.env:KEY}'", "api_key='${oc.env:KEY}'"),
        ("+wandb={api_key: sk-1, n: 2}", "+wandb={api_key: ***, n: 2}"),
        ("+db={main: {password: 'x, y'}, n: 1}", "+db={main: {password: ***}, n: 1}"),
        ("+hub={token: ${oc.env:T}, n: 1}", "+hub={token: ${oc.env:T}, n: 1}"),
        ("url=postgres://me:pw@host/db", "url=postgres://me:***@host/db"),
        ("url=postgres://me:${oc.env:PW}@host/db", "url=postgres://me:${oc.env:PW}@host/db"),
        ("hf_token=abc", "hf_token=***"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("lr=tag(log, interval(1e-4, 1))", "lr=tag(log, interval(1e-4, 1))"),
        ("model.max_tokens=512", "model.max_tokens=512"),
        ("data.tokenizer=bpe", "data.tokenizer=bpe"),
        ("data.pad_token=x", "data.pad_token=x"),
        ("-m", "-m"),
    ],
)
def test_the_values_of_secret_looking_keys_are_masked(given: str, told: str) -> None:
    assert masked(given) == told
    assert is_masked(masked(given)) == (given != told)
