"""Sign-in, rights, forms in odd states, redirects to the second host, faults, the server's clock."""

import pytest
import requests

from dev.simulators.odk import OdkSimulator
from tests.simulators.odk.conftest import FORM, Client


def test_session__expires_after_a_day(client):
    """A token is good for 24 hours of the server's clock; then it is 401.2, and a new sign-in helps."""
    client.sign_in()
    client.odk.clock.advance(24 * 3600 - 1)
    assert client.get(".svc/Submissions").status_code == 200
    client.odk.clock.advance(2)
    refused = client.get(".svc/Submissions")
    assert (refused.status_code, refused.json()["code"]) == (401, 401.2)
    client.sign_in()
    assert client.get(".svc/Submissions").status_code == 200


def test_session__ended_by_the_test(client):
    """`expire_sessions` ends them all at once."""
    client.sign_in()
    client.odk.expire_sessions()
    assert client.get(".svc/Submissions").json()["code"] == 401.2


def test_viewer__reads_and_does_not_write(client, add):
    """A viewer reads the feed, files and fields; may neither delete nor see the server's audit log."""
    one = add(values={"site": {"photo": "a.jpg"}}, attachments={"a.jpg": b"x"})
    client.sign_in(client.odk.viewer, client.odk.viewer_password)
    assert client.ids() == [one]
    assert client.get(f"/submissions/{one}/attachments/a.jpg").content == b"x"
    assert client.get("/fields").status_code == 200
    base = f"{client.odk.url}/v1/projects/{client.project}/forms/{FORM}/submissions/{one}"
    headers = {"Authorization": f"Bearer {client.token}"}
    assert requests.delete(base, headers=headers, timeout=10).json()["code"] == 403.1
    assert client.get(f"{client.odk.url}/v1/audits").json()["code"] == 403.1


def test_collector__may_not_read_the_feed(client):
    """A data collector is refused by the feed, and sees a form only while it is open."""
    client.sign_in(client.odk.collector, client.odk.collector_password)
    assert client.get(".svc/Submissions").json()["code"] == 403.1
    assert client.get("").status_code == 200
    client.odk.close_form(client.project, FORM)
    assert client.get("").json()["code"] == 403.1


@pytest.mark.parametrize("secure_only", [True, False])
def test_basic__only_over_https(client, secure_only):
    """Basic is refused on plain HTTP unless the switch allows it."""
    client.odk.switches.secure_only = secure_only
    url = f"{client.odk.url}/v1/projects/{client.project}/forms/{FORM}.svc/Submissions"
    answer = requests.get(url, auth=(client.odk.user, client.odk.password), timeout=10)
    assert answer.status_code == (401 if secure_only else 200)
    assert not secure_only or answer.json()["code"] == 401.3


def test_forms__draft_closed_deleted_missing(client):
    """A draft has no feed and is listed without a date; a closed form delivers; a deleted and a missing one are 404."""
    odk, project = client.odk, client.project
    odk.create_form(project, "later", ["name"], publish=False)
    odk.create_form(project, "shut", ["name"])
    odk.create_form(project, "gone", ["name"])
    odk.add_submission(project, "shut", {"name": "x"})
    odk.close_form(project, "shut")
    odk.delete_form(project, "gone")
    states = {
        name: Client(odk, project, name).get(".svc/Submissions").status_code
        for name in ("later", "shut", "gone", "never")
    }
    assert states == {"later": 404, "shut": 200, "gone": 404, "never": 404}
    listed = client.get(f"{odk.url}/v1/projects/{project}/forms").json()
    assert {one["xmlFormId"]: (one["state"], one["publishedAt"] is None) for one in listed} == {
        "later": ("open", True),
        "shut": ("closed", False),
        FORM: ("open", False),
    }
    assert Client(odk, project, "later").get("").json()["publishedAt"] is None


def test_forms__encrypted(client):
    """An encrypted form says so by its key; its rows are ids and system fields."""
    odk, project = client.odk, client.project
    odk.create_form(project, "secret", ["name"], key="a public key")
    odk.add_submission(project, "secret", {"name": "nobody sees this"})
    asker = Client(odk, project, "secret")
    assert asker.get("").json()["keyId"] == 1
    (row,) = asker.rows(expand="*")
    assert list(row) == ["__id", "__system"] and row["__system"]["status"] == "missingEncryptedFormData"
    odk.put_attachment(project, "secret", row["__id"], "submission.xml.enc", b"sealed")
    assert asker.rows()[0]["__system"]["status"] == "notDecrypted"


def test_s3__redirects_and_refuses_the_sign_in(client, add):
    """With S3 a file is a signed link: good without a sign-in, refused with one, refused when it is too old."""
    one = add(values={"site": {"photo": "a b.jpg"}}, attachments={"a b.jpg": b"picture"})
    client.odk.switches.s3 = True
    place = f"/submissions/{one}/attachments/a%20b.jpg"
    first = client.get(place, allow_redirects=False)
    assert first.status_code == 307 and "ETag" not in first.headers
    link = first.headers["Location"]
    assert not link.startswith(client.odk.url)
    good = requests.get(link, timeout=10)
    assert good.content == b"picture" and good.headers["Content-Type"] == "image/jpeg"
    refused = requests.get(link, headers={"Authorization": f"Bearer {client.token}"}, timeout=10)
    assert refused.status_code == 400 and b"Only one auth mechanism" in refused.content
    client.odk.switches.s3_seconds = -1
    late = requests.get(client.get(place, allow_redirects=False).headers["Location"], timeout=10)
    assert late.status_code == 403 and b"expired" in late.content
    assert requests.get(link.replace("Signature=", "Signature=0"), timeout=10).status_code == 403


