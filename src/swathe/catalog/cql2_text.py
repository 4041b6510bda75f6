"""CQL2's text: `eo:cloud_cover<=40 AND sar:instrument_mode='IW'`, with or without blanks.

A parser of our own, since a filter comes from anyone: it bounds how deep a filter may be, where the library that was
tried (`cql2`) takes its process down with it.
"""

from __future__ import annotations

import re
from typing import Any

from swathe.catalog.cql2 import PARAMETER, Budget, Operation, Property, check_condition, make_time
from swathe.model.errors import LimitExceeded, RequestInvalid

MAX_CHARS = 20_000
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w:.])
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"[^"]+")
    | (?P<word>[^\W\d][\w:.]*)
    | (?P<sign><>|<=|>=|!=|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_SIGNS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def parse_text(text: str) -> Operation:
    """The expression that a filter's text is.

    Raises:
        RequestInvalid: it is none that is understood; the sentence says where.
    """
    if len(text) > MAX_CHARS:
        raise LimitExceeded(f"has {len(text)} characters; at most {MAX_CHARS} are read", PARAMETER)
    parser = _Parser(_tokens(text))
    expression = parser.either(0)
    parser.expect_end()
    return check_condition(expression)


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kinds and texts; the last is the end."""
    found: list[tuple[str, str]] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise RequestInvalid(f"cannot be read from {text[place : place + 30].strip()!r} on", PARAMETER)
        kind = str(match.lastgroup)
        found.append((kind, match.group(kind)))
        place = match.end()
    return [*found, ("end", "its end")]


class _Parser:
    """Goes through the tokens once; a method per level of precedence."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0
        self._budget = Budget()

    def either(self, depth: int) -> Any:
        return self._chain("or", self._both, depth)

    def expect_end(self) -> None:
        if self._peek()[0] != "end":
            raise self._unexpected("AND, OR or the end")

    def _both(self, depth: int) -> Any:
        return self._chain("and", self._negated, depth)

    def _chain(self, op: str, part: Any, depth: int) -> Any:
        self._budget.spend(depth)
        parts = [part(depth + 1)]
        while self._take_word(op):
            parts.append(part(depth + 1))
        return parts[0] if len(parts) == 1 else Operation(op, tuple(parts))

    def _negated(self, depth: int) -> Any:
        self._budget.spend(depth)
        if self._take_word("not"):
            return Operation("not", (self._negated(depth + 1),))
        return self._condition(depth + 1)

    def _condition(self, depth: int) -> Any:
        if self._take_sign("("):
            inner = self.either(depth + 1)
            self._need_sign(")")
            return inner
        left = self._operand()
        kind, sign = self._peek()
        if kind == "sign" and sign in _SIGNS:
            self._place += 1
            return Operation(_SIGNS[sign], (left, self._operand()))
        if self._take_word("is"):
            negated = self._take_word("not")
            self._need_word("null")
            return _negate(Operation("isNull", (left,)), negated)
        negated = self._take_word("not")
        if self._take_word("between"):
            low = self._operand()
            self._need_word("and")
            return _negate(Operation("between", (left, low, self._operand())), negated)
        if self._take_word("in"):
            self._need_sign("(")
            choices = [self._operand()]
            while self._take_sign(","):
                choices.append(self._operand())
            self._need_sign(")")
            return _negate(Operation("in", (left, tuple(choices))), negated)
        if self._take_word("like"):
            pattern = self._operand()
            if not isinstance(pattern, str):
                raise RequestInvalid("has LIKE without a text in '…' as its pattern", PARAMETER)
            return _negate(Operation("like", (left, pattern)), negated)
        raise self._unexpected("=, <>, <, <=, >, >=, BETWEEN, IN, LIKE or IS NULL")

    def _operand(self) -> Any:
        self._budget.spend(0)
        kind, text = self._peek()
        if kind not in ("number", "text", "quoted", "word"):
            raise self._unexpected("a property, a number or a text in '…'")
        self._place += 1
        if kind == "number":
            return float(text)
        if kind == "text":
            return _unquote(text)
        if kind == "quoted":
            return Property.named(text[1:-1])
        name = text.casefold()
        if name in ("true", "false"):
            return name == "true"
        if name in ("timestamp", "date") and self._take_sign("("):
            inner, told = self._peek()
            if inner != "text":
                raise self._unexpected("a time in '…'")
            self._place += 1
            self._need_sign(")")
            return make_time(_unquote(told))
        if self._peek() == ("sign", "("):
            raise RequestInvalid(f"has the function {text[:40]}, which is not known here", PARAMETER)
        return Property.named(text)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._place]

    def _take_word(self, word: str) -> bool:
        kind, text = self._peek()
        found = kind == "word" and text.casefold() == word
        self._place += found
        return found

    def _take_sign(self, sign: str) -> bool:
        found = self._peek() == ("sign", sign)
        self._place += found
        return found

    def _need_word(self, word: str) -> None:
        if not self._take_word(word):
            raise self._unexpected(word.upper())

    def _need_sign(self, sign: str) -> None:
        if not self._take_sign(sign):
            raise self._unexpected(sign)

    def _unexpected(self, wanted: str) -> RequestInvalid:
        return RequestInvalid(f"has {self._peek()[1][:40]} where {wanted} is expected", PARAMETER)


def _negate(operation: Operation, negated: bool) -> Operation:
    return Operation("not", (operation,)) if negated else operation


def _unquote(text: str) -> str:
    return text[1:-1].replace("''", "'")
