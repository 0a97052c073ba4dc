"""records_to_knack.py: the signals of one simulated Knack app copied to the assets of another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dev.simulators.base import Request
from dev.simulators.city.apps import make_metadata, make_object
from dev.simulators.city.fields import make_field
from dev.simulators.knack import KnackSimulator, values
from tests.forks import Done, ForkServer
from tests.scripts.conftest import APP, Way

SIGNALS, ASSETS, PLACES = "object_12", "object_1", "object_2"
POSTS = f"/v1/objects/{ASSETS}/records"
KINDS = {"TRAFFIC": "Signal", "PHB": "Crossing", "BEACON": "Beacon", "SCHOOL ZONE": "School"}
MAP: list[dict[str, Any]] = [
    {"src": "field_240_raw", "assets": "field_2", "primary_key": True},
    {"src": "field_242", "assets": "field_3", "handler": "strip"},
    {"src": "field_241", "assets": "field_4", "handler": "choice", "map": KINDS},
    {"src": "field_243", "assets": "field_5", "handler": "connection", "lookup": "field_21"},
    {"src": "field_245", "assets": "field_6"},
    {"src": "field_246", "assets": "field_7"},
    {"src": "field_247", "assets": "field_8"},
    {"src": "field_248", "assets": "field_9"},
    {"src": "field_249", "assets": "field_10"},
    {"src": None, "assets": "field_11", "default": "traffic-operations"},
    {"src": "id", "assets": "field_12"},
    {"src": "field_243", "assets": "field_13", "handler": "text"},
]


def build_assets() -> dict[str, Any]:
    """The destination's metadata: an app in another time zone, with dates the other way round."""
    assets = [
        make_field("field_1", "Number", "auto_increment", ASSETS),
        make_field("field_2", "Asset ID", "short_text", ASSETS, unique=True),
        make_field("field_3", "Name", "short_text", ASSETS),
        make_field("field_4", "Kind", "multiple_choice", ASSETS, format={"options": list(KINDS.values())}),
        make_field("field_5", "Place", "connection", ASSETS, to=PLACES),
        make_field(
            "field_6",
            "Turned On",
            "date_time",
            ASSETS,
            format={"date_format": "dd/mm/yyyy", "time_format": "Ignore Time"},
        ),
        make_field("field_7", "Changed", "date_time", ASSETS),
        make_field("field_8", "Page", "link", ASSETS),
        make_field("field_9", "Cost", "currency", ASSETS),
        make_field("field_10", "Condition", "rating", ASSETS),
        make_field("field_11", "From", "short_text", ASSETS),
        make_field("field_12", "Record", "short_text", ASSETS),
        make_field("field_13", "Place Name", "short_text", ASSETS),
        make_field("field_14", "Remarks", "paragraph_text", ASSETS),
    ]
    places = [
        make_field("field_20", "Number", "auto_increment", PLACES),
        make_field("field_21", "Name", "short_text", PLACES),
        make_field("field_22", "House", "number", PLACES),
    ]
    objects = [
        make_object(ASSETS, "assets", assets, identifier="field_2", sort="field_1"),
        make_object(PLACES, "places", places, identifier="field_21", sort="field_20"),
    ]
    return make_metadata("Assets", "samplecity", objects, [], {}, "Eastern Time (US & Canada)")


