"""The Socrata simulator against the real client (sodapy) and against what the portal is known to refuse."""

import csv
import gzip
import io
import json
import random
import threading
import time

import pytest
import requests
from requests.adapters import HTTPAdapter
from sodapy import Socrata

from dev.simulators.socrata import API_KEY, SocrataSimulator

SIGNS = "abcd-1234"
COLUMNS = {
    "id": "text",
    "status": "text",
    "n": "number",
    "ok": "checkbox",
    "installed": "calendar_date",
    "seen": "date",
    "place": "point",
    "places": "multipoint",
    "way": "line",
    "area": "polygon",
    "old_place": "location",
    "link": "url",
}


@pytest.fixture
def portal():
    """A portal with one dataset that has a row identifier."""
    with SocrataSimulator(seed=7) as simulator:
        simulator.create_dataset(SIGNS, COLUMNS, row_id="id", name="Signs")
        yield simulator


@pytest.fixture
def client(portal):
    """The real client, signed in, over plain http."""
    with open_client(portal) as signed_in:
        yield signed_in


def open_client(portal):
    """sodapy's client for the portal's publisher."""
    return Socrata(
        f"127.0.0.1:{portal.port}",
        portal.app_token,
        username=portal.username,
        password=portal.password,
        session_adapter={"prefix": "http://", "adapter": HTTPAdapter()},
    )


def send(portal, method, path=f"/resource/{SIGNS}.json", rows=None, data=None, auth=True, **headers):
    """One request as it is, with a login unless told otherwise."""
    if rows is not None:
        data = json.dumps(rows)
    return requests.request(
        method,
        portal.url + path,
        data=data,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        auth=(portal.username, portal.password) if auth is True else auth or None,
        timeout=20,
    )


def read(portal, four_by_four=SIGNS, kind="json", path="resource", **parameters):
    """A read without a login; parameters are SoQL clauses."""
    named = {f"${name}": value for name, value in parameters.items()}
    return requests.get(f"{portal.url}/{path}/{four_by_four}.{kind}", params=named, timeout=20)


def fill(portal, count):
    """Rows A0000, A0001 ... with their number."""
    portal.upsert(SIGNS, [{"id": f"A{n:04}", "n": n} for n in range(count)])


# The real client


def test_upsert__creates_updates_and_deletes(portal, client):
    """sodapy's upsert inserts unknown ids, updates known ones and deletes where told, and gives the counts."""
    portal.switches.reply_style = "all"
    fill(portal, 2)
    reply = client.upsert(
        SIGNS, [{"id": "A0000", "status": "ACTIVE"}, {"id": "B1"}, {"id": "A0001", ":deleted": True}]
    )
    assert reply == {"Rows Created": 1, "Rows Updated": 1, "Rows Deleted": 1, "Errors": 0}
    assert portal.rows(SIGNS) == [{"id": "A0000", "n": "0", "status": "ACTIVE"}, {"id": "B1"}]


def test_upsert__merges_and_null_clears(portal, client):
    """An omitted field keeps its value, null clears it, and reads leave null fields out."""
    client.upsert(SIGNS, [{"id": "A1", "status": "ACTIVE", "n": 1, "ok": True}])
    client.upsert(SIGNS, [{"id": "A1", "status": None, "n": 2}])
    assert client.get(SIGNS) == [{"id": "A1", "n": "2", "ok": True}]


def test_upsert__repeated_changes_nothing(portal, client):
    """With a row identifier the same request twice leaves the same rows."""
    rows = [{"id": f"A{n}", "n": n} for n in range(5)]
    client.upsert(SIGNS, rows)
    before = portal.rows(SIGNS)
    client.upsert(SIGNS, rows)
    assert portal.rows(SIGNS) == before


def test_upsert__same_id_twice_in_one_request(portal, client):
    """Rows of one request are applied in order: a later one merges over an earlier one."""
    client.upsert(SIGNS, [{"id": "A1", "n": 1, "status": "OLD"}, {"id": "A1", "status": "NEW"}])
    assert portal.rows(SIGNS) == [{"id": "A1", "n": "1", "status": "NEW"}]


def test_upsert__appends_without_a_row_identifier(portal, client):
    """Without a row identifier every POST appends, so that a repeated one doubles the rows."""
    portal.create_dataset("aaaa-0001", {"id": "text"}, row_id=None)
    for _ in range(2):
        client.upsert("aaaa-0001", [{"id": "A1"}])
    assert portal.rows("aaaa-0001") == [{"id": "A1"}, {"id": "A1"}]


def test_upsert__by_system_id_without_a_row_identifier(portal, client):
    """Without a row identifier `:id` names a row; one that does not exist is an error inside a 200."""
    portal.switches.reply_style = "all"
    portal.create_dataset("aaaa-0001", {"n": "number"}, row_id=None)
    client.upsert("aaaa-0001", [{"n": 1}, {"n": 2}])
    first = client.get("aaaa-0001", select=":id", where="n = 1")[0][":id"]
    assert client.upsert("aaaa-0001", [{":id": first, "n": 9}])["Rows Updated"] == 1
    assert sorted(row["n"] for row in portal.rows("aaaa-0001")) == ["2", "9"]
    assert client.upsert("aaaa-0001", [{":id": first, ":deleted": True}])["Rows Deleted"] == 1
    assert client.upsert("aaaa-0001", [{":id": first, "n": 9}])["Errors"] == 1


def test_upsert__csv_file(portal, client):
    """A file is sent as CSV to the .json path; an empty cell sets null, `:deleted` deletes."""
    portal.upsert(SIGNS, [{"id": "A1", "n": 1, "status": "ACTIVE"}, {"id": "A2"}])
    text = 'id,n,status,ok,place,:deleted\nA1,2,,true,POINT (-97.74 30.27),\nA2,,,,,true\n"B,1",3,x,false,,\n'
    client.upsert(SIGNS, io.StringIO(text))
    assert portal.rows(SIGNS) == [
        {"id": "A1", "n": "2", "ok": True, "place": {"type": "Point", "coordinates": [-97.74, 30.27]}},
        {"id": "B,1", "n": "3", "status": "x", "ok": False},
    ]


