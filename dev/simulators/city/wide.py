"""Many records of many fields, made fast: for measuring, not for reading."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec

from dev.simulators.city.apps import make_column, make_metadata, make_object, make_scene, make_table
from dev.simulators.city.fields import make_field
from dev.simulators.city.records import NOW, WORDS, make_cell
from dev.simulators.knack.values import ABSENT, Cell, Setting, blank_cell, build_cell

WIDE = "object_90"
WIDE_VIEW, WIDE_SCENE = "view_90", "scene_90"
NUMBER, MODIFIED, PLACE = "field_900", "field_901", "field_902"

_POOL = 61
_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("paragraph_text", {}),
    ("short_text", {}),
    ("number", {}),
    ("multiple_choice", {}),
    ("date_time", {}),
    ("connection", {}),
    ("boolean", {}),
    ("link", {}),
    ("currency", {}),
    ("multiple_choice", {"format": {"type": "multi"}}),
    ("email", {}),
    ("name", {}),
    ("phone", {}),
    ("connection", {"many": True}),
    ("file", {}),
    ("date_time", {"format": {"time_format": "Ignore Time"}}),
    ("equation", {}),
    ("rating", {}),
    ("concatenation", {}),
]


def _make_fields(fields: int) -> list[dict[str, Any]]:
    made = [
        make_field(NUMBER, "Number", "auto_increment", WIDE),
        make_field(MODIFIED, "Modified Date", "date_time", WIDE),
        make_field(PLACE, "Place", "address", WIDE, format={"input": "lat_long", "enable_geocoding": True}),
    ]
    for place in range(3, fields):
        kind, extras = _KINDS[(place - 3) % len(_KINDS)]
        made.append(
            make_field(f"field_{900 + place}", f"{kind} {place}", kind, WIDE, **{"to": WIDE, **extras})
        )
    return made[:fields]


def build_wide_app(fields: int = 40, records: int = 0) -> dict[str, Any]:
    """Metadata of an app with the one object WIDE and a view of all its fields; sorted by NUMBER."""
    made = _make_fields(fields)
    wide = make_object(WIDE, "wide", made, identifier=NUMBER, sort=NUMBER)
    columns = [make_column(one, WIDE) for one in made]
    view = make_table(WIDE_VIEW, "wide view", WIDE, columns, sort=(NUMBER, "asc"))
    return make_metadata(
        "Wide", "samplecity", [wide], [make_scene(WIDE_SCENE, "API", [view])], {WIDE: records}
    )


def wide_records(count: int, fields: int = 40, *, size: int = 7300, seed: int = 1) -> Iterator[bytes]:
    """Records of `build_wide_app`'s object, as the JSON bytes that Knack would send.

    Args:
        size: the mean number of bytes of a record; never less than the fields need without long texts.

    NUMBER is 1, 2, 3 ...; MODIFIED falls in the two years before the city's NOW, later for later records.
    """
    random = Random(seed)
    made = _make_fields(fields)
    pools = [_encode_pool(random, one) for one in made[2:] if one["type"] != "paragraph_text"]
    long = [one for one in made[2:] if one["type"] == "paragraph_text"]
    plain = sum(sum(map(len, pool)) / len(pool) + 1 for pool in pools) + 520
    # A text stands in a record twice: as display and as raw.
    share = max(4, int((size - plain) / max(1, len(long)) / 2) - 20)
    pools += [[_encode(one, (text, text)) for text in _make_texts(random, share)] for one in long]
    step = timedelta(days=730) / max(1, count)
    setting = Setting()
    for number in range(1, count + 1):
        at = _to_minute(NOW - timedelta(days=730) + step * number)
        own = [
            b'{"id":"%08x%016x"' % (0x5E000000 + number, random.getrandbits(64)),
            _encode(made[0], (number, number)),
        ]
        if fields > 1:
            own.append(_encode(made[1], build_cell(made[1], at, setting)))
        drawn = [pool[random.randrange(_POOL)] for pool in pools]
        yield b",".join(own + drawn) + b"}"


def _to_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _encode(field: dict[str, Any], cell: Cell) -> bytes:
    """A cell as the part of a JSON object that it is."""
    part = {field["key"]: cell[0]}
    if cell[1] is not ABSENT:
        part[f"{field['key']}_raw"] = cell[1]
    return msgspec.json.encode(part)[1:-1]


def _encode_pool(random: Random, field: dict[str, Any]) -> list[bytes]:
    filled = [make_cell(random, field, nasty=0.1) for _ in range(_POOL - 6)]
    return [_encode(field, cell) for cell in [*filled, *[blank_cell(field)] * 6]]


def _make_texts(random: Random, length: int) -> list[str]:
    texts = []
    for _ in range(_POOL):
        text, wanted = "", int(length * random.uniform(0.7, 1.3))
        while len(text) < wanted:
            text += random.choice(WORDS) + " "
        texts.append(text[:wanted])
    return texts
