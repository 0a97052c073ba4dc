"""Publishing to ArcGIS Online, against the simulator: every promise, and every way the service can fail it."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dev.simulators.agol import AgolSimulator
from services.utils import agol
from services.utils.errors import ConfigError, OutcomeUnknown, PublishError, RequestRefused, Stopped
from services.utils.guard import DeleteGuard
from services.utils.records import Counts, Reject, Row
from services.utils.session import Backoff

ITEM = "0123456789abcdef0123456789abcdef"
FIELDS = {
    "id": ("String", 50),
    "NAME": ("String", 20),
    "QUANTITY": ("Integer",),
    "RATIO": ("Double",),
    "SPEED": ("Single",),
    "MODIFIED": ("Date",),
    "OTHER_JOB": ("String", 20),
}
QUICK = Backoff(attempts=4, factor_s=0.01, jitter_s=0.0, deadline_s=20.0)
PAUSES_S = (0.01, 0.02, 0.03, 0.04)
LATE_S = (0.02, 0.05, 0.1, 0.2)
LOOSE = DeleteGuard(max_delete_pct=100, allow_empty=True)


@pytest.fixture
def sim() -> Iterator[AgolSimulator]:
    """ArcGIS Online with one point layer in Web Mercator."""
    with AgolSimulator() as simulator:
        simulator.create_layer(ITEM, 0, fields=FIELDS)
        yield simulator


@pytest.fixture
def portal(sim: AgolSimulator) -> Iterator[agol.Portal]:
    """Signed in to it."""
    connected = connect(sim)
    yield connected
    connected.close()


@pytest.fixture
def layer(portal: agol.Portal) -> agol.Layer:
    """The layer."""
    return agol.open_layer(portal, ITEM, 0, "layer")


def connect(sim: AgolSimulator) -> agol.Portal:
    """A portal that waits little."""
    return agol.connect(sim.url, sim.username, sim.password, backoff=QUICK)


def make_row(number: int, **values) -> Row:
    """A row with a value of each kind."""
    key = f"k{number:05}"
    return Row(
        key,
        {
            "id": key,
            "name": f"Sign {number}",
            "quantity": number,
            "ratio": number / 7,
            "speed": number / 10,
            "modified": f"2024-01-02T03:04:{number % 60:02}-06:00",
            "location": {"latitude": 30 + number / 10000, "longitude": -97.7 - number / 10000},
            **values,
        },
    )


def make_rows(count: int, start: int = 0) -> list[Row]:
    """So many of them."""
    return [make_row(number) for number in range(start, start + count)]


def delete(row: Row) -> Row:
    """The row as it comes once its record has left the source."""
    return Row(row.record_id, row.values, deleted=True)


def publish(layer: agol.Layer, rows, *, rejects: list[Reject] | None = None, **options) -> Counts:
    """Publish with the tests' usual options; a reject that no list was given for fails the test."""

    def on_reject(reject: Reject) -> None:
        assert rejects is not None, reject
        rejects.append(reject)

    settings = {
        "replace": True,
        "guard": LOOSE,
        "location_field": "location",
        "pauses_s": PAUSES_S,
        **options,
    }
    return agol.publish(iter(rows), layer, on_reject=on_reject, **settings)


def names(sim: AgolSimulator, layer_id: int = 0) -> dict[str, str | None]:
    """{key: name} of what the layer holds; fails if a key is there twice."""
    features = sim.features(ITEM, layer_id)
    found = {f["attributes"]["id"]: f["attributes"]["NAME"] for f in features}
    assert len(found) == len(features), "duplicates"
    return found


def expected(rows) -> dict[str, str]:
    """{key: name} of rows."""
    return {row.values["id"]: row.values["name"] for row in rows}


# --- sign-in and look-up ---------------------------------------------------------------------------


def test_connect__wrong_password_posted_once(sim):
    """A refused password is one line, exit code 2, and exactly one request."""
    with pytest.raises(ConfigError, match="wrong user name or password") as caught:
        agol.connect(sim.url, sim.username, "guess-1234", backoff=QUICK)
    assert sim.count("POST", "generateToken") == len(sim.requests) == 1
    assert "guess-1234" not in str(caught.value) and "\n" not in str(caught.value)


def test_connect__locked_account(sim):
    """A locked account is named as such."""
    sim.switches.lock_after = 0
    with pytest.raises(ConfigError, match="locked for a while"):
        connect(sim)
    assert len(sim.requests) == 1


def test_connect__nothing_in_addresses(sim, layer):
    """Neither password nor token is ever part of an address, and every call is a POST."""
    publish(layer, make_rows(3))
    assert all(seen.query == {} and seen.method == "POST" for seen in sim.requests)
    assert all("token" not in seen.path.replace("generateToken", "") for seen in sim.requests)


def test_connect__renews_before_the_end(sim):
    """A token is renewed before it ends, without one refused call."""
    sim.switches.token_seconds = 0.6
    sim.switches.check_referer = True
    layer = agol.open_layer(connect(sim), ITEM, 0, "layer")
    sim.faults.add("slow", path="applyEdits", seconds=0.2, times=4)
    publish(layer, make_rows(1000))
    assert sim.sign_in.issued >= 2
    assert sim.count("POST", "applyEdits") == len(sim.edits) == 4  # a refused call is in no log of edits


def test_connect__password_changed_in_mid_run(sim, layer):
    """A refused renewal stops the run after one attempt."""
    sim.sign_in.password = "changed"
    sim.sign_in.expire_tokens()
    before = sim.count("POST", "generateToken")
    with pytest.raises(PublishError, match="wrong user name or password"):
        publish(layer, make_rows(3))
    with pytest.raises(PublishError, match="wrong user name or password"):
        publish(layer, make_rows(3))
    assert sim.count("POST", "generateToken") == before + 1


@pytest.mark.parametrize("url", ["www.arcgis.com", "", "ftp://host", "https://me:hush@host"])
def test_connect__bad_address(url):
    """An address without scheme or host is a configuration error."""
    with pytest.raises(ConfigError, match="no address of an ArcGIS portal") as caught:
        agol.connect(url, "u", "p")
    assert "hush" not in str(caught.value)


def test_connect__not_a_portal(sim):
    """An address without a portal is not mistaken for a wrong password."""
    with pytest.raises(PublishError, match="404 not found"):
        agol.connect(sim.url + "/gis", sim.username, sim.password, backoff=QUICK)


