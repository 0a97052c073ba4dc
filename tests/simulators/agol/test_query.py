"""Queries: selection, order, pages, projection, statistics."""

import json

import pytest
import requests

from tests.simulators.agol.conftest import SIGNS

DEGREES = {"wkid": 4326}
JAN_2024 = 1704067200000


@pytest.fixture
def signs(agol):
    """Twenty-five features with keys "k00" to "k24"; NAME is empty in every fifth."""
    agol.add_features(
        SIGNS,
        0,
        [
            {
                "attributes": {
                    "id": f"k{i:02}",
                    "NAME": None if i % 5 == 0 else f"O'Hara {i % 3}",
                    "COUNT_": i,
                    "WIDTH": i / 2,
                    "SEEN": JAN_2024 + i * 86_400_000,
                },
                "geometry": {"x": -97.7 - i / 100, "y": 30.2, "spatialReference": DEGREES},
            }
            for i in range(25)
        ],
    )


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("1=1", 25),
        ("1 = 2", 0),
        ("COUNT_ = 3", 1),
        ("COUNT_ <> 3", 24),
        ("COUNT_ >= 20 AND COUNT_ < 22", 2),
        ("COUNT_ < 2 OR COUNT_ > 22", 4),
        ("COUNT_ BETWEEN 3 AND 5", 3),
        ("COUNT_ = -1", 0),
        ("WIDTH <= 1.5", 4),
        ("id IN ('k01','k02','nowhere')", 2),
        ("ID NOT IN ('k01','k02')", 23),
        ("NAME NOT IN ('nobody')", 20),
        ("id = 'K01  '", 1),
        ("UPPER(id) = 'K01'", 1),
        ("\"id\" LIKE 'k1_'", 10),
        ("id NOT LIKE '%1'", 22),
        ("id LIKE 'k0[1-35]'", 4),
        ("id LIKE 'k0[^1-3]'", 7),
        ("id LIKE 'k0['", 0),
        ("NAME = 'O''Hara 1'", 7),
        ("NAME IS NULL", 5),
        ("NAME IS NOT NULL", 20),
        ("NAME <> 'O''Hara 1'", 13),
        ("NOT NAME = 'O''Hara 1'", 13),
        ("NOT (COUNT_ = 1 OR COUNT_ = 2)", 23),
        ("(COUNT_) = 1", 1),
        ("COUNT_ = 1 AND (NAME IS NULL OR id = 'k01')", 1),
        ("SEEN >= TIMESTAMP '2024-01-24 00:00:00'", 2),
        ("SEEN < DATE '2024-01-03'", 2),
        ("SEEN = '2024-01-03 00:00:00'", 1),
        ("OBJECTID > 20", 5),
    ],
)
def test_where__selects(client, signs, where, count):
    """A clause of the subset selects what SQL says, nulls neither equal nor different."""
    assert client.count(where) == count


@pytest.mark.parametrize(
    "where",
    [
        "",
        "COUNT_",
        "COUNT_ = ",
        "COUNT_ = 'x'",
        "id = 5",
        "NOTHERE = 1",
        "id = 'open",
        "COUNT_ = 1; DELETE",
        "COUNT_ != 1",
        "COUNT_ IN ()",
        "(COUNT_ = 1",
        "COUNT(id) > 1",
        "SEEN > 5",
    ],
)
def test_where__refuses(client, signs, where):
    """What is no clause of known fields and matching types is a 400."""
    assert client.call("query", where=where)["error"]["code"] == 400


def test_where__text_comparison_is_a_switch(agol, client, signs):
    """With the switch off, case and trailing spaces count."""
    agol.switches.text_ignores_case = False
    assert [client.count(f"id = '{key}'") for key in ("k01", "K01", "k01 ")] == [1, 0, 0]
    assert client.count("UPPER(id) = 'K01'") == 1


def test_query__gives_pages_and_says_when_there_is_more(client, signs):
    """Pages hold at most maxRecordCount features, and only the last one lacks exceededTransferLimit."""
    pages = [
        client.call("query", where="1=1", outFields="id", orderByFields="id", resultOffset=at)
        for at in (0, 10, 20)
    ]
    assert [len(page["features"]) for page in pages] == [10, 10, 5]
    assert [page.get("exceededTransferLimit") for page in pages] == [True, True, None]
    found = [feature["attributes"]["id"] for page in pages for feature in page["features"]]
    assert found == [f"k{i:02}" for i in range(25)]
    few = client.call("query", where="1=1", resultRecordCount=3)
    assert (len(few["features"]), few["exceededTransferLimit"]) == (3, True)
    whole = client.call("query", where="COUNT_ < 10")
    assert (len(whole["features"]), whole.get("exceededTransferLimit")) == (10, None)
    assert client.call("query", where="1=1", resultOffset="x")["error"]["code"] == 400


def test_query__has_no_order_unless_asked(agol, client, signs):
    """Without orderByFields two answers differ in order, with it they do not; the switch ends that."""

    def read(**form):
        said = client.call("query", where="1=1", outFields="COUNT_", **form)
        return [feature["attributes"]["COUNT_"] for feature in said["features"]]

    assert len({tuple(read()) for _ in range(5)}) > 1
    assert read(orderByFields="COUNT_ DESC") == list(range(24, 14, -1))
    assert read(orderByFields="NAME,OBJECTID")[:5] == [0, 5, 10, 15, 20]
    agol.switches.unstable_order = False
    assert read() == list(range(10))


