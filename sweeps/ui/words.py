"""How a page says things: text of others as it is, times, numbers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import pyarrow as pa

from sweeps.render import duration

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")

_NOW_S, _LONG_S = 5.0, 2 * 86400.0


def plain(text: object) -> str:
    """A text that Markdown shows as it is, in one line: no link, no image, no style."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(str(text).split()))


def ago(moment: float | None) -> str:
    """How long ago something was; of what is long ago, when."""
    if moment is None:
        return ""
    seconds = time.time() - moment
    if seconds > _LONG_S:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    return "just now" if seconds < _NOW_S else f"{duration(seconds)} ago"


def terminal_text(raw: str) -> str:
    """What a terminal would show of an output: no colours, a line rewritten is its last state."""
    lines = _ANSI.sub("", raw).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def when(moments: Iterable[float | None]) -> pa.Array:
    """Moments as a column of times."""
    ms = [None if moment is None else round(moment * 1000) for moment in moments]
    return pa.array(ms, pa.timestamp("ms", tz="UTC"))