@dataclass
class Apps:
    """Both apps, the store between them, and a way to run the script quickly."""

    way: Way
    dest: KnackSimulator
    forks: ForkServer

    def run(self, *flags: str) -> Done:
        """Run the script."""
        return self.forks.start(
            "records_to_knack", "-a", APP, "-c", SIGNALS, "-dest", "assets", *flags
        ).wait()

    def insist(self, *flags: str) -> dict[str, Any]:
        """Run it, and it must end well; its summary."""
        done = self.run(*flags)
        assert done.code == 0, done.stderr
        return done.summary

    def load(self) -> None:
        """Load the source into the store."""
        done = self.forks.start("records_to_postgrest", "-a", APP, "-c", SIGNALS).wait()
        assert done.code == 0, done.stderr

    def assets(self) -> dict[str, dict[str, Any]]:
        """{asset id: record}; fails where one is there twice."""
        found = self.dest.records(ASSETS)
        by_id = {record["field_2"]: record for record in found}
        assert len(by_id) == len(found), "an asset is there twice"
        return by_id

    def edit(self, number: int, name: str) -> str:
        """Rename a signal; its asset id."""
        record = sorted(self.way.knack.records(SIGNALS), key=lambda one: one["id"])[number]
        self.way.knack.edit_record(SIGNALS, record["id"], {"field_242": name})
        return str(record["field_240"])

    def writes(self) -> int:
        """How many writes the destination was asked for."""
        return self.dest.count("POST|PUT|DELETE")

    def config(self, maps: Any, **settings: Any) -> None:
        """Write both configuration files."""
        held = {
            "dest_apps": {"assets": {"object": ASSETS}},
            "modified_date_field_id": "field_246",
            **settings,
        }
        (self.way.config / "knack.py").write_text(f"CONFIG = { ({APP: {SIGNALS: held}})!r}\n")
        (self.way.config / "field_maps.py").write_text(f"FIELD_MAPS = { ({APP: {SIGNALS: maps}})!r}\n")


@pytest.fixture
def apps(way: Way) -> Iterator[Apps]:
    """Both apps: the source loaded, the destination with places and no assets."""
    with KnackSimulator(build_assets(), {}, rate_limit=None, app_id="6" * 24, api_key="dest-key") as dest:
        for name in sorted({record["field_211"] for record in way.knack.records("object_11")}):
            dest.add_record(PLACES, {"field_21": name})
        way.env.update(
            KNACK_APP_ID_SRC=way.knack.app_id,
            KNACK_APP_ID_DEST=dest.app_id,
            KNACK_API_KEY_DEST="dest-key",
            KNACK_API_URL_DEST=dest.url,
        )
        with ForkServer(way.env) as forks:
            apps = Apps(way, dest, forks)
            apps.config(MAP)
            assert forks.start("metadata_to_postgrest", "-a", APP).wait().code == 0
            apps.load()
            yield apps


def test_copy__creates_changes_and_deletes_nothing(apps: Apps) -> None:
    """All come, each value in its new shape; again nothing is written; then only what differs, on either side."""
    source = {str(one["field_240"]): one for one in apps.way.knack.records(SIGNALS)}
    first = apps.insist()
    assert (first["read"], first["inserted"]) == (len(source), len(source))
    assert apps.assets().keys() == source.keys()
    places = {one["id"]: one["field_21"] for one in apps.dest.records(PLACES)}
    for key, asset in apps.assets().items():
        signal_ = source[key]
        assert asset["field_3"] == signal_["field_242"].strip()
        assert asset["field_4"] == KINDS.get(signal_["field_241"], "")
        there = [one["identifier"] for one in signal_["field_243_raw"]]
        assert [places[one["id"]] for one in asset["field_5_raw"]] == there
        assert asset["field_13"] == ", ".join(there)
        assert (asset["field_11"], asset["field_12"]) == ("traffic-operations", signal_["id"])
        assert asset.get("field_9_raw") == signal_.get("field_248_raw")
        assert asset.get("field_10_raw") == signal_.get("field_249_raw")
        if "field_245_raw" in signal_:
            month, day, year = signal_["field_245"].split("/")
            assert asset["field_6"] == f"{day}/{month}/{year}"
        if "field_246_raw" in signal_:
            # The same moment an hour further east.
            ahead = asset["field_7_raw"]["unix_timestamp"] - signal_["field_246_raw"]["unix_timestamp"]
            assert ahead == 3_600_000
    writes = apps.writes()
    again = apps.insist()
    assert (again["unchanged"], again["updated"], apps.writes()) == (len(source), 0, writes)

    renamed = apps.edit(0, "RENAMED")
    gone = sorted(apps.way.knack.records(SIGNALS), key=lambda one: one["id"])[1]
    apps.way.knack.delete_record(SIGNALS, gone["id"])
    spoilt = apps.assets()[
        str(sorted(apps.way.knack.records(SIGNALS), key=lambda o: o["id"])[2]["field_240"])
    ]
    apps.dest.edit_record(ASSETS, spoilt["id"], {"field_3": "SPOILT", "field_14": "Kept"})
    apps.dest.add_record(ASSETS, {"field_2": "of others"})
    apps.load()
    planned = apps.insist("--dry-run")
    assert (planned["updated"], planned["unchanged"], apps.writes()) == (2, len(source) - 3, writes)
    done = apps.insist()
    assert (done["updated"], done["inserted"], done["deleted"]) == (2, 0, 0)
    assert apps.assets()[renamed]["field_3"] == "RENAMED"
    healed = apps.assets()[spoilt["field_2"]]
    assert (healed["field_3"], healed["field_14"]) == (source[spoilt["field_2"]]["field_242"], "Kept")
    assert {"of others", str(gone["field_240"])} <= apps.assets().keys()

    renamed = apps.edit(5, "RENAMED TOO")
    apps.load()
    apps.dest.requests.clear()
    since = apps.insist("--since-last")
    assert (since["read"], since["updated"], apps.writes()) == (1, 1, 1)
    assert apps.assets()[renamed]["field_3"] == "RENAMED TOO"