def test_replace__leaves_only_what_was_sent(portal, client):
    """PUT leaves exactly the rows sent, with new `:id`s, and readers never see anything between."""
    fill(portal, 20)
    ids = {row[":id"] for row in client.get(SIGNS, select=":id")}
    portal.watch(SIGNS)
    client.replace(SIGNS, [{"id": f"A{n:04}"} for n in range(5, 17)])
    assert [row["id"] for row in portal.rows(SIGNS)] == [f"A{n:04}" for n in range(5, 17)]
    assert "n" not in portal.row(SIGNS, "A0007")
    assert portal.history(SIGNS) == [20, 12]
    assert not ids & {row[":id"] for row in client.get(SIGNS, select=":id")}


def test_replace__empty_wipes(portal, client):
    """An empty PUT empties the dataset: it is no error."""
    fill(portal, 3)
    client.replace(SIGNS, [])
    assert portal.visible_count(SIGNS) == 0


def test_replace__refused_leaves_the_old_rows(portal, client):
    """A refused PUT changes nothing."""
    fill(portal, 3)
    with pytest.raises(requests.HTTPError, match="400"):
        client.replace(SIGNS, [{"id": "B1"}, {"id": "B2", "n": "1,234"}])
    assert portal.visible_count(SIGNS) == 3


def test_delete__row(portal, client):
    """Deleting a row by its identifier answers with it; an unknown one is a 404."""
    fill(portal, 2)
    assert client.delete(SIGNS, row_id="A0001") == [{"typ": "delete", "id": "A0001"}]
    assert portal.row(SIGNS, "A0001") is None
    with pytest.raises(requests.HTTPError, match="404"):
        client.delete(SIGNS, row_id="A0001")


def test_delete__row_zero_is_the_dataset(portal, client):
    """sodapy's delete with row 0 deletes the whole dataset, and the simulator lets it."""
    fill(portal, 2)
    portal.watch(SIGNS)
    client.delete(SIGNS, row_id=0)
    with pytest.raises(requests.HTTPError, match="404"):
        client.get(SIGNS)
    assert portal.min_count(SIGNS) == 0


def test_get__pages_in_order(portal, client):
    """Pages in an order of their own hold every row once; the default limit is 1,000."""
    fill(portal, 2500)
    assert len(client.get(SIGNS)) == 1000
    for order in (":id", "id"):
        pages = [client.get(SIGNS, order=order, limit=700, offset=offset) for offset in range(0, 2800, 700)]
        assert [len(page) for page in pages] == [700, 700, 700, 400]
        assert [row["id"] for page in pages for row in page] == [f"A{n:04}" for n in range(2500)]


def test_get_all__skips_and_repeats_without_order(portal, client):
    """Offset paging without an order, as sodapy's get_all does it, skips and repeats rows."""
    fill(portal, 2500)
    found = [row["id"] for row in client.get_all(SIGNS)]
    assert len(found) == 2500
    assert len(set(found)) < 2500


def test_get_metadata__columns_and_row_identifier(portal, client):
    """Metadata names columns, types and the row identifier, and shows a hidden column beside a point."""
    client.upsert(SIGNS, [{"id": "A1", "place": "POINT (1 2)"}])
    view = client.get_metadata(SIGNS)
    fields = {column["fieldName"]: column for column in view["columns"]}
    assert {name: fields[name]["dataTypeName"] for name in COLUMNS} == COLUMNS
    assert view["rowIdentifierColumnId"] == fields["id"]["id"]
    assert (fields["id"]["name"], fields["id"]["position"]) == ("Id", 1)
    assert abs(view["rowsUpdatedAt"] - time.time()) < 60
    assert (view["newBackend"], view["publicationStage"]) == (True, "published")
    hidden = [name for name in fields if name.startswith(":@computed_region_")]
    assert len(hidden) == 2
    assert hidden[0] in client.get(SIGNS)[0]
    assert set(client.get(SIGNS, select="id,place")[0]) == {"id", "place"}
    with pytest.raises(requests.HTTPError, match="Illegal field name"):
        client.upsert(SIGNS, [{"id": "A1", hidden[0]: "7"}])


def test_get_metadata__no_row_identifier(portal, client):
    """Without a row identifier the key is absent."""
    portal.create_dataset("aaaa-0001", {"id": "text"}, row_id=None)
    assert "rowIdentifierColumnId" not in client.get_metadata("aaaa-0001")


def test_sodapy__takes_a_ticket_for_success(portal, client):
    """A 202 comes back from sodapy like a result; nothing says that it was not done."""
    portal.faults.add("ticket")
    reply = client.upsert(SIGNS, [{"id": "A1"}])
    assert (reply["code"], reply["error"]) == ("accepted", False)
    assert portal.rows(SIGNS) == []
    ticket = {"ticket": reply["ticket"]}
    assert requests.get(f"{portal.url}/resource/{SIGNS}.json", params=ticket, timeout=9).status_code == 202


