"""What the sources say of a container: that it is there and readable, which fields it has, and what of that is new."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.utils import knack, odk, sources
from services.utils.checking.asking import NAMES, Asker
from services.utils.checking.findings import ERROR, NOTE, WARNING, Report
from services.utils.containers import Container
from services.utils.env import KnackSettings, OdkSettings
from services.utils.records import Document
from services.utils.store import Store, decode_metadata

# Destination's columns for places in, the container's rows out.
Shape = Callable[[Sequence[str]], sources.Rows]


@dataclass(frozen=True)
class Origin:
    """How a container's rows are shaped: by its fields as they are at the source now, and as the store knows them.

    now: by the store's too, where the source cannot be asked. Either is None where there is nothing to shape by.
    """

    now: Shape | None
    stored: Shape | None


class KnackOrigins:
    """One Knack app and its containers."""

    def __init__(self, settings: KnackSettings, asker: Asker) -> None:
        self._asker = asker
        self._client = knack.connect(settings)
        fetched = asker.ask("knack", NAMES["knack"], self._client.fetch_metadata)
        self._app = None if fetched is None else self._open(decode_metadata(fetched))

    def _open(self, metadata: dict[str, Any]) -> knack.KnackApp | None:
        with self._asker.report.guarding(NAMES["knack"]):
            return knack.open_app(metadata)
        return None

    def check(self, container: Container, store: Store | None) -> Origin:
        """Check a container at Knack and beside the stored metadata."""
        ask, where = self._asker.ask, container.where
        metadata = ask("store", where, store.read_metadata) if store is not None else None
        stored = self._open(metadata) if metadata else None
        newest = ask("store", where, store.read_newest) if store is not None else None
        if store is not None and "store" not in self._asker.down and metadata is None:
            self._asker.report.add(
                WARNING, where, "the store has no metadata of its app. Run metadata_to_postgrest.py."
            )
        sample = newest
        if self._app is not None and "knack" not in self._asker.down:
            app = self._app
            with self._asker.report.guarding(where):
                self._check_container(app, container)
            sample = self._fetch_sample(app, container) or newest
            if stored is not None:
                _compare_apps(container, stored, app, self._asker.report)
        return Origin(
            _shape_app(container, self._app or stored, sample), _shape_app(container, stored, newest)
        )

    def _check_container(self, app: knack.KnackApp, container: Container) -> None:
        report, where = self._asker.report, container.where
        app.source_object(container.id)
        scene = app.scene(container.id)
        if container.scene_id and scene and container.scene_id != scene:
            report.add(
                ERROR, where, f"scene_id is {container.scene_id!r}, and it is on {scene}. Correct scene_id."
            )
        if container.modified_date_field_id:
            with report.guarding(where):
                app.modified_field(container.id, container.modified_date_field_id)
        if app.sort_field(container.id) is None:
            report.add(
                NOTE,
                where,
                "it shows no auto increment field to sort by, so a full load may miss a record that is moved by an "
                "edit just then; the next one finds it. Add one to the object and the view, if that matters.",
            )
        for setting in ("fields", "exclude_fields", "location_fields"):
            for entry in getattr(container, setting) or ():
                with report.guarding(where):
                    chosen: dict[str, Any] = {setting: [entry]}
                    knack.compile_formatter(app, container.id, **chosen)

    def _fetch_sample(self, app: knack.KnackApp, container: Container) -> Document | None:
        """A record as Knack gives it now: whether the key may read it, and which fields really come."""

        def fetch() -> bytes | None:
            return self._client.fetch_sample(knack.find_place(container.id, container.scene_id, app))

        record = self._asker.ask("knack", container.where, fetch)
        if record is None:
            return None
        sample = Document("", record)
        with self._asker.report.guarding(container.where):
            if missing := knack.find_vanished(app, container.id, sample):
                self._asker.report.add(
                    WARNING,
                    container.where,
                    f"Knack's metadata show these fields and its records have them not: {', '.join(missing)}. "
                    "Show them in the view, or leave them out with exclude_fields.",
                )
        return sample


class OdkOrigins:
    """An ODK Central and its forms."""

    def __init__(self, settings: OdkSettings, asker: Asker) -> None:
        self._asker = asker
        self._settings = settings
        self._central = odk.connect(settings)

    def check(self, container: Container, store: Store | None) -> Origin:
        """Check a form at Central and beside the stored metadata."""
        ask, where, report = self._asker.ask, container.where, self._asker.report
        place = sources.find_form(container, self._settings)
        metadata = ask("store", where, store.read_metadata) if store is not None else None
        if (
            store is not None
            and "store" not in self._asker.down
            and metadata is None
            and not container.repeat
        ):
            report.add(WARNING, where, "the store has no metadata of its form. Run metadata_to_postgrest.py.")
        stored = odk.open_form(metadata) if metadata else None
        feed = odk.FormFeed(self._central, place.project_id, place.form_id, container.record_key)
        now = ask("odk", where, lambda: self._ask_form(container, feed))
        if now is not None:
            _check_form(container, now, report)
            if stored is not None:
                _compare_forms(container, stored, now, report)
        return Origin(_shape_form(container, now or stored), _shape_form(container, stored))

    def _ask_form(self, container: Container, feed: odk.FormFeed) -> odk.Form | None:
        state = feed.fetch_state()
        report, where = self._asker.report, container.where
        if state.closed:
            report.add(
                NOTE, where, "the form is closed: it takes no submissions any more, what it has is read."
            )
        if state.encrypted:
            report.add(
                WARNING,
                where,
                "the form is encrypted: of its submissions only ids and times can be read, no answers.",
            )
        # The feed is what loads read; who may see the form may not see its submissions.
        feed.count()
        fetched = feed.fetch_metadata()
        return odk.open_form(decode_metadata(fetched)) if fetched else None


def _check_form(container: Container, form: odk.Form, report: Report) -> None:
    where = container.where
    paths = {"/".join(field.odata_path) for field in form.fields} | {
        field.path.strip("/") for field in form.fields
    }
    if container.record_key and container.record_key.strip("/") not in paths | {"__id"}:
        near = difflib.get_close_matches(container.record_key, paths, n=1)
        hint = f"; nearest: {near[0]}" if near else ""
        report.add(
            ERROR,
            where,
            f"record_key names {container.record_key!r}, which is no field of the form{hint}. Correct it in "
            "config/odk.py.",
        )
    if container.copies_media and not form.binary_fields:
        report.add(NOTE, where, "attachments are to be copied, and the form has no field for a file.")
    for setting in ("fields", "exclude_fields", "location_fields"):
        for entry in getattr(container, setting) or ():
            with report.guarding(where):
                chosen: dict[str, Any] = {setting: [entry]}
                odk.compile_formatter(form, repeat=container.repeat, **chosen)


def _shape_app(container: Container, app: knack.KnackApp | None, newest: Document | None) -> Shape | None:
    if app is None or container.id not in app.containers():
        return None
    return lambda columns: sources.shape_app(container, app, columns, newest)


def _shape_form(container: Container, form: odk.Form | None) -> Shape | None:
    if form is None:
        return None
    return lambda columns: sources.shape_form(container, form)


def _compare_apps(container: Container, stored: knack.KnackApp, now: knack.KnackApp, report: Report) -> None:
    if container.id not in now.containers():
        return
    if container.id not in stored.containers():
        report.add(
            WARNING, container.where, "the stored metadata do not know it yet. Run metadata_to_postgrest.py."
        )
        return
    before = {field.key: (field.name, field.type) for field in stored.fields(container.id)}
    after = {field.key: (field.name, field.type) for field in now.fields(container.id)}
    _tell_changes(container, before, after, report)


def _compare_forms(container: Container, stored: odk.Form, now: odk.Form, report: Report) -> None:
    def list_fields(form: odk.Form) -> dict[str, tuple[str, str]]:
        with report.guarding(container.where):
            plain = odk.compile_formatter(form, repeat=container.repeat)
            return {path: (path, plain.types[name]) for path, name in plain.names.items()}
        return {}

    if stored.version != now.version:
        report.add(
            NOTE,
            container.where,
            f"version {now.version or '(none)'} of the form is published, the store has "
            f"{stored.version or '(none)'}: the next load reads all submissions anew.",
        )
    _tell_changes(container, list_fields(stored), list_fields(now), report)


def _tell_changes(
    container: Container,
    before: dict[str, tuple[str, str]],
    after: dict[str, tuple[str, str]],
    report: Report,
) -> None:
    """Say what changed at the source since the metadata were loaded: {key: (label, type)} then and now."""
    where, cure = container.where, "Run metadata_to_postgrest.py when the destinations are ready for it."
    level = ERROR if container.on_drift == "freeze" else WARNING
    for key, (label, type_) in before.items():
        if key not in after:
            said = f"{key} ({label!r})" if label != key else key
            report.add(level, where, f"drift: the field {said} is not there any more, or not shown. {cure}")
            continue
        new_label, new_type = after[key]
        if new_label != label:
            report.add(
                level, where, f"drift: the field {key} ({label!r}) is called {new_label!r} now. {cure}"
            )
        if new_type != type_:
            report.add(
                level,
                where,
                f"drift: the field {key} ({label!r}) was of type {type_}, and is {new_type} now. {cure}",
            )
    added = [
        f"{key} ({label!r})" if label != key else key
        for key, (label, _) in after.items()
        if key not in before
    ]
    if added:
        report.add(
            NOTE, where, f"drift: new fields, which the store does not know yet: {', '.join(added)}. {cure}"
        )
