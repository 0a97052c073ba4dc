"""An invented field survey for the ODK simulator: households of a town, their trees, the damage on them, photos.

    with OdkSimulator() as odk:
        survey = build_survey(seed=1, households=200)
        survey.plant(odk)
        ... odk.url, survey.project, survey.form_id ...

The same seed gives the same survey, photos included.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from random import Random
from typing import Any

from dev.simulators.odk import OdkSimulator
from dev.simulators.odk.pictures import draw_picture

FORM_ID, TITLE = "household_trees", "Household and Tree Survey"
VERSION, NEXT_VERSION = "2026010501", "2026030201"

FIELDS: list[tuple[str, str]] = [
    ("start", "dateTime"),
    ("end", "dateTime"),
    ("today", "date"),
    ("deviceid", "string"),
    ("UUID", "string"),
    ("surveyor", "string"),
    ("visit/visit_date", "date"),
    ("visit/visit_time", "time"),
    ("visit/weather", "string"),
    ("visit/duration_min", "int"),
    ("household/respondent", "string"),
    ("household/phone", "string"),
    ("household/people", "int"),
    ("household/consent", "boolean"),
    ("household/languages", "select_multiple"),
    ("household/home/street", "string"),
    ("household/home/number", "string"),
    ("household/home/area_sqm", "decimal"),
    ("household/home/front_photo", "image"),
    ("place/location", "geopoint"),
    ("place/path_walked", "geotrace"),
    ("place/plot", "geoshape"),
    ("tree", "repeat"),
    ("tree/species", "string"),
    ("tree/girth_cm", "decimal"),
    ("tree/height_m", "decimal"),
    ("tree/planted_on", "date"),
    ("tree/uses", "select_multiple"),
    ("tree/position", "geopoint"),
    ("tree/photo", "image"),
    ("tree/damage", "repeat"),
    ("tree/damage/kind", "string"),
    ("tree/damage/severity", "int"),
    ("tree/damage/noticed_at", "dateTime"),
    ("tree/damage/photo", "image"),
    ("notes", "string"),
    ("meta/audit", "binary"),
    ("meta/instanceID", "string"),
    ("meta/instanceName", "string"),
]
# What the next version of the form adds.
MORE_FIELDS: list[tuple[str, str]] = [("household/wants_tree", "string"), ("tree/watered", "boolean")]

_ZONE = timezone(timedelta(hours=5))
_CENTER = (43.2565, 76.9285)
_STREETS = [
    "Abai Ave",
    "Satpayev St",
    "Zheltoksan St",
    "Tole bi St",
    "Gagarin Ave",
    "Mailin St",
    "Orbita Lane",
]
_PEOPLE = ["Aizhan", "Bolat", "Chen Li", "Dmitri", "Elena", "Gulnara", "José", "Ляззат", "Қайрат", "O'Brien"]
_SURVEYORS = ["Farida", "Marat", "Nurlan", "Sofia"]
_SPECIES = {
    "apple": (40, 5.0),
    "elm": (120, 14.0),
    "oak": (150, 16.0),
    "poplar": (170, 22.0),
    "birch": (80, 12.0),
}
_USES = ["shade", "fruit", "windbreak", "fuel", "bees"]
_LANGUAGES = ["kk", "ru", "en", "uz"]
_DAMAGE = ["fungus", "broken branch", "insects", "frost crack", "dog"]
_WEATHER = ["sunny", "cloudy", "rain", "snow"]
_NOTES = [
    "Quiet street",
    "Ремонт нужен 🙂",
    'Says "come back in spring"; gate is locked',
    "line one\nline two",
    "5 < 6 & 7 > 3",
    "  spaces kept  ",
]

Values = dict[str, Any]


@dataclass
class Visit:
    """One submission: its values as the form has them, and its files; `missing` ones are named and not sent."""

    instance_id: str
    at: datetime
    values: Values
    files: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    surveyor: str = ""


@dataclass
class Survey:
    """A whole survey, oldest visit first. project: where it was planted."""

    visits: list[Visit]
    form_id: str = FORM_ID
    project: int = 0

    def plant(self, odk: OdkSimulator, project: int | None = None) -> None:
        """Create the form (and a project) and send all visits, at their own times."""
        self.project = project if project is not None else odk.create_project("Green Town")
        odk.create_form(self.project, self.form_id, FIELDS, title=TITLE, version=VERSION)
        for visit in self.visits:
            self.send(odk, visit)

    def send(self, odk: OdkSimulator, visit: Visit) -> None:
        """Send one visit, with the files that are not missing."""
        odk.add_submission(
            self.project,
            self.form_id,
            visit.values,
            {name: content for name, content in visit.files.items() if name not in visit.missing},
            instance_id=visit.instance_id,
            submitter=odk.collector,
            device_id=f"collect:{visit.surveyor}",
            at=visit.at,
        )

    def edit(self, odk: OdkSimulator, visit: Visit, changes: Mapping[str, Any]) -> None:
        """Correct a visit. changes: top-level values that replace the old ones."""
        visit.values = {**visit.values, **changes}
        odk.edit_submission(self.project, self.form_id, visit.instance_id, visit.values)

    def publish_next(self, odk: OdkSimulator) -> None:
        """Publish the form's next version, which has more fields."""
        odk.publish_version(
            self.project, self.form_id, [*FIELDS, *MORE_FIELDS], version=NEXT_VERSION, title=TITLE
        )


