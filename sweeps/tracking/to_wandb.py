"""A sweep in Weights & Biases: a run a trial, all in one group.

Its step is the trial's. Nothing can be taken back there, so a step that is trained again keeps its
first value; W&B itself drops what comes at a step that it has. Offline, each stretch of a trial
under one driver is a folder of its own, of the same run: `wandb sync` puts them together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers

import wandb

from sweeps.tracking.tracker import Ending, Point, Run, Sweep

_OPEN = 32
"""So many runs are kept open at once: one to be promoted may be among them."""

_INIT_TIMEOUT_S = 30.0


class Wandb:
    """A sweep's runs, each named after sweep and trial."""

    def __init__(
        self,
        *,
        project: str | None,
        entity: str | None,
        mode: Literal["online", "offline"] | None,
        dir: Path,
        tags: Sequence[str],
    ) -> None:
        self._project = project
        self._entity = entity
        self._mode = mode
        self._dir = dir
        self._tags = list(tags)
        self._runs: dict[int, Any] = {}
        """Those that are open, by trial; the one last used comes last."""

    def open(self, sweep: Sweep) -> None:
        """Note the sweep; runs that an error left open are given up."""
        self._sweep = sweep
        self._dir.mkdir(parents=True, exist_ok=True)
        for number in list(self._runs):
            self._runs.pop(number).finish(exit_code=1, quiet=True)

    def begin(self, run: Run, known: str | None) -> str:
        """Begin its run, or go on with it."""
        name = known or f"{self._sweep.id}-{run.number}"
        opened = self._runs.pop(run.number, None) or self._init(run, name)
        self._runs[run.number] = opened
        while len(self._runs) > _OPEN:
            self._runs.pop(next(iter(self._runs))).finish()
        return name

    def log(self, run: Run, points: Sequence[Point]) -> None:
        """Add its metrics at their steps; a step that it has is passed over."""
        opened = self._runs[run.number]
        for point in points:
            if not point.repeats:
                opened.log(dict(point.metrics), step=point.step, commit=True)
            elif point.returned:
                opened.summary.update(dict(point.metrics))

    def settle(self, run: Run) -> None:
        """Note how it stands; one that has ended is finished, one that is paused may go on."""
        opened = self._runs[run.number]
        summary = {
            "trial/status": str(run.status),
            "trial/best_step": run.best_step,
            "trial/cause": run.cause,
            "trial/error": run.error,
            **{f"trial/{metric}": value for metric, value in run.values.items()},
        }
        opened.summary.update({key: value for key, value in summary.items() if value is not None})
        if run.best_params:
            opened.config.update(dict(run.best_params), allow_val_change=True)
        if run.status.is_final:
            del self._runs[run.number]
            opened.finish(exit_code=int(run.went_wrong))

    def close(self, ending: Ending | None) -> None:
        """Finish those that are paused."""
        while self._runs:
            self._runs.pop(next(iter(self._runs))).finish()

    def _init(self, run: Run, name: str) -> Any:
        return wandb.init(
            project=self._project or self._sweep.app,
            entity=self._entity,
            mode=self._mode,
            dir=self._dir,
            tags=self._tags,
            group=self._sweep.name,
            job_type="trial",
            name=run.name,
            id=name,
            resume="allow",
            reinit="create_new",
            config={**run.params, "sweep": dict(self._sweep.config)},
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=_INIT_TIMEOUT_S,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,  # of this process, not of the trial's
                x_disable_machine_info=True,
            ),
        )
