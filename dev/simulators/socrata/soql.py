"""The part of SoQL that publishers use: select, where, group, order, limit, offset."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from dev.simulators.socrata import values
from dev.simulators.socrata.bodies import Refusal
from dev.simulators.socrata.dataset import StoredRow, decode_sid, encode_sid, format_moment

Getter = Callable[[StoredRow], Any]
Condition = Callable[[StoredRow], bool | None]

SYSTEM_FIELDS = {":id": "id", ":created_at": "date", ":updated_at": "date"}
AGGREGATES = {"count", "min", "max", "sum"}
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"""
    r"|`(?P<quoted>[^`]+)`|(?P<name>:\*|:?@?[A-Za-z_][A-Za-z0-9_]*)|(?P<sign><=|>=|!=|<>|==|[=<>(),*]))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_CLAUSES = ("select", "where", "group", "having", "order", "limit", "offset")


class SoqlError(Refusal):
    """A query that is refused; the code is one of SoQL's own."""

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(f"Query coordinator error: {code}; {message}", code, 400, **data)


@dataclass
class Item:
    """One selected thing: a column, `*`, `:*`, or a function of a column."""

    name: str
    function: str = ""
    alias: str = ""


@dataclass
class Query:
    """A parsed query. limit None: the endpoint's own."""

    select: list[Item] = field(default_factory=list)
    where: list[Condition] = field(default_factory=list)
    group: list[str] = field(default_factory=list)
    order: list[tuple[str, bool]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0

    @property
    def is_aggregate(self) -> bool:
        """Whether the answer's rows are not the dataset's."""
        return bool(self.group) or any(item.function for item in self.select)


class Parser:
    """Reads clauses against a dataset's columns: {name: type}."""

    def __init__(self, types: dict[str, str]) -> None:
        self.types = {**types, **SYSTEM_FIELDS}
        self._tokens: list[tuple[str, str]] = []

    def parse_query(self, text: str) -> Query:
        """A whole query, as `$query` and SODA3 take it."""
        query = Query()
        self._begin(text)
        while self._tokens:
            clause = self._word()
            if clause not in _CLAUSES or clause == "having":
                raise self._malformed(clause)
            if clause in ("group", "order"):
                self._expect("by")
            self._read_clause(query, clause)
        return query

    def parse_clause(self, query: Query, clause: str, text: str) -> None:
        """One `$select`, `$where`, `$group`, `$order`, `$limit` or `$offset`, into `query`."""
        self._begin(text)
        self._read_clause(query, clause)
        if self._tokens:
            raise self._malformed(self._tokens[0][1])

    def build_filter(self, name: str, text: str) -> Condition:
        """The condition of a plain `?column=value` parameter."""
        return self._compare(self._column(name), "=", "=", ("text", text))

    def getter(self, name: str) -> Getter:
        """How a column's value is got from a row, ready to be compared."""
        kind = self.types[name]
        if name == ":id":
            return lambda row: row.sid
        if name == ":created_at":
            return lambda row: format_moment(row.created)
        if name == ":updated_at":
            return lambda row: format_moment(row.updated)
        if kind in values.NUMBERS:
            return lambda row: Decimal(row.values[name]) if name in row.values else None
        return lambda row: row.values.get(name)

    def _begin(self, text: str) -> None:
        self._tokens = []
        end = 0
        while text[end:].strip():
            match = _TOKEN.match(text, end)
            if match is None:
                raise self._malformed(text[end:].split()[0])
            kind = match.lastgroup or ""
            self._tokens.append(("name" if kind == "quoted" else kind, match[kind]))
            end = match.end()

    def _read_clause(self, query: Query, clause: str) -> None:
        if clause == "select":
            query.select = self._listed(self._item)
        elif clause == "where":
            query.where.append(self._any())
        elif clause == "group":
            query.group = self._listed(lambda: self._comparable(self._take("name")))
        elif clause == "order":
            aliases = {item.alias for item in query.select}
            query.order = self._listed(lambda: self._ordering(aliases))
        elif clause == "limit":
            query.limit = self._count()
        else:
            query.offset = self._count()

    def _listed(self, read: Callable[[], Any]) -> list[Any]:
        found = [read()]
        while self._accept(","):
            found.append(read())
        return found

    def _item(self) -> Item:
        if self._accept("*"):
            return Item("*")
        name = self._take("name")
        if name == ":*":
            return Item(name)
        if name.lower() in AGGREGATES and self._accept("("):
            column = (
                "*" if name.lower() == "count" and self._accept("*") else self._column(self._take("name"))
            )
            self._expect(")")
            alias = name.lower() if column == "*" else f"{name.lower()}_{column.lstrip(':')}"
            item = Item(column, name.lower(), alias)
        else:
            item = Item(self._column(name), "", name)
        if self._accept("as"):
            item.alias = self._take("name")
        return item

    def _ordering(self, aliases: set[str]) -> tuple[str, bool]:
        name = self._take("name")
        if name not in aliases or name in self.types:
            self._comparable(name)
        if self._accept("desc"):
            return name, True
        self._accept("asc")
        return name, False

    def _count(self) -> int:
        text = self._take("number")
        if not text.isdigit():
            raise self._malformed(text)
        return int(text)

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda row: _join([part(row) for part in parts], True)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._accept("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda row: _join([part(row) for part in parts], False)

    def _one(self) -> Condition:
        if self._accept("not"):
            return _negate(self._one())
        if self._accept("("):
            inner = self._any()
            self._expect(")")
            return inner
        word = self._take("name")
        if word.lower() == "starts_with" and self._accept("("):
            return self._starts_with()
        name = self._column(word)
        get = self.getter(name)
        if self._accept("is"):
            wanted = not self._accept("not")
            self._expect("null")
            return lambda row: (get(row) is None) is wanted
        refused = self._accept("not")
        if self._accept("in"):
            self._expect("(")
            found = set(self._listed(lambda: self._literal(name, "#IN", self._next())))
            self._expect(")")
            inside: Condition = lambda row: None if (value := get(row)) is None else value in found  # noqa: E731
            return _negate(inside) if refused else inside
        if self._accept("between"):
            low = self._compare(name, ">=", "#BETWEEN", self._next())
            self._expect("and")
            high = self._compare(name, "<=", "#BETWEEN", self._next())
            within: Condition = lambda row: _join([low(row), high(row)], False)  # noqa: E731
            return _negate(within) if refused else within
        sign = {"==": "=", "<>": "!="}.get(token := self._take("sign"), token)
        if refused or sign not in _COMPARE:
            raise self._malformed(token)
        return self._compare(name, sign, sign, self._next())

    def _starts_with(self) -> Condition:
        get = self.getter(self._column(self._take("name")))
        self._expect(",")
        kind, start = self._next()
        self._expect(")")
        if kind != "text":
            raise SoqlError("query.soql.type-mismatch", f"Type mismatch for starts_with, is {kind}")
        return lambda row: None if (value := get(row)) is None else str(value).startswith(start)

    def _compare(self, name: str, sign: str, shown: str, token: tuple[str, str]) -> Condition:
        get, compare = self.getter(name), _COMPARE[sign]
        wanted = self._literal(name, shown, token)
        if wanted is None:
            return lambda row: None
        return lambda row: None if (value := get(row)) is None else compare(value, wanted)

    def _literal(self, name: str, sign: str, token: tuple[str, str]) -> Any:
        """A literal made comparable with a column. Raises: SoqlError where the types do not go together."""
        kind, text = token
        type_name = self.types[name]
        word = text.lower()
        if kind == "name" and word == "null":
            return None
        try:
            if type_name in values.NUMBERS and kind in ("number", "text"):
                return Decimal(values.read_number(text))
            if type_name == "checkbox" and word in ("true", "false") and kind in ("name", "text"):
                return word == "true"
            if kind == "text":
                if type_name in values.TEXTS:
                    return text
                if type_name == "calendar_date":
                    return values.read_calendar_date(text)
                if type_name == "date":
                    return values.read_date(text)
                if type_name == "id":
                    return decode_sid(text)
        except (ValueError, Refusal):
            pass
        given = {"name": "boolean" if word in ("true", "false") else "column"}.get(kind, kind)
        raise SoqlError("query.soql.type-mismatch", f"Type mismatch for op${sign}, is {given}", column=name)

    def _column(self, name: str) -> str:
        if name not in self.types:
            raise SoqlError("query.soql.no-such-column", f"No such column: {name}", column=name)
        return name

    def _comparable(self, name: str) -> str:
        kind = self.types[self._column(name)]
        if kind in values.OBJECTS:
            raise SoqlError("query.soql.type-mismatch", f"Type mismatch for {name}, is {kind}", column=name)
        return name

    def _next(self) -> tuple[str, str]:
        if not self._tokens:
            raise self._malformed("end of input")
        kind, text = self._tokens.pop(0)
        if kind == "text":
            text = text[1:-1].replace(text[0] * 2, text[0])
        return kind, text

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise self._malformed(text)
        return text

    def _word(self) -> str:
        return self._take("name").lower()

    def _accept(self, text: str) -> bool:
        if self._tokens and self._tokens[0][0] != "text" and self._tokens[0][1].lower() == text:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._malformed(self._tokens[0][1] if self._tokens else "end of input")

    def _malformed(self, text: str) -> SoqlError:
        return SoqlError("query.compiler.malformed", f"Could not parse SoQL query at {text!r}")


def _join(found: list[bool | None], decides: bool) -> bool | None:
    """`or` (decides True) and `and` (decides False) over true, false and unknown."""
    if decides in found:
        return decides
    return None if None in found else not decides


def _negate(part: Condition) -> Condition:
    return lambda row: None if (found := part(row)) is None else not found


def sort_rows(rows: list[Any], order: list[tuple[Callable[[Any], Any], bool]]) -> None:
    """Sort in place; nulls stand last, or first where the order is descending."""
    for get, descending in reversed(order):
        rows.sort(key=lambda row: ((value := get(row)) is None, value), reverse=descending)


def aggregate(rows: list[StoredRow], query: Query, parser: Parser) -> tuple[list[str], list[dict[str, Any]]]:
    """Names and answer rows of a query with `$group` or an aggregate function, in the order asked for.

    Raises: SoqlError for a column that is neither grouped nor aggregated.
    """
    items = query.select or [Item(name, "", name) for name in query.group]
    for item in items:
        if not item.function and item.name not in query.group:
            raise SoqlError(
                "query.soql.column-not-in-group-bys",
                f"Column not in group bys: {item.name}",
                column=item.name,
            )
    getters = [parser.getter(name) for name in query.group]
    groups: dict[Any, list[StoredRow]] = {} if query.group else {(): []}
    for row in rows:
        groups.setdefault(tuple(get(row) for get in getters), []).append(row)
    answers = [_aggregate_group(members, items, parser) for members in groups.values()]
    as_number = {
        item.alias: item.function in ("count", "sum") or parser.types[item.name] in values.NUMBERS
        for item in items
    }
    for name, _ in query.order:
        if name not in as_number:
            raise SoqlError("query.soql.no-such-column", f"Not selected: {name}", column=name)
    sort_rows(answers, [(_answer_getter(name, as_number[name]), down) for name, down in query.order])
    return list(as_number), [{n: v for n, v in row.items() if v is not None} for row in answers]


def _answer_getter(name: str, as_number: bool) -> Callable[[dict[str, Any]], Any]:
    return lambda row: None if (value := row[name]) is None else Decimal(value) if as_number else value


def _aggregate_group(rows: list[StoredRow], items: list[Item], parser: Parser) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for item in items:
        if item.function == "count" and item.name == "*":
            answer[item.alias] = str(len(rows))
            continue
        if not item.function:
            answer[item.alias] = read_field(rows[0], item.name)
            continue
        get = parser.getter(item.name)
        found = [value for row in rows if (value := get(row)) is not None]
        if item.function == "count":
            answer[item.alias] = str(len(found))
        elif not found:
            answer[item.alias] = None
        else:
            value = {"min": min, "max": max, "sum": sum}[item.function](found)  # type: ignore[operator]
            answer[item.alias] = format(value, "f") if isinstance(value, Decimal) else value
    return answer


def read_field(row: StoredRow, name: str) -> Any:
    """A column's value as readers get it; None where it is null."""
    if name == ":id":
        return encode_sid(row.sid)
    if name == ":created_at":
        return format_moment(row.created)
    if name == ":updated_at":
        return format_moment(row.updated)
    return row.values.get(name)
