"""Apps run as Python runs them, in this process: command lines put together and carried out."""

from __future__ import annotations

import ast
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import ConfigError, SweepError, did_you_mean
from sweeps.planning.app import App
from sweeps.planning.relocate import find_app
from sweeps.secrets import is_masked
from sweeps.storage.folder import Record, SweepFolder

SWEEPER = "hydra/sweeper=ray_tune"
_BUNDLED = "sweeps.train"
CHECKOUT = Path(__file__).resolve().parents[2]
"""Where caviar's own app is, if this is a checkout."""

# Hydra's flags
_TAKES_A_VALUE = {"--cfg", "-c", "--package", "-p", "--experimental-rerun"} | {
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")
}
_INFO = {"--info", "-i"}
_INFO_TOPICS = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
_MULTIRUN = {"--multirun", "-m"}
_OTHER_MODES = {"--cfg", "-c", "--run", "-r", "--shell-completion", "-sc", "--version"} | {
    *("--help", "-h", "--hydra-help", *_INFO)
}


def is_hydra_flag(word: str) -> bool:
    """Whether Hydra takes it as one of its own."""
    return word.partition("=")[0] in _TAKES_A_VALUE | _INFO | _MULTIRUN | _OTHER_MODES


@dataclass(frozen=True)
class Program:
    """An app as Python would be told of it: a script, or a module as in `python -m`."""

    file: str | None = None
    module: str | None = None

    @classmethod
    def of(cls, app: App) -> Program:
        """An app that is described."""
        return cls(file=app.file, module=app.module)

    def argv(self) -> list[str]:
        """As `split_program` reads it: nothing for the bundled one."""
        if self == BUNDLED:
            return []
        return ["-m", self.module] if self.module is not None else [str(self.file)]


BUNDLED = Program(module=_BUNDLED)
"""caviar's own app."""


def split_program(arguments: Sequence[str]) -> tuple[Program, list[str]]:
    """The app that a command line begins with, the bundled one where it names none, and the rest.

    Raises:
        ConfigError: It begins with something that is no file, module, option or override.
    """
    match arguments:
        case ["-m", module, *rest] if "=" not in module and module[:1] not in "-~+":
            return Program(module=module), list(rest)
        case [first, *rest] if _could_be_app(first):
            if not Path(first).exists():
                raise ConfigError(
                    f"{first!r} is neither a file nor an override such as lr=0.1: "
                    f"an app is a file, or a module as in -m package.app"
                )
            return Program(file=first), list(rest)
        case _:
            return BUNDLED, list(arguments)


def _could_be_app(argument: str) -> bool:
    return (argument[:1] not in "-~+" and "=" not in argument) or argument.endswith(".py")


@dataclass(frozen=True, kw_only=True)
class HydraArguments:
    """A Hydra app's command line: flags with their values, and overrides.

    Hydra's parser refuses overrides that stand on both sides of a flag; put together here they are
    always on one side.
    """

    options: tuple[str, ...]
    overrides: tuple[str, ...]

    @classmethod
    def parse(cls, arguments: Iterable[str]) -> HydraArguments:
        """Tell flags from overrides; both keep their order."""
        options: list[str] = []
        overrides: list[str] = []
        rest = list(arguments)
        while rest:
            taken = _take(rest)
            (options if taken[0].startswith("-") else overrides).extend(taken)
        return cls(options=tuple(options), overrides=tuple(overrides))

    @property
    def names_sweeper(self) -> bool:
        """Whether an override chooses the sweeper."""
        return any(_key(o).lstrip("+~") == "hydra/sweeper" for o in self.overrides)

    @property
    def asks_for_more_than_a_run(self) -> bool:
        """Whether a flag asks Hydra for a config, help or the like, which allow no `-m`."""
        return not _OTHER_MODES.isdisjoint(o.partition("=")[0] for o in self.options)

    def value(self, key: str) -> str | None:
        """What the last override of a key sets, as it is written."""
        said = [o.partition("=")[2] for o in self.overrides if _key(o).lstrip("+") == key]
        return said[-1] if said else None

    def without_multirun(self) -> HydraArguments:
        """Without `-m`, which a sweep has anyway."""
        options = tuple(o for o in self.options if o not in _MULTIRUN)
        return HydraArguments(options=options, overrides=self.overrides)

    def plus(self, *overrides: str) -> HydraArguments:
        """With overrides behind its own, replacing those of the same keys."""
        new = {_key(override) for override in overrides}
        kept = [override for override in self.overrides if _key(override) not in new]
        return HydraArguments(options=self.options, overrides=(*kept, *overrides))

    def as_sweep(self) -> HydraArguments:
        """What makes a sweep by caviar of it: `-m` and the sweeper, unless it names another."""
        options, overrides = self.options, self.overrides
        if not self.asks_for_more_than_a_run and _MULTIRUN.isdisjoint(options):
            options = ("-m", *options)
        if not self.names_sweeper:
            overrides = (SWEEPER, *overrides)
        return HydraArguments(options=options, overrides=overrides)

    def argv(self) -> list[str]:
        """The command line behind the script's name."""
        return [*self.options, *self.overrides]


