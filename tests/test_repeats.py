"""Repeats of a trial: trained in turn, told of as one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.core.repeats import Repeating, Turns, repeat_seed, seeds_for_apps, together
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.session import Send, Session, TrialEnded
from sweeps.storage.repeated import split
from sweeps.worker import repeats as module
from sweeps.worker.repeats import Repeats, Turn

LOSS = Objective(metric="loss")
Decide = Callable[[int, bool], Decision]


def go_on(step: int, resumable: bool) -> Decision:
    return Decision.CONTINUE


@dataclass
class Told:
    """The driver: what it was told, and what it says to that."""

    decide: Decide = go_on
    reports: list[tuple[int, dict[str, float], Path | None]] = field(default_factory=list)

    def __call__(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        assert not (can_wait and checkpoint), "what comes with a checkpoint is told at once"
        self.reports.append((step, metrics, checkpoint))
        return self.decide(step, checkpoint is not None)

    @property
    def steps(self) -> list[int]:
        return [step for step, _, _ in self.reports]

    @property
    def losses(self) -> list[float]:
        return [metrics["loss"] for _, metrics, _ in self.reports]


@dataclass(kw_only=True)
class App:
    """Trains a repeat: its loss at a step is `losses[repeat][step - 1]`, to the end of that."""

    losses: Sequence[Sequence[float]]
    saves: Callable[[int], bool] = lambda step: True
    returns: Callable[[int], Any] = lambda repeat: None
    turns: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each: the repeat, the first step and the last."""

    def __call__(self, turn: Turn, send: Send) -> Any:
        turn.folder.mkdir(parents=True, exist_ok=True)
        session = Session(
            job_folder=turn.folder,
            checkpoint=turn.checkpoint,
            send=send,
            objective=LOSS,
            rungs=turn.rungs,
        )
        begin = int(turn.checkpoint.name) if turn.checkpoint else 0
        if turn.checkpoint:
            assert (turn.checkpoint / "of").read_text() == f"{turn.repeat} {begin}"
        step = begin
        try:
            for step in range(begin + 1, len(self.losses[turn.repeat]) + 1):
                self._report(session, turn, step)
        finally:
            self.turns.append((turn.repeat, begin + 1, step))
        return self.returns(turn.repeat)

    def _report(self, session: Session, turn: Turn, step: int) -> None:
        at_rung = session.reach(step)
        checkpoint = None
        if self.saves(step):
            checkpoint = turn.folder / "checkpoints" / f"{step:06d}"
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "of").write_text(f"{turn.repeat} {step}")
        metrics = {"loss": self.losses[turn.repeat][step - 1], "epoch": float(step)}
        can_wait = checkpoint is None and not at_rung
        decision = session.send(step, metrics, checkpoint, can_wait)
        if checkpoint is not None:
            session.keeper.drop_others(checkpoint.parent, {checkpoint.name})
        if decision is not Decision.CONTINUE:
            raise TrialEnded(decision.value)


def train(
    app: App,
    told: Told,
    folder: Path,
    turns: Turns = Turns(),  # noqa: B008 - immutable
    checkpoint: Path | None = None,
) -> Mapping[str, float]:
    repeating = Repeating(count=len(app.losses), turns=turns)
    repeats = Repeats(repeating, objective=LOSS, folder=folder, checkpoint=checkpoint)
    return repeats.train(app, told)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A trial's job folder, or what those of several lie in."""
    return tmp_path / "1"


LOSSES = [[8.0, 6.0, 5.0, 3.0], [9.0, 4.0, 4.0, 2.0], [7.0, 5.0, 6.0, 1.0]]


def test_the_driver_hears_the_mean_and_the_spread_over_all_repeats_at_each_step(
    tmp_path: Path,
) -> None:
    told = Told()
    train(App(losses=LOSSES), told, tmp_path)
    assert told.steps == [1, 2, 3, 4]
    for step, metrics, _ in told.reports:
        column = [losses[step - 1] for losses in LOSSES]
        assert metrics["loss"] == np.mean(column)
        assert metrics["loss_std"] == np.std(column, ddof=1)
        assert (metrics["epoch"], metrics["epoch_std"]) == (step, 0)


