"""The model card of an export: what it is, how well it does, where it comes from, how to use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sweeps import render
from sweeps.export.card_model import data_section, retest_section, task_section
from sweeps.export.card_provenance import provenance_section
from sweeps.export.card_use import formats_section, use_section
from sweeps.export.interval import Interval
from sweeps.export.markdown import table
from sweeps.export.trained import TrainedTrial
from sweeps.export.writing import Facts, finite
from sweeps.journal.trials import Trial, Trials
from sweeps.results import SweepResults
from sweeps.retest.looks import said_looks
from sweeps.storage.folder import Record


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that the card of one export says."""

    trained: TrainedTrial
    folder: Path
    """Where the export will lie."""
    facts: Facts
    config: DictConfig
    """As it is exported."""

    @property
    def sweep(self) -> SweepResults:
        """The sweep that it comes from."""
        return self.trained.sweep

    @property
    def trial(self) -> Trial:
        """The trial that trained it."""
        return self.trained.trial

    def text(self) -> str:
        """README.md."""
        sections = [
            f"# {self.sweep.record.name}, {self._what}",
            self._lead(),
            *self._task(),
            *data_section(self.config, self.facts),
            f"## Metrics\n\n{self._metrics()}",
            *self._calibration(),
            *retest_section(self.sweep.folder),
            f"## Use\n\n{self._use()}",
            *formats_section(self.facts.deployed),
            f"## Configuration\n\n{self._configuration()}",
            f"## Search\n\n{self._search()}",
            provenance_section(self.trained, what=self._what, sources=self.facts.sources),
        ]
        return "\n\n".join(sections) + "\n"

    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        objective = self.sweep.objective
        return {
            "sweep": self.sweep.record.name,
            "trial": self.trial.number,
            "verified": self.facts.unverified is None,
            "objective": {
                "metric": objective.metric,
                "mode": objective.mode,
                "recorded": self.trial.value,
            },
            **self._repeat(),
            "step": self._step,
            **self._measured(),
        }

    def _repeat(self) -> dict[str, Any]:
        repeat = self.trained.repeat
        if repeat is None:
            return {}
        return {"repeat": {"number": repeat.number, "of": repeat.count, "recorded": repeat.value}}

    def _measured(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "validation": finite(facts.validation),
            "test": finite(facts.test),
            "intervals": {
                split: {name: asdict(interval) for name, interval in of.items()}
                for split, of in facts.intervals.items()
            },
            "calibration": facts.calibration and facts.calibration.metrics(),
            "formats": {graph.format: asdict(graph) for graph in facts.deployed.graphs},
        }

    @property
    def _what(self) -> str:
        return f"trial {self.trial.number}"

    @property
    def _step(self) -> int | None:
        if self.facts.epoch is not None:
            return self.facts.epoch
        return self.trial.best.step if self.trial.best else None

    def _lead(self) -> str:
        metric, value = self.sweep.objective.metric, self.trial.value
        said = f"The model of trial {self.trial.number}, with {metric} {render.number(value)}"
        said += f" at step {self._step}." if self._step is not None else "."
        if (repeat := self.trained.repeat) is not None:
            said += (
                f" That is the mean of {repeat.count} repeats; this is repeat {repeat.number}, the "
                f"best of them, with {render.number(repeat.value)}."
            )
        if self.facts.unverified is None:
            return f"{said} Verified: loaded from this folder alone, it gives that {metric} again."
        return f"{said}\n\n**Not verified:** {self.facts.unverified}. This is what the trial left."

    def _task(self) -> Iterable[str]:
        if self.facts.deployed.signature is not None:
            yield task_section(self.facts.deployed.signature)

    def _metrics(self) -> str:
        if self.facts.validation is None:
            best = self.trial.best.metrics if self.trial.best else self.trial.metrics
            rows = [(name, render.number(value)) for name, value in best.items()]
            return table(("metric", "reported"), rows)
        return f"{self._metrics_table()}\n\n{self._about_metrics()}"

    def _metrics_table(self) -> str:
        validation, test = self.facts.validation or {}, self.facts.test or {}
        rows = [
            (
                name,
                render.number(validation.get(name)),
                self._interval("validation", name),
                render.number(test.get(name)),
                self._interval("test", name),
            )
            for name in dict.fromkeys([*validation, *test])
        ]
        return table(("metric", "validation", "95%", "test", "95%"), rows)

    def _interval(self, split: str, name: str) -> str:
        interval = self.facts.intervals.get(split, {}).get(name)
        if interval is None:
            return ""
        return f"{render.number(interval.low)} to {render.number(interval.high)}"

    def _about_metrics(self) -> str:
        chosen = self.trained.chosen or (
            f"This model was chosen on the validation rows among {len(self.sweep.trials)} trials, "
            f"so that what is measured on them flatters it."
        )
        return " ".join(
            [*_about_intervals(self.facts.intervals), chosen, said_looks(self.sweep.folder)]
        )

    def _calibration(self) -> Iterable[str]:
        calibration = self.facts.calibration
        if calibration is None:
            return
        temperature = render.number(calibration.temperature)
        rows = [(name, *map(render.number, ece)) for name, ece in calibration.ece.items()]
        errors = table(("expected calibration error", "before", "after"), rows)
        yield (
            f"## Calibration\n\nThe temperature is {temperature}, fitted to the validation rows "
            f"(Guo et al. 2017, arXiv:1706.04599): the logits are divided by it for every "
            f"probability that this export gives. No class changes, and the metrics above are "
            f"without it.\n\n{errors}"
        )
        if calibration.is_at_bound:
            yield (
                f"**The fit ran to the end of its range, {temperature}:** no temperature makes "
                f"these probabilities right, and they tell next to nothing about a row."
            )
        for split, bins in list(calibration.reliability.items())[-1:]:
            yield f"Its confidence against what came true, on {split} rows:\n\n{_bins(bins)}"

    def _use(self) -> str:
        if self.facts.unverified is None:
            return use_section(self.folder.name, self.facts.deployed)
        if self.trained.checkpoint is None:
            return "`config.yaml` is the trial's configuration; it reported no checkpoint."
        return (
            "`checkpoint/` is the folder that the app passed to `sweeps.report` last, or at its "
            "best; `config.yaml` is the configuration that it ran with."
        )

    def _configuration(self) -> str:
        rows = [(f"`{group}`", f"`{name}`") for group, name in self.trained.choices().items()]
        groups = table(("group", "choice"), rows) + "\n\n" if rows else ""
        return f"{groups}In full in `config.yaml`."

    def _search(self) -> str:
        record, trials = self.sweep.record, self.sweep.trials
        values = self.sweep.values(self.trial)
        rows = [
            (f"`{p.name}`", f"`{p.describe()}`", f"`{values[p.name]}`" if p.name in values else "")
            for p in self.sweep.space.parameters
        ]
        budget = budget_said(record, trials)
        parameters = table(("parameter", "searched", "this trial"), rows)
        return "\n\n".join(part for part in (parameters, self._schedule(), budget) if part)

    def _schedule(self) -> str:
        """Where parameters changed while this model was trained: which, and after which step."""
        schedule = self.sweep.schedule(self.trial)
        changed = [n for n in schedule[-1][1] if len({repr(v.get(n)) for _, v in schedule}) > 1]
        if not changed:
            return ""
        rows = [(str(step), *(f"`{v.get(n)}`" for n in changed)) for step, v in schedule]
        return table(("after step", *(f"`{n}`" for n in changed)), rows)


def budget_said(record: Record, trials: Trials) -> str:
    """What the search took."""
    return (
        f"{len(trials)} trials, {trials.steps} steps; searcher {_named(record.searcher)}, "
        f"scheduler {_named(record.scheduler)}."
    )


def _named(choice: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in choice.items() if key != "name")
    return f"{choice.get('name')} ({options})" if options else str(choice.get("name"))


def _about_intervals(intervals: Mapping[str, Mapping[str, Interval]]) -> Iterable[str]:
    of = [interval for split in intervals.values() for interval in split.values()]
    if of:
        methods = " and ".join(dict.fromkeys(interval.method for interval in of))
        yield f"The intervals ({methods}) are what other rows of the same kind would give."


def _bins(bins: Sequence[tuple[int, float, float]]) -> str:
    rows = [(str(n), f"{confidence:.3f}", f"{accuracy:.3f}") for n, confidence, accuracy in bins]
    return table(("rows", "mean confidence", "accuracy"), rows)
