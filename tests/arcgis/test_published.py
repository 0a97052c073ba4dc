"""What this project published, read back with Esri's own client."""

import pytest

from services.utils import agol as destination
from services.utils.guard import DeleteGuard
from services.utils.records import Row
from tests.arcgis.conftest import ITEM, run_client

ROWS = [
    Row(
        f"k{i:03}",
        {
            "id": f"k{i:03}",
            "name": f"Sign {i} – O'Hara & Söhne",
            "seen": f"2024-01-02T03:04:{i % 60:02}-06:00",
            "width": i / 7,
            "place": {"latitude": 30.2 + i / 1000, "longitude": -97.7} if i % 10 else None,
        },
    )
    for i in range(450)
]


def publish(agol, rows):
    """Make the layer hold exactly these rows; refusals fail the test."""
    agol.url = agol.url.replace("https:", "http:", 1)  # our own client need not trust the certificate
    portal = destination.connect(agol.url, agol.username, agol.password)
    try:
        return destination.publish(
            rows,
            destination.open_layer(portal, ITEM, 0, "layer"),
            location_field="place",
            replace=True,
            guard=DeleteGuard(),
            on_reject=lambda reject: pytest.fail(reject.reason),
            pauses_s=(0.01,),
        )
    finally:
        portal.close()


def test_publish__is_what_the_client_reads(agol):
    """Rows come back with the same text, numbers, times in UTC milliseconds and places in degrees."""
    counts = publish(agol, ROWS)
    assert (counts.read, counts.inserted) == (450, 450)
    said = run_client(agol, "read")
    assert said.get("error") is None
    assert len(said["read"]) == len(ROWS)
    for row, seen in zip(ROWS, sorted(said["read"], key=lambda one: one["attributes"]["id"])):
        number = int(row.record_id[1:])
        assert seen["attributes"]["id"] == row.record_id
        assert seen["attributes"]["NAME"] == row.values["name"]
        assert seen["attributes"]["SEEN"] == 1704186240000 + number % 60 * 1000
        assert seen["attributes"]["WIDTH"] == pytest.approx(row.values["width"])
        if row.values["place"] is None:
            assert not seen["geometry"]
        else:
            assert seen["geometry"]["x"] == pytest.approx(-97.7, abs=1e-6)
            assert seen["geometry"]["y"] == pytest.approx(30.2 + number / 1000, abs=1e-6)


def test_publish__puts_right_what_the_client_doubled(agol):
    """Copies that the client's own resending made are gone after a run, and nothing else is touched."""
    publish(agol, ROWS[:100])
    before = agol.features(ITEM)
    agol.faults.add("after-504", path="applyEdits")
    run_client(agol, "add")
    assert agol.duplicates(ITEM, 0, "id") == {"new": 2}
    counts = publish(agol, ROWS[:100])
    assert (counts.unchanged, counts.inserted, counts.updated) == (100, 0, 0)
    assert agol.features(ITEM) == before
