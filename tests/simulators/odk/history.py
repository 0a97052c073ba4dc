"""The recording's world: what stood on the server, and when, as the dataset at its end and the requests tell it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from dev.simulators.odk import OdkSimulator
from dev.simulators.odk.clock import read_moment
from dev.simulators.odk.dataset import load_row, read_dataset
from dev.simulators.odk.instances import Instance, build_nodes, read_instance
from dev.simulators.odk.rows import render_row
from dev.simulators.odk.store import make_file
from tests.simulators.odk.recordings import DATA, Exchange

FORM, RESIDENTS, RACE = "rental_survey", "resident form 2", "race_test"
PROJECT = 1

# Things that happened between two recorded requests, although the clock would put them elsewhere:
# (from, to, before which exchange).
PINS = [
    ("2026-11-21T20:41:48.026Z", "2026-11-21T20:42:00.580Z", ("02_create_submissions", 2)),
    ("2026-11-21T20:42:50.300Z", "2026-11-21T20:42:50.900Z", ("03_mutations", 39)),
    ("2026-11-21T20:44:12.740Z", "2026-11-21T20:44:14.470Z", ("04_form_new_version", 11)),
    ("2026-11-21T20:46:14.700Z", "2026-11-21T20:46:14.750Z", ("09_paging_concurrent", 1)),
    ("2026-11-21T20:46:14.960Z", "2026-11-21T20:46:14.980Z", ("09_paging_concurrent", 5)),
    ("2026-11-21T20:46:15.000Z", "2026-11-21T20:46:15.200Z", ("09_paging_concurrent", 7)),
    ("2026-11-21T20:49:08.000Z", "2026-11-21T20:49:11.900Z", ("11_watermark", 0)),
    ("2026-11-21T20:49:12.010Z", "2026-11-21T20:49:12.040Z", ("11_watermark", 17)),
    ("2026-11-21T20:50:13.660Z", "2026-11-21T20:50:13.670Z", ("12_repeats", 24)),
    ("2026-11-21T20:50:13.690Z", "2026-11-21T20:50:13.710Z", ("12_repeats", 25)),
    ("2026-11-21T20:53:10.970Z", "2026-11-21T20:53:10.980Z", ("18_schema_evolution", 9)),
    ("2026-11-21T20:53:49.800Z", "2026-11-21T20:53:49.880Z", ("19_entities", 4)),
    ("2026-11-21T21:10:18.000Z", "2026-11-21T21:10:18.900Z", ("21_purge_and_cursor", 4)),
]


@dataclass
class Event:
    """Something that no recorded request did."""

    at: datetime
    what: str
    carry_out: Callable[[], None]
    before: tuple[str, int] | None = None


class History:
    """A simulator that goes through the recording's time."""

    def __init__(self, recordings: dict[str, list[Exchange]]) -> None:
        self.simulator = OdkSimulator(public_url="http://127.0.0.1:8383")
        self.simulator.central.forget_people()
        self.simulator.central.admin.created_at = read_moment("2026-11-21T20:39:06.609Z")
        self.dataset = read_dataset(DATA / "dataset.json.gz")
        self.earlier = json.loads((DATA / "earlier.json").read_text())
        self.contents = _collect_contents(recordings)
        self.rows = {
            (form_id, row["__id"]): row
            for form_id, content in self.dataset["forms"].items()
            for row in (*content["rows"], *content["deleted_rows"])
        }
        self._requested = _list_requested(recordings)
        self.events = sorted(
            (*self._row_events(), *self._race_events(), *self._other_events()), key=lambda event: event.at
        )
        for event in self.events:
            for start, end, before in PINS:
                if read_moment(start) <= event.at <= read_moment(end):
                    event.before = before

    def advance_to(self, exchange: Exchange) -> None:
        """Let happen what had happened before an exchange, and set the clock to its time."""
        position = (exchange.file, exchange.index)
        moment = exchange.at
        until = None if moment is None else moment + timedelta(seconds=1)
        due = [
            event
            for event in self.events
            if (
                event.before <= position
                if event.before is not None
                else until is not None and event.at < until
            )
        ]
        for event in due:
            self.events.remove(event)
            self.simulator.clock.set(event.at)
            event.carry_out()
        if moment is not None:
            self.simulator.clock.set(_time_of(exchange) or moment)

    # What happened

    def _row_events(self) -> list[Event]:
        events = []
        for (form_id, instance_id), row in self.rows.items():
            system = row["__system"]
            if (form_id, "create", instance_id) not in self._requested:
                events.append(
                    Event(
                        read_moment(system["submissionDate"]),
                        f"create {instance_id}",
                        lambda f=form_id, i=instance_id: self._create(f, i),
                    )
                )
            if (
                system["updatedAt"]
                and not {
                    (form_id, "edit", instance_id),
                    (form_id, "review", instance_id),
                }
                & self._requested.keys()
            ):
                events.append(
                    Event(
                        read_moment(system["updatedAt"]),
                        f"update {instance_id}",
                        lambda f=form_id, i=instance_id: self._update(f, i),
                    )
                )
            if system["deletedAt"]:
                events.append(
                    Event(
                        read_moment(system["deletedAt"]),
                        f"delete {instance_id}",
                        lambda f=form_id, i=instance_id: self._delete(f, i),
                    )
                )
        return events

    def _create(self, form_id: str, instance_id: str) -> None:
        row = self.rows[form_id, instance_id]
        central = self.simulator.central
        form = central.find_form(PROJECT, form_id)
        system = row["__system"]
        earlier = self.earlier.get(instance_id, row)
        schema = form.versions[-1].schema
        if "xml" in earlier:
            nodes = read_instance(earlier["xml"]).nodes
            earlier = render_row(instance_id, nodes, schema, {}, expand=True, wkt=False)
        first = {
            **earlier,
            "__id": instance_id,
            "__system": {**system, "updatedAt": None, "deletedAt": None, "reviewState": None, "edits": 0},
        }
        attachments = self.dataset["forms"][form_id].get("attachments", {}).get(instance_id)
        submission = load_row(central, form, first, attachments if earlier is row else None, schema)
        version = submission.current
        if "xml" in self.earlier.get(instance_id, ()):
            version.instance = read_instance(self.earlier[instance_id]["xml"])
        version.instance_id = instance_id
        version.user_agent = submission.user_agent = "odk-contract-recorder/1"
        for name in version.files:
            exists = _EARLIER_FILES.get((instance_id, name))
            if exists is not None or (earlier is not row and system["attachmentsPresent"]):
                content = self.contents.get((instance_id, name, None), b"x")
                version.files[name] = make_file(content, "image/jpeg") if exists is not False else None
            elif version.files[name] is not None and (instance_id, name, None) in self.contents:
                kind = version.files[name].content_type
                version.files[name] = make_file(self.contents[instance_id, name, None], kind)
        for name, file in version.files.items():
            if file is not None:
                kind = "image/png" if name.endswith(".png") else file.content_type
                version.files[name] = make_file(file.content, kind)

    def _update(self, form_id: str, instance_id: str) -> None:
        row = self.rows[form_id, instance_id]
        central = self.simulator.central
        form = central.find_form(PROJECT, form_id)
        submission = form.by_id[instance_id]
        system = row["__system"]
        if system["edits"]:
            instance = Instance(form_id, system["formVersion"], build_nodes(row, form.versions[-1].schema))
            central.edit(
                form, submission, instance, submitter=central.admin, user_agent="odk-contract-recorder/1"
            )
            submission.edits_before = system["edits"] - 1
        central.review(form, submission, system["reviewState"])

    def _delete(self, form_id: str, instance_id: str) -> None:
        form = self.simulator.form(PROJECT, form_id)
        if form.by_id[instance_id].deleted_at is None:
            self.simulator.central.delete(form, form.by_id[instance_id])

    # The small form race_test: rows that no answer shows are made up, in the right number on each side.

    def _race_events(self) -> list[Event]:
        known = self.earlier["race_test"]
        border = "2026-11-21T20:49:09.427Z"
        later = [row for row in known if row["submissionDate"] > border]
        rows = [
            *({"submissionDate": f"2026-11-21T20:49:08.{i:03d}Z"} for i in range(43)),
            *(row for row in known if row["submissionDate"] <= border),
            *({"submissionDate": f"2026-11-21T20:49:10.{i:03d}Z"} for i in range(215 - len(later))),
            *later,
        ]
        start = read_moment("2026-11-21T20:49:08.000Z")
        simulator = self.simulator
        events = [
            Event(
                start,
                "create race_test",
                lambda: simulator.create_form(PROJECT, RACE, ["label"], title="Race"),
            )
        ]
        for row in rows:
            at = read_moment(row["submissionDate"])
            events.append(Event(at, "race_test row", lambda r=row, t=at: self._add_race_row(r, t)))
        edited = read_moment("2026-11-21T20:49:12.018Z")
        events.append(Event(edited, "edit of B", self._edit_race_row))
        inserted = read_moment("2026-11-21T20:49:12.035Z")
        row = {"id": "uuid:110f917d-71e6-4d42-ae36-ff8e1b32609c", "label": "inserted during the walk"}
        events.append(Event(inserted, "insert", lambda: self._add_race_row(row, inserted)))
        purged = read_moment("2026-11-21T21:10:18.409Z")
        name = "uuid:047e37d9-af45-4bf3-b612-6eeb0340c7d7"
        events.append(Event(purged, "purge", lambda: simulator.purge(PROJECT, RACE, name)))
        return events

    def _add_race_row(self, row: dict[str, Any], at: datetime) -> None:
        self.simulator.add_submission(
            PROJECT, RACE, {"label": row.get("label")}, instance_id=row.get("id"), at=at
        )

    def _edit_race_row(self) -> None:
        name = "uuid:f2535871-0d3c-4eca-aa56-2393420337b2"
        self.simulator.edit_submission(PROJECT, RACE, name, {"label": "edited B ahead of the cursor"})

    def _other_events(self) -> list[Event]:
        s3 = read_moment("2026-11-21T21:12:26.000Z")
        back = read_moment("2026-11-21T21:12:50.000Z")
        switches = self.simulator.switches
        entities = [
            Event(
                read_moment(f"2026-11-21T20:53:49.{ms}Z"),
                f"entity {number}",
                lambda i=entity_id, n=number: self._add_entity(i, n),
            )
            for number, (entity_id, ms) in _ENTITIES.items()
        ]
        evolved = read_moment("2026-11-21T20:53:10.977Z")
        return [
            *entities,
            Event(evolved, "evolve row", self._add_evolved_row),
            Event(s3, "S3", lambda: setattr(switches, "s3", True)),
            Event(back, "no S3", lambda: setattr(switches, "s3", False)),
        ]

    def _add_entity(self, entity_id: str, number: int) -> None:
        from dev.simulators.odk.entities import Entity

        central = self.simulator.central
        found = central.projects[PROJECT].entity_lists["properties"]
        data = {"address": f"{number} Abai", "owner": "Айгуль" if number % 2 else ""}
        now = central.clock.now()
        found.entities[entity_id] = Entity(
            entity_id, f"House {number}", data, central.admin, now, data, "odk-contract-recorder/1"
        )

    def _add_evolved_row(self) -> None:
        """A row against the third version."""
        xml = (
            '<data id="evolve" version="v3"><a>A3</a><b>33</b><g><d>3.5</d></g><keep>K3</keep><meta>'
            "<instanceID>uuid:642271bb-e8fb-4054-b272-caed04214d3d</instanceID></meta></data>"
        )
        central = self.simulator.central
        central.submit(
            central.find_form(PROJECT, "evolve"),
            read_instance(xml),
            submitter=central.admin,
            user_agent="odk-contract-recorder/1",
        )

    def multipart_of(self, exchange: Exchange) -> dict[str, bytes]:
        """The parts of a multipart body; the recording only says what they were."""
        return _build_parts(self, exchange)


