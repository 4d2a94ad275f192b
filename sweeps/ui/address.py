"""Where a page listens: on this machine alone, for it asks nobody who they are."""

from __future__ import annotations

import getpass
import ipaddress
import socket

from sweeps.errors import ConfigError, SweepError

LOOPBACK = "127.0.0.1"
_TRIED = 100


def check_address(address: str, *, port: int) -> str:
    """The loopback address that a user means.

    Raises:
        ConfigError: It is another one; the message holds the tunnel that does what is wanted.
    """
    if address == "localhost":
        return LOOPBACK
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:
        pass  # a name, which may lead anywhere
    raise ConfigError(
        f"--address is {address!r}; it must be a loopback address such as {LOOPBACK}: the page "
        f"asks nobody for a password. From another machine, type there\n"
        f"  {tunnel(port)}\n"
        f"and open http://localhost:{port}"
    )


def tunnel(port: int) -> str:
    """The ssh command that brings a port of this machine to another one."""
    return f"ssh -N -L {port}:{LOOPBACK}:{port} {getpass.getuser()}@{socket.gethostname()}"


def url(address: str, port: int) -> str:
    """What to open in a browser."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def choose_port(address: str, asked: int | None, *, default: int) -> int:
    """The port asked for, or else the first free one from the default on.

    Raises:
        SweepError: It is in use, or may not be taken; or none is free.
    """
    if asked is not None:
        if (refusal := _refusal(address, asked)) is not None:
            raise SweepError(
                f"--port is {asked}, and {address}:{asked} cannot be taken "
                f"({refusal.strerror}): choose another one, or leave --port out"
            )
        return asked
    for port in range(default, default + _TRIED):
        if _refusal(address, port) is None:
            return port
    raise SweepError(f"no port of {address} from {default} to {port} is free: give one with --port")


def _refusal(address: str, port: int) -> OSError | None:
    """Why a port cannot be listened at, if it cannot."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((address, port))
            found.listen(1)
    except OSError as error:
        return error
    return None
