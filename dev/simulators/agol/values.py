"""Fields, and what values they take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.simulators.agol.refusals import EditRefusal
from dev.simulators.agol.switches import Switches

_PREFIX = "esriFieldType"
_WHOLE_BITS = {"SmallInteger": 16, "Integer": 32, "OID": 32, "BigInteger": 54}
_FRACTIONS = frozenset({"Single", "Double"})
_TEXTS = frozenset({"String", "GUID"})
_KNOWN = frozenset({*_WHOLE_BITS, *_FRACTIONS, *_TEXTS, "Date"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)")

_ATTRIBUTE = (
    r"""\s+(?:href|target|src|alt|title|class|style|color|size|face|align|width|height|border)="""
    r"""(?:"[^"<>]*"|'[^'<>]*')"""
)
_TAG = re.compile(
    r"</?(?:a|abbr|b|br|div|em|font|h[1-6]|hr|i|img|li|ol|p|span|strong|sub|sup|table|tbody|td|th|tr|u|ul)"
    rf"(?:{_ATTRIBUTE})*\s*/?>",
    re.IGNORECASE,
)
_ANGLES = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Field:
    """A layer's field. type is short ("String"); length counts only for text; None is no limit."""

    name: str
    type: str
    length: int | None = None
    nullable: bool = True
    editable: bool = True
    default: Any = None

    @property
    def kind(self) -> str:
        """What its values are compared as: "text", "date" or "number"."""
        return "text" if self.type in _TEXTS else "date" if self.type == "Date" else "number"

    def describe(self) -> dict[str, Any]:
        """The field as the layer's JSON has it."""
        said: dict[str, Any] = {
            "name": self.name,
            "type": _PREFIX + self.type,
            "alias": self.name,
            "sqlType": "sqlTypeOther",
            "nullable": self.nullable,
            "editable": self.editable,
            "domain": None,
            "defaultValue": self.default,
        }
        if self.kind == "text":
            said["length"] = self.length
        if self.type == "Date":
            said["length"] = 8
        return said


def read_field(value: dict[str, Any]) -> Field:
    """A field from the service's own way of writing it."""
    kind = str(value["type"]).removeprefix(_PREFIX)
    if kind not in _KNOWN:
        raise ValueError(f"field {value['name']}: type {value['type']} is not known")
    return Field(
        value["name"],
        kind,
        value.get("length") if kind in _TEXTS else None,
        value.get("nullable", True),
        value.get("editable", True),
        value.get("defaultValue"),
    )


def normalize_text(text: str, ignores_case: bool) -> str:
    """What text is compared by: as SQL Server does, or exactly."""
    return text.rstrip(" ").casefold() if ignores_case else text


def contains_html(text: str, lone: bool) -> bool:
    """Whether text has `<...>` outside the allowed tags, or (lone) a < or > of its own."""
    for found in _ANGLES.finditer(text):
        if not _TAG.fullmatch(found.group()) or "javascript:" in found.group().lower():
            return True
    rest = _ANGLES.sub("", text) if lone else ""
    return "<" in rest or ">" in rest


def build_checker(field: Field, switches: Switches) -> Callable[[Any], Any]:
    """A function that gives a value as it is stored, or raises EditRefusal (1001, 1006, 1016, 1000)."""
    read = {"text": _build_text_reader, "date": _build_date_reader, "number": _build_number_reader}[
        field.kind
    ](field, switches)

    def check(value: Any) -> Any:
        stored = None if value is None else read(value)
        if stored is None and not field.nullable:
            raise EditRefusal(1001, f"Field {field.name} is not nullable.")
        return stored

    return check


def _refuse(field: Field, why: str) -> EditRefusal:
    return EditRefusal(1016, f"Setting of Value for {field.name} failed: {why}.")


def _build_text_reader(field: Field, switches: Switches) -> Callable[[Any], Any]:
    length = field.length

    def read(value: Any) -> str | None:
        if type(value) is not str:
            if not switches.lenient_types or type(value) not in (int, float):
                raise _refuse(field, "not text")
            value = str(value)
        if switches.blank_text == "null" and not value.strip(" "):
            return None
        if (
            switches.html_guard == "feature"
            and ("<" in value or ">" in value)
            and contains_html(value, switches.lone_angle_is_html)
        ):
            raise EditRefusal(1006, f"Field {field.name} has invalid html content.")
        if length is not None and len(value) * 2 > length:
            units = len(value.encode("utf-16-le", "surrogatepass")) // 2
            if (units if switches.utf16_length else len(value)) > length:
                raise EditRefusal(
                    1000, "String or binary data would be truncated.\nThe statement has been terminated."
                )
        return str(value)

    return read


def _build_number_reader(field: Field, switches: Switches) -> Callable[[Any], Any]:
    bits = _WHOLE_BITS.get(field.type)

    def read(value: Any) -> int | float:
        if type(value) is str and switches.lenient_types:
            try:
                value = float(value)
            except ValueError as error:
                raise _refuse(field, "not a number") from error
        if type(value) not in (int, float) or not math.isfinite(value):
            raise _refuse(field, "not a number")
        if bits is None:
            return float(value)
        if value != int(value):
            raise _refuse(field, "not a whole number")
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise _refuse(field, f"beyond {bits} bits")
        return int(value)

    return read


def _build_date_reader(field: Field, switches: Switches) -> Callable[[Any], Any]:
    low, high = -62135596800000, 253402300799999  # years 1 to 9999

    def read(value: Any) -> int:
        if type(value) is str:
            if not switches.iso_dates or not _ISO.fullmatch(value):
                raise _refuse(field, "not a date with an offset")
            try:
                when = datetime.fromisoformat(value)
            except ValueError as error:
                raise _refuse(field, "not a date") from error
            return (when - _EPOCH) // timedelta(milliseconds=1)
        if type(value) not in (int, float) or not math.isfinite(value) or value != int(value):
            raise _refuse(field, "not a number of milliseconds")
        if not low <= value <= high:
            raise _refuse(field, "beyond the years 1 to 9999")
        return int(value)

    return read
