"""What is passed on tells no secrets."""

from __future__ import annotations

import pytest

from sweeps.secrets import is_masked, masked, masked_error, masked_text, masked_values


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("+api_key=sk-123", "+api_key=***"),
        ("logger.wandb.token=abc=def", "logger.wandb.token=***"),
        ("db.password='x y'", "db.password=***"),
        ("api_key=${oc.env:KEY}", "api_key=${oc.env:KEY}"),
        ("api_key='${oc.env:KEY}'", "api_key='${oc.env:KEY}'"),
        ("api_key=${oc.env:KEY,none}", "api_key=${oc.env:KEY,none}"),
        ("api_key=${oc.env:KEY,${oc.env:OTHER}}", "api_key=${oc.env:KEY,${oc.env:OTHER}}"),
        ("+wandb={api_key: sk-1, n: 2}", "+wandb={api_key: ***, n: 2}"),
        ("+db={main: {password: 'x, y'}, n: 1}", "+db={main: {password: ***}, n: 1}"),
        ("+hub={token: ${oc.env:T}, n: 1}", "+hub={token: ${oc.env:T}, n: 1}"),
        ("url=postgres://me:pw@host/db", "url=postgres://me:***@host/db"),
        ("url=postgres://me:${oc.env:PW}@host/db", "url=postgres://me:${oc.env:PW}@host/db"),
        ("hf_token=abc", "hf_token=***"),
        ("openai_key=abcdef", "openai_key=***"),
        ("++service.secrets.openai=abc", "++service.secrets.openai=***"),
        ("credentials.user=me", "credentials.user=***"),
        ("hub.token.value=abc", "hub.token.value=***"),
        ("key=k3y0fs0mething", "key=***"),
        ("serviceKey=k3y0fs0mething", "serviceKey=***"),
        ("db.pass=x", "db.pass=***"),
        (
            "run='curl https://hooks.slack.com/services/T012/B034/abcdef'",
            "run='curl https://hooks.slack.com/***'",
        ),
        ("note=ghp_abcdefghijklmnopqrstuvwx", "note=***"),
        ("header='Bearer abcdefghijk'", "header='Bearer ***'"),
        ("data.sort_key=name", "data.sort_key=name"),
        ("data.key=s3/train-2024.parquet", "data.key=s3/train-2024.parquet"),
        ("model.num_key_value_heads=8", "model.num_key_value_heads=8"),
        ("keys=[1,2]", "keys=[1,2]"),
        ("data.stop_tokens=[a,b]", "data.stop_tokens=[a,b]"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("lr=tag(log, interval(1e-4, 1))", "lr=tag(log, interval(1e-4, 1))"),
        ("model.max_tokens=512", "model.max_tokens=512"),
        ("model.max_token=512", "model.max_token=512"),
        ("hub.token=123456789", "hub.token=***"),
        ("data.tokenizer=bpe", "data.tokenizer=bpe"),
        ("data.pad_token=x", "data.pad_token=x"),
        ("-m", "-m"),
    ],
)
def test_the_values_of_secret_looking_keys_are_masked(given: str, told: str) -> None:
    assert masked(given) == told
    assert is_masked(masked(given)) == (given != told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("api_key: sk-1\n", "api_key: ***\n"),
        ('+API_KEY = "sk-1"', '+API_KEY = "***"'),
        ("db_pwd: hunter2", "db_pwd: ***"),
        ('dsn = "x@host"', 'dsn = "***"'),
        ("-export HF_TOKEN=abc", "-export HF_TOKEN=***"),
        ('"password": "it\'s", "n": 1', '"password": "***", "n": 1'),
        ('os.environ["API_KEY"] = "x1"', 'os.environ["API_KEY"] = "***"'),
        ('f(api_key="abc", b=2)', 'f(api_key="***", b=2)'),
        ('token: str = "abc"', 'token: str = "***"'),
        ("{token: abc, n: 1}", "{token: ***, n: 1}"),
        ('run("sweep hf_token=abc")', 'run("sweep hf_token=***")'),
        ('url = "postgres://me:pw@host"', 'url = "postgres://me:***@host"'),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer ***"),
        ("x = ghp_abcdefghijklmnopqrstuvwx", "x = ***"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", None),
        ("api_key: ${oc.env:KEY}", "api_key: ${oc.env:KEY}"),
        ("token = tokenizer.next()", "token = tokenizer.next()"),
        ("self.token = token", "self.token = token"),
        ("def f(token: str, n: int)", "def f(token: str, n: int)"),
        ("password = getpass()", "password = getpass()"),
        ("max_tokens=512, monkey: 1", "max_tokens=512, monkey: 1"),
    ],
)
def test_text_is_masked_line_by_line_and_stays_otherwise(given: str, told: str | None) -> None:
    if told is None:
        told = "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----"
    assert masked_text(given) == told
    assert masked_text(told) == told


def test_a_config_hides_a_secret_wherever_it_stands() -> None:
    config = {
        "hub": {"api_key": "sk-123456", "url": "https://h?k=sk-123456", "token": None},
        "reference": {"api_key": "${oc.env:KEY}"},
        "pin": {"password": 1234, "max_token": 512},
        "overrides": ["hub.api_key=sk-123456", "+db={password: pw, n: 2}", "lr=0.1"],
        "override_dirname": "token=ab,lr=0.1,hub.token=${oc.env:T,none},,x=[1,2]",
        "references": ["api_key=${oc.env:KEY,none}", "token='${oc.env:A,${oc.env:B}}'"],
        "secrets": ["one", "two"],
        "service": {"credentials": {"user": "me", "more": [{"x": "y"}]}},
        "headers": {"Accept": "any", "x": "Bearer abcdefghijk"},
        "arguments": ["--api-key", "short", "--epochs", "3"],
        "checkpoint_key": "trainer.ckpt_path",
    }
    assert masked_values(config) == {
        "hub": {"api_key": "***", "url": "https://h?k=***", "token": None},
        "reference": {"api_key": "${oc.env:KEY}"},
        "pin": {"password": "***", "max_token": 512},
        "overrides": ["hub.api_key=***", "+db={password: ***, n: 2}", "lr=0.1"],
        "override_dirname": "token=***,lr=0.1,hub.token=${oc.env:T,none},,x=[1,2]",
        "references": ["api_key=${oc.env:KEY,none}", "token='${oc.env:A,${oc.env:B}}'"],
        "secrets": ["***", "***"],
        "service": {"credentials": {"user": "***", "more": [{"x": "***"}]}},
        "headers": {"Accept": "any", "x": "Bearer ***"},
        "arguments": ["--api-key", "***", "--epochs", "3"],
        "checkpoint_key": "trainer.ckpt_path",
    }


def test_what_an_app_raised_tells_no_secret_of_its_config_or_environment() -> None:
    told = masked_error(
        "401 for open-sesame, key s3cr3t-value, db.password=x1-y lr 0.1",
        {"db": {"password": "open-sesame"}, "lr": 0.1},
        {"SERVICE_API_KEY": "s3cr3t-value", "HOME": "/root"},
    )
    assert masked_error("no file /home/ann/x", {"PWD": "/home/ann"}) == "no file /home/ann/x"

    assert told == "401 for ***, key ***, db.password=*** lr 0.1"
