"""What all visitors share, and what the page knows of one."""

from __future__ import annotations

import streamlit as st

from sweeps.ui.exporting import Exports
from sweeps.ui.keeping import Keeper


@st.cache_resource(show_spinner=False)
def keeper() -> Keeper:
    """What was made of sweeps."""
    return Keeper()


@st.cache_resource(show_spinner=False)
def exports() -> Exports:
    """What was exported from here."""
    return Exports()


def dark() -> bool:
    """Whether the visitor's page is dark."""
    return st.context.theme.type == "dark"
