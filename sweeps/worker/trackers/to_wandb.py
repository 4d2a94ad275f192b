"""W&B: `wandb.init` goes on where the trial's run stands, and what is open ends with the segment.

Online W&B asks its server how far a run is. Offline it cannot, and begins at step 0 each time; then
the steps are counted on here. So both drop a step that is trained again: its first values stay.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sweeps.session import TrialEnded
from sweeps.worker.trackers.segment import Tracked, current
from sweeps.worker.trackers.wandb_file import last_step

log = logging.getLogger(__name__)


def teach(wandb: Any) -> None:
    """Take part in `wandb.init`, and in leaving a `with` block of a run."""
    if hasattr(wandb, "init"):  # a project's folder of that name is none
        wandb.init = _taking_part(wandb.init)
        run = wandb.sdk.wandb_run.Run
        run.__exit__ = _leaving(run.__exit__)


def begin_anew() -> None:
    """Let W&B read the environment: it does so once in its session, and reuses that."""
    teardown = getattr(sys.modules.get("wandb"), "teardown", None)
    if teardown is None:
        return
    try:
        teardown()
    except (Exception, SystemExit):  # its process was gone: no fault of this segment's
        log.exception("W&B's last session did not end as it should")


def _taking_part(init: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(init)
    def begin(*args: Any, **options: Any) -> Any:
        here = current()
        if here is None:
            return init(*args, **options)
        if here.run is None:  # as W&B advises: the first process alone tracks
            return init(*args, **{**options, "mode": "disabled"})
        _wait_for_a_name(Path(options.get("dir") or os.environ.get("WANDB_DIR", ".")) / "wandb")
        run = init(*args, **options)
        is_new = here.at_end(run, lambda failed: run.finish(exit_code=int(failed)))
        if is_new and run.offline and not run.disabled:
            _go_on(run, here)
        return run

    return begin


def _leaving(leave: Callable[..., None]) -> Callable[..., None]:
    """A trial that is paused or stopped has not failed."""

    @functools.wraps(leave)
    def exit_(run: Any, kind: Any, error: Any, trace: Any) -> None:
        ended = kind is not None and issubclass(kind, TrialEnded)
        leave(run, *((None, None, None) if ended else (kind, error, trace)))

    return exit_


def _wait_for_a_name(folder: Path) -> None:
    """W&B names what it writes by the second: two segments in one would be one."""
    now = f"{datetime.now():%Y%m%d_%H%M%S}"
    if any(folder.glob(f"*run-{now}-*")):
        time.sleep(1 - time.time() % 1)


def _go_on(run: Any, here: Tracked) -> None:
    """Let an offline run's next step be the one behind the last that it has."""
    steps = [step for file in _files(run, here) if (step := last_step(file)) is not None]
    if steps:
        run.log({}, step=max(steps) + 1)


def _files(run: Any, here: Tracked) -> Iterator[Path]:
    """What earlier segments of the run wrote: in this folder, or in those of other drivers."""
    name = f"offline-run-*-{run.id}/run-{run.id}.wandb"
    yield from Path(run.settings.wandb_dir).glob(name)
    yield from here.elsewhere(f"wandb/{name}")