def test_links__public_domain(client, add):
    """Links start with the configured domain, whatever host was called; their path works here."""
    add()
    add()
    client.odk.switches.public_url = "https://odk.example.org"
    page = client.get(".svc/Submissions", params={"$top": "1"}).json()
    assert page["@odata.nextLink"].startswith(
        "https://odk.example.org/v1/projects/1/forms/trees.svc/Submissions?"
    )
    path = page["@odata.nextLink"].removeprefix("https://odk.example.org")
    assert len(client.get(client.odk.url + path).json()["value"]) == 1


def test_deleted_filter__not_on_older_servers(client):
    """The switch gives what servers before deletedAt answer."""
    client.odk.switches.deleted_filter = False
    answer = client.get(".svc/Submissions", params={"$filter": "__system/deletedAt ne null"})
    assert (answer.status_code, answer.json()["code"]) == (501, 501.5)


def test_clock__date_header(client, add):
    """The `Date` header is the server's clock, seconds cut down; submissions are stamped by it."""
    client.odk.clock.set("2026-03-01T08:00:59.999Z")
    assert client.get(".svc/Submissions").headers["Date"] == "Sun, 01 Mar 2026 08:00:59 GMT"
    assert "," not in client.get(".svc/Submissions").headers.get("Server", "")
    add()
    assert client.rows()[0]["__system"]["submissionDate"] == "2026-03-01T08:01:59.999Z"


def test_clock__stamps_are_whole_milliseconds(client, add):
    """What is stamped finer is cut: nothing is hidden below the printed digits."""
    one = add(at="2026-03-01T07:00:00.123999Z")
    assert client.rows()[0]["__system"]["submissionDate"] == "2026-03-01T07:00:00.123Z"
    assert client.ids(filter="__system/submissionDate eq 2026-03-01T07:00:00.123Z") == [one]
    assert client.ids(filter="__system/submissionDate ge 2026-03-01T07:00:00.123001Z") == []


def test_faults__silence(client, add):
    """A cut stream: a 200, the beginning of the JSON, silence; the client's own time-out ends it."""
    for _ in range(50):
        add()
    client.sign_in()
    client.odk.faults.add("silence", path=r"\.svc", seconds=0.8)
    with pytest.raises(requests.ConnectionError, match="timed out"):
        client.get(".svc/Submissions", timeout=0.3)
    client.odk.faults.add("silence", path=r"\.svc", seconds=0.2)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(".svc/Submissions")
    assert len(client.rows()) == 50


def test_faults__cut_and_status(client, add):
    """A body cut in the middle does not end; a 503 passes."""
    add()
    client.sign_in()
    client.odk.faults.add("cut", path=r"\.svc")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(".svc/Submissions")
    client.odk.faults.add("503", path=r"\.svc")
    assert client.get(".svc/Submissions").status_code == 503
    client.odk.switches.database_down = True
    assert client.get(".svc/Submissions").json() == {"message": "Internal Server Error"}


def test_from_dataset__same_rows(tmp_path):
    """A simulator loaded with the dataset gives its rows, in order, key by key."""
    from dev.simulators.odk.dataset import read_dataset
    from tests.simulators.odk.recordings import DATA

    path = DATA / "dataset.json.gz"
    dataset = read_dataset(path)
    with OdkSimulator.from_dataset(path) as odk:
        for form_id, content in dataset["forms"].items():
            asker = Client(odk, 1, form_id.replace(" ", "%20"))
            assert asker.get("/fields?odata=true").json() == content["fields_odata"]
            rows = asker.rows(expand="*")
            assert rows == content["rows"]
            assert [list(row) for row in rows] == [list(row) for row in content["rows"]]
            deleted = asker.rows(expand="*", filter="__system/deletedAt ne null")
            assert deleted == content["deleted_rows"]
            for instance_id, files in content.get("attachments", {}).items():
                assert asker.get(f"/submissions/{instance_id}/attachments").json() == files


def test_from_dataset__order_within_a_millisecond():
    """Rows of one millisecond come back in the order in which the dataset has them."""
    system = {
        **dict.fromkeys(("updatedAt", "status", "reviewState", "deviceId", "deletedAt")),
        "submissionDate": "2026-03-01T08:00:00.000Z",
        "submitterId": "5",
        "attachmentsPresent": 0,
        "edits": 0,
        "formVersion": "1",
    }
    rows = [
        {"a": name, "meta": {"instanceID": f"uuid:{name}"}, "__id": f"uuid:{name}", "__system": system}
        for name in "cab"
    ]
    fields = [{"path": "/a", "type": "string"}]
    dataset = {"forms": {"f": {"fields": fields, "rows": rows, "deleted_rows": []}}}
    with OdkSimulator.from_dataset(dataset) as odk:
        assert [row["a"] for row in Client(odk, 1, "f").rows()] == ["c", "a", "b"]


def test_form__20000_submissions():
    """A big form is walked whole, twice: pages of 1,000, repeats inside; the second walk from rendered rows."""
    with OdkSimulator() as odk:
        project = odk.create_project()
        odk.create_form(project, FORM, ["name", ("n", "int"), ("part", "repeat"), ("part/size", "decimal")])
        for number in range(20_000):
            parts = [{"size": 1.5}, {"size": 2}]
            odk.add_submission(project, FORM, {"name": f"number {number}", "n": number, "part": parts})
        asker = Client(odk, project)
        for _ in range(2):
            seen, link = 0, ".svc/Submissions?$top=1000&$expand=*&$count=true"
            while link:
                page = asker.get(link).json()
                assert page["@odata.count"] == 20_000
                seen += len(page["value"])
                link = page.get("@odata.nextLink", "")
            assert seen == 20_000
        assert asker.since("2100-01-01T00:00:00.000Z") == []
