"""Fixtures that several test files use."""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from hydra import compose, initialize

from hydra_plugins.ray_tune_sweeper._schema import checked
from sweeps.cli import main
from sweeps.core.settings import Settings
from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Opened,
    Reported,
    Started,
)
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Mode, Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trials
from sweeps.results import SweepResults, load_sweep
from sweeps.space.space import Space, parse_space
from sweeps.storage.folder import Record, SweepFolder
from sweeps.tracking.follower import Follower
from sweeps.tracking.ledger import Ledger
from sweeps.tracking.runs import Runs
from sweeps.tracking.task import sweep_of
from sweeps.tracking.tracker import Tracker

APPS = Path(__file__).parent / "apps"


SLOW_TO_IMPORT = ("test_hugging_face.py",)
"""All slow, and seconds of every worker's before the first test where they are not wanted."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files of slow tests alone where no slow test is to be run."""
    is_left = "not slow" in config.option.markexpr and collection_path.name in SLOW_TO_IMPORT
    return True if is_left else None


def pytest_configure() -> None:
    """A shell that runs tests in the background ignores SIGINT, and so would what they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(kw_only=True)
class MadeSweep:
    """A sweep's folder, written event by event; each event is a second after the last."""

    folder: SweepFolder
    space: Space
    now: float = 1_700_000_000.0
    run: int = 1
    events: list[Event] = field(default_factory=list)

    def add(self, kind: Callable[..., Event], **fields: Any) -> Event:
        self.now += 1
        event = kind(**fields, time=self.now)
        Journal(self.folder.journal).append(event)
        self.events.append(event)
        return event

    def opened_again(self) -> None:
        """The next driver takes it up."""
        self.run += 1
        self.add(Opened, run=self.run)

    def ask(self, trial: int, **values: Any) -> None:
        params = self.space.optuna_params(values)
        self.add(
            Asked,
            trial=trial,
            run=self.run,
            params=params,
            distributions=self.space.distributions(),
        )

    def report(
        self,
        trial: int,
        step: int,
        value: float | None,
        decision: Decision = Decision.CONTINUE,
        *,
        checkpoint: str | None = None,
        metric: str = "val_accuracy",
        **metrics: float,
    ) -> None:
        given = metrics if value is None else {metric: value, **metrics}
        self.add(
            Reported,
            trial=trial,
            run=self.run,
            step=step,
            metrics=given,
            value=value,
            checkpoint=checkpoint,
            decision=decision,
        )

    def promote(self, trial: int) -> None:
        self.add(Started, trial=trial, run=self.run, reason="promote", checkpoint=None)

    def end(
        self,
        trial: int,
        status: Status,
        value: float | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
    ) -> None:
        self.add(
            Ended,
            trial=trial,
            status=status,
            value=value,
            metrics=metrics or {},
            error=error,
            cause=None,
        )

    def close(self, reason: str = "done") -> None:
        self.add(Closed, reason=reason)


def _make_sweep(
    place: Path,
    space: Mapping[str, str] | None = None,
    *,
    name: str = "sweep",
    app: Mapping[str, Any] | None = None,
    metric: str = "val_accuracy",
    mode: str = "max",
    scheduler: Mapping[str, Any] | None = None,
) -> MadeSweep:
    parsed, _ = parse_space(space or {"lr": "tag(log, interval(0.001, 1))"}, [])
    folder = SweepFolder(place / name)
    folder.begin()
    record = Record(
        name=name,
        app={
            "file": str(place / "app.py"),
            "module": None,
            "function": "main",
            "argv": ["-m", "hydra/sweeper=ray_tune"],
            "cwd": str(place),
            "sys_path": [str(place)],
            "interpreter": "python",
            **(app or {}),
        },
        overrides=[],
        space=parsed.to_json(),
        metric=metric,
        mode=mode,
        searcher={"name": "random"},
        scheduler=dict(scheduler or {"name": "none"}),
        num_samples=20,
        seed=7,
        options={},
        environment={"python": "3.11", "versions": {}, "git": None},
    )
    record.write(folder)
    made = MadeSweep(folder=folder, space=parsed)
    made.add(Created, name=name, modes=(mode,), space=parsed.to_json())
    made.add(Opened, run=1)
    return made


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., MadeSweep]:
    """A sweep's folder with its record and an opened journal, to add trials to."""
    return partial(_make_sweep, tmp_path)


