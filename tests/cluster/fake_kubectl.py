"""`kubectl` with a cluster behind it that is a folder: a RayJob's driver is a local process.

It answers as kubectl 1.32 does. `calls.jsonl` in the folder `$FAKE_KUBE` holds what it was asked;
`faults.json` there says what goes wrong: {"create": {"code": 1, "err": "..."}, "get": "hang"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(os.environ["FAKE_KUBE"])
JOBS = ROOT / "jobs"
_DRIVER = "/tmp/caviar-driver.pid"


def main(arguments: list[str]) -> int:
    given = [a for a in arguments if not a.startswith(("--context=", "--namespace="))]
    with (ROOT / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    _fail(given)
    return VERBS[given[0]](given[1:])


def _fail(given: list[str]) -> None:
    file = ROOT / "faults.json"
    faults = json.loads(file.read_text()) if file.exists() else {}
    fault = faults.get(" ".join(given[:2]), faults.get(given[0]))
    if fault == "hang":
        time.sleep(600)
    elif fault:
        _die(fault["err"], fault["code"])


def _die(message: str, code: int = 1) -> NoReturn:
    sys.stderr.write(message + "\n")
    sys.exit(code)


def _version(given: list[str]) -> int:
    print("Client Version: v1.32.4\nKustomize Version: v5.5.0")
    return 0


def _create(given: list[str]) -> int:
    thing = json.load(sys.stdin)
    kind, name = thing["kind"], thing["metadata"]["name"]
    if kind != "RayJob":
        _keep(kind.lower(), name, thing)
        print(f"{kind.lower()}/{name}")
        return 0
    place = JOBS / name
    if place.exists():
        _die(f'Error from server (AlreadyExists): rayjobs.ray.io "{name}" already exists')
    place.mkdir(parents=True)
    (place / "job.json").write_text(json.dumps(thing))
    if not thing["spec"].get("suspend"):
        _begin(place, thing)
    print(f"rayjob.ray.io/{name}")
    return 0


def _begin(place: Path, job: dict[str, Any]) -> None:
    """What KubeRay and Ray do: unpack the code, run the script where it lies."""
    cluster = job["spec"]["rayClusterSpec"]
    pod = cluster["headGroupSpec"]["template"]
    script = pod["metadata"]["annotations"]["caviar/run"]
    env = dict(os.environ)
    env |= {e["name"]: e["value"] for e in pod["spec"]["containers"][0].get("env", [])}
    folder = place
    from urllib.parse import unquote, urlparse
    from zipfile import ZipFile

    if package := json.loads(job["spec"]["runtimeEnvYAML"]).get("working_dir"):
        with ZipFile(unquote(urlparse(package).path)) as packed:
            packed.extractall(place / "unpacked")
        (folder,) = (place / "unpacked").iterdir()  # Ray takes the one folder off the top
    (place / "run.sh").write_text(script.replace(_DRIVER, str(place / "pid")))
    command = f"bash '{place}/run.sh' > '{place}/log' 2>&1; echo $? > '{place}/code.part'; "
    command += f"mv '{place}/code.part' '{place}/code'"
    quiet = subprocess.DEVNULL
    subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=env,
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )


def _status(place: Path, job: dict[str, Any]) -> dict[str, Any]:
    if not (place / "run.sh").exists():
        return {"jobDeploymentStatus": "Suspended"} if job["spec"].get("suspend") else {}
    told = {
        "jobId": job["spec"]["jobId"],
        "rayClusterName": f"{place.name}-x7k2p",
        "rayClusterStatus": {"head": {"podName": f"{place.name}-x7k2p-head"}},
    }
    if not (place / "code").exists():
        return told | {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    code = int((place / "code").read_text())
    if (place / "stopped").exists():
        said = {"jobStatus": "STOPPED", "message": "Job was intentionally stopped."}
        return told | said | {"jobDeploymentStatus": "Complete"}
    if code == 0:
        said = {"jobStatus": "SUCCEEDED", "message": "Job finished successfully."}
        return told | said | {"jobDeploymentStatus": "Complete"}
    message = f"Job entrypoint command failed with exit code {code}, last available logs:\n..."
    failed = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
    return told | failed | {"message": message}


def _get(given: list[str]) -> int:
    if given[0] == "--raw":
        print('{"major": "1", "minor": "32"}')
        return 0
    kind = given[0]
    if kind == "pods":
        print(json.dumps({"kind": "List", "items": _pods(given[given.index("-l") + 1])}))
        return 0
    if kind == "nodes":
        items = [json.loads(f.read_text()) for f in sorted((ROOT / "node").glob("*.json"))]
        print(json.dumps({"kind": "List", "items": items}))
        return 0
    found = _find(kind, given[1])
    if found is None:
        if "--ignore-not-found" in given:
            return 0
        _die(f'Error from server (NotFound): {kind} "{given[1]}" not found')
    whole = given[given.index("-o") + 1] == "json"
    print(json.dumps(found) if whole else f"{kind}/{given[1]}")
    return 0


def _find(kind: str, name: str) -> dict[str, Any] | None:
    if kind == "rayjobs.ray.io":
        place = JOBS / name
        if not (place / "job.json").exists():
            return None
        job = json.loads((place / "job.json").read_text())
        return {**job, "status": _status(place, job)}
    file = ROOT / kind / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _keep(kind: str, name: str, thing: dict[str, Any]) -> None:
    (ROOT / kind).mkdir(exist_ok=True)
    (ROOT / kind / f"{name}.json").write_text(json.dumps(thing))


def _pods(selector: str) -> list[dict[str, Any]]:
    wanted = dict(part.split("=") for part in selector.split(","))
    name = wanted.get("job-name") or wanted["caviar/job"]
    place = JOBS / name
    if not (place / "run.sh").exists():
        return []
    over = (place / "code").exists()
    if "job-name" in wanted:
        return [_pod(f"{name}-submit", "Succeeded" if over else "Running")]
    return [] if over else [_pod(f"{name}-x7k2p-head", "Running")]


def _pod(name: str, phase: str) -> dict[str, Any]:
    made = "2026-01-02T03:04:05Z"
    return {"metadata": {"name": name, "creationTimestamp": made}, "status": {"phase": phase}}


def _logs(given: list[str]) -> int:
    place = JOBS / given[0].removesuffix("-submit")
    follow = "--follow" in given
    with (place / "log").open("rb") as log:
        while True:
            over = (place / "code").exists()
            if piece := log.read():
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            elif over or not follow:
                return 0
            else:
                time.sleep(0.02)


def _exec(given: list[str]) -> int:
    pod, rest = given[0], given[given.index("--") + 1 :]
    place = JOBS / pod.removesuffix("-x7k2p-head")
    assert rest[:3] == ["ray", "job", "stop"], rest
    (place / "stopped").touch()
    env = json.loads(json.loads((place / "job.json").read_text())["spec"]["runtimeEnvYAML"])
    assert env["env_vars"]["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    _terminate(place, float(env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]))
    print(f"Job '{rest[-1]}' was stopped")
    return 0


def _terminate(place: Path, grace: float) -> None:
    """As Ray stops a job: the signal that its environment names, then SIGKILL."""
    pid = int((place / "pid").read_text())
    deadline = time.monotonic() + grace
    number = signal.SIGINT
    while not (place / "code").exists():
        if number == signal.SIGINT or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            number = signal.SIGKILL
        time.sleep(0.02)


def _delete(given: list[str]) -> int:
    """The head's pod goes with the job: what stands in its preStop runs first."""
    name = given[1]
    place = JOBS / name
    if not place.exists():
        return 0
    job = json.loads((place / "job.json").read_text())
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    if (place / "run.sh").exists():
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        last = [part.replace(_DRIVER, str(place / "pid")) for part in command]
        subprocess.run(last, check=True, timeout=pod["terminationGracePeriodSeconds"])
        while not (place / "code").exists():
            time.sleep(0.02)
    (ROOT / "deleted").mkdir(exist_ok=True)
    place.rename(ROOT / "deleted" / name)
    print(f'rayjob.ray.io "{name}" deleted')
    return 0


def _wait(given: list[str]) -> int:
    _die("error: no matching resources found")


def _can(given: list[str]) -> int:
    allowed = json.loads((ROOT / "allowed.json").read_text())
    yes = given[1:] in allowed
    print("yes" if yes else "no")
    return 0 if yes else 1


def _api_resources(given: list[str]) -> int:
    print((ROOT / "api-resources.txt").read_text(), end="")
    return 0


def _explain(given: list[str]) -> int:
    if (ROOT / "old").exists():
        _die('error: field "authOptions" does not exist')
    print("GROUP: ray.io\nKIND: RayJob\nVERSION: v1")
    return 0


VERBS = {
    "version": _version,
    "create": _create,
    "get": _get,
    "logs": _logs,
    "exec": _exec,
    "delete": _delete,
    "wait": _wait,
    "auth": _can,
    "api-resources": _api_resources,
    "explain": _explain,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
