"""Knack records published under hashed ids, to both destinations, from the switch to the daily run."""

from __future__ import annotations

import json

from tests.scripts.conftest import APP, WORK_ORDERS, Way

SCRIPTS = ("records_to_socrata", "records_to_agol")


def switch_on(way: Way) -> None:
    """Give the work orders hashed ids."""
    path = way.config / "knack.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"description": "Work orders"', '"public_id": "hashed"'), encoding="utf-8")
    way.env["PUBLIC_ID_SECRET"] = "a secret of thirty-two bytes ...."


def test_public_ids__from_the_switch_to_the_daily_run(way: Way) -> None:
    """An incremental run refuses until a full one replaced all rows; then edits and deletes arrive, and no plain id."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    for script in SCRIPTS:
        assert way.run(script, "-c", WORK_ORDERS).code == 0
    switch_on(way)
    for script in SCRIPTS:
        early = way.run(script, "-c", WORK_ORDERS, "--since-last")
        assert early.code == 1 and "rows whose ids are not hashed" in early.stderr, early.stderr
        done = way.run(script, "-c", WORK_ORDERS, "--max-delete-pct", "100")
        assert done.code == 0, done.stderr
    source = way.source(WORK_ORDERS)
    before = way.dataset(WORK_ORDERS)
    assert before.keys() == way.features(WORK_ORDERS).keys() and len(before) == len(source)
    titles = {row["id"]: row["title"] for row in before.values()}

    edited, deleted = sorted(source)[:2]
    title = way.city.key(WORK_ORDERS, "Title")
    way.knack.edit_record(WORK_ORDERS, edited, {title: "Edited"})
    way.knack.delete_record(WORK_ORDERS, deleted)
    way.load(WORK_ORDERS)
    for script in SCRIPTS:
        summary = way.run(script, "-c", WORK_ORDERS, "--since-last").summary
        assert (summary["status"], summary["updated"], summary["deleted"]) == ("ok", 1, 1)
    after = way.dataset(WORK_ORDERS)
    assert after.keys() == way.features(WORK_ORDERS).keys() and len(after) == len(source) - 1
    changed = [key for key, row in after.items() if row["title"] != titles[key]]
    assert [after[key]["title"] for key in changed] == ["Edited"]
    public = json.dumps([list(after.values()), list(way.features(WORK_ORDERS).values())])
    assert not [record_id for record_id in source if record_id in public]

    way.env["PUBLIC_ID_SECRET"] = "short"
    short = way.run("records_to_socrata", "-c", WORK_ORDERS)
    assert short.code == 2 and "PUBLIC_ID_SECRET must have 32 bytes or more" in short.stderr
    assert APP in short.stdout and "short" not in short.stderr.replace("SECRET", "")
