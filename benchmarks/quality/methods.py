"""Who takes part: our searchers and schedulers by name, and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quality.clock import Peer, Run, run_peer
from quality.peers import OptunaPeer, RayPeer, SynePeer
from quality.problems import Missing, Problem, Stragglers, Values
from sweeps.schedulers import SCHEDULERS
from sweeps.searchers import SEARCHERS
from sweeps.simulate import Setup, simulate

_ENDLESS = 1_000_000
"""More trials than any budget of time can start."""


@dataclass(frozen=True)
class Ours:
    """A searcher and a scheduler of `sweeps`, by name and options."""

    searcher: Mapping[str, Any]
    scheduler: Mapping[str, Any]

    def check(self) -> None:
        """Raise `Missing` where there is no such searcher or scheduler."""
        for kind, table, choice in (
            ("searcher", SEARCHERS, self.searcher),
            ("scheduler", SCHEDULERS, self.scheduler),
        ):
            if choice["name"] not in table:
                raise Missing(f"there is no {kind} {choice['name']}")

    def run(
        self, problem: Problem, *, workers: int, seconds: float, stragglers: Stragglers, seed: int
    ) -> Run:
        """One sweep on the simulator."""

        def curve(values: Values, trial: int) -> Iterator[tuple[Mapping[str, float], float]]:
            factor = stragglers.factor(trial)
            for loss, cost in problem.train(values):
                yield {"objective": loss}, cost * factor

        has_curves = problem.max_t > 1
        bounded = {} if self.scheduler["name"] == "none" else {"max_t": problem.max_t}
        done = simulate(
            curve,
            Setup(
                space=problem.space,
                num_samples=_ENDLESS if has_curves else round(workers * seconds),
                searcher=self.searcher,
                scheduler={**self.scheduler, **bounded},
                workers=workers,
                seconds=seconds,
                seed=seed,
            ),
        )
        return Run(
            incumbents=done.incumbents(),
            idle=sum(done.idle) / (workers * seconds),
            trials=len(done.trials),
        )


@dataclass(frozen=True)
class Theirs:
    """A peer, made anew for each sweep."""

    make: Callable[[Problem, int], Peer]

    def check(self) -> None:
        """Peers that lack a library say so when they are made."""

    def run(
        self, problem: Problem, *, workers: int, seconds: float, stragglers: Stragglers, seed: int
    ) -> Run:
        """One sweep on the peers' clock."""
        peer = self.make(problem, seed)
        return run_peer(peer, problem, workers=workers, seconds=seconds, stragglers=stragglers)


Method = Ours | Theirs


def ours(searcher: str, scheduler: str = "none") -> Ours:
    """A searcher and a scheduler with their defaults."""
    return Ours({"name": searcher}, {"name": scheduler})


PEERS: dict[str, Method] = {
    "optuna tpe": Theirs(lambda p, seed: OptunaPeer(p, seed, pruner=None)),
    "optuna tpe+sh": Theirs(lambda p, seed: OptunaPeer(p, seed, pruner="successive_halving")),
    "optuna tpe+hyperband": Theirs(lambda p, seed: OptunaPeer(p, seed, pruner="hyperband")),
    "ray asha": Theirs(lambda p, seed: RayPeer(p, seed)),
    "ray asha+optuna": Theirs(lambda p, seed: RayPeer(p, seed, model=True)),
    "syne asha": Theirs(lambda p, seed: SynePeer(p, seed, scheduler="ASHA")),
    "syne bohb": Theirs(lambda p, seed: SynePeer(p, seed, scheduler="BOHB")),
}
