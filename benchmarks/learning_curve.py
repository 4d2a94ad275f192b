"""What a decision of the learning_curve scheduler costs.

    python benchmarks/learning_curve.py

Every trial reports at a step, one after another or all in one call, and each is judged against the
incumbent. Shown is the time of one judgement, the steps' own table included the first time.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from sweeps.schedulers import Observation, Scheduler, make_scheduler
from sweeps.space.space import Space

LIMIT_MS = 20.0


def reports(trials: int, steps: int) -> list[list[Observation]]:
    """By step: a report of each trial; the first trial leads, the others are close behind."""
    rng = np.random.default_rng(0)
    rows = []
    for step in range(1, steps + 1):
        losses = 0.3 + 0.01 * np.arange(trials) + step**-0.7 + 0.01 * rng.standard_normal(trials)
        rows.append(
            [
                Observation(trial=trial, step=step, loss=float(loss), resumable=False)
                for trial, loss in enumerate(losses)
            ]
        )
    return rows


def ready(trials: int, rows: list[list[Observation]]) -> Scheduler:
    """A scheduler that knows all reports but the last of each trial, and has judged none."""
    steps = len(rows)
    scheduler = make_scheduler(
        "learning_curve", space=Space(()), seed=0, max_t=2 * steps, grace_period=steps
    )
    for trial in range(trials):
        scheduler.on_start(trial, {})
    for row in rows[:-1]:
        scheduler.on_reports(row)
    return scheduler


def ms_each(trials: int, steps: int, *, at_once: bool) -> tuple[float, float]:
    """Milliseconds of a judgement: the median and the longest."""
    rows = reports(trials, steps)
    scheduler, last = ready(trials, rows), rows[-1]
    scheduler.on_reports(last[:1])
    calls = [last[1:]] if at_once else [[seen] for seen in last[1:]]
    found = []
    for call in calls:
        began = time.perf_counter()
        scheduler.on_reports(call)
        found.append(1000 * (time.perf_counter() - began) / len(call))
    return statistics.median(found), max(found)


def main() -> None:
    """Print the table."""
    print(f"ms a judgement, median (longest); at most {LIMIT_MS:g}")
    print(f"{'trials':>8} {'steps':>8} {'one by one':>18} {'in one call':>12}")
    for trials, steps in [(16, 10), (64, 50), (64, 200), (256, 50), (64, 1000), (8, 10_000)]:
        one, longest = ms_each(trials, steps, at_once=False)
        together, _ = ms_each(trials, steps, at_once=True)
        cell = f"{one:.2f} ({longest:.2f})"
        print(f"{trials:8} {steps:8} {cell:>18} {together:12.2f}")


if __name__ == "__main__":
    main()
