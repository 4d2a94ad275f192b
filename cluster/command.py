"""Other tools' commands: bounded in time, ended whole, their complaint as one line."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command said."""

    code: int | None
    """Its exit code; None where it did not end in time."""
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.code == 0


def run(
    command: Sequence[str],
    *,
    timeout: float,
    given: str = "",
    env: Mapping[str, str] | None = None,
) -> Answer:
    """Run a command to its end, or kill it and all it began when the time is up.

    Args:
        command: The program and its arguments.
        timeout: Seconds.
        given: For its standard input; where secrets go, never among the arguments.
        env: Its whole environment.

    Raises:
        FileNotFoundError: There is no such program.
    """
    process = _start(command, env, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(given.encode(), timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        out, err = process.communicate()
        return Answer(code=None, out=_text(out), err=_text(err))
    except BaseException:
        kill(process)
        raise
    return Answer(code=process.returncode, out=_text(out), err=_text(err))


def stream(
    command: Sequence[str], *, env: Mapping[str, str] | None = None
) -> Iterator[bytes | Answer]:
    """What a command prints, in pieces as they come; the last is how it ended.

    Nothing of it runs on when whoever reads has stopped.

    Raises:
        FileNotFoundError: There is no such program.
    """
    with tempfile.TemporaryFile() as complaints:
        process = _start(command, env, stdin=subprocess.DEVNULL, stderr=complaints)
        assert process.stdout is not None
        try:
            while piece := os.read(process.stdout.fileno(), 1 << 16):
                yield piece
            code = process.wait()
        finally:
            kill(process)
            process.stdout.close()
        complaints.seek(0)
        yield Answer(code=code, out="", err=_text(complaints.read()))


def last_line(text: str, *, is_noise: Callable[[str], bool] = lambda line: False) -> str:
    """The last line that says something: where tools put what went wrong."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and not is_noise(line)]
    return told[-1] if told else ""


def _start(
    command: Sequence[str],
    env: Mapping[str, str] | None,
    *,
    stdin: int,
    stderr: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - no shell reads it
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=env,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it with all it began, such as a plugin that fetches credentials."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
