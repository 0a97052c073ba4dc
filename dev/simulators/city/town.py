"""The invented city: who works there, its places, its signals and the work orders on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any

from dev.simulators.city import records as maker
from dev.simulators.city.apps import make_column, make_metadata, make_object, make_scene, make_table
from dev.simulators.city.fields import make_field, make_id
from dev.simulators.knack.values import ABSENT, Setting, build_cell, set_cell

ACCOUNTS, LOCATIONS, SIGNALS, WORK_ORDERS = "object_1", "object_11", "object_12", "object_31"
# view key -> scene key
SIGNALS_VIEW, WORK_ORDERS_VIEW, LOCATIONS_VIEW = "view_200", "view_300", "view_400"
SCENES = {SIGNALS_VIEW: "scene_50", WORK_ORDERS_VIEW: "scene_51", LOCATIONS_VIEW: "scene_52"}

_DAY = {"time_format": "Ignore Time"}
_PLACE = {"input": "lat_long", "enable_geocoding": True}
_STATES = ["ASSIGNED", "IN PROGRESS", "SUBMITTED", "CLOSED"]

# object key -> (number of its first field, [(name, type, extras)])
_FIELDS: dict[str, tuple[int, list[tuple[str, str, dict[str, Any]]]]] = {
    ACCOUNTS: (
        1,
        [
            ("Name", "name", {"user": True}),
            ("Email", "email", {"user": True, "required": True, "unique": True}),
            ("Password", "password", {"user": True, "required": True}),
            ("User Status", "multiple_choice", {"user": True, "format": {"options": ["active", "inactive"]}}),
            ("User Roles", "user_roles", {"user": True}),
        ],
    ),
    LOCATIONS: (
        210,
        [
            ("Location Number", "auto_increment", {}),
            ("Location Name", "short_text", {"required": True}),
            ("Location", "address", {"format": _PLACE}),
            (
                "Council District",
                "multiple_choice",
                {"format": {"options": [str(number) for number in range(1, 11)]}},
            ),
            ("ID", "short_text", {"unique": True}),
            ("Modified Date", "date_time", {}),
            ("Signalized", "boolean", {}),
            ("Lanes", "number", {}),
            ("Notes", "paragraph_text", {}),
            ("Signals", "count", {}),
            ("Photo", "image", {}),
        ],
    ),
    SIGNALS: (
        240,
        [
            ("SIGNAL_ID", "auto_increment", {}),
            (
                "Signal Type",
                "multiple_choice",
                {"format": {"options": ["TRAFFIC", "PHB", "BEACON", "SCHOOL ZONE"]}},
            ),
            ("Signal Name", "short_text", {"required": True}),
            ("Location", "connection", {"to": LOCATIONS}),
            (
                "Signal Status",
                "multiple_choice",
                {"format": {"options": ["TURNED_ON", "DESIGN", "CONSTRUCTION", "REMOVED"]}},
            ),
            ("Turn On Date", "date_time", {"format": _DAY}),
            ("Modified Date", "date_time", {}),
            ("Timing Sheet", "link", {}),
            ("Install Cost", "currency", {}),
            ("Condition", "rating", {}),
            ("Work Orders", "count", {}),
            ("Labor Hours Total", "sum", {}),
            ("Labor Hours Average", "average", {}),
            ("Labor Hours Lowest", "min", {}),
            ("Labor Hours Highest", "max", {}),
            ("Cabinet Photo", "image", {"format": {"source": "url"}}),
        ],
    ),
    WORK_ORDERS: (
        300,
        [
            ("Work Order Number", "auto_increment", {}),
            ("Title", "short_text", {"required": True}),
            ("Problem Description", "paragraph_text", {}),
            ("Report", "rich_text", {}),
            ("Priority", "number", {}),
            ("Parts Cost", "currency", {}),
            ("Cost With Overhead", "equation", {"format": {"equation": "{field_305}*1.2"}}),
            ("Work Quality", "rating", {}),
            ("Closed", "boolean", {}),
            ("Status", "multiple_choice", {"format": {"options": _STATES}}),
            (
                "Causes",
                "multiple_choice",
                {
                    "format": {
                        "type": "multi",
                        "options": ["Weather", "Crash", "Age", "Vandalism", "Cable, cut"],
                    }
                },
            ),
            ("Created Date", "date_time", {"format": {"time_format": "HH MM (military)"}}),
            ("Due", "date_time", {"format": _DAY}),
            ("Crew Start", "date_time", {"format": {"date_format": "Ignore Date"}}),
            ("Warranty Ends", "date_time", {"format": {**_DAY, "date_format": "dd/mm/yyyy"}}),
            ("Lane Closure", "date_time", {"format": {"calendar": True}}),
            ("Time On Site", "timer", {}),
            ("Checklist", "file", {}),
            ("Photo", "image", {}),
            ("Case Link", "link", {}),
            ("Requester Email", "email", {}),
            ("Requester Phone", "phone", {}),
            ("Requester", "name", {"format": {"format": "Last, First Middle"}}),
            ("Mailing Address", "address", {}),
            ("Supervisor Signature", "signature", {}),
            ("Signal", "connection", {"to": SIGNALS}),
            ("Nearby Locations", "connection", {"to": LOCATIONS, "many": True}),
            ("Technicians", "connection", {"to": ACCOUNTS, "many": True}),
            ("Label", "concatenation", {"format": {"equation": "{field_300} - {field_301}"}}),
            ("Photos", "count", {}),
            ("Labor Hours", "sum", {}),
            ("id", "short_text", {}),
            ("Comments", "paragraph_text", {}),
            # Two fields of one name, as Knack allows.
            ("Comments", "short_text", {}),
            ("Mileage", "number", {"format": {"mark_thousands": "comma"}}),
            ("Modified Date", "date_time", {}),
        ],
    ),
}


@dataclass
class City:
    """metadata: the whole document. records: {object key: records in `both` format, oldest first}."""

    metadata: dict[str, Any]
    records: dict[str, list[dict[str, Any]]]
    fields: dict[str, list[dict[str, Any]]] = field(repr=False)

    @property
    def app_id(self) -> str:
        """The app's id."""
        return str(self.metadata["application"]["id"])

    def key(self, object_key: str, name: str) -> str:
        """The key of an object's field by its name; of two fields of one name the first."""
        return next(str(one["key"]) for one in self.fields[object_key] if one["name"] == name)


