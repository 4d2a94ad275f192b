"""A model as a graph of raw rows, written in each format, loaded back and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sweeps.errors import SweepError
from sweeps.export.compare import Agreement, compare
from sweeps.export.formats import FILES, Formats, not_installed
from sweeps.export.onnx_graph import load_onnx, write_onnx
from sweeps.export.program import Run, load_program, trace, write_program
from sweeps.export.signature import Signature
from sweeps.export.verify import ModelTrainer, Stored

Say = Callable[[str], None]

_WRITERS: Mapping[str, Callable[[Any, Path, Signature], None]] = {
    "pt2": lambda program, file, about: write_program(program, file, about.metadata()),
    "onnx": lambda program, file, about: write_onnx(
        program, file, about.metadata(), task=about.task
    ),
}
_LOADERS: Mapping[str, Callable[[Path], Run]] = {"pt2": load_program, "onnx": load_onnx}


@runtime_checkable
class DeployingTrainer(Protocol):
    """What `trainer._target_` offers so that its models become graphs; see docs/export.md."""

    def deployable(self, stored: Any) -> Any:
        """Of a loaded model: `module`, `task`, `columns`, `shape`, `dtype`, `outputs`, `missing`.

        `module` is a `torch.nn.Module` on the CPU in evaluation mode, of raw numeric rows
        `[n, *shape]` to `[n, outputs]`: probabilities of classes, or values of a regression.
        """
        ...

    def raw_rows(self, net: Any, split: str) -> Iterator[Any]:
        """The rows of a split as `module` and `predict` take them, some at a time."""
        ...

    def predict(self, net: Any, rows: Any) -> Any:
        """What the network says of raw rows, `[n, outputs]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A file that holds the whole model."""

    format: str
    file: str
    size: int
    """Bytes."""
    agreement: Agreement
    """With the network it was made from, on validation rows."""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What was written beside the weights."""

    signature: Signature | None = None
    """What the model takes and gives, where its trainer says so."""
    graphs: tuple[Graph, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By format: why it was not written."""


def deploy(
    trainer: ModelTrainer, stored: Stored, folder: Path, formats: Formats, say: Say
) -> Deployed:
    """Write a model's signature and its graphs to a folder, and compare each with the network.

    Raises:
        SweepError: A graph says something else than the network, or one that was asked for cannot
            be written.
        OSError: The file system refuses.
    """
    if not isinstance(trainer, DeployingTrainer):
        missing = [name for name in _offered() if not hasattr(trainer, name)]
        why = f"{type(trainer).__name__} does not offer {', '.join(missing)}"
        return Deployed(left_out=_without(dict.fromkeys(formats.graphs, why), formats))
    made, signature = _described(trainer, stored)
    signature.write(folder)
    left_out: Mapping[str, str] = dict(_not_installed(formats.graphs))
    wanted = [name for name in formats.graphs if name not in left_out]
    if wanted:
        left_out = {**left_out, **_write(made.module, signature, folder, wanted, say)}
    runs = {name: _load(folder, name) for name in wanted if name not in left_out}
    left_out = _without(left_out, formats)
    if not runs:
        return Deployed(signature=signature, left_out=left_out)
    say("comparing what was exported with the network on validation rows")
    graphs = _compare(trainer, stored, signature, folder, runs)
    return Deployed(signature=signature, graphs=graphs, left_out=left_out)


def _not_installed(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if (why := not_installed(name)) is not None:
            yield name, why


def _offered() -> tuple[str, ...]:
    return ("deployable", "raw_rows", "predict")


def _without(left_out: Mapping[str, str], formats: Formats) -> Mapping[str, str]:
    """What is left out, if it may be."""
    if left_out and formats.asked:
        raise SweepError(f"nothing was exported: {_listed(left_out)}")
    return left_out


def _listed(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in left_out.items())


def _described(trainer: DeployingTrainer, stored: Stored) -> tuple[Any, Signature]:
    try:
        made = trainer.deployable(stored)
        return made, Signature.of(made)
    except Exception as error:
        raise SweepError(f"nothing was exported: the model has no signature: {error}") from error


def _write(
    module: Any, signature: Signature, folder: Path, wanted: list[str], say: Say
) -> dict[str, str]:
    """Write the graphs; those that cannot be, by format: why."""
    say("tracing the network")
    try:
        with _unexportable("torch.export cannot trace the network"):
            program = trace(module, _example(signature))
    except _UnexportableError as error:
        return dict.fromkeys(wanted, str(error))
    left_out = {}
    for name in wanted:
        say(f"writing {FILES[name]}")
        try:
            with _unexportable("the network cannot be written so"):
                _WRITERS[name](program, folder / FILES[name], signature)
        except _UnexportableError as error:
            (folder / FILES[name]).unlink(missing_ok=True)
            left_out[name] = str(error)
    return left_out


class _UnexportableError(Exception):
    """What a network does has no counterpart in a format: leave the format out."""


@contextmanager
def _unexportable(what: str) -> Iterator[None]:
    """Torch's exporters raise errors of many classes; what is behind them says which operator."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise _UnexportableError(f"{what}: {_first(error)}") from error


def _example(signature: Signature) -> Any:
    import torch

    return torch.zeros(2, *signature.shape, dtype=getattr(torch, signature.dtype))


def _first(error: BaseException) -> str:
    """The first line of what is behind an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)


def _load(folder: Path, name: str) -> Run:
    try:
        return _LOADERS[name](folder / FILES[name])
    except Exception as error:
        raise SweepError(
            f"nothing was exported: {FILES[name]} cannot be loaded back: {_first(error)}"
        ) from error


def _compare(
    trainer: DeployingTrainer,
    stored: Stored,
    signature: Signature,
    folder: Path,
    runs: Mapping[str, Run],
) -> tuple[Graph, ...]:
    try:
        with _on_the_cpu(stored.net):
            rows = trainer.raw_rows(stored.net, "validation")
            found = compare(lambda x: trainer.predict(stored.net, x), runs, rows, signature)
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(
            f"nothing was exported: what was written cannot be compared: {_first(error)}"
        ) from error
    return tuple(
        Graph(
            format=name,
            file=FILES[name],
            size=(folder / FILES[name]).stat().st_size,
            agreement=found[name],
        )
        for name in runs
    )


@contextmanager
def _on_the_cpu(net: Any) -> Iterator[None]:
    """A network where its graphs run: a GPU's shortened products are off by more than they are."""
    parameters = net.parameters() if hasattr(net, "parameters") else ()
    devices = {parameter.device for parameter in parameters}
    if len(devices) != 1 or next(iter(devices)).type == "cpu":
        yield
        return
    net.cpu()
    try:
        yield
    finally:
        net.to(devices.pop())
