from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Ask, Check, Code, Submission
from cluster.backends.ray_checks import check_storage
from cluster.doctor import examine
from cluster.fit import check_fit, check_gpus
from cluster.parcel import WARN_BYTES
from cluster.storage import NodeProbe
from cluster.survey import Machine, Survey, parse_memory


class Quiet:
    """A backend of which one check is asked."""

    name = "quiet"

    def checks(self, submission: Submission | None) -> Iterator[Check]:
        yield Check(name="own", ok=True, what="asked")


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., dict[str, Check]]:
    """Examines a project of the given files: name -> size."""

    def examine_(
        *, storage: str = "/shared", travels: bool = True, **files: int
    ) -> dict[str, Check]:
        for name, size in files.items():
            with (tmp_path / name).open("wb") as file:
                file.truncate(size)
        submission = Submission(
            name="s",
            arguments=(),
            code=Code(root=tmp_path, travels=travels),
            storage=storage,
        )
        backend: Any = Quiet()
        return {check.name: check for check in examine(backend, submission)}

    return examine_


def machine(name: str, cpus: float = 4, gpus: float = 0, *memory: int) -> Machine:
    return Machine(name=name, cpus=cpus, gpus=gpus, gpu_mib=memory)


def survey(*machines: Machine, used_cpus: float = 0, **more: Any) -> Survey:
    cpus, gpus = sum(m.cpus for m in machines), sum(m.gpus for m in machines)
    return Survey(
        python="3.11.7", machines=machines, free_cpus=cpus - used_cpus, free_gpus=gpus, **more
    )


def test_a_small_package_and_the_backends_own_checks(found: Callable[..., Any]) -> None:
    checks = found(**{"app.py": 10})
    assert list(checks) == ["place", "package", "secrets", "own"]
    assert all(check.ok and not check.todo for check in checks.values())
    assert "1 files" in checks["package"].what


def test_a_large_package_shows_its_largest_files(found: Callable[..., Any]) -> None:
    checks = found(**{"app.py": 10, "weights.pt": WARN_BYTES, "rows.csv": 30 << 20})
    package = checks["package"]
    assert (package.ok, package.warning) == (False, True)
    assert "the largest: weights.pt 90.0 MiB, rows.csv 30.0 MiB, app.py 0.0 MiB" in package.what
    assert "it goes to the storage" in package.what
    assert "code.excludes" in package.todo


def test_what_stays_because_it_looks_like_a_secret_is_said(found: Callable[..., Any]) -> None:
    names = [".env", "id_rsa", "a.pem", "b.pem", "c.pem", "d.pem"]
    said = found(**dict.fromkeys(names, 1))["secrets"]
    assert said.ok
    assert said.what.endswith(".env, a.pem, b.pem, c.pem, d.pem and 1 more")


def test_code_that_does_not_travel_is_not_weighed(found: Callable[..., Any]) -> None:
    assert list(found(travels=False, **{"app.py": 1})) == ["place", "own"]


@pytest.mark.parametrize("storage", ["outputs/sweeps", "./s"])
def test_a_relative_storage_is_refused(found: Callable[..., Any], storage: str) -> None:
    place = found(storage=storage)["place"]
    assert (place.ok, place.warning) == (False, False)
    assert "absolute path that all nodes share" in place.todo


def test_no_check_that_fails_is_without_advice(found: Callable[..., Any]) -> None:
    checks = found(storage="here", **{"weights.pt": WARN_BYTES + 1})
    assert all(bool(check.todo) == (not check.ok) for check in checks.values())


# resources


@pytest.mark.parametrize(
    ("ask", "machines", "at_once"),
    [
        (Ask(), (machine("a", 4), machine("b", 2)), 6),
        (Ask(), (machine("a", 4, 1), machine("b", 4, 2)), 3),
        (Ask(cpus=3), (machine("a", 4), machine("b", 4)), 2),
        (Ask(cpus=0, gpus=0.25), (machine("a", 4, 1),), 4),
        (Ask(cpus=0, gpus=0.75), (machine("a", 4, 4),), 4),
        (Ask(gpus=0.5), (machine("a", 1, 4),), 1),
        (Ask(gpus=2), (machine("a", 8, 3), machine("b", 8, 3)), 2),
        (Ask(workers=4, cpus=2), (machine("a", 4), machine("b", 4)), 1),
        (Ask(workers=3, cpus=2), (machine("a", 4), machine("b", 4)), 1),
    ],
)
def test_how_many_trials_run_at_once(ask: Ask, machines: tuple[Machine, ...], at_once: int) -> None:
    check = check_fit(ask, survey(*machines))
    assert check.ok
    assert check.what.endswith(f"fits, and {at_once} run at once")


