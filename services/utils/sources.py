"""Joins configuration to a source, so that scripts need not know which one it is."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from services.utils import knack, loading, odk, replaces, submissions, views
from services.utils.cli import Args
from services.utils.containers import Container, find_container
from services.utils.env import OdkSettings, Settings, get, load
from services.utils.errors import ConfigError, ServiceError
from services.utils.guard import DeleteGuard
from services.utils.masking import KEY_NAMES, Mask
from services.utils.parts import Parts
from services.utils.postgrest import PostgREST
from services.utils.records import Counts, Document, OnReject, Part, Row, Source, SourceField
from services.utils.runs import Run
from services.utils.store import Store, decode_metadata
from services.utils.store import load_metadata as keep_metadata

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a container is in the store: system is the table."""

    system: str
    app_id: str
    container_id: str


@dataclass(frozen=True)
class FormPlace:
    """Where a form is, at Central and in the store (`app_id`, and `form_id` as the container)."""

    app_id: str
    project_id: str
    form_id: str


def find_place(container: Container, settings: Settings) -> Place:
    """Where a container's documents are in the store.

    settings: of "knack_app" or "odk_app" (or more), as the container's system is.
    Raises: ConfigError if an ODK container's project is not known.
    """
    if container.system == "odk":
        form = find_form(container, settings.odk)
        return Place("odk", form.app_id, form.form_id)
    return Place("knack", settings.knack.app_id, container.id)


def find_form(container: Container, settings: OdkSettings) -> FormPlace:
    """The form that a container of an ODK app stands for.

    Raises: ConfigError if neither configuration nor environment names the project.
    """
    project_id = container.project_id or settings.project_id
    if not (project_id.isascii() and project_id.isdecimal()):
        said = f"project_id is {project_id!r}, expected a whole number" if project_id else "has no project_id"
        raise ConfigError(
            f"{container.where} {said}. Nothing was sent. Set it in config/odk.py, or ODK_PROJECT_ID."
        )
    project_id = str(int(project_id))
    form_id = container.form_id or settings.form_id or container.id
    return FormPlace(f"{settings.host}/{project_id}", project_id, form_id)


def refuse_repeat(config: Mapping[str, Mapping[str, Mapping[str, Any]]], container: Container) -> None:
    """A container that stands for a repeat has no documents of its own.

    Raises: ConfigError that names the container of the form.
    """
    if not container.repeat:
        return
    form_id = container.form_id or container.id
    names = [
        name
        for name, settings in config["odk"].get(container.app, {}).items()
        if not settings.get("repeat") and (settings.get("form_id") or name) == form_id
    ]
    raise ConfigError(
        f"{container.where} stands for the repeat {container.repeat!r}, which is loaded with its form. Nothing was "
        f"sent. Run this with -c {names[0] if names else form_id} instead."
    )


def refuse_shards(container: Container, part: Part | None) -> None:
    """Only a Knack container has pages that several processes can share.

    Raises: ConfigError for an ODK form.
    """
    if part is not None and container.system == "odk":
        raise ConfigError(
            f"{container.where} is an ODK form, which cannot be loaded in shards: each page of its feed names the "
            "next one (nextLink), so it is one walk. Nothing was sent. Run it without --shard and --finish."
        )


def list_publishing(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]], container: Container
) -> list[Container]:
    """The containers that publish these documents: itself, and for an ODK form those of its repeats."""
    found = [container]
    if container.system == "odk":
        form_id = container.form_id or container.id
        for name, settings in config["odk"].get(container.app, {}).items():
            if settings.get("repeat") and (settings.get("form_id") or name) == form_id:
                found.append(find_container(config, container.app, name, container.env, ("odk",)))
    return found


def load_records(
    container: Container,
    settings: Settings,
    store: Store,
    run: Run,
    guard: DeleteGuard,
    *,
    follow: bool,
    dry_run: bool,
) -> None:
    """Load a container from its source into the store: all of it, `run.part` of it, or what changed since `run.since`.

    follow: the run goes on where the last one ended. The outcome is in `run.counts`.
    Raises: as the source does; SourceError if its answer was incomplete or would remove too much.
    """
    if container.system == "odk":
        feed = _open_feed(container, settings)
        submissions.load_form(store, feed, run, guard, follow=follow, dry_run=dry_run)
        feed.central.close()
        return
    since, part = run.since, run.part
    replace = None
    if part is not None and not run.is_shard:
        replace = replaces.read_replace(
            store.postgrest, run.destination, container.app, container.id, container.env, part
        )
    if since and not container.modified_date_field_id:
        log.warning("%s has no modified_date_field_id: reading all of it, removing nothing", container.where)
        since = None
    source = _open_knack(container, settings, store, since, part)
    if replace is not None:
        loading.finish_shards(store, source, run, guard, replace, dry_run=dry_run)
    elif run.is_shard:
        loading.load_shard(store, source, run, guard, dry_run=dry_run)
    elif run.is_full:
        loading.load_all(store, source, run, guard, dry_run=dry_run)
    else:
        loading.load_changes(store, source, run, guard, dry_run=dry_run)


