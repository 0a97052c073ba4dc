"""The options of a request to the feed, read and checked: pages, order, selection, cursors."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from dev.simulators.odk import filters
from dev.simulators.odk.problems import Problem, bad_type, internal_error, unsupported_feature
from dev.simulators.odk.schema import REPEAT, STRUCTURE, Element

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
        count=is_true(last("$count")),
        expand=expand == "*",
        wkt=is_true(last("$wkt")),
        filter=last("$filter"),
        order=_read_order(order_text, fields) if order_text else [],
        select=None if select is None or select == "*" else [part.strip() for part in select.split(",")],
        token=_read_token(token_text) if token_text is not None else None,
    )


def is_true(text: str | None) -> bool:
    """Whether a parameter is true, in any case."""
    return text is not None and text.lower() == "true"


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
