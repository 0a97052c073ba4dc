"""Records for any fields: believable values, blanks in each of Knack's ways, and text that breaks things."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from dev.simulators.knack import values
from dev.simulators.knack.values import Cell, Field, Setting

# The time at which the invented city stands still: the app's own wall clock.
NOW = datetime(2025, 11, 3, 9, 30)

FIRST = ("Ana", "Ben", "Chloé", "Dmitri", "Ngozi", "José", "Kofi", "Mei", "Zoë", "Siobhán", "Ada", "Jun")
LAST = ("Ruiz", "Dvořák", "O'Neill", "Smith-Jones", "Castellanos", "Nguyễn", "Okafor", "Łódzki", "Wu", "Lee")
STREETS = (
    "Lamar Blvd",
    "Guadalupe St",
    "Burnet Rd",
    "Congress Ave",
    "Riverside Dr",
    "Slaughter Ln",
    "1st St",
)
# fmt: off
WORDS = (
    "signal", "cabinet", "controller", "loop", "detector", "pole", "mast", "arm", "conduit", "fiber",
    "switch", "radio", "camera", "sensor", "flasher", "pedestrian", "button", "crosswalk", "sign",
    "island", "bollard", "north", "south", "east", "west", "upper", "lower", "old", "new", "replaced",
    "tested", "cleaned", "wired", "mounted", "inspected", "leaning", "flooded", "faded", "loose",
    "timed", "repaired",
)
# fmt: on
NASTY = (
    'he said "stop", then left',
    "comma, semicolon; pipe|tab\tend",
    "two\nlines\r\nand a third",
    "<b>bold</b> & <script>alert('x')</script>",
    "O'Neill -- '; drop table records;",
    "back\\slash \\n \\u0041",
    "東京 Łódź façade—dash “quoted” naïve 🚦",
    "a\u00a0b\u200bc\u2028d",
    "=1+1",
    "NULL",
    " leading and trailing ",
    "{}[]%s{0}$HOME",
    "e\u0301 é",
    "0012",
    "2025-03-09",
)


def make_text(random: Random, words: int, nasty: float, nul: bool = False) -> str:
    """Some words, with a nasty piece among them at the given share. nul: U+0000 is among the pieces."""
    said = random.choices(WORDS, k=words)
    if random.random() < nasty:
        pieces = (*NASTY, "nul\x00byte") if nul else NASTY
        said.insert(random.randrange(len(said) + 1), random.choice(pieces))
    text = " ".join(said)
    return text[:1].upper() + text[1:]


def make_moment(random: Random, days: int = 730) -> datetime:
    """A minute within the days before NOW."""
    return NOW - timedelta(minutes=random.randrange(days * 24 * 60))


def make_person(random: Random) -> dict[str, str]:
    """A name, now and then with a middle part and a title."""
    name = {"first": random.choice(FIRST), "last": random.choice(LAST)}
    if random.random() < 0.3:
        name["middle"] = random.choice(FIRST)
    if random.random() < 0.1:
        name["title"] = random.choice(("Mr.", "Dr."))
    return name


def make_address(random: Random, field: Field, nasty: float = 0.0) -> dict[str, Any]:
    """An address. Of a geocoded field with coordinates, now and then with nothing else: numbers, and at the
    nasty share strings or "".
    """
    shape = field.get("format") or {}
    where: dict[str, Any] = {}
    if shape.get("enable_geocoding") or shape.get("input") == "lat_long":
        where["latitude"] = round(random.uniform(30.10, 30.52), 6)
        where["longitude"] = round(random.uniform(-97.94, -97.56), 6)
        if random.random() < nasty:
            as_text = random.random() < 0.5
            where = {part: str(place) if as_text else "" for part, place in where.items()}
        if random.random() < 0.1:
            return where
    where["street"] = f"{random.randrange(100, 9900)} {random.choice(STREETS)}"
    if random.random() < 0.2:
        where["street2"] = f"Suite {random.randrange(1, 40)}"
    abroad = shape.get("format") == "international_country"
    where.update(city="Austin", state="Texas" if abroad else "TX", zip=f"787{random.randrange(1, 60):02}")
    if abroad:
        where["country"] = "United States"
    return where


def _make_path(random: Random) -> str:
    steps = random.choices(range(-9, 10), k=24)
    return "M 5 40 l " + " l ".join(f"{x} {y}" for x, y in zip(steps[::2], steps[1::2], strict=True))


def _make_signature(random: Random) -> dict[str, str]:
    drawing = f'<path d="{_make_path(random)}" fill="none" stroke="rgb(20, 20, 20)"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="80">{drawing}</svg>'
    base30 = "".join(random.choices("0123456789abcdeYZ_", k=90))
    return {"base30": base30, "svg": f'<?xml version="1.0"?>{svg}'}


def _make_date(random: Random, field: Field) -> Any:
    shape = field.get("format") or {}
    at = make_moment(random)
    if random.random() < 0.1:
        at = at.replace(hour=random.choice((0, 12)))
    if shape.get("time_format") == "Ignore Time":
        return at.date() if not shape.get("calendar") else (at.date(), at.date() + timedelta(days=3))
    if shape.get("calendar") and random.random() < 0.8:
        return at, at + timedelta(minutes=random.randrange(15, 3000))
    return at.time() if shape.get("date_format") == "Ignore Date" else at


def _make_rich_text(random: Random, nasty: float, nul: bool) -> str:
    items = "".join(f"<li>{make_text(random, 4, nasty, nul)}</li>" for _ in range(random.randrange(1, 4)))
    return f"<p><strong>{make_text(random, 3, nasty, nul)}</strong></p><ul>{items}</ul>"


def _make_file(random: Random, field: Field, setting: Setting) -> Any:
    name = f"{random.choice(WORDS)}_{random.randrange(1000)}"
    if (field.get("format") or {}).get("source") == "url":
        return f"https://example.org/img/{name}.png"
    asset_id = f"{random.getrandbits(96):024x}"
    kind = field["type"]
    full = f"{name}.{'jpg' if kind == 'image' else 'pdf'}"
    return values.build_asset(kind, asset_id, full, random.randrange(1, 5_000_000), field["key"], setting)


def make_value(random: Random, field: Field, *, nasty: float, nul: bool, setting: Setting) -> Any:
    """A value of the field's type, as `values.build_cell` takes it; not for connections."""
    kind = field["type"]
    options = (field.get("format") or {}).get("options") or ["active", "inactive"]
    numbers: dict[str, Callable[[], Any]] = {
        "auto_increment": lambda: random.randrange(1, 10_000),
        "count": lambda: random.randrange(60),
        "rating": lambda: random.randrange(6),
        "currency": lambda: random.randrange(20_000_000) / 100,
        "equation": lambda: round(random.uniform(0, 4000), 8),
        "number": lambda: random.choice((random.randrange(50_000), round(random.uniform(-50, 9999), 2))),
    }
    if kind in numbers:
        return numbers[kind]()
    if kind in values.NUMBER_TYPES:
        return round(random.uniform(0, 9000), 2)
    if kind == "paragraph_text":
        return make_text(random, random.randrange(5, 40), nasty, nul)
    if kind == "rich_text":
        return _make_rich_text(random, nasty, nul)
    if kind == "boolean":
        return random.random() < 0.5
    if kind == "multiple_choice" and values.is_multiple(field):
        return random.sample(options, random.randrange(1, len(options) + 1))
    if kind == "multiple_choice":
        return random.choice(options)
    if kind == "date_time":
        return _make_date(random, field)
    if kind == "timer":
        start = make_moment(random)
        return start, start + timedelta(minutes=random.choice((15, 30, 90, 480)))
    if kind in ("file", "image"):
        return _make_file(random, field, setting)
    if kind == "name":
        return make_person(random)
    if kind == "email":
        address = {"email": f"{random.choice(FIRST).lower()}.{random.randrange(900)}@example.org"}
        return {**address, "label": "Write to us"} if random.random() < 0.1 else address
    if kind == "phone":
        number = f"512{random.randrange(2_000_000, 9_999_999)}"
        return f"{number} x{random.randrange(100, 999)}" if random.random() < 0.1 else number
    if kind == "link":
        link = {"url": f"https://example.org/{random.choice(WORDS)}?id={random.randrange(900)}&x=1"}
        return {**link, "label": "See the case"} if random.random() < 0.1 else link
    if kind == "address":
        return make_address(random, field, nasty)
    if kind == "signature":
        return _make_signature(random)
    if kind == "user_roles":
        return [f"profile_{number}" for number in random.sample(range(2, 9), random.randrange(1, 3))]
    if kind == "password":
        return "secret"
    return make_text(random, random.randrange(1, 6), nasty, nul)


