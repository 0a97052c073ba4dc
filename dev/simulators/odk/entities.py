"""Datasets of entities: creation, changes, and their feed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dev.simulators.base import Answer
from dev.simulators.odk import filters
from dev.simulators.odk.calls import Call, answer_json, answer_success, answer_text
from dev.simulators.odk.clock import print_moment
from dev.simulators.odk.feed import Page
from dev.simulators.odk.metadata import write_entity_metadata
from dev.simulators.odk.options import Pairs, build_next_link, read_options, write_token
from dev.simulators.odk.people import Actor
from dev.simulators.odk.problems import Problem, not_found
from dev.simulators.odk.rows import Row, encode_component
from dev.simulators.odk.schema import odata_name

_FIELDS = {
    "__id": "uuid",
    "__system/createdAt": "created_at",
    "__system/updatedAt": "updated_at",
    "__system/deletedAt": "deleted_at",
    "__system/creatorId": "creator_id",
}


@dataclass
class Entity:
    """An entity and what its last change brought."""

    uuid: str
    label: str
    data: dict[str, str]
    creator: Actor
    created_at: datetime
    received: dict[str, str]
    user_agent: str | None
    version: int = 1
    changed_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def creator_id(self) -> int:
        """For the filter."""
        return self.creator.id

    def to_json(self) -> dict[str, Any]:
        """As REST shows it."""
        return {
            "uuid": self.uuid,
            "creatorId": self.creator.id,
            "conflict": None,
            "createdAt": print_moment(self.created_at),
            "updatedAt": print_moment(self.updated_at),
            "deletedAt": print_moment(self.deleted_at),
            "currentVersion": {
                "current": True,
                "label": self.label,
                "creatorId": self.creator.id,
                "userAgent": self.user_agent,
                "data": _order(self.data),
                "version": self.version,
                "baseVersion": self.version - 1 or None,
                "dataReceived": _order(self.received),
                "conflictingProperties": None,
                "createdAt": print_moment(self.updated_at or self.created_at),
                "branchId": None,
                "trunkVersion": None,
                "branchBaseVersion": None,
            },
        }

    def to_row(self, properties: list[str]) -> Row:
        """As the feed shows it: deletedAt is not there, even when it is filtered by."""
        return {
            "__id": self.uuid,
            "label": self.label,
            "__system": {
                "createdAt": print_moment(self.created_at),
                "creatorId": str(self.creator.id),
                "creatorName": self.creator.name,
                "updates": self.version - 1,
                "updatedAt": print_moment(self.updated_at),
                "version": self.version,
                "conflict": None,
            },
            **{odata_name(name): self.data.get(name) for name in properties},
        }


@dataclass
class EntityList:
    """A dataset: its properties, its entities oldest first."""

    name: str
    project_id: int
    created_at: datetime
    last_update: datetime
    properties: list[str] = field(default_factory=list)
    entities: dict[str, Entity] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the list of datasets shows it."""
        return {
            "name": self.name,
            "createdAt": print_moment(self.created_at),
            "projectId": self.project_id,
            "approvalRequired": False,
            "ownerOnly": False,
            "deletedAt": None,
        }

    def to_full_json(self) -> dict[str, Any]:
        """As a new one is shown."""
        return {
            **self.to_json(),
            "lastUpdate": print_moment(self.last_update),
            "linkedForms": [],
            "sourceForms": [],
            "draftLinkedForms": [],
            "draftSourceForms": [],
            "properties": [{"name": name, "odataName": odata_name(name)} for name in self.properties],
        }


def _order(data: dict[str, str]) -> dict[str, str]:
    """As PostgreSQL keeps an object: shorter names first."""
    return dict(sorted(data.items(), key=lambda item: (len(item[0]), item[0])))


