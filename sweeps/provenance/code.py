"""The code of a sweep: its git commit, and what was not committed, with secrets masked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.secrets import masked_text
from sweeps.storage.durable import write_whole
from sweeps.storage.folder import SweepFolder

INLINE_BYTES = 64 << 10
"""A longer difference is a file of its own beside sweep.yaml."""
MOST_BYTES = 8 << 20
"""Of a longer one only its hash is kept."""
_MOST_UNTRACKED = 200
_CODE = (
    *(".py", ".pyi", ".pyx", ".ipynb", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs"),
    *(".yaml", ".yml", ".toml", ".cfg", ".ini", ".json", ".sh", ".sql", ".jl", ".r", ".lua"),
)
_CODE_FILE_BYTES = 256 << 10
"""An untracked file of such a name that is longer is data rather than code."""
_NOTE = ".caviar-code.json"
_OUTPUTS = {"outputs", "multirun", ".hydra", "mlruns", "wandb", "lightning_logs", "node_modules"}
_WRITTEN = ("sweep.yaml", "rerun.log")
"""By these a sweep's folder and a reproduction's are known."""
_EXPORT, _SUMS = "metrics.json", '"sha256"'
"""By this file with sums in it an export is known; other tools write files of that name too."""
_HASHES = re.compile(r"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", re.MULTILINE)
"""Of the files before and after, by which a secret in them could be guessed."""
_SECONDS = 20


def code_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the checkout around a folder, and its uncommitted difference; None without git.

    Of code that `caviar submit` has sent here it is that of where it was sent from.

    `diff` is what `git apply` takes on that commit, secrets masked: what git tracks, and untracked
    files that are code (by their names, at most 256 KB each). `untracked` names those. `sha256` is
    the hash of that: of what is masked not even a hash is kept.
    """
    try:
        root = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
        commit = _git(root, "rev-parse", "HEAD").strip()
        untracked = _untracked_code(root)
        diff = masked_text(_HASHES.sub("", _difference(root, untracked)))
    except (OSError, subprocess.SubprocessError):
        return _noted(folder)
    return {
        "commit": commit,
        "branch": _branch(root),
        "sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
        "untracked": untracked,
        "diff": diff if len(diff) <= MOST_BYTES else "",
    }


def code_note(folder: Path) -> dict[str, str]:
    """The state as a file that goes along where the code is sent without its `.git`."""
    state = code_state(folder)
    return {} if state is None else {_NOTE: json.dumps(state, indent=1) + "\n"}


def _noted(folder: Path) -> dict[str, Any] | None:
    """What was noted of a folder's code before it was sent here."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            state: dict[str, Any] = json.loads((place / _NOTE).read_text(encoding="utf-8"))
            return state
    return None


def spilled(state: Mapping[str, Any], folder: SweepFolder, run: int) -> dict[str, Any]:
    """The state as sweep.yaml has it: a long difference is in a file, named in its place."""
    if len(state["diff"].encode()) <= INLINE_BYTES:
        return dict(state)
    file = folder.code_diff(run)
    write_whole(file, state["diff"])
    folder.push(file)
    return {**state, "diff": "", "diff_file": file.name}


def differs(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Whether two states are other code; unknown where one has none, or is of an older caviar."""
    keys = ("commit", "sha256") if "sha256" in (then or {}) else ("commit", "diff")
    return any((then or {}).get(key) != (now or {}).get(key) for key in keys)


def _untracked_code(root: Path) -> list[str]:
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    code = [
        name
        for name in listed
        if name.lower().endswith(_CODE)
        and _OUTPUTS.isdisjoint(name.split("/"))
        and _is_small(root / name)
    ]
    folders = {folder for name in code for folder in _parents(root, name)}
    written = set(filter(_is_written, folders))
    return sorted(n for n in code if written.isdisjoint(_parents(root, n)))[:_MOST_UNTRACKED]


def _is_written(folder: Path) -> bool:
    """Whether caviar wrote it: it lies in the checkout, and git does not ignore it."""
    if any((folder / name).exists() for name in _WRITTEN):
        return True
    with suppress(OSError, UnicodeDecodeError):
        return _SUMS in (folder / _EXPORT).read_text(encoding="utf-8")
    return False


def _parents(root: Path, name: str) -> Iterator[Path]:
    """The folders of the checkout that a file is in, but for the checkout itself."""
    return (root / inner for inner in Path(name).parents if inner != Path())


def _is_small(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= _CODE_FILE_BYTES


def _difference(root: Path, untracked: list[str]) -> str:
    """What is not committed, untracked code as new files; in an index of its own."""
    if not untracked:
        return _git(root, "diff", "HEAD")
    with tempfile.TemporaryDirectory(prefix="caviar-index-") as scratch:
        index = Path(scratch) / "index"
        own = Path(_git(root, "rev-parse", "--absolute-git-dir").strip()) / "index"
        if own.exists():
            shutil.copyfile(own, index)
        names = "\0".join(untracked)
        add = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        _git(root, "--literal-pathspecs", *add, index=index, given=names)
        return _git(root, "diff", "HEAD", index=index)


def _branch(root: Path) -> str | None:
    """The branch, or None between branches."""
    name = _git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    return None if name == "HEAD" else name


def _git(folder: Path, *arguments: str, index: Path | None = None, given: str = "") -> str:
    environment = dict(os.environ) | {"GIT_OPTIONAL_LOCKS": "0"}
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(  # noqa: S603
        command,
        input=given,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
        errors="replace",
        env=environment,
    )
    return done.stdout
