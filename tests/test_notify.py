"""Somebody elsewhere is told how a sweep fares."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweeps.core.notification import Notification, parse_notification
from sweeps.driver import notify
from sweeps.driver.notify import Notifier, notifying
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Asked, Created, Ended, Opened, Reported
from sweeps.journal.objective import Objective
from sweeps.journal.pareto import Scalarization
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trials
from sweeps.space.space import parse_space

OBJECTIVE = Objective(metric="acc", mode="max")
SPACE, _ = parse_space({"lr": "interval(0, 1)", "hub.token": "a,b"}, [])


class Told:
    """A notifier, and what it was told to pass on."""

    def __init__(self, objective: Objective = OBJECTIVE, **options: Any) -> None:
        self.now = 0.0
        self.messages: list[Any] = []
        self.trials = Trials(objective)
        self.notifier = Notifier(
            Notification(command="true", **options),
            sweep="digits",
            place="outputs/sweeps/digits",
            objective=objective,
            send=self.messages.append,
            clock=lambda: self.now,
        )
        modes = tuple(each.mode for each in objective.all)
        self.add(Created, name="digits", modes=modes, space=SPACE.to_json())

    def add(self, kind: Any, **fields: Any) -> None:
        event = kind(**fields, time=self.now)
        self.trials.apply(event)
        self.notifier(event, self.trials)

    def ask(self, trial: int) -> None:
        params = {"lr": 0.5, "hub.token": "a"}
        self.add(Asked, trial=trial, run=1, params=params, distributions={})

    def end(self, trial: int, *values: float) -> None:
        self.add(
            Ended,
            trial=trial,
            status=Status.COMPLETE,
            value=values[0],
            others=values[1:],
            metrics={},
            error=None,
            cause=None,
        )

    def report(
        self, trial: int, value: float, *, step: int = 1, decision: Decision = Decision.CONTINUE
    ) -> None:
        self.add(
            Reported,
            trial=trial,
            run=1,
            step=step,
            metrics={"acc": value},
            value=value,
            checkpoint=None,
            decision=decision,
        )


def test_a_new_best_is_told_with_its_configuration_but_for_secrets() -> None:
    told = Told(best_every_s=0)
    told.ask(0)
    told.report(0, 0.5)

    (message,) = told.messages
    assert message["event"] == "best"
    assert message["text"] == "digits has a new best: acc 0.5 in trial 0"
    assert (message["value"], message["trial"], message["params"]) == (0.5, 0, {"lr": 0.5})
    assert message["trials"] == {"running": 1}


def test_of_many_new_bests_only_the_newest_is_told_now_and_then() -> None:
    told = Told(best_every_s=60)
    told.ask(0)
    for step in range(1, 201):
        told.now = float(step)
        told.report(0, step / 1000, step=step)

    assert [message["value"] for message in told.messages] == [0.06, 0.12, 0.18]


def test_a_best_that_was_known_before_a_resume_is_not_told_again() -> None:
    told = Told(best_every_s=10)
    told.ask(0)
    told.report(0, 0.5)
    told.now = 100.0
    told.add(Opened, run=2)
    told.report(0, 0.4, step=2)
    assert told.messages == []
    told.report(0, 0.6, step=3)
    assert [message["value"] for message in told.messages] == [0.6]


def test_the_end_is_told_with_what_came_of_it() -> None:
    told = Told(events=["end"])
    told.ask(0)
    told.report(0, 0.5)
    told.notifier.ended()

    (message,) = told.messages
    assert message["text"] == "digits is done: 1 trial, 1 running, best acc 0.5 in trial 0"


def test_what_is_paused_when_a_sweep_is_over_has_been_stopped() -> None:
    told = Told(events=["end"])
    told.ask(0)
    told.report(0, 0.5, decision=Decision.PAUSE)
    told.notifier.ended(interrupted=True)
    told.notifier.ended()

    assert [message["trials"] for message in told.messages] == [{"paused": 1}, {"stopped": 1}]


def test_a_best_that_still_waits_is_told_at_the_end_where_that_is_not() -> None:
    told = Told(events=["best"], best_every_s=60)
    told.ask(0)
    told.report(0, 0.5)
    assert told.messages == []
    told.notifier.ended()
    assert [message["value"] for message in told.messages] == [0.5]


def test_of_several_objectives_the_trial_taken_from_the_front_is_told() -> None:
    objective = Objective(metric="acc", mode="max", others=(Objective(metric="size", mode="min"),))
    told = Told(objective, events=["end"])
    for trial, values in enumerate([(0.9, 9.0), (0.8, 2.0), (0.1, 1.0)]):
        told.ask(trial)
        told.end(trial, *values)
    told.notifier.ended()

    (message,) = told.messages
    assert (message["trial"], message["values"]) == (1, {"acc": 0.8, "size": 2.0})
    assert message["text"].endswith("best acc 0.8, size 2 in trial 1")


def test_a_front_is_not_looked_at_with_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(notify, "leader", lambda *_: looks.append(1))
    objective = Objective(metric="acc", mode="max", others=(Objective(metric="size", mode="min"),))
    told = Told(objective, best_every_s=60)
    for trial in range(50):
        told.now = 100.0 + trial
        told.ask(trial)
    assert len(looks) == 1


def test_a_failure_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_API_KEY", "open-sesame")
    told = Told()
    told.notifier.failed(SweepError("no way in with open-sesame"))

    assert told.messages[0]["text"] == "digits failed: no way in with *** (0 trials)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://x", "is a str; it must be a mapping"),
        ({}, "names nobody to tell"),
        ({"command": "true", "on": 1}, "hydra.sweeper.notify.on is not an option"),
        (
            {"command": "true", "events": ["ends"]},
            "holds 'ends'; choose of best, end, fail",
        ),
        ({"command": "true", "best_every_s": -1}, "best_every_s is -1"),
        ({"webhook": "hooks.slack.com/T0/S3CRET"}, "must be an address that begins with https"),
        ({"command": " "}, "names nobody to tell"),
        ({"webhook": "http://host/a b"}, "must be an address that begins with https"),
        ({"webhook": "http://host:99999/"}, "must be an address that begins with https"),
        ({"webhook": "file:///etc/passwd"}, "must be an address that begins with https"),
    ],
)
def test_wrong_options_are_answered_in_one_message(given: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_notification(given)
    assert said in str(error.value)
    assert "S3CRET" not in str(error.value)


def test_an_address_shows_in_no_repr() -> None:
    assert "S3CRET" not in repr(parse_notification({"webhook": "https://host/S3CRET"}))


# Delivery


class Server(HTTPServer):
    """Keeps what is posted, and answers with the statuses it was given, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/S3CRET"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_AGAIN_S", 0.01)


