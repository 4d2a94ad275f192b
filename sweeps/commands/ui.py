"""`caviar ui`: a live page over all sweeps of a folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from sweeps.commands.verb import Verb, add_help, port, say
from sweeps.errors import ConfigError, did_you_mean

_PORT, _DASHBOARD_PORT = 8501, 8080
_INTERRUPTED = 130


def _ui(parser: ArgumentParser, given: list[str]) -> int:
    options = _options(parser, given)

    from sweeps.ui.address import check_address, choose_port

    dashboard = options.optuna_dashboard is not None
    default = _DASHBOARD_PORT if dashboard else _PORT
    address = check_address(options.address, port=options.port or default)
    _require("optuna_dashboard" if dashboard else "streamlit")
    serve = _serve_dashboard if dashboard else _serve_page
    return serve(options, address, lambda: choose_port(address, options.port, default=default))


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="a storage path, or one sweep in it (outputs/sweeps); s3:// too",
    )
    parser.add_argument(
        "--port", type=port, metavar="N", help=f"a port ({_PORT}, or the next free one)"
    )
    parser.add_argument(
        "--address", default="127.0.0.1", metavar="A", help="a loopback address (127.0.0.1)"
    )
    parser.add_argument(
        "--optuna-dashboard",
        metavar="SWEEP",
        help=f"a copy of that sweep's journal in optuna-dashboard (port {_DASHBOARD_PORT})",
    )
    add_help(parser)
    options = parser.parse_args(given)
    if options.folder and options.optuna_dashboard:
        parser.error("FOLDER is of the live page; --optuna-dashboard takes a SWEEP")
    return options


def _require(module: str) -> None:
    if find_spec(module) is None:
        package = module.replace("_", "-")
        raise ConfigError(f"caviar ui needs {package}: pip install 'caviar[ui]'")


def _serve_page(options: Namespace, address: str, choose: Callable[[], int]) -> int:
    from sweeps.ui.address import url
    from sweeps.ui.server import serve

    storage, sweep = _find(options.folder)
    number = choose()
    query = f"/?sweep={quote(sweep)}" if sweep else ""
    ready = f"{storage} at {url(address, number)}{query} (Ctrl-C ends it)"
    serve(storage, address=address, port=number, ready=lambda: say(ready))
    return _INTERRUPTED


def _serve_dashboard(options: Namespace, address: str, choose: Callable[[], int]) -> int:
    from sweeps.submission.found import find_any_sweep
    from sweeps.ui.address import url
    from sweeps.ui.dashboard import serve_dashboard

    folder = find_any_sweep(options.optuna_dashboard)
    number = choose()
    ready = f"a copy of {folder.place} at {url(address, number)} (Ctrl-C ends it)"
    serve_dashboard(folder, address=address, port=number, ready=lambda: say(ready))
    return _INTERRUPTED


def _find(given: str | None) -> tuple[str, str | None]:
    """The storage path, and the sweep in it if one was given.

    Raises:
        ConfigError: There is no such folder.
    """
    from cluster.bucket import Bucket, is_url
    from sweeps.storage.folder import DEFAULT_STORAGE

    if given is None:
        return str(DEFAULT_STORAGE.resolve()), None  # a first sweep may be yet to come
    if is_url(given):
        place = Bucket.parse(given, key="FOLDER")
        is_sweep = place.impatient.has("sweep.yaml")
        return (str(place.parent), place.name) if is_sweep else (str(place), None)
    folder = Path(given).resolve()
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
        raise ConfigError(f"there is no folder {folder}{did_you_mean(folder.name, beside)}")
    if (folder / "sweep.yaml").exists():
        return str(folder.parent), folder.name
    return str(folder), None


UI = Verb(
    run=_ui,
    summary="open a live page over all sweeps of a folder",
    usage="[FOLDER] [--port N] [--address A] | --optuna-dashboard SWEEP",
    about=(
        "Serve a page on this machine that shows all sweeps of a folder while they run: progress,\n"
        "curves and plots, trials side by side, logs, and a button that exports the best model.\n"
        "It is reached from this machine alone; from another one, through an ssh tunnel:\n"
        "ssh -N -L 8501:127.0.0.1:8501 USER@HOST"
    ),
    examples=("", "s3://bucket/sweeps --port 8600", "--optuna-dashboard train-1"),
)
