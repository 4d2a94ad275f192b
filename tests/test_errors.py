"""Errors, and how they are told."""

from __future__ import annotations

import traceback

import pytest

from sweeps.errors import headline


def traceback_of(error: Exception) -> str:
    try:
        raise error
    except type(error) as raised:
        return "".join(traceback.format_exception(raised))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, None),
        ("", None),
        ("its process died\n\n", "its process died"),
        (traceback_of(KeyError("a")), "KeyError: 'a'"),
        (traceback_of(ValueError("no such key\nfull_key: model")), "ValueError: no such key"),
        (traceback_of(ValueError("no such key\n    full_key: a")), "ValueError: no such key"),
        ('Traceback\n  File "a.py", line 1\n    x =\n       ^\nSyntaxError: no', "SyntaxError: no"),
    ],
)
def test_the_headline_of_a_traceback_is_the_error_behind_its_frames(
    text: str | None, line: str | None
) -> None:
    assert headline(text) == line
