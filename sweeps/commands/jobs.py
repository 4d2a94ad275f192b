"""`caviar list`, `status`, `logs` and `stop`: what was submitted, watched and ended."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.doctor import add_cluster
from sweeps.commands.steer import stop_trials
from sweeps.commands.verb import Verb, add_help, numbers, say
from sweeps.errors import ConfigError, SweepError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from cluster.backend import Status
    from cluster.ledger import Entry
    from sweeps.results import SweepResults
    from sweeps.submission.found import Job

_LISTED = 20
_AT_ONCE = 8
_POLL_S = 0.5
_STYLES = {
    "pending": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "stopped": "dim",
    "unknown": "magenta",
}


def _list(parser: ArgumentParser, given: list[str]) -> int:
    parser.add_argument("--all", action="store_true", help=f"not only the latest {_LISTED}")
    add_help(parser)
    options = parser.parse_args(given)

    from cluster.ledger import Ledger
    from sweeps.render import make_console

    entries, damaged = Ledger().read()
    for path in damaged:
        say(f"{path} cannot be read and is passed over")
    shown = entries if options.all else entries[-_LISTED:]
    console = make_console()
    if not shown:
        console.print("nothing was submitted from this machine yet")
        return 0
    _print_entries(shown, console)
    if len(shown) < len(entries):
        console.print(f"{len(entries) - len(shown)} earlier ones: caviar list --all", style="dim")
    return 0


def _print_entries(entries: list[Entry], console: Console) -> None:
    """Newest last, with their states asked for at once."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from sweeps.render import duration

    with (
        console.status("asking the clusters") if console.is_terminal else nullcontext(),
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        states = list(pool.map(_state, entries))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim")
    for column in ("id", "sweep", "cluster", "state", "submitted", "handle"):
        table.add_column(column, no_wrap=column != "sweep", overflow="fold")
    for entry, state in zip(entries, states, strict=True):
        ago = f"{duration(max(0.0, time.time() - entry.time))} ago"
        told = Text(state, _STYLES[state])
        table.add_row(
            entry.id, Text(entry.name), Text(entry.cluster), told, ago, Text(entry.handle)
        )
    console.print(table)


def _state(entry: Entry) -> str:
    from cluster.errors import ClusterError
    from sweeps.submission.found import job_of

    try:
        job = job_of(entry)
        return job.backend.status(job.handle).state.value
    except (ClusterError, ConfigError):  # `caviar status` says why
        return "unknown"


def _status(parser: ArgumentParser, given: list[str]) -> int:
    _add_handle(parser)
    options = parser.parse_args(given)

    from cluster.backend import State
    from cluster.errors import ClusterError
    from sweeps.render import make_console
    from sweeps.submission.found import find_job

    console = make_console()
    job = find_job(options.handle, cluster=options.cluster, insecure=options.insecure)
    status, trouble = None, None
    try:
        with console.status("asking the cluster") if console.is_terminal else nullcontext():
            status = job.backend.status(job.handle)
        _print_job(job, status, console)
    except ClusterError as error:
        trouble = error
    if job.entry is not None:
        _print_sweep(job.entry, console, is_over=status is not None and status.state.is_over)
    if trouble is not None:
        raise trouble
    return 1 if status is not None and status.state is State.UNKNOWN else 0


def _print_job(job: Job, status: Status, console: Console) -> None:
    from rich.text import Text

    _print_fact("handle", Text(str(job.handle)), console)
    on = f"  on {', '.join(status.nodes)}" if status.nodes else ""
    said = f"  {status.message}" if status.message else ""
    state = status.state.value
    _print_fact("job", Text.assemble((state, _STYLES[state]), (on + said, "dim")), console)


def _print_sweep(entry: Entry, console: Console, *, is_over: bool) -> None:
    """How far the sweep of a job is, where its storage can be read from here."""
    from rich.text import Text

    from cluster.errors import ClusterError
    from sweeps.driver import summary
    from sweeps.results import load_sweep
    from sweeps.submission.found import sweep_of

    _print_fact("sweep", Text(f"{entry.storage}/{entry.name}"), console)
    try:
        sweep: SweepResults = load_sweep(sweep_of(entry))
    except (ClusterError, ConfigError, SweepError) as error:
        _print_fact("progress", Text(str(error), "dim"), console)
        return
    for line in summary.progress(sweep):
        console.print(line)
    if is_over and sweep.trials.closed is None and _is_latest(entry):
        dead = "its job ended without closing it: what shows as running is not"
        _print_fact("driver", Text(f"{dead}; caviar resume {entry.id} goes on", "yellow"), console)


def _is_latest(entry: Entry) -> bool:
    """Whether no later job was sent to go on with its sweep."""
    from cluster.ledger import Ledger

    entries, _ = Ledger().read()
    return [e.id for e in entries if (e.name, e.storage) == (entry.name, entry.storage)][-1:] == [
        entry.id
    ]


def _print_fact(name: str, value: Text, console: Console) -> None:
    from sweeps.render import fact

    console.print(fact(name, value))


def _logs(parser: ArgumentParser, given: list[str]) -> int:
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    parser.add_argument("--trial", type=int, metavar="N", help="what a trial printed")
    _add_handle(parser)
    options = parser.parse_args(given)
    if options.trial is not None:
        pieces = _of_trial(options.handle, options.trial, follow=options.follow)
    else:
        from sweeps.submission.found import find_job

        job = find_job(options.handle, cluster=options.cluster, insecure=options.insecure)
        pieces = iter(job.backend.logs(job.handle, follow=options.follow))
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    return 0


def _of_trial(name: str, number: int, *, follow: bool) -> Iterator[str]:
    """What a trial printed, in each of its runs; of a sweep that can be read from here."""
    from sweeps.journal.status import Status
    from sweeps.results import load_sweep
    from sweeps.submission.found import find_any_sweep

    folder = find_any_sweep(name)
    read: dict[Path, int] = {}
    while True:
        sweep = load_sweep(folder)
        if number not in range(len(sweep.trials)):
            _refuse_trial(sweep, number, follow=follow)
            time.sleep(_POLL_S)
            continue
        over = not follow or sweep.status(sweep.trials[number]) is not Status.RUNNING
        for path in folder.outputs(number):
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(read.get(path, 0))
                yield file.read()
                read[path] = file.tell()
        if over:
            return
        time.sleep(_POLL_S)


def _refuse_trial(sweep: SweepResults, number: int, *, follow: bool) -> None:
    """Refuse a trial that is not there, unless it may yet begin and is waited for."""
    there, planned = len(sweep.trials), sweep.num_samples
    lives = sweep.trials.closed is None
    if follow and lives and number in range(planned):
        return
    last = (planned if follow and lives else there) - 1
    has = f"trials 0 to {last}" if last >= 0 else "no trial yet"
    wait = f"; -f waits for {number}" if lives and number in range(there, planned) else ""
    raise ConfigError(f"--trial is {number}; {sweep.folder.name} has {has}{wait}")


def _stop(parser: ArgumentParser, given: list[str]) -> int:
    parser.add_argument(
        "--trial",
        type=numbers,
        action="extend",
        metavar="N",
        help="stop this trial alone, or several: 3,5; the sweep goes on",
    )
    _add_handle(parser)
    options = parser.parse_args(given)
    if options.trial is not None:
        return stop_trials(options.handle, options.trial)

    from sweeps.render import make_console
    from sweeps.submission.found import find_job

    job = find_job(options.handle, cluster=options.cluster, insecure=options.insecure)
    console = make_console(stderr=True)
    with console.status("waiting for its state") if console.is_terminal else nullcontext():
        stopped = job.backend.stop(job.handle)
    say(stopped.message)
    if stopped.done and job.entry is not None:
        say(_what_is_left(job.entry))
    return 0 if stopped.done else 1


def _what_is_left(entry: Entry) -> str:
    """Of a sweep whose job is over: a cluster does not know how the sweep itself ended."""
    from cluster.errors import ClusterError
    from sweeps.journal.segments import has_journal
    from sweeps.results import load_sweep
    from sweeps.submission.found import sweep_of

    go_on = f"go on with it: caviar resume {entry.id}"
    try:
        folder = sweep_of(entry)
        if not has_journal(folder):
            return f"its sweep had not begun; {go_on}"
        sweep = load_sweep(folder)
    except (ClusterError, ConfigError, SweepError) as error:
        return f"{error}; {go_on}"
    if sweep.is_over:
        return f"its sweep is done: caviar results {entry.id}"
    return go_on if sweep.trials.closed is None else f"its state is saved; {go_on}"


def _add_handle(parser: ArgumentParser) -> None:
    parser.add_argument(
        "handle", metavar="HANDLE", help="a handle, its id, its sweep's name, or the start of one"
    )
    add_cluster(parser)
    add_help(parser)


LIST = Verb(
    run=_list,
    summary="list what was submitted from this machine",
    usage="[--all]",
    about="List the latest submissions from this machine, and how they stand.",
    examples=("",),
)
STATUS = Verb(
    run=_status,
    summary="show how a submission stands",
    usage="HANDLE [--cluster NAME] [--insecure]",
    about=(
        "Show a job's state and, where its storage can be read from here, how far the sweep is.\n"
        "HANDLE is what `caviar submit` printed, its id in `caviar list`, the sweep's name, or\n"
        "the start of one. --cluster is for a handle that was submitted from elsewhere."
    ),
    examples=("3fa94c1b", "slurm://gpu/1234 --cluster gpus"),
)
LOGS = Verb(
    run=_logs,
    summary="show what a submission printed",
    usage="HANDLE [-f] [--trial N]",
    about=(
        "Show what a sweep's driver printed, or one of its trials; -f goes on until it ends.\n"
        "A trial's is read from the storage; HANDLE may be a sweep's folder for it."
    ),
    examples=("3fa94c1b -f", "3fa94c1b --trial 7"),
)
STOP = Verb(
    run=_stop,
    summary="stop a submission, its state saved, or trials of a running sweep",
    usage="HANDLE | SWEEP --trial N[,N...]",
    about=(
        "End a job as Ctrl-C would: its state is saved, and `caviar resume` goes on with it.\n"
        "It says so where a job did not end in time, or cannot be stopped.\n"
        "With --trial the sweep goes on, without these trials: one that waits ends at once, one\n"
        "that trains at its next report. SWEEP is a folder, a name or a handle."
    ),
    examples=("3fa94c1b", "outputs/sweeps/mnist --trial 3,5"),
)