def test_query__key_set_paging_survives_deletes(agol, client, signs):
    """Pages by object id miss nothing when rows before them go."""
    seen, last = [], 0
    while True:
        page = client.call("query", where=f"OBJECTID > {last}", orderByFields="OBJECTID")
        ids = [feature["attributes"]["OBJECTID"] for feature in page["features"]]
        seen += ids
        if not page.get("exceededTransferLimit"):
            break
        last = ids[-1]
        client.call("deleteFeatures", objectIds=ids[0])
    assert seen == list(range(1, 26))


def test_query__counts_and_ids_are_not_cut(client, signs):
    """returnCountOnly and returnIdsOnly tell of everything."""
    assert client.count() == 25
    said = client.call("query", where="1=1", returnIdsOnly="true")
    assert (said["objectIdFieldName"], sorted(said["objectIds"])) == ("OBJECTID", list(range(1, 26)))
    some = client.call("query", objectIds="3,1,99", outFields="OBJECTID", orderByFields="OBJECTID")
    assert [feature["attributes"]["OBJECTID"] for feature in some["features"]] == [1, 3]


def test_query__gives_the_fields_asked_for(client, signs):
    """outFields selects; dates are integer milliseconds; an unknown field is refused."""
    said = client.call("query", where="COUNT_=1", outFields="SEEN, name", returnGeometry="false")
    assert said["features"] == [{"attributes": {"SEEN": JAN_2024 + 86_400_000, "NAME": "O'Hara 1"}}]
    assert [item["name"] for item in said["fields"]] == ["SEEN", "NAME"]
    every = client.call("query", where="COUNT_=1", outFields="*")["features"][0]["attributes"]
    assert set(every) == {"OBJECTID", "id", "NAME", "COUNT_", "WIDTH", "SEEN"}
    assert client.call("query", where="1=1", outFields="nope")["error"]["code"] == 400


def test_query__projects(agol, client):
    """Geometry comes in the layer's metres unless outSR asks for degrees, equal within a tolerance.

    The point is the worked example of the EPSG's guidance note 7-2 for Web Mercator.
    """
    longitude, latitude = -(100 + 20 / 60), 24 + 22 / 60 + 54.433 / 3600
    geometry = {"x": longitude, "y": latitude, "spatialReference": DEGREES}
    agol.add_features(SIGNS, 0, [{"attributes": {"id": "a"}, "geometry": geometry}])
    plain = client.call("query", where="1=1")
    assert plain["spatialReference"] == {"wkid": 102100, "latestWkid": 3857}
    assert plain["features"][0]["geometry"]["x"] == pytest.approx(-11169055.58, abs=0.01)
    assert plain["features"][0]["geometry"]["y"] == pytest.approx(2800000.00, abs=0.01)
    for reference in ("4326", json.dumps(DEGREES)):
        said = client.call("query", where="1=1", outSR=reference)
        assert said["features"][0]["geometry"]["x"] == pytest.approx(longitude, abs=1e-9)
        assert said["features"][0]["geometry"]["y"] == pytest.approx(latitude, abs=1e-9)
    assert client.call("query", where="1=1", outSR="1234567")["error"]["code"] == 400


def test_query__counts_duplicates(agol, client, signs):
    """outStatistics with groupBy and having finds keys that occur more than once."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": key}} for key in ("k03", "K03", "k04")])
    form = {
        "where": "1=1",
        "groupByFieldsForStatistics": "id",
        "outStatistics": json.dumps(
            [
                {"statisticType": "count", "onStatisticField": "OBJECTID", "outStatisticFieldName": "copies"},
                {"statisticType": "min", "onStatisticField": "OBJECTID", "outStatisticFieldName": "first"},
            ]
        ),
    }
    said = client.call("query", **form, having="COUNT(OBJECTID) > 1", orderByFields="id")
    assert [feature["attributes"] for feature in said["features"]] == [
        {"id": "k03", "copies": 3, "first": 4},
        {"id": "k04", "copies": 2, "first": 5},
    ]
    every = client.call("query", **form)
    assert (len(every["features"]), every["exceededTransferLimit"]) == (10, True)
    assert client.call("query", **form, having="copies > 1")["error"]["code"] == 400
    assert agol.duplicates(SIGNS, 0, "id") == {"k03": 3, "k04": 2}


def test_query__refuses_a_long_address(agol, client, signs):
    """A GET with a long clause is refused by the front with 413; a POST of it is answered."""
    where = "id IN ({})".format(",".join(f"'{i:024}'" for i in range(200)))
    form = {"f": "json", "token": client.token, "where": where, "returnCountOnly": "true"}
    assert requests.get(agol.layer_url(SIGNS) + "/query", params=form).status_code == 413
    assert requests.post(agol.layer_url(SIGNS) + "/query", data=form).json() == {"count": 0}


def test_query__may_lag(agol, client, signs):
    """With the switches, queries show a write only after some reads or some time; the truth has it."""
    agol.switches.stale_reads = 2
    client.call("deleteFeatures", where="COUNT_ < 5")
    assert len(agol.features(SIGNS)) == 20
    assert [client.count() for _ in range(3)] == [25, 25, 20]
    agol.switches.stale_reads = 0
    agol.switches.stale_seconds = 30.0
    client.call("updateFeatures", features='[{"attributes":{"OBJECTID":25,"NAME":"new"}}]')
    client.call("addFeatures", features='[{"attributes":{"id":"k99"}}]')
    assert client.count("NAME = 'new'") == client.count("id = 'k99'") == 0
    agol.switches.stale_seconds = 0.0
    assert client.count("NAME = 'new'") == client.count("id = 'k99'") == 1
