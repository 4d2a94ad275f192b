"""Tells somebody elsewhere how a sweep fares: a command or a webhook, in a thread of its own.

What cannot be told is said in the log and once on the screen; a sweep never waits for it but for
some seconds at its end.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from sweeps.core.notification import Notification
from sweeps.errors import headline
from sweeps.journal.events import Event, Opened
from sweeps.journal.objective import Objective
from sweeps.journal.pareto import Scalarization, leader
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial, Trials
from sweeps.planning.plan import Plan
from sweeps.render import number
from sweeps.secrets import is_secret, masked_error

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0
"""How long a command or a server may take for one message."""
_AT_THE_END_S = 2 * _PATIENCE_S
_TRIES = 3
_AGAIN_S = 1.0

Message = Mapping[str, Any]
Send = Callable[[Message], None]


class Notifier:
    """A listener of the engine that passes on what a user wants to know."""

    def __init__(
        self,
        settings: Notification,
        *,
        sweep: str,
        place: str,
        objective: Objective,
        scalarization: Scalarization | None = None,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._about = {"sweep": sweep, "place": place, "metric": objective.metric}
        self._objective = objective
        self._scalarization = scalarization or Scalarization()
        self._send = send
        self._clock = clock
        self._trials = Trials(objective)
        self._told_at = clock()
        self._told: tuple[int, float | None] | None = None
        self._is_over = False

    def __call__(self, event: Event, trials: Trials) -> None:
        """Take note of an event; a new best is told when the last one is old enough."""
        self._trials = trials
        if isinstance(event, Opened):
            self._told = self._best()
        elif "best" in self._settings.events and self._is_time():
            self._tell_best()

    def ended(self, *, interrupted: bool = False) -> None:
        """The sweep is over, or was interrupted."""
        self._is_over = not interrupted
        if "end" in self._settings.events:
            how = "was interrupted" if interrupted else "is done"
            self._tell("end", f"{how}: {self._said_of_trials()}{self._leading()}")
        elif "best" in self._settings.events:
            self._tell_best()

    def failed(self, error: BaseException) -> None:
        """The sweep is over, and there is nothing that can be used."""
        if "failure" in self._settings.events:
            reason = masked_error(headline(str(error)) or type(error).__name__, os.environ)
            self._tell("failure", f"failed: {reason} ({self._said_of_trials()}{self._leading()})")

    def _is_time(self) -> bool:
        return self._clock() - self._told_at >= self._settings.best_every_s

    def _tell_best(self) -> None:
        best = self._best()
        if best is None or best == self._told:
            if self._objective.others:  # a front costs a look at every trial
                self._told_at = self._clock()
            return
        self._told, self._told_at = best, self._clock()
        self._tell("best", f"has a new best: {self._said_of_best()}")

    def _best(self) -> tuple[int, float | None] | None:
        best = self._leader
        return None if best is None else (best.number, best.value)

    @property
    def _leader(self) -> Trial | None:
        return leader(self._trials, self._objective, self._scalarization)

    def _tell(self, event: str, what: str) -> None:
        best = self._leader
        self._send(
            {
                "event": event,
                "text": f"{self._about['sweep']} {what}",
                **self._about,
                "value": None if best is None else best.value,
                "trial": None if best is None else best.number,
                "values": {} if best is None else self._values(best),
                "params": {} if best is None else _shown(self._trials, best),
                "trials": self._counts(),
            }
        )

    def _values(self, best: Trial) -> dict[str, float | None]:
        """By objective."""
        names = [objective.metric for objective in self._objective.all]
        values: Sequence[float | None] = best.values or [best.value]
        return dict(zip(names, values, strict=False))

    def _counts(self) -> dict[str, int]:
        """Trials by status; what is paused when a sweep is over has been stopped."""
        counts = {status: n for status, n in self._trials.counts.items() if n}
        if self._is_over and (paused := counts.pop(Status.PAUSED, 0)):
            counts[Status.STOPPED] = counts.get(Status.STOPPED, 0) + paused
        return {status.value: counts[status] for status in Status if status in counts}

    def _said_of_trials(self) -> str:
        counted = ", ".join(f"{n} {status}" for status, n in self._counts().items())
        several = "1 trial" if len(self._trials) == 1 else f"{len(self._trials)} trials"
        return several + (f", {counted}" if counted else "")

    def _leading(self) -> str:
        return "" if self._leader is None else f", best {self._said_of_best()}"

    def _said_of_best(self) -> str:
        best = self._leader
        assert best is not None
        values = ", ".join(f"{name} {number(value)}" for name, value in self._values(best).items())
        return f"{values} in trial {best.number}"


def _shown(trials: Trials, best: Trial) -> dict[str, Any]:
    values = trials.values(best, best.best_params)
    return {key: value for key, value in values.items() if not is_secret(key, value)}


@contextmanager
def notifying(plan: Plan, console: Console) -> Iterator[Notifier | None]:
    """What tells of a sweep as it runs and, from how the block is left, of its end."""
    settings = plan.settings.notification
    if settings is None:
        yield None
        return
    with _post(settings, console) as send:
        notifier = Notifier(
            settings,
            sweep=plan.folder.name,
            place=plan.folder.place,
            objective=plan.settings.objective,
            scalarization=plan.settings.scalarization,
            send=send,
        )
        try:
            yield notifier
        except KeyboardInterrupt:
            notifier.ended(interrupted=True)
            raise
        except BaseException as error:
            notifier.failed(error)
            raise
        else:
            notifier.ended()


@contextmanager
def _post(settings: Notification, console: Console) -> Iterator[Send]:
    """A queue that a thread empties, one message after another."""
    waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    ways = [_command(settings.command)] if settings.command is not None else []
    if settings.webhook is not None:
        ways.append(_webhook(settings.webhook))
    is_told = threading.Event()

    def deliver() -> None:
        while (message := waiting.get()) is not None:
            for way in ways:
                if (problem := _tried(way, message)) is None:
                    continue
                log.warning("nobody was notified: %s", problem)
                if not is_told.is_set():
                    is_told.set()
                    console.print(Text(f"nobody was notified: {problem}", "yellow"))

    thread = threading.Thread(target=deliver, name="notify", daemon=True)
    thread.start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)
        thread.join(_AT_THE_END_S)


def _tried(way: Callable[[Message], str | None], message: Message) -> str | None:
    """Why a message could not be told, after some tries; None where it was."""
    problem = way(message)
    for attempt in range(1, _TRIES if message["event"] != "best" else 1):
        if problem is None:
            break
        time.sleep(_AGAIN_S * attempt)
        problem = way(message)
    return problem


def _command(command: str) -> Callable[[Message], str | None]:
    def run(message: Message) -> str | None:
        told = {f"CAVIAR_{key.upper()}": _text(message[key]) for key in _TOLD}
        with TemporaryFile() as given, TemporaryFile() as errors:
            given.write(_json(message))
            given.seek(0)
            process = subprocess.Popen(  # noqa: S603 - the user's own line, from his own config
                ["/bin/sh", "-c", command],
                env={**os.environ, **told},
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=errors,  # no pipe: what the command leaves running may keep it open
                start_new_session=True,
            )
            try:
                code = process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return f"the command took longer than {_PATIENCE_S:g} s"
            errors.seek(0)
            said = masked_error(errors.read().decode(errors="replace").strip(), os.environ)
        if code == 0:
            return None
        return f"the command ended with {code}: {headline(said) or 'no word of why'}"

    return run


_TOLD = ("event", "text", "sweep", "place", "metric", "value", "trial")


def _text(value: Any) -> str:
    return "" if value is None else str(value)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its message."""

    def redirect_request(self, *_: Any) -> None:
        """No other place."""


def _webhook(address: str) -> Callable[[Message], str | None]:
    host = urlsplit(address).hostname
    opener = urllib.request.build_opener(_NoRedirects)

    def post(message: Message) -> str | None:
        body = _json({**message, "content": message["text"]})  # Slack reads text, Discord content
        request = urllib.request.Request(  # noqa: S310 - http or https: checked
            address,
            data=body,
            headers={"Content-Type": "application/json", "User-Agent": "caviar"},
        )
        try:
            with opener.open(request, timeout=_PATIENCE_S):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return f"{host} answered {error.code} {error.reason}"
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            return f"{host} cannot be reached: {str(reason).replace(address, host or '')}"

    return post


def _json(message: Message) -> bytes:
    return json.dumps(message, default=str).encode()