def test_ticket__carried_out_later_tells(portal):
    """A ticket whose write was carried out says so after some polls."""
    portal.switches.reply_style = "all"
    portal.faults.add("after-ticket")
    ticket = send(portal, "POST", rows=[{"id": "A1"}]).json()["ticket"]
    answers = [send(portal, "GET", f"/resource/{SIGNS}.json?ticket={ticket}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[1].json()["Rows Created"] == 1
    assert portal.rows(SIGNS) == [{"id": "A1"}]


# Signing in, throttling, permission


@pytest.mark.parametrize(
    ("auth", "headers", "status", "code", "message"),
    [
        (("publisher@example.org", "wrong"), {}, 401, "authentication_required", "Invalid username"),
        (None, {"Authorization": "Bearer x"}, 401, "authentication_required", "Invalid username"),
        (False, {}, 403, "authentication_required", "You must be logged in to access this resource"),
        (True, {"X_App_Token": "wrong"}, 403, "permission_denied", "Invalid app_token specified"),
        (("viewer@example.org", "v"), {}, 403, "permission_denied", "do not have permission"),
    ],
)
def test_sign_in__refused(portal, auth, headers, status, code, message):
    """A wrong login, none at all and a wrong app token are told apart, and nothing is written."""
    portal.switches.logins["viewer@example.org"] = "v"
    portal.switches.viewers.add("viewer@example.org")
    answer = send(portal, "POST", rows=[{"id": "A1"}], auth=auth, **headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (status, code, True)
    assert message in answer.json()["message"]
    assert portal.rows(SIGNS) == []
    assert portal.writes(SIGNS) == []


def test_sign_in__api_key_and_no_token(portal):
    """An API key stands where user and password stand, and a write needs no app token."""
    assert send(portal, "POST", rows=[{"id": "A1"}], auth=API_KEY).status_code == 200


def test_sign_in__reads_are_open_unless_private(portal):
    """Anybody reads a public dataset; a private one wants a login, for metadata too."""
    portal.create_dataset("aaaa-0001", {"id": "text"}, private=True)
    assert read(portal).status_code == 200
    assert read(portal, "aaaa-0001").status_code == 403
    assert read(portal, "aaaa-0001", path="api/views").status_code == 403
    assert send(portal, "GET", "/resource/aaaa-0001.json").status_code == 200


def test_answer__request_id_on_every_answer(portal):
    """Every answer bears an X-Socrata-RequestId of its own, also refusals and gateway pages."""
    portal.faults.add("502", method="PUT")
    answers = [
        read(portal),
        send(portal, "POST", rows=[{"nope": 1}]),
        send(portal, "POST", "/nowhere"),
        send(portal, "PUT", rows=[]),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 404, 502]
    assert len({answer.headers["X-Socrata-RequestId"] for answer in answers}) == 4


def test_answer__missing_dataset(portal):
    """An unknown dataset is a 404 that names it, for reads, writes and metadata."""
    for method, path in (
        ("GET", "/resource/zzzz-9999.json"),
        ("PUT", "/resource/zzzz-9999.json"),
        ("GET", "/api/views/zzzz-9999.json"),
    ):
        answer = send(portal, method, path, rows=[])
        assert answer.status_code == 404
        assert answer.json() == {
            "code": "dataset.missing",
            "error": True,
            "message": "Not found",
            "data": {"id": "zzzz-9999"},
        }


def test_answer__synced_dataset(portal):
    """A synced dataset refuses writes and says why."""
    portal.create_dataset("aaaa-0001", {"id": "text"}, synced=True)
    answer = send(portal, "POST", "/resource/aaaa-0001.json", rows=[{"id": "A1"}])
    assert answer.status_code == 403
    assert answer.json()["message"] == "Cannot update a synced dataset manually"


def test_answer__wrong_stage(portal):
    """A dataset in the wrong lifecycle stage answers writes with 409."""
    portal.create_dataset("aaaa-0001", {"id": "text"}, stage="snapshotted")
    assert send(portal, "POST", "/resource/aaaa-0001.json", rows=[]).status_code == 409


def test_answer__throttled(portal):
    """Above the rate requests get 429; those without a token have a smaller pool; Retry-After is a choice."""
    portal.switches.requests_per_s = 4
    portal.switches.requests_per_s_without_token = 1
    with_token = {"X_App_Token": portal.app_token}
    assert [send(portal, "GET", **with_token).status_code for _ in range(5)] == [200] * 4 + [429]
    assert send(portal, "GET").status_code == 200
    assert "Retry-After" not in send(portal, "GET").headers
    portal.switches.retry_after = "2"
    refused = send(portal, "GET")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")


# Bodies


def test_write__body_too_large(portal):
    """A body above the limit is a 413 with an HTML page, and nothing of it is saved."""
    portal.switches.max_body_bytes = 1000
    rows = [{"id": f"A{n}", "status": "x" * 20} for n in range(100)]
    answer = send(portal, "POST", rows=rows)
    assert (answer.status_code, "<html>" in answer.text) == (413, True)
    assert send(portal, "POST", rows=rows[:10]).status_code == 200
    assert [write.status for write in portal.writes(SIGNS)] == [413, 200]
    assert len(portal.rows(SIGNS)) == 10


def test_write__row_too_large(portal):
    """A single row above its own limit refuses the request."""
    portal.switches.max_row_bytes = 200
    assert send(portal, "POST", rows=[{"id": "A"}] * 100).status_code == 200
    assert send(portal, "POST", rows=[{"id": "B", "status": "x" * 300}]).status_code == 400


def test_write__gzip(portal):
    """A gzip body is read; the log holds both sizes. What claims to be gzip and is not is refused."""
    body = json.dumps([{"id": f"A{n}"} for n in range(500)]).encode()
    assert send(portal, "POST", data=gzip.compress(body), Content_Encoding="gzip").status_code == 200
    write = portal.writes(SIGNS)[0]
    assert (write.rows, write.created, write.decoded_bytes) == (500, 500, len(body))
    assert write.bytes < write.decoded_bytes
    assert send(portal, "POST", data=body, Content_Encoding="gzip").status_code == 400


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        ("", "", 400),
        ('[{"id": "A1"', "", 400),
        ('[{"id": "A1", "n": NaN}]', "", 400),
        ('[{"id": "A1", "n": Infinity}]', "", 400),
        ('["A1"]', "application/json", 400),
        ('"A1"', "application/json", 400),
        ("", "text/csv", 400),
        ("id,n\nA1\n", "text/csv", 400),
        ("\ufeffid\nA1\n", "text/csv", 400),
        ("Id\nA1\n", "text/csv", 400),
        ("id=A1", "application/x-www-form-urlencoded", 415),
        ("[]", "application/json; charset=utf-8", 200),
        ("[]", "", 200),
        ("id\n", "text/csv", 200),
    ],
)
def test_write__unreadable_bodies(portal, data, kind, status):
    """Broken JSON, NaN, rows that are no objects and crooked CSV refuse the request; an empty list does not."""
    fill(portal, 1)
    headers = {"Content_Type": kind} if kind else {}
    answer = send(portal, "POST", data=data.encode(), **headers)
    assert answer.status_code == status
    assert len(portal.rows(SIGNS)) == 1


def test_write__bare_object(portal):
    """A bare object is one row, answered with that row or with counts."""
    answer = send(portal, "POST", data='{"id": "A1", "n": 1}')
    assert answer.json() == {"id": "A1", "n": "1"}
    portal.switches.row_reply = False
    portal.switches.reply_style = "all"
    assert send(portal, "POST", data='{"id": "A1", "n": 2}').json()["Rows Updated"] == 1


@pytest.mark.parametrize("name", ["foo", "Status", ":updated_at", ":id"])
def test_write__unknown_field_refuses_everything(portal, name):
    """One unknown field in one row refuses the whole request; names must match exactly."""
    answer = send(portal, "POST", rows=[{"id": "A1"}, {"id": "A2", name: "x"}])
    assert answer.status_code == 400
    assert answer.json() == {
        "code": "invalid_request",
        "error": True,
        "message": f"Illegal field name sent: {name}",
    }
    assert portal.rows(SIGNS) == []
    assert portal.writes(SIGNS)[0].status == 400


def test_write__field_names_of_another_case(portal):
    """Where the front tier ignores case, as storage does, a name of another case is taken."""
    portal.switches.exact_names = False
    assert send(portal, "POST", rows=[{"ID": "A1", "Status": "x"}]).status_code == 200
    assert portal.rows(SIGNS) == [{"id": "A1", "status": "x"}]


# Values

RING = [[0, 0], [0, 1], [1, 1], [0, 0]]
REFUSED = "refused"


def point(*coordinates):
    """A GeoJSON point."""
    return {"type": "Point", "coordinates": list(coordinates)}


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("status", "ACTIVE", "ACTIVE"),
        ("status", "", ""),
        ("status", "a\0b", "ab"),
        ("status", 42, "42"),
        ("status", 1.5, "1.5"),
        ("status", True, REFUSED),
        ("status", ["a"], REFUSED),
        ("status", {"a": 1}, REFUSED),
        ("n", 42, "42"),
        ("n", -1.50, "-1.5"),
        ("n", "42", "42"),
        ("n", "-0.10", "-0.10"),
        ("n", "1e3", "1000"),
        ("n", 123456789012345678901234567890, "123456789012345678901234567890"),
        ("n", "1,234", REFUSED),
        ("n", "", REFUSED),
        ("n", " 1", REFUSED),
        ("n", "NaN", REFUSED),
        ("n", "12a", REFUSED),
        ("n", True, REFUSED),
        ("n", [1], REFUSED),
        ("ok", True, True),
        ("ok", False, False),
        ("ok", "true", REFUSED),
        ("ok", 1, REFUSED),
        ("ok", "", REFUSED),
        ("installed", "2024-05-01", "2024-05-01T00:00:00.000"),
        ("installed", "2024-05-01T13:30:00", "2024-05-01T13:30:00.000"),
        ("installed", "2024-05-01T13:30:00.123", "2024-05-01T13:30:00.123"),
        ("installed", "2024-05-01T13:30:00.123456", "2024-05-01T13:30:00.123"),
        ("installed", "2024-05-01T13:30", "2024-05-01T13:30:00.000"),
        ("installed", "2024-05-01T13:30:00Z", REFUSED),
        ("installed", "2024-05-01T13:30:00+00:00", REFUSED),
        ("installed", "2024-05-01T13:30:00-05:00", REFUSED),
        ("installed", "2024-05-01T13:30:00.000Z", REFUSED),
        ("installed", "2024-05-01 13:30:00", REFUSED),
        ("installed", "05/01/2024", REFUSED),
        ("installed", "2024-02-30", REFUSED),
        ("installed", "2024-02-30T00:00:00", REFUSED),
        ("installed", "2024-05-01T24:00:00", REFUSED),
        ("installed", "", REFUSED),
        ("installed", 1714570200000, REFUSED),
        ("seen", "2024-05-01T13:30:00-05:00", "2024-05-01T18:30:00.000Z"),
        ("seen", "2024-05-01T13:30:00.5Z", "2024-05-01T13:30:00.500Z"),
        ("seen", "2024-05-01T13:30:00", "2024-05-01T13:30:00.000Z"),
        ("seen", 1714570200, REFUSED),
        ("seen", "05/01/2024", REFUSED),
        ("place", point(-97.74, 30.27), point(-97.74, 30.27)),
        ("place", point(30.27, -97.74), point(30.27, -97.74)),
        ("place", "POINT (-97.74 30.27)", point(-97.74, 30.27)),
        ("place", "point(-97.74 30.27)", point(-97.74, 30.27)),
        ("place", "POINT (-97.74, 30.27)", REFUSED),
        ("place", "POINT (-97.74 30.27", REFUSED),
        ("place", "POINT EMPTY", REFUSED),
        ("place", "(30.27, -97.74)", REFUSED),
        ("place", point("-97.74", "30.27"), REFUSED),
        ("place", point(-97.74), REFUSED),
        ("place", point(None, None), REFUSED),
        ("place", {"type": "MultiPoint", "coordinates": [[1, 2]]}, REFUSED),
        ("place", {"latitude": 30.27, "longitude": -97.74}, REFUSED),
        ("place", "", REFUSED),
        (
            "places",
            {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]},
            {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]},
        ),
        ("places", "MULTIPOINT (1 2, 3 4)", {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
        ("places", "MULTIPOINT ((1 2), (3 4))", {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
        ("places", point(1, 2), REFUSED),
        ("places", "POINT (1 2)", REFUSED),
        ("places", {"type": "MultiPoint", "coordinates": []}, REFUSED),
        (
            "way",
            {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
            {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
        ),
        ("way", {"type": "LineString", "coordinates": [[1, 2]]}, REFUSED),
        ("area", {"type": "Polygon", "coordinates": [RING]}, {"type": "Polygon", "coordinates": [RING]}),
        ("area", "POLYGON ((0 0, 0 1, 1 1, 0 0))", {"type": "Polygon", "coordinates": [RING]}),
        ("area", {"type": "Polygon", "coordinates": [RING[:3]]}, REFUSED),
        (
            "old_place",
            {"latitude": 30.27, "longitude": "-97.74", "human_address": {"city": "Austin"}},
            {"latitude": "30.27", "longitude": "-97.74", "human_address": '{"city": "Austin"}'},
        ),
        ("old_place", "(30.27, -97.74)", {"latitude": "30.27", "longitude": "-97.74"}),
        ("old_place", "not a place", None),
        ("old_place", point(1, 2), None),
        ("old_place", 7, None),
        ("old_place", {"latitude": [1], "longitude": 2}, None),
        (
            "link",
            {"url": "https://example.org", "description": "x"},
            {"url": "https://example.org", "description": "x"},
        ),
        ("link", "https://example.org", None),
        ("link", {"url": 5}, None),
    ],
)
def test_write__strict_values(portal, name, sent, kept):
    """A value is kept in its canonical form, lost without an error, or refuses the whole request."""
    answer = send(portal, "POST", rows=[{"id": "A0"}, {"id": "A1", name: sent}])
    if kept == REFUSED:
        assert (answer.status_code, answer.json()["data"]["column"]) == (400, name)
        assert portal.rows(SIGNS) == []
    else:
        assert answer.status_code == 200
        expected = {"id": "A1"} if kept is None else {"id": "A1", name: kept}
        assert portal.row(SIGNS, "A1") == expected
        row = read(portal, select="*", where="id = 'A1'").json()[0]
        assert {key: value for key, value in row.items() if key[0] != ":"} == expected


def test_write__location_with_address(portal):
    """A location's text may have an address before its coordinates."""
    send(portal, "POST", rows=[{"id": "A1", "old_place": "1 Main St\nAustin, TX 78701\n(30.27, -97.74)"}])
    address = json.loads(portal.row(SIGNS, "A1")["old_place"]["human_address"])
    assert address == {"address": "1 Main St", "city": "Austin", "state": "TX", "zip": "78701"}


def test_write__lenient_values(portal):
    """A front tier milder than storage takes "true", an empty number and a bare url."""
    portal.switches.lenient = True
    portal.create_dataset("aaaa-0001", {"id": "text", "ok": "checkbox", "n": "number", "link": "url"})
    rows = [{"id": "A1", "ok": "true", "n": "", "link": "https://example.org"}]
    assert send(portal, "POST", "/resource/aaaa-0001.json", rows=rows).status_code == 200
    assert portal.rows("aaaa-0001") == [{"id": "A1", "ok": True, "link": {"url": "https://example.org"}}]


@pytest.mark.parametrize("row", [{"n": 1}, {"id": None, "n": 1}, {":deleted": True}])
def test_write__no_row_identifier_value(portal, row):
    """A row without its identifier refuses the request, or is counted under Errors, as the switch says."""
    assert send(portal, "POST", rows=[{"id": "A1"}, row]).status_code == 400
    assert portal.rows(SIGNS) == []
    portal.switches.missing_row_id = "count"
    answer = send(portal, "POST", rows=[{"id": "A1"}, row])
    if ":deleted" in row:
        assert answer.status_code == 400
    else:
        assert answer.json()["Errors"] == 1
        assert portal.rows(SIGNS) == [{"id": "A1"}]


def test_write__deleted_must_be_true(portal):
    """Only `true` deletes; `:deleted` with another value is an unknown field."""
    fill(portal, 1)
    for flag in (False, 1, "true"):
        assert send(portal, "POST", rows=[{"id": "A0000", ":deleted": flag}]).status_code == 400
    assert len(portal.rows(SIGNS)) == 1


def test_write__number_row_identifier(portal):
    """A number identifier means the same row however it is written."""
    portal.create_dataset("aaaa-0001", {"n": "number", "status": "text"}, row_id="n")
    for n in (7, "7", 7.0):
        send(portal, "POST", "/resource/aaaa-0001.json", rows=[{"n": n, "status": str(n)}])
    assert portal.rows("aaaa-0001") == [{"n": "7.0", "status": "7.0"}]
    assert read(portal, "aaaa-0001/7").json()["status"] == "7.0"


def test_create_dataset__bad_row_identifier(portal):
    """A row identifier is a text or number column."""
    with pytest.raises(ValueError, match="row identifier"):
        portal.create_dataset("aaaa-0001", {"ok": "checkbox"}, row_id="ok")


# Replies


def test_reply__errors_inside_200(portal):
    """Deleting an absent row is counted under Errors of a 200."""
    fill(portal, 1)
    answer = send(portal, "POST", rows=[{"id": "A0000", "n": 5}, {"id": "A9", ":deleted": True}])
    assert answer.status_code == 200
    assert (answer.json()["Errors"], answer.json()["Rows Updated"]) == (1, 1)
    assert portal.writes(SIGNS)[0].refused == ["A9"]


def test_reply__keys_vary(portal):
    """The reply's keys differ from call to call; what is left out is zero."""
    replies = [send(portal, "POST", rows=[{"id": f"A{n}"}]).json() for n in range(3)]
    everything = {"Errors", "Rows Created", "Rows Updated", "Rows Deleted"}
    assert [set(reply) for reply in replies] == [
        everything,
        everything | {"By RowIdentifier", "By SID"},
        {"Rows Created", "Rows Updated"},
    ]
    assert [reply["Rows Created"] for reply in replies] == [1, 1, 1]


def test_reply__storage_style(portal):
    """Storage's own style answers one object a row."""
    portal.switches.reply_style = "storage"
    portal.refuse_ids(SIGNS, "A2")
    reply = send(portal, "POST", rows=[{"id": "A1"}, {"id": "A2"}, {"id": "A1", ":deleted": True}]).json()
    assert [(line["typ"], line["id"]) for line in reply] == [
        ("update", "A1"),
        ("error", "A2"),
        ("delete", "A1"),
    ]


def test_reply__creates_counted_as_updates(portal):
    """Created rows may be reported as updated ones."""
    portal.switches.creates_as_updates = True
    portal.switches.reply_style = "all"
    reply = send(portal, "POST", rows=[{"id": "A1"}]).json()
    assert (reply["Rows Created"], reply["Rows Updated"]) == (0, 1)


def test_faults__partial_errors(portal):
    """A 200 may hide rows that were not saved: they are only counted."""
    portal.faults.add("partial-errors:3")
    reply = send(portal, "POST", rows=[{"id": f"A{n}"} for n in range(10)]).json()
    assert (reply["Errors"], reply["Rows Created"]) == (3, 7)
    refused = portal.writes(SIGNS)[0].refused
    kept = {row["id"] for row in portal.rows(SIGNS)}
    assert kept | set(refused) == {f"A{n}" for n in range(10)}
    assert len(kept) == 7


def test_refuse_ids__those_rows_are_never_saved(portal):
    """Named rows are refused one by one, by POST and PUT, until the order is taken back."""
    portal.refuse_ids(SIGNS, "A1")
    for method in ("POST", "PUT"):
        assert send(portal, method, rows=[{"id": "A1"}, {"id": "A2"}]).json()["Errors"] == 1
        assert portal.rows(SIGNS) == [{"id": "A2"}]
    portal.refuse_ids(SIGNS)
    send(portal, "POST", rows=[{"id": "A1"}])
    assert portal.row(SIGNS, "A1") == {"id": "A1"}


def test_faults__saved_but_400(portal):
    """A 400 that begins "Row data was saved." was carried out."""
    portal.faults.add("saved")
    answer = send(portal, "POST", rows=[{"id": "A1"}])
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Row data was saved.")
    assert portal.rows(SIGNS) == [{"id": "A1"}]


def test_faults__committed_and_reply_lost(portal):
    """A write may be carried out though its answer never came."""
    portal.faults.add("after-reset")
    with pytest.raises(requests.ConnectionError):
        send(portal, "POST", rows=[{"id": "A1"}])
    assert portal.rows(SIGNS) == [{"id": "A1"}]


def test_faults__poison_row_answers_502(portal):
    """A row that upsets the portal answers with a gateway's HTML page as long as it is in the request."""
    portal.faults.add("502", body="A2", times=None)
    answers = [send(portal, "POST", rows=[{"id": name}]) for name in ("A1", "A2", "A3")]
    assert [answer.status_code for answer in answers] == [200, 502, 200]
    assert answers[1].text.startswith("<!DOCTYPE html>")
    assert [row["id"] for row in portal.rows(SIGNS)] == ["A1", "A3"]


# Concurrency and visibility


@pytest.mark.parametrize("status", [409, 500])
def test_write__one_writer_per_dataset(portal, status):
    """A second write waits for the first, and is refused if it takes too long; other datasets go on."""
    portal.create_dataset("aaaa-0001", {"id": "text"})
    portal.switches.write_s = 0.4
    portal.switches.lock_wait_s = 0.05
    portal.switches.lock_status = status
    answers = {}

    def post(name, path):
        answers[name] = send(portal, "POST", path, rows=[{"id": name}]).status_code

    def started():
        return len(portal.writes(SIGNS)) == 1

    first = threading.Thread(target=post, args=("first", f"/resource/{SIGNS}.json"))
    first.start()
    while not started():
        time.sleep(0.01)
    time.sleep(0.05)
    other = threading.Thread(target=post, args=("other", "/resource/aaaa-0001.json"))
    other.start()
    post("second", f"/resource/{SIGNS}.json")
    assert read(portal).status_code == 200
    first.join()
    other.join()
    assert answers == {"first": 200, "second": status, "other": 200}
    portal.switches.lock_wait_s = 5
    waiting = [threading.Thread(target=post, args=(f"w{n}", f"/resource/{SIGNS}.json")) for n in range(2)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert (answers["w0"], answers["w1"]) == (200, 200)


def test_write__many_threads(portal):
    """Writes and reads from many threads at once lose nothing."""

    def work(part):
        for n in range(10):
            send(portal, "POST", rows=[{"id": f"{part}-{n}-{m}"} for m in range(5)])
            read(portal, select="count(*)")

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(portal.rows(SIGNS)) == 200
    assert sum(write.created for write in portal.writes(SIGNS)) == 200


def test_read__replicas_lag_by_reads(portal):
    """A write stays unseen for the reads ordered, and the headers say so."""
    fill(portal, 1)
    portal.switches.replica_lag_reads = 2
    portal.watch(SIGNS)
    send(portal, "PUT", rows=[{"id": "B1"}, {"id": "B2"}])
    answers = [read(portal, select="count(*)") for _ in range(3)]
    assert [answer.json() for answer in answers] == [[{"count": "1"}], [{"count": "1"}], [{"count": "2"}]]
    behind = [answer.headers["X-SODA2-Data-Out-Of-Date"] for answer in answers]
    assert behind == ["true", "true", "false"]
    last = answers[2].headers
    assert last["X-SODA2-Truth-Last-Modified"] == last["X-SODA2-Secondary-Last-Modified"]
    assert last["X-SODA2-Truth-Last-Modified"].endswith("GMT")
    assert portal.history(SIGNS) == [1, 2]


def test_read__replicas_lag_by_time(portal):
    """A write stays unseen for some time while the truth has it already."""
    portal.switches.replica_lag_s = 0.3
    send(portal, "POST", rows=[{"id": "A1"}])
    assert (len(portal.rows(SIGNS)), portal.visible_count(SIGNS)) == (1, 0)
    assert read(portal).json() == []
    deadline = time.monotonic() + 5
    while read(portal).headers["X-SODA2-Data-Out-Of-Date"] == "true":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert portal.visible_rows(SIGNS) == [{"id": "A1"}]


def test_history__sees_a_dataset_that_shrinks_and_grows(portal):
    """A first chunk by PUT and the rest by POST shows up as a dip in what readers saw."""
    fill(portal, 10)
    portal.watch(SIGNS)
    send(portal, "PUT", rows=[{"id": f"A{n}"} for n in range(5)])
    send(portal, "POST", rows=[{"id": f"A{n}"} for n in range(5, 10)])
    assert (portal.history(SIGNS), portal.min_count(SIGNS)) == ([10, 5, 10], 5)
    log = [(write.method, write.rows, write.created, write.status) for write in portal.writes(SIGNS)]
    assert log == [("PUT", 5, 5, 200), ("POST", 5, 5, 200)]


# Reads


@pytest.fixture
def few(portal):
    """The portal with four rows that differ in what queries ask for."""
    portal.upsert(
        SIGNS,
        [
            {"id": "A1", "status": "ACTIVE", "n": 2, "ok": True, "installed": "2024-05-01"},
            {"id": "A2", "status": "active", "n": 10, "ok": False, "installed": "2024-06-01"},
            {"id": "A3", "status": "O'Neil", "n": 10},
            {"id": "A4", "place": point(1, 2)},
        ],
    )
    return portal


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("n = 10", ["A2", "A3"]),
        ("n = '10'", ["A2", "A3"]),
        ("n > 2.5", ["A2", "A3"]),
        ("n <= 2", ["A1"]),
        ("n != 10", ["A1"]),
        ("n <> 10", ["A1"]),
        ("not n = 10", ["A1"]),
        ("status = 'ACTIVE'", ["A1"]),
        ('status = "ACTIVE"', ["A1"]),
        ("`status` = 'O''Neil'", ["A3"]),
        ("status in ('ACTIVE', 'active')", ["A1", "A2"]),
        ("status not in ('ACTIVE', 'active')", ["A3"]),
        ("id > 'A1' and id <= 'A3'", ["A2", "A3"]),
        ("id = 'A1' or n = 10 and id = 'A3'", ["A1", "A3"]),
        ("(id = 'A1' or n = 10) AND ok = true", ["A1"]),
        ("n is null", ["A4"]),
        ("place IS NOT NULL", ["A4"]),
        ("installed >= '2024-05-15'", ["A2"]),
        ("installed between '2024-04-01' and '2024-05-15T00:00:00'", ["A1"]),
        (":updated_at > '2024-01-01'", ["A1", "A2", "A3", "A4"]),
        ("n = null", []),
    ],
)
def test_read__where(few, where, ids):
    """Conditions find the rows that SoQL finds: text by case, numbers as numbers, nulls in none."""
    answer = read(few, select="id", where=where, order="id")
    assert [row["id"] for row in answer.json()] == ids


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"where": "status = 5"}, "query.soql.type-mismatch"),
        ({"where": "status in ('a', 5)"}, "query.soql.type-mismatch"),
        ({"where": "n = 'x'"}, "query.soql.type-mismatch"),
        ({"where": "ok = 'Y'"}, "query.soql.type-mismatch"),
        ({"where": "place = 'POINT (1 2)'"}, "query.soql.type-mismatch"),
        ({"where": "installed > '05/01/2024'"}, "query.soql.type-mismatch"),
        ({"where": ":id = 'A1'"}, "query.soql.type-mismatch"),
        ({"order": "place"}, "query.soql.type-mismatch"),
        ({"select": "nope"}, "query.soql.no-such-column"),
        ({"where": "nope = 1"}, "query.soql.no-such-column"),
        ({"order": "nope"}, "query.soql.no-such-column"),
        ({"select": "status, count(*)"}, "query.soql.column-not-in-group-bys"),
        ({"where": "n ="}, "query.compiler.malformed"),
        ({"where": "n = 1 1"}, "query.compiler.malformed"),
        ({"where": "status = 'x"}, "query.compiler.malformed"),
        ({"limit": "many"}, "query.compiler.malformed"),
        ({"offset": "-1"}, "query.compiler.malformed"),
    ],
)
def test_read__refused_queries(few, parameters, code):
    """A query that makes no sense is a 400 with SoQL's own code under errorCode."""
    answer = read(few, **parameters)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


