"""Models taken out of a sweep: checked against what was recorded, ready to use elsewhere."""

from sweeps.export.best import export_best
from sweeps.export.formats import ALL, WEIGHTS, Formats
from sweeps.export.result import CombinedResult, ExportResult
from sweeps.export.top import TopResult, export_top

__all__ = [
    "ALL",
    "WEIGHTS",
    "CombinedResult",
    "ExportResult",
    "Formats",
    "TopResult",
    "export_best",
    "export_top",
]
