"""Storage that is full, read-only, or too small for a checkpoint, and then is not any more."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.audit import AuditedSweep, wait_until
from tests.cluster.nodes import RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as made:
        made.start_head(dashboard=False, cpus=2)
        yield made


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    place = tmp_path / "storage"
    place.mkdir()
    if not _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def sweep(
    cluster: RayCluster, storage: Path, tmp_path: Path
) -> Iterator[Callable[..., AuditedSweep]]:
    made = []

    def make(*options: str) -> AuditedSweep:
        audit = tmp_path / "audit.log"
        made.append(
            AuditedSweep(
                cluster=cluster,
                storage=storage,
                trials=3,
                steps=40,
                options=options,
                audit=audit,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.clean_up()


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def _ended_with_one_message(audited: AuditedSweep, why: int) -> None:
    assert audited.drivers[-1].wait(timeout=90) == 1, audited.said
    last = audited.said.splitlines()[-1]
    assert str(audited.folder.path) in last, audited.said
    assert os.strerror(why) in last
    assert "bytes free there" in last
    assert "Nothing is lost" in last
    assert "Traceback" not in audited.said
    if audited.folder.journal.exists():
        assert audited.folder.journal.read_bytes().endswith(b"\n")
    assert not any(trial.status.is_final and trial.error for trial in audited.state)


def test_storage_that_fills_up_ends_the_sweep_with_one_message_and_it_goes_on_when_freed(
    sweep: Callable[..., AuditedSweep], storage: Path
) -> None:
    audited = sweep()
    audited.start()
    audited.wait_for_steps(6)
    hog = storage / "hog"
    _fill(hog)
    _ended_with_one_message(audited, errno.ENOSPC)
    audited.start()  # as full as before
    _ended_with_one_message(audited, errno.ENOSPC)

    hog.unlink()
    audited.start()
    audited.finish()
    audited.check(losses=0)


def test_a_checkpoint_that_finds_no_room_is_no_failure_of_its_trial(
    sweep: Callable[..., AuditedSweep], storage: Path
) -> None:
    audited = sweep("+ballast=5000000")
    audited.start()
    _ended_with_one_message(audited, errno.ENOSPC)

    assert _mount("-o", "remount,size=256m", str(storage))
    audited.start()
    audited.finish()
    audited.check(losses=0)


def test_storage_that_is_read_only_is_told_and_nothing_is_lost(
    sweep: Callable[..., AuditedSweep], storage: Path
) -> None:
    audited = sweep()
    audited.start()
    audited.wait_for_steps(4)
    audited.end(signal.SIGKILL)
    wait_until(lambda: _mount("-o", "remount,ro", str(storage)))  # once no trial writes any more
    audited.start()
    _ended_with_one_message(audited, errno.EROFS)

    assert _mount("-o", "remount,rw", str(storage))
    audited.start()
    audited.finish()
    audited.check(losses=0)


def _fill(hog: Path) -> None:
    """Take all that is left, as another user of the storage would."""
    size = 1 << 20
    with hog.open("ab", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError:  # less fits, perhaps
                size //= 2
