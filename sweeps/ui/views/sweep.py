"""One sweep: how it stands, and its trials, plots, logs and export."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Literal

import streamlit as st

from sweeps.render import duration, number
from sweeps.ui.live import LiveSweep
from sweeps.ui.shared import telling
from sweeps.ui.shelf import Row, Shelf, row_of
from sweeps.ui.views.export import show_export
from sweeps.ui.views.logs import show_logs
from sweeps.ui.views.plots import show_plots
from sweeps.ui.views.trials import forget_other, show_trials
from sweeps.ui.words import ago, plain

_REFRESH_S = 2
_RETRY_S = 3
_COLOURS: dict[str, Literal["blue", "green", "red", "orange"]] = {
    "running": "blue",
    "done": "green",
    "failed": "red",
    "no driver": "orange",
}
_VIEWS: dict[str, Callable[[LiveSweep], None]] = {
    "Trials": show_trials,
    "Plots": show_plots,
    "Logs": show_logs,
    "Export": show_export,
}


def show_sweep(shelf: Shelf, name: str) -> None:
    """The page of one sweep."""
    st.button("All sweeps", icon=":material/arrow_back:", type="tertiary", on_click=_close)
    st.header(plain(name), anchor=False)
    with st.spinner("reading the sweep"):
        live, _ = _open(shelf, name)
    if live is None:
        _wait(shelf, name)
        return
    forget_other(name)
    _standing(live)
    tabs = st.tabs(list(_VIEWS), key="view", on_change="rerun", bind="query-params")
    for tab, show in zip(tabs, _VIEWS.values(), strict=True):
        if tab.open:
            with tab:
                show(live)


def _open(shelf: Shelf, name: str) -> tuple[LiveSweep | None, str]:
    """The sweep, or why it cannot be shown."""
    try:
        if name not in shelf:
            return None, f"there is no sweep {name!r} in {shelf.storage}"
        live = shelf.open(name)
        with live.reading():
            return live, ""
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the page says so
        return None, str(error) or type(error).__name__


@st.fragment(run_every=_RETRY_S)
def _wait(shelf: Shelf, name: str) -> None:
    """Say what is wrong, until it is mended."""
    live, trouble = _open(shelf, name)
    if live is not None:
        st.rerun()
    st.error(plain(trouble))


def _close() -> None:
    st.query_params.clear()


@st.fragment(run_every=_REFRESH_S)
@telling
def _standing(live: LiveSweep) -> None:
    row = row_of(live)
    with live.reading() as sweep:
        best, elapsed, steps = sweep.best, sweep.elapsed, sweep.trials.steps
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(row.state, color=_COLOURS.get(row.state, "gray"))
        st.caption(f"last event {ago(row.last)}" if row.last else "no event yet", width="content")
    st.progress(row.share, text=_progress(row))
    with st.container(horizontal=True, gap="medium"):
        of = "" if best is None else f" (trial {best.number})"
        st.metric(plain(f"best {row.metric}{of}"), number(row.best), width="content")
        st.metric("time", duration(elapsed), width="content")
        if steps:
            st.metric("steps", f"{steps:,}", width="content")
    if row.state in ("interrupted", "no driver", "failed"):
        st.caption("Go on with it:")
        st.code(f"caviar resume {shlex.quote(live.folder.place)}", language="bash", wrap_lines=True)


def _progress(row: Row) -> str:
    failed = f", {row.failed} failed" if row.failed else ""
    return f"{row.done} of {row.total} trials done{failed}"
