"""The OData feed of one form: tables, options, pages, links."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import msgspec

from dev.simulators.base import Answer
from dev.simulators.odk import filters
from dev.simulators.odk.problems import Problem, bad_type, internal_error, not_found, unsupported_feature
from dev.simulators.odk.rows import Row, pick, render_repeats
from dev.simulators.odk.schema import REPEAT, STRUCTURE, Element, Schema
from dev.simulators.odk.store import Form, Submission

Pairs = Sequence[tuple[str, str]]

# Options that the feed takes; any other is 501.1. `$search` is taken and ignored.
_KNOWN = {
    "$format",
    "$count",
    "$skip",
    "$top",
    "$filter",
    "$wkt",
    "$expand",
    "$select",
    "$skiptoken",
    "$orderby",
    "$search",
}
_SYSTEM = (
    "submissionDate",
    "updatedAt",
    "submitterId",
    "submitterName",
    "attachmentsPresent",
    "attachmentsExpected",
    "status",
    "reviewState",
    "deviceId",
    "edits",
    "formVersion",
    "deletedAt",
)


@dataclass
class Options:
    """The options of a request, read and checked. top, skip: None where not given."""

    top: int | None
    skip: int
    skip_given: bool
    count: bool
    expand: bool
    wkt: bool
    filter: str | None
    order: list[tuple[str, bool]]
    select: list[str] | None
    token: dict[str, Any] | None


def read_options(pairs: Pairs, fields: dict[str, str] = filters.FIELDS) -> Options:
    """Read the options. Raises: Problem for what the feed does not take."""
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    for name in given:
        if name not in _KNOWN:
            raise unsupported_feature(name)

    def last(name: str) -> str | None:
        values = given.get(name)
        return values[-1] if values else None

    if len(given.get("$filter", ())) > 1:
        reason = "source.charCodeAt is not a function"
        raise Problem(
            400.18,
            f"The OData filter expression you provided could not be parsed: {reason}",
            {"reason": reason},
        )
    expand, select = last("$expand"), last("$select")
    if expand and expand != "*":
        raise Problem(
            501.6,
            f'The given OData expand expression is not supported by this server: "{expand}". '
            'Currently, only "$expand=*" is supported.',
            {"text": expand},
        )
    if expand and select and select != "*":
        raise Problem(501.11, "This server doesn't support $select query parameter with $expand.")
    token_text, order_text = last("$skiptoken"), last("$orderby")
    if token_text is not None and order_text is not None:
        raise unsupported_feature("using $orderby and $skiptoken together")
    return Options(
        top=_read_number(last("$top")),
        skip=_read_number(last("$skip")) or 0,
        skip_given="$skip" in given,
        count=last("$count") == "true",
        expand=expand == "*",
        wkt=last("$wkt") == "true",
        filter=last("$filter"),
        order=_read_order(order_text, fields) if order_text else [],
        select=None if select is None or select == "*" else [part.strip() for part in select.split(",")],
        token=_read_token(token_text) if token_text is not None else None,
    )


def _read_number(text: str | None) -> int | None:
    if text is None:
        return None
    leading = ""
    for character in text.strip():
        if character.isdigit() or (character == "-" and not leading):
            leading += character
        else:
            break
    if leading in ("", "-"):
        raise bad_type("NaN", "type bigint")
    number = int(leading)
    if number < 0:
        # It reaches the database, which refuses it.
        raise internal_error()
    return number


def _read_order(text: str, fields: dict[str, str]) -> list[tuple[str, bool]]:
    keys: list[tuple[str, bool]] = []
    for part in text.split(","):
        words = part.split()
        if not words:
            continue
        attribute = filters.find_field(words[0], fields)
        if attribute is None:
            raise _unknown_order(words[0])
        direction = words[1] if len(words) > 1 else "asc"
        if direction not in ("asc", "desc"):
            raise _unknown_order(direction)
        keys.append((attribute, direction == "desc"))
    return keys


def _unknown_order(text: str) -> Problem:
    return Problem(
        501.5,
        f"The given OData filter expression references fields not supported by this server: {text}",
        {"text": text},
    )


def _read_token(text: str) -> dict[str, Any]:
    try:
        if not text.startswith("01"):
            raise ValueError("version")
        token = json.loads(base64.b64decode(text[2:], validate=True))
        if not isinstance(token, dict):
            raise ValueError("object")
    except ValueError:
        raise Problem(400.35, "Invalid $skiptoken") from None
    return token


def write_token(content: dict[str, Any]) -> str:
    """A `$skiptoken`."""
    return (
        "01"
        + base64.b64encode(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()).decode()
    )


def build_next_link(base: str, pairs: Pairs, token: str) -> str:
    """The request's own options, encoded as URLSearchParams does, with the new token and without `$skip`."""
    out: list[tuple[str, str]] = []
    for name, value in pairs:
        if name == "$skiptoken":
            value = token
        if name != "$skip":
            out.append((name, value))
    if all(name != "$skiptoken" for name, _ in out):
        out.append(("$skiptoken", token))
    encoded = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in out)
    return f"{base}?{encoded}"


