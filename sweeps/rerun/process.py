"""A trial that is trained again, from the side of who starts it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sweeps.errors import ConfigError, SweepError
from sweeps.journal.legs import Leg, legs_of, straightened
from sweeps.journal.segments import read_events
from sweeps.planning.app import App
from sweeps.planning.relocate import find_app
from sweeps.planning.resources import Resources
from sweeps.rerun.config import Recorded, hidden
from sweeps.rerun.spec import (
    Changes,
    Composed,
    Raised,
    Refused,
    Report,
    Returned,
    Spec,
    command,
    from_line,
)
from sweeps.results import SweepResults
from sweeps.worker.slate import trial_environment

_CONFIG = ("config.yaml", "hydra.yaml", "overrides.yaml")
_LOG = "rerun.log"
_SAID = 20
"""Lines of its log that an error quotes."""


@dataclass(kw_only=True)
class Rerun:
    """A trial that can be trained again, once."""

    legs: Sequence[Leg]
    spec: Spec
    out: Path
    """Where its job folders, checkpoints and logs go."""
    environment: Mapping[str, str]
    """Of its process."""
    returned: Mapping[str, float] | None = None
    """What the task function returned, if it came to that."""
    raised: str | None = None
    """The traceback, if it raised."""
    changed: list[str] = field(default_factory=list)
    """Keys of its config that the app's configs give otherwise today."""

    @classmethod
    def of(
        cls,
        sweep: SweepResults,
        trial: int,
        *,
        out: Path,
        changes: Changes | None = None,
        straight: bool = False,
        checkpoints: bool = False,
        variables: Mapping[str, str | None] | None = None,
        resources: Resources | None = None,
    ) -> Rerun:
        """Check that a trial can be trained again, and put together how.

        Args:
            sweep: Its sweep.
            trial: Its number.
            out: A folder for all that it writes; it must be empty or not be there.
            changes: In what it is to differ from the trial.
            straight: Whether to leave out the pauses, as they have nothing to do with the numbers
                of an app that keeps its generators in its checkpoints.
            checkpoints: Whether to keep its best checkpoint; `Report.checkpoint` names it.
            variables: Environment variables to set, or with None to drop.
            resources: What it gets; what the sweep asked for, where it is not said.

        Raises:
            ConfigError: There is no such trial, a secret was masked in the record and is not given
                anew, or `out` is not empty.
            SweepError: Its config or its app is not there, or it reported nothing.
        """
        changes = changes or Changes()
        folder, record = sweep.folder, sweep.record
        if (repeats := record.options.get("repeats", 1)) > 1:
            raise ConfigError(
                f"a trial of {folder.place} is {repeats} runs (hydra.sweeper.repeats), and one run "
                f"alone can be trained again: with the app itself, and what its recorded config, "
                f"{folder.shown(folder.job(trial, 1))}/repeat-0/.hydra, and its provenance.json say"
            )
        legs = legs_of(read_events(folder), folder, sweep.objective, trial)
        legs = straightened(legs) if straight else legs
        configs = [_config_of(sweep, leg) for leg in legs]
        _refuse_hidden(trial, configs, changes.overrides)
        recorded = App(**record.app)
        given = resources or _asked(sweep)
        spec = Spec(
            sweep=record.name,
            app=find_app(recorded),
            root=recorded.root,
            legs=[replace(leg, reports={}) for leg in legs],
            configs=[str(config) for config in configs],
            out=str(_empty(out)),
            seed=record.seed,
            metric=sweep.objective.metric,
            mode=sweep.objective.mode,
            at=sweep.objective.at,
            changes=changes,
            workers=given.workers,
            cpus=given.cpus,
            gpus=given.gpus,
            checkpoints=checkpoints,
        )
        return cls(legs=legs, spec=spec, out=out, environment=_environment(given, variables or {}))

    def recorded_overrides(self) -> list[str]:
        """Those that its last leg's config was composed with, secrets masked."""
        return Recorded.read(Path(self.spec.configs[-1])).overrides

    @property
    def log(self) -> Path:
        """What the process itself printed; what the trial printed lies in its job folders."""
        return self.out / _LOG

    def run(self) -> Iterator[Report]:
        """Train it; yields each report as it comes. Whoever stops listening ends it.

        Raises:
            ConfigError: A change cannot be made to its config.
            SweepError: Its process died.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with (
            self.log.open("wb") as log,
            subprocess.Popen(  # noqa: S603
                command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(self.environment),
                text=True,
            ) as process,
        ):
            try:
                _tell(process, self.spec)
                yield from self._words(process)
            finally:
                process.terminate()
        if process.returncode != 0:
            raise SweepError(self._died(process.returncode))

    def _words(self, process: subprocess.Popen[str]) -> Iterator[Report]:
        assert process.stdout is not None
        for line in process.stdout:
            match word := from_line(line):
                case Report():
                    yield word
                case Returned():
                    self.returned = word.metrics
                case Raised():
                    self.raised = word.error
                case Refused():
                    raise ConfigError(word.message)
                case Composed():
                    self.changed = sorted({*self.changed, *word.differs})
        process.wait()

    def _died(self, code: int) -> str:
        said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = "\n".join(said[-_SAID:])
        return f"the process that trained the trial ended with {code}; {self.log} ends:\n{last}"


def _tell(process: subprocess.Popen[str], spec: Spec) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died, which is told by its exit code
        process.stdin.write(spec.to_line())
        process.stdin.flush()


def _config_of(sweep: SweepResults, leg: Leg) -> Path:
    """The recorded config of a leg's job, on this machine."""
    folder = sweep.folder
    place = folder.path / leg.job / ".hydra"
    for name in _CONFIG:
        folder.pull(place / name)
    return place


def _refuse_hidden(trial: int, configs: Sequence[Path], changed: Sequence[str]) -> None:
    for config in configs:
        if keys := hidden(Recorded.read(config).overrides, changed):
            raise ConfigError(
                f"{', '.join(keys)}: the record of trial {trial} keeps no secrets, so give it "
                f"again behind the trial, such as {keys[0]}='${{oc.env:NAME}}', which names a "
                f"variable of the environment"
            )


def _empty(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already: nothing in it was overwritten; name another")
    return out.resolve()


def _asked(sweep: SweepResults) -> Resources:
    """What the sweep asked for; `auto` is a GPU where there is one."""
    asked = sweep.record.options.get("resources", "auto")
    given = {} if isinstance(asked, str) else dict(asked)
    workers = int(given.pop("workers", 1))
    return Resources(workers=workers, **(given or {"gpus": 1}))


def _environment(given: Resources, variables: Mapping[str, str | None]) -> dict[str, str]:
    """As Ray gives it to a lane: threads as many as CPUs, where the user has not said it."""
    threads = {"OMP_NUM_THREADS": str(max(1, int(given.cpus)))}
    mine = trial_environment({**threads, **os.environ}, gpus=given.gpus)
    dropped = {name for name, value in variables.items() if value is None}
    kept = {name: value for name, value in mine.items() if name not in dropped}
    return {**kept, **{name: value for name, value in variables.items() if value is not None}}
