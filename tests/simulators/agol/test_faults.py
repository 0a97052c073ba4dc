"""Jobs that take time or go wrong, and faults before and after an edit is carried out."""

import json
import time

import pytest
import requests

from tests.simulators.agol.conftest import SIGNS

ADD_FOUR = json.dumps([{"attributes": {"id": key}} for key in "abcd"])


@pytest.fixture
def ten(agol):
    """Ten features, and jobs that are quick."""
    agol.switches.job_seconds = 0.05
    agol.add_features(SIGNS, 0, [{"attributes": {"id": f"k{i}"}} for i in range(10)])


def wait_job(client, said):
    """The states that a job went through, and its last answer."""
    states = []
    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        shown = requests.get(said["statusUrl"], params={"f": "json", "token": client.token}).json()
        if shown["status"] not in states:
            states.append(shown["status"])
        if shown["status"] in ("Completed", "CompletedWithErrors", "Failed"):
            return states, shown
        time.sleep(0.005)
    return states, shown


def test_job__deletes_step_by_step(agol, client, ten):
    """An asynchronous delete is pending, then under way, then completed with a count."""
    watch = agol.watch(SIGNS)
    said = client.call("deleteFeatures", **{"where": "1=1", "async": "true"})
    assert set(said) == {"statusUrl"}
    assert len(agol.features(SIGNS)) == 10
    states, shown = wait_job(client, said)
    assert states == ["Pending", "InProgress", "Completed"]
    assert shown["recordCount"] == 10
    assert agol.features(SIGNS) == [] and watch.min_count == 0
    unsigned = requests.get(said["statusUrl"], params={"f": "json"}).json()
    assert unsigned["error"]["code"] == 499


@pytest.mark.parametrize(("end", "status"), [("fail", "Failed"), ("errors", "CompletedWithErrors")])
def test_job__ends_part_way(agol, client, ten, end, status):
    """A job may end with 40 % of the work done, and its status says no more than a count."""
    agol.switches.job_end = end
    states, shown = wait_job(client, client.call("deleteFeatures", **{"where": "1=1", "async": "true"}))
    assert (states[-1], shown["recordCount"]) == (status, 4)
    assert len(agol.features(SIGNS)) == 6


def test_job__hangs(agol, client, ten):
    """A job may stay pending and do nothing."""
    agol.switches.job_end = "hang"
    agol.switches.job_seconds = 0.0
    said = client.call("deleteFeatures", **{"where": "1=1", "async": "true"})
    for _ in range(3):
        shown = requests.get(said["statusUrl"], params={"f": "json", "token": client.token}).json()
        assert shown["status"] == "Pending"
    assert len(agol.features(SIGNS)) == 10


def test_truncate__empties_and_starts_anew(agol, client, ten):
    """Truncate is administrative, empties the layer and restarts object ids; not every layer has it."""
    form = {"f": "json", "token": client.token}
    admin = agol.layer_url(SIGNS).replace("/rest/", "/rest/admin/") + "/truncate"
    assert requests.post(agol.layer_url(SIGNS) + "/truncate", data=form).json()["error"]["code"] == 400
    agol.layer(SIGNS).supports_truncate = False
    assert requests.post(admin, data=form).json()["error"]["code"] == 400
    agol.layer(SIGNS).supports_truncate = True
    assert requests.post(admin, data=form).json() == {"success": True}
    assert agol.features(SIGNS) == []
    assert agol.add_features(SIGNS, 0, [{"attributes": {"id": "a"}}]) == [1]
    states, shown = wait_job(client, requests.post(admin, data={**form, "async": "true"}).json())
    assert (states[-1], shown["recordCount"], agol.features(SIGNS)) == ("Completed", 1, [])


def test_append__upserts_all_or_nothing(agol, client, ten):
    """Append needs a unique index to upsert, and one bad value fails the whole of it."""

    def append(*attributes):
        features = [{"attributes": values} for values in attributes]
        return client.call(
            "append",
            appendUploadFormat="featureCollection",
            upsert="true",
            upsertMatchingField="id",
            edits=json.dumps({"layers": [{"featureSet": {"features": features}}]}),
        )

    assert wait_job(client, append({"id": "k1", "NAME": "n"}))[0][-1] == "Failed"
    agol.layer(SIGNS).add_unique_index("id")
    assert wait_job(client, append({"id": "k1", "NAME": "x" * 99}, {"id": "new"}))[0][-1] == "Failed"
    assert len(agol.features(SIGNS)) == 10
    assert wait_job(client, append({"id": "k1", "NAME": "n"}, {"id": "new"}))[0][-1] == "Completed"
    assert len(agol.features(SIGNS)) == 11
    assert agol.features(SIGNS)[1]["attributes"]["NAME"] == "n"


@pytest.mark.parametrize(
    ("kind", "status", "code", "stored"),
    [
        ("504", 504, None, 0),
        ("after-504", 504, None, 4),
        ("html", 200, None, 0),
        ("after-html", 200, None, 4),
        ("half-504", 504, None, 2),
        ("error-400", 200, 400, 0),
        ("error-429", 200, 429, 0),
        ("error-498", 200, 498, 0),
        ("error-500", 200, 500, 0),
        ("error-504", 200, 504, 0),
        ("after-error-500", 200, 500, 4),
        ("after-error-504", 200, 504, 4),
    ],
)
def test_faults__before_and_after(agol, client, kind, status, code, stored):
    """Each fault answers as ordered, once, having carried the edit out or not."""
    agol.faults.add(kind, path="addFeatures")
    answer = client.send("addFeatures", features=ADD_FOUR)
    assert answer.status_code == status
    if code is not None:
        assert answer.json()["error"]["code"] == code
    assert len(agol.features(SIGNS)) == stored
    assert len(client.call("addFeatures", features=ADD_FOUR)["addResults"]) == 4


@pytest.mark.parametrize(("kind", "stored"), [("reset", 0), ("after-reset", 4), ("cut", 4)])
def test_faults__without_a_whole_answer(agol, client, kind, stored):
    """A lost or cut connection leaves the edit undone or done."""
    agol.faults.add(kind, path="addFeatures")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.send("addFeatures", features=ADD_FOUR)
    assert len(agol.features(SIGNS)) == stored


def test_faults__quota_says_how_long(agol, client):
    """The quota error names the seconds to wait, as the fault orders."""
    agol.faults.add("error-429", seconds=7)
    assert "Retry after 7 sec." in client.call("query", where="1=1")["error"]["details"][0]


def test_faults__late_commit(agol, client):
    """An edit answered 504 may be carried out later, after a look that did not see it."""
    agol.faults.add("late-commit", path="addFeatures", seconds=0.1)
    assert client.send("addFeatures", features=ADD_FOUR).status_code == 504
    assert client.count() == 0
    time.sleep(0.12)
    assert client.count() == 4


def test_faults__short_results(agol, client):
    """A list of results may lack an entry though everything was carried out."""
    agol.faults.add("short-results", path="applyEdits")
    said = client.call("applyEdits", adds=ADD_FOUR)
    assert len(said["addResults"]) == 3
    assert len(agol.features(SIGNS)) == 4


def test_faults__refused_requests_are_in_the_log(agol, client):
    """The edits log has the code of requests that were refused as a whole."""
    client.call("addFeatures", features="[")
    client.call("addFeatures", features=ADD_FOUR)
    assert [(call.code, call.adds, call.changed) for call in agol.edits] == [(400, 0, 0), (0, 4, 4)]
