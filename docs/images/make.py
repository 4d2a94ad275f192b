"""Draw the README's picture from a real sweep.

    make sweep && python docs/images/make.py outputs/sweeps/<name>

What is drawn is what `caviar sweep` printed at its end, from the same code.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from sweeps.driver.summary import final_report
from sweeps.export import export_best
from sweeps.results import load_sweep
from sweeps.storage.folder import find_sweep

HERE = Path(__file__).parent


def main(name: str) -> None:
    """Write sweep.svg."""
    folder = find_sweep(name)
    console = Console(record=True, width=136, file=io.StringIO(), force_terminal=True)
    final_report(load_sweep(folder), console=console, export=export_best(folder))
    console.save_svg(str(HERE / "sweep.svg"), title="caviar sweep experiment=digits_asha")


if __name__ == "__main__":
    main(sys.argv[1])
