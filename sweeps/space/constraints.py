"""What must hold between swept parameters: `hydra.sweeper.constraints`.

    constraints: ["model.width * model.depth <= 2048", "optimizer != 'sgd' or lr >= 0.01"]

An expression is read by Python's parser and made into functions of our own, node by node, from a
short list of what is allowed; nothing is ever evaluated as Python. It holds where a parameter that
it names does not exist. Where it cannot be computed (a division by zero, the log of 0, a number too
large), it does not hold.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.domains import Choice

if TYPE_CHECKING:
    from sweeps.space.space import Parameter

_KEY = "hydra.sweeper.constraints"
_LONGEST = 1000
_DEEPEST = 40
_MOST_BITS = 1024

Compute = Callable[[Mapping[str, Any]], Any]
"""Values by parameter name -> the value of an expression."""


@dataclass(frozen=True)
class Constraint:
    """A condition on a configuration; `parse_constraint` makes one."""

    text: str
    names: frozenset[str] = field(compare=False)
    """The parameters that it names."""
    compute: Compute = field(compare=False, repr=False)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a configuration meets it.

        Raises:
            ConfigError: It calculates with what is no number, or compares a number with a text.
        """
        if not self.names <= values.keys():
            return True
        try:
            return _truth(self.compute(values))
        except _MismatchError as error:
            where = ", ".join(f"{name} is {values[name]!r}" for name in sorted(self.names))
            raise ConfigError(f"{_KEY}: {self.text!r}: {error} (where {where})") from error
        except (ArithmeticError, ValueError):
            return False


def parse_constraint(text: str, parameters: Iterable[Parameter]) -> Constraint:
    """A constraint on these parameters.

    Names are the parameters' names without prefix. A name that Python could not read as one, such
    as `model/norm`, is read as the name where it is written without spaces; `a / b` divides.

    Raises:
        ConfigError: It cannot be read, or names or does what it may not.
    """
    return _Reader(text, {p.name: p for p in parameters}).read()


class _MismatchError(Exception):
    """Two things do not go together."""