_ENTITIES = {
    1: ("10176b1d-faf3-40ea-ba2f-dfa4f50343bf", "815"),
    2: ("27956992-8a96-4dbe-8d57-3237ad419c76", "826"),
    3: ("30dd539e-dad8-4859-9671-24d859464f20", "838"),
    4: ("fa9812e3-e99a-4fc1-a849-2adb0b189dd5", "851"),
    5: ("ea215870-ce65-4000-9563-7d4906a8007a", "862"),
    6: ("e8a6d59e-41e4-461e-8484-8c0b272c6a2f", "874"),
}

# Files whose state the recording changed, as they were before: whether they existed.
_EARLIER_FILES = {
    ("uuid:eab64b29-e46d-48de-b371-70c60187e084", "1767225700000.jpg"): False,
    ("uuid:4678665d-7ab6-4fa6-bbec-b04a1966ad6d", "p1767225614001.png"): False,
    ("uuid:25060200-f336-4f5c-b535-deb225ed04d3", "1767225610000.jpg"): False,
    ("uuid:c47d1e2a-2fb8-4cb5-8f6b-b213205d0432", "1767225870000.jpg"): False,
    ("uuid:80a677f0-d251-419e-b721-80dfd043ed82", "audit.csv"): False,
}


# The exact times of changes whose own answers do not tell them (later ones do).
_TIMES = {
    ("02_create_submissions", 0): "2026-11-21T20:41:47.974Z",
    ("26_openrosa_resend", 0): "2026-11-21T21:15:16.570Z",
    ("14_etag", 2): "2026-11-21T20:51:09.741Z",
    ("14_etag", 4): "2026-11-21T20:51:09.757Z",
    ("14_etag", 7): "2026-11-21T20:51:09.811Z",
    ("14_etag", 10): "2026-11-21T20:51:09.860Z",
    ("14_etag", 12): "2026-11-21T20:51:09.899Z",
}


