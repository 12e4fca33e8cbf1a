"""The language of filters: conditions on the fields of a catalogue, such as ``price < 100 and not depth in [1, 2]``.

============================================ =================================================================
``item_id == 7``, ``category != "shoes"``    ``==`` and ``!=`` for every field
``price < 100``, ``age_days >= 7``           ``< <= > >=`` for numbers
``category in ["a", "b"]``, ``not in``       one of several
``price is null``, ``is not null``           whether the catalogue knows it
``available``                                short for ``available == true``
``and or not ( )``                           ``not`` binds closest, then ``and``
============================================ =================================================================

Texts stand in double or single quotes; a backslash makes the next character stand for itself. Words are read in upper
and lower case alike, fields in lower case.

**Null is as in SQL**: a comparison with a value that is not known is neither true nor false, and only what is true
passes. So ``price < 5`` and ``not price < 5`` both leave out an item without a price; ``is null`` asks for it.

A filter is parsed into a tree and checked; it is never run as code. The tree holds no ``not``: it is pushed down to the
comparisons, of which each has an opposite. That is why a single mask per comparison, false for null, suffices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from math import isfinite
from typing import Literal

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, v_args

from recsys_assets.core.contract import IdType

MAX_LENGTH = 4096
"""Most characters of a filter."""
MAX_DEPTH = 32
"""Most levels of ``and`` within ``or`` within ``and`` …"""

Value = str | float | bool | int
Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Kind = Literal["id", "text", "number", "flag"]

FIELDS: dict[str, Kind] = {
    "item_id": "id",
    "category": "text",
    "root": "text",
    "depth": "number",
    "available": "flag",
    "price": "number",
    "brand": "text",
    "age_days": "number",
}
"""The fields of a catalogue. Numbers are compared as float64."""

_OPPOSITE: dict[Operator, Operator] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_INT64 = range(-(2**63), 2**63)

_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction | conjunction (_OR conjunction)+ -> any_of
?conjunction: negation | negation (_AND negation)+ -> all_of
?negation: predicate | _NOT negation -> negated
?predicate: "(" disjunction ")"
    | FIELD OPERATOR value -> comparison
    | FIELD _IN values -> is_in
    | FIELD _NOT _IN values -> is_not_in
    | FIELD _IS _NULL -> is_null
    | FIELD _IS _NOT _NULL -> is_not_null
    | FIELD -> flag
values: "[" [value ("," value)*] "]"
?value: STRING | NUMBER | TRUE | FALSE

OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">"
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
NUMBER: /[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?/
_AND.2: /and\b/i
_OR.2: /or\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_IS.2: /is\b/i
_NULL.2: /null\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
FIELD: /[A-Za-z_][A-Za-z0-9_]*/
%ignore /\s+/
"""
_TERMINALS = {
    "OPERATOR": "an operator",
    "STRING": "a text in quotes",
    "NUMBER": "a number",
    "FIELD": "a field",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "$END": "the end",
}


class FilterError(ValueError):
    """A filter that cannot be used; the message says what is wrong, where, and what is possible.

    Attributes:
        position: character at fault, from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at character {position + 1}")
        self.position = position


@dataclass(frozen=True)
class Comparison:
    """A field compared with a value; false where the field is null."""

    field: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class Membership:
    """Whether a field is one of some values, or (``negated``) none of them; false where the field is null."""

    field: str
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True)
class Nullness:
    """Whether a field is null, or (``negated``) is not."""

    field: str
    negated: bool = False


@dataclass(frozen=True)
class AllOf:
    """All parts are true."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """Some part is true."""

    parts: tuple[Expression, ...]


Expression = Comparison | Membership | Nullness | AllOf | AnyOf


@lru_cache(maxsize=512)
def parse(text: str, item_ids: IdType) -> Expression:
    """Parse and check a filter.

    Args:
        text: see the module.
        item_ids: type of the data set's item ids.

    Raises:
        FilterError: the text is too long, nested too deeply or not a filter; a field is unknown, or compared with a
            value of another type.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter has at most {MAX_LENGTH} characters, found {len(text)}", MAX_LENGTH)
    try:
        # The parser calls the builder as it reads: neither recurses, however deep the text is nested.
        tree = _parser(item_ids).parse(text)
    except UnexpectedInput as error:
        raise _unexpected(error, text) from None
    return tree  # pyright: ignore[reportReturnType]  # what the builder made, not a tree of the parser


def fields_of(expression: Expression) -> frozenset[str]:
    """The fields that an expression asks about."""
    if isinstance(expression, AllOf | AnyOf):
        return frozenset().union(*(fields_of(part) for part in expression.parts))
    return frozenset({expression.field})


def negate(expression: Expression) -> Expression:
    """The opposite: true exactly where the expression is false, so not where it is unknown either."""
    match expression:
        case Comparison(field, operator, value):
            return Comparison(field, _OPPOSITE[operator], value)
        case Membership(field, values, negated):
            return Membership(field, values, not negated)
        case Nullness(field, negated):
            return Nullness(field, not negated)
        case AllOf(parts):
            return AnyOf(tuple(negate(part) for part in parts))
        case AnyOf(parts):
            return AllOf(tuple(negate(part) for part in parts))


