"""What a Ray that is not ours is told for its workers."""

from __future__ import annotations

import json
import logging

import pytest
from ray._private import worker

from cluster.local import _ENVIRONMENT, _for_workers, _notes_logged


@pytest.mark.parametrize("job", [None, {}, {"runtime_env": None}, {"runtime_env": {}}])
def test_workers_are_told_what_they_do_not_inherit(
    monkeypatch: pytest.MonkeyPatch, job: object
) -> None:
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    if job is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))

    told = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}
    assert _for_workers() == told


def test_what_the_job_sets_itself_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    job = {"runtime_env": {"env_vars": {"RAY_worker_niceness": "5"}}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))

    assert _for_workers() == {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def test_what_ray_notes_is_logged_and_not_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    printed = worker.print_to_stdstream

    with _notes_logged():
        worker.print_to_stdstream(data={"lines": ["a node died"]}, ignore_prefix=False)

    assert caplog.record_tuples == [("cluster.local", logging.WARNING, "Ray: a node died")]
    assert capfd.readouterr() == ("", "")
    assert worker.print_to_stdstream is printed
