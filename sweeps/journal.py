"""The sweep's append-only truth: typed events, written as Optuna journal records.

Every ask, report, decision and tell is one record of Optuna's journal format, so that
`optuna-dashboard` and `optuna.load_study` read a copy of the file. Fields that Optuna does not know
(metrics, decision, checkpoint, run) stand in the same record; its reader passes them over. The
events below are the only way to change a sweep's state: a live sweep and a resumed one apply the
same events through the same code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileOpenLock,
)
from optuna.trial import TrialState

from sweeps.errors import SweepError
from sweeps.status import Decision, Status

FORMAT = 1
"""Version of the extra fields; a journal of a later version is refused."""

_WORKER = "caviar"
_CREATE_STUDY, _STUDY_ATTR, _CREATE_TRIAL = 0, 2, 4
_TRIAL_STATE, _TRIAL_VALUE, _TRIAL_ATTR, _TRIAL_SYSTEM_ATTR = 6, 7, 8, 9


_OPTUNA_STATE = {
    Status.COMPLETE: TrialState.COMPLETE,
    Status.STOPPED: TrialState.PRUNED,
    Status.DIVERGED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
}


Reason = Literal["promote", "exploit", "resume", "retry"]
"""Why a known trial goes on: the scheduler's word (from its own or another's checkpoint), a
driver's death, a failure or a worker's death."""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A sampler's notes of one ask, as plain JSON values: never pickled."""

    trial: Mapping[str, Any] = field(default_factory=dict)
    """On the trial that was asked for."""
    study: Mapping[str, Any] = field(default_factory=dict)
    """On the study; a later note of the same key replaces it."""


@dataclass(frozen=True, kw_only=True)
class Created:
    """A study began: the sweep's first, or a further one where the search space was changed."""

    name: str
    modes: Sequence[str]
    """By objective: `min` or `max`."""
    space: Mapping[str, Any]
    """`Space.to_json()`."""
    study: int = 0
    """Counts them from 0: Optuna refuses changed choices within a study."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Known:
    """Trials of earlier sweeps, which the searcher learns from as well."""

    trials: Sequence[Mapping[str, Any]]
    """Of each: `params`, Python values by name; `status`; `value`; `reports`, [step, value] each.
    They need not have every parameter of this space."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A driver took the sweep up; `run` counts drivers from 1."""

    run: int
    time: float


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The searcher proposed a configuration and its first segment begins."""

    trial: int
    run: int
    params: Mapping[str, Any]
    """Optuna's external values by Optuna's parameter name."""
    distributions: Mapping[str, BaseDistribution]
    study: int = 0
    notes: Notes | None = None
    """What the searcher must find again after a resume."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Started:
    """A known trial goes on: promoted from a rung, or after its worker or driver died."""

    trial: int
    run: int
    reason: Reason
    checkpoint: str | None
    source: int | None = None
    """The trial whose checkpoint it is, under `exploit`."""
    params: Mapping[str, Any] | None = None
    """Its parameters from here on, under `exploit`."""
    step: int | None = None
    """The step of that checkpoint, under `exploit`."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A trial reported metrics, and what the scheduler decided on that."""

    trial: int
    run: int
    step: int
    metrics: Mapping[str, float]
    value: float | None
    """The first objective's metric; None where this report does not have it."""
    checkpoint: str | None
    """Folder of the checkpoint, relative to the sweep's."""
    decision: Decision
    several: bool = False
    """Whether the sweep has several objectives: Optuna has no intermediate values there."""
    fidelity: float | None = None
    """What was trained at, where the fidelity is a parameter: `step` then counts the rungs."""
    time: float


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial ended for good."""

    trial: int
    status: Status
    value: float | None
    others: Sequence[float] = ()
    """Of a complete trial: the values of the objectives after the first."""
    metrics: Mapping[str, float]
    """What the task function returned, if it did."""
    error: str | None
    """Traceback or reason, for a failed trial."""
    cause: str | None
    time: float


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A segment ended without a word: its process or node died."""

    trial: int
    reason: str
    time: float


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The driver ended in order; `reason` is `done`, `interrupted` or `failed`."""

    reason: str
    time: float


Event = Created | Known | Opened | Asked | Started | Reported | Ended | Lost | Closed


class _LeaseIsTheLock(JournalFileOpenLock):
    """No lock: the sweep's lease keeps other writers out; Optuna's costs as much as the write."""

    def acquire(self) -> bool:
        """Hold it."""
        return True

    def release(self) -> None:
        """Let it go."""


class Journal:
    """The one writer of a journal file.

    Opening cuts a torn last line, which a crash in mid-write leaves and which would swallow the
    next record, and breaks a lock that a killed writer left. The caller holds the sweep's lease:
    that, not Optuna's lock, is what keeps a second writer out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _cut_torn_tail(path)
        with suppress(FileNotFoundError):
            path.with_name(path.name + ".lock").unlink()
        self._failure: SweepError | None = None
        self._backend: BaseJournalBackend = JournalFileBackend(
            str(path), _LeaseIsTheLock(str(path))
        )

    def append(self, *events: Event) -> None:
        """Write events in one durable append (one fsync).

        Raises:
            SweepError: The disk refused, now or before. What it took of a line is cut off, and
                nothing more is written: later decisions would rest on an event that is not there.
        """
        if self._failure is not None:
            raise self._failure
        records = [_encode(event) for event in events]
        try:
            self._backend.append_logs(records)
        except OSError as error:
            self._failure = SweepError(f"{self._path} cannot be written: {error}")
            _cut_torn_tail(self._path)
            raise self._failure from error


