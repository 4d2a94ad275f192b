"""The file that `ray up` takes: what a profile's machines become on AWS, GCP, or as they are.

Pure functions from a profile to the mapping. Nodes authenticate each other with a token that they
get as a file; Ray's dashboard listens on the head's loopback device, and of a cloud's machines only
ssh is open.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

from cluster.health import HEALTH_CHECKS
from cluster.preemption import NOTICES
from cluster.profile import Options

# ruff: noqa: UP045 - one spelling of types for all schemas that `typed` reads

ClusterFile = dict[str, Any]

DASHBOARD_PORT = 8265

_PORT = 6379
_TOKEN = "~/.ray/auth_token"  # noqa: S105 - where it lies on a node
_WHEEL = "~/.caviar"
_HEAD, _WORKER = "head", "trials"
_ALL_SCOPES = "https://www.googleapis.com/auth/cloud-platform"
"""Of GCP: what the service account may do is said by its roles."""


@dataclass(kw_only=True)
class RayUpOptions(Options):
    """A profile of the backend `ray_up`."""

    provider: str
    """aws, gcp or machines."""
    ssh_user: str = "ubuntu"
    ssh_key: Optional[str] = None
    """The private key's file; on a cloud Ray makes one where none is named."""
    python: str = "python"
    """The Python of the nodes that Ray runs in, as a command there; its `ray` is on the PATH."""
    caviar: Optional[str] = None
    """What pip installs there: a wheel here, or a requirement; null where it is there already."""
    setup_commands: list[str] = field(default_factory=list)
    idle_timeout_minutes: float = 5
    up_timeout_s: float = 1800
    stop_s: float = 60

    head: Optional[str] = None
    """Of own machines: the head's address."""
    workers: list[str] = field(default_factory=list)
    """Of own machines: the others' addresses."""

    region: Optional[str] = None
    zone: Optional[str] = None
    project: Optional[str] = None
    """Of GCP."""
    container: Optional[str] = None
    """An image that all runs in."""
    image: Optional[str] = None
    """The machines': an AMI, or GCP's path of one."""
    head_type: Optional[str] = None
    worker_type: Optional[str] = None
    min_workers: int = 1
    max_workers: int = 4
    spot: bool = True
    disk_gb: int = 200
    identity: Optional[str] = None
    """What the trials' machines may do: an instance profile, or a service account's email."""
    head_config: dict[str, Any] = field(default_factory=dict)
    worker_config: dict[str, Any] = field(default_factory=dict)
    """More of the cloud's own for a node, as Ray's `node_config` takes it."""


def cluster_file(name: str, options: RayUpOptions, token_file: Path) -> ClusterFile:
    """The whole file.

    Args:
        name: The cluster's.
        options: The profile's.
        token_file: On this machine; it is copied, and its content is in no file of ours.
    """
    own = PROVIDERS[options.provider](options)
    auth = {"ssh_user": options.ssh_user}
    if options.ssh_key is not None:
        auth["ssh_private_key"] = str(Path(options.ssh_key).expanduser())
    made: ClusterFile = {
        "cluster_name": name,
        "max_workers": _most(options),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": options.idle_timeout_minutes,
        **own,
        "auth": auth,
        "file_mounts": _file_mounts(options, token_file),
        "initialization_commands": [],
        "setup_commands": _setup(options),
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": _start_head(options),
        "worker_start_ray_commands": _start_worker(options),
    }
    if options.container is not None:
        made["docker"] = {"image": options.container, "container_name": "ray"}
    return made


def wheel(options: RayUpOptions) -> Path | None:
    """The file that pip is to install, where it is one of this machine."""
    if options.caviar is None or not options.caviar.endswith(".whl"):
        return None
    return Path(options.caviar).expanduser().absolute()


def _most(options: RayUpOptions) -> int:
    return len(options.workers) if options.provider == "machines" else options.max_workers


def _machines(options: RayUpOptions) -> ClusterFile:
    return {
        "provider": {"type": "local", "head_ip": options.head, "worker_ips": options.workers},
        "min_workers": len(options.workers),
    }


def _aws(options: RayUpOptions) -> ClusterFile:
    disk = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": options.disk_gb}}]
    node: ClusterFile = {"BlockDeviceMappings": disk, "MetadataOptions": {"HttpTokens": "required"}}
    if options.container is not None:  # a hop more to the metadata from within a container
        node["MetadataOptions"]["HttpPutResponseHopLimit"] = 2
    if options.image is not None:
        node["ImageId"] = options.image
    spot: ClusterFile = {"InstanceMarketOptions": {"MarketType": "spot"}} if options.spot else {}
    own = {"IamInstanceProfile": {"Name": options.identity}} if options.identity else {}
    provider: ClusterFile = {"type": "aws", "region": options.region, "cache_stopped_nodes": False}
    if options.zone is not None:
        provider["availability_zone"] = options.zone
    return {"provider": provider} | _node_types(
        options,
        head={"InstanceType": options.head_type, **node},
        worker={"InstanceType": options.worker_type, **node, **spot, **own},
    )


