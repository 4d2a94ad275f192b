import io
from dataclasses import replace

import pytest
from rich.console import Console

from sweeps import render
from sweeps.core.memory import ADVICE
from sweeps.driver.incumbent import Again
from sweeps.driver.progress import Progress
from sweeps.driver.summary import final_report
from sweeps.export import ExportResult
from sweeps.journal.events import Asked, Created, Ended, Lost, Opened, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trials
from sweeps.results import load_sweep
from sweeps.space.space import parse_space
from sweeps.storage.folder import Record

OBJECTIVE = Objective(metric="acc", mode="max")
SPACE, _ = parse_space({"optimizer.lr": "interval(0, 1)"}, [])


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Watched:
    """A progress and the trials that its events lead to."""

    def __init__(self, *, total=10, max_t=None, terminal=False, cannot_pause=None, repeats=1):
        self.out = io.StringIO()
        self.clock = Clock()
        console = Console(file=self.out, force_terminal=terminal, width=100, highlight=False)
        self.trials = Trials(OBJECTIVE)
        self.trials.apply(Created(name="s", modes=("max",), space=SPACE.to_json(), time=0.0))
        self.progress = Progress(
            OBJECTIVE,
            total=lambda: total,
            max_t=max_t,
            console=console,
            cannot_pause=cannot_pause,
            repeats=repeats,
            clock=self.clock,
        )

    def tell(self, kind, **fields):
        event = kind(**fields, time=self.clock.now)
        self.trials.apply(event)
        self.progress(event, self.trials)

    def ask(self, trial):
        self.tell(Asked, trial=trial, run=1, params={"optimizer.lr": 0.1}, distributions={})

    def report(self, trial, step, value, decision=Decision.CONTINUE, checkpoint=None):
        self.tell(
            Reported,
            trial=trial,
            run=1,
            step=step,
            metrics={"acc": value},
            value=value,
            checkpoint=checkpoint,
            decision=decision,
        )

    def end(self, trial, status, value=None, error=None):
        self.tell(
            Ended, trial=trial, status=status, value=value, metrics={}, error=error, cause=None
        )

    def start(self, trial, reason="promote"):
        self.tell(Started, trial=trial, run=1, reason=reason, checkpoint=None)

    @property
    def lines(self):
        return self.out.getvalue().splitlines()

    def screen(self):
        console = Console(file=io.StringIO(), width=100, color_system=None)
        console.print(self.progress._render())
        return console.file.getvalue()


def test_each_change_worth_telling_is_one_line_without_a_terminal():
    watched = Watched()
    with watched.progress:
        watched.ask(0)
        watched.clock.now = 12
        watched.report(0, 1, 0.5, Decision.PAUSE)
        watched.ask(1)
        watched.report(1, 1, 0.4)
        watched.start(0)
        watched.report(0, 2, 0.6)
        watched.end(0, Status.COMPLETE, 0.6)
        watched.tell(Lost, trial=1, reason="killed")
        watched.start(1, "retry")
    assert watched.lines == [
        "[   12s] trial 0 paused at step 1, acc 0.5, best so far | 1 paused",
        "[   12s] trial 0 promoted from step 1 | 2 running",
        "[   12s] trial 0 complete at step 2, acc 0.6 | 1 running, 1 complete",
        "[   12s] trial 1 lost its worker: killed | 1 running, 1 complete",
        "[   12s] trial 1 tried again from step 1 | 1 running, 1 complete",
    ]


def test_a_trial_that_cannot_pause_for_want_of_a_checkpoint_is_told_once():
    watched = Watched(cannot_pause=(2, "runs on"))
    for trial in range(3):
        watched.ask(trial)
    watched.report(0, 1, 0.5)  # before the first rung
    watched.report(1, 2, 0.4, checkpoint="trials/1/1/checkpoints/2")
    watched.report(1, 3, 0.4)  # between rungs
    watched.report(2, 2, float("nan"), Decision.STOP)
    assert "checkpoint" not in watched.out.getvalue()
    watched.report(0, 2, 0.4)
    watched.report(0, 3, 0.4)
    told = [line for line in watched.lines if "checkpoint" in line]
    assert told == ["[    0s] trial 0 reports without a checkpoint, so it cannot pause: it runs on"]


@pytest.mark.parametrize(("spread", "told"), [(0.0, True), (0.1, False)])
def test_repeats_that_are_all_one_run_are_told_of_once_with_what_to_do(spread, told):
    watched = Watched(repeats=3)
    name = OBJECTIVE.metric
    for trial in range(2):
        watched.ask(trial)
        for step in (1, 2):
            watched.tell(
                Reported,
                trial=trial,
                run=1,
                step=step,
                metrics={name: 0.5, f"{name}_std": spread * (step - 1)},
                value=0.5,
                checkpoint=None,
                decision=Decision.STOP if step == 2 else Decision.CONTINUE,
            )
        watched.end(trial, Status.STOPPED, 0.5)
    said = [line for line in watched.lines if "repeats" in line]
    expected = (
        f"[    0s] the 3 repeats of trial 0 gave the same {name}: where the app seeds itself, "
        f"name the key of its seed with hydra.sweeper.repeats_key"
    )
    assert said == ([expected] if told else [])


