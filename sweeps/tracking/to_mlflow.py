"""A sweep in MLflow: a parent run, and a run below it for each trial.

Nothing can be taken back there, so a step that is trained again keeps its first value. What is sent
twice, MLflow's databases keep once.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

# MLflow's own patience, of minutes, would hold up what can be tried again later; it also reports
# its use to its makers.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from sweeps.journal.status import Status
from sweeps.tracking.tracker import Ending, Point, Run, Sweep

_BATCH, _AT_ONCE = 1000, 100
"""So many metrics, and so many parameters or tags, MLflow takes at once."""
_LONGEST = 5000
"""Characters of a value."""

_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.PAUSED: "SCHEDULED",
    Status.COMPLETE: "FINISHED",
    Status.STOPPED: "KILLED",
    Status.DIVERGED: "FAILED",
    Status.FAILED: "FAILED",
}
"""A trial's status as MLflow's; the tag `caviar.status` has our word."""

_SWEEP = "sweep"
"""In the place of a trial's number: the run of the sweep itself."""

_NOT_IN_A_NAME = re.compile(r"[^\w\-. :/]")


class Mlflow:
    """A sweep's runs; found again by their tags `caviar.sweep` and `caviar.run`."""

    def __init__(self, *, tracking_uri: str | None, experiment_name: str | None) -> None:
        self._uri = tracking_uri
        self._experiment_name = experiment_name
        self._names: dict[int, str] = {}
        """By trial: its run's identity."""

    def open(self, sweep: Sweep) -> None:
        """Connect, and begin the sweep's run or go on with it."""
        self._client = MlflowClient(tracking_uri=self._uri)
        self._sweep = sweep
        self._experiment = self._find_experiment(self._experiment_name or sweep.app)
        found = self._find(_SWEEP)
        self._looks = found is not None  # then trials' runs may be there too, known or not
        self._parent = found or self._create(_SWEEP, name=sweep.name)
        self._client.update_run(self._parent, status="RUNNING")
        self._add(self._parent, params=sweep.config)

    def begin(self, run: Run, known: str | None) -> str:
        """Begin its run, or take it up again."""
        found = known or (self._find(str(run.number)) if self._looks else None)
        name = found or self._create(
            str(run.number), name=run.name, start=_ms(run.started), parent=self._parent
        )
        self._names[run.number] = name
        if found is not None:
            self._client.update_run(name, status="RUNNING")
        if known is None:
            self._add(name, params=run.params)
        return name

    def log(self, run: Run, points: Sequence[Point]) -> None:
        """Add its metrics, each point at its step and time."""
        metrics = (
            Metric(_name(key), value, _ms(point.time), point.step)
            for point in points
            if point.returned or not point.repeats
            for key, value in point.metrics.items()
        )
        self._log(self._names[run.number], metrics)

    def settle(self, run: Run) -> None:
        """Note how it stands; what became of it is in its tags."""
        name, ended = self._names[run.number], _ms(run.ended or run.started)
        tags: dict[str, Any] = {
            "caviar.status": run.status,
            "caviar.cause": run.cause,
            "caviar.error": run.error,
        }
        if run.status.is_final:
            final = run.values.items()
            self._log(name, (Metric(f"trial/{_name(k)}", v, ended, run.step) for k, v in final))
            tags["caviar.best_step"] = run.best_step
        tags.update({f"caviar.best_params.{k}": v for k, v in run.best_params.items()})
        self._add(name, tags=tags)
        if run.status.is_final:
            self._client.set_terminated(name, _STATUS[run.status], end_time=ended)
        else:
            self._client.update_run(name, status=_STATUS[run.status])

    def close(self, ending: Ending | None) -> None:
        """Note what came of the sweep."""
        if ending is None:
            return
        time = _ms(ending.time)
        final = ending.values.items()
        self._log(
            self._parent,
            (Metric(f"best/{_name(k)}", v, time, ending.trials) for k, v in final),
        )
        self._add(self._parent, tags={"caviar.best_trial": ending.best_trial})
        status = "FINISHED" if ending.is_done else "KILLED"
        self._client.set_terminated(self._parent, status, end_time=time)

    def _find_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another sweep was quicker
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _find(self, what: str) -> str | None:
        """The run of a trial, by its number, or of the sweep."""
        mine = f"tags.`caviar.sweep` = '{self._sweep.id}' and tags.`caviar.run` = '{what}'"
        found = self._client.search_runs([self._experiment], mine, ViewType.ACTIVE_ONLY, 1)
        return str(found[0].info.run_id) if found else None

    def _create(
        self, what: str, *, name: str, start: int | None = None, parent: str | None = None
    ) -> str:
        tags = {
            "caviar.sweep": self._sweep.id,
            "caviar.run": what,
            "mlflow.source.name": self._sweep.app,
            "mlflow.user": _user(),
            **({} if parent is None else {"mlflow.parentRunId": parent}),
        }
        run = self._client.create_run(self._experiment, start, tags, name)
        return str(run.info.run_id)

    def _log(self, name: str, metrics: Iterable[Metric]) -> None:
        for batch in _batches(metrics, _BATCH):
            self._client.log_batch(name, metrics=batch)

    def _add(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Add parameters and tags; a tag without a value is left out."""
        given = [Param(_name(k), str(v)[:_LONGEST]) for k, v in (params or {}).items()]
        for batch in _batches(given, _AT_ONCE):
            self._client.log_batch(name, params=batch)
        said = [
            RunTag(_name(k), str(v)[:_LONGEST]) for k, v in (tags or {}).items() if v is not None
        ]
        for batch in _batches(said, _AT_ONCE):
            self._client.log_batch(name, tags=batch)


def _name(name: str) -> str:
    """A name that MLflow takes."""
    return _NOT_IN_A_NAME.sub("_", name)


def _ms(time: float) -> int:
    return round(time * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
