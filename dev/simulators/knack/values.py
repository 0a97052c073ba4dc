"""How Knack shows and keeps a value of each field type: (display, raw), the two halves of `format=both`."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

import msgspec

from dev.simulators.knack import dates

Field = Mapping[str, Any]
# (field_N, field_N_raw); the raw half is ABSENT for most blank values.
Cell = tuple[Any, Any]
ABSENT: Any = msgspec.UNSET

TEXT_TYPES = frozenset({"short_text", "paragraph_text", "rich_text", "concatenation"})
NUMBER_TYPES = frozenset({"number", "equation", "sum", "min", "max", "average", "count"})
# Knack works these out: what a client writes there is dropped.
COMPUTED_TYPES = frozenset(
    {"auto_increment", "concatenation", "equation", "sum", "min", "max", "average", "count"}
)
CURRENCY_SIGNS = {"$": "$", "€": "€", "£": "£", "euro": "€", "pound": "£"}
MASK = "*********"


@dataclass
class Setting:
    """What a cell depends on beyond its own value.

    find_identifier: (object key, record id) -> the connected record's identifier, None if there is none.
    find_asset: asset id -> the raw value of a file or image, None if it was never uploaded; without
        it assets are taken on trust.
    """

    app_id: str = "5f0000000000000000000001"
    timezone: tzinfo = UTC
    url: str = "https://api.knack.com"
    find_identifier: Callable[[str, str], str | None] = lambda _object, record_id: record_id
    find_asset: Callable[[str], dict[str, Any] | None] | None = None


def is_multiple(field: Field) -> bool:
    """Whether the field holds a list: a multiple choice of many, a connection to many."""
    if field["type"] == "connection":
        return bool(field.get("relationship", {}).get("has") == "many")
    return bool(field["type"] == "multiple_choice" and _shape(field).get("type") in ("multi", "checkboxes"))


def is_blank(cell: Cell) -> bool:
    """Whether a cell holds nothing, in any of the ways Knack says so."""
    display, raw = cell
    if raw is ABSENT:
        return display in ("", None)
    return raw in ("", None, [], [None], {})


def blank_cell(field: Field) -> Cell:
    """The cell of a field left empty: display "" and no raw half; numbers and yes/no always carry both."""
    kind = field["type"]
    if kind in NUMBER_TYPES:
        return 0, 0
    if kind == "boolean":
        return _show_boolean(field, False), False
    if kind == "connection" or is_multiple(field):
        return "", []
    return "", ABSENT


def build_cell(field: Field, value: Any, setting: Setting) -> Cell:
    """The cell of a value as a client writes it, or as Python has it (datetime, date, list of ids).

    Raises: ValueError with Knack's kind of message where the value cannot be read.
    """
    if value is None or value == "" or value == [] or value == {}:
        return blank_cell(field)
    return _BUILDERS.get(field["type"], _build_text)(field, value, setting)


def set_cell(record: dict[str, Any], key: str, cell: Cell) -> None:
    """Put a cell into a record of `both` format."""
    record[key] = cell[0]
    record.pop(f"{key}_raw", None)
    if cell[1] is not ABSENT:
        record[f"{key}_raw"] = cell[1]


def cell_text(cell: Cell) -> str:
    """A cell as plain words: an identifier, a part of a text formula."""
    display = "" if cell[0] is None else str(cell[0])
    return re.sub(r"<[^>]*>", "", display.replace("<br />", " ")) if "<" in display else display


def _shape(field: Field) -> Mapping[str, Any]:
    return field.get("format") or {}


def _build_text(field: Field, value: Any, setting: Setting) -> Cell:
    return str(value), str(value)


def _build_auto(field: Field, value: Any, setting: Setting) -> Cell:
    return int(value), int(value)


def _read_number(field: Field, value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError(f"{field['name']} must be a number.")
    if isinstance(value, int | float):
        # Knack writes whole numbers without a point.
        return int(value) if value == int(value) else value
    text = str(value).replace(",", "").strip().lstrip("".join(CURRENCY_SIGNS.values()))
    try:
        return float(text) if "." in text or "e" in text.lower() else int(text)
    except ValueError:
        raise ValueError(f"{field['name']} must be a number.") from None


def _build_number(field: Field, value: Any, setting: Setting) -> Cell:
    number = _read_number(field, value)
    shape = _shape(field)
    shown: Any = number
    if field["type"] == "equation" and shape.get("mark_decimal", "none") == "none":
        shown = round(number)
    if shape.get("mark_thousands", "none") == "comma":
        shown = f"{shown:,}"
    if shape.get("pre") or shape.get("post"):
        shown = f"{shape.get('pre', '')}{shown}{shape.get('post', '')}"
    return shown, number


def _build_currency(field: Field, value: Any, setting: Setting) -> Cell:
    number = _read_number(field, value)
    sign = CURRENCY_SIGNS.get(str(_shape(field).get("format", "$")), "")
    return f"{'-' if number < 0 else ''}{sign}{abs(number):,.2f}", f"{number:.2f}"


def _build_rating(field: Field, value: Any, setting: Setting) -> Cell:
    number = _read_number(field, value)
    return f"{number:.2f}", int(number) if number == int(number) else number


def _show_boolean(field: Field, value: bool) -> str:
    style = _shape(field).get("format", "yes_no")
    yes, no = {"true_false": ("True", "False"), "on_off": ("On", "Off")}.get(style, ("Yes", "No"))
    return yes if value else no


def _build_boolean(field: Field, value: Any, setting: Setting) -> Cell:
    word = str(value).strip().lower()
    if word not in ("yes", "no", "true", "false", "on", "off"):
        raise ValueError(f"{field['name']} must be yes or no.")
    truth = word in ("yes", "true", "on")
    return _show_boolean(field, truth), truth


def _build_choice(field: Field, value: Any, setting: Setting) -> Cell:
    chosen = list(value) if isinstance(value, list | tuple) else [value]
    if is_multiple(field):
        return ", ".join(str(choice) for choice in chosen), chosen
    if len(chosen) > 1:
        raise ValueError(f"{field['name']} takes one option.")
    return str(chosen[0]), chosen[0]


def _build_name(field: Field, value: Any, setting: Setting) -> Cell:
    if isinstance(value, str):
        first, _, last = value.strip().rpartition(" ")
        value = {"first": first, "last": last}
    raw = {part: value[part] for part in ("title", "first", "middle", "last") if value.get(part)}
    before = " ".join(raw[part] for part in ("title", "first", "middle") if part in raw)
    if str(_shape(field).get("format", "")).startswith("Last"):
        return ", ".join(part for part in (raw.get("last"), before) if part), raw
    return " ".join(part for part in (before, raw.get("last")) if part), raw


def _build_email(field: Field, value: Any, setting: Setting) -> Cell:
    raw = dict(value) if isinstance(value, Mapping) else {"email": str(value)}
    if "@" not in raw.get("email", ""):
        raise ValueError(f"{field['name']} must be a valid email address.")
    return f'<a href="mailto:{raw["email"]}">{raw.get("label") or raw["email"]}</a>', raw


def _build_link(field: Field, value: Any, setting: Setting) -> Cell:
    raw = dict(value) if isinstance(value, Mapping) else {"url": str(value)}
    target = ' target="_blank"' if _shape(field).get("target") == "_blank" else ""
    return f'<a href="{raw["url"]}"{target}>{raw.get("label") or raw["url"]}</a>', raw


def _build_phone(field: Field, value: Any, setting: Setting) -> Cell:
    if isinstance(value, Mapping):
        text, ext = (
            value.get("full") or f"{value.get('area', '')}{value.get('number', '')}",
            value.get("ext", ""),
        )
    else:
        text, _, ext = str(value).partition("x")
    full, ext = re.sub(r"\D", "", str(text)), str(ext).strip()
    if len(full) == 11 and full[0] == "1":
        full = full[1:]
    if len(full) == 10:
        shown = f"({full[:3]}) {full[3:6]}-{full[6:]}"
        raw = {"area": full[:3], "number": full[3:], "full": full, "formatted": shown}
    else:
        shown, raw = full, {"number": full, "full": full, "formatted": full}
    if ext:
        shown = raw["formatted"] = f"{shown} x{ext}"
        raw["ext"] = ext
    return shown, raw


def _build_address(field: Field, value: Any, setting: Setting) -> Cell:
    raw = dict(value) if isinstance(value, Mapping) else {"street": str(value)}
    city, state, code = (str(raw.get(part) or "") for part in ("city", "state", "zip"))
    # The space before the zip code is there without one too.
    place = f"{city}, {state} {code}" if city else f"{state} {code}" if state or code else ""
    lines = [raw.get("street"), raw.get("street2"), place]
    if _shape(field).get("format") == "international_country":
        lines.append(raw.get("country"))
    shown = "<br />".join(str(line) for line in lines if line)
    if not shown and raw.get("latitude") not in (None, ""):
        shown = f"{raw['latitude']}, {raw['longitude']}"
    return shown, raw


def _read_moment(field: Field, value: Any, setting: Setting) -> datetime:
    shape = _shape(field)
    if isinstance(value, datetime):
        local = value.astimezone(setting.timezone).replace(tzinfo=None) if value.tzinfo else value
        return local.replace(second=0, microsecond=0)
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, time):
        return datetime.combine(dates.NO_DATE, value.replace(second=0, microsecond=0))
    if isinstance(value, Mapping):
        return _read_date_object(field, value)
    parsed = dates.parse_moment(str(value), shape)
    if parsed is None:
        raise ValueError(f"{field['name']} must be a valid date.")
    return parsed[0]


def _read_date_object(field: Field, value: Mapping[str, Any]) -> datetime:
    shape = _shape(field)
    hours = f"{value['hours']}:{int(value.get('minutes') or 0):02}{value.get('am_pm', '')}"
    at = dates.parse_time(hours) if value.get("hours") not in (None, "") else time()
    day = str(value.get("date") or "")
    if at is not None and not day and not dates.has_day(shape):
        return datetime.combine(dates.NO_DATE, at)
    parsed = dates.parse_moment(day, {**shape, "date_format": _day_style(shape)})
    if at is None or parsed is None:
        raise ValueError(f"{field['name']} must be a valid date.")
    return datetime.combine(parsed[0].date(), at)


def _day_style(shape: Mapping[str, Any]) -> str:
    style = str(shape.get("date_format", "mm/dd/yyyy"))
    return "mm/dd/yyyy" if style == "Ignore Date" else style


def _build_date_time(field: Field, value: Any, setting: Setting) -> Cell:
    end = None
    if isinstance(value, tuple):
        value, end = value
    elif isinstance(value, Mapping):
        end = value.get("to")
    shape = _shape(field)
    start = _read_moment(field, value, setting)
    raw = dates.build_date(start, shape)
    if not end:
        return dates.show_moment(start, shape), raw
    until = _read_moment(field, end, setting)
    return dates.show_range(start, until, shape), {**raw, "to": dates.build_date(until, shape)}


def _build_timer(field: Field, value: Any, setting: Setting) -> Cell:
    shape = _shape(field)
    spans = value["times"] if isinstance(value, Mapping) else [{"from": value[0], "to": value[1]}]
    times, shown, total = [], [], 0
    for span in spans:
        start, end = _read_moment(field, span["from"], setting), _read_moment(field, span["to"], setting)
        times.append({"from": dates.build_date(start, shape), "to": dates.build_date(end, shape)})
        total += int((end - start).total_seconds() * 1000)
        day = f"{start.month:02}/{start.day:02}/{start.year % 100:02}"
        shown.append(
            f"<span>{day}</span>&nbsp;{dates.show_time(start, shape)} to {dates.show_time(end, shape)}"
        )
    minutes = total // 60_000
    display = f"{'<br />'.join(shown)} = {minutes // 60}:{minutes % 60:02} hours"
    return display, {"times": times, "total_time": total}


def build_asset(
    kind: str, asset_id: str, name: str, size: int, field_key: str, setting: Setting
) -> dict[str, Any]:
    """The raw value of an uploaded file or image."""
    url = f"{setting.url}/v1/applications/{setting.app_id}/download/asset/{asset_id}"
    return {
        "id": asset_id,
        "application_id": setting.app_id,
        "s3": True,
        "type": kind,
        "filename": name,
        "url": f"{url}/{name}",
        "thumb_url": f"{url}/thumb_14/{name}" if kind == "image" else "",
        "size": size,
        "field_key": field_key,
    }


def _build_file(field: Field, value: Any, setting: Setting) -> Cell:
    kind, key = field["type"], field["key"]
    if kind == "image" and _shape(field).get("source") == "url":
        return f'<img src="{value}" />', str(value)
    asset_id = str(value["id"] if isinstance(value, Mapping) else value)
    if setting.find_asset is not None:
        known = setting.find_asset(asset_id)
        if known is None:
            raise ValueError(f"{field['name']}: there is no asset {asset_id}.")
        raw = {**known, "field_key": key}
    else:
        raw = {**value, "field_key": key}
    if kind == "image":
        return f'<img src="{raw["url"]}" />', raw
    display = (
        f'<a class="kn-view-asset" data-field-key="{key}" data-asset-id="{raw["id"]}" '
        f'data-file-name="{raw["filename"]}" href="{raw["url"]}">{raw["filename"]}</a>'
    )
    return display, raw


def _build_signature(field: Field, value: Any, setting: Setting) -> Cell:
    if not isinstance(value, Mapping):
        raise ValueError(f"{field['name']} must be a signature.")
    drawing = base64.b64encode(str(value.get("svg", "")).encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{drawing}" />', dict(value)


def show_connection(raw: list[dict[str, Any]]) -> str:
    """The display form of a connection: each identifier in a span whose class is the record's id."""
    return "<br />".join(f'<span class="{one["id"]}">{one["identifier"]}</span>' for one in raw)


