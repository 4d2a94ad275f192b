"""What a trial printed."""

from __future__ import annotations

import streamlit as st

from sweeps.journal.status import Status
from sweeps.results import SweepResults
from sweeps.ui.live import LiveSweep
from sweeps.ui.logs import Tail, tail
from sweeps.ui.shared import keeper, telling
from sweeps.ui.words import plain

_REFRESH_S = 2
_LINES = (50, 200, 1000)
_HEIGHT = 460


def show_logs(live: LiveSweep) -> None:
    """A choice of trials, and the end of one's output."""
    with live.reading() as sweep:
        count, default = len(sweep.trials), _most_telling(sweep)
    if not count:
        st.info("No trial has begun yet.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.number_input(
            "trial", min_value=0, value=default, step=1, key="logged", width=160
        )
        lines = st.selectbox("last lines", _LINES, index=1, key="lines", width=140)
    _output(live, int(number), int(lines))


@st.fragment(run_every=_REFRESH_S)
@telling
def _output(live: LiveSweep, number: int, lines: int) -> None:
    with live.reading() as sweep:
        count = len(sweep.trials)
        if number >= count:
            st.info(f"There is no trial {number} yet: the sweep has trials 0 to {count - 1}.")
            return
        status, error = sweep.status(sweep.trials[number]), sweep.trials[number].error
    what = ("output", live.folder.place, number, lines)
    found = keeper().often(what, lambda: tail(live.folder, number, lines=lines))
    st.caption(f"trial {number} is {status}" + (f"; {plain(found.path)}" if found.path else ""))
    _show(found)
    if error:
        st.caption("Why it failed:")
        st.code(error, language=None, wrap_lines=True)


def _show(found: Tail) -> None:
    if not found.text:
        st.info("It has printed nothing.")
        return
    if found.cut:
        st.caption("The end of it:")
    with st.container(height=_HEIGHT, autoscroll=True):
        st.code(found.text, language=None, wrap_lines=True)


def _most_telling(sweep: SweepResults) -> int:
    """The newest trial that runs, or that failed, or the newest."""
    for status in (Status.RUNNING, Status.FAILED):
        if found := sweep.trials.with_status(status):
            return found[-1].number
    return max(0, len(sweep.trials) - 1)
