"""The source of a model's network, for people to read and to rebuild it from.

Nothing imports it from an export: a network is rebuilt by the installed package, or not at all.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = "source"
SUMS = "SHA256SUMS"


def write_source(folder: Path, trainer: Any, net: Any) -> int:
    """Copy the modules that the trainer and the network are made of, with their hashes.

    Of each package that one of their classes is from, all modules that are loaded; what is
    installed, torch for one, is left to its version.

    Args:
        folder: The export's.
        trainer: Its trainer.
        net: The network; each of its layers is looked at where it has `modules()`.

    Returns:
        How many files were copied.
    """
    layers = net.modules() if hasattr(net, "modules") else [net]
    packages = {type(part).__module__.partition(".")[0] for part in (trainer, net, *layers)}
    place = folder / FOLDER
    copied = {_place_of(module): _file_of(module) for module in _loaded(packages)}
    for inner, file in copied.items():
        (place / inner).parent.mkdir(parents=True, exist_ok=True)
        (place / inner).write_bytes(file.read_bytes())
    if copied:
        lines = [f"{hash_of(place / inner)}  {inner.as_posix()}\n" for inner in sorted(copied)]
        (place / SUMS).write_text("".join(lines), encoding="utf-8")
    return len(copied)


def hash_of(file: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _loaded(packages: Iterable[str]) -> list[ModuleType]:
    """The modules of these packages, but for what is installed or built in."""
    names = set(packages)
    modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in names]
    return [module for module in modules if _is_own(module)]


def _is_own(module: ModuleType) -> bool:
    file = inspect.getsourcefile(module) if getattr(module, "__file__", None) else None
    if file is None:
        return False
    return not any(Path(file).resolve().is_relative_to(place) for place in _installed())


@cache
def _installed() -> frozenset[Path]:
    names = ("stdlib", "purelib", "platlib")
    return frozenset(Path(sysconfig.get_path(name)).resolve() for name in names)


def _file_of(module: ModuleType) -> Path:
    file = inspect.getsourcefile(module)
    assert file is not None
    return Path(file)


def _place_of(module: ModuleType) -> Path:
    """`models/layers/norm.py` of the module models.layers.norm."""
    inner = Path(*module.__name__.split("."))
    file = _file_of(module)
    return inner / file.name if file.stem == "__init__" else inner.with_suffix(".py")
