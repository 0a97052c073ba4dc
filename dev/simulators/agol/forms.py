"""Parameters of a request: query string and form-encoded body, as the service reads them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dev.simulators.agol.refusals import refuse_edit
from dev.simulators.base import Request

_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_NAME = re.compile(rb'name="([^"]*)"')


def read_form(request: Request) -> dict[str, str]:
    """The parameters by name. A body of another kind (JSON, say) is not read."""
    kind = request.header("Content-Type")
    if kind.startswith("application/x-www-form-urlencoded"):
        body = dict(map(_read_pair, filter(None, request.body.split(b"&"))))
    elif kind.startswith("multipart/form-data"):
        body = _read_parts(request.body, kind)
    else:
        body = {}
    return {**request.query, **body}


def read_features(form: dict[str, str], name: str) -> list[dict[str, Any]]:
    """The features of a JSON parameter; [] where it is absent. Raises Refusal (NaN is not JSON)."""
    text = form.get(name, "").strip()
    if not text:
        return []
    try:
        features = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise refuse_edit(f"'{name}' parameter is invalid: {error}") from error
    if not isinstance(features, list) or not all(
        isinstance(item, dict) and isinstance(item.get("attributes") or {}, dict) for item in features
    ):
        raise refuse_edit(f"'{name}' parameter is invalid")
    return features


def _read_pair(pair: bytes) -> tuple[str, str]:
    name, _, value = pair.partition(b"=")
    return _unquote(name), _unquote(value)


def _unquote(text: bytes) -> str:
    """As urllib.parse.unquote_plus, five times as fast on bodies of a few escapes many times."""
    text = text.replace(b"+", b" ")
    # A % stands only before an escape until %25 is replaced, which therefore comes last.
    for escape in sorted(set(_ESCAPE.findall(text)), key=lambda found: found == b"%25"):
        text = text.replace(escape, bytes([int(escape[1:], 16)]))
    return text.decode("utf-8", "replace")


def _read_parts(body: bytes, kind: str) -> dict[str, str]:
    boundary = kind.partition("boundary=")[2].partition(";")[0].strip('" ')
    found = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        head, gap, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if gap and name is not None:
            found[name.group(1).decode()] = content.decode("utf-8", "replace")
    return found