def test_what_failed_and_why_a_trial_ended_early_is_told():
    watched = Watched()
    for number in range(3):
        watched.ask(number)
    watched.tell(Lost, trial=0, reason="Traceback\nValueError: no", cause="error")
    watched.start(0, "retry")
    watched.report(1, 4, 0.5)
    fields = {"value": 0.5, "metrics": {}, "error": None, "cause": "time_limit"}
    watched.tell(Ended, trial=1, status=Status.STOPPED, **fields)
    fields = {"value": None, "metrics": {}, "error": "MemoryError", "cause": "out_of_memory"}
    watched.tell(Ended, trial=2, status=Status.DIVERGED, **fields)
    assert [line.split("]")[1].split(" |")[0] for line in watched.lines] == [
        " trial 0 raised, to be tried again: ValueError: no",
        " trial 0 tried again from step 0",
        " trial 1 at step 4, acc 0.5, best so far",
        " trial 1 stopped at step 4, acc 0.5, its time is up",
        f" trial 2 diverged, out of memory: {ADVICE}",
    ]


def test_a_new_leader_is_told_as_it_runs():
    watched = Watched()
    for number, value in enumerate([0.5, 0.4, 0.7]):
        watched.ask(number)
        watched.report(number, 1, value)
    assert [line.split("|")[0].strip() for line in watched.lines] == [
        "[    0s] trial 0 at step 1, acc 0.5, best so far",
        "[    0s] trial 2 at step 1, acc 0.7, best so far",
    ]


def test_of_a_burst_a_hundred_lines_are_written_and_then_two_a_second():
    watched = Watched(total=1000)
    for number in range(200):
        watched.ask(number)
        watched.end(number, Status.STOPPED, -number)
    assert len(watched.lines) == 100
    watched.clock.now = 0.5
    watched.ask(200)
    watched.end(200, Status.STOPPED, -200)
    assert len(watched.lines) == 101
    assert watched.lines[-1].endswith("201 stopped (+100 lines left out)")


def test_a_new_leader_is_told_in_a_burst_too():
    watched = Watched(total=1000)
    for number in range(100):
        watched.ask(number)
        watched.end(number, Status.STOPPED, -number)
    watched.ask(100)
    watched.end(100, Status.COMPLETE, 1.0)
    assert "trial 100 complete, acc 1, best so far" in watched.lines[-1]


def test_a_failure_is_told_with_its_last_line_and_its_folder():
    watched = Watched()
    watched.ask(0)
    watched.end(0, Status.FAILED, error="Traceback\n  x\nKeyError: 'lr'\n")
    assert watched.lines == ["[    0s] trial 0 failed: KeyError: 'lr' | trials/0/1 | 1 failed"]


def test_nothing_is_estimated_in_the_beginning():
    watched = Watched(total=10)
    for number in range(3):
        watched.ask(number)
        watched.clock.now += 1
        assert watched.progress.seconds_left() is None
        watched.end(number, Status.COMPLETE, 0.1)
    assert watched.progress.seconds_left() == pytest.approx(7.0)


def test_no_estimate_before_every_slot_has_settled_a_trial():
    watched = Watched(total=100)
    for number in range(8):
        watched.ask(number)
    for number in range(3):
        watched.end(number, Status.COMPLETE, 0.1)
    assert watched.progress.seconds_left() is None


def test_no_estimate_when_only_promotions_are_left():
    watched = Watched(total=4)
    for number in range(4):
        watched.ask(number)
        watched.report(number, 1, 0.1, Decision.PAUSE)
    assert watched.progress.seconds_left() is None
    assert "only promotions left" in watched.screen()


def test_what_an_earlier_driver_settled_is_not_in_the_rate():
    watched = Watched(total=20)
    for number in range(10):
        watched.ask(number)
        watched.end(number, Status.COMPLETE, 0.1)
    watched.tell(Opened, run=2)
    assert watched.progress.seconds_left() is None
    for number in range(10, 14):
        watched.ask(number)
        watched.clock.now += 2
        watched.end(number, Status.COMPLETE, 0.1)
    assert watched.progress.seconds_left() == pytest.approx(12.0)


