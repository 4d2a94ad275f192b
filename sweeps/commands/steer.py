"""`caviar enqueue`, `caviar extend` and `caviar stop --trial`: what is asked of a running sweep."""

from __future__ import annotations

import itertools
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.commands.verb import Verb, add_help, add_sweep, say
from sweeps.errors import ConfigError, SweepError

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.journal.events import Requested
    from sweeps.journal.trials import Trial, Trials
    from sweeps.storage.folder import SweepFolder

_POLL_S = 0.2
_PATIENCE_S = 15.0
"""A driver looks every second, and in a bucket every five."""
_PREFIX = "hydra.sweeper."


def _enqueue(parser: ArgumentParser, given: list[str]) -> int:
    add_sweep(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="a value, such as lr=0.1")
    add_help(parser)
    options = parser.parse_args(given)
    return ask(options.sweep, [{"enqueue": point} for point in _points(options.overrides)])


def _extend(parser: ArgumentParser, given: list[str]) -> int:
    add_sweep(parser)
    parser.add_argument("bounds", nargs="+", metavar="KEY=VALUE", help="such as num_samples=64")
    add_help(parser)
    options = parser.parse_args(given)
    bounds = {key.removeprefix(_PREFIX): value for key, value in _values(options.bounds)}
    return ask(options.sweep, [{"extend": bounds}])


def stop_trials(sweep: str, numbers: Sequence[int]) -> int:
    """Stop some trials of a sweep; the exit code."""
    return ask(sweep, [{"stop": number} for number in dict.fromkeys(numbers)])


