"""Field definitions as an app's metadata holds them."""

from __future__ import annotations

import hashlib
from typing import Any

_NUMBER = {
    "mark_decimal": "none",
    "precision": "2",
    "rounding": "none",
    "mark_thousands": "none",
    "format": "",
    "pre": "",
    "post": "",
}
_DATE = {
    "calendar": False,
    "date_format": "mm/dd/yyyy",
    "time_format": "HH:MM am",
    "default_type": "none",
    "default_date": "",
    "time_type": "none",
    "default_time": "",
}

# What Knack fills in for a type; a field's own format is laid over it.
FORMATS: dict[str, dict[str, Any]] = {
    "number": _NUMBER,
    "currency": {"format": "$"},
    "equation": {**_NUMBER, "equation_type": "numeric", "equation": ""},
    **dict.fromkeys(("sum", "min", "max", "average", "count"), {**_NUMBER, "filters": []}),
    "rating": {"max": "5", "allow_half": False},
    "boolean": {"input": "dropdown", "required": False, "default": False, "format": "yes_no"},
    "multiple_choice": {"options": ["Red", "Amber", "Green"], "type": "single", "sorting": "custom"},
    "date_time": _DATE,
    "timer": {
        "total_format": "from-to",
        "minutes": "1",
        "time_format": "HH:MM am",
        "date_format": "mm/dd/yyyy",
    },
    "file": {"secure": False},
    "image": {"thumbs": [], "source": "upload"},
    "name": {"format": "First Last"},
    "email": {"text_format": "url"},
    "phone": {"extension": False, "format": "(999) 999-9999"},
    "link": {"target": "_blank", "text_format": "url"},
    "address": {"input": "address", "format": "US", "enable_geocoding": False},
    "concatenation": {"formula_field": "Field", "equation_type": "numeric", "equation": ""},
}


def make_id(*parts: object) -> str:
    """24 hex digits that are always the same for the same parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def make_field(key: str, name: str, kind: str, object_key: str = "object_1", **more: Any) -> dict[str, Any]:
    """A field definition.

    Args:
        more: `format` (laid over the type's own), `to` and `many` for a connection, and anything else that
            the definition is to hold (`required=True`).
    """
    field: dict[str, Any] = {
        "type": kind,
        "required": False,
        "unique": False,
        "user": False,
        "conditional": False,
        "rules": [] if kind == "connection" else None,
        "validation": [] if kind == "connection" else None,
        "key": key,
        "name": name,
    }
    target, many, own = more.pop("to", "object_2"), more.pop("many", False), more.pop("format", {})
    if kind == "connection":
        # Connections are the fields that come without object_key and format.
        has = "many" if many else "one"
        field["relationship"] = {"object": target, "has": has, "belongs_to": "many"}
    else:
        field["object_key"] = object_key
        if kind in FORMATS:
            field["format"] = {**FORMATS[kind], **own}
    return {**field, **more, "_id": make_id(object_key, key)}


# (name, type, format or extras) of one field of every type, and of every format that changes its values.
_EVERY: list[tuple[str, str, dict[str, Any]]] = [
    ("Auto Number", "auto_increment", {}),
    ("Short Text", "short_text", {}),
    ("Paragraph", "paragraph_text", {}),
    ("Rich Text", "rich_text", {}),
    ("Number", "number", {}),
    ("Number With Commas", "number", {"format": {"mark_thousands": "comma"}}),
    ("Number With Unit", "number", {"format": {"post": " ft"}}),
    ("Currency", "currency", {}),
    ("Equation", "equation", {"format": {"equation": "{field_5}*1.5"}}),
    ("Rating", "rating", {}),
    ("Yes No", "boolean", {}),
    ("True False", "boolean", {"format": {"format": "true_false"}}),
    ("Choice", "multiple_choice", {}),
    ("Choices", "multiple_choice", {"format": {"type": "multi"}}),
    ("Date And Time", "date_time", {}),
    ("Date And Military Time", "date_time", {"format": {"time_format": "HH MM (military)"}}),
    ("Date", "date_time", {"format": {"time_format": "Ignore Time"}}),
    ("Time", "date_time", {"format": {"date_format": "Ignore Date"}}),
    ("Day First", "date_time", {"format": {"date_format": "dd/mm/yyyy"}}),
    (
        "Day First Date",
        "date_time",
        {"format": {"date_format": "dd/mm/yyyy", "time_format": "Ignore Time"}},
    ),
    ("Written Date", "date_time", {"format": {"date_format": "M D, yyyy"}}),
    ("Date Range", "date_time", {"format": {"calendar": True}}),
    ("Timer", "timer", {}),
    ("File", "file", {}),
    ("Image", "image", {}),
    ("Linked Image", "image", {"format": {"source": "url"}}),
    ("Name", "name", {}),
    ("Name Last First", "name", {"format": {"format": "Last, First Middle"}}),
    ("Email", "email", {}),
    ("Phone", "phone", {}),
    ("Link", "link", {}),
    ("Address", "address", {}),
    ("Place", "address", {"format": {"input": "lat_long", "enable_geocoding": True}}),
    ("Address Abroad", "address", {"format": {"format": "international_country", "enable_geocoding": True}}),
    ("Signature", "signature", {}),
    ("Connection", "connection", {}),
    ("Connections", "connection", {"many": True}),
    ("Text Formula", "concatenation", {"format": {"equation": "{field_2} - {field_1}"}}),
    ("Count", "count", {}),
    ("Sum", "sum", {}),
    ("Average", "average", {}),
    ("Lowest", "min", {}),
    ("Highest", "max", {}),
    ("User Roles", "user_roles", {}),
    ("Password", "password", {}),
    ("id", "short_text", {}),
    ("Modified Date", "date_time", {}),
]


def make_every_field(object_key: str = "object_1", first: int = 1) -> list[dict[str, Any]]:
    """One field of every type and of every format that changes its values, keys field_<first> onwards.

    Among them one called "id"; the last is "Modified Date". Connections lead to object_2.
    """
    return [
        make_field(f"field_{first + place}", name, kind, object_key, **extras)
        for place, (name, kind, extras) in enumerate(_EVERY)
    ]
