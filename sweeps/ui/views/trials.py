"""The trials of a sweep: a table to filter, and those that are selected in it side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import streamlit as st

from sweeps.errors import ConfigError
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.reports.style import template
from sweeps.results import SweepResults
from sweeps.ui.compare import curves, metric_names
from sweeps.ui.configs import side_by_side
from sweeps.ui.live import LiveSweep
from sweeps.ui.shared import dark, keeper, telling
from sweeps.ui.tables import ORDERS, labels, selected, shown, trials_table
from sweeps.ui.words import plain

_REFRESH_S = 2
_TABLE, _SHOWN, _CHOSEN, _SWEEP = "trials", "shown", "chosen", "selected_in"
_MOST_COMPARED = 12
_ROW_PX, _MOST_ROWS = 35, 14


def forget_other(name: str) -> None:
    """Let go of what was selected in another sweep than this one."""
    if st.session_state.get(_SWEEP) != name:
        st.session_state.pop(_SHOWN, None)
        st.session_state.pop(_CHOSEN, None)
        st.session_state[_SWEEP] = name


@st.fragment(run_every=_REFRESH_S)
@telling
def show_trials(live: LiveSweep) -> None:
    """The table, and below it what is selected."""
    table = keeper().get(live, "trials", trials_table)
    if not table.num_rows:
        st.info("No trial has begun yet. The first is shown by itself.")
        return
    with live.reading() as sweep:
        named, metric = labels(sweep), sweep.objective.metric
    _table(_filtered(table, metric), named)
    chosen: list[int] = st.session_state.get(_CHOSEN, [])
    if not chosen:
        st.caption("Tick trials to compare them: their curves and their configs, side by side.")
        return
    if len(chosen) > _MOST_COMPARED:
        st.caption(f"The first {_MOST_COMPARED} of {len(chosen)} selected trials are compared.")
    _compare(live, chosen[:_MOST_COMPARED])


def _filtered(table: pa.Table, metric: str) -> pa.Table:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        statuses = st.pills(
            "status",
            [status.value for status in Status],
            selection_mode="multi",
            default=None,
            key="statuses",
            wrap=True,
        )
        condition = st.text_input(
            "filter", placeholder="lr<0.01 and model==mlp", key="condition", width=280
        )
        order = st.selectbox("order", ORDERS, key="order", width=160)
    try:
        return selected(
            table, statuses=statuses, condition=condition or "", metric=metric, order=order
        )
    except ConfigError as error:
        st.warning(plain(error))
        return selected(table, statuses=statuses, condition="", metric=metric, order=order)


def _table(table: pa.Table, named: dict[str, str]) -> None:
    table = shown(table, list(named))
    _keep_selection(table["number"].to_pylist())
    columns: Any = {field.name: _column(field, named[field.name]) for field in table.schema}
    st.dataframe(
        table,
        key=_TABLE,
        hide_index=True,
        height=_ROW_PX * (1 + min(len(table), _MOST_ROWS)) + 3,
        on_select=_choose,
        selection_mode="multi-row",
        column_config={**columns, "number": st.column_config.NumberColumn("trial", pinned=True)},
        placeholder="",
        alt="the sweep's trials",
    )


def _column(field: pa.Field, label: str) -> Any:
    if pa.types.is_floating(field.type):
        return st.column_config.NumberColumn(label, format="%.5g")
    return st.column_config.Column(label)


def _keep_selection(numbers: list[int]) -> None:
    """A selection is of rows: where trials have moved, let it move with them."""
    before = st.session_state.get(_SHOWN, [])
    st.session_state[_SHOWN] = numbers
    place = {number: row for row, number in enumerate(numbers)}
    chosen = st.session_state.get(_CHOSEN, [])
    rows = sorted(place[number] for number in chosen if number in place)
    was = sorted(row for row, number in enumerate(before) if number in set(chosen))
    if rows != was:
        st.session_state[_TABLE] = {"selection": {"rows": rows, "columns": [], "cells": []}}


def _choose() -> None:
    """Take over what was ticked; trials that the filter hides stay chosen."""
    numbers = st.session_state[_SHOWN]
    ticked = [numbers[row] for row in st.session_state[_TABLE]["selection"]["rows"]]
    hidden = set(st.session_state.get(_CHOSEN, [])) - set(numbers)
    st.session_state[_CHOSEN] = sorted({*hidden, *ticked})


def _compare(live: LiveSweep, chosen: Sequence[int]) -> None:
    with live.reading() as sweep:
        trials = [sweep.trials[number] for number in chosen if number < len(sweep.trials)]
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _curves(sweep, trials)
        with right:
            _configs(live, trials)


def _curves(sweep: SweepResults, trials: Sequence[Trial]) -> None:
    names = metric_names(sweep)
    metric = st.selectbox("metric", names, key="metric", format_func=str)
    figure = curves(sweep, trials, metric)
    if figure is None:
        st.info("None of these trials has reported it.")
        return
    figure.update_layout(template=template(dark=dark()), uirevision="kept")
    st.plotly_chart(figure, key="curves", theme=None, config={"displaylogo": False})


def _configs(live: LiveSweep, trials: Sequence[Trial]) -> None:
    several = len(trials) > 1
    wanted = st.toggle("only what differs", value=True, key="differences", disabled=not several)
    differences = wanted and several
    what = ("configs", differences, tuple(trial.number for trial in trials))
    frame = keeper().get(
        live, what, lambda sweep: side_by_side(sweep, trials, differences=differences)
    )
    if frame.empty:
        st.info("These trials have the same config.")
        return
    st.dataframe(frame, key="configs", placeholder="", alt="the configs of the selected trials")
