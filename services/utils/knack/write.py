"""Records into Knack: found by key, created and updated; every answer is the record as Knack keeps it.

A create is never repeated blindly: where no answer came, the record is looked for by its key first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from services.utils.errors import OutcomeUnknown
from services.utils.knack.fetch import Knack, Place
from services.utils.knack.handlers import NUMBERS, Unfit, as_number, tell
from services.utils.knack.metadata import FieldDef
from services.utils.session import pause

log = logging.getLogger(__name__)

# So many keys in one filter: it stands in the address.
KEYS_A_QUERY = 25
# Between two looks for a record that was perhaps created.
PAUSES_S = (1.0, 4.0, 15.0)
# How often one record is sent where nothing is to be found of it.
CREATES = 4


class Writer:
    """Writes the records of one object. pauses_s: waits before each look for what was perhaps created.

    doubtful: keys that were sent twice, because the first was not to be found: it may still come.
    """

    def __init__(
        self, knack: Knack, object_key: str, key: FieldDef, pauses_s: Sequence[float] = PAUSES_S
    ) -> None:
        self.knack = knack
        self.place = Place(object_key, f"/v1/objects/{object_key}/records", is_view=False)
        self.key = key
        self.doubtful: set[str] = set()
        self._pauses_s = pauses_s

    def find(
        self, keys: Iterable[str], field: FieldDef | None = None, place: Place | None = None
    ) -> Iterator[dict[str, Any]]:
        """The records whose key field (or another field, of another object) holds one of these values."""
        field, place = field or self.key, place or self.place
        waiting = list(dict.fromkeys(keys))
        for start in range(0, len(waiting), KEYS_A_QUERY):
            part = set(waiting[start : start + KEYS_A_QUERY])
            rules = [
                {
                    "field": field.key,
                    "operator": "is",
                    "value": _read_number(key) if field.type in NUMBERS else key,
                }
                for key in sorted(part)
            ]
            for page in self.knack.fetch_pages(place, filters={"match": "or", "rules": rules}):
                for _, body in page.records:
                    record = msgspec.json.decode(body)
                    # Knack's own comparison is wider than ours: of case, say.
                    if tell_key(record, field) in part:
                        yield record

    def create(self, key: str, values: dict[str, Any]) -> dict[str, Any]:
        """Create a record; gives it as Knack keeps it.

        Raises: RequestRefused; OutcomeUnknown where it is not known whether it is there.
        """
        body = msgspec.json.encode(values)
        for left in reversed(range(CREATES)):
            try:
                return self.knack.write("POST", self.place.path, body, repeatable=False)
            except OutcomeUnknown as error:
                log.warning("%s; looking for the record before anything is sent again", error)
                for pause_s in self._pauses_s:
                    pause(pause_s)
                    found = next(self.find([key]), None)
                    if found is not None:
                        return found
                if not left:
                    raise
                self.doubtful.add(key)
        raise AssertionError("unreachable")

    def update(self, record_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """Change a record; gives it as Knack keeps it.

        Raises: RequestRefused; OutcomeUnknown.
        """
        return self.knack.write(
            "PUT", f"{self.place.path}/{record_id}", msgspec.json.encode(values), repeatable=True
        )


def tell_key(record: dict[str, Any], field: FieldDef) -> str:
    """A record's key as a text, "" where it is blank."""
    value = record.get(f"{field.key}_raw", record.get(field.key))
    if field.type in NUMBERS and value in (0, "0"):
        return "0"
    if field.type == "auto_increment":
        return "" if value in (None, "") else str(value)
    told = tell(value, field)
    return "" if told is None else str(told)


def spell_key(text: str, field: FieldDef) -> str:
    """What people see as `tell_key` has it ("1,250" is "1250"); "" where no record can hold it."""
    if field.type not in NUMBERS:
        return text
    try:
        return tell_key({field.key: as_number(text)}, field)
    except Unfit:
        return ""


def _read_number(key: str) -> int | float:
    return float(key) if "." in key else int(key)
