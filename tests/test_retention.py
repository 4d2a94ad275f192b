"""Which checkpoints stay on disk: never more than the bound, never one too few."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import sweeps
from sweeps import session
from sweeps.core.engine import Engine
from sweeps.core.limits import Limits
from sweeps.core.segment import Segment
from sweeps.driver.retention import Retention
from sweeps.errors import SweepError
from sweeps.export import export_best
from sweeps.journal.events import Event
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trial, Trials
from sweeps.schedulers import make_scheduler
from sweeps.searchers import make_searcher
from sweeps.space.space import parse_space
from sweeps.storage.checkpoints import best_left, delete, held, newest_left
from sweeps.storage.folder import SweepFolder

SPACE, _ = parse_space({"lr": "interval(0, 1)"}, [])
OBJECTIVE = Objective(metric="loss")
ASHA = {"name": "asha", "max_t": 9}
SLOTS = 3


class Memory:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fails = False

    def append(self, *events: Event) -> None:
        if self.fails:
            raise OSError("no space left on device")
        self.events.extend(events)


class Sweep:
    """A sweep on a real folder: its engine, and workers that stand at a report each."""

    def __init__(
        self,
        path: Path,
        *,
        keep: int = 1,
        scheduler: Mapping[str, Any] = ASHA,
        num_samples: int = 12,
        objective: Objective = OBJECTIVE,
        **limits: Any,
    ) -> None:
        self.folder = SweepFolder(path)
        self.keep = keep
        self.log = Memory()
        self.most = 0
        self._objective = objective
        self._scheduler = scheduler
        self._limits = Limits(num_samples=num_samples, **limits)
        self.now = 0.0
        self.open()

    def open(self) -> None:
        """A driver begins; the last one may have died at any point."""
        self.workers: dict[int, session.Session] = {}
        self.engine = Engine(
            log=self.log,
            objective=self._objective,
            make_searcher=lambda view: make_searcher("random", space=SPACE, view=view, seed=0),
            scheduler=make_scheduler(**self._scheduler, space=SPACE, seed=0),
            limits=self._limits,
            space=SPACE,
            clock=lambda: self.now,
            listeners=[Retention(self.folder, keep=self.keep)],
        )
        self.engine.open(list(self.log.events), name="sweep")

    @property
    def trials(self) -> Trials:
        return self.engine.trials

    def start(self) -> int | None:
        """Put a trial into a free slot, if there is one to put there."""
        segment = self.engine.next_segment()
        if not isinstance(segment, Segment):
            return None
        trial = self.trials[segment.trial]
        checkpoint = self.folder.resolve(segment.checkpoint)
        assert checkpoint is None or (checkpoint / "state").is_file()
        self.workers[trial.number] = session.Session(
            job_folder=self.folder.job(trial.number, segment.run),
            checkpoint=checkpoint,
            send=lambda step, metrics, given, _: self._send(trial.number, step, metrics, given),
            objective=OBJECTIVE,
            rungs=self.engine.state.scheduler.rungs(),
            best=trial.best.value if trial.best else None,
            best_step=trial.best.step if trial.best else None,
        )
        return trial.number

    def report(self, trial: int, loss: float, *, step: int | None = None) -> None:
        """Train a step, and report it with a checkpoint in the way that apps do."""
        worker = self.workers[trial]
        step = step or self.step_of(trial) + 1
        session.begin(worker)
        try:
            write = _write if trial % 2 else _write(worker.job_folder / "state")
            sweeps.report({"loss": loss}, step=step, checkpoint=write)
        except sweeps.TrialEnded:
            del self.workers[trial]
        finally:
            session.end()
        self.check()

    def step_of(self, trial: int) -> int:
        """How far its worker is: its last report in this segment, or what it went on from."""
        last = self.trials[trial].last
        checkpoint = self.workers[trial].checkpoint
        begun = int(checkpoint.name) if checkpoint else 0
        return max(begun, last.step if last else 0)

    def leave_behind(self, trial: int) -> None:
        """Write what a worker has written when it dies: a checkpoint that nobody hears of."""
        job = self.workers[trial].job_folder
        step = self.step_of(trial) + 1
        for name in (f"{step:06d}", f"{step:06d}.partial", f".{step:06d}.deleted"):
            _write(job / "checkpoints" / name)

    def on_disk(self) -> dict[int, set[str]]:
        """By trial: the names of all that lies where checkpoints do, as the journal has them."""
        found = {
            trial.number: {
                self.folder.relative(path) for path in self.folder.checkpoints(trial.number)
            }
            for trial in self.trials
        }
        return {trial: names for trial, names in found.items() if names}

    def check(self, *, writing: bool = False) -> None:
        """The bound holds, and whatever may go on has what it goes on from."""
        on_disk = self.on_disk()
        self.most = max(self.most, sum(map(len, on_disk.values())))
        live = self.trials.with_status(Status.RUNNING, Status.PAUSED)
        elsewhere = len(live) - len(self.workers)
        bound = elsewhere + 3 * len(self.workers) + 2 * self.keep
        assert sum(map(len, on_disk.values())) <= bound
        for trial in live:
            if trial.checkpoint is not None:
                assert (self.folder.path / trial.checkpoint / "state").is_file()
        best = self.trials.best
        if best is not None and best.checkpoint is not None and not writing:
            assert best_left(self.folder.has_checkpoint, best) is not None

    def _send(
        self, trial: int, step: int, metrics: dict[str, float], checkpoint: Path | None
    ) -> Decision:
        self.check(writing=True)
        self.now += 1
        name = None if checkpoint is None else self.folder.relative(checkpoint)
        decision = self.engine.on_report(trial, step=step, metrics=metrics, checkpoint=name)
        self.check(writing=True)
        return decision


def _write(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").write_text("state")
    return folder


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # no power fails here
    return lambda **options: Sweep(tmp_path / "sweep", **options)


def name(trial: int, step: int, run: int = 1) -> str:
    return f"trials/{trial}/{run}/checkpoints/{step:06d}"


# A whole life


def live(sweep: Sweep, rng: random.Random) -> None:
    """One thing that happens in a sweep, drawn at random."""
    if len(sweep.workers) < SLOTS and sweep.start() is not None:
        return
    if not sweep.workers:
        sweep.now += 10
        return
    trial = rng.choice(list(sweep.workers))
    what = rng.random()
    if what < 0.04:
        sweep.leave_behind(trial)
        sweep.open()
    elif what < 0.10:
        sweep.leave_behind(trial)
        del sweep.workers[trial]
        sweep.engine.on_lost(trial, "killed")
    elif what < 0.18:
        del sweep.workers[trial]
        cause = rng.choice(["error", "error", "error", "out_of_memory"])
        sweep.engine.on_error(trial, "Traceback", cause=cause)
    else:
        loss = math.nan if rng.random() < 0.02 else rng.random()
        sweep.report(trial, loss)
    sweep.check()


@pytest.mark.parametrize("scheduler", [ASHA, {"name": "none"}], ids=lambda s: s["name"])
@pytest.mark.parametrize("seed", range(5))
def test_through_failures_losses_and_the_deaths_of_drivers_the_bound_holds(
    make, seed: int, scheduler: Mapping[str, Any]
) -> None:
    rng = random.Random(seed)
    keep = rng.choice([1, 2, 3])
    sweep = make(keep=keep, scheduler=scheduler, max_retries=2, max_losses=2)
    for _ in range(120):
        live(sweep, rng)
    while sweep.workers or not sweep.engine.is_done:
        if len(sweep.workers) < SLOTS and sweep.start() is not None:
            continue
        sweep.now += 10
        for trial in list(sweep.workers):
            if sweep.step_of(trial) < 9:
                sweep.report(trial, rng.random())
            else:
                del sweep.workers[trial]
                sweep.engine.on_return(trial, {})
    sweep.engine.close("done")

    ended = sweep.trials.with_status(Status.COMPLETE, Status.STOPPED)
    best = sorted((t for t in ended if t.checkpoint), key=lambda t: (t.value, t.number))[:keep]
    paused = sweep.trials.with_status(Status.PAUSED)
    assert sorted(sweep.on_disk()) == sorted(t.number for t in [*best, *paused])
    for trial in best:
        assert sweep.on_disk()[trial.number] == {best_left(sweep.folder.has_checkpoint, trial)}
    for trial in paused:
        assert trial.checkpoint in sweep.on_disk()[trial.number]
    assert sweep.most > len(best) + len(paused)


# Rule by rule


def train(sweep: Sweep, *losses: float) -> int:
    """Put a trial into a slot and report these losses."""
    trial = sweep.start()
    assert trial is not None
    for loss in losses:
        sweep.report(trial, loss)
    return trial


def finish(sweep: Sweep, *losses: float) -> int:
    trial = train(sweep, *losses)
    del sweep.workers[trial]
    sweep.engine.on_return(trial, {})
    return trial


FIFO = {"name": "none"}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints that are given as functions are written at each report."""
    monkeypatch.setattr(session, "CHECKPOINT_EVERY_S", 0.0)