def test_read__unknown_parameters(few):
    """A plain parameter filters by its column; unknown ones are refused."""
    resource = f"{few.url}/resource/{SIGNS}.json"
    assert requests.get(resource, params={"n": "2"}, timeout=9).json()[0]["id"] == "A1"
    assert requests.get(resource, params={"nope": "2"}, timeout=9).status_code == 400
    assert requests.get(resource, params={"$nope": "2"}, timeout=9).status_code == 400


def test_read__select(few):
    """Columns by name, by alias, and the system fields on request."""
    assert read(few, select="id, n as number", order="id", limit=1).json() == [{"id": "A1", "number": "2"}]
    row = read(few, select=":id, :created_at, :updated_at, id", where="id = 'A1'").json()[0]
    assert set(row) == {":id", ":created_at", ":updated_at", "id"}
    assert row[":id"].startswith("row-")
    assert row[":updated_at"].endswith("Z")
    assert set(read(few, select=":*, *", where="id='A1'").json()[0]) > {":id", "status"}
    found = read(few, select="id", where=f":id > '{row[':id']}'", order=":id").json()
    assert [each["id"] for each in found] == ["A2", "A3", "A4"]


def test_read__counts_and_groups(few):
    """Counts are strings; groups give a row each, which may be ordered."""
    assert read(few, select="count(*)").json() == [{"count": "4"}]
    assert read(few, select="count(*) as total", where="n = 10").json() == [{"total": "2"}]
    assert read(few, select="count(n), min(n), max(n), max(installed)").json() == [
        {"count_n": "3", "min_n": "2", "max_n": "10", "max_installed": "2024-06-01T00:00:00.000"}
    ]
    grouped = read(few, select="n, count(*) as c", group="n", where="n is not null", order="c desc").json()
    assert grouped == [{"n": "10", "c": "2"}, {"n": "2", "c": "1"}]