def _encode(text: str) -> str:
    return quote_plus(text, safe="*").replace("~", "%7E")


@dataclass
class Page:
    """A page of a table: rows as JSON, and what the envelope says.

    etag: None for an answer that is not streamed, "" for one that is streamed without a tag.
    """

    rows: list[bytes]
    context: str
    next_link: str | None = None
    count: int | None = None
    etag: str | None = None

    @classmethod
    def of(cls, rows: list[Row], context: str, next_link: str | None, count: int | None) -> Page:
        """A page of rows that are not JSON yet, streamed without a tag."""
        return cls([_json(row) for row in rows], context, next_link, count, "")

    def to_answer(self) -> Answer:
        """The envelope, in the order of the real one."""
        body = b'{"value":[' + b",".join(self.rows) + b'],"@odata.context":' + _json(self.context)
        if self.next_link is not None:
            body += b',"@odata.nextLink":' + _json(self.next_link)
        if self.count is not None:
            body += b',"@odata.count":' + _json(self.count)
        headers = {"OData-Version": "4.0"}
        if self.etag:
            headers["ETag"] = self.etag
        if self.etag is not None:
            headers["Transfer-Encoding"] = "chunked"
        headers["Content-Type"] = "application/json; charset=utf-8"
        return Answer(200, body + b"}", headers)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


