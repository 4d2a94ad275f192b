"""What travels: the user's project without what is ignored, what is kept, and what is secret."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from cluster.backend import Code
from cluster.errors import ClusterError, ConfigError

SECRETS: tuple[str, ...] = (
    ".env*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "auth_token",
    "credentials.json",
    "service-account*.json",
    "kubeconfig",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".git-credentials",
    ".htpasswd",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
)
"""What looks like a secret: it stays here, whatever .gitignore says."""

DEFAULT_EXCLUDES: tuple[str, ...] = (
    *SECRETS,
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "/venv",
    "__pycache__",
    "*.pyc",
    ".hypothesis",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    "node_modules",
    "/outputs",
    "/multirun",
)
"""What never travels, unless the profile's `code.excludes` takes it back: `!cacert.pem`."""

_MARKS = ("pyproject.toml", ".git")
_IGNORE_FILES = (".gitignore", ".rayignore")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip, so that the same files make the same zip."""


def find_root(start: Path, given: str | None = None) -> Path:
    """The project's root: the one given, else the first folder upwards that looks like one.

    Args:
        start: The app's file, or a folder to look from.
        given: The profile's `code.root`; a relative one counts from `start`.

    Raises:
        ConfigError: The given one is no folder.
    """
    start = start.absolute()
    here = start.parent if start.is_file() else start
    if given is not None:
        root = (here / Path(given).expanduser()).resolve()
        if not root.is_dir():
            raise ConfigError(f"code.root is {given!r}; it must be a folder, and {root} is none")
        return root
    for folder in (here, *here.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return here


def import_paths(root: Path) -> tuple[str, ...]:
    """The folders for PYTHONPATH, relative to the root: `src` where it holds packages."""
    source = root / "src"
    if (source / "__init__.py").exists():
        return ()
    holds = any(source.glob("*.py")) or any(source.glob("*/*.py"))
    return ("src",) if holds else ()


@dataclass(frozen=True, kw_only=True)
class Package:
    """A project as it travels."""

    root: Path
    files: Mapping[str, int]
    """Path relative to the root -> bytes, in order."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Texts that are packed too, by path."""
    secrets: tuple[str, ...] = ()
    """What looks like a secret and stays here; a folder ends in a slash."""

    @classmethod
    def of(cls, code: Code) -> Package:
        """Look through a project: all but .gitignore, .rayignore, our excludes and the profile's.

        Links are followed, to folders too.

        Raises:
            ConfigError: The root is a whole home folder or disk.
            ClusterError: A folder cannot be read.
        """
        root = code.root.resolve()
        if root in (Path.home().resolve(), Path(root.anchor)):
            raise ConfigError(
                f"the project's root is {root}, and all of it would be sent; put a pyproject.toml "
                "into the project's own folder, or set code.root"
            )
        look = _Look(code.excludes)
        files = dict(sorted(look.through(root)))
        secrets = tuple(sorted(look.secrets))
        return cls(root=root, files=files, notes=code.notes, secrets=secrets)

    @property
    def size(self) -> int:
        """Bytes of all files, before they are packed."""
        return sum(self.files.values())

    def largest(self, count: int) -> list[tuple[str, int]]:
        """The largest files with their bytes, largest first."""
        return sorted(self.files.items(), key=lambda item: (-item[1], item[0]))[:count]

    def zip(self, target: Path, *, folder: str = "") -> str:
        """Write it as a zip; the same files make the same zip, whenever and wherever.

        Args:
            target: The zip to write.
            folder: Put all files into this folder in the zip. Ray takes one folder off the top of
                a zip that it fetches by URL (s3, file, https), and none of one sent to its head.

        Returns:
            The zip's SHA-256, in hex.

        Raises:
            ClusterError: A file cannot be read.
        """
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name in self.files:
                inside = f"{folder}/{name}" if folder else name
                try:
                    _add(packed, self.root / name, inside)
                except OSError as error:
                    raise ClusterError(
                        f"{name} cannot be packed: {error.strerror}; make it readable, or name it "
                        "in code.excludes of the cluster's profile"
                    ) from error
            for name, text in sorted(self.notes.items()):
                packed.writestr(
                    zipfile.ZipInfo(f"{folder}/{name}" if folder else name, _EPOCH), text
                )
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _add(packed: zipfile.ZipFile, file: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | stat.S_IMODE(file.stat().st_mode)) << 16
    with file.open("rb") as source, packed.open(entry, "w", force_zip64=True) as sink:
        while piece := source.read(1 << 20):
            sink.write(piece)


class _Look:
    """One walk through a project."""

    def __init__(self, excludes: tuple[str, ...]) -> None:
        self.secrets: list[str] = []
        self._own = GitIgnoreSpec.from_lines((*DEFAULT_EXCLUDES, *excludes))
        self._secret = GitIgnoreSpec.from_lines(SECRETS)
        self._ignores: list[tuple[str, GitIgnoreSpec]] = []
        """Of the folders on the way down, outermost first."""

    def through(
        self, folder: Path, within: str = "", above: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, int]]:
        """Each file that travels with its size; `above` are the real folders it lies in."""
        real = os.path.realpath(folder)
        if real in above:  # a link to a folder around it
            return
        specs = _ignore_spec(folder)
        self._ignores += [(within, specs)] if specs else []
        for entry in _scan(folder):
            name = within + entry.name
            if entry.is_dir():
                if not self._stays(f"{name}/"):
                    yield from self.through(Path(entry), f"{name}/", (*above, real))
            elif entry.is_file() and not self._stays(name):
                yield name, entry.stat().st_size
        if specs:
            self._ignores.pop()

    def _stays(self, name: str) -> bool:
        own = self._own.check_file(name).include
        if own is not None:
            if own and self._secret.match_file(name):
                self.secrets.append(name)
            return own
        for within, spec in reversed(self._ignores):  # the innermost file has the last word
            ignored = spec.check_file(name.removeprefix(within)).include
            if ignored is not None:
                return ignored
        return False


def _ignore_spec(folder: Path) -> GitIgnoreSpec | None:
    lines: list[str] = []
    for name in _IGNORE_FILES:
        file = folder / name
        if file.is_file():
            lines += file.read_text(errors="replace").splitlines()
    return GitIgnoreSpec.from_lines(lines) if lines else None


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ClusterError(
            f"{folder} cannot be read: {error.strerror}; make it readable, or name it in "
            "code.excludes of the cluster's profile"
        ) from error
