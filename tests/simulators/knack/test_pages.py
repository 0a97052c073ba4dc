"""Paths, headers, pages, order and the three formats."""

import math

import pytest

from dev.simulators.city import LOCATIONS, SIGNALS_VIEW, WORK_ORDERS, WORK_ORDERS_VIEW
from dev.simulators.knack import KnackSimulator
from tests.simulators.knack.conftest import ANSWERS, METADATA, RECORDS, Client

OBJECT = "/v1/objects/object_9/records"
VIEW = "/v1/pages/scene_20/views/view_31/records"
PUBLIC = "/v1/pages/scene_21/views/view_32/records"


@pytest.mark.parametrize(
    "path",
    [
        OBJECT,
        OBJECT + "/",
        VIEW,
        VIEW + "/",
        VIEW.replace("pages", "scenes"),
        f"{OBJECT}/{RECORDS['object_9'][3]['id']}",
        f"{VIEW}/{ANSWERS['view_31'][3]['id']}",
    ],
)
def test_answer__paths(client, path):
    """Each documented path answers JSON, with or without a slash at its end."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/objects/object_77/records",
        "/v1/pages/scene_20/views/view_99/records",
        "/v1/pages/scene_21/views/view_31/records",
        "/v1/objects/view_31/records",
        OBJECT + "/5d00000000000000000000ff",
        # Shown by the object, kept back by the view's criteria.
        f"{VIEW}/{RECORDS['object_9'][2]['id']}",
        "/v1/elsewhere",
    ],
)
def test_answer__unknown_things(client, path):
    """What does not exist is a 404 in plain words, labelled as HTML."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert not answer.text.startswith("<")


def test_answer__metadata_needs_no_headers(client):
    """The metadata document is open to all, as it is."""
    assert client.get(f"/v1/applications/{client.knack.app_id}", headers={}).json() == METADATA
    assert client.get("/v1/applications/nonsense", headers={}).text == "Malformed App ID."


def header_set(app_id="", key=""):
    """Headers of a request; an empty one is left out."""
    named = {"X-Knack-Application-Id": app_id, "X-Knack-REST-API-Key": key}
    return {name: value for name, value in named.items() if value}


APP = METADATA["application"]["id"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "text"),
    [
        (OBJECT, header_set("", "knack-api-key"), 401, "Invalid API Request"),
        (OBJECT, header_set("abc", "knack-api-key"), 400, "Malformed App ID."),
        (OBJECT, header_set(APP), 401, "Unauthorized Object Access"),
        (OBJECT, header_set(APP, "knack"), 401, "Unauthorized Object Access"),
        (OBJECT, header_set(APP, "wrong"), 401, "Invalid API key"),
        (VIEW, header_set(APP, "knack"), 403, "Invalid or Expired Token"),
        (VIEW, header_set(APP, "wrong"), 401, "Invalid API key"),
        (PUBLIC, header_set(APP), 401, "Invalid API Request"),
        (
            PUBLIC,
            {**header_set(APP, "knack"), "Authorization": "stale"},
            403,
            "Invalid or Expired Token",
        ),
    ],
)
def test_answer__wrong_headers(client, path, headers, status, text):
    """Each wrong or missing header has its documented answer: plain words, labelled as HTML."""
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["Content-Type"].startswith("text/html")


def test_answer__key_knack_reaches_public_views(client):
    """Without a real key public views can be read."""
    found = client.get(PUBLIC, headers=header_set(APP, "knack")).json()["records"]
    assert found == RECORDS["object_4"]


def test_answer__page_below_a_log_in_is_not_public(visitor):
    """A page without a log-in of its own is closed where the page above it asks for one."""
    path = "/v1/pages/scene_53/views/view_502/records"
    assert visitor.get(path, headers=header_set(visitor.knack.app_id, "knack")).status_code == 403
    assert visitor.get(path).status_code == 200


