"""What surrounds a sweep while it runs."""

from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest

from sweeps.driver.runner import _log_to
from sweeps.storage.folder import SweepFolder


@pytest.mark.parametrize("name", ["sweeps.driver.lanes", "optuna.samplers._gp.sampler"])
def test_what_we_and_optuna_log_goes_to_the_sweeps_folder_and_not_to_the_screen(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    optuna.logging.get_verbosity()  # gives Optuna's logger its handler of the screen
    folder = SweepFolder(tmp_path)
    top = logging.getLogger(name.partition(".")[0])
    before = list(top.handlers), top.propagate
    with caplog.at_level(logging.WARNING, logger=top.name), _log_to(folder):
        logging.getLogger(name).warning("slower than could be")
    assert f"WARNING {name}: slower than could be" in folder.log.read_text()
    assert capfd.readouterr().err == ""
    assert (top.handlers, top.propagate) == before