class _Reader:
    """Makes one text into a constraint."""

    def __init__(self, text: str, parameters: Mapping[str, Parameter]) -> None:
        self._text = text.replace("\n", " ").strip()
        self._parameters = parameters
        self._named: set[str] = set()
        self._stand_ins = _stand_ins(parameters)
        self._code = _with_stand_ins(self._text, self._stand_ins)

    def read(self) -> Constraint:
        if len(self._text) > _LONGEST:
            raise ConfigError(
                f"{_KEY}: {self._text[:40]!r}... is longer than {_LONGEST} characters"
            )
        node = self._parse()
        if isinstance(node, ast.BinOp | ast.Call | ast.List | ast.Tuple | ast.Constant):
            self._read(node)
            self._refuse(node, "it must be true or false; compare it with something, as in x <= 1")
        compute = self._read(node)
        if not self._named:
            self._refuse(node, "it names no swept parameter")
        return Constraint(self._text, frozenset(self._named), compute)

    def _parse(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes and comparisons
                return ast.parse(self._code, mode="eval").body
        except SyntaxError as error:
            if error.offset == 0:  # so Python calls the end
                self._fail(len(self._text) + 1, "it cannot be read: it ends too early")
            self._fail(error.offset or 1, f"it cannot be read: {error.msg}{_hint(self._text)}")
        except (ValueError, RecursionError, MemoryError) as error:
            self._fail(1, f"it cannot be read: {error or 'it is nested too deeply'}")

    def _read(self, node: ast.expr, depth: int = 0) -> Compute:
        if depth > _DEEPEST:
            self._refuse(node, "it is nested too deeply")

        def read(child: ast.expr) -> Compute:
            return self._read(child, depth + 1)

        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                return operator.itemgetter(self._name(node))
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return _list(list(map(read, items)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(read(operand))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                return _signed(sign, read(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _calculated(_ARITHMETIC[type(op)], [read(left), read(right)])
            case ast.BoolOp(op=op, values=operands):
                return _joined(isinstance(op, ast.And), list(map(read, operands)))
            case ast.Compare(left=left, ops=ops, comparators=rest) if all(
                type(op) in _COMPARISONS for op in ops
            ):
                return _compared(
                    [_COMPARISONS[type(op)] for op in ops], [*map(read, [left, *rest])]
                )
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                read_arguments = list(map(read, arguments))
                return _calculated(self._function(node, name), read_arguments)
        self._refuse(node, _advice(node))

    def _function(self, node: ast.Call, name: str) -> Callable[..., Any]:
        if name not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS)
            self._refuse(
                node, f"there is no function {name}, only {known}{did_you_mean(name, _FUNCTIONS)}"
            )
        function, fewest, most = _FUNCTIONS[name]
        if not fewest <= len(node.args) <= most:
            many = f"{fewest} or more" if most > 2 else " or ".join(map(str, {fewest, most}))
            self._refuse(node, f"{name} takes {many} arguments, got {len(node.args)}")
        return function

    def _name(self, node: ast.Name | ast.Attribute) -> str:
        path = self._dotted(node)
        name = self._stand_ins.get(path, path)
        if name not in self._parameters:
            self._refuse(node, f"{name} is not swept{self._meant(name)}")
        self._named.add(name)
        return name

    def _dotted(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return name
            case ast.Attribute(value=value, attr=name):
                return f"{self._dotted(value)}.{name}"
        self._refuse(node, _advice(node))

    def _meant(self, name: str) -> str:
        choices = (p.domain for p in self._parameters.values() if isinstance(p.domain, Choice))
        if any(name in domain.values for domain in choices):
            return f"; write the text as {name!r}, in quotes"
        return did_you_mean(name, self._parameters)

    def _refuse(self, node: ast.expr, message: str) -> NoReturn:
        before = self._code.encode()[: node.col_offset].decode()  # Python counts bytes
        self._fail(len(before) + 1, message)

    def _fail(self, position: int, message: str) -> NoReturn:
        raise ConfigError(f"{_KEY}: {self._text!r}, character {position}: {message}")


# Names that Python cannot read, such as model/norm, lambda or layers.0

_MARK = "\N{LATIN LETTER RETROFLEX CLICK}"  # a letter to Python; no plain name holds it


def _stand_ins(names: Iterable[str]) -> dict[str, str]:
    """A word of the same length for each name that is none to Python."""
    odd = [name for name in names if not all(map(_is_plain, name.split(".")))]
    return {f"{_MARK}{i}".ljust(len(name), _MARK): name for i, name in enumerate(odd)}


def _is_plain(word: str) -> bool:
    return word.isascii() and word.isidentifier() and not keyword.iskeyword(word)


def _with_stand_ins(text: str, stand_ins: Mapping[str, str]) -> str:
    if not stand_ins:
        return text
    words = {name: word for word, name in stand_ins.items()}
    names = "|".join(re.escape(name) for name in sorted(words, key=len, reverse=True))
    quoted = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
    found = re.compile(rf"{quoted}|(?<![\w.])(?:{names})(?![\w.])")
    return found.sub(lambda match: words.get(match.group(), match.group()), text)


# What an expression is made of


def _list(items: Sequence[Compute]) -> Compute:
    return lambda values: [item(values) for item in items]


def _not(operand: Compute) -> Compute:
    return lambda values: not _truth(operand(values))


def _signed(sign: ast.unaryop, operand: Compute) -> Compute:
    function = operator.neg if isinstance(sign, ast.USub) else operator.pos
    return lambda values: function(_number(operand(values)))


def _calculated(function: Callable[..., Any], operands: Sequence[Compute]) -> Compute:
    return lambda values: function(*[_number(operand(values)) for operand in operands])


def _joined(every: bool, operands: Sequence[Compute]) -> Compute:
    join = all if every else any
    return lambda values: join(_truth(operand(values)) for operand in operands)


def _compared(
    comparisons: Sequence[Callable[[Any, Any], bool]], operands: Sequence[Compute]
) -> Compute:
    def compute(values: Mapping[str, Any]) -> bool:
        left = operands[0](values)
        for compare, operand in zip(comparisons, operands[1:], strict=True):
            right = operand(values)
            if not compare(left, right):
                return False
            left = right
        return True

    return compute


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def checked(left: Any, right: Any) -> bool:
        if not (isinstance(left, str) and isinstance(right, str)):
            return compare(_number(left), _number(right))
        return compare(left, right)

    return checked


def _is_in(left: Any, right: Any) -> bool:
    if isinstance(right, list) or (isinstance(left, str) and isinstance(right, str)):
        return left in right
    raise _MismatchError(f"{left!r} cannot be in {right!r}; in needs a list, as in x in (1, 2)")


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and base.bit_length() * abs(exponent) > _MOST_BITS:
        base = float(base)  # what is too large for it is refused
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("the root of a negative number")
    return result


def _round(number: Any, digits: int | None = None) -> Any:
    if digits is not None and (not isinstance(digits, int) or abs(digits) > 15):
        raise _MismatchError(f"round takes up to 15 digits, got {digits!r}")
    return round(number, digits)


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise _MismatchError(f"{value!r} is not a number")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _MismatchError(f"{value!r} is neither true nor false; compare it with something")
    return value


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _is_in,
    ast.NotIn: lambda left, right: not _is_in(left, right),
}
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, float]] = {
    "abs": (abs, 1, 1),
    "min": (min, 2, math.inf),
    "max": (max, 2, math.inf),
    "round": (_round, 1, 2),
    "sqrt": (math.sqrt, 1, 1),
    "log": (math.log, 1, 1),
    "log2": (math.log2, 1, 1),
    "exp": (math.exp, 1, 1),
}

# What else people write


def _advice(node: ast.expr) -> str:
    match node:
        case ast.BinOp(op=ast.BitXor()):
            return "^ is no operator here; write ** for a power"
        case ast.BinOp(op=ast.BitAnd()):
            return "& is no operator here; write and"
        case ast.BinOp(op=ast.BitOr()):
            return "| is no operator here; write or"
        case ast.Compare():
            return "is compares no values; write =="
        case ast.Call(func=ast.Name(), keywords=[_, *_]):
            return "a function takes no named arguments here"
    return (
        "only names of swept parameters, numbers, texts, lists, + - * / // % **, comparisons, "
        f"in, and, or, not, and {', '.join(_FUNCTIONS)} are allowed"
    )


def _hint(text: str) -> str:
    for wrong, right in (("&&", "and"), ("||", "or")):
        if wrong in text:
            return f"; write {right} for {wrong}"
    return "; write == to compare" if re.search(r"(?<![<>=!])=(?!=)", text) else ""
