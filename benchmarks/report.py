"""Size and seconds of a report: simulated sweeps of 1,000 trials of up to 81 steps.

    python benchmarks/report.py [--trials 1000] [--schedulers none asha] [--keep DIR]

The sweep is simulated under its real searcher and scheduler, with noisy saturating curves that
diverge where the learning rate is too high, and written as a real journal. The clock runs from
reading that journal to the file that is there; `caviar report` adds the start of Python. The limit
is on the seconds of CPU: on an idle machine they are the wall's, and others do not disturb them.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.journal.file import Journal
from sweeps.journal.objective import Objective
from sweeps.provenance.driver import environment
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space
from sweeps.storage.folder import Record, SweepFolder

MOST_BYTES, MOST_SECONDS = 5e6, 5.0
STEPS = 81
BEGAN = 1.76e9
"""A simulated clock begins at 0; sweeps are of today."""

OBJECTIVE = Objective(metric="val_accuracy", mode="max")
SPACE, _ = parse_space(
    {
        "model": "choice(mlp, convnet)",
        "optimizer.lr": "tag(log, interval(1e-4, 3))",
        "optimizer.momentum": "tag(one_minus_log, interval(0.5, 0.999))",
        "optimizer.weight_decay": "tag(log, interval(1e-6, 1e-2))",
        "model.width": "int(tag(log, interval(16, 512)))",
        "model.dropout": "interval(0, 0.7)",
        "data.batch_size": "choice(32, 64, 128, 256)",
    },
    [],
    when={"model.dropout": {"model": "mlp"}},
)
OPTIONS = {"max_t": STEPS}


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    """Accuracy by epoch, and how long each takes."""
    rng = random.Random(trial)
    momentum = values["optimizer.momentum"]
    rate = math.log10(values["optimizer.lr"] / (1 - momentum) ** 0.5)
    off = abs(rate + 0.6)
    ceiling = 0.985 - 0.05 * min(off, 3) ** 1.6 - 0.01 * abs(math.log2(values["model.width"] / 160))
    ceiling -= 0.04 * abs(values.get("model.dropout", 0.25) - 0.25)
    ceiling += 0.006 if values["model"] == "convnet" else 0
    seconds = (0.5 + values["model.width"] / 256) * (128 / values["data.batch_size"]) ** 0.3
    for epoch in range(1, STEPS + 1):
        if rate > 1.3 and rng.random() < 0.1:
            yield {"val_accuracy": math.nan, "val_loss": math.nan}, seconds
            return
        share = 1 - math.exp(-epoch / (4 + 6 * off))
        accuracy = min(0.1 + (ceiling - 0.1) * share + rng.gauss(0, 0.004), 0.9999)
        yield {"val_accuracy": accuracy, "val_loss": -math.log(max(accuracy, 1e-3))}, seconds


def simulated_sweep(place: Path, *, trials: int, scheduler: str, searcher: str) -> SweepFolder:
    """The folder of a simulated sweep."""
    options = {} if scheduler == "none" else OPTIONS
    setup = Setup(
        space=SPACE,
        num_samples=trials,
        objective=OBJECTIVE,
        searcher={"name": searcher},
        scheduler={"name": scheduler, **options},
        workers=16,
        checkpoints=True,
    )
    folder = SweepFolder(place / f"{scheduler}-{searcher}-{trials}")
    folder.begin()
    Record(
        name=folder.name,
        app={"file": "train.py", "module": None, "function": "main", "argv": ["-m"]},
        overrides=["trainer.epochs=81"],
        space=SPACE.to_json(),
        metric=OBJECTIVE.metric,
        mode=OBJECTIVE.mode,
        searcher=setup.searcher,
        scheduler=setup.scheduler,
        num_samples=trials,
        seed=0,
        options={},
        environment=environment(Path(__file__).parent),
    ).write(folder)
    events = simulate(curve, setup).events
    Journal(folder.journal).append(*(replace(e, time=e.time + BEGAN) for e in events))
    return folder


def main() -> None:
    """Print one line a sweep; exit 1 where a limit is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--schedulers", nargs="+", default=["none", "asha"])
    parser.add_argument("--searcher", default="random")
    parser.add_argument("--keep", type=Path, help="leave the sweeps and their reports there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        broken = [
            _measure(options.keep or Path(scratch), options.trials, scheduler, options.searcher)
            for scheduler in options.schedulers
        ]
    raise SystemExit(any(broken))


def _measure(place: Path, trials: int, scheduler: str, searcher: str) -> bool:
    from sweeps.reports.write import write_report
    from sweeps.results import load_sweep

    folder = simulated_sweep(place, trials=trials, scheduler=scheduler, searcher=searcher)
    began, spent = time.perf_counter(), time.process_time()
    sweep = load_sweep(folder)
    reading = time.process_time() - spent
    report = write_report(sweep)
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    reports = sum(len(trial.reports) for trial in sweep.trials)
    size = report.stat().st_size
    print(
        f"{scheduler}: {trials} trials, {reports} reports: {size / 1e6:.2f} MB, "
        f"{wall:.2f} s, {spent:.2f} s of CPU, of which reading {reading:.2f} s"
    )
    return size > MOST_BYTES or spent > MOST_SECONDS


if __name__ == "__main__":
    main()
