"""What Streamlit runs for each visitor; its argument is the storage path."""

import sys

from sweeps.ui.page import show

show(sys.argv[1])