def test_repeats_take_turns_up_to_each_rung_and_go_on_from_their_own_checkpoints(
    tmp_path: Path,
) -> None:
    app, told = App(losses=LOSSES), Told()
    train(app, told, tmp_path, Turns((1, 3)))
    assert app.turns == [
        *((0, 1, 1), (1, 1, 1), (2, 1, 1)),
        *((0, 2, 3), (1, 2, 3), (2, 2, 3)),
        *((0, 4, 4), (1, 4, 4), (2, 4, 4)),
    ]
    assert told.steps == [1, 2, 3, 4]


def test_a_pause_leaves_one_checkpoint_of_all_repeats_and_a_promotion_goes_on_from_it(
    tmp_path: Path,
) -> None:
    paused = Told(lambda step, resumable: Decision.PAUSE if resumable else Decision.CONTINUE)
    with pytest.raises(TrialEnded):
        train(App(losses=LOSSES), paused, tmp_path / "1", Turns((3,)))
    assert paused.steps == [1, 2, 3]
    # the last repeat saves at every step, but only at the rung do all stand where it does
    first, second, checkpoint = (checkpoint for _, _, checkpoint in paused.reports)
    assert first is None
    assert second is None
    assert checkpoint == tmp_path / "1" / "checkpoints" / "000003"
    assert [each.step for each in split(checkpoint)] == [3, 3, 3]

    app, told = App(losses=LOSSES), Told()
    train(app, told, tmp_path / "2", Turns((3,)), checkpoint)
    assert app.turns == [(0, 4, 4), (1, 4, 4), (2, 4, 4)]
    assert told.steps == [4]
    assert told.losses == [np.mean([losses[3] for losses in LOSSES])]


def test_a_trial_that_was_cut_off_tells_the_same_when_it_goes_on(tmp_path: Path) -> None:
    whole = Told()
    train(App(losses=LOSSES), whole, tmp_path / "1", Turns((2,)))
    for at in (1, 2, 3):
        place = tmp_path / f"cut-{at}"

        def die(step: int, resumable: bool, at: int = at) -> Decision:
            if step == at:
                raise KeyboardInterrupt
            return Decision.CONTINUE

        before = Told(die)
        with pytest.raises(KeyboardInterrupt):
            train(App(losses=LOSSES), before, place / "1", Turns((2,)))
        known = before.reports[:-1]  # the driver died before it noted the last one
        checkpoint = next((saved for _, _, saved in reversed(known) if saved), None)
        after = Told()
        train(App(losses=LOSSES), after, place / "2", Turns((2,)), checkpoint)
        assert after.steps == ([3, 4] if at == 3 else [1, 2, 3, 4])
        again = {step: metrics for step, metrics, _ in (*known, *after.reports)}
        assert again == {step: metrics for step, metrics, _ in whole.reports}


def test_repeats_that_were_over_when_the_trial_was_cut_off_are_not_trained_again(
    tmp_path: Path,
) -> None:
    whole = Told()
    train(App(losses=LOSSES, saves=lambda step: False), whole, tmp_path / "whole" / "1")

    def dies(repeat: int) -> None:
        if repeat == 1:
            raise KeyboardInterrupt

    before = App(losses=LOSSES, saves=lambda step: False, returns=dies)
    with pytest.raises(KeyboardInterrupt):
        train(before, Told(), tmp_path / "1")
    before = App(losses=LOSSES, saves=lambda step: False)
    cut = Told(lambda step, resumable: Decision.STOP if step == 2 else Decision.CONTINUE)
    with pytest.raises(TrialEnded):
        train(before, cut, tmp_path / "2")
    assert before.turns == [(1, 1, 4), (2, 1, 2)]
    after, told = App(losses=LOSSES, saves=lambda step: False), Told()
    train(after, told, tmp_path / "2-1")
    assert after.turns == [(2, 1, 4)]
    assert told.reports == whole.reports

    other, told = App(losses=LOSSES), Told()
    train(App(losses=LOSSES), told, tmp_path / "3", Turns((2,)))
    checkpoint = tmp_path / "3" / "checkpoints" / "000004"
    assert checkpoint.is_dir()
    train(other, Told(), tmp_path / "4", Turns((2,)), checkpoint)
    assert [turn for turn in other.turns if turn[0] < 2] == []


