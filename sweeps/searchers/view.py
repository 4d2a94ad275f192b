"""The view of a journal that an Optuna sampler sees.

A sampler that reads the journal as it stands learns little from a sweep with early stopping: there,
a paused trial counts as RUNNING, which TPE puts among the bad ones, and TPE stays random until ten
trials are finished. So a sampler sees this view instead: a paused trial is PRUNED with its reports,
and RUNNING again once it is promoted; a stopped one is PRUNED with its reports, never COMPLETE with
a low-fidelity score; a diverged one is PRUNED with a NaN report alone, at step 0: samplers rank
what is pruned by its step first, so that it comes last and they keep away. One that goes on from
another trial's checkpoint is no more what was asked for: it is PRUNED with its reports up to there.

Samplers that learn from COMPLETE trials alone look at the view through a lens (`rungs.py`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from sweeps.journal.events import (
    Asked,
    Created,
    Ended,
    Event,
    Known,
    Notes,
    Reported,
    Requested,
    Started,
)
from sweeps.journal.objective import Objective
from sweeps.journal.optuna_words import DIRECTIONS, STATES
from sweeps.journal.status import Decision, Status
from sweeps.space.space import Space

_STUDY_ID = 0
_STUDY_NAME = "sweep"
_REDUNDANT = ("tpe:", "gp:")
"""TPE and GP note what they drew for a running trial, for drivers that see it before it has all of
its parameters. Ours has them at once; and of the conditional ones these notes hold too many."""

Lens = Callable[[Sequence[FrozenTrial]], Sequence[FrozenTrial]]
"""All trials of a view -> the same trials, as a sampler is to see them."""


class View(BaseStorage):
    """A storage of one study, in memory, of one thread, fed by the journal's events.

    Feed it every event with `apply`; ask samplers through `study`. A trial's number and Optuna's
    trial id are the sweep's own number. Trials are replaced, never changed in place, so what
    `get_all_trials` handed out stays as it was.
    """

    def __init__(self, objective: Objective) -> None:
        self.directions = [DIRECTIONS[o.mode] for o in objective.all]
        self.diverged: set[int] = set()
        """The trials that diverged."""
        self.enqueued: dict[int, Mapping[str, Any]] = {}
        """Configurations that somebody asked for, as far as they are given, by the trial's number
        that takes them."""
        self.lens: Lens | None = None
        """What samplers see the trials through."""
        self.notes_on_known: dict[str, Any] = {}
        """What a sampler would have noted on each trial of an earlier sweep."""
        self._trials: list[FrozenTrial] = []
        self._spaces: list[Space] = []
        self._asked: list[tuple[int, Mapping[str, Any]]] = []
        """By trial: which of the spaces it was drawn from, and its parameters there."""
        self._exploited: set[int] = set()
        """Trials that have gone on from another's checkpoint, with other parameters."""
        self._misfits: set[int] = set()
        """Trials that are no configurations of the space as it is now."""
        self._told: Known | None = None
        self._known: list[FrozenTrial] = []
        """Trials of earlier sweeps; their numbers are below 0."""
        self._whole: list[FrozenTrial] = []
        """Those of them that are configurations of the space."""
        self._user_attrs: dict[str, Any] = {}
        self._system_attrs: dict[str, Any] = {}
        self._notes = Notes()
        self.study = optuna.load_study(study_name=_STUDY_NAME, storage=self)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        match event:
            case Created():
                self._on_created(event)
            case Known():
                self._on_known(event)
            case Requested(refusal=None, trial=int() as number, asked={"enqueue": values}):
                self.enqueued[number] = values
            case Asked():
                self._on_asked(event)
            case Started() | Reported() | Ended() if event.trial in self._exploited:
                pass
            case Started(reason="exploit"):
                self._exploited.add(event.trial)
            case Started():
                self._replace(event.trial, state=TrialState.RUNNING)
            case Reported(value=float() | int()):
                self._on_reported(event)
            case Ended():
                self._on_ended(event)

    def take_notes(self) -> Notes | None:
        """What the sampler noted since the last call, for the journal; None if nothing."""
        notes, self._notes = self._notes, Notes()
        return notes if notes.trial or notes.study else None

    def note(self, key: str, value: Any) -> None:
        """Note a plain JSON value on the trial that is being asked for."""
        self._notes = Notes(trial={**self._notes.trial, key: value}, study=self._notes.study)

    def retract(self, *, keep_notes: bool = False) -> None:
        """Take back what was asked for last: it is not to be.

        Args:
            keep_notes: Whether another configuration takes its place, and the notes on it.
        """
        del self._trials[len(self._asked) :]
        if not keep_notes:
            self._notes = Notes(study=self._notes.study)

    def _on_created(self, event: Created) -> None:
        """A further study: show the trials as those of the changed space."""
        self._spaces.append(Space.from_json(event.space))
        for number, (study, params) in enumerate(self._asked):
            values = self._spaces[study].values(params)
            if not self._spaces[-1].holds(values):
                self._misfits.add(number)
                continue
            self._misfits.discard(number)
            now = self._spaces[-1].optuna_params(values)
            self._replace(number, params=now, distributions=self._distributions(now))
        if self._told is not None:
            self._on_known(self._told)

    def _distributions(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        distributions = self._spaces[-1].distributions()
        return {name: distributions[name] for name in params}

    def _on_known(self, event: Known) -> None:
        self._told, self._known, self._whole = event, [], []
        for number, known in enumerate(event.trials, start=-len(event.trials)):
            trial = _new_trial(number, datetime.fromtimestamp(event.time))
            space, values = self._spaces[-1], known["params"]
            values = space.shared(values)
            parameters = [p for p in space.parameters if p.name in values]
            trial.params = {p.optuna_name: p.from_value(values[p.name]) for p in parameters}
            trial.distributions = self._distributions(trial.params)
            trial.state = STATES.get(Status(known["status"]), TrialState.PRUNED)
            if trial.state is TrialState.COMPLETE:
                trial.values = known["values"]
            trial.intermediate_values = _reports_of(known) if len(self.directions) == 1 else {}
            trial.datetime_complete = trial.datetime_start
            trial.system_attrs = self.notes_on_known
            self._known.append(trial)
            if space.holds(values):
                self._whole.append(trial)

    def _on_asked(self, event: Asked) -> None:
        self._asked.append((event.study, event.params))
        if event.trial < len(self._trials):  # asked of this very view: it is there already
            return
        trial = _new_trial(event.trial, datetime.fromtimestamp(event.time))
        trial.params, trial.distributions = dict(event.params), dict(event.distributions)
        if event.notes is not None:
            trial.system_attrs = dict(event.notes.trial)
            self._system_attrs.update(event.notes.study)
        self._trials.append(trial)

    def _on_reported(self, event: Reported) -> None:
        assert event.value is not None
        shown = self._trials[event.trial]
        reports = {**shown.intermediate_values, event.step: event.value}
        self._replace(
            event.trial,
            state=TrialState.PRUNED if event.decision is Decision.PAUSE else shown.state,
            intermediate_values={} if event.several else reports,
        )
        if not math.isfinite(event.value):
            self._on_diverged(event.trial)

    def _on_diverged(self, trial: int) -> None:
        self.diverged.add(trial)
        reports = {0: math.nan} if len(self.directions) == 1 else {}
        self._replace(trial, intermediate_values=reports)

    def _on_ended(self, event: Ended) -> None:
        self._replace(
            event.trial,
            state=STATES[event.status],
            values=[event.value, *event.others] if event.status is Status.COMPLETE else None,
            datetime_complete=datetime.fromtimestamp(event.time),
        )
        if event.status is Status.DIVERGED:
            self._on_diverged(event.trial)

    def _replace(self, number: int, **fields: object) -> None:
        trial = copy.copy(self._trials[number])
        for name, value in fields.items():
            setattr(trial, name, value)
        self._trials[number] = trial

    # Optuna's side: what a study and its samplers call.

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """All trials as samplers may see them."""
        if states == (TrialState.WAITING,):  # asked for at every ask; there are never any
            return []
        shown = self._shown()
        trials = [t for t in shown if states is None or t.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _shown(self) -> list[FrozenTrial]:
        """Own trials after those of earlier sweeps, but what is not of the space as it is now.

        What looks through a lens learns from whole configurations alone.
        """
        if self.lens is None:
            shown = [*self._known, *self._trials]
        else:
            shown = list(self.lens([*self._whole, *self._trials]))
        if not self._misfits:
            return shown
        return [trial for trial in shown if trial.number not in self._misfits]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial; of an earlier sweep where the number is below 0."""
        return self._known[trial_id] if trial_id < 0 else self._trials[trial_id]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A running trial without parameters, for an ask."""
        self._trials.append(_new_trial(len(self._trials), datetime.now()))
        return len(self._trials) - 1

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """A parameter that a sampler has just drawn."""
        trial = self._trials[trial_id]
        value = distribution.to_external_repr(param_value_internal)
        self._replace(
            trial_id,
            params={**trial.params, param_name: value},
            distributions={**trial.distributions, param_name: distribution},
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Refused: states change by events alone."""
        raise RuntimeError("a trial's state is told by an event, not by Optuna")

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Refused: reports come as events alone."""
        raise RuntimeError("a report is told by an event, not by Optuna")

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """A sampler's note on a trial."""
        attrs = self._trials[trial_id].user_attrs
        self._replace(trial_id, user_attrs={**attrs, key: value})

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """A sampler's note on a trial."""
        if key.startswith(_REDUNDANT):
            return
        attrs = self._trials[trial_id].system_attrs
        self._replace(trial_id, system_attrs={**attrs, key: value})
        self.note(key, value)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Refused: a view holds one study."""
        raise RuntimeError("a view holds one study")

    def delete_study(self, study_id: int) -> None:
        """Refused: a view holds one study."""
        raise RuntimeError("a view holds one study")

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """A sampler's note on the study."""
        self._user_attrs[key] = value

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """A sampler's note on the study."""
        self._system_attrs[key] = value
        self._notes = Notes(trial=self._notes.trial, study={**self._notes.study, key: value})

    def get_study_id_from_name(self, study_name: str) -> int:
        """The one study's id."""
        return _STUDY_ID

    def get_study_name_from_id(self, study_id: int) -> str:
        """The one study's name."""
        return _STUDY_NAME

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """The objectives' directions."""
        return self.directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Notes on the study."""
        return self._user_attrs

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Notes on the study."""
        return self._system_attrs

    def get_all_studies(self) -> list[FrozenStudy]:
        """The one study."""
        return [
            FrozenStudy(
                study_name=_STUDY_NAME,
                direction=None,
                directions=self.directions,
                user_attrs=self._user_attrs,
                system_attrs=self._system_attrs,
                study_id=_STUDY_ID,
            )
        ]


def _reports_of(known: Mapping[str, Any]) -> dict[int, float]:
    diverged = Status(known["status"]) is Status.DIVERGED
    return {0: math.nan} if diverged else {int(step): value for step, value in known["reports"]}


def _new_trial(number: int, start: datetime) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=start,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
