"""HTML as elements: whatever text goes in is escaped when they are written."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["Element", "add", "document", "element"]

_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def element(tag: str, text: str = "", **attributes: str) -> Element:
    """An element; `class_` is its class, and `aria_label` its aria-label."""
    made = Element(tag, _names(attributes))
    made.text = clean(text)
    return made


def add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """The same, as the last child of another."""
    made = SubElement(parent, tag, _names(attributes))
    made.text = clean(text)
    return made


def clean(text: str) -> str:
    """Without what no page can show: control characters, colours of a terminal, half letters."""
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")


def document(root: Element) -> str:
    """The page's text."""
    return f"<!doctype html>\n{tostring(root, encoding='unicode', method='html')}\n"


def _names(attributes: dict[str, Any]) -> dict[str, str]:
    return {key.rstrip("_").replace("_", "-"): clean(value) for key, value in attributes.items()}
