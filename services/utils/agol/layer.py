"""One hosted layer or table: its properties, reading it in key-set pages, and edits with every entry checked.

Source: ArcGIS REST API, "Query (Feature Service/Layer)", "Apply Edits (Feature Service/Layer)".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.utils.agol.portal import SYSTEM, Portal
from services.utils.errors import ConfigError, OutcomeUnknown, PublishError

log = logging.getLogger(__name__)

KEYS_PER_QUERY = 100
WHERE_CHARS = 50_000
_LIKE_SIGN = re.compile(r"[%_\[\]^\\]")
NEEDED = ("Create", "Update", "Delete", "Query")
# Geometry types that can be published, by our name for them.
PLACES = {
    "esriGeometryPoint": "point",
    "esriGeometryMultipoint": "multipoint",
    "esriGeometryPolyline": "polyline",
    "esriGeometryPolygon": "polygon",
}


@dataclass(frozen=True)
class LayerField:
    """A field of a layer. type: Esri's name without "esriFieldType". length: UTF-16 units, 0 for none."""

    name: str
    type: str
    length: int = 0
    nullable: bool = True
    editable: bool = True


@dataclass(frozen=True)
class Layer:
    """A layer or table as it described itself when the run began.

    kind: "layer" or "table". place: "point", "multipoint", "polyline", "polygon", "" (a table), or another
    geometry's Esri name.
    page: features in one answer at most. unique: names of fields with a unique index of their own.
    guards_html: the service refuses text that holds HTML.
    """

    portal: Portal = field(repr=False)
    url: str
    id: int
    name: str
    kind: str
    item_id: str
    oid_field: str
    fields: tuple[LayerField, ...]
    place: str = ""
    page: int = 1000
    unique: frozenset[str] = frozenset()
    guards_html: bool = True

    @property
    def where(self) -> str:
        """The layer in words, for messages."""
        return f"{SYSTEM} {self.kind} {self.id} ({self.name}) of item {self.item_id}"

    def field_named(self, name: str) -> LayerField | None:
        """The field of this exact name, or None."""
        return next((f for f in self.fields if f.name == name), None)


def open_layer(portal: Portal, service_id: str, layer_id: int | str, item_type: str) -> Layer:
    """Look a layer or table up and read its properties.

    Args:
        service_id: item id of the feature service.
        layer_id: REST id of the layer or table; where none of that kind has this id, its position
            among the layers (or tables) of the service, which is what older configurations hold.
        item_type: "layer" or "table".
    Raises: ConfigError if it is not there, or may not be edited. Nothing is changed by this.
    """
    if item_type not in ("layer", "table"):
        raise ConfigError(
            f'item {service_id} cannot be published to {SYSTEM}: item_type is "{item_type}", expected "layer" '
            'or "table". Nothing was sent.'
        )
    url = portal.find_service(service_id)
    service = portal.post(url, what=f"service of item {service_id}")
    number = _find_id(service, service_id, layer_id, item_type)
    raw = portal.post(f"{url}/{number}", what=f"{item_type} {number} of item {service_id}")
    xss = service.get("xssPreventionInfo") or {}
    guards = (
        xss.get("xssPreventionEnabled", True) and xss.get("xssInputRule", "rejectInvalid") == "rejectInvalid"
    )
    geometry = raw.get("geometryType") or ""
    layer = Layer(
        portal=portal,
        url=f"{url}/{number}",
        id=number,
        name=str(raw.get("name", "")),
        kind=item_type,
        item_id=service_id,
        oid_field=str(raw.get("objectIdField") or _find_oid_field(raw)),
        fields=tuple(_read_field(f) for f in raw.get("fields") or []),
        place="" if item_type == "table" else PLACES.get(geometry, geometry),
        page=max(1, int(raw.get("maxRecordCount") or 1000)),
        unique=frozenset(
            str(index.get("fields", "")).strip()
            for index in raw.get("indexes") or []
            if index.get("isUnique") and "," not in str(index.get("fields", ""))
        ),
        guards_html=bool(guards),
    )
    able = {
        part.strip() for part in str(raw.get("capabilities") or service.get("capabilities") or "").split(",")
    }
    if lacking := [name for name in NEEDED if name not in able]:
        raise ConfigError(
            f"{layer.where} does not allow {', '.join(lacking)}. Nothing was sent. Its owner can allow editing "
            "on the item's page, under Settings."
        )
    if not layer.fields:
        raise ConfigError(f"{layer.where} shows no fields. Nothing was sent. Look at it in the portal.")
    return layer


