"""What a sweep over a cluster costs, and how many trials one driver can carry.

    python benchmarks/scale.py [--part trials|reports|controller] [--trials 2000]

trials: no-op trials over a head and two nodes of one CPU each, beside as many on one machine.
reports: 64 trials at once, a report a second each, for a minute: what the driver takes for it.
controller: the driver as it is, Ray Tune's loop, journal and all, and lanes that are faked: all of
them live in one process and only report once a second. So thousands can be had on a small machine,
and what stands is the driver's own limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))

from nodes import RayCluster, ray_cluster
from noop_trials import APP as NOOP

from sweeps.journal.events import Reported
from sweeps.journal.file import read_journal

REPORTING = """
    import time

    import hydra
    import sweeps

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        began = time.monotonic()
        for step in range(1, cfg.steps + 1):
            time.sleep(max(0.0, began + step - time.monotonic()))
            sweeps.report({"objective": cfg.x}, step=step)

    main()
"""


@dataclass
class Watched:
    """What a process took, sample by sample."""

    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Seconds of processor time until then."""
    memory: int = 0
    """The most, in bytes."""

    def cpu_between(self, began: float, ended: float) -> float:
        """Seconds of processor time between two times."""
        first, last = np.interp([began, ended], self.times, self.cpu)
        return float(last - first)


def watch(process: psutil.Process, over: threading.Event, found: Watched) -> None:
    """Note a process's time and memory until it is over."""
    while not over.wait(0.1):
        try:
            cpu, memory = sum(process.cpu_times()[:2]), process.memory_info().rss
        except psutil.NoSuchProcess:
            return
        found.times.append(time.time())
        found.cpu.append(cpu)
        found.memory = max(found.memory, memory)


@contextmanager
def watched(process: psutil.Process) -> Iterator[Watched]:
    """Watch a process within the context."""
    found, over = Watched(), threading.Event()
    thread = threading.Thread(target=watch, args=(process, over, found))
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@dataclass(kw_only=True)
class Sweep:
    """A sweep of an app of ours, in a process of its own."""

    folder: Path
    app: str
    options: dict[str, Any] = field(default_factory=dict)
    name: str = "scale"

    def run(self, environment: dict[str, str] | None = None) -> Watched:
        """Run it; what its driver took."""
        script = self.folder / "app.py"
        script.write_text(textwrap.dedent(self.app))
        options = {
            "hydra/sweeper": "ray_tune",
            "hydra/sweeper/searcher": "random",
            "+x": "interval(0,1)",
            "hydra.sweeper.storage_path": self.folder,
            "hydra.sweeper.name": self.name,
            "hydra.sweeper.export": "false",
            **self.options,
        }
        command = [sys.executable, str(script), "-m", *(f"{k}={v}" for k, v in options.items())]
        with (self.folder / f"{self.name}.txt").open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            with watched(psutil.Process(process.pid)) as found:
                code = process.wait()
        if code:
            raise SystemExit((self.folder / f"{self.name}.txt").read_text())
        return found

    @property
    def journal(self) -> Path:
        """Its journal."""
        return self.folder / self.name / "journal.log"

    @property
    def seconds(self) -> float:
        """From the first record of the journal to the last table."""
        began = json.loads(self.journal.open().readline())["time"]
        return (self.folder / self.name / "metrics.parquet").stat().st_mtime - float(began)

    @property
    def reports(self) -> list[float]:
        """When each was journaled."""
        return [event.time for event in read_journal(self.journal) if isinstance(event, Reported)]


@dataclass
class Cost:
    """What a driver took for its reports, from the first to the last."""

    took: Watched
    reports: list[float]

    @property
    def seconds(self) -> float:
        """How long they came."""
        return self.reports[-1] - self.reports[0]

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return self.took.cpu_between(self.reports[0], self.reports[-1])

    def __str__(self) -> str:
        count = len(self.reports)
        return (
            f"{count / self.seconds:9.1f} {self.cpu / self.seconds:10.2f} "
            f"{1000 * self.cpu / count:12.2f} {self.took.memory / 2**20:9.0f}"
        )


HEADER = "  trials at once  reports journaled   a second   its cores   CPU ms each   its MiB"


@contextmanager
def cluster_of(cpus_a_node: float) -> Iterator[RayCluster]:
    """A head without CPUs, and two nodes."""
    with ray_cluster() as cluster:
        cluster.start_head(dashboard=False)
        cluster.add_nodes("a", "b", cpus=cpus_a_node)
        yield cluster


def environment_of(cluster: RayCluster) -> dict[str, str]:
    """For a driver on it."""
    return cluster.environment | {"RAY_ADDRESS": cluster.address}


# Many trials


def measure_trials(trials: int) -> None:
    """No-op trials, here and over a cluster."""
    options = {"hydra.sweeper.num_samples": trials, "hydra.sweeper.max_concurrent_trials": 2}
    with tempfile.TemporaryDirectory() as name:
        local = Sweep(folder=Path(name), app=NOOP, options=options, name="local")
        local.run()
        with cluster_of(1) as cluster:
            spread = Sweep(folder=Path(name), app=NOOP, options=options, name="cluster")
            spread.run(environment_of(cluster))
        here, there = (1000 * sweep.seconds / trials for sweep in (local, spread))
    print(f"{trials} no-op trials, 2 at once")
    print(f"  this machine's own Ray   {here:6.1f} ms a trial")
    print(f"  a head and two nodes     {there:6.1f} ms a trial")
    print(f"  ratio                    {there / here:6.2f}  (at most 1.2)")


# Many reports