def test_read__order(few):
    """Numbers are ordered as numbers; nulls stand last, or first when the order is descending."""
    assert [row["id"] for row in read(few, order="n, id desc").json()] == ["A1", "A3", "A2", "A4"]
    assert [row["id"] for row in read(few, order="n DESC, id").json()] == ["A4", "A2", "A3", "A1"]


def test_read__order_after_a_write(few):
    """An ordered read that is asked again sees what was written in between."""
    assert len(read(few, order="id").json()) == 4
    few.upsert(SIGNS, [{"id": "A0"}])
    assert [row["id"] for row in read(few, order="id").json()] == ["A0", "A1", "A2", "A3", "A4"]


def test_read__query(few):
    """A whole query in one parameter."""
    text = "select id, n where n = 10 order by id desc limit 1 offset 1"
    assert read(few, query=text).json() == [{"id": "A2", "n": "10"}]
    assert read(few, query="select id frob").status_code == 400


def test_read__unordered_differs_from_read_to_read(portal):
    """Without an order, and among rows that an order leaves equal, the order changes."""
    portal.upsert(SIGNS, [{"id": f"A{n}", "n": 1} for n in range(50)])
    for order in ({}, {"order": "n"}):
        reads = [[row["id"] for row in read(portal, **order).json()] for _ in range(2)]
        assert reads[0] != reads[1]
        assert sorted(reads[0]) == sorted(reads[1])


