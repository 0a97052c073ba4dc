"""What each event moves, and whether the filter of three terms shows it."""

import pytest

from tests.simulators.odk.conftest import FIELDS, FORM


@pytest.fixture
def world(client, add):
    """A form with an old submission that has a photo missing; `T` is a later moment."""
    first = add(
        "oak",
        values={
            "site": {"photo": "a.jpg"},
            "branch": [{"length": 1}, {"length": 2, "leaf": [{"colour": "red"}]}],
        },
    )
    second = add("elm")
    client.odk.clock.advance(3600)
    return client, first, second, "2026-03-01T09:00:00Z"


def system_of(client, instance_id):
    """`__system` of one row."""
    return next(row["__system"] for row in client.rows() if row["__id"] == instance_id)


def test_create__seen(world, add):
    """A new submission is seen, and nothing else."""
    client, _, _, moment = world
    new = add("birch")
    assert client.since(moment) == [new]


def test_edit__seen_with_its_date_and_id_kept(world):
    """An edit moves updatedAt, the review state, the count of edits and meta.instanceID; not the id, not the date."""
    client, first, _, moment = world
    before = system_of(client, first)
    version = client.odk.edit_submission(client.project, FORM, first, {"species": "oak tree"})
    assert client.since(moment) == [first]
    row = next(row for row in client.rows() if row["__id"] == first)
    assert row["species"] == "oak tree" and row["meta"]["instanceID"] == version != first
    changed = {name for name, value in row["__system"].items() if value != before[name]}
    assert changed == {"updatedAt", "reviewState", "edits", "attachmentsExpected"}
    assert row["__system"]["reviewState"] == "edited" and row["__system"]["edits"] == 1


def test_edit__same_values_as_were_sent(world):
    """Values that carry the old instance id get a new one: no two versions share theirs."""
    client, first, _, _ = world
    values = {"species": "ash", "meta": {"instanceID": first}}
    assert client.odk.edit_submission(client.project, FORM, first, values) != first
    assert client.ids() and client.get(f"/submissions/{first}/versions").json()[1]["instanceId"] == first


def test_review__seen_even_when_the_same(world):
    """Each setting of the review state moves updatedAt."""
    client, first, _, moment = world
    client.odk.review(client.project, FORM, first, "approved")
    one = system_of(client, first)["updatedAt"]
    client.odk.clock.advance(5)
    client.odk.review(client.project, FORM, first, "approved")
    assert system_of(client, first)["updatedAt"] > one and client.since(moment) == [first]


def test_delete__seen_only_where_deleted_at_is_mentioned(world):
    """A soft delete is left out by default, given by the filter, gone from keys and attachments."""
    client, first, second, moment = world
    client.odk.delete(client.project, FORM, first)
    assert client.since(moment) == [first] and client.ids() == [second]
    assert client.rows(filter="__system/deletedAt ne null")[0]["__system"]["deletedAt"] > moment
    assert client.get(f".svc/Submissions('{first}')").status_code == 404
    assert client.get(f"/submissions/{first}/attachments").json()["code"] == 404.1


def test_restore__not_seen(world):
    """A restore puts deletedAt back and shows nowhere else, but in the feed's ETag."""
    client, first, _, moment = world
    before, tag = system_of(client, first), client.get(".svc/Submissions").headers["ETag"]
    client.odk.delete(client.project, FORM, first)
    client.odk.restore(client.project, FORM, first)
    assert client.since(moment) == [] and system_of(client, first) == before
    assert client.get(".svc/Submissions").headers["ETag"] != tag


