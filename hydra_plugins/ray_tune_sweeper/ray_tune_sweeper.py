"""The sweeper plugin: a thin class. Its schema is in `_schema`, the work in `sweeps.driver.runner`.

Hydra imports this module at the start of every Hydra app, so it stays light: no ray, no torch.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.ray_tune_sweeper._schema import checked, register


class RayTuneSweeper(Sweeper):
    """Hands a multirun to caviar."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Keep what Hydra hands over."""
        self._context = hydra_context
        self._task = task_function
        self._config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that the config and the command line's overrides describe."""
        _check_neighbours()
        from cluster.errors import ClusterError
        from sweeps.driver.runner import run_from_hydra
        from sweeps.errors import ConfigError, SweepError, exit_code

        try:
            return run_from_hydra(
                task_function=self._task,
                hydra_context=self._context,
                config=self._config,
                options=checked(self._config.hydra.sweeper),
                arguments=arguments,
            )
        except (ConfigError, SweepError, ClusterError, KeyboardInterrupt) as error:
            if "HYDRA_FULL_ERROR" in os.environ:
                raise
            print(str(error) or "interrupted", file=sys.stderr)
            raise SystemExit(exit_code(error)) from None


def _check_neighbours() -> None:
    """See that `sweeps` and `cluster` are caviar's: another package of that name may hide them."""
    root = Path(__file__).resolve().parents[2]
    for name in ("sweeps", "cluster"):
        ours = root / name / "__init__.py"
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != ours:
            where = found or next(iter(spec.submodule_search_locations or []), "?") if spec else "?"
            print(
                f"caviar needs its own package {name!r} ({ours.parent}), and {where} is in the "
                f"way: rename that file or package, or take its folder off sys.path.",
                file=sys.stderr,
            )
            raise SystemExit(2)


register()