@pytest.fixture(scope="session")
def make_sweep_in() -> Callable[..., MadeSweep]:
    """The same in a given folder, for sweeps that many tests share."""
    return _make_sweep


@pytest.fixture
def show(tmp_path: Path) -> Callable[..., Any]:
    """Brings a tracker to where a made sweep stands; what it has been sent lies in a ledger."""

    def show(made: MadeSweep, tracker: Tracker, *, ledger: str = "ledger.jsonl") -> Runs:
        record = Record.read(made.folder)
        objective = Objective(metric=str(record.metric), mode=cast(Mode, record.mode))
        trials = Trials(objective)
        sweep = SweepResults(
            folder=made.folder, record=record, trials=trials, elapsed=0.0, events=0
        )
        runs = Runs(sweep)
        for event in made.events:
            runs.apply(event)
        errors: list[Exception] = []
        rounds = iter([False, True])  # one round while it lives, then the end
        with closing(Ledger(tmp_path / ledger)) as kept:
            follower = Follower(
                tracker,
                runs,
                kept,
                sweep=lambda: sweep_of(record, runs),
                on_failure=errors.append,
            )
            follower.follow(lambda _: next(rounds))
        if errors:
            raise errors[0]
        return runs

    return show


# Sweeps that really run


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep's command line, carried out."""

    code: int
    out: str
    err: str
    folder: SweepFolder

    @property
    def events(self) -> list[Event]:
        return list(read_journal(self.folder.journal))

    @property
    def trials(self) -> Trials:
        return load_sweep(self.folder).trials

    @property
    def statuses(self) -> list[str]:
        return [trial.status.value for trial in self.trials]

    def job(self, trial: int, run: int = 1) -> Path:
        return self.folder.job(trial, run)

    def read(self, trial: int, name: str, run: int = 1) -> str:
        return (self.job(trial, run) / name).read_text()


class Driver:
    """A sweep's driver in a process of its own."""

    def __init__(
        self,
        *,
        command: list[str],
        output: Path,
        folder: SweepFolder,
        env: Mapping[str, str] | None = None,
    ) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._output = output
        self._processes: list[psutil.Process] = []
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def listens_on(self) -> set[str]:
        """The addresses at which it and all that it began can be reached."""
        process = psutil.Process(self.process.pid)
        connections = [
            connection
            for each in [process, *process.children(recursive=True)]
            for connection in each.net_connections("tcp")
        ]
        return {c.laddr.ip.removeprefix("::ffff:") for c in connections if c.status == "LISTEN"}

    def wait_for_reports(self, count: int) -> None:
        """Wait until its journal holds so many more reports."""
        enough = self._reports() + count
        self.wait_until(lambda: self._reports() >= enough)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, which it must become while the driver lives."""
        deadline = time.monotonic() + 180
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def end(self, number: int, *, group: bool = False) -> int:
        """Send a signal to it, or to its whole group; its exit code."""
        if self.process.poll() is None:
            self._processes += psutil.Process(self.process.pid).children(recursive=True)
            (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(timeout=60)

    def left(self) -> list[psutil.Process]:
        """What it began and still runs some seconds later."""
        _, alive = psutil.wait_procs(self._processes, timeout=5)
        return alive

    def clean_up(self) -> None:
        """End it and all it began; a Ray whose driver was killed has agents that wait a minute."""
        self.end(signal.SIGKILL)
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _reports(self) -> int:
        if not self.folder.journal.exists():
            return 0
        return sum(isinstance(e, Reported) for e in read_journal(self.folder.journal))


@dataclass(frozen=True, kw_only=True)
class SweepRunner:
    """Runs command lines of sweeps in this process; their folders lie under `storage`."""

    storage: Path
    read_output: Callable[[], Any]
    _drivers: list[Driver] = field(default_factory=list)

    def __call__(self, app: str, *arguments: str, name: str = "s") -> Swept:
        """Run `caviar sweep APP ...`; a name that ends in .py is of tests/apps, else a module."""
        program = [str(APPS / app)] if app.endswith(".py") else ["-m", app]
        return self.caviar("sweep", *program, *self._place(name), *arguments, name=name)

    def caviar(self, *arguments: str, name: str = "s") -> Swept:
        """Run a command line of caviar's, about the sweep of that name."""
        self.read_output()
        with _own_hydra():
            try:
                code = main(arguments)
            except SystemExit as ended:
                code = int(ended.code or 0)
        output = self.read_output()
        folder = SweepFolder(self.storage / name)
        return Swept(code=code, out=output.out, err=output.err, folder=folder)

    def drive(self, app: str, *arguments: str, name: str = "s") -> Driver:
        """The same in a process of its own that can be killed, with a Ray of its own."""
        place = ["-m", "hydra/sweeper=ray_tune", *self._place(name)]
        driver = Driver(
            command=[sys.executable, str(APPS / app), *place, *arguments],
            output=self.storage / f"{name}.{len(self._drivers)}.txt",
            folder=SweepFolder(self.storage / name),
        )
        self._drivers.append(driver)
        return driver

    def clean_up(self) -> None:
        """End what is left of all drivers."""
        for driver in self._drivers:
            driver.clean_up()

    def _place(self, name: str) -> tuple[str, str]:
        return f"hydra.sweeper.name={name}", f"hydra.sweeper.storage_path={self.storage}"


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra's singletons, resolvers and logging, and what a script imports, put back at the end."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from omegaconf.basecontainer import BaseContainer

    Plugins.instance()  # registers the plugins' configs, once in a process
    store, root = ConfigStore.instance(), logging.getLogger()
    repo, resolvers = copy.deepcopy(store.repo), dict(BaseContainer._resolvers)
    handlers, level, modules = root.handlers[:], root.level, set(sys.modules)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        store.repo, BaseContainer._resolvers = repo, resolvers
        root.handlers[:], _ = handlers, root.setLevel(level)
        for name in set(sys.modules) - modules:
            if not _is_installed(sys.modules[name]):
                del sys.modules[name]