def test_the_screen_shows_trials_counts_steps_and_the_best():
    watched = Watched(total=10, max_t=9)
    for number in range(4):
        watched.ask(number)
    watched.report(0, 3, 0.5, Decision.PAUSE)
    watched.end(1, Status.FAILED, error="x")
    screen = watched.screen()
    assert "2/10 trials" in screen
    assert "2 running  1 paused  1 failed   3 steps, 8% of full runs" in screen
    assert "best  acc 0.5  trial 0, step 3  lr=0.1" in screen


def test_a_promotion_does_not_set_the_bar_back():
    watched = Watched()
    watched.ask(0)
    watched.report(0, 1, 0.5, Decision.PAUSE)
    assert "1/10 trials" in watched.screen()
    watched.start(0)
    assert "1/10 trials" in watched.screen()


def test_on_a_terminal_the_first_failures_stand_above_the_display():
    watched = Watched(terminal=True)
    with watched.progress:
        for number in range(5):
            watched.ask(number)
            watched.end(number, Status.FAILED, error=f"ValueError: {number}")
    out = watched.out.getvalue()
    assert "trial 2 failed: ValueError: 2" in out
    assert "ValueError: 3" not in out


# The summary at the end


@pytest.fixture
def sweep(make_sweep):
    made = make_sweep({"optimizer.lr": "interval(0, 1)"}, scheduler={"name": "asha", "max_t": 9})
    for number in range(12):
        made.ask(number, **{"optimizer.lr": number / 20})
        made.report(number, 1, number / 100, Decision.PAUSE)
    made.promote(11)
    made.report(11, 9, 0.95, Decision.COMPLETE)
    made.end(11, Status.COMPLETE, 0.95)
    for number in range(5):
        made.promote(number)
        made.end(number, Status.FAILED, error=f"Traceback\nRuntimeError: no luck {number}")
    return made


def summary(sweep, *, width=120, **options):
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    final_report(load_sweep(sweep.folder), console=console, **options)
    return console.file.getvalue()


def test_the_summary_tells_best_totals_failures_and_how_to_go_on(sweep):
    sweep.close("done")
    text = summary(sweep)
    rows = [line for line in text.splitlines() if line.strip().startswith(("●", "10", "9"))]
    assert "● 11" in rows[0]
    assert "0.95" in rows[0]
    assert "trials      12  6 stopped  1 complete  5 failed" in text
    assert "steps       20 of the 108 that full runs take, 19%" in text
    assert "failures    5 trials failed; most often RuntimeError: no luck 0" in text
    assert "trial 0 failed: RuntimeError: no luck 0" in text
    assert "2 more failed" in text
    assert "best        val_accuracy 0.95  trial 11, step 9  lr=0.55" in text
    assert "caviar results" in text
    assert "hydra.sweeper.num_samples=24" in text


def test_a_sweep_in_which_no_trial_got_to_the_end_says_so(make_sweep):
    made = make_sweep(scheduler={"name": "asha", "max_t": 9})
    for trial in range(2):
        made.ask(trial, lr=0.1)
        made.report(trial, 3, 0.5, Decision.PAUSE)
    assert "max_t" not in summary(made)
    made.close("done")
    assert "no trial was trained to max_t, 9" in summary(made)
    made.add(Opened, run=2)
    made.run = 2
    made.promote(0)
    made.report(0, 9, 0.5, Decision.COMPLETE)
    made.end(0, Status.COMPLETE, 0.5)
    made.close("done")
    assert "max_t" not in summary(made)


def test_a_resumed_sweep_says_when_nothing_was_left_to_do(sweep):
    sweep.close("done")
    assert "nothing was left to do" not in summary(sweep)
    sweep.add(Opened, run=2)
    sweep.close("done")
    assert "nothing was left to do" in summary(sweep)


def test_a_larger_max_t_that_lets_none_go_on_says_why(make_sweep):
    made = make_sweep(scheduler={"name": "asha", "max_t": 9, "reduction_factor": 3})
    for trial in range(2):
        made.ask(trial, lr=0.1)
        made.report(trial, 3, 0.5, Decision.COMPLETE)
        made.end(trial, Status.COMPLETE, 0.5)
    made.close("done")
    made.add(Opened, run=2)
    made.close("done")
    said = "nothing was left to do: one in 3 goes on to step 9, and 2 trials came as far as that"
    assert said in " ".join(summary(made).split())


def test_a_grid_of_which_all_was_tried_does_not_say_how_to_go_on(make_sweep):
    made = make_sweep({"lr": "choice(0.1, 0.2)"})
    searcher = {"name": "grid", "levels": None}
    replace(Record.read(made.folder), searcher=searcher).write(made.folder)
    for trial, lr in enumerate((0.1, 0.2)):
        made.close("done")
        assert "go on" in summary(made)
        made.add(Opened, run=trial + 2)
        made.ask(trial, lr=lr)
        made.end(trial, Status.COMPLETE, 0.5)
    made.close("done")
    assert "go on" not in summary(made)


