"""A sweep in a notebook: `sweeps.load(path)`.

sweep = sweeps.load("outputs/sweeps/mnist")   # or its name, a handle, an s3:// URL
sweep.trials.sort_values("value").head()
sweep.metrics.pivot(index="step", columns="trial", values="val_loss").plot()
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import os

    import optuna
    import pandas as pd

    from sweeps.results import SweepResults
    from sweeps.results.stored import Tables
    from sweeps.storage.folder import SweepFolder

_SHOWN = 10


def load(sweep: str | os.PathLike[str] | SweepFolder) -> Sweep:
    """A sweep, that runs or is over.

    Args:
        sweep: Its folder, its name in outputs/sweeps, its URL in a bucket, or what `caviar list`
            shows of it.

    Raises:
        ConfigError: There is none; the nearest are listed.
        BucketError: Its bucket cannot be read.
    """
    from sweeps.storage.folder import SweepFolder
    from sweeps.submission.found import find_any_sweep

    return Sweep(sweep if isinstance(sweep, SweepFolder) else find_any_sweep(str(sweep)))


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best trial of a sweep."""

    number: int
    value: float
    values: Mapping[str, float]
    """By objective."""
    step: int | None
    """That of its best report; None where the task only returned."""
    params: Mapping[str, Any]
    """As the app saw them."""
    metrics: Mapping[str, float]
    """In that report, or what the task returned."""
    checkpoint: str | None
    """Where its model is, while it is there."""


class Sweep:
    """A sweep, read when something of it is first asked for; `reload` looks anew.

    Where its tables in the folder say all that the journal says they are what is read; else, as
    while it runs, the journal itself.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def metric(self) -> str:
        """What it optimizes; of several objectives the first."""
        return _first(self._about["metric"])

    @cached_property
    def results(self) -> SweepResults:
        """All that its record and its journal tell."""
        from sweeps.results import load_sweep

        return load_sweep(self.folder)

    @cached_property
    def arrow(self) -> Tables:
        """Both tables as Arrow: `.arrow.trials`, `.arrow.metrics`.

        Raises:
            SweepError: The sweep cannot be read, or a newer caviar wrote its tables.
        """
        from sweeps.results.stored import Tables, fresh_table

        if "results" not in self.__dict__:
            trials, metrics = (fresh_table(self.folder, name) for name in ("trials", "metrics"))
            if trials is not None and metrics is not None:
                return Tables(trials=trials, metrics=metrics)
        return Tables(trials=self.results.table(), metrics=self.results.metrics())

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, by number; docs/tables.md says what the columns mean."""
        frame: pd.DataFrame = self.arrow.trials.to_pandas()
        return frame

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a report, by trial and step."""
        frame: pd.DataFrame = self.arrow.metrics.to_pandas()
        return frame

    @cached_property
    def best(self) -> Best | None:
        """The best trial, if any has a value and neither failed nor diverged."""
        from sweeps.storage.checkpoints import best_left

        sweep, trial = self.results, self.results.best
        if trial is None or trial.value is None:
            return None
        checkpoint = sweep.folder.resolve(best_left(sweep.folder.has_checkpoint, trial))
        values = trial.values or (trial.value,)
        return Best(
            number=trial.number,
            value=trial.value,
            values={o.metric: v for o, v in zip(sweep.objective.all, values, strict=True)},
            step=trial.best.step if trial.best is not None else None,
            params=sweep.values(trial),
            metrics=dict(trial.best.metrics if trial.best is not None else trial.metrics),
            checkpoint=None if checkpoint is None else sweep.folder.shown(checkpoint),
        )

    @cached_property
    def study(self) -> optuna.Study:
        """As an Optuna study in memory, for its plots and importances."""
        from sweeps.results.study import as_study

        return as_study(self.results)

    def reload(self) -> Self:
        """Forget what was read: what is asked for next is as it is then."""
        folder = self.folder
        self.__dict__.clear()
        self.folder = folder
        return self

    def __repr__(self) -> str:
        return f"<Sweep {'; '.join(self._words())}>"

    def _repr_html_(self) -> str:
        title = html.escape("; ".join(self._words()))
        return f"<p><b>Sweep</b> {title}</p>{self._best_rows().to_html(index=False)}"

    def _words(self) -> list[str]:
        about = self._about
        counted = Counter(self.trials["status"])
        trials = f"{len(self.trials)} trial{'' if len(self.trials) == 1 else 's'}"
        if counted:
            trials += f": {', '.join(f'{count} {s}' for s, count in counted.most_common())}"
        words = [f"{self.name}, {about['closed'] or 'not ended'}", trials]
        if (best := about["best"]) is not None:
            value = self.trials["value"].iloc[best]
            words.append(f"best {self.metric} {value:.5g} in trial {best}")
        return [*words, self.folder.place]

    def _best_rows(self) -> pd.DataFrame:
        """The best trials, best first, without what few look at."""
        frame, about = self.trials, self._about
        least = _first(about["mode"]) == "min"
        bad = frame["status"].isin(["failed", "diverged"]) | frame["value"].isna()
        loss = frame["value"] if least else -frame["value"]
        order = frame.assign(bad=bad, loss=loss, second=frame["number"] != about["best"])
        order = order.sort_values(["bad", "second", "loss"], kind="stable")
        names = [n for n in frame.columns if n.startswith(("value.", "params."))]
        shown = ["number", "value", "status", "step", "duration_s", *names]
        return frame.loc[order.index[:_SHOWN], shown]

    @property
    def _about(self) -> dict[str, Any]:
        from sweeps.results.schema import read_about

        return read_about(self.arrow.trials.schema, of=self.folder.place)


def _first(given: str | list[str]) -> str:
    """Of several objectives the first."""
    return given[0] if isinstance(given, list) else given
