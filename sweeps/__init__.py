"""caviar: sweeps of any Hydra app over Ray.

An app needs only `report`, the one line that lets a sweep stop it early; `load` reads a sweep.
"""

from sweeps.loaded import Best, Sweep, load
from sweeps.session import (
    TrialEnded,
    checkpoint_folder,
    get_checkpoint,
    in_sweep,
    report,
)

__all__ = [
    "Best",
    "Sweep",
    "TrialEnded",
    "checkpoint_folder",
    "get_checkpoint",
    "in_sweep",
    "load",
    "report",
]
