"""What must hold on a Kubernetes cluster before a RayJob can run there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from cluster.backend import Check
from cluster.command import last_line
from cluster.errors import ClusterError
from cluster.kubectl import RAY_JOBS, Kubectl
from cluster.rayjob import KubernetesOptions, Parts

_REACH_S = 5
_INSTALL = "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0"
_CREATED = ("create", "get", "delete")


def checks(kubectl: Kubectl, options: KubernetesOptions, parts: Parts) -> Iterator[Check]:
    """Each check when it is asked for; ends at one that the others need."""
    yield (found := _has_kubectl(kubectl))
    if not found.ok:
        return
    for name, check in _NEEDED.items():
        found = _tried(name, partial(check, kubectl))
        yield found
        if not found.ok and not found.warning:
            return
    for name in options.env_from:
        yield _tried("secret", partial(_has_secret, kubectl, name))
    if (token := options.auth_secret) is not None:
        yield _tried("token", partial(_has_token, kubectl, token))
    if (volume := parts.volume) is not None:
        yield _tried("volume", partial(_has_claim, kubectl, volume.claim))
    if (queue := options.queue) is not None:
        yield _tried("queue", partial(_has_queue, kubectl, queue))
    if (workers := parts.workers).gpus:
        yield _tried("GPU", partial(_has_gpus, kubectl, workers.gpu_resource, workers.gpus))


def _tried(name: str, look: Callable[[], Check]) -> Check:
    """A check that needs rights which one may use the namespace without."""
    try:
        return look()
    except ClusterError as error:
        todo = "a sweep may run all the same; else ask who runs the cluster"
        return Check(name=name, ok=False, what=str(error), todo=todo, warning=True)


def _has_kubectl(kubectl: Kubectl) -> Check:
    try:
        answer = kubectl.ask("version", "--client", timeout=_REACH_S)
    except ClusterError as error:
        return Check(name="kubectl", ok=False, what="kubectl is not here", todo=str(error))
    what = answer.out.partition("\n")[0].strip() or last_line(answer.err)
    return Check(name="kubectl", ok=answer.ok, what=what, todo="" if answer.ok else "install it")


def _is_reachable(kubectl: Kubectl) -> Check:
    whose = f"context {kubectl.context}" if kubectl.context else "kubectl's current context"
    answer = kubectl.ask("get", "--raw", "/version", timeout=_REACH_S)
    if answer.ok:
        return Check(name="cluster", ok=True, what=f"{whose} answers")
    why = kubectl.complaint(answer, ("get", "version"), _REACH_S)
    todo = "see `kubectl config get-contexts`, and set context in the profile"
    return Check(name="cluster", ok=False, what=f"{whose}: {why}", todo=todo)


def _has_namespace(kubectl: Kubectl) -> Check:
    name = kubectl.namespace
    if kubectl.has("namespace", name):
        return Check(name="namespace", ok=True, what=f"{name} is there")
    todo = f"`kubectl create namespace {name}`, or set namespace in the profile"
    return Check(name="namespace", ok=False, what=f"{name} is not there", todo=todo)


def _has_operator(kubectl: Kubectl) -> Check:
    """KubeRay is seen by the kinds that it serves, which everyone may list."""
    answer = kubectl.ask("api-resources", "--api-group=ray.io", "-o", "name", timeout=15)
    if answer.ok and RAY_JOBS in answer.out.split():
        return _with_fields(kubectl)
    if answer.ok:
        what, todo = "the cluster does not know RayJobs", f"install KubeRay: `{_INSTALL}`"
    else:
        what = kubectl.complaint(answer, ("api-resources",), 15)
        todo = f"see `{kubectl.hint} api-resources`"
    return Check(name="KubeRay", ok=False, what=what, todo=todo)


def _with_fields(kubectl: Kubectl) -> Check:
    """Token authentication came with 1.5.1, its secret's name with 1.6."""
    field = "rayjob.spec.rayClusterSpec.authOptions.secretName"
    asked = ("explain", field, "--api-version=ray.io/v1")
    answer = kubectl.ask(*asked, timeout=15)
    if answer.ok:
        return Check(name="KubeRay", ok=True, what="ray.io/v1 with token authentication")
    return Check(
        name="KubeRay",
        ok=False,
        what="this KubeRay is older than 1.6, or its RayJob has no authOptions",
        todo=f"upgrade it and its CRDs: `{_INSTALL.replace('install', 'upgrade', 1)}`",
    )