def make_cell(
    random: Random,
    field: Field,
    *,
    nasty: float = 0.3,
    nul: bool = False,
    connected: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    setting: Setting | None = None,
) -> Cell:
    """(display, raw) of a filled field; connections draw from `connected`, or name records that are not."""
    setting = setting or Setting()
    if field["type"] != "connection":
        value = make_value(random, field, nasty=nasty, nul=nul, setting=setting)
        return values.build_cell(field, value, setting)
    known = list((connected or {}).get(field["relationship"]["object"], ()))
    if connected is None:
        known = [(f"{random.getrandbits(96):024x}", make_text(random, 2, nasty, nul)) for _ in range(4)]
    many = values.is_multiple(field) and len(known) > 1
    chosen = random.sample(known, random.randrange(1, min(len(known), 4) + 1) if many else min(len(known), 1))
    if not chosen:
        return values.blank_cell(field)
    raw = [{"id": one, "identifier": words} for one, words in chosen]
    return values.show_connection(raw), raw


def blank_oddly(random: Random, field: Field) -> Cell:
    """A blank in one of the other ways that clients have met: a raw half of "", null, [] or [null]."""
    raws: list[Any] = ["", None, []]
    if field["type"] == "multiple_choice":
        raws.append([None])
    return "", random.choice(raws)