@pytest.mark.usefixtures("always")
def test_of_ended_trials_the_best_keep_their_best_checkpoint(make) -> None:
    sweep = make(keep=2, scheduler=FIFO)
    finish(sweep, 0.5, 0.3, 0.4)
    finish(sweep, 0.6, 0.7)
    assert sweep.on_disk() == {0: {name(0, 2)}, 1: {name(1, 1)}}
    finish(sweep, 0.9)
    assert sweep.on_disk() == {0: {name(0, 2)}, 1: {name(1, 1)}}
    finish(sweep, 0.2)
    assert sweep.on_disk() == {0: {name(0, 2)}, 3: {name(3, 1)}}


@pytest.mark.usefixtures("always")
def test_of_equally_good_trials_the_one_that_leads_keeps_its_checkpoint(make) -> None:
    sweep = make(scheduler=FIFO)
    first = train(sweep, 0.9)
    finish(sweep, 0.3)
    sweep.report(first, 0.3)
    del sweep.workers[first]
    sweep.engine.on_return(first, {})
    assert sweep.trials.best is not None
    assert set(sweep.on_disk()) == {sweep.trials.best.number}


@pytest.mark.usefixtures("always")
def test_a_paused_trial_keeps_its_newest_and_if_it_leads_its_best_also_after_the_end(make) -> None:
    sweep = make(scheduler={"name": "asha", "max_t": 9, "grace_period": 3}, num_samples=2)
    train(sweep, 0.5, 0.2, 0.4)
    assert sweep.on_disk() == {0: {name(0, 2), name(0, 3)}}
    train(sweep, 0.1, 0.3, 0.2)
    assert sweep.on_disk() == {0: {name(0, 3)}, 1: {name(1, 1), name(1, 3)}}
    sweep.engine.close("done")
    assert sweep.on_disk() == {0: {name(0, 3)}, 1: {name(1, 1), name(1, 3)}}

    sweep._limits = Limits(num_samples=3)  # extended
    sweep.open()
    train(sweep, 0.6, 0.6, 0.6)
    assert sweep.start() == 1
    assert sweep.workers[1].checkpoint == sweep.folder.path / name(1, 3)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("how", ["diverges", "raises", "out_of_memory"])
