"""Datasets and layers as somebody would have made them for the city's containers."""

from __future__ import annotations

import re
from typing import Any

from dev.simulators.agol import AgolSimulator
from dev.simulators.socrata import SocrataSimulator
from services.utils import containers, knack
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


def create(metadata: dict[str, Any], socrata: SocrataSimulator, agol: AgolSimulator) -> None:
    """Make each configured container's dataset and layer, empty."""
    from dev.demo.__main__ import APP

    app = knack.open_app(metadata)
    config = containers.read_config(containers.CONFIG_FOLDER.parents[1] / "dev" / "demo" / "config")
    for container_id in config["knack"][APP]:
        container = containers.find_container(config, APP, container_id, "prod")
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
