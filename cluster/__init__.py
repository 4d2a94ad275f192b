"""Ray clusters: where a sweep runs."""

from cluster.local import connect

__all__ = ["connect"]
