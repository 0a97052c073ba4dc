"""What the destinations say of a container: that they are there and may be written, and how fields meet columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

from services.utils import agol, copying, drift, s3, socrata
from services.utils.checking.asking import NAMES, Asker
from services.utils.checking.findings import ERROR, NOTE, WARNING
from services.utils.checking.kinds import judge_fit, name_kind
from services.utils.checking.origins import Origin
from services.utils.containers import Container
from services.utils.env import AgolSettings, S3Settings, SocrataSettings
from services.utils.postgrest import PostgREST
from services.utils.records import SourceField

# What a key needs: a Knack id has 24 characters; a submission's has "uuid:" and 36 more, or is a field's text.
_KEY_LENGTHS = {"knack": 24, "odk": 64}


class Targets:
    """Datasets, layers and buckets, asked for one container after the other."""

    def __init__(self, asker: Asker, store: PostgREST | None) -> None:
        self._asker = asker
        self._report = asker.report
        self._store = store
        self._portal: agol.Portal | None = None
        self._layers: dict[str, str] = {}

    # -- Socrata ---------------------------------------------------------------------------------

    def check_dataset(self, container: Container, origin: Origin, settings: SocrataSettings) -> None:
        """Check the dataset that a container is published to."""
        where, four = container.where, container.socrata_resource_id

        def open_dataset() -> socrata.Dataset:
            client = socrata.connect(settings.url, settings.username, settings.password, settings.app_token)
            return socrata.open_dataset(client, four)

        dataset = self._asker.ask("socrata", where, open_dataset)
        if dataset is None:
            return
        if dataset.rights and not dataset.rights & {"add", "write"}:
            self._report.add(
                ERROR,
                where,
                f"{dataset}: {settings.username} may only read it. Give that user the right to edit it.",
            )
        with self._report.guarding(where):
            socrata.build_stamp(dataset, container.append_timestamps_socrata, dt.datetime.now(dt.UTC))
        rows = None
        with self._report.guarding(where):
            rows = origin.now(socrata.geo_columns(dataset)) if origin.now else None
        if rows is None:
            self._check_row_id(container, dataset, None)
            return

        def match(names: Iterable[str]) -> dict[str, str]:
            return socrata.match_columns(names, dataset.columns)

        sources_of = match(field.name for field in rows.fields if field.published)
        self._check_row_id(container, dataset, sources_of)
        self._check_types(
            container,
            str(dataset),
            rows.fields,
            sources_of,
            {
                column: (kind, socrata.find_formatter(kind), socrata.Unfit)
                for column, kind in dataset.columns.items()
            },
            cure="Change the column's type, or list the field in exclude_fields.",
        )
        stamp = container.append_timestamps_socrata
        unfed = [column for column in dataset.columns if column not in sources_of and column != stamp]
        self._tell_unmatched(container, str(dataset), "column", rows.fields, sources_of, unfed)
        self._check_drift(
            container,
            origin,
            f"socrata:{settings.host}/{four}",
            match,
            dataset.columns,
            socrata.geo_columns(dataset),
        )

    def _check_row_id(
        self, container: Container, dataset: socrata.Dataset, sources_of: Mapping[str, str] | None
    ) -> None:
        where, row_id = container.where, dataset.row_id
        if row_id is None:
            self._report.add(
                ERROR,
                where,
                f"{dataset} has no row identifier: a publish would append every row again. Make its text column id "
                "the row identifier, in the dataset's settings.",
            )
            return
        if sources_of is None:
            return
        fed_by = sources_of.get(row_id)
        if fed_by is None:
            self._report.add(
                ERROR,
                where,
                f"{dataset}: no field fills its row identifier {row_id!r}. Make a text column id the row identifier.",
            )
        elif fed_by != "id":
            self._report.add(
                WARNING,
                where,
                f"{dataset}: rows are matched by its row identifier {row_id!r}, which the field {fed_by!r} fills; "
                "where that is empty or stands twice, rows are refused. A text column id would be safer.",
            )
        elif dataset.columns[row_id] != "text":
            self._report.add(
                ERROR,
                where,
                f"{dataset}: its row identifier {row_id!r} is of type {dataset.columns[row_id]}, and ids are text. "
                "Make it a text column.",
            )

    # -- ArcGIS Online ---------------------------------------------------------------------------

    def check_layer(self, container: Container, origin: Origin, settings: AgolSettings) -> None:
        """Check the layer or table that a container is published to."""
        where = container.where
        if self._portal is None:
            self._portal = self._asker.ask(
                "agol",
                NAMES["agol"],
                lambda: agol.connect(settings.url, settings.username, settings.password, settings.client),
            )
            if self._portal is None:
                self._asker.down.add("agol")
        portal, number = self._portal, container.layer_id
        if portal is None or number is None:
            return
        layer = self._asker.ask(
            "agol", where, lambda: agol.open_layer(portal, container.service_id, number, container.item_type)
        )
        if layer is None:
            return
        if (other := self._layers.setdefault(layer.url, where)) != where:
            self._report.add(
                ERROR,
                where,
                f"{layer.where} is written by {other} too, and each full publish would remove what the other one "
                "published. Give each a layer of its own.",
            )
        self._check_key(container, layer)
        rows = None
        with self._report.guarding(where):
            rows = origin.now(()) if origin.now else None
        if rows is None:
            return
        places: list[str] = []
        with self._report.guarding(where):
            places = rows.name_places(layer.place) or []
            if layer.kind == "layer" and not places:
                self._report.add(
                    NOTE,
                    where,
                    f"{layer.where}: no field gives its geometry, which is left alone. Name it in "
                    "location_fields, if there is one.",
                )

        def match(names: Iterable[str]) -> dict[str, str]:
            return agol.match_fields(layer, names)

        sources_of = match(field.name for field in rows.fields if field.published)
        self._check_types(
            container,
            layer.where,
            rows.fields,
            sources_of,
            {one.name: (one.type, agol.compile_converter(one), agol.Unfit) for one in layer.fields},
            cure="Give the layer a field of another type, or list the field in exclude_fields.",
        )
        unfed = [one.name for one in layer.fields if one.editable and one.name not in sources_of]
        left = [field for field in rows.fields if field.name not in places]
        self._tell_unmatched(container, layer.where, "field", left, sources_of, unfed)
        destination = f"agol:{container.service_id}/{container.item_type}/{container.layer_id}"
        self._check_drift(container, origin, destination, match, [one.name for one in layer.fields], ())

    def _check_key(self, container: Container, layer: agol.Layer) -> None:
        report, where = self._report, container.where
        key = None
        with report.guarding(where):
            key = agol.find_key_field(layer, container.upsert_matching_field)
        if key is None:
            return
        needed = _KEY_LENGTHS[container.system] if container.upsert_matching_field == "id" else 0
        if key.type != "String" and needed:
            report.add(
                ERROR,
                where,
                f"{layer.where}: ids are text, and the field {key.name} is of type {key.type}. Make it a text field "
                f"of {needed} characters or more.",
            )
        elif key.length and key.length < needed:
            report.add(
                ERROR,
                where,
                f"{layer.where}: the field {key.name} takes {key.length} characters, and a key has up to {needed}. "
                "Make it longer.",
            )
        if key.name not in layer.unique:
            report.add(
                WARNING,
                where,
                f"{layer.where}: the key field {key.name} has no unique index, the one guard against a feature that is "
                "added twice. On the item's page: Data, Fields, the field, Unique values (or addToDefinition at the "
                f'layer\'s admin address with {{"indexes": [{{"name": "{key.name}_unique", "fields": "{key.name}", '
                '"isUnique": true}]}).',
            )

    # -- S3 --------------------------------------------------------------------------------------

    def check_bucket(self, container: Container, settings: S3Settings) -> None:
        """Check that the bucket of a form's media is there and may be listed."""
        where = container.where

        def look() -> bool:
            options = copying.read_options(container, settings)
            bucket = s3.connect(settings)
            try:
                bucket.check(options.prefix)
            finally:
                bucket.close()
            return True

        if self._asker.ask("s3", where, look):
            self._report.add(
                NOTE,
                where,
                f"the bucket {settings.bucket} is there and can be listed; whether the key may write there shows only "
                "when something is written, which a check does not do.",
            )

    # -- both ------------------------------------------------------------------------------------

    def _check_types(
        self,
        container: Container,
        place: str,
        fields: Iterable[SourceField],
        sources_of: Mapping[str, str],
        columns: Mapping[str, tuple[str, Callable[[object], object], type[Exception]]],
        *,
        cure: str,
    ) -> None:
        """Try samples of what each field gives on the column that it fills."""
        by_name = {field.name: field for field in fields}
        for column, name in sources_of.items():
            field = by_name[name]
            kind, convert, refusal = columns[column]
            fit = judge_fit(field.type, convert, refusal)
            said = f"{place}: {column} ({kind}) takes"
            given = f"{field.key} ({field.label!r}, {name_kind(field.type)})"
            if fit == "none":
                self._report.add(
                    ERROR,
                    container.where,
                    f"{said} nothing of what {given} gives, so every row "
                    f"with a value would be refused. {cure}",
                )
            elif fit == "some":
                self._report.add(
                    WARNING,
                    container.where,
                    f"{said} only some of what {given} may give; rows with other values are refused. {cure}",
                )

    def _tell_unmatched(
        self,
        container: Container,
        place: str,
        column: str,
        fields: Iterable[SourceField],
        sources_of: Mapping[str, str],
        unfed: list[str],
    ) -> None:
        used = set(sources_of.values())
        left = [field.name for field in fields if field.published and field.name not in used]
        if left:
            self._report.add(
                NOTE,
                container.where,
                f"{place} has no {column} for {', '.join(left)}: not published there. Add them, or list them in "
                "exclude_fields.",
            )
        if unfed:
            self._report.add(
                NOTE,
                container.where,
                f"{place}: no field fills {', '.join(unfed)}, which keep what they hold.",
            )

    def _check_drift(
        self,
        container: Container,
        origin: Origin,
        destination: str,
        match: drift.Match,
        columns: Iterable[str],
        geo_columns: Iterable[str],
    ) -> None:
        """Columns that would not be filled as they were, once the metadata follow the source."""
        store, now, stored = self._store, origin.now, origin.stored
        if store is None or now is None:
            return
        known = self._asker.ask(
            "store", container.where, lambda: drift.read_fillers(store, destination, container)
        )
        with self._report.guarding(container.where):
            if not known and stored is not None:
                known = drift.find_fillers(stored(list(geo_columns)).fields, match)
            fields = now(list(geo_columns)).fields
            level = ERROR if container.on_drift == "freeze" else WARNING
            for found in drift.compare(known or {}, fields, match, columns).drifts:
                self._report.add(level, container.where, f"drift: {destination}: {drift.tell_drift(found)}")