def test_a_trial_that_fits_no_node_is_refused_or_waits_for_the_cluster_to_grow() -> None:
    there = survey(machine("a", 4), machine("b", 8))
    check = check_fit(Ask(cpus=9), there)
    assert (check.ok, check.warning) == (False, False)
    assert check.what.endswith("with 9 CPU fits nowhere: 2 nodes, the largest with 0 GPU and 8 CPU")
    assert "add a node" in check.todo
    assert check_fit(Ask(cpus=9), replace(there, grows=True)).warning
    assert not check_fit(Ask(), survey()).ok


def test_a_driver_that_holds_cpus_leaves_fewer() -> None:
    assert "3 run at once" in check_fit(Ask(), survey(machine("a", 4)), driver_cpus=1).what


def test_a_driver_that_fits_nowhere_is_named() -> None:
    check = check_fit(Ask(), survey(machine("a", 4), machine("b", 2)), driver_cpus=50)
    assert (check.ok, check.warning) == (False, False)
    assert check.what.startswith("the driver with driver_cpus 50 fits nowhere: 2 nodes")
    assert check.todo.startswith("lower driver_cpus")
    alone = check_fit(Ask(), survey(machine("a", 4)), driver_cpus=4)
    assert "fits nowhere beside the driver's 4 CPU (driver_cpus): 1 nodes" in alone.what


def test_what_will_wait_is_said() -> None:
    there = survey(machine("a", 4), used_cpus=3)
    check = check_fit(Ask(at_once=6), there)
    assert (check.ok, check.warning) == (False, True)
    assert "of the 6 asked for, 2 wait; 3 of 4 CPU are in use now" in check.what
    fewer = check_fit(Ask(at_once=2), survey(machine("a", 4)))
    assert fewer.ok
    assert "2 run at once, of 4 that could" in fewer.what


def test_gpus_are_told_with_their_memory() -> None:
    assert list(check_gpus(survey(machine("a")))) == []
    (check,) = check_gpus(survey(machine("a", 4, 2, 81920, 81920), machine("b", 4, 1, 24576)))
    assert check.ok
    assert check.what == "3 on 2 nodes, 24 or 80 GiB each"
    (check,) = check_gpus(survey(machine("a", 4, 2)))
    assert (check.ok, check.warning) == (False, True)
    assert "a says nothing of its devices" in check.what


def test_what_nvidia_smi_tells() -> None:
    assert parse_memory("143771\n81559\n") == (143771, 81559)
    assert parse_memory("[N/A]\n81559\n") == (81559,)
    assert parse_memory("") == ()


# storage


def test_a_storage_that_all_nodes_share() -> None:
    probes = [NodeProbe(node="a", free_bytes=5 << 30), NodeProbe(node="b", free_bytes=3 << 30)]
    check = check_storage("/shared", survey(machine("a"), probes=tuple(probes)))
    assert check.ok
    assert check.what == "/shared is written and read back on 2 nodes, 3.0 GiB free"


def test_little_room_is_a_warning() -> None:
    probes = (NodeProbe(node="a", free_bytes=5 << 20),)
    check = check_storage("/shared", survey(machine("a"), probes=probes))
    assert (check.ok, check.warning) == (False, True)
    assert check.todo.startswith("make room")


def test_a_storage_that_one_node_lacks_is_refused() -> None:
    probes = (NodeProbe(node="a", free_bytes=5 << 30), NodeProbe(node="b", error="it is not there"))
    check = check_storage("/shared", survey(machine("a"), probes=probes))
    assert (check.ok, check.warning) == (False, False)
    assert check.what == "/shared is not one folder for all nodes: b: it is not there"
    assert not check_storage("/s", survey(machine("a"), no_storage="/s: read-only")).ok


def test_a_survey_is_read_back_from_a_log() -> None:
    there = survey(
        machine("a", 4, 1, 81920), probes=(NodeProbe(node="a", free_bytes=1), NodeProbe(node="b"))
    )
    assert Survey.find(f"Running entrypoint\n{there.line()}\nbye") == there
    assert Survey.find("Running entrypoint\n") is None
