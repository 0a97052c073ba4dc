"""Limits and faults."""

import json
import time
from datetime import UTC, datetime

import pytest

from dev.simulators.knack import KnackSimulator
from tests.simulators.knack.conftest import METADATA, RECORDS, Client

OBJECT = "/v1/objects/object_9/records"
VIEW = "/v1/pages/scene_20/views/view_31/records"


@pytest.fixture
def limited():
    """A client of the sample app with Knack's ten requests a second."""
    with KnackSimulator(METADATA, RECORDS) as knack:
        yield Client(knack)


def test_limits__ten_a_second(limited):
    """The eleventh request of a second is refused in plain words, and again, until the second is over."""
    started = time.monotonic()
    statuses = [limited.get(f"{OBJECT}/{RECORDS['object_9'][0]['id']}").status_code for _ in range(13)]
    assert statuses == [200] * 10 + [429] * 3
    answer = limited.get(OBJECT)
    assert (answer.text, answer.headers["Content-Type"].split(";")[0]) == ("Rate limit exceeded", "text/html")
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    while limited.get(OBJECT).status_code == 429:
        assert time.monotonic() - started < 60
        time.sleep(0.02)
    assert time.monotonic() - started >= 1


def test_limits__headers(client):
    """Every answer, errors too, says how much is left: seconds of the epoch, milliseconds to midnight UTC."""
    client.knack.clock = lambda: datetime(2025, 3, 9, 23, 59, 58, tzinfo=UTC)
    for path in (OBJECT, VIEW, "/v1/elsewhere"):
        headers = client.get(path).headers
        assert (headers["X-RateLimit-Limit"], headers["X-PlanLimit-Limit"]) == ("10", "25000")
        assert headers["X-PlanLimit-Reset"] == "2000"
        assert abs(int(headers["X-RateLimit-Reset"]) - time.time()) < 5


def test_limits__plan(client):
    """Past the plan's daily limit every counted call is refused; metadata is not counted."""
    client.knack.limits.used = 24_999
    assert client.get(OBJECT).headers["X-PlanLimit-Remaining"] == "0"
    assert client.get(OBJECT).status_code == client.get(VIEW).status_code == 429
    assert client.get(f"/v1/applications/{client.knack.app_id}").status_code == 200
    client.knack.switches.view_calls_count = False
    assert client.get(VIEW).status_code == 200


@pytest.mark.parametrize(("kind", "rows"), [("empty-page", 0), ("short-page", 12)])
def test_faults__pages_that_look_whole(client, kind, rows):
    """A wrongly empty or short page is a good answer with the right totals; the next one is right."""
    client.knack.faults.add(kind, path="/records")
    wrong, right = client.get(OBJECT), client.get(OBJECT)
    assert wrong.status_code == 200
    assert (wrong.json()["total_records"], len(wrong.json()["records"])) == (25, rows)
    assert wrong.json()["records"] == right.json()["records"][:rows]
    assert len(right.json()["records"]) == 25


def test_faults__short_body(client):
    """A body may be cut off though its length fits: only reading it shows that it is no JSON."""
    client.knack.faults.add("short-body", path="/records")
    answer = client.get(OBJECT)
    assert (answer.status_code, int(answer.headers["Content-Length"])) == (200, len(answer.content))
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_faults__own_kind_on_a_refused_request(client):
    """A page that cannot be given stays refused, whatever fault is due."""
    client.knack.faults.add("empty-page", path="/records")
    assert client.get(OBJECT, headers={}).status_code == 401


def test_simulator__refuses_records_under_a_view():
    """Views are worked out; records given for one are a mistake."""
    with pytest.raises(ValueError, match="view_31"):
        KnackSimulator(METADATA, {"view_31": []})
