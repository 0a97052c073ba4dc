"""ODK's own client for Python against the simulator: what it does with a real Central, it does here."""

import pytest
from pyodk.client import Client as Pyodk
from pyodk.errors import PyODKError

from dev.simulators.odk import OdkSimulator
from dev.simulators.survey import build_survey


@pytest.fixture
def survey():
    """A running simulator with a planted survey."""
    with OdkSimulator() as odk:
        planted = build_survey(seed=3, households=30)
        planted.plant(odk)
        yield odk, planted


@pytest.fixture
def pyodk(survey, tmp_path):
    """The client, signed in with its own files."""
    odk, planted = survey
    config, cache = tmp_path / "pyodk.toml", tmp_path / "cache.toml"
    config.write_text(
        f'[central]\nbase_url = "{odk.url}"\nusername = "{odk.viewer}"\npassword = "{odk.viewer_password}"\n'
        f"default_project_id = {planted.project}\n"
    )
    with Pyodk(config_path=str(config), cache_path=str(cache)) as client:
        yield client


def test_pyodk__lists(survey, pyodk):
    """Projects, forms and submissions pass its own checks of what Central gives."""
    odk, planted = survey
    assert [project.name for project in pyodk.projects.list()] == ["Green Town"]
    (form,) = pyodk.forms.list()
    assert (form.xmlFormId, form.state, form.version) == (planted.form_id, "open", "2026010501")
    listed = pyodk.submissions.list(planted.form_id)
    assert [one.instanceId for one in listed] == [visit.instance_id for visit in reversed(planted.visits)]
    one = pyodk.submissions.get(planted.visits[0].instance_id, planted.form_id)
    assert abs((one.createdAt - planted.visits[0].at).total_seconds()) < 0.001


def test_pyodk__tables(survey, pyodk):
    """Tables, filters, pages: one response each, the next link not followed."""
    odk, planted = survey
    odk.review(planted.project, planted.form_id, planted.visits[4].instance_id, "approved")
    table = pyodk.submissions.get_table(planted.form_id, expand="*")
    assert len(table["value"]) == 30 and "@odata.nextLink" not in table
    page = pyodk.submissions.get_table(planted.form_id, top=3, count=True)
    assert len(page["value"]) == 3 and page["@odata.count"] == 30 and "@odata.nextLink" in page
    found = pyodk.submissions.get_table(planted.form_id, filter="__system/reviewState eq 'approved'")
    assert [row["__id"] for row in found["value"]] == [planted.visits[4].instance_id]
    trees = pyodk.submissions.get_table(planted.form_id, table_name="Submissions.tree", top=2)
    assert len(trees["value"]) == 2 and "species" in trees["value"][0]
    with pytest.raises(PyODKError, match="501"):
        pyodk.submissions.get_table(planted.form_id, filter="surveyor eq 'Sofia'")


def test_pyodk__files(survey, pyodk):
    """Files through its raw request, bytes as they were sent."""
    odk, planted = survey
    visit = next(visit for visit in planted.visits if visit.files and not visit.missing)
    name, content = next(iter(visit.files.items()))
    place = f"projects/{planted.project}/forms/{planted.form_id}/submissions/{visit.instance_id}/attachments"
    assert {one["name"] for one in pyodk.get(place).json()} == set(visit.files)
    assert pyodk.get(f"{place}/{name}").content == content


def test_pyodk__writes(survey, tmp_path):
    """A submission, an edit, a review and a comment made with it are what the simulator then holds."""
    odk, planted = survey
    config = tmp_path / "admin.toml"
    config.write_text(
        f'[central]\nbase_url = "{odk.url}"\nusername = "{odk.user}"\npassword = "{odk.password}"\n'
        f"default_project_id = {planted.project}\n"
    )
    with Pyodk(config_path=str(config), cache_path=str(tmp_path / "admin-cache.toml")) as client:
        form = odk.form(planted.project, planted.form_id)
        xml = odk.central.find_submission(form, planted.visits[0].instance_id).current.instance.to_xml()
        first = planted.visits[0].instance_id
        new = xml.replace(first, "uuid:one")
        made = client.submissions.create(new, planted.form_id, device_id="pyodk")
        assert made.instanceId == "uuid:one" and made.instanceId in form.by_id
        ids = "<instanceID>uuid:two</instanceID><deprecatedID>uuid:one</deprecatedID>"
        edited = xml.replace(f"<instanceID>{first}</instanceID>", ids)
        client.submissions.edit(made.instanceId, edited, planted.form_id, comment="fixed")
        client.submissions.review(made.instanceId, "hasIssues", planted.form_id)
        held = form.by_id[made.instanceId]
        assert held.review_state == "hasIssues" and len(held.versions) == 2 and len(held.comments) == 1


def test_pyodk__does_not_sign_in_again(survey, pyodk):
    """A token that has ended is an error to it: ours must renew it, this client does not."""
    odk, planted = survey
    assert pyodk.submissions.get_table(planted.form_id, top=1)["value"]
    odk.expire_sessions()
    with pytest.raises(PyODKError, match="401"):
        pyodk.submissions.get_table(planted.form_id, top=1)
