"""A sweep's storage on a cluster: the same folder for every node, or nothing is begun."""

from __future__ import annotations

from rich.console import Console

from cluster.capacity import Capacity
from cluster.copies import own_copy
from cluster.storage import NodeProbe, probe
from sweeps.errors import ConfigError
from sweeps.storage.folder import SweepFolder

_NAMED = 3


def check_storage(folder: SweepFolder, there: Capacity, console: Console) -> None:
    """See that every node reads and writes where a sweep is.

    Raises:
        ConfigError: One does not, or the folder goes when the job ends.
    """
    copy = own_copy()
    if folder.remote is None and copy is not None and folder.path.is_relative_to(copy.resolve()):
        raise ConfigError(
            f"hydra.sweeper.storage_path leads to {folder.storage}, a copy of the project that "
            f"goes with the job: give an absolute path that every node shares"
        )
    if len(there.nodes) == 1:
        return
    found = probe(folder.place)
    bad = [node for node in found if node.error and node.answered]
    if bad:
        raise ConfigError(
            f"hydra.sweeper.storage_path is {folder.storage!r}, which has to be one place for "
            f"every node, and on {_listed(bad)}. Nothing was started"
        )
    silent = [node for node in found if not node.answered]
    if silent:
        console.print(f"the storage was not tried on {_listed(silent)}", style="yellow")


def _listed(nodes: list[NodeProbe]) -> str:
    named = "; on ".join(f"{node.node} {node.error}" for node in nodes[:_NAMED])
    return f"{named}; and on {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else named
