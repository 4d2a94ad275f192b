"""Profiles: a cluster's YAML file, by name, checked.

`~/.config/caviar/clusters/NAME.yaml`, then the project's `conf/cluster/NAME.yaml`, then a template
of the package. Its key `backend` says which backend it is for, and so which keys it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional, TypeVar

from cluster.errors import ConfigError
from cluster.typed import typed

# ruff: noqa: UP045 - one spelling of types for all schemas that `typed` reads


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
    """The file; None for the local machine, which needs none."""
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
    required = [f.name for f in fields(schema) if f.name not in defaults]  # type: ignore[arg-type]
    for name in required:
        if given.get(name) is None:
            raise ConfigError(f"{key}.{name} is not set, and it is needed")
    return schema(**typed({**defaults, **given}, schema, key=key))