def test_what_was_over_behind_another_checkpoint_is_trained_again(tmp_path: Path) -> None:
    train(App(losses=LOSSES), Told(), tmp_path / "1")
    told = Told(lambda step, resumable: Decision.PAUSE if resumable else Decision.CONTINUE)
    with pytest.raises(TrialEnded):
        train(App(losses=LOSSES), told, tmp_path / "other" / "1", Turns((2,)))
    checkpoint = told.reports[-1][2]
    app = App(losses=LOSSES)
    train(app, Told(), tmp_path / "2", Turns((2,)), checkpoint)
    assert [turn[:2] for turn in app.turns] == [(0, 3), (1, 3), (2, 3)]


def test_an_app_without_checkpoints_trains_each_repeat_to_its_end(tmp_path: Path) -> None:
    app, told = App(losses=LOSSES, saves=lambda step: False), Told()
    train(app, told, tmp_path, Turns((1, 3)))
    assert app.turns == [(0, 1, 4), (1, 1, 4), (2, 1, 4)]
    assert told.steps == [1, 2, 3, 4]
    assert [checkpoint for _, _, checkpoint in told.reports] == [None] * 4


def test_a_stop_while_the_last_repeat_trains_ends_them_all(tmp_path: Path) -> None:
    app = App(losses=LOSSES)
    told = Told(lambda step, resumable: Decision.STOP if step == 3 else Decision.CONTINUE)
    with pytest.raises(TrialEnded):
        train(app, told, tmp_path, Turns((3,)))
    assert app.turns == [(0, 1, 3), (1, 1, 3), (2, 1, 3)]


def test_where_checkpoints_come_between_the_rungs_a_turn_ends_at_the_next_one(
    tmp_path: Path,
) -> None:
    app, told = App(losses=LOSSES, saves=lambda step: step % 2 == 0), Told()
    train(app, told, tmp_path, Turns((1, 3)))
    assert app.turns[:6] == [(0, 1, 2), (1, 1, 2), (2, 1, 2), (0, 3, 4), (1, 3, 4), (2, 3, 4)]
    assert told.steps == [1, 2, 3, 4]
    assert [checkpoint is not None for _, _, checkpoint in told.reports] == [False, True] * 2


def test_one_repeat_that_diverges_is_told_at_once(tmp_path: Path) -> None:
    app = App(losses=[[3.0, math.nan, 1.0], [3.0, 2.0, 1.0]])
    told = Told(lambda step, resumable: Decision.STOP)
    with pytest.raises(TrialEnded):
        train(app, told, tmp_path)
    [(step, metrics, checkpoint)] = told.reports
    assert (step, list(metrics), checkpoint) == (2, ["loss"], None)
    assert math.isnan(metrics["loss"])
    assert app.turns == [(0, 1, 2)]


@pytest.mark.parametrize("order", [1, -1])
def test_a_repeat_that_ends_early_counts_with_its_last_report_in_whatever_order(
    tmp_path: Path, order: int
) -> None:
    told = Told()
    train(App(losses=[[4.0, 2.0], [4.0, 4.0, 6.0, 8.0]][::order]), told, tmp_path)
    assert told.steps == [1, 2, 3, 4]
    assert told.losses == [4.0, 3.0, 4.0, 5.0]


def test_what_tasks_return_is_a_mean_too(tmp_path: Path) -> None:
    app = App(losses=[[], [], []], returns=lambda repeat: {"loss": float(repeat), "kept": 1.0})
    returned = train(app, Told(), tmp_path / "named" / "1")
    assert returned == {"loss": 1.0, "loss_std": 1.0, "kept": 1.0, "kept_std": 0.0}
    app = App(losses=[[], []], returns=lambda repeat: repeat)
    assert train(app, Told(), tmp_path / "number" / "1") == {
        "objective": 0.5,
        "objective_std": math.sqrt(0.5),
    }
    assert train(App(losses=[[], []]), Told(), tmp_path / "nothing" / "1") == {}


