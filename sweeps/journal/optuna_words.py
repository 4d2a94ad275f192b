"""Our words for a trial's state and an objective's direction, as Optuna's."""

from __future__ import annotations

from optuna.study import StudyDirection
from optuna.trial import TrialState

from sweeps.journal.status import Status

STATES = {
    Status.PAUSED: TrialState.PRUNED,
    Status.STOPPED: TrialState.PRUNED,
    Status.COMPLETE: TrialState.COMPLETE,
    Status.DIVERGED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
}
"""As samplers and readers see a trial that does not run; in the journal one that is paused stays
RUNNING, since a finished Optuna trial cannot be opened again."""

DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
