"""Writing a sweep's report, whole, where it belongs."""

from __future__ import annotations

from pathlib import Path

from sweeps.errors import SweepError
from sweeps.reports.page import page
from sweeps.results import SweepResults
from sweeps.storage.durable import write_whole


def write_report(sweep: SweepResults, out: Path | None = None) -> Path:
    """Write it to report.html in the sweep's folder, in a bucket too, or to another file.

    Raises:
        SweepError: It cannot be written.
    """
    path = sweep.folder.report if out is None else out
    text = page(sweep)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise SweepError(f"{path} cannot be written: {error.strerror}") from error
    if out is None:
        sweep.folder.push(path)
    return path