def answer_datasets(call: Call) -> Answer:
    """`/v1/projects/1/datasets` and below."""
    project = call.project(call.segments[2])
    rest = call.segments[4:]
    lists = project.entity_lists
    if not rest:
        if call.method == "POST":
            call.need("dataset.create", project.id)
            now = call.central.clock.now()
            made = lists[call.json()["name"]] = EntityList(call.json()["name"], project.id, now, now)
            return answer_json(made.to_full_json())
        call.need("dataset.list", project.id)
        return answer_json([one.to_json() for one in lists.values()])
    feed = rest[0].endswith(".svc")
    found = lists.get(rest[0].removesuffix(".svc"))
    if found is None:
        raise not_found()
    if feed:
        call.need("entity.list", project.id)
        return _answer_feed(call, found, rest[1:])
    if rest[1:] == ["properties"] and call.method == "POST":
        call.need("dataset.update", project.id)
        found.properties.append(call.json()["name"])
        return answer_success()
    if rest[1:2] == ["entities"]:
        return _answer_entities(call, found, rest[2:])
    raise not_found()


def _answer_entities(call: Call, found: EntityList, rest: list[str]) -> Answer:
    now = call.central.clock.now()
    if not rest and call.method == "POST" and call.actor is not None:
        call.need("entity.create", found.project_id)
        given = call.json()
        label, data = given["label"], dict(given.get("data", {}))
        entity = Entity(
            given.get("uuid") or call.central.make_id(),
            label,
            data,
            call.actor,
            now,
            {"label": label, **data},
            call.request.header("User-Agent") or None,
        )
        found.entities[entity.uuid] = entity
        return answer_json(entity.to_json())
    known = found.entities.get(rest[0]) if len(rest) == 1 else None
    if known is None or known.deleted_at is not None:
        raise not_found()
    if call.method == "PATCH":
        call.need("entity.update", found.project_id)
        given = call.json()
        received = dict(given.get("data", {}))
        known.data = {**known.data, **received}
        known.label = given.get("label", known.label)
        known.received = received
        known.version += 1
        known.updated_at = now
        return answer_json(known.to_json())
    if call.method == "DELETE":
        call.need("entity.delete", found.project_id)
        known.deleted_at = now
        return answer_success()
    return answer_json(known.to_json())


def _answer_feed(call: Call, found: EntityList, rest: list[str]) -> Answer:
    base = f"{call.base_url}/v1/projects/{found.project_id}/datasets/{encode_component(found.name)}.svc"
    if rest in ([], [""]):
        answer = answer_json(
            {
                "@odata.context": f"{base}/$metadata",
                "value": [{"name": "Entities", "kind": "EntitySet", "url": "Entities"}],
            }
        )
        answer.headers["Content-Type"] += "; odata.metadata=minimal"
        answer.headers["OData-Version"] = "4.0"
        return answer
    if call.raw[-1] == "$metadata":
        answer = answer_text(write_entity_metadata(found.name, found.properties), "application/xml")
        answer.headers["OData-Version"] = "4.0"
        return answer
    if rest != ["Entities"]:
        raise not_found()
    return _read_entities(found, call.pairs, base)


def _read_entities(found: EntityList, pairs: Pairs, base: str) -> Answer:
    options = read_options(pairs, _FIELDS)
    rows = list(reversed(found.entities.values()))
    if options.filter is None:
        rows = [one for one in rows if one.deleted_at is None]
    else:
        test, mentions_deleted = filters.compile_filter(options.filter, _FIELDS)
        rows = [one for one in rows if (mentions_deleted or one.deleted_at is None) and test(one) is True]
    for attribute, down in reversed(options.order):
        rows.sort(key=lambda one: _order_key(getattr(one, attribute)), reverse=down)
    start = options.skip
    if options.token is not None:
        ids = [one.uuid for one in rows]
        if options.token.get("uuid") not in ids:
            raise Problem(400.34, "Record associated with the provided $skiptoken not found.")
        start = ids.index(options.token["uuid"]) + 1
    end = len(rows) if options.top is None else start + options.top
    page = rows[start:end]
    link = None
    if end < len(rows):
        token = write_token({"uuid": page[-1].uuid if page else None})
        link = build_next_link(f"{base}/Entities", pairs, token)
    return Page.of(
        [one.to_row(found.properties) for one in page],
        f"{base}/$metadata#Entities",
        link,
        len(rows) if options.count else None,
    ).to_answer()


def _order_key(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)