def _key(override: str) -> str:
    return override.partition("=")[0]


def _take(rest: list[str]) -> list[str]:
    """Take one override, or one flag with its value, off the front."""
    first = rest.pop(0)
    if first in _TAKES_A_VALUE and rest:
        return [first, rest.pop(0)]
    if first in _INFO:  # its topic may be left out; said here, so that no override passes for it
        return [first, rest.pop(0) if rest and rest[0] in _INFO_TOPICS else "all"]
    return [first]


def resume_arguments(
    folder: SweepFolder, record: Record, arguments: Sequence[str]
) -> HydraArguments:
    """The command line that goes on with a sweep: the recorded one and what is new.

    Raises:
        ConfigError: A secret was left out of the record, and is not given anew; or another searcher
            or scheduler is asked for.
    """
    from sweeps.space.domains import literal

    given = HydraArguments.parse(arguments)
    _refuse_other_choice(folder, record, given)
    recorded = HydraArguments.parse(record.app["argv"])
    whole = HydraArguments(options=recorded.options + given.options, overrides=recorded.overrides)
    which = (
        "hydra.sweeper.resume=true",
        f"hydra.sweeper.name={literal(folder.name)}",
        f"hydra.sweeper.storage_path={literal(folder.storage)}",
        f"hydra.sweeper.seed={record.seed}",
    )
    again = whole.plus(*which).plus(*given.overrides)
    if hidden := [_key(override) for override in again.overrides if is_masked(override)]:
        raise ConfigError(
            f"{', '.join(hidden)}: sweep.yaml keeps no secrets, so give it again behind the sweep, "
            f"such as {hidden[0]}='${{oc.env:NAME}}', which names a variable of the environment"
        )
    return again


def _refuse_other_choice(folder: SweepFolder, record: Record, given: HydraArguments) -> None:
    """Before Hydra puts the options of one with the name of the other."""
    for part, was in (("searcher", record.searcher), ("scheduler", record.scheduler)):
        keys = (f"hydra/sweeper/{part}", f"hydra.sweeper.{part}", f"hydra.sweeper.{part}.name")
        for override in given.overrides:
            key, _, value = override.partition("=")
            if key.lstrip("+~") in keys and value != was["name"]:
                raise ConfigError(
                    f"hydra.sweeper.{part} is {value}, and {folder.place} was begun with "
                    f"{was['name']}: a sweep goes on as it was begun; begin another for another "
                    f"{part}, and let it learn from this one with hydra.sweeper.warm_start"
                )