def _find_id(service: dict[str, Any], service_id: str, layer_id: int | str, item_type: str) -> int:
    """The REST id meant by `layer_id`, which may be a position."""
    listed = service.get("layers" if item_type == "layer" else "tables") or []
    ids = [int(entry["id"]) for entry in listed]
    try:
        wanted = int(layer_id)
    except (TypeError, ValueError):
        wanted = -1
    if wanted in ids:
        log.info("layer_id %d is taken as the REST id of a %s of item %s", wanted, item_type, service_id)
        return wanted
    if 0 <= wanted < len(ids):
        log.info(
            "layer_id %d is taken as a position: no %s of item %s has this REST id, the one at this position has %d",
            wanted,
            item_type,
            service_id,
            ids[wanted],
        )
        return ids[wanted]
    there = ", ".join(f"{entry['id']} ({entry.get('name', '')})" for entry in listed) or "none"
    raise ConfigError(
        f"item {service_id} has no {item_type} {layer_id}; its {item_type}s are: {there}. Nothing was sent. "
        "Correct layer_id or item_type."
    )


def _find_oid_field(raw: dict[str, Any]) -> str:
    return next(
        (f["name"] for f in raw.get("fields") or [] if f.get("type") == "esriFieldTypeOID"), "OBJECTID"
    )


def _read_field(raw: dict[str, Any]) -> LayerField:
    kind = str(raw.get("type", "")).removeprefix("esriFieldType")
    return LayerField(
        name=str(raw["name"]),
        type=kind,
        length=int(raw.get("length") or 0) if kind == "String" else 0,
        nullable=bool(raw.get("nullable", True)),
        editable=bool(raw.get("editable", True)) and kind not in ("OID", "GlobalID"),
    )


# --- reading ---------------------------------------------------------------------------------------


def count_features(layer: Layer, where: str = "1=1") -> int:
    """How many features there are."""
    answer = _query(layer, {"where": where, "returnCountOnly": "true"}, "count")
    if not isinstance(answer.get("count"), int):
        raise PublishError(f"{layer.where} was asked for its count and gave none. Nothing was changed.")
    return int(answer["count"])


def count_other_ids(layer: Layer, start: str) -> int:
    """How many features have an `id` that begins otherwise; 0 where the layer has no such text field."""
    named = [one.name for one in layer.fields if one.name.lower() == "id" and one.type == "String"]
    return count_features(layer, f"{named[0]} NOT LIKE '{start}%'") if named else 0


def read_features(
    layer: Layer, fields: Sequence[str], *, geometry: bool = False, where: str = "1=1"
) -> Iterator[dict[str, Any]]:
    """Every feature, in the order of object ids; {"attributes", "geometry"} with WGS84 coordinates.

    Pages follow object ids, not offsets: a feature that goes while we read pushes none out of sight.
    Raises: PublishError if the answers do not move on.
    """
    last: int | None = None
    form = {
        "outFields": ",".join(dict.fromkeys([layer.oid_field, *fields])),
        "returnGeometry": "true" if geometry else "false",
        "outSR": "4326",
        "orderByFields": f"{layer.oid_field} ASC",
        "resultRecordCount": str(layer.page),
    }
    while True:
        clause = where if last is None else f"({where}) AND {layer.oid_field} > {last}"
        answer = _query(
            layer, {**form, "where": clause}, f"features after {last}" if last is not None else "features"
        )
        features = answer.get("features")
        if not isinstance(features, list):
            raise PublishError(f"{layer.where} was asked for features and gave none.")
        for feature in features:
            oid = feature["attributes"].get(layer.oid_field)
            if not isinstance(oid, int) or (last is not None and oid <= last):
                raise PublishError(
                    f"{layer.where} gave object id {oid} after {last}, out of order: it cannot be read reliably."
                )
            last = oid
            yield feature
        # Without the flag a short page is the last one; a full one is not trusted to be.
        if not features or (not answer.get("exceededTransferLimit") and len(features) < layer.page):
            return


def read_by_keys(
    layer: Layer, key: LayerField, keys: Sequence[str], fields: Sequence[str] = (), *, geometry: bool = False
) -> Iterator[dict[str, Any]]:
    """The features that hold one of `keys`, as `read_features`; text is compared as the server does."""
    for clause in _where_in(key, keys):
        yield from read_features(layer, [key.name, *fields], geometry=geometry, where=clause)


