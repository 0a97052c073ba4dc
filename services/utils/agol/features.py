"""Rows to ArcGIS features: {"attributes": {field: value}, "geometry": ...}.

Source: ArcGIS REST API, "Feature object", "Geometry objects".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

from services.utils.agol.layer import PLACES, Layer, LayerField
from services.utils.agol.shapes import build_geometry
from services.utils.agol.values import UNSENDABLE, Convert, Unfit, compile_converter
from services.utils.errors import ConfigError
from services.utils.records import Row

log = logging.getLogger(__name__)

KEY_TYPES = ("String", "GUID", "SmallInteger", "Integer", "BigInteger")
_SHAPES_KEPT = 256


def squeeze_name(name: str) -> str:
    """A name without case and punctuation: "Asset # (ID)" is "asset_id"."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def fold_key(key: str) -> str:
    """What two keys have in common that the server may take for one: it ignores case and trailing space."""
    return key.rstrip().casefold()


def read_key(feature: dict[str, Any], key: LayerField) -> str:
    """The key of a feature from the layer, as it stands there; "" for none."""
    value = feature["attributes"].get(key.name)
    if isinstance(value, float):
        value = int(value)
    text = "" if value is None else str(value)
    return text.strip("{}") if key.type == "GUID" else text


def find_fold(feature: dict[str, Any], key: LayerField) -> str:
    """The key of a feature from the layer, folded; "" for none."""
    return fold_key(read_key(feature, key))