def test_one_trial_is_no_trials(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.end(0, Status.COMPLETE, 0.5)
    made.close("done")
    text = summary(made)
    assert "trials      1  1 complete" in text
    assert "failures    none, and no preemptions" in text


def test_an_interrupted_sweep_is_resumed_as_it_is(sweep):
    sweep.close("interrupted")
    text = summary(sweep)
    assert "caviar resume" in text
    assert "num_samples" not in text
    assert "6 paused" in text
    assert next(line for line in text.splitlines() if "trials  " in line).endswith("interrupted")


def test_an_export_is_told_with_its_test_metrics(sweep, tmp_path):
    folder = tmp_path / "sweep" / "best"
    done = ExportResult(folder=folder, trial=11, verified=True, test={"accuracy": 0.941})
    text = summary(sweep, export=done)
    assert "verified" in text
    assert "test        accuracy 0.941" in text
    copied = ExportResult(folder=folder, trial=11, verified=False, reason="it has no trainer")
    assert "not verified: it has no trainer" in " ".join(summary(sweep, export=copied).split())


def test_many_parameters_share_a_column_where_they_do_not_fit(make_sweep):
    names = [f"group.parameter_{i}" for i in range(12)]
    made = make_sweep(dict.fromkeys(names, "interval(0, 1)"))
    made.ask(0, **dict.fromkeys(names, 0.5))
    made.report(0, 1, 0.5)
    text = summary(made)
    assert "parameter_0=0.5 parameter_1=0.5" in text


def test_a_summary_without_trials_is_a_summary_too(make_sweep):
    assert "trials      0" in summary(make_sweep())


def test_the_command_that_runs_the_best_again_is_in_one_piece(sweep):
    sweep.close("interrupted")
    command = "python app.py --config-dir outputs/sweeps/mnist-20261122 +best=experiment"
    assert f"run again   {command}\n" in summary(sweep, again=Again(command=command))
    narrow = summary(sweep, width=50, again=Again(command=command))
    assert f"run again\n  {command}\n" in narrow
    assert "best        val_accuracy 0.95  trial 11, step 9\n            lr=0.55\n" in narrow
    assert "\x1b" not in narrow


def test_why_the_best_has_no_command_and_which_secrets_it_needs_is_said(sweep):
    assert "run again   it differs in lr" in summary(sweep, again=Again(failure="it differs in lr"))
    text = summary(sweep, again=Again(command="python app.py", secrets=("api_key",)))
    assert "secret      api_key: to be given when it is run again" in text


def test_what_went_wrong_is_counted_with_its_most_frequent_cause(make_sweep):
    made = make_sweep()
    for trial in range(3):
        made.ask(trial, lr=0.1)
        made.end(trial, Status.FAILED, error=f"{'Value' if trial else 'Key'}Error: {trial}")
    made.ask(3, lr=0.1)
    for cause in ("preempted", "preempted", "lost", "error"):
        made.add(Lost, trial=3, cause=cause, reason="OSError: x")
    text = summary(made)
    said = "3 trials failed, 1 try raised and was repeated, 1 worker lost, 2 preemptions"
    assert f"failures    {said}; most often ValueError: 1" in text


@pytest.mark.parametrize(
    ("config", "word"),
    [("epochs: 9", "epochs"), ("trainer: {max_epochs: 30}", "epochs"), ("epochs: 3", "steps")],
)
def test_epochs_are_called_so_where_the_app_counts_them(make_sweep, config, word):
    made = make_sweep(scheduler={"name": "asha", "max_t": 9})
    made.ask(0, lr=0.1)
    made.report(0, 9, 0.5)
    folder = made.folder.job(0, 1) / ".hydra"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    assert f"{word:<12}9 of the 9 that full runs take, 100%" in summary(made)


# Numbers and names


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0s"), (59.4, "59s"), (185, "3m 05s"), (7620, "2h 07m"), (97200, "1d 03h")],
)
def test_durations_are_short(seconds, shown):
    assert render.duration(seconds) == shown


def test_names_are_cut_to_what_tells_them_apart():
    names = ["optimizer.lr", "head.lr", "model.width", "seed"]
    shown = {"optimizer.lr": "optimizer.lr", "head.lr": "head.lr", "model.width": "width"}
    assert render.short_names(names) == {**shown, "seed": "seed"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00123456, "0.001235"), (True, "true"), (None, "null"), (64, "64"), ("mlp", "mlp")],
)
def test_parameters_are_shown_in_few_characters(value, shown):
    assert render.parameter(value) == shown
    assert len(render.parameter(["a long list"] * 10)) == 24
