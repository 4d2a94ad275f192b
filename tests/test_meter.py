"""What a thread beside a task sees of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from sweeps.usage.measured import GpuUsage, Usage
from sweeps.worker import gpus as gpus_module
from sweeps.worker.gpus import Gpus, nvml
from sweeps.worker.meter import Meter

MIB = 2**20


class Slow(Dataset[float]):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> float:
        time.sleep(0.02)
        return 0.0


def metered(task: Callable[[], object], read_s: float = 0.05) -> Usage | None:
    with Meter(read_s=read_s, look_s=0.005) as meter:
        task()
    return meter.usage


def computes(seconds: float = 0.3) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


def test_a_task_that_loads_is_told_from_one_that_computes() -> None:
    loads, works = metered(lambda: list(DataLoader(Slow()))), metered(computes)
    assert loads is not None
    assert works is not None
    assert loads.loading > 0.8
    assert works.loading == 0
    assert works.cpus > 1.5 * loads.cpus
    assert works.cpus * works.seconds == pytest.approx(0.3, rel=0.5)
    assert 0 < works.node_cpus <= 1
    assert 0 < works.node_memory < 1
    assert works.memory > 10 * MIB


def test_a_loop_over_a_loader_computes_between_its_batches() -> None:
    def trains() -> None:
        for _ in DataLoader(Slow(), batch_size=5):
            computes(0.1)

    usage = metered(trains)
    assert usage is not None
    assert 0.1 < usage.loading < 0.9


@pytest.mark.parametrize("ends", [True, False])
def test_what_children_compute_counts_while_they_live_and_after(ends: bool) -> None:
    burns = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-c", burns], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def waits_for_it() -> None:
        assert child.stdout is not None
        child.stdout.readline()
        if ends:
            child.communicate(b"\n", timeout=30)

    try:
        usage = metered(waits_for_it)
    finally:
        child.kill()
        child.communicate()
    assert usage is not None
    assert usage.cpus * usage.seconds > 0.25


def test_what_ends_within_a_second_is_not_measured() -> None:
    assert metered(lambda: None, read_s=1.0) is None


def test_nothing_looks_on_when_the_task_has_ended_or_raised() -> None:
    with pytest.raises(ZeroDivisionError), Meter() as meter:
        raise ZeroDivisionError
    assert meter.usage is None
    assert "caviar-usage" not in {thread.name for thread in threading.enumerate()}


def test_it_ends_by_itself_and_keeps_what_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.worker.meter.LONGEST_S", 0.1)
    with Meter(read_s=0.05, look_s=0.005) as meter:
        meter._thread.join(10)
        seen = meter.usage
    assert seen is not None
    assert meter.usage is seen


# GPUs


class NVMLError(Exception):
    pass


class Driver:
    """NVML of two GPUs; this process holds memory of the second."""

    NVMLError = NVMLError

    def __init__(self, pid: int) -> None:
        self.pid, self.held, self.busy, self.works = pid, 300 * MIB, [40, 60], True

    def nvmlInit(self) -> None:
        if not self.works:
            raise NVMLError("no driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        return {"GPU-a": 0, "GPU-b": 1}[name]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=(handle + 1) * 1000 * MIB)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        if not self.works:
            raise NVMLError("not supported")
        other = SimpleNamespace(pid=1, usedGpuMemory=700 * MIB)
        return [other, SimpleNamespace(pid=self.pid, usedGpuMemory=self.held)][: handle + 1]

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=self.busy.pop(0))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver(pid=4242)
    monkeypatch.setattr(gpus_module, "nvml", lambda: made)
    monkeypatch.setattr(gpus_module.os, "getpid", lambda: 4242)
    return made


@pytest.mark.parametrize("visible", ["1", "GPU-b"])
def test_a_gpus_memory_is_the_most_and_its_time_the_mean(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = Gpus()
    assert gpus.usage() == []
    gpus.look()
    driver.held = 200 * MIB
    gpus.look()
    assert gpus.usage() == [GpuUsage(memory=300 * MIB, total=2000 * MIB, busy=0.5)]


def test_where_a_container_hides_the_process_torch_says_what_it_holds(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: True, memory_reserved=lambda i: (i + 1) * MIB)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    driver.pid = 7
    gpus = Gpus()
    gpus.look()
    assert [gpu.memory for gpu in gpus.usage()] == [MIB, 2 * MIB]


def test_a_driver_that_does_not_answer_is_left_alone(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpus = Gpus()
    driver.works = False
    gpus.look()
    assert gpus.usage() == []
    silent = Gpus()
    silent.look()
    assert silent.usage() == []


def test_without_a_visible_gpu_no_driver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(gpus_module, "nvml", lambda: pytest.fail("was asked"))
    gpus = Gpus()
    gpus.look()
    assert gpus.usage() == []


def test_the_binding_that_is_there_has_what_is_called() -> None:
    found = nvml()
    called = [name for name in dir(Driver) if name.startswith(("nvml", "NVML"))]
    assert len(called) == 7
    assert all(hasattr(found, name) for name in called)
