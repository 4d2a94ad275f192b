"""A Kubernetes cluster as `kubectl` shows it: each call bounded in time, errors in a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from cluster.command import Answer, last_line, run, stream
from cluster.errors import ClusterError

RAY_JOBS = "rayjobs.ray.io"

_NOISE = re.compile(r"[EWI]\d{4} |Warning: |ensure CRDs are installed|Defaulted container")
"""Lines of kubectl's own log and its hints, which stand around what went wrong."""


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """One namespace of one cluster."""

    namespace: str
    context: str | None = None
    """Of the kubeconfig; None for its current one."""

    @property
    def place(self) -> str:
        """As a handle has it: `NAMESPACE` or `NAMESPACE@CONTEXT`, without slashes."""
        at = "" if self.context is None else f"@{quote(self.context, safe='@:')}"
        return f"{self.namespace}{at}"

    @classmethod
    def at(cls, place: str) -> Kubectl:
        """The cluster that a handle names; a context may itself hold an `@`."""
        namespace, _, context = place.partition("@")
        return cls(namespace=namespace, context=unquote(context) or None)

    @property
    def hint(self) -> str:
        """What a user types before the command to see for themselves."""
        context = f" --context={self.context}" if self.context else ""
        return f"kubectl{context} -n {self.namespace}"

    def get(self, kind: str, name: str, *, timeout: float = 15) -> dict[str, Any] | None:
        """An object, or None where there is none of that name.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        said = self.call("get", kind, name, "--ignore-not-found", "-o", "json", timeout=timeout)
        return dict(json.loads(said)) if said.strip() else None

    def has(self, kind: str, name: str) -> bool:
        """Whether there is an object of that name; what it holds stays there.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        return bool(self.call("get", kind, name, "--ignore-not-found", "-o", "name").strip())

    def find(self, kind: str, *selector: str, timeout: float = 15) -> list[dict[str, Any]]:
        """All objects of a kind, oldest first; a selector is `-l NAME=VALUE`.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        said = self.call("get", kind, *selector, "-o", "json", timeout=timeout)
        items: list[dict[str, Any]] = json.loads(said)["items"]
        return sorted(items, key=lambda item: str(item["metadata"].get("creationTimestamp")))

    def create(self, thing: dict[str, Any]) -> None:
        """Create an object, which must not exist yet.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        self.call("create", "-f", "-", "-o", "name", given=json.dumps(thing), timeout=30)

    def call(self, *arguments: str, given: str = "", timeout: float = 15) -> str:
        """What a command answers.

        Raises:
            ClusterError: It failed, or did not answer in time.
        """
        answer = self.ask(*arguments, given=given, timeout=timeout)
        if not answer.ok:
            raise ClusterError(self.complaint(answer, arguments, timeout))
        return answer.out

    def ask(self, *arguments: str, given: str = "", timeout: float = 15) -> Answer:
        """How a command ends.

        Raises:
            ClusterError: There is no kubectl here.
        """
        try:
            return run(self._command(arguments), given=given, timeout=timeout)
        except FileNotFoundError:
            raise _missing() from None

    def follow(self, *arguments: str) -> Iterator[bytes]:
        """What a command prints, as it comes.

        Raises:
            ClusterError: It failed.
        """
        try:
            for piece in stream(self._command(arguments)):
                if isinstance(piece, bytes):
                    yield piece
                elif not piece.ok:
                    raise ClusterError(self.complaint(piece, arguments, 0))
        except FileNotFoundError:
            raise _missing() from None

    def complaint(self, answer: Answer, arguments: Sequence[str], timeout: float) -> str:
        """Why a command failed, in a line, with what to try."""
        what = " ".join(word for word in arguments[:2] if not word.startswith("-"))
        if answer.code is None:
            return (
                f"kubectl {what} got no answer in {timeout:g} s; is the cluster up, and the "
                f"network to it? Try `{self.hint} get pods`"
            )
        why = last_line(answer.err, is_noise=lambda line: bool(_NOISE.match(line)))
        return f"kubectl {what} failed: {why or f'exit code {answer.code}'}"

    def _command(self, arguments: Sequence[str]) -> list[str]:
        context = [f"--context={self.context}"] if self.context else []
        return ["kubectl", *context, f"--namespace={self.namespace}", *arguments]


def _missing() -> ClusterError:
    return ClusterError(
        "kubectl is not on the PATH; install it, see https://kubernetes.io/docs/tasks/tools/"
    )
