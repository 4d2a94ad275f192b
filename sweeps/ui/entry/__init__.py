"""The script that Streamlit runs; its folder goes on the import path, so nothing else is in it."""

from pathlib import Path

SCRIPT = Path(__file__).with_name("caviar_page.py")
