"""The GPUs that this process sees, as their driver tells of them (NVML)."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sweeps.usage.measured import GpuUsage

log = logging.getLogger(__name__)


_BINDINGS = ("pynvml", "ray._private.thirdparty.pynvml")
"""NVIDIA's own (nvidia-ml-py) where it is installed, else the copy that Ray carries."""


def nvml() -> ModuleType | None:
    """A binding to NVML."""
    for name in _BINDINGS:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


@dataclass
class _Gpu:
    handle: Any
    total: int
    memory: int = 0
    busy: float = 0.0
    """Sum over the looks, each the share of about the second before it."""


class Gpus:
    """What the visible GPUs do; empty where there is none, or where the driver cannot be asked.

    The time that a GPU is busy is its own, for all processes. Memory is this process's: NVML's
    number, or, where a container hides its number among processes, what torch has reserved.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._gpus: list[_Gpu] = []
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        self._nvml: Any = nvml() if visible else None
        if self._nvml is None:
            return
        try:
            self._nvml.nvmlInit()
            self._gpus = [self._found(name.strip()) for name in visible]
        except self._nvml.NVMLError as error:
            log.info("NVML does not tell of the GPUs: %s", error)

    def look(self) -> None:
        """Once a second or so."""
        if not self._gpus:
            return
        try:
            for index, gpu in enumerate(self._gpus):
                gpu.memory = max(gpu.memory, self._memory(index, gpu.handle))
                gpu.busy += self._nvml.nvmlDeviceGetUtilizationRates(gpu.handle).gpu / 100
        except self._nvml.NVMLError as error:  # such as of a part of a GPU (MIG)
            log.info("NVML does not tell what the GPUs do: %s", error)
            self._gpus = []
        self._looks += 1

    def usage(self) -> Sequence[GpuUsage]:
        """Of each of them, over all looks so far."""
        return [
            GpuUsage(memory=gpu.memory, total=gpu.total, busy=gpu.busy / self._looks)
            for gpu in self._gpus
            if self._looks
        ]

    def _found(self, name: str) -> _Gpu:
        """By its index, or its UUID."""
        if name.isdecimal():
            handle = self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        else:
            handle = self._nvml.nvmlDeviceGetHandleByUUID(name)
        return _Gpu(handle, self._nvml.nvmlDeviceGetMemoryInfo(handle).total)

    def _memory(self, index: int, handle: Any) -> int:
        for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == os.getpid():
                return max(process.usedGpuMemory or 0, _reserved(index))
        return _reserved(index)


def _reserved(index: int) -> int:
    """What torch's allocator holds, where the task has torch use the GPU."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)  # torch may be about to be imported
    if cuda is None or not cuda.is_initialized():
        return 0
    reserved: int = cuda.memory_reserved(index)
    return reserved
