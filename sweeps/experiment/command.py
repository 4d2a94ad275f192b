"""The command that runs an app with an experiment file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from sweeps.experiment.make import Experiment
from sweeps.planning.app import App
from sweeps.planning.launch import BUNDLED, HydraArguments, Program

_WHERE_CONFIGS_ARE = {
    *("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"),
}


def config_options(argv: Sequence[str]) -> list[str]:
    """Of an app's command line the flags that say which configs it takes."""
    options = list(HydraArguments.parse(argv).options)
    kept: list[str] = []
    while options:
        first, *rest = options
        takes = 1 if "=" in first or not rest or rest[0].startswith("-") else 2
        if first.partition("=")[0] in _WHERE_CONFIGS_ARE:
            kept += options[:takes]
        options = options[takes:]
    return kept


def command_line(app: App, experiment: Experiment) -> str:
    """What to type, from the folder that this process stands in."""
    flags = [_from(app.cwd, flag) for flag in experiment.flags]
    words = [*_program(app), *config_options(app.argv), *flags, *experiment.overrides]
    go = "" if os.path.realpath(os.getcwd()) == os.path.realpath(app.cwd) else f"cd {app.cwd} && "
    return f"{go}{shlex.join(words)}"


def _program(app: App) -> list[str]:
    program = Program.of(app)
    if program == BUNDLED:
        return ["caviar", "train"]
    if program.module is not None:
        return ["python", "-m", program.module]
    return ["python", _from(app.cwd, str(program.file))]


def _from(folder: str, word: str) -> str:
    """A path as it is typed in a folder, where that is shorter."""
    return min(word, os.path.relpath(word, folder), key=len) if os.path.isabs(word) else word