def measure_reports(lanes: int, seconds: int) -> None:
    """Trials that report once a second, all at once, each in a process of its own."""
    options = {
        "hydra.sweeper.num_samples": lanes,
        "hydra.sweeper.max_concurrent_trials": lanes,
        "+steps": seconds,
    }
    with tempfile.TemporaryDirectory() as name, cluster_of(lanes / 2) as cluster:
        sweep = Sweep(folder=Path(name), app=REPORTING, options=options)
        took = sweep.run(environment_of(cluster))
        cost = Cost(took, sweep.reports)
    print(f"a report a second from each trial for {seconds} s, over two nodes, the driver beside")
    print(HEADER)
    print(f"{lanes:16} {len(cost.reports):8} of {lanes * seconds:<7} {cost}")


# The driver's own limit


def fake_lanes(rate: float, steps: int) -> None:
    """Let Ray Tune make lanes that are all in one process and only report."""
    import ray
    from ray.tune.execution import tune_controller

    from sweeps.worker.messages import Idle, Job, Report, Returned

    @ray.remote(num_cpus=0, max_concurrency=10_000)
    class Host:
        def __init__(self) -> None:
            self.jobs: dict[int, Job] = {}
            self.steps: dict[int, int] = {}
            self.due: dict[int, float] = {}

        async def call(self, lane: int, method: str, order: Any) -> Any:
            if isinstance(order, Job):
                self.jobs[lane], self.steps[lane] = order, 0
                self.due[lane] = time.monotonic() + 1 / rate
            return await self.train(lane) if method == "train" else True

        async def train(self, lane: int) -> dict[str, Any]:
            job = self.jobs.get(lane)
            if job is None:
                await asyncio.sleep(0.5)
                return {"messages": [Idle()], "nodes": (), "done": False}
            if self.steps[lane] == steps:
                del self.jobs[lane]
                return {
                    "messages": [Returned(trial=job.trial, metrics={})],
                    "nodes": (),
                    "done": False,
                }
            await asyncio.sleep(self.due[lane] - time.monotonic())
            self.due[lane] += 1 / rate
            self.steps[lane] += 1
            report = Report(
                trial=job.trial, step=self.steps[lane], metrics={"objective": 0.5}, checkpoint=None
            )
            return {
                "messages": [report],
                "nodes": (),
                "done": False,
                "training_iteration": self.steps[lane],
            }

    host = Host.remote()

    @dataclass
    class Method:
        lane: Handle
        name: str

        def remote(self, *arguments: Any, **named: Any) -> Any:
            if self.name == "assign":  # it goes along with the next call: the host keeps no order
                (self.lane.order,) = arguments
                return None
            order, self.lane.order = self.lane.order, None
            return host.call.remote(self.lane.number, self.name, order)

    @dataclass
    class Handle:
        number: int
        order: Any = None

        def __getattr__(self, name: str) -> Method:
            return Method(self, name)

        @property
        def __ray_ready__(self) -> Method:
            return Method(self, "ready")

        @property
        def __ray_terminate__(self) -> Method:
            return Method(self, "terminate")

    class Placement:
        """Resources without end; an actor made with them is a handle."""

        made = 0

        def __init__(self, *arguments: Any, **named: Any) -> None: ...

        def request_resources(self, resource_request: Any) -> None: ...

        def cancel_resource_request(self, resource_request: Any) -> None: ...

        def free_resources(self, acquired_resource: Any) -> None: ...

        def update_state(self) -> None: ...

        def clear(self) -> None: ...

        def has_resources_ready(self, resource_request: Any) -> bool:
            return True

        def get_resource_futures(self) -> list[Any]:
            return []

        def acquire_resources(self, resource_request: Any) -> Placement:
            return self

        def annotate_remote_entities(self, entities: Any) -> list[Placement]:
            return [self]

        def remote(self, **named: Any) -> Handle:
            Placement.made += 1
            return Handle(Placement.made)

    tune_controller.PlacementGroupResourceManager = Placement  # type: ignore[misc]


FAKED = """
    import sys
    sys.path[:0] = [{here!r}, {root!r}]
    import hydra, ray, scale

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        return cfg.x

    if __name__ == "__main__":
        ray.init(
            address="local", num_cpus=4096, include_dashboard=False, log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
        scale.fake_lanes(rate=1.0, steps={steps})
        main()
"""


def measure_controller(lanes: int, seconds: int) -> None:
    """One driver with so many lanes; how far behind the reports it falls."""
    app = FAKED.format(
        here=str(Path(__file__).parent), root=str(Path(__file__).parents[1]), steps=seconds
    )
    options = {"hydra.sweeper.num_samples": lanes, "hydra.sweeper.max_concurrent_trials": lanes}
    with tempfile.TemporaryDirectory() as name:
        sweep = Sweep(folder=Path(name), app=app, options=options)
        took = sweep.run({**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"})
        cost = Cost(took, sweep.reports)
    print(f"{lanes:16} {len(cost.reports):8} of {lanes * seconds:<7} {cost}", flush=True)


def main() -> None:
    """Print the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["trials", "reports", "controller"])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--lanes", type=int, nargs="+", default=[64, 250, 1000])
    given = parser.parse_args()
    if given.part in (None, "trials"):
        measure_trials(given.trials)
    if given.part in (None, "reports"):
        measure_reports(64, given.seconds)
    if given.part in (None, "controller"):
        print(f"faked lanes, a report a second from each for {given.seconds} s")
        print(HEADER)
        for lanes in given.lanes:
            measure_controller(lanes, given.seconds)


if __name__ == "__main__":
    main()
