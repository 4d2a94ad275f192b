"""Profiles: a cluster's YAML file, by name, checked.

`~/.config/caviar/clusters/NAME.yaml`, then the project's `conf/cluster/NAME.yaml`, then a template
of the package. Its key `backend` says which backend it is for, and so which keys it takes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional, TypeVar

import yaml

from cluster.backend import Backend
from cluster.backends import BACKENDS
from cluster.errors import ConfigError, did_you_mean, nearest
from cluster.files import config_home
from cluster.typed import typed

# ruff: noqa: UP045 - one spelling of types for all schemas that `typed` reads

THIS_MACHINE = ("local", "process")
"""Backends that take a storage path which no other machine sees."""

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(kw_only=True)
class Options:
    """The keys that every profile takes; a backend's own schema extends it."""

    storage: Optional[str] = None
    """Where sweeps are kept: an absolute path that every node shares, or s3://bucket/sweeps."""
    code: dict[str, Any] = field(default_factory=dict)
    """See `CodeOptions`."""
    env: dict[str, Any] = field(default_factory=dict)
    """Plain values for the job's environment; no secrets."""


@dataclass(kw_only=True)
class CodeOptions:
    """The key `code`: how the user's project gets to the other side."""

    travels: str = "package"
    """package: sent along; shared: it lies at the same path there; image: it is in the image."""
    root: Optional[str] = None
    """The project's root here, if it is not the first parent with pyproject.toml or .git."""
    path: Optional[str] = None
    """Its root on the other side, where it is in the image."""
    excludes: list[str] = field(default_factory=list)
    """What does not travel, as gitignore patterns, besides what .gitignore and we leave out."""


Schema = TypeVar("Schema")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A cluster as its file describes it."""

    name: str
    path: Path | None
    """The file, where it is from one."""
    backend: str
    options: Mapping[str, Any]
    """All keys but `backend`, unchecked."""
    insecure: bool = False
    """Whether the user said `--insecure`: a cluster without token authentication is taken."""

    def read(self, schema: type[Schema]) -> Schema:
        """The options as the schema has them, a subclass of `Options`.

        Raises:
            ConfigError: A key that it does not have, a value of another type, or a key missing.
        """
        return read_options(self.options, schema, key=f"cluster {self.name}")

    @property
    def common(self) -> Options:
        """The keys that every profile takes."""
        names = {each.name for each in fields(Options)}
        given = {name: value for name, value in self.options.items() if name in names}
        return read_options(given, Options, key=f"cluster {self.name}")

    @property
    def code(self) -> CodeOptions:
        """The key `code`."""
        return read_options(self.common.code, CodeOptions, key=f"cluster {self.name}.code")

    @property
    def is_this_machine(self) -> bool:
        """Whether nothing else has to see its storage."""
        return self.backend in THIS_MACHINE


def profile_files(project_root: Path) -> dict[str, Path]:
    """Every profile that there is: name -> its file, where it is found first."""
    found: dict[str, Path] = {}
    for folder in _folders(project_root):
        for file in sorted(folder.glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def load_profile(name: str, project_root: Path, *, insecure: bool = False) -> Profile:
    """The profile of that name.

    Args:
        name: The file's, without `.yaml`.
        project_root: Where `conf/cluster/` lies.
        insecure: Whether a cluster without token authentication is taken.

    Raises:
        ConfigError: There is none, or its file cannot be read or names no backend.
    """
    files = profile_files(project_root)
    if name not in files:
        looked = ", ".join(map(str, _folders(project_root)))
        raise ConfigError(
            f"there is no cluster {name!r}{did_you_mean(name, files)}; there are "
            f"{', '.join(sorted(files))}. Looked for {name}.yaml in {looked}"
        )
    path = files[name]
    options = _read(path)
    backend = options.pop("backend", None)
    if backend not in BACKENDS:
        raise ConfigError(
            f"{path}: backend is {backend!r}; it must be one of {', '.join(BACKENDS)}"
            f"{did_you_mean(str(backend), BACKENDS)}"
        )
    return Profile(name=name, path=path, backend=backend, options=options, insecure=insecure)


def make_backend(profile: Profile) -> Backend:
    """The backend of a profile; it reaches for nothing yet.

    Raises:
        ConfigError: A key of the profile is wrong.
    """
    module, _, name = BACKENDS[profile.backend].partition(":")
    kind = getattr(importlib.import_module(module), name)
    backend: Backend = kind.from_profile(profile)
    return backend


def _folders(project_root: Path) -> list[Path]:
    return [config_home() / "clusters", project_root / "conf" / "cluster", _TEMPLATES]


def _read(path: Path) -> dict[str, Any]:
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(options, dict):
        raise ConfigError(f"{path} holds {options!r}; it must be a mapping such as backend: ray")
    return {str(key): value for key, value in options.items()}


def read_options(given: Mapping[str, Any], schema: type[Schema], *, key: str) -> Schema:
    """A mapping as a schema, a dataclass, has it; what is not given has its default.

    Raises:
        ConfigError: A key that it does not have, a value of another type, or a key missing.
    """
    defaults: dict[str, Any] = {}
    for each in fields(schema):  # type: ignore[arg-type]
        if each.default is not MISSING:
            defaults[each.name] = each.default
        elif each.default_factory is not MISSING:
            defaults[each.name] = each.default_factory()
    names = [each.name for each in fields(schema)]  # type: ignore[arg-type]
    unknown = [name for name in given if name not in names]
    for name in names:
        if name not in defaults and given.get(name) is None:
            if instead := [other for other in unknown if name in nearest(other, names)]:
                raise ConfigError(
                    f"{key}.{instead[0]} is not an option; did you mean {key}.{name}?"
                )
            raise ConfigError(f"{key}.{name} is not set, and it is needed")
    return schema(**typed({**defaults, **given}, schema, key=key))
