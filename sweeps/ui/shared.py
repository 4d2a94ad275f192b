"""What all visitors share, and what the page knows of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from cluster.errors import ClusterError
from sweeps.errors import ConfigError, SweepError
from sweeps.ui.exporting import Exports
from sweeps.ui.keeping import Keeper
from sweeps.ui.words import plain

P = ParamSpec("P")


def telling(show: Callable[P, None]) -> Callable[P, None]:
    """The same part of a page, which says what is wrong where its sweep cannot be read any more."""

    @wraps(show)
    def told(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            show(*arguments, **options)
        except (SweepError, ConfigError, ClusterError, OSError) as error:
            st.error(plain(error))

    return told


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