def open_source(container: Container, settings: Settings, store: Store, run: Run) -> Source:
    """All of a container at its source. run: is told what cannot be stored; one of a dry run keeps nothing of it.

    Raises: ConfigError if the source has no such container.
    """
    if container.system == "odk":
        return submissions.open_source(store, _open_feed(container, settings), run)
    return _open_knack(container, settings, store)


def _open_feed(container: Container, settings: Settings) -> odk.FormFeed:
    form = find_form(container, settings.odk)
    central = odk.connect(settings.odk)
    return odk.FormFeed(central, form.project_id, form.form_id, container.record_key)


def _open_knack(
    container: Container,
    settings: Settings,
    store: Store,
    since: dt.datetime | None = None,
    part: Part | None = None,
) -> knack.KnackSource:
    client = knack.connect(settings.knack)
    return knack.open_source(
        client,
        knack.find_app(client, store.read_metadata(), container.id),
        container.id,
        scene_id=container.scene_id,
        modified_field=container.modified_date_field_id,
        since=since,
        part=part,
    )


@dataclass(frozen=True)
class Rows:
    """How a container's documents become rows.

    format: (documents, on_reject=...) -> rows. name_places: the row names that give a layer of a kind of geometry its
    places, None where none does. parts: for a repeat's rows, what an incremental publish needs; it serves one publish.
    zone: whose wall clock rows without a zone of their own show. fields: all that the container has, published or not.
    """

    format: Callable[..., Iterator[Row]]
    name_places: Callable[[str], list[str] | None]
    fields: tuple[SourceField, ...]
    parts: Parts | None = None
    zone: dt.tzinfo = dt.UTC


def open_rows(container: Container, store: Store, geo_columns: Sequence[str] = ()) -> Rows:
    """The shaping of a container's documents, by the metadata in the store.

    geo_columns: the destination's columns for places; Knack's addresses of these names come with coordinates.
    Raises: StoreError if there is no metadata; ConfigError if a setting names a field or repeat that is not there.
    """
    if container.system == "odk":
        rows = shape_form(container, odk.open_form(store.require_metadata()))
    else:
        newest = store.read_newest()
        rows = shape_app(container, knack.open_app(store.require_metadata()), geo_columns, newest)
    return _mask_ids(container, store, rows) if container.public_id else rows


def _mask_ids(container: Container, store: Store, rows: Rows) -> Rows:
    """The same rows with public ids in place of the records' own.

    Raises: ConfigError if there is no secret to hash them with.
    """
    load(container.secrets)
    # Two views of a Knack object show the same records; two forms may use the same keys for different ones.
    scope = [store.system, store.app_id, *([store.container_id] if store.system == "odk" else [])]
    mask = Mask(get("PUBLIC_ID_SECRET"), *scope)
    keys = KEY_NAMES if container.repeat else KEY_NAMES[:1]
    copies: list[str] = []
    if store.system == "odk" and not container.repeat:
        known = (container.record_key or "UUID", "meta/instanceID")
        copies = [one.name for one in rows.fields if one.published and one.key in known]
    if rows.parts is not None:
        rows.parts.mask = mask

    def format_masked(documents: Iterable[Document], *, on_reject: OnReject) -> Iterator[Row]:
        return mask.cover(rows.format(documents, on_reject=on_reject), keys, copies)

    return replace(rows, format=format_masked)


def shape_form(container: Container, form: odk.Form) -> Rows:
    """As `open_rows`, for a form whose metadata are at hand."""
    if form.encrypted:
        log.warning("%s is encrypted: its rows hold what Central adds, and no answers", container.where)
    if container.repeat and container.upsert_matching_field != "id":
        raise ConfigError(
            f"{container.where} publishes the repeat {container.repeat!r}, whose rows are matched by id, not by "
            f"{container.upsert_matching_field!r}. Nothing was sent. Take upsert_matching_field out of "
            "config/odk.py."
        )
    shape = odk.compile_formatter(
        form,
        repeat=container.repeat,
        location_fields=container.location_fields,
        fields=container.fields,
        exclude_fields=container.exclude_fields,
    )
    parts = shape.build_parts()
    return Rows(
        partial(odk.format_rows, formatter=shape, parts=parts),
        shape.name_places,
        tuple(odk.list_fields(form, shape)),
        parts,
    )


