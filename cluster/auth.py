"""Tokens: who holds a cluster's token runs code there as its user, so they are kept, never shown.

A token lies in a file that its owner alone can read, or in the environment. It goes into a header
of a request and nowhere else: no log, error, command line or job's environment holds it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from pathlib import Path

from cluster.errors import ClusterError

DEFAULT_TOKEN_FILE = Path("~/.ray/auth_token")
"""Where Ray looks for one, and writes one."""

_logger = logging.getLogger(__name__)


def token_headers(token: str) -> dict[str, str]:
    """The headers of a request to a cluster with token authentication; none without a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def find_token(*, file: str | None = None, variable: str | None = None) -> str:
    """The token of a profile: of the variable that it names, else of its file, else of Ray's.

    Args:
        file: The profile's `token_file`; the default is Ray's own, `~/.ray/auth_token`.
        variable: The profile's `token_env`: an environment variable of this machine.

    Raises:
        ClusterError: It is not there, or is no token.
    """
    if variable is None:
        return read_token(Path(file) if file else DEFAULT_TOKEN_FILE)
    token = os.environ.get(variable, "").strip()
    if not token:
        raise ClusterError(
            f"the environment variable {variable} is not set; the profile's token_env says that it "
            "holds the cluster's token"
        )
    return _checked(token, f"the environment variable {variable}")


def read_token(path: Path) -> str:
    """Read a token; a file that others can read (as Ray makes it) is closed to them, and said so.

    Raises:
        ClusterError: There is none, it cannot be read, or it is no token.
    """
    path = path.expanduser()
    try:
        with path.open(encoding="ascii") as file:
            _tighten(path, file.fileno())
            token = file.read().strip()
    except FileNotFoundError:
        raise ClusterError(
            f"{path} is not there; copy the cluster's token into it (on the head: `ray "
            "get-auth-token`) and `chmod 600` it, or name another file with token_file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ClusterError(f"the token in {path} cannot be read: {why}") from None
    return _checked(token, str(path))


def read_or_make_token(path: Path) -> str:
    """The token in a file; where there is none, a new one of 256 random bits is put there.

    Raises:
        ClusterError: It cannot be read or written, or is no token.
    """
    path = path.expanduser()
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise ClusterError(f"no token can be written to {path}: {error.strerror}") from error
    return read_token(path)


def _make(path: Path) -> None:
    """Put a token there whole; of two who do so at once, one wins and both read the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()


def _tighten(path: Path, descriptor: int) -> None:
    if not stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
        return
    try:
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        _logger.warning("%s can be read by others, and stays so: %s", path, error.strerror)
    else:
        _logger.warning("%s could be read by others; its mode is 0600 now", path)


def _checked(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ClusterError(f"{where} holds no token: it must be one word of printable characters")
    return token
