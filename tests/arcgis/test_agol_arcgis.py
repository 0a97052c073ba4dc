"""The ArcGIS Online stand-in is real enough for Esri's own client."""

import pytest

from tests.arcgis.conftest import ITEM, run_client


@pytest.fixture
def signs(agol):
    """450 features: three pages."""
    agol.add_features(
        ITEM,
        0,
        [
            {
                "attributes": {
                    "id": f"k{i:03}",
                    "NAME": f"Straße {i}",
                    "SEEN": 1704067200000 + i,
                    "WIDTH": i / 7,
                },
                "geometry": {"x": -97.7 - i / 100, "y": 30.2, "spatialReference": {"wkid": 4326}}
                if i % 10
                else None,
            }
            for i in range(450)
        ],
    )


def assert_same(seen: list, truth: list) -> None:
    """What the client read is the truth, geometry within a millionth of a degree."""
    assert [one["attributes"] for one in seen] == [one["attributes"] for one in truth]
    for one, other in zip(seen, truth):
        assert bool(one["geometry"]) == bool(other["geometry"])
        if one["geometry"]:
            assert one["geometry"]["x"] == pytest.approx(other["geometry"]["x"], abs=1e-6)
            assert one["geometry"]["y"] == pytest.approx(other["geometry"]["y"], abs=1e-6)


def test_client__reads_everything(agol, signs):
    """The client signs in, finds layers and tables, and reads all features over several pages."""
    said = run_client(agol, "count", "read")
    assert said.get("error") is None
    assert (said["user"], said["layers"], said["tables"]) == (agol.username, ["signs"], ["visits"])
    assert said["count"] == 450
    assert_same(said["read"], agol.features(ITEM, 0, wkid=4326))


def test_client__edits(agol, signs):
    """The client adds, updates and deletes, and both sides then hold the same."""
    said = run_client(agol, "add", "update", "delete", "read")
    assert said.get("error") is None
    assert [entry["success"] for step in ("add", "update", "delete") for entry in said[step]] == [True] * 4
    truth = agol.features(ITEM, 0, wkid=4326)
    assert_same(said["read"], truth)
    assert [one["attributes"]["OBJECTID"] for one in truth] == [1, *range(4, 452)]
    assert truth[0]["attributes"]["NAME"] == "Changed"
    assert truth[-1]["attributes"]["id"] == "new"
    assert truth[-1]["geometry"]["x"] == pytest.approx(-97.7)


def test_client__doubles_an_add_that_was_told_otherwise(agol):
    """An add carried out behind a 504 is sent again by the client, which calls it a success."""
    agol.faults.add("after-504", path="applyEdits")
    said = run_client(agol, "add")
    assert said["add"][0]["success"]
    assert agol.duplicates(ITEM, 0, "id") == {"new": 2}


def test_client__takes_a_failed_job_for_a_result(agol, signs):
    """A job that fails part-way is returned by the client without an error."""
    agol.switches.job_end = "fail"
    said = run_client(agol, "delete-all")
    assert said.get("error") is None
    assert len(agol.features(ITEM)) == 270
    assert "Failed" in str(said["delete-all"])


def test_client__is_refused_with_a_wrong_password(agol):
    """A wrong password is refused, and the client tries it more than once."""
    said = run_client(agol, password="wrong")
    assert "Invalid username or password" in said["error"]
    assert agol.sign_in.refused == 4