def _time_of(exchange: Exchange) -> datetime | None:
    """The exact time of a change, as its answer tells it, or a later one."""
    if (exchange.file, exchange.index) in _TIMES:
        return read_moment(_TIMES[exchange.file, exchange.index])
    body = exchange.answer.get("body_json")
    if exchange.method not in ("POST", "PUT", "PATCH") or not isinstance(body, dict):
        return None
    times = [body[key] for key in ("createdAt", "updatedAt", "publishedAt") if body.get(key)]
    return read_moment(max(times)) if times else None


_CREATE = re.compile(r"/v1/projects/1/forms/([^/]+)/submissions(?:\?.*)?")
_CHANGE = re.compile(r"/v1/projects/1/forms/([^/]+)/submissions/([^/?]+)")


def _list_requested(recordings: dict[str, list[Exchange]]) -> dict[tuple[str, str, str], Exchange]:
    """What recorded requests did: {(form, create or edit or review, instance id): exchange}."""
    found: dict[tuple[str, str, str], Exchange] = {
        (FORM, "create", "uuid:f5057fee-4c3e-4459-82dd-21250b729601"): recordings["02_create_submissions"][0],
        (FORM, "create", "uuid:eb79ff9c-480b-47f6-8a87-bbcd97096430"): recordings["26_openrosa_resend"][0],
    }
    for exchanges in recordings.values():
        for one in exchanges:
            if one.status != 200:
                continue
            created, changed = _CREATE.fullmatch(one.target), _CHANGE.fullmatch(one.target)
            if one.method == "POST" and created:
                found[unquote(created[1]), "create", one.answer["body_json"]["instanceId"]] = one
            elif changed and one.method in ("PUT", "PATCH"):
                what = "edit" if one.method == "PUT" else "review"
                found[unquote(changed[1]), what, unquote(changed[2])] = one
    return found


