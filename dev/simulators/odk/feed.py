"""The OData feed of one form: tables, options, pages, links."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dev.simulators.base import Answer
from dev.simulators.odk import filters
from dev.simulators.odk.options import Options, Pairs, build_next_link, read_options, read_select, write_token
from dev.simulators.odk.problems import Problem, not_found
from dev.simulators.odk.rows import Row, pick, render_repeats
from dev.simulators.odk.schema import Element, Schema
from dev.simulators.odk.store import Form, Submission
from dev.simulators.odk.switches import Switches


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

    def __init__(
        self, form: Form, schema: Schema, base: str, switches: Switches, draft: bool = False
    ) -> None:
        self.form = form
        self.switches = switches
        self.schema = schema
        self.base = base
        self.draft = draft
        self._found: dict[str, tuple[int, list[Submission]]] = {}

    @property
    def _fields(self) -> dict[str, str]:
        known = dict(filters.FIELDS)
        if not self.switches.deleted_filter:
            del known["__system/deletedAt"]
        return known

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
            test, mentions_deleted = filters.compile_filter(text, self._fields, prefixed_only)
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
        options = read_options(pairs, self._fields)
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
        options = read_options(pairs, self._fields)
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