def _is_installed(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return not file or not any(folder in file for folder in ("/tests/apps/", "/pytest-of-"))


def _object_store_module() -> Any:
    spec = importlib.util.spec_from_file_location(
        "object_store", Path(__file__).with_name("object_store.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["object_store"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def object_store_port() -> int:
    """Where the tests' object store is, or will be: known before Ray starts its workers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    os.environ.update(_object_store_module().environment(port))
    return port


@pytest.fixture(scope="session")
def object_store(object_store_port: int) -> Iterator[Any]:
    """The one S3 server of all tests."""
    with sys.modules["object_store"].object_store(object_store_port) as store:
        yield store


@pytest.fixture
def bucket(object_store: Any) -> Iterator[str]:
    """The URL of an empty bucket."""
    yield object_store.make_bucket(f"bucket-{uuid.uuid4().hex[:8]}")
    object_store.mend()


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """Clients made in this test see its environment."""
    import cluster.bucket

    cluster.bucket._open.cache_clear()
    yield
    cluster.bucket._open.cache_clear()


@pytest.fixture(scope="session")
def ray_session(object_store_port: int) -> Iterator[None]:
    """The one Ray of all tests, of two slots; sweeps in this process use it."""
    import ray

    import cluster.local

    for name, value in cluster.local._ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folder = tempfile.mkdtemp(prefix="cv", dir="/tmp")  # sockets lie in it: a short path
    others = set(psutil.Process().children(recursive=True))
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    started = set(psutil.Process().children(recursive=True)) - others
    yield
    ray.shutdown()
    _, alive = psutil.wait_procs(started, timeout=30)
    shutil.rmtree(folder, ignore_errors=True)
    assert not alive, "Ray left processes behind"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder for caviar's files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    return tmp_path / "home"


@pytest.fixture
def start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[SweepRunner]:
    """Runs sweeps that end before they need Ray."""
    runner = SweepRunner(storage=tmp_path / "sweeps", read_output=capfd.readouterr)
    yield runner
    runner.clean_up()


@pytest.fixture
def sweep(start: SweepRunner, ray_session: None) -> SweepRunner:
    """Runs sweeps on the tests' Ray."""
    return start


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Parses `hydra.sweeper` as a command line's overrides make it."""

    def parse(*overrides: str) -> Settings:
        with initialize(version_base=None):
            config = compose(
                overrides=["hydra/sweeper=ray_tune", *overrides], return_hydra_config=True
            )
        return Settings.parse(checked(config.hydra.sweeper))

    return parse


@pytest.fixture
def make_export(tmp_path: Path) -> Callable[..., Path]:
    """Writes an export as `caviar export` does, of one linear layer and, for classes, a softmax."""
    return _exports().writer(tmp_path / "export")


def _exports() -> Any:
    spec = importlib.util.spec_from_file_location("exports", Path(__file__).with_name("exports.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
