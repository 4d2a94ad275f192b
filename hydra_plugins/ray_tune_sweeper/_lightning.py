"""What Lightning asks every installed package for when a Trainer is made: more callbacks.

It stands here because `hydra_plugins` cannot be hidden by a user's own package, as `sweeps` can: an
entry point that does not load would break every Trainer of the environment.
"""

from __future__ import annotations

import sys
from typing import Any


def of_lightning() -> list[Any]:
    """Of the entry point group `lightning.pytorch.callbacks_factory`."""
    return _callbacks("lightning.pytorch")


def of_pytorch_lightning() -> list[Any]:
    """Of the entry point group `pytorch_lightning.callbacks_factory`."""
    return _callbacks("pytorch_lightning")


def _callbacks(package: str) -> list[Any]:
    """None outside a trial, where nothing more is imported either."""
    session = sys.modules.get("sweeps.session")
    if session is None or not session.in_sweep():
        return []
    from sweeps.integrations.lightning import callbacks

    return callbacks(package)
