"""A dry run: what a sweep would do, shown and nothing started."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from sweeps.journal.events import Asked, Created, Known
from sweeps.planning.compose import apply
from sweeps.planning.notices import notices
from sweeps.searchers import View

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan

_SHOWN = 3


def show(plan: Plan, console: Console) -> None:
    """Print the space, three composed trials and the rungs."""
    console.print(_space(plan))
    for number, values in enumerate(_first_values(plan)):
        config = apply(
            plan.composer.base(values),
            plan.composer.patch(values),
            job_num=number,
            job_id=f"{plan.folder.name}_{number}",
        )
        overrides = escape(" ".join(plan.space.overrides(values)))
        console.print(f"\n[bold]trial {number}[/]  {overrides}")
        console.print(Syntax(_yaml(config), "yaml", background_color="default"))
    console.print(
        f"{plan.num_samples} trials, {_judged(plan)}; would be in {plan.folder.place}. "
        f"Nothing was started."
    )
    for notice in notices(plan):
        console.print(notice, style="yellow", markup=False)


def _judged(plan: Plan) -> str:
    fidelity = plan.settings.fidelity
    if fidelity is not None:
        values = ", ".join(f"{fidelity.value(rung):.4g}" for rung in plan.rungs)
        return f"trained anew at {fidelity.name} {values}"
    return plan.scheduler.describe()


def _first_values(plan: Plan) -> Iterator[dict[str, Any]]:
    """The first configurations, while none has any result."""
    view = View(plan.settings.objective)
    searcher, distributions = plan.searcher(view), plan.space.distributions()
    now = time.time()
    modes = [objective.mode for objective in plan.settings.objective.all]
    view.apply(Created(name="preview", modes=modes, space=plan.space.to_json(), time=now))
    if plan.known:
        view.apply(Known(trials=plan.known, time=now))
    for number in range(min(_SHOWN, plan.num_samples)):
        params = searcher.ask(number)
        given = {name: distributions[name] for name in params}
        view.apply(Asked(trial=number, run=1, params=params, distributions=given, time=now))
        yield plan.space.values(params)


def _yaml(config: DictConfig) -> str:
    """The app's own part of a config."""
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    del plain["hydra"]
    return OmegaConf.to_yaml(OmegaConf.create(plain))


def _space(plan: Plan) -> Table:
    table = Table("parameter", "values", box=None, header_style="bold")
    for name, values in plan.space.describe():
        table.add_row(Text(name), Text(values))
    for constraint in plan.space.constraints:
        table.add_row("constraint", Text(constraint.text))
    return table
