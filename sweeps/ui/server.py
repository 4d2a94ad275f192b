"""The live page's server: Streamlit in this process, on loopback, until it is interrupted."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sweeps.ui.address import url
from sweeps.ui.entry import SCRIPT

_LOOK_S = 0.05


def serve(storage: str, *, address: str, port: int, ready: Callable[[], None]) -> None:
    """Serve the page of all sweeps under a storage path; ends in order at SIGINT and SIGTERM.

    Args:
        storage: A folder, or a URL of a bucket.
        address: Of loopback.
        port: A free one.
        ready: Called once it answers.
    """
    from streamlit import net_util
    from streamlit.web import bootstrap

    import sweeps.ui.page  # noqa: F401 - or the first visitor would wait for its imports

    # To refuse a foreign page Streamlit would first ask a server on the internet for its address.
    vars(net_util)["get_external_ip"] = lambda: None
    options = _options(address, port)
    bootstrap.load_config_options(options)
    threading.Thread(target=_announce, args=(address, port, ready), daemon=True).start()
    bootstrap.run(str(SCRIPT), False, [storage], options)


def _announce(address: str, port: int, ready: Callable[[], None]) -> None:
    """Wait until the server listens, and say so."""
    while True:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            break
        time.sleep(_LOOK_S)
    ready()


def _options(address: str, port: int) -> dict[str, object]:
    """Streamlit's settings, which go before those of a user's own config.toml."""
    return {
        "server.address": address,
        "server.port": port,
        "server.allowedHosts": [address, "localhost", "127.0.0.1"],
        "server.corsAllowedOrigins": [],
        "server.baseUrlPath": "",
        "server.headless": True,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.showEmailPrompt": False,
        "browser.serverAddress": "localhost" if address == "127.0.0.1" else address,
        "browser.serverPort": port,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.allowedOrigins": [url(address, port)],
        "client.showErrorLinks": False,
        "client.showErrorDetails": "type",
        "theme.light.primaryColor": "#0072b2",
        "theme.dark.primaryColor": "#4da6dd",
        "global.developmentMode": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
        "runner.magicEnabled": False,
        "secrets.files": [],
    }
