"""A day's work: 50 edits, 5 deletes and 3 adds in the city's Knack app; visits corrected and deleted in the survey."""

from __future__ import annotations

from random import Random

from dev.simulators.city import City
from dev.simulators.knack import KnackSimulator
from dev.simulators.odk import OdkSimulator
from dev.simulators.survey import Survey

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


def edit_survey(odk: OdkSimulator, survey: Survey) -> str:
    """Correct ten visits, delete one, bring in a photo that was missing; what was done, in words."""
    for number, visit in enumerate(survey.visits[:10]):
        survey.edit(odk, visit, {"surveyor": f"Corrected in the demo, no. {number + 1}"})
    gone = survey.visits.pop()
    odk.delete(survey.project, survey.form_id, gone.instance_id)
    late = 0
    for visit in survey.visits:
        for name in visit.missing:
            odk.put_attachment(survey.project, survey.form_id, visit.instance_id, name, visit.files[name])
            late += 1
        visit.missing.clear()
    return f"10 corrections, 1 delete, {late} photos that come late."