@pytest.mark.parametrize("fault", ["after-504", "504", "after-reset", "reset", "cut", "after-html"])
def test_copy__a_create_is_never_repeated_blindly(apps: Apps, fault: str) -> None:
    """Where the answer to a create is lost, carried out or not, the record is there once in the end."""
    apps.dest.faults.add(fault, method="POST", after=2, times=2)
    apps.dest.faults.add(fault, method="PUT", times=1)
    summary = apps.insist()
    assert summary["inserted"] == len(apps.assets()) == len(apps.way.knack.records(SIGNALS))
    apps.edit(0, "RENAMED")
    apps.load()
    assert apps.insist()["updated"] == 1


def test_copy__killed_at_every_request_converges(apps: Apps) -> None:
    """Killed right after any of its requests was carried out, the next run brings the rest, and nothing twice."""
    apps.insist()
    wanted = {key: _content(one) for key, one in apps.assets().items()}
    for key in sorted(wanted)[:4]:
        apps.dest.delete_record(ASSETS, apps.assets()[key]["id"])
    for key in sorted(wanted)[4:6]:
        apps.dest.edit_record(ASSETS, apps.assets()[key]["id"], {"field_3": "SPOILT"})
    kept = apps.dest.snapshot()
    number = 0
    while True:
        number += 1
        apps.dest.restore(kept)
        killed = _kill_after(apps, number)
        assert set(apps.assets()) <= set(wanted)
        apps.insist()
        assert {key: _content(one) for key, one in apps.assets().items()} == wanted, f"killed after {number}"
        if not killed:
            break
    assert number > 9