def _may_create(kubectl: Kubectl) -> Check:
    refused = [verb for verb in _CREATED if not _may(kubectl, verb, RAY_JOBS)]
    refused += [] if _may(kubectl, "create", "pods", "--subresource=exec") else ["exec"]
    name = kubectl.namespace
    if not refused:
        return Check(name="rights", ok=True, what=f"RayJobs may be created in {name}")
    what = f"you may not {', '.join(refused)} RayJobs and their pods in {name}"
    todo = f"ask for a role with it; see `{kubectl.hint} auth can-i --list`"
    return Check(name="rights", ok=False, what=what, todo=todo, warning=refused == ["exec"])


def _may(kubectl: Kubectl, *action: str) -> bool:
    """`auth can-i` says yes or no; its exit code is that of a failure too."""
    asked = ("auth", "can-i", *action)
    answer = kubectl.ask(*asked, timeout=15)
    said = answer.out.partition(" ")[0].strip()
    if said not in ("yes", "no"):
        raise ClusterError(kubectl.complaint(answer, asked, 15))
    return said == "yes"


def _has_secret(kubectl: Kubectl, name: str) -> Check:
    if kubectl.has("secret", name):
        return Check(name="secret", ok=True, what=f"{name} is there")
    todo = f"`{kubectl.hint} create secret generic {name} --from-env-file=FILE`"
    return Check(name="secret", ok=False, what=f"{name} of env_from is not there", todo=todo)


def _has_token(kubectl: Kubectl, name: str) -> Check:
    there = kubectl.has("secret", name)
    what = f"{name} is there" if there else f"{name} is not there; submit makes it"
    return Check(name="token", ok=True, what=what)


def _has_claim(kubectl: Kubectl, name: str) -> Check:
    claim = kubectl.get("persistentvolumeclaim", name)
    if claim is None:
        todo = f"create it, ReadWriteMany; see `{kubectl.hint} get persistentvolumeclaims`"
        return Check(name="volume", ok=False, what=f"claim {name} is not there", todo=todo)
    modes = claim.get("spec", {}).get("accessModes", [])
    phase = claim.get("status", {}).get("phase")
    if "ReadWriteMany" not in modes:
        what = f"claim {name} is {', '.join(modes)}: pods on several nodes cannot share it"
        todo = "use a claim that is ReadWriteMany, or a bucket as storage"
        return Check(name="volume", ok=False, what=what, todo=todo)
    bound = phase == "Bound"
    todo = "" if bound else f"see `{kubectl.hint} describe persistentvolumeclaim {name}`"
    what = f"claim {name} is ReadWriteMany, {phase}"
    return Check(name="volume", ok=bound, what=what, todo=todo, warning=True)


def _has_queue(kubectl: Kubectl, name: str) -> Check:
    if kubectl.has("localqueues.kueue.x-k8s.io", name):
        return Check(name="queue", ok=True, what=f"{name} is there")
    todo = f"see `{kubectl.hint} get localqueues`, and set queue in the profile"
    return Check(name="queue", ok=False, what=f"Kueue has no local queue {name}", todo=todo)


def _has_gpus(kubectl: Kubectl, resource: str, wanted: int) -> Check:
    most = max((_count(node, resource) for node in kubectl.find("nodes")), default=0)
    if most >= wanted:
        return Check(name="GPU", ok=True, what=f"a node has {most} {resource}")
    todo = f"lower workers.gpus; where nodes come on demand, {wanted} may come yet"
    what = f"no node has {wanted} {resource} now; the most is {most}"
    return Check(name="GPU", ok=False, what=what, todo=todo, warning=True)


def _count(node: dict[str, Any], resource: str) -> int:
    return int(node.get("status", {}).get("allocatable", {}).get(resource, 0))


_NEEDED: Mapping[str, Callable[[Kubectl], Check]] = {
    "cluster": _is_reachable,
    "namespace": _has_namespace,
    "KubeRay": _has_operator,
    "rights": _may_create,
}
