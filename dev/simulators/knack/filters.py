"""Knack's filters: rules of field, operator and value, tried on one cell each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dev.simulators.knack import dates
from dev.simulators.knack.values import ABSENT, NUMBER_TYPES, Cell, Field, cell_text, is_blank, is_multiple

Test = Callable[[Cell], bool]

_TEXT = {"is", "is not", "contains", "does not contain", "starts with", "ends with"}
_ORDER = {"is", "is not", "higher than", "lower than"}
_CHOICE = {"is", "is not", "contains", "does not contain", "is any"}
_DATE_RANGES = {
    "is during the current",
    "is during the previous",
    "is during the next",
    "is before the previous",
    "is after the next",
}
_DATE_NOW = {
    "is today",
    "is today or before",
    "is today or after",
    "is before today",
    "is after today",
    "is before current time",
    "is after current time",
}
_DATE = {"is", "is not", "is before", "is after"} | _DATE_RANGES | _DATE_NOW
_BLANK = {"is blank", "is not blank"}
_UNITS = ("days", "weeks", "months", "years")

# What each type of field can be asked, beside "is blank" and "is not blank".
OPERATORS: dict[str, set[str]] = {
    **dict.fromkeys(
        ("short_text", "paragraph_text", "rich_text", "concatenation", "link", "email", "phone", "name"),
        _TEXT,
    ),
    "address": _TEXT,
    **dict.fromkeys((*NUMBER_TYPES, "currency", "rating", "auto_increment"), _ORDER),
    **dict.fromkeys(("multiple_choice", "connection", "user_roles"), _CHOICE),
    "boolean": {"is", "is not"},
    "date_time": _DATE,
}


class BadFilter(ValueError):
    """A filter that Knack cannot read."""


@dataclass(frozen=True)
class Reading:
    """How filters are read. now: the wall clock in the app's time zone, naive."""

    now: datetime
    honour_time: bool = False
    honour_iso: bool = False
    negation_matches_blank: bool = True


def parse_filters(text: str) -> tuple[str, list[Any]]:
    """("and" or "or", rules) of a `filters` parameter: an object with match and rules, or a bare list.

    Raises: BadFilter.
    """
    try:
        given = json.loads(text)
    except ValueError:
        raise BadFilter("filters is no JSON") from None
    if isinstance(given, list):
        return "and", given
    if not isinstance(given, dict) or not isinstance(given.get("rules"), list):
        raise BadFilter("filters has no list of rules")
    match = given.get("match", "and")
    if match not in ("and", "or"):
        raise BadFilter("match is neither and nor or")
    return match, given["rules"]


def compile_rule(rule: Mapping[str, Any], field: Field, reading: Reading) -> Test:
    """A test of one cell of `field`.

    Raises: BadFilter where the field's type has no such operator or the value cannot be compared.
    """
    operator = rule.get("operator")
    if operator in _BLANK:
        return is_blank if operator == "is blank" else lambda cell: not is_blank(cell)
    if not isinstance(operator, str) or operator not in OPERATORS.get(field["type"], ()):
        raise BadFilter(f"{field['type']} has no operator {operator!r}")
    kind = field["type"]
    if kind == "date_time":
        return _compile_date(operator, rule, field, reading)
    if kind in ("multiple_choice", "connection", "user_roles"):
        test = _compile_choice(operator, rule.get("value"), field)
    elif kind == "boolean":
        test = _compile_boolean(rule.get("value"))
    elif OPERATORS[kind] is _ORDER:
        test = _compile_number(operator, rule.get("value"))
    else:
        test = _compile_text(operator, rule.get("value"))
    return _with_blanks(operator, test, reading)


def _with_blanks(operator: str, test: Test, reading: Reading) -> Test:
    """Blank cells match nothing but, where so read, a negation; negations are given as their opposite."""
    if operator in ("is not", "does not contain"):
        return lambda cell: reading.negation_matches_blank if is_blank(cell) else not test(cell)
    return lambda cell: not is_blank(cell) and test(cell)


def _words(cell: Cell) -> list[str]:
    display, raw = cell
    if isinstance(raw, dict):
        said = [raw.get(part) for part in ("email", "url", "full", "formatted")]
        return [str(one).casefold() for one in (*said, cell_text(cell)) if one]
    return [str(display if raw is ABSENT else raw).casefold()]


def _compile_text(operator: str, value: Any) -> Test:
    wanted = str("" if value is None else value).casefold()
    compare: dict[str, Callable[[str], bool]] = {
        "is": lambda word: word == wanted,
        "contains": lambda word: wanted in word,
        "starts with": lambda word: word.startswith(wanted),
        "ends with": lambda word: word.endswith(wanted),
    }
    chosen = compare[operator.replace("is not", "is").replace("does not contain", "contains")]
    return lambda cell: any(chosen(word) for word in _words(cell))


def read_number(value: Any) -> float | None:
    """A number out of a raw half, a display form or a filter's value; None where there is none."""
    if isinstance(value, bool) or value is None or value is ABSENT:
        return None
    try:
        return float(re.sub(r"[,$€£\s]", "", str(value)))
    except ValueError:
        return None