def enter_recorded(record: Record) -> App:
    """Stand where the recorded command stood, or there in this project: folder, import paths.

    Raises:
        SweepError: The app is in neither, or its folder cannot be entered.
    """
    app = find_app(App(**record.app))
    try:
        os.chdir(app.cwd)
    except OSError as error:
        raise SweepError(
            f"the sweep was begun in {app.cwd}, which cannot be entered: {error.strerror}"
        ) from error
    sys.path.extend(path for path in app.sys_path if path not in sys.path)
    return app


def run(program: Program, arguments: HydraArguments) -> None:
    """Run an app in this process as `python app.py ...` or `python -m module ...` would.

    Raises:
        ConfigError: The app is not there.
        SystemExit: The app ended so.
    """
    argv = arguments.argv()
    if program == BUNDLED:
        _check_checkout()
        _run_module(_BUNDLED, argv, path=str(CHECKOUT))
    elif program.module is not None:
        _check_module(program.module)
        _run_module(program.module, argv, path=os.getcwd())
    else:
        assert program.file is not None
        _check_file(program.file)
        _run_file(os.path.abspath(program.file), argv)


def _check_checkout() -> None:
    if not (CHECKOUT / "conf" / "train.yaml").exists():
        raise ConfigError(
            "caviar's own app and its conf/ come with a checkout, and this is an installed "
            "package: name an app, a file or -m module"
        )


def _check_file(file: str) -> None:
    try:
        ast.parse(Path(file).read_bytes(), filename=file)
    except (SyntaxError, ValueError, OSError) as error:
        raise ConfigError(f"{file} cannot be run as Python: {error}") from error


def _check_module(module: str) -> None:
    with _import_path(os.getcwd()):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
    if found is None:
        raise ConfigError(f"-m {module}: there is no such module from {os.getcwd()}")


def _run_module(module: str, argv: list[str], *, path: str) -> None:
    with _import_path(path), _command_line([module, *argv]):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _run_file(file: str, argv: list[str]) -> None:
    with _import_path(os.path.dirname(os.path.realpath(file))), _command_line([file, *argv]):
        runpy.run_path(file, run_name="__main__")


@contextmanager
def _import_path(first: str) -> Iterator[None]:
    """Put what Python would in the place of this script's own folder on the import path."""
    before = list(sys.path)
    if not sys.flags.safe_path:
        sys.path[:1] = [first]
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


# What Hydra refused


def is_wrong_usage(ended: SystemExit) -> bool:
    """Whether an app ended because Hydra could not compose what was asked, and has said so."""
    from hydra.errors import (
        ConfigCompositionException,
        InstantiationException,
        OverrideParseException,
        SearchPathException,
    )

    error = ended.__context__
    if isinstance(error, InstantiationException):
        return isinstance(error.__cause__, ValueError)
    refused = (ConfigCompositionException, OverrideParseException, SearchPathException, ConfigError)
    return isinstance(error, refused)


def hint(ended: SystemExit) -> str:
    """`did you mean a or b?` for a name that Hydra did not know, or nothing."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    error = ended.__context__
    unknown = getattr(error, "__cause__", None)
    options, missing = getattr(error, "options", None), getattr(error, "missing_cfg_file", None)
    if options and missing:
        return _question(str(missing).rpartition("/")[2], options)
    parent, key = getattr(unknown, "parent_node", None), str(getattr(unknown, "full_key", ""))
    if (
        parent is None
        or not isinstance(unknown, ConfigAttributeError | ConfigKeyError)
        or key in _flat(parent, "")
    ):
        return ""
    prefix = key.removesuffix(str(getattr(unknown, "key", "")))
    return _question(key, _flat(parent, prefix))


def _question(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, known).removeprefix("; ")


def _flat(node: Any, prefix: str) -> list[str]:
    """The dotted keys below a config node, without resolving anything; Hydra's own left out."""
    from omegaconf import OmegaConf

    def walk(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, child in value.items():
                if path or key != "hydra":
                    yield f"{path}{key}"
                    yield from walk(child, f"{path}{key}.")

    return list(walk(OmegaConf.to_container(node), prefix))
