"""`caviar submit`: run a sweep somewhere, and how it is watched from here."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from sweeps.commands.apps import refused
from sweeps.commands.doctor import add_cluster, all_hold
from sweeps.commands.verb import Verb, add_help, say
from sweeps.errors import ConfigError, SweepError, did_you_mean

_FLAGS = ("--cluster", "--follow", "--dry-run", "--insecure")

if TYPE_CHECKING:
    from cluster.backend import Backend
    from cluster.handle import Handle
    from cluster.ledger import Entry
    from sweeps.submission.submit import Prepared


def _submit(parser: ArgumentParser, given: list[str]) -> int:
    add_cluster(parser)
    _add_ways(parser)
    add_help(parser)
    options, rest = parser.parse_known_args(given)
    _refuse_flag(rest)

    def prepared() -> Prepared:
        from sweeps.submission.submit import prepare

        return prepare(
            rest,
            cluster=options.cluster or "local",
            insecure=options.insecure,
            preview=options.dry_run,
        )

    return _send(prepared, options)


def resubmit(parser: ArgumentParser, entry: Entry, given: list[str]) -> int:
    """Submit again what was submitted once; the rest of the command line extends it."""
    _add_ways(parser)
    parser.add_argument("--insecure", action="store_true")
    options, rest = parser.parse_known_args(given)
    _refuse_flag(rest)

    def prepared() -> Prepared:
        from sweeps.submission.submit import prepare_again

        return prepare_again(entry, rest, insecure=options.insecure, preview=options.dry_run)

    return _send(prepared, options)


def _add_ways(parser: ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="show its log until it ends")
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent")


def _refuse_flag(rest: list[str]) -> None:
    """An option that is neither ours nor Hydra's is a typo."""
    from sweeps.planning.launch import is_hydra_flag

    for word in rest:
        if word.startswith("--") and not is_hydra_flag(word):
            flag = word.partition("=")[0]
            raise ConfigError(f"there is no option {flag}{did_you_mean(flag, _FLAGS)}")


def _refuse_second(ready: Prepared) -> None:
    """A sweep has one job; the second would fail where the first still runs.

    Raises:
        SweepError: One of its jobs that are listed here lives.
    """
    from cluster.ledger import Ledger
    from sweeps.submission.found import find_living

    sweep = ready.submission
    before = Ledger().of_sweep(sweep.name, sweep.storage)
    if (living := find_living(before, insecure=ready.profile.insecure)) is not None:
        entry, state = living
        raise SweepError(
            f"{sweep.name} is {state} as {entry.handle}: `caviar logs -f {entry.id}` shows it, and "
            f"`caviar stop {entry.id}` ends it"
        )


def _send(prepared: Callable[[], Prepared], options: Namespace) -> int:
    """Check, submit, note, and stay where that is asked."""
    from cluster.doctor import examine
    from cluster.ledger import Ledger
    from cluster.profile import make_backend
    from sweeps.render import make_console

    console = make_console(stderr=True)
    try:
        with console.status("composing") if console.is_terminal else nullcontext():
            ready = prepared()
    except SystemExit as ended:
        return refused(ended)
    backend = make_backend(ready.profile)
    if options.dry_run:
        sys.stdout.write(backend.preview(ready.submission))
        return 0
    _refuse_second(ready)
    if not all_hold(examine(backend, ready.submission), console, quiet=True):
        say(f"nothing was sent to {ready.profile.name}")
        return 1
    here = ready.profile.backend == "local"
    with console.status("submitting") if console.is_terminal and not here else nullcontext():
        handle = backend.submit(ready.submission)
    entry = ready.entry(handle)
    Ledger().add(entry)
    if here:
        with _signals_stop(backend, handle):
            return _stay(backend, handle)
    sys.stdout.write(f"{handle}\n")
    sys.stdout.flush()
    if options.follow:
        return _follow(backend, handle, entry)
    say(f"`caviar logs -f {entry.id}` shows {entry.name}, `caviar stop {entry.id}` ends it")
    return 0


def _follow(backend: Backend, handle: Handle, entry: Entry) -> int:
    try:
        return _stay(backend, handle)
    except KeyboardInterrupt:
        say(f"\n{entry.name} goes on: caviar logs -f {entry.id}, or caviar stop {entry.id}")
        raise


def _stay(backend: Backend, handle: Handle) -> int:
    """Show a job's log until it is over; its exit code."""
    from cluster.backend import State

    for piece in backend.logs(handle, follow=True):
        sys.stdout.write(piece)
        sys.stdout.flush()
    status = backend.status(handle)
    if status.exit_code is not None:
        return status.exit_code
    say(status.message)
    return {State.SUCCEEDED: 0, State.STOPPED: 130}.get(status.state, 1)


@contextmanager
def _signals_stop(backend: Backend, handle: Handle) -> Iterator[None]:
    """What would end this process stops the job in front, which is then shown to its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        threading.Thread(target=backend.stop, args=[handle]).start()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SUBMIT = Verb(
    run=_submit,
    summary="run a sweep on a cluster, or in the background",
    usage="[--cluster NAME] [--follow] [--dry-run] [--insecure] [APP] [OVERRIDES ...]",
    about=(
        "Check the sweep and the cluster, send it, and print its handle: for `caviar status`,\n"
        "`logs`, `stop` and `resume`. Without --cluster it runs here, in front; with --cluster\n"
        "process here, in the background. The command runs in the project's root."
    ),
    examples=(
        "--cluster gpus app.py 'lr=tag(log, interval(1e-4, 1))'",
        "--cluster gpus --dry-run app.py lr=0.1,0.2",
        "--cluster process experiment=digits_asha",
    ),
)