def _gcp(options: RayUpOptions) -> ClusterFile:
    boot: ClusterFile = {"diskSizeGb": options.disk_gb}
    if options.image is not None:
        boot["sourceImage"] = options.image
    disk = {"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": boot}
    node: ClusterFile = {"disks": [disk]}
    spot: ClusterFile = {"scheduling": [{"preemptible": True}]} if options.spot else {}
    account = {"email": options.identity, "scopes": [_ALL_SCOPES]}
    own = {"serviceAccounts": [account]} if options.identity else {}
    provider = {
        "type": "gcp",
        "region": options.region,
        "availability_zone": options.zone,
        "project_id": options.project,
        "cache_stopped_nodes": False,
    }
    return {"provider": provider} | _node_types(
        options,
        head={"machineType": options.head_type, **node},
        worker={"machineType": options.worker_type, **node, **spot, **own},
    )


PROVIDERS: Mapping[str, Callable[[RayUpOptions], ClusterFile]] = {
    "aws": _aws,
    "gcp": _gcp,
    "machines": _machines,
}


def _node_types(options: RayUpOptions, *, head: ClusterFile, worker: ClusterFile) -> ClusterFile:
    return {
        "head_node_type": _HEAD,
        "available_node_types": {
            _HEAD: {
                "node_config": _merged(head, options.head_config),
                "resources": {"CPU": 0},  # the driver is there, and no trial
                "min_workers": 0,
                "max_workers": 0,
            },
            _WORKER: {
                "node_config": _merged(worker, options.worker_config),
                "resources": {},
                "min_workers": options.min_workers,
                "max_workers": options.max_workers,
            },
        },
    }


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> ClusterFile:
    """`more` over `base`, mapping by mapping."""
    both = dict(base)
    for key, value in more.items():
        inner = both.get(key)
        nested = isinstance(inner, dict) and isinstance(value, dict)
        both[str(key)] = _merged(inner, value) if nested and isinstance(inner, dict) else value
    return both


def _file_mounts(options: RayUpOptions, token_file: Path) -> dict[str, str]:
    mounts = {_TOKEN: str(token_file)}
    if (file := wheel(options)) is not None:
        mounts[f"{_WHEEL}/{file.name}"] = str(file)
    return mounts


def _setup(options: RayUpOptions) -> list[str]:
    """The user's commands first: they may make the Python that ours install into."""
    ray = metadata.version("ray")
    same = f"import ray, sys; sys.exit(ray.__version__ != '{ray}')"
    install = f"{options.python} -m pip install --quiet"
    commands = [
        f"chmod 600 {_TOKEN}",
        *options.setup_commands,
        f'{options.python} -c "{same}" || {install} {shlex.quote(f"ray[default]=={ray}")}',
    ]
    if (file := wheel(options)) is not None:
        commands.append(f"{install} {_WHEEL}/{shlex.quote(file.name)}")
    elif options.caviar is not None:
        commands.append(f"{install} {shlex.quote(options.caviar)}")
    return commands


_FILES = "ulimit -n 65536 2> /dev/null"
"""As many open files as Ray wants, where that is allowed."""

_AUTH = f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={_TOKEN.replace('~', '$HOME')}"


def _start_head(options: RayUpOptions) -> list[str]:
    checks = " ".join(f"{name}={value}" for name, value in HEALTH_CHECKS.items())
    zero = " --num-cpus=0" if options.provider == "machines" else ""
    return [
        "ray stop",
        f"{_FILES}; {_AUTH} {checks}; ray start --head --port={_PORT}"
        f" --dashboard-host=127.0.0.1 --dashboard-port={DASHBOARD_PORT}{zero}"
        " --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats",
    ]


def _start_worker(options: RayUpOptions) -> list[str]:
    commands = [
        "ray stop",
        f"{_FILES}; {_AUTH}; ray start --address=$RAY_HEAD_IP:{_PORT} --disable-usage-stats",
    ]
    if options.spot and options.provider in NOTICES:
        watch = f"{options.python} -P -m cluster.preemption {options.provider}"
        commands.append(
            f"{_AUTH}; setsid nohup {watch} --address=$RAY_HEAD_IP:{_PORT}"
            " > /dev/null 2>&1 < /dev/null &"
        )
    return commands