def make_record(
    random: Random,
    fields: Sequence[Field],
    *,
    record_id: str | None = None,
    blank: Collection[str] = (),
    blank_share: float = 0.15,
    nasty: float = 0.3,
    nul: bool = False,
    odd_blanks: bool = False,
    connected: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    setting: Setting | None = None,
) -> dict[str, Any]:
    """A record of `both` format with every one of the fields, blank or filled.

    Args:
        random: the only source of chance: the same state gives the same record.
        blank: keys of fields that are blank; numbers and yes/no then hold 0 and No, as in Knack.
            auto_increment is never blank.
        blank_share: the share of the other fields that are blank too.
        nasty: the share of texts with a piece that breaks careless code, and of coordinates that are no
            numbers. nul: U+0000 may be among them.
        odd_blanks: blanks may also come in the ways of `blank_oddly`, for every type but auto_increment.
        connected: {object key: (record id, identifier) of its records}; None invents them.
        setting: app id and host for asset URLs, time zone.
    """
    record: dict[str, Any] = {"id": record_id or f"{random.getrandbits(96):024x}"}
    for field in fields:
        empty = field["key"] in blank or random.random() < blank_share
        if not empty or field["type"] == "auto_increment":
            cell = make_cell(random, field, nasty=nasty, nul=nul, connected=connected, setting=setting)
        elif odd_blanks and random.random() < 0.5:
            cell = blank_oddly(random, field)
        else:
            cell = values.blank_cell(field)
        values.set_cell(record, field["key"], cell)
    return record