def test_log_in__token_opens_views():
    """A user's token opens views behind a log-in; a wrong password gives none."""
    users = {"ana@example.org": "secret"}
    with KnackSimulator(METADATA, RECORDS, rate_limit=None, users=users) as knack:
        client = Client(knack)
        session = f"/v1/applications/{knack.app_id}/session"
        wrong = client.send("POST", session, {}, json={"email": "ana@example.org", "password": "guess"})
        right = client.send("POST", session, {}, json={"email": "ana@example.org", "password": "secret"})
        token = right.json()["session"]["user"]["token"]
        headers = {**header_set(knack.app_id, "knack"), "Authorization": token}
        assert wrong.status_code == 400
        assert client.get(VIEW, headers=headers).status_code == 200


def test_page__defaults(client):
    """Without parameters: page 1 of 25 rows, with the totals."""
    answer = client.get(OBJECT).json()
    assert {key: answer[key] for key in answer if key != "records"} == {
        "total_pages": 1,
        "current_page": 1,
        "total_records": 25,
    }
    assert answer["records"] == RECORDS["object_9"]


def test_page__walk_gives_each_row_once(visitor):
    """Pages of any size, walked to the end, give every row once; the page after the last is empty."""
    path = f"/v1/objects/{WORK_ORDERS}/records"
    pages = math.ceil(120 / 7)
    found = []
    for page in range(1, pages + 1):
        answer = visitor.get(path, page=page, rows_per_page=7).json()
        assert (answer["total_pages"], answer["current_page"]) == (pages, page)
        found += answer["records"]
    assert found == visitor.knack.records(WORK_ORDERS)
    assert visitor.get(path, page=pages + 1, rows_per_page=7).json()["records"] == []


def test_page__over_1000_rows(client):
    """More than 1000 rows a page: taken as 1000, or refused."""
    assert client.get(OBJECT, rows_per_page=5000).json()["total_pages"] == 1
    client.knack.switches.over_max_rows = "refuse"
    assert client.get(OBJECT, rows_per_page=1001).status_code == 400
    assert client.get(OBJECT, rows_per_page=1000).status_code == 200


def test_page__type_of_current_page(client):
    """current_page may come as a string."""
    client.knack.switches.current_page_as = "string"
    assert client.get(OBJECT, page=2, rows_per_page=10).json()["current_page"] == "2"


def test_page__total_is_an_estimate(client):
    """An overstated total shows in total_records and total_pages; the rows stay what they are."""
    client.knack.switches.overstate_total = 6
    answer = client.get(OBJECT, rows_per_page=10, page=4).json()
    assert (answer["total_records"], answer["total_pages"], answer["records"]) == (31, 4, [])


def test_page__nothing_matches(client):
    """An empty answer has one page, or none."""
    filters = '[{"field": "field_41", "operator": "is", "value": "no such title"}]'
    assert client.get(OBJECT, filters=filters).json()["total_pages"] == 1
    client.knack.switches.pages_of_nothing = 0
    assert client.get(OBJECT, filters=filters).json()["total_pages"] == 0


def test_withhold__rows_keep_their_positions(client):
    """Withheld rows leave a short page in the middle, are counted, and do not move later rows."""
    before = client.get(OBJECT, rows_per_page=10, page=2).json()
    withheld = client.knack.withhold("object_9", 3, page=1, rows_per_page=10)
    short = client.get(OBJECT, rows_per_page=10, page=1).json()
    assert (len(short["records"]), short["total_records"]) == (7, 25)
    assert client.get(OBJECT, rows_per_page=10, page=2).json() == before
    assert client.get(f"{OBJECT}/{withheld[0]}").json()["id"] == withheld[0]
    client.knack.release("object_9")
    assert len(client.get(OBJECT, rows_per_page=10).json()["records"]) == 10


def test_delete_record__ghost_is_counted(client):
    """A deleted record that the index still counts never comes, and is unknown by its id."""
    gone = RECORDS["object_9"][4]["id"]
    client.knack.delete_record("object_9", gone, leave_ghost=True)
    answer = client.get(OBJECT).json()
    assert (answer["total_records"], len(answer["records"])) == (25, 24)
    assert client.get(f"{OBJECT}/{gone}").status_code == 404
    assert gone not in client.knack.record_bytes("object_9")


