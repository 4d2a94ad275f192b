"""The plots of a sweep: those of its report, a section at a time."""

from __future__ import annotations

import streamlit as st

from sweeps.report.drawing import Drawing
from sweeps.report.sections import SECTIONS
from sweeps.report.style import template
from sweeps.ui.live import LiveSweep
from sweeps.ui.shared import dark, keeper, telling
from sweeps.ui.words import plain

_REFRESH_S = 5


def show_plots(live: LiveSweep) -> None:
    """A choice of sections, and the plots of one."""
    sections = {section.key: section for section in SECTIONS}
    key = st.segmented_control(
        "plots",
        list(sections),
        default=SECTIONS[0].key,
        required=True,
        format_func=lambda key: sections[key].title,
        key="section",
        wrap=True,
        bind="query-params",
        label_visibility="collapsed",
    )
    _section(live, key)


@st.fragment(run_every=_REFRESH_S)
@telling
def _section(live: LiveSweep, key: str) -> None:
    section = next(section for section in SECTIONS if section.key == key)
    drawings = keeper().get(live, ("section", key), section.drawings)
    for place, drawing in enumerate(drawings):
        _draw(drawing, f"{key}-{place}")


def _draw(drawing: Drawing, key: str) -> None:
    st.subheader(plain(drawing.title), anchor=False)
    if drawing.figure is None:
        st.info(plain(drawing.words))
        return
    st.caption(plain(drawing.about))
    figure = drawing.figure
    figure.update_layout(template=template(dark=dark()), uirevision="kept")
    st.plotly_chart(figure, key=key, theme=None, config={"displaylogo": False})
    if drawing.words:
        st.caption(plain(drawing.words))
