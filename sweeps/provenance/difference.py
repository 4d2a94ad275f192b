"""In which recorded things two trainings differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.provenance.code import differs
from sweeps.provenance.trial import Provenance, Stood


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One recorded thing that is not what it was."""

    kind: str
    """code, config, seed, data, package, python, cpu, torch, numerics, variable, ..."""
    what: str
    then: str
    now: str


def differences(then: Provenance, now: Provenance) -> list[Difference]:
    """What differs, the likeliest cause of other numbers first; places and times do not count."""
    return [
        *_of_code(then.code, now.code),
        *_of(then.seed, now.seed, kind="seed", what="seed of the generators"),
        *_of_stood(then.stood, now.last),
    ]


def _of_code(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Iterator[Difference]:
    if differs(then, now):
        yield Difference(kind="code", what="git", then=_describe(then), now=_describe(now))


def _describe(code: Mapping[str, Any] | None) -> str:
    if code is None:
        return "not recorded"
    commit = str(code["commit"])[:12]
    changes = code.get("sha256") or code.get("diff")
    return f"{commit} with uncommitted changes" if changes else commit


def _of_stood(then: Sequence[Stood], now: Stood | None) -> Iterator[Difference]:
    """Against each distinct thing that the trial stood on, so that none of several is missed."""
    if now is None or not then:
        if now is not None:
            was = "not recorded: the sweep is an older caviar's"
            yield Difference(kind="machine", what="machine", then=was, now="this one")
        return
    seen: dict[Difference, None] = {}
    for stood in then:
        seen.update(dict.fromkeys(_between(stood, now)))
    yield from seen


def _between(then: Stood, now: Stood) -> Iterator[Difference]:
    yield from _of_mapping(then.data, now.data, kind="data")
    was, is_ = then.machine, now.machine
    yield from _of(was["python"], is_["python"], kind="python", what="python")
    yield from _of_mapping(was["packages"], is_["packages"], kind="package")
    yield from _of_mapping(was["cpu"], is_["cpu"], kind="cpu")
    if "torch" in was and "torch" in is_:
        yield from _of_mapping(was["torch"], is_["torch"], kind="torch")
    yield from _of_mapping(then.numerics, now.numerics, kind="numerics")
    yield from _of_mapping(was["variables"], is_["variables"], kind="variable")
    yield from _of(was["hash_seed"], is_["hash_seed"], kind="python", what="hash seed")
    yield from _of(was["platform"], is_["platform"], kind="platform", what="platform")
    for key in ("workers", "gpus"):
        what = f"resources.{key}"
        yield from _of(then.resources[key], now.resources[key], kind="numerics", what=what)


def _of_mapping(
    then: Mapping[str, Any], now: Mapping[str, Any], *, kind: str
) -> Iterator[Difference]:
    for key in sorted({*then, *now}):
        yield from _of(then.get(key), now.get(key), kind=kind, what=key)


def _of(then: Any, now: Any, *, kind: str, what: str) -> Iterator[Difference]:
    if then != now:
        yield Difference(kind=kind, what=what, then=_text(then), now=_text(now))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return " ".join(map(_text, value)) if isinstance(value, list) else str(value)
