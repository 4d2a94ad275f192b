"""MLflow: what a client creates is the trial's run, which it finds again in each segment.

A run's identity is the server's choice, so ours is a tag. The n-th run that a segment creates is
the trial's n-th; runs within runs are left alone. MLflow's own calls (`mlflow.start_run`, logging
without it, automatic logging) and those of other libraries come by here.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from sweeps.worker.trackers.segment import AppRun, Tracked, current

_TAG = "caviar.app_run"
_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"
_RUNNING, _FINISHED, _FAILED = "RUNNING", "FINISHED", "FAILED"


@dataclass(kw_only=True)
class _Runs:
    """Those of one segment."""

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    begun_with: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """By run that an earlier segment began: its parameters."""


_runs: WeakKeyDictionary[Tracked, _Runs] = WeakKeyDictionary()


def teach(module: Any) -> None:
    """Take part in what a client creates and logs."""
    client = module.MlflowClient
    client.create_run = _going_on(client.create_run)
    client.log_param = _keeping_one(client.log_param)
    client.log_batch = _keeping_all(client.log_batch)


def _going_on(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def create_run(
        client: Any,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Any:
        here, tags = current(), dict(tags or {})
        if here is None or here.run is None or _PARENT in tags:
            return create(client, experiment_id, start_time, tags, run_name)
        runs = _runs.setdefault(here, _Runs())
        number = next(runs.numbers)
        ours = here.run.id if number == 1 else f"{here.run.id}-{number}"
        run = _find(client, experiment_id, ours)
        if run is None:
            name = run_name or tags.get(_NAME) or _name(here.run, number)
            run = create(client, experiment_id, start_time, {**tags, **_tags(here.run, ours)}, name)
        else:
            client.update_run(run.info.run_id, status=_RUNNING)
            runs.begun_with[run.info.run_id] = dict(run.data.params)
        here.at_end(run, lambda failed: _end(client, run.info.run_id, failed=failed))
        return run

    return create_run


def _find(client: Any, experiment_id: str, ours: str) -> Any:
    """The run that an earlier segment of the trial created."""
    found = client.search_runs([experiment_id], f"tags.`{_TAG}` = '{ours}'", max_results=1)
    return found[0] if found else None


def _name(run: AppRun, number: int) -> str:
    return run.name if number == 1 else f"{run.name} ({number})"


def _tags(run: AppRun, ours: str) -> dict[str, str]:
    return {_TAG: ours, "caviar.sweep_name": run.group, "caviar.trial_name": run.name}


def _end(client: Any, run_id: str, *, failed: bool) -> None:
    """End a run as its segment ended; `with mlflow.start_run()` takes a pause for a failure."""
    stands = client.get_run(run_id).info.status
    if stands == _RUNNING or (stands == _FAILED and not failed):
        client.set_terminated(run_id, _FAILED if failed else _FINISHED)


def end_active(failed: bool) -> None:
    """End what `mlflow.start_run` began and nobody ended, whoever created it."""
    fluent = sys.modules.get("mlflow.tracking.fluent")
    while fluent is not None and fluent.active_run() is not None:
        fluent.end_run(_FAILED if failed else _FINISHED)


# A parameter stays what it was when the run began: MLflow takes no other value, and raises. One
# that names a folder, or the checkpoint that a segment goes on from, is another each time.


def _keeping_one(log_param: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(log_param)
    def log(client: Any, run_id: str, key: str, value: Any, *args: Any, **options: Any) -> Any:
        if key in _begun_with(run_id):
            return value
        return log_param(client, run_id, key, value, *args, **options)

    return log


def _keeping_all(log_batch: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(log_batch)
    def log(
        client: Any,
        run_id: str,
        metrics: Iterable[Any] = (),
        params: Iterable[Any] = (),
        *args: Any,
        **options: Any,
    ) -> Any:
        known = _begun_with(run_id)
        new = [param for param in params if param.key not in known]
        return log_batch(client, run_id, metrics, new, *args, **options)

    return log


def _begun_with(run_id: str) -> Mapping[str, str]:
    here = current()
    runs = None if here is None else _runs.get(here)
    return {} if runs is None else runs.begun_with.get(run_id, {})
