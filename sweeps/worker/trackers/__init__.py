"""The app's own calls of W&B, MLflow and TensorBoard: within a trial they go to its run.

None of these libraries is imported here. What the app imports is taught, once, where a trial's run
is to be found and how it ends:

    segment            which run a segment of a trial has; what is to be ended with it
    to_wandb           `wandb.init` goes on where the run stands, offline too
    wandb_file         where that is, from what W&B wrote offline
    to_mlflow          the runs that a client creates are found again
    to_tensorboard     a writer without a folder writes into the job's
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sweeps.session import TrialEnded
from sweeps.worker.slate import when_imported
from sweeps.worker.trackers import to_mlflow, to_tensorboard, to_wandb
from sweeps.worker.trackers.segment import AppRun, Tracked, entered


@cache
def attend() -> None:
    """Teach what the app has imported already, and what it will; once in a process."""
    when_imported("wandb", to_wandb.teach)
    when_imported("mlflow.tracking.client", to_mlflow.teach)
    for name in ("torch.utils.tensorboard.writer", "tensorboardX.writer"):
        when_imported(name, to_tensorboard.teach)


@contextmanager
def tracked(run: AppRun | None, folder: Path, rank: int = 0) -> Iterator[None]:
    """The surroundings of a segment for trackers; whoever entered it restores the environment.

    What a user has set in the environment stays.

    Args:
        run: The trial's; None in a rank that has none.
        folder: The job's.
        rank: Of the trial's processes.
    """
    to_wandb.begin_anew()
    for name, value in (run.environment(folder) if run else {}).items():
        os.environ.setdefault(name, value)
    here, failed = Tracked(run=run, folder=folder, rank=rank), True
    here.at_end(to_mlflow, to_mlflow.end_active)
    with entered(here):
        try:
            yield
            failed = False
        except TrialEnded:
            failed = False
            raise
        finally:
            here.end(failed=failed)