class FieldMatcher:
    """Finds the fields of a layer that row names fill: equal names first, then but for case, then but for signs."""

    def __init__(self, layer: Layer) -> None:
        self._exact = {f.name: f for f in layer.fields}
        self._lower: dict[str, LayerField] = {}
        self._squeezed: dict[str, LayerField] = {}
        for f in layer.fields:
            self._lower.setdefault(f.name.lower(), f)
            self._squeezed.setdefault(squeeze_name(f.name), f)

    def match(self, names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """({field: the row name that fills it}, {row name that fills none: why})."""
        taken: dict[str, tuple[int, str]] = {}
        left: dict[str, str] = {}
        for name in names:
            rank, found = self._match_name(name)
            if found is None:
                left[name] = "the layer has no such field"
            elif not found.editable or found.type in UNSENDABLE:
                left[name] = "the layer keeps this field itself"
            elif found.name not in taken:
                taken[found.name] = rank, name
            elif rank < taken[found.name][0]:
                left[taken[found.name][1]] = f'"{name}" is closer to the layer\'s field'
                taken[found.name] = rank, name
            else:
                left[name] = f'"{taken[found.name][1]}" fills the layer\'s field already'
        return {target: name for target, (_, name) in taken.items()}, left

    def _match_name(self, name: str) -> tuple[int, LayerField | None]:
        if name in self._exact:
            return 0, self._exact[name]
        if name.lower() in self._lower:
            return 1, self._lower[name.lower()]
        return 2, self._squeezed.get(squeeze_name(name) or name)


def match_fields(layer: Layer, names: Iterable[str]) -> dict[str, str]:
    """{field of the layer: the row name that fills it}, as publishing does it."""
    return FieldMatcher(layer).match(names)[0]


class FeatureBuilder:
    """Shapes the rows of one run for one layer: every name is looked up once, every field has one closure.

    location_field: name, or names, of the row's values that hold the place; the first one that has a place counts.
        None leaves the geometry of features alone.
    After rows were built: `used` are the fields that some row filled, in the layer's order; `place_seen`
    whether any row had a location field at all.
    Raises: ConfigError if the layer has no fit field for the key.
    """

    def __init__(
        self, layer: Layer, *, key_field: str = "id", location_field: str | Sequence[str] | None = None
    ) -> None:
        self.layer = layer
        self.key = find_key_field(layer, key_field)
        names = [location_field] if isinstance(location_field, str) else list(location_field or ())
        self.location_names = names if layer.place in PLACES.values() else []
        if names and layer.kind == "layer" and not self.location_names:
            log.warning(
                "%s holds %s geometry: it takes no places from records, so geometry is left alone",
                layer.where,
                layer.place or "no",
            )
        self.place_seen = False
        self.unknown: dict[str, None] = {}
        self._used: set[str] = set()
        self._converters: dict[str, Convert] = {}
        self._shapes: dict[tuple[str, ...], list[tuple[str, str, Convert]]] = {}
        self._matcher = FieldMatcher(layer)
        self._by_name = {f.name: f for f in layer.fields}

    @property
    def used(self) -> list[LayerField]:
        """Fields that rows have filled so far, in the layer's order."""
        return [f for f in self.layer.fields if f.name in self._used]

    def build(self, row: Row) -> dict[str, Any]:
        """One feature; "geometry" is absent where geometry is left alone, null where the place is empty.

        Raises: Unfit, whose text names the field and the rule.
        """
        attributes = {}
        for name, target, convert in self._shape(row):
            try:
                attributes[target] = convert(row.values[name])
            except Unfit as error:
                raise Unfit(f"field {target} ({name}): {error}") from None
        if attributes.get(self.key.name) is None:
            raise Unfit(f"key field {self.key.name} is empty")
        feature: dict[str, Any] = {"attributes": attributes}
        if self.location_names:
            feature["geometry"] = self._build_geometry(row)
        return feature

    def find_key(self, row: Row) -> str | None:
        """The key as text, also of a row that cannot be built; None if it has none."""
        for name, target, convert in self._shape(row):
            if target == self.key.name:
                try:
                    key = convert(row.values[name])
                except Unfit:
                    return None
                return None if key is None else str(key)
        return None

    def _shape(self, row: Row) -> list[tuple[str, str, Convert]]:
        """(row name, field name, closure) for the names of this row; rows of one container mostly agree."""
        names = tuple(row.values)
        shape = self._shapes.get(names)
        if shape is None:
            if len(self._shapes) >= _SHAPES_KEPT:
                self._shapes.clear()
            shape = self._shapes[names] = self._match_names(names)
        return shape

    def _match_names(self, names: tuple[str, ...]) -> list[tuple[str, str, Convert]]:
        taken, left = self._matcher.match(names)
        for name, why in left.items():
            self._leave_out(name, why)
        self._used.update(taken)
        return [(name, target, self._converter(target)) for target, name in taken.items()]

    def _converter(self, target: str) -> Convert:
        if target not in self._converters:
            self._converters[target] = compile_converter(
                self._by_name[target], guard_html=self.layer.guards_html
            )
        return self._converters[target]

    def _leave_out(self, name: str, why: str) -> None:
        if name not in self.unknown and name not in self.location_names:
            self.unknown[name] = None
            log.warning('"%s" is not published to %s: %s', name, self.layer.where, why)

    def _build_geometry(self, row: Row) -> dict[str, Any] | None:
        for name in self.location_names:
            if name not in row.values:
                continue
            self.place_seen = True
            try:
                geometry = build_geometry(row.values[name], self.layer.place)
            except Unfit as error:
                raise Unfit(f"location {name}: {error}") from None
            if geometry is not None:
                return geometry
        return None


def find_key_field(layer: Layer, key_field: str) -> LayerField:
    """The layer's field for the key, by its name or a near one.

    Raises: ConfigError if there is none, or none that can hold keys.
    """
    fits = (
        lambda f: f.name == key_field,
        lambda f: f.name.lower() == key_field.lower(),
        lambda f: squeeze_name(f.name) == squeeze_name(key_field),
    )
    for fit in fits:
        for f in layer.fields:
            if fit(f) and f.editable and f.type not in UNSENDABLE:
                if f.type in KEY_TYPES:
                    return f
                raise ConfigError(
                    f"{layer.where}: field {f.name} is of type {f.type} and cannot hold keys. Nothing was sent. "
                    "Use a text or integer field as upsert_matching_field."
                )
    raise ConfigError(
        f'{layer.where} has no editable field "{key_field}" to match records by; it has '
        f"{', '.join(f.name for f in layer.fields)}. Nothing was sent. Add the field to the layer or correct "
        "upsert_matching_field."
    )


def build_feature(
    row: Row, layer: Layer, *, key_field: str = "id", location_field: str | Sequence[str] | None = None
) -> dict[str, Any]:
    """Shape one row as an ArcGIS feature; for many rows use one FeatureBuilder.

    Args:
        row: its values are left unchanged. Names are matched to fields exactly, else without case, else
            without punctuation; names without a field are left out.
        location_field: name or names of the value that holds the place, as `build_geometry` takes it for the
            layer's kind of geometry. None leaves geometry alone.
    Returns: {"attributes"} with each value as its field takes it (see `compile_converter`) and, with a
        location field, "geometry" as the layer wants it, None for an empty place.
    Raises: Unfit naming the field and the rule, if a value or a coordinate does not fit; ConfigError if
        the layer has no field for the key.
    """
    return FeatureBuilder(layer, key_field=key_field, location_field=location_field).build(row)