def test_a_task_that_raises_says_in_which_repeat(tmp_path: Path) -> None:
    def returns(repeat: int) -> float:
        if repeat == 1:
            raise ValueError("no such fold")
        return 0.0

    with pytest.raises(ValueError, match="no such fold") as caught:
        train(App(losses=[[], [], []], returns=returns), Told(), tmp_path)
    assert caught.value.__notes__ == ["in repeat 1 of 3, from 0"]


def test_a_task_that_catches_its_end_is_ended_again(tmp_path: Path) -> None:
    class Stubborn(App):
        def _report(self, session: Session, turn: Turn, step: int) -> None:
            try:
                super()._report(session, turn, step)
            except TrialEnded:
                with pytest.raises(TrialEnded):
                    super()._report(session, turn, step + 1)
                raise

    told = Told()
    train(Stubborn(losses=LOSSES), told, tmp_path, Turns((1, 3)))
    assert told.steps == [1, 2, 3, 4]


def test_a_segment_that_is_to_end_ends_whichever_repeat_trains(tmp_path: Path) -> None:
    app, told = App(losses=LOSSES), Told()
    repeats = Repeats(Repeating(count=3), objective=LOSS, folder=tmp_path, checkpoint=None)
    repeats.is_ending = lambda: True
    with pytest.raises(TrialEnded):
        repeats.train(app, told)
    assert (app.turns, told.reports) == ([(0, 1, 1)], [])


def test_each_repeat_keeps_what_it_reported(tmp_path: Path) -> None:
    train(App(losses=LOSSES), Told(), tmp_path, Turns((1, 3)))
    for repeat, losses in enumerate(LOSSES):
        lines = (tmp_path / f"repeat-{repeat}" / module.REPORTS).read_text().splitlines()
        assert [json.loads(line)["loss"] for line in lines] == losses


def test_only_the_newest_and_the_best_checkpoint_of_the_trial_stay(tmp_path: Path) -> None:
    losses = [[2.0, 1.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0]]
    train(App(losses=losses), Told(), tmp_path, Turns((1, 2, 3)))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "000002",
        "000004",
    ]
    assert not list((tmp_path / "repeat-0" / "checkpoints").iterdir())


def test_reports_of_one_step_are_told_one_by_one(tmp_path: Path) -> None:
    def run(turn: Turn, send: Send) -> None:
        turn.folder.mkdir(parents=True)
        send(1, {"train": 1.0 + turn.repeat}, None, False)
        send(1, {"loss": 3.0 + turn.repeat}, None, False)

    told = Told()
    Repeats(Repeating(count=2), objective=LOSS, folder=tmp_path, checkpoint=None).train(run, told)
    assert [(step, sorted(metrics)) for step, metrics, _ in told.reports] == [
        (1, ["train", "train_std"]),
        (1, ["loss", "loss_std"]),
    ]


def test_means_are_over_what_all_repeats_gave() -> None:
    assert together([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0, "a_std": math.sqrt(2)}
    assert together([{"a": 1.0, "a_std": 5.0}, {"a": 1.0, "a_std": 7.0}]) == {
        "a": 1.0,
        "a_std": 6.0,
        "a_std_std": math.sqrt(2),
    }
    assert math.isnan(together([{"a": math.inf}, {"a": -math.inf}])["a"])


def test_turns_end_at_rungs_and_double_where_every_report_is_judged() -> None:
    assert [Turns((1, 3, 9)).after(step) for step in (0, 1, 2, 3, 9)] == [1, 3, 3, 9, None]
    assert [Turns((), 4).after(step) for step in (0, 4, 5, 8)] == [4, 8, 10, 16]
    assert Turns((5,), 4).after(4) == 5
    assert Turns().after(0) is None


def test_seeds_differ_between_repeats_and_trials_and_those_of_apps_between_repeats_alone() -> None:
    seeds = {repeat_seed(7, trial, repeat) for trial in range(20) for repeat in range(5)}
    assert len(seeds) == 100
    assert seeds_for_apps(7, 5)[:3] == seeds_for_apps(7, 3)
    assert len({*seeds_for_apps(7, 5), *seeds_for_apps(8, 5)}) == 10