def run(options: dict[str, Any], error: BaseException | None = None) -> str:
    """What the screen shows of a sweep that ends, or fails."""
    plan: Any = SimpleNamespace(
        settings=SimpleNamespace(
            notification=parse_notification(options),
            objective=OBJECTIVE,
            scalarization=Scalarization(),
        ),
        folder=SimpleNamespace(name="digits", place="outputs/sweeps/digits"),
    )
    screen = io.StringIO()
    with (
        pytest.raises(type(error)) if error is not None else nullcontext(),
        notifying(plan, Console(file=screen, width=200)),
    ):
        if error is not None:
            raise error
    return screen.getvalue()


def test_a_webhook_gets_the_message(server: Server) -> None:
    assert run({"webhook": server.url}) == ""
    (body,) = server.bodies
    assert body["event"] == "end"
    assert body["text"] == body["content"] == "digits is done: 0 trials"


def test_an_interrupted_sweep_says_so(server: Server) -> None:
    run({"webhook": server.url}, KeyboardInterrupt())
    assert server.bodies[0]["text"] == "digits was interrupted: 0 trials"


def test_a_server_that_stumbles_is_asked_again(server: Server, quick: None) -> None:
    server.statuses = [503, 503]
    assert run({"webhook": server.url}, SweepError("nothing usable")) == ""
    assert len(server.bodies) == 3


def test_a_server_that_sends_elsewhere_is_told_of(server: Server, quick: None) -> None:
    server.statuses = [302] * 3
    screen = run({"webhook": server.url})
    assert screen == "nobody was notified: 127.0.0.1 answered 302 Found\n"


def test_what_cannot_be_told_is_said_once_and_ends_nothing(
    server: Server, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    server.statuses = [404] * 3
    with caplog.at_level(logging.WARNING):
        screen = run({"webhook": server.url})
    assert screen == "nobody was notified: 127.0.0.1 answered 404 Not Found\n"
    assert "S3CRET" not in screen + caplog.text


def test_a_command_gets_the_message_in_its_environment_and_on_its_standard_input(
    tmp_path: Path,
) -> None:
    file = tmp_path / "told"
    assert run({"command": f'echo "$CAVIAR_EVENT: $CAVIAR_TEXT" > {file}; cat >> {file}'}) == ""
    first, second = file.read_text().splitlines()
    assert first == "end: digits is done: 0 trials"
    assert json.loads(second)["metric"] == "acc"


def test_what_a_command_leaves_running_holds_nothing_up(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    try:
        assert run({"command": f"sleep 60 & echo $! > {pid}"}) == ""
        assert time.monotonic() - began < 5
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_command_that_fails_or_hangs_is_told(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the command ended with 3: no such luck" in run(
        {"command": "echo no such luck >&2; exit 3"}
    )
    monkeypatch.setattr(notify, "_PATIENCE_S", 0.05)
    assert "the command took longer than 0.05 s" in run({"command": "sleep 60"})
