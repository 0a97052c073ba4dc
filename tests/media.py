"""A form with media for tests: a simulated ODK Central, the real store, a simulated S3, copies in this process.

with open_media(stack) as media:
    media.add("House 1", {"a.jpg": jpeg("a")}, photo="a.jpg")
    media.load()
    media.copy()
    media.check(sent=1)
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dev import stack as stacks
from dev.simulators.odk import OdkSimulator
from dev.simulators.odk.pictures import draw_jpeg
from dev.simulators.s3 import S3Simulator
from services.utils import cli, copying, env, odk, runs, s3, submissions
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.records import Counts
from services.utils.store import Store

FORM = "rental survey"
FIELDS = [
    ("name", "string"),
    ("photo", "image"),
    ("building/façade", "image"),
    ("person", "repeat"),
    ("person/age", "int"),
    ("person/portrait", "image"),
    ("person/paper", "repeat"),
    ("person/paper/scan", "image"),
    ("meta/audit", "binary"),
]
START = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)
Content = bytes | tuple[bytes, str]


def jpeg(seed: str) -> bytes:
    """A picture that no other seed has."""
    return draw_jpeg(hashlib.sha256(seed.encode()).digest())


@dataclass
class Media:
    """A form with media, the store's container, a bucket."""

    stack: stacks.Stack
    central: OdkSimulator
    s3: S3Simulator
    project: int
    app_id: str
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)

    # -- at Central ------------------------------------------------------------------------------

    def add(self, name: str, files: dict[str, Content] | None = None, **values: Any) -> str:
        """A submission, a minute after the one before."""
        self.central.clock.advance(60)
        instance_id = self.central.add_submission(
            self.project, FORM, {"name": name, **values}, attachments=files or {}
        )
        self._note(instance_id, files)
        return instance_id

    def edit(self, instance_id: str, files: dict[str, Content] | None = None, **values: Any) -> None:
        """Other values, with new files."""
        self.central.clock.advance(60)
        self.central.edit_submission(self.project, FORM, instance_id, values, attachments=files or {})
        self._note(instance_id, files)

    def put(self, instance_id: str, name: str, content: bytes, kind: str = "") -> None:
        """A file that comes later, or another one of the same name."""
        self.central.clock.advance(60)
        self.central.put_attachment(self.project, FORM, instance_id, name, content, kind)
        self.files[instance_id, name] = content

    def do(self, what: str, *arguments: Any) -> None:
        """Anything else that the simulator can do to this form."""
        self.central.clock.advance(60)
        getattr(self.central, what)(self.project, FORM, *arguments)

    def _note(self, instance_id: str, files: dict[str, Content] | None) -> None:
        for name, content in (files or {}).items():
            self.files[instance_id, name] = content if isinstance(content, bytes) else content[0]

    # -- runs ------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store's container."""
        role = env.StoreSettings(self.stack.url, self.stack.token("api_user"), "", "")
        return Store(PostgREST(role), "odk", self.app_id, FORM)

    @property
    def settings(self) -> env.OdkSettings:
        """The way to Central: as a viewer, who may read and nothing else."""
        return env.OdkSettings(self.central.url, self.central.viewer, self.central.viewer_password)

    def load(self, *, follow: bool = False) -> None:
        """Metadata and records into the store."""
        store, central = self.store, odk.connect(self.settings)
        feed = odk.FormFeed(central, str(self.project), FORM)
        document = feed.fetch_metadata()
        assert document is not None
        store.load_metadata(document)
        args = cli.Args("records_to_postgrest", "survey", FORM, "prod", since_last=follow)
        with runs.record_run(store.postgrest, args, f"store:odk/{self.app_id}/{FORM}") as run:
            submissions.load_form(store, feed, run, DeleteGuard(100.0, True), follow=follow)
        central.close()

    def copy(
        self,
        *,
        follow: bool = False,
        date: dt.datetime | None = None,
        dry_run: bool = False,
        prefix: str = "media",
        thumbnail_px: int = 0,
        workers: int = 4,
        newest_first: bool = True,
    ) -> Counts:
        """One run; what it sent to both sides stands in their `requests`."""
        self.central.requests.clear()
        self.central.files_host.requests.clear()
        self.s3.requests.clear()
        self.s3.writes.clear()
        store, central = self.store, odk.connect(self.settings)
        bucket = s3.connect(
            env.S3Settings(
                self.s3.access_key, self.s3.secret_key, self.s3.bucket, self.s3.region, self.s3.url
            )
        )
        options = copying.Options(prefix, thumbnail_px, workers, newest_first)
        args = cli.Args("attachments_to_s3", "survey", FORM, "prod", date, follow, dry_run)
        with runs.record_run(store.postgrest, args, f"s3:{bucket.name}/{prefix}/{FORM}") as run:
            feed = odk.FormFeed(central, str(self.project), FORM)
            form = odk.open_form(store.require_metadata())
            self.more = copying.Copier(store, form, feed, bucket, options, dry_run=dry_run).copy(run)
        central.close()
        self.status = run.status
        return run.counts

    def follow(self, **more: Any) -> Counts:
        """Load and copy what changed."""
        self.load(follow=True)
        return self.copy(follow=True, **more)

    # -- what is there ---------------------------------------------------------------------------

    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        """{(instance id, file name): row}"""
        found = self.stack.execute("select to_jsonb(a) from api.odk_attachments a order by name")
        return {(row["instance_id"], row["name"]): row for (row,) in found}

    def states(self) -> dict[str, str]:
        """{file name: state}"""
        return {name: row["state"] for (_, name), row in self.rows().items()}

    def downloads(self) -> list[str]:
        """Names of files whose bytes came."""
        direct = [
            seen.path.rpartition("/")[2]
            for seen in self.central.requests
            if "/attachments/" in seen.path and seen.method == "GET" and seen.status == 200
        ]
        return sorted(direct + [seen.path for seen in self.central.files_host.requests if seen.status == 200])

    def check(self, sent: int) -> None:
        """Everything is in the bucket as it is at Central, noted with its digest, and so many writes were made."""
        rows, objects = self.rows(), self.s3.objects()
        stored = {place: row for place, row in rows.items() if row["state"] == "stored"}
        assert {place: objects[row["key"]] for place, row in stored.items()} == self.files
        for place, row in stored.items():
            content = self.files[place]
            assert row["digest"] == hashlib.md5(content).hexdigest()
            assert row["sha1"] == hashlib.sha1(content).hexdigest()
            assert row["size_bytes"] == len(content)
            assert self.s3.object(row["key"]).etag == row["digest"]
        assert len(self.s3.writes) == len(set(self.s3.writes)) == sent


@contextlib.contextmanager
def open_media(stack: stacks.Stack, key: str | None = None, **switches: Any) -> Iterator[Media]:
    """A Central with one form of no submissions, an empty bucket."""
    with OdkSimulator(**switches) as central, S3Simulator() as bucket:
        central.clock.set(START)
        project = central.create_project("Rents")
        central.create_form(project, FORM, FIELDS, key=key)
        yield Media(stack, central, bucket, project, f"127.0.0.1:{central.port}/{project}")


def fill(media: Media, submissions: int, files: int = 2) -> None:
    """Submissions with pictures."""
    for number in range(submissions):
        names = [f"{number}-{index}.jpg" for index in range(files)]
        media.add(
            f"House {number}",
            {name: jpeg(name) for name in names},
            photo=names[0],
            person=[{"portrait": name} for name in names[1:]],
        )