_FILE = re.compile(r"/v1/projects/1/forms/[^/]+/submissions/([^/]+)(?:/versions/[^/]+)?/attachments/([^/?]+)")


def _collect_contents(recordings: dict[str, list[Exchange]]) -> dict[tuple[str, str, int | None], bytes]:
    """Contents of files that were downloaded: {(instance id, name, size or None): bytes}."""
    found: dict[tuple[str, str, int | None], bytes] = {}
    for exchanges in recordings.values():
        for one in exchanges:
            place = _FILE.fullmatch(one.target)
            if place is None or "body_base64" not in one.answer:
                continue
            content = base64.b64decode(one.answer["body_base64"])
            key = unquote(place[1]), unquote(place[2])
            found[*key, None] = found[*key, len(content)] = content
    return found


def _build_parts(history: History, exchange: Exchange) -> dict[str, bytes]:
    if exchange.file == "23_encrypted":
        xml = (
            '<data id="encrypted_form" version="1" encrypted="yes" xmlns="http://opendatakit.org/submissions">'
            "<base64EncryptedKey>key</base64EncryptedKey>"
            '<meta xmlns="http://openrosa.org/xforms"><instanceID>uuid:045a4d8b-ca59-4481-a968-305b985da1c0'
            "</instanceID></meta><media><file>photo.jpg.enc</file></media>"
            "<encryptedXmlFile>submission.xml.enc</encryptedXmlFile></data>"
        )
        return {"xml_submission_file": xml.encode()}
    instance_id = {
        "02_create_submissions": "uuid:f5057fee-4c3e-4459-82dd-21250b729601",
        "03_mutations": "uuid:df46578b-31aa-4b65-98b4-4e7df79ea77e",
        "26_openrosa_resend": "uuid:eb79ff9c-480b-47f6-8a87-bbcd97096430",
    }[exchange.file]
    row = dict(history.rows[FORM, instance_id])
    if "different XML" in exchange.name:
        row["notes"] = "changed"
    form = history.simulator.form(PROJECT, FORM)
    nodes = build_nodes(row, form.versions[-1].schema)
    instance = Instance(FORM, row["__system"]["formVersion"], nodes)
    parts = {"xml_submission_file": instance.to_xml().encode()}
    for name in re.findall(r"\+ (\S+)>", str(exchange.body)):
        parts[name] = f"{exchange.name} {name}".encode()
    if exchange.file == "02_create_submissions":
        for one in history.dataset["forms"][FORM]["attachments"].get(instance_id, []):
            if one["exists"]:
                parts[one["name"]] = b"picture"
    return parts
