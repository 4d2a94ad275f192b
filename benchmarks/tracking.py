"""What tracking costs the driver: reports journaled with and without a tracker's process behind.

    python benchmarks/tracking.py [--reports 20000]

CPU time of the driver's own process, its threads included, by report; and how long the tracker is
behind when the last report is in. The reports come as fast as they can: a sweep's come slower.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sweeps.core.tracking import parse_tracking
from sweeps.journal.events import Asked, Closed, Created, Event, Opened, Reported
from sweeps.journal.file import Journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.journal.trials import Trials
from sweeps.space.space import parse_space
from sweeps.storage.folder import Record, SweepFolder
from sweeps.tracking.feeds import Feed
from sweeps.tracking.task import Task

OBJECTIVE = Objective(metric="loss")
SPACE, _ = parse_space({"lr": "interval(0, 1)"}, [])
STEPS = 100


def events(reports: int) -> Iterator[Event]:
    """A sweep of trials of a hundred steps, two metrics each."""
    now = 1_700_000_000.0
    yield Created(name="s", modes=("min",), space=SPACE.to_json(), time=now)
    yield Opened(run=1, time=now)
    for number in range(reports):
        trial, step = divmod(number, STEPS)
        now += 0.01
        if step == 0:
            params, of = SPACE.optuna_params({"lr": 0.5}), SPACE.distributions()
            yield Asked(trial=trial, run=1, params=params, distributions=of, time=now)
        yield Reported(
            trial=trial,
            run=1,
            step=step + 1,
            metrics={"loss": 1 / (step + 1), "val/accuracy": 0.5},
            value=1 / (step + 1),
            checkpoint=None,
            decision=Decision.CONTINUE,
            time=now,
        )
    yield Closed(reason="done", time=now)


def record(folder: SweepFolder) -> Record:
    """The sweep's."""
    return Record(
        name="s",
        app={"file": "app.py", "module": None, "function": "main", "argv": [], "cwd": "/"}
        | {"sys_path": [], "interpreter": "python"},
        overrides=[],
        space=SPACE.to_json(),
        metric="loss",
        mode="min",
        searcher={"name": "random"},
        scheduler={"name": "none"},
        num_samples=1,
        seed=0,
        options={},
        environment={},
    )


def run(tracker: str | None, reports: int) -> tuple[float, float]:
    """Microseconds of CPU by report; seconds until the tracker has all."""
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / "s")
        folder.begin()
        record(folder).write(folder)
        journal, trials, feed = Journal(folder.journal), Trials(OBJECTIVE), None
        if tracker is not None:
            options = {"mlflow": {"tracking_uri": f"sqlite:///{name}/runs.db"}}
            given = {
                tracker: options.get(tracker, {"mode": "offline"} if tracker == "wandb" else {})
            }
            (tracking,) = parse_tracking(given)
            task = Task(
                name=tracker,
                options=tracking.options,
                ledger="ledger",
                folder=str(folder.path),
                url=None,
                history=0,
                objective=OBJECTIVE,
            )
            feed = Feed(task, folder.tracking("log"), lambda text: print(text, file=sys.stderr))
        began = time.process_time()
        for event in events(reports):
            journal.append(event)
            trials.apply(event)
            if feed is not None:
                feed.put(event)
        if feed is not None:
            while not feed._queue.empty():
                time.sleep(0.01)
        spent, last = time.process_time() - began, time.monotonic()
        if feed is not None:
            feed.finish(patience=60, say=lambda _: None)
        return 1e6 * spent / reports, time.monotonic() - last


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=20_000)
    reports = parser.parse_args().reports
    run(None, reports // 10)
    plain = min(run(None, reports)[0] for _ in range(3))
    print(f"{'':14} us of CPU a report   ratio   behind at the end, s")
    print(f"{'none':14} {plain:18.1f}   {1:5.2f}")
    for tracker in ("tensorboard", "mlflow", "wandb"):
        cost, behind = run(tracker, reports)
        print(f"{tracker:14} {cost:18.1f}   {cost / plain:5.2f}   {behind:20.1f}", flush=True)


if __name__ == "__main__":
    main()
