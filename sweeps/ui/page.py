"""The page: all sweeps, or the one that its address names."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cluster.bucket import Bucket, is_url
from sweeps.ui.shelf import Shelf
from sweeps.ui.views.sweep import show_sweep
from sweeps.ui.views.sweeps import show_sweeps

_STYLE = """<style>
.stMainBlockContainer {padding-top: 3rem; padding-bottom: 3rem}
[data-stale="true"] {opacity: 1 !important; transition: none !important}
[data-testid="stStatusWidget"] {display: none}
</style>"""
"""What refreshes every two seconds does not fade, and says nothing of it."""


def show(storage: str) -> None:
    """Lay out the page for one visitor.

    Args:
        storage: The folder or the URL below which the sweeps are.
    """
    st.set_page_config(page_title="caviar", layout="wide")
    st.html(_STYLE)
    shelf = _shelf(storage)
    name = st.query_params.get("sweep")
    if name:
        show_sweep(shelf, name)
    else:
        show_sweeps(shelf)


@st.cache_resource(show_spinner=False)
def _shelf(storage: str) -> Shelf:
    """One for all visitors."""
    return Shelf(Bucket.parse(storage) if is_url(storage) else Path(storage))