def test_a_trial_that_leads_and_then_goes_bad_has_cost_the_best_of_the_others_nothing(
    make, how: str
) -> None:
    sweep = make(scheduler=FIFO)
    finish(sweep, 0.5)
    leader = train(sweep, 0.1)
    assert name(0, 1) in sweep.on_disk()[0]
    if how == "diverges":
        sweep.report(leader, math.nan)
    else:
        sweep.engine.on_error(leader, "Traceback", cause=how if "_" in how else "error")
    assert sweep.on_disk() == {0: {name(0, 1)}}
    assert sweep.trials.best is sweep.trials[0]


@pytest.mark.usefixtures("always")
def test_where_the_best_report_has_no_checkpoint_the_newest_stays(make) -> None:
    sweep = make(scheduler=FIFO)
    trial = train(sweep, 0.5)
    sweep.engine.on_report(trial, step=2, metrics={"loss": 0.1}, checkpoint=None)
    sweep.report(trial, 0.4, step=3)
    del sweep.workers[trial]
    sweep.engine.on_return(trial, {})
    assert sweep.on_disk() == {0: {name(0, 3)}}


@pytest.mark.usefixtures("always")
def test_a_trial_without_checkpoints_takes_no_place_among_the_best(make) -> None:
    sweep = make(scheduler=FIFO)
    finish(sweep, 0.5)
    trial = sweep.start()
    sweep.engine.on_report(trial, step=1, metrics={"loss": 0.1}, checkpoint=None)
    sweep.engine.on_return(trial, {})
    assert sweep.on_disk() == {0: {name(0, 1)}}


