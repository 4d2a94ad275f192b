"""What a segment finds in its process as if it were the first: generators, threads, loggers."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np


class Generators:
    """The process's random generators, and torch's threads.

    An app that seeds nothing so repeats itself, whichever lane runs it. Torch is often imported by
    the task itself, through a `_target_`; then it is seeded at that moment.
    """

    def __init__(self) -> None:
        self._seed = 0
        self._threads: int | None = None
        torch = sys.modules.get("torch")
        if torch is None:
            sys.meta_path.insert(0, _Herald("torch", self._reset_torch))
        else:
            self._threads = torch.get_num_threads()

    def reset(self, seed: int) -> None:
        """Seed them anew."""
        self._seed = seed
        random.seed(seed)
        np.random.seed(seed)  # the app's global generator
        torch = sys.modules.get("torch")
        if torch is not None:
            self._reset_torch(torch)

    def _reset_torch(self, torch: Any) -> None:
        if self._threads is None:
            self._threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        torch.manual_seed(self._seed)


class _Herald(MetaPathFinder):
    """Calls back when a module has been imported for the first time."""

    def __init__(self, name: str, callback: Callable[[ModuleType], object]) -> None:
        self._name = name
        self._callback = callback
        self._looking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with the callback behind its execution.

        To look for it is not yet to import it: many ask so whether it is installed.
        """
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_call(module: ModuleType) -> None:
                execute(module)
                sys.meta_path.remove(self)
                self._callback(module)

            spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


def when_imported(name: str, callback: Callable[[ModuleType], object]) -> None:
    """Call back with a module: now if it is there, else as soon as it has been imported."""
    module = sys.modules.get(name)
    if module is not None:
        callback(module)
    else:
        sys.meta_path.insert(0, _Herald(name, callback))


def reset_accelerate() -> None:
    """Let accelerate look anew at where it is: it keeps devices and open data loaders for good."""
    state = sys.modules.get("accelerate.state")
    if state is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()


@contextlib.contextmanager
def closing_bars() -> Iterator[None]:
    """Close the progress bars that an ended trial left: they would be drawn in another's output."""
    try:
        yield
    finally:
        tqdm = sys.modules.get("tqdm.std")
        for bar in list(tqdm.tqdm._instances) if tqdm is not None else ():
            bar.close()


_OF_THE_NODES_JOB = ("SLURM_", "SLURMD_", "PMI_", "PMIX_", "OMPI_", "LSB_", "JSM_", "TORCHELASTIC_")
_OF_A_RANK = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK")


def trial_environment(environment: Mapping[str, str], *, gpus: float) -> dict[str, str]:
    """Without what a node's launcher said of its own job: libraries would take a trial for it.

    A trial without GPUs sees none: Ray leaves it those of the node.
    """
    others = _OF_THE_NODES_JOB
    clean = {
        k: v for k, v in environment.items() if k not in _OF_A_RANK and not k.startswith(others)
    }
    return clean if gpus else {**clean, "CUDA_VISIBLE_DEVICES": ""}


def preload(modules: Iterable[str]) -> None:
    """Import what trials will need, so that the first one does not pay for it.

    What cannot be imported here fails in the trial that needs it, where the error is told.
    """
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


@contextlib.contextmanager
def keeping_loggers() -> Iterator[None]:
    """Put every logger back as it was: a handler of one trial must not write another's lines."""
    before = {logger: _state(logger) for logger in _loggers()}
    try:
        yield
    finally:
        for logger in _loggers():
            state = before.get(logger, _NEW)
            if state != _state(logger):  # to set a level takes long
                _put_back(logger, state)


_LoggerState = tuple[list[logging.Handler], int, bool, bool]
_NEW: _LoggerState = ([], logging.NOTSET, True, False)


def _state(logger: logging.Logger) -> _LoggerState:
    return logger.handlers[:], logger.level, logger.propagate, logger.disabled


def _put_back(logger: logging.Logger, state: _LoggerState) -> None:
    handlers, level, logger.propagate, logger.disabled = state
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    root = logging.getLogger()
    known = list(root.manager.loggerDict.values())
    return [root, *(logger for logger in known if isinstance(logger, logging.Logger))]
