"""`ray up` for real: a machine behind ssh, in namespaces of its own on this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

ROOT = Path(__file__).parents[2]

MACHINE = """\
set -e
mount --make-rprivate /
mkdir -p /tmp/ray /run/sshd
mount --bind {root}/ray /tmp/ray
mount --bind {root}/passwd /etc/passwd
{python} {root}/loopback.py
/usr/sbin/sshd -f {root}/sshd_config -E {root}/sshd.log
cd {root}
exec env -u http_proxy -u https_proxy -u RAY_ADDRESS HOME={root}/home XDG_STATE_HOME={root}/state \\
  {python} -m tests.cluster.own_machine {root}
"""
LOOPBACK = """\
import fcntl, socket, struct
up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
fcntl.ioctl(socket.socket(), 0x8914, up)  # SIOCSIFFLAGS
"""
SSHD = """\
Port 22
ListenAddress 127.0.0.1
HostKey {root}/host
PidFile none
AuthorizedKeysFile {root}/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
"""
SHELL = """\
export PATH={binaries}:$PATH PYTHONPATH={paths} RAY_raylet_start_wait_time_s=200
"""
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--net", "--mount", "--kill-child"]


@pytest.fixture
def machine() -> Iterator[Path]:
    """A machine's files; its processes, network and home are its own while it runs."""
    missing = [tool for tool in ("sshd", "ssh", "rsync", "unshare") if not _which(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (openssh-server, rsync, util-linux)")
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode:
        pytest.skip("namespaces cannot be made here")
    root = Path(tempfile.mkdtemp(prefix="cvm", dir="/tmp"))
    for folder in ("ray", "home", "state"):
        (root / folder).mkdir(mode=0o700)
    for key in ("key", "host"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / key)]
        subprocess.run(command, check=True)
    lines = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in lines if not line.startswith("root:")]
    own = f"root:x:0:0:root:{root}/home:/bin/bash"
    (root / "passwd").write_text("\n".join([own, *others, ""]))
    (root / "sshd_config").write_text(SSHD.format(root=root))
    (root / "loopback.py").write_text(LOOPBACK)
    (root / "machine.sh").write_text(MACHINE.format(root=root, python=sys.executable))
    shell = SHELL.format(binaries=Path(sys.executable).parent, paths=ROOT)
    for name in (".bashrc", ".bash_profile"):
        (root / "home" / name).write_text(shell)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def test_a_machine_behind_ssh_is_brought_up_used_and_taken_down(machine):
    ran = subprocess.run(
        [*UNSHARE, "bash", str(machine / "machine.sh")],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["checks"] == [[name, True] for name in ("ssh", "rsync", "key", "file", "machine")]
    assert found["handle"] == "rayup://own/first-1"
    assert found["runs on"], "a second submission leaves the cluster and its jobs alone"
    assert found["stopped"]
    assert found["state"] == "stopped"
    assert "saved" in found["log"]
    assert (found["mode"], found["same"]) == (0o600, True)
    assert found["down"]
