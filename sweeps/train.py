"""The app that trains one model: `caviar train`, and what a sweep runs without an app of its own.

It knows nothing of models: what trains is `trainer._target_`, built from the config like the rest.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import sweeps
from sweeps.planning.overriding import as_given
from sweeps.secrets import is_masked
from sweeps.session import rank
from sweeps.signals import stop_at_signals
from sweeps.space.literals import literal

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger(__name__)

CONF = Path(__file__).resolve().parents[1] / "conf"
INTERRUPTED = 130

Metrics = dict[str, float]
Save = Callable[[Path], Path]


class Fit(Protocol):
    """What a trainer's `fit` gives."""

    net: Any
    metrics: Metrics
    best_epoch: int | None
    epoch: int
    objective: float
    ended: str
    save: Save


class LrRangeTest(Protocol):
    """What a trainer's `lr_range_test` gives."""

    lowest: float
    suggestion: float
    diverged_at: float | None
    """None where even the highest learning rate did not diverge."""
    highest: float

    def write(self, file: Path) -> Path:
        """Write its table."""
        ...


class ModelTrainer(Protocol):
    """What `trainer._target_` offers this app."""

    epochs: int

    def fit(
        self,
        parts: Mapping[str, Any],
        *,
        resume: Path | None,
        on_epoch: Callable[[int, Metrics, Save], None],
        stop: Callable[[], bool] | None,
    ) -> Fit:
        """Train, calling `on_epoch` after each epoch and `stop` after each step."""
        ...

    def evaluate(self, net: Any, split: str) -> Mapping[str, float]:
        """Metrics on a split."""
        ...

    def lr_range_test(self, parts: Mapping[str, Any]) -> LrRangeTest:
        """Train with ever larger learning rates, up to divergence."""
        ...


@runtime_checkable
class EndsEarly(Protocol):
    """What a trainer offers besides where a run may end before its `epochs`."""

    @property
    def is_ending(self) -> bool:
        """Whether the epoch that `on_epoch` hears of is the run's last."""
        ...


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> float:
    """Train one model; returns the best value of the monitored metric."""
    if sweeps.in_sweep():
        return _train_in_sweep(cfg)
    with _mistakes_in_one_line():
        return find_lr(cfg) if cfg.lr_range_test else train_alone(cfg)


def _train_in_sweep(cfg: DictConfig) -> float:
    if cfg.lr_range_test:
        raise ValueError("lr_range_test is true; in a sweep it must be false")
    resume = sweeps.get_checkpoint() or (find_checkpoint(cfg.resume) if cfg.resume else None)
    return train(hydra.utils.instantiate(cfg, _convert_="all"), resume=resume).objective


