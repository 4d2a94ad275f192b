"""Train a trial again as it was, and say what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import headline
from sweeps.planning.resources import Resources
from sweeps.provenance import trial as provenance
from sweeps.provenance.code import code_state, differs
from sweeps.provenance.difference import Difference, differences
from sweeps.provenance.machine import VARIABLES
from sweeps.provenance.trial import Provenance
from sweeps.reproduce.compare import END, Comparison, Steps, compare
from sweeps.rerun import Changes, Report, Rerun
from sweeps.results import SweepResults
from sweeps.secrets import MASK, masked
from sweeps.storage.durable import write_whole
from sweeps.storage.folder import SweepFolder

_NOT_SET = {"LD_PRELOAD"}
"""What a sweep's folder says of it is compared, but never followed."""
_RESULT = "reproduce.json"
_DIFF = "code.diff"

OnReport = Callable[[Report, Mapping[str, float] | None], None]
"""(a report, what was reported then)"""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of training a trial again."""

    sweep: str
    trial: int
    out: Path
    numbers: Comparison
    differences: Sequence[Difference]
    """Recorded things that are not what they were."""
    config: Sequence[str]
    """Keys that the app's configs give otherwise today; it was trained with the recorded values."""
    error: tuple[str, str] | None
    """Where a task raised: what it said then and now."""
    commit: str | None
    """To check out, where the code is another."""
    diff: Path | None
    """What was not committed then, where the code is another."""

    @property
    def is_equal(self) -> bool:
        """Whether every number is the same, or the same error came."""
        if self.error is not None and self.error[0] != self.error[1]:
            return False
        return self.numbers.is_equal or (self.error is not None and not self.numbers.misses)

    def write(self) -> Path:
        """Write it beside what was trained."""
        file = self.out / _RESULT
        result = {"equal": self.is_equal, **asdict(self), "out": str(self.out)}
        result["diff"] = None if self.diff is None else str(self.diff)
        write_whole(file, json.dumps(result, indent=2) + "\n")
        return file


def reproduce(
    sweep: SweepResults,
    trial: int,
    *,
    out: Path,
    overrides: Sequence[str] = (),
    on_report: OnReport = lambda report, then: None,
) -> Reproduction:
    """Train a trial again in a fresh process, alone, in the stretches that it was trained in.

    Nothing is written into the sweep's folder.

    Args:
        sweep: Its sweep.
        trial: Its number.
        out: A folder for what is trained and for the result; empty, or not there.
        overrides: Hydra overrides in the place of recorded ones: a secret that was masked, a path
            that is another here. What they change is told as a difference.
        on_report: Called with each report as it comes.

    Raises:
        ConfigError: There is no such trial, `out` is not empty, an override does not fit, or a
            secret is not given anew.
        SweepError: The trial's config or its app is not there, or the process died.
    """
    whole = provenance.of(sweep, trial)
    rerun = Rerun.of(
        sweep,
        trial,
        out=out,
        changes=Changes(overrides=list(overrides)),
        variables=_variables(whole),
        resources=_resources(whole),
    )
    jobs = [sweep.folder.path / leg.job for leg in rerun.legs]
    then = provenance.of(sweep, trial, list(dict.fromkeys(jobs)))
    code = code_state(rerun.spec.app.folder)
    reports: list[tuple[int | None, Mapping[str, float]]] = []
    for report in rerun.run():
        reports.append((report.step, report.metrics))
        on_report(report, rerun.legs[report.leg].reports.get(report.step))
    stood = provenance.stood_on(
        SweepFolder(out.resolve()), [out.resolve() / leg.job for leg in rerun.legs]
    )
    now = Provenance(
        trial=trial, sweep_seed=whole.sweep_seed, config={}, code=code, driver={}, stood=stood
    )
    other_code = differs(then.code, code)
    result = Reproduction(
        sweep=sweep.record.name,
        trial=trial,
        out=out,
        numbers=_compare(sweep, trial, rerun, reports),
        differences=[*_changed(rerun, overrides), *differences(then, now)],
        config=rerun.changed,
        error=_errors(sweep, trial, rerun),
        commit=str(then.code["commit"]) if other_code and then.code else None,
        diff=_write_diff(sweep.folder, then, out) if other_code else None,
    )
    result.write()
    return result


def _compare(sweep: SweepResults, number: int, rerun: Rerun, now: Steps) -> Comparison:
    """Compare all reports, and what was returned, by trials that ended by returning."""
    then: list[tuple[int | None, Mapping[str, float]]] = [
        item for leg in rerun.legs for item in leg.reports.items()
    ]
    if rerun.legs[-1].end is None and rerun.legs[-1].rung is None:
        then.append((END, sweep.trials[number].metrics))
        now = [*now, (END, rerun.returned or {})]
    return compare(then, now)


def _errors(sweep: SweepResults, number: int, rerun: Rerun) -> tuple[str, str] | None:
    was = sweep.trials[number].error if rerun.legs[-1].end is None else None
    if was is None and rerun.raised is None:
        return None
    return headline(was) or "none", headline(rerun.raised) or "none"


def _variables(then: Provenance) -> dict[str, str | None]:
    """What changes numbers, as it was set then; nothing where it was not recorded."""
    if then.last is None:
        return {}
    known: Mapping[str, str] = then.last.machine["variables"]
    return {
        name: known.get(name)
        for name in VARIABLES
        if name not in _NOT_SET and MASK not in known.get(name, "")
    }


def _resources(then: Provenance) -> Resources | None:
    return None if then.last is None else Resources(**dict[str, Any](then.last.resources))


def _changed(rerun: Rerun, overrides: Sequence[str]) -> Iterator[Difference]:
    """What the overrides change; a secret that was masked, and is given anew, is none."""
    recorded = dict(override.partition("=")[::2] for override in rerun.recorded_overrides())
    then = {key.lstrip("+"): value for key, value in recorded.items()}
    for override in overrides:
        key, _, value = masked(override).partition("=")
        was = then.get(key.lstrip("+"), "as the app has it")
        if MASK not in was and was != value:
            yield Difference(kind="config", what=key, then=was, now=value)


def _write_diff(folder: SweepFolder, then: Provenance, out: Path) -> Path | None:
    """What was not committed then, for `git apply`."""
    text = provenance.read_diff(folder, then.code) if then.code else ""
    if not text:
        return None
    file = out / _DIFF
    write_whole(file, text)
    return file
