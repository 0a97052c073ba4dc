"""Previews of published places: a bounded sample of a container's documents, drawn small. No tiles, nothing fetched."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

from services.utils import sources
from services.utils.agol import shapes
from services.utils.agol.values import Unfit
from services.utils.containers import Container
from services.utils.errors import ServiceError
from services.utils.postgrest import PostgREST
from services.utils.status.report import ContainerReport, Drawing
from services.utils.store import Store

log = logging.getLogger(__name__)

Line = list[list[float]]

# Documents looked at in all, and for one container at most: a page is to be made in seconds.
MOST_DOCUMENTS, MOST_OF_ONE = 10_000, 500
WIDTH, MARGIN = 600, 16
_M_A_DEGREE = 111_320.0


class KnownMetadata(Store):
    """A container's documents, with metadata that is read once for all containers of a Knack app."""

    def __init__(
        self, postgrest: PostgREST, place: Sequence[str], known: dict[tuple[str, ...], dict[str, Any] | None]
    ) -> None:
        super().__init__(postgrest, *place)
        self._known = known

    def read_metadata(self) -> dict[str, Any] | None:
        """As in the store."""
        key = (self.system, self.app_id, self.container_id if self.system == "odk" else "")
        if key not in self._known:
            self._known[key] = super().read_metadata()
        return self._known[key]


def draw_all(postgrest: PostgREST, found: Iterable[tuple[ContainerReport, Container]]) -> None:
    """Draw every container that publishes places; what cannot be shaped is left without a picture, and logged."""
    shown = [
        (one, settings)
        for one, settings in found
        if one.source and one.alive and settings.publishers and _may_have_places(settings)
    ]
    known: dict[tuple[str, ...], dict[str, Any] | None] = {}
    for one, settings in shown:
        most = min(MOST_OF_ONE, max(50, MOST_DOCUMENTS // len(shown)))
        store = KnownMetadata(postgrest, (one.source, one.app_id, one.container_id), known)
        try:
            one.drawing = draw_container(store, settings, one.alive or 0, most)
        except ServiceError as error:
            log.warning("no picture of %s: %s", settings.where, error)


def _may_have_places(settings: Container) -> bool:
    # A form has places without being told; a layer of a Knack container gets them from these fields alone.
    return bool(settings.location_fields) or (settings.system == "odk" and bool(settings.service_id))


def draw_container(store: Store, settings: Container, alive: int, most: int) -> Drawing | None:
    """A preview of a container's places; None if none of the documents looked at has any.

    Raises: StoreError or ConfigError if its documents cannot be shaped.
    """
    rows = sources.open_rows(settings, store)
    # An address is a point.
    kinds = ("point", "polyline", "polygon") if settings.system == "odk" else ("point",)
    names = [(kind, name) for kind in kinds for name in _name_places(rows, kind)]
    if not names:
        return None
    record_ids = store.postgrest.call(
        "sample_documents",
        {
            "source": store.system,
            "app_id": store.app_id,
            "container_id": store.container_id,
            "every": math.ceil(alive / most),
            "most": most,
        },
    )
    looked_at: set[str] = set()
    located: set[str] = set()
    points: Line = []
    lines: list[Line] = []
    documents = (document for document in store.read_documents(record_ids) if not document.deleted)
    for row in rows.format(documents, on_reject=lambda reject: None):
        looked_at.add(row.record_id)
        for shape, name in names:
            try:
                if shape == "point":
                    parts = [[point] for point in shapes.build_points(row.values.get(name))]
                    points += [part[0] for part in parts]
                elif shape == "polyline":
                    parts = shapes.build_paths(row.values.get(name))
                    lines += parts
                else:
                    parts = shapes.build_rings(row.values.get(name))
                    lines += parts
            except Unfit:
                continue
            if parts:
                located.add(row.record_id)
                break
    return draw(points, lines, alive, len(looked_at), len(located))


def _name_places(rows: sources.Rows, shape: str) -> list[str]:
    try:
        return rows.name_places(shape) or []
    except ServiceError:
        # The form's location fields are of another kind.
        return []


def draw(points: Line, lines: list[Line], alive: int, documents: int, with_place: int) -> Drawing | None:
    """Places, given as [longitude, latitude] in degrees, in a picture; None for none.

    Places far from all others (a coordinate that was mistyped) would leave a dot in an empty picture: those more
    than three times as far from the middle as nine tenths of the others are counted, and left out.
    """
    every = points + [position for line in lines for position in line]
    if not every:
        return None
    west, east = _find_range([position[0] for position in every])
    south, north = _find_range([position[1] for position in every])
    squeeze = max(0.05, math.cos(math.radians((south + north) / 2)))
    # At least 200 m, so that one point is not the whole world.
    west, east = _widen(west, east, 200 / _M_A_DEGREE / squeeze)
    south, north = _widen(south, north, 200 / _M_A_DEGREE)
    # Neither a ribbon nor a tower.
    width_m, height_m = (east - west) * squeeze, north - south
    if height_m < width_m * 0.45:
        south, north = _widen(south, north, width_m * 0.45)
    elif height_m > width_m * 0.9:
        west, east = _widen(west, east, height_m / 0.9 / squeeze)
    inner = WIDTH - 2 * MARGIN
    units = inner / ((east - west) * squeeze)
    height = round((north - south) * units) + 2 * MARGIN

    def place(position: Sequence[float]) -> tuple[int, int]:
        x = (position[0] - west) * squeeze * units + MARGIN
        return round(x), round((north - position[1]) * units + MARGIN)

    def is_inside(position: Sequence[float]) -> bool:
        return west <= position[0] <= east and south <= position[1] <= north

    inside = [point for point in points if is_inside(point)]
    drawn_lines = [line for line in lines if all(map(is_inside, line))]
    bar_m = _choose_bar_m(inner * 0.3 / units * _M_A_DEGREE)
    return Drawing(
        width=WIDTH,
        height=height,
        points=sorted(set(map(place, inside))),
        paths=[_build_path([place(position) for position in line]) for line in drawn_lines],
        alive=alive,
        documents=documents,
        with_place=with_place,
        drawn=len(inside) + len(drawn_lines),
        outside=len(points) - len(inside) + len(lines) - len(drawn_lines),
        west=round(west, 4),
        south=round(south, 4),
        east=round(east, 4),
        north=round(north, 4),
        bar_units=round(bar_m / _M_A_DEGREE * units, 1),
        bar_m=bar_m,
    )


def _find_range(values: list[float]) -> tuple[float, float]:
    """The least and the greatest of what is not far from the others; of a few, of all."""
    values = sorted(values)
    if len(values) < 10:
        return values[0], values[-1]
    middle = values[len(values) // 2]
    usual = sorted(abs(value - middle) for value in values)[int((len(values) - 1) * 0.9)]
    near = [value for value in values if abs(value - middle) <= 3 * usual + 1e-6]
    return near[0], near[-1]


def _widen(low: float, high: float, least: float) -> tuple[float, float]:
    more = max(0.0, least - (high - low)) / 2
    return low - more, high + more


def _choose_bar_m(most_m: float) -> int:
    """1, 2 or 5 times a power of ten, not more than that."""
    power = 10 ** math.floor(math.log10(max(most_m, 1)))
    return int(max(step for step in (1, 2, 5) if step * power <= max(most_m, 1)) * power)


def _build_path(spots: list[tuple[int, int]]) -> str:
    """SVG path data; positions that fall on the one before are left out."""
    kept = [spot for spot, before in zip(spots, [None, *spots]) if spot != before]
    return "M" + "L".join(f"{x} {y}" for x, y in kept)