class Feed:
    """A form's feed. base: the address up to `.svc`, on the server's public domain."""

    def __init__(self, form: Form, schema: Schema, base: str, draft: bool = False) -> None:
        self.form = form
        self.schema = schema
        self.base = base
        self.draft = draft
        self._found: dict[str, tuple[int, list[Submission]]] = {}

    def _all(self) -> list[Submission]:
        if self.draft:
            return sorted(self.form.draft_by_id.values(), key=lambda one: one.order, reverse=True)
        return self.form.submissions

    def _match(self, text: str | None, prefixed_only: bool) -> list[Submission]:
        """Submissions of a filter, newest first; kept until the form changes."""
        key = f"{prefixed_only}{text}"
        kept = self._found.get(key)
        if kept is not None and kept[0] == self.form.revision and not self.draft:
            return kept[1]
        if text is None:
            found = [one for one in self._all() if one.deleted_at is None]
        else:
            test, mentions_deleted = filters.compile_filter(text, filters.FIELDS, prefixed_only)
            found = [
                one
                for one in self._all()
                if (mentions_deleted or one.deleted_at is None) and test(one) is True
            ]
        if len(self._found) > 32:
            self._found.clear()
        self._found[key] = (self.form.revision, found)
        return found

    def read_table(self, name: str, pairs: Pairs) -> Page:
        """A page of a table. Raises: Problem, 404.1 for an unknown table too."""
        options = read_options(pairs)
        if name == "Submissions":
            return self._read_root(options, pairs)
        element = self.schema.tables.get(name)
        if element is None:
            raise not_found()
        return self._read_repeat(name, element, options, pairs)

    def _read_root(self, options: Options, pairs: Pairs) -> Page:
        context = f"{self.base}/$metadata#Submissions"
        found = self._match(options.filter, False)
        wanted = None if options.select is None else read_select(options.select, self.schema.root, True)
        count = len(found) if options.count else None
        if options.top == 0:
            return Page([], context, count=count)
        ordered = _sort(found, options.order)
        start = options.skip
        if options.token is not None:
            start = self._find_start(ordered, options.token)
        page = ordered[start:] if options.top is None else ordered[start : start + options.top]
        rows = [self._render(one, options, wanted) for one in page]
        remaining = len(ordered) - (start if options.token is not None else 0)
        link = None
        if len(page) < remaining:
            last = page[-1].instance_id if page else None
            link = build_next_link(f"{self.base}/Submissions", pairs, write_token({"instanceId": last}))
        return Page(rows, context, link, count, hash_events(page))

    def _find_start(self, ordered: list[Submission], token: dict[str, Any]) -> int:
        """The position behind the cursor; an unknown cursor is behind everything, without a word."""
        if "instanceId" not in token:
            raise Problem(400.35, "Invalid $skiptoken")
        known = self.form.draft_by_id if self.draft else self.form.by_id
        cursor = known.get(token["instanceId"])
        if cursor is None:
            return len(ordered)
        low, high = 0, len(ordered)
        while low < high:
            middle = (low + high) // 2
            if ordered[middle].order < cursor.order:
                high = middle
            else:
                low = middle + 1
        return low

    def _render(self, one: Submission, options: Options, wanted: dict[str, Any] | None) -> bytes:
        if wanted is None:
            return one.render_json(self.schema, options.expand, options.wkt)
        if set(wanted) <= {"__id", "__system"}:
            # Nothing of the form is asked for: no need to look at it.
            row: Row = {"__id": one.instance_id, "__system": one.system()}
        else:
            row = one.render(self.schema, False, options.wkt)
        return msgspec.json.encode(pick(row, wanted))

    def _read_repeat(self, name: str, element: Element, options: Options, pairs: Pairs) -> Page:
        context = f"{self.base}/$metadata#{name}"
        found = _sort(self._match(options.filter, True), options.order)
        wanted = None if options.select is None else read_select(options.select, element, False)
        rows: list[Row] = []
        for one in found:
            if not one.current.instance.encrypted:
                rows.extend(
                    render_repeats(
                        one.instance_id,
                        one.current.instance.nodes,
                        self.schema,
                        element,
                        options.expand,
                        options.wkt,
                    )
                )
        page, link = _cut(rows, options, f"{self.base}/{name}", pairs)
        shown = page if wanted is None else [pick(row, wanted) for row in page]
        etag = "" if options.top == 0 and options.count else hash_events(found)
        return Page([_json(row) for row in shown], context, link, len(rows) if options.count else None, etag)

    def read_single(self, instance_id: str, path: list[tuple[str, str | None]], pairs: Pairs) -> Page:
        """One submission, or what a navigation link below it gives.

        path: names with the repeat id in parentheses, if any.
        """
        options = read_options(pairs)
        known = self.form.draft_by_id if self.draft else self.form.by_id
        one = known.get(instance_id)
        if one is None or one.deleted_at is not None or not one.visible:
            raise not_found()
        if not path:
            wanted = None if options.select is None else read_select(options.select, self.schema.root, True)
            row = one.render(self.schema, options.expand, options.wkt)
            shown = row if wanted is None else pick(row, wanted)
            return Page([_json(shown)], f"{self.base}/$metadata#Submissions")
        table = "Submissions." + ".".join(part for part, _ in path)
        element = self.schema.tables.get(table)
        if element is None:
            raise not_found()
        rows = list(
            render_repeats(
                one.instance_id, one.current.instance.nodes, self.schema, element, options.expand, options.wkt
            )
        )
        parent_id = next((key for _, key in reversed(path[:-1]) if key is not None), None)
        own_id = path[-1][1]
        if parent_id is not None:
            rows = [row for row in rows if parent_id in _parent_keys(row)]
        if own_id is not None:
            rows = [row for row in rows if row["__id"] == own_id]
            if not rows:
                raise not_found()
        page, link = _cut(rows, options, f"{self.base}/{_print_path(instance_id, path)}", pairs)
        wanted = None if options.select is None else read_select(options.select, element, False)
        shown_rows = page if wanted is None else [pick(row, wanted) for row in page]
        return Page(
            [_json(row) for row in shown_rows],
            f"{self.base}/$metadata#{table}",
            link,
            len(rows) if options.count else None,
        )

    def service_document(self, slash: str = "") -> Answer:
        """The list of tables. slash: one that the request had at its end."""
        body = {
            "@odata.context": f"{self.base}{slash}/$metadata",
            "value": [{"name": name, "kind": "EntitySet", "url": name} for name in self.schema.tables],
        }
        kind = "application/json; charset=utf-8; odata.metadata=minimal"
        return Answer(200, _json(body), {"OData-Version": "4.0", "Content-Type": kind})


