"""What `test_ray_up_ssh.py` does inside its machine: submits, watches, stops, and takes it down.

Prints what it found as one line of JSON, last.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

from cluster.backend import Code, State, Submission
from cluster.backends.ray_up import RayUpBackend
from cluster.profile import Profile

APP = """\
import time
from pathlib import Path
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    folder = Path(cfg.folder)
    folder.mkdir(parents=True)
    (folder / "begun").touch()
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        print("saved", flush=True)
        raise

main()
"""


def main(root: Path) -> None:
    project = root / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    (project / "app.py").write_text(APP)
    options = {
        "provider": "machines",
        "head": "127.0.0.1",
        "workers": [],
        "ssh_user": "root",
        "ssh_key": str(root / "key"),
    }
    profile = Profile(name="own", path=None, backend="ray_up", options=options)
    backend = RayUpBackend.from_profile(profile)

    def submit(name: str) -> Submission:
        out = root / "out" / name
        arguments = ("train", "app.py", f"+folder={out}")
        return Submission(name=name, arguments=arguments, code=Code(root=project), storage="/nfs")

    checks = [(check.name, check.ok) for check in backend.checks(None)]
    handle = backend.submit(submit("first"))
    while not (root / "out" / "first" / "begun").exists():
        assert not backend.status(handle).state.is_over, "".join(backend.logs(handle))
        time.sleep(1)
    backend.stop(backend.submit(submit("second")))
    found = {
        "checks": checks,
        "handle": str(handle),
        "runs on": backend.status(handle).state is State.RUNNING,
        "stopped": backend.stop(handle).done,
        "state": backend.status(handle).state,
        "log": "".join(backend.logs(handle)),
    }
    token = Path("~/.ray/auth_token").expanduser()
    found["mode"] = stat.S_IMODE(token.stat().st_mode)
    found["same"] = token.read_text() == backend.token_file.read_text()
    down = subprocess.run(backend._down(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found["down"] = "No nodes remaining" in down.stdout + down.stderr
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
