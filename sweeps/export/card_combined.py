"""The model card of several trials' models as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps import render
from sweeps.export.card import Card, budget_said
from sweeps.export.markdown import table
from sweeps.export.writing import finite
from sweeps.journal.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Single:
    """How good the best trial is alone."""

    trial: int
    validation: Mapping[str, float]
    test: Mapping[str, float] | None


@dataclass(frozen=True, kw_only=True)
class CombinedCard(Card):
    """The card of several trials' models as one; `trained` is the best in it."""

    kind: str
    """`ensemble` or `soup`."""
    members: Sequence[Trial]
    """What is in it, best first."""
    left_out: Mapping[int, str]
    """By trial: why it is not in it."""
    single: Single

    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        return {
            "sweep": self.sweep.record.name,
            "kind": self.kind,
            "trials": [trial.number for trial in self.members],
            "verified": True,
            "objective": {
                "metric": self.sweep.objective.metric,
                "mode": self.sweep.objective.mode,
            },
            **self._measured(),
            "single": {
                "trial": self.single.trial,
                "validation": finite(self.single.validation),
                "test": finite(self.single.test),
            },
        }

    @property
    def _what(self) -> str:
        return f"{self.kind} of trials {', '.join(str(trial.number) for trial in self.members)}"

    def _lead(self) -> str:
        how = {
            "ensemble": "It averages the class probabilities of their models.",
            "soup": "It is one network with the average of their weights "
            "(Wortsman et al. 2022, arXiv:2203.05482), batch norms re-estimated on training rows.",
        }[self.kind]
        left_out = "".join(
            f"\n\nTrial {trial} is left out: {why}." for trial, why in self.left_out.items()
        )
        return (
            f"The {self._what}, the best of the sweep. {how} Verified: each of them gives what its "
            f"trial recorded, and loaded from this folder alone the {self.kind} gives the metrics "
            f"below.{left_out}"
        )

    def _metrics_table(self) -> str:
        alone, test = f"trial {self.single.trial} alone", self.facts.test or {}
        validation, single_test = self.facts.validation or {}, self.single.test or {}
        columns = (validation, self.single.validation, test, single_test)
        rows = [
            (
                name,
                render.number(validation.get(name)),
                self._interval("validation", name),
                render.number(self.single.validation.get(name)),
                render.number(test.get(name)),
                self._interval("test", name),
                render.number(single_test.get(name)),
            )
            for name in dict.fromkeys(name for column in columns for name in column)
        ]
        of_split = (
            ("validation", "95%", f"validation, {alone}"),
            ("test", "95%", f"test, {alone}"),
        )
        header = ("metric", *of_split[0], *of_split[1])
        return table(header, rows)

    def _search(self) -> str:
        record, trials, metric = self.sweep.record, self.sweep.trials, self.sweep.objective.metric
        names = [*self.sweep.parameters]
        rows = []
        for trial in self.members:
            values = self.sweep.values(trial)
            cells = [f"`{values[name]}`" if name in values else "" for name in names]
            rows.append((str(trial.number), render.number(trial.value), *cells))
        members = table(("trial", metric, *(f"`{name}`" for name in names)), rows)
        return f"{members}\n\n{budget_said(record, trials)}"