def _parent_keys(row: Row) -> list[str]:
    return [value for name, value in row.items() if name.startswith("__Submissions-")]


def _print_path(instance_id: str, path: list[tuple[str, str | None]]) -> str:
    parts = [f"{name}('{key}')" if key is not None else name for name, key in path]
    return "/".join([f"Submissions('{instance_id}')", *parts])


def _cut(rows: list[Row], options: Options, base: str, pairs: Pairs) -> tuple[list[Row], str | None]:
    """A page of repeat rows, and the link to the next."""
    start = options.skip
    if options.token is not None:
        wanted = options.token.get("repeatId")
        places = {row["__id"]: index for index, row in enumerate(rows)}
        if wanted not in places:
            raise Problem(400.34, "Record associated with the provided $skiptoken not found.")
        start = places[wanted] + 1
    end = len(rows) if options.top is None else start + options.top
    page = rows[start:end]
    if end >= len(rows):
        return page, None
    last = page[-1]["__id"] if page else None
    return page, build_next_link(base, pairs, write_token({"repeatId": last}))


def _sort(found: list[Submission], order: list[tuple[str, bool]]) -> list[Submission]:
    """Sorted by `$orderby`; nulls come first going up, last going down. Without it as it is: newest first."""
    if not order:
        return found
    ordered = sorted(found, key=lambda one: one.number)
    for attribute, down in reversed(order):
        ordered.sort(key=lambda one: _order_key(getattr(one, attribute)), reverse=down)
    return ordered


def _order_key(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def hash_events(page: Sequence[Submission]) -> str:
    """The feed's weak ETag: over the chosen submissions, changed by what the audit log calls an event."""
    if not page:
        return 'W/"eventhash:' + "0" * 32 + '"'
    digest = hashlib.md5(",".join(str(one.event) for one in page).encode()).hexdigest()
    return f'W/"eventhash:{digest}"'


def read_select(names: list[str], table: Element, root: bool) -> dict[str, Any]:
    """The tree of names for `pick`. Raises: Problem 400.23 for an unknown one, 400.24 for one inside a repeat."""
    wanted: dict[str, Any] = {}
    own = {"__id": None} if root else {"__id": None, **dict.fromkeys(_parent_names(table))}
    for name in names:
        if name in own:
            wanted[name] = None
            continue
        parts = name.split("/")
        if root and parts[0] == "__system":
            if len(parts) > 2 or (len(parts) == 2 and parts[1] not in _SYSTEM):
                raise _unknown_property(name)
        else:
            _check_path(parts, table, name)
        _put(wanted, parts)
    return wanted


def _check_path(parts: list[str], table: Element, name: str) -> None:
    place = table
    for index, part in enumerate(parts):
        found = next((child for child in place.children.values() if child.odata_name == part), None)
        if found is None:
            raise _unknown_property(name)
        if index < len(parts) - 1:
            if found.type == REPEAT:
                raise Problem(
                    400.24,
                    f"The given OData select property '{name}' uses features not supported by this server.",
                    {"property": name},
                )
            if found.type != STRUCTURE:
                raise _unknown_property(name)
        place = found


def _unknown_property(name: str) -> Problem:
    return Problem(400.23, f"Could not find a property named '{name}'", {"property": name})


def _parent_names(table: Element) -> list[str]:
    """Any key of a parent may be asked for; which one a table has follows from its place."""
    parts = [part for part in table.field.path.split("/") if part]
    names = ["__Submissions-id"]
    for end in range(1, len(parts)):
        names.append(f"__Submissions-{'-'.join(parts[:end])}-id")
    return names


def _put(wanted: dict[str, Any], parts: list[str]) -> None:
    place = wanted
    for part in parts[:-1]:
        inside = place.setdefault(part, {})
        if inside is None:
            return
        place = inside
    place[parts[-1]] = None