def _content(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what a new one has of its own."""
    return {key: value for key, value in record.items() if key not in ("id", "field_1", "field_1_raw")}


def _kill_after(apps: Apps, number: int) -> bool:
    """Run the script, and kill it when the destination has carried out its request of this number."""
    count = 0
    child = apps.forks.start("records_to_knack", "-a", APP, "-c", SIGNALS, "-dest", "assets")

    def kill(request: Request) -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(child.pid, signal.SIGKILL)

    apps.dest.on_answer = kill
    try:
        child.wait()
        apps.dest.wait_until_idle()
    finally:
        apps.dest.on_answer = None
    return count >= number


def test_copy__what_does_not_fit_is_refused_and_the_rest_comes(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing connection, an unlisted choice and a value that Knack quietly cuts: exit 3, each named."""
    records = sorted(apps.way.knack.records(SIGNALS), key=lambda one: one["id"])
    long, lost, *others = (one["id"] for one in records)
    apps.way.knack.edit_record(
        SIGNALS, long, {"field_242": "A name that is longer than any other name", "field_241": "TRAFFIC"}
    )
    there = next(one["field_243_raw"][0] for one in records[2:] if one["field_243_raw"])
    apps.way.knack.edit_record(SIGNALS, lost, {"field_243": [there["id"]], "field_241": "TRAFFIC"})
    apps.way.knack.edit_record(SIGNALS, long, {"field_243": []})
    apps.way.knack.edit_record(SIGNALS, others[0], {"field_241": "BEACON"})
    apps.config([*MAP[:2], {**MAP[2], "map": {"TRAFFIC": "Signal"}}, *MAP[3:]])
    place = next(one for one in apps.dest.records(PLACES) if one["field_21"] == there["identifier"])
    apps.dest.delete_record(PLACES, place["id"])
    build_text = values._build_text

    def cut(field: Any, value: Any, setting: Any) -> Any:
        return build_text(field, str(value)[:40] if field["key"] == "field_3" else value, setting)

    monkeypatch.setitem(values._BUILDERS, "short_text", cut)
    apps.load()
    done = apps.run()
    assert (done.code, done.summary["status"]) == (3, "partial"), done.stderr
    reasons = dict(
        apps.way.stack.execute("select record_id, reason from api.rejects where closed_at is null")
    )
    assert reasons[long] == "Knack keeps something else than was sent in Name (field_3)"
    assert reasons[lost] == "Place (field_5): no record in object_2 with what is to be connected"
    assert reasons[others[0]].endswith("Signal Type (field_241) holds an option that its map does not list")
    assert "longer than any" not in done.stderr
    # Set right, all of them come, and the rejects are closed.
    monkeypatch.undo()
    apps.config(MAP)
    apps.dest.add_record(PLACES, {"field_21": place["field_21"]})
    apps.insist()
    assert len(apps.assets()) == len(records)
    open_ = "select count(*) from api.rejects where closed_at is null and destination like 'knack:%'"
    assert apps.way.stack.execute(open_)[0][0] == 0


def test_copy__looked_up_by_a_number(apps: Apps) -> None:
    """What is to be connected by a number and is none is refused; a number is found however it is written."""
    for name, shown in (("Oak St", "none"), ("1,250", "1250")):
        place = apps.way.knack.add_record("object_11", {"field_211": name})
        record = apps.way.knack.records(SIGNALS)[0 if shown == "none" else 1]
        apps.way.knack.edit_record(SIGNALS, record["id"], {"field_243": [place]})
    apps.dest.add_record(PLACES, {"field_21": "x", "field_22": 1250})
    apps.config([*MAP[:3], {**MAP[3], "lookup": "field_22"}])
    apps.load()
    done = apps.run()
    assert done.code == 3 and "Traceback" not in done.stderr, done.stderr
    houses = [one for one in apps.assets().values() if one["field_5_raw"]]
    assert len(houses) == 1


WRONG: dict[str, Callable[[Apps], None]] = {
    "has no app 'assets' in dest_apps": lambda apps: apps.config(MAP, dest_apps={"x": {"object": ASSETS}}),
    "there is no list of fields": lambda apps: apps.config(None),
    "0 fields are the primary_key": lambda apps: apps.config(MAP[1:]),
    "there is no handler 'strp'": lambda apps: apps.config([MAP[0], {**MAP[1], "handler": "strp"}]),
    "unknown setting 'handlr'; nearest: handler": lambda apps: apps.config(
        [MAP[0], {**MAP[1], "handlr": "x"}]
    ),
    "has no field 'field_99'": lambda apps: apps.config([MAP[0], {**MAP[1], "assets": "field_99"}]),
    "field_1 ('Number') is of type auto_increment, which cannot be written": lambda apps: apps.config(
        [MAP[0], {**MAP[1], "assets": "field_1"}]
    ),
    "field_3 is filled twice": lambda apps: apps.config([*MAP[:2], {**MAP[1]}]),
    "KNACK_API_KEY_DEST": lambda apps: apps.forks._env.pop("KNACK_API_KEY_DEST", None),
}


def test_copy__wrong_configuration(apps: Apps) -> None:
    """What cannot work ends with 2, in one line that says so, and nothing is written."""
    for said, spoil in WRONG.items():
        apps.config(MAP)
        spoil(apps)
        done = apps.run()
        assert done.code == 2 and said in done.stderr, (said, done.stderr)
    assert apps.writes() == 0
    apps.config(MAP)
    apps.forks._env["KNACK_API_KEY_DEST"] = "not-the-key"
    done = apps.run()
    assert done.code == 1 and "KNACK_API_KEY_DEST is not this application's key" in done.stderr, done.stderr