def build_survey(
    seed: int = 0,
    households: int = 100,
    *,
    first_day: date = date(2026, 1, 5),
    photo_px: int = 24,
    missing_share: float = 0.05,
    photos: bool = True,
) -> Survey:
    """An invented survey.

    households: number of visits, about 40 a day from first_day on. photo_px: width and height of the pictures.
    missing_share: part of the files that are named and have not arrived. photos: False names none at all.
    """
    random = Random(f"survey {seed}")
    made = [_make_visit(random, number, first_day, photo_px, photos) for number in range(households)]
    for visit in made:
        visit.missing = [name for name in visit.files if random.random() < missing_share]
    return Survey(sorted(made, key=lambda visit: visit.at))


def _make_visit(random: Random, number: int, first_day: date, photo_px: int, photos: bool) -> Visit:
    day = first_day + timedelta(days=number // 40)
    start = datetime.combine(day, time(9), _ZONE) + timedelta(minutes=number % 40 * 12 + random.randrange(8))
    minutes = random.randrange(6, 50)
    end = start + timedelta(minutes=minutes, milliseconds=random.randrange(60_000))
    # Phones send when they have a network: minutes later, or days.
    late = random.choice([1, 2, 5, 30, 60 * 24]) + random.random()
    sent = (end + timedelta(minutes=late)).astimezone(UTC)
    surveyor = random.choice(_SURVEYORS)
    respondent = random.choice(_PEOPLE)
    location = _move(random, _CENTER, 4000)
    files: dict[str, bytes] = {}

    def take_photo(kind: str, share: float, end_with: str = "jpg") -> str | None:
        if not photos or random.random() > share:
            return None
        name = f"{kind}_{int(start.timestamp())}_{number}_{len(files)}.{end_with}"
        files[name] = draw_picture(name, photo_px)[0]
        return name

    trees = [
        _make_tree(random, location, day, take_photo) for _ in range(random.choice([0, 1, 1, 2, 2, 3, 5]))
    ]
    values: Values = {
        "start": _print(start),
        "end": _print(end),
        "today": day.isoformat(),
        "deviceid": f"collect:{surveyor}",
        "UUID": str(uuid.UUID(int=random.getrandbits(128), version=4)),
        "surveyor": surveyor,
        "visit": {
            "visit_date": day.isoformat(),
            "visit_time": start.strftime("%H:%M:%S.000+05:00"),
            "weather": random.choice(_WEATHER),
            "duration_min": minutes,
        },
        "household": {
            "respondent": respondent,
            "phone": f"+7 7{random.randrange(10**8, 10**9)}" if random.random() < 0.7 else None,
            "people": random.randrange(1, 9),
            "consent": random.random() < 0.9,
            "languages": _choose(random, _LANGUAGES),
            "home": {
                "street": random.choice(_STREETS),
                "number": f"{random.randrange(1, 200)}{random.choice(['', '', 'a', '/2'])}",
                "area_sqm": round(random.uniform(28, 240), 2),
                "front_photo": take_photo("home", 0.8),
            },
        },
        "place": {
            "location": _print_position(location, random.uniform(600, 900), random.uniform(1, 12)),
            "path_walked": _make_path(random, location) if random.random() < 0.5 else None,
            "plot": _make_plot(random, location) if random.random() < 0.6 else None,
        },
        "tree": trees,
        "notes": random.choice(_NOTES) if random.random() < 0.3 else None,
        "meta": {
            "audit": take_photo("audit", 0.1, "csv"),
            "instanceName": f"{respondent} - {day.isoformat()}",
        },
    }
    instance_id = f"uuid:{uuid.UUID(int=random.getrandbits(128), version=4)}"
    values["meta"]["instanceID"] = instance_id
    return Visit(instance_id, sent, values, files, surveyor=surveyor)


def _make_tree(random: Random, home: tuple[float, float], day: date, take_photo: Any) -> Values:
    species, (girth, height) = random.choice(list(_SPECIES.items()))
    age = random.uniform(0.2, 1.4)
    tree: Values = {
        "species": species,
        "girth_cm": round(girth * age, 1),
        "height_m": round(height * age, 2),
        "planted_on": (day - timedelta(days=int(age * 9000))).isoformat() if random.random() < 0.8 else None,
        "uses": _choose(random, _USES),
        "position": _print_position(_move(random, home, 40), 700.0, random.uniform(1, 9)),
        "photo": take_photo("tree", 0.6, "png"),
    }
    if random.random() < 0.35:
        tree["damage"] = [
            {
                "kind": random.choice(_DAMAGE),
                "severity": random.randrange(1, 6),
                "noticed_at": f"{day.isoformat()}T{random.randrange(9, 18):02d}:00:00.000+05:00",
                "photo": take_photo("damage", 0.3),
            }
            for _ in range(random.randrange(1, 4))
        ]
    return tree


def _choose(random: Random, options: Sequence[str]) -> list[str]:
    return [option for option in options if random.random() < 0.45]


def _print(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _move(random: Random, start: tuple[float, float], meters: float) -> tuple[float, float]:
    """A place at most so far away, as (latitude, longitude)."""
    angle, far = random.uniform(0, 2 * math.pi), meters * math.sqrt(random.random())
    north, east = far * math.cos(angle), far * math.sin(angle)
    return (
        round(start[0] + north / 111_320, 7),
        round(start[1] + east / (111_320 * math.cos(math.radians(start[0]))), 7),
    )


def _print_position(place: tuple[float, float], altitude: float, accuracy: float) -> str:
    return f"{place[0]:.7f} {place[1]:.7f} {altitude:.1f} {accuracy:.2f}"


def _make_path(random: Random, home: tuple[float, float]) -> str:
    places = [_move(random, home, 60) for _ in range(random.randrange(2, 7))]
    return ";".join(f"{latitude:.6f} {longitude:.6f} 0 0" for latitude, longitude in places)


def _make_plot(random: Random, home: tuple[float, float]) -> str:
    """A closed shape around the home: corners in the order of their angle, so that sides do not cross."""
    corners = []
    count = random.randrange(4, 8)
    for index in range(count):
        angle = 2 * math.pi * index / count
        far = random.uniform(10, 30)
        latitude = home[0] + far * math.cos(angle) / 111_320
        longitude = home[1] + far * math.sin(angle) / (111_320 * math.cos(math.radians(home[0])))
        corners.append(f"{latitude:.6f} {longitude:.6f} 0 0")
    return ";".join([*corners, corners[0]])
