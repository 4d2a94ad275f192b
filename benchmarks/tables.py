"""What a sweep's tables cost while it runs, and how long they take to load; ratios within one run.

    python benchmarks/tables.py [--reports 4000]

A report's cost is told beside that of its append to the journal, which comes before every decision.
The parts are written far more often here than in a sweep, where half a minute lies between two
writings, so what a sweep pays is the last line of the first table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import sweeps
from sweeps.journal.events import Asked, Closed, Created, Ended, Event, Opened, Reported
from sweeps.journal.file import Journal
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trials
from sweeps.results import load_sweep, write_tables
from sweeps.results.live import LiveTables
from sweeps.results.parts import Parts
from sweeps.space.space import parse_space
from sweeps.storage.folder import Record, SweepFolder

SPACE, _ = parse_space({"lr": "tag(log, interval(1e-4, 1))", "model": "mlp,convnet"}, [])
EVERY_S = 1.0
SWEEPS_EVERY_S = 30.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=2000, help="for the cost of a report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cv") as place:
        decisions(Path(place), options.reports)
        growth(Path(place))
        loading(Path(place))


def decisions(place: Path, reports: int) -> None:
    """What the decisions' thread waits for a report, without and with the tables."""
    trials, steps = reports // 20, 20
    alone = statistics.median(_appends(_sweep(place / "alone"), trials, steps, None))
    folder = _sweep(place / "both")
    with LiveTables(folder, _opening("both"), every_s=EVERY_S) as tables:
        both = statistics.median(_appends(folder, trials, steps, tables))
    parts = Parts(folder, Record.read(folder))
    events = [*_opening("both"), *_events(trials, steps)]
    taking = _cpu(lambda: _take(parts, events)) / len(events)
    writing = _cpu(parts.write)
    print(f"\n{reports} reports, parts written every {EVERY_S:g} s\n")
    print("| | |\n|---|---|")
    print(f"| median append, with the tables beside it against without | {both / alone:.2f} |")
    print(f"| CPU of the tables' thread for an event, against an append | {taking / alone:.3f} |")
    print(f"| CPU of a writing of all of these, against an append | {writing / alone:.0f} |")
    print(f"| share of a core, every {SWEEPS_EVERY_S:g} s | {writing / SWEEPS_EVERY_S:.2%} |")


def growth(place: Path) -> None:
    """A writing of a sweep ten times as long."""
    took = []
    for trials in (1_000, 10_000):
        parts = Parts(_sweep(place / f"growth-{trials}"), _record(f"growth-{trials}"), rows=1000)
        _take(parts, [*_opening("growth"), *_events(trials, 10)])
        parts.write()  # imports
        took.append(_cpu(parts.write))
    print("\n| a writing of 1,000 rows, after 10,000 trials against 1,000 | |\n|---|---|")
    print(f"| ratio | {took[1] / took[0]:.2f} |")


def loading(place: Path) -> None:
    """100,000 rows of metrics, from the tables and from the journal."""
    folder = _sweep(place / "load")
    Journal(folder.journal).append(*_events(1000, 100), Closed(reason="done", time=1e9))
    write_tables(folder)
    sweeps.load(folder).metrics  # noqa: B018 - imports
    tables = _seconds(lambda: sweeps.load(folder).metrics, 5)
    journal = _seconds(lambda: load_sweep(folder).metrics().to_pandas(), 3)
    print("\n| 100,000 rows of metrics as a pandas frame | seconds | ratio |\n|---|---|---|")
    print(f"| from the tables | {tables:.3f} | 1 |")
    print(f"| from the journal | {journal:.3f} | {journal / tables:.0f} |")


def _take(parts: Parts, events: Sequence[Event]) -> None:
    for event in events:
        parts.take(event)


def _opening(name: str) -> list[Event]:
    created = Created(name=name, modes=("max",), space=SPACE.to_json(), time=1e9)
    return [created, Opened(run=1, time=1e9)]


def _events(trials: int, steps: int) -> Iterator[Event]:
    """Trials one after another, with three metrics."""
    params = SPACE.optuna_params({"lr": 0.01, "model": "mlp"})
    distributions = SPACE.distributions()
    for trial in range(trials):
        now = 1e9 + trial
        yield Asked(trial=trial, run=1, params=params, distributions=distributions, time=now)
        for step in range(1, steps + 1):
            value = (trial + step) % 17 / 17
            yield Reported(
                trial=trial,
                run=1,
                step=step,
                metrics={"val_accuracy": value, "val_loss": 1 - value, "train_loss": value / 2},
                value=value,
                checkpoint=None,
                decision=Decision.CONTINUE,
                time=now + step / 1000,
            )
        yield Ended(
            trial=trial,
            status=Status.COMPLETE,
            value=1.0,
            metrics={},
            error=None,
            cause=None,
            time=now + 1,
        )


def _appends(
    folder: SweepFolder, trials: int, steps: int, tables: LiveTables | None
) -> Sequence[float]:
    """How long each report's append took, with what the tables note of it."""
    journal = Journal(folder.journal)
    known = Trials(load_sweep(folder).objective)
    took = []
    for event in _events(trials, steps):
        began = time.perf_counter()
        journal.append(event)
        if tables is not None:
            tables(event, known)
        took.append(time.perf_counter() - began)
    return took


def _record(name: str) -> Record:
    return Record(
        name=name,
        app={},
        overrides=[],
        space=SPACE.to_json(),
        metric="val_accuracy",
        mode="max",
        searcher={"name": "random"},
        scheduler={"name": "none"},
        num_samples=1,
        seed=0,
        options={},
        environment={},
    )


def _sweep(path: Path) -> SweepFolder:
    """A sweep's folder with an opened journal."""
    folder = SweepFolder(path)
    folder.begin()
    _record(path.name).write(folder)
    Journal(folder.journal).append(*_opening(path.name))
    return folder


def _seconds(act: Callable[[], object], times: int) -> float:
    """The median time of an act."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _cpu(act: Callable[[], object]) -> float:
    """Seconds of processor time of this thread."""
    began = time.thread_time()
    act()
    return time.thread_time() - began


if __name__ == "__main__":
    main()
