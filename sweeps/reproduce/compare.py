"""What a trial reported, then and now."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_OF_TIME = {"time", "times", "runtime", "seconds", "secs", "sec", "s", "ms", "us", "duration"} | {
    *("elapsed", "walltime", "wallclock", "timestamp", "throughput", "eta", "fps", "latency"),
    *("datetime", "hours", "minutes"),
}
"""Words that say of a metric's name that it measures the machine rather than the model."""

END = None
"""In the place of a step: what the task function returned."""

Steps = Sequence[tuple[int | None, Mapping[str, float]]]
"""Metrics by step, in their order; a step may come twice where the fidelity is a parameter."""


@dataclass(frozen=True, kw_only=True)
class Miss:
    """One number that is not what it was; None where there is none."""

    step: int | None
    metric: str
    then: float | None
    now: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two trainings' numbers side by side."""

    steps: int
    """How many reports were compared, what was returned included."""
    equal: Mapping[str, int]
    """By metric: how many of its values are the same."""
    misses: Sequence[Miss]
    """In the order of the steps."""
    left_out: Sequence[str]
    """Metrics that measure time."""

    @property
    def is_equal(self) -> bool:
        """Whether something was compared, and all of it is the same."""
        return not self.misses and bool(self.equal)

    def first(self, metric: str) -> Miss | None:
        """Where a metric differs for the first time."""
        return next((miss for miss in self.misses if miss.metric == metric), None)


def compare(then: Steps, now: Steps) -> Comparison:
    """Compare every metric of every report."""
    equal: dict[str, int] = {}
    misses: list[Miss] = []
    left_out: dict[str, None] = {}
    for step, was, is_ in _side_by_side(then, now):
        for metric in {**was, **is_}:
            if measures_time(metric):
                left_out[metric] = None
                continue
            a, b = was.get(metric), is_.get(metric)
            same = a is not None and b is not None and same_bits(a, b)
            equal[metric] = equal.get(metric, 0) + same
            if not same:
                misses.append(Miss(step=step, metric=metric, then=a, now=b))
    steps = max(len(then), len(now))
    return Comparison(steps=steps, equal=equal, misses=misses, left_out=list(left_out))


def measures_time(metric: str) -> bool:
    """Whether a metric's name says that it measures time: `epoch_time`, `it/s`, `train.seconds`."""
    return not _OF_TIME.isdisjoint(re.split(r"[^a-z0-9]+", metric.lower()))


def same_bits(a: float, b: float) -> bool:
    """Whether two numbers are the same; 0 is not -0, and NaN is NaN."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return struct.pack("<d", a) == struct.pack("<d", b)


def _side_by_side(
    then: Steps, now: Steps
) -> Iterator[tuple[int | None, Mapping[str, float], Mapping[str, float]]]:
    """By step: what was reported, nothing where only the other reported it."""
    was, is_ = dict(then), dict(now)
    last = max((step for step in {**was, **is_} if step is not None), default=0)
    order = sorted({**was, **is_}, key=lambda step: last + 1 if step is None else step)
    for step in order:
        yield step, was.get(step, {}), is_.get(step, {})