def read_by_beginnings(
    layer: Layer, key: LayerField, texts: Sequence[str], fields: Sequence[str] = (), *, geometry: bool = False
) -> Iterator[dict[str, Any]]:
    """The features whose key begins with one of `texts`, and perhaps others; as `read_features`, each once."""
    # A sign that LIKE would read in its own way becomes any one sign.
    patterns = [_LIKE_SIGN.sub("_", text).replace("'", "''") for text in texts]
    clause = " OR ".join(f"{key.name} LIKE '{pattern}%'" for pattern in patterns)
    yield from read_features(layer, [key.name, *fields], geometry=geometry, where=clause)


def _where_in(key: LayerField, keys: Sequence[str]) -> Iterator[str]:
    """`key IN (...)` clauses of at most KEYS_PER_QUERY keys and about WHERE_CHARS characters."""
    quoted = [
        "'" + text.replace("'", "''") + "'" if key.type in ("String", "GUID") else text for text in keys
    ]
    start = 0
    while start < len(quoted):
        end, chars = start, 0
        while end < len(quoted) and end - start < KEYS_PER_QUERY and (end == start or chars < WHERE_CHARS):
            chars += len(quoted[end]) + 1
            end += 1
        yield f"{key.name} IN ({','.join(quoted[start:end])})"
        start = end


def read_ids(layer: Layer, oids: Sequence[int]) -> set[int]:
    """Those of the object ids that exist."""
    found: set[int] = set()
    for start in range(0, len(oids), KEYS_PER_QUERY):
        clause = f"{layer.oid_field} IN ({','.join(map(str, oids[start : start + KEYS_PER_QUERY]))})"
        answer = _query(layer, {"where": clause, "returnIdsOnly": "true"}, "object ids")
        found.update(answer.get("objectIds") or [])
    return found


def has_duplicates(layer: Layer, key: LayerField) -> bool:
    """Whether any key occurs more than once; features without a key do not count."""
    counting = [
        {"statisticType": "count", "onStatisticField": layer.oid_field, "outStatisticFieldName": "copies"}
    ]
    form = {
        "where": f"{key.name} IS NOT NULL",
        "groupByFieldsForStatistics": key.name,
        "outStatistics": json.dumps(counting),
        "having": f"COUNT({layer.oid_field}) > 1",
        "resultRecordCount": "1",
    }
    return bool(_query(layer, form, "duplicate keys").get("features"))


def _query(layer: Layer, form: dict[str, str], what: str) -> dict[str, Any]:
    return layer.portal.post(f"{layer.url}/query", form, what=what)


# --- edits -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EditResult:
    """What became of one edit. code: the server's, 0 where it gave none."""

    success: bool
    code: int = 0


def apply_edits(layer: Layer, kind: str, encoded: Sequence[bytes]) -> list[EditResult]:
    """Send one `applyEdits` of one kind, once.

    Args:
        kind: "adds", "updates" or "deletes".
        encoded: features as they stand in a form (`encode_text`), or object ids for deletes.
    Returns: one result per edit, in their order.
    Raises: PublishError mixed with RequestRefused (surely nothing was done) or OutcomeUnknown (also
        when the answer does not account for every edit). Nothing is repeated here, except what was
        throttled or met an expired token.
    """
    array = b",".join(encoded) if kind == "deletes" else b"[%b]" % b",".join(encoded)
    body = b"f=json&rollbackOnFailure=false&%b=%b" % (kind.encode(), array)
    answer = layer.portal.post(
        f"{layer.url}/applyEdits", body, repeatable=False, what=f"{len(encoded)} {kind}"
    )
    results = answer.get(kind.removesuffix("s") + "Results")
    if not isinstance(results, list) or len(results) != len(encoded):
        raise UnaccountedEdits(
            f"{layer.where}: the answer to {len(encoded)} {kind} accounts for "
            f"{len(results) if isinstance(results, list) else 'none'} of them",
            status=200,
        )
    return [_read_result(entry) for entry in results]


def _read_result(entry: Any) -> EditResult:
    if isinstance(entry, dict) and entry.get("success") is True:
        return EditResult(True)
    error = entry.get("error") if isinstance(entry, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return EditResult(False, code if isinstance(code, int) else 0)


class UnaccountedEdits(OutcomeUnknown, PublishError):
    """The answer to an edit does not speak of every feature that was sent."""