def test_connect__clients(sim):
    """An unknown client is an error; "arcgis" without the package says what to install."""
    with pytest.raises(ConfigError, match="no known client"):
        agol.connect(sim.url, "u", "p", "soap")
    code = (
        "import sys; sys.modules['arcgis'] = None\n"
        "from services.utils import agol\n"
        f"agol.connect({sim.url!r}, 'u', 'p', 'arcgis')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'record-services[arcgis]'" in done.stderr
    assert sim.requests == []


def test_open_layer__properties(sim, portal):
    """What the layer says of itself is read, whatever the item says."""
    sim.create_layer(
        ITEM, 7, fields=FIELDS, geometry="esriGeometryMultipoint", unique_key="id", max_record_count=50
    )
    layer = agol.open_layer(portal, ITEM, 7, "layer")
    assert (layer.id, layer.place, layer.page, layer.oid_field) == (7, "multipoint", 50, "OBJECTID")
    assert "id" in layer.unique and layer.guards_html
    assert [f.name for f in layer.fields] == ["OBJECTID", *FIELDS]
    assert layer.fields[1].length == 50


def test_open_layer__id_or_position(sim, portal, caplog):
    """A REST id of the kind wins, else layer_id is a position; which one is logged."""
    sim.create_layer(ITEM, 1, fields=FIELDS)
    sim.create_layer(ITEM, 5, kind="table", fields=FIELDS)
    caplog.set_level(logging.INFO)
    assert agol.open_layer(portal, ITEM, 1, "layer").id == 1
    assert agol.open_layer(portal, ITEM, "5", "table").id == 5
    assert "position" not in caplog.text
    assert agol.open_layer(portal, ITEM, 0, "table").id == 5
    assert "position" in caplog.text


@pytest.mark.parametrize(
    ("item", "layer_id", "item_type", "why"),
    [
        ("f" * 32, 0, "layer", "does not exist, or publisher may not see it"),
        (ITEM, 4, "layer", r"has no layer 4; its layers are: 0 \(layer_0\)"),
        (ITEM, 0, "table", "its tables are: none"),
        (ITEM, "first", "layer", "has no layer first"),
        (ITEM, 0, "Layer", 'item_type is "Layer"'),
    ],
)
def test_open_layer__not_there(portal, item, layer_id, item_type, why):
    """A wrong item, id or type is one clear line, and nothing was sent."""
    with pytest.raises(ConfigError, match=why) as caught:
        agol.open_layer(portal, item, layer_id, item_type)
    assert "Nothing was sent" in str(caught.value)


def test_open_layer__may_not_edit(sim, portal):
    """A layer that does not allow deletes is refused before anything is read."""
    sim.layer(ITEM, 0).capabilities = "Query,Create,Update"
    with pytest.raises(ConfigError, match="does not allow Delete"):
        agol.open_layer(portal, ITEM, 0, "layer")


def test_open_layer__stranger(sim, portal):
    """The token does not follow an item to a host that is not the portal's."""
    sim.url = f"http://127.0.0.2:{sim.port}"
    with pytest.raises(ConfigError, match="The sign-in is not sent there"):
        agol.open_layer(portal, ITEM, 0, "layer")
    assert sim.count(path="FeatureServer") == 0


@pytest.mark.parametrize(
    ("portal_url", "service_url", "same"),
    [
        ("https://city.maps.arcgis.com", "https://services1.arcgis.com/x/FeatureServer", True),
        ("https://www.arcgis.com", "https://services1.arcgis.com/x/FeatureServer", True),
        ("https://www.arcgis.com", "http://services1.arcgis.com/x/FeatureServer", False),
        ("https://www.arcgis.com", "https://services.example.org/x/FeatureServer", False),
        ("https://www.arcgis.com", "https://services1.arcgis.com.example.org/x/FeatureServer", False),
        ("https://www.arcgis.com", "https://myarcgis.com/x/FeatureServer", False),
        ("http://localhost:80", "http://127.0.0.1:80/x/FeatureServer", True),
        ("http://127.0.0.1:80", "http://9.9.0.1:80/x/FeatureServer", False),
    ],
)
def test_check_host__cases(sim, portal, portal_url, service_url, same):
    """Hosts of the portal's own domain are trusted, never without TLS where the portal has it."""
    portal.url = portal_url
    if same:
        portal.check_host(service_url, ITEM)
    else:
        with pytest.raises(ConfigError, match="The sign-in is not sent there"):
            portal.check_host(service_url, ITEM)


# --- replace ---------------------------------------------------------------------------------------


def test_publish__add_update_unchanged_delete(sim, layer):
    """A second publish adds, updates and deletes what differs, and object ids stay."""
    rows = make_rows(600)
    assert publish(layer, rows) == Counts(read=600, inserted=600)
    before = sim.layer(ITEM).find_ids("id")
    watch = sim.watch(ITEM)
    changed = [make_row(1, name="New"), *rows[2:500], *make_rows(5, start=700)]
    counts = publish(layer, changed)
    assert counts == Counts(read=504, inserted=5, updated=1, unchanged=498, deleted=101)
    assert names(sim) == expected(changed)
    after = sim.layer(ITEM).find_ids("id")
    assert all(after[key] == before[key] for key in after if key in before)
    assert watch.min_count >= 504 and watch.doubled == set()


def test_publish__values_as_stored(sim, layer):
    """Values and places arrive as they were meant, projected into the layer's reference."""
    publish(layer, [make_row(3)])
    [feature] = sim.features(ITEM, wkid=4326)
    assert feature["attributes"] == {
        "OBJECTID": 1,
        "id": "k00003",
        "NAME": "Sign 3",
        "QUANTITY": 3,
        "RATIO": 3 / 7,
        "SPEED": 0.3,
        "MODIFIED": 1704186243000,
        "OTHER_JOB": None,
    }
    assert feature["geometry"]["x"] == pytest.approx(-97.7003, abs=1e-9)
    assert feature["geometry"]["y"] == pytest.approx(30.0003, abs=1e-9)
    assert sim.features(ITEM)[0]["geometry"]["x"] < -10_000_000  # metres


def test_publish__again_sends_no_edit(sim, layer):
    """What is there already is recognised: all unchanged, not one edit request."""
    rows = make_rows(300)
    publish(layer, rows)
    edits = len(sim.edits)
    assert publish(layer, rows) == Counts(read=300, unchanged=300)
    assert len(sim.edits) == edits


@pytest.mark.parametrize("blank", ["keep", "null"])
def test_publish__blank_is_null(sim, layer, blank):
    """Blank text is no difference to null, whichever the server keeps."""
    sim.switches.blank_text = blank
    sim.add_features(
        ITEM, 0, [{"attributes": {"id": "a", "NAME": " "}}, {"attributes": {"id": "b", "NAME": ""}}]
    )
    rows = [Row(key, {"id": key, "name": value}) for key, value in (("a", None), ("b", "  "))]
    assert publish(layer, rows, location_field=None) == Counts(read=2, unchanged=2)
    assert sim.edits == []


def test_publish__other_jobs_fields_stay(sim, layer):
    """Fields that no row has keep what another job wrote into them."""
    publish(layer, make_rows(2))
    for feature in list(sim.features(ITEM)):
        sim.layer(ITEM).apply(updates=[{"attributes": {**feature["attributes"], "OTHER_JOB": "mine"}}])
    counts = publish(layer, [make_row(0, name="New"), make_row(1)])
    assert (counts.updated, counts.unchanged) == (1, 1)
    assert [f["attributes"]["OTHER_JOB"] for f in sim.features(ITEM)] == ["mine", "mine"]


def test_publish__name_that_one_row_lacks(sim, layer):
    """A name that other rows have and one lacks is empty in that one, so that it is cleared."""
    publish(layer, make_rows(2))
    short = make_row(0)
    del short.values["name"]
    assert publish(layer, [short, make_row(1)]).updated == 1
    assert names(sim) == {"k00000": None, "k00001": "Sign 1"}


def test_publish__place_moves_and_clears(sim, layer):
    """A moved place is moved, a cleared one is cleared; without a location field neither is touched."""
    publish(layer, make_rows(3))
    there = [f["geometry"] for f in sim.features(ITEM)]
    assert publish(layer, make_rows(3), location_field=None).unchanged == 3
    assert publish(layer, [make_row(0, name="N"), *make_rows(2, 1)], location_field=None).updated == 1
    assert [f["geometry"] for f in sim.features(ITEM)] == there
    moved = {"latitude": 31, "longitude": -98}
    counts = publish(layer, [make_row(0, location=moved), make_row(1, location=None), make_row(2)])
    assert (counts.updated, counts.unchanged) == (2, 1)
    geometries = [f["geometry"] for f in sim.features(ITEM, wkid=4326)]
    assert geometries[0] == pytest.approx({"x": -98, "y": 31})
    assert geometries[1] is None


def test_publish__location_field_in_no_row(sim, layer):
    """A location field that no row has would clear every place: it is refused before anything is sent."""
    publish(layer, make_rows(2))
    edits = len(sim.edits)
    with pytest.raises(ConfigError, match="every place would be cleared"):
        publish(layer, make_rows(2), location_field=["place"])
    assert len(sim.edits) == edits


def test_publish__multipoint(sim, portal):
    """A multipoint layer takes one place or many, and is recognised again."""
    sim.create_layer(ITEM, 1, fields=FIELDS, geometry="esriGeometryMultipoint")
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    places = [{"latitude": 30.1, "longitude": -97.1}, {"latitude": 30.2, "longitude": -97.2}]
    rows = [make_row(0, location=places), make_row(1), make_row(2, location=[])]
    publish(layer, rows)
    first, second, third = (f["geometry"] for f in sim.features(ITEM, 1, wkid=4326))
    assert [
        pair == pytest.approx(want) for pair, want in zip(first["points"], [[-97.1, 30.1], [-97.2, 30.2]])
    ]
    assert len(second["points"]) == 1 and third is None
    assert publish(layer, rows).unchanged == 3


@pytest.mark.parametrize("reference", [4326, 102100])
def test_publish__reference(sim, portal, reference):
    """Degrees arrive as degrees whatever the layer keeps them in."""
    sim.create_layer(ITEM, 1, fields=FIELDS, spatial_reference=reference)
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    publish(layer, make_rows(5))
    assert sim.features(ITEM, 1, wkid=4326)[4]["geometry"] == pytest.approx({"x": -97.7004, "y": 30.0004})
    assert publish(layer, make_rows(5)).unchanged == 5


def test_publish__table(sim, portal):
    """A table is sent no geometry."""
    sim.create_layer(ITEM, 3, kind="table", fields=FIELDS, geometry=None)
    table = agol.open_layer(portal, ITEM, 0, "table")
    publish(table, make_rows(5))
    assert publish(table, [*make_rows(4), make_row(5)]) == Counts(read=5, inserted=1, unchanged=4, deleted=1)
    assert len(sim.features(ITEM, 3)) == 5


def test_publish__integer_key(sim, portal):
    """Keys may be whole numbers."""
    sim.create_layer(ITEM, 1, kind="table", fields={"TICKET": ("Integer",), "NAME": ("String", 20)})
    table = agol.open_layer(portal, ITEM, 1, "table")
    rows = [Row(f"r{n}", {"ticket": str(n), "name": f"n{n}"}) for n in range(250)]
    publish(table, rows, key_field="ticket")
    assert publish(table, rows, key_field="ticket").unchanged == 250
    counts = publish(table, [rows[0], delete(rows[1])], key_field="TICKET", replace=False)
    assert counts == Counts(read=2, unchanged=1, deleted=1)
    assert len(sim.features(ITEM, 1)) == 249


def test_publish__pages(sim, portal):
    """Layers larger than a page are read as a whole."""
    sim.create_layer(ITEM, 1, fields=FIELDS, max_record_count=100)
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    rows = make_rows(300)
    publish(layer, rows)
    assert publish(layer, rows) == Counts(read=300, unchanged=300)


class Flagless(AgolSimulator):
    """A server that does not say that there is more."""

    def answer(self, request):
        answer = super().answer(request)
        answer.body = answer.body.replace(b'"exceededTransferLimit":true,', b"")
        return answer


def test_publish__pages_without_flag():
    """A full page is not trusted to be the last one."""
    with Flagless() as sim:
        sim.create_layer(ITEM, 0, fields=FIELDS, max_record_count=10)
        layer = agol.open_layer(connect(sim), ITEM, 0, "layer")
        publish(layer, make_rows(35))
        assert publish(layer, make_rows(35)).unchanged == 35


def test_publish__pages_shorter_than_announced(sim, layer):
    """A short page that says that there is more is not the last one."""
    sim.layer(ITEM).max_record_count = 10
    publish(layer, make_rows(35))
    assert publish(layer, make_rows(35), pauses_s=()).unchanged == 35


def test_publish__order_ignored(sim, layer):
    """A server that gives pages in no order is not believed."""
    publish(layer, make_rows(50))

    def ignore_order(request):
        request.body = request.body.replace(b"orderByFields", b"ignored")

    sim.on_request = ignore_order
    with pytest.raises(PublishError, match="out of order"):
        publish(layer, make_rows(50))


def test_publish__queries_by_key_are_bounded(sim, portal):
    """Keys are asked for at most 100 at a time, and fewer where they are long."""
    fields = {"id": ("String", 4000), "NAME": ("String", 20)}
    sim.create_layer(ITEM, 1, kind="table", fields=fields)
    table = agol.open_layer(portal, ITEM, 0, "table")
    asked = []
    sim.on_request = lambda request: asked.append(request.form().get("where", ""))
    rows = [Row(f"k{n}", {"id": f"k{n}"}) for n in range(250)]
    assert publish(table, rows, replace=False).inserted == 250
    assert max(where.count(",") for where in asked) == 99
    asked.clear()
    rows = [Row(f"k{n}", {"id": f"k{n}-" + "x" * 3000}) for n in range(50)]
    assert publish(table, rows, replace=False).inserted == 50
    assert 40_000 < max(map(len, asked)) < 60_000


def test_publish__no_doubt_no_waiting(sim, portal):
    """Where no second copy can appear, one look is enough."""
    sim.create_layer(ITEM, 1, fields=FIELDS, unique_key="id")
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    # A pause of this length would outlast the test run.
    publish(layer, make_rows(3), pauses_s=(9000.0,))
    sim.faults.add("after-504", path="applyEdits")
    publish(layer, make_rows(6), pauses_s=(0.0, 9000.0))


def test_publish__preexisting_duplicates(sim, layer):
    """Of features with one key the oldest stays, the others and those without a key go; copies are no loss."""
    features = [
        {"attributes": {"id": key, "NAME": name}}
        for key, name in (
            ("a", "first"),
            ("b", "b"),
            ("a", "second"),
            ("a", "third"),
            ("b", "b"),
            (None, "lost"),
        )
    ]
    ids = sim.add_features(ITEM, 0, features)
    rows = [Row(key, {"id": key, "name": key}) for key in ("a", "b")]
    counts = publish(layer, rows, location_field=None, guard=DeleteGuard(max_delete_pct=34))
    assert counts == Counts(read=2, updated=1, unchanged=1, deleted=4)
    assert [f["attributes"]["OBJECTID"] for f in sim.features(ITEM)] == ids[:2]
    assert names(sim) == {"a": "a", "b": "b"}


def test_publish__features_without_key(sim, layer):
    """Features without a key are records that would be lost: the brake counts them."""
    sim.add_features(ITEM, 0, [{"attributes": {"id": key}} for key in ("a", "b", None, " ")])
    rows = [Row(key, {"id": key}) for key in ("a", "b")]
    with pytest.raises(PublishError, match="2 of the 4 records"):
        publish(layer, rows, location_field=None, guard=DeleteGuard())
    assert publish(layer, rows, location_field=None).deleted == 2


def test_publish__feature_that_cannot_be_deleted(sim, layer):
    """A feature that the server will not delete is rejected by its key; the run ends and the others go."""
    ids = sim.add_features(ITEM, 0, [{"attributes": {"id": key}} for key in ("a", "b", "c", None)])
    state = sim.layer(ITEM)
    real = state.apply

    def apply(adds=(), updates=(), deletes=(), rollback=False):
        kept = (ids[1], ids[3])
        results = real(adds, updates, [oid for oid in deletes if oid not in kept], rollback)
        error = {"success": False, "error": {"code": 1007, "description": ""}}
        results["deleteResults"] = [error if oid in kept else {"success": True} for oid in deletes]
        return results

    state.apply = apply
    rejects: list[Reject] = []
    counts = publish(layer, [Row("a", {"id": "a"})], location_field=None, rejects=rejects)
    assert counts == Counts(read=1, unchanged=1, deleted=1, rejected=2)
    assert {reject.record_id for reject in rejects} == {"b", ""}
    assert all("could not be deleted" in r.reason and "1007" in r.reason for r in rejects)


def test_publish__keys_differing_in_case(sim, layer):
    """Keys that the server may take for one are refused; a key in another spelling is corrected in place."""
    sim.add_features(ITEM, 0, [{"attributes": {"id": "ABC ", "NAME": "x"}}])
    rejects: list[Reject] = []
    rows = [Row(f"r{n}", {"id": key, "name": "x"}) for n, key in enumerate(("abc", "Abc", "abc ", "abc"))]
    counts = publish(layer, rows, location_field=None, rejects=rejects)
    assert counts == Counts(read=4, updated=1, rejected=3)
    assert [reject.record_id for reject in rejects] == ["r1", "r2", "r3"]
    assert all("occurs twice" in reject.reason for reject in rejects)
    assert names(sim) == {"abc": "x"}


def test_publish__rejects_keep_their_feature(sim, layer):
    """A row that does not fit is rejected, its old feature stays, the others are published."""
    publish(layer, make_rows(5))
    rejects: list[Reject] = []
    bad = [
        make_row(0, name="x" * 21),
        make_row(1, quantity="many"),
        make_row(2, location={"latitude": 97, "longitude": 30}),
        make_row(3, id=None),
    ]
    counts = publish(layer, [*bad, make_row(4, name="New")], rejects=rejects)
    assert counts == Counts(read=5, updated=1, deleted=1, rejected=4)
    assert [reject.record_id for reject in rejects] == [row.record_id for row in bad]
    assert rejects[0].reason == "field NAME (name): has 21 characters, the field takes 20"
    assert rejects[0].content == bad[0].values
    assert names(sim) == {"k00000": "Sign 0", "k00001": "Sign 1", "k00002": "Sign 2", "k00004": "New"}


def test_publish__html_does_not_stop_the_run(sim, layer):
    """Text with HTML is cleaned, so that the server's guard refuses no request."""
    rows = [make_row(0, name="<b>Elm</b> <Null>"), make_row(1, name="5 < 6"), make_row(2, name="a<br>b")]
    publish(layer, rows)
    assert names(sim) == {"k00000": "Elm Null", "k00001": "5 < 6", "k00002": "a\nb"}
    assert publish(layer, rows).unchanged == 3
    assert all(call.code == 0 for call in sim.edits)


@pytest.mark.parametrize("guard", ["request", "feature"])
def test_publish__poison_rows(sim, layer, guard):
    """A row that the server refuses a whole request for is found by halving; the others arrive."""
    sim.switches.lone_angle_is_html = True
    sim.switches.html_guard = guard
    poison = [make_row(number, name="5 < 6") for number in (7, 222, 223)]
    keys = {row.record_id for row in poison}
    rows = [row for row in make_rows(300) if row.record_id not in keys] + poison
    rejects: list[Reject] = []
    counts = publish(layer, rows, rejects=rejects)
    assert counts == Counts(read=300, inserted=297, rejected=3)
    assert {reject.record_id for reject in rejects} == keys
    assert all("HTML" in reject.reason and "5 <" not in reject.reason for reject in rejects)
    assert rejects[0].content["NAME"] == "5 < 6"
    assert len(names(sim)) == 297


def test_publish__poison_update(sim, layer):
    """A refused update leaves the old feature; the run goes on."""
    publish(layer, make_rows(20))
    sim.switches.lone_angle_is_html = True
    rejects: list[Reject] = []
    rows = [make_row(0, name="5 < 6"), *[make_row(n, name="New") for n in range(1, 20)]]
    counts = publish(layer, rows, rejects=rejects)
    assert counts == Counts(read=20, updated=19, rejected=1)
    assert names(sim)["k00000"] == "Sign 0"


def test_publish__failed_entries(sim, portal):
    """Entries that the server refuses one by one are rejected with its code; the others arrive."""
    fields = {**FIELDS, "OTHER_JOB": ("String", 20, False)}
    sim.create_layer(ITEM, 1, fields=fields)
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    rejects: list[Reject] = []
    counts = publish(layer, make_rows(3), rejects=rejects)
    assert counts == Counts(read=3, rejected=3)
    assert "error 1001, a field may not be empty" in rejects[0].reason
    rows = [make_row(0, other_job="x"), make_row(1), make_row(2, other_job="y")]
    rejects.clear()
    counts = publish(layer, rows, rejects=rejects)
    assert counts == Counts(read=3, inserted=2, rejected=1)
    assert rejects[0].reason == "field OTHER_JOB: may not be empty"


def test_publish__failed_entry_takes_one_request(sim, layer):
    """One bad entry undoes none of the others: rollback is off, nothing is sent twice."""
    short = [dataclasses.replace(f, length=5) if f.name == "NAME" else f for f in sim.layer(ITEM).fields]
    sim.layer(ITEM).set_fields(short)  # after we read the layer's properties
    rejects: list[Reject] = []
    rows = [make_row(n, name="x" * 6 if n == 7 else "ok") for n in range(20)]
    assert publish(layer, rows, rejects=rejects) == Counts(read=20, inserted=19, rejected=1)
    assert "error 1000, it does not fit" in rejects[0].reason
    assert len(sim.edits) == 1


def test_publish__server_refuses_everything(sim, portal):
    """A layer that accepts nothing ends the run early, not after a request for each of many rows."""
    sim.create_layer(ITEM, 1, fields={**FIELDS, "OTHER_JOB": ("String", 20, False)})
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    rejects: list[Reject] = []
    with pytest.raises(PublishError, match="refused each of the first 100 edits"):
        publish(layer, make_rows(600), rejects=rejects)
    assert len(sim.edits) == 1 and len(rejects) == 100


def test_publish__not_allowed(sim, layer):
    """403 stops the run at once."""
    sim.services[ITEM].may_edit = False
    with pytest.raises(PublishError, match="not allowed for this user"):
        publish(layer, make_rows(600))
    assert sim.count("POST", "applyEdits") == 1


def test_publish__body_and_chunk_limits(sim, portal):
    """No edit request has more than 250 features or a megabyte."""
    sim.create_layer(ITEM, 1, fields={"id": ("String", 50), "NAME": ("String", 20000)})
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    rows = [Row(f"k{n}", {"id": f"k{n}", "name": '{"ü&' * 1000}) for n in range(100)]
    publish(layer, rows, location_field=None)
    assert 900_000 < max(sim.body_sizes()) <= 1_001_000
    publish(layer, make_rows(600), location_field=None)
    assert max(call.adds for call in sim.edits) == 250
    assert sum(call.adds for call in sim.edits) == 700


# --- the brake, and doing nothing ------------------------------------------------------------------


def test_publish__guard(sim, layer):
    """A run that would remove too much changes nothing at all."""
    publish(layer, make_rows(100))
    edits = len(sim.edits)
    with pytest.raises(PublishError, match=r"30 of the 100 records .* would be removed.*Nothing was changed"):
        publish(layer, [make_row(0, name="New"), *make_rows(69, 1), *make_rows(50, 500)], guard=DeleteGuard())
    assert len(sim.edits) == edits
    assert publish(layer, make_rows(75), guard=DeleteGuard()).deleted == 25


def test_publish__empty(sim, layer):
    """No rows at all do not empty the layer, unless that is meant."""
    publish(layer, make_rows(3))
    with pytest.raises(PublishError, match="none would be left"):
        publish(layer, [], guard=DeleteGuard(max_delete_pct=100))
    assert len(names(sim)) == 3
    assert publish(layer, [], guard=LOOSE).deleted == 3
    assert publish(layer, [], guard=DeleteGuard()) == Counts()


@pytest.mark.parametrize("replace", [True, False])
def test_publish__dry_run(sim, layer, replace):
    """A dry run counts what would be done and sends no edit."""
    publish(layer, make_rows(10))
    edits = len(sim.edits)
    rows = [make_row(0, name="New"), *make_rows(7, 1), make_row(20), delete(make_row(8)), delete(make_row(9))]
    counts = publish(layer, rows, dry_run=True, replace=replace)
    assert counts == Counts(read=11, inserted=1, updated=1, unchanged=7, deleted=2)
    assert len(sim.edits) == edits
    assert publish(layer, rows, replace=replace) == counts


# --- incremental -----------------------------------------------------------------------------------


def test_publish__incremental(sim, layer):
    """Rows are updated or added by key, tombstones deleted, all others left alone."""
    publish(layer, make_rows(500))
    rows = [
        make_row(0, name="New"),
        *make_rows(150, 1),
        make_row(900),
        delete(make_row(400)),
        delete(make_row(999)),
    ]
    counts = publish(layer, rows, replace=False, guard=DeleteGuard())
    assert counts == Counts(read=154, inserted=1, updated=1, unchanged=150, deleted=1)
    found = names(sim)
    assert len(found) == 500 and "k00400" not in found and found["k00000"] == "New"
    edits = len(sim.edits)
    assert publish(layer, rows, replace=False) == Counts(read=154, unchanged=152)
    assert len(sim.edits) == edits


def test_publish__incremental_guard(sim, layer):
    """The brake counts tombstones against the whole layer."""
    publish(layer, make_rows(10))
    gone = [delete(row) for row in make_rows(3)]
    with pytest.raises(PublishError, match="3 of the 10 records"):
        publish(layer, gone, replace=False, guard=DeleteGuard())
    assert publish(layer, gone[:2], replace=False, guard=DeleteGuard()).deleted == 2


def test_publish__incremental_key_alive_and_deleted(sim, layer):
    """A key that one row has and another has lost stays."""
    publish(layer, make_rows(3))
    counts = publish(layer, [delete(make_row(1)), make_row(1, name="New")], replace=False)
    assert counts == Counts(read=2, updated=1)
    assert names(sim)["k00001"] == "New"


def test_publish__incremental_duplicates(sim, layer):
    """Second copies of keys in the run are taken out, those of other keys are not touched."""
    features = [{"attributes": {"id": key, "NAME": "x"}} for key in ("a", "b", "c", "a", "b", "c")]
    ids = sim.add_features(ITEM, 0, features)
    rows = [Row("a", {"id": "a", "name": "x"}), Row("b", {"id": "b", "name": "x"}, deleted=True)]
    counts = publish(layer, rows, replace=False, location_field=None)
    assert counts == Counts(read=2, unchanged=1, deleted=3)
    assert [f["attributes"]["OBJECTID"] for f in sim.features(ITEM)] == [ids[0], ids[2], ids[5]]


def test_publish__quotes_in_keys(sim, layer):
    """Quotes in keys are no way into the query."""
    rows = [Row(key, {"id": key, "name": "x"}) for key in ("it's", "'; --", "' OR '1'='1", "ok")]
    publish(layer, rows, location_field=None)
    assert publish(layer, rows, location_field=None, replace=False) == Counts(read=4, unchanged=4)
    assert publish(layer, [delete(rows[2])], location_field=None, replace=False).deleted == 1
    assert set(names(sim)) == {"it's", "'; --", "ok"}


# --- trouble ---------------------------------------------------------------------------------------

CERTAIN = ["error-498", "error-499", "503", "504", "error-500", "error-504", "reset", "html"]
APPLIED = [
    "after-504",
    "after-error-504",
    "after-error-500",
    "after-reset",
    "cut",
    "after-html",
    "short-results",
    "half-504",
]


@pytest.mark.parametrize("kind", [*CERTAIN, *APPLIED])
@pytest.mark.parametrize("unique", [None, "id"])
@pytest.mark.parametrize("replace", [True, False])
def test_publish__fault_at_an_edit(sim, portal, kind, unique, replace):
    """Whatever becomes of one answer to an edit: no feature twice, none lost, all counted."""
    sim.create_layer(ITEM, 1, fields=FIELDS, unique_key=unique)
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    publish(layer, make_rows(30))
    watch = sim.watch(ITEM, 1)
    rows = [make_row(n, name="New") for n in range(10)] + make_rows(15, 10) + make_rows(20, 100)
    if not replace:
        rows += [delete(make_row(n)) for n in range(25, 30)]
    for part in ("updates=", "adds=", "deletes="):
        sim.faults.add(kind, path="applyEdits", body=part)
    counts = publish(layer, rows, replace=replace)
    assert all(order.fired == 1 for order in sim.faults._orders)
    alive = [row for row in rows if not row.deleted]
    assert names(sim, 1) == expected(alive)
    assert counts == Counts(read=len(rows), inserted=20, updated=10, unchanged=15, deleted=5)
    assert watch.doubled == set()
    assert watch.min_count >= 30 and not watch.absent - {f"k{n:05}" for n in range(25, 30)}
    assert watch.moved().keys() == {f"k{n:05}" for n in range(25, 30)}
    sim.faults.clear()
    edits = len(sim.edits)
    assert publish(layer, alive).unchanged == 45
    assert len(sim.edits) == edits


@pytest.mark.parametrize("unique", [None, "id"])
@pytest.mark.parametrize("replace", [True, False])
def test_publish__late_commit(sim, portal, unique, replace):
    """An add that is carried out long after its 504 leaves no second copy."""
    sim.create_layer(ITEM, 1, fields=FIELDS, unique_key=unique)
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    publish(layer, make_rows(5))
    watch = sim.watch(ITEM, 1)
    sim.faults.add("late-commit", path="applyEdits", seconds=0.15)
    rows = make_rows(40)
    counts = publish(layer, rows, replace=replace, pauses_s=LATE_S)
    assert counts == Counts(read=40, inserted=35, unchanged=5)
    assert names(sim, 1) == expected(rows)
    assert bool(watch.doubled) is (unique is None)  # the copies were there, and went


@pytest.mark.parametrize("replace", [True, False])
def test_publish__stale_reads(sim, layer, replace):
    """A read that does not show an edit yet is looked at again, not believed."""
    publish(layer, make_rows(20))
    sim.switches.stale_reads = 2
    rows = [make_row(0, name="New"), *make_rows(18, 1), *make_rows(5, 50)]
    tombstone = [] if replace else [delete(make_row(19))]
    counts = publish(layer, [*rows, *tombstone], replace=replace)
    assert (counts.inserted, counts.updated, counts.deleted) == (5, 1, 1)
    assert names(sim) == expected(rows)
    assert sum(call.adds for call in sim.edits) == 25


def test_publish__stale_reads_after_unknown_add(sim, layer):
    """An add without an answer, hidden by a stale read, is sent twice and then taken out once."""
    publish(layer, make_rows(3))
    sim.switches.stale_reads = 3
    sim.faults.add("after-504", path="applyEdits")
    rows = make_rows(20)
    assert publish(layer, rows, pauses_s=(0.01,) * 8).inserted == 17
    assert names(sim) == expected(rows)
    assert sum(call.adds for call in sim.edits) == 3 + 17 + 17


def test_publish__stale_read_hides_what_a_unique_index_holds(sim, portal):
    """An add that was carried out unseen and is then refused as a duplicate counts as done."""
    sim.create_layer(ITEM, 1, fields=FIELDS, unique_key="id")
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    publish(layer, make_rows(3))
    sim.switches.stale_reads = 3
    sim.faults.add("after-504", path="applyEdits")
    assert publish(layer, make_rows(10)) == Counts(read=10, inserted=7, unchanged=3)
    assert names(sim, 1) == expected(make_rows(10))


def test_publish__stale_plan(sim, layer):
    """A feature that our first read did not show keeps its object id and gets the new values."""
    sim.switches.stale_seconds = 0.15
    [oid] = sim.add_features(ITEM, 0, [{"attributes": {"id": "k00000", "NAME": "old"}}])
    assert publish(layer, make_rows(2), pauses_s=(0.05,) * 20).inserted == 2
    assert names(sim) == expected(make_rows(2))
    assert sim.layer(ITEM).find_ids("id")["k00000"] == [oid]


def test_publish__never_seen_again(sim, layer):
    """What was confirmed and never shows is a loud failure, not a second add."""
    publish(layer, make_rows(3))
    sim.switches.stale_seconds = 60
    with pytest.raises(PublishError, match=r"2 keys are missing \(k00003, k00004\)"):
        publish(layer, make_rows(5), pauses_s=(0.01, 0.02))
    sim.switches.stale_seconds = 0
    assert names(sim) == expected(make_rows(5))


def test_publish__token_expires_again_and_again(sim, layer):
    """A token that ends in mid-run, for reads or edits, is renewed and nothing is lost."""
    for after in range(1, 12, 2):
        sim.faults.add("error-498", path="FeatureServer", after=after)
    rows = make_rows(700)
    assert publish(layer, rows) == Counts(read=700, inserted=700)
    assert names(sim) == expected(rows)
    assert sim.sign_in.issued >= 4


def test_publish__throttled(sim, layer):
    """A throttled request waits as long as it is told and is repeated, edits too."""
    sim.faults.add("error-429", path="applyEdits", seconds=1)
    sim.faults.add("429", path="query", headers={"Retry-After": "0"})
    assert publish(layer, make_rows(3)).inserted == 3
    assert len(sim.edits) == 1


@pytest.mark.parametrize("limit", [{"max_edit_features": 40}, {"max_body_bytes": 9000}])
@pytest.mark.parametrize("status", [404, 413])
def test_publish__too_large(sim, layer, limit, status):
    """Requests that are too much for the server are sent in halves."""
    for name, value in limit.items():
        setattr(sim.switches, name, value)
    sim.switches.too_long_status = status
    rows = make_rows(250)
    assert publish(layer, rows, pauses_s=(0.0,)) == Counts(read=250, inserted=250)
    changed = [make_row(n, name="New") for n in range(100)]
    assert publish(layer, changed, pauses_s=(0.0,)) == Counts(read=100, updated=100, deleted=150)
    assert names(sim) == expected(changed)


@pytest.mark.parametrize("answer", ["entries", "request"])
def test_publish__server_that_always_rolls_back(sim, layer, answer):
    """A server that undoes a whole block for one bad feature still gets all the others."""
    short = [dataclasses.replace(f, length=5) if f.name == "NAME" else f for f in sim.layer(ITEM).fields]
    sim.layer(ITEM).set_fields(short)  # after we read the layer's properties
    sim.switches.rollback_answer = answer

    def roll_back(request):
        request.body = request.body.replace(b"rollbackOnFailure=false", b"rollbackOnFailure=true")

    sim.on_request = roll_back
    rejects: list[Reject] = []
    rows = [make_row(n, name="ok") for n in range(20)] + [make_row(30, name="too long for it")]
    counts = publish(layer, rows, rejects=rejects)
    assert counts == Counts(read=21, inserted=20, rejected=1)
    assert rejects[0].record_id == "k00030"


def test_publish__every_second_edit_fails(sim, layer):
    """A server that often fails, but never for long, gets everything in the end."""
    sim.faults.add("504", path="applyEdits", times=None, share=0.5)
    rows = make_rows(2500)
    assert publish(layer, rows, pauses_s=(0.0,)) == Counts(read=2500, inserted=2500)
    assert names(sim) == expected(rows)
    assert sim.count("POST", "applyEdits") - len(sim.edits) > 9


def test_publish__down_for_good(sim, layer):
    """A server that never answers ends the run, which can be run again."""
    publish(layer, make_rows(5))
    sim.faults.add("503", path="applyEdits", times=None)
    with pytest.raises(PublishError, match="Run again"):
        publish(layer, make_rows(600), pauses_s=(0.01,))
    assert sim.count("POST", "applyEdits") < 20
    sim.faults.clear()
    assert publish(layer, make_rows(600)) == Counts(read=600, inserted=595, unchanged=5)


def test_publish__dies_halfway_and_runs_again(sim, portal, layer):
    """A run that dies between two requests leaves nothing that the next one does not put right."""
    publish(layer, make_rows(10))
    watch = sim.watch(ITEM)

    class Stopping:
        def wait(self):
            if len(sim.edits) >= 3:
                raise Stopped("told to stop")

    rows = [make_row(n, name="New") for n in range(8)] + make_rows(900, 100)
    portal.session.limiter = Stopping()
    with pytest.raises(Stopped):
        publish(layer, rows)
    portal.session.limiter = None
    assert len(sim.edits) == 3 and len(names(sim)) == 260
    assert watch.absent == set()
    counts = publish(layer, rows)
    assert counts.inserted > 0 and counts.unchanged > 0 and counts.deleted == 2
    assert names(sim) == expected(rows)


def test_publish__feature_gone_meanwhile(sim, layer):
    """A feature that another writer deletes while we plan is added anew; one we would delete is done."""
    publish(layer, make_rows(4))

    def interfere(request):
        if b"updates=" in request.body:
            sim.on_request = None
            sim.layer(ITEM).apply(deletes=[1, 4])

    sim.on_request = interfere
    counts = publish(layer, [make_row(0, name="New"), make_row(1, name="New"), make_row(2)])
    assert counts == Counts(read=3, inserted=1, updated=1, unchanged=1, deleted=1)
    assert names(sim) == {"k00000": "New", "k00001": "New", "k00002": "Sign 2"}


@pytest.mark.parametrize("code", [1022, 1000])
def test_publish__key_added_meanwhile(sim, portal, code):
    """A key that another writer adds before us is updated where a unique index refuses ours, whatever the code."""
    sim.create_layer(ITEM, 1, fields=FIELDS, unique_key="id")
    layer = agol.open_layer(portal, ITEM, 1, "layer")
    state = sim.layer(ITEM, 1)
    real = state.apply

    def apply(*edits):
        results = real(*edits)
        for entry in results["addResults"]:
            if "error" in entry:
                entry["error"]["code"] = code
        return results

    def interfere(request):
        if b"adds=" in request.body:
            sim.on_request, state.apply = None, apply
            real(adds=[{"attributes": {"id": "k00001", "NAME": "theirs"}}])

    sim.on_request = interfere
    assert publish(layer, make_rows(3)) == Counts(read=3, inserted=3)
    assert names(sim, 1) == expected(make_rows(3))


def test_publish__older_copy_by_another_writer(sim, layer):
    """Where another writer's feature of a key is older than ours, it stays, with what we had to say of it."""

    def interfere(request):
        if b"adds=" in request.body:
            sim.on_request = None
            sim.add_features(ITEM, 0, [{"attributes": {"id": "k00001", "NAME": "theirs"}}])

    sim.on_request = interfere
    assert publish(layer, make_rows(3)) == Counts(read=3, inserted=3)
    assert names(sim) == expected(make_rows(3))


@pytest.mark.parametrize(("key", "named"), [("stranger", "stranger"), (None, "no key")])
def test_publish__another_writer(sim, layer, key, named):
    """Features that somebody adds meanwhile are not deleted unseen: the run says so and fails."""
    publish(layer, make_rows(4))

    def interfere(request):
        if b"adds=" in request.body:
            sim.on_request = None
            sim.add_features(ITEM, 0, [{"attributes": {"id": key}}])

    sim.on_request = interfere
    with pytest.raises(PublishError, match=rf"1 keys should not be there \({named}\)"):
        publish(layer, make_rows(5), pauses_s=(0.01,))
    assert publish(layer, make_rows(5)).deleted == 1


def test_publish__incomplete_read(sim, layer):
    """A layer that cannot be read as a whole is not published to: what is unseen would be added again."""
    publish(layer, make_rows(30))
    edits = len(sim.edits)
    page = sim.layer(ITEM)
    real = page.read_rows

    def hide_some():
        rows, fresh = real()
        return {oid: f for oid, f in rows.items() if oid % 2 or hide_some.counting}, fresh

    hide_some.counting = False

    def note_kind(request):
        hide_some.counting = b"returnCountOnly" in request.body

    sim.on_request, page.read_rows = note_kind, hide_some
    with pytest.raises(PublishError, match="counts 30 features, but 15 were read. Nothing was changed"):
        publish(layer, make_rows(30), pauses_s=(0.01,))
    assert len(sim.edits) == edits


def test_publish__read_whole_at_last(sim, layer):
    """What a look that was not whole found is forgotten: the next one decides alone."""
    publish(layer, make_rows(30))
    sim.add_features(
        ITEM, 0, [{"attributes": {"id": key}} for key in ("k00003", "k00004", "stranger", None, None)]
    )
    page = sim.layer(ITEM)
    real = page.read_rows
    looks = []

    def hide_at_first():
        looks.append(1)
        rows, fresh = real()
        return ({oid: f for oid, f in rows.items() if oid % 3}, fresh) if len(looks) == 1 else (rows, fresh)

    page.read_rows = hide_at_first
    counts = publish(layer, make_rows(30), pauses_s=(0.01, 0.01))
    assert len(looks) > 2
    assert counts == Counts(read=30, unchanged=30, deleted=5)
    assert names(sim) == expected(make_rows(30))


STRANGE = ["100% + 1 & 2 = 3; ü", "%2B%26+&&==;;", '"quoted" \\ {}[],:', "🛴 \x7f \x01\t", "a+b c", "%"]


def test_publish__what_is_added_as_it_was_built(sim, portal):
    """Features arrive the same, whatever else the layer holds and whether or not every row has every name."""

    def read(layer_id):
        found = {}
        for feature in sim.features(ITEM, layer_id):
            feature["attributes"].pop("OBJECTID")
            found[feature["attributes"]["id"]] = feature
        return found

    rows = [make_row(n, name=text) for n, text in enumerate(STRANGE)]
    held = {}
    for layer_id, others in ((1, []), (2, [make_row(90)]), (3, [rows[2], make_row(3, name="Old")])):
        sim.create_layer(ITEM, layer_id, fields=FIELDS)
        layer = agol.open_layer(portal, ITEM, layer_id, "layer")
        publish(layer, others)
        publish(layer, rows)
        held[layer_id] = read(layer_id)
    assert {key: f["attributes"]["NAME"] for key, f in held[1].items()} == expected(rows)
    assert held[1] == held[2] == held[3]
    # One row without a name that the others have: it is empty there, and so unfit where it may not be.
    nameless = {name: value for name, value in rows[2].values.items() if name != "name"}
    for layer_id, others in ((5, []), (6, [make_row(90)])):
        sim.create_layer(ITEM, layer_id, fields={**FIELDS, "NAME": ("String", 20, False)})
        layer = agol.open_layer(portal, ITEM, layer_id, "layer")
        publish(layer, others)
        rejects: list[Reject] = []
        publish(layer, [*rows[:2], Row("k00002", nameless)], rejects=rejects)
        assert [(one.record_id, one.reason) for one in rejects] == [
            ("k00002", "field NAME: may not be empty")
        ]
        assert names(sim, layer_id) == expected(rows[:2])
    sim.create_layer(ITEM, 4, fields=FIELDS)
    fewer = dict(rows[5].values)
    del fewer["quantity"]
    publish(agol.open_layer(portal, ITEM, 4, "layer"), [*rows[:5], Row("k00005", fewer)])
    held[1]["k00005"]["attributes"]["QUANTITY"] = None
    assert read(4) == held[1]


def test_publish__errors_hold_no_values(sim, layer, caplog):
    """Neither errors nor logs hold what records say."""
    caplog.set_level(logging.DEBUG)
    sim.faults.add("after-504", path="applyEdits")
    sim.switches.lone_angle_is_html = True
    rejects: list[Reject] = []
    publish(layer, [make_row(0, name="hush < hush"), make_row(1, name="hush")], rejects=rejects)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("services")]
    assert ours and not any("hush" in text for text in [*ours, *(reject.reason for reject in rejects)])
    assert not any(sim.password in text for text in ours)


def test_apply_edits__kinds_of_failure(sim, layer):
    """The caller can tell a refusal from an answer that tells nothing."""
    from services.utils.agol.forms import encode_text
    from services.utils.agol.layer import apply_edits

    add = [encode_text(b'{"attributes":{"id":"a"}}')]
    sim.faults.add("short-results")
    with pytest.raises(OutcomeUnknown, match="accounts for 0 of them"):
        apply_edits(layer, "adds", add)
    sim.faults.add("error-400")
    with pytest.raises(RequestRefused) as caught:
        apply_edits(layer, "adds", add)
    assert caught.value.code == "400"
    assert isinstance(caught.value, PublishError)
