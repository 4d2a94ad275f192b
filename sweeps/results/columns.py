"""Columns of a sweep's parameters, for Arrow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.space.domains import Choice, Domain, Float, literal

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = range(-(2**63), 2**63)


def parameter_array(domains: Iterable[Domain], values: Sequence[Any]) -> pa.Array:
    """A column typed by what the parameter may be, whatever values came up."""
    import pyarrow as pa

    domains = list(domains)
    types = {kind for domain in domains for kind in _types(domain)}
    if types == {int, float} and not any(isinstance(d, Choice) for d in domains):
        types = {float}
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    if len(types) == 1 and types <= kinds.keys():
        return pa.array(values, kinds[types.pop()])
    return pa.array([_text(value) for value in values], pa.string())


def _types(domain: Domain) -> set[type]:
    """The types of its values; text stands for integers that no column of integers can hold."""
    if not isinstance(domain, Choice):
        return {float} if isinstance(domain, Float) else {int}
    values = [value for value in domain.values if value is not None]
    large = any(isinstance(value, int) and value not in _INT64 for value in values)
    return {type(value) for value in values} | ({str} if large else set())


def _text(value: Any) -> str | None:
    """A string as it is, a list or a mapping as JSON, anything else as Hydra writes it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, list | dict) else literal(value)
