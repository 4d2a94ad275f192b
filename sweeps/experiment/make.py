"""Makes an experiment file of a trial, and sees that its app composes it to the trial's config."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from textwrap import indent
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from sweeps.errors import ConfigError, SweepError
from sweeps.experiment.configs import Configs, choices
from sweeps.experiment.place import Place, places
from sweeps.experiment.values import Keys, at, difference, dotted, to_yaml
from sweeps.planning.compose import COMPOSING
from sweeps.rerun.config import Recorded, different, plain
from sweeps.secrets import is_masked, masked, masked_values

MARK = "# written by caviar"
"""What tells our files from a user's own."""

_SHOWN = 5
"""Keys that a refusal names."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment file that composes to its trial's config."""

    body: str
    """What follows the comments that it begins with."""
    flags: tuple[str, ...]
    """Hydra's flags that choose it."""
    overrides: tuple[str, ...]
    """What chooses it, and what no file can hold."""
    secrets: tuple[str, ...]
    """Keys that it leaves out: they are to be given too."""

    def text(self, *, title: str, command: str) -> str:
        """The file, with what it is and what runs it in its first lines."""
        lines = [f"{MARK}: {title}", f"# {command}"]
        lines += [f"# {key} is a secret, and left out: give it too" for key in self.secrets]
        return "\n".join(["# @package _global_", *lines, self.body])


