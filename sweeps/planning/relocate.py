"""One project in two places: the driver's and a node's copy of it, or the recorded and today's."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig, open_dict, read_write

from cluster.copies import own_copy
from cluster.project import find_root
from sweeps.errors import SweepError
from sweeps.planning.app import App


@dataclass(frozen=True, kw_only=True)
class Move:
    """What lies below `old` lies below `new` too."""

    old: str
    new: str

    @classmethod
    def to_this_node(cls, app: App) -> Move:
        """From the driver's copy of the project to this node's; nowhere, where none was sent."""
        here = own_copy()
        root = app.root or ""
        return cls(old=root, new=root if here is None else str(here))

    def path(self, path: str) -> str:
        """A path, or a `file://` URL, in its new place; what lies elsewhere stays."""
        scheme, separator, place = path.rpartition("://")
        if self.old == self.new or not _is_within(place, self.old):
            return path
        moved = os.path.normpath(os.path.join(self.new, os.path.relpath(place, self.old)))
        return f"{scheme}{separator}{moved}"

    def app(self, app: App) -> App:
        """The app in its new place."""
        return replace(
            app,
            file=None if app.file is None else self.path(app.file),
            cwd=self.path(app.cwd),
            sys_path=[self.path(path) for path in app.sys_path],
            root=None if app.root is None else self.path(app.root),
        )

    def search_path(self, search_path: ConfigSearchPath) -> ConfigSearchPath:
        """Hydra's search path in its new place."""
        moved = copy.deepcopy(search_path)
        for element in moved.get_path():
            element.path = self.path(element.path)
        return moved

    def config(self, config: DictConfig) -> None:
        """Change what a config says of where its app runs: `${hydra:runtime.cwd}` for one."""
        if self.old == self.new:
            return
        with read_write(config), open_dict(config):
            runtime = config.hydra.runtime
            runtime.cwd = self.path(runtime.cwd)
            for source in runtime.config_sources:
                source.path = self.path(source.path)


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def find_app(app: App) -> App:
    """The app where it was recorded, or else in the project in which this process stands.

    Raises:
        SweepError: It is in neither.
    """
    if _is_there(app):
        return app
    what = f"{_missing(app)}, with which the sweep was begun, is not here"
    if app.root is None:
        raise SweepError(f"{what}: run this where it was begun")
    here = find_root(Path.cwd())
    found = Move(old=app.root, new=str(here)).app(app)
    if not _is_there(found):
        raise SweepError(
            f"{what}, nor in the project in {here}, as {_missing(found)}: run this from a checkout "
            f"of the sweep's project"
        )
    return found


def _is_there(app: App) -> bool:
    return Path(app.cwd).is_dir() and (app.file is None or Path(app.file).is_file())


def _missing(app: App) -> str:
    return app.cwd if app.file is None or Path(app.file).is_file() else app.file
