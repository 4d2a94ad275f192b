"""What a trial costs in decisions, journal aside: whole simulated sweeps of 300 and 3,000 trials.

    python benchmarks/decisions.py [--trials 3000]

Every scheduler under random search, on curves of nine steps, and the checkpoints' retention and the
progress as listeners: nothing of these may grow with the number of trials.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeps.driver.progress import Progress
from sweeps.driver.retention import Retention
from sweeps.journal.events import Event
from sweeps.journal.objective import Objective
from sweeps.journal.trials import Trials
from sweeps.schedulers import SCHEDULERS
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder

OBJECTIVE = Objective(metric="loss")
SPACE, _ = parse_space({"lr": "tag(log, interval(1e-4, 1))", "width": "int(interval(8, 64))"}, [])
FEW = 300
POPULATION = {"perturbation_interval": 3, "hyperparam_mutations": ["lr"]}
OPTIONS: dict[str, dict[str, Any]] = {
    "median": {},
    "none": {},
    "learning_curve": {"max_t": 9, "grace_period": 4},
    "pbt": {"max_t": 9, **POPULATION},
}
LEFT_OUT = {"pb2": "its process is over the last 100 intervals, and costs the same whatever came"}


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    """Nine noisy steps."""
    rng = random.Random(trial)
    for step in range(1, 10):
        yield {"loss": rng.random() + 1 / step}, 1.0


def setup(scheduler: str, trials: int) -> Setup:
    """A sweep of so many trials."""
    return Setup(
        space=SPACE,
        num_samples=trials,
        objective=OBJECTIVE,
        searcher={"name": "random"},
        scheduler={"name": scheduler, **OPTIONS.get(scheduler, {"max_t": 9})},
        workers=8,
    )


def ms_of_scheduler(scheduler: str, trials: int) -> float:
    """Milliseconds of a whole simulated sweep, by trial."""
    began = time.process_time()
    simulate(curve, setup(scheduler, trials))
    return 1000 * (time.process_time() - began) / trials


def ms_of_listener(make: Callable[[Path], Callable[[Event, Trials], None]], trials: int) -> float:
    """Milliseconds that a listener takes of a sweep under ASHA, by trial."""
    events = simulate(curve, setup("asha", trials)).events[:-1]
    folded, spent = Trials(OBJECTIVE), 0.0
    with tempfile.TemporaryDirectory() as name:
        listener = make(Path(name))
        for event in events:
            folded.apply(event)
            began = time.process_time()
            listener(event, folded)
            spent += time.process_time() - began
    return 1000 * spent / trials


def retention(folder: Path) -> Retention:
    """Keeps three checkpoints."""
    return Retention(SweepFolder(folder), keep=3)


def progress(folder: Path) -> Progress:
    """Writes its lines into the void."""
    console = Console(file=io.StringIO())
    return Progress(OBJECTIVE, total=lambda: 1, max_t=9, console=console)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3000)
    many = parser.parse_args().trials
    print(f"{'ms a trial':24} {FEW:>8} {many:>8}    ratio")
    for name in sorted(set(SCHEDULERS) - set(LEFT_OUT)):
        show(name, lambda n, name=name: ms_of_scheduler(name, n), many)
    for make in (retention, progress):
        show(make.__name__, lambda n, make=make: ms_of_listener(make, n), many)
    for name, reason in LEFT_OUT.items():
        print(f"{name:24} left out: {reason}")


def show(name: str, ms: Callable[[int], float], many: int) -> None:
    """One line of it: the least of three of the short ones."""
    ms(FEW // 3)
    few, at_many = min(ms(FEW) for _ in range(3)), ms(many)
    print(f"{name:24} {few:8.3f} {at_many:8.3f}   {at_many / few:6.2f}", flush=True)


if __name__ == "__main__":
    main()
