"""YAML for people: in the order given, texts of several lines as they read, no anchors."""

from __future__ import annotations

from typing import Any

import yaml


def as_yaml(thing: Any) -> str:
    """The YAML of a mapping or list of plain values."""
    return yaml.dump(thing, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
