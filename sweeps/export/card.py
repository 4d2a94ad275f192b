"""The model card of an export: what it is, how well it does, where it comes from, how to use it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps import render
from sweeps.export.calibration import Calibration
from sweeps.export.trained import TrainedTrial
from sweeps.journal.trials import Trial, Trials
from sweeps.results import SweepResults
from sweeps.secrets import masked
from sweeps.storage.folder import Record

_USE = """\
In Python, from the folder that holds `{folder}/`:

```python
from hydra.utils import instantiate
from omegaconf import OmegaConf

parts = instantiate(OmegaConf.load("{folder}/config.yaml"), _convert_="all")
best = parts["trainer"].load("{folder}", parts)
print(best.net)
```

`parts["trainer"].predict(best.net, rows)` then gives what the network says of raw rows, and
`parts["trainer"].evaluate(best.net, "test")` its metrics. Nothing here is unpickled: the weights
are safetensors, the rest is text."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that the card of one export says."""

    trained: TrainedTrial
    folder: Path
    """Where the export will lie."""
    epoch: int | None = None
    validation: Mapping[str, float] | None = None
    test: Mapping[str, float] | None = None
    calibration: Calibration | None = None
    unverified: str | None = None
    """Why the export was not verified."""

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
            f"## Metrics\n\n{self._metrics_table()}",
            *self._calibration(),
            f"## Use\n\n{self._use()}",
            f"## Configuration\n\n{self._configuration()}",
            f"## Search\n\n{self._search()}",
            f"## Provenance\n\n{_table(('', ''), self._provenance())}",
        ]
        return "\n\n".join(sections) + "\n"

    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        return {
            "sweep": self.sweep.record.name,
            "trial": self.trial.number,
            "verified": self.unverified is None,
            "objective": {
                "metric": self.sweep.objective.metric,
                "mode": self.sweep.objective.mode,
                "recorded": self.trial.value,
            },
            "step": self._step,
            "validation": _finite(self.validation),
            "test": _finite(self.test),
            "calibration": self.calibration and self.calibration.metrics(),
        }

    @property
    def _what(self) -> str:
        return f"trial {self.trial.number}"

    @property
    def _step(self) -> int | None:
        if self.epoch is not None:
            return self.epoch
        return self.trial.best.step if self.trial.best else None

    def _lead(self) -> str:
        metric, value = self.sweep.objective.metric, self.trial.value
        said = f"The model of trial {self.trial.number}, with {metric} {render.number(value)}"
        said += f" at step {self._step}." if self._step is not None else "."
        if self.unverified is None:
            return f"{said} Verified: loaded from this folder alone, it gives that {metric} again."
        return f"{said}\n\n**Not verified:** {self.unverified}. This is what the trial left."

    def _metrics_table(self) -> str:
        if self.validation is None:
            best = self.trial.best.metrics if self.trial.best else self.trial.metrics
            rows = [(name, render.number(value)) for name, value in best.items()]
            return _table(("metric", "reported"), rows)
        test = self.test or {}
        names = dict.fromkeys([*self.validation, *test])
        rows_of_both = [
            (n, render.number(self.validation.get(n)), render.number(test.get(n))) for n in names
        ]
        return _table(("metric", "validation", "test"), rows_of_both)

    def _calibration(self) -> Iterable[str]:
        if self.calibration is None:
            return
        temperature = render.number(self.calibration.temperature)
        rows = [(name, *map(render.number, ece)) for name, ece in self.calibration.ece.items()]
        table = _table(("expected calibration error", "before", "after"), rows)
        yield (
            f"## Calibration\n\nThe temperature is {temperature}, fitted to the validation rows "
            f"(Guo et al. 2017, arXiv:1706.04599): `predict` divides the logits by it. No class "
            f"changes, and the metrics above are without it.\n\n{table}"
        )

    def _use(self) -> str:
        if self.unverified is None:
            return _USE.format(folder=self.folder.name)
        if self.trained.checkpoint is None:
            return "`config.yaml` is the trial's configuration; it reported no checkpoint."
        return (
            "`checkpoint/` is the folder that the app passed to `sweeps.report` last, or at its "
            "best; `config.yaml` is the configuration that it ran with."
        )

    def _configuration(self) -> str:
        rows = [(f"`{group}`", f"`{name}`") for group, name in self.trained.choices().items()]
        groups = _table(("group", "choice"), rows) + "\n\n" if rows else ""
        return f"{groups}In full in `config.yaml`."

    def _search(self) -> str:
        record, trials = self.sweep.record, self.sweep.trials
        values = self.sweep.values(self.trial)
        rows = [
            (f"`{p.name}`", f"`{p.describe()}`", f"`{values[p.name]}`" if p.name in values else "")
            for p in self.sweep.space.parameters
        ]
        budget = _budget(record, trials)
        table = _table(("parameter", "searched", "this trial"), rows)
        return "\n\n".join(part for part in (table, self._schedule(), budget) if part)

    def _schedule(self) -> str:
        """Where parameters changed while this model was trained: which, and after which step."""
        schedule = self.sweep.schedule(self.trial)
        changed = [n for n in schedule[-1][1] if len({repr(v.get(n)) for _, v in schedule}) > 1]
        if not changed:
            return ""
        rows = [(str(step), *(f"`{v.get(n)}`" for n in changed)) for step, v in schedule]
        return _table(("after step", *(f"`{n}`" for n in changed)), rows)

    def _provenance(self) -> Iterable[Sequence[str]]:
        record, environment = self.sweep.record, self.sweep.record.environment
        git = environment.get("git") or {}
        dirty = " with uncommitted changes" if git.get("diff") else ""
        app = record.app.get("file") or record.app.get("module")
        yield "sweep", f"`{record.name}`"
        yield "model", self._what
        yield "seed of the search", str(record.seed)
        yield "app", f"`{Path(str(app)).name}`"
        yield "command line", f"`{' '.join(map(masked, record.app.get('argv', [])))}`"
        if git:
            yield "git commit", f"`{git['commit']}`{dirty}"
        yield "python", str(environment.get("python"))
        for package, version in (environment.get("versions") or {}).items():
            if version is not None:
                yield package, str(version)


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
            "validation": _finite(self.validation),
            "test": _finite(self.test),
            "calibration": self.calibration and self.calibration.metrics(),
            "single": {
                "trial": self.single.trial,
                "validation": _finite(self.single.validation),
                "test": _finite(self.single.test),
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
        alone, test = f"trial {self.single.trial} alone", self.test or {}
        validation, single_test = self.validation or {}, self.single.test or {}
        columns = (validation, self.single.validation, test, single_test)
        rows = [
            (name, *(render.number(column.get(name)) for column in columns))
            for name in dict.fromkeys(name for column in columns for name in column)
        ]
        header = ("metric", "validation", f"validation, {alone}", "test", f"test, {alone}")
        return _table(header, rows)

    def _search(self) -> str:
        record, trials, metric = self.sweep.record, self.sweep.trials, self.sweep.objective.metric
        names = [*self.sweep.parameters]
        rows = []
        for trial in self.members:
            values = self.sweep.values(trial)
            cells = [f"`{values[name]}`" if name in values else "" for name in names]
            rows.append((str(trial.number), render.number(trial.value), *cells))
        table = _table(("trial", metric, *(f"`{name}`" for name in names)), rows)
        return f"{table}\n\n{_budget(record, trials)}"


def _budget(record: Record, trials: Trials) -> str:
    return (
        f"{len(trials)} trials, {trials.steps} steps; searcher {_named(record.searcher)}, "
        f"scheduler {_named(record.scheduler)}."
    )


def _finite(metrics: Mapping[str, float] | None) -> dict[str, float | None] | None:
    """Metrics as JSON has them: what is not finite is null."""
    if metrics is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _named(choice: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in choice.items() if key != "name")
    return f"{choice.get('name')} ({options})" if options else str(choice.get("name"))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    escaped = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
