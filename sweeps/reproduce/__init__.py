"""A trial trained again as it was, and compared with what it reported, bit for bit."""

from sweeps.reproduce.compare import Comparison, compare
from sweeps.reproduce.run import Reproduction, reproduce

__all__ = ["Comparison", "Reproduction", "compare", "reproduce"]