def read_journal(path: Path) -> Iterator[Event]:
    """Every event of a journal in order; a torn last line is passed over.

    Raises:
        SweepError: A whole line cannot be read, or a newer caviar wrote it; its number is named.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _decode(json.loads(line))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise SweepError(
                    f"{path}, line {number}, cannot be read ({type(error).__name__}: {error}). "
                    f"Restore the file from a copy, or cut it before that line to go on from there."
                ) from error


def _cut_torn_tail(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        file.truncate(whole)
        os.fsync(file.fileno())


def _encode(event: Event) -> dict[str, Any]:
    return {"worker_id": _WORKER, **_ENCODERS[type(event)](event)}


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat()


def _encode_created(event: Created) -> dict[str, Any]:
    return {
        "op_code": _CREATE_STUDY,
        "study_name": event.name,
        "directions": _directions(event.modes),
        "format": FORMAT,
        "space": dict(event.space),
        "study": event.study,
        "time": event.time,
    }


def _encode_known(event: Known) -> dict[str, Any]:
    return _study_attr("caviar:known", {"trials": list(event.trials), "time": event.time})


def _directions(modes: Sequence[str]) -> list[int]:
    return [1 if mode == "min" else 2 for mode in modes]


def _modes(directions: Sequence[int]) -> tuple[str, ...]:
    return tuple("min" if direction == 1 else "max" for direction in directions)


def _encode_opened(event: Opened) -> dict[str, Any]:
    return _study_attr("caviar:run", {"run": event.run, "time": event.time})


def _encode_closed(event: Closed) -> dict[str, Any]:
    return _study_attr("caviar:closed", {"reason": event.reason, "time": event.time})


def _study_attr(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"op_code": _STUDY_ATTR, "study_id": 0, "user_attr": {key: value}}


def _encode_asked(event: Asked) -> dict[str, Any]:
    record = {
        "op_code": _CREATE_TRIAL,
        "study_id": event.study,
        "state": TrialState.RUNNING.value,
        "params": {
            name: event.distributions[name].to_internal_repr(value)
            for name, value in event.params.items()
        },
        "distributions": {name: distribution_to_json(d) for name, d in event.distributions.items()},
        "datetime_start": _iso(event.time),
        "trial": event.trial,
        "run": event.run,
        "time": event.time,
    }
    if event.notes is not None:
        record["notes"] = {"trial": dict(event.notes.trial), "study": dict(event.notes.study)}
    return record


def _encode_started(event: Started) -> dict[str, Any]:
    fields = {
        "run": event.run,
        "reason": event.reason,
        "checkpoint": event.checkpoint,
        "time": event.time,
    }
    for name in ("source", "params", "step"):
        if (value := getattr(event, name)) is not None:
            fields[name] = value
    return _trial_attr(event.trial, "caviar:started", fields)


def _encode_lost(event: Lost) -> dict[str, Any]:
    return _trial_attr(event.trial, "caviar:lost", {"reason": event.reason, "time": event.time})


def _trial_attr(trial: int, key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"op_code": _TRIAL_SYSTEM_ATTR, "trial_id": trial, "system_attr": {key: value}}


def _encode_reported(event: Reported) -> dict[str, Any]:
    record: dict[str, Any] = {
        "trial_id": event.trial,
        "run": event.run,
        "step": event.step,
        "metrics": dict(event.metrics),
        "checkpoint": event.checkpoint,
        "decision": event.decision.value,
        "time": event.time,
    }
    if event.fidelity is not None:
        record["fidelity"] = event.fidelity
    if event.value is None or event.several:
        record["value"] = event.value
        attr = {f"report:{event.step}": dict(event.metrics)}
        return {"op_code": _TRIAL_ATTR, "user_attr": attr, **record}
    return {"op_code": _TRIAL_VALUE, "intermediate_value": event.value, **record}


def _encode_ended(event: Ended) -> dict[str, Any]:
    complete = event.status is Status.COMPLETE and event.value is not None
    return {
        "op_code": _TRIAL_STATE,
        "trial_id": event.trial,
        "state": _OPTUNA_STATE[event.status].value,
        "values": [event.value, *event.others] if complete else None,
        "datetime_complete": _iso(event.time),
        "status": event.status.value,
        "value": event.value,
        "metrics": dict(event.metrics),
        "error": event.error,
        "cause": event.cause,
        "time": event.time,
    }


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Created: _encode_created,
    Known: _encode_known,
    Opened: _encode_opened,
    Asked: _encode_asked,
    Started: _encode_started,
    Reported: _encode_reported,
    Ended: _encode_ended,
    Lost: _encode_lost,
    Closed: _encode_closed,
}


def _decode(record: Mapping[str, Any]) -> Event:
    return _DECODERS[record["op_code"]](record)


def _decode_study(record: Mapping[str, Any]) -> Event:
    if record["format"] > FORMAT:
        raise SweepError(
            f"the journal is of format {record['format']}, written by a newer caviar; this one "
            f"reads up to {FORMAT}: upgrade it"
        )
    return Created(
        name=record["study_name"],
        modes=_modes(record["directions"]),
        space=record["space"],
        study=record["study"],
        time=record["time"],
    )


def _decode_study_attr(record: Mapping[str, Any]) -> Event:
    ((key, value),) = record["user_attr"].items()
    kind: Any = {"caviar:run": Opened, "caviar:closed": Closed, "caviar:known": Known}[key]
    event: Event = kind(**value)
    return event


@lru_cache
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)  # the same few texts in every ask


def _decode_asked(record: Mapping[str, Any]) -> Event:
    distributions = {n: _distribution(d) for n, d in record["distributions"].items()}
    return Asked(
        trial=record["trial"],
        run=record["run"],
        params={n: distributions[n].to_external_repr(v) for n, v in record["params"].items()},
        distributions=distributions,
        study=record["study_id"],
        notes=Notes(**record["notes"]) if "notes" in record else None,
        time=record["time"],
    )


def _decode_trial_attr(record: Mapping[str, Any]) -> Event:
    ((key, value),) = record["system_attr"].items()
    kind: Any = {"caviar:started": Started, "caviar:lost": Lost}[key]
    event: Event = kind(trial=record["trial_id"], **value)
    return event


def _decode_reported(record: Mapping[str, Any]) -> Event:
    return Reported(
        trial=record["trial_id"],
        run=record["run"],
        step=record["step"],
        metrics=record["metrics"],
        value=record.get("intermediate_value", record.get("value")),
        checkpoint=record["checkpoint"],
        decision=Decision(record["decision"]),
        several="value" in record and record["value"] is not None,
        fidelity=record.get("fidelity"),
        time=record["time"],
    )


def _decode_ended(record: Mapping[str, Any]) -> Event:
    return Ended(
        trial=record["trial_id"],
        status=Status(record["status"]),
        value=record["value"],
        others=tuple((record["values"] or [])[1:]),
        metrics=record["metrics"],
        error=record["error"],
        cause=record["cause"],
        time=record["time"],
    )


_DECODERS: dict[int, Callable[[Mapping[str, Any]], Event]] = {
    _CREATE_STUDY: _decode_study,
    _STUDY_ATTR: _decode_study_attr,
    _CREATE_TRIAL: _decode_asked,
    _TRIAL_SYSTEM_ATTR: _decode_trial_attr,
    _TRIAL_VALUE: _decode_reported,
    _TRIAL_ATTR: _decode_reported,
    _TRIAL_STATE: _decode_ended,
}
