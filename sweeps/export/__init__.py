"""Models taken out of a sweep: checked against what was recorded, ready to use elsewhere."""

from sweeps.export.best import CombinedResult, ExportResult, export_best

__all__ = ["CombinedResult", "ExportResult", "export_best"]
