"""What a trial was trained from and on, recorded as it trains, read again and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.provenance.trial import Provenance, of

__all__ = ["Provenance", "of"]


def __getattr__(name: str) -> Any:
    """What reads records is loaded where it is asked for: what writes them is in every worker."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sweeps.provenance import trial

    return getattr(trial, name)
