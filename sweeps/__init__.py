"""caviar: sweeps of any Hydra app over Ray.

An app needs only what stands here; `report` is the one line that lets a sweep stop it early.
"""

from sweeps.session import (
    TrialEnded,
    checkpoint_folder,
    get_checkpoint,
    in_sweep,
    record_data,
    report,
)

__all__ = ["TrialEnded", "checkpoint_folder", "get_checkpoint", "in_sweep", "record_data", "report"]
