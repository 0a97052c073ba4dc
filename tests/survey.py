"""A small survey for tests: a form at a simulated ODK Central, the real store, loads in this process.

with open_survey(stack) as survey:
    first = survey.add("oak")
    survey.load()
    assert survey.documents() == survey.feed()
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import requests

from dev import stack as stacks
from dev.simulators.odk import OdkSimulator
from services.utils import cli, env, odk, runs, submissions
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.records import Counts
from services.utils.store import Store

FORM = "trees"
FIELDS = [
    ("species", "string"),
    ("UUID", "string"),
    ("height", "decimal"),
    ("site/place", "geopoint"),
    ("photo", "image"),
    ("branch", "repeat"),
    ("branch/length", "decimal"),
    ("branch/leaf", "repeat"),
    ("branch/leaf/colour", "string"),
]
START = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)


@dataclass
class Survey:
    """The form, the store's container, and loads of the one into the other."""

    stack: stacks.Stack
    central: OdkSimulator
    project: int
    record_key: str = ""
    form_id: str = FORM
    rows: int = 500
    rows_most: int = 2500
    last: runs.Run | None = None
    given: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def app_id(self) -> str:
        """The app in the store."""
        return f"127.0.0.1:{self.central.port}/{self.project}"

    @property
    def store(self) -> Store:
        """The store's container."""
        role = env.StoreSettings(self.stack.url, self.stack.token("api_user"), "", "")
        return Store(PostgREST(role), "odk", self.app_id, self.form_id)

    # -- at Central ------------------------------------------------------------------------------

    def add(self, species: str, *, minutes: float = 1, **more: Any) -> str:
        """A submission, some minutes after the one before; `values` are further fields."""
        self.central.clock.advance(minutes * 60)
        values = {"species": species, **more.pop("values", {})}
        instance_id = self.central.add_submission(self.project, self.form_id, values, **more)
        self.given[instance_id] = values
        return instance_id

    def edit(self, instance_id: str, **values: Any) -> None:
        """Change some fields of a submission."""
        self.given[instance_id] = {**self.given[instance_id], **values}
        self.central.edit_submission(self.project, self.form_id, instance_id, self.given[instance_id])

    def do(self, what: str, *arguments: Any) -> None:
        """Anything else that the simulator can do to this form."""
        getattr(self.central, what)(self.project, self.form_id, *arguments)

    def wait(self, days: float = 1) -> None:
        """Let time pass, so that what happened is older than any overlap."""
        self.central.clock.advance(days * 86400)

    # -- loading ---------------------------------------------------------------------------------

    def load(
        self,
        *,
        since_last: bool = False,
        date: dt.datetime | None = None,
        dry_run: bool = False,
        max_delete_pct: float = 100.0,
        allow_empty: bool = True,
        user: str = "",
        password: str = "",
        project: str = "",
    ) -> Counts:
        """One run of the load. What it did to Central stands in `central.requests`, the run in `last`."""
        self.central.requests.clear()
        store = self.store
        args = cli.Args(
            "records_to_postgrest", "park", self.form_id, "prod", date, since_last, dry_run, max_delete_pct
        )
        settings = env.OdkSettings(
            self.central.url, user or self.central.user, password or self.central.password
        )
        central = odk.connect(settings)
        feed = odk.FormFeed(
            central, project or str(self.project), self.form_id, self.record_key, self.rows, self.rows_most
        )
        with runs.record_run(store.postgrest, args, f"store:odk/{self.app_id}/{self.form_id}") as run:
            self.last = run
            submissions.load_form(
                store, feed, run, DeleteGuard(max_delete_pct, allow_empty), follow=since_last, dry_run=dry_run
            )
        central.close()
        return run.counts

    def follow(self, **more: Any) -> Counts:
        """An incremental run."""
        return self.load(since_last=True, **more)

    # -- what is there ---------------------------------------------------------------------------

    def documents(self, *, deleted: bool = False) -> dict[str, bytes]:
        """{key: bytes} of what the store holds alive (or, deleted=True, as tombstones)."""
        rows = self.stack.execute(
            "select record_id, record::text from api.odk where app_id = %s and container_id = %s"
            f" and deleted_at is {'not ' if deleted else ''}null",
            (self.app_id, self.form_id),
        )
        return {record_id: record.encode() for record_id, record in rows}

    def feed(self) -> dict[str, bytes]:
        """{id: bytes} of the whole feed, with all repeats, as one plain client reads it."""
        token = requests.post(
            f"{self.central.url}/v1/sessions",
            json={"email": self.central.user, "password": self.central.password},
            timeout=30,
        ).json()["token"]
        answer = requests.get(
            self.central.url + odk.feed_path(self.project, self.form_id),
            params={"$expand": "*"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        records = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])["value"]
        return {
            msgspec.json.decode(record)["__id"]: bytes(record)
            for record in msgspec.json.decode(records, type=list[msgspec.Raw])
        }

    def agrees(self) -> bool:
        """Whether the store holds exactly what the feed gives, byte for byte."""
        by_id = {msgspec.json.decode(record)["__id"]: record for record in self.documents().values()}
        return by_id == self.feed()

    def rejects(self) -> dict[str, str]:
        """{id: reason} of what is refused now."""
        return dict(
            self.stack.execute("select record_id, reason from api.rejects where closed_at is null order by 1")
        )


@contextlib.contextmanager
def open_survey(stack: stacks.Stack, *, record_key: str = "", **arguments: Any) -> Iterator[Survey]:
    """A Central with one form of no submissions, its clock stopped at `START`."""
    with OdkSimulator(**arguments) as central:
        central.clock.set(START)
        project = central.create_project("Park")
        central.create_form(project, FORM, FIELDS, title="Trees of the park")
        yield Survey(stack, central, project, record_key)
