"""Which configurations a retest trains again, and with which seeds: retest.yaml.

    runs: [[0, 0], [1, 0], [0, 1], [1, 1]]

says that the retest's trial 2 is the first configuration with the second seed. Seeds go round over
all configurations before the next one begins, so that a retest that was cut short compares evenly.
A longer roster keeps what was there at its place: its trials have those numbers in the journal.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import yaml

from sweeps.errors import SweepError
from sweeps.space.grammar import split_key
from sweeps.storage.durable import write_whole
from sweeps.storage.folder import SweepFolder

FORMAT = 1
"""Version of retest.yaml; a later one is refused."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A configuration, and what the sweep says of it."""

    trial: int
    """The sweep's."""
    params: Mapping[str, Any]
    """As the app saw them, by name; the seed left out."""
    value: float
    """Its objective in the sweep."""
    step: int
    """How far it was trained there; 0 where it made no reports."""


@dataclass(frozen=True, kw_only=True)
class Roster:
    """What a retest is to train."""

    sweep: str
    """The sweep's name."""
    seed_key: str | None
    """The key of the app's config that takes the seed, as an override; None where it has none."""
    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    runs: tuple[tuple[int, int], ...]
    """By number of the retest's trials: which of `entries`, and which of `seeds`."""
    format: int = FORMAT

    @property
    def is_paired(self) -> bool:
        """Whether all configurations are trained with the same seeds."""
        return self.seed_key is not None

    def grown(self, entries: Sequence[Entry], seeds: Sequence[int]) -> Roster:
        """With what is not in it yet: every configuration comes to have every seed."""
        known = {entry.trial for entry in self.entries}
        all_entries = (*self.entries, *(e for e in entries if e.trial not in known))
        all_seeds = (*self.seeds, *(s for s in seeds if s not in self.seeds))
        every = itertools.product(range(len(all_seeds)), range(len(all_entries)))
        runs = ((entry, seed) for seed, entry in every)
        missing = (run for run in runs if run not in self.runs)
        return replace(self, entries=all_entries, seeds=all_seeds, runs=(*self.runs, *missing))

    def points(self) -> list[dict[str, Any]]:
        """The configuration of each run, by parameter name."""
        return [self._point(*run) for run in self.runs]

    def _point(self, entry: int, seed: int) -> dict[str, Any]:
        params = dict(self.entries[entry].params)
        if self.seed_key is not None:
            params[split_key(self.seed_key)[1]] = self.seeds[seed]
        return params

    def write(self, folder: SweepFolder) -> None:
        """Write retest.yaml into the retest's folder, which is made."""
        folder.path.mkdir(parents=True, exist_ok=True)
        data = {
            **asdict(self),
            "entries": [asdict(entry) for entry in self.entries],
            "seeds": list(self.seeds),
            "runs": [list(run) for run in self.runs],
        }
        write_whole(folder.roster, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
        folder.push(folder.roster)

    @classmethod
    def read(cls, folder: SweepFolder) -> Self | None:
        """Read the retest's; None where there is none.

        Raises:
            SweepError: It is damaged, or of a later format.
        """
        folder.pull(folder.roster)
        if not folder.roster.exists():
            return None
        try:
            fields = yaml.safe_load(folder.roster.read_text(encoding="utf-8"))
            if fields["format"] > FORMAT:
                raise SweepError(
                    f"{folder.shown(folder.roster)} was written by a newer caviar; update caviar"
                )
            return cls(
                **{
                    **fields,
                    "entries": tuple(Entry(**entry) for entry in fields["entries"]),
                    "seeds": tuple(fields["seeds"]),
                    "runs": tuple((entry, seed) for entry, seed in fields["runs"]),
                }
            )
        except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
            raise SweepError(f"{folder.shown(folder.roster)} cannot be read: {error}") from error
