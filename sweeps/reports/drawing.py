"""What one plot of a sweep is, whoever shows it: the report, the live page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A plot, or the words that stand in its place; all texts are plain, to be escaped."""

    title: str
    about: str
    """How to read it, in one sentence."""
    figure: Figure | None = None
    words: str = ""
    """Instead of a figure: why there is none. Below one: what was left out of it."""
    span: Literal["full", "half", "third"] = "full"
    """How much of a wide page's width it takes."""