def test_with_several_objectives_what_is_on_the_pareto_front_stays_too(make) -> None:
    others = (Objective(metric="size", mode="max"),)
    sweep = make(scheduler=FIFO, objective=Objective(metric="loss", others=others))

    def complete(loss: float, size: float) -> None:
        trial = sweep.start()
        metrics = {"loss": loss, "size": size}
        _write(sweep.folder.path / name(trial, 1, run=sweep.trials.run))
        sweep.engine.on_report(
            trial, step=1, metrics=metrics, checkpoint=name(trial, 1, run=sweep.trials.run)
        )
        sweep.engine.on_return(trial, {})

    for loss, size in ((0.2, 5), (0.1, 3), (0.3, 8), (0.3, 4)):
        complete(loss, size)
    assert sorted(sweep.on_disk()) == [0, 1, 2]
    complete(0.15, 6)
    assert sorted(sweep.on_disk()) == [1, 2, 4]
    sweep.open()
    assert sorted(sweep.on_disk()) == [1, 2, 4]
    complete(0.05, 9)
    assert sorted(sweep.on_disk()) == [5]


@pytest.mark.usefixtures("always")
def test_a_trial_that_goes_on_under_another_driver_leaves_nothing_of_the_first(make) -> None:
    sweep = make(scheduler=FIFO)
    train(sweep, 0.5, 0.2, 0.4)
    sweep.leave_behind(0)
    sweep.open()
    assert sweep.on_disk() == {0: {name(0, 2), name(0, 3)}}
    assert sweep.start() == 0
    sweep.report(0, 0.3)
    assert sweep.on_disk() == {0: {name(0, 2), name(0, 4, run=2)}}
    sweep.report(0, 0.1)
    assert sweep.on_disk() == {0: {name(0, 5, run=2)}}


@pytest.mark.usefixtures("always")
def test_what_a_killed_driver_left_goes_when_the_next_opens_the_sweep(make) -> None:
    sweep = make(scheduler=FIFO)
    finish(sweep, 0.5)
    finish(sweep, 0.4)
    train(sweep, 0.7)
    kept = sweep.on_disk()
    _write(sweep.folder.path / name(0, 1))  # it died before it deleted that
    sweep.leave_behind(2)
    assert sum(map(len, sweep.on_disk().values())) == 6
    sweep.open()
    assert sweep.on_disk() == kept == {1: {name(1, 1)}, 2: {name(2, 1)}}


@pytest.mark.usefixtures("always")
def test_what_a_trial_is_just_writing_under_a_further_driver_stays_when_it_is_outdone(make) -> None:
    sweep = make(scheduler=FIFO)
    train(sweep, 0.5)
    sweep.open()
    sweep.start()
    _write(sweep.folder.path / name(0, 2, run=2))
    finish(sweep, 0.1)
    assert sweep.on_disk()[0] == {name(0, 1), name(0, 2, run=2)}
    sweep.report(0, 0.4)
    assert sweep.on_disk()[0] == {name(0, 2, run=2)}


@pytest.mark.usefixtures("always")
def test_what_a_worker_writes_after_its_trials_end_goes_when_the_sweep_is_closed(make) -> None:
    sweep = make(scheduler=FIFO)
    finish(sweep, 0.5)
    train(sweep, 0.7)
    sweep.engine.on_time_up(1)
    sweep.leave_behind(1)
    sweep.engine.close("done")
    assert sweep.on_disk() == {0: {name(0, 1)}}


@pytest.mark.usefixtures("always")
def test_nothing_is_deleted_for_an_event_that_is_not_durable(make) -> None:
    sweep = make(scheduler=FIFO)
    finish(sweep, 0.5)
    train(sweep, 0.4)
    sweep.log.fails = True
    with pytest.raises(OSError, match="no space left"):
        sweep.engine.on_return(1, {})
    assert sweep.on_disk() == {0: {name(0, 1)}, 1: {name(1, 1)}}


