"""What must hold here before `ray up` can start a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.backend import Check
from cluster.bucket import check_bucket, is_url
from cluster.cluster_file import ClusterFile, RayUpOptions
from cluster.command import last_line, run
from cluster.errors import ClusterError, ConfigError

_SSH_S = 5
_AS_RAY = ("-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null")
"""Ray's launcher takes any host key."""
_LIBRARIES = {"aws": ("boto3", "boto3"), "gcp": ("googleapiclient", "google-api-python-client")}
"""Provider -> the module that Ray imports for it, and what pip calls it."""


def checks(options: RayUpOptions, content: ClusterFile) -> Iterator[Check]:
    """Each check when it is asked for, cheapest first."""
    for tool in ("ssh", "rsync"):
        yield _has_tool(tool)
    if options.provider in _LIBRARIES:
        yield (found := _has_library(*_LIBRARIES[options.provider]))
        if found.ok:
            yield _has_credentials(options.provider)
    if options.ssh_key is not None:
        yield _has_key(Path(options.ssh_key).expanduser())
    yield _is_valid(content)
    if options.provider == "machines" and options.head is not None and shutil.which("ssh"):
        yield from _reach([options.head, *options.workers], options)


def _has_tool(tool: str) -> Check:
    path = shutil.which(tool)
    if path is None:
        return Check(name=tool, ok=False, what=f"{tool} is not on the PATH", todo="install it")
    return Check(name=tool, ok=True, what=path)


def _has_library(module: str, package: str) -> Check:
    if importlib.util.find_spec(module):
        return Check(name="provider", ok=True, what=f"{package} is installed")
    what = f"Ray's provider needs {package}, which is not installed"
    return Check(name="provider", ok=False, what=what, todo=f"pip install {package}")


def _has_credentials(provider: str) -> Check:
    """Whether the cloud's own tools find any here; they are not shown to it."""
    if provider == "aws":
        refused = importlib.import_module("botocore.exceptions").BotoCoreError
        try:
            found = importlib.import_module("boto3").Session().get_credentials() is not None
        except refused:  # such as of an AWS_PROFILE that is not there
            found = False
        todo = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
    else:
        auth = importlib.import_module("google.auth")
        try:
            found = bool(auth.default())
        except auth.exceptions.DefaultCredentialsError:
            found = False
        todo = "run `gcloud auth application-default login`"
    if found:
        return Check(
            name="account", ok=True, what="credentials are here; what they may is not asked"
        )
    return Check(
        name="account", ok=False, what=f"there are no {provider} credentials here", todo=todo
    )


def _has_key(file: Path) -> Check:
    if not file.is_file():
        return Check(name="key", ok=False, what=f"{file} is not there", todo="set ssh_key")
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        what = f"{file} can be read by others, and ssh does not take such a key"
        return Check(name="key", ok=False, what=what, todo=f"chmod 600 {file}")
    return Check(name="key", ok=True, what=f"{file} is its owner's alone")


def _is_valid(content: ClusterFile) -> Check:
    """Ray's own judgement of the file, without the cloud."""
    from jsonschema import ValidationError  # type: ignore[import-untyped]
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(content))
    except (ValidationError, ValueError, RuntimeError) as error:
        what = f"Ray refuses the cluster file: {str(error).splitlines()[0]}"
        todo = "correct what the profile says of it; head_config and worker_config go in as is"
        return Check(name="file", ok=False, what=what, todo=todo)
    return Check(name="file", ok=True, what="Ray takes the cluster file")


def _reach(machines: list[str], options: RayUpOptions) -> Iterator[Check]:
    with ThreadPoolExecutor(max_workers=16) as pool:
        yield from pool.map(lambda machine: _is_reachable(machine, options), machines)


def _is_reachable(machine: str, options: RayUpOptions) -> Check:
    key = ["-i", str(Path(options.ssh_key).expanduser())] if options.ssh_key else []
    wait = [f"-oConnectTimeout={_SSH_S}", *_AS_RAY]
    who = f"{options.ssh_user}@{machine}"
    answer = run(["ssh", *wait, *key, who, "true"], timeout=2 * _SSH_S)
    if answer.ok:
        return Check(name="machine", ok=True, what=f"{who} answers")
    why = "no answer" if answer.code is None else last_line(answer.err)
    todo = f"try `ssh {' '.join([*key, who])}` by hand; see ssh_user and ssh_key"
    return Check(name="machine", ok=False, what=f"{who}: {why}", todo=todo)


def check_storage(storage: str) -> Check:
    """What this machine can say of the storage; the others are not up yet."""
    if not is_url(storage):
        return Check(
            name="storage",
            ok=False,
            warning=True,
            what=f"whether all machines mount {storage} is not looked at: they may not be up",
            todo="see that they do, writable for the user that Ray runs as",
        )
    try:
        check_bucket(storage)
    except (ClusterError, ConfigError) as error:
        return Check(
            name="storage",
            ok=False,
            warning=True,
            what=f"seen from here: {error}",
            todo="see that the machines reach it, with the credentials that they have (identity)",
        )
    what = f"{storage} is written and read back here; the machines have their own credentials"
    return Check(name="storage", ok=True, what=what)
