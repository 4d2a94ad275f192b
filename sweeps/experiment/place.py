"""Where an experiment file stands, and what on an app's command line chooses it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.errors import ConfigError
from sweeps.experiment.configs import Configs
from sweeps.space.literals import literal

_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_CONFIG_DIR = ("--config-dir", "-cd")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One way to choose the file."""

    group: str
    """The config group that it is in, such as `experiment`."""
    choice: str
    """Its name there, such as `best`."""
    is_listed: bool
    """Whether the app's defaults list has the group."""
    at: int
    """The place in the search path of the folder that it is in."""
    config_dir: Path | None = None
    """That folder, where the app does not look there by itself."""
    by_override: bool = False
    """Whether it is named by an override: the app is begun with a --config-dir of its own."""

    @property
    def flags(self) -> list[str]:
        """Hydra's flags that it takes."""
        named_by_flag = self.config_dir is not None and not self.by_override
        return ["--config-dir", str(self.config_dir)] if named_by_flag else []

    @property
    def overrides(self) -> list[str]:
        """The overrides that it takes."""
        chosen = f"{'' if self.is_listed else '+'}{self.group}={literal(self.choice)}"
        if self.config_dir is None or not self.by_override:
            return [chosen]
        return [f"hydra.searchpath=[{literal(f'file://{self.config_dir}')}]", chosen]

    @property
    def name(self) -> str:
        """The file below its folder, without its ending."""
        return f"{self.group}/{self.choice}"


def places(file: Path, configs: Configs, options: Sequence[str]) -> Iterator[Place]:
    """The ways to choose a file, the plainest first.

    Args:
        file: It need not be there.
        configs: The app's.
        options: Hydra's flags that the app is begun with.

    Raises:
        ConfigError: Hydra could not find it under that name.
    """
    if file.suffix != ".yaml":
        raise ConfigError(f"--experiment is {str(file)!r}; Hydra reads files that end in .yaml")
    file = file.resolve()
    listed = {*configs.choices}
    for index, folder in configs.folders():
        if file.parent != folder and file.is_relative_to(folder):
            parts = file.relative_to(folder).with_suffix("").parts
            splits = [(parts[:i], parts[i:]) for i in range(1, len(parts))]
            splits.sort(key=lambda split: "/".join(split[0]) not in listed)
            for group, choice in splits:
                yield _place(group, choice, listed, at=index)
            return
    yield _place(
        (file.parent.name,),
        (file.stem,),
        listed,
        at=configs.end,
        config_dir=file.parent.parent,
        by_override=any(option.partition("=")[0] in _CONFIG_DIR for option in options),
    )


def _place(
    group: Sequence[str],
    choice: Sequence[str],
    listed: set[str],
    *,
    at: int,
    config_dir: Path | None = None,
    by_override: bool = False,
) -> Place:
    for name in group:
        if not _GROUP.fullmatch(name):
            raise ConfigError(
                f"--experiment: the folder's name is the config group, and {name!r} can be none; "
                f"write it into a folder such as experiment/"
            )
    whole = "/".join(group)
    return Place(
        group=whole,
        choice="/".join(choice),
        is_listed=whole in listed,
        at=at,
        config_dir=config_dir,
        by_override=by_override,
    )
