"""The list of all sweeps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pyarrow as pa
import streamlit as st

from cluster.errors import ClusterError
from sweeps.ui.shelf import Row, Shelf
from sweeps.ui.words import plain, when

_REFRESH_S = 2
_LISTED = "listed"
_KEY = "sweeps"


def show_sweeps(shelf: Shelf) -> None:
    """The list; a click on a line opens its sweep."""
    st.header("Sweeps", anchor=False)
    st.caption(f"in {plain(shelf.storage)}")
    _list(shelf)


@st.fragment(run_every=_REFRESH_S)
def _list(shelf: Shelf) -> None:
    if st.query_params.get("sweep"):  # the click was on a line of this list
        st.rerun()
    try:
        rows = shelf.rows()
    except ClusterError as error:
        st.error(plain(error))
        return
    if not rows:
        _say_how_to_begin(shelf)
        return
    st.session_state[_LISTED] = [row.name for row in rows]
    st.dataframe(
        _table(rows),
        key=_KEY,
        hide_index=True,
        on_select=_open,
        selection_mode="single-cell",
        column_config=_COLUMNS,
        placeholder="",
        alt="all sweeps, newest first",
    )
    st.caption("Newest first. Click on a line to open its sweep.")


def _open() -> None:
    cells = st.session_state[_KEY]["selection"]["cells"]
    if cells:
        st.query_params["sweep"] = st.session_state[_LISTED][cells[0][0]]


def _table(rows: Sequence[Row]) -> pa.Table:
    columns = {
        "name": pa.array([row.name for row in rows], pa.string()),
        "state": pa.array([row.state for row in rows], pa.string()),
        "progress": pa.array([row.share if row.is_known else None for row in rows], pa.float64()),
        "best": pa.array([row.best for row in rows], pa.float64()),
        "trials": pa.array([f"{r.done} of {r.total}" if r.is_known else "" for r in rows]),
        "failed": pa.array([row.failed or None for row in rows], pa.int64()),
        "metric": pa.array([row.metric for row in rows], pa.string()),
        "last": when(row.last for row in rows),
        "began": when(row.began for row in rows),
    }
    if any(row.trouble for row in rows):
        columns["trouble"] = pa.array([row.trouble for row in rows], pa.string())
    return pa.table(columns)


_COLUMNS = {
    "name": st.column_config.TextColumn("sweep", pinned=True),
    "state": st.column_config.TextColumn("status", width=95),
    "progress": st.column_config.ProgressColumn(
        "progress", width="small", min_value=0.0, max_value=1.0, format="percent"
    ),
    "best": st.column_config.NumberColumn("best", format="%.5g", width="small"),
    "trials": st.column_config.TextColumn("trials", width="small"),
    "failed": st.column_config.NumberColumn("failed", width="small"),
    "metric": st.column_config.TextColumn("of"),
    "last": st.column_config.DatetimeColumn("last event", format="distance"),
    "began": st.column_config.DatetimeColumn("began", format="YYYY-MM-DD HH:mm"),
    "trouble": st.column_config.TextColumn("what is wrong", width=330),
}


def _say_how_to_begin(shelf: Shelf) -> None:
    place = shlex.quote(f"hydra.sweeper.storage_path={shelf.storage}")
    st.info("There is no sweep here yet. One that begins is shown by itself; to make one:")
    st.code(
        f"caviar sweep app.py 'lr=tag(log, interval(1e-4, 1))' {place}",
        language="bash",
        wrap_lines=True,
    )
