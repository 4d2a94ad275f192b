"""The best few trials of a sweep, each with the model that it left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sweeps.errors import SweepError
from sweeps.export.trained import TrainedTrial
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder


def best_trials(folder: SweepFolder, count: int, *, flag: str) -> list[TrainedTrial]:
    """The best trials, best first, each with a checkpoint.

    Args:
        folder: The sweep.
        count: How many.
        flag: What asked for them, for messages.

    Raises:
        SweepError: Fewer have a value, or a checkpoint.
    """
    sweep = load_sweep(folder)
    ranked = [trial for trial in sweep.ranked() if _has_value(trial)]
    ranked.sort(key=lambda trial: trial is not sweep.best)
    if len(ranked) < count:
        raise SweepError(
            f"{flag} is {count}; of {len(sweep.trials)} trials {len(ranked)} have a value"
        )
    found = [TrainedTrial.of(sweep, trial) for trial in ranked[:count]]
    there = [trained.checkpoint is not None for trained in found]
    if not all(there):
        raise SweepError(_too_few(flag, found, there))
    return found


def _has_value(trial: Trial) -> bool:
    bad = trial.status in (Status.FAILED, Status.DIVERGED)
    return not bad and trial.value is not None and math.isfinite(trial.value)


def _too_few(flag: str, found: Sequence[TrainedTrial], there: Sequence[bool]) -> str:
    count, leading = len(found), there.index(False)
    left = [trained.trial for trained, is_there in zip(found, there, strict=True) if is_there]
    which = f" (trial {numbers(left)})" if left else ""
    fewer = f"; or ask for {flag} {leading}" if leading >= 2 else ""
    return (
        f"{flag} is {count}, and of the {count} best trials {len(left)} have their checkpoint on "
        f"disk{which}: sweep with hydra.sweeper.keep_checkpoints={count} or more{fewer}"
    )


def numbers(trials: Iterable[Trial]) -> str:
    """Those of trials, in their order."""
    return ", ".join(str(trial.number) for trial in trials)
