"""What pip writes of caviar beside its code: here where a folder is on the path, and no more."""

from __future__ import annotations

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def put_metadata(folder: Path) -> Path:
    """Write caviar's entry points into a folder, as an installation has them; the folder."""
    points = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]
    info = folder / "caviar-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: caviar\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder
