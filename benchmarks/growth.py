"""What a trial costs when there are many: no-op trials of one sweep, at number 200 and at 2,000.

    python benchmarks/growth.py [--trials 2050]

With random search, so that what grows would be ours or Ray's. TPE's own growth is shown apart.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from noop_trials import sweep_noop

from sweeps.journal.events import Asked, Ended
from sweeps.journal.file import read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.searchers import View, make_searcher
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder

WINDOW = 100
PARAMETERS = {f"p{i}": "interval(0, 1)" for i in range(7)}


def ms_at(folder: SweepFolder, numbers: list[int]) -> list[float]:
    """Milliseconds a trial around each number: the median over a window of asks."""
    times = [event.time for event in read_journal(folder.journal) if isinstance(event, Asked)]
    gaps = [1000 * (after - before) for before, after in itertools.pairwise(times)]
    half = WINDOW // 2
    return [statistics.median(gaps[n - half : n + half]) for n in numbers]


def tpe_ask_ms(numbers: list[int]) -> list[float]:
    """Milliseconds of an ask of TPE over seven parameters after so many trials."""
    space, _ = parse_space(PARAMETERS, [])
    view = View(Objective())
    searcher = make_searcher("tpe", space=space, view=view, seed=0)
    random = make_searcher("random", space=space, view=view, seed=0)
    found = []
    for number in range(max(numbers) + 3):
        timed = any(n <= number < n + 3 for n in numbers)
        began = time.perf_counter()
        params = (searcher if timed else random).ask(number)
        if timed:
            found.append(1000 * (time.perf_counter() - began))
        value = sum(params.values())
        view.apply(
            Ended(
                trial=number,
                status=Status.COMPLETE,
                value=value,
                metrics={},
                error=None,
                cause=None,
                time=0.0,
            )
        )
    return [statistics.median(found[i : i + 3]) for i in range(0, len(found), 3)]


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2050)
    given = parser.parse_args()
    early, late = 200, given.trials - WINDOW // 2
    with tempfile.TemporaryDirectory() as name:
        sweep = sweep_noop(Path(name), given.trials)
        at_early, at_late = ms_at(SweepFolder(sweep), [early, late])
    print(f"{given.trials} no-op trials, random search, 2 at once")
    print(f"  around trial {early:5}  {at_early:6.1f} ms a trial")
    print(f"  around trial {late:5}  {at_late:6.1f} ms a trial")
    print(f"  ratio               {at_late / at_early:6.2f}  (at most 1.5)")
    numbers = [100, 300, 1000, 2000]
    print("an ask of TPE, 7 parameters, is Optuna's own and grows")
    for number, ms in zip(numbers, tpe_ask_ms(numbers), strict=True):
        print(f"  after {number:5} trials    {ms:6.1f} ms")


if __name__ == "__main__":
    main()