def _compile_number(operator: str, value: Any) -> Test:
    wanted = read_number(value)
    if wanted is None:
        raise BadFilter("the value is no number")

    def test(cell: Cell) -> bool:
        number = read_number(cell[1])
        if number is None:
            return False
        if operator == "higher than":
            return number > wanted
        if operator == "lower than":
            return number < wanted
        return number == wanted

    return test


def _compile_boolean(value: Any) -> Test:
    word = str(value).strip().lower()
    if word not in ("yes", "no", "true", "false", "on", "off"):
        raise BadFilter("the value is neither yes nor no")
    wanted = word in ("yes", "true", "on")
    return lambda cell: cell[1] is wanted


def _key_of(one: Any) -> str:
    return str(one.get("id", "")) if isinstance(one, dict) else str(one)


def _keys_of(value: Any) -> set[str]:
    if value is None or value is ABSENT:
        return set()
    return {_key_of(one) for one in (value if isinstance(value, list) else [value])}


def _compile_choice(operator: str, value: Any, field: Field) -> Test:
    wanted = _keys_of(value)
    if not wanted:
        raise BadFilter("the value is empty")
    if operator == "is any":
        return lambda cell: bool(_keys_of(cell[1]) & wanted)
    if operator in ("contains", "does not contain"):
        if field["type"] == "multiple_choice" and not is_multiple(field):
            word = next(iter(wanted)).casefold()
            return lambda cell: word in str(cell[1]).casefold()
        return lambda cell: wanted <= _keys_of(cell[1])
    return lambda cell: _keys_of(cell[1]) == wanted


def _compile_date(operator: str, rule: Mapping[str, Any], field: Field, reading: Reading) -> Test:
    if operator in _DATE_RANGES:
        return _on_days(_range_days(operator, rule, reading.now.date()))
    if operator in _DATE_NOW:
        return _compile_now(operator, reading.now)
    shape = field.get("format") or {}
    parsed = _parse_value(rule.get("value"), shape, reading)
    if parsed is None:
        # Another format, ISO above all: no error, and nothing matches.
        return (lambda cell: not is_blank(cell)) if operator == "is not" else (lambda cell: False)
    wanted, timed = parsed
    to_minute = (timed and reading.honour_time) or not dates.has_day(shape)

    def cut(at: datetime) -> Any:
        return at if to_minute else at.date()

    def test(cell: Cell) -> bool:
        at = dates.read_clock(cell[1])
        if at is None:
            return False
        if operator == "is after":
            return bool(cut(at) > cut(wanted))
        if operator == "is before":
            return bool(cut(at) < cut(wanted))
        return bool(cut(at) == cut(wanted))

    return _with_blanks(operator, test, reading)


def _parse_value(value: Any, shape: Mapping[str, Any], reading: Reading) -> tuple[datetime, bool] | None:
    if isinstance(value, dict):
        value = f"{value.get('date', '')} {value.get('time', '')}".strip()
    if not isinstance(value, str):
        return None
    if reading.honour_iso and dates.ISO_START.match(value):
        try:
            return datetime.fromisoformat(value).replace(tzinfo=None), len(value) > 10
        except ValueError:
            return None
    return dates.parse_moment(value, shape)


def _on_days(span: tuple[date, date]) -> Test:
    first, past = span

    def test(cell: Cell) -> bool:
        at = dates.read_clock(cell[1])
        return at is not None and first <= at.date() < past

    return test


def _range_days(operator: str, rule: Mapping[str, Any], today: date) -> tuple[date, date]:
    """The days (first, first one past the end) that a range operator means; previous and next roll."""
    unit = rule.get("type")
    if unit not in _UNITS:
        raise BadFilter("type is none of " + ", ".join(_UNITS))
    if operator == "is during the current":
        first = dates.start_unit(today, unit)
        return first, dates.add_units(first, 1, unit)
    try:
        count = int(rule.get("range", ""))
    except (TypeError, ValueError):
        raise BadFilter("range is no whole number") from None
    if operator == "is during the previous":
        return dates.add_units(today, -count, unit), today
    if operator == "is during the next":
        return dates.add_units(today, 1, "days"), dates.add_units(today, count + 1, unit)
    if operator == "is before the previous":
        return date.min, dates.add_units(today, -count, unit)
    return dates.add_units(today, count, unit), date.max


def _compile_now(operator: str, now: datetime) -> Test:
    today = now.date()
    compare: dict[str, Callable[[datetime], bool]] = {
        "is today": lambda at: at.date() == today,
        "is today or before": lambda at: at.date() <= today,
        "is today or after": lambda at: at.date() >= today,
        "is before today": lambda at: at.date() < today,
        "is after today": lambda at: at.date() > today,
        "is before current time": lambda at: at < now,
        "is after current time": lambda at: at > now,
    }
    chosen = compare[operator]

    def test(cell: Cell) -> bool:
        at = dates.read_clock(cell[1])
        return at is not None and chosen(at)

    return test
