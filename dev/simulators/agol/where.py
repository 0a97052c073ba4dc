"""`where` and `having`: a subset of SQL-92, compiled to a function of a row.

    = <> < > <= >=  IN  BETWEEN  LIKE (% _ [abc] [^abc])  IS NULL  NOT  AND  OR  ( )
    fields, 'text' (a quote doubled), numbers, TIMESTAMP '...' and DATE '...' (UTC), UPPER(f), LOWER(f)
    in `having` also COUNT, SUM, MIN, MAX, AVG

What is not in the subset is refused, and so is a comparison of a field with a value of another kind.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dev.simulators.agol.values import Field, normalize_text

AGGREGATES = frozenset({"COUNT", "SUM", "MIN", "MAX", "AVG"})

Row = Mapping[str, Any]
# True, False or None (unknown, because something compared is null).
Test = Callable[[Row], bool | None]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | '(?P<text>(?:[^']|'')*)'
      | "(?P<quoted>[^"]+)"
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><>|<=|>=|[=<>(),*+-])
    )""",
    re.VERBOSE,
)
# As in SQL Server: [abc] is one of them, [^abc] none of them.
_LIKE_PART = re.compile(r"\[(?P<none>\^?)(?P<one_of>[^]]+)\]|.", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """A compiled clause. one_of: (field, values): no row passes whose field is not one of them."""

    test: Test
    one_of: tuple[str, list[Any]] | None = None


@dataclass(frozen=True)
class _Operand:
    kind: str
    read: Callable[[Row], Any]
    field: str = ""
    constant: bool = False


def compile_where(
    clause: str, fields: Mapping[str, Field], ignores_case: bool, *, aggregates: bool = False
) -> Condition:
    """Compile a clause.

    Args:
        fields: by lower-case name. aggregates: a `having` clause; a row then holds "COUNT(field)" and so
            on, with the field's own name, or "COUNT(*)".
    Raises: ValueError saying what is wrong.
    """
    return _Parser(clause, fields, ignores_case, aggregates).parse()


class _Parser:
    def __init__(
        self, clause: str, fields: Mapping[str, Field], ignores_case: bool, aggregates: bool
    ) -> None:
        self.fields = fields
        self.ignores_case = ignores_case
        self.aggregates = aggregates
        self.tokens = _split(clause)
        self.at = 0

    def parse(self) -> Condition:
        condition = self._read_or()
        if self.at < len(self.tokens):
            raise ValueError(f"unexpected {self.tokens[self.at][1]!r}")
        return condition

    def _take(self, *wanted: str) -> str | None:
        """The next token in upper case if it is one of these words or signs, else None."""
        if self.at < len(self.tokens):
            kind, value = self.tokens[self.at]
            if kind in ("word", "sign") and value.upper() in wanted:
                self.at += 1
                return value.upper()
        return None

    def _expect(self, wanted: str) -> None:
        if self._take(wanted) is None:
            raise ValueError(f"{wanted} is missing")

    def _next(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise ValueError("the clause ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def _read_or(self) -> Condition:
        parts = [self._read_and()]
        while self._take("OR"):
            parts.append(self._read_and())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        return Condition(lambda row: _any(test(row) for test in tests))

    def _read_and(self) -> Condition:
        parts = [self._read_not()]
        while self._take("AND"):
            parts.append(self._read_not())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        one_of = next((part.one_of for part in parts if part.one_of), None)
        return Condition(lambda row: _all(test(row) for test in tests), one_of)

    def _read_not(self) -> Condition:
        if not self._take("NOT"):
            return self._read_predicate()
        return _negate(self._read_not())

    def _read_predicate(self) -> Condition:
        start = self.at
        if self._take("("):
            # "(a = 1 OR ...)" or "(a) = 1": try the first, then the second.
            try:
                condition = self._read_or()
                self._expect(")")
                return condition
            except ValueError:
                self.at = start
        left = self._read_operand()
        if self._take("IS"):
            negated = bool(self._take("NOT"))
            self._expect("NULL")
            return Condition(lambda row: (left.read(row) is None) != negated)
        negated = bool(self._take("NOT"))
        if self._take("IN"):
            condition = self._read_list(left)
        elif self._take("LIKE"):
            condition = self._read_like(left)
        elif self._take("BETWEEN"):
            low = self._match(left, self._read_operand())
            self._expect("AND")
            high = self._match(left, self._read_operand())
            tests = [_compare(operator.ge, left, low), _compare(operator.le, left, high)]
            condition = Condition(lambda row: _all(test(row) for test in tests))
        else:
            sign = None if negated else self._take(*_COMPARE)
            if sign is None:
                raise ValueError("a comparison is missing")
            right = self._match(left, self._read_operand())
            left = self._match(right, left)
            one_of = (left.field, [right.read({})]) if sign == "=" and left.field and right.constant else None
            return Condition(_compare(_COMPARE[sign], left, right), one_of)
        return _negate(condition) if negated else condition

    def _read_list(self, left: _Operand) -> Condition:
        self._expect("(")
        values = []
        while True:
            item = self._match(left, self._read_operand())
            if not item.constant:
                raise ValueError("IN takes values")
            values.append(item.read({}))
            if not self._take(","):
                break
        self._expect(")")
        wanted = set(values)
        read = left.read

        def test(row: Row) -> bool | None:
            value = read(row)
            return None if value is None else value in wanted

        return Condition(test, (left.field, values) if left.field else None)

    def _read_like(self, left: _Operand) -> Condition:
        kind, pattern = self._next()
        if kind != "text" or left.kind != "text":
            raise ValueError("LIKE compares text")
        ignores_case = self.ignores_case
        if ignores_case:
            pattern = pattern.casefold()
        matches = re.compile(_LIKE_PART.sub(_read_pattern, pattern), re.DOTALL).fullmatch
        read = left.read

        def test(row: Row) -> bool | None:
            value = read(row)
            return None if value is None else bool(matches(value))

        return Condition(test)

    def _read_operand(self) -> _Operand:
        if self._take("("):
            inner = self._read_operand()
            self._expect(")")
            return inner
        sign = self._take("-", "+")
        kind, value = self._next()
        if kind == "number":
            number = float(value) if re.search(r"[.eE]", value) else int(value)
            return _constant("number", -number if sign == "-" else number)
        if sign:
            raise ValueError("a number is missing after the sign")
        if kind == "text":
            return _constant("text", normalize_text(value, self.ignores_case))
        if kind == "sign":
            raise ValueError(f"unexpected {value!r}")
        word = value.upper() if kind == "word" else ""
        if word in ("TIMESTAMP", "DATE") and self.at < len(self.tokens) and self.tokens[self.at][0] == "text":
            return _constant("date", _read_time(self._next()[1]))
        if word and self._take("("):
            return self._read_call(word)
        return self._read_field(value)

    def _read_call(self, name: str) -> _Operand:
        if name in AGGREGATES and self.aggregates:
            if self._take("*"):
                if name != "COUNT":
                    raise ValueError(f"{name} takes a field")
                key, kind = "COUNT(*)", "number"
            else:
                field = self._find_field(self._next()[1])
                key = f"{name}({field.name})"
                kind = field.kind if name in ("MIN", "MAX") else "number"
            self._expect(")")
            return _Operand(kind, lambda row: row.get(key))
        if name in ("UPPER", "LOWER"):
            inner = self._read_operand()
            self._expect(")")
            if inner.kind != "text":
                raise ValueError(f"{name} takes text")
            change = str.upper if name == "UPPER" else str.lower
            read = inner.read

            def convert(row: Row) -> Any:
                value = read(row)
                return None if value is None else change(value)

            # Where case counts for nothing, both sides stay as they are compared.
            return inner if self.ignores_case else _Operand("text", convert)
        raise ValueError(f"function {name} is not known")

    def _read_field(self, name: str) -> _Operand:
        field = self._find_field(name)
        if self.aggregates:
            raise ValueError(f"{name} stands outside of a function")
        key = field.name
        if field.kind != "text":
            return _Operand(field.kind, lambda row: row.get(key), key)
        ignores_case = self.ignores_case

        def read(row: Row) -> Any:
            value = row.get(key)
            return None if value is None else normalize_text(value, ignores_case)

        return _Operand("text", read, key)

    def _find_field(self, name: str) -> Field:
        field = self.fields.get(name.lower())
        if field is None:
            raise ValueError(f"'Invalid field: {name}' parameter is invalid")
        return field

    def _match(self, left: _Operand, right: _Operand) -> _Operand:
        """`right`, made comparable with `left`: dates may be written as plain text."""
        if left.kind == right.kind:
            return right
        if left.kind == "date" and right.kind == "text" and right.constant:
            return _constant("date", _read_time(right.read({})))
        if right.kind == "date" and left.kind == "text" and left.constant:
            return right
        raise ValueError(f"{left.field or left.kind} is compared with {right.field or right.kind}")


def _read_pattern(part: re.Match[str]) -> str:
    """A part of a LIKE pattern as a regular expression."""
    if part["one_of"] is not None:
        signs = re.escape(part["one_of"]).replace(r"\-", "-")
        return f"[{'^' if part['none'] else ''}{signs}]"
    return {"%": ".*", "_": "."}.get(part[0], re.escape(part[0]))


def _split(clause: str) -> list[tuple[str, str]]:
    tokens = []
    at = 0
    end = len(clause.rstrip())
    while at < end:
        found = _TOKEN.match(clause, at)
        if found is None:
            raise ValueError(f"cannot be read from position {at}")
        kind = str(found.lastgroup)
        value = found.group(kind)
        tokens.append((kind, value.replace("''", "'") if kind == "text" else value))
        at = found.end()
    return tokens


def _constant(kind: str, value: Any) -> _Operand:
    return _Operand(kind, lambda row: value, constant=True)


def _compare(compare: Callable[[Any, Any], bool], left: _Operand, right: _Operand) -> Test:
    read_left, read_right = left.read, right.read

    def test(row: Row) -> bool | None:
        a, b = read_left(row), read_right(row)
        return None if a is None or b is None else compare(a, b)

    return test


def _negate(condition: Condition) -> Condition:
    test = condition.test

    def negated(row: Row) -> bool | None:
        result = test(row)
        return None if result is None else not result

    return Condition(negated)


def _any(results: Any) -> bool | None:
    said: bool | None = False
    for result in results:
        if result:
            return True
        if result is None:
            said = None
    return said


def _all(results: Any) -> bool | None:
    said: bool | None = True
    for result in results:
        if result is False:
            return False
        if result is None:
            said = None
    return said


def _read_time(text: str) -> int:
    """Milliseconds of 'YYYY-MM-DD[ HH:MM:SS[.fff]]', UTC."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ t]\d\d:\d\d:\d\d(\.\d{1,3})?)?", text.lower()):
        raise ValueError("a date is written 'YYYY-MM-DD HH:MM:SS'")
    return round(datetime.fromisoformat(text.upper()).replace(tzinfo=UTC).timestamp() * 1000)
