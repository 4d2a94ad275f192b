"""A node's own watch for the notice that the cloud takes it back: `-m cluster.preemption`.

Ray is told then, so that trials go on elsewhere before the machine is gone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_AWS = "http://169.254.169.254/latest"
_GCP = "http://metadata.google.internal/computeMetadata/v1"
_EVERY_S = 3
_ANSWER_S = 2


@dataclass(frozen=True)
class Notice:
    """How a cloud says it."""

    comes: Callable[[], bool]
    """Whether it has come; False too where the cloud does not answer."""
    seconds: int
    """What is left then, a little kept back."""


def aws(url: str = _AWS) -> bool:
    """Whether a spot instance is to be interrupted; two minutes before it is."""
    seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = _ask(f"{url}/api/token", seconds, method="PUT")
    if not token:
        return False
    own = {"X-aws-ec2-metadata-token": token}
    return bool(_ask(f"{url}/meta-data/spot/instance-action", own))


def gcp(url: str = _GCP) -> bool:
    """Whether a spot machine is being preempted; half a minute before it is gone."""
    return _ask(f"{url}/instance/preempted", {"Metadata-Flavor": "Google"}) == "TRUE"


NOTICES: Mapping[str, Notice] = {"aws": Notice(aws, 110), "gcp": Notice(gcp, 25)}


def drain_command(ray: str, address: str, seconds: int) -> list[str]:
    """Tells Ray that the node this runs on goes in so many seconds."""
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    reason += ["--reason-message", "the cloud takes the machine back"]
    return [
        *(ray, "drain-node", "--address", address, *reason),
        *("--deadline-remaining-seconds", str(seconds)),
    ]


def watch(comes: Callable[[], bool], *, every_s: float = _EVERY_S) -> None:
    """Wait until the notice has come."""
    while not comes():
        time.sleep(every_s)


def main(arguments: Sequence[str]) -> int:
    """Watch, and drain this node once."""
    parser = argparse.ArgumentParser(prog="python -m cluster.preemption")
    parser.add_argument("cloud", choices=sorted(NOTICES))
    parser.add_argument("--address", required=True, help="of the cluster's GCS")
    given = parser.parse_args(arguments)
    notice = NOTICES[given.cloud]
    watch(notice.comes)
    ray = str(Path(sys.executable).with_name("ray"))
    command = drain_command(ray, given.address, notice.seconds)
    return subprocess.run(command, check=False).returncode  # noqa: S603


def _ask(url: str, headers: Mapping[str, str], *, method: str = "GET") -> str:
    """The metadata server's answer; nothing where there is none, as before the notice."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310
    try:
        with direct.open(request, timeout=_ANSWER_S) as answer:
            return str(answer.read().decode()).strip()
    except (urllib.error.URLError, OSError):
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