def test_attachments__not_seen(world):
    """A file that comes late, is replaced or removed moves attachmentsPresent at most, and no ETag."""
    client, first, _, moment = world
    tag = client.get(".svc/Submissions").headers["ETag"]
    place = f"/submissions/{first}/attachments"
    assert client.get(place).json() == [{"name": "a.jpg", "exists": False}]
    client.odk.put_attachment(client.project, FORM, first, "a.jpg", b"one")
    assert system_of(client, first)["attachmentsPresent"] == 1
    one = client.get(f"{place}/a.jpg")
    assert one.content == b"one" and one.headers["Content-Type"] == "image/jpeg"
    client.odk.put_attachment(client.project, FORM, first, "a.jpg", b"two")
    two = client.get(f"{place}/a.jpg", headers={"If-None-Match": one.headers["ETag"]})
    assert two.content == b"two" and two.headers["ETag"] != one.headers["ETag"]
    assert client.get(f"{place}/a.jpg", headers={"If-None-Match": two.headers["ETag"]}).status_code == 304
    client.odk.remove_attachment(client.project, FORM, first, "a.jpg")
    assert client.get(place).json() == [{"name": "a.jpg", "exists": False}]
    assert client.since(moment) == [] and client.get(".svc/Submissions").headers["ETag"] == tag


def test_publish_version__changes_every_row_and_is_not_seen(world):
    """A new field is null in old rows at once, a removed one is gone from them; their version stays."""
    client, first, second, moment = world
    fields = [one for one in FIELDS if one[0] != "species"] + [("owner", "string")]
    client.odk.publish_version(client.project, FORM, fields)
    rows = {row["__id"]: row for row in client.rows()}
    assert all("species" not in row and row["owner"] is None for row in rows.values())
    assert rows[first]["__system"]["formVersion"] == "1" and client.since(moment) == []
    versions = client.get("/versions").json()
    assert [version["version"] for version in versions] == ["2", "1"]
    assert "/species" in {one["path"] for one in client.get("/versions/1/fields").json()}
    assert client.odk.add_submission(client.project, FORM, {"owner": "city"}) in client.ids()


def test_purge__gone_everywhere(world):
    """A purged row is gone, and a walk whose cursor it was ends without a word."""
    client, first, second, moment = world
    page = client.get(".svc/Submissions", params={"$top": "1", "$count": "true"}).json()
    assert [row["__id"] for row in page["value"]] == [second] and page["@odata.count"] == 2
    client.odk.delete(client.project, FORM, second)
    assert [row["__id"] for row in client.get(page["@odata.nextLink"]).json()["value"]] == [first]
    assert client.ids(filter="__system/deletedAt ne null") == [second]
    client.odk.purge(client.project, FORM, second)
    after = client.get(page["@odata.nextLink"]).json()
    assert after["value"] == [] and "@odata.nextLink" not in after
    assert client.since(moment) == [] and client.ids(filter="__system/deletedAt ne null") == []


def test_late_visibility__earlier_stamp_seen_later(world, add):
    """An upload under way shows when it is done, behind rows that were stamped after it."""
    client, _, _, _ = world
    slow = add("slow", visible=False)
    stamped = client.odk.clock.now()
    quick = add("quick")
    seen = client.rows()[0]["__system"]["submissionDate"]
    assert slow not in client.ids() and client.ids()[0] == quick
    client.odk.show(client.project, FORM, slow)
    assert client.ids()[:2] == [quick, slow]
    assert slow not in client.since(seen) and stamped < client.odk.clock.now()


def test_repeats__positional(world):
    """Removing the first instance gives its id to the second."""
    client, first, _, _ = world
    before = client.get(".svc/Submissions.branch").json()["value"]
    assert [row["length"] for row in before] == [1, 2]
    assert all(row["__Submissions-id"] == first for row in before)
    client.odk.edit_submission(client.project, FORM, first, {"branch": [{"length": 2}]})
    after = client.get(".svc/Submissions.branch").json()["value"]
    assert [(row["length"], row["__id"]) for row in after] == [(2, before[0]["__id"])]


def test_repeats__none_is_no_key(world):
    """A repeat without instances is neither an empty list nor a link; an empty instance is an object of nulls."""
    client, first, second, _ = world
    rows = {row["__id"]: row for row in client.rows(expand="*")}
    assert not [key for key in rows[second] if key.startswith("branch")]
    assert [branch.get("leaf") for branch in rows[first]["branch"]][0] is None
    assert rows[first]["branch"][1]["leaf"][0]["colour"] == "red"
    empty = client.odk.add_submission(client.project, FORM, {"branch": [{}]})
    row = next(row for row in client.rows(expand="*") if row["__id"] == empty)
    assert row["branch"][0]["length"] is None and row["branch"][0]["photo"] is None