def make_experiment(
    recorded: Recorded, search_path: ConfigSearchPath, file: Path, *, options: Sequence[str] = ()
) -> Experiment:
    """A trial as an experiment file, to stand at a path, and what runs it.

    The file holds the choices of config groups in which the trial's config and the app's own
    differ, and the values in which the config still differs then; and in any case what the sweep
    and its command line set. What only says how to sweep (a config that reaches Hydra's own node)
    is not chosen again: what it set is there as values.

    Args:
        recorded: The trial's config.
        search_path: Where the app's configs are.
        file: Where it is to stand; nothing is written there.
        options: Hydra's flags that the app is begun with.

    Raises:
        ConfigError: Hydra could not find a file of that name.
        SweepError: The app does not compose it to the trial's config; why is said.
    """
    configs = Configs.of(search_path, recorded)
    target, refused = _Target.of(recorded), list[str]()
    for place in places(file, configs, options):
        try:
            with tempfile.TemporaryDirectory() as folder:
                return _Attempt(target, configs, place, Path(folder)).run()
        except ConfigError as error:
            refused.append(f"with {place.overrides[-1]}: {error}")
    raise SweepError(
        f"{file} was not written: the app does not compose it to the trial's config "
        f"{'; '.join(refused)}. Another folder may do, such as one that the app does not know"
    )


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What is to come out."""

    config: Mapping[str, Any]
    """Plain and unresolved, its secrets masked."""
    choices: Mapping[str, Any]
    overrides: Sequence[str]

    @classmethod
    def of(cls, recorded: Recorded) -> _Target:
        return cls(
            config=masked_values(plain(recorded.config)),
            choices=choices(recorded.hydra),
            overrides=[masked(override) for override in recorded.task_overrides],
        )

    @cached_property
    def keys(self) -> list[str]:
        """Those of its overrides that can be read."""
        with COMPOSING:
            parsed = OverridesParser.create().parse_overrides(
                [override for override in self.overrides if not is_masked(override)]
            )
        return [o.get_key_element().lstrip("+~") for o in parsed]

    @property
    def hidden(self) -> list[str]:
        """The keys of its overrides that were given secrets."""
        return [o.partition("=")[0].lstrip("+") for o in self.overrides if is_masked(o)]

    @property
    def given(self) -> set[Keys]:
        """The keys of single values among its overrides."""
        given: set[Keys] = {tuple(k.split(".")) for k in self.keys if k not in self.choices}
        return {keys for keys in given if not isinstance(at(self.config, keys), dict)}


class _Attempt:
    """One place for the file, tried in a folder that stands before the place's own."""

    def __init__(self, target: _Target, configs: Configs, place: Place, folder: Path) -> None:
        self._target, self._place = target, place
        self._file = folder / f"{place.name}.yaml"
        self._file.parent.mkdir(parents=True)
        self._app = configs
        self._chosen = place.overrides
        if place.by_override:  # the folder that is tried stands in the place of its own
            self._chosen = replace(place, config_dir=folder).overrides
        else:
            if place.config_dir is not None and place.config_dir.is_dir():
                configs = configs.with_folder(place.config_dir, at=place.at)
            configs = configs.with_folder(folder, at=place.at)
        self._configs = configs
        self._defaults: dict[str, Any] = {}
        self._listed: set[str] = set()
        """Of `_defaults` those that a defaults list has already."""

    def run(self) -> Experiment:
        """Put the file together, and compose it.

        Raises:
            ConfigError: It cannot be composed, or comes out otherwise; the keys are named.
        """
        target, now = self._target, self._choose()
        found = difference(target.config, now, always=target.given)
        overrides = found.overrides
        if now.hydra.mode is RunMode.MULTIRUN:  # the app's config begins a sweep by itself
            overrides.append("hydra.mode=RUN")
        composed = self._compose(found.values, overrides)
        secrets = {*map(dotted, found.secrets), *target.hidden}
        came_out = masked_values(plain(composed, but="hydra"))
        differs = [k for k in different(target.config, came_out, "") if k not in secrets]
        if differs:
            more = f" and {len(differs) - _SHOWN} more" if len(differs) > _SHOWN else ""
            raise ConfigError(f"it differs in {', '.join(differs[:_SHOWN])}{more}")
        return Experiment(
            body=self._body(found.values),
            flags=tuple(self._place.flags),
            overrides=(*self._app.overrides, *self._place.overrides, *overrides),
            secrets=tuple(sorted(secrets)),
        )

    def _choose(self) -> DictConfig:
        """Make the choices that are the trial's; the config with these alone."""
        by_default = self._app.choices
        given = {
            k: c for k, c in self._wanted.items() if k in self._target.keys and k in by_default
        }
        self._take({**given, **self._differing(by_default)}, by_default)
        while True:
            now = self._compose({}, ())
            there = choices(now.hydra)
            if not (differing := self._differing(there)):
                return now
            self._take(differing, there)

    def _take(self, differing: Mapping[str, Any], there: Mapping[str, Any]) -> None:
        """Note choices for the file; those that are another's further choices wait for it.

        Raises:
            ConfigError: One was made before, and did not hold.
        """
        if again := differing.keys() & self._defaults.keys():
            key = min(again)
            raise ConfigError(f"{key} is {there.get(key)} and not {differing[key]}")
        first = _outermost(differing.keys() & {*self._target.keys} or differing)
        self._defaults |= {key: differing[key] for key in differing if key in first}
        self._listed |= first & there.keys()

    @cached_property
    def _wanted(self) -> dict[str, Any]:
        """The trial's choices but for the file's own group, and what only says how to sweep."""
        return {
            key: choice
            for key, choice in self._target.choices.items()
            if key != self._place.group and not self._configs.reaches_hydra(key, choice)
        }

    def _differing(self, there: Mapping[str, Any]) -> dict[str, Any]:
        """The choices that are not the trial's yet: what they are to be."""
        differing = {k: c for k, c in self._wanted.items() if c != there.get(k)}
        known = {*self._target.choices, self._place.group}
        gone = [key for key, choice in there.items() if key not in known and choice is not None]
        return {**differing, **dict.fromkeys(gone)}

    def _compose(self, values: Mapping[str, Any], overrides: Sequence[str]) -> DictConfig:
        text = f"# @package _global_\n{self._body(values)}"
        self._file.write_text(text, encoding="utf-8")
        return self._configs.compose([*self._chosen, *overrides])

    def _body(self, values: Mapping[str, Any]) -> str:
        new: list[Any] = [{f"/{k}": c} for k, c in self._defaults.items() if k not in self._listed]
        over = [{f"override /{k}": c} for k, c in self._defaults.items() if k in self._listed]
        listed = [*new, *(["_self_"] if new else []), *over]
        defaults = f"defaults:\n{indent(to_yaml(listed), '  ')}" if listed else ""
        return "\n".join(filter(None, (defaults, to_yaml(dict(values)) if values else "")))


def _outermost(groups: Collection[str]) -> set[str]:
    """Those that are in none of the others."""
    return {key for key in groups if not any(key.startswith(f"{other}/") for other in groups)}