@cache
def _parser(item_ids: IdType) -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder(item_ids))


def _depth(expression: Expression) -> int:
    return 1 + max(map(_depth, expression.parts)) if isinstance(expression, AllOf | AnyOf) else 0


@v_args(inline=True)
class _Builder(Transformer[Token, Expression]):
    """Makes the tree and checks types, as the parser recognises the parts of a filter."""

    def __init__(self, item_ids: IdType) -> None:
        super().__init__()
        self._item_ids = item_ids

    def comparison(self, name: Token, operator: Token, value: Token) -> Expression:
        kind = self._kind(name)
        if operator in ("<", "<=", ">", ">=") and kind != "number":
            words = {"id": "an id", "text": "text", "flag": "true or false"}[kind]
            raise FilterError(f"{name} is {words}, which == and != compare, not {operator}", _start(operator))
        return Comparison(str(name), _OPERATORS[str(operator)], self._value(name, value))

    def values(self, *values: Token | None) -> tuple[Token, ...]:
        return tuple(value for value in values if value is not None)

    def is_in(self, name: Token, values: tuple[Token, ...]) -> Expression:
        self._kind(name)
        return Membership(str(name), tuple(self._value(name, value) for value in values))

    def is_not_in(self, name: Token, values: tuple[Token, ...]) -> Expression:
        return negate(self.is_in(name, values))

    def is_null(self, name: Token) -> Expression:
        self._kind(name)
        return Nullness(str(name))

    def is_not_null(self, name: Token) -> Expression:
        return negate(self.is_null(name))

    def flag(self, name: Token) -> Expression:
        if self._kind(name) != "flag":
            raise FilterError(f"{name} is not true or false: compare it with a value", _start(name) + len(name))
        return Comparison(str(name), "==", True)

    def negated(self, part: Expression) -> Expression:
        return negate(part)

    def all_of(self, *parts: Expression) -> Expression:
        return _bounded(AllOf(parts))

    def any_of(self, *parts: Expression) -> Expression:
        return _bounded(AnyOf(parts))

    def _kind(self, name: Token) -> Kind:
        if name not in FIELDS:
            raise FilterError(f"unknown field {str(name)!r} (fields are {', '.join(FIELDS)})", _start(name))
        return FIELDS[str(name)]

    def _value(self, name: Token, token: Token) -> Value:
        """The value as the field's type."""
        kind = FIELDS[str(name)]
        if kind == "id":
            kind = "number" if self._item_ids == "int64" else "text"
        is_kind = {"STRING": "text", "NUMBER": "number", "TRUE": "flag", "FALSE": "flag"}[token.type]
        if kind != is_kind:
            words = {
                "number": "a number",
                "flag": "true or false",
                "text": f'a text in quotes, such as "{_bare(token)}"',
            }
            raise FilterError(f"{name} is compared with {words[kind]}, found {token}", _start(token))
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)
        if kind == "flag":
            return token.type == "TRUE"
        return _item_id(token) if name == "item_id" else _number(name, token)


_OPERATORS: dict[str, Operator] = {operator: operator for operator in _OPPOSITE}


def _number(name: Token, token: Token) -> float:
    number = float(token)
    if not isfinite(number):
        raise FilterError(f"{name} is compared with a finite number, found {token}", _start(token))
    return number


def _item_id(token: Token) -> int:
    # As text: the digits of a number beyond int64 are not worth reading.
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", token) or int(token) not in _INT64:
        raise FilterError(f"item_id is compared with a 64-bit integer, found {token}", _start(token))
    return int(token)


def _bounded(expression: AllOf | AnyOf) -> Expression:
    if _depth(expression) > MAX_DEPTH:
        raise FilterError(f"a filter is nested at most {MAX_DEPTH} deep; more", 0)
    return expression


def _bare(token: Token) -> str:
    return str(token).strip("\"'")


def _start(token: Token) -> int:
    return token.start_pos or 0


def _unexpected(error: UnexpectedInput, text: str) -> FilterError:
    """What the parser would have taken instead, in words."""
    if isinstance(error, UnexpectedToken):
        position, terminals = _start(error.token), error.accepts or error.expected
        ended = error.token.type == "$END"
    else:
        position = error.pos_in_stream or 0
        terminals = error.allowed if isinstance(error, UnexpectedCharacters) else set[str]()
        ended = isinstance(error, UnexpectedEOF)
    position = len(text) if ended else position
    expected = sorted(_TERMINALS.get(name, name.strip("_").lower()) for name in terminals or ())
    found = "the end" if ended or position >= len(text) else repr(text[position : position + 20])
    return FilterError(f"expected {', '.join(expected) or 'something else'}; found {found}", position)
