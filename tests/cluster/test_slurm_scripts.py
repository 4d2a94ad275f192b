"""What a Slurm profile takes, and the scripts that it comes to; nothing is submitted."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Ask, Code, Submission
from cluster.backends.slurm import SlurmBackend
from cluster.errors import ConfigError
from cluster.profile import Profile, load_profile, make_backend
from cluster.slurm.checks import longest
from cluster.slurm.commands import without_job
from cluster.slurm.options import KEYS
from cluster.slurm.ray_node import Joined, View
from cluster.slurm.staffing import CALM_S, Orders, decide

GOLDEN = Path(__file__).parent / "golden"
FULL = {
    "storage": "/shared/sweeps",
    "folder": "/home/user/.caviar/slurm",
    "python": "/opt/venv/bin/python",
    "partition": "gpu",
    "account": "lab",
    "qos": "normal",
    "gres": "gpu:a100:1",
    "constraint": "a100&ib",
    "timeout_min": 240,
    "mem_gb": 31.5,
    "cpus_per_task": 8,
    "signal_delay_s": 90,
    "setup": ["module load cuda", 'export DATA="$HOME/my data"'],
    "additional_parameters": {"exclude": "node7", "exclusive": True, "mail_user": "a b@lab.org"},
}


def backend(**options: Any) -> SlurmBackend:
    return SlurmBackend.from_profile(
        Profile(name="lab", path=None, backend="slurm", options=options)
    )


def submission(**changes: Any) -> Submission:
    asked = Submission(
        name="my sweep",
        arguments=("sweep", "app.py", "lr=tag(log, interval(1e-4, 1))"),
        code=Code(root=Path("/home/user/project"), import_paths=("src",)),
        storage="/shared/sweeps",
    )
    return replace(asked, **changes)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("slurm_elastic", {"workers": "1..16", "driver": {"partition": "cpu", "mem_gb": 2}}),
        ("slurm_allocation", {"mode": "allocation", "nodes": 4}),
    ],
)
def test_the_scripts_of_a_mode(name: str, options: dict[str, Any]) -> None:
    shown = backend(**FULL, **options).preview(submission())
    assert shown == (GOLDEN / f"{name}.txt").read_text()


def test_scripts_are_bash(tmp_path: Path) -> None:
    name = "it's; $(touch x)"
    shown = backend(**FULL, node_address="hostname -I | cut -d' ' -f2").preview(
        submission(name=name)
    )
    for number, script in enumerate(shown.split("#!/bin/bash")[1:]):
        file = tmp_path / f"{number}.sh"
        file.write_text("#!/bin/bash" + script)
        assert subprocess.run(["bash", "-n", str(file)]).returncode == 0
        if shutil.which("shellcheck"):
            checked = subprocess.run(["shellcheck", str(file)], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stdout
    assert "$(touch x)" not in shown


def test_no_more_workers_are_asked_for_than_can_have_a_trial() -> None:
    ours = backend(workers="0..16")
    assert "0..3 jobs" in ours.preview(submission(ask=Ask(at_once=3)))
    assert "0..6 jobs" in ours.preview(submission(ask=Ask(at_once=3, workers=2)))
    assert "0..16 jobs" in ours.preview(submission())


def test_options_are_quoted_as_sbatch_reads_them() -> None:
    shown = backend(**FULL).preview(submission())
    flags = [line.removeprefix("#SBATCH ") for line in shown.splitlines() if "#SBATCH" in line]
    assert ["--mail-user=a b@lab.org"] in map(shlex.split, flags)
    assert ["--constraint=a100&ib"] in map(shlex.split, flags)
    assert ["--exclusive"] in map(shlex.split, flags)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "elastik"}, "mode is 'elastik'; it must be elastic or allocation; did you mean"),
        ({"workers": "many"}, "workers is 'many'; it must be least..most worker jobs"),
        ({"workers": "4..2"}, "workers is '4..2'"),
        ({"workers": "0..0"}, "workers is '0..0'"),
        ({"partiton": "gpu"}, "partiton is not an option; did you mean cluster lab.partition"),
        ({"cpus_per_task": "lots"}, "cpus_per_task is 'lots'; it must be a whole number"),
        ({"mem_gb": 0}, "mem_gb is 0.0; it must be more than 0"),
        ({"signal_delay_s": 5}, "signal_delay_s is 5; it must be at least 45"),
        ({"nodes": 0}, "nodes is 0; it must be at least 1"),
        ({"timeout_min": 1}, "timeout_min is 1, 60 s, and signal_delay_s 120"),
        ({"driver": {"gres": "gpu:1"}}, "driver.gres is not an option"),
        ({"driver": {"timeout_min": 2}}, "driver.timeout_min is 2"),
        ({"mode": "allocation", "driver": {"mem_gb": 1}}, "mode=allocation has one job"),
        ({"additional_parameters": {"time": 5}}, "has a key of its own: set timeout_min"),
        ({"additional_parameters": {"output": "x"}}, "cannot be set"),
        ({"additional_parameters": {"--exclude": "x"}}, "without dashes"),
        ({"additional_parameters": {"exclude": ["x"]}}, "it must be a text, a number"),
    ],
)
def test_a_wrong_key_or_value_is_answered_in_one_message(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        backend(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_of_two_lines_reaches_no_script() -> None:
    with pytest.raises(ConfigError, match="more than one line"):
        backend(partition="gpu\ntouch x").preview(submission())


def test_the_template_shows_every_key_and_makes_a_backend(tmp_path: Path) -> None:
    profile = load_profile("slurm", tmp_path)
    assert set(KEYS) == set(profile.options)
    assert make_backend(profile).name == "slurm"


def test_a_trial_sees_nothing_of_the_job_it_runs_in() -> None:
    job = {
        "SLURM_PROCID": "0",
        "SLURMD_NODENAME": "n1",
        "SBATCH_X": "1",
        "SLURM_CONF": "x",
        "PMIX_RANK": "0",
    }
    kept = {"HOME": "/home/user", "CUDA_VISIBLE_DEVICES": "1"}
    assert without_job({**job, **kept}) == kept


@pytest.mark.parametrize(
    ("limits", "minutes"),
    [(["1-00:00:00"], 1440), (["2:30:00", "30:00"], 150), (["infinite"], None), ([], None)],
)
def test_the_time_limits_of_partitions_are_read(limits: list[str], minutes: int | None) -> None:
    assert longest(limits) == minutes


# How many workers


def worker(job: str, *, cpus: float = 4, idle_s: float = 0, draining: bool = False) -> Joined:
    return Joined(
        id=job, job=job, host="n", resources={"CPU": cpus}, idle_s=idle_s, draining=draining
    )


def orders(
    nodes: list[Joined],
    waiting: int = 0,
    *,
    queued: tuple[str, ...] = (),
    starting: tuple[str, ...] = (),
    bounds: tuple[int, int] = (0, 8),
    calm_s: float = 0,
    each: float = 1,
) -> Orders:
    view = View(nodes=nodes, waiting=[{"CPU": each}] * waiting)
    return decide(view, queued=queued, starting=starting, bounds=bounds, calm_s=calm_s)


def test_workers_are_asked_for_while_trials_wait() -> None:
    assert orders([worker("1")], 8) == Orders(submit=2)
    assert orders([worker("1")], 9) == Orders(submit=3)
    assert orders([worker("1")], 8, queued=("2",), starting=("3",)) == Orders()
    assert orders([worker("1")], 100) == Orders(submit=7)
    assert orders([], 3) == Orders(submit=3)


def test_what_fits_on_no_worker_brings_none() -> None:
    assert orders([worker("1", cpus=2)], 5, each=4) == Orders()


def test_a_worker_that_leaves_is_replaced_while_trials_wait() -> None:
    assert orders([worker("1", draining=True)], 1) == Orders(submit=1)
    assert orders([worker("1", draining=True)], 0) == Orders()
    assert orders([worker("1", draining=True)], 0, bounds=(1, 8)) == Orders(submit=1)


def test_workers_are_let_go_after_a_while_without_work() -> None:
    idle, busy = worker("1", idle_s=CALM_S), worker("2")
    assert orders([idle, busy], queued=("3", "4"), calm_s=CALM_S - 1) == Orders()
    assert orders([idle, busy], queued=("3", "4"), calm_s=CALM_S) == Orders(let_go=["4", "3", "1"])
    assert orders([idle, busy], queued=("3",), calm_s=CALM_S, bounds=(2, 8)) == Orders(let_go=["3"])
