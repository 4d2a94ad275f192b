"""The formats a model is exported in, and which of them can be had here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from sweeps.errors import ConfigError, did_you_mean

FILES: Mapping[str, str] = {
    "safetensors": "weights.safetensors",
    "pt2": "model.pt2",
    "onnx": "model.onnx",
}
"""By format: its file."""

_NEEDED: Mapping[str, Sequence[str]] = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


@dataclass(frozen=True, kw_only=True)
class Formats:
    """Which formats to write; safetensors, with config and model card, always is."""

    names: tuple[str, ...]
    asked: bool = True
    """Whether one that cannot be written refuses the export; else it is left out, and said."""

    @property
    def graphs(self) -> tuple[str, ...]:
        """Those that hold the network itself and need none of its code."""
        return tuple(name for name in self.names if name != "safetensors")


WEIGHTS = Formats(names=("safetensors",))
ALL = Formats(names=tuple(FILES), asked=False)


def parse_formats(text: str) -> Formats:
    """Formats from `safetensors,pt2,onnx`.

    Raises:
        ConfigError: There is no such format, or what it needs is not installed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names or [text]:
        if name not in FILES:
            raise ConfigError(
                f"--formats is {text!r}, and {name!r} is none of {', '.join(FILES)}"
                f"{did_you_mean(name, FILES)}"
            )
    for name in names:
        if (missing := not_installed(name)) is not None:
            raise ConfigError(f"--formats is {text!r}: {missing}")
    return Formats(names=tuple(name for name in FILES if name in names or name == "safetensors"))


def not_installed(name: str) -> str | None:
    """What a format lacks here, and the command that brings it."""
    missing = [package for package in _NEEDED.get(name, ()) if find_spec(package) is None]
    if not missing:
        return None
    return f"{name} needs {', '.join(missing)}: pip install 'caviar[{name}]'"