def build_city(
    seed: int = 1, *, accounts: int = 24, locations: int = 300, signals: int = 400, work_orders: int = 3000
) -> City:
    """A city of the given size; the same seed gives the same one. Times end at `records.NOW`."""
    random = Random(seed)
    fields = {
        key: [
            make_field(f"field_{first + place}", name, kind, key, **extras)
            for place, (name, kind, extras) in enumerate(listed)
        ]
        for key, (first, listed) in _FIELDS.items()
    }
    builder = _Builder(random, fields, Setting(make_id("app", "Traffic Operations")))
    builder.add(ACCOUNTS, accounts, builder.describe_account, "Name")
    builder.add(LOCATIONS, locations, builder.describe_location, "Location Name")
    builder.add(SIGNALS, signals, builder.describe_signal, "Signal Name")
    builder.add(WORK_ORDERS, work_orders, builder.describe_work_order, "Label")
    builder.count_up()
    counts = {key: len(held) for key, held in builder.records.items()}
    objects = _make_objects(fields)
    metadata = make_metadata("Traffic Operations", "samplecity", objects, _make_scenes(fields), counts)
    return City(metadata, builder.records, fields)


class _Builder:
    """Adds records object by object; later ones connect to earlier ones."""

    def __init__(self, random: Random, fields: dict[str, list[dict[str, Any]]], setting: Setting) -> None:
        self.random = random
        self.fields = fields
        self.setting = setting
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.connected: dict[str, list[tuple[str, str]]] = {}

    def add(
        self, object_key: str, count: int, describe: Callable[[int], dict[str, Any]], identifier: str
    ) -> None:
        """Make `count` records: `describe` says the values that must make sense, chance gives the rest."""
        random, fields = self.random, self.fields[object_key]
        known = next(one["key"] for one in fields if one["name"] == identifier)
        held = self.records[object_key] = []
        self.connected[object_key] = []
        for number in range(1, count + 1):
            said = describe(number)
            others = [one for one in fields if one["name"] not in said]
            made = maker.make_record(
                random,
                others,
                record_id=f"{0x5D000000 + number:08x}{random.getrandbits(64):016x}",
                nasty=0.06,
                connected=self.connected,
                setting=self.setting,
            )
            record: dict[str, Any] = {"id": made["id"]}
            for one in fields:
                key = one["key"]
                if one["name"] in said:
                    cell = build_cell(one, said[one["name"]], self.setting)
                else:
                    cell = made[key], made.get(f"{key}_raw", ABSENT)
                set_cell(record, key, cell)
            held.append(record)
            self.connected[object_key].append((record["id"], str(record[known])))

    def describe_account(self, number: int) -> dict[str, Any]:
        """A person of the crews."""
        name = maker.make_person(self.random)
        return {
            "Name": name,
            "Email": f"{name['first'].lower()}.{number}@example.org",
            "User Status": "active" if self.random.random() < 0.9 else "inactive",
        }

    def describe_location(self, number: int) -> dict[str, Any]:
        """A crossing of two streets."""
        random = self.random
        one, other = random.sample(maker.STREETS, 2)
        place = maker.make_address(random, {"format": _PLACE}, nasty=0.03)
        return {
            "Location Number": number,
            "Location Name": f"{one.upper()} / {other.upper()}",
            "Location": place if random.random() < 0.97 else None,
            "ID": f"LOC{random.randrange(10, 99)}-{number:06}",
            "Modified Date": self._stamp(maker.make_moment(random)),
            "Lanes": random.randrange(2, 9),
            "Signals": 0,
        }

    def describe_signal(self, number: int) -> dict[str, Any]:
        """A signal at a location."""
        random = self.random
        place = random.choice(self.connected[LOCATIONS]) if random.random() < 0.96 else None
        on = random.random() < 0.8
        return {
            "SIGNAL_ID": number,
            "Signal Name": place[1] if place else f"Unplaced signal {number}",
            "Location": self._connect(LOCATIONS, place),
            "Signal Status": "TURNED_ON" if on else random.choice(("DESIGN", "CONSTRUCTION", "REMOVED")),
            "Turn On Date": date(1990, 1, 1) + timedelta(days=random.randrange(12_500)) if on else None,
            "Modified Date": self._stamp(maker.make_moment(random)),
            **dict.fromkeys(("Work Orders", "Labor Hours Total", "Labor Hours Average"), 0),
            **dict.fromkeys(("Labor Hours Lowest", "Labor Hours Highest"), 0),
        }

    def describe_work_order(self, number: int) -> dict[str, Any]:
        """A job on a signal, made on one day and worked on later."""
        random = self.random
        made = maker.make_moment(random)
        changed = min(made + timedelta(minutes=random.randrange(60 * 24 * 60)), maker.NOW)
        status = random.choice(_STATES)
        title = maker.make_text(random, 3, 0.04)
        cost = random.randrange(500_000) / 100 if random.random() < 0.7 else None
        return {
            "Work Order Number": number,
            "Title": title,
            "Priority": random.randrange(1, 6),
            "Parts Cost": cost,
            "Cost With Overhead": round((cost or 0) * 1.2, 4),
            "Closed": status == "CLOSED",
            "Status": status,
            "Created Date": made,
            "Signal": self._connect(SIGNALS, random.choice(self.connected[SIGNALS])),
            "Label": f"{number} - {title}",
            "Labor Hours": round(random.uniform(0.25, 16), 2),
            "Modified Date": self._stamp(changed),
        }

    def count_up(self) -> None:
        """Let counts and sums of signals and locations agree with what is connected to them."""
        signals_at: dict[str, int] = {}
        hours: dict[str, list[float]] = {}
        for signal in self.records[SIGNALS]:
            for link in signal["field_243_raw"]:
                signals_at[link["id"]] = signals_at.get(link["id"], 0) + 1
        for order in self.records[WORK_ORDERS]:
            for link in order["field_325_raw"]:
                hours.setdefault(link["id"], []).append(order["field_330_raw"])
        for location in self.records[LOCATIONS]:
            location["field_219"] = location["field_219_raw"] = signals_at.get(location["id"], 0)
        for signal in self.records[SIGNALS]:
            worked = hours.get(signal["id"])
            if worked:
                total = round(sum(worked), 2)
                numbers = (len(worked), total, round(total / len(worked), 8), min(worked), max(worked))
                for key, number in zip(range(250, 255), numbers, strict=True):
                    signal[f"field_{key}"] = signal[f"field_{key}_raw"] = number

    def _stamp(self, at: Any) -> Any:
        """A modified date; a few records were never stamped."""
        return at if self.random.random() < 0.98 else None

    def _connect(self, object_key: str, one: tuple[str, str] | None) -> list[str] | None:
        if one is None:
            return None
        self.setting.find_identifier = lambda _object, record_id: dict([one]).get(record_id)
        return [one[0]]


