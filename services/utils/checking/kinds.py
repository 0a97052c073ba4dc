"""What kinds of values a field gives, and whether a destination's column takes them: tried on samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_PLACE = {"latitude": 43.25, "longitude": 76.92}
_LINE = {"type": "LineString", "coordinates": [[76.92, 43.25], [76.93, 43.26]]}
_AREA = {"type": "Polygon", "coordinates": [[[76.9, 43.2], [76.9, 43.3], [77.0, 43.3], [76.9, 43.2]]]}
_TIME = "2025-03-09T16:05:00-05:00"
# Of each kind what its values look like as rows have them, the most usual first. Text may be anything.
_SAMPLES: dict[str, list[Any]] = {
    "text": [
        "text",
        "12",
        "yes",
        _TIME,
        "16:05:00",
        "POINT (76.92 43.25)",
        "{8f14e45f-ceea-4670-9c2d-0d0f2a1b3c4d}",
    ],
    "id": ["5d00a1b2c3d4e5f601020304"],
    "formula": [12, "12", "text", _TIME],
    "number": [12, 12.5],
    "whole number": [12],
    "yes or no": [True],
    "date and time": [_TIME],
    "date": ["2025-03-09"],
    "time": ["16:05:00.000+05:00"],
    "place": [_PLACE],
    "line": [_LINE],
    "area": [_AREA],
}
_KINDS = {
    "id": "id",
    "key": "id",
    # Knack
    "auto_increment": "whole number",
    "number": "number",
    "currency": "number",
    "rating": "number",
    "equation": "formula",
    "count": "whole number",
    "sum": "number",
    "average": "number",
    "min": "number",
    "max": "number",
    "boolean": "yes or no",
    "date_time": "date and time",
    "place": "place",
    # ODK
    "int": "whole number",
    "decimal": "number",
    "dateTime": "date and time",
    "date": "date",
    "time": "time",
    "geopoint": "place",
    "geotrace": "line",
    "geoshape": "area",
}


def name_kind(type_: str) -> str:
    """What a field of a source's type gives: "text", "number", "place" ...; what is not known may be any text."""
    return _KINDS.get(type_, "text")


def judge_fit(type_: str, convert: Callable[[Any], Any], refusal: type[Exception]) -> str:
    """Whether a column takes what a field gives: "all", "some" or "none" of the samples.

    type_: the field's, as its source calls it. convert: the column's; it raises `refusal` for what it does not take.
    """
    samples = _SAMPLES[name_kind(type_)]
    fits = []
    for sample in samples:
        try:
            convert(sample)
            fits.append(True)
        except refusal:
            fits.append(False)
    # Text and formulas may be anything: what they mostly are decides.
    if fits[0] and (all(fits) or name_kind(type_) in ("text", "formula")):
        return "all"
    return "some" if any(fits) else "none"
