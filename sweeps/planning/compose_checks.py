"""The check of a space against the app's configs, before a sweep starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from omegaconf import DictConfig

from sweeps.errors import ConfigError
from sweeps.planning.overriding import UnknownKeyError, reason, set_value
from sweeps.space.conditions import Needs
from sweeps.space.domains import Float
from sweeps.space.literals import literal
from sweeps.space.space import Parameter, Space

Values = Mapping[str, Any]
"""Parameter name -> Python value, as `Space.values` gives them."""

Compose = Callable[[Values], Callable[[], DictConfig]]
"""Composes the config of the group choices among some values; what it gives makes copies of it."""


class Checks:
    """Composes every choice of every group, and sets every parameter's values in the result.

    There are about as many compositions as the largest group has choices, not as many as there are
    combinations: which choices go together is seen as they come. Of a continuous parameter the ends
    are tried. A parameter is tried where it exists, and nowhere else.
    """

    def __init__(self, space: Space, groups: Sequence[Parameter], compose: Compose) -> None:
        self._space = space
        self._groups = groups
        self._group_names = {p.name for p in groups}
        self._scalars = [p for p in space.parameters if p not in groups]
        self._compose = compose

    def run(self) -> None:
        """Check.

        Raises:
            ConfigError: A choice that does not compose, a key that the config lacks, or a value
                that the config's schema refuses.
        """
        tried: dict[str, list[Values]] = {}
        lacking: dict[str, list[Values]] = {}
        errors: dict[str, ConfigError] = {}
        for row in self._composed_rows():
            for name, error in self._probe(row).items():
                tried.setdefault(name, []).append(row)
                if error is not None:
                    lacking.setdefault(name, []).append(row)
                    errors[name] = error
        if errors:
            raise ConfigError(
                "\n".join(
                    str(errors[name])
                    if len(without) == len(tried[name])
                    else self._partly(name, without, tried[name])
                    for name, without in lacking.items()
                )
            )

    # Groups

    def _composed_rows(self) -> list[Values]:
        """Values whose configs compose and hold, between them, every choice that a group has."""
        composed: list[Values] = []
        failures: list[tuple[Values, ConfigError]] = []
        for row in self._rows():
            try:
                self._compose(row)
                composed.append(row)
            except ConfigError as error:
                failures.append((row, error))
        judged = [error for row, error in failures if not self._space.violated(row)]
        if judged and not composed:
            raise judged[0]
        for failed, _ in failures:
            composed += self._one_by_one(failed, composed)
        return composed

    def _rows(self) -> list[Values]:
        """Values that hold every choice, and under which every parameter exists once."""
        rows = list(self._cover(self._groups, {}))
        for parameter in self._space.parents_first:
            if not any(self._may_exist(parameter, row) for row in rows):
                rows.append(self._forced(self._space.needs(parameter), {}))
        return rows

    def _one_by_one(self, failed: Values, composed: Sequence[Values]) -> Iterator[Values]:
        """A failed row's new choices, each alone among choices that are known to compose."""
        for p in self._groups:
            seen = {literal(values[p.name]) for values in composed if p.name in values}
            if p.name not in failed or literal(failed[p.name]) in seen:
                continue
            needed = {**self._space.needs(p), p.name: [failed[p.name]]}
            alone = self._allowed(self._forced(needed, {**failed, **row}) for row in composed)
            if alone is None:
                continue
            try:
                self._compose(alone)
            except ConfigError as error:
                raise ConfigError(
                    f"{p.override(failed[p.name])}: {reason(error.__cause__ or error)}"
                ) from error
            yield alone

    def _allowed(self, rows: Iterator[Values]) -> Values | None:
        """The first that no constraint excludes: what it excludes need not compose."""
        return next((row for row in rows if not self._space.violated(row)), None)

    def _forced(self, needed: Needs, preferred: Values) -> Values:
        """Values with what is needed, else with what is preferred."""

        def choose(parameter: Parameter) -> Any:
            options = needed.get(parameter.name, parameter.domain.samples)
            value = preferred.get(parameter.name, options[0])
            return value if _is_among(value, options) else options[0]

        return self._space.fill(choose)

    def _may_exist(self, parameter: Parameter, row: Values) -> bool:
        """Whether a row's group choices let a parameter exist."""
        return all(
            name in row and _is_among(row[name], options)
            for name, options in self._space.needs(parameter).items()
            if name in self._group_names
        )

    # Keys and values

    def _probe(self, row: Values) -> dict[str, ConfigError | None]:
        """Sets every sample of the parameters that may exist in a row's config.

        Returns:
            Which were tried, and why the config refuses its key.
        """
        groups = {name: value for name, value in row.items() if name in self._group_names}
        if any(isinstance(value, dict) for value in groups.values()):
            return {}  # Hydra itself sets the others then
        fresh, found = self._compose(row), dict[str, ConfigError | None]()
        there = [p for p in self._scalars if self._may_exist(p, groups)]
        for values in self._cover(there, groups):
            config = fresh()
            for p in there:
                if p.name in values:
                    refused = _try(config, p, values[p.name])
                    found[p.name] = refused or found.get(p.name)
        return found

    def _cover(self, over: Sequence[Parameter], groups: Values) -> Iterator[Values]:
        """Values that hold, between them, every sample of some parameters, which may all exist.

        Args:
            over: The parameters.
            groups: Choices that are settled.
        """
        left = {p.name: {literal(v): v for v in p.domain.samples} for p in over}
        turn = 0
        while target := next((p for p in self._space.parents_first if left.get(p.name)), None):
            needed = self._space.needs(target)

            def choose(parameter: Parameter, needed: Needs = needed, turn: int = turn) -> Any:
                name = parameter.name
                if name in groups:
                    return groups[name]
                options = needed.get(name, parameter.domain.samples)
                waiting = left.get(name, {})
                fitting = map(literal, options) if name in needed else islice(waiting, 1)
                text = next((text for text in fitting if text in waiting), None)
                if text is not None:
                    return waiting.pop(text)
                return options[turn % len(options) if name in left else 0]

            yield self._space.fill(choose)
            turn += 1

    def _partly(self, name: str, without: Sequence[Values], tried: Sequence[Values]) -> str:
        """Says with which choices a config lacks a key that it has with others."""
        having = [row for row in tried if row not in without]

        def choices(group: str, rows: Sequence[Values]) -> list[str]:
            return sorted({literal(row[group]) for row in rows if group in row})

        def tells(group: str) -> bool:
            there, elsewhere = choices(group, having), choices(group, without)
            return bool(there and elsewhere) and not {*there} & {*elsewhere}

        telling = [group.name for group in self._groups if tells(group.name)]
        where = sorted(f"{group}={text}" for group in telling for text in choices(group, without))
        said = f" with {' or '.join(where)}" if where else " with some of the groups' choices"
        only = [f"{group}: [{', '.join(choices(group, having))}]" for group in telling]
        return (
            f"{name} is not in the app's config{said}; write ++{name} to set it with every choice"
            + (f", or hydra.sweeper.when='{{{name}: {{{only[0]}}}}}'" if len(only) == 1 else "")
        )


def _is_among(value: Any, options: Sequence[Any]) -> bool:
    return literal(value) in map(literal, options)


def _int_hint(parameter: Parameter, error: ConfigError) -> str:
    if isinstance(parameter.domain, Float) and "converted to Integer" in str(error):
        return f"; write {parameter.key}=int({parameter.domain.expression()})"
    return ""


def _try(config: DictConfig, parameter: Parameter, value: Any) -> ConfigError | None:
    """Why the config has no such key; None where it has."""
    try:
        set_value(config, parameter.key, value)
    except UnknownKeyError as error:
        return error
    except ConfigError as error:
        raise ConfigError(f"{error}{_int_hint(parameter, error)}") from error
    return None