@pytest.mark.usefixtures("always")
def test_a_checkpoint_that_cannot_be_deleted_ends_no_sweep_and_is_told(
    make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = make(scheduler=FIFO)
    finish(sweep, 0.5)

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        if path.exists():
            raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        finish(sweep, 0.4)
    assert "cannot be deleted: [Errno 13] Permission denied" in caplog.text
    sweep.open()
    assert sweep.on_disk() == {1: {name(1, 1)}}


# Deleting and reading at the same time


def test_what_is_deleted_vanishes_at_once_and_a_half_deleted_one_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = _write(tmp_path / "000003")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda path: None)  # the process dies here
        delete(checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == [".000003.deleted"]
    _write(checkpoint)
    delete(checkpoint)
    delete(checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_goes_on_from_the_newest_that_is_left_and_is_taken_by_the_best(make) -> None:
    sweep = make(scheduler=FIFO)
    train(sweep, 0.1, 0.5)
    trial, folder = sweep.trials[0], sweep.folder
    _write(folder.path / name(0, 1)), _write(folder.path / name(0, 2))
    trial.best = dataclasses.replace(trial.best, checkpoint=name(0, 1))
    trial.checkpoint = name(0, 2)
    assert (best_left(folder.has_checkpoint, trial), newest_left(folder.has_checkpoint, trial)) == (
        name(0, 1),
        name(0, 2),
    )
    delete(folder.path / name(0, 2))
    assert (
        best_left(folder.has_checkpoint, trial)
        == newest_left(folder.has_checkpoint, trial)
        == name(0, 1)
    )
    delete(folder.path / name(0, 1))
    assert (
        best_left(folder.has_checkpoint, trial) is newest_left(folder.has_checkpoint, trial) is None
    )


def test_two_processes_may_delete_the_same_checkpoints(tmp_path: Path) -> None:
    for number in range(30):
        for part in range(10):
            _write(tmp_path / f"{number:06d}" / str(part))
    doomed = sorted(tmp_path.iterdir())
    threads = [threading.Thread(target=lambda: list(map(delete, doomed))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_what_is_held_stays_whole_when_the_original_goes(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path / "000003")
    _write(checkpoint / "parts")
    with held(checkpoint, tmp_path / ".source") as mine:
        assert mine.name == "000003"
        assert (mine / "state").stat().st_ino == (checkpoint / "state").stat().st_ino
        delete(checkpoint)
        assert (mine / "parts" / "state").read_text() == "state"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), held(checkpoint, tmp_path / ".source"):
        pass


@pytest.fixture
def outdone(make_sweep):
    """A sweep of an app without a trainer; trial 1 is the best and trial 0's checkpoint is gone."""
    made = make_sweep({"x": "interval(0, 1)"})
    for number, value in enumerate((0.5, 0.6)):
        made.ask(number, x=0.5)
        job = made.folder.job(number, 1)
        (job / ".hydra").mkdir(parents=True)
        (job / ".hydra" / "config.yaml").write_text("x: 0.5\n")
        (job / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {}}}\n")
        checkpoint = _write(job / "checkpoints" / "000001")
        made.report(number, 1, value, checkpoint=made.folder.relative(checkpoint))
        made.end(number, Status.COMPLETE, value)
    delete(made.folder.path / name(0, 1))
    return made


def test_a_trial_whose_checkpoint_was_deleted_is_not_exported_and_the_reason_is_said(
    outdone,
) -> None:
    said = "trial 0's checkpoint is no longer there: .* hydra.sweeper.keep_checkpoints best"
    with pytest.raises(SweepError, match=said):
        export_best(outdone.folder, trial=0)
    assert not outdone.folder.best.exists()


def test_an_export_whose_model_is_outdone_while_it_is_read_takes_the_new_best(
    outdone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link_after_it_went(source: str, target: str) -> str:
        monkeypatch.undo()
        better = _write(outdone.folder.job(0, 1) / "checkpoints" / "000002")
        outdone.report(0, 2, 0.9, checkpoint=outdone.folder.relative(better))
        outdone.end(0, Status.COMPLETE, 0.9)
        delete(outdone.folder.path / name(1, 1))
        raise FileNotFoundError(source)

    monkeypatch.setattr("sweeps.storage.checkpoints.link", link_after_it_went)
    result = export_best(outdone.folder)
    assert result.trial == 0
    assert (result.folder / "checkpoint" / "state").exists()
    assert [path.name for path in outdone.folder.path.glob(".*")] == []


# Over Ray


@contextmanager
def counting(folder: Path) -> Iterator[list[int]]:
    """Counts all that lies where checkpoints do, again and again."""
    counts, over = list[int](), threading.Event()

    def count() -> None:
        while not over.is_set():
            with suppress(FileNotFoundError):
                counts.append(len(list(folder.glob("trials/*/*/checkpoints/*"))))
            time.sleep(0.005)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


CURVE = ["curve.py", "+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
CURVE += ["hydra.sweeper.seed=3", "hydra.sweeper.keep_checkpoints=2"]


def with_checkpoints(swept: Any) -> dict[int, set[str]]:
    found = {t.number: set(swept.folder.checkpoints(t.number)) for t in swept.trials}
    return {number: {p.name for p in paths} for number, paths in found.items() if paths}


def best_of(trials: Iterable[Trial]) -> list[int]:
    return sorted(t.number for t in sorted(trials, key=lambda t: t.value or 0.0)[:2])


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_over_ray_keeps_within_its_bound_and_leaves_the_best(sweep) -> None:
    asha = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
    with counting(sweep.storage / "s") as counts:
        swept = sweep(*CURVE, *asha, "hydra.sweeper.num_samples=10", "+epochs=9")

    assert swept.code == 0
    assert swept.trials.best is not None
    paused = swept.trials.with_status(Status.PAUSED)
    assert 0 < max(counts) <= len(swept.trials) + 3 * 2 + 2 * 2
    left = with_checkpoints(swept)
    ended = [t for t in swept.trials if t.status is Status.COMPLETE]
    assert sorted(left) == sorted({*best_of(ended), *(t.number for t in paused)})
    for trial in paused:
        assert f"{trial.step:06d}" in left[trial.number]
    assert (swept.folder.best / "checkpoint" / "state.json").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_over_ray_without_a_scheduler_leaves_exactly_the_best(sweep) -> None:
    with counting(sweep.storage / "s") as counts:
        swept = sweep(*CURVE, "hydra.sweeper.num_samples=8", "+epochs=5")

    assert swept.code == 0
    assert max(counts) <= 3 * 2 + 2 * 2
    assert with_checkpoints(swept) == {number: {"000005"} for number in best_of(swept.trials)}


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_whose_driver_is_killed_and_which_is_extended_leaves_what_it_should(sweep) -> None:
    asha = [*CURVE, "hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
    asha += ["+epochs=9", "+epoch_s=0.05", "hydra.sweeper.num_samples=9"]
    for resume in ([], ["hydra.sweeper.resume=true"]):
        driver = sweep.drive(*asha, *resume)
        driver.wait_for_reports(4)
        driver.end(signal.SIGKILL)

    first = sweep.caviar("resume", str(driver.folder.path))
    assert first.code == 0
    swept = sweep.caviar("resume", str(driver.folder.path), "hydra.sweeper.num_samples=15")
    assert swept.code == 0
    assert len(swept.trials) == 15
    paused = swept.trials.with_status(Status.PAUSED)
    ended = [t for t in swept.trials if t.status is Status.COMPLETE]
    assert {t.status for t in swept.trials} == {Status.PAUSED, Status.COMPLETE}
    left = with_checkpoints(swept)
    assert sorted(left) == sorted({*best_of(ended), *(t.number for t in paused)})
    assert all(len(names) == 1 for names in left.values())


@pytest.mark.slow
@pytest.mark.ray
def test_a_complete_trial_that_goes_on_after_its_checkpoint_went_is_trained_anew(sweep) -> None:
    asha = [*CURVE, "hydra/sweeper/scheduler=asha", "+epochs=9", "hydra.sweeper.num_samples=18"]
    asha += ["hydra.sweeper.keep_checkpoints=1"]
    first = sweep(*asha, "hydra.sweeper.scheduler.max_t=3")
    complete = first.trials.with_status(Status.COMPLETE)
    assert len(complete) >= 6
    (kept,) = {t.number for t in complete} & set(with_checkpoints(first))
    swept = sweep.caviar("resume", str(first.folder.path), "hydra.sweeper.scheduler.max_t=9")
    assert swept.code == 0
    longer = [t.number for t in swept.trials if t.step == 9]
    assert kept in longer
    assert len(longer) >= 2
    for number in longer:
        begun = swept.read(number, "epochs.log", run=2).split()[0]
        assert begun == ("4" if number == kept else "1")