def _make_objects(fields: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        make_object(ACCOUNTS, "Accounts", fields[ACCOUNTS], user=True),
        make_object(LOCATIONS, "locations", fields[LOCATIONS], identifier="field_211", sort="field_210"),
        make_object(SIGNALS, "signals", fields[SIGNALS], identifier="field_242", sort="field_240"),
        make_object(
            WORK_ORDERS, "work_orders", fields[WORK_ORDERS], identifier="field_328", sort="field_300"
        ),
    ]


def _make_scenes(fields: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    known = {one["key"]: one for listed in fields.values() for one in listed}

    def columns(object_key: str, *numbers: int, through: str = "") -> list[dict[str, Any]]:
        return [make_column(known[f"field_{number}"], object_key, through) for number in numbers]

    edit = {"header": "Edit", "type": "link", "link_text": "Edit", "scene": "edit-work-order"}
    signals = make_table(
        SIGNALS_VIEW,
        "Signals for publishing",
        SIGNALS,
        [
            *columns(SIGNALS, 240, 241, 242, 244, 245, 246, 247, 248, 250, 243),
            *columns(LOCATIONS, 212, 211, 213, through="field_243"),
            edit,
        ],
        sort=("field_240", "asc"),
        rules=[{"field": "field_244", "operator": "is", "value": "TURNED_ON"}],
    )
    # Sorted by a date that edits change, and named like its object.
    orders = make_table(
        WORK_ORDERS_VIEW,
        "work_orders",
        WORK_ORDERS,
        [
            *columns(WORK_ORDERS, *range(300, 315), 316, 319, 325, 326, 328, 330, 335),
            *columns(SIGNALS, 242, through="field_325"),
            *columns(LOCATIONS, 212, through="field_326"),
            edit,
        ],
        sort=("field_335", "desc"),
    )
    locations = make_table(
        LOCATIONS_VIEW,
        "locations map",
        LOCATIONS,
        columns(LOCATIONS, *range(210, 218)),
        sort=("field_210", "asc"),
    )
    form = {
        "key": "view_501",
        "name": "Edit work order",
        "type": "form",
        "_id": make_id("view_501"),
        "action": "update",
        "source": {"object": WORK_ORDERS},
        "groups": [],
        "title": "Edit",
    }
    details = {
        "key": "view_502",
        "name": "Work order",
        "type": "details",
        "_id": make_id("view_502"),
        "source": {"object": WORK_ORDERS},
        "columns": [{"groups": []}],
        "title": "Details",
    }
    return [
        make_scene(SCENES[SIGNALS_VIEW], "API Signals", [signals]),
        make_scene(SCENES[WORK_ORDERS_VIEW], "API Work Orders", [orders]),
        make_scene(SCENES[LOCATIONS_VIEW], "Public Map", [locations], authenticated=False),
        make_scene(
            "scene_53", "Edit Work Order", [form, details], authenticated=None, parent="api-work-orders"
        ),
    ]
