"""The user's app: described on the driver, imported by path in a worker.

A task function is never pickled by value: pickled so, a function of `__main__` loses the resolvers
that its module registered, and everything else its module does when imported.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cluster.copies import own_copy
from cluster.project import find_root
from sweeps.errors import ConfigError

TaskFunction = Callable[[Any], Any]

_OF_PYTHON = re.compile(r"/lib(32|64)?/python\d[\d.]*t?(\.zip|/|$)")
"""The folder or archive of a Python installation that its import paths lie in."""


@dataclass(frozen=True, kw_only=True)
class App:
    """Where a task function comes from, and what its process looked like."""

    file: str | None
    """The script, absolute; None for a module."""
    module: str | None
    """The dotted name, for `python -m`; None for a script."""
    function: str
    argv: list[str]
    """The command line after the script's name."""
    cwd: str
    sys_path: list[str]
    interpreter: str
    root: str | None = None
    """The project's: what lies below it is there too where the project lies elsewhere."""

    @property
    def name(self) -> str:
        """A short name for folders and titles."""
        return Path(self.file).stem if self.file else str(self.module).rpartition(".")[2]

    @property
    def folder(self) -> Path:
        """Where its code lies."""
        return Path(self.file).parent if self.file else Path(self.cwd)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for sweep.yaml."""
        return asdict(self)


def describe_app(task: TaskFunction) -> App:
    """Where `task` can be imported from.

    Raises:
        ConfigError: It cannot: it is local to a function, or its module has no file.
    """
    if "<" in task.__qualname__:
        raise ConfigError(
            f"the task function is {task.__qualname__}, which a worker cannot import: "
            f"define it at the top level of a file"
        )
    module = sys.modules[task.__module__]
    file, name = _origin(module)
    return App(
        file=file,
        module=name,
        function=task.__qualname__,
        argv=sys.argv[1:],
        cwd=os.getcwd(),
        sys_path=[os.path.abspath(path) for path in sys.path],
        interpreter=sys.executable,
        root=str(own_copy() or find_root(Path(file or os.getcwd()))),
    )


def _origin(module: ModuleType) -> tuple[str | None, str | None]:
    """A module's file, where it is a script, or its dotted name."""
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return None, spec.name.removesuffix(".__main__") if _is_main(module) else spec.name
    file = getattr(module, "__file__", None)
    if file is None:
        raise ConfigError(
            f"the task function's module {module.__name__} has no file, so a worker cannot import "
            f"it: put the app in a file"
        )
    return os.path.abspath(file), None


def _is_main(module: ModuleType) -> bool:
    return module.__name__ == "__main__"


def load_app(app: App) -> tuple[TaskFunction, ModuleType]:
    """Import the app in this process, not as `__main__`: its bare task function, and its module."""
    theirs = [path for path in app.sys_path if app.interpreter == sys.executable or _is_code(path)]
    sys.path[:] = [*theirs, *(path for path in sys.path if path not in theirs)]
    with _main_disarmed(app):
        module = _import_file(app.file) if app.file else importlib.import_module(str(app.module))
    task: Any = module
    for name in app.function.split("."):
        task = getattr(task, name)
    return (task.__wrapped__ if _is_hydra_main(task) else task), module


def _is_code(path: str) -> bool:
    """Whether an import path is a user's, not part of a Python installation."""
    return _OF_PYTHON.search(path) is None


@contextlib.contextmanager
def _main_disarmed(app: App) -> Iterator[None]:
    """Let a script that calls its `@hydra.main` without an `if __name__` guard be imported."""
    hydra_main: Any = sys.modules["hydra.main"]
    run_hydra, argv = hydra_main._run_hydra, sys.argv
    hydra_main._run_hydra = lambda *args, **kwargs: None
    sys.argv = [app.file or str(app.module)]
    try:
        yield
    finally:
        hydra_main._run_hydra, sys.argv = run_hydra, argv


def _import_file(file: str) -> ModuleType:
    """Import a script under its own name where that name leads to it, as its imports expect."""
    path = Path(file)
    found = importlib.util.find_spec(path.stem) if path.stem.isidentifier() else None
    if found and found.origin and Path(found.origin).resolve() == path.resolve():
        return importlib.import_module(path.stem)
    spec = importlib.util.spec_from_file_location("__mp_main__", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _is_hydra_main(function: Any) -> bool:
    return hasattr(function, "__wrapped__") and function.__code__.co_name == "decorated_main"
