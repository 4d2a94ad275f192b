"""A sweep's model, exported by a click."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from sweeps.render import duration
from sweeps.ui.exporting import Export
from sweeps.ui.live import LiveSweep
from sweeps.ui.shared import exports, telling

_REFRESH_S = 1


@st.fragment(run_every=_REFRESH_S)
@telling
def show_export(live: LiveSweep) -> None:
    """What to export, the button, and what came of it."""
    with live.reading() as sweep:
        best = sweep.best
    if best is None:
        st.info("No trial has a value yet, so there is nothing to export.")
        return
    place = live.folder.place
    export = exports().of(place)
    flags = _choice(best.number)
    running = export is not None and export.code is None
    if st.button("Export", type="primary", icon=":material/download:", disabled=running):
        exports().start(place, *flags)
        st.rerun(scope="fragment")
    st.caption("The model is loaded back and evaluated before it takes an older export's place.")
    if export is not None:
        _show(export)


def _choice(best: int) -> list[str]:
    what = st.radio(
        "what",
        ["best", "trial"],
        format_func={"best": "the best trial", "trial": "another trial"}.__getitem__,
        horizontal=True,
        key="what",
        label_visibility="collapsed",
    )
    if what == "best":
        return []
    number = st.number_input("trial", min_value=0, value=best, step=1, key="exported", width=160)
    return ["--trial", str(int(number))]


def _show(export: Export) -> None:
    state: Literal["running", "complete", "error"]
    if export.code is None:
        state, label = "running", f"exporting, {duration(export.seconds)}"
    elif export.code == 0:
        state, label = "complete", f"exported in {duration(export.seconds)}"
    else:
        state, label = "error", f"not exported (exit code {export.code})"
    with st.status(label, state=state, expanded=True):
        if export.said:
            st.code("\n".join(export.said), language=None, wrap_lines=True)
        st.caption("In a terminal:")
        st.code(export.command, language="bash", wrap_lines=True)
    if export.code is None:
        st.button("Cancel", on_click=export.cancel)
