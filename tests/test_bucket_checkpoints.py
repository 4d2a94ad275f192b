"""Checkpoints, job folders and the lease of a sweep in a bucket, on a real S3 server."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sweeps
import sweeps.storage.lease
from cluster.bucket import Bucket, BucketError
from sweeps import session
from sweeps.driver.disposal import Needed, disposal
from sweeps.errors import SweepError
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.storage.folder import SweepFolder, list_sweeps
from sweeps.storage.lease import Lease
from sweeps.storage.remote import Remote
from sweeps.worker.messages import Job
from sweeps.worker.stage import staged


@pytest.fixture
def folder(bucket: str) -> SweepFolder:
    return SweepFolder.at(Bucket.parse(f"{bucket}/sweeps"), "s")


@pytest.fixture
def remote(folder: SweepFolder) -> Remote:
    assert folder.remote is not None
    return folder.remote


def name(trial: int, step: int, run: str = "1") -> str:
    return f"trials/{trial}/{run}/checkpoints/{step:06d}"


def make(remote: Remote, checkpoint: str, **files: str) -> Path:
    """A checkpoint on this machine."""
    folder = remote.stage / checkpoint
    (folder / "inner" / "empty").mkdir(parents=True)
    for file, text in (files or {"state": checkpoint}).items():
        (folder / file).write_text(text)
    (folder / "inner" / "weights").write_text("w" * 100)
    return folder


def put(remote: Remote, *checkpoints: str) -> None:
    for checkpoint in checkpoints:
        remote.put_checkpoint(make(remote, checkpoint))


# Checkpoints


def test_a_checkpoint_comes_back_as_it_was(remote: Remote, tmp_path: Path) -> None:
    folder = make(remote, name(3, 9))
    (folder / "link").symlink_to("state")
    remote.put_checkpoint(folder)

    back = remote.get_checkpoint(name(3, 9), tmp_path / "back" / "000009")
    files = {path.relative_to(back).as_posix() for path in back.rglob("*")}
    assert files == {"state", "link", "inner", "inner/empty", "inner/weights"}
    assert (back / "state").read_text() == (back / "link").read_text() == name(3, 9)
    assert remote.checkpoints() == {name(3, 9)}
    assert remote.has_checkpoint(name(3, 9))


@pytest.mark.parametrize(
    "checkpoint",
    [name(0, 1), name(12, 100), name(3, 9, "2.1"), name(3, 9, "2/rung-4"), name(3, 9, "2.1-1")],
)
def test_every_job_folder_s_checkpoints_are_found(remote: Remote, checkpoint: str) -> None:
    put(remote, checkpoint, name(31, 9))
    assert remote.checkpoints(int(checkpoint.split("/")[1])) == {checkpoint}
    remote.delete_checkpoints([checkpoint])
    assert remote.checkpoints() == {name(31, 9)}
    assert all("/31/" in key for key in remote.place.sizes("checkpoints"))


def test_a_file_of_a_checkpoint_may_look_like_one(remote: Remote, tmp_path: Path) -> None:
    folder = make(remote, name(3, 9))
    (folder / "000001.json").write_text("{}")
    (folder / "000002").mkdir()
    (folder / "000002" / "000003.json").write_text("{}")
    remote.put_checkpoint(folder)

    assert remote.checkpoints() == {name(3, 9)}
    remote.delete_all_but({name(3, 9)})
    assert (remote.get_checkpoint(name(3, 9), tmp_path / "x") / "000001.json").exists()


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_an_upload_that_is_cut_in_the_middle_is_never_taken(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    folder = make(remote, name(0, 1))
    _die_after(requests, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        remote.put_checkpoint(folder)
    monkeypatch.undo()

    assert remote.checkpoints() == set()
    assert not remote.has_checkpoint(name(0, 1))
    with pytest.raises(FileNotFoundError):
        remote.get_checkpoint(name(0, 1), tmp_path / "back")
    remote.delete_all_but(set())
    assert remote.place.sizes() == {}


def _die_after(requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process were killed when it has sent so many objects; one after the other."""
    left, attempt = [requests], Bucket._try
    monkeypatch.setattr("cluster.bucket._AT_ONCE", 1)

    def dying(self: Bucket, act: Any, key: str) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return attempt(self, act, key)

    monkeypatch.setattr(Bucket, "_try", dying)


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_the_old_one_of_the_same_name_is_there_until_the_new_one_is(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    put(remote, name(0, 1))
    (remote.stage / name(0, 1) / "state").write_text("new")
    _die_after(requests, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        remote.put_checkpoint(remote.stage / name(0, 1))
    monkeypatch.undo()
    back = remote.get_checkpoint(name(0, 1), tmp_path / "back")
    assert (back / "state").read_text() == name(0, 1)

    remote.put_checkpoint(remote.stage / name(0, 1))
    back = remote.get_checkpoint(name(0, 1), tmp_path / "back")
    assert (back / "state").read_text() == "new"


def test_a_checkpoint_that_lost_a_part_is_not_handed_out(remote: Remote, tmp_path: Path) -> None:
    put(remote, name(0, 1))
    (key,) = [key for key in remote.place.sizes() if key.endswith("/weights")]
    remote.place.put(key, b"w" * 99)
    with pytest.raises(FileNotFoundError, match="is not whole"):
        remote.get_checkpoint(name(0, 1), tmp_path / "back")


def test_a_copy_outlives_its_source(remote: Remote, tmp_path: Path) -> None:
    put(remote, name(0, 1))
    remote.copy_checkpoint(name(0, 1), name(5, 1, "1.1"))
    remote.delete_checkpoints([name(0, 1)])

    back = remote.get_checkpoint(name(5, 1, "1.1"), tmp_path / "back")
    assert (back / "state").read_text() == name(0, 1)
    with pytest.raises(FileNotFoundError):
        remote.copy_checkpoint(name(0, 1), name(6, 1))


# What goes


def needed(trial: int, *, newest: int | None = None, best: int | None = None) -> Needed:
    return Needed(
        trial=trial,
        newest=None if newest is None else name(trial, newest),
        best=() if best is None else (name(trial, best),),
        reported={name(trial, step) for step in range(1, 9)},
    )


def test_while_trials_train_only_what_was_reported_goes(
    folder: SweepFolder, remote: Remote
) -> None:
    put(remote, *(name(0, step) for step in (1, 2, 3, 9)), name(1, 1))
    dispose = disposal(folder)
    dispose.clean(needed(0, newest=3, best=1))
    dispose.clean_all([])  # waits for it
    assert remote.checkpoints() == set()

    put(remote, name(2, 1), name(2, 2), name(2, 9))  # 9 came after what was superfluous was known
    dispose.clean(needed(2, newest=2))
    dispose._behind.submit(lambda: None).result()  # type: ignore[attr-defined]
    assert remote.checkpoints() == {name(2, 2), name(2, 9)}


def test_when_none_trains_all_else_goes_half_uploaded_ones_too(
    folder: SweepFolder, remote: Remote, object_store: Any
) -> None:
    put(remote, *(name(trial, step) for trial in range(3) for step in (1, 2, 9)))
    remote.place.put("checkpoints/0/1/000077/0123456789ab/state", b"half")
    dispose = disposal(folder)
    dispose.clean_all([needed(0, newest=9), needed(1, best=2), needed(2)])

    assert remote.checkpoints() == {name(0, 9), name(1, 2)}
    assert len(remote.place.sizes()) == 6


def test_a_store_that_refuses_to_delete_ends_no_sweep(
    folder: SweepFolder, remote: Remote, object_store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    put(remote, name(0, 1))
    object_store.fail(status=403)
    disposal(folder).clean_all([])
    object_store.mend()
    assert remote.checkpoints() == {name(0, 1)}
    assert "superfluous checkpoints stay: s3://" in caplog.text


# A segment in a worker


def segment(
    folder: SweepFolder,
    *,
    checkpoint: str | None = None,
    best_step: int | None = None,
    run: str = "1",
) -> Job:
    return Job(
        trial=0,
        folder=folder.path / "trials" / "0" / run,
        base=None,
        base_id="",
        patch=None,  # type: ignore[arg-type]
        checkpoint=folder.resolve(checkpoint),
        best=None,
        best_step=best_step,
        says_left=False,
    )


Train = Callable[[SweepFolder, Job, list[float]], list[Path | None]]


@pytest.fixture
def train() -> Train:
    """Trains a segment that reports these losses, a checkpoint each; what the driver hears of."""

    def run(folder: SweepFolder, job: Job, losses: list[float]) -> list[Path | None]:
        heard: list[Path | None] = []

        def send(step: int, metrics: Any, checkpoint: Path | None, can_wait: bool) -> Decision:
            assert folder.remote is not None
            assert checkpoint is None or folder.has_checkpoint(folder.relative(checkpoint))
            heard.append(checkpoint)
            return Decision.CONTINUE

        with staged(job, send, folder.remote) as files:
            session.begin(
                session.Session(
                    job_folder=files.folder,
                    checkpoint=files.checkpoint,
                    send=files.send,
                    keeper=files.keeper,
                    objective=Objective(metric="loss", mode="min"),
                    always=True,
                )
            )
            try:
                _app(files.folder, losses)
            finally:
                session.end()
        assert not files.folder.exists()
        return heard

    return run


def _app(output: Path, losses: list[float]) -> None:
    start = sweeps.get_checkpoint()
    first = int((start / "state").read_text()) + 1 if start else 1
    (output / ".hydra").mkdir(parents=True, exist_ok=True)
    (output / ".hydra" / "config.yaml").write_text("lr: 1")
    for step, loss in enumerate(losses, start=first):
        with (output / "app.log").open("a") as log:
            log.write(f"{step}\n")
        (output / "state").mkdir(exist_ok=True)
        (output / "state" / "state").write_text(str(step))
        sweeps.report({"loss": loss}, step=step, checkpoint=output / "state")


def test_a_checkpoint_is_in_the_bucket_before_the_driver_hears_of_it(
    folder: SweepFolder, train: Train
) -> None:
    heard = train(folder, segment(folder), [3.0, 1.0, 2.0])
    assert heard == [folder.path / name(0, step) for step in (1, 2, 3)]


def test_the_newest_and_the_best_stay_in_the_bucket(
    folder: SweepFolder, remote: Remote, train: Train
) -> None:
    train(folder, segment(folder), [3.0, 1.0, 2.0, 2.5])
    assert remote.checkpoints() == {name(0, 2), name(0, 4)}


def test_a_trial_goes_on_elsewhere_with_its_log_and_its_checkpoint(
    folder: SweepFolder, remote: Remote, train: Train
) -> None:
    train(folder, segment(folder), [3.0, 1.0])
    heard = train(folder, segment(folder, checkpoint=name(0, 2), best_step=2), [0.5])

    assert heard == [folder.path / name(0, 3)]
    assert remote.place.get("trials/0/1/app.log") == b"1\n2\n3\n"
    assert remote.checkpoints() == {name(0, 3)}  # what it went on from is superfluous now


def test_a_later_driver_s_job_folder_leaves_the_earlier_one_s_checkpoint_alone(
    folder: SweepFolder, remote: Remote, train: Train
) -> None:
    train(folder, segment(folder), [3.0])
    train(folder, segment(folder, checkpoint=name(0, 1), run="2"), [0.5])
    assert remote.checkpoints() == {name(0, 1), name(0, 2, "2")}
    assert remote.place.get("trials/0/2/app.log") == b"2\n"


def test_the_config_is_there_with_the_first_checkpoint_though_the_worker_dies(
    folder: SweepFolder, remote: Remote, monkeypatch: pytest.MonkeyPatch, train: Train
) -> None:
    monkeypatch.setattr("sweeps.worker.stage._InBucket.leave", lambda self: None)  # killed before
    train(folder, segment(folder), [3.0, 2.0])
    assert remote.place.get("trials/0/1/.hydra/config.yaml") == b"lr: 1"
    assert remote.place.get("trials/0/1/app.log") == b"1\n"


def test_a_store_that_refuses_a_checkpoint_ends_the_segment_before_the_report(
    folder: SweepFolder, remote: Remote, object_store: Any, train: Train
) -> None:
    train(folder, segment(folder), [3.0])
    object_store.fail(status=403, method="PUT")
    with pytest.raises(BucketError, match="access is denied"):
        train(folder, segment(folder, checkpoint=name(0, 1)), [2.0])
    object_store.mend()
    assert remote.checkpoints() == {name(0, 1)}


def test_what_a_killed_process_staged_goes_with_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal; from sweeps.storage.scratch import scratch; folder = scratch();"
        "print(folder, flush=True); input(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(sweeps.__file__).parents[1])}

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdin=pipe, stdout=pipe, text=True
        )

    def folder_of(process: subprocess.Popen[str]) -> Path:
        assert process.stdout is not None
        return Path(process.stdout.readline().strip())

    with start() as killed, start() as lives:
        folders = [folder_of(process) for process in (killed, lives)]
        killed.communicate("\n")
        with start() as third:
            last = folder_of(third)
            assert set(tmp_path.iterdir()) == {folders[1], last}
            assert last.stat().st_mode & 0o777 == 0o700
            third.communicate("\n")
        lives.communicate("\n")


# The lease


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps.storage.lease, "_SETTLE_S", 0.05)
    monkeypatch.setattr(sweeps.storage.lease, "_HEARTBEAT_S", 0.05)


def hold(folder: SweepFolder, **holder: Any) -> None:
    now = {"host": "elsewhere", "pid": 1, "started": 1.0, "heartbeat": time.time(), "workers": []}
    assert folder.remote is not None
    folder.remote.place.put("driver.json", json.dumps(now | holder).encode())


@contextmanager
def beating(folder: SweepFolder) -> Iterator[None]:
    """A driver elsewhere renews its lease."""
    over = threading.Event()

    def beat() -> None:
        for count in itertools.count():
            hold(folder, count=count)
            if over.wait(0.05):
                return

    hold(folder, count=-1)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def holder(folder: SweepFolder) -> dict[str, Any]:
    assert folder.remote is not None
    found: dict[str, Any] = folder.remote.place.get_json("driver.json")
    return found


@pytest.mark.usefixtures("quick_lease")
def test_a_driver_elsewhere_holds_the_lease_while_its_heartbeat_goes_on(
    folder: SweepFolder, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        beating(folder),
        pytest.raises(SweepError, match=r"s3://.*/s is being written by process 1 on elsewhere"),
    ):
        Lease(folder.lease).__enter__()

    monkeypatch.setattr(sweeps.storage.lease, "_STALE_S", 0.5)
    with Lease(folder.lease) as lease:
        assert holder(folder)["host"] == socket.gethostname()
        lease.check()
    assert not remote.place.has("driver.json")


@pytest.mark.usefixtures("quick_lease")
def test_of_two_that_take_the_lease_at_once_the_last_writer_has_it(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = Lease.renew

    def raced(self: Lease) -> None:
        renew(self)
        hold(folder, token="another")

    monkeypatch.setattr(Lease, "renew", raced)
    with pytest.raises(SweepError, match="taken over by process 1 on elsewhere"):
        Lease(folder.lease).__enter__()
    assert holder(folder)["token"] == "another"


@pytest.mark.usefixtures("quick_lease")
def test_a_driver_notices_that_it_was_taken_for_dead_and_leaves_the_lease_alone(
    folder: SweepFolder,
) -> None:
    with Lease(folder.lease) as lease:
        hold(folder, token="another")
        deadline = time.monotonic() + 10
        while lease._other is None:
            assert time.monotonic() < deadline
        with pytest.raises(SweepError, match="taken over by process 1 on elsewhere"):
            lease.check()
    assert holder(folder)["token"] == "another"


@pytest.mark.usefixtures("quick_lease")
def test_a_heartbeat_outlives_a_store_that_is_away_for_a_while(
    folder: SweepFolder, object_store: Any
) -> None:
    with Lease(folder.lease) as lease:
        object_store.fail(status=403)
        time.sleep(0.2)
        object_store.mend()
        before = holder(folder)["heartbeat"]
        deadline = time.monotonic() + 10
        while holder(folder)["heartbeat"] == before:
            assert time.monotonic() < deadline
        lease.check()


# Finding sweeps


def test_sweeps_are_listed_oldest_first(bucket: str) -> None:
    place = Bucket.parse(f"{bucket}/sweeps")
    place.put("b/sweep.yaml", b"")
    place.put("none/other", b"")
    time.sleep(1.1)  # S3 dates objects by the second
    place.put("a/sweep.yaml", b"")
    assert list_sweeps(place) == ["b", "a"]
    assert list_sweeps(Bucket.parse(f"{bucket}/never")) == []