def _values(overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name, values in _choices(overrides).items():
        if len(values) > 1:
            raise ConfigError(f"{name} is given {len(values)} values; say one")
        yield name, values[0]


def _points(overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The configurations that overrides name: of `lr=0.1,0.2 model=mlp` two."""
    choices = _choices(overrides)
    return [
        dict(zip(choices, point, strict=True)) for point in itertools.product(*choices.values())
    ]


def _choices(overrides: Sequence[str]) -> dict[str, Sequence[Any]]:
    """By name: the values that each override gives, as Hydra reads it.

    Raises:
        ConfigError: Hydra cannot read one, it deletes, it names no values, or a name comes twice.
    """
    from sweeps.space.domains import Choice
    from sweeps.space.grammar import parse_domain, parse_override, plain, split_key

    choices: dict[str, Sequence[Any]] = {}
    for line in overrides:
        if "=" not in line or line.startswith("~"):
            raise ConfigError(f"{line!r} is not a value such as lr=0.1")
        override = parse_override(line)
        name = split_key(override.get_key_element())[1]
        if name in choices:
            raise ConfigError(f"{name} is given twice; say it once")
        if not override.is_sweep_override():
            choices[name] = (plain(override.value()),)
            continue
        domain = parse_domain(override)
        if domain.size is None or not isinstance(domain, Choice):
            raise ConfigError(f"{line}: give values, such as {name}=0.1 or {name}=0.1,0.2")
        choices[name] = domain.values
    return choices


def ask(name: str, asked: Sequence[Mapping[str, Any]]) -> int:
    """Ask a sweep for something, wait for the answers, and tell them; the exit code.

    Raises:
        ConfigError: There is no such sweep, or it cannot be asked that; nothing was written.
        SweepError: The sweep cannot be read, or is over.
    """
    from sweeps.render import make_console
    from sweeps.storage.lease import seems_driven
    from sweeps.storage.requests import Requests
    from sweeps.submission.found import find_any_sweep

    folder = find_any_sweep(name)
    standing = _Standing(folder)
    is_driven = seems_driven(folder.lease)
    standing.check(asked, is_driven=is_driven)
    requests = Requests(folder)
    put = [requests.put(one) for one in asked]
    if not is_driven:
        many = f"{len(put)} requests are" if len(put) > 1 else "the request is"
        say(
            f"no driver runs {folder.name} now: {many} kept in {folder.shown(folder.requests)}, "
            f"and taken up first when it goes on: caviar resume {name}"
        )
        return 0
    return _await(standing, put, name, make_console(stderr=True))


def _await(standing: _Standing, put: Sequence[str], name: str, console: Console) -> int:
    """Tell each answer as it comes; what became of a trial that is to stop, if that comes too."""
    from sweeps.render import working

    waiting, code, deadline = list(put), 0, time.monotonic() + _PATIENCE_S
    told: list[str] = []
    with working(console) as doing:
        if console.is_terminal:
            doing(f"waiting for the driver of {standing.folder.name}")
        while (waiting or standing.stopping(told)) and time.monotonic() < deadline:
            standing.read()
            for request in [one for one in waiting if standing.answer(one) is not None]:
                waiting.remove(request)
                told.append(request)
                code = max(code, _tell(standing, request))
            if standing.trials.closed is not None:
                break
            time.sleep(_POLL_S)
    for request in told:
        if ending := standing.ending(request):
            say(ending)
    if waiting:
        say(_unanswered(standing, len(waiting), name))
    return code


def _tell(standing: _Standing, request: str) -> int:
    from sweeps.reports.answers import answer

    event = standing.answer(request)
    assert event is not None
    say(answer(event))
    return 0 if event.refusal is None else 1


def _unanswered(standing: _Standing, count: int, name: str) -> str:
    many = f"{count} requests are" if count > 1 else "the request is"
    if standing.trials.closed is not None:
        return (
            f"{standing.folder.name} ended before it was taken up: {many} kept, and taken up first "
            f"when it goes on: caviar resume {name}"
        )
    return (
        f"the driver of {standing.folder.name} has not answered within {_PATIENCE_S:g} s: {many} "
        f"kept, and taken up when it looks (caviar results {name})"
    )


class _Standing:
    """How a sweep stands, read again as it goes on."""

    def __init__(self, folder: SweepFolder) -> None:
        from sweeps.journal.following import Follower, never_began
        from sweeps.results.fold import Fold
        from sweeps.storage.folder import Record

        self.folder = folder
        self._record = Record.read(folder)
        self._fold = Fold(self._record)
        self._follower = Follower(folder)
        try:
            self.read()
        except FileNotFoundError:
            raise never_began(folder) from None

    def read(self) -> None:
        """Take in what happened since."""
        from sweeps.results.fold import Fold

        gained = self._follower.read()
        if gained.afresh:
            self._fold = Fold(self._record)
        for event in gained.events:
            self._fold.apply(event)

    @property
    def trials(self) -> Trials:
        """As they stand."""
        return self._fold.trials

    def check(self, asked: Sequence[Mapping[str, Any]], *, is_driven: bool) -> None:
        """See that the sweep can be asked that, before anything is written.

        Raises:
            ConfigError: It cannot.
            SweepError: It is over.
        """
        from sweeps.core.budget import Budget
        from sweeps.core.steering import Steering, no_points

        closed = self.trials.closed
        if closed is not None and closed.reason == "done" and not is_driven:
            raise SweepError(
                f"{self.folder.name} is over, and nothing of it runs or waits: give it more with "
                f"caviar resume {self.folder.place} hydra.sweeper.num_samples="
                f"{2 * max(1, len(self.trials))}, and ask then"
            )
        self.folder.pull(self.folder.roster)
        steering = Steering(
            budget=Budget(**self._record.options.get("budget") or {}),
            seed=self._record.seed,
            no_points=no_points(self._record.searcher["name"], self.folder),
        )
        for one in asked:
            steering.check(one, self.trials)

    def answer(self, request: str) -> Requested | None:
        """The driver's, if it came."""
        return self.trials.steered.answers.get(request)

    def stopping(self, requests: Sequence[str]) -> bool:
        """Whether some of those trials are still to stop."""
        stopped = (self._stopped(request) for request in requests)
        return any(trial is not None and not trial.status.is_final for trial in stopped)

    def ending(self, request: str) -> str | None:
        """What became of the trial that was to stop."""
        from sweeps.render import number

        trial = self._stopped(request)
        if trial is None:
            return None
        if not trial.status.is_final:
            return (
                f"trial {trial.number} still trains: it ends at its next report, or is ended "
                f"hydra.sweeper.teardown_timeout_s after it was asked"
            )
        value = (
            "" if trial.value is None else f", {self.trials.objective.metric} {number(trial.value)}"
        )
        return f"trial {trial.number} {trial.status} at step {trial.step}{value}"

    def _stopped(self, request: str) -> Trial | None:
        event = self.answer(request)
        if event is None or event.refusal is not None or "stop" not in event.asked:
            return None
        return self.trials[event.asked["stop"]]


ENQUEUE = Verb(
    run=_enqueue,
    summary="let a running sweep try a configuration next",
    usage="SWEEP [OVERRIDE ...]",
    about=(
        "Let the next trial be this configuration. What it leaves open the searcher proposes.\n"
        "Of lr=0.1,0.2 each value is a configuration, of several such overrides each combination.\n"
        "It takes the place of a proposal of the searcher's, and is one trial more where all that\n"
        "were asked for have begun. It is checked before anything is written. Where no driver\n"
        "runs the sweep, `caviar resume` takes it up."
    ),
    examples=("mnist lr=0.1 model=mlp", "outputs/sweeps/mnist 'optimizer.lr=0.01,0.03'"),
)
EXTEND = Verb(
    run=_extend,
    summary="give a running sweep more trials, time or steps, or less",
    usage="SWEEP KEY=VALUE ...",
    about=(
        "Change a running sweep's bounds, by the overrides that `caviar resume` takes; their\n"
        "hydra.sweeper. may be left out: num_samples, time_budget_s (from the driver's start),\n"
        "total_steps, cost.budget, stop.target, stop.patience; null takes one away. They hold\n"
        "after a resume too, until its command says another value. Nothing else can change while\n"
        "a sweep runs: end it, and caviar resume it."
    ),
    examples=("mnist num_samples=64", "3fa94c1b time_budget_s=7200 total_steps=null"),
)