def test_read__limit_cap_of_soda_20(portal):
    """A 2.0 endpoint gives at most 50,000 rows, a 2.1 endpoint as many as asked for."""
    fill(portal, 50_010)
    assert len(read(portal, select="id", limit=60_000).json()) == 50_010
    portal.switches.soda = "2.0"
    assert len(read(portal, select="id", limit=60_000).json()) == 50_000


def test_read__csv(few):
    """CSV has a header of field names, empty cells for nulls, and geometry as text."""
    answer = read(few, kind="csv", select="id,n,ok,installed,place", order="id")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["id", "n", "ok", "installed", "place"],
        ["A1", "2", "true", "2024-05-01T00:00:00.000", ""],
        ["A2", "10", "false", "2024-06-01T00:00:00.000", ""],
        ["A3", "10", "", "", ""],
        ["A4", "", "", "", "POINT (1 2)"],
    ]


def test_read__one_row(few):
    """One row by its identifier, slashes and all; an absent one is a 404."""
    few.upsert(SIGNS, [{"id": "a/b.c"}])
    assert read(few, f"{SIGNS}/A3").json() == {"id": "A3", "status": "O'Neil", "n": "10"}
    assert read(few, f"{SIGNS}/a%2Fb.c").json() == {"id": "a/b.c"}
    assert read(few, f"{SIGNS}/A9").status_code == 404