def _build_connection(field: Field, value: Any, setting: Setting) -> Cell:
    listed = value if isinstance(value, list | tuple) else [value]
    ids = [str(one["id"] if isinstance(one, Mapping) else one) for one in listed]
    if len(ids) > 1 and not is_multiple(field):
        raise ValueError(f"{field['name']} takes one record.")
    raw = []
    for record_id in ids:
        identifier = setting.find_identifier(field["relationship"]["object"], record_id)
        if identifier is None:
            raise ValueError(f"{field['name']}: there is no record {record_id}.")
        raw.append({"id": record_id, "identifier": identifier})
    return show_connection(raw), raw


def _build_roles(field: Field, value: Any, setting: Setting) -> Cell:
    roles = [str(role) for role in (value if isinstance(value, list | tuple) else [value])]
    return "<br />".join(f'<span class="{role}">{role}</span>' for role in roles), roles


def _build_password(field: Field, value: Any, setting: Setting) -> Cell:
    return MASK, MASK


_BUILDERS: dict[str, Callable[[Field, Any, Setting], Cell]] = {
    "auto_increment": _build_auto,
    **dict.fromkeys(NUMBER_TYPES, _build_number),
    "currency": _build_currency,
    "rating": _build_rating,
    "boolean": _build_boolean,
    "multiple_choice": _build_choice,
    "name": _build_name,
    "email": _build_email,
    "link": _build_link,
    "phone": _build_phone,
    "address": _build_address,
    "date_time": _build_date_time,
    "timer": _build_timer,
    "file": _build_file,
    "image": _build_file,
    "signature": _build_signature,
    "connection": _build_connection,
    "user_roles": _build_roles,
    "password": _build_password,
}