def shape_app(
    container: Container,
    app: knack.KnackApp,
    geo_columns: Sequence[str] = (),
    newest: Document | None = None,
) -> Rows:
    """As `open_rows`, for a Knack app whose metadata are at hand.

    newest: the container's newest document; a field that it lacks is left out, so that its column keeps what it holds.
    """
    chosen: dict[str, Any] = {"fields": container.fields, "exclude_fields": container.exclude_fields}
    vanished = knack.find_vanished(app, container.id, newest)
    if vanished:
        formatter = knack.compile_formatter(
            app, container.id, location_fields=container.location_fields, **chosen
        )
        chosen["exclude_fields"] = [*container.exclude_fields, *vanished]
        lost = [name for key, name in formatter.names.items() if key in vanished and name in formatter.places]
        if lost:
            raise ConfigError(
                f"{container.where}: location_fields names {lost[0]!r}, which the newest document has not: it was "
                "removed in Knack, or the view does not show it any more, and every place would be cleared. Nothing "
                "was sent. Show it again and load the container, or correct location_fields."
            )
    addresses = knack.find_addresses(app, container.id, geo_columns, **chosen)
    formatter = knack.compile_formatter(
        app, container.id, location_fields=[*container.location_fields, *addresses], **chosen
    )
    return Rows(
        partial(knack.format_rows, formatter=formatter),
        partial(_name_addresses, container, formatter),
        tuple(knack.list_fields(app, container.id, formatter, vanished)),
        zone=app.timezone,
    )


def _name_addresses(container: Container, formatter: knack.RowFormatter, shape: str) -> list[str] | None:
    """An address is a point: lines and polygons are left alone."""
    places = knack.name_places(formatter)
    if places and shape not in ("", "point", "multipoint"):
        log.warning("%s: the layer holds %s geometry, which addresses do not give", container.where, shape)
    return places if shape in ("point", "multipoint") else None


def name_metadata(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]], args: Args, system: str, settings: Settings
) -> str:
    """What a run that loads metadata writes, in the ledger's words.

    Raises: ConfigError if an ODK container's project is not known.
    """
    if system == "knack":
        return f"store:knack_metadata/{settings.knack.app_id}"
    if not args.container:
        return f"store:odk_metadata/{settings.odk.host}, app {args.app_name}"
    form = find_form(find_container(config, args.app_name, args.container, args.env, (system,)), settings.odk)
    return f"store:odk_metadata/{form.app_id}/{form.form_id}"


def load_metadata(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]],
    args: Args,
    system: str,
    settings: Settings,
    postgrest: PostgREST,
    run: Run,
) -> None:
    """Load an app's metadata: a Knack app's in one document, an ODK app's in one for each form; views follow.

    The outcome is in `run.counts`. A form that cannot be read does not keep the others from being loaded.
    Raises: SourceError if the source does not give them; the last form's error if one could not be read;
        StoreError if the views of a container could not follow.
    """
    names = [args.container] if args.container else sorted(config[system][args.app_name])
    if system == "knack":
        client = knack.connect(settings.knack)
        metadata = client.fetch_metadata()
        knack.open_app(decode_metadata(metadata))
        outcome = keep_metadata(postgrest, settings.knack.app_id, metadata, dry_run=args.dry_run)
        run.counts.add(Counts(read=1, **{outcome: 1}))
        if not args.dry_run:
            views.refresh_all(postgrest, [("knack", settings.knack.app_id, name) for name in names])
        return
    found = [find_container(config, args.app_name, name, args.env, ("odk",)) for name in names]
    forms = dict.fromkeys(find_form(container, settings.odk) for container in found)
    central = odk.connect(settings.odk)
    failed: ServiceError | None = None
    places = []
    for form in forms:
        store = Store(postgrest, "odk", form.app_id, form.form_id)
        run.counts.read += 1
        try:
            feed = odk.FormFeed(central, form.project_id, form.form_id)
            document = feed.fetch_metadata(store.read_metadata())
        except ConfigError as error:
            if len(forms) > 1:
                log.error("%s", error)
            failed = error
            continue
        outcome = store.load_metadata(document, dry_run=args.dry_run) if document else "unchanged"
        run.counts.add(Counts(**{outcome: 1}))
        places.append(("odk", form.app_id, form.form_id))
    central.close()
    if not args.dry_run:
        views.refresh_all(postgrest, places)
    if failed is not None:
        raise failed