def test_read__soda3(few):
    """SODA3 reads take a whole query and pages from 1, and want a user or an app token."""
    path = f"/api/v3/views/{SIGNS}/query.json"
    asked = {"query": "select id order by id", "page": {"pageNumber": 2, "pageSize": 3}}
    assert send(few, "POST", path, data=json.dumps(asked), auth=None).status_code == 403
    token = {"X_App_Token": few.app_token}
    assert send(few, "POST", path, data=json.dumps(asked), auth=None, **token).json() == [{"id": "A4"}]
    assert len(send(few, "GET", path + "?query=select%20id").json()) == 4
    assert len(send(few, "GET", path + "?pageSize=3").json()) == 3


def test_read__csv_goes_back_in(portal):
    """What is read as CSV can be written back as CSV and gives the same rows."""
    generator = random.Random(3)
    rows = [
        {
            "id": f'A"{n},\n',
            "n": generator.random(),
            "ok": n % 2 == 0,
            "place": point(generator.uniform(-180, 180), 1.0),
            "places": {"type": "MultiPoint", "coordinates": [[1, 2], [n, 4]]},
            "old_place": "(30.5, -97.5)",
        }
        for n in range(20)
    ]
    portal.upsert(SIGNS, rows)
    before = portal.rows(SIGNS)
    text = read(portal, kind="csv", select="id,n,ok,place,places,old_place", order=":id").text
    assert send(portal, "PUT", data=text.encode(), Content_Type="text/csv").status_code == 200
    after = portal.rows(SIGNS)
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert [row["places"] for row in after] == [row["places"] for row in before]
    assert after[0]["place"]["coordinates"] == pytest.approx(before[0]["place"]["coordinates"])
    assert [{**row, "place": 0} for row in after] == [{**row, "place": 0} for row in before]
