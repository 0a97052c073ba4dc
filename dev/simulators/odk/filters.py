"""`$filter` and `$orderby`: the part of OData's grammar that Central knows, and what it says of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.simulators.odk.problems import Problem, bad_type, internal_error

# Fields that can be filtered and sorted, by the submission's attribute that holds them.
FIELDS = {
    "__id": "instance_id",
    "__system/submissionDate": "created_at",
    "__system/updatedAt": "updated_at",
    "__system/deletedAt": "deleted_at",
    "__system/submitterId": "submitter_id",
    "__system/reviewState": "review_state",
}
_ROOT = "$root/Submissions/"
_DATES = ("created_at", "updated_at", "deleted_at")
_PARTS = ("year", "month", "day", "hour", "minute", "second")

# What a filter gives for one submission: as in SQL, None is neither true nor false.
Test = Callable[[Any], "bool | None"]
Getter = Callable[[Any], Any]


def compile_filter(text: str, known: dict[str, str], fixed_prefix: bool = False) -> tuple[Test, bool]:
    """Build a test of a filter.

    known: field names to attributes. fixed_prefix: whether only `$root/Submissions/...` will do (repeat tables).
    Returns: (test, whether deletedAt is mentioned, which lifts the rule that deleted ones are left out).
    Raises: Problem 400.18, 501.4, 501.5, 400.11, or a bare 500 for what only the database refuses.
    """
    parser = _Parser(text, known, fixed_prefix)
    test = parser.parse()
    return test, parser.mentions_deleted


def find_field(name: str, known: dict[str, str]) -> str | None:
    """The attribute of a field name, with or without the prefix."""
    return known.get(name.removeprefix(_ROOT))


_SPACE = re.compile(r"[ \t]+")
_NAME = re.compile(
    r"\$root/[A-Za-z0-9_]+(?:/[A-Za-z_][A-Za-z0-9_]*)+|[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*"
)
# A time needs its zone: without it the year is read as a number, and the dash behind it is the error.
_DATE_TIME = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))"
    r"(?:T([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60)(?:\.(\d{1,12}))?)?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)|(?!T))"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# Printable ASCII only.
_STRING = re.compile(r"'((?:[ -&(-~]|'')*)'")
_COMPARE = re.compile(r"(eq|ne|gt|ge|lt|le)(?=[ \t])")
_ARITHMETIC = re.compile(r"(add|sub|mul|div|mod)(?=[ \t])")
_ARITHMETIC_NAMES = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "mod": "Mod"}


class _Parser:
    def __init__(self, text: str, known: dict[str, str], fixed_prefix: bool) -> None:
        self.text = text
        self.at = 0
        self.known = known
        self.fixed_prefix = fixed_prefix
        self.mentions_deleted = False
        # What the grammar allows and Central does not: said only when the whole could be read.
        self.refusals: list[Problem] = []

    def parse(self) -> Test:
        if not self.text:
            raise _unparsable("Fail at 0")
        test = self._or()
        if self.at < len(self.text):
            raise self._unexpected()
        if self.refusals:
            raise self.refusals[0]
        return test

    def _unexpected(self) -> Problem:
        return _unparsable(f"Unexpected character at {self.at}")

    def _skip_space(self) -> bool:
        found = _SPACE.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found is not None

    def _word(self, word: str) -> bool:
        """Take ` word ` with spaces on both sides, or nothing."""
        start = self.at
        if self._skip_space() and self.text.startswith(word, self.at):
            self.at += len(word)
            if self._skip_space():
                return True
        self.at = start
        return False

    def _or(self) -> Test:
        tests = [self._and()]
        while self._word("or"):
            tests.append(self._and())
        return tests[0] if len(tests) == 1 else _join(tests, True)

    def _and(self) -> Test:
        tests = [self._not()]
        while self._word("and"):
            tests.append(self._not())
        return tests[0] if len(tests) == 1 else _join(tests, False)

    def _not(self) -> Test:
        if re.match(r"not[ \t(]", self.text[self.at : self.at + 4]):
            self.at += 3
            self._skip_space()
            inner = self._not()
            return lambda row: _negate(inner(row))
        start = self.at
        if self.text.startswith("(", self.at):
            self.at += 1
            self._skip_space()
            inner = self._or()
            self._skip_space()
            if not self.text.startswith(")", self.at):
                raise self._unexpected()
            self.at += 1
            return inner
        return self._comparison(start)

    def _comparison(self, start: int) -> Test:
        left = self._operand()
        before = self.at
        if self._skip_space():
            arithmetic = _ARITHMETIC.match(self.text, self.at)
            if arithmetic:
                self.at = arithmetic.end()
                self._skip_space()
                self._operand()
                self.refusals.append(
                    _unsupported(
                        _ARITHMETIC_NAMES[arithmetic[1]] + "Expression", start, self.text[start : self.at]
                    )
                )
                left = _Operand("nothing")
                before = self.at
                self._skip_space()
        operator = _COMPARE.match(self.text, self.at) if self.at > before else None
        if operator is None:
            self.at = before
            self.refusals.append(_unsupported("CommonExpression", start, self.text[start : self.at]))
            return lambda row: None
        self.at = operator.end()
        self._skip_space()
        if self.at >= len(self.text):
            self.at = before
            raise self._unexpected()
        right = self._operand(before)
        try:
            return left.compare(operator[1], right)
        except Problem as problem:
            self.refusals.append(problem)
            return lambda row: None

    def _operand(self, refuse_at: int | None = None) -> _Operand:
        """refuse_at: where the parser says it stopped when nothing fits here."""
        start = self.at
        date = _DATE_TIME.match(self.text, start)
        if date:
            self.at = date.end()
            return _Operand("date", value=_read_date(date))
        number = _NUMBER.match(self.text, start)
        if number:
            self.at = number.end()
            return _Operand("number", value=float(number[0]), text=number[0])
        quoted = _STRING.match(self.text, start)
        if quoted:
            self.at = quoted.end()
            return _Operand("string", value=quoted[1].replace("''", "'"))
        name = _NAME.match(self.text, start)
        if name is None:
            if refuse_at is not None:
                self.at = refuse_at
            raise self._unexpected()
        self.at = name.end()
        if self.text.startswith("(", self.at):
            return self._call(name[0], start)
        if name[0] == "null":
            return _Operand("null")
        if name[0] in ("true", "false"):
            return _Operand("boolean", value=name[0] == "true", text=name[0])
        return self._field(name[0], start)

    def _call(self, name: str, start: int) -> _Operand:
        end = self._end_of_call()
        whole = self.text[start:end]
        if name == "now" and whole == "now()":
            # Central passes it on to a database that does not take it.
            self.at = end
            return _Operand("now")
        if name not in _PARTS:
            self.at = end
            self.refusals.append(_unsupported("MethodCallExpression", start, whole))
            return _Operand("nothing")
        self.at += 1
        inner = self._operand()
        self.at = end
        return _Operand("part", getter=inner.getter, attribute=inner.attribute, text=name)

    def _end_of_call(self) -> int:
        depth, at = 0, self.at
        quoted = False
        while at < len(self.text):
            character = self.text[at]
            if character == "'":
                quoted = not quoted
            elif not quoted and character == "(":
                depth += 1
            elif not quoted and character == ")":
                depth -= 1
                if depth == 0:
                    return at + 1
            at += 1
        raise self._unexpected()

    def _field(self, name: str, start: int) -> _Operand:
        prefixed = name.startswith(_ROOT)
        attribute = self.known.get(name.removeprefix(_ROOT))
        if attribute is None or (self.fixed_prefix and not prefixed):
            self.refusals.append(
                Problem(
                    501.5,
                    "The given OData filter expression references fields not supported by this server: "
                    f"{name} at {start}",
                    {"at": start, "text": name},
                )
            )
            return _Operand("nothing")
        if attribute == "deleted_at":
            self.mentions_deleted = True
        return _Operand("field", getter=_getter(attribute), attribute=attribute)


class _Operand:
    """One side of a comparison: a field, a part of a date field, or a literal."""

    def __init__(
        self,
        kind: str,
        getter: Getter | None = None,
        attribute: str = "",
        value: Any = None,
        text: str = "",
    ) -> None:
        self.kind = kind
        self.getter = getter
        self.attribute = attribute
        self.value = value
        self.text = text

    def compare(self, operator: str, other: _Operand) -> Test:
        if "nothing" in (self.kind, other.kind):
            return lambda row: None
        if "now" in (self.kind, other.kind):
            raise internal_error()
        kind = self._kind_of_value() or other._kind_of_value()
        left, right = self._as_getter(kind), other._as_getter(kind)
        if operator in ("eq", "ne"):
            equal = operator == "eq"
            # `is [not] distinct from`: nulls are values here.
            return lambda row: (left(row) == right(row)) is equal
        order = _ORDER[operator]

        def test(row: Any) -> bool | None:
            one, two = left(row), right(row)
            return None if one is None or two is None else order(one, two)

        return test

    def _kind_of_value(self) -> str:
        if self.kind == "part":
            return "number"
        if self.kind != "field":
            return ""
        if self.attribute in _DATES:
            return "date"
        return "number" if self.attribute.endswith("submitter_id") else "string"

    def _as_getter(self, kind: str) -> Getter:
        if self.kind == "field" and self.getter is not None:
            return self.getter
        if self.kind == "part" and self.getter is not None:
            inner, part = self.getter, self.text
            return lambda row: _part_of(inner(row), part)
        value = self._cast(kind)
        return lambda row: value

    def _cast(self, kind: str) -> Any:
        if self.value is None:
            return None
        if kind == "date":
            if self.kind == "date":
                return self.value
            if self.kind == "string":
                return _read_database_date(self.value)
            raise internal_error()
        if kind == "number":
            if self.kind == "number":
                return self.value
            if self.kind == "string":
                if re.fullmatch(r"\s*[+-]?\d+\s*", self.value):
                    return float(self.value)
                raise bad_type(self.value, "type integer")
            raise internal_error()
        return self.value if self.kind == "string" else self.text


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda one, two: one > two,
    "ge": lambda one, two: one >= two,
    "lt": lambda one, two: one < two,
    "le": lambda one, two: one <= two,
}


def _getter(attribute: str) -> Getter:
    return lambda row: getattr(row, attribute)


def _join(tests: list[Test], either: bool) -> Test:
    def test(row: Any) -> bool | None:
        unknown = False
        for one in tests:
            result = one(row)
            if result is either:
                return either
            unknown = unknown or result is None
        return None if unknown else not either

    return test


def _negate(result: bool | None) -> bool | None:
    return None if result is None else not result


def _part_of(moment: datetime | None, part: str) -> int | float | None:
    if moment is None:
        return None
    if part == "second":
        return moment.second + moment.microsecond / 1_000_000
    return int(getattr(moment, part))


def _read_date(found: re.Match[str]) -> datetime:
    day, hour, minute, second, fraction, zone = found.groups()
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
    if hour is None:
        return moment
    moment += timedelta(hours=int(hour), minutes=int(minute), seconds=int(second or 0))
    if fraction:
        moment += timedelta(microseconds=round(int(fraction) / 10 ** len(fraction) * 1_000_000))
    if zone != "Z":
        sign = -1 if zone[0] == "+" else 1
        moment += sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return moment


def _read_database_date(text: str) -> datetime:
    """What PostgreSQL takes for a time stamp, as far as it matters here."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": datetime.now(UTC), "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if text in words:
        return words[text]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise internal_error() from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _unparsable(reason: str) -> Problem:
    return Problem(
        400.18, f"The OData filter expression you provided could not be parsed: {reason}", {"reason": reason}
    )


def _unsupported(kind: str, at: int, text: str) -> Problem:
    return Problem(
        501.4,
        f'The given OData filter expression uses features not supported by this server: {kind} at {at} ("{text}")',
        {"at": at, "type": kind, "text": text},
    )
