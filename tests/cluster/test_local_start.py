"""A Ray of its own that does not come up."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from cluster import connect
from cluster.errors import ClusterError


def starting_says(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        raise Exception(message)  # noqa: TRY002 - as Ray does

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with connect():
        pass


def test_a_ray_that_is_slow_to_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"did not start in time: .* Nothing is lost; try again"):
        starting_says("The current node timed out during startup. This could", monkeypatch)


def test_whatever_else_it_says_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match=r"^no such address$"):
        starting_says("no such address", monkeypatch)