def train(
    parts: Mapping[str, Any],
    *,
    resume: Path | None = None,
    on_epoch: Callable[[int, Metrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fit:
    """Train what the config was instantiated to, and report each epoch.

    In a sweep a checkpoint is written where the sweep wants one and at the last epoch, by the first
    of a trial's ranks; otherwise at each. A diverged epoch is reported without: there is nothing to
    go on from.
    """
    trainer: ModelTrainer = parts["trainer"]

    def report(epoch: int, metrics: Metrics, save: Save) -> None:
        if not all(map(math.isfinite, metrics.values())):
            sweeps.report(metrics, step=epoch)
        elif sweeps.in_sweep() and (rank() > 0 or not _is_last(trainer, epoch)):
            sweeps.report(metrics, step=epoch, checkpoint=save)
        else:
            _report_with_checkpoint(epoch, metrics, save)
        if on_epoch is not None:
            on_epoch(epoch, metrics)

    if sweeps.in_sweep() and hasattr(trainer, "fingerprint"):
        for name, rows in trainer.fingerprint(parts).items():
            sweeps.record_data(name, rows)
    return trainer.fit(parts, resume=resume, on_epoch=report, stop=stop)


def _is_last(trainer: ModelTrainer, epoch: int) -> bool:
    return trainer.is_ending if isinstance(trainer, EndsEarly) else epoch >= trainer.epochs


def _report_with_checkpoint(epoch: int, metrics: Metrics, save: Save) -> None:
    checkpoint = save(sweeps.checkpoint_folder(epoch) or checkpoints() / f"{epoch:06d}")
    sweeps.report(metrics, step=epoch, checkpoint=checkpoint)
    if not sweeps.in_sweep():
        delete_all_but(checkpoint)


# By itself


def train_alone(cfg: DictConfig) -> float:
    """Train with a progress bar, stop at Ctrl-C with a checkpoint, and say what came of it."""
    cfg, resume = go_on(cfg) if cfg.resume else (cfg, None)
    parts = hydra.utils.instantiate(cfg, _convert_="all")
    with stop_at_signals() as stop, _progress(cfg) as on_epoch:
        fit = train(parts, resume=resume, on_epoch=on_epoch, stop=stop)
    if fit.ended == "interrupted":
        _end_interrupted(fit)
    _summarize(fit, parts["trainer"])
    if fit.best_epoch is None:
        raise SystemExit(1)
    return fit.objective


def find_lr(cfg: DictConfig) -> float:
    """Make an lr range test instead of a training, and say which learning rate it suggests."""
    parts = hydra.utils.instantiate(cfg, _convert_="all")
    found = parts["trainer"].lr_range_test(parts)
    table = found.write(output_folder() / "lr_range_test.csv")
    _say(f"lowest loss at lr {found.lowest:.2g}; {_ending(found)}")
    _say(f"suggested   optimizer.lr={found.suggestion:.2g}")
    _say(f"table       {relative(table)}")
    return float(found.suggestion)


def _ending(found: LrRangeTest) -> str:
    if found.diverged_at is None:
        return f"it did not diverge up to {found.highest:.2g}, the end of the test"
    return f"it diverged at {found.diverged_at:.2g}"


def _end_interrupted(fit: Fit) -> None:
    place = fit.save(checkpoints() / f"{fit.epoch:06d}-interrupted")
    delete_all_but(place)
    command = shlex.join(["caviar", "train", f"resume={literal(relative(output_folder()))}"])
    epochs = "1 epoch" if fit.epoch == 1 else f"{fit.epoch} epochs"
    _say(f"interrupted after {epochs}; go on with:\n  {command}")
    raise SystemExit(INTERRUPTED)


def _summarize(fit: Fit, trainer: ModelTrainer) -> None:
    if fit.ended == "diverged":
        log.warning("diverged in epoch %d: the loss is not finite", fit.epoch)
    if fit.best_epoch is None:
        return
    _say(f"best epoch  {fit.best_epoch} of {fit.epoch}  {_line(fit.metrics)}")
    try:
        _say(f"test        {_line(trainer.evaluate(fit.net, 'test'))}")
    except ValueError:
        log.info("the data has no test split")
    newest = newest_checkpoint(output_folder())
    if newest is not None:
        _say(f"checkpoint  {relative(newest)}")


def _line(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _say(text: str) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, soft_wrap=True).print(text)


@contextmanager
def _mistakes_in_one_line() -> Iterator[None]:
    """Answer a wrong value with its message alone; `HYDRA_FULL_ERROR=1` shows the traceback."""
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"{_message(error)}\n(HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
        at_run_time = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        raise SystemExit(1 if at_run_time else 2) from error


def _message(error: Exception) -> str:
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not set: add {error.full_key}=..."
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _with_key(str(error.__cause__), error)
    return str(error)


def _with_key(message: str, error: InstantiationException) -> str:
    """The message of what an instantiation raised, which may not say where in the config it was."""
    found = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)
    return message if found is None or found[1] in message else f"{found[1]}: {message}"


@contextmanager
def _progress(cfg: DictConfig) -> Iterator[Callable[[int, Metrics], None] | None]:
    """A bar over the epochs where someone watches; elsewhere each report is logged as a line."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with _bar(console) as bar, _reports_off_the_screen():
        task = bar.add_task("epoch", total=OmegaConf.select(cfg, "trainer.epochs"), metrics="")
        yield lambda epoch, metrics: bar.update(task, completed=epoch, metrics=_line(metrics))


def _bar(console: Any) -> Progress:
    from rich import progress

    return progress.Progress(
        progress.BarColumn(bar_width=10),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[metrics]}", markup=False),
        progress.TimeRemainingColumn(compact=True),
        console=console,
    )


@contextmanager
def _reports_off_the_screen() -> Iterator[None]:
    """Keep the lines of `sweeps.report` for the log file while the bar shows the same."""

    def other(record: logging.LogRecord) -> bool:
        return not record.name.startswith("sweeps.session")

    screens = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    for handler in screens:
        handler.addFilter(other)
    try:
        yield
    finally:
        for handler in screens:
            handler.removeFilter(other)


# Folders


def output_folder() -> Path:
    """This run's Hydra output folder."""
    return Path(HydraConfig.get().runtime.output_dir)


def checkpoints() -> Path:
    """Where this run's checkpoints lie."""
    return output_folder() / "checkpoints"


def delete_all_but(checkpoint: Path) -> None:
    """Delete the other checkpoints beside one that is safe."""
    for folder in checkpoint.parent.iterdir():
        if folder.name != checkpoint.name:
            shutil.rmtree(folder, ignore_errors=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of a run's output folder."""
    whole = [p for p in (folder / "checkpoints").glob("*") if p.suffix not in (".partial", ".old")]
    return max(whole, key=lambda p: p.name, default=None)


def find_checkpoint(path: str) -> Path:
    """The checkpoint that `resume` means: a checkpoint folder, or the newest of an output folder.

    Raises:
        FileNotFoundError: There is no such folder, or no checkpoint in it.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"resume is {path!r}; it must be a checkpoint or output folder")
    if (folder / "checkpoints").is_dir() or (folder / ".hydra").is_dir():
        newest = newest_checkpoint(folder)
        if newest is None:
            raise FileNotFoundError(f"resume is {path!r}, which holds no checkpoint")
        return newest
    return folder


def relative(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# Going on with an earlier run


def go_on(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The earlier run's config under this command line's overrides, and its checkpoint.

    Hydra's own files in this run's folder are written anew, so that it can be resumed in turn.
    """
    checkpoint = find_checkpoint(cfg.resume)
    earlier = _earlier_overrides(checkpoint)
    if earlier is None:
        return cfg, checkpoint
    overrides = merge_overrides(earlier, as_given(HydraConfig.get().overrides.task))
    if hidden := [o for o in overrides if is_masked(o)]:
        raise ValueError(f"resume: a trial's record keeps no secrets; give {hidden[0]} again")
    config = hydra.compose(str(HydraConfig.get().job.config_name), overrides)
    ours = output_folder() / ".hydra"
    if ours.is_dir():
        OmegaConf.save(config, ours / "config.yaml")
        OmegaConf.save(OmegaConf.create(overrides), ours / "overrides.yaml")
    return config, checkpoint


def _earlier_overrides(checkpoint: Path) -> list[str] | None:
    """The overrides of the run that wrote a checkpoint, if its output folder is around it."""
    file = checkpoint.parent.parent / ".hydra" / "overrides.yaml"
    return [str(o) for o in OmegaConf.load(file)] if file.is_file() else None


def merge_overrides(earlier: list[str], later: list[str]) -> list[str]:
    """Both, without the earlier ones that a later one replaces.

    Hydra refuses a config group that is chosen twice; `+` and `~` are not replaced.
    """
    parser = OverridesParser.create()
    replaced = {o.key_or_group for o in parser.parse_overrides(later) if _is_change(o)}
    kept = [
        text
        for text, o in zip(earlier, parser.parse_overrides(earlier), strict=True)
        if not (_is_change(o) and o.key_or_group in replaced)
    ]
    return [*kept, *later]


def _is_change(override: Override) -> bool:
    return not (override.is_add() or override.is_force_add() or override.is_delete())


if __name__ == "__main__":
    main()
