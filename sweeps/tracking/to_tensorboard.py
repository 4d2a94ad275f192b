"""A sweep in TensorBoard: a folder a trial, with scalars and what the HPARAMS tab shows.

    tensorboard --logdir SWEEP/tracking/tensorboard

The event files are written with TensorBoard's own record writer and messages. Each append is a file
opened, written and closed, so that nothing stays open for the trials that wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from sweeps.tracking.tracker import Ending, Point, Run, Sweep

_VERSION = "brain.Event:2"
"""Of a file: with it TensorBoard drops later points where it is told to, and nowhere else."""


class TensorBoard:
    """A sweep's folders of event files.

    A step that is trained again takes the place of what was there from that step on; so does what
    is sent anew after an error, or by the next driver.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._name = ""
        self._continued: set[int] = set()
        """Trials whose next point may have been written before."""

    def open(self, sweep: Sweep) -> None:
        """Write to new files from here on: the last ones may end half written."""
        self._name = f"events.out.tfevents.{round(self._clock() * 1e6):016d}.caviar"
        self._continued.clear()
        if not (self._folder / "sweep").exists():
            rows = [f"| {key} | {value} |" for key, value in sweep.config.items()]
            table = "\n".join([f"| {sweep.name} | |", "|---|---|", *rows])
            self._write("sweep", [_text("sweep", table, self._clock())])

    def begin(self, run: Run, known: str | None) -> str:
        """Write the parameters of a new run; TensorBoard sees those of one that goes on."""
        folder = f"trial-{run.number}"
        if known is None:
            self._write(folder, [_drop_from(0, run.started), _start(run)])
        else:
            self._continued.add(run.number)
        return folder

    def log(self, run: Run, points: Sequence[Point]) -> None:
        """Write a scalar for each metric."""
        events: list[Any] = []
        for point in points:
            again = point.repeats and not point.returned
            if again or run.number in self._continued:
                events.append(_drop_from(point.step, point.time))
                self._continued.discard(run.number)
            events.append(_scalars(point.metrics, step=point.step, time=point.time))
        self._write(f"trial-{run.number}", events)

    def settle(self, run: Run) -> None:
        """Write how it ended; a trial that is paused has nothing to show for it."""
        if run.status.is_final:
            self._write(f"trial-{run.number}", list(_end(run)))

    def close(self, ending: Ending | None) -> None:
        """Nothing is open."""

    def _write(self, folder: str, events: Sequence[Any]) -> None:
        path = self._folder / folder / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            writer = RecordWriter(file)
            if not file.tell():
                first = event_pb2.Event(wall_time=self._clock(), file_version=_VERSION)
                writer.write(first.SerializeToString())
            for event in events:
                writer.write(event.SerializeToString())


def _drop_from(step: int, time: float) -> Any:
    """Let TensorBoard forget what it has from that step on; it passes the first of these over."""
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    return event_pb2.Event(wall_time=time, step=step, session_log=start)


def _scalars(metrics: Mapping[str, float], *, step: int, time: float) -> Any:
    values = [summary_pb2.Summary.Value(tag=k, simple_value=v) for k, v in metrics.items()]
    return event_pb2.Event(wall_time=time, step=step, summary=summary_pb2.Summary(value=values))


def _text(tag: str, markdown: str, time: float) -> Any:
    value = summary_pb2.Summary.Value(
        tag=tag,
        metadata=text.create_summary_metadata(display_name=tag, description=""),
        tensor=make_tensor_proto([markdown.encode()]),
    )
    return event_pb2.Event(wall_time=time, summary=summary_pb2.Summary(value=[value]))


# What the HPARAMS tab reads: a session is a run, and its metrics are the run's scalars


def _start(run: Run) -> Any:
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=run.started)
    for name, value in run.params.items():
        field = info.hparams[name]
        if isinstance(value, bool):
            field.bool_value = value
        elif isinstance(value, int | float):
            field.number_value = value
        else:
            field.string_value = str(value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info)
    return _session(hparams.SESSION_START_INFO_TAG, data, run.started)


def _end(run: Run) -> Iterator[Any]:
    ended = run.ended or run.started
    final = {f"trial/{metric}": value for metric, value in run.values.items()}
    yield _scalars(final, step=run.step, time=ended)
    if run.error is not None:
        yield _text("trial/error", f"    {run.error}", ended)
    info = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_FAILURE if run.went_wrong else api_pb2.STATUS_SUCCESS,
        end_time_secs=ended,
    )
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    yield _session(hparams.SESSION_END_INFO_TAG, data, ended)


def _session(tag: str, data: Any, time: float) -> Any:
    value = summary_pb2.Summary.Value(
        tag=tag, metadata=hparams.create_summary_metadata(data), tensor=hparams.NULL_TENSOR
    )
    return event_pb2.Event(wall_time=time, summary=summary_pb2.Summary(value=[value]))
