"""The page's parts laid out by Streamlit itself, without a server or a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from sweeps.journal.status import Status

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def new_page() -> Iterator[None]:
    """What visitors share is not shared by tests."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def made(make_sweep: Callable[..., Any]) -> Any:
    sweep = make_sweep()
    for number in range(3):
        sweep.ask(number, lr=0.1 / (number + 1))
        sweep.report(number, 1, 0.5 + number / 10)
    sweep.end(0, Status.FAILED, error="ValueError: too large")
    return sweep


def page(storage: Path, **query: str) -> Any:
    """What a visitor gets."""

    def script(storage: str) -> None:
        from sweeps.ui.page import show

        show(storage)

    app = AppTest.from_function(script, args=(str(storage),), default_timeout=PATIENCE_S)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def said(app: Any) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.header, app.code)
    return "\n".join(element.value for kind in kinds for element in kind)


def test_the_list_has_a_line_a_sweep(made: Any, tmp_path: Path) -> None:
    (frame,) = page(tmp_path).dataframe
    assert list(frame.value["name"]) == ["sweep"]
    assert list(frame.value["trials"]) == ["1 of 20"]


def test_a_folder_without_sweeps_says_how_to_make_one(tmp_path: Path) -> None:
    text = said(page(tmp_path))
    assert "no sweep here yet" in text
    assert f"hydra.sweeper.storage_path={tmp_path}" in text


@pytest.mark.parametrize("name", ["gone", "..", "../sweep", "a/b"])
def test_a_sweep_that_is_not_there_is_named(made: Any, tmp_path: Path, name: str) -> None:
    app = page(tmp_path, sweep=name)
    assert "there is no sweep" in app.error[0].value
    assert not app.exception


@pytest.mark.parametrize("view", ["Trials", "Plots", "Logs", "Export"])
@pytest.mark.parametrize("kind", ["some", "none", "failed"])
def test_every_part_shows_any_sweep(
    make_sweep: Callable[..., Any], tmp_path: Path, view: str, kind: str
) -> None:
    made = make_sweep()
    for number in range({"some": 3, "none": 0, "failed": 2}[kind]):
        made.ask(number, lr=0.1 / (number + 1))
        if kind == "failed":
            made.end(number, Status.FAILED, error="ValueError: too large")
        else:
            made.report(number, 1, 0.5 + number / 10)
    app = page(tmp_path, sweep="sweep", view=view)
    assert not app.exception
    assert not app.error
    expected = {
        ("Trials", "none"): "No trial has begun yet",
        ("Logs", "none"): "No trial has begun yet",
        ("Logs", "failed"): "ValueError: too large",
        ("Export", "none"): "nothing to export",
        ("Export", "failed"): "nothing to export",
        ("Export", "some"): "The model is loaded back",
        ("Trials", "some"): "Tick trials to compare them",
        ("Trials", "failed"): "Tick trials to compare them",
    }
    assert expected.get((view, kind), "") in said(app)


def test_a_filter_that_cannot_be_read_is_answered_and_all_trials_are_shown(
    made: Any, tmp_path: Path
) -> None:
    app = page(tmp_path, sweep="sweep")
    app.text_input(key="condition").input("lr<").run()
    assert "filter" in app.warning[0].value
    assert len(app.dataframe[0].value) == 3
    app.text_input(key="condition").input("value>0.65").run()
    assert list(app.dataframe[0].value["number"]) == [2]


def test_two_objectives_are_two_columns(make_sweep: Callable[..., Any], tmp_path: Path) -> None:
    from sweeps.journal.events import Ended

    made = make_sweep(metric=["loss", "size"], mode=["min", "min"])
    for number in range(2):
        made.ask(number, lr=0.1)
        made.add(
            Ended,
            trial=number,
            status=Status.COMPLETE,
            value=0.5 + number,
            others=(3.0,),
            metrics={"loss": 0.5, "size": 3.0},
            error=None,
            cause=None,
        )
    app = page(tmp_path, sweep="sweep")
    assert not app.exception
    assert {"value", "value.size"} <= set(app.dataframe[0].value.columns)
