"""The plots of a sweep: those of its report, a section at a time."""

from __future__ import annotations

import streamlit as st

from sweeps.reports.drawing import Drawing
from sweeps.reports.sections import SECTIONS
from sweeps.reports.style import template
from sweeps.results import SweepResults
from sweeps.ui.live import LiveSweep
from sweeps.ui.shared import dark, keeper, telling
from sweeps.ui.words import plain

_REFRESH_S = 5


def show_plots(live: LiveSweep) -> None:
    """A choice of sections, and the plots of one."""
    titles = [section.title for section in SECTIONS]
    first = next(section.title for section in SECTIONS if section.key == "progress")
    title = st.segmented_control(
        "plots",
        titles,
        default=first,
        required=True,
        key="section",
        wrap=True,
        bind="query-params",
        label_visibility="collapsed",
    )
    _section(live, titles.index(title))


@st.fragment(run_every=_REFRESH_S)
@telling
def _section(live: LiveSweep, number: int) -> None:
    section = SECTIONS[number]
    look = template(dark=dark())

    def drawn(sweep: SweepResults) -> list[Drawing]:
        drawings = section.drawings(sweep)
        for drawing in drawings:
            if drawing.figure is not None:
                drawing.figure.update_layout(template=look, uirevision="kept")
        return drawings

    drawings = keeper().get(live, ("section", section.key, dark()), drawn)
    if section.about:
        st.caption(plain(section.about))
    if not drawings:
        st.info("There is nothing of this in this sweep.")
    for place, drawing in enumerate(drawings):
        _draw(drawing, f"{section.key}-{place}")


def _draw(drawing: Drawing, key: str) -> None:
    st.subheader(plain(drawing.title), anchor=False)
    if drawing.figure is None:
        st.info(plain(drawing.words))
        return
    if drawing.about:
        st.caption(plain(drawing.about))
    st.plotly_chart(drawing.figure, key=key, theme=None, config={"displaylogo": False})
    if drawing.words:
        st.caption(plain(drawing.words))
