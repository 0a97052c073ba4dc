"""A day's work in the city's Knack app: 50 edits, 5 deletes, 3 adds."""

from __future__ import annotations

from random import Random

from dev.simulators.city import City
from dev.simulators.knack import KnackSimulator

SIGNALS, WORK_ORDERS = "object_12", "object_31"


def edit_city(knack: KnackSimulator, city: City, seed: int = 7) -> str:
    """Edit, delete and add signals and work orders; what was done, in words."""
    random = Random(seed)
    edited = deleted = added = 0
    for object_key, title, edits, deletes, adds in (
        (SIGNALS, "Signal Name", 20, 2, 1),
        (WORK_ORDERS, "Title", 30, 3, 2),
    ):
        field = city.key(object_key, title)
        ids = [str(record["id"]) for record in knack.records(object_key)]
        chosen = random.sample(ids, edits + deletes)
        for number, record_id in enumerate(chosen[:edits]):
            knack.edit_record(object_key, record_id, {field: f"Renamed in the demo, no. {number + 1}"})
            edited += 1
        for record_id in chosen[edits:]:
            knack.delete_record(object_key, record_id)
            deleted += 1
        for number in range(adds):
            knack.add_record(object_key, {field: f"Added in the demo, no. {number + 1}"})
            added += 1
    return f"{edited} edits, {deleted} deletes, {added} adds."
