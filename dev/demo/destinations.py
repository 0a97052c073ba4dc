"""Datasets and layers as somebody would have made them for the city's containers."""

from __future__ import annotations

import json
import re
from typing import Any

from dev import stack as stacks
from dev.demo.names import CONTAINERS, FORM, KNACK_APP, ODK_APP, TREES, find_container
from dev.simulators.agol import AgolSimulator
from dev.simulators.city.apps import make_metadata, make_object
from dev.simulators.city.fields import make_field
from dev.simulators.socrata import SocrataSimulator
from services.utils import knack, odk
from services.utils.knack import KnackApp, RowFormatter

_SOCRATA = {
    "auto_increment": "number",
    "number": "number",
    "currency": "number",
    "equation": "number",
    "rating": "number",
    "count": "number",
    "sum": "number",
    "average": "number",
    "min": "number",
    "max": "number",
    "boolean": "checkbox",
    "date_time": "calendar_date",
    "link": "url",
}
_ESRI: dict[str, tuple[Any, ...]] = {
    "boolean": ("SmallInteger",),
    "auto_increment": ("Integer",),
    "number": ("Double",),
    "currency": ("Double",),
    "equation": ("Double",),
    "rating": ("Double",),
    "count": ("Integer",),
    "sum": ("Double",),
    "average": ("Double",),
    "min": ("Double",),
    "max": ("Double",),
    "date_time": ("Date",),
}
_ODK_SOCRATA = {
    "int": "number",
    "decimal": "number",
    "boolean": "checkbox",
    "dateTime": "calendar_date",
    "date": "calendar_date",
    "geopoint": "point",
    "geotrace": "line",
    "geoshape": "polygon",
}
# Places are geometry, not fields.
_ODK_ESRI: dict[str, tuple[Any, ...]] = {
    "int": ("Integer",),
    "decimal": ("Double",),
    "boolean": ("SmallInteger",),
    "dateTime": ("Date",),
    "date": ("Date",),
    "geopoint": (),
    "geotrace": (),
    "geoshape": (),
}


def create(metadata: dict[str, Any], socrata: SocrataSimulator, agol: AgolSimulator) -> None:
    """Make each configured container's dataset and layer, empty."""
    app = knack.open_app(metadata)
    for container_id in CONTAINERS:
        container = find_container(KNACK_APP, container_id)
        formatter = knack.compile_formatter(
            app,
            container_id,
            location_fields=container.location_fields,
            exclude_fields=container.exclude_fields,
        )
        places = set(knack.name_places(formatter) or ())
        socrata.create_dataset(container.socrata_resource_id, make_columns(formatter, places), row_id="id")
        agol.create_layer(
            container.service_id,
            int(container.layer_id or 0),
            kind=container.item_type,
            fields=make_fields(app, formatter, places),
            geometry="esriGeometryPoint" if container.item_type == "layer" else None,
            unique_key="id",
        )


def build_register() -> dict[str, Any]:
    """The metadata of a small Knack app that keeps a register of work orders."""
    fields = [
        make_field("field_1", "Number", "auto_increment"),
        make_field("field_2", "Work Order", "short_text", unique=True),
        make_field("field_3", "Title", "short_text"),
        make_field("field_4", "State", "multiple_choice", format={"options": ["ASSIGNED", "CLOSED"]}),
        make_field("field_5", "Opened", "date_time"),
        make_field("field_6", "Signal", "short_text"),
    ]
    register = make_object("object_1", "work orders", fields, identifier="field_2", sort="field_1")
    return make_metadata("Work Register", "samplecity", [register], [], {})


def create_for_survey(store: stacks.Stack, socrata: SocrataSimulator, agol: AgolSimulator) -> None:
    """Make the datasets and the layer of the survey's form, as its stored metadata says."""
    found = store.execute("select metadata::text from api.odk_metadata where container_id = %s", (FORM,))
    form = odk.open_form(json.loads(found[0][0]))
    for container_id in (FORM, TREES):
        container = find_container(ODK_APP, container_id)
        shape = odk.compile_formatter(form, repeat=container.repeat, exclude_fields=container.exclude_fields)
        keys = ("id", "submission_id", "parent_id", "position") if container.repeat else ("id",)
        columns = {key: "number" if key == "position" else "text" for key in keys}
        columns |= {name: _ODK_SOCRATA.get(kind, "text") for name, kind in shape.types.items()}
        socrata.create_dataset(container.socrata_resource_id, columns, row_id="id")
        if container.service_id:
            fields: dict[str, tuple[Any, ...]] = {"id": ("String", 80, False)}
            fields |= {name: _ODK_ESRI.get(kind, ("String", 4000)) for name, kind in shape.types.items()}
            agol.create_layer(
                container.service_id,
                int(container.layer_id or 0),
                fields={name: kind for name, kind in fields.items() if kind},
                unique_key="id",
            )


def make_columns(formatter: RowFormatter, places: set[str]) -> dict[str, str]:
    """{fieldName: Socrata type} for a container's rows."""
    return {
        _clean(name): "point" if name in places else _SOCRATA.get(kind, "text")
        for name, kind in formatter.types.items()
    }


def make_fields(app: KnackApp, formatter: RowFormatter, places: set[str]) -> dict[str, tuple[Any, ...]]:
    """{field name: (Esri type, length)} for a container's rows; places are geometry, not fields."""
    return {
        _clean(name): ("String", 24, False) if name == "id" else _ESRI.get(kind, ("String", 4000))
        for name, kind in formatter.types.items()
        if name not in places
    }


def _clean(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", name).strip("_") if name != "_id" else name