def test_order__view_has_its_own(visitor):
    """A view comes in its own order: newest change first."""
    answer = visitor.get(f"/v1/pages/scene_51/views/{WORK_ORDERS_VIEW}/records", rows_per_page=1000).json()
    stamps = [record.get("field_335_raw", {}).get("unix_timestamp", 0) for record in answer["records"]]
    assert stamps == sorted(stamps, reverse=True)
    assert len(set(stamps)) > 50


def test_order__sort_field_and_order(client):
    """sort_field and sort_order rule out the container's own order."""
    answer = client.get(OBJECT, sort_field="field_40", sort_order="desc").json()
    assert [record["field_40"] for record in answer["records"]] == list(range(25, 0, -1))
    costs = [
        float(record.get("field_45_raw", "-1"))
        for record in client.get(OBJECT, sort_field="field_45").json()["records"]
    ]
    assert costs == sorted(costs)


def read_order(client, **params):
    """The order of locations by a field with few values."""
    path = f"/v1/objects/{LOCATIONS}/records"
    answer = client.get(path, rows_per_page=1000, sort_field="field_217", **params).json()
    return [record["id"] for record in answer["records"]]


def test_order__ties_move(visitor):
    """Rows of equal sort value change places from one request to the next, unless told to stand still."""
    moving = {tuple(read_order(visitor)) for _ in range(5)}
    visitor.knack.switches.ties = "still"
    still = {tuple(read_order(visitor)) for _ in range(5)}
    assert len(moving) > 1
    assert len(still) == 1
    assert {frozenset(order) for order in moving | still} == {frozenset(next(iter(still)))}


def test_order__by_id_and_by_unknown_fields(client):
    """Sorting by id, or by a field that is not there: ignored, refused, or (id) done."""
    natural = [record["id"] for record in RECORDS["object_9"]]

    def ids(**params):
        return [record["id"] for record in client.get(OBJECT, **params).json()["records"]]

    assert ids(sort_field="id") == ids(sort_field="field_9999") == natural
    client.knack.switches.sort_by_id = "honoured"
    assert ids(sort_field="id", sort_order="desc") == sorted(natural, reverse=True) != natural
    client.knack.switches.sort_by_id = client.knack.switches.unknown_sort = "refused"
    assert client.get(OBJECT, sort_field="id").status_code == 400
    assert client.get(OBJECT, sort_field="field_9999").status_code == 400


def test_format__raw_and_html(client):
    """format=raw gives raw values under the plain keys, format=html the display only."""
    both = RECORDS["object_9"][0]
    raw = client.get(OBJECT, format="raw").json()["records"][0]
    html = client.get(OBJECT, format="html").json()["records"][0]
    assert raw == {key: both.get(f"{key}_raw", both[key]) for key in both if not key.endswith("_raw")}
    assert html == {key: both[key] for key in both if not key.endswith("_raw")}


def test_record_bytes__are_what_is_sent(visitor):
    """The page holds each record's bytes as the simulator says it holds them, letters unescaped."""
    for path, container in (
        (f"/v1/objects/{WORK_ORDERS}/records", WORK_ORDERS),
        (f"/v1/pages/scene_50/views/{SIGNALS_VIEW}/records", SIGNALS_VIEW),
    ):
        held = visitor.knack.record_bytes(container)
        body = visitor.get(path, rows_per_page=1000).content
        assert body.endswith(b'"records":[' + b",".join(held.values()) + b"]}")


def test_schema__older_endpoints(client):
    """Objects and fields can be listed, as older clients do."""
    assert {"key": "object_9", "name": "inspections"} in client.get("/v1/objects").json()["objects"]
    fields = client.get("/v1/objects/object_4/fields").json()["fields"]
    assert [field["key"] for field in fields] == [f"field_{number}" for number in range(11, 16)]
