"""`--filter`: a condition on a table's rows, in a grammar of its own; nothing is evaluated.

    value<0.1 and params.lr>=1e-3 and status==done
    model in (mlp, convnet) or not (error ~ memory)
    width == null

    expression  = term {"or" term}
    term        = factor {"and" factor}
    factor      = "not" factor | "(" expression ")" | column [operator value]
    operator    = "<" | "<=" | ">" | ">=" | "==" | "=" | "!=" | "~" | "in"
    value       = number | word | "quoted text" | "(" value {"," value} ")"

`~` looks for a text within. A column by itself is one of true and false. What is missing meets no
comparison but `== null`. A column or a text with spaces stands in quotes or backticks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sweeps.errors import ConfigError, did_you_mean
from sweeps.journal.status import Status
from sweeps.results.pick import find_column

_TOKEN = re.compile(
    r"""\s*(?:(?P<sign><=|>=|==|!=|[=<>~(),])|(?P<quoted>"[^"]*"|'[^']*'|`[^`]*`)"""
    r"""|(?P<word>[^\s()<>=!~,"'`]+))"""
)
_COMPARE = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}
_OPERATORS = ("<", "<=", ">", ">=", "==", "=", "!=", "~", "in")
_WORDS = ("and", "or", "not", "in")
_DEEPEST = 50
_DONE = "done"
"""Of a status: the trial has ended, one way or another."""


def filtered(table: pa.Table, expression: str, *, metric: str | None = None) -> pa.Table:
    """The rows that meet a condition.

    Args:
        table: Of which.
        expression: The condition.
        metric: The objective's metric, by which `value` may be called.

    Raises:
        ConfigError: It cannot be read, names no column, or compares what cannot be compared.
    """
    return table.filter(_Parser(table, expression, metric).mask())


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str


class _Parser:
    """Reads a condition from left to right, into a mask over the rows."""

    def __init__(self, table: pa.Table, expression: str, metric: str | None) -> None:
        self._table = table
        self._expression = expression
        self._metric = metric
        self._tokens = list(self._split())
        self._depth = 0

    def mask(self) -> pa.ChunkedArray:
        """Which rows meet it."""
        mask = self._any()
        if self._tokens:
            raise self._error(f"{self._tokens[0].text!r} is one too many")
        return mask

    def _split(self) -> Iterator[_Token]:
        at, text = 0, self._expression.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._error(f"{text[at:].strip()[:20]!r} cannot be read")
            kind = str(found.lastgroup)
            word = found[kind]
            if kind == "word" and word.lower() in _WORDS:
                kind, word = "sign", word.lower()
            yield _Token(word[1:-1] if kind == "quoted" else word, kind)
            at = found.end()

    def _any(self) -> pa.ChunkedArray:
        mask = self._all()
        while self._takes("or"):
            mask = pc.or_(mask, self._all())
        return mask

    def _all(self) -> pa.ChunkedArray:
        mask = self._one()
        while self._takes("and"):
            mask = pc.and_(mask, self._one())
        return mask

    def _one(self) -> pa.ChunkedArray:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"it has more than {_DEEPEST} levels")
        if self._takes("not"):
            mask = pc.invert(self._one())
        elif self._takes("("):
            mask = self._any()
            self._needs(")")
        else:
            mask = self._comparison()
        self._depth -= 1
        return mask

    def _comparison(self) -> pa.ChunkedArray:
        given = self._text("a column")
        name = find_column(self._table, given, flag="--filter", metric=self._metric)
        column = self._table[name]
        sign = self._tokens[0] if self._tokens else None
        if sign is None or sign.kind != "sign" or sign.text not in _OPERATORS:
            if not pa.types.is_boolean(column.type):
                raise self._error(f"behind {given} comes one of {', '.join(_OPERATORS)}")
            return pc.fill_null(column, False)
        self._tokens.pop(0)
        if sign.text == "in":
            return self._is_in(name)
        return self._compare(name, "==" if sign.text == "=" else sign.text, self._text("a value"))

    def _is_in(self, name: str) -> pa.ChunkedArray:
        self._needs("(")
        mask = self._compare(name, "==", self._text("a value"))
        while self._takes(","):
            mask = pc.or_(mask, self._compare(name, "==", self._text("a value")))
        self._needs(")")
        return mask

    def _compare(self, name: str, sign: str, text: str) -> pa.ChunkedArray:
        column = self._table[name]
        if text.lower() == "null" and sign in ("==", "!="):
            return pc.is_null(column) if sign == "==" else pc.is_valid(column)
        if name == "status":
            return self._status(sign, text)
        kind = column.type
        if sign == "~":
            if not pa.types.is_string(kind):
                raise self._error(f"~ looks in text, and {name} holds {_called(kind)}")
            return pc.fill_null(pc.match_substring(column, text, ignore_case=True), False)
        if sign not in ("==", "!=") and (pa.types.is_string(kind) or pa.types.is_boolean(kind)):
            raise self._error(f"{name} holds {_called(kind)}: compare it by == or !=")
        value = self._value(name, kind, text)
        if isinstance(value, float):
            column = pc.cast(column, pa.float64(), safe=False)
            if value != value and sign in ("==", "!="):  # NaN
                is_nan = pc.fill_null(pc.is_nan(column), False)
                return is_nan if sign == "==" else pc.and_(pc.invert(is_nan), pc.is_valid(column))
        return pc.fill_null(_COMPARE[sign](column, pa.scalar(value, column.type)), False)

    def _status(self, sign: str, text: str) -> pa.ChunkedArray:
        known = [*map(str, Status), _DONE]
        if sign not in ("==", "!="):
            raise self._error("status holds text: compare it by == or !=")
        if text not in known:
            raise self._error(
                f"status is never {text!r}; it is one of {', '.join(known)}"
                f"{did_you_mean(text, known)}"
            )
        meant = [s.value for s in Status if s.is_final] if text == _DONE else [text]
        mask = pc.is_in(self._table["status"], pa.array(meant, pa.string()))
        return mask if sign == "==" else pc.invert(mask)

    def _value(self, name: str, kind: pa.DataType, text: str) -> Any:
        """A text as what the column holds."""
        if pa.types.is_string(kind):
            return text
        try:
            if pa.types.is_boolean(kind):
                return {"true": True, "false": False}[text.lower()]
            if pa.types.is_timestamp(kind):
                time = datetime.fromisoformat(text)
                return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
            return float(text)
        except (KeyError, ValueError):
            raise self._error(f"{name} holds {_called(kind)}, and {text!r} is none") from None

    def _text(self, what: str) -> str:
        if not self._tokens:
            raise self._error(f"it ends where {what} should come")
        token = self._tokens.pop(0)
        if token.kind == "sign":
            raise self._error(f"{token.text!r} stands where {what} should come")
        return token.text

    def _takes(self, sign: str) -> bool:
        """Whether that sign is the next; then it is passed."""
        if self._tokens and self._tokens[0] == _Token(sign, "sign"):
            self._tokens.pop(0)
            return True
        return False

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            found = repr(self._tokens[0].text) if self._tokens else "the end"
            raise self._error(f"{sign!r} should come before {found}")

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(
            f"--filter is {self._expression!r}: {reason}; write conditions such as "
            f"value<0.1 and params.lr>=1e-3 and status==complete"
        )


def _called(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "true or false"
    return "times such as 2026-01-31T12:00" if pa.types.is_timestamp(kind) else "numbers"
