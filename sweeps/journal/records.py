"""Events as records of Optuna's journal format, and back.

Every event is one record, so that `optuna-dashboard` and `optuna.load_study` read a copy of the
file. Fields that Optuna does not know (metrics, decision, checkpoint, run) stand in the same
record; its reader passes them over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import TrialState

from sweeps.errors import SweepError
from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Known,
    Lost,
    Notes,
    Opened,
    Reported,
    Requested,
    Started,
)
from sweeps.journal.optuna_words import STATES
from sweeps.journal.status import Decision, Status

FORMAT = 1
"""Version of the extra fields; a journal of a later version is refused."""

_WORKER = "caviar"
_CREATE_STUDY, _STUDY_ATTR, _CREATE_TRIAL = 0, 2, 4
_TRIAL_STATE, _TRIAL_VALUE, _TRIAL_ATTR, _TRIAL_SYSTEM_ATTR = 6, 7, 8, 9


def encode(event: Event) -> dict[str, Any]:
    """The event as a record of Optuna's journal, in plain JSON values."""
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
    bounds = {"bounds": dict(event.bounds)} if event.bounds else {}
    return _study_attr("caviar:run", {"run": event.run, **bounds, "time": event.time})


def _encode_requested(event: Requested) -> dict[str, Any]:
    fields = {"request": event.request, "asked": dict(event.asked)}
    for name in ("trial", "refusal"):
        if (value := getattr(event, name)) is not None:
            fields[name] = value
    return _study_attr("caviar:request", {**fields, "time": event.time})


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
    fields = {"reason": event.reason, "cause": event.cause, "time": event.time}
    return _trial_attr(event.trial, "caviar:lost", fields)


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
        "state": STATES[event.status].value,
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
    Requested: _encode_requested,
    Asked: _encode_asked,
    Started: _encode_started,
    Reported: _encode_reported,
    Ended: _encode_ended,
    Lost: _encode_lost,
    Closed: _encode_closed,
}


def decode(record: Mapping[str, Any]) -> Event:
    """The event that a record was encoded from.

    Raises:
        SweepError: A newer caviar wrote it.
    """
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
    kind: Any = _OF_THE_STUDY[key]
    event: Event = kind(**value)
    return event


_OF_THE_STUDY = {
    "caviar:run": Opened,
    "caviar:closed": Closed,
    "caviar:known": Known,
    "caviar:request": Requested,
}


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
